//! Pages of memory for secrets: whole mappings that are kept out of swap and core dumps, between
//! guard pages.
//!
//! This module alone locks and unlocks memory, and only whole mappings that it has made: memory
//! locks do not nest, so that a page with two owners would be unlocked for both by the first that
//! lets go. It knows nothing of arenas.
//!
//! [`map`] is the one way to get pages. It takes a [`Place`] and [`PageOptions`], and returns
//! [`LockedPages`], which own their mapping, or says what was refused. An [`AddressRange`] has
//! places next to each other.
//!
//! Where the limit refuses a lock, as much of the secret stacks in no call is unlocked, and the
//! lock is tried once more: those stacks hold zeros, and locked memory is for secrets.
//! `stack_usage` is how their threads are kept from using them meanwhile.
//!
//! `registry` knows every mapping that there is, and `pins` keeps a mapping there while other
//! threads use it. `access` closes those of closed secrets while they are not in use. `forks` puts
//! them in order in a child process, and `exit` ends them when the process exits. `error` has what
//! the system can refuse, and `remedy` what an administrator can do about it. `tables` has ordinary
//! memory for bookkeeping. What is needed of the operating system is in [`sys`](crate::sys).

mod access;
mod address_range;
mod error;
mod exit;
mod forks;
mod limits;
mod locked_pages;
mod options;
mod page_allocator;
mod pins;
mod registry;
mod remedy;
mod stack_usage;
mod tables;

pub use access::{ClosedState, has_protection_key};
pub(crate) use access::{Use, with_thread_right};
pub(crate) use address_range::{AddressRange, Place};
pub(crate) use error::Refused;
pub use error::{
    LockError, MapError, Missing, MissingProtections, PagesError, Protection, ProtectionError,
};
pub use exit::{ExitPolicy, set_exit_policy};
pub(crate) use forks::join_forks;
pub(crate) use limits::{address_limit, effective_lock_limit, has_secret_memory};
pub use limits::{has_page_size, lock_limit, page_size, raise_lock_limit};
pub use locked_pages::LockedPages;
pub(crate) use locked_pages::{map, refused_protection};
pub(crate) use options::PageOptions;
pub use options::{ForkPolicy, SecretMemory};
pub use page_allocator::{LockedAllocation, LockedPageAllocator, PosixLockedPageAllocator};
#[cfg(feature = "sealed")]
pub(crate) use registry::is_absent_at;
pub(crate) use registry::{
    ClosedSecret, closed_secret_at, is_locked, is_locked_at, own_stack_lock_state, seal_registry,
    stacks_idle_again, wipes,
};
pub use registry::{MemoryStats, memory_stats, wipe_everything};
pub(crate) use tables::{
    GrowingTables, Table, grow_table, keep_unlocked, release_table, seal_table, zeroed_table,
};
