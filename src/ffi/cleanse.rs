//! Wiping: of a range, of a string, and of all locked memory.

use core::ffi::{CStr, c_char, c_void};

/// Overwrites `len` bytes at `ptr` with zeros. As fast as memset, but no compiler optimizes it
/// away. `ptr` may be NULL when `len` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memory_cleanse(ptr: *mut c_void, len: usize) {
    // SAFETY: the caller promises `len` writable bytes at `ptr`.
    unsafe { crate::cleanse::memory_cleanse(ptr.cast(), len) }
}

/// Overwrites a string with zeros, up to its terminating zero. NULL does nothing. Bytes behind the
/// terminating zero stay, such as the rest of a buffer that held a longer string before: see
/// memory_cleanse.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_cleanse_string(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: the caller promises a writable string that ends in a zero.
        unsafe {
            let len = CStr::from_ptr(string).count_bytes();
            crate::cleanse::memory_cleanse(string.cast(), len);
        }
    }
}

/// Overwrites all locked memory with zeros, at once: all memory of every pool over the operating
/// system's own pages, and all buffers, used or not. This is a panic button. It takes no lock,
/// allocates nothing and makes no system call, so it may be called anywhere, even in a signal
/// handler. Pools and chunks stay valid, with zeros in them. Objects in locked memory that are more
/// than plain bytes must not be used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_wipe_all() {
    // SAFETY: the caller promises that only plain bytes in locked memory are used afterwards.
    unsafe { crate::pages::wipe_everything() };
}
