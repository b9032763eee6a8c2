//! Flags and calls for mappings that only Linux has.

use crate::sys::errno::Errno;
use crate::sys::posix::{map_inaccessible, page_size, unlock_reserved, unmap};
use core::ffi::c_int;
use core::ptr::NonNull;
#[cfg(target_os = "linux")]
use libc::mremap;

#[cfg(target_os = "android")]
unsafe extern "C" {
    /// Android's C library has it, and the `libc` crate does not declare it.
    fn mremap(
        addr: *mut libc::c_void,
        len: usize,
        new_len: usize,
        flags: c_int,
        ...
    ) -> *mut libc::c_void;
}

/// Reserved addresses are not counted as memory that the system has promised.
const NO_RESERVE: c_int = libc::MAP_NORESERVE;

/// No flag of `mmap` leaves a mapping out of core dumps: that is an advice here.
pub(in crate::sys) const LEFT_OUT_OF_DUMPS: c_int = 0;

/// The advice that has the kernel take the memory of locked pages (`MADV_DONTNEED_LOCKED`, Linux
/// 5.18).
pub(in crate::sys) const DO_NOT_NEED_LOCKED: Option<c_int> = Some(24);

/// What `mmap` takes to map at an address: with `gone`, only if nothing is there, and else in place
/// of what is there.
pub(in crate::sys) fn flags_in_place(gone: bool) -> c_int {
    NO_RESERVE | if gone { MAP_FIXED_NOREPLACE } else { libc::MAP_FIXED }
}

/// From Linux 4.17 on. The `libc` crate does not have it for Android.
const MAP_FIXED_NOREPLACE: c_int = 0x10_0000;
#[cfg(target_os = "linux")]
const _: () = assert!(MAP_FIXED_NOREPLACE == libc::MAP_FIXED_NOREPLACE);

/// The mapping may move. The `libc` crate does not have it for Android.
const MREMAP_MAYMOVE: c_int = 1;
#[cfg(target_os = "linux")]
const _: () = assert!(MREMAP_MAYMOVE == libc::MREMAP_MAYMOVE);

/// See [`Memory::reserve`](crate::sys::memory::Memory::reserve).
pub(in crate::sys) fn reserve(len: usize) -> Result<NonNull<u8>, Errno> {
    match map_inaccessible(len, NO_RESERVE) {
        // In a process that locks everything, all of it would count against the limit, if only for
        // a moment.
        Err(Errno::EAGAIN) => reserve_by_a_page(len),
        Err(error) => Err(error),
        Ok(addr) => {
            // SAFETY: mapped just now.
            unsafe { unlock_reserved(addr, len) };
            Ok(addr)
        }
    }
}

/// Reserves addresses when the limit on locked memory has no room for all of them: one page,
/// without its lock, grows to the whole.
fn reserve_by_a_page(len: usize) -> Result<NonNull<u8>, Errno> {
    let page = page_size();
    let first = map_inaccessible(page, NO_RESERVE)?;
    // SAFETY: mapped just now.
    unsafe { unlock_reserved(first, page) };
    // SAFETY: mapped above, and used by no one, so that it may move.
    let addr = unsafe { mremap(first.as_ptr().cast(), page, len, MREMAP_MAYMOVE) };
    if addr == libc::MAP_FAILED {
        let error = Errno::last();
        // SAFETY: mapped above and used by no one.
        unsafe { unmap(first.as_ptr(), page) };
        return Err(error);
    }
    NonNull::new(addr.cast()).ok_or(Errno::ENOMEM)
}
