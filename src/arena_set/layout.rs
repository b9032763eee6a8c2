//! Where arenas lie: their sizes, the source of their pages, and their places in a range of
//! addresses.

use crate::arena::OutOfMemory;
use crate::pages::{self, AddressRange, ForkPolicy, SecretMemory};

/// Size of an arena in bytes; also the largest chunk. Bitcoin Core's figure.
pub(crate) const ARENA_SIZE: usize = 256 * 1024;

/// Alignment of chunks in bytes, to which sizes are rounded up. Bitcoin Core's figure.
pub(crate) const ARENA_ALIGN: usize = 16;

/// Bytes that may be free in a pool, besides twice the bytes in use, before empty arenas are given
/// back.
pub(crate) const KEPT_FREE: usize = 1 << 20;

/// Arenas in a range grow with the pool: each has this part of the pool's bytes, up to a size in
/// bytes. So the number of mappings grows with the logarithm of the pool's size, and little is
/// locked ahead of its use.
const ARENAS_OF_A_POOL: usize = 256;
const LARGEST_RANGE_ARENA: usize = 16 << 20;

/// What a program chooses for a pool's memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MemoryOptions {
    /// What a child process finds in the memory.
    pub(crate) fork: ForkPolicy,
    pub(crate) secret_memory: SecretMemory,
    /// Whether memory without one of its protections is not used.
    pub(crate) require_protections: bool,
}

impl MemoryOptions {
    pub(crate) const DEFAULT: Self = Self {
        fork: ForkPolicy::Keep,
        secret_memory: SecretMemory::Off,
        require_protections: false,
    };
}

/// Where the pages of arenas come from.
pub(crate) enum Source {
    /// The operating system, which chooses the place.
    System {
        /// Size of a page in bytes if it is not the common one.
        huge_page: Option<usize>,
    },
    /// The operating system, one arena after the other within a range of addresses, as long as that
    /// has room.
    Range {
        range: AddressRange,
        /// Offset of the next arena in bytes, a guard page behind the last one.
        next: usize,
        /// The places of arenas that have been given back: offsets and lengths in bytes, with a
        /// guard page behind each.
        holes: Vec<(usize, usize)>,
    },
    /// A foreign page allocator, which is kept beside the arena set.
    Foreign,
}

impl Source {
    /// Size of a page in bytes.
    pub(super) fn page_size(&self) -> usize {
        match self {
            Self::System { huge_page: Some(size) } => *size,
            _ => pages::page_size(),
        }
    }

    /// The size in bytes that an arena should have in a pool of `total` bytes, where that is more
    /// than `size`.
    pub(super) fn preferred_size(&self, size: usize, total: usize) -> usize {
        if !matches!(self, Self::Range { .. }) {
            return size;
        }
        let share = round_down(total / ARENAS_OF_A_POOL, ARENA_SIZE);
        size.max(share.min(LARGEST_RANGE_ARENA))
    }

    /// A gap for an arena of `len` bytes in the range, with a guard page on either side; `None`
    /// where there is no range, or no room in it.
    pub(super) fn gap_for(&self, len: usize) -> Option<Gap<'_>> {
        let Self::Range { range, next, holes } = self else { return None };
        // The whole hole, or a part that leaves room for another arena behind a guard page.
        let fits = |room: usize| room == len || room > len + pages::page_size();
        if let Some(&(offset, _)) = holes.iter().find(|(_, room)| fits(*room)) {
            return Some(Gap { range, offset, is_hole: true });
        }
        let has_room = *next + len + pages::page_size() <= range.len();
        has_room.then_some(Gap { range, offset: *next, is_hole: false })
    }

    /// Makes room for the holes that `arenas` arenas can leave.
    pub(super) fn reserve_holes(&mut self, arenas: usize) -> Result<(), OutOfMemory> {
        let Self::Range { holes, .. } = self else { return Ok(()) };
        holes.try_reserve(arenas.saturating_sub(holes.len())).map_err(|_| OutOfMemory)
    }

    /// Notes that an arena lies at an address, if that is in the range.
    pub(super) fn take_place(&mut self, start: usize, len: usize) {
        let Self::Range { range, next, holes } = self else { return };
        let (offset, step) =
            (start.wrapping_sub(range.addr().addr().get()), len + pages::page_size());
        if offset == *next {
            *next += step;
        } else if let Some(at) = holes.iter().position(|hole| hole.0 == offset) {
            // The rest of the hole stays one, behind a guard page.
            let room = holes[at].1;
            if room > step {
                holes[at] = (offset + step, room - step);
            } else {
                holes.swap_remove(at);
            }
        }
    }

    /// Notes that an arena at an address has been given back.
    pub(super) fn add_hole(&mut self, start: usize, mut len: usize) {
        let Self::Range { range, next, holes } = self else { return };
        let page = pages::page_size();
        let mut offset = start.wrapping_sub(range.addr().addr().get());
        if offset >= range.len() {
            return;
        }
        // It becomes one hole with the holes beside it and the guard pages between them.
        while let Some(at) = holes.iter().position(|&(other, room)| {
            other + room + page == offset || offset + len + page == other
        }) {
            let (other, room) = holes.swap_remove(at);
            (offset, len) = (offset.min(other), len + page + room);
        }
        if offset + len + page == *next {
            *next = offset;
        } else {
            holes.push((offset, len));
        }
    }
}

/// A gap in a range, where no arena lies.
pub(super) struct Gap<'a> {
    pub(super) range: &'a AddressRange,
    /// Offset in the range in bytes.
    pub(super) offset: usize,
    /// Whether an arena was there before.
    pub(super) is_hole: bool,
}

/// `x` rounded down to a multiple of `unit`.
pub(super) fn round_down(x: usize, unit: usize) -> usize {
    x - x % unit
}
