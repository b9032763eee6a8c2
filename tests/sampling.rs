//! Sampled allocations. An overrun, an underrun and a use after free end the process at the access
//! itself; without sampling they do not. A byte that is written beside a chunk is reported when the
//! chunk is freed. Figures, limits, forks and exits are as for other chunks.
//!
//! Sampling concerns the whole process, so each test runs in a separate process. A misuse that ends
//! a process runs in a child of that.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{
    ForkPolicy, FreeError, LockedPool, LockedPoolManager, PoolOptions, PoolStats, SecretMemory,
    lock_limit, page_size, wipe_everything,
};
use common::{alone, counted_by_kernel, locked_by_kernel};
use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

const EVERYTHING: usize = usize::MAX;

fn pool() -> &'static LockedPoolManager {
    LockedPoolManager::instance()
}

fn sample(one_in: u32, max_locked: usize) {
    pool().sample_one_in(NonZeroU32::new(one_in), max_locked).unwrap();
}

/// How a child process ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Exited(i32),
    Killed(i32),
}

/// Runs `body` in a child process. The exit code 0 says that it has returned.
fn in_child(body: impl FnOnce()) -> End {
    // SAFETY: the child uses this pool and the ordinary heap, which glibc keeps usable after a
    // fork; then it ends at once.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(verdict.is_err())) };
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    if libc::WIFSIGNALED(status) {
        End::Killed(libc::WTERMSIG(status))
    } else {
        End::Exited(libc::WEXITSTATUS(status))
    }
}

fn alloc(size: usize) -> NonNull<u8> {
    pool().alloc(size, 16).expect("memory")
}

fn free(chunk: NonNull<u8>) -> Result<(), FreeError> {
    // SAFETY: nothing uses the chunk afterwards, except in a child that is to end by that use.
    unsafe { pool().free(chunk.as_ptr()) }
}

fn is_sampled(chunk: NonNull<u8>) -> bool {
    LockedPoolManager::describe_address(chunk.as_ptr()).is_some_and(|report| {
        report.chunk == chunk.as_ptr().addr() && report.offset == 0 && report.freed_by.is_none()
    })
}

/// Whether a guard page follows the last byte of a chunk and its padding.
fn is_at_right_end(chunk: NonNull<u8>, size: usize) -> bool {
    (chunk.as_ptr().addr() + size.next_multiple_of(16)) % page_size() == 0
}

/// A chunk at the chosen end of its pages; any chunk if sampling is off.
fn placed(size: usize, at_right_end: bool) -> NonNull<u8> {
    for _ in 0..100 {
        let chunk = alloc(size);
        let at_left_end = chunk.as_ptr().addr() % page_size() == 0;
        if !is_sampled(chunk)
            || if at_right_end { is_at_right_end(chunk, size) } else { at_left_end }
        {
            return chunk;
        }
        free(chunk).unwrap();
    }
    panic!("the chance that none of a hundred is there is 1 in 2^100");
}

fn write(chunk: NonNull<u8>, offset: isize) {
    // SAFETY: not sound. Either the byte is in no use, or the process is to end here by a signal.
    unsafe { chunk.as_ptr().wrapping_offset(offset).write_volatile(1) };
}

fn read(chunk: NonNull<u8>, offset: isize) {
    // SAFETY: not sound. Either the byte is in no use, or the process is to end here by a signal.
    unsafe { chunk.as_ptr().wrapping_offset(offset).read_volatile() };
}

fn check_statistics() -> PoolStats {
    let stats = pool().stats();
    let (mut used, mut free, mut chunks_used, mut chunks_free) = (0, 0, 0, 0);
    pool().walk(|_, size, is_used| {
        *(if is_used { &mut used } else { &mut free }) += size;
        *(if is_used { &mut chunks_used } else { &mut chunks_free }) += 1;
    });
    assert_eq!((stats.used, stats.chunks_used), (used, chunks_used));
    assert_eq!(stats.chunks_free, chunks_free);
    assert_eq!(stats.used + stats.free, stats.total);
    assert!(free <= stats.free && stats.peak_used >= stats.used && stats.locked <= stats.total);
    stats
}

const SIZES: [usize; 9] = [1, 16, 32, 100, 256, 1000, 4096, 5000, LockedPool::ARENA_SIZE];

/// One access too far, by how many bytes, of a chunk of some size.
type Misuse = fn(usize);

#[test]
fn overruns_underruns_and_late_accesses_end_the_process() {
    alone("overruns_underruns_and_late_accesses_end_the_process", || {
        let misuses: [(&str, Misuse); 6] = [
            ("write behind", |size| {
                write(placed(size, true), size.next_multiple_of(16) as isize);
            }),
            ("read behind", |size| read(placed(size, true), size.next_multiple_of(16) as isize)),
            ("write before", |size| write(placed(size, false), -1)),
            ("read before", |size| read(placed(size, false), -1)),
            ("write after free", |size| {
                let chunk = alloc(size);
                free(chunk).unwrap();
                write(chunk, size as isize / 2);
            }),
            ("read after free", |size| {
                let chunk = alloc(size);
                free(chunk).unwrap();
                read(chunk, size as isize / 2);
            }),
        ];
        // Gives the chunk neighbours, for the control.
        let neighbours: Vec<_> = SIZES.map(|size| [(); 3].map(|()| alloc(size))).into();
        for size in SIZES {
            for (what, misuse) in misuses {
                let sampled = in_child(|| {
                    sample(1, EVERYTHING);
                    misuse(size);
                });
                assert_eq!(sampled, End::Killed(libc::SIGSEGV), "{what} a chunk of {size} bytes");
                // A chunk as large as an arena lies between guard pages always.
                if size < LockedPool::ARENA_SIZE || what.ends_with("after free") {
                    let control = in_child(|| misuse(size));
                    assert_eq!(control, End::Exited(0), "{what} a chunk of {size} bytes, unseen");
                }
            }
        }
        drop(neighbours);
    });
}

#[test]
fn what_lands_next_to_a_chunk_is_reported_when_it_is_freed() {
    alone("what_lands_next_to_a_chunk_is_reported_when_it_is_freed", || {
        sample(1, EVERYTHING);
        for size in [1_usize, 17, 31, 100, 250, 4090, 5001, 100_001] {
            for at_right_end in [true, false] {
                let end = if at_right_end { 16 } else { page_size() };
                let room = (size.next_multiple_of(end) - size).min(64);
                let behind = (0..room).map(|offset| (size + offset) as isize);
                // Whether the chunk's pages have bytes before it.
                let gap = at_right_end && size.next_multiple_of(16) % page_size() != 0;
                let before = [-1, -16].into_iter().filter(|_| gap);
                for offset in behind.chain(before) {
                    for byte in [0, 0xff] {
                        let chunk = placed(size, at_right_end);
                        // SAFETY: within the chunk's pages, in bytes that no chunk has.
                        unsafe { chunk.as_ptr().offset(offset).write_volatile(byte) };
                        assert_eq!(free(chunk), Err(FreeError::Overrun), "{size} {offset}");
                        assert_eq!(free(chunk), Err(FreeError::InvalidFree), "it was freed");
                    }
                }
                // The control: the program may write to all bytes of the chunk.
                let chunk = placed(size, at_right_end);
                // SAFETY: `size` bytes of this test.
                unsafe { chunk.as_ptr().write_bytes(0xff, size) };
                assert_eq!(free(chunk), Ok(()));
            }
        }
        // The control: nothing is reported when sampling is off.
        pool().sample_one_in(None, 0).unwrap();
        let chunk = alloc(17);
        write(chunk, 17);
        assert_eq!(free(chunk), Ok(()));
    });
}

/// Whether the kernel can read a byte. It cannot where the process could not.
fn is_readable(addr: usize) -> bool {
    let mut ends = [0; 2];
    // SAFETY: `ends` is a valid place for two numbers.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: the kernel reads one byte, or refuses.
    let written = unsafe { libc::write(ends[1], std::ptr::with_exposed_provenance(addr), 1) };
    // SAFETY: descriptors that this function opened.
    unsafe { (libc::close(ends[0]), libc::close(ends[1])) };
    written == 1
}

/// A freed chunk's pages are inaccessible and not locked until a thousand others have been sampled
/// (16 large ones); then their addresses are used again.
#[test]
fn freed_chunks_stay_inaccessible_for_long() {
    alone("freed_chunks_stay_inaccessible_for_long", || {
        sample(1, EVERYTHING);
        drop(std::fs::read_to_string("/proc/self/status"));
        // There are fewer slots where addresses are scarce.
        let (small, large) = if cfg!(target_pointer_width = "64") {
            (1000..5000, 16..100)
        } else {
            (500..600, 15..20)
        };
        for (size, expected) in [(32, small), (2 * page_size() + 1, large)] {
            let chunk = alloc(size);
            let page = chunk.as_ptr().expose_provenance() / page_size();
            assert!(is_readable(page * page_size()));
            free(chunk).unwrap();
            let locked = locked_by_kernel();
            let mut others = 0;
            loop {
                let other = alloc(size);
                if other.as_ptr().addr() / page_size() == page {
                    break;
                }
                assert!(!is_readable(page * page_size()));
                free(other).unwrap();
                others += 1;
            }
            assert!(expected.contains(&others), "{others}");
            assert_eq!(locked_by_kernel(), locked + size.next_multiple_of(page_size()));
        }
    });
}

#[test]
fn bad_frees_are_refused() {
    alone("bad_frees_are_refused", || {
        sample(1, EVERYTHING);
        // So that the addresses before the next chunks belong to the pool.
        let large = page_size() + 1;
        let _first = (alloc(1), alloc(large));
        [1, 1, large, large].into_iter().for_each(|size| free(alloc(size)).unwrap());
        for size in SIZES {
            let chunk = alloc(size);
            assert!(is_sampled(chunk));
            let at = chunk.as_ptr();
            for wrong in [1, 8, 16, size / 2 + 1, page_size(), 2 * page_size()] {
                for address in [at.wrapping_add(wrong), at.wrapping_sub(wrong)] {
                    // SAFETY: no chunk begins there.
                    let freed = unsafe { pool().free(address) };
                    assert_eq!(freed, Err(FreeError::InvalidFree), "{wrong}");
                }
            }
            for (size, alignment) in [(size + 16, 16), (size, 3), (2 * size + 16, 16), (0, 16)] {
                // SAFETY: the free is refused.
                let freed = unsafe { pool().free_sized(at, size, alignment) };
                assert_eq!(freed, Err(FreeError::SizeMismatch), "{size} {alignment}");
            }
            write(chunk, 0);
            // SAFETY: not used afterwards.
            assert_eq!(unsafe { pool().free_sized(at, size, 16) }, Ok(()));
            assert_eq!(free(chunk), Err(FreeError::InvalidFree));
            let again = std::thread::spawn(move || {
                // SAFETY: no chunk begins there.
                unsafe { pool().free(std::ptr::with_exposed_provenance_mut(chunk_address(size))) }
            });
            assert!(again.join().unwrap().is_err());
        }
        assert_eq!(check_statistics().chunks_used, 2);
    });
}

/// The address of a freed sampled chunk.
fn chunk_address(size: usize) -> usize {
    let chunk = alloc(size);
    free(chunk).unwrap();
    chunk.as_ptr().expose_provenance()
}

/// The rate holds for any pattern of allocations, also for one that a single cached slot serves.
#[test]
fn one_in_n_is_sampled() {
    alone("one_in_n_is_sampled", || {
        const ALLOCATIONS: usize = 40_000;
        for one_in in [10, 100] {
            sample(one_in as u32, EVERYTHING);
            for size in [32, 700, 8000] {
                // 8 standard deviations and more.
                let mean = ALLOCATIONS / one_in;
                let expected = mean - mean.isqrt() * 8..=mean + mean.isqrt() * 8;
                let alone = (0..ALLOCATIONS).filter(|_| {
                    let chunk = alloc(size);
                    let sampled = is_sampled(chunk);
                    free(chunk).unwrap();
                    sampled
                });
                let alone = alone.count();
                assert!(expected.contains(&alone), "1 in {one_in} of {size} bytes: {alone}");
                let threads = AtomicUsize::new(0);
                std::thread::scope(|scope| {
                    for _ in 0..4 {
                        scope.spawn(|| {
                            let mut kept = Vec::new();
                            for _ in 0..ALLOCATIONS / 4 {
                                let chunk = alloc(size);
                                threads.fetch_add(is_sampled(chunk).into(), Ordering::Relaxed);
                                kept.push(chunk);
                                if kept.len() > 20 {
                                    kept.drain(..).for_each(|chunk| free(chunk).unwrap());
                                }
                            }
                            kept.into_iter().for_each(|chunk| free(chunk).unwrap());
                        });
                    }
                });
                let threads = threads.into_inner();
                assert!(expected.contains(&threads), "1 in {one_in} with threads: {threads}");
            }
        }
        sample(1, EVERYTHING);
        // Samples take at most half of what may be locked.
        let all = 100.min(lock_limit() / 2 / page_size());
        assert!((0..all).all(|_| is_sampled(alloc(64))), "all");
        pool().sample_one_in(None, EVERYTHING).unwrap();
        assert!((0..10_000).all(|_| !is_sampled(alloc(64))), "none");
        // A manager without the process-wide pool has nothing to sample.
        LockedPoolManager::new().sample_one_in(NonZeroU32::new(1), EVERYTHING).unwrap();
        assert!(!is_sampled(alloc(64)));
    });
}

/// Samples lock no more memory than was allowed, and no allocation fails for lack of it.
#[test]
fn locked_memory_is_bounded() {
    alone("locked_memory_is_bounded", || {
        let page = page_size();
        sample(1, 10 * page + page / 2);
        let chunks: Vec<_> = (0..100).map(|_| alloc(32)).collect();
        let sampled = chunks.iter().filter(|&&chunk| is_sampled(chunk)).count();
        assert_eq!(sampled, 10);
        let stats = check_statistics();
        assert_eq!((stats.locked, stats.lock_failures), (stats.total, 0));
        assert_eq!(stats.locked, LockedPool::ARENA_SIZE + 10 * page);
        assert!(!is_sampled(alloc(page + 1)), "no room for two pages");
        // Returned memory is used for samples again.
        chunks.iter().for_each(|&chunk| free(chunk).unwrap());
        let half = (5 * page).min(LockedPool::ARENA_SIZE);
        (0..10 * page / half).for_each(|_| assert!(is_sampled(alloc(half))));
        assert_eq!(is_sampled(alloc(32)), 10 * page % half != 0);
    });
}

/// With little memory to lock, and none left at the end, allocations continue as without sampling.
#[test]
fn scarce_locked_memory_is_left_to_others() {
    alone("scarce_locked_memory_is_left_to_others", || {
        let limit = 16 * page_size();
        let limits = libc::rlimit { rlim_cur: limit as _, rlim_max: limit as _ };
        // SAFETY: `limits` is valid for the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limits) }, 0);
        // The limit does not bind root. SAFETY: no pointers.
        assert!(unsafe { libc::geteuid() != 0 || libc::setresuid(65534, 65534, 65534) == 0 });
        pool().set_locking_failed(Some(Box::new(|_| false)));
        sample(1, EVERYTHING);
        let chunks: Vec<_> = std::iter::from_fn(|| pool().alloc(64, 16)).collect();
        let sampled = chunks.iter().filter(|&&chunk| is_sampled(chunk)).count();
        assert_eq!(sampled, limit / 2 / page_size(), "half of it");
        assert_eq!(chunks.len() - sampled, limit / 2 / 64, "the rest, whole");
        let stats = check_statistics();
        assert_eq!((stats.locked, locked_by_kernel()), (limit, limit));
        chunks.iter().for_each(|&chunk| free(chunk).unwrap());
        assert_eq!(check_statistics().used, 0);
        // Memory that samples no longer lock can be locked for other chunks.
        sample(0, 0);
        let chunks = std::iter::from_fn(|| pool().alloc(64, 16)).count();
        assert_eq!((chunks, locked_by_kernel()), (limit / 64, limit));
    });
}

fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

/// Threads start and end, and free their own chunks and those of others, while the sampling rate
/// changes. Every chunk keeps its bytes, and the figures are consistent at any time.
#[test]
fn threads_and_changes_of_mind() {
    alone("threads_and_changes_of_mind", || {
        struct Chunk(usize, usize, u8);
        impl Chunk {
            fn new(size: usize, byte: u8) -> Self {
                let chunk = alloc(size);
                // SAFETY: `size` bytes of this test.
                let bytes = unsafe { std::slice::from_raw_parts_mut(chunk.as_ptr(), size) };
                assert!(bytes.iter().all(|&byte| byte == 0));
                bytes.fill(byte);
                Self(chunk.as_ptr().expose_provenance(), size, byte)
            }
        }
        impl Drop for Chunk {
            fn drop(&mut self) {
                let chunk = std::ptr::with_exposed_provenance_mut::<u8>(self.0);
                // SAFETY: `size` bytes of this test.
                let bytes = unsafe { std::slice::from_raw_parts(chunk, self.1) };
                assert!(bytes.iter().all(|&byte| byte == self.2));
                let freed = match self.2 % 2 {
                    // SAFETY: not used afterwards.
                    0 => unsafe { pool().free(chunk) },
                    // SAFETY: not used afterwards.
                    _ => unsafe { pool().free_sized(chunk, self.1, 16) },
                };
                assert_eq!(freed, Ok(()));
            }
        }
        let shared = std::sync::Mutex::new(Vec::new());
        for generation in 0..12_u64 {
            std::thread::scope(|scope| {
                let workers = [0, 1, 2].map(|worker| {
                    let shared = &shared;
                    scope.spawn(move || {
                        let mut state = generation * 3 + worker + 1;
                        let mut own = Vec::new();
                        for _ in 0..3000 {
                            let number = random(&mut state);
                            let size = (number >> 8) % [40, 300, 9000][number % 3] + 1;
                            own.push(Chunk::new(size, number as u8));
                            if own.len() > 40 {
                                let chunk = own.swap_remove((number >> 20) % own.len());
                                let mut shared = shared.lock().unwrap();
                                shared.push(chunk);
                                let len: usize = shared.len();
                                let taken =
                                    (len > 300).then(|| shared.swap_remove((number >> 30) % len));
                                drop(shared);
                                drop(taken);
                            }
                        }
                    })
                });
                for one_in in [1, 20, 0, 3, 0, 7] {
                    let limit = if generation % 2 == 0 { EVERYTHING } else { 40 * page_size() };
                    sample(one_in, limit);
                    for _ in 0..20 {
                        let stats = pool().stats();
                        assert_eq!(stats.used + stats.free, stats.total);
                        assert!(stats.peak_used >= stats.used && stats.used % 16 == 0);
                    }
                }
                // The scope waits for the closures alone. A thread gives up its heap after that.
                workers.into_iter().for_each(|worker| worker.join().unwrap());
            });
        }
        let stats = check_statistics();
        assert_eq!(stats.chunks_used, shared.lock().unwrap().len());
        shared.into_inner().unwrap().clear();
        assert_eq!(check_statistics().used, 0);
    });
}

#[test]
fn chunks_are_aligned_and_zero() {
    alone("chunks_are_aligned_and_zero", || {
        sample(1, EVERYTHING);
        for shift in 0..=13 {
            for size in [1, 20, 33, 500, 3000, 4096, 6000, 70_000] {
                for _ in 0..4 {
                    let alignment = 1 << shift;
                    let chunk = pool().alloc(size, alignment).expect("memory");
                    assert_eq!(chunk.as_ptr().addr() % alignment.max(16), 0);
                    assert_eq!(is_sampled(chunk), alignment <= page_size());
                    // SAFETY: `size` bytes of this test.
                    let bytes = unsafe { std::slice::from_raw_parts_mut(chunk.as_ptr(), size) };
                    assert!(bytes.iter().all(|&byte| byte == 0));
                    bytes.fill(0xff);
                    check_statistics();
                    // SAFETY: not used afterwards.
                    let freed = unsafe { pool().free_sized(chunk.as_ptr(), size, alignment) };
                    assert_eq!(freed, Ok(()));
                }
            }
        }
        assert_eq!(check_statistics().used, 0);
    });
}

/// A child has the chunks, locked again, can free them and sample more.
#[test]
fn fork_keeps_samples_locked_and_usable() {
    alone("fork_keeps_samples_locked_and_usable", || {
        sample(1, EVERYTHING);
        let chunks: Vec<_> = SIZES.iter().map(|&size| alloc(size)).collect();
        chunks.iter().for_each(|&chunk| write(chunk, 0));
        // A chunk that is kept in the child, with an overrun.
        let over = alloc(17);
        // SAFETY: the padding, which no chunk has.
        unsafe { over.as_ptr().add(17).write_volatile(0) };
        let before = check_statistics();
        let end = in_child(|| {
            let stats = check_statistics();
            assert_eq!((stats.used, stats.locked), (before.used, before.total));
            assert_eq!(locked_by_kernel(), stats.locked);
            // SAFETY: a chunk of this test.
            chunks.iter().for_each(|chunk| assert_eq!(unsafe { chunk.read() }, 1));
            chunks.iter().for_each(|&chunk| assert_eq!(free(chunk), Ok(())));
            assert_eq!(free(over), Err(FreeError::Overrun));
            assert!(is_sampled(alloc(32)));
            read(chunks[2], 0);
        });
        assert_eq!(end, End::Killed(libc::SIGSEGV));
        chunks.iter().for_each(|&chunk| assert_eq!(free(chunk), Ok(())));
    });
}

fn configure(options: &PoolOptions) {
    // SAFETY: these tests choose what children use of their parent's chunks.
    unsafe { pool().configure_unchecked(options) }.unwrap();
}

/// Whether the first byte of a chunk is readable and has this value.
fn holds(chunk: NonNull<u8>, value: u8) -> bool {
    // SAFETY: a chunk of this test.
    is_readable(chunk.as_ptr().expose_provenance()) && unsafe { chunk.read_volatile() } == value
}

/// Sampled chunks of all sizes, filled with 7, at random places.
fn filled() -> Vec<(NonNull<u8>, usize)> {
    let sizes = SIZES.into_iter().chain([17; 10]).chain([5001; 4]);
    let chunks = sizes.map(|size| (alloc(size), size));
    let chunks: Vec<_> = chunks.collect();
    for &(chunk, size) in &chunks {
        assert!(is_sampled(chunk));
        // SAFETY: `size` bytes of this test.
        unsafe { chunk.as_ptr().write_bytes(7, size) };
    }
    chunks
}

/// Frees a chunk with its size, or without.
fn free_either(chunk: NonNull<u8>, size: usize, sized: bool) -> Result<(), FreeError> {
    if !sized {
        return free(chunk);
    }
    // SAFETY: not used afterwards.
    unsafe { pool().free_sized(chunk.as_ptr(), size, 16) }
}

/// A new chunk with a 0 written after it. Returns the result of its free.
fn zero_behind() -> Result<(), FreeError> {
    let chunk = alloc(17);
    write(chunk, 0);
    // SAFETY: the padding, which no chunk has.
    unsafe { chunk.as_ptr().add(17).write_volatile(0) };
    free(chunk)
}

/// The child finds zeros in and around its parent's chunks, which is no overrun. An overrun of a
/// new chunk is reported.
#[test]
fn wiped_in_a_child() {
    alone("wiped_in_a_child", || {
        configure(&PoolOptions::new().fork_policy(ForkPolicy::Wipe));
        sample(1, EVERYTHING);
        let chunks = filled();
        let before = check_statistics();
        assert_eq!(zero_behind(), Err(FreeError::Overrun));
        let finds_zeros = || {
            for (number, &(chunk, size)) in chunks.iter().enumerate() {
                assert!(holds(chunk, 0), "{size}");
                assert_eq!(free_either(chunk, size, number % 2 == 0), Ok(()), "{size}");
                assert_eq!(free(chunk), Err(FreeError::InvalidFree));
                assert!(!is_readable(chunk.as_ptr().expose_provenance()));
            }
            assert_eq!(check_statistics().used, 0);
            assert_eq!(zero_behind(), Err(FreeError::Overrun));
        };
        common::in_child(|| {
            let stats = check_statistics();
            assert_eq!((stats.used, stats.total), (before.used, before.total));
            assert_eq!((stats.locked, locked_by_kernel()), (before.locked, before.locked));
            // A byte that is not zero is an overrun there too.
            let (chunk, _) = *chunks.iter().find(|(_, size)| *size == 17).unwrap();
            let there = alloc(17);
            write(there, 17);
            assert_eq!(free(there), Err(FreeError::Overrun));
            common::in_child(|| {
                write(chunk, 17);
                assert_eq!(free(chunk), Err(FreeError::Overrun));
            });
            finds_zeros();
        });
        common::in_unnoticed_child(finds_zeros);
        for &(chunk, size) in &chunks {
            assert!(holds(chunk, 7));
            assert_eq!(free_either(chunk, size, true), Ok(()));
        }
    });
}

/// The child does not have its parent's chunks. It can free them any number of times, and nothing
/// takes their place.
fn absent_in_a_child(secret_memory: SecretMemory) {
    let options = PoolOptions::new().fork_policy(ForkPolicy::Absent);
    configure(&options.secret_memory(secret_memory));
    // Chunks of the other kind, from both sets of caches, and freed ones.
    let mut ordinary: Vec<_> = (0..300).map(|i| (alloc(i % 200 + 1), i % 200 + 1)).collect();
    ordinary.drain(100..).for_each(|(chunk, _)| free(chunk).unwrap());
    // Of larger pages fewer may be locked.
    sample(3 * (page_size() / 4096) as u32, EVERYTHING);
    ordinary.extend((0..300).map(|i| (alloc(i % 200 + 1), i % 200 + 1)));
    ordinary.drain(200..).for_each(|(chunk, _)| free(chunk).unwrap());
    sample(1, EVERYTHING);
    let chunks = filled();
    let before = check_statistics();
    if before.secret_memory_error.is_some() {
        println!("skipped: no secret memory");
    } else {
        let all = secret_memory != SecretMemory::Off;
        assert_eq!(before.secret_memory, if all { before.total } else { 0 });
    }
    let finds_nothing = || {
        let stats = check_statistics();
        assert_eq!((stats.total, stats.used, stats.chunks_used, stats.arenas), (0, 0, 0, 0));
        assert_eq!((stats.locked, stats.peak_used, stats.secret_memory), (0, 0, 0));
        assert_eq!(locked_by_kernel(), 0);
        for _ in 0..2 {
            for &(chunk, size) in ordinary.iter().chain(&chunks) {
                assert!(!is_readable(chunk.as_ptr().expose_provenance()));
                assert_eq!(free(chunk), Ok(()));
                assert_eq!(free_either(chunk, size, true), Ok(()));
            }
        }
        assert_eq!(check_statistics().total, 0);
        // At first as in the parent.
        for (round, one_in) in [1, 3, 0, 2].into_iter().enumerate() {
            if round > 0 {
                sample(one_in, EVERYTHING);
            }
            let own: Vec<_> = (0..5000).map(|i| (alloc(i % 300 + 1), i % 300 + 1)).collect();
            assert_eq!(own.iter().any(|&(chunk, _)| is_sampled(chunk)), one_in != 0);
            for &(chunk, size) in &own {
                assert!(holds(chunk, 0));
                // SAFETY: `size` bytes of this test.
                unsafe { chunk.as_ptr().write_bytes(9, size) };
            }
            for &(chunk, _) in ordinary.iter().chain(&chunks) {
                assert!(!is_readable(chunk.as_ptr().expose_provenance()));
            }
            let stats = check_statistics();
            let not_counted = stats.secret_memory - counted_by_kernel(stats.secret_memory);
            let locked = locked_by_kernel() + not_counted;
            assert_eq!((stats.locked, locked), (stats.total, stats.total));
            for (number, &(chunk, size)) in own.iter().enumerate() {
                assert!(holds(chunk, 9));
                assert_eq!(free_either(chunk, size, number % 2 == 0), Ok(()));
            }
            assert_eq!(check_statistics().used, 0);
        }
    };
    let end = in_child(|| {
        finds_nothing();
        let own = alloc(40);
        sample(1, EVERYTHING);
        let sampled = alloc(40);
        common::in_child(|| {
            assert_eq!(check_statistics().total, 0);
            assert_eq!((free(own), free(sampled)), (Ok(()), Ok(())));
            assert!(is_sampled(alloc(40)));
        });
        assert_eq!((free(own), free(sampled)), (Ok(()), Ok(())));
        assert_eq!(check_statistics().used, 0);
    });
    assert_eq!(end, End::Exited(0));
    // An access to absent memory ends the process.
    assert_eq!(in_child(|| read(chunks[2].0, 0)), End::Killed(libc::SIGSEGV));
    assert_eq!(check_statistics(), before);
    for &(chunk, size) in &chunks {
        assert!(holds(chunk, 7));
        assert_eq!(free_either(chunk, size, true), Ok(()));
    }
    ordinary.iter().for_each(|&(chunk, _)| free(chunk).unwrap());
    assert_eq!(check_statistics().used, 0);
}

#[test]
fn absent_in_a_child_of_ordinary_memory() {
    alone("absent_in_a_child_of_ordinary_memory", || absent_in_a_child(SecretMemory::Off));
}

#[test]
fn absent_in_a_child_of_secret_memory() {
    alone("absent_in_a_child_of_secret_memory", || absent_in_a_child(SecretMemory::Prefer));
}

/// Sampling is a use of the pool: options must be set before it.
#[test]
fn options_come_before_samples() {
    alone("options_come_before_samples", || {
        sample(1, EVERYTHING);
        configure(&PoolOptions::new().fork_policy(ForkPolicy::Absent));
        let chunk = alloc(32);
        assert!(is_sampled(chunk));
        assert!(pool().configure(&PoolOptions::new()).is_err());
        common::in_child(|| assert!(!is_readable(chunk.as_ptr().expose_provenance())));
    });
}

/// The panic button wipes sampled chunks too, and does not touch those that have been freed. The
/// zeros that it leaves around a chunk are no overrun.
#[test]
fn everything_is_wiped() {
    alone("everything_is_wiped", || {
        sample(1, EVERYTHING);
        let chunks = filled();
        let freed: Vec<_> = SIZES.map(alloc).into();
        freed.iter().for_each(|&chunk| free(chunk).unwrap());
        let before = check_statistics();
        assert!(chunks.iter().all(|&(chunk, _)| holds(chunk, 7)));
        assert_eq!(zero_behind(), Err(FreeError::Overrun));
        // SAFETY: all values in the pool are bytes.
        unsafe { wipe_everything() };
        for &chunk in &freed {
            assert!(!is_readable(chunk.as_ptr().expose_provenance()));
            assert_eq!(free(chunk), Err(FreeError::InvalidFree));
        }
        assert_eq!(check_statistics(), before);
        for (number, &(chunk, size)) in chunks.iter().enumerate() {
            // SAFETY: `size` bytes of this test.
            let bytes = unsafe { std::slice::from_raw_parts(chunk.as_ptr(), size) };
            assert!(bytes.iter().all(|&byte| byte == 0));
            assert_eq!(free_either(chunk, size, number % 2 == 0), Ok(()), "{size}");
        }
        assert_eq!(check_statistics().used, 0);
        assert_eq!(zero_behind(), Err(FreeError::Overrun), "of a chunk made since");
        let chunk = alloc(17);
        write(chunk, 17);
        assert_eq!(free(chunk), Err(FreeError::Overrun));
    });
}

/// The peak counts samples, which leave the total when they are freed.
#[test]
fn the_peak_counts_samples() {
    alone("the_peak_counts_samples", || {
        sample(2, EVERYTHING);
        let (mut used, mut total) = (0, 0);
        let chunks: Vec<_> = (0..400)
            .map(|_| {
                let chunk = alloc(3000);
                let stats = check_statistics();
                assert_eq!(stats.peak_used, stats.used);
                (used, total) = (stats.used, stats.total);
                chunk
            })
            .collect();
        chunks.into_iter().for_each(|chunk| free(chunk).unwrap());
        let stats = check_statistics();
        assert_eq!((stats.used, stats.peak_used), (0, used));
        assert!(stats.total < stats.peak_used && stats.peak_used <= total);
    });
}

#[test]
fn an_address_is_described() {
    alone("an_address_is_described", || {
        let ordinary = alloc(32);
        assert_eq!(LockedPoolManager::describe_address(ordinary.as_ptr()), None);
        sample(1, EVERYTHING);
        let on_stack = 0;
        assert_eq!(LockedPoolManager::describe_address(&raw const on_stack), None);
        // SAFETY: takes nothing.
        let me = unsafe { libc::gettid() } as u32;
        for size in [1, 32, 4000, 5000, LockedPool::ARENA_SIZE] {
            let chunk = placed(size, true);
            let describe = |offset: isize| {
                let address = chunk.as_ptr().wrapping_offset(offset);
                let report = LockedPoolManager::describe_address(address).expect("known");
                assert_eq!((report.chunk, report.size), (chunk.as_ptr().addr(), size));
                assert_eq!((report.offset, report.allocated_by), (offset, me));
                (report.freed_by, report.to_string())
            };
            let len = size as isize;
            for offset in [-1, 0, len - 1, len, len + 100] {
                let (freed_by, text) = describe(offset);
                let where_it_is = match offset {
                    ..0 => "1 bytes before".to_owned(),
                    _ if offset < len => format!("byte {offset} of"),
                    _ => format!("{} bytes after", offset - len),
                };
                let expected = format!(
                    "{where_it_is} a chunk of {size} bytes, allocated by thread {me}, in use"
                );
                assert_eq!((freed_by, text), (None, expected));
            }
            let addr = chunk.as_ptr().expose_provenance();
            let thread = std::thread::spawn(move || {
                // SAFETY: not used afterwards.
                unsafe { pool().free(std::ptr::with_exposed_provenance_mut(addr)) }.unwrap();
                // SAFETY: takes nothing.
                unsafe { libc::gettid() as u32 }
            });
            let thread = thread.join().unwrap();
            let (freed_by, text) = describe(0);
            assert_eq!(freed_by, Some(thread));
            assert!(text.ends_with(&format!("thread {me}, freed by thread {thread}")), "{text}");
        }
    });
}

/// A signal handler of the program can learn which misuse ends the process.
#[test]
fn a_signal_handler_can_ask() {
    extern "C" fn handler(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the system passes a valid one.
        let address = unsafe { (*info).si_addr() };
        let report = LockedPoolManager::describe_address(address.cast());
        // s390x tells the page in which a fault was, and no more.
        let right = report.is_some_and(|report| {
            (report.size, report.freed_by.is_some()) == (24, true)
                && (report.offset == 24 / 2 || cfg!(target_arch = "s390x"))
        });
        // SAFETY: ends the process.
        unsafe { libc::_exit(if right { 42 } else { 43 }) };
    }
    alone("a_signal_handler_can_ask", || {
        let end = in_child(|| {
            // SAFETY: zeros are a valid `sigaction`.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            // SAFETY: `action` is valid, and its handler only calls functions that handlers may
            // call.
            let set = unsafe { libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()) };
            assert_eq!(set, 0);
            sample(1, EVERYTHING);
            let chunk = alloc(24);
            free(chunk).unwrap();
            write(chunk, 12);
        });
        assert_eq!(end, End::Exited(42));
    });
}
