//! `LockedPoolManager`: several pools behind one interface, and the pool that all secrets of a
//! process share.

use super::error::ConfigureError;
use super::locked_pool::{Kind, LockedPool};
use super::options::PoolOptions;
use super::private::Chain;
use crate::arena::FreeError;
use crate::arena_set::{LockingFailed, PoolStats};
use crate::pages::{ForkPolicy, LockedPages, MapError, closed_secret_at};
use crate::thread_heap::{self, AddressReport};
use core::fmt;
use core::mem::{self, ManuallyDrop};
use core::num::NonZeroU32;
use core::ptr::NonNull;

/// Several [`LockedPool`]s used as one. An allocation is served by the first pool, in the order in
/// which they were added, that has room or can get it.
///
/// [`instance`](Self::instance) is the process-wide one, shared by all Rust, C and C++ code that is
/// linked to this library. Its first pool needs no initialization, so that it can be used before
/// `main`, and is never destroyed: objects with static storage and thread-local ones may free into
/// it however late. When the process exits, what the pool still holds is wiped in the very end, if
/// no other thread can be using it: see [`ExitPolicy`](crate::ExitPolicy). After a fork, the
/// child's copy of it is locked again, unless [`configure`](Self::configure) has been told
/// otherwise.
///
/// ```
/// use bitcoin_support::{LockedPool, LockedPoolManager, page_size};
///
/// let manager = LockedPoolManager::new();
/// assert!(manager.alloc(32, 16).is_none()); // there are no pools yet
/// manager.add_pool(LockedPool::new(page_size(), page_size(), page_size())?);
/// assert!(manager.alloc(32, 16).is_some());
/// # Ok::<(), bitcoin_support::PoolError>(())
/// ```
pub struct LockedPoolManager {
    /// The process-wide pool, in the instance.
    process: Option<&'static LockedPool>,
    /// The pools that were added.
    added: Chain,
}

static PROCESS_WIDE: LockedPool = LockedPool { kind: Kind::Process, can_hold_values: true };
static INSTANCE: LockedPoolManager =
    LockedPoolManager { process: Some(&PROCESS_WIDE), added: Chain::new() };

impl LockedPoolManager {
    /// A manager without pools.
    pub const fn new() -> Self {
        Self { process: None, added: Chain::new() }
    }

    /// The process-wide manager. Costs nothing.
    #[inline(always)]
    pub fn instance() -> &'static Self {
        &INSTANCE
    }

    /// Adds a pool, to be used when those before it have no room and cannot get any. It stays until
    /// the manager is dropped.
    ///
    /// It serves [`alloc`](Self::alloc) of this manager only. The secret types take nothing from
    /// added pools, whose memory may be a foreign page allocator's.
    ///
    /// It takes no memory and waits for no thread, so that it can be called anywhere: in a child
    /// process whatever its parent's other threads were doing, and in the callback of a pool.
    pub fn add_pool(&self, pool: LockedPool) {
        let Kind::Private(private) = pool.kind else {
            unreachable!("no program owns the process-wide pool")
        };
        mem::forget(pool);
        self.added.push(private);
    }

    /// The pools that were added, in that order.
    #[inline]
    fn added(&self) -> impl Iterator<Item = ManuallyDrop<LockedPool>> {
        self.added.iter().map(|pool| ManuallyDrop::new(LockedPool::added(pool)))
    }

    /// Allocates `size` bytes aligned to `alignment` bytes, as [`LockedPool::alloc`] does.
    #[inline(always)]
    pub fn alloc(&self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        if let Some(pool) = self.process {
            if let Some(chunk) = pool.alloc(size, alignment) {
                return Some(chunk);
            }
        }
        self.alloc_added(size, alignment)
    }

    #[inline(never)]
    fn alloc_added(&self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        self.added().find_map(|pool| pool.alloc(size, alignment))
    }

    /// Frees the chunk that begins at `ptr`, whichever pool it came from, as [`LockedPool::free`]
    /// does.
    ///
    /// # Errors
    /// See [`FreeError`]; nothing changes then, unless it is [`FreeError::Overrun`].
    ///
    /// # Safety
    /// If `ptr` is a used chunk of one of the pools, nothing uses that chunk any more.
    #[inline(always)]
    pub unsafe fn free(&self, ptr: *mut u8) -> Result<(), FreeError> {
        if let Some(pool) = self.process {
            // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there
            // is one.
            let freed = unsafe { pool.free(ptr) };
            if freed != Err(FreeError::NotInPool) {
                return freed;
            }
        }
        // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is
        // one.
        self.in_added(|pool| unsafe { pool.free(ptr) })
    }

    /// [`free`](Self::free) that also checks the size in bytes and the alignment.
    ///
    /// # Errors
    /// See [`FreeError`]; nothing changes then, unless it is [`FreeError::Overrun`].
    ///
    /// # Safety
    /// If `ptr` is a used chunk of one of the pools, nothing uses that chunk any more.
    pub unsafe fn free_sized(
        &self,
        ptr: *mut u8,
        size: usize,
        alignment: usize,
    ) -> Result<(), FreeError> {
        if let Some(pool) = self.process {
            // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there
            // is one.
            let freed = unsafe { pool.free_sized(ptr, size, alignment) };
            if freed != Err(FreeError::NotInPool) {
                return freed;
            }
        }
        // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is
        // one.
        self.in_added(|pool| unsafe { pool.free_sized(ptr, size, alignment) })
    }

    /// Calls `free` with each added pool, up to the one that the address lies in, and returns its
    /// answer.
    #[inline(never)]
    fn in_added(
        &self,
        free: impl Fn(&LockedPool) -> Result<(), FreeError>,
    ) -> Result<(), FreeError> {
        let mut answers = self.added().map(|pool| free(&pool));
        answers
            .find(|freed| *freed != Err(FreeError::NotInPool))
            .unwrap_or(Err(FreeError::NotInPool))
    }

    /// What all pools hold together: the sum of their figures, and the last lock failure of the
    /// last pool that had one. (So `peak_used` is at least what was ever used at once.)
    pub fn stats(&self) -> PoolStats {
        let process = self.process.iter().map(|pool| pool.stats());
        let pools = process.chain(self.added().map(|pool| pool.stats()));
        pools.fold(PoolStats::default(), |sum, stats| PoolStats {
            used: sum.used + stats.used,
            free: sum.free + stats.free,
            total: sum.total + stats.total,
            locked: sum.locked + stats.locked,
            chunks_used: sum.chunks_used + stats.chunks_used,
            chunks_free: sum.chunks_free + stats.chunks_free,
            arenas: sum.arenas + stats.arenas,
            peak_used: sum.peak_used + stats.peak_used,
            lock_failures: sum.lock_failures + stats.lock_failures,
            last_lock_failure: stats.last_lock_failure.or(sum.last_lock_failure),
            secret_memory: sum.secret_memory + stats.secret_memory,
            secret_memory_error: stats.secret_memory_error.or(sum.secret_memory_error),
            missing_protections: sum.missing_protections.plus(&stats.missing_protections),
        })
    }

    /// Chooses options for the process-wide pool, and for the mappings of secrets that are too
    /// large for it, before anything is allocated from it: at the beginning of `main`, or in a
    /// static initializer. (Other static initializers may run before, in the order of linking, and
    /// allocate.) The last of several calls counts.
    ///
    /// Fork policies other than [`ForkPolicy::Keep`], and with them secret memory, are for
    /// [`configure_unchecked`](Self::configure_unchecked).
    ///
    /// # Errors
    /// When the pool is in use already, this is not [`instance`](Self::instance), or the options
    /// cannot be: see [`ConfigureError`]. Everything is as before then.
    pub fn configure(&self, options: &PoolOptions) -> Result<(), ConfigureError> {
        if options.fork_policy != ForkPolicy::Keep && self.process.is_some() {
            return Err(ConfigureError::ForkPolicy(options.fork_policy));
        }
        // SAFETY: with `ForkPolicy::Keep`, or in a manager that refuses all options, children find
        // what their parent had.
        unsafe { self.configure_unchecked(options) }
    }

    /// [`configure`](Self::configure), also with options that change secrets in a child process:
    /// with [`ForkPolicy::Wipe`] values of the secret types, and in containers over
    /// [`SecureAllocator`](crate::SecureAllocator), are all zeros in a child process, and with
    /// [`ForkPolicy::Absent`] they are not there.
    ///
    /// # Errors
    /// As for [`configure`](Self::configure).
    ///
    /// # Safety
    /// A child process of this one, made by whatever code, must not use values that its parent had
    /// in locked memory: with `Wipe` those to which zeros are no value, such as references and
    /// boxes in a container, and with `Absent` any. To drop a value is to use it if it has a
    /// destructor. (The types of this crate can be dropped there, with elements that have none.)
    ///
    /// ```
    /// use bitcoin_support::{ForkPolicy, LockedPoolManager, PoolOptions};
    ///
    /// let options = PoolOptions::new().fork_policy(ForkPolicy::Wipe);
    /// // SAFETY: this program keeps plain bytes in locked memory and nothing else.
    /// unsafe { LockedPoolManager::instance().configure_unchecked(&options)? };
    /// # Ok::<(), bitcoin_support::ConfigureError>(())
    /// ```
    pub unsafe fn configure_unchecked(&self, options: &PoolOptions) -> Result<(), ConfigureError> {
        if self.process.is_none() {
            return Err(ConfigureError::NotProcessWide);
        }
        options.check_for_process()?;
        options.sizes()?;
        if thread_heap::is_in_use() {
            return Err(ConfigureError::InUse);
        }
        options.prepare()?;
        if !thread_heap::configure(options.memory()) {
            return Err(ConfigureError::InUse);
        }
        Ok(())
    }

    /// Locked pages with the options of the process-wide pool, for a secret that is too large for
    /// it.
    pub(crate) fn locked_pages(len: usize) -> Option<LockedPages> {
        thread_heap::locked_pages(len)
    }

    /// Sets the callback that decides about unlocked memory in the process-wide pool, as
    /// [`LockedPool::set_locking_failed`] does. Each pool that was added has its own callback.
    pub fn set_locking_failed(&self, callback: Option<LockingFailed>) {
        if let Some(pool) = self.process {
            pool.set_locking_failed(callback);
        }
    }

    /// Looks for overruns: from now on, one in `one_in` allocations from the process-wide pool gets
    /// pages that no other chunk uses, next to a guard page. At random the chunk lies at their end,
    /// so that an access behind it faults, or at their beginning, so that an access in front of it
    /// faults. When it is freed, its pages become inaccessible, and stay so while at least a
    /// thousand others are sampled (16 of more than a page; 128 and 4 where addresses have 32
    /// bits), so that a late access faults too. A fault is a SIGSEGV at the very instruction; this
    /// library does not catch it. [`describe_address`](Self::describe_address) says what the
    /// faulting address was.
    ///
    /// As chunks are aligned, up to 15 bytes between a chunk and the guard page can be written to
    /// unnoticed. These bytes, and the rest of the pages, are checked when the chunk is freed: see
    /// [`FreeError::Overrun`].
    ///
    /// 1 samples every allocation: a mode for development and tests. Thousands are for production:
    /// chance decides which allocations are sampled, so that many hours of many processes find the
    /// bug. `None` samples no more, which is how a process begins. No environment variable switches
    /// sampling on: a user who starts a program that has more rights than the user controls its
    /// environment.
    ///
    /// At most `max_locked` bytes, and half of what the process may lock, are locked for samples at
    /// once: a page for each small chunk in use, and nothing for one that has been freed. Beyond
    /// that, an allocation is served as usual. In the statistics each sample counts as an arena
    /// while it is in use.
    ///
    /// As long as nothing is sampled, no call takes longer. Otherwise an allocation takes
    /// some 50 instructions more, and a sample about ten system calls (some 10 to 20 microseconds)
    /// and the mutex that all threads share. The pool holds the other threads up while this is
    /// called. Pools that were added are not sampled, nor is anything in a manager that is not the
    /// process-wide one.
    ///
    /// # Errors
    /// When there are no addresses for it (50 MiB of them, without memory, are set aside at the
    /// first call).
    ///
    /// ```
    /// use bitcoin_support::LockedPoolManager;
    /// use std::num::NonZeroU32;
    ///
    /// LockedPoolManager::instance().sample_one_in(NonZeroU32::new(5000), 256 * 1024)?;
    /// # Ok::<(), bitcoin_support::MapError>(())
    /// ```
    pub fn sample_one_in(
        &self,
        one_in: Option<NonZeroU32>,
        max_locked: usize,
    ) -> Result<(), MapError> {
        match &self.process {
            Some(_) => thread_heap::sample(one_in, max_locked),
            None => Ok(()),
        }
    }

    /// What an address means that lies in a [sampled](Self::sample_one_in) chunk, used or freed, or
    /// in a [closed secret](crate::ClosedBox), or in the guard pages around one of them; `None` for
    /// all other addresses. Where several chunks have lain
    /// at the address, the report is about the last one.
    ///
    /// For signal handlers that get the address of a fault: neither this nor the report's `Display`
    /// form takes a lock or allocates. The answer is right unless the chunk is being allocated or
    /// freed at the same moment.
    pub fn describe_address(address: *const u8) -> Option<AddressReport> {
        let addr = address.addr();
        let closed =
            || closed_secret_at(addr).map(|secret| AddressReport::of_closed(addr, &secret));
        thread_heap::describe_address(addr).or_else(closed)
    }

    /// Visits every chunk of every pool, as [`LockedPool::walk`] does.
    pub fn walk(&self, mut visit: impl FnMut(usize, usize, bool)) {
        if let Some(pool) = self.process {
            pool.walk(&mut visit);
        }
        self.added().for_each(|pool| pool.walk(&mut visit));
    }

    /// The process-wide pool itself, without those that were added. C and C++ code calls it the
    /// instance, and the secret types lie in it. The compiler knows its address, so that nothing is
    /// looked up.
    #[inline(always)]
    pub(crate) fn process_pool() -> &'static LockedPool {
        &PROCESS_WIDE
    }
}

impl Default for LockedPoolManager {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for LockedPoolManager {
    fn drop(&mut self) {
        while let Some(pool) = self.added.pop() {
            drop(LockedPool::added(pool));
        }
    }
}

impl fmt::Debug for LockedPoolManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = self.process.iter().map(|pool| pool.stats());
        let pools = process.chain(self.added().map(|pool| pool.stats()));
        f.debug_list().entries(pools).finish()
    }
}
