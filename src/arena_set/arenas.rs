//! The arenas of a pool: allocates and frees in those that there are, keeps the figures, and gives
//! empty ones back.

use super::address_map::AddressMap;
use super::consent::Consent;
use super::first_fit::FirstFit;
use super::layout::{ARENA_SIZE, KEPT_FREE, MemoryOptions, Source};
use super::lock_refusal::LockRefusal;
use super::stats::PoolStats;
use crate::arena::{Arena, ArenaStats, FreeError};
use crate::cleanse::memory_cleanse;
use crate::pages::{self, LockedPageAllocator, LockedPages};
use crate::poison;
use crate::sys::NotHardened;
use core::ptr::NonNull;

/// The arenas of a pool and all that is decided about them. One thread at a time uses it.
pub(crate) struct ArenaSet {
    pub(crate) source: Source,
    /// Alignment of chunks in bytes.
    pub(crate) granule: usize,
    /// Size of an arena in bytes, and the most that all of them together may have.
    pub(crate) arena_size: usize,
    pub(crate) max_size: usize,
    pub(crate) memory: MemoryOptions,
    /// By number; `None` where an arena has been given back.
    arenas: Vec<Option<PooledArena>>,
    /// The number of arenas that have been given back.
    vacant: usize,
    /// Bytes of the empty arenas that can be given back.
    empty: usize,
    address_map: AddressMap,
    /// Room in the arenas of [`Tier::First`].
    first_fit: FirstFit,
    /// Room in the arenas of [`Tier::Unlocked`].
    first_fit_unlocked: FirstFit,
    pub(crate) consent: Consent,
    pub(crate) refusal: LockRefusal,
    pub(crate) stats: PoolStats,
    /// The number of forks that the figures know of.
    forks: u32,
    /// Whether arenas have stayed with the parent process since this was last set to `false`.
    pub(crate) has_lost_arenas: bool,
    /// Whether mappings besides the arenas have been made with the same options.
    pub(crate) is_in_use: bool,
    /// Whether arenas are sealed, and therefore stay.
    is_sealed: bool,
}

/// An arena and the memory that it manages.
struct PooledArena {
    arena: Arena,
    memory: Memory,
    tier: Tier,
}

/// When an arena is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// First: over the system's pages the locked arenas, over a foreign allocator all.
    First,
    /// When no more memory can be locked: arenas of our own pages that are not locked.
    Unlocked,
    /// Never: in a child process, an arena whose memory has stayed with the parent.
    Absent,
}

pub(super) enum Memory {
    Pages(LockedPages),
    /// What a foreign allocator gave. It may be addresses without memory.
    Foreign {
        addr: NonNull<u8>,
        len: usize,
    },
}

// SAFETY: `addr` is a number here and is handed back to the allocator that it came from, which is
// `Send`. `LockedPages` are `Send`.
unsafe impl Send for Memory {}

/// What to do with pages of a foreign allocator.
pub(crate) enum Verdict {
    Keep,
    Refuse,
    /// They are an arena already: the allocator gave them before.
    Known,
}

impl Drop for ArenaSet {
    fn drop(&mut self) {
        for entry in self.arenas.iter().flatten() {
            if let Memory::Pages(pages) = &entry.memory {
                poison::unpoison(pages.as_ptr().as_ptr(), pages.len());
            }
        }
    }
}

impl ArenaSet {
    /// A set without arenas. They will have chunks of a multiple of `granule` bytes.
    pub(crate) const fn new(source: Source, granule: usize) -> Self {
        Self {
            source,
            granule,
            arena_size: ARENA_SIZE,
            max_size: usize::MAX,
            memory: MemoryOptions::DEFAULT,
            arenas: Vec::new(),
            vacant: 0,
            empty: 0,
            address_map: AddressMap::new(ARENA_SIZE),
            first_fit: FirstFit::new(),
            first_fit_unlocked: FirstFit::new(),
            consent: Consent::new(),
            refusal: LockRefusal::none(),
            stats: PoolStats::NOTHING,
            forks: 0,
            has_lost_arenas: false,
            is_in_use: false,
            is_sealed: false,
        }
    }

    /// Sets the size of an arena, and the most that all of them may have, before there are arenas.
    pub(crate) fn set_sizes(&mut self, arena_size: usize, max_size: usize) {
        self.arena_size = arena_size;
        self.max_size = max_size;
        self.address_map = AddressMap::new(arena_size);
    }

    /// Bytes of the empty arenas that can be given back.
    pub(crate) fn empty(&self) -> usize {
        self.empty
    }

    /// Whether a locked arena has a free chunk of so many bytes.
    pub(crate) fn has_room(&self, size: usize) -> bool {
        self.first_fit.first(size).is_some()
    }

    // ---- Chunks ------------------------------------------------------------------------------

    /// Allocates from the first arena of a tier that has room.
    #[inline]
    pub(crate) fn alloc_existing(
        &mut self,
        size: usize,
        alignment: usize,
        tier: Tier,
    ) -> Option<NonNull<u8>> {
        if alignment <= self.granule {
            let arena = self.first_fit(tier).first(size)?;
            return self.alloc_in(arena, size, alignment);
        }
        // Over-aligned chunks are rare enough to ask every arena.
        for arena in 0..self.arenas.len() {
            if self.arenas[arena].as_ref().is_some_and(|entry| entry.tier == tier) {
                if let Some(chunk) = self.alloc_in(arena, size, alignment) {
                    return Some(chunk);
                }
            }
        }
        None
    }

    /// Allocates `size` bytes aligned to more than a granule from the locked arenas that there are,
    /// in constant time. Some places that only a search would find are not seen.
    pub(crate) fn alloc_aligned(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        for room in [size, size + alignment - self.granule] {
            let arena = self.first_fit.first(room)?;
            let entry = self.arenas[arena].as_mut()?;
            let before = entry.arena.stats();
            if let Some(chunk) = entry.arena.alloc_aligned(size, alignment) {
                self.account(arena, before);
                return Some(chunk);
            }
        }
        None
    }

    /// Allocates from an arena, given by its number.
    #[inline]
    pub(crate) fn alloc_in(
        &mut self,
        arena: usize,
        size: usize,
        alignment: usize,
    ) -> Option<NonNull<u8>> {
        let entry = self.arenas[arena].as_mut()?;
        let before = entry.arena.stats();
        let chunk = entry.arena.alloc(size, alignment)?;
        self.account(arena, before);
        self.stats.peak_used = self.stats.peak_used.max(self.stats.used);
        Some(chunk)
    }

    /// Divides a used chunk, see [`Arena::divide`].
    pub(crate) fn divide(
        &mut self,
        ptr: *mut u8,
        size: usize,
        offsets: impl Iterator<Item = usize>,
    ) -> Result<(), FreeError> {
        let arena = self.address_map.find(ptr.addr()).ok_or(FreeError::NotInPool)?;
        let Some(entry) = &mut self.arenas[arena] else { return Err(FreeError::NotInPool) };
        let before = entry.arena.stats();
        entry.arena.divide(ptr, size, offsets)?;
        self.account(arena, before);
        Ok(())
    }

    /// Size in bytes of the used chunk that begins at an address; `None` where that is not known.
    pub(crate) fn chunk_size(&self, ptr: *const u8) -> Option<usize> {
        let entry = self.arenas[self.address_map.find(ptr.addr())?].as_ref()?;
        if entry.tier == Tier::Absent { None } else { entry.arena.chunk_size(ptr) }
    }

    /// Frees and wipes a chunk, and returns its size in bytes. With `check`, only if that is the
    /// size in bytes and the alignment that it was allocated with.
    ///
    /// # Safety
    /// If `ptr` is a used chunk, nothing uses that chunk any more.
    pub(crate) unsafe fn free(
        &mut self,
        ptr: *mut u8,
        check: Option<(usize, usize)>,
    ) -> Result<usize, FreeError> {
        let (size, own) = self.release(ptr, check)?;
        if own {
            poison::unpoison(ptr, size);
            // SAFETY: `release` has found that a used chunk of `size` bytes began at `ptr`, in
            // mapped pages that this set owns. The caller promises that nothing uses the chunk any
            // more, and while this thread has the set to itself the chunk cannot be allocated anew.
            unsafe { memory_cleanse(ptr, size) };
            poison::poison(ptr, size);
        }
        Ok(size)
    }

    /// Frees a chunk without wiping it: returns its size in bytes, and whether it lies in pages of
    /// our own.
    pub(crate) fn release(
        &mut self,
        ptr: *mut u8,
        check: Option<(usize, usize)>,
    ) -> Result<(usize, bool), FreeError> {
        let arena = self.address_map.find(ptr.addr()).ok_or(FreeError::NotInPool)?;
        let Some(entry) = &mut self.arenas[arena] else { return Err(FreeError::NotInPool) };
        if entry.tier == Tier::Absent {
            // The memory is not in this process, nor is it known which chunks the parent has freed
            // since.
            return Ok((0, false));
        }
        let before = entry.arena.stats();
        match check {
            None => entry.arena.free_unsized(ptr).map(drop)?,
            Some((size, alignment)) => entry.arena.free(ptr, size, alignment)?,
        }
        let size = before.used - entry.arena.stats().used;
        let own = matches!(entry.memory, Memory::Pages(_));
        self.account(arena, before);
        Ok((size, own))
    }

    /// Calls `visit` with the address, the size in bytes and whether it is used, for every chunk.
    pub(crate) fn walk(&self, visit: &mut dyn FnMut(usize, usize, bool)) {
        for entry in self.arenas.iter().flatten().filter(|entry| entry.tier != Tier::Absent) {
            entry.arena.walk(&mut *visit);
        }
    }

    /// Brings the figures of the set up to date with a change of one arena.
    #[inline]
    fn account(&mut self, arena: usize, before: ArenaStats) {
        let Some(PooledArena { arena: changed, memory, tier }) = &self.arenas[arena] else {
            return;
        };
        let after = changed.stats();
        if matches!(memory, Memory::Pages(_)) {
            let empty = |stats: ArenaStats| if stats.used == 0 { stats.total } else { 0 };
            self.empty = self.empty - empty(before) + empty(after);
        }
        let stats = &mut self.stats;
        stats.used = stats.used - before.used + after.used;
        stats.free = stats.free - before.free + after.free;
        stats.chunks_used = stats.chunks_used - before.chunks_used + after.chunks_used;
        stats.chunks_free = stats.chunks_free - before.chunks_free + after.chunks_free;
        let (largest, tier) = (changed.largest_free(), *tier);
        self.first_fit_mut(tier).set(arena, largest);
    }

    fn first_fit(&self, tier: Tier) -> &FirstFit {
        match tier {
            Tier::First => &self.first_fit,
            Tier::Unlocked | Tier::Absent => &self.first_fit_unlocked,
        }
    }

    fn first_fit_mut(&mut self, tier: Tier) -> &mut FirstFit {
        match tier {
            Tier::First => &mut self.first_fit,
            Tier::Unlocked | Tier::Absent => &mut self.first_fit_unlocked,
        }
    }

    // ---- Arenas that come --------------------------------------------------------------------

    /// Makes an arena of pages, and returns its number; `None`, and the pages unmapped, when there
    /// is no memory for the bookkeeping.
    pub(super) fn add_pages(&mut self, pages: LockedPages) -> Option<usize> {
        let locked = pages.lock_state().is_ok();
        self.add(Memory::Pages(pages), locked)
    }

    /// Makes an arena of what a foreign allocator has given, and returns its number; `None` when
    /// there is no memory for the bookkeeping.
    pub(crate) fn add_foreign(
        &mut self,
        addr: NonNull<u8>,
        len: usize,
        locked: bool,
    ) -> Option<usize> {
        self.add(Memory::Foreign { addr, len }, locked)
    }

    fn add(&mut self, memory: Memory, locked: bool) -> Option<usize> {
        let (addr, len, tier) = match &memory {
            Memory::Pages(pages) if locked => (pages.as_ptr(), pages.len(), Tier::First),
            Memory::Pages(pages) => (pages.as_ptr(), pages.len(), Tier::Unlocked),
            Memory::Foreign { addr, len } => (*addr, *len, Tier::First),
        };
        let vacant =
            if self.vacant > 0 { self.arenas.iter().position(Option::is_none) } else { None };
        let number = vacant.unwrap_or(self.arenas.len());
        let start = addr.addr().get();
        let arena = Arena::new(addr.as_ptr(), len, self.granule).ok()?;
        arena.bookkeeping().into_iter().for_each(pages::keep_unlocked);
        self.arenas.try_reserve(1).ok()?;
        self.source.reserve_holes(self.arenas.len() + 1).ok()?;
        self.first_fit_mut(tier).reserve(number + 1).ok()?;
        self.address_map.reserve(start, len).ok()?;
        // Nothing fails from here on.
        self.source.take_place(start, len);
        self.address_map.insert(start, len, number);
        let ArenaStats { total, free, chunks_free, .. } = arena.stats();
        let largest = arena.largest_free();
        if let Memory::Pages(pages) = &memory {
            poison::poison(pages.as_ptr().as_ptr(), pages.len());
        }
        let own = matches!(memory, Memory::Pages(_));
        self.empty += if own { total } else { 0 };
        let secret = matches!(&memory, Memory::Pages(pages) if pages.is_secret_memory());
        self.stats.secret_memory += if secret { total } else { 0 };
        let entry = Some(PooledArena { arena, memory, tier });
        match vacant {
            Some(number) => {
                self.arenas[number] = entry;
                self.vacant -= 1;
            }
            None => self.arenas.push(entry),
        }
        self.first_fit_mut(tier).set(number, largest);
        self.stats.total += total;
        self.stats.free += free;
        self.stats.chunks_free += chunks_free;
        self.stats.arenas += 1;
        if locked {
            self.stats.locked += total;
        }
        if let Some(PooledArena { memory: Memory::Pages(pages), .. }) = &self.arenas[number] {
            let missing = &mut self.stats.missing_protections;
            missing.count(pages.refusals(), total, usize::wrapping_add);
            if self.is_sealed {
                // What the kernel has no memory for is as it is without the seal. SAFETY: the
                // caller of `seal` has promised that there are guard pages on both sides.
                let _ = unsafe { pages.seal() };
            }
        }
        Some(number)
    }

    /// What to do with `len` bytes that a foreign allocator has given.
    pub(crate) fn judge_foreign(&self, addr: NonNull<u8>, len: usize) -> Verdict {
        // Pages cannot reach beyond the end of the address space.
        if addr.addr().get().checked_add(len).is_none() {
            return Verdict::Refuse;
        }
        // To free what it gave before would take it from the arena that has it.
        match self.address_map.overlaps(addr.addr().get(), len) {
            true => Verdict::Known,
            false => Verdict::Keep,
        }
    }

    // ---- Arenas that stay --------------------------------------------------------------------

    /// Seals the arenas over the system's pages that there are and those that will be. From now on
    /// none is given back.
    ///
    /// # Safety
    /// The set must live as long as the process. There must be a guard page on each side of every
    /// arena, for as long as the arena lives.
    ///
    /// # Errors
    /// The first error; the other arenas are sealed all the same.
    pub(crate) unsafe fn seal(&mut self) -> Result<(), NotHardened> {
        self.is_sealed = true;
        let pages = self.arenas.iter().flatten().filter_map(|entry| match &entry.memory {
            Memory::Pages(pages) if entry.tier != Tier::Absent => Some(pages),
            _ => None,
        });
        // SAFETY: the caller promises guard pages, and no arena is given back from now on.
        pages.map(|pages| unsafe { pages.seal() }).fold(Ok(()), Result::and)
    }

    /// Whether arenas are sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    // ---- Arenas that go ----------------------------------------------------------------------

    /// Gives empty arenas of our own pages back to the system until `excess` bytes have gone or no
    /// more of them are empty. Returns whether any arena has gone.
    pub(crate) fn give_back(&mut self, mut excess: usize) -> bool {
        let mut any = false;
        if self.is_sealed {
            return any;
        }
        // The newest first: chunks come from the oldest.
        let mut numbers = (0..self.arenas.len()).rev();
        while excess > 0 && self.empty > 0 {
            let Some(number) = numbers.next() else { break };
            let Some(PooledArena { arena, memory: Memory::Pages(pages), tier }) =
                &self.arenas[number]
            else {
                continue;
            };
            let ArenaStats { used, free, total, chunks_free, .. } = arena.stats();
            if used > 0 || *tier == Tier::Absent {
                continue;
            }
            let (start, len, tier) = (pages.as_ptr().addr().get(), pages.len(), *tier);
            let (secret, locked) = (pages.is_secret_memory(), pages.lock_state().is_ok());
            let missing = &mut self.stats.missing_protections;
            missing.count(pages.refusals(), total, usize::wrapping_sub);
            poison::unpoison(pages.as_ptr().as_ptr(), len);
            self.first_fit_mut(tier).set(number, 0);
            self.address_map.remove(start, len);
            // Its chunks have been wiped one by one.
            if let Some(PooledArena { memory: Memory::Pages(pages), .. }) =
                self.arenas[number].take()
            {
                pages.discard();
            }
            self.vacant += 1;
            self.empty -= total;
            self.stats.total -= total;
            self.stats.free -= free;
            self.stats.chunks_free -= chunks_free;
            self.stats.arenas -= 1;
            self.stats.locked -= if locked { total } else { 0 };
            self.stats.secret_memory -= if secret { total } else { 0 };
            self.refusal.note_unlocked(if locked { total } else { 0 });
            self.source.add_hole(start, len);
            excess = excess.saturating_sub(total);
            any = true;
        }
        any
    }

    /// Gives back free memory beyond twice the bytes in use, and [`KEPT_FREE`].
    pub(crate) fn give_back_excess(&mut self) {
        // One arena stays at least: a pool of large ones would otherwise make one anew for each
        // chunk.
        let spare = KEPT_FREE.max(self.arena_size);
        let keep = self.stats.used.saturating_mul(2).saturating_add(spare);
        if self.empty > 0 && self.stats.free > keep {
            self.give_back(self.stats.free - keep);
        }
    }

    /// Gives all pages back to the foreign allocator that they came from. The last thing that
    /// happens to a pool over it.
    pub(crate) fn free_foreign(&mut self, allocator: &mut dyn LockedPageAllocator) {
        for entry in self.arenas.drain(..).flatten() {
            if let Memory::Foreign { addr, len } = entry.memory {
                // SAFETY: `addr` came from `allocate_locked(len)` of this allocator and is handed
                // back once, here. The pool's chunks end with the pool.
                unsafe { allocator.free_locked(addr, len) };
            }
        }
    }

    // ---- In a child process ------------------------------------------------------------------

    /// Brings the figures up to date with what a fork has made of the memory. Does nothing unless
    /// this is a child process in which it has not been called yet.
    pub(crate) fn catch_up(&mut self) {
        let forks = crate::fork::generation();
        if self.forks != forks {
            self.forks = forks;
            if !self.arenas.is_empty() {
                self.look_at_memory();
            }
        }
    }

    #[cold]
    fn look_at_memory(&mut self) {
        self.stats.locked = 0;
        let mut refusal = None;
        for number in 0..self.arenas.len() {
            let Some(PooledArena { memory, tier, .. }) = &self.arenas[number] else { continue };
            match memory {
                Memory::Pages(pages) if pages.is_absent() => self.lose(number),
                Memory::Pages(pages) => match pages.lock_state() {
                    Ok(()) => self.stats.locked += pages.len(),
                    Err(error) if *tier == Tier::First => refusal = Some(error),
                    Err(_) => {}
                },
                Memory::Foreign { addr, len } => {
                    self.stats.locked += if pages::is_locked(*addr) { *len } else { 0 };
                }
            }
        }
        if let Some(error) = refusal {
            self.stats.count_lock_failure(error);
        }
    }

    /// Takes an arena whose memory has stayed with the parent process out of all figures. The set
    /// still finds it by its addresses.
    fn lose(&mut self, number: usize) {
        let Some(PooledArena { arena, memory, tier }) = &mut self.arenas[number] else { return };
        if *tier == Tier::Absent {
            return;
        }
        let ArenaStats { used, free, total, chunks_used, chunks_free } = arena.stats();
        let secret = matches!(memory, Memory::Pages(pages) if pages.is_secret_memory());
        if let Memory::Pages(pages) = memory {
            let missing = &mut self.stats.missing_protections;
            missing.count(pages.refusals(), total, usize::wrapping_sub);
        }
        self.empty -= if used == 0 { total } else { 0 };
        let tier = core::mem::replace(tier, Tier::Absent);
        self.first_fit_mut(tier).set(number, 0);
        let stats = &mut self.stats;
        stats.used -= used;
        stats.free -= free;
        stats.total -= total;
        stats.chunks_used -= chunks_used;
        stats.chunks_free -= chunks_free;
        stats.arenas -= 1;
        stats.secret_memory -= if secret { total } else { 0 };
        stats.peak_used = stats.used;
        self.has_lost_arenas = true;
    }
}
