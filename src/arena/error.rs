//! The errors of arenas and of their indexes.

use core::fmt;

/// Why an arena cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArenaError {
    /// The alignment is not a power of two.
    Alignment,
    /// The region begins at the null address, or reaches past the end of the address space.
    Region,
    /// The bookkeeping cannot be allocated, or would have to count more than
    /// [`MAX_GRANULES`](crate::ArenaSizeToChunkSortedMap::MAX_GRANULES) granules.
    OutOfMemory,
}

impl fmt::Display for ArenaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alignment => "Arena: alignment is not a power of two",
            Self::Region => "Arena: region is null or wraps around the address space",
            Self::OutOfMemory => "Arena: no memory for the bookkeeping of a region this large",
        })
    }
}

impl std::error::Error for ArenaError {}

/// Bookkeeping could not be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no memory for the bookkeeping")
    }
}

impl std::error::Error for OutOfMemory {}

impl From<OutOfMemory> for ArenaError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// Why a chunk could not enter or leave one of an arena's indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexError {
    /// The chunk is empty or not within the index.
    OutOfRange,
    /// The chunk overlaps one that is there.
    Overlap,
    /// The chunk is not there.
    Absent,
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "chunk is empty or outside the index",
            Self::Overlap => "chunk overlaps another of the index",
            Self::Absent => "chunk is not in the index",
        })
    }
}

impl std::error::Error for IndexError {}

/// Why memory could not be freed: nothing has changed then. `Overrun` is the exception, after which
/// it has been freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FreeError {
    /// No used chunk begins at the address: it was freed before, lies inside a chunk, or was never
    /// handed out.
    InvalidFree,
    /// A used chunk begins at the address, but not one of the size or alignment given.
    SizeMismatch,
    /// The address is in no arena of the pool. It may have been in one that was empty and has been
    /// given back.
    NotInPool,
    /// The program has written to bytes next to the chunk, which was a sampled one (see
    /// `LockedPoolManager::sample_one_in`). The chunk **has been** wiped and freed.
    Overrun,
    /// A signal handler has interrupted the calling thread's work on this pool.
    Interrupted,
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first and the last are word for word what callers of Bitcoin Core's code match on.
        f.write_str(match self {
            Self::InvalidFree => "Arena: invalid or double free",
            Self::SizeMismatch => "Arena: free with another size or alignment than at allocation",
            Self::NotInPool => "LockedPool: invalid address not pointing to any arena",
            Self::Overrun => {
                "LockedPool: bytes next to the chunk were written to; it has been freed"
            }
            Self::Interrupted => {
                "LockedPool: a signal handler frees into a pool that the same thread is at work on"
            }
        })
    }
}

impl std::error::Error for FreeError {}
