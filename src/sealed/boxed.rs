//! `SealedBox`: one value, encrypted while it is not in use.

use super::error::SealedError;
use super::opened::OpenedMut;
use super::value::{NextSeal, SealedBytes};
use crate::secure::{LockedAllocator, SecureBox};
use bytemuck::NoUninit;
use core::fmt;
use core::marker::PhantomData;

/// A value that is encrypted on the ordinary heap while it is not in use. The key lies in locked
/// memory, the same for all sealed secrets of the process. So a million of them take no more locked
/// memory than one.
///
/// [`open`](Self::open) decrypts the value into locked memory, and leaves it there as long as the
/// [`SecureBox`] lives that it returns. [`open_mut`](Self::open_mut) is for changes.
///
/// The value is of a type whose bytes are all of it: without padding, references or a destructor
/// ([`NoUninit`], such as byte arrays, numbers, and structures that derive it). The bytes of other
/// values cannot be encrypted, because padding has no value; and what a `String` points to would
/// not be sealed with it.
///
/// ```
/// use bitcoin_support::{SealedBox, SecureBox};
///
/// let mut key = SealedBox::seal(SecureBox::<[u8; 32]>::random())?;
/// let first = key.open()?.expose_secret()[0]; // wiped at the end of the statement
/// key.open_mut()?.expose_secret_mut()[0] ^= 1; // sealed again at the end of the statement
/// assert_eq!(key.open()?.expose_secret()[0], first ^ 1);
/// # Ok::<(), bitcoin_support::SealedError>(())
/// ```
///
/// # What it protects from
/// A sealed secret is in no memory in clear: not for a bug that shows parts of the heap, not in
/// swap or in a core file, and not for an attacker who reads memory with errors (row hammer, timing
/// of processors), as long as the key of 16 KiB is not read without an error. Bytes that were
/// changed, or exchanged for those of another secret or of an earlier time, are refused, as long as
/// the box itself is not exchanged with them. Code in
/// the process that reads arbitrary memory finds the key, as it finds all locked memory.
///
/// The sealing key is a chunk of the process-wide pool. Where that cannot be locked, the pool's
/// [callback](crate::LockedPool::set_locking_failed) decides, and the pool's statistics show it:
/// one key on swap would open all sealed secrets.
///
/// Each value is encrypted with ChaCha20-Poly1305 and a separate key, which follows from the
/// sealing key and a new random number, and is derived anew for each use.
///
/// # When the key is gone
/// [`wipe_everything`](crate::wipe_everything) wipes the sealing key, and with it all sealed
/// secrets: then they answer [`SealedError::KeyWiped`]. Children of `fork` have the key or not, as
/// the policy of the process-wide pool says; where they have it, they use no key twice, because the
/// system draws the random numbers. The exit of the process wipes it as it does all secrets.
///
/// # Cost
/// The bytes of the value and 16 more on the heap, and 64 in the object. To seal or to open takes
/// tens of microseconds more than to encrypt, for the hash of the sealing key. Two threads may
/// open a value at the same time, and wait for each other only while the sealing key is exchanged.
///
/// # What does not compile
/// A value with padding, or with something that the value refers to:
/// ```compile_fail,E0277
/// use bitcoin_support::{SealedBox, SecureBox};
/// struct Path { depth: u8, index: u32 }
/// SealedBox::seal(SecureBox::new(Path { depth: 1, index: 2 }));
/// ```
/// ```compile_fail,E0277
/// use bitcoin_support::{SealedBox, SecureBox};
/// SealedBox::seal(SecureBox::new(String::from("correct horse")));
/// ```
/// To use the box while it is open for changes:
/// ```compile_fail,E0502
/// use bitcoin_support::{SealedBox, SecureBox};
/// let mut key = SealedBox::seal(SecureBox::new([1_u8; 32])).unwrap();
/// let opened = key.open_mut().unwrap();
/// key.open();
/// drop(opened);
/// ```
pub struct SealedBox<T> {
    sealed: SealedBytes,
    _value: PhantomData<T>,
}

impl<T: NoUninit> SealedBox<T> {
    /// Seals a value. Its place in locked memory is wiped, also if that fails:
    /// [`seal_copy`](Self::seal_copy) leaves it.
    ///
    /// # Errors
    /// [`SealedError::OutOfLockedMemory`], [`SealedError::OutOfMemory`],
    /// [`SealedError::NoRandomness`], [`SealedError::KeysInUse`] or [`SealedError::Interrupted`].
    pub fn seal<A: LockedAllocator>(value: SecureBox<T, A>) -> Result<Self, SealedError> {
        Self::seal_copy(value.expose_secret())
    }

    /// Seals a copy of a value.
    ///
    /// # Errors
    /// As for [`seal`](Self::seal).
    pub fn seal_copy(value: &T) -> Result<Self, SealedError> {
        let sealed = SealedBytes::seal(bytemuck::bytes_of(value))?;
        Ok(Self { sealed, _value: PhantomData })
    }

    /// Opens the value: a copy in locked memory, which is wiped when it is dropped.
    ///
    /// # Errors
    /// [`SealedError::Tampered`], [`SealedError::KeyWiped`] or [`SealedError::OutOfLockedMemory`].
    pub fn open(&self) -> Result<SecureBox<T>, SealedError> {
        let fill = |place: &mut [u8]| self.sealed.open_into(place);
        // SAFETY: if it succeeds, the bytes are the ones that were sealed: those of a `T`, whose
        // bytes are all of it because it is `NoUninit`. The cipher lets no others through, and its
        // key was whole to the end.
        unsafe { SecureBox::try_of_bytes(fill) }
    }

    /// Opens the value for changes. It is sealed again when the guard is dropped.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and of [`seal`](Self::seal).
    pub fn open_mut(&mut self) -> Result<OpenedMut<'_, T>, SealedError> {
        let next = NextSeal::prepare(self.sealed.len())?;
        let value = self.open()?;
        let bytes = bytemuck::bytes_of::<T>;
        Ok(OpenedMut::new(value, bytes, &mut self.sealed, next))
    }

    /// Seals the value anew, with the current sealing key. For secrets that were sealed before
    /// [`rotate_sealing_key`](crate::rotate_sealing_key).
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and of [`seal`](Self::seal). Nothing has changed.
    pub fn reseal(&mut self) -> Result<(), SealedError> {
        self.sealed.reseal()
    }
}

impl<T> fmt::Debug for SealedBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedBox([sealed])")
    }
}
