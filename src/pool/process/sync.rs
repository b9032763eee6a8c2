//! What `pause` and `returned` need of the processor and the operating system. The models in
//! `tests/models.rs` put something else in its place.
//!
//! Private to `process`; depends on the operating system.

pub(super) use core::sync::atomic;

use core::time::Duration;

/// A barrier for one thread that is complete with [`barrier_everywhere`] of another: here it keeps the
/// compiler from moving memory accesses across it, and the processor's part is left to the other thread.
#[inline(always)]
pub(super) fn barrier_here() {
    atomic::compiler_fence(atomic::Ordering::SeqCst);
}

/// Lets another thread go on, the longer the more often this has been called in vain.
pub(super) fn wait_a_turn(turn: u32) {
    match turn {
        0..100 => core::hint::spin_loop(),
        100..1000 => std::thread::yield_now(),
        // It may have to wait for this thread's processor.
        _ => std::thread::sleep(Duration::from_micros(100)),
    }
}

#[cfg(target_os = "linux")]
mod membarrier {
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: the call takes no pointers.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Whether [`barrier_everywhere`] will work.
    pub(in super::super) fn register_barrier() -> bool {
        membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED)
    }

    /// Makes the processors of all threads of this process pass a memory barrier.
    pub(in super::super) fn barrier_everywhere() {
        if !membarrier(PRIVATE_EXPEDITED) {
            // It worked when it was registered. Without it, heaps are not safe to touch.
            std::process::abort();
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod membarrier {
    pub(in super::super) fn register_barrier() -> bool {
        false
    }

    pub(in super::super) fn barrier_everywhere() {}
}

pub(super) use membarrier::{barrier_everywhere, register_barrier};
