//! `bitcoin_support_arena`: chunks of a region that the caller owns.

use super::handle::{Handle, destroy, handle_mut, handle_ref, into_handle};
use super::handle_table::Kind;
use super::sized::fill;
use super::status::{BITCOIN_SUPPORT_NULL_ARGUMENT, BITCOIN_SUPPORT_OK, bitcoin_support_status};
use super::visit::{bitcoin_support_visit_chunk, chunk_or_null, visitor};
use crate::arena::{Arena, ArenaStats};
use core::ffi::c_void;

/// An arena: allocates chunks of a region of memory that it never touches. Not thread-safe: calls
/// on one arena must not overlap in time.
pub struct bitcoin_support_arena {
    _opaque: [u8; 0],
}

impl Handle for bitcoin_support_arena {
    type Target = Arena;
    const KIND: Kind = Kind::Arena;
}

/// Statistics of an arena. `used + free == total` always. Later versions append members.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bitcoin_support_arena_stats {
    /// Bytes in used chunks, padding included.
    pub used: usize,
    /// Bytes in free chunks.
    pub free: usize,
    /// Bytes that the arena manages.
    pub total: usize,
    /// Number of used chunks.
    pub chunks_used: usize,
    /// Number of free chunks.
    pub chunks_free: usize,
}

impl From<ArenaStats> for bitcoin_support_arena_stats {
    fn from(stats: ArenaStats) -> Self {
        let ArenaStats { used, free, total, chunks_used, chunks_free } = stats;
        Self { used, free, total, chunks_used, chunks_free }
    }
}

/// Makes an arena over the `size` bytes at `base`. The arena never reads or writes them, so they
/// need not be mapped. Chunks are aligned to `alignment` bytes, a power of two, and their sizes are
/// multiples of it. Bytes of the region before its first multiple of `alignment` and after its last
/// one stay unused.
///
/// Out: `*arena`, to be destroyed with bitcoin_support_arena_destroy.
/// Returns: BITCOIN_SUPPORT_OK, _BAD_ALIGNMENT, _BAD_REGION, _OUT_OF_MEMORY or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_create(
    base: *mut c_void,
    size: usize,
    alignment: usize,
    arena: *mut *mut bitcoin_support_arena,
) -> bitcoin_support_status {
    if arena.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    match Arena::new(base.cast(), size, alignment) {
        // SAFETY: `arena` is not null, and the caller promises that it is valid for a write.
        Ok(made) => unsafe { into_handle(made, arena) },
        Err(error) => error.into(),
    }
}

/// Destroys an arena. The region stays as it is. NULL does nothing.
///
/// Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (not a live arena).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_destroy(
    arena: *mut bitcoin_support_arena,
) -> bitcoin_support_status {
    // SAFETY: the caller promises that no other call uses the arena.
    unsafe { destroy(arena) }
}

/// Allocates `size` bytes with the alignment of the arena. NULL when there is no room, or `size` is
/// 0. Takes constant time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_alloc(
    arena: *mut bitcoin_support_arena,
    size: usize,
) -> *mut c_void {
    // SAFETY: the caller promises a handle that is null or live and used by this thread alone.
    chunk_or_null(unsafe { handle_mut(arena) }.and_then(|arena| arena.alloc(size, 1)))
}

/// Allocates `size` bytes aligned to `alignment` bytes, a power of two. NULL when there is no room,
/// `size` is 0, or `alignment` is not a power of two. Takes constant time, except for an alignment
/// above the arena's own: then the time grows with the number of free chunks at unsuitable
/// addresses.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_alloc_aligned(
    arena: *mut bitcoin_support_arena,
    size: usize,
    alignment: usize,
) -> *mut c_void {
    // SAFETY: the caller promises a handle that is null or live and used by this thread alone.
    chunk_or_null(unsafe { handle_mut(arena) }.and_then(|arena| arena.alloc(size, alignment)))
}

/// Frees the chunk that begins at `ptr`. NULL does nothing. Takes constant time.
///
/// Returns: BITCOIN_SUPPORT_OK or _INVALID_FREE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_free(
    arena: *mut bitcoin_support_arena,
    ptr: *mut c_void,
) -> bitcoin_support_status {
    // SAFETY: the caller promises a handle that is null or live and used by this thread alone.
    match unsafe { handle_mut(arena) } {
        Some(arena) => arena.free_unsized(ptr.cast()).map(drop).into(),
        None => BITCOIN_SUPPORT_NULL_ARGUMENT,
    }
}

/// Frees the chunk that begins at `ptr`, if it was allocated with this size and alignment. NULL
/// does nothing. Takes constant time.
///
/// Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE or _SIZE_MISMATCH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_free_sized(
    arena: *mut bitcoin_support_arena,
    ptr: *mut c_void,
    size: usize,
    alignment: usize,
) -> bitcoin_support_status {
    // SAFETY: the caller promises a handle that is null or live and used by this thread alone.
    match unsafe { handle_mut(arena) } {
        Some(arena) => arena.free(ptr.cast(), size, alignment).into(),
        None => BITCOIN_SUPPORT_NULL_ARGUMENT,
    }
}

/// Whether `ptr` lies in the region that the arena was made over.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_contains(
    arena: *const bitcoin_support_arena,
    ptr: *const c_void,
) -> bool {
    // SAFETY: the caller promises a handle that is null or live and used by this thread alone.
    unsafe { handle_ref(arena) }.is_some_and(|arena| arena.address_in_arena(ptr.cast()))
}

/// Statistics of the arena. Takes constant time.
///
/// `size` is sizeof(bitcoin_support_arena_stats), which tells the library what members the caller
/// knows. Members that the library does not know become zeros.
///
/// Out: `*stats`. Returns: BITCOIN_SUPPORT_OK or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_get_stats(
    arena: *const bitcoin_support_arena,
    stats: *mut bitcoin_support_arena_stats,
    size: usize,
) -> bitcoin_support_status {
    // SAFETY: the caller promises a handle that is null or live and used by this thread alone.
    let Some(arena) = (unsafe { handle_ref(arena) }) else { return BITCOIN_SUPPORT_NULL_ARGUMENT };
    if stats.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    // SAFETY: `stats` is not null, and the caller promises that it is valid for `size` bytes.
    unsafe { fill(stats, size, &arena.stats().into()) };
    BITCOIN_SUPPORT_OK
}

/// Visits every chunk, until `visit` returns false: first the used ones by ascending address, then
/// the free ones. For debugging.
///
/// Returns: BITCOIN_SUPPORT_OK or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_walk(
    arena: *const bitcoin_support_arena,
    visit: bitcoin_support_visit_chunk,
    context: *mut c_void,
) -> bitcoin_support_status {
    // SAFETY: the caller promises a handle that is null or live and used by this thread alone.
    let (Some(arena), Some(visit)) = (unsafe { handle_ref(arena) }, visit) else {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    };
    // SAFETY: the caller promises a function that may be called with the context until this call
    // returns.
    let mut visit = unsafe { visitor(visit, context) };
    let mut goes_on = true;
    arena.walk(|chunk, size, used| goes_on = goes_on && visit(chunk, size, used));
    BITCOIN_SUPPORT_OK
}
