//! `LockedPool`: chunks of locked memory from as many arenas as it takes.
//!
//! Depends on `arena`, `pages`, `fork`, `edges` and `cleanse`. Below it, `extents` finds the arena of an address and
//! `room` the arena with room for a chunk. `own` keeps the pools that a program makes itself. `process` is
//! the pool that all threads of a process share; `manager` is its face. `fork` has what they do when the
//! process forks; `options` is what can be chosen.

mod extents;
mod fork;
mod locked_page_arena;
mod manager;
mod options;
mod own;
mod process;
mod room;

pub use locked_page_arena::LockedPageArena;
pub use manager::LockedPoolManager;
pub use options::{ConfigureError, PoolOptions};
pub use process::AddressReport;

use crate::arena::{Arena, ArenaError, ArenaSizeToChunkSortedMap, ArenaStats, FreeError};
use crate::cleanse::memory_cleanse;
use crate::edges;
use crate::fork::{Callee, NotCallable};
use crate::pages::{
    self, AddressRange, ForkPolicy, LockError, LockedPageAllocator, LockedPages, MapError,
    MissingProtections, PageOptions, ProtectionError, SecretMemory,
};
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;
use extents::ExtentMap;
use own::OwnPool;
use room::RoomIndex;
use std::io;

/// What a pool holds. `used + free == total` always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes in used chunks, alignment padding included.
    pub used: usize,
    /// Bytes in free chunks.
    pub free: usize,
    /// Bytes in all arenas.
    pub total: usize,
    /// Bytes of `total` that are locked into memory.
    pub locked: usize,
    /// Number of used chunks.
    pub chunks_used: usize,
    /// Number of free chunks.
    pub chunks_free: usize,
    /// Number of arenas.
    pub arenas: usize,
    /// The most bytes that were ever in used chunks at once. In the process-wide pool this is exact while
    /// one thread uses it; with several it is the most that was seen whenever one of them had to look. It may
    /// be above `total`, as arenas and the pages of sampled chunks are given back.
    pub peak_used: usize,
    /// How often an arena was wanted and could not be locked whole: each time the pool made do with
    /// a smaller one, with unlocked memory, or failed.
    pub lock_failures: usize,
    /// The last of those. It does not tell whether there is unlocked memory: see
    /// [`is_fully_locked`](Self::is_fully_locked).
    pub last_lock_failure: Option<LockError>,
    /// Bytes of `total` that are secret memory, see [`SecretMemory`].
    pub secret_memory: usize,
    /// Why the pool, which was to use secret memory, last had to do without: the operating system's error
    /// number (`ENOSYS` when it has none). That it may not lock so much counts as a lock failure instead.
    pub secret_memory_error: Option<i32>,
    /// Which protections besides the lock the pool's memory was to have and has not, and why: `bytes` are of
    /// `total`. (Of a pool over a foreign page allocator, nothing is known.)
    pub missing_protections: MissingProtections,
}

impl PoolStats {
    /// Whether all memory of the pool is locked, so that no secret in it can be swapped out. A pool may have had
    /// lock failures and be fully locked: it made do with smaller arenas, or it refused allocations.
    pub const fn is_fully_locked(&self) -> bool {
        self.locked == self.total
    }
}

/// Why a pool cannot be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum PoolError {
    /// The system has no pages of this size in bytes.
    PageSize(usize),
    /// This many bytes cannot be the size of an arena or a granule.
    ChunkSize(usize),
    /// This many bytes have no room for a single arena or chunk.
    MaxSize(usize),
    /// The pages cannot be mapped.
    Map(MapError),
    /// There is no memory for the bookkeeping.
    Arena(ArenaError),
    /// The system has no secret memory; its error number.
    SecretMemory(i32),
    /// Secret memory cannot be in a child process, as this policy wants it.
    SecretMemoryInChild(ForkPolicy),
    /// Secret memory has pages of the common size only, not of this many bytes.
    SecretMemoryPageSize(usize),
    /// The limit on locked memory cannot be raised.
    LockLimit(io::Error),
    /// The system refuses a protection that the options require.
    Protection(ProtectionError),
}

impl PoolError {
    /// Largest arena in bytes, just under 1 GiB; its bookkeeping could span more.
    const LARGEST_ARENA: usize =
        ArenaSizeToChunkSortedMap::MAX_GRANULES / LockedPool::ARENA_ALIGN * LockedPool::ARENA_ALIGN;
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageSize(size) => {
                write!(f, "LockedPool: the system has no pages of {size} bytes")
            }
            Self::ChunkSize(size) => write!(
                f,
                "LockedPool: chunk size {size}: a pool wants a multiple of the page size, an arena a \
                 power of two"
            ),
            Self::MaxSize(size) => {
                write!(
                    f,
                    "LockedPool: maximum size {size} has no room for a chunk of the chunk size"
                )
            }
            Self::Map(error) => error.fmt(f),
            Self::Arena(error) => error.fmt(f),
            Self::SecretMemory(errno) => {
                let why = io::Error::from_raw_os_error(*errno);
                // An old kernel does not know the call; who has another answer is not to be helped by a new one.
                let remedy = match *errno {
                    libc::ENOSYS => {
                        "it wants Linux 5.14 or newer, not booted with secretmem.enable=0 (before 6.5: booted with \
                         secretmem.enable=1), and a sandbox that allows memfd_secret"
                    }
                    libc::EMFILE | libc::ENFILE => "it wants a free file descriptor, for a moment",
                    _ => "it wants a sandbox that allows memfd_secret",
                };
                write!(f, "LockedPool: the system has no secret memory: {why}; {remedy}")
            }
            Self::SecretMemoryInChild(policy) => write!(
                f,
                "LockedPool: secret memory cannot be kept in a child process: fork policy {policy:?} must \
                 be Absent"
            ),
            Self::SecretMemoryPageSize(size) => {
                write!(f, "LockedPool: secret memory has no pages of {size} bytes")
            }
            Self::Protection(error) => write!(f, "LockedPool: {error}"),
            Self::LockLimit(error) => {
                write!(f, "LockedPool: the limit on locked memory cannot be raised: {error}")
            }
        }
    }
}

impl std::error::Error for PoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Map(error) => Some(error),
            Self::Arena(error) => Some(error),
            Self::LockLimit(error) => Some(error),
            Self::Protection(error) => Some(error),
            _ => None,
        }
    }
}

impl From<PoolError> for String {
    fn from(error: PoolError) -> Self {
        error.to_string()
    }
}

/// Decides, when no memory can be locked, whether the pool may use unlocked memory (`true`) or fails
/// the allocation (`false`).
///
/// One thread at a time is in it. It may use the pool, also its statistics, set another callback, and fork. An
/// allocation in there for which it would be asked again fails at once. It must not wait for a thread that sets
/// the callback, or allocates what it is asked for. In a child of a fork that came while another thread was in
/// it, it is not called, which counts as `false`, until one is set there.
pub type LockingFailed = Box<dyn FnMut(&LockError) -> bool + Send>;

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
    kind: Kind,
}

enum Kind {
    /// The process-wide pool, see `process`.
    Process,
    /// A pool of its own.
    Own(&'static OwnPool),
}

struct State {
    source: Source,
    /// Alignment of the arenas in bytes.
    granule: usize,
    /// Size of an arena in bytes, and the most that all of them may have.
    arena_size: usize,
    max_size: usize,
    fork: ForkPolicy,
    secret_memory: SecretMemory,
    /// Whether memory without one of its protections is not used.
    require_protections: bool,
    /// By number; `None` where one has been given back.
    arenas: Vec<Option<PooledArena>>,
    /// How many have been given back; and bytes of those that are empty and can be.
    vacant: usize,
    empty: usize,
    extents: ExtentMap,
    /// Room in the arenas of `Class::First`.
    room: RoomIndex,
    /// Room in the arenas of `Class::Unlocked`.
    room_unlocked: RoomIndex,
    /// Whether a callback decides about unlocked memory, see [`ask`].
    asks: bool,
    /// What there is to decide, when an allocation has failed for that.
    question: Option<LockError>,
    /// Whether unlocked memory is agreed to, for the allocation under way.
    has_consent: bool,
    /// The callback that has been set within the one that there is.
    pending: Option<Option<LockingFailed>>,
    /// Bytes that could not be locked when last tried, and the limit then. Only less than that is worth
    /// another try, or a higher limit.
    refused: usize,
    refused_limit: usize,
    /// How often that has been believed since the limit was last looked at.
    believed: u32,
    stats: PoolStats,
    /// The number of forks that the rest knows of.
    forks: u32,
    /// Whether there were arenas that have stayed with the parent process, until somebody has taken note.
    has_lost_arenas: bool,
    /// Whether there are mappings besides the arenas', by the same options.
    is_in_use: bool,
}

/// Where arenas come from.
enum Source {
    /// The operating system, through `LockedPages`; with the size of a page if not the common one.
    System { huge_page: Option<usize> },
    /// The same, one arena after the other within a range of addresses as long as that lasts.
    Range {
        range: AddressRange,
        /// Where the next arena goes, a guard page away from the last.
        next: usize,
        /// Where arenas have been given back: offsets and lengths in bytes, a guard page behind each.
        holes: Vec<(usize, usize)>,
    },
    /// A foreign allocator, which is kept beside the state.
    Foreign,
}

/// An arena and the memory that it manages.
struct PooledArena {
    arena: Arena,
    memory: Memory,
    class: Class,
}

/// In which order arenas are used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// First: over our own pages the locked arenas, over a foreign allocator all of them.
    First,
    /// When nothing more can be locked: arenas of our own that are not locked.
    Unlocked,
    /// Never: in a child process, what has stayed with the parent.
    Absent,
}

enum Memory {
    Own(LockedPages),
    /// What a foreign allocator gave: possibly no memory at all.
    Foreign {
        addr: NonNull<u8>,
        len: usize,
    },
}

// SAFETY: `addr` is a number to this crate, handed back to the allocator it came from, which is
// `Send` itself; the other members of `State` are `Send`.
unsafe impl Send for Memory {}

impl LockedPool {
    /// Size of an arena in bytes; also the largest chunk. Bitcoin Core's figure: large enough that
    /// arenas are few, small enough that little is locked in vain.
    pub const ARENA_SIZE: usize = 256 * 1024;
    /// Alignment of chunks in bytes, to which sizes are rounded up. Bitcoin Core's figure.
    pub const ARENA_ALIGN: usize = 16;

    /// A pool of its own, if there is memory for it.
    fn of(state: State, pages: Option<own::Pages>) -> Result<Self, PoolError> {
        let own = OwnPool::take(state, pages).ok_or(PoolError::Arena(ArenaError::OutOfMemory))?;
        Ok(Self { kind: Kind::Own(own) })
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
        let mut state = State::new(Source::System { huge_page }, Self::ARENA_ALIGN);
        state.arena_size = arena_size;
        state.max_size = max_size;
        state.extents = ExtentMap::new(arena_size);
        state.apply(options);
        Self::of(state, None)
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
        Self::of(State::new(Source::Foreign, Self::ARENA_ALIGN), Some(allocator))
    }

    /// Sets who decides about unlocked memory; `None` accepts it.
    pub fn set_locking_failed(&self, callback: Option<LockingFailed>) {
        match &self.kind {
            Kind::Process => process::set_locking_failed(callback),
            Kind::Own(own) => own.set_locking_failed(callback),
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
            Kind::Process => process::alloc(size, alignment),
            Kind::Own(own) => own.alloc(size, alignment),
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
            Kind::Process => unsafe { process::free_common(ptr, check) },
            Kind::Own(_) => None,
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
            Kind::Process => unsafe { process::free_uncommon(ptr, check) },
            Kind::Own(own) => own.free(ptr, check),
        }
    }

    /// What the pool holds now. Constant time; the process-wide pool holds its other threads up for the
    /// moment that it takes (about a microsecond), and takes a step for each of them.
    pub fn stats(&self) -> PoolStats {
        match &self.kind {
            Kind::Process => process::stats(),
            Kind::Own(own) => own.stats(),
        }
    }

    /// Calls `visit` with address, size in bytes and whether it is used, for every chunk that there was at one
    /// moment, arena by arena. For debugging: a list of them is made first (two words for each;
    /// where there is no memory for it, nothing is visited), so that `visit` may use the pool.
    pub fn walk(&self, mut visit: impl FnMut(usize, usize, bool)) {
        match &self.kind {
            Kind::Process => process::walk(&mut visit),
            Kind::Own(own) => own.walk(&mut visit),
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
        if let Kind::Own(own) = self.kind {
            own.vacate();
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        for entry in self.arenas.iter().flatten() {
            if let Memory::Own(pages) = &entry.memory {
                edges::open(pages.as_ptr().as_ptr(), pages.len());
            }
        }
    }
}

/// What to do with pages of a foreign allocator.
enum Verdict {
    Keep,
    Refuse,
    /// They are an arena already: the allocator gave them before.
    Known,
}

impl State {
    /// A pool without arenas. They will have chunks of a multiple of `granule` bytes.
    const fn new(source: Source, granule: usize) -> Self {
        Self {
            source,
            granule,
            arena_size: LockedPool::ARENA_SIZE,
            max_size: usize::MAX,
            fork: ForkPolicy::Keep,
            secret_memory: SecretMemory::Off,
            require_protections: false,
            arenas: Vec::new(),
            vacant: 0,
            empty: 0,
            extents: ExtentMap::new(LockedPool::ARENA_SIZE),
            room: RoomIndex::new(),
            room_unlocked: RoomIndex::new(),
            asks: false,
            question: None,
            has_consent: false,
            pending: None,
            refused: usize::MAX,
            refused_limit: 0,
            believed: 0,
            stats: PoolStats {
                used: 0,
                free: 0,
                total: 0,
                locked: 0,
                chunks_used: 0,
                chunks_free: 0,
                arenas: 0,
                peak_used: 0,
                lock_failures: 0,
                last_lock_failure: None,
                secret_memory: 0,
                secret_memory_error: None,
                missing_protections: MissingProtections::NONE,
            },
            forks: 0,
            has_lost_arenas: false,
            is_in_use: false,
        }
    }

    /// Takes over what options say of new memory.
    fn apply(&mut self, options: &PoolOptions) {
        self.fork = options.fork_policy;
        self.secret_memory = options.secret_memory;
        self.require_protections = options.require_protections;
    }

    /// The pages, if they may be used: gives up what lacks a protection that is required.
    fn accept(&mut self, pages: LockedPages) -> Option<LockedPages> {
        if self.require_protections && pages.refusals().first().is_some() {
            self.stats.missing_protections.note(pages.refusals());
            pages.discard();
            return None;
        }
        Some(pages)
    }

    fn alloc(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let failures = self.stats.lock_failures;
        self.alloc_preferred(size, alignment)
            .or_else(|| self.alloc_unlocked(size, alignment, failures))
    }

    /// Allocates from the arenas that come first, as they are.
    fn alloc_from_first(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        self.alloc_existing(size, alignment, Class::First)
    }

    /// Allocates from the arenas that come first, or a new one of that kind.
    fn alloc_preferred(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        if let Some(chunk) = self.alloc_existing(size, alignment, Class::First) {
            return Some(chunk);
        }
        let arena = self.grow_locked(self.room_for(size, alignment)?)?;
        self.alloc_in(arena, size, alignment)
    }

    /// Allocates `size` bytes aligned to more than a granule from the arenas that come first, as they are, in
    /// constant time: some places that only a search would find are not seen.
    fn alloc_aligned(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        for room in [size, size + alignment - self.granule] {
            let arena = self.room.first(room)?;
            let entry = self.arenas[arena].as_mut()?;
            let before = entry.arena.stats();
            if let Some(chunk) = entry.arena.alloc_aligned(size, alignment) {
                self.account(arena, before);
                return Some(chunk);
            }
        }
        None
    }

    /// Allocates from a new arena of locked memory.
    fn alloc_in_new(&mut self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let arena = self.grow_locked(self.room_for(size, alignment)?)?;
        self.alloc_in(arena, size, alignment)
    }

    /// Divides a used chunk, see [`Arena::divide`].
    fn divide(
        &mut self,
        ptr: *mut u8,
        size: usize,
        offsets: impl Iterator<Item = usize>,
    ) -> Result<(), FreeError> {
        let arena = self.extents.find(ptr.addr()).ok_or(FreeError::NotInPool)?;
        let Some(entry) = &mut self.arenas[arena] else { return Err(FreeError::NotInPool) };
        let before = entry.arena.stats();
        entry.arena.divide(ptr, size, offsets)?;
        self.account(arena, before);
        Ok(())
    }

    /// Size in bytes of the used chunk that begins at an address; `None` where that is not known.
    fn chunk_size(&self, ptr: *const u8) -> Option<usize> {
        let entry = self.arenas[self.extents.find(ptr.addr())?].as_ref()?;
        if entry.class == Class::Absent { None } else { entry.arena.chunk_size(ptr) }
    }

    /// Allocates from memory that is not locked, when `alloc_preferred` has failed. `failures` is
    /// what was counted before it.
    fn alloc_unlocked(
        &mut self,
        size: usize,
        alignment: usize,
        failures: usize,
    ) -> Option<NonNull<u8>> {
        self.room_for(size, alignment)?;
        if let Some(chunk) = self.alloc_existing(size, alignment, Class::Unlocked) {
            return Some(chunk);
        }
        let counted = self.stats.lock_failures != failures;
        let arena = self.grow_unlocked(counted)?;
        self.alloc_in(arena, size, alignment)
    }

    /// How large a new arena must be to have room for a chunk: it begins on a page, and above that
    /// alignment a chunk needs slack. `None` when no arena is large enough.
    fn room_for(&self, size: usize, alignment: usize) -> Option<usize> {
        let slack = if alignment <= pages::page_size() { 0 } else { alignment };
        size.checked_add(slack).filter(|&need| need <= self.arena_size)
    }

    /// Allocates from the first arena of the class that has room.
    #[inline]
    fn alloc_existing(
        &mut self,
        size: usize,
        alignment: usize,
        class: Class,
    ) -> Option<NonNull<u8>> {
        if alignment <= self.granule {
            let arena = self.room(class).first(size)?;
            return self.alloc_in(arena, size, alignment);
        }
        // Over-aligned chunks are rare enough to ask every arena.
        for arena in 0..self.arenas.len() {
            if self.arenas[arena].as_ref().is_some_and(|entry| entry.class == class) {
                if let Some(chunk) = self.alloc_in(arena, size, alignment) {
                    return Some(chunk);
                }
            }
        }
        None
    }

    #[inline]
    fn alloc_in(&mut self, arena: usize, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let entry = self.arenas[arena].as_mut()?;
        let before = entry.arena.stats();
        let chunk = entry.arena.alloc(size, alignment)?;
        self.account(arena, before);
        self.stats.peak_used = self.stats.peak_used.max(self.stats.used);
        Some(chunk)
    }

    /// Frees and wipes a chunk; its size in bytes, or why not.
    fn free(&mut self, ptr: *mut u8, check: Option<(usize, usize)>) -> Result<usize, FreeError> {
        let (size, own) = self.release(ptr, check)?;
        if own {
            edges::open(ptr, size);
            // SAFETY: a used chunk of `size` bytes began at `ptr`, in pages that this pool owns;
            // by the contract of `free` nobody uses it any more, and under the pool's lock nobody
            // can have been given it anew.
            unsafe { memory_cleanse(ptr, size) };
            edges::close(ptr, size);
        }
        Ok(size)
    }

    /// Frees a chunk as it is: its size in bytes, and whether it lies in memory of our own.
    fn release(
        &mut self,
        ptr: *mut u8,
        check: Option<(usize, usize)>,
    ) -> Result<(usize, bool), FreeError> {
        let arena = self.extents.find(ptr.addr()).ok_or(FreeError::NotInPool)?;
        let Some(entry) = &mut self.arenas[arena] else { return Err(FreeError::NotInPool) };
        if entry.class == Class::Absent {
            // What it was is not known here, and nothing is there.
            return Ok((0, false));
        }
        let before = entry.arena.stats();
        match check {
            None => entry.arena.free_unsized(ptr).map(drop)?,
            Some((size, alignment)) => entry.arena.free(ptr, size, alignment)?,
        }
        let size = before.used - entry.arena.stats().used;
        let own = matches!(entry.memory, Memory::Own(_));
        self.account(arena, before);
        Ok((size, own))
    }

    fn walk(&self, visit: &mut dyn FnMut(usize, usize, bool)) {
        for entry in self.arenas.iter().flatten().filter(|entry| entry.class != Class::Absent) {
            entry.arena.walk(&mut *visit);
        }
    }

    /// Brings the pool's figures up to date with a change of one arena.
    #[inline]
    fn account(&mut self, arena: usize, before: ArenaStats) {
        let Some(PooledArena { arena: changed, memory, class }) = &self.arenas[arena] else {
            return;
        };
        let after = changed.stats();
        if matches!(memory, Memory::Own(_)) {
            let empty = |stats: ArenaStats| if stats.used == 0 { stats.total } else { 0 };
            self.empty = self.empty - empty(before) + empty(after);
        }
        let stats = &mut self.stats;
        stats.used = stats.used - before.used + after.used;
        stats.free = stats.free - before.free + after.free;
        stats.chunks_used = stats.chunks_used - before.chunks_used + after.chunks_used;
        stats.chunks_free = stats.chunks_free - before.chunks_free + after.chunks_free;
        let (largest, class) = (changed.largest_free(), *class);
        self.room_mut(class).set(arena, largest);
    }

    /// A new arena of locked memory, smaller than usual if it must be, but of at least `need` bytes.
    fn grow_locked(&mut self, need: usize) -> Option<usize> {
        let need = need.next_multiple_of(self.page_size());
        let limit = pages::lock_limit();
        // (Where there is unlocked memory, asking for that tells whether memory can be locked again.)
        if need >= self.refused && limit <= self.refused_limit && self.may_grow_unlocked() {
            return None;
        }
        self.try_grow_locked(need, limit)
    }

    /// Whether a new arena for a chunk has been refused under the limit that was in force then. Looks whether
    /// there is another limit now and then, as that takes a system call.
    fn is_refused(&mut self, size: usize) -> bool {
        if size.next_multiple_of(self.page_size()) < self.refused || !self.may_grow_unlocked() {
            return false;
        }
        self.believed += 1;
        if self.believed < BELIEVED {
            return true;
        }
        self.believed = 0;
        pages::lock_limit() <= self.refused_limit
    }

    /// See [`grow_locked`](Self::grow_locked).
    fn try_grow_locked(&mut self, need: usize, limit: usize) -> Option<usize> {
        let page = self.page_size();
        let mut size = self.arena_size.min(round_down(self.max_size - self.stats.total, page));
        if self.stats.arenas == 0 && limit >= page {
            // The first arena is to be locked for certain, as far as the limit tells.
            size = size.min(round_down(limit, page));
        }
        let mut refusal = None;
        if matches!(self.source, Source::Range { .. }) {
            // In step with what there is, so that even a very large pool takes few mappings.
            let share = round_down(self.stats.total / ARENAS_OF_A_POOL, LockedPool::ARENA_SIZE);
            size = size.max(share.min(LARGEST_RANGE_ARENA));
        }
        while size >= need {
            match self.map(size, true)? {
                Ok(pages) => {
                    if let Some(error) = refusal {
                        self.count_lock_failure(error);
                    }
                    return self.add_own(pages);
                }
                Err(error) => refusal = refusal.or(Some(error)),
            }
            // What the limit should still allow, or else half.
            let left = round_down(limit.saturating_sub(self.stats.locked), page);
            size = if (need..size).contains(&left) { left } else { round_down(size / 2, page) };
        }
        let refusal = refusal?;
        self.refused = need;
        self.refused_limit = limit;
        self.count_lock_failure(refusal);
        None
    }

    /// New pages for an arena; with `must_lock`, none that cannot be locked (the inner error).
    fn map(&mut self, len: usize, must_lock: bool) -> Option<Result<LockedPages, LockError>> {
        match self.map_any(len, must_lock)? {
            Ok(pages) => self.accept(pages).map(Ok),
            refused => Some(refused),
        }
    }

    /// The same, whatever protections they have.
    fn map_any(&mut self, len: usize, must_lock: bool) -> Option<Result<LockedPages, LockError>> {
        let Source::Range { range, next, holes } = &self.source else {
            return self.map_elsewhere(len, must_lock);
        };
        // Whole, or with a rest that has room behind a guard page.
        let fits = |room: usize| room == len || room > len + pages::page_size();
        let hole = holes.iter().find(|(_, room)| fits(*room));
        if hole.is_none() && *next + len + pages::page_size() > range.len() {
            return self.map_elsewhere(len, must_lock);
        }
        let (offset, is_hole) = hole.map_or((*next, false), |&(offset, _)| (offset, true));
        let fork = self.fork;
        if self.secret_memory != SecretMemory::Off {
            // SAFETY: within the range, and no arena lies there: a hole, or behind the last arena. `add`
            // takes note when the pages are kept.
            let placed = unsafe { range.place_secret(offset, len, fork) };
            if let Some(answer) = answer_of(placed, must_lock, &mut self.stats.secret_memory_error)
            {
                return Some(answer);
            }
            if self.secret_memory == SecretMemory::Require {
                return None;
            }
        }
        // SAFETY: within the range, and no arena lies there: a hole, or behind the last arena.
        match unsafe { range.place(offset, len, fork, must_lock) } {
            Ok(answer) => Some(answer),
            // A child may lack the addresses that its parent has given back.
            Err(_) if is_hole => self.map_elsewhere(len, must_lock),
            Err(_) => None,
        }
    }

    /// The same, wherever the system puts them.
    fn map_elsewhere(
        &mut self,
        len: usize,
        must_lock: bool,
    ) -> Option<Result<LockedPages, LockError>> {
        let options = PageOptions { page_size: self.page_size(), fork: self.fork };
        map_anywhere(
            len,
            options,
            self.secret_memory,
            must_lock,
            &mut self.stats.secret_memory_error,
        )
    }

    /// Size of a page of this pool in bytes.
    fn page_size(&self) -> usize {
        match self.source {
            Source::System { huge_page: Some(size) } => size,
            _ => pages::page_size(),
        }
    }

    /// Whether the pool may have a whole arena more, and of unlocked memory.
    fn may_grow_unlocked(&self) -> bool {
        self.max_size - self.stats.total >= self.arena_size
            && self.secret_memory != SecretMemory::Require
    }

    /// Runs `alloc`, for which unlocked memory is agreed to.
    fn alloc_with_consent(
        &mut self,
        alloc: impl FnOnce(&mut Self) -> Option<NonNull<u8>>,
    ) -> Option<NonNull<u8>> {
        self.has_consent = true;
        let chunk = alloc(self);
        self.has_consent = false;
        chunk
    }

    /// A new arena, locked or not, when smaller ones have been refused already. Where a callback decides about
    /// that, and has not agreed yet, a [`question`](Self::question) is left.
    fn grow_unlocked(&mut self, counted: bool) -> Option<usize> {
        if !self.may_grow_unlocked() {
            return None;
        }
        let pages = self.map(self.arena_size, false)?.ok()?;
        match pages.lock_state() {
            // The limit has been raised, or memory unlocked elsewhere in the process.
            Ok(()) => self.refused = usize::MAX,
            Err(_) if self.has_consent => {}
            Err(error) => {
                if !counted {
                    self.count_lock_failure(error);
                }
                if self.asks {
                    self.question = Some(error);
                    pages.discard();
                    return None;
                }
            }
        }
        self.add_own(pages)
    }

    /// How many bytes to ask a foreign allocator for, as Bitcoin Core asks: the first arena is capped by the
    /// limit (rounded down here to what can be locked under it), no other is.
    fn foreign_arena_size(limit: Option<usize>) -> usize {
        let size = LockedPool::ARENA_SIZE;
        let Some(limit) = limit else { return size };
        let page = pages::page_size();
        let unit = if limit < page { LockedPool::ARENA_ALIGN } else { page };
        if limit >= unit { size.min(round_down(limit, unit)) } else { size }
    }

    /// What to do with `len` bytes that a foreign allocator has given.
    fn judge_foreign(&self, addr: NonNull<u8>, len: usize) -> Verdict {
        // Pages beyond the end of the address space are none.
        if addr.addr().get().checked_add(len).is_none() {
            return Verdict::Refuse;
        }
        // To free what it gave before would take it from the arena that has it.
        match self.extents.overlaps(addr.addr().get(), len) {
            true => Verdict::Known,
            false => Verdict::Keep,
        }
    }

    /// Makes an arena of what a foreign allocator has given; `None` when there is no memory for that.
    fn add_foreign(&mut self, addr: NonNull<u8>, len: usize, locked: bool) -> Option<usize> {
        self.add(Memory::Foreign { addr, len }, locked)
    }

    /// Gives all pages back to the foreign allocator that they came from. The last thing that happens to a
    /// pool over it.
    fn free_foreign(&mut self, allocator: &mut dyn LockedPageAllocator) {
        for entry in self.arenas.drain(..).flatten() {
            if let Memory::Foreign { addr, len } = entry.memory {
                // SAFETY: `addr` came from `allocate_locked(len)` of this allocator and is handed
                // back once, here. The pool's chunks end with the pool.
                unsafe { allocator.free_locked(addr, len) };
            }
        }
    }

    fn add_own(&mut self, pages: LockedPages) -> Option<usize> {
        let locked = pages.lock_state().is_ok();
        self.add(Memory::Own(pages), locked)
    }

    /// Makes an arena over `memory`. `None`, and `memory` dropped, when there is no memory for the
    /// bookkeeping.
    fn add(&mut self, memory: Memory, locked: bool) -> Option<usize> {
        let (addr, len, class) = match &memory {
            Memory::Own(pages) if locked => (pages.as_ptr(), pages.len(), Class::First),
            Memory::Own(pages) => (pages.as_ptr(), pages.len(), Class::Unlocked),
            Memory::Foreign { addr, len } => (*addr, *len, Class::First),
        };
        let vacant =
            if self.vacant > 0 { self.arenas.iter().position(Option::is_none) } else { None };
        let number = vacant.unwrap_or(self.arenas.len());
        let start = addr.addr().get();
        let arena = Arena::new(addr.as_ptr(), len, self.granule).ok()?;
        arena.bookkeeping().into_iter().for_each(pages::keep_unlocked);
        self.arenas.try_reserve(1).ok()?;
        if let Source::Range { holes, .. } = &mut self.source {
            // For when all arenas are given back.
            holes.try_reserve((self.arenas.len() + 1).saturating_sub(holes.len())).ok()?;
        }
        self.room_mut(class).reserve(number + 1).ok()?;
        self.extents.reserve(start, len).ok()?;
        // Nothing fails from here on.
        if let Source::Range { range, next, holes } = &mut self.source {
            let (offset, step) =
                (start.wrapping_sub(range.addr().addr().get()), len + pages::page_size());
            if offset == *next {
                *next += step;
            } else if let Some(at) = holes.iter().position(|hole| hole.0 == offset) {
                // What is left of the hole, behind a guard page.
                let room = holes[at].1;
                if room > step {
                    holes[at] = (offset + step, room - step);
                } else {
                    holes.swap_remove(at);
                }
            }
        }
        self.extents.insert(start, len, number);
        let ArenaStats { total, free, chunks_free, .. } = arena.stats();
        let largest = arena.largest_free();
        if let Memory::Own(pages) = &memory {
            edges::close(pages.as_ptr().as_ptr(), pages.len());
        }
        let own = matches!(memory, Memory::Own(_));
        self.empty += if own { total } else { 0 };
        let secret = matches!(&memory, Memory::Own(pages) if pages.is_secret_memory());
        self.stats.secret_memory += if secret { total } else { 0 };
        let entry = Some(PooledArena { arena, memory, class });
        match vacant {
            Some(number) => {
                self.arenas[number] = entry;
                self.vacant -= 1;
            }
            None => self.arenas.push(entry),
        }
        self.room_mut(class).set(number, largest);
        self.stats.total += total;
        self.stats.free += free;
        self.stats.chunks_free += chunks_free;
        self.stats.arenas += 1;
        if locked {
            self.stats.locked += total;
        }
        if let Some(PooledArena { memory: Memory::Own(pages), .. }) = &self.arenas[number] {
            let missing = &mut self.stats.missing_protections;
            missing.count(pages.refusals(), total, usize::wrapping_add);
        }
        Some(number)
    }

    /// Gives empty arenas of our own back to the system, as long as `excess` bytes or some of them are too
    /// much; whether there were any.
    fn give_back(&mut self, mut excess: usize) -> bool {
        let mut any = false;
        // The newest first: chunks come from the oldest.
        let mut numbers = (0..self.arenas.len()).rev();
        while excess > 0 && self.empty > 0 {
            let Some(number) = numbers.next() else { break };
            let Some(PooledArena { arena, memory: Memory::Own(pages), class }) =
                &self.arenas[number]
            else {
                continue;
            };
            let ArenaStats { used, free, total, chunks_free, .. } = arena.stats();
            if used > 0 || *class == Class::Absent {
                continue;
            }
            let (start, len, class) = (pages.as_ptr().addr().get(), pages.len(), *class);
            let (secret, locked) = (pages.is_secret_memory(), pages.lock_state().is_ok());
            let missing = &mut self.stats.missing_protections;
            missing.count(pages.refusals(), total, usize::wrapping_sub);
            edges::open(pages.as_ptr().as_ptr(), len);
            self.room_mut(class).set(number, 0);
            self.extents.remove(start, len);
            // Its chunks have been wiped one by one.
            if let Some(PooledArena { memory: Memory::Own(pages), .. }) = self.arenas[number].take()
            {
                pages.discard();
            }
            self.vacant += 1;
            self.empty -= total;
            self.stats.total -= total;
            self.stats.free -= free;
            self.stats.chunks_free -= chunks_free;
            self.stats.arenas -= 1;
            self.stats.locked -= if locked { total } else { 0 };
            self.stats.secret_memory -= if secret { total } else { 0 };
            // As much may be locked again.
            self.refused = self.refused.saturating_add(if locked { total } else { 0 });
            self.add_hole(start, len);
            excess = excess.saturating_sub(total);
            any = true;
        }
        any
    }

    /// Notes where in a range there is room for an arena again.
    fn add_hole(&mut self, start: usize, mut len: usize) {
        let Source::Range { range, next, holes } = &mut self.source else { return };
        let page = pages::page_size();
        let mut offset = start.wrapping_sub(range.addr().addr().get());
        if offset >= range.len() {
            return;
        }
        // One with its neighbours, and the guard pages between them.
        while let Some(at) = holes.iter().position(|&(other, room)| {
            other + room + page == offset || offset + len + page == other
        }) {
            let (other, room) = holes.swap_remove(at);
            (offset, len) = (offset.min(other), len + page + room);
        }
        if offset + len + page == *next {
            *next = offset;
        } else {
            holes.push((offset, len));
        }
    }

    /// Gives back what is free beyond twice what is used, and a MiB.
    fn give_back_excess(&mut self) {
        // An arena at least, or a pool of large ones would make one anew for each chunk.
        let spare = KEPT_FREE.max(self.arena_size);
        let keep = self.stats.used.saturating_mul(2).saturating_add(spare);
        if self.empty > 0 && self.stats.free > keep {
            self.give_back(self.stats.free - keep);
        }
    }

    fn count_lock_failure(&mut self, error: LockError) {
        self.stats.lock_failures += 1;
        self.stats.last_lock_failure = Some(error);
    }

    fn room(&self, class: Class) -> &RoomIndex {
        match class {
            Class::First => &self.room,
            Class::Unlocked | Class::Absent => &self.room_unlocked,
        }
    }

    fn room_mut(&mut self, class: Class) -> &mut RoomIndex {
        match class {
            Class::First => &mut self.room,
            Class::Unlocked | Class::Absent => &mut self.room_unlocked,
        }
    }

    /// Brings the figures up to date with what has become of the memory, if this is a child process that
    /// has not been here yet.
    fn catch_up(&mut self) {
        let forks = crate::fork::generation();
        if self.forks != forks {
            self.forks = forks;
            if !self.arenas.is_empty() {
                self.look_at_memory();
            }
        }
    }

    #[cold]
    fn look_at_memory(&mut self) {
        self.stats.locked = 0;
        let mut refusal = None;
        for number in 0..self.arenas.len() {
            let Some(PooledArena { memory, class, .. }) = &self.arenas[number] else { continue };
            match memory {
                Memory::Own(pages) if pages.is_absent() => self.lose(number),
                Memory::Own(pages) => match pages.lock_state() {
                    Ok(()) => self.stats.locked += pages.len(),
                    Err(error) if *class == Class::First => refusal = Some(error),
                    Err(_) => {}
                },
                Memory::Foreign { addr, len } => {
                    self.stats.locked += if pages::is_locked(*addr) { *len } else { 0 };
                }
            }
        }
        if let Some(error) = refusal {
            self.count_lock_failure(error);
        }
    }

    /// Takes an arena whose memory has stayed with the parent process out of all figures. It stays known
    /// by its addresses.
    fn lose(&mut self, number: usize) {
        let Some(PooledArena { arena, memory, class }) = &mut self.arenas[number] else { return };
        if *class == Class::Absent {
            return;
        }
        let ArenaStats { used, free, total, chunks_used, chunks_free } = arena.stats();
        let secret = matches!(memory, Memory::Own(pages) if pages.is_secret_memory());
        if let Memory::Own(pages) = memory {
            let missing = &mut self.stats.missing_protections;
            missing.count(pages.refusals(), total, usize::wrapping_sub);
        }
        self.empty -= if used == 0 { total } else { 0 };
        let class = core::mem::replace(class, Class::Absent);
        self.room_mut(class).set(number, 0);
        let stats = &mut self.stats;
        stats.used -= used;
        stats.free -= free;
        stats.total -= total;
        stats.chunks_used -= chunks_used;
        stats.chunks_free -= chunks_free;
        stats.arenas -= 1;
        stats.secret_memory -= if secret { total } else { 0 };
        stats.peak_used = stats.used;
        self.has_lost_arenas = true;
    }
}

/// Asks whether unlocked memory may be used: `false` also where the callback must not be called, because the
/// calling thread is in it already, or a thread of this child's parent was. Nothing may be held. `pending` has
/// the callback that was set within the one that there is.
fn ask(
    callback: &Callee<Option<LockingFailed>>,
    error: &LockError,
    pending: impl FnOnce() -> Option<Option<LockingFailed>>,
) -> bool {
    let Ok(mut place) = callback.enter() else { return false };
    let agreed = place.as_mut().is_none_or(|callback| callback(error));
    let old = pending().map(|new| core::mem::replace(&mut *place, new));
    drop(place);
    drop(old);
    agreed
}

/// Sets a callback, and drops the old one. Returns it when the calling thread is in the old one.
fn set_callee(
    callback: &Callee<Option<LockingFailed>>,
    new: Option<LockingFailed>,
) -> Option<Option<LockingFailed>> {
    match callback.enter() {
        Ok(mut place) => {
            let old = core::mem::replace(&mut *place, new);
            drop(place);
            drop(old);
            None
        }
        Err(NotCallable::Within) => Some(new),
        Err(NotCallable::Lost) => {
            callback.replace_lost(new);
            None
        }
    }
}

/// What a signal handler is told that has interrupted this library and wants what cannot be had then.
#[cold]
#[track_caller]
fn refuse_interrupted() -> ! {
    panic!("LockedPool: a signal handler uses a pool that the same thread is at work on")
}

/// Every chunk at one moment, to be visited later: on the ordinary heap, or in a mapping where that has no memory
/// left.
struct ChunkList {
    mapped: &'static [ListedChunk],
    on_heap: Vec<ListedChunk>,
    len: usize,
}

/// Address; twice the size in bytes, and 1 if it is used.
#[derive(bytemuck::Zeroable)]
struct ListedChunk(AtomicUsize, AtomicUsize);

impl ChunkList {
    /// Has room for the chunks of a pool, or for none.
    fn with_room_for(stats: &PoolStats) -> Self {
        let chunks = stats.chunks_used + stats.chunks_free;
        let mut on_heap = Vec::new();
        if on_heap.try_reserve_exact(chunks).is_ok() {
            on_heap.resize_with(chunks, || ListedChunk(AtomicUsize::new(0), AtomicUsize::new(0)));
            return Self { mapped: &[], on_heap, len: 0 };
        }
        let mapped = pages::zeroed_table(chunks).unwrap_or_default();
        Self { mapped, on_heap, len: 0 }
    }

    fn entries(&self) -> &[ListedChunk] {
        if self.mapped.is_empty() { &self.on_heap } else { self.mapped }
    }

    fn push(&mut self, addr: usize, size: usize, used: bool) {
        if let Some(ListedChunk(at, what)) = self.entries().get(self.len) {
            at.store(addr, Relaxed);
            what.store(2 * size + usize::from(used), Relaxed);
            self.len += 1;
        }
    }

    fn visit(&self, visit: &mut dyn FnMut(usize, usize, bool)) {
        for ListedChunk(addr, what) in &self.entries()[..self.len] {
            let what = what.load(Relaxed);
            visit(addr.load(Relaxed), what / 2, what % 2 != 0);
        }
    }
}

impl Drop for ChunkList {
    fn drop(&mut self) {
        if !self.mapped.is_empty() {
            // SAFETY: made by `zeroed_table`; the list ends here, and nobody else knows it.
            unsafe { pages::release_table(self.mapped) };
        }
    }
}

/// New pages wherever the system puts them; with `must_lock`, none that cannot be locked (the inner error).
fn map_anywhere(
    len: usize,
    options: PageOptions,
    secret_memory: SecretMemory,
    must_lock: bool,
    secret_memory_error: &mut Option<i32>,
) -> Option<Result<LockedPages, LockError>> {
    if secret_memory != SecretMemory::Off {
        let made = LockedPages::secret(len, options.fork);
        if let Some(answer) = answer_of(made, must_lock, secret_memory_error) {
            return Some(answer);
        }
        if secret_memory == SecretMemory::Require {
            return None;
        }
    }
    if must_lock {
        LockedPages::locked_with(len, options).ok()
    } else {
        Some(Ok(LockedPages::with(len, options).ok()?))
    }
}

/// What comes of an attempt to have secret memory, with `must_lock` because the limit is in the way (the
/// inner error); `None` to try ordinary memory, which has been noted.
fn answer_of(
    attempt: Result<Result<LockedPages, LockError>, MapError>,
    must_lock: bool,
    errno: &mut Option<i32>,
) -> Option<Result<LockedPages, LockError>> {
    match attempt {
        Ok(Ok(pages)) => Some(Ok(pages)),
        Ok(Err(error)) => must_lock.then_some(Err(error)),
        Err(error) => {
            *errno = Some(error.errno());
            None
        }
    }
}

/// A value for the life of the process; `None` when there is no memory for it.
fn leak<T: 'static>(value: T) -> Option<&'static T> {
    let mut place = Vec::new();
    place.try_reserve_exact(1).ok()?;
    place.push(value);
    place.leak().first()
}

/// The size to allocate for a chunk of `size` bytes, so that a closed granule follows it, if there is room.
#[inline(always)]
fn with_edge(size: usize) -> usize {
    match size {
        1.. if edges::are_seen() && size <= LockedPool::ARENA_SIZE - LockedPool::ARENA_ALIGN => {
            size + LockedPool::ARENA_ALIGN
        }
        _ => size,
    }
}

/// Arenas in a range grow with the pool, each to this part of it, up to a size in bytes: so the mappings of
/// a pool grow with the logarithm of its size, and little of it is locked ahead of its use.
const ARENAS_OF_A_POOL: usize = 256;
const LARGEST_RANGE_ARENA: usize = 16 << 20;

/// How often a refusal to lock is believed before the limit is looked at again.
const BELIEVED: u32 = 16;

/// Bytes that stay free in a pool, besides twice what is used, before empty arenas are given back.
const KEPT_FREE: usize = 1 << 20;

/// `x` rounded down to a multiple of `unit`.
fn round_down(x: usize, unit: usize) -> usize {
    x - x % unit
}
