//! What can be chosen about pages.

use super::limits::page_size;

/// What a child process finds, after `fork`, in memory for secrets that its parent had.
///
/// Under each policy the parent's memory stays as it is, memory that the child allocates itself is
/// locked, and the child's statistics count the child's memory. The policy makes no difference for
/// a child that only calls `exec`, or one made by `vfork` or `posix_spawn`. (A child made by the
/// bare system call, past the C library, has nothing locked. On Linux its memory is wiped or absent
/// all the same under [`Wipe`](Self::Wipe) and [`Absent`](Self::Absent), but its pools do not know
/// that.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForkPolicy {
    /// The contents, locked again before `fork` returns: memory locks are not inherited. What a
    /// daemon needs, which forks with its secrets at hand and leaves the parent to end.
    #[default]
    Keep,
    /// Zeros, locked. Chunks stay allocated, so that the child can free them, and use them. Objects
    /// in them that the child goes on to use must be valid when all their bytes are zeros: plain
    /// data is, references and containers in locked memory are not. (So for the secret types it
    /// takes [`configure_unchecked`](crate::LockedPoolManager::configure_unchecked).)
    Wipe,
    /// Nothing: an access ends the process. The child's pool is empty; the chunks that its parent
    /// had are not counted in it, and to free one, which succeeds, does nothing. So objects of this
    /// library that the child has inherited can be dropped; values in them whose own destructor
    /// looks at them cannot.
    Absent,
}

/// Whether pools use secret memory, which no other process can read, not even a privileged one that
/// reads `/proc/PID/mem` or traces this one: Linux's `memfd_secret`.
///
/// It is locked from the start, counts against the same limit as locked memory, and cannot be kept
/// in a child process: it goes with [`ForkPolicy::Absent`] only. It makes growth of a pool slower
/// (a few microseconds for each page), and while it is in use the machine refuses to hibernate.
/// System calls that lend pages to a device (`O_DIRECT`, `vmsplice`) refuse it; `read` and `write`
/// take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretMemory {
    /// Ordinary memory.
    #[default]
    Off,
    /// Where the system has it, and else ordinary locked memory: the statistics tell which, and
    /// why.
    Prefer,
    /// Only secret memory: a pool that cannot have it cannot be made, and an allocation fails when
    /// there is no more of it.
    Require,
}

/// What pages are asked for, besides their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageOptions {
    /// In bytes: the common size or, where the system has them, that of huge pages.
    pub(crate) page_size: usize,
    pub(crate) fork: ForkPolicy,
    /// Goes with pages of the common size and [`ForkPolicy::Absent`] only.
    pub(crate) secret_memory: SecretMemory,
    /// Whether pages that cannot be locked are given up.
    pub(crate) require_lock: bool,
    /// Whether pages that lack another protection are given up.
    pub(crate) require_protections: bool,
    /// Whether they are a stack of the calling thread, on which that thread alone runs until they
    /// are unmapped. A child of `fork` has it only if it is this thread that forks. Nothing is
    /// locked yet: [`lock_stack`](super::LockedPages::lock_stack) does that. Goes with
    /// [`ForkPolicy::Keep`] and ordinary memory only.
    pub(crate) is_stack: bool,
}

impl Default for PageOptions {
    fn default() -> Self {
        Self {
            page_size: page_size(),
            fork: ForkPolicy::Keep,
            secret_memory: SecretMemory::Off,
            require_lock: false,
            require_protections: false,
            is_stack: false,
        }
    }
}
