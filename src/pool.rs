//! The pools that programs use: thin types over `thread_heap` and `arena_set`.
//!
//! [`LockedPool`] is one pool. [`LockedPoolManager`] is several behind one interface, and its
//! instance has the pool that all secrets of a process share. [`PoolOptions`] are what can be
//! chosen when a pool is made. The pools that a program makes itself are kept by `private`.
//! [`LockedPageArena`] is a single arena on locked pages.

mod error;
mod locked_pool;
mod manager;
mod options;
mod page_arena;
mod private;

pub use error::{ConfigureError, PoolError};
pub use locked_pool::LockedPool;
pub use manager::LockedPoolManager;
pub use options::PoolOptions;
pub use page_arena::LockedPageArena;

pub use crate::arena_set::{LockingFailed, PoolStats};
pub use crate::thread_heap::AddressReport;
