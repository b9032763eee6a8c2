//! `bitcoin_support_locked_pool_options`: choices for a pool.

use crate::pages::{ForkPolicy, SecretMemory};
use crate::pool::PoolOptions;
use core::mem::offset_of;

/// What a child process finds after fork in memory that its parent had. The parent's memory stays
/// as it is.
pub type bitcoin_support_fork_policy = u32;

/// The contents, locked again before fork returns. This is the default, and what a daemon needs.
pub const BITCOIN_SUPPORT_FORK_KEEP: u32 = 0;
/// Zeros, locked. Chunks stay allocated. A child must not use objects in them that cannot be all
/// zeros, such as pointers.
pub const BITCOIN_SUPPORT_FORK_WIPE: u32 = 1;
/// No memory: an access ends the process. The child's pool is empty. In the child, freeing a chunk
/// of the parent's succeeds and does nothing. A child must not use objects in them.
pub const BITCOIN_SUPPORT_FORK_ABSENT: u32 = 2;

/// Whether a pool uses secret memory (Linux's memfd_secret), which no other process can read,
/// whatever its privileges. It can only be combined with BITCOIN_SUPPORT_FORK_ABSENT. The machine
/// refuses to hibernate while secret memory is in use.
pub type bitcoin_support_secret_memory = u32;

/// The pool uses ordinary memory. The default.
pub const BITCOIN_SUPPORT_SECRET_MEMORY_OFF: u32 = 0;
/// The pool uses secret memory where the system has it, and ordinary locked memory elsewhere. The
/// statistics give the reason.
pub const BITCOIN_SUPPORT_SECRET_MEMORY_PREFER: u32 = 1;
/// The pool uses only secret memory.
pub const BITCOIN_SUPPORT_SECRET_MEMORY_REQUIRE: u32 = 2;

/// Choices for a pool. Set all members to zero, which stands for the defaults, then set `size`,
/// then the members of your choice. bitcoin_support_locked_pool_options_init does the first two
/// steps. Later versions append members, and give `reserved` a meaning; a member that `size` does
/// not cover has its default. A `size` is BITCOIN_SUPPORT_BAD_OPTION if it ends within a member, or
/// is larger than that of this version.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct bitcoin_support_locked_pool_options {
    /// sizeof(bitcoin_support_locked_pool_options).
    pub size: usize,
    /// A BITCOIN_SUPPORT_FORK_ value.
    pub fork_policy: bitcoin_support_fork_policy,
    /// A BITCOIN_SUPPORT_SECRET_MEMORY_ value.
    pub secret_memory: bitcoin_support_secret_memory,
    /// Size of a page in bytes: the common size or that of a huge page. 0 for the common size.
    pub page_size: usize,
    /// Size of an arena in bytes, and of the largest chunk: a multiple of the page size. 0 for
    /// BITCOIN_SUPPORT_ARENA_SIZE.
    pub arena_size: usize,
    /// The most bytes that all arenas together may have. 0 for no such limit.
    pub max_size: usize,
    /// Whether to raise the process's limit on locked memory first: see
    /// bitcoin_support_raise_lock_limit. It stays raised if the call fails for another reason.
    pub raise_lock_limit: bool,
    /// Whether the pool must have the four protections of its memory besides the lock that
    /// bitcoin_support_protection lists. If so, the pool cannot be made where the system refuses
    /// one, and an allocation fails that would need memory without it.
    pub require_protections: bool,
    /// Zeros. Anything else is BITCOIN_SUPPORT_BAD_OPTION: a later version may have an option here
    /// that this one does not know.
    pub reserved: [u8; 6],
}

// No padding follows the last member: a member that a later version put there would not change the
// size, by which the library knows what a caller has set.
const _: () = assert!(
    offset_of!(bitcoin_support_locked_pool_options, reserved) + 6
        == size_of::<bitcoin_support_locked_pool_options>()
);

impl bitcoin_support_locked_pool_options {
    /// The options as Rust has them. `None` when a member has an unknown value.
    fn to_options(self) -> Option<PoolOptions> {
        let fork = match self.fork_policy {
            BITCOIN_SUPPORT_FORK_KEEP => ForkPolicy::Keep,
            BITCOIN_SUPPORT_FORK_WIPE => ForkPolicy::Wipe,
            BITCOIN_SUPPORT_FORK_ABSENT => ForkPolicy::Absent,
            _ => return None,
        };
        let secret_memory = match self.secret_memory {
            BITCOIN_SUPPORT_SECRET_MEMORY_OFF => SecretMemory::Off,
            BITCOIN_SUPPORT_SECRET_MEMORY_PREFER => SecretMemory::Prefer,
            BITCOIN_SUPPORT_SECRET_MEMORY_REQUIRE => SecretMemory::Require,
            _ => return None,
        };
        if self.reserved != [0; 6] {
            return None;
        }
        let mut options = PoolOptions::new().fork_policy(fork).secret_memory(secret_memory);
        options = options
            .raise_lock_limit(self.raise_lock_limit)
            .require_protections(self.require_protections);
        if self.page_size != 0 {
            options = options.page_size(self.page_size);
        }
        if self.arena_size != 0 {
            options = options.arena_size(self.arena_size);
        }
        if self.max_size != 0 {
            options = options.max_size(self.max_size);
        }
        Some(options)
    }
}

/// Reads a caller's options. `None` when their `size` is not one of this version, or a member has
/// an unknown value.
///
/// # Safety
/// `options` must point to options of the `size` that they state.
pub(super) unsafe fn read_options(
    options: *const bitcoin_support_locked_pool_options,
) -> Option<PoolOptions> {
    // SAFETY: the caller promises options of at least the member `size`, which is the first.
    let size = unsafe { options.cast::<usize>().read() };
    let mut read = bitcoin_support_locked_pool_options::default();
    // A `size` must end where a member ends. A larger one is refused, since members of a later
    // version may ask for something that this version does not have.
    const ENDS: [usize; 9] = [
        offset_of!(bitcoin_support_locked_pool_options, fork_policy),
        offset_of!(bitcoin_support_locked_pool_options, secret_memory),
        offset_of!(bitcoin_support_locked_pool_options, page_size),
        offset_of!(bitcoin_support_locked_pool_options, arena_size),
        offset_of!(bitcoin_support_locked_pool_options, max_size),
        offset_of!(bitcoin_support_locked_pool_options, raise_lock_limit),
        offset_of!(bitcoin_support_locked_pool_options, require_protections),
        offset_of!(bitcoin_support_locked_pool_options, reserved),
        size_of::<bitcoin_support_locked_pool_options>(),
    ];
    if !ENDS.contains(&size) {
        return None;
    }
    // Every byte is a valid value of a number, but not of a `bool`: those two are read on their
    // own.
    let flags = offset_of!(bitcoin_support_locked_pool_options, raise_lock_limit);
    let last = offset_of!(bitcoin_support_locked_pool_options, require_protections);
    let reserved = offset_of!(bitcoin_support_locked_pool_options, reserved);
    // SAFETY: the caller's options have `size` bytes, and each read stays below `size`. The first
    // write stays below `flags`, the offset of the first `bool` in `read`, and all members before
    // that are numbers; the last one fills an array of numbers.
    unsafe {
        let bytes = options.cast::<u8>();
        (&raw mut read).cast::<u8>().copy_from_nonoverlapping(bytes, size.min(flags));
        read.raise_lock_limit = size > flags && bytes.add(flags).read() != 0;
        read.require_protections = size > last && bytes.add(last).read() != 0;
        if size > reserved {
            read.reserved = bytes.add(reserved).cast::<[u8; 6]>().read();
        }
    }
    read.to_options()
}

/// Sets all options to their defaults, and the member `size` to `size`, which is
/// sizeof(bitcoin_support_locked_pool_options): so a program that was compiled with an earlier
/// version has no more written than it knows of. NULL does nothing, and a `size` that is less than
/// that member does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_options_init(
    options: *mut bitcoin_support_locked_pool_options,
    size: usize,
) {
    if options.is_null() || size < size_of::<usize>() {
        return;
    }
    // SAFETY: `options` is not null, and the caller promises that it is valid for a write of `size`
    // bytes, in which the member `size` has room.
    unsafe {
        options.cast::<u8>().write_bytes(0, size);
        options.cast::<usize>().write(size);
    }
}
