//! `bitcoin_support_buffer`: a secret of any length.

use super::handle::{Handle, destroy, handle_mut, handle_ref, into_handle};
use super::handle_table::Kind;
use super::status::{
    BITCOIN_SUPPORT_NULL_ARGUMENT, BITCOIN_SUPPORT_OK, BITCOIN_SUPPORT_OUT_OF_MEMORY,
    bitcoin_support_status,
};
use crate::secure::SecureVec;
use core::ffi::c_void;
use core::ptr;

/// A growable buffer for a secret. It lies in the process-wide pool, or in separate locked pages if
/// it is larger than BITCOIN_SUPPORT_ARENA_SIZE bytes. When it grows, the old place of the bytes is
/// wiped. Not thread-safe.
pub struct bitcoin_support_buffer {
    _opaque: [u8; 0],
}

impl Handle for bitcoin_support_buffer {
    type Target = SecureVec<u8>;
    const KIND: Kind = Kind::Buffer;
}

/// Makes an empty buffer with room for `capacity` bytes.
///
/// Out: `*buffer`, to be destroyed with bitcoin_support_buffer_destroy.
/// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_buffer_create(
    capacity: usize,
    buffer: *mut *mut bitcoin_support_buffer,
) -> bitcoin_support_status {
    if buffer.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    match SecureVec::try_with_capacity(capacity) {
        // SAFETY: `buffer` is not null, and the caller promises that it is valid for a write.
        Ok(made) => unsafe { into_handle(made, buffer) },
        Err(_) => BITCOIN_SUPPORT_OUT_OF_MEMORY,
    }
}

/// Wipes and destroys a buffer. NULL does nothing.
///
/// Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (not a live buffer).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_buffer_destroy(
    buffer: *mut bitcoin_support_buffer,
) -> bitcoin_support_status {
    // SAFETY: the caller promises that no other call uses the buffer.
    unsafe { destroy(buffer) }
}

/// The bytes. They may be read and written until the buffer is resized, appended to or destroyed.
/// NULL for a NULL buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_buffer_data(
    buffer: *mut bitcoin_support_buffer,
) -> *mut c_void {
    // SAFETY: the caller promises a handle that is null or live and used by this thread alone.
    match unsafe { handle_mut(buffer) } {
        Some(buffer) => buffer.expose_secret_mut().as_mut_ptr().cast(),
        None => ptr::null_mut(),
    }
}

/// Number of bytes. 0 for a NULL buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_buffer_size(
    buffer: *const bitcoin_support_buffer,
) -> usize {
    // SAFETY: the caller promises a handle that is null or live and used by this thread alone.
    unsafe { handle_ref(buffer) }.map_or(0, SecureVec::len)
}

/// Changes the number of bytes to `size`. Bytes beyond the new end are wiped; new bytes are zeros.
///
/// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_buffer_resize(
    buffer: *mut bitcoin_support_buffer,
    size: usize,
) -> bitcoin_support_status {
    // SAFETY: the caller promises a handle that is null or live and used by this thread alone.
    match unsafe { handle_mut(buffer) }.map(|buffer| buffer.try_resize(size, 0)) {
        None => BITCOIN_SUPPORT_NULL_ARGUMENT,
        Some(Ok(())) => BITCOIN_SUPPORT_OK,
        Some(Err(_)) => BITCOIN_SUPPORT_OUT_OF_MEMORY,
    }
}

/// Appends `size` bytes from `data`, which must not be bytes of this buffer. `data` may be NULL
/// when `size` is 0.
///
/// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_buffer_append(
    buffer: *mut bitcoin_support_buffer,
    data: *const c_void,
    size: usize,
) -> bitcoin_support_status {
    // SAFETY: the caller promises a handle that is null or live and used by this thread alone.
    let Some(buffer) = (unsafe { handle_mut(buffer) }) else {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    };
    if size == 0 {
        return BITCOIN_SUPPORT_OK;
    }
    if data.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    // A slice must not be larger than `isize::MAX` bytes, and no object is.
    if size > isize::MAX as usize {
        return BITCOIN_SUPPORT_OUT_OF_MEMORY;
    }
    // SAFETY: the caller promises `size` readable bytes at `data`, none of them in the buffer.
    let bytes = unsafe { core::slice::from_raw_parts(data.cast::<u8>(), size) };
    match buffer.try_extend_from_slice(bytes) {
        Ok(()) => BITCOIN_SUPPORT_OK,
        Err(_) => BITCOIN_SUPPORT_OUT_OF_MEMORY,
    }
}
