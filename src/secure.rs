//! Secrets in locked memory as Rust types: `SecureVec`, `SecureString`, `SecureBox`, and the allocator
//! under them for containers of other crates.
//!
//! Depends on `zeroizing`, `pool` and `pages`. `allocator` is the bridge to the process-wide pool;
//! `vec`, `string` and `boxed` are the types; `prompt` asks for a secret at the terminal.
//!
//! What the types have in common: no unsafe code is needed to use them. The secret is reached through
//! `expose_secret` and `expose_secret_mut` only, so that a search for that word finds every place where
//! it may leave. None of them is `Clone`, `Display` or serializable. `Debug` shows no contents.
//! Comparison takes the same time wherever two secrets of one length differ. Bytes are wiped when they
//! leave the value: when it is shortened, moves to a larger buffer, or is dropped.
//!
//! All are kept by the process-wide pool (large ones beside it, see `SecureAllocator`). Whether it could
//! lock its memory is told by its statistics; what happens if not, is decided by its callback.

mod allocator;
mod boxed;
#[cfg(unix)]
mod prompt;
mod string;
mod vec;

pub use allocator::SecureAllocator;
pub use boxed::SecureBox;
pub use string::SecureString;
pub use vec::SecureVec;

use crate::pages;
use crate::pool::LockedPoolManager;
use crate::zeroizing::NoRoom;
use core::fmt;
use std::io;

/// There is no locked memory for a secret.
///
/// Either the process has locked as much as it may, or memory that cannot be locked was refused by the
/// pool's [callback](crate::LockedPool::set_locking_failed), or the address space is exhausted. Nothing
/// has changed for the secret that wanted to grow.
///
/// ```
/// use bitcoin_support::SecureVec;
///
/// let error = SecureVec::<u8>::try_with_capacity(usize::MAX).unwrap_err();
/// assert!(error.to_string().contains("ulimit -l"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfLockedMemory {
    requested: usize,
    locked: usize,
    limit: usize,
}

impl OutOfLockedMemory {
    /// Bytes that were asked for; `usize::MAX` when they cannot be counted.
    pub fn requested(&self) -> usize {
        self.requested
    }

    /// Bytes that the process-wide pool had locked then.
    pub fn locked(&self) -> usize {
        self.locked
    }

    /// Bytes that the process might lock in all (`RLIMIT_MEMLOCK`); `usize::MAX` for no limit.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl From<NoRoom> for OutOfLockedMemory {
    fn from(NoRoom(requested): NoRoom) -> Self {
        let locked = LockedPoolManager::shared_pool().stats().locked;
        Self { requested, locked, limit: pages::lock_limit() }
    }
}

impl fmt::Display for OutOfLockedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no locked memory for {} bytes", self.requested)?;
        write!(f, ": {} bytes are locked for secrets", self.locked)?;
        if self.limit != usize::MAX {
            write!(f, " of the {} that the process may lock (RLIMIT_MEMLOCK)", self.limit)?;
        }
        f.write_str("; drop secrets, or raise the limit with `ulimit -l` or LimitMEMLOCK=")
    }
}

impl std::error::Error for OutOfLockedMemory {}

impl From<OutOfLockedMemory> for io::Error {
    fn from(error: OutOfLockedMemory) -> Self {
        Self::new(io::ErrorKind::OutOfMemory, error)
    }
}

/// Bytes are not UTF-8. Says where, not what: the bytes have been wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8 {
    valid_up_to: usize,
}

impl NotUtf8 {
    /// How many bytes at the beginning are UTF-8.
    pub fn valid_up_to(&self) -> usize {
        self.valid_up_to
    }
}

impl fmt::Display for NotUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the secret is not UTF-8 from byte {} on", self.valid_up_to)
    }
}

impl std::error::Error for NotUtf8 {}

/// Why a secret could not be read. What had been read of it has been wiped.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadSecretError {
    /// The source failed.
    Io(io::Error),
    /// The secret is longer than this many bytes.
    TooLong(usize),
    /// The secret is to be text, and is not.
    NotUtf8(NotUtf8),
    /// There is no locked memory for it.
    OutOfLockedMemory(OutOfLockedMemory),
    /// The input ended where a line was asked for: end of file, or Ctrl-D at the terminal.
    EndOfInput,
    /// Ctrl-C or Ctrl-\ was pressed at the terminal, and the program has survived the signal that this
    /// sends.
    Interrupted,
}

impl fmt::Display for ReadSecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot read the secret: {error}"),
            Self::TooLong(limit) => write!(f, "the secret is longer than {limit} bytes"),
            Self::NotUtf8(error) => error.fmt(f),
            Self::OutOfLockedMemory(error) => error.fmt(f),
            Self::EndOfInput => f.write_str("the input ended before the secret"),
            Self::Interrupted => f.write_str("interrupted at the terminal"),
        }
    }
}

impl std::error::Error for ReadSecretError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::NotUtf8(error) => Some(error),
            Self::OutOfLockedMemory(error) => Some(error),
            Self::TooLong(_) | Self::EndOfInput | Self::Interrupted => None,
        }
    }
}

impl From<io::Error> for ReadSecretError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<NotUtf8> for ReadSecretError {
    fn from(error: NotUtf8) -> Self {
        Self::NotUtf8(error)
    }
}

impl From<OutOfLockedMemory> for ReadSecretError {
    fn from(error: OutOfLockedMemory) -> Self {
        Self::OutOfLockedMemory(error)
    }
}

/// What an infallible method has to say of a fallible one's failure: a panic, which where panics unwind runs
/// the destructors that wipe what other secrets there are, unlike the abort of the standard containers.
#[track_caller]
fn expect<T>(result: Result<T, OutOfLockedMemory>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
