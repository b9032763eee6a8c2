//! `LockedPool`: the one type for the process-wide pool and for those that a program makes itself.

use super::error::PoolError;
use super::options::PoolOptions;
use super::private::{Pages, PrivatePool};
use crate::arena::{ArenaError, FreeError};
use crate::arena_set::{self, ArenaSet, LockingFailed, PoolStats, Source};
use crate::pages::{self, ForkPolicy, LockedPageAllocator};
use crate::thread_heap;
use core::fmt;
use core::ptr::NonNull;

/// A pool of locked memory that any number of threads may share.
///
/// It starts without memory, and maps a new arena whenever no arena that it has can hold a chunk.
/// An arena has [`ARENA_SIZE`](Self::ARENA_SIZE) bytes; in a large process-wide pool it has a 256th
/// of the pool's bytes. Over the operating system's own pages, empty arenas are given back when
/// more is free than twice what is used, and 1 MiB. The others stay until the pool is dropped,
/// which wipes and unmaps them.
///
/// Over the operating system's own pages ([`LockedPool::default`]), every chunk is wiped as it is
/// freed. Where an arena cannot be locked whole, the pool tries smaller ones. It uses unlocked
/// memory only when none can be locked for a chunk and the [`LockingFailed`] callback agrees
/// (without a callback it uses unlocked memory, and the statistics count that). Over a foreign
/// [`LockedPageAllocator`], the pool asks for arenas exactly as Bitcoin Core does and never touches
/// what it is given.
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
    /// Whether values of Rust types may lie in it: its memory exists, and is in a child process
    /// what it was, or the program has vouched for its children.
    pub(super) can_hold_values: bool,
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
        let can_hold_values = pages.is_none() && set.memory.fork == ForkPolicy::Keep;
        let private =
            PrivatePool::take(set, pages).ok_or(PoolError::Arena(ArenaError::OutOfMemory))?;
        Ok(Self { kind: Kind::Private(private), can_hold_values })
    }

    /// A pool that was added to a manager. No program gets a reference to it.
    pub(super) fn added(pool: &'static PrivatePool) -> Self {
        Self { kind: Kind::Private(pool), can_hold_values: false }
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

    /// [`with_options`](Self::with_options) for a pool that secret types and containers take their
    /// memory from (as an allocator, `&pool`), also with a fork policy other than
    /// [`ForkPolicy::Keep`].
    ///
    /// # Errors
    /// As for [`with_options`](Self::with_options).
    ///
    /// # Safety
    /// A child process of this one, made by whatever code, must not use values that its parent had
    /// in the pool: with [`ForkPolicy::Wipe`] those to which zeros are no value, such as references
    /// and boxes, and with [`ForkPolicy::Absent`] any. To drop a value is to use it if it has a
    /// destructor. (The types of this crate can be dropped there, with elements that have none.)
    ///
    /// ```
    /// use bitcoin_support::{ForkPolicy, LockedPool, PoolOptions, SecretMemory, SecureBox};
    ///
    /// let options = PoolOptions::new()
    ///     .fork_policy(ForkPolicy::Absent)
    ///     .secret_memory(SecretMemory::Prefer);
    /// // SAFETY: this program makes no child processes.
    /// let pool = unsafe { LockedPool::with_options_unchecked(&options)? };
    /// let key = SecureBox::new_in([7_u8; 32], &pool);
    /// assert_eq!(pool.stats().chunks_used, 1);
    /// # drop(key);
    /// # Ok::<(), bitcoin_support::PoolError>(())
    /// ```
    pub unsafe fn with_options_unchecked(options: &PoolOptions) -> Result<Self, PoolError> {
        let mut pool = Self::with_options(options)?;
        pool.can_hold_values = true;
        Ok(pool)
    }

    /// Whether values of Rust types may lie in the pool.
    pub(crate) fn can_hold_values(&self) -> bool {
        self.can_hold_values
    }

    /// The most bytes that a chunk can have.
    pub(crate) fn largest_chunk(&self) -> usize {
        match &self.kind {
            Kind::Process => Self::ARENA_SIZE,
            Kind::Private(pool) => pool.arena_size(),
        }
    }

    /// A pool over the operating system's own pages, of `page_size` bytes each, with arenas of
    /// `chunk_size` bytes, which also is the largest chunk, and no more than `max_size` bytes in
    /// all: [`with_options`](Self::with_options) for the sizes alone.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn new(page_size: usize, chunk_size: usize, max_size: usize) -> Result<Self, PoolError> {
        let options = PoolOptions::new().page_size(page_size).arena_size(chunk_size);
        Self::with_options(&options.max_size(max_size))
    }

    /// A pool over a foreign source of pages, which it never touches.
    ///
    /// So it does not lock them again in a child process, and counts none of them as locked there.
    /// Those of a [`PosixLockedPageAllocator`](crate::PosixLockedPageAllocator) are the exception:
    /// this library locks them.
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

    /// Sets the callback that decides about unlocked memory. Without one (`None`) it is accepted.
    pub fn set_locking_failed(&self, callback: Option<LockingFailed>) {
        match &self.kind {
            Kind::Process => thread_heap::set_locking_failed(callback),
            Kind::Private(pool) => pool.set_locking_failed(callback),
        }
    }

    /// Allocates `size` bytes aligned to `alignment` bytes. Over the operating system's own pages
    /// they are zeros, over a foreign source of pages their contents are unspecified.
    ///
    /// `None` when `size` is 0 or above the size of an arena, `alignment` is not a power
    /// of two, or the pool has no room and cannot get any.
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

    /// Frees the chunk that begins at `ptr`. Null does nothing. Over the operating system's own
    /// pages the whole chunk is wiped first. Constant time, apart from the wipe.
    ///
    /// # Errors
    /// See [`FreeError`]; nothing changes then, unless it is [`FreeError::Overrun`].
    ///
    /// # Safety
    /// If `ptr` is a used chunk of this pool, nothing may use that chunk any more: it is wiped and
    /// handed out again. (Any other `ptr` is refused and safe.)
    #[inline(always)]
    pub unsafe fn free(&self, ptr: *mut u8) -> Result<(), FreeError> {
        // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is
        // one.
        match unsafe { self.free_local(ptr, None) } {
            Some(()) => Ok(()),
            // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there
            // is one.
            None => unsafe { self.free_any(ptr, None) },
        }
    }

    /// [`free`](Self::free) that also checks the size in bytes and the alignment that the chunk was
    /// allocated with, as far as the chunk tells: its size is the one asked for, rounded up.
    ///
    /// # Errors
    /// See [`FreeError`]; nothing changes then, unless it is [`FreeError::Overrun`].
    ///
    /// # Safety
    /// If `ptr` is a used chunk of this pool, nothing uses that chunk any more.
    pub unsafe fn free_sized(
        &self,
        ptr: *mut u8,
        size: usize,
        alignment: usize,
    ) -> Result<(), FreeError> {
        // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is
        // one.
        match unsafe { self.free_local(ptr, Some((size, alignment))) } {
            Some(()) => Ok(()),
            // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there
            // is one.
            None => unsafe { self.free_any(ptr, Some((size, alignment))) },
        }
    }

    /// Frees in the common case, in few instructions and without a call; `None` when nothing was
    /// done.
    ///
    /// # Safety
    /// If `ptr` is a used chunk of this pool, nothing uses that chunk any more.
    #[inline(always)]
    pub(crate) unsafe fn free_local(
        &self,
        ptr: *mut u8,
        check: Option<(usize, usize)>,
    ) -> Option<()> {
        match &self.kind {
            // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there
            // is one.
            Kind::Process => unsafe { thread_heap::free_local(ptr, check) },
            Kind::Private(_) => None,
        }
    }

    /// Frees in any case.
    ///
    /// # Safety
    /// If `ptr` is a used chunk of this pool, nothing uses that chunk any more.
    #[inline(never)]
    pub(crate) unsafe fn free_any(
        &self,
        ptr: *mut u8,
        check: Option<(usize, usize)>,
    ) -> Result<(), FreeError> {
        if ptr.is_null() {
            return Ok(());
        }
        match &self.kind {
            // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there
            // is one.
            Kind::Process => unsafe { thread_heap::free(ptr, check) },
            // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there
            // is one.
            Kind::Private(pool) => unsafe { pool.free(ptr, check) },
        }
    }

    /// What the pool holds now. Constant time. The process-wide pool pauses its other threads for
    /// the moment that it takes, and takes a step for each of them.
    pub fn stats(&self) -> PoolStats {
        match &self.kind {
            Kind::Process => thread_heap::stats(),
            Kind::Private(pool) => pool.stats(),
        }
    }

    /// Calls `visit` with address, size in bytes and whether it is used, for every chunk that there
    /// was at one moment, arena by arena. For debugging: it makes a list of them first, so that
    /// `visit` may use the pool. The list takes two words for each chunk; where there is no memory
    /// for it, nothing is visited.
    pub fn walk(&self, mut visit: impl FnMut(usize, usize, bool)) {
        self.walk_while(&mut |chunk, size, used| {
            visit(chunk, size, used);
            true
        });
    }

    /// As [`walk`](Self::walk), until `visit` returns `false`. Returns `false` where there is no
    /// memory for the list.
    pub(crate) fn walk_while(&self, visit: &mut dyn FnMut(usize, usize, bool) -> bool) -> bool {
        match &self.kind {
            Kind::Process => thread_heap::walk(visit),
            Kind::Private(pool) => pool.walk(visit),
        }
    }
}

impl Default for LockedPool {
    /// A pool over the operating system's own pages. Panics when there is no memory for the pool
    /// itself.
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
