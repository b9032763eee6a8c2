//! Names for temporary files.

use super::status::{
    BITCOIN_SUPPORT_BUFFER_TOO_SMALL, BITCOIN_SUPPORT_NO_RANDOMNESS, BITCOIN_SUPPORT_NULL_ARGUMENT,
    BITCOIN_SUPPORT_OK, bitcoin_support_status,
};
use crate::unique_path::{NAME_LEN, unique_name};
use core::ffi::c_char;

/// Size of a unique name in bytes, the terminating zero included.
pub const BITCOIN_SUPPORT_UNIQUE_NAME_SIZE: usize = 33;

const _: () = assert!(BITCOIN_SUPPORT_UNIQUE_NAME_SIZE == NAME_LEN + 1);

/// Writes a name for a temporary file to `name`: 32 hexadecimal digits from the system's random
/// source and a terminating zero. It does not create the file. The caller should create it in a way
/// that fails if the file exists.
///
/// Returns: BITCOIN_SUPPORT_OK, _NULL_ARGUMENT, _BUFFER_TOO_SMALL (`size` is below
/// BITCOIN_SUPPORT_UNIQUE_NAME_SIZE), or _NO_RANDOMNESS.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_get_unique_name(
    name: *mut c_char,
    size: usize,
) -> bitcoin_support_status {
    if name.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    if size < BITCOIN_SUPPORT_UNIQUE_NAME_SIZE {
        return BITCOIN_SUPPORT_BUFFER_TOO_SMALL;
    }
    let Ok(digits) = unique_name() else { return BITCOIN_SUPPORT_NO_RANDOMNESS };
    // SAFETY: the caller promises `size` writable bytes, which are at least `NAME_LEN + 1`.
    unsafe {
        name.copy_from_nonoverlapping(digits.as_ptr().cast(), NAME_LEN);
        name.add(NAME_LEN).write(0);
    }
    BITCOIN_SUPPORT_OK
}
