//! `madvise`: what core dumps, children and the kernel's own savings of memory see of pages.

use crate::sys::errno::Errno;
use crate::sys::memory::NotPrivate;
use crate::sys::posix::check;
use core::ffi::c_int;
use core::ptr::NonNull;

/// The advice must be one that does not change what this process sees of its pages.
fn advise(addr: NonNull<u8>, len: usize, advice: c_int) -> Result<(), Errno> {
    // SAFETY: no advice that this file gives changes what this process sees of its pages.
    check(unsafe { libc::madvise(addr.as_ptr().cast(), len, advice) })
}

pub(in crate::sys) fn keep_private(addr: NonNull<u8>, len: usize) -> NotPrivate {
    let dump = advise(addr, len, libc::MADV_DONTDUMP).err();
    // A kernel without same-page merging or huge pages answers EINVAL to the other two, and needs
    // neither. Every kernel knows the first one: where it is refused, a sandbox answers, to all
    // three.
    let refused = |error: &Errno| *error != Errno::EINVAL || dump.is_some();
    let merging = advise(addr, len, libc::MADV_UNMERGEABLE).err().filter(refused);
    let huge_pages = advise(addr, len, libc::MADV_NOHUGEPAGE).err().filter(refused);
    NotPrivate { dump, merging, huge_pages }
}

pub(in crate::sys) fn wipe_in_children(addr: NonNull<u8>, len: usize) -> Result<bool, Errno> {
    advise(addr, len, libc::MADV_WIPEONFORK).map(|()| true)
}

pub(in crate::sys) fn keep_from_children(addr: NonNull<u8>, len: usize) -> Result<bool, Errno> {
    advise(addr, len, libc::MADV_DONTFORK).map(|()| true)
}
