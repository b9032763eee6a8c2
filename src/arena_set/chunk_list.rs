//! A list of all chunks of a pool: made under the mutex, visited when that is free.

use super::stats::PoolStats;
use crate::pages;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

/// Every chunk at one moment. The list lies on the ordinary heap, or in a mapping if the heap has
/// no memory left.
pub(crate) struct ChunkList {
    mapped: &'static [ListedChunk],
    on_heap: Vec<ListedChunk>,
    len: usize,
}

/// A chunk: its address, and twice its size in bytes, plus 1 if it is used.
#[derive(bytemuck::Zeroable)]
struct ListedChunk(AtomicUsize, AtomicUsize);

impl ChunkList {
    /// A list with room for the chunks of a pool; `None` where there is no memory for it.
    pub(crate) fn with_room_for(stats: &PoolStats) -> Option<Self> {
        let chunks = stats.chunks_used + stats.chunks_free;
        let mut on_heap = Vec::new();
        if on_heap.try_reserve_exact(chunks).is_ok() {
            on_heap.resize_with(chunks, || ListedChunk(AtomicUsize::new(0), AtomicUsize::new(0)));
            return Some(Self { mapped: &[], on_heap, len: 0 });
        }
        Some(Self { mapped: pages::zeroed_table(chunks).ok()?, on_heap, len: 0 })
    }

    fn entries(&self) -> &[ListedChunk] {
        if self.mapped.is_empty() { &self.on_heap } else { self.mapped }
    }

    pub(crate) fn push(&mut self, addr: usize, size: usize, used: bool) {
        if let Some(ListedChunk(at, what)) = self.entries().get(self.len) {
            at.store(addr, Relaxed);
            what.store(2 * size + usize::from(used), Relaxed);
            self.len += 1;
        }
    }

    /// Visits the chunks of the list, until `visit` returns `false`.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(usize, usize, bool) -> bool) {
        for ListedChunk(addr, what) in &self.entries()[..self.len] {
            let what = what.load(Relaxed);
            if !visit(addr.load(Relaxed), what / 2, what % 2 != 0) {
                return;
            }
        }
    }
}

impl Drop for ChunkList {
    fn drop(&mut self) {
        if !self.mapped.is_empty() {
            // SAFETY: `zeroed_table` has made it, only this list refers to it, and the list ends
            // here.
            unsafe { pages::release_table(self.mapped) };
        }
    }
}
