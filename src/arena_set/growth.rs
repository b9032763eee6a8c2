//! The order of attempts. An allocation takes the first of these that has memory for it:
//!
//! 1. a free chunk in a locked arena: [`ArenaSet::alloc_existing`];
//! 2. in the process-wide pool: the same, when heaps have given back what they have free, if that
//!    is much (`thread_heap::supply`);
//! 3. a new locked arena, as large as usual: [`ArenaSet::grow_locked`];
//! 4. a smaller one: of what the limit should still allow, then of halves, down to what the chunk
//!    needs; also where there is no memory for the bookkeeping of a larger one;
//! 5. when that is refused, memory that others have free: in the process-wide pool all slabs are
//!    dissolved, and 1 is tried again (`thread_heap::supply`); for a private pool the process-wide
//!    pool gives back its empty memory, and 1, 3 and 4 are tried again (`pool::private`);
//! 6. a free chunk in an arena that is not locked;
//! 7. a new arena that is not locked, if the callback agrees: [`ArenaSet::grow_unlocked`] and
//!    `consent`;
//! 8. failure.
//!
//! Attempts 3 and 4 together count one lock failure if the system has refused any size, also if a
//! smaller arena is locked in the end. Attempt 7 counts one only if they have counted none. The
//! size that was refused is remembered in `lock_refusal`: 3 and 4 are not tried again for as much
//! before memory is unlocked, secret stacks become idle or the limit is raised.
//!
//! A pool over a foreign page allocator has attempt 1, and one arena after the other as Bitcoin
//! Core asks for them.

use super::arenas::{ArenaSet, Tier};
use super::layout::{ARENA_ALIGN, ARENA_SIZE, round_down};
use super::stats::LockFailures;
use crate::pages::{self, LockedPages, PageOptions, PagesError, Place, Refused, SecretMemory};
use core::ptr::NonNull;

impl ArenaSet {
    /// Allocates from locked memory, or else from memory that is not locked: attempts 1, 3, 4, 6
    /// and 7.
    pub(crate) fn alloc(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let failures = self.stats.failures();
        self.alloc_locked(size, alignment)
            .or_else(|| self.alloc_unlocked(size, alignment, failures))
    }

    /// Runs `alloc` with consent to unlocked memory.
    pub(crate) fn alloc_with_consent(
        &mut self,
        alloc: impl FnOnce(&mut Self) -> Option<NonNull<u8>>,
    ) -> Option<NonNull<u8>> {
        self.consent.is_given = true;
        let chunk = alloc(self);
        self.consent.is_given = false;
        chunk
    }

    /// Allocates from locked arenas that there are, or from a new one: attempts 1, 3 and 4.
    pub(crate) fn alloc_locked(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        if let Some(chunk) = self.alloc_existing(size, alignment, Tier::First) {
            return Some(chunk);
        }
        self.alloc_in_new(size, alignment)
    }

    /// Allocates from a new locked arena: attempts 3 and 4.
    pub(crate) fn alloc_in_new(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let arena = self.grow_locked(self.room_for(size, alignment)?)?;
        self.alloc_in(arena, size, alignment)
    }

    /// Allocates from memory that is not locked: attempts 6 and 7, when the others have failed.
    /// `before` are the lock failures that were counted before this allocation.
    pub(crate) fn alloc_unlocked(
        &mut self,
        size: usize,
        alignment: usize,
        before: LockFailures,
    ) -> Option<NonNull<u8>> {
        self.room_for(size, alignment)?;
        if let Some(chunk) = self.alloc_existing(size, alignment, Tier::Unlocked) {
            return Some(chunk);
        }
        let arena = self.grow_unlocked(self.stats.failures_since(before) > 0)?;
        self.alloc_in(arena, size, alignment)
    }

    /// Whether a new arena for a chunk of `size` bytes has been refused under the limit that is in
    /// force.
    pub(crate) fn is_refused(&mut self, size: usize) -> bool {
        let need = size.next_multiple_of(self.source.page_size());
        if !self.refusal.covers(need) || !self.may_grow_unlocked() {
            return false;
        }
        self.refusal.is_believed()
    }

    /// How large a new arena must be to have room for a chunk: it begins on a page, and above that
    /// alignment a chunk needs slack. `None` when no arena is large enough.
    fn room_for(&self, size: usize, alignment: usize) -> Option<usize> {
        let slack = if alignment <= pages::page_size() { 0 } else { alignment };
        size.checked_add(slack).filter(|&need| need <= self.arena_size)
    }

    /// Makes a new locked arena, smaller than usual if it must be, but of at least `need` bytes;
    /// its number.
    fn grow_locked(&mut self, need: usize) -> Option<usize> {
        let need = need.next_multiple_of(self.source.page_size());
        let limit = pages::lock_limit();
        // (Where there may be unlocked memory, the attempt to get that tells whether memory can be
        // locked again.)
        if self.refusal.holds(need, limit) && self.may_grow_unlocked() {
            return None;
        }
        self.try_grow_locked(need, limit)
    }

    /// [`grow_locked`](Self::grow_locked) for a whole number of pages, whatever was refused before.
    fn try_grow_locked(&mut self, need: usize, limit: usize) -> Option<usize> {
        let page = self.source.page_size();
        let idle_again = pages::stacks_idle_again();
        let mut size = self.arena_size.min(round_down(self.max_size - self.stats.total, page));
        if self.stats.arenas == 0 && limit >= page {
            // The first arena is to be locked for certain, as far as the limit tells.
            size = size.min(round_down(limit, page));
        }
        size = self.source.preferred_size(size, self.stats.total);
        let mut refusal = None;
        let mut has_locked = false;
        while size >= need {
            match self.map(size, true) {
                Ok(pages) => {
                    if let Some(arena) = self.add_pages(pages) {
                        self.refusal.note_locked();
                        if let Some(error) = refusal {
                            self.stats.count_lock_failure(error);
                        }
                        return Some(arena);
                    }
                    // There is no memory for the bookkeeping. A smaller arena has less.
                    has_locked = true;
                }
                Err(PagesError::Lock(error)) => refusal = refusal.or(Some(error)),
                Err(_) => return None,
            }
            // What the limit should still allow, or else half.
            let left = round_down(limit.saturating_sub(self.stats.locked), page);
            size = if (need..size).contains(&left) { left } else { round_down(size / 2, page) };
        }
        let refusal = refusal?;
        if !has_locked {
            self.refusal.set(need, limit, idle_again);
        }
        self.stats.count_lock_failure(refusal);
        None
    }

    /// Whether the pool may have a whole arena more, and may have unlocked memory.
    fn may_grow_unlocked(&self) -> bool {
        self.max_size - self.stats.total >= self.arena_size
            && self.memory.secret_memory != SecretMemory::Require
    }

    /// Makes a new arena, locked or not, when smaller ones have been refused already; its number.
    /// Where a callback decides about unlocked memory and has not agreed yet, it leaves a question
    /// in `consent`. With `counted`, the refusal is in the statistics already.
    fn grow_unlocked(&mut self, counted: bool) -> Option<usize> {
        if !self.may_grow_unlocked() {
            return None;
        }
        let pages = self.map(self.arena_size, false).ok()?;
        match pages.lock_state() {
            // The limit has been raised, or memory unlocked elsewhere in the process.
            Ok(()) => self.refusal.forget(),
            Err(_) if self.consent.is_given => {}
            Err(error) => {
                if !counted {
                    self.stats.count_lock_failure(error);
                }
                if self.consent.asks {
                    self.consent.question = Some(error);
                    pages.discard();
                    return None;
                }
            }
        }
        self.add_pages(pages)
    }

    /// How many bytes to ask a foreign allocator for. Bitcoin Core caps the first arena by the
    /// limit, and no other; here the cap is rounded down to what can be locked.
    pub(crate) fn foreign_arena_size(limit: Option<usize>) -> usize {
        let size = ARENA_SIZE;
        let Some(limit) = limit else { return size };
        let page = pages::page_size();
        let unit = if limit < page { ARENA_ALIGN } else { page };
        if limit >= unit { size.min(round_down(limit, unit)) } else { size }
    }

    // ---- Pages -------------------------------------------------------------------------------

    /// Maps pages for an arena.
    fn map(&mut self, len: usize, require_lock: bool) -> Result<LockedPages, PagesError> {
        let Some(gap) = self.source.gap_for(len) else {
            return self.map_at(Place::anywhere(len), require_lock);
        };
        let is_hole = gap.is_hole;
        // SAFETY: `gap_for` has found the gap in the range, with a guard page on either side, and
        // no arena lies there.
        let place = unsafe { gap.range.place(gap.offset, len) };
        match self.map_at(place, require_lock) {
            // A child may lack the addresses that its parent has given back.
            Err(PagesError::Map(_)) if is_hole => self.map_at(Place::anywhere(len), require_lock),
            outcome => outcome,
        }
    }

    /// Maps pages as the pool's options want them. What was refused on the way besides the lock is
    /// counted in the statistics.
    pub(crate) fn map_at(
        &mut self,
        place: Place,
        require_lock: bool,
    ) -> Result<LockedPages, PagesError> {
        let options = PageOptions {
            page_size: self.source.page_size(),
            fork: self.memory.fork,
            secret_memory: self.memory.secret_memory,
            require_lock,
            require_protections: self.memory.require_protections,
            is_stack: false,
        };
        let (outcome, secret_memory_refusal) = match pages::map(place, &options) {
            Ok(pages) => {
                let refusal = pages.secret_memory_refusal();
                (Ok(pages), refusal)
            }
            Err(Refused { error, secret_memory }) => (Err(error), secret_memory),
        };
        self.stats.secret_memory_error = secret_memory_refusal.or(self.stats.secret_memory_error);
        if let Err(PagesError::Protections(missing)) = &outcome {
            self.stats.missing_protections = self.stats.missing_protections.plus(missing);
        }
        outcome
    }
}
