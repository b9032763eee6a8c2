//! `bitcoin_support_locked_pool`: chunks of locked memory.

use super::fallible_box::try_box;
use super::handle::{Handle, destroy, handle_ref, into_handle};
use super::handle_table::Kind;
use super::options::{bitcoin_support_locked_pool_options, read_options};
use super::page_allocator::{PageFunctions, bitcoin_support_page_allocator};
use super::status::{
    BITCOIN_SUPPORT_BAD_OPTION, BITCOIN_SUPPORT_NULL_ARGUMENT, BITCOIN_SUPPORT_OK,
    BITCOIN_SUPPORT_OUT_OF_MEMORY, bitcoin_support_status,
};
use super::visit::{bitcoin_support_visit_chunk, chunk_or_null, visitor};
use crate::pages::LockError;
use crate::pool::{LockedPool, LockedPoolManager, LockingFailed, PoolOptions};
use core::ffi::{c_int, c_void};
use core::ptr;

/// Largest chunk of the process-wide pool, and of a pool whose options have no `arena_size`, in
/// bytes.
pub const BITCOIN_SUPPORT_ARENA_SIZE: usize = 262144;
/// Alignment of the chunks of a locked pool in bytes. Sizes are rounded up to a multiple of it.
pub const BITCOIN_SUPPORT_ARENA_ALIGN: usize = 16;

/// A pool of locked memory. Thread-safe.
pub struct bitcoin_support_locked_pool {
    _opaque: [u8; 0],
}

impl Handle for bitcoin_support_locked_pool {
    type Target = LockedPool;
    const KIND: Kind = Kind::Pool;
}

/// Decides, when no memory can be locked, whether the pool uses unlocked memory (true) or fails the
/// allocation (false). `error` is the operating system's error number (0: unknown). `limit` is the
/// limit on locked bytes that was in force (SIZE_MAX: none or unknown).
///
/// One thread at a time is in the callback. No lock is held meanwhile: it may use the pool, read
/// its statistics, set another callback, and fork. An allocation made in the callback fails at once
/// if the pool would have to call it again. The callback must not wait for a thread that sets the
/// callback or needs its answer. If the process forks while another thread is in the callback, the
/// child process does not call it, and allocates as if it had returned false, until a callback is
/// set there.
pub type bitcoin_support_locking_failed =
    Option<unsafe extern "C" fn(context: *mut c_void, error: c_int, limit: usize) -> bool>;

/// The context of a C caller's callback.
struct Context(*mut c_void);

// SAFETY: the context is only passed back to the caller's callback, and the header tells callers
// that any thread may call it.
unsafe impl Send for Context {}

/// Makes a pool over `pages`, which is copied, or over the operating system's own pages if `pages`
/// is NULL. A pool over the operating system's pages wipes chunks when they are freed. The library
/// calls `pages->destroy` in any case: if this function fails, before it returns.
///
/// Out: `*pool`, to be destroyed with bitcoin_support_locked_pool_destroy. Returns:
/// BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY, or _NULL_ARGUMENT (`pool`, or a function of `pages` other
/// than destroy, is NULL).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_create(
    pages: *const bitcoin_support_page_allocator,
    pool: *mut *mut bitcoin_support_locked_pool,
) -> bitcoin_support_status {
    // SAFETY: the caller promises that `pages` is null or points to a table.
    let made = match unsafe { pages.as_ref() } {
        None => LockedPool::with_options(&PoolOptions::new()),
        Some(table) => {
            // SAFETY: the caller promises functions that any thread may call with the context, and
            // leaves it to this library to call `destroy`.
            let functions = unsafe { PageFunctions::new(*table) };
            if !functions.is_complete() {
                return BITCOIN_SUPPORT_NULL_ARGUMENT;
            }
            let Some(functions) = try_box(functions) else { return BITCOIN_SUPPORT_OUT_OF_MEMORY };
            LockedPool::try_with_page_allocator(functions)
        }
    };
    let Ok(made) = made else { return BITCOIN_SUPPORT_OUT_OF_MEMORY };
    if pool.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    // SAFETY: `pool` is not null, and the caller promises that it is valid for a write.
    unsafe { into_handle(made, pool) }
}

/// Makes a pool over the operating system's own pages, by options, or by the defaults if `options`
/// is NULL. Nothing is mapped before the first allocation.
///
/// Out: `*pool`, to be destroyed with bitcoin_support_locked_pool_destroy. Returns:
/// BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY, _BAD_OPTION, _NOT_AVAILABLE (the system has no secret
/// memory, or refuses a required protection, or does not let the limit be raised) or _NULL_ARGUMENT
/// (`pool`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_create_with(
    options: *const bitcoin_support_locked_pool_options,
    pool: *mut *mut bitcoin_support_locked_pool,
) -> bitcoin_support_status {
    const {
        assert!(BITCOIN_SUPPORT_ARENA_SIZE == LockedPool::ARENA_SIZE);
        assert!(BITCOIN_SUPPORT_ARENA_ALIGN == LockedPool::ARENA_ALIGN);
    }
    if pool.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    let options = match options.is_null() {
        true => Some(PoolOptions::new()),
        // SAFETY: `options` is not null, and the caller promises options of the `size` that they
        // state.
        false => unsafe { read_options(options) },
    };
    let Some(options) = options else { return BITCOIN_SUPPORT_BAD_OPTION };
    match LockedPool::with_options(&options) {
        // SAFETY: `pool` is not null, and the caller promises that it is valid for a write.
        Ok(made) => unsafe { into_handle(made, pool) },
        Err(error) => error.into(),
    }
}

/// Destroys a pool and frees its pages, even if chunks are in use. NULL does nothing.
///
/// Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (not a live pool, or the process-wide pool, which
/// cannot be destroyed).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_destroy(
    pool: *mut bitcoin_support_locked_pool,
) -> bitcoin_support_status {
    // SAFETY: the caller promises that no other call uses the pool.
    unsafe { destroy(pool) }
}

/// The process-wide pool, which all code of the process shares. It needs no initialization and is
/// never destroyed, so static destructors and exit handlers can use it. Never NULL.
/// cbindgen:postfix=BITCOIN_SUPPORT_NEVER_NULL
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_locked_pool_instance() -> *mut bitcoin_support_locked_pool {
    // The library writes to nothing through this pointer: `handle_ref` reads, `destroy` refuses.
    ptr::from_ref(LockedPoolManager::process_pool()).cast_mut().cast()
}

/// Chooses options for the process-wide pool, except sizes, which are fixed. The call must come
/// before the first allocation from this pool: at the beginning of main, or in a static
/// initializer. The last of several calls counts.
///
/// Returns: BITCOIN_SUPPORT_OK, _IN_USE (something has been allocated), _BAD_OPTION, _NOT_AVAILABLE
/// or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_configure_instance(
    options: *const bitcoin_support_locked_pool_options,
) -> bitcoin_support_status {
    if options.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    // SAFETY: `options` is not null, and the caller promises options of the `size` that they state.
    let Some(options) = (unsafe { read_options(options) }) else {
        return BITCOIN_SUPPORT_BAD_OPTION;
    };
    // SAFETY: the caller promises that child processes use no object that the fork policy destroys.
    match unsafe { LockedPoolManager::instance().configure_unchecked(&options) } {
        Ok(()) => BITCOIN_SUPPORT_OK,
        Err(error) => error.into(),
    }
}

/// Sets the callback that decides about unlocked memory. NULL is the default: the pool uses
/// unlocked memory, and counts it in the statistics. When this returns, no thread is in the old
/// callback any more, and none will call it, so its context may be freed. (Called in a callback of
/// the same pool, that holds from the return of that callback on.)
///
/// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_set_locking_failed(
    pool: *mut bitcoin_support_locked_pool,
    callback: bitcoin_support_locking_failed,
    context: *mut c_void,
) -> bitcoin_support_status {
    let callback = match callback {
        None => None,
        Some(function) => {
            let context = Context(context);
            let closure = move |error: &LockError| {
                let context = &context;
                // SAFETY: the caller that set the function promises that it may be called with the
                // context until another one is set or the pool is destroyed.
                unsafe { function(context.0, error.errno, error.limit) }
            };
            match try_box(closure) {
                Some(closure) => Some(closure as LockingFailed),
                None => return BITCOIN_SUPPORT_OUT_OF_MEMORY,
            }
        }
    };
    // SAFETY: the caller promises a handle that is null or live.
    let Some(pool) = (unsafe { handle_ref(pool) }) else { return BITCOIN_SUPPORT_NULL_ARGUMENT };
    pool.set_locking_failed(callback);
    BITCOIN_SUPPORT_OK
}

/// Allocates `size` bytes from the process-wide pool, aligned to BITCOIN_SUPPORT_ARENA_ALIGN. Equal
/// to bitcoin_support_locked_pool_alloc with that pool's handle, and faster.
/// cbindgen:postfix=BITCOIN_SUPPORT_FRESH
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_alloc(size: usize) -> *mut c_void {
    chunk_or_null(LockedPoolManager::process_pool().alloc(size, 1))
}

/// Like bitcoin_support_alloc, but aligned to `alignment` bytes. NULL also when `alignment` is not
/// a power of two.
/// cbindgen:postfix=BITCOIN_SUPPORT_FRESH
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_alloc_aligned(size: usize, alignment: usize) -> *mut c_void {
    chunk_or_null(LockedPoolManager::process_pool().alloc(size, alignment))
}

/// Wipes and frees a chunk of the process-wide pool. NULL does nothing. Equal to
/// bitcoin_support_locked_pool_free with that pool's handle, and faster.
///
/// Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE, _NOT_IN_POOL, _OVERRUN if the chunk is a sampled
/// one, or _INTERRUPTED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_free(ptr: *mut c_void) -> bitcoin_support_status {
    let pool = LockedPoolManager::process_pool();
    // SAFETY: the caller promises that the chunk is not used any more.
    match unsafe { pool.free_local(ptr.cast(), None) } {
        Some(()) => BITCOIN_SUPPORT_OK,
        // SAFETY: `free_local` has not freed the chunk, and the caller promises that it is not used
        // any more.
        None => unsafe { free_any(pool, ptr) },
    }
}

/// Allocates `size` bytes, aligned to BITCOIN_SUPPORT_ARENA_ALIGN. NULL when `size` is 0 or above
/// the size of the pool's arenas (BITCOIN_SUPPORT_ARENA_SIZE, unless the options of the pool say
/// otherwise), or when the pool has no room and cannot get any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_alloc(
    pool: *mut bitcoin_support_locked_pool,
    size: usize,
) -> *mut c_void {
    // SAFETY: the caller promises a handle that is null or live.
    chunk_or_null(unsafe { handle_ref(pool) }.and_then(|pool| pool.alloc(size, 1)))
}

/// Like bitcoin_support_locked_pool_alloc, but aligned to `alignment` bytes. NULL also when
/// `alignment` is not a power of two.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_alloc_aligned(
    pool: *mut bitcoin_support_locked_pool,
    size: usize,
    alignment: usize,
) -> *mut c_void {
    // SAFETY: the caller promises a handle that is null or live.
    chunk_or_null(unsafe { handle_ref(pool) }.and_then(|pool| pool.alloc(size, alignment)))
}

/// Frees the chunk that begins at `ptr`. If the pool is over the operating system's own pages, the
/// whole chunk is wiped first. NULL does nothing.
///
/// Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE, _NOT_IN_POOL, _OVERRUN if the chunk is a sampled
/// one, or _INTERRUPTED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_free(
    pool: *mut bitcoin_support_locked_pool,
    ptr: *mut c_void,
) -> bitcoin_support_status {
    // SAFETY: the caller promises a handle that is null or live.
    let Some(pool) = (unsafe { handle_ref(pool) }) else { return BITCOIN_SUPPORT_NULL_ARGUMENT };
    // SAFETY: the caller promises that the chunk is not used any more.
    match unsafe { pool.free_local(ptr.cast(), None) } {
        Some(()) => BITCOIN_SUPPORT_OK,
        // SAFETY: `free_local` has not freed the chunk, and the caller promises that it is not used
        // any more.
        None => unsafe { free_any(pool, ptr) },
    }
}

/// The uncommon cases of a free, in a separate function so that the common case is a leaf function.
///
/// # Safety
/// As for [`LockedPool::free`].
#[inline(never)]
unsafe fn free_any(pool: &LockedPool, ptr: *mut c_void) -> bitcoin_support_status {
    // SAFETY: the caller of this function promises that a chunk at `ptr` is not used any more.
    unsafe { pool.free_any(ptr.cast(), None) }.into()
}

/// Frees the chunk that begins at `ptr`, if it was allocated with this size and alignment. Wipes as
/// bitcoin_support_locked_pool_free does. NULL does nothing.
///
/// Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE, _NOT_IN_POOL, _SIZE_MISMATCH, _OVERRUN if the chunk
/// is a sampled one, or _INTERRUPTED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_free_sized(
    pool: *mut bitcoin_support_locked_pool,
    ptr: *mut c_void,
    size: usize,
    alignment: usize,
) -> bitcoin_support_status {
    // SAFETY: the caller promises a handle that is null or live.
    let Some(pool) = (unsafe { handle_ref(pool) }) else { return BITCOIN_SUPPORT_NULL_ARGUMENT };
    // SAFETY: the caller promises that the chunk is not used any more.
    match unsafe { pool.free_local(ptr.cast(), Some((size, alignment))) } {
        Some(()) => BITCOIN_SUPPORT_OK,
        // SAFETY: `free_local` has not freed the chunk, and the caller promises that it is not used
        // any more.
        None => unsafe { free_sized_uncommon(pool, ptr, size, alignment) },
    }
}

/// The uncommon cases of a sized free, in a separate function so that the common case is a leaf
/// function.
///
/// # Safety
/// As for [`LockedPool::free`].
#[inline(never)]
unsafe fn free_sized_uncommon(
    pool: &LockedPool,
    ptr: *mut c_void,
    size: usize,
    alignment: usize,
) -> bitcoin_support_status {
    // SAFETY: the caller of this function promises that a chunk at `ptr` is not used any more.
    unsafe { pool.free_any(ptr.cast(), Some((size, alignment))) }.into()
}

/// Visits every chunk that the pool has at one moment, until `visit` returns false. The library
/// first makes a list of them, of two words for each. `visit` may use the pool. For debugging.
///
/// Returns: BITCOIN_SUPPORT_OK, _NULL_ARGUMENT, or _OUT_OF_MEMORY (there is no memory for the list,
/// and nothing has been visited).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_walk(
    pool: *const bitcoin_support_locked_pool,
    visit: bitcoin_support_visit_chunk,
    context: *mut c_void,
) -> bitcoin_support_status {
    // SAFETY: the caller promises a handle that is null or live.
    let (Some(pool), Some(visit)) = (unsafe { handle_ref(pool) }, visit) else {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    };
    // SAFETY: the caller promises a function that may be called with the context until this call
    // returns.
    if pool.walk_while(&mut unsafe { visitor(visit, context) }) {
        BITCOIN_SUPPORT_OK
    } else {
        BITCOIN_SUPPORT_OUT_OF_MEMORY
    }
}
