//! `SecureString`: text in locked memory.

use super::allocator::{LockedAllocator, SecureAllocator};
use super::error::{NotUtf8, OutOfLockedMemory, expect};
use super::vec::SecureVec;
use core::convert::Infallible;
use core::fmt;
use core::ops::AddAssign;
use core::str::FromStr;
use std::ffi::OsString;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

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
/// assert!(passphrase == "correct horse battery staple"); // in constant time
/// assert_eq!(format!("{passphrase:?}"), "SecureString([redacted])");
/// ```
///
/// [`prompt`](Self::prompt) asks for one at the terminal.
///
/// # What does not compile
/// Traits that are [left out on purpose](crate#what-secrets-do-not-do); and:
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
pub struct SecureString<A: LockedAllocator = SecureAllocator> {
    /// Always UTF-8.
    bytes: SecureVec<u8, A>,
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
        Self::try_from_str_in(text, SecureAllocator)
    }

    /// An empty string, whose memory will be the allocator's. Allocates nothing.
    pub const fn new_in<A: LockedAllocator>(allocator: A) -> SecureString<A> {
        SecureString { bytes: SecureVec::new_in(allocator) }
    }

    /// A copy of a text in the allocator's memory. The original is not wiped.
    ///
    /// # Errors
    /// When there is no locked memory.
    pub fn try_from_str_in<A: LockedAllocator>(
        text: &str,
        allocator: A,
    ) -> Result<SecureString<A>, OutOfLockedMemory> {
        Ok(SecureString { bytes: SecureVec::try_from_slice_in(text.as_bytes(), allocator)? })
    }

    /// What `format!` would make, in locked memory: [`secure_format!`](crate::secure_format) calls
    /// it. Code that formats numbers has them on the stack for a moment.
    ///
    /// # Panics
    /// When there is no locked memory, or a `Display` fails.
    #[track_caller]
    pub fn format(arguments: fmt::Arguments<'_>) -> Self {
        expect(Self::try_format(arguments))
    }

    /// What `format!` would make, in locked memory, as [`format`](Self::format) does.
    ///
    /// # Errors
    /// When there is no locked memory.
    ///
    /// # Panics
    /// When a `Display` fails.
    #[track_caller]
    pub fn try_format(arguments: fmt::Arguments<'_>) -> Result<Self, OutOfLockedMemory> {
        /// A text and why it could not grow.
        struct Text(Result<SecureString, OutOfLockedMemory>);

        impl fmt::Write for Text {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                let Ok(text) = &mut self.0 else { return Err(fmt::Error) };
                if let Err(error) = text.try_push_str(part) {
                    self.0 = Err(error);
                    return Err(fmt::Error);
                }
                Ok(())
            }
        }

        let mut text = Text(Ok(Self::new()));
        let written = fmt::write(&mut text, arguments);
        assert!(written.is_ok() || text.0.is_err(), "a `Display` fails");
        text.0
    }
}

/// `format!` into a [`SecureString`].
///
/// ```
/// let entry = bitcoin_support::secure_format!("{}: {}", "word", 12);
/// assert!(entry == "word: 12");
/// ```
#[macro_export]
macro_rules! secure_format {
    ($($arguments:tt)*) => {
        $crate::SecureString::format(::core::format_args!($($arguments)*))
    };
}

impl<A: LockedAllocator> SecureString<A> {
    /// Where the memory comes from.
    pub fn allocator(&self) -> &A {
        self.bytes.allocator()
    }

    /// Whether the text is locked now, so that it is never in swap. `true` for a capacity of 0.
    /// Takes a step for each mapping that the library has.
    pub fn is_locked(&self) -> bool {
        self.bytes.is_locked()
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
    pub fn from_utf8(bytes: SecureVec<u8, A>) -> Result<Self, NotUtf8> {
        match core::str::from_utf8(bytes.expose_secret()) {
            Ok(_) => Ok(Self { bytes }),
            Err(error) => Err(NotUtf8::new(error.valid_up_to())),
        }
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
        // `str` or a `char`; and what is removed or inserted begins and ends at boundaries between
        // characters.
        unsafe { core::str::from_utf8_unchecked(self.bytes.expose_secret()) }
    }

    /// The text, for changes that keep its length.
    pub fn expose_secret_mut(&mut self) -> &mut str {
        // SAFETY: the bytes are always UTF-8, see `expose_secret`, and safe code keeps a `&mut str`
        // UTF-8.
        unsafe { core::str::from_utf8_unchecked_mut(self.bytes.expose_secret_mut()) }
    }

    /// The bytes, which are not copied.
    pub fn into_bytes(self) -> SecureVec<u8, A> {
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
        let mut bytes = Zeroizing::new([0; 4]);
        self.try_push_str(character.encode_utf8(&mut *bytes))
    }

    /// Removes the last character and returns it.
    pub fn pop(&mut self) -> Option<char> {
        let last = self.expose_secret().chars().next_back()?;
        self.bytes.truncate(self.len() - last.len_utf8());
        Some(last)
    }

    /// Inserts a text at byte `index`.
    ///
    /// # Panics
    /// When `index` is above the length or inside a character, or there is no locked memory.
    #[track_caller]
    pub fn insert_str(&mut self, index: usize, text: &str) {
        expect(self.try_insert_str(index, text));
    }

    /// Inserts a text at byte `index`.
    ///
    /// # Errors
    /// When there is no locked memory. Nothing has changed.
    ///
    /// # Panics
    /// When `index` is above the length or inside a character.
    #[track_caller]
    pub fn try_insert_str(&mut self, index: usize, text: &str) -> Result<(), OutOfLockedMemory> {
        self.assert_boundary(index);
        let len = self.len();
        self.bytes.try_extend_from_slice(text.as_bytes())?;
        let bytes = self.bytes.expose_secret_mut();
        // From memory to memory: `rotate_right` would have some of it on the stack.
        bytes.copy_within(index..len, index + text.len());
        bytes[index..index + text.len()].copy_from_slice(text.as_bytes());
        Ok(())
    }

    /// Inserts a character at byte `index`.
    ///
    /// # Panics
    /// When `index` is above the length or inside a character, or there is no locked memory.
    #[track_caller]
    pub fn insert(&mut self, index: usize, character: char) {
        expect(self.try_insert(index, character));
    }

    /// Inserts a character at byte `index`.
    ///
    /// # Errors
    /// When there is no locked memory. Nothing has changed.
    ///
    /// # Panics
    /// When `index` is above the length or inside a character.
    #[track_caller]
    pub fn try_insert(&mut self, index: usize, character: char) -> Result<(), OutOfLockedMemory> {
        let mut bytes = Zeroizing::new([0; 4]);
        self.try_insert_str(index, character.encode_utf8(&mut *bytes))
    }

    /// Removes the character at byte `index` and returns it.
    ///
    /// # Panics
    /// When there is no character, or `index` is inside one.
    #[track_caller]
    pub fn remove(&mut self, index: usize) -> char {
        self.assert_boundary(index);
        let character = self.expose_secret()[index..].chars().next();
        let character = character.unwrap_or_else(|| panic!("no character at byte {index}"));
        self.cut(index, index + character.len_utf8());
        character
    }

    /// Keeps the characters for which `keep` returns true. Wipes the others.
    pub fn retain(&mut self, mut keep: impl FnMut(char) -> bool) {
        /// Closes the gap, also when `keep` panics.
        struct Gap<'s, A: LockedAllocator> {
            text: &'s mut SecureString<A>,
            start: usize,
            end: usize,
        }

        impl<A: LockedAllocator> Drop for Gap<'_, A> {
            fn drop(&mut self) {
                self.text.cut(self.start, self.end);
            }
        }

        // `start..end` is a gap between the characters that are kept and those that are still to be
        // looked at. In it are whole characters or parts of some: `cut` takes it out before any
        // other code sees the text.
        let mut gap = Gap { text: self, start: 0, end: 0 };
        loop {
            let bytes = gap.text.bytes.expose_secret();
            // SAFETY: the gap ends at a boundary between characters, and what follows is UTF-8.
            let rest = unsafe { core::str::from_utf8_unchecked(&bytes[gap.end..]) };
            let Some(character) = rest.chars().next() else { break };
            let len = character.len_utf8();
            if keep(character) {
                let bytes = gap.text.bytes.expose_secret_mut();
                bytes.copy_within(gap.end..gap.end + len, gap.start);
                gap.start += len;
            }
            gap.end += len;
        }
    }

    /// Removes the white space at the end and wipes it.
    pub fn trim_end_in_place(&mut self) {
        self.bytes.truncate(self.expose_secret().trim_end().len());
    }

    /// Removes the white space at both ends and wipes it.
    pub fn trim_in_place(&mut self) {
        self.trim_end_in_place();
        let blanks = self.len() - self.expose_secret().trim_start().len();
        self.cut(0, blanks);
    }

    /// Removes and wipes the bytes from `start` to `end`, which must be at boundaries between
    /// characters, or have no more than a gap of no use between them.
    fn cut(&mut self, start: usize, end: usize) {
        let len = self.len();
        self.bytes.expose_secret_mut().copy_within(end..len, start);
        self.bytes.truncate(len - (end - start));
    }

    #[track_caller]
    fn assert_boundary(&self, index: usize) {
        let is_boundary = self.expose_secret().is_char_boundary(index);
        assert!(is_boundary, "byte {index} is behind the end or inside a character");
    }

    /// Removes and wipes all bytes from `len` on. Does nothing if the string is not longer.
    ///
    /// # Panics
    /// When `len` is inside a character.
    #[track_caller]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.assert_boundary(len);
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

/// Moves the text into locked memory and wipes the box. Panics when there is no locked memory,
/// after wiping.
impl From<Box<str>> for SecureString {
    #[track_caller]
    fn from(text: Box<str>) -> Self {
        Self::from(text.into_string())
    }
}

/// Moves the text into locked memory and wipes the original. Panics when there is no locked memory,
/// after wiping.
impl From<Zeroizing<String>> for SecureString {
    #[track_caller]
    fn from(mut text: Zeroizing<String>) -> Self {
        Self::from(core::mem::take(&mut *text))
    }
}

/// Moves the text of an argument or an environment variable into locked memory and wipes its
/// buffer. The process's own copy of its arguments and environment stays. Panics when there is no
/// locked memory, after wiping.
impl TryFrom<OsString> for SecureString {
    type Error = NotUtf8;

    #[track_caller]
    fn try_from(text: OsString) -> Result<Self, NotUtf8> {
        Self::from_utf8(SecureVec::from(text.into_encoded_bytes()))
    }
}

/// Copies the text, for `parse` and the parsers of arguments such as clap. Never an error; panics
/// when there is no locked memory. The original is not wiped: arguments of a process are on its
/// stack, and all users of the system can see them (`ps`).
impl FromStr for SecureString {
    type Err = Infallible;

    #[track_caller]
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
    }
}

/// Panics when there is no locked memory.
impl FromIterator<char> for SecureString {
    #[track_caller]
    fn from_iter<I: IntoIterator<Item = char>>(characters: I) -> Self {
        let mut text = Self::new();
        text.extend(characters);
        text
    }
}

/// Panics when there is no locked memory.
impl<'a> FromIterator<&'a str> for SecureString {
    #[track_caller]
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Self {
        let mut text = Self::new();
        text.extend(texts);
        text
    }
}

/// Panics when there is no locked memory.
impl<A: LockedAllocator> Extend<char> for SecureString<A> {
    #[track_caller]
    fn extend<I: IntoIterator<Item = char>>(&mut self, characters: I) {
        characters.into_iter().for_each(|character| self.push(character));
    }
}

/// Panics when there is no locked memory.
impl<'a, A: LockedAllocator> Extend<&'a str> for SecureString<A> {
    #[track_caller]
    fn extend<I: IntoIterator<Item = &'a str>>(&mut self, texts: I) {
        texts.into_iter().for_each(|text| self.push_str(text));
    }
}

/// Appends. Panics when there is no locked memory.
impl<A: LockedAllocator> AddAssign<&str> for SecureString<A> {
    #[track_caller]
    fn add_assign(&mut self, text: &str) {
        self.push_str(text);
    }
}

/// The bytes of the text, which are not copied.
impl<A: LockedAllocator> From<SecureString<A>> for SecureVec<u8, A> {
    fn from(text: SecureString<A>) -> Self {
        text.into_bytes()
    }
}

/// Formats into locked memory: `write!(secret, "{}", word)`. Fails when there is no locked memory.
impl<A: LockedAllocator> fmt::Write for SecureString<A> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.try_push_str(text).map_err(|_| fmt::Error)
    }
}

impl<A: LockedAllocator> ConstantTimeEq for SecureString<A> {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.bytes.ct_eq(&other.bytes)
    }
}

/// In constant time for strings of the same length.
impl<A: LockedAllocator, B: LockedAllocator> PartialEq<SecureString<B>> for SecureString<A> {
    fn eq(&self, other: &SecureString<B>) -> bool {
        self.bytes == other.bytes
    }
}

impl<A: LockedAllocator> Eq for SecureString<A> {}

/// In constant time for strings of the same length.
impl<A: LockedAllocator> PartialEq<str> for SecureString<A> {
    fn eq(&self, other: &str) -> bool {
        self.bytes == *other.as_bytes()
    }
}

/// In constant time for strings of the same length.
impl<A: LockedAllocator> PartialEq<&str> for SecureString<A> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

/// In constant time for strings of the same length.
impl<A: LockedAllocator> PartialEq<String> for SecureString<A> {
    fn eq(&self, other: &String) -> bool {
        *self == **other
    }
}

/// In constant time for strings of the same length.
impl<A: LockedAllocator> PartialEq<SecureString<A>> for str {
    fn eq(&self, other: &SecureString<A>) -> bool {
        *other == *self
    }
}

/// In constant time for strings of the same length.
impl<A: LockedAllocator> PartialEq<SecureString<A>> for &str {
    fn eq(&self, other: &SecureString<A>) -> bool {
        *other == **self
    }
}

/// In constant time for strings of the same length.
impl<A: LockedAllocator> PartialEq<SecureString<A>> for String {
    fn eq(&self, other: &SecureString<A>) -> bool {
        *other == **self
    }
}

/// Removes the text and wipes the whole buffer, which stays allocated.
impl<A: LockedAllocator> Zeroize for SecureString<A> {
    fn zeroize(&mut self) {
        self.bytes.zeroize();
    }
}

impl<A: LockedAllocator> ZeroizeOnDrop for SecureString<A> {}

impl<A: LockedAllocator> fmt::Debug for SecureString<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecureString([redacted])")
    }
}
