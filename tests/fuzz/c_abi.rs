//! Any calls of the functions of `include/bitcoin_support.h`, with any arguments that it permits: null
//! objects, hostile sizes and alignments, page allocators that fail or lack functions, frees of what is no
//! chunk. The answers are those that the header documents, and outputs are written on success alone.
//!
//! Depends on `input`. The functions are declared here as the header declares them; the replay compares
//! their names with the header's. The process-wide pool must be empty when a run begins, and nobody else
//! may use it meanwhile.

use crate::input::{Input, address};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{from_mut, from_ref, null, null_mut};

/// A mistake for the harness to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "only the replay makes mistakes")]
pub(crate) enum Fault {
    None,
    /// A call that fails says that it has not.
    ReportsSuccess,
    /// A call that fails writes to its output.
    WritesOutput,
    /// A chunk too many is counted.
    Miscounts,
    /// A buffer changes.
    SpoilsBuffer,
    /// A pool that is destroyed keeps its pages.
    KeepsPages,
    /// A null object is taken for one.
    TakesNull,
}

pub(crate) fn run(data: &[u8]) {
    run_with(data, Fault::None);
}

// Statuses, by the header's numbers.
const OK: c_int = 0;
const INVALID_FREE: c_int = 1;
const NOT_IN_POOL: c_int = 2;
const SIZE_MISMATCH: c_int = 3;
const BAD_ALIGNMENT: c_int = 4;
const BAD_REGION: c_int = 5;
const OUT_OF_MEMORY: c_int = 6;
const NULL_ARGUMENT: c_int = 7;
const BUFFER_TOO_SMALL: c_int = 8;

const ABI: u32 = 0;
const ARENA_SIZE: usize = 262_144;
const ARENA_ALIGN: usize = 16;
const UNIQUE_NAME_SIZE: usize = 33;

/// An object behind a pointer.
type Object = *mut c_void;
type Visit = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, bool);
type LockingFailed = unsafe extern "C" fn(*mut c_void, c_int, usize) -> bool;

#[repr(C)]
#[derive(Debug, PartialEq, Eq)]
struct ArenaStats {
    used: usize,
    free: usize,
    total: usize,
    chunks_used: usize,
    chunks_free: usize,
}

#[repr(C)]
#[derive(Debug, PartialEq, Eq)]
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
}

#[repr(C)]
struct PageAllocator {
    context: *mut c_void,
    allocate_locked: Option<unsafe extern "C" fn(*mut c_void, usize, *mut bool) -> *mut c_void>,
    free_locked: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize)>,
    get_limit: Option<unsafe extern "C" fn(*mut c_void) -> usize>,
    destroy: Option<unsafe extern "C" fn(*mut c_void)>,
}

// The library behind them is linked for its Rust interface.
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
    fn bitcoin_support_abi() -> u32;
    fn bitcoin_support_cleanse_string(string: *mut c_char);
    fn bitcoin_support_get_unique_name(name: *mut c_char, size: usize) -> c_int;
    fn bitcoin_support_buffer_create(capacity: usize, buffer: *mut Object) -> c_int;
    fn bitcoin_support_buffer_destroy(buffer: Object);
    fn bitcoin_support_buffer_data(buffer: Object) -> *mut c_void;
    fn bitcoin_support_buffer_size(buffer: Object) -> usize;
    fn bitcoin_support_buffer_resize(buffer: Object, size: usize) -> c_int;
    fn bitcoin_support_buffer_append(buffer: Object, data: *const c_void, size: usize) -> c_int;
    fn bitcoin_support_arena_create(base: *mut c_void, size: usize, alignment: usize, arena: *mut Object) -> c_int;
    fn bitcoin_support_arena_destroy(arena: Object);
    fn bitcoin_support_arena_alloc(arena: Object, size: usize) -> *mut c_void;
    fn bitcoin_support_arena_alloc_aligned(arena: Object, size: usize, alignment: usize) -> *mut c_void;
    fn bitcoin_support_arena_free(arena: Object, ptr: *mut c_void) -> c_int;
    fn bitcoin_support_arena_free_sized(arena: Object, ptr: *mut c_void, size: usize, alignment: usize) -> c_int;
    fn bitcoin_support_arena_contains(arena: Object, ptr: *const c_void) -> bool;
    fn bitcoin_support_arena_get_stats(arena: Object) -> ArenaStats;
    fn bitcoin_support_arena_walk(arena: Object, visit: Visit, context: *mut c_void);
    fn bitcoin_support_locked_pool_create(pages: *const PageAllocator, pool: *mut Object) -> c_int;
    fn bitcoin_support_locked_pool_destroy(pool: Object);
    fn bitcoin_support_locked_pool_instance() -> Object;
    fn bitcoin_support_locked_pool_set_locking_failed(pool: Object, callback: Option<LockingFailed>, context: *mut c_void) -> c_int;
    fn bitcoin_support_locked_pool_alloc(pool: Object, size: usize) -> *mut c_void;
    fn bitcoin_support_locked_pool_alloc_aligned(pool: Object, size: usize, alignment: usize) -> *mut c_void;
    fn bitcoin_support_locked_pool_free(pool: Object, ptr: *mut c_void) -> c_int;
    fn bitcoin_support_locked_pool_free_sized(pool: Object, ptr: *mut c_void, size: usize, alignment: usize) -> c_int;
    fn bitcoin_support_locked_pool_get_stats(pool: Object) -> PoolStats;
    fn bitcoin_support_locked_pool_walk(pool: Object, visit: Visit, context: *mut c_void);
}

/// Where nothing is mapped; for outputs that must stay as they are.
const UNTOUCHED: usize = 0x5eed_0000;

fn pointer(number: usize) -> *mut c_void {
    address(number).cast()
}

/// An arena, a pool or the instance, with its chunks: address and size as asked for.
struct Owner {
    object: Object,
    chunks: BTreeMap<usize, usize>,
    kind: Kind,
}

enum Kind {
    /// Over the addresses from the first on.
    Arena {
        region: (usize, usize),
        granule: usize,
    },
    /// Over pages of the system's, or of a table's.
    Pool {
        pages: Option<Box<Pages>>,
    },
    Instance,
}

/// What a page allocator for C does, and what it has done. The addresses are no memory.
struct Pages {
    step: usize,
    fails_at: usize,
    locks: bool,
    calls: usize,
    live: usize,
    destroyed: usize,
}

unsafe extern "C" fn allocate_locked(
    context: *mut c_void,
    _: usize,
    locked: *mut bool,
) -> *mut c_void {
    // SAFETY: the context is a live `Pages` that nobody else uses during a call, see `create_pool`; the
    // library passes a place for the answer.
    let (pages, locked) = unsafe { (&mut *context.cast::<Pages>(), &mut *locked) };
    pages.calls += 1;
    if pages.calls == pages.fails_at {
        return null_mut();
    }
    pages.live += 1;
    *locked = pages.locks;
    pointer((1 << 34) + pages.calls * pages.step)
}

unsafe extern "C" fn free_locked(context: *mut c_void, _: *mut c_void, _: usize) {
    // SAFETY: as in `allocate_locked`.
    unsafe { (*context.cast::<Pages>()).live -= 1 };
}

unsafe extern "C" fn get_limit(context: *mut c_void) -> usize {
    // SAFETY: as in `allocate_locked`.
    unsafe { (*context.cast::<Pages>()).step.wrapping_mul(3) }
}

unsafe extern "C" fn destroy(context: *mut c_void) {
    // SAFETY: as in `allocate_locked`.
    unsafe { (*context.cast::<Pages>()).destroyed += 1 };
}

unsafe extern "C" fn accept(_: *mut c_void, _: c_int, _: usize) -> bool {
    true
}

unsafe extern "C" fn refuse(_: *mut c_void, _: c_int, _: usize) -> bool {
    false
}

/// Adds up what a walk shows.
#[derive(Default)]
struct Seen {
    used: BTreeMap<usize, usize>,
    free: usize,
    chunks_free: usize,
}

unsafe extern "C" fn visit(context: *mut c_void, chunk: *mut c_void, size: usize, used: bool) {
    // SAFETY: the context is the `Seen` of the call below.
    let seen = unsafe { &mut *context.cast::<Seen>() };
    if used {
        seen.used.insert(chunk.addr(), size);
    } else {
        seen.free += size;
        seen.chunks_free += 1;
    }
}

struct Run {
    owners: Vec<Owner>,
    buffers: Vec<(Object, Vec<u8>)>,
    fault: Fault,
}

pub(crate) fn run_with(data: &[u8], fault: Fault) {
    let mut input = Input::new(data);
    // SAFETY: takes nothing.
    let object = unsafe { bitcoin_support_locked_pool_instance() };
    assert!(!object.is_null());
    let instance = Owner { object, chunks: BTreeMap::new(), kind: Kind::Instance };
    let mut run = Run { owners: vec![instance], buffers: Vec::new(), fault };
    run.check(0);
    while !input.is_empty() {
        run.step(&mut input);
    }
    while let Some((buffer, _)) = run.buffers.pop() {
        // SAFETY: live, and given up.
        unsafe { bitcoin_support_buffer_destroy(buffer) };
    }
    while run.owners.len() > 1 {
        let index = run.owners.len() - 1;
        run.check(index);
        run.destroy(index);
    }
    run.check(0);
}

impl Drop for Run {
    /// Leaves nothing in the instance, also when a mistake has ended the run.
    fn drop(&mut self) {
        for (buffer, _) in self.buffers.drain(..) {
            // SAFETY: live, and given up.
            unsafe { bitcoin_support_buffer_destroy(buffer) };
        }
        let Some(instance) = self.owners.first() else { return };
        for &chunk in instance.chunks.keys() {
            // SAFETY: this run's own chunk, if it still is one.
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
        match input.byte() % 16 {
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

    /// What a call has returned, unless there is a mistake to be found.
    fn status(&self, status: c_int) -> c_int {
        if self.fault == Fault::ReportsSuccess { OK } else { status }
    }

    fn strings(&self, input: &mut Input<'_>) {
        let number = input.hostile() as c_int ^ c_int::from(input.byte());
        // SAFETY: these take numbers alone; what they return is never null and ends with a zero.
        unsafe {
            let name = CStr::from_ptr(bitcoin_support_status_name(number));
            assert!(name.to_bytes().starts_with(b"BITCOIN_SUPPORT_"));
            assert!(!CStr::from_ptr(bitcoin_support_status_message(number)).is_empty());
            let version = CStr::from_ptr(bitcoin_support_version());
            assert_eq!(version.to_bytes().split(|&byte| byte == b'.').count(), 3);
            assert_eq!(bitcoin_support_abi(), ABI);
        }

        let mut name = [0x7f_u8; UNIQUE_NAME_SIZE + 8];
        let size = input.below(UNIQUE_NAME_SIZE + 8);
        // SAFETY: `size` bytes are there.
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
        // SAFETY: within the array; nothing, and null with it; a string that ends in the array; null.
        unsafe {
            memory_cleanse(bytes.as_mut_ptr().add(from).cast(), len);
            memory_cleanse(null_mut(), 0);
            bitcoin_support_cleanse_string(null_mut());
        }
        let kept = |&(i, &byte): &(usize, &u8)| byte != u8::from(!(from..from + len).contains(&i));
        assert_eq!(bytes.iter().enumerate().find(kept), None);
        bytes = [1; 300];
        bytes[len] = 0;
        // SAFETY: a zero has just been put there.
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
            return; // Valid, and gigabytes of bookkeeping.
        }
        let expected = match end {
            _ if !alignment.is_power_of_two() => BAD_ALIGNMENT,
            None => BAD_REGION,
            // More than can be counted.
            Some(_) if granules > (1 << 30) => OUT_OF_MEMORY,
            Some(_) => OK,
        };
        let mut object = pointer(UNTOUCHED);
        // SAFETY: an arena never touches its region; there is a place for the answer, or null.
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
        self.keep(Owner { object, chunks: BTreeMap::new(), kind });
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
        // SAFETY: a whole table whose context lives as long as the pool, one that lacks a function, or null;
        // a place for the answer, or null.
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
        let kind = Kind::Pool { pages: (!own).then_some(pages) };
        self.keep(Owner { object, chunks: BTreeMap::new(), kind });
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
            // SAFETY: live, and given up.
            Kind::Arena { .. } => unsafe { bitcoin_support_arena_destroy(owner.object) },
            Kind::Pool { pages } => {
                if self.fault != Fault::KeepsPages {
                    // SAFETY: live, and given up.
                    unsafe { bitcoin_support_locked_pool_destroy(owner.object) };
                }
                if let Some(pages) = pages {
                    let kept = pages.live;
                    if self.fault == Fault::KeepsPages {
                        std::mem::forget(pages);
                    }
                    assert_eq!(kept, 0, "pages are kept");
                }
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
        let (largest, granule) = match owner.kind {
            Kind::Arena { region, granule } => (region.1, granule),
            _ => (ARENA_SIZE, ARENA_ALIGN),
        };
        let size = input.size(largest);
        let alignment = if input.byte() % 4 == 0 { input.alignment() } else { 1 };
        // SAFETY: a live object.
        let chunk = unsafe {
            match (&owner.kind, alignment) {
                (Kind::Arena { .. }, 1) => bitcoin_support_arena_alloc(owner.object, size),
                (Kind::Arena { .. }, _) => {
                    bitcoin_support_arena_alloc_aligned(owner.object, size, alignment)
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
                // SAFETY: a live arena.
                assert!(unsafe { bitcoin_support_arena_contains(owner.object, chunk) });
            }
            // SAFETY: a chunk of that many bytes in pages of the library's own.
            Kind::Pool { pages: None } | Kind::Instance => unsafe {
                let bytes = std::slice::from_raw_parts_mut(chunk.cast::<u8>(), size);
                assert!(bytes.iter().all(|&byte| byte == 0), "a chunk is not wiped");
                bytes.fill(addr as u8 | 1);
            },
            Kind::Pool { .. } => {}
        }
        owner.chunks.insert(addr, size);
    }

    /// A chunk of an object, if it has one.
    fn pick(&self, input: &mut Input<'_>) -> (usize, Option<(usize, usize)>) {
        let index = input.below(self.owners.len());
        let chunks = &self.owners[index].chunks;
        let chunk = input.index(chunks.len()).and_then(|number| chunks.iter().nth(number));
        (index, chunk.map(|(&addr, &size)| (addr, size)))
    }

    /// What an object says of an address where no chunk begins.
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
        let (object, is_arena) =
            (self.owners[index].object, matches!(self.owners[index].kind, Kind::Arena { .. }));
        // SAFETY: a live object; what it frees of its own is not used any more.
        let free = |addr| unsafe {
            match is_arena {
                true => bitcoin_support_arena_free(object, pointer(addr)),
                false => bitcoin_support_locked_pool_free(object, pointer(addr)),
            }
        };
        match (chunk, input.byte() % 4) {
            (Some((addr, _)), 0..=1) => {
                self.check_bytes(index);
                assert_eq!(self.status(free(addr)), OK);
                self.owners[index].chunks.remove(&addr);
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
        // SAFETY: a live object; what it frees of its own is not used any more.
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
        // Granules may be that large.
        if granule < 1 << 16 {
            assert_eq!(self.status(is_wrong), SIZE_MISMATCH, "{wrong} for {size}");
        } else if is_wrong == OK {
            self.owners[index].chunks.remove(&addr);
            return;
        }
        assert!([OK, INVALID_FREE, NOT_IN_POOL].contains(&missing));
        if matches!(self.owners[index].kind, Kind::Instance) {
            return; // Its chunks may be larger than was asked for.
        }
        assert_eq!(self.status(free(addr, size)), OK);
        self.owners[index].chunks.remove(&addr);
        assert_eq!(self.status(free(addr, size)), INVALID_FREE, "a double free");
    }

    /// Every function of an object, without one.
    fn null_objects(&self, input: &mut Input<'_>) {
        let (size, alignment, ptr) = (input.hostile(), input.alignment(), pointer(input.hostile()));
        // SAFETY: a null object is refused; the other arguments are not looked at then.
        unsafe {
            let status = [
                bitcoin_support_buffer_create(input.below(100), null_mut()),
                bitcoin_support_buffer_resize(null_mut(), size),
                bitcoin_support_buffer_append(null_mut(), null(), 0),
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
            assert_eq!(status, [NULL_ARGUMENT; 9]);
            bitcoin_support_buffer_destroy(null_mut());
            bitcoin_support_arena_destroy(null_mut());
            bitcoin_support_locked_pool_destroy(null_mut());
            assert!(bitcoin_support_buffer_data(null_mut()).is_null());
            assert_eq!(bitcoin_support_buffer_size(null_mut()), 0);
            assert!(bitcoin_support_arena_alloc(null_mut(), size).is_null());
            assert!(bitcoin_support_arena_alloc_aligned(null_mut(), size, alignment).is_null());
            assert!(bitcoin_support_locked_pool_alloc(null_mut(), size).is_null());
            assert!(bitcoin_support_locked_pool_alloc_aligned(null_mut(), size, 16).is_null());
            assert!(!bitcoin_support_arena_contains(null_mut(), ptr));
            let mut seen = Seen::default();
            let context = from_mut(&mut seen).cast();
            bitcoin_support_arena_walk(null_mut(), visit, context);
            bitcoin_support_locked_pool_walk(null_mut(), visit, context);
            assert!(seen.used.is_empty() && seen.chunks_free == 0);
            let stats = bitcoin_support_arena_get_stats(null_mut());
            assert_eq!((stats.total, stats.chunks_used, stats.chunks_free), (0, 0, 0));
            let stats = bitcoin_support_locked_pool_get_stats(null_mut());
            assert_eq!((stats.total, stats.chunks_used, stats.chunks_free), (0, 0, 0));
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
        // SAFETY: a live pool, and functions that make no use of their context.
        let status = unsafe {
            bitcoin_support_locked_pool_set_locking_failed(owner.object, callback, null_mut())
        };
        assert_eq!(status, OK);
    }

    /// The chunks of memory of the library's own are as they were filled.
    fn check_bytes(&self, index: usize) {
        let owner = &self.owners[index];
        if !matches!(owner.kind, Kind::Pool { pages: None } | Kind::Instance) {
            return;
        }
        for (&addr, &size) in &owner.chunks {
            // SAFETY: a chunk of this run's of that many bytes.
            let bytes = unsafe { std::slice::from_raw_parts(address(addr).cast_const(), size) };
            assert!(bytes.iter().all(|&byte| byte == addr as u8 | 1), "a chunk has changed");
        }
    }

    /// The statistics, the walk and the chunks agree.
    fn check(&self, index: usize) {
        self.check_bytes(index);
        let owner = &self.owners[index];
        let mut seen = Seen::default();
        let context = from_mut(&mut seen).cast();
        // SAFETY: a live object; `visit` does not use it.
        let mut stats = unsafe {
            match owner.kind {
                Kind::Arena { .. } => {
                    bitcoin_support_arena_walk(owner.object, visit, context);
                    bitcoin_support_arena_get_stats(owner.object)
                }
                _ => {
                    bitcoin_support_locked_pool_walk(owner.object, visit, context);
                    let stats = bitcoin_support_locked_pool_get_stats(owner.object);
                    let PoolStats { used, free, total, chunks_used, chunks_free, .. } = stats;
                    assert!(stats.locked <= total && stats.peak_used >= used);
                    assert!(stats.last_lock_error == 0 || stats.lock_failures > 0);
                    ArenaStats { used, free, total, chunks_used, chunks_free }
                }
            }
        };
        if self.fault == Fault::Miscounts && stats.chunks_used > 1 {
            stats.chunks_used += 1;
        }
        let is_instance = matches!(owner.kind, Kind::Instance);
        let of_buffers = if is_instance { self.buffer_chunks() } else { 0 };
        assert_eq!(stats.chunks_used, owner.chunks.len() + of_buffers);
        assert_eq!(seen.used.len(), stats.chunks_used);
        assert_eq!(seen.used.values().sum::<usize>(), stats.used);
        assert_eq!(seen.chunks_free, stats.chunks_free);
        assert!(seen.free == stats.free || is_instance && seen.free <= stats.free);
        assert_eq!(stats.used + stats.free, stats.total);
        for (addr, size) in &owner.chunks {
            assert!(seen.used.get(addr).is_some_and(|taken| taken >= size));
        }
    }

    /// How many of the buffers have a chunk of the instance; one above its largest has pages of its own.
    fn buffer_chunks(&self) -> usize {
        let has_chunk = |&&(buffer, _): &&(Object, Vec<u8>)| {
            // SAFETY: a live buffer.
            let data = unsafe { bitcoin_support_buffer_data(buffer) };
            let mut seen = Seen::default();
            // SAFETY: the instance; `visit` does not use it.
            unsafe {
                bitcoin_support_locked_pool_walk(
                    self.owners[0].object,
                    visit,
                    from_mut(&mut seen).cast(),
                );
            }
            seen.used.contains_key(&data.addr())
        };
        self.buffers.iter().filter(has_chunk).count()
    }

    fn buffer(&mut self, input: &mut Input<'_>) {
        // What is surely refused: nobody tries to lock it.
        let too_many = input.hostile().max(1 << (usize::BITS * 3 / 4));
        let Some(index) = input.index(self.buffers.len()).filter(|_| input.byte() % 8 > 0) else {
            let huge = input.byte() % 8 == 0;
            let capacity = if huge { too_many } else { input.short() * 5 };
            let mut buffer = pointer(UNTOUCHED);
            // SAFETY: there is a place for the answer.
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
                // SAFETY: live, and given up.
                unsafe { bitcoin_support_buffer_destroy(buffer) };
            }
            return;
        };
        let fault = self.fault;
        let (buffer, ref mut expected) = self.buffers[index];
        // SAFETY: a live buffer; bytes that are there, nothing, or null, which is refused.
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
                    // Written through the pointer.
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
