//! `PoolOptions`: what can be chosen when a pool is made, and how the process-wide pool is told.

use super::error::{ConfigureError, PoolError};
use crate::arena::ArenaSizeToChunkSortedMap;
use crate::arena_set::{ARENA_ALIGN, ARENA_SIZE, MemoryOptions};
use crate::pages::{self, ForkPolicy, SecretMemory};

/// Largest arena in bytes, just under 1 GiB: its bookkeeping could span more.
const LARGEST_ARENA: usize = ArenaSizeToChunkSortedMap::MAX_GRANULES / ARENA_ALIGN * ARENA_ALIGN;

/// Choices for a pool over the operating system's own pages, made before its first use. Whatever is
/// not chosen is as in [`LockedPool::default`](crate::LockedPool::default).
///
/// ```
/// use bitcoin_support::{ForkPolicy, LockedPool, PoolOptions, SecretMemory};
///
/// let options = PoolOptions::new()
///     .fork_policy(ForkPolicy::Absent)
///     .secret_memory(SecretMemory::Prefer)
///     .max_size(1 << 20);
/// let pool = LockedPool::with_options(&options)?;
/// assert!(pool.alloc(32, 16).is_some());
/// # Ok::<(), bitcoin_support::PoolError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PoolOptions {
    pub(super) fork_policy: ForkPolicy,
    pub(super) secret_memory: SecretMemory,
    pub(super) page_size: Option<usize>,
    pub(super) arena_size: Option<usize>,
    pub(super) max_size: Option<usize>,
    pub(super) raise_lock_limit: bool,
    pub(super) require_protections: bool,
}

impl PoolOptions {
    /// Nothing but defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a child process finds in the pool's memory.
    #[must_use]
    pub fn fork_policy(mut self, policy: ForkPolicy) -> Self {
        self.fork_policy = policy;
        self
    }

    /// Whether the pool uses secret memory, for which the fork policy must be
    /// [`ForkPolicy::Absent`].
    #[must_use]
    pub fn secret_memory(mut self, secret_memory: SecretMemory) -> Self {
        self.secret_memory = secret_memory;
        self
    }

    /// Size of a page in bytes: the system's common one, which is the default, or one of huge pages
    /// ([`has_page_size`](crate::has_page_size)), which suits programs with very many secrets and
    /// administrators who set such pages aside.
    #[must_use]
    pub fn page_size(mut self, bytes: usize) -> Self {
        self.page_size = Some(bytes);
        self
    }

    /// Size of an arena, and of the largest chunk, in bytes: a multiple of the page size. The
    /// default is [`LockedPool::ARENA_SIZE`](crate::LockedPool::ARENA_SIZE), rounded up to a whole
    /// page.
    #[must_use]
    pub fn arena_size(mut self, bytes: usize) -> Self {
        self.arena_size = Some(bytes);
        self
    }

    /// The most that all arenas together may have in bytes, at least the size of one; without it
    /// there is no such limit.
    #[must_use]
    pub fn max_size(mut self, bytes: usize) -> Self {
        self.max_size = Some(bytes);
        self
    }

    /// Whether to raise the process's limit on locked memory first, as
    /// [`raise_lock_limit`](crate::raise_lock_limit) does. The library never does it otherwise.
    #[must_use]
    pub fn raise_lock_limit(mut self, raise: bool) -> Self {
        self.raise_lock_limit = raise;
        self
    }

    /// Whether the pool has every protection of its memory besides the lock
    /// ([`Protection`](crate::Protection)) or fails: it cannot be made where the system refuses
    /// one, and an allocation fails that would need memory without it. Otherwise the pool does
    /// without what is refused, and the statistics tell
    /// ([`PoolStats::missing_protections`](crate::PoolStats::missing_protections)). (The
    /// callback that decides about memory that is not locked is set by
    /// [`LockedPool::set_locking_failed`](crate::LockedPool::set_locking_failed).)
    #[must_use]
    pub fn require_protections(mut self, require: bool) -> Self {
        self.require_protections = require;
        self
    }

    /// Whether the other options and the system allow what `secret_memory` asks for.
    fn check_secret_memory(&self) -> Result<(), PoolError> {
        if self.secret_memory == SecretMemory::Off {
            return Ok(());
        }
        if self.fork_policy != ForkPolicy::Absent {
            return Err(PoolError::SecretMemoryInChild(self.fork_policy));
        }
        if self.secret_memory == SecretMemory::Require {
            pages::has_secret_memory().map_err(PoolError::SecretMemory)?;
        }
        Ok(())
    }

    /// Size of a page, of an arena, and of all arenas, all valid.
    pub(super) fn sizes(&self) -> Result<(usize, usize, usize), PoolError> {
        let page_size = self.page_size.unwrap_or_else(pages::page_size);
        if !pages::has_page_size(page_size) {
            return Err(PoolError::PageSize(page_size));
        }
        if page_size != pages::page_size() && self.secret_memory != SecretMemory::Off {
            return Err(PoolError::SecretMemoryPageSize(page_size));
        }
        let default = ARENA_SIZE.next_multiple_of(page_size);
        let arena_size = self.arena_size.unwrap_or(default);
        if arena_size == 0 || arena_size % page_size != 0 || arena_size > LARGEST_ARENA {
            return Err(PoolError::ChunkSize(arena_size));
        }
        let max_size = self.max_size.unwrap_or(usize::MAX);
        if max_size < arena_size {
            return Err(PoolError::MaxSize(max_size));
        }
        Ok((page_size, arena_size, max_size))
    }

    /// Checks whether the system has what the options ask for, and raises the limit on locked
    /// memory if they ask for that.
    pub(super) fn prepare(&self) -> Result<(), PoolError> {
        self.check_secret_memory()?;
        if self.require_protections {
            let refused = pages::refused_protection(self.fork_policy).map_err(PoolError::Map)?;
            refused.map_or(Ok(()), |error| Err(PoolError::Protection(error)))?;
        }
        if self.raise_lock_limit {
            pages::raise_lock_limit().map_err(PoolError::LockLimit)?;
        }
        Ok(())
    }

    /// The options of the pool's memory.
    pub(super) fn memory(&self) -> MemoryOptions {
        MemoryOptions {
            fork: self.fork_policy,
            secret_memory: self.secret_memory,
            require_protections: self.require_protections,
        }
    }

    /// Whether the process-wide pool can have these options.
    pub(super) fn check_for_process(&self) -> Result<(), ConfigureError> {
        if self.page_size.is_some() || self.arena_size.is_some() || self.max_size.is_some() {
            return Err(ConfigureError::Size);
        }
        Ok(())
    }
}
