//! Any operations on sealed secrets and secret stacks: `cargo +nightly fuzz run at_rest`.
//! `fuzz/harness/at_rest.rs` says what the target does and what it checks.

#![no_main]
#![allow(dead_code, reason = "only the replay in tests/fuzz.rs makes mistakes on purpose")]

#[path = "../harness/at_rest.rs"]
mod at_rest;
#[path = "../harness/fault.rs"]
mod fault;
#[path = "../harness/input.rs"]
mod input;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| at_rest::run(data));
