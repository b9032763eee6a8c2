//! Locked memory for secrets: Bitcoin Core's `src/support` as a Rust crate, with a C ABI and drop-in
//! C++ headers over the same code.
//!
//! ```
//! use bitcoin_support::{SecureBox, SecureString};
//!
//! let mut key = SecureBox::<[u8; 32]>::zeroed(); // locked, and wiped when it is dropped
//! getrandom::fill(key.expose_secret_mut())?;
//!
//! let mut passphrase = SecureString::new(); // at a terminal: SecureString::prompt("Passphrase: ")
//! passphrase.push_str("correct horse battery staple");
//! assert_eq!(format!("{passphrase:?}"), "SecureString([redacted])");
//! # Ok::<(), getrandom::Error>(())
//! ```
//!
//! # What it protects from
//! Secrets in a [`LockedPool`] are never written to swap (`mlock`) or to core dumps
//! (`MADV_DONTDUMP`), lie between guard pages, and are wiped the moment they are freed, with a wipe
//! that no optimizer removes ([`memory_cleanse`]). When memory cannot be locked, the pool's
//! statistics ([`PoolStats::is_fully_locked`]) and a callback say so, and why. It does not protect from code in the same process that
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
//! | `secure` | [`SecureVec`], [`SecureString`], [`SecureBox`], [`SecureAllocator`]: secrets as types |
//! | `zero_after_free` | [`ZeroAfterFreeAllocator`], [`SerializeData`]: the ordinary heap, wiped |
//! | `zeroizing` | [`ZeroizingAllocator`], and the buffer under the types of both |
//! | `pool` | [`LockedPool`], [`LockedPoolManager`]: chunks from many arenas, for many threads |
//! | `thread_heap` | the process-wide pool: a heap of slabs for each thread |
//! | `arena_set` | arenas on pages: how they grow, refused locks, statistics |
//! | `arena` | [`Arena`]: chunks of a region that it never touches; no unsafe code |
//! | `pages` | [`LockedPages`], [`LockedPageAllocator`]: the operating system's memory |
//! | `fork` | forks of the process, and the locks that a fork waits for |
//! | `poison` | tells sanitizers which bytes are a chunk's |
//! | `sync` | how threads wait for each other |
//! | `cleanse` | [`memory_cleanse`]: the one wipe |
//! | `leak` | values that live as long as the process |
//! | `sys` | the contract with the operating system, and the systems that keep it |
//!
//! `arena` and `pages` do not know each other; `zero_after_free` knows neither. Beside them, and on their
//! own: [`get_unique_path`], and `events`, owners for libevent's objects.
//!
//! # Features
//! None is on by default.
//!
//! | feature | |
//! |---|---|
//! | `consensus` | Bitcoin's consensus encoding in and out of [`SerializeData`], for the types of `bitcoin` 0.32 |
//! | `consensus-encoding` | the same by the traits of `bitcoin-consensus-encoding` 1 |
//! | `secrecy` | the traits of `secrecy` 0.10 for the secret types |
//! | `events` | the module `events`; links libevent 2.1, which `pkg-config` must find |
//! | `asan` | AddressSanitizer sees where chunks begin and end, in programs that have it |
//! | `valgrind` | so does valgrind's Memcheck (on x86-64) |
//!
//! On a nightly compiler, `RUSTFLAGS="--cfg bitcoin_support_nightly"` makes the allocators serve the
//! standard library's containers.

#![cfg_attr(bitcoin_support_nightly, feature(allocator_api))]

mod arena;
mod arena_set;
mod cleanse;
#[cfg(all(unix, feature = "events"))]
pub mod events;
mod ffi;
mod fork;
mod leak;
mod pages;
mod poison;
mod pool;
mod secure;
mod sync;
mod sys;
mod thread_heap;
mod unique_path;
mod zero_after_free;
mod zeroizing;

pub use arena::{
    Arena, ArenaChunkToSizeMap, ArenaError, ArenaSizeToChunkSortedMap,
    ArenaSizeToChunkSortedMapIterator, ArenaStats, Chunk, FreeError, IndexError, OutOfMemory,
};
pub use cleanse::{cleanse, memory_cleanse};
pub use pages::{
    ExitPolicy, ForkPolicy, LockError, LockedAllocation, LockedPageAllocator, LockedPages,
    MapError, Missing, MissingProtections, PagesError, PosixLockedPageAllocator, Protection,
    ProtectionError, SecretMemory, has_page_size, lock_limit, page_size, raise_lock_limit,
    set_exit_policy, wipe_everything,
};
pub use pool::{
    AddressReport, ConfigureError, LockedPageArena, LockedPool, LockedPoolManager, LockingFailed,
    PoolError, PoolOptions, PoolStats,
};
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
