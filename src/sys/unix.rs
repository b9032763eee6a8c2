//! The contract on Unix systems: POSIX's calls, and what Linux or the others have beyond them.

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::linux as kernel;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use super::other_unix as kernel;

use super::errno::Errno;
use super::hardening::{Hardening, NotHardened};
use super::limits::Limits;
use super::memory::{LockRefusal, Memory, NoSecretMemory, NotPrivate, PageAccess};
use super::posix::{self, LockOnFault, check};
use super::process::Process;
use super::threads::Threads;
use super::{remedy, stay_loaded, thread_word};
use core::ffi::{CStr, c_int, c_void};
use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicU32;

/// A Unix system.
pub(crate) struct Unix;

// ---- Memory -----------------------------------------------------------------------------------

impl Memory for Unix {
    #[inline]
    fn page_size() -> usize {
        posix::page_size()
    }

    fn has_huge_pages(size: usize) -> bool {
        kernel::has_huge_pages(size)
    }

    fn reserve(len: usize) -> Result<NonNull<u8>, Errno> {
        kernel::reserve(len)
    }

    fn reserve_guarded(len: usize) -> Result<NonNull<u8>, Errno> {
        let page = Self::page_size();
        let whole = Self::reserve(len + 2 * page)?;
        NonNull::new(whole.as_ptr().wrapping_add(page)).ok_or(Errno::ENOMEM)
    }

    fn map_guarded_huge(len: usize, huge: usize) -> Result<NonNull<u8>, Errno> {
        kernel::map_guarded_huge(len, huge)
    }

    unsafe fn make_accessible(addr: NonNull<u8>, len: usize) -> Result<(), Errno> {
        // SAFETY: the caller owns the addresses.
        unsafe { posix::make_accessible(addr, len) }
    }

    unsafe fn make_readable(addr: NonNull<u8>, len: usize) -> Result<(), Errno> {
        // SAFETY: the caller owns the addresses, which no one uses.
        check(unsafe { libc::mprotect(addr.as_ptr().cast(), len, libc::PROT_READ) })
    }

    unsafe fn make_inaccessible(addr: NonNull<u8>, len: usize) {
        let at = addr.as_ptr().cast();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let flags = flags | kernel::LEFT_OUT_OF_DUMPS;
        // SAFETY: the caller owns the pages that the new mapping replaces.
        if unsafe { libc::mmap(at, len, libc::PROT_NONE, flags, -1, 0) } != libc::MAP_FAILED {
            // SAFETY: mapped just now.
            return unsafe { posix::unlock_reserved(addr, len) };
        }
        // A process that has as many mappings as it may have gets no new one, not even in the place
        // of another. SAFETY: the caller owns the pages, and none of these calls makes a mapping.
        let result = unsafe {
            libc::munlock(at, len)
                | give_memory_up(at, len)
                | libc::mprotect(at, len, libc::PROT_NONE)
        };
        if result != 0 && !Errno::last().is_of_a_sandbox() {
            std::process::abort();
        }
    }

    unsafe fn unmap(addr: NonNull<u8>, len: usize) {
        // SAFETY: the caller owns these pages, which no one uses.
        unsafe { posix::unmap(addr.as_ptr(), len) };
    }

    unsafe fn unmap_guarded(addr: NonNull<u8>, len: usize) {
        let page = Self::page_size();
        let whole = addr.as_ptr().wrapping_sub(page);
        // SAFETY: the caller owns the pages, and the guard pages on both sides belong to them.
        if unsafe { libc::munmap(whole.cast(), len + 2 * page) } == 0 {
            return;
        }
        // The kernel may have merged a guard page with a neighbouring mapping, and refuses to split
        // that mapping when the process has as many mappings as it may have. Without the guard
        // pages nothing has to be split. SAFETY: the caller owns the pages; the guard pages stay,
        // which cannot be accessed.
        unsafe { posix::unmap(addr.as_ptr(), len) };
    }

    unsafe fn lock(addr: NonNull<u8>, len: usize) -> Result<(), LockRefusal> {
        match kernel::lock_on_fault(addr, len) {
            LockOnFault::Locked => Ok(()),
            LockOnFault::Refused(refusal) => Err(refusal),
            // SAFETY: locking changes where pages live, not what they hold.
            LockOnFault::NotMade => check(unsafe { libc::mlock(addr.as_ptr().cast(), len) })
                .map_err(|errno| LockRefusal { errno, limit: posix::lock_limit() }),
        }
    }

    unsafe fn unlock(addr: NonNull<u8>, len: usize) -> Result<(), Errno> {
        // SAFETY: unlocking changes where pages live, not what they hold.
        check(unsafe { libc::munlock(addr.as_ptr().cast(), len) })
    }

    unsafe fn keep_private(addr: NonNull<u8>, len: usize) -> NotPrivate {
        kernel::keep_private(addr, len)
    }

    unsafe fn wipe_in_children(addr: NonNull<u8>, len: usize) -> Result<bool, Errno> {
        kernel::wipe_in_children(addr, len)
    }

    unsafe fn keep_from_children(addr: NonNull<u8>, len: usize) -> Result<bool, Errno> {
        kernel::keep_from_children(addr, len)
    }

    unsafe fn withdraw_in_child(addr: NonNull<u8>, len: usize, gone: bool) -> bool {
        let at = addr.as_ptr().cast();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | kernel::flags_in_place(gone);
        // SAFETY: replaces nothing, or pages of the caller's that no one uses.
        let mapped = unsafe { libc::mmap(at, len, libc::PROT_NONE, flags, -1, 0) };
        if mapped != at && mapped != libc::MAP_FAILED {
            // A kernel that does not know the flag takes the address for a wish.
            // SAFETY: mapped just now, and used by no one.
            unsafe { libc::munmap(mapped, len) };
        }
        if mapped != at && !gone {
            // The child would have what it must not have.
            std::process::abort();
        }
        mapped == at
    }

    fn has_secret_memory() -> Result<(), Errno> {
        kernel::has_secret_memory()
    }

    unsafe fn place_secret_memory(addr: NonNull<u8>, len: usize) -> Result<(), NoSecretMemory> {
        // SAFETY: the caller owns the addresses, which are reserved and used by no one.
        unsafe { kernel::place_secret_memory(addr, len) }
    }

    unsafe fn set_access(addr: NonNull<u8>, len: usize, access: PageAccess) -> Result<(), Errno> {
        // SAFETY: the caller owns the pages, and no thread uses them in a way that is forbidden
        // from now on.
        unsafe { kernel::set_access(addr, len, access) }
    }

    fn has_protection_key() -> bool {
        kernel::has_protection_key()
    }

    #[inline]
    fn set_thread_right(right: PageAccess) -> PageAccess {
        kernel::set_thread_right(right)
    }

    fn protection_remedy(errno: Errno, of_fork_policy: bool) -> &'static CStr {
        remedy::protection_remedy(errno, of_fork_policy)
    }
}

/// Has the kernel take the memory of pages, which are zeros from then on.
///
/// # Safety
/// The caller must own the pages: they must be used by no one, or only by threads that may end the
/// process.
unsafe fn give_memory_up(at: *mut c_void, len: usize) -> c_int {
    // SAFETY: the caller owns the pages, and no one needs what is in them.
    let result = unsafe { libc::madvise(at, len, libc::MADV_DONTNEED) };
    if result != 0 && Errno::last() == Errno::EINVAL {
        if let Some(advice) = kernel::DO_NOT_NEED_LOCKED {
            // Under AddressSanitizer `munlock` does nothing, and the first advice does not take
            // locked pages. SAFETY: the caller owns the pages, and no one needs what is in them.
            return unsafe { libc::madvise(at, len, advice) };
        }
    }
    result
}

// ---- Limits -----------------------------------------------------------------------------------

impl Limits for Unix {
    fn lock_limit() -> usize {
        posix::lock_limit()
    }

    fn raise_lock_limit() -> Result<usize, Errno> {
        posix::raise_lock_limit()
    }

    fn may_exceed_lock_limit() -> bool {
        kernel::may_exceed_lock_limit()
    }

    fn address_limit() -> usize {
        posix::address_limit()
    }

    fn lock_remedy(errno: Errno, limit: usize) -> &'static CStr {
        remedy::lock_remedy(errno, limit)
    }
}

// ---- Threads ----------------------------------------------------------------------------------

impl Threads for Unix {
    #[inline]
    fn this_thread() -> usize {
        // SAFETY: takes nothing; the answer is only compared.
        unsafe { libc::pthread_self() as usize }
    }

    fn thread_number() -> u32 {
        kernel::thread_number()
    }

    #[inline]
    fn thread_word() -> usize {
        thread_word::get()
    }

    unsafe fn set_thread_word(word: usize) {
        thread_word::set(word);
    }

    fn without_signals<R>(function: impl FnOnce() -> R) -> R {
        posix::without_signals(&[], function)
    }

    fn without_signals_but_sigsys<R>(function: impl FnOnce() -> R) -> R {
        posix::without_signals(&[libc::SIGSYS], function)
    }

    fn sleep(nanoseconds: u32) {
        kernel::sleep(nanoseconds);
    }

    fn wait_while(word: &AtomicU32, value: u32) {
        kernel::wait_while(word, value);
    }

    fn wake_one(word: &AtomicU32) {
        kernel::wake_one(word);
    }

    fn register_barrier() -> bool {
        kernel::register_barrier()
    }

    fn barrier_everywhere() -> bool {
        kernel::barrier_everywhere()
    }
}

// ---- Process ----------------------------------------------------------------------------------

impl Process for Unix {
    fn process_number() -> i32 {
        // SAFETY: takes nothing.
        unsafe { libc::getpid() }
    }

    fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) {
        // Functions of the C ABI may be called where unsafe ones are expected.
        let [prepare, parent, child] =
            [prepare, parent, child].map(|function| Some(function as unsafe extern "C" fn()));
        // SAFETY: functions without arguments that stay loaded as long as this library.
        let _ = unsafe { libc::pthread_atfork(prepare, parent, child) };
    }

    fn is_alone() -> bool {
        kernel::is_alone()
    }

    #[inline]
    fn has_ended_threads() -> bool {
        false
    }

    fn flush_streams() {
        // SAFETY: null stands for every stream of this process.
        unsafe { libc::fflush(ptr::null_mut()) };
    }

    #[cfg(feature = "asan")]
    fn find_symbol(name: &CStr) -> *mut c_void {
        // SAFETY: the name ends with a zero; the handle is the default one.
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
    }

    #[inline]
    fn keep_loaded() {
        stay_loaded::keep_loaded();
    }
}

// ---- Hardening --------------------------------------------------------------------------------

impl Hardening for Unix {
    fn forbid_dumps_and_tracers() -> Result<(), NotHardened> {
        kernel::forbid_dumps_and_tracers()
    }

    fn forbid_core_files() -> Result<(), NotHardened> {
        posix::forbid_core_files().map_err(NotHardened::Refused)
    }

    fn forbid_write_and_execute() -> Result<(), NotHardened> {
        kernel::forbid_write_and_execute()
    }

    fn forbid_new_privileges() -> Result<(), NotHardened> {
        kernel::forbid_new_privileges()
    }

    fn forbid_huge_pages() -> Result<(), NotHardened> {
        kernel::forbid_huge_pages()
    }

    fn empty_core_dumps() -> Result<(), NotHardened> {
        kernel::empty_core_dumps()
    }

    fn forbid_named_tracer() -> Result<(), NotHardened> {
        kernel::forbid_named_tracer()
    }

    unsafe fn seal(addr: NonNull<u8>, len: usize) -> Result<(), NotHardened> {
        // SAFETY: the caller owns the pages for the life of the process, and changes nothing of
        // their mapping afterwards.
        unsafe { kernel::seal(addr, len) }
    }

    fn can_seal() -> Result<(), NotHardened> {
        kernel::can_seal()
    }
}
