//! What happens to the process-wide pool when the process forks, and when it exits.
//!
//! Part of `process`, whose state it takes care of; `pool::fork` calls it.

use super::{
    HOLDER, Locked, Pause, SHARED, Shared, all_heaps, lock, own_heap, stay_loaded, sync,
    this_thread, thread_slot,
};
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::sync::TryLockError;

/// Registers what happens at process exit and around a fork. Where the system has no room for that,
/// secrets stay until the process's memory is gone; there is nobody to tell.
pub(super) fn at_exit_and_fork() {
    stay_loaded::named();
    // SAFETY: a function without arguments that stays loaded as long as this library.
    let _ = unsafe { libc::atexit(wipe) };
    crate::pool::fork::prepare();
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
    // A thread that ends the process from within the pool's callback holds the lock for good.
    for _ in 0..100 {
        match SHARED.try_lock() {
            Ok(mut shared) => return shared.wipe(),
            Err(TryLockError::Poisoned(shared)) => return shared.into_inner().wipe(),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// What the forking thread holds while it forks, so that the child finds everything in order: not the
/// mutex, if it has that already and forks from within the pool's callback.
pub(in crate::pool) struct Held {
    // Dropped first: a pause ends before the mutex is free.
    pause: Option<Pause>,
    shared: Option<Locked>,
}

/// Holds the pool; waits for it.
pub(in crate::pool) fn hold() -> Held {
    Held { pause: None, shared: (!is_own()).then(lock) }
}

/// Holds the pool; `None` when another thread has it.
pub(in crate::pool) fn try_hold() -> Option<Held> {
    if is_own() {
        return Some(Held { pause: None, shared: None });
    }
    let guard = match SHARED.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    HOLDER.store(this_thread(), Relaxed);
    Some(Held { pause: None, shared: Some(Locked(guard)) })
}

/// Whether this thread has the mutex.
fn is_own() -> bool {
    HOLDER.load(Relaxed) == this_thread()
}

impl Held {
    /// Keeps the other threads out of their heaps.
    pub(in crate::pool) fn pause(&mut self) {
        self.pause = Some(Pause::begin());
    }

    /// Puts the pool in order in the child.
    pub(in crate::pool) fn in_child(self) {
        // The other threads do not exist here. One may have been about to notice the pause.
        let own = own_heap().map_or(0, |heap| heap.number);
        let others = || all_heaps().filter(|heap| heap.number != own && heap.taken.load(Relaxed));
        for heap in others() {
            heap.gate.abandon();
        }
        // In the callback's child the pool goes on with what it was doing, and catches up then; the others'
        // heaps stay as they are.
        if let (Some(mut shared), Some(pause)) = (self.shared, self.pause) {
            shared.state.catch_up();
            catch_up(&mut shared);
            for heap in others() {
                shared.vacate(heap, &pause);
            }
            shared.concurrent = shared.concurrent && sync::register_barrier();
            if let (false, Some(heap)) = (shared.concurrent, own_heap()) {
                shared.vacate(heap, &pause);
                thread_slot::set(0);
            }
            drop(pause);
        }
    }
}

/// In a child process, brings sampled chunks up to date, and forgets all slabs if their memory has stayed with
/// the parent.
pub(super) fn catch_up(shared: &mut Shared) {
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
