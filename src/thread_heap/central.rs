//! `Central`: what the mutex of the process-wide pool guards, and its figures.

use super::chunk_table::Tables;
use super::guarded::Guarded;
use super::heap::Heap;
use super::pause::Pause;
use super::registry::{self, LIVE, ORPHANS, all_heaps, live_heaps};
use super::sampler::{Sampler, random};
use super::search::Searched;
use super::size_class::UNIT;
use super::tally::Tally;
use crate::arena_set::{ARENA_ALIGN, ArenaSet, PoolStats, Source};
use crate::pages::{self, AddressRange};
use crate::sync;
use crate::sys::NotHardened;
use core::num::NonZeroU32;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// Addresses set aside for arenas, in bytes, if the system lets us: more than any process locks.
/// When they are used up, small chunks take whole units, from arenas elsewhere.
const RANGE: usize = if cfg!(target_pointer_width = "64") { 512 << 20 } else { 64 << 20 };
const SMALLEST_RANGE: usize = 4 << 20;
/// The tables of slabs are made ready for so many bytes of the range at a time. They take 9 % of
/// these bytes.
const READY_STEP: usize = 16 << 20;

/// The arenas of the process-wide pool, its slabs' bookkeeping, and its figures.
pub(super) struct Central {
    pub(super) arenas: ArenaSet,
    /// Made on first use, if the system lets us.
    pub(super) tables: Option<Tables>,
    /// Whether the first use was.
    pub(super) is_set_up: bool,
    /// Units of the range, from the first on, for which the tables are ready.
    ready: usize,
    /// Whether threads may have heaps.
    pub(super) concurrent: bool,
    /// Number, bytes and slots of all slabs.
    pub(super) slabs: usize,
    pub(super) slab_bytes: usize,
    pub(super) slots: usize,
    /// Whether chunks may lie in exact caches.
    pub(super) exact_caches_are_open: bool,
    /// Number of heaps that threads have.
    pub(super) live: usize,
    /// Number of orphans.
    pub(super) orphans: usize,
    /// Number of heaps made so far.
    made: u32,
    /// The first vacant heap; 0 for none.
    vacant: u32,
    /// What ended threads have allocated in slabs, less what they have freed.
    pub(super) ended: Tally,
    /// Calls since high-water marks were last taken in.
    unmarked: usize,
    /// Calls since excess was last looked for.
    pub(super) unlooked: usize,
    /// How many bytes the process may lock, as far as it was known when an arena was last made.
    pub(super) lock_limit: usize,
    /// Whether more locked memory was refused when it was last asked for.
    pub(super) at_limit: bool,
    /// What was left free in heaps when they were last searched.
    pub(super) searched: Searched,
    /// Which allocations heaps are to sample, see [`sample`](Self::sample).
    pub(super) one_in: Option<NonZeroU32>,
    pub(super) seed: u64,
    /// For allocations that no heap counts.
    pub(super) sampler: Sampler,
    pub(super) guarded: Guarded,
    /// The number of forks that it knows of.
    pub(super) generation: u32,
}

impl Central {
    pub(super) const fn new() -> Self {
        Self {
            arenas: ArenaSet::new(Source::System { huge_page: None }, ARENA_ALIGN),
            tables: None,
            is_set_up: false,
            ready: 0,
            concurrent: false,
            slabs: 0,
            slab_bytes: 0,
            slots: 0,
            exact_caches_are_open: false,
            live: 0,
            orphans: 0,
            made: 0,
            vacant: 0,
            ended: Tally::NOTHING,
            unmarked: 0,
            unlooked: 0,
            lock_limit: 0,
            at_limit: false,
            searched: Searched::NOTHING,
            one_in: None,
            seed: 0,
            sampler: Sampler::new(),
            guarded: Guarded::new(),
            generation: 0,
        }
    }

    // ---- First use ---------------------------------------------------------------------------

    /// The tables of slabs. Sets up the range, its tables and the abandoned heap on first use.
    pub(super) fn tables(&mut self) -> Option<Tables> {
        if !self.is_set_up {
            self.is_set_up = true;
            self.set_up();
        }
        self.tables
    }

    /// Leaves `tables` empty when there are no addresses or no memory for it.
    fn set_up(&mut self) {
        // A small part of what a process may have that is limited.
        let mut len = RANGE.min(pages::address_limit() / 16 / SMALLEST_RANGE * SMALLEST_RANGE);
        let (range, tables) = loop {
            if len < SMALLEST_RANGE {
                return;
            }
            if let Ok(range) = AddressRange::reserve(len) {
                if let Some(tables) = Tables::new(&range) {
                    break (range, tables);
                }
                // SAFETY: nothing has been placed in the range.
                unsafe { range.release() };
            }
            len = len / 2 / SMALLEST_RANGE * SMALLEST_RANGE;
        };
        self.lock_limit = pages::effective_lock_limit();
        if self.new_heap(&tables).is_none() {
            return;
        }
        self.tables = Some(tables);
        // The first page stays as it is, in front of the first arena.
        self.arenas.source = Source::Range { range, next: pages::page_size(), holes: Vec::new() };
        self.concurrent = sync::register_barrier();
    }

    /// Takes all chunks out of the tables. No slab is left.
    pub(super) fn forget_chunks(&self) {
        if let Some(tables) = self.tables {
            tables.forget_chunks(self.ready);
        }
    }

    /// Makes the tables ready for slabs in the first `units` units of the range; `false` when it
    /// does not have so many, or there is no memory.
    pub(super) fn make_ready(&mut self, tables: &Tables, units: usize) -> bool {
        let all = tables.units.len();
        if units <= self.ready || units > all {
            return units <= self.ready;
        }
        let to = units.next_multiple_of(READY_STEP / UNIT).min(all);
        if tables.grow(self.ready, to) {
            self.ready = to;
            if self.arenas.is_sealed() {
                // What the kernel has no memory for is as it is without the seal.
                let _ = tables.seal(to);
            }
        }
        units <= self.ready
    }

    /// Seals what there is of the pool, and what is mapped later. Its tables are sealed as far as
    /// they are ready.
    pub(super) fn seal(&mut self) -> Result<(), NotHardened> {
        let tables = self.tables.map_or(Ok(()), |tables| tables.seal(self.ready));
        // SAFETY: in this pool, an arena in the range keeps its place between guard pages for as
        // long as it lives, and one elsewhere has its own guard pages.
        tables.and(unsafe { self.arenas.seal() })
    }

    // ---- Heaps -------------------------------------------------------------------------------

    /// A heap for a thread: an orphan, a vacant one, or a new one. `None` when there is no memory
    /// for that.
    pub(super) fn heap_for_thread(&mut self, tables: &Tables) -> Option<&'static Heap> {
        if let Some(heap) = ORPHANS.heaps().next() {
            ORPHANS.remove(heap);
            self.orphans -= 1;
            return Some(heap);
        }
        match registry::heap(self.vacant).filter(|heap| heap.number != 0) {
            Some(heap) => {
                self.vacant = heap.next.load(Relaxed);
                Some(heap)
            }
            None => self.new_heap(tables),
        }
    }

    fn new_heap(&mut self, tables: &Tables) -> Option<&'static Heap> {
        let number = self.made;
        let heap = registry::register(number, || Heap::make(number, tables))?;
        self.made += 1;
        Some(heap)
    }

    /// Makes a heap, which is in no list, that of a thread.
    pub(super) fn enlist(&mut self, heap: &'static Heap) {
        heap.get_thread();
        LIVE.push(heap);
        self.live += 1;
    }

    /// Makes an orphan of a heap whose thread has ended.
    pub(super) fn orphan(&mut self, heap: &'static Heap) {
        self.ended = self.ended.plus(heap.lose_thread());
        LIVE.remove(heap);
        self.live -= 1;
        ORPHANS.push(heap);
        self.orphans += 1;
        if self.live == 1 {
            // The mark of the last thread with a heap is of a time when there were others.
            live_heaps().for_each(|last| {
                last.take_peak();
            });
            self.note_peak();
        }
    }

    /// Notes that an orphan, which has no slabs any more, is vacant.
    pub(super) fn vacate(&mut self, heap: &'static Heap) {
        self.ended = self.ended.plus(heap.vacate());
        ORPHANS.remove(heap);
        self.orphans -= 1;
        heap.next.store(self.vacant, Relaxed);
        self.vacant = heap.number;
    }

    /// Has a heap count and sample its allocations, if the program wants samples.
    pub(super) fn sample(&mut self, heap: &Heap) {
        heap.sample(self.one_in, random(&mut self.seed));
    }

    /// Allocates a sampled chunk, in pages that no other chunk uses; `None` if there are no such
    /// pages.
    pub(super) fn alloc_guarded(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        self.arenas.is_in_use = true;
        self.note_peak();
        let chunk = self.guarded.alloc(size, alignment, &mut self.arenas);
        self.note_peak();
        chunk
    }

    // ---- Figures -----------------------------------------------------------------------------

    /// Bytes and number of the chunks in slabs, less those of the chunks in exact caches; while
    /// others allocate and free, about so many.
    pub(super) fn small(&self) -> Tally {
        all_heaps().fold(self.ended, |sum, heap| sum.plus(heap.tally()))
    }

    /// Takes in high-water marks. Called before and after each change of anything but the calling
    /// thread's heap.
    ///
    /// While one thread has a heap, or none has, its mark and what is in no thread's heap make the
    /// figure exact. With several, marks of different times do not add up, so the figure is the
    /// highest that was seen whenever a thread came here; with many, not every time, as each has to
    /// be asked.
    pub(super) fn note_peak(&mut self) {
        let several = self.live > 1;
        self.unmarked += 1;
        if several && self.unmarked < self.live {
            return;
        }
        self.unmarked = 0;
        let small = if several {
            self.small()
        } else {
            all_heaps().fold(self.ended, |sum, heap| sum.plus(heap.take_peak()))
        };
        let (state, guarded) = (&self.arenas.stats, self.guarded.stats());
        let sum = (state.used - self.slab_bytes + guarded.used).wrapping_add_signed(small.bytes());
        // While others change their figures, the sum may be anything for a moment.
        if sum <= state.total + guarded.total {
            self.arenas.stats.peak_used = self.arenas.stats.peak_used.max(sum);
        }
    }

    /// Calls `change`, which allocates or frees in arenas, with the high-water mark kept: to the
    /// arenas, all of a slab is used.
    pub(super) fn in_arenas<T>(&mut self, change: impl FnOnce(&mut ArenaSet) -> T) -> T {
        self.note_peak();
        let peak = self.arenas.stats.peak_used;
        let result = change(&mut self.arenas);
        self.arenas.stats.peak_used = peak;
        result
    }

    /// Bytes that are free in heaps; while others allocate and free, about so many.
    pub(super) fn free_in_heaps(&self) -> usize {
        self.slab_bytes.saturating_add_signed(-self.small().bytes())
    }

    /// What the pool holds.
    pub(super) fn stats(&mut self, _: &Pause) -> PoolStats {
        self.note_peak();
        let mut stats = self.arenas.stats;
        let (small, guarded) = (self.small(), self.guarded.stats());
        stats.total += guarded.total;
        stats.locked += guarded.locked;
        stats.secret_memory += guarded.secret_memory;
        stats.arenas += guarded.arenas;
        if guarded.arenas > 0 {
            let missing = &mut stats.missing_protections;
            *missing = missing.plus(&guarded.missing_protections);
        }
        stats.used =
            (stats.used - self.slab_bytes + guarded.used).wrapping_add_signed(small.bytes());
        stats.free = stats.total - stats.used;
        stats.peak_used = stats.peak_used.max(stats.used);
        self.arenas.stats.peak_used = stats.peak_used;
        stats.chunks_used = (stats.chunks_used - self.slabs + guarded.chunks_used)
            .wrapping_add_signed(small.chunks());
        stats.chunks_free +=
            (self.slots + guarded.chunks_free).wrapping_add_signed(-small.chunks());
        stats
    }

    /// Calls `visit` with the address, the size in bytes and whether it is used, for every chunk:
    /// small ones slab by slab, then samples, then the chunks of arenas. All other threads are
    /// paused.
    pub(super) fn list_chunks(&self, _: &Pause, visit: &mut dyn FnMut(usize, usize, bool)) {
        for heap in all_heaps() {
            heap.for_each_slab(|slab| {
                let unit = heap.tables.unit(slab);
                let size = unit.class().size();
                for slot in 0..unit.slots() as u32 {
                    let (addr, used) = heap.tables.slot(slab, slot);
                    visit(addr, size, used);
                }
            });
        }
        self.guarded.walk(visit);
        let tables = self.tables;
        self.arenas.walk(&mut |addr, size, used| {
            let is_slab = tables.is_some_and(|tables| used && tables.find(addr).is_some());
            let is_cached = tables.is_some_and(|tables| used && tables.is_cached(addr));
            if !is_slab {
                visit(addr, size, used && !is_cached);
            }
        });
    }
}
