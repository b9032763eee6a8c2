//! Ordinary memory for bookkeeping, past the heap: tables that take memory only as far as they are
//! used.

use super::error::MapError;
use super::limits::page_size;
use crate::sys::{Hardening, Memory, NotHardened, System};
use bytemuck::Zeroable;
use bytemuck::allocation::try_zeroed_slice_box;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// A table of `len` zeroed entries, for the life of the process. Only what is touched takes memory.
pub(crate) fn zeroed_table<T: Zeroable + Sync>(len: usize) -> Result<&'static [T], MapError> {
    // SAFETY: mapped just now, never unmapped, and filled with zeros, which are valid for `T`.
    map_table(len).map(|table| unsafe { table.as_ref() })
}

/// Maps `len` zeroed entries, in whole pages.
fn map_table<T: Zeroable>(len: usize) -> Result<NonNull<[T]>, MapError> {
    let addr = reserve_zeros(table_bytes::<T>(len)?, Access::Write)?;
    Ok(NonNull::slice_from_raw_parts(addr.cast(), len))
}

/// Gives a table back.
///
/// # Safety
/// It must come from [`map_table`] and not be used again.
unsafe fn unmap_table<T>(table: NonNull<[T]>) {
    let bytes = (table.len() * size_of::<T>()).next_multiple_of(page_size());
    // SAFETY: a table of `map_table` has a mapping to itself, and the caller does not use it again.
    unsafe { System::unmap(table.cast(), bytes) };
}

/// A table that its owner drops, of entries that are zeros at first. Only what is touched takes
/// memory.
///
/// It lies on the heap. But where pages are larger than 4 KiB, a table has pages of its own from a
/// quarter of a page on. [`keep_unlocked`] takes the lock off whole pages alone: of a table of 64
/// KiB on the heap it would reach none where a page has 64 KiB, and a process that locks all its
/// memory would have half as much locked for an arena's bookkeeping as for its secrets.
pub(crate) struct Table<T: Zeroable + Sync> {
    /// Owned: a `Box`, or, with `has_pages`, a table of [`map_table`].
    entries: NonNull<[T]>,
    has_pages: bool,
}

// SAFETY: the entries have one owner, which is sent with them.
unsafe impl<T: Zeroable + Sync + Send> Send for Table<T> {}
// SAFETY: through a shared table the entries can only be shared, and they are `Sync`.
unsafe impl<T: Zeroable + Sync> Sync for Table<T> {}

impl<T: Zeroable + Sync> Table<T> {
    /// A table of `len` entries.
    pub(crate) fn zeroed(len: usize) -> Result<Self, MapError> {
        let page = page_size();
        if page > 4096 && len.saturating_mul(size_of::<T>()) >= page / 4 {
            return Ok(Self { entries: map_table(len)?, has_pages: true });
        }
        let entries = try_zeroed_slice_box(len).map_err(|()| MapError::no_memory())?;
        Ok(Self { entries: NonNull::from(Box::leak(entries)), has_pages: false })
    }
}

impl<T: Zeroable + Sync> Deref for Table<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the entries live as long as the table that owns them, and are borrowed with it.
        unsafe { self.entries.as_ref() }
    }
}

impl<T: Zeroable + Sync> DerefMut for Table<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: the entries live as long as the table that owns them, and are borrowed with it.
        // They lie in memory that can be written, to which there is no other way than the table.
        unsafe { self.entries.as_mut() }
    }
}

impl<T: Zeroable + Sync> Drop for Table<T> {
    fn drop(&mut self) {
        if self.has_pages {
            // SAFETY: the table comes from `map_table`, and its owner goes.
            unsafe { unmap_table(self.entries) };
        } else {
            // SAFETY: the entries were a `Box` in `zeroed`, and their owner goes.
            drop(unsafe { Box::from_raw(self.entries.as_ptr()) });
        }
    }
}

/// What may be done with the zeros of [`reserve_zeros`].
enum Access {
    Read,
    Write,
}

/// Maps ordinary memory full of zeros, which the system provides page by page as it is touched,
/// also in a process that has everything locked that it maps. Zeros that can only be read take no
/// memory at all, until [`Memory::make_accessible`].
fn reserve_zeros(len: usize, access: Access) -> Result<NonNull<u8>, MapError> {
    let addr = System::reserve(len).map_err(MapError::of)?;
    // SAFETY: reserved above, and used by no one.
    let made = unsafe {
        match access {
            Access::Read => System::make_readable(addr, len),
            Access::Write => System::make_accessible(addr, len),
        }
    };
    made.map(|()| addr).map_err(|error| {
        // SAFETY: reserved above, whole, and used by no one.
        unsafe { System::unmap(addr, len) };
        MapError::of(error)
    })
}

/// What a table of `len` entries takes, in whole pages.
fn table_bytes<T>(len: usize) -> Result<usize, MapError> {
    let bytes = len.checked_mul(size_of::<T>()).filter(|&bytes| bytes > 0);
    let bytes = bytes.and_then(|bytes| bytes.checked_next_multiple_of(page_size()));
    bytes.ok_or_else(MapError::invalid)
}

/// Memory for tables that live as long as the process, in one mapping. All entries can be read from
/// the start, where they are zeros, and none can be written before [`grow_table`] has reached it.
/// Until then they take no memory, nor a promise of it: a system that promises no more than it has
/// (`vm.overcommit_memory=2`) counts what can be written, touched or not.
pub(crate) struct GrowingTables {
    next: NonNull<u8>,
    /// Bytes from `next` on that are no table's yet.
    left: usize,
}

impl GrowingTables {
    /// Room for tables of `bytes` bytes each.
    pub(crate) fn new(bytes: &[usize]) -> Result<Self, MapError> {
        let mut left = 0_usize;
        for len in bytes {
            let len = len.checked_next_multiple_of(page_size()).ok_or_else(MapError::invalid)?;
            left = left.checked_add(len).ok_or_else(MapError::invalid)?;
        }
        Ok(Self { next: reserve_zeros(left, Access::Read)?, left })
    }

    /// The next table, of `len` entries. `None` where there is no room for it.
    ///
    /// # Safety
    /// No entry may be written before `grow_table` has reached it: the write would be a fault.
    pub(crate) unsafe fn table<T: Zeroable + Sync>(&mut self, len: usize) -> Option<&'static [T]> {
        let bytes = table_bytes::<T>(len).ok().filter(|&bytes| bytes <= self.left)?;
        let addr = self.next;
        // SAFETY: `bytes` bytes are left of the mapping.
        self.next = unsafe { addr.add(bytes) };
        self.left -= bytes;
        // SAFETY: this part of the mapping is large enough and no other table's, begins with a
        // page, and is never unmapped. It is full of zeros, which are valid for `T`. The caller
        // writes to no entry before `grow_table` has made it writable.
        Some(unsafe { core::slice::from_raw_parts(addr.as_ptr().cast(), len) })
    }
}

/// Lets the entries of a table from `from` up to `to` be written, and perhaps some behind them.
/// What they hold stays.
///
/// # Safety
/// The table must come from [`GrowingTables`], and its entries in front of `from` must have been
/// grown before.
pub(crate) unsafe fn grow_table<T>(
    table: &'static [T],
    from: usize,
    to: usize,
) -> Result<(), MapError> {
    let page = page_size();
    // A page that the entries in front of these end in is writable already, and may be sealed.
    let start = (from * size_of::<T>()).next_multiple_of(page);
    let end = to.min(table.len()) * size_of::<T>();
    let end = end.next_multiple_of(page);
    if start >= end {
        return Ok(());
    }
    let addr = NonNull::from(table).cast::<u8>();
    // SAFETY: a table of `GrowingTables` has whole pages from its first entry on, and these are
    // some of them. Other threads may read entries there meanwhile, which keep their values.
    unsafe { System::make_accessible(addr.add(start), end - start) }.map_err(MapError::of)
}

/// Has the kernel refuse, for good, to unmap, replace or change the access to the entries of a
/// table up to `to`, and perhaps some behind them.
///
/// # Safety
/// The table must come from [`zeroed_table`] or [`GrowingTables`], must not be released, and must
/// be writable up to `to`.
pub(crate) unsafe fn seal_table<T>(table: &'static [T], to: usize) -> Result<(), NotHardened> {
    let bytes = (to.min(table.len()) * size_of::<T>()).next_multiple_of(page_size());
    if bytes == 0 {
        return Ok(());
    }
    // SAFETY: a table has whole pages from its first entry on, which live as long as the process.
    // `grow_table` changes the access to none that it has made writable before.
    unsafe { System::seal(NonNull::from(table).cast(), bytes) }
}

/// Gives a table back.
///
/// # Safety
/// It must come from [`zeroed_table`] and not be used again.
pub(crate) unsafe fn release_table<T>(table: &'static [T]) {
    // SAFETY: `zeroed_table` takes its tables from `map_table`, and the caller does not use it
    // again.
    unsafe { unmap_table(NonNull::from(table)) };
}

/// Takes the lock off that the process's `mlockall` has put on memory in which there is no secret:
/// a pool's bookkeeping would take more of the limit on locked memory than its chunks. Pages that
/// reach beyond the bytes stay as they are.
pub(crate) fn keep_unlocked(bytes: &[u8]) {
    let page = page_size();
    let start = bytes.as_ptr().addr().next_multiple_of(page) - bytes.as_ptr().addr();
    let end = bytes.as_ptr().addr() + bytes.len();
    let end = (end - end % page).saturating_sub(bytes.as_ptr().addr());
    if let Some(pages) = bytes.get(start..end).filter(|pages| !pages.is_empty()) {
        // SAFETY: the pages are mapped, as they can be read, and hold no secret whose owner counts
        // on a lock. Where it is refused, they count against the limit.
        let _ = unsafe { System::unlock(NonNull::from(pages).cast(), pages.len()) };
    }
}
