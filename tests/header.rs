//! The committed header is what cbindgen makes of the files in `src/ffi`, and every status in it
//! has a name. (`dependents.rs` compares the header with the symbols that the library exports.)

use core::ffi::{CStr, c_char, c_int};
use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs};

/// The files of `src/ffi` that declare something for C, in the order of the header.
const DECLARING: [&str; 19] = [
    "version",
    "status",
    "cleanse",
    "unique_name",
    "buffer",
    "visit",
    "arena",
    "protection",
    "lock_limit",
    "page_allocator",
    "options",
    "pool",
    "stats",
    "sampling",
    "sealed",
    "exit",
    "secret_stack",
    "closed",
    "harden",
];
/// The files of `src/ffi` that declare nothing for C.
const INTERNAL: [&str; 4] = ["fallible_box", "handle", "handle_table", "sized"];

fn generated() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("valid config");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in DECLARING {
        builder = builder.with_src(root.join(format!("src/ffi/{name}.rs")));
    }
    let mut text = Vec::new();
    builder.generate().expect("the files of src/ffi can be parsed").write(&mut text);
    String::from_utf8(text).expect("UTF-8")
}

#[test]
fn header_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/bitcoin_support.h");
    let generated = generated();
    if env::var_os("UPDATE_HEADER").is_some() {
        fs::write(&path, &generated).expect("the header can be written");
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "include/bitcoin_support.h differs from src/ffi: run `UPDATE_HEADER=1 cargo test --test header`"
    );
}

#[test]
fn header_is_made_of_every_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ffi");
    let files: BTreeSet<String> = fs::read_dir(folder)
        .expect("src/ffi can be read")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    let listed = DECLARING.iter().chain(&INTERNAL).map(|name| (*name).to_owned()).collect();
    assert_eq!(files, listed, "list each file of src/ffi in tests/header.rs");
}

#[test]
fn every_status_has_its_name() {
    // The linker takes the exported functions only if something refers to the crate.
    let _ = bitcoin_support::page_size();
    unsafe extern "C" {
        safe fn bitcoin_support_status_name(status: c_int) -> *const c_char;
    }
    let header = generated();
    let body = header.split("enum bitcoin_support_status {").nth(1).expect("the enum");
    let body = body.split('}').next().expect("its end");
    let statuses = body.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "));
    let mut count = 0;
    for (name, number) in statuses {
        let number = number.parse().expect("a number");
        // SAFETY: for every number the function returns a static text that ends in a zero.
        let found = unsafe { CStr::from_ptr(bitcoin_support_status_name(number)) };
        let is_limit = name == "BITCOIN_SUPPORT_STATUS_LIMIT";
        assert_eq!(found.to_str(), Ok(if is_limit { "BITCOIN_SUPPORT_UNKNOWN" } else { name }));
        count += 1;
    }
    assert!(count >= 16, "only {count} statuses were found in the header");
}
