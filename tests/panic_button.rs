//! `wipe_everything` in a signal handler, whatever the threads are doing, leaves no secret in any
//! pool. The pools stay usable. The control: without the call the same secrets are there.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{
    ForkPolicy, LockedPages, LockedPool, LockedPoolManager, PoolOptions, SecretMemory,
    SecureString, SecureVec, wipe_everything,
};
use common::{alone, in_child};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static WIPED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_signal(_: libc::c_int) {
    // SAFETY: the values that these tests use afterwards are plain data.
    unsafe { wipe_everything() };
    WIPED.fetch_add(1, Ordering::Relaxed);
}

fn catch_signal() {
    let handler: extern "C" fn(libc::c_int) = on_signal;
    // SAFETY: the handler only calls functions that handlers may call.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
}

const SECRET: &str = "the passphrase that nobody knows";

/// Whether the secret is at an address, as `/proc/self/mem` shows it.
fn there(addr: usize) -> bool {
    let mut bytes = [0; SECRET.len()];
    let memory = File::open("/proc/self/mem").unwrap();
    memory.read_exact_at(&mut bytes, addr as u64).unwrap();
    assert!(bytes == *SECRET.as_bytes() || bytes == [0; SECRET.len()], "something else is there");
    bytes == *SECRET.as_bytes()
}

#[test]
fn a_signal_wipes_everything() {
    alone("a_signal_wipes_everything", || {
        catch_signal();
        let text = SecureString::from(SECRET);
        let large = SecureVec::from(SECRET.repeat(20_000).into_bytes());
        let mut pages = LockedPages::new(10_000).unwrap();
        let own = LockedPool::default();
        let in_own = own.alloc(100, 16).unwrap();
        pages.as_mut_slice()[..SECRET.len()].copy_from_slice(SECRET.as_bytes());
        // SAFETY: a chunk of 100 bytes.
        unsafe { in_own.copy_from_nonoverlapping(pages.as_ptr(), SECRET.len()) };
        let middle = large.len() / 2 / SECRET.len() * SECRET.len();
        let places = [
            text.expose_secret().as_ptr(),
            large.expose_secret().as_ptr(),
            large.expose_secret()[middle..].as_ptr(),
            pages.as_ptr().as_ptr(),
            in_own.as_ptr(),
        ]
        .map(|place| place.expose_provenance());
        let before = (LockedPoolManager::instance().stats(), own.stats());
        assert_eq!(places.map(there), [true; 5]);
        // The control: another signal handler.
        // SAFETY: `signal` gets a function of this program, and `raise` a valid signal.
        unsafe {
            libc::signal(libc::SIGUSR2, libc::SIG_IGN);
            libc::raise(libc::SIGUSR2);
        }
        assert_eq!(places.map(there), [true; 5]);
        // A wipe in a child changes nothing in its parent.
        in_child(|| {
            // SAFETY: the signal is valid and has a handler.
            unsafe { libc::raise(libc::SIGUSR1) };
            assert_eq!(places.map(there), [false; 5]);
        });
        assert_eq!(places.map(there), [true; 5]);
        // SAFETY: the signal is valid and has a handler.
        unsafe { libc::raise(libc::SIGUSR1) };
        assert_eq!(places.map(there), [false; 5]);
        assert_eq!((LockedPoolManager::instance().stats(), own.stats()), before);
        drop((text, large, pages));
        // SAFETY: not used afterwards.
        unsafe { own.free(in_own.as_ptr()) }.unwrap();
        assert_eq!(own.stats().used, 0);
        assert_eq!(SecureString::from(SECRET).expose_secret(), SECRET);
    });
}

/// Memory that only the parent process has is not touched.
#[test]
fn absent_memory_is_left_out() {
    alone("absent_memory_is_left_out", || {
        let options = PoolOptions::new().fork_policy(ForkPolicy::Absent);
        let pool = LockedPool::with_options(&options).unwrap();
        assert!(pool.alloc(100, 16).is_some());
        let secret =
            LockedPool::with_options(&options.secret_memory(SecretMemory::Prefer)).unwrap();
        let chunk = secret.alloc(100, 16).unwrap();
        // SAFETY: a chunk of this test.
        unsafe { chunk.write_bytes(1, 100) };
        in_child(|| {
            // SAFETY: no value is used afterwards that zeros would invalidate.
            unsafe { wipe_everything() };
        });
        // SAFETY: a chunk of this test, written above.
        assert_eq!(unsafe { chunk.read() }, 1);
        // SAFETY: the chunk holds bytes, which may be zeros.
        unsafe { wipe_everything() };
        // SAFETY: the chunk was allocated above and is not freed.
        assert_eq!(unsafe { chunk.read() }, 0);
    });
}

/// The handler interrupts threads anywhere: while they allocate, map, unmap and fork.
#[test]
fn whatever_the_threads_are_doing() {
    alone("whatever_the_threads_are_doing", || {
        catch_signal();
        let kept = SecureString::from(SECRET);
        let addr = kept.expose_secret().as_ptr().expose_provenance();
        static DONE: AtomicBool = AtomicBool::new(false);
        let ready = std::sync::Arc::new(Barrier::new(4));
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let ready = ready.clone();
                std::thread::spawn(move || {
                    ready.wait();
                    for round in 0_usize.. {
                        if DONE.load(Ordering::Relaxed) {
                            break;
                        }
                        let chunks: Vec<_> =
                            (1..40).map(|i| SecureVec::from(vec![1_u8; i * 50])).collect();
                        drop(LockedPages::new(20_000).unwrap());
                        let pool = LockedPool::default();
                        let _ = pool.alloc(5000, 16);
                        if worker == 0 && round % 8 == 0 {
                            in_child(|| drop(SecureString::from("a child's")));
                        }
                        drop((chunks, pool));
                    }
                })
            })
            .collect();
        ready.wait();
        assert!(there(addr), "nothing is wiped before the call");
        for round in 0..300 {
            let worker = &workers[round % workers.len()];
            let thread = worker.as_pthread_t() as libc::pthread_t;
            // SAFETY: the thread has not been joined.
            assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR1) }, 0);
            std::thread::yield_now();
        }
        while WIPED.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        DONE.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert!(!there(addr));
        assert!(WIPED.load(Ordering::Relaxed) > 0);
        drop(kept);
        assert_eq!(LockedPoolManager::instance().stats().used, 0);
    });
}
