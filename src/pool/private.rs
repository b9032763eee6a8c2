//! The pools that a program makes itself: each a mutex and the arena set that it guards.
//!
//! They lie in places that are never freed. So a fork finds every mutex, and the chains of managers stay whole. A pool's
//! callback and its page allocator are code of others: they are called while the mutex is free.

use crate::arena::FreeError;
use crate::arena_set::{
    ARENA_ALIGN, ArenaSet, ChunkList, LockingFailed, PoolStats, Source, Tier, Verdict, ask,
    refuse_interrupted, set_callee,
};
use crate::fork::{self, Callee, Interrupted, Mutex, MutexGuard, Participant};
use crate::leak::leak;
use crate::pages::{self, LockError, LockedAllocation, LockedPageAllocator};
use crate::poison;
use crate::thread_heap;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize};

/// A foreign source of pages.
pub(super) type Pages = Box<dyn LockedPageAllocator + Send>;

/// A place for a pool.
pub(super) struct PrivatePool {
    state: Mutex<ArenaSet>,
    locking_failed: Callee<Option<LockingFailed>>,
    /// Where arenas come from, if not from the system.
    pages: Callee<Option<Pages>>,
    /// The place made before this one.
    older: AtomicPtr<PrivatePool>,
    /// The next pool in the chain that this one is in, if any; or the next vacant place.
    next: AtomicPtr<PrivatePool>,
}

/// As many as most programs make; more are allocated.
static FIRST: [PrivatePool; 8] = [const { PrivatePool::new() }; 8];
/// How many of the first places have been taken; or more.
static FIRST_TAKEN: AtomicUsize = AtomicUsize::new(0);
/// The last place that was allocated.
static MORE: AtomicPtr<PrivatePool> = AtomicPtr::new(ptr::null_mut());
/// The first of the places that are no pool's.
static VACANT: Mutex<Option<&'static PrivatePool>> = Mutex::new(None);

const fn nothing() -> ArenaSet {
    ArenaSet::new(Source::System { huge_page: None }, ARENA_ALIGN)
}

impl PrivatePool {
    const fn new() -> Self {
        Self {
            state: Mutex::new(nothing()),
            locking_failed: Callee::new(None),
            pages: Callee::new(None),
            older: AtomicPtr::new(ptr::null_mut()),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// A place for a pool; `None` when there is no memory for one. Constant time.
    pub(super) fn take(state: ArenaSet, pages: Option<Pages>) -> Option<&'static Self> {
        participate();
        let own = Self::take_vacant().or_else(Self::make)?;
        match own.pages.enter() {
            Ok(mut place) => *place = pages,
            Err(_) => own.pages.replace_lost(pages),
        }
        set_callee(&own.locking_failed, None);
        *own.state.lock().ok()? = state;
        Some(own)
    }

    fn take_vacant() -> Option<&'static Self> {
        let mut vacant = VACANT.lock().ok()?;
        let own = (*vacant)?;
        // SAFETY: null, or a place, which is never freed.
        *vacant = unsafe { own.next.swap(ptr::null_mut(), Relaxed).as_ref() };
        Some(own)
    }

    /// One more place. A fork knows of it before anybody takes its mutex.
    fn make() -> Option<&'static Self> {
        if FIRST_TAKEN.load(Relaxed) < FIRST.len() {
            if let Some(own) = FIRST.get(FIRST_TAKEN.fetch_add(1, Relaxed)) {
                return Some(own);
            }
        }
        let own = leak(Self::new())?;
        let mut newest = MORE.load(Acquire);
        loop {
            own.older.store(newest, Relaxed);
            let place = ptr::from_ref(own).cast_mut();
            match MORE.compare_exchange_weak(newest, place, Release, Acquire) {
                Ok(_) => return Some(own),
                Err(newer) => newest = newer,
            }
        }
    }

    /// Ends the pool; the place is for another.
    pub(super) fn vacate(&'static self) {
        let mut state = self.lock();
        if let Source::Foreign = state.source {
            let mut ended = core::mem::replace(&mut *state, nothing());
            drop(state);
            // What is lost stays as it is: nobody knows how far it was.
            if let Ok(mut pages) = self.pages.enter() {
                if let Some(pages) = &mut *pages {
                    ended.free_foreign(&mut **pages);
                }
                *pages = None;
            }
        } else {
            let pending = state.consent.pending.take();
            // Under the mutex, so that no child has arenas that are nobody's.
            *state = nothing();
            drop(state);
            drop(pending);
        }
        set_callee(&self.locking_failed, None);
        let Ok(mut vacant) = VACANT.lock() else { return };
        let next = vacant.map_or(ptr::null_mut(), |own| ptr::from_ref(own).cast_mut());
        self.next.store(next, Relaxed);
        *vacant = Some(self);
    }

    /// The state, brought up to date with forks.
    #[inline]
    fn try_lock(&self) -> Result<MutexGuard<'_, ArenaSet>, Interrupted> {
        let mut state = self.state.lock()?;
        state.catch_up();
        Ok(state)
    }

    /// The same for what cannot be refused otherwise.
    #[track_caller]
    fn lock(&self) -> MutexGuard<'_, ArenaSet> {
        self.try_lock().unwrap_or_else(|Interrupted| refuse_interrupted())
    }

    // Not inlined: the process-wide pool is the common one.
    #[inline(never)]
    pub(super) fn alloc(&self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let mut state = self.try_lock().ok()?;
        if size == 0 || size > state.arena_size {
            return None;
        }
        let is_foreign = matches!(state.source, Source::Foreign);
        let mut chunk = state.alloc_existing(size, alignment, Tier::First);
        if chunk.is_none() {
            chunk = match state.source {
                Source::Foreign => {
                    drop(state);
                    return self.alloc_foreign(size, alignment);
                }
                _ => self.grow(state, size, alignment),
            };
        }
        // What a foreign allocator gives may be no memory, also for AddressSanitizer.
        if let (Some(chunk), false) = (chunk, is_foreign) {
            poison::unpoison(chunk.as_ptr(), size);
        }
        chunk
    }

    /// Allocates when the arenas that come first have no room.
    fn grow<'a>(
        &'a self,
        mut state: MutexGuard<'a, ArenaSet>,
        size: usize,
        alignment: usize,
    ) -> Option<NonNull<u8>> {
        let failures = state.stats.failures();
        let mut chunk = state.alloc_locked(size, alignment);
        if chunk.is_none() && state.stats.failures_since(failures) > 0 {
            // The process-wide pool may have locked memory that it does not use.
            drop(state);
            let has_given = thread_heap::give_back();
            state = self.try_lock().ok()?;
            if has_given {
                if state.stats.failures_since(failures) == 1 {
                    // That of this allocation, for which there may be memory now.
                    state.stats.take_back_failures(failures);
                }
                state.refusal.forget();
                chunk = state.alloc_locked(size, alignment);
            }
        }
        let chunk = chunk.or_else(|| state.alloc_unlocked(size, alignment, failures));
        let Some(error) = state.consent.question.take().filter(|_| chunk.is_none()) else {
            return chunk;
        };
        drop(state);
        if !ask(&self.locking_failed, &error, || self.take_pending()) {
            return None;
        }
        let mut state = self.try_lock().ok()?;
        state.alloc_with_consent(|state| state.alloc(size, alignment))
    }

    /// The same over a foreign allocator.
    fn alloc_foreign(&self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        // One thread after the other; what one has mapped may be enough for the next.
        let mut pages = self.pages.enter().ok()?;
        let pages = pages.as_deref_mut()?;
        let mut state = self.try_lock().ok()?;
        if let Some(chunk) = state.alloc_existing(size, alignment, Tier::First) {
            return Some(chunk);
        }
        let is_first = state.stats.arenas == 0;
        drop(state);
        let len = ArenaSet::foreign_arena_size(is_first.then(|| pages.limit()));
        let LockedAllocation { addr, locked } = pages.allocate_locked(len)?;
        let mut state = self.lock();
        let mut keep = match state.judge_foreign(addr, len) {
            Verdict::Known => return None,
            Verdict::Keep => true,
            Verdict::Refuse => false,
        };
        if keep && !locked {
            let error = LockError { errno: 0, limit: usize::MAX };
            state.stats.count_lock_failure(error);
            if state.consent.asks {
                drop(state);
                keep = ask(&self.locking_failed, &error, || self.take_pending());
                state = self.lock();
            }
        }
        if keep {
            if let Some(arena) = state.add_foreign(addr, len, locked) {
                return state.alloc_in(arena, size, alignment);
            }
        }
        drop(state);
        // SAFETY: it came from `allocate_locked(len)` above and has not been kept.
        unsafe { pages.free_locked(addr, len) };
        None
    }

    /// Frees and wipes the chunk that begins at `ptr`; with `check`, only if that is the size in bytes and the alignment
    /// that it was allocated with.
    ///
    /// # Safety
    /// If `ptr` is a used chunk of this pool, nothing uses that chunk any more.
    #[inline(never)]
    pub(super) unsafe fn free(
        &self,
        ptr: *mut u8,
        check: Option<(usize, usize)>,
    ) -> Result<(), FreeError> {
        let mut state = self.try_lock().map_err(|Interrupted| FreeError::Interrupted)?;
        // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is one.
        let freed = unsafe { state.free(ptr, check) }.map(drop);
        state.give_back_excess();
        freed
    }

    #[track_caller]
    pub(super) fn stats(&self) -> PoolStats {
        self.lock().stats
    }

    #[track_caller]
    pub(super) fn walk(&self, visit: &mut dyn FnMut(usize, usize, bool)) {
        let state = self.lock();
        let mut chunks = ChunkList::with_room_for(&state.stats);
        state.walk(&mut |addr, size, used| chunks.push(addr, size, used));
        drop(state);
        chunks.visit(visit);
    }

    /// Sets the callback; the old one is dropped while nothing is held.
    #[track_caller]
    pub(super) fn set_locking_failed(&self, callback: Option<LockingFailed>) {
        let mut state = self.lock();
        state.consent.asks = callback.is_some();
        drop(state);
        if let Some(callback) = set_callee(&self.locking_failed, callback) {
            let old = self.lock().consent.pending.replace(callback);
            drop(old);
        }
    }

    fn take_pending(&self) -> Option<Option<LockingFailed>> {
        self.try_lock().ok()?.consent.pending.take()
    }
}

/// From the first call on, forks take care of these pools. Called before a pool's mutex is taken.
#[inline]
fn participate() {
    // Set when it is done: a thread that finds it set may count on it.
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if !IS_DONE.load(Acquire) {
        register();
        IS_DONE.store(true, Release);
    }
}

#[cold]
fn register() {
    static POOLS: Participant = Participant { prepare, child, done };
    // Registered before the pools: in a child, memory is put in order first.
    pages::join_forks();
    fork::register(&POOLS);
}

/// For the thread that forks: waits until no other thread is at work on a pool.
fn prepare() {
    VACANT.wait_until_free();
    all().for_each(|own| own.state.wait_until_free());
}

/// In a child: frees every mutex. The figures catch up when a pool is next used.
fn child() {
    VACANT.after_fork();
    for own in all() {
        own.state.after_fork();
        own.locking_failed.after_fork();
        own.pages.after_fork();
    }
}

fn done() {}

/// Every place there is.
fn all() -> impl Iterator<Item = &'static PrivatePool> {
    let mut more = MORE.load(Acquire);
    FIRST.iter().chain(core::iter::from_fn(move || {
        // SAFETY: null, or a place, which is never freed.
        let own: &'static PrivatePool = unsafe { more.as_ref() }?;
        more = own.older.load(Relaxed);
        Some(own)
    }))
}

/// Pools one after the other, each in one chain only. Nothing waits for anything here, so that a child of a
/// fork finds a whole chain, whatever its parent's other threads were doing with it; and the links are in
/// the pools' places, so that adding takes no memory.
pub(super) struct Chain(AtomicPtr<PrivatePool>);

impl Chain {
    pub(super) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Adds a pool at the end. It must be in no chain.
    pub(super) fn push(&self, own: &'static PrivatePool) {
        let mut link = &self.0;
        let own = ptr::from_ref(own).cast_mut();
        // Links that are set stay as they are: where one is found set, the end is behind it.
        while let Err(next) = link.compare_exchange(ptr::null_mut(), own, AcqRel, Acquire) {
            // SAFETY: not null, so that it is a place, which is never freed.
            link = unsafe { &(*next).next };
        }
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &'static PrivatePool> {
        let mut next = self.0.load(Acquire);
        core::iter::from_fn(move || {
            // SAFETY: null, or a place, which is never freed.
            let own: &'static PrivatePool = unsafe { next.as_ref() }?;
            next = own.next.load(Acquire);
            Some(own)
        })
    }

    /// Takes the first pool out.
    pub(super) fn pop(&mut self) -> Option<&'static PrivatePool> {
        // SAFETY: null, or a place, which is never freed.
        let own: &'static PrivatePool = unsafe { self.0.get_mut().as_ref() }?;
        *self.0.get_mut() = own.next.swap(ptr::null_mut(), Relaxed);
        Some(own)
    }
}
