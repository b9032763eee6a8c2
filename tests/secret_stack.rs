//! A function runs on a secret stack, in all ways that a function may run and end, and the stack
//! holds nothing afterwards. `secret_stack_proof.rs` searches the whole process.

#![cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]

mod common;
#[path = "common/early_child.rs"]
mod early_child;

use bitcoin_support::{
    LockedPages, LockedPool, LockedPoolManager, SecretStack, SecretStackError, SecureBox,
    SecureVec, memory_stats, on_secret_stack, page_size, wipe_everything,
};
use common::{
    EndsWhenDropped, alone, alone_with, assert_locked_and_not_dumped, assert_wiped, flags_of,
    in_child, is_emulated, limit_locked_memory, locked_by_kernel, read_memory, refuse,
};
use early_child::in_early_child;
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::hint::black_box;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// What the functions leave on their stacks.
const MARK: [u8; 64] = [0xa7; 64];

/// Leaves the mark in its frame, `kib` KiB below the caller's frame, with a gap in between that it
/// never writes to. Returns its address.
#[inline(never)]
fn leave_mark(kib: usize) -> usize {
    #[inline(never)]
    fn with_gap() -> usize {
        let mut mark = MARK;
        black_box(&mut mark).as_ptr().addr()
    }
    if kib == 0 {
        return with_gap();
    }
    let gap = std::mem::MaybeUninit::<[u8; 1024]>::uninit();
    let address = leave_mark(kib - 1);
    black_box(&gap);
    address
}

fn is_marked(address: usize) -> bool {
    read_memory(address, MARK.len()).is_some_and(|bytes| bytes.iter().any(|&byte| byte != 0))
}

/// Fails unless the whole stack that has this address is zeros. It is mapped still, as its thread
/// keeps it.
#[track_caller]
fn assert_stack_wiped(address: usize) {
    let page = bitcoin_support::page_size();
    let (mut from, mut to) = (address / page * page, address / page * page);
    while read_memory(from - page, page).is_some() {
        from -= page;
    }
    while read_memory(to, page).is_some() {
        to += page;
    }
    assert!(to - from >= SecretStack::DEFAULT_SIZE, "{from:x} to {to:x}");
    assert_wiped(from, to - from);
}

#[test]
fn what_a_function_leaves_is_wiped() {
    for kib in [0, 1, 10, 40] {
        let address = on_secret_stack(|| leave_mark(kib));
        assert_stack_wiped(address);
    }
    // The control: an ordinary stack.
    let address = leave_mark(10);
    assert!(is_marked(address));
}

/// The search for what was written to goes upwards and downwards by turns, and one wipe does
/// without it.
#[test]
fn every_call_of_many_is_wiped() {
    for kib in [0, 20, 1, 13, 2, 40, 0, 7, 30, 3] {
        let address = on_secret_stack(|| leave_mark(kib));
        assert_stack_wiped(address);
    }
}

/// Leaf functions may write so many bytes below the stack pointer.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_red_zone_is_wiped() {
    #[inline(never)]
    fn write() -> usize {
        let address: usize;
        // SAFETY: 128 bytes below the stack pointer are the function's, which calls nothing.
        unsafe {
            std::arch::asm!(
                "lea {at}, [rsp - 128]",
                "mov qword ptr [{at}], {at}",
                at = out(reg) address,
            );
        }
        address
    }
    assert_stack_wiped(on_secret_stack(write));
}

#[test]
fn results_come_back() {
    assert_eq!(on_secret_stack(|| 6 * 7), 42);
    let text = String::from("abc");
    assert_eq!(on_secret_stack(|| text.len()), 3);
    let moved = on_secret_stack(move || text);
    assert_eq!(moved, "abc");
    assert!(SecretStack::new().size(1 << 20).run(|| leave_mark(900) != 0).unwrap());
    let error = SecretStack::new().size(usize::MAX).run(|| ()).unwrap_err();
    assert!(matches!(error, SecretStackError::Pages(_)), "{error}");
}

#[test]
fn a_panic_comes_back_and_the_stack_is_wiped() {
    let address = Cell::new(0);
    let panics = || {
        on_secret_stack(|| {
            address.set(leave_mark(10));
            assert!(is_marked(address.get()));
            panic::panic_any(7);
        })
    };
    let caught = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    assert_eq!(caught.downcast_ref(), Some(&7));
    assert_stack_wiped(address.get());
    // A panic that is caught within, with its message and backtrace.
    on_secret_stack(|| assert!(catch_unwind(|| panic!("caught within")).is_err()));
    assert_eq!(on_secret_stack(|| 6 * 7), 42);
}

#[test]
fn the_smallest_stack_has_room_for_a_panic() {
    let variables = [("RUST_BACKTRACE", "full")];
    alone_with("the_smallest_stack_has_room_for_a_panic", &variables, || {
        let panics = || catch_unwind(|| panic!("{}", "caught within")).is_err();
        assert!(SecretStack::new().size(1).run(panics).unwrap());
    });
}

#[test]
fn calls_within_calls() {
    fn nested(depth: usize, addresses: &mut Vec<usize>) {
        on_secret_stack(|| {
            addresses.push(leave_mark(4));
            if depth > 0 {
                nested(depth - 1, addresses);
            }
            // Calls within this one have left this stack alone.
            assert!(is_marked(addresses[addresses.len() - 1 - depth]));
        });
    }
    // No fewer than the stacks that a thread keeps.
    for depth in [1, 2, 5] {
        let mut addresses = Vec::new();
        nested(depth, &mut addresses);
        assert_eq!(addresses.len(), depth + 1);
        // All are zeros, or given back.
        assert!(!addresses.iter().any(|&address| is_marked(address)));
        addresses.sort();
        assert!(addresses.windows(2).all(|two| two[1] - two[0] >= SecretStack::DEFAULT_SIZE));
    }
}

#[test]
fn many_threads_with_small_stacks() {
    let threads: Vec<_> = (1..=8_u8)
        .map(|number| {
            // A thread's own stack would be too small for this.
            let thread = thread::Builder::new().stack_size(16 * 1024);
            let work = move || {
                for _ in 0..200 {
                    let address = on_secret_stack(|| {
                        let bytes = black_box([number; 20_000]);
                        thread::yield_now();
                        assert!(bytes.iter().all(|&byte| byte == number));
                        black_box(&bytes).as_ptr().addr()
                    });
                    assert_wiped(address, 20_000);
                }
            };
            thread.spawn(work).unwrap()
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_thread_gives_its_stacks_back() {
    alone("a_thread_gives_its_stacks_back", || {
        let before = locked_by_kernel();
        let thread = || {
            on_secret_stack(|| on_secret_stack(|| ()));
            let kept = locked_by_kernel();
            SecretStack::new().size(1 << 20).run(|| ()).unwrap();
            assert_eq!(locked_by_kernel(), kept, "a large stack is kept");
            kept
        };
        let kept = thread::spawn(thread).join().unwrap();
        assert_eq!(kept, before + 2 * SecretStack::DEFAULT_SIZE);
        assert_eq!(locked_by_kernel(), before);
    });
}

#[test]
fn stacks_of_all_threads_are_bounded() {
    alone("stacks_of_all_threads_are_bounded", || {
        let before = locked_by_kernel();
        limit_locked_memory(before + (1 << 20), before + (1 << 20));
        let bound = (before + (1 << 20)) / 8;
        let barrier = Barrier::new(9);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    on_secret_stack(|| ());
                    barrier.wait();
                    barrier.wait();
                });
            }
            barrier.wait();
            let kept = locked_by_kernel() - before;
            assert!(kept > 0 && kept <= bound, "{kept} of {bound}");
            barrier.wait();
        });
    });
}

/// Two stacks, one within the other, of which one is kept for the next call and one for a call
/// within that. Whether they were locked.
fn two_stacks_are_locked() -> [bool; 2] {
    let is_locked = || SecretStack::lock_state().unwrap().is_ok();
    on_secret_stack(|| [is_locked(), on_secret_stack(is_locked)])
}

#[test]
fn a_low_limit_is_for_the_pool() {
    alone("a_low_limit_is_for_the_pool", || {
        const LIMIT: usize = 64 * 1024;
        limit_locked_memory(LIMIT, LIMIT);
        let error = on_secret_stack(SecretStack::lock_state).unwrap().unwrap_err();
        assert_eq!((error.errno, error.limit, locked_by_kernel()), (0, LIMIT, 0), "{error}");
        // A stack that has to be locked takes all of it.
        let locked = SecretStack::new().require_lock();
        assert_eq!(locked.run(SecretStack::lock_state).unwrap(), Some(Ok(())));
        assert_eq!(locked_by_kernel(), LIMIT);
        // It gives way, and has it back when the pool has nothing in it.
        let key = SecureBox::<[u8; 32]>::random();
        let stats = LockedPoolManager::instance().stats();
        assert!(stats.locked > 0 && stats.is_fully_locked() && stats.lock_failures == 0);
        assert_eq!(memory_stats().locked, locked_by_kernel());
        assert!(locked.run(|| ()).is_err());
        drop(key);
        assert_eq!(locked.run(SecretStack::lock_state).unwrap(), Some(Ok(())));
        assert_eq!(memory_stats().locked, locked_by_kernel());
    });
}

#[test]
fn idle_stacks_give_way_to_secrets() {
    alone("idle_stacks_give_way_to_secrets", || {
        const LIMIT: usize = 1 << 20;
        const CHUNK: usize = LockedPool::ARENA_SIZE;
        limit_locked_memory(LIMIT, LIMIT);
        // Each of these needs all memory that may be locked, which the stacks have a part of.
        let pages = || drop(LockedPages::new_locked(LIMIT).unwrap());
        let large = || drop(SecureVec::<u8>::try_from_slice(&[7; LIMIT]).unwrap());
        let private = || {
            let pool = LockedPool::default();
            (0..LIMIT / CHUNK).for_each(|_| assert!(pool.alloc(CHUNK, 16).is_some()));
            assert_eq!((pool.stats().locked, pool.stats().lock_failures), (LIMIT, 0));
        };
        let process_wide = || {
            let secrets = [(); LIMIT / CHUNK].map(|()| SecureVec::from_slice(&[7_u8; CHUNK]));
            let stats = LockedPoolManager::instance().stats();
            assert_eq!((stats.locked, stats.lock_failures), (LIMIT, 0));
            drop(secrets);
        };
        let uses: [&dyn Fn(); 4] = [&pages, &large, &private, &process_wide];
        for secrets in uses {
            assert_eq!(two_stacks_are_locked(), [true; 2]);
            assert_eq!(locked_by_kernel(), 2 * SecretStack::DEFAULT_SIZE);
            // Control: a stack in a call does not give way.
            on_secret_stack(|| assert!(LockedPages::new_locked(LIMIT).is_err()));
            assert_eq!(two_stacks_are_locked(), [true; 2]);
            secrets();
            assert_eq!(memory_stats().locked, locked_by_kernel());
        }
    });
}

/// A pool to which locked memory was refused while a stack was in a call asks again after the call,
/// although it has unlocked memory with room.
#[test]
fn a_stack_gives_way_after_its_call() {
    alone("a_stack_gives_way_after_its_call", || {
        const LIMIT: usize = 1 << 20;
        limit_locked_memory(LIMIT, LIMIT);
        let stats = || LockedPoolManager::instance().stats();
        let secret = || SecureVec::from_slice(&[7_u8; 4096]);
        let fill = || {
            let mut secrets = Vec::new();
            while stats().total == stats().locked {
                secrets.push(secret());
            }
            secrets
        };
        let mut secrets = on_secret_stack(fill);
        assert_eq!(stats().locked, LIMIT - SecretStack::DEFAULT_SIZE);
        // Control: the pool has unlocked memory with room.
        assert!(stats().free > secrets[0].len());
        secrets.push(secret());
        assert_eq!(stats().locked, LIMIT);
        assert!(secrets.pop().unwrap().is_locked());
    });
}

/// A pool asks less and less often, while its attempts are in vain: by secrets that are made in
/// calls alone, where the stack cannot give way; and in a sandbox that forbids all locks.
#[test]
fn a_pool_that_asks_in_vain_asks_less_often() {
    alone("a_pool_that_asks_in_vain_asks_less_often", || {
        const LIMIT: usize = 1 << 20;
        const CALLS: usize = 1000;
        limit_locked_memory(LIMIT, LIMIT);
        let stats = || LockedPoolManager::instance().stats();
        let secret = || SecureVec::from_slice(&[7_u8; 4096]);
        let mut secrets = Vec::new();
        on_secret_stack(|| {
            while stats().total == stats().locked {
                secrets.push(secret());
            }
        });
        let attempts_in = |calls: &dyn Fn()| {
            let before = stats().lock_failures;
            (0..CALLS).for_each(|_| calls());
            stats().lock_failures - before
        };
        let few = 1..CALLS / 32;
        let in_calls = attempts_in(&|| on_secret_stack(|| drop(secret())));
        assert!(few.contains(&in_calls), "{in_calls} attempts");
        // When the pool asks for a large one again, it also asks for the small one.
        let in_calls = attempts_in(&|| {
            on_secret_stack(|| {
                drop(SecureVec::from_slice(&[7_u8; 5 * 4096]));
                drop(secret());
            });
        });
        assert!((2..2 * few.end).contains(&in_calls), "{in_calls} attempts for two sizes");
        in_child(|| {
            refuse(libc::SYS_mlock2, None, libc::EPERM);
            refuse(libc::SYS_mlock, None, libc::EPERM);
            let refused = attempts_in(&|| on_secret_stack(|| ()));
            assert_eq!(refused, 0); // the control: it is secrets that ask
            let after_calls = attempts_in(&|| {
                on_secret_stack(|| ());
                drop(secret());
            });
            assert!(few.contains(&after_calls), "{after_calls} attempts");
        });
        // The pool asks again all the same, and the stack gives way.
        assert_eq!(stats().locked, LIMIT - SecretStack::DEFAULT_SIZE);
        (0..CALLS).for_each(|_| {
            on_secret_stack(|| ());
            drop(secret());
        });
        assert_eq!(stats().locked, LIMIT);
    });
}

#[test]
fn a_stack_is_locked_again_when_there_is_room() {
    alone("a_stack_is_locked_again_when_there_is_room", || {
        const LIMIT: usize = 1 << 20;
        limit_locked_memory(LIMIT, LIMIT);
        let secret = LockedPages::new_locked(LIMIT).unwrap();
        assert_eq!(two_stacks_are_locked(), [false; 2]);
        drop(secret);
        assert_eq!(two_stacks_are_locked(), [true; 2]);
        let address = on_secret_stack(|| leave_mark(0));
        assert!(flags_of(address).iter().any(|flag| flag == "lo"));
    });
}

#[test]
fn an_idle_stack_gives_way_to_one_in_a_call() {
    alone("an_idle_stack_gives_way_to_one_in_a_call", || {
        const LIMIT: usize = 1 << 20;
        limit_locked_memory(LIMIT, LIMIT);
        let barrier = Barrier::new(2);
        let (idle, [three, two], locked) = thread::scope(|scope| {
            let other = scope.spawn(|| {
                // An eighth of the limit.
                let are_locked = two_stacks_are_locked();
                barrier.wait();
                barrier.wait();
                are_locked
            });
            barrier.wait();
            let are_locked = [on_secret_stack(two_stacks_are_locked), two_stacks_are_locked()];
            let locked = [locked_by_kernel(), memory_stats().locked];
            barrier.wait();
            (other.join().unwrap(), are_locked, locked)
        });
        assert_eq!(idle, [true; 2]);
        // The first of three is locked too.
        assert_eq!(three, [true, false]);
        assert_eq!(two, [true; 2]);
        assert_eq!(locked, [LIMIT / 8; 2]);
    });
}

#[test]
fn no_stack_is_unlocked_in_a_call() {
    alone("no_stack_is_unlocked_in_a_call", || {
        const LIMIT: usize = 1 << 20;
        limit_locked_memory(LIMIT, LIMIT);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let _over = EndsWhenDropped(&is_over);
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // More than there is beside the stacks: those in no call are unlocked.
                    drop(LockedPages::new(LIMIT - page_size()).unwrap());
                }
            });
            let works = [(); 2].map(|()| {
                scope.spawn(|| {
                    let mut locked = 0;
                    while locked < 500 {
                        let stack = SecretStack::new().require_lock();
                        let ran = stack.run(|| {
                            let mark = black_box(MARK);
                            assert_eq!(SecretStack::lock_state(), Some(Ok(())));
                            if locked % 50 == 0 {
                                let flags = flags_of(mark.as_ptr().addr());
                                assert!(flags.iter().any(|flag| flag == "lo"), "{flags:?}");
                            }
                            assert_eq!(black_box(mark), MARK);
                            assert_eq!(SecretStack::lock_state(), Some(Ok(())));
                        });
                        // The other thread may have all of it.
                        locked += usize::from(ran.is_ok());
                    }
                })
            });
            works.into_iter().for_each(|work| work.join().unwrap());
        });
        assert_eq!(memory_stats().locked, locked_by_kernel());
        // None of them is counted any more.
        assert_eq!(two_stacks_are_locked(), [true; 2]);
    });
}

#[test]
fn it_is_locked_and_not_dumped() {
    let address = on_secret_stack(|| {
        assert_eq!(SecretStack::lock_state(), Some(Ok(())));
        let here = 0_u8;
        std::ptr::from_ref(&here).addr()
    });
    assert_eq!(SecretStack::lock_state(), None);
    let flags = flags_of(address);
    assert_locked_and_not_dumped(&flags);
    // The control: this thread's own stack.
    let flags = flags_of(std::ptr::from_ref(&address).addr());
    assert!(!["lo", "dd"].iter().any(|flag| flags.iter().any(|f| f == flag)), "{flags:?}");
}

#[test]
fn where_it_cannot_be_locked() {
    alone("where_it_cannot_be_locked", || {
        // The control, on a stack that is not kept.
        SecretStack::new().size(1 << 20).require_lock().run(|| ()).unwrap();
        refuse(libc::SYS_mlock2, None, libc::ENOMEM);
        refuse(libc::SYS_mlock, None, libc::ENOMEM);
        let state = on_secret_stack(SecretStack::lock_state).unwrap();
        assert_eq!(state.unwrap_err().errno, libc::ENOMEM);
        let is_called = Cell::new(false);
        let refused = SecretStack::new().require_lock().run(|| is_called.set(true));
        assert!(matches!(refused, Err(SecretStackError::Pages(_))), "{refused:?}");
        assert!(!is_called.get());
    });
}

#[test]
fn an_idle_stack_keeps_its_lock_where_no_other_memory_can_be_locked() {
    alone("an_idle_stack_keeps_its_lock_where_no_other_memory_can_be_locked", || {
        const LIMIT: usize = 1 << 20;
        limit_locked_memory(LIMIT, LIMIT);
        assert_eq!(two_stacks_are_locked(), [true; 2]);
        refuse(libc::SYS_mlock2, None, libc::EPERM);
        refuse(libc::SYS_mlock, None, libc::EPERM);
        assert!(LockedPages::new_locked(LIMIT).is_err());
        assert_eq!(locked_by_kernel(), 2 * SecretStack::DEFAULT_SIZE);
        assert_eq!(two_stacks_are_locked(), [true; 2]);
    });
}

#[test]
fn where_nothing_can_be_unlocked() {
    alone("where_nothing_can_be_unlocked", || {
        const LIMIT: usize = 1 << 20;
        limit_locked_memory(LIMIT, LIMIT);
        // An eighth of the limit.
        assert_eq!(two_stacks_are_locked(), [true; 2]);
        refuse(libc::SYS_munlock, None, libc::EPERM);
        assert!(LockedPages::new_locked(LIMIT).is_err());
        // What cannot be unlocked stays in the count: the stacks of other threads have no more.
        let others = || thread::spawn(two_stacks_are_locked).join().unwrap();
        assert_eq!(others(), [false; 2]);
        assert_eq!([memory_stats().locked, locked_by_kernel()], [LIMIT / 8; 2]);
        assert_eq!(two_stacks_are_locked(), [true; 2]);
    });
}

/// Runs this test again in a process that is to end by a signal, or well (0).
fn ends_by(signal: i32, test: &str, body: impl FnOnce()) {
    const ENDS: &str = "BITCOIN_SUPPORT_TEST_ENDS";
    if std::env::var_os(ENDS).is_some() {
        return body();
    }
    let output = common::this_program::this_program()
        .args(["--exact", test, "--nocapture"])
        .env(ENDS, "1")
        .output()
        .unwrap();
    let status = output.status;
    let ended = std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0);
    assert_eq!(ended, signal, "{status}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_overflow_ends_at_the_guard_page() {
    ends_by(libc::SIGSEGV, "an_overflow_ends_at_the_guard_page", || {
        on_secret_stack(|| leave_mark(80));
    });
}

#[test]
fn control_a_larger_stack_has_room() {
    ends_by(0, "control_a_larger_stack_has_room", || {
        SecretStack::new().size(256 << 10).run(|| leave_mark(80)).unwrap();
    });
}

#[test]
fn a_fork_within() {
    alone("a_fork_within", || {
        // Another thread is on its stack meanwhile.
        let (others, barrier) = (AtomicUsize::new(0), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                on_secret_stack(|| {
                    let mark = black_box(MARK);
                    others.store(mark.as_ptr().addr(), Ordering::Relaxed);
                    barrier.wait();
                    barrier.wait();
                    black_box(&mark);
                });
            });
            barrier.wait();
            let others = others.load(Ordering::Relaxed);
            let address = Cell::new(0);
            on_secret_stack(|| {
                address.set(leave_mark(4));
                in_child(|| {
                    assert_eq!(SecretStack::lock_state(), Some(Ok(())));
                    assert!(flags_of(address.get()).iter().any(|flag| flag == "lo"));
                    assert!(is_marked(address.get()));
                    assert_eq!(on_secret_stack(|| 6 * 7), 42);
                    assert_eq!(read_memory(others, 1), None, "another thread's stack");
                });
                assert!(is_marked(others));
            });
            assert_stack_wiped(address.get());
            barrier.wait();
        });
        // The function may return in the child.
        let address = Cell::new(0);
        // SAFETY: the child makes system calls, and ends.
        let child = on_secret_stack(|| unsafe {
            address.set(leave_mark(4));
            libc::fork()
        });
        if child == 0 {
            let is_wiped = catch_unwind(AssertUnwindSafe(|| assert_stack_wiped(address.get())));
            // SAFETY: ends the child.
            unsafe { libc::_exit(if is_wiped.is_ok() { 42 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer.
        unsafe { libc::waitpid(child, &mut status, 0) };
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42, "{status:#x}");
    });
}

/// A child has no stack of another thread, also not one that was just being mapped; and it can use
/// its own stack, also if another thread was just unlocking it.
#[test]
fn a_fork_at_any_moment() {
    alone("a_fork_at_any_moment", || {
        const LIMIT: usize = 1 << 20;
        limit_locked_memory(LIMIT, LIMIT);
        // In qemu-user each end of a process takes a second.
        let forks = if is_emulated() { 10 } else { 300 };
        let is_over = AtomicBool::new(false);
        let until_over = |work: &dyn Fn()| {
            while !is_over.load(Ordering::Relaxed) {
                work();
            }
        };
        thread::scope(|scope| {
            let _over = EndsWhenDropped(&is_over);
            for _ in 0..3 {
                // (Stacks of this size are not kept.)
                let map = || drop(SecretStack::new().size(512 << 10).run(|| ()));
                scope.spawn(move || until_over(&map));
            }
            for _ in 0..forks {
                in_child(|| assert_eq!(memory_stats().total, 0));
            }
        });
        is_over.store(false, Ordering::Relaxed);
        // This thread is on a locked stack, so that the other one finds no room, and unlocks the
        // idle stack of this thread each time.
        let on_a_locked_stack = || {
            thread::scope(|scope| {
                let _over = EndsWhenDropped(&is_over);
                scope.spawn(|| until_over(&|| assert!(LockedPages::new_locked(LIMIT).is_err())));
                for _ in 0..forks {
                    on_secret_stack(|| ());
                    in_child(|| assert_eq!(on_secret_stack(|| 6 * 7), 42));
                }
            });
        };
        SecretStack::new().size(64 << 10).require_lock().run(on_a_locked_stack).unwrap();
    });
}

/// A child finds its stack locked, also before this library's handler runs there. (A child does not
/// inherit locks.)
#[test]
fn a_child_calls_early() {
    alone("a_child_calls_early", || {
        fn look() {
            assert_eq!(SecretStack::lock_state(), Some(Ok(())));
            let here = 0_u8;
            let flags = flags_of(std::ptr::from_ref(black_box(&here)).addr());
            assert!(flags.iter().any(|flag| flag == "lo"), "{flags:?}");
        }
        fn call() {
            on_secret_stack(look);
        }
        call(); // the stack is kept
        in_early_child(call, || assert_eq!(on_secret_stack(|| 6 * 7), 42));
        // The child begins on the stack.
        on_secret_stack(|| in_early_child(look, look));
    });
}

static HANDLER_FRAME: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note_frame(_: libc::c_int) {
    let mark = black_box(MARK);
    HANDLER_FRAME.store(black_box(&mark).as_ptr().addr(), Ordering::Relaxed);
}

extern "C" fn wipe(_: libc::c_int) {
    // SAFETY: the values that the test uses afterwards are plain data.
    unsafe { wipe_everything() };
}

fn catch(signal: i32, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: the handlers call only what handlers may call.
    unsafe { libc::signal(signal, handler as libc::sighandler_t) };
}

#[test]
fn a_signal_handlers_frame_is_wiped() {
    alone("a_signal_handlers_frame_is_wiped", || {
        catch(libc::SIGUSR1, note_frame);
        let here = on_secret_stack(|| {
            let here = 0_u8;
            // SAFETY: the handler returns.
            unsafe { libc::raise(libc::SIGUSR1) };
            std::ptr::from_ref(&here).addr()
        });
        let frame = HANDLER_FRAME.load(Ordering::Relaxed);
        assert!(here.abs_diff(frame) < SecretStack::DEFAULT_SIZE, "on another stack");
        assert_stack_wiped(frame);
    });
}

#[test]
fn the_panic_button_on_a_secret_stack() {
    alone("the_panic_button_on_a_secret_stack", || {
        catch(libc::SIGUSR1, wipe);
        let key = SecureBox::new([1_u8; 32]);
        let sum = on_secret_stack(|| {
            on_secret_stack(|| {
                let deep = leave_mark(20);
                assert!(is_marked(deep));
                // SAFETY: the handler returns.
                unsafe { libc::raise(libc::SIGUSR1) };
                assert!(!is_marked(deep));
                6
            }) * 7
        });
        assert_eq!((sum, key.expose_secret()), (42, &[0; 32]));
    });
}

/// Where the function has left its mark.
static LEFT: AtomicUsize = AtomicUsize::new(0);
/// How often a handler on the ordinary stack has found the mark, and how often still after a wipe.
static FOUND: AtomicUsize = AtomicUsize::new(0);
static FOUND_STILL: AtomicUsize = AtomicUsize::new(0);

extern "C" fn wipe_what_is_left(_: libc::c_int) {
    let left = LEFT.load(Ordering::Relaxed);
    let here = 0_u8;
    let is_found = || {
        let left = std::ptr::with_exposed_provenance::<u8>(left);
        // SAFETY: the stack is kept by the thread, which is interrupted, and so mapped.
        (0..64).any(|at| unsafe { left.add(at).read_volatile() } == MARK[0])
    };
    let is_near = std::ptr::from_ref(&here).addr().abs_diff(left) < SecretStack::DEFAULT_SIZE;
    if left == 0 || is_near || !is_found() {
        return;
    }
    FOUND.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the test uses no secret.
    unsafe { wipe_everything() };
    FOUND_STILL.fetch_add(usize::from(is_found()), Ordering::Relaxed);
}

/// The function has returned, and its stack is not wiped yet.
#[test]
fn the_panic_button_before_the_wipe() {
    alone("the_panic_button_before_the_wipe", || {
        on_secret_stack(|| ());
        catch(libc::SIGUSR1, wipe_what_is_left);
        // SAFETY: no preconditions.
        let this_thread = unsafe { libc::pthread_self() };
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let _over = EndsWhenDropped(&is_over);
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // SAFETY: the thread waits for this one.
                    assert_eq!(unsafe { libc::pthread_kill(this_thread, libc::SIGUSR1) }, 0);
                    thread::sleep(Duration::from_micros(100));
                }
            });
            while FOUND.load(Ordering::Relaxed) < 200 {
                on_secret_stack(|| {
                    let address = leave_mark(40);
                    // A handler finds it when this thread has left the stack.
                    LEFT.store(address, Ordering::Relaxed);
                });
            }
        });
        let (found, still) = (&FOUND, &FOUND_STILL);
        let (found, still) = (found.load(Ordering::Relaxed), still.load(Ordering::Relaxed));
        // In the first few instructions it looks as if the thread went back to the stack.
        assert!(still < found / 2, "{still} of {found}");
    });
}

#[test]
fn the_panic_button_wipes_other_threads_stacks() {
    ends_by(0, "the_panic_button_wipes_other_threads_stacks", || {
        let (address, barrier) = (AtomicUsize::new(0), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                on_secret_stack(|| {
                    let mark = black_box(MARK);
                    address.store(mark.as_ptr().addr(), Ordering::Relaxed);
                    barrier.wait();
                    // It would not find its way back.
                    loop {
                        thread::park();
                    }
                });
            });
            barrier.wait();
            let address = address.load(Ordering::Relaxed);
            assert!(is_marked(address));
            // SAFETY: the other thread never runs again, as this one ends the process.
            unsafe { wipe_everything() };
            let status = i32::from(is_marked(address));
            // SAFETY: ends the process.
            unsafe { libc::_exit(status) };
        });
    });
}

#[test]
fn an_exit_within() {
    ends_by(0, "an_exit_within", || {
        on_secret_stack(|| {
            on_secret_stack(|| {
                leave_mark(10);
                std::process::exit(0);
            });
        });
    });
}

/// Destructors of thread-local variables may come after the thread has given its stacks back.
#[test]
fn late_in_a_threads_life() {
    struct Late;
    impl Drop for Late {
        fn drop(&mut self) {
            assert_eq!(on_secret_stack(|| 6 * 7), 42);
        }
    }
    thread_local!(static LATE: Late = const { Late });
    let ends = || {
        LATE.with(|_| ());
        on_secret_stack(|| ());
    };
    thread::spawn(ends).join().unwrap();
}

#[inline(never)]
fn function_on_a_secret_stack<R>(then: impl FnOnce() -> R) -> R {
    black_box(then())
}

#[test]
fn a_backtrace_goes_through() {
    #[inline(never)]
    fn caller_of_a_secret_stack() -> String {
        let capture = || Backtrace::force_capture().to_string();
        black_box(on_secret_stack(|| function_on_a_secret_stack(capture)))
    }
    let trace = caller_of_a_secret_stack();
    for name in ["function_on_a_secret_stack", "caller_of_a_secret_stack"] {
        assert!(trace.contains(name), "{name} is not in\n{trace}");
    }
}

#[test]
fn gdb_finds_its_way() {
    const WAITS: &str = "BITCOIN_SUPPORT_TEST_WAITS";
    #[inline(never)]
    fn caller_of_a_secret_stack() {
        let wait = || {
            println!("here");
            thread::park();
        };
        on_secret_stack(|| function_on_a_secret_stack(wait));
        black_box(());
    }
    if std::env::var_os(WAITS).is_some() {
        return caller_of_a_secret_stack();
    }
    if Command::new("gdb").arg("--version").output().is_err() {
        println!("skipped: no gdb");
        return;
    }
    let mut child = common::this_program::this_program()
        .args(["--exact", "gdb_finds_its_way", "--nocapture"])
        .env(WAITS, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    let has_come = std::io::BufRead::lines(out).any(|line| line.unwrap().ends_with("here"));
    assert!(has_come);
    let gdb = Command::new("gdb")
        .args(["--batch", "-nx", "-p", &child.id().to_string(), "-ex", "thread apply all bt"])
        .output()
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let text = String::from_utf8_lossy(&gdb.stdout) + String::from_utf8_lossy(&gdb.stderr);
    if text.contains("ptrace:") || text.contains("Could not attach") {
        println!("skipped: gdb may not trace");
        return;
    }
    for name in ["function_on_a_secret_stack", "caller_of_a_secret_stack"] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
}
