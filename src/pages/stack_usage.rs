//! What the thread of a secret stack does with the stack: a word by which that thread, and threads
//! that unlock idle stacks, keep out of each other's way.
//!
//! `tests/models.rs` runs this file through every order of events that the memory model allows.
//!
//! A thread that takes the word away from [`IDLE`] has the stack to itself until it puts `IDLE`
//! back: what the stack holds, and its lock. It sees all that the thread before it did there. The
//! stack's thread takes the word to [`IN_CALL`], and waits if another thread is unlocking the
//! stack. Any thread may take it to [`UNLOCKING`], and gives up if the word is not `IDLE`. It waits
//! for nothing in between, so the stack's thread waits for a system call or two.

use crate::sync::atomic::AtomicU32;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::wait_a_turn;
use core::sync::atomic::{Ordering::SeqCst, compiler_fence};

/// The stack holds zeros, and is in no call.
const IDLE: u32 = 0;
/// The stack is in a call: its thread has frames on it, or is about to have some, or has left them
/// a few instructions ago.
const IN_CALL: u32 = 1;
/// The function has returned, and the thread is on another stack. What the function has left is
/// being wiped.
const LEFT: u32 = 2;
/// The stack holds zeros, and some thread is unlocking it.
const UNLOCKING: u32 = 3;

/// The word of a stack, which is 0 while it is idle.
pub(super) struct StackUsage<'a>(pub(super) &'a AtomicU32);

impl StackUsage<'_> {
    /// For the stack's thread, whose stack is idle: it is in a call from now on.
    pub(super) fn begin_call(&self) {
        let mut turn = 0;
        while self.0.compare_exchange_weak(IDLE, IN_CALL, Acquire, Relaxed).is_err() {
            wait_a_turn(turn);
            turn = turn.saturating_add(1);
        }
    }

    /// For the stack's thread: the function has returned, and the thread is on another stack.
    pub(super) fn note_return(&self) {
        self.0.store(LEFT, Relaxed);
        // Signal handlers on this thread alone look for it. They find it before the wipe begins.
        compiler_fence(SeqCst);
    }

    /// For the stack's thread: the stack holds zeros, and is in no call any more.
    pub(super) fn end_call(&self) {
        self.0.store(IDLE, Release);
    }

    /// Whether the stack's thread may have frames on it. For signal handlers on that thread.
    pub(super) fn is_in_call(&self) -> bool {
        self.0.load(Relaxed) == IN_CALL
    }

    /// Whether the stack was idle. Then the caller may change its lock, until it calls
    /// [`end_unlock`](Self::end_unlock).
    pub(super) fn begin_unlock(&self) -> bool {
        self.0.compare_exchange(IDLE, UNLOCKING, Acquire, Relaxed).is_ok()
    }

    /// Ends what [`begin_unlock`](Self::begin_unlock) has begun.
    pub(super) fn end_unlock(&self) {
        self.0.store(IDLE, Release);
    }

    /// For a child process, in which this is the only thread: a thread that was unlocking the stack
    /// has stayed with the parent.
    pub(super) fn after_fork(&self) {
        if self.0.load(Relaxed) == UNLOCKING {
            self.0.store(IDLE, Relaxed);
        }
    }
}
