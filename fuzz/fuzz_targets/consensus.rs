//! Decodes any bytes as any type of Bitcoin's consensus encoding:
//! `cargo +nightly fuzz run consensus`. `fuzz/harness/consensus.rs` says what the target does and
//! what it checks.

#![no_main]
#![allow(dead_code, reason = "only the replay in tests/fuzz.rs makes mistakes on purpose")]

#[path = "../harness/consensus.rs"]
mod consensus;
#[path = "../harness/fault.rs"]
mod fault;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| consensus::run(data));
