//! `try_box`: a `Box::new` that can fail.

use core::ptr::NonNull;
use std::alloc::{Layout, alloc};

/// Moves a value to the heap. `None` if there is no memory, where `Box::new` would abort.
pub(super) fn try_box<T>(value: T) -> Option<Box<T>> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the layout's size is not zero.
    let place = NonNull::new(unsafe { alloc(Layout::new::<T>()) })?.cast::<T>();
    // SAFETY: the global allocator has just allocated `place` with the layout of a `T`, which is
    // what a `Box` frees.
    unsafe {
        place.write(value);
        Some(Box::from_raw(place.as_ptr()))
    }
}
