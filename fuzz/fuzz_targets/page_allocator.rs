//! Uses a pool over a page allocator that obeys the input:
//! `cargo +nightly fuzz run page_allocator`. `fuzz/harness/page_allocator.rs` says what the target
//! does and what it checks.

#![no_main]
#![allow(dead_code, reason = "only the replay in tests/fuzz.rs makes mistakes on purpose")]

#[path = "../harness/fault.rs"]
mod fault;
#[path = "../harness/input.rs"]
mod input;
#[path = "../harness/page_allocator.rs"]
mod page_allocator;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| page_allocator::run(data));
