//! What is remembered of the last refusal to lock memory, so that a pool at its limit does not ask
//! the system again for every allocation.

use crate::pages;

/// How often a refusal is believed before the limit is looked at again.
const BELIEVED: u32 = 16;

/// The last refusal to lock memory.
pub(crate) struct LockRefusal {
    /// Bytes that could not be locked. To lock less is worth another attempt. `usize::MAX` if
    /// nothing was refused.
    bytes: usize,
    /// The limit on locked memory in bytes then. Under a higher one, another attempt is worth it.
    limit: usize,
    /// What [`pages::stacks_idle_again`] was then. A secret stack that was in a call may give way
    /// to another attempt when it is idle.
    idle_again: usize,
    /// How often the refusal has been believed since the limit was last looked at.
    believed: u32,
}

impl LockRefusal {
    pub(crate) const fn none() -> Self {
        Self { bytes: usize::MAX, limit: 0, idle_again: 0, believed: 0 }
    }

    /// Notes that so many bytes could not be locked under a limit.
    pub(super) fn set(&mut self, bytes: usize, limit: usize) {
        self.bytes = bytes;
        self.limit = limit;
        self.idle_again = pages::stacks_idle_again();
    }

    /// Makes every attempt worth it again: memory has been unlocked, or the limit raised.
    pub(crate) fn forget(&mut self) {
        self.bytes = usize::MAX;
    }

    /// Notes that so many bytes have been unlocked: as many more may be locked now.
    pub(crate) fn note_unlocked(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether so many bytes were refused, under whatever limit, and no locked stack has become
    /// idle since.
    pub(super) fn covers(&self, bytes: usize) -> bool {
        bytes >= self.bytes && pages::stacks_idle_again() == self.idle_again
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
