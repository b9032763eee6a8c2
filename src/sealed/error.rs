//! What can go wrong with a sealed secret.

use crate::secure::OutOfLockedMemory;
use core::fmt;
use std::io;

/// Why a secret could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealedError {
    /// There is no locked memory for the sealing key, or for the opened secret.
    OutOfLockedMemory(OutOfLockedMemory),
    /// There is no memory on the ordinary heap for the sealed secret.
    OutOfMemory,
    /// The system has no random numbers for a key.
    NoRandomness,
    /// The sealed bytes are not those that were sealed: they have been changed, or exchanged for
    /// those of another secret or of an earlier time, without the object that they belong to.
    /// Nothing of them has been shown.
    Tampered,
    /// The key is gone, and with it the secret: [`wipe_everything`](crate::wipe_everything) has
    /// wiped it, or the process is a child of `fork` and the pool's memory has stayed with its
    /// parent, or (in C only) the key was rotated out.
    KeyWiped,
    /// The key cannot be rotated again, or a first one cannot be made: secrets that are not sealed
    /// anew use all keys that there may be. (So do threads that are just opening secrets, for
    /// microseconds; and in a child of `fork`, those that the parent's other threads were opening,
    /// for good.)
    KeysInUse,
    /// A signal handler has interrupted this thread while it was exchanging sealing keys, and seals
    /// or opens.
    Interrupted,
}

impl fmt::Display for SealedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfLockedMemory(error) => return error.fmt(f),
            Self::OutOfMemory => "no memory for a sealed secret",
            Self::NoRandomness => "the system cannot supply random bytes for a sealing key",
            Self::Tampered => "the sealed secret has been changed or exchanged",
            Self::KeyWiped => "the key of the sealed secret has been wiped",
            Self::KeysInUse => {
                "the sealing key cannot be rotated again before older secrets are sealed anew"
            }
            Self::Interrupted => "a signal handler has interrupted an exchange of sealing keys",
        })
    }
}

impl std::error::Error for SealedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OutOfLockedMemory(error) => Some(error),
            _ => None,
        }
    }
}

impl From<OutOfLockedMemory> for SealedError {
    fn from(error: OutOfLockedMemory) -> Self {
        Self::OutOfLockedMemory(error)
    }
}

/// For functions that return an [`io::Result`]. The error is the source of the other.
impl From<SealedError> for io::Error {
    fn from(error: SealedError) -> Self {
        let kind = match error {
            SealedError::OutOfLockedMemory(_) | SealedError::OutOfMemory => {
                io::ErrorKind::OutOfMemory
            }
            SealedError::Tampered => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
