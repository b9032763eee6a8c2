//! Chunks of an arena by their place: where each begins, and how long it is.
//!
//! Used by `arena` alone; depends on `bit_tree`.

use super::{Chunk, IndexError, OutOfMemory, bit_tree::BitTree};

/// Which chunks there are, and the size of each, found by where a chunk begins or ends.
///
/// An [`Arena`](super::Arena) keeps one for its used chunks and one for its free chunks.
///
/// Places and sizes are counted in granules. Chunks never overlap, so a size need not be stored: one
/// bit marks each chunk's first granule, one its last, and a chunk's last granule is the first
/// last-granule mark at or after its beginning. That is a quarter of a byte per granule, committed
/// lazily. Every operation takes constant time.
///
/// ```
/// use bitcoin_support::ArenaChunkToSizeMap;
///
/// let mut chunks = ArenaChunkToSizeMap::new(100)?;
/// chunks.insert(10, 5)?;
/// assert!(chunks.insert(14, 1).is_err()); // overlaps
/// assert_eq!(chunks.size_of(10), Some(5));
/// assert_eq!(chunks.remove(12), None); // not where the chunk begins
/// assert_eq!(chunks.remove(10), Some(5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ArenaChunkToSizeMap {
    /// The first granule of every chunk.
    first: BitTree,
    /// The last granule of every chunk.
    last: BitTree,
    granules: usize,
    len: usize,
}

impl ArenaChunkToSizeMap {
    /// An empty map for chunks within `granules` granules.
    ///
    /// # Errors
    /// When the bookkeeping cannot be allocated.
    pub fn new(granules: usize) -> Result<Self, OutOfMemory> {
        Ok(Self { first: BitTree::new(granules)?, last: BitTree::new(granules)?, granules, len: 0 })
    }

    /// Adds the chunk of `size` granules that begins at `chunk`.
    ///
    /// # Errors
    /// When the chunk is empty, reaches outside the map or overlaps another; then nothing changes.
    pub fn insert(&mut self, chunk: usize, size: usize) -> Result<(), IndexError> {
        let end = chunk.checked_add(size).filter(|&end| end <= self.granules && size > 0);
        let end = end.ok_or(IndexError::OutOfRange)?;
        // Free of others: none begins within, and the last that begins before ends before.
        let begins_within = self.first.next_from(chunk).is_some_and(|other| other < end);
        let reaches_in = self
            .first
            .prev_from(chunk)
            .is_some_and(|other| self.last.next_from(other).is_some_and(|last| last >= chunk));
        if begins_within || reaches_in {
            return Err(IndexError::Overlap);
        }
        self.insert_disjoint(Chunk { start: chunk, size });
        Ok(())
    }

    /// Removes the chunk that begins at `chunk` and returns its size; `None`, and no change, when no
    /// chunk begins there.
    pub fn remove(&mut self, chunk: usize) -> Option<usize> {
        let size = self.size_of(chunk)?;
        self.remove_known(Chunk { start: chunk, size });
        Some(size)
    }

    /// The size of the chunk that begins at `chunk`.
    #[inline]
    pub fn size_of(&self, chunk: usize) -> Option<usize> {
        if chunk >= self.granules || !self.first.contains(chunk) {
            return None;
        }
        let last = self.last.next_from(chunk)?;
        Some(last - chunk + 1)
    }

    /// The chunk that ends just before granule `end`.
    #[inline]
    pub fn ending_at(&self, end: usize) -> Option<Chunk> {
        let last = end.checked_sub(1)?;
        if last >= self.granules || !self.last.contains(last) {
            return None;
        }
        let start = self.first.prev_from(last)?;
        Some(Chunk { start, size: end - start })
    }

    /// Number of chunks.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no chunks.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All chunks, from the lowest place up.
    pub fn iter(&self) -> impl Iterator<Item = Chunk> + '_ {
        let mut from = 0;
        core::iter::from_fn(move || {
            let start = self.first.next_from(from)?;
            let last = self.last.next_from(start)?;
            from = last + 1;
            Some(Chunk { start, size: from - start })
        })
    }

    /// Bytes of bookkeeping reserved; what is never touched is not resident.
    pub fn reserved_bytes(&self) -> usize {
        self.first.reserved_bytes() + self.last.reserved_bytes()
    }

    /// [`insert`](Self::insert) for a chunk known to lie in the map and to overlap none.
    #[inline]
    pub(super) fn insert_disjoint(&mut self, chunk: Chunk) {
        self.first.insert(chunk.start);
        self.last.insert(chunk.start + chunk.size - 1);
        self.len += 1;
    }

    /// [`remove`](Self::remove) for a chunk known to be in the map.
    #[inline]
    pub(super) fn remove_known(&mut self, chunk: Chunk) {
        self.first.remove(chunk.start);
        self.last.remove(chunk.start + chunk.size - 1);
        self.len -= 1;
    }

    /// Takes `size` granules off the end of `chunk`, which is in the map and longer than that.
    #[inline]
    pub(super) fn shorten(&mut self, chunk: Chunk, size: usize) {
        self.last.insert(chunk.start + chunk.size - size - 1);
        self.last.remove(chunk.start + chunk.size - 1);
    }
}
