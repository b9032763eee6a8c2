//! The one wipe of the crate: `memset` that the compiler cannot remove.
//!
//! Depends on nothing; every other module that overwrites secrets calls this one.

use core::arch::asm;

/// Overwrites `len` bytes at `ptr` with zeros, at `memset`'s speed, and is never optimized away,
/// also when the buffer is about to be freed and also under link-time optimization.
///
/// The write itself is an ordinary `memset`. An empty assembly statement that takes the pointer and
/// may read all of memory follows it, so that no optimizer can prove the zeros dead. For why this
/// suffices, and why the alternatives are slower or weaker, see Yang et al., "Dead Store
/// Elimination (Still) Considered Harmful", USENIX Security 2017, section 4.
///
/// # Safety
/// `ptr` must be valid for writes of `len` bytes, or `len` must be 0 (then `ptr` may be anything,
/// null included).
#[inline]
pub unsafe fn memory_cleanse(ptr: *mut u8, len: usize) {
    if len == 0 {
        return;
    }
    // SAFETY: the caller vouches for `len` writable bytes at `ptr`, and `u8` has no alignment.
    unsafe { ptr.write_bytes(0, len) };
    // SAFETY: the statement is empty. Without the `nomem` option the compiler must assume that it
    // reads what `ptr` points to.
    unsafe { asm!("/* {0} */", in(reg) ptr, options(nostack, preserves_flags)) };
}

/// Overwrites a slice with zeros; the safe form of [`memory_cleanse`].
///
/// ```
/// let mut key = *b"correct horse battery staple";
/// bitcoin_support::cleanse(&mut key);
/// assert!(key.iter().all(|&byte| byte == 0));
/// ```
#[inline]
pub fn cleanse(bytes: &mut [u8]) {
    // SAFETY: an exclusive slice is writable over its whole length.
    unsafe { memory_cleanse(bytes.as_mut_ptr(), bytes.len()) }
}
