//! The process-wide pool: a heap of slabs for each thread, over arenas that all threads share.
//!
//! Depends on the other parts of `pool`, and on `pages`, `fork`, `sync` and `cleanse`. `manager` is its face.
//!
//! # Who may do what
//! Chunks of up to [`slab::MAX_SIZE`] bytes come from slabs, and a slab belongs to one heap. Heaps 1
//! and up belong to threads; heap 0 holds what exited threads left and serves those that have no heap.
//! All else, arenas and large chunks, is in `SHARED`, behind a mutex.
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
//! Where the system has no `membarrier`, no thread gets a heap, and heap 0 serves all. Where it refuses that call
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
pub(super) mod fork;
mod guarded;
mod heap;
mod pause;
mod returned;
mod slab;
mod stay_loaded;
mod thread_slot;

pub use guarded::AddressReport;

use super::{
    Class, LockedPool, LockingFailed, PoolOptions, PoolStats, Source, State, ask, set_callee,
    with_edge,
};
use crate::arena::FreeError;
use crate::edges;
use crate::fork::{Callee, Interrupted, Mutex, MutexGuard};
use crate::pages::{self, AddressRange, LockedPages, MapError, PageOptions, SecretMemory};
use crate::sync;
use core::num::NonZeroU32;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU16};
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

/// Threads that can have a heap at once; the others share heap 0.
const MAX_HEAPS: usize = 4096;

static SHARED: Mutex<Shared> = Mutex::new(Shared::new());
static LOCKING_FAILED: Callee<Option<LockingFailed>> = Callee::new(None);
/// By number. Heaps are never freed.
static HEAPS: [AtomicPtr<Heap>; MAX_HEAPS] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_HEAPS];
/// Heaps made so far, heap 0 included. Changed under the mutex.
static HEAPS_MADE: AtomicU16 = AtomicU16::new(0);

fn heap(number: u16) -> Option<&'static Heap> {
    // SAFETY: the pointers are null or come from leaked boxes.
    unsafe { HEAPS[number as usize].load(Acquire).as_ref() }
}

/// The heaps of some numbers.
#[derive(Clone)]
struct AllHeaps(core::ops::Range<u16>);

impl Iterator for AllHeaps {
    type Item = &'static Heap;

    fn next(&mut self) -> Option<&'static Heap> {
        self.0.find_map(heap)
    }
}

/// Every heap there is, heap 0 first.
fn all_heaps() -> AllHeaps {
    AllHeaps(0..HEAPS_MADE.load(Relaxed))
}

/// The calling thread's word says that its heap has been given up for good.
const GONE: usize = 1;

#[inline(always)]
fn own_heap() -> Option<&'static Heap> {
    let word = thread_slot::get();
    // SAFETY: every other value was put there by `attach` and is the address of a leaked box.
    (word > GONE).then(|| unsafe { &*ptr::with_exposed_provenance(word) })
}

/// Allocates from the process-wide pool. `alignment` is a power of two.
#[inline(always)]
pub(super) fn alloc(size: usize, alignment: usize) -> Option<NonNull<u8>> {
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
pub(super) unsafe fn free_common(ptr: *mut u8, check: Option<(usize, usize)>) -> Option<()> {
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
pub(super) unsafe fn free_uncommon(
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

/// The class that serves a size at an alignment: slots lie at multiples of their size from a multiple
/// of `UNIT`.
#[inline(always)]
fn class_for(size: usize, alignment: usize) -> Option<usize> {
    let size = with_edge(size);
    if alignment > LockedPool::ARENA_ALIGN {
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
    state: State,
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
    /// Which allocations heaps are to sample, see [`sample`].
    one_in: Option<NonZeroU32>,
    seed: u64,
    /// For allocations that no heap counts.
    countdown: Countdown,
    guarded: Guarded,
    /// How often memory has come back to the arenas; and what that was when locked memory was last looked
    /// for in vain, everywhere.
    returns: u64,
    searched: u64,
    /// Bytes in small chunks then.
    searched_at: usize,
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
    try_lock().unwrap_or_else(|Interrupted| super::refuse_interrupted())
}

/// Takes the mutex. Waits for another thread that has it.
fn try_lock() -> Result<Locked, Interrupted> {
    stay_loaded::named();
    super::fork::participate();
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
    let Some(error) = shared.state.question.take().filter(|_| chunk.is_none()) else {
        return chunk;
    };
    drop(shared);
    if !ask(&LOCKING_FAILED, &error, take_pending) {
        return None;
    }
    let mut shared = try_lock().ok()?;
    shared.state.has_consent = true;
    let chunk = attempt(&mut shared);
    shared.state.has_consent = false;
    chunk
}

/// The callback that has been set within the one that there is.
fn take_pending() -> Option<Option<LockingFailed>> {
    try_lock().ok()?.state.pending.take()
}

/// From which memory to allocate.
#[derive(Clone, Copy)]
enum From {
    Locked,
    /// When there is no more locked memory; with the number of lock failures before that was tried.
    Unlocked {
        failures: usize,
    },
    /// From what there is of that, without asking for more.
    UnlockedAtHand,
}

/// Keeps all other threads out of their heaps as long as it lives. Made under the mutex.
struct Pause {
    heaps: AllHeaps,
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
        let running =
            || all_heaps().filter(move |heap| heap.number != own && heap.taken.load(Relaxed));
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
        Self { heaps: all_heaps() }
    }

    /// For whoever knows that no other thread works on its heap.
    fn nothing() -> Self {
        Self { heaps: AllHeaps(0..0) }
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
        self.heaps.clone().for_each(|heap| heap.gate.open());
    }
}

impl Shared {
    const fn new() -> Self {
        Self {
            state: State::new(Source::System { huge_page: None }, UNIT),
            tables: None,
            is_set_up: false,
            ready: 0,
            concurrent: false,
            slabs: 0,
            slab_bytes: 0,
            slots: 0,
            one_in: None,
            seed: 0,
            countdown: Countdown::new(),
            guarded: Guarded::new(),
            returns: 1,
            searched: 0,
            searched_at: 0,
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
                let tables = Tables::new(&range);
                if let Some(tables) = tables.filter(|tables| self.make_ready(tables, 1)) {
                    break (range, tables);
                }
                range.release();
            }
            len = len / 2 / SMALLEST_RANGE * SMALLEST_RANGE;
        };
        let Some(shared_heap) = Heap::make(0, &tables) else { return };
        HEAPS[0].store(ptr::from_ref(shared_heap).cast_mut(), Release);
        HEAPS_MADE.store(1, Relaxed);
        self.tables = Some(tables);
        // The first page stays as it is, in front of the first arena.
        self.state.source = Source::Range { range, next: pages::page_size() };
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

    /// Takes in high-water marks, before and after anything else changes than what the own heap has.
    ///
    /// While one thread has a heap, its mark and what the others left make the figure exact. With several,
    /// marks of different times do not add up, so the figure is what was seen whenever one of them came
    /// here.
    fn note_peak(&mut self) {
        let several = all_heaps().filter(|heap| heap.taken.load(Relaxed)).count() > 1;
        let small = all_heaps().fold(Tally::default(), |sum, heap| {
            sum.plus(if several { heap.tally() } else { heap.peak() })
        });
        let (state, guarded) = (&self.state.stats, self.guarded.stats());
        let sum = (state.used - self.slab_bytes + guarded.used).wrapping_add(small.bytes());
        // While others change their figures, the sum may be anything for a moment.
        if sum <= state.total + guarded.total {
            self.state.stats.peak_used = self.state.stats.peak_used.max(sum);
        }
        let own = own_heap().map_or(0, |heap| heap.number);
        for heap in all_heaps() {
            if heap.number == own || !heap.taken.load(Relaxed) {
                heap.forget_peak();
            }
        }
    }

    /// Allocates a large chunk, or what becomes a slab.
    fn alloc_chunk(&mut self, size: usize, alignment: usize, from: From) -> Option<NonNull<u8>> {
        self.note_peak();
        let peak = self.state.stats.peak_used;
        let chunk = match from {
            From::Locked => self.state.alloc_preferred(size, alignment),
            From::Unlocked { failures } => self.state.alloc_unlocked(size, alignment, failures),
            From::UnlockedAtHand => self.state.alloc_existing(size, alignment, Class::Unlocked),
        };
        // `State` has counted slabs as used.
        self.state.stats.peak_used = peak;
        chunk
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

    /// Takes a slab of a list over from the heap that all threads share, and allocates from it.
    fn take_left_behind(&self, heap: &Heap, list: usize) -> Option<NonNull<u8>> {
        let left = self::heap(0).filter(|left| left.number != heap.number)?;
        // What is cached there counts too.
        left.flush_all();
        left.collect();
        let first = left.first_of(list);
        if first == 0 {
            return None;
        }
        left.disown(first);
        heap.adopt(first, list < CLASSES, heap.frees_by_others(list % CLASSES));
        if list < CLASSES { heap.take_or_refill(list) } else { heap.take_from(list) }
    }

    /// Allocates a slot of any heap that is at least of a class, among the lists from `first_list` on. The
    /// other threads are paused. A larger slot is aligned as its own size is.
    fn take_larger(
        &self,
        first_list: usize,
        class: usize,
        alignment: usize,
    ) -> Option<NonNull<u8>> {
        let mut classes =
            (class..CLASSES).filter(|&larger| SIZES[larger] as usize % alignment == 0);
        classes.find_map(|larger| {
            all_heaps().find_map(|other| {
                let chunk = other.take_from(first_list + larger)?;
                if larger != class {
                    other.lend(chunk, class);
                }
                Some(chunk)
            })
        })
    }

    /// Allocates a slot from a new slab of a heap.
    fn take_new(&mut self, heap: &Heap, class: usize, from: From) -> Option<NonNull<u8>> {
        match self.add_slab(heap, class, from)? {
            Ok(true) => heap.take_or_refill(class),
            Ok(false) => heap.take_from(CLASSES + class),
            Err(chunk) => Some(chunk),
        }
    }

    /// A new slab for a heap, and whether it is locked; `Err` has a chunk that cannot be a slab, as it lies
    /// outside the range, or there is no memory for what has to be known of a slab.
    fn add_slab(
        &mut self,
        heap: &Heap,
        class: usize,
        from: From,
    ) -> Option<Result<bool, NonNull<u8>>> {
        let wanted = slab::slots_for(class, heap.slabs_of(class));
        let at_hand = From::UnlockedAtHand;
        let tries: &[(usize, From)] = match from {
            From::Locked => &[(wanted, from), (1, from)],
            // The callback is asked once. What comes of that may lie outside the range; then for one slot.
            _ => {
                &[(wanted, at_hand), (1, at_hand), (wanted, from), (1, From::Locked), (1, at_hand)]
            }
        };
        let (slots, chunk, can_be) = tries.iter().find_map(|&(slots, from)| {
            let units = slab::units_for(class, slots);
            let chunk = self.alloc_chunk(units * UNIT, UNIT, from)?;
            let unit = chunk.addr().get().wrapping_sub(heap.tables.base) / UNIT;
            let can_be =
                unit.checked_add(units).is_some_and(|end| self.make_ready(&heap.tables, end));
            if slots > 1 && !can_be {
                // It cannot be a slab: as few units as the one slot needs.
                let _ = self.state.release(chunk.as_ptr(), None);
                return None;
            }
            Some((slab::slots_in(class, units), chunk, can_be))
        })?;
        let base = chunk.addr().get();
        let first = base.wrapping_sub(heap.tables.base) / UNIT;
        if !can_be {
            return Some(Err(chunk));
        }
        heap.tables.make_slab(first as u32, class, slots);
        let locked = self.state.is_locked(base);
        heap.adopt(first as u32, locked, heap.frees_by_others(class));
        self.slabs += 1;
        self.slab_bytes += slab::units_for(class, slots) * UNIT;
        self.slots += slots;
        Some(Ok(locked))
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
        self.returns += 1;
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
        all_heaps().for_each(|heap| heap.return_held(owner));
        for heap in all_heaps() {
            heap.flush_all();
            heap.collect();
            self.remove_empty_slabs(heap, true, pause);
        }
    }

    /// Moves all slabs of a heap to heap 0. Its thread is the caller, or no more.
    fn vacate(&mut self, heap: &Heap, pause: &Pause) {
        self.note_peak();
        let Some(shared_heap) = self::heap(0) else { std::process::abort() };
        // Also what others hold of its slabs. They give to the owner that they find, with no pause; heap 0's
        // slabs find another owner with no pause too, and between the two would be on the wrong heap's stack.
        all_heaps().for_each(|heap| heap.return_held(owner));
        heap.flush_all();
        heap.collect();
        self.remove_empty_slabs(heap, true, pause);
        loop {
            let first = heap.owned.load(Relaxed);
            if first == 0 {
                break;
            }
            let locked = heap.tables.is_locked(first);
            heap.disown(first);
            shared_heap.adopt(first, locked, true);
        }
        heap.vacate();
        // Should one thread with a heap be left, its mark is of a time when there were others.
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
        let small = all_heaps().fold(Tally::default(), |sum, heap| sum.plus(heap.tally()));
        let guarded = self.guarded.stats();
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

/// Bytes in small chunks; while others allocate and free, about so many.
fn small_bytes() -> usize {
    all_heaps().fold(Tally::default(), |sum, heap| sum.plus(heap.tally())).bytes()
}

/// The heap that owns a slab.
fn owner(number: u16) -> &'static Heap {
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
            return alloc_asking(try_lock().ok()?, |shared| alloc_slow(shared, class, alignment));
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
    alloc_asking(shared, |shared| alloc_slow(shared, class, alignment))
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
    alloc_asking(shared, |shared| alloc_slow(shared, class, alignment))
}

/// Allocates a small chunk from wherever there is one.
#[cold]
#[inline(never)]
fn alloc_slow(shared: &mut Shared, class: usize, alignment: usize) -> Option<NonNull<u8>> {
    let Some(tables) = shared.tables() else {
        // No range: arenas of whole units, for small chunks too.
        return shared.state.alloc(SIZES[class] as usize, UNIT);
    };
    let heap = own_heap().or_else(|| attach(shared, &tables)).or_else(|| heap(0))?;
    shared.note_peak();
    if let Some(chunk) = heap.take_or_refill(class) {
        return Some(chunk);
    }
    // What an exited thread left behind.
    if let Some(chunk) = shared.take_left_behind(heap, class) {
        return Some(chunk);
    }
    let failures = shared.state.stats.lock_failures;
    let unlocked = CLASSES + class;
    if shared.searched == shared.returns && small_bytes() >= shared.searched_at {
        // There was no locked memory a moment ago, and as much is in use now.
        if let Some(chunk) = heap.take_from(unlocked) {
            return Some(chunk);
        }
    }
    if let Some(chunk) = shared.take_new(heap, class, From::Locked) {
        return Some(chunk);
    }
    // No more locked memory is to be had: look for room in what the heaps keep.
    let pause = Pause::begin();
    shared.reclaim(&pause);
    if let Some(chunk) = shared.take_new(heap, class, From::Locked) {
        return Some(chunk);
    }
    if let Some(chunk) = shared.take_larger(0, class, alignment) {
        return Some(chunk);
    }
    shared.searched = shared.returns;
    shared.searched_at = small_bytes();
    drop(pause);
    if let Some(chunk) =
        heap.take_from(unlocked).or_else(|| shared.take_left_behind(heap, unlocked))
    {
        return Some(chunk);
    }
    if let Some(chunk) = shared.take_new(heap, class, From::Unlocked { failures }) {
        return Some(chunk);
    }
    let _pause = Pause::begin();
    shared.take_larger(CLASSES, class, alignment)
}

/// Allocates a chunk that no slab can hold, if it can be had at all.
#[inline(never)]
fn alloc_large(size: usize, alignment: usize) -> Option<NonNull<u8>> {
    if size == 0 || size > LockedPool::ARENA_SIZE {
        return None;
    }
    let mut shared = try_lock().ok()?;
    shared.tables();
    if shared.countdown.counts_down() {
        if let Some(chunk) = shared.alloc_guarded(size, alignment) {
            return Some(chunk);
        }
    }
    let size = with_edge(size);
    alloc_asking(shared, |shared| {
        let failures = shared.state.stats.lock_failures;
        let mut chunk = shared.alloc_chunk(size, alignment, From::Locked);
        if chunk.is_none() {
            let pause = Pause::begin();
            shared.reclaim(&pause);
            chunk = shared.alloc_chunk(size, alignment, From::Locked);
            drop(pause);
        }
        let unlocked = From::Unlocked { failures };
        let chunk = chunk.or_else(|| shared.alloc_chunk(size, alignment, unlocked));
        shared.note_peak();
        chunk
    })
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
        shared.note_peak();
        let before = shared.guarded.stats().total;
        if let Some(freed) = shared.guarded.free(ptr.addr(), check) {
            // Arenas may lock as much more.
            let unlocked = before - shared.guarded.stats().total;
            shared.returns += u64::from(unlocked > 0);
            shared.state.refused = shared.state.refused.saturating_add(unlocked);
            return freed;
        }
        let peak = shared.state.stats.peak_used;
        let check = check.map(|(size, alignment)| (with_edge(size), alignment));
        let freed = shared.state.free(ptr, check);
        shared.returns += u64::from(freed.is_ok());
        shared.state.stats.peak_used = peak;
        return freed.map(drop);
    };
    // A thread that only frees needs a heap too: the next time, it will not have to come here.
    if own_heap().is_none() {
        attach(&mut shared, &tables);
    }
    // By way of the own heap, or without one of heap 0, to an owner whom others return slots to.
    if let Some(heap) = own_heap().or_else(|| heap(0)) {
        // SAFETY: by this function's contract.
        match unsafe { heap.give_back(ptr.addr(), expected, owner) } {
            Freed::Done => return Ok(()),
            Freed::DoneTrim => {
                let pause = Pause::begin();
                shared.remove_empty_slabs(heap, false, &pause);
                return Ok(());
            }
            Freed::Refused(error) => return Err(error),
            Freed::Elsewhere => {}
        }
    }
    let heap = owner(place.owner & Unit::OWNER);
    // Nobody but the holder of the mutex uses heap 0.
    let pause = (heap.number != 0).then(Pause::begin);
    // SAFETY: by this function's contract.
    let freed = unsafe { heap.give_back(ptr.addr(), expected, owner) };
    if pause.is_some() && !matches!(freed, Freed::Refused(_)) {
        // The next one will not need a pause.
        heap.share(place.slab);
    }
    match freed {
        Freed::Done => Ok(()),
        Freed::DoneTrim => {
            let pause = pause.unwrap_or_else(Pause::begin);
            shared.remove_empty_slabs(heap, false, &pause);
            Ok(())
        }
        Freed::Refused(error) => Err(error),
        Freed::Elsewhere => std::process::abort(),
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

/// Gives the calling thread a heap, if it may have one.
fn attach(shared: &mut Shared, tables: &Tables) -> Option<&'static Heap> {
    if !shared.concurrent || heaps_are_closed() || thread_slot::get() == GONE {
        return None;
    }
    shared.note_peak();
    if DETACH.try_with(|_| ()).is_err() {
        thread_slot::set(GONE);
        return None;
    }
    let vacant = all_heaps().skip(1).find(|heap| !heap.taken.load(Relaxed));
    let heap = match vacant {
        Some(heap) => heap,
        None => {
            let number = HEAPS_MADE.load(Relaxed);
            if number as usize == MAX_HEAPS {
                return None;
            }
            let heap = Heap::make(number, tables)?;
            HEAPS[number as usize].store(ptr::from_ref(heap).cast_mut(), Release);
            HEAPS_MADE.store(number + 1, Relaxed);
            heap
        }
    };
    shared.sample(heap);
    if crate::fork::is_under_way() {
        // Until that is over, see `fork::prepare`.
        heap.gate.close();
    }
    heap.taken.store(true, Relaxed);
    thread_slot::set(ptr::from_ref(heap).expose_provenance());
    Some(heap)
}

/// What the pool holds now: all threads are paused for it.
pub(super) fn stats() -> PoolStats {
    let mut shared = lock();
    let pause = Pause::begin();
    shared.stats(&pause)
}

/// Visits every chunk that there is at one moment: small ones slab by slab, then large ones. A slab's free slots
/// are chunks.
pub(super) fn walk(visit: &mut dyn FnMut(usize, usize, bool)) {
    let mut shared = lock();
    let pause = Pause::begin();
    let mut chunks = super::ChunkList::with_room_for(&shared.stats(&pause));
    shared.list_chunks(&mut |addr, size, used| chunks.push(addr, size, used));
    drop(pause);
    drop(shared);
    chunks.visit(visit);
}

/// Samples one in `one_in` allocations from now on, as far as `max_locked` bytes go.
pub(super) fn sample(one_in: Option<NonZeroU32>, max_locked: usize) -> Result<(), MapError> {
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
    all_heaps().filter(|heap| heap.taken.load(Relaxed)).for_each(|heap| shared.sample(heap));
    Ok(())
}

/// See `LockedPoolManager::describe_address`.
pub(super) fn describe_address(addr: usize) -> Option<AddressReport> {
    guarded::describe(addr)
}

/// Whether anything has been allocated.
pub(super) fn is_in_use() -> bool {
    let shared = lock();
    shared.is_set_up || shared.state.is_in_use
}

/// Sets options before anything has been allocated; `false` afterwards.
pub(super) fn configure(options: &PoolOptions) -> bool {
    let mut shared = lock();
    if shared.is_set_up || shared.state.is_in_use {
        return false;
    }
    shared.state.apply(options);
    true
}

/// Locked pages of their own, as the pool's are, for a secret that no arena can hold.
pub(super) fn own_pages(len: usize) -> Option<LockedPages> {
    let mut shared = try_lock().ok()?;
    let state = &mut shared.state;
    state.is_in_use = true;
    let options = PageOptions { fork: state.fork, ..PageOptions::default() };
    let pages = if state.secret_memory == SecretMemory::Off {
        drop(shared);
        LockedPages::locked_with(len, options).ok()?.ok()?
    } else {
        // No fork comes between here: its child would have the file that secret memory is made of.
        let errno = &mut state.stats.secret_memory_error;
        let pages = super::map_anywhere(len, options, state.secret_memory, true, errno)?.ok()?;
        drop(shared);
        pages
    };
    if pages.refusals().first().is_none() {
        return Some(pages);
    }
    let mut shared = lock();
    shared.state.stats.missing_protections.note(pages.refusals());
    shared.state.accept(pages)
}

/// Sets the callback; the old one is dropped while nothing is held.
pub(super) fn set_locking_failed(callback: Option<LockingFailed>) {
    let mut shared = lock();
    shared.state.asks = callback.is_some();
    drop(shared);
    if let Some(callback) = set_callee(&LOCKING_FAILED, callback) {
        let old = lock().state.pending.replace(callback);
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
