//! The process-wide pool: a heap of slabs for each thread, over arenas that all threads share.
//!
//! Depends on the other parts of `pool`, and on `pages`, `fork`, `sync` and `cleanse`. `manager` is its face.
//!
//! # Who may do what
//! Where a thread has many chunks of a size, up to [`slab::MAX_SIZE`] bytes, they are slots of slabs, and a slab
//! belongs to one heap. Heaps 1 and up belong to threads; heap 0 holds the slabs that ended threads have left.
//! All else, arenas and the chunks that are no slots, is in `SHARED`, behind a mutex.
//!
//! # The order of attempts
//! An allocation takes the first of these that has room:
//! 1. the stack of free slots of its size in the thread's heap, without the mutex; the heap's slabs;
//! 2. under the mutex: a slab that an ended thread has left, a new slab, if the heap should have one;
//! 3. an exact chunk from the arenas that are locked;
//! 4. the same, when heaps have given back what they have free, if that is much;
//! 5. a new locked arena, as large as can be had;
//! 6. when that is refused: an exact chunk, when all slabs have been dissolved;
//! 7. memory that is not locked, if the callback agrees.
//!
//! A heap may be used
//! - by its thread once it has entered the heap's gate, without any lock and without atomic
//!   read-modify-write operations, or
//! - heap 0 by whoever holds the mutex, or
//! - any heap by whoever holds the mutex and has paused the others: closed their gates and waited until
//!   their threads had left. See `pause` for how that works without a cost to the threads. While others
//!   are paused the statistics are exact, slabs can change hands, and the process can fork.
//!
//! A chunk that is freed by another thread than its slab's owner is claimed with an atomic operation on
//! its entry in the table of chunks, wiped, and returned to the owner. The first time this happens to a
//! slab, all threads are paused to mark it as shared, so that its owner claims with an atomic operation
//! too from then on.
//!
//! Where the system has no `membarrier`, no thread gets a heap, and all chunks are exact. Where it refuses that call
//! later on (a sandbox that is set up late), all heaps are closed for good: from then on the mutex guards them.
//!
//! The callback that decides about unlocked memory runs while nothing is held: an allocation that needs it fails,
//! leaves a question in `State`, and is tried again when it is answered.
//!
//! When one in N allocations is to be sampled, heaps count theirs, and the samples are made under the mutex.
//!
//! # Parts
//! `heap` is a thread's heap, over `slab`s; `pause` its gate and `returned` the way back of what other
//! threads free, both over `sync`; `thread_slot` finds a thread's heap; `countdown` says which allocations
//! are sampled, and `guarded` has those; `fork` has the handlers for forks.

mod countdown;
mod fork;
mod guarded;
mod heap;
mod pause;
mod returned;
mod slab;
mod stay_loaded;
mod thread_slot;

pub use guarded::AddressReport;

use crate::arena::FreeError;
use crate::arena_set::{
    ARENA_ALIGN, ARENA_SIZE, ArenaSet, ChunkList, KEPT_FREE, LockingFailed, MemoryOptions,
    PoolStats, Source, Tier, ask, map_anywhere, refuse_interrupted, set_callee,
};
use crate::edges;
use crate::fork::{Callee, Interrupted, Mutex, MutexGuard};
use crate::leak::leak;
use crate::pages::{self, AddressRange, LockedPages, MapError, PageOptions};
use crate::sync;
use core::num::NonZeroU32;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32};
use countdown::Countdown;
use guarded::Guarded;
use heap::{Freed, Heap, Tables, Tally};
use slab::{CLASSES, SIZES, UNIT, Unit};

/// Addresses set aside for arenas, in bytes, if the system lets us: more than any process locks. When
/// they are used up, small chunks take whole units, from arenas elsewhere.
const RANGE: usize = if cfg!(target_pointer_width = "64") { 512 << 20 } else { 64 << 20 };
const SMALLEST_RANGE: usize = 4 << 20;
/// So many bytes of the range at a time have the tables for their slabs made ready, which take 9 % of that.
const READY_STEP: usize = 16 << 20;

/// With less to lock than so many bytes, memory is not divided among threads at all.
const COMPACT_BELOW: usize = 1 << 20;

/// Bytes that may be free in slabs, besides a sixteenth of what is used, before more memory is locked.
const SLACK: usize = 64 * 1024;

/// Calls that take the mutex until one of them looks for free memory to give back.
const CALLS_BEFORE_LOOK: usize = 256;

/// Heaps there can be, in blocks of so many.
const BLOCKS: usize = 4096;
const BLOCK: usize = 256;

static SHARED: Mutex<Shared> = Mutex::new(Shared::new());
static LOCKING_FAILED: Callee<Option<LockingFailed>> = Callee::new(None);
/// By number, in blocks. Neither heaps nor blocks are ever freed.
static HEAPS: [AtomicPtr<Block>; BLOCKS] = [const { AtomicPtr::new(ptr::null_mut()) }; BLOCKS];
type Block = [AtomicPtr<Heap>; BLOCK];

fn heap(number: u32) -> Option<&'static Heap> {
    let (block, place) = (number as usize / BLOCK, number as usize % BLOCK);
    // SAFETY: null, or a leaked block.
    let block = unsafe { HEAPS.get(block)?.load(Acquire).as_ref() }?;
    // SAFETY: null, or a leaked heap.
    unsafe { block[place].load(Acquire).as_ref() }
}

/// The first of the heaps that threads have, in a list. Changed under the mutex.
static LIVE: AtomicU32 = AtomicU32::new(0);

/// Heap 0, if there is one, and the heaps that threads have: all that have slabs. For whoever has the mutex.
fn all_heaps() -> impl Iterator<Item = &'static Heap> {
    heap(0).into_iter().chain(live_heaps())
}

/// The heaps that threads have. For whoever has the mutex.
fn live_heaps() -> impl Iterator<Item = &'static Heap> {
    let mut next = LIVE.load(Relaxed);
    core::iter::from_fn(move || {
        let heap = if next == 0 { None } else { heap(next) }?;
        next = heap.next_live.load(Relaxed);
        Some(heap)
    })
}

/// The calling thread's word says that its heap has been given up for good.
const GONE: usize = 1;

/// A thread gets a heap when it has come to the mutex so many times: few secrets are served from there. Until
/// then its word is the number of times, counted from [`GONE`] on.
const CALLS_BEFORE_HEAP: usize = 8;
const LAST_CALL: usize = GONE + CALLS_BEFORE_HEAP;

#[inline(always)]
fn own_heap() -> Option<&'static Heap> {
    let word = thread_slot::get();
    // SAFETY: every other value was put there by `attach` and is the address of a leaked box.
    (word > LAST_CALL).then(|| unsafe { &*ptr::with_exposed_provenance(word) })
}

/// Allocates from the process-wide pool. `alignment` is a power of two.
#[inline(always)]
pub(crate) fn alloc(size: usize, alignment: usize) -> Option<NonNull<u8>> {
    let chunk = alloc_closed(size, alignment);
    if let Some(chunk) = chunk {
        edges::open(chunk.as_ptr(), size);
    }
    chunk
}

/// See [`alloc`].
#[inline(always)]
fn alloc_closed(size: usize, alignment: usize) -> Option<NonNull<u8>> {
    let Some(class) = class_for(size, alignment) else { return alloc_large(size, alignment) };
    if let Some(heap) = own_heap() {
        if heap.gate.enter() {
            let chunk = heap.take(class);
            heap.gate.leave();
            if chunk.is_some() {
                return chunk;
            }
        }
    }
    alloc_uncommon(size, alignment)
}

/// Frees and wipes a chunk of the process-wide pool in the common case: a small one that the calling thread
/// has allocated. Anything else is left as it is, for [`free_uncommon`]: `None`. With `check`, the size and
/// alignment that it was allocated with.
///
/// # Safety
/// If `ptr` is a used chunk, nobody may use it any more.
#[inline(always)]
pub(crate) unsafe fn free_common(ptr: *mut u8, check: Option<(usize, usize)>) -> Option<()> {
    let heap = own_heap()?;
    if !heap.gate.enter() {
        return None;
    }
    // SAFETY: by this function's contract.
    let freed = unsafe { heap.give_back_own(ptr.addr(), check.map(expected_class)) };
    if freed.is_none() {
        heap.gate.leave();
    }
    freed
}

/// The class that a chunk of a size and alignment should have. A size without a class is no small chunk's, nor
/// is anything aligned to what is no power of two; nor is `CLASSES` a class.
#[inline(always)]
fn expected_class((size, alignment): (usize, usize)) -> usize {
    match class_for(size, alignment) {
        Some(class) if alignment.is_power_of_two() => class,
        _ => CLASSES,
    }
}

/// Frees and wipes a chunk of the process-wide pool, whatever it is; `ptr` is not null.
///
/// # Safety
/// As for [`free_common`].
#[inline(never)]
pub(crate) unsafe fn free_uncommon(
    ptr: *mut u8,
    check: Option<(usize, usize)>,
) -> Result<(), FreeError> {
    let expected = check.map(expected_class);
    if let Some(heap) = own_heap() {
        if heap.gate.enter() {
            // SAFETY: by this function's contract.
            let freed = unsafe { heap.give_back(ptr.addr(), expected, owner) };
            heap.gate.leave();
            match freed {
                Freed::Done => return Ok(()),
                Freed::Refused(error) => return Err(error),
                Freed::DoneTrim => {
                    trim(heap);
                    return Ok(());
                }
                Freed::Elsewhere => {}
            }
        }
    }
    // SAFETY: by this function's contract.
    unsafe { free_slow(ptr, expected, check) }
}

/// The size to allocate for a chunk of `size` bytes, so that a closed granule follows it, if there is room.
#[inline(always)]
fn with_edge(size: usize) -> usize {
    match size {
        1.. if edges::are_seen() && size <= ARENA_SIZE - ARENA_ALIGN => size + ARENA_ALIGN,
        _ => size,
    }
}

/// The class that serves a size at an alignment: slots lie at multiples of their size from a multiple
/// of `UNIT`.
#[inline(always)]
fn class_for(size: usize, alignment: usize) -> Option<usize> {
    let size = with_edge(size);
    if alignment > ARENA_ALIGN {
        return class_over_aligned(size, alignment);
    }
    (size.wrapping_sub(1) < slab::MAX_SIZE).then(|| slab::class_of(size))
}

fn class_over_aligned(size: usize, alignment: usize) -> Option<usize> {
    if !alignment.is_power_of_two() || alignment > UNIT {
        return None;
    }
    let size = size.checked_next_multiple_of(alignment)?;
    let class = (size.wrapping_sub(1) < slab::MAX_SIZE).then(|| slab::class_of(size))?;
    (SIZES[class] as usize % alignment == 0).then_some(class)
}

/// What the mutex guards.
struct Shared {
    state: ArenaSet,
    /// Made on first use, if the system lets us.
    tables: Option<Tables>,
    is_set_up: bool,
    /// Units of the range, from the first on, for which the tables are ready.
    ready: usize,
    /// Whether threads may have heaps.
    concurrent: bool,
    /// Slabs, their bytes and their slots.
    slabs: usize,
    slab_bytes: usize,
    slots: usize,
    /// The number of heaps that threads have, that of heaps made so far, and the first heap that no thread has; 0
    /// for none.
    live: usize,
    made: u32,
    vacant: u32,
    /// What ended threads have allocated in slabs, less what they have freed.
    ended: Tally,
    /// Calls since high-water marks were last taken in, and since excess was last looked for.
    unmarked: usize,
    unlooked: usize,
    /// How much memory the process may lock, as far as it was known when an arena was last made.
    lock_limit: usize,
    /// Whether more locked memory was refused when it was last asked for.
    at_limit: bool,
    /// Bytes that were free in slabs when they were last looked through.
    slack: usize,
    /// Which allocations heaps are to sample, see [`sample`].
    one_in: Option<NonZeroU32>,
    seed: u64,
    /// For allocations that no heap counts.
    countdown: Countdown,
    guarded: Guarded,
    /// The number of forks that the rest knows of.
    generation: u32,
}

/// Holds the mutex.
type Locked = MutexGuard<'static, Shared>;

/// The operating system's number of the calling thread; 0 where it has none, or does not tell.
fn thread_number() -> u32 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: takes nothing.
    return u32::try_from(unsafe { libc::gettid() }).unwrap_or(0);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    0
}

/// Takes the mutex, for what cannot be refused otherwise.
#[track_caller]
fn lock() -> Locked {
    try_lock().unwrap_or_else(|Interrupted| refuse_interrupted())
}

/// Takes the mutex. Waits for another thread that has it.
fn try_lock() -> Result<Locked, Interrupted> {
    stay_loaded::named();
    fork::participate();
    let mut shared = SHARED.lock()?;
    fork::catch_up(&mut shared);
    Ok(shared)
}

/// Runs `attempt` under the mutex, and again if it has failed for want of consent to unlocked memory and that
/// is given.
fn alloc_asking(
    mut shared: Locked,
    mut attempt: impl FnMut(&mut Shared) -> Option<NonNull<u8>>,
) -> Option<NonNull<u8>> {
    let chunk = attempt(&mut shared);
    let Some(error) = shared.state.consent.question.take().filter(|_| chunk.is_none()) else {
        return chunk;
    };
    drop(shared);
    if !ask(&LOCKING_FAILED, &error, take_pending) {
        return None;
    }
    let mut shared = try_lock().ok()?;
    shared.state.consent.is_given = true;
    let chunk = attempt(&mut shared);
    shared.state.consent.is_given = false;
    chunk
}

/// The callback that has been set within the one that there is.
fn take_pending() -> Option<Option<LockingFailed>> {
    try_lock().ok()?.state.consent.pending.take()
}

/// Keeps all other threads out of their heaps as long as it lives. Made under the mutex.
struct Pause {
    /// Whether this is what closed the gates.
    closed: bool,
}

/// Whether all heaps are closed for good, because the system refuses the barrier that a pause needs.
static HEAPS_ARE_CLOSED: AtomicBool = AtomicBool::new(false);

fn heaps_are_closed() -> bool {
    HEAPS_ARE_CLOSED.load(Relaxed)
}

impl Pause {
    /// Waits until no other thread works on its heap, and keeps it so.
    fn begin() -> Self {
        let own = own_heap().map_or(0, |heap| heap.number);
        let running = || live_heaps().filter(move |heap| heap.number != own);
        // Closed already: by this thread, which forks, or for good. Or there is nothing.
        if running().all(|heap| heap.gate.is_closed()) {
            return Self::nothing();
        }
        running().for_each(|heap| heap.gate.close());
        if !sync::barrier_everywhere() {
            close_for_good();
            return Self::nothing();
        }
        running().for_each(|heap| heap.gate.wait());
        Self { closed: true }
    }

    /// For whoever knows that no other thread works on its heap.
    fn nothing() -> Self {
        Self { closed: false }
    }

    /// Closes all heaps, the own one too, until [`open_all`](Self::open_all). No other thread has the mutex, or
    /// gets it before that.
    fn close_all() {
        core::mem::forget(Self::begin());
        all_heaps().for_each(|heap| heap.gate.close());
    }

    fn open_all() {
        if !heaps_are_closed() {
            all_heaps().for_each(|heap| heap.gate.open());
        }
    }
}

/// Closes all heaps for good, the own one too. The barrier is not to be had; but this is done once, so that to
/// wait for so long that each thread has seen its gate closed, or been seen in it, is no loss.
#[cold]
fn close_for_good() {
    HEAPS_ARE_CLOSED.store(true, Relaxed);
    all_heaps().for_each(|heap| heap.gate.close());
    sync::wait_for_stores();
    let own = own_heap().map_or(0, |heap| heap.number);
    all_heaps().filter(|heap| heap.number != own).for_each(|heap| heap.gate.wait());
}

impl Drop for Pause {
    fn drop(&mut self) {
        if self.closed {
            live_heaps().for_each(|heap| heap.gate.open());
        }
    }
}

impl Shared {
    const fn new() -> Self {
        Self {
            state: ArenaSet::new(Source::System { huge_page: None }, ARENA_ALIGN),
            tables: None,
            is_set_up: false,
            ready: 0,
            concurrent: false,
            slabs: 0,
            slab_bytes: 0,
            slots: 0,
            live: 0,
            made: 0,
            vacant: 0,
            ended: Tally::NOTHING,
            unmarked: 0,
            unlooked: 0,
            lock_limit: 0,
            at_limit: false,
            slack: 0,
            one_in: None,
            seed: 0,
            countdown: Countdown::new(),
            guarded: Guarded::new(),
            generation: 0,
        }
    }

    /// Sets up the range, its tables and heap 0, on first use.
    fn tables(&mut self) -> Option<Tables> {
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
                range.release();
            }
            len = len / 2 / SMALLEST_RANGE * SMALLEST_RANGE;
        };
        self.lock_limit = pages::effective_lock_limit();
        if self.new_heap(&tables).is_none() {
            return;
        }
        self.tables = Some(tables);
        // The first page stays as it is, in front of the first arena.
        self.state.source = Source::Range { range, next: pages::page_size(), holes: Vec::new() };
        self.concurrent = sync::register_barrier();
    }

    /// Makes the tables ready for slabs in the first `units` units of the range; `false` when it does not have so
    /// many, or there is no memory.
    fn make_ready(&mut self, tables: &Tables, units: usize) -> bool {
        let all = tables.units.len();
        if units <= self.ready || units > all {
            return units <= self.ready;
        }
        let to = units.next_multiple_of(READY_STEP / UNIT).min(all);
        if tables.grow(self.ready, to) {
            self.ready = to;
        }
        units <= self.ready
    }

    /// A heap that no thread has yet; `None` when there is no memory for it.
    fn new_heap(&mut self, tables: &Tables) -> Option<&'static Heap> {
        let number = self.made;
        let block = &HEAPS.get(number as usize / BLOCK)?;
        if block.load(Relaxed).is_null() {
            let new = leak([const { AtomicPtr::new(ptr::null_mut()) }; BLOCK])?;
            block.store(ptr::from_ref::<Block>(new).cast_mut(), Release);
        }
        let heap = Heap::make(number, tables)?;
        // SAFETY: not null, hence a leaked block.
        let block = unsafe { &*block.load(Relaxed) };
        block[number as usize % BLOCK].store(ptr::from_ref(heap).cast_mut(), Release);
        self.made += 1;
        Some(heap)
    }

    /// Puts a heap into the list of those that threads have.
    fn enlist(&mut self, heap: &'static Heap) {
        let first = LIVE.load(Relaxed);
        heap.previous_live.store(0, Relaxed);
        heap.next_live.store(first, Relaxed);
        if let Some(first) = self::heap(first).filter(|first| first.number != 0) {
            first.previous_live.store(heap.number, Relaxed);
        }
        LIVE.store(heap.number, Relaxed);
        self.live += 1;
    }

    /// Takes a heap out of that list, and notes that it is vacant.
    fn delist(&mut self, heap: &'static Heap) {
        let (previous, next) = (heap.previous_live.load(Relaxed), heap.next_live.load(Relaxed));
        if next != 0 {
            owner(next).previous_live.store(previous, Relaxed);
        }
        if previous != 0 {
            owner(previous).next_live.store(next, Relaxed);
        } else {
            LIVE.store(next, Relaxed);
        }
        heap.next_live.store(self.vacant, Relaxed);
        self.vacant = heap.number;
        self.live -= 1;
    }

    /// Bytes and number of the chunks in slabs; while others allocate and free, about so many.
    fn small(&self) -> Tally {
        all_heaps().fold(self.ended, |sum, heap| sum.plus(heap.tally()))
    }

    /// Takes in high-water marks, before and after anything else changes than what the own heap has.
    ///
    /// While one thread has a heap, its mark and what the others left make the figure exact. With several,
    /// marks of different times do not add up, so the figure is what was seen whenever one of them came
    /// here; with many, not every time, as each has to be asked.
    fn note_peak(&mut self) {
        let several = self.live > 1 || self.live == 1 && own_heap().is_none();
        self.unmarked += 1;
        if several && self.unmarked < self.live {
            return;
        }
        self.unmarked = 0;
        let small = if several {
            self.small()
        } else {
            all_heaps().fold(self.ended, |sum, heap| sum.plus(heap.peak()))
        };
        let (state, guarded) = (&self.state.stats, self.guarded.stats());
        let sum = (state.used - self.slab_bytes + guarded.used).wrapping_add(small.bytes());
        // While others change their figures, the sum may be anything for a moment.
        if sum <= state.total + guarded.total {
            self.state.stats.peak_used = self.state.stats.peak_used.max(sum);
        }
        if !several {
            all_heaps().for_each(Heap::forget_peak);
        }
    }

    /// Calls `change`, which allocates or frees in arenas, with the high-water mark kept: `State` counts slabs
    /// as used.
    fn in_arenas<T>(&mut self, change: impl FnOnce(&mut ArenaSet) -> T) -> T {
        self.note_peak();
        let peak = self.state.stats.peak_used;
        let result = change(&mut self.state);
        self.state.stats.peak_used = peak;
        result
    }

    /// Has a heap count and sample its allocations, if that is wanted.
    fn sample(&mut self, heap: &Heap) {
        heap.sample(self.one_in, countdown::random(&mut self.seed));
    }

    /// Allocates in pages of its own, if they can be had.
    fn alloc_guarded(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        self.state.is_in_use = true;
        self.note_peak();
        let chunk = self.guarded.alloc(size, alignment, &mut self.state);
        self.note_peak();
        chunk
    }

    /// Takes a slab over from an ended thread, and allocates from it.
    fn take_left_behind(&self, heap: &Heap, class: usize) -> Option<NonNull<u8>> {
        let left = self::heap(0)?;
        // No slot of a slab may stay cached when it changes hands; and what is returned counts too.
        left.flush(class, 0);
        left.collect();
        let first = left.first_of(class);
        if first == 0 {
            return None;
        }
        left.disown(first);
        heap.adopt(first, true);
        heap.take_or_refill(class)
    }

    /// Whether memory is scarce: then no more of it is divided into slabs, and chunks lie as close as Bitcoin
    /// Core's do.
    fn is_scarce(&self) -> bool {
        let stats = &self.state.stats;
        self.at_limit && stats.free < stats.total / 4
            || self.lock_limit < COMPACT_BELOW
            || stats.locked >= self.lock_limit / 4
    }

    /// Allocates a slot from a new slab of a heap, if it should have one and there is locked memory for it.
    fn take_new(&mut self, heap: &Heap, class: usize) -> Option<NonNull<u8>> {
        if self.is_scarce() {
            return None;
        }
        let slots = heap.next_slab(class, self.lock_limit != usize::MAX)?;
        let bytes = slab::units_for(class, slots) * UNIT;
        let mut chunk = self.in_arenas(|state| state.alloc_aligned(bytes, UNIT));
        if chunk.is_none() && !self.state.has_room(SIZES[class].into()) {
            // (Where there is room for less than a slab, chunks without a slab take it first.)
            self.prepare_growth();
            chunk = self.in_arenas(|state| state.alloc_in_new(bytes, UNIT));
        }
        let chunk = chunk?;
        let first = chunk.addr().get().wrapping_sub(heap.tables.base) / UNIT;
        let end = first.checked_add(bytes / UNIT);
        if !end.is_some_and(|end| self.make_ready(&heap.tables, end)) {
            // It cannot be a slab: it lies outside the range, or there is no memory for what is known of slabs.
            let _ = self.state.release(chunk.as_ptr(), None);
            return None;
        }
        heap.tables.make_slab(first as u32, class, slots);
        heap.adopt(first as u32, heap.frees_by_others(class));
        self.slabs += 1;
        self.slab_bytes += bytes;
        self.slots += slots;
        heap.take_or_refill(class)
    }

    /// Allocates a chunk of its exact size, from no slab: attempts 3 to 7.
    fn alloc_exact(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let chunk = self.try_alloc_exact(size, alignment);
        self.note_peak();
        chunk
    }

    /// See [`alloc_exact`](Self::alloc_exact).
    fn try_alloc_exact(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let existing = |state: &mut ArenaSet| {
            let quick =
                if alignment > state.granule { state.alloc_aligned(size, alignment) } else { None };
            quick.or_else(|| state.alloc_existing(size, alignment, Tier::First))
        };
        if let Some(chunk) = self.in_arenas(existing) {
            return Some(chunk);
        }
        let failures = self.state.stats.failures();
        if !self.state.is_refused(size) {
            if self.prepare_growth() {
                if let Some(chunk) = self.in_arenas(existing) {
                    return Some(chunk);
                }
            }
            if let Some(chunk) = self.in_arenas(|state| state.alloc_locked(size, alignment)) {
                self.at_limit = false;
                return Some(chunk);
            }
            // Whatever the limit is, it is reached: until memory comes back, all is scarce.
            self.at_limit = true;
        }
        // No more memory can be locked: use what is free in slabs.
        if self.slabs > 0 {
            let pause = Pause::begin();
            self.reclaim(&pause);
            self.dissolve_slabs(true, &pause);
            self.slack = 0;
            drop(pause);
            if let Some(chunk) = self.in_arenas(existing) {
                return Some(chunk);
            }
        }
        self.in_arenas(|state| state.alloc_unlocked(size, alignment, failures))
    }

    /// Before more memory is locked: takes back what heaps have free, if that is much. Whether it has.
    fn prepare_growth(&mut self) -> bool {
        if self.lock_limit != usize::MAX {
            self.lock_limit = pages::lock_limit();
        }
        let slack = self.slab_bytes.saturating_sub(self.small().bytes());
        let bearable = if self.is_scarce() { 0 } else { SLACK + self.state.stats.used / 16 };
        if slack <= self.slack + bearable {
            return false;
        }
        let pause = Pause::begin();
        self.reclaim(&pause);
        if self.is_scarce() {
            self.dissolve_slabs(false, &pause);
        }
        self.slack = self.slab_bytes.saturating_sub(self.small().bytes());
        true
    }

    /// Turns slabs into chunks of their exact sizes, with what is free between them: all slabs, or those that
    /// have free slots. Nothing is cached.
    fn dissolve_slabs(&mut self, all: bool, _: &Pause) {
        for heap in all_heaps() {
            heap.for_each_slab(|first| {
                if all || !heap.tables.is_full(first) {
                    self.dissolve(heap, first);
                }
            });
        }
    }

    fn dissolve(&mut self, heap: &Heap, first: u32) {
        let unit = heap.tables.unit(first);
        let (class, slots, bytes) = (unit.class(), unit.slots(), unit.units() * UNIT);
        let mut used = heap.tables.used_slots(first);
        let count = used.count_ones() as usize;
        heap.disown(first);
        heap.tables.dissolve(first);
        heap.forget(Tally::of_many(SIZES[class], count));
        self.slabs -= 1;
        self.slab_bytes -= bytes;
        self.slots -= slots;
        let size = usize::from(SIZES[class]);
        let offsets = core::iter::from_fn(|| {
            let slot = (used != 0).then(|| used.trailing_zeros())?;
            used &= used - 1;
            Some(slot as usize * size)
        });
        let slab = ptr::with_exposed_provenance_mut(heap.tables.base + first as usize * UNIT);
        if self.state.divide(slab, size, offsets).is_err() {
            std::process::abort();
        }
    }

    /// Gives back to the system what is free beyond twice what is used, and a MiB: first what heaps have
    /// free, if it takes that and it is more than was left the last time.
    fn give_back_excess(&mut self, pause: Option<&Pause>) {
        if self.state.stats.total <= KEPT_FREE {
            return;
        }
        let mut excess = self.excess();
        if excess > self.state.empty() {
            let slack = self.slab_bytes.saturating_sub(self.small().bytes());
            if slack > self.slack.saturating_add(SLACK) {
                let own = if pause.is_none() { Some(Pause::begin()) } else { None };
                if let Some(pause) = pause.or(own.as_ref()) {
                    self.reclaim(pause);
                }
                self.slack = self.slab_bytes.saturating_sub(self.small().bytes());
                excess = self.excess();
            }
        }
        if self.state.give_back(excess) {
            self.at_limit = false;
        }
    }

    /// Bytes that are free beyond twice what is used, and a MiB. While other threads change their figures, the sum of
    /// them may be anything for a moment: then 0, as if there were none.
    fn excess(&self) -> usize {
        let stats = &self.state.stats;
        let used = stats.used.wrapping_sub(self.slab_bytes).wrapping_add(self.small().bytes());
        let free = stats.total.saturating_sub(used);
        free.saturating_sub(used.saturating_mul(2).saturating_add(KEPT_FREE))
    }

    /// Looks for excess now and then: each time that as many calls have come to the mutex as there are heaps to
    /// ask.
    fn look_for_excess(&mut self) {
        self.unlooked += 1;
        if self.unlooked > CALLS_BEFORE_LOOK + self.live {
            self.unlooked = 0;
            self.give_back_excess(None);
        }
    }

    /// Gives back to the system all memory in which there is no chunk; whether there was any.
    fn give_back_all(&mut self) -> bool {
        if self.slabs > 0 {
            self.reclaim(&Pause::begin());
        }
        self.state.give_back(usize::MAX)
    }

    /// Gives an empty slab back to its arena. The others are paused: a thread that frees what it does
    /// not own may be looking at this slab otherwise, and take the next one for it.
    fn remove_slab(&mut self, heap: &Heap, first: u32, _: &Pause) {
        heap.disown(first);
        heap.tables.set_owner(first, 0);
        let unit = heap.tables.unit(first);
        self.slabs -= 1;
        self.slab_bytes -= unit.units() * UNIT;
        self.slots -= unit.slots();
        let chunk = heap.tables.base + first as usize * UNIT;
        // Its slots have been wiped one by one.
        if self.state.release(ptr::with_exposed_provenance_mut(chunk), None).is_err() {
            std::process::abort();
        }
    }

    /// Gives the empty slabs of a heap back; with `all`, also those that allocations come from.
    fn remove_empty_slabs(&mut self, heap: &Heap, all: bool, pause: &Pause) {
        heap.remove_empty_slabs(all, |first| self.remove_slab(heap, first, pause));
    }

    /// Gives back every empty slab of every heap, and leaves nothing in caches.
    fn reclaim(&mut self, pause: &Pause) {
        self.note_peak();
        all_heaps().for_each(|heap| heap.return_held(owner));
        for heap in all_heaps() {
            heap.flush_all();
            heap.collect();
            self.remove_empty_slabs(heap, true, pause);
        }
    }

    /// Moves all slabs of a heap to heap 0. Its thread is the caller, or no more.
    fn vacate(&mut self, heap: &'static Heap, pause: &Pause) {
        self.note_peak();
        // Also what others hold of its slabs. They give to the owner that they find, with no pause; heap 0's
        // slabs find another owner with no pause too, and between the two would be on the wrong heap's stack.
        all_heaps().for_each(|heap| heap.return_held(owner));
        self.vacate_one(heap, pause);
        // Should one thread with a heap be left, its mark is of a time when there were others.
        all_heaps().for_each(Heap::forget_peak);
        self.give_back_excess(Some(pause));
    }

    /// The part of [`vacate`](Self::vacate) that is about one heap alone.
    fn vacate_one(&mut self, heap: &'static Heap, pause: &Pause) {
        let Some(shared_heap) = self::heap(0) else { std::process::abort() };
        heap.flush_all();
        heap.collect();
        self.remove_empty_slabs(heap, true, pause);
        heap.for_each_slab(|first| {
            heap.disown(first);
            shared_heap.adopt(first, true);
        });
        self.ended = self.ended.plus(heap.vacate());
        self.delist(heap);
    }

    /// Moves all slabs of the heaps of all other threads, which are no more, to heap 0.
    fn vacate_others(&mut self, pause: &Pause) {
        let own = own_heap().map_or(0, |heap| heap.number);
        self.note_peak();
        all_heaps().for_each(|heap| heap.return_held(owner));
        for heap in live_heaps().filter(|heap| heap.number != own) {
            self.vacate_one(heap, pause);
        }
        all_heaps().for_each(Heap::forget_peak);
    }

    /// See [`walk`]. All other threads are paused.
    fn list_chunks(&self, visit: &mut dyn FnMut(usize, usize, bool)) {
        for heap in all_heaps() {
            let mut first = heap.owned.load(Relaxed);
            while first != 0 {
                let unit = heap.tables.unit(first);
                let size = SIZES[unit.class()].into();
                for slot in 0..unit.slots() as u32 {
                    let (addr, used) = heap.tables.slot(first, slot);
                    visit(addr, size, used);
                }
                first = heap.tables.next_owned(first);
            }
        }
        self.guarded.walk(visit);
        let tables = self.tables;
        self.state.walk(&mut |addr, size, used| {
            if !tables.is_some_and(|tables| used && tables.find(addr).is_some()) {
                visit(addr, size, used);
            }
        });
    }

    fn stats(&mut self, _: &Pause) -> PoolStats {
        self.note_peak();
        let mut stats = self.state.stats;
        let (small, guarded) = (self.small(), self.guarded.stats());
        stats.total += guarded.total;
        stats.locked += guarded.locked;
        stats.secret_memory += guarded.secret_memory;
        stats.arenas += guarded.arenas;
        if guarded.arenas > 0 {
            let missing = &mut stats.missing_protections;
            *missing = missing.plus(&guarded.missing_protections);
        }
        stats.used = stats.used - self.slab_bytes + small.bytes() + guarded.used;
        stats.free = stats.total - stats.used;
        stats.peak_used = stats.peak_used.max(stats.used);
        self.state.stats.peak_used = stats.peak_used;
        stats.chunks_used = stats.chunks_used - self.slabs + small.chunks() + guarded.chunks_used;
        stats.chunks_free += self.slots - small.chunks() + guarded.chunks_free;
        stats
    }
}

/// The heap that owns a slab.
fn owner(number: u32) -> &'static Heap {
    heap(number).unwrap_or_else(|| std::process::abort())
}

/// Allocates a small chunk when the own heap has no free slot in its cache, counts allocations, or is not to
/// be used now.
#[cold]
#[inline(never)]
fn alloc_uncommon(size: usize, alignment: usize) -> Option<NonNull<u8>> {
    let class = class_for(size, alignment)?;
    if let Some(heap) = own_heap() {
        if heap.gate.enter() {
            if heap.countdown.counts_down() {
                heap.gate.leave();
                return alloc_sampled(size, alignment, class);
            }
            let chunk = heap.take_or_refill(class);
            heap.gate.leave();
            if chunk.is_some() {
                return chunk;
            }
            return alloc_asking(try_lock().ok()?, |shared| {
                shared.alloc_slow(size, alignment, class)
            });
        }
    }
    alloc_uncounted(size, alignment, class)
}

/// Allocates a small chunk that is to be sampled.
#[cold]
#[inline(never)]
fn alloc_sampled(size: usize, alignment: usize, class: usize) -> Option<NonNull<u8>> {
    let mut shared = try_lock().ok()?;
    if let Some(chunk) = shared.alloc_guarded(size, alignment) {
        return Some(chunk);
    }
    alloc_asking(shared, |shared| shared.alloc_slow(size, alignment, class))
}

/// Allocates a small chunk that no heap has counted.
#[cold]
#[inline(never)]
fn alloc_uncounted(size: usize, alignment: usize, class: usize) -> Option<NonNull<u8>> {
    let mut shared = try_lock().ok()?;
    if shared.countdown.counts_down() {
        if let Some(chunk) = shared.alloc_guarded(size, alignment) {
            return Some(chunk);
        }
    }
    alloc_asking(shared, |shared| shared.alloc_slow(size, alignment, class))
}

impl Shared {
    /// Allocates a small chunk from wherever there is one: see the order of attempts, from 2 on.
    #[cold]
    #[inline(never)]
    fn alloc_slow(&mut self, size: usize, alignment: usize, class: usize) -> Option<NonNull<u8>> {
        if let Some(tables) = self.tables() {
            self.look_for_excess();
            let own = own_heap().or_else(|| attach(self, &tables));
            let chunk = match own {
                Some(heap) => {
                    self.note_peak();
                    // What was in use when the thread came here, an ended thread's slabs, a new slab.
                    heap.take_or_refill(class)
                        .or_else(|| self.take_left_behind(heap, class))
                        .or_else(|| self.take_new(heap, class))
                }
                // Slots that ended threads have left.
                None => heap(0).and_then(|left| left.take_or_refill(class)),
            };
            if chunk.is_some() {
                return chunk;
            }
        }
        self.alloc_exact(with_edge(size), alignment)
    }
}

/// Allocates a chunk that no slab can hold, if it can be had at all.
#[inline(never)]
fn alloc_large(size: usize, alignment: usize) -> Option<NonNull<u8>> {
    if size == 0 || size > ARENA_SIZE {
        return None;
    }
    let mut shared = try_lock().ok()?;
    shared.tables();
    if shared.countdown.counts_down() {
        if let Some(chunk) = shared.alloc_guarded(size, alignment) {
            return Some(chunk);
        }
    }
    alloc_asking(shared, |shared| shared.alloc_exact(with_edge(size), alignment))
}

/// Frees what the own heap did not.
///
/// # Safety
/// As for [`free_common`].
#[cold]
#[inline(never)]
unsafe fn free_slow(
    ptr: *mut u8,
    expected: Option<usize>,
    check: Option<(usize, usize)>,
) -> Result<(), FreeError> {
    let mut shared = try_lock().map_err(|Interrupted| FreeError::Interrupted)?;
    let place = shared.tables.and_then(|tables| Some((tables, tables.find(ptr.addr())?)));
    let Some((tables, place)) = place else {
        // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is one.
        return unsafe { shared.free_exact(ptr, check) };
    };
    shared.note_peak();
    // A thread that only frees needs a heap too: the next time, it will not have to come here.
    let own = own_heap().or_else(|| attach(&mut shared, &tables));
    let heap = owner(place.owner & Unit::OWNER);
    let is_own = own.is_some_and(|own| own.number == heap.number);
    let mut pause = None;
    // The holder of the mutex uses heap 0, and with it frees what another thread's heap shares.
    let frees_for = if is_own { Some(heap) } else { self::heap(0) };
    let mut freed = match frees_for {
        // SAFETY: by this function's contract, nobody uses the chunk any more.
        Some(heap) => unsafe { heap.give_back(ptr.addr(), expected, owner) },
        None => Freed::Elsewhere,
    };
    if matches!(freed, Freed::Elsewhere) {
        pause = Some(Pause::begin());
        // SAFETY: by this function's contract.
        freed = unsafe { heap.give_back(ptr.addr(), expected, owner) };
        if !matches!(freed, Freed::Refused(_)) {
            // The next one will not need a pause.
            heap.share(place.slab);
        }
    }
    match freed {
        Freed::Done => Ok(()),
        Freed::DoneTrim => {
            let pause = pause.unwrap_or_else(Pause::begin);
            shared.remove_empty_slabs(heap, false, &pause);
            shared.give_back_excess(Some(&pause));
            Ok(())
        }
        Freed::Refused(error) => Err(error),
        Freed::Elsewhere => std::process::abort(),
    }
}

impl Shared {
    /// Frees and wipes a chunk that is no slot of a slab.
    ///
    /// # Safety
    /// If `ptr` is a used chunk, nothing uses that chunk any more.
    unsafe fn free_exact(
        &mut self,
        ptr: *mut u8,
        check: Option<(usize, usize)>,
    ) -> Result<(), FreeError> {
        self.note_peak();
        let before = self.guarded.stats().total;
        if let Some(freed) = self.guarded.free(ptr.addr(), check) {
            // Arenas may lock as much more.
            let unlocked = before - self.guarded.stats().total;
            self.state.refusal.note_unlocked(unlocked);
            return freed;
        }
        if let Some(check) = check {
            self.check_exact(ptr, check)?;
        }
        self.look_for_excess();
        let empty = self.state.empty();
        let freed = self.in_arenas(|state| {
            // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is one.
            unsafe { state.free(ptr, None) }
        });
        if self.state.empty() > empty {
            self.give_back_excess(None);
        }
        freed.map(drop)
    }

    /// Whether a chunk may have been allocated with a size and an alignment. One that was a slot has its
    /// class's size.
    fn check_exact(
        &self,
        ptr: *mut u8,
        (size, alignment): (usize, usize),
    ) -> Result<(), FreeError> {
        let Some(actual) = self.state.chunk_size(ptr) else { return Ok(()) };
        let wanted = with_edge(size).checked_next_multiple_of(ARENA_ALIGN);
        let aligned = alignment.is_power_of_two() && ptr.addr() % alignment == 0;
        let was_slot =
            || class_for(size, alignment).is_some_and(|class| SIZES[class] as usize == actual);
        if aligned && size > 0 && (wanted == Some(actual) || was_slot()) {
            return Ok(());
        }
        Err(FreeError::SizeMismatch)
    }
}

/// Gives back what the own heap has too much of.
#[cold]
#[inline(never)]
fn trim(heap: &Heap) {
    // A signal handler leaves that to another time.
    let Ok(mut shared) = try_lock() else { return };
    let pause = Pause::begin();
    shared.remove_empty_slabs(heap, false, &pause);
    shared.give_back_excess(Some(&pause));
}

std::thread_local! {
    static DETACH: Detach = const { Detach };
}

/// Gives the thread's heap up when the thread ends.
struct Detach;

impl Drop for Detach {
    fn drop(&mut self) {
        let heap = own_heap();
        // Later destructors of this thread do without.
        thread_slot::set(GONE);
        if let Some(heap) = heap {
            // The process exits in a signal handler that has interrupted the pool.
            let Ok(mut shared) = try_lock() else { return };
            let pause = Pause::begin();
            shared.vacate(heap, &pause);
        }
    }
}

/// Gives the calling thread a heap, if it may have one and has come here often enough.
fn attach(shared: &mut Shared, tables: &Tables) -> Option<&'static Heap> {
    let word = thread_slot::get();
    if !shared.concurrent || heaps_are_closed() || word == GONE || shared.lock_limit < COMPACT_BELOW
    {
        return None;
    }
    if word < LAST_CALL {
        thread_slot::set(word.max(GONE) + 1);
        return None;
    }
    shared.note_peak();
    if DETACH.try_with(|_| ()).is_err() {
        thread_slot::set(GONE);
        return None;
    }
    let heap = match heap(shared.vacant).filter(|heap| heap.number != 0) {
        Some(heap) => {
            shared.vacant = heap.next_live.load(Relaxed);
            heap
        }
        None => shared.new_heap(tables)?,
    };
    shared.sample(heap);
    if crate::fork::is_under_way() {
        // Until that is over, see `fork::prepare`.
        heap.gate.close();
    }
    heap.taken.store(true, Relaxed);
    shared.enlist(heap);
    thread_slot::set(ptr::from_ref(heap).expose_provenance());
    Some(heap)
}

/// What the pool holds now: all threads are paused for it.
pub(crate) fn stats() -> PoolStats {
    let mut shared = lock();
    let pause = Pause::begin();
    shared.stats(&pause)
}

/// Visits every chunk that there is at one moment: small ones slab by slab, then large ones. A slab's free slots
/// are chunks.
pub(crate) fn walk(visit: &mut dyn FnMut(usize, usize, bool)) {
    let mut shared = lock();
    let pause = Pause::begin();
    let mut chunks = ChunkList::with_room_for(&shared.stats(&pause));
    shared.list_chunks(&mut |addr, size, used| chunks.push(addr, size, used));
    drop(pause);
    drop(shared);
    chunks.visit(visit);
}

/// Samples one in `one_in` allocations from now on, as far as `max_locked` bytes go.
pub(crate) fn sample(one_in: Option<NonZeroU32>, max_locked: usize) -> Result<(), MapError> {
    // Chance is wanted here, and no secret.
    let seed = getrandom::u64().unwrap_or(0);
    let mut shared = lock();
    if one_in.is_some() {
        shared.guarded.prepare()?;
    }
    shared.guarded.max_locked = max_locked;
    shared.guarded.state = seed;
    shared.one_in = one_in;
    shared.seed = !seed;
    shared.countdown.set(one_in, seed.rotate_left(32));
    let _pause = Pause::begin();
    live_heaps().for_each(|heap| shared.sample(heap));
    Ok(())
}

/// See `LockedPoolManager::describe_address`.
pub(crate) fn describe_address(addr: usize) -> Option<AddressReport> {
    guarded::describe(addr)
}

/// Whether anything has been allocated.
pub(crate) fn is_in_use() -> bool {
    let shared = lock();
    shared.is_set_up || shared.state.is_in_use
}

/// Sets options before anything has been allocated; `false` afterwards.
pub(crate) fn configure(memory: MemoryOptions) -> bool {
    let mut shared = lock();
    if shared.is_set_up || shared.state.is_in_use {
        return false;
    }
    shared.state.memory = memory;
    true
}

/// Locked pages of their own, as the pool's are, for a secret that no arena can hold.
pub(crate) fn own_pages(len: usize) -> Option<LockedPages> {
    let mut shared = try_lock().ok()?;
    let state = &mut shared.state;
    state.is_in_use = true;
    let options = PageOptions { fork: state.memory.fork, ..PageOptions::default() };
    let secret_memory = state.memory.secret_memory;
    let map = |shared: &mut Shared| {
        // No fork comes between here: its child would have the file that secret memory is made of.
        let errno = &mut shared.state.stats.secret_memory_error;
        map_anywhere(len, options, secret_memory, true, errno)?.ok()
    };
    let mut pages = map(&mut shared);
    if pages.is_none() && shared.give_back_all() {
        pages = map(&mut shared);
    }
    let pages = pages?;
    if pages.refusals().first().is_none() {
        return Some(pages);
    }
    shared.state.stats.missing_protections.note(pages.refusals());
    shared.state.accept(pages)
}

/// Gives back all memory in which there is no chunk, for another pool that can lock no more; whether there was
/// any.
pub(crate) fn give_back() -> bool {
    try_lock().is_ok_and(|mut shared| shared.give_back_all())
}

/// Sets the callback; the old one is dropped while nothing is held.
pub(crate) fn set_locking_failed(callback: Option<LockingFailed>) {
    let mut shared = lock();
    shared.state.consent.asks = callback.is_some();
    drop(shared);
    if let Some(callback) = set_callee(&LOCKING_FAILED, callback) {
        let old = lock().state.consent.pending.replace(callback);
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn free(chunk: usize) {
        // SAFETY: nobody uses the test's chunks.
        unsafe { free_uncommon(ptr::with_exposed_provenance_mut(chunk), None) }.unwrap();
    }

    #[test]
    fn no_thread_holds_slots_of_an_ended_threads_slabs() {
        let allocate = || alloc(48, 16).unwrap().as_ptr().expose_provenance();
        let mine = allocate();
        let Some(own) = own_heap() else {
            println!("skipped: threads have no heaps here");
            return free(mine);
        };
        let ((send, chunks), (end, wait)) = (channel(), channel::<()>());
        let other = std::thread::spawn(move || {
            send.send([(); 4].map(|()| allocate())).unwrap();
            let _ = wait.recv();
        });
        let [first, second, rest @ ..] = chunks.recv().unwrap();
        // With a pause, and from then on without one.
        free(first);
        free(second);
        assert!(own.holds_slots());
        drop(end);
        other.join().unwrap();
        assert!(!own.holds_slots());
        rest.into_iter().chain([mine]).for_each(free);
    }
}
