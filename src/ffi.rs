//! Every exported symbol: the C ABI over the crate, which `include/bitcoin_support.h` declares.
//!
//! Depends on everything below it; nothing depends on it. No logic: handles, pointers and errors are
//! translated, no more. The comments on items are the header's text.
//!
//! No panic leaves a function here: unwinding out of `extern "C"` aborts the process.
//!
//! # Safety
//! One contract for all unsafe functions here, which the header states at its top as conventions:
//! objects are null or live, pointers are valid for what the function does with them, arenas are used
//! by one thread at a time, and callbacks return normally.

// cbindgen reads `pub`; the linker reads `no_mangle`.
#![allow(unreachable_pub)]

mod handles;

use crate::arena::{Arena, ArenaError, ArenaStats, FreeError};
use crate::pages::{
    ExitPolicy, ForkPolicy, LockError, LockedAllocation, LockedPageAllocator, Missing, Protection,
    ProtectionError, SecretMemory,
};
use crate::pool::{
    AddressReport, ConfigureError, LockedPool, LockedPoolManager, PoolError, PoolOptions, PoolStats,
};
use crate::secure::SecureVec;
use crate::unique_path::{NAME_LEN, unique_name};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt::Write;
use core::mem::offset_of;
use core::num::NonZeroU32;
use core::ptr::{self, NonNull};
use std::alloc::{Layout, alloc};

/// Version of the exported interface; the shared library's SONAME ends in it.
pub const BITCOIN_SUPPORT_ABI: u32 = 0;
/// Version of the library these declarations belong to.
pub const BITCOIN_SUPPORT_VERSION_MAJOR: u32 = 0;
/// See BITCOIN_SUPPORT_VERSION_MAJOR.
pub const BITCOIN_SUPPORT_VERSION_MINOR: u32 = 1;
/// See BITCOIN_SUPPORT_VERSION_MAJOR.
pub const BITCOIN_SUPPORT_VERSION_PATCH: u32 = 0;
/// Largest chunk of a locked pool, and size of its arenas, in bytes.
pub const BITCOIN_SUPPORT_ARENA_SIZE: usize = 262144;
/// Alignment of the chunks of a locked pool in bytes; sizes are rounded up to it.
pub const BITCOIN_SUPPORT_ARENA_ALIGN: usize = 16;
/// Size of a unique name in bytes, the terminating zero included.
pub const BITCOIN_SUPPORT_UNIQUE_NAME_SIZE: usize = 33;

const fn parse(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("not a number"),
    }
}

const _: () = assert!(BITCOIN_SUPPORT_VERSION_MAJOR == parse(env!("CARGO_PKG_VERSION_MAJOR")));
const _: () = assert!(BITCOIN_SUPPORT_VERSION_MINOR == parse(env!("CARGO_PKG_VERSION_MINOR")));
const _: () = assert!(BITCOIN_SUPPORT_VERSION_PATCH == parse(env!("CARGO_PKG_VERSION_PATCH")));
const _: () = assert!(BITCOIN_SUPPORT_ABI == parse(env!("BITCOIN_SUPPORT_ABI")));
const _: () = assert!(BITCOIN_SUPPORT_ARENA_SIZE == LockedPool::ARENA_SIZE);
const _: () = assert!(BITCOIN_SUPPORT_ARENA_ALIGN == LockedPool::ARENA_ALIGN);
const _: () = assert!(BITCOIN_SUPPORT_UNIQUE_NAME_SIZE == NAME_LEN + 1);

/// Outcome of a call. Anything but BITCOIN_SUPPORT_OK left everything as it was, with the one exception of
/// BITCOIN_SUPPORT_OVERRUN.
#[repr(C)]
#[allow(non_camel_case_types, dead_code)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum bitcoin_support_status {
    /// Success.
    BITCOIN_SUPPORT_OK = 0,
    /// No used chunk begins at the address: it was freed before, lies inside a chunk, or was never
    /// handed out.
    BITCOIN_SUPPORT_INVALID_FREE = 1,
    /// The address is in no arena of the pool.
    BITCOIN_SUPPORT_NOT_IN_POOL = 2,
    /// A used chunk begins at the address, but not one of that size or alignment.
    BITCOIN_SUPPORT_SIZE_MISMATCH = 3,
    /// The alignment is not a power of two.
    BITCOIN_SUPPORT_BAD_ALIGNMENT = 4,
    /// The region begins at the null address or wraps around the address space.
    BITCOIN_SUPPORT_BAD_REGION = 5,
    /// No memory: for bookkeeping, or none that is locked for a buffer.
    BITCOIN_SUPPORT_OUT_OF_MEMORY = 6,
    /// A pointer that must not be null is null.
    BITCOIN_SUPPORT_NULL_ARGUMENT = 7,
    /// The caller's buffer has no room for the answer.
    BITCOIN_SUPPORT_BUFFER_TOO_SMALL = 8,
    /// The system has no random bytes to give.
    BITCOIN_SUPPORT_NO_RANDOMNESS = 9,
    /// The pool is in use already, and what was asked for has to come before.
    BITCOIN_SUPPORT_IN_USE = 10,
    /// An option has no such value, contradicts another, or is not for this pool.
    BITCOIN_SUPPORT_BAD_OPTION = 11,
    /// The system does not have, or does not allow, what was asked for.
    BITCOIN_SUPPORT_NOT_AVAILABLE = 12,
    /// Bytes next to the chunk, which was a sampled one (see bitcoin_support_locked_pool_sample), have been
    /// written to. The chunk has been wiped and freed all the same.
    BITCOIN_SUPPORT_OVERRUN = 13,
    /// A signal handler has interrupted the calling thread's work on this pool.
    BITCOIN_SUPPORT_INTERRUPTED = 14,
    /// The handle is not one of this kind, or no longer: it has been destroyed, or is never destroyed.
    BITCOIN_SUPPORT_INVALID_HANDLE = 15,
}

use bitcoin_support_status::*;

impl From<ArenaError> for bitcoin_support_status {
    fn from(error: ArenaError) -> Self {
        match error {
            ArenaError::Alignment => BITCOIN_SUPPORT_BAD_ALIGNMENT,
            ArenaError::Region => BITCOIN_SUPPORT_BAD_REGION,
            ArenaError::OutOfMemory => BITCOIN_SUPPORT_OUT_OF_MEMORY,
        }
    }
}

impl From<Result<(), FreeError>> for bitcoin_support_status {
    fn from(result: Result<(), FreeError>) -> Self {
        match result {
            Ok(()) => BITCOIN_SUPPORT_OK,
            Err(FreeError::InvalidFree) => BITCOIN_SUPPORT_INVALID_FREE,
            Err(FreeError::NotInPool) => BITCOIN_SUPPORT_NOT_IN_POOL,
            Err(FreeError::SizeMismatch) => BITCOIN_SUPPORT_SIZE_MISMATCH,
            Err(FreeError::Overrun) => BITCOIN_SUPPORT_OVERRUN,
            Err(FreeError::Interrupted) => BITCOIN_SUPPORT_INTERRUPTED,
        }
    }
}

/// The name of a status, such as "BITCOIN_SUPPORT_OK"; never NULL, not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_status_name(status: c_int) -> *const c_char {
    status_text(status).0.as_ptr()
}

/// What a status means, in a sentence; never NULL, not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_status_message(status: c_int) -> *const c_char {
    status_text(status).1.as_ptr()
}

fn status_text(status: c_int) -> (&'static CStr, &'static CStr) {
    // Two of the messages are what programs written against Bitcoin Core's code match on.
    match status {
        0 => (c"BITCOIN_SUPPORT_OK", c"success"),
        1 => (c"BITCOIN_SUPPORT_INVALID_FREE", c"Arena: invalid or double free"),
        2 => (
            c"BITCOIN_SUPPORT_NOT_IN_POOL",
            c"LockedPool: invalid address not pointing to any arena",
        ),
        3 => (
            c"BITCOIN_SUPPORT_SIZE_MISMATCH",
            c"Arena: free with another size or alignment than at allocation",
        ),
        4 => (c"BITCOIN_SUPPORT_BAD_ALIGNMENT", c"Arena: alignment is not a power of two"),
        5 => (
            c"BITCOIN_SUPPORT_BAD_REGION",
            c"Arena: region is null or wraps around the address space",
        ),
        6 => (c"BITCOIN_SUPPORT_OUT_OF_MEMORY", c"no memory, or none that is locked"),
        7 => (c"BITCOIN_SUPPORT_NULL_ARGUMENT", c"a pointer that must not be null is null"),
        8 => (c"BITCOIN_SUPPORT_BUFFER_TOO_SMALL", c"the buffer has no room for the answer"),
        9 => (c"BITCOIN_SUPPORT_NO_RANDOMNESS", c"the system has no random bytes to give"),
        10 => (c"BITCOIN_SUPPORT_IN_USE", c"the pool is in use already"),
        11 => (
            c"BITCOIN_SUPPORT_BAD_OPTION",
            c"LockedPool: an option has no such value, contradicts another, or is not for this pool",
        ),
        12 => (
            c"BITCOIN_SUPPORT_NOT_AVAILABLE",
            c"the system does not have, or does not allow, what was asked for",
        ),
        13 => (
            c"BITCOIN_SUPPORT_OVERRUN",
            c"LockedPool: bytes next to the chunk were written to; it has been freed",
        ),
        14 => (
            c"BITCOIN_SUPPORT_INTERRUPTED",
            c"LockedPool: a signal handler frees into a pool that the same thread is at work on",
        ),
        15 => (
            c"BITCOIN_SUPPORT_INVALID_HANDLE",
            c"not a handle of this kind, or no longer: it has been destroyed, or is never destroyed",
        ),
        _ => (c"BITCOIN_SUPPORT_UNKNOWN", c"not a status of this library"),
    }
}

/// Version of the library in use, such as "0.1.0"; not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// BITCOIN_SUPPORT_ABI of the library in use.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_abi() -> u32 {
    BITCOIN_SUPPORT_ABI
}

/// Overwrites `len` bytes at `ptr` with zeros, as fast as memset and never optimized away. `ptr`
/// may be NULL when `len` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memory_cleanse(ptr: *mut c_void, len: usize) {
    // SAFETY: the caller vouches for `len` writable bytes.
    unsafe { crate::cleanse::memory_cleanse(ptr.cast(), len) }
}

/// Overwrites a string with zeros, up to its terminating zero; NULL does nothing. What may lie behind
/// that, such as the rest of a buffer that held a longer string before, stays: see memory_cleanse.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_cleanse_string(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: the caller vouches for a string that ends with a zero and may be written to.
        unsafe { crate::cleanse::memory_cleanse(string.cast(), libc::strlen(string)) }
    }
}

/// Writes a name for a temporary file to `name`: 32 hexadecimal digits of the system's random source and
/// a terminating zero. Creates nothing: create the file so that this fails if it exists.
///
/// Returns: BITCOIN_SUPPORT_OK, _NULL_ARGUMENT, _BUFFER_TOO_SMALL (`size` is below
/// BITCOIN_SUPPORT_UNIQUE_NAME_SIZE), or _NO_RANDOMNESS.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_get_unique_name(
    name: *mut c_char,
    size: usize,
) -> bitcoin_support_status {
    if name.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    if size < BITCOIN_SUPPORT_UNIQUE_NAME_SIZE {
        return BITCOIN_SUPPORT_BUFFER_TOO_SMALL;
    }
    let Ok(digits) = unique_name() else { return BITCOIN_SUPPORT_NO_RANDOMNESS };
    // SAFETY: the caller vouches for `size` writable bytes, which are enough.
    unsafe {
        name.copy_from_nonoverlapping(digits.as_ptr().cast(), NAME_LEN);
        name.add(NAME_LEN).write(0);
    }
    BITCOIN_SUPPORT_OK
}

/// A growable buffer for a secret, in the process-wide pool (above BITCOIN_SUPPORT_ARENA_SIZE bytes in
/// locked pages of its own). Growing wipes the place that the bytes leave. Not thread-safe.
#[allow(non_camel_case_types)]
pub struct bitcoin_support_buffer {
    _opaque: [u8; 0],
}

impl Handle for bitcoin_support_buffer {
    type Target = SecureVec<u8>;
    const KIND: handles::Kind = handles::Kind::Buffer;
}

/// Makes an empty buffer with room for `capacity` bytes.
///
/// Out: `*buffer`, to be destroyed with bitcoin_support_buffer_destroy.
/// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_buffer_create(
    capacity: usize,
    buffer: *mut *mut bitcoin_support_buffer,
) -> bitcoin_support_status {
    if buffer.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    match SecureVec::try_with_capacity(capacity) {
        // SAFETY: `buffer` is a valid place for a pointer by this function's contract.
        Ok(made) => unsafe { give(made, buffer) },
        Err(_) => BITCOIN_SUPPORT_OUT_OF_MEMORY,
    }
}

/// Wipes and destroys a buffer; NULL does nothing.
///
/// Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (not a buffer, or no longer).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_buffer_destroy(
    buffer: *mut bitcoin_support_buffer,
) -> bitcoin_support_status {
    // SAFETY: the handle is null or came from `give`, or is refused; the caller gives it up.
    unsafe { take_back(buffer) }
}

/// The bytes, to be read and written, until the buffer is changed or destroyed; NULL for a NULL buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_buffer_data(
    buffer: *mut bitcoin_support_buffer,
) -> *mut c_void {
    // SAFETY: the handle is null or live, and nobody else uses it meanwhile.
    match unsafe { exclusive(buffer) } {
        Some(buffer) => buffer.expose_secret_mut().as_mut_ptr().cast(),
        None => ptr::null_mut(),
    }
}

/// Number of bytes; 0 for a NULL buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_buffer_size(
    buffer: *const bitcoin_support_buffer,
) -> usize {
    // SAFETY: the handle is null or live.
    unsafe { shared(buffer) }.map_or(0, SecureVec::len)
}

/// Changes the number of bytes: wipes those behind, or appends zeros.
///
/// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_buffer_resize(
    buffer: *mut bitcoin_support_buffer,
    size: usize,
) -> bitcoin_support_status {
    // SAFETY: the handle is null or live, and nobody else uses it meanwhile.
    match unsafe { exclusive(buffer) }.map(|buffer| buffer.try_resize(size, 0)) {
        None => BITCOIN_SUPPORT_NULL_ARGUMENT,
        Some(Ok(())) => BITCOIN_SUPPORT_OK,
        Some(Err(_)) => BITCOIN_SUPPORT_OUT_OF_MEMORY,
    }
}

/// Appends `size` bytes from `data`, which are not in the buffer; `data` may be NULL when `size` is 0.
///
/// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_buffer_append(
    buffer: *mut bitcoin_support_buffer,
    data: *const c_void,
    size: usize,
) -> bitcoin_support_status {
    // SAFETY: the handle is null or live, and nobody else uses it meanwhile.
    let Some(buffer) = (unsafe { exclusive(buffer) }) else {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    };
    if size == 0 {
        return BITCOIN_SUPPORT_OK;
    }
    if data.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    // No object is larger; a slice must not be.
    if size > isize::MAX as usize {
        return BITCOIN_SUPPORT_OUT_OF_MEMORY;
    }
    // SAFETY: the caller vouches for `size` readable bytes, which are not the buffer's.
    let bytes = unsafe { core::slice::from_raw_parts(data.cast::<u8>(), size) };
    match buffer.try_extend_from_slice(bytes) {
        Ok(()) => BITCOIN_SUPPORT_OK,
        Err(_) => BITCOIN_SUPPORT_OUT_OF_MEMORY,
    }
}

/// An arena: hands out chunks of a region of memory that it never touches. Not thread-safe: calls
/// on one arena must not overlap in time.
#[allow(non_camel_case_types)]
pub struct bitcoin_support_arena {
    _opaque: [u8; 0],
}

impl Handle for bitcoin_support_arena {
    type Target = Arena;
    const KIND: handles::Kind = handles::Kind::Arena;
}

/// What an arena holds. `used + free == total` always.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct bitcoin_support_arena_stats {
    /// Bytes in used chunks, padding included.
    pub used: usize,
    /// Bytes in free chunks.
    pub free: usize,
    /// Bytes managed.
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

/// Called for each chunk by the functions that walk: its address, its size in bytes, and whether it
/// is used. Must not use the arena being walked; a pool it may use.
#[allow(non_camel_case_types)]
pub type bitcoin_support_visit_chunk =
    Option<unsafe extern "C" fn(context: *mut c_void, chunk: *mut c_void, size: usize, used: bool)>;

/// Makes an arena over the `size` bytes at `base`, which it never reads or writes: they need not be
/// mapped. Its chunks are aligned to `alignment` bytes, a power of two, and take a multiple of it;
/// bytes of the region before the first multiple and after the last are left alone.
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
        // SAFETY: `arena` is a valid place for a pointer by this function's contract.
        Ok(made) => unsafe { give(made, arena) },
        Err(error) => error.into(),
    }
}

/// Destroys an arena; NULL does nothing. The region stays as it is.
///
/// Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (not an arena, or no longer).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_destroy(
    arena: *mut bitcoin_support_arena,
) -> bitcoin_support_status {
    // SAFETY: the handle is null or came from `give`, or is refused; the caller gives it up.
    unsafe { take_back(arena) }
}

/// Allocates `size` bytes, aligned as the arena is. NULL when there is no room, or `size` is 0.
/// Constant time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_alloc(
    arena: *mut bitcoin_support_arena,
    size: usize,
) -> *mut c_void {
    // SAFETY: the handle is null or live, and nobody else uses it meanwhile.
    address(unsafe { exclusive(arena) }.and_then(|arena| arena.alloc(size, 1)))
}

/// Allocates `size` bytes aligned to `alignment` bytes, a power of two. NULL when there is no room,
/// `size` is 0, or `alignment` is no power of two. Above the arena's own alignment the time it takes
/// grows with the number of free chunks that are too badly placed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_alloc_aligned(
    arena: *mut bitcoin_support_arena,
    size: usize,
    alignment: usize,
) -> *mut c_void {
    // SAFETY: the handle is null or live, and nobody else uses it meanwhile.
    address(unsafe { exclusive(arena) }.and_then(|arena| arena.alloc(size, alignment)))
}

/// Frees the chunk that begins at `ptr`; NULL does nothing. Constant time.
///
/// Returns: BITCOIN_SUPPORT_OK or _INVALID_FREE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_free(
    arena: *mut bitcoin_support_arena,
    ptr: *mut c_void,
) -> bitcoin_support_status {
    // SAFETY: the handle is null or live, and nobody else uses it meanwhile.
    match unsafe { exclusive(arena) } {
        Some(arena) => arena.free_unsized(ptr.cast()).map(drop).into(),
        None => BITCOIN_SUPPORT_NULL_ARGUMENT,
    }
}

/// Frees the chunk that begins at `ptr`, if it was allocated with this size and alignment.
///
/// Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE or _SIZE_MISMATCH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_free_sized(
    arena: *mut bitcoin_support_arena,
    ptr: *mut c_void,
    size: usize,
    alignment: usize,
) -> bitcoin_support_status {
    // SAFETY: the handle is null or live, and nobody else uses it meanwhile.
    match unsafe { exclusive(arena) } {
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
    // SAFETY: the handle is null or live.
    unsafe { shared(arena) }.is_some_and(|arena| arena.address_in_arena(ptr.cast()))
}

/// What the arena holds. Constant time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_get_stats(
    arena: *const bitcoin_support_arena,
) -> bitcoin_support_arena_stats {
    // SAFETY: the handle is null or live.
    unsafe { shared(arena) }.map(Arena::stats).unwrap_or_default().into()
}

/// Visits every chunk: used ones from the lowest address up, then free ones. For debugging.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_arena_walk(
    arena: *const bitcoin_support_arena,
    visit: bitcoin_support_visit_chunk,
    context: *mut c_void,
) {
    // SAFETY: the handle is null or live.
    if let Some(arena) = unsafe { shared(arena) } {
        arena.walk(visitor(visit, context));
    }
}

/// Source of pages for a locked pool: functions over a `context` of the caller's. One thread at a time calls
/// them, whichever uses the pool, which holds no lock meanwhile: they may use other pools, look at this one's
/// statistics, and fork; an allocation from this pool that needs more pages fails at once in there. In a child
/// of a fork that came while another thread was in one of them, none is called any more. The addresses may be no
/// memory at all: the pool never touches them.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct bitcoin_support_page_allocator {
    /// Passed to every function.
    pub context: *mut c_void,
    /// Maps and locks `len` bytes. Sets `*locked`, which is false before, to whether they are
    /// locked. NULL when they cannot be mapped.
    pub allocate_locked: Option<
        unsafe extern "C" fn(context: *mut c_void, len: usize, locked: *mut bool) -> *mut c_void,
    >,
    /// Wipes, unlocks and unmaps what allocate_locked returned for `len`.
    pub free_locked:
        Option<unsafe extern "C" fn(context: *mut c_void, addr: *mut c_void, len: usize)>,
    /// How many bytes may be locked in all: SIZE_MAX for no limit, 0 for none at all.
    pub get_limit: Option<unsafe extern "C" fn(context: *mut c_void) -> usize>,
    /// Called once, when the pool is destroyed and has freed all pages. May be NULL.
    pub destroy: Option<unsafe extern "C" fn(context: *mut c_void)>,
}

/// Decides, when no memory can be locked, whether the pool may use unlocked memory (true) or fails
/// the allocation (false). `error` is the operating system's error number (0: unknown), `limit` the
/// limit on locked bytes that was in force (SIZE_MAX: none or unknown). One thread at a time is in it, and holds
/// no lock: it may use the pool, also its statistics, set another callback, and fork. An allocation in there for
/// which it would be asked again fails at once. It must not wait for a thread that sets the callback or needs its
/// answer. In a child of a fork that came while another thread was in it, it is not called, which counts as false,
/// until one is set there.
#[allow(non_camel_case_types)]
pub type bitcoin_support_locking_failed =
    Option<unsafe extern "C" fn(context: *mut c_void, error: c_int, limit: usize) -> bool>;

/// A pool of locked memory. Thread-safe.
#[allow(non_camel_case_types)]
pub struct bitcoin_support_locked_pool {
    _opaque: [u8; 0],
}

impl Handle for bitcoin_support_locked_pool {
    type Target = LockedPool;
    const KIND: handles::Kind = handles::Kind::Pool;
}

/// A protection that memory for secrets is to have besides its lock, and that the system can refuse. (Guard pages
/// are not among them: memory is mapped with them, or not at all.)
#[allow(non_camel_case_types)]
pub type bitcoin_support_protection = u32;

/// The memory is left out of core dumps.
pub const BITCOIN_SUPPORT_PROTECTION_DUMP_EXCLUSION: u32 = 0;
/// Children find what the fork policy says, by the kernel's doing. Where that is refused, children that the C
/// library makes find it all the same; those made by the bare system call have the contents.
pub const BITCOIN_SUPPORT_PROTECTION_FORK_POLICY: u32 = 1;
/// The memory is not merged with equal pages.
pub const BITCOIN_SUPPORT_PROTECTION_NO_MERGING: u32 = 2;
/// The memory is not backed by huge pages.
pub const BITCOIN_SUPPORT_PROTECTION_NO_HUGE_PAGES: u32 = 3;

const _: () = {
    assert!(Protection::DumpExclusion as u32 == BITCOIN_SUPPORT_PROTECTION_DUMP_EXCLUSION);
    assert!(Protection::ForkPolicy as u32 == BITCOIN_SUPPORT_PROTECTION_FORK_POLICY);
    assert!(Protection::NoMerging as u32 == BITCOIN_SUPPORT_PROTECTION_NO_MERGING);
    assert!(Protection::NoHugePages as u32 == BITCOIN_SUPPORT_PROTECTION_NO_HUGE_PAGES);
};

/// What the system has refused of one protection.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct bitcoin_support_missing_protection {
    /// Bytes that were to have it and have not.
    pub bytes: usize,
    /// Error number of the last refusal (0: none).
    pub error: c_int,
}

/// What a locked pool holds. `used + free == total` always.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct bitcoin_support_locked_pool_stats {
    /// Bytes in used chunks, padding included.
    pub used: usize,
    /// Bytes in free chunks.
    pub free: usize,
    /// Bytes in all arenas.
    pub total: usize,
    /// Bytes of `total` that are locked into memory.
    pub locked: usize,
    /// Number of used chunks.
    pub chunks_used: usize,
    /// Number of free chunks.
    pub chunks_free: usize,
    /// Number of arenas.
    pub arenas: usize,
    /// The most bytes that were ever in used chunks at once; for the process-wide pool with several
    /// threads, the most that was seen.
    pub peak_used: usize,
    /// How often an arena was wanted and could not be locked whole. Not 0 also where the pool has made do with a
    /// smaller one, and is locked.
    pub lock_failures: usize,
    /// Limit on locked bytes in force at the last of those (SIZE_MAX: none or unknown).
    pub last_lock_limit: usize,
    /// Error number of the last of those (0: none, or unknown).
    pub last_lock_error: c_int,
    /// Why a pool that was to use secret memory last had to do without: an error number (0: it did not).
    pub secret_memory_error: c_int,
    /// Bytes of `total` that are secret memory.
    pub secret_memory: usize,
    /// By BITCOIN_SUPPORT_PROTECTION_ value, what of `total` was to have that protection and has not. (Of a pool
    /// over a foreign page allocator, nothing is known.)
    pub missing_protections: [bitcoin_support_missing_protection; 4],
}

impl From<PoolStats> for bitcoin_support_locked_pool_stats {
    fn from(stats: PoolStats) -> Self {
        let last = stats.last_lock_failure.unwrap_or(LockError { errno: 0, limit: usize::MAX });
        Self {
            used: stats.used,
            free: stats.free,
            total: stats.total,
            locked: stats.locked,
            chunks_used: stats.chunks_used,
            chunks_free: stats.chunks_free,
            arenas: stats.arenas,
            peak_used: stats.peak_used,
            lock_failures: stats.lock_failures,
            last_lock_limit: last.limit,
            last_lock_error: last.errno,
            secret_memory_error: stats.secret_memory_error.unwrap_or(0),
            secret_memory: stats.secret_memory,
            missing_protections: Protection::ALL.map(|protection| {
                let Missing { bytes, errno } = stats.missing_protections.of(protection);
                bitcoin_support_missing_protection { bytes, error: errno }
            }),
        }
    }
}

/// Makes a pool over `pages`, which is copied, or with NULL over the operating system's own pages:
/// then chunks are wiped as they are freed. Whatever is returned, `pages->destroy` will be called:
/// on failure, before this function returns.
///
/// Out: `*pool`, to be destroyed with bitcoin_support_locked_pool_destroy.
/// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY, or _NULL_ARGUMENT (a function of `pages` other than
/// destroy, or `pool`, is NULL).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_create(
    pages: *const bitcoin_support_page_allocator,
    pool: *mut *mut bitcoin_support_locked_pool,
) -> bitcoin_support_status {
    // SAFETY: `pages` is null or points to a table by this function's contract.
    let made = match unsafe { pages.as_ref() } {
        None => LockedPool::with_options(&PoolOptions::new()),
        Some(table) => {
            let functions = PageFunctions(*table);
            if !functions.are_there() {
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
    // SAFETY: `pool` is a valid place for a pointer by this function's contract.
    unsafe { give(made, pool) }
}

/// What a child process finds, after fork, in memory that its parent had. The parent's stays as it is.
#[allow(non_camel_case_types)]
pub type bitcoin_support_fork_policy = u32;

/// The contents, locked again before fork returns. The default; what a daemon needs.
pub const BITCOIN_SUPPORT_FORK_KEEP: u32 = 0;
/// Zeros, locked. Chunks stay allocated. A child must not use objects in them to which zeros are no value, such
/// as pointers.
pub const BITCOIN_SUPPORT_FORK_WIPE: u32 = 1;
/// Nothing: an access ends the process. The child's pool is empty; freeing one of its parent's chunks
/// succeeds and does nothing. A child must not use objects in them.
pub const BITCOIN_SUPPORT_FORK_ABSENT: u32 = 2;

/// Whether a pool uses secret memory, which no other process can read however privileged (Linux's
/// memfd_secret). It goes with BITCOIN_SUPPORT_FORK_ABSENT only. While it is in use the machine refuses
/// to hibernate.
#[allow(non_camel_case_types)]
pub type bitcoin_support_secret_memory = u32;

/// Ordinary memory. The default.
pub const BITCOIN_SUPPORT_SECRET_MEMORY_OFF: u32 = 0;
/// Where the system has it; else ordinary locked memory, and the statistics say why.
pub const BITCOIN_SUPPORT_SECRET_MEMORY_PREFER: u32 = 1;
/// Nothing else.
pub const BITCOIN_SUPPORT_SECRET_MEMORY_REQUIRE: u32 = 2;

/// Choices for a pool. Set them all to zero, which stands for the defaults, then `size`, then what you
/// choose; bitcoin_support_locked_pool_options_init does the first two. Later versions append members:
/// those that `size` does not cover are defaults. A `size` that ends within a member, or the padding behind
/// the last, or is larger than that of this version, is BITCOIN_SUPPORT_BAD_OPTION.
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(non_camel_case_types)]
pub struct bitcoin_support_locked_pool_options {
    /// sizeof(bitcoin_support_locked_pool_options).
    pub size: usize,
    /// A BITCOIN_SUPPORT_FORK_ value.
    pub fork_policy: bitcoin_support_fork_policy,
    /// A BITCOIN_SUPPORT_SECRET_MEMORY_ value.
    pub secret_memory: bitcoin_support_secret_memory,
    /// Size of a page in bytes, a common or a huge one; 0 for the common ones.
    pub page_size: usize,
    /// Size of an arena, and of the largest chunk, in bytes, a multiple of the page size; 0 for
    /// BITCOIN_SUPPORT_ARENA_SIZE.
    pub arena_size: usize,
    /// The most that all arenas may have in bytes; 0 for no such limit.
    pub max_size: usize,
    /// Whether to raise the process's limit on locked memory first: see
    /// bitcoin_support_raise_lock_limit.
    pub raise_lock_limit: bool,
    /// Whether the pool has every protection of its memory besides the lock or fails: see
    /// bitcoin_support_protection.
    pub require_protections: bool,
}

impl bitcoin_support_locked_pool_options {
    fn to_options(self) -> Option<PoolOptions> {
        let fork = match self.fork_policy {
            BITCOIN_SUPPORT_FORK_KEEP => ForkPolicy::Keep,
            BITCOIN_SUPPORT_FORK_WIPE => ForkPolicy::Wipe,
            BITCOIN_SUPPORT_FORK_ABSENT => ForkPolicy::Absent,
            _ => return None,
        };
        let secret_memory = match self.secret_memory {
            BITCOIN_SUPPORT_SECRET_MEMORY_OFF => SecretMemory::Off,
            BITCOIN_SUPPORT_SECRET_MEMORY_PREFER => SecretMemory::Prefer,
            BITCOIN_SUPPORT_SECRET_MEMORY_REQUIRE => SecretMemory::Require,
            _ => return None,
        };
        let mut options = PoolOptions::new().fork_policy(fork).secret_memory(secret_memory);
        options = options
            .raise_lock_limit(self.raise_lock_limit)
            .require_protections(self.require_protections);
        if self.page_size != 0 {
            options = options.page_size(self.page_size);
        }
        if self.arena_size != 0 {
            options = options.arena_size(self.arena_size);
        }
        if self.max_size != 0 {
            options = options.max_size(self.max_size);
        }
        Some(options)
    }
}

/// What a caller's options say; `None` when they are no options of this version or have no such values.
///
/// # Safety
/// `options` must point to options of the `size` that they state.
unsafe fn read_options(options: *const bitcoin_support_locked_pool_options) -> Option<PoolOptions> {
    // SAFETY: `size` comes first, and is always there by this function's contract.
    let size = unsafe { options.cast::<usize>().read() };
    let mut own = bitcoin_support_locked_pool_options::default();
    // Members of a later version may ask for what this one does not have; and half a number is none.
    const ENDS: [usize; 8] = [
        offset_of!(bitcoin_support_locked_pool_options, fork_policy),
        offset_of!(bitcoin_support_locked_pool_options, secret_memory),
        offset_of!(bitcoin_support_locked_pool_options, page_size),
        offset_of!(bitcoin_support_locked_pool_options, arena_size),
        offset_of!(bitcoin_support_locked_pool_options, max_size),
        offset_of!(bitcoin_support_locked_pool_options, raise_lock_limit),
        offset_of!(bitcoin_support_locked_pool_options, require_protections),
        size_of::<bitcoin_support_locked_pool_options>(),
    ];
    if !ENDS.contains(&size) {
        return None;
    }
    // The last members are the only ones whose values are not all valid.
    let flags = offset_of!(bitcoin_support_locked_pool_options, raise_lock_limit);
    let last = offset_of!(bitcoin_support_locked_pool_options, require_protections);
    // SAFETY: the caller's options have `size` bytes, and `flags` and `last` are within ours; all bytes before
    // `flags` are numbers.
    unsafe {
        let bytes = options.cast::<u8>();
        (&raw mut own).cast::<u8>().copy_from_nonoverlapping(bytes, size.min(flags));
        own.raise_lock_limit = size > flags && bytes.add(flags).read() != 0;
        own.require_protections = size > last && bytes.add(last).read() != 0;
    }
    own.to_options()
}

impl From<PoolError> for bitcoin_support_status {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Arena(error) => error.into(),
            PoolError::Map(_) => BITCOIN_SUPPORT_OUT_OF_MEMORY,
            PoolError::SecretMemory(_) | PoolError::LockLimit(_) | PoolError::Protection(_) => {
                BITCOIN_SUPPORT_NOT_AVAILABLE
            }
            PoolError::PageSize(_)
            | PoolError::ChunkSize(_)
            | PoolError::MaxSize(_)
            | PoolError::SecretMemoryInChild(_)
            | PoolError::SecretMemoryPageSize(_) => BITCOIN_SUPPORT_BAD_OPTION,
        }
    }
}

impl From<ConfigureError> for bitcoin_support_status {
    fn from(error: ConfigureError) -> Self {
        match error {
            ConfigureError::InUse => BITCOIN_SUPPORT_IN_USE,
            ConfigureError::Size
            | ConfigureError::NotProcessWide
            | ConfigureError::ForkPolicy(_) => BITCOIN_SUPPORT_BAD_OPTION,
            ConfigureError::Pool(error) => error.into(),
        }
    }
}

/// Sets options to the defaults, and their `size`; NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_options_init(
    options: *mut bitcoin_support_locked_pool_options,
) {
    let defaults = bitcoin_support_locked_pool_options {
        size: size_of::<bitcoin_support_locked_pool_options>(),
        ..Default::default()
    };
    if !options.is_null() {
        // SAFETY: the caller vouches for a valid place.
        unsafe { options.write(defaults) };
    }
}

/// Makes a pool over the operating system's own pages by options, or with NULL by the defaults. Nothing is
/// mapped before the first allocation.
///
/// Out: `*pool`, to be destroyed with bitcoin_support_locked_pool_destroy.
/// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY, _BAD_OPTION, _NOT_AVAILABLE (the system has no secret
/// memory, or refuses a protection, which is required, or does not let the limit be raised) or _NULL_ARGUMENT (`pool`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_create_with(
    options: *const bitcoin_support_locked_pool_options,
    pool: *mut *mut bitcoin_support_locked_pool,
) -> bitcoin_support_status {
    if pool.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    let options = match options.is_null() {
        true => Some(PoolOptions::new()),
        // SAFETY: not null, so that it points to options by this function's contract.
        false => unsafe { read_options(options) },
    };
    let Some(options) = options else { return BITCOIN_SUPPORT_BAD_OPTION };
    match LockedPool::with_options(&options) {
        // SAFETY: `pool` is a valid place for a pointer by this function's contract.
        Ok(made) => unsafe { give(made, pool) },
        Err(error) => error.into(),
    }
}

/// Chooses options for the process-wide pool (its sizes are fixed), before anything is allocated from it:
/// at the beginning of main, or in a static initializer. The last of several calls counts.
///
/// Returns: BITCOIN_SUPPORT_OK, _IN_USE (something has been allocated), _BAD_OPTION, _NOT_AVAILABLE or
/// _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_configure_instance(
    options: *const bitcoin_support_locked_pool_options,
) -> bitcoin_support_status {
    if options.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    // SAFETY: not null, so that it points to options by this function's contract.
    let Some(options) = (unsafe { read_options(options) }) else {
        return BITCOIN_SUPPORT_BAD_OPTION;
    };
    // SAFETY: the caller vouches for what child processes use.
    match unsafe { LockedPoolManager::instance().configure_unchecked(&options) } {
        Ok(()) => BITCOIN_SUPPORT_OK,
        Err(error) => error.into(),
    }
}

/// What an administrator can do about memory that could not be locked, in one line of English: for the
/// error number and the limit that the callback or the statistics told. Never NULL, not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_lock_remedy(error: c_int, limit: usize) -> *const c_char {
    LockError { errno: error, limit }.remedy_text().as_ptr()
}

/// What an administrator can do about a protection that was refused, in one line of English: for a
/// BITCOIN_SUPPORT_PROTECTION_ value and the error number that the statistics told. Never NULL, not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_protection_remedy(
    protection: bitcoin_support_protection,
    error: c_int,
) -> *const c_char {
    let known = Protection::ALL.get(protection as usize).copied();
    let protection = known.unwrap_or(Protection::DumpExclusion);
    ProtectionError { protection, errno: error }.remedy_text().as_ptr()
}

/// Raises the limit on locked memory (RLIMIT_MEMLOCK) as far as the process may by itself, to its hard
/// value. The library never does so unasked. `limit` may be NULL.
///
/// Out: `*limit`, what it is then in bytes (SIZE_MAX: none).
/// Returns: BITCOIN_SUPPORT_OK or _NOT_AVAILABLE (a sandbox forbids it).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_raise_lock_limit(
    limit: *mut usize,
) -> bitcoin_support_status {
    let Ok(raised) = crate::pages::raise_lock_limit() else {
        return BITCOIN_SUPPORT_NOT_AVAILABLE;
    };
    if !limit.is_null() {
        // SAFETY: the caller vouches for a valid place.
        unsafe { limit.write(raised) };
    }
    BITCOIN_SUPPORT_OK
}

/// Overwrites everything in locked memory with zeros, at once: all memory of every pool over the
/// operating system's own pages, whatever is in use. A panic button: may be called anywhere, also in a
/// signal handler; it takes no lock, allocates nothing and makes no system call. Pools and chunks stay as
/// they are otherwise. Objects in locked memory that are more than plain bytes must not be used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_wipe_all() {
    // SAFETY: the caller vouches for what is used afterwards.
    unsafe { crate::pages::wipe_everything() };
}

/// What becomes of the secrets that are left in locked memory when the process exits, by a return from main or by
/// exit: of everything in pools over the operating system's own pages and in buffers. It is the last thing that
/// happens, after exit handlers and destructors of objects with static storage. A process that ends otherwise is
/// not concerned: the kernel takes its memory as it is, and zeroes it before anybody else gets it.
#[allow(non_camel_case_types)]
pub type bitcoin_support_exit_policy = u32;

/// Wiped if the thread that exits is the only one that uses this memory, and else left to the kernel, so that no
/// thread ever finds zeros where its secret was. The default. Where it cannot be known (it is asked of Linux, by
/// unshare) nothing is wiped.
pub const BITCOIN_SUPPORT_EXIT_WIPE_WHEN_ALONE: u32 = 0;
/// Left to the kernel, always.
pub const BITCOIN_SUPPORT_EXIT_NEVER: u32 = 1;
/// Inaccessible at once, whoever uses it: the contents are given back to the kernel, and a thread that goes on and
/// touches a secret ends the process (SIGSEGV).
pub const BITCOIN_SUPPORT_EXIT_INACCESSIBLE: u32 = 2;

/// Chooses what becomes of the secrets that are left when the process exits: a BITCOIN_SUPPORT_EXIT_ value. The
/// last call counts; it may be made at any time, by any thread.
///
/// Returns: BITCOIN_SUPPORT_OK or _BAD_OPTION.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_set_exit_policy(
    policy: bitcoin_support_exit_policy,
) -> bitcoin_support_status {
    let policy = match policy {
        BITCOIN_SUPPORT_EXIT_WIPE_WHEN_ALONE => ExitPolicy::WIPE_WHEN_ALONE,
        BITCOIN_SUPPORT_EXIT_NEVER => ExitPolicy::NEVER,
        // SAFETY: the caller vouches for the threads that go on.
        BITCOIN_SUPPORT_EXIT_INACCESSIBLE => unsafe { ExitPolicy::inaccessible() },
        _ => return BITCOIN_SUPPORT_BAD_OPTION,
    };
    crate::pages::set_exit_policy(policy);
    BITCOIN_SUPPORT_OK
}

/// Destroys a pool and frees its pages, whatever is still in use; NULL does nothing.
///
/// Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (the process-wide pool, which is never destroyed; not a pool, or
/// no longer).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_destroy(
    pool: *mut bitcoin_support_locked_pool,
) -> bitcoin_support_status {
    // SAFETY: the handle is null or came from `give`, or is refused; the caller gives it up.
    unsafe { take_back(pool) }
}

/// The pool that all code of the process shares. It needs no initialization and is never destroyed: static
/// destructors and exit handlers can use it. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_locked_pool_instance() -> *mut bitcoin_support_locked_pool {
    let pool = LockedPoolManager::shared_pool();
    // Every use of a pool's handle but its destruction is shared.
    ptr::from_ref(pool).cast_mut().cast()
}

/// Allocates `size` bytes from the pool that all code of the process shares, aligned to
/// BITCOIN_SUPPORT_ARENA_ALIGN: bitcoin_support_locked_pool_alloc of its instance, without the handle.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_alloc(size: usize) -> *mut c_void {
    address(LockedPoolManager::shared_pool().alloc(size, 1))
}

/// Like bitcoin_support_alloc, but aligned to `alignment` bytes. NULL also when that is no power of two.
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_alloc_aligned(size: usize, alignment: usize) -> *mut c_void {
    address(LockedPoolManager::shared_pool().alloc(size, alignment))
}

/// Wipes and frees a chunk of the pool that all code of the process shares: bitcoin_support_locked_pool_free
/// of its instance, without the handle. NULL does nothing.
///
/// Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE, _NOT_IN_POOL, or _OVERRUN if the chunk is a sampled one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_free(ptr: *mut c_void) -> bitcoin_support_status {
    let pool = LockedPoolManager::shared_pool();
    // SAFETY: the caller uses the chunk no more.
    match unsafe { pool.free_common(ptr.cast(), None) } {
        Some(()) => BITCOIN_SUPPORT_OK,
        // SAFETY: the caller uses the chunk no more, and it has not been freed.
        None => unsafe { free_uncommon(pool, ptr) },
    }
}

/// Sets who decides about unlocked memory. With NULL, which is the default, it is used, and counted
/// in the statistics.
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
                // SAFETY: the caller of `set_locking_failed` vouches for the function and its
                // context, for as long as they are set.
                unsafe { function(context.0, error.errno, error.limit) }
            };
            match try_box(closure) {
                Some(closure) => Some(closure as crate::pool::LockingFailed),
                None => return BITCOIN_SUPPORT_OUT_OF_MEMORY,
            }
        }
    };
    // SAFETY: the handle is null or live.
    let Some(pool) = (unsafe { shared(pool) }) else { return BITCOIN_SUPPORT_NULL_ARGUMENT };
    pool.set_locking_failed(callback);
    BITCOIN_SUPPORT_OK
}

/// Allocates `size` bytes, aligned to BITCOIN_SUPPORT_ARENA_ALIGN. NULL when `size` is 0 or above
/// BITCOIN_SUPPORT_ARENA_SIZE, or when there is neither room nor any to be had.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_alloc(
    pool: *mut bitcoin_support_locked_pool,
    size: usize,
) -> *mut c_void {
    // SAFETY: the handle is null or live.
    address(unsafe { shared(pool) }.and_then(|pool| pool.alloc(size, 1)))
}

/// Like bitcoin_support_locked_pool_alloc, but aligned to `alignment` bytes. NULL also when that is
/// no power of two.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_alloc_aligned(
    pool: *mut bitcoin_support_locked_pool,
    size: usize,
    alignment: usize,
) -> *mut c_void {
    // SAFETY: the handle is null or live.
    address(unsafe { shared(pool) }.and_then(|pool| pool.alloc(size, alignment)))
}

/// Frees the chunk that begins at `ptr`, wiping all of it first if the pool is over the operating
/// system's own pages. NULL does nothing.
///
/// Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE, _NOT_IN_POOL, or _OVERRUN if the chunk is a sampled one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_free(
    pool: *mut bitcoin_support_locked_pool,
    ptr: *mut c_void,
) -> bitcoin_support_status {
    // SAFETY: the handle is null or live.
    let Some(pool) = (unsafe { shared(pool) }) else { return BITCOIN_SUPPORT_NULL_ARGUMENT };
    // SAFETY: the caller uses the chunk no more.
    match unsafe { pool.free_common(ptr.cast(), None) } {
        Some(()) => BITCOIN_SUPPORT_OK,
        // SAFETY: as above.
        None => unsafe { free_uncommon(pool, ptr) },
    }
}

/// Apart, so that the common case is a leaf function.
///
/// # Safety
/// As for [`LockedPool::free`].
#[inline(never)]
unsafe fn free_uncommon(pool: &LockedPool, ptr: *mut c_void) -> bitcoin_support_status {
    // SAFETY: by this function's contract.
    unsafe { pool.free_uncommon(ptr.cast(), None) }.into()
}

/// Frees the chunk that begins at `ptr`, if it was allocated with this size and alignment.
///
/// Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE, _NOT_IN_POOL, _SIZE_MISMATCH, or _OVERRUN if the chunk is
/// a sampled one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_free_sized(
    pool: *mut bitcoin_support_locked_pool,
    ptr: *mut c_void,
    size: usize,
    alignment: usize,
) -> bitcoin_support_status {
    // SAFETY: the handle is null or live.
    let Some(pool) = (unsafe { shared(pool) }) else { return BITCOIN_SUPPORT_NULL_ARGUMENT };
    // SAFETY: the caller uses the chunk no more.
    match unsafe { pool.free_common(ptr.cast(), Some((size, alignment))) } {
        Some(()) => BITCOIN_SUPPORT_OK,
        // SAFETY: as above.
        None => unsafe { free_sized_uncommon(pool, ptr, size, alignment) },
    }
}

/// Apart, so that the common case is a leaf function.
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
    // SAFETY: by this function's contract.
    unsafe { pool.free_uncommon(ptr.cast(), Some((size, alignment))) }.into()
}

/// Looks for overruns: from now on, one in `one_in` allocations from the process-wide pool, as chance has
/// it, is placed in pages of its own, at their end or at their beginning, next to a guard page. When it is
/// freed, the pages become inaccessible and stay so for a while. So an access behind the chunk, in front of
/// it or after it was freed is a SIGSEGV at the very instruction, which nobody catches here;
/// bitcoin_support_describe_address says what the address was. Up to 15 bytes between a chunk and the end
/// of its pages are compared when it is freed: see BITCOIN_SUPPORT_OVERRUN.
///
/// 1 finds every such bug, in development and tests; thousands are for production. 0 samples no more, which
/// is how a process begins; nothing but this function (or its like for Rust) changes it. At most
/// `max_locked` bytes are locked for samples at once, a page for each small chunk in use, and no more than
/// half of what the process may lock; where none are left, an allocation is served as usual. In the
/// statistics each counts as an arena, while it is in use.
///
/// Returns: BITCOIN_SUPPORT_OK, or _OUT_OF_MEMORY (there are no addresses for it).
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_locked_pool_sample(
    one_in: u32,
    max_locked: usize,
) -> bitcoin_support_status {
    match LockedPoolManager::instance().sample_one_in(NonZeroU32::new(one_in), max_locked) {
        Ok(()) => BITCOIN_SUPPORT_OK,
        Err(_) => BITCOIN_SUPPORT_OUT_OF_MEMORY,
    }
}

/// What an address means that lies in a sampled chunk, or what was one, or in the guard pages around it.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct bitcoin_support_address_report {
    /// The chunk.
    pub chunk: *mut c_void,
    /// Number of bytes that were asked for.
    pub size: usize,
    /// The address less that of the chunk: below 0 in front of it, from `size` on behind it.
    pub offset: isize,
    /// The operating system's number of the thread that has allocated it; 0: unknown.
    pub allocated_by: u32,
    /// The same of the one that has freed it; 0 also while it is in use.
    pub freed_by: u32,
    /// Whether it has been freed.
    pub freed: bool,
    /// All of this in a sentence, such as "0 bytes after a chunk of 32 bytes, allocated by thread 4711,
    /// freed by thread 4712".
    pub text: [c_char; 160],
}

impl From<AddressReport> for bitcoin_support_address_report {
    fn from(report: AddressReport) -> Self {
        let mut text = Text { bytes: [0; 160], len: 0 };
        // There is room: it takes 131 characters at most.
        let _ = write!(text, "{report}");
        Self {
            chunk: ptr::with_exposed_provenance_mut(report.chunk),
            size: report.size,
            offset: report.offset,
            allocated_by: report.allocated_by,
            freed_by: report.freed_by.unwrap_or(0),
            freed: report.freed_by.is_some(),
            text: text.bytes,
        }
    }
}

/// A string that ends with a zero.
struct Text {
    bytes: [c_char; 160],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, string: &str) -> core::fmt::Result {
        let room = &mut self.bytes[self.len..159];
        if string.len() > room.len() {
            return Err(core::fmt::Error);
        }
        for (place, byte) in room.iter_mut().zip(string.bytes()) {
            *place = byte as c_char;
        }
        self.len += string.len();
        Ok(())
    }
}

/// Says what an address means that lies in a chunk that has been sampled (see
/// bitcoin_support_locked_pool_sample), used or freed, or in the guard pages around it. Of a place that
/// several chunks have had, it is the last. May be called in a signal handler: takes no lock and allocates
/// nothing. The answer is right unless the chunk is being allocated or freed at the same moment.
///
/// Out: `*report`.
/// Returns: BITCOIN_SUPPORT_OK, _NOT_IN_POOL (the address is none of these) or _NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_describe_address(
    address: *const c_void,
    report: *mut bitcoin_support_address_report,
) -> bitcoin_support_status {
    if report.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    match LockedPoolManager::describe_address(address.cast()) {
        // SAFETY: `report` is a valid place for a report by this function's contract.
        Some(answer) => unsafe { report.write(answer.into()) },
        None => return BITCOIN_SUPPORT_NOT_IN_POOL,
    }
    BITCOIN_SUPPORT_OK
}

/// What the pool holds. Constant time; the process-wide pool holds its other threads up meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_get_stats(
    pool: *const bitcoin_support_locked_pool,
) -> bitcoin_support_locked_pool_stats {
    // SAFETY: the handle is null or live.
    unsafe { shared(pool) }.map(LockedPool::stats).unwrap_or_default().into()
}

/// Visits every chunk that there is at one moment, in a list that is made first (two words for each; where
/// there is no memory for it, nothing is visited). For debugging. `visit` may use the pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_locked_pool_walk(
    pool: *const bitcoin_support_locked_pool,
    visit: bitcoin_support_visit_chunk,
    context: *mut c_void,
) {
    // SAFETY: the handle is null or live.
    if let Some(pool) = unsafe { shared(pool) } {
        pool.walk(visitor(visit, context));
    }
}

fn address(chunk: Option<NonNull<u8>>) -> *mut c_void {
    chunk.map_or(ptr::null_mut(), |chunk| chunk.as_ptr().cast())
}

fn visitor(
    visit: bitcoin_support_visit_chunk,
    context: *mut c_void,
) -> impl FnMut(usize, usize, bool) {
    move |chunk, size, used| {
        if let Some(visit) = visit {
            let chunk = ptr::with_exposed_provenance_mut(chunk);
            // SAFETY: the caller of the walking function vouches for the pair.
            unsafe { visit(context, chunk, size, used) };
        }
    }
}

/// `Box::new` that reports that there is no memory instead of aborting.
fn try_box<T>(value: T) -> Option<Box<T>> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the layout's size is not zero.
    let place = NonNull::new(unsafe { alloc(Layout::new::<T>()) })?.cast::<T>();
    // SAFETY: freshly allocated for a `T` by the global allocator, as `Box` wants it.
    unsafe {
        place.write(value);
        Some(Box::from_raw(place.as_ptr()))
    }
}

/// An opaque type of the header, and the Rust type that its handles point to.
trait Handle: Sized {
    type Target;
    const KIND: handles::Kind;
}

/// Gives a handle to the caller, who owns it then.
///
/// # Safety
/// `out` must be valid for a write.
unsafe fn give<H: Handle>(value: H::Target, out: *mut *mut H) -> bitcoin_support_status {
    let Some(boxed) = try_box(value) else { return BITCOIN_SUPPORT_OUT_OF_MEMORY };
    match handles::enter(boxed, H::KIND) {
        Ok(handle) => {
            // SAFETY: by this function's contract.
            unsafe { out.write(handle.cast()) };
            BITCOIN_SUPPORT_OK
        }
        Err(_) => BITCOIN_SUPPORT_INTERRUPTED,
    }
}

/// Drops what a handle points to. Null does nothing; what is no handle of this kind, or no longer, is refused.
///
/// # Safety
/// A handle that [`give`] has made must not be used again.
unsafe fn take_back<H: Handle>(handle: *mut H) -> bitcoin_support_status {
    if handle.is_null() {
        return BITCOIN_SUPPORT_OK;
    }
    let never = ptr::from_ref(LockedPoolManager::shared_pool()).cast();
    // SAFETY: `give` enters handles of this kind with this type; by this function's contract nobody uses it.
    match unsafe { handles::leave(handle.cast::<H::Target>(), H::KIND, never) } {
        Ok(true) => BITCOIN_SUPPORT_OK,
        Ok(false) => BITCOIN_SUPPORT_INVALID_HANDLE,
        Err(_) => BITCOIN_SUPPORT_INTERRUPTED,
    }
}

/// What a handle points to; `None` for null.
///
/// # Safety
/// `handle` must be null, or live for the whole use of the result.
unsafe fn shared<'a, H: Handle>(handle: *const H) -> Option<&'a H::Target> {
    // SAFETY: a handle that is not null points to its target (see `give`).
    unsafe { handle.cast::<H::Target>().as_ref() }
}

/// What a handle points to, to be changed; `None` for null.
///
/// # Safety
/// As for [`shared`], and nobody else may use the handle meanwhile.
unsafe fn exclusive<'a, H: Handle>(handle: *mut H) -> Option<&'a mut H::Target> {
    // SAFETY: a handle that is not null points to its target (see `give`).
    unsafe { handle.cast::<H::Target>().as_mut() }
}

/// A C caller's pointer, passed back to it.
struct Context(*mut c_void);

// SAFETY: the pointer is handed back, never followed; the header tells C callers that their
// functions may be called from any thread.
unsafe impl Send for Context {}

/// A table of the caller's, owned: its context is destroyed with it.
struct PageFunctions(bitcoin_support_page_allocator);

// SAFETY: the context is handed back, never followed; the header tells C callers that their
// functions may be called from any thread.
unsafe impl Send for PageFunctions {}

impl PageFunctions {
    fn are_there(&self) -> bool {
        let table = &self.0;
        table.allocate_locked.is_some() && table.free_locked.is_some() && table.get_limit.is_some()
    }
}

impl LockedPageAllocator for PageFunctions {
    fn allocate_locked(&mut self, len: usize) -> Option<LockedAllocation> {
        let mut locked = false;
        // SAFETY: whoever made the pool vouches for the functions and their context; `locked` is a
        // valid place for the answer.
        let addr = unsafe { self.0.allocate_locked?(self.0.context, len, &mut locked) };
        Some(LockedAllocation { addr: NonNull::new(addr.cast())?, locked })
    }

    unsafe fn free_locked(&mut self, addr: NonNull<u8>, len: usize) {
        if let Some(free_locked) = self.0.free_locked {
            // SAFETY: as above; `addr` came from `allocate_locked` for the same length by this
            // function's contract.
            unsafe { free_locked(self.0.context, addr.as_ptr().cast(), len) };
        }
    }

    fn limit(&self) -> usize {
        // SAFETY: as above.
        self.0.get_limit.map_or(usize::MAX, |get_limit| unsafe { get_limit(self.0.context) })
    }
}

impl Drop for PageFunctions {
    fn drop(&mut self) {
        if let Some(destroy) = self.0.destroy {
            // SAFETY: as above; the last use of the context.
            unsafe { destroy(self.0.context) };
        }
    }
}
