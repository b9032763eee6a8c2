//! What happens to the process-wide pool when the process forks, and when it exits.
//!
//! Part of `process`, whose state it takes care of; `pool::fork` calls it.

use super::{
    LOCKING_FAILED, Pause, SHARED, Shared, all_heaps, heaps_are_closed, own_heap, stay_loaded,
    sync, thread_slot,
};
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;

/// Registers what happens at process exit. Where the system has no room for that, secrets stay until the
/// process's memory is gone; there is nobody to tell.
pub(super) fn at_exit() {
    stay_loaded::named();
    // SAFETY: a function without arguments that stays loaded as long as this library.
    let _ = unsafe { libc::atexit(wipe) };
}

static WIPES_AT_EXIT: AtomicBool = AtomicBool::new(true);

/// See `LockedPoolManager::keep_contents_at_exit`.
pub(in crate::pool) fn keep_contents_at_exit() {
    WIPES_AT_EXIT.store(false, Relaxed);
}

/// Wipes all that is left.
extern "C" fn wipe() {
    if !WIPES_AT_EXIT.load(Relaxed) {
        return;
    }
    // A thread that has been stopped for good may have the mutex.
    for _ in 0..100 {
        match SHARED.try_lock() {
            Some(mut shared) => return shared.wipe(),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// For the thread that forks: waits until no other thread is at work on the pool, and keeps them out of their
/// heaps. Its own heap is closed too, so that what it does until the fork is over goes by the mutex.
///
/// A signal handler that has interrupted this thread's work on the pool and forks closes nothing: its child
/// must not use the pool.
pub(in crate::pool) fn prepare() {
    SHARED.wait_until_free();
    if !SHARED.is_own() {
        Pause::close_all();
    }
}

/// The fork is over.
pub(in crate::pool) fn done() {
    if !SHARED.is_own() {
        Pause::open_all();
    }
}

/// Puts the pool in order in the child.
pub(in crate::pool) fn child() {
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
    let generation = crate::fork::generation();
    if core::mem::replace(&mut shared.generation, generation) == generation {
        return;
    }
    shared.state.catch_up();
    catch_up_slabs(shared);
    let own = own_heap().map_or(0, |heap| heap.number);
    let pause = Pause::nothing();
    for heap in all_heaps().filter(|heap| heap.number != own && heap.taken.load(Relaxed)) {
        shared.vacate(heap, &pause);
    }
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
        shared.state.count_lock_failure(error);
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
    shared.returns += 1;
}
