//! A heap's count of its chunks, in one word.

#![forbid(unsafe_code)]

use super::size_class::SizeClass;
use bytemuck::Zeroable;

/// Bytes and number of chunks in one word, so that one addition keeps both. Sums over heaps are
/// right modulo 2^64 even where a heap has freed more than it has allocated, because chunks were
/// another's.
#[derive(Clone, Copy, Default, Zeroable)]
pub(super) struct Tally(pub(super) u64);

impl Tally {
    pub(super) const NOTHING: Self = Self(0);
    /// No tally is less.
    pub(super) const LEAST: Self = Self(i64::MIN as u64);

    /// Twice as many chunks as slabs and exact caches have are fewer than 2 to the power of this.
    const BITS: u32 = 28;

    /// One chunk of a size in bytes.
    pub(super) const fn of(size: u16) -> Self {
        Self((size as u64) << Self::BITS | 1)
    }

    /// `chunks` chunks of a class.
    pub(super) fn of_many(class: SizeClass, chunks: usize) -> Self {
        Self(Self::of(class.size() as u16).0.wrapping_mul(chunks as u64))
    }

    #[inline(always)]
    pub(super) const fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    #[inline(always)]
    pub(super) const fn minus(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }

    /// Bytes; below 0 where more were freed than allocated.
    pub(super) const fn bytes(self) -> isize {
        let chunks = self.chunks() as u64;
        (self.0.wrapping_sub(chunks) as i64 >> Self::BITS) as isize
    }

    /// Number of chunks; below 0 where more were freed than allocated.
    pub(super) const fn chunks(self) -> isize {
        let unused = u64::BITS - Self::BITS;
        ((self.0 << unused) as i64 >> unused) as isize
    }

    /// Whether there are more bytes here than in `other`, or as many in more chunks. Either may be
    /// negative.
    #[inline(always)]
    pub(super) const fn exceeds(self, other: Self) -> bool {
        self.0 as i64 > other.0 as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up_across_heaps() {
        let (small, large) = (Tally::of(16), Tally::of(4096));
        let minus = Tally::default().minus(large);
        assert!(!minus.exceeds(Tally::NOTHING) && !small.plus(minus).exceeds(Tally::NOTHING));
        let sum = minus.plus(small).plus(large);
        assert_eq!((sum.bytes(), sum.chunks()), (16, 1));
        assert_eq!((minus.bytes(), minus.chunks()), (-4096, -1));
        let few = minus.plus(small).plus(small);
        assert_eq!((few.bytes(), few.chunks()), (-4064, 1));
        assert!(sum.exceeds(Tally::NOTHING) && large.exceeds(sum) && !sum.exceeds(sum));
    }
}
