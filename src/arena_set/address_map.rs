//! `AddressMap`: finds the arena that an address lies in, in constant time however many arenas
//! there are.
//!
//! The address space is cut into blocks of the largest power of two that is no larger than an
//! arena. A hash table by block number holds an entry for every block that an arena reaches into:
//! at most three for an arena, and for a block at most two whole arenas, besides the few small ones
//! that scarce locked memory leads to.

use crate::arena::OutOfMemory;

#[derive(Clone, Copy)]
struct Entry {
    block: usize,
    start: usize,
    /// Length in bytes; 0 marks an empty slot.
    len: usize,
    arena: u32,
}

const EMPTY: Entry = Entry { block: 0, start: 0, len: 0, arena: 0 };

/// The arenas of a set by the addresses that they cover.
pub(super) struct AddressMap {
    /// Open addressing with linear probing; a power of two in length, at most half full.
    slots: Vec<Entry>,
    filled: usize,
    block_shift: u32,
}

impl AddressMap {
    pub(super) const fn new(arena_size: usize) -> Self {
        Self { slots: Vec::new(), filled: 0, block_shift: arena_size.ilog2() }
    }

    /// The number of the arena that `addr` lies in.
    #[inline]
    pub(super) fn find(&self, addr: usize) -> Option<usize> {
        self.entries(addr >> self.block_shift)
            .find(|entry| addr.wrapping_sub(entry.start) < entry.len)
            .map(|entry| entry.arena as usize)
    }

    /// Whether any arena shares an address with the given range.
    pub(super) fn overlaps(&self, start: usize, len: usize) -> bool {
        self.blocks(start, len).any(|block| {
            self.entries(block).any(|entry| {
                entry.start < start.saturating_add(len) && start < entry.start + entry.len
            })
        })
    }

    /// Makes room for [`insert`](Self::insert) of the same range.
    pub(super) fn reserve(&mut self, start: usize, len: usize) -> Result<(), OutOfMemory> {
        let needed = self.filled + self.blocks(start, len).count();
        if needed * 2 <= self.slots.len() {
            return Ok(());
        }
        let capacity = (needed * 2).next_power_of_two().max(16);
        let mut slots = Vec::new();
        slots.try_reserve_exact(capacity).map_err(|_| OutOfMemory)?;
        slots.resize(capacity, EMPTY);
        let old = core::mem::replace(&mut self.slots, slots);
        self.filled = 0;
        for entry in old.into_iter().filter(|entry| entry.len > 0) {
            self.fill(entry);
        }
        Ok(())
    }

    /// Records that arena number `arena` has the given range, which overlaps no other. Room for it
    /// has been made with [`reserve`](Self::reserve).
    pub(super) fn insert(&mut self, start: usize, len: usize, arena: usize) {
        for block in self.blocks(start, len) {
            self.fill(Entry { block, start, len, arena: arena as u32 });
        }
    }

    /// Takes out an arena that [`insert`](Self::insert) has recorded. Allocates nothing.
    pub(super) fn remove(&mut self, start: usize, len: usize) {
        for block in self.blocks(start, len) {
            let mask = self.slots.len() - 1;
            let mut slot = self.home(block);
            while self.slots[slot].block != block || self.slots[slot].start != start {
                debug_assert!(self.slots[slot].len > 0, "recorded");
                slot = (slot + 1) & mask;
            }
            // Entries behind it move up where that brings them no further than their home (Knuth,
            // TAOCP 3, 6.4, algorithm R), so that every probe still reaches its entry without a
            // gap.
            let mut next = slot;
            loop {
                next = (next + 1) & mask;
                let entry = self.slots[next];
                if entry.len == 0 {
                    break;
                }
                let distance = |from: usize, to: usize| to.wrapping_sub(from) & mask;
                if distance(self.home(entry.block), next) >= distance(slot, next) {
                    self.slots[slot] = entry;
                    slot = next;
                }
            }
            self.slots[slot] = EMPTY;
            self.filled -= 1;
        }
    }

    fn fill(&mut self, entry: Entry) {
        let mut slot = self.home(entry.block);
        while self.slots[slot].len > 0 {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = entry;
        self.filled += 1;
    }

    fn blocks(&self, start: usize, len: usize) -> core::ops::RangeInclusive<usize> {
        start >> self.block_shift..=(start + (len - 1)) >> self.block_shift
    }

    /// The entries of one block.
    #[inline]
    fn entries(&self, block: usize) -> impl Iterator<Item = &Entry> + '_ {
        let mut slot = self.home(block);
        core::iter::from_fn(move || {
            let entry = self.slots.get(slot).filter(|entry| entry.len > 0)?;
            slot = (slot + 1) & (self.slots.len() - 1);
            Some(entry)
        })
        .filter(move |entry| entry.block == block)
    }

    /// Where the search for a block begins.
    #[inline]
    fn home(&self, block: usize) -> usize {
        // Fibonacci hashing (Knuth, TAOCP 3, 6.4): the golden ratio times 2^64, high bits.
        let hash = (block as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize & self.slots.len().wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_address_of_every_arena_and_no_other() {
        let size = 256 * 1024;
        for offset in [0, 16, 4096, size - 16] {
            let mut map = AddressMap::new(size);
            assert_eq!(map.find(0), None);
            // Neighbours, gaps, and small arenas that share a block.
            let ranges: Vec<(usize, usize)> = (0..500)
                .map(|i| (0x1000_0000 + offset + i * size + i / 3 * 64, size))
                .chain((0..6).map(|i| (0x9000_0000 + offset + i * 40_960, 4096 << (i % 3))))
                .collect();
            for (i, &(start, len)) in ranges.iter().enumerate() {
                assert!(!map.overlaps(start, len));
                map.reserve(start, len).unwrap();
                map.insert(start, len, i);
                assert!(map.overlaps(start, len));
                assert!(map.overlaps(start + len - 1, 1));
            }
            for (i, &(start, len)) in ranges.iter().enumerate() {
                for addr in [start, start + 1, start + len / 2, start + len - 1] {
                    assert_eq!(map.find(addr), Some(i));
                }
                for addr in [start - 1, start + len] {
                    let inside = ranges.iter().position(|&(s, l)| s <= addr && addr < s + l);
                    assert_eq!(map.find(addr), inside);
                }
            }
            assert_eq!(map.find(0), None);
            assert_eq!(map.find(usize::MAX), None);
            // Every other one goes, and the others are still found.
            let gone = |i: usize| i % 2 == 0;
            for (_, &(start, len)) in ranges.iter().enumerate().filter(|&(i, _)| gone(i)) {
                map.remove(start, len);
            }
            for (i, &(start, len)) in ranges.iter().enumerate() {
                let found = (!gone(i)).then_some(i);
                assert_eq!((map.find(start), map.find(start + len - 1)), (found, found));
            }
            for (i, &(start, len)) in ranges.iter().enumerate().filter(|&(i, _)| !gone(i)) {
                assert_eq!(map.find(start), Some(i));
                map.remove(start, len);
            }
            assert_eq!(map.filled, 0);
            assert!(map.slots.iter().all(|entry| entry.len == 0));
        }
    }
}
