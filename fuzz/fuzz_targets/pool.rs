//! Uses pools over the system's pages and the process-wide pool: `cargo +nightly fuzz run pool`.
//! `fuzz/harness/pool.rs` says what the target does and what it checks.

#![no_main]
#![allow(dead_code, reason = "only the replay in tests/fuzz.rs makes mistakes on purpose")]

#[path = "../harness/fault.rs"]
mod fault;
#[path = "../harness/input.rs"]
mod input;
#[path = "../harness/pool.rs"]
mod pool;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| pool::run(data));
