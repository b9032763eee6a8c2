//! `SerializeData`: serialized data that wipes itself.

use super::allocator::ZeroAfterFreeAllocator;
use crate::cleanse::cleanse;
use crate::zeroizing::{ZeroizingVec, ct_eq};
use core::fmt;
use std::io::{self, BufRead, Read, Write};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Serialized data that wipes itself. [`Write`] appends bytes at the end; [`Read`] and [`BufRead`]
/// take bytes from the front.
///
/// Bytes are wiped as soon as they have been read, when the data moves to a larger buffer, and when
/// it is dropped. The buffer is on the ordinary heap. `Debug` shows no contents. Comparison takes
/// constant time. [`duplicate`](Self::duplicate) makes a copy.
///
/// ```
/// use bitcoin_support::SerializeData;
/// use std::io::{BufRead, Read, Write};
///
/// let mut data = SerializeData::new();
/// data.write_all(b"a record\nand a tail")?;
/// let mut record = String::new();
/// data.read_line(&mut record)?;
/// assert_eq!(record, "a record\n");
/// assert_eq!(data.as_slice(), b"and a tail"); // the record is wiped
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # What does not compile
/// ```compile_fail,E0277
/// let data = bitcoin_support::SerializeData::new();
/// println!("{}", data);
/// ```
/// ```compile_fail,E0599
/// let data = bitcoin_support::SerializeData::new();
/// let copy = data.clone();
/// ```
/// ```compile_fail,E0502
/// let mut data = bitcoin_support::SerializeData::from(vec![1, 2, 3]);
/// let bytes = data.as_slice();
/// data.clear();
/// assert_eq!(bytes[0], 1);
/// ```
pub struct SerializeData {
    bytes: ZeroizingVec<u8, ZeroAfterFreeAllocator>,
    /// Number of bytes at the front that have been read. They are zeros.
    read: usize,
}

impl SerializeData {
    /// Empty data. Allocates nothing.
    pub const fn new() -> Self {
        Self { bytes: ZeroizingVec::new_in(ZeroAfterFreeAllocator::new()), read: 0 }
    }

    /// The bytes that have not been read.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes.as_slice()[self.read..]
    }

    /// The bytes that have not been read, for changes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes.as_mut_slice()[self.read..]
    }

    /// Number of bytes that have not been read.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.read
    }

    /// Whether all bytes have been read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of bytes that the buffer can hold without another allocation, bytes that have been
    /// read included.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes room for `additional` more bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`]. The data has not changed.
    pub fn try_reserve(&mut self, additional: usize) -> io::Result<()> {
        let room = self.capacity() - self.bytes.len();
        if room < additional && self.read >= self.len() {
            // To move these bytes to the front costs no more than it has cost to read the others.
            self.bytes.as_mut_slice().copy_within(self.read.., 0);
            self.bytes.truncate(self.len());
            self.read = 0;
        }
        self.bytes.try_reserve(additional).map_err(|_| io::ErrorKind::OutOfMemory.into())
    }

    /// Removes and wipes all bytes. The capacity stays.
    pub fn clear(&mut self) {
        self.bytes.truncate(0);
        self.read = 0;
    }

    /// A copy of the bytes that have not been read.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`].
    pub fn duplicate(&self) -> io::Result<Self> {
        let mut copy = Self::new();
        copy.write_all(self.as_slice())?;
        Ok(copy)
    }
}

impl Default for SerializeData {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes over a vector's buffer, without copying it.
impl From<Vec<u8>> for SerializeData {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes: adopt(bytes), read: 0 }
    }
}

/// A vector's buffer, now owned by a vector that wipes it.
fn adopt(bytes: Vec<u8>) -> ZeroizingVec<u8, ZeroAfterFreeAllocator> {
    let mut bytes = core::mem::ManuallyDrop::new(bytes);
    let (start, len, capacity) = (bytes.as_mut_ptr(), bytes.len(), bytes.capacity());
    // SAFETY: the buffer of a `Vec<u8>` is a block of the global allocator, like those of
    // `ZeroAfterFreeAllocator`, with the layout of `capacity` bytes, of which the first `len` are
    // initialized. `ManuallyDrop` keeps the vector from freeing it.
    unsafe { ZeroizingVec::from_raw_parts(start, len, capacity, ZeroAfterFreeAllocator::new()) }
}

/// Appends bytes. The only error is [`io::ErrorKind::OutOfMemory`].
impl Write for SerializeData {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_reserve(bytes.len())?;
        match self.bytes.try_extend_from_slice(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes bytes from the front and wipes them there.
impl Read for SerializeData {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.len().min(bytes.len());
        bytes[..count].copy_from_slice(&self.as_slice()[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Shows all bytes that have not been read. `consume` wipes them.
impl BufRead for SerializeData {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.as_slice())
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.len());
        cleanse(&mut self.as_mut_slice()[..count]);
        self.read += count;
        if self.is_empty() {
            self.clear();
        }
    }
}

impl AsRef<[u8]> for SerializeData {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl ConstantTimeEq for SerializeData {
    fn ct_eq(&self, other: &Self) -> Choice {
        ct_eq(self.as_slice(), other.as_slice())
    }
}

/// In constant time for data of the same length.
impl PartialEq for SerializeData {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for SerializeData {}

/// In constant time for data of the same length.
impl PartialEq<[u8]> for SerializeData {
    fn eq(&self, other: &[u8]) -> bool {
        ct_eq(self.as_slice(), other).into()
    }
}

/// Removes all bytes and wipes the whole buffer, which stays allocated.
impl Zeroize for SerializeData {
    fn zeroize(&mut self) {
        self.bytes.wipe();
        self.read = 0;
    }
}

impl ZeroizeOnDrop for SerializeData {}

impl fmt::Debug for SerializeData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SerializeData([redacted])")
    }
}

#[cfg(any(feature = "consensus", feature = "consensus-encoding"))]
impl SerializeData {
    /// Calls `append`, which adds bytes at the end. If it fails, removes the bytes that it has
    /// added.
    pub(super) fn append_whole(
        &mut self,
        append: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        let len = self.len();
        let result = append(self);
        if result.is_err() {
            self.bytes.truncate(self.read + len);
        }
        result
    }
}

#[cfg(all(test, any(feature = "consensus", feature = "consensus-encoding")))]
mod tests {
    use super::*;
    use std::io::{BufRead, Write};

    #[test]
    fn a_partial_append_is_removed() {
        let mut data = SerializeData::from(b"read and kept".to_vec());
        data.consume(9);
        let error = data.append_whole(|data| {
            data.write_all(b" and more")?;
            Err(io::ErrorKind::OutOfMemory.into())
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(data.as_slice(), b"kept");
    }
}
