//! The lock of code that is not the library's.

use super::guard::{ForkGuard, Lock};
use super::handlers::{is_under_way, notice_child};
use super::mutex::free_lock;
use crate::sys::{System, Threads};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicUsize};

/// Code of the program, with the data that belongs to it. One thread at a time runs it, and may do
/// anything there.
pub(crate) struct Callee<T> {
    lock: Lock,
    /// Whether the value is in an unknown state: this is a child, and the parent's thread that used
    /// the value does not exist here.
    is_lost: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is used by the thread that holds the lock alone; it may be sent to that thread.
unsafe impl<T: Send> Sync for Callee<T> {}
// The value belongs to code of the program, which answers for it when it panics.
impl<T> core::panic::RefUnwindSafe for Callee<T> {}

/// Why code of the program cannot be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotCallable {
    /// The calling thread runs it already; or another thread runs it, and the calling thread forks.
    Within,
    /// This is a child, and another thread of its parent ran it at the fork.
    Lost,
}

/// A guard that never holds a thread back: no fork waits for a callee.
static NO_FORK: ForkGuard = ForkGuard::of(AtomicUsize::new(0));

impl<T> Callee<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { lock: free_lock(), is_lost: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Takes the right to call it. Waits for another thread that has the right. The caller must not
    /// hold a [`Mutex`](super::Mutex).
    pub(crate) fn enter(&self) -> Result<CalleeGuard<'_, T>, NotCallable> {
        notice_child();
        let thread = System::this_thread();
        // The thread that has the right may wait for the fork of this thread, so this thread must
        // not wait for it.
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

    /// Puts another value in the place of a lost one, which is never dropped.
    pub(crate) fn replace_lost(&self, value: T) {
        if self.lock.acquire(&NO_FORK, System::this_thread()) {
            let guard = CalleeGuard { callee: self };
            // SAFETY: this thread holds the lock. The old value is not dropped, as its state is
            // unknown.
            unsafe { self.value.get().write(value) };
            self.is_lost.store(false, Relaxed);
            drop(guard);
        }
    }

    /// For the `child` of a [`Participant`](super::Participant).
    pub(crate) fn after_fork(&self) {
        if self.lock.take_from_the_lost(System::this_thread()) {
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
        // SAFETY: this thread holds the lock, so that no other uses the value; the one guard is
        // borrowed exclusively.
        unsafe { &mut *self.callee.value.get() }
    }
}

impl<T> Drop for CalleeGuard<'_, T> {
    fn drop(&mut self) {
        self.callee.lock.release();
    }
}
