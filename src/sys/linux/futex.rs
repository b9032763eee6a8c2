//! Waiting of threads by bare system calls. The C library's `nanosleep` is a cancellation point,
//! which these are not. On 32-bit systems and under Android a thread lets others go on instead.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod calls {
    use core::ptr;
    use core::sync::atomic::AtomicU32;

    pub(in crate::sys) fn sleep(nanoseconds: u32) {
        let time = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds.into() };
        let rest = ptr::null_mut::<libc::timespec>();
        // SAFETY: `time` is valid for the call, which writes nowhere, as `rest` is null.
        unsafe {
            let clock = libc::CLOCK_MONOTONIC;
            libc::syscall(libc::SYS_clock_nanosleep, clock, 0, &raw const time, rest)
        };
    }

    pub(in crate::sys) fn wait_while(word: &AtomicU32, value: u32) {
        let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        let forever = ptr::null::<libc::timespec>();
        // SAFETY: `word` is valid for the call, which reads it.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, forever) };
    }

    pub(in crate::sys) fn wake_one(word: &AtomicU32) {
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the word's address is a name here: nothing is read or written there.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 1) };
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
mod calls {
    use core::sync::atomic::AtomicU32;

    pub(in crate::sys) fn sleep(_: u32) {
        std::thread::yield_now();
    }

    pub(in crate::sys) fn wait_while(_: &AtomicU32, _: u32) {
        std::thread::yield_now();
    }

    pub(in crate::sys) fn wake_one(_: &AtomicU32) {}
}

pub(in crate::sys) use calls::{sleep, wait_while, wake_one};
