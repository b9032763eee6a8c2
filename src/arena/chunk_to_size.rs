//! Chunks of an arena by their place: where each begins and ends, and how long it is.

use super::chunk::Chunk;
use super::error::{IndexError, OutOfMemory};
use crate::pages::Table;

/// Used chunks, and the size of each, found by where a chunk begins.
///
/// Places and sizes are counted in granules. A chunk's size is written down at its first granule,
/// in an array apart from the memory itself, and struck out when the chunk goes: so what is written
/// always holds. An [`Arena`](super::Arena) writes down in the same array where free chunks begin
/// and end, which is how neighbours find each other (boundary tags; Knuth, TAOCP 1, 2.5). That is
/// four bytes for each granule, committed lazily. Operations take constant time except where they
/// say otherwise.
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
    /// By granule: the size of the used chunk that begins there, marked `USED`, or the number of
    /// the free chunk that begins or ends with it; 0 for neither.
    tags: Table<u32>,
    len: usize,
}

const USED: u32 = 1 << 31;

impl ArenaChunkToSizeMap {
    /// The most granules a map can span.
    pub const MAX_GRANULES: usize = (1 << 30) - 1;

    /// An empty map for chunks within `granules` granules.
    ///
    /// # Errors
    /// When the bookkeeping cannot be allocated, which includes more than
    /// [`MAX_GRANULES`](Self::MAX_GRANULES).
    pub fn new(granules: usize) -> Result<Self, OutOfMemory> {
        if granules > Self::MAX_GRANULES {
            return Err(OutOfMemory);
        }
        Ok(Self { tags: Table::zeroed(granules).map_err(|_| OutOfMemory)?, len: 0 })
    }

    /// Adds the chunk of `size` granules that begins at `chunk`. The search for a chunk in the way
    /// takes a step for every granule from the end of the new one down to where another begins.
    ///
    /// # Errors
    /// When the chunk is empty, reaches outside the map or overlaps another; then nothing changes.
    pub fn insert(&mut self, chunk: usize, size: usize) -> Result<(), IndexError> {
        let end = chunk.checked_add(size).filter(|&end| end <= self.tags.len() && size > 0);
        let end = end.ok_or(IndexError::OutOfRange)?;
        // In the way is a chunk that begins before our end and does not end before our beginning.
        let nearest = (0..end).rev().find_map(|other| Some(other + self.size_of(other)?));
        if nearest.is_some_and(|its_end| its_end > chunk) {
            return Err(IndexError::Overlap);
        }
        self.insert_disjoint(Chunk { start: chunk, size });
        Ok(())
    }

    /// Removes the chunk that begins at `chunk` and returns its size; `None`, and no change, when
    /// no chunk begins there.
    #[inline(always)]
    pub fn remove(&mut self, chunk: usize) -> Option<usize> {
        let tag = self.tags.get_mut(chunk)?;
        if *tag & USED == 0 {
            return None;
        }
        let size = *tag & !USED;
        *tag = 0;
        self.len -= 1;
        Some(size as usize)
    }

    /// The size of the chunk that begins at `chunk`.
    #[inline]
    pub fn size_of(&self, chunk: usize) -> Option<usize> {
        let tag = *self.tags.get(chunk)?;
        (tag & USED != 0).then_some((tag & !USED) as usize)
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

    /// All chunks, from the lowest place up. A pass over all takes a step for every granule that is
    /// in no chunk, besides one for every chunk.
    pub fn iter(&self) -> impl Iterator<Item = Chunk> + '_ {
        let mut from = 0;
        core::iter::from_fn(move || {
            while from < self.tags.len() {
                let start = from;
                let size = self.size_of(start);
                from += size.unwrap_or(1);
                if let Some(size) = size {
                    return Some(Chunk { start, size });
                }
            }
            None
        })
    }

    /// The bookkeeping as it lies in memory.
    pub(super) fn bookkeeping(&self) -> &[u8] {
        bytemuck::cast_slice(&self.tags)
    }

    /// Bytes of bookkeeping reserved. Pages of it that are never touched are not resident.
    pub fn reserved_bytes(&self) -> usize {
        size_of_val(&*self.tags)
    }

    /// [`insert`](Self::insert) for a chunk known to lie in the map and to overlap none.
    #[inline(always)]
    pub(super) fn insert_disjoint(&mut self, chunk: Chunk) {
        // The size fits: a map has at most MAX_GRANULES.
        self.tags[chunk.start] = chunk.size as u32 | USED;
        self.len += 1;
    }

    /// Writes down that free chunk `number`, which is less than 2^31, begins or ends with
    /// `granule`, or with 0 that none does.
    #[inline(always)]
    pub(super) fn set_free(&mut self, granule: usize, number: u32) {
        self.tags[granule] = number;
    }

    /// The number of the free chunk that has `granule` for its first or last, 0 for none.
    pub(super) fn free_at(&self, granule: usize) -> usize {
        let tag = self.tags[granule];
        if tag & USED == 0 { tag as usize } else { 0 }
    }

    /// The number of the free chunk that has `granule` for its first or last, 0 for none, also
    /// beyond the map. Strikes it out there.
    #[inline(always)]
    pub(super) fn take_free(&mut self, granule: usize) -> u32 {
        let Some(place) = self.tags.get_mut(granule) else { return 0 };
        let tag = *place;
        // Without branches: all ones for a used chunk, which stays.
        let used = ((tag as i32) >> 31) as u32;
        *place = tag & used;
        tag & !used
    }
}
