//! Makes secrets of any bytes, as texts and as the inputs of readers:
//! `cargo +nightly fuzz run ways_in`. `fuzz/harness/ways_in.rs` says what the target does and what
//! it checks.

#![no_main]
#![allow(dead_code, reason = "only the replay in tests/fuzz.rs makes mistakes on purpose")]

#[path = "../harness/fault.rs"]
mod fault;
#[path = "../harness/input.rs"]
mod input;
#[path = "../harness/ways_in.rs"]
mod ways_in;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ways_in::run(data));
