//! The word that holds lockers back while the process forks, and the lock that heeds it.
//!
//! `tests/models.rs` runs this file through every order of events that the memory model allows,
//! over loom's atomics. Their constructors are not `const`, so the constructors here take the
//! words.
//!
//! A locker takes its lock and then looks at the word; the thread that forks sets the word and then
//! looks at the locks. All four are sequentially consistent, so that one of the two sees the other:
//! either the locker sees the fork and lets go of the lock, or the fork sees the lock and waits for
//! it. Once every lock has been seen free, nothing that a lock guards changes until the word is
//! cleared; though a locker that comes late may hold a lock for the moment that it takes to look at
//! the word.

use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::sync::atomic::{AtomicU32, AtomicUsize};
use crate::sync::{is_short, wait_a_turn, wait_while, wake_one};

/// Which thread forks. A thread is any number but 0 here.
pub(crate) struct ForkGuard {
    /// The thread that forks, or 0.
    forker: AtomicUsize,
}

impl ForkGuard {
    /// No thread forks; the word is 0.
    pub(crate) const fn of(forker: AtomicUsize) -> Self {
        Self { forker }
    }

    /// From now on every other thread that wants a lock waits. Waits until no other thread forks.
    pub(crate) fn begin(&self, thread: usize) {
        let mut turn = 0;
        while self.forker.compare_exchange(0, thread, SeqCst, Relaxed).is_err() {
            wait_a_turn(turn);
            turn = turn.saturating_add(1);
        }
    }

    /// The other threads go on. For the thread that has called [`begin`](Self::begin).
    pub(crate) fn end(&self) {
        self.forker.store(0, Release);
    }

    /// Whether this thread has called [`begin`](Self::begin), and not [`end`](Self::end).
    pub(crate) fn is_forking(&self, thread: usize) -> bool {
        self.forker.load(Relaxed) == thread
    }

    /// Whether no thread forks. Only the answer for the calling thread itself is certain.
    pub(crate) fn is_idle(&self) -> bool {
        self.forker.load(Relaxed) == 0
    }

    /// Waits while another thread forks.
    fn wait(&self, thread: usize) {
        let mut turn = 0;
        while !matches!(self.forker.load(Relaxed), forker if forker == 0 || forker == thread) {
            wait_a_turn(turn);
            turn = turn.saturating_add(1);
        }
    }

    /// Whether another thread forks, for a thread that has just taken a lock.
    fn holds_back(&self, thread: usize) -> bool {
        !matches!(self.forker.load(SeqCst), forker if forker == 0 || forker == thread)
    }
}

/// A lock that knows which thread holds it. Its holder waits for no other lock.
pub(crate) struct Lock {
    /// The thread that holds the lock, or 0.
    holder: AtomicUsize,
    /// The number of threads that sleep until it is free, or are about to.
    sleepers: AtomicU32,
    /// Changes when one of them is to try again.
    wakes: AtomicU32,
}

impl Lock {
    /// A free lock; the words are 0.
    pub(crate) const fn of(holder: AtomicUsize, sleepers: AtomicU32, wakes: AtomicU32) -> Self {
        Self { holder, sleepers, wakes }
    }

    /// Takes the lock, which this thread has to [`release`](Self::release); `false` if it holds it
    /// already. Waits while another thread holds it or forks.
    #[inline]
    pub(crate) fn acquire(&self, guard: &ForkGuard, thread: usize) -> bool {
        loop {
            match self.holder.compare_exchange(0, thread, SeqCst, Relaxed) {
                Ok(_) if !guard.holds_back(thread) => return true,
                Ok(_) => {
                    self.release();
                    guard.wait(thread);
                }
                Err(holder) if holder == thread => return false,
                Err(_) => self.wait(),
            }
        }
    }

    /// Lets go of the lock. For the thread that holds it.
    #[inline]
    pub(crate) fn release(&self) {
        self.holder.store(0, SeqCst);
        if self.sleepers.load(SeqCst) != 0 {
            self.wakes.fetch_add(1, Release);
            wake_one(&self.wakes);
        }
    }

    /// Waits for a moment at which the lock may be free.
    #[cold]
    fn wait(&self) {
        let mut turn = 0;
        while is_short(turn) {
            if self.holder.load(Relaxed) == 0 {
                return;
            }
            wait_a_turn(turn);
            turn += 1;
        }
        self.sleepers.fetch_add(1, SeqCst);
        let wakes = self.wakes.load(Acquire);
        if self.holder.load(SeqCst) != 0 {
            wait_while(&self.wakes, wakes);
        }
        self.sleepers.fetch_sub(1, Relaxed);
    }

    /// [`acquire`](Self::acquire) that waits for nothing: `false` also when another thread has the
    /// lock.
    pub(crate) fn try_acquire(&self, thread: usize) -> bool {
        self.holder.compare_exchange(0, thread, SeqCst, Relaxed).is_ok()
    }

    /// Whether this thread holds the lock.
    pub(crate) fn is_held_by(&self, thread: usize) -> bool {
        self.holder.load(Relaxed) == thread
    }

    /// For the thread that forks, after [`ForkGuard::begin`]: waits until no other thread has the
    /// lock.
    pub(crate) fn wait_until_free(&self, thread: usize) {
        let mut turn = 0;
        while !matches!(self.holder.load(SeqCst), holder if holder == 0 || holder == thread) {
            wait_a_turn(turn);
            turn = turn.saturating_add(1);
        }
    }

    /// In a child process: whether a thread has the lock that the child does not have. The lock is
    /// free afterwards.
    pub(crate) fn take_from_the_lost(&self, thread: usize) -> bool {
        // Words that have the right value are not written to: the child shares their pages with its
        // parent.
        if self.sleepers.load(Relaxed) != 0 {
            self.sleepers.store(0, Relaxed);
        }
        let holder = self.holder.load(Relaxed);
        let lost = holder != 0 && holder != thread;
        if lost {
            self.holder.store(0, Relaxed);
        }
        lost
    }
}
