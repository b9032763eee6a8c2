//! `LockedPoolManager`: the pool that all secrets of a process share.
//!
//! Depends on `pool`; `process` does the work.

use super::{Kind, LockedPool};
use core::ops::Deref;

/// The process-wide [`LockedPool`], shared by all Rust, C and C++ code that is linked to this
/// library.
///
/// It needs no initialization, so that it can be used before `main`, and it is never destroyed:
/// objects with static storage and thread-local ones may free into it however late. What it still
/// holds at normal process exit is wiped, in the order in which exit handlers run: objects that were
/// made before the pool's first allocation find zeros when they are destroyed.
#[derive(Debug)]
pub struct LockedPoolManager {
    pool: LockedPool,
}

static INSTANCE: LockedPoolManager = LockedPoolManager { pool: LockedPool { kind: Kind::Process } };

impl LockedPoolManager {
    /// The instance. Costs nothing.
    #[inline]
    pub fn instance() -> &'static Self {
        &INSTANCE
    }
}

impl Deref for LockedPoolManager {
    type Target = LockedPool;

    #[inline]
    fn deref(&self) -> &LockedPool {
        &self.pool
    }
}
