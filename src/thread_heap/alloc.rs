//! Allocation from the process-wide pool.

use super::central::Central;
use super::current_heap::current_heap;
use super::lock::{CentralGuard, LOCKING_FAILED, try_lock};
use super::registry::abandoned_heap;
use super::size_class::{SizeClass, with_redzone};
use super::thread::attach;
use crate::arena_set::{ARENA_SIZE, LockingFailed, ask};
use crate::poison;
use core::ptr::NonNull;

/// Allocates from the process-wide pool. `alignment` is a power of two.
#[inline(always)]
pub(crate) fn alloc(size: usize, alignment: usize) -> Option<NonNull<u8>> {
    let chunk = alloc_closed(size, alignment);
    if let Some(chunk) = chunk {
        poison::unpoison(chunk.as_ptr(), size);
    }
    chunk
}

/// [`alloc`], before the chunk is made accessible to AddressSanitizer and valgrind.
#[inline(always)]
fn alloc_closed(size: usize, alignment: usize) -> Option<NonNull<u8>> {
    let Some(class) = SizeClass::for_request(size, alignment) else {
        return alloc_large(size, alignment);
    };
    if let Some(heap) = current_heap() {
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

/// Allocates a small chunk when the calling thread's heap has no free slot in its cache, counts
/// allocations, or is closed; or when the thread has no heap.
#[cold]
#[inline(never)]
fn alloc_uncommon(size: usize, alignment: usize) -> Option<NonNull<u8>> {
    let class = SizeClass::for_request(size, alignment)?;
    if let Some(heap) = current_heap() {
        if heap.gate.enter() {
            if heap.sampler.should_sample() {
                heap.gate.leave();
                return alloc_sampled(size, alignment, class);
            }
            let chunk = heap.take_any(class, alignment);
            heap.gate.leave();
            if chunk.is_some() {
                return chunk;
            }
            return alloc_asking(try_lock().ok()?, |central| {
                central.alloc_slow(size, alignment, class)
            });
        }
    }
    alloc_uncounted(size, alignment, class)
}

/// Allocates a small chunk that is to be sampled.
#[cold]
#[inline(never)]
fn alloc_sampled(size: usize, alignment: usize, class: SizeClass) -> Option<NonNull<u8>> {
    let mut central = try_lock().ok()?;
    if let Some(chunk) = central.alloc_guarded(size, alignment) {
        return Some(chunk);
    }
    alloc_asking(central, |central| central.alloc_slow(size, alignment, class))
}

/// Allocates a small chunk that no heap has counted.
#[cold]
#[inline(never)]
fn alloc_uncounted(size: usize, alignment: usize, class: SizeClass) -> Option<NonNull<u8>> {
    let mut central = try_lock().ok()?;
    if central.sampler.should_sample() {
        if let Some(chunk) = central.alloc_guarded(size, alignment) {
            return Some(chunk);
        }
    }
    alloc_asking(central, |central| central.alloc_slow(size, alignment, class))
}

/// Allocates a chunk that no slab can hold, if it can be had at all.
#[inline(never)]
fn alloc_large(size: usize, alignment: usize) -> Option<NonNull<u8>> {
    if size == 0 || size > ARENA_SIZE {
        return None;
    }
    let mut central = try_lock().ok()?;
    central.tables();
    if central.sampler.should_sample() {
        if let Some(chunk) = central.alloc_guarded(size, alignment) {
            return Some(chunk);
        }
    }
    alloc_asking(central, |central| central.alloc_exact(with_redzone(size), alignment))
}

impl Central {
    /// Allocates a small chunk under the mutex: see the order of attempts, from 2 on.
    #[cold]
    #[inline(never)]
    fn alloc_slow(
        &mut self,
        size: usize,
        alignment: usize,
        class: SizeClass,
    ) -> Option<NonNull<u8>> {
        if let Some(tables) = self.tables() {
            self.look_for_excess();
            let own = current_heap().or_else(|| attach(self, &tables));
            let chunk = match own {
                Some(heap) => {
                    self.note_peak();
                    // First a slot of the heap's slabs, then a slab that an ended thread has left,
                    // then a new slab.
                    heap.take_slot(class)
                        .or_else(|| self.adopt(heap, class))
                        .or_else(|| self.take_new_slab(heap, class))
                        .or_else(|| heap.take_exact(class, alignment))
                        .or_else(|| {
                            self.alloc_cacheable(heap, with_redzone(size), alignment, class)
                        })
                }
                // Slots that ended threads have left.
                None => abandoned_heap().and_then(|abandoned| abandoned.take_slot(class)),
            };
            if chunk.is_some() {
                return chunk;
            }
        }
        self.alloc_exact(with_redzone(size), alignment)
    }
}

/// Runs `attempt` under the mutex. If it fails for want of consent to unlocked memory, asks for
/// consent while the mutex is free, and runs it again if that is given.
fn alloc_asking(
    mut central: CentralGuard,
    mut attempt: impl FnMut(&mut Central) -> Option<NonNull<u8>>,
) -> Option<NonNull<u8>> {
    let chunk = attempt(&mut central);
    let Some(error) = central.arenas.consent.question.take().filter(|_| chunk.is_none()) else {
        return chunk;
    };
    drop(central);
    if !ask(&LOCKING_FAILED, &error, take_pending) {
        return None;
    }
    let mut central = try_lock().ok()?;
    central.arenas.consent.is_given = true;
    let chunk = attempt(&mut central);
    central.arenas.consent.is_given = false;
    chunk
}

/// The callback that was set while the calling thread was in the present one.
fn take_pending() -> Option<Option<LockingFailed>> {
    try_lock().ok()?.arenas.consent.pending.take()
}
