//! A pool over a page allocator that does as the input says: `cargo +nightly fuzz run page_allocator`. What is done and what must hold stands in `tests/fuzz/page_allocator.rs`.

#![no_main]
#![allow(dead_code, reason = "the replay in tests/fuzz uses more of these")]

#[path = "../../tests/fuzz/page_allocator.rs"]
mod page_allocator;
#[path = "../../tests/fuzz/input.rs"]
mod input;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| page_allocator::run(data));
