//! `SecureAllocator`: the process-wide pool as an allocator for containers.

use crate::pages::{LockedPages, page_size};
use crate::pool::{LockedPool, LockedPoolManager};
use crate::zeroizing::ZeroizingAllocator;
use allocator_api2::alloc::{AllocError, Allocator, Layout};
use core::ptr::{self, NonNull};

/// An allocator of locked memory that is wiped when it is freed. It is a handle of size 0 to the
/// process-wide pool. Pools that a program adds to [`LockedPoolManager::instance`] do not serve
/// secret types: they may be over a foreign page allocator, which may not wipe, and whose addresses
/// may not even be mapped.
///
/// Blocks of up to [`LockedPool::ARENA_SIZE`] bytes (256 KiB) come from the pool. If they cannot be
/// locked, the pool's [callback](LockedPool::set_locking_failed) decides, and the pool's statistics
/// show it. A larger block gets a mapping of its own, with the same protections. It is not in the
/// statistics, so it is never unlocked: if it cannot be locked, the allocation fails. The alignment
/// may be up to a page; blocks that fit an arena may have any alignment that fits it too.
///
/// As an [`Allocator`] it serves containers that take one: those of the
/// [`allocator_api2`](allocator_api2) crate, `hashbrown`'s tables, and, on a nightly compiler with
/// `RUSTFLAGS="--cfg bitcoin_support_nightly"`, those of the standard library. Such a container
/// does not wipe an element that it drops until it frees its buffer;
/// [`SecureVec`](crate::SecureVec) wipes it at once.
///
/// An allocation and a free take constant time, apart from the wipe, and a few system calls for a
/// large block. Any thread may make them.
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
    /// The allocator. All values are equal.
    pub const fn new() -> Self {
        Self
    }

    /// Allocates `size` bytes, aligned to [`LockedPool::ARENA_ALIGN`] and filled with zeros. `None`
    /// when `size` is 0 or there is no locked memory.
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
    /// When the block is not one of the pool's, or has another size: nothing has changed. And when
    /// the block was a [sampled](LockedPoolManager::sample_one_in) one, and bytes next to it have
    /// been overwritten: the block **has been** wiped and freed.
    ///
    /// # Safety
    /// `block` must come from [`allocate`](Self::allocate) with the same `size`, must not have been
    /// freed, and must not be used afterwards.
    pub unsafe fn deallocate(&self, block: NonNull<u8>, size: usize) {
        // SAFETY: the caller promises a block from `allocate`, which calls `acquire` with this size
        // and alignment; and that the block has not been freed and is not used any more.
        unsafe { release(block, size, LockedPool::ARENA_ALIGN) };
    }
}

// SAFETY: a block is a chunk of the process-wide pool, which is never destroyed and uses only the
// system's own pages, or a mapping of its own. It stays valid and keeps its contents until it is
// freed. Only unsafe code can choose to change the contents of a live block (`wipe_everything`,
// `ExitPolicy::inaccessible`, fork policies other than `Keep`), and the wipe at exit comes when no
// more code of the program runs. All values of the type are equal, so one may free what another has
// allocated. The trait builds its other methods on these two.
unsafe impl Allocator for SecureAllocator {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = if layout.size() == 0 {
            // A dangling pointer: not null, and a multiple of the alignment.
            NonNull::new(ptr::without_provenance_mut(layout.align()))
        } else {
            acquire(layout)
        };
        Ok(NonNull::slice_from_raw_parts(block.ok_or(AllocError)?, layout.size()))
    }

    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // The pool's chunks and new mappings are zeros.
        Allocator::allocate(self, layout)
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            // SAFETY: the caller promises that `allocate` returned the block for a layout that this
            // one fits. The two are equal, since `allocate` returns blocks of just the requested
            // size.
            unsafe { release(block, layout.size(), layout.align()) };
        }
    }
}

// SAFETY: `deallocate` frees into the pool, which wipes the whole chunk, or drops a `LockedPages`,
// which wipes the whole mapping. `grow`, `grow_zeroed` and `shrink` are the trait's defaults, which
// copy to a new block and deallocate the old one.
unsafe impl ZeroizingAllocator for SecureAllocator {}

/// Whether a block of this size has a mapping of its own. It depends only on the size, so that
/// `release` gets the same answer as `acquire`.
fn has_own_mapping(size: usize) -> bool {
    size > LockedPool::ARENA_SIZE
}

fn acquire(layout: Layout) -> Option<NonNull<u8>> {
    if !has_own_mapping(layout.size()) {
        return LockedPoolManager::process_pool().alloc(layout.size(), layout.align());
    }
    if layout.align() > page_size() {
        return None;
    }
    Some(LockedPoolManager::locked_pages(layout.size())?.into_raw().0)
}

/// Wipes and frees a block.
///
/// # Safety
/// `block` must come from `acquire` for this size and alignment, must not have been freed, and must
/// not be used afterwards.
unsafe fn release(block: NonNull<u8>, size: usize, align: usize) {
    if has_own_mapping(size) {
        // SAFETY: `acquire` got the block from `into_raw` of a mapping made for `size` bytes, and
        // the caller promises that it has not been freed and is not used any more.
        drop(unsafe { LockedPages::from_raw(block, size) });
        return;
    }
    // SAFETY: the caller promises that the chunk is not used any more.
    let freed =
        unsafe { LockedPoolManager::process_pool().free_sized(block.as_ptr(), size, align) };
    if let Err(error) = freed {
        panic!("{error}");
    }
}
