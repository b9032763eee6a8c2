//! The exact cache of a heap: free chunks that are no slots, by size class.
//!
//! A thread that replaces secrets of many sizes has too few of each size for slabs. It frees a
//! chunk of an arena here, and takes it again when it needs one of the same class, without the
//! mutex. To the arenas such a chunk is used.
//!
//! What lies here is locked memory that no other thread can use at once. So a heap keeps little of
//! it ([`ExactCache::has_room`]), and it goes back to the arenas: before the thread has more memory
//! locked, when free memory is given back to the system, and before any thread's secret lies in
//! memory that is not locked.

#![forbid(unsafe_code)]

use super::chunk_table::Granule;
use super::size_class::{CLASS_SPAN, SizeClass};
use super::slab_lists::add;
use bytemuck::Zeroable;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize};

/// Most chunks of a class. A thread that has more of one size gets slabs.
const DEPTH: usize = 8;

/// Bytes that may lie here, besides an eighth of the exact chunks that the thread uses.
const SPARE: usize = 16 * 1024;
/// The most that this eighth may be, in bytes.
const MOST: usize = 256 * 1024;

/// How often a chunk of a class is taken until a slab of them is tried for.
const TAKEN_BEFORE_SLAB: u8 = 64;

/// Free exact chunks. Used by the thread that may use the heap alone.
#[derive(Zeroable)]
pub(super) struct ExactCache {
    /// Whether chunks may come here.
    is_open: AtomicBool,
    /// By class, the number of chunks.
    counts: [AtomicU8; CLASS_SPAN],
    /// By class, the granules where the chunks begin; the last one is the next to be taken.
    chunks: [[AtomicU32; DEPTH]; CLASS_SPAN],
    /// By class, how often a chunk was taken since a slab was last tried for.
    taken: [AtomicU8; CLASS_SPAN],
    /// By class, whether the thread has freed a chunk that could not come here, as it was not
    /// rounded up to the size of the class.
    freed: [AtomicBool; CLASS_SPAN],
    /// Bytes of all chunks.
    bytes: AtomicUsize,
    /// Bytes of the exact chunks with a class that the thread has allocated, less those that it has
    /// freed; at least 0.
    used: AtomicUsize,
    /// The class that chunks are evicted from next.
    hand: AtomicU8,
}

impl ExactCache {
    /// Whether chunks of a class have been taken so often that a slab of them should be tried for.
    /// Counts anew after that.
    pub(super) fn is_due_for_slab(&self, class: SizeClass) -> bool {
        let taken = &self.taken[class.number()];
        let is_due = taken.load(Relaxed) >= TAKEN_BEFORE_SLAB;
        if is_due {
            taken.store(0, Relaxed);
        }
        is_due
    }

    /// Whether the thread frees chunks that a class serves, so that it is worth while to round them
    /// up. (A population that stays would only take more memory.)
    pub(super) fn should_round_up(&self, class: SizeClass) -> bool {
        self.freed[class.number()].load(Relaxed)
    }

    /// Notes that the thread has freed a chunk that a class serves and that was not rounded up.
    pub(super) fn note_not_rounded_up(&self, class: SizeClass) {
        self.freed[class.number()].store(true, Relaxed);
    }

    /// Takes a chunk of a class.
    pub(super) fn pop(&self, class: SizeClass) -> Option<Granule> {
        let granule = self.take(class.number())?;
        let taken = &self.taken[class.number()];
        taken.store(taken.load(Relaxed).saturating_add(1), Relaxed);
        self.note_used(class);
        Some(granule)
    }

    /// Whether a chunk of a class may come.
    pub(super) fn has_room(&self, class: SizeClass) -> bool {
        let count = self.counts[class.number()].load(Relaxed) as usize;
        self.is_open.load(Relaxed) && count < DEPTH && !self.is_full_for(class)
    }

    /// Whether the chunks here leave no bytes for one of a class.
    pub(super) fn is_full_for(&self, class: SizeClass) -> bool {
        let limit = SPARE + (self.used.load(Relaxed) / 8).min(MOST);
        self.bytes.load(Relaxed) + class.size() > limit
    }

    /// Puts a chunk in, for which there is [room](Self::has_room).
    pub(super) fn push(&self, class: SizeClass, granule: Granule) {
        let count = &self.counts[class.number()];
        let place = count.load(Relaxed);
        self.chunks[class.number()][place as usize].store(granule.number(), Relaxed);
        count.store(place + 1, Relaxed);
        add(&self.bytes, class.size());
        self.note_unused(class);
    }

    /// Notes that the thread has a chunk of a class.
    pub(super) fn note_used(&self, class: SizeClass) {
        add(&self.used, class.size());
    }

    /// Notes that the thread has freed a chunk of a class, which another may have allocated.
    pub(super) fn note_unused(&self, class: SizeClass) {
        self.used.store(self.used.load(Relaxed).saturating_sub(class.size()), Relaxed);
    }

    /// Lets chunks come, or no more. Those that are here stay.
    pub(super) fn open(&self, is_open: bool) {
        self.is_open.store(is_open, Relaxed);
    }

    /// Bytes of all chunks.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Calls `visit` with chunks and their classes, and takes them out, until at most `keep` bytes
    /// are left: of each class in turn the last one.
    pub(super) fn evict(&self, keep: usize, mut visit: impl FnMut(Granule, SizeClass)) {
        let mut hand = self.hand.load(Relaxed) as usize;
        while self.bytes.load(Relaxed) > keep {
            hand = (hand + 1) % CLASS_SPAN;
            if let Some(granule) = self.take(hand) {
                visit(granule, SizeClass::of_number(hand));
            }
        }
        self.hand.store(hand as u8, Relaxed);
    }

    /// Makes the cache as it was at first; its chunks are lost.
    pub(super) fn forget(&self) {
        self.open(false);
        self.counts.iter().chain(&self.taken).for_each(|count| count.store(0, Relaxed));
        self.freed.iter().for_each(|freed| freed.store(false, Relaxed));
        self.bytes.store(0, Relaxed);
        self.used.store(0, Relaxed);
    }

    fn take(&self, class: usize) -> Option<Granule> {
        let count = &self.counts[class];
        let place = count.load(Relaxed).checked_sub(1)?;
        count.store(place, Relaxed);
        let size = SizeClass::of_number(class).size();
        self.bytes.store(self.bytes.load(Relaxed) - size, Relaxed);
        Granule::from_cached(self.chunks[class][place as usize].load(Relaxed))
    }
}
