//! Slabs: runs of equal slots for small chunks, described apart from the memory itself.
//!
//! Private to `process`; depends on nothing. Works in offsets: which slots of a slab are used is
//! arithmetic, and no unsafe code is needed for it.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

/// Slabs and large chunks take whole units of this many bytes.
pub(super) const UNIT: usize = 2048;
/// Slots are multiples of this many bytes, and begin at multiples of it.
pub(super) const GRANULE: usize = 16;
/// Largest size in bytes that has a class.
pub(super) const MAX_SIZE: usize = 4096;
/// Classes are numbered from 1 on, so that 0 is no class; there are `CLASSES - 1`.
pub(super) const CLASSES: usize = 49;
/// Length of tables by class; a power of two, so that an index needs no check.
pub(super) const CLASS_SPAN: usize = 64;
/// Most slots of a slab: the bits of a word.
const MAX_SLOTS: usize = 64;
/// Largest slab in bytes.
const MAX_SLAB: usize = 16 * 1024;
/// Size of a heap's first slab of a class in bytes, if slots are not larger.
const FIRST_SLAB: usize = 2048;

/// Slot sizes in bytes by class: steps of 16 up to 256 bytes, then eight steps to each doubling, so that
/// at most an eighth of a slot is padding.
pub(super) static SIZES: [u16; CLASS_SPAN] = {
    let mut sizes = [0; CLASS_SPAN];
    let (mut size, mut class) = (0, 1);
    while class < CLASSES {
        size += if size < 256 { 16 } else { 1 << (usize::ilog2(size) - 3) };
        sizes[class] = size as u16;
        class += 1;
    }
    assert!(size == MAX_SIZE);
    sizes
};

/// The class of a size, by the size in granules, rounded up.
static CLASS_OF: [u8; MAX_SIZE / GRANULE + 1] = {
    let mut classes = [0; MAX_SIZE / GRANULE + 1];
    let (mut i, mut class) = (1, 1);
    while i <= MAX_SIZE / GRANULE {
        if i * GRANULE > SIZES[class] as usize {
            class += 1;
        }
        classes[i] = class as u8;
        i += 1;
    }
    classes
};

/// 2^32 divided by the slot size, rounded up.
static RECIPROCALS: [u32; CLASSES] = {
    let mut reciprocals = [0; CLASSES];
    let mut class = 1;
    while class < CLASSES {
        reciprocals[class] = (1_u64 << 32).div_ceil(SIZES[class] as u64) as u32;
        class += 1;
    }
    reciprocals
};

/// The class for `size` bytes, which is 1 to [`MAX_SIZE`].
#[inline(always)]
pub(super) fn class_of(size: usize) -> usize {
    let granules = size.div_ceil(GRANULE);
    (if size <= 256 { granules } else { CLASS_OF[granules] as usize }) % CLASS_SPAN
}

/// How many slots a heap's next slab of a class has when it has `slabs` of them already: few at first,
/// as most programs keep a few secrets of many sizes.
pub(super) fn slots_for(class: usize, slabs: usize) -> usize {
    let size = SIZES[class] as usize;
    (FIRST_SLAB << slabs.min(8)).clamp(size, MAX_SLAB).div_euclid(size).min(MAX_SLOTS)
}

/// How many slots of a class fit so many units, as far as a slab can have them.
pub(super) fn slots_in(class: usize, units: usize) -> usize {
    (units * UNIT / SIZES[class] as usize).min(MAX_SLOTS)
}

/// How many units hold so many slots of a class.
pub(super) fn units_for(class: usize, slots: usize) -> usize {
    (SIZES[class] as usize * slots).div_ceil(UNIT)
}

/// Which slot of its slab a live chunk of a class is, by its offset in the slab in bytes.
pub(super) fn slot_at(class: usize, offset: usize) -> u32 {
    // Exact: with r = ceil(2^32 / size), offset * r is off by less than offset * size, and that stays
    // below 2^32 (Granlund and Montgomery, "Division by Invariant Integers using Multiplication",
    // PLDI 1994, theorem 4.2).
    ((offset as u64 * u64::from(RECIPROCALS[class])) >> 32) as u32
}

/// What a unit is part of.
///
/// Changed under the pool's mutex, with the other threads paused if a slab has it already.
#[derive(bytemuck::Zeroable)]
pub(super) struct Unit {
    /// 0 if it is no slab's. Else the number of the heap that allocates from its slab, and
    /// [`SHARED`](Self::SHARED) or [`UNLOCKED`](Self::UNLOCKED) as they apply.
    pub(super) owner: AtomicU16,
    /// From the lowest bits on: how many units of its slab come before it, 4 bits; the slab's class, 6 bits;
    /// the number of its slots less 1, 6 bits.
    slab: AtomicU16,
}

impl Unit {
    /// Other threads than the owner free into the slab: then whoever frees claims the chunk with an
    /// atomic read-modify-write operation. Heap 0's slabs are always ready for that.
    pub(super) const SHARED: u16 = 1 << 15;
    /// The slab's memory is not locked.
    pub(super) const UNLOCKED: u16 = 1 << 14;
    /// The bits of the owner's number.
    pub(super) const OWNER: u16 = Self::UNLOCKED - 1;

    pub(super) fn set_slab(&self, offset: usize, class: usize, slots: usize) {
        debug_assert!(offset < 16 && class < CLASSES && (1..=MAX_SLOTS).contains(&slots));
        self.slab.store((offset | class << 4 | (slots - 1) << 10) as u16, Relaxed);
    }

    pub(super) fn offset(&self) -> usize {
        (self.slab.load(Relaxed) & 15).into()
    }

    /// The slab's class.
    pub(super) fn class(&self) -> usize {
        (self.slab.load(Relaxed) >> 4 & 63).into()
    }

    /// Number of slots of the slab.
    pub(super) fn slots(&self) -> usize {
        usize::from(self.slab.load(Relaxed) >> 10) + 1
    }

    /// The bits of all slots of the slab.
    pub(super) fn all(&self) -> u64 {
        u64::MAX >> (MAX_SLOTS - self.slots())
    }

    /// Number of units of the slab.
    pub(super) fn units(&self) -> usize {
        units_for(self.class(), self.slots())
    }
}

/// What its owner knows of a slab, by the slab's first unit. (Atomic, because heaps change hands.)
#[derive(bytemuck::Zeroable)]
pub(super) struct Slab {
    /// The bits of free slots that are not in the owner's cache. A slab is in its owner's list of slabs
    /// with free slots if and only if this is not 0.
    pub(super) free: AtomicU64,
    /// Neighbours in the owner's list of slabs of this class with free slots, by first unit; 0 is none.
    /// (`previous` of the first means nothing.)
    pub(super) next: AtomicU32,
    pub(super) previous: AtomicU32,
    /// The same in the owner's list of all its slabs; here the first has none before it.
    pub(super) next_owned: AtomicU32,
    pub(super) previous_owned: AtomicU32,
}

/// What other threads have to say of a slab, by the slab's first unit. Apart, as few slabs have any.
#[derive(bytemuck::Zeroable)]
pub(super) struct Mailbox {
    /// The bits of slots that others have freed, on their way to the owner.
    pub(super) slots: AtomicU64,
    /// The next in the owner's stack of slabs with such slots.
    pub(super) next: AtomicU32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_an_eighth_at_most() {
        for size in 1..=MAX_SIZE {
            let class = class_of(size);
            let slot = SIZES[class] as usize;
            assert!(slot >= size && slot % GRANULE == 0);
            assert!((SIZES[class - 1] as usize) < size, "the smallest that fits");
            assert!(slot - size < 16 || (slot - size) * 8 <= slot);
        }
        assert_eq!((class_of(1), class_of(MAX_SIZE), SIZES[0]), (1, CLASSES - 1, 0));
    }

    #[test]
    fn offsets_are_divided_exactly() {
        for (class, size) in SIZES.into_iter().enumerate().take(CLASSES).skip(1) {
            let size = usize::from(size);
            for slabs in 0..10 {
                let slots = slots_in(class, units_for(class, slots_for(class, slabs)));
                let bytes = units_for(class, slots) * UNIT;
                assert!(slots >= 1 && slots * size <= bytes && bytes <= MAX_SLAB);
                assert!(bytes - slots * size < UNIT);
                let unit: Unit = bytemuck::Zeroable::zeroed();
                unit.set_slab(15, class, slots);
                assert_eq!((unit.offset(), unit.class(), unit.slots()), (15, class, slots));
                assert_eq!(unit.units() * UNIT, bytes);
                assert_eq!(unit.all().count_ones() as usize, slots);
                assert_eq!(unit.all().trailing_ones() as usize, slots);
                for offset in 0..bytes {
                    assert_eq!(slot_at(class, offset) as usize, offset / size);
                }
            }
        }
    }
}
