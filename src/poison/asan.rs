//! AddressSanitizer. Its runtime's functions are looked for by name, so that the library can be
//! linked into programs that do not have it.

use crate::sys::{Process, System};
use core::ffi::{CStr, c_void};
use core::mem::transmute;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

type Function = unsafe extern "C" fn(*const c_void, usize);

/// A function of the runtime: null until it has been looked for, then its address, or [`ABSENT`].
/// Threads that look at the same time find the same. So no thread waits for another one, which a
/// child of a fork might lack.
struct Found(AtomicPtr<c_void>);

/// Stands for a function that the program does not have.
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
        // SAFETY: neither null nor `ABSENT`, hence an address that the system has found; the
        // interface of AddressSanitizer declares both of its functions so
        // (`sanitizer/asan_interface.h`).
        (function != ABSENT).then(|| unsafe { transmute::<*mut c_void, Function>(function) })
    }
}

fn poison_function() -> Option<Function> {
    static POISON: Found = Found::new();
    POISON.get(c"__asan_poison_memory_region")
}

/// Whether the runtime is in the program.
pub(super) fn is_active() -> bool {
    poison_function().is_some()
}

pub(super) fn poison(start: *mut u8, len: usize) {
    if let Some(poison) = poison_function() {
        // SAFETY: changes what the runtime knows of these addresses, and nothing else.
        unsafe { poison(start.cast(), len) };
    }
}

pub(super) fn unpoison(start: *mut u8, len: usize) {
    static UNPOISON: Found = Found::new();
    if let Some(unpoison) = UNPOISON.get(c"__asan_unpoison_memory_region") {
        // SAFETY: changes what the runtime knows of these addresses, and nothing else.
        unsafe { unpoison(start.cast(), len) };
    }
}
