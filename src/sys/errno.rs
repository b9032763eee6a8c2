//! The system's error numbers.

use std::io;

/// An error number of the operating system. Its constants have the system's names, and are defined
/// beside the calls of each system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(i32);

impl Errno {
    /// No error is known: a foreign source of memory has told of none.
    pub(crate) const NONE: Self = Self(0);

    /// The error with this number.
    pub(crate) const fn of(number: i32) -> Self {
        Self(number)
    }

    /// The number.
    pub(crate) const fn number(self) -> i32 {
        self.0
    }

    /// The error of the calling thread's last system call, which must have failed.
    pub(super) fn last() -> Self {
        Self(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

impl From<Errno> for io::Error {
    fn from(error: Errno) -> Self {
        Self::from_raw_os_error(error.0)
    }
}
