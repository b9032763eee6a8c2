//! What is remembered of the last refusal to lock memory, so that a pool at its limit does not ask
//! the system again for every allocation.

use crate::pages;

/// How often a refusal is believed before the limit is looked at again.
const BELIEVED: u32 = 16;

/// How often locked stacks become idle, at most, before another attempt is worth it.
const MAX_PATIENCE: usize = 64;

/// The last refusal to lock memory.
pub(crate) struct LockRefusal {
    /// Bytes that could not be locked. To lock less is worth another attempt. `usize::MAX` if
    /// nothing was refused.
    bytes: usize,
    /// The limit on locked memory in bytes then. Under a higher one, another attempt is worth it.
    limit: usize,
    /// What [`pages::stacks_idle_again`] was before the attempt. A secret stack that was in a call
    /// may give way to another attempt when it is idle.
    idle_again: usize,
    /// How often locked stacks have to become idle before another attempt is worth it: once, and
    /// after each attempt that is refused again, twice as often. They may never give way: a pool
    /// that is used in calls alone finds the stack in a call each time, and a sandbox may forbid
    /// all locks.
    patience: usize,
    /// How often the refusal has been believed since the limit was last looked at.
    believed: u32,
}

impl LockRefusal {
    pub(crate) const fn none() -> Self {
        Self { bytes: usize::MAX, limit: 0, idle_again: 0, patience: 1, believed: 0 }
    }

    /// Notes that so many bytes could not be locked under a limit. `idle_again` is what
    /// [`pages::stacks_idle_again`] was before the attempt: a stack that has become idle meanwhile
    /// counts.
    pub(super) fn set(&mut self, bytes: usize, limit: usize, idle_again: usize) {
        if limit > self.limit {
            self.patience = 1;
        } else if bytes >= self.bytes {
            self.patience = MAX_PATIENCE.min(2 * self.patience);
        }
        // Otherwise less than before has been refused, and the patience stays: where a program asks
        // for two sizes in turn, it would begin anew each time.
        self.bytes = bytes;
        self.limit = limit;
        self.idle_again = idle_again;
    }

    /// Notes that memory has been locked: the next refusal is the first of its kind.
    pub(super) fn note_locked(&mut self) {
        self.patience = 1;
    }

    /// Makes every attempt worth it again: memory has been unlocked, or the limit raised.
    pub(crate) fn forget(&mut self) {
        self.bytes = usize::MAX;
        self.patience = 1;
    }

    /// Notes that so many bytes have been unlocked: as many more may be locked now.
    pub(crate) fn note_unlocked(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if bytes > 0 {
            self.patience = 1;
        }
    }

    /// Whether so many bytes were refused, under whatever limit, and locked stacks have not become
    /// idle often enough since.
    pub(super) fn covers(&self, bytes: usize) -> bool {
        let idle_since = || pages::stacks_idle_again().wrapping_sub(self.idle_again);
        bytes >= self.bytes && idle_since() < self.patience
    }

    /// Whether so many bytes were refused under a limit as high as this one.
    pub(super) fn holds(&self, bytes: usize, limit: usize) -> bool {
        self.covers(bytes) && limit <= self.limit
    }

    /// Whether a refusal that [`covers`](Self::covers) an attempt is still in force. Looks at the
    /// limit, which takes a system call, once in [`BELIEVED`] times.
    pub(super) fn is_believed(&mut self) -> bool {
        self.believed += 1;
        if self.believed < BELIEVED {
            return true;
        }
        self.believed = 0;
        pages::lock_limit() <= self.limit
    }
}
