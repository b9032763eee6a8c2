//! `membarrier`, which Linux has from 4.14 on. Under Android it is not used.

#[cfg(target_os = "linux")]
mod calls {
    use core::ffi::c_int;

    const PRIVATE_EXPEDITED: c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: c_int = 1 << 4;

    fn membarrier(command: c_int) -> bool {
        // SAFETY: the call takes no pointers.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    pub(in crate::sys) fn register_barrier() -> bool {
        membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED)
    }

    pub(in crate::sys) fn barrier_everywhere() -> bool {
        membarrier(PRIVATE_EXPEDITED)
    }
}

#[cfg(not(target_os = "linux"))]
mod calls {
    pub(in crate::sys) fn register_barrier() -> bool {
        false
    }

    pub(in crate::sys) fn barrier_everywhere() -> bool {
        false
    }
}

pub(in crate::sys) use calls::{barrier_everywhere, register_barrier};
