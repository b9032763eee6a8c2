//! The gate of a heap: its thread enters without a lock, and another thread can close it.
//!
//! `tests/models.rs` runs this file through every order of events that the memory model allows.
//!
//! A thread marks itself busy and then looks whether the gate is closed. A thread that closes the
//! gate marks it closed and then looks whether the first thread is busy. If both could miss the
//! other's mark, both would use the heap. So between mark and look each passes a barrier: the one
//! that closes passes a costly barrier, which takes effect on every processor, and the one that
//! enters passes a barrier that costs nothing. (It is the asymmetric Dekker protocol of biased
//! locks; Dice, Huang and Yang, "Asymmetric Dekker Synchronization", 2001.)

use crate::sync::atomic::AtomicBool;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{barrier_here, wait_a_turn};

pub(super) struct Gate {
    busy: AtomicBool,
    closed: AtomicBool,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { busy: AtomicBool::new(false), closed: AtomicBool::new(false) }
    }

    /// For the thread that the gate belongs to: `true` if it may use the heap. It has to
    /// [`leave`](Self::leave) then.
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

    /// For the thread that the gate belongs to: it no longer uses the heap.
    #[inline(always)]
    pub(super) fn leave(&self) {
        self.busy.store(false, Release);
    }

    /// For another thread, one at a time: no later `enter` succeeds once `barrier_everywhere` has
    /// been called after this.
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// For a thread that may call [`close`](Self::close): whether the gate is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Waits until the thread that the gate belongs to has left, after `close` and the barrier.
    pub(super) fn wait(&self) {
        let mut turn = 0;
        while self.busy.load(Acquire) {
            wait_a_turn(turn);
            turn = turn.saturating_add(1);
        }
    }

    /// For the thread that has closed the gate.
    pub(super) fn open(&self) {
        self.closed.store(false, Release);
    }

    /// The thread that the gate belongs to has ended.
    pub(super) fn abandon(&self) {
        self.busy.store(false, Relaxed);
    }
}
