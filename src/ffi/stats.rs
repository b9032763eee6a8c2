//! The figures of a pool, and those of all memory for secrets.

use super::handle::handle_ref;
use super::pool::bitcoin_support_locked_pool;
use super::protection::bitcoin_support_missing_protection;
use super::sized::fill;
use super::status::{BITCOIN_SUPPORT_NULL_ARGUMENT, BITCOIN_SUPPORT_OK, bitcoin_support_status};
use crate::pages::{LockError, MemoryStats, Missing, Protection, memory_stats};
use crate::pool::PoolStats;
use core::ffi::c_int;

/// Statistics of a locked pool. `used + free == total` always. Later versions append members.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bitcoin_support_locked_pool_stats {
    /// Bytes in used chunks, padding included.
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
    /// The most bytes that were in used chunks at any time. For the process-wide pool with several
    /// threads, the most that was seen.
    pub peak_used: usize,
    /// Number of arenas that could not be locked whole when the pool asked for them. It counts too
    /// when the pool got a smaller arena, which is locked.
    pub lock_failures: usize,
    /// Limit on locked bytes that was in force at the last of these failures (SIZE_MAX: none or
    /// unknown).
    pub last_lock_limit: usize,
    /// Error number of the last of these failures (0: none, or unknown).
    pub last_lock_error: c_int,
    /// Error number of the last refusal of secret memory, in a pool that was to use it (0: none).
    pub secret_memory_error: c_int,
    /// Bytes of `total` that are secret memory.
    pub secret_memory: usize,
    /// For each BITCOIN_SUPPORT_PROTECTION_ value, the bytes of `total` that lack the protection
    /// although they were to have it. Zeros behind these, for protections of later versions.
    /// (Nothing is known of a pool over a foreign page allocator.)
    pub missing_protections: [bitcoin_support_missing_protection; 8],
}

impl From<PoolStats> for bitcoin_support_locked_pool_stats {
    fn from(stats: PoolStats) -> Self {
        let none = bitcoin_support_missing_protection { bytes: 0, error: 0 };
        let mut missing_protections = [none; 8];
        for (entry, protection) in missing_protections.iter_mut().zip(Protection::ALL) {
            let Missing { bytes, errno } = stats.missing_protections.of(protection);
            *entry = bitcoin_support_missing_protection { bytes, error: errno };
        }
        let last = stats.last_lock_failure.unwrap_or(LockError { errno: 0, limit: usize::MAX });
        Self {
            used: stats.used,
            free: stats.free,
            total: stats.total,
            locked: stats.locked,
            chunks_used: stats.chunks_used,
            chunks_free: stats.chunks_free,
            arenas: stats.arenas,
            peak_used: stats.peak_used,
            lock_failures: stats.lock_failures,
            last_lock_limit: last.limit,
            last_lock_error: last.errno,
            secret_memory_error: stats.secret_memory_error.unwrap_or(0),
            secret_memory: stats.secret_memory,
            missing_protections,
        }
    }
}

/// Statistics of the pool. Takes constant time, except for the process-wide pool, where it takes a
/// step for each thread that uses the pool and stops those threads meanwhile.
///
/// `size` is sizeof(bitcoin_support_locked_pool_stats), which tells the library what members the
/// caller knows. Members that the library does not know become zeros.
///
/// Out: `*stats`. Returns: BITCOIN_SUPPORT_OK or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_get_stats(
    pool: *const bitcoin_support_locked_pool,
    stats: *mut bitcoin_support_locked_pool_stats,
    size: usize,
) -> bitcoin_support_status {
    // SAFETY: the caller promises a handle that is null or live.
    let Some(pool) = (unsafe { handle_ref(pool) }) else { return BITCOIN_SUPPORT_NULL_ARGUMENT };
    if stats.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    // SAFETY: `stats` is not null, and the caller promises that it is valid for `size` bytes.
    unsafe { fill(stats, size, &pool.stats().into()) };
    BITCOIN_SUPPORT_OK
}

/// What the library has mapped for secrets in this process. Later versions append members.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bitcoin_support_memory_stats {
    /// Number of mappings.
    pub mappings: usize,
    /// Bytes in all of them, in whole pages, without their guard pages.
    pub total: usize,
    /// Bytes of `total` that are locked into memory.
    pub locked: usize,
}

impl From<MemoryStats> for bitcoin_support_memory_stats {
    fn from(stats: MemoryStats) -> Self {
        let MemoryStats { mappings, total, locked } = stats;
        Self { mappings, total, locked }
    }
}

/// Figures of all memory that the library has mapped for secrets in this process: the arenas of
/// every pool over the system's own pages, the process-wide one included, the pages of sampled
/// chunks, secrets that are larger than an arena, closed secrets, and secret stacks. If `locked`
/// equals `total`, nothing in this memory can be swapped out. Memory that the process has not got
/// because it is a child of fork(), and memory of foreign page allocators, are not counted.
///
/// The figures belong together as long as no other thread makes or frees a mapping meanwhile. Takes
/// a step for each mapping, and no lock. Threads may call it at the same time.
///
/// `size` is sizeof(bitcoin_support_memory_stats), which tells the library what members the caller
/// knows. Members that the library does not know become zeros.
///
/// Out: `*stats`. Returns: BITCOIN_SUPPORT_OK or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_get_memory_stats(
    stats: *mut bitcoin_support_memory_stats,
    size: usize,
) -> bitcoin_support_status {
    if stats.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    // SAFETY: `stats` is not null, and the caller promises that it is valid for `size` bytes.
    unsafe { fill(stats, size, &memory_stats().into()) };
    BITCOIN_SUPPORT_OK
}
