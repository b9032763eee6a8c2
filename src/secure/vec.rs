//! `SecureVec`: a growable array in locked memory. `ZeroizingVec` has all logic of growing and
//! wiping.

use super::allocator::{LockedAllocator, LockedOnly, SecureAllocator};
use super::bounds::{Bytes, Zeroed};
use super::error::{OutOfLockedMemory, expect};
use crate::cleanse::memory_cleanse;
use crate::zeroizing::{NoRoom, ZeroizingIntoIter, ZeroizingVec};
use core::fmt;
use core::iter::FusedIterator;
#[cfg(feature = "bytes")]
use core::mem::MaybeUninit;
use core::ops::{Bound, Range, RangeBounds};
use core::slice;
use std::io::{self, Write};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A vector in locked memory. Its elements are wiped when they leave it.
///
/// A program reaches the elements through [`expose_secret`](Self::expose_secret). When the vector
/// grows, it moves the elements and wipes the old buffer. When an element is removed, its place is
/// wiped at once. When the vector is dropped, the destructors of its elements run, and then the
/// whole buffer is wiped, padding and unused capacity included. A vector of capacity 0 holds no
/// memory. Every method that may need memory exists twice: the one whose name begins with `try_`
/// returns [`OutOfLockedMemory`], the other panics. Costs are those of [`Vec`].
///
/// Elements may be of any type. The memory comes from [`SecureAllocator`], or from another
/// [`LockedAllocator`] that [`new_in`](Self::new_in) is given; each says what happens when it
/// cannot be locked. [`ExitPolicy`](crate::ExitPolicy) says what happens to it when the process
/// exits. What an element refers to, such as the contents of a `Vec`, lies where its own type puts
/// it.
///
/// The vector cannot wipe copies outside it. [`push`](Self::push) moves its argument from the
/// caller's stack, and [`pop`](Self::pop) moves an element there. To keep a secret off the stack,
/// make room with [`zeroed`](Self::zeroed) and write into
/// [`expose_secret_mut`](Self::expose_secret_mut), or read straight into the vector with
/// [`read_from`](SecureVec::read_from).
///
/// ```
/// use bitcoin_support::SecureVec;
///
/// let mut seed = SecureVec::<u8>::zeroed(32); // or SecureVec::random(32)
/// getrandom::fill(seed.expose_secret_mut())?;
///
/// let copy = seed.duplicate(); // not `clone`, so that a copy is deliberate
/// assert!(copy == seed); // in constant time
/// assert_eq!(format!("{seed:?}"), "SecureVec([redacted])");
/// # Ok::<(), getrandom::Error>(())
/// ```
///
/// # What does not compile
/// Traits that are [left out on purpose](crate#what-secrets-do-not-do). Changing or dropping a
/// vector while a part of it is in use:
/// ```compile_fail,E0502
/// let mut secret = bitcoin_support::SecureVec::from_slice(&[1_u8, 2, 3]);
/// let first = &secret.expose_secret()[0];
/// secret.push(4);
/// println!("{first}");
/// ```
/// ```compile_fail,E0505
/// let secret = bitcoin_support::SecureVec::from_slice(&[1_u8, 2, 3]);
/// let bytes = secret.expose_secret();
/// drop(secret);
/// assert_eq!(bytes.len(), 3);
/// ```
/// Sending elements to another thread if their type must not be sent:
/// ```compile_fail,E0277
/// # use bitcoin_support::SecureVec;
/// let mut secret = SecureVec::new();
/// secret.push(std::ptr::null::<u8>());
/// std::thread::spawn(move || drop(secret));
/// ```
/// Keeping elements longer than what they refer to, or than the pool that they lie in:
/// ```compile_fail,E0597
/// # use bitcoin_support::SecureVec;
/// let mut secret = SecureVec::new();
/// {
///     let byte = 1_u8;
///     secret.push(&byte);
/// }
/// drop(secret);
/// ```
/// ```compile_fail,E0597
/// # use bitcoin_support::{LockedPool, SecureVec};
/// let mut secret;
/// {
///     let pool = LockedPool::default();
///     secret = SecureVec::<u8>::new_in(&pool);
/// }
/// secret.push(1);
/// ```
pub struct SecureVec<T, A: LockedAllocator = SecureAllocator> {
    elements: ZeroizingVec<T, A>,
}

impl<T> SecureVec<T> {
    /// An empty vector. Allocates nothing.
    pub const fn new() -> Self {
        Self { elements: ZeroizingVec::new_in(SecureAllocator) }
    }

    /// An empty vector with room for `capacity` elements.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn with_capacity(capacity: usize) -> Self {
        expect(Self::try_with_capacity(capacity))
    }

    /// An empty vector with room for `capacity` elements.
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_with_capacity(capacity: usize) -> Result<Self, OutOfLockedMemory> {
        Self::try_with_capacity_in(capacity, SecureAllocator)
    }

    /// An empty vector, whose memory will be the allocator's. Allocates nothing.
    pub const fn new_in<A: LockedAllocator>(allocator: A) -> SecureVec<T, A> {
        SecureVec { elements: ZeroizingVec::new_in(allocator) }
    }

    /// An empty vector with room for `capacity` elements in the allocator's memory.
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_with_capacity_in<A: LockedAllocator>(
        capacity: usize,
        allocator: A,
    ) -> Result<SecureVec<T, A>, OutOfLockedMemory> {
        let mut vec = Self::new_in(allocator);
        let reserved = vec.elements.try_reserve_exact(capacity);
        vec.or_refusal(reserved)?;
        Ok(vec)
    }
}

#[cfg(feature = "sealed")]
impl<T: bytemuck::NoUninit> SecureVec<T> {
    /// `len` elements made of bytes in their place: zeros, which `fill` changes.
    ///
    /// # Safety
    /// If `fill` succeeds, the bytes must be those of as many values of `T`.
    pub(crate) unsafe fn try_of_bytes<E: From<OutOfLockedMemory>>(
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut vec = Self::try_with_capacity(len)?;
        let places = &mut vec.elements.spare_capacity_mut()[..len];
        let (start, size) = (places.as_mut_ptr().cast::<u8>(), size_of_val(places));
        // SAFETY: the places are exclusively borrowed and have that size, and zeros are bytes.
        fill(unsafe {
            start.write_bytes(0, size);
            core::slice::from_raw_parts_mut(start, size)
        })?;
        // SAFETY: there is room for `len` elements. `fill` has succeeded: the caller promises that
        // it has left as many.
        unsafe { vec.elements.lengthen(len) };
        Ok(vec)
    }
}

impl<T, A: LockedAllocator> SecureVec<T, A> {
    /// The error with what the allocator says of it.
    fn or_refusal<R>(&self, result: Result<R, NoRoom>) -> Result<R, OutOfLockedMemory> {
        result.map_err(|NoRoom(size)| self.allocator().refusal(size, align_of::<T>()))
    }

    /// Where the memory comes from.
    pub fn allocator(&self) -> &A {
        self.elements.allocator()
    }

    /// Whether the buffer is locked now, so that it is never in swap. `true` for a capacity of 0.
    /// Takes a step for each mapping that the library has.
    pub fn is_locked(&self) -> bool {
        self.capacity() == 0
            || size_of::<T>() == 0
            || LockedOnly::is_locked(self.elements.as_slice().as_ptr().cast())
    }
}

impl<T, A: LockedAllocator> SecureVec<T, A> {
    /// Number of elements. The length is not a secret: comparisons and errors reveal it.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether the length is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of elements that fit without another allocation.
    pub fn capacity(&self) -> usize {
        self.elements.capacity()
    }

    /// The elements. This type does not protect copies that the caller makes.
    pub fn expose_secret(&self) -> &[T] {
        self.elements.as_slice()
    }

    /// The elements, to be written.
    pub fn expose_secret_mut(&mut self) -> &mut [T] {
        self.elements.as_mut_slice()
    }

    /// Makes room for at least `additional` more elements.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn reserve(&mut self, additional: usize) {
        expect(self.try_reserve(additional));
    }

    /// Makes room for at least `additional` more elements.
    ///
    /// # Errors
    /// When there is no locked memory. Nothing has changed.
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), OutOfLockedMemory> {
        let changed = self.elements.try_reserve(additional);
        self.or_refusal(changed)
    }

    /// Appends an element.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn push(&mut self, value: T) {
        expect(self.try_push(value));
    }

    /// Appends an element.
    ///
    /// # Errors
    /// When there is no locked memory. `value` has been dropped. To keep it, reserve room first.
    pub fn try_push(&mut self, value: T) -> Result<(), OutOfLockedMemory> {
        let changed = self.elements.try_push(value);
        self.or_refusal(changed)
    }

    /// Inserts an element at `index`. Those from there on move down by one.
    ///
    /// # Panics
    /// When `index` is above the length, or there is no locked memory.
    #[track_caller]
    pub fn insert(&mut self, index: usize, value: T) {
        expect(self.try_insert(index, value));
    }

    /// Inserts an element at `index`. Those from there on move down by one.
    ///
    /// # Errors
    /// When there is no locked memory. `value` has been dropped, and nothing has changed.
    ///
    /// # Panics
    /// When `index` is above the length.
    #[track_caller]
    pub fn try_insert(&mut self, index: usize, value: T) -> Result<(), OutOfLockedMemory> {
        assert!(index <= self.len(), "no place {index} among {} elements", self.len());
        let changed = self.elements.try_insert(index, value);
        self.or_refusal(changed)
    }

    /// Moves all elements of another vector to the end of this one. Their places are wiped.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn append(&mut self, other: &mut Self) {
        expect(self.try_append(other));
    }

    /// Moves all elements of another vector to the end of this one. Their places are wiped.
    ///
    /// # Errors
    /// When there is no locked memory. Nothing has changed.
    pub fn try_append(&mut self, other: &mut Self) -> Result<(), OutOfLockedMemory> {
        let changed = self.elements.try_append(&mut other.elements);
        self.or_refusal(changed)
    }

    /// Moves the elements from `at` on to a vector of their own. Their places are wiped.
    ///
    /// # Panics
    /// When `at` is above the length, or there is no locked memory.
    #[track_caller]
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        expect(self.try_split_off(at))
    }

    /// Moves the elements from `at` on to a vector of their own. Their places are wiped.
    ///
    /// # Errors
    /// When there is no locked memory. Nothing has changed.
    ///
    /// # Panics
    /// When `at` is above the length.
    #[track_caller]
    pub fn try_split_off(&mut self, at: usize) -> Result<Self, OutOfLockedMemory> {
        assert!(at <= self.len(), "no place {at} among {} elements", self.len());
        self.try_take(at..self.len())
    }

    /// Moves the elements of a range out of the vector, and returns them one by one. They are moved
    /// to a buffer of their own first, so that nothing of them stays here, even if the iterator is
    /// forgotten.
    ///
    /// # Panics
    /// When the range reaches beyond the length, or there is no locked memory.
    #[track_caller]
    pub fn drain(&mut self, range: impl RangeBounds<usize>) -> SecureIntoIter<T, A> {
        expect(self.try_drain(range))
    }

    /// Moves the elements of a range out of the vector, as [`drain`](Self::drain) does.
    ///
    /// # Errors
    /// When there is no locked memory. Nothing has changed.
    ///
    /// # Panics
    /// When the range reaches beyond the length.
    #[track_caller]
    pub fn try_drain(
        &mut self,
        range: impl RangeBounds<usize>,
    ) -> Result<SecureIntoIter<T, A>, OutOfLockedMemory> {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len(),
        };
        let len = self.len();
        assert!(start <= end && end <= len, "{start}..{end} reaches beyond {len} elements");
        Ok(self.try_take(start..end)?.into_iter())
    }

    fn try_take(&mut self, range: Range<usize>) -> Result<Self, OutOfLockedMemory> {
        let taken = self.elements.try_take(range);
        Ok(Self { elements: self.or_refusal(taken)? })
    }

    /// Removes the last element and returns it. Its place in the vector is wiped.
    pub fn pop(&mut self) -> Option<T> {
        self.elements.pop()
    }

    /// Removes the element at `index` and returns it. The elements behind it move up by one.
    ///
    /// # Panics
    /// When `index` is not below the length.
    #[track_caller]
    pub fn remove(&mut self, index: usize) -> T {
        assert!(index < self.len(), "no element {index} among {}", self.len());
        self.elements.remove(index)
    }

    /// Removes the element at `index` and returns it. The last element takes its place.
    ///
    /// # Panics
    /// When `index` is not below the length.
    #[track_caller]
    pub fn swap_remove(&mut self, index: usize) -> T {
        assert!(index < self.len(), "no element {index} among {}", self.len());
        self.elements.swap_remove(index)
    }

    /// Drops and wipes all elements from `len` on. Does nothing if the vector is not longer.
    pub fn truncate(&mut self, len: usize) {
        self.elements.truncate(len);
    }

    /// Drops and wipes all elements. The capacity stays.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Keeps the elements for which `keep` returns true. Drops and wipes the others.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.elements.retain(|element| keep(element));
    }

    /// [`retain`](Self::retain) that lets `keep` change the elements.
    pub fn retain_mut(&mut self, keep: impl FnMut(&mut T) -> bool) {
        self.elements.retain(keep);
    }

    /// The elements in their order. As `expose_secret().iter()`.
    pub fn iter(&self) -> slice::Iter<'_, T> {
        self.expose_secret().iter()
    }

    /// The elements in their order, to be changed. As `expose_secret_mut().iter_mut()`.
    pub fn iter_mut(&mut self) -> slice::IterMut<'_, T> {
        self.expose_secret_mut().iter_mut()
    }

    /// Address of the first element, for functions of C. Valid until the vector changes or is
    /// dropped; dangling if it has no memory.
    pub fn as_ptr(&self) -> *const T {
        self.expose_secret().as_ptr()
    }

    /// Address of the first element, to be written to. As [`as_ptr`](Self::as_ptr).
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.expose_secret_mut().as_mut_ptr()
    }

    /// The buffer under the vector.
    pub(super) fn into_zeroizing(self) -> ZeroizingVec<T, A> {
        self.elements
    }

    /// The places behind the last element.
    #[cfg(feature = "bytes")]
    pub(super) fn spare_capacity_mut(&mut self) -> &mut [MaybeUninit<T>] {
        self.elements.spare_capacity_mut()
    }

    /// Makes elements of places behind the last one.
    ///
    /// # Safety
    /// `len` must be at least the length and at most the capacity, and the places up to it must
    /// hold values.
    #[cfg(feature = "bytes")]
    pub(super) unsafe fn lengthen(&mut self, len: usize) {
        // SAFETY: the caller promises that the capacity reaches so far, and that there are values.
        unsafe { self.elements.lengthen(len) };
    }

    /// Moves the elements to a buffer without unused capacity. Both buffers exist for a moment.
    ///
    /// # Panics
    /// When there is no locked memory for the smaller buffer.
    #[track_caller]
    pub fn shrink_to_fit(&mut self) {
        expect(self.try_shrink_to_fit());
    }

    /// Moves the elements to a buffer without unused capacity. Both buffers exist for a moment.
    ///
    /// # Errors
    /// When there is no locked memory for the smaller buffer. Nothing has changed.
    pub fn try_shrink_to_fit(&mut self) -> Result<(), OutOfLockedMemory> {
        let changed = self.elements.try_shrink_to_fit();
        self.or_refusal(changed)
    }
}

/// Elements that are plain data are copied from memory to memory; no copy is made on the stack.
impl<T: Copy> SecureVec<T> {
    /// A copy of a slice. The original is not wiped: see [`cleanse`](crate::cleanse).
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn from_slice(values: &[T]) -> Self {
        expect(Self::try_from_slice(values))
    }

    /// A copy of a slice. The original is not wiped: see [`cleanse`](crate::cleanse).
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_from_slice(values: &[T]) -> Result<Self, OutOfLockedMemory> {
        Self::try_from_slice_in(values, SecureAllocator)
    }

    /// A copy of a slice in the allocator's memory. The original is not wiped.
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_from_slice_in<A: LockedAllocator>(
        values: &[T],
        allocator: A,
    ) -> Result<SecureVec<T, A>, OutOfLockedMemory> {
        let mut vec = Self::try_with_capacity_in(values.len(), allocator)?;
        vec.try_extend_from_slice(values)?;
        Ok(vec)
    }
}

/// Elements that are plain data are copied from memory to memory; no copy is made on the stack.
impl<T: Copy, A: LockedAllocator> SecureVec<T, A> {
    /// Appends copies of `values`.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn extend_from_slice(&mut self, values: &[T]) {
        expect(self.try_extend_from_slice(values));
    }

    /// Appends copies of `values`.
    ///
    /// # Errors
    /// When there is no locked memory. Nothing has changed.
    pub fn try_extend_from_slice(&mut self, values: &[T]) -> Result<(), OutOfLockedMemory> {
        let changed = self.elements.try_extend_from_slice(values);
        self.or_refusal(changed)
    }

    /// Changes the length to `len`: drops and wipes the elements beyond it, or appends copies of
    /// `value`.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn resize(&mut self, len: usize, value: T) {
        expect(self.try_resize(len, value));
    }

    /// Changes the length to `len`: drops and wipes the elements beyond it, or appends copies of
    /// `value`.
    ///
    /// # Errors
    /// When there is no locked memory. Nothing has changed.
    pub fn try_resize(&mut self, len: usize, value: T) -> Result<(), OutOfLockedMemory> {
        let changed = self.elements.try_resize(len, value);
        self.or_refusal(changed)
    }

    /// A copy of the elements, also in locked memory.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    #[must_use]
    pub fn duplicate(&self) -> Self {
        expect(self.try_duplicate())
    }

    /// A copy of the elements, also in locked memory.
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_duplicate(&self) -> Result<Self, OutOfLockedMemory> {
        SecureVec::try_from_slice_in(self.expose_secret(), self.allocator().clone())
    }
}

impl<T: Zeroed> SecureVec<T> {
    /// `len` values of zeros, made in their places.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn zeroed(len: usize) -> Self {
        expect(Self::try_zeroed(len))
    }

    /// `len` values of zeros, made in their places.
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_zeroed(len: usize) -> Result<Self, OutOfLockedMemory> {
        let mut vec = Self::try_with_capacity(len)?;
        vec.try_extend_zeroed(len)?;
        Ok(vec)
    }
}

impl<T: Zeroed, A: LockedAllocator> SecureVec<T, A> {
    /// Appends `count` values of zeros, made in their places.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn extend_zeroed(&mut self, count: usize) {
        expect(self.try_extend_zeroed(count));
    }

    /// Appends `count` values of zeros, made in their places.
    ///
    /// # Errors
    /// When there is no locked memory. Nothing has changed.
    pub fn try_extend_zeroed(&mut self, count: usize) -> Result<(), OutOfLockedMemory> {
        let changed = self.elements.try_extend_zeroed(count);
        self.or_refusal(changed)
    }
}

impl<T> Default for SecureVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Moves the elements into locked memory and wipes the vector's buffer. Panics when there is no
/// locked memory, after wiping.
impl<T: Copy> From<Vec<T>> for SecureVec<T> {
    #[track_caller]
    fn from(values: Vec<T>) -> Self {
        let values = WipedOnDrop(values);
        let copy = Self::try_from_slice(&values.0);
        // Before `expect` panics: if panics abort, nothing is dropped afterwards.
        drop(values);
        expect(copy)
    }
}

/// A vector on the ordinary heap whose buffer is wiped before it is freed.
struct WipedOnDrop<T: Copy>(Vec<T>);

impl<T: Copy> Drop for WipedOnDrop<T> {
    fn drop(&mut self) {
        self.0.clear();
        let slots = self.0.spare_capacity_mut();
        // SAFETY: the places are exclusively borrowed, and `MaybeUninit` may hold any bytes.
        unsafe { memory_cleanse(slots.as_mut_ptr().cast(), size_of_val(slots)) };
    }
}

/// Moves the elements into locked memory and wipes the box. Panics when there is no locked memory,
/// after wiping.
impl<T: Copy> From<Box<[T]>> for SecureVec<T> {
    #[track_caller]
    fn from(values: Box<[T]>) -> Self {
        Self::from(values.into_vec())
    }
}

/// Moves the bytes into locked memory and wipes the original. Panics when there is no locked
/// memory, after wiping.
impl From<Zeroizing<Vec<u8>>> for SecureVec<u8> {
    #[track_caller]
    fn from(mut values: Zeroizing<Vec<u8>>) -> Self {
        Self::from(core::mem::take(&mut *values))
    }
}

/// A copy. The original is not wiped. Panics when there is no locked memory.
impl<T: Copy> From<&[T]> for SecureVec<T> {
    #[track_caller]
    fn from(values: &[T]) -> Self {
        Self::from_slice(values)
    }
}

/// Moves the elements from the stack, where a copy may stay. Panics when there is no locked memory.
impl<T, const N: usize> From<[T; N]> for SecureVec<T> {
    #[track_caller]
    fn from(values: [T; N]) -> Self {
        values.into_iter().collect()
    }
}

/// Moves one element after the other. Panics when there is no locked memory.
impl<T> FromIterator<T> for SecureVec<T> {
    #[track_caller]
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut vec = Self::new();
        vec.extend(values);
        vec
    }
}

/// Appends one element after the other. Panics when there is no locked memory. What the iterator
/// says of its length is not relied on.
impl<T, A: LockedAllocator> Extend<T> for SecureVec<T, A> {
    #[track_caller]
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        for value in values {
            self.push(value);
        }
    }
}

/// Appends copies, one after the other. Panics when there is no locked memory.
impl<'a, T: Copy + 'a, A: LockedAllocator> Extend<&'a T> for SecureVec<T, A> {
    #[track_caller]
    fn extend<I: IntoIterator<Item = &'a T>>(&mut self, values: I) {
        for value in values {
            self.push(*value);
        }
    }
}

impl<'a, T, A: LockedAllocator> IntoIterator for &'a SecureVec<T, A> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T, A: LockedAllocator> IntoIterator for &'a mut SecureVec<T, A> {
    type Item = &'a mut T;
    type IntoIter = slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<T, A: LockedAllocator> IntoIterator for SecureVec<T, A> {
    type Item = T;
    type IntoIter = SecureIntoIter<T, A>;

    fn into_iter(self) -> Self::IntoIter {
        SecureIntoIter { elements: ZeroizingIntoIter::new(self.elements) }
    }
}

/// The elements of a [`SecureVec`], moved out one by one. The place of each is wiped as it leaves;
/// those that are left are dropped and wiped with the iterator.
pub struct SecureIntoIter<T, A: LockedAllocator = SecureAllocator> {
    elements: ZeroizingIntoIter<T, A>,
}

impl<T, A: LockedAllocator> SecureIntoIter<T, A> {
    /// The elements that have not left.
    pub fn expose_secret(&self) -> &[T] {
        self.elements.as_slice()
    }
}

impl<T, A: LockedAllocator> Iterator for SecureIntoIter<T, A> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.elements.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.expose_secret().len();
        (len, Some(len))
    }
}

impl<T, A: LockedAllocator> ExactSizeIterator for SecureIntoIter<T, A> {}

impl<T, A: LockedAllocator> FusedIterator for SecureIntoIter<T, A> {}

impl<T, A: LockedAllocator> ZeroizeOnDrop for SecureIntoIter<T, A> {}

impl<T, A: LockedAllocator> fmt::Debug for SecureIntoIter<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecureIntoIter([redacted])")
    }
}

/// The bytes, for functions of other crates that read them: [`io::Cursor`], hashes, ciphers. Also
/// those that write them elsewhere.
impl<A: LockedAllocator> AsRef<[u8]> for SecureVec<u8, A> {
    fn as_ref(&self) -> &[u8] {
        self.expose_secret()
    }
}

/// The bytes, for functions of other crates that change them in place.
impl<A: LockedAllocator> AsMut<[u8]> for SecureVec<u8, A> {
    fn as_mut(&mut self) -> &mut [u8] {
        self.expose_secret_mut()
    }
}

/// Appends bytes. Fails with [`io::ErrorKind::OutOfMemory`] when there is no locked memory.
///
/// [`io::copy`] to it reads into a buffer on the stack first, which nothing wipes;
/// [`read_from`](SecureVec::read_from) does not.
impl<A: LockedAllocator> Write for SecureVec<u8, A> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_extend_from_slice(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T, A: LockedAllocator> ConstantTimeEq for SecureVec<T, A>
where
    [T]: Bytes,
{
    fn ct_eq(&self, other: &Self) -> Choice {
        self.expose_secret().bytes_eq(other.expose_secret())
    }
}

impl<T, A: LockedAllocator> Eq for SecureVec<T, A>
where
    T: Eq,
    [T]: Bytes,
{
}

/// In constant time for vectors of the same length.
impl<T, A: LockedAllocator, B: LockedAllocator> PartialEq<SecureVec<T, B>> for SecureVec<T, A>
where
    [T]: Bytes,
{
    fn eq(&self, other: &SecureVec<T, B>) -> bool {
        self.expose_secret().bytes_eq(other.expose_secret()).into()
    }
}

/// In constant time for slices of the same length.
impl<T, A: LockedAllocator> PartialEq<[T]> for SecureVec<T, A>
where
    [T]: Bytes,
{
    fn eq(&self, other: &[T]) -> bool {
        self.expose_secret().bytes_eq(other).into()
    }
}

/// In constant time for slices of the same length.
impl<T, A: LockedAllocator> PartialEq<&[T]> for SecureVec<T, A>
where
    [T]: Bytes,
{
    fn eq(&self, other: &&[T]) -> bool {
        *self == **other
    }
}

/// In constant time for arrays of the same length.
impl<T, A: LockedAllocator, const N: usize> PartialEq<[T; N]> for SecureVec<T, A>
where
    [T]: Bytes,
{
    fn eq(&self, other: &[T; N]) -> bool {
        *self == other[..]
    }
}

/// In constant time for arrays of the same length.
impl<T, A: LockedAllocator, const N: usize> PartialEq<&[T; N]> for SecureVec<T, A>
where
    [T]: Bytes,
{
    fn eq(&self, other: &&[T; N]) -> bool {
        *self == other[..]
    }
}

/// In constant time for vectors of the same length.
impl<T, A: LockedAllocator> PartialEq<Vec<T>> for SecureVec<T, A>
where
    [T]: Bytes,
{
    fn eq(&self, other: &Vec<T>) -> bool {
        *self == other[..]
    }
}

/// Drops all elements and wipes the whole buffer, which stays allocated.
impl<T, A: LockedAllocator> Zeroize for SecureVec<T, A> {
    fn zeroize(&mut self) {
        self.elements.wipe();
    }
}

impl<T, A: LockedAllocator> ZeroizeOnDrop for SecureVec<T, A> {}

impl<T, A: LockedAllocator> fmt::Debug for SecureVec<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecureVec([redacted])")
    }
}
