//! Overruns. No arena lies directly beside other memory, whichever code allocated it. An overrun
//! within an arena can spoil only other secrets, as there are no bookkeeping data in an arena. The
//! controls: ordinary memory has neither property.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{LockedPages, LockedPool, LockedPoolManager, SecureVec, page_size};
use common::{alone, signal_of};
use std::ptr::NonNull;

/// The signals of one write each: before the range, in its first and its last byte, and after it.
fn writes_around(start: usize, len: usize) -> [i32; 4] {
    [start - 1, start, start + len - 1, start + len].map(|addr| {
        let place = std::ptr::with_exposed_provenance_mut::<u8>(addr);
        // SAFETY: the child writes to its memory, or ends by a signal, which is what the test
        // observes.
        signal_of(|| unsafe { place.write_volatile(1) })
    })
}

const STOPPED: [i32; 4] = [libc::SIGSEGV, 0, 0, libc::SIGSEGV];

/// The bounds of the arenas around the chunks, which are runs of locked memory.
fn arenas_of(addrs: &[usize]) -> Vec<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ranges = maps.lines().map(|line| {
        let (start, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        let parse = |digits| usize::from_str_radix(digits, 16).unwrap();
        (parse(start), parse(end))
    });
    ranges.filter(|&(start, end)| addrs.iter().any(|addr| (start..end).contains(addr))).collect()
}

#[test]
fn every_arena_lies_between_guard_pages() {
    alone("every_arena_lies_between_guard_pages", || {
        // The process-wide pool, with several arenas and a large secret.
        let texts: Vec<_> = (0..300).map(|_| SecureVec::from(vec![1_u8; 4000])).collect();
        let large = SecureVec::from(vec![1_u8; 300_000]);
        let addr_of = |vec: &SecureVec<u8>| vec.expose_secret().as_ptr().expose_provenance();
        let addrs: Vec<_> = texts.iter().chain([&large]).map(addr_of).collect();
        let arenas = arenas_of(&addrs);
        assert_eq!(arenas.len(), LockedPoolManager::instance().stats().arenas + 1, "{arenas:x?}");
        for (start, end) in arenas {
            assert_eq!(writes_around(start, end - start), STOPPED);
        }
        // A private pool, and pages.
        let pool = LockedPool::default();
        for _ in 0..3 {
            let arena = pool.alloc(LockedPool::ARENA_SIZE, 16).unwrap().as_ptr();
            assert_eq!(writes_around(arena.expose_provenance(), LockedPool::ARENA_SIZE), STOPPED);
        }
        let pages = LockedPages::new(1).unwrap();
        let start = pages.as_ptr().as_ptr().expose_provenance();
        assert_eq!(writes_around(start, page_size()), STOPPED);

        // The control: ordinary pages, whose neighbours take a write past their ends.
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at a place of the system's choice.
        let ordinary =
            unsafe { libc::mmap(std::ptr::null_mut(), 3 * page_size(), access, flags, -1, 0) };
        assert_ne!(ordinary, libc::MAP_FAILED);
        assert_eq!(writes_around(ordinary.expose_provenance() + page_size(), page_size()), [0; 4]);
    });
}

/// Everything in a pool's arenas is overwritten, both chunks in use and free ones. Addresses, sizes
/// and figures stay as they were.
#[test]
fn bookkeeping_lies_elsewhere() {
    alone("bookkeeping_lies_elsewhere", || {
        fn survives(alloc: &dyn Fn(usize) -> NonNull<u8>, free: &dyn Fn(NonNull<u8>, usize)) {
            let sizes = [16, 48, 300, 4096, 20_000];
            let chunks: Vec<_> = sizes.iter().cycle().take(60).map(|&size| alloc(size)).collect();
            let (kept, freed): (Vec<_>, Vec<_>) =
                chunks.iter().zip(sizes.iter().cycle()).enumerate().partition(|(i, _)| i % 3 == 0);
            freed.iter().for_each(|&(_, (&chunk, &size))| free(chunk, size));
            let addrs: Vec<_> =
                chunks.iter().map(|chunk| chunk.as_ptr().expose_provenance()).collect();
            for (start, end) in arenas_of(&addrs) {
                let start = std::ptr::with_exposed_provenance_mut::<u8>(start);
                // SAFETY: memory of the pool, in which only this test has chunks, and they hold
                // bytes.
                unsafe { start.write_bytes(0xff, end - start.addr()) };
            }
            // The next chunks are not among those in use.
            let more: Vec<_> = sizes.iter().cycle().take(40).map(|&size| alloc(size)).collect();
            let all = || kept.iter().map(|(_, (chunk, size))| (**chunk, **size));
            let used: Vec<_> =
                all().chain(more.iter().copied().zip(sizes.iter().cycle().copied())).collect();
            for (number, &(one, size)) in used.iter().enumerate() {
                let apart = |&(other, len): &(NonNull<u8>, usize)| {
                    one.addr().get() + size <= other.addr().get()
                        || other.addr().get() + len <= one.addr().get()
                };
                assert!(used[number + 1..].iter().all(apart));
            }
            used.into_iter().for_each(|(chunk, size)| free(chunk, size));
        }
        let manager = LockedPoolManager::instance();
        survives(&|size| manager.alloc(size, 16).unwrap(), &|chunk, size| {
            // SAFETY: nothing uses the chunk afterwards.
            assert_eq!(unsafe { manager.free_sized(chunk.as_ptr(), size, 16) }, Ok(()));
        });
        let stats = manager.stats();
        assert_eq!((stats.used, stats.chunks_used, stats.free), (0, 0, stats.total));
        let pool = LockedPool::default();
        survives(&|size| pool.alloc(size, 16).unwrap(), &|chunk, size| {
            // SAFETY: nothing uses the chunk afterwards.
            assert_eq!(unsafe { pool.free_sized(chunk.as_ptr(), size, 16) }, Ok(()));
        });
        let stats = pool.stats();
        assert_eq!((stats.used, stats.chunks_used, stats.chunks_free), (0, 0, stats.arenas));
    });
}

/// The control: glibc's heap has its bookkeeping between the chunks, and ends the process when it
/// finds that spoilt.
#[cfg(target_env = "gnu")]
#[test]
fn control_an_overrun_spoils_an_ordinary_heap() {
    let spoil = |overrun: usize| {
        signal_of(|| {
            // SAFETY: two blocks of the heap, in a process that does nothing else. The overrun is
            // what the test observes.
            unsafe {
                libc::close(2); // the heap's error message
                let [one, two] =
                    [libc::malloc(2000), libc::malloc(2000)].map(|block| block.cast::<u8>());
                let (low, high) = if one < two { (one, two) } else { (two, one) };
                let len = libc::malloc_usable_size(low.cast());
                std::hint::black_box(low).write_bytes(0xff, len + overrun);
                libc::free(std::hint::black_box(high).cast());
                libc::free(low.cast());
            }
        })
    };
    assert_eq!((spoil(0), spoil(16)), (0, libc::SIGABRT));
}
