//! Compares the secret types with `Vec` and `String`: `cargo +nightly fuzz run secure_types`.
//! `fuzz/harness/secure_types.rs` says what the target does and what it checks.

#![no_main]
#![allow(dead_code, reason = "only the replay in tests/fuzz.rs makes mistakes on purpose")]

#[path = "../harness/fault.rs"]
mod fault;
#[path = "../harness/input.rs"]
mod input;
#[path = "../harness/secure_types.rs"]
mod secure_types;
#[path = "../harness/witness.rs"]
mod witness;

use libfuzzer_sys::fuzz_target;

#[global_allocator]
static HEAP: witness::Witness = witness::Witness;

/// AddressSanitizer treats a request for more memory than can exist as an error. This target makes
/// such requests on purpose.
#[unsafe(no_mangle)]
extern "C" fn __asan_default_options() -> *const std::ffi::c_char {
    c"allocator_may_return_null=1".as_ptr()
}

fuzz_target!(|data: &[u8]| secure_types::run(data));
