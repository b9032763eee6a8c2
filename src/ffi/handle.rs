//! Handles: the pointers by which C refers to an object of this library.

use super::fallible_box::try_box;
use super::handle_table::{self, Kind};
use super::status::{
    BITCOIN_SUPPORT_INTERRUPTED, BITCOIN_SUPPORT_INVALID_HANDLE, BITCOIN_SUPPORT_OK,
    BITCOIN_SUPPORT_OUT_OF_MEMORY, bitcoin_support_status,
};
use crate::pool::LockedPoolManager;
use core::ptr;

/// An opaque type of the header. Its handles point to a `Target`, which the C caller owns; the one
/// exception is the handle of the process-wide pool, which points to a static.
pub(super) trait Handle: Sized {
    type Target;
    const KIND: Kind;
}

/// Moves a value to the heap and its ownership to the C caller, as a handle in `*out`.
///
/// # Safety
/// `out` must be valid for a write.
pub(super) unsafe fn into_handle<H: Handle>(
    value: H::Target,
    out: *mut *mut H,
) -> bitcoin_support_status {
    const { assert!(align_of::<H::Target>() >= handle_table::ALIGN) };
    let Some(boxed) = try_box(value) else { return BITCOIN_SUPPORT_OUT_OF_MEMORY };
    if handle_table::insert(ptr::from_ref(&*boxed).addr(), H::KIND).is_err() {
        return BITCOIN_SUPPORT_INTERRUPTED;
    }
    // SAFETY: the caller of this function promises that `out` is valid for a write.
    unsafe { out.write(Box::into_raw(boxed).cast()) };
    BITCOIN_SUPPORT_OK
}

/// Takes the ownership of an object back from the C caller. `None` for null.
///
/// # Errors
/// `BITCOIN_SUPPORT_INVALID_HANDLE` if this is not a live handle of this type or refers to the
/// process-wide pool; `BITCOIN_SUPPORT_INTERRUPTED` in a signal handler that has interrupted the
/// table of handles.
///
/// # Safety
/// If the handle is live, no reference to its object may exist.
unsafe fn from_handle<H: Handle>(
    handle: *mut H,
) -> Result<Option<Box<H::Target>>, bitcoin_support_status> {
    if handle.is_null() {
        return Ok(None);
    }
    if handle.addr() == ptr::from_ref(LockedPoolManager::process_pool()).addr() {
        return Err(BITCOIN_SUPPORT_INVALID_HANDLE);
    }
    match handle_table::remove(handle.addr(), H::KIND) {
        // SAFETY: the table had the address under this kind, so `into_handle` got it from a
        // `Box<H::Target>`; it was taken out just now, so no other call makes a box of it.
        Ok(true) => Ok(Some(unsafe { Box::from_raw(handle.cast::<H::Target>()) })),
        Ok(false) => Err(BITCOIN_SUPPORT_INVALID_HANDLE),
        Err(_) => Err(BITCOIN_SUPPORT_INTERRUPTED),
    }
}

/// Drops the object of a handle. Null does nothing.
///
/// Returns `BITCOIN_SUPPORT_OK`, or refuses the handle for the reasons that [`from_handle`] lists.
/// No lock is held while the object is dropped, which may call a C caller's functions.
///
/// # Safety
/// If the handle is live, no reference to its object may exist.
pub(super) unsafe fn destroy<H: Handle>(handle: *mut H) -> bitcoin_support_status {
    // SAFETY: the caller of this function promises that there is no reference to a live object.
    match unsafe { from_handle(handle) } {
        Ok(object) => {
            drop(object);
            BITCOIN_SUPPORT_OK
        }
        Err(status) => status,
    }
}

/// The object of a handle, for shared use. `None` for null.
///
/// # Safety
/// `handle` must be null, or live for as long as the result is used; and no other thread may have
/// the object by [`handle_mut`] meanwhile.
pub(super) unsafe fn handle_ref<'a, H: Handle>(handle: *const H) -> Option<&'a H::Target> {
    // SAFETY: a live handle is the address of an `H::Target`, see `Handle`; the caller of this
    // function promises that it is live or null, and not changed meanwhile.
    unsafe { handle.cast::<H::Target>().as_ref() }
}

/// The object of a handle, to be changed. `None` for null.
///
/// # Safety
/// `handle` must be null, or live for as long as the result is used; and no other thread may use
/// the handle meanwhile.
pub(super) unsafe fn handle_mut<'a, H: Handle>(handle: *mut H) -> Option<&'a mut H::Target> {
    // SAFETY: a live handle is the address of an `H::Target`, see `Handle`; the caller of this
    // function promises that it is live or null, and used by no other thread meanwhile.
    unsafe { handle.cast::<H::Target>().as_mut() }
}
