//! The ordinary heap fails. In each task the Nth allocation fails, for every N up to the number of
//! allocations: that one alone, and then all from there on. The task reports the failure or works
//! without the memory. Nothing is lost, figures add up, and calls that need no memory succeed.
//! Afterwards everything works again.
//!
//! `cpp_tests/faults_tests.cpp` does the same with every system call, through the C interface.

use bitcoin_support::{
    Arena, ArenaChunkToSizeMap, ArenaError, ArenaSizeToChunkSortedMap, LockedAllocation,
    LockedPageAllocator, LockedPageArena, LockedPool, LockedPoolManager, PoolError, SecureString,
    SecureVec, SerializeData, page_size,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::ptr::{NonNull, null_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A heap whose allocations can be made to fail. Each thread chooses for itself.
struct Failing;

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    /// Allocations since the thread was armed, and the first and last that fail.
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static FIRST: Cell<usize> = const { Cell::new(0) };
    static LAST: Cell<usize> = const { Cell::new(0) };
    /// Allocations of more bytes fail while armed.
    static LARGEST: Cell<usize> = const { Cell::new(usize::MAX) };
    /// Blocks that were allocated while armed, less those freed.
    static BLOCKS: Cell<isize> = const { Cell::new(0) };
}

fn fails(size: usize) -> bool {
    if !ARMED.get() {
        return false;
    }
    CALLS.set(CALLS.get() + 1);
    let fails = (FIRST.get()..=LAST.get()).contains(&CALLS.get()) || size > LARGEST.get();
    BLOCKS.set(BLOCKS.get() + isize::from(!fails));
    fails
}

// SAFETY: blocks are the system allocator's; a null pointer may always be returned.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails(layout.size()) {
            return null_mut();
        }
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if fails(layout.size()) {
            return null_mut();
        }
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if fails(size) {
            return null_mut();
        }
        BLOCKS.set(BLOCKS.get() - isize::from(ARMED.get()));
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BLOCKS.set(BLOCKS.get() - isize::from(ARMED.get()));
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static HEAP: Failing = Failing;

/// The result of a task: how many of its steps have failed, or what is wrong.
type Said = Result<usize, &'static str>;

/// Runs a task whose allocations number `first` to `last` fail. Returns the task's result, and how
/// many allocations it has made.
fn without(first: usize, last: usize, task: &mut dyn FnMut() -> Said) -> (Said, usize) {
    CALLS.set(0);
    FIRST.set(first);
    LAST.set(last);
    BLOCKS.set(0);
    ARMED.set(true);
    let said = task();
    ARMED.set(false);
    let said = if BLOCKS.get() == 0 { said } else { Err("blocks of the heap are lost") };
    (said, CALLS.get())
}

/// Fails every allocation of a task: each alone, and each with all later ones. Returns how many
/// there were, or what is wrong.
fn fail_each(task: &mut dyn FnMut() -> Said) -> Result<usize, String> {
    // Makes the allocations that are made once in a process.
    task().map_err(|problem| format!("with all its memory: {problem}"))?;
    for n in 1.. {
        let (alone, calls) = without(n, n, task);
        let failed = alone.map_err(|problem| format!("allocation {n} fails: {problem}"))?;
        if calls < n {
            return if failed == 0 { Ok(n - 1) } else { Err("fails with all its memory".into()) };
        }
        let (from_there_on, _) = without(n, usize::MAX, task);
        from_there_on.map_err(|problem| format!("all from allocation {n} on fail: {problem}"))?;
        match without(0, 0, task).0 {
            Ok(0) => {}
            said => return Err(format!("does not recover from allocation {n}: {said:?}")),
        }
    }
    unreachable!("a task allocates without end")
}

/// Prints how many allocations have failed. There must be at least one.
fn report(what: &str, task: &mut dyn FnMut() -> Said) {
    match fail_each(task) {
        Ok(points) => {
            println!("{what}: each of {points} allocations has failed");
            assert!(points > 0, "{what} allocates nothing");
        }
        Err(problem) => panic!("{what}: {problem}"),
    }
}

/// Checks that the chunks of a walk add up to the pool's statistics.
fn adds_up(pool: &LockedPool, used: usize) -> Result<(), &'static str> {
    let (mut sums, mut chunks) = ((0, 0), (0, 0));
    pool.walk(|_, size, is_used| {
        let (sum, count) =
            if is_used { (&mut sums.0, &mut chunks.0) } else { (&mut sums.1, &mut chunks.1) };
        *sum += size;
        *count += 1;
    });
    let stats = pool.stats();
    let same = (stats.used, stats.free) == sums && (stats.chunks_used, stats.chunks_free) == chunks;
    if same && stats.used == used && stats.used + stats.free == stats.total {
        Ok(())
    } else {
        Err("figures do not add up")
    }
}

/// Allocates chunks of a page until the pool has no more, or `most` chunks; then frees them.
fn fill_and_empty(pool: &LockedPool, most: usize) -> Said {
    let mut chunks = [None; 64];
    let mut failed = 0;
    let mut held = 0;
    for place in &mut chunks[..most] {
        *place = pool.alloc(page_size(), 16);
        held += usize::from(place.is_some());
        failed += usize::from(place.is_none());
        adds_up(pool, held * page_size())?;
    }
    for chunk in chunks.into_iter().flatten() {
        // SAFETY: not used afterwards.
        if unsafe { pool.free(chunk.as_ptr()) }.is_err() {
            return Err("a chunk cannot be freed");
        }
    }
    adds_up(pool, 0)?;
    Ok(failed)
}

#[test]
fn arenas_and_their_indexes() {
    report("an arena", &mut || match Arena::new(0x0800_0000 as *mut u8, 1 << 16, 16) {
        Err(ArenaError::OutOfMemory) => Ok(1),
        Err(_) => Err("another error than memory"),
        Ok(mut arena) => {
            let chunk = arena.alloc(100, 16).ok_or("an arena that was made needs no memory")?;
            arena.free(chunk.as_ptr(), 100, 16).map_err(|_| "a chunk cannot be freed")?;
            Ok(0)
        }
    });
    report("an index by place", &mut || Ok(usize::from(ArenaChunkToSizeMap::new(500).is_err())));
    report("an index by size", &mut || {
        Ok(usize::from(ArenaSizeToChunkSortedMap::new(500).is_err()))
    });
    report("an arena on locked pages", &mut || match LockedPageArena::new(32, 1 << 16) {
        Err(PoolError::Arena(ArenaError::OutOfMemory)) => Ok(1),
        Err(_) => Err("another error than memory"),
        Ok(mut arena) => arena.alloc(32).map(|_| 0).ok_or("an arena that was made is full"),
    });
}

/// The library has places for eight pools, and takes memory for the place of a ninth. Tests whose
/// pools must need none have the places for themselves.
fn places_of_pools() -> MutexGuard<'static, ()> {
    static PLACES: Mutex<()> = Mutex::new(());
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn pools() {
    let _places = places_of_pools();
    report("a pool", &mut || {
        let arena = 4 * page_size();
        match LockedPool::new(page_size(), arena, 16 * arena) {
            Ok(pool) => fill_and_empty(&pool, 64),
            Err(_) => Err("a pool without arenas needs no memory"),
        }
    });
}

/// Where there is no memory for the bookkeeping of a whole arena, a pool makes a smaller arena.
#[test]
fn a_smaller_arena_has_less_bookkeeping() {
    if page_size() > 4096 {
        println!("skipped: with larger pages this bookkeeping is not on the heap");
        return;
    }
    let _places = places_of_pools();
    let pool_after_a_chunk = |largest| {
        let (mut total, mut is_some) = (0, false);
        LARGEST.set(largest);
        let (said, _) = without(0, 0, &mut || {
            let pool = LockedPool::default();
            is_some = pool.alloc(32, 16).is_some();
            total = pool.stats().total;
            Ok(0)
        });
        LARGEST.set(usize::MAX);
        assert_eq!(said, Ok(0));
        (total, is_some)
    };
    let (whole, is_some) = pool_after_a_chunk(usize::MAX);
    assert!(is_some && whole == 1 << 18);
    let (smaller, is_some) = pool_after_a_chunk(20_000);
    assert!(is_some && (1..whole).contains(&smaller), "{smaller}");
    // The control: an arena of one page has bookkeeping, too.
    assert_eq!(pool_after_a_chunk(100), (0, false));
}

/// A manager takes pools without allocating. (The other tests show that a failing allocation is
/// noticed here.)
#[test]
fn pools_of_a_manager() {
    let _places = places_of_pools();
    let page = page_size();
    let mut pools: Vec<_> = (0..20).map(|_| LockedPool::new(page, page, page).ok()).collect();
    let manager = LockedPoolManager::new();
    let (said, calls) = without(1, usize::MAX, &mut || {
        pools.iter_mut().filter_map(Option::take).for_each(|pool| manager.add_pool(pool));
        Ok(0)
    });
    assert_eq!((said, calls), (Ok(0), 0));
    let chunks: Vec<_> = std::iter::from_fn(|| manager.alloc(page, 16)).collect();
    assert_eq!(chunks.len(), 20);
}

/// Hands out addresses where no memory is.
struct Numbers {
    next: usize,
    given: usize,
}

impl LockedPageAllocator for Numbers {
    fn allocate_locked(&mut self, _: usize) -> Option<LockedAllocation> {
        self.next += 1 << 24;
        self.given += 1;
        let addr = NonNull::new(std::ptr::without_provenance_mut(self.next))?;
        Some(LockedAllocation { addr, locked: true })
    }

    unsafe fn free_locked(&mut self, _: NonNull<u8>, _: usize) {
        self.given -= 1;
    }

    fn limit(&self) -> usize {
        usize::MAX
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        KEPT.set(self.given);
    }
}

thread_local! {
    /// Pages that a pool has not returned.
    static KEPT: Cell<usize> = const { Cell::new(0) };
}

#[test]
fn pools_over_foreign_pages() {
    let _places = places_of_pools();
    report("a pool over foreign pages", &mut || {
        // The box belongs to the caller, and its allocation must not fail.
        ARMED.with(|armed| {
            let was = armed.replace(false);
            let pages = Box::new(Numbers { next: 0, given: 0 });
            armed.set(was);
            let pool = LockedPool::with_page_allocator(pages);
            let mut failed = 0;
            for _ in 0..20 {
                failed += usize::from(pool.alloc(LockedPool::ARENA_SIZE, 16).is_none());
            }
            adds_up(&pool, (20 - failed) * LockedPool::ARENA_SIZE)?;
            // The box is dropped with the pool.
            BLOCKS.set(BLOCKS.get() + isize::from(was));
            drop(pool);
            if KEPT.get() == 0 { Ok(failed) } else { Err("pages are kept") }
        })
    });
}

#[test]
fn serialized_data() {
    report("serialized data", &mut || {
        let mut data = SerializeData::new();
        let (mut expected, mut failed) = (0, 0);
        for _ in 0..20 {
            match data.write_all(&[7; 300]) {
                Ok(()) => expected += 300,
                Err(error) if error.kind() == std::io::ErrorKind::OutOfMemory => failed += 1,
                Err(_) => return Err("another error than memory"),
            }
            failed += usize::from(data.try_reserve(5000).is_err());
            match data.duplicate() {
                Ok(copy) if copy == data => {}
                Ok(_) => return Err("a copy differs"),
                Err(_) => failed += 1,
            }
            let mut bytes = [0; 100];
            let count = data.read(&mut bytes).map_err(|_| "reading needs no memory")?;
            expected -= count;
            if data.len() != expected || data.as_slice().iter().any(|&byte| byte != 7) {
                return Err("data are lost");
            }
        }
        Ok(failed)
    });
}

/// Secrets lie in the process-wide pool. Its threads do without memory that they cannot get from
/// the heap.
#[test]
fn secrets_of_a_new_thread() {
    for n in 1.. {
        let thread = std::thread::spawn(move || {
            let (said, calls) = without(n, usize::MAX, &mut || {
                let mut vec = SecureVec::<u8>::new();
                for len in [1, 100, 5000, LockedPool::ARENA_SIZE + 1, 3] {
                    if vec.try_resize(len, 9).is_err() {
                        return Ok(1);
                    }
                }
                let Ok(text) = SecureString::try_from_str("text") else { return Ok(1) };
                let same = vec.expose_secret() == [9; 3] && text == *"text";
                if same { Ok(0) } else { Err("a secret has changed") }
            });
            // The table of a thread's slabs stays for the next thread.
            assert!(said.is_ok() || said == Err("blocks of the heap are lost"), "{said:?}");
            calls
        });
        let calls = thread.join().expect("no panic");
        assert_eq!(LockedPoolManager::instance().stats().chunks_used, 0);
        assert!(SecureString::try_from_str("text").is_ok(), "it does not recover");
        if calls < n {
            println!("secrets of a new thread: each of {} allocations has failed", n - 1);
            assert!(n > 1, "the process-wide pool allocates nothing");
            break;
        }
    }
}

/// The checks notice a task that ignores failures.
#[test]
fn control() {
    let loses = fail_each(&mut || {
        let made = (Arena::new(0x0800_0000 as *mut u8, 1 << 12, 16), ArenaChunkToSizeMap::new(100));
        let failed = usize::from(made.0.is_err() || made.1.is_err());
        if failed > 0 {
            std::mem::forget(made); // leaks what was allocated
        }
        Ok(failed)
    });
    assert!(loses.unwrap_err().contains("blocks of the heap are lost"));

    let mut remembered = 0;
    let breaks = fail_each(&mut || {
        remembered += usize::from(ArenaChunkToSizeMap::new(100).is_err());
        Ok(remembered) // and fails every time afterwards
    });
    assert!(breaks.unwrap_err().contains("does not recover"));

    let says_nothing = fail_each(&mut || {
        let mut data = SerializeData::new();
        let _ = data.write_all(b"secret"); // ignores the result
        if data.len() == 6 { Ok(0) } else { Err("data are lost") }
    });
    assert!(says_nothing.unwrap_err().contains("fail: data are lost"));
}
