//! Size classes: the sizes that slots of slabs have, the class that serves a request, and the
//! shapes of slabs.
//!
//! All of it is arithmetic on sizes, and most of it is done when the library is compiled.

#![forbid(unsafe_code)]

use crate::arena_set::{ARENA_ALIGN, ARENA_SIZE};
use crate::poison;

/// Slabs take whole units of this many bytes, and begin at multiples of it.
pub(super) const UNIT: usize = 1024;
/// Slots are multiples of this many bytes, and begin at multiples of it.
pub(super) const GRANULE: usize = 16;
/// Largest size in bytes that has a class.
pub(super) const MAX_SIZE: usize = 4096;
/// Classes are numbered from 1 on, so that 0 means no class. There are `CLASSES - 1` of them.
pub(super) const CLASSES: usize = 128;
/// Length of tables by class; a power of two, so that an index needs no check.
pub(super) const CLASS_SPAN: usize = 128;
/// Up to this size in bytes there is a class for each number of granules.
const MAX_EXACT: usize = 1024;
/// Most slots of a slab: the bits of a word.
pub(super) const MAX_SLOTS: usize = 64;
/// Most units of a slab.
pub(super) const MAX_UNITS: usize = 64;

// Indexes are reduced modulo `CLASS_SPAN`, which must lose no class.
const _: () = assert!(CLASS_SPAN.is_power_of_two() && CLASSES <= CLASS_SPAN);
// A slab's slots are the bits of a word.
const _: () = assert!(MAX_SLOTS == u64::BITS as usize);
// A slot begins at a granule of the table of chunks and is a chunk of an arena, which has the same
// granule.
const _: () = assert!(GRANULE == ARENA_ALIGN && UNIT % GRANULE == 0 && MAX_SIZE % GRANULE == 0);

/// The number of a size class: 1 to `CLASSES - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SizeClass(usize);

/// Slot sizes in bytes by class: each multiple of a granule up to [`MAX_EXACT`]. Above, the sizes
/// that make a chunk of any size cost at most [`TOLERANCE`] more than its bytes, the end of its
/// slab included.
pub(super) static SLOT_SIZES: [u16; CLASS_SPAN] = SIZES_AND_SHAPES.0;

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
        if i * GRANULE > SLOT_SIZES[class] as usize {
            class += 1;
        }
        classes[i] = class as u8;
        i += 1;
    }
    classes
};

/// 2^32 divided by the slot size, rounded up.
static RECIPROCALS: [u32; CLASS_SPAN] = {
    let mut reciprocals = [0; CLASS_SPAN];
    let mut class = 1;
    while class < CLASSES {
        reciprocals[class] = (1_u64 << 32).div_ceil(SLOT_SIZES[class] as u64) as u32;
        class += 1;
    }
    reciprocals
};

impl SizeClass {
    /// Not the class of any chunk.
    const IMPOSSIBLE: Self = Self(CLASSES);

    /// The class with a number, which is reduced to those that can be.
    #[inline(always)]
    pub(super) const fn of_number(number: usize) -> Self {
        Self(number % CLASS_SPAN)
    }

    /// Every class.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (1..CLASSES).map(Self)
    }

    #[inline(always)]
    pub(super) const fn number(self) -> usize {
        self.0
    }

    /// The class for `size` bytes, which is 1 to [`MAX_SIZE`].
    #[inline(always)]
    pub(super) fn of_size(size: usize) -> Self {
        let granules = size.div_ceil(GRANULE);
        Self::of_number(if size <= MAX_EXACT { granules } else { CLASS_OF[granules] as usize })
    }

    /// The class that serves a size at an alignment, if there is one. Slots lie at multiples of
    /// their size from a multiple of [`UNIT`].
    #[inline(always)]
    pub(super) fn for_request(size: usize, alignment: usize) -> Option<Self> {
        let size = with_redzone(size);
        if alignment > ARENA_ALIGN {
            return Self::over_aligned(size, alignment);
        }
        (size.wrapping_sub(1) < MAX_SIZE).then(|| Self::of_size(size))
    }

    fn over_aligned(size: usize, alignment: usize) -> Option<Self> {
        if !alignment.is_power_of_two() || alignment > UNIT {
            return None;
        }
        let size = size.checked_next_multiple_of(alignment)?;
        let class = (size.wrapping_sub(1) < MAX_SIZE).then(|| Self::of_size(size))?;
        (class.size() % alignment == 0).then_some(class)
    }

    /// The class that a chunk has if it was allocated with a size and an alignment. If no small
    /// chunk is allocated with them (a size without a class, an alignment that is not a power of
    /// two), a class that no chunk has.
    #[inline(always)]
    pub(super) fn expected((size, alignment): (usize, usize)) -> Self {
        match Self::for_request(size, alignment) {
            Some(class) if alignment.is_power_of_two() => class,
            _ => Self::IMPOSSIBLE,
        }
    }

    /// Slot size in bytes.
    pub(super) fn size(self) -> usize {
        SLOT_SIZES[self.0] as usize
    }

    /// How many slots a slab has that takes about `bytes` bytes and has at least one slot. With
    /// `exact`, only if such a slab wastes nothing.
    pub(super) fn slots_for(self, bytes: usize, exact: bool) -> Option<usize> {
        let (size, best) = (self.size(), BEST_SLOTS[self.0] as usize);
        let units = (bytes / UNIT).clamp(size.div_ceil(UNIT), MAX_UNITS);
        let most = self.slots_in(units);
        if !exact && most < best {
            // As little waste as there can be, and then as many as possible.
            let waste =
                |slots: usize| (self.units_for(slots) * UNIT - slots * size) * MAX_SLOTS / slots;
            return (1..=most).rev().min_by_key(|&slots| waste(slots));
        }
        // Several of the slabs that waste least make one that wastes no more.
        let slots = best * (most.max(best) / best);
        if exact && (most < best || slots * size % UNIT != 0) {
            return None;
        }
        Some(slots)
    }

    /// How many slots fit so many units, as far as a slab can have them.
    fn slots_in(self, units: usize) -> usize {
        (units * UNIT / self.size()).min(MAX_SLOTS)
    }

    /// How many units hold so many slots.
    pub(super) fn units_for(self, slots: usize) -> usize {
        (self.size() * slots).div_ceil(UNIT)
    }

    /// Which slot of its slab a live chunk of this class is, by its offset in the slab in bytes.
    pub(super) fn slot_at(self, offset: usize) -> u32 {
        // Exact: with r = ceil(2^32 / size), offset * r is off by less than offset * size, and that
        // stays below 2^32 (Granlund and Montgomery, "Division by Invariant Integers using
        // Multiplication", PLDI 1994, theorem 4.2).
        ((offset as u64 * u64::from(RECIPROCALS[self.0])) >> 32) as u32
    }

    /// Bytes of some slots, given by their bits.
    pub(super) fn bytes_of(self, slots: u64) -> usize {
        slots.count_ones() as usize * self.size()
    }
}

/// The size to allocate for a chunk of `size` bytes, so that a poisoned granule follows it, if
/// there is room.
#[inline(always)]
pub(super) fn with_redzone(size: usize) -> usize {
    match size {
        1.. if poison::is_active() && size <= ARENA_SIZE - ARENA_ALIGN => size + ARENA_ALIGN,
        _ => size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that a chunk takes in the slab that wastes least, times its number of slots, and that
    /// number.
    fn cost(class: SizeClass) -> (usize, usize) {
        let slots = BEST_SLOTS[class.number()] as usize;
        (class.units_for(slots) * UNIT, slots)
    }

    #[test]
    fn slabs_pack_as_exactly_as_arenas() {
        for size in 1..=MAX_SIZE {
            let class = SizeClass::of_size(size);
            let slot = class.size();
            let rounded = size.next_multiple_of(GRANULE);
            assert!(slot >= size && slot % GRANULE == 0);
            assert!((SLOT_SIZES[class.number() - 1] as usize) < size, "the smallest that fits");
            let (bytes, slots) = cost(class);
            assert!(bytes * 1000 <= rounded * slots * (1000 + TOLERANCE), "{size}");
            if size <= MAX_EXACT {
                assert_eq!((slot, bytes), (rounded, slots * rounded), "{size}");
            }
        }
        let numbers = [1, MAX_SIZE].map(|size| SizeClass::of_size(size).number());
        assert_eq!((numbers, SLOT_SIZES[0]), ([1, CLASSES - 1], 0));
    }

    #[test]
    fn offsets_are_divided_exactly() {
        for class in SizeClass::all() {
            let size = class.size();
            for wanted in [0, 1, 1024, 3 * 1024, 5000, 16 * 1024, 64 * 1024, 1 << 20] {
                for exact in [false, true] {
                    let Some(slots) = class.slots_for(wanted, exact) else {
                        assert!(exact);
                        continue;
                    };
                    let bytes = class.units_for(slots) * UNIT;
                    assert!((1..=MAX_SLOTS).contains(&slots) && slots * size <= bytes);
                    assert!(bytes <= MAX_UNITS * UNIT && bytes - slots * size < UNIT);
                    assert!(bytes <= wanted.max(size.next_multiple_of(UNIT)));
                    assert!(!exact || bytes == slots * size);
                    for offset in 0..slots * size {
                        assert_eq!(class.slot_at(offset) as usize, offset / size);
                    }
                }
            }
        }
    }
}
