//! Builds and runs a C++ program with `include/support/events.h`, `tests/cpp/events_http.cpp`, with
//! the oldest and a newer C++ standard of the trees that have this header.

#![cfg(all(unix, feature = "events"))]

use std::env;
use std::path::Path;
use std::process::Command;

#[test]
fn a_cpp_program_makes_a_request_and_frees_all_in_order() {
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let flags = Command::new("pkg-config")
        .args(["--cflags", "--libs", "libevent_extra", "libevent_core"])
        .output()
        .expect("pkg-config runs");
    assert!(flags.status.success());
    let flags = String::from_utf8(flags.stdout).expect("text");

    for standard in ["c++17", "c++20"] {
        let program =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("events_http_{standard}"));
        let built = Command::new(&compiler)
            .arg(format!("-std={standard}"))
            .args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-I"])
            .arg(root.join("include"))
            .arg(root.join("tests/cpp/events_http.cpp"))
            .args(flags.split_whitespace())
            .arg("-o")
            .arg(&program)
            .output()
            .unwrap_or_else(|error| panic!("{compiler}: {error}"));
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

        let ran = Command::new(&program).output().expect("the program runs");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert!(ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}
