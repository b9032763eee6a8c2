//! POSIX's calls, for `unix` and for the files about single systems.

use super::errno::Errno;
use super::memory::{LockRefusal, PageAccess};
use core::ffi::c_int;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

impl Errno {
    pub(crate) const EACCES: Self = Self::of(libc::EACCES);
    pub(crate) const EAGAIN: Self = Self::of(libc::EAGAIN);
    pub(crate) const EINVAL: Self = Self::of(libc::EINVAL);
    pub(crate) const EMFILE: Self = Self::of(libc::EMFILE);
    pub(crate) const ENFILE: Self = Self::of(libc::ENFILE);
    pub(crate) const ENOMEM: Self = Self::of(libc::ENOMEM);
    pub(crate) const ENOSYS: Self = Self::of(libc::ENOSYS);
    pub(crate) const EPERM: Self = Self::of(libc::EPERM);

    /// Whether this is the error of a sandbox that forbids a call, where the call itself cannot
    /// fail with it.
    pub(crate) fn is_of_a_sandbox(self) -> bool {
        matches!(self, Self::EPERM | Self::EACCES | Self::ENOSYS)
    }
}

/// The answer of a call that returns 0 or else has an error.
pub(super) fn check(result: c_int) -> Result<(), Errno> {
    if result == 0 { Ok(()) } else { Err(Errno::last()) }
}

/// See [`Memory::page_size`](super::memory::Memory::page_size).
#[inline]
pub(super) fn page_size() -> usize {
    // The value never changes. Two threads that find it unknown both ask.
    static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);
    match PAGE_SIZE.load(Relaxed) {
        0 => {
            // SAFETY: sysconf takes no pointers.
            let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
            assert!(size.is_power_of_two(), "the system has no page size");
            PAGE_SIZE.store(size, Relaxed);
            size
        }
        size => size,
    }
}

/// Maps addresses that have no memory and no access, with further flags of `mmap`.
pub(super) fn map_inaccessible(len: usize, flags: c_int) -> Result<NonNull<u8>, Errno> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: asks for a new mapping at a place of the system's choice; nothing existing changes.
    let addr = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
    if addr == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    NonNull::new(addr.cast()).ok_or(Errno::ENOMEM)
}

/// Takes the lock off that the process's `mlockall` has put on new addresses: they would count
/// against the limit on locked memory for as long as they are reserved. Where that is refused, they
/// count.
///
/// # Safety
/// The caller must own the addresses, which must be reserved.
pub(super) unsafe fn unlock_reserved(addr: NonNull<u8>, len: usize) {
    // SAFETY: unlocking changes where pages live, and there are none here.
    unsafe { libc::munlock(addr.as_ptr().cast(), len) };
}

/// See [`Memory::make_accessible`](super::memory::Memory::make_accessible).
///
/// # Safety
/// The caller must own the addresses, which must be reserved.
pub(super) unsafe fn make_accessible(addr: NonNull<u8>, len: usize) -> Result<(), Errno> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the caller owns the addresses. Readers of zeros there go on reading zeros.
    check(unsafe { libc::mprotect(addr.as_ptr().cast(), len, access) })
}

/// [`Memory::set_access`](super::memory::Memory::set_access), for all threads alike.
///
/// # Safety
/// The caller must own the pages, and no thread may use them in a way that the new access forbids.
pub(super) unsafe fn set_access(
    addr: NonNull<u8>,
    len: usize,
    access: PageAccess,
) -> Result<(), Errno> {
    // SAFETY: the caller owns the pages, and no thread uses them in a way that is forbidden from
    // now on.
    check(unsafe { libc::mprotect(addr.as_ptr().cast(), len, bits_of(access)) })
}

/// What `mprotect` takes for an access.
pub(super) fn bits_of(access: PageAccess) -> c_int {
    match access {
        PageAccess::Closed => libc::PROT_NONE,
        PageAccess::Read => libc::PROT_READ,
        PageAccess::Write => libc::PROT_READ | libc::PROT_WRITE,
    }
}

/// See [`Threads::without_signals`](super::threads::Threads::without_signals); `but` are the
/// signals that are not blocked. Where a sandbox refuses to block signals, they stay as they are.
pub(super) fn without_signals<R>(but: &[c_int], function: impl FnOnce() -> R) -> R {
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: places for a set of signals each; the first is filled before the kernel reads it.
    let is_blocked = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        for &signal in but {
            libc::sigdelset(all.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) == 0
    };
    let result = function();
    if is_blocked {
        // SAFETY: the call above has written the set.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    }
    result
}

/// [`Memory::unmap`](super::memory::Memory::unmap), also for a part of a mapping.
///
/// # Safety
/// The caller must own the pages, which must be used by no one.
pub(super) unsafe fn unmap(addr: *mut u8, len: usize) {
    let at = addr.cast();
    // SAFETY: the caller owns the pages, which no one uses.
    if unsafe { libc::munmap(at, len) } == 0 {
        return;
    }
    if !Errno::last().is_of_a_sandbox() {
        std::process::abort();
    }
    // SAFETY: the caller owns the pages, which no one uses; a call that is refused leaves them as
    // they are.
    unsafe {
        libc::munlock(at, len);
        libc::madvise(at, len, libc::MADV_DONTNEED);
        libc::mprotect(at, len, libc::PROT_NONE);
    }
}

/// What came of an attempt to lock pages as they come into memory.
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    expect(dead_code, reason = "only Linux has such a call")
)]
pub(super) enum LockOnFault {
    Locked,
    /// `mlock` would be refused as well.
    Refused(LockRefusal),
    /// There is no such call, or it may not be used here. That says nothing of `mlock`.
    NotMade,
}

/// See [`Limits::lock_limit`](super::limits::Limits::lock_limit).
pub(super) fn lock_limit() -> usize {
    LOCKED_MEMORY.map_or(usize::MAX, soft_limit)
}

/// See [`Limits::address_limit`](super::limits::Limits::address_limit).
pub(super) fn address_limit() -> usize {
    soft_limit(ADDRESSES)
}

/// See [`Limits::raise_lock_limit`](super::limits::Limits::raise_lock_limit).
pub(super) fn raise_lock_limit() -> Result<usize, Errno> {
    let Some(resource) = LOCKED_MEMORY else { return Ok(usize::MAX) };
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    check(unsafe { libc::getrlimit(resource, &mut limit) })?;
    if limit.rlim_cur != limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is valid for the call, which reads it.
        check(unsafe { libc::setrlimit(resource, &limit) })?;
    }
    Ok(lock_limit())
}

/// See [`Hardening::forbid_core_files`](super::hardening::Hardening::forbid_core_files).
pub(super) fn forbid_core_files() -> Result<(), Errno> {
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the call, which reads it.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) })
}

/// The limit on locked memory. illumos and Solaris have none for a single process.
#[cfg(not(any(target_os = "illumos", target_os = "solaris")))]
const LOCKED_MEMORY: Option<Resource> = Some(libc::RLIMIT_MEMLOCK);
#[cfg(any(target_os = "illumos", target_os = "solaris"))]
const LOCKED_MEMORY: Option<Resource> = None;

/// The limit on addresses. OpenBSD has one on data, which counts all memory without a file.
#[cfg(not(target_os = "openbsd"))]
const ADDRESSES: Resource = libc::RLIMIT_AS;
#[cfg(target_os = "openbsd")]
const ADDRESSES: Resource = libc::RLIMIT_DATA;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
type Resource = c_int;

fn soft_limit(resource: Resource) -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    if unsafe { libc::getrlimit(resource, &mut limit) } != 0
        || limit.rlim_cur == libc::RLIM_INFINITY
    {
        return usize::MAX;
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}
