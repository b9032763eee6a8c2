//! What happens to the process-wide pool when the process forks, and when it exits.
//!
//! Private to `process`, whose state it takes care of.

use super::{
    HOLDER, Locked, Pause, SHARED, all_heaps, lock, own_heap, sync, this_thread, thread_slot,
};
use core::cell::UnsafeCell;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::sync::TryLockError;

/// Registers what happens at process exit and around a fork. Where the system has no room for that,
/// secrets stay until the process's memory is gone, and a child may find the pool locked; there is
/// nobody to tell.
pub(super) fn at_exit_and_fork() {
    // SAFETY: functions without arguments that stay loaded as long as this library.
    let _ = unsafe { libc::atexit(wipe) };
    // SAFETY: as above.
    let _ = unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
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
/// mutex, if it holds that already and forks from within the pool's callback.
struct Fork(UnsafeCell<Option<(Pause, Option<Locked>)>>);

// SAFETY: used between `before_fork` and `in_parent` or `in_child` alone, by the forking thread, which
// holds the mutex then.
unsafe impl Sync for Fork {}

static FORK: Fork = Fork(UnsafeCell::new(None));

extern "C" fn before_fork() {
    let shared = (HOLDER.load(Relaxed) != this_thread()).then(lock);
    let pause = Pause::begin();
    // SAFETY: this thread holds the mutex, see `Fork`.
    unsafe { *FORK.0.get() = Some((pause, shared)) };
}

extern "C" fn in_parent() {
    // SAFETY: this thread holds the mutex, see `Fork`.
    drop(unsafe { (*FORK.0.get()).take() });
}

extern "C" fn in_child() {
    // SAFETY: this thread holds the mutex, see `Fork`.
    let Some((pause, shared)) = (unsafe { (*FORK.0.get()).take() }) else { return };
    // The other threads do not exist here. One may have been about to notice the pause.
    let own = own_heap().map_or(0, |heap| heap.number);
    let others = || all_heaps().filter(|heap| heap.number != own && heap.taken.load(Relaxed));
    for heap in others() {
        heap.gate.abandon();
    }
    // In the callback's child the pool goes on with what it was doing; the others' heaps stay as they are,
    // and the memory is not locked.
    if let Some(mut shared) = shared {
        for heap in others() {
            shared.vacate(heap, &pause);
        }
        shared.concurrent = shared.concurrent && sync::register_barrier();
        if let (false, Some(heap)) = (shared.concurrent, own_heap()) {
            shared.vacate(heap, &pause);
            thread_slot::set(0);
        }
        // Memory locks are not inherited.
        shared.lock_again();
        drop(pause);
    }
}
