//! `ZeroAfterFreeAllocator`: the ordinary heap, wiped before it is freed.

use crate::cleanse::memory_cleanse;
use crate::zeroizing::ZeroizingAllocator;
use allocator_api2::alloc::{AllocError, Allocator, Global, Layout};
use core::ptr::NonNull;

/// An allocator of the ordinary heap that wipes every whole block before it frees it, also when a
/// container moves to a larger or a smaller block.
///
/// A container over it does not wipe an element that it drops until it frees its buffer;
/// [`SerializeData`](crate::SerializeData) wipes at once. The costs are those of the global
/// allocator and of the wipe. A block never grows in place: growing always copies.
///
/// ```
/// use allocator_api2::vec::Vec;
/// use bitcoin_support::ZeroAfterFreeAllocator;
///
/// let mut record = Vec::new_in(ZeroAfterFreeAllocator::new());
/// record.extend_from_slice(b"wallet record"); // each buffer is wiped as the vector outgrows it
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZeroAfterFreeAllocator;

impl ZeroAfterFreeAllocator {
    /// The allocator. All values are equal.
    pub const fn new() -> Self {
        Self
    }
}

// SAFETY: every block comes from the global allocator and goes back to it, so one value may free
// what another has allocated. The trait builds its other methods on these.
unsafe impl Allocator for ZeroAfterFreeAllocator {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        Global.allocate(layout)
    }

    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        Global.allocate_zeroed(layout)
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller promises a block that `allocate` returned for this layout and that is
        // not used any more. It has `layout.size()` writable bytes, which may be 0.
        unsafe {
            memory_cleanse(block.as_ptr(), layout.size());
            Global.deallocate(block, layout);
        }
    }
}

// SAFETY: `deallocate` wipes first. `grow`, `grow_zeroed` and `shrink` are the trait's defaults,
// which copy to a new block and deallocate the old one.
unsafe impl ZeroizingAllocator for ZeroAfterFreeAllocator {}
