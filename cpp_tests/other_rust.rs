//! A static library in Rust that is no part of this project, as a node may have one: it allocates,
//! starts threads, and unwinds.

use std::panic::catch_unwind;
use std::thread;

/// The sum of the numbers below `end`, by a thread, or 0 if `end` is 0, by a panic that is caught.
#[unsafe(no_mangle)]
pub extern "C" fn other_sum(end: u64) -> u64 {
    std::panic::set_hook(Box::new(|_| {}));
    let numbers: Vec<u64> = (0..end).collect();
    let sum = thread::spawn(move || {
        catch_unwind(|| {
            assert!(!numbers.is_empty());
            numbers.iter().sum()
        })
    });
    sum.join().unwrap_or(Ok(1)).unwrap_or(0)
}
