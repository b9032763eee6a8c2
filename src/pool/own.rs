//! The pools that a program makes itself: each a mutex and what it guards, in places that are never freed,
//! so that whoever forks can find and hold them all.
//!
//! Private to `pool`, whose `State` does the work; `fork` is what the places are known for. The mutexes are
//! the standard library's, which are a word each: a table of waiting threads beside it, as parking_lot has
//! it, would come into a child process with threads waiting that are not there.

use super::{PoolStats, Source, State};
use crate::arena::FreeError;
use crate::edges;
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A place for a pool.
pub(super) struct OwnPool {
    /// Whether it is somebody's.
    taken: AtomicBool,
    /// The thread that has the mutex and is in a callback, a page allocator or a visitor; 0 for none.
    calling: AtomicUsize,
    state: Mutex<State>,
    /// The mutex, held while the process forks.
    held: UnsafeCell<Option<MutexGuard<'static, State>>>,
    /// The place made before this one.
    older: AtomicPtr<OwnPool>,
    /// The next pool in the chain that this one is in, if any.
    next: AtomicPtr<OwnPool>,
}

// SAFETY: `held` is used by the thread that holds the mutex alone, before and after a fork; the rest is
// `Sync` by itself.
unsafe impl Sync for OwnPool {}

// As for a mutex: a callback that panics leaves the state as it should be.
impl core::panic::RefUnwindSafe for OwnPool {}

/// As many as most programs make; more are allocated.
static FIRST: [OwnPool; 8] = [const { OwnPool::new() }; 8];
/// The last place that was allocated.
static MORE: AtomicPtr<OwnPool> = AtomicPtr::new(ptr::null_mut());
/// Held while a place is taken, and while the process forks. Who holds it waits for no other.
static TAKING: Mutex<()> = Mutex::new(());

const fn nothing() -> State {
    State::new(Source::System { huge_page: None }, super::LockedPool::ARENA_ALIGN)
}

impl OwnPool {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            calling: AtomicUsize::new(0),
            state: Mutex::new(nothing()),
            held: UnsafeCell::new(None),
            older: AtomicPtr::new(ptr::null_mut()),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// A place for a pool; `None` when there is no memory for one.
    pub(super) fn take(state: State) -> Option<&'static Self> {
        super::fork::prepare();
        let _taking = taking();
        // Whoever forks may have been waiting for a pool that has ended meanwhile, and have its mutex.
        let vacant = all()
            .filter(|own| !own.taken.load(Acquire))
            .find_map(|own| Some((own, own.state.try_lock().ok()?)));
        let (own, mut place) = match vacant {
            Some(vacant) => vacant,
            None => {
                let own = super::leak(Self::new())?;
                let place = own.state.try_lock().ok()?; // nobody knows it yet
                own.older.store(MORE.load(Relaxed), Relaxed);
                MORE.store(ptr::from_ref(own).cast_mut(), Release);
                (own, place)
            }
        };
        own.taken.store(true, Relaxed);
        *place = state;
        Some(own)
    }

    /// Ends the pool; the place is for another.
    pub(super) fn vacate(&self) {
        let state = core::mem::replace(&mut *self.lock(), nothing());
        drop(state);
        self.taken.store(false, Release);
    }

    /// The state, brought up to date with forks.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Poisoned or not: nothing in here panics half-way through a change.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up();
        state
    }

    // Not inlined: the process-wide pool is the common one.
    #[inline(never)]
    pub(super) fn alloc(&self, size: usize, alignment: usize) -> Option<NonNull<u8>> {
        let mut state = self.lock();
        if size == 0 || size > state.arena_size {
            return None;
        }
        let chunk = state.alloc_from_first(size, alignment).or_else(|| {
            let _calling = self.calling();
            state.alloc(size, alignment)
        })?;
        if !matches!(state.source, Source::Foreign(_)) {
            edges::open(chunk.as_ptr(), size);
        }
        Some(chunk)
    }

    #[inline(never)]
    pub(super) fn free(
        &self,
        ptr: *mut u8,
        check: Option<(usize, usize)>,
    ) -> Result<(), FreeError> {
        self.lock().free(ptr, check).map(drop)
    }

    pub(super) fn stats(&self) -> PoolStats {
        self.lock().stats
    }

    pub(super) fn walk(&self, visit: &mut dyn FnMut(usize, usize, bool)) {
        let state = self.lock();
        let _calling = self.calling();
        state.walk(visit);
    }

    /// Notes that this thread, which has the mutex, runs other people's code, which may fork.
    fn calling(&self) -> Calling<'_> {
        self.calling.store(this_thread(), Relaxed);
        Calling(self)
    }

    /// Holds the mutex for a fork, unless this thread has it already; `false` when another thread has it.
    fn try_hold(&self) -> bool {
        match self.state.try_lock() {
            Ok(state) => self.keep(state),
            Err(TryLockError::Poisoned(state)) => self.keep(state.into_inner()),
            Err(TryLockError::WouldBlock) => return self.calling.load(Relaxed) == this_thread(),
        }
        true
    }

    /// Holds the mutex for a fork; waits for it.
    pub(super) fn hold(&self) {
        self.keep(self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn keep(&self, state: MutexGuard<'_, State>) {
        // SAFETY: the places are static or leaked: a guard is good for the life of the process.
        let state: MutexGuard<'static, State> = unsafe { core::mem::transmute(state) };
        // SAFETY: this thread holds the mutex.
        unsafe { *self.held.get() = Some(state) };
    }

    /// Lets go of the mutex. Called by the thread that holds it, for a fork or otherwise.
    pub(super) fn release(&self) {
        // SAFETY: this thread holds the mutex.
        drop(unsafe { (*self.held.get()).take() });
    }
}

/// Every pool's mutex, held by the thread that forks; but those stay with it at the end that it had before.
pub(super) struct Held {
    _taking: MutexGuard<'static, ()>,
}

/// Holds every pool's mutex, of which this thread has `one` already if any; `Err` has one that another
/// thread has, and nothing is held.
pub(super) fn try_hold_all(one: Option<&'static OwnPool>) -> Result<Held, &'static OwnPool> {
    let taking = taking();
    let others = || all().filter(|own| one.is_none_or(|one| !ptr::eq(*own, one)));
    for (number, own) in others().enumerate() {
        if !own.try_hold() {
            others().take(number).chain(one).for_each(OwnPool::release);
            return Err(own);
        }
    }
    Ok(Held { _taking: taking })
}

impl Drop for Held {
    fn drop(&mut self) {
        all().for_each(OwnPool::release);
    }
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

/// See [`OwnPool::calling`].
struct Calling<'a>(&'a OwnPool);

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.calling.store(0, Relaxed);
    }
}

/// Every place there is.
fn all() -> impl Iterator<Item = &'static OwnPool> {
    let mut more = MORE.load(Acquire);
    FIRST.iter().chain(core::iter::from_fn(move || {
        // SAFETY: null, or a leaked place.
        let own: &'static OwnPool = unsafe { more.as_ref() }?;
        more = own.older.load(Relaxed);
        Some(own)
    }))
}

fn taking() -> MutexGuard<'static, ()> {
    TAKING.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn this_thread() -> usize {
    // SAFETY: takes nothing; the answer is a number here, different for each thread.
    unsafe { libc::pthread_self() as usize }
}
