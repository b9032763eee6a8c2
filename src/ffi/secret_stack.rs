//! Functions that run on a secret stack.

use super::status::{
    BITCOIN_SUPPORT_NOT_AVAILABLE, BITCOIN_SUPPORT_NULL_ARGUMENT, BITCOIN_SUPPORT_OK,
    BITCOIN_SUPPORT_OUT_OF_MEMORY, bitcoin_support_status,
};
use crate::secret_stack::{SecretStack, SecretStackError};
use core::ffi::c_void;

/// A function for bitcoin_support_on_secret_stack.
pub type bitcoin_support_secret_function = Option<unsafe extern "C" fn(context: *mut c_void)>;

/// Calls `function` with `context` on a secret stack of `size` bytes, 0 for the default (64 KiB).
/// The stack lies between guard pages, and is left out of core dumps. It is locked if the locked
/// stacks of all calls under way have, with this one, no more than an eighth of the limit on locked
/// memory. When the function has returned, the stack is wiped, and all registers are cleared that a
/// function may change. So nothing of what the function had on its stack or in registers is left.
/// What it puts elsewhere is not wiped.
///
/// A size other than 0 is rounded up to whole pages, and is at least 32 KiB.
///
/// The function may do anything that it may do on a thread's own stack, also call this function,
/// fork and exit. If the stack is too small, the process ends at the guard page (SIGSEGV). The
/// function must return: it must not leave by longjmp, by a C++ exception or by pthread_exit, and
/// its thread must not be cancelled meanwhile. Signal handlers must not call this.
///
/// A thread's first call maps the stack. A thread keeps up to two stacks of up to 256 KiB for its
/// further calls, which take less than a microsecond each with the default size. They hold zeros,
/// and are unlocked where a stack in a call, or memory for a secret, has no room otherwise. A stack
/// that is not locked is locked at a later call for which there is room.
///
/// Returns: BITCOIN_SUPPORT_OK when the function has returned. Otherwise the function has not been
/// called: BITCOIN_SUPPORT_NULL_ARGUMENT, _OUT_OF_MEMORY or _NOT_AVAILABLE (on systems and
/// processors other than Linux and most Unix systems on x86-64 and 64-bit ARM).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_on_secret_stack(
    function: bitcoin_support_secret_function,
    context: *mut c_void,
    size: usize,
) -> bitcoin_support_status {
    // SAFETY: the caller promises a function that may be called with the context.
    unsafe { run(SecretStack::new().size(size), function, context) }
}

/// As bitcoin_support_on_secret_stack, but the stack is locked also beyond an eighth of the limit.
/// If it cannot be locked, the function is not called.
///
/// Returns: as bitcoin_support_on_secret_stack; _OUT_OF_MEMORY also when the stack cannot be
/// locked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_on_locked_secret_stack(
    function: bitcoin_support_secret_function,
    context: *mut c_void,
    size: usize,
) -> bitcoin_support_status {
    // SAFETY: the caller promises a function that may be called with the context.
    unsafe { run(SecretStack::new().size(size).require_lock(), function, context) }
}

/// Whether the caller runs on a secret stack that is locked.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_secret_stack_is_locked() -> bool {
    matches!(SecretStack::lock_state(), Some(Ok(())))
}

/// # Safety
/// `function` must be null, or a function that may be called with `context` and returns.
unsafe fn run(
    stack: SecretStack,
    function: bitcoin_support_secret_function,
    context: *mut c_void,
) -> bitcoin_support_status {
    let Some(function) = function else { return BITCOIN_SUPPORT_NULL_ARGUMENT };
    // SAFETY: the caller of `run` promises that the function may be called with the context.
    match stack.run(|| unsafe { function(context) }) {
        Ok(()) => BITCOIN_SUPPORT_OK,
        Err(SecretStackError::NotAvailable) => BITCOIN_SUPPORT_NOT_AVAILABLE,
        Err(SecretStackError::Pages(_)) => BITCOIN_SUPPORT_OUT_OF_MEMORY,
    }
}
