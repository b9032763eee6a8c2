//! Builds programs that depend on the crate. A Rust program gets one Rust library. The libraries
//! for C are built only when they are asked for by name, and export exactly the functions that the
//! header declares.
//!
//! The programs are built offline, by the cargo that runs these tests, from the versions in
//! Cargo.lock.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Runs cargo in `directory` with `target` as its target directory, and returns what it printed.
fn cargo(directory: &Path, target: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env::var_os("CARGO").expect("tests run under cargo"))
        .args(arguments)
        .arg("--offline")
        .arg("--target-dir")
        .arg(target)
        .current_dir(directory)
        // The flags for these tests are not the flags for the programs.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        // Built for their names and symbols.
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_TERM_COLOR", "never")
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "cargo {arguments:?} in {}:\n{text}", directory.display());
    text
}

/// An empty folder for one test, which lies in cargo's target directory.
fn empty_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

/// A program in `folder`/`name` that depends on the crate by its path, with `profile` in its
/// manifest.
fn program(folder: &Path, name: &str, profile: &str) -> PathBuf {
    let program = folder.join(name);
    fs::create_dir_all(program.join("src")).expect("a folder can be made");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\nbitcoin-support = {{ path = {ROOT:?} }}\n\n{profile}"
    );
    fs::write(program.join("Cargo.toml"), manifest).expect("the manifest can be written");
    fs::copy(Path::new(ROOT).join("Cargo.lock"), program.join("Cargo.lock")).expect("a copy");
    write_main(&program);
    program
}

/// Writes the program's source, so that cargo sees a change.
fn write_main(program: &Path) {
    let source = "fn main() {\n    println!(\"{:?}\", bitcoin_support::SecureBox::<[u8; 32]>::zeroed());\n}\n\n\
                  #[test]\nfn works() {\n    main();\n}\n";
    fs::write(program.join("src/main.rs"), source).expect("the source can be written");
}

/// The names of the crate's libraries in one of cargo's folders, without the hash that cargo adds.
fn libraries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("cargo's folder can be read")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.contains("bitcoin_support"))
        .filter(|name| {
            [".rlib", ".a", ".so", ".dylib", ".dll", ".lib"].iter().any(|end| name.ends_with(end))
        })
        .map(|name| match name.split_once('-') {
            Some((stem, rest)) => {
                format!("{stem}-HASH{}", &rest[rest.find('.').expect("an end")..])
            }
            None => name,
        })
        .collect();
    names.sort();
    names
}

/// A program that depends on the crate gets one Rust library under a separate name for each way in
/// which it is built, and no library for C. Programs with other settings share the target
/// directory, and cargo does not build the crate anew for each in turn. The control asks for the
/// libraries for C, and the same look finds them.
#[test]
fn rust_programs_get_a_rust_library_alone() {
    let folder = empty_folder("dependents");
    let target = folder.join("target");
    let unwinding = program(&folder, "unwinding", "");
    let aborting = program(&folder, "aborting", "[profile.dev]\npanic = \"abort\"\n");

    cargo(&unwinding, &target, &["test"]);
    assert_eq!(libraries(&target.join("debug/deps")), ["libbitcoin_support-HASH.rlib"]);
    assert_eq!(libraries(&target.join("debug")), [""; 0]);

    cargo(&aborting, &target, &["build"]);
    cargo(&aborting, &target, &["test"]);
    assert_eq!(libraries(&target.join("debug/deps")), ["libbitcoin_support-HASH.rlib"; 2]);
    assert_eq!(libraries(&target.join("debug")), [""; 0]);

    for program in [&unwinding, &aborting, &unwinding] {
        write_main(program);
        let said = cargo(program, &target, &["build"]);
        assert!(!said.contains("Compiling bitcoin-support"), "{}:\n{said}", program.display());
        assert!(!said.contains("collision"), "{said}");
    }

    for_c(&target);
}

/// The shared library exports the functions that the header declares, and no other symbol of Rust's
/// standard library or of a dependency.
fn for_c(target: &Path) {
    use object::{Object, ObjectSymbol};

    let said = cargo(
        Path::new(ROOT),
        target,
        &["rustc", "--locked", "--lib", "--crate-type", "cdylib,staticlib"],
    );
    assert!(!said.contains("warning"), "{said}");
    assert_eq!(libraries(&target.join("debug")), ["libbitcoin_support.a", "libbitcoin_support.so"]);

    let library = fs::read(target.join("debug/libbitcoin_support.so")).expect("cargo built it");
    let library = object::File::parse(&*library).expect("an ELF file");
    let exported: BTreeSet<String> = library
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition())
        .map(|symbol| symbol.name().expect("UTF-8").to_owned())
        .collect();
    assert!(exported.len() > 20);
    assert_eq!(exported, declared());
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
