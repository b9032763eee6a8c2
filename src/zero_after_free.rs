//! Memory on the ordinary heap that is wiped before it is freed: `ZeroAfterFreeAllocator` for
//! containers, `SerializeData` for serialized data.
//!
//! Depends on `zeroizing` and `cleanse`. For what is not secret enough, or too large, for locked memory:
//! it may be swapped out or dumped while it is in use, but leaves nothing behind. `consensus` writes
//! objects into it and reads them back, in Bitcoin's consensus encoding.

mod consensus;

#[cfg(feature = "consensus-encoding")]
pub use consensus::ConsensusEncoding;
pub use consensus::{ConsensusError, FromSerializeData, ToSerializeData};

use crate::cleanse::{cleanse, memory_cleanse};
use crate::zeroizing::{ZeroizingAllocator, ZeroizingVec, ct_eq};
use allocator_api2::alloc::{AllocError, Allocator, Global, Layout};
use core::fmt;
use core::ptr::NonNull;
use std::io::{self, BufRead, Read, Write};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The ordinary heap, except that every block is wiped, whole, before it is freed, also when it is left
/// for a larger or a smaller one.
///
/// A container over it does not wipe an element that it drops before it frees its buffer;
/// [`SerializeData`] does. Its costs are those of the global allocator plus the wipe, and a copy where
/// that one might have grown a block in place.
///
/// ```
/// use allocator_api2::vec::Vec;
/// use bitcoin_support::ZeroAfterFreeAllocator;
///
/// let mut record = Vec::new_in(ZeroAfterFreeAllocator::new());
/// record.extend_from_slice(b"wallet record"); // each buffer is wiped as the vector outgrows it
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZeroAfterFreeAllocator;

impl ZeroAfterFreeAllocator {
    /// The allocator. All are the same.
    pub const fn new() -> Self {
        Self
    }
}

// SAFETY: every block is one of the global allocator, whose handles, like these, are all the same. The
// methods not written here are built on these by the trait.
unsafe impl Allocator for ZeroAfterFreeAllocator {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        Global.allocate(layout)
    }

    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        Global.allocate_zeroed(layout)
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller vouches for a block that fits the layout, which nobody uses any more; the
        // global allocator's blocks are no longer than was asked for. When the size is 0, so is what is
        // written.
        unsafe {
            memory_cleanse(block.as_ptr(), layout.size());
            Global.deallocate(block, layout);
        }
    }
}

// SAFETY: `deallocate` wipes first. `grow`, `grow_zeroed` and `shrink` are the trait's own: they copy to
// a new block and deallocate the old one.
unsafe impl ZeroizingAllocator for ZeroAfterFreeAllocator {}

/// Serialized data that wipes itself: bytes are appended at the end, by [`Write`], and taken from the
/// front, by [`Read`] or [`BufRead`].
///
/// Bytes are wiped the moment they have been read, when the buffer moves to grow, and when it is
/// dropped. It lies on the ordinary heap. `Debug` shows no contents; comparison is in constant time;
/// copies are made with [`duplicate`](Self::duplicate).
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
    /// How many bytes at the front have been read; they are zeros.
    read: usize,
}

impl SerializeData {
    /// No data. Allocates nothing.
    pub const fn new() -> Self {
        Self { bytes: ZeroizingVec::new_in(ZeroAfterFreeAllocator::new()), read: 0 }
    }

    /// The bytes that have not been read.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes.as_slice()[self.read..]
    }

    /// The bytes that have not been read, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes.as_mut_slice()[self.read..]
    }

    /// Number of bytes that have not been read.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.read
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of bytes that the buffer can hold, read ones included, without allocating.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes room for `additional` more bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`]; nothing has changed then.
    pub fn try_reserve(&mut self, additional: usize) -> io::Result<()> {
        let room = self.capacity() - self.bytes.len();
        if room < additional && self.read >= self.len() {
            // Moving what there is to the front takes no longer than reading the rest has.
            self.bytes.as_mut_slice().copy_within(self.read.., 0);
            self.bytes.truncate(self.len());
            self.read = 0;
        }
        self.bytes.try_reserve(additional).map_err(|_| io::ErrorKind::OutOfMemory.into())
    }

    /// Wipes all data. The capacity stays.
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

/// Takes a vector's buffer over, without copying it.
impl From<Vec<u8>> for SerializeData {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes: adopt(bytes), read: 0 }
    }
}

/// A vector's buffer, owned by a vector that will wipe it.
fn adopt(bytes: Vec<u8>) -> ZeroizingVec<u8, ZeroAfterFreeAllocator> {
    let mut bytes = core::mem::ManuallyDrop::new(bytes);
    let (start, len, capacity) = (bytes.as_mut_ptr(), bytes.len(), bytes.capacity());
    // SAFETY: a `Vec<u8>` has its buffer from the global allocator, with the layout of an array of
    // `capacity` bytes, as `ZeroAfterFreeAllocator` has its blocks, and holds `len` bytes. Its owner is
    // never dropped.
    unsafe { ZeroizingVec::from_raw_parts(start, len, capacity, ZeroAfterFreeAllocator::new()) }
}

/// Appends. Fails with [`io::ErrorKind::OutOfMemory`] only.
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

/// Shows all bytes that there are; consuming wipes them.
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

/// Wipes the whole buffer, which stays allocated.
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
