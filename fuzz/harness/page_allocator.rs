//! A `LockedPool` over a page allocator that obeys the input. It fails, hands out the same
//! addresses twice, misaligned ones, and ones at the ends of the address space, claims locks that
//! it does not have, and changes its limit.
//!
//! Depends on `fault`, `input` and the crate's public interface. No memory is at the addresses: a
//! pool that touched them would crash. Chunks must lie within the allocator's ranges, must not
//! overlap, and must be aligned. Statistics must be exact. Each range must be returned once, with
//! its length. A range that overlaps an arena is returned with that arena.

use crate::fault::faults;
use crate::input::{Input, address};
use bitcoin_support::{FreeError, LockedAllocation, LockedPageAllocator, LockedPool, PoolStats};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

faults! {
    /// Pages are never returned.
    KeepsPages,
    /// Pages are returned with another length.
    FreesAnotherLength,
    /// Pages are returned twice.
    FreesTwice,
    /// A chunk lies beside the allocator's pages.
    LeavesPages,
    /// A free that is refused reports success.
    AcceptsBadFrees,
    /// A lock that failed is not counted.
    HidesLockFailures,
    /// Bytes that are not locked count as locked.
    ClaimsLocks,
}

pub(crate) fn run(data: &[u8]) {
    run_with(data, Fault::None);
}

const ARENA: usize = LockedPool::ARENA_SIZE;

/// Low addresses, among those that the allocator gives, where nothing is accessed.
const NOWHERE: usize = if usize::BITS == 64 { 1 << (usize::BITS / 2) } else { 1 << 26 };

/// The allocator's answer to the next call, and a record of its calls.
#[derive(Default)]
struct Journal {
    /// The address, and whether it is locked.
    next: Option<(usize, bool)>,
    limit: usize,
    /// Ranges that were given and not returned, in the order of giving: address, length, locked.
    live: Vec<(usize, usize, bool)>,
    /// The number of ranges that were given while they were in use already.
    overlapping: usize,
    calls: usize,
    /// How often pages that a pool can use were not locked, and how often the pool asked the
    /// callback.
    failures: usize,
    asked: usize,
    accepts_unlocked: bool,
    dropped: bool,
}

/// The journal. It is needed also when a run has ended in a panic and its pool is dropped.
fn look(journal: &Mutex<Journal>) -> MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Hostile(Arc<Mutex<Journal>>, Fault);

impl LockedPageAllocator for Hostile {
    fn allocate_locked(&mut self, len: usize) -> Option<LockedAllocation> {
        let mut journal = look(&self.0);
        journal.calls += 1;
        assert!(len > 0 && len <= ARENA && len % LockedPool::ARENA_ALIGN == 0);
        let (addr, locked) = journal.next?;
        let given = LockedAllocation { addr: NonNull::new(address(addr))?, locked };
        let wraps = addr.checked_add(len).is_none();
        let end = addr.saturating_add(len);
        let clashes = |&(other, size, _): &(usize, usize, bool)| other < end && addr < other + size;
        if !wraps && journal.live.iter().any(clashes) {
            journal.overlapping += 1;
        } else {
            journal.live.push((addr, len, locked));
            journal.failures += usize::from(!wraps && !locked);
        }
        Some(given)
    }

    unsafe fn free_locked(&mut self, addr: NonNull<u8>, len: usize) {
        let times = match self.1 {
            Fault::KeepsPages => 0,
            Fault::FreesTwice => 2,
            _ => 1,
        };
        let len = if self.1 == Fault::FreesAnotherLength { len - 16 } else { len };
        let mut journal = look(&self.0);
        for _ in 0..times {
            let given = |&(a, l, _): &(usize, usize, bool)| (a, l) == (addr.addr().get(), len);
            match journal.live.iter().rposition(given) {
                Some(index) => journal.live.remove(index),
                // A panic would end the process in the pool's destructor, so `overlapping` carries
                // the failure.
                None => {
                    journal.overlapping = usize::MAX;
                    return;
                }
            };
        }
    }

    fn limit(&self) -> usize {
        look(&self.0).limit
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        look(&self.0).dropped = true;
    }
}

pub(crate) fn run_with(data: &[u8], fault: Fault) {
    let mut input = Input::new(data);
    let journal = Arc::new(Mutex::new(Journal { limit: usize::MAX, ..Journal::default() }));
    let pool = LockedPool::with_page_allocator(Box::new(Hostile(journal.clone(), fault)));
    if input.byte() % 2 == 0 {
        let journal = journal.clone();
        pool.set_locking_failed(Some(Box::new(move |error| {
            assert_eq!((error.errno, error.limit), (0, usize::MAX));
            let mut journal = look(&journal);
            journal.asked += 1;
            journal.accepts_unlocked
        })));
    } else {
        look(&journal).accepts_unlocked = true;
    }
    let has_callback = !look(&journal).accepts_unlocked;
    let mut run = Run { pool, journal, fault, has_callback, used: BTreeMap::new() };
    while !input.is_empty() {
        run.step(&mut input);
    }
    run.check_walk();
    let Run { pool, journal, .. } = run;
    drop(pool);
    let journal = look(&journal);
    assert!(journal.dropped, "the allocator is kept");
    assert_eq!(journal.live, [], "pages are kept");
    assert!(journal.overlapping != usize::MAX, "what was not given has been given back");
}

struct Run {
    pool: LockedPool,
    journal: Arc<Mutex<Journal>>,
    fault: Fault,
    has_callback: bool,
    /// The chunks: size in bytes by address.
    used: BTreeMap<usize, usize>,
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        let live: Vec<_> = self.used.keys().copied().collect();
        match input.byte() % 16 {
            0..=6 => self.alloc(input),
            7..=9 => {
                let Some(index) = input.index(live.len()) else { return };
                assert_eq!(self.free(live[index]), Ok(()));
                self.used.remove(&live[index]);
                assert_eq!(self.free(live[index]), Err(FreeError::InvalidFree));
            }
            10 => {
                let Some(index) = input.index(live.len()) else { return };
                let (addr, size) = (live[index], self.used[&live[index]]);
                let wrong = input.size(ARENA);
                let fits = wrong > size - 16 && wrong <= size;
                // SAFETY: no memory is at the pool's addresses, so none is used afterwards.
                let freed = unsafe { self.pool.free_sized(address(addr), wrong, 16) };
                assert_eq!(freed, if fits { Ok(()) } else { Err(FreeError::SizeMismatch) });
                if fits {
                    self.used.remove(&addr);
                }
            }
            11..=12 => {
                let addr = match (input.index(live.len()), input.byte() % 2) {
                    (Some(index), 0) => live[index].wrapping_add(input.below(500)),
                    _ => input.hostile(),
                };
                let expected = match addr {
                    0 => Ok(()),
                    _ if self.used.contains_key(&addr) => return,
                    _ if self.arena_of(addr).is_some() => Err(FreeError::InvalidFree),
                    _ => Err(FreeError::NotInPool),
                };
                assert_eq!(self.free(addr), expected, "{addr:#x}");
            }
            13 => {
                let mut journal = look(&self.journal);
                journal.limit = match input.byte() % 4 {
                    0 => usize::MAX,
                    1 => input.short(),
                    2 => 0,
                    _ => input.hostile(),
                };
                if self.has_callback {
                    journal.accepts_unlocked = input.byte() % 2 == 0;
                }
            }
            14 => self.check_walk(),
            _ => {
                self.check_stats();
            }
        }
    }

    fn alloc(&mut self, input: &mut Input<'_>) {
        let size = match input.byte() % 4 {
            0 => input.size(ARENA),
            1 => ARENA - input.short(),
            _ => 1 + input.short(),
        };
        let alignment = if input.byte() % 8 == 0 { input.alignment() } else { 1 };
        let calls = {
            let mut journal = look(&self.journal);
            let newest = journal.live.last().map_or(NOWHERE, |&(addr, ..)| addr);
            let next = match input.byte() % 12 {
                0 => None,
                1 => Some(input.hostile()),
                2 => Some(newest.wrapping_add(input.short())),
                3 => Some(newest.wrapping_sub(input.short() * 16)),
                4 => Some(usize::MAX - ARENA + 1 - input.below(3)),
                5 => Some(2 * NOWHERE + input.short()),
                _ => Some(4 * NOWHERE + (journal.calls << 20)),
            };
            journal.next = next.map(|addr| (addr, input.byte() % 4 > 0));
            journal.calls
        };
        let got = self.pool.alloc(size, alignment);
        let journal = look(&self.journal);
        let valid = (1..=ARENA).contains(&size) && alignment.is_power_of_two();
        assert!(journal.calls <= calls + usize::from(valid), "it asks for pages once, if at all");
        drop(journal);
        if let Some(chunk) = got {
            assert!(valid, "{size} bytes by {alignment} are not to be had");
            let mut addr = chunk.addr().get();
            if self.fault == Fault::LeavesPages {
                addr += ARENA;
            }
            let size = size.next_multiple_of(LockedPool::ARENA_ALIGN);
            assert!(addr % alignment == 0 && addr % LockedPool::ARENA_ALIGN == 0);
            let (start, len, _) = self.arena_of(addr).expect("the allocator gave it");
            assert!(addr - start + size <= len, "a chunk leaves its arena");
            let before = self.used.range(..=addr).next_back();
            assert!(before.is_none_or(|(other, size)| other + size <= addr), "chunks overlap");
            let behind = self.used.range(addr..).next();
            assert!(behind.is_none_or(|(&other, _)| addr + size <= other), "chunks overlap");
            self.used.insert(addr, size);
        } else if valid && alignment <= LockedPool::ARENA_ALIGN {
            let mut fits = false;
            self.pool.walk(|_, room, used| fits |= !used && room >= size);
            assert!(!fits, "{size} bytes fit");
        }
        self.check_stats();
    }

    fn arena_of(&self, addr: usize) -> Option<(usize, usize, bool)> {
        let journal = look(&self.journal);
        let contains = |&&(start, len, _): &&(usize, usize, bool)| addr.wrapping_sub(start) < len;
        journal.live.iter().find(contains).copied()
    }

    fn free(&self, addr: usize) -> Result<(), FreeError> {
        // SAFETY: no memory is at the pool's addresses, so none is used afterwards.
        let freed = unsafe { self.pool.free(address(addr)) };
        if self.fault == Fault::AcceptsBadFrees { Ok(()) } else { freed }
    }

    fn stats(&self) -> PoolStats {
        let mut stats = self.pool.stats();
        match self.fault {
            Fault::HidesLockFailures => stats.lock_failures = 0,
            Fault::ClaimsLocks => stats.locked = stats.total,
            _ => {}
        }
        stats
    }

    fn check_stats(&self) {
        let stats = self.stats();
        assert_eq!(stats.used, self.used.values().sum::<usize>());
        assert_eq!(stats.chunks_used, self.used.len());
        assert_eq!(stats.used + stats.free, stats.total);
        assert!(stats.peak_used >= stats.used && stats.peak_used <= stats.total);
        let journal = look(&self.journal);
        assert_eq!(stats.lock_failures, journal.failures);
        assert_eq!(journal.asked, if self.has_callback { journal.failures } else { 0 });
        // Each arena is a range of the allocator, without the rest that is smaller than a granule.
        assert_eq!(stats.arenas, journal.live.len());
        let granules = |&&(addr, len, _): &&(usize, usize, bool)| {
            let first = addr.next_multiple_of(LockedPool::ARENA_ALIGN);
            let end = (addr + len) / LockedPool::ARENA_ALIGN * LockedPool::ARENA_ALIGN;
            end.saturating_sub(first)
        };
        assert_eq!(stats.total, journal.live.iter().map(|given| granules(&given)).sum());
        let locked = journal.live.iter().filter(|given| given.2);
        assert_eq!(stats.locked, locked.map(|given| granules(&given)).sum());
    }

    fn check_walk(&self) {
        let (mut used, mut free) = (Vec::new(), Vec::new());
        self.pool.walk(|addr, size, is_used| {
            (if is_used { &mut used } else { &mut free }).push((addr, size));
        });
        used.sort_unstable();
        assert_eq!(used, self.used.iter().map(|(&addr, &size)| (addr, size)).collect::<Vec<_>>());
        let stats = self.stats();
        assert_eq!(stats.chunks_free, free.len());
        assert_eq!(stats.free, free.iter().map(|chunk| chunk.1).sum::<usize>());
        self.check_stats();
    }
}
