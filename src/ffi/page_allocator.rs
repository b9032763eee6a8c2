//! `bitcoin_support_page_allocator`: a C caller's own source of pages for a pool.

use crate::pages::{LockedAllocation, LockedPageAllocator};
use core::ffi::c_void;
use core::ptr::NonNull;

/// Source of pages for a locked pool: a table of functions over a `context` of the caller's. One
/// thread at a time calls them: the thread that happens to use the pool. The pool holds no lock
/// meanwhile. The functions may use other pools, read this pool's statistics, and fork. An
/// allocation from this pool that needs more pages fails at once if it is made in one of the
/// functions. If the process forks while another thread is in one of the functions, the child
/// process calls none of them any more. The addresses need not be mapped: the pool never touches
/// them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bitcoin_support_page_allocator {
    /// Passed to every function.
    pub context: *mut c_void,
    /// Maps and locks `len` bytes. Sets `*locked`, which is false before the call, to whether they
    /// are locked. NULL when they cannot be mapped.
    pub allocate_locked: Option<
        unsafe extern "C" fn(context: *mut c_void, len: usize, locked: *mut bool) -> *mut c_void,
    >,
    /// Wipes, unlocks and unmaps the `len` bytes at `addr`, as allocate_locked returned them.
    pub free_locked:
        Option<unsafe extern "C" fn(context: *mut c_void, addr: *mut c_void, len: usize)>,
    /// Number of bytes that may be locked in total: SIZE_MAX for no limit, 0 if none may be locked.
    pub get_limit: Option<unsafe extern "C" fn(context: *mut c_void) -> usize>,
    /// Called once, when the pool is destroyed and has freed all pages. May be NULL.
    pub destroy: Option<unsafe extern "C" fn(context: *mut c_void)>,
}

/// A C caller's table. It owns the table's context: dropping it calls the table's `destroy`.
pub(super) struct PageFunctions {
    table: bitcoin_support_page_allocator,
}

// SAFETY: the context is only passed back to the caller's functions, and the header tells callers
// that any thread may call those.
unsafe impl Send for PageFunctions {}

impl PageFunctions {
    /// Takes the ownership of a table's context.
    ///
    /// # Safety
    /// The functions of the table must be callable with its context, from any thread, until
    /// `destroy` has been called; and no other owner may call `destroy`.
    pub(super) unsafe fn new(table: bitcoin_support_page_allocator) -> Self {
        Self { table }
    }

    /// Whether the table has all functions that it must have.
    pub(super) fn is_complete(&self) -> bool {
        let table = &self.table;
        table.allocate_locked.is_some() && table.free_locked.is_some() && table.get_limit.is_some()
    }
}

impl LockedPageAllocator for PageFunctions {
    fn allocate_locked(&mut self, len: usize) -> Option<LockedAllocation> {
        let mut locked = false;
        let allocate_locked = self.table.allocate_locked?;
        // SAFETY: the caller of `new` promises that the functions may be called with the context;
        // `locked` is valid for a write during the call.
        let addr = unsafe { allocate_locked(self.table.context, len, &mut locked) };
        Some(LockedAllocation { addr: NonNull::new(addr.cast())?, locked })
    }

    unsafe fn free_locked(&mut self, addr: NonNull<u8>, len: usize) {
        if let Some(free_locked) = self.table.free_locked {
            // SAFETY: the caller of `new` promises that the functions may be called with the
            // context; the caller of this method promises that `allocate_locked` returned `addr`
            // for `len`.
            unsafe { free_locked(self.table.context, addr.as_ptr().cast(), len) };
        }
    }

    fn limit(&self) -> usize {
        match self.table.get_limit {
            // SAFETY: the caller of `new` promises that the functions may be called with the
            // context.
            Some(get_limit) => unsafe { get_limit(self.table.context) },
            None => usize::MAX,
        }
    }
}

impl Drop for PageFunctions {
    fn drop(&mut self) {
        if let Some(destroy) = self.table.destroy {
            // SAFETY: the caller of `new` promises that the functions may be called with the
            // context until `destroy` has been called, and that only this owner calls it.
            unsafe { destroy(self.table.context) };
        }
    }
}
