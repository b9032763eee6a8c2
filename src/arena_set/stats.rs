//! `PoolStats`: what a pool holds.

use crate::pages::{LockError, MissingProtections};

/// What a pool holds. `used + free == total` always.
///
/// ```
/// use bitcoin_support::{LockedPoolManager, SecureBox};
///
/// let _key = SecureBox::<[u8; 32]>::random();
/// let stats = LockedPoolManager::instance().stats();
/// println!("{} of {} bytes are used, {} at the peak", stats.used, stats.total, stats.peak_used);
/// if !stats.is_fully_locked() {
///     println!("{} bytes may be swapped out", stats.total - stats.locked);
/// }
/// if let Some(error) = stats.last_lock_failure {
///     println!("{error}"); // why, and what to do
/// }
/// if let Some(error) = stats.missing_protections.refusal() {
///     println!("{error}"); // core dumps, for instance, where a sandbox forbids `madvise`
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Bytes in used chunks, alignment padding included.
    pub used: usize,
    /// Bytes in free chunks.
    pub free: usize,
    /// Bytes in all arenas.
    pub total: usize,
    /// Bytes of `total` that are locked into memory.
    pub locked: usize,
    /// Number of used chunks.
    pub chunks_used: usize,
    /// Number of free chunks.
    pub chunks_free: usize,
    /// Number of arenas.
    pub arenas: usize,
    /// The most bytes that were ever in used chunks at once. In the process-wide pool this is exact
    /// while one thread uses it. With several threads it is the highest figure that was seen, at
    /// moments when a thread took the pool's mutex. It may be above `total`, as arenas and the
    /// pages of sampled chunks are given back.
    pub peak_used: usize,
    /// How often an arena was wanted and could not be locked whole: each time the pool made do with
    /// a smaller one, with unlocked memory, or failed.
    pub lock_failures: usize,
    /// The last lock failure. It does not tell whether there is unlocked memory: see
    /// [`is_fully_locked`](Self::is_fully_locked).
    pub last_lock_failure: Option<LockError>,
    /// Bytes of `total` that are secret memory, see [`SecretMemory`](crate::SecretMemory).
    pub secret_memory: usize,
    /// Why the pool, which was to use secret memory, last had to do without: the operating system's
    /// error number (`ENOSYS` when it has none). That it may not lock so much counts as a lock
    /// failure instead.
    pub secret_memory_error: Option<i32>,
    /// The protections besides the lock that the system has refused to the pool's memory, and why.
    /// Their `bytes` are part of `total`. (Of a pool over a foreign page allocator, nothing is
    /// known.)
    pub missing_protections: MissingProtections,
}

impl PoolStats {
    /// The figures of a pool that holds nothing.
    pub(crate) const NOTHING: Self = Self {
        used: 0,
        free: 0,
        total: 0,
        locked: 0,
        chunks_used: 0,
        chunks_free: 0,
        arenas: 0,
        peak_used: 0,
        lock_failures: 0,
        last_lock_failure: None,
        secret_memory: 0,
        secret_memory_error: None,
        missing_protections: MissingProtections::NONE,
    };

    /// Whether all memory of the pool is locked, so that no secret in it can be swapped out. A pool
    /// may have had lock failures and be fully locked: it made do with smaller arenas, or it
    /// refused allocations.
    pub const fn is_fully_locked(&self) -> bool {
        self.locked == self.total
    }
}

/// The lock failures that a pool had counted at some moment.
#[derive(Clone, Copy)]
pub(crate) struct LockFailures {
    count: usize,
    last: Option<LockError>,
}

impl PoolStats {
    /// The lock failures counted so far.
    pub(crate) fn failures(&self) -> LockFailures {
        LockFailures { count: self.lock_failures, last: self.last_lock_failure }
    }

    /// How many lock failures have been counted since a moment.
    pub(crate) fn failures_since(&self, before: LockFailures) -> usize {
        self.lock_failures - before.count
    }

    /// Takes back the failures that have been counted since a moment.
    pub(crate) fn take_back_failures(&mut self, before: LockFailures) {
        (self.lock_failures, self.last_lock_failure) = (before.count, before.last);
    }

    /// Counts an arena that was wanted and could not be locked whole.
    pub(crate) fn count_lock_failure(&mut self, error: LockError) {
        self.lock_failures += 1;
        self.last_lock_failure = Some(error);
    }
}
