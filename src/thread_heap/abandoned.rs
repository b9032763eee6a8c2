//! Slabs of threads that have ended: the abandoned heap takes them, and heaps of other threads
//! adopt them.

use super::central::Central;
use super::current_heap::current_number;
use super::heap::Heap;
use super::pause::Pause;
use super::registry::{abandoned_heap, all_heaps, live_heaps, owner};
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

    /// Moves all slabs of a heap to the abandoned heap. Its thread is the calling one, or has
    /// ended.
    pub(super) fn abandon(&mut self, heap: &'static Heap, pause: &Pause) {
        self.note_peak();
        // The remote batches of all heaps may have slots of its slabs. Heaps return them to the
        // owner that they find, without a pause; the abandoned heap's slabs find another owner
        // without a pause too, and between the two a slab would be on the wrong heap's stack.
        all_heaps().for_each(|heap| heap.return_batch(owner));
        self.abandon_one(heap, pause);
        // Should one thread with a heap be left, its mark is of a time when there were others.
        all_heaps().for_each(Heap::forget_peak);
        self.give_back_excess(Some(pause));
    }

    /// The part of [`abandon`](Self::abandon) that is about one heap alone.
    fn abandon_one(&mut self, heap: &'static Heap, pause: &Pause) {
        let Some(abandoned) = abandoned_heap() else { std::process::abort() };
        heap.flush_all();
        heap.collect();
        self.remove_empty_slabs(heap, true, pause);
        self.evict_exact(heap, 0);
        heap.for_each_slab(|slab| {
            heap.let_go(slab);
            abandoned.adopt(slab, true);
        });
        self.ended = self.ended.plus(heap.vacate());
        self.delist(heap);
    }

    /// In a child process: moves all slabs of the heaps of all other threads, which do not exist
    /// there, to the abandoned heap.
    pub(super) fn abandon_others(&mut self, pause: &Pause) {
        let own = current_number();
        self.note_peak();
        all_heaps().for_each(|heap| heap.return_batch(owner));
        for heap in live_heaps().filter(|heap| heap.number != own) {
            self.abandon_one(heap, pause);
        }
        all_heaps().for_each(Heap::forget_peak);
    }
}
