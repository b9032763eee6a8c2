//! The lock of the library's own data.

use super::guard::Lock;
use super::handlers::{GUARD, notice_child};
use crate::sys::{System, Threads};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, AtomicUsize};

/// The calling thread has the mutex already. It runs a signal handler that has interrupted this
/// library, and would wait for itself.
#[derive(Debug)]
pub(crate) struct Interrupted;

/// A lock that no thread holds.
pub(super) const fn free_lock() -> Lock {
    Lock::of(AtomicUsize::new(0), AtomicU32::new(0), AtomicU32::new(0))
}

/// A value that one thread at a time uses, and that no child of a fork finds in use. See
/// [`fork`](super) for what its holder must not do. A [`Participant`](super::Participant) waits for
/// it and calls [`after_fork`](Self::after_fork).
pub(crate) struct Mutex<T> {
    lock: Lock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is used by the thread that holds the lock alone; it may be sent to that thread.
unsafe impl<T: Send> Sync for Mutex<T> {}
// Users of the value leave it in order when they panic: they change nothing half-way.
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
        if self.lock.acquire(&GUARD, System::this_thread()) {
            Ok(MutexGuard { mutex: self })
        } else {
            Err(Interrupted)
        }
    }

    /// For the `prepare` of a [`Participant`](super::Participant): waits until no other thread has
    /// the mutex.
    pub(crate) fn wait_until_free(&self) {
        self.lock.wait_until_free(System::this_thread());
    }

    /// Whether the calling thread has it: a signal handler has interrupted this library.
    pub(crate) fn is_own(&self) -> bool {
        self.lock.is_held_by(System::this_thread())
    }

    /// For the `child` of a [`Participant`](super::Participant). A thread that the child does not
    /// have may have taken the mutex; it has not used the value.
    pub(crate) fn after_fork(&self) {
        self.lock.take_from_the_lost(System::this_thread());
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
        // SAFETY: this thread holds the lock, so that no other uses the value; the one guard is
        // borrowed exclusively.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.lock.release();
    }
}
