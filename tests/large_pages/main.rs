//! A system with pages of 16 KiB or of 64 KiB, as there are on Apple's processors, on a Raspberry
//! Pi 5 and on POWER. `system.c` imitates one: the tests run in separate processes that start with
//! it. A call that names part of a page ends such a process.
//!
//! (`scripts/test-target pages-16k pages-64k` runs the other tests there.)

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

#[path = "../common/mod.rs"]
mod common;

use bitcoin_support::{
    Arena, ArenaError, ClosedBox, ForkPolicy, HardenError, HardenOptions, HardeningStep,
    LockedAllocation, LockedPageAllocator, LockedPages, LockedPool, LockedPoolManager, PoolError,
    PoolOptions, SecretMemory, SecretStack, SecureBox, SecureVec, harden_process, has_page_size,
    memory_stats, on_secret_stack, page_size, raise_lock_limit,
};
use common::{
    alone_with, flags_of, in_child, limit_locked_memory, locked_by_kernel, read_memory, signal_of,
    status_field, trap,
};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::Command;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `body` in two separate processes: one with each page size.
fn with_large_pages(test: &str, body: impl FnOnce()) {
    if std::env::var_os("ALONE").is_some() {
        return body();
    }
    let library = library(test);
    let library = library.to_str().expect("a path in UTF-8");
    for size in ["16384", "65536"] {
        let variables =
            [("LD_PRELOAD", library), ("LARGE_PAGES", size), ("LARGE_PAGES_STRICT", "1")];
        alone_with(test, &variables, || unreachable!("not in a separate process"));
    }
    std::fs::remove_file(library).unwrap();
}

/// Builds the library that imitates the system, for one test.
fn library(test: &str) -> PathBuf {
    let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.so"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/large_pages/system.c");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let built = Command::new(compiler)
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .args([source, "-ldl"])
        .output()
        .expect("a C compiler");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

/// Whether the kernel can read any part of the whole pages from `from` to `to`: bytes next to their
/// ends, and in each page of the machine.
fn is_any_readable(from: usize, to: usize) -> bool {
    (from..to).step_by(4096).chain([to - 1]).any(|addr| read_memory(addr, 1).is_some())
}

fn address<T: ?Sized>(value: &T) -> usize {
    std::ptr::from_ref(value).cast::<u8>().expose_provenance()
}

/// The pages around an address that are locked, as their first address and the end.
fn locked_around(addr: usize) -> (usize, usize) {
    let page = page_size();
    let inside = addr / page * page;
    let is_locked = |addr| flags_of(addr).contains(&"lo".to_owned());
    let mut below = (0..).map(|number| inside - number * page);
    let mut above = (0..).map(|number| inside + number * page);
    let start = below.find(|&addr| !is_locked(addr)).unwrap() + page;
    (start, above.find(|&addr| !is_locked(addr)).unwrap())
}

/// The control of the imitation, without the library that is tested.
#[test]
fn the_system_has_large_pages() {
    with_large_pages("the_system_has_large_pages", || {
        // SAFETY: takes no pointers.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        assert_eq!(std::env::var("LARGE_PAGES").unwrap(), page.to_string());
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, which nothing else uses.
        unsafe {
            let at = libc::mmap(std::ptr::null_mut(), 1, access, flags, -1, 0);
            assert_ne!(at, libc::MAP_FAILED);
            assert_eq!(at.addr() % page, 0);
            at.cast::<u8>().write_bytes(1, page);
            let part = at.cast::<u8>().add(4096).cast();
            let refused = libc::mmap(part, page, access, flags | libc::MAP_FIXED, -1, 0);
            assert_eq!(refused, libc::MAP_FAILED);
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINVAL));
            assert_eq!(signal_of(|| _ = libc::munmap(part, page)), libc::SIGABRT);
            let none = libc::PROT_NONE;
            assert_eq!(signal_of(|| _ = libc::mprotect(at, 4096, none)), libc::SIGABRT);
            assert_eq!(libc::munmap(at, 1), 0);
            assert_eq!(read_memory(at.expose_provenance(), 1), None);
        }
    });
}

#[test]
fn pages_are_whole_and_lie_between_guard_pages() {
    with_large_pages("pages_are_whole_and_lie_between_guard_pages", || {
        let page = page_size();
        assert!(page > 4096 && has_page_size(page) && !has_page_size(4096));
        for (len, whole) in [(1, page), (page, page), (page + 1, 2 * page), (5000, page)] {
            let before = locked_by_kernel();
            let mut pages = LockedPages::new(len).unwrap();
            assert_eq!((pages.len(), pages.lock_state()), (whole, Ok(())));
            assert_eq!(locked_by_kernel() - before, whole);
            let start = pages.as_ptr().expose_provenance().get();
            let end = start + whole;
            assert_eq!(start % page, 0);
            pages.as_mut_slice().fill(7);
            assert!(read_memory(end - 1, 1).is_some());
            assert!(!is_any_readable(start - page, start), "the guard page before {len} bytes");
            assert!(!is_any_readable(end, end + page), "the guard page behind {len} bytes");
            drop(pages);
            assert_eq!(locked_by_kernel(), before);
            assert!(!is_any_readable(start, end));
        }
        // There are addresses for guard pages besides, or the length is refused as it is.
        let text = |len| LockedPages::new(len).unwrap_err().to_string();
        assert_eq!(text(isize::MAX as usize + 1 - 2 * page), text(usize::MAX));
    });
}

#[test]
fn arenas_are_whole_pages() {
    with_large_pages("arenas_are_whole_pages", || {
        let page = page_size();
        let smaller = LockedPool::new(4096, page, page);
        assert!(matches!(smaller, Err(PoolError::PageSize(4096))));
        let pool = LockedPool::default();
        let pages = LockedPool::ARENA_SIZE / page;
        let chunks: Vec<_> = (0..pages).map(|_| pool.alloc(page, 16).unwrap()).collect();
        let stats = pool.stats();
        assert_eq!((stats.arenas, stats.free), (1, 0), "{pages} pages");
        assert_eq!((stats.total, stats.locked), (LockedPool::ARENA_SIZE, LockedPool::ARENA_SIZE));
        assert_eq!(stats.locked, locked_by_kernel());
        for chunk in chunks {
            // SAFETY: a chunk of this test of a page, which nothing uses after its free.
            unsafe {
                chunk.as_ptr().write_bytes(1, page);
                assert_eq!(pool.free(chunk.as_ptr()), Ok(()));
            }
        }
        drop(pool);
        assert_eq!(locked_by_kernel(), 0);

        // A chunk that begins on a page needs no room besides.
        let pool = LockedPool::default();
        assert!(pool.alloc(LockedPool::ARENA_SIZE, page).is_some());
        drop(pool);

        // Of a limit, whole pages can be used.
        in_child(|| {
            let limit = 3 * page + page / 2;
            limit_locked_memory(limit, limit);
            let pool = LockedPool::default();
            while pool.stats().arenas < 3 {
                pool.alloc(page / 4, 16).unwrap();
            }
            assert_eq!(pool.stats().locked, 3 * page);
            assert_eq!(locked_by_kernel(), 3 * page);
        });
        // The smallest limit on locked memory that is usual for a user.
        in_child(|| {
            limit_locked_memory(65536, 65536);
            let keys: Vec<_> = (0..100).map(|i| SecureBox::new([i; 32])).collect();
            assert!(memory_stats().is_fully_locked());
            assert!(locked_by_kernel() <= 65536);
            assert!(keys.iter().zip(0..).all(|(key, i)| key.expose_secret() == &[i; 32]));
        });
    });
}

/// A foreign allocator is asked for what can be locked, in whole pages. An arena's bookkeeping
/// takes no more of the limit in a process that locks everything than it does with pages of 4 KiB.
/// (On the heap it would take a third of it with pages of 64 KiB.)
#[test]
fn the_bookkeeping_is_not_locked() {
    with_large_pages("the_bookkeeping_is_not_locked", || {
        const LIMIT: usize = 8 << 20;
        limit_locked_memory(LIMIT, LIMIT);
        in_child(|| {
            // SAFETY: takes no pointers.
            assert_eq!(unsafe { libc::mlockall(libc::MCL_FUTURE) }, 0);
            let manager = LockedPoolManager::instance();
            manager.set_locking_failed(Some(Box::new(|_| false)));
            while manager.alloc(4096, 16).is_some() {}
            let stats = manager.stats();
            assert!(stats.used >= LIMIT / 16 * 15, "{} bytes for secrets", stats.used);
            assert_eq!(stats.locked, stats.total);
        });
    });
}

/// An arena's bookkeeping goes with the arena. Where there is no room for all of it there is no
/// arena, and nothing of it stays.
#[test]
fn the_bookkeeping_goes_with_its_arena() {
    with_large_pages("the_bookkeeping_goes_with_its_arena", || {
        let make = || Arena::new(0x1000_0000 as *mut u8, 1 << 18, 16);
        let mapped = || {
            let field = status_field("VmSize:");
            field.trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
        };
        drop(make().unwrap());
        let before = mapped();
        (0..100).for_each(|_| drop(make().unwrap()));
        assert_eq!(mapped(), before);
        // The control: arenas that stay.
        let arenas: Vec<_> = (0..100).map(|_| make().unwrap()).collect();
        assert!(mapped() >= before + 100 * (200 << 10), "{} {before}", mapped());
        drop(arenas);
        assert_eq!(mapped(), before);
        let mut refused = 0;
        for room in (0..).step_by(page_size()) {
            let limit = |bytes| {
                let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
                // SAFETY: `limit` is a valid structure.
                assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
            };
            limit((before + room) as libc::rlim_t);
            let made = make();
            limit(libc::RLIM_INFINITY);
            match made {
                Ok(_) => break,
                Err(error) => assert!(matches!(error, ArenaError::OutOfMemory), "{error}"),
            }
            assert_eq!(mapped(), before);
            refused += 1;
        }
        // Each of its three tables has been refused.
        assert!(refused * page_size() >= 200 << 10, "{refused}");
    });
}

#[test]
fn a_foreign_allocator_is_asked_for_whole_pages() {
    struct Refuses(Arc<AtomicUsize>);
    impl LockedPageAllocator for Refuses {
        fn allocate_locked(&mut self, len: usize) -> Option<LockedAllocation> {
            self.0.store(len, Ordering::Relaxed);
            None
        }
        unsafe fn free_locked(&mut self, _: NonNull<u8>, _: usize) {}
        fn limit(&self) -> usize {
            3 * page_size() + 5000
        }
    }
    with_large_pages("a_foreign_allocator_is_asked_for_whole_pages", || {
        let asked = Arc::new(AtomicUsize::new(0));
        let pool = LockedPool::with_page_allocator(Box::new(Refuses(asked.clone())));
        assert_eq!(pool.alloc(33, 16), None);
        assert_eq!(asked.load(Ordering::Relaxed), 3 * page_size());
    });
}

#[test]
fn secrets_of_every_size() {
    with_large_pages("secrets_of_every_size", || {
        let manager = LockedPoolManager::instance();
        drop(SecureBox::new([1_u8; 32]));
        let fills = |seed: usize| {
            let sizes = (1..60).map(|i| i * i * 11).chain([65_536, 262_144, 300_000, 1_000_000]);
            let secrets: Vec<_> =
                sizes.map(|len| SecureVec::from(vec![(len + seed) as u8; len])).collect();
            for secret in &secrets {
                let bytes = secret.expose_secret();
                assert!(bytes.iter().all(|&byte| byte == (bytes.len() + seed) as u8));
            }
        };
        std::thread::scope(|scope| {
            for seed in 0..3 {
                scope.spawn(move || (0..5).for_each(|_| fills(seed)));
            }
        });
        let mut grown = SecureVec::new();
        (0..400_000_u32).for_each(|i| grown.push(i as u8));
        assert!(grown.expose_secret().iter().zip(0_u32..).all(|(&byte, i)| byte == i as u8));
        let stats = memory_stats();
        assert_eq!(stats.locked, locked_by_kernel());
        assert_eq!(stats.total % page_size(), 0);
        drop(grown);
        let stats = manager.stats();
        assert_eq!((stats.used, stats.chunks_used), (0, 0));
        assert_eq!((stats.locked, memory_stats().locked), (stats.total, locked_by_kernel()));
    });
}

#[test]
fn sampled_chunks_lie_at_an_end_of_a_page() {
    with_large_pages("sampled_chunks_lie_at_an_end_of_a_page", || {
        let (manager, page) = (LockedPoolManager::instance(), page_size());
        manager.sample_one_in(NonZeroU32::new(1), 64 * page).unwrap();
        let before = locked_by_kernel();
        let alloc = || manager.alloc(20, 16).unwrap();
        let chunks: Vec<NonNull<u8>> = (0..20).map(|_| alloc()).collect();
        assert_eq!(locked_by_kernel() - before, 20 * page);
        let at = |chunk: &NonNull<u8>| chunk.as_ptr().expose_provenance();
        for chunk in &chunks {
            let (addr, start) = (at(chunk), at(chunk) / page * page);
            assert!(addr == start || addr + 32 == start + page, "{addr:#x}");
            assert!(read_memory(start, page).is_some());
            assert!(!is_any_readable(start - page, start));
            assert!(!is_any_readable(start + page, start + 2 * page));
            let beside = if addr == start { -1 } else { 32 };
            // SAFETY: not sound, and so in a child, which is to end here.
            let misuse = || unsafe { chunk.as_ptr().wrapping_offset(beside).write_volatile(1) };
            assert_eq!(signal_of(misuse), libc::SIGSEGV);
        }
        for chunk in &chunks {
            // SAFETY: a chunk of this test, which nothing uses afterwards.
            assert_eq!(unsafe { manager.free(chunk.as_ptr()) }, Ok(()));
            let start = at(chunk) / page * page;
            assert!(!is_any_readable(start, start + page));
        }
        assert_eq!(locked_by_kernel(), before);
    });
}

#[test]
fn secret_stacks_and_closed_secrets() {
    with_large_pages("secret_stacks_and_closed_secrets", || {
        let page = page_size();
        let place = on_secret_stack(|| {
            let here = std::hint::black_box(7_u8);
            assert!(read_memory(address(&here), 1).is_some());
            address(&here)
        });
        assert_eq!(read_memory(place, 1), Some(vec![0]), "wiped");
        let before = locked_by_kernel();
        let closed: Vec<_> = (0..3_u8)
            .map(|i| ClosedBox::close(SecureBox::new([i; 32])).expect("a closed secret"))
            .collect();
        let places: Vec<_> =
            closed.iter().map(|secret| address(secret.open().unwrap().expose_secret())).collect();
        for (number, &place) in places.iter().enumerate() {
            let start = place / page * page;
            assert!(!is_any_readable(start, start + page));
            // Also in the guard pages an address is told as near it.
            for near in [start - page, start + 2 * page - 1] {
                let near = std::ptr::without_provenance::<u8>(near);
                let report = LockedPoolManager::describe_address(near).expect("near a secret");
                assert!(report.closed.is_some());
            }
            let open = closed[number].open().unwrap();
            assert_eq!(open.expose_secret(), &[number as u8; 32]);
            assert!(read_memory(place, 32).is_some());
            let others = places.iter().filter(|&&other| other != place);
            others.for_each(|&other| assert_eq!(read_memory(other, 1), None));
        }
        assert_eq!(memory_stats().locked, locked_by_kernel());
        drop(closed);
        assert!(locked_by_kernel() <= before + LockedPool::ARENA_SIZE);
    });
}

/// Secrets that are aligned to more than the machine's pages, and to no more than these.
#[test]
fn aligned_secrets() {
    #[derive(Clone, Copy, bytemuck::NoUninit)]
    #[repr(C, align(16384))]
    struct Aligned([u8; 16384]);
    #[derive(bytemuck::Zeroable)]
    #[repr(align(16384))]
    struct Large([u8; 20 * 16384]);
    with_large_pages("aligned_secrets", || {
        let large = SecureBox::<Large>::new_with(|large| large.0.fill(7));
        assert!(large.expose_secret().0.len() > LockedPool::ARENA_SIZE);
        let closed =
            ClosedBox::close(SecureBox::new(Aligned([8; 16384]))).expect("a closed secret");
        let open = closed.open().unwrap();
        for place in [address(large.expose_secret()), address(open.expose_secret())] {
            assert_eq!(place % 16384, 0);
        }
        assert!(large.expose_secret().0.iter().all(|&byte| byte == 7));
        assert!(open.expose_secret().0.iter().all(|&byte| byte == 8));
    });
}

/// A stack is kept for the next call of its size, also where that is no whole number of pages.
#[test]
fn secret_stacks_are_kept() {
    with_large_pages("secret_stacks_are_kept", || {
        for size in [1, 40_000, 100_000] {
            let call = || SecretStack::new().size(size).run(|| ()).expect("a stack");
            call();
            let mappings = memory_stats().mappings;
            (0..3).for_each(|_| call());
            assert_eq!(memory_stats().mappings, mappings, "a stack of {size} bytes");
        }
    });
}

/// A pool to which a page has been refused believes it, also for chunks that are smaller than a
/// page: it looks at the limit now and then only.
#[test]
fn a_refused_pool_asks_now_and_then() {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn note_look(_: libc::c_int) {
        LOOKS.fetch_add(1, Ordering::Relaxed);
    }
    with_large_pages("a_refused_pool_asks_now_and_then", || {
        let limit = 3 * page_size();
        limit_locked_memory(limit, limit);
        let stats = || LockedPoolManager::instance().stats();
        let key = || SecureBox::new([7_u8; 32]);
        let mut keys = Vec::new();
        while stats().total == stats().locked {
            keys.push(key());
        }
        assert_eq!(stats().locked, limit);
        // SAFETY: the handler changes an atomic only.
        unsafe { libc::signal(libc::SIGSYS, note_look as *const () as libc::sighandler_t) };
        trap(libc::SYS_prlimit64);
        keys.extend((0..10).map(|_| key()));
        assert_eq!(LOOKS.load(Ordering::Relaxed), 0);
        // The control.
        keys.extend((0..10).map(|_| key()));
        assert_ne!(LOOKS.load(Ordering::Relaxed), 0);
    });
}

/// The process-wide pool has tables for the addresses of its range. Where a process may have few
/// addresses, a table is no whole number of pages.
#[test]
fn tables_for_few_addresses() {
    with_large_pages("tables_for_few_addresses", || {
        // The range is the 16th part, as far as that is a multiple of 4 MiB.
        for mib in [12, 20] {
            let limit = 16 * (mib << 20);
            let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            in_child(|| {
                // SAFETY: `limit` is valid for the call.
                assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
                let keys: Vec<_> = (0..3000_u32).map(|i| SecureBox::new([i; 8])).collect();
                assert!(keys.iter().zip(0..).all(|(key, i)| key.expose_secret() == &[i; 8]));
                // Without tables there is no range, in which arenas share guard pages.
                let arenas = [7_u8, 8].map(|i| SecureVec::from(vec![i; LockedPool::ARENA_SIZE]));
                let [first, second] = arenas.each_ref().map(|it| address(it.expose_secret()));
                assert_eq!(second - first, LockedPool::ARENA_SIZE + page_size());
                let stats = LockedPoolManager::instance().stats();
                assert_eq!((stats.chunks_used, stats.locked), (3002, stats.total));
            });
        }
    });
}

/// The addresses of an arena that has been given back are there for a larger one.
#[test]
fn addresses_are_used_again() {
    with_large_pages("addresses_are_used_again", || {
        let page = page_size();
        limit_locked_memory(3 * page, 8 * page);
        let key = SecureBox::new([7_u8; 32]);
        let (first, end) = locked_around(address(key.expose_secret()));
        assert_eq!(end - first, 3 * page);
        drop(key);
        // The pool gives its memory back to a stack that must be locked.
        SecretStack::new().size(1).require_lock().run(|| ()).expect("a locked stack");
        assert_eq!(LockedPoolManager::instance().stats().total, 0);
        assert_eq!(raise_lock_limit().ok(), Some(8 * page));
        let key = SecureBox::new([8_u8; 32]);
        let (again, end) = locked_around(address(key.expose_secret()));
        assert!(end - again > 3 * page);
        assert_eq!(again, first);
    });
}

/// The kernel refuses to unmap a page of a sealed pool, and the guard pages around its arenas.
#[test]
fn a_sealed_pool() {
    with_large_pages("a_sealed_pool", || {
        let page = page_size();
        let key = SecureBox::new([7_u8; 32]);
        let arena = address(key.expose_secret()) / page * page;
        let unmap = |page| {
            let at = std::ptr::with_exposed_provenance_mut(page);
            // SAFETY: the kernel refuses it, or the process is a child that does not use it again.
            let answer = unsafe { libc::munmap(at, page_size()) };
            if answer == 0 { 0 } else { std::io::Error::last_os_error().raw_os_error().unwrap() }
        };
        // The control: the kernel does as it is told.
        in_child(|| assert_eq!(unmap(arena), 0));
        // For so many mappings the registry has tables besides its first one.
        let more: Vec<_> = (0..70).map(|_| LockedPages::new(1).unwrap()).collect();
        let step = HardeningStep::SealedPool;
        if let Err(error) = harden_process(HardenOptions::new().step(step)).complete() {
            assert_eq!(error, HardenError::NotSupported(step));
            println!("skipped: {error}");
            return;
        }
        // The second has an arena for itself.
        let secrets = [vec![8_u8; 100], vec![9; LockedPool::ARENA_SIZE]].map(SecureVec::from);
        for secret in &secrets {
            let (start, end) = locked_around(address(secret.expose_secret()));
            assert_eq!(end - start, LockedPool::ARENA_SIZE);
            assert!(!is_any_readable(start - page, start) && !is_any_readable(end, end + page));
            for at in (start - page..=end).step_by(page) {
                assert_eq!(unmap(at), libc::EPERM, "{at:#x}");
            }
        }
        drop(more);
        assert_eq!(key.expose_secret(), &[7; 32]);
    });
}

/// Secret memory, or ordinary pages where the system has none, for what is no whole number of
/// pages.
#[test]
fn secret_memory_is_whole_pages() {
    with_large_pages("secret_memory_is_whole_pages", || {
        let page = page_size();
        let options = PoolOptions::new().fork_policy(ForkPolicy::Absent);
        let options = options.secret_memory(SecretMemory::Prefer);
        // SAFETY: no child of this test uses its secrets.
        unsafe { LockedPoolManager::instance().configure_unchecked(&options) }.unwrap();
        let before = memory_stats();
        let large = SecureVec::from(vec![7_u8; 300_000]);
        let after = memory_stats();
        assert_eq!(after.total - before.total, 300_000_usize.next_multiple_of(page));
        assert_eq!((after.locked, after.total), (locked_by_kernel(), locked_by_kernel()));
        let start = address(large.expose_secret()) / page * page;
        let end = start + after.total - before.total;
        assert!(!is_any_readable(start - page, start) && !is_any_readable(end, end + page));
        assert_eq!(large.expose_secret(), &[7; 300_000]);
        let closed = ClosedBox::close(SecureBox::new([8_u8; 32])).expect("a closed secret");
        assert_eq!(closed.open().unwrap().expose_secret(), &[8; 32]);
        drop((large, closed));
        assert_eq!(memory_stats().locked, locked_by_kernel());
    });
}

#[test]
fn children_have_what_the_policy_says() {
    with_large_pages("children_have_what_the_policy_says", || {
        let page = page_size();
        for policy in [ForkPolicy::Keep, ForkPolicy::Wipe, ForkPolicy::Absent] {
            let pool = LockedPool::with_options(&PoolOptions::new().fork_policy(policy)).unwrap();
            let chunk = pool.alloc(page + 100, 16).unwrap();
            // SAFETY: a chunk of this test.
            unsafe { chunk.as_ptr().write_bytes(9, page + 100) };
            let addr = chunk.as_ptr().expose_provenance();
            in_child(|| {
                let found = match policy {
                    ForkPolicy::Keep => Some(vec![9; page + 100]),
                    ForkPolicy::Wipe => Some(vec![0; page + 100]),
                    _ => None,
                };
                assert_eq!(read_memory(addr, page + 100), found, "{policy:?}");
                assert_eq!(pool.stats().locked, locked_by_kernel());
                let own = pool.alloc(3 * page, 16).unwrap();
                // SAFETY: a chunk of this process.
                unsafe { own.as_ptr().write_bytes(3, 3 * page) };
                assert_eq!(pool.stats().locked, locked_by_kernel());
            });
            assert_eq!(read_memory(addr, page + 100), Some(vec![9; page + 100]));
            drop(pool);
            assert_eq!(locked_by_kernel(), 0);
        }
    });
}
