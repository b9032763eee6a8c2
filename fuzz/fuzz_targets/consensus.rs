//! Any bytes as any type of Bitcoin's consensus encoding: `cargo +nightly fuzz run consensus`. What is done
//! and what must hold stands in `tests/fuzz/consensus.rs`.

#![no_main]
#![allow(dead_code, reason = "the replay in tests/fuzz uses more of these")]

#[path = "../../tests/fuzz/consensus.rs"]
mod consensus;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| consensus::run(data));
