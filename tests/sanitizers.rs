//! Deliberate faults, which `scripts/sanitize` expects the sanitizers to report. Without that
//! script this file is empty.

#![cfg(bitcoin_support_sanitizer)]

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

struct Unguarded(UnsafeCell<u64>);

// SAFETY: none; this is the fault.
unsafe impl Sync for Unguarded {}

impl Unguarded {
    fn add(&self) {
        // SAFETY: none; this is the fault.
        unsafe { *self.0.get() += 1 };
    }
}

#[test]
#[ignore = "a fault, on purpose"]
fn data_race() {
    let (number, ready) = (Unguarded(UnsafeCell::new(0)), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Both threads have arrived. That does not order their accesses.
                ready.fetch_add(1, Ordering::Relaxed);
                while ready.load(Ordering::Relaxed) < 2 {
                    std::thread::yield_now();
                }
                (0..1000).for_each(|_| number.add());
            });
        }
    });
    black_box(number.0.into_inner());
}

/// Like a gate of the pool, but the thread that leaves does not release: the next thread does not
/// see what it did.
#[test]
#[ignore = "a fault, on purpose"]
fn race_past_a_gate() {
    let (busy, over) = (AtomicBool::new(true), AtomicBool::new(false));
    let number = Unguarded(UnsafeCell::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            number.add();
            busy.store(false, Ordering::Relaxed);
            while !over.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        });
        while busy.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        number.add();
        over.store(true, Ordering::Relaxed);
    });
    black_box(number.0.into_inner());
}

#[test]
#[ignore = "a fault, on purpose"]
fn use_after_free() {
    let number = Box::into_raw(Box::new(7_u8));
    // SAFETY: it came from a box; the second line is the fault.
    unsafe { drop(Box::from_raw(black_box(number))) };
    // SAFETY: none; this is the fault.
    assert_eq!(black_box(unsafe { number.read_volatile() }), 7);
}

#[test]
#[ignore = "a fault, on purpose"]
fn leak() {
    for _ in 0..100 {
        black_box(Box::into_raw(black_box(Box::new([1_u64; 100]))));
    }
}
