//! `memfd_secret`: memory that the kernel itself has no mapping of, so that nobody can ask it to read
//! there on behalf of another process, however privileged: not through `/proc/PID/mem`, `ptrace` or
//! `process_vm_readv`.
//!
//! Private to `pages`; depends on the operating system. Linux since 5.14, unless it was built or booted
//! without (`secretmem.enable=0`; before 6.5, `secretmem.enable=1` is needed), on processors on which the
//! kernel can take single pages out of its own map.
//!
//! Such memory is locked from the start (and counts against `RLIMIT_MEMLOCK`), and out of core dumps. It
//! is a shared mapping: a child process that had it would have its parent's very pages, and whichever ended
//! first would wipe them for the other. So it goes with children in which it is absent, and with nothing
//! else. Each page costs the kernel a split of its own map and a flush of all processors' translations when
//! it is first touched. While any process has such memory, the machine does not hibernate.

use core::ptr::NonNull;
use std::io;

/// Why there is none.
pub(super) enum Refusal {
    /// The system does not have it, or has none left.
    Unavailable(io::Error),
    /// The process must not lock so much.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "there is nothing to lock"))]
    Limit(io::Error),
}

#[cfg(target_os = "linux")]
mod linux {
    use super::super::os;
    use super::{NonNull, Refusal, io};

    /// The number of the system call, which the `libc` crate does not have for every processor. All of them have
    /// the same since Linux 5.1, but where one kernel serves several interfaces.
    const MEMFD_SECRET: libc::c_long = 447
        + if cfg!(all(target_arch = "x86_64", target_pointer_width = "32")) {
            0x4000_0000
        } else if cfg!(any(target_arch = "mips", target_arch = "mips32r6")) {
            4000
        } else if cfg!(any(target_arch = "mips64", target_arch = "mips64r6")) {
            5000
        } else {
            0
        };
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    const _: () = assert!(MEMFD_SECRET == libc::SYS_memfd_secret);

    /// A file of secret memory, which no child process inherits by `exec`.
    fn file() -> io::Result<File> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::syscall(MEMFD_SECRET, libc::O_CLOEXEC) };
        match libc::c_int::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(File(fd)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Owns a descriptor.
    struct File(libc::c_int);

    impl Drop for File {
        fn drop(&mut self) {
            // The C library's `close` is a cancellation point, and the caller may hold a lock.
            // SAFETY: a descriptor of our own, which nobody uses after its owner; no pointers.
            unsafe { libc::syscall(libc::SYS_close, self.0) };
        }
    }

    pub(in crate::pages) fn probe() -> io::Result<()> {
        file().map(drop)
    }

    /// Puts secret memory in the place of reserved addresses.
    ///
    /// # Safety
    /// They must be addresses of whole pages, set aside and used by nobody.
    pub(in crate::pages) unsafe fn place(addr: NonNull<u8>, len: usize) -> Result<(), Refusal> {
        let file = file().map_err(Refusal::Unavailable)?;
        let size = libc::off_t::try_from(len)
            .map_err(|_| Refusal::Unavailable(io::ErrorKind::InvalidInput.into()))?;
        // SAFETY: the descriptor is open; no pointers.
        if unsafe { libc::ftruncate(file.0, size) } != 0 {
            return Err(Refusal::Unavailable(io::Error::last_os_error()));
        }
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        let at = addr.as_ptr().cast();
        // Inaccessible until it is kept from children: one that another thread makes in between must not
        // share what will be written here. (That it could not be kept from them is noticed in `live`, which
        // asks again.)
        // SAFETY: by this function's contract nobody uses what the new mapping replaces.
        let mapped = unsafe { libc::mmap(at, len, libc::PROT_NONE, flags, file.0, 0) };
        if mapped == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            // What `mmap` says of a mapping that would be locked beyond the limit.
            return Err(match error.raw_os_error() {
                Some(libc::EAGAIN) => Refusal::Limit(error),
                _ => Refusal::Unavailable(error),
            });
        }
        let _ = os::do_not_fork(addr, len);
        // SAFETY: mapped just now, and used by nobody.
        unsafe { os::make_accessible(addr, len) }.map_err(Refusal::Unavailable)?;
        // The pages exist once they are touched. A system call that writes there reports that there is no
        // memory, where a store would end the process.
        for offset in (0..len).step_by(super::super::page_size()) {
            let page = addr.as_ptr().wrapping_add(offset).cast::<libc::c_uint>();
            let nothing = core::ptr::null_mut::<libc::c_void>();
            // SAFETY: the kernel writes a number into memory of ours, or refuses.
            let touched = unsafe { libc::syscall(libc::SYS_getcpu, page, nothing, nothing) };
            if touched != 0 {
                let error = io::Error::last_os_error();
                return Err(Refusal::Unavailable(match error.raw_os_error() {
                    Some(libc::EFAULT) => io::Error::from_raw_os_error(libc::ENOMEM),
                    _ => error,
                }));
            }
            // SAFETY: as above; the page exists.
            unsafe { page.write_volatile(0) };
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod linux {
    use super::{NonNull, Refusal, io};

    pub(in crate::pages) fn probe() -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::ENOSYS))
    }

    /// There is none.
    ///
    /// # Safety
    /// None.
    pub(in crate::pages) unsafe fn place(_: NonNull<u8>, _: usize) -> Result<(), Refusal> {
        Err(Refusal::Unavailable(io::Error::from_raw_os_error(libc::ENOSYS)))
    }
}

pub(super) use linux::{place, probe};
