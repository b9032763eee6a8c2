//! The callback of the functions that walk over chunks, and the pointer by which C gets a chunk.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

/// Called once for each chunk by the functions that walk over chunks: with its address, its size in
/// bytes, and whether it is used. Returns whether to go on. It must not use the arena that is
/// walked over. It may use the pool.
pub type bitcoin_support_visit_chunk = Option<
    unsafe extern "C" fn(context: *mut c_void, chunk: *mut c_void, size: usize, used: bool) -> bool,
>;

/// A C caller's visitor as a closure, which returns whether to go on.
///
/// # Safety
/// `visit` must be a function that may be called with `context` and any chunk for as long as the
/// closure exists.
pub(super) unsafe fn visitor(
    visit: unsafe extern "C" fn(*mut c_void, *mut c_void, usize, bool) -> bool,
    context: *mut c_void,
) -> impl FnMut(usize, usize, bool) -> bool {
    move |chunk, size, used| {
        let chunk = ptr::with_exposed_provenance_mut(chunk);
        // SAFETY: the caller of `visitor` promises that the function may be called with the
        // context.
        unsafe { visit(context, chunk, size, used) }
    }
}

/// A chunk as C gets it: NULL when the allocation has failed.
pub(super) fn chunk_or_null(chunk: Option<NonNull<u8>>) -> *mut c_void {
    chunk.map_or(ptr::null_mut(), |chunk| chunk.as_ptr().cast())
}
