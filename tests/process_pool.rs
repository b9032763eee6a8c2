//! The process-wide pool, whose threads have separate heaps. Checks every byte and every statistic,
//! with chunks that other threads free, threads that end, forks, and exhausted memory.
//!
//! The tests count the memory of the whole process, so each runs in a separate process.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{FreeError, LockedPool, LockedPoolManager, PoolStats};
use common::alone;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};

fn pool() -> &'static LockedPoolManager {
    LockedPoolManager::instance()
}

/// A chunk filled with one byte value. The value is checked before the chunk is freed.
struct Chunk {
    addr: usize,
    size: usize,
    byte: u8,
}

impl Chunk {
    fn new(size: usize, byte: u8) -> Self {
        let chunk = pool().alloc(size, 16).expect("memory");
        // SAFETY: `size` bytes of this test, handed out as zeros.
        unsafe {
            assert!(std::slice::from_raw_parts(chunk.as_ptr(), size).iter().all(|&b| b == 0));
            chunk.write_bytes(byte, size);
        }
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
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.check();
        assert_eq!(free(self.ptr().as_ptr()), Ok(()));
    }
}

/// A thread that has made chunks, so that it has a heap, and does nothing more. It ends when this
/// is dropped.
struct ThreadThatStays(Option<(std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>)>);

impl ThreadThatStays {
    /// Starts one; `make` makes the chunks, which are returned.
    fn start(make: impl FnOnce() -> Vec<Chunk> + Send + 'static) -> (Vec<Chunk>, Self) {
        let ((send, chunks), (end, wait)) =
            (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        let thread = std::thread::spawn(move || {
            send.send(make()).unwrap();
            let _ = wait.recv();
        });
        (chunks.recv().unwrap(), Self(Some((end, thread))))
    }
}

impl Drop for ThreadThatStays {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

/// Chunks of one size, each with its own byte.
fn chunks_of(count: usize, size: usize) -> Vec<Chunk> {
    (0..count).map(|i| Chunk::new(size, i as u8)).collect()
}

fn free(ptr: *mut u8) -> Result<(), FreeError> {
    // SAFETY: nothing uses the chunk afterwards.
    unsafe { pool().free(ptr) }
}

/// Sums up the chunks of `walk` and compares them with the statistics.
fn check_statistics() -> PoolStats {
    let mut stats = pool().stats();
    let (mut used, mut free, mut chunks_used, mut chunks_free);
    loop {
        (used, free, chunks_used, chunks_free) = (0, 0, 0, 0);
        pool().walk(|_, size, is_used| {
            *(if is_used { &mut used } else { &mut free }) += size;
            *(if is_used { &mut chunks_used } else { &mut chunks_free }) += 1;
        });
        // A thread whose closure has returned may still be giving up its heap.
        let before = core::mem::replace(&mut stats, pool().stats());
        if before == stats {
            break;
        }
    }
    assert_eq!((stats.used, stats.chunks_used), (used, chunks_used));
    assert_eq!(stats.chunks_free, chunks_free);
    assert_eq!(stats.used + stats.free, stats.total);
    assert!(free <= stats.free, "only the ends of slabs are in no chunk");
    // Not `<= stats.total`: the pages of sampled chunks leave the total when they are freed.
    assert!(stats.peak_used >= stats.used);
    stats
}

fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

#[test]
fn one_thread_counts_exactly() {
    alone("one_thread_counts_exactly", || {
        let mut chunks: Vec<Chunk> = Vec::new();
        let (mut state, mut peak) = (3, 0);
        for step in 0..200_000 {
            let number = random(&mut state);
            if number % 16 < 9 || chunks.is_empty() {
                let size = match number >> 8 & 15 {
                    0 => (number >> 12) % 70_000 + 1,
                    1..=3 => (number >> 12) % 4200 + 1,
                    _ => (number >> 12) % 300 + 1,
                };
                if chunks.len() < 3000 {
                    chunks.push(Chunk::new(size, number as u8));
                }
            } else {
                chunks.swap_remove((number >> 12) % chunks.len());
            }
            if step % 1000 == 0 {
                let stats = check_statistics();
                peak = peak.max(stats.used);
                assert!(stats.peak_used >= peak);
                assert_eq!(stats.chunks_used, chunks.len());
                let asked: usize = chunks.iter().map(|chunk| chunk.size).sum();
                assert!(stats.used >= asked && stats.used <= asked + asked / 4 + 16 * chunks.len());
            }
        }
        chunks.clear();
        let stats = check_statistics();
        assert_eq!((stats.used, stats.chunks_used), (0, 0));
    });
}

#[test]
fn the_high_water_mark_of_one_thread_is_exact() {
    alone("the_high_water_mark_of_one_thread_is_exact", || {
        let sizes = [16, 32, 48, 4096, 6 * 1024, 32, 64 * 1024, 16];
        let mut highest = 0;
        for round in 1..6 {
            let chunks: Vec<_> = sizes[..round + 2].iter().map(|&s| Chunk::new(s, 1)).collect();
            let sum: usize = sizes[..round + 2].iter().sum();
            highest = highest.max(sum);
            drop(chunks);
            // The pool is not asked for statistics before.
            assert_eq!(pool().stats().peak_used, highest);
        }
    });
}

#[test]
fn bad_frees_are_refused_whoever_tries() {
    alone("bad_frees_are_refused_whoever_tries", || {
        let barrier = Barrier::new(2);
        for size in [16, 48, 100, 1000, 4096, 5000, 100_000] {
            let kept = Chunk::new(size, 0xa5);
            let freed = Chunk::new(size, 1).ptr().as_ptr().expose_provenance();
            let before = pool().stats();
            let attempts = |freed: usize| {
                let at = kept.ptr().as_ptr();
                let on_stack = 0_u8;
                for (address, error) in [
                    (std::ptr::with_exposed_provenance_mut(freed), FreeError::InvalidFree),
                    (at.wrapping_add(1), FreeError::InvalidFree),
                    (at.wrapping_add(8), FreeError::InvalidFree),
                    (at.wrapping_add(size / 2), FreeError::InvalidFree),
                    (at.wrapping_add(size - 1), FreeError::InvalidFree),
                    (std::ptr::from_ref(&on_stack).cast_mut(), FreeError::NotInPool),
                    (std::ptr::without_provenance_mut(64), FreeError::NotInPool),
                    (std::ptr::without_provenance_mut(usize::MAX - 15), FreeError::NotInPool),
                ] {
                    assert_eq!(free(address), Err(error), "size {size}, {address:p} of {at:p}");
                }
                // SAFETY: the free is refused.
                let wrong = unsafe { pool().free_sized(at, size * 2, 16) };
                assert_eq!(wrong, Err(FreeError::SizeMismatch));
                assert_eq!(free(std::ptr::null_mut()), Ok(()));
                kept.check();
            };
            attempts(freed);
            // From here on another chunk may begin at the freed address.
            let after = pool().stats();
            assert_eq!((after.used, after.chunks_used), (before.used, before.chunks_used));
            // A thread that has a heap, a thread that has none yet, and a thread whose heap does
            // not have the chunk's slab.
            std::thread::scope(|scope| {
                scope.spawn(|| attempts(kept.addr + 1));
                scope.spawn(|| {
                    let _own = Chunk::new(size, 2);
                    barrier.wait();
                    attempts(kept.addr + 1);
                });
                barrier.wait();
                attempts(kept.addr + 1);
            });
            let after = check_statistics();
            assert_eq!((after.used, after.chunks_used), (before.used, before.chunks_used));
            // SAFETY: not used afterwards.
            assert_eq!(unsafe { pool().free_sized(kept.ptr().as_ptr(), size, 16) }, Ok(()));
            assert_eq!(free(kept.ptr().as_ptr()), Err(FreeError::InvalidFree));
            std::mem::forget(kept);
        }
    });
}

/// Freed chunks are zeros, whichever thread frees them: the one that allocated the chunk, one with
/// another heap, or one without a heap.
#[test]
fn freed_chunks_are_zeros_whoever_frees() {
    fn look_into(bytes: &mut [u8], addr: usize) {
        use std::os::unix::fs::FileExt;
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(bytes, addr as u64).unwrap();
    }
    fn look(addr: usize, size: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; size];
        look_into(&mut bytes, addr);
        bytes
    }
    fn free_and_look(chunk: Chunk) {
        let (addr, size) = (chunk.addr, chunk.size);
        assert_eq!(look(addr, size), vec![chunk.byte; size]);
        drop(chunk);
        assert_eq!(look(addr, size), vec![0; size]);
    }
    alone("freed_chunks_are_zeros_whoever_frees", || {
        for size in [16, 48, 256, 257, 1000, 4096, 5000, 100_000] {
            let [one, two, three] = [1, 2, 3].map(|byte| Chunk::new(size, byte));
            free_and_look(one);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    drop(Chunk::new(size, 9));
                    free_and_look(two);
                });
            });
            std::thread::scope(|scope| {
                scope.spawn(|| free_and_look(three));
            });
        }
        // The control: the same look at a block of the ordinary heap, which has its links at the
        // beginning. (musl's heap gives a block that was alone in its pages back to the system.)
        // What is seen is allocated before: it could else take the place of the block.
        let mut seen = vec![0xee; 800];
        // SAFETY: blocks of 1000 bytes. After the free only the kernel reads the first one; the
        // other is never freed.
        let block = unsafe {
            let block = libc::malloc(1000);
            std::hint::black_box(libc::malloc(1000));
            block.cast::<u8>().write_bytes(4, 1000);
            libc::free(std::hint::black_box(block));
            block.expose_provenance()
        };
        look_into(&mut seen, block + 100);
        assert_eq!(seen, [4; 800]);
    });
}

/// Of several threads that free the same chunk at the same time, one succeeds.
#[test]
fn a_race_to_free_has_one_winner() {
    alone("a_race_to_free_has_one_winner", || {
        const ROUNDS: usize = 20_000;
        // One at a time of the other sizes: chunks that are no slots.
        let sizes: Vec<_> =
            (0..ROUNDS).map(|i| if i < 1000 { 32 } else { i % 100 * 16 + 16 }).collect();
        let place = AtomicUsize::new(0);
        let wins = AtomicUsize::new(0);
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (place, wins, barrier, sizes) = (&place, &wins, &barrier, &sizes);
                scope.spawn(move || {
                    for (round, &size) in sizes.iter().enumerate() {
                        if round % 2 == thread {
                            let chunk = pool().alloc(size, 16).unwrap();
                            place.store(chunk.as_ptr().expose_provenance(), Ordering::Relaxed);
                        }
                        barrier.wait();
                        let addr = place.load(Ordering::Relaxed);
                        if free(std::ptr::with_exposed_provenance_mut(addr)).is_ok() {
                            wins.fetch_add(1, Ordering::Relaxed);
                        }
                        barrier.wait();
                    }
                });
            }
        });
        assert_eq!(wins.load(Ordering::Relaxed), ROUNDS);
        assert_eq!(check_statistics().used, 0);
    });
}

/// Three threads free the chunks that a thread has left, each chunk at about the same time. One of
/// the three has no heap, and gets that of the ended thread meanwhile. One free of each chunk
/// succeeds.
#[test]
fn a_race_to_free_what_a_thread_has_left_has_one_winner() {
    const ROUNDS: usize = 100;
    const CHUNKS: usize = 200;
    alone("a_race_to_free_what_a_thread_has_left_has_one_winner", || {
        // The other threads wait for one that has panicked.
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            print(panic);
            std::process::abort();
        }));
        let left = Mutex::new(Vec::new());
        let wins = AtomicUsize::new(0);
        let (begin, end) = (Barrier::new(3), Barrier::new(3));
        let race = || {
            let left: Vec<usize> = left.lock().unwrap().clone();
            begin.wait();
            let freed = left.iter().filter(|&&addr| {
                let ptr = std::ptr::with_exposed_provenance_mut(addr);
                free(ptr).inspect_err(|&error| assert_eq!(error, FreeError::InvalidFree)).is_ok()
            });
            wins.fetch_add(freed.count(), Ordering::Relaxed);
            end.wait();
        };
        let (ready, go_on) = (Barrier::new(3), Barrier::new(3));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let _mine = chunks_of(64, 32);
                    for _ in 0..ROUNDS {
                        ready.wait();
                        race();
                        go_on.wait();
                    }
                });
            }
            let make = || {
                let chunks = (0..CHUNKS).map(|_| pool().alloc(48, 16).expect("memory"));
                chunks.map(|chunk| chunk.as_ptr().expose_provenance()).collect::<Vec<_>>()
            };
            for round in 1..=ROUNDS {
                *left.lock().unwrap() = std::thread::spawn(make).join().unwrap();
                ready.wait();
                scope.spawn(race).join().unwrap();
                assert_eq!(wins.load(Ordering::Relaxed), round * CHUNKS);
                assert_eq!(check_statistics().chunks_used, 2 * 64);
                go_on.wait();
            }
        });
        assert_eq!(check_statistics().used, 0);
    });
}

/// Threads start and end, hand their chunks to others and leave some behind, while one thread asks
/// for statistics all the time.
#[test]
fn threads_come_and_go() {
    alone("threads_come_and_go", || {
        let shared = Mutex::new(Vec::<Chunk>::new());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut snapshots = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    let stats = pool().stats();
                    assert_eq!(stats.used + stats.free, stats.total);
                    assert!(stats.used <= stats.total && stats.used % 16 == 0);
                    assert!(stats.peak_used >= stats.used);
                    snapshots += 1;
                    if snapshots % 64 == 0 {
                        check_statistics_while_running();
                    }
                }
                snapshots
            });
            for generation in 0..60_u64 {
                let workers: Vec<_> = (0..4_u64)
                    .map(|worker| {
                        let shared = &shared;
                        scope.spawn(move || {
                            let mut state = generation * 4 + worker + 1;
                            let mut own = Vec::new();
                            for _ in 0..1500 {
                                let number = random(&mut state);
                                let size = (number >> 8) % [40, 300, 5000][number % 3] + 1;
                                own.push(Chunk::new(size, number as u8));
                                if own.len() > 40 {
                                    let chunk = own.swap_remove((number >> 20) % own.len());
                                    let mut shared = shared.lock().unwrap();
                                    shared.push(chunk);
                                    let len = shared.len();
                                    let taken = (len > 500)
                                        .then(|| shared.swap_remove((number >> 30) % len));
                                    drop(shared);
                                    drop(taken);
                                }
                            }
                        })
                    })
                    .collect();
                workers.into_iter().for_each(|worker| worker.join().unwrap());
            }
            done.store(true, Ordering::Relaxed);
            assert!(watcher.join().unwrap() > 0);
        });
        let stats = check_statistics();
        assert_eq!(stats.chunks_used, shared.lock().unwrap().len());
        shared.into_inner().unwrap().clear();
        assert_eq!(check_statistics().used, 0);
    });
}

/// A thread that ends leaves its heap to the next one, and pauses nobody for that.
#[test]
fn threads_that_come_and_go_pause_no_others() {
    alone("threads_that_come_and_go_pause_no_others", || {
        let signal_after = |last: fn()| {
            common::signal_of(move || {
                let mine = chunks_of(64, 32);
                // To free another thread's chunk for the first time takes a pause too.
                core::mem::forget((mine, ThreadThatStays::start(|| chunks_of(64, 32))));
                // A pause needs this call.
                common::forbid(libc::SYS_membarrier);
                for _ in 0..100 {
                    // A chunk that the thread leaves is freed without a pause too.
                    drop(std::thread::spawn(|| chunks_of(64, 32).pop()).join().unwrap());
                }
                last();
            })
        };
        assert_eq!(signal_after(|| ()), 0);
        // The control: statistics are taken in a pause.
        let pause = || assert!(pool().stats().used > 0);
        assert_eq!(signal_after(pause), libc::SIGSYS);
    });
}

/// When no more memory can be locked, nothing of what ended threads have left stays free while
/// another thread goes without.
#[test]
fn what_ended_threads_have_left_serves_others() {
    const LIMIT: usize = 4 << 20;
    alone("what_ended_threads_have_left_serves_others", || {
        limit_locked_memory(LIMIT);
        pool().set_locking_failed(Some(Box::new(|_| false)));
        let staying: Vec<_> =
            (0..20).map(|_| ThreadThatStays::start(|| chunks_of(40, 48))).collect();
        // They all live at the same time. Each leaves a slab of which half is free. (`join` waits
        // for the end of a thread, and the end of a scope only for that of its function.)
        static TOGETHER: Barrier = Barrier::new(20);
        let leave = || {
            let mut chunks = chunks_of(100, 64);
            chunks.retain(|chunk| chunk.byte % 2 == 0);
            TOGETHER.wait();
            chunks
        };
        let threads: Vec<_> = (0..20).map(|_| std::thread::spawn(leave)).collect();
        let left = threads.into_iter().flat_map(|thread| thread.join().unwrap());
        let mut all: Vec<_> = left.collect();
        let before = check_statistics();
        assert_eq!(before.chunks_used, 20 * 40 + 20 * 50);
        while let Some(chunk) = pool().alloc(64, 16) {
            all.push(Chunk { addr: chunk.as_ptr().expose_provenance(), size: 64, byte: 0 });
        }
        let full = check_statistics();
        assert_eq!((full.locked, full.total), (LIMIT, LIMIT));
        // What is left is gaps that are too small.
        pool().walk(|_, size, is_used| assert!(is_used || size < 64, "{size} bytes are free"));
        drop(all);
        drop(staying);
        assert_eq!(check_statistics().used, 0);
    });
}

/// The slabs of an ended thread go back to the arenas at once where they would be much: where they
/// are large, where there are many such threads, and while memory is scarce. Memory that has gone
/// back is in few free chunks.
#[test]
fn ended_threads_keep_little() {
    const LIMIT: usize = 4 << 20;
    const FEW: usize = 50;
    let assert_few_are_free = || {
        let free = check_statistics().chunks_free;
        assert!(free < FEW, "{free} chunks are free");
    };
    alone("ended_threads_keep_little", || {
        common::in_child(|| {
            let _other = ThreadThatStays::start(|| chunks_of(40, 48));
            std::thread::spawn(move || drop(chunks_of(200, 64))).join().unwrap();
            assert_few_are_free();
            // The control: a small one keeps its slab.
            std::thread::spawn(move || drop(chunks_of(100, 64))).join().unwrap();
            let free = check_statistics().chunks_free;
            assert!(free > 2 * FEW, "{free} chunks are free");
        });
        common::in_child(|| {
            static TOGETHER: Barrier = Barrier::new(100);
            let work = move || {
                drop(chunks_of(100, 64));
                TOGETHER.wait();
            };
            let threads: Vec<_> = (0..100).map(|_| std::thread::spawn(work)).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_few_are_free();
        });
        common::in_child(|| {
            limit_locked_memory(LIMIT);
            let _other = ThreadThatStays::start(|| chunks_of(40, 48));
            let ((send, end), (ready, wait)) =
                (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel());
            let thread = std::thread::spawn(move || {
                let chunks = chunks_of(100, 64);
                ready.send(()).unwrap();
                let _ = end.recv();
                drop(chunks);
            });
            wait.recv().unwrap();
            let _large: Vec<_> = (0..20).map(|_| Chunk::new(100_000, 1)).collect();
            drop(send);
            thread.join().unwrap();
            assert_few_are_free();
        });
    });
}

/// The chunks of a thread that has ended are like all others, whoever frees them: a thread with a
/// heap, one without, a child process, and the thread that gets the ended one's heap.
#[test]
fn chunks_outlive_their_thread() {
    alone("chunks_outlive_their_thread", || {
        // Two threads have heaps, so that the third one's heap stays as it is.
        let _mine = chunks_of(64, 32);
        let (_others, _other) = ThreadThatStays::start(|| chunks_of(64, 32));
        let make = || chunks_of(100, 48);
        let mut left = std::thread::spawn(make).join().unwrap();
        let before = check_statistics();
        assert_eq!(before.chunks_used, 64 + 64 + 100);

        let last = left.pop().unwrap();
        for wrong in [8, 16] {
            let within = last.ptr().as_ptr().wrapping_add(wrong);
            assert_eq!(free(within), Err(FreeError::InvalidFree));
        }
        // SAFETY: the free is refused.
        let refused = unsafe { pool().free_sized(last.ptr().as_ptr(), 64, 16) };
        assert_eq!(refused, Err(FreeError::SizeMismatch));
        assert_eq!(check_statistics().chunks_used, before.chunks_used);

        let free_twice = |chunk: Chunk| {
            let addr = chunk.addr;
            drop(chunk);
            common::assert_wiped(addr, 48);
            let again = free(std::ptr::with_exposed_provenance_mut(addr));
            assert_eq!(again, Err(FreeError::InvalidFree));
            addr
        };
        common::in_child(|| {
            free_twice(Chunk { ..last });
            let also = Chunk::new(48, 1);
            assert_eq!(check_statistics().chunks_used, before.chunks_used);
            drop(also);
        });
        free_twice(last);
        let freed: Vec<_> = left.drain(50..).map(free_twice).collect();
        let few: Vec<_> = left.drain(45..).collect();
        let freed_by_thread = || few.into_iter().map(free_twice).count();
        assert_eq!(std::thread::scope(|scope| scope.spawn(freed_by_thread).join().unwrap()), 5);
        assert_eq!(check_statistics().chunks_used, before.chunks_used - 55);

        // The next thread has the ended one's slabs.
        let next = std::thread::spawn(make).join().unwrap();
        let again = next.iter().filter(|chunk| freed.contains(&chunk.addr)).count();
        assert!(again > 30, "{again} chunks lie where others were");
        drop((left, next));
        assert_eq!(check_statistics().chunks_used, 128);
    });
}

/// In a child process, a heap that a thread of the parent has left is open, like every other: a
/// pause has to close it.
#[test]
fn heaps_that_threads_have_left_are_open_in_a_child() {
    alone("heaps_that_threads_have_left_are_open_in_a_child", || {
        let mine = chunks_of(64, 32);
        let left = std::thread::spawn(|| chunks_of(64, 32));
        let left = left.join().unwrap();
        let signal = common::signal_of(|| {
            // It gets the heap.
            let (mut theirs, _other) = ThreadThatStays::start(|| chunks_of(64, 32));
            common::forbid(libc::SYS_membarrier);
            drop(theirs.pop());
        });
        assert_eq!(signal, libc::SIGSYS);
        drop((mine, left));
    });
}

/// A thread keeps free chunks in proportion to what it uses, and not to what the thread has used
/// that had its heap before.
#[test]
fn what_is_kept_at_hand_goes_by_the_threads_own_use() {
    let make = |count: usize| {
        let sizes = (0..count).flat_map(|_| (1..60).map(|i| i * 48));
        sizes.map(|size| Chunk::new(size, 1)).collect::<Vec<_>>()
    };
    let free_after = |earlier: usize| {
        let _mine = chunks_of(64, 32);
        let left = std::thread::spawn(move || make(earlier)).join().unwrap();
        let before = check_statistics().chunks_free;
        let (ready, go_on) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                drop(make(7));
                ready.wait();
                go_on.wait();
            });
            ready.wait();
            let free = check_statistics().chunks_free - before;
            go_on.wait();
            drop(left);
            println!("{free} more chunks are free");
            free
        })
    };
    alone("what_is_kept_at_hand_goes_by_the_threads_own_use", || {
        common::in_child(|| assert!(free_after(0) < 50));
        common::in_child(|| assert!(free_after(8) < 50));
    });
}

/// The high-water mark is exact as long as one thread has a heap, whatever the others do.
#[test]
fn the_high_water_mark_of_one_heap_is_exact() {
    const LARGE: usize = 100_000;
    let fill = || chunks_of(100, 64);
    // What is allocated last takes no mutex, and is more than what was used before.
    let rise_and_fall = move || {
        drop(fill());
        let large = Chunk::new(LARGE, 1);
        drop(fill());
        large
    };
    let assert_peak = |peak| assert_eq!(pool().stats().peak_used, peak);
    alone("the_high_water_mark_of_one_heap_is_exact", || {
        // Another thread gets a heap.
        common::in_child(|| {
            let _large = rise_and_fall();
            let _other = ThreadThatStays::start(|| chunks_of(64, 32));
            assert_peak(LARGE + 6400);
        });
        // Another thread uses chunks and has no heap.
        common::in_child(|| {
            drop(rise_and_fall());
            drop(fill());
            let large = std::thread::spawn(|| Chunk::new(LARGE + 160, 1)).join().unwrap();
            assert_peak(LARGE + 6400);
            drop(large);
        });
        // Another thread had a heap, until now. (A refused free is a call that takes the mutex.)
        for calls in 0..2 {
            common::in_child(|| {
                drop(fill());
                let (ready, go_on) = (Barrier::new(2), Barrier::new(2));
                let (small, others, large) = std::thread::scope(|scope| {
                    let other = scope.spawn(|| {
                        let chunks = chunks_of(64, 32);
                        ready.wait();
                        go_on.wait();
                        chunks
                    });
                    ready.wait();
                    let large = Chunk::new(LARGE, 1);
                    for _ in 0..calls {
                        // SAFETY: the free is refused.
                        let freed = unsafe { pool().free_sized(large.ptr().as_ptr(), 64, 16) };
                        assert_eq!(freed, Err(FreeError::SizeMismatch));
                    }
                    let small = fill();
                    go_on.wait();
                    (small, other.join().unwrap(), large)
                });
                drop(small);
                assert_peak(LARGE + 6400 + 64 * 32);
                drop((others, large));
            });
        }
    });
}

/// While others work, `walk` and `stats` may differ, but each must be consistent.
fn check_statistics_while_running() {
    let (mut last, mut overlaps) = (Vec::new(), 0);
    pool().walk(|addr, size, _| last.push((addr, size)));
    last.sort_unstable();
    for pair in last.windows(2) {
        overlaps += usize::from(pair[0].0 + pair[0].1 > pair[1].0);
    }
    assert_eq!(overlaps, 0);
}

/// One thread allocates and another frees. The memory returns to its owner and is used again.
#[test]
fn freed_by_others_is_used_again() {
    alone("freed_by_others_is_used_again", || {
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Chunk>(100);
        std::thread::scope(|scope| {
            scope.spawn(move || receiver.into_iter().for_each(drop));
            for i in 0..300_000 {
                sender.send(Chunk::new(32 + i % 3 * 100, i as u8)).unwrap();
            }
            drop(sender);
        });
        let stats = check_statistics();
        assert_eq!(stats.used, 0);
        assert!(stats.total <= 2 * LockedPool::ARENA_SIZE, "{stats:?}");
    });
}

/// The destructor of a thread-local object runs after the thread's heap is gone, and can still free
/// and allocate.
#[test]
fn late_destructors_free() {
    struct Late(Option<Chunk>);
    impl Drop for Late {
        fn drop(&mut self) {
            self.0.take();
            drop(Chunk::new(64, 9));
        }
    }
    std::thread_local! {
        static LATE: std::cell::RefCell<Late> = const { std::cell::RefCell::new(Late(None)) };
    }
    alone("late_destructors_free", || {
        for _ in 0..50 {
            std::thread::spawn(|| {
                // Registered before the heap's destructor, so it runs after it.
                LATE.with(|late| assert!(late.borrow().0.is_none()));
                LATE.with(|late| late.borrow_mut().0 = Some(Chunk::new(48, 3)));
            })
            .join()
            .unwrap();
        }
        assert_eq!(check_statistics().used, 0);
    });
}

/// When no more memory can be locked, free slots of other threads are used, to the last one.
#[test]
fn nothing_free_is_hidden_when_the_pool_is_full() {
    alone("nothing_free_is_hidden_when_the_pool_is_full", || {
        const LIMIT: usize = 256 * 1024;
        limit_locked_memory(LIMIT);
        pool().set_locking_failed(Some(Box::new(|_| false)));

        let (ready, go_on) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            // Another thread takes all memory, frees every other chunk, and does not end.
            scope.spawn(|| {
                let mut chunks: Vec<Option<Chunk>> = Vec::new();
                while let Some(chunk) = pool().alloc(64, 16) {
                    let addr = chunk.as_ptr().expose_provenance();
                    chunks.push(Some(Chunk { addr, size: 64, byte: 0 }));
                }
                assert_eq!(chunks.len(), LIMIT / 64, "all of it could be allocated");
                chunks.iter_mut().step_by(2).for_each(|chunk| *chunk = None);
                ready.wait();
                go_on.wait();
            });
            ready.wait();
            let stats = pool().stats();
            assert_eq!((stats.used, stats.locked), (LIMIT / 2, LIMIT));
            let mut mine = Vec::new();
            while let Some(chunk) = pool().alloc(50, 16) {
                let addr = chunk.as_ptr().expose_provenance();
                mine.push(Chunk { addr, size: 50, byte: 0 });
            }
            assert_eq!(mine.len(), LIMIT / 128, "every slot that the other thread freed");
            assert_eq!(check_statistics().free, 0);
            mine.clear();
            go_on.wait();
        });
        // When the other thread has ended, its memory serves large chunks.
        let whole = Chunk::new(LIMIT, 5);
        assert_eq!(check_statistics().used, LIMIT);
        drop(whole);
        assert!(check_statistics().lock_failures > 0);
    });
}

/// A thread keeps a few free chunks of sizes that it has few of. It finds them again, and to the
/// statistics they are free, as they are to every free.
#[test]
fn chunks_of_many_sizes_are_kept_at_hand() {
    alone("chunks_of_many_sizes_are_kept_at_hand", || {
        drop((0..20).map(|_| Chunk::new(2000, 1)).collect::<Vec<_>>());
        let sizes = (1..60).map(|i| i * 16);
        let chunks: Vec<_> = sizes.clone().map(|size| Chunk::new(size, 1)).collect();
        let places: Vec<_> = chunks.iter().map(|chunk| chunk.addr).collect();
        drop(chunks);
        let stats = check_statistics();
        assert_eq!((stats.used, stats.chunks_used), (0, 0));
        // Merged with their neighbours, they would be few.
        assert!(stats.chunks_free > 10, "{} free chunks", stats.chunks_free);
        for &place in &places {
            let ptr = std::ptr::with_exposed_provenance_mut(place);
            assert_eq!(free(ptr), Err(FreeError::InvalidFree));
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    let ptr = std::ptr::with_exposed_provenance_mut(place);
                    assert_eq!(free(ptr), Err(FreeError::InvalidFree));
                });
            });
        }
        let again: Vec<_> = sizes.rev().map(|size| Chunk::new(size, 2)).collect();
        let same = again.iter().rev().zip(&places).filter(|(chunk, place)| chunk.addr == **place);
        assert!(same.count() > 3);
        let (stats, asked) = (check_statistics(), again.iter().map(|c| c.size).sum::<usize>());
        assert_eq!((stats.used, stats.chunks_used), (asked, again.len()));
        drop(again);
        // The last word: given back, all of it is free memory of no size.
        assert_eq!(check_statistics().used, 0);
    });
}

/// A free that claims an alignment which the chunk does not have is refused, as for every chunk.
#[test]
fn an_alignment_that_a_chunk_does_not_have_is_refused() {
    alone("an_alignment_that_a_chunk_does_not_have_is_refused", || {
        drop((0..20).map(|_| Chunk::new(2000, 1)).collect::<Vec<_>>());
        let _odd = Chunk::new(16, 1);
        let chunks = [1, 2, 3].map(|byte| Chunk::new(64, byte));
        let tilted = chunks.iter().filter(|chunk| chunk.addr % 64 != 0);
        for chunk in tilted.clone() {
            let refuse = || {
                // SAFETY: the free is refused.
                let freed = unsafe { pool().free_sized(chunk.ptr().as_ptr(), 64, 64) };
                assert_eq!(freed, Err(FreeError::SizeMismatch));
            };
            refuse();
            // A thread without a heap frees under the mutex.
            std::thread::scope(|scope| scope.spawn(refuse).join().unwrap());
        }
        assert!(tilted.count() > 0);
    });
}

/// The chunks that a thread keeps at hand do not keep their arenas locked when little is used.
#[test]
fn what_is_kept_at_hand_keeps_no_arena() {
    alone("what_is_kept_at_hand_keeps_no_arena", || {
        let mut state = 7;
        let large_pairs = |pairs: usize| (0..pairs).for_each(|_| drop(Chunk::new(100_000, 1)));
        let mut chunks: Vec<_> =
            (0..1000).map(|_| Chunk::new(random(&mut state) % (64 << 10) + 1, 1)).collect();
        let free_all = |chunks: &mut Vec<Chunk>, state: &mut u64| {
            while !chunks.is_empty() {
                drop(chunks.swap_remove(random(state) % chunks.len()));
            }
        };
        free_all(&mut chunks, &mut state);
        large_pairs(1000);
        assert!(check_statistics().total <= (1 << 20) + (256 << 10), "{:?}", pool().stats());
        // Of a thread that does nothing any more, too.
        let (ready, go_on) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                drop((0..20).map(|_| Chunk::new(2000, 1)).collect::<Vec<_>>());
                // A small one in each arena, and those are freed last.
                let (large, small): (Vec<_>, Vec<_>) = (0..60)
                    .map(|i| (i % 15 + 1) * 16)
                    .map(|size| (Chunk::new((256 << 10) - size, 1), Chunk::new(size, 1)))
                    .unzip();
                drop((large, small));
                ready.wait();
                go_on.wait();
            });
            ready.wait();
            large_pairs(1000);
            let stats = check_statistics();
            go_on.wait();
            assert!(stats.total <= (1 << 20) + (256 << 10), "{stats:?}");
        });
    });
}

/// What a thread keeps at hand serves others before a secret lies in memory that is not locked.
#[test]
fn what_is_kept_at_hand_serves_others() {
    alone("what_is_kept_at_hand_serves_others", || {
        const LIMIT: usize = 2 << 20;
        limit_locked_memory(LIMIT);
        pool().set_locking_failed(Some(Box::new(|_| false)));
        let (ready, go_on) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                drop((1..60).map(|i| Chunk::new(i * 48, 1)).collect::<Vec<_>>());
                ready.wait();
                go_on.wait();
            });
            ready.wait();
            let mut chunks = Vec::new();
            for size in [4096, 1024, 256, 64, 16] {
                while let Some(chunk) = pool().alloc(size, 16) {
                    let addr = chunk.as_ptr().expose_provenance();
                    chunks.push(Chunk { addr, size, byte: 0 });
                }
            }
            let stats = check_statistics();
            go_on.wait();
            assert_eq!((stats.used, stats.free), (stats.total, 0));
            assert!(stats.total > LIMIT - (64 << 10) && stats.locked == stats.total);
        });
    });
}

/// A thread returns freed slots to their owner in small batches. Slots of a batch that is not full
/// count too.
#[test]
fn what_an_idle_thread_has_freed_is_found() {
    alone("what_an_idle_thread_has_freed_is_found", || {
        limit_locked_memory(64 * 1024);
        pool().set_locking_failed(Some(Box::new(|_| false)));
        let mut chunks = Vec::new();
        while let Some(chunk) = pool().alloc(64, 16) {
            chunks.push(Chunk { addr: chunk.as_ptr().expose_provenance(), size: 64, byte: 0 });
        }
        for freed in [1, 5, 17, 40] {
            let (ready, go_on) = (Barrier::new(2), Barrier::new(2));
            let theirs = chunks.split_off(chunks.len() - freed);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    drop(theirs);
                    ready.wait();
                    go_on.wait();
                });
                ready.wait();
                let stats = check_statistics();
                let found: Vec<_> = (0..=freed).map_while(|_| pool().alloc(64, 16)).collect();
                go_on.wait();
                assert_eq!((stats.free, found.len()), (64 * freed, freed));
                chunks.extend(found.into_iter().map(|chunk| Chunk {
                    addr: chunk.as_ptr().expose_provenance(),
                    size: 64,
                    byte: 0,
                }));
            });
        }
    });
}

/// In a small pool, a whole arena for the last chunk would be much: the threads fill those that
/// there are to the last byte, although each has slots of its own.
#[test]
fn threads_fill_the_arenas_of_a_small_pool() {
    alone("threads_fill_the_arenas_of_a_small_pool", || {
        const TOTAL: usize = 4 * LockedPool::ARENA_SIZE;
        let left = AtomicUsize::new(TOTAL / 16);
        let turn = Mutex::new(());
        std::thread::scope(|scope| {
            let work = || {
                let mut chunks = Vec::new();
                while left.load(Ordering::Relaxed) > 0 {
                    let _turn = turn.lock();
                    for _ in 0..left.load(Ordering::Relaxed).min(2000) {
                        chunks.push(Chunk::new(16, 1));
                        left.fetch_sub(1, Ordering::Relaxed);
                    }
                }
                chunks
            };
            let chunks: Vec<_> = [(); 4].map(|()| scope.spawn(work)).into_iter().collect();
            let chunks: Vec<_> = chunks.into_iter().map(|thread| thread.join().unwrap()).collect();
            let stats = check_statistics();
            assert_eq!((stats.used, stats.total), (TOTAL, TOTAL));
            drop(chunks);
        });
    });
}

/// A chunk is rounded up to a size class only where the thread frees such chunks, so that another
/// one may use it again.
#[test]
fn chunks_that_stay_are_not_rounded_up() {
    alone("chunks_that_stay_are_not_rounded_up", || {
        let sizes = (16..=4096).step_by(16);
        let chunks: Vec<_> = sizes.clone().map(|size| Chunk::new(size, 1)).collect();
        assert_eq!(check_statistics().used, sizes.sum::<usize>());
        drop(chunks);
    });
}

/// Gives up privileges and sets the limit on locked memory.
fn limit_locked_memory(bytes: usize) {
    let limit = libc::rlimit { rlim_cur: bytes as libc::rlim_t, rlim_max: bytes as libc::rlim_t };
    // SAFETY: `limit` is valid for the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
    // The limit does not bind root.
    // SAFETY: no pointers.
    assert!(unsafe { libc::geteuid() != 0 || libc::setresuid(65534, 65534, 65534) == 0 });
}

/// Unlocked memory is used only when no locked memory is free. Locked memory counts also if it is
/// in another thread's slabs, and if it became free after unlocked memory was used.
#[test]
fn what_others_have_freed_comes_before_unlocked_memory() {
    alone("what_others_have_freed_comes_before_unlocked_memory", || {
        limit_locked_memory(64 * 1024);
        let (full, spilled) = (Barrier::new(2), Barrier::new(2));
        let (freed, done) = (Barrier::new(2), Barrier::new(2));
        let free_again = Mutex::new(Vec::new());
        let (mut found, mut theirs) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut chunks: Vec<_> = (0..1024).map(|_| Chunk::new(64, 7)).collect();
                full.wait();
                spilled.wait();
                let gone = chunks.split_off(512);
                free_again.lock().unwrap().extend(gone.iter().map(|chunk| chunk.addr));
                drop(gone);
                freed.wait();
                done.wait();
            });
            full.wait();
            // The control: at this point no locked memory is free.
            let stats = pool().stats();
            let mut mine = vec![Chunk::new(64, 8), Chunk::new(64, 8)];
            let spilled_stats = pool().stats();
            spilled.wait();
            freed.wait();
            mine.extend((0..512).map(|_| Chunk::new(64, 8)));
            found.extend(mine.iter().skip(2).map(|chunk| chunk.addr));
            done.wait();
            theirs.append(&mut free_again.lock().unwrap());
            assert_eq!((stats.locked, stats.total), (64 * 1024, 64 * 1024));
            assert!(spilled_stats.total > spilled_stats.locked);
        });
        found.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(found, theirs);
    });
}

/// When no more memory can be locked, free slots serve any size, in the slabs of any thread: a
/// chunk of twice the size fits where two neighbours were freed. All chunks keep their contents and
/// their sizes.
#[test]
fn slots_serve_any_size_when_memory_is_scarce() {
    const LIMIT: usize = 4 << 20;
    alone("slots_serve_any_size_when_memory_is_scarce", || {
        limit_locked_memory(LIMIT);
        pool().set_locking_failed(Some(Box::new(|_| false)));
        // A part of the limit is in slabs of this thread and of another thread, which does not end.
        // The rest is not in slabs.
        let fill = |bytes: usize| {
            let mut made = Vec::new();
            for i in 0..bytes / 2 / 48 {
                made.push(Chunk::new(48, i as u8));
                made.push(Chunk::new(40, i as u8));
            }
            made
        };
        let (mut live, other) = ThreadThatStays::start(move || fill(LIMIT / 10));
        live.extend(fill(LIMIT / 10));
        while let Some(chunk) = pool().alloc(48, 16) {
            live.push(Chunk { addr: chunk.as_ptr().expose_provenance(), size: 48, byte: 0 });
        }
        let full = check_statistics();
        assert_eq!((full.locked, full.total), (LIMIT, LIMIT));
        // Frees every fourth chunk with its neighbour.
        live.sort_unstable_by_key(|chunk| chunk.addr);
        let mut twice = 0;
        let mut kept = Vec::new();
        let mut rest = live.into_iter().peekable();
        while let Some(chunk) = rest.next() {
            let end = chunk.addr + 48;
            if kept.len() % 4 == 3 && rest.peek().is_some_and(|next| next.addr == end) {
                drop((chunk, rest.next()));
                twice += 1;
                kept.extend(rest.next());
            } else {
                kept.push(chunk);
            }
        }
        assert!(twice > 1000);
        for _ in 0..twice {
            kept.push(Chunk::new(96, 7));
        }
        assert_eq!(pool().alloc(96, 16), None, "no other chunk was free");
        for chunk in &kept {
            chunk.check();
            // SAFETY: the free is refused.
            let refused = unsafe { pool().free_sized(chunk.ptr().as_ptr(), chunk.size + 16, 16) };
            assert_eq!(refused, Err(FreeError::SizeMismatch));
        }
        let stats = check_statistics();
        assert_eq!((stats.locked, stats.chunks_used), (LIMIT, kept.len()));
        for chunk in kept {
            chunk.check();
            let chunk = std::mem::ManuallyDrop::new(chunk);
            // SAFETY: not used afterwards.
            let freed = unsafe { pool().free_sized(chunk.ptr().as_ptr(), chunk.size, 16) };
            assert_eq!(freed, Ok(()));
        }
        drop(other);
        assert_eq!(check_statistics().used, 0);
    });
}

/// When locked memory is free again, new chunks do not go to unlocked memory, although there are
/// free slots.
#[test]
fn locked_memory_comes_first_again() {
    alone("locked_memory_comes_first_again", || {
        limit_locked_memory(LockedPool::ARENA_SIZE);
        let locked = pool().alloc(LockedPool::ARENA_SIZE, 16).unwrap().as_ptr();
        let is_locked = |chunk: NonNull<u8>| {
            chunk.addr().get().wrapping_sub(locked.addr()) < LockedPool::ARENA_SIZE
        };
        for size in [32, 500, 4096] {
            assert!(!is_locked(pool().alloc(size, 16).unwrap()), "no locked memory is left");
        }
        assert_eq!(free(locked), Ok(()));
        for size in [32, 500, 4096, 20_000] {
            assert!(is_locked(pool().alloc(size, 16).unwrap()));
        }
    });
}

/// Refusals by the callback, however many, leave no memory behind.
#[test]
fn refusals_leave_nothing_behind() {
    alone("refusals_leave_nothing_behind", || {
        limit_locked_memory(LockedPool::ARENA_SIZE);
        let whole = pool().alloc(LockedPool::ARENA_SIZE, 16).unwrap();
        pool().set_locking_failed(Some(Box::new(|_| false)));
        let before = pool().stats();
        for _ in 0..3000 {
            assert_eq!(pool().alloc(32, 16), None);
        }
        let after = pool().stats();
        assert_eq!((after.arenas, after.total), (before.arenas, before.total));
        pool().set_locking_failed(None);
        let chunk = pool().alloc(32, 16).unwrap();
        assert!(
            chunk.addr().get().abs_diff(whole.addr().get()) < 1 << 20,
            "next to the first arena"
        );
        assert_eq!(pool().stats().used, LockedPool::ARENA_SIZE + 32);
    });
}

/// The callback may fork while other threads are at work. The child can continue and use the pool.
#[test]
fn the_callback_may_fork() {
    alone("the_callback_may_fork", || {
        limit_locked_memory(LockedPool::ARENA_SIZE);
        static CHILD: AtomicBool = AtomicBool::new(false);
        pool().set_locking_failed(Some(Box::new(|_| {
            if CHILD.load(Ordering::Relaxed) {
                return true;
            }
            // SAFETY: the child uses this pool and system calls, and ends at once.
            let child = unsafe { libc::fork() };
            if child == 0 {
                CHILD.store(true, Ordering::Relaxed);
                return true;
            }
            let mut status = 0;
            // SAFETY: `status` is a valid place for the answer.
            let ended = unsafe { libc::waitpid(child, &mut status, 0) };
            assert_eq!((ended, status), (child, 42 << 8));
            true
        })));
        let done = AtomicBool::new(false);
        let ready = Barrier::new(3);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    drop(Chunk::new(32, 1));
                    ready.wait();
                    while !done.load(Ordering::Relaxed) {
                        drop(Chunk::new(32, 1));
                    }
                });
            }
            ready.wait();
            for _ in 0..8 {
                pool().alloc(100 * 1024, 16).unwrap();
                if CHILD.load(Ordering::Relaxed) {
                    let chunk = Chunk::new(700, 3);
                    let stats = pool().stats();
                    drop(chunk);
                    let fine = stats.used + stats.free == stats.total;
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(if fine { 42 } else { 1 }) };
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(check_statistics().arenas > 2);
    });
}

/// An allocation asks the callback once, whatever its size, and counts as one failure.
#[test]
fn the_callback_is_asked_once() {
    alone("the_callback_is_asked_once", || {
        limit_locked_memory(LockedPool::ARENA_SIZE);
        pool().alloc(LockedPool::ARENA_SIZE, 16).unwrap();
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        pool().set_locking_failed(Some(Box::new(|_| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            false
        })));
        for (number, size) in [16, 32, 500, 4096, 5000, 100_000].into_iter().enumerate() {
            assert_eq!(pool().alloc(size, 16), None);
            assert_eq!(ASKED.load(Ordering::Relaxed), number + 1, "{size} bytes");
            assert_eq!(pool().stats().lock_failures, number + 1, "{size} bytes");
        }
    });
}

/// A walk shows the chunks of one moment, whatever happens meanwhile. Other threads continue, and
/// the visitor may use the pool and fork.
#[test]
fn a_walk_shows_one_moment() {
    alone("a_walk_shows_one_moment", || {
        let kept: Vec<_> = (1..100).map(|i| Chunk::new(i * 100, 1)).collect();
        let (mut used, mut more) = ((0, 0), Vec::new());
        let before = pool().stats();
        pool().walk(|_, size, is_used| {
            // Another thread does not have to wait.
            std::thread::scope(|scope| scope.spawn(|| drop(Chunk::new(32, 3))).join().unwrap());
            more.push(Chunk::new(5000, 2));
            if is_used {
                used = (used.0 + size, used.1 + 1);
            }
            if used.1 == 50 {
                // SAFETY: the child uses the pool and ends.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    drop(Chunk::new(32, 4));
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(42) };
                }
                let mut status = 0;
                // SAFETY: `status` is a valid place for the answer.
                assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                assert_eq!(status, 42 << 8);
            }
        });
        assert_eq!(used, (before.used, before.chunks_used));
        drop((kept, more));
    });
}

/// Slabs that become empty one after the other are returned, so that other threads can have the
/// memory.
#[test]
fn emptied_slabs_go_back() {
    alone("emptied_slabs_go_back", || {
        let chunks: Vec<_> = (0..100_000).map(|i| Chunk::new(50, i as u8)).collect();
        let total = pool().stats().total;
        drop(chunks);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let others: Vec<_> = (0..75_000).map(|i| Chunk::new(64, i as u8)).collect();
                assert!(pool().stats().total <= total + total / 4);
                drop(others);
            });
        });
        assert_eq!(check_statistics().used, 0);
    });
}

/// With several threads the high-water mark is an estimate, but not the sum of all chunks that ever
/// were.
#[test]
fn the_high_water_mark_is_not_far_off_with_threads() {
    alone("the_high_water_mark_is_not_far_off_with_threads", || {
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Chunk>(5);
        std::thread::scope(|scope| {
            scope.spawn(move || receiver.into_iter().for_each(drop));
            (0..100_000).for_each(|i| sender.send(Chunk::new(32, i as u8)).unwrap());
            drop(sender);
        });
        let stats = check_statistics();
        assert!((32..=8 * 1024).contains(&stats.peak_used), "at most 8 chunks at once: {stats:?}");
    });
}

fn locked_by_kernel() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Forks while other threads allocate and free. The child has the memory, locked again, with exact
/// statistics, and can use the pool. So can the parent.
#[test]
fn fork_keeps_memory_locked_and_the_pool_usable() {
    alone("fork_keeps_memory_locked_and_the_pool_usable", || {
        let kept: Vec<_> = (1..200).map(|i| Chunk::new(i * 7, i as u8)).collect();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let done = &done;
                scope.spawn(move || {
                    let mut state = thread + 1;
                    let mut own = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        let number = random(&mut state);
                        own.push(Chunk::new((number >> 8) % 600 + 1, number as u8));
                        if own.len() > 30 {
                            own.swap_remove((number >> 24) % own.len());
                        }
                    }
                });
            }
            for _ in 0..50 {
                // SAFETY: the child uses this pool, system calls and the ordinary heap, which glibc
                // keeps usable after a fork; then it ends at once.
                let child = unsafe { libc::fork() };
                assert!(child >= 0);
                if child == 0 {
                    let verdict = std::panic::catch_unwind(|| {
                        let stats = check_statistics();
                        assert_eq!(stats.locked, stats.total);
                        assert_eq!(locked_by_kernel(), stats.locked);
                        kept.iter().for_each(Chunk::check);
                        let more: Vec<_> = (1..500).map(|i| Chunk::new(i, 1)).collect();
                        drop(more);
                        assert_eq!(check_statistics().used, stats.used);
                    });
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(if verdict.is_ok() { 42 } else { 1 }) };
                }
                let mut status = 0;
                // SAFETY: `status` is a valid place for the answer.
                assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42, "{status:#x}");
            }
            done.store(true, Ordering::Relaxed);
        });
        drop(kept);
        assert_eq!(check_statistics().used, 0);
    });
}

#[test]
fn what_was_used_at_different_times_makes_no_peak() {
    alone("what_was_used_at_different_times_makes_no_peak", || {
        let fill = || (0..100).map(|_| Chunk::new(1024, 1)).collect::<Vec<_>>();
        drop(fill());
        let left = std::thread::spawn(fill).join().unwrap();
        let stats = pool().stats();
        assert_eq!((stats.used, stats.peak_used), (100 * 1024, 100 * 1024));
        drop(left);
    });
}
