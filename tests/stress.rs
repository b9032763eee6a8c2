//! The process-wide pool under stress. Threads allocate, hand chunks to each other, free chunks of
//! others, and end with chunks that outlive them. Meanwhile the process forks, and one thread reads
//! the statistics all the time. Every byte is checked. Every figure is compared with the calls that
//! were made, with a margin for the calls that were under way at that moment.
//!
//! The figures count the whole process, so each run is a separate process. Runs that make a mistake
//! on purpose must fail.

#![cfg(target_os = "linux")]

#[path = "common/this_program.rs"]
mod this_program;

use bitcoin_support::{LockedPool, LockedPoolManager, PoolStats};
use std::process::Output;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use this_program::this_program;

const GENERATIONS: u64 = 12;
const WORKERS: u64 = 4;
const STEPS: usize = 4000;
const FORKS: usize = 24;

/// The mistake that a run makes on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Writes a byte of a chunk that belongs to another thread.
    Byte,
    /// Never frees a chunk that it counts as freed.
    Lost,
    /// Frees a chunk that it still counts as live.
    Early,
}

fn pool() -> &'static LockedPoolManager {
    LockedPoolManager::instance()
}

/// Chunks and bytes of the allocations, or of the frees, that have begun or have ended. Never
/// falls.
struct Count {
    chunks: AtomicUsize,
    bytes: AtomicUsize,
}

impl Count {
    const fn new() -> Self {
        Self { chunks: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    fn add(&self, bytes: usize) {
        self.chunks.fetch_add(1, SeqCst);
        self.bytes.fetch_add(bytes, SeqCst);
    }

    fn get(&self) -> (usize, usize) {
        (self.chunks.load(SeqCst), self.bytes.load(SeqCst))
    }
}

static ALLOCATING: Count = Count::new();
static ALLOCATED: Count = Count::new();
static FREEING: Count = Count::new();
static FREED: Count = Count::new();

/// The bytes that a chunk takes.
fn footprint(size: usize) -> usize {
    size.next_multiple_of(16)
}

/// A chunk filled with one byte value. The value is checked before the chunk is freed.
struct Chunk {
    addr: usize,
    size: usize,
    byte: u8,
}

impl Chunk {
    fn new(size: usize, byte: u8) -> Self {
        ALLOCATING.add(footprint(size));
        let chunk = pool().alloc(size, 16).expect("memory");
        // SAFETY: `size` bytes of this test, handed out as zeros.
        unsafe {
            let bytes = std::slice::from_raw_parts_mut(chunk.as_ptr(), size);
            assert!(bytes.iter().all(|&b| b == 0), "a chunk is not zeros");
            bytes.fill(byte);
        }
        ALLOCATED.add(footprint(size));
        Self { addr: chunk.as_ptr().expose_provenance(), size, byte }
    }

    fn ptr(&self) -> NonNull<u8> {
        NonNull::new(std::ptr::with_exposed_provenance_mut(self.addr)).unwrap()
    }

    fn check(&self) {
        // SAFETY: `size` bytes of this test.
        let bytes = unsafe { std::slice::from_raw_parts(self.ptr().as_ptr(), self.size) };
        assert!(bytes.iter().all(|&b| b == self.byte), "a chunk has changed");
    }

    fn free_memory(&self) {
        // SAFETY: nothing uses the chunk afterwards.
        let freed = unsafe { pool().free_sized(self.ptr().as_ptr(), self.size, 16) };
        assert_eq!(freed, Ok(()));
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.check();
        FREEING.add(footprint(self.size));
        self.free_memory();
        FREED.add(footprint(self.size));
    }
}

/// Chunks on their way between threads: one box for each worker, and one for chunks of threads that
/// have ended.
struct Boxes([Mutex<Vec<Chunk>>; WORKERS as usize + 1]);

impl Boxes {
    fn open(&self, number: usize) -> MutexGuard<'_, Vec<Chunk>> {
        self.0[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

/// The life of one thread. It ends with chunks that are live.
fn work(seed: u64, boxes: &Boxes, fault: Fault) {
    let own_box = (seed % WORKERS) as usize;
    let mut state = seed + 1;
    let mut own: Vec<Chunk> = Vec::new();
    for step in 0..STEPS {
        let number = random(&mut state);
        let size = match number & 31 {
            0 => 4096 + (number >> 8) % 16_000,
            // From 1025 to 4096 bytes the footprint may be that of a slot, so these sizes are the
            // same by both rules.
            1..=4 => [1280, 1536, 2048, 3072, 4096][(number >> 8) % 5] - 1,
            _ => (number >> 8) % 200,
        };
        own.push(Chunk::new(size + 1, number as u8));
        let pick = (number >> 24) % own.len();
        match (number >> 5) & 3 {
            0 => drop(own.swap_remove(pick)),
            1 => boxes.open((number >> 20) % boxes.0.len()).push(own.swap_remove(pick)),
            2 => {
                // The chunks that other threads sent, and one of those that ended threads left.
                let theirs = std::mem::take(&mut *boxes.open(own_box));
                drop(theirs);
                let left = boxes.open(WORKERS as usize).pop();
                drop(left);
            }
            _ => own[pick].check(),
        }
        if own.len() > 60 {
            own.swap_remove(pick % 60);
        }
        if step == STEPS / 2 && seed == 5 {
            let victim = Chunk::new(40, 7);
            match fault {
                Fault::None => drop(victim),
                Fault::Byte => {
                    // SAFETY: a byte of a live chunk, which another thread is about to own.
                    unsafe { victim.ptr().as_ptr().add(39).write(8) };
                    boxes.open(own_box).push(victim);
                }
                Fault::Lost => {
                    FREEING.add(footprint(40));
                    FREED.add(footprint(40));
                    std::mem::forget(victim);
                }
                Fault::Early => {
                    victim.free_memory();
                    std::mem::forget(victim);
                }
            }
        }
    }
    boxes.open(WORKERS as usize).append(&mut own);
}

/// Checks the statistics against the counts of calls from before and after.
fn check_snapshot() -> PoolStats {
    let (allocated, freed) = (ALLOCATED.get(), FREED.get());
    let stats = pool().stats();
    let (allocating, freeing) = (ALLOCATING.get(), FREEING.get());
    assert_eq!(stats.used + stats.free, stats.total, "{stats:?}");
    assert!(stats.used <= stats.peak_used, "{stats:?}");
    assert!(stats.locked <= stats.total && stats.used % 16 == 0, "{stats:?}");
    // Calls that have begun may or may not count yet.
    let chunks = allocated.0.saturating_sub(freeing.0)..=allocating.0 - freed.0;
    let bytes = allocated.1.saturating_sub(freeing.1)..=allocating.1 - freed.1;
    assert!(chunks.contains(&stats.chunks_used), "not in {chunks:?}: {stats:?}");
    assert!(bytes.contains(&stats.used), "not in {bytes:?}: {stats:?}");
    stats
}

/// Compares the statistics with all chunks of a walk.
fn check_chunks() -> PoolStats {
    let stats = check_snapshot();
    let (mut used, mut chunks) = (0, Vec::new());
    pool().walk(|addr, size, is_used| {
        used += if is_used { size } else { 0 };
        chunks.push((addr, size, is_used));
    });
    chunks.sort_unstable();
    for pair in chunks.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "chunks overlap");
    }
    assert_eq!(used, stats.used);
    let count = chunks.iter().filter(|chunk| chunk.2).count();
    assert_eq!((count, chunks.len() - count), (stats.chunks_used, stats.chunks_free));
    stats
}

/// In a child process: every chunk is there, and the pool can be used.
fn check_child(kept: &[Chunk], boxes: &Boxes) {
    let before = check_chunks();
    kept.iter().for_each(Chunk::check);
    // Chunks in a box that no thread had open are unchanged, and can be freed.
    let mut freed = 0;
    for chunks in &boxes.0 {
        if let Ok(mut chunks) = chunks.try_lock() {
            freed += chunks.len();
            chunks.clear();
        }
    }
    assert_eq!(check_chunks().chunks_used, before.chunks_used - freed);
    let more: Vec<_> = (1..300).map(|i| Chunk::new(i * 3 + i / 290 * 5000, i as u8)).collect();
    drop(more);
    assert_eq!(check_chunks().chunks_used, before.chunks_used - freed);
}

fn fork_and_check(kept: &[Chunk], boxes: &Boxes) {
    // SAFETY: the child uses this pool, system calls and the ordinary heap, which glibc keeps
    // usable after a fork; then it ends at once.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        check_child(kept, boxes);
        // SAFETY: ends the child.
        unsafe { libc::_exit(42) };
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 42 << 8, "the child's checks failed");
}

/// A failed check ends the process at once. Other threads may be waiting for the one that failed,
/// and in a child an ordinary panic waits for a lock that a thread of the parent had.
fn end_at_first_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let text = format!("{panic}\n");
        // SAFETY: `text` is as long as the call is told. Ends the process.
        unsafe {
            libc::write(2, text.as_ptr().cast(), text.len());
            libc::_exit(101);
        }
    }));
}

fn run(fault: Fault) {
    end_at_first_panic();
    let kept: Vec<_> = (1..100).map(|i| Chunk::new(i * 10, i as u8)).collect();
    let boxes = Boxes(std::array::from_fn(|_| Mutex::new(Vec::new())));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut snapshots = 0;
            while !done.load(SeqCst) {
                check_snapshot();
                snapshots += 1;
            }
            snapshots
        });
        let forks = scope.spawn(|| {
            let mut forks = 0;
            while forks < FORKS || !done.load(SeqCst) {
                fork_and_check(&kept, &boxes);
                forks += 1;
            }
            forks
        });
        for generation in 0..GENERATIONS {
            let boxes = &boxes;
            let seeds = generation * WORKERS..(generation + 1) * WORKERS;
            let workers: Vec<_> =
                seeds.map(|seed| scope.spawn(move || work(seed, boxes, fault))).collect();
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        }
        done.store(true, SeqCst);
        let (snapshots, forks): (usize, _) = (watcher.join().unwrap(), forks.join().unwrap());
        println!("{snapshots} snapshots, {forks} forks, {} chunks", ALLOCATED.get().0);
        assert!(snapshots > 0);
    });
    // No call is under way any more, so the count of chunks must be exact.
    let live =
        kept.len() + boxes.0.iter().map(|chunks| chunks.lock().unwrap().len()).sum::<usize>();
    assert_eq!(check_chunks().chunks_used, live, "chunks are lost");
    drop((kept, boxes));
    let stats = check_chunks();
    assert_eq!((stats.used, stats.chunks_used), (0, 0), "chunks are lost");
    // All memory can be allocated again.
    let whole: Vec<_> =
        (0..stats.locked / LockedPool::ARENA_SIZE / 2).map(|_| Chunk::new(65_536, 1)).collect();
    drop(whole);
    assert_eq!(check_chunks().used, 0);
}

/// Runs this program again with `stress` alone and a fault.
fn run_alone(fault: Fault) -> Output {
    this_program()
        .args(["stress", "--exact", "--nocapture", "--test-threads=1"])
        .env("FAULT", format!("{fault:?}"))
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

#[test]
fn stress() {
    let Ok(name) = std::env::var("FAULT") else {
        let output = run_alone(Fault::None);
        assert!(output.status.success(), "{}", text(&output));
        return;
    };
    let faults = [Fault::None, Fault::Byte, Fault::Lost, Fault::Early];
    run(faults.into_iter().find(|fault| format!("{fault:?}") == name).unwrap());
}

/// The same run notices a changed byte, a chunk that is lost, and one that is freed too early.
#[test]
fn stress_finds_faults() {
    for (fault, message) in
        [(Fault::Byte, "a chunk has changed"), (Fault::Lost, "not in "), (Fault::Early, "not in ")]
    {
        let output = run_alone(fault);
        let text = text(&output);
        assert!(!output.status.success(), "{fault:?} goes unnoticed: {text}");
        assert!(text.contains(message) || text.contains("chunks are lost"), "{fault:?}: {text}");
    }
}
