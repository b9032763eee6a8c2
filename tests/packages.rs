//! The two packages that are published can be: cargo packs both, builds each from what it has
//! packed, and installs the command. What the README links to is in the package. The packages for
//! vcpkg, Conan and Debian repeat some facts of the checkout, and repeat them rightly.
//!
//! Only in a checkout: the packed crate does not have this test. Nor has a run under a sanitizer,
//! which cargo's work does not concern.

#![cfg(all(target_os = "linux", not(bitcoin_support_sanitizer)))]

use std::path::Path;
use std::process::Command;
use std::{env, fs};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Runs cargo in the checkout, and returns what it printed. Without the network, unless a crate for
/// another system has not been fetched.
fn cargo(arguments: &[&str]) -> String {
    let run = |more: &[&str]| {
        Command::new(env::var_os("CARGO").expect("tests run under cargo"))
            .args(arguments)
            .args(more)
            .current_dir(ROOT)
            // The flags for these tests are not the flags for the packages.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_BUILD_TARGET")
            // The workspace's profile, which a package alone does not have.
            .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
            .env("CARGO_TERM_COLOR", "never")
            .output()
            .expect("cargo runs")
    };
    let mut output = run(&["--offline"]);
    if !output.status.success() {
        output = run(&[]);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}:\n{error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The files that cargo packs.
fn packed(package: &str) -> Vec<String> {
    let list = cargo(&["package", "-p", package, "--list", "--allow-dirty"]);
    list.lines().map(str::to_owned).collect()
}

/// The second number of cargo's version, which begins with `1.`.
fn cargo_minor() -> u32 {
    let version = cargo(&["--version"]);
    let minor = version.strip_prefix("cargo 1.").and_then(|rest| rest.split_once('.'));
    minor.and_then(|it| it.0.parse().ok()).expect("cargo 1.x")
}

#[test]
fn both_are_built_from_what_is_packed() {
    // One needs the other, which is in no registry yet. Cargo packs the two together from 1.90 on.
    if cargo_minor() < 90 {
        println!("skipped: packages that need each other, which cargo 1.90 packs");
        return;
    }
    // Where the tests are built too: most dependencies are the same.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("in the target directory");
    // What was packed before must not be taken for what is packed now.
    let _ = fs::remove_dir_all(folder.join("package"));
    let target = folder.to_str().expect("UTF-8");
    cargo(&[
        "package",
        "-p",
        "bitcoin-support",
        "-p",
        "bitcoin-support-command",
        "--allow-dirty",
        "--locked",
        "--target-dir",
        target,
    ]);
    for package in ["bitcoin-support", "bitcoin-support-command"] {
        let version = env!("CARGO_PKG_VERSION");
        let file = folder.join(format!("package/{package}-{version}.crate"));
        assert!(file.is_file(), "{}", file.display());
    }
    assert!(!include_str!("../command/Cargo.toml").contains("publish = false"));
    // As much of `cargo install bitcoin-support-command` as works without a registry.
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("installed");
    let _ = fs::remove_dir_all(&root);
    let place = root.to_str().expect("UTF-8");
    cargo(&[
        "install",
        "--path",
        "command",
        "--debug",
        "--locked",
        "--no-track",
        "--root",
        place,
        "--target-dir",
        target,
    ]);
    let said = Command::new(root.join("bin/bitcoin-support")).arg("--version").output();
    let said = String::from_utf8(said.expect("it is installed").stdout).expect("UTF-8");
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
}

/// Conan's recipe reads the version where it is, and vcpkg's manifest must repeat it.
#[test]
fn the_port_has_the_version() {
    let manifest = include_str!("../packaging/vcpkg/bitcoin-support/vcpkg.json");
    let version = format!("\n  \"version\": \"{}\",\n", env!("CARGO_PKG_VERSION"));
    assert!(manifest.contains(&version), "packaging/vcpkg: not the version of Cargo.toml");
}

/// The build of the Debian package fails at a function that is listed and not declared. It adds the
/// functions that are declared and not listed.
#[test]
fn the_debian_package_lists_functions_of_the_header() {
    let header = include_str!("../include/bitcoin_support.h");
    let list = include_str!("../packaging/debian/libbitcoin-support.symbols");
    // The first one is the version of the others.
    let listed = list.lines().filter_map(|line| line.strip_prefix(' ')?.split_once('@')).skip(1);
    let listed: Vec<_> = listed.map(|(name, _)| name).collect();
    assert!(listed.len() > 50, "{listed:?}");
    for name in listed {
        let is_declared = |before| header.contains(&format!("{before}{name}("));
        assert!(is_declared(' ') || is_declared('*'), "packaging/debian: {name} is not declared");
    }
}

/// Conan copies what CMake and cargo need of the checkout: each package of the workspace, and each
/// folder that CMake installs from.
#[test]
fn the_recipe_has_the_workspace() {
    let recipe = include_str!("../packaging/conan/conanfile.py");
    let folders = recipe.lines().find(|line| line.contains("for folder in (\"benches\"")).unwrap();
    let (_, members) = include_str!("../Cargo.toml").split_once("\nmembers = [").unwrap();
    let members = members.split(']').next().unwrap().split('"').skip(1).step_by(2);
    let needed: Vec<_> = members.chain(["cmake", "include", "integrations", "src"]).collect();
    assert!(needed.len() > 4);
    for folder in needed {
        assert!(folders.contains(&format!("\"{folder}\"")), "packaging/conan: {folder} is missing");
    }
}

#[test]
fn what_the_readme_links_to_is_packed() {
    let packed = packed("bitcoin-support");
    let readme = include_str!("../README.md");
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|it| it.0);
    let mut count = 0;
    for link in links.filter(|link| !link.starts_with('#') && !link.contains("://")) {
        let file = link.split('#').next().expect("a path");
        assert!(packed.iter().any(|it| it == file), "{link} is not in the package");
        count += 1;
    }
    assert!(count > 5, "only {count} links have been found");
}
