//! `Arena` against an independent model of Bitcoin Core's placement. The model takes the smallest
//! free chunk that fits, the oldest of several equal ones, and the last bytes of that. Neighbours
//! merge at once. A chunk that comes from a split or a merge counts as the newest. Addresses,
//! failures and statistics must agree after every operation:
//!
//! - exhaustively over every sequence of up to 8 operations of an arena of 6 granules (every size
//!   and every bad free among the operations), and
//! - in property tests over larger arenas, alignments and long sequences.

use bitcoin_support::{Arena, ArenaStats, FreeError};
use proptest::prelude::*;
use std::collections::BTreeMap;

const BASE: usize = 0x0800_0000;

/// A simple and slow arena: two ordered lists that are searched from the front.
#[derive(Clone)]
struct Model {
    granule: usize,
    total: usize,
    used: BTreeMap<usize, usize>,
    /// (address, size), oldest first.
    free: Vec<(usize, usize)>,
}

impl Model {
    fn new(base: usize, size: usize, granule: usize) -> Self {
        let first = base.next_multiple_of(granule);
        let total = (base + size).saturating_sub(first) / granule * granule;
        let free = if total > 0 { vec![(first, total)] } else { vec![] };
        Self { granule, total, used: BTreeMap::new(), free }
    }

    fn alloc(&mut self, size: usize) -> Option<usize> {
        if size == 0 {
            return None;
        }
        let size = size.checked_next_multiple_of(self.granule)?;
        // `min_by_key` takes the first of equals: the oldest.
        let best = (0..self.free.len())
            .filter(|&i| self.free[i].1 >= size)
            .min_by_key(|&i| self.free[i].1)?;
        let (addr, room) = self.free.remove(best);
        if room > size {
            self.free.push((addr, room - size));
        }
        let chunk = addr + room - size;
        self.used.insert(chunk, size);
        Some(chunk)
    }

    fn release(&mut self, chunk: usize) -> bool {
        let Some(size) = self.used.remove(&chunk) else { return false };
        let (mut addr, mut size) = (chunk, size);
        if let Some(i) = self.free.iter().position(|&(a, s)| a + s == addr) {
            let (before, before_size) = self.free.remove(i);
            addr = before;
            size += before_size;
        }
        if let Some(i) = self.free.iter().position(|&(a, _)| a == addr + size) {
            size += self.free.remove(i).1;
        }
        self.free.push((addr, size));
        true
    }

    fn stats(&self) -> ArenaStats {
        let used = self.used.values().sum();
        let free = self.free.iter().map(|&(_, size)| size).sum();
        assert_eq!(used + free, self.total);
        ArenaStats {
            used,
            free,
            total: self.total,
            chunks_used: self.used.len(),
            chunks_free: self.free.len(),
        }
    }

    fn chunks(&self) -> Vec<(usize, usize, bool)> {
        let used = self.used.iter().map(|(&addr, &size)| (addr, size, true));
        let mut free: Vec<_> = self.free.iter().map(|&(addr, size)| (addr, size, false)).collect();
        free.sort_unstable();
        used.chain(free).collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Alloc(usize),
    Free(usize),
}

fn apply(arena: &mut Arena, model: &mut Model, op: Op) {
    match op {
        Op::Alloc(size) => {
            let got = arena.alloc(size, 1).map(|chunk| chunk.as_ptr().addr());
            assert_eq!(got, model.alloc(size), "alloc({size})");
        }
        Op::Free(addr) => {
            let expected = model.used.get(&addr).copied();
            let got = arena.free_unsized(addr as *mut u8);
            let freed = model.release(addr);
            assert_eq!(freed, expected.is_some());
            assert_eq!(got, expected.ok_or(FreeError::InvalidFree), "free({addr:#x})");
        }
    }
    assert_eq!(arena.stats(), model.stats());
}

fn check_chunks(arena: &Arena, model: &Model) {
    let mut chunks = Vec::new();
    arena.walk(|addr, size, used| chunks.push((addr, size, used)));
    assert_eq!(chunks, model.chunks());
    assert_eq!(arena.largest_free(), model.free.iter().map(|&(_, size)| size).max().unwrap_or(0));
}

/// An arena reserves at most 16 bytes of bookkeeping a granule. With a bin for each size up to that
/// of the whole arena it would be 44, and the one free chunk of an arena that fills would make them
/// resident.
#[test]
fn bookkeeping_takes_no_more_than_16_bytes_for_each_granule() {
    for granules in [1 << 10, 1 << 14, 1 << 20] {
        let arena = Arena::new(BASE as *mut u8, granules * 16, 16).unwrap();
        assert!(arena.reserved_bytes() <= granules * 16, "{} bytes", arena.reserved_bytes());
    }
}

/// Tries every sequence of operations up to the bound, and replays each one from the start. The
/// operations allocate 1 to 6 granules, or free the address of any granule, whether or not a chunk
/// begins there. An allocation of 7 granules always fails and changes nothing, so it is tried once
/// at the end of each sequence, and no sequence continues from it.
#[test]
fn every_short_sequence_on_a_tiny_arena() {
    const GRANULES: usize = 6;
    const DEPTH: usize = 8;

    fn replay(history: &[Op]) -> (Arena, Model) {
        let mut arena = Arena::new(BASE as *mut u8, GRANULES * 16, 16).unwrap();
        let mut model = Model::new(BASE, GRANULES * 16, 16);
        for &op in history {
            apply(&mut arena, &mut model, op);
        }
        (arena, model)
    }

    fn explore(history: &mut Vec<Op>, sequences: &mut u64) {
        *sequences += 1;
        let (mut arena, mut model) = replay(history);
        check_chunks(&arena, &model);
        // Operations that must fail change nothing, so no sequence continues from them.
        apply(&mut arena, &mut model, Op::Alloc(0));
        apply(&mut arena, &mut model, Op::Alloc(GRANULES * 16 + 1));
        for addr in (BASE - 16..=BASE + GRANULES * 16).step_by(8) {
            if !model.used.contains_key(&addr) {
                apply(&mut arena, &mut model, Op::Free(addr));
            }
        }
        check_chunks(&arena, &model);
        if history.len() == DEPTH {
            return;
        }
        let largest = model.free.iter().map(|&(_, size)| size / 16).max().unwrap_or(0);
        let allocs = (1..=largest).map(|size| Op::Alloc(size * 16 - 7));
        let frees = model.used.keys().map(|&addr| Op::Free(addr));
        for op in allocs.chain(frees).collect::<Vec<_>>() {
            history.push(op);
            explore(history, sequences);
            history.pop();
        }
    }

    let mut sequences = 0;
    explore(&mut Vec::new(), &mut sequences);
    println!("{sequences} sequences of up to {DEPTH} operations on {GRANULES} granules");
    assert!(sequences > 100_000);
}

/// An operation as numbers, so that it keeps a meaning when proptest shrinks a failing case: the
/// numbers choose among the chunks that are allocated when the operation runs.
#[derive(Clone, Copy, Debug)]
struct Step {
    kind: u8,
    number: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        (0..10_u8, any::<usize>()).prop_map(|(kind, number)| Step { kind, number }),
        1..600,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_model(
        steps in steps(),
        offset in 0..4096_usize,
        size in 0..200_000_usize,
        shift in 0..8_u32,
        small in any::<bool>(),
    ) {
        let granule = 1 << shift;
        let mut arena = Arena::new((BASE + offset) as *mut u8, size, granule).unwrap();
        let mut model = Model::new(BASE + offset, size, granule);
        prop_assert_eq!(arena.stats(), model.stats());
        for Step { kind, number } in steps {
            let live: Vec<usize> = model.used.keys().copied().collect();
            let pick = |number: usize| live[number % live.len()];
            let limit = if small { 512 } else { size + 2 };
            let op = match kind {
                0..=5 => Op::Alloc(number % limit),
                6..=8 if !live.is_empty() => Op::Free(pick(number)),
                9 if number % 3 == 0 && !live.is_empty() => {
                    Op::Free(pick(number) + 1 + number / 7 % granule)
                }
                _ => Op::Free(BASE + number % (size + 8192)),
            };
            apply(&mut arena, &mut model, op);
        }
        check_chunks(&arena, &model);
    }

    /// Over-aligned chunks have no counterpart in Core. Each must be aligned and lie within a free
    /// chunk, must be served whenever a free chunk has an aligned place, and must leave the other
    /// chunks as they are.
    #[test]
    fn over_aligned_chunks_are_served_wherever_they_fit(
        ops in prop::collection::vec((1..3000_usize, 0..14_u32, any::<usize>()), 1..200),
        offset in 0..300_usize,
    ) {
        let (base, size) = (BASE + offset * 16, 64 * 1024);
        let mut arena = Arena::new(base as *mut u8, size, 16).unwrap();
        let mut live: Vec<(usize, usize, usize)> = Vec::new();
        for (bytes, shift, number) in ops {
            let alignment = 1 << shift;
            let mut free = Vec::new();
            arena.walk(|addr, size, used| if !used { free.push((addr, size)) });
            let fits = free.iter().any(|&(addr, room)| {
                addr.next_multiple_of(alignment) + bytes.next_multiple_of(16) <= addr + room
            });
            let got = arena.alloc(bytes, alignment);
            prop_assert_eq!(got.is_some(), fits);
            if let Some(chunk) = got {
                let addr = chunk.as_ptr().addr();
                prop_assert_eq!(addr % alignment, 0);
                let end = addr + bytes.next_multiple_of(16);
                prop_assert!(free.iter().any(|&(a, room)| a <= addr && end <= a + room));
                live.push((addr, bytes, alignment));
            }
            if number % 3 == 0 && !live.is_empty() {
                let (addr, bytes, alignment) = live.swap_remove(number / 3 % live.len());
                let wrong = arena.free(addr as *mut u8, bytes + 16, alignment);
                prop_assert_eq!(wrong, Err(FreeError::SizeMismatch));
                prop_assert_eq!(arena.free(addr as *mut u8, bytes, alignment), Ok(()));
            }
            let used: usize = live.iter().map(|&(_, bytes, _)| bytes.next_multiple_of(16)).sum();
            prop_assert_eq!(arena.stats().used, used);
            prop_assert_eq!(arena.stats().chunks_used, live.len());
        }
        for (addr, bytes, alignment) in live {
            prop_assert_eq!(arena.free(addr as *mut u8, bytes, alignment), Ok(()));
        }
        let stats = arena.stats();
        prop_assert_eq!((stats.free, stats.chunks_free), (size, 1));
    }
}
