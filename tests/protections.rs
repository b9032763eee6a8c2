//! Protections besides the lock (no core dump, the fork policy, no merging, no huge pages) that a
//! sandbox refuses. The statistics count each with its error and name its remedy, as far as the
//! kernel shows it, and a program can require each. The control is the same memory where nothing is
//! refused.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{
    ConfigureError, ForkPolicy, LockedPages, LockedPool, LockedPoolManager, Missing, PoolError,
    PoolOptions, PoolStats, Protection, SecureVec,
};
use common::{alone, flags_of, in_child, refuse};
use std::num::NonZeroU32;

/// The advice of each protection, and the flag by which the kernel shows that memory has it, if
/// there is one. (That memory is not merged shows only in a process whose memory is all merged.)
const PROTECTIONS: [(Protection, libc::c_int, Option<&str>); 4] = [
    (Protection::DumpExclusion, libc::MADV_DONTDUMP, Some("dd")),
    (Protection::ForkPolicy, libc::MADV_WIPEONFORK, Some("wf")),
    (Protection::NoMerging, libc::MADV_UNMERGEABLE, None),
    (Protection::NoHugePages, libc::MADV_NOHUGEPAGE, Some("nh")),
];

fn options() -> PoolOptions {
    PoolOptions::new().fork_policy(ForkPolicy::Wipe)
}

/// The missing protections by the statistics.
fn missing(stats: &PoolStats) -> [Missing; 4] {
    PROTECTIONS.map(|(protection, ..)| stats.missing_protections.of(protection))
}

/// Checks the statistics: only the refused protection is missing, for all memory, with its error.
fn check(stats: &PoolStats, chunk: usize, refused: Option<(Protection, i32)>) {
    let flags = flags_of(chunk);
    for (protection, _, flag) in PROTECTIONS {
        let is_refused = refused.filter(|(refused, _)| *refused == protection);
        let expected = match is_refused {
            None => Missing::default(),
            Some((_, errno)) => Missing { bytes: stats.total, errno },
        };
        assert_eq!(stats.missing_protections.of(protection), expected, "{protection:?}");
        if let Some(flag) = flag.filter(|&flag| flag != "nh" || has_huge_pages()) {
            assert_eq!(
                flags.iter().any(|f| f == flag),
                is_refused.is_none(),
                "{flag} in {flags:?}"
            );
        }
    }
    let told = stats.missing_protections.refusal();
    assert_eq!(told.map(|error| (error.protection, error.errno)), refused);
    if let Some(error) = told {
        assert!(error.to_string().contains("sandbox refuses madvise"), "{error}");
    }
}

fn has_huge_pages() -> bool {
    std::fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap()
}

/// Runs `body` in a child with each protection refused, by each error, and once with no refusal.
fn with_each_refused(mut body: impl FnMut(Option<(Protection, i32)>)) {
    in_child(|| body(None));
    for (protection, advice, _) in PROTECTIONS {
        for errno in [libc::EPERM, libc::ENOSYS, libc::EACCES] {
            in_child(|| {
                refuse(libc::SYS_madvise, Some(advice as u32), errno);
                body(Some((protection, errno)));
            });
        }
    }
}

#[test]
fn what_is_refused_is_counted() {
    alone("what_is_refused_is_counted", || {
        // The control comes first: nothing is refused.
        with_each_refused(|refused| {
            let pool = LockedPool::with_options(&options()).unwrap();
            for _ in 0..3 {
                let chunk = pool.alloc(LockedPool::ARENA_SIZE / 2, 16).unwrap();
                let stats = pool.stats();
                assert_eq!(stats.locked, stats.total);
                check(&stats, chunk.addr().get(), refused);
            }
            // A child has the same memory. The statistics there count its new memory as well.
            in_child(|| {
                let stats = pool.stats();
                assert_eq!(
                    missing(&stats)[0].bytes,
                    stats.total
                        * usize::from(
                            refused.is_some_and(
                                |(protection, _)| protection == Protection::DumpExclusion
                            )
                        )
                );
            });
        });
    });
}

#[test]
fn in_the_process_wide_pool_too() {
    alone("in_the_process_wide_pool_too", || {
        // The control comes first: nothing is refused.
        with_each_refused(|refused| {
            let manager = LockedPoolManager::instance();
            // SAFETY: the pool holds no value that zeros would invalidate.
            unsafe { manager.configure_unchecked(&options()) }.unwrap();
            let chunk = manager.alloc(32, 16).unwrap();
            check(&manager.stats(), chunk.addr().get(), refused);
            // Samples have separate mappings, which are made and unmapped.
            let before = manager.stats();
            manager.sample_one_in(NonZeroU32::new(1), 1 << 20).unwrap();
            let sample = manager.alloc(32, 16).unwrap();
            assert!(manager.stats().total > before.total);
            check(&manager.stats(), sample.addr().get(), refused);
            // SAFETY: nothing uses it afterwards.
            unsafe { manager.free(sample.as_ptr()) }.unwrap();
            check(&manager.stats(), chunk.addr().get(), refused);
            // A large secret has a separate mapping too. It is not part of the pool, so its bytes
            // do not count.
            let large = SecureVec::from(vec![1_u8; 2 * LockedPool::ARENA_SIZE]);
            check(&manager.stats(), chunk.addr().get(), refused);
            drop(large);
        });
    });
}

/// Memory that has been returned does not count, nor does memory that only the parent has.
#[test]
fn what_is_gone_is_not_counted() {
    alone("what_is_gone_is_not_counted", || {
        refuse(libc::SYS_madvise, Some(libc::MADV_DONTDUMP as u32), libc::EPERM);
        let absent = PoolOptions::new().fork_policy(ForkPolicy::Absent);
        let pool = LockedPool::with_options(&absent).unwrap();
        assert!(pool.alloc(32, 16).is_some());
        // The control: the parent has it.
        assert_eq!(missing(&pool.stats())[0].bytes, LockedPool::ARENA_SIZE);
        in_child(|| {
            assert_eq!((pool.stats().total, missing(&pool.stats())[0].bytes), (0, 0));
            assert!(pool.alloc(32, 16).is_some());
            assert_eq!(missing(&pool.stats())[0].bytes, LockedPool::ARENA_SIZE);
        });
    });
}

/// A sandbox answers like a kernel that does not know the advice. If it answers so to all advices,
/// that is a refusal. If it does so only to advices that some kernels lack, there is nothing to
/// protect from.
#[test]
fn an_unknown_advice_is_told_from_a_refused_one() {
    alone("an_unknown_advice_is_told_from_a_refused_one", || {
        in_child(|| {
            refuse(libc::SYS_madvise, Some(libc::MADV_UNMERGEABLE as u32), libc::EINVAL);
            refuse(libc::SYS_madvise, Some(libc::MADV_NOHUGEPAGE as u32), libc::EINVAL);
            let pool = LockedPool::default();
            assert!(pool.alloc(32, 16).is_some());
            assert_eq!(missing(&pool.stats()), [Missing::default(); 4]);
        });
        // The control: the same answer to all of them.
        in_child(|| {
            refuse(libc::SYS_madvise, None, libc::EINVAL);
            let pool = LockedPool::with_options(&options()).unwrap();
            assert!(pool.alloc(32, 16).is_some());
            let stats = pool.stats();
            assert_eq!(missing(&stats), [Missing { bytes: stats.total, errno: libc::EINVAL }; 4]);
            assert_eq!(LockedPages::new(1).unwrap().advice_state(), Err(libc::EINVAL));
        });
    });
}

#[test]
fn what_is_required_is_there_or_nothing_is() {
    alone("what_is_required_is_there_or_nothing_is", || {
        let required = options().require_protections(true);
        with_each_refused(|refused| {
            let made = LockedPool::with_options(&required);
            let manager = LockedPoolManager::instance();
            // SAFETY: the pool holds no value that zeros would invalidate.
            let configured = unsafe { manager.configure_unchecked(&required) };
            let Some((protection, errno)) = refused else {
                // The control.
                assert!(made.unwrap().alloc(32, 16).is_some() && configured.is_ok());
                assert!(manager.alloc(32, 16).is_some());
                return;
            };
            let Err(PoolError::Protection(error)) = made else { panic!("{made:?}") };
            assert_eq!((error.protection, error.errno), (protection, errno));
            let configured = configured.unwrap_err();
            assert!(matches!(configured, ConfigureError::Pool(PoolError::Protection(_))));
            // There is memory if the protection is not required.
            assert!(manager.alloc(32, 16).is_some());
        });
    });
}

/// A refusal when the pool grows: the allocation fails, no memory is kept, and the statistics have
/// the reason.
#[test]
fn what_is_required_is_required_of_later_memory_too() {
    alone("what_is_required_is_required_of_later_memory_too", || {
        let required = options().require_protections(true);
        let pool = LockedPool::with_options(&required).unwrap();
        let manager = LockedPoolManager::instance();
        // SAFETY: the pool holds no value that zeros would invalidate.
        unsafe { manager.configure_unchecked(&required) }.unwrap();
        assert!(pool.alloc(32, 16).is_some() && manager.alloc(32, 16).is_some());
        manager.sample_one_in(NonZeroU32::new(1), 1 << 20).unwrap();
        // The control: growth succeeds before the refusal.
        assert!(pool.alloc(LockedPool::ARENA_SIZE, 16).is_some());
        let before = [pool.stats().total, manager.stats().total];
        refuse(libc::SYS_madvise, Some(libc::MADV_DONTDUMP as u32), libc::EPERM);
        assert!(pool.alloc(LockedPool::ARENA_SIZE, 16).is_none());
        assert!(manager.alloc(LockedPool::ARENA_SIZE, 16).is_none());
        assert!(manager.alloc(32, 16).is_some(), "memory that the pool has still serves");
        assert!(SecureVec::<u8>::try_with_capacity(2 * LockedPool::ARENA_SIZE).is_err());
        for (stats, total) in [(pool.stats(), before[0]), (manager.stats(), before[1])] {
            assert_eq!(stats.total, total);
            assert_eq!(missing(&stats)[0], Missing { bytes: 0, errno: libc::EPERM });
        }
    });
}

/// Guard pages cannot be missing: a mapping is made with them, or not at all.
#[test]
fn there_is_no_memory_without_guard_pages() {
    alone("there_is_no_memory_without_guard_pages", || {
        refuse(libc::SYS_mprotect, None, libc::EPERM);
        assert!(LockedPages::new(1).is_err());
        assert!(LockedPool::default().alloc(32, 16).is_none());
        assert!(LockedPoolManager::instance().alloc(32, 16).is_none());
    });
}
