//! What threads need of the processor and the operating system to wait for each other. The models in
//! `tests/models.rs` put something else in its place.
//!
//! Depends on the operating system. Nothing here is a cancellation point (`pthread_cancel`): a thread that
//! waits may hold a lock.

pub(crate) use core::sync::atomic;

use atomic::AtomicU32;

/// A barrier for one thread that is complete with [`barrier_everywhere`] of another: here it keeps the
/// compiler from moving memory accesses across it, and the processor's part is left to the other thread.
#[inline(always)]
pub(crate) fn barrier_here() {
    atomic::compiler_fence(atomic::Ordering::SeqCst);
}

/// Whether a thread that has waited for so many turns for a lock goes on before it sleeps until it is woken.
pub(crate) fn is_short(turn: u32) -> bool {
    turn < 40
}

/// Lets another thread go on, the longer the more often this has been called in vain.
pub(crate) fn wait_a_turn(turn: u32) {
    match turn {
        0..100 => core::hint::spin_loop(),
        100..1000 => std::thread::yield_now(),
        // It may have to wait for this thread's processor.
        _ => sleep(100_000),
    }
}

/// Sleeps for so many nanoseconds, less than a second; or for less. `nanosleep` of the C library is a
/// cancellation point; a bare system call is none.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn sleep(nanoseconds: libc::c_long) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds };
    let rest = core::ptr::null_mut::<libc::timespec>();
    // SAFETY: `time` is valid for the call, which writes nowhere, as `rest` is null.
    unsafe {
        libc::syscall(libc::SYS_clock_nanosleep, libc::CLOCK_MONOTONIC, 0, &raw const time, rest)
    };
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn sleep(_: libc::c_long) {
    std::thread::yield_now();
}

/// Waits until [`wake_one`] has been called since the word had this value, or for no reason.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(crate) fn wait_while(word: &AtomicU32, value: u32) {
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let forever = core::ptr::null::<libc::timespec>();
    // SAFETY: `word` is valid for the call, which reads it.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, forever) };
}

/// Wakes a thread that waits for the word to change, which it has done.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(crate) fn wake_one(word: &AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word's address is a name here: nothing is read or written there.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 1) };
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub(crate) fn wait_while(_: &AtomicU32, _: u32) {
    std::thread::yield_now();
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub(crate) fn wake_one(_: &AtomicU32) {}

/// Waits for so long that every processor has made its stores visible to the others: a thousand times as long
/// as any keeps them to itself. For whoever needs [`barrier_everywhere`] once and may not have it.
pub(crate) fn wait_for_stores() {
    for _ in 0..100 {
        sleep(100_000);
        std::thread::yield_now();
    }
    atomic::fence(atomic::Ordering::SeqCst);
}

#[cfg(target_os = "linux")]
mod membarrier {
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: the call takes no pointers.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Whether [`barrier_everywhere`] will work, unless a sandbox forbids it later.
    pub(crate) fn register_barrier() -> bool {
        membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED)
    }

    /// Makes the processors of all threads of this process pass a memory barrier. `false` if the system
    /// refuses, as it may from one moment to the next where a sandbox (a seccomp filter) is set up late.
    pub(crate) fn barrier_everywhere() -> bool {
        membarrier(PRIVATE_EXPEDITED)
    }
}

#[cfg(not(target_os = "linux"))]
mod membarrier {
    pub(crate) fn register_barrier() -> bool {
        false
    }

    pub(crate) fn barrier_everywhere() -> bool {
        false
    }
}

pub(crate) use membarrier::{barrier_everywhere, register_barrier};
