//! Calls the functions of the C header with any arguments that it permits:
//! `cargo +nightly fuzz run c_abi`. `fuzz/harness/c_abi.rs` says what the target does and what it
//! checks.

#![no_main]
#![allow(dead_code, reason = "only the replay in tests/fuzz.rs makes mistakes on purpose")]

#[path = "../harness/c_abi.rs"]
mod c_abi;
#[path = "../harness/fault.rs"]
mod fault;
#[path = "../harness/input.rs"]
mod input;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| c_abi::run(data));
