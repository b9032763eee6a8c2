//! Memory that could not be locked. Statistics and callback tell how much it is, the reason, the
//! limit and the remedy. The soft limit is raised on request, and never otherwise. If a sandbox
//! refuses the better of the two calls that lock, the other one is used.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{
    LockError, LockedPages, LockedPool, LockedPoolManager, PoolError, PoolOptions, lock_limit,
    raise_lock_limit,
};
use common::{alone, forbid, in_child, limit_locked_memory, locked_by_kernel, refuse};
use std::sync::{Arc, Mutex};

const SOFT: usize = 64 * 1024;
const HARD: usize = 1024 * 1024;

/// Allocates four times 64 KiB.
fn fill(pool: &LockedPool) {
    for _ in 0..4 {
        assert!(pool.alloc(SOFT, 16).is_some());
    }
}

#[test]
fn a_limit_is_raised_on_request() {
    alone("a_limit_is_raised_on_request", || {
        limit_locked_memory(SOFT, HARD);
        // The control: without a request the limit stays, and locked memory is scarce.
        let unasked = LockedPool::with_options(&PoolOptions::new()).unwrap();
        fill(&unasked);
        assert_eq!((lock_limit(), unasked.stats().locked, locked_by_kernel()), (SOFT, SOFT, SOFT));
        assert!(unasked.stats().lock_failures > 0);
        drop(unasked);
        assert_eq!(locked_by_kernel(), 0);

        let asked = PoolOptions::new().raise_lock_limit(true);
        let pool = LockedPool::with_options(&asked).unwrap();
        fill(&pool);
        assert_eq!((lock_limit(), pool.stats().lock_failures), (HARD, 0));
        assert_eq!((pool.stats().locked, locked_by_kernel()), (4 * SOFT, 4 * SOFT));
    });
}

#[test]
fn a_pool_at_its_limit_goes_on_when_it_is_raised() {
    alone("a_pool_at_its_limit_goes_on_when_it_is_raised", || {
        limit_locked_memory(SOFT, HARD);
        let manager = LockedPoolManager::instance();
        manager.set_locking_failed(Some(Box::new(|_| false)));
        while manager.alloc(4096, 16).is_some() {}
        assert_eq!((manager.stats().locked, locked_by_kernel()), (SOFT, SOFT));
        assert_eq!(raise_lock_limit().unwrap(), HARD);
        assert_eq!(raise_lock_limit().unwrap(), HARD, "again is no error");
        assert!(manager.alloc(4096, 16).is_some());
        assert!(manager.stats().locked > SOFT && manager.stats().locked == locked_by_kernel());
    });
}

#[test]
fn a_limit_that_cannot_be_raised_is_an_error() {
    alone("a_limit_that_cannot_be_raised_is_an_error", || {
        limit_locked_memory(SOFT, HARD);
        refuse(libc::SYS_prlimit64, None, libc::EPERM);
        refuse(libc::SYS_setrlimit, None, libc::EPERM);
        let options = PoolOptions::new().raise_lock_limit(true);
        let error = LockedPool::with_options(&options).unwrap_err();
        assert!(matches!(error, PoolError::LockLimit(_)), "{error:?}");
        assert!(raise_lock_limit().is_err());
    });
}

#[test]
fn the_reason_and_the_remedy_are_told() {
    alone("the_reason_and_the_remedy_are_told", || {
        limit_locked_memory(SOFT, SOFT);
        let pool = LockedPool::default();
        let told = Arc::new(Mutex::new(None));
        let teller = told.clone();
        pool.set_locking_failed(Some(Box::new(move |error| {
            *teller.lock().unwrap() = Some(*error);
            true
        })));
        fill(&pool);
        let stats = pool.stats();
        assert_eq!((stats.locked, locked_by_kernel()), (SOFT, SOFT));
        assert!(stats.total > stats.locked);
        let why = LockError { errno: libc::ENOMEM, limit: SOFT };
        assert_eq!((stats.last_lock_failure, *told.lock().unwrap()), (Some(why), Some(why)));
        let text = why.to_string();
        // As this system calls it.
        let reason = std::io::Error::from_raw_os_error(libc::ENOMEM).to_string();
        for part in [reason.as_str(), "65536", "LimitMEMLOCK=", "ulimit -l"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    });
}

/// The error tells what has refused, and the remedy for each is worded differently. It advises to
/// raise a limit only if the limit is the reason.
#[test]
fn the_remedy_is_for_who_has_refused() {
    let remedy = |errno, limit| LockError { errno, limit }.remedy();
    let of_the_limit = [
        "RLIMIT_MEMLOCK",
        "`ulimit -l`",
        "LimitMEMLOCK=",
        "/etc/security/limits.conf",
        "`--ulimit memlock=-1`",
        "the unit of the container runtime",
        "Kubernetes has no field",
        "CAP_IPC_LOCK",
    ];
    let of_a_sandbox = ["sandbox", "mlock2", "SystemCallFilter=@memlock", "seccomp"];
    let says = |text: &str, all: &[&str], none: &[&str]| {
        assert!(all.iter().all(|part| text.contains(part)), "{text}");
        assert!(!none.iter().any(|part| text.contains(part)), "{text}");
    };
    for limited in [(libc::ENOMEM, SOFT), (libc::EAGAIN, SOFT), (libc::EPERM, 0), (libc::ENOMEM, 0)]
    {
        says(remedy(limited.0, limited.1), &of_the_limit, &of_a_sandbox);
    }
    for errno in REFUSALS {
        for limit in [SOFT, usize::MAX] {
            says(remedy(errno, limit), &of_a_sandbox, &of_the_limit);
        }
    }
    says(remedy(libc::EINVAL, 0), &of_a_sandbox, &of_the_limit);
    for errno in [libc::ENOMEM, libc::EAGAIN] {
        says(remedy(errno, usize::MAX), &["vm.max_map_count"], &of_the_limit);
        says(remedy(errno, usize::MAX), &[], &of_a_sandbox);
    }
    for limit in [SOFT, usize::MAX] {
        says(remedy(0, limit), &["did not say why"], &of_a_sandbox);
    }
}

/// The remedies of refusals that the kernel and a sandbox really make.
#[test]
fn what_is_refused_is_told_with_its_remedy() {
    alone("what_is_refused_is_told_with_its_remedy", || {
        let refusal = || {
            let pool = LockedPool::default();
            fill(&pool);
            pool.stats().last_lock_failure.expect("a refusal").to_string()
        };
        in_child(|| {
            limit_locked_memory(SOFT, SOFT);
            assert!(refusal().contains("raise the limit"));
        });
        in_child(|| {
            limit_locked_memory(0, 0);
            assert!(refusal().contains("raise the limit"));
        });
        in_child(|| {
            // A finite limit that is not the reason.
            limit_locked_memory(HARD, HARD);
            refuse(libc::SYS_mlock2, None, libc::EPERM);
            refuse(libc::SYS_mlock, None, libc::EPERM);
            let text = refusal();
            assert!(text.contains("a sandbox refuses mlock") && !text.contains("ulimit"), "{text}");
        });
    });
}

/// Checks that all memory of a pool is locked, by the kernel's figures too, and in a child process
/// as well.
fn all_is_locked(pool: &LockedPool) {
    let stats = pool.stats();
    assert_eq!((stats.locked, stats.lock_failures), (stats.total, 0), "{stats:?}");
    assert_eq!(locked_by_kernel(), stats.locked);
}

/// The errors with which sandboxes, other implementations of Linux and old kernels refuse `mlock2`.
const REFUSALS: [i32; 5] =
    [libc::EPERM, libc::EINVAL, libc::EOPNOTSUPP, libc::ENOSYS, libc::EACCES];

#[test]
fn mlock_locks_where_mlock2_is_refused() {
    alone("mlock_locks_where_mlock2_is_refused", || {
        for errno in REFUSALS {
            in_child(|| {
                refuse(libc::SYS_mlock2, None, errno);
                let pool = LockedPool::default();
                fill(&pool);
                all_is_locked(&pool);
                // The call is not made again, neither here nor in a child.
                forbid(libc::SYS_mlock2);
                fill(&pool);
                all_is_locked(&pool);
                in_child(|| all_is_locked(&pool));
            });
        }
    });
}

/// A child that locks its memory again, before `fork` returns, is the first to be refused.
#[test]
fn a_child_locks_by_mlock_what_its_parent_locked_by_mlock2() {
    alone("a_child_locks_by_mlock_what_its_parent_locked_by_mlock2", || {
        for errno in REFUSALS {
            in_child(|| {
                let pool = LockedPool::default();
                fill(&pool);
                all_is_locked(&pool);
                refuse(libc::SYS_mlock2, None, errno);
                in_child(|| {
                    all_is_locked(&pool);
                    fill(&pool);
                    all_is_locked(&pool);
                });
            });
        }
    });
}

#[test]
fn the_process_wide_pool_without_mlock2() {
    alone("the_process_wide_pool_without_mlock2", || {
        refuse(libc::SYS_mlock2, None, libc::EPERM);
        let manager = LockedPoolManager::instance();
        assert!(manager.alloc(32, 16).is_some());
        let all_is_locked = || {
            let stats = manager.stats();
            assert_eq!((stats.locked, stats.lock_failures), (stats.total, 0), "{stats:?}");
            assert_eq!(locked_by_kernel(), stats.locked);
        };
        all_is_locked();
        in_child(all_is_locked);
    });
}

/// The control: if `mlock` is refused too, the error is its own. An error of the limit is not taken
/// for one of a sandbox, and no other call locks more then.
#[test]
fn what_mlock_refuses_too_is_told() {
    alone("what_mlock_refuses_too_is_told", || {
        in_child(|| {
            refuse(libc::SYS_mlock2, None, libc::EINVAL);
            refuse(libc::SYS_mlock, None, libc::EPERM);
            let pool = LockedPool::default();
            fill(&pool);
            let stats = pool.stats();
            assert_eq!((stats.locked, locked_by_kernel()), (0, 0));
            assert_eq!(stats.last_lock_failure.map(|why| why.errno), Some(libc::EPERM));
        });
        in_child(|| {
            limit_locked_memory(SOFT, SOFT);
            forbid(libc::SYS_mlock);
            let pool = LockedPool::default();
            fill(&pool);
            assert_eq!((pool.stats().locked, locked_by_kernel()), (SOFT, SOFT));
        });
        in_child(|| {
            // A limit of 0 is not a sandbox: it can be raised.
            limit_locked_memory(0, SOFT);
            let refused = LockedPages::new(1).unwrap().lock_state();
            assert_eq!(refused, Err(LockError { errno: libc::EPERM, limit: 0 }));
            assert_eq!(raise_lock_limit().unwrap(), SOFT);
            forbid(libc::SYS_mlock);
            assert_eq!(LockedPages::new(1).unwrap().lock_state(), Ok(()));
        });
    });
}
