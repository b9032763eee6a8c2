//! Locked memory for secrets: Bitcoin Core's `src/support` as a Rust crate, with a C ABI and drop-in
//! C++ headers over the same code.
//!
//! ```
//! use bitcoin_support::LockedPoolManager;
//!
//! let pool = LockedPoolManager::instance();
//! let key = pool.alloc(32, 16).expect("memory");
//! // The chunk is 32 bytes long, and not used after it is freed.
//! unsafe {
//!     key.write_bytes(0x42, 32);
//!     pool.free(key.as_ptr())?; // wiped
//! }
//! # Ok::<(), bitcoin_support::FreeError>(())
//! ```
//!
//! # What it protects from
//! Secrets in a [`LockedPool`] are never written to swap (`mlock`) or to core dumps
//! (`MADV_DONTDUMP`), lie between guard pages, and are wiped the moment they are freed, with a wipe
//! that no optimizer removes ([`memory_cleanse`]). When memory cannot be locked, the pool's
//! statistics and a callback say so, and why. It does not protect from code in the same process that
//! reads arbitrary memory, from a privileged user (`ptrace`, `/proc/PID/mem`), from copies that
//! callers make in registers, on the stack or on the ordinary heap, or from hibernation, which writes
//! all memory to disk.
//!
//! # Layers
//! Each module depends only on those below it.
//!
//! | module | |
//! |---|---|
//! | `ffi` | the C ABI; no logic |
//! | `pool` | [`LockedPool`], [`LockedPoolManager`]: chunks from many arenas, for many threads |
//! | `arena` | [`Arena`]: chunks of a region that it never touches; no unsafe code |
//! | `pages` | [`LockedPages`], [`LockedPageAllocator`]: the operating system's memory |
//! | `cleanse` | [`memory_cleanse`]: the one wipe |
//!
//! `arena` and `pages` do not know each other.

#![cfg_attr(bitcoin_support_nightly, feature(allocator_api))]

mod arena;
mod cleanse;
#[cfg(all(unix, feature = "events"))]
pub mod events;
mod ffi;
mod pages;
mod pool;
mod secure;
mod unique_path;
mod zero_after_free;
mod zeroizing;

pub use arena::{
    Arena, ArenaChunkToSizeMap, ArenaError, ArenaSizeToChunkSortedMap,
    ArenaSizeToChunkSortedMapIterator, ArenaStats, Chunk, FreeError, IndexError, OutOfMemory,
};
pub use cleanse::{cleanse, memory_cleanse};
#[cfg(unix)]
pub use pages::PosixLockedPageAllocator;
pub use pages::{
    LockError, LockedAllocation, LockedPageAllocator, LockedPages, MapError, lock_limit, page_size,
};
pub use pool::{LockedPool, LockedPoolManager, LockingFailed, PoolStats};
pub use secure::{
    NotUtf8, OutOfLockedMemory, ReadSecretError, SecureAllocator, SecureBox, SecureString,
    SecureVec,
};
pub use unique_path::get_unique_path;
#[cfg(feature = "consensus-encoding")]
pub use zero_after_free::ConsensusEncoding;
pub use zero_after_free::{
    ConsensusError, FromSerializeData, SerializeData, ToSerializeData, ZeroAfterFreeAllocator,
};
pub use zeroizing::ZeroizingAllocator;
