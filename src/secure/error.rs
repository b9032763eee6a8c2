//! What can go wrong with a secret: no locked memory, no UTF-8, no input.

use crate::pages;
use crate::pool::LockedPoolManager;
use crate::zeroizing::NoRoom;
use core::fmt;
use std::io;

/// There is no locked memory for a secret.
///
/// Either the process has locked as much as it may, or the pool's
/// [callback](crate::LockedPool::set_locking_failed) has refused unlocked memory, or the address
/// space is exhausted. A secret that was to grow is as it was before.
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
    /// Number of bytes that were requested; `usize::MAX` if the number does not fit a `usize`.
    pub fn requested(&self) -> usize {
        self.requested
    }

    /// Number of bytes that the process-wide pool had locked at that moment.
    pub fn locked(&self) -> usize {
        self.locked
    }

    /// Number of bytes that the process may lock in total (`RLIMIT_MEMLOCK`); `usize::MAX` for no
    /// limit.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl From<NoRoom> for OutOfLockedMemory {
    fn from(NoRoom(requested): NoRoom) -> Self {
        let locked = LockedPoolManager::process_pool().stats().locked;
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

/// A secret is not UTF-8. The error tells the position but no byte; the secret has been wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8 {
    valid_up_to: usize,
}

impl NotUtf8 {
    pub(super) const fn new(valid_up_to: usize) -> Self {
        Self { valid_up_to }
    }

    /// Number of bytes at the beginning that are UTF-8.
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

/// Why a secret could not be read. The part that had been read has been wiped.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadSecretError {
    /// The reader has failed.
    Io(io::Error),
    /// The secret is longer than this many bytes.
    TooLong(usize),
    /// The secret must be text, but is not UTF-8.
    NotUtf8(NotUtf8),
    /// There is no locked memory for it.
    OutOfLockedMemory(OutOfLockedMemory),
    /// The input ended before a line began: end of file, or Ctrl-D at the terminal.
    EndOfInput,
    /// Ctrl-C or Ctrl-\ was pressed at the terminal, and the program survived the signal.
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

/// The value, or a panic with the error as its message. For methods that have no `Result`.
///
/// Where panics unwind, the destructors of other secrets run and wipe them, which they would not
/// after the abort of the standard containers.
#[track_caller]
pub(super) fn expect<T>(result: Result<T, OutOfLockedMemory>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
