//! A set of small integers with constant-time successor.
//!
//! Level 0 has one bit per integer. Each level above has one bit per 64-bit word of the level
//! below, set while that word is not zero, up to a level of a single word. A search looks at one
//! word per level on the way up and one on the way down: at most eleven words for 2^32 integers,
//! five for an arena of 256 KiB. (It is the bitmap that two-level segregated fit puts over its
//! size classes, carried on until each class has one size; Masmano et al., "TLSF: a new
//! dynamic memory allocator for real-time systems", ECRTS 2004.)

use super::error::OutOfMemory;
use bytemuck::allocation::try_zeroed_slice_box;

const BITS: usize = u64::BITS as usize;
const MAX_LEVELS: usize = 6;
/// 64^6, what `MAX_LEVELS` levels can hold; a 32-bit address space has no room for as many.
const MAX_LEN: u64 = 1 << 36;

pub(super) struct BitTree {
    /// All levels, level 0 first. The system zeroes their pages when they are first touched.
    words: Box<[u64]>,
    /// Index in `words` of each level's first word; the last level has one word. Past the end for
    /// the second level where there is only one.
    level_start: [usize; MAX_LEVELS],
    levels: usize,
    /// Number of words of level 0.
    width: usize,
}

impl BitTree {
    /// An empty set that can hold the integers below `len`.
    pub(super) fn new(len: usize) -> Result<Self, OutOfMemory> {
        if len as u64 > MAX_LEN {
            return Err(OutOfMemory);
        }
        let mut level_start = [0; MAX_LEVELS];
        let mut total = 0;
        let mut width = len.max(1);
        let mut levels = 0;
        loop {
            width = width.div_ceil(BITS);
            level_start[levels] = total;
            total += width;
            levels += 1;
            if width == 1 {
                break;
            }
        }
        if levels == 1 {
            level_start[1] = total;
        }
        let words = try_zeroed_slice_box(total).map_err(|()| OutOfMemory)?;
        Ok(Self { words, level_start, levels, width: len.max(1).div_ceil(BITS) })
    }

    #[cfg(test)]
    fn contains(&self, i: usize) -> bool {
        self.words[i / BITS] >> (i % BITS) & 1 != 0
    }

    /// Adds `i`. Does not branch on whether others are near, but for the third level up.
    #[inline(always)]
    pub(super) fn insert(&mut self, i: usize) {
        self.words[i / BITS] |= 1 << (i % BITS);
        let i = i / BITS;
        if let Some(word) = self.words.get_mut(self.level_start[1] + i / BITS) {
            let was_empty = *word == 0;
            *word |= 1 << (i % BITS);
            if was_empty {
                self.insert_above(i / BITS);
            }
        }
    }

    #[cold]
    fn insert_above(&mut self, mut i: usize) {
        for level in 2..self.levels {
            let word = &mut self.words[self.level_start[level] + i / BITS];
            let was_empty = *word == 0;
            *word |= 1 << (i % BITS);
            if !was_empty {
                break;
            }
            i /= BITS;
        }
    }

    /// Removes `i`, which need not be a member, if `condition` holds. Branches on neither.
    #[inline(always)]
    pub(super) fn remove_if(&mut self, i: usize, condition: bool) {
        let word = &mut self.words[i / BITS];
        *word &= !(u64::from(condition) << (i % BITS));
        if *word == 0 {
            self.remove_above(i / BITS);
        }
    }

    #[cold]
    fn remove_above(&mut self, mut i: usize) {
        for level in 1..self.levels {
            let word = &mut self.words[self.level_start[level] + i / BITS];
            *word &= !(1 << (i % BITS));
            if *word != 0 {
                break;
            }
            i /= BITS;
        }
    }

    /// The smallest member that is at least `i`, which may be any number.
    #[inline(always)]
    pub(super) fn next_from(&self, i: usize) -> Option<usize> {
        let w = i / BITS;
        // Nothing beyond the last word; its own unused bits are never set.
        if w >= self.width {
            return None;
        }
        let rest = self.words[w] & (u64::MAX << (i % BITS));
        if rest != 0 {
            return Some(w * BITS + rest.trailing_zeros() as usize);
        }
        self.next_above(w)
    }

    /// The smallest member whose level-0 word comes after word `w`.
    fn next_above(&self, mut w: usize) -> Option<usize> {
        for level in 1..self.levels {
            // Bits after `w` in its own word of this level; a shift by 64 leaves none.
            let mask = (u64::MAX << (w % BITS)) << 1;
            let rest = self.words[self.level_start[level] + w / BITS] & mask;
            if rest != 0 {
                let found = w / BITS * BITS + rest.trailing_zeros() as usize;
                return Some(self.first_below(level, found));
            }
            w /= BITS;
        }
        None
    }

    /// The smallest member below the non-empty word `w` of level `level - 1`.
    fn first_below(&self, level: usize, mut w: usize) -> usize {
        for level in (0..level).rev() {
            w = w * BITS + self.words[self.level_start[level] + w].trailing_zeros() as usize;
        }
        w
    }

    fn last_below(&self, level: usize, mut w: usize) -> usize {
        for level in (0..level).rev() {
            w = w * BITS + self.words[self.level_start[level] + w].ilog2() as usize;
        }
        w
    }

    /// The largest member.
    #[inline]
    pub(super) fn last(&self) -> Option<usize> {
        let top = self.words[self.level_start[self.levels - 1]];
        (top != 0).then(|| self.last_below(self.levels - 1, top.ilog2() as usize))
    }

    /// Bytes of bookkeeping reserved (not necessarily resident).
    pub(super) fn reserved_bytes(&self) -> usize {
        size_of_val(&*self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every query against a `BTreeSet`, at lengths around each change of the number of levels.
    #[test]
    fn agrees_with_an_ordered_set() {
        for len in [1, 2, 63, 64, 65, 4095, 4096, 4097, 262_144, 262_145] {
            let mut tree = BitTree::new(len).unwrap();
            let mut model = BTreeSet::new();
            let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
            for step in 0..4000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let i = (state >> 33) as usize % len;
                if state >> 20 & 3 == 0 || step > 3000 {
                    tree.remove_if(i, false);
                    assert_eq!(tree.contains(i), model.contains(&i));
                    tree.remove_if(i, true);
                    model.remove(&i);
                } else {
                    tree.insert(i);
                    model.insert(i);
                }
                let q = (state >> 13) as usize % len;
                assert_eq!(tree.contains(q), model.contains(&q));
                assert_eq!(tree.next_from(q), model.range(q..).next().copied());
                assert_eq!(tree.last(), model.last().copied());
            }
            assert_eq!(tree.next_from(len), None);
        }
    }

    // With addresses of 32 bits, a bit for each of them takes 512 MiB, which memory can hold.
    #[cfg(target_pointer_width = "64")]
    #[test]
    fn refuses_what_memory_cannot_hold() {
        assert!(BitTree::new(usize::MAX >> 8).is_err());
    }
}
