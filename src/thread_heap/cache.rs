//! The caches of a heap: for each size class a stack of free slots.
//!
//! While samples are taken, allocations are counted, and each of them has to leave the common path.
//! The common path has no instruction that asks whether samples are taken. Instead it then finds
//! its cache empty when it allocates, and full when it frees. A second set of caches over the same
//! room is in use, numbered [`CLASS_SPAN`] higher. The table of chunks has their numbers, so that a
//! free takes no longer.

use super::size_class::{CLASS_SPAN, CLASSES, SLOT_SIZES, SizeClass};
use super::tally::Tally;
use bytemuck::Zeroable;
use core::sync::atomic::AtomicU16;
use core::sync::atomic::Ordering::Relaxed;

/// How many free slots of a class a heap keeps at hand: 8 KiB of them, but at least 8 and at most
/// 128. Enough that slabs are seldom looked at, and little beside an arena.
pub(super) const fn capacity(size: usize) -> usize {
    match 8192 / size {
        ..8 => 8,
        128.. => 128,
        slots => slots,
    }
}

/// Room for all caches, each with a 0 in front; a power of two, so that an index needs no check.
pub(super) const CACHED: usize = 4096;

/// Number of caches: two for each class, one of which is in use while allocations are counted.
pub(super) const CACHES: usize = 2 * CLASS_SPAN;

// A byte in the table of chunks has the number of any cache, and no other.
const _: () = assert!(CACHES == 1 << u8::BITS);
// Every cache has its room.
const _: () = {
    assert!(CACHED.is_power_of_two());
    let (mut places, mut class) = (0, 1);
    while class < CLASSES {
        places += 1 + capacity(SLOT_SIZES[class] as usize);
        class += 1;
    }
    assert!(places <= CACHED);
};

/// The number of a cache: a class's number, or that and [`CLASS_SPAN`] for the cache that is in use
/// while allocations are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CacheNumber(usize);

impl CacheNumber {
    /// The cache of a class that the common path of allocations looks at.
    #[inline(always)]
    pub(super) const fn common(class: SizeClass) -> Self {
        Self(class.number())
    }

    /// The cache of a class that is `counted` higher: [`CLASS_SPAN`] or 0.
    #[inline(always)]
    pub(super) const fn of(class: SizeClass, counted: usize) -> Self {
        Self(class.number() + counted)
    }

    /// What the byte of an exact chunk names while it lies in an exact cache: a cache that has no
    /// room.
    pub(super) const FREE: Self = Self(CLASS_SPAN);

    /// The cache that a byte in the table of chunks names.
    #[inline(always)]
    pub(super) const fn of_byte(byte: u8) -> Self {
        Self(byte as usize)
    }

    /// The byte in the table of chunks.
    #[inline(always)]
    pub(super) const fn byte(self) -> u8 {
        self.0 as u8
    }

    #[inline(always)]
    pub(super) const fn index(self) -> usize {
        self.0
    }

    /// The number of the class that the cache is for.
    pub(super) const fn class_number(self) -> usize {
        self.0 % CLASS_SPAN
    }
}

/// The cache of a class: a stack of slots.
#[derive(Zeroable)]
#[repr(C, align(16))]
pub(super) struct Cache {
    /// What a chunk of the class adds to a tally.
    pub(super) chunk: Tally,
    /// Slot size in bytes.
    pub(super) size: u16,
    /// Where the last slot stands in the heap's cached slots. In an empty cache that is `start`,
    /// where there always is a 0, and in a full one `end`. In a cache that is not in use it is
    /// `end` as well.
    pub(super) top: AtomicU16,
    pub(super) start: u16,
    pub(super) end: u16,
}

impl Cache {
    /// An empty cache for each class, one behind the other. Those for counted allocations are not
    /// in use, have the same room, and leave the last place of it alone.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let mut next = 0;
        (0..CACHES).map(move |number| {
            let (class, counted) = (number % CLASS_SPAN, number >= CLASS_SPAN);
            if class == 0 {
                next = 0;
            }
            let size = SLOT_SIZES[class];
            let is_used = (1..CLASSES).contains(&class);
            let slots = if is_used { capacity(size as usize) as u16 } else { 0 };
            let start = next;
            if slots != 0 {
                next += slots + 1;
            }
            let end = start + if counted { slots.saturating_sub(1) } else { slots };
            let top = AtomicU16::new(if counted { end } else { start });
            Self { chunk: Tally::of(size), size, top, start, end }
        })
    }

    /// Number of cached slots.
    pub(super) fn len(&self) -> u16 {
        self.top.load(Relaxed) - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_do_not_overlap() {
        let caches: Vec<_> = Cache::all().collect();
        for class in 1..CLASSES {
            let Cache { start, end, size, .. } = caches[class];
            assert_eq!(size, SLOT_SIZES[class]);
            assert_eq!((end - start) as usize, capacity(size as usize));
            assert!(class == 1 || start == caches[class - 1].end + 1);
            assert!((end as usize) < CACHED);
            let counted = &caches[class + CLASS_SPAN];
            assert_eq!((counted.start, counted.end, counted.size), (start, end - 1, size));
            assert_eq!(counted.top.load(Relaxed), counted.end, "not in use");
        }
        for number in [0, CLASS_SPAN] {
            assert_eq!(caches[number].start, caches[number].end, "no class, no room");
        }
    }
}
