//! Locked memory for secrets: Bitcoin Core's `src/support` as a Rust crate, with a C ABI and
//! drop-in C++ headers over the same code.
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
//! statistics ([`PoolStats::is_fully_locked`]) and a callback say so, and why. It does not protect
//! from code in the same process that reads arbitrary memory, from a privileged user (`ptrace`,
//! `/proc/PID/mem`), from copies that callers make in registers, on the stack or on the ordinary
//! heap, or from hibernation, which writes all memory to disk.
//!
//! # Floors
//! A file imports only from the floors that its own floor knows, which are all below it, and from
//! the files that stand behind it in its floor's list. The file with a floor's name declares the
//! others and defines nothing. `tests/layers.rs` holds the source against this table.
//!
//! | floor | knows | files, from the top down | |
//! |---|---|---|---|
//! | `events` | `zero_after_free` | `http` `reply` `connection` `request` `event` `event_base` `base` `flags` `incoming` `method` `outgoing` `error` `libevent` | owners for libevent's objects |
//! | `ffi` | `secure` `pool` `pages` `fork` `arena` `unique_path` `cleanse` | `arena` `buffer` `cleanse` `exit` `lock_limit` `sampling` `stats` `pool` `options` `page_allocator` `handle` `handle_table` `fallible_box` `protection` `unique_name` `status` `version` `visit` | the C ABI; no logic |
//! | `secure` | `pool` `zeroizing` `pages` `cleanse` | `prompt` `boxed` `string` `vec` `allocator` `error` | [`SecureVec`], [`SecureString`], [`SecureBox`], [`SecureAllocator`]: secrets as types |
//! | `zero_after_free` | `zeroizing` `cleanse` | `consensus_encoding` `consensus` `check_lengths` `from_serialize_data` `to_serialize_data` `consensus_error` `serialize_data` `allocator` | [`ZeroAfterFreeAllocator`], [`SerializeData`]: the ordinary heap, wiped |
//! | `zeroizing` | `cleanse` |  | [`ZeroizingAllocator`], and the buffer under the types of secrets |
//! | `pool` | `thread_heap` `arena_set` `leak` `pages` `fork` `poison` `arena` `cleanse` `sys` | `manager` `locked_pool` `options` `private` `page_arena` `error` | [`LockedPool`], [`LockedPoolManager`]: the types of pools |
//! | `thread_heap` | `arena_set` `leak` `pages` `fork` `poison` `sync` `arena` `cleanse` `sys` | `control` `free` `alloc` `thread` `lock` `child` `abandoned` `supply` `central` `guarded` `address_report` `pause` `registry` `current_heap` `heap` `remote_batch` `slab_lists` `cache` `chunk_table` `remote_free` `gate` `sampler` `tally` `slab` `size_class` | the process-wide pool: a heap of slabs for each thread |
//! | `arena_set` | `pages` `fork` `poison` `arena` `cleanse` | `growth` `arenas` `layout` `consent` `chunk_list` `stats` `lock_refusal` `first_fit` `address_map` `interrupted` | arenas on pages, how they grow, and what happens when a lock is refused |
//! | `arena` |  | `best_fit` `chunk_to_size` `size_to_chunk` `bit_tree` `chunk` `error` | [`Arena`]: chunks of a region that it never touches; no unsafe code |
//! | `pages` | `fork` `poison` `cleanse` `sys` | `page_allocator` `locked_pages` `address_range` `forks` `exit` `registry` `options` `remedy` `tables` `error` `limits` | [`LockedPages`], [`LockedPageAllocator`]: the operating system's memory |
//! | `fork` | `sync` `sys` | `callee` `mutex` `handlers` `guard` | what happens when the process forks, and the locks that a fork heeds |
//! | `poison` | `sys` | `regions` `asan` `valgrind` | tells AddressSanitizer and valgrind which bytes are a chunk's |
//! | `sync` | `sys` |  | how threads wait for each other |
//! | `unique_path` |  |  | [`get_unique_path`] |
//! | `cleanse` |  |  | [`memory_cleanse`]: the one wipe |
//! | `leak` |  |  | values that live as long as the process |
//! | `sys` |  | `unix` `linux` `linux/barrier` `linux/futex` `linux/huge_pages` `linux/limits` `linux/lock_on_fault` `linux/mapping` `linux/secret_memory` `linux/tasks` `linux/advice` `other_unix` `posix` `memory` `limits` `process` `threads` `stay_loaded` `thread_word` `hooks` `errno` | the contract with the operating system, and the systems that keep it |
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
//! On a nightly compiler, `RUSTFLAGS="--cfg bitcoin_support_nightly"` makes the allocators serve
//! the standard library's containers.

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
