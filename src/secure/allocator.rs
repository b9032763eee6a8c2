//! Where secrets lie: `SecureAllocator` is the process-wide pool, `LockedOnly` is the same without
//! memory that is not locked, and `&LockedPool` is a pool that the program has made.

use super::error::{Cause, OutOfLockedMemory};
use crate::pages::{self, LockedPages, page_size};
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
/// show it. A larger block gets a separate mapping, with the same protections. It is not in the
/// pool's statistics, and it is never unlocked: if it cannot be locked, the allocation fails.
/// [`memory_stats`](crate::memory_stats) counts it. The alignment
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
// system's own pages, or a separate mapping. It stays valid and keeps its contents until it is
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

/// An allocator that a secret type takes its memory from: [`SecureAllocator`], [`LockedOnly`], or a
/// reference to a [`LockedPool`].
///
/// ```
/// use bitcoin_support::{LockedAllocator, SecureVec};
///
/// fn seed<A: LockedAllocator>(allocator: A) -> SecureVec<u8, A> {
///     let mut seed = SecureVec::new_in(allocator);
///     seed.resize(64, 0);
///     seed
/// }
/// let pool = bitcoin_support::LockedPool::default();
/// assert_eq!(seed(&pool).len(), seed(bitcoin_support::SecureAllocator).len());
/// ```
///
/// # Safety
/// The allocator's memory must be locked as far as the system and the pool's
/// [callback](LockedPool::set_locking_failed) let it, and must be in no core dump. Secret types
/// promise that of their memory.
pub unsafe trait LockedAllocator: ZeroizingAllocator + Clone {
    /// Why the allocator has just refused `size` bytes with an alignment. May try again to find
    /// out. Not on the path of an allocation that succeeds.
    fn refusal(&self, size: usize, align: usize) -> OutOfLockedMemory;
}

// SAFETY: the process-wide pool and `LockedPages` lock all memory, and exclude it from core dumps.
// Where the system refuses, the pool asks its callback and counts it in its statistics.
unsafe impl LockedAllocator for SecureAllocator {
    fn refusal(&self, size: usize, align: usize) -> OutOfLockedMemory {
        let cause = if size > isize::MAX as usize {
            Cause::TooLarge
        } else if align > page_size() && self.can_allocate(size, 1) {
            Cause::Alignment(align)
        } else {
            Cause::Full
        };
        OutOfLockedMemory::of(LockedPoolManager::process_pool(), size, cause)
    }
}

impl SecureAllocator {
    /// Whether there is memory now.
    fn can_allocate(&self, size: usize, align: usize) -> bool {
        let Ok(layout) = Layout::from_size_align(size, align) else { return false };
        let Some(block) = acquire(layout) else { return false };
        // SAFETY: the block is new, has this layout, and is not used.
        unsafe { release(block, size, align) };
        true
    }
}

/// [`SecureAllocator`] for secrets that must be locked: an allocation fails where the memory would
/// not be locked, whatever the pool's [callback](LockedPool::set_locking_failed) says. A secret
/// that grows stays locked, or fails to grow.
///
/// The pool decides first: it may make an arena of unlocked memory, of which this allocator takes
/// nothing, and it counts the refused lock in its statistics. In a child of `fork`, the memory is
/// locked anew before `fork` returns; that the system may refuse ([`is_locked`](Self::is_locked)).
///
/// An allocation takes a step for each mapping that the library has, which is one for each arena,
/// large secret and private mapping. Else its costs are those of [`SecureAllocator`].
///
/// ```
/// use bitcoin_support::{LockedOnly, SecureBox};
///
/// match SecureBox::try_new_in([7_u8; 32], LockedOnly) {
///     Ok(key) => assert!(key.is_locked()),
///     Err(error) => eprintln!("{error}"), // with the limit, and how to raise it
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockedOnly;

impl LockedOnly {
    /// Whether memory of this library that begins at `address` is locked now. `false` for other
    /// memory. Takes a step for each mapping that the library has.
    pub fn is_locked(address: *const u8) -> bool {
        pages::is_locked_at(address.addr())
    }
}

// SAFETY: as an allocator it is `SecureAllocator`, whose blocks stay valid until they are freed,
// and whose values may all free what one has allocated. It gives a block back that it does not hand
// out.
unsafe impl Allocator for LockedOnly {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = Allocator::allocate(&SecureAllocator, layout)?;
        if layout.size() == 0 || Self::is_locked(block.cast().as_ptr()) {
            return Ok(block);
        }
        // SAFETY: the block is new, has this layout, and is not used.
        unsafe { Allocator::deallocate(&SecureAllocator, block.cast(), layout) };
        Err(AllocError)
    }

    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // `SecureAllocator`'s blocks are zeros.
        self.allocate(layout)
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises that `allocate` returned the block for this layout, and that
        // is where `SecureAllocator` made it.
        unsafe { Allocator::deallocate(&SecureAllocator, block, layout) };
    }
}

// SAFETY: it frees by `SecureAllocator`, which wipes. `grow`, `grow_zeroed` and `shrink` are the
// trait's defaults, which copy to a new block and deallocate the old one.
unsafe impl ZeroizingAllocator for LockedOnly {}

// SAFETY: its memory is `SecureAllocator`'s, and locked.
unsafe impl LockedAllocator for LockedOnly {
    fn refusal(&self, size: usize, align: usize) -> OutOfLockedMemory {
        if SecureAllocator.can_allocate(size, align) {
            return OutOfLockedMemory::of(
                LockedPoolManager::process_pool(),
                size,
                Cause::NotLocked,
            );
        }
        SecureAllocator.refusal(size, align)
    }
}

/// A pool that the program has made, with its own options: fork policy, secret memory, page size,
/// maximum. Values lie in it as long as it is borrowed. A secret has at most as many bytes as an
/// arena of the pool.
///
/// Two kinds of pools refuse each allocation of values. The memory of a pool over a foreign page
/// allocator may not even exist. The memory of a pool with another fork policy than
/// [`Keep`](crate::ForkPolicy::Keep) does not keep its values in children of `fork`; such a pool
/// holds values if the program vouches for its children ([`LockedPool::with_options_unchecked`]).
///
/// ```
/// use allocator_api2::vec::Vec;
/// use bitcoin_support::{LockedPool, PoolOptions, SecureString};
///
/// let pool = LockedPool::with_options(&PoolOptions::new().max_size(1 << 20))?;
/// let mut words = Vec::new_in(&pool);
/// words.push(7_u32);
/// let mut passphrase = SecureString::new_in(&pool);
/// passphrase.push_str("correct horse");
/// assert_eq!(pool.stats().chunks_used, 2);
/// # Ok::<(), bitcoin_support::PoolError>(())
/// ```
// SAFETY: a block is a chunk of the pool, which uses the system's own pages: `can_hold_values` says
// so. It stays valid and keeps its contents until it is freed, also in children, or the program has
// vouched for them. The pool lives as long as the reference, and copies of the reference are the
// same pool. Only unsafe code can choose to change a live block (`wipe_everything`,
// `ExitPolicy::inaccessible`), and the wipe at exit comes when no more code of the program runs.
unsafe impl Allocator for &LockedPool {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = if layout.size() == 0 {
            NonNull::new(ptr::without_provenance_mut(layout.align()))
        } else if self.can_hold_values() {
            self.alloc(layout.size(), layout.align())
        } else {
            None
        };
        Ok(NonNull::slice_from_raw_parts(block.ok_or(AllocError)?, layout.size()))
    }

    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // Chunks over the system's own pages are zeros.
        self.allocate(layout)
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        if layout.size() == 0 {
            return;
        }
        // SAFETY: the caller promises that `allocate` returned the block for this layout, and that
        // it is not used any more.
        let freed = unsafe { self.free_sized(block.as_ptr(), layout.size(), layout.align()) };
        if let Err(error) = freed {
            panic!("{error}");
        }
    }
}

// SAFETY: over the system's own pages, the pool wipes each chunk as it is freed. `grow`,
// `grow_zeroed` and `shrink` are the trait's defaults, which copy to a new block and deallocate the
// old one.
unsafe impl ZeroizingAllocator for &LockedPool {}

// SAFETY: pools over the system's own pages lock all memory, and exclude it from core dumps. Where
// the system refuses, the pool asks its callback and counts it in its statistics.
unsafe impl LockedAllocator for &LockedPool {
    fn refusal(&self, size: usize, align: usize) -> OutOfLockedMemory {
        let cause = if !self.can_hold_values() {
            Cause::Pool
        } else if size > self.largest_chunk() {
            Cause::TooLarge
        } else {
            match self.alloc(size, 1) {
                Some(chunk) => {
                    // SAFETY: the chunk is new and not used.
                    let freed = unsafe { self.free(chunk.as_ptr()) };
                    if let Err(error) = freed {
                        panic!("{error}");
                    }
                    Cause::Alignment(align)
                }
                None => Cause::Full,
            }
        };
        OutOfLockedMemory::of(self, size, cause)
    }
}

/// Whether a value lies in memory that is locked now. A value without size needs none.
pub(super) fn is_locked<T: ?Sized>(value: &T) -> bool {
    size_of_val(value) == 0 || pages::is_locked_at(ptr::from_ref(value).addr())
}

/// Whether a block of this size has a separate mapping. It depends only on the size, so that
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
