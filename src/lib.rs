//! Locked memory for secrets: Bitcoin Core's `src/support` as a Rust crate, with a C ABI and
//! drop-in C++ headers over the same code.
//!
//! ```
//! use bitcoin_support::{SecureBox, SecureString};
//!
//! let key = SecureBox::<[u8; 32]>::random(); // locked, and wiped when it is dropped
//! assert!(key.expose_secret() != &[0; 32]);
//!
//! let mut passphrase = SecureString::new(); // at a terminal: SecureString::prompt("Passphrase: ")
//! passphrase.push_str("correct horse battery staple");
//! assert_eq!(format!("{passphrase:?}"), "SecureString([redacted])");
//! ```
//!
//! # What it protects from
//! Secrets in a [`LockedPool`] are never written to swap (`mlock`) or to core dumps
//! (`MADV_DONTDUMP`), lie between guard pages, and are wiped the moment they are freed, with a wipe
//! that no optimizer removes ([`memory_cleanse`]). When memory cannot be locked, the pool's
//! statistics ([`PoolStats::is_fully_locked`]) and a callback say so, and why. It does not protect
//! from code in the same process that reads arbitrary memory, from a privileged user (`ptrace`,
//! `/proc/PID/mem`), from copies that callers make on the ordinary heap, and in registers and on
//! the stack outside of [`on_secret_stack`], or from hibernation, which writes all memory to disk.
//!
//! # How secrets come in
//! Each of these writes to locked memory and leaves no copy in the process. Each but those of the
//! last row has a form that returns an error; the names of most such forms begin with `try_`.
//!
//! | from | |
//! |---|---|
//! | the system's random numbers | [`SecureBox::random`], [`SecureVec::random`] |
//! | a closure that writes to the value's place | [`SecureBox::new_with`] |
//! | a reader, whole, or a part of it | [`SecureVec::read_from`], [`read_exact`](SecureVec::read_exact), [`read_line`](SecureVec::read_line) |
//! | a file, a file descriptor, a credential of systemd | [`SecureString::from_file`], `from_fd`, [`from_credential`](SecureString::from_credential) |
//! | a terminal | `SecureString::prompt`, `prompt_confirmed` |
//! | an environment variable, which is then wiped | `SecureString::take_env` |
//! | hexadecimal digits, base64 | `SecureVec::from_hex`, `from_base64` (features `hex`, `base64`) |
//! | a `String`, `Vec` or `Zeroizing`, which is then wiped | `From` |
//!
//! One exception: where the length of a secret in base64 is no multiple of three, its last one or
//! two bytes stay on the stack, in a variable of the decoder, until the stack is used again.
//!
//! These leave copies: [`SecureBox::new`] and [`SecureVec::push`], which move a value from the
//! stack; readers with a buffer, such as [`std::io::stdin`]; `std::io::copy`, which has a buffer on
//! the stack; generators that run in the process, such as that of `rand` for each thread, whose
//! state tells the next keys; and key types that are `Copy`, each time that they are passed by
//! value.
//!
//! # What secrets do not do
//! Traits that [`SecureVec`], [`SecureString`] and [`SecureBox`] do not have, on purpose.
//!
//! | not there | why | instead |
//! |---|---|---|
//! | `Clone`, and so values of clap's arguments | a derived `Clone` somewhere would copy a secret unseen; and all users of a system see arguments | `duplicate`, for secrets that are plain data; `Arc<SecureString>` |
//! | `Display`, `ToString`, serde's `Serialize` | a secret would get into a log or a file unseen | what `expose_secret` returns has them |
//! | `Deref`, `Borrow`, `AsRef<str>` | a secret would be an argument of any function that takes a text, unseen | `expose_secret` |
//! | `Index` | bytes one by one are what code compares in a time that depends on them | `expose_secret()[0]` |
//! | `Hash`, `Ord`: as keys of maps | hashes and orders take a time that depends on the secret, and tables keep hashes | a map by the secret's name or number |
//! | comparison of values with padding | padding differs between equal values | [`Bytes`] says what can be compared |
//! | `zeroed`, `default` for any type | some types have no value whose bytes are all zero (`SecretKey`, `Keypair`, `Xpriv`), and of others it is not known (`Option<[u8; 32]>`) | [`Zeroed`] says which types have one; `new` for the others |
//! | `fmt::Write` on `SecureVec`, `io::Write` on [`SecureString`] | with both, `write!` would be ambiguous where both traits are imported; and bytes need not be text | the other of the two types |
//! | `read_line`, `from_file` without a limit | the other side chooses how much it sends | a limit |
//! | `SecureBox::map` | the value would pass over the stack | `expose_secret_mut`; `into_inner` says what it does |
//! | `GlobalAlloc` for [`SecureAllocator`] | all memory of the program would have to be locked | containers with an allocator |
//!
//! Some functions take only types of their own crate or of the standard library, and so no type of
//! secrets: `Read::read_to_end` ([`SecureVec::read_from`] reads to the end), `encode_string` of
//! `base64` (its `Base64Display` writes into a [`SecureString`]), `Fill` of `rand` (`fill` takes
//! `expose_secret_mut()`), and the arenas of `bumpalo`, which have no allocator.
//!
//! Each of these is an error:
//! ```compile_fail,E0277
//! #[derive(Clone)]
//! struct Wallet { passphrase: bitcoin_support::SecureString }
//! ```
//! ```compile_fail,E0599
//! bitcoin_support::SecureVec::from_slice(&[1_u8]).clone();
//! ```
//! ```compile_fail,E0599
//! bitcoin_support::SecureBox::new([1_u8; 32]).clone();
//! ```
//! ```compile_fail,E0277
//! println!("{}", bitcoin_support::SecureString::new());
//! ```
//! ```compile_fail,E0277
//! println!("{}", bitcoin_support::SecureBox::new(7));
//! ```
//! ```compile_fail,E0599
//! let text: String = bitcoin_support::SecureString::new().to_string();
//! ```
//! ```compile_fail,E0599
//! let bytes: Vec<u8> = bitcoin_support::SecureVec::from_slice(&[1_u8]).to_vec();
//! ```
//! ```compile_fail,E0614
//! let text = *bitcoin_support::SecureString::new();
//! ```
//! ```compile_fail,E0277
//! fn log(line: impl AsRef<str>) {}
//! log(bitcoin_support::SecureString::new());
//! ```
//! ```compile_fail,E0277
//! fn find<B: std::borrow::Borrow<str>>() {}
//! find::<bitcoin_support::SecureString>();
//! ```
//! ```compile_fail,E0608
//! let byte = bitcoin_support::SecureVec::from_slice(&[1_u8])[0];
//! ```
//! ```compile_fail,E0277
//! std::collections::HashSet::from([bitcoin_support::SecureVec::<u8>::new()]);
//! ```
//! ```compile_fail,E0277
//! std::collections::BTreeSet::from([bitcoin_support::SecureString::new()]);
//! ```
//! ```compile_fail,E0369
//! bitcoin_support::SecureVec::<u8>::new() < bitcoin_support::SecureVec::<u8>::new();
//! ```
//! ```compile_fail,E0277
//! use std::fmt::Write;
//! write!(bitcoin_support::SecureVec::<u8>::new(), "7").map(drop).map_err(drop::<std::fmt::Error>);
//! ```
//! ```compile_fail,E0599
//! bitcoin_support::SecureBox::new([0_u8; 64]).map(|bytes| bytes);
//! ```
//! ```compile_fail,E0277
//! #[global_allocator]
//! static ALL: bitcoin_support::SecureAllocator = bitcoin_support::SecureAllocator::new();
//! ```
//!
//! # Floors
//! A file imports only from the floors that its own floor knows, which are all below it, and from
//! the files that stand behind it in its floor's list. The file with a floor's name declares the
//! others and defines nothing. `tests/layers.rs` holds the source against this table.
//!
//! | floor | knows | files, from the top down | |
//! |---|---|---|---|
//! | `events` | `zero_after_free` | `http` `reply` `connection` `request` `event` `event_base` `base` `flags` `incoming` `method` `outgoing` `error` `libevent` | owners for libevent's objects |
//! | `ffi` | `harden` `sealed` `closed` `secret_stack` `secure` `pool` `pages` `fork` `arena` `unique_path` `cleanse` | `arena` `buffer` `cleanse` `closed` `exit` `harden` `lock_limit` `sampling` `sealed` `secret_stack` `stats` `pool` `options` `page_allocator` `handle` `handle_table` `fallible_box` `sized` `protection` `unique_name` `status` `version` `visit` | the C ABI; no logic |
//! | `harden` | `thread_heap` `sys` | `process` `hardened` `options` `error` `step` | [`harden_process`]: what the process gives up for good |
//! | `sealed` | `secret_stack` `secure` `pages` `fork` | `boxed` `vec` `opened` `buffer` `value` `keys` `cipher` `error` | [`SealedBox`], [`SealedVec`]: secrets that are encrypted while they are not in use |
//! | `closed` | `secure` `pool` `pages` | `boxed` `by_address` `guard` `place` `error` | [`ClosedBox`]: secrets on pages that cannot be accessed while they are not in use |
//! | `secret_stack` | `thread_heap` `pages` `poison` `cleanse` `sys` | `call` `kept` `stack` `depth` `registers` `error` | [`on_secret_stack`]: a function runs on locked memory and leaves nothing behind |
//! | `secure` | `pool` `zeroizing` `pages` `cleanse` | `interop` `prompt` `environment` `encoding` `read` `boxed` `string` `vec` `allocator` `bounds` `error` | [`SecureVec`], [`SecureString`], [`SecureBox`], [`SecureAllocator`]: secrets as types |
//! | `zero_after_free` | `zeroizing` `cleanse` | `consensus_encoding` `consensus` `check_lengths` `from_serialize_data` `to_serialize_data` `consensus_error` `serialize_data` `allocator` | [`ZeroAfterFreeAllocator`], [`SerializeData`]: the ordinary heap, wiped |
//! | `zeroizing` | `cleanse` |  | [`ZeroizingAllocator`], and the buffer under the types of secrets |
//! | `pool` | `thread_heap` `arena_set` `leak` `pages` `fork` `poison` `arena` `cleanse` `sys` | `manager` `locked_pool` `options` `private` `page_arena` `error` | [`LockedPool`], [`LockedPoolManager`]: the types of pools |
//! | `thread_heap` | `arena_set` `leak` `pages` `fork` `poison` `sync` `arena` `cleanse` `sys` | `control` `free` `alloc` `thread` `lock` `child` `abandoned` `supply` `central` `guarded` `address_report` `pause` `registry` `current_heap` `heap` `remote_batch` `exact_cache` `search` `slab_lists` `chunk_table` `cache` `remote_free` `gate` `sampler` `tally` `slab` `size_class` | the process-wide pool: a heap of slabs for each thread |
//! | `arena_set` | `pages` `fork` `poison` `arena` `cleanse` `sys` | `growth` `arenas` `layout` `consent` `chunk_list` `stats` `lock_refusal` `first_fit` `address_map` `interrupted` | arenas on pages, how they grow, and what happens when a lock is refused |
//! | `arena` | `pages` | `best_fit` `chunk_to_size` `size_to_chunk` `bit_tree` `chunk` `error` | [`Arena`]: chunks of a region that it never touches; no unsafe code |
//! | `pages` | `fork` `poison` `sync` `cleanse` `sys` | `page_allocator` `locked_pages` `address_range` `forks` `exit` `registry` `access` `pins` `stack_usage` `options` `remedy` `tables` `error` `limits` | [`LockedPages`], [`LockedPageAllocator`]: the operating system's memory |
//! | `fork` | `sync` `sys` | `callee` `mutex` `handlers` `guard` | what happens when the process forks, and the locks that a fork heeds |
//! | `poison` | `sys` | `regions` `asan` `valgrind` | tells AddressSanitizer and valgrind which bytes are a chunk's |
//! | `sync` | `sys` |  | how threads wait for each other |
//! | `unique_path` |  |  | [`get_unique_path`] |
//! | `cleanse` |  |  | [`memory_cleanse`]: the one wipe |
//! | `leak` |  |  | values that live as long as the process |
//! | `sys` |  | `unix` `windows` `linux` `linux/barrier` `linux/futex` `linux/hardening` `linux/huge_pages` `linux/limits` `linux/lock_on_fault` `linux/mapping` `linux/protection_key` `linux/secret_memory` `linux/tasks` `linux/advice` `linux/call_number` `other_unix` `posix` `remedy` `memory` `limits` `process` `threads` `hardening` `stack_switch` `stay_loaded` `thread_word` `hooks` `errno` | the contract with the operating system, and the systems that keep it |
//!
//! # Features
//! None is on by default. Without any, a program for Linux gets 19 other crates, five of which are
//! for a derive macro of `bytemuck`.
//!
//! | feature | |
//! |---|---|
//! | `consensus` | Bitcoin's consensus encoding in and out of [`SerializeData`], for the types of `bitcoin` 0.32 |
//! | `consensus-encoding` | the same by the traits of `bitcoin-consensus-encoding` 1 |
//! | `secrecy` | the traits of `secrecy` 0.10 for the secret types |
//! | `serde` | `Deserialize` for the secret types |
//! | `aead` | `Buffer` of `aead` 0.5 for [`SecureVec`], to encrypt and decrypt in place |
//! | `bytes` | `BufMut` of `bytes` 1 for [`SecureVec`] (`Bytes::from_owner` needs no feature) |
//! | `tokio` | `AsyncWrite` of `tokio` 1 for [`SecureVec`] |
//! | `hex`, `base64` | `from_hex` and `from_base64` for [`SecureVec`] and [`SecureBox`], in constant time |
//! | `derive` | `derive(bitcoin_support::bytemuck::Zeroable)`, for values of zeros made in place |
//! | `sealed` | [`SealedBox`], [`SealedVec`]: secrets that are encrypted while they are not in use |
//! | `events` | the module `events`; links libevent 2.1, which `pkg-config` must find |
//! | `asan` | AddressSanitizer sees where chunks begin and end, in programs that have it |
//! | `valgrind` | so does valgrind's Memcheck (on x86-64) |
//!
//! On a nightly compiler, `RUSTFLAGS="--cfg bitcoin_support_nightly"` makes the allocators serve
//! the standard library's containers.

#![cfg_attr(bitcoin_support_nightly, feature(allocator_api))]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod arena;
mod arena_set;
mod cleanse;
mod closed;
#[cfg(all(unix, feature = "events"))]
pub mod events;
mod ffi;
mod fork;
mod harden;
mod leak;
mod pages;
mod poison;
mod pool;
#[cfg(feature = "sealed")]
mod sealed;
mod secret_stack;
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
pub use closed::{ClosedBox, ClosedError, ClosedRef, ClosedRefMut};
pub use harden::{HardenError, HardenOptions, Hardened, HardeningStep, harden_process};
pub use pages::{
    ClosedState, ExitPolicy, ForkPolicy, LockError, LockedAllocation, LockedPageAllocator,
    LockedPages, MapError, MemoryStats, Missing, MissingProtections, PagesError,
    PosixLockedPageAllocator, Protection, ProtectionError, SecretMemory, has_page_size,
    has_protection_key, lock_limit, memory_stats, page_size, raise_lock_limit, set_exit_policy,
    wipe_everything,
};
pub use pool::{
    AddressReport, ConfigureError, LockedPageArena, LockedPool, LockedPoolManager, LockingFailed,
    PoolError, PoolOptions, PoolStats,
};
#[cfg(feature = "sealed")]
pub use sealed::{OpenedMut, SealedBox, SealedError, SealedVec, rotate_sealing_key};
pub use secret_stack::{SecretStack, SecretStackError, on_secret_stack};
#[cfg(any(feature = "base64", feature = "hex"))]
pub use secure::DecodeError;
pub use secure::{
    Bytes, Cause, LockedAllocator, LockedOnly, NotUtf8, OutOfLockedMemory, ReadSecretError,
    SecureAllocator, SecureArray, SecureBox, SecureIntoIter, SecureString, SecureVec, WrongLength,
    Zeroed,
};
pub use unique_path::get_unique_path;
#[cfg(feature = "consensus-encoding")]
pub use zero_after_free::ConsensusEncoding;
pub use zero_after_free::{
    ConsensusError, FromSerializeData, SerializeData, ToSerializeData, ZeroAfterFreeAllocator,
};
pub use zeroizing::ZeroizingAllocator;
// The crates whose types and traits are in the interface.
pub use {allocator_api2, bytemuck, subtle, zeroize};
