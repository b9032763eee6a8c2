//! Closed secrets: an access outside of a guard is a fault, and inside it is not. Each test runs
//! twice, where the system has protection keys: with a key, and where the system refuses one, so
//! that `mprotect` opens and closes secrets.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/early_child.rs"]
mod early_child;
#[path = "../examples/wallet/search.rs"]
mod search;

use bitcoin_support::{
    ClosedBox, ClosedError, ClosedRef, ClosedState, ForkPolicy, LockedPool, LockedPoolManager,
    PoolOptions, SecureBox, SecureVec, has_protection_key, memory_stats, page_size,
    wipe_everything,
};
use common::this_program::this_program;
use common::{
    EndsWhenDropped, RETURNED, alone, assert_locked_and_not_dumped, flags_of, give_up_after,
    in_child, is_emulated, locked_by_kernel, read_memory, refuse, signal_of, status_field,
};
use early_child::in_early_child;
use search::Search;
use std::cell::RefCell;
use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::os::unix::thread::JoinHandleExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, OnceLock};
use std::{mem, ptr, thread};

type Key = [u8; 32];

const SECRET: Key = *b"the key that nothing shall touch";

fn closed() -> ClosedBox<Key> {
    ClosedBox::new_with(|key: &mut Key| *key = SECRET).unwrap()
}

/// The address of the secret. It is open for a moment.
fn address(key: &ClosedBox<Key>) -> usize {
    key.open().unwrap().expose_secret().as_ptr().expose_provenance()
}

/// What the kernel's own calls for this process find at an address, under the rights that the
/// calling thread has; `None` where it may not read there.
fn seen(addr: usize) -> Option<Vec<u8>> {
    read_memory(addr, SECRET.len())
}

/// What is at an address, whatever rights there are.
fn there(addr: usize) -> Key {
    let mut bytes = [0; SECRET.len()];
    let memory = File::open("/proc/self/mem").unwrap();
    memory.read_exact_at(&mut bytes, addr as u64).unwrap();
    bytes
}

fn read(addr: usize) -> u8 {
    // SAFETY: the address is mapped. That the read may be a fault is what is tested.
    unsafe { ptr::with_exposed_provenance::<u8>(addr).read_volatile() }
}

fn write(addr: usize, byte: u8) {
    // SAFETY: the address is mapped. That the write may be a fault is what is tested.
    unsafe { ptr::with_exposed_provenance_mut::<u8>(addr).write_volatile(byte) };
}

/// No key can be had from now on.
fn refuse_keys() {
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
    refuse(libc::SYS_pkey_alloc, None, libc::ENOSYS);
}

/// Runs `body` in a separate process with a protection key, where there are any, and in one
/// without.
fn with_and_without_key(test: &str, body: impl Fn(bool)) {
    alone(test, || {
        for with_key in [true, false] {
            in_child(|| {
                give_up_after(120);
                if !with_key {
                    refuse_keys();
                }
                if with_key && !has_protection_key() {
                    return println!("skipped: no protection keys here, so by mprotect alone");
                }
                assert_eq!(has_protection_key(), with_key);
                body(with_key);
            });
        }
    });
}

fn on_signal(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: the handler only calls functions that handlers may call.
    unsafe { libc::signal(signal, handler as libc::sighandler_t) };
}

// ---- Guards -----------------------------------------------------------------------------------

#[test]
fn an_access_outside_of_a_guard_is_a_fault() {
    with_and_without_key("an_access_outside_of_a_guard_is_a_fault", |_| {
        let mut key = closed();
        let addr = address(&key);
        assert_eq!((key.state(), seen(addr)), (ClosedState::Closed, None));
        assert_eq!(signal_of(|| assert_eq!(read(addr), SECRET[0])), libc::SIGSEGV);
        assert_eq!(signal_of(|| write(addr, 1)), libc::SIGSEGV);
        // The control: the same accesses inside of a guard. A guard for reading is for reading.
        let opened = key.open().unwrap();
        assert_eq!((key.state(), opened.expose_secret()), (ClosedState::Readable, &SECRET));
        assert_eq!(signal_of(|| assert_eq!(read(addr), SECRET[0])), 0);
        assert_eq!(signal_of(|| write(addr, 1)), libc::SIGSEGV);
        drop(opened);
        let mut opened = key.open_mut().unwrap();
        assert_eq!(signal_of(|| assert_eq!(read(addr), SECRET[0])), 0);
        assert_eq!(signal_of(|| write(addr, 1)), 0);
        opened.expose_secret_mut()[0] = 1;
        assert_eq!(opened.expose_secret()[..2], [1, SECRET[1]]);
        drop(opened);
        assert_eq!(signal_of(|| assert_eq!(read(addr), 1)), libc::SIGSEGV);
        assert_eq!(key.open().unwrap().expose_secret()[..2], [1, SECRET[1]]);
    });
}

#[test]
fn several_guards_in_any_order() {
    with_and_without_key("several_guards_in_any_order", |_| {
        let (mut key, other) = (closed(), closed());
        let addr = address(&key);
        let (first, second) = (key.open().unwrap(), key.open().unwrap());
        assert_eq!(seen(address(&other)), None, "each is opened by itself");
        drop(first);
        assert_eq!(second.expose_secret(), &SECRET);
        drop(second);
        assert_eq!(seen(addr), None);
        // In several threads, in any order.
        let ready = Barrier::new(4);
        thread::scope(|scope| {
            for number in 0..4 {
                let (key, ready) = (&key, &ready);
                scope.spawn(move || {
                    ready.wait();
                    for round in 0..500 {
                        let opened = key.open().unwrap();
                        let again = (round % 4 == number).then(|| key.open().unwrap());
                        assert_eq!(opened.expose_secret(), &SECRET);
                        drop(opened);
                        if let Some(again) = again {
                            assert_eq!(again.expose_secret(), &SECRET);
                        }
                    }
                });
            }
        });
        assert_eq!((key.state(), seen(addr)), (ClosedState::Closed, None));
        // A reference may go to another thread.
        let opened = key.open().unwrap();
        let bytes = opened.expose_secret();
        thread::scope(|scope| scope.spawn(|| assert_eq!(bytes, &SECRET)).join().unwrap());
        drop(opened);
        // A panic closes.
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _opened = key.open_mut().unwrap();
            panic!("while it is open");
        }));
        assert!(panicked.is_err());
        assert_eq!((key.state(), seen(addr)), (ClosedState::Closed, None));
        // A guard that is forgotten leaves it open. Then it can be written to all the same.
        mem::forget(key.open().unwrap());
        assert_eq!(key.state(), ClosedState::Readable);
        key.open_mut().unwrap().expose_secret_mut()[0] = 2;
        // SAFETY: on this thread.
        unsafe { key.write_on_this_thread(|key| key[1] = 3) }.unwrap();
        assert_eq!((key.state(), there(addr)[..2].to_vec()), (ClosedState::Readable, vec![2, 3]));
    });
}

#[test]
fn secrets_of_any_length() {
    with_and_without_key("secrets_of_any_length", |_| {
        for len in [0, 1, 31, page_size() - 1, page_size(), page_size() + 1, 300_000] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let secret = SecureVec::from_slice(&bytes).into_boxed_slice();
            let closed = ClosedBox::close_slice(secret).unwrap();
            assert_eq!(closed.open().unwrap().expose_secret(), bytes);
            assert!(closed.is_locked());
        }
        let numbers = ClosedBox::close(SecureBox::new([1_u64, 2, 3])).unwrap();
        let opened = numbers.open().unwrap();
        assert_eq!(opened.expose_secret(), &[1, 2, 3]);
        // An overrun is a fault too: the secret ends at the guard page.
        let end = opened.expose_secret().as_ptr_range().end.expose_provenance();
        let last = 3_u64.to_ne_bytes()[7];
        assert_eq!(signal_of(|| assert_eq!(read(end - 1), last)), 0);
        assert_eq!(signal_of(|| assert_eq!(read(end), 0)), libc::SIGSEGV);
    });
}

// ---- Locks and figures ------------------------------------------------------------------------

#[test]
fn it_is_locked_while_it_is_closed() {
    with_and_without_key("it_is_locked_while_it_is_closed", |_| {
        let before = memory_stats();
        let secrets: Vec<_> = (0..20).map(|_| closed()).collect();
        let opened: Vec<_> = secrets.iter().take(5).map(|key| key.open().unwrap()).collect();
        let stats = memory_stats();
        assert_eq!(stats.total - before.total, 20 * page_size());
        assert!(stats.is_fully_locked());
        assert_eq!(stats.locked, locked_by_kernel());
        let addr = address(&secrets[9]);
        assert_locked_and_not_dumped(&flags_of(addr));
        // The control of the kernel's count: it follows.
        drop(opened);
        drop(secrets);
        assert_eq!(memory_stats(), before);
        assert_eq!(before.locked, locked_by_kernel());
    });
}

#[test]
fn an_address_is_described() {
    extern "C" fn handler(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the system passes a valid one.
        let address = unsafe { (*info).si_addr() };
        let report = LockedPoolManager::describe_address(address.cast());
        // s390x tells the page in which a fault was, and no more.
        let right = report.is_some_and(|report| {
            (report.size, report.closed) == (32, Some(ClosedState::Closed))
                && (report.offset == 7 || cfg!(target_arch = "s390x"))
        });
        // SAFETY: ends the process.
        unsafe { libc::_exit(if right { RETURNED } else { 43 }) };
    }
    with_and_without_key("an_address_is_described", |with_key| {
        let mut key = closed();
        let addr = address(&key);
        let text = |addr: usize| {
            LockedPoolManager::describe_address(ptr::without_provenance(addr)).unwrap().to_string()
        };
        let why = if with_key { ", or another thread only for itself" } else { "" };
        let expected = "byte 7 of a closed secret of 32 bytes, which no guard has opened";
        assert_eq!(text(addr + 7), expected.to_owned() + why);
        let opened = key.open().unwrap();
        assert!(text(addr).ends_with("is open, but for reading only"), "{}", text(addr));
        drop(opened);
        let opened = key.open_mut().unwrap();
        assert!(text(addr).ends_with("is open"), "{}", text(addr));
        drop(opened);
        assert!(text(addr + 32).starts_with("0 bytes after a closed secret of 32 bytes"));
        assert!(text(addr - 1).starts_with("1 bytes before a closed secret of 32 bytes"));
        // The control: other addresses, of which one was a closed secret's.
        let on_stack = 0_u8;
        assert_eq!(LockedPoolManager::describe_address(&on_stack), None);
        assert_eq!(
            signal_of(|| {
                // SAFETY: zeros are a valid `sigaction`.
                let mut action: libc::sigaction = unsafe { mem::zeroed() };
                action.sa_sigaction = handler as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO;
                // SAFETY: `action` is valid, and its handler only calls functions that handlers
                // may call.
                unsafe { libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()) };
                read(addr + 7);
                unreachable!("the handler ends the process");
            }),
            0
        );
        drop(key);
        assert_eq!(LockedPoolManager::describe_address(ptr::without_provenance(addr)), None);
    });
}

// ---- The panic button -------------------------------------------------------------------------

extern "C" fn wipe(_: i32) {
    // SAFETY: the values that these tests use afterwards are plain data.
    unsafe { wipe_everything() };
    WIPED.fetch_add(1, Ordering::Relaxed);
}

static WIPED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn the_panic_button_wipes_closed_secrets() {
    with_and_without_key("the_panic_button_wipes_closed_secrets", |_| {
        on_signal(libc::SIGUSR1, wipe);
        let (mut key, other) = (closed(), closed());
        let (addr, others) = (address(&key), address(&other));
        let opened = other.open().unwrap();
        // The control: it is there before.
        assert_eq!((there(addr), there(others)), (SECRET, SECRET));
        // SAFETY: the signal has a handler.
        unsafe { libc::raise(libc::SIGUSR1) };
        assert_eq!((there(addr), there(others)), ([0; 32], [0; 32]));
        assert_eq!((key.state(), seen(addr)), (ClosedState::Closed, None));
        assert_eq!((other.state(), opened.expose_secret()), (ClosedState::Readable, &[0; 32]));
        assert_eq!(signal_of(|| write(others, 1)), libc::SIGSEGV, "it is open for reading still");
        // It stays usable.
        *key.open_mut().unwrap().expose_secret_mut() = SECRET;
        assert_eq!(key.open().unwrap().expose_secret(), &SECRET);
        // SAFETY: on this thread, and zeros are a value.
        let read = unsafe {
            key.read_on_this_thread(|key| {
                libc::raise(libc::SIGUSR1);
                *key
            })
        };
        assert_eq!(read, Ok([0; 32]));
    });
}

/// The signal interrupts threads anywhere: while they open, close, make and drop secrets.
#[test]
fn the_panic_button_whatever_the_threads_are_doing() {
    with_and_without_key("the_panic_button_whatever_the_threads_are_doing", |_| {
        static DONE: AtomicBool = AtomicBool::new(false);
        on_signal(libc::SIGUSR1, wipe);
        let (shared, kept) = (std::sync::Arc::new(closed()), closed());
        let addr = address(&kept);
        assert_eq!(there(addr), SECRET);
        let ready = std::sync::Arc::new(Barrier::new(4));
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let (shared, ready) = (shared.clone(), ready.clone());
                thread::spawn(move || {
                    ready.wait();
                    let mut own = closed();
                    while !DONE.load(Ordering::Relaxed) {
                        let opened = shared.open().unwrap();
                        own.open_mut().unwrap().expose_secret_mut()[3] ^= 1;
                        assert!([0, SECRET[3]].contains(&opened.expose_secret()[3]));
                        drop(opened);
                        drop(closed());
                        // SAFETY: on this thread.
                        unsafe { own.write_on_this_thread(|key| key[4] ^= 1) }.unwrap();
                    }
                    assert_eq!(own.state(), ClosedState::Closed);
                })
            })
            .collect();
        ready.wait();
        for round in 0..150 {
            let thread = workers[round % workers.len()].as_pthread_t() as libc::pthread_t;
            // SAFETY: the thread has not been joined.
            assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR1) }, 0);
            thread::yield_now();
        }
        while WIPED.load(Ordering::Relaxed) < 3 {
            thread::yield_now();
        }
        DONE.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!((there(addr), kept.state()), ([0; 32], ClosedState::Closed));
        assert_eq!(shared.state(), ClosedState::Closed);
    });
}

/// Runs `body` while two threads do `work` again and again.
fn while_threads(work: impl Fn() + Sync, body: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = EndsWhenDropped(&is_over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    work();
                }
            });
        }
        body();
    });
}

fn while_threads_open(key: &ClosedBox<Key>, body: impl FnOnce()) {
    while_threads(|| assert_eq!(key.open().unwrap().expose_secret(), &SECRET), body);
}

/// Secrets are closed for the first time while other threads are just wiping them.
#[test]
fn the_panic_button_while_secrets_are_first_closed() {
    with_and_without_key("the_panic_button_while_secrets_are_first_closed", |_| {
        while_threads(
            || wipe(0),
            || {
                for _ in 0..100 {
                    // A large one, so that it takes time to wipe it.
                    let large = ClosedBox::<[u8; 1 << 20]>::new_with(|_| ()).unwrap();
                    assert_eq!(large.open().unwrap().expose_secret()[7], 0);
                }
            },
        );
    });
}

// ---- One thread -------------------------------------------------------------------------------

#[test]
fn one_thread_opens_a_secret_for_itself() {
    with_and_without_key("one_thread_opens_a_secret_for_itself", |with_key| {
        let mut key = closed();
        let addr = address(&key);
        // A thread that was there before.
        let (ask, asked) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let other = thread::spawn(move || {
            for () in asked {
                tell.send(seen(addr)).unwrap();
            }
        });
        let seen_by_other = || {
            ask.send(()).unwrap();
            told.recv().unwrap()
        };
        // SAFETY: on this thread; the other one asks the kernel to read.
        unsafe {
            key.read_on_this_thread(|key| {
                assert_eq!(key, &SECRET);
                assert_eq!(seen(addr).as_deref(), Some(&SECRET[..]));
                assert_eq!(seen_by_other().is_none(), with_key);
            })
            .unwrap();
            assert_eq!((seen(addr), seen_by_other()), (None, None));
            // The control: a guard opens it to both.
            let opened = key.open().unwrap();
            assert_eq!(seen_by_other().as_deref(), Some(&SECRET[..]));
            drop(opened);
            // Within each other, with a guard too, and with a panic.
            let mut second = closed();
            key.write_on_this_thread(|key| {
                second.read_on_this_thread(|second| key[0] = second[1]).unwrap();
                key[1] = 2;
                let opened = second.open().unwrap();
                let panicked = catch_unwind(AssertUnwindSafe(|| {
                    second.read_on_this_thread(|_| panic!("within")).unwrap();
                }));
                assert!(panicked.is_err());
                key[2] = opened.expose_secret()[3];
            })
            .unwrap();
            assert_eq!(there(addr)[..3], [SECRET[1], 2, SECRET[3]]);
            key.read_on_this_thread(|key| {
                second.write_on_this_thread(|second| second[0] = key[1]).unwrap();
                assert_eq!(key[1], 2);
                assert_eq!(signal_of(|| write(addr, 1)), libc::SIGSEGV, "reading is reading");
            })
            .unwrap();
            assert_eq!((seen(addr), key.state()), (None, ClosedState::Closed));
            assert_eq!((seen(address(&second)), second.state()), (None, ClosedState::Closed));
        }
        drop(ask);
        other.join().unwrap();
    });
}

/// A new thread has the rights of the thread that makes it, for good: the processor's register is
/// copied. The documentation warns of that.
#[test]
fn a_thread_made_meanwhile_has_the_right_too() {
    with_and_without_key("a_thread_made_meanwhile_has_the_right_too", |with_key| {
        let key = closed();
        let addr = address(&key);
        let (ask, asked) = std::sync::mpsc::channel::<()>();
        let look = move || {
            asked.recv().unwrap();
            seen(addr).is_some()
        };
        // SAFETY: on this thread; the other one asks the kernel to read.
        let other = unsafe { key.read_on_this_thread(|_| thread::spawn(look)) }.unwrap();
        assert_eq!((key.state(), seen(addr)), (ClosedState::Closed, None));
        ask.send(()).unwrap();
        assert_eq!(other.join().unwrap(), with_key);
        // The control: a thread that is made afterwards.
        assert!(!thread::spawn(move || seen(addr).is_some()).join().unwrap());
    });
}

/// A signal handler begins without the right, and has a guard instead.
#[test]
fn a_signal_handler_opens_by_a_guard() {
    static SHARED: OnceLock<ClosedBox<Key>> = OnceLock::new();
    static READ: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn reads(_: i32) {
        let place = ptr::with_exposed_provenance::<u8>(READ.load(Ordering::Relaxed));
        // SAFETY: the address is mapped. That the read may be a fault is what is tested.
        unsafe { place.read_volatile() };
    }
    extern "C" fn opens(_: i32) {
        let opened = SHARED.get().unwrap().open().unwrap();
        READ.store(opened.expose_secret()[0].into(), Ordering::Relaxed);
    }
    with_and_without_key("a_signal_handler_opens_by_a_guard", |with_key| {
        let key = SHARED.get_or_init(closed);
        let inside = || {
            // SAFETY: on this thread. The handler's read is what is tested.
            unsafe { key.read_on_this_thread(|_| libc::raise(libc::SIGUSR1)) }.unwrap();
        };
        READ.store(address(key), Ordering::Relaxed);
        on_signal(libc::SIGUSR1, reads);
        assert_eq!(signal_of(inside), if with_key { libc::SIGSEGV } else { 0 });
        // The control: it opens the secret.
        on_signal(libc::SIGUSR1, opens);
        READ.store(0, Ordering::Relaxed);
        inside();
        assert_eq!(READ.load(Ordering::Relaxed), usize::from(SECRET[0]));
        assert_eq!(key.state(), ClosedState::Closed);
    });
}

// ---- Children ---------------------------------------------------------------------------------

#[test]
fn children_have_it_as_it_was() {
    with_and_without_key("children_have_it_as_it_was", |_| {
        let (key, other) = (closed(), closed());
        let (addr, others) = (address(&key), address(&other));
        let opened = other.open().unwrap();
        in_child(|| {
            assert_eq!((key.state(), seen(addr)), (ClosedState::Closed, None));
            assert_eq!(seen(others).as_deref(), Some(&SECRET[..]));
            assert_eq!(memory_stats().locked, locked_by_kernel());
            assert!(key.is_locked() && other.is_locked());
            assert_eq!(key.open().unwrap().expose_secret(), &SECRET);
            drop(opened);
            assert_eq!((other.state(), seen(others)), (ClosedState::Closed, None));
            assert!(flags_of(others).iter().any(|flag| flag == "lo"));
            drop(key);
        });
    });
}

/// Other threads are opening and closing the secret while the process forks.
#[test]
fn a_fork_in_the_middle() {
    with_and_without_key("a_fork_in_the_middle", |_| {
        let (key, quiet) = (closed(), closed());
        while_threads_open(&key, || {
            for _ in 0..100 {
                in_child(|| {
                    give_up_after(60);
                    assert_eq!(key.open().unwrap().expose_secret(), &SECRET);
                    assert_eq!(seen(address(&quiet)), None);
                    assert_eq!(memory_stats().locked, locked_by_kernel());
                });
            }
        });
        assert_eq!(key.state(), ClosedState::Closed);
    });
}

/// As [`a_fork_in_the_middle`], where the child opens the secret before this library's handler runs
/// there.
#[test]
fn a_child_opens_it_early() {
    static KEY: OnceLock<ClosedBox<Key>> = OnceLock::new();
    fn open() {
        give_up_after(60);
        let opened = KEY.get().unwrap().open().unwrap();
        assert_eq!(opened.expose_secret(), &SECRET);
    }
    with_and_without_key("a_child_opens_it_early", |_| {
        let key = KEY.get_or_init(closed);
        while_threads_open(key, || {
            for _ in 0..100 {
                in_early_child(open, || assert!(key.is_locked()));
            }
        });
    });
}

/// The panic button in a child, before this library's handler runs there: threads of the parent may
/// just have been opening the secret, and other memory has stayed with the parent.
#[test]
fn a_child_wipes_early() {
    static KEY: OnceLock<ClosedBox<Key>> = OnceLock::new();
    fn wipe_and_open() {
        give_up_after(60);
        wipe(0);
        assert_eq!(KEY.get().unwrap().open().unwrap().expose_secret(), &[0; 32]);
    }
    with_and_without_key("a_child_wipes_early", |_| {
        let key = KEY.get_or_init(closed);
        let options = PoolOptions::new().fork_policy(ForkPolicy::Absent);
        let absent = LockedPool::with_options(&options).unwrap();
        assert!(absent.alloc(100, 16).is_some());
        // In qemu-user each end of a process takes a second.
        let forks = if is_emulated() { 10 } else { 100 };
        while_threads_open(key, || {
            for _ in 0..forks {
                in_early_child(wipe_and_open, || assert_eq!(there(address(key)), [0; 32]));
            }
        });
        assert_eq!(there(address(key)), SECRET);
    });
}

thread_local! {
    /// What the next child drops before this library's handler runs there.
    static EARLY_DROP: RefCell<Option<ClosedRef<'static, Key>>> = const { RefCell::new(None) };
}

#[test]
fn children_without_it() {
    with_and_without_key("children_without_it", |_| {
        for policy in [ForkPolicy::Wipe, ForkPolicy::Absent] {
            in_child(|| {
                let options = PoolOptions::new().fork_policy(policy);
                let manager = LockedPoolManager::instance();
                // SAFETY: a secret is plain data, and not used where it is absent.
                unsafe { manager.configure_unchecked(&options) }.unwrap();
                let mut key = closed();
                // The control: this process has it.
                let first = key.open().unwrap().expose_secret()[0];
                assert_eq!(first, SECRET[0]);
                in_child(|| {
                    if policy == ForkPolicy::Wipe {
                        assert_eq!(key.open().unwrap().expose_secret(), &[0; 32]);
                        assert!(key.is_locked());
                    } else {
                        assert_eq!(key.open().unwrap_err(), ClosedError::Absent);
                        assert_eq!(key.open_mut().unwrap_err(), ClosedError::Absent);
                        // SAFETY: on this thread.
                        let read = unsafe { key.read_on_this_thread(|_| ()) };
                        assert_eq!(read, Err(ClosedError::Absent));
                    }
                    drop(key);
                });
            });
        }
    });
}

/// In a child without the secret, other memory may have its addresses. A guard that ends there
/// leaves that memory as it is.
#[test]
fn a_child_has_other_memory_at_the_addresses() {
    static KEY: OnceLock<ClosedBox<Key>> = OnceLock::new();
    static PLACE: AtomicUsize = AtomicUsize::new(0);
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    fn take_the_place() {
        let place = PLACE.load(Ordering::Relaxed);
        let place = ptr::with_exposed_provenance_mut::<libc::c_void>(place);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: replaces nothing.
        let made = unsafe { libc::mmap(place, page_size(), access, flags, -1, 0) };
        IS_TAKEN.store(made == place, Ordering::Relaxed);
        drop(EARLY_DROP.take());
    }
    with_and_without_key("a_child_has_other_memory_at_the_addresses", |_| {
        let options = PoolOptions::new().fork_policy(ForkPolicy::Absent);
        // SAFETY: a secret is plain data, and not used where it is absent.
        unsafe { LockedPoolManager::instance().configure_unchecked(&options) }.unwrap();
        let key = KEY.get_or_init(closed);
        let addr = address(key) & !(page_size() - 1);
        PLACE.store(addr, Ordering::Relaxed);
        let opened = key.open().unwrap();
        in_early_child(take_the_place, || {
            assert!(IS_TAKEN.load(Ordering::Relaxed));
            write(addr, 7);
            drop(opened);
            assert_eq!(seen(addr).unwrap()[0], 7);
            assert_eq!(LockedPoolManager::describe_address(ptr::without_provenance(addr)), None);
        });
        // Also before this library's handler has run there.
        EARLY_DROP.set(Some(key.open().unwrap()));
        in_early_child(take_the_place, || {
            assert!(IS_TAKEN.load(Ordering::Relaxed) && EARLY_DROP.take().is_none());
            write(addr, 7);
            assert_eq!(seen(addr).unwrap()[0], 7);
        });
    });
}

/// A program that is executed while a guard has opened the secret, by a thread that has the right
/// to it, has neither the secret nor the right.
#[test]
fn an_executed_program_has_nothing_of_it() {
    const NAME: &str = "an_executed_program_has_nothing_of_it";
    const MASKED: &str = "BITCOIN_SUPPORT_TEST_CLOSED_SECRET";
    let places_of = |masked: &[u8]| {
        let mut search = Search::new();
        search.note("the secret", masked.iter().map(|byte| byte ^ MASK));
        search.found().unwrap()[0].1
    };
    if let Some(masked) = env::var_os(MASKED) {
        assert_eq!(places_of(masked.as_bytes()), 0);
        let other = closed();
        assert_eq!(signal_of(|| _ = black_box(read(address(&other)))), libc::SIGSEGV);
        return;
    }
    with_and_without_key(NAME, |_| {
        let key = ClosedBox::<Key>::new_with(|key| {
            let random = SecureBox::<Key>::random();
            for (letter, number) in key.iter_mut().zip(random.expose_secret()) {
                *letter = b'a' + number % 16;
            }
        })
        .unwrap();
        let opened = key.open().unwrap();
        let masked = opened.expose_secret().map(|letter| letter ^ MASK);
        // The control: this program has it.
        assert_ne!(places_of(&masked), 0);
        let mut program = this_program();
        program.args(["--exact", NAME, "--test-threads=1"]).stdout(Stdio::null());
        program.env(MASKED, OsStr::from_bytes(&masked));
        // SAFETY: the child executes another program, or ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: the secret is not used.
            let error = unsafe { key.read_on_this_thread(|_| program.exec()) };
            eprintln!("{error:?}");
            // SAFETY: ends the child.
            unsafe { libc::_exit(1) };
        }
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
    });
}

/// Changes letters to other printable characters.
const MASK: u8 = 0x40;

// ---- Refusals ---------------------------------------------------------------------------------

/// The call that changes the access to pages.
fn access_call(with_key: bool) -> libc::c_long {
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
    if with_key {
        return libc::SYS_pkey_mprotect;
    }
    assert!(!with_key);
    libc::SYS_mprotect
}

#[test]
fn refusals_are_told() {
    with_and_without_key("refusals_are_told", |with_key| {
        let (readable, writable) = (libc::PROT_READ as u32, 3);
        let call = access_call(with_key);
        let refused = ClosedError::Refused(libc::EPERM);
        let mut key = closed();
        let addr = address(&key);
        // A secret that cannot be closed is not there.
        in_child(|| {
            refuse(call, Some(if with_key { writable } else { 0 }), libc::EPERM);
            let before = memory_stats();
            assert_eq!(ClosedBox::<Key>::new_with(|_| ()).unwrap_err(), refused);
            assert_eq!(memory_stats(), before);
        });
        // One that cannot be opened stays closed. It can be dropped.
        in_child(|| {
            refuse(call, Some(readable), libc::EPERM);
            assert_eq!(key.open().unwrap_err(), refused);
            assert_eq!(key.state(), ClosedState::Closed);
            assert!(refused.to_string().contains("change the access"));
        });
        in_child(|| {
            let before = memory_stats();
            refuse(call, Some(writable), libc::EPERM);
            assert_eq!(key.open_mut().unwrap_err(), refused);
            // SAFETY: nothing is used afterwards that zeros would invalidate.
            unsafe { wipe_everything() };
            assert_eq!(key.state(), ClosedState::Closed);
            // A protection key opens it to the thread that wipes, without a system call.
            assert_eq!(there(addr), if with_key { [0; 32] } else { SECRET });
            drop(key);
            assert_eq!(before.mappings - memory_stats().mappings, 1);
            assert_eq!(memory_stats().locked, locked_by_kernel());
        });
        // While a guard holds one open to be read, its pages have no key: it cannot be wiped.
        key = closed();
        in_child(|| {
            let (before, addr) = (memory_stats(), address(&key));
            mem::forget(key.open().unwrap());
            refuse(call, Some(writable), libc::EPERM);
            // SAFETY: nothing is used afterwards that zeros would invalidate.
            unsafe { wipe_everything() };
            assert_eq!((key.state(), there(addr)), (ClosedState::Readable, SECRET));
            drop(key);
            assert_eq!(before.mappings - memory_stats().mappings, 1);
            assert_eq!(memory_stats().locked, locked_by_kernel());
        });
        // One that cannot be closed again says so, and can be opened again.
        key = closed();
        let opened = key.open().unwrap();
        refuse(call, Some(if with_key { writable } else { 0 }), libc::EPERM);
        drop(opened);
        assert_eq!(key.state(), ClosedState::Readable);
        assert_eq!(key.open().unwrap().expose_secret(), &SECRET);
    });
}

/// No memory may be locked: there is no closed secret, and a key in the pool is as the pool says.
#[test]
fn it_is_locked_or_not_there() {
    with_and_without_key("it_is_locked_or_not_there", |_| {
        common::limit_locked_memory(0, 0);
        if status_field("CapEff:") != "0000000000000000" {
            return println!("skipped: this process keeps the right to lock memory");
        }
        let error = ClosedBox::<Key>::new_with(|_| ()).unwrap_err();
        assert!(matches!(error, ClosedError::OutOfLockedMemory(_)), "{error:?}");
    });
}

/// Where the process has used up its keys, or may not use one, `mprotect` serves.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[test]
fn where_no_key_is_left() {
    alone("where_no_key_is_left", || {
        // SAFETY: takes no pointers.
        let take = || unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, 0) };
        let works = || {
            let key = closed();
            assert_eq!((key.state(), seen(address(&key))), (ClosedState::Closed, None));
            // SAFETY: on this thread.
            assert_eq!(unsafe { key.read_on_this_thread(|key| *key) }, Ok(SECRET));
        };
        in_child(|| {
            if take() < 0 {
                println!("skipped: no protection keys here");
            }
            while take() >= 0 {}
            assert!(!has_protection_key());
            works();
        });
        in_child(|| {
            refuse(libc::SYS_pkey_mprotect, None, libc::EPERM);
            assert!(!has_protection_key());
            works();
        });
    });
}

/// A sandbox that answers calls by a signal: a handler of the program says then that the system
/// does not know the call.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[test]
fn a_sandbox_that_sends_a_signal() {
    extern "C" fn on_trap(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: the kernel passes the interrupted thread's registers.
        unsafe {
            let context = &mut *context.cast::<libc::ucontext_t>();
            context.uc_mcontext.gregs[libc::REG_RAX as usize] = -i64::from(libc::ENOSYS);
        }
        TRAPS.fetch_add(1, Ordering::Relaxed);
    }
    static TRAPS: AtomicUsize = AtomicUsize::new(0);
    alone("a_sandbox_that_sends_a_signal", || {
        for call in [libc::SYS_pkey_alloc, libc::SYS_pkey_mprotect] {
            in_child(|| {
                // SAFETY: zeros are a valid `sigaction`, and the handler takes what its flag says.
                unsafe {
                    let mut action: libc::sigaction = mem::zeroed();
                    action.sa_sigaction = on_trap as *const () as usize;
                    action.sa_flags = libc::SA_SIGINFO;
                    assert_eq!(libc::sigaction(libc::SIGSYS, &action, ptr::null_mut()), 0);
                }
                common::trap(call);
                let key = closed();
                assert_eq!((key.state(), seen(address(&key))), (ClosedState::Closed, None));
                if call == libc::SYS_pkey_alloc {
                    assert_eq!(TRAPS.load(Ordering::Relaxed), 1);
                }
                assert!(!has_protection_key());
            });
        }
    });
}
