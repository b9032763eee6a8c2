//! Why a pool cannot be made, and why the process-wide one cannot be configured.

use crate::arena::ArenaError;
use crate::pages::{ForkPolicy, MapError, ProtectionError};
use crate::sys::Errno;
use core::fmt;
use std::io;

/// Why a pool cannot be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum PoolError {
    /// The system has no pages of this size in bytes.
    PageSize(usize),
    /// This many bytes cannot be the size of an arena or a granule.
    ChunkSize(usize),
    /// This many bytes have no room for a single arena or chunk.
    MaxSize(usize),
    /// The pages cannot be mapped.
    Map(MapError),
    /// There is no memory for the bookkeeping.
    Arena(ArenaError),
    /// The system has no secret memory; its error number.
    SecretMemory(i32),
    /// Secret memory cannot be in a child process, as this policy wants it.
    SecretMemoryInChild(ForkPolicy),
    /// Secret memory has pages of the common size only, not of this many bytes.
    SecretMemoryPageSize(usize),
    /// The limit on locked memory cannot be raised.
    LockLimit(io::Error),
    /// The system refuses a protection that the options require.
    Protection(ProtectionError),
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageSize(size) => {
                write!(f, "LockedPool: the system has no pages of {size} bytes")
            }
            Self::ChunkSize(size) => write!(
                f,
                "LockedPool: chunk size {size}: a pool wants a multiple of the page size, an arena a \
                 power of two"
            ),
            Self::MaxSize(size) => {
                write!(
                    f,
                    "LockedPool: maximum size {size} has no room for a chunk of the chunk size"
                )
            }
            Self::Map(error) => error.fmt(f),
            Self::Arena(error) => error.fmt(f),
            Self::SecretMemory(errno) => {
                let why = io::Error::from_raw_os_error(*errno);
                // An old kernel does not know the call. Where the answer is another one, a newer
                // kernel would not help.
                let remedy = match Errno::of(*errno) {
                    Errno::ENOSYS => {
                        "it wants Linux 5.14 or newer, not booted with secretmem.enable=0 (before 6.5: booted with \
                         secretmem.enable=1), and a sandbox that allows memfd_secret"
                    }
                    Errno::EMFILE | Errno::ENFILE => {
                        "it wants a free file descriptor, for a moment"
                    }
                    _ => "it wants a sandbox that allows memfd_secret",
                };
                write!(f, "LockedPool: the system has no secret memory: {why}; {remedy}")
            }
            Self::SecretMemoryInChild(policy) => write!(
                f,
                "LockedPool: secret memory cannot be kept in a child process: fork policy {policy:?} must \
                 be Absent"
            ),
            Self::SecretMemoryPageSize(size) => {
                write!(f, "LockedPool: secret memory has no pages of {size} bytes")
            }
            Self::Protection(error) => write!(f, "LockedPool: {error}"),
            Self::LockLimit(error) => {
                write!(f, "LockedPool: the limit on locked memory cannot be raised: {error}")
            }
        }
    }
}

impl std::error::Error for PoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Map(error) => Some(error),
            Self::Arena(error) => Some(error),
            Self::LockLimit(error) => Some(error),
            Self::Protection(error) => Some(error),
            _ => None,
        }
    }
}

impl From<PoolError> for String {
    fn from(error: PoolError) -> Self {
        error.to_string()
    }
}

/// Why the process-wide pool cannot be configured. It is as it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigureError {
    /// It is in use already: something has been allocated from it.
    InUse,
    /// The sizes of its pages and arenas are fixed, and it has no maximum.
    Size,
    /// The manager is not the process-wide one.
    NotProcessWide,
    /// With this policy children of the process would find other values than their parent had, also
    /// where safe code holds references to them.
    ForkPolicy(ForkPolicy),
    /// The options contradict each other, or the system refuses.
    Pool(PoolError),
}

impl fmt::Display for ConfigureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str(
                "LockedPoolManager: the process-wide pool is in use already; configure it before anything \
                 is allocated from it, at the beginning of main or in a static initializer",
            ),
            Self::Size => f.write_str(
                "LockedPoolManager: the process-wide pool has fixed sizes; make a pool of your own for others",
            ),
            Self::NotProcessWide => f.write_str(
                "LockedPoolManager: only the process-wide manager has a pool to configure; give others \
                 pools made with options",
            ),
            Self::ForkPolicy(policy) => write!(
                f,
                "LockedPoolManager: fork policy {policy:?} changes secrets under those who hold them; to vouch \
                 for what child processes do, use configure_unchecked"
            ),
            Self::Pool(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConfigureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pool(error) => Some(error),
            _ => None,
        }
    }
}

impl From<PoolError> for ConfigureError {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}
