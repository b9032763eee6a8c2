//! Pins: how a thread that uses a mapping through the table keeps it there, and how the mapping's
//! owner waits for such threads.
//!
//! A pin is counted on one of two sides. The owner first stores what keeps other threads off, and
//! then waits for both sides, one after the other; pins that are set meanwhile go to the side for
//! which it is not waiting. So the wait ends, whatever other threads go on to do: it is for the
//! pins that were there at its beginning, and for those few whose threads had just chosen their
//! side. (McKenney, "Sleepable RCU", 2006, counts readers like this.)

use crate::sync::wait_a_turn;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// The pins of one mapping.
#[derive(bytemuck::Zeroable)]
pub(super) struct Pins {
    counts: [AtomicU32; 2],
    /// The side for new pins: the lowest bit.
    side: AtomicU32,
}

/// The side on which a pin is counted.
#[derive(Clone, Copy)]
pub(super) struct Side(usize);

impl Pins {
    pub(super) const fn new() -> Self {
        Self { counts: [const { AtomicU32::new(0) }; 2], side: AtomicU32::new(0) }
    }

    /// Sets a pin. The caller looks afterwards, in sequentially consistent order, whether the owner
    /// keeps it off.
    pub(super) fn set(&self) -> Side {
        let side = Side((self.side.load(Relaxed) & 1) as usize);
        self.counts[side.0].fetch_add(1, SeqCst);
        side
    }

    /// Takes a pin away.
    pub(super) fn take_away(&self, side: Side) {
        // (A child begins without pins. If a signal handler has forked since this one was set, and
        // this is the child, it is gone.)
        let fewer = |pins: u32| pins.checked_sub(1);
        let _ = self.counts[side.0].fetch_update(SeqCst, SeqCst, fewer);
    }

    /// For the owner, which has stored in sequentially consistent order what keeps other threads
    /// off: waits for the pins that were set before. A pin that is set later has a thread that sees
    /// what has been stored. One owner at a time may call this.
    pub(super) fn wait(&self) {
        for _ in 0..2 {
            let side = (self.side.fetch_xor(1, SeqCst) & 1) as usize;
            let mut turn = 0;
            while self.counts[side].load(SeqCst) != 0 {
                wait_a_turn(turn);
                turn = turn.saturating_add(1);
            }
        }
    }

    /// For a child process, in which this is the only thread: threads that had pins have stayed
    /// with the parent.
    pub(super) fn after_fork(&self) {
        self.counts.iter().for_each(|count| count.store(0, Relaxed));
    }
}
