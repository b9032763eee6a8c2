//! `LockedPool`: sizes and alignments, every bad free, statistics, wiping, foreign page allocators
//! and their limits, threads, and the contents of memory at process exit.

#[cfg(target_os = "linux")]
#[path = "common/this_program.rs"]
mod this_program;

use bitcoin_support::{
    FreeError, LockError, LockedAllocation, LockedPageAllocator, LockedPageArena, LockedPool,
    LockedPoolManager, PoolError, PoolStats, page_size,
};
use std::collections::BTreeMap;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
#[cfg(target_os = "linux")]
use this_program::this_program;

const ARENA_SIZE: usize = LockedPool::ARENA_SIZE;

/// Frees a chunk. The callers must not use it afterwards, except to look at its bytes.
fn free(pool: &LockedPool, chunk: *mut u8) -> Result<(), FreeError> {
    // SAFETY: every caller in this file keeps to the rule above.
    unsafe { pool.free(chunk) }
}

/// The bytes at `chunk`, live or not. Its pages stay mapped as long as the pool exists.
fn bytes(chunk: NonNull<u8>, len: usize) -> Vec<u8> {
    // SAFETY: `len` mapped, initialized bytes that no other thread writes.
    unsafe { std::slice::from_raw_parts(chunk.as_ptr(), len) }.to_vec()
}

fn fill(chunk: NonNull<u8>, byte: u8, len: usize) {
    // SAFETY: the tests fill only chunks of their own, and within their size.
    unsafe { chunk.write_bytes(byte, len) };
}

#[test]
fn sizes_and_alignments() {
    let pool = LockedPool::default();
    for size in [0, ARENA_SIZE + 1, isize::MAX as usize, usize::MAX] {
        assert_eq!(pool.alloc(size, 16), None);
    }
    for alignment in [0, 3, 24, usize::MAX] {
        assert_eq!(pool.alloc(16, alignment), None);
    }
    assert_eq!(pool.stats(), PoolStats::default(), "nothing is mapped for sizes that no arena has");

    let whole = pool.alloc(ARENA_SIZE, 16).unwrap();
    assert_eq!(pool.stats().arenas, 1);
    assert_eq!(free(&pool, whole.as_ptr()), Ok(()));
    for size in [1, 15, 16, 17, 4096, 100_000] {
        for shift in 0..17 {
            let chunk = pool.alloc(size, 1 << shift).unwrap();
            assert_eq!(chunk.addr().get() % (1 << shift).max(16), 0);
            fill(chunk, 0xff, size);
            // SAFETY: not used afterwards.
            let wrong = unsafe { pool.free_sized(chunk.as_ptr(), size + 16, 1 << shift) };
            assert_eq!(wrong, Err(FreeError::SizeMismatch));
            // SAFETY: not used afterwards.
            assert_eq!(unsafe { pool.free_sized(chunk.as_ptr(), size, 1 << shift) }, Ok(()));
        }
    }
    // Alignments that are larger than an arena.
    assert_eq!(pool.alloc(ARENA_SIZE, 1 << (usize::BITS - 2)), None);
    assert_eq!(pool.alloc(16, 1 << (usize::BITS - 1)), None);
    let stats = pool.stats();
    assert_eq!((stats.used, stats.chunks_used, stats.free), (0, 0, stats.total));
}

#[test]
fn bad_frees_change_nothing() {
    let pool = LockedPool::default();
    let other = LockedPool::default();
    let kept = pool.alloc(100, 16).unwrap();
    let freed = pool.alloc(64, 16).unwrap();
    let foreign = other.alloc(64, 16).unwrap();
    fill(kept, 0xa5, 112);
    fill(foreign, 0x5a, 64);
    assert_eq!(free(&pool, freed.as_ptr()), Ok(()));
    let before = pool.stats();
    let mut on_stack = 0_u8;
    for (address, error) in [
        (freed.as_ptr(), FreeError::InvalidFree),
        (kept.as_ptr().wrapping_add(1), FreeError::InvalidFree),
        (kept.as_ptr().wrapping_add(16), FreeError::InvalidFree),
        (kept.as_ptr().wrapping_sub(16), FreeError::InvalidFree),
        (foreign.as_ptr(), FreeError::NotInPool),
        (ptr::from_mut(&mut on_stack), FreeError::NotInPool),
        (ptr::without_provenance_mut(16), FreeError::NotInPool),
        (ptr::without_provenance_mut(usize::MAX), FreeError::NotInPool),
    ] {
        assert_eq!(free(&pool, address), Err(error));
        assert_eq!(pool.stats(), before);
    }
    assert_eq!(free(&pool, ptr::null_mut()), Ok(()));
    assert_eq!(pool.stats(), before);
    assert_eq!(bytes(kept, 112), [0xa5; 112]);
    assert_eq!(bytes(foreign, 64), [0x5a; 64]);
    assert_eq!(free(&LockedPool::default(), kept.as_ptr()), Err(FreeError::NotInPool));
}

#[test]
fn chunks_are_wiped_whole_as_they_are_freed() {
    let pool = LockedPool::default();
    for size in [1, 16, 31, 100, 1000, 5000, ARENA_SIZE] {
        let padded = size.next_multiple_of(16);
        let chunk = pool.alloc(size, 16).unwrap();
        assert_eq!(bytes(chunk, padded), vec![0; padded], "handed out clean");
        // Fills the padding too, which a caller may have used by mistake.
        fill(chunk, 0xee, padded);
        assert_eq!(free(&pool, chunk.as_ptr()), Ok(()));
        assert_eq!(bytes(chunk, padded), vec![0; padded]);
    }
}

/// A page allocator over ordinary memory that can refuse, and keeps a record of its calls.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    limit: Option<usize>,
    unlocked_after: Option<usize>,
    none_after: Option<usize>,
    repeat: bool,
    asked: Vec<usize>,
    mapped: BTreeMap<usize, Vec<u8>>,
    freed: Vec<(usize, usize)>,
}

impl LockedPageAllocator for Recorder {
    fn allocate_locked(&mut self, len: usize) -> Option<LockedAllocation> {
        let mut record = self.0.lock().unwrap();
        let count = record.asked.len();
        record.asked.push(len);
        if record.none_after.is_some_and(|n| count >= n) {
            return None;
        }
        let locked = record.unlocked_after.is_none_or(|n| count < n);
        if let (true, Some((&addr, _))) = (record.repeat, record.mapped.iter().next()) {
            return Some(LockedAllocation {
                addr: NonNull::new(ptr::with_exposed_provenance_mut(addr))?,
                locked,
            });
        }
        let mut memory = vec![0; len + 16];
        let start = memory.as_mut_ptr();
        let start = start.wrapping_add(start.align_offset(16));
        record.mapped.insert(start.expose_provenance(), memory);
        Some(LockedAllocation { addr: NonNull::new(start)?, locked })
    }

    unsafe fn free_locked(&mut self, addr: NonNull<u8>, len: usize) {
        let mut record = self.0.lock().unwrap();
        record.freed.push((addr.addr().get(), len));
        assert!(record.mapped.remove(&addr.addr().get()).is_some(), "freed what was not mapped");
    }

    fn limit(&self) -> usize {
        self.0.lock().unwrap().limit.unwrap_or(usize::MAX)
    }
}

fn recorded(set: impl FnOnce(&mut Record)) -> (LockedPool, Recorder) {
    let recorder = Recorder::default();
    set(&mut recorder.0.lock().unwrap());
    (LockedPool::with_page_allocator(Box::new(recorder.clone())), recorder)
}

/// The control of `chunks_are_wiped_whole_as_they_are_freed`: the same look finds the bytes in
/// memory that the pool must not touch.
#[test]
fn memory_of_a_foreign_allocator_is_not_touched() {
    let (pool, _recorder) = recorded(|_| ());
    let chunk = pool.alloc(100, 16).unwrap();
    fill(chunk, 0xee, 100);
    assert_eq!(free(&pool, chunk.as_ptr()), Ok(()));
    assert_eq!(bytes(chunk, 100), [0xee; 100]);
}

#[test]
fn every_arena_is_searched_before_another_is_asked_for() {
    let (pool, recorder) = recorded(|record| record.none_after = Some(3));
    let halves: Vec<_> = (0..6).map(|_| pool.alloc(ARENA_SIZE / 2, 16).unwrap()).collect();
    assert_eq!(pool.alloc(16, 16), None);
    assert_eq!(recorder.0.lock().unwrap().asked, vec![ARENA_SIZE; 4]);
    for i in [3, 0, 5] {
        assert_eq!(free(&pool, halves[i].as_ptr()), Ok(()));
    }
    // The first arena that has room serves, as in Core.
    assert_eq!(pool.alloc(ARENA_SIZE / 2, 16), Some(halves[0]));
    assert_eq!(pool.alloc(ARENA_SIZE / 2, 16), Some(halves[3]));
    assert_eq!(pool.alloc(ARENA_SIZE / 2, 16), Some(halves[5]));
    assert_eq!(pool.stats().arenas, 3);
    drop(pool);
    let record = recorder.0.lock().unwrap();
    assert!(record.mapped.is_empty() && record.freed.len() == 3, "all given back, once");
    assert!(record.freed.iter().all(|&(_, len)| len == ARENA_SIZE));
}

#[test]
fn the_first_arena_is_capped_by_the_limit_and_stays_aligned() {
    for (limit, first) in [
        (0, ARENA_SIZE),
        (5, ARENA_SIZE),
        (100, 96),
        (100_001, 100_001 / page_size() * page_size()),
        (ARENA_SIZE - 1, ARENA_SIZE - page_size()),
        (ARENA_SIZE, ARENA_SIZE),
        (usize::MAX, ARENA_SIZE),
    ] {
        let (pool, recorder) = recorded(|record| record.limit = Some(limit));
        let chunk = pool.alloc(33, 16).unwrap();
        assert_eq!(chunk.addr().get() % 16, 0);
        assert_eq!(recorder.0.lock().unwrap().asked, [first], "limit {limit}");
        pool.alloc(ARENA_SIZE, 16).unwrap();
        assert_eq!(recorder.0.lock().unwrap().asked, [first, ARENA_SIZE]);
    }
}

#[test]
fn the_callback_decides_about_unlocked_memory() {
    let (pool, recorder) = recorded(|record| record.unlocked_after = Some(1));
    let asked = Arc::new(AtomicUsize::new(0));
    let answer = Arc::new(AtomicUsize::new(0));
    let (count, reply) = (Arc::clone(&asked), Arc::clone(&answer));
    pool.set_locking_failed(Some(Box::new(move |_: &LockError| {
        count.fetch_add(1, Ordering::Relaxed);
        reply.load(Ordering::Relaxed) == 1
    })));
    pool.alloc(ARENA_SIZE, 16).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(pool.alloc(16, 16), None, "refused by the callback");
    assert_eq!(recorder.0.lock().unwrap().freed.len(), 1, "and the pages given back");
    answer.store(1, Ordering::Relaxed);
    pool.alloc(16, 16).unwrap();
    let stats = pool.stats();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert_eq!((stats.locked, stats.total, stats.lock_failures), (ARENA_SIZE, 2 * ARENA_SIZE, 2));
    pool.set_locking_failed(None);
    pool.alloc(ARENA_SIZE, 16).unwrap();
    assert_eq!((asked.load(Ordering::Relaxed), pool.stats().lock_failures), (2, 3));
}

#[test]
fn an_allocator_that_repeats_itself_is_not_trusted() {
    let (pool, recorder) = recorded(|record| record.repeat = true);
    pool.alloc(ARENA_SIZE, 16).unwrap();
    let before = pool.stats();
    assert_eq!(pool.alloc(16, 16), None);
    assert_eq!(pool.stats(), before);
    assert!(recorder.0.lock().unwrap().freed.is_empty(), "the arena keeps its memory");
}

#[test]
fn statistics_follow_every_operation() {
    let pool = LockedPool::default();
    let mut live: Vec<(NonNull<u8>, usize)> = Vec::new();
    let (mut state, mut peak) = (7_u64, 0);
    for _ in 0..20_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let pick = (state >> 33) as usize;
        if state >> 60 < 9 || live.is_empty() {
            let size = pick % 3000 + 1;
            live.push((pool.alloc(size, 16).unwrap(), size.next_multiple_of(16)));
        } else {
            let (chunk, _) = live.swap_remove(pick % live.len());
            assert_eq!(free(&pool, chunk.as_ptr()), Ok(()));
        }
        let used = live.iter().map(|&(_, size)| size).sum();
        peak = peak.max(used);
        let stats = pool.stats();
        assert_eq!((stats.used, stats.chunks_used, stats.peak_used), (used, live.len(), peak));
        assert_eq!(stats.used + stats.free, stats.total);
        assert_eq!(stats.total, stats.arenas * ARENA_SIZE);
    }
    let (mut used, mut free_bytes, mut chunks_free) = (0, 0, 0);
    pool.walk(|_, size, is_used| {
        if is_used {
            used += size;
        } else {
            free_bytes += size;
            chunks_free += 1;
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.used, stats.free, stats.chunks_free), (used, free_bytes, chunks_free));
}

/// Threads allocate, fill, hand over, check and free chunks. No byte and no chunk is lost.
#[test]
fn threads_share_a_pool() {
    let pool = LockedPool::default();
    let handed = Mutex::new(Vec::<(usize, usize, u8)>::new());
    let check_and_free = |(addr, size, byte): (usize, usize, u8)| {
        let chunk = NonNull::new(ptr::with_exposed_provenance_mut::<u8>(addr)).unwrap();
        assert!(bytes(chunk, size).iter().all(|&b| b == byte));
        assert_eq!(free(&pool, chunk.as_ptr()), Ok(()));
        assert!(free(&pool, chunk.as_ptr().wrapping_add(1)).is_err());
    };
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (pool, handed) = (&pool, &handed);
            scope.spawn(move || {
                let mut state = thread;
                for _ in 0..5000 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                    let (size, byte) = ((state >> 40) as usize % 500 + 1, (state >> 30) as u8);
                    let chunk = pool.alloc(size, 16).unwrap();
                    fill(chunk, byte, size);
                    let mut shared = handed.lock().unwrap();
                    shared.push((chunk.as_ptr().expose_provenance(), size, byte));
                    let at = (state >> 20) as usize % shared.len();
                    let taken = (shared.len() > 50).then(|| shared.swap_remove(at));
                    drop(shared);
                    taken.into_iter().for_each(check_and_free);
                    let stats = pool.stats();
                    assert_eq!(stats.used + stats.free, stats.total);
                }
            });
        }
    });
    handed.into_inner().unwrap().into_iter().for_each(check_and_free);
    let stats = pool.stats();
    assert_eq!((stats.used, stats.chunks_used, stats.chunks_free), (0, 0, stats.arenas));
}

#[test]
fn debug_output_is_statistics_only() {
    let pool = LockedPool::default();
    let chunk = pool.alloc(16, 16).unwrap();
    fill(chunk, b'S', 16);
    assert!(!format!("{pool:?} {:?}", LockedPoolManager::instance()).contains("SS"));
}

/// Runs `test` of this program again, alone, in a separate process where `CHILD` is set.
#[cfg(target_os = "linux")]
fn in_child(test: &str) -> std::process::ExitStatus {
    this_program()
        .args([test, "--exact", "--test-threads=1", "--quiet"])
        .env("CHILD", "1")
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap()
}

/// An unprivileged process that may lock 100 000 bytes first gets as much locked memory as fits,
/// and then unlocked memory, with the reason in the statistics.
#[cfg(target_os = "linux")]
#[test]
fn scarce_locked_memory_is_used_up_first() {
    const LIMIT: usize = 100_000;
    fn locked_by_kernel() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }
    if std::env::var_os("CHILD").is_some() {
        let limit =
            libc::rlimit { rlim_cur: LIMIT as libc::rlim_t, rlim_max: LIMIT as libc::rlim_t };
        // SAFETY: `limit` is valid for the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
        // The limit does not bind root.
        // SAFETY: system calls without pointers, while no other thread does anything.
        assert!(unsafe { libc::geteuid() != 0 || libc::setresuid(65534, 65534, 65534) == 0 });
        let pool = LockedPool::default();
        let mut allocated = 0;
        while pool.stats().arenas < 3 {
            pool.alloc(1024, 16).unwrap();
            allocated += 1024;
            let stats = pool.stats();
            assert_eq!((stats.used, stats.locked), (allocated, locked_by_kernel()));
            if stats.used <= stats.locked {
                assert_eq!(stats.locked, stats.total, "locked memory first");
            }
        }
        let stats = pool.stats();
        assert_eq!(stats.locked, LIMIT / page_size() * page_size());
        let failure = stats.last_lock_failure.unwrap();
        assert_eq!((failure.errno, failure.limit), (libc::ENOMEM, LIMIT));
        let text = failure.to_string();
        assert!(text.contains("100000 bytes") && text.contains("LimitMEMLOCK="), "{text}");
        return;
    }
    assert!(in_child("scarce_locked_memory_is_used_up_first").success());
}

#[test]
fn a_pool_of_its_own_sizes_keeps_its_cap() {
    let page = page_size();
    let pool = LockedPool::new(page, 2 * page, 7 * page).unwrap();
    assert_eq!(pool.stats(), PoolStats::default(), "nothing is mapped before it is needed");
    assert_eq!(pool.alloc(2 * page + 1, 16), None, "larger than an arena");
    let chunks: Vec<_> = (0..3).map(|_| pool.alloc(2 * page, 16).unwrap()).collect();
    let small: Vec<_> = std::iter::from_fn(|| pool.alloc(16, 16)).collect();
    let stats = pool.stats();
    assert_eq!((stats.total, stats.used, stats.arenas), (7 * page, 7 * page, 4));
    assert_eq!(small.len(), page / 16, "the last arena is as large as the cap allows");
    assert_eq!(stats.lock_failures, 0, "a cap is no failure");
    for chunk in chunks.into_iter().chain(small) {
        assert_eq!(free(&pool, chunk.as_ptr()), Ok(()));
    }
    assert_eq!(pool.stats().used, 0);
}

#[test]
fn sizes_that_make_no_pool_are_refused() {
    let page = page_size();
    let text = |error: PoolError| String::from(error);
    let error = LockedPool::new(page + 1, page, page).unwrap_err();
    assert!(matches!(error, PoolError::PageSize(size) if size == page + 1));
    assert!(text(error).contains(&(page + 1).to_string()));
    for chunk_size in [0, 1, page - 1, page + 1, usize::MAX, usize::MAX - page + 1] {
        let error = LockedPool::new(page, chunk_size, usize::MAX).unwrap_err();
        assert!(matches!(error, PoolError::ChunkSize(size) if size == chunk_size));
        assert!(text(error).contains(&chunk_size.to_string()));
    }
    for max_size in [0, 1, page - 1] {
        let error = LockedPool::new(page, page, max_size).unwrap_err();
        assert!(matches!(error, PoolError::MaxSize(size) if size == max_size));
        assert!(text(error).contains(&max_size.to_string()));
    }
    assert!(matches!(LockedPageArena::new(24, 4096), Err(PoolError::ChunkSize(24))));
    assert!(matches!(LockedPageArena::new(32, 31), Err(PoolError::MaxSize(31))));
    assert!(matches!(LockedPageArena::new(32, usize::MAX), Err(PoolError::Map(_))));
}

/// The pool uses huge pages that an administrator has reserved (`sysctl vm.nr_hugepages=4`).
#[cfg(target_os = "linux")]
#[test]
fn huge_pages_are_used_where_there_are_some() {
    use bitcoin_support::has_page_size;

    let size = 2 << 20;
    let left = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
        .map_or(0, |text| text.trim().parse().unwrap());
    assert_eq!(
        has_page_size(size),
        std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists()
    );
    if !has_page_size(size) {
        println!("skipped: this system has no pages of 2 MiB");
        return;
    }
    let pool = LockedPool::new(size, size, size).unwrap();
    let chunk = pool.alloc(1000, 16);
    assert_eq!(chunk.is_some(), left > 0, "{left} huge pages are free");
    if let Some(chunk) = chunk {
        fill(chunk, 0x11, 1000);
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let at = format!("{:x}-", chunk.addr().get() / size * size);
        let mapping = smaps.split_once(&at).unwrap().1;
        assert!(
            mapping
                .lines()
                .any(|line| line.starts_with("KernelPageSize:") && line.contains("2048 kB"))
        );
        assert_eq!(free(&pool, chunk.as_ptr()), Ok(()));
    }
}

#[test]
fn a_locked_page_arena_is_an_arena_on_locked_pages() {
    let mut arena = LockedPageArena::new(64, 3 * page_size()).unwrap();
    assert_eq!(arena.lock_state(), Ok(()));
    let total = arena.stats().total;
    assert_eq!(total, 3 * page_size());
    let chunks: Vec<_> = std::iter::from_fn(|| arena.alloc(50)).collect();
    assert_eq!(chunks.len(), total / 64);
    let chunk = chunks[3];
    fill(chunk, 0x33, 64);
    // SAFETY: nothing uses the chunks afterwards but to look at their bytes.
    unsafe {
        assert_eq!(arena.free(chunk.as_ptr(), 65), Err(FreeError::SizeMismatch));
        assert_eq!(arena.free(chunk.as_ptr().wrapping_add(1), 50), Err(FreeError::InvalidFree));
        assert_eq!(arena.free(chunk.as_ptr().wrapping_add(total), 50), Err(FreeError::NotInPool));
        assert_eq!(bytes(chunk, 64), [0x33; 64]);
        assert_eq!(arena.free(chunk.as_ptr(), 50), Ok(()));
        assert_eq!(bytes(chunk, 64), [0; 64], "wiped whole");
        assert_eq!(arena.free(chunk.as_ptr(), 50), Err(FreeError::InvalidFree));
        assert_eq!(arena.free(ptr::null_mut(), 50), Ok(()));
    }
    assert_eq!(arena.stats().chunks_used, chunks.len() - 1);
}

#[test]
fn a_manager_uses_its_pools_in_order() {
    let page = page_size();
    let manager = LockedPoolManager::new();
    assert_eq!(manager.alloc(16, 16), None);
    manager.add_pool(LockedPool::new(page, page, page).unwrap());
    manager.add_pool(LockedPool::new(page, 4 * page, 4 * page).unwrap());
    let first = manager.alloc(page, 16).unwrap();
    let second = manager.alloc(page, 16).unwrap();
    let large = manager.alloc(3 * page, 16).unwrap();
    assert_eq!(manager.alloc(16, 16), None);
    let stats = manager.stats();
    assert_eq!((stats.used, stats.total, stats.arenas), (5 * page, 5 * page, 2));
    let mut walked = 0;
    manager.walk(|_, size, used| walked += if used { size } else { 0 });
    assert_eq!(walked, stats.used);
    fill(second, 0x44, page);
    // SAFETY: nothing uses the chunks afterwards but to look at their bytes.
    unsafe {
        assert_eq!(manager.free_sized(second.as_ptr(), 16, 16), Err(FreeError::SizeMismatch));
        assert_eq!(manager.free(second.as_ptr()), Ok(()));
        assert_eq!(bytes(second, page), vec![0; page]);
        assert_eq!(manager.free(second.as_ptr()), Err(FreeError::InvalidFree));
        assert_eq!(manager.free(std::ptr::dangling_mut()), Err(FreeError::NotInPool));
        assert_eq!(manager.free(first.as_ptr()), Ok(()));
        assert_eq!(manager.free(large.as_ptr()), Ok(()));
    }
    assert_eq!(manager.stats().used, 0);
}

/// Several threads add pools at once while others use them, and all pools are there. They end with
/// the manager, and other pools may use their addresses.
#[test]
fn pools_are_added_by_several_threads() {
    let page = page_size();
    for _ in 0..3 {
        let manager = LockedPoolManager::new();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for added in 1..=8 {
                        manager.add_pool(LockedPool::new(page, page, page).unwrap());
                        assert!(manager.alloc(page, 16).is_some(), "no more chunks than pools");
                        assert!(manager.stats().arenas >= added);
                    }
                });
            }
        });
        let stats = manager.stats();
        assert_eq!((stats.arenas, stats.chunks_used), (24, 24));
        assert_eq!(manager.alloc(page, 16), None);
    }
    let other = LockedPoolManager::new();
    other.add_pool(LockedPool::new(page, page, page).unwrap());
    assert!(other.alloc(page, 16).is_some());
    assert_eq!(other.alloc(page, 16), None, "pools of a manager that has ended");
}

/// A pool may be added while the others are walked.
#[test]
fn a_visitor_may_add_pools() {
    let page = page_size();
    let manager = LockedPoolManager::new();
    manager.add_pool(LockedPool::new(page, page, page).unwrap());
    assert!(manager.alloc(page, 16).is_some());
    manager.walk(|_, _, _| manager.add_pool(LockedPool::new(page, page, page).unwrap()));
    assert!(manager.alloc(page, 16).is_some());
    assert_eq!(manager.stats().arenas, 2);
}

/// Pools that are added to the process-wide manager serve chunks that its own pool cannot: chunks
/// that are larger than its arenas.
#[cfg(target_os = "linux")]
#[test]
fn pools_can_be_added_to_the_instance() {
    if std::env::var_os("CHILD").is_some() {
        let manager = LockedPoolManager::instance();
        assert_eq!(manager.alloc(ARENA_SIZE + 1, 16), None);
        manager.add_pool(LockedPool::new(page_size(), 4 * ARENA_SIZE, 4 * ARENA_SIZE).unwrap());
        let chunk = manager.alloc(ARENA_SIZE + 1, 16).unwrap();
        let small = manager.alloc(100, 16).unwrap();
        assert_eq!(manager.stats().chunks_used, 2);
        // SAFETY: not used afterwards.
        unsafe {
            assert_eq!(manager.free(chunk.as_ptr()), Ok(()));
            assert_eq!(manager.free(small.as_ptr()), Ok(()));
        }
        return;
    }
    assert!(in_child("pools_can_be_added_to_the_instance").success());
}
