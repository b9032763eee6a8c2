//! Any operations on an `Arena`, over any region, against a simple and slow model. Addresses,
//! answers and statistics must agree after every operation.
//!
//! Depends on `fault`, `input` and the crate's public interface. The model places chunks as the
//! documentation says: in the smallest free chunk that has an aligned place, in the oldest of
//! several equal ones, and at the highest such place in it. Neighbours merge at once. A chunk that
//! comes from a split or a merge counts as the newest.

use crate::fault::faults;
use crate::input::{Input, address};
use bitcoin_support::{Arena, ArenaError, ArenaSizeToChunkSortedMap, ArenaStats, FreeError};
use std::collections::BTreeMap;

faults! {
    /// Statistics count one granule too many as used.
    CountsTooMuch,
    /// A free that is refused reports success.
    AcceptsBadFrees,
    /// A free of a chunk does nothing and reports success.
    ForgetsFrees,
    /// A chunk that fits is not handed out.
    RefusesLarge,
    /// An alignment above the arena's own is ignored.
    MissesAlignment,
    /// The walk leaves the last chunk out.
    WalksShort,
}

pub(crate) fn run(data: &[u8]) {
    run_with(data, Fault::None);
}

/// The largest arena that is filled, in granules. The model is slow.
const GRANULES: usize = 1 << 12;

pub(crate) fn run_with(data: &[u8], fault: Fault) {
    let mut input = Input::new(data);
    let alignment = input.alignment();
    let base = match input.byte() {
        0..=7 => 0,
        8..=23 => input.hostile(),
        _ => 0x0800_0000 + input.short(),
    };
    let size = match input.byte() {
        0..=239 => {
            // Few granules, because the model is slow, but enough to allocate.
            let granule = alignment.clamp(1, 1 << 20);
            input.below(GRANULES) * granule + input.below(granule.min(1 << 16))
        }
        _ => input.hostile(),
    };
    let expected = Model::new(base, size, alignment);
    if let Ok(model) = &expected {
        if model.total / alignment > GRANULES {
            return; // Valid, and gigabytes of bookkeeping.
        }
    }
    let made = Arena::new(address(base), size, alignment);
    let (arena, mut model) = match (made, expected) {
        (Ok(arena), Ok(model)) => (arena, model),
        (Err(made), Err(expected)) => return assert_eq!(made, expected),
        (made, expected) => panic!("{:?} instead of {:?}", made.err(), expected.err()),
    };
    let mut subject = Subject { arena, fault };
    subject.check(&model);
    while !input.is_empty() {
        step(&mut input, &mut subject, &mut model);
        assert_eq!(subject.stats(), model.stats());
    }
    subject.check(&model);
    while let Some((&addr, _)) = model.used.first_key_value() {
        assert_eq!(subject.free_unsized(addr), Ok(model.release(addr).expect("used")));
    }
    subject.check(&model);
    assert!(subject.stats().chunks_free <= 1, "free chunks have not merged");
}

fn step(input: &mut Input<'_>, subject: &mut Subject, model: &mut Model) {
    let operation = input.byte() % 16;
    let live: Vec<_> = model.used.iter().map(|(&addr, &size)| (addr, size)).collect();
    let picked = |input: &mut Input<'_>| input.index(live.len()).map(|index| live[index]);
    match operation {
        0..=5 => {
            let (size, alignment) = match operation {
                0 => (input.size(model.total), input.alignment()),
                _ => (input.size(model.total), 1),
            };
            let chunk = subject.alloc(size, alignment);
            assert_eq!(chunk, model.alloc(size, alignment), "alloc({size}, {alignment})");
        }
        6..=8 => {
            let Some((addr, size)) = picked(input) else { return };
            assert_eq!(subject.free_unsized(addr), Ok(size));
            model.release(addr);
        }
        9 => {
            let Some((addr, size)) = picked(input) else { return };
            assert_eq!(subject.free(addr, size, 1), Ok(()));
            model.release(addr);
        }
        10 => {
            let Some((addr, size)) = picked(input) else { return };
            let (asked, alignment) = (input.size(size), input.alignment());
            let fits = asked > 0 && asked <= size && asked > size - model.granule;
            let valid = fits && alignment.is_power_of_two() && addr % alignment == 0;
            let expected = if valid { Ok(()) } else { Err(FreeError::SizeMismatch) };
            assert_eq!(subject.free(addr, asked, alignment), expected);
            if valid {
                model.release(addr);
            }
        }
        11..=12 => {
            // An address inside a chunk, beside one, or anywhere.
            let addr = match (picked(input), input.byte() % 3) {
                (Some((addr, size)), 0) => addr.wrapping_add(1 + input.below(size.min(1 << 16))),
                (Some((addr, _)), 1) => addr.wrapping_sub(1 + input.below(300)),
                (_, 2) => input.hostile(),
                _ => model.first.wrapping_add(input.short().wrapping_mul(model.granule)),
            };
            let expected = match addr {
                0 => Ok(0),
                _ => model.release(addr).ok_or(FreeError::InvalidFree),
            };
            assert_eq!(subject.free_unsized(addr), expected, "free({addr:#x})");
        }
        13 => {
            assert_eq!(subject.free_unsized(0), Ok(0));
            assert_eq!(subject.free(0, input.hostile(), input.alignment()), Ok(()));
            let addr = input.hostile();
            let inside = addr.wrapping_sub(model.region.0) < model.region.1;
            assert_eq!(subject.arena.address_in_arena(address(addr)), inside);
            let (first, len) = model.region;
            assert_eq!(subject.arena.address_in_arena(address(first)), len > 0);
            assert!(!subject.arena.address_in_arena(address(first.wrapping_add(len))));
        }
        14 => {
            let addr = picked(input).map_or(input.hostile(), |(addr, _)| addr + input.below(2));
            let expected = model.used.get(&addr).copied();
            assert_eq!(subject.arena.chunk_size(address(addr)), expected);
        }
        _ => subject.check(model),
    }
}

/// An arena, with the mistake.
struct Subject {
    arena: Arena,
    fault: Fault,
}

impl Subject {
    fn alloc(&mut self, size: usize, alignment: usize) -> Option<usize> {
        match self.fault {
            Fault::RefusesLarge if size > self.arena.stats().total / 2 => return None,
            Fault::MissesAlignment if alignment.is_power_of_two() => {
                return self.arena.alloc(size, 1).map(|chunk| chunk.addr().get());
            }
            _ => {}
        }
        self.arena.alloc(size, alignment).map(|chunk| chunk.addr().get())
    }

    fn free(&mut self, addr: usize, size: usize, alignment: usize) -> Result<(), FreeError> {
        let freed = self.arena.free(address(addr), size, alignment);
        if self.fault == Fault::AcceptsBadFrees { Ok(()) } else { freed }
    }

    fn free_unsized(&mut self, addr: usize) -> Result<usize, FreeError> {
        let size = self.arena.chunk_size(address(addr));
        if let (Fault::ForgetsFrees, Some(size)) = (self.fault, size) {
            return Ok(size);
        }
        self.arena.free_unsized(address(addr))
    }

    fn stats(&self) -> ArenaStats {
        let mut stats = self.arena.stats();
        if self.fault == Fault::CountsTooMuch && stats.free > 0 && stats.chunks_used > 1 {
            stats.used += self.arena.alignment();
            stats.free -= self.arena.alignment();
        }
        stats
    }

    /// Compares the walk, the statistics and the largest free chunk with those of the model.
    fn check(&self, model: &Model) {
        let mut chunks = Vec::new();
        self.arena.walk(|addr, size, used| chunks.push((addr, size, used)));
        if self.fault == Fault::WalksShort && chunks.len() > 2 {
            chunks.pop();
        }
        assert_eq!(chunks, model.chunks());
        assert_eq!(self.stats(), model.stats());
        let largest = model.free.iter().map(|&(_, size)| size).max().unwrap_or(0);
        assert_eq!(self.arena.largest_free(), largest);
    }
}

/// A simple model: two lists that are searched from the front.
struct Model {
    region: (usize, usize),
    granule: usize,
    /// The address of the first granule, and the number of bytes in all.
    first: usize,
    total: usize,
    used: BTreeMap<usize, usize>,
    /// (address, size), oldest first.
    free: Vec<(usize, usize)>,
}

impl Model {
    fn new(base: usize, size: usize, granule: usize) -> Result<Self, ArenaError> {
        if !granule.is_power_of_two() {
            return Err(ArenaError::Alignment);
        }
        if base == 0 || base.checked_add(size).is_none() {
            return Err(ArenaError::Region);
        }
        let end = (base + size) / granule * granule;
        let first = base.checked_next_multiple_of(granule).unwrap_or(end);
        let total = end.saturating_sub(first);
        if total / granule > ArenaSizeToChunkSortedMap::MAX_GRANULES {
            return Err(ArenaError::OutOfMemory);
        }
        let free = if total > 0 { vec![(first, total)] } else { vec![] };
        Ok(Self { region: (base, size), granule, first, total, used: BTreeMap::new(), free })
    }

    fn alloc(&mut self, size: usize, alignment: usize) -> Option<usize> {
        if size == 0 || !alignment.is_power_of_two() {
            return None;
        }
        let size = size.checked_next_multiple_of(self.granule)?;
        let place = |&(addr, room): &(usize, usize)| {
            let highest = addr + room.checked_sub(size)?;
            Some(highest / alignment * alignment).filter(|&place| place >= addr)
        };
        // `min_by_key` takes the first of equals: the oldest.
        let best = (0..self.free.len())
            .filter(|&i| place(&self.free[i]).is_some())
            .min_by_key(|&i| self.free[i].1)?;
        let chunk = place(&self.free[best])?;
        let (addr, room) = self.free.remove(best);
        if chunk > addr {
            self.free.push((addr, chunk - addr));
        }
        if chunk + size < addr + room {
            self.free.push((chunk + size, addr + room - chunk - size));
        }
        self.used.insert(chunk, size);
        Some(chunk)
    }

    /// Frees a chunk and returns its size.
    fn release(&mut self, chunk: usize) -> Option<usize> {
        let freed = self.used.remove(&chunk)?;
        let (mut addr, mut size) = (chunk, freed);
        if let Some(i) = self.free.iter().position(|&(a, s)| a + s == addr) {
            let (before, before_size) = self.free.remove(i);
            addr = before;
            size += before_size;
        }
        if let Some(i) = self.free.iter().position(|&(a, _)| a == addr + size) {
            size += self.free.remove(i).1;
        }
        self.free.push((addr, size));
        Some(freed)
    }

    fn stats(&self) -> ArenaStats {
        let used = self.used.values().sum();
        let free = self.free.iter().map(|&(_, size)| size).sum();
        assert_eq!(used + free, self.total);
        let (chunks_used, chunks_free) = (self.used.len(), self.free.len());
        ArenaStats { used, free, total: self.total, chunks_used, chunks_free }
    }

    fn chunks(&self) -> Vec<(usize, usize, bool)> {
        let mut free: Vec<_> = self.free.iter().map(|&(addr, size)| (addr, size, false)).collect();
        free.sort_unstable();
        self.used.iter().map(|(&addr, &size)| (addr, size, true)).chain(free).collect()
    }
}
