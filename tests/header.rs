//! The checked-in header is what cbindgen makes of `src/ffi.rs`. (`dependents.rs` compares it with what the
//! library exports.)

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
