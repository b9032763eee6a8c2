//! The gate of a heap, through which its thread enters without a lock, and which another thread can
//! close.
//!
//! Private to `process`; depends on `sync`. `tests/models.rs` runs this file through every order of
//! events that the memory model allows.
//!
//! A thread marks itself busy and then looks whether the gate is closed; who closes the gate marks it
//! closed and then looks whether the thread is busy. If both could miss the other's mark, both would use
//! the heap. So between mark and look each passes a barrier: the one who closes a costly one that takes
//! effect on every processor, the thread one that costs nothing. (It is the asymmetric Dekker protocol of
//! biased locks; Dice, Huang and Yang, "Asymmetric Dekker Synchronization", 2001.)

use super::sync::atomic::AtomicBool;
use super::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use super::sync::{barrier_here, wait_a_turn};

pub(super) struct Gate {
    busy: AtomicBool,
    closed: AtomicBool,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { busy: AtomicBool::new(false), closed: AtomicBool::new(false) }
    }

    /// For the thread that the gate belongs to: `true` if it may go on to the heap, and has to
    /// [`leave`](Self::leave) later.
    #[inline(always)]
    pub(super) fn enter(&self) -> bool {
        self.busy.store(true, Relaxed);
        barrier_here();
        if self.closed.load(Acquire) {
            self.leave();
            return false;
        }
        true
    }

    #[inline(always)]
    pub(super) fn leave(&self) {
        self.busy.store(false, Release);
    }

    /// For another thread, one at a time: no later `enter` succeeds once
    /// [`barrier_everywhere`](super::sync::barrier_everywhere) has been called after this.
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// For whoever may call `close`.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Waits until the thread has left, after `close` and the barrier.
    pub(super) fn wait(&self) {
        let mut turn = 0;
        while self.busy.load(Acquire) {
            wait_a_turn(turn);
            turn = turn.saturating_add(1);
        }
    }

    pub(super) fn open(&self) {
        self.closed.store(false, Release);
    }

    /// The thread is no more.
    pub(super) fn abandon(&self) {
        self.busy.store(false, Relaxed);
    }
}
