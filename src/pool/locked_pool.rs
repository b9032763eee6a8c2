//! `LockedPool`: the one type for the process-wide pool and for those that a program makes itself.

use super::error::PoolError;
use super::options::PoolOptions;
use super::private::{Pages, PrivatePool};
use crate::arena::{ArenaError, FreeError};
use crate::arena_set::{self, ArenaSet, LockingFailed, PoolStats, Source};
use crate::pages::{self, LockedPageAllocator};
use crate::thread_heap;
use core::fmt;
use core::ptr::NonNull;

/// A pool of locked memory that any number of threads may share.
///
/// It starts empty and maps an arena of [`ARENA_SIZE`](Self::ARENA_SIZE) bytes (the
/// process-wide pool, when it is large, of a 256th of what it has) whenever none that it has can hold a chunk. Over the
/// operating system's own pages, an empty arena is given back when what is free is more than twice what is used, and
/// 1 MiB. The others stay until the pool is dropped, which wipes and unmaps them.
///
/// Over the operating system's own pages ([`LockedPool::default`]), every chunk is wiped as it is
/// freed, an arena that cannot be locked whole is tried smaller, and unlocked memory is used only
/// when none can be locked for a chunk and the [`LockingFailed`] callback agrees (without a callback
/// it is used, and counted in the statistics). Over a foreign [`LockedPageAllocator`], the pool asks
/// for arenas exactly as Bitcoin Core does and never touches what it is given.
///
/// ```
/// use bitcoin_support::LockedPool;
///
/// let pool = LockedPool::default();
/// let key = pool.alloc(32, 16).expect("memory");
/// assert_eq!(pool.stats().used, 32);
/// // SAFETY: the chunk is 32 bytes long, and not used after it is freed.
/// unsafe {
///     key.write_bytes(0xaa, 32);
///     pool.free(key.as_ptr())?; // wiped here
///     assert!(pool.free(key.as_ptr()).is_err());
/// }
/// # Ok::<(), bitcoin_support::FreeError>(())
/// ```
pub struct LockedPool {
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    /// The process-wide pool, see `thread_heap`.
    Process,
    /// A pool that a program has made itself.
    Private(&'static PrivatePool),
}

impl LockedPool {
    /// Size of an arena in bytes; also the largest chunk. Bitcoin Core's figure: large enough that
    /// arenas are few, small enough that little is locked in vain.
    pub const ARENA_SIZE: usize = arena_set::ARENA_SIZE;
    /// Alignment of chunks in bytes, to which sizes are rounded up. Bitcoin Core's figure.
    pub const ARENA_ALIGN: usize = arena_set::ARENA_ALIGN;

    /// A pool that a program makes itself, if there is memory for it.
    fn of(set: ArenaSet, pages: Option<Pages>) -> Result<Self, PoolError> {
        let private =
            PrivatePool::take(set, pages).ok_or(PoolError::Arena(ArenaError::OutOfMemory))?;
        Ok(Self { kind: Kind::Private(private) })
    }

    /// A pool with chosen options. Nothing is mapped before the first allocation.
    ///
    /// # Errors
    /// When the options contradict each other, or the system does not have what they ask for: see
    /// [`PoolError`].
    pub fn with_options(options: &PoolOptions) -> Result<Self, PoolError> {
        let (page_size, arena_size, max_size) = options.sizes()?;
        options.prepare()?;
        let huge_page = (page_size != pages::page_size()).then_some(page_size);
        let mut set = ArenaSet::new(Source::System { huge_page }, Self::ARENA_ALIGN);
        set.set_sizes(arena_size, max_size);
        set.memory = options.memory();
        Self::of(set, None)
    }

    /// A pool over the operating system's own pages, of `page_size` bytes each, with arenas of
    /// `chunk_size` bytes, which also is the largest chunk, and no more than `max_size` bytes in all:
    /// [`with_options`](Self::with_options) for the sizes alone.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn new(page_size: usize, chunk_size: usize, max_size: usize) -> Result<Self, PoolError> {
        let options = PoolOptions::new().page_size(page_size).arena_size(chunk_size);
        Self::with_options(&options.max_size(max_size))
    }

    /// A pool over a foreign source of pages, which it never touches.
    ///
    /// So it does not lock them in a child process either, and there counts none of them as locked but those
    /// of a [`PosixLockedPageAllocator`](crate::PosixLockedPageAllocator), which this library locks.
    ///
    /// # Panics
    /// When there is no memory for the pool itself.
    #[track_caller]
    pub fn with_page_allocator(allocator: Box<dyn LockedPageAllocator + Send>) -> Self {
        Self::try_with_page_allocator(allocator).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_with_page_allocator(
        allocator: Box<dyn LockedPageAllocator + Send>,
    ) -> Result<Self, PoolError> {
        Self::of(ArenaSet::new(Source::Foreign, Self::ARENA_ALIGN), Some(allocator))
    }

    /// Sets who decides about unlocked memory; `None` accepts it.
    pub fn set_locking_failed(&self, callback: Option<LockingFailed>) {
        match &self.kind {
            Kind::Process => thread_heap::set_locking_failed(callback),
            Kind::Private(pool) => pool.set_locking_failed(callback),
        }
    }

    /// Allocates `size` bytes aligned to `alignment` bytes. What they hold is unspecified; over our
    /// own pages it is zeros.
    ///
    /// `None` when `size` is 0 or above the size of an arena, `alignment` is not a power
    /// of two, or there is neither room nor any to be had.
    #[inline(always)]
    pub fn alloc(&self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        if !alignment.is_power_of_two() {
            return None;
        }
        match &self.kind {
            Kind::Process => thread_heap::alloc(size, alignment),
            Kind::Private(pool) => pool.alloc(size, alignment),
        }
    }

    /// Frees the chunk that begins at `ptr`. Null does nothing. Over our own pages the whole chunk
    /// is wiped first. Constant time, apart from the wipe.
    ///
    /// # Errors
    /// See [`FreeError`]; nothing changes then, unless it is [`FreeError::Overrun`].
    ///
    /// # Safety
    /// If `ptr` is a used chunk of this pool, nothing may use that chunk any more: it is wiped and
    /// handed out again. (Any other `ptr` is refused and safe.)
    #[inline(always)]
    pub unsafe fn free(&self, ptr: *mut u8) -> Result<(), FreeError> {
        // SAFETY: by this function's contract.
        match unsafe { self.free_common(ptr, None) } {
            Some(()) => Ok(()),
            // SAFETY: by this function's contract.
            None => unsafe { self.free_uncommon(ptr, None) },
        }
    }

    /// [`free`](Self::free) that also checks the size in bytes and the alignment that the chunk was
    /// allocated with, as far as the chunk tells: its size is the one asked for, rounded up.
    ///
    /// # Errors
    /// See [`FreeError`]; nothing changes then, unless it is [`FreeError::Overrun`].
    ///
    /// # Safety
    /// As for [`free`](Self::free).
    pub unsafe fn free_sized(
        &self,
        ptr: *mut u8,
        size: usize,
        alignment: usize,
    ) -> Result<(), FreeError> {
        // SAFETY: by this function's contract.
        match unsafe { self.free_common(ptr, Some((size, alignment))) } {
            Some(()) => Ok(()),
            // SAFETY: by this function's contract.
            None => unsafe { self.free_uncommon(ptr, Some((size, alignment))) },
        }
    }

    /// Frees in the common case, in few instructions and without a call; `None` when nothing was done.
    ///
    /// # Safety
    /// As for [`free`](Self::free).
    #[inline(always)]
    pub(crate) unsafe fn free_common(
        &self,
        ptr: *mut u8,
        check: Option<(usize, usize)>,
    ) -> Option<()> {
        match &self.kind {
            // SAFETY: by this function's contract.
            Kind::Process => unsafe { thread_heap::free_local(ptr, check) },
            Kind::Private(_) => None,
        }
    }

    /// Frees in any case.
    ///
    /// # Safety
    /// As for [`free`](Self::free).
    #[inline(never)]
    pub(crate) unsafe fn free_uncommon(
        &self,
        ptr: *mut u8,
        check: Option<(usize, usize)>,
    ) -> Result<(), FreeError> {
        if ptr.is_null() {
            return Ok(());
        }
        match &self.kind {
            // SAFETY: by this function's contract.
            Kind::Process => unsafe { thread_heap::free(ptr, check) },
            // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is one.
            Kind::Private(pool) => unsafe { pool.free(ptr, check) },
        }
    }

    /// What the pool holds now. Constant time; the process-wide pool holds its other threads up for the
    /// moment that it takes (about a microsecond), and takes a step for each of them.
    pub fn stats(&self) -> PoolStats {
        match &self.kind {
            Kind::Process => thread_heap::stats(),
            Kind::Private(pool) => pool.stats(),
        }
    }

    /// Calls `visit` with address, size in bytes and whether it is used, for every chunk that there was at one
    /// moment, arena by arena. For debugging: a list of them is made first (two words for each;
    /// where there is no memory for it, nothing is visited), so that `visit` may use the pool.
    pub fn walk(&self, mut visit: impl FnMut(usize, usize, bool)) {
        match &self.kind {
            Kind::Process => thread_heap::walk(&mut visit),
            Kind::Private(pool) => pool.walk(&mut visit),
        }
    }
}

impl Default for LockedPool {
    /// A pool over the operating system's own pages. Panics when there is no memory for the pool itself.
    #[track_caller]
    fn default() -> Self {
        let pool = Self::with_options(&PoolOptions::new());
        pool.unwrap_or_else(|error| panic!("{error}"))
    }
}

impl fmt::Debug for LockedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedPool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Drop for LockedPool {
    fn drop(&mut self) {
        if let Kind::Private(pool) = self.kind {
            pool.vacate();
        }
    }
}
