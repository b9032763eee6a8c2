//! `LockedPoolManager`: the pool that all secrets of a process share.
//!
//! Depends on `pool`.

use super::{LockedPool, Source};
use core::ops::Deref;
use core::time::Duration;

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

static INSTANCE: LockedPoolManager =
    LockedPoolManager { pool: LockedPool::over(Source::System, Some(wipe_at_exit)) };

impl LockedPoolManager {
    /// The instance. Costs nothing.
    #[inline]
    pub fn instance() -> &'static Self {
        &INSTANCE
    }
}

impl Deref for LockedPoolManager {
    type Target = LockedPool;

    fn deref(&self) -> &LockedPool {
        &self.pool
    }
}

fn wipe_at_exit() {
    // SAFETY: registers a function without arguments that stays loaded as long as this library.
    // When the system has no room for the registration, secrets stay until the process's memory is
    // gone, a moment later; there is nobody to tell.
    let _ = unsafe { libc::atexit(wipe_instance) };
}

extern "C" fn wipe_instance() {
    // A thread that ends the process from within the pool's callback holds the lock for good.
    const PATIENCE: Duration = Duration::from_millis(100);
    if let Some(mut state) = INSTANCE.pool.state.try_lock_for(PATIENCE) {
        state.wipe();
    }
}
