//! The remote batch of a heap: slots of another heap's slab that its thread has freed and not yet
//! returned.
//!
//! Each return takes an atomic operation on memory that the owner is busy with. So slots of the
//! same slab are returned together.

use super::slab::SlabNumber;
use bytemuck::Zeroable;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// How many slots of a slab are returned together.
const BATCH: u32 = 16;

/// Slots of one slab. Used by the thread that may use the heap alone.
#[derive(Zeroable)]
pub(super) struct RemoteBatch {
    slab: AtomicU32,
    /// The bits of the slots; 0 if the batch is empty.
    slots: AtomicU64,
}

impl RemoteBatch {
    /// Adds a slot, given by its bit. Calls `give_back` with what has to be returned first, or now.
    pub(super) fn add(&self, slab: SlabNumber, slot: u64, give_back: impl Fn(SlabNumber, u64)) {
        if self.slab.load(Relaxed) != slab.link() {
            self.flush(give_back);
            self.slab.store(slab.link(), Relaxed);
            self.slots.store(slot, Relaxed);
            return;
        }
        let slots = self.slots.load(Relaxed) | slot;
        self.slots.store(slots, Relaxed);
        if slots.count_ones() >= BATCH {
            self.flush(give_back);
        }
    }

    /// Calls `give_back` with all slots, if there are any, and empties the batch.
    pub(super) fn flush(&self, give_back: impl Fn(SlabNumber, u64)) {
        let (slab, slots) =
            (SlabNumber::from_link(self.slab.load(Relaxed)), self.slots.load(Relaxed));
        if let (Some(slab), true) = (slab, slots != 0) {
            self.slots.store(0, Relaxed);
            give_back(slab, slots);
        }
    }

    /// Empties the batch; its slots are lost.
    pub(super) fn forget(&self) {
        self.slots.store(0, Relaxed);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.slots.load(Relaxed) == 0
    }
}
