//! Secrets at rest: encrypted in a buffer of the caller.

use super::status::{
    BITCOIN_SUPPORT_BAD_SIZE, BITCOIN_SUPPORT_NULL_ARGUMENT, BITCOIN_SUPPORT_OK,
    bitcoin_support_status,
};
use core::ffi::c_void;
use core::slice;

/// How many bytes longer a sealed secret is than the secret. Under one ABI number it stays so:
/// another cipher would have functions of its own.
pub const BITCOIN_SUPPORT_SEAL_OVERHEAD: usize = 56;

/// What seals and opens. The interface is the same in a library that cannot.
#[cfg(feature = "sealed")]
mod sealing {
    pub(super) use crate::sealed::{open_buffer, rotate_sealing_key, seal_buffer};

    const _: () = assert!(super::BITCOIN_SUPPORT_SEAL_OVERHEAD == crate::sealed::OVERHEAD);
}

#[cfg(not(feature = "sealed"))]
mod sealing {
    use super::super::status::{BITCOIN_SUPPORT_NOT_AVAILABLE, bitcoin_support_status};
    use super::BITCOIN_SUPPORT_SEAL_OVERHEAD;
    use crate::secure::SecureVec;

    type Never<T> = Result<T, NotAvailable>;

    pub(super) struct NotAvailable;

    impl From<NotAvailable> for bitcoin_support_status {
        fn from(_: NotAvailable) -> Self {
            BITCOIN_SUPPORT_NOT_AVAILABLE
        }
    }

    pub(super) struct SealedForBuffer {
        pub(super) head: [u8; BITCOIN_SUPPORT_SEAL_OVERHEAD],
        pub(super) encrypted: SecureVec<u8>,
    }

    pub(super) fn seal_buffer(_: &[u8], _: &[u8]) -> Never<SealedForBuffer> {
        Err(NotAvailable)
    }

    pub(super) fn open_buffer(_: &[u8], _: &[u8]) -> Never<SecureVec<u8>> {
        Err(NotAvailable)
    }

    pub(super) fn rotate_sealing_key() -> Never<()> {
        Err(NotAvailable)
    }
}

/// Bytes of the caller; `None` where there must be some and are none.
///
/// # Safety
/// `data` must be null, or valid for reads of `size` bytes that do not change as long as they are
/// used.
unsafe fn bytes<'a>(data: *const c_void, size: usize) -> Option<&'a [u8]> {
    if size == 0 {
        return Some(&[]);
    }
    if data.is_null() || size > isize::MAX as usize {
        return None;
    }
    // SAFETY: not null, and the caller promises so many readable bytes.
    Some(unsafe { slice::from_raw_parts(data.cast(), size) })
}

/// Encrypts the `size` bytes at `data` into `sealed`, for a secret that is not in use: `sealed` may
/// lie in ordinary memory, be copied, moved and freed. The key lies in the process-wide pool, 16
/// KiB for all secrets together, and is made at the first call. Where that pool cannot lock it, the
/// pool's callback decides, and its statistics show it. `data` should lie in locked memory,
/// and be wiped by the caller afterwards (memory_cleanse, or by freeing it). `data` may be NULL
/// when `size` is 0.
///
/// The secret can be opened in the same `context` only, which may be any bytes, secret or not: such
/// as the name of the secret, so that two sealed secrets cannot be exchanged. `context` may be NULL
/// when `context_size` is 0.
///
/// `sealed_size` must be `size` + BITCOIN_SUPPORT_SEAL_OVERHEAD. `sealed` may overlap `data`.
///
/// The key is wiped with all other secrets (bitcoin_support_wipe_all, at exit), and a child of fork
/// has it if it has the other secrets of the process-wide pool. A sealed secret cannot be opened in
/// another process. Any thread may call this. It takes tens of microseconds.
///
/// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY, _NULL_ARGUMENT, _BAD_SIZE (`sealed_size` is not
/// what it must be), _NO_RANDOMNESS, _KEYS_IN_USE, _KEY_WIPED (by another thread during the call),
/// _INTERRUPTED or _NOT_AVAILABLE (the library was built without cargo's feature `sealed`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_seal(
    data: *const c_void,
    size: usize,
    context: *const c_void,
    context_size: usize,
    sealed: *mut c_void,
    sealed_size: usize,
) -> bitcoin_support_status {
    if size.checked_add(BITCOIN_SUPPORT_SEAL_OVERHEAD) != Some(sealed_size) {
        return BITCOIN_SUPPORT_BAD_SIZE;
    }
    // SAFETY: the caller promises that `data` and `context` are null or valid, as long as this
    // call.
    let (data, context) = unsafe { (bytes(data, size), bytes(context, context_size)) };
    let (Some(data), Some(context), false) = (data, context, sealed.is_null()) else {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    };
    match sealing::seal_buffer(data, context) {
        Ok(made) => {
            let (head, encrypted) = (&made.head, made.encrypted.expose_secret());
            // SAFETY: the caller promises `sealed_size` writable bytes, which are as many as both
            // parts have. Nothing refers to `data` and `context` any more.
            unsafe {
                let start = sealed.cast::<u8>();
                start.copy_from_nonoverlapping(head.as_ptr(), head.len());
                let rest = start.add(head.len());
                rest.copy_from_nonoverlapping(encrypted.as_ptr(), encrypted.len());
            }
            BITCOIN_SUPPORT_OK
        }
        Err(error) => error.into(),
    }
}

/// Decrypts what bitcoin_support_seal has written to `sealed`, into `data`, which should lie in
/// locked memory. `size` must be `sealed_size` - BITCOIN_SUPPORT_SEAL_OVERHEAD, and `context` that
/// of the call that sealed it. `data` may overlap `sealed`, and may be NULL when `size` is 0.
/// Nothing is written to `data` unless the whole secret is as it was sealed. Any thread may call
/// this.
///
/// Returns: BITCOIN_SUPPORT_OK, _TAMPERED (`sealed` has been changed, or the context is another
/// one), _KEY_WIPED (or the number of the key in `sealed` has been changed), _OUT_OF_MEMORY,
/// _NULL_ARGUMENT, _BAD_SIZE (`size` is not what it must be), _INTERRUPTED or _NOT_AVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_unseal(
    sealed: *const c_void,
    sealed_size: usize,
    context: *const c_void,
    context_size: usize,
    data: *mut c_void,
    size: usize,
) -> bitcoin_support_status {
    if sealed_size.checked_sub(BITCOIN_SUPPORT_SEAL_OVERHEAD) != Some(size) {
        return BITCOIN_SUPPORT_BAD_SIZE;
    }
    // SAFETY: the caller promises that `sealed` and `context` are null or valid, as long as this
    // call.
    let (sealed, context) = unsafe { (bytes(sealed, sealed_size), bytes(context, context_size)) };
    let (Some(sealed), Some(context)) = (sealed, context) else {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    };
    if data.is_null() && size > 0 {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    match sealing::open_buffer(sealed, context) {
        Ok(secret) => {
            if size > 0 {
                // SAFETY: the caller promises `size` writable bytes, and the secret has as many.
                // Nothing refers to `sealed` and `context` any more.
                unsafe {
                    data.cast::<u8>()
                        .copy_from_nonoverlapping(secret.expose_secret().as_ptr(), size);
                }
            }
            BITCOIN_SUPPORT_OK
        }
        Err(error) => error.into(),
    }
}

/// Makes a new key for bitcoin_support_seal. What is sealed already stays as it is. It can be
/// opened after one rotation, and its key may be gone after the next: so after a rotation, open it
/// and seal it again. (If no Rust code of the process seals secrets, keys last for three
/// rotations.) Any thread may call this.
///
/// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY, _NO_RANDOMNESS, _KEYS_IN_USE, _INTERRUPTED or
/// _NOT_AVAILABLE.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_rotate_sealing_key() -> bitcoin_support_status {
    match sealing::rotate_sealing_key() {
        Ok(()) => BITCOIN_SUPPORT_OK,
        Err(error) => error.into(),
    }
}
