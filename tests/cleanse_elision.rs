//! The optimizer keeps `cleanse` and removes an ordinary fill. Both run on a buffer of the heap
//! that is freed right afterwards, in an optimized build with link-time optimization of all Rust
//! code. (`cpp_tests/cleanse_elision.cpp` tests C++, and a buffer on the stack.)

#![cfg(target_os = "linux")]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;

const SECRET: u8 = 0xa7;
const LEN: usize = 1000;
/// The first bytes of a freed block, where the heap may write its links.
const LINKS: usize = 100;

/// Uses a secret on the heap, wipes it and frees it. Returns whether the secret is in memory
/// afterwards, as the kernel reads it.
#[inline(always)]
fn is_left_by(wipe: impl FnOnce(&mut [u8])) -> bool {
    let memory = File::open("/proc/self/mem").unwrap();
    let mut left = [0; LEN - LINKS];
    let mut secret = Box::new([SECRET; LEN]);
    let addr = black_box(&mut *secret).as_ptr().expose_provenance();
    wipe(secret.as_mut_slice());
    drop(secret);
    memory.read_exact_at(&mut left, (addr + LINKS) as u64).unwrap();
    left == [SECRET; LEN - LINKS]
}

#[test]
fn the_optimizer_leaves_the_wipe() {
    assert!(!is_left_by(bitcoin_support::cleanse));
    // SAFETY: an exclusive slice is writable over its length.
    assert!(!is_left_by(|s| unsafe { bitcoin_support::memory_cleanse(s.as_mut_ptr(), s.len()) }));
}

#[test]
fn control_the_optimizer_takes_a_fill_out() {
    assert!(is_left_by(|_| ()), "a secret that is not wiped is found");
    if cfg!(debug_assertions) {
        println!("skipped: this build is not optimized");
        return;
    }
    assert!(is_left_by(|secret| secret.fill(0)));
}
