//! `prctl`, `/proc/self/coredump_filter` and `mseal`: what a process gives up.
//!
//! `prctl` answers EINVAL to what this kernel does not know. It gives the same answer to
//! `PR_SET_PTRACER` where Yama is not in use, and to `PR_SET_MDWE` on processors without it.

use super::call_number::call_number;
use crate::sys::errno::Errno;
use crate::sys::hardening::NotHardened;
use crate::sys::posix::check;
use core::ffi::{CStr, c_int, c_long, c_ulong};
use core::ptr::NonNull;

/// From Linux 6.3 on.
const PR_SET_MDWE: c_int = 65;
const PR_GET_MDWE: c_int = 66;
const REFUSE_EXEC_GAIN: c_ulong = 1;
/// Of Yama.
const PR_SET_PTRACER: c_int = 0x5961_6d61;

/// The system call `mseal` (Linux 6.10). 32-bit kernels have the number and not the call.
const MSEAL: c_long = call_number(462);

/// The filter that leaves everything out but the first page of each program and library, which
/// tells debuggers what file it was.
const ELF_HEADERS: &[u8] = b"0x10";

/// `prctl` with one value that is a number.
fn set(option: c_int, value: c_ulong) -> Result<(), NotHardened> {
    const NOTHING: c_ulong = 0;
    // SAFETY: no option that this file gives takes a pointer.
    check(unsafe { libc::prctl(option, value, NOTHING, NOTHING, NOTHING) }).map_err(of_unknown)
}

/// EINVAL says that the kernel does not know what it was asked for.
fn of_unknown(errno: Errno) -> NotHardened {
    if errno == Errno::EINVAL { NotHardened::NotSupported } else { NotHardened::Refused(errno) }
}

pub(in crate::sys) fn forbid_dumps_and_tracers() -> Result<(), NotHardened> {
    set(libc::PR_SET_DUMPABLE, 0)
}

pub(in crate::sys) fn forbid_write_and_execute() -> Result<(), NotHardened> {
    const NOTHING: c_ulong = 0;
    let refusal = set(PR_SET_MDWE, REFUSE_EXEC_GAIN);
    // The kernel also refuses to set it anew without the flag that spares children, where that is
    // set. SAFETY: takes no pointers.
    let has = unsafe { libc::prctl(PR_GET_MDWE, NOTHING, NOTHING, NOTHING, NOTHING) };
    let is_set = u32::try_from(has).is_ok_and(|has| c_ulong::from(has) & REFUSE_EXEC_GAIN != 0);
    if is_set { Ok(()) } else { refusal }
}

pub(in crate::sys) fn forbid_new_privileges() -> Result<(), NotHardened> {
    set(libc::PR_SET_NO_NEW_PRIVS, 1)
}

pub(in crate::sys) fn forbid_huge_pages() -> Result<(), NotHardened> {
    set(libc::PR_SET_THP_DISABLE, 1)
}

pub(in crate::sys) fn forbid_named_tracer() -> Result<(), NotHardened> {
    set(PR_SET_PTRACER, 0)
}

pub(in crate::sys) fn empty_core_dumps() -> Result<(), NotHardened> {
    /// What the kernel shows for `ELF_HEADERS`.
    const SHOWN: &[u8] = b"00000010\n";
    const ENOENT: Errno = Errno::of(libc::ENOENT);
    let refused = |errno| match errno {
        // Without `/proc`, or a kernel without core dumps.
        ENOENT => NotHardened::NotSupported,
        errno => NotHardened::Refused(errno),
    };
    let (text, len) = (ELF_HEADERS.as_ptr(), ELF_HEADERS.len());
    // SAFETY: the text has this length.
    let write = |file: c_long| unsafe { libc::syscall(libc::SYS_write, file, text, len) };
    match with_core_filter(libc::O_WRONLY, write) {
        Ok(written) if written == len => Ok(()),
        Ok(_) => Err(NotHardened::Refused(Errno::EINVAL)),
        Err(errno) => {
            // A process that is not dumpable may read the file, and not write it.
            let mut shown = [0; SHOWN.len()];
            let (place, len) = (shown.as_mut_ptr(), shown.len());
            // SAFETY: the place has this length.
            let read = |file: c_long| unsafe { libc::syscall(libc::SYS_read, file, place, len) };
            let is_set = with_core_filter(libc::O_RDONLY, read).is_ok() && shown == SHOWN;
            if is_set { Ok(()) } else { Err(refused(errno)) }
        }
    }
}

/// Opens the core filter of this process, and makes a system call that takes its descriptor and
/// returns a number of bytes. (The C library's functions are cancellation points.)
fn with_core_filter(flags: c_int, call: impl FnOnce(c_long) -> c_long) -> Result<usize, Errno> {
    const PATH: &CStr = c"/proc/self/coredump_filter";
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: the path is a string.
    let file = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, PATH.as_ptr(), flags) };
    if file < 0 {
        return Err(Errno::last());
    }
    let bytes = usize::try_from(call(file)).map_err(|_| Errno::last());
    // SAFETY: opened above, and used by no one else; no pointers.
    unsafe { libc::syscall(libc::SYS_close, file) };
    bytes
}

/// See [`Hardening::seal`](crate::sys::hardening::Hardening::seal).
///
/// # Safety
/// The pages must be mapped, and be the caller's for the life of the process; nothing may change
/// the access to them or unmap them afterwards.
pub(in crate::sys) unsafe fn seal(addr: NonNull<u8>, len: usize) -> Result<(), NotHardened> {
    mseal(addr.as_ptr(), len)
}

/// A kernel that has the call does nothing to no pages.
pub(in crate::sys) fn can_seal() -> Result<(), NotHardened> {
    mseal(core::ptr::null(), 0)
}

fn mseal(start: *const u8, len: usize) -> Result<(), NotHardened> {
    const NO_FLAGS: c_ulong = 0;
    // SAFETY: sealing changes neither pages nor the access to them.
    match unsafe { libc::syscall(MSEAL, start, len, NO_FLAGS) } {
        0 => Ok(()),
        _ => Err(match Errno::last() {
            Errno::ENOSYS => NotHardened::NotSupported,
            errno => NotHardened::Refused(errno),
        }),
    }
}
