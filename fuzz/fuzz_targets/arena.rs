//! Compares an `Arena` with a model of it: `cargo +nightly fuzz run arena`.
//! `fuzz/harness/arena.rs` says what the target does and what it checks.

#![no_main]
#![allow(dead_code, reason = "only the replay in tests/fuzz.rs makes mistakes on purpose")]

#[path = "../harness/arena.rs"]
mod arena;
#[path = "../harness/fault.rs"]
mod fault;
#[path = "../harness/input.rs"]
mod input;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| arena::run(data));
