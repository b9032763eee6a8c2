//! `SecureBox`: one value in locked memory.

use super::allocator::{self, LockedAllocator, SecureAllocator};
use super::bounds::{Bytes, Zeroed};
use super::error::{OutOfLockedMemory, WrongLength, expect};
use super::vec::SecureVec;
use crate::zeroizing::{NoRoom, ZeroizingBox};
use core::fmt;
use core::ptr::NonNull;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A value in locked memory. When it is dropped, its destructor runs, and then all its bytes are
/// wiped, padding included.
///
/// The value may be of any type. [`new_with`](Self::new_with) makes a value of plain data in its
/// place, from zeros that a closure fills, so that the secret is never on the stack. So does
/// [`random`](SecureBox::random) for bytes. [`new`](Self::new) moves a value from the caller's
/// stack, where a copy may stay behind. A key of a type that is `Copy`, as those of `secp256k1`
/// are, is copied whenever it is passed by value; what does not leave copies is to keep its bytes
/// in a `SecureBox<[u8; 32]>`, and to make the key from them only where it is used.
///
/// ```
/// use bitcoin_support::SecureBox;
///
/// let key = SecureBox::<[u8; 32]>::random();
/// assert!(key == key.duplicate()); // in constant time
/// assert_eq!(format!("{key:?}"), "SecureBox([redacted])");
///
/// struct Account {
///     key: [u8; 32],
///     label: Option<String>, // its text is on the ordinary heap, and not wiped
/// }
/// let account = SecureBox::new(Account { key: [7; 32], label: None });
/// assert_eq!(account.expose_secret().key[0], 7);
/// ```
///
/// A value without a size that the compiler knows is made from one that has one: a slice by
/// [`SecureVec::into_boxed_slice`] or `SecureBox::<[u8]>::from(array)`, a trait object by
/// [`unsize_secure_box!`](crate::unsize_secure_box).
///
/// # What does not compile
/// Traits that are [left out on purpose](crate#what-secrets-do-not-do). Copying the value by
/// accident, or using it after it is gone:
/// ```compile_fail,E0614
/// let key = bitcoin_support::SecureBox::new([1_u8; 32]);
/// let copy = *key; // would be on the stack
/// ```
/// ```compile_fail,E0382
/// let key = bitcoin_support::SecureBox::new([1_u8; 32]);
/// drop(key);
/// key.expose_secret();
/// ```
/// Sending a value to another thread if its type must not be sent, or keeping it longer than what
/// it refers to:
/// ```compile_fail,E0277
/// let key = bitcoin_support::SecureBox::new(std::ptr::null::<u8>());
/// std::thread::spawn(move || drop(key));
/// ```
/// ```compile_fail,E0597
/// let outer;
/// {
///     let byte = 1_u8;
///     outer = bitcoin_support::SecureBox::new(&byte);
/// }
/// drop(outer);
/// ```
pub struct SecureBox<T: ?Sized, A: LockedAllocator = SecureAllocator> {
    value: ZeroizingBox<T, A>,
}

/// Bytes of a fixed number.
pub type SecureArray<const N: usize> = SecureBox<[u8; N]>;

impl<T> SecureBox<T> {
    /// Moves a value into locked memory.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn new(value: T) -> Self {
        expect(Self::try_new(value))
    }

    /// Moves a value into locked memory.
    ///
    /// # Errors
    /// When there is no locked memory. `value` has been dropped.
    pub fn try_new(value: T) -> Result<Self, OutOfLockedMemory> {
        Self::try_new_in(value, SecureAllocator)
    }

    /// Moves a value into the allocator's memory.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn new_in<A: LockedAllocator>(value: T, allocator: A) -> SecureBox<T, A> {
        expect(Self::try_new_in(value, allocator))
    }

    /// Moves a value into the allocator's memory.
    ///
    /// # Errors
    /// When there is no locked memory. `value` has been dropped.
    pub fn try_new_in<A: LockedAllocator>(
        value: T,
        allocator: A,
    ) -> Result<SecureBox<T, A>, OutOfLockedMemory> {
        let place = ZeroizingBox::try_new_zeroed(allocator.clone());
        Ok(SecureBox { value: or_refusal::<_, T, A>(place, &allocator)?.write(value) })
    }
}

impl<T, A: LockedAllocator> SecureBox<T, A> {
    /// Moves the value out of locked memory, to the caller's stack. Its place is wiped.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

#[cfg(feature = "sealed")]
impl<T: bytemuck::NoUninit> SecureBox<T> {
    /// A value made of bytes in its place: zeros, which `fill` changes.
    ///
    /// # Safety
    /// If `fill` succeeds, the bytes must be those of a `T`.
    pub(crate) unsafe fn try_of_bytes<E: From<OutOfLockedMemory>>(
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let place = ZeroizingBox::<core::mem::MaybeUninit<T>, _>::try_new_zeroed(SecureAllocator);
        let mut place = or_refusal::<_, T, _>(place, &SecureAllocator)?;
        let start = place.get_mut().as_mut_ptr().cast();
        // SAFETY: the place has the size of a `T`, is exclusively borrowed, and is zeros.
        fill(unsafe { core::slice::from_raw_parts_mut(start, size_of::<T>()) })?;
        // SAFETY: `fill` has succeeded: the caller promises that it has left a `T`.
        Ok(Self { value: unsafe { place.assume_init() } })
    }
}

/// The error with what the allocator says of it.
fn or_refusal<R, T, A: LockedAllocator>(
    result: Result<R, NoRoom>,
    allocator: &A,
) -> Result<R, OutOfLockedMemory> {
    result.map_err(|NoRoom(size)| allocator.refusal(size, align_of::<T>()))
}

impl<T: ?Sized, A: LockedAllocator> SecureBox<T, A> {
    /// The value. This type does not protect copies that the caller makes.
    pub fn expose_secret(&self) -> &T {
        self.value.get()
    }

    /// The value, to be written.
    pub fn expose_secret_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Where the memory comes from.
    pub fn allocator(&self) -> &A {
        self.value.allocator()
    }

    /// Whether the value is locked now, so that it is never in swap. Takes a step for each mapping
    /// that the library has.
    pub fn is_locked(&self) -> bool {
        allocator::is_locked(self.expose_secret())
    }

    /// The value's place and its allocator. The value is the caller's from now on: it is neither
    /// dropped nor wiped before [`from_raw_parts`](Self::from_raw_parts) takes it back.
    pub fn into_raw_parts(self) -> (NonNull<T>, A) {
        self.value.into_raw_parts()
    }

    /// Takes a value back.
    ///
    /// # Safety
    /// The two must come from [`into_raw_parts`](Self::into_raw_parts) of one box, which may have
    /// had another type of the same size and alignment, of which the value is also one: as an array
    /// is a slice, or a value of a type a trait object. The value must not have another owner.
    pub unsafe fn from_raw_parts(value: NonNull<T>, allocator: A) -> Self {
        // SAFETY: `into_raw_parts` gave up a value in a block of the allocator, and the caller
        // promises that the value has no owner, and has the layout that it had.
        Self { value: unsafe { ZeroizingBox::from_raw_parts(value, allocator) } }
    }
}

impl<T: ?Sized> SecureBox<T> {
    /// The value's place. The value is the caller's from now on: it is neither dropped nor wiped
    /// before [`from_raw`](Self::from_raw) takes it back. For the context of a callback in C.
    ///
    /// ```
    /// use bitcoin_support::SecureBox;
    ///
    /// let place = SecureBox::new([7_u8; 32]).into_raw();
    /// // SAFETY: the place comes from `into_raw`, and is not used again.
    /// let key = unsafe { SecureBox::from_raw(place) };
    /// assert_eq!(key.expose_secret(), &[7; 32]);
    /// ```
    pub fn into_raw(self) -> *mut T {
        self.into_raw_parts().0.as_ptr()
    }

    /// Takes a value back.
    ///
    /// # Safety
    /// As for [`from_raw_parts`](Self::from_raw_parts); `value` comes from
    /// [`into_raw`](Self::into_raw).
    pub unsafe fn from_raw(value: *mut T) -> Self {
        // SAFETY: the place of a value is not null, and the caller promises the rest.
        unsafe { Self::from_raw_parts(NonNull::new_unchecked(value), SecureAllocator) }
    }
}

impl<T: Zeroed> SecureBox<T> {
    /// A value of zeros, made in place.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn zeroed() -> Self {
        expect(Self::try_zeroed())
    }

    /// A value of zeros, made in place.
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_zeroed() -> Result<Self, OutOfLockedMemory> {
        Self::try_zeroed_in(SecureAllocator)
    }

    /// A value of zeros, made in place in the allocator's memory.
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_zeroed_in<A: LockedAllocator>(
        allocator: A,
    ) -> Result<SecureBox<T, A>, OutOfLockedMemory> {
        let place = ZeroizingBox::<core::mem::MaybeUninit<T>, A>::try_new_zeroed(allocator.clone());
        let place = or_refusal::<_, T, A>(place, &allocator)?;
        // SAFETY: the place is zeros, which are a value of a `Zeroable` type.
        Ok(SecureBox { value: unsafe { place.assume_init() } })
    }

    /// A value made in place: zeros, which `fill` changes.
    ///
    /// ```
    /// use bitcoin_support::SecureBox;
    ///
    /// let key = SecureBox::<[u8; 32]>::new_with(|place| place.fill(7));
    /// assert_eq!(key.expose_secret()[31], 7);
    /// ```
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn new_with(fill: impl FnOnce(&mut T)) -> Self {
        let mut value = Self::zeroed();
        fill(value.expose_secret_mut());
        value
    }

    /// A value made in place: zeros, which `fill` changes, or an error.
    ///
    /// ```
    /// use bitcoin_support::{OutOfLockedMemory, SecureBox};
    ///
    /// #[derive(Debug)]
    /// enum Error {
    ///     NoEntropy,
    ///     NoMemory(OutOfLockedMemory),
    /// }
    /// impl From<OutOfLockedMemory> for Error {
    ///     fn from(error: OutOfLockedMemory) -> Self {
    ///         Self::NoMemory(error)
    ///     }
    /// }
    /// let key = SecureBox::<[u8; 32]>::try_new_with(|place| {
    ///     getrandom::fill(place).map_err(|_| Error::NoEntropy)
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// That of `fill`; what it has written has been wiped. And when there is no locked memory.
    pub fn try_new_with<E: From<OutOfLockedMemory>>(
        fill: impl FnOnce(&mut T) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut value = Self::try_zeroed()?;
        fill(value.expose_secret_mut())?;
        Ok(value)
    }
}

impl<T: Copy, A: LockedAllocator> SecureBox<T, A> {
    /// A copy of the value, also in locked memory.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    #[must_use]
    pub fn duplicate(&self) -> Self {
        expect(self.try_duplicate())
    }

    /// A copy of the value, also in locked memory, from memory to memory.
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_duplicate(&self) -> Result<Self, OutOfLockedMemory> {
        let allocator = self.allocator().clone();
        let place = ZeroizingBox::<core::mem::MaybeUninit<T>, A>::try_new_zeroed(allocator.clone());
        let mut place = or_refusal::<_, T, A>(place, &allocator)?;
        // SAFETY: the two places are apart, since the new one is another block; the bytes of a
        // `Copy` value are a value.
        unsafe {
            place.get_mut().as_mut_ptr().copy_from_nonoverlapping(self.expose_secret(), 1);
            Ok(Self { value: place.assume_init() })
        }
    }
}

impl<T, A: LockedAllocator> SecureVec<T, A> {
    /// The elements as one value of fixed length. Moves to a buffer without unused capacity first,
    /// if there is any.
    ///
    /// # Panics
    /// When there is no locked memory for the smaller buffer.
    #[track_caller]
    pub fn into_boxed_slice(self) -> SecureBox<[T], A> {
        expect(self.try_into_boxed_slice())
    }

    /// The elements as one value of fixed length. Moves to a buffer without unused capacity first,
    /// if there is any.
    ///
    /// # Errors
    /// When there is no locked memory for the smaller buffer. The elements have been dropped.
    pub fn try_into_boxed_slice(mut self) -> Result<SecureBox<[T], A>, OutOfLockedMemory> {
        self.try_shrink_to_fit()?;
        Ok(SecureBox { value: self.into_zeroizing().into_boxed_slice() })
    }
}

/// Makes a [`SecureBox`] of a type without a known size of one with a known size, in its place: the
/// standard library's boxes do that by themselves, which only they may. The type is that of the
/// variable or argument that it is for.
///
/// It expands to an unsafe block, which is sound: the compiler changes the type of the pointer, as
/// it would that of a reference, and no other change is possible.
///
/// ```
/// use bitcoin_support::{SecureBox, unsize_secure_box};
///
/// trait Signer {
///     fn sign(&self) -> u8;
/// }
/// struct Key([u8; 32]);
/// impl Signer for Key {
///     fn sign(&self) -> u8 {
///         self.0[0]
///     }
/// }
/// let signer: SecureBox<dyn Signer> = unsize_secure_box!(SecureBox::new(Key([7; 32])));
/// assert_eq!(signer.expose_secret().sign(), 7);
/// ```
/// ```compile_fail,E0308
/// # use bitcoin_support::{SecureBox, unsize_secure_box};
/// let other: SecureBox<u32> = unsize_secure_box!(SecureBox::new([7_u8; 4]));
/// ```
#[macro_export]
macro_rules! unsize_secure_box {
    ($boxed:expr $(,)?) => {{
        let (place, allocator) = $crate::SecureBox::into_raw_parts($boxed);
        // SAFETY: the two come from one box, which is gone. The argument is a `NonNull`, which
        // coerces as a reference does: to a type that the same value also has, and to no other.
        unsafe { $crate::SecureBox::from_raw_parts(place, allocator) }
    }};
}

/// The same bytes in the same place.
impl<T, A: LockedAllocator, const N: usize> From<SecureBox<[T; N], A>> for SecureBox<[T], A> {
    fn from(array: SecureBox<[T; N], A>) -> Self {
        unsize_secure_box!(array)
    }
}

/// Moves the value. Panics when there is no locked memory.
impl<T> From<T> for SecureBox<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Zeros. Panics when there is no locked memory.
impl<T: Zeroed> Default for SecureBox<T> {
    #[track_caller]
    fn default() -> Self {
        Self::zeroed()
    }
}

/// A copy of bytes that are as many as the array has; the original is not wiped. Panics when there
/// is no locked memory.
impl<const N: usize> TryFrom<&[u8]> for SecureBox<[u8; N]> {
    type Error = WrongLength;

    #[track_caller]
    fn try_from(bytes: &[u8]) -> Result<Self, WrongLength> {
        if bytes.len() != N {
            return Err(WrongLength { expected: N, actual: bytes.len() });
        }
        Ok(Self::new_with(|place| place.copy_from_slice(bytes)))
    }
}

impl<const N: usize> SecureBox<[u8; N]> {
    /// A copy of bytes; `None` when they are not as many as the array has.
    pub(super) fn try_copy(bytes: &[u8]) -> Result<Option<Self>, OutOfLockedMemory> {
        if bytes.len() != N {
            return Ok(None);
        }
        let mut copy = Self::try_zeroed()?;
        copy.expose_secret_mut().copy_from_slice(bytes);
        Ok(Some(copy))
    }
}

/// The same bytes, which must be as many as the array has. Panics when there is no locked memory
/// for a buffer without unused capacity.
impl<A: LockedAllocator, const N: usize> TryFrom<SecureVec<u8, A>> for SecureBox<[u8; N], A> {
    type Error = WrongLength;

    #[track_caller]
    fn try_from(bytes: SecureVec<u8, A>) -> Result<Self, WrongLength> {
        if bytes.len() != N {
            return Err(WrongLength { expected: N, actual: bytes.len() });
        }
        let (slice, allocator) = bytes.into_boxed_slice().into_raw_parts();
        // SAFETY: the two come from one box, which is gone. A slice of N bytes is an array of N.
        Ok(unsafe { Self::from_raw_parts(slice.cast(), allocator) })
    }
}

impl<T: ?Sized + Bytes, A: LockedAllocator> ConstantTimeEq for SecureBox<T, A> {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.expose_secret().bytes_eq(other.expose_secret())
    }
}

/// In constant time, for slices of the same length.
impl<T: ?Sized + Bytes, A: LockedAllocator, B: LockedAllocator> PartialEq<SecureBox<T, B>>
    for SecureBox<T, A>
{
    fn eq(&self, other: &SecureBox<T, B>) -> bool {
        self.expose_secret().bytes_eq(other.expose_secret()).into()
    }
}

impl<T: ?Sized + Bytes + Eq, A: LockedAllocator> Eq for SecureBox<T, A> {}

/// Zeroizes the value in place, by its own `Zeroize`.
impl<T: ?Sized + Zeroize, A: LockedAllocator> Zeroize for SecureBox<T, A> {
    fn zeroize(&mut self) {
        self.expose_secret_mut().zeroize();
    }
}

impl<T: ?Sized, A: LockedAllocator> ZeroizeOnDrop for SecureBox<T, A> {}

impl<T: ?Sized, A: LockedAllocator> fmt::Debug for SecureBox<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecureBox([redacted])")
    }
}
