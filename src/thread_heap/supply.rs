//! Where memory comes from and goes to under the mutex: new slabs, chunks of their exact size, and
//! memory that is given back.
//!
//! `arena_set::growth` lists the order of attempts; those of the process-wide pool are here.

use super::central::Central;
use super::current_heap::current_heap;
use super::heap::Heap;
use super::pause::Pause;
use super::registry::{all_heaps, live_heaps, owner};
use super::search::Search;
use super::size_class::{GRANULE, SizeClass, UNIT};
use super::slab::SlabNumber;
use super::tally::Tally;
use crate::arena_set::{ARENA_SIZE, ArenaSet, KEPT_FREE, Tier};
use crate::pages;
use core::ptr::{self, NonNull};

/// With less to lock than so many bytes, memory is not divided among threads at all.
pub(super) const COMPACT_BELOW: usize = 1 << 20;

/// Bytes that may be free in slabs, besides a sixteenth of the bytes in use, before more memory is
/// locked.
const SLACK: usize = 64 * 1024;

/// What a thread may cost besides a tenth of the pool. As long as another arena would be more,
/// heaps are searched thoroughly before the pool grows, once for each arena.
const ALLOWANCE: usize = 32 * 1024;

/// Calls that take the mutex until one of them looks for free memory to give back.
const CALLS_BEFORE_LOOK: usize = 256;

/// Allocates from the locked arenas that there are.
fn alloc_existing(arenas: &mut ArenaSet, size: usize, alignment: usize) -> Option<NonNull<u8>> {
    let quick =
        if alignment > arenas.granule { arenas.alloc_aligned(size, alignment) } else { None };
    quick.or_else(|| arenas.alloc_existing(size, alignment, Tier::First))
}

impl Central {
    // ---- Memory that comes -------------------------------------------------------------------

    /// Whether memory is scarce: then no more of it is divided into slabs, and chunks lie as close
    /// as Bitcoin Core's do.
    pub(super) fn is_scarce(&self) -> bool {
        let stats = &self.arenas.stats;
        self.at_limit && stats.free < stats.total / 4
            || self.lock_limit < COMPACT_BELOW
            || stats.locked >= self.lock_limit / 4
    }

    /// Allocates a slot from a new slab of a heap, if it should have one and there is locked memory
    /// for it.
    pub(super) fn take_new_slab(&mut self, heap: &Heap, class: SizeClass) -> Option<NonNull<u8>> {
        if self.is_scarce() {
            return None;
        }
        let is_exact = self.lock_limit != usize::MAX;
        let mut slots = heap.slabs.next_slab(class, is_exact);
        if slots.is_none() && heap.slabs.is_out_of_patience() {
            self.give_back_unused(heap);
            slots = heap.slabs.next_slab(class, is_exact);
            heap.slabs.be_patient(slots.is_some());
        }
        let slots = slots?;
        let bytes = class.units_for(slots) * UNIT;
        let mut chunk = self.in_arenas(|arenas| arenas.alloc_aligned(bytes, UNIT));
        if chunk.is_none() && !self.arenas.has_room(class.size()) {
            // (Where there is room for less than a slab, chunks without a slab take it first.)
            if self.prepare_growth(class.size()) && self.arenas.has_room(class.size()) {
                return None;
            }
            chunk = self.in_arenas(|arenas| arenas.alloc_in_new(bytes, UNIT));
            if chunk.is_some() {
                self.searched.note_growth();
            }
        }
        let chunk = chunk?;
        let first = chunk.addr().get().wrapping_sub(heap.tables.base) / UNIT;
        let end = first.checked_add(bytes / UNIT);
        if !end.is_some_and(|end| self.make_ready(&heap.tables, end)) {
            // It cannot be a slab: it lies outside the range, or there is no memory for its entries
            // in the tables.
            if self.arenas.release(chunk.as_ptr(), None).is_err() {
                std::process::abort();
            }
            return None;
        }
        let slab = SlabNumber::of_unit(first);
        heap.tables.make_slab(slab, class, slots);
        heap.adopt(slab, heap.is_freed_by_others(class));
        self.slabs += 1;
        self.slab_bytes += bytes;
        self.slots += slots;
        heap.take_slot(class)
    }

    /// Allocates a chunk of an arena that may come to exact caches when it is freed, while memory
    /// is not scarce and the locked arenas that there are have room.
    pub(super) fn alloc_cacheable(
        &mut self,
        heap: &Heap,
        size: usize,
        alignment: usize,
        class: SizeClass,
    ) -> Option<NonNull<u8>> {
        let is_open = !self.is_scarce();
        heap.exact.open(is_open);
        self.exact_caches_are_open |= is_open;
        let is_exact = self.lock_limit != usize::MAX || !heap.exact.should_round_up(class);
        let wasted = class.size() - size;
        if !is_open || alignment > GRANULE || is_exact && wasted >= GRANULE {
            return None;
        }
        let chunk =
            self.in_arenas(|arenas| arenas.alloc_existing(class.size(), GRANULE, Tier::First))?;
        self.note_peak();
        let unit = chunk.addr().get().wrapping_sub(heap.tables.base) / UNIT;
        if self.make_ready(&heap.tables, unit.saturating_add(1)) {
            heap.note_exact(class, chunk.addr().get());
        }
        Some(chunk)
    }

    /// After a free of a chunk of a class that did not go to the exact cache of the calling
    /// thread's heap: makes room there, if it is full. While memory is scarce, closes and empties
    /// it.
    pub(super) fn make_room(&mut self, class: SizeClass) {
        let Some(heap) = current_heap() else { return };
        heap.exact.note_unused(class);
        if self.is_scarce() {
            heap.exact.open(false);
            self.evict_exact(heap, 0);
        } else if heap.exact.is_full_for(class) {
            self.evict_exact(heap, heap.exact.bytes() / 4 * 3);
        }
    }

    /// Gives free chunks of a heap's exact cache back to the arenas until at most `keep` bytes are
    /// left there. Returns whether there were any.
    pub(super) fn evict_exact(&mut self, heap: &Heap, keep: usize) -> bool {
        if heap.exact.bytes() <= keep {
            return false;
        }
        self.note_peak();
        heap.evict_exact(keep, |chunk| {
            // It has been wiped.
            if self.arenas.release(ptr::with_exposed_provenance_mut(chunk), None).is_err() {
                std::process::abort();
            }
        });
        true
    }

    /// Allocates a chunk of its exact size, which is no slot of a slab.
    pub(super) fn alloc_exact(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let chunk = self.try_alloc_exact(size, alignment);
        self.note_peak();
        chunk
    }

    /// See [`alloc_exact`](Self::alloc_exact).
    fn try_alloc_exact(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let existing = |arenas: &mut ArenaSet| alloc_existing(arenas, size, alignment);
        if let Some(chunk) = self.in_arenas(existing) {
            return Some(chunk);
        }
        let failures = self.arenas.stats.failures();
        if !self.arenas.is_refused(size) {
            if self.prepare_growth(size) {
                if let Some(chunk) = self.in_arenas(existing) {
                    return Some(chunk);
                }
            }
            if let Some(chunk) = self.in_arenas(|arenas| arenas.alloc_locked(size, alignment)) {
                self.at_limit = false;
                self.searched.note_growth();
                return Some(chunk);
            }
            // Whatever the limit is, it is reached: until memory comes back, all is scarce.
            self.at_limit = true;
        }
        // No more memory can be locked: use what is free in heaps.
        if self.slabs > 0 || self.exact_caches_are_open {
            let pause = Pause::begin();
            all_heaps().for_each(|heap| heap.exact.open(false));
            self.exact_caches_are_open = false;
            self.search(Search::All, &pause);
            drop(pause);
            if let Some(chunk) = self.in_arenas(existing) {
                return Some(chunk);
            }
        }
        self.in_arenas(|arenas| arenas.alloc_unlocked(size, alignment, failures))
    }

    /// Before more memory is locked for `size` bytes: takes back what the calling thread's exact
    /// cache has, and what heaps have free if that is much. Returns whether there was any.
    fn prepare_growth(&mut self, size: usize) -> bool {
        if self.lock_limit != usize::MAX {
            self.lock_limit = pages::lock_limit();
        }
        let evicted = current_heap().is_some_and(|own| self.evict_exact(own, 0));
        let (total, used) = (self.arenas.stats.total, self.arenas.stats.used);
        let (search, bearable) = match self.is_scarce() {
            true => (Search::NotFull, 0),
            false => (Search::Sparse, SLACK + used / 16),
        };
        // Another arena would be more than a tenth of the pool and the allowance.
        let is_small = total / 10 + ALLOWANCE <= ARENA_SIZE;
        let free = self.free_in_heaps();
        let search = if self.searched.may_find(search, free) > bearable {
            search
        } else if is_small
            && self.searched.may_find(Search::NotFull, free) >= size
            && self.searched.may_be_for_little()
        {
            Search::NotFull
        } else {
            return evicted;
        };
        self.search(search, &Pause::begin());
        true
    }

    /// Searches for free memory in all heaps: leaves nothing in caches, gives empty slabs back, and
    /// turns other slabs into chunks of their exact sizes, with free chunks between them.
    fn search(&mut self, search: Search, pause: &Pause) {
        self.reclaim(pause);
        if search != Search::Reclaim {
            for heap in all_heaps() {
                heap.for_each_slab(|slab| {
                    let tables = &heap.tables;
                    if search.dissolves(tables.used_bytes(slab), tables.unused_bytes(slab)) {
                        self.dissolve(heap, slab);
                    }
                });
            }
        }
        self.searched.note(search, self.free_in_heaps());
    }

    /// Turns a slab of which no slot is cached into chunks. The others are paused.
    fn dissolve(&mut self, heap: &Heap, slab: SlabNumber) {
        let unit = heap.tables.unit(slab);
        let (class, slots, bytes) = (unit.class(), unit.slots(), unit.units() * UNIT);
        let mut used = heap.tables.used_slots(slab);
        let count = used.count_ones() as usize;
        heap.let_go(slab);
        heap.tables.dissolve(slab);
        heap.forget(Tally::of_many(class, count));
        self.slabs -= 1;
        self.slab_bytes -= bytes;
        self.slots -= slots;
        let size = class.size();
        let offsets = core::iter::from_fn(|| {
            let slot = (used != 0).then(|| used.trailing_zeros())?;
            used &= used - 1;
            Some(slot as usize * size)
        });
        let chunk = ptr::with_exposed_provenance_mut(heap.tables.address(slab));
        if self.arenas.divide(chunk, size, offsets).is_err() {
            std::process::abort();
        }
    }

    // ---- Memory that goes --------------------------------------------------------------------

    /// Gives free memory beyond twice the bytes in use, and [`KEPT_FREE`], back to the system.
    /// Takes it from heaps first, if empty arenas are not enough and heaps have more than was left
    /// the last time.
    pub(super) fn give_back_excess(&mut self, pause: Option<&Pause>) {
        if self.arenas.stats.total <= KEPT_FREE {
            return;
        }
        let mut excess = self.excess();
        // One chunk that lies in an exact cache keeps an arena from being empty.
        if excess > self.arenas.empty()
            && current_heap().is_some_and(|own| self.evict_exact(own, 0))
        {
            excess = self.excess();
        }
        if excess > self.arenas.empty()
            && self.searched.may_find(Search::Reclaim, self.free_in_heaps()) > SLACK
        {
            let own = if pause.is_none() { Some(Pause::begin()) } else { None };
            if let Some(pause) = pause.or(own.as_ref()) {
                self.search(Search::Reclaim, pause);
            }
            excess = self.excess();
        }
        if self.arenas.give_back(excess) {
            self.at_limit = false;
        }
    }

    /// Bytes that are free beyond twice the bytes in use, and [`KEPT_FREE`]. While other threads
    /// change their figures, the sum of them may be anything for a moment; 0 where it makes no
    /// sense.
    fn excess(&self) -> usize {
        let stats = &self.arenas.stats;
        let used =
            stats.used.wrapping_sub(self.slab_bytes).wrapping_add_signed(self.small().bytes());
        let free = stats.total.saturating_sub(used);
        free.saturating_sub(used.saturating_mul(2).saturating_add(KEPT_FREE))
    }

    /// Looks for excess now and then: each time that as many calls have come to the mutex as there
    /// are heaps to ask, and [`CALLS_BEFORE_LOOK`] more.
    pub(super) fn look_for_excess(&mut self) {
        self.unlooked += 1;
        if self.unlooked > CALLS_BEFORE_LOOK + self.live {
            self.unlooked = 0;
            self.evict_for_excess();
            self.give_back_excess(None);
        }
    }

    /// Gives what lies in the exact caches of all threads back to the arenas, if more is free than
    /// may stay and the empty arenas are less than that.
    fn evict_for_excess(&mut self) {
        if self.excess() > self.arenas.empty() && live_heaps().any(|heap| heap.exact.bytes() > 0) {
            let _pause = Pause::begin();
            for heap in live_heaps() {
                self.evict_exact(heap, 0);
            }
        }
    }

    /// Gives all memory without chunks back to the system; returns whether there was any.
    pub(super) fn give_back_all(&mut self) -> bool {
        if self.slabs > 0 || self.exact_caches_are_open {
            self.reclaim(&Pause::begin());
        }
        self.arenas.give_back(usize::MAX)
    }

    /// Gives an empty slab back to its arena. The others are paused: otherwise a thread that frees
    /// a chunk of another heap may be looking at this slab, and take the next one for it.
    fn remove_slab(&mut self, heap: &Heap, slab: SlabNumber, _: &Pause) {
        heap.let_go(slab);
        heap.tables.set_owner(slab, 0);
        let unit = heap.tables.unit(slab);
        self.slabs -= 1;
        self.slab_bytes -= unit.units() * UNIT;
        self.slots -= unit.slots();
        let chunk = ptr::with_exposed_provenance_mut(heap.tables.address(slab));
        // Its slots have been wiped one by one.
        if self.arenas.release(chunk, None).is_err() {
            std::process::abort();
        }
    }

    /// Gives the empty slabs of a heap back; with `all`, also those that allocations come from.
    pub(super) fn remove_empty_slabs(&mut self, heap: &Heap, all: bool, pause: &Pause) {
        heap.remove_empty_slabs(all, |slab| self.remove_slab(heap, slab, pause));
    }

    /// Gives what a heap has too much of back to the arenas, and what these have too much of to the
    /// system.
    pub(super) fn trim(&mut self, heap: &Heap, pause: &Pause) {
        self.remove_empty_slabs(heap, false, pause);
        self.give_back_excess(Some(pause));
    }

    /// Gives back every empty slab of a heap, and leaves no slot in its caches.
    fn give_back_unused(&mut self, heap: &Heap) {
        self.note_peak();
        let pause = Pause::begin();
        heap.flush_all();
        heap.collect();
        self.remove_empty_slabs(heap, true, &pause);
    }

    /// Gives back every empty slab of every heap, and leaves nothing in caches.
    pub(super) fn reclaim(&mut self, pause: &Pause) {
        self.note_peak();
        all_heaps().for_each(|heap| heap.return_batch(owner));
        for heap in all_heaps() {
            heap.flush_all();
            heap.collect();
            self.remove_empty_slabs(heap, true, pause);
            self.evict_exact(heap, 0);
        }
    }
}
