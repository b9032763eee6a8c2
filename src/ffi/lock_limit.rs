//! The limit on locked memory: how to raise it, and what to do about a refused lock.

use super::status::{BITCOIN_SUPPORT_NOT_AVAILABLE, BITCOIN_SUPPORT_OK, bitcoin_support_status};
use crate::pages::{self, LockError};
use core::ffi::{c_char, c_int};

/// What an administrator can do about memory that could not be locked, in one line of English.
/// `error` and `limit` are the figures that the callback or the statistics gave. Never NULL. The
/// text must not be freed.
/// cbindgen:postfix=BITCOIN_SUPPORT_NEVER_NULL
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_lock_remedy(error: c_int, limit: usize) -> *const c_char {
    LockError { errno: error, limit }.remedy_text().as_ptr()
}

/// Raises the process's limit on locked memory (RLIMIT_MEMLOCK) to its hard limit, which needs no
/// privilege. The library never does so unless it is asked. `limit` may be NULL.
///
/// Out: `*limit`, the limit afterwards in bytes (SIZE_MAX: none).
/// Returns: BITCOIN_SUPPORT_OK or _NOT_AVAILABLE (a sandbox forbids it).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_raise_lock_limit(
    limit: *mut usize,
) -> bitcoin_support_status {
    let Ok(raised) = pages::raise_lock_limit() else { return BITCOIN_SUPPORT_NOT_AVAILABLE };
    if !limit.is_null() {
        // SAFETY: `limit` is not null, and the caller promises that it is valid for a write.
        unsafe { limit.write(raised) };
    }
    BITCOIN_SUPPORT_OK
}
