//! The protections of locked memory besides the lock.

use crate::pages::{Protection, ProtectionError};
use core::ffi::{c_char, c_int};

/// A protection of memory for secrets besides the lock, which the system can refuse. (Guard pages
/// are not among them: if they cannot be had, the memory is not mapped.)
pub type bitcoin_support_protection = u32;

/// The memory is left out of core dumps.
pub const BITCOIN_SUPPORT_PROTECTION_DUMP_EXCLUSION: u32 = 0;
/// The kernel carries out the fork policy. Where it refuses, the library carries the policy out in
/// children that the C library makes; a child made by the bare system call has the contents.
pub const BITCOIN_SUPPORT_PROTECTION_FORK_POLICY: u32 = 1;
/// The memory is not merged with equal pages.
pub const BITCOIN_SUPPORT_PROTECTION_NO_MERGING: u32 = 2;
/// The memory is not backed by huge pages.
pub const BITCOIN_SUPPORT_PROTECTION_NO_HUGE_PAGES: u32 = 3;

/// The refusals of one protection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bitcoin_support_missing_protection {
    /// Bytes that lack the protection although they were to have it.
    pub bytes: usize,
    /// Error number of the last refusal (0: none).
    pub error: c_int,
}

/// What an administrator can do about a refused protection, in one line of English. `protection` is
/// a BITCOIN_SUPPORT_PROTECTION_ value, `error` the error number from the statistics. Never NULL.
/// The text must not be freed.
/// cbindgen:postfix=BITCOIN_SUPPORT_NEVER_NULL
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_protection_remedy(
    protection: bitcoin_support_protection,
    error: c_int,
) -> *const c_char {
    const {
        assert!(Protection::DumpExclusion as u32 == BITCOIN_SUPPORT_PROTECTION_DUMP_EXCLUSION);
        assert!(Protection::ForkPolicy as u32 == BITCOIN_SUPPORT_PROTECTION_FORK_POLICY);
        assert!(Protection::NoMerging as u32 == BITCOIN_SUPPORT_PROTECTION_NO_MERGING);
        assert!(Protection::NoHugePages as u32 == BITCOIN_SUPPORT_PROTECTION_NO_HUGE_PAGES);
    }
    let known = Protection::ALL.get(protection as usize).copied();
    let protection = known.unwrap_or(Protection::DumpExclusion);
    ProtectionError { protection, errno: error }.remedy_text().as_ptr()
}
