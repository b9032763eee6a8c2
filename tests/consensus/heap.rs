//! The system's heap. It counts how many bytes each thread has, and the most that each has had.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counted;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

impl Counted {
    fn add(bytes: usize) {
        NOW.set(NOW.get() + bytes as isize);
        PEAK.set(PEAK.get().max(NOW.get()));
    }

    fn subtract(bytes: usize) {
        NOW.set(NOW.get() - bytes as isize);
    }
}

// SAFETY: all memory is that of `System`.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::subtract(layout.size());
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        unsafe { System.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::add(size);
        Self::subtract(layout.size());
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static HEAP: Counted = Counted;

/// Returns the result of `work`, and by how many bytes this thread's use of the heap rose at most.
pub(crate) fn peak_of<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = NOW.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before) as usize)
}
