//! Slabs: runs of equal slots for small chunks, described apart from the memory itself.
//!
//! Private to `process`; depends on nothing. Works in offsets: which slots of a slab are used is
//! arithmetic, and no unsafe code is needed for it.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Slabs take whole units of this many bytes, and begin at multiples of it.
pub(super) const UNIT: usize = 1024;
/// Slots are multiples of this many bytes, and begin at multiples of it.
pub(super) const GRANULE: usize = 16;
/// Largest size in bytes that has a class.
pub(super) const MAX_SIZE: usize = 4096;
/// Classes are numbered from 1 on, so that 0 is no class; there are `CLASSES - 1`.
pub(super) const CLASSES: usize = 128;
/// Length of tables by class; a power of two, so that an index needs no check.
pub(super) const CLASS_SPAN: usize = 128;
/// Up to this size in bytes there is a class for each number of granules.
const MAX_EXACT: usize = 1024;
/// Most slots of a slab: the bits of a word.
const MAX_SLOTS: usize = 64;
/// Most units of a slab.
const MAX_UNITS: usize = 64;

// A unit's word has six bits each for slots and units, seven for the class; a byte in the table of
// chunks has seven for the class.
const _: () =
    assert!(MAX_SLOTS <= 64 && MAX_UNITS <= 64 && CLASSES <= 128 && CLASS_SPAN >= CLASSES);

/// Slot sizes in bytes by class: each multiple of a granule up to [`MAX_EXACT`]. Above, the sizes that make
/// a chunk of any size cost at most [`TOLERANCE`] more than its bytes, the end of its slab included.
pub(super) static SIZES: [u16; CLASS_SPAN] = SIZES_AND_SHAPES.0;

/// By class, the number of slots of the slab that wastes least.
static BEST_SLOTS: [u8; CLASS_SPAN] = SIZES_AND_SHAPES.1;

/// In thousandths: Bitcoin Core's arenas, which fit exactly, are the measure.
const TOLERANCE: usize = 19;

const SIZES_AND_SHAPES: ([u16; CLASS_SPAN], [u8; CLASS_SPAN]) = {
    let (mut sizes, mut slots) = ([0; CLASS_SPAN], [0; CLASS_SPAN]);
    let mut class = 1;
    while class < CLASSES {
        let smallest = sizes[class - 1] as usize + GRANULE;
        let mut size = smallest;
        let mut larger = smallest + GRANULE;
        while smallest > MAX_EXACT && larger <= MAX_SIZE {
            // Units that a slot takes, times 1000, against bytes asked for.
            let (count, units) = best_shape(larger);
            if units * UNIT * 1000 <= smallest * count * (1000 + TOLERANCE) {
                size = larger;
            }
            larger += GRANULE;
        }
        sizes[class] = size as u16;
        slots[class] = best_shape(size).0 as u8;
        class += 1;
    }
    assert!(sizes[CLASSES - 1] as usize == MAX_SIZE);
    (sizes, slots)
};

/// The slots and units of the slab for a slot size that wastes least; of several, the smallest.
const fn best_shape(size: usize) -> (usize, usize) {
    let (mut best, mut best_units, mut slots) = (1, size.div_ceil(UNIT), 2);
    while slots <= MAX_SLOTS && (size * slots).div_ceil(UNIT) <= MAX_UNITS {
        let units = (size * slots).div_ceil(UNIT);
        if units * best < best_units * slots {
            (best, best_units) = (slots, units);
        }
        slots += 1;
    }
    (best, best_units)
}

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
    (if size <= MAX_EXACT { granules } else { CLASS_OF[granules] as usize }) % CLASS_SPAN
}

/// How many slots a slab of a class has that takes about `bytes` bytes, and not less than one slot. With
/// `exact`, only if such a slab wastes nothing.
pub(super) fn slots_for(class: usize, bytes: usize, exact: bool) -> Option<usize> {
    let (size, best) = (SIZES[class] as usize, BEST_SLOTS[class] as usize);
    let units = (bytes / UNIT).clamp(size.div_ceil(UNIT), MAX_UNITS);
    let most = slots_in(class, units);
    if !exact && most < best {
        // As little waste as there can be, and then as many as possible.
        let waste =
            |slots: usize| (units_for(class, slots) * UNIT - slots * size) * MAX_SLOTS / slots;
        return (1..=most).rev().min_by_key(|&slots| waste(slots));
    }
    // Several of the slabs that waste least make one that wastes no more.
    let slots = best * (most.max(best) / best);
    if exact && (most < best || slots * size % UNIT != 0) {
        return None;
    }
    Some(slots)
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
    /// 0 if the unit belongs to no slab. Else the number of the heap that allocates from its slab, and
    /// [`SHARED`](Self::SHARED) if it applies.
    pub(super) owner: AtomicU32,
    /// From the lowest bits on: how many units of its slab come before it, 6 bits; the number of the slab's
    /// slots less 1, 6 bits; the slab's class, 7 bits.
    slab: AtomicU32,
}

impl Unit {
    /// Other threads than the owner free into the slab: then whoever frees claims the chunk with an
    /// atomic read-modify-write operation. Heap 0's slabs are always ready for that.
    pub(super) const SHARED: u32 = 1 << 31;
    /// The bits of the owner's number, which is one less than this at most.
    pub(super) const OWNER: u32 = Self::SHARED - 1;

    pub(super) fn set_slab(&self, offset: usize, class: usize, slots: usize) {
        debug_assert!(offset < MAX_UNITS && class < CLASSES && (1..=MAX_SLOTS).contains(&slots));
        self.slab.store((offset | (slots - 1) << 6 | class << 12) as u32, Relaxed);
    }

    pub(super) fn offset(&self) -> usize {
        (self.slab.load(Relaxed) & 63) as usize
    }

    /// The slab's class.
    pub(super) fn class(&self) -> usize {
        (self.slab.load(Relaxed) >> 12) as usize % CLASS_SPAN
    }

    /// Number of slots of the slab.
    pub(super) fn slots(&self) -> usize {
        (self.slab.load(Relaxed) >> 6 & 63) as usize + 1
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

    /// Bytes that a chunk takes in the slab that wastes least, times its number of slots, and that number.
    fn cost(class: usize) -> (usize, usize) {
        let slots = BEST_SLOTS[class] as usize;
        (units_for(class, slots) * UNIT, slots)
    }

    #[test]
    fn slabs_pack_as_exactly_as_arenas() {
        for size in 1..=MAX_SIZE {
            let class = class_of(size);
            let slot = SIZES[class] as usize;
            let rounded = size.next_multiple_of(GRANULE);
            assert!(slot >= size && slot % GRANULE == 0);
            assert!((SIZES[class - 1] as usize) < size, "the smallest that fits");
            let (bytes, slots) = cost(class);
            assert!(bytes * 1000 <= rounded * slots * (1000 + TOLERANCE), "{size}");
            if size <= MAX_EXACT {
                assert_eq!((slot, bytes), (rounded, slots * rounded), "{size}");
            }
        }
        assert_eq!((class_of(1), class_of(MAX_SIZE), SIZES[0]), (1, CLASSES - 1, 0));
    }

    #[test]
    fn offsets_are_divided_exactly() {
        for (class, size) in SIZES.into_iter().enumerate().take(CLASSES).skip(1) {
            let size = usize::from(size);
            for wanted in [0, 1, 1024, 3 * 1024, 5000, 16 * 1024, 64 * 1024, 1 << 20] {
                for exact in [false, true] {
                    let Some(slots) = slots_for(class, wanted, exact) else {
                        assert!(exact);
                        continue;
                    };
                    let bytes = units_for(class, slots) * UNIT;
                    assert!((1..=MAX_SLOTS).contains(&slots) && slots * size <= bytes);
                    assert!(bytes <= MAX_UNITS * UNIT && bytes - slots * size < UNIT);
                    assert!(bytes <= wanted.max(size.next_multiple_of(UNIT)));
                    assert!(!exact || bytes == slots * size);
                    let unit: Unit = bytemuck::Zeroable::zeroed();
                    unit.set_slab(MAX_UNITS - 1, class, slots);
                    assert_eq!(
                        (unit.offset(), unit.class(), unit.slots()),
                        (MAX_UNITS - 1, class, slots)
                    );
                    assert_eq!(unit.units() * UNIT, bytes);
                    assert_eq!(unit.all().count_ones() as usize, slots);
                    assert_eq!(unit.all().trailing_ones() as usize, slots);
                    for offset in 0..slots * size {
                        assert_eq!(slot_at(class, offset) as usize, offset / size);
                    }
                }
            }
        }
    }
}
