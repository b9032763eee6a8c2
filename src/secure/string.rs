//! `SecureString`: text in locked memory.

use super::error::{NotUtf8, OutOfLockedMemory, ReadSecretError, expect};
use super::vec::SecureVec;
use core::fmt;
use std::io::Read;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A string in locked memory. Its bytes are wiped when it is dropped, when it moves to another
/// buffer, and when it is shortened.
///
/// A program reaches the text through [`expose_secret`](Self::expose_secret). Every method that may
/// need memory exists twice, as in [`SecureVec`]. Lengths are in bytes of UTF-8.
///
/// ```
/// use bitcoin_support::SecureString;
///
/// let mut passphrase = SecureString::from("correct horse".to_owned()); // wipes that `String`
/// passphrase.push_str(" battery staple");
/// assert_eq!(passphrase.expose_secret().split(' ').count(), 4);
/// assert!(passphrase == *"correct horse battery staple"); // in constant time
/// assert_eq!(format!("{passphrase:?}"), "SecureString([redacted])");
/// ```
///
/// [`prompt`](Self::prompt) asks for one at the terminal.
///
/// # What does not compile
/// ```compile_fail,E0277
/// let secret = bitcoin_support::SecureString::new();
/// println!("{}", secret);
/// ```
/// ```compile_fail,E0599
/// let secret = bitcoin_support::SecureString::new();
/// let text: String = secret.to_string(); // on the ordinary heap
/// ```
/// ```compile_fail,E0599
/// let secret = bitcoin_support::SecureString::new();
/// let copy = secret.clone(); // say `duplicate`
/// ```
/// ```compile_fail,E0308
/// fn log(line: &str) {}
/// let secret = bitcoin_support::SecureString::new();
/// log(&secret); // say `expose_secret`
/// ```
/// ```compile_fail,E0502
/// let mut secret = bitcoin_support::SecureString::new();
/// let text = secret.expose_secret();
/// secret.push_str("more");
/// println!("{}", text.len());
/// ```
/// ```compile_fail,E0382
/// let secret = bitcoin_support::SecureString::new();
/// drop(secret);
/// secret.expose_secret();
/// ```
pub struct SecureString {
    /// Always UTF-8.
    bytes: SecureVec<u8>,
}

impl SecureString {
    /// An empty string. Allocates nothing.
    pub const fn new() -> Self {
        Self { bytes: SecureVec::new() }
    }

    /// An empty string with room for `capacity` bytes.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn with_capacity(capacity: usize) -> Self {
        expect(Self::try_with_capacity(capacity))
    }

    /// An empty string with room for `capacity` bytes.
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_with_capacity(capacity: usize) -> Result<Self, OutOfLockedMemory> {
        Ok(Self { bytes: SecureVec::try_with_capacity(capacity)? })
    }

    /// A copy of a text. The original is not wiped; [`From<String>`] wipes it.
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_from_str(text: &str) -> Result<Self, OutOfLockedMemory> {
        Ok(Self { bytes: SecureVec::try_from_slice(text.as_bytes())? })
    }

    /// Makes a string of bytes without copying them.
    ///
    /// # Errors
    /// When they are not UTF-8. They have been wiped.
    ///
    /// ```
    /// use bitcoin_support::{SecureString, SecureVec};
    ///
    /// let error = SecureString::from_utf8(SecureVec::from_slice(b"secret\xff")).unwrap_err();
    /// assert_eq!(error.valid_up_to(), 6);
    /// assert!(!format!("{error} {error:?}").contains("ff"));
    /// ```
    pub fn from_utf8(bytes: SecureVec<u8>) -> Result<Self, NotUtf8> {
        match core::str::from_utf8(bytes.expose_secret()) {
            Ok(_) => Ok(Self { bytes }),
            Err(error) => Err(NotUtf8::new(error.valid_up_to())),
        }
    }

    /// Reads to the end of `reader`, at most `limit` bytes, straight into locked memory.
    /// [`SecureVec::read_from`] says which readers keep copies.
    ///
    /// # Errors
    /// When the reader fails, or the secret is longer than `limit` or not UTF-8, or there is no
    /// locked memory. The part that had been read has been wiped.
    pub fn read_from(reader: impl Read, limit: usize) -> Result<Self, ReadSecretError> {
        Ok(Self::from_utf8(SecureVec::read_from(reader, limit)?)?)
    }

    /// Number of bytes. The length is not a secret: comparisons and errors reveal it.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the length is 0.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Number of bytes that fit without another allocation.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The text. This type does not protect copies that the caller makes.
    pub fn expose_secret(&self) -> &str {
        // SAFETY: the bytes are always UTF-8: `from_utf8` has checked them, or they came from a
        // `str` or a `char`; and they are shortened only to a boundary between characters.
        unsafe { core::str::from_utf8_unchecked(self.bytes.expose_secret()) }
    }

    /// The text, for changes that keep its length.
    pub fn expose_secret_mut(&mut self) -> &mut str {
        // SAFETY: the bytes are always UTF-8, see `expose_secret`, and safe code keeps a `&mut str`
        // UTF-8.
        unsafe { core::str::from_utf8_unchecked_mut(self.bytes.expose_secret_mut()) }
    }

    /// The bytes, which are not copied.
    pub fn into_bytes(self) -> SecureVec<u8> {
        self.bytes
    }

    /// Makes room for at least `additional` more bytes.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn reserve(&mut self, additional: usize) {
        expect(self.try_reserve(additional));
    }

    /// Makes room for at least `additional` more bytes.
    ///
    /// # Errors
    /// When there is no locked memory. Nothing has changed.
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), OutOfLockedMemory> {
        self.bytes.try_reserve(additional)
    }

    /// Appends a text.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn push_str(&mut self, text: &str) {
        expect(self.try_push_str(text));
    }

    /// Appends a text.
    ///
    /// # Errors
    /// When there is no locked memory. Nothing has changed.
    pub fn try_push_str(&mut self, text: &str) -> Result<(), OutOfLockedMemory> {
        self.bytes.try_extend_from_slice(text.as_bytes())
    }

    /// Appends a character.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    pub fn push(&mut self, character: char) {
        expect(self.try_push(character));
    }

    /// Appends a character.
    ///
    /// # Errors
    /// When there is no locked memory. Nothing has changed.
    pub fn try_push(&mut self, character: char) -> Result<(), OutOfLockedMemory> {
        let mut bytes = [0; 4];
        let pushed = self.try_push_str(character.encode_utf8(&mut bytes));
        crate::cleanse(&mut bytes);
        pushed
    }

    /// Removes the last character and returns it.
    pub fn pop(&mut self) -> Option<char> {
        let last = self.expose_secret().chars().next_back()?;
        self.bytes.truncate(self.len() - last.len_utf8());
        Some(last)
    }

    /// Removes and wipes all bytes from `len` on. Does nothing if the string is not longer.
    ///
    /// # Panics
    /// When `len` is inside a character.
    #[track_caller]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            assert!(self.expose_secret().is_char_boundary(len), "byte {len} is inside a character");
            self.bytes.truncate(len);
        }
    }

    /// Removes and wipes all text. The capacity stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Moves the text to a buffer without unused capacity. Both buffers exist for a moment.
    ///
    /// # Panics
    /// When there is no locked memory for the smaller buffer.
    #[track_caller]
    pub fn shrink_to_fit(&mut self) {
        expect(self.try_shrink_to_fit());
    }

    /// Moves the text to a buffer without unused capacity. Both buffers exist for a moment.
    ///
    /// # Errors
    /// When there is no locked memory for the smaller buffer. Nothing has changed.
    pub fn try_shrink_to_fit(&mut self) -> Result<(), OutOfLockedMemory> {
        self.bytes.try_shrink_to_fit()
    }

    /// A copy of the text, also in locked memory.
    ///
    /// # Panics
    /// When there is no locked memory.
    #[track_caller]
    #[must_use]
    pub fn duplicate(&self) -> Self {
        expect(self.try_duplicate())
    }

    /// A copy of the text, also in locked memory.
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_duplicate(&self) -> Result<Self, OutOfLockedMemory> {
        Ok(Self { bytes: self.bytes.try_duplicate()? })
    }
}

impl Default for SecureString {
    fn default() -> Self {
        Self::new()
    }
}

/// Copies the text. The original is not wiped. Panics when there is no locked memory; see
/// [`SecureString::try_from_str`].
impl From<&str> for SecureString {
    #[track_caller]
    fn from(text: &str) -> Self {
        expect(Self::try_from_str(text))
    }
}

/// Moves the text into locked memory and wipes the string's buffer. Panics when there is no locked
/// memory, after wiping.
impl From<String> for SecureString {
    #[track_caller]
    fn from(text: String) -> Self {
        Self { bytes: SecureVec::from(text.into_bytes()) }
    }
}

/// Formats into locked memory: `write!(secret, "{}", word)`. Fails when there is no locked memory.
impl fmt::Write for SecureString {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.try_push_str(text).map_err(|_| fmt::Error)
    }
}

impl ConstantTimeEq for SecureString {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.bytes.ct_eq(&other.bytes)
    }
}

/// In constant time for strings of the same length.
impl PartialEq for SecureString {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for SecureString {}

/// In constant time for strings of the same length.
impl PartialEq<str> for SecureString {
    fn eq(&self, other: &str) -> bool {
        self.bytes == *other.as_bytes()
    }
}

/// Removes the text and wipes the whole buffer, which stays allocated.
impl Zeroize for SecureString {
    fn zeroize(&mut self) {
        self.bytes.zeroize();
    }
}

impl ZeroizeOnDrop for SecureString {}

impl fmt::Debug for SecureString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecureString([redacted])")
    }
}

#[cfg(feature = "secrecy")]
impl secrecy::ExposeSecret<str> for SecureString {
    fn expose_secret(&self) -> &str {
        self.expose_secret()
    }
}

#[cfg(feature = "secrecy")]
impl secrecy::ExposeSecretMut<str> for SecureString {
    fn expose_secret_mut(&mut self) -> &mut str {
        self.expose_secret_mut()
    }
}

/// Moves a secret of the `secrecy` crate into locked memory and wipes the original. Panics when
/// there is no locked memory.
#[cfg(feature = "secrecy")]
impl From<secrecy::SecretString> for SecureString {
    #[track_caller]
    fn from(secret: secrecy::SecretString) -> Self {
        Self::from(secrecy::ExposeSecret::expose_secret(&secret))
    }
}
