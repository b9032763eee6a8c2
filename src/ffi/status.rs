//! The outcome of a call: a status, its name, its message, and the Rust errors that become one.

use crate::arena::{ArenaError, FreeError};
use crate::pool::{ConfigureError, PoolError};
#[cfg(feature = "sealed")]
use crate::sealed::SealedError;
use core::ffi::{CStr, c_char, c_int};

/// Outcome of a call. After any status but BITCOIN_SUPPORT_OK, everything is as it was before the
/// call, unless the status or the function says otherwise. Later versions have more statuses: take
/// one that you do not know for a failure.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum bitcoin_support_status {
    /// Success.
    BITCOIN_SUPPORT_OK = 0,
    /// No used chunk begins at the address: the chunk was freed before, or the address lies inside
    /// a chunk, or it was never allocated.
    BITCOIN_SUPPORT_INVALID_FREE = 1,
    /// The address is in no arena of the pool.
    BITCOIN_SUPPORT_NOT_IN_POOL = 2,
    /// A used chunk begins at the address, but it has another size or alignment.
    BITCOIN_SUPPORT_SIZE_MISMATCH = 3,
    /// The alignment is not a power of two.
    BITCOIN_SUPPORT_BAD_ALIGNMENT = 4,
    /// The region begins at the null address or wraps around the address space.
    BITCOIN_SUPPORT_BAD_REGION = 5,
    /// There is no memory for the bookkeeping, or no locked memory for a buffer.
    BITCOIN_SUPPORT_OUT_OF_MEMORY = 6,
    /// A pointer that must not be NULL is NULL.
    BITCOIN_SUPPORT_NULL_ARGUMENT = 7,
    /// The caller's buffer is too small for the answer.
    BITCOIN_SUPPORT_BUFFER_TOO_SMALL = 8,
    /// The system cannot supply random bytes.
    BITCOIN_SUPPORT_NO_RANDOMNESS = 9,
    /// The pool is in use already, and the call must come before its first use.
    BITCOIN_SUPPORT_IN_USE = 10,
    /// An option has an unknown value, contradicts another option, or cannot be chosen for this
    /// pool.
    BITCOIN_SUPPORT_BAD_OPTION = 11,
    /// The system does not have the feature, or does not allow its use.
    BITCOIN_SUPPORT_NOT_AVAILABLE = 12,
    /// The chunk was a sampled one (see bitcoin_support_locked_pool_sample), and bytes next to it
    /// have been overwritten. The chunk has been wiped and freed nevertheless.
    BITCOIN_SUPPORT_OVERRUN = 13,
    /// The call was made in a signal handler that interrupted the same thread inside this pool.
    BITCOIN_SUPPORT_INTERRUPTED = 14,
    /// The handle is not a live handle of this type: it has been destroyed, or it is the handle of
    /// the process-wide pool, which cannot be destroyed.
    BITCOIN_SUPPORT_INVALID_HANDLE = 15,
    /// The sealed bytes are not those that were sealed in this context. Nothing has been opened.
    BITCOIN_SUPPORT_TAMPERED = 16,
    /// The key of the sealed secret has been wiped or rotated out, or has stayed with the parent of
    /// this process. The secret is gone.
    BITCOIN_SUPPORT_KEY_WIPED = 17,
    /// The sealing key cannot be rotated again: Rust code of this process has secrets that use all
    /// keys that there may be at a time.
    BITCOIN_SUPPORT_KEYS_IN_USE = 18,
    /// A size is not what it must be.
    BITCOIN_SUPPORT_BAD_SIZE = 19,
    /// The system has refused to close the secret: it stays as open as it was, until the next
    /// opening of it ends. The call has done all else that it was to do.
    BITCOIN_SUPPORT_STAYS_OPEN = 20,
    /// No call returns this. It makes the type as wide as int, whatever the compiler's options,
    /// with room for the statuses of later versions.
    BITCOIN_SUPPORT_STATUS_LIMIT = 0x7fff_ffff,
}

pub(super) use bitcoin_support_status::*;

/// Every status that a call returns, at the index that is its number.
const ALL: [bitcoin_support_status; 21] = [
    BITCOIN_SUPPORT_OK,
    BITCOIN_SUPPORT_INVALID_FREE,
    BITCOIN_SUPPORT_NOT_IN_POOL,
    BITCOIN_SUPPORT_SIZE_MISMATCH,
    BITCOIN_SUPPORT_BAD_ALIGNMENT,
    BITCOIN_SUPPORT_BAD_REGION,
    BITCOIN_SUPPORT_OUT_OF_MEMORY,
    BITCOIN_SUPPORT_NULL_ARGUMENT,
    BITCOIN_SUPPORT_BUFFER_TOO_SMALL,
    BITCOIN_SUPPORT_NO_RANDOMNESS,
    BITCOIN_SUPPORT_IN_USE,
    BITCOIN_SUPPORT_BAD_OPTION,
    BITCOIN_SUPPORT_NOT_AVAILABLE,
    BITCOIN_SUPPORT_OVERRUN,
    BITCOIN_SUPPORT_INTERRUPTED,
    BITCOIN_SUPPORT_INVALID_HANDLE,
    BITCOIN_SUPPORT_TAMPERED,
    BITCOIN_SUPPORT_KEY_WIPED,
    BITCOIN_SUPPORT_KEYS_IN_USE,
    BITCOIN_SUPPORT_BAD_SIZE,
    BITCOIN_SUPPORT_STAYS_OPEN,
];

const _: () = {
    assert!(BITCOIN_SUPPORT_STATUS_LIMIT as c_int == c_int::MAX);
    let mut number = 0;
    while number < ALL.len() {
        assert!(ALL[number] as usize == number);
        number += 1;
    }
};

impl bitcoin_support_status {
    /// The name and the message.
    const fn text(self) -> (&'static CStr, &'static CStr) {
        // Programs that are written against Bitcoin Core's code match on the messages of
        // INVALID_FREE and NOT_IN_POOL.
        match self {
            BITCOIN_SUPPORT_OK => (c"BITCOIN_SUPPORT_OK", c"success"),
            BITCOIN_SUPPORT_INVALID_FREE => {
                (c"BITCOIN_SUPPORT_INVALID_FREE", c"Arena: invalid or double free")
            }
            BITCOIN_SUPPORT_NOT_IN_POOL => (
                c"BITCOIN_SUPPORT_NOT_IN_POOL",
                c"LockedPool: invalid address not pointing to any arena",
            ),
            BITCOIN_SUPPORT_SIZE_MISMATCH => (
                c"BITCOIN_SUPPORT_SIZE_MISMATCH",
                c"Arena: free with another size or alignment than at allocation",
            ),
            BITCOIN_SUPPORT_BAD_ALIGNMENT => {
                (c"BITCOIN_SUPPORT_BAD_ALIGNMENT", c"Arena: alignment is not a power of two")
            }
            BITCOIN_SUPPORT_BAD_REGION => (
                c"BITCOIN_SUPPORT_BAD_REGION",
                c"Arena: region is null or wraps around the address space",
            ),
            BITCOIN_SUPPORT_OUT_OF_MEMORY => {
                (c"BITCOIN_SUPPORT_OUT_OF_MEMORY", c"no memory, or no locked memory")
            }
            BITCOIN_SUPPORT_NULL_ARGUMENT => {
                (c"BITCOIN_SUPPORT_NULL_ARGUMENT", c"a pointer that must not be null is null")
            }
            BITCOIN_SUPPORT_BUFFER_TOO_SMALL => {
                (c"BITCOIN_SUPPORT_BUFFER_TOO_SMALL", c"the buffer is too small for the answer")
            }
            BITCOIN_SUPPORT_NO_RANDOMNESS => {
                (c"BITCOIN_SUPPORT_NO_RANDOMNESS", c"the system cannot supply random bytes")
            }
            BITCOIN_SUPPORT_IN_USE => (c"BITCOIN_SUPPORT_IN_USE", c"the pool is in use already"),
            BITCOIN_SUPPORT_BAD_OPTION => (
                c"BITCOIN_SUPPORT_BAD_OPTION",
                c"LockedPool: an option has an unknown value, contradicts another option, or cannot \
                  be chosen for this pool",
            ),
            BITCOIN_SUPPORT_NOT_AVAILABLE => (
                c"BITCOIN_SUPPORT_NOT_AVAILABLE",
                c"the system does not have the feature, or does not allow its use",
            ),
            BITCOIN_SUPPORT_OVERRUN => (
                c"BITCOIN_SUPPORT_OVERRUN",
                c"LockedPool: bytes next to the chunk were written to; it has been freed",
            ),
            BITCOIN_SUPPORT_INTERRUPTED => (
                c"BITCOIN_SUPPORT_INTERRUPTED",
                c"LockedPool: a signal handler frees into a pool that the same thread is at work on",
            ),
            BITCOIN_SUPPORT_INVALID_HANDLE => (
                c"BITCOIN_SUPPORT_INVALID_HANDLE",
                c"not a live handle of this type: destroyed already, or never to be destroyed",
            ),
            BITCOIN_SUPPORT_TAMPERED => (
                c"BITCOIN_SUPPORT_TAMPERED",
                c"the sealed secret has been changed, or was sealed in another context",
            ),
            BITCOIN_SUPPORT_KEY_WIPED => {
                (c"BITCOIN_SUPPORT_KEY_WIPED", c"the key of the sealed secret is gone")
            }
            BITCOIN_SUPPORT_KEYS_IN_USE => (
                c"BITCOIN_SUPPORT_KEYS_IN_USE",
                c"the sealing key cannot be rotated before older secrets are sealed anew",
            ),
            BITCOIN_SUPPORT_BAD_SIZE => {
                (c"BITCOIN_SUPPORT_BAD_SIZE", c"a size is not what it must be")
            }
            BITCOIN_SUPPORT_STAYS_OPEN => (
                c"BITCOIN_SUPPORT_STAYS_OPEN",
                c"the system has refused to close the secret, which stays open",
            ),
            BITCOIN_SUPPORT_STATUS_LIMIT => UNKNOWN,
        }
    }
}

/// The name and the message of a number that is no status.
const UNKNOWN: (&CStr, &CStr) = (c"BITCOIN_SUPPORT_UNKNOWN", c"not a status of this library");

/// The name and the message of a number, which need not be that of a status.
fn status_text(number: c_int) -> (&'static CStr, &'static CStr) {
    let status = usize::try_from(number).ok().and_then(|number| ALL.get(number));
    status.map_or(UNKNOWN, |it| it.text())
}

impl From<ArenaError> for bitcoin_support_status {
    fn from(error: ArenaError) -> Self {
        match error {
            ArenaError::Alignment => BITCOIN_SUPPORT_BAD_ALIGNMENT,
            ArenaError::Region => BITCOIN_SUPPORT_BAD_REGION,
            ArenaError::OutOfMemory => BITCOIN_SUPPORT_OUT_OF_MEMORY,
        }
    }
}

impl From<Result<(), FreeError>> for bitcoin_support_status {
    fn from(result: Result<(), FreeError>) -> Self {
        match result {
            Ok(()) => BITCOIN_SUPPORT_OK,
            Err(FreeError::InvalidFree) => BITCOIN_SUPPORT_INVALID_FREE,
            Err(FreeError::NotInPool) => BITCOIN_SUPPORT_NOT_IN_POOL,
            Err(FreeError::SizeMismatch) => BITCOIN_SUPPORT_SIZE_MISMATCH,
            Err(FreeError::Overrun) => BITCOIN_SUPPORT_OVERRUN,
            Err(FreeError::Interrupted) => BITCOIN_SUPPORT_INTERRUPTED,
        }
    }
}

impl From<PoolError> for bitcoin_support_status {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Arena(error) => error.into(),
            PoolError::Map(_) => BITCOIN_SUPPORT_OUT_OF_MEMORY,
            PoolError::SecretMemory(_) | PoolError::LockLimit(_) | PoolError::Protection(_) => {
                BITCOIN_SUPPORT_NOT_AVAILABLE
            }
            PoolError::PageSize(_)
            | PoolError::ChunkSize(_)
            | PoolError::MaxSize(_)
            | PoolError::SecretMemoryInChild(_)
            | PoolError::SecretMemoryPageSize(_) => BITCOIN_SUPPORT_BAD_OPTION,
        }
    }
}

impl From<ConfigureError> for bitcoin_support_status {
    fn from(error: ConfigureError) -> Self {
        match error {
            ConfigureError::InUse => BITCOIN_SUPPORT_IN_USE,
            ConfigureError::Size
            | ConfigureError::NotProcessWide
            | ConfigureError::ForkPolicy(_) => BITCOIN_SUPPORT_BAD_OPTION,
            ConfigureError::Pool(error) => error.into(),
        }
    }
}

#[cfg(feature = "sealed")]
impl From<SealedError> for bitcoin_support_status {
    fn from(error: SealedError) -> Self {
        match error {
            SealedError::OutOfLockedMemory(_) | SealedError::OutOfMemory => {
                BITCOIN_SUPPORT_OUT_OF_MEMORY
            }
            SealedError::NoRandomness => BITCOIN_SUPPORT_NO_RANDOMNESS,
            SealedError::Tampered => BITCOIN_SUPPORT_TAMPERED,
            SealedError::KeyWiped => BITCOIN_SUPPORT_KEY_WIPED,
            SealedError::KeysInUse => BITCOIN_SUPPORT_KEYS_IN_USE,
            SealedError::Interrupted => BITCOIN_SUPPORT_INTERRUPTED,
        }
    }
}

/// The name of a status, such as "BITCOIN_SUPPORT_OK", or "BITCOIN_SUPPORT_UNKNOWN" for any other
/// number. Never NULL. The text must not be freed.
/// cbindgen:postfix=BITCOIN_SUPPORT_NEVER_NULL
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_status_name(status: c_int) -> *const c_char {
    status_text(status).0.as_ptr()
}

/// The meaning of a status, in a sentence. Never NULL. The text must not be freed.
/// cbindgen:postfix=BITCOIN_SUPPORT_NEVER_NULL
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_status_message(status: c_int) -> *const c_char {
    status_text(status).1.as_ptr()
}
