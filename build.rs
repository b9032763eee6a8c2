//! Gives the shared library its SONAME and the crate its ABI number, both from one place: `abi`
//! under `[package.metadata.bitcoin-support]` in Cargo.toml. Has the shared library stay loaded.
//! Links libevent if the feature `events` wants it.

use std::env;
use std::fs;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.toml");
    let manifest = fs::read_to_string("Cargo.toml").expect("Cargo.toml can be read");
    let abi: u32 = manifest
        .lines()
        .find_map(|line| line.strip_prefix("abi = "))
        .and_then(|number| number.trim().parse().ok())
        .expect("Cargo.toml has a line `abi = <number>`");
    println!("cargo:rustc-env=BITCOIN_SUPPORT_ABI={abi}");

    let os = env::var("CARGO_CFG_TARGET_OS").expect("cargo names the target's system");
    if matches!(os.as_str(), "linux" | "android" | "freebsd" | "dragonfly" | "netbsd" | "openbsd") {
        // Cargo warns of arguments for a shared library alone, as Cargo.toml lists none: it is made
        // only where `--crate-type cdylib` asks for it. So this package's tests and benchmarks get
        // them too, and the linker gives a program no SONAME. Packages that depend on this one get
        // none of them.
        println!("cargo:rustc-link-arg=-Wl,-soname,libbitcoin_support.so.{abi}");
        // `dlclose` must leave the library where it is: the process's secrets lie in its pool, and
        // threads, forks and the exit of the process call functions in it.
        println!("cargo:rustc-link-arg=-Wl,-z,nodelete");
    }

    #[cfg(feature = "events")]
    link_libevent();
}

#[cfg(feature = "events")]
fn link_libevent() {
    // Documentation is made without it.
    if env::var_os("DOCS_RS").is_some() {
        return;
    }
    for library in ["libevent_extra", "libevent_core"] {
        if let Err(error) = pkg_config::Config::new().atleast_version("2.1").probe(library) {
            panic!("the feature `events` needs libevent 2.1 (on Debian, libevent-dev): {error}");
        }
    }
}
