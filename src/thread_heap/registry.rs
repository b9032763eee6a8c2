//! Every heap that there is, by number, and the list of those that threads have.
//!
//! Heap 0 is the abandoned heap: it holds the slabs that ended threads have left. Heaps 1 and up
//! belong to threads.

use super::heap::Heap;
use crate::leak::leak;
use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU32};

/// The number of heaps that there can be: so many blocks of so many heaps.
const BLOCKS: usize = 4096;
const BLOCK: usize = 256;

/// Heaps by number, in blocks. Neither heaps nor blocks are ever freed.
static HEAPS: [AtomicPtr<Block>; BLOCKS] = [const { AtomicPtr::new(ptr::null_mut()) }; BLOCKS];
type Block = [AtomicPtr<Heap>; BLOCK];

/// The first of the heaps that threads have: a number, 0 for none. Changed under the mutex.
static LIVE: AtomicU32 = AtomicU32::new(0);

/// The heap with a number, if it has been made.
pub(super) fn heap(number: u32) -> Option<&'static Heap> {
    let (block, place) = (number as usize / BLOCK, number as usize % BLOCK);
    // SAFETY: null, or a block that `register` has leaked.
    let block = unsafe { HEAPS.get(block)?.load(Acquire).as_ref() }?;
    // SAFETY: null, or a heap that lives as long as the process.
    unsafe { block[place].load(Acquire).as_ref() }
}

/// The heap with a number that a slab or a list names.
pub(super) fn owner(number: u32) -> &'static Heap {
    heap(number).unwrap_or_else(|| std::process::abort())
}

/// The abandoned heap, if any heap has been made. For the holder of the mutex.
pub(super) fn abandoned_heap() -> Option<&'static Heap> {
    heap(0)
}

/// The abandoned heap and the heaps that threads have: all heaps that have slabs. For the holder of
/// the mutex.
pub(super) fn all_heaps() -> impl Iterator<Item = &'static Heap> {
    abandoned_heap().into_iter().chain(live_heaps())
}

/// The heaps that threads have. For the holder of the mutex.
pub(super) fn live_heaps() -> impl Iterator<Item = &'static Heap> {
    let mut next = LIVE.load(Relaxed);
    core::iter::from_fn(move || {
        let heap = if next == 0 { None } else { heap(next) }?;
        next = heap.next_live.load(Relaxed);
        Some(heap)
    })
}

/// Makes the heap with a number known; `make` makes it. `None` when there is no memory for it, or
/// too many heaps.
pub(super) fn register(
    number: u32,
    make: impl FnOnce() -> Option<&'static Heap>,
) -> Option<&'static Heap> {
    let block = HEAPS.get(number as usize / BLOCK)?;
    if block.load(Relaxed).is_null() {
        let new = leak([const { AtomicPtr::new(ptr::null_mut()) }; BLOCK])?;
        block.store(ptr::from_ref::<Block>(new).cast_mut(), Release);
    }
    let heap = make()?;
    // SAFETY: not null, hence a block that was leaked above.
    let block = unsafe { &*block.load(Relaxed) };
    block[number as usize % BLOCK].store(ptr::from_ref(heap).cast_mut(), Release);
    Some(heap)
}

/// Puts a heap into the list of those that threads have. For the holder of the mutex.
pub(super) fn enlist(heap: &'static Heap) {
    let first = LIVE.load(Relaxed);
    heap.previous_live.store(0, Relaxed);
    heap.next_live.store(first, Relaxed);
    if let Some(first) = self::heap(first).filter(|first| first.number != 0) {
        first.previous_live.store(heap.number, Relaxed);
    }
    LIVE.store(heap.number, Relaxed);
}

/// Takes a heap out of the list of those that threads have. For the holder of the mutex.
pub(super) fn delist(heap: &'static Heap) {
    let (previous, next) = (heap.previous_live.load(Relaxed), heap.next_live.load(Relaxed));
    if next != 0 {
        owner(next).previous_live.store(previous, Relaxed);
    }
    if previous != 0 {
        owner(previous).next_live.store(next, Relaxed);
    } else {
        LIVE.store(next, Relaxed);
    }
}
