//! What can go wrong with a secret: no locked memory, no UTF-8, no input.

use crate::pages;
use crate::pool::LockedPool;
use core::fmt;
use std::io;

/// There is no locked memory for a secret: [`cause`](Self::cause) says why.
///
/// A secret that was to grow is as it was before.
///
/// ```
/// use bitcoin_support::{SecureBox, SecureVec, page_size};
///
/// let error = SecureVec::<u8>::try_with_capacity(usize::MAX / 4).unwrap_err();
/// assert!(error.to_string().contains("ulimit -l"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfLockedMemory {
    requested: usize,
    locked: usize,
    limit: usize,
    cause: Cause,
}

/// Why there is no locked memory for a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The process has locked as much as it may, the pool's
    /// [callback](crate::LockedPool::set_locking_failed) has refused unlocked memory, the pool has
    /// reached its size, or the address space is exhausted.
    Full,
    /// There is memory, but it is not locked, and [`LockedOnly`](crate::LockedOnly) takes no other.
    NotLocked,
    /// There is memory, but not with an alignment of so many bytes.
    Alignment(usize),
    /// The secret has more bytes than a `usize` can count, or more than the pool's largest chunk.
    TooLarge,
    /// The pool may not hold values of Rust types: its pages come from a foreign page allocator, or
    /// children of the process find something else in it than the process had
    /// ([`LockedPool::with_options_unchecked`](crate::LockedPool::with_options_unchecked)).
    Pool,
}

impl OutOfLockedMemory {
    /// A failure to get `requested` bytes of a pool.
    pub(super) fn of(pool: &LockedPool, requested: usize, cause: Cause) -> Self {
        let locked = pool.stats().locked;
        Self { requested, locked, limit: pages::lock_limit(), cause }
    }

    /// Number of bytes that were requested; `usize::MAX` if the number does not fit a `usize`.
    pub fn requested(&self) -> usize {
        self.requested
    }

    /// Number of bytes that the pool had locked at that moment.
    pub fn locked(&self) -> usize {
        self.locked
    }

    /// Number of bytes that the process may lock in total (`RLIMIT_MEMLOCK`); `usize::MAX` for no
    /// limit.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Why there is no locked memory.
    pub fn cause(&self) -> Cause {
        self.cause
    }
}

impl fmt::Display for OutOfLockedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Alignment(align) => {
                return write!(
                    f,
                    "locked memory has no alignment of {align} bytes for a secret of {} bytes",
                    self.requested
                );
            }
            Cause::TooLarge => {
                return write!(f, "a secret of {} bytes is too large", self.requested);
            }
            Cause::Pool => {
                return f.write_str(
                    "the pool may not hold values of Rust types: see LockedPool::with_options_unchecked",
                );
            }
            Cause::NotLocked => {
                write!(
                    f,
                    "only unlocked memory for {} bytes, and it must be locked",
                    self.requested
                )?;
            }
            Cause::Full => write!(f, "no locked memory for {} bytes", self.requested)?,
        }
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
    /// The secret was to have just this many bytes, and has fewer or more.
    Length(usize),
    /// What was typed the second time is not what was typed the first time.
    Different,
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
            Self::Length(len) => write!(f, "the secret does not have {len} bytes"),
            Self::Different => f.write_str("the two inputs are different"),
        }
    }
}

impl std::error::Error for ReadSecretError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::NotUtf8(error) => Some(error),
            Self::OutOfLockedMemory(error) => Some(error),
            Self::TooLong(_)
            | Self::EndOfInput
            | Self::Interrupted
            | Self::Length(_)
            | Self::Different => None,
        }
    }
}

/// For functions that return an [`io::Result`]. The error is the source of the other.
impl From<ReadSecretError> for io::Error {
    fn from(error: ReadSecretError) -> Self {
        let kind = match error {
            ReadSecretError::Io(error) => return error,
            ReadSecretError::OutOfLockedMemory(_) => io::ErrorKind::OutOfMemory,
            ReadSecretError::EndOfInput => io::ErrorKind::UnexpectedEof,
            ReadSecretError::Interrupted => io::ErrorKind::Other,
            ReadSecretError::TooLong(_)
            | ReadSecretError::NotUtf8(_)
            | ReadSecretError::Length(_)
            | ReadSecretError::Different => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
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

/// The bytes do not have the length of the array that they were to become. They have been wiped if
/// they were a secret of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongLength {
    pub(super) expected: usize,
    pub(super) actual: usize,
}

impl fmt::Display for WrongLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the secret has {} bytes, not {}", self.actual, self.expected)
    }
}

impl std::error::Error for WrongLength {}

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
