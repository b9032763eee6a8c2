//! The pools that a program makes itself: each a mutex and what it guards, in places that are never freed,
//! so that a fork finds the mutexes, and managers' chains stay whole.
//!
//! Private to `pool`, whose `State` does the work; depends on `fork`. A pool's callback and its page allocator
//! are code of others: they are called while the mutex is free.

use super::{LockingFailed, PoolStats, Source, State, Verdict, ask, set_callee};
use crate::arena::FreeError;
use crate::edges;
use crate::fork::{Callee, Interrupted, Mutex, MutexGuard};
use crate::pages::{LockError, LockedAllocation, LockedPageAllocator};
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicUsize};

/// A foreign source of pages.
pub(super) type Pages = Box<dyn LockedPageAllocator + Send>;

/// A place for a pool.
pub(super) struct OwnPool {
    state: Mutex<State>,
    locking_failed: Callee<Option<LockingFailed>>,
    /// Where arenas come from, if not from the system.
    pages: Callee<Option<Pages>>,
    /// The place made before this one.
    older: AtomicPtr<OwnPool>,
    /// The next pool in the chain that this one is in, if any; or the next vacant place.
    next: AtomicPtr<OwnPool>,
}

/// As many as most programs make; more are allocated.
static FIRST: [OwnPool; 8] = [const { OwnPool::new() }; 8];
/// How many of the first places have been taken; or more.
static FIRST_TAKEN: AtomicUsize = AtomicUsize::new(0);
/// The last place that was allocated.
static MORE: AtomicPtr<OwnPool> = AtomicPtr::new(ptr::null_mut());
/// The first of the places that are no pool's.
static VACANT: Mutex<Option<&'static OwnPool>> = Mutex::new(None);

const fn nothing() -> State {
    State::new(Source::System { huge_page: None }, super::LockedPool::ARENA_ALIGN)
}

impl OwnPool {
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
    pub(super) fn take(state: State, pages: Option<Pages>) -> Option<&'static Self> {
        super::fork::participate();
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
        let own = super::leak(Self::new())?;
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
            let pending = state.pending.take();
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
    fn try_lock(&self) -> Result<MutexGuard<'_, State>, Interrupted> {
        let mut state = self.state.lock()?;
        state.catch_up();
        Ok(state)
    }

    /// The same for what cannot be refused otherwise.
    #[track_caller]
    fn lock(&self) -> MutexGuard<'_, State> {
        self.try_lock().unwrap_or_else(|Interrupted| super::refuse_interrupted())
    }

    // Not inlined: the process-wide pool is the common one.
    #[inline(never)]
    pub(super) fn alloc(&self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let mut state = self.try_lock().ok()?;
        if size == 0 || size > state.arena_size {
            return None;
        }
        let is_foreign = matches!(state.source, Source::Foreign);
        let mut chunk = state.alloc_from_first(size, alignment);
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
            edges::open(chunk.as_ptr(), size);
        }
        chunk
    }

    /// Allocates when the arenas that come first have no room.
    fn grow<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        size: usize,
        alignment: usize,
    ) -> Option<NonNull<u8>> {
        let (failures, last) = (state.stats.lock_failures, state.stats.last_lock_failure);
        let mut chunk = state.alloc_preferred(size, alignment);
        if chunk.is_none() && state.stats.lock_failures != failures {
            // The process-wide pool may have locked memory that it does not use.
            drop(state);
            let has_given = super::process::give_back();
            state = self.try_lock().ok()?;
            if has_given {
                if state.stats.lock_failures == failures + 1 {
                    // Only this one, which has come to nothing.
                    (state.stats.lock_failures, state.stats.last_lock_failure) = (failures, last);
                }
                state.refused = usize::MAX;
                chunk = state.alloc_preferred(size, alignment);
            }
        }
        let chunk = chunk.or_else(|| state.alloc_unlocked(size, alignment, failures));
        let Some(error) = state.question.take().filter(|_| chunk.is_none()) else { return chunk };
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
        if let Some(chunk) = state.alloc_from_first(size, alignment) {
            return Some(chunk);
        }
        let is_first = state.stats.arenas == 0;
        drop(state);
        let len = State::foreign_arena_size(is_first.then(|| pages.limit()));
        let LockedAllocation { addr, locked } = pages.allocate_locked(len)?;
        let mut state = self.lock();
        let mut keep = match state.judge_foreign(addr, len) {
            Verdict::Known => return None,
            Verdict::Keep => true,
            Verdict::Refuse => false,
        };
        if keep && !locked {
            let error = LockError { errno: 0, limit: usize::MAX };
            state.count_lock_failure(error);
            if state.asks {
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

    #[inline(never)]
    pub(super) fn free(
        &self,
        ptr: *mut u8,
        check: Option<(usize, usize)>,
    ) -> Result<(), FreeError> {
        let mut state = self.try_lock().map_err(|Interrupted| FreeError::Interrupted)?;
        let freed = state.free(ptr, check).map(drop);
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
        let mut chunks = super::ChunkList::with_room_for(&state.stats);
        state.walk(&mut |addr, size, used| chunks.push(addr, size, used));
        drop(state);
        chunks.visit(visit);
    }

    /// Sets the callback; the old one is dropped while nothing is held.
    #[track_caller]
    pub(super) fn set_locking_failed(&self, callback: Option<LockingFailed>) {
        let mut state = self.lock();
        state.asks = callback.is_some();
        drop(state);
        if let Some(callback) = set_callee(&self.locking_failed, callback) {
            let old = self.lock().pending.replace(callback);
            drop(old);
        }
    }

    fn take_pending(&self) -> Option<Option<LockingFailed>> {
        self.try_lock().ok()?.pending.take()
    }
}

/// For the thread that forks: waits until no other thread is at work on a pool.
pub(super) fn wait_until_free() {
    VACANT.wait_until_free();
    all().for_each(|own| own.state.wait_until_free());
}

/// In a child: nobody holds anything.
pub(super) fn after_fork() {
    VACANT.after_fork();
    for own in all() {
        own.state.after_fork();
        own.locking_failed.after_fork();
        own.pages.after_fork();
    }
}

/// Every place there is.
fn all() -> impl Iterator<Item = &'static OwnPool> {
    let mut more = MORE.load(Acquire);
    FIRST.iter().chain(core::iter::from_fn(move || {
        // SAFETY: null, or a place, which is never freed.
        let own: &'static OwnPool = unsafe { more.as_ref() }?;
        more = own.older.load(Relaxed);
        Some(own)
    }))
}

/// Pools one after the other, each in one chain only. Nothing waits for anything here, so that a child of a
/// fork finds a whole chain, whatever its parent's other threads were doing with it; and the links are in
/// the pools' places, so that adding takes no memory.
pub(super) struct Chain(AtomicPtr<OwnPool>);

impl Chain {
    pub(super) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Adds a pool at the end. It must be in no chain.
    pub(super) fn push(&self, own: &'static OwnPool) {
        let mut link = &self.0;
        let own = ptr::from_ref(own).cast_mut();
        // Links that are set stay as they are: where one is found set, the end is behind it.
        while let Err(next) = link.compare_exchange(ptr::null_mut(), own, AcqRel, Acquire) {
            // SAFETY: not null, so that it is a place, which is never freed.
            link = unsafe { &(*next).next };
        }
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &'static OwnPool> {
        let mut next = self.0.load(Acquire);
        core::iter::from_fn(move || {
            // SAFETY: null, or a place, which is never freed.
            let own: &'static OwnPool = unsafe { next.as_ref() }?;
            next = own.next.load(Acquire);
            Some(own)
        })
    }

    /// Takes the first pool out.
    pub(super) fn pop(&mut self) -> Option<&'static OwnPool> {
        // SAFETY: null, or a place, which is never freed.
        let own: &'static OwnPool = unsafe { self.0.get_mut().as_ref() }?;
        *self.0.get_mut() = own.next.swap(ptr::null_mut(), Relaxed);
        Some(own)
    }
}
