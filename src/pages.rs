//! Locked pages: whole mappings that are kept out of swap and core dumps, between guard pages.
//!
//! Depends on `cleanse` and the operating system; knows nothing of arenas. This module alone calls
//! `mlock` and `munlock`, and on whole mappings of its own only: memory locks do not nest, so a page
//! shared by two owners would be unlocked for both by the first that lets go.
//!
//! One file per operating system mechanism: `unix` here; Windows has its place beside it.

#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
compile_error!("bitcoin-support has no page allocator for this operating system yet");

#[cfg(unix)]
use unix as os;

#[cfg(unix)]
pub use unix::PosixLockedPageAllocator;

use crate::cleanse::memory_cleanse;
use bytemuck::Zeroable;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use std::io;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What [`LockedPageAllocator::allocate_locked`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedAllocation {
    /// First byte of the pages.
    pub addr: NonNull<u8>,
    /// Whether they are locked.
    pub locked: bool,
}

/// Source of locked pages for a [`LockedPool`](crate::LockedPool).
///
/// Implementations may hand out addresses that are no memory, as Bitcoin Core's tests do: a pool
/// over a foreign allocator never touches what it manages. A pool calls its allocator under its own
/// lock, so an implementation must not call back into that pool.
pub trait LockedPageAllocator {
    /// Maps `len` bytes, rounded up to whole pages, and tries to lock them. `None` when they cannot
    /// be mapped; pages that could not be locked are returned all the same and say so.
    fn allocate_locked(&mut self, len: usize) -> Option<LockedAllocation>;

    /// Wipes, unlocks and unmaps pages.
    ///
    /// # Safety
    /// `addr` must come from [`allocate_locked`](Self::allocate_locked) of this allocator, called
    /// with the same `len`, not yet freed; nothing may use the memory any more.
    unsafe fn free_locked(&mut self, addr: NonNull<u8>, len: usize);

    /// How many bytes this process may lock in all; `usize::MAX` when there is no limit or it is
    /// unknown, 0 when nothing can be locked.
    fn limit(&self) -> usize;
}

/// Why pages could not be mapped.
#[derive(Debug)]
pub struct MapError(io::Error);

impl MapError {
    pub(crate) fn out_of_memory() -> Self {
        Self(io::ErrorKind::OutOfMemory.into())
    }

    /// The operating system's error number.
    pub fn errno(&self) -> i32 {
        self.0.raw_os_error().unwrap_or(0)
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot map pages: {}", self.0)
    }
}

impl std::error::Error for MapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Why pages that are mapped are not locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockError {
    /// The operating system's error number, 0 when a foreign page allocator did not tell.
    pub errno: i32,
    /// The limit on locked bytes that was in force (`RLIMIT_MEMLOCK`), `usize::MAX` for none.
    pub limit: usize,
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot lock pages")?;
        if self.errno != 0 {
            write!(f, ": {}", io::Error::from_raw_os_error(self.errno))?;
        }
        if self.limit != usize::MAX {
            write!(
                f,
                "; the process may lock {} bytes (RLIMIT_MEMLOCK): raise it with `ulimit -l` or, in \
                 a systemd unit, LimitMEMLOCK=",
                self.limit
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for LockError {}

/// Owner of a mapping for secrets: readable and writable, zero-filled, between two inaccessible
/// guard pages, and as far as the system lets it, locked into memory, excluded from core dumps, and
/// neither merged with other pages nor backed by huge ones. Wiped, unlocked and unmapped on drop.
///
/// Sending it to another thread is sound: a mapping belongs to the process.
///
/// ```
/// use bitcoin_support::LockedPages;
///
/// let mut pages = LockedPages::new(1)?;
/// assert_eq!(pages.len(), bitcoin_support::page_size());
/// pages.as_mut_slice()[..6].copy_from_slice(b"secret");
/// if let Err(error) = pages.lock_state() {
///     eprintln!("{error}");
/// }
/// # Ok::<(), bitcoin_support::MapError>(())
/// ```
pub struct LockedPages {
    addr: NonNull<u8>,
    len: usize,
    lock: Result<(), LockError>,
    /// Error number of the first protection besides locking that was refused.
    advice: Result<(), i32>,
    /// Whether the pages lie in an [`AddressRange`], to which they return.
    reserved: bool,
}

// SAFETY: the mapping is owned by this value alone and is valid in every thread of the process.
unsafe impl Send for LockedPages {}
// SAFETY: a shared reference gives read access only, and nothing in here changes behind it.
unsafe impl Sync for LockedPages {}

impl LockedPages {
    /// Maps `len` bytes, rounded up to whole pages, and locks them. Pages that cannot be locked are
    /// returned all the same: ask [`lock_state`](Self::lock_state).
    ///
    /// Costs about six system calls and a page fault for every page.
    ///
    /// # Errors
    /// When the pages cannot be mapped, or `len` is 0 or too large for the address space.
    pub fn new(len: usize) -> Result<Self, MapError> {
        let mut pages = Self::map(len, page_size())?;
        pages.lock = pages.try_lock();
        Ok(pages)
    }

    /// Like [`new`](Self::new), with pages of a given size in bytes: the system's common ones or, where
    /// it has them ([`has_page_size`]), huge ones. `len` is rounded up to whole pages of that size.
    ///
    /// # Errors
    /// As for [`new`](Self::new); also when the system has no such pages, or none left: huge pages are
    /// set aside by its administrator (`vm.nr_hugepages` on Linux).
    pub fn with_page_size(len: usize, page_size: usize) -> Result<Self, MapError> {
        let mut pages = Self::map(len, page_size)?;
        pages.lock = pages.try_lock();
        Ok(pages)
    }

    /// Like [`new`](Self::new), but keeps nothing that cannot be locked.
    ///
    /// # Errors
    /// The outer one when the pages cannot be mapped, the inner one when they cannot be locked.
    pub fn new_locked(len: usize) -> Result<Result<Self, LockError>, MapError> {
        Self::new_locked_of(len, page_size())
    }

    /// [`new_locked`](Self::new_locked) with pages of a given size.
    pub(crate) fn new_locked_of(
        len: usize,
        page_size: usize,
    ) -> Result<Result<Self, LockError>, MapError> {
        Ok(Self::map(len, page_size)?.if_locked())
    }

    /// Locks the pages, which nobody has written to; gives them up if that fails.
    fn if_locked(self) -> Result<Self, LockError> {
        match self.try_lock() {
            Ok(()) => Ok(self),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    /// Maps `len` bytes, rounded up, with every protection but locking: before it, so that no page
    /// is ever resident without them.
    fn map(len: usize, size: usize) -> Result<Self, MapError> {
        let page = page_size();
        if !has_page_size(size) {
            return Err(MapError(io::ErrorKind::InvalidInput.into()));
        }
        let padded = len
            .checked_next_multiple_of(size)
            .filter(|&len| len > 0 && len <= isize::MAX as usize - 2 * page);
        let len = padded.ok_or_else(|| MapError(io::ErrorKind::InvalidInput.into()))?;
        let mapped =
            if size == page { os::map_guarded(len) } else { os::map_guarded_huge(len, size) };
        let addr = mapped.map_err(MapError)?;
        let advice = os::keep_private(addr, len).map_err(|error| errno_of(&error));
        Ok(Self { addr, len, lock: Ok(()), advice, reserved: false })
    }

    /// Gives up pages that nobody has written to, without wiping them: that would make them resident.
    pub(crate) fn discard(self) {
        ManuallyDrop::new(self).unmap();
    }

    /// Gives the mapping back to the system, or to its range. The last thing that happens to it.
    fn unmap(&mut self) {
        if self.reserved {
            // SAFETY: the pages lie in an address range that is kept for the life of the process,
            // and nothing can use them after their owner.
            unsafe { os::make_inaccessible(self.addr, self.len) };
        } else {
            // SAFETY: this is the owner of a mapping of `len` bytes made by `map_guarded`, and
            // nothing can use it after its owner.
            unsafe { os::unmap_guarded(self.addr, self.len) };
        }
    }

    fn try_lock(&self) -> Result<(), LockError> {
        os::lock(self.addr, self.len)
            .map_err(|error| LockError { errno: errno_of(&error), limit: os::limit() })
    }

    /// Locks the pages in a child process, where they are not: memory locks are not inherited. Pages that
    /// were not locked in the parent stay so.
    pub(crate) fn lock_again(&mut self) -> Result<(), LockError> {
        if self.lock.is_ok() {
            self.lock = self.try_lock();
        }
        self.lock
    }

    /// Whether the pages are locked, and if not, why.
    pub fn lock_state(&self) -> Result<(), LockError> {
        self.lock
    }

    /// Whether the system accepted the protections besides locking (no core dump, no merging, no
    /// huge pages); otherwise the error number of the first that it refused.
    pub fn advice_state(&self) -> Result<(), i32> {
        self.advice
    }

    /// Address of the first byte. Writing through it needs what any shared mutable memory needs;
    /// the pages themselves are writable for as long as the owner lives.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.addr
    }

    /// Number of bytes, a multiple of [`page_size`].
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the mapping is readable over its length, initialized (zero-filled by the system),
        // and writable through an exclusive reference to its owner only.
        unsafe { core::slice::from_raw_parts(self.addr.as_ptr(), self.len) }
    }

    /// The bytes, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and the owner is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.addr.as_ptr(), self.len) }
    }

    /// Gives up ownership of the mapping, which stays as it is.
    pub(crate) fn into_raw(self) -> LockedAllocation {
        let pages = ManuallyDrop::new(self);
        LockedAllocation { addr: pages.addr, locked: pages.lock.is_ok() }
    }

    /// Takes ownership of a mapping back.
    ///
    /// # Safety
    /// `addr` must come from [`into_raw`](Self::into_raw) of an owner made with the same `len`, and
    /// must not be owned again already.
    pub(crate) unsafe fn from_raw(addr: NonNull<u8>, len: usize) -> Self {
        let len = len.next_multiple_of(page_size());
        // Whether it is locked does not matter to dropping it.
        Self { addr, len, lock: Ok(()), advice: Ok(()), reserved: false }
    }
}

impl Zeroize for LockedPages {
    fn zeroize(&mut self) {
        // SAFETY: the mapping is writable over its length and borrowed exclusively.
        unsafe { memory_cleanse(self.addr.as_ptr(), self.len) };
    }
}

impl ZeroizeOnDrop for LockedPages {}

impl Drop for LockedPages {
    fn drop(&mut self) {
        self.zeroize();
        self.unmap();
    }
}

impl fmt::Debug for LockedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedPages")
            .field("addr", &self.addr)
            .field("len", &self.len)
            .field("lock", &self.lock)
            .finish_non_exhaustive()
    }
}

/// Inaccessible addresses set aside for the life of the process, to place locked pages at: so that
/// the pages of one pool lie within one range.
pub(crate) struct AddressRange {
    addr: NonNull<u8>,
    len: usize,
}

// SAFETY: reserved addresses belong to the process; the value holds their numbers only.
unsafe impl Send for AddressRange {}

impl AddressRange {
    /// Sets `len` bytes of addresses aside, a multiple of the page size.
    pub(crate) fn reserve(len: usize) -> Result<Self, MapError> {
        let addr = os::reserve(len).map_err(MapError)?;
        Ok(Self { addr, len })
    }

    /// Gives the addresses back, none of which is in use.
    pub(crate) fn release(self) {
        // SAFETY: set aside by `reserve`; `place` alone makes anything of them that could be in use, and
        // what it made would borrow from the caller's promise not to come here.
        unsafe { os::give_back(self.addr, self.len) };
    }

    pub(crate) fn addr(&self) -> NonNull<u8> {
        self.addr
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Pages at `offset`, with every protection; with `must_lock`, none that cannot be locked (the
    /// inner error). `offset` and `len` are multiples of the page size. The caller leaves at least a
    /// page of the range on either side, as guards.
    ///
    /// # Safety
    /// The pages must be in the range and not in use.
    pub(crate) unsafe fn place(
        &self,
        offset: usize,
        len: usize,
        must_lock: bool,
    ) -> Result<Result<LockedPages, LockError>, MapError> {
        // SAFETY: within the range, by this function's contract.
        let addr = unsafe { self.addr.add(offset) };
        // SAFETY: addresses of ours that nobody uses.
        unsafe { os::make_accessible(addr, len) }.map_err(MapError)?;
        let advice = os::keep_private(addr, len).map_err(|error| errno_of(&error));
        let mut pages = LockedPages { addr, len, lock: Ok(()), advice, reserved: true };
        if must_lock {
            return Ok(pages.if_locked());
        }
        pages.lock = pages.try_lock();
        Ok(Ok(pages))
    }
}

/// A table of `len` zeroed entries, for the life of the process. Only what is touched takes memory.
pub(crate) fn zeroed_table<T: Zeroable + Sync>(len: usize) -> Result<&'static [T], MapError> {
    let bytes = len.checked_mul(size_of::<T>()).filter(|&bytes| bytes > 0);
    let bytes = bytes.ok_or_else(|| MapError(io::ErrorKind::InvalidInput.into()))?;
    let bytes = bytes.next_multiple_of(page_size());
    let addr = os::reserve(bytes).map_err(MapError)?;
    // SAFETY: addresses of ours that nobody uses.
    unsafe { os::make_accessible(addr, bytes) }.map_err(MapError)?;
    // SAFETY: the mapping is large enough, aligned to a page, never unmapped, and filled with zeros,
    // which are valid for `T`.
    Ok(unsafe { core::slice::from_raw_parts(addr.as_ptr().cast(), len) })
}

/// Size of a page of memory in bytes.
#[inline]
pub fn page_size() -> usize {
    os::page_size()
}

/// Whether the system has pages of `size` bytes: its common ones, or huge ones.
pub fn has_page_size(size: usize) -> bool {
    size == page_size() || os::has_huge_pages(size)
}

/// How many bytes this process may lock in all (`RLIMIT_MEMLOCK`'s soft value): `usize::MAX` when
/// there is no limit or it is unknown. Processes with the capability to lock without limit are told
/// the limit all the same, as Bitcoin Core tells it.
pub fn lock_limit() -> usize {
    os::limit()
}

/// How many bytes of addresses this process may have (`RLIMIT_AS`'s soft value): `usize::MAX` when there is
/// no limit or it is unknown.
pub(crate) fn address_limit() -> usize {
    os::address_limit()
}

fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}
