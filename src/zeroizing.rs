//! `ZeroizingAllocator`, the promise that freed memory is wiped, and `ZeroizingVec`, the growable
//! buffer in every secret type.
//!
//! The public types are thin layers over the buffer: those of `secure` in locked memory,
//! `SerializeData` of `zero_after_free` on the ordinary heap.

use crate::cleanse::memory_cleanse;
use allocator_api2::alloc::Allocator;
use allocator_api2::vec::Vec;
use bytemuck::{NoUninit, Zeroable};
use core::mem::size_of_val;
use subtle::{Choice, ConstantTimeEq};

/// An allocator that overwrites every byte of a block with zeros before it deallocates the block,
/// also when a container moves to a larger or a smaller block.
///
/// So a container over such an allocator leaves no trace of its elements in memory that is
/// allocated again. Memory that the container keeps is not covered: if it drops an element but
/// keeps its buffer, the container itself must overwrite the element, as those of this crate do.
///
/// Implemented by [`SecureAllocator`](crate::SecureAllocator) (locked memory) and
/// [`ZeroAfterFreeAllocator`](crate::ZeroAfterFreeAllocator) (the ordinary heap).
///
/// ```
/// use allocator_api2::vec::Vec;
/// use bitcoin_support::{SecureAllocator, ZeroAfterFreeAllocator, ZeroizingAllocator};
///
/// fn key_schedule<A: ZeroizingAllocator>(allocator: A) -> Vec<u64, A> {
///     let mut schedule = Vec::new_in(allocator);
///     schedule.extend(0..44);
///     schedule
/// }
/// assert_eq!(key_schedule(SecureAllocator::new())[43], 43);
/// assert_eq!(key_schedule(ZeroAfterFreeAllocator::new())[43], 43);
/// ```
///
/// # Safety
/// For every block that the implementor hands out, each of `deallocate`, `grow`, `grow_zeroed` and
/// `shrink` that gives the block up must first overwrite all of it, in a way that the compiler
/// cannot remove.
///
/// Nothing checks this, and a caller cannot: after the deallocation the bytes are not the caller's.
/// Code that handles secrets, unsafe code included, relies on it, so only an `unsafe impl` may
/// promise it.
pub unsafe trait ZeroizingAllocator: Allocator {}

/// An allocation of this many bytes has failed. `usize::MAX` if the number does not fit a `usize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom(pub(crate) usize);

/// A vector that wipes an element's bytes, padding included, the moment the element leaves it.
///
/// The allocator wipes buffers that are freed; this type wipes places in a buffer that it keeps.
/// Elements leave only through its methods, each of which overwrites the places behind the new end
/// before it returns, or before it unwinds out of an element's destructor.
pub(crate) struct ZeroizingVec<T, A: ZeroizingAllocator> {
    elements: Vec<T, A>,
}

impl<T, A: ZeroizingAllocator> ZeroizingVec<T, A> {
    pub(crate) const fn new_in(allocator: A) -> Self {
        Self { elements: Vec::new_in(allocator) }
    }

    /// A vector over an existing buffer.
    ///
    /// # Safety
    /// `start` must be a block of `allocator` for an array of `capacity` elements, of which the
    /// first `len` are initialized, and the block must not have another owner.
    pub(crate) unsafe fn from_raw_parts(
        start: *mut T,
        len: usize,
        capacity: usize,
        allocator: A,
    ) -> Self {
        // SAFETY: the caller promises what `from_raw_parts_in` asks for: a block of the allocator
        // for `capacity` elements, without another owner, the first `len` elements initialized.
        Self { elements: unsafe { Vec::from_raw_parts_in(start, len, capacity, allocator) } }
    }

    pub(crate) fn len(&self) -> usize {
        self.elements.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.elements.capacity()
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &self.elements
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.elements
    }

    /// Makes room for `additional` more elements. If there is memory, the capacity at least
    /// doubles, so that a push takes constant time on average; otherwise there is room for just
    /// `additional` elements.
    pub(crate) fn try_reserve(&mut self, additional: usize) -> Result<(), NoRoom> {
        if self.elements.try_reserve(additional).is_ok() {
            return Ok(());
        }
        self.try_reserve_exact(additional)
    }

    pub(crate) fn try_reserve_exact(&mut self, additional: usize) -> Result<(), NoRoom> {
        let len = self.len();
        self.elements.try_reserve_exact(additional).map_err(|_| {
            let elements = len.saturating_add(additional);
            NoRoom(elements.saturating_mul(size_of::<T>()))
        })
    }

    pub(crate) fn try_push(&mut self, value: T) -> Result<(), NoRoom> {
        self.try_reserve(1)?;
        self.elements.push(value);
        Ok(())
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.shrinking(Vec::pop)
    }

    pub(crate) fn remove(&mut self, index: usize) -> T {
        self.shrinking(|elements| elements.remove(index))
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.shrinking(|elements| elements.truncate(len));
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.shrinking(|elements| elements.retain(keep));
    }

    /// Drops all elements and wipes the whole buffer, which stays allocated.
    pub(crate) fn wipe(&mut self) {
        self.truncate(0);
        let spare = self.elements.spare_capacity_mut();
        // SAFETY: the places are exclusively borrowed, and `MaybeUninit` may hold any bytes.
        unsafe { memory_cleanse(spare.as_mut_ptr().cast(), size_of_val(spare)) };
    }

    /// Moves the elements into a buffer of just their size. Both buffers exist for a moment.
    pub(crate) fn try_shrink_to_fit(&mut self) -> Result<(), NoRoom>
    where
        A: Clone,
    {
        if self.len() == self.capacity() || size_of::<T>() == 0 {
            return Ok(());
        }
        let mut fitting = Self::new_in(self.elements.allocator().clone());
        fitting.try_reserve_exact(self.len())?;
        fitting.elements.append(&mut self.elements);
        *self = fitting;
        Ok(())
    }

    /// Calls `change`, which removes elements, and wipes the places that they have left, even when
    /// a destructor or a predicate panics.
    fn shrinking<R>(&mut self, change: impl FnOnce(&mut Vec<T, A>) -> R) -> R {
        struct Wipe<'v, T, A: ZeroizingAllocator> {
            elements: &'v mut Vec<T, A>,
            len_before: usize,
        }

        impl<T, A: ZeroizingAllocator> Drop for Wipe<'_, T, A> {
            fn drop(&mut self) {
                let vacated = self.len_before.saturating_sub(self.elements.len());
                let slots = &mut self.elements.spare_capacity_mut()[..vacated];
                // SAFETY: the places are exclusively borrowed, and `MaybeUninit` may hold any
                // bytes.
                unsafe { memory_cleanse(slots.as_mut_ptr().cast(), size_of_val(slots)) };
            }
        }

        let len_before = self.elements.len();
        let wipe = Wipe { elements: &mut self.elements, len_before };
        change(wipe.elements)
    }
}

impl<T: Copy, A: ZeroizingAllocator> ZeroizingVec<T, A> {
    /// Appends copies of `values`, from memory to memory.
    pub(crate) fn try_extend_from_slice(&mut self, values: &[T]) -> Result<(), NoRoom> {
        self.try_reserve(values.len())?;
        let len = self.len();
        let spare = &mut self.elements.spare_capacity_mut()[..values.len()];
        // SAFETY: `spare` has `values.len()` places for a `T` and is exclusively borrowed, so
        // `values` does not overlap it. `T` is `Copy`, so a copy of its bytes is a value.
        unsafe {
            let slots = spare.as_mut_ptr().cast::<T>();
            slots.copy_from_nonoverlapping(values.as_ptr(), values.len());
            self.elements.set_len(len + values.len());
        }
        Ok(())
    }

    /// Shortens to `len` elements, or lengthens with copies of `value`.
    pub(crate) fn try_resize(&mut self, len: usize, value: T) -> Result<(), NoRoom> {
        if len > self.len() {
            self.try_reserve(len - self.len())?;
            self.elements.resize(len, value);
        } else {
            self.truncate(len);
        }
        Ok(())
    }
}

impl<T: Zeroable, A: ZeroizingAllocator> ZeroizingVec<T, A> {
    /// Appends a value of zeros, which is made in its place.
    pub(crate) fn try_push_zeroed(&mut self) -> Result<(), NoRoom> {
        self.try_reserve(1)?;
        let len = self.len();
        let slot = self.elements.spare_capacity_mut().as_mut_ptr();
        // SAFETY: `try_reserve` has made room for at least one more element, which is exclusively
        // borrowed; zeros are a `T` because `T` is `Zeroable`.
        unsafe {
            slot.write_bytes(0, 1);
            self.elements.set_len(len + 1);
        }
        Ok(())
    }
}

impl<T: NoUninit, A: ZeroizingAllocator> ConstantTimeEq for ZeroizingVec<T, A> {
    fn ct_eq(&self, other: &Self) -> Choice {
        ct_eq(self.as_slice(), other.as_slice())
    }
}

/// Whether two slices have the same bytes. The time depends only on their lengths.
pub(crate) fn ct_eq<T: NoUninit>(left: &[T], right: &[T]) -> Choice {
    if left.len() != right.len() {
        return Choice::from(0);
    }
    bytemuck::cast_slice::<T, u8>(left).ct_eq(bytemuck::cast_slice(right))
}
