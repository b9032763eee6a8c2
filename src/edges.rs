//! Tells AddressSanitizer and valgrind which bytes are a chunk's: to them a pool's memory is one large
//! object otherwise.
//!
//! For `pool` and `pages`; depends on the system's dynamic linker. Memory of our own is closed when it becomes
//! an arena; a chunk is open from its allocation on, as far as it was asked for, and closed again when it
//! has been wiped, which it has to be open for as a whole. In the process-wide pool, granules that stay
//! closed lie between chunks. With neither of the features `asan` and `valgrind`, all of this is nothing.

/// Whether there is somebody who looks.
#[inline(always)]
pub(crate) fn are_seen() -> bool {
    #[cfg(feature = "asan")]
    if asan::is_there() {
        return true;
    }
    #[cfg(feature = "valgrind")]
    if valgrind::is_there() {
        return true;
    }
    false
}

/// Nobody may read or write these bytes of ours, which begin at a multiple of 8 bytes.
#[inline(always)]
pub(crate) fn close(start: *mut u8, len: usize) {
    #[cfg(feature = "asan")]
    asan::close(start, len);
    #[cfg(feature = "valgrind")]
    valgrind::close(start, len);
    let _ = (start, len);
}

/// These bytes may be read and written.
#[inline(always)]
pub(crate) fn open(start: *mut u8, len: usize) {
    #[cfg(feature = "asan")]
    asan::open(start, len);
    #[cfg(feature = "valgrind")]
    valgrind::open(start, len);
    let _ = (start, len);
}

/// The runtime's functions, if it is in the program: looked for by name, so that the library can be linked
/// without it.
#[cfg(feature = "asan")]
mod asan {
    use crate::sys::{Process, System};
    use core::ffi::{CStr, c_void};
    use core::mem::transmute;
    use core::ptr;
    use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

    type Function = unsafe extern "C" fn(*const c_void, usize);

    /// A function of the runtime: null until it has been looked for, then its address, or [`ABSENT`]. Threads
    /// that look at the same time find the same, so none waits for another, which a child of a fork might lack.
    struct Found(AtomicPtr<c_void>);

    /// No function is here.
    const ABSENT: *mut c_void = ptr::without_provenance_mut(1);

    impl Found {
        const fn new() -> Self {
            Self(AtomicPtr::new(ptr::null_mut()))
        }

        fn get(&self, name: &CStr) -> Option<Function> {
            let mut function = self.0.load(Relaxed);
            if function.is_null() {
                function = System::find_symbol(name);
                function = if function.is_null() { ABSENT } else { function };
                self.0.store(function, Relaxed);
            }
            // SAFETY: neither null nor `ABSENT`, hence an address that the system has found; the interface of
            // AddressSanitizer declares both of its functions so (`sanitizer/asan_interface.h`).
            (function != ABSENT).then(|| unsafe { transmute::<*mut c_void, Function>(function) })
        }
    }

    fn poison() -> Option<Function> {
        static POISON: Found = Found::new();
        POISON.get(c"__asan_poison_memory_region")
    }

    pub(super) fn is_there() -> bool {
        poison().is_some()
    }

    pub(super) fn close(start: *mut u8, len: usize) {
        if let Some(poison) = poison() {
            // SAFETY: changes what the runtime knows of these addresses, and nothing else.
            unsafe { poison(start.cast(), len) };
        }
    }

    pub(super) fn open(start: *mut u8, len: usize) {
        static UNPOISON: Found = Found::new();
        if let Some(unpoison) = UNPOISON.get(c"__asan_unpoison_memory_region") {
            // SAFETY: as above.
            unsafe { unpoison(start.cast(), len) };
        }
    }
}

/// Requests to Memcheck, which do nothing when it does not run ("The Client Request mechanism" in valgrind's
/// manual; `valgrind/valgrind.h` and `memcheck.h` say how they are made and numbered).
#[cfg(feature = "valgrind")]
mod valgrind {
    use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

    const RUNNING_ON_VALGRIND: usize = 0x1001;
    const MAKE_MEM_NOACCESS: usize = REQUESTS_OF_MEMCHECK;
    const MAKE_MEM_DEFINED: usize = REQUESTS_OF_MEMCHECK + 2;
    const REQUESTS_OF_MEMCHECK: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16;

    pub(super) fn is_there() -> bool {
        /// 0 until that is known, then 1 for no and 2 for yes.
        static RUNNING: AtomicU8 = AtomicU8::new(0);
        if RUNNING.load(Relaxed) == 0 {
            let is_running = request(&[RUNNING_ON_VALGRIND, 0, 0, 0, 0, 0]) != 0;
            RUNNING.store(1 + u8::from(is_running), Relaxed);
        }
        RUNNING.load(Relaxed) == 2
    }

    pub(super) fn close(start: *mut u8, len: usize) {
        request(&[MAKE_MEM_NOACCESS, start.expose_provenance(), len, 0, 0, 0]);
    }

    pub(super) fn open(start: *mut u8, len: usize) {
        request(&[MAKE_MEM_DEFINED, start.expose_provenance(), len, 0, 0, 0]);
    }

    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
    fn request(request: &[usize; 6]) -> usize {
        let mut answer = 0;
        // SAFETY: rotates a register once around and exchanges another with itself, which changes nothing but
        // flags. Valgrind takes the sequence for a request, reads its six words, and answers in `rdx`.
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
}
