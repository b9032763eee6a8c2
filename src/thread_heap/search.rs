//! How thoroughly free memory is searched for in heaps, and what the last searches have left there,
//! so that no search is made again for what it has left.

#![forbid(unsafe_code)]

/// A search for free memory in all heaps. Each does what those before it do, and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// Gives back empty slabs, and what lies in caches.
    Reclaim,
    /// Dissolves slabs of which less than a fifth is used.
    Sparse,
    /// Dissolves slabs with free slots, or bytes behind the last slot.
    NotFull,
    /// Dissolves all slabs.
    All,
}

impl Search {
    /// Whether a slab becomes chunks of their exact sizes, by its bytes in used slots and its
    /// others.
    pub(super) const fn dissolves(self, used: usize, unused: usize) -> bool {
        match self {
            Self::Reclaim => false,
            Self::Sparse => unused / 4 > used,
            Self::NotFull => unused > 0,
            Self::All => true,
        }
    }
}

/// The number of kinds of searches.
const KINDS: usize = Search::All as usize + 1;

/// What searches have left free in heaps.
pub(super) struct Searched {
    /// By search: bytes that were free in heaps when it, or a more thorough one, was last made, or
    /// fewer if there were fewer since.
    left: [usize; KINDS],
    /// Whether a search was made for so little memory since the pool last grew.
    for_little: bool,
}

impl Searched {
    pub(super) const NOTHING: Self = Self { left: [0; KINDS], for_little: false };

    /// Bytes that a search may find while `free` bytes are free in heaps.
    pub(super) fn may_find(&mut self, search: Search, free: usize) -> usize {
        let left = &mut self.left[search as usize];
        *left = free.min(*left);
        free - *left
    }

    /// Notes that a search was made, and that `free` bytes are free in heaps now.
    pub(super) fn note(&mut self, search: Search, free: usize) {
        self.left[..=search as usize].fill(free);
    }

    /// Whether a search may be made for memory that is little beside the search's cost: once until
    /// the pool grows.
    pub(super) fn may_be_for_little(&mut self) -> bool {
        !core::mem::replace(&mut self.for_little, true)
    }

    /// Notes that more memory has been locked.
    pub(super) fn note_growth(&mut self) {
        self.for_little = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thorough_search_is_not_put_off_by_a_quick_one() {
        let mut searched = Searched::NOTHING;
        assert_eq!(searched.may_find(Search::Sparse, 1000), 1000);
        searched.note(Search::Reclaim, 900);
        assert_eq!(searched.may_find(Search::Reclaim, 950), 50);
        assert_eq!(searched.may_find(Search::Sparse, 950), 950);
        searched.note(Search::Sparse, 300);
        assert_eq!(searched.may_find(Search::Reclaim, 310), 10);
        assert_eq!(searched.may_find(Search::Sparse, 310), 10);
        assert_eq!(searched.may_find(Search::NotFull, 310), 310);
        // What has been used since is no longer what was left.
        assert_eq!(searched.may_find(Search::Sparse, 100), 0);
        assert_eq!(searched.may_find(Search::Sparse, 310), 210);
        searched.note(Search::All, 0);
        assert_eq!(searched.may_find(Search::NotFull, 64), 64);
    }
}
