//! Locked pages: whole mappings that are kept out of swap and core dumps, between guard pages.
//!
//! Depends on `cleanse`, `fork` and the operating system; knows nothing of arenas. This module alone calls
//! `mlock` and `munlock`, and on whole mappings of its own only: memory locks do not nest, so a page
//! shared by two owners would be unlocked for both by the first that lets go.
//!
//! One file per operating system mechanism: `unix`, and `secret_memory` for Linux's; Windows has its place
//! beside them. `live` knows every mapping there is; `exit` sees to them when the
//! process exits; `refusal` has what the system can refuse, and the words for it.

mod exit;
mod live;
mod refusal;
mod secret_memory;
#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
compile_error!("bitcoin-support has no page allocator for this operating system yet");

#[cfg(unix)]
use unix as os;

#[cfg(unix)]
pub use unix::PosixLockedPageAllocator;

pub use exit::{ExitPolicy, set_exit_policy};
pub use live::wipe_everything;
pub(crate) use live::{at_fork_of_process, has_secret_memory, is_locked, wipes};

pub(crate) use refusal::Refusals;
pub use refusal::{LockError, Missing, MissingProtections, Protection, ProtectionError};

use crate::cleanse::memory_cleanse;
use bytemuck::Zeroable;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use live::Slot;
use secret_memory::Refusal as NoSecretMemory;
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
/// over a foreign allocator never touches what it manages. A pool has one thread at a time in its allocator, and
/// holds no lock meanwhile: an implementation may use other pools, look at this one's statistics, and fork. An
/// allocation from this pool that needs more pages fails at once in there. In a child of a fork that came while
/// another thread was in the allocator, it is not called any more.
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

/// What a child process finds, after `fork`, in memory for secrets that its parent had.
///
/// Whatever the policy, the parent's memory stays as it is, memory that the child allocates itself is
/// locked, and the child's statistics say what is so there. A child that only goes on to `exec`, and one
/// made by `vfork` or `posix_spawn`, is not concerned. (One made past the C library, by the bare system
/// call, has nothing locked; on Linux, what is said of [`Wipe`](Self::Wipe) and [`Absent`](Self::Absent)
/// holds there too, though its pools do not know.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForkPolicy {
    /// The contents, locked again before `fork` returns: memory locks are not inherited. What a daemon
    /// needs, which forks with its secrets at hand and leaves the parent to end.
    #[default]
    Keep,
    /// Zeros, locked. Chunks stay allocated, so that the child can free them, and use them. Objects in them
    /// that the child goes on to use must be valid when all their bytes are zeros: plain data is, references and
    /// containers in locked memory are not. (So for the secret types it takes
    /// [`configure_unchecked`](crate::LockedPoolManager::configure_unchecked).)
    Wipe,
    /// Nothing: an access ends the process. The child's pool is empty; the chunks that its parent had are
    /// not counted in it, and to free one, which succeeds, does nothing. So objects of this library that
    /// the child has inherited can be dropped; values in them whose own destructor looks at them cannot.
    Absent,
}

/// Whether pools use secret memory, which no other process can read, not even a privileged one that reads
/// `/proc/PID/mem` or traces this one: Linux's `memfd_secret`.
///
/// It is locked from the start, counts against the same limit as locked memory, and cannot be kept in a
/// child process: it goes with [`ForkPolicy::Absent`] only. It makes growth of a pool slower (a few
/// microseconds for each page), and while it is in use the machine refuses to hibernate. System calls that
/// lend pages to a device (`O_DIRECT`, `vmsplice`) refuse it; `read` and `write` take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretMemory {
    /// Ordinary memory.
    #[default]
    Off,
    /// Where the system has it, and else ordinary locked memory: the statistics tell which, and why.
    Prefer,
    /// Nothing but that: a pool that cannot have it cannot be made, and an allocation fails when there is
    /// no more of it.
    Require,
}

/// How pages are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageOptions {
    pub(crate) page_size: usize,
    pub(crate) fork: ForkPolicy,
}

impl Default for PageOptions {
    fn default() -> Self {
        Self { page_size: page_size(), fork: ForkPolicy::Keep }
    }
}

/// Why pages could not be mapped.
#[derive(Debug)]
pub struct MapError(io::Error);

impl MapError {
    pub(crate) fn no_memory() -> Self {
        Self(io::Error::from_raw_os_error(libc::ENOMEM))
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
    /// Has the rest: what a child process may have to change.
    slot: &'static Slot,
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
    /// Costs about six system calls, and later a page fault for every page when it is first touched.
    ///
    /// # Errors
    /// When the pages cannot be mapped, or `len` is 0 or too large for the address space.
    pub fn new(len: usize) -> Result<Self, MapError> {
        Self::with(len, PageOptions::default())
    }

    /// Like [`new`](Self::new), with pages of a given size in bytes: the system's common ones or, where
    /// it has them ([`has_page_size`]), huge ones. `len` is rounded up to whole pages of that size.
    ///
    /// # Errors
    /// As for [`new`](Self::new); also when the system has no such pages, or none left: huge pages are
    /// set aside by its administrator (`vm.nr_hugepages` on Linux).
    pub fn with_page_size(len: usize, page_size: usize) -> Result<Self, MapError> {
        Self::with(len, PageOptions { page_size, ..PageOptions::default() })
    }

    /// Like [`new`](Self::new), but keeps nothing that cannot be locked.
    ///
    /// # Errors
    /// The outer one when the pages cannot be mapped, the inner one when they cannot be locked.
    pub fn new_locked(len: usize) -> Result<Result<Self, LockError>, MapError> {
        Self::locked_with(len, PageOptions::default())
    }

    /// [`new`](Self::new) with options. (Secret memory that cannot be locked is none.)
    pub(crate) fn with(len: usize, options: PageOptions) -> Result<Self, MapError> {
        let pages = Self::map(len, options)?;
        pages.slot.set_lock_state(os::try_lock(pages.addr, pages.len));
        Ok(pages)
    }

    /// [`new_locked`](Self::new_locked) with options.
    pub(crate) fn locked_with(
        len: usize,
        options: PageOptions,
    ) -> Result<Result<Self, LockError>, MapError> {
        Ok(Self::map(len, options)?.if_locked())
    }

    /// Secret memory, which is locked or not to be had (the inner error).
    pub(crate) fn secret(
        len: usize,
        fork: ForkPolicy,
    ) -> Result<Result<Self, LockError>, MapError> {
        let len = padded(len, page_size())?;
        let slot = Slot::take()?;
        let reserved = os::reserve_guarded(len).map_err(MapError);
        let addr = reserved.inspect_err(|_| slot.vacate())?;
        // SAFETY: addresses of ours that nobody uses.
        if let Err(refusal) = unsafe { secret_memory::place(addr, len) } {
            slot.vacate();
            // SAFETY: reserved above, and nobody uses them.
            unsafe { os::unmap_guarded(addr, len) };
            return refused(refusal);
        }
        Ok(Ok(Self::of_secret_memory(addr, len, slot, fork, false)))
    }

    fn of_secret_memory(
        addr: NonNull<u8>,
        len: usize,
        slot: &'static Slot,
        fork: ForkPolicy,
        reserved: bool,
    ) -> Self {
        slot.open(addr, len, fork, true);
        slot.set_lock_state(Ok(()));
        Self { addr, len, slot, reserved }
    }

    /// Locks the pages, which nobody has written to; gives them up if that fails.
    fn if_locked(self) -> Result<Self, LockError> {
        let state = os::try_lock(self.addr, self.len);
        self.slot.set_lock_state(state);
        match state {
            Ok(()) => Ok(self),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    /// Maps `len` bytes, rounded up, with every protection but locking: before it, so that no page
    /// is ever resident without them.
    fn map(len: usize, options: PageOptions) -> Result<Self, MapError> {
        let size = options.page_size;
        if !has_page_size(size) {
            return Err(MapError(io::ErrorKind::InvalidInput.into()));
        }
        let len = padded(len, size)?;
        let slot = Slot::take()?;
        let mapped = if size == page_size() {
            os::map_guarded(len)
        } else {
            os::map_guarded_huge(len, size)
        };
        let addr = mapped.map_err(MapError).inspect_err(|_| slot.vacate())?;
        slot.open(addr, len, options.fork, false);
        Ok(Self { addr, len, slot, reserved: false })
    }

    /// Gives up pages that nobody has written to, without wiping them: that would make them resident.
    pub(crate) fn discard(self) {
        ManuallyDrop::new(self).unmap();
    }

    /// Gives the mapping back to the system, or to its range. The last thing that happens to it.
    fn unmap(&mut self) {
        self.slot.close();
        if self.slot.is_taken() {
            // The addresses are somebody else's.
        } else if self.reserved {
            // SAFETY: the pages lie in an address range that is kept for the life of the process,
            // and nothing can use them after their owner.
            unsafe { os::make_inaccessible(self.addr, self.len) };
        } else {
            // SAFETY: this is the owner of a mapping of `len` bytes made by `map_guarded` or in its
            // manner, and nothing can use it after its owner.
            unsafe { os::unmap_guarded(self.addr, self.len) };
        }
        self.slot.vacate();
    }

    /// Whether the pages are locked, and if not, why.
    ///
    /// In a child process they have been locked again before `fork` returned, as far as the system let us.
    pub fn lock_state(&self) -> Result<(), LockError> {
        self.slot.lock_state()
    }

    /// Whether this is secret memory.
    pub(crate) fn is_secret_memory(&self) -> bool {
        self.slot.is_secret_memory()
    }

    /// Whether this is a child process and the memory has stayed with its parent.
    pub(crate) fn is_absent(&self) -> bool {
        self.slot.is_absent()
    }

    /// Whether the system accepted the protections besides locking (no core dump, no merging, no
    /// huge pages); otherwise the error number of the first that it refused.
    pub fn advice_state(&self) -> Result<(), i32> {
        self.refusals().first().map_or(Ok(()), |error| Err(error.errno))
    }

    /// What the system refused besides the lock.
    pub(crate) fn refusals(&self) -> Refusals {
        self.slot.refusals()
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
        LockedAllocation { addr: pages.addr, locked: pages.lock_state().is_ok() }
    }

    /// Takes ownership of a mapping back.
    ///
    /// # Safety
    /// `addr` must come from [`into_raw`](Self::into_raw) of an owner made with the same `len`, and
    /// must not be owned again already.
    pub(crate) unsafe fn from_raw(addr: NonNull<u8>, len: usize) -> Self {
        // Not a mapping of this module's: the contract is broken.
        let Some(slot) = live::find(addr) else { std::process::abort() };
        Self { addr, len: len.next_multiple_of(page_size()), slot, reserved: false }
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
        if !self.is_absent() {
            self.zeroize();
        }
        self.unmap();
    }
}

impl fmt::Debug for LockedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedPages")
            .field("addr", &self.addr)
            .field("len", &self.len)
            .field("lock", &self.lock_state())
            .finish_non_exhaustive()
    }
}

/// The first protection besides the lock that the system refuses now to memory for secrets, if any.
pub(crate) fn refused_protection(fork: ForkPolicy) -> Result<Option<ProtectionError>, MapError> {
    let pages = LockedPages::map(1, PageOptions { fork, ..PageOptions::default() })?;
    let refusal = pages.refusals().first();
    pages.discard();
    Ok(refusal)
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

    /// Pages at `offset`, of the common size, with every protection; with `must_lock`, none that cannot be
    /// locked (the inner error). `offset` and `len` are multiples of the page size. The caller leaves at
    /// least a page of the range on either side, as guards.
    ///
    /// # Safety
    /// The pages must be in the range and not in use.
    pub(crate) unsafe fn place(
        &self,
        offset: usize,
        len: usize,
        fork: ForkPolicy,
        must_lock: bool,
    ) -> Result<Result<LockedPages, LockError>, MapError> {
        // SAFETY: within the range, by this function's contract.
        let addr = unsafe { self.addr.add(offset) };
        let slot = Slot::take()?;
        // SAFETY: addresses of ours that nobody uses.
        let accessible = unsafe { os::make_accessible(addr, len) }.map_err(MapError);
        accessible.inspect_err(|_| slot.vacate())?;
        slot.open(addr, len, fork, false);
        let pages = LockedPages { addr, len, slot, reserved: true };
        if must_lock {
            return Ok(pages.if_locked());
        }
        slot.set_lock_state(os::try_lock(addr, len));
        Ok(Ok(pages))
    }

    /// Secret memory at `offset`, which is locked or not to be had (the inner error).
    ///
    /// # Safety
    /// As for [`place`](Self::place).
    pub(crate) unsafe fn place_secret(
        &self,
        offset: usize,
        len: usize,
        fork: ForkPolicy,
    ) -> Result<Result<LockedPages, LockError>, MapError> {
        // SAFETY: within the range, by this function's contract.
        let addr = unsafe { self.addr.add(offset) };
        let slot = Slot::take()?;
        // SAFETY: addresses of ours that nobody uses.
        if let Err(refusal) = unsafe { secret_memory::place(addr, len) } {
            slot.vacate();
            // SAFETY: as above.
            unsafe { os::make_inaccessible(addr, len) };
            return refused(refusal);
        }
        Ok(Ok(LockedPages::of_secret_memory(addr, len, slot, fork, true)))
    }
}

fn refused<T>(refusal: NoSecretMemory) -> Result<Result<T, LockError>, MapError> {
    match refusal {
        NoSecretMemory::Unavailable(error) => Err(MapError(error)),
        NoSecretMemory::Limit(error) => {
            Ok(Err(LockError { errno: errno_of(&error), limit: os::limit() }))
        }
    }
}

/// `len` rounded up to whole pages of `size` bytes, if it is a length that can be mapped.
fn padded(len: usize, size: usize) -> Result<usize, MapError> {
    let padded = len
        .checked_next_multiple_of(size)
        .filter(|&len| len > 0 && len <= isize::MAX as usize - 2 * page_size());
    padded.ok_or_else(|| MapError(io::ErrorKind::InvalidInput.into()))
}

/// A table of `len` zeroed entries, for the life of the process. Only what is touched takes memory.
pub(crate) fn zeroed_table<T: Zeroable + Sync>(len: usize) -> Result<&'static [T], MapError> {
    let bytes = table_bytes::<T>(len)?;
    let addr = os::map_zeroed(bytes).map_err(MapError)?;
    // SAFETY: the mapping is large enough, aligned to a page, never unmapped, and filled with zeros,
    // which are valid for `T`.
    Ok(unsafe { core::slice::from_raw_parts(addr.as_ptr().cast(), len) })
}

/// What a table of `len` entries takes, in whole pages.
fn table_bytes<T>(len: usize) -> Result<usize, MapError> {
    let bytes = len.checked_mul(size_of::<T>()).filter(|&bytes| bytes > 0);
    let bytes = bytes.and_then(|bytes| bytes.checked_next_multiple_of(page_size()));
    bytes.ok_or_else(|| MapError(io::ErrorKind::InvalidInput.into()))
}

/// Memory for tables that live as long as the process, in one mapping. All entries can be read from the start, where
/// they are zeros, and none can be written before [`grow_table`] has reached it. Until then they take no memory, nor
/// a promise of it: a system that promises no more than it has (`vm.overcommit_memory=2`) counts what can be
/// written, touched or not.
pub(crate) struct GrowingTables {
    next: NonNull<u8>,
    /// Bytes from `next` on that are no table's yet.
    left: usize,
}

impl GrowingTables {
    /// Room for tables of `bytes` bytes each.
    pub(crate) fn new(bytes: &[usize]) -> Result<Self, MapError> {
        let too_large = || MapError(io::ErrorKind::InvalidInput.into());
        let mut left = 0_usize;
        for len in bytes {
            let len = len.checked_next_multiple_of(page_size()).ok_or_else(too_large)?;
            left = left.checked_add(len).ok_or_else(too_large)?;
        }
        Ok(Self { next: os::map_readable(left).map_err(MapError)?, left })
    }

    /// The next table, of `len` entries. `None` where there is no room for it.
    ///
    /// # Safety
    /// A write to an entry that `grow_table` has not reached ends the process.
    pub(crate) unsafe fn table<T: Zeroable + Sync>(&mut self, len: usize) -> Option<&'static [T]> {
        let bytes = table_bytes::<T>(len).ok().filter(|&bytes| bytes <= self.left)?;
        let addr = self.next;
        // SAFETY: `bytes` bytes are left of the mapping.
        self.next = unsafe { addr.add(bytes) };
        self.left -= bytes;
        // SAFETY: this part of the mapping is large enough and no other table's, begins with a page, and is never
        // unmapped. It is full of zeros, which are valid for `T`. The caller writes to no entry before
        // `grow_table` has made it writable.
        Some(unsafe { core::slice::from_raw_parts(addr.as_ptr().cast(), len) })
    }
}

/// Lets the entries of a table from `from` up to `to` be written, and perhaps some around them. What they hold
/// stays.
///
/// # Safety
/// The table must come from [`GrowingTables`].
pub(crate) unsafe fn grow_table<T>(
    table: &'static [T],
    from: usize,
    to: usize,
) -> Result<(), MapError> {
    let page = page_size();
    let start = from * size_of::<T>() / page * page;
    let end = to.min(table.len()) * size_of::<T>();
    let end = end.next_multiple_of(page);
    if start >= end {
        return Ok(());
    }
    let addr = NonNull::from(table).cast::<u8>();
    // SAFETY: by this function's contract the table has a mapping of whole pages from its first entry on, and these
    // are some of them.
    unsafe { os::make_accessible(addr.add(start), end - start) }.map_err(MapError)
}

/// Gives a table back.
///
/// # Safety
/// It must come from [`zeroed_table`] and not be used again.
pub(crate) unsafe fn release_table<T>(table: &'static [T]) {
    let bytes = size_of_val(table).next_multiple_of(page_size());
    // SAFETY: the table's whole mapping; by this function's contract nobody uses it any more.
    unsafe { os::give_back(NonNull::from(table).cast(), bytes) };
}

/// Takes the lock off that the process's `mlockall` has put on memory in which there is no secret: a pool's
/// bookkeeping would take more of the limit on locked memory than its chunks. Pages that reach beyond the
/// bytes stay as they are.
pub(crate) fn keep_unlocked(bytes: &[u8]) {
    let start = bytes.as_ptr().addr().next_multiple_of(page_size());
    let end = round_down(bytes.as_ptr().addr() + bytes.len(), page_size());
    if start < end {
        os::unlock(&bytes[start - bytes.as_ptr().addr()..end - bytes.as_ptr().addr()]);
    }
}

fn round_down(x: usize, unit: usize) -> usize {
    x - x % unit
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

/// How many bytes this process may lock in all: [`lock_limit`], or `usize::MAX` where the process may exceed it.
/// Takes up to three system calls.
pub(crate) fn effective_lock_limit() -> usize {
    if os::may_exceed_limit() { usize::MAX } else { os::limit() }
}

/// Raises the limit on locked bytes ([`lock_limit`]) as far as the process may on its own, to the hard
/// value of `RLIMIT_MEMLOCK`, and returns what it is then (`usize::MAX` for none). The library never does
/// so unasked: the limit is the process's, and its children inherit it.
///
/// Pools find out the next time they want more locked memory.
///
/// # Errors
/// When the system refuses, which it does only where a sandbox forbids the call.
pub fn raise_lock_limit() -> io::Result<usize> {
    os::raise_limit()
}

/// How many bytes of addresses this process may have (`RLIMIT_AS`'s soft value): `usize::MAX` when there is
/// no limit or it is unknown.
pub(crate) fn address_limit() -> usize {
    os::address_limit()
}

fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}
