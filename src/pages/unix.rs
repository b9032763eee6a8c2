//! `mmap`, `mprotect`, `mlock`, `madvise` and `getrlimit`.

use super::{
    LockError, LockedAllocation, LockedPageAllocator, LockedPages, Protection, Refusals, errno_of,
};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::io;

/// [`LockedPageAllocator`] over [`LockedPages`]: the operating system's own memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct PosixLockedPageAllocator;

impl LockedPageAllocator for PosixLockedPageAllocator {
    fn allocate_locked(&mut self, len: usize) -> Option<LockedAllocation> {
        Some(LockedPages::new(len).ok()?.into_raw())
    }

    unsafe fn free_locked(&mut self, addr: NonNull<u8>, len: usize) {
        // SAFETY: the caller returns what `allocate_locked` gave for the same length, once.
        drop(unsafe { LockedPages::from_raw(addr, len) });
    }

    fn limit(&self) -> usize {
        limit()
    }
}

pub(super) fn page_size() -> usize {
    // The value never changes, so a race only asks twice.
    static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);
    match PAGE_SIZE.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: sysconf takes no pointers.
            let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
            assert!(size.is_power_of_two(), "the system has no page size");
            PAGE_SIZE.store(size, Ordering::Relaxed);
            size
        }
        size => size,
    }
}

/// Maps `len` zero bytes between two inaccessible pages. `len` is a positive multiple of the page
/// size, small enough that two pages more fit the address space.
pub(super) fn map_guarded(len: usize) -> io::Result<NonNull<u8>> {
    let inner = reserve_guarded(len)?;
    // SAFETY: addresses set aside above, which nobody uses.
    if let Err(error) = unsafe { make_accessible(inner, len) } {
        let page = page_size();
        let whole = inner.as_ptr().wrapping_sub(page);
        // SAFETY: the mapping was made above and is not used by anyone.
        unsafe { unmap(whole, len + 2 * page) };
        return Err(error);
    }
    Ok(inner)
}

/// Sets `len` bytes of addresses aside between two pages that are to stay inaccessible. `len` is as for
/// [`map_guarded`].
pub(super) fn reserve_guarded(len: usize) -> io::Result<NonNull<u8>> {
    let page = page_size();
    let whole = reserve(len + 2 * page)?;
    NonNull::new(whole.as_ptr().wrapping_add(page)).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Whether the system has pages of `size` bytes besides its common ones.
pub(super) fn has_huge_pages(size: usize) -> bool {
    cfg!(target_os = "linux")
        && size.is_power_of_two()
        && std::path::Path::new(&format!("/sys/kernel/mm/hugepages/hugepages-{}kB", size / 1024))
            .exists()
}

/// [`map_guarded`] with huge pages, of which `len` is a multiple.
#[cfg(target_os = "linux")]
pub(super) fn map_guarded_huge(len: usize, huge: usize) -> io::Result<NonNull<u8>> {
    let page = page_size();
    let whole_len = len.checked_add(2 * huge).ok_or(io::ErrorKind::OutOfMemory)?;
    let whole = reserve(whole_len)?.as_ptr();
    // At least a common page is left on either side.
    let inner = whole.wrapping_add(page);
    let inner = inner.wrapping_add(inner.align_offset(huge));
    let size_flag = (huge.trailing_zeros() as libc::c_int) << libc::MAP_HUGE_SHIFT;
    let flags =
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_HUGETLB | size_flag;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: replaces addresses that were set aside above and are used by nobody.
    let mapped = unsafe { libc::mmap(inner.cast(), len, access, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        let error = io::Error::last_os_error();
        // SAFETY: set aside above and used by nobody.
        unsafe { unmap(whole, whole_len) };
        return Err(error);
    }
    // Give up what lies outside the guard pages.
    let (first, end) = (inner.wrapping_sub(page), inner.wrapping_add(len + page));
    for (from, to) in [(whole, first), (end, whole.wrapping_add(whole_len))] {
        if from < to {
            // SAFETY: set aside above and used by nobody.
            unsafe { unmap(from, to.addr() - from.addr()) };
        }
    }
    NonNull::new(inner).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn map_guarded_huge(_: usize, _: usize) -> io::Result<NonNull<u8>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Sets addresses aside, which have no memory and are not locked, also in a process that has everything locked
/// that it maps (`mlockall` with `MCL_FUTURE`).
pub(super) fn reserve(len: usize) -> io::Result<NonNull<u8>> {
    match map_inaccessible(len) {
        // All of it would count against the limit, if only for a moment.
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => reserve_by_a_page(len, error),
        outcome => {
            let addr = outcome?;
            // SAFETY: mapped just now.
            unsafe { unlock_inaccessible(addr, len) };
            Ok(addr)
        }
    }
}

fn map_inaccessible(len: usize) -> io::Result<NonNull<u8>> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const FLAGS: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const FLAGS: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: asks for a new mapping at a place of the system's choice; nothing existing changes.
    let addr = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, FLAGS, -1, 0) };
    if addr == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(addr.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Takes the lock off that the process's `mlockall` has put on new addresses: there is nothing in them, and they
/// would count against the limit on locked memory for as long as they are set aside. Where that is refused, they
/// count.
///
/// # Safety
/// They must be addresses that nobody uses, in a mapping of this module's.
unsafe fn unlock_inaccessible(addr: NonNull<u8>, len: usize) {
    // SAFETY: by this function's contract; unlocking changes where pages live, not what they hold.
    unsafe { libc::munlock(addr.as_ptr().cast(), len) };
}

/// Unlocks whole pages.
pub(super) fn unlock(pages: &[u8]) {
    // SAFETY: the pages are mapped, and unlocking changes where they live, not what they hold.
    unsafe { libc::munlock(pages.as_ptr().cast(), pages.len()) };
}

/// [`reserve`], when the limit on locked memory has no room for the whole: a page, without its lock, grows to it.
#[cfg(target_os = "linux")]
fn reserve_by_a_page(len: usize, _: io::Error) -> io::Result<NonNull<u8>> {
    let page = page_size();
    let first = map_inaccessible(page)?;
    // SAFETY: mapped just now.
    unsafe { unlock_inaccessible(first, page) };
    // SAFETY: mapped above, and used by nobody, so that it may move.
    let addr = unsafe { libc::mremap(first.as_ptr().cast(), page, len, libc::MREMAP_MAYMOVE) };
    if addr == libc::MAP_FAILED {
        let error = io::Error::last_os_error();
        // SAFETY: mapped above and used by nobody.
        unsafe { unmap(first.as_ptr(), page) };
        return Err(error);
    }
    NonNull::new(addr.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

#[cfg(not(target_os = "linux"))]
fn reserve_by_a_page(_: usize, refused: io::Error) -> io::Result<NonNull<u8>> {
    Err(refused)
}

/// Ordinary memory full of zeros, which the system provides page by page as it is touched, also in a process that
/// has everything locked that it maps.
pub(super) fn map_zeroed(len: usize) -> io::Result<NonNull<u8>> {
    zeros(len, libc::PROT_READ | libc::PROT_WRITE)
}

/// Zeros that can be read, without memory of their own, and without a part in what the system has promised to
/// processes (`vm.overcommit_memory`). [`make_accessible`] turns whole pages into memory.
pub(super) fn map_readable(len: usize) -> io::Result<NonNull<u8>> {
    zeros(len, libc::PROT_READ)
}

fn zeros(len: usize, access: libc::c_int) -> io::Result<NonNull<u8>> {
    let addr = reserve(len)?;
    // SAFETY: set aside above, and used by nobody.
    if unsafe { libc::mprotect(addr.as_ptr().cast(), len, access) } != 0 {
        let error = io::Error::last_os_error();
        // SAFETY: as above.
        unsafe { give_back(addr, len) };
        return Err(error);
    }
    Ok(addr)
}

/// Makes reserved addresses readable and writable.
///
/// # Safety
/// They must come from [`reserve`] or [`reserve_guarded`], whatever of ours lies there now, and be used by
/// nobody; or from [`map_readable`], whose readers go on reading zeros.
pub(super) unsafe fn make_accessible(addr: NonNull<u8>, len: usize) -> io::Result<()> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: by this function's contract.
    match unsafe { libc::mprotect(addr.as_ptr().cast(), len, access) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the kernel take the memory of pages, which are zeros from then on.
///
/// # Safety
/// They must be a mapping of this module's, and be used by nobody, or by those who may end the process.
unsafe fn give_memory_up(at: *mut libc::c_void, len: usize) -> libc::c_int {
    // SAFETY: by this function's contract.
    let result = unsafe { libc::madvise(at, len, libc::MADV_DONTNEED) };
    // Under AddressSanitizer `munlock` does nothing, and pages that are locked are not taken so.
    #[cfg(target_os = "linux")]
    if result != 0 && last_errno() == libc::EINVAL {
        const MADV_DONTNEED_LOCKED: libc::c_int = 24;
        // SAFETY: by this function's contract.
        return unsafe { libc::madvise(at, len, MADV_DONTNEED_LOCKED) };
    }
    result
}

/// Turns pages into reserved addresses, which unlocks them and gives their memory up.
///
/// # Safety
/// They must be a mapping of this module's, and be used by nobody, or by those who may end the process.
pub(super) unsafe fn make_inaccessible(addr: NonNull<u8>, len: usize) {
    let at = addr.as_ptr().cast();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: by this function's contract nobody uses what the new mapping replaces.
    if unsafe { libc::mmap(at, len, libc::PROT_NONE, flags, -1, 0) } != libc::MAP_FAILED {
        // SAFETY: mapped just now.
        return unsafe { unlock_inaccessible(addr, len) };
    }
    // A process that has as many mappings as it may have gets no new one, also not in place of another.
    // SAFETY: by this function's contract nobody uses the pages; none of these calls makes a mapping.
    let result = unsafe {
        libc::munlock(at, len) | give_memory_up(at, len) | libc::mprotect(at, len, libc::PROT_NONE)
    };
    // Nobody refuses this but a sandbox, or our own bookkeeping is broken.
    if result != 0 && !is_of_a_sandbox(last_errno()) {
        std::process::abort();
    }
}

/// Gives reserved addresses back to the system.
///
/// # Safety
/// They must come from [`reserve`], [`map_zeroed`] or [`map_readable`], whole, and be used by nobody.
pub(super) unsafe fn give_back(addr: NonNull<u8>, len: usize) {
    // SAFETY: by this function's contract.
    unsafe { unmap(addr.as_ptr(), len) };
}

/// Unlocks and unmaps what [`map_guarded`] or [`reserve_guarded`] mapped, guard pages included. Unmapping
/// unlocks.
///
/// # Safety
/// `addr` must come from one of them with the same `len`, not be unmapped yet, and be used by nobody.
pub(super) unsafe fn unmap_guarded(addr: NonNull<u8>, len: usize) {
    let page = page_size();
    let whole = addr.as_ptr().wrapping_sub(page);
    // SAFETY: by this function's contract the range is one whole mapping that nobody uses.
    if unsafe { libc::munmap(whole.cast(), len + 2 * page) } == 0 {
        return;
    }
    // The kernel may have merged a guard page with a neighbouring mapping, and refuses to split that
    // one when the process has as many mappings as it may have. Without the guard pages nothing has
    // to be split. Should that fail too, something else has changed our mapping.
    // SAFETY: as above; the guard pages stay, which nobody can use.
    unsafe { unmap(addr.as_ptr(), len) };
}

/// Unmaps pages. That can fail only if our own bookkeeping is broken, which ends the process; or if a sandbox forbids
/// it: then the addresses stay, without memory as far as the sandbox allows that, and inaccessible.
///
/// # Safety
/// They must be a mapping of this module's, or pages of one, and be used by nobody.
unsafe fn unmap(addr: *mut u8, len: usize) {
    let at = addr.cast();
    // SAFETY: by this function's contract.
    if unsafe { libc::munmap(at, len) } == 0 {
        return;
    }
    if !is_of_a_sandbox(last_errno()) {
        std::process::abort();
    }
    // SAFETY: by this function's contract nobody uses the pages; what is refused leaves them as they are.
    unsafe {
        libc::munlock(at, len);
        libc::madvise(at, len, libc::MADV_DONTNEED);
        libc::mprotect(at, len, libc::PROT_NONE);
    }
}

/// Whether an error to a call that cannot fail with it is that of a sandbox which forbids the call.
fn is_of_a_sandbox(errno: i32) -> bool {
    matches!(errno, libc::EPERM | libc::EACCES | libc::ENOSYS)
}

/// Excludes the pages from core dumps, from merging with equal pages and from huge pages (which
/// would lock more memory than was asked for), all as far as this system knows the notion. Tries
/// everything, and returns what was refused.
pub(super) fn keep_private(addr: NonNull<u8>, len: usize) -> Refusals {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const ADVICE: &[(libc::c_int, Protection)] = &[
        (libc::MADV_DONTDUMP, Protection::DumpExclusion),
        (libc::MADV_UNMERGEABLE, Protection::NoMerging),
        (libc::MADV_NOHUGEPAGE, Protection::NoHugePages),
    ];
    #[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
    const ADVICE: &[(libc::c_int, Protection)] = &[(libc::MADV_NOCORE, Protection::DumpExclusion)];
    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "dragonfly"
    )))]
    const ADVICE: &[(libc::c_int, Protection)] = &[];

    let mut refusals = Refusals::default();
    let mut refuses_all = false;
    for &(advice, protection) in ADVICE {
        // SAFETY: none of these changes the contents of the range, which the caller owns.
        if unsafe { libc::madvise(addr.as_ptr().cast(), len, advice) } == 0 {
            continue;
        }
        let errno = last_errno();
        // A kernel without same-page merging or huge pages answers EINVAL to the last two, and needs neither. Where
        // the first one is refused like that, which every kernel knows, it is a sandbox that answers.
        refuses_all |= protection == Protection::DumpExclusion;
        if errno != libc::EINVAL || refuses_all {
            refusals.add(protection, errno);
        }
    }
    refusals
}

/// Locks pages: those in memory at once, the others as they come to be, in which there is nothing before. So
/// locking touches none of them, and copies none that a child process shares with its parent. (All of them
/// count against the limit at once.) Where the system or a sandbox refuses that call, `mlock` locks them: it
/// brings every page into memory.
pub(super) fn try_lock(addr: NonNull<u8>, len: usize) -> Result<(), LockError> {
    match lock_on_fault(addr, len) {
        Attempt::Locked => Ok(()),
        Attempt::Refused(error) => Err(error),
        Attempt::NotMade => lock_now(addr, len),
    }
}

/// What came of an attempt to lock pages as they come into memory.
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    expect(dead_code, reason = "there is no such call")
)]
enum Attempt {
    Locked,
    /// `mlock` would be refused as well.
    Refused(LockError),
    /// There is no such call, or it may not be used here. That says nothing of `mlock`.
    NotMade,
}

fn lock_now(addr: NonNull<u8>, len: usize) -> Result<(), LockError> {
    // SAFETY: locking changes where pages live, not what they hold.
    match unsafe { libc::mlock(addr.as_ptr().cast(), len) } {
        0 => Ok(()),
        _ => Err(LockError { errno: last_errno(), limit: limit() }),
    }
}

/// `mlock2`, which Linux has from 4.4 on.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn lock_on_fault(addr: NonNull<u8>, len: usize) -> Attempt {
    const MLOCK_ONFAULT: libc::c_int = 1;
    /// Whether the call has been refused whatever its arguments: by an old kernel, by a kernel that imitates
    /// Linux, or by a sandbox whose list has `mlock` alone. A sandbox is never taken down, and a child
    /// process has its parent's, so nobody has to ask again.
    static UNKNOWN: AtomicBool = AtomicBool::new(false);
    if UNKNOWN.load(Ordering::Relaxed) {
        return Attempt::NotMade;
    }
    // SAFETY: locking changes where pages live, not what they hold.
    if unsafe { libc::syscall(libc::SYS_mlock2, addr.as_ptr(), len, MLOCK_ONFAULT) } == 0 {
        return Attempt::Locked;
    }
    let error = LockError { errno: last_errno(), limit: limit() };
    match error.errno {
        // The limit's answers, which are also those of a process that has no more mappings or no more memory:
        // `mlock` meets the same limit, and is asked only where there is none.
        libc::ENOMEM | libc::EAGAIN if error.limit != usize::MAX => Attempt::Refused(error),
        libc::ENOMEM | libc::EAGAIN => Attempt::NotMade,
        // A limit of 0 has the same answer as many a sandbox, and may be raised later.
        libc::EPERM if error.limit == 0 => Attempt::NotMade,
        _ => {
            UNKNOWN.store(true, Ordering::Relaxed);
            Attempt::NotMade
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn lock_on_fault(_: NonNull<u8>, _: usize) -> Attempt {
    Attempt::NotMade
}

fn last_errno() -> i32 {
    errno_of(&io::Error::last_os_error())
}

/// Lets child processes find zeros in the pages.
pub(super) fn wipe_on_fork(addr: NonNull<u8>, len: usize) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return advise(addr, len, libc::MADV_WIPEONFORK);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return Err(no_such_advice(addr, len));
}

/// Keeps the pages from child processes.
pub(super) fn do_not_fork(addr: NonNull<u8>, len: usize) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return advise(addr, len, libc::MADV_DONTFORK);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return Err(no_such_advice(addr, len));
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn advise(addr: NonNull<u8>, len: usize, advice: libc::c_int) -> io::Result<()> {
    // SAFETY: the advice is one that does not change what this process sees of its pages.
    match unsafe { libc::madvise(addr.as_ptr().cast(), len, advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn no_such_advice(_: NonNull<u8>, _: usize) -> io::Error {
    io::ErrorKind::Unsupported.into()
}

/// In a child process, makes pages inaccessible, whose addresses stay set aside. `gone` says that the
/// system has kept them from the child; then somebody else may have the addresses by now, which is what
/// `false` says.
///
/// # Safety
/// The pages must be a mapping of this module's, which nobody uses any more.
pub(super) unsafe fn withdraw(addr: NonNull<u8>, len: usize, gone: bool) -> bool {
    let at = addr.as_ptr().cast();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let flags =
        flags | libc::MAP_NORESERVE | if gone { MAP_FIXED_NOREPLACE } else { libc::MAP_FIXED };
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let flags = flags | libc::MAP_FIXED;
    // SAFETY: replaces nothing, or by this function's contract something that nobody uses.
    let mapped = unsafe { libc::mmap(at, len, libc::PROT_NONE, flags, -1, 0) };
    if mapped != at && mapped != libc::MAP_FAILED {
        // A kernel before 4.17 takes the address for a wish.
        // SAFETY: mapped just now, and used by nobody.
        unsafe { libc::munmap(mapped, len) };
    }
    if mapped != at && !gone {
        // It would have what it must not have.
        std::process::abort();
    }
    mapped == at
}

/// Linux's, which the `libc` crate does not have for Android.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MAP_FIXED_NOREPLACE: libc::c_int = 0x10_0000;
#[cfg(target_os = "linux")]
const _: () = assert!(MAP_FIXED_NOREPLACE == libc::MAP_FIXED_NOREPLACE);

pub(super) fn limit() -> usize {
    LOCKED_MEMORY.map_or(usize::MAX, soft_limit)
}

/// The limit on locked memory; illumos and Solaris have none of a process's own.
#[cfg(not(any(target_os = "illumos", target_os = "solaris")))]
const LOCKED_MEMORY: Option<Resource> = Some(libc::RLIMIT_MEMLOCK);
#[cfg(any(target_os = "illumos", target_os = "solaris"))]
const LOCKED_MEMORY: Option<Resource> = None;

/// The limit on addresses; on OpenBSD that on data, which has the place of it for memory without a file.
#[cfg(not(target_os = "openbsd"))]
const ADDRESSES: Resource = libc::RLIMIT_AS;
#[cfg(target_os = "openbsd")]
const ADDRESSES: Resource = libc::RLIMIT_DATA;

/// Whether the process may lock more than the limit: it has `CAP_IPC_LOCK`, and has it outside of any user
/// namespace, as the kernel wants it (`can_do_mlock`).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn may_exceed_limit() -> bool {
    const VERSION_3: u32 = 0x2008_0522;
    const CAP_IPC_LOCK: u32 = 14;
    let header = [VERSION_3, 0];
    // Effective, permitted and inheritable capabilities, the lower and the upper 32 of each.
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: the kernel reads 8 bytes of the header and writes 24 to the sets, as version 3 has it.
    let got = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) } == 0;
    got && sets[0][0] >> CAP_IPC_LOCK & 1 != 0 && is_in_first_user_namespace()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn may_exceed_limit() -> bool {
    false
}

/// The kernel gives the first user namespace this number (`PROC_USER_INIT_INO`) in every boot.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_in_first_user_namespace() -> bool {
    const NAME: &[u8] = b"user:[4026531837]";
    let mut name = [0_u8; 32];
    // SAFETY: the path is a string, and the buffer has the length that is given.
    let len = unsafe {
        let (path, place) = (c"/proc/self/ns/user".as_ptr(), name.as_mut_ptr());
        libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, path, place, name.len())
    };
    usize::try_from(len).is_ok_and(|len| &name[..len] == NAME)
}

/// Raises the soft limit on locked bytes to the hard one; what it is then.
pub(super) fn raise_limit() -> io::Result<usize> {
    let Some(resource) = LOCKED_MEMORY else { return Ok(usize::MAX) };
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    if unsafe { libc::getrlimit(resource, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur != limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is valid for the call.
        if unsafe { libc::setrlimit(resource, &limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(self::limit())
}

pub(super) fn address_limit() -> usize {
    soft_limit(ADDRESSES)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
type Resource = libc::c_int;

/// `usize::MAX` for none.
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
