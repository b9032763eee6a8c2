//! An `Arena` beside a model of it: `cargo +nightly fuzz run arena`. What is done and what must hold stands in `tests/fuzz/arena.rs`.

#![no_main]
#![allow(dead_code, reason = "the replay in tests/fuzz uses more of these")]

#[path = "../../tests/fuzz/arena.rs"]
mod arena;
#[path = "../../tests/fuzz/input.rs"]
mod input;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| arena::run(data));
