//! The contract on Windows: pages by `VirtualAlloc`, limits by the working set, threads by their
//! addresses' waits.
//!
//! The limit on locked memory is the minimum of the working set: the system promises that much
//! memory, and a process may lock a little less. There is no `fork`. Error numbers are those of
//! `GetLastError`.
//!
//! While the process ends, the system has already ended all threads but one, wherever they were. A
//! thread that waits for one of those would wait for ever; so it ends the process, as it would in a
//! critical section of the system.

use super::errno::Errno;
use super::hardening::{Hardening, NotHardened};
use super::hooks::at_load;
use super::limits::Limits;
use super::memory::{LockRefusal, Memory, NoSecretMemory, NotPrivate, PageAccess};
use super::process::Process;
use super::thread_word;
use super::threads::Threads;
use core::ffi::{CStr, c_void};
use core::mem;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize};
use windows_sys::Win32::Foundation::{
    ERROR_ARITHMETIC_OVERFLOW, ERROR_CALL_NOT_IMPLEMENTED, ERROR_NOT_ENOUGH_MEMORY,
    ERROR_PROC_NOT_FOUND, ERROR_SHARING_BUFFER_EXCEEDED, ERROR_TOO_MANY_OPEN_FILES,
    ERROR_WORKING_SET_QUOTA, STATUS_THREAD_IS_TERMINATING,
};
#[cfg(feature = "asan")]
use windows_sys::Win32::System::LibraryLoader::GetModuleHandleW;
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleA,
    GetModuleHandleExW, GetProcAddress,
};
use windows_sys::Win32::System::Memory::{
    GetProcessWorkingSetSizeEx, MEM_COMMIT, MEM_DECOMMIT, MEM_RELEASE, MEM_RESERVE, PAGE_NOACCESS,
    PAGE_READONLY, PAGE_READWRITE, SetProcessWorkingSetSizeEx, VirtualAlloc, VirtualFree,
    VirtualLock, VirtualProtect, VirtualUnlock,
};
use windows_sys::Win32::System::SystemInformation::GetSystemInfo;
use windows_sys::Win32::System::Threading::{
    FlushProcessWriteBuffers, GetCurrentProcess, GetCurrentProcessId, GetCurrentThreadId, INFINITE,
    Sleep, TerminateProcess, WaitOnAddress, WakeByAddressSingle,
};

/// Windows, also as Wine provides it.
pub(crate) struct Windows;

impl Errno {
    pub(crate) const EMFILE: Self = Self::of(ERROR_TOO_MANY_OPEN_FILES as i32);
    pub(crate) const ENFILE: Self = Self::of(ERROR_SHARING_BUFFER_EXCEEDED as i32);
    pub(crate) const ENOMEM: Self = Self::of(ERROR_NOT_ENOUGH_MEMORY as i32);
    pub(crate) const ENOSYS: Self = Self::of(ERROR_CALL_NOT_IMPLEMENTED as i32);

    /// Whether this is the error of a sandbox that forbids a call: none is known here.
    pub(crate) fn is_of_a_sandbox(self) -> bool {
        false
    }
}

/// The answer of a call that returns 0 when it has failed.
fn check(result: i32) -> Result<(), Errno> {
    if result != 0 { Ok(()) } else { Err(Errno::last()) }
}

// ---- Memory -----------------------------------------------------------------------------------

impl Memory for Windows {
    #[inline]
    fn page_size() -> usize {
        // The value never changes. Two threads that find it unknown both ask.
        static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);
        match PAGE_SIZE.load(Relaxed) {
            0 => {
                // SAFETY: plain data, for which zeros are a value.
                let mut info = unsafe { mem::zeroed() };
                // SAFETY: `info` is a valid place for the answer.
                unsafe { GetSystemInfo(&mut info) };
                let size = info.dwPageSize as usize;
                assert!(size.is_power_of_two(), "the system has no page size");
                PAGE_SIZE.store(size, Relaxed);
                size
            }
            size => size,
        }
    }

    /// Large pages need a privilege that users do not have, and are not used.
    fn has_huge_pages(_: usize) -> bool {
        false
    }

    fn reserve(len: usize) -> Result<NonNull<u8>, Errno> {
        // SAFETY: asks for addresses of the system's choice; nothing existing changes.
        let addr = unsafe { VirtualAlloc(ptr::null(), len, MEM_RESERVE, PAGE_NOACCESS) };
        NonNull::new(addr.cast()).ok_or_else(Errno::last)
    }

    fn reserve_guarded(len: usize) -> Result<NonNull<u8>, Errno> {
        let page = Self::page_size();
        let whole = Self::reserve(len + 2 * page)?;
        NonNull::new(whole.as_ptr().wrapping_add(page)).ok_or(Errno::ENOMEM)
    }

    fn map_guarded_huge(_: usize, _: usize) -> Result<NonNull<u8>, Errno> {
        Err(Errno::ENOSYS)
    }

    unsafe fn make_accessible(addr: NonNull<u8>, len: usize) -> Result<(), Errno> {
        // SAFETY: the caller owns the addresses. What is there already stays as it is.
        unsafe { commit(addr, len, PAGE_READWRITE) }
    }

    unsafe fn make_readable(addr: NonNull<u8>, len: usize) -> Result<(), Errno> {
        // SAFETY: the caller owns the addresses.
        unsafe { commit(addr, len, PAGE_READONLY) }
    }

    unsafe fn make_inaccessible(addr: NonNull<u8>, len: usize) {
        include_in_dumps(addr);
        // SAFETY: the caller owns the pages. Where they are not locked, the first call fails and
        // changes nothing.
        unsafe {
            VirtualUnlock(addr.as_ptr().cast(), len);
            if VirtualFree(addr.as_ptr().cast(), len, MEM_DECOMMIT) == 0 {
                std::process::abort();
            }
        }
    }

    unsafe fn unmap(addr: NonNull<u8>, _: usize) {
        // SAFETY: the caller owns the pages, which are a whole reservation, and which no one uses.
        // The system unlocks what it takes.
        if unsafe { VirtualFree(addr.as_ptr().cast(), 0, MEM_RELEASE) } == 0 {
            std::process::abort();
        }
    }

    unsafe fn unmap_guarded(addr: NonNull<u8>, len: usize) {
        include_in_dumps(addr);
        let page = Self::page_size();
        let Some(whole) = NonNull::new(addr.as_ptr().wrapping_sub(page)) else {
            std::process::abort()
        };
        // SAFETY: `reserve_guarded` has reserved the pages together with the guard pages on both
        // sides, and the caller owns them.
        unsafe { Self::unmap(whole, len + 2 * page) };
    }

    unsafe fn lock(addr: NonNull<u8>, len: usize) -> Result<(), LockRefusal> {
        // SAFETY: locking changes where pages live, not what they hold.
        check(unsafe { VirtualLock(addr.as_ptr().cast(), len) })
            .map_err(|errno| LockRefusal { errno, limit: Self::lock_limit() })
    }

    unsafe fn unlock(addr: NonNull<u8>, len: usize) -> Result<(), Errno> {
        // SAFETY: unlocking changes where pages live, not what they hold.
        check(unsafe { VirtualUnlock(addr.as_ptr().cast(), len) })
    }

    /// Excludes pages from the reports of Windows Error Reporting, which are the system's core
    /// dumps. The system merges no pages that are locked, and makes large pages of none by itself.
    unsafe fn keep_private(addr: NonNull<u8>, len: usize) -> NotPrivate {
        NotPrivate { dump: exclude_from_dumps(addr, len).err(), ..NotPrivate::default() }
    }

    unsafe fn wipe_in_children(_: NonNull<u8>, _: usize) -> Result<bool, Errno> {
        Ok(false)
    }

    unsafe fn keep_from_children(_: NonNull<u8>, _: usize) -> Result<bool, Errno> {
        Ok(false)
    }

    /// Never called: no process has its parent's memory.
    unsafe fn withdraw_in_child(_: NonNull<u8>, _: usize, _: bool) -> bool {
        std::process::abort()
    }

    fn has_secret_memory() -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }

    unsafe fn place_secret_memory(_: NonNull<u8>, _: usize) -> Result<(), NoSecretMemory> {
        Err(NoSecretMemory::Unavailable(Errno::ENOSYS))
    }

    /// Always refuses: whether pages that nothing may access stay locked is not documented.
    unsafe fn set_access(_: NonNull<u8>, _: usize, _: PageAccess) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }

    fn has_protection_key() -> bool {
        false
    }

    fn set_thread_right(_: PageAccess) -> PageAccess {
        PageAccess::Closed
    }

    fn protection_remedy(errno: Errno, _: bool) -> &'static CStr {
        match errno.number() as u32 {
            ERROR_PROC_NOT_FOUND => {
                c"let the program run on Windows 10 1703 or newer, which can leave memory out of its error reports"
            }
            ERROR_ARITHMETIC_OVERFLOW => {
                c"a block of 4 GiB or more cannot be excluded from error reports: let the secrets lie in smaller ones"
            }
            _ => {
                c"the process has excluded as many blocks of memory from error reports as it may (512): let it use \
                  fewer pools"
            }
        }
    }
}

/// Gives reserved addresses memory, and an access.
///
/// # Safety
/// The caller must own the addresses, which must be reserved.
unsafe fn commit(addr: NonNull<u8>, len: usize, access: u32) -> Result<(), Errno> {
    let at = addr.as_ptr().cast();
    // SAFETY: the caller owns the addresses. What has memory already keeps it, with its contents.
    if unsafe { VirtualAlloc(at, len, MEM_COMMIT, access) }.is_null() {
        return Err(Errno::last());
    }
    // The first call need not change the access to what had memory already.
    let mut before = 0;
    // SAFETY: as far as the caller owns the addresses, it may choose the access to them; `before`
    // is a valid place for an answer.
    check(unsafe { VirtualProtect(at, len, access, &mut before) })
}

// ---- Exclusion from error reports -------------------------------------------------------------

/// `WerRegisterExcludedMemoryBlock`, which returns 0 or else an error.
type Register = unsafe extern "system" fn(*const c_void, u32) -> i32;
/// `WerUnregisterExcludedMemoryBlock`, likewise.
type Unregister = unsafe extern "system" fn(*const c_void) -> i32;

/// Addresses of the two functions, which Windows 10 has from version 1703 on; [`MISSING`] where
/// the system does not have them, and null while that is not known.
static REGISTER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static UNREGISTER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
/// Likewise the address of a function that Wine alone has.
static WINE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
const MISSING: *mut c_void = ptr::without_provenance_mut(1);

/// The function of that name, or [`MISSING`].
fn find_function(library: &CStr, name: &CStr) -> *mut c_void {
    // SAFETY: names that end with a zero. The library is loaded in every process.
    let found = unsafe {
        let library = GetModuleHandleA(library.as_ptr().cast());
        GetProcAddress(library, name.as_ptr().cast())
    };
    found.map_or(MISSING, |function| function as *mut c_void)
}

/// Finds the functions. It is called when the library is loaded: later, a thread that holds a lock
/// here would wait for the loader's lock, whose holder may be a thread that ends and waits for the
/// first.
fn find_functions() {
    let kernel = c"kernel32.dll";
    REGISTER.store(find_function(kernel, c"WerRegisterExcludedMemoryBlock"), Relaxed);
    UNREGISTER.store(find_function(kernel, c"WerUnregisterExcludedMemoryBlock"), Relaxed);
    WINE.store(find_function(c"ntdll.dll", c"wine_get_version"), Relaxed);
}

/// What [`find_functions`] has found at a place.
fn found(place: &AtomicPtr<c_void>) -> Option<*mut c_void> {
    if place.load(Relaxed).is_null() {
        // A static initializer of the program is earlier than this library's.
        find_functions();
    }
    Some(place.load(Relaxed)).filter(|&function| function != MISSING)
}

fn exclude_from_dumps(addr: NonNull<u8>, len: usize) -> Result<(), Errno> {
    const MISSING: Errno = Errno::of(ERROR_PROC_NOT_FOUND as i32);
    const TOO_LARGE: Errno = Errno::of(ERROR_ARITHMETIC_OVERFLOW as i32);
    let register = found(&REGISTER).ok_or(MISSING)?;
    // SAFETY: the system's function of that name has this type.
    let register: Register = unsafe { mem::transmute(register) };
    let len = u32::try_from(len).map_err(|_| TOO_LARGE)?;
    // SAFETY: notes an address and a length; no memory is accessed.
    match unsafe { register(addr.as_ptr().cast(), len) } {
        0 => Ok(()),
        // An HRESULT, whose lower half is the error number.
        result => Err(Errno::of(result & 0xffff)),
    }
}

/// Takes back what [`exclude_from_dumps`] has noted for the address, if anything: the process may
/// have 512 such notes.
fn include_in_dumps(addr: NonNull<u8>) {
    if let Some(unregister) = found(&UNREGISTER) {
        // SAFETY: the system's function of that name has this type.
        let unregister: Unregister = unsafe { mem::transmute(unregister) };
        // SAFETY: looks for a note with that address; no memory is accessed.
        unsafe { unregister(addr.as_ptr().cast()) };
    }
}

// ---- Limits -----------------------------------------------------------------------------------

/// The minimum and the maximum of the working set in bytes, and flags.
fn working_set() -> Result<(usize, usize, u32), Errno> {
    let (mut least, mut most, mut flags) = (0, 0, 0);
    // SAFETY: valid places for the answers; the handle is the process itself.
    check(unsafe {
        GetProcessWorkingSetSizeEx(GetCurrentProcess(), &mut least, &mut most, &mut flags)
    })?;
    Ok((least, most, flags))
}

impl Limits for Windows {
    /// The minimum of the working set. The system itself needs a few pages of it, so that the last
    /// lock that should fit may be refused.
    fn lock_limit() -> usize {
        working_set().map_or(usize::MAX, |(least, ..)| least)
    }

    /// Adds to the minimum of the working set what the process does not have yet of 64 MiB, or as
    /// much of that as the system grants. It would take more memory than that from other processes,
    /// whether or not it is used here.
    fn raise_lock_limit() -> Result<usize, Errno> {
        const WANTED: usize = 64 << 20;
        let (least, most, flags) = working_set()?;
        let mut more = WANTED.saturating_sub(least);
        while more >= Self::page_size() {
            let wanted = least + more;
            // SAFETY: takes numbers; the handle is the process itself.
            let set = check(unsafe {
                let most = most.max(wanted.saturating_add(WANTED));
                SetProcessWorkingSetSizeEx(GetCurrentProcess(), wanted, most, flags)
            });
            match set {
                Ok(()) => break,
                Err(error) if more / 2 < Self::page_size() => return Err(error),
                Err(_) => more /= 2,
            }
        }
        Ok(Self::lock_limit())
    }

    /// No process may: the system refuses by the working set alone.
    fn may_exceed_lock_limit() -> bool {
        false
    }

    fn address_limit() -> usize {
        usize::MAX
    }

    fn lock_remedy(errno: Errno, _: usize) -> &'static CStr {
        match errno {
            Errno::NONE => {
                c"the source of the memory did not say why it is not locked; most often it is the minimum of the \
                  process's working set"
            }
            errno if errno.number() as u32 == ERROR_WORKING_SET_QUOTA => {
                c"raise the minimum of the process's working set: by bitcoin_support_raise_lock_limit in the program, \
                  or by SetProcessWorkingSetSizeEx; the account needs the right to increase a process's working set \
                  (SeIncreaseWorkingSetPrivilege), which users have unless an administrator has taken it"
            }
            _ => {
                c"the system refuses VirtualLock for another reason than the working set: let the machine have more \
                  free memory; under Wine, raise the limit on locked memory of the host (`ulimit -l`)"
            }
        }
    }
}

// ---- Threads ----------------------------------------------------------------------------------

// windows-sys does not have this function of ntdll, which is documented all the same.
windows_link::link!("ntdll.dll" "system" fn RtlDllShutdownInProgress() -> u8);

/// Ends the process if no thread is left that this one could wait for.
fn end_if_alone() {
    if Windows::has_ended_threads() {
        // SAFETY: the handle is the process itself.
        unsafe { TerminateProcess(GetCurrentProcess(), STATUS_THREAD_IS_TERMINATING as u32) };
    }
}

impl Threads for Windows {
    #[inline]
    fn this_thread() -> usize {
        Self::thread_number() as usize
    }

    #[inline]
    fn thread_number() -> u32 {
        // SAFETY: takes nothing.
        unsafe { GetCurrentThreadId() }
    }

    #[inline]
    fn thread_word() -> usize {
        thread_word::get()
    }

    unsafe fn set_thread_word(word: usize) {
        thread_word::set(word);
    }

    /// There are no signals.
    fn without_signals<R>(function: impl FnOnce() -> R) -> R {
        function()
    }

    /// There are no signals.
    fn without_signals_but_sigsys<R>(function: impl FnOnce() -> R) -> R {
        function()
    }

    fn sleep(nanoseconds: u32) {
        end_if_alone();
        // SAFETY: takes a number.
        unsafe { Sleep(nanoseconds.div_ceil(1_000_000)) };
    }

    fn wait_while(word: &AtomicU32, value: u32) {
        end_if_alone();
        let value = ptr::from_ref(&value).cast();
        // SAFETY: two words of four bytes that are valid for the call, which reads them.
        unsafe { WaitOnAddress(word.as_ptr().cast(), value, 4, INFINITE) };
    }

    fn wake_one(word: &AtomicU32) {
        // SAFETY: the word's address is a name here: nothing is read or written there.
        unsafe { WakeByAddressSingle(word.as_ptr().cast()) };
    }

    /// Under Wine only where tests have Linux's barrier for it: Wine's function does nothing in
    /// many of its versions.
    fn register_barrier() -> bool {
        found(&WINE).is_none() || linux_barrier::register()
    }

    fn barrier_everywhere() -> bool {
        if found(&WINE).is_some() {
            return linux_barrier::everywhere();
        }
        // SAFETY: takes nothing.
        unsafe { FlushProcessWriteBuffers() };
        true
    }
}

/// Linux's own barrier, for tests under Wine on Linux: with it, threads have heaps there as on
/// Windows. It is built with `--cfg bitcoin_support_linux_barrier` alone, as a program cannot know
/// whether Wine runs on Linux.
#[cfg(all(bitcoin_support_linux_barrier, target_arch = "x86_64"))]
mod linux_barrier {
    use core::arch::asm;

    /// Calls the kernel of Linux: `membarrier`, with a command.
    fn membarrier(command: usize) -> bool {
        const SYS_MEMBARRIER: isize = 324;
        let result: isize;
        // SAFETY: whoever sets the `cfg` runs this on Linux. The call takes numbers, and changes no
        // memory; the kernel changes the two registers that the instruction itself uses.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") SYS_MEMBARRIER => result,
                in("rdi") command,
                in("rsi") 0_usize,
                in("rdx") 0_usize,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result == 0
    }

    /// `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED`
    pub(super) fn register() -> bool {
        membarrier(1 << 4)
    }

    /// `MEMBARRIER_CMD_PRIVATE_EXPEDITED`
    pub(super) fn everywhere() -> bool {
        membarrier(1 << 3)
    }
}

#[cfg(not(all(bitcoin_support_linux_barrier, target_arch = "x86_64")))]
mod linux_barrier {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn everywhere() -> bool {
        false
    }
}

// ---- Process ----------------------------------------------------------------------------------

at_load! {
    /// Prepares what must not wait for the loader later, and keeps the library loaded.
    static AT_LOAD = prepare;
}

extern "C" fn prepare() {
    find_functions();
    let mut module = ptr::null_mut();
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN;
    // SAFETY: an address in this library, taken for one by the flag; `module` is a valid place for
    // the answer. Threads and the exit of the process call functions of this library, which must
    // therefore stay.
    unsafe { GetModuleHandleExW(flags, ptr::from_ref(&AT_LOAD).cast(), &mut module) };
}

impl Process for Windows {
    fn process_number() -> i32 {
        // SAFETY: takes nothing. (The numbers are small multiples of four.)
        unsafe { GetCurrentProcessId() as i32 }
    }

    /// Nothing to do: there is no `fork`.
    fn at_fork(_: extern "C" fn(), _: extern "C" fn(), _: extern "C" fn()) {}

    /// True when the process exits: the system has ended all other threads then.
    fn is_alone() -> bool {
        Self::has_ended_threads()
    }

    fn has_ended_threads() -> bool {
        // SAFETY: takes nothing.
        unsafe { RtlDllShutdownInProgress() != 0 }
    }

    fn flush_streams() {
        // SAFETY: null stands for every stream of this process.
        unsafe { libc::fflush(ptr::null_mut()) };
    }

    #[cfg(feature = "asan")]
    fn find_symbol(name: &CStr) -> *mut c_void {
        // SAFETY: null stands for the program; the name ends with a zero.
        let found = unsafe {
            let program = GetModuleHandleW(ptr::null());
            GetProcAddress(program, name.as_ptr().cast())
        };
        found.map_or(ptr::null_mut(), |function| function as *mut c_void)
    }

    #[inline]
    fn keep_loaded() {
        core::hint::black_box(&AT_LOAD);
    }
}

// ---- Hardening --------------------------------------------------------------------------------

/// Nothing of it: the system's own policies for processes are chosen where a program is started or
/// linked, and Wine accepts them and does nothing.
impl Hardening for Windows {
    fn forbid_dumps_and_tracers() -> Result<(), NotHardened> {
        Err(NotHardened::NotSupported)
    }

    fn forbid_core_files() -> Result<(), NotHardened> {
        Err(NotHardened::NotSupported)
    }

    fn forbid_write_and_execute() -> Result<(), NotHardened> {
        Err(NotHardened::NotSupported)
    }

    fn forbid_new_privileges() -> Result<(), NotHardened> {
        Err(NotHardened::NotSupported)
    }

    fn forbid_huge_pages() -> Result<(), NotHardened> {
        Err(NotHardened::NotSupported)
    }

    fn empty_core_dumps() -> Result<(), NotHardened> {
        Err(NotHardened::NotSupported)
    }

    fn forbid_named_tracer() -> Result<(), NotHardened> {
        Err(NotHardened::NotSupported)
    }

    unsafe fn seal(_: NonNull<u8>, _: usize) -> Result<(), NotHardened> {
        Err(NotHardened::NotSupported)
    }

    fn can_seal() -> Result<(), NotHardened> {
        Err(NotHardened::NotSupported)
    }
}
