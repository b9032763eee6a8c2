//! `ZeroizingAllocator`, the promise that freed memory is wiped; `ZeroizingVec`, a growable buffer;
//! and `ZeroizingBox`, a place for one value.
//!
//! The public types are thin layers over these two: those of `secure` in locked memory,
//! `SerializeData` of `zero_after_free` on the ordinary heap.

use crate::cleanse::memory_cleanse;
use allocator_api2::alloc::{Allocator, Layout};
use allocator_api2::vec::Vec;
use bytemuck::{NoUninit, Zeroable};
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit, size_of_val};
use core::ops::Range;
use core::ptr::{self, NonNull};
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

    pub(crate) fn allocator(&self) -> &A {
        self.elements.allocator()
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

    /// Inserts an element at `index`, which must not be above the length.
    pub(crate) fn try_insert(&mut self, index: usize, value: T) -> Result<(), NoRoom> {
        self.try_reserve(1)?;
        self.elements.insert(index, value);
        Ok(())
    }

    /// Moves all elements of `other` to the end of this vector, from memory to memory.
    pub(crate) fn try_append(&mut self, other: &mut Self) -> Result<(), NoRoom> {
        self.try_reserve(other.len())?;
        other.shrinking(|others| self.elements.append(others));
        Ok(())
    }

    /// Moves the elements of a range to a new vector, from memory to memory. Those behind the range
    /// move up. The range must end at the length at most.
    pub(crate) fn try_take(&mut self, range: Range<usize>) -> Result<Self, NoRoom>
    where
        A: Clone,
    {
        let len = self.len();
        assert!(range.start <= range.end && range.end <= len, "{range:?} is not within {len}");
        let mut taken = Self::new_in(self.allocator().clone());
        taken.try_reserve_exact(range.len())?;
        self.shrinking(|elements| {
            let start = elements.as_mut_ptr();
            // SAFETY: the range lies within the elements, and `taken` has room for as many in
            // another buffer. Both lengths are set to what the two buffers hold, so each element
            // has one owner; nothing panics in between.
            unsafe {
                let first = start.add(range.start);
                taken.elements.as_mut_ptr().copy_from_nonoverlapping(first, range.len());
                ptr::copy(start.add(range.end), first, len - range.end);
                elements.set_len(len - range.len());
                taken.elements.set_len(range.len());
            }
        });
        Ok(taken)
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.shrinking(Vec::pop)
    }

    pub(crate) fn swap_remove(&mut self, index: usize) -> T {
        self.shrinking(|elements| elements.swap_remove(index))
    }

    pub(crate) fn remove(&mut self, index: usize) -> T {
        self.shrinking(|elements| elements.remove(index))
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.shrinking(|elements| elements.truncate(len));
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
        self.shrinking(|elements| elements.retain_mut(keep));
    }

    /// The places behind the last element.
    #[cfg(any(feature = "bytes", feature = "sealed"))]
    pub(crate) fn spare_capacity_mut(&mut self) -> &mut [MaybeUninit<T>] {
        self.elements.spare_capacity_mut()
    }

    /// Makes elements of places behind the last one.
    ///
    /// # Safety
    /// `len` must be at least the length and at most the capacity, and the places up to it must
    /// hold values.
    #[cfg(any(feature = "bytes", feature = "sealed"))]
    pub(crate) unsafe fn lengthen(&mut self, len: usize) {
        // SAFETY: the caller promises that the capacity reaches so far, and that there are values.
        unsafe { self.elements.set_len(len) };
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
    /// Appends `count` values of zeros, which are made in their places.
    pub(crate) fn try_extend_zeroed(&mut self, count: usize) -> Result<(), NoRoom> {
        self.try_reserve(count)?;
        let len = self.len();
        let slots = &mut self.elements.spare_capacity_mut()[..count];
        // SAFETY: the places are exclusively borrowed, and there are `count` of them; zeros are a
        // `T` because `T` is `Zeroable`.
        unsafe {
            slots.as_mut_ptr().write_bytes(0, count);
            self.elements.set_len(len + count);
        }
        Ok(())
    }
}

impl<T, A: ZeroizingAllocator> ZeroizingVec<T, A> {
    /// The elements as one value, which takes the buffer over. There must be no unused capacity.
    pub(crate) fn into_boxed_slice(self) -> ZeroizingBox<[T], A> {
        assert!(size_of::<T>() == 0 || self.len() == self.capacity(), "unused capacity");
        let (start, len, _, allocator) = self.elements.into_raw_parts_with_alloc();
        let slice = NonNull::slice_from_raw_parts(
            NonNull::new(start).expect("a buffer is never at null"),
            len,
        );
        // SAFETY: the buffer has room for just `len` elements, so that the layout of the slice is
        // the buffer's. The vector has given it up.
        unsafe { ZeroizingBox::from_raw_parts(slice, allocator) }
    }
}

/// The elements of a vector, to be moved out from the first to the last. An element's place is
/// wiped when the element leaves it.
pub(crate) struct ZeroizingIntoIter<T, A: ZeroizingAllocator> {
    /// The owner of the buffer. Its length is 0.
    buffer: ZeroizingVec<T, A>,
    /// The places whose elements have not left.
    rest: Range<usize>,
}

impl<T, A: ZeroizingAllocator> ZeroizingIntoIter<T, A> {
    pub(crate) fn new(mut vec: ZeroizingVec<T, A>) -> Self {
        let rest = 0..vec.len();
        // SAFETY: no element is dropped by the vector then; `rest` knows which there are.
        unsafe { vec.elements.set_len(0) };
        Self { buffer: vec, rest }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: the places in `rest` hold elements, which nothing else refers to.
        unsafe {
            let first = self.buffer.elements.as_ptr().add(self.rest.start);
            core::slice::from_raw_parts(first, self.rest.len())
        }
    }

    pub(crate) fn next(&mut self) -> Option<T> {
        let index = self.rest.next()?;
        // SAFETY: the place held an element, and is not in `rest` any more, so that the element is
        // read once. Then the place belongs to no value.
        unsafe {
            let place = self.buffer.elements.as_mut_ptr().add(index);
            let element = place.read();
            memory_cleanse(place.cast(), size_of::<T>());
            Some(element)
        }
    }
}

impl<T, A: ZeroizingAllocator> Drop for ZeroizingIntoIter<T, A> {
    fn drop(&mut self) {
        let rest = core::mem::take(&mut self.rest);
        // SAFETY: the places in `rest` hold elements, which are dropped here and not again: `rest`
        // is empty now, and the vector's length is 0. The buffer is freed after this, also when a
        // destructor panics, and its allocator wipes it.
        unsafe {
            let first = self.buffer.elements.as_mut_ptr().add(rest.start);
            ptr::slice_from_raw_parts_mut(first, rest.len()).drop_in_place();
        }
    }
}

/// One value in a block that has nothing else in it. When it is dropped, the value's destructor
/// runs, and then the block is freed, also if the destructor panics; so the allocator wipes it.
pub(crate) struct ZeroizingBox<T: ?Sized, A: ZeroizingAllocator> {
    /// A block of the allocator for the layout of the value. A value without size has no block.
    value: NonNull<T>,
    allocator: A,
    _owned: PhantomData<T>,
}

// SAFETY: the box owns the value, as a `T` itself would, and the allocator.
unsafe impl<T: ?Sized + Send, A: ZeroizingAllocator + Send> Send for ZeroizingBox<T, A> {}
// SAFETY: a shared box gives out shared references to the value and the allocator alone.
unsafe impl<T: ?Sized + Sync, A: ZeroizingAllocator + Sync> Sync for ZeroizingBox<T, A> {}
// A box that moves does not move the value.
impl<T: ?Sized, A: ZeroizingAllocator> Unpin for ZeroizingBox<T, A> {}

impl<T, A: ZeroizingAllocator> ZeroizingBox<MaybeUninit<T>, A> {
    /// A block of zeros with room for a value.
    pub(crate) fn try_new_zeroed(allocator: A) -> Result<Self, NoRoom> {
        let layout = Layout::new::<T>();
        let value = if layout.size() == 0 {
            NonNull::dangling()
        } else {
            allocator.allocate_zeroed(layout).map_err(|_| NoRoom(layout.size()))?.cast()
        };
        Ok(Self { value, allocator, _owned: PhantomData })
    }

    /// Moves a value into the block.
    pub(crate) fn write(mut self, value: T) -> ZeroizingBox<T, A> {
        self.get_mut().write(value);
        // SAFETY: it holds the value now.
        unsafe { self.assume_init() }
    }

    /// # Safety
    /// The block must hold a value.
    pub(crate) unsafe fn assume_init(self) -> ZeroizingBox<T, A> {
        let (value, allocator) = self.into_raw_parts();
        // SAFETY: a block for a `MaybeUninit<T>` is one for a `T`, and the caller promises that it
        // holds one. `into_raw_parts` has given it up.
        unsafe { ZeroizingBox::from_raw_parts(value.cast(), allocator) }
    }
}

impl<T, A: ZeroizingAllocator> ZeroizingBox<T, A> {
    /// Moves the value out, and frees the block.
    pub(crate) fn into_inner(self) -> T {
        let (value, allocator) = self.into_raw_parts();
        // SAFETY: the block holds a value, which nothing reads again: as a `MaybeUninit` the block
        // has no destructor. `into_raw_parts` has given it up.
        unsafe {
            let inner = value.read();
            drop(ZeroizingBox::from_raw_parts(value.cast::<MaybeUninit<T>>(), allocator));
            inner
        }
    }
}

impl<T: ?Sized, A: ZeroizingAllocator> ZeroizingBox<T, A> {
    /// A box over an existing value.
    ///
    /// # Safety
    /// `value` must be a value in a block of `allocator` for the layout of the value (in none, if
    /// the value has no size), and must not have another owner.
    pub(crate) unsafe fn from_raw_parts(value: NonNull<T>, allocator: A) -> Self {
        Self { value, allocator, _owned: PhantomData }
    }

    /// The value, whose owner is the caller from now on.
    pub(crate) fn into_raw_parts(self) -> (NonNull<T>, A) {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used or dropped after this, so that the allocator has one owner.
        (this.value, unsafe { ptr::read(&this.allocator) })
    }

    pub(crate) fn get(&self) -> &T {
        // SAFETY: the box owns the value, and is borrowed as long as the reference lives.
        unsafe { self.value.as_ref() }
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        // SAFETY: the box owns the value, and is borrowed exclusively as long as the reference
        // lives.
        unsafe { self.value.as_mut() }
    }

    pub(crate) fn allocator(&self) -> &A {
        &self.allocator
    }
}

impl<T: ?Sized, A: ZeroizingAllocator> Drop for ZeroizingBox<T, A> {
    fn drop(&mut self) {
        struct Free<'a, A: ZeroizingAllocator> {
            block: NonNull<u8>,
            layout: Layout,
            allocator: &'a A,
        }

        impl<A: ZeroizingAllocator> Drop for Free<'_, A> {
            fn drop(&mut self) {
                if self.layout.size() > 0 {
                    // SAFETY: the block is the allocator's, for this layout, and its value is gone.
                    unsafe { self.allocator.deallocate(self.block, self.layout) };
                }
            }
        }

        let layout = Layout::for_value(self.get());
        let _free = Free { block: self.value.cast(), layout, allocator: &self.allocator };
        // SAFETY: the box owns the value, and nothing uses it after this. `_free` frees the block
        // afterwards, also when the destructor panics.
        unsafe { self.value.drop_in_place() };
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
