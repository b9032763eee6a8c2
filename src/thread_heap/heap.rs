//! A thread's heap: its slabs, and for each class a cache of free slots in front of them.
//!
//! Private to `process`, which says who may use a heap when; depends on `slab`, `pause`, `returned`,
//! `pages` and `cleanse`.
//!
//! The common path is two arrays: an allocation takes a slot from the cache of its class and notes the
//! class in the table of chunks; a free looks the class up there, wipes, and puts the slot back. That
//! table, a byte for every granule, apart from the memory itself, is what knows a chunk from anything
//! else: the byte of a used chunk's first granule holds its class, all others are 0. So a bad free is
//! seen at once, also of a slot that lies in a cache. Slabs are looked at when a cache is empty or full,
//! for half of it at a time.
//!
//! When allocations are to be counted, for samples, each of them has to leave the common path, which cannot
//! spare an instruction to ask whether it is so. Then the caches that it knows are both empty, for who
//! allocates, and full, for who frees, and a second set of caches over the same room is in use, numbered
//! [`CLASS_SPAN`] higher. Chunks bear that number in the table, so freeing them is as fast as ever.

use super::countdown::Countdown;
use super::pause::Gate;
use super::returned::{ReturnedSlabs, Returns, claim};
use super::slab::{self, CLASS_SPAN, CLASSES, GRANULE, Mailbox, SIZES, Slab, UNIT, Unit};
use crate::arena::FreeError;
use crate::cleanse::{self, memory_cleanse};
use crate::edges;
use crate::pages::{self, AddressRange, GrowingTables};
use bytemuck::Zeroable;
use core::num::NonZeroU32;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize};

/// Bytes of slabs that may become empty in a heap before it gives them back, unless an eighth of what it
/// has is more.
const TRIM_AFTER: usize = 16 * 1024;

/// Bytes that a heap's slabs may have free, besides a sixteenth of the slabs' bytes, for the heap to get
/// another slab: what a busy thread may cost in locked memory.
const SPARE: usize = 16 * 1024;

/// How many chunks of a class a heap has to ask for in vain before it gets a slab of them.
const MISSES: u8 = 8;

/// Bytes that a heap frees for others until the pool looks for free memory to give back.
const FREED_FOR_OTHERS: usize = 256 * 1024;

/// How many slots of a slab a heap holds for another before it returns them.
const HELD: u32 = 16;

/// What is known of the range of addresses that slabs lie in.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Tables {
    pub(super) base: usize,
    /// By granule: the cache, see [`CACHES`], of the small chunk that begins there; 0 for none.
    pub(super) chunks: &'static [AtomicU8],
    pub(super) units: &'static [Unit],
    /// By a slab's first unit.
    pub(super) slabs: &'static [Slab],
    mailboxes: &'static [Mailbox],
}

/// A place in a slab.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// First unit of the slab.
    pub(super) slab: u32,
    /// See [`Unit::owner`].
    pub(super) owner: u32,
    /// Offset in the slab in bytes.
    offset: usize,
}

impl Tables {
    /// For a range; `None` when there is no memory for them. They take memory as slabs are made, up to where
    /// [`grow`](Self::grow) has let them.
    pub(super) fn new(range: &AddressRange) -> Option<Self> {
        let (granules, units) = (range.len() / GRANULE, range.len() / UNIT);
        let bytes = [
            granules,
            units * size_of::<Unit>(),
            units * size_of::<Slab>(),
            units * size_of::<Mailbox>(),
        ];
        let mut tables = GrowingTables::new(&bytes).ok()?;
        // SAFETY: of these tables only the entries of slabs are written to, and of their granules; and a slab is
        // made only where `grow` has been.
        let (chunks, units, slabs, mailboxes) = unsafe {
            (
                tables.table(granules)?,
                tables.table(units)?,
                tables.table(units)?,
                tables.table(units)?,
            )
        };
        let base = range.addr().as_ptr().expose_provenance();
        Some(Self { base, chunks, units, slabs, mailboxes })
    }

    /// Makes room for what is known of the slabs in units from `from` up to `to`; `false` when there is no memory
    /// for it.
    pub(super) fn grow(&self, from: usize, to: usize) -> bool {
        let granules = UNIT / GRANULE;
        // SAFETY: `new` has them from `GrowingTables`.
        let grown = unsafe {
            pages::grow_table(self.chunks, from * granules, to * granules)
                .and_then(|()| pages::grow_table(self.units, from, to))
                .and_then(|()| pages::grow_table(self.slabs, from, to))
                .and_then(|()| pages::grow_table(self.mailboxes, from, to))
        };
        grown.is_ok()
    }

    fn slab(&self, first: u32) -> &'static Slab {
        &self.slabs[first as usize]
    }

    /// The first unit of a slab, which knows what slab it is.
    pub(super) fn unit(&self, first: u32) -> &'static Unit {
        &self.units[first as usize]
    }

    fn bytes_of(&self, first: u32) -> usize {
        self.unit(first).units() * UNIT
    }

    /// Whether all slots of a slab are free, and none of them cached.
    fn is_empty(&self, first: u32) -> bool {
        self.slab(first).free.load(Relaxed) == self.unit(first).all()
    }

    /// Whether no slot of a slab is free, but for those that are cached.
    pub(super) fn is_full(&self, first: u32) -> bool {
        self.slab(first).free.load(Relaxed) == 0
    }

    /// The bits of the used slots of a slab, of which none is cached.
    pub(super) fn used_slots(&self, first: u32) -> u64 {
        self.unit(first).all() & !self.slab(first).free.load(Relaxed)
    }

    /// Takes a slab, whose slots are known no more, out of the tables.
    pub(super) fn dissolve(&self, first: u32) {
        let class = self.unit(first).class();
        let mut used = self.used_slots(first);
        while used != 0 {
            let granule = Self::granule(first, class, used.trailing_zeros());
            self.chunks[granule as usize].store(0, Relaxed);
            used &= used - 1;
        }
        self.set_owner(first, 0);
    }

    /// Makes an empty slab of units that are no slab's. Somebody has to [`adopt`](Heap::adopt) it.
    pub(super) fn make_slab(&self, first: u32, class: usize, slots: usize) {
        self.unit(first).set_slab(0, class, slots);
        for (offset, unit) in self.units_of(first).iter().enumerate() {
            unit.set_slab(offset, class, slots);
        }
        self.slab(first).free.store(self.unit(first).all(), Relaxed);
    }

    /// The slab after a slab in the list of all that its owner has.
    pub(super) fn next_owned(&self, first: u32) -> u32 {
        self.slab(first).next_owned.load(Relaxed)
    }

    /// The slab that an address lies in.
    pub(super) fn find(&self, addr: usize) -> Option<Place> {
        let offset = addr.wrapping_sub(self.base);
        let unit = self.units.get(offset / UNIT)?;
        let owner = unit.owner.load(Acquire);
        if owner == 0 {
            return None;
        }
        let first = offset / UNIT - unit.offset();
        Some(Place { slab: first as u32, owner, offset: offset - first * UNIT })
    }

    /// The entry for a chunk that begins at a place.
    fn chunk(&self, place: Place) -> Option<&'static AtomicU8> {
        let offset = place.slab as usize * UNIT + place.offset;
        (offset % GRANULE == 0).then(|| &self.chunks[offset / GRANULE])
    }

    /// The units of a slab.
    fn units_of(&self, first: u32) -> &'static [Unit] {
        &self.units[first as usize..first as usize + self.unit(first).units()]
    }

    fn owner_of(&self, first: u32) -> u32 {
        self.unit(first).owner.load(Relaxed)
    }

    /// Says whose a slab is, see [`Unit::owner`].
    pub(super) fn set_owner(&self, first: u32, owner: u32) {
        for unit in self.units_of(first) {
            unit.owner.store(owner, Release);
        }
    }

    fn granule(first: u32, class: usize, slot: u32) -> u32 {
        first * (UNIT / GRANULE) as u32 + slot * u32::from(SIZES[class]) / GRANULE as u32
    }

    /// Address of a slot of a slab, and whether it is used.
    pub(super) fn slot(&self, first: u32, slot: u32) -> (usize, bool) {
        let granule = Self::granule(first, self.unit(first).class(), slot) as usize;
        (self.base + granule * GRANULE, self.chunks[granule].load(Relaxed) != 0)
    }

    fn returns(&self, first: u32) -> Returns<'static> {
        let Mailbox { slots, next } = &self.mailboxes[first as usize];
        Returns { slots, next }
    }
}

/// How many free slots of each class a heap keeps at hand: 8 KiB of them, but at least 8 and at most 128.
/// Enough that slabs are seldom looked at, and little beside an arena.
const fn capacity(class: usize) -> usize {
    match 8192 / SIZES[class] as usize {
        ..8 => 8,
        128.. => 128,
        slots => slots,
    }
}

/// Room for all caches, each with a 0 in front; a power of two, so that an index needs no check.
const CACHED: usize = 4096;

/// Number of caches: one for each class, and again one for each class that is in use while allocations are
/// counted. So there is one for every byte in the table of chunks.
const CACHES: usize = 2 * CLASS_SPAN;

/// The cache of a class: a stack of slots.
#[derive(Zeroable)]
#[repr(C, align(16))]
struct Cache {
    /// What a chunk of the class adds to a tally.
    chunk: Tally,
    /// Slot size in bytes.
    size: u16,
    /// Where the last slot stands in `cached`; that is `start`, where there always is a 0, in an empty
    /// cache, and `end` in a full one. In a cache that is not in use it is `end` as well.
    top: AtomicU16,
    start: u16,
    end: u16,
}

impl Cache {
    /// An empty cache for each class, one behind the other. Those for counted allocations are not in use,
    /// have the same room, and leave the last place of it alone.
    fn all() -> impl Iterator<Item = Self> {
        let mut next = 0;
        (0..CACHES).map(move |number| {
            let (class, counted) = (number % CLASS_SPAN, number >= CLASS_SPAN);
            if class == 0 {
                next = 0;
            }
            let is_used = (1..CLASSES).contains(&class);
            let slots = if is_used { capacity(class) as u16 } else { 0 };
            let start = next;
            if slots != 0 {
                next += slots + 1;
            }
            let end = start + if counted { slots.saturating_sub(1) } else { slots };
            let top = AtomicU16::new(if counted { end } else { start });
            let size = SIZES[class];
            Self { chunk: Tally::of(size), size, top, start, end }
        })
    }

    fn len(&self) -> u16 {
        self.top.load(Relaxed) - self.start
    }
}

/// Bytes and number of chunks in one word, so that one addition keeps both. Sums over heaps are right
/// modulo 2^64 even where a heap has freed more than it has allocated, because chunks were another's.
#[derive(Clone, Copy, Default, Zeroable)]
pub(super) struct Tally(u64);

impl Tally {
    pub(super) const NOTHING: Self = Self(0);

    /// Slabs have fewer chunks than 2 to the power of this.
    const BITS: u32 = 28;

    const fn of(size: u16) -> Self {
        Self((size as u64) << Self::BITS | 1)
    }

    #[inline(always)]
    pub(super) const fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    #[inline(always)]
    const fn minus(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }

    /// `chunks` chunks of a size.
    pub(super) const fn of_many(size: u16, chunks: usize) -> Self {
        Self(Self::of(size).0.wrapping_mul(chunks as u64))
    }

    pub(super) const fn bytes(self) -> usize {
        (self.0 >> Self::BITS) as usize
    }

    pub(super) const fn chunks(self) -> usize {
        (self.0 % (1 << Self::BITS)) as usize
    }

    /// Whether there are more bytes here, or as many in more chunks; either may be less than none.
    #[inline(always)]
    const fn exceeds(self, other: u64) -> bool {
        self.0 as i64 > other as i64
    }
}

/// A thread's slabs.
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
    /// Granules where cached slots begin. All of them are in locked memory and in slabs of this heap.
    cached: [AtomicU32; CACHED],

    /// What is added to a class for its cache that is in use: [`CLASS_SPAN`] while allocations are counted.
    counted: AtomicUsize,
    pub(super) countdown: Countdown,

    /// Whether a thread has it.
    pub(super) taken: AtomicBool,
    /// Neighbours in the list of heaps that threads have: numbers; 0 is none. Changed under the mutex.
    pub(super) next_live: AtomicU32,
    pub(super) previous_live: AtomicU32,
    /// By class, the first slab that has free slots, by first unit.
    lists: [AtomicU32; CLASSES],
    /// By class, the number of slots of all slabs.
    slots: [AtomicU32; CLASSES],
    /// By class, how often there was no slot, up to [`MISSES`].
    misses: [AtomicU8; CLASSES],
    /// The first of all slabs.
    pub(super) owned: AtomicU32,
    /// Bytes of all slabs, of their free slots that are not cached, of the slabs that are empty, and of those
    /// that were left empty by the last trim.
    owned_bytes: AtomicUsize,
    free_bytes: AtomicUsize,
    empty: AtomicUsize,
    kept_empty: AtomicUsize,
    /// Classes of which other threads free chunks, as bits.
    shared_classes: [AtomicU64; CLASS_SPAN / 64],
    returned: ReturnedSlabs,
    /// Bytes that the owner has freed of other heaps' slabs since the last trim.
    freed_for_others: AtomicUsize,
    /// Slots of another heap's slab that the owner has freed and not yet returned: first unit, and bits.
    held_slab: AtomicU32,
    held: AtomicU64,
}

/// What became of an attempt to free a chunk.
pub(super) enum Freed {
    Done,
    /// Done, and it is time for a trim.
    DoneTrim,
    Refused(FreeError),
    /// It is not for this heap to say.
    Elsewhere,
}

/// Bytes of some slots, given by their bits.
fn bytes_of(class: usize, slots: u64) -> usize {
    slots.count_ones() as usize * SIZES[class] as usize
}

/// Changes a number that only its heap's user changes.
fn add(number: &AtomicUsize, difference: usize) {
    number.store(number.load(Relaxed).wrapping_add(difference), Relaxed);
}

fn subtract(number: &AtomicUsize, difference: usize) {
    add(number, difference.wrapping_neg());
}

impl Heap {
    /// A heap without slabs, for the life of the process; `None` when there is no memory for it. It is made
    /// where it stays: on the stack it would be most of what the smallest stack of a thread has.
    pub(super) fn make(number: u32, tables: &Tables) -> Option<&'static Self> {
        let mut place = Vec::<Self>::new();
        place.try_reserve_exact(1).ok()?;
        let heap = place.as_mut_ptr();
        // SAFETY: there is room for a heap, of which nobody else knows. Each member is written, or is of a type
        // that zeros are a value of, which `initialized` looks at.
        unsafe {
            heap.write_bytes(0, 1);
            (&raw mut (*heap).gate).write(Gate::new());
            (&raw mut (*heap).number).write(number);
            (&raw mut (*heap).tables).write(*tables);
            (&raw mut (*heap).countdown).write(Countdown::new());
            (&raw mut (*heap).returned).write(ReturnedSlabs::new());
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
        // Without `..`: a new member has to be thought of.
        let Self {
            gate: _,
            number: _,
            tables: _,
            countdown: _,
            returned: _,
            tally,
            peak,
            caches,
            cached,
            counted,
            taken,
            next_live,
            previous_live,
            lists,
            slots,
            misses,
            owned,
            owned_bytes,
            free_bytes,
            empty,
            kept_empty,
            shared_classes,
            freed_for_others,
            held_slab,
            held,
        } = self;
        [tally, peak, held].into_iter().chain(shared_classes).for_each(zeros);
        [counted, owned_bytes, free_bytes, empty, kept_empty, freed_for_others]
            .into_iter()
            .for_each(zeros);
        zeros(caches);
        zeros(cached);
        zeros(taken);
        zeros(lists);
        zeros(slots);
        zeros(misses);
        [next_live, previous_live, owned, held_slab].into_iter().for_each(zeros);
    }

    // ---- The common path -------------------------------------------------------------------

    /// Allocates a slot of a cache, which may be given by its class: then it fails while allocations are
    /// counted.
    #[inline(always)]
    pub(super) fn take(&self, number: usize) -> Option<NonNull<u8>> {
        let cache = &self.caches[number];
        let top = cache.top.load(Relaxed);
        let granule = self.cached[top as usize % CACHED].load(Relaxed);
        if granule == 0 {
            return None;
        }
        cache.top.store(top.wrapping_sub(1), Relaxed);
        Some(self.hand_out(number, granule))
    }

    /// Makes the free slot at a granule, which nobody else knows of, a chunk that will go to a cache.
    #[inline(always)]
    fn hand_out(&self, number: usize, granule: u32) -> NonNull<u8> {
        debug_assert!((granule as usize) < self.tables.chunks.len());
        // SAFETY: slots lie in slabs, and slabs in the range that the table is for.
        let chunk = unsafe { self.tables.chunks.get_unchecked(granule as usize) };
        chunk.store(number as u8, Relaxed);
        let tally = self.tally().plus(self.caches[number].chunk);
        self.tally.store(tally.0, Relaxed);
        if tally.exceeds(self.peak.load(Relaxed)) {
            self.peak.store(tally.0, Relaxed);
        }
        let addr = self.tables.base + granule as usize * GRANULE;
        // SAFETY: the range does not begin at 0, nor wrap around.
        unsafe { NonNull::new_unchecked(ptr::with_exposed_provenance_mut(addr)) }
    }

    /// The common case of [`give_back`](Self::give_back): a chunk of a slab that this heap alone uses, by
    /// its own thread, which has entered it; leaves it as well. `None` for all else, which has not been
    /// touched then.
    ///
    /// # Safety
    /// If a chunk begins at `addr`, nobody may use it any more.
    #[inline(always)]
    pub(super) unsafe fn give_back_own(&self, addr: usize, expected: Option<usize>) -> Option<()> {
        // A remainder ends up in the highest bits, so that the table has no entry for it.
        let granule = addr.wrapping_sub(self.tables.base).rotate_right(GRANULE.ilog2());
        let chunk = self.tables.chunks.get(granule)?;
        debug_assert!(granule / (UNIT / GRANULE) < self.tables.units.len());
        // SAFETY: the tables are for the same range, and the other one has an entry for this granule.
        let unit = unsafe { self.tables.units.get_unchecked(granule / (UNIT / GRANULE)) };
        if unit.owner.load(Relaxed) != self.number {
            return None;
        }
        let number = chunk.load(Relaxed);
        if expected.is_some_and(|expected| expected != usize::from(number)) {
            return None;
        }
        let cache = &self.caches[number as usize];
        let top = cache.top.load(Relaxed);
        // Also where there is no chunk, as number 0 has no room, and in a cache that is not in use.
        if top == cache.end {
            return None;
        }
        chunk.store(0, Relaxed);
        self.tally.store(self.tally().minus(cache.chunk).0, Relaxed);
        let top = top.wrapping_add(1);
        cache.top.store(top, Relaxed);
        self.cached[top as usize % CACHED].store(granule as u32, Relaxed);
        let (place, size) = (ptr::with_exposed_provenance_mut(addr), cache.size as usize);
        edges::open(place, size);
        if size > cleanse::SMALL {
            // SAFETY: as below.
            unsafe { self.cleanse_and_leave(place, size) };
            return Some(());
        }
        // SAFETY: a chunk of `size` bytes began there, so these are pages that stay mapped for good; by
        // this function's contract its user is done with it, and nobody can be given it anew before this
        // thread has left its heap.
        unsafe { cleanse::cleanse_small(place, size) };
        edges::close(place, size);
        self.gate.leave();
        Some(())
    }

    /// The end of [`give_back_own`](Self::give_back_own) where wiping takes a call; apart, so that the
    /// rest is a leaf function.
    ///
    /// # Safety
    /// As for [`memory_cleanse`].
    #[inline(never)]
    unsafe fn cleanse_and_leave(&self, place: *mut u8, size: usize) {
        // SAFETY: by this function's contract.
        unsafe { memory_cleanse(place, size) };
        edges::close(place, size);
        self.gate.leave();
    }

    // ---- Everything else -------------------------------------------------------------------

    #[inline(always)]
    pub(super) fn tally(&self) -> Tally {
        Tally(self.tally.load(Relaxed))
    }

    /// The most that was allocated at once since [`forget_peak`](Self::forget_peak).
    pub(super) fn peak(&self) -> Tally {
        Tally(self.peak.load(Relaxed))
    }

    pub(super) fn forget_peak(&self) {
        self.peak.store(self.tally().0, Relaxed);
    }

    /// Has allocations counted and sampled, or no more, as far as they come from caches. Whoever calls it
    /// may use the heap, or has paused its user.
    pub(super) fn sample(&self, one_in: Option<NonZeroU32>, seed: u64) {
        self.countdown.set(one_in, seed);
        self.flush_all();
        let counted = if one_in.is_some() { CLASS_SPAN } else { 0 };
        self.counted.store(counted, Relaxed);
        self.empty_caches();
    }

    /// Leaves nothing in the caches that are in use, and the others as they are when they are not.
    fn empty_caches(&self) {
        let counted = self.counted.load(Relaxed);
        for class in 1..CLASSES {
            // The cache for counted allocations never writes there, so it stays a 0 as long as that is used.
            self.cached[self.caches[class].end as usize].store(0, Relaxed);
            let (used, other) =
                (&self.caches[class + counted], &self.caches[class + CLASS_SPAN - counted]);
            used.top.store(used.start, Relaxed);
            other.top.store(other.end, Relaxed);
        }
    }

    /// The number of the cache of a class that is in use.
    #[inline(always)]
    fn cache_of(&self, class: usize) -> usize {
        class + self.counted.load(Relaxed)
    }

    /// `take`, from the cache that is in use, and from the slabs too.
    #[inline]
    pub(super) fn take_or_refill(&self, class: usize) -> Option<NonNull<u8>> {
        let number = self.cache_of(class);
        self.take(number).or_else(|| self.refill_and_take(class, number))
    }

    #[inline(never)]
    fn refill_and_take(&self, class: usize, number: usize) -> Option<NonNull<u8>> {
        self.refill(class);
        self.take(number).or_else(|| {
            // What other threads have freed.
            self.collect();
            self.refill(class);
            self.take(number)
        })
    }

    /// The bits of up to `most` free slots of the slab that is first in its list; they are free no more.
    /// `None` for slab 0, which is none.
    fn take_slots(&self, first: u32, most: usize) -> Option<u64> {
        if first == 0 {
            return None;
        }
        let slab = self.tables.slab(first);
        let free = slab.free.load(Relaxed);
        let mut rest = free;
        for _ in 0..most {
            rest &= rest.wrapping_sub(1);
        }
        if self.tables.is_empty(first) {
            subtract(&self.empty, self.tables.bytes_of(first));
            let empty = self.empty.load(Relaxed);
            self.kept_empty.store(self.kept_empty.load(Relaxed).min(empty), Relaxed);
        }
        slab.free.store(rest, Relaxed);
        let class = self.tables.unit(first).class();
        if rest == 0 {
            self.lists[class].store(slab.next.load(Relaxed), Relaxed);
        }
        subtract(&self.free_bytes, bytes_of(class, free ^ rest));
        Some(free ^ rest)
    }

    /// Fills half of a cache, which is empty, from the first slab of its class.
    fn refill(&self, class: usize) {
        let first = self.lists[class].load(Relaxed);
        let Some(mut slots) = self.take_slots(first, capacity(class) / 2) else { return };
        let cache = &self.caches[self.cache_of(class)];
        let mut top = cache.start + slots.count_ones() as u16;
        cache.top.store(top, Relaxed);
        // The first slot is the next to be allocated.
        while slots != 0 {
            let granule = Tables::granule(first, class, slots.trailing_zeros());
            self.cached[top as usize].store(granule, Relaxed);
            slots &= slots - 1;
            top -= 1;
        }
    }

    /// Gives the longest cached slots of a class back to their slabs, all but `keep`.
    pub(super) fn flush(&self, class: usize, keep: usize) {
        let cache = &self.caches[self.cache_of(class)];
        let gone = (cache.len() as usize).saturating_sub(keep);
        let (first, rest) = (cache.start as usize + 1, cache.len() as usize - gone);
        // Those of a slab together, as far as they follow each other.
        let (mut slab, mut slots) = (0, 0);
        for place in &self.cached[first..first + gone] {
            let offset = place.load(Relaxed) as usize * GRANULE;
            let Some(place) = self.tables.find(self.tables.base + offset) else { continue };
            if place.slab != slab {
                self.put_slots(slab, slots);
                (slab, slots) = (place.slab, 0);
            }
            slots |= 1 << slab::slot_at(class, place.offset);
        }
        self.put_slots(slab, slots);
        for place in first..first + rest {
            let slot = self.cached[place + gone].load(Relaxed);
            self.cached[place].store(slot, Relaxed);
        }
        cache.top.store(cache.start + rest as u16, Relaxed);
    }

    /// Gives all cached slots back to their slabs.
    pub(super) fn flush_all(&self) {
        for class in 1..CLASSES {
            self.flush(class, 0);
        }
    }

    /// Takes in what other threads have freed.
    pub(super) fn collect(&self) {
        self.returned.collect(
            |first| self.tables.returns(first),
            |first, slots| self.put_slots(first, slots),
        );
    }

    /// Frees and wipes the chunk at `addr`, if it is a small one. `expected` is the class of the size that
    /// the caller believes it to have.
    ///
    /// # Safety
    /// If a chunk begins at `addr`, nobody may use it any more.
    pub(super) unsafe fn give_back(
        &self,
        addr: usize,
        expected: Option<usize>,
        heap: impl Fn(u32) -> &'static Self,
    ) -> Freed {
        let Some(place) = self.tables.find(addr) else { return Freed::Elsewhere };
        let (owner, shared) = (place.owner & Unit::OWNER, place.owner & Unit::SHARED != 0);
        let own = owner == self.number;
        if !own && (!shared || owner == 0) {
            return Freed::Elsewhere;
        }
        let Some(chunk) = self.tables.chunk(place) else {
            return Freed::Refused(FreeError::InvalidFree);
        };
        let asked = chunk.load(Relaxed) as usize % CLASS_SPAN;
        if asked == 0 {
            return Freed::Refused(FreeError::InvalidFree);
        }
        if expected.is_some_and(|expected| expected != asked) {
            return Freed::Refused(FreeError::SizeMismatch);
        }
        let class = self.tables.unit(place.slab).class();
        if claim(chunk, shared).is_none() {
            // Somebody else was first.
            return Freed::Refused(FreeError::InvalidFree);
        }
        let (start, size) = (ptr::with_exposed_provenance_mut(addr), SIZES[class] as usize);
        edges::open(start, size);
        // SAFETY: as in `give_back_own`: nobody can be given the slot before it is in a list or a cache.
        unsafe {
            if size > cleanse::SMALL {
                memory_cleanse(start, size);
            } else {
                cleanse::cleanse_small(start, size);
            }
        }
        edges::close(start, size);
        let cache = &self.caches[self.cache_of(class)];
        self.tally.store(self.tally().minus(cache.chunk).0, Relaxed);
        let slot = slab::slot_at(class, place.offset);
        if !own {
            self.hold(place.slab, 1 << slot, heap);
            add(&self.freed_for_others, size);
            if self.freed_for_others.load(Relaxed) < FREED_FOR_OTHERS {
                return Freed::Done;
            }
            self.freed_for_others.store(0, Relaxed);
            return Freed::DoneTrim;
        }
        if cache.top.load(Relaxed) == cache.end {
            self.flush(class, capacity(class) / 2);
        }
        let top = cache.top.load(Relaxed) + 1;
        cache.top.store(top, Relaxed);
        let granule = Tables::granule(place.slab, class, slot);
        self.cached[top as usize].store(granule, Relaxed);
        if self.wants_trim() { Freed::DoneTrim } else { Freed::Done }
    }

    /// Keeps a slot of another heap's slab, to be returned together with others of that slab: each return
    /// takes an atomic operation on memory that the owner is busy with.
    fn hold(&self, slab: u32, slot: u64, heap: impl Fn(u32) -> &'static Self) {
        if self.held_slab.load(Relaxed) != slab {
            self.return_held(heap);
            self.held_slab.store(slab, Relaxed);
            self.held.store(slot, Relaxed);
            return;
        }
        let held = self.held.load(Relaxed) | slot;
        self.held.store(held, Relaxed);
        if held.count_ones() >= HELD {
            self.return_held(heap);
        }
    }

    /// Returns what is held to its owner.
    pub(super) fn return_held(&self, heap: impl Fn(u32) -> &'static Self) {
        let (slab, held) = (self.held_slab.load(Relaxed), self.held.load(Relaxed));
        if held != 0 {
            self.held.store(0, Relaxed);
            let owner = heap(self.tables.owner_of(slab) & Unit::OWNER);
            owner.returned.give(slab, self.tables.returns(slab), held);
        }
    }

    #[cfg(test)]
    pub(super) fn holds_slots(&self) -> bool {
        self.held.load(Relaxed) != 0
    }

    /// Makes slots of an own slab free for allocation.
    fn put_slots(&self, first: u32, slots: u64) {
        if slots == 0 {
            return;
        }
        let slab = self.tables.slab(first);
        let free = slab.free.load(Relaxed);
        slab.free.store(free | slots, Relaxed);
        add(&self.free_bytes, bytes_of(self.tables.unit(first).class(), slots));
        if free == 0 {
            self.push(first);
        }
        if self.tables.is_empty(first) {
            add(&self.empty, self.tables.bytes_of(first));
        }
    }

    fn wants_trim(&self) -> bool {
        let spare = TRIM_AFTER.max(self.owned_bytes.load(Relaxed) / 8);
        self.empty.load(Relaxed) > self.kept_empty.load(Relaxed) + spare
    }

    /// Calls `remove` with each empty slab, which has to [`disown`](Self::disown) it: with `all`, also
    /// with those that allocations come from next.
    pub(super) fn remove_empty_slabs(&self, all: bool, mut remove: impl FnMut(u32)) {
        for list in &self.lists {
            let mut next = list.load(Relaxed);
            if !all && next != 0 {
                next = self.tables.slab(next).next.load(Relaxed);
            }
            while next != 0 {
                let first = next;
                next = self.tables.slab(first).next.load(Relaxed);
                if self.tables.is_empty(first) {
                    remove(first);
                }
            }
        }
        self.kept_empty.store(self.empty.load(Relaxed), Relaxed);
    }

    /// The first slab of a class that has free slots; 0 for none.
    pub(super) fn first_of(&self, class: usize) -> u32 {
        self.lists[class].load(Relaxed)
    }

    /// Puts a slab that has free slots first in its list.
    fn push(&self, first: u32) {
        let list = &self.lists[self.tables.unit(first).class()];
        let head = list.load(Relaxed);
        self.tables.slab(first).next.store(head, Relaxed);
        if head != 0 {
            self.tables.slab(head).previous.store(first, Relaxed);
        }
        list.store(first, Relaxed);
    }

    /// Takes a slab that has free slots out of its list.
    fn unlink(&self, first: u32) {
        let list = &self.lists[self.tables.unit(first).class()];
        let slab = self.tables.slab(first);
        let next = slab.next.load(Relaxed);
        if list.load(Relaxed) == first {
            list.store(next, Relaxed);
            return;
        }
        let previous = slab.previous.load(Relaxed);
        self.tables.slab(previous).next.store(next, Relaxed);
        if next != 0 {
            self.tables.slab(next).previous.store(previous, Relaxed);
        }
    }

    /// Whether other threads have freed chunks of a class.
    pub(super) fn frees_by_others(&self, class: usize) -> bool {
        self.number == 0 || self.shared_classes[class / 64].load(Relaxed) >> (class % 64) & 1 != 0
    }

    /// Notes that other threads free chunks of a slab of this heap.
    pub(super) fn share(&self, first: u32) {
        let class = self.tables.unit(first).class();
        let classes = &self.shared_classes[class / 64];
        classes.store(classes.load(Relaxed) | 1 << (class % 64), Relaxed);
        self.tables.set_owner(first, self.tables.owner_of(first) | Unit::SHARED);
    }

    /// For a class of which there is no free slot: how many slots the heap's next slab of it should have, if
    /// there should be one. What a slab has free is locked memory that no other thread and no other size can
    /// use at once. So the first chunks of a class come from no slab; a slab is small beside the slots that
    /// are in use already; and all of the heap's slabs together have little free. With `exact`, a slab
    /// must waste nothing.
    pub(super) fn next_slab(&self, class: usize, exact: bool) -> Option<usize> {
        let misses = &self.misses[class];
        if misses.load(Relaxed) < MISSES {
            misses.store(misses.load(Relaxed) + 1, Relaxed);
            return None;
        }
        let room = (SPARE + self.owned_bytes.load(Relaxed) / 16)
            .saturating_sub(self.free_bytes.load(Relaxed));
        let used = self.slots[class].load(Relaxed) as usize * SIZES[class] as usize;
        let smallest =
            slab::slots_for(class, 0, exact).or_else(|| slab::slots_for(class, SPARE, exact))?;
        let slots = slab::slots_for(class, used / 8, exact).unwrap_or(smallest);
        let bytes = slab::units_for(class, slots) * UNIT;
        // Once there are several, a slab that wastes much would be one too many.
        if used >= SPARE && (bytes - slots * SIZES[class] as usize) * 32 > bytes {
            return None;
        }
        // Without free slots, a slab of one slot leaves none either.
        (slots == 1 || bytes <= room).then_some(slots)
    }

    /// Makes a slab this heap's.
    pub(super) fn adopt(&self, first: u32, shared: bool) {
        let owner = self.number | if shared { Unit::SHARED } else { 0 };
        self.tables.set_owner(first, owner);
        let slab = self.tables.slab(first);
        let head = self.owned.load(Relaxed);
        slab.next_owned.store(head, Relaxed);
        slab.previous_owned.store(0, Relaxed);
        if head != 0 {
            self.tables.slab(head).previous_owned.store(first, Relaxed);
        }
        self.owned.store(first, Relaxed);
        add(&self.owned_bytes, self.tables.bytes_of(first));
        let (unit, free) = (self.tables.unit(first), slab.free.load(Relaxed));
        add(&self.free_bytes, bytes_of(unit.class(), free));
        let count = &self.slots[unit.class()];
        count.store(count.load(Relaxed) + unit.slots() as u32, Relaxed);
        if slab.free.load(Relaxed) != 0 {
            self.push(first);
        }
        if self.tables.is_empty(first) {
            add(&self.empty, self.tables.bytes_of(first));
        }
    }

    /// Lets go of a slab of which no slot is cached.
    pub(super) fn disown(&self, first: u32) {
        let slab = self.tables.slab(first);
        if self.tables.is_empty(first) {
            subtract(&self.empty, self.tables.bytes_of(first));
        }
        if slab.free.load(Relaxed) != 0 {
            self.unlink(first);
        }
        let next = slab.next_owned.load(Relaxed);
        let previous = slab.previous_owned.load(Relaxed);
        if next != 0 {
            self.tables.slab(next).previous_owned.store(previous, Relaxed);
        }
        if previous != 0 {
            self.tables.slab(previous).next_owned.store(next, Relaxed);
        } else {
            self.owned.store(next, Relaxed);
        }
        subtract(&self.owned_bytes, self.tables.bytes_of(first));
        let (unit, free) = (self.tables.unit(first), slab.free.load(Relaxed));
        subtract(&self.free_bytes, bytes_of(unit.class(), free));
        let count = &self.slots[unit.class()];
        count.store(count.load(Relaxed) - unit.slots() as u32, Relaxed);
    }

    /// Lets go of all slabs without touching their memory, as if it had none ever. No other thread uses any
    /// heap.
    pub(super) fn forget_slabs(&self) {
        self.collect();
        let mut first = self.owned.swap(0, Relaxed);
        while first != 0 {
            let tables = &self.tables;
            tables.set_owner(first, 0);
            let granules = first as usize * (UNIT / GRANULE)..;
            let chunks = &tables.chunks[granules][..tables.bytes_of(first) / GRANULE];
            chunks.iter().for_each(|chunk| chunk.store(0, Relaxed));
            first = tables.next_owned(first);
        }
        self.empty_caches();
        self.lists.iter().for_each(|list| list.store(0, Relaxed));
        self.slots.iter().for_each(|count| count.store(0, Relaxed));
        let words = [&self.tally, &self.peak, &self.held];
        words.into_iter().chain(&self.shared_classes).for_each(|word| word.store(0, Relaxed));
        for number in [&self.owned_bytes, &self.free_bytes, &self.empty, &self.kept_empty] {
            number.store(0, Relaxed);
        }
    }

    /// No thread has it any more, and it has no slabs: what it has allocated less what it has freed, which is
    /// taken out of it.
    pub(super) fn vacate(&self) -> Tally {
        self.shared_classes.iter().for_each(|word| word.store(0, Relaxed));
        self.misses.iter().for_each(|misses| misses.store(0, Relaxed));
        self.gate.abandon();
        self.gate.open();
        self.taken.store(false, Release);
        self.peak.store(0, Relaxed);
        Tally(self.tally.swap(0, Relaxed))
    }

    /// Takes chunks out of what the heap has allocated.
    pub(super) fn forget(&self, chunks: Tally) {
        self.tally.store(self.tally().minus(chunks).0, Relaxed);
        self.forget_peak();
    }

    /// Calls `visit` with each slab of the heap; `visit` may take it out.
    pub(super) fn for_each_slab(&self, mut visit: impl FnMut(u32)) {
        let mut next = self.owned.load(Relaxed);
        while next != 0 {
            let first = next;
            next = self.tables.next_owned(first);
            visit(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_do_not_overlap() {
        let caches: Vec<_> = Cache::all().collect();
        for class in 1..CLASSES {
            let Cache { start, end, size, .. } = caches[class];
            assert_eq!(((end - start) as usize, size), (capacity(class), SIZES[class]));
            assert!(class == 1 || start == caches[class - 1].end + 1);
            assert!((end as usize) < CACHED);
            let counted = &caches[class + CLASS_SPAN];
            assert_eq!((counted.start, counted.end, counted.size), (start, end - 1, size));
            assert_eq!(counted.top.load(Relaxed), counted.end, "not in use");
        }
        for number in [0, CLASS_SPAN] {
            assert_eq!(caches[number].start, caches[number].end, "no class, no room");
        }
    }

    #[test]
    fn tallies_add_up_across_heaps() {
        let (small, large) = (Tally::of(16), Tally::of(4096));
        let minus = Tally::default().minus(large);
        assert!(!minus.exceeds(0) && !small.plus(minus).exceeds(0));
        let sum = minus.plus(small).plus(large);
        assert_eq!((sum.bytes(), sum.chunks()), (16, 1));
        assert!(sum.exceeds(0) && large.exceeds(sum.0) && !sum.exceeds(sum.0));
    }
}
