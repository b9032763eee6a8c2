//! Free chunks of an arena by their size: the best fit, in constant time.
//!
//! Used by `arena` alone; depends on `bit_tree`.

use super::{Chunk, IndexError, OutOfMemory, bit_tree::BitTree};
use bytemuck::allocation::try_zeroed_slice_box;

/// Free chunks sorted by size, and among equals by age.
///
/// One bin per exact size, each a queue threaded through an array that is indexed by a chunk's
/// place, and a tree of bits over the bins: the smallest bin that is large enough and not empty is a
/// handful of count-trailing-zeros away. Insertion, removal and search take constant time; nothing
/// is allocated after construction, and untouched bookkeeping is never resident.
///
/// Places and sizes are counted in granules.
///
/// ```
/// use bitcoin_support::{ArenaSizeToChunkSortedMap, ArenaSizeToChunkSortedMapIterator, Chunk};
///
/// let mut free = ArenaSizeToChunkSortedMap::new(100)?;
/// free.insert(4, 50)?;
/// free.insert(8, 20)?;
/// free.insert(4, 10)?;
/// let mut at_least_3 = ArenaSizeToChunkSortedMapIterator::new(&free, 3);
/// assert_eq!(at_least_3.next(), Some(Chunk { start: 50, size: 4 })); // smallest, oldest
/// assert_eq!(at_least_3.next(), Some(Chunk { start: 10, size: 4 }));
/// assert_eq!(at_least_3.next(), Some(Chunk { start: 20, size: 8 }));
/// assert_eq!(at_least_3.next(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ArenaSizeToChunkSortedMap {
    /// The sizes of which there are chunks.
    sizes: BitTree,
    /// The oldest chunk of each size; meaningful for the members of `sizes` alone.
    oldest: Box<[u32]>,
    /// By the place of a chunk.
    nodes: Box<[Node]>,
}

/// A chunk's place in its bin's ring, which runs from oldest to newest and closes on itself: the
/// place of the next newer chunk, of the next older one, and the chunk's size. The size is 0 where
/// no chunk begins, and then the links mean nothing. (An array because those can be allocated
/// zeroed, lazily and fallibly, without unsafe code.)
type Node = [u32; 3];
const NEWER: usize = 0;
const OLDER: usize = 1;
const SIZE: usize = 2;

impl ArenaSizeToChunkSortedMap {
    /// The most granules a map can span.
    pub const MAX_GRANULES: usize = u32::MAX as usize;

    /// An empty map for chunks within `granules` granules.
    ///
    /// # Errors
    /// When the bookkeeping cannot be allocated, which includes more than
    /// [`MAX_GRANULES`](Self::MAX_GRANULES).
    pub fn new(granules: usize) -> Result<Self, OutOfMemory> {
        if granules > Self::MAX_GRANULES {
            return Err(OutOfMemory);
        }
        Ok(Self {
            sizes: BitTree::new(granules + 1)?,
            oldest: try_zeroed_slice_box(granules + 1).map_err(|()| OutOfMemory)?,
            nodes: try_zeroed_slice_box(granules).map_err(|()| OutOfMemory)?,
        })
    }

    /// Adds the chunk of `size` granules that begins at `chunk`, as the newest of its size.
    ///
    /// # Errors
    /// When the chunk is empty, reaches outside the map, or a chunk at that place is in the map;
    /// then nothing changes.
    pub fn insert(&mut self, size: usize, chunk: usize) -> Result<(), IndexError> {
        let end = chunk.checked_add(size).filter(|&end| end <= self.nodes.len() && size > 0);
        end.ok_or(IndexError::OutOfRange)?;
        if self.nodes[chunk][SIZE] != 0 {
            return Err(IndexError::Overlap);
        }
        self.insert_new(Chunk { start: chunk, size });
        Ok(())
    }

    /// Removes the chunk of `size` granules that begins at `chunk`.
    ///
    /// # Errors
    /// When there is no such chunk of that size in the map; then nothing changes.
    pub fn remove(&mut self, size: usize, chunk: usize) -> Result<(), IndexError> {
        match self.nodes.get(chunk) {
            Some(node) if size > 0 && node[SIZE] as usize == size => {
                self.remove_known(Chunk { start: chunk, size });
                Ok(())
            }
            _ => Err(IndexError::Absent),
        }
    }

    /// The smallest chunk of at least `size` granules; of several, the oldest.
    #[inline]
    pub fn best_fit(&self, size: usize) -> Option<Chunk> {
        let size = self.sizes.next_from(size)?;
        Some(Chunk { start: self.oldest[size] as usize, size })
    }

    /// The size of the largest chunk, 0 when there is none.
    #[inline]
    pub fn largest(&self) -> usize {
        self.sizes.last().unwrap_or(0)
    }

    /// Bytes of bookkeeping reserved; what is never touched is not resident.
    pub fn reserved_bytes(&self) -> usize {
        self.sizes.reserved_bytes() + size_of_val(&*self.oldest) + size_of_val(&*self.nodes)
    }

    /// [`insert`](Self::insert) for a chunk known to lie in the map and not to be in it.
    #[inline]
    pub(super) fn insert_new(&mut self, chunk: Chunk) {
        let Chunk { start, size } = chunk;
        // Places and sizes fit: a map spans at most MAX_GRANULES.
        let (place, size32) = (start as u32, size as u32);
        if self.sizes.contains(size) {
            let oldest = self.oldest[size];
            let newest = self.nodes[oldest as usize][OLDER];
            self.nodes[start] = [oldest, newest, size32];
            self.nodes[newest as usize][NEWER] = place;
            self.nodes[oldest as usize][OLDER] = place;
        } else {
            self.sizes.insert(size);
            self.oldest[size] = place;
            self.nodes[start] = [place, place, size32];
        }
    }

    /// [`remove`](Self::remove) for a chunk known to be in the map.
    #[inline]
    pub(super) fn remove_known(&mut self, chunk: Chunk) {
        let Chunk { start, size } = chunk;
        let [newer, older, _] = self.nodes[start];
        self.nodes[start][SIZE] = 0;
        if newer as usize == start {
            self.sizes.remove(size);
            return;
        }
        self.nodes[newer as usize][OLDER] = older;
        self.nodes[older as usize][NEWER] = newer;
        if self.oldest[size] as usize == start {
            self.oldest[size] = newer;
        }
    }
}

/// The chunks of an [`ArenaSizeToChunkSortedMap`] that have at least a given size: smallest first,
/// and oldest first among equals. Each step takes constant time.
pub struct ArenaSizeToChunkSortedMapIterator<'a> {
    map: &'a ArenaSizeToChunkSortedMap,
    next: Option<Chunk>,
}

impl<'a> ArenaSizeToChunkSortedMapIterator<'a> {
    /// Starts at the best fit for `size` granules.
    pub fn new(map: &'a ArenaSizeToChunkSortedMap, size: usize) -> Self {
        Self { map, next: map.best_fit(size) }
    }
}

impl Iterator for ArenaSizeToChunkSortedMapIterator<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let chunk = self.next?;
        let newer = self.map.nodes[chunk.start][NEWER];
        self.next = if newer == self.map.oldest[chunk.size] {
            self.map.best_fit(chunk.size + 1)
        } else {
            Some(Chunk { start: newer as usize, size: chunk.size })
        };
        Some(chunk)
    }
}

impl core::iter::FusedIterator for ArenaSizeToChunkSortedMapIterator<'_> {}
