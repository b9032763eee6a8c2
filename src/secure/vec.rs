//! `SecureVec`: a growable array in locked memory. `ZeroizingVec` has all logic of growing and
//! wiping.

use super::allocator::SecureAllocator;
use super::error::{OutOfLockedMemory, ReadSecretError, expect};
use crate::cleanse::memory_cleanse;
use crate::zeroizing::{ZeroizingVec, ct_eq};
use bytemuck::{NoUninit, Zeroable};
use core::fmt;
use std::io::{self, Read, Write};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A vector in locked memory. Its elements are wiped when they leave it.
///
/// A program reaches the elements through [`expose_secret`](Self::expose_secret). When the vector
/// grows, it moves the elements and wipes the old buffer. When an element is removed, its place is
/// wiped at once. When the vector is dropped, the destructors of its elements run, and then the
/// whole buffer is wiped, padding and unused capacity included. A vector of capacity 0 holds no
/// memory. Every method that may need memory exists twice: the one whose name begins with `try_`
/// returns [`OutOfLockedMemory`], the other panics. Costs are those of [`Vec`].
///
/// The memory comes from [`SecureAllocator`], which says what happens when it cannot be locked.
/// [`ExitPolicy`](crate::ExitPolicy) says what happens to it when the process exits. Elements must
/// be [`Zeroable`], which references and boxes are not. So an element is still a value of its type
/// after a program has wiped live secrets ([`wipe_everything`](crate::wipe_everything),
/// [`ForkPolicy::Wipe`](crate::ForkPolicy)).
///
/// The vector cannot wipe copies outside it. [`push`](Self::push) moves its argument from the
/// caller's stack, and [`pop`](Self::pop) moves an element there. To keep a secret off the stack,
/// make room with [`resize`](Self::resize) and write into
/// [`expose_secret_mut`](Self::expose_secret_mut), or read straight into the vector with
/// [`read_from`](SecureVec::read_from).
///
/// ```
/// use bitcoin_support::SecureVec;
///
/// let mut seed = SecureVec::new();
/// seed.resize(32, 0_u8);
/// getrandom::fill(seed.expose_secret_mut())?;
///
/// let copy = seed.duplicate(); // not `clone`, so that a copy is deliberate
/// assert!(copy == seed); // in constant time
/// assert_eq!(format!("{seed:?}"), "SecureVec([redacted])");
/// # Ok::<(), getrandom::Error>(())
/// ```
///
/// # What does not compile
/// Printing a secret, or copying it by accident:
/// ```compile_fail,E0277
/// let secret = bitcoin_support::SecureVec::from_slice(&[1_u8, 2, 3]);
/// println!("{}", secret);
/// ```
/// ```compile_fail,E0599
/// let secret = bitcoin_support::SecureVec::from_slice(&[1_u8, 2, 3]);
/// let copy = secret.clone();
/// ```
/// ```compile_fail,E0599
/// let secret = bitcoin_support::SecureVec::from_slice(&[1_u8, 2, 3]);
/// let copy: Vec<u8> = secret.to_vec(); // say `expose_secret` first
/// ```
/// Comparing it in a time that depends on its contents, or using it as a key:
/// ```compile_fail,E0277
/// # use std::collections::HashSet;
/// # use bitcoin_support::SecureVec;
/// HashSet::from([SecureVec::<u8>::new()]);
/// ```
/// ```compile_fail,E0369
/// # use bitcoin_support::SecureVec;
/// let _ = SecureVec::<u8>::new() < SecureVec::<u8>::new();
/// ```
/// Changing or dropping it while a part of it is in use:
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
/// Elements of a type that has no value of zeros:
/// ```compile_fail,E0277
/// bitcoin_support::SecureVec::<&str>::new();
/// ```
pub struct SecureVec<T> {
    elements: ZeroizingVec<T, SecureAllocator>,
}

impl<T: Zeroable> SecureVec<T> {
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
        let mut vec = Self::new();
        vec.elements.try_reserve_exact(capacity)?;
        Ok(vec)
    }
}

impl<T> SecureVec<T> {
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
        Ok(self.elements.try_reserve(additional)?)
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
        Ok(self.elements.try_push(value)?)
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

    /// Drops and wipes all elements from `len` on. Does nothing if the vector is not longer.
    pub fn truncate(&mut self, len: usize) {
        self.elements.truncate(len);
    }

    /// Drops and wipes all elements. The capacity stays.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Keeps the elements for which `keep` returns true. Drops and wipes the others.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.elements.retain(keep);
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
        Ok(self.elements.try_shrink_to_fit()?)
    }
}

/// Elements that are plain data are copied from memory to memory; no copy is made on the stack.
impl<T: Copy + Zeroable> SecureVec<T> {
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
        let mut vec = Self::try_with_capacity(values.len())?;
        vec.elements.try_extend_from_slice(values)?;
        Ok(vec)
    }

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
        Ok(self.elements.try_extend_from_slice(values)?)
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
        Ok(self.elements.try_resize(len, value)?)
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
        Self::try_from_slice(self.expose_secret())
    }
}

impl<T: Zeroable> SecureVec<T> {
    /// Appends a value of zeros, which is made in its place.
    pub(super) fn try_push_zeroed(&mut self) -> Result<(), OutOfLockedMemory> {
        Ok(self.elements.try_push_zeroed()?)
    }
}

impl SecureVec<u8> {
    /// Reads to the end of `reader`, at most `limit` bytes, straight into locked memory.
    ///
    /// A reader that has a buffer, such as [`std::io::BufReader`] or [`std::io::stdin`], keeps a
    /// copy in it. A [`std::fs::File`] or a socket has no buffer.
    ///
    /// # Errors
    /// When the reader fails, the secret is longer than `limit`, or there is no locked memory. The
    /// part that had been read has been wiped.
    ///
    /// ```
    /// use bitcoin_support::{ReadSecretError, SecureVec};
    ///
    /// let file = &b"a private key"[..];
    /// let key = SecureVec::read_from(file, 100)?;
    /// assert_eq!(key.len(), 13);
    /// assert!(matches!(SecureVec::read_from(file, 12), Err(ReadSecretError::TooLong(12))));
    /// # Ok::<(), ReadSecretError>(())
    /// ```
    pub fn read_from(mut reader: impl Read, limit: usize) -> Result<Self, ReadSecretError> {
        const FIRST: usize = 256;
        let mut vec = Self::new();
        let mut filled = 0;
        // One byte more than `limit` is read, to find out whether the secret is longer.
        let most = limit.saturating_add(1);
        while filled < most {
            if filled == vec.len() {
                let len = filled.saturating_mul(2).clamp(FIRST, most.max(FIRST)).min(most);
                vec.try_resize(len, 0)?;
            }
            let room = &mut vec.expose_secret_mut()[filled..];
            match reader.read(room) {
                Ok(0) => break,
                Ok(count) if count <= room.len() => filled += count,
                // The reader claims to have read more than there was room for, which breaks its
                // contract.
                Ok(_) => return Err(io::Error::from(io::ErrorKind::InvalidData).into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if filled > limit {
            return Err(ReadSecretError::TooLong(limit));
        }
        vec.truncate(filled);
        Ok(vec)
    }
}

impl<T: Zeroable> Default for SecureVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Moves the elements into locked memory and wipes the vector's buffer. Panics when there is no
/// locked memory, after wiping.
impl<T: Copy + Zeroable> From<Vec<T>> for SecureVec<T> {
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

/// Appends one element after the other. Panics when there is no locked memory.
impl<T> Extend<T> for SecureVec<T> {
    #[track_caller]
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        for value in values {
            self.push(value);
        }
    }
}

/// Appends bytes. Fails with [`io::ErrorKind::OutOfMemory`] when there is no locked memory.
impl Write for SecureVec<u8> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_extend_from_slice(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: NoUninit> ConstantTimeEq for SecureVec<T> {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.elements.ct_eq(&other.elements)
    }
}

/// In constant time for vectors of the same length.
impl<T: NoUninit> PartialEq for SecureVec<T> {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl<T: NoUninit + Eq> Eq for SecureVec<T> {}

/// In constant time for slices of the same length.
impl<T: NoUninit> PartialEq<[T]> for SecureVec<T> {
    fn eq(&self, other: &[T]) -> bool {
        ct_eq(self.expose_secret(), other).into()
    }
}

/// Drops all elements and wipes the whole buffer, which stays allocated.
impl<T> Zeroize for SecureVec<T> {
    fn zeroize(&mut self) {
        self.elements.wipe();
    }
}

impl<T> ZeroizeOnDrop for SecureVec<T> {}

impl<T> fmt::Debug for SecureVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecureVec([redacted])")
    }
}

#[cfg(feature = "secrecy")]
impl<T> secrecy::ExposeSecret<[T]> for SecureVec<T> {
    fn expose_secret(&self) -> &[T] {
        self.expose_secret()
    }
}

#[cfg(feature = "secrecy")]
impl<T> secrecy::ExposeSecretMut<[T]> for SecureVec<T> {
    fn expose_secret_mut(&mut self) -> &mut [T] {
        self.expose_secret_mut()
    }
}
