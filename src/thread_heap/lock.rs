//! The mutex of the process-wide pool, and what happens to it at a fork.
//!
//! A fork waits until no other thread is at work on the pool, so that the child, in which there is
//! one thread, finds it in order. What the child's memory holds, and whether it is locked, has been
//! taken care of by `pages` before.

use super::central::Central;
use super::current_heap::current_number;
use super::pause::Pause;
use super::registry::live_heaps;
use crate::arena_set::{LockingFailed, refuse_interrupted};
use crate::fork::{Callee, Interrupted, Mutex, MutexGuard, Participant};
use crate::pages;
use crate::sys::{Process, System};

static CENTRAL: Mutex<Central> = Mutex::new(Central::new());

/// The callback that decides about unlocked memory. It is called while the mutex is free.
pub(super) static LOCKING_FAILED: Callee<Option<LockingFailed>> = Callee::new(None);

/// Holds the mutex.
pub(super) type CentralGuard = MutexGuard<'static, Central>;

/// Takes the mutex, for a call that has no way to fail.
#[track_caller]
pub(super) fn lock() -> CentralGuard {
    try_lock().unwrap_or_else(|Interrupted| refuse_interrupted())
}

static POOL: Participant = Participant::new(prepare, child, done);

/// Takes the mutex. Waits for another thread that has it; fails if the calling thread has it, which
/// then is in a signal handler.
pub(super) fn try_lock() -> Result<CentralGuard, Interrupted> {
    System::keep_loaded();
    // After the pages: in a child, memory is put in order first.
    POOL.join_after(pages::join_forks);
    let mut central = CENTRAL.lock()?;
    central.catch_up();
    Ok(central)
}

/// For the thread that forks: waits until no other thread is at work on the pool, and keeps them
/// out of their heaps. Its own heap is closed too, so that what it does until the fork is over goes
/// by the mutex.
///
/// A signal handler that has interrupted this thread's work on the pool and forks closes nothing:
/// its child must not use the pool.
fn prepare() {
    CENTRAL.wait_until_free();
    if !CENTRAL.is_own() {
        Pause::close_all();
    }
}

/// The fork is over.
fn done() {
    if !CENTRAL.is_own() {
        Pause::open_all();
    }
}

/// Puts the pool in order in the child.
fn child() {
    CENTRAL.after_fork();
    LOCKING_FAILED.after_fork();
    if CENTRAL.is_own() {
        return;
    }
    // The other threads do not exist here. One may have been about to notice the pause.
    let own = current_number();
    live_heaps().filter(|heap| heap.number != own).for_each(|heap| heap.gate.abandon());
    if let Ok(mut central) = CENTRAL.lock() {
        central.catch_up();
    }
}
