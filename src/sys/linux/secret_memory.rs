//! `memfd_secret`: memory that the kernel itself has no mapping of. So the kernel cannot read it
//! for another process, however privileged that is: not through `/proc/PID/mem`, `ptrace` or
//! `process_vm_readv`.
//!
//! Linux has it from 5.14 on, unless it was built or booted without (`secretmem.enable=0`; before
//! 6.5, `secretmem.enable=1` is needed), on processors on which the kernel can take single pages
//! out of its own mapping. Under Android it is not used.
//!
//! Such memory is locked from the start, and out of core dumps. It counts against `RLIMIT_MEMLOCK`:
//! as a part of what the process has locked, when it is mapped; or, as in Debian's Linux 6.12.117,
//! for itself and for all processes of the user together, page by page as these are touched, and
//! `VmLck` does not have it. It is a shared mapping: a child process that had it would have its
//! parent's very pages, and the process that ends first would wipe them for the other. So it goes
//! with children in which it is absent, and with nothing else. Each page costs the kernel a split
//! of its own mapping and a flush of all processors' translations when it is first touched. While
//! any process has such memory, the machine does not hibernate.

#[cfg(target_os = "linux")]
mod calls {
    use super::super::advice::keep_from_children;
    use super::super::call_number::call_number;
    use crate::sys::errno::Errno;
    use crate::sys::memory::{LockRefusal, NoSecretMemory};
    use crate::sys::posix::{check, lock_limit, make_accessible, page_size};
    use core::ffi::{c_int, c_long, c_uint, c_void};
    use core::ptr::{self, NonNull};

    const MEMFD_SECRET: c_long = call_number(447);
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    const _: () = assert!(MEMFD_SECRET == libc::SYS_memfd_secret);

    /// The kernel could not write to an address.
    const EFAULT: Errno = Errno::of(libc::EFAULT);

    /// Makes a file of secret memory, which `exec` closes.
    fn file() -> Result<File, Errno> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::syscall(MEMFD_SECRET, libc::O_CLOEXEC) };
        match c_int::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(File(fd)),
            _ => Err(Errno::last()),
        }
    }

    /// Owns a descriptor.
    struct File(c_int);

    impl Drop for File {
        fn drop(&mut self) {
            // The C library's `close` is a cancellation point, and the caller may hold a lock.
            // SAFETY: this value owns the descriptor, and ends here; no pointers.
            unsafe { libc::syscall(libc::SYS_close, self.0) };
        }
    }

    pub(in crate::sys) fn has_secret_memory() -> Result<(), Errno> {
        file().map(drop)
    }

    /// See [`Memory::place_secret_memory`](crate::sys::memory::Memory::place_secret_memory).
    ///
    /// # Safety
    /// The caller must own the addresses: they must be reserved, and used by no one.
    pub(in crate::sys) unsafe fn place_secret_memory(
        addr: NonNull<u8>,
        len: usize,
    ) -> Result<(), NoSecretMemory> {
        let file = file().map_err(NoSecretMemory::Unavailable)?;
        let size = libc::off_t::try_from(len);
        let size = size.map_err(|_| NoSecretMemory::Unavailable(Errno::EINVAL))?;
        // SAFETY: the descriptor is open; no pointers.
        check(unsafe { libc::ftruncate(file.0, size) }).map_err(NoSecretMemory::Unavailable)?;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        let at = addr.as_ptr().cast();
        // Inaccessible until it is kept from children: one that another thread makes in between
        // must not share what will be written here. (That it could not be kept from them is noticed
        // by the caller, which asks again.) SAFETY: the caller owns the addresses that the new
        // mapping replaces.
        let mapped = unsafe { libc::mmap(at, len, libc::PROT_NONE, flags, file.0, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(match Errno::last() {
                // What `mmap` answers to a mapping that would be locked beyond the limit.
                errno @ Errno::EAGAIN => {
                    NoSecretMemory::Limit(LockRefusal { errno, limit: lock_limit() })
                }
                errno => NoSecretMemory::Unavailable(errno),
            });
        }
        let _ = keep_from_children(addr, len);
        // SAFETY: mapped just now, and used by no one.
        let accessible = unsafe { make_accessible(addr, len) };
        accessible.map_err(NoSecretMemory::Unavailable)?;
        // The pages exist once they are touched. A system call that writes there reports that there
        // is no memory, where a store would end the process.
        for offset in (0..len).step_by(page_size()) {
            let page = addr.as_ptr().wrapping_add(offset).cast::<c_uint>();
            let nothing = ptr::null_mut::<c_void>();
            // SAFETY: the kernel writes a number into memory of ours, or refuses.
            let touched = unsafe { libc::syscall(libc::SYS_getcpu, page, nothing, nothing) };
            if touched != 0 {
                return Err(match (Errno::last(), lock_limit()) {
                    (EFAULT, usize::MAX) => NoSecretMemory::Unavailable(Errno::ENOMEM),
                    // There is no memory, or the limit is reached.
                    (EFAULT, limit) => {
                        NoSecretMemory::Limit(LockRefusal { errno: Errno::ENOMEM, limit })
                    }
                    (errno, _) => NoSecretMemory::Unavailable(errno),
                });
            }
            // SAFETY: the page is accessible, and exists since the call.
            unsafe { page.write_volatile(0) };
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod calls {
    use crate::sys::errno::Errno;
    use crate::sys::memory::NoSecretMemory;
    use core::ptr::NonNull;

    pub(in crate::sys) fn has_secret_memory() -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }

    /// Always refuses: the system has no secret memory.
    ///
    /// # Safety
    /// The addresses are not used, so the caller has no obligation.
    pub(in crate::sys) unsafe fn place_secret_memory(
        _: NonNull<u8>,
        _: usize,
    ) -> Result<(), NoSecretMemory> {
        Err(NoSecretMemory::Unavailable(Errno::ENOSYS))
    }
}

pub(in crate::sys) use calls::{has_secret_memory, place_secret_memory};
