//! Tests the two indexes of an arena alone, without the arena, against ordered maps.

use bitcoin_support::{
    ArenaChunkToSizeMap, ArenaSizeToChunkSortedMap, ArenaSizeToChunkSortedMapIterator, Chunk,
    IndexError, OutOfMemory,
};
use std::collections::BTreeMap;

const GRANULES: usize = 300;

fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

#[test]
fn used_chunks_are_found_by_place() {
    let mut map = ArenaChunkToSizeMap::new(GRANULES).unwrap();
    let mut model: BTreeMap<usize, usize> = BTreeMap::new();
    let mut state = 1;
    for _ in 0..20_000 {
        let (chunk, size) = (random(&mut state) % (GRANULES + 10), random(&mut state) % 12);
        if random(&mut state) % 2 == 0 {
            let fits = size > 0 && chunk + size <= GRANULES;
            let free =
                !model.iter().any(|(&start, &len)| start < chunk + size && chunk < start + len);
            let expected = match (fits, free) {
                (false, _) => Err(IndexError::OutOfRange),
                (true, false) => Err(IndexError::Overlap),
                (true, true) => Ok(()),
            };
            assert_eq!(map.insert(chunk, size), expected);
            if expected.is_ok() {
                model.insert(chunk, size);
            }
        } else {
            assert_eq!(map.remove(chunk), model.remove(&chunk));
        }
        let at = random(&mut state) % (GRANULES + 10);
        assert_eq!(map.size_of(at), model.get(&at).copied());
        assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
    }
    let chunks: Vec<_> = map.iter().map(|chunk| (chunk.start, chunk.size)).collect();
    assert_eq!(chunks, model.into_iter().collect::<Vec<_>>());
    assert_eq!(map.insert(usize::MAX, 2), Err(IndexError::OutOfRange));
}

#[test]
fn free_chunks_are_found_by_size_and_age() {
    let mut map = ArenaSizeToChunkSortedMap::new(GRANULES).unwrap();
    // By size; chunks of equal size from the oldest to the newest.
    let mut model: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut state = 2;
    for age in 0..20_000 {
        let (chunk, size) = (random(&mut state) % GRANULES, random(&mut state) % 9);
        let known = model.iter().find(|&(&(len, _), &start)| (len, start) == (size, chunk));
        match known.map(|(&key, _)| key) {
            Some(key) => {
                assert_eq!(map.remove(size, chunk), Ok(()));
                model.remove(&key);
            }
            None => {
                assert_eq!(map.remove(size, chunk), Err(IndexError::Absent));
                let fits = size > 0 && chunk + size <= GRANULES;
                if fits && model.len() < 60 {
                    assert_eq!(map.insert(size, chunk), Ok(()));
                    model.insert((size, age), chunk);
                } else if !fits {
                    assert_eq!(map.insert(size, chunk), Err(IndexError::OutOfRange));
                }
            }
        }
        assert_eq!(map.len(), model.len());
        assert_eq!(map.largest(), model.last_key_value().map_or(0, |(&(size, _), _)| size));
        let least = random(&mut state) % 11;
        let found: Vec<_> = ArenaSizeToChunkSortedMapIterator::new(&map, least).collect();
        let expected: Vec<_> =
            model.range((least, 0)..).map(|(&(size, _), &start)| Chunk { start, size }).collect();
        assert_eq!(map.best_fit(least), expected.first().copied());
        assert_eq!(found, expected);
    }
}

#[test]
fn what_memory_cannot_hold_is_refused() {
    let most = ArenaSizeToChunkSortedMap::MAX_GRANULES;
    for granules in [most + 1, usize::MAX] {
        assert!(matches!(ArenaSizeToChunkSortedMap::new(granules), Err(OutOfMemory)));
        assert!(matches!(ArenaChunkToSizeMap::new(granules), Err(OutOfMemory)));
    }
    let empty = ArenaSizeToChunkSortedMap::new(0).unwrap();
    assert_eq!((empty.best_fit(0), empty.best_fit(1), empty.largest()), (None, None, 0));
}
