//! What the rest of the library tells AddressSanitizer or valgrind; nothing if neither is there.

#[cfg(feature = "asan")]
use super::asan;
#[cfg(feature = "valgrind")]
use super::valgrind;

/// Whether a tool is there that is told of chunks.
#[inline(always)]
pub(crate) fn is_active() -> bool {
    #[cfg(feature = "asan")]
    if asan::is_active() {
        return true;
    }
    #[cfg(feature = "valgrind")]
    if valgrind::is_active() {
        return true;
    }
    false
}

/// From now on the tools report each access to these bytes, which are the library's own. They begin
/// at a multiple of 8 bytes.
#[inline(always)]
pub(crate) fn poison(start: *mut u8, len: usize) {
    #[cfg(feature = "asan")]
    asan::poison(start, len);
    #[cfg(feature = "valgrind")]
    valgrind::poison(start, len);
    let _ = (start, len);
}

/// From now on these bytes may be read and written.
#[inline(always)]
pub(crate) fn unpoison(start: *mut u8, len: usize) {
    #[cfg(feature = "asan")]
    asan::unpoison(start, len);
    #[cfg(feature = "valgrind")]
    valgrind::unpoison(start, len);
    let _ = (start, len);
}
