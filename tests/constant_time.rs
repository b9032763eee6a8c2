//! A comparison of secrets takes the same number of instructions wherever they differ. The test
//! steps through a child process to count them. The count of an ordinary comparison shows where the
//! first difference is.

#![cfg(target_os = "linux")]

use bitcoin_support::{SecureBox, SecureString, SecureVec, SerializeData};
use std::hint::black_box;

/// Few bytes: in a debug build each takes a few hundred steps. The control uses more.
const LEN: usize = 16;
const LONG: usize = 1000;

/// A text. With `differs_at`, the character at that place is another one.
fn text(len: usize, differs_at: Option<usize>) -> String {
    (0..len)
        .map(|i| if Some(i) == differs_at { '!' } else { char::from(b'a' + (i % 23) as u8) })
        .collect()
}

/// The number of instructions that a child process takes for `compare`; `None` if this process may
/// not step through it.
fn instructions(compare: &dyn Fn() -> bool, expected: bool) -> Option<u64> {
    assert_eq!(compare(), expected); // also has the linker find its functions
    // SAFETY: the child compares, between two stops, and ends.
    unsafe {
        // Steps are faster on one processor.
        let mut processors: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu() as usize, &mut processors);
        libc::sched_setaffinity(0, size_of_val(&processors), &processors);
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let nothing = std::ptr::null_mut::<libc::c_void>();
            if libc::ptrace(libc::PTRACE_TRACEME, 0, nothing, nothing) != 0 {
                libc::_exit(1);
            }
            libc::raise(libc::SIGSTOP);
            black_box(compare());
            libc::raise(libc::SIGSTOP);
            libc::_exit(0);
        }
        let nothing = std::ptr::null_mut::<libc::c_void>();
        let mut status = 0;
        let mut wait = || {
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            status
        };
        let status = wait();
        if !(libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGSTOP) {
            return None;
        }
        let mut count = 0;
        loop {
            if libc::ptrace(libc::PTRACE_SINGLESTEP, child, nothing, nothing) != 0 {
                libc::kill(child, libc::SIGKILL);
                wait();
                return None;
            }
            let status = wait();
            assert!(libc::WIFSTOPPED(status), "the child has ended: {status:#x}");
            if libc::WSTOPSIG(status) == libc::SIGSTOP {
                break;
            }
            count += 1;
        }
        libc::kill(child, libc::SIGKILL);
        wait();
        Some(count)
    }
}

/// The counts for texts that differ at the beginning, at the end, and not at all.
fn counts<T, R>(
    len: usize,
    make: fn(String) -> T,
    right: fn(String) -> R,
    equal: fn(&T, &R) -> bool,
) -> Option<[u64; 3]> {
    let left = make(text(len, None));
    let mut counts = [0; 3];
    for (count, differs_at) in counts.iter_mut().zip([Some(0), Some(len - 1), None]) {
        let right = right(text(len, differs_at));
        *count =
            instructions(&|| equal(black_box(&left), black_box(&right)), differs_at.is_none())?;
    }
    Some(counts)
}

#[test]
fn equality_takes_the_same_instructions_wherever_secrets_differ() {
    fn array(text: String) -> SecureBox<[u8; LEN]> {
        SecureBox::new(text.into_bytes().try_into().unwrap())
    }
    let all = [
        counts(LEN, SecureString::from, SecureString::from, |a, b| a == b),
        counts(LEN, SecureString::from, String::from, |a, b| *a == **b),
        counts(
            LEN,
            |s| SecureVec::from(s.into_bytes()),
            |s| SecureVec::from(s.into_bytes()),
            |a, b| a == b,
        ),
        counts(LEN, |s| SecureVec::from(s.into_bytes()), String::into_bytes, |a, b| *a == **b),
        counts(LEN, array, array, |a, b| a == b),
        counts(
            LEN,
            |s| SerializeData::from(s.into_bytes()),
            |s| SerializeData::from(s.into_bytes()),
            |a, b| a == b,
        ),
    ];
    for counts in all {
        let Some(counts) = counts else {
            println!("skipped: this process may not step through its children");
            return;
        };
        assert!(counts[0] > LEN as u64 && counts == [counts[0]; 3], "{counts:?}");
    }
}

#[test]
fn control_ordinary_equality_tells_where() {
    let Some(counts) = counts(LONG, String::from, String::from, |a, b| a == b) else {
        println!("skipped: this process may not step through its children");
        return;
    };
    assert!(counts[0] < counts[1], "{counts:?}");
}
