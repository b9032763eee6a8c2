//! `LockedPool`: sizes and alignments, every bad free, statistics, wiping, foreign page allocators
//! and their limits, threads, and what is left at process exit.

use bitcoin_support::{
    FreeError, LockError, LockedAllocation, LockedPageAllocator, LockedPool, LockedPoolManager,
    PoolStats,
};
use std::collections::BTreeMap;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const ARENA_SIZE: usize = LockedPool::ARENA_SIZE;

/// Frees, with the promise that tests keep: nothing uses the chunk afterwards but to look at it.
fn free(pool: &LockedPool, chunk: *mut u8) -> Result<(), FreeError> {
    // SAFETY: see above.
    unsafe { pool.free(chunk) }
}

/// What the memory at `chunk` holds, live or not: its pages stay mapped as long as the pool.
fn bytes(chunk: NonNull<u8>, len: usize) -> Vec<u8> {
    // SAFETY: `len` mapped, initialized bytes that no other thread writes.
    unsafe { std::slice::from_raw_parts(chunk.as_ptr(), len) }.to_vec()
}

fn fill(chunk: NonNull<u8>, byte: u8, len: usize) {
    // SAFETY: the tests fill chunks of their own only, within their size.
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
    assert_eq!(pool.stats(), PoolStats::default(), "nothing was mapped for what cannot be");

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
    // Larger alignments than an arena has room for.
    assert_eq!(pool.alloc(ARENA_SIZE, ARENA_SIZE), None);
    assert_eq!(pool.alloc(16, 1 << 40), None);
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
        // Also the padding, which a caller may have used by mistake.
        fill(chunk, 0xee, padded);
        assert_eq!(free(&pool, chunk.as_ptr()), Ok(()));
        assert_eq!(bytes(chunk, padded), vec![0; padded]);
    }
}

/// A page allocator over ordinary memory that can refuse, and writes down how it is asked.
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

/// The other way of `chunks_are_wiped_whole_as_they_are_freed`: the same look finds the bytes where
/// the pool must not touch.
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
    // The first of the arenas that have room, as Core looks.
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
        (100_001, 98_304),
        (ARENA_SIZE - 1, ARENA_SIZE - 4096),
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

/// Threads allocate, fill, hand to each other, check and free. No byte and no count goes astray.
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

/// Runs `test` of this program again, alone, in a process of its own where `CHILD` is set.
#[cfg(target_os = "linux")]
fn in_child(test: &str) -> std::process::ExitStatus {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--test-threads=1", "--quiet"])
        .env("CHILD", "1")
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap()
}

/// A secret that is still allocated when the process exits normally is wiped by then: an exit
/// handler that was registered before the pool's own, and so runs after it, finds zeros. The pool
/// beside it, which is not the process-wide one, shows that the handler would see the secret.
#[cfg(target_os = "linux")]
#[test]
fn live_secrets_are_wiped_at_exit() {
    static SECRET: AtomicUsize = AtomicUsize::new(0);
    static CONTROL: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn look() {
        let read = |place: &AtomicUsize| {
            let addr = place.load(Ordering::Relaxed);
            // SAFETY: chunks of pools that are never dropped: mapped and initialized.
            unsafe { ptr::with_exposed_provenance::<u8>(addr).read_volatile() }
        };
        let code = match (read(&SECRET), read(&CONTROL)) {
            (0, 0x77) => 42,
            _ => 1,
        };
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(code) };
    }
    if std::env::var_os("CHILD").is_some() {
        // SAFETY: a function without arguments that lives as long as the program.
        assert_eq!(unsafe { libc::atexit(look) }, 0);
        let control: &LockedPool = Box::leak(Box::new(LockedPool::default()));
        for (pool, place) in [(&**LockedPoolManager::instance(), &SECRET), (control, &CONTROL)] {
            let chunk = pool.alloc(32, 16).unwrap();
            fill(chunk, 0x77, 32);
            place.store(chunk.as_ptr().expose_provenance(), Ordering::Relaxed);
        }
        std::process::exit(0);
    }
    assert_eq!(in_child("live_secrets_are_wiped_at_exit").code(), Some(42));
}

/// An unprivileged process that may lock 100 000 bytes gets locked memory first, of as much as fits,
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
        // The limit does not bind root. SAFETY: system calls without pointers, on one thread's
        // behalf and before any other thread does anything.
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
        assert_eq!(stats.locked, LIMIT / 4096 * 4096);
        let failure = stats.last_lock_failure.unwrap();
        assert_eq!((failure.errno, failure.limit), (libc::ENOMEM, LIMIT));
        let text = failure.to_string();
        assert!(text.contains("100000 bytes") && text.contains("LimitMEMLOCK="), "{text}");
        return;
    }
    assert!(in_child("scarce_locked_memory_is_used_up_first").success());
}
