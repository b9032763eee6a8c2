//! `LockedPageArena`: one arena on locked pages, for one thread at a time.

use super::error::PoolError;
use crate::arena::{Arena, ArenaStats, FreeError};
use crate::cleanse::memory_cleanse;
use crate::pages::{LockError, LockedPages};
use core::fmt;
use core::ptr::NonNull;

/// An [`Arena`] together with the [`LockedPages`] that it divides: a fixed amount of locked memory,
/// mapped at once, without locks. For a pool that grows and that threads share, see
/// [`LockedPool`](crate::LockedPool).
///
/// ```
/// use bitcoin_support::LockedPageArena;
///
/// let mut arena = LockedPageArena::new(32, 65_536)?;
/// let key = arena.alloc(32).expect("room");
/// // The chunk is 32 bytes long, and not used after it is freed.
/// unsafe {
///     key.write_bytes(0x42, 32);
///     arena.free(key.as_ptr(), 32)?; // wiped here
/// }
/// assert_eq!(arena.stats().used, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LockedPageArena {
    // Dropped first: the bookkeeping goes before the pages.
    arena: Arena,
    pages: LockedPages,
}

impl LockedPageArena {
    /// An arena of `max_size` bytes, rounded up to whole pages, whose chunks take a multiple of
    /// `chunk_size` bytes, a power of two, and are aligned to it. Pages that cannot be locked are
    /// used all the same: ask [`lock_state`](Self::lock_state).
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn new(chunk_size: usize, max_size: usize) -> Result<Self, PoolError> {
        if !chunk_size.is_power_of_two() {
            return Err(PoolError::ChunkSize(chunk_size));
        }
        if max_size < chunk_size {
            return Err(PoolError::MaxSize(max_size));
        }
        let pages = LockedPages::new(max_size).map_err(PoolError::Map)?;
        let arena = Arena::new(pages.as_ptr().as_ptr(), pages.len(), chunk_size);
        Ok(Self { arena: arena.map_err(PoolError::Arena)?, pages })
    }

    /// Allocates `size` zero bytes. `None` when `size` is 0 or there is no room.
    pub fn alloc(&mut self, size: usize) -> Option<NonNull<u8>> {
        self.arena.alloc(size, 1)
    }

    /// Wipes and frees the chunk of `size` bytes that begins at `ptr`. Null does nothing.
    ///
    /// # Errors
    /// See [`FreeError`]; nothing changes then.
    ///
    /// # Safety
    /// If `ptr` is a used chunk of this arena, nothing may use that chunk any more.
    pub unsafe fn free(&mut self, ptr: *mut u8, size: usize) -> Result<(), FreeError> {
        if ptr.is_null() {
            return Ok(());
        }
        if !self.arena.address_in_arena(ptr) {
            return Err(FreeError::NotInPool);
        }
        let chunk = self.arena.chunk_size(ptr);
        self.arena.free(ptr, size, 1)?;
        // SAFETY: a used chunk of that size began at `ptr`, in pages that this arena owns. The
        // caller promises that nothing uses it any more.
        unsafe { memory_cleanse(ptr, chunk.unwrap_or(0)) };
        Ok(())
    }

    /// What the arena holds. Constant time.
    pub fn stats(&self) -> ArenaStats {
        self.arena.stats()
    }

    /// Whether the pages are locked, and if not, why.
    pub fn lock_state(&self) -> Result<(), LockError> {
        self.pages.lock_state()
    }
}

impl fmt::Debug for LockedPageArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedPageArena")
            .field("stats", &self.stats())
            .field("lock_state", &self.lock_state())
            .finish_non_exhaustive()
    }
}
