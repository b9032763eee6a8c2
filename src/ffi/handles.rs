//! Which handles C callers hold, so that an address that is no live handle is refused, such as one that is destroyed twice.
//!
//! Part of `ffi`; depends on `fork`. A handle is the address of what it stands for, so that one that is destroyed
//! again is refused until a later handle of its kind has the address.

use crate::fork::{self, Interrupted, Mutex, MutexGuard, Participant};

/// What a handle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Buffer = 1,
    Arena = 2,
    Pool = 3,
}

/// Handles are looked for in the bucket of their address; each has room for so many.
const BUCKETS: usize = 1024;
const PLACES: usize = 8;

struct Handles {
    /// Addresses, with the kind in the lowest bits, which are 0 in addresses; 0 for none.
    buckets: [[usize; PLACES]; BUCKETS],
    /// By bucket, how many live handles have found no room in it. As long as there are some, an address of the bucket
    /// that is not in it is taken for one of them.
    unknown: [u32; BUCKETS],
}

static HANDLES: Mutex<Handles> =
    Mutex::new(Handles { buckets: [[0; PLACES]; BUCKETS], unknown: [0; BUCKETS] });

fn handles() -> Result<MutexGuard<'static, Handles>, Interrupted> {
    static WHILE_FORKING: Participant = Participant {
        prepare: || HANDLES.wait_until_free(),
        child: || HANDLES.after_fork(),
        done: || (),
    };
    fork::register(&WHILE_FORKING);
    HANDLES.lock()
}

/// The bits of an entry that have the kind.
const KIND: usize = 3;

/// The bucket of an address.
fn bucket(address: usize) -> usize {
    // Fibonacci hashing (Knuth, TAOCP 3, 6.4): the golden ratio times 2^64, high bits.
    let hash = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
    hash as usize % BUCKETS
}

/// Makes a handle of a value.
pub(super) fn enter<T>(value: Box<T>, kind: Kind) -> Result<*mut T, Interrupted> {
    const { assert!(align_of::<T>() >= 4) };
    let mut handles = handles()?;
    let handle = Box::into_raw(value);
    let bucket = bucket(handle.addr());
    match handles.buckets[bucket].iter_mut().find(|place| **place == 0) {
        Some(place) => *place = handle.addr() | kind as usize,
        None => handles.unknown[bucket] += 1,
    }
    Ok(handle)
}

/// Takes a handle from its caller and destroys what it stands for; `false` if it is no handle of this kind, or no
/// longer, or is the one that is never destroyed.
///
/// # Safety
/// If [`enter`] has made the handle, it was of a `T`; and nothing may use what it stands for any more.
pub(super) unsafe fn leave<T>(
    handle: *mut T,
    kind: Kind,
    never: *const T,
) -> Result<bool, Interrupted> {
    let mut handles = handles()?;
    let bucket = bucket(handle.addr());
    let is_believed = handles.unknown[bucket] > 0 && !core::ptr::eq(handle, never);
    let entry = handle.addr() | kind as usize;
    match handles.buckets[bucket].iter_mut().find(|place| **place & !KIND == handle.addr()) {
        Some(place) if *place == entry => *place = 0,
        None if is_believed => handles.unknown[bucket] -= 1,
        // Of another kind, or no handle.
        _ => return Ok(false),
    }
    drop(handles);
    // What is destroyed may be code of others.
    // SAFETY: made by `enter` from a `Box` of a `T`, and taken out of the list by this thread alone.
    drop(unsafe { Box::from_raw(handle) });
    Ok(true)
}
