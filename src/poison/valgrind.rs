//! Requests to Memcheck, which do nothing when it does not run ("The Client Request mechanism" in
//! valgrind's manual; `valgrind/valgrind.h` and `memcheck.h` say how they are made and numbered).

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

const RUNNING_ON_VALGRIND: usize = 0x1001;
const MAKE_MEM_NOACCESS: usize = REQUESTS_OF_MEMCHECK;
const MAKE_MEM_DEFINED: usize = REQUESTS_OF_MEMCHECK + 2;
const REQUESTS_OF_MEMCHECK: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16;

/// Whether the program runs under valgrind.
pub(super) fn is_active() -> bool {
    /// 0 until that is known, then 1 for no and 2 for yes.
    static RUNNING: AtomicU8 = AtomicU8::new(0);
    if RUNNING.load(Relaxed) == 0 {
        let is_running = request(&[RUNNING_ON_VALGRIND, 0, 0, 0, 0, 0]) != 0;
        RUNNING.store(1 + u8::from(is_running), Relaxed);
    }
    RUNNING.load(Relaxed) == 2
}

pub(super) fn poison(start: *mut u8, len: usize) {
    request(&[MAKE_MEM_NOACCESS, start.expose_provenance(), len, 0, 0, 0]);
}

pub(super) fn unpoison(start: *mut u8, len: usize) {
    request(&[MAKE_MEM_DEFINED, start.expose_provenance(), len, 0, 0, 0]);
}

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
fn request(request: &[usize; 6]) -> usize {
    let mut answer = 0;
    // SAFETY: rotates a register once around and exchanges another with itself, which changes
    // nothing but flags. Valgrind takes the sequence for a request, reads its six words, and
    // answers in `rdx`.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            inout("rdi") 0_usize => _,
            in("rax") request,
            inout("rdx") answer,
            options(nostack),
        );
    }
    answer
}

#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
fn request(_: &[usize; 6]) -> usize {
    0
}
