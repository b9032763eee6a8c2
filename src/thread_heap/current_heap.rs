//! The calling thread's heap, and how often a thread that has none has come to the mutex: one word
//! for each thread.

use super::heap::Heap;
use crate::sys::{System, Threads};
use core::ptr;

/// A thread gets a heap when it has come to the mutex so many times: few secrets are served from
/// there.
const CALLS_BEFORE_HEAP: usize = 8;

// The word's values: 0 at first, [`GONE`], [`GONE`] and the number of calls so far, the address of
// a heap.

/// The thread has given its heap up for good.
const GONE: usize = 1;
/// The thread has come to the mutex often enough.
const LAST_CALL: usize = GONE + CALLS_BEFORE_HEAP;

/// The heap of the calling thread, if it has one.
#[inline(always)]
pub(super) fn current_heap() -> Option<&'static Heap> {
    let word = System::thread_word();
    // SAFETY: every other value is the address of a heap that lives as long as the process: `set`
    // has put it there.
    (word > LAST_CALL).then(|| unsafe { &*ptr::with_exposed_provenance(word) })
}

/// Sets the calling thread's word.
fn set_word(word: usize) {
    // SAFETY: this module is the one user of the word.
    unsafe { System::set_thread_word(word) };
}

/// The number of the calling thread's heap; 0 if it has none.
pub(super) fn current_number() -> u32 {
    current_heap().map_or(0, |heap| heap.number)
}

/// For a thread without a heap: whether it may have one at some time.
pub(super) fn may_have_one() -> bool {
    System::thread_word() != GONE
}

/// For a thread without a heap: counts a call, and tells whether there were enough before for a
/// heap.
pub(super) fn has_called_enough() -> bool {
    let word = System::thread_word();
    if word < LAST_CALL {
        set_word(word.max(GONE) + 1);
        return false;
    }
    true
}

/// Gives the calling thread a heap.
pub(super) fn set(heap: &'static Heap) {
    set_word(ptr::from_ref(heap).expose_provenance());
}

/// Takes the calling thread's heap away for good.
pub(super) fn give_up() {
    set_word(GONE);
}

/// Takes the calling thread's heap away; it may get another one.
pub(super) fn reset() {
    set_word(0);
}
