//! Slabs: runs of equal slots for small chunks, described apart from the memory itself.

#![forbid(unsafe_code)]

use super::size_class::{CLASS_SPAN, MAX_SLOTS, MAX_UNITS, SizeClass};
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// The number of a slab: that of its first unit in the range. 0 is no slab, as no slab begins at
/// the first unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlabNumber(u32);

impl SlabNumber {
    #[inline(always)]
    pub(super) const fn of_unit(first: usize) -> Self {
        Self(first as u32)
    }

    /// The slab with a number as it stands in a list; `None` for 0.
    pub(super) fn from_link(link: u32) -> Option<Self> {
        (link != 0).then_some(Self(link))
    }

    /// The number as it stands in a list.
    pub(super) const fn link(self) -> u32 {
        self.0
    }

    /// The number of the slab's first unit.
    #[inline(always)]
    pub(super) const fn unit(self) -> usize {
        self.0 as usize
    }
}

/// What a unit is part of.
///
/// Changed under the pool's mutex. The other threads are paused meanwhile, but for these changes:
/// the unit becomes part of a new slab; the slab becomes shared while its heap has no thread; a
/// heap adopts the slab of the abandoned heap.
#[derive(bytemuck::Zeroable)]
pub(super) struct Unit {
    /// 0 if the unit belongs to no slab. Otherwise the number of the heap that allocates from its
    /// slab, and [`SHARED`](Self::SHARED) if it applies.
    pub(super) owner: AtomicU32,
    /// From the lowest bits on: how many units of its slab come before it ([`OFFSET_BITS`]), the
    /// number of the slab's slots less 1 ([`SLOT_BITS`]), the number of the slab's class.
    slab: AtomicU32,
}

const OFFSET_BITS: u32 = 6;
const SLOT_BITS: u32 = 6;

// Every offset, number of slots and class has its place in a unit's word.
const _: () = assert!(MAX_UNITS == 1 << OFFSET_BITS && MAX_SLOTS == 1 << SLOT_BITS);
const _: () = assert!(CLASS_SPAN as u64 <= 1 << (u32::BITS - OFFSET_BITS - SLOT_BITS));

impl Unit {
    /// Other threads than the owner free into the slab. Then each free claims the chunk with an
    /// atomic read-modify-write operation. The slabs of the abandoned heap are always marked so.
    pub(super) const SHARED: u32 = 1 << 31;
    /// The bits of the owner's number, which is one less than this at most.
    pub(super) const OWNER: u32 = Self::SHARED - 1;

    pub(super) fn set_slab(&self, offset: usize, class: SizeClass, slots: usize) {
        debug_assert!(offset < MAX_UNITS && (1..=MAX_SLOTS).contains(&slots));
        let class = class.number() << (OFFSET_BITS + SLOT_BITS);
        self.slab.store((offset | (slots - 1) << OFFSET_BITS | class) as u32, Relaxed);
    }

    /// How many units of its slab come before this one.
    pub(super) fn offset(&self) -> usize {
        self.slab.load(Relaxed) as usize % MAX_UNITS
    }

    /// The slab's class.
    pub(super) fn class(&self) -> SizeClass {
        SizeClass::of_number((self.slab.load(Relaxed) >> (OFFSET_BITS + SLOT_BITS)) as usize)
    }

    /// Number of slots of the slab.
    pub(super) fn slots(&self) -> usize {
        (self.slab.load(Relaxed) >> OFFSET_BITS) as usize % MAX_SLOTS + 1
    }

    /// The bits of all slots of the slab.
    pub(super) fn all(&self) -> u64 {
        u64::MAX >> (MAX_SLOTS - self.slots())
    }

    /// Number of units of the slab.
    pub(super) fn units(&self) -> usize {
        self.class().units_for(self.slots())
    }
}

/// What the owner of a slab knows of it, by the slab's number. (Atomic, because heaps change
/// hands.)
#[derive(bytemuck::Zeroable)]
pub(super) struct Slab {
    /// The bits of free slots that are not in the owner's cache. A slab is in its owner's list of
    /// slabs with free slots if and only if this is not 0.
    pub(super) free: AtomicU64,
    /// Neighbours in the owner's list of slabs of this class with free slots; 0 for none.
    /// (`previous` of the first means nothing.)
    pub(super) next: AtomicU32,
    pub(super) previous: AtomicU32,
    /// Neighbours in the owner's list of all its slabs; 0 for none, also before the first.
    pub(super) next_owned: AtomicU32,
    pub(super) previous_owned: AtomicU32,
}

#[cfg(test)]
mod tests {
    use super::super::size_class::UNIT;
    use super::*;

    #[test]
    fn a_unit_tells_its_slab() {
        for class in SizeClass::all() {
            for wanted in [0, 5000, 64 * 1024] {
                let slots = class.slots_for(wanted, false).unwrap();
                let unit: Unit = bytemuck::Zeroable::zeroed();
                unit.set_slab(MAX_UNITS - 1, class, slots);
                assert_eq!(
                    (unit.offset(), unit.class(), unit.slots()),
                    (MAX_UNITS - 1, class, slots)
                );
                assert_eq!(unit.units() * UNIT, class.units_for(slots) * UNIT);
                assert_eq!(unit.all().count_ones() as usize, slots);
                assert_eq!(unit.all().trailing_ones() as usize, slots);
            }
        }
    }
}
