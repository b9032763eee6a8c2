//! The pools that a program makes itself: each a mutex and the arena set that it guards.
//!
//! They lie in places that are never freed. So a fork finds every mutex, and the chains of managers
//! stay whole. A pool's callback and its page allocator are code of others: they are called while
//! the mutex is free.

use crate::arena::FreeError;
use crate::arena_set::{
    ARENA_ALIGN, ArenaSet, ChunkList, LockingFailed, PoolStats, Source, Tier, Verdict, ask,
    refuse_interrupted, set_callee,
};
use crate::fork::{Callee, Interrupted, Mutex, MutexGuard, Participant};
use crate::leak::leak;
use crate::pages::{self, LockError, LockedAllocation, LockedPageAllocator};
use crate::poison;
use crate::thread_heap;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicUsize};

/// A foreign source of pages.
pub(super) type Pages = Box<dyn LockedPageAllocator + Send>;

/// A place for a pool. It lives as long as the process and is used again.
pub(super) struct PrivatePool {
    arenas: Mutex<ArenaSet>,
    locking_failed: Callee<Option<LockingFailed>>,
    /// The page allocator that arenas come from; `None` where they come from the system.
    pages: Callee<Option<Pages>>,
    /// The place that was allocated before this one.
    older: AtomicPtr<PrivatePool>,
    /// The next pool in the chain of a manager that this pool is in, or the next vacant place.
    next: AtomicPtr<PrivatePool>,
}

/// The first places, as many as most programs need. More are allocated.
static FIRST: [PrivatePool; 8] = [const { PrivatePool::new() }; 8];
/// The number of first places that have been taken, or a higher number if all have been.
static FIRST_TAKEN: AtomicUsize = AtomicUsize::new(0);
/// The place that was allocated last.
static MORE: AtomicPtr<PrivatePool> = AtomicPtr::new(ptr::null_mut());
/// The first of the vacant places.
static VACANT: Mutex<Option<&'static PrivatePool>> = Mutex::new(None);

const fn nothing() -> ArenaSet {
    ArenaSet::new(Source::System { huge_page: None }, ARENA_ALIGN)
}

impl PrivatePool {
    const fn new() -> Self {
        Self {
            arenas: Mutex::new(nothing()),
            locking_failed: Callee::new(None),
            pages: Callee::new(None),
            older: AtomicPtr::new(ptr::null_mut()),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Makes a pool of arenas and, if they come from a foreign page allocator, that. `None` when
    /// there is no memory for a place. Constant time.
    pub(super) fn take(arenas: ArenaSet, pages: Option<Pages>) -> Option<&'static Self> {
        POOLS.join_after(pages::join_forks);
        let pool = Self::take_vacant().or_else(Self::make)?;
        match pool.pages.enter() {
            Ok(mut place) => *place = pages,
            Err(_) => pool.pages.replace_lost(pages),
        }
        set_callee(&pool.locking_failed, None);
        *pool.arenas.lock().ok()? = arenas;
        Some(pool)
    }

    fn take_vacant() -> Option<&'static Self> {
        let mut vacant = VACANT.lock().ok()?;
        let pool = (*vacant)?;
        // SAFETY: null, or a place, which is never freed.
        *vacant = unsafe { pool.next.swap(ptr::null_mut(), Relaxed).as_ref() };
        Some(pool)
    }

    /// One more place. A fork finds it before any thread takes its mutex.
    fn make() -> Option<&'static Self> {
        if FIRST_TAKEN.load(Relaxed) < FIRST.len() {
            if let Some(pool) = FIRST.get(FIRST_TAKEN.fetch_add(1, Relaxed)) {
                return Some(pool);
            }
        }
        let pool = leak(Self::new())?;
        let mut newest = MORE.load(Acquire);
        loop {
            pool.older.store(newest, Relaxed);
            let place = ptr::from_ref(pool).cast_mut();
            match MORE.compare_exchange_weak(newest, place, Release, Acquire) {
                Ok(_) => return Some(pool),
                Err(newer) => newest = newer,
            }
        }
    }

    /// Ends the pool. The place is vacant then.
    pub(super) fn vacate(&'static self) {
        let mut arenas = self.lock();
        if let Source::Foreign = arenas.source {
            let mut ended = core::mem::replace(&mut *arenas, nothing());
            drop(arenas);
            // In a child process whose parent had another thread in the allocator, the pages stay
            // as they are: it is unknown how far that thread was.
            if let Ok(mut pages) = self.pages.enter() {
                if let Some(pages) = &mut *pages {
                    ended.free_foreign(&mut **pages);
                }
                *pages = None;
            }
        } else {
            let pending = arenas.consent.pending.take();
            // Under the mutex, so that no child process finds arenas that belong to no pool.
            *arenas = nothing();
            drop(arenas);
            drop(pending);
        }
        set_callee(&self.locking_failed, None);
        let Ok(mut vacant) = VACANT.lock() else { return };
        let next = vacant.map_or(ptr::null_mut(), |pool| ptr::from_ref(pool).cast_mut());
        self.next.store(next, Relaxed);
        *vacant = Some(self);
    }

    /// Takes the mutex, and brings the arenas up to date with forks.
    #[inline]
    fn try_lock(&self) -> Result<MutexGuard<'_, ArenaSet>, Interrupted> {
        let mut arenas = self.arenas.lock()?;
        arenas.catch_up();
        Ok(arenas)
    }

    /// [`try_lock`](Self::try_lock) for a call that has no way to fail.
    #[track_caller]
    fn lock(&self) -> MutexGuard<'_, ArenaSet> {
        self.try_lock().unwrap_or_else(|Interrupted| refuse_interrupted())
    }

    /// Size of an arena in bytes.
    pub(super) fn arena_size(&self) -> usize {
        self.lock().arena_size
    }

    // Not inlined: the process-wide pool is the common one.
    #[inline(never)]
    pub(super) fn alloc(&self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let mut arenas = self.try_lock().ok()?;
        if size == 0 || size > arenas.arena_size {
            return None;
        }
        let is_foreign = matches!(arenas.source, Source::Foreign);
        let mut chunk = arenas.alloc_existing(size, alignment, Tier::First);
        if chunk.is_none() {
            chunk = match arenas.source {
                Source::Foreign => {
                    drop(arenas);
                    return self.alloc_foreign(size, alignment);
                }
                _ => self.grow(arenas, size, alignment),
            };
        }
        // What a foreign allocator gives may be addresses without memory, of which AddressSanitizer
        // knows nothing.
        if let (Some(chunk), false) = (chunk, is_foreign) {
            poison::unpoison(chunk.as_ptr(), size);
        }
        chunk
    }

    /// Allocates when the locked arenas have no room. `arena_set::growth` lists the attempts in
    /// their order.
    fn grow<'a>(
        &'a self,
        mut arenas: MutexGuard<'a, ArenaSet>,
        size: usize,
        alignment: usize,
    ) -> Option<NonNull<u8>> {
        let failures = arenas.stats.failures();
        let mut chunk = arenas.alloc_locked(size, alignment);
        if chunk.is_none() && arenas.stats.failures_since(failures) > 0 {
            // The process-wide pool may have locked memory that it does not use.
            drop(arenas);
            let has_given = thread_heap::give_back();
            arenas = self.try_lock().ok()?;
            if has_given {
                if arenas.stats.failures_since(failures) == 1 {
                    // That of this allocation, for which there may be memory now.
                    arenas.stats.take_back_failures(failures);
                }
                arenas.refusal.forget();
                chunk = arenas.alloc_locked(size, alignment);
            }
        }
        let chunk = chunk.or_else(|| arenas.alloc_unlocked(size, alignment, failures));
        let Some(error) = arenas.consent.question.take().filter(|_| chunk.is_none()) else {
            return chunk;
        };
        drop(arenas);
        if !ask(&self.locking_failed, &error, || self.take_pending()) {
            return None;
        }
        let mut arenas = self.try_lock().ok()?;
        arenas.alloc_with_consent(|arenas| arenas.alloc(size, alignment))
    }

    /// Allocates from a new arena of the foreign page allocator.
    fn alloc_foreign(&self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        // One thread at a time is in the allocator. The arena that one thread gets may have room
        // for the next thread too.
        let mut pages = self.pages.enter().ok()?;
        let pages = pages.as_deref_mut()?;
        let mut arenas = self.try_lock().ok()?;
        if let Some(chunk) = arenas.alloc_existing(size, alignment, Tier::First) {
            return Some(chunk);
        }
        let is_first = arenas.stats.arenas == 0;
        drop(arenas);
        let len = ArenaSet::foreign_arena_size(is_first.then(|| pages.limit()));
        let LockedAllocation { addr, locked } = pages.allocate_locked(len)?;
        let mut arenas = self.lock();
        let mut keep = match arenas.judge_foreign(addr, len) {
            Verdict::Known => return None,
            Verdict::Keep => true,
            Verdict::Refuse => false,
        };
        if keep && !locked {
            let error = LockError { errno: 0, limit: usize::MAX };
            arenas.stats.count_lock_failure(error);
            if arenas.consent.asks {
                drop(arenas);
                keep = ask(&self.locking_failed, &error, || self.take_pending());
                arenas = self.lock();
            }
        }
        if keep {
            if let Some(arena) = arenas.add_foreign(addr, len, locked) {
                return arenas.alloc_in(arena, size, alignment);
            }
        }
        drop(arenas);
        // SAFETY: the pages came from `allocate_locked(len)` of this allocator, above, and no arena
        // has been made of them.
        unsafe { pages.free_locked(addr, len) };
        None
    }

    /// Frees and wipes the chunk that begins at `ptr`; with `check`, only if that is the size in
    /// bytes and the alignment that it was allocated with.
    ///
    /// # Safety
    /// If `ptr` is a used chunk of this pool, nothing uses that chunk any more.
    #[inline(never)]
    pub(super) unsafe fn free(
        &self,
        ptr: *mut u8,
        check: Option<(usize, usize)>,
    ) -> Result<(), FreeError> {
        let mut arenas = self.try_lock().map_err(|Interrupted| FreeError::Interrupted)?;
        // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is
        // one.
        let freed = unsafe { arenas.free(ptr, check) }.map(drop);
        arenas.give_back_excess();
        freed
    }

    #[track_caller]
    pub(super) fn stats(&self) -> PoolStats {
        self.lock().stats
    }

    /// See [`LockedPool::walk_while`](super::LockedPool::walk_while).
    #[track_caller]
    pub(super) fn walk(&self, visit: &mut dyn FnMut(usize, usize, bool) -> bool) -> bool {
        let arenas = self.lock();
        let Some(mut chunks) = ChunkList::with_room_for(&arenas.stats) else { return false };
        arenas.walk(&mut |addr, size, used| chunks.push(addr, size, used));
        drop(arenas);
        chunks.visit(visit);
        true
    }

    /// Sets the callback that decides about unlocked memory. The old one is dropped while no mutex
    /// is held.
    #[track_caller]
    pub(super) fn set_locking_failed(&self, callback: Option<LockingFailed>) {
        let mut arenas = self.lock();
        arenas.consent.asks = callback.is_some();
        drop(arenas);
        if let Some(callback) = set_callee(&self.locking_failed, callback) {
            let old = self.lock().consent.pending.replace(callback);
            drop(old);
        }
    }

    fn take_pending(&self) -> Option<Option<LockingFailed>> {
        self.try_lock().ok()?.consent.pending.take()
    }
}

/// Forks take care of the private pools. They come after the pages: in a child, memory is put in
/// order first.
static POOLS: Participant = Participant::new(prepare, child, || ());

/// For the thread that forks: waits until no other thread is at work on a pool.
fn prepare() {
    VACANT.wait_until_free();
    all().for_each(|pool| pool.arenas.wait_until_free());
}

/// In a child: frees every mutex. The figures catch up when a pool is next used.
fn child() {
    VACANT.after_fork();
    for pool in all() {
        pool.arenas.after_fork();
        pool.locking_failed.after_fork();
        pool.pages.after_fork();
    }
}

/// Every place there is.
fn all() -> impl Iterator<Item = &'static PrivatePool> {
    let mut more = MORE.load(Acquire);
    FIRST.iter().chain(core::iter::from_fn(move || {
        // SAFETY: null, or a place, which is never freed.
        let pool: &'static PrivatePool = unsafe { more.as_ref() }?;
        more = pool.older.load(Relaxed);
        Some(pool)
    }))
}

/// The pools of a manager, one after the other. A pool is in one chain at most.
///
/// No thread waits for another here, so that a child process finds a whole chain, whatever its
/// parent's other threads were doing with it. The links are in the pools' places, so that adding a
/// pool takes no memory.
pub(super) struct Chain(AtomicPtr<PrivatePool>);

impl Chain {
    pub(super) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Adds a pool, which is in no chain, at the end.
    pub(super) fn push(&self, pool: &'static PrivatePool) {
        let mut link = &self.0;
        let pool = ptr::from_ref(pool).cast_mut();
        // A link that is set stays as it is, so that the end is behind it.
        while let Err(next) = link.compare_exchange(ptr::null_mut(), pool, AcqRel, Acquire) {
            // SAFETY: not null, hence a place, which is never freed.
            link = unsafe { &(*next).next };
        }
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &'static PrivatePool> {
        let mut next = self.0.load(Acquire);
        core::iter::from_fn(move || {
            // SAFETY: null, or a place, which is never freed.
            let pool: &'static PrivatePool = unsafe { next.as_ref() }?;
            next = pool.next.load(Acquire);
            Some(pool)
        })
    }

    /// Takes the first pool out.
    pub(super) fn pop(&mut self) -> Option<&'static PrivatePool> {
        // SAFETY: null, or a place, which is never freed.
        let pool: &'static PrivatePool = unsafe { self.0.get_mut().as_ref() }?;
        *self.0.get_mut() = pool.next.swap(ptr::null_mut(), Relaxed);
        Some(pool)
    }
}
