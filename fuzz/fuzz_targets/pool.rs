//! Pools over the system's pages, the process-wide one among them: `cargo +nightly fuzz run pool`. What is done and what must hold stands in `tests/fuzz/pool.rs`.

#![no_main]
#![allow(dead_code, reason = "the replay in tests/fuzz uses more of these")]

#[path = "../../tests/fuzz/pool.rs"]
mod pool;
#[path = "../../tests/fuzz/input.rs"]
mod input;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| pool::run(data));
