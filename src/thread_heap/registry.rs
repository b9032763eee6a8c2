//! Every heap that there is, by number, and lists of them.
//!
//! Heap 0 is the abandoned heap. Heaps 1 and up are live, orphans or vacant; `abandoned` says what
//! that is. The vacant ones have no slabs, and are in no list of this file.

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

/// The heaps that threads have.
pub(super) static LIVE: HeapList = HeapList(AtomicU32::new(0));
/// The heaps whose threads have ended, and that are not vacant.
pub(super) static ORPHANS: HeapList = HeapList(AtomicU32::new(0));

/// A list of heaps: the number of the first; 0 for none. For the holder of the mutex.
pub(super) struct HeapList(AtomicU32);

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

/// All heaps that may have slabs. For the holder of the mutex.
pub(super) fn all_heaps() -> impl Iterator<Item = &'static Heap> {
    abandoned_heap().into_iter().chain(ORPHANS.heaps()).chain(live_heaps())
}

/// The heaps that threads have. For the holder of the mutex.
pub(super) fn live_heaps() -> impl Iterator<Item = &'static Heap> {
    LIVE.heaps()
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

impl HeapList {
    /// The heaps of the list. The one that was returned last may be removed.
    pub(super) fn heaps(&self) -> impl Iterator<Item = &'static Heap> {
        let mut next = self.0.load(Relaxed);
        core::iter::from_fn(move || {
            let heap = if next == 0 { None } else { heap(next) }?;
            next = heap.next.load(Relaxed);
            Some(heap)
        })
    }

    /// Puts in a heap that is in no list.
    pub(super) fn push(&self, heap: &'static Heap) {
        let first = self.0.load(Relaxed);
        heap.previous.store(0, Relaxed);
        heap.next.store(first, Relaxed);
        if first != 0 {
            owner(first).previous.store(heap.number, Relaxed);
        }
        self.0.store(heap.number, Relaxed);
    }

    /// Takes out a heap that is in the list.
    pub(super) fn remove(&self, heap: &'static Heap) {
        let (previous, next) = (heap.previous.load(Relaxed), heap.next.load(Relaxed));
        if next != 0 {
            owner(next).previous.store(previous, Relaxed);
        }
        if previous != 0 {
            owner(previous).next.store(next, Relaxed);
        } else {
            self.0.store(next, Relaxed);
        }
    }
}
