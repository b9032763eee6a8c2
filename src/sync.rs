//! How threads wait for each other: by turns at first, then asleep; and the barrier of one thread
//! that another one completes. `tests/models.rs` puts loom's in its place.
//!
//! Nothing here is a cancellation point (`pthread_cancel`): a thread that waits may hold a lock.

pub(crate) use core::sync::atomic;

use crate::sys::{System, Threads};
use atomic::AtomicU32;

/// A barrier for one thread that is complete with [`barrier_everywhere`] of another: here it keeps
/// the compiler from moving memory accesses across it, and the processor's part is left to the
/// other thread.
#[inline(always)]
pub(crate) fn barrier_here() {
    atomic::compiler_fence(atomic::Ordering::SeqCst);
}

/// See [`Threads::register_barrier`].
pub(crate) fn register_barrier() -> bool {
    System::register_barrier()
}

/// See [`Threads::barrier_everywhere`].
pub(crate) fn barrier_everywhere() -> bool {
    System::barrier_everywhere()
}

/// Whether a thread that has waited for so many turns for a lock goes on waiting by turns. After
/// that it sleeps until it is woken.
pub(crate) fn is_short(turn: u32) -> bool {
    turn < 40
}

/// Lets another thread go on, the longer the more often this has been called in vain.
pub(crate) fn wait_a_turn(turn: u32) {
    match turn {
        0..100 => core::hint::spin_loop(),
        100..1000 => std::thread::yield_now(),
        // The other thread may need this thread's processor.
        _ => System::sleep(100_000),
    }
}

/// Waits until [`wake_one`] is called, unless the word does not have this value any more. May
/// return early.
pub(crate) fn wait_while(word: &AtomicU32, value: u32) {
    System::wait_while(word, value);
}

/// Wakes a thread that waits for the word to change, which it has done.
pub(crate) fn wake_one(word: &AtomicU32) {
    System::wake_one(word);
}

/// Waits for so long that every processor has made its stores visible to the others: a thousand
/// times as long as any keeps them to itself. For a thread that needs [`barrier_everywhere`] once
/// and may not have it.
pub(crate) fn wait_for_stores() {
    for _ in 0..100 {
        System::sleep(100_000);
        std::thread::yield_now();
    }
    atomic::fence(atomic::Ordering::SeqCst);
}
