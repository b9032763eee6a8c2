//! The one wipe of the crate: `memset` that the compiler cannot remove. Every module that
//! overwrites secrets calls it.

use core::arch::asm;

/// Overwrites `len` bytes at `ptr` with zeros, at `memset`'s speed, and is never optimized away,
/// also when the buffer is about to be freed and also under link-time optimization.
///
/// The write itself is an ordinary `memset`. An empty assembly statement that takes the pointer and
/// may read all of memory follows it, so that no optimizer can prove the zeros dead. For why this
/// suffices, and why the alternatives are slower or weaker, see Yang et al., "Dead Store
/// Elimination (Still) Considered Harmful", USENIX Security 2017, section 4.
///
/// ```
/// use std::mem::MaybeUninit;
///
/// // What a C function has filled, of a type without a destructor.
/// let mut context = MaybeUninit::<[u64; 25]>::zeroed();
/// // SAFETY: the memory is writable, and is not read as the type any more.
/// unsafe { bitcoin_support::memory_cleanse(context.as_mut_ptr().cast(), size_of_val(&context)) };
/// ```
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

/// Largest size in bytes for [`cleanse_small`]; above, a call of `memset` is worth its while.
pub(crate) const SMALL: usize = 256;

/// [`memory_cleanse`] for what is small, as a few wide stores in place, which may overlap.
///
/// # Safety
/// `ptr` must be valid for writes of `len` bytes; `len` must be at least 16 and at most [`SMALL`].
#[inline(always)]
pub(crate) unsafe fn cleanse_small(ptr: *mut u8, len: usize) {
    /// Zeros in both ends.
    macro_rules! cleanse_ends {
        ($words:literal) => {
            // SAFETY: there are at least as many bytes, by the branch taken.
            unsafe {
                ptr.cast::<[u64; $words]>().write_unaligned([0; $words]);
                ptr.add(len - 8 * $words).cast::<[u64; $words]>().write_unaligned([0; $words]);
            }
        };
    }
    debug_assert!((16..=SMALL).contains(&len));
    if len <= 32 {
        cleanse_ends!(2);
    } else if len <= 64 {
        cleanse_ends!(4);
    } else if len <= 128 {
        cleanse_ends!(8);
    } else {
        cleanse_ends!(16);
    }
    // SAFETY: as in `memory_cleanse`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_wipes_end_where_they_should() {
        for len in 16..=SMALL {
            let mut bytes = [0xa5_u8; SMALL + 32];
            // SAFETY: that much of the array lies behind its 16th byte.
            unsafe { cleanse_small(bytes.as_mut_ptr().add(16), len) };
            let wiped = |i| (16..16 + len).contains(&i);
            assert!((0..bytes.len()).all(|i| bytes[i] == if wiped(i) { 0 } else { 0xa5 }), "{len}");
        }
    }
}
