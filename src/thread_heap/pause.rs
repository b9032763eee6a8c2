//! Pauses: while one lasts, no other thread is in its heap.

use super::current_heap::current_number;
use super::registry::live_heaps;
use crate::sync;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;

/// Keeps all other threads out of their heaps as long as it lives. The holder of the mutex makes
/// it.
pub(super) struct Pause {
    /// Whether it has closed the gates and has to open them.
    closed: bool,
}

/// Whether all heaps are closed for good, because the system refuses the barrier that a pause
/// needs.
static HEAPS_ARE_CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether all heaps are closed for good.
pub(super) fn heaps_are_closed() -> bool {
    HEAPS_ARE_CLOSED.load(Relaxed)
}

impl Pause {
    /// Waits until no other thread is in its heap, and keeps it so.
    pub(super) fn begin() -> Self {
        let own = current_number();
        let running = || live_heaps().filter(move |heap| heap.number != own);
        // The gates are closed already, by this thread, which forks, or for good; or no other
        // thread has a heap.
        if running().all(|heap| heap.gate.is_closed()) {
            return Self::nothing();
        }
        running().for_each(|heap| heap.gate.close());
        if !sync::barrier_everywhere() {
            close_for_good();
            return Self::nothing();
        }
        running().for_each(|heap| heap.gate.wait());
        Self { closed: true }
    }

    /// For a caller that knows that no other thread is in its heap.
    pub(super) fn nothing() -> Self {
        Self { closed: false }
    }

    /// Closes the heaps of all threads, also the calling thread's, until
    /// [`open_all`](Self::open_all). No other thread has the mutex, or gets it before that.
    ///
    /// The gate of a heap without a thread is always open: no thread enters it, and the next one
    /// that gets the heap expects it so.
    pub(super) fn close_all() {
        core::mem::forget(Self::begin());
        live_heaps().for_each(|heap| heap.gate.close());
    }

    /// Opens what [`close_all`](Self::close_all) has closed.
    pub(super) fn open_all() {
        if !heaps_are_closed() {
            live_heaps().for_each(|heap| heap.gate.open());
        }
    }
}

/// Closes the heaps of all threads for good, also the calling thread's; no thread gets a heap any
/// more. The system refuses the barrier. As this happens once, a wait takes its place, so long that
/// each thread has seen its gate closed, or been seen in it.
#[cold]
fn close_for_good() {
    HEAPS_ARE_CLOSED.store(true, Relaxed);
    live_heaps().for_each(|heap| heap.gate.close());
    sync::wait_for_stores();
    let own = current_number();
    live_heaps().filter(|heap| heap.number != own).for_each(|heap| heap.gate.wait());
}

impl Drop for Pause {
    fn drop(&mut self) {
        if self.closed {
            live_heaps().for_each(|heap| heap.gate.open());
        }
    }
}
