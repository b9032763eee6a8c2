//! `SecureAllocator`: the process-wide pool as an allocator for containers.
//!
//! Depends on `pool`, `pages` and `zeroizing`.

use crate::pages::{LockedPages, page_size};
use crate::pool::{LockedPool, LockedPoolManager};
use crate::zeroizing::ZeroizingAllocator;
use allocator_api2::alloc::{AllocError, Allocator, Layout};
use core::ptr::{self, NonNull};

/// Allocates locked memory that is wiped when it is freed: a handle, without size, on the process-wide pool
/// itself. Pools that a program adds to [`LockedPoolManager::instance`] serve no secret types: they may be over
/// a foreign page allocator, which need not wipe, nor hand out memory at all.
///
/// Blocks of up to [`LockedPool::ARENA_SIZE`] bytes (256 KiB) come from the pool. What happens when
/// they cannot be locked is up to the pool, as for all its chunks: its
/// [callback](LockedPool::set_locking_failed) decides, and its statistics tell. A larger block gets a
/// mapping of its own, with the same protection, but is not in those statistics; so that none is ever
/// unlocked behind their back, it is locked or it is refused. Any alignment up to a page is served;
/// above that, only what fits an arena.
///
/// As an [`Allocator`] it serves containers that take one: those of the
/// [`allocator_api2`](allocator_api2) crate, `hashbrown`'s tables, and, on a nightly compiler with
/// `RUSTFLAGS="--cfg bitcoin_support_nightly"`, those of the standard library. Such a container does not
/// wipe an element that it drops before it frees its buffer; [`SecureVec`](crate::SecureVec) does.
///
/// Allocation and freeing take constant time apart from the wipe (a few system calls for large blocks)
/// and may happen in any thread.
///
/// ```
/// use allocator_api2::boxed::Box;
/// use bitcoin_support::SecureAllocator;
///
/// let counter = Box::try_new_in(41_u32, SecureAllocator::new())?;
/// assert_eq!(*counter, 41);
/// # Ok::<(), allocator_api2::alloc::AllocError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecureAllocator;

impl SecureAllocator {
    /// The allocator. All are the same.
    pub const fn new() -> Self {
        Self
    }

    /// Allocates `size` bytes, aligned to [`LockedPool::ARENA_ALIGN`] and filled with zeros. `None` when
    /// `size` is 0 or there is no locked memory.
    ///
    /// (The trait's method of this name takes a layout: `Allocator::allocate(&allocator, layout)`.)
    ///
    /// ```
    /// use bitcoin_support::SecureAllocator;
    ///
    /// let allocator = SecureAllocator::new();
    /// let key = allocator.allocate(32).expect("locked memory");
    /// // SAFETY: the block is 32 bytes long, and not used after it is freed.
    /// unsafe {
    ///     key.write_bytes(0x42, 32);
    ///     allocator.deallocate(key, 32); // wiped
    /// }
    /// ```
    pub fn allocate(&self, size: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(size, LockedPool::ARENA_ALIGN).ok()?;
        if size == 0 { None } else { acquire(layout) }
    }

    /// Wipes and frees what [`allocate`](Self::allocate) returned for `size`.
    ///
    /// # Panics
    /// When the pool finds that the block is none of its own or has another size, and nothing has changed; or
    /// that bytes next to the block, which was a [sampled](LockedPoolManager::sample_one_in) one, have been
    /// written to, and it **has been** wiped and freed.
    ///
    /// # Safety
    /// `block` must come from [`allocate`](Self::allocate) with the same `size`, must not have been freed,
    /// and must not be used any more.
    pub unsafe fn deallocate(&self, block: NonNull<u8>, size: usize) {
        // SAFETY: as the caller vouches; the layout is that of `allocate`, which accepted it.
        unsafe { release(block, size, LockedPool::ARENA_ALIGN) };
    }
}

// SAFETY: blocks are chunks of the process-wide pool, which is never destroyed and over the system's own pages
// alone, or mappings of their own. They stay valid and hold what was written there until they are freed: what
// changes them behind their owner's back (`wipe_everything`, `ExitPolicy::inaccessible`, fork policies other than
// `Keep`) can be chosen by unsafe code only, and the wipe at exit comes when no code of the program is left to run. All
// values of the type are one, so that clones may free for each other. The methods not written here are built on
// these two by the trait.
unsafe impl Allocator for SecureAllocator {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = if layout.size() == 0 {
            // Not null, and a multiple of the alignment, as pointers to nothing are.
            NonNull::new(ptr::without_provenance_mut(layout.align()))
        } else {
            acquire(layout)
        };
        Ok(NonNull::slice_from_raw_parts(block.ok_or(AllocError)?, layout.size()))
    }

    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // The pool's chunks and fresh mappings are zeros.
        Allocator::allocate(self, layout)
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            // SAFETY: the caller vouches that `allocate` gave the block for a layout that this one fits,
            // which is the same, since `allocate` gives no more than it is asked for.
            unsafe { release(block, layout.size(), layout.align()) };
        }
    }
}

// SAFETY: `deallocate` frees into the pool, which wipes every chunk over its whole length, or drops a
// `LockedPages`, which wipes the whole mapping. `grow`, `grow_zeroed` and `shrink` are the trait's own:
// they copy to a new block and deallocate the old one.
unsafe impl ZeroizingAllocator for SecureAllocator {}

/// Whether a block of this size has a mapping of its own: alone from the size, so that `release` finds
/// what `acquire` did.
fn has_own_mapping(size: usize) -> bool {
    size > LockedPool::ARENA_SIZE
}

fn acquire(layout: Layout) -> Option<NonNull<u8>> {
    if !has_own_mapping(layout.size()) {
        return LockedPoolManager::shared_pool().alloc(layout.size(), layout.align());
    }
    if layout.align() > page_size() {
        return None;
    }
    Some(LockedPoolManager::own_pages(layout.size())?.into_raw().addr)
}

/// Wipes and frees.
///
/// # Safety
/// `block` must come from `acquire` for this size and alignment, must not have been freed, and must not
/// be used any more.
unsafe fn release(block: NonNull<u8>, size: usize, align: usize) {
    if has_own_mapping(size) {
        // SAFETY: `acquire` took the mapping out of an owner that was made for `size` bytes; by this
        // function's contract it is given back once.
        drop(unsafe { LockedPages::from_raw(block, size) });
        return;
    }
    // SAFETY: by this function's contract nobody uses the chunk any more.
    let freed = unsafe { LockedPoolManager::shared_pool().free_sized(block.as_ptr(), size, align) };
    if let Err(error) = freed {
        panic!("{error}");
    }
}
