//! Secrets on pages to which there is no access while they are not in use.

use super::secret_stack::bitcoin_support_secret_function;
use super::status::{
    BITCOIN_SUPPORT_INVALID_HANDLE, BITCOIN_SUPPORT_NOT_AVAILABLE, BITCOIN_SUPPORT_NULL_ARGUMENT,
    BITCOIN_SUPPORT_OK, BITCOIN_SUPPORT_STAYS_OPEN, bitcoin_support_status,
};
use crate::closed::{ClosedBytes, ClosedError};
use crate::pages::{Use, has_protection_key};
use core::ffi::c_void;
use core::ptr::{self, NonNull};

fn purpose(writable: bool) -> Use {
    if writable { Use::Write } else { Use::Read }
}

/// The closed secret at an address, or why there is none.
///
/// # Safety
/// `secret` must be null, or an address that the caller may open.
unsafe fn at(secret: *mut c_void) -> Result<ClosedBytes, bitcoin_support_status> {
    let place = NonNull::new(secret.cast()).ok_or(BITCOIN_SUPPORT_NULL_ARGUMENT)?;
    // SAFETY: the caller promises that a closed secret there is one of
    // bitcoin_support_closed_alloc, and that no other call frees it meanwhile.
    unsafe { ClosedBytes::at(place) }.ok_or(BITCOIN_SUPPORT_INVALID_HANDLE)
}

/// Allocates a closed secret of `size` bytes, aligned to 16, all zeros: it cannot be read or
/// written, and an access ends the process (SIGSEGV), until it is opened. It has pages for itself,
/// at least one, between guard pages. They are locked: where they cannot be, there is no secret.
/// The other options are those of the process-wide pool. bitcoin_support_wipe_all and the wipe at
/// exit wipe it too.
///
/// The caller owns it by its address, and frees it with bitcoin_support_closed_free. The functions
/// below take such addresses alone, and not that of a secret that Rust code has closed.
///
/// Returns NULL if `size` is 0, if there is no memory that can be locked, and if the system does
/// not let it be closed (Windows, sandboxes).
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_closed_alloc(size: usize) -> *mut c_void {
    ClosedBytes::allocate(size).map_or(ptr::null_mut(), |secret| secret.as_ptr().cast())
}

/// Opens a closed secret to all threads of the process, for reading, and with `writable` for
/// writing too. Openings are counted: each is ended by bitcoin_support_closed_close with the same
/// `writable`. Any thread may call this, and a signal handler too. It takes microseconds, and a
/// step for each mapping that the library has.
///
/// Returns: BITCOIN_SUPPORT_OK, _NULL_ARGUMENT, _INVALID_HANDLE (no closed secret begins there) or
/// _NOT_AVAILABLE (the system refuses, or the secret has stayed with the parent of this process).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_closed_open(
    secret: *mut c_void,
    writable: bool,
) -> bitcoin_support_status {
    // SAFETY: the caller promises that the secret is null, or is not freed meanwhile.
    match unsafe { at(secret) } {
        Ok(secret) => match secret.open(purpose(writable)) {
            Ok(()) => BITCOIN_SUPPORT_OK,
            Err(_) => BITCOIN_SUPPORT_NOT_AVAILABLE,
        },
        Err(status) => status,
    }
}

/// Ends an opening. With the last one, the secret is closed again.
///
/// Returns: BITCOIN_SUPPORT_OK, _NULL_ARGUMENT, _INVALID_HANDLE (no closed secret begins there, or
/// it has not been opened with this `writable`), _STAYS_OPEN (the opening has ended, but the system
/// refuses to close the secret) or _NOT_AVAILABLE (the secret has stayed with the parent of this
/// process).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_closed_close(
    secret: *mut c_void,
    writable: bool,
) -> bitcoin_support_status {
    // SAFETY: the caller promises that the secret is null, or is not freed meanwhile.
    match unsafe { at(secret) } {
        // SAFETY: the caller promises that it has opened the secret.
        Ok(secret) => match unsafe { secret.close(purpose(writable)) } {
            Ok(true) => BITCOIN_SUPPORT_OK,
            Ok(false) => BITCOIN_SUPPORT_INVALID_HANDLE,
            Err(ClosedError::Absent) => BITCOIN_SUPPORT_NOT_AVAILABLE,
            Err(_) => BITCOIN_SUPPORT_STAYS_OPEN,
        },
        Err(status) => status,
    }
}

/// Calls `function` with `context` while the calling thread may read the closed secret, and with
/// `writable` write to it too. With a protection key (bitcoin_support_has_protection_key), no other
/// thread that is there can access it meanwhile, nor can signal handlers, and the calling thread
/// can access all closed secrets. Elsewhere it is opened to all threads. Any thread may call this,
/// and a signal handler too.
///
/// The function must return: it must not leave by longjmp, by a C++ exception or by pthread_exit.
/// No other call may open, close or free the secret meanwhile. A thread that the function starts
/// has the right too, for its whole life.
///
/// Returns: as bitcoin_support_closed_open, or BITCOIN_SUPPORT_STAYS_OPEN (the function has been
/// called, and the system refuses to close the secret afterwards). After any other status but
/// BITCOIN_SUPPORT_OK the function has not been called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_closed_on_this_thread(
    secret: *mut c_void,
    writable: bool,
    function: bitcoin_support_secret_function,
    context: *mut c_void,
) -> bitcoin_support_status {
    let Some(function) = function else { return BITCOIN_SUPPORT_NULL_ARGUMENT };
    // SAFETY: the caller promises that the secret is null, or is not freed meanwhile.
    match unsafe { at(secret) } {
        Ok(secret) => {
            // SAFETY: the caller promises that the function may be called with the context.
            let call = || unsafe { function(context) };
            match secret.on_this_thread(purpose(writable), call) {
                Ok(true) => BITCOIN_SUPPORT_OK,
                Ok(false) => BITCOIN_SUPPORT_STAYS_OPEN,
                Err(_) => BITCOIN_SUPPORT_NOT_AVAILABLE,
            }
        }
        Err(status) => status,
    }
}

/// Wipes and frees a closed secret, open or not. No other call may use it meanwhile. NULL does
/// nothing. Where the system refuses to open it for writing, it is wiped by a protection key alone,
/// and only if it is closed: not if it is open for reading. Otherwise its pages are given back as
/// they are: the system fills them with zeros before any process gets them again.
///
/// Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (no closed secret begins there).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_closed_free(
    secret: *mut c_void,
) -> bitcoin_support_status {
    // SAFETY: the caller promises that no other call uses the secret.
    match unsafe { at(secret) } {
        Ok(secret) => {
            secret.free();
            BITCOIN_SUPPORT_OK
        }
        Err(BITCOIN_SUPPORT_NULL_ARGUMENT) => BITCOIN_SUPPORT_OK,
        Err(status) => status,
    }
}

/// Whether a protection key closes secrets (Linux on x86-64, on processors that have them), so that
/// bitcoin_support_closed_on_this_thread opens them to the calling thread alone.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_has_protection_key() -> bool {
    has_protection_key()
}
