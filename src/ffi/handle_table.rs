//! The table of live handles, by which a call with an address that is no live handle is refused.
//!
//! A handle is the address of its object. So a destroyed handle is refused until a later object of
//! the same kind gets the same address.

use crate::fork::{Interrupted, Mutex, MutexGuard, Participant};

/// The kind of object that a handle refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Buffer = 1,
    Arena = 2,
    Pool = 3,
}

/// The bits of an entry that hold the kind. They are 0 in every address that is a handle.
const KIND: usize = 3;

/// Alignment of the objects in bytes, which leaves the bits of [`KIND`] free.
pub(super) const ALIGN: usize = KIND + 1;

/// Number of buckets. An address is entered in the bucket that its hash selects.
const BUCKETS: usize = 1024;
/// Number of entries in a bucket.
const ENTRIES: usize = 8;

struct Handles {
    /// Each entry is an address with its kind in the lowest bits, or 0.
    buckets: [[usize; ENTRIES]; BUCKETS],
    /// For each bucket, the number of live handles that it had no entry left for. While this is not
    /// 0, an address that is not in the bucket is taken for one of them.
    unlisted: [u32; BUCKETS],
}

static HANDLES: Mutex<Handles> =
    Mutex::new(Handles { buckets: [[0; ENTRIES]; BUCKETS], unlisted: [0; BUCKETS] });

fn handles() -> Result<MutexGuard<'static, Handles>, Interrupted> {
    static WHILE_FORKING: Participant =
        Participant::new(|| HANDLES.wait_until_free(), || HANDLES.after_fork(), || ());
    WHILE_FORKING.join();
    HANDLES.lock()
}

/// The bucket of an address.
fn bucket(address: usize) -> usize {
    // Fibonacci hashing (Knuth, TAOCP 3, 6.4): multiply by 2^64 over the golden ratio, take high
    // bits.
    let hash = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
    hash as usize % BUCKETS
}

/// Enters the address of a live object, a multiple of [`ALIGN`].
pub(super) fn insert(address: usize, kind: Kind) -> Result<(), Interrupted> {
    let mut handles = handles()?;
    let bucket = bucket(address);
    match handles.buckets[bucket].iter_mut().find(|entry| **entry == 0) {
        Some(entry) => *entry = address | kind as usize,
        None => handles.unlisted[bucket] += 1,
    }
    Ok(())
}

/// Takes an address out. `false` if it is not a live handle of this kind.
pub(super) fn remove(address: usize, kind: Kind) -> Result<bool, Interrupted> {
    let mut handles = handles()?;
    let bucket = bucket(address);
    let has_unlisted = handles.unlisted[bucket] > 0;
    match handles.buckets[bucket].iter_mut().find(|entry| **entry & !KIND == address) {
        Some(entry) if *entry == address | kind as usize => *entry = 0,
        None if has_unlisted => handles.unlisted[bucket] -= 1,
        // A handle of another kind, or no live handle.
        _ => return Ok(false),
    }
    Ok(true)
}
