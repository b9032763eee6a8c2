//! The ordinary heap with a witness. While it watches, it reads every block that the calling thread
//! frees, and counts those that are not all zeros.
//!
//! Depends on no other module. A program makes it its global allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

pub(crate) struct Witness;

thread_local! {
    static WATCHES: Cell<bool> = const { Cell::new(false) };
    static FREED: Cell<usize> = const { Cell::new(0) };
    static DIRTY: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all blocks are those of `System`.
unsafe impl GlobalAlloc for Witness {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if WATCHES.get() {
            // SAFETY: the caller gives up a block of that many bytes.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            FREED.set(FREED.get() + 1);
            DIRTY.set(DIRTY.get() + usize::from(bytes.iter().any(|&byte| byte != 0)));
        }
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Watches while `body` runs. All blocks of the ordinary heap that this thread frees must have been
/// wiped. Returns the number of blocks and the result of `body`.
pub(crate) fn watch<R>(body: impl FnOnce() -> R) -> (usize, R) {
    FREED.set(0);
    DIRTY.set(0);
    WATCHES.set(true);
    let result = body();
    WATCHES.set(false);
    assert!(DIRTY.get() == 0, "a block of the heap was not wiped");
    (FREED.get(), result)
}
