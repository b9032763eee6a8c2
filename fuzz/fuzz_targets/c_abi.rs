//! The functions of the C header, with any arguments that it permits: `cargo +nightly fuzz run c_abi`. What is done and what must hold stands in `tests/fuzz/c_abi.rs`.

#![no_main]
#![allow(dead_code, reason = "the replay in tests/fuzz uses more of these")]

#[path = "../../tests/fuzz/c_abi.rs"]
mod c_abi;
#[path = "../../tests/fuzz/input.rs"]
mod input;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| c_abi::run(data));
