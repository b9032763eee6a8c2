//! The checked-in header is what cbindgen makes of `src/ffi.rs`, and the library exports exactly the
//! functions that it declares.

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs};

fn generated() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("valid config");
    let mut text = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("src/ffi.rs"))
        .generate()
        .expect("src/ffi.rs can be parsed")
        .write(&mut text);
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
        "include/bitcoin_support.h differs from src/ffi.rs: run `UPDATE_HEADER=1 cargo test --test header`"
    );
}

/// Names of the functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = include_str!("../include/bitcoin_support.h");
    let code = header.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.filter(|line| !line.starts_with(' ') && !line.starts_with("typedef"))
        .filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("bitcoin_support_") || *name == "memory_cleanse")
        .map(str::to_owned)
        .collect()
}

/// The shared library that cargo built for these tests exports what the header declares, and not one
/// symbol more: nothing of Rust's standard library, nothing of our dependencies.
#[cfg(target_os = "linux")]
#[test]
fn exports_are_the_declarations() {
    use object::{Object, ObjectSymbol};
    let tests = env::current_exe().expect("a path");
    let deps =
        tests.parent().expect("tests lie in a folder, with the library they were built with");
    let library = fs::read(deps.join("libbitcoin_support.so")).expect("cargo built the library");
    let library = object::File::parse(&*library).expect("an ELF file");
    let exported: BTreeSet<String> = library
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition())
        .map(|symbol| symbol.name().expect("UTF-8").to_owned())
        // The `bitcoin` crate's C code calls these back. The library for C is built without features.
        .filter(|name| cfg!(not(feature = "consensus")) || !name.starts_with("rustsecp256k1_"))
        .collect();
    assert!(exported.len() > 20);
    assert_eq!(exported, declared());
}
