//! Sizes of pages, and the limits of the process.

use crate::sys::{Errno, Limits, Memory, System};
use std::io;

/// Size of a page of memory in bytes.
#[inline]
pub fn page_size() -> usize {
    System::page_size()
}

/// Whether the system has pages of `size` bytes: its common ones, or huge ones.
pub fn has_page_size(size: usize) -> bool {
    size == page_size() || System::has_huge_pages(size)
}

/// How many bytes this process may lock in all (`RLIMIT_MEMLOCK`'s soft value): `usize::MAX` when
/// there is no limit or it is unknown. Processes with the capability to lock without limit are told
/// the limit all the same, as Bitcoin Core tells it.
pub fn lock_limit() -> usize {
    System::lock_limit()
}

/// How many bytes this process may lock in all: [`lock_limit`], or `usize::MAX` where the process
/// may exceed it. Takes up to three system calls.
pub(crate) fn effective_lock_limit() -> usize {
    if System::may_exceed_lock_limit() { usize::MAX } else { System::lock_limit() }
}

/// Raises the limit on locked bytes ([`lock_limit`]) as far as the process may on its own, to the
/// hard value of `RLIMIT_MEMLOCK`, and returns what it is then (`usize::MAX` for none). The library
/// never does so unasked: the limit is the process's, and its children inherit it.
///
/// Pools find out the next time they want more locked memory.
///
/// ```
/// use bitcoin_support::{lock_limit, raise_lock_limit};
///
/// // At the start of a program that wants to lock a megabyte.
/// if lock_limit() < 1 << 20 && raise_lock_limit()? < 1 << 20 {
///     eprintln!("only {} bytes can be locked: LimitMEMLOCK= in its unit raises it", lock_limit());
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// When the system refuses, which it does only where a sandbox forbids the call.
pub fn raise_lock_limit() -> io::Result<usize> {
    Ok(System::raise_lock_limit()?)
}

/// How many bytes of addresses this process may have (`RLIMIT_AS`'s soft value): `usize::MAX` when
/// there is no limit or it is unknown.
pub(crate) fn address_limit() -> usize {
    System::address_limit()
}

/// Whether the system has secret memory, asked of it anew; the error number if not.
pub(crate) fn has_secret_memory() -> Result<(), i32> {
    System::has_secret_memory().map_err(Errno::number)
}
