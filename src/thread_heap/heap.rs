//! A thread's heap: its slabs, and for each size class a cache of free slots in front of them.
//!
//! The common path is two arrays: an allocation takes a slot from the cache of its class and notes
//! the cache in the table of chunks. A free looks the cache up there, wipes, and puts the slot
//! back. Slabs are looked at when a cache is empty or full, for half of it at a time.

use super::cache::{CACHED, CACHES, Cache, CacheNumber, capacity};
use super::chunk_table::{Granule, Place, Tables};
use super::exact_cache::ExactCache;
use super::gate::Gate;
use super::remote_batch::RemoteBatch;
use super::remote_free::{RemoteFreeStack, claim, claim_exact};
use super::sampler::Sampler;
use super::size_class::{CLASS_SPAN, GRANULE, SizeClass, UNIT};
use super::slab::{SlabNumber, Unit};
use super::slab_lists::{SlabLists, add};
use super::tally::Tally;
use crate::arena::FreeError;
use crate::cleanse::{self, memory_cleanse};
use crate::poison;
use bytemuck::Zeroable;
use core::num::NonZeroU32;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};

/// Bytes that a heap frees for others until the pool looks for free memory to give back.
const FREED_FOR_OTHERS: usize = 256 * 1024;

/// A thread's slabs. `thread_heap` says which thread may use a heap when.
#[repr(C, align(64))]
pub(super) struct Heap {
    // What the common path uses, in one cache line.
    pub(super) gate: Gate,
    pub(super) number: u32,
    /// What the owner has allocated, less what it has freed.
    tally: AtomicU64,
    /// The highest that it was since it was last looked at.
    peak: AtomicU64,
    pub(super) tables: Tables,

    caches: [Cache; CACHES],
    /// Granules where cached slots begin. All of them are in locked memory and in slabs of this
    /// heap.
    cached: [AtomicU32; CACHED],

    /// What is added to a class's number for its cache that is in use: [`CLASS_SPAN`] while
    /// allocations are counted, otherwise 0.
    counted: AtomicUsize,
    pub(super) sampler: Sampler,

    /// Whether a thread has it. Changed under the mutex.
    has_thread: AtomicBool,
    /// Neighbours in a list of heaps: numbers; 0 for none. Changed under the mutex.
    pub(super) next: AtomicU32,
    pub(super) previous: AtomicU32,
    pub(super) slabs: SlabLists,
    pub(super) exact: ExactCache,
    /// Classes of which other threads free chunks, as bits.
    shared_classes: [AtomicU64; CLASS_SPAN / 64],
    remote_frees: RemoteFreeStack,
    remote_batch: RemoteBatch,
    /// Bytes that the owner has freed of other heaps' slabs since the last trim.
    freed_for_others: AtomicUsize,
}

/// What became of an attempt to free a chunk.
pub(super) enum Freed {
    Done,
    /// The chunk is freed, and it is time for a trim.
    DoneTrim,
    Refused(FreeError),
    /// Another heap, or the mutex's holder, has to free it.
    Elsewhere,
}

impl Heap {
    /// A heap without slabs, for the life of the process; `None` when there is no memory for it. It
    /// is made where it stays: on the stack it would be most of what the smallest stack of a thread
    /// has.
    pub(super) fn make(number: u32, tables: &Tables) -> Option<&'static Self> {
        let mut place = Vec::<Self>::new();
        place.try_reserve_exact(1).ok()?;
        let heap = place.as_mut_ptr();
        // SAFETY: there is room for a heap, which nothing else refers to. Each member is written,
        // or is of a type that zeros are a value of, which `initialized` checks.
        unsafe {
            heap.write_bytes(0, 1);
            (&raw mut (*heap).gate).write(Gate::new());
            (&raw mut (*heap).number).write(number);
            (&raw mut (*heap).tables).write(*tables);
            (&raw mut (*heap).sampler).write(Sampler::new());
            (&raw mut (*heap).remote_frees).write(RemoteFreeStack::new());
            place.set_len(1);
        }
        let heap = place.leak().first_mut()?;
        heap.initialized();
        for (place, cache) in heap.caches.iter_mut().zip(Cache::all()) {
            *place = cache;
        }
        Some(heap)
    }

    /// Does nothing, and compiles only as long as zeros are a value of every member but those that
    /// [`make`](Self::make) writes.
    fn initialized(&self) {
        fn zeros<T: Zeroable>(_: &T) {}
        // Without `..`, so that this does not compile when a member is added.
        let Self {
            gate: _,
            number: _,
            tables: _,
            sampler: _,
            remote_frees: _,
            tally,
            peak,
            caches,
            cached,
            counted,
            has_thread,
            next,
            previous,
            slabs,
            exact,
            shared_classes,
            remote_batch,
            freed_for_others,
        } = self;
        [tally, peak].into_iter().chain(shared_classes).for_each(zeros);
        [counted, freed_for_others].into_iter().for_each(zeros);
        zeros(caches);
        zeros(cached);
        zeros(has_thread);
        zeros(slabs);
        zeros(exact);
        zeros(remote_batch);
        [next, previous].into_iter().for_each(zeros);
    }

    // ---- The common path -------------------------------------------------------------------

    /// Allocates a slot of a class from the cache that the common path looks at. `None` when that
    /// is empty, and while allocations are counted.
    #[inline(always)]
    pub(super) fn take(&self, class: SizeClass) -> Option<NonNull<u8>> {
        self.take_from(CacheNumber::common(class))
    }

    /// Allocates a slot from a cache; `None` when it is empty.
    #[inline(always)]
    fn take_from(&self, number: CacheNumber) -> Option<NonNull<u8>> {
        let cache = &self.caches[number.index()];
        let top = cache.top.load(Relaxed);
        let granule = self.cached[top as usize % CACHED].load(Relaxed);
        let granule = Granule::from_cached(granule)?;
        cache.top.store(top.wrapping_sub(1), Relaxed);
        Some(self.hand_out(number, granule))
    }

    /// Makes the free slot at a granule, which is in no cache and no list, a chunk that will go to
    /// a cache.
    #[inline(always)]
    fn hand_out(&self, number: CacheNumber, granule: Granule) -> NonNull<u8> {
        debug_assert!(granule.index() < self.tables.chunks.len());
        // SAFETY: slots and exact chunks with an entry lie in the range that the table is for.
        let chunk = unsafe { self.tables.chunks.get_unchecked(granule.index()) };
        chunk.store(number.byte(), Relaxed);
        let tally = self.tally().plus(self.caches[number.index()].chunk);
        self.tally.store(tally.0, Relaxed);
        if tally.exceeds(Tally(self.peak.load(Relaxed))) {
            self.peak.store(tally.0, Relaxed);
        }
        let addr = self.tables.base + granule.index() * GRANULE;
        // SAFETY: the range does not begin at 0, nor wrap around.
        unsafe { NonNull::new_unchecked(ptr::with_exposed_provenance_mut(addr)) }
    }

    /// The common case of [`free`](Self::free): a chunk of a slab that this heap alone uses, freed
    /// by its own thread, which has entered the heap's gate; leaves the gate as well. `None` in all
    /// other cases: nothing has been done then, and the gate not been left.
    ///
    /// # Safety
    /// If a chunk begins at `addr`, nothing uses it any more.
    #[inline(always)]
    pub(super) unsafe fn free_local(&self, addr: usize, expected: Option<SizeClass>) -> Option<()> {
        // A remainder ends up in the highest bits, so that the table has no entry for it.
        let granule = addr.wrapping_sub(self.tables.base).rotate_right(GRANULE.ilog2());
        let chunk = self.tables.chunks.get(granule)?;
        debug_assert!(granule / (UNIT / GRANULE) < self.tables.units.len());
        // SAFETY: the tables are for the same range, and the other one has an entry for this
        // granule.
        let unit = unsafe { self.tables.units.get_unchecked(granule / (UNIT / GRANULE)) };
        if unit.owner.load(Relaxed) != self.number {
            return None;
        }
        let number = CacheNumber::of_byte(chunk.load(Relaxed));
        if expected.is_some_and(|expected| expected.number() != number.index()) {
            return None;
        }
        let cache = &self.caches[number.index()];
        let top = cache.top.load(Relaxed);
        // Also where no chunk begins, as cache 0 has no room, and in a cache that is not in use.
        if top == cache.end {
            return None;
        }
        chunk.store(0, Relaxed);
        self.tally.store(self.tally().minus(cache.chunk).0, Relaxed);
        let top = top.wrapping_add(1);
        cache.top.store(top, Relaxed);
        self.cached[top as usize % CACHED].store(Granule::of_index(granule).number(), Relaxed);
        let (place, size) = (ptr::with_exposed_provenance_mut(addr), cache.size as usize);
        poison::unpoison(place, size);
        if size > cleanse::SMALL {
            // SAFETY: a chunk of `size` bytes began there, in pages that stay mapped for good. The
            // caller promises that nothing uses it any more, and it cannot be allocated anew before
            // this thread has left its heap.
            unsafe { self.cleanse_and_leave(place, size) };
            return Some(());
        }
        // SAFETY: a chunk of `size` bytes began there, in pages that stay mapped for good. The
        // caller promises that nothing uses it any more, and it cannot be allocated anew before
        // this thread has left its heap.
        unsafe { cleanse::cleanse_small(place, size) };
        poison::poison(place, size);
        self.gate.leave();
        Some(())
    }

    /// The end of [`free_local`](Self::free_local) where wiping takes a call; apart, so that the
    /// rest is a leaf function.
    ///
    /// # Safety
    /// `size` bytes at `place` are mapped, and nothing uses them.
    #[inline(never)]
    unsafe fn cleanse_and_leave(&self, place: *mut u8, size: usize) {
        // SAFETY: the caller promises that the bytes are mapped and that nothing uses them.
        unsafe { memory_cleanse(place, size) };
        poison::poison(place, size);
        self.gate.leave();
    }

    // ---- Figures ---------------------------------------------------------------------------

    #[inline(always)]
    pub(super) fn tally(&self) -> Tally {
        Tally(self.tally.load(Relaxed))
    }

    /// The most that was allocated at once since this or [`forget_peak`](Self::forget_peak) was
    /// called last; at least what is allocated now. (The next allocation sets the mark anew.)
    ///
    /// For any holder of the mutex, as the heap's thread may be at work. When that allocates at
    /// this moment, either it finds a mark that is high enough, which counts now, or it stores one,
    /// which counts now or the next time. The mark of a heap without a thread means nothing.
    pub(super) fn take_peak(&self) -> Tally {
        let peak = Tally(self.peak.swap(Tally::LEAST.0, Relaxed));
        let tally = self.tally();
        if self.has_thread() && peak.exceeds(tally) { peak } else { tally }
    }

    /// For the thread that may use the heap.
    pub(super) fn forget_peak(&self) {
        self.peak.store(self.tally().0, Relaxed);
    }

    /// Takes chunks out of what the heap has allocated.
    pub(super) fn forget(&self, chunks: Tally) {
        self.tally.store(self.tally().minus(chunks).0, Relaxed);
        self.forget_peak();
    }

    // ---- Caches ----------------------------------------------------------------------------

    /// Has allocations counted and sampled, or no more, as far as they come from caches. The caller
    /// may use the heap, or has paused its thread.
    pub(super) fn sample(&self, one_in: Option<NonZeroU32>, seed: u64) {
        self.sampler.set(one_in, seed);
        self.flush_all();
        let counted = if one_in.is_some() { CLASS_SPAN } else { 0 };
        self.counted.store(counted, Relaxed);
        self.empty_caches();
    }

    /// Empties the caches that are in use, and makes the others look as they do when they are not
    /// in use.
    fn empty_caches(&self) {
        let counted = self.counted.load(Relaxed);
        for class in SizeClass::all() {
            // The cache for counted allocations never writes there, so it stays a 0 as long as that
            // is used.
            let last = self.caches[CacheNumber::common(class).index()].end as usize;
            self.cached[last].store(0, Relaxed);
            let used = &self.caches[CacheNumber::of(class, counted).index()];
            let other = &self.caches[CacheNumber::of(class, CLASS_SPAN - counted).index()];
            used.top.store(used.start, Relaxed);
            other.top.store(other.end, Relaxed);
        }
    }

    /// The cache of a class that is in use.
    #[inline(always)]
    fn cache_of(&self, class: SizeClass) -> CacheNumber {
        CacheNumber::of(class, self.counted.load(Relaxed))
    }

    /// Allocates a chunk of a class from what the heap has: a slot from the cache that is in use,
    /// an exact chunk, a slot of the slabs.
    #[inline]
    pub(super) fn take_any(&self, class: SizeClass, alignment: usize) -> Option<NonNull<u8>> {
        if let Some(chunk) = self.take_from(self.cache_of(class)) {
            return Some(chunk);
        }
        // A class that is taken often should get a slab.
        if self.exact.is_due_for_slab(class) {
            self.slabs.want(class);
        } else if let Some(chunk) = self.take_exact(class, alignment) {
            return Some(chunk);
        }
        self.take_slot(class)
    }

    /// [`take`](Self::take) from the cache that is in use, and from the slabs too.
    #[inline]
    pub(super) fn take_slot(&self, class: SizeClass) -> Option<NonNull<u8>> {
        let number = self.cache_of(class);
        self.take_from(number).or_else(|| self.refill_and_take(class, number))
    }

    #[inline(never)]
    fn refill_and_take(&self, class: SizeClass, number: CacheNumber) -> Option<NonNull<u8>> {
        self.refill(class);
        self.take_from(number).or_else(|| {
            // Slots that other threads have freed.
            self.collect();
            self.refill(class);
            self.take_from(number)
        })
    }

    /// Allocates a chunk of a class from the exact cache, whose chunks are aligned to a granule.
    pub(super) fn take_exact(&self, class: SizeClass, alignment: usize) -> Option<NonNull<u8>> {
        if alignment > GRANULE {
            return None;
        }
        let granule = self.exact.pop(class)?;
        Some(self.hand_out(CacheNumber::common(class), granule))
    }

    /// Notes that a chunk of an arena, which is used and has its class's size, is one that may come
    /// to exact caches. The tables are ready where it begins.
    pub(super) fn note_exact(&self, class: SizeClass, addr: usize) {
        if let Some((_, chunk)) = self.tables.exact_chunk(addr) {
            chunk.store(CacheNumber::common(class).byte(), Relaxed);
            self.exact.note_used(class);
        }
    }

    /// Takes chunks out of the exact cache until at most `keep` bytes are left there, and calls
    /// `release` with the address of each, which is a used chunk of an arena.
    pub(super) fn evict_exact(&self, keep: usize, mut release: impl FnMut(usize)) {
        self.exact.evict(keep, |granule, class| {
            self.tables.chunks[granule.index()].store(0, Relaxed);
            self.tally.store(self.tally().plus(Tally::of(class.size() as u16)).0, Relaxed);
            self.forget_peak();
            release(self.tables.base + granule.index() * GRANULE);
        });
    }

    /// Fills half of a cache, which is empty, from the first slab of its class.
    fn refill(&self, class: SizeClass) {
        let most = capacity(class.size()) / 2;
        let Some((slab, mut slots)) = self.slabs.take_slots(&self.tables, class, most) else {
            return;
        };
        let cache = &self.caches[self.cache_of(class).index()];
        let mut top = cache.start + slots.count_ones() as u16;
        cache.top.store(top, Relaxed);
        // The first slot is the next to be allocated.
        while slots != 0 {
            let granule = Granule::of_slot(slab, class, slots.trailing_zeros());
            self.cached[top as usize].store(granule.number(), Relaxed);
            slots &= slots - 1;
            top -= 1;
        }
    }

    /// Gives the longest cached slots of a class back to their slabs, all but `keep`.
    pub(super) fn flush(&self, class: SizeClass, keep: usize) {
        let cache = &self.caches[self.cache_of(class).index()];
        let gone = (cache.len() as usize).saturating_sub(keep);
        let (first, rest) = (cache.start as usize + 1, cache.len() as usize - gone);
        // Those of a slab together, as far as they follow each other.
        let mut batch: Option<(SlabNumber, u64)> = None;
        for place in &self.cached[first..first + gone] {
            let offset = place.load(Relaxed) as usize * GRANULE;
            let Some(Place { slab, offset, .. }) = self.tables.find(self.tables.base + offset)
            else {
                continue;
            };
            let slot = 1 << class.slot_at(offset);
            match &mut batch {
                Some((same, slots)) if *same == slab => *slots |= slot,
                _ => {
                    self.put_slots(batch);
                    batch = Some((slab, slot));
                }
            }
        }
        self.put_slots(batch);
        for place in first..first + rest {
            let slot = self.cached[place + gone].load(Relaxed);
            self.cached[place].store(slot, Relaxed);
        }
        cache.top.store(cache.start + rest as u16, Relaxed);
    }

    fn put_slots(&self, batch: Option<(SlabNumber, u64)>) {
        if let Some((slab, slots)) = batch {
            self.slabs.put_slots(&self.tables, slab, slots);
        }
    }

    /// Gives all cached slots back to their slabs.
    pub(super) fn flush_all(&self) {
        for class in SizeClass::all() {
            self.flush(class, 0);
        }
    }

    /// Takes in what other threads have freed.
    pub(super) fn collect(&self) {
        self.remote_frees.collect(
            |slab| self.tables.remote_frees(SlabNumber::of_unit(slab as usize)),
            |slab, slots| {
                if slots != 0 {
                    self.put_slots(Some((SlabNumber::of_unit(slab as usize), slots)));
                }
            },
        );
    }

    // ---- Frees -----------------------------------------------------------------------------

    /// Frees and wipes the chunk at `addr`, if it is a small one. `expected` is the class of the
    /// size that the caller believes it to have, and `alignment` the alignment: 1 if it does not
    /// say, and 0 only with a class that no chunk has. `heap` finds a heap by its number.
    ///
    /// # Safety
    /// If a chunk begins at `addr`, nothing uses it any more.
    pub(super) unsafe fn free(
        &self,
        addr: usize,
        expected: Option<SizeClass>,
        alignment: usize,
        heap: impl Fn(u32) -> &'static Self,
    ) -> Freed {
        let Some(place) = self.tables.find(addr) else {
            // SAFETY: the caller promises that nothing uses the chunk at `addr` any more, if there
            // is one.
            return unsafe { self.free_exact(addr, expected, alignment) };
        };
        let (owner, shared) = (place.owner & Unit::OWNER, place.owner & Unit::SHARED != 0);
        let own = owner == self.number;
        if !own && (!shared || owner == 0) {
            return Freed::Elsewhere;
        }
        let Some(chunk) = self.tables.chunk(place) else {
            return Freed::Refused(FreeError::InvalidFree);
        };
        let asked = CacheNumber::of_byte(chunk.load(Relaxed)).class_number();
        if asked == 0 {
            return Freed::Refused(FreeError::InvalidFree);
        }
        if expected.is_some_and(|expected| expected.number() != asked) {
            return Freed::Refused(FreeError::SizeMismatch);
        }
        let class = self.tables.unit(place.slab).class();
        if claim(chunk, shared).is_none() {
            // Another thread was first.
            return Freed::Refused(FreeError::InvalidFree);
        }
        let size = class.size();
        // SAFETY: a chunk of `size` bytes began there, in pages that stay mapped for good. The
        // caller promises that nothing uses it any more, and it cannot be allocated anew before it
        // is in a list or a cache, below.
        unsafe { Self::cleanse(addr, size) };
        let cache = &self.caches[self.cache_of(class).index()];
        self.tally.store(self.tally().minus(cache.chunk).0, Relaxed);
        let slot = class.slot_at(place.offset);
        if !own {
            let give_back = |slab, slots| self.return_slots(slab, slots, &heap);
            self.remote_batch.add(place.slab, 1 << slot, give_back);
            add(&self.freed_for_others, size);
            if self.freed_for_others.load(Relaxed) < FREED_FOR_OTHERS {
                return Freed::Done;
            }
            self.freed_for_others.store(0, Relaxed);
            return Freed::DoneTrim;
        }
        if cache.top.load(Relaxed) == cache.end {
            self.flush(class, capacity(size) / 2);
        }
        let top = cache.top.load(Relaxed) + 1;
        cache.top.store(top, Relaxed);
        let granule = Granule::of_slot(place.slab, class, slot);
        self.cached[top as usize].store(granule.number(), Relaxed);
        if self.slabs.wants_trim() { Freed::DoneTrim } else { Freed::Done }
    }

    /// Frees and wipes the chunk at `addr`, which lies in no slab, if it is an exact chunk with a
    /// class and the exact cache has room for it.
    ///
    /// # Safety
    /// If a chunk begins at `addr`, nothing uses it any more.
    #[inline(never)]
    unsafe fn free_exact(
        &self,
        addr: usize,
        expected: Option<SizeClass>,
        alignment: usize,
    ) -> Freed {
        let Some((granule, chunk)) = self.tables.exact_chunk(addr) else {
            return Freed::Elsewhere;
        };
        let byte = chunk.load(Relaxed);
        if byte == 0 {
            return Freed::Elsewhere;
        }
        if byte == CacheNumber::FREE.byte() {
            return Freed::Refused(FreeError::InvalidFree);
        }
        let class = SizeClass::of_number(CacheNumber::of_byte(byte).class_number());
        // (A slot has every alignment that a request of its class may want.)
        if expected.is_some_and(|expected| expected != class || addr % alignment != 0) {
            return Freed::Refused(FreeError::SizeMismatch);
        }
        if !self.exact.has_room(class) {
            return Freed::Elsewhere;
        }
        if !claim_exact(chunk, byte, CacheNumber::FREE.byte()) {
            // Another thread was first.
            return Freed::Refused(FreeError::InvalidFree);
        }
        // If the entry was that of a slot, this thread sees the slab's owner now: `set_owner` has
        // the other half.
        fence(Acquire);
        if self.tables.find(addr).is_some() {
            // The program frees what it has freed before, and the memory has become a slab since.
            chunk.store(byte, Relaxed);
            return Freed::Elsewhere;
        }
        // SAFETY: the entry says that a chunk of the class began there, in an arena, whose pages
        // stay mapped as long as it has a used chunk. The caller promises that nothing uses it any
        // more, and it cannot be allocated anew before it is in the cache, below.
        unsafe { Self::cleanse(addr, class.size()) };
        self.tally.store(self.tally().minus(Tally::of(class.size() as u16)).0, Relaxed);
        self.exact.push(class, granule);
        Freed::Done
    }

    /// Wipes a chunk that has been freed.
    ///
    /// # Safety
    /// `size` bytes at `addr` are mapped, and nothing uses them.
    unsafe fn cleanse(addr: usize, size: usize) {
        let start = ptr::with_exposed_provenance_mut(addr);
        poison::unpoison(start, size);
        // SAFETY: the caller promises that the bytes are mapped and that nothing uses them.
        unsafe {
            if size > cleanse::SMALL {
                memory_cleanse(start, size);
            } else {
                cleanse::cleanse_small(start, size);
            }
        }
        poison::poison(start, size);
    }

    /// Returns the remote batch to the owner of its slab. `heap` finds a heap by its number.
    pub(super) fn return_batch(&self, heap: impl Fn(u32) -> &'static Self) {
        self.remote_batch.flush(|slab, slots| self.return_slots(slab, slots, &heap));
    }

    fn return_slots(&self, slab: SlabNumber, slots: u64, heap: impl Fn(u32) -> &'static Self) {
        let owner = heap(self.tables.owner_of(slab) & Unit::OWNER);
        owner.remote_frees.give(slab.link(), self.tables.remote_frees(slab), slots);
    }

    #[cfg(test)]
    pub(super) fn has_remote_batch(&self) -> bool {
        !self.remote_batch.is_empty()
    }

    // ---- Slabs -----------------------------------------------------------------------------

    /// Whether other threads have freed chunks of a class.
    pub(super) fn is_freed_by_others(&self, class: SizeClass) -> bool {
        let class = class.number();
        self.number == 0 || self.shared_classes[class / 64].load(Relaxed) >> (class % 64) & 1 != 0
    }

    /// Notes that other threads free chunks of a slab of this heap.
    pub(super) fn share(&self, slab: SlabNumber) {
        let class = self.tables.unit(slab).class().number();
        let classes = &self.shared_classes[class / 64];
        classes.store(classes.load(Relaxed) | 1 << (class % 64), Relaxed);
        self.tables.set_owner(slab, self.tables.owner_of(slab) | Unit::SHARED);
    }

    /// Takes over a slab that belongs to no heap.
    pub(super) fn adopt(&self, slab: SlabNumber, shared: bool) {
        self.tables.set_owner(slab, self.number | if shared { Unit::SHARED } else { 0 });
        self.slabs.put_in(&self.tables, slab);
    }

    /// Lets go of a slab of which no slot is cached.
    pub(super) fn let_go(&self, slab: SlabNumber) {
        self.slabs.take_out(&self.tables, slab);
    }

    /// Calls `remove` with each empty slab, which has to [`let_go`](Self::let_go) of it: with
    /// `all`, also with those that allocations come from next.
    pub(super) fn remove_empty_slabs(&self, all: bool, remove: impl FnMut(SlabNumber)) {
        self.slabs.remove_empty(&self.tables, all, remove);
    }

    /// Calls `visit` with each slab of the heap; `visit` may let go of it.
    pub(super) fn for_each_slab(&self, visit: impl FnMut(SlabNumber)) {
        self.slabs.for_each(&self.tables, visit);
    }

    /// Lets go of all slabs without touching their memory, as if there had never been any. No other
    /// thread uses any heap.
    pub(super) fn forget_slabs(&self) {
        self.collect();
        self.for_each_slab(|slab| self.tables.forget(slab));
        self.empty_caches();
        self.slabs.forget_all();
        self.exact.forget();
        self.remote_batch.forget();
        let words = [&self.tally, &self.peak];
        words.into_iter().chain(&self.shared_classes).for_each(|word| word.store(0, Relaxed));
    }

    // ---- Its thread ------------------------------------------------------------------------

    /// Whether a thread has it. For the holder of the mutex, which may use the heap if none has.
    pub(super) fn has_thread(&self) -> bool {
        self.has_thread.load(Relaxed)
    }

    /// A thread gets the heap, of which the exact cache is empty. It finds nothing there that goes
    /// by what another thread has used.
    pub(super) fn get_thread(&self) {
        self.forget_peak();
        self.slabs.forget_misses();
        self.exact.forget();
        self.has_thread.store(true, Relaxed);
    }

    /// The heap's thread has ended. Returns what it has allocated less what it has freed, which is
    /// taken out of the heap.
    pub(super) fn lose_thread(&self) -> Tally {
        self.gate.abandon();
        self.gate.open();
        self.has_thread.store(false, Relaxed);
        self.take_tally()
    }

    /// The heap has no slabs and no thread. Returns what was allocated less what was freed since it
    /// has lost its thread, which is taken out of the heap.
    pub(super) fn vacate(&self) -> Tally {
        self.shared_classes.iter().for_each(|word| word.store(0, Relaxed));
        self.take_tally()
    }

    fn take_tally(&self) -> Tally {
        Tally(self.tally.swap(0, Relaxed))
    }
}
