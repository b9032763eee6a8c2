//! What a child process makes of the pool: its bookkeeping catches up with the memory and the
//! threads that are there.

use super::central::Central;
use super::current_heap::{self, current_heap};
use super::pause::{Pause, heaps_are_closed};
use super::registry::all_heaps;
use super::search::Searched;
use super::tally::Tally;
use crate::fork;
use crate::sync;

impl Central {
    /// In a child process, brings everything up to date with what a fork has made of the memory,
    /// and gives up the heaps of threads that do not exist there. Does nothing in another process,
    /// or if it has been done.
    pub(super) fn catch_up(&mut self) {
        let generation = fork::generation();
        if core::mem::replace(&mut self.generation, generation) == generation {
            return;
        }
        self.arenas.catch_up();
        self.catch_up_slabs();
        let pause = Pause::nothing();
        self.abandon_others(&pause);
        self.concurrent = self.concurrent && !heaps_are_closed() && sync::register_barrier();
        if let (false, Some(heap)) = (self.concurrent, current_heap()) {
            self.orphan(heap);
            self.abandon_orphans(&pause);
            current_heap::reset();
        }
    }

    /// Brings sampled chunks up to date, and forgets all slabs if their memory has stayed with the
    /// parent.
    fn catch_up_slabs(&mut self) {
        let before = self.guarded.stats().used;
        if let Some(error) = self.guarded.catch_up() {
            self.arenas.stats.count_lock_failure(error);
        }
        if self.guarded.stats().used != before {
            // Absent, and so is everything else.
            self.arenas.stats.peak_used = 0;
        }
        if !core::mem::take(&mut self.arenas.has_lost_arenas) {
            return;
        }
        for heap in all_heaps() {
            heap.forget_slabs();
        }
        self.forget_chunks();
        self.slabs = 0;
        self.slab_bytes = 0;
        self.slots = 0;
        self.ended = Tally::NOTHING;
        self.searched = Searched::NOTHING;
    }
}
