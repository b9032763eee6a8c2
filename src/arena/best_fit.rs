//! `Arena`: takes the smallest free chunk that fits. It combines the two indexes.

use super::chunk::Chunk;
use super::chunk_to_size::ArenaChunkToSizeMap;
use super::error::{ArenaError, FreeError};
use super::size_to_chunk::{ArenaSizeToChunkSortedMap, ArenaSizeToChunkSortedMapIterator};
use core::fmt;
use core::ptr::{self, NonNull};

/// What an arena holds, in bytes and chunks. `used + free == total` always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaStats {
    /// Bytes in used chunks, alignment padding included.
    pub used: usize,
    /// Bytes in free chunks.
    pub free: usize,
    /// Bytes managed.
    pub total: usize,
    /// Number of used chunks.
    pub chunks_used: usize,
    /// Number of free chunks; no two of them are neighbours.
    pub chunks_free: usize,
}

/// Manages a contiguous region of memory by dividing it into chunks.
///
/// It never reads or writes the region: all bookkeeping lies on the ordinary heap, or on pages of
/// its own where pages are larger than 4 KiB. It is made at construction (about 15 bytes for each
/// `alignment` bytes of the region) and resident only as far as it is used. Allocation and freeing
/// take constant time and allocate nothing.
///
/// An arena is not shared between threads by itself; [`LockedPool`](crate::LockedPool) is.
///
/// ```
/// use bitcoin_support::Arena;
///
/// let region = 0x0800_0000 as *mut u8; // never touched, so need not be mapped
/// let mut arena = Arena::new(region, 1 << 20, 16)?;
/// let chunk = arena.alloc(1000, 16).unwrap();
/// assert_eq!(arena.stats().used, 1008);
/// arena.free(chunk.as_ptr(), 1000, 16)?;
/// assert!(arena.free(chunk.as_ptr(), 1000, 16).is_err());
/// assert_eq!(arena.stats().used, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Arena {
    /// The region as it was given.
    region: usize,
    region_len: usize,
    /// Address of granule 0.
    base: usize,
    /// Log2 of the alignment, which is the size of a granule in bytes.
    granule_shift: u32,
    /// Number of granules.
    granules: usize,
    /// The used chunks; and where free chunks begin and end, by their numbers in `free`.
    used: ArenaChunkToSizeMap,
    free: ArenaSizeToChunkSortedMap,
    granules_used: usize,
}

impl Arena {
    /// An arena over `size` bytes at `base`, whose chunks are aligned to `alignment` bytes and take
    /// a multiple of `alignment` bytes.
    ///
    /// Where `base` or the region's end is not a multiple of `alignment`, the bytes before the
    /// first multiple and after the last are left alone, and `total` of [`stats`](Self::stats) does
    /// not count them. (Bitcoin Core's arena hands out misaligned chunks there.) A region without
    /// room for a single granule makes an arena that is always full.
    ///
    /// # Errors
    /// See [`ArenaError`].
    pub fn new(base: *mut u8, size: usize, alignment: usize) -> Result<Self, ArenaError> {
        if !alignment.is_power_of_two() {
            return Err(ArenaError::Alignment);
        }
        let region = base.expose_provenance();
        let end = region.checked_add(size).filter(|_| region != 0).ok_or(ArenaError::Region)?;
        let first = region.checked_next_multiple_of(alignment).unwrap_or(end);
        let granule_shift = alignment.trailing_zeros();
        let granules = end.saturating_sub(first) >> granule_shift;
        let mut arena = Self {
            region,
            region_len: size,
            base: first,
            granule_shift,
            granules,
            used: ArenaChunkToSizeMap::new(granules)?,
            // Free chunks are never neighbours.
            free: ArenaSizeToChunkSortedMap::with_chunks(granules, granules.div_ceil(2))?,
            granules_used: 0,
        };
        if granules > 0 {
            arena.insert_free(Chunk { start: 0, size: granules });
        }
        Ok(arena)
    }

    /// Allocates `size` bytes, aligned to `alignment` bytes.
    ///
    /// `None` when `size` is 0, `alignment` is not a power of two, or no free chunk has room.
    ///
    /// Up to the arena's own alignment this takes constant time and places the chunk where Bitcoin
    /// Core's arena would. Above it, the free chunks that are large enough are tried, smallest and
    /// oldest first, until one has an aligned place; one that is larger by the alignment always
    /// has.
    pub fn alloc(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        if !alignment.is_power_of_two() {
            return None;
        }
        let size = self.granules_for(size)?;
        let start = if alignment.trailing_zeros() <= self.granule_shift {
            self.take_best_fit(size)?
        } else {
            self.take_over_aligned(size, alignment)?
        };
        self.used.insert_disjoint(Chunk { start, size });
        self.granules_used += size;
        NonNull::new(ptr::with_exposed_provenance_mut(self.base + (start << self.granule_shift)))
    }

    /// [`alloc`](Self::alloc) above the arena's own alignment, in constant time: looks at the free
    /// chunk that fits best, and else takes one that is larger by the alignment. The place is the
    /// lowest in the free chunk, so that it meets what `alloc` takes from the other end only when
    /// nothing is left between.
    pub(crate) fn alloc_aligned(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let wanted = self.granules_for(size)?;
        let slack = (alignment >> self.granule_shift).saturating_sub(1);
        let place = |fit: Chunk| {
            let lowest = self.base + (fit.start << self.granule_shift);
            let highest = lowest + ((fit.size - wanted) << self.granule_shift);
            let aligned = lowest.checked_next_multiple_of(alignment)?;
            (aligned <= highest).then(|| (fit, (aligned - self.base) >> self.granule_shift))
        };
        let best = self.free.best_fit(wanted)?;
        let (fit, start) =
            place(best).or_else(|| self.free.best_fit(wanted + slack).and_then(place))?;
        self.cut(fit, Chunk { start, size: wanted });
        self.used.insert_disjoint(Chunk { start, size: wanted });
        self.granules_used += wanted;
        NonNull::new(ptr::with_exposed_provenance_mut(self.base + (start << self.granule_shift)))
    }

    /// Divides the used chunk that begins at `ptr` into used chunks of `size` bytes, a multiple of
    /// the arena's alignment, at `offsets` from its beginning in bytes, which ascend and leave each
    /// of them room; what lies between is free.
    ///
    /// # Errors
    /// [`FreeError::InvalidFree`] where no used chunk begins; nothing changes then.
    pub(crate) fn divide(
        &mut self,
        ptr: *mut u8,
        size: usize,
        offsets: impl Iterator<Item = usize>,
    ) -> Result<(), FreeError> {
        let whole = self.used_chunk_at(ptr.addr()).ok_or(FreeError::InvalidFree)?;
        let (mut free_from, end) = (whole.start, whole.start + whole.size);
        let size = size >> self.granule_shift;
        self.used.remove(whole.start);
        self.granules_used -= whole.size;
        for offset in offsets {
            let start = whole.start + (offset >> self.granule_shift);
            debug_assert!(free_from <= start && start + size <= end);
            if free_from < start {
                self.insert_free(Chunk { start: free_from, size: start - free_from });
            }
            self.used.insert_disjoint(Chunk { start, size });
            self.granules_used += size;
            free_from = start + size;
        }
        if free_from < end {
            self.insert_free(Chunk { start: free_from, size: end - free_from });
        }
        Ok(())
    }

    /// Frees the used chunk of `size` bytes that begins at `ptr`, given the size and alignment it
    /// was allocated with. Null is accepted and does nothing.
    ///
    /// # Errors
    /// See [`FreeError`]; nothing changes then.
    pub fn free(&mut self, ptr: *mut u8, size: usize, alignment: usize) -> Result<(), FreeError> {
        if ptr.is_null() {
            return Ok(());
        }
        let chunk = self.used_chunk_at(ptr.addr()).ok_or(FreeError::InvalidFree)?;
        let aligned = alignment.is_power_of_two() && ptr.addr() % alignment == 0;
        if !aligned || self.granules_for(size) != Some(chunk.size) {
            return Err(FreeError::SizeMismatch);
        }
        self.release(ptr.addr());
        Ok(())
    }

    /// Frees the used chunk that begins at `ptr`, whatever its size, and returns its size in bytes.
    /// Null is accepted, does nothing and counts 0 bytes. Constant time.
    ///
    /// # Errors
    /// [`FreeError::InvalidFree`]; nothing changes then.
    #[inline]
    pub fn free_unsized(&mut self, ptr: *mut u8) -> Result<usize, FreeError> {
        if ptr.is_null() {
            return Ok(0);
        }
        let size = self.release(ptr.addr()).ok_or(FreeError::InvalidFree)?;
        Ok(size << self.granule_shift)
    }

    /// Size in bytes of the used chunk that begins at `ptr`, padding included.
    pub fn chunk_size(&self, ptr: *const u8) -> Option<usize> {
        self.used_chunk_at(ptr.addr()).map(|chunk| chunk.size << self.granule_shift)
    }

    /// Whether `ptr` lies in the region that the arena was made over.
    #[inline]
    pub fn address_in_arena(&self, ptr: *const u8) -> bool {
        ptr.addr().wrapping_sub(self.region) < self.region_len
    }

    /// What the arena holds now. Constant time: the figures are kept, not counted.
    #[inline]
    pub fn stats(&self) -> ArenaStats {
        ArenaStats {
            used: self.granules_used << self.granule_shift,
            free: (self.granules - self.granules_used) << self.granule_shift,
            total: self.granules << self.granule_shift,
            chunks_used: self.used.len(),
            chunks_free: self.free.len(),
        }
    }

    /// Size in bytes of the largest free chunk: what [`alloc`](Self::alloc) can serve at most.
    #[inline]
    pub fn largest_free(&self) -> usize {
        self.free.largest() << self.granule_shift
    }

    /// Calls `visit` with address, size in bytes and whether it is used, for every chunk: the used
    /// ones from the lowest address up, then the free ones likewise. For debugging: the time it
    /// takes grows with the number of chunks.
    pub fn walk(&self, mut visit: impl FnMut(usize, usize, bool)) {
        for wanted in [true, false] {
            let mut start = 0;
            while start < self.granules {
                // Every granule is in a chunk, and each chunk's first granule tells which.
                let (size, used) = match self.used.size_of(start) {
                    Some(size) => (size, true),
                    None => (self.free.chunk(self.used.free_at(start)).size, false),
                };
                if used == wanted {
                    let addr = self.base + (start << self.granule_shift);
                    visit(addr, size << self.granule_shift, used);
                }
                start += size;
            }
        }
    }

    /// Size of a granule in bytes.
    pub fn alignment(&self) -> usize {
        1 << self.granule_shift
    }

    /// The bookkeeping as it lies in memory, nearly all of it.
    pub(crate) fn bookkeeping(&self) -> [&[u8]; 3] {
        let [records, left] = self.free.bookkeeping();
        [self.used.bookkeeping(), records, left]
    }

    /// Bytes of bookkeeping reserved. Pages of it that are never touched are not resident.
    pub fn reserved_bytes(&self) -> usize {
        self.used.reserved_bytes() + self.free.reserved_bytes()
    }

    /// `size` bytes in granules, rounded up; `None` for 0 and for what no arena can hold.
    #[inline]
    fn granules_for(&self, size: usize) -> Option<usize> {
        let mask = (1 << self.granule_shift) - 1;
        if size == 0 {
            return None;
        }
        Some(size.checked_add(mask)? >> self.granule_shift)
    }

    /// Takes the end of the best fit.
    #[inline(always)]
    fn take_best_fit(&mut self, size: usize) -> Option<usize> {
        let number = self.free.best_number(size)?;
        let fit = self.free.chunk(number);
        let (rest, end) = (fit.size - size, fit.start + fit.size);
        self.used.set_free(end - 1, 0);
        if rest == 0 {
            self.free.remove_number(number);
        } else {
            self.used.set_free(end - size - 1, number as u32);
            self.free.shorten(number, fit, rest);
        }
        // Where nothing remains, the used chunk's tag will replace that at the free one's
        // beginning.
        Some(end - size)
    }

    /// Adds a free chunk, joined with its free neighbours.
    #[inline(always)]
    fn insert_free(&mut self, chunk: Chunk) {
        let before = self.used.take_free(chunk.start.wrapping_sub(1));
        let behind = self.used.take_free(chunk.start + chunk.size);
        let (number, merged) = self.free.insert_merged(chunk, before as usize, behind as usize);
        self.used.set_free(merged.start, number as u32);
        self.used.set_free(merged.start + merged.size - 1, number as u32);
    }

    /// Takes the highest aligned place of the first free chunk that has one.
    fn take_over_aligned(&mut self, size: usize, alignment: usize) -> Option<usize> {
        let (fit, start) =
            ArenaSizeToChunkSortedMapIterator::new(&self.free, size).find_map(|fit| {
                let lowest = self.base + (fit.start << self.granule_shift);
                let highest = lowest + ((fit.size - size) << self.granule_shift);
                let aligned = highest & !(alignment - 1);
                (aligned >= lowest).then(|| (fit, (aligned - self.base) >> self.granule_shift))
            })?;
        self.cut(fit, Chunk { start, size });
        Some(start)
    }

    /// Takes part of a free chunk. The rest on either side stays free.
    fn cut(&mut self, fit: Chunk, part: Chunk) {
        self.free.remove_number(self.used.take_free(fit.start + fit.size - 1) as usize);
        self.used.set_free(fit.start, 0);
        if part.start > fit.start {
            self.insert_free(Chunk { start: fit.start, size: part.start - fit.start });
        }
        let (end, fit_end) = (part.start + part.size, fit.start + fit.size);
        if fit_end > end {
            self.insert_free(Chunk { start: end, size: fit_end - end });
        }
    }

    #[inline]
    fn granule_of(&self, addr: usize) -> Option<usize> {
        let offset = addr.wrapping_sub(self.base);
        let aligned = offset & ((1 << self.granule_shift) - 1) == 0;
        aligned.then_some(offset >> self.granule_shift)
    }

    #[inline]
    fn used_chunk_at(&self, addr: usize) -> Option<Chunk> {
        let start = self.granule_of(addr)?;
        self.used.size_of(start).map(|size| Chunk { start, size })
    }

    /// Frees the chunk that begins at `addr`; its size in granules.
    #[inline]
    fn release(&mut self, addr: usize) -> Option<usize> {
        let start = self.granule_of(addr)?;
        let size = self.used.remove(start)?;
        self.granules_used -= size;
        self.insert_free(Chunk { start, size });
        Some(size)
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("region", &format_args!("{:#x}", self.region))
            .field("alignment", &self.alignment())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
