//! Forks: the one place that the C library tells of them, the locks that no child finds held, and code of
//! others that no fork waits for.
//!
//! What has to happen at a fork elsewhere is registered here as a [`Participant`].
//!
//! # What holds
//! - The handlers are registered with the C library when this library is loaded. So the handlers of others
//!   that were registered later run while everything is as usual.
//! - From the beginning of `prepare` to the end of `parent` or `child`, one thread forks. The others wait when
//!   they want a [`Mutex`], and the fork begins when none of them holds one. Those that wait hold nothing, so
//!   that a fork waits no longer than for what is under way.
//! - The thread that forks uses everything as usual meanwhile: handlers of others, which were registered
//!   earlier, may run between ours. In the child the first of them to use a [`Mutex`] finds that the child has
//!   been put in order.
//! - No [`Mutex`] is held, and no gate of a heap closed, while code runs that is not this library's: callbacks,
//!   page allocators, visitors. They may use everything, and fork. What is theirs alone is a [`Callee`], which
//!   no fork waits for: a child whose parent had another thread in there does not call it.
//! - Nothing that runs under a [`Mutex`] is a cancellation point.
//!
//! A child made by `vfork`, `posix_spawn` or the bare system call is not told of anything.

mod guard;

use crate::sync;
use crate::sys::{Process, System, Threads, at_load};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::ptr;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicUsize};
use guard::{ForkGuard, Lock};

static GUARD: ForkGuard = ForkGuard::of(AtomicUsize::new(0));

/// What a part of this library does at a fork, in the thread that forks.
pub(crate) struct Participant {
    /// Other threads that want a [`Mutex`] wait already. Waits for those that hold one: see
    /// [`Mutex::wait_until_free`].
    pub(crate) prepare: fn(),
    /// In the child, in which this is the only thread: puts in order what the others have left. Runs once,
    /// before anything of this library is used there.
    pub(crate) child: fn(),
    /// In the parent, and in the child: the fork is over.
    pub(crate) done: fn(),
}

/// In the order in which they were registered. A place that is set stays so.
static PARTICIPANTS: [AtomicPtr<Participant>; 4] = [const { AtomicPtr::new(ptr::null_mut()) }; 4];

/// How often this process, or those that it descends from, has been the child of a fork.
static GENERATION: AtomicU32 = AtomicU32::new(0);

// Used by the thread that forks alone.
/// How many forks have begun in handlers of the first one.
static NESTED: AtomicUsize = AtomicUsize::new(0);
/// The process that forks.
static PROCESS: AtomicI32 = AtomicI32::new(0);
/// Whether the child has been put in order before its handler ran.
static IS_EARLY: AtomicBool = AtomicBool::new(false);

fn participants() -> impl DoubleEndedIterator<Item = &'static Participant> {
    // SAFETY: null, or put there by `register`, from a static.
    PARTICIPANTS.iter().filter_map(|place| unsafe { place.load(Acquire).as_ref() })
}

/// From now on `participant` takes part in every fork. Registering it again changes nothing. Those that are
/// registered first are first in the child.
///
/// It waits for no lock, so that a child finds it done or not begun, whatever its parent's other threads did.
pub(crate) fn register(participant: &'static Participant) {
    let own = ptr::from_ref(participant).cast_mut();
    for place in &PARTICIPANTS {
        let there = place.load(Acquire);
        if there == own {
            return;
        }
        if there.is_null() {
            register_early();
            match place.compare_exchange(ptr::null_mut(), own, AcqRel, Acquire) {
                Ok(_) => return,
                Err(there) if there == own => return,
                Err(_) => {}
            }
        }
    }
    unreachable!("there are as many places as participants");
}

/// How often this process has become another by forking. A caller that sees it change runs in a child.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

/// The calling thread, as a number other than 0. Two threads that are there at the same time differ.
#[inline]
pub(crate) fn this_thread() -> usize {
    System::this_thread()
}

/// Whether the calling thread forks, and is between this library's handlers.
pub(crate) fn is_under_way() -> bool {
    !GUARD.is_idle() && GUARD.is_forking(this_thread())
}

// ---- Handlers ------------------------------------------------------------------------------------

at_load! {
    /// Registers the handlers when this library is loaded.
    static AT_LOAD = register_handlers;
}

/// Registers the handlers for code that runs before [`AT_LOAD`]: other static initializers.
fn register_early() {
    // Read in a way that the compiler cannot know the value of: so a program that uses this library refers to the
    // static, and a linker that takes from an archive what is referred to takes it too.
    // SAFETY: a static of this type.
    let register = unsafe { ptr::from_ref(&AT_LOAD).read_volatile() };
    register();
}

/// Has the C library call the handlers, once. (Where it has no room to note them, a child may find locks
/// held and memory not locked; there is no caller to tell.)
extern "C" fn register_handlers() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, AcqRel) {
        System::at_fork(prepare, parent, child);
    }
}

extern "C" fn prepare() {
    let thread = this_thread();
    if GUARD.is_forking(thread) {
        // A fork handler of another library forks.
        NESTED.fetch_add(1, Relaxed);
        return;
    }
    // Before a signal handler on this thread can ask: every thread of a process stores the same number.
    PROCESS.store(System::process_number(), Relaxed);
    GUARD.begin(thread);
    participants().rev().for_each(|participant| (participant.prepare)());
}

extern "C" fn parent() {
    // False if a fork handler of another library has loaded this one.
    if is_under_way() {
        finish();
    }
}

extern "C" fn child() {
    if !IS_EARLY.swap(false, Relaxed) {
        put_in_order();
    }
    if is_under_way() {
        finish();
    }
}

fn finish() {
    let nested = NESTED.load(Relaxed);
    if nested > 0 {
        NESTED.store(nested - 1, Relaxed);
        return;
    }
    participants().rev().for_each(|participant| (participant.done)());
    GUARD.end();
}

fn put_in_order() {
    PROCESS.store(System::process_number(), Relaxed);
    GENERATION.fetch_add(1, Relaxed);
    participants().for_each(|participant| (participant.child)());
}

/// For a thread that is about to use something of this library: if it forks, and is in the child already,
/// where a handler of another library has come before ours, puts the child in order.
#[inline]
fn notice_child() {
    if !GUARD.is_idle() {
        notice_child_of_own();
    }
}

#[cold]
fn notice_child_of_own() {
    if is_under_way() && PROCESS.load(Relaxed) != System::process_number() {
        IS_EARLY.store(true, Relaxed);
        put_in_order();
    }
}

// ---- Mutex ---------------------------------------------------------------------------------------

/// The calling thread has the mutex already: it is a signal handler that has interrupted this library, and
/// would wait for itself.
#[derive(Debug)]
pub(crate) struct Interrupted;

const fn free_lock() -> Lock {
    Lock::of(AtomicUsize::new(0), AtomicU32::new(0), AtomicU32::new(0))
}

/// A value that one thread at a time uses, and that no child of a fork finds in use. See the top for what its
/// holder must not do. A [`Participant`] waits for it and calls [`after_fork`](Self::after_fork).
pub(crate) struct Mutex<T> {
    lock: Lock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is used by the thread that holds the lock alone; it may be sent to that thread.
unsafe impl<T: Send> Sync for Mutex<T> {}
// As its users leave the value in order when they panic: they change nothing half-way.
impl<T> core::panic::RefUnwindSafe for Mutex<T> {}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { lock: free_lock(), value: UnsafeCell::new(value) }
    }

    /// Takes the mutex. Waits for another thread that has it, and for a fork of another thread.
    ///
    /// # Errors
    /// At once where the calling thread has it already.
    #[inline]
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, T>, Interrupted> {
        notice_child();
        if self.lock.acquire(&GUARD, this_thread()) {
            Ok(MutexGuard { mutex: self })
        } else {
            Err(Interrupted)
        }
    }

    /// For a [`Participant`]'s `prepare`: waits until no other thread has the mutex.
    pub(crate) fn wait_until_free(&self) {
        self.lock.wait_until_free(this_thread());
    }

    /// Whether the calling thread has it: a signal handler has interrupted this library.
    pub(crate) fn is_own(&self) -> bool {
        self.lock.is_held_by(this_thread())
    }

    /// For a [`Participant`]'s `child`. A thread that is not there may have the mutex: it has not used the
    /// value.
    pub(crate) fn after_fork(&self) {
        self.lock.take_from_the_lost(this_thread());
    }
}

/// Holds a [`Mutex`].
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock, so that no other uses the value.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the guard is borrowed exclusively, and there is one guard.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.lock.release();
    }
}

// ---- Callee --------------------------------------------------------------------------------------

/// Code of others, with what belongs to it: one thread at a time is in there, and may do there what it likes.
pub(crate) struct Callee<T> {
    lock: Lock,
    /// Whether it is unknown what the value is: in a child, where the thread that was in there is not.
    is_lost: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is used by the thread that holds the lock alone; it may be sent to that thread.
unsafe impl<T: Send> Sync for Callee<T> {}
// As for `Mutex`; code that panics is its owner's own affair.
impl<T> core::panic::RefUnwindSafe for Callee<T> {}

/// Why code of others cannot be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotCallable {
    /// The calling thread is in there already; or another is, and the calling thread forks.
    Within,
    /// This is a child, and another thread of its parent was in there when that forked.
    Lost,
}

/// No fork is heeded: nothing waits for a callee.
static NO_FORK: ForkGuard = ForkGuard::of(AtomicUsize::new(0));

impl<T> Callee<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { lock: free_lock(), is_lost: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Takes the right to call it. Waits for another thread that has that. The caller must not hold a
    /// [`Mutex`].
    pub(crate) fn enter(&self) -> Result<CalleeGuard<'_, T>, NotCallable> {
        notice_child();
        let thread = this_thread();
        // Another thread in there may wait for the fork of this thread, so this thread must not wait for it.
        let entered = if is_under_way() {
            self.lock.try_acquire(thread)
        } else {
            self.lock.acquire(&NO_FORK, thread)
        };
        if !entered {
            return Err(NotCallable::Within);
        }
        let guard = CalleeGuard { callee: self };
        if self.is_lost.load(Relaxed) { Err(NotCallable::Lost) } else { Ok(guard) }
    }

    /// Puts another value in the place of what is lost, which is left as it is for good.
    pub(crate) fn replace_lost(&self, value: T) {
        if self.lock.acquire(&NO_FORK, this_thread()) {
            let guard = CalleeGuard { callee: self };
            // SAFETY: this thread holds the lock. The old value is not dropped: what it was is unknown.
            unsafe { self.value.get().write(value) };
            self.is_lost.store(false, Relaxed);
            drop(guard);
        }
    }

    /// For a [`Participant`]'s `child`.
    pub(crate) fn after_fork(&self) {
        if self.lock.take_from_the_lost(this_thread()) {
            self.is_lost.store(true, Relaxed);
        }
    }
}

/// The right to call a [`Callee`].
pub(crate) struct CalleeGuard<'a, T> {
    callee: &'a Callee<T>,
}

impl<T> Deref for CalleeGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock, so that no other uses the value.
        unsafe { &*self.callee.value.get() }
    }
}

impl<T> DerefMut for CalleeGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the guard is borrowed exclusively, and there is one guard.
        unsafe { &mut *self.callee.value.get() }
    }
}

impl<T> Drop for CalleeGuard<'_, T> {
    fn drop(&mut self) {
        self.callee.lock.release();
    }
}
