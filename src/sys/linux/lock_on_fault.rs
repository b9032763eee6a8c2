//! `mlock2`, which Linux has from 4.4 on.

use crate::sys::errno::Errno;
use crate::sys::memory::LockRefusal;
use crate::sys::posix::{LockOnFault, lock_limit};
use core::ffi::c_int;
use core::ptr::NonNull;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

/// Locks pages as they come into memory. So locking touches none of them, and copies none that a
/// child process shares with its parent.
pub(in crate::sys) fn lock_on_fault(addr: NonNull<u8>, len: usize) -> LockOnFault {
    const MLOCK_ONFAULT: c_int = 1;
    /// Whether the call has been refused whatever its arguments: by an old kernel, by a kernel that
    /// imitates Linux, or by a sandbox whose list has `mlock` alone. A sandbox is never taken down,
    /// and a child process has its parent's, so that the call is not tried again.
    static UNKNOWN: AtomicBool = AtomicBool::new(false);
    if UNKNOWN.load(Relaxed) {
        return LockOnFault::NotMade;
    }
    // SAFETY: locking changes where pages live, not what they hold.
    if unsafe { libc::syscall(libc::SYS_mlock2, addr.as_ptr(), len, MLOCK_ONFAULT) } == 0 {
        return LockOnFault::Locked;
    }
    let refusal = LockRefusal { errno: Errno::last(), limit: lock_limit() };
    match refusal.errno {
        // The limit's errors are also those for a process that has no more mappings or no more
        // memory. `mlock` meets the same limit, so it is tried only where there is no limit.
        Errno::ENOMEM | Errno::EAGAIN if refusal.limit != usize::MAX => {
            LockOnFault::Refused(refusal)
        }
        Errno::ENOMEM | Errno::EAGAIN => LockOnFault::NotMade,
        // A limit of 0 has the same answer as many a sandbox, and may be raised later.
        Errno::EPERM if refusal.limit == 0 => LockOnFault::NotMade,
        _ => {
            UNKNOWN.store(true, Relaxed);
            LockOnFault::NotMade
        }
    }
}
