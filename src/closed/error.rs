//! What can go wrong with a closed secret.

use crate::pages::MapError;
use crate::secure::OutOfLockedMemory;
use core::fmt;
use std::io;

/// Why a secret could not be closed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClosedError {
    /// There are no locked pages for the secret.
    OutOfLockedMemory(OutOfLockedMemory),
    /// The system refuses to change the access to the pages; its error number. A sandbox does that,
    /// and a process that has as many mappings as it may have (`vm.max_map_count`). On Windows
    /// secrets cannot be closed at all.
    Refused(i32),
    /// This process is a child of `fork`, and the secret has stayed with the parent.
    Absent,
}

impl fmt::Display for ClosedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfLockedMemory(error) => error.fmt(f),
            Self::Refused(errno) => {
                let why = io::Error::from_raw_os_error(*errno);
                write!(f, "cannot change the access to the pages of a closed secret: {why}")
            }
            Self::Absent => f.write_str("the closed secret has stayed with the parent process"),
        }
    }
}

impl std::error::Error for ClosedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OutOfLockedMemory(error) => Some(error),
            Self::Refused(_) | Self::Absent => None,
        }
    }
}

impl From<OutOfLockedMemory> for ClosedError {
    fn from(error: OutOfLockedMemory) -> Self {
        Self::OutOfLockedMemory(error)
    }
}

/// A refusal to change the access to pages.
impl From<MapError> for ClosedError {
    fn from(error: MapError) -> Self {
        Self::Refused(error.errno())
    }
}

/// For functions that return an [`io::Result`]. The error is the source of the other.
impl From<ClosedError> for io::Error {
    fn from(error: ClosedError) -> Self {
        let kind = match error {
            ClosedError::OutOfLockedMemory(_) => io::ErrorKind::OutOfMemory,
            ClosedError::Refused(errno) => Self::from_raw_os_error(errno).kind(),
            ClosedError::Absent => io::ErrorKind::NotFound,
        };
        Self::new(kind, error)
    }
}
