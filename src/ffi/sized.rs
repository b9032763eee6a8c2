//! Structures that the library fills, in the size that the caller's version gives them.

use core::mem::MaybeUninit;
use core::ptr;

/// Writes the first `size` bytes of `value` to `out`. If `size` is larger, the bytes behind `value`
/// become zeros.
///
/// So a structure can get more members at its end: an older caller gets those that it knows, and
/// finds zeros in those that an older library does not know.
///
/// # Safety
/// `out` is valid for a write of `size` bytes.
pub(super) unsafe fn fill<T: Copy>(out: *mut T, size: usize, value: &T) {
    let known = size.min(size_of::<T>());
    let out: *mut MaybeUninit<u8> = out.cast();
    // SAFETY: `known` is at most the size of `value`, and at most `size`, for which the caller
    // promises that `out` is valid. Bytes that may be uninitialized, as padding is, are copied as
    // such.
    unsafe { ptr::copy_nonoverlapping(ptr::from_ref(value).cast(), out, known) };
    // SAFETY: `known` is at most `size`, for which the caller promises that `out` is valid.
    unsafe { out.add(known).write_bytes(0, size - known) };
}
