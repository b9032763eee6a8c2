//! Any calls of the functions of `include/bitcoin_support.h`, with any arguments that it permits:
//! null objects, hostile sizes and alignments, page allocators that fail or lack functions, options
//! of any size and with any values, frees of addresses where no chunk begins. The answers must be
//! those that the header documents. Outputs must be written only on success.
//!
//! Depends on `fault` and `input`. The functions are declared here as the header declares them; the
//! replay compares their names with the header's. The process-wide pool must be empty when a run
//! begins, and never used before the first one; no other code may use it or other pools meanwhile.
//! A run leaves the limit on locked memory as it was.

use crate::fault::faults;
use crate::input::{Input, address};
use std::alloc::{Layout, alloc, dealloc};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::offset_of;
use std::ptr::{NonNull, from_mut, from_ref, null, null_mut};
use std::sync::{Once, OnceLock};

faults! {
    /// A call that fails reports success.
    ReportsSuccess,
    /// A call that fails writes to its output.
    WritesOutput,
    /// The statistics count one chunk too many.
    Miscounts,
    /// The bytes of a buffer change.
    SpoilsBuffer,
    /// A pool that is destroyed keeps its pages.
    KeepsPages,
    /// A null object is accepted.
    TakesNull,
    /// The options for a pool are ignored.
    IgnoresOptions,
    /// Members of options that the size does not cover are read.
    ReadsTooFar,
    /// Memory is unchanged after a wipe of everything.
    KeepsContents,
    /// The limit on locked memory is unchanged after a call that raises it.
    KeepsLimit,
    /// Options that are refused raise the limit.
    RaisesLimit,
    /// A sealed secret that has been changed is opened.
    OpensChanged,
}

pub(crate) fn run(data: &[u8]) {
    run_with(data, Fault::None);
}

// Statuses, with the header's numbers.
const OK: c_int = 0;
const INVALID_FREE: c_int = 1;
const NOT_IN_POOL: c_int = 2;
const SIZE_MISMATCH: c_int = 3;
const BAD_ALIGNMENT: c_int = 4;
const BAD_REGION: c_int = 5;
const OUT_OF_MEMORY: c_int = 6;
const NULL_ARGUMENT: c_int = 7;
const INVALID_HANDLE: c_int = 15;
const BUFFER_TOO_SMALL: c_int = 8;
const IN_USE: c_int = 10;
const BAD_OPTION: c_int = 11;
const NOT_AVAILABLE: c_int = 12;
const TAMPERED: c_int = 16;
const KEY_WIPED: c_int = 17;
const BAD_SIZE: c_int = 19;

// Choices for pools, with the header's numbers.
const FORK_ABSENT: u32 = 2;
const SECRET_MEMORY_OFF: u32 = 0;
const SECRET_MEMORY_REQUIRE: u32 = 2;

const ABI: u32 = 1;
/// As the header says of this system.
const HAS_SECRET_STACKS: bool = cfg!(all(
    unix,
    not(target_os = "openbsd"),
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
));
const ARENA_SIZE: usize = 262_144;
const ARENA_ALIGN: usize = 16;
const UNIQUE_NAME_SIZE: usize = 33;
const SEAL_OVERHEAD: usize = 56;
/// The size of a sealing key, and how many of them there may be.
const KEY_SIZE: usize = 16 * 1024;
const MOST_KEYS: usize = 4;

/// A handle of an object.
type Object = *mut c_void;
type Visit = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, bool) -> bool;
type SecretFunction = unsafe extern "C" fn(*mut c_void);
type LockingFailed = unsafe extern "C" fn(*mut c_void, c_int, usize) -> bool;

#[repr(C)]
#[derive(Debug, Default, PartialEq, Eq)]
struct ArenaStats {
    used: usize,
    free: usize,
    total: usize,
    chunks_used: usize,
    chunks_free: usize,
}

#[repr(C)]
#[derive(Debug, Default, PartialEq, Eq)]
struct PoolStats {
    used: usize,
    free: usize,
    total: usize,
    locked: usize,
    chunks_used: usize,
    chunks_free: usize,
    arenas: usize,
    peak_used: usize,
    lock_failures: usize,
    last_lock_limit: usize,
    last_lock_error: c_int,
    secret_memory_error: c_int,
    secret_memory: usize,
    missing_protections: [MissingProtection; PROTECTIONS],
}

#[repr(C)]
#[derive(Debug, Default, PartialEq, Eq)]
struct MemoryStats {
    mappings: usize,
    total: usize,
    locked: usize,
}

/// Four, and room for those of later versions.
const PROTECTIONS: usize = 8;

#[repr(C)]
#[derive(Debug, Default, PartialEq, Eq)]
struct MissingProtection {
    bytes: usize,
    error: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PoolOptions {
    size: usize,
    fork_policy: u32,
    secret_memory: u32,
    page_size: usize,
    arena_size: usize,
    max_size: usize,
    /// A `bool`, in which a C caller may put any byte. So is the next member.
    raise_lock_limit: u8,
    require_protections: u8,
    reserved: [u8; 6],
}

#[repr(C)]
struct PageAllocator {
    context: *mut c_void,
    allocate_locked: Option<unsafe extern "C" fn(*mut c_void, usize, *mut bool) -> *mut c_void>,
    free_locked: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize)>,
    get_limit: Option<unsafe extern "C" fn(*mut c_void) -> usize>,
    destroy: Option<unsafe extern "C" fn(*mut c_void)>,
}

// Links the library, whose C functions are declared here.
use bitcoin_support as _;

/// Declares functions and lists their names.
macro_rules! declare {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        unsafe extern "C" {
            $(fn $name($($argument: $type),*) $(-> $result)?;)*
        }
        /// The functions that this target calls.
        #[allow(dead_code, reason = "for the replay")]
        pub(crate) const FUNCTIONS: &[&str] = &[$(stringify!($name)),*];
    };
}

declare! {
    fn memory_cleanse(ptr: *mut c_void, len: usize);
    fn bitcoin_support_status_name(status: c_int) -> *const c_char;
    fn bitcoin_support_status_message(status: c_int) -> *const c_char;
    fn bitcoin_support_version() -> *const c_char;
    fn bitcoin_support_version_number() -> u32;
    fn bitcoin_support_abi() -> u32;
    fn bitcoin_support_cleanse_string(string: *mut c_char);
    fn bitcoin_support_get_unique_name(name: *mut c_char, size: usize) -> c_int;
    fn bitcoin_support_buffer_create(capacity: usize, buffer: *mut Object) -> c_int;
    fn bitcoin_support_buffer_destroy(buffer: Object) -> c_int;
    fn bitcoin_support_buffer_data(buffer: Object) -> *mut c_void;
    fn bitcoin_support_buffer_size(buffer: Object) -> usize;
    fn bitcoin_support_buffer_resize(buffer: Object, size: usize) -> c_int;
    fn bitcoin_support_buffer_append(buffer: Object, data: *const c_void, size: usize) -> c_int;
    fn bitcoin_support_arena_create(base: *mut c_void, size: usize, alignment: usize, arena: *mut Object) -> c_int;
    fn bitcoin_support_arena_destroy(arena: Object) -> c_int;
    fn bitcoin_support_arena_alloc(arena: Object, size: usize) -> *mut c_void;
    fn bitcoin_support_arena_alloc_aligned(arena: Object, size: usize, alignment: usize) -> *mut c_void;
    fn bitcoin_support_arena_free(arena: Object, ptr: *mut c_void) -> c_int;
    fn bitcoin_support_arena_free_sized(arena: Object, ptr: *mut c_void, size: usize, alignment: usize) -> c_int;
    fn bitcoin_support_arena_contains(arena: Object, ptr: *const c_void) -> bool;
    fn bitcoin_support_arena_get_stats(arena: Object, stats: *mut ArenaStats, size: usize) -> c_int;
    fn bitcoin_support_arena_walk(arena: Object, visit: Visit, context: *mut c_void) -> c_int;
    fn bitcoin_support_locked_pool_create(pages: *const PageAllocator, pool: *mut Object) -> c_int;
    fn bitcoin_support_locked_pool_options_init(options: *mut PoolOptions, size: usize);
    fn bitcoin_support_locked_pool_create_with(options: *const PoolOptions, pool: *mut Object) -> c_int;
    fn bitcoin_support_locked_pool_configure_instance(options: *const PoolOptions) -> c_int;
    fn bitcoin_support_lock_remedy(error: c_int, limit: usize) -> *const c_char;
    fn bitcoin_support_protection_remedy(protection: u32, error: c_int) -> *const c_char;
    fn bitcoin_support_raise_lock_limit(limit: *mut usize) -> c_int;
    fn bitcoin_support_set_exit_policy(policy: u32) -> c_int;
    fn bitcoin_support_harden_process(steps: u64, results: *mut HardenResult, count: usize) -> c_int;
    fn bitcoin_support_harden_step_name(step: u64) -> *const c_char;
    fn bitcoin_support_wipe_all();
    fn bitcoin_support_on_secret_stack(function: Option<SecretFunction>, context: *mut c_void, size: usize) -> c_int;
    fn bitcoin_support_on_locked_secret_stack(function: Option<SecretFunction>, context: *mut c_void, size: usize) -> c_int;
    fn bitcoin_support_secret_stack_is_locked() -> bool;
    fn bitcoin_support_locked_pool_destroy(pool: Object) -> c_int;
    fn bitcoin_support_locked_pool_instance() -> Object;
    fn bitcoin_support_locked_pool_set_locking_failed(pool: Object, callback: Option<LockingFailed>, context: *mut c_void) -> c_int;
    fn bitcoin_support_alloc(size: usize) -> *mut c_void;
    fn bitcoin_support_alloc_aligned(size: usize, alignment: usize) -> *mut c_void;
    fn bitcoin_support_free(ptr: *mut c_void) -> c_int;
    fn bitcoin_support_locked_pool_alloc(pool: Object, size: usize) -> *mut c_void;
    fn bitcoin_support_locked_pool_alloc_aligned(pool: Object, size: usize, alignment: usize) -> *mut c_void;
    fn bitcoin_support_locked_pool_free(pool: Object, ptr: *mut c_void) -> c_int;
    fn bitcoin_support_locked_pool_free_sized(pool: Object, ptr: *mut c_void, size: usize, alignment: usize) -> c_int;
    fn bitcoin_support_locked_pool_get_stats(pool: Object, stats: *mut PoolStats, size: usize)
    -> c_int;
    fn bitcoin_support_get_memory_stats(stats: *mut MemoryStats, size: usize) -> c_int;
    fn bitcoin_support_locked_pool_walk(pool: Object, visit: Visit, context: *mut c_void) -> c_int;
    fn bitcoin_support_locked_pool_sample(one_in: u32, max_locked: usize) -> c_int;
    fn bitcoin_support_seal(data: *const c_void, size: usize, context: *const c_void, context_size: usize, sealed: *mut c_void, sealed_size: usize) -> c_int;
    fn bitcoin_support_unseal(sealed: *const c_void, sealed_size: usize, context: *const c_void, context_size: usize, data: *mut c_void, size: usize) -> c_int;
    fn bitcoin_support_rotate_sealing_key() -> c_int;
    fn bitcoin_support_closed_alloc(size: usize) -> *mut c_void;
    fn bitcoin_support_closed_open(secret: *mut c_void, writable: bool) -> c_int;
    fn bitcoin_support_closed_close(secret: *mut c_void, writable: bool) -> c_int;
    fn bitcoin_support_closed_on_this_thread(secret: *mut c_void, writable: bool, function: Option<unsafe extern "C" fn(*mut c_void)>, context: *mut c_void) -> c_int;
    fn bitcoin_support_closed_free(secret: *mut c_void) -> c_int;
    fn bitcoin_support_has_protection_key() -> bool;
    fn bitcoin_support_describe_address(address: *const c_void, report: *mut AddressReport, size: usize)
    -> c_int;
}

/// At least as large as the header's type, and as aligned. Nothing is sampled here, so the library
/// never writes to it.
#[repr(C, align(8))]
struct AddressReport([u8; 232]);

/// The result of a step.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HardenResult {
    step: u64,
    status: c_int,
    error: c_int,
}

/// An address where no memory is, for outputs that must stay unchanged.
const UNTOUCHED: usize = 0x5eed_0000;

fn pointer(number: usize) -> *mut c_void {
    address(number).cast()
}

/// An arena, a pool or the instance, with its chunks: addresses and requested sizes.
struct Owner {
    object: Object,
    chunks: BTreeMap<usize, usize>,
    /// The chunks that have been wiped since they were filled.
    wiped: BTreeSet<usize>,
    kind: Kind,
}

impl Owner {
    fn new(object: Object, kind: Kind) -> Self {
        Self { object, chunks: BTreeMap::new(), wiped: BTreeSet::new(), kind }
    }

    /// The byte with which a chunk is filled.
    fn fill(&self, addr: usize) -> u8 {
        if self.wiped.contains(&addr) { 0 } else { addr as u8 | 1 }
    }

    /// Checks that a pool has no more memory than its options allow, and the kind of memory that
    /// they demand.
    fn check_options(&self, stats: &PoolStats) {
        let (max, secret_memory) = match &self.kind {
            Kind::Own(sizes) => (sizes.max, sizes.secret_memory),
            _ => (usize::MAX, 0),
        };
        let PoolStats { total, secret_memory: secret, secret_memory_error: why, .. } = *stats;
        for missing in &stats.missing_protections {
            assert_eq!((missing.bytes, missing.error), (0, 0), "nothing is refused here");
        }
        assert!(total <= max, "{total} bytes of {max}");
        match secret_memory {
            SECRET_MEMORY_OFF => assert_eq!((secret, why), (0, 0)),
            SECRET_MEMORY_REQUIRE => assert_eq!(secret, total),
            _ => assert!(secret == total || why != 0 || stats.lock_failures > 0),
        }
    }

    /// Forgets a chunk.
    fn remove(&mut self, addr: usize) {
        self.chunks.remove(&addr);
        self.wiped.remove(&addr);
    }
}

enum Kind {
    /// An arena over `region`: an address and a length.
    Arena {
        region: (usize, usize),
        granule: usize,
    },
    /// A pool over the system's pages, made by options.
    Own(Sizes),
    /// A pool over the pages of a table of functions.
    Pool(Box<Pages>),
    Instance,
}

/// The sizes and the kind of memory in a pool's options.
struct Sizes {
    arena: usize,
    max: usize,
    secret_memory: u32,
}

impl Sizes {
    /// The values that the header states for a pool with these options, all of whose members are
    /// covered; `None` if the options are refused.
    fn of(options: &PoolOptions) -> Option<Self> {
        // SAFETY: reads a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let choices = [options.fork_policy, options.secret_memory];
        if choices.iter().any(|&choice| choice > 2) || ![0, page].contains(&options.page_size) {
            return None;
        }
        if options.reserved != [0; 6] {
            return None;
        }
        if options.secret_memory != 0 && options.fork_policy != FORK_ABSENT {
            return None;
        }
        let default = ARENA_SIZE.next_multiple_of(page);
        let arena = if options.arena_size == 0 { default } else { options.arena_size };
        let max = if options.max_size == 0 { usize::MAX } else { options.max_size };
        let is_valid = arena % page == 0 && arena < 1 << 30 && max >= arena;
        is_valid.then_some(Self { arena, max, secret_memory: options.secret_memory })
    }
}

/// The offsets of the members of options, and the end of the last one.
const MEMBERS: [usize; 9] = [
    offset_of!(PoolOptions, fork_policy),
    offset_of!(PoolOptions, secret_memory),
    offset_of!(PoolOptions, page_size),
    offset_of!(PoolOptions, arena_size),
    offset_of!(PoolOptions, max_size),
    offset_of!(PoolOptions, raise_lock_limit),
    offset_of!(PoolOptions, require_protections),
    offset_of!(PoolOptions, reserved),
    size_of::<PoolOptions>(),
];

/// Options with any values, most of which are valid. Their size covers some of the members, or more
/// than there are.
fn any_options(input: &mut Input<'_>) -> PoolOptions {
    let mut number = |values: &[usize]| match input.byte() {
        0..=4 => input.hostile(),
        byte => values[usize::from(byte) % values.len()],
    };
    // SAFETY: reads a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let whole = size_of::<PoolOptions>();
    let size =
        match number(&[whole, whole, MEMBERS[0], MEMBERS[1], MEMBERS[2], MEMBERS[3], MEMBERS[4]]) {
            // Sizes that end within a member are refused, like those that are too large.
            size if size % 8 == 1 => size % (whole + 8),
            size => size,
        };
    PoolOptions {
        size,
        fork_policy: number(&[0, 1, 2, 2, 2, 3]) as u32,
        secret_memory: number(&[0, 0, 0, 0, 1, 2, 3]) as u32,
        page_size: number(&[0, 0, 0, page, page, page + 1]),
        arena_size: number(&[0, 0, page, 3 * page, 80 * page, page + 16]),
        max_size: number(&[0, 0, 3 * page, 160 * page, usize::MAX]),
        raise_lock_limit: number(&[0, 0, 1, 0xff]) as u8,
        require_protections: number(&[0, 0, 1, 0xff]) as u8,
        reserved: [0, 0, 0, 0, 0, number(&[0]) as u8],
    }
}

/// The options as the library reads them: members that the size does not cover have their defaults.
/// `None` if the size is refused.
fn covered(options: &PoolOptions) -> Option<PoolOptions> {
    let PoolOptions { size, .. } = *options;
    if !MEMBERS.contains(&size) {
        return None;
    }
    let mut seen = initial_options();
    let members: [&dyn Fn(&mut PoolOptions); 8] = [
        &|seen| seen.fork_policy = options.fork_policy,
        &|seen| seen.secret_memory = options.secret_memory,
        &|seen| seen.page_size = options.page_size,
        &|seen| seen.arena_size = options.arena_size,
        &|seen| seen.max_size = options.max_size,
        &|seen| seen.raise_lock_limit = options.raise_lock_limit,
        &|seen| seen.require_protections = options.require_protections,
        &|seen| seen.reserved = options.reserved,
    ];
    let ends = MEMBERS[1..].iter();
    members.iter().zip(ends).filter(|(_, end)| **end <= size).for_each(|(copy, _)| copy(&mut seen));
    Some(seen)
}

/// Options in a block of the heap that is exactly as long as they state, so that AddressSanitizer
/// finds a read beyond it.
struct Exact {
    block: NonNull<u8>,
    layout: Layout,
}

impl Exact {
    fn of(options: &PoolOptions) -> Self {
        // The size itself is always there. A size above that of all options is refused before
        // anything else is read.
        let len = options.size.clamp(size_of::<usize>(), size_of::<PoolOptions>());
        let layout = Layout::from_size_align(len, align_of::<PoolOptions>()).expect("a layout");
        // SAFETY: the size is not 0. The block is as long as the copy, and the source has at least
        // that many bytes. Padding is copied without being read as a value.
        unsafe {
            let block = NonNull::new(alloc(layout)).expect("memory");
            block.copy_from_nonoverlapping(NonNull::from(options).cast(), len);
            Self { block, layout }
        }
    }

    fn with<R>(self, body: impl FnOnce(*const PoolOptions) -> R) -> R {
        body(self.block.as_ptr().cast_const().cast())
    }
}

impl Drop for Exact {
    fn drop(&mut self) {
        // SAFETY: allocated by `of` with this layout.
        unsafe { dealloc(self.block.as_ptr(), self.layout) };
    }
}

fn create_with(options: *const PoolOptions, pool: *mut Object) -> c_int {
    // SAFETY: `options` is null, or has as many bytes as it states, or a size that is refused.
    // `pool` is a place for the answer, or null.
    unsafe { bitcoin_support_locked_pool_create_with(options, pool) }
}

/// The process's limit on locked memory.
fn lock_limit() -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a place for the answer.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) }, 0);
    limit
}

fn set_lock_limit(limit: libc::rlimit) {
    // SAFETY: valid for the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
}

/// The plan and the record of a page allocator for C. No memory is at its addresses.
struct Pages {
    step: usize,
    fails_at: usize,
    locks: bool,
    calls: usize,
    live: usize,
    destroyed: usize,
}

/// Where nothing is mapped; with addresses of 32 bits, where nothing is looked at.
const NOWHERE: usize = if usize::BITS == 64 { 1 << (usize::BITS - 30) } else { 1 << 28 };

unsafe extern "C" fn allocate_locked(
    context: *mut c_void,
    _: usize,
    locked: *mut bool,
) -> *mut c_void {
    // SAFETY: the context is a live `Pages` that no other code uses during a call, see
    // `create_pool`. The library passes a place for the answer.
    let (pages, locked) = unsafe { (&mut *context.cast::<Pages>(), &mut *locked) };
    pages.calls += 1;
    if pages.calls == pages.fails_at {
        return null_mut();
    }
    pages.live += 1;
    *locked = pages.locks;
    pointer(NOWHERE + pages.calls * pages.step)
}

unsafe extern "C" fn free_locked(context: *mut c_void, _: *mut c_void, _: usize) {
    // SAFETY: the context is a live `Pages` that no other code uses during a call, see
    // `create_pool`.
    unsafe { (*context.cast::<Pages>()).live -= 1 };
}

unsafe extern "C" fn get_limit(context: *mut c_void) -> usize {
    // SAFETY: the context is a live `Pages` that no other code uses during a call, see
    // `create_pool`.
    unsafe { (*context.cast::<Pages>()).step.wrapping_mul(3) }
}

unsafe extern "C" fn destroy(context: *mut c_void) {
    // SAFETY: the context is a live `Pages` that no other code uses during a call, see
    // `create_pool`.
    unsafe { (*context.cast::<Pages>()).destroyed += 1 };
}

unsafe extern "C" fn accept(_: *mut c_void, _: c_int, _: usize) -> bool {
    true
}

unsafe extern "C" fn refuse(_: *mut c_void, _: c_int, _: usize) -> bool {
    false
}

/// The sums over the chunks of a walk.
#[derive(Default)]
struct Seen {
    used: BTreeMap<usize, usize>,
    free: usize,
    chunks_free: usize,
}

unsafe extern "C" fn visit(
    context: *mut c_void,
    chunk: *mut c_void,
    size: usize,
    used: bool,
) -> bool {
    // SAFETY: the context is the `Seen` of the call below.
    let seen = unsafe { &mut *context.cast::<Seen>() };
    if used {
        seen.used.insert(chunk.addr(), size);
    } else {
        seen.free += size;
        seen.chunks_free += 1;
    }
    true
}

struct Run {
    owners: Vec<Owner>,
    buffers: Vec<(Object, Vec<u8>)>,
    fault: Fault,
    /// The limit on locked memory at the beginning.
    limit: libc::rlimit,
    /// A sealed secret, until it is opened.
    sealed: Option<SealedSecret>,
}

/// A sealed secret, and what has happened since it was sealed.
struct SealedSecret {
    sealed: Vec<u8>,
    secret: Vec<u8>,
    is_wiped: bool,
    rotations: usize,
}

pub(crate) fn run_with(data: &[u8], fault: Fault) {
    let mut input = Input::new(data);
    // SAFETY: takes nothing.
    let object = unsafe { bitcoin_support_locked_pool_instance() };
    assert!(!object.is_null());
    use_instance(object);
    let instance = Owner::new(object, Kind::Instance);
    let (owners, limit) = (vec![instance], lock_limit());
    let mut run = Run { owners, buffers: Vec::new(), fault, limit, sealed: None };
    run.check(0);
    while !input.is_empty() {
        run.step(&mut input);
    }
    while let Some((buffer, _)) = run.buffers.pop() {
        // SAFETY: the buffer is live and is not used afterwards.
        unsafe { assert_eq!(bitcoin_support_buffer_destroy(buffer), OK) };
    }
    while run.owners.len() > 1 {
        let index = run.owners.len() - 1;
        run.check(index);
        run.destroy(index);
    }
    run.check(0);
}

/// Uses the instance for the first time in this process. Before that its options can be set, which
/// this leaves at the defaults.
fn use_instance(object: Object) {
    static USED: Once = Once::new();
    USED.call_once(|| {
        let mut options = initial_options();
        // SAFETY: the options are whole. The chunk of the instance is not used after it is freed.
        unsafe {
            options.fork_policy = 3;
            let status = bitcoin_support_locked_pool_configure_instance(&options);
            assert_eq!(status, BAD_OPTION);
            options.fork_policy = 0;
            for _ in 0..2 {
                assert_eq!(bitcoin_support_locked_pool_configure_instance(&options), OK);
            }
            let chunk = bitcoin_support_locked_pool_alloc(object, 1);
            assert_eq!(bitcoin_support_locked_pool_free(object, chunk), OK);
            assert_eq!(bitcoin_support_locked_pool_configure_instance(&options), IN_USE);
        }
    });
}

/// Options with the values that the library sets.
fn initial_options() -> PoolOptions {
    let mut options = PoolOptions {
        size: 0x7f,
        fork_policy: 0x7f,
        secret_memory: 0x7f,
        page_size: 0x7f,
        arena_size: 0x7f,
        max_size: 0x7f,
        raise_lock_limit: 0x7f,
        require_protections: 0x7f,
        reserved: [0x7f; 6],
    };
    // SAFETY: a place for options.
    unsafe { bitcoin_support_locked_pool_options_init(&mut options, size_of::<PoolOptions>()) };
    let expected = PoolOptions {
        size: size_of::<PoolOptions>(),
        fork_policy: 0,
        secret_memory: 0,
        page_size: 0,
        arena_size: 0,
        max_size: 0,
        raise_lock_limit: 0,
        require_protections: 0,
        reserved: [0; 6],
    };
    assert_eq!(options, expected);
    options
}

impl Drop for Run {
    /// Empties the instance, also when a mistake has ended the run.
    fn drop(&mut self) {
        for (buffer, _) in self.buffers.drain(..) {
            // SAFETY: the buffer is live and is not used afterwards.
            unsafe { assert_eq!(bitcoin_support_buffer_destroy(buffer), OK) };
        }
        set_lock_limit(self.limit);
        let Some(instance) = self.owners.first() else { return };
        for &chunk in instance.chunks.keys() {
            // SAFETY: a chunk of this run, or an address that is refused.
            unsafe { bitcoin_support_locked_pool_free(instance.object, pointer(chunk)) };
        }
        // SAFETY: the instance is never destroyed.
        unsafe {
            bitcoin_support_locked_pool_set_locking_failed(instance.object, None, null_mut())
        };
    }
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        // The highest numbers were added last, so that the seeds keep their meaning.
        let number = input.byte();
        match number {
            236..=245 => return self.create_pool_with(input),
            246..=248 => return self.configure_instance(input),
            249..=251 => return self.wipe_all(),
            252..=253 => return self.raise_lock_limit(input),
            254..=255 => return self.remedy(input),
            235 => return self.set_exit_policy(input),
            234 => return self.secret_stack(input),
            233 => return self.harden_process(input),
            231..=232 => return self.seal(input),
            230 => return self.open_sealed(input),
            229 => return self.closed(input),
            _ => {}
        }
        match number % 16 {
            0 => self.strings(input),
            1 => self.create_arena(input),
            2 => self.create_pool(input),
            3 => {
                if let Some(index) = input.index(self.owners.len()).filter(|&index| index > 0) {
                    self.check(index);
                    self.destroy(index);
                }
            }
            4..=7 => self.alloc(input),
            8..=9 => self.free(input),
            10 => self.free_sized(input),
            11 => self.null_objects(input),
            12 => {
                let index = input.below(self.owners.len());
                self.check(index);
            }
            13 => self.callback(input),
            _ => self.buffer(input),
        }
    }

    /// The status that a call returned; success if the mistake is to report that.
    fn status(&self, status: c_int) -> c_int {
        if self.fault == Fault::ReportsSuccess { OK } else { status }
    }

    fn strings(&self, input: &mut Input<'_>) {
        let number = input.hostile() as c_int ^ c_int::from(input.byte());
        // SAFETY: these functions take only numbers, and return a text that is never null and ends
        // with a zero.
        unsafe {
            let name = CStr::from_ptr(bitcoin_support_status_name(number));
            assert!(name.to_bytes().starts_with(b"BITCOIN_SUPPORT_"));
            assert!(!CStr::from_ptr(bitcoin_support_status_message(number)).is_empty());
            let version = CStr::from_ptr(bitcoin_support_version());
            assert_eq!(version.to_bytes().split(|&byte| byte == b'.').count(), 3);
            let number = version
                .to_str()
                .expect("ASCII")
                .split('.')
                .fold(0, |number, part| number * 1000 + part.parse::<u32>().expect("a number"));
            assert_eq!(bitcoin_support_version_number(), number);
            assert_eq!(bitcoin_support_abi(), ABI);
        }

        let mut name = [0x7f_u8; UNIQUE_NAME_SIZE + 8];
        let size = input.below(UNIQUE_NAME_SIZE + 8);
        // SAFETY: `size` bytes are at the pointer.
        let status = unsafe { bitcoin_support_get_unique_name(name.as_mut_ptr().cast(), size) };
        let expected = if size < UNIQUE_NAME_SIZE { BUFFER_TOO_SMALL } else { OK };
        assert_eq!(self.status(status), expected);
        let written = if expected == OK { UNIQUE_NAME_SIZE } else { 0 };
        assert!(name[written..].iter().all(|&byte| byte == 0x7f));
        if expected == OK {
            assert!(name[..32].iter().all(u8::is_ascii_hexdigit) && name[32] == 0);
        }
        // SAFETY: null is refused.
        let status = unsafe { bitcoin_support_get_unique_name(null_mut(), input.hostile()) };
        assert_eq!(status, NULL_ARGUMENT);

        let mut bytes = [1_u8; 300];
        let (from, len) = (input.below(150), input.below(150));
        // SAFETY: a range within the array; null with the length 0; a string that ends within the
        // array; null.
        unsafe {
            memory_cleanse(bytes.as_mut_ptr().add(from).cast(), len);
            memory_cleanse(null_mut(), 0);
            bitcoin_support_cleanse_string(null_mut());
        }
        let kept = |&(i, &byte): &(usize, &u8)| byte != u8::from(!(from..from + len).contains(&i));
        assert_eq!(bytes.iter().enumerate().find(kept), None);
        bytes = [1; 300];
        bytes[len] = 0;
        // SAFETY: the line above has put a zero there.
        unsafe { bitcoin_support_cleanse_string(bytes.as_mut_ptr().cast()) };
        assert!(bytes[..=len].iter().all(|&b| b == 0) && bytes[len + 1..].iter().all(|&b| b == 1));
    }

    fn create_arena(&mut self, input: &mut Input<'_>) {
        let alignment = input.alignment();
        let base = if input.byte() % 4 == 0 { input.hostile() } else { (1 << 30) + input.short() };
        let size = match input.byte() % 8 {
            0 => input.hostile(),
            _ => input.short(),
        };
        let end = base.checked_add(size).filter(|_| base != 0);
        let granules = size.checked_div(alignment).unwrap_or(0);
        if alignment.is_power_of_two() && end.is_some() && (1 << 17..1 << 30).contains(&granules) {
            return; // Valid, but would take gigabytes of bookkeeping.
        }
        let expected = match end {
            _ if !alignment.is_power_of_two() => BAD_ALIGNMENT,
            None => BAD_REGION,
            // More granules than can be counted.
            Some(_) if granules > (1 << 30) => OUT_OF_MEMORY,
            Some(_) => OK,
        };
        let mut object = pointer(UNTOUCHED);
        // SAFETY: an arena never touches its region. The output is a place for the answer, or null.
        let (status, refused) = unsafe {
            let make = |out| bitcoin_support_arena_create(pointer(base), size, alignment, out);
            (make(from_mut(&mut object)), make(null_mut()))
        };
        assert_eq!(refused, NULL_ARGUMENT);
        if self.fault == Fault::WritesOutput && status != OK {
            object = null_mut();
        }
        assert_eq!(self.status(status), expected, "{base:#x}, {size}, {alignment}");
        if status != OK {
            return assert_eq!(object.addr(), UNTOUCHED, "an output is written on failure");
        }
        let kind = Kind::Arena { region: (base, size), granule: alignment };
        self.keep(Owner::new(object, kind));
    }

    fn create_pool(&mut self, input: &mut Input<'_>) {
        let mut pages = Box::new(Pages {
            step: ARENA_SIZE + input.short(),
            fails_at: input.below(9),
            locks: input.byte() % 4 > 0,
            calls: 0,
            live: 0,
            destroyed: 0,
        });
        let kind = input.byte();
        let table = PageAllocator {
            context: from_mut(&mut *pages).cast(),
            allocate_locked: (kind != 0).then_some(allocate_locked as _),
            free_locked: (kind != 1).then_some(free_locked as _),
            get_limit: (kind != 2).then_some(get_limit as _),
            destroy: (kind % 8 != 3).then_some(destroy as _),
        };
        let own = kind % 4 == 0 && kind > 0;
        let mut object = pointer(UNTOUCHED);
        let (place, pool): (*const PageAllocator, *mut Object) = match kind {
            _ if own => (null(), from_mut(&mut object)),
            4..20 => (from_ref(&table), null_mut()),
            _ => (from_ref(&table), from_mut(&mut object)),
        };
        let whole = kind > 2;
        let expected = if pool.is_null() || !whole { NULL_ARGUMENT } else { OK };
        // SAFETY: the table is whole and its context lives as long as the pool; or it lacks a
        // function, or is null. The output is a place for the answer, or null.
        let status = unsafe { bitcoin_support_locked_pool_create(place, pool) };
        if self.fault == Fault::WritesOutput && status != OK {
            object = null_mut();
        }
        assert_eq!(self.status(status), expected, "kind {kind}");
        if status != OK {
            assert_eq!(object.addr(), UNTOUCHED, "an output is written on failure");
            let told = !own && table.destroy.is_some();
            return assert_eq!(pages.destroyed, usize::from(told), "destroy, on failure too");
        }
        let kind = match Sizes::of(&initial_options()) {
            Some(sizes) if own => Kind::Own(sizes),
            _ => Kind::Pool(pages),
        };
        self.keep(Owner::new(object, kind));
    }

    /// Makes a pool by options. The options and the place for the pool may be null.
    fn create_pool_with(&mut self, input: &mut Input<'_>) {
        let kind = input.byte();
        let options = if kind < 8 { initial_options() } else { any_options(input) };
        let seen = covered(&options);
        let sizes = seen.as_ref().and_then(Sizes::of);
        let lowered = kind % 2 > 0 && seen.is_some_and(|seen| seen.secret_memory == 0);
        if lowered {
            self.lower_lock_limit(input);
        }
        let limit = lock_limit();
        let mut object = pointer(UNTOUCHED);
        let place = if kind % 16 == 8 { null_mut() } else { from_mut(&mut object) };
        let status = match self.fault {
            _ if kind < 8 => create_with(null(), place),
            Fault::IgnoresOptions => create_with(null(), place),
            Fault::ReadsTooFar if seen.is_some() => {
                let size = size_of::<PoolOptions>();
                create_with(&PoolOptions { size, ..options }, place)
            }
            // The block has only the bytes of the options that their size covers.
            _ => Exact::of(&options).with(|options| create_with(options, place)),
        };
        if self.fault == Fault::WritesOutput && status != OK {
            object = null_mut();
        }
        match &sizes {
            _ if place.is_null() => assert_eq!(self.status(status), NULL_ARGUMENT),
            None => assert_eq!(self.status(status), BAD_OPTION, "{options:?}"),
            Some(sizes) if sizes.secret_memory == SECRET_MEMORY_REQUIRE => {
                // Whether the system has secret memory does not change.
                static ANSWER: OnceLock<c_int> = OnceLock::new();
                assert!(status == OK || status == NOT_AVAILABLE);
                assert_eq!(*ANSWER.get_or_init(|| status), status);
            }
            Some(_) => assert_eq!(status, OK, "{options:?}"),
        }
        let raised = status == OK && seen.is_some_and(|seen| seen.raise_lock_limit != 0);
        self.check_lock_limit(limit, raised && self.fault != Fault::IgnoresOptions);
        match sizes {
            Some(sizes) if status == OK => self.keep(Owner::new(object, Kind::Own(sizes))),
            _ => assert_eq!(object.addr(), UNTOUCHED, "an output is written on failure"),
        }
    }

    /// Checks that the options of the instance cannot be changed after it has been used.
    fn configure_instance(&self, input: &mut Input<'_>) {
        let options = any_options(input);
        let seen = covered(&options);
        // The sizes of the instance are fixed. Other members may be reported as wrong, or as too
        // late.
        let (sizes, rest) = match seen {
            Some(PoolOptions { page_size: 0, arena_size: 0, max_size: 0, .. }) => {
                (true, seen.as_ref().and_then(Sizes::of).is_some())
            }
            _ => (false, false),
        };
        self.lower_lock_limit(input);
        let limit = lock_limit();
        // SAFETY: the options have as many bytes as they state, or a size that is refused. Null is
        // refused.
        let (status, refused) = unsafe {
            let configure = |options| bitcoin_support_locked_pool_configure_instance(options);
            (Exact::of(&options).with(configure), configure(null()))
        };
        assert_eq!(refused, NULL_ARGUMENT);
        match (sizes, rest) {
            (true, true) => assert_eq!(self.status(status), IN_USE, "{options:?}"),
            (true, false) => assert!([IN_USE, BAD_OPTION].contains(&self.status(status))),
            (false, _) => assert_eq!(self.status(status), BAD_OPTION, "{options:?}"),
        }
        self.check_lock_limit(limit, false);
    }

    /// Wipes everything. All memory that the library has mapped must be zeros, and stay usable.
    fn wipe_all(&mut self) {
        (0..self.owners.len()).for_each(|index| self.check_bytes(index));
        if self.fault != Fault::KeepsContents {
            // SAFETY: this run has only bytes in locked memory.
            unsafe { bitcoin_support_wipe_all() };
        }
        if let Some(sealed) = &mut self.sealed {
            sealed.is_wiped = self.fault != Fault::KeepsContents;
        }
        for owner in &mut self.owners {
            owner.wiped = owner.chunks.keys().copied().collect();
        }
        for (buffer, expected) in &mut self.buffers {
            expected.fill(0);
            // SAFETY: the buffer is live, and the length is the buffer's.
            let is_wiped = unsafe {
                let data = bitcoin_support_buffer_data(*buffer).cast::<u8>();
                let size = bitcoin_support_buffer_size(*buffer);
                assert_eq!(size, expected.len());
                size == 0 || std::slice::from_raw_parts(data, size) == *expected
            };
            assert!(is_wiped, "a buffer is not wiped");
        }
        (0..self.owners.len()).for_each(|index| self.check(index));
    }

    /// Sets any policy, and then the default again, so that this program ends as others do.
    fn set_exit_policy(&self, input: &mut Input<'_>) {
        let policy = u32::from(input.byte());
        // SAFETY: the process does not exit between the two calls.
        let (status, back) = unsafe {
            (bitcoin_support_set_exit_policy(policy), bitcoin_support_set_exit_policy(0))
        };
        assert_eq!((self.status(status), back), (if policy <= 2 { OK } else { BAD_OPTION }, OK));
    }

    /// Calls a function on a secret stack of any size.
    fn secret_stack(&self, input: &mut Input<'_>) {
        /// Adds one to what the context points to, and uses some of the stack.
        unsafe extern "C" fn count(context: *mut c_void) {
            let bytes = std::hint::black_box([1_u8; 2048]);
            // SAFETY: the context is a number, which outlives the call.
            unsafe { *context.cast::<usize>() += usize::from(std::hint::black_box(&bytes)[1000]) };
        }
        let (size, is_refused) = match input.byte() % 4 {
            0 => (0, false),
            1 => (input.hostile() | 1 << (usize::BITS - 1), true),
            _ => (input.short(), false),
        };
        let mut calls = 0_usize;
        let context = from_mut(&mut calls).cast();
        // SAFETY: the function may be called with the context; null is refused.
        let (status, null) = unsafe {
            (
                bitcoin_support_on_secret_stack(Some(count), context, size),
                bitcoin_support_on_secret_stack(None, context, size),
            )
        };
        let expected = match (HAS_SECRET_STACKS, is_refused) {
            (false, _) => NOT_AVAILABLE,
            (true, true) => OUT_OF_MEMORY,
            (true, false) => OK,
        };
        assert_eq!((self.status(status), null), (expected, NULL_ARGUMENT));
        let called = usize::from(expected == OK);
        assert_eq!(calls, called);
        // SAFETY: the function may be called with the context.
        let status = unsafe { bitcoin_support_on_locked_secret_stack(Some(count), context, size) };
        assert!(status == expected || status == OUT_OF_MEMORY && HAS_SECRET_STACKS);
        assert_eq!(calls, called + usize::from(status == OK));
        // SAFETY: takes nothing.
        assert!(!unsafe { bitcoin_support_secret_stack_is_locked() }, "on no secret stack");
    }

    /// Any steps where they are refused. Where they would be taken, no step, or the one that
    /// changes nothing here: this process has named no tracer.
    fn harden_process(&self, input: &mut Input<'_>) {
        const NO_TRACER: u64 = 1 << 7;
        const KNOWN: u64 = (1 << 9) - 1;
        const UNTOUCHED_RESULT: HardenResult = HardenResult { step: 77, status: 77, error: 77 };
        let mut results = [UNTOUCHED_RESULT; 2];
        let bits = input.hostile() as u64 ^ u64::from(input.byte());
        let steps = [0, NO_TRACER, bits, bits & KNOWN][input.below(4)];
        let (is_null, count) = (input.byte() % 4 == 0, input.below(3));
        let expected = if steps & !KNOWN != 0 {
            BAD_OPTION
        } else if is_null {
            NULL_ARGUMENT
        } else if count < steps.count_ones() as usize {
            BUFFER_TOO_SMALL
        } else if steps & !NO_TRACER != 0 {
            return;
        } else {
            OK
        };
        let place = if is_null { null_mut() } else { results.as_mut_ptr() };
        // SAFETY: null, or room for `count` results.
        let status = unsafe { bitcoin_support_harden_process(steps, place, count) };
        assert_eq!(self.status(status), expected);
        let written = if expected == OK { steps.count_ones() as usize } else { 0 };
        assert!(results[written..].iter().all(|result| *result == UNTOUCHED_RESULT));
        if written == 1 {
            let HardenResult { step, status, error } = results[0];
            assert!(step == NO_TRACER && (status == OK && error == 0 || status == NOT_AVAILABLE));
        }
        // SAFETY: takes a number, and returns a text that is never null and ends with a zero.
        let name = unsafe { CStr::from_ptr(bitcoin_support_harden_step_name(bits)) };
        let is_one_step = bits.count_ones() == 1 && bits & !KNOWN == 0;
        assert_eq!(name == c"unknown", !is_one_step, "{name:?}");
    }

    fn raise_lock_limit(&self, input: &mut Input<'_>) {
        self.lower_lock_limit(input);
        let before = lock_limit();
        let mut limit = UNTOUCHED;
        let told = input.byte() % 4 > 0;
        let place = if told { from_mut(&mut limit) } else { null_mut() };
        // SAFETY: a place for the answer, or null.
        let status = unsafe { bitcoin_support_raise_lock_limit(place) };
        assert_eq!(status, OK, "the harness may set it, so the library may");
        if self.fault == Fault::KeepsLimit {
            set_lock_limit(before);
        }
        let hard = match before.rlim_max {
            libc::RLIM_INFINITY => usize::MAX,
            hard => usize::try_from(hard).unwrap_or(usize::MAX),
        };
        assert_eq!(limit, if told { hard } else { UNTOUCHED });
        self.check_lock_limit(before, true);
    }

    /// Lowers the process's limit until the next check.
    fn lower_lock_limit(&self, input: &mut Input<'_>) {
        let soft = (input.below(3) as libc::rlim_t) << 16;
        set_lock_limit(libc::rlimit { rlim_cur: soft.min(self.limit.rlim_max), ..self.limit });
    }

    /// Checks that a call has left the limit as it was before, or has raised it as far as it may.
    /// Restores the limit of the beginning.
    fn check_lock_limit(&self, before: libc::rlimit, raised: bool) {
        if self.fault == Fault::RaisesLimit {
            set_lock_limit(libc::rlimit { rlim_cur: before.rlim_max, ..before });
        }
        let limit = lock_limit();
        set_lock_limit(self.limit);
        let soft = if raised { before.rlim_max } else { before.rlim_cur };
        assert_eq!((limit.rlim_cur, limit.rlim_max), (soft, before.rlim_max));
    }

    fn remedy(&self, input: &mut Input<'_>) {
        let (error, limit) =
            (input.hostile() as c_int ^ c_int::from(input.byte()), input.hostile());
        // SAFETY: takes only numbers, and returns a text that is never null and ends with a zero.
        let (remedy, unlimited) = unsafe {
            let of = |limit| CStr::from_ptr(bitcoin_support_lock_remedy(error, limit));
            (of(limit).to_bytes(), of(usize::MAX).to_bytes())
        };
        for text in [remedy, unlimited] {
            assert!(!text.is_empty() && text.iter().all(|byte| (b' '..=b'~').contains(byte)));
        }
        // An error has the limit's remedy only if the limit causes it. With a limit of 0 that is
        // one error more.
        let of_limit = matches!(error, libc::ENOMEM | libc::EAGAIN);
        let by_limit = of_limit && limit != usize::MAX || error == libc::EPERM && limit == 0;
        assert_eq!(remedy != unlimited, by_limit, "whether the limit is to be raised");
        // SAFETY: takes only numbers, and returns a text that is never null and ends with a zero.
        let remedy =
            unsafe { CStr::from_ptr(bitcoin_support_protection_remedy(limit as u32, error)) };
        assert!(!remedy.is_empty() && remedy.to_bytes().is_ascii());
    }

    fn keep(&mut self, owner: Owner) {
        self.owners.push(owner);
        if self.owners.len() > 5 {
            self.destroy(1);
        }
    }

    fn destroy(&mut self, index: usize) {
        let owner = self.owners.remove(index);
        match owner.kind {
            // SAFETY: the object is live and is not used afterwards.
            Kind::Arena { .. } => unsafe {
                assert_eq!(bitcoin_support_arena_destroy(owner.object), OK);
                assert_eq!(bitcoin_support_arena_destroy(owner.object), INVALID_HANDLE);
            },
            // SAFETY: the object is live and is not used afterwards.
            Kind::Own(_) => unsafe {
                assert_eq!(bitcoin_support_locked_pool_destroy(owner.object), OK);
                assert_eq!(bitcoin_support_locked_pool_destroy(owner.object), INVALID_HANDLE);
            },
            Kind::Pool(pages) => {
                if self.fault != Fault::KeepsPages {
                    // SAFETY: the pool is live and is not used afterwards.
                    unsafe { assert_eq!(bitcoin_support_locked_pool_destroy(owner.object), OK) };
                }
                let kept = pages.live;
                if self.fault == Fault::KeepsPages {
                    std::mem::forget(pages);
                }
                assert_eq!(kept, 0, "pages are kept");
            }
            Kind::Instance => unreachable!("the instance is the first, and stays"),
        }
    }

    fn alloc(&mut self, input: &mut Input<'_>) {
        let index = input.below(self.owners.len());
        let owner = &mut self.owners[index];
        if owner.chunks.len() > 60 {
            return;
        }
        let (largest, granule) = match &owner.kind {
            Kind::Arena { region, granule } => (region.1, *granule),
            Kind::Own(sizes) => (sizes.arena, ARENA_ALIGN),
            _ => (ARENA_SIZE, ARENA_ALIGN),
        };
        let size = input.size(largest);
        let alignment = if input.byte() % 4 == 0 { input.alignment() } else { 1 };
        // SAFETY: the object is live.
        let chunk = unsafe {
            match (&owner.kind, alignment) {
                (Kind::Arena { .. }, 1) => bitcoin_support_arena_alloc(owner.object, size),
                (Kind::Arena { .. }, _) => {
                    bitcoin_support_arena_alloc_aligned(owner.object, size, alignment)
                }
                // Every other chunk of the process-wide pool is allocated without its handle.
                (Kind::Instance, 1) if size % 2 == 0 => bitcoin_support_alloc(size),
                (Kind::Instance, _) if size % 2 == 0 => {
                    bitcoin_support_alloc_aligned(size, alignment)
                }
                (_, 1) => bitcoin_support_locked_pool_alloc(owner.object, size),
                _ => bitcoin_support_locked_pool_alloc_aligned(owner.object, size, alignment),
            }
        };
        if chunk.is_null() {
            return;
        }
        let addr = chunk.expose_provenance();
        assert!(size > 0 && size <= largest && alignment.is_power_of_two());
        assert!(addr % alignment == 0 && addr % granule == 0);
        let before = owner.chunks.range(..=addr).next_back();
        assert!(before.is_none_or(|(other, size)| other + size <= addr), "chunks overlap");
        let behind = owner.chunks.range(addr..).next();
        assert!(behind.is_none_or(|(&other, _)| addr + size <= other), "chunks overlap");
        match owner.kind {
            Kind::Arena { region, .. } => {
                assert!(addr >= region.0 && addr + size <= region.0 + region.1);
                // SAFETY: the arena is live.
                assert!(unsafe { bitcoin_support_arena_contains(owner.object, chunk) });
            }
            // SAFETY: a chunk of that many bytes in the library's pages.
            Kind::Own(_) | Kind::Instance => unsafe {
                let bytes = std::slice::from_raw_parts_mut(chunk.cast::<u8>(), size);
                assert!(bytes.iter().all(|&byte| byte == 0), "a chunk is not wiped");
                bytes.fill(addr as u8 | 1);
            },
            Kind::Pool(_) => {}
        }
        owner.chunks.insert(addr, size);
    }

    /// An object, and one of its chunks if it has any.
    fn pick(&self, input: &mut Input<'_>) -> (usize, Option<(usize, usize)>) {
        let index = input.below(self.owners.len());
        let chunks = &self.owners[index].chunks;
        let chunk = input.index(chunks.len()).and_then(|number| chunks.iter().nth(number));
        (index, chunk.map(|(&addr, &size)| (addr, size)))
    }

    /// The status for a free of an address where no chunk begins.
    fn refusal(&self, index: usize, addr: usize) -> c_int {
        let owner = &self.owners[index];
        let elsewhere = match owner.kind {
            Kind::Arena { .. } => INVALID_FREE,
            _ => NOT_IN_POOL,
        };
        let inside = owner.chunks.range(..addr).next_back();
        match inside {
            Some((&chunk, &size)) if addr - chunk < size => INVALID_FREE,
            _ => elsewhere,
        }
    }

    fn free(&mut self, input: &mut Input<'_>) {
        let (index, chunk) = self.pick(input);
        let owner = &self.owners[index];
        let object = owner.object;
        let is_arena = matches!(owner.kind, Kind::Arena { .. });
        let is_instance = matches!(owner.kind, Kind::Instance);
        // SAFETY: the object is live, and a chunk that it frees is not used afterwards.
        let free = |addr| unsafe {
            match is_arena {
                true => bitcoin_support_arena_free(object, pointer(addr)),
                false if is_instance && addr / ARENA_ALIGN % 2 == 0 => {
                    bitcoin_support_free(pointer(addr))
                }
                false => bitcoin_support_locked_pool_free(object, pointer(addr)),
            }
        };
        match (chunk, input.byte() % 4) {
            (Some((addr, _)), 0..=1) => {
                self.check_bytes(index);
                assert_eq!(self.status(free(addr)), OK);
                self.owners[index].remove(addr);
                assert_eq!(self.status(free(addr)), INVALID_FREE, "a double free");
            }
            (Some((addr, size)), 2) => {
                let addr = addr + 1 + input.below(size.min(1 << 16));
                if !self.owners[index].chunks.contains_key(&addr)
                    && self.refusal(index, addr) == INVALID_FREE
                {
                    assert_eq!(self.status(free(addr)), INVALID_FREE);
                }
            }
            _ => {
                let addr = input.hostile();
                let expected = if addr == 0 { OK } else { self.refusal(index, addr) };
                if !self.owners[index].chunks.contains_key(&addr) {
                    assert_eq!(self.status(free(addr)), expected, "{addr:#x}");
                }
            }
        }
    }

    fn free_sized(&mut self, input: &mut Input<'_>) {
        let (index, chunk) = self.pick(input);
        let Some((addr, size)) = chunk else { return };
        let (object, is_arena) =
            (self.owners[index].object, matches!(self.owners[index].kind, Kind::Arena { .. }));
        // SAFETY: the object is live, and a chunk that it frees is not used afterwards.
        let free = |addr, size| unsafe {
            match is_arena {
                true => bitcoin_support_arena_free_sized(object, pointer(addr), size, 1),
                false => bitcoin_support_locked_pool_free_sized(object, pointer(addr), size, 1),
            }
        };
        let wrong = [0, usize::MAX, size.saturating_mul(3).max(ARENA_SIZE * 2)][input.below(3)];
        let (is_wrong, missing) = (free(addr, wrong), free(input.below(1 << 12), size));
        let granule = match self.owners[index].kind {
            Kind::Arena { granule, .. } => granule,
            _ => ARENA_ALIGN,
        };
        // The granules of some arenas are as large as that.
        if granule < 1 << 16 {
            assert_eq!(self.status(is_wrong), SIZE_MISMATCH, "{wrong} for {size}");
        } else if is_wrong == OK {
            self.owners[index].remove(addr);
            return;
        }
        assert!([OK, INVALID_FREE, NOT_IN_POOL].contains(&missing));
        if matches!(self.owners[index].kind, Kind::Instance) {
            return; // Its chunks may be larger than was asked for.
        }
        assert_eq!(self.status(free(addr, size)), OK);
        self.owners[index].remove(addr);
        assert_eq!(self.status(free(addr, size)), INVALID_FREE, "a double free");
    }

    /// Calls the functions with null objects.
    fn null_objects(&self, input: &mut Input<'_>) {
        let (size, alignment, ptr) = (input.hostile(), input.alignment(), pointer(input.hostile()));
        // SAFETY: a null object is refused before the other arguments are read.
        unsafe {
            let status = [
                bitcoin_support_buffer_create(input.below(100), null_mut()),
                bitcoin_support_buffer_resize(null_mut(), size),
                bitcoin_support_buffer_append(null_mut(), null(), 0),
                create_with(null(), null_mut()),
                bitcoin_support_arena_free(null_mut(), ptr),
                bitcoin_support_arena_free_sized(null_mut(), ptr, size, alignment),
                bitcoin_support_locked_pool_free(null_mut(), ptr),
                bitcoin_support_locked_pool_free_sized(null_mut(), ptr, size, alignment),
                bitcoin_support_locked_pool_set_locking_failed(
                    null_mut(),
                    Some(accept),
                    null_mut(),
                ),
                if self.fault == Fault::TakesNull { OK } else { NULL_ARGUMENT },
            ];
            assert_eq!(status, [NULL_ARGUMENT; 10]);
            // As always here, nothing is sampled, so there is nothing to describe.
            assert_eq!(bitcoin_support_locked_pool_sample(0, size), OK);
            assert_eq!(bitcoin_support_describe_address(ptr, null_mut(), size), NULL_ARGUMENT);
            let mut report = AddressReport([0xa5; size_of::<AddressReport>()]);
            assert_eq!(
                bitcoin_support_describe_address(ptr, &mut report, size_of::<AddressReport>()),
                NOT_IN_POOL
            );
            assert!(report.0.iter().all(|&byte| byte == 0xa5));
            bitcoin_support_locked_pool_options_init(null_mut(), size);
            assert_eq!(bitcoin_support_buffer_destroy(null_mut()), OK);
            assert_eq!(bitcoin_support_arena_destroy(null_mut()), OK);
            assert_eq!(bitcoin_support_locked_pool_destroy(null_mut()), OK);
            assert!(bitcoin_support_buffer_data(null_mut()).is_null());
            assert_eq!(bitcoin_support_buffer_size(null_mut()), 0);
            assert!(bitcoin_support_arena_alloc(null_mut(), size).is_null());
            assert!(bitcoin_support_arena_alloc_aligned(null_mut(), size, alignment).is_null());
            assert!(bitcoin_support_alloc(0).is_null());
            assert_eq!(bitcoin_support_free(null_mut()), OK);
            assert!(bitcoin_support_locked_pool_alloc(null_mut(), size).is_null());
            assert!(bitcoin_support_locked_pool_alloc_aligned(null_mut(), size, 16).is_null());
            assert!(!bitcoin_support_arena_contains(null_mut(), ptr));
            let mut seen = Seen::default();
            let context = from_mut(&mut seen).cast();
            assert_eq!(bitcoin_support_arena_walk(null_mut(), visit, context), NULL_ARGUMENT);
            assert_eq!(bitcoin_support_locked_pool_walk(null_mut(), visit, context), NULL_ARGUMENT);
            assert!(seen.used.is_empty() && seen.chunks_free == 0);
            let mut stats = ArenaStats { total: 5, ..ArenaStats::default() };
            let size = size_of::<ArenaStats>();
            assert_eq!(
                bitcoin_support_arena_get_stats(null_mut(), &mut stats, size),
                NULL_ARGUMENT
            );
            assert_eq!(stats.total, 5);
            let mut stats = PoolStats { total: 5, ..PoolStats::default() };
            let size = size_of::<PoolStats>();
            let status = bitcoin_support_locked_pool_get_stats(null_mut(), &mut stats, size);
            assert_eq!((status, stats.total), (NULL_ARGUMENT, 5));
            assert_eq!(bitcoin_support_get_memory_stats(null_mut(), size), NULL_ARGUMENT);
        }
    }

    fn callback(&self, input: &mut Input<'_>) {
        let (index, callback) = (input.below(self.owners.len()), input.byte() % 3);
        let owner = &self.owners[index];
        if matches!(owner.kind, Kind::Arena { .. }) {
            return;
        }
        let callback: Option<LockingFailed> =
            [None, Some(accept as _), Some(refuse as _)][usize::from(callback)];
        // SAFETY: the pool is live, and the functions do not use their context.
        let status = unsafe {
            bitcoin_support_locked_pool_set_locking_failed(owner.object, callback, null_mut())
        };
        assert_eq!(status, OK);
    }

    /// Checks that the chunks in the library's memory have the bytes with which they were filled.
    fn check_bytes(&self, index: usize) {
        let owner = &self.owners[index];
        if !matches!(owner.kind, Kind::Own(_) | Kind::Instance) {
            return;
        }
        for (&addr, &size) in &owner.chunks {
            // SAFETY: a chunk of this run's of that many bytes.
            let bytes = unsafe { std::slice::from_raw_parts(address(addr).cast_const(), size) };
            assert!(bytes.iter().all(|&byte| byte == owner.fill(addr)), "a chunk has changed");
        }
    }

    /// Checks that the statistics, the walk and the chunks agree.
    fn check(&self, index: usize) {
        self.check_bytes(index);
        let owner = &self.owners[index];
        let mut seen = Seen::default();
        let context = from_mut(&mut seen).cast();
        // SAFETY: the object is live, and `visit` does not use it.
        let mut stats = unsafe {
            match owner.kind {
                Kind::Arena { .. } => {
                    assert_eq!(bitcoin_support_arena_walk(owner.object, visit, context), OK);
                    let mut stats = ArenaStats::default();
                    let size = size_of::<ArenaStats>();
                    assert_eq!(bitcoin_support_arena_get_stats(owner.object, &mut stats, size), OK);
                    stats
                }
                _ => {
                    assert_eq!(bitcoin_support_locked_pool_walk(owner.object, visit, context), OK);
                    let mut stats = PoolStats::default();
                    let size = size_of::<PoolStats>();
                    let status =
                        bitcoin_support_locked_pool_get_stats(owner.object, &mut stats, size);
                    assert_eq!(status, OK);
                    let PoolStats { used, free, total, chunks_used, chunks_free, .. } = stats;
                    owner.check_options(&stats);
                    assert!(stats.locked <= total && stats.peak_used >= used);
                    assert!(stats.last_lock_error == 0 || stats.lock_failures > 0);
                    if matches!(owner.kind, Kind::Own(_) | Kind::Instance) {
                        let mut all = MemoryStats::default();
                        let size = size_of::<MemoryStats>();
                        assert_eq!(bitcoin_support_get_memory_stats(&mut all, size), OK);
                        assert!(all.total >= total && all.locked <= all.total);
                    }
                    ArenaStats { used, free, total, chunks_used, chunks_free }
                }
            }
        };
        if self.fault == Fault::Miscounts && stats.chunks_used > 1 {
            stats.chunks_used += 1;
        }
        let is_instance = matches!(owner.kind, Kind::Instance);
        let of_buffers = if is_instance { self.buffer_chunks() } else { 0 };
        let of_keys = if is_instance { self.sealing_keys(&seen) } else { 0 };
        assert_eq!(stats.chunks_used, owner.chunks.len() + of_buffers + of_keys);
        assert_eq!(seen.used.len(), stats.chunks_used);
        assert_eq!(seen.used.values().sum::<usize>(), stats.used);
        assert_eq!(seen.chunks_free, stats.chunks_free);
        assert!(seen.free == stats.free || is_instance && seen.free <= stats.free);
        assert_eq!(stats.used + stats.free, stats.total);
        for (addr, size) in &owner.chunks {
            assert!(seen.used.get(addr).is_some_and(|taken| taken >= size));
        }
    }

    /// The number of buffers that have a chunk of the instance. A buffer above the largest chunk
    /// has separate pages.
    fn buffer_chunks(&self) -> usize {
        let has_chunk = |&&(buffer, _): &&(Object, Vec<u8>)| {
            // SAFETY: the buffer is live.
            let data = unsafe { bitcoin_support_buffer_data(buffer) };
            let mut seen = Seen::default();
            // SAFETY: the instance is live, and `visit` does not use it.
            unsafe {
                let context = from_mut(&mut seen).cast();
                let status =
                    bitcoin_support_locked_pool_walk(self.owners[0].object, visit, context);
                assert_eq!(status, OK);
            }
            seen.used.contains_key(&data.addr())
        };
        self.buffers.iter().filter(has_chunk).count()
    }

    /// The number of sealing keys that have a chunk of the instance.
    fn sealing_keys(&self, seen: &Seen) -> usize {
        // SAFETY: the buffers are live.
        let data =
            |(buffer, _): &(Object, Vec<u8>)| unsafe { bitcoin_support_buffer_data(*buffer) };
        let of_buffers: BTreeSet<_> = self.buffers.iter().map(|it| data(it).addr()).collect();
        let is_key = |&(addr, &size): &(&usize, &usize)| {
            let is_other = self.owners[0].chunks.contains_key(addr) || of_buffers.contains(addr);
            size == KEY_SIZE && !is_other
        };
        let count = seen.used.iter().filter(is_key).count();
        assert!(count <= MOST_KEYS, "{count} sealing keys");
        count
    }

    /// Seals a secret, opens it, and tries to open it changed and in another context.
    fn seal(&mut self, input: &mut Input<'_>) {
        let secret: Vec<u8> = (0..input.below(400)).map(|at| at as u8 ^ input.byte()).collect();
        let context = vec![input.byte(); input.below(40)];
        let (data, size) = (secret.as_ptr().cast(), secret.len());
        let (about, about_size) = (context.as_ptr().cast(), context.len());
        let mut sealed = vec![0x7f_u8; size + SEAL_OVERHEAD].into_boxed_slice();
        let (place, place_size) = (sealed.as_mut_ptr().cast(), sealed.len());
        let wrong = [0, size, usize::MAX, place_size + 1, place_size - 1][input.below(5)];
        // SAFETY: all lengths are right; or one is refused before the bytes are looked at; or a
        // pointer is null, which is refused.
        let (status, refused) = unsafe {
            let refused = [
                bitcoin_support_seal(data, size, about, about_size, place, wrong),
                bitcoin_support_seal(data, size, about, about_size, null_mut(), place_size),
                bitcoin_support_seal(data, size, null(), about_size + 1, place, place_size),
                bitcoin_support_seal(null(), size + 1, about, about_size, place, place_size + 1),
            ];
            let status = bitcoin_support_seal(data, size, about, about_size, place, place_size);
            (status, refused)
        };
        assert_eq!(refused, [BAD_SIZE, NULL_ARGUMENT, NULL_ARGUMENT, NULL_ARGUMENT]);
        // Whether the library can seal does not change.
        static CAN_SEAL: OnceLock<bool> = OnceLock::new();
        let can_seal = *CAN_SEAL.get_or_init(|| status != NOT_AVAILABLE);
        assert_eq!(self.status(status), if can_seal { OK } else { NOT_AVAILABLE });
        if status != OK {
            return assert!(sealed.iter().all(|&byte| byte == 0x7f), "written on failure");
        }
        let mut opened = vec![0x7f_u8; size].into_boxed_slice();
        let mut open = |sealed: &[u8], context: &[u8]| {
            opened.fill(0x7f);
            // SAFETY: all lengths are right.
            let status = unsafe {
                bitcoin_support_unseal(
                    sealed.as_ptr().cast(),
                    sealed.len(),
                    context.as_ptr().cast(),
                    context.len(),
                    opened.as_mut_ptr().cast(),
                    opened.len(),
                )
            };
            let expected = if status == OK { &secret[..] } else { &vec![0x7f; size] };
            assert_eq!(&opened[..], expected);
            status
        };
        let other = [&context[..], b"other"].concat();
        assert_eq!((open(&sealed, &context), open(&sealed, &other)), (OK, TAMPERED));
        let at = input.below(sealed.len());
        if self.fault != Fault::OpensChanged {
            sealed[at] ^= 1 << (input.byte() % 8);
        }
        // The number of a key that there was, and is no more.
        let status = open(&sealed, &context);
        assert!(status == TAMPERED || status == KEY_WIPED && (32..40).contains(&at), "{status}");
        // SAFETY: the lengths do not fit each other, which is refused; a null pointer is refused.
        let refused = unsafe {
            let null = null_mut();
            [
                bitcoin_support_unseal(place, place_size, about, about_size, null, size + 1),
                bitcoin_support_unseal(null, size + 1 + SEAL_OVERHEAD, about, 0, null, size + 1),
            ]
        };
        assert_eq!(refused, [BAD_SIZE, NULL_ARGUMENT]);

        let (sealed, is_wiped, rotations) = (vec![0; place_size], false, 0);
        let mut kept = SealedSecret { sealed, secret, is_wiped, rotations };
        // SAFETY: all lengths are right.
        let status = unsafe {
            let place = kept.sealed.as_mut_ptr().cast();
            bitcoin_support_seal(kept.secret.as_ptr().cast(), size, null(), 0, place, place_size)
        };
        assert_eq!(status, OK);
        self.sealed = Some(kept);
    }

    /// Opens and closes a secret in any order, and compares what it holds while it is open.
    fn closed(&mut self, input: &mut Input<'_>) {
        extern "C" fn count(context: *mut c_void) {
            // SAFETY: the calls below pass a number of this function's caller.
            unsafe { *context.cast::<u32>() += 1 };
        }
        let size = input.below(9000);
        let mut called = 0_u32;
        let context = (&raw mut called).cast::<c_void>();
        // SAFETY: the secret is used while it is open, and freed once; other addresses are refused.
        unsafe {
            let secret = bitcoin_support_closed_alloc(size);
            if secret.is_null() {
                return;
            }
            let bytes = secret.cast::<u8>();
            let mut open = [0_u32; 2];
            let mut expected = 0_u8;
            for _ in 0..input.below(20) {
                let writable = input.byte() % 2 == 1;
                let count_of = &mut open[usize::from(writable)];
                match input.byte() % 4 {
                    0 | 1 => {
                        let status = bitcoin_support_closed_open(secret, writable);
                        assert_eq!(self.status(status), OK);
                        *count_of += 1;
                    }
                    2 => {
                        let status = bitcoin_support_closed_close(secret, writable);
                        let expected = if *count_of > 0 { OK } else { INVALID_HANDLE };
                        assert_eq!(self.status(status), expected);
                        *count_of = count_of.saturating_sub(1);
                    }
                    _ => {
                        let before = called;
                        let status = bitcoin_support_closed_on_this_thread(
                            secret,
                            writable,
                            Some(count),
                            context,
                        );
                        assert_eq!((self.status(status), called), (OK, before + 1));
                    }
                }
                let at = bytes.add(input.below(size));
                if open != [0; 2] {
                    assert_eq!(at.read(), expected, "another secret");
                }
                if open[1] > 0 {
                    expected = input.byte();
                    bytes.write_bytes(expected, size);
                }
            }
            assert_eq!(bitcoin_support_closed_open(context, false), INVALID_HANDLE);
            assert_eq!(bitcoin_support_closed_close(null_mut(), true), NULL_ARGUMENT);
            let refused = bitcoin_support_closed_on_this_thread(secret, true, None, context);
            assert_eq!(refused, NULL_ARGUMENT);
            let _ = bitcoin_support_has_protection_key();
            assert_eq!(bitcoin_support_closed_free(secret), OK);
            assert_eq!(bitcoin_support_closed_free(secret), INVALID_HANDLE);
        }
    }

    /// Rotates the sealing key some times, and opens the secret that was sealed last.
    fn open_sealed(&mut self, input: &mut Input<'_>) {
        for _ in 0..input.below(3) {
            // SAFETY: takes nothing.
            let status = unsafe { bitcoin_support_rotate_sealing_key() };
            assert!(status == OK || status == NOT_AVAILABLE);
            if let Some(sealed) = &mut self.sealed {
                sealed.rotations += 1;
            }
        }
        let Some(SealedSecret { sealed, secret, is_wiped, rotations }) = &self.sealed else {
            return;
        };
        let mut opened = vec![0; secret.len()];
        // SAFETY: all lengths are right.
        let status = unsafe {
            let place = opened.as_mut_ptr().cast();
            bitcoin_support_unseal(
                sealed.as_ptr().cast(),
                sealed.len(),
                null(),
                0,
                place,
                secret.len(),
            )
        };
        match (is_wiped, rotations) {
            (false, 0..=3) => assert_eq!((status, &opened), (OK, secret)),
            // Keys with which nothing was sealed do not push it out.
            (false, _) => assert!(status == KEY_WIPED || (status, &opened) == (OK, secret)),
            (true, _) => assert_eq!(status, KEY_WIPED),
        }
    }

    fn buffer(&mut self, input: &mut Input<'_>) {
        let too_many = input.too_many();
        let Some(index) = input.index(self.buffers.len()).filter(|_| input.byte() % 8 > 0) else {
            let huge = input.byte() % 8 == 0;
            let capacity = if huge { too_many } else { input.short() * 5 };
            let mut buffer = pointer(UNTOUCHED);
            // SAFETY: the output is a place for the answer.
            let status = unsafe { bitcoin_support_buffer_create(capacity, from_mut(&mut buffer)) };
            if self.fault == Fault::WritesOutput && status != OK {
                buffer = null_mut();
            }
            assert_eq!(self.status(status), if huge { OUT_OF_MEMORY } else { OK });
            if huge {
                return assert_eq!(buffer.addr(), UNTOUCHED, "an output is written on failure");
            }
            self.buffers.push((buffer, Vec::new()));
            if self.buffers.len() > 4 {
                let (buffer, _) = self.buffers.remove(0);
                // SAFETY: the buffer is live and is not used afterwards.
                unsafe { assert_eq!(bitcoin_support_buffer_destroy(buffer), OK) };
            }
            return;
        };
        let fault = self.fault;
        let (buffer, ref mut expected) = self.buffers[index];
        // SAFETY: the buffer is live. The source has that many bytes, or none are read, or it is
        // null, which is refused.
        unsafe {
            match input.byte() % 6 {
                0..=1 => {
                    let more = vec![input.byte() | 1; input.short() % 3000];
                    let data = more.as_ptr().cast();
                    assert_eq!(bitcoin_support_buffer_append(buffer, data, more.len()), OK);
                    expected.extend_from_slice(&more);
                }
                2 => {
                    let size = input.short() * 5;
                    assert_eq!(bitcoin_support_buffer_resize(buffer, size), OK);
                    expected.resize(size, 0);
                }
                3 => {
                    let status = bitcoin_support_buffer_resize(buffer, too_many);
                    assert_eq!(
                        status,
                        if fault == Fault::ReportsSuccess { OK } else { OUT_OF_MEMORY }
                    );
                }
                4 => {
                    let status = bitcoin_support_buffer_append(buffer, null(), 1 + input.short());
                    assert_eq!(status, NULL_ARGUMENT);
                    assert_eq!(bitcoin_support_buffer_append(buffer, null(), 0), OK);
                }
                _ => {
                    // Writes through the pointer.
                    let at = input.below(expected.len().clamp(1, 60_000));
                    if let Some(byte) = expected.get_mut(at) {
                        *byte = 0x5a;
                        bitcoin_support_buffer_data(buffer).cast::<u8>().add(at).write(0x5a);
                    }
                }
            }
            let (size, data) =
                (bitcoin_support_buffer_size(buffer), bitcoin_support_buffer_data(buffer));
            if fault == Fault::SpoilsBuffer && size > 0 {
                *data.cast::<u8>() ^= 1;
            }
            assert_eq!(size, expected.len());
            assert!(size == 0 || std::slice::from_raw_parts(data.cast::<u8>(), size) == *expected);
        }
    }
}
