//! Remote frees: how chunks that another thread has freed come back to the heap that owns their
//! slab.
//!
//! `tests/models.rs` runs this file through every order of events that the memory model allows.
//!
//! The bits of the slots that others have freed gather in a word of their slab. The thread that
//! adds to a word that was 0 pushes the slab onto the owner's stack. The owner takes the whole
//! stack at once, so that no slab can come back while a thread still looks at it (the ABA problem
//! of lock-free stacks).

use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Takes a chunk out of its entry in the table of chunks: returns what the entry held, or `None` if
/// no chunk begins there (any more). Of several threads that try at the same time one gets the
/// chunk, if `shared` or if they are kept apart in another way.
pub(super) fn claim(chunk: &AtomicU8, shared: bool) -> Option<u8> {
    // No ordering: the program has its own way to tell the thread that frees a chunk what was
    // written to it.
    let cache = if shared { chunk.swap(0, Relaxed) } else { chunk.load(Relaxed) };
    if !shared && cache != 0 {
        chunk.store(0, Relaxed);
    }
    (cache != 0).then_some(cache)
}

/// Takes an exact chunk out of its entry in the table of chunks, which held `cache`, and leaves
/// `left` there; `false` if the entry has changed. Of several threads that try at the same time one
/// gets the chunk.
pub(super) fn claim_exact(chunk: &AtomicU8, cache: u8, left: u8) -> bool {
    // No ordering, as for `claim`.
    chunk.compare_exchange(cache, left, Relaxed, Relaxed).is_ok()
}

/// The stack of an owner's slabs that have remote frees: the first of them, 0 for none.
pub(super) struct RemoteFreeStack(AtomicU32);

/// The remote frees of one slab.
pub(super) struct RemoteFrees<'a> {
    /// The bits of the slots.
    pub(super) slots: &'a AtomicU64,
    /// The next slab on the stack; 0 for none.
    pub(super) next: &'a AtomicU32,
}

impl RemoteFreeStack {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// For another thread: hands slots of slab number `slab` to the owner. All that was done to
    /// them before happens before the owner gets them.
    pub(super) fn give(&self, slab: u32, frees: RemoteFrees<'_>, slots: u64) {
        if frees.slots.fetch_or(slots, AcqRel) != 0 {
            return; // The slab is on the stack already.
        }
        let mut first = self.0.load(Relaxed);
        loop {
            frees.next.store(first, Relaxed);
            match self.0.compare_exchange_weak(first, slab, Release, Relaxed) {
                Ok(_) => return,
                Err(newer) => first = newer,
            }
        }
    }

    /// For the owner: calls `take` with the number of each slab that has remote frees, and the bits
    /// of their slots.
    pub(super) fn collect<'a>(
        &self,
        frees: impl Fn(u32) -> RemoteFrees<'a>,
        mut take: impl FnMut(u32, u64),
    ) {
        if self.0.load(Relaxed) == 0 {
            return;
        }
        let mut slab = self.0.swap(0, Acquire);
        while slab != 0 {
            let RemoteFrees { slots, next } = frees(slab);
            // As soon as the word is 0, another thread may push the slab again.
            let next = next.load(Relaxed);
            take(slab, slots.swap(0, AcqRel));
            slab = next;
        }
    }
}
