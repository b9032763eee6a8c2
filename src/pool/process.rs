//! The process-wide pool: a heap of slabs for each thread, over arenas that all threads share.
//!
//! Depends on the other parts of `pool`, and on `pages` and `cleanse`. `manager` is its face.
//!
//! # Who may do what
//! Chunks of up to [`slab::MAX_SIZE`] bytes come from slabs, and a slab belongs to one heap. Heaps 1
//! and up belong to threads; heap 0 holds what exited threads left and serves those that have no heap.
//! All else, arenas and large chunks, is in `SHARED`, behind a mutex.
//!
//! A heap may be used
//! - by its thread while its `busy` mark is set and nobody has called for a pause, without any lock
//!   and without atomic read-modify-write operations, or
//! - heap 0 by whoever holds the mutex, or
//! - any heap by whoever holds the mutex and has paused the others.
//!
//! To *pause* is to mark all heaps `paused`, to make every other thread's processor pass a memory
//! barrier (`membarrier`), and to wait until no heap is `busy`. A thread marks its heap busy, then looks
//! at `paused`: without the barrier its processor might do it in the other order. So the common path
//! pays two plain stores and a load, and the rare path pays the system call. (It is the asymmetric Dekker
//! protocol of biased locks; Dice, Huang and Yang, "Asymmetric Dekker Synchronization", 2001.) While
//! others are paused the statistics are exact, slabs can change hands, and the process can fork.
//!
//! A chunk that is freed by another thread than its slab's owner is claimed with an atomic operation on
//! the slab's `live` word, wiped, and handed to the owner through the slab's `returned` word. The first
//! time this happens to a slab, all threads are paused to mark it as shared, so that its owner uses
//! atomic operations on `live` too from then on.
//!
//! Where the system has no `membarrier`, no thread gets a heap, and heap 0 serves all.

pub(super) mod fork;

pub(super) use fork::keep_contents_at_exit;

use super::slab::{self, CLASSES, Links, SIZES, Slab, UNIT};
use super::{LockedPool, LockingFailed, PoolStats, Source, State, thread_slot};
use crate::arena::FreeError;
use crate::cleanse::memory_cleanse;
use crate::pages::{self, AddressRange, ForkPolicy, LockedPages, PageOptions, SecretMemory};
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, compiler_fence,
};
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// Addresses set aside for arenas, in bytes, if the system lets us: more than any process locks. When
/// they are used up, small chunks take whole units, from arenas elsewhere.
const RANGE: usize = if cfg!(target_pointer_width = "64") { 512 << 20 } else { 64 << 20 };
const SMALLEST_RANGE: usize = 4 << 20;

/// Threads that can have a heap at once; the others share heap 0.
const MAX_HEAPS: usize = 4096;

/// Bytes of slabs that may become empty in a heap before it looks which it can give back, unless an
/// eighth of what it has is more.
const TRIM_AFTER: usize = 64 * 1024;

static SHARED: Mutex<Shared> = Mutex::new(Shared::new());
/// By number. Heaps are never freed.
static HEAPS: [AtomicPtr<Heap>; MAX_HEAPS] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_HEAPS];
/// Heaps made so far, heap 0 included. Changed under the mutex.
static HEAPS_MADE: AtomicU16 = AtomicU16::new(0);

/// What is known of the range, by unit. A unit is found from an address by a shift.
#[derive(Clone, Copy)]
struct Tables {
    base: usize,
    /// The slab that a unit belongs to, by its first unit; 0 for none.
    units: &'static [AtomicU32],
    /// By a slab's first unit.
    slabs: &'static [Slab],
    links: &'static [Links],
}

/// A thread's slabs.
#[repr(C, align(128))]
struct Heap {
    tables: Tables,
    /// Bytes and number of the chunks that the owner has allocated, less those that it has freed. They may
    /// be another heap's, so that only the sum over all heaps means something. Modulo 2^64.
    used: AtomicUsize,
    chunks: AtomicUsize,
    /// The most that `used` has been since it was last looked at.
    peak: AtomicUsize,
    number: u16,
    /// Set while the owner works on its heap.
    busy: AtomicBool,
    /// Set while the owner must not.
    paused: AtomicBool,
    /// Whether a thread has it.
    taken: AtomicBool,
    /// The first slab that has a free slot: by class, and behind those, for slabs in memory that is not
    /// locked, by class again.
    lists: [AtomicPtr<Slab>; 2 * CLASSES],
    /// By class, the number of slabs.
    slabs: [AtomicU32; CLASSES],
    /// The first of all slabs.
    owned: AtomicU32,
    /// Bytes of all slabs.
    owned_bytes: AtomicUsize,
    /// Bytes of slabs that became empty since the last trim, and their classes.
    emptied: AtomicUsize,
    emptied_classes: AtomicU64,
    /// Classes of which other threads free chunks.
    shared_classes: AtomicU64,
    /// The first of the slabs with returned slots.
    returned: AtomicU32,
}

/// What became of an attempt to free a chunk.
enum Freed {
    Done,
    /// Done, and it is time for a trim.
    DoneTrim,
    Refused(FreeError),
    /// It is not for this heap to say.
    Elsewhere,
}

/// Changes a number that only its heap's user changes.
#[inline(always)]
fn add(number: &AtomicUsize, difference: usize) -> usize {
    let sum = number.load(Relaxed).wrapping_add(difference);
    number.store(sum, Relaxed);
    sum
}

impl Tables {
    /// The descriptor at a first unit.
    fn slab(&self, first: u32) -> &'static Slab {
        &self.slabs[first as usize]
    }

    fn links(&self, first: u32) -> &'static Links {
        &self.links[first as usize]
    }

    /// The first unit of a slab.
    fn first_of(&self, slab: &Slab) -> u32 {
        ((slab.base.load(Relaxed) - self.base) / UNIT) as u32
    }

    /// The slab that an address lies in.
    #[inline(always)]
    fn find(&self, addr: usize) -> Option<&'static Slab> {
        let unit = addr.wrapping_sub(self.base) / UNIT;
        let first = self.units.get(unit)?.load(Acquire) as usize;
        if first == 0 {
            return None;
        }
        debug_assert!(first < self.slabs.len());
        // SAFETY: only `Shared::add_slab` puts numbers there, those of descriptors in this table.
        Some(unsafe { self.slabs.get_unchecked(first) })
    }
}

/// What a list's head or link points to.
#[inline(always)]
fn listed(pointer: &AtomicPtr<Slab>) -> Option<&'static Slab> {
    // SAFETY: `Heap::push` puts descriptors of the tables there, which live as long as the process.
    unsafe { pointer.load(Relaxed).as_ref() }
}

/// Largest slot in bytes that is wiped in place; a call of `memset` is worth its while above.
const WIPED_IN_PLACE: usize = 256;

/// Wipes a small slot with a few wide stores, which may overlap.
///
/// # Safety
/// `ptr` must be valid for writes of `size` bytes and aligned to 16; `size` must be a multiple of 16, at
/// least 16 and at most [`WIPED_IN_PLACE`].
#[inline(always)]
unsafe fn wipe_small(ptr: *mut u8, size: usize) {
    /// Zeros in both ends.
    macro_rules! wipe_ends {
        ($words:literal) => {
            // SAFETY: the slot has at least as many bytes, by the branch taken.
            unsafe {
                ptr.cast::<[u64; $words]>().write_unaligned([0; $words]);
                ptr.add(size - 8 * $words).cast::<[u64; $words]>().write_unaligned([0; $words]);
            }
        };
    }
    if size <= 32 {
        wipe_ends!(2);
    } else if size <= 64 {
        wipe_ends!(4);
    } else if size <= 128 {
        wipe_ends!(8);
    } else {
        wipe_ends!(16);
    }
    // SAFETY: nothing is written; the barrier keeps the stores above.
    unsafe { core::arch::asm!("/* {0} */", in(reg) ptr, options(nostack, preserves_flags)) };
}

impl Heap {
    fn new(number: u16, tables: &Tables) -> Self {
        Self {
            tables: *tables,
            used: AtomicUsize::new(0),
            chunks: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            number,
            busy: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            taken: AtomicBool::new(false),
            lists: [const { AtomicPtr::new(ptr::null_mut()) }; 2 * CLASSES],
            slabs: [const { AtomicU32::new(0) }; CLASSES],
            owned: AtomicU32::new(0),
            owned_bytes: AtomicUsize::new(0),
            emptied: AtomicUsize::new(0),
            emptied_classes: AtomicU64::new(0),
            shared_classes: AtomicU64::new(0),
            returned: AtomicU32::new(0),
        }
    }

    /// Begins work on the own heap; `false` when others call for a pause.
    #[inline(always)]
    fn enter(&self) -> bool {
        self.busy.store(true, Relaxed);
        // The processor's part of the barrier is the pausing thread's `membarrier`.
        compiler_fence(SeqCst);
        if self.paused.load(Acquire) {
            self.leave();
            return false;
        }
        true
    }

    #[inline(always)]
    fn leave(&self) {
        self.busy.store(false, Release);
    }

    /// Allocates a slot of the class that a list is for; `None` when no slab in it is known to have one.
    #[inline(always)]
    fn take(&self, list: usize) -> Option<NonNull<u8>> {
        let slab = listed(&self.lists[list])?;
        let free = slab.free.load(Relaxed);
        let rest = free & free.wrapping_sub(1);
        slab.free.store(rest, Relaxed);
        if slab.is_shared() {
            slab.live.fetch_or(free ^ rest, Relaxed);
        }
        if rest == 0 {
            // No more at hand. What has been freed meanwhile, or the next slab.
            let (freed, all) = (slab.freed.load(Relaxed), slab.all());
            if freed & all != 0 {
                slab.free.store(freed & all, Relaxed);
                slab.freed.store(!all, Relaxed);
            } else {
                self.lists[list].store(slab.next.load(Relaxed), Relaxed);
            }
        }
        let size = slab.size.load(Relaxed) as usize;
        add(&self.chunks, 1);
        let used = add(&self.used, size);
        if used as isize > self.peak.load(Relaxed) as isize {
            self.peak.store(used, Relaxed);
        }
        let addr = slab.base.load(Relaxed) + free.trailing_zeros() as usize * size;
        NonNull::new(ptr::with_exposed_provenance_mut(addr))
    }

    /// `take`, after a look at what other threads have freed.
    fn take_or_collect(&self, class: usize) -> Option<NonNull<u8>> {
        self.take(class).or_else(|| {
            self.collect();
            self.take(class)
        })
    }

    /// The common case of [`give_back`](Self::give_back): a chunk of a slab that this heap alone uses,
    /// by its own thread, which has entered it; leaves it as well. `None` for all else, which has not
    /// been touched then.
    ///
    /// # Safety
    /// If a chunk begins at `addr`, nobody may use it any more.
    #[inline(always)]
    unsafe fn give_back_own(&self, addr: usize) -> Option<Result<(), FreeError>> {
        let slab = self.tables.find(addr)?;
        if slab.sole_user.load(Relaxed) != self.number {
            return None;
        }
        let slot = slab.slot_at(addr)?;
        let (free, freed) = (slab.free.load(Relaxed), slab.freed.load(Relaxed));
        if (free | freed) >> slot & 1 != 0 {
            return None;
        }
        let size = slab.size.load(Relaxed) as usize;
        let place = ptr::with_exposed_provenance_mut(addr);
        if size > WIPED_IN_PLACE {
            // SAFETY: the slot is live, and by this function's contract its user is done with it.
            return Some(unsafe { self.give_back_larger(slab, slot, place, size) });
        }
        // SAFETY: the slot was live, so it lies in pages that stay mapped for good; by this function's
        // contract its user is done with it, and until it is free nobody can be given it anew.
        unsafe { wipe_small(place, size) };
        self.count_freed(size);
        let bit = 1_u64 << slot;
        if free == 0 {
            // The slab was full.
            slab.free.store(bit, Relaxed);
            self.push(slab);
        } else {
            slab.freed.store(freed | bit, Relaxed);
            if free | freed | bit == u64::MAX {
                return Some(self.leave_after_empty(slab));
            }
        }
        self.leave();
        Some(Ok(()))
    }

    /// The end of [`give_back_own`](Self::give_back_own) where wiping takes a call.
    ///
    /// # Safety
    /// The live slot of `size` bytes at `place` must not be in use any more.
    #[inline(never)]
    unsafe fn give_back_larger(
        &self,
        slab: &'static Slab,
        slot: u32,
        place: *mut u8,
        size: usize,
    ) -> Result<(), FreeError> {
        // SAFETY: by this function's contract.
        unsafe { memory_cleanse(place, size) };
        self.count_freed(size);
        let freed = self.put_slots(slab, 1 << slot);
        self.leave_freed(freed)
    }

    /// The end of [`give_back_own`](Self::give_back_own) where the slab has become empty.
    #[inline(never)]
    fn leave_after_empty(&self, slab: &'static Slab) -> Result<(), FreeError> {
        let freed = self.note_empty(slab);
        self.leave_freed(freed)
    }

    fn leave_freed(&self, freed: Freed) -> Result<(), FreeError> {
        self.leave();
        if let Freed::DoneTrim = freed {
            trim(self);
        }
        Ok(())
    }

    #[inline(always)]
    fn count_freed(&self, size: usize) {
        add(&self.chunks, 1_usize.wrapping_neg());
        add(&self.used, size.wrapping_neg());
    }

    /// Frees and wipes the chunk at `addr`, if it is a small one. `class` is that of the size that
    /// the caller believes it to have.
    ///
    /// # Safety
    /// If a chunk begins at `addr`, nobody may use it any more.
    unsafe fn give_back(&self, addr: usize, class: Option<usize>) -> Freed {
        let Some(slab) = self.tables.find(addr) else { return Freed::Elsewhere };
        let owner = slab.owner.load(Acquire);
        let (own, shared) = (owner == self.number, slab.is_shared());
        if !own && (!shared || owner == 0) {
            return Freed::Elsewhere;
        }
        let Some(slot) = slab.slot_at(addr) else {
            return Freed::Refused(FreeError::InvalidFree);
        };
        let bit = 1_u64 << slot;
        if slab.live_slots() & bit == 0 {
            return Freed::Refused(FreeError::InvalidFree);
        }
        if class.is_some_and(|class| !slab_may_serve(slab.class(), class)) {
            return Freed::Refused(FreeError::SizeMismatch);
        }
        if shared && slab.live.fetch_and(!bit, Relaxed) & bit == 0 {
            // Somebody else was first.
            return Freed::Refused(FreeError::InvalidFree);
        }
        let size = slab.size.load(Relaxed) as usize;
        // SAFETY: as in `give_back_own`.
        unsafe { memory_cleanse(ptr::with_exposed_provenance_mut(addr), size) };
        self.count_freed(size);
        if own { self.put_slots(slab, bit) } else { self.return_slot(slab, bit) }
    }

    /// Makes slots of an own slab free for allocation.
    fn put_slots(&self, slab: &'static Slab, bits: u64) -> Freed {
        if slab.free.load(Relaxed) == 0 {
            slab.free.store(bits, Relaxed);
            self.push(slab);
        } else {
            slab.freed.store(slab.freed.load(Relaxed) | bits, Relaxed);
        }
        if slab.is_empty() { self.note_empty(slab) } else { Freed::Done }
    }

    /// Hands a slot to the owner of its slab.
    fn return_slot(&self, slab: &Slab, bit: u64) -> Freed {
        if slab.returned.fetch_or(bit, AcqRel) != 0 {
            return Freed::Done; // The owner has been told already.
        }
        let Some(owner) = heap(slab.owner.load(Relaxed)) else { std::process::abort() };
        let first = self.tables.first_of(slab);
        let mut head = owner.returned.load(Relaxed);
        loop {
            slab.next_returned.store(head, Relaxed);
            match owner.returned.compare_exchange_weak(head, first, Release, Relaxed) {
                Ok(_) => return Freed::Done,
                Err(newer) => head = newer,
            }
        }
    }

    /// Takes in what other threads have freed.
    fn collect(&self) {
        if self.returned.load(Relaxed) == 0 {
            return;
        }
        let mut first = self.returned.swap(0, Acquire);
        while first != 0 {
            let slab = self.tables.slab(first);
            // As soon as `returned` is 0, the slab may enter the stack again.
            first = slab.next_returned.load(Relaxed);
            let bits = slab.returned.swap(0, AcqRel);
            self.put_slots(slab, bits);
        }
    }

    fn note_empty(&self, slab: &Slab) -> Freed {
        // Allocations come from the head: it counts when another is put before it.
        let head = listed(&self.lists[slab.list.load(Relaxed) as usize]);
        if !head.is_some_and(|head| ptr::eq(head, slab)) {
            self.count_empty(slab);
        }
        let emptied = self.emptied.load(Relaxed);
        if emptied > TRIM_AFTER.max(self.owned_bytes.load(Relaxed) / 8) {
            return Freed::DoneTrim;
        }
        Freed::Done
    }

    fn count_empty(&self, slab: &Slab) {
        let classes = self.emptied_classes.load(Relaxed) | 1 << slab.class();
        self.emptied_classes.store(classes, Relaxed);
        add(&self.emptied, slab.units() * UNIT);
    }

    /// Puts a slab that has a free slot first in its list.
    #[inline(always)]
    fn push(&self, slab: &'static Slab) {
        let list = &self.lists[slab.list.load(Relaxed) as usize];
        let head = list.load(Relaxed);
        slab.next.store(head, Relaxed);
        if !head.is_null() {
            self.link_back(list, slab);
        }
        list.store(ptr::from_ref(slab).cast_mut(), Relaxed);
    }

    /// Notes that the head of a list is going to have another slab before it.
    fn link_back(&self, list: &AtomicPtr<Slab>, slab: &Slab) {
        if let Some(head) = listed(list) {
            let links = self.tables.links(self.tables.first_of(head));
            links.previous.store(self.tables.first_of(slab), Relaxed);
            if head.is_empty() {
                self.count_empty(head);
            }
        }
    }

    /// Takes a slab that has a free slot out of its list. (`previous` of the first means nothing.)
    fn unlink(&self, slab: &Slab) {
        let list = &self.lists[slab.list.load(Relaxed) as usize];
        let next = slab.next.load(Relaxed);
        if listed(list).is_some_and(|head| ptr::eq(head, slab)) {
            list.store(next, Relaxed);
            return;
        }
        let previous = self.tables.links(self.tables.first_of(slab)).previous.load(Relaxed);
        self.tables.slab(previous).next.store(next, Relaxed);
        if let Some(next) = listed(&slab.next) {
            let links = self.tables.links(self.tables.first_of(next));
            links.previous.store(previous, Relaxed);
        }
    }

    /// Whether other threads have freed chunks of a class.
    fn frees_by_others(&self, class: usize) -> bool {
        self.number == 0 || self.shared_classes.load(Relaxed) >> class & 1 != 0
    }

    /// Makes a slab this heap's.
    fn adopt(&self, slab: &'static Slab, shared: bool) {
        slab.set_owner(self.number, shared);
        let first = self.tables.first_of(slab);
        let links = self.tables.links(first);
        let head = self.owned.load(Relaxed);
        links.next_owned.store(head, Relaxed);
        links.previous_owned.store(0, Relaxed);
        if head != 0 {
            self.tables.links(head).previous_owned.store(first, Relaxed);
        }
        self.owned.store(first, Relaxed);
        add(&self.owned_bytes, slab.units() * UNIT);
        let class = slab.class();
        let count = self.slabs[class].load(Relaxed);
        self.slabs[class].store(count + 1, Relaxed);
        if slab.free.load(Relaxed) != 0 {
            self.push(slab);
        }
    }

    /// Lets go of a slab.
    fn disown(&self, slab: &Slab) {
        if slab.free.load(Relaxed) != 0 {
            self.unlink(slab);
        }
        let links = self.tables.links(self.tables.first_of(slab));
        let (next, previous) = (links.next_owned.load(Relaxed), links.previous_owned.load(Relaxed));
        if next != 0 {
            self.tables.links(next).previous_owned.store(previous, Relaxed);
        }
        if previous != 0 {
            self.tables.links(previous).next_owned.store(next, Relaxed);
        } else {
            self.owned.store(next, Relaxed);
        }
        add(&self.owned_bytes, (slab.units() * UNIT).wrapping_neg());
        let class = slab.class();
        let count = self.slabs[class].load(Relaxed);
        self.slabs[class].store(count - 1, Relaxed);
    }
}

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

/// Allocates from the process-wide pool. The arguments are valid.
#[inline(always)]
pub(super) fn alloc(size: usize, alignment: usize) -> Option<NonNull<u8>> {
    let Some(class) = class_for(size, alignment) else { return alloc_large(size, alignment) };
    if let Some(heap) = own_heap() {
        if heap.enter() {
            let chunk = heap.take(class);
            heap.leave();
            if chunk.is_some() {
                return chunk;
            }
        }
    }
    alloc_slow(class, alignment)
}

/// Frees a chunk of the process-wide pool, wiping it; `ptr` is not null. With `check`, the size and
/// alignment that it was allocated with.
///
/// # Safety
/// If `ptr` is a used chunk, nobody may use it any more.
#[inline(always)]
pub(super) unsafe fn free(ptr: *mut u8, check: Option<(usize, usize)>) -> Result<(), FreeError> {
    // A size without a class is no small chunk's; nor is `CLASSES` a class.
    let class = check.map(|(size, alignment)| class_for(size, alignment).unwrap_or(CLASSES));
    if let (Some(heap), None) = (own_heap(), class) {
        if heap.enter() {
            // SAFETY: by this function's contract.
            if let Some(freed) = unsafe { heap.give_back_own(ptr.addr()) } {
                return freed;
            }
            heap.leave();
        }
    }
    if check.is_none() {
        // SAFETY: by this function's contract.
        return unsafe { free_unsized_uncommon(ptr) };
    }
    // SAFETY: by this function's contract.
    unsafe { free_uncommon(ptr, class, check) }
}

/// `free_uncommon` without a check: with a single argument, it costs the common case nothing.
///
/// # Safety
/// As for [`free`].
#[inline(never)]
unsafe fn free_unsized_uncommon(ptr: *mut u8) -> Result<(), FreeError> {
    // SAFETY: by this function's contract.
    unsafe { free_uncommon(ptr, None, None) }
}

/// Frees what is not a common case.
///
/// # Safety
/// As for [`free`].
#[inline(never)]
unsafe fn free_uncommon(
    ptr: *mut u8,
    class: Option<usize>,
    check: Option<(usize, usize)>,
) -> Result<(), FreeError> {
    if let Some(heap) = own_heap() {
        if heap.enter() {
            // SAFETY: by this function's contract.
            let freed = unsafe { heap.give_back(ptr.addr(), class) };
            heap.leave();
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
    unsafe { free_slow(ptr, class, check) }
}

/// The class that serves a size at an alignment: slots lie at multiples of their size from a multiple
/// of `UNIT`.
#[inline(always)]
fn class_for(size: usize, alignment: usize) -> Option<usize> {
    if alignment > LockedPool::ARENA_ALIGN {
        return class_over_aligned(size, alignment);
    }
    (size <= slab::MAX_SIZE).then(|| slab::class_of(size))
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
    /// Whether threads may have heaps.
    concurrent: bool,
    /// Slabs, their bytes and their slots.
    slabs: usize,
    slab_bytes: usize,
    slots: usize,
    /// How often memory has come back to the arenas; and what that was when locked memory was last looked
    /// for in vain, everywhere.
    returns: u64,
    searched: u64,
}

/// The thread that holds the mutex; 0 for none.
static HOLDER: AtomicUsize = AtomicUsize::new(0);

/// Holds the mutex.
struct Locked(MutexGuard<'static, Shared>);

impl Drop for Locked {
    fn drop(&mut self) {
        HOLDER.store(0, Relaxed);
    }
}

impl core::ops::Deref for Locked {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl core::ops::DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut Shared {
        &mut self.0
    }
}

fn this_thread() -> usize {
    // SAFETY: takes nothing; the answer is a number here, different for each thread.
    unsafe { libc::pthread_self() as usize }
}

fn lock() -> Locked {
    static PREPARED: Once = Once::new();
    // Before the mutex is taken for the first time, so that no fork can come between.
    PREPARED.call_once(fork::at_exit_and_fork);
    // Poisoned or not: nothing in here panics half-way through a change.
    let guard = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    HOLDER.store(this_thread(), Relaxed);
    Locked(guard)
}

/// From which memory to allocate.
#[derive(Clone, Copy)]
enum From {
    Locked,
    /// When there is no more locked memory; with the number of lock failures before that was tried.
    Unlocked {
        failures: usize,
    },
}

/// Keeps all other threads out of their heaps as long as it lives. Made under the mutex.
struct Pause {
    heaps: AllHeaps,
}

impl Pause {
    /// Waits until no other thread works on its heap, and keeps it so.
    fn begin() -> Self {
        let own = own_heap().map_or(0, |heap| heap.number);
        let running =
            || all_heaps().filter(move |heap| heap.number != own && heap.taken.load(Relaxed));
        if running().next().is_none() {
            return Self { heaps: AllHeaps(0..0) };
        }
        for heap in running() {
            heap.paused.store(true, Relaxed);
        }
        barrier::everywhere();
        for heap in running() {
            let mut turns = 0_u32;
            while heap.busy.load(Acquire) {
                turns += 1;
                match turns {
                    0..100 => core::hint::spin_loop(),
                    100..1000 => std::thread::yield_now(),
                    // It may have to wait for this thread's processor.
                    _ => std::thread::sleep(Duration::from_micros(100)),
                }
            }
        }
        Self { heaps: all_heaps() }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        for heap in self.heaps.clone() {
            heap.paused.store(false, Release);
        }
    }
}

impl Shared {
    const fn new() -> Self {
        Self {
            state: State::new(Source::System { huge_page: None }, UNIT),
            tables: None,
            is_set_up: false,
            concurrent: false,
            slabs: 0,
            slab_bytes: 0,
            slots: 0,
            returns: 1,
            searched: 0,
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
        let (range, units, slabs, links) = loop {
            if len < SMALLEST_RANGE {
                return;
            }
            let count = len / UNIT;
            if let Ok(range) = AddressRange::reserve(len) {
                let units = pages::zeroed_table(count);
                let slabs = pages::zeroed_table(count);
                let links = pages::zeroed_table(count);
                if let (Ok(units), Ok(slabs), Ok(links)) = (units, slabs, links) {
                    break (range, units, slabs, links);
                }
                range.release();
            }
            len = len / 2 / SMALLEST_RANGE * SMALLEST_RANGE;
        };
        let base = range.addr().as_ptr().expose_provenance();
        let tables = Tables { base, units, slabs, links };
        let Some(shared_heap) = super::leak(Heap::new(0, &tables)) else { return };
        HEAPS[0].store(ptr::from_ref(shared_heap).cast_mut(), Release);
        HEAPS_MADE.store(1, Relaxed);
        self.tables = Some(tables);
        // The first page stays as it is, in front of the first arena.
        self.state.source = Source::Range { range, next: pages::page_size() };
        self.concurrent = barrier::register();
    }

    /// Takes in high-water marks, before and after anything else changes than what the own heap has.
    ///
    /// While one thread has a heap, its mark and what the others left make the figure exact. With several,
    /// marks of different times do not add up, so the figure is what was seen whenever one of them came
    /// here.
    fn note_peak(&mut self) {
        let several = all_heaps().filter(|heap| heap.taken.load(Relaxed)).count() > 1;
        let large = self.state.stats.used.wrapping_sub(self.slab_bytes);
        let sum = all_heaps().fold(large, |sum, heap| {
            let mark = if several { &heap.used } else { &heap.peak };
            sum.wrapping_add(mark.load(Relaxed))
        });
        // While others change their figures, the sum may be anything for a moment.
        if sum <= self.state.stats.total {
            self.state.stats.peak_used = self.state.stats.peak_used.max(sum);
        }
        let own = own_heap().map_or(0, |heap| heap.number);
        for heap in all_heaps() {
            if heap.number == own || !heap.taken.load(Relaxed) {
                heap.peak.store(heap.used.load(Relaxed), Relaxed);
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
        };
        // `State` has counted slabs as used.
        self.state.stats.peak_used = peak;
        // The callback may have forked, and this be the child.
        fork::catch_up(self);
        chunk
    }

    /// Takes a slab of a list over from the heap that all threads share, and allocates from it.
    fn take_left_behind(&self, heap: &Heap, list: usize) -> Option<NonNull<u8>> {
        let left = self::heap(0).filter(|left| left.number != heap.number)?;
        let slab = listed(&left.lists[list])?;
        left.disown(slab);
        heap.adopt(slab, heap.frees_by_others(slab.class()));
        heap.take(list)
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
        let chunk = classes
            .find_map(|larger| all_heaps().find_map(|other| other.take(first_list + larger)));
        if chunk.is_some() {
            LENT_LARGER.store(true, Relaxed);
        }
        chunk
    }

    /// Allocates a slot from a new slab of a heap.
    fn take_new(&mut self, heap: &Heap, class: usize, from: From) -> Option<NonNull<u8>> {
        match self.add_slab(heap, class, from)? {
            Ok(()) => heap.take(class),
            Err(chunk) => Some(chunk),
        }
    }

    /// A new slab for a heap; `Err` has a chunk that cannot be one, as it lies outside the range.
    fn add_slab(
        &mut self,
        heap: &Heap,
        class: usize,
        from: From,
    ) -> Option<Result<(), NonNull<u8>>> {
        let wanted = slab::slots_for(class, heap.slabs[class].load(Relaxed) as usize);
        let (slots, chunk) = [wanted, 1].into_iter().find_map(|slots| {
            let units = slab::units_for(class, slots);
            let chunk = self.alloc_chunk(units * UNIT, UNIT, from)?;
            let unit = chunk.addr().get().wrapping_sub(heap.tables.base) / UNIT;
            if slots > 1 && unit >= heap.tables.slabs.len() {
                // It cannot be a slab: as few units as the one slot needs.
                let _ = self.state.release(chunk.as_ptr(), None);
                return None;
            }
            Some((slab::slots_in(class, units), chunk))
        })?;
        let base = chunk.addr().get();
        let first = base.wrapping_sub(heap.tables.base) / UNIT;
        let Some(slab) = heap.tables.slabs.get(first) else { return Some(Err(chunk)) };
        slab.init(base, class, slots, self.state.is_locked(base));
        heap.adopt(slab, heap.frees_by_others(class));
        let units = slab.units();
        for unit in &heap.tables.units[first..first + units] {
            unit.store(first as u32, Release);
        }
        self.slabs += 1;
        self.slab_bytes += units * UNIT;
        self.slots += slots;
        Some(Ok(()))
    }

    /// Gives an empty slab back to its arena. The others are paused: a thread that frees what it does
    /// not own may be looking at this slab otherwise, and take the next one for it.
    fn remove_slab(&mut self, heap: &Heap, slab: &Slab, _: &Pause) {
        heap.disown(slab);
        let (start, units) = (heap.tables.first_of(slab) as usize, slab.units());
        for unit in &heap.tables.units[start..start + units] {
            unit.store(0, Relaxed);
        }
        self.slabs -= 1;
        self.slab_bytes -= units * UNIT;
        self.slots -= slab.slots();
        self.returns += 1;
        let chunk = ptr::with_exposed_provenance_mut(slab.base.load(Relaxed));
        // Its slots have been wiped one by one.
        if self.state.release(chunk, None).is_err() {
            std::process::abort();
        }
    }

    /// Gives the empty slabs of a heap back, of some classes; with `all`, also those that allocations
    /// come from.
    fn remove_empty_slabs(&mut self, heap: &Heap, classes: u64, all: bool, pause: &Pause) {
        for list in (0..2 * CLASSES).filter(|list| classes >> (list % CLASSES) & 1 != 0) {
            let mut next = listed(&heap.lists[list]);
            if !all {
                next = next.and_then(|head| listed(&head.next));
            }
            while let Some(slab) = next {
                next = listed(&slab.next);
                if slab.is_empty() {
                    self.remove_slab(heap, slab, pause);
                }
            }
        }
        heap.emptied.store(0, Relaxed);
        heap.emptied_classes.store(0, Relaxed);
    }

    /// Gives back every empty slab of every heap.
    fn reclaim(&mut self, pause: &Pause) {
        for heap in all_heaps() {
            heap.collect();
            self.remove_empty_slabs(heap, u64::MAX, true, pause);
        }
    }

    /// Moves all slabs of a heap to heap 0. Its thread is the caller, or no more.
    fn vacate(&mut self, heap: &Heap, pause: &Pause) {
        let Some(shared_heap) = self::heap(0) else { std::process::abort() };
        heap.collect();
        self.remove_empty_slabs(heap, u64::MAX, true, pause);
        loop {
            let first = heap.owned.load(Relaxed);
            if first == 0 {
                break;
            }
            let slab = heap.tables.slab(first);
            heap.disown(slab);
            shared_heap.adopt(slab, true);
        }
        heap.shared_classes.store(0, Relaxed);
        heap.busy.store(false, Relaxed);
        heap.taken.store(false, Release);
    }

    fn stats(&mut self, _: &Pause) -> PoolStats {
        self.note_peak();
        let mut stats = self.state.stats;
        let (small, chunks) = all_heaps().fold((0_usize, 0_usize), |(bytes, chunks), heap| {
            let (used, count) = (heap.used.load(Relaxed), heap.chunks.load(Relaxed));
            (bytes.wrapping_add(used), chunks.wrapping_add(count))
        });
        stats.used = stats.used - self.slab_bytes + small;
        stats.free = stats.total - stats.used;
        stats.peak_used = stats.peak_used.max(stats.used);
        self.state.stats.peak_used = stats.peak_used;
        stats.chunks_used = stats.chunks_used - self.slabs + chunks;
        stats.chunks_free += self.slots - chunks;
        stats
    }
}

/// Whether slots larger than needed have been handed out, for want of memory.
static LENT_LARGER: AtomicBool = AtomicBool::new(false);

fn slab_may_serve(slab_class: usize, class: usize) -> bool {
    class == slab_class || (class < slab_class && LENT_LARGER.load(Relaxed))
}

/// Allocates a small chunk when the own heap has no free slot at hand, or is not to be used now.
#[cold]
#[inline(never)]
fn alloc_slow(class: usize, alignment: usize) -> Option<NonNull<u8>> {
    if let Some(heap) = own_heap() {
        if heap.enter() {
            let chunk = heap.take_or_collect(class);
            heap.leave();
            if chunk.is_some() {
                return chunk;
            }
        }
    }
    let mut shared = lock();
    let Some(tables) = shared.tables() else {
        // No range: arenas of whole units, for small chunks too.
        return shared.state.alloc(SIZES[class] as usize, UNIT);
    };
    let heap = own_heap().or_else(|| attach(&mut shared, &tables)).or_else(|| heap(0))?;
    shared.note_peak();
    if let Some(chunk) = heap.take_or_collect(class) {
        return Some(chunk);
    }
    // What an exited thread left behind.
    if let Some(chunk) = shared.take_left_behind(heap, class) {
        return Some(chunk);
    }
    let failures = shared.state.stats.lock_failures;
    let unlocked = CLASSES + class;
    if shared.searched == shared.returns {
        // There was no locked memory a moment ago.
        if let Some(chunk) = heap.take(unlocked) {
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
    drop(pause);
    if let Some(chunk) = heap.take(unlocked).or_else(|| shared.take_left_behind(heap, unlocked)) {
        return Some(chunk);
    }
    if let Some(chunk) = shared.take_new(heap, class, From::Unlocked { failures }) {
        return Some(chunk);
    }
    let _pause = Pause::begin();
    shared.take_larger(CLASSES, class, alignment)
}

/// Allocates a chunk that no slab can hold.
#[inline(never)]
fn alloc_large(size: usize, alignment: usize) -> Option<NonNull<u8>> {
    let mut shared = lock();
    shared.tables();
    let failures = shared.state.stats.lock_failures;
    let mut chunk = shared.alloc_chunk(size, alignment, From::Locked);
    if chunk.is_none() {
        let pause = Pause::begin();
        shared.reclaim(&pause);
        chunk = shared.alloc_chunk(size, alignment, From::Locked);
        drop(pause);
    }
    let chunk = chunk.or_else(|| shared.alloc_chunk(size, alignment, From::Unlocked { failures }));
    shared.note_peak();
    chunk
}

/// Frees what the own heap did not.
///
/// # Safety
/// As for [`free`].
#[cold]
#[inline(never)]
unsafe fn free_slow(
    ptr: *mut u8,
    class: Option<usize>,
    check: Option<(usize, usize)>,
) -> Result<(), FreeError> {
    let mut shared = lock();
    let Some(slab) = shared.tables.and_then(|tables| tables.find(ptr.addr())) else {
        shared.note_peak();
        let peak = shared.state.stats.peak_used;
        let freed = shared.state.free(ptr, check);
        shared.returns += u64::from(freed.is_ok());
        shared.state.stats.peak_used = peak;
        return freed.map(drop);
    };
    // A thread that only frees needs a heap too: the next time, it will not have to come here.
    if let (None, Some(tables)) = (own_heap(), shared.tables) {
        attach(&mut shared, &tables);
    }
    let owner = slab.owner.load(Relaxed);
    let Some(heap) = heap(owner) else { std::process::abort() };
    let own = own_heap().is_some_and(|heap| heap.number == owner);
    // Nobody but the holder of the mutex uses heap 0.
    let pause = (owner != 0 && !own).then(Pause::begin);
    // SAFETY: by this function's contract.
    let freed = unsafe { heap.give_back(ptr.addr(), class) };
    if pause.is_some() && !matches!(freed, Freed::Refused(_)) {
        // The next one will not need a pause.
        slab.set_owner(owner, true);
        let classes = heap.shared_classes.load(Relaxed) | 1 << slab.class();
        heap.shared_classes.store(classes, Relaxed);
    }
    match freed {
        Freed::Done => Ok(()),
        Freed::DoneTrim => {
            let pause = pause.unwrap_or_else(Pause::begin);
            shared.remove_empty_slabs(heap, heap.emptied_classes.load(Relaxed), false, &pause);
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
    let mut shared = lock();
    let pause = Pause::begin();
    shared.remove_empty_slabs(heap, heap.emptied_classes.load(Relaxed), false, &pause);
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
            let mut shared = lock();
            shared.note_peak();
            let pause = Pause::begin();
            shared.vacate(heap, &pause);
        }
    }
}

/// Gives the calling thread a heap, if it may have one.
fn attach(shared: &mut Shared, tables: &Tables) -> Option<&'static Heap> {
    if !shared.concurrent || thread_slot::get() == GONE {
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
            let heap: &'static Heap = super::leak(Heap::new(number, tables))?;
            HEAPS[number as usize].store(ptr::from_ref(heap).cast_mut(), Release);
            HEAPS_MADE.store(number + 1, Relaxed);
            heap
        }
    };
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

/// Visits every chunk: small ones slab by slab, then large ones. A slab's free slots are chunks.
pub(super) fn walk(visit: &mut dyn FnMut(usize, usize, bool)) {
    let shared = lock();
    let _pause = Pause::begin();
    for heap in all_heaps() {
        heap.collect();
        let mut first = heap.owned.load(Relaxed);
        while first != 0 {
            let slab = heap.tables.slab(first);
            let size = slab.size.load(Relaxed) as usize;
            let live = slab.live_slots();
            for slot in 0..slab.slots() {
                let addr = slab.base.load(Relaxed) + slot * size;
                visit(addr, size, live >> slot & 1 != 0);
            }
            first = heap.tables.links(first).next_owned.load(Relaxed);
        }
    }
    let tables = shared.tables;
    shared.state.walk(&mut |addr, size, used| {
        if !tables.is_some_and(|tables| used && tables.find(addr).is_some()) {
            visit(addr, size, used);
        }
    });
}

/// Whether anything has been allocated.
pub(super) fn is_in_use() -> bool {
    let shared = lock();
    shared.is_set_up || shared.state.is_in_use
}

/// Sets options before anything has been allocated; `false` afterwards.
pub(super) fn configure(fork: ForkPolicy, secret_memory: SecretMemory) -> bool {
    let mut shared = lock();
    if shared.is_set_up || shared.state.is_in_use {
        return false;
    }
    (shared.state.fork, shared.state.secret_memory) = (fork, secret_memory);
    true
}

/// Locked pages of their own, as the pool's are, for a secret that no arena can hold.
pub(super) fn own_pages(len: usize) -> Option<LockedPages> {
    let (options, secret_memory) = {
        let mut shared = lock();
        let state = &mut shared.state;
        state.is_in_use = true;
        (PageOptions { fork: state.fork, ..PageOptions::default() }, state.secret_memory)
    };
    let mut error = None;
    let pages = super::map_anywhere(len, options, secret_memory, true, &mut error);
    if error.is_some() {
        lock().state.stats.secret_memory_error = error;
    }
    pages?.ok()
}

pub(super) fn set_locking_failed(callback: Option<LockingFailed>) -> Option<LockingFailed> {
    core::mem::replace(&mut lock().state.locking_failed, callback)
}

/// Makes the processors of all threads of this process pass a memory barrier.
#[cfg(target_os = "linux")]
mod barrier {
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: the call takes no pointers.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Whether `everywhere` will work.
    pub(super) fn register() -> bool {
        membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED)
    }

    pub(super) fn everywhere() {
        if !membarrier(PRIVATE_EXPEDITED) {
            // It worked when it was registered. Without it, heaps are not safe to touch.
            std::process::abort();
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod barrier {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn everywhere() {}
}
