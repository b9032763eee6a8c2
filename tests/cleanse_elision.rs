//! `cleanse` is not optimized away where an ordinary fill is: on a buffer of the heap that is freed right
//! after, in an optimized build with link-time optimization of all Rust code. (For C++, and for a buffer on
//! the stack: `cpp_tests/cleanse_elision.cpp`.)

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

const SECRET: u8 = 0xa7;

/// The system's heap, which counts the blocks of this thread that come back with `SECRET` in them.
struct Watched;

thread_local! {
    static DIRTY: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all memory is that of `System`.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    // Not inlined: it must not be known that somebody looks.
    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let look = std::hint::black_box(block);
        // SAFETY: the caller gives back a block of this layout. Volatile, as what it holds may be anything.
        let is_secret = |i| unsafe { look.add(i).read_volatile() } == SECRET;
        let dirty = layout.size() >= 512 && (0..layout.size()).all(is_secret);
        DIRTY.set(DIRTY.get() + usize::from(dirty));
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static HEAP: Watched = Watched;

/// Uses a secret of 1000 bytes, wipes it, and frees it; how many blocks came back with it.
#[inline(always)]
fn left_by(wipe: impl FnOnce(&mut [u8])) -> usize {
    DIRTY.set(0);
    let mut secret = vec![SECRET; 1000];
    std::hint::black_box(&mut secret);
    wipe(&mut secret);
    drop(secret);
    DIRTY.get()
}

#[test]
fn the_optimizer_leaves_the_wipe() {
    assert_eq!(left_by(bitcoin_support::cleanse), 0);
    // SAFETY: an exclusive slice is writable over its length.
    assert_eq!(left_by(|s| unsafe { bitcoin_support::memory_cleanse(s.as_mut_ptr(), s.len()) }), 0);
}

#[test]
fn control_the_optimizer_takes_a_fill_out() {
    assert_eq!(left_by(|_| ()), 1, "the secret is seen if nobody wipes it");
    if cfg!(debug_assertions) {
        println!("skipped: this build is not optimized");
        return;
    }
    assert_eq!(left_by(|secret| secret.fill(0)), 1);
}
