//! The way of chunks that another thread has freed, back to the heap that owns their slab.
//!
//! Private to `process`; depends on `sync`. `tests/models.rs` runs this file through every order of
//! events that the memory model allows.
//!
//! The bits of returned slots gather in a word of their slab. Who adds to a word that was 0 puts the slab
//! on the owner's stack; the owner takes the whole stack at once, so that there is no slab that could come
//! back while somebody still looks at it (the ABA problem of lock-free stacks).

use super::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use super::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Takes a chunk away from its entry in the table of chunks: its class, or `None` if there is none (any
/// more). Of several that try at the same time one has the class, if the chunk's slab is shared or they
/// are otherwise kept apart.
pub(super) fn claim(chunk: &AtomicU8, shared: bool) -> Option<u8> {
    // No ordering: the chunk's memory comes to whoever may free it by a way of the program's own.
    let class = if shared { chunk.swap(0, Relaxed) } else { chunk.load(Relaxed) };
    if !shared && class != 0 {
        chunk.store(0, Relaxed);
    }
    (class != 0).then_some(class)
}

/// The first of the slabs that have returned slots; 0 is none.
pub(super) struct ReturnedSlabs(AtomicU32);

/// The parts of a slab that this is about.
pub(super) struct Returns<'a> {
    /// The bits of returned slots.
    pub(super) slots: &'a AtomicU64,
    /// The next slab on the stack.
    pub(super) next: &'a AtomicU32,
}

impl ReturnedSlabs {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Hands slots of slab number `slab` to the owner. All that was done to them before happens before
    /// the owner gets them.
    pub(super) fn give(&self, slab: u32, returns: Returns<'_>, slots: u64) {
        if returns.slots.fetch_or(slots, AcqRel) != 0 {
            return; // The owner has been told already.
        }
        let mut first = self.0.load(Relaxed);
        loop {
            returns.next.store(first, Relaxed);
            match self.0.compare_exchange_weak(first, slab, Release, Relaxed) {
                Ok(_) => return,
                Err(newer) => first = newer,
            }
        }
    }

    /// For the owner: calls `take` with the number of each slab that has returned slots, and their bits.
    pub(super) fn collect<'a>(
        &self,
        returns: impl Fn(u32) -> Returns<'a>,
        mut take: impl FnMut(u32, u64),
    ) {
        if self.0.load(Relaxed) == 0 {
            return;
        }
        let mut slab = self.0.swap(0, Acquire);
        while slab != 0 {
            let Returns { slots, next } = returns(slab);
            // As soon as the word is 0, the slab may be put on the stack again.
            let next = next.load(Relaxed);
            take(slab, slots.swap(0, AcqRel));
            slab = next;
        }
    }
}
