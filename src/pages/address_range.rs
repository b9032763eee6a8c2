//! Addresses set aside, and places for pages.

use super::error::MapError;
use crate::sys::{Memory, System};
use core::ptr::NonNull;

/// Inaccessible addresses, set aside for the life of the process unless they are released, at which
/// pages are placed: so the pages of one pool lie within one range.
pub(crate) struct AddressRange {
    addr: NonNull<u8>,
    len: usize,
}

// SAFETY: reserved addresses belong to the process; the value holds their numbers only.
unsafe impl Send for AddressRange {}

impl AddressRange {
    /// Sets `len` bytes of addresses aside, a multiple of the page size.
    pub(crate) fn reserve(len: usize) -> Result<Self, MapError> {
        let addr = System::reserve(len).map_err(MapError::of)?;
        Ok(Self { addr, len })
    }

    /// Gives the addresses back to the system.
    ///
    /// # Safety
    /// No pages in the range may be left, and no [`Place`] in it may be used any more.
    pub(crate) unsafe fn release(self) {
        // SAFETY: `reserve` has set all of this aside. Only `place` lets anything be made of it,
        // and the caller has nothing left of that.
        unsafe { System::unmap(self.addr, self.len) };
    }

    /// First address.
    pub(crate) fn addr(&self) -> NonNull<u8> {
        self.addr
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The place for `len` bytes at `offset`, both multiples of the page size. The caller leaves at
    /// least a page of the range on either side, as guards.
    ///
    /// # Safety
    /// The place must lie in the range. There must be no pages in it, and no other place that
    /// overlaps it, until the pages that are mapped in it have ended, or the mapping has failed.
    pub(crate) unsafe fn place(&self, offset: usize, len: usize) -> Place {
        // SAFETY: the caller says that this is within the range.
        let addr = unsafe { self.addr.add(offset) };
        Place { addr: Some(addr), len }
    }
}

/// A place for pages: addresses that no one else uses, or any that the system chooses.
#[derive(Debug)]
pub(crate) struct Place {
    /// In an [`AddressRange`]; `None` for any address.
    addr: Option<NonNull<u8>>,
    len: usize,
}

impl Place {
    /// Anywhere, for `len` bytes.
    pub(crate) const fn anywhere(len: usize) -> Self {
        Self { addr: None, len }
    }

    /// The address, if it is in a range, and the length.
    pub(super) fn into_parts(self) -> (Option<NonNull<u8>>, usize) {
        (self.addr, self.len)
    }
}
