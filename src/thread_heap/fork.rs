//! What happens to the process-wide pool when the process forks.
//!
//! The fork waits until no other thread is at work on the pool, so that the child, in which there is one thread, finds
//! it in order. What the child's memory holds, and whether it is locked, has been taken care of by `pages` before.

use super::{
    LOCKING_FAILED, Pause, SHARED, Shared, Tally, all_heaps, heaps_are_closed, own_heap, sync,
    thread_slot,
};
use crate::fork::{self, Participant};
use crate::pages;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Release};

/// From the first call on, forks take care of the pool. Called before its mutex is taken.
#[inline]
pub(super) fn participate() {
    // Set when it is done: a thread that finds it set may count on it.
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if !IS_DONE.load(Acquire) {
        register();
        IS_DONE.store(true, Release);
    }
}

#[cold]
fn register() {
    static POOL: Participant = Participant { prepare, child, done };
    // Registered before the pool: in a child, memory is put in order first.
    pages::at_fork_of_process();
    fork::register(&POOL);
}

/// For the thread that forks: waits until no other thread is at work on the pool, and keeps them out of their
/// heaps. Its own heap is closed too, so that what it does until the fork is over goes by the mutex.
///
/// A signal handler that has interrupted this thread's work on the pool and forks closes nothing: its child
/// must not use the pool.
fn prepare() {
    SHARED.wait_until_free();
    if !SHARED.is_own() {
        Pause::close_all();
    }
}

/// The fork is over.
fn done() {
    if !SHARED.is_own() {
        Pause::open_all();
    }
}

/// Puts the pool in order in the child.
fn child() {
    SHARED.after_fork();
    LOCKING_FAILED.after_fork();
    if SHARED.is_own() {
        return;
    }
    // The other threads do not exist here. One may have been about to notice the pause.
    let own = own_heap().map_or(0, |heap| heap.number);
    all_heaps().filter(|heap| heap.number != own).for_each(|heap| heap.gate.abandon());
    if let Ok(mut shared) = SHARED.lock() {
        catch_up(&mut shared);
    }
}

/// In a child, brings all up to date with what has become of the memory, and gives up the heaps of threads that
/// are not there.
///
/// Elsewhere, and where that has been done, it does nothing.
pub(super) fn catch_up(shared: &mut Shared) {
    let generation = fork::generation();
    if core::mem::replace(&mut shared.generation, generation) == generation {
        return;
    }
    shared.state.catch_up();
    catch_up_slabs(shared);
    let pause = Pause::nothing();
    shared.vacate_others(&pause);
    shared.concurrent = shared.concurrent && !heaps_are_closed() && sync::register_barrier();
    if let (false, Some(heap)) = (shared.concurrent, own_heap()) {
        shared.vacate(heap, &pause);
        thread_slot::set(0);
    }
}

/// Brings sampled chunks up to date, and forgets all slabs if their memory has stayed with the parent.
fn catch_up_slabs(shared: &mut Shared) {
    let before = shared.guarded.stats().used;
    if let Some(error) = shared.guarded.catch_up() {
        shared.state.stats.count_lock_failure(error);
    }
    if shared.guarded.stats().used != before {
        // Absent, and so is everything else.
        shared.state.stats.peak_used = 0;
    }
    if !core::mem::take(&mut shared.state.has_lost_arenas) {
        return;
    }
    for heap in all_heaps() {
        heap.forget_slabs();
    }
    shared.slabs = 0;
    shared.slab_bytes = 0;
    shared.slots = 0;
    shared.ended = Tally::NOTHING;
    shared.slack = 0;
}
