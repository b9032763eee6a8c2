//! Protection keys: pages carry a number, and each thread has a register that says what it may do
//! with the pages of each number.
//!
//! Linux has them from 4.9 on, on processors that have them (`ospke` in `/proc/cpuinfo`). They are
//! used on x86-64. (64-bit ARM has permission overlays, from Linux 6.12 on; they are not used.) A
//! process has 15 keys, of which this library takes one for all closed pages, when the first are
//! closed. Where there is none left, where the kernel or the processor has none, and where a
//! sandbox refuses one, `mprotect` closes pages.

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64"))]
mod key {
    use crate::sys::errno::Errno;
    use crate::sys::memory::PageAccess;
    use crate::sys::posix::{self, bits_of, check};
    use core::arch::asm;
    use core::ffi::{c_int, c_long, c_uint};
    use core::ptr::{self, NonNull};
    use core::sync::atomic::AtomicI32;
    use core::sync::atomic::Ordering::Relaxed;

    /// The key of pages that anyone may access.
    const KEY_OF_OPEN_PAGES: c_int = 0;
    /// The rights of a thread to the pages of a key, in the bits of its register and of
    /// `pkey_alloc`.
    const NO_ACCESS: u32 = 1;
    const NO_WRITING: u32 = 2;

    /// The key of closed pages, or one of the two below.
    static KEY: AtomicI32 = AtomicI32::new(UNKNOWN);
    const UNKNOWN: c_int = 0;
    const NONE: c_int = -1;

    /// The key of closed pages, which is taken at the first call.
    fn key() -> Option<c_int> {
        let known = KEY.load(Relaxed);
        let known = if known == UNKNOWN { take_key() } else { known };
        (known != NONE).then_some(known)
    }

    #[cold]
    fn take_key() -> c_int {
        let taken = allocate_key().unwrap_or(NONE);
        match KEY.compare_exchange(UNKNOWN, taken, Relaxed, Relaxed) {
            Ok(_) => taken,
            Err(others) => {
                free_key(taken);
                others
            }
        }
    }

    /// A new key, to whose pages no thread has a right.
    fn allocate_key() -> Option<c_int> {
        const NO_FLAGS: c_long = 0;
        // SAFETY: takes no pointers.
        let key = unsafe { libc::syscall(libc::SYS_pkey_alloc, NO_FLAGS, NO_ACCESS) };
        let key = c_int::try_from(key).ok().filter(|&key| key > 0)?;
        // A sandbox may have the one call and not the other. On no pages it does nothing.
        let nothing = ptr::null_mut();
        // SAFETY: the call is about no pages.
        let is_usable = unsafe { pkey_mprotect(nothing, 0, PageAccess::Closed, key) }.is_ok();
        if !is_usable {
            free_key(key);
        }
        is_usable.then_some(key)
    }

    fn free_key(key: c_int) {
        if key > 0 {
            // SAFETY: takes no pointers, and no pages have the key.
            unsafe { libc::syscall(libc::SYS_pkey_free, key) };
        }
    }

    /// # Safety
    /// The caller must own the pages, and no thread may use them in a way that the new access and
    /// the key forbid.
    unsafe fn pkey_mprotect(
        addr: *mut u8,
        len: usize,
        access: PageAccess,
        key: c_int,
    ) -> Result<(), Errno> {
        let bits = bits_of(access);
        // SAFETY: the caller owns the pages, and no thread uses them in a way that is forbidden
        // from now on.
        let result = unsafe { libc::syscall(libc::SYS_pkey_mprotect, addr, len, bits, key) };
        check(c_int::from(result != 0))
    }

    pub(in crate::sys) fn has_protection_key() -> bool {
        key().is_some()
    }

    /// See [`Memory::set_access`](crate::sys::memory::Memory::set_access).
    ///
    /// # Safety
    /// The caller must own the pages, and no thread may use them in a way that the new access
    /// forbids.
    pub(in crate::sys) unsafe fn set_access(
        addr: NonNull<u8>,
        len: usize,
        access: PageAccess,
    ) -> Result<(), Errno> {
        // SAFETY: the caller owns the pages, and no thread uses them in a way that is forbidden
        // from now on. Closed pages are writable for threads that have a right to the key.
        unsafe {
            match (key(), access) {
                (None, _) => posix::set_access(addr, len, access),
                (Some(key), PageAccess::Closed) => {
                    pkey_mprotect(addr.as_ptr(), len, PageAccess::Write, key)
                }
                (Some(_), _) => pkey_mprotect(addr.as_ptr(), len, access, KEY_OF_OPEN_PAGES),
            }
        }
    }

    /// See [`Memory::set_thread_right`](crate::sys::memory::Memory::set_thread_right).
    #[inline]
    pub(in crate::sys) fn set_thread_right(right: PageAccess) -> PageAccess {
        let key = KEY.load(Relaxed);
        if key <= 0 {
            return PageAccess::Closed;
        }
        let place = 2 * key as c_uint;
        let bits = match right {
            PageAccess::Closed => NO_ACCESS | NO_WRITING,
            PageAccess::Read => NO_WRITING,
            PageAccess::Write => 0,
        };
        let before = rights();
        set_rights(before & !((NO_ACCESS | NO_WRITING) << place) | bits << place);
        match before >> place & (NO_ACCESS | NO_WRITING) {
            0 => PageAccess::Write,
            NO_WRITING => PageAccess::Read,
            _ => PageAccess::Closed,
        }
    }

    /// The calling thread's rights to the pages of all keys, two bits for each (the register PKRU).
    #[inline]
    fn rights() -> u32 {
        let rights;
        // SAFETY: the kernel has given out a key, so that the processor has the instruction. It
        // wants 0 in `ecx`, and writes `eax` and `edx`.
        unsafe {
            asm!(
                "rdpkru",
                in("ecx") 0,
                out("eax") rights,
                out("edx") _,
                options(nomem, nostack, preserves_flags)
            );
        }
        rights
    }

    /// Sets them. No access to memory moves from one side of it to the other: the processor orders
    /// them, and the compiler takes the statement for one that may access any memory.
    #[inline]
    fn set_rights(rights: u32) {
        // SAFETY: the kernel has given out a key, so that the processor has the instruction. It
        // wants 0 in `ecx` and `edx`. Rights to other keys than this library's stay as they are.
        unsafe {
            asm!(
                "wrpkru",
                in("eax") rights,
                in("ecx") 0,
                in("edx") 0,
                options(nostack, preserves_flags)
            );
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64")))]
mod key {
    use crate::sys::memory::PageAccess;
    pub(in crate::sys) use crate::sys::posix::set_access;

    pub(in crate::sys) fn has_protection_key() -> bool {
        false
    }

    /// Nothing changes: there is no protection key.
    pub(in crate::sys) fn set_thread_right(_: PageAccess) -> PageAccess {
        PageAccess::Closed
    }
}

pub(in crate::sys) use key::{has_protection_key, set_access, set_thread_right};
