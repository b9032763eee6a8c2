//! Where a pool's pages come from: the trait, which others may implement, and this library's own
//! pages behind it.

use super::limits::lock_limit;
use super::locked_pages::LockedPages;
use core::ptr::NonNull;

/// What [`LockedPageAllocator::allocate_locked`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedAllocation {
    /// First byte of the pages.
    pub addr: NonNull<u8>,
    /// Whether they are locked.
    pub locked: bool,
}

/// Source of locked pages for a [`LockedPool`](crate::LockedPool).
///
/// Implementations may hand out addresses that are no memory, as Bitcoin Core's tests do: a pool
/// over a foreign allocator never touches what it manages. A pool has one thread at a time in its
/// allocator, and holds no lock meanwhile: an implementation may use other pools, look at this
/// one's statistics, and fork. An allocation from this pool that needs more pages fails at once in
/// there. In a child of a fork that came while another thread was in the allocator, it is not
/// called any more.
///
/// ```
/// use bitcoin_support::{
///     LockedAllocation, LockedPageAllocator, LockedPool, PosixLockedPageAllocator,
/// };
/// use std::ptr::NonNull;
///
/// /// The system's pages, but no more than a number of bytes.
/// struct AtMost(usize);
///
/// impl LockedPageAllocator for AtMost {
///     fn allocate_locked(&mut self, len: usize) -> Option<LockedAllocation> {
///         self.0 = self.0.checked_sub(len)?;
///         PosixLockedPageAllocator.allocate_locked(len)
///     }
///
///     unsafe fn free_locked(&mut self, addr: NonNull<u8>, len: usize) {
///         self.0 += len;
///         // SAFETY: the pages come from that allocator, with this length.
///         unsafe { PosixLockedPageAllocator.free_locked(addr, len) }
///     }
///
///     fn limit(&self) -> usize {
///         PosixLockedPageAllocator.limit()
///     }
/// }
///
/// let pool = LockedPool::with_page_allocator(Box::new(AtMost(LockedPool::ARENA_SIZE)));
/// assert!(pool.alloc(LockedPool::ARENA_SIZE, 16).is_some());
/// assert!(pool.alloc(1, 16).is_none()); // this would need a second arena
/// ```
pub trait LockedPageAllocator {
    /// Maps `len` bytes, rounded up to whole pages, and tries to lock them. `None` when they cannot
    /// be mapped; pages that could not be locked are returned all the same and say so.
    fn allocate_locked(&mut self, len: usize) -> Option<LockedAllocation>;

    /// Wipes, unlocks and unmaps pages.
    ///
    /// # Safety
    /// `addr` must come from [`allocate_locked`](Self::allocate_locked) of this allocator, called
    /// with the same `len`, not yet freed; nothing may use the memory any more.
    unsafe fn free_locked(&mut self, addr: NonNull<u8>, len: usize);

    /// How many bytes this process may lock in all; `usize::MAX` when there is no limit or it is
    /// unknown, 0 when nothing can be locked.
    fn limit(&self) -> usize;
}

/// [`LockedPageAllocator`] over [`LockedPages`]: the operating system's own memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct PosixLockedPageAllocator;

impl LockedPageAllocator for PosixLockedPageAllocator {
    fn allocate_locked(&mut self, len: usize) -> Option<LockedAllocation> {
        let (addr, locked) = LockedPages::new(len).ok()?.into_raw();
        Some(LockedAllocation { addr, locked })
    }

    unsafe fn free_locked(&mut self, addr: NonNull<u8>, len: usize) {
        // SAFETY: the caller returns what `allocate_locked` gave for the same length, once.
        drop(unsafe { LockedPages::from_raw(addr, len) });
    }

    fn limit(&self) -> usize {
        lock_limit()
    }
}
