//! The contract about limits.

use super::errno::Errno;
use core::ffi::CStr;

/// What the process may have. Limits are in bytes; `usize::MAX` stands for no limit and for an
/// unknown one.
pub(crate) trait Limits {
    /// How much the process may lock, for a process without privileges. 0 if it may lock nothing.
    fn lock_limit() -> usize;

    /// Raises the limit on locked memory as far as the process may by itself, and returns what it
    /// is then. On Windows, where that would take memory from other processes, to 64 MiB at most.
    fn raise_lock_limit() -> Result<usize, Errno>;

    /// Whether the process may lock more than the limit. Takes up to two system calls.
    fn may_exceed_lock_limit() -> bool;

    /// How many addresses the process may have.
    fn address_limit() -> usize;

    /// What an administrator can do about a refused lock, with the error number
    /// ([`Errno::NONE`] if that is not known) and the limit that was in force: a line of ASCII.
    fn lock_remedy(errno: Errno, limit: usize) -> &'static CStr;
}
