//! `SecureBox`: one value in locked memory. It is a vector of exactly one element, so that all
//! wiping is in one place.

use super::error::{OutOfLockedMemory, expect};
use super::vec::SecureVec;
use bytemuck::{NoUninit, Zeroable};
use core::fmt;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A value in locked memory. When it is dropped, its destructor runs, and then all its bytes are
/// wiped, padding included.
///
/// [`zeroed`](Self::zeroed) makes a value of zeros in place, for plain data. The program fills it
/// through [`expose_secret_mut`](Self::expose_secret_mut), so that the secret is never on the
/// stack. [`new`](Self::new) moves a value from the caller's stack, where a copy may stay behind.
///
/// ```
/// use bitcoin_support::SecureBox;
///
/// let mut key = SecureBox::<[u8; 32]>::zeroed();
/// getrandom::fill(key.expose_secret_mut())?;
/// assert!(key == key.duplicate()); // in constant time
/// assert_eq!(format!("{key:?}"), "SecureBox([redacted])");
/// # Ok::<(), getrandom::Error>(())
/// ```
///
/// # What does not compile
/// ```compile_fail,E0277
/// let key = bitcoin_support::SecureBox::new([1_u8; 32]);
/// println!("{}", key);
/// ```
/// ```compile_fail,E0599
/// let key = bitcoin_support::SecureBox::new([1_u8; 32]);
/// let copy = key.clone();
/// ```
/// ```compile_fail,E0614
/// let key = bitcoin_support::SecureBox::new([1_u8; 32]);
/// let copy = *key; // would be on the stack
/// ```
/// ```compile_fail,E0382
/// let key = bitcoin_support::SecureBox::new([1_u8; 32]);
/// drop(key);
/// key.expose_secret();
/// ```
/// ```compile_fail,E0277
/// let key = bitcoin_support::SecureBox::new(std::ptr::null::<u8>());
/// std::thread::spawn(move || drop(key));
/// ```
pub struct SecureBox<T> {
    /// Exactly one element.
    value: SecureVec<T>,
}

impl<T: Zeroable> SecureBox<T> {
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
        let mut one = SecureVec::try_with_capacity(1)?;
        one.try_push(value)?;
        Ok(Self { value: one })
    }
}

impl<T> SecureBox<T> {
    /// The value. This type does not protect copies that the caller makes.
    pub fn expose_secret(&self) -> &T {
        &self.value.expose_secret()[0]
    }

    /// The value, to be written.
    pub fn expose_secret_mut(&mut self) -> &mut T {
        &mut self.value.expose_secret_mut()[0]
    }
}

impl<T: Zeroable> SecureBox<T> {
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
        let mut one = SecureVec::try_with_capacity(1)?;
        one.try_push_zeroed()?;
        Ok(Self { value: one })
    }
}

impl<T: Copy + Zeroable> SecureBox<T> {
    /// A copy of the value, also in locked memory.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    #[must_use]
    pub fn duplicate(&self) -> Self {
        expect(self.try_duplicate())
    }

    /// A copy of the value, also in locked memory.
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_duplicate(&self) -> Result<Self, OutOfLockedMemory> {
        Ok(Self { value: self.value.try_duplicate()? })
    }
}

impl<T: NoUninit> ConstantTimeEq for SecureBox<T> {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.value.ct_eq(&other.value)
    }
}

/// In constant time.
impl<T: NoUninit> PartialEq for SecureBox<T> {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl<T: NoUninit + Eq> Eq for SecureBox<T> {}

/// Zeroizes the value in place, by its own `Zeroize`.
impl<T: Zeroize> Zeroize for SecureBox<T> {
    fn zeroize(&mut self) {
        self.expose_secret_mut().zeroize();
    }
}

impl<T> ZeroizeOnDrop for SecureBox<T> {}

impl<T> fmt::Debug for SecureBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecureBox([redacted])")
    }
}

#[cfg(feature = "secrecy")]
impl<T> secrecy::ExposeSecret<T> for SecureBox<T> {
    fn expose_secret(&self) -> &T {
        self.expose_secret()
    }
}

#[cfg(feature = "secrecy")]
impl<T> secrecy::ExposeSecretMut<T> for SecureBox<T> {
    fn expose_secret_mut(&mut self) -> &mut T {
        self.expose_secret_mut()
    }
}
