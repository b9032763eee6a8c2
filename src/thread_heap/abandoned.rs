//! What becomes of the slabs of threads that have ended.
//!
//! The heap of a thread is *live*. When the thread ends, its heap is an *orphan* at first: it keeps
//! its slabs, and the next thread that wants a heap gets it as it is. So threads that come and go
//! pause no others. Until then the holder of the mutex uses it, when one of its chunks is freed.
//!
//! When a thread ends, the slabs of all orphans are abandoned in three cases: memory is scarce; the
//! thread leaves much that is free; there are more orphans than live heaps. For that the other
//! threads are paused: empty slabs go back to the arenas, and the *abandoned heap* takes the rest,
//! from which heaps of other threads adopt them one by one. A heap without slabs and without a
//! thread is *vacant*.

use super::central::Central;
use super::current_heap::current_number;
use super::heap::Heap;
use super::pause::Pause;
use super::registry::{ORPHANS, abandoned_heap, all_heaps, live_heaps, owner};
use super::size_class::SizeClass;
use core::ptr::NonNull;

impl Central {
    /// Has a heap adopt a slab that an ended thread has left, and allocates from it.
    pub(super) fn adopt(&self, heap: &Heap, class: SizeClass) -> Option<NonNull<u8>> {
        let abandoned = abandoned_heap()?;
        // No slot of a slab may stay cached when the slab changes hands, and remote frees belong to
        // it too.
        abandoned.flush(class, 0);
        abandoned.collect();
        let slab = abandoned.slabs.first(class)?;
        abandoned.let_go(slab);
        heap.adopt(slab, true);
        heap.take_slot(class)
    }

    /// The thread of a heap ends; it is the calling one. The heap becomes an orphan if it has
    /// little free and there are few orphans. Otherwise all orphans' slabs go to the abandoned
    /// heap.
    pub(super) fn retire(&mut self, heap: &'static Heap) {
        if !heap.has_thread() {
            // This is a child process, in which the heap has been abandoned a moment ago.
            return;
        }
        self.note_peak();
        heap.return_batch(owner);
        heap.flush_all();
        heap.collect();
        self.evict_exact(heap, 0);
        self.orphan(heap);
        if self.orphans > self.live || heap.slabs.has_much_unused() || self.is_scarce() {
            let pause = Pause::begin();
            self.abandon_orphans(&pause);
            self.give_back_excess(Some(&pause));
        } else {
            self.give_back_excess(None);
        }
    }

    /// Moves all slabs of all orphans to the abandoned heap.
    pub(super) fn abandon_orphans(&mut self, pause: &Pause) {
        if self.orphans == 0 {
            return;
        }
        self.note_peak();
        // The remote batches of all heaps may have slots of these slabs. Heaps return them to the
        // owner that they find, without a pause; the abandoned heap's slabs find another owner
        // without a pause too, and between the two a slab would be on the wrong heap's stack.
        all_heaps().for_each(|heap| heap.return_batch(owner));
        let Some(abandoned) = abandoned_heap() else { std::process::abort() };
        for heap in ORPHANS.heaps() {
            heap.flush_all();
            heap.collect();
            self.remove_empty_slabs(heap, true, pause);
            self.evict_exact(heap, 0);
            heap.for_each_slab(|slab| {
                heap.let_go(slab);
                abandoned.adopt(slab, true);
            });
            self.vacate(heap);
        }
    }

    /// In a child process: moves all slabs of the heaps of all other threads, which do not exist
    /// there, to the abandoned heap.
    pub(super) fn abandon_others(&mut self, pause: &Pause) {
        let own = current_number();
        self.note_peak();
        for heap in live_heaps().filter(|heap| heap.number != own) {
            self.orphan(heap);
        }
        self.abandon_orphans(pause);
    }
}
