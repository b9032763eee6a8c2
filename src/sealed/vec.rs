//! `SealedVec`: a sequence, encrypted while it is not in use.

use super::error::SealedError;
use super::opened::OpenedMut;
use super::value::{NextSeal, SealedBytes};
use crate::secure::{LockedAllocator, SecureVec};
use bytemuck::NoUninit;
use core::fmt;
use core::marker::PhantomData;

/// A sequence of bytes, or of other plain data, that is encrypted on the ordinary heap while it is
/// not in use. What is said of [`SealedBox`](crate::SealedBox) holds for it. The length is no
/// secret, and does not change.
///
/// ```
/// use bitcoin_support::{SealedVec, SecureVec};
///
/// let mut seed = SealedVec::seal(SecureVec::from_slice(b"a seed of any length"))?;
/// assert_eq!(seed.open()?.expose_secret(), b"a seed of any length");
/// seed.open_mut()?.expose_secret_mut()[0] = b'A';
/// assert_eq!(seed.open()?.expose_secret(), b"A seed of any length");
/// # Ok::<(), bitcoin_support::SealedError>(())
/// ```
pub struct SealedVec<T = u8> {
    sealed: SealedBytes,
    len: usize,
    _elements: PhantomData<T>,
}

impl<T: NoUninit> SealedVec<T> {
    /// Seals elements. Their buffer in locked memory is wiped, also if that fails:
    /// [`seal_copy`](Self::seal_copy) leaves it.
    ///
    /// # Errors
    /// [`SealedError::OutOfLockedMemory`], [`SealedError::OutOfMemory`],
    /// [`SealedError::NoRandomness`], [`SealedError::KeysInUse`] or [`SealedError::Interrupted`].
    pub fn seal<A: LockedAllocator>(elements: SecureVec<T, A>) -> Result<Self, SealedError> {
        Self::seal_copy(elements.expose_secret())
    }

    /// Seals a copy of elements.
    ///
    /// # Errors
    /// As for [`seal`](Self::seal).
    pub fn seal_copy(elements: &[T]) -> Result<Self, SealedError> {
        let sealed = SealedBytes::seal(bytemuck::cast_slice(elements))?;
        Ok(Self { sealed, len: elements.len(), _elements: PhantomData })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the length is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens the elements: a copy in locked memory, which is wiped when it is dropped.
    ///
    /// # Errors
    /// [`SealedError::Tampered`], [`SealedError::KeyWiped`] or [`SealedError::OutOfLockedMemory`].
    pub fn open(&self) -> Result<SecureVec<T>, SealedError> {
        let fill = |place: &mut [u8]| self.sealed.open_into(place);
        // SAFETY: if it succeeds, the bytes are the ones that were sealed: those of elements, whose
        // bytes are all of them because they are `NoUninit`. The cipher lets no others through, and
        // its key was whole to the end.
        unsafe { SecureVec::try_of_bytes(self.len, fill) }
    }

    /// Opens the elements for changes. They are sealed again when the guard is dropped.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and of [`seal`](Self::seal).
    pub fn open_mut(&mut self) -> Result<OpenedMut<'_, [T]>, SealedError> {
        let next = NextSeal::prepare(self.sealed.len())?;
        let value = self.open()?.try_into_boxed_slice()?;
        let bytes = bytemuck::cast_slice::<T, u8>;
        Ok(OpenedMut::new(value, bytes, &mut self.sealed, next))
    }

    /// Seals the elements anew, with the current sealing key. For secrets that were sealed before
    /// [`rotate_sealing_key`](crate::rotate_sealing_key).
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and of [`seal`](Self::seal). Nothing has changed.
    pub fn reseal(&mut self) -> Result<(), SealedError> {
        self.sealed.reseal()
    }
}

impl<T> fmt::Debug for SealedVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedVec([sealed])")
    }
}
