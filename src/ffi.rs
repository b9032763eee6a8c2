//! The C ABI: every exported symbol, declared for C in `include/bitcoin_support.h`.
//!
//! Functions here translate handles, pointers, options and errors, and do nothing else. Each file
//! holds one C type or one group of functions. cbindgen makes the header from these files, and the
//! doc comments on public items are the header's text. The order of the files in the header is the
//! order of the list in `tests/header.rs`.
//!
//! A panic does not leave a function here: unwinding out of `extern "C"` aborts the process.
//!
//! # Safety
//! All unsafe functions here share one contract, which the header states at its top as conventions:
//!
//! - an object is null or live, and not used by another thread unless its type says it may be;
//! - every other pointer is valid for what the function does with it;
//! - a chunk that is freed is not used afterwards;
//! - callbacks return normally.
//!
//! Where a SAFETY comment says "the caller promises", it refers to this contract.

// cbindgen reads only what is `pub`, and a C type has a C name. The symbols are exported by
// `no_mangle`; Rust code does not see them.
#![allow(unreachable_pub, non_camel_case_types)]

mod arena;
mod buffer;
mod cleanse;
mod closed;
mod exit;
mod fallible_box;
mod handle;
mod handle_table;
mod harden;
mod lock_limit;
mod options;
mod page_allocator;
mod pool;
mod protection;
mod sampling;
mod sealed;
mod secret_stack;
mod sized;
mod stats;
mod status;
mod unique_name;
mod version;
mod visit;
