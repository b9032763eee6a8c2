//! Free chunks of an arena by their size: the best fit, in constant time.

use super::bit_tree::BitTree;
use super::chunk::Chunk;
use super::error::{IndexError, OutOfMemory};
use crate::pages::Table;

/// Free chunks sorted by size, and among equals by age.
///
/// Each size up to a 16th of the map has a bin, which is a ring of links. A tree of bits over the
/// bins finds the smallest bin that is large enough and has chunks. All larger chunks share the
/// last bin, whose ring is sorted by size, then by age: fewer than 16 of them have room in the map
/// at once, so that a walk along this ring is short. (With a bin for every size, the one free chunk
/// of an arena that is being filled would pass through all of them, and make them all resident.)
///
/// Nothing is allocated after construction, and untouched bookkeeping is never resident. Operations
/// take constant time except where they say otherwise.
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
    /// The bins before the last that have chunks. Each has those of the size that is its number.
    bins: BitTree,
    /// The last bin, which has all chunks of this size and above.
    large: usize,
    /// First the bins, from 0 up, then the chunks; a chunk's number is where its record stands. A
    /// bin's ring runs from the bin to its smallest chunk, the oldest of equals first, on to the
    /// largest and newest, and back to the bin. The bin 0 has no chunks, and stands for no chunk
    /// where a number is wanted.
    records: Table<Record>,
    /// Numbers that chunks had, the first `numbers_left` of these: a stack.
    left: Table<u32>,
    numbers_left: usize,
    /// The highest number that a chunk ever had. Numbers are used again first, so that what belongs
    /// to them stays in cache.
    highest: usize,
    granules: usize,
    most: usize,
    len: usize,
}

/// How far along the array the next newer and the next older record are, modulo 2^32: so that
/// zeros, which can be had lazily, stand for a bin without chunks, and so that it takes no branches
/// to put a record into a ring and to take it out. Then a chunk's place and size. (An array because
/// those can be had zeroed, lazily and fallibly, without unsafe code.)
type Record = [u32; 4];
const NEWER: usize = 0;
const OLDER: usize = 1;
const PLACE: usize = 2;
const SIZE: usize = 3;

/// Fewer chunks of the last bin than this have room in a map at once.
const LARGE_MOST: usize = 16;

impl ArenaSizeToChunkSortedMap {
    /// The most granules a map can span.
    pub const MAX_GRANULES: usize = (1 << 30) - 1;

    /// An empty map for chunks within `granules` granules.
    ///
    /// # Errors
    /// When the bookkeeping cannot be allocated, which includes more than
    /// [`MAX_GRANULES`](Self::MAX_GRANULES).
    pub fn new(granules: usize) -> Result<Self, OutOfMemory> {
        Self::with_chunks(granules, granules)
    }

    /// An empty map for no more than `most` chunks at once.
    pub(super) fn with_chunks(granules: usize, most: usize) -> Result<Self, OutOfMemory> {
        if granules > Self::MAX_GRANULES {
            return Err(OutOfMemory);
        }
        let large = granules / LARGE_MOST + 1;
        let bins = large + 1; // with bin 0
        let mut non_empty = BitTree::new(large)?;
        // Bin 0 always counts as one with chunks. No search begins there, and so the first word of
        // the tree is never empty, which spares the way up through the tree when the chunk that
        // stands for none is unlinked.
        non_empty.insert(0);
        // `new_number` may look one number ahead.
        Ok(Self {
            bins: non_empty,
            large,
            records: Table::zeroed(bins + most + 1).map_err(|_| OutOfMemory)?,
            left: Table::zeroed(most + 1).map_err(|_| OutOfMemory)?,
            numbers_left: 0,
            highest: bins - 1,
            granules,
            most,
            len: 0,
        })
    }

    /// Adds the chunk of `size` granules that begins at `chunk`, as the newest of its size. That it
    /// overlaps none that is there is for the caller to see to.
    ///
    /// # Errors
    /// When the chunk is empty or reaches outside the map, or there are as many chunks as there are
    /// granules; then nothing changes.
    pub fn insert(&mut self, size: usize, chunk: usize) -> Result<(), IndexError> {
        let end = chunk.checked_add(size).filter(|&end| end <= self.granules && size > 0);
        end.ok_or(IndexError::OutOfRange)?;
        if self.len == self.most {
            return Err(IndexError::Overlap);
        }
        self.insert_merged(Chunk { start: chunk, size }, 0, 0);
        Ok(())
    }

    /// Removes the chunk of `size` granules that begins at `chunk`. The search for it takes a step
    /// for every chunk of its bin before it.
    ///
    /// # Errors
    /// When there is no such chunk of that size in the map; then nothing changes.
    pub fn remove(&mut self, size: usize, chunk: usize) -> Result<(), IndexError> {
        if size == 0 || size > self.granules {
            return Err(IndexError::Absent);
        }
        let bin = self.bin_of(size);
        let mut number = self.follow(bin, NEWER);
        while number != bin {
            if self.chunk(number) == (Chunk { start: chunk, size }) {
                self.remove_number(number);
                return Ok(());
            }
            number = self.follow(number, NEWER);
        }
        Err(IndexError::Absent)
    }

    /// The smallest chunk of at least `size` granules; of several, the oldest.
    pub fn best_fit(&self, size: usize) -> Option<Chunk> {
        self.best_number(size.max(1)).map(|number| self.chunk(number))
    }

    /// The size of the largest chunk; 0 when there are no chunks.
    #[inline]
    pub fn largest(&self) -> usize {
        let largest = self.chunk(self.follow(self.large, OLDER)).size;
        // The last bin, if it is empty, leads to itself, which has no size.
        if largest > 0 { largest } else { self.bins.last().unwrap_or(0) }
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

    /// The larger part of the bookkeeping as it lies in memory.
    pub(super) fn bookkeeping(&self) -> [&[u8]; 2] {
        [bytemuck::cast_slice(&self.records), bytemuck::cast_slice(&self.left)]
    }

    /// Bytes of bookkeeping reserved. Pages of it that are never touched are not resident.
    pub fn reserved_bytes(&self) -> usize {
        self.bins.reserved_bytes() + size_of_val(&*self.records) + size_of_val(&*self.left)
    }

    /// The number of the best fit, as in [`best_fit`](Self::best_fit), for at least 1 granule.
    #[inline(always)]
    pub(super) fn best_number(&self, size: usize) -> Option<usize> {
        match self.bins.next_from(size) {
            Some(bin) => Some(self.follow(bin, NEWER)),
            None => self.first_large(size),
        }
    }

    /// The chunk of a number. Number 0 has no size.
    #[inline(always)]
    pub(super) fn chunk(&self, number: usize) -> Chunk {
        let record = &self.records[number];
        Chunk { start: record[PLACE] as usize, size: record[SIZE] as usize }
    }

    /// Takes a chunk out, and leaves its number for another.
    #[inline(always)]
    pub(super) fn remove_number(&mut self, number: usize) {
        self.unlink(number, self.chunk(number).size);
        self.left[self.numbers_left] = number as u32;
        self.numbers_left += 1;
        self.len -= 1;
    }

    /// Makes the chunk of a number `rest` granules long, which is less than it was and more than 0;
    /// it counts as the newest of that size.
    #[inline(always)]
    pub(super) fn shorten(&mut self, number: usize, chunk: Chunk, rest: usize) {
        self.unlink(number, chunk.size);
        self.link(number, Chunk { start: chunk.start, size: rest });
    }

    /// Adds `chunk` extended over two others, `before` and `behind`, by number, either or both of
    /// which may be 0 for none; its number, which is that of `before` if there is one.
    ///
    /// Without branches on whether there are any: in an arena in use, that is as good as random.
    #[inline(always)]
    pub(super) fn insert_merged(
        &mut self,
        chunk: Chunk,
        before: usize,
        behind: usize,
    ) -> (usize, Chunk) {
        // Record 0 is alone in its ring and has no size: to take it out changes nothing.
        let (size_before, size_behind) = (self.chunk(before).size, self.chunk(behind).size);
        self.unlink(before, size_before);
        self.unlink(behind, size_behind);
        self.len = self.len + 1 - usize::from(before != 0) - usize::from(behind != 0);
        let number = self.new_number(before, behind);
        let merged = Chunk {
            start: chunk.start - size_before,
            size: size_before + chunk.size + size_behind,
        };
        self.link(number, merged);
        (number, merged)
    }

    /// The number for a chunk into which the chunks of two numbers merge, either or both of which
    /// may be 0: `before` if it is one, else `behind` if it is one, else a number that no chunk
    /// has. A number that falls idle is left for another chunk.
    #[inline(always)]
    fn new_number(&mut self, before: usize, behind: usize) -> usize {
        if self.numbers_left == 0 {
            self.highest += 1;
            self.left[0] = self.highest as u32;
            self.numbers_left = 1;
        }
        let (some_before, some_behind) = (usize::from(before != 0), usize::from(behind != 0));
        let top = self.left[self.numbers_left - 1] as usize;
        // Written where it does no harm if `behind` is in use.
        if let Some(place) = self.left.get_mut(self.numbers_left) {
            *place = behind as u32;
        }
        self.numbers_left = self.numbers_left + (some_before & some_behind)
            - usize::from(some_before | some_behind == 0);
        let other = if some_behind != 0 { behind } else { top };
        if some_before != 0 { before } else { other }
    }

    /// The bin for chunks of `size` granules.
    #[inline(always)]
    fn bin_of(&self, size: usize) -> usize {
        size.min(self.large)
    }

    /// The number of the first chunk of the last bin that has at least `size` granules.
    #[inline]
    fn first_large(&self, size: usize) -> Option<usize> {
        let mut number = self.follow(self.large, NEWER);
        while number != self.large {
            if self.chunk(number).size >= size {
                return Some(number);
            }
            number = self.follow(number, NEWER);
        }
        None
    }

    /// Puts a number, which is in no bin, into the bin of its chunk: behind all that are not
    /// larger.
    #[inline(always)]
    fn link(&mut self, number: usize, chunk: Chunk) {
        let next = if chunk.size < self.large {
            self.bins.insert(chunk.size);
            chunk.size
        } else {
            self.first_large(chunk.size + 1).unwrap_or(self.large)
        };
        let previous = self.follow(next, OLDER);
        let (from_previous, to_next) = (distance(previous, number), distance(number, next));
        self.records[number] =
            [to_next, from_previous.wrapping_neg(), chunk.start as u32, chunk.size as u32];
        self.records[previous][NEWER] = from_previous;
        self.records[next][OLDER] = to_next.wrapping_neg();
    }

    /// Takes a number out of the bin of its chunk, which has `size` granules.
    #[inline(always)]
    fn unlink(&mut self, number: usize, size: usize) {
        let record = &self.records[number];
        let newer = (number as u32).wrapping_add(record[NEWER]) as usize;
        let older = (number as u32).wrapping_add(record[OLDER]) as usize;
        let distance = distance(older, newer);
        self.records[older][NEWER] = distance;
        self.records[newer][OLDER] = distance.wrapping_neg();
        if size < self.large {
            // It was the only one if the bin was on both sides of it.
            self.bins.remove_if(size, (newer == older) & (size != 0));
        }
    }

    /// The record next to one.
    #[inline(always)]
    fn follow(&self, record: usize, way: usize) -> usize {
        (record as u32).wrapping_add(self.records[record][way]) as usize
    }
}

/// From one record to another. Both fit: there are fewer than 2^32 records.
#[inline(always)]
fn distance(from: usize, to: usize) -> u32 {
    (to as u32).wrapping_sub(from as u32)
}

/// The chunks of an [`ArenaSizeToChunkSortedMap`] that have at least a given size: smallest first,
/// and oldest first among equals. Each step takes constant time.
pub struct ArenaSizeToChunkSortedMapIterator<'a> {
    map: &'a ArenaSizeToChunkSortedMap,
    /// The number of the next chunk.
    next: Option<usize>,
}

impl<'a> ArenaSizeToChunkSortedMapIterator<'a> {
    /// Starts at the best fit for `size` granules.
    pub fn new(map: &'a ArenaSizeToChunkSortedMap, size: usize) -> Self {
        Self { map, next: map.best_number(size.max(1)) }
    }
}

impl Iterator for ArenaSizeToChunkSortedMapIterator<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let number = self.next?;
        let chunk = self.map.chunk(number);
        let newer = self.map.follow(number, NEWER);
        self.next = if newer == self.map.bin_of(chunk.size) {
            self.map.best_number(chunk.size + 1) // the ring is back at its bin
        } else {
            Some(newer)
        };
        Some(chunk)
    }
}

impl core::iter::FusedIterator for ArenaSizeToChunkSortedMapIterator<'_> {}
