//! Forks: the contents of the process-wide pool and of other pools in a child under each policy, as
//! the kernel sees them. No child finds a pool that is locked by a thread that only the parent has.
//! The memory of a daemon is locked. Each observation has its control: another policy, or memory
//! that does not belong to this library.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{
    ConfigureError, ForkPolicy, LockedAllocation, LockedPageAllocator, LockedPages, LockedPool,
    LockedPoolManager, PoolOptions, PosixLockedPageAllocator, SecureAllocator, SecureBox,
    SecureString, SecureVec, memory_stats, page_size,
};
use common::{
    RETURNED, alone, alone_with, assert_locked_and_not_dumped, flags_of, give_up_after, in_child,
    in_unnoticed_child, limit_locked_memory, locked_by_kernel, plain_locked_page, read_memory,
    refuse, signal_of,
};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

const SECRET: [u8; 32] = *b"attack at dawn, or maybe at noon";

fn pool_with(policy: ForkPolicy) -> LockedPool {
    LockedPool::with_options(&PoolOptions::new().fork_policy(policy)).unwrap()
}

fn configure(policy: ForkPolicy) {
    let options = PoolOptions::new().fork_policy(policy);
    // SAFETY: these tests choose what children use of their parent's secrets.
    unsafe { LockedPoolManager::instance().configure_unchecked(&options) }.unwrap();
}

/// A chunk with the secret at its beginning.
fn secret_in(pool: &LockedPool, size: usize) -> NonNull<u8> {
    let chunk = pool.alloc(size, 16).expect("memory");
    // SAFETY: a chunk of this test of at least so many bytes.
    unsafe { chunk.copy_from_nonoverlapping(NonNull::from(&SECRET).cast(), SECRET.len()) };
    chunk
}

/// The bytes of a chunk, as the kernel reads them.
fn at(chunk: NonNull<u8>) -> Option<Vec<u8>> {
    read_memory(chunk.as_ptr().expose_provenance(), SECRET.len())
}

fn free(pool: &LockedPool, chunk: NonNull<u8>) {
    // SAFETY: nothing uses the chunk afterwards.
    assert_eq!(unsafe { pool.free(chunk.as_ptr()) }, Ok(()));
}

/// Tells the other threads of a test to end, also when this thread panics.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `body` while other threads, numbered from 0, repeat `work`.
fn while_threads(threads: usize, work: impl Fn(usize) + Sync, body: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = Done(&done);
        for number in 0..threads {
            let (work, done) = (&work, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    work(number);
                }
            });
        }
        body();
    });
}

/// A copy of a value that the child has inherited. The child drops it.
fn inherited<T>(value: &T) -> T {
    // SAFETY: only a child calls this, and it ends without dropping the value itself.
    unsafe { std::ptr::read(value) }
}

/// Checks that a pool works in a child, whatever it held before.
fn works(pool: &LockedPool) {
    let before = pool.stats();
    let chunks: Vec<_> = (1..300).map(|i| secret_in(pool, i * 32)).collect();
    let stats = pool.stats();
    assert_eq!(stats.chunks_used, before.chunks_used + chunks.len());
    assert_eq!(stats.used + stats.free, stats.total);
    assert_eq!(stats.locked, stats.total);
    for (number, chunk) in chunks.into_iter().enumerate() {
        assert_eq!(at(chunk).as_deref(), Some(&SECRET[..]));
        if number % 150 == 0 {
            let flags = flags_of(chunk.addr().get());
            assert_locked_and_not_dumped(&flags);
        }
        free(pool, chunk);
    }
    let after = pool.stats();
    assert_eq!((after.used, after.chunks_used), (before.used, before.chunks_used));
}

#[test]
fn keep_in_a_pool_of_ones_own() {
    alone("keep_in_a_pool_of_ones_own", || {
        let pool = LockedPool::default();
        let chunk = secret_in(&pool, 100);
        let whole = secret_in(&pool, LockedPool::ARENA_SIZE);
        let plain = plain_locked_page(7);
        let locked = pool.stats().locked;
        assert_eq!((pool.stats().arenas, locked), (2, 2 * LockedPool::ARENA_SIZE));
        assert_eq!(locked_by_kernel(), locked + page_size());
        for _ in 0..3 {
            in_child(|| {
                // The plain page, which is the control, is not locked: children do not inherit
                // locks.
                assert_eq!((pool.stats().locked, locked_by_kernel()), (locked, locked));
                assert!(!flags_of(plain).iter().any(|flag| flag == "lo"));
                assert_eq!(read_memory(plain, 1), Some(vec![7]));
                assert_eq!(at(chunk).as_deref(), Some(&SECRET[..]));
                let flags = flags_of(whole.addr().get());
                assert_locked_and_not_dumped(&flags);
                works(&pool);
                in_child(|| {
                    assert_eq!(locked_by_kernel(), pool.stats().locked);
                    works(&pool);
                });
                free(&pool, chunk);
            });
        }
        assert_eq!(locked_by_kernel(), locked + page_size(), "the parent's locks are as before");
        works(&pool);
    });
}

/// Pages of every other owner are locked again too: those of a page allocator that returns this
/// library's pages, and those of large secrets, which have separate mappings.
#[test]
fn keep_in_mappings_of_their_own() {
    alone("keep_in_mappings_of_their_own", || {
        let large = SecureVec::from(vec![5_u8; 300_000]);
        let pool = LockedPool::with_page_allocator(Box::new(PosixLockedPageAllocator));
        let chunk = pool.alloc(100, 16).unwrap();
        let locked = locked_by_kernel();
        assert!(locked >= 300_000 + pool.stats().locked && pool.stats().locked > 0);
        in_child(|| {
            assert_eq!(locked_by_kernel(), locked);
            assert_eq!(pool.stats().locked, LockedPool::ARENA_SIZE);
            assert!(large.expose_secret().iter().all(|&byte| byte == 5));
            drop(inherited(&large));
            assert_eq!(locked_by_kernel(), LockedPool::ARENA_SIZE);
        });
        free(&pool, chunk);
    });
}

/// Pages of a foreign allocator are not locked again, and do not count as locked.
#[test]
fn a_foreign_allocators_pages_are_not_locked() {
    struct Plain;
    impl LockedPageAllocator for Plain {
        fn allocate_locked(&mut self, len: usize) -> Option<LockedAllocation> {
            assert_eq!(len, page_size());
            let addr = std::ptr::with_exposed_provenance_mut(plain_locked_page(1));
            Some(LockedAllocation { addr: NonNull::new(addr)?, locked: true })
        }
        unsafe fn free_locked(&mut self, _: NonNull<u8>, _: usize) {}
        fn limit(&self) -> usize {
            page_size()
        }
    }
    alone("a_foreign_allocators_pages_are_not_locked", || {
        let pool = LockedPool::with_page_allocator(Box::new(Plain));
        let chunk = secret_in(&pool, 64);
        assert_eq!((pool.stats().locked, locked_by_kernel()), (page_size(), page_size()));
        in_child(|| {
            let stats = pool.stats();
            assert_eq!((stats.locked, locked_by_kernel()), (0, 0));
            assert_eq!((stats.total, stats.chunks_used), (page_size(), 1));
            assert_eq!(at(chunk).as_deref(), Some(&SECRET[..]));
            free(&pool, chunk);
            assert_eq!(pool.stats().used, 0);
        });
        assert_eq!(pool.stats().locked, page_size());
    });
}

/// Memory that cannot be locked again does not count as locked, and the statistics have the reason.
#[test]
fn a_refusal_in_the_child_is_told() {
    alone("a_refusal_in_the_child_is_told", || {
        const LIMIT: usize = 512 * 1024;
        limit_locked_memory(LIMIT, LIMIT);
        let pool = LockedPool::default();
        let chunk = secret_in(&pool, 100);
        // The child has its parent's limit, so the parent lowers it before the fork.
        let smaller = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
        // SAFETY: `smaller` is valid for the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &smaller) }, 0);
        assert_eq!(pool.stats().locked, LockedPool::ARENA_SIZE);
        in_child(|| {
            let stats = pool.stats();
            assert_eq!((stats.locked, locked_by_kernel()), (0, 0));
            let why = stats.last_lock_failure.expect("a reason");
            assert_eq!((why.errno, why.limit), (libc::ENOMEM, 1024));
            assert_eq!(at(chunk).as_deref(), Some(&SECRET[..]));
        });
    });
}

/// The child finds zeros in the same chunks, and locks them.
fn finds_zeros(pool: &LockedPool, chunks: [NonNull<u8>; 2], flag: Option<&str>) {
    let before = pool.stats();
    for chunk in chunks {
        assert_eq!(at(chunk).as_deref(), Some(&SECRET[..]));
        let flags = flags_of(chunk.addr().get());
        assert_eq!(flags.iter().any(|f| f == "wf"), flag == Some("wf"), "{flags:?}");
    }
    in_child(|| {
        let stats = pool.stats();
        assert_eq!((stats.used, stats.chunks_used), (before.used, before.chunks_used));
        assert_eq!((stats.locked, locked_by_kernel()), (before.locked, before.locked));
        for chunk in chunks {
            assert_eq!(at(chunk), Some(vec![0; SECRET.len()]));
            let flags = flags_of(chunk.addr().get());
            assert_locked_and_not_dumped(&flags);
            free(pool, chunk);
        }
        works(pool);
        assert_eq!(pool.stats().used, before.used - 5120 - 112);
        // A child's child finds zeros again.
        let own = secret_in(pool, 64);
        in_child(|| assert_eq!(at(own), Some(vec![0; SECRET.len()])));
        assert_eq!(at(own).as_deref(), Some(&SECRET[..]));
    });
    for chunk in chunks {
        assert_eq!(at(chunk).as_deref(), Some(&SECRET[..]), "the parent's secret is intact");
    }
}

#[test]
fn wipe() {
    alone("wipe", || {
        let pool = pool_with(ForkPolicy::Wipe);
        finds_zeros(&pool, [secret_in(&pool, 112), secret_in(&pool, 5120)], Some("wf"));
    });
}

#[test]
fn wipe_in_the_process_wide_pool() {
    alone("wipe_in_the_process_wide_pool", || {
        configure(ForkPolicy::Wipe);
        let manager = LockedPoolManager::instance();
        let large = SecureVec::from(vec![5_u8; 300_000]);
        let chunks = [112, 5120].map(|size| {
            let chunk = manager.alloc(size, 16).unwrap();
            // SAFETY: a chunk of this test.
            unsafe { chunk.copy_from_nonoverlapping(NonNull::from(&SECRET).cast(), 32) };
            chunk
        });
        let text = SecureString::from("a passphrase");
        let before = manager.stats();
        in_child(|| {
            assert_eq!(chunks.map(|chunk| at(chunk).unwrap()), [[0; 32]; 2]);
            assert!(text.expose_secret().bytes().all(|byte| byte == 0));
            assert!(large.expose_secret().iter().all(|&byte| byte == 0));
            assert_eq!(manager.stats().used, before.used);
            assert_eq!(
                locked_by_kernel(),
                before.locked + 300_000_usize.next_multiple_of(page_size())
            );
            drop((inherited(&text), inherited(&large)));
            let text = SecureString::from("another passphrase");
            assert_eq!(text.expose_secret(), "another passphrase");
            assert_eq!(
                (manager.stats().locked, locked_by_kernel()),
                (before.locked, before.locked)
            );
        });
        assert_eq!(text.expose_secret(), "a passphrase");
        assert_eq!(at(chunks[0]).as_deref(), Some(&SECRET[..]));
    });
}

/// Only unsafe code can choose a policy that changes values to which safe code may hold references.
/// In a child with `Wipe`, a box in a container over `SecureAllocator` is a null pointer.
#[test]
fn safe_code_cannot_have_children_find_other_values() {
    alone("safe_code_cannot_have_children_find_other_values", || {
        let manager = LockedPoolManager::instance();
        for policy in [ForkPolicy::Wipe, ForkPolicy::Absent] {
            let refused = manager.configure(&PoolOptions::new().fork_policy(policy)).unwrap_err();
            assert!(matches!(refused, ConfigureError::ForkPolicy(told) if told == policy));
            assert!(refused.to_string().contains("configure_unchecked"), "{refused}");
        }
        manager.configure(&PoolOptions::new().fork_policy(ForkPolicy::Keep)).unwrap();
        let contents = || {
            let mut boxes = allocator_api2::vec::Vec::new_in(SecureAllocator::new());
            boxes.push(Box::new(41_u32));
            boxes
        };
        in_child(|| {
            let kept = contents();
            in_child(|| assert_eq!(*kept[0], 41));
        });
        // The control: the result of the policy that was refused. The child does not touch the
        // value.
        in_child(|| {
            configure(ForkPolicy::Wipe);
            let boxes = std::mem::ManuallyDrop::new(contents());
            let addr = boxes.as_ptr().expose_provenance();
            assert_ne!(read_memory(addr, size_of::<usize>()).unwrap(), [0; size_of::<usize>()]);
            in_child(|| {
                assert_eq!(read_memory(addr, size_of::<usize>()).unwrap(), [0; size_of::<usize>()]);
            });
            assert_eq!(*boxes[0], 41);
        });
    });
}

/// Where the kernel cannot wipe, the child wipes before any other code runs there.
#[test]
fn wipe_without_the_kernels_help() {
    alone("wipe_without_the_kernels_help", || {
        refuse(libc::SYS_madvise, Some(libc::MADV_WIPEONFORK as u32), libc::EINVAL);
        let pool = pool_with(ForkPolicy::Wipe);
        finds_zeros(&pool, [secret_in(&pool, 112), secret_in(&pool, 5120)], None);
    });
}

/// The child finds no memory and an empty pool. It can free its parent's chunks.
fn finds_nothing(pool: &LockedPool) {
    let chunks = [32, 5120, LockedPool::ARENA_SIZE].map(|size| secret_in(pool, size));
    let before = pool.stats();
    in_child(|| {
        let stats = pool.stats();
        assert_eq!((stats.total, stats.used, stats.chunks_used, stats.arenas), (0, 0, 0, 0));
        assert_eq!((stats.locked, stats.peak_used, locked_by_kernel()), (0, 0, 0));
        pool.walk(|addr, _, _| panic!("{addr:#x} in an empty pool"));
        for chunk in chunks {
            assert_eq!(at(chunk), None);
            free(pool, chunk);
            assert_eq!(flags_of(chunk.addr().get()).iter().find(|f| *f == "rd"), None);
        }
        assert_eq!(pool.stats().total, 0);
        works(pool);
        assert_eq!(locked_by_kernel(), pool.stats().locked);
        for chunk in chunks {
            assert_eq!(at(chunk), None, "a new arena does not take the place of an old one");
        }
        let own = secret_in(pool, 64);
        in_child(|| {
            assert_eq!((at(own), pool.stats().total), (None, 0));
            works(pool);
        });
        free(pool, own);
    });
    assert_eq!(pool.stats(), before);
    for chunk in chunks {
        assert_eq!(at(chunk).as_deref(), Some(&SECRET[..]));
        free(pool, chunk);
    }
}

#[test]
fn absent() {
    alone("absent", || {
        let pool = pool_with(ForkPolicy::Absent);
        finds_nothing(&pool);
        let chunk = secret_in(&pool, 64);
        in_child(|| {
            drop(inherited(&pool));
            assert_eq!(at(chunk), None);
        });
    });
}

#[test]
fn absent_without_the_kernels_help() {
    alone("absent_without_the_kernels_help", || {
        refuse(libc::SYS_madvise, Some(libc::MADV_DONTFORK as u32), libc::EINVAL);
        let pool = pool_with(ForkPolicy::Absent);
        let chunk = secret_in(&pool, 64);
        assert!(!flags_of(chunk.addr().get()).iter().any(|flag| flag == "dc"));
        free(&pool, chunk);
        finds_nothing(&pool);
    });
}

/// The control: memory of the policy `Keep`.
#[test]
fn an_access_to_absent_memory_ends_the_process() {
    alone("an_access_to_absent_memory_ends_the_process", || {
        for (policy, signal) in [(ForkPolicy::Absent, libc::SIGSEGV), (ForkPolicy::Keep, 0)] {
            let pool = pool_with(policy);
            let chunk = secret_in(&pool, 64);
            // SAFETY: the byte is readable, or the child ends, which is what the test observes.
            let read = || unsafe { chunk.as_ptr().read_volatile() };
            assert_eq!(signal_of(|| _ = std::hint::black_box(read())), signal);
        }
    });
}

/// The process-wide pool with slabs of several threads. The child inherits a value of every secret
/// type and drops it.
#[test]
fn absent_in_the_process_wide_pool() {
    alone("absent_in_the_process_wide_pool", || {
        configure(ForkPolicy::Absent);
        let manager = LockedPoolManager::instance();
        let elsewhere = std::thread::spawn(|| SecureString::from("of a thread that has ended"));
        let elsewhere = elsewhere.join().unwrap();
        let done = AtomicBool::new(false);
        let ready = Barrier::new(2);
        std::thread::scope(|scope| {
            let _done = Done(&done);
            let (sender, receiver) = std::sync::mpsc::channel();
            scope.spawn(|| {
                let sender = sender;
                sender.send(SecureString::from("of a thread at work")).unwrap();
                ready.wait();
                while !done.load(Ordering::Relaxed) {
                    drop(SecureVec::from(vec![3_u8; 100]));
                }
            });
            ready.wait();
            let theirs = receiver.recv().unwrap();
            let text = SecureString::from("a passphrase");
            let key = SecureBox::new([9_u8; 32]);
            let large = SecureVec::from(vec![5_u8; 300_000]);
            // Slots, and of each other size a chunk that is no slot.
            let many: Vec<_> = (1..100).map(|_| SecureVec::from(vec![6_u8; 40])).collect();
            let few: Vec<_> = (1..60).map(|i| SecureVec::from(vec![7_u8; i * 48])).collect();
            // Slots of a heap that its thread has left to the next one.
            let leave = || (1..100).map(|_| SecureVec::from(vec![8_u8; 40])).collect::<Vec<_>>();
            let left = std::thread::spawn(leave).join().unwrap();
            let addr = text.expose_secret().as_ptr().expose_provenance();
            for _ in 0..20 {
                in_child(|| {
                    let stats = manager.stats();
                    assert_eq!((stats.total, stats.used, stats.chunks_used), (0, 0, 0));
                    assert_eq!((stats.free, stats.chunks_free, locked_by_kernel()), (0, 0, 0));
                    assert_eq!(read_memory(addr, 1), None);
                    let large_at = large.expose_secret().as_ptr().expose_provenance();
                    assert_eq!(read_memory(large_at, 1), None);
                    drop((inherited(&text), inherited(&key), inherited(&large)));
                    drop((inherited(&theirs), inherited(&elsewhere)));
                    let chunks = many.iter().chain(&few).chain(&left);
                    chunks.for_each(|chunk| drop(inherited(chunk)));
                    assert_eq!(manager.stats().total, 0);
                    let chunks: Vec<_> =
                        (1..400).map(|i| SecureVec::from(vec![i as u8; i * 21])).collect();
                    let stats = manager.stats();
                    assert_eq!(stats.chunks_used, chunks.len());
                    assert_eq!((stats.locked, locked_by_kernel()), (stats.total, stats.total));
                    assert!(chunks.iter().zip(1..).all(|(c, i)| c.expose_secret()[0] == i as u8));
                    std::thread::scope(|scope| scope.spawn(|| drop(chunks)).join().unwrap());
                    let stats = manager.stats();
                    assert_eq!((stats.used, stats.chunks_used), (0, 0));
                    let (mut used, mut free) = (0, 0);
                    manager.walk(|_, size, is_used| {
                        *(if is_used { &mut used } else { &mut free }) += size
                    });
                    assert!(used == 0 && free <= stats.free);
                    in_child(|| drop(SecureString::from("a grandchild's")));
                });
            }
            assert_eq!(text.expose_secret(), "a passphrase");
            assert_eq!(theirs.expose_secret(), "of a thread at work");
            assert_eq!(key.expose_secret(), &[9; 32]);
            drop(large);
        });
        assert_eq!(elsewhere.expose_secret(), "of a thread that has ended");
    });
}

/// The kernel keeps wiped and absent memory from children of which this library does not learn. The
/// control: memory of the policy `Keep`.
#[test]
fn children_that_the_library_does_not_see() {
    alone("children_that_the_library_does_not_see", || {
        let pools = [ForkPolicy::Keep, ForkPolicy::Wipe, ForkPolicy::Absent].map(pool_with);
        let chunks = pools.each_ref().map(|pool| secret_in(pool, 64));
        in_unnoticed_child(|| {
            let [kept, wiped, absent] = chunks.map(at);
            assert_eq!(kept.as_deref(), Some(&SECRET[..]));
            assert_eq!(wiped, Some(vec![0; SECRET.len()]));
            assert_eq!(absent, None);
        });
    });
}

/// Other threads use three pools without a pause while this thread forks. No child waits for a lock
/// of theirs.
#[test]
fn no_child_finds_a_pool_locked() {
    alone("no_child_finds_a_pool_locked", || {
        let pools = [ForkPolicy::Keep, ForkPolicy::Wipe, ForkPolicy::Absent].map(pool_with);
        let pools = &pools;
        let done = AtomicBool::new(false);
        // The control: an ordinary mutex that is held by a thread which the child does not have.
        let ordinary = Mutex::new(());
        let begin = Barrier::new(2);
        std::thread::scope(|scope| {
            let _done = Done(&done);
            scope.spawn(|| {
                let _held = ordinary.lock().unwrap();
                begin.wait();
                while !done.load(Ordering::Relaxed) {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            });
            for thread in 0..3 {
                let done = &done;
                scope.spawn(move || {
                    for round in 0_usize.. {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        let pool = &pools[(round + thread) % 3];
                        let chunk = secret_in(pool, round % 2000 + 32);
                        free(pool, chunk);
                        // Some pools are made and dropped.
                        if round % 50 == 0 {
                            let passing = LockedPool::default();
                            free(&passing, secret_in(&passing, 32));
                        }
                    }
                });
            }
            begin.wait();
            for _ in 0..40 {
                in_child(|| {
                    assert!(ordinary.try_lock().is_err(), "the control: a mutex that stays locked");
                    pools.iter().for_each(works);
                    let new = LockedPool::default();
                    works(&new);
                    let locked: usize = pools.iter().map(|pool| pool.stats().locked).sum();
                    // Another thread may have been making or dropping a pool, whose arena is left
                    // then.
                    let extra = locked_by_kernel() - locked - new.stats().locked;
                    assert!(extra <= 3 * LockedPool::ARENA_SIZE, "{extra}");
                });
            }
        });
        pools.iter().for_each(works);
    });
}

/// Other threads use a manager's pools without a pause while this thread forks. Then another thread
/// is stopped in the middle of a walk. Children add pools and use them.
#[test]
fn a_child_adds_pools() {
    alone("a_child_adds_pools", || {
        let manager = LockedPoolManager::new();
        let page = page_size();
        manager.add_pool(LockedPool::new(page, page, page).unwrap());
        let kept = manager.alloc(page, 16).unwrap();
        // Uses the new pool itself and not the manager: where no fork handler has run, a pool of
        // the parent may be locked.
        let adds = || {
            let pool = LockedPool::new(page, 2 * page, 2 * page).unwrap();
            let chunk = secret_in(&pool, page);
            manager.add_pool(pool);
            assert_eq!(at(chunk).as_deref(), Some(&SECRET[..]));
        };
        let use_all = |_| {
            assert!(manager.alloc(page, 16).is_none());
            assert_eq!(manager.stats().chunks_used, 1);
        };
        while_threads(2, use_all, || {
            for _ in 0..40 {
                in_child(|| {
                    adds();
                    let chunk = manager.alloc(page, 16).expect("room in the pool that was added");
                    // SAFETY: not used afterwards.
                    assert_eq!(unsafe { manager.free(chunk.as_ptr()) }, Ok(()));
                    assert_eq!(manager.stats().chunks_used, 2);
                });
            }
        });
        // The parent's manager is as before.
        assert_eq!((manager.stats().chunks_used, manager.stats().arenas), (1, 1));
        assert_eq!(manager.alloc(page, 16), None);

        let (walking, forked) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                manager.walk(|_, _, _| {
                    walking.wait();
                    forked.wait();
                });
            });
            walking.wait();
            in_unnoticed_child(adds);
            forked.wait();
        });
        // SAFETY: not used afterwards.
        assert_eq!(unsafe { manager.free(kept.as_ptr()) }, Ok(()));
    });
}

/// A fork does not wait for code of the program. Here another thread is in the callback, and stays
/// there until the child has ended. The child uses the pool. What needs the callback's consent
/// fails there, until the child sets another callback.
#[test]
fn a_fork_does_not_wait_for_a_callback() {
    fn does_not_wait(own: Option<LockedPool>) {
        let manager = LockedPoolManager::instance();
        let alloc = |size| match &own {
            Some(pool) => pool.alloc(size, 16),
            None => manager.alloc(size, 16),
        };
        let stats = || own.as_ref().map_or_else(|| manager.stats(), LockedPool::stats);
        let set = |callback| match &own {
            Some(pool) => pool.set_locking_failed(Some(callback)),
            None => manager.set_locking_failed(Some(callback)),
        };
        let (begun, ended) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (begins, ends) = (begun.clone(), ended.clone());
        let chunk = alloc(LockedPool::ARENA_SIZE).unwrap();
        set(Box::new(move |_| {
            begins.wait();
            ends.wait();
            true
        }));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| alloc(100).is_some());
            begun.wait();
            in_child(|| {
                assert_eq!((stats().locked, stats().chunks_used), (LockedPool::ARENA_SIZE, 1));
                assert_eq!(locked_by_kernel(), LockedPool::ARENA_SIZE);
                assert_eq!(alloc(100), None, "there is no callback to ask");
                set(Box::new(|_| true));
                assert!(alloc(100).is_some());
                match &own {
                    Some(pool) => free(pool, chunk),
                    // SAFETY: not used afterwards.
                    None => assert_eq!(unsafe { manager.free(chunk.as_ptr()) }, Ok(())),
                }
            });
            ended.wait();
            assert!(other.join().unwrap());
        });
    }
    alone("a_fork_does_not_wait_for_a_callback", || {
        give_up_after(60);
        limit_locked_memory(LockedPool::ARENA_SIZE, LockedPool::ARENA_SIZE);
        // Each in a process in which nothing is locked yet.
        in_child(|| does_not_wait(Some(LockedPool::default())));
        in_child(|| does_not_wait(None));
    });
}

/// A fork does not wait for a page allocator. A thread that forks in a page allocator does not wait
/// for another thread that is in one and waits for it.
#[test]
fn a_page_allocator_forks_while_another_waits_for_it() {
    struct Forks {
        turn: Option<(Arc<Barrier>, Arc<Barrier>)>,
        forks: bool,
        page: usize,
    }
    impl LockedPageAllocator for Forks {
        fn allocate_locked(&mut self, _: usize) -> Option<LockedAllocation> {
            if let Some((begun, ended)) = self.turn.take() {
                begun.wait();
                if self.forks {
                    in_child(|| drop(SecureString::from("in the child of an allocator")));
                }
                ended.wait();
            }
            let addr = std::ptr::with_exposed_provenance_mut(self.page);
            Some(LockedAllocation { addr: NonNull::new(addr)?, locked: true })
        }
        unsafe fn free_locked(&mut self, _: NonNull<u8>, _: usize) {}
        fn limit(&self) -> usize {
            page_size()
        }
    }
    alone("a_page_allocator_forks_while_another_waits_for_it", || {
        give_up_after(60);
        let (begun, ended) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let pools = [false, true].map(|forks| {
            let turn = Some((begun.clone(), ended.clone()));
            let page = plain_locked_page(1);
            LockedPool::with_page_allocator(Box::new(Forks { turn, forks, page }))
        });
        std::thread::scope(|scope| {
            for pool in &pools {
                scope.spawn(|| assert!(pool.alloc(64, 16).is_some()));
            }
        });
        in_child(|| assert!(pools.iter().all(|pool| pool.alloc(64, 16).is_some())));
    });
}

/// Forks finish, however many threads use private pools and the process-wide pool without a pause.
#[test]
fn no_fork_starves() {
    alone("no_fork_starves", || {
        give_up_after(120);
        let pools: Vec<_> = (0..12).map(|_| LockedPool::default()).collect();
        let use_pools = |number: usize| {
            free(&pools[number], pools[number].alloc(32, 16).unwrap());
            if number % 3 == 0 {
                drop(SecureVec::from(vec![1_u8; 5000]));
            }
        };
        while_threads(pools.len(), use_pools, || {
            for _ in 0..20 {
                in_child(|| drop(SecureString::from("in the child")));
            }
        });
    });
}

/// Fork handlers of the program use pools, as libraries with such handlers do. A handler that was
/// registered before those of this library runs while they hold the other threads back.
mod handlers {
    use super::*;

    type Work = Option<fn()>;

    /// The functions that the three handlers call next.
    static WORK: Mutex<[Work; 3]> = Mutex::new([None; 3]);

    fn run(handler: usize) {
        let work = WORK.lock().unwrap()[handler].take();
        if let Some(work) = work {
            work();
        }
    }

    extern "C" fn prepare() {
        run(0);
    }

    extern "C" fn parent() {
        run(1);
    }

    extern "C" fn child() {
        run(2);
    }

    /// Registers before this library's handlers, which are registered when it is loaded.
    #[used]
    #[unsafe(link_section = ".init_array.00200")]
    static EARLY: extern "C" fn() = register;

    extern "C" fn register() {
        if std::env::var_os("EARLY_HANDLERS").is_some() {
            register_now();
        }
    }

    fn register_now() {
        // SAFETY: functions without arguments in this program.
        let registered = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
        assert_eq!(registered, 0);
    }

    /// Runs `body` in two separate processes: with handlers that were registered before this
    /// library's, and after.
    fn early_and_late(test: &str, body: fn()) {
        let run = || {
            give_up_after(60);
            if std::env::var_os("EARLY_HANDLERS").is_none() {
                register_now();
            }
            body();
        };
        alone_with(test, &[], run);
        if std::env::var_os("ALONE").is_none() {
            alone_with(test, &[("EARLY_HANDLERS", "1")], run);
        }
    }

    fn use_all() {
        let text = SecureString::from("in a handler");
        drop(SecureVec::from(vec![1_u8; 5000]));
        drop(SecureVec::from(vec![1_u8; 300_000]));
        let stats = LockedPoolManager::instance().stats();
        assert_eq!(stats.used + stats.free, stats.total);
        assert_eq!(stats.locked, locked_by_kernel());
        let pool = LockedPool::default();
        works(&pool);
        drop((text, pool));
    }

    #[test]
    fn use_pools() {
        early_and_late("handlers::use_pools", || {
            for used_before in [false, true] {
                for handler in 0..3 {
                    in_child(move || {
                        let text = used_before.then(|| SecureString::from("before the fork"));
                        let done = AtomicBool::new(false);
                        std::thread::scope(|scope| {
                            let _done = Done(&done);
                            scope.spawn(|| {
                                while used_before && !done.load(Ordering::Relaxed) {
                                    drop(SecureVec::from(vec![1_u8; 5000]));
                                    drop(SecureString::from("of another thread"));
                                }
                            });
                            for _ in 0..5 {
                                WORK.lock().unwrap()[handler] = Some(|| {
                                    drop(SecureString::from("in a handler"));
                                    drop(SecureVec::from(vec![1_u8; 5000]));
                                    works(&LockedPool::default());
                                });
                                in_child(|| {
                                    let stats = LockedPoolManager::instance().stats();
                                    assert_eq!(stats.locked, locked_by_kernel());
                                    drop(SecureString::from("in the child"));
                                });
                            }
                        });
                        drop(text);
                    });
                }
            }
        });
    }

    /// A handler is the first to use this library. The memory that it locks is locked in the child
    /// too.
    #[test]
    fn are_the_first_to_use_a_pool() {
        early_and_late("handlers::are_the_first_to_use_a_pool", || {
            static KEPT: Mutex<Option<SecureString>> = Mutex::new(None);
            WORK.lock().unwrap()[0] = Some(|| {
                *KEPT.lock().unwrap() = Some(SecureString::from("since before the fork"));
            });
            // The control: a page that is not locked again.
            let plain = plain_locked_page(1);
            in_child(|| {
                let stats = LockedPoolManager::instance().stats();
                assert_eq!(stats.locked, LockedPool::ARENA_SIZE);
                assert_eq!(stats.locked, locked_by_kernel());
                assert!(!flags_of(plain).iter().any(|flag| flag == "lo"));
                let kept = KEPT.lock().unwrap().take().unwrap();
                assert_eq!(kept.expose_secret(), "since before the fork");
            });
        });
    }

    /// In the child, a handler that runs before this library's can use everything.
    #[test]
    fn find_the_child_in_order() {
        early_and_late("handlers::find_the_child_in_order", || {
            for policy in [ForkPolicy::Keep, ForkPolicy::Wipe, ForkPolicy::Absent] {
                in_child(move || {
                    configure(policy);
                    let text = SecureString::from("before the fork");
                    static OWN: Mutex<Option<LockedPool>> = Mutex::new(None);
                    *OWN.lock().unwrap() = Some(pool_with(policy));
                    WORK.lock().unwrap()[2] = Some(use_all);
                    in_child(move || {
                        if policy == ForkPolicy::Keep {
                            assert_eq!(text.expose_secret(), "before the fork");
                        }
                        use_all();
                        works(&OWN.lock().unwrap().take().unwrap());
                        in_child(use_all);
                    });
                    // A fork from a handler.
                    WORK.lock().unwrap()[0] = Some(|| in_child(use_all));
                    in_child(use_all);
                    use_all();
                });
            }
        });
    }

    /// Pages that a handler makes in a child come after the parent's: these have the locked memory
    /// first.
    #[test]
    fn make_pages_in_the_child() {
        early_and_late("handlers::make_pages_in_the_child", || {
            let limit = 4 * page_size();
            limit_locked_memory(limit, limit);
            let page = || LockedPages::new_locked(page_size());
            let pages: Vec<_> = (0..4).map(|_| page().unwrap()).collect();
            assert!(page().is_err());
            static IS_REFUSED: AtomicBool = AtomicBool::new(false);
            WORK.lock().unwrap()[2] = Some(|| {
                let made = LockedPages::new_locked(page_size());
                IS_REFUSED.store(made.is_err(), Ordering::Relaxed);
            });
            in_child(|| {
                assert!(pages.iter().all(|pages| pages.lock_state().is_ok()));
                assert_eq!(locked_by_kernel(), limit);
                assert!(IS_REFUSED.load(Ordering::Relaxed));
                assert!(page().is_err());
            });
        });
    }

    static KEY: Mutex<Option<SecureBox<[u8; 32]>>> = Mutex::new(None);
    static PAGES: Mutex<Option<LockedPages>> = Mutex::new(None);

    /// What a handler is told in a child is so there.
    #[test]
    fn are_told_of_the_child() {
        early_and_late("handlers::are_told_of_the_child", || {
            *KEY.lock().unwrap() = Some(SecureBox::new([7; 32]));
            *PAGES.lock().unwrap() = Some(LockedPages::new(1).unwrap());
            let questions: [fn(); 3] = [
                || assert_eq!(memory_stats().locked, locked_by_kernel()),
                || {
                    let pages = PAGES.lock().unwrap();
                    let pages = pages.as_ref().unwrap();
                    let is_locked = pages.lock_state().is_ok();
                    assert_eq!(is_locked, has_flag(pages.as_ptr().addr().get(), "lo"));
                },
                || {
                    let key = KEY.lock().unwrap();
                    let key = key.as_ref().unwrap();
                    let is_locked = key.is_locked();
                    assert_eq!(is_locked, has_flag(key.expose_secret().as_ptr().addr(), "lo"));
                },
            ];
            for question in questions {
                question(); // in the parent
                WORK.lock().unwrap()[2] = Some(question);
                in_child(|| {
                    assert!(WORK.lock().unwrap()[2].is_none(), "the handler has not asked");
                    question();
                });
            }
        });
    }

    fn has_flag(addr: usize, flag: &str) -> bool {
        flags_of(addr).iter().any(|other| other == flag)
    }

    /// What the children of `fork_and_go_on` find, and how many forks there are to be.
    static POLICY: Mutex<ForkPolicy> = Mutex::new(ForkPolicy::Keep);
    static LOCKED: AtomicUsize = AtomicUsize::new(0);
    static FORKS: AtomicUsize = AtomicUsize::new(0);
    /// The pools of this process that it has made in a handler, with the address of a secret in
    /// each.
    static MADE: Mutex<Vec<(LockedPool, usize)>> = Mutex::new(Vec::new());

    /// What the kernel has locked, if all of the pools is.
    fn all_locked() -> usize {
        LOCKED.load(Ordering::Relaxed) + MADE.lock().unwrap().len() * LockedPool::ARENA_SIZE
    }

    /// Forks in the handler of a child. Both processes go on with the handlers of the fork that the
    /// handler belongs to; the new one has made a pool before.
    fn fork_and_go_on() {
        if FORKS.fetch_sub(1, Ordering::Relaxed) > 1 {
            WORK.lock().unwrap()[2] = Some(fork_and_go_on);
        }
        // SAFETY: the child goes on like the child of `in_child`, and ends like it.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child > 0 {
            let mut status = 0;
            // SAFETY: `status` is a valid place for the answer.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert!(
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == RETURNED,
                "{status:#x}"
            );
            return;
        }
        // Nothing of this library has been used here before this.
        assert_eq!(locked_by_kernel(), all_locked());
        let pool = pool_with(*POLICY.lock().unwrap());
        let secret = secret_in(&pool, 100).addr().get();
        MADE.lock().unwrap().push((pool, secret));
    }

    /// Handlers of children fork. Each child is put in order once, before its `fork` returns:
    /// its memory is locked then, and what it makes from then on stays.
    #[test]
    fn fork_in_children() {
        early_and_late("handlers::fork_in_children", || {
            for policy in [ForkPolicy::Keep, ForkPolicy::Wipe, ForkPolicy::Absent] {
                for (work, forks) in [
                    (fork_and_go_on as fn(), 1),
                    (fork_and_go_on, 2),
                    (
                        || {
                            works(&LockedPool::default());
                            fork_and_go_on();
                        },
                        1,
                    ),
                ] {
                    in_child(|| {
                        let kept = LockedPool::default();
                        let secret = secret_in(&kept, 100);
                        *POLICY.lock().unwrap() = policy;
                        LOCKED.store(kept.stats().locked, Ordering::Relaxed);
                        FORKS.store(forks, Ordering::Relaxed);
                        WORK.lock().unwrap()[2] = Some(work);
                        in_child(|| {
                            assert_eq!(locked_by_kernel(), all_locked());
                            assert_eq!(at(secret).as_deref(), Some(&SECRET[..]));
                            for (pool, secret) in MADE.lock().unwrap().drain(..) {
                                let found = read_memory(secret, SECRET.len());
                                assert_eq!(found.as_deref(), Some(&SECRET[..]), "{policy:?}");
                                assert_eq!(pool.stats().chunks_used, 1, "{policy:?}");
                                works(&pool);
                            }
                            works(&kept);
                        });
                        assert_eq!(FORKS.load(Ordering::Relaxed), forks);
                    });
                }
            }
        });
    }
}

/// A fork while another thread uses the pool for the first time. The pool works in every child.
#[test]
fn a_fork_during_the_first_use() {
    alone("a_fork_during_the_first_use", || {
        give_up_after(120);
        for turn in 0..150 {
            in_child(|| {
                // Also where its child waits for ever.
                give_up_after(60);
                let go = Barrier::new(2);
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        go.wait();
                        drop(SecureString::from("the first"));
                    });
                    go.wait();
                    (0..turn * 40).for_each(|_| std::hint::spin_loop());
                    in_child(|| {
                        give_up_after(60);
                        let text = SecureString::from("in the child");
                        let stats = LockedPoolManager::instance().stats();
                        assert_eq!(stats.locked, locked_by_kernel());
                        drop(text);
                    });
                });
            });
        }
    });
}

/// A pool that is dropped while another thread forks is either whole in the child or gone.
#[test]
fn a_pool_dropped_during_a_fork() {
    alone("a_pool_dropped_during_a_fork", || {
        give_up_after(120);
        let make_and_drop = |_| {
            let pool = LockedPool::default();
            free(&pool, pool.alloc(32, 16).unwrap());
        };
        while_threads(1, make_and_drop, || {
            for _ in 0..60 {
                in_child(|| {
                    let locked = locked_by_kernel();
                    assert!(locked == 0 || locked == LockedPool::ARENA_SIZE, "{locked}");
                    works(&LockedPool::default());
                });
            }
        });
    });
}

/// Hundreds of threads start, use the pool and end while this thread forks.
#[test]
fn threads_come_and_go_during_forks() {
    alone("threads_come_and_go_during_forks", || {
        give_up_after(240);
        let start_threads = |_| {
            // Every second one has so many secrets that it gets a heap.
            let start = |i: usize| {
                let make = move |_| SecureVec::from(vec![i as u8; i * 40 + 1]);
                std::thread::spawn(move || (0..1 + i % 2 * 30).map(make).collect::<Vec<_>>())
            };
            let threads: Vec<_> = (0..50).map(start).collect();
            threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        };
        let mine: Vec<_> = (0..20).map(|_| SecureVec::from(vec![1_u8; 40])).collect();
        while_threads(2, start_threads, || {
            for _ in 0..40 {
                in_child(|| {
                    let stats = LockedPoolManager::instance().stats();
                    assert_eq!(stats.used + stats.free, stats.total);
                    let chunks: Vec<_> =
                        (1..200_usize).map(|i| SecureVec::from(vec![i as u8; i * 21])).collect();
                    let after = LockedPoolManager::instance().stats();
                    assert_eq!(after.chunks_used, stats.chunks_used + chunks.len());
                    assert_eq!(after.locked, after.total);
                    in_child(|| drop(SecureString::from("a grandchild's")));
                });
            }
        });
        drop(mine);
        assert_eq!(LockedPoolManager::instance().stats().used, 0);
    });
}

/// Pools whose page allocators use other pools do not block forks, and forks do not block them.
#[test]
fn pools_that_use_each_other() {
    /// Takes its pages from another pool, and uses the process-wide pool meanwhile.
    struct Nested(Arc<LockedPool>);
    impl LockedPageAllocator for Nested {
        fn allocate_locked(&mut self, _: usize) -> Option<LockedAllocation> {
            drop(SecureString::from("on the way"));
            let addr = self.0.alloc(page_size(), page_size())?;
            Some(LockedAllocation { addr, locked: true })
        }
        unsafe fn free_locked(&mut self, addr: NonNull<u8>, _: usize) {
            free(&self.0, addr);
        }
        fn limit(&self) -> usize {
            page_size()
        }
    }
    alone("pools_that_use_each_other", || {
        let inner = Arc::new(LockedPool::default());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _done = Done(&done);
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let outer =
                            LockedPool::with_page_allocator(Box::new(Nested(inner.clone())));
                        let chunk = outer.alloc(64, 16).expect("memory");
                        free(&outer, chunk);
                    }
                });
            }
            for _ in 0..60 {
                in_child(|| {
                    let outer = LockedPool::with_page_allocator(Box::new(Nested(inner.clone())));
                    free(&outer, outer.alloc(64, 16).expect("memory"));
                    drop(SecureString::from("in the child"));
                });
            }
        });
        assert_eq!(inner.stats().used, 0);
    });
}

/// A callback of a pool may fork. The child continues, with exact statistics.
#[test]
fn a_callback_may_fork() {
    fn child_of_callback(policy: ForkPolicy, process_wide: bool) {
        let own = (!process_wide).then(|| pool_with(policy));
        if process_wide {
            configure(policy);
        }
        let manager = LockedPoolManager::instance();
        let alloc = |size| match &own {
            Some(pool) => pool.alloc(size, 16),
            None => manager.alloc(size, 16),
        };
        let stats = || own.as_ref().map_or_else(|| manager.stats(), LockedPool::stats);
        static CHILD: AtomicUsize = AtomicUsize::new(0);
        let callback: bitcoin_support::LockingFailed = Box::new(|_| {
            // SAFETY: the child uses the pool and system calls, and ends soon.
            let child = unsafe { libc::fork() };
            CHILD.store(if child == 0 { usize::MAX } else { child as usize }, Ordering::Relaxed);
            true
        });
        match &own {
            Some(pool) => pool.set_locking_failed(Some(callback)),
            None => manager.set_locking_failed(Some(callback)),
        }
        let first = alloc(100).unwrap();
        let second = alloc(LockedPool::ARENA_SIZE);
        if CHILD.load(Ordering::Relaxed) == usize::MAX {
            let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let stats = stats();
                assert_eq!(stats.locked, locked_by_kernel());
                assert!(second.is_some_and(|chunk| at(chunk).is_some()));
                assert_eq!(at(first).is_some(), policy != ForkPolicy::Absent);
                assert_eq!(stats.chunks_used, if policy == ForkPolicy::Absent { 1 } else { 2 });
                assert!(alloc(100).is_some());
            }));
            // SAFETY: ends the child.
            unsafe { libc::_exit(if verdict.is_ok() { 42 } else { 1 }) };
        }
        let mut status = 0;
        let child = CHILD.load(Ordering::Relaxed) as libc::pid_t;
        assert_ne!(child, 0, "the callback was called");
        // SAFETY: `status` is a valid place for the answer.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 42 << 8, "{policy:?}, process-wide: {process_wide}");
        assert!(second.is_some() && at(first).is_some());
    }
    alone("a_callback_may_fork", || {
        limit_locked_memory(LockedPool::ARENA_SIZE, LockedPool::ARENA_SIZE);
        for policy in [ForkPolicy::Keep, ForkPolicy::Wipe, ForkPolicy::Absent] {
            for process_wide in [false, true] {
                // Each in a process in which nothing is locked yet.
                in_child(|| child_of_callback(policy, process_wide));
            }
        }
    });
}

/// `posix_spawn` and `vfork` share the parent's memory until they are done. The memory stays as it
/// is.
#[test]
fn spawned_processes_change_nothing() {
    alone("spawned_processes_change_nothing", || {
        let pools = [ForkPolicy::Keep, ForkPolicy::Wipe, ForkPolicy::Absent].map(pool_with);
        let chunks = pools.each_ref().map(|pool| secret_in(pool, 64));
        let text = SecureString::from("a passphrase");
        let before = (locked_by_kernel(), LockedPoolManager::instance().stats());
        for _ in 0..20 {
            let mut child = 0;
            let name = c"/bin/true";
            let mut arguments = [name.as_ptr().cast_mut(), std::ptr::null_mut()];
            let mut status = 0;
            // SAFETY: the arguments are strings in an array that ends with null; the rest may be
            // null.
            unsafe {
                let spawned = libc::posix_spawn(
                    &mut child,
                    name.as_ptr(),
                    std::ptr::null(),
                    std::ptr::null(),
                    arguments.as_mut_ptr(),
                    arguments.as_mut_ptr().add(1),
                );
                assert_eq!((spawned, libc::waitpid(child, &mut status, 0)), (0, child));
            }
            assert_eq!(status, 0);
        }
        assert_eq!((locked_by_kernel(), LockedPoolManager::instance().stats()), before);
        assert!(chunks.iter().all(|&chunk| at(chunk).as_deref() == Some(&SECRET[..])));
        assert_eq!(text.expose_secret(), "a passphrase");
        pools.iter().for_each(works);
    });
}

/// A process becomes a daemon in the way of Bitcoin Core: it has secrets in the pool and forks; the
/// parent waits for a message from the child and ends; the child starts a new session without a
/// terminal. The control: a page that the program has locked by itself is not locked in the daemon.
#[test]
fn a_daemons_memory_is_locked() {
    alone("a_daemons_memory_is_locked", || {
        let random_state = SecureBox::new([0x5a_u8; 3000]);
        let plain = plain_locked_page(1);
        let mut report = [0; 2];
        // SAFETY: `report` has room for two descriptors.
        assert_eq!(unsafe { libc::pipe(report.as_mut_ptr()) }, 0);
        in_child(|| {
            // This process is the one that the user starts.
            let mut word = [0; 2];
            // SAFETY: `report` is open, and the child goes on as the daemon.
            let child = unsafe {
                assert_eq!(libc::pipe2(word.as_mut_ptr(), libc::O_CLOEXEC), 0);
                libc::fork()
            };
            if child != 0 {
                let mut byte = 0_u8;
                // SAFETY: the byte is a local variable.
                unsafe {
                    libc::close(word[1]);
                    assert_eq!(libc::read(word[0], (&raw mut byte).cast(), 1), 1);
                }
                assert_eq!(byte, 1);
                return;
            }
            // SAFETY: system calls on descriptors that this test opened.
            unsafe {
                assert!(libc::setsid() > 0);
                let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
                (0..3).for_each(|fd| assert_eq!(libc::dup2(null, fd), fd));
            }
            let stats = LockedPoolManager::instance().stats();
            let unlocked = !flags_of(plain).iter().any(|flag| flag == "lo");
            let kept = random_state.expose_secret() == &[0x5a; 3000];
            let text = format!("{} {} {unlocked} {kept}", stats.locked, locked_by_kernel());
            // SAFETY: the buffers are local variables.
            unsafe {
                libc::write(report[1], text.as_ptr().cast(), text.len());
                libc::write(word[1], [1_u8].as_ptr().cast(), 1);
                libc::_exit(0);
            }
        });
        let mut text = [0_u8; 100];
        // SAFETY: the buffer is a local variable.
        let len = unsafe {
            libc::close(report[1]);
            libc::read(report[0], text.as_mut_ptr().cast(), text.len())
        };
        let text = std::str::from_utf8(&text[..len as usize]).unwrap();
        let locked = LockedPool::ARENA_SIZE;
        assert_eq!(text, format!("{locked} {locked} true true"));
    });
}

/// Prints what a fork costs with and without memory of this library: `--ignored --nocapture`.
#[test]
#[ignore = "prints measurements"]
fn cost() {
    fn measure(what: &str) {
        let mut times: Vec<_> = (0..101)
            .map(|_| {
                let mut pipe = [0; 2];
                let start = std::time::Instant::now();
                // SAFETY: the child makes two system calls.
                unsafe {
                    libc::pipe(pipe.as_mut_ptr());
                    let child = libc::fork();
                    if child == 0 {
                        libc::write(pipe[1], [1_u8].as_ptr().cast(), 1);
                        libc::_exit(0);
                    }
                    let mut byte = 0_u8;
                    libc::read(pipe[0], (&raw mut byte).cast(), 1);
                    let time = start.elapsed();
                    libc::waitpid(child, std::ptr::null_mut(), 0);
                    libc::close(pipe[0]);
                    libc::close(pipe[1]);
                    time
                }
            })
            .collect();
        times.sort_unstable();
        println!("{what:45} {:7.1} us until the child runs", times[50].as_secs_f64() * 1e6);
    }
    alone_aloud("cost", || {
        // Each in a separate process: the heap of one would change the cost of the next.
        in_child(|| measure("nothing allocated"));
        for arenas in [1, 100] {
            in_child(|| {
                let plain = vec![1_u8; arenas * LockedPool::ARENA_SIZE];
                std::hint::black_box(&plain);
                measure(&format!("as much ordinary memory as {arenas} arenas"));
            });
        }
        for policy in [ForkPolicy::Keep, ForkPolicy::Wipe, ForkPolicy::Absent] {
            for arenas in [0, 1, 100] {
                in_child(|| {
                    let pool = pool_with(policy);
                    for _ in 0..arenas {
                        let chunk = pool.alloc(LockedPool::ARENA_SIZE, 16).unwrap();
                        // SAFETY: a chunk of this test.
                        unsafe { chunk.write_bytes(1, LockedPool::ARENA_SIZE) };
                    }
                    measure(&format!("{policy:?}, {arenas} arenas of 256 KiB"));
                });
            }
        }
        in_child(|| {
            drop(SecureBox::new([1_u8; 32]));
            measure("process-wide pool in use");
        });
    });
}

/// Like [`alone`], but prints everything that the test prints.
fn alone_aloud(test: &str, body: impl FnOnce()) {
    match common::printed_alone(test, &[]) {
        Some(text) => print!("{text}"),
        None => body(),
    }
}
