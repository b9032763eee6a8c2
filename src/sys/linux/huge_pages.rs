//! Huge pages (`MAP_HUGETLB`), which the system's administrator sets aside. Under Android there are
//! none.

use super::mapping::reserve;
use crate::sys::errno::Errno;
use crate::sys::posix::{page_size, unmap};
use core::ffi::c_int;
use core::ptr::NonNull;
use std::path::Path;

pub(in crate::sys) fn has_huge_pages(size: usize) -> bool {
    let folder = || format!("/sys/kernel/mm/hugepages/hugepages-{}kB", size / 1024);
    cfg!(target_os = "linux") && size.is_power_of_two() && Path::new(&folder()).exists()
}

pub(in crate::sys) fn map_guarded_huge(len: usize, huge: usize) -> Result<NonNull<u8>, Errno> {
    let page = page_size();
    let whole_len = len.checked_add(2 * huge).ok_or(Errno::ENOMEM)?;
    let whole = reserve(whole_len)?.as_ptr();
    // At least a page of the common size is left on either side.
    let inner = whole.wrapping_add(page);
    let inner = inner.wrapping_add(inner.align_offset(huge));
    let size_flag = (huge.trailing_zeros() as c_int) << libc::MAP_HUGE_SHIFT;
    let flags =
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_HUGETLB | size_flag;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: replaces addresses that were reserved above and are used by no one.
    let mapped = unsafe { libc::mmap(inner.cast(), len, access, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        let error = Errno::last();
        // SAFETY: reserved above and used by no one.
        unsafe { unmap(whole, whole_len) };
        return Err(error);
    }
    // Give up what lies outside the guard pages.
    let (first, end) = (inner.wrapping_sub(page), inner.wrapping_add(len + page));
    for (from, to) in [(whole, first), (end, whole.wrapping_add(whole_len))] {
        if from < to {
            // SAFETY: reserved above and used by no one.
            unsafe { unmap(from, to.addr() - from.addr()) };
        }
    }
    NonNull::new(inner).ok_or(Errno::ENOMEM)
}
