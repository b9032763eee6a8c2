//! Checks the crates that the workspace depends on: their licences are on the list in deny.toml, no
//! crate is there in two versions unless the list there gives a reason, and all come from
//! crates.io.
//!
//! `cargo deny check` checks the same, and advisories too. These tests need only cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::process::Command;

const DENY: &str = include_str!("../deny.toml");
const LOCK: &str = include_str!("../Cargo.lock");

/// The lines of a list in deny.toml, between `name = [` and `]`.
fn list(name: &str) -> Vec<&'static str> {
    let (_, rest) = DENY.split_once(&format!("\n{name} = [\n")).expect("deny.toml has the list");
    let (lines, _) = rest.split_once("\n]").expect("the list ends");
    lines.lines().map(str::trim).collect()
}

/// The first string in a line.
fn string(line: &str) -> &str {
    line.split('"').nth(1).expect("a string")
}

/// Whether the allowed licences satisfy a licence expression. `MIT/Apache-2.0` is an older form of
/// `OR`.
fn is_met(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let is_met = any_of(&words, &mut at, allowed);
    is_met && at == words.len()
}

/// Terms with `OR` between them.
fn any_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let mut is_met = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        is_met |= all_of(words, at, allowed);
    }
    is_met
}

/// Terms with `AND` between them. Each is a licence, or an expression in brackets. An exception to
/// a licence (`WITH`) permits more than the licence alone.
fn all_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let mut all_met = true;
    loop {
        let word = words.get(*at).copied().unwrap_or_default();
        *at += 1;
        if word == "(" {
            all_met &= any_of(words, at, allowed);
            all_met &= words.get(*at) == Some(&")");
            *at += 1;
        } else {
            all_met &= allowed.contains(word);
        }
        if words.get(*at) == Some(&"WITH") {
            *at += 2;
        }
        if words.get(*at) != Some(&"AND") {
            return all_met;
        }
        *at += 1;
    }
}

/// Licence and name of each crate in the workspace's dependency graph with all features, for this
/// system or for all systems. For all systems, cargo must have fetched crates that are not built
/// here.
fn licences(target: &[&str]) -> Option<BTreeSet<(String, String)>> {
    let output = Command::new(env::var_os("CARGO").expect("tests run under cargo"))
        .args(["tree", "--workspace", "--all-features", "--locked", "--offline"])
        .args(["--prefix", "none", "--format", "{l}|{p}"])
        .args(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TERM_COLOR", "never")
        .output()
        .expect("cargo runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|'));
    output.status.success().then(|| lines.map(|(l, p)| (l.to_owned(), p.to_owned())).collect())
}

#[test]
fn licences_are_allowed() {
    let lines = list("allow");
    let allowed: BTreeSet<&str> = lines.iter().map(|line| string(line)).collect();
    let crates = licences(&["--target", "all"]).or_else(|| {
        println!("skipped: licences of crates for other systems, which cargo has not fetched");
        licences(&[])
    });
    let crates = crates.expect("cargo tree works offline where the tests have been built");
    assert!(crates.len() > 30);
    for (licence, name) in &crates {
        assert!(is_met(licence, &allowed), "{name} has the licence {licence:?}");
    }
    let licence_is_used = |licence: &str| crates.iter().any(|(text, _)| text.contains(licence));
    for licence in &allowed {
        assert!(
            licence_is_used(licence),
            "no crate has the licence {licence}: take it off the list"
        );
    }
}

#[test]
fn control_other_licences_are_refused() {
    let allowed = BTreeSet::from(["MIT", "Apache-2.0", "Unicode-3.0"]);
    for expression in
        ["MIT", "MIT/GPL-3.0", "GPL-3.0 OR (MIT AND Apache-2.0)", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(is_met(expression, &allowed), "{expression}");
    }
    for expression in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR Apache-2.0) AND GPL-3.0",
        "MIT OR",
        "MIT Apache-2.0",
    ] {
        assert!(!is_met(expression, &allowed), "{expression}");
    }
}

/// The versions of each crate in Cargo.lock.
fn versions() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut versions = BTreeMap::<_, BTreeSet<_>>::new();
    for package in LOCK.split("\n[[package]]\n").skip(1) {
        let mut lines = package.lines();
        let name = string(lines.next().expect("a name"));
        let version = string(lines.next().expect("a version"));
        versions.entry(name).or_default().insert(version);
    }
    versions
}

/// The crates with more than one version, without those for which a reason is given.
fn without_reason<'v>(
    versions: &BTreeMap<&'v str, BTreeSet<&'v str>>,
    skipped: &BTreeSet<String>,
) -> Vec<&'v str> {
    let has_two = |name: &str, versions: &BTreeSet<&str>| {
        versions.iter().filter(|version| !skipped.contains(&format!("{name}@{version}"))).count()
            > 1
    };
    versions.iter().filter(|(name, of)| has_two(name, of)).map(|(&name, _)| name).collect()
}

#[test]
fn no_crate_is_there_twice_without_a_reason() {
    let versions = versions();
    assert!(versions.len() > 50);
    let skipped: BTreeSet<_> = list("skip").iter().map(|line| string(line).to_owned()).collect();
    assert_eq!(without_reason(&versions, &skipped), [""; 0]);
    // The control: with an empty list the duplicates are found.
    assert!(!without_reason(&versions, &BTreeSet::new()).is_empty());
    for name in &skipped {
        let (name, version) = name.split_once('@').expect("a name and a version");
        let of = versions.get(name);
        let is_second = of.is_some_and(|of| of.contains(version) && of.len() > 1);
        assert!(is_second, "{name}@{version} is no duplicate any more: take it off the list");
    }
}

#[test]
fn all_come_from_crates_io() {
    let sources: BTreeSet<_> =
        LOCK.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    assert_eq!(
        sources.into_iter().collect::<Vec<_>>(),
        ["\"registry+https://github.com/rust-lang/crates.io-index\""]
    );
}

/// What a program gets that depends on the crate, on Linux and without features.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn as_many_crates_as_the_documentation_says() {
    let output = Command::new(env::var_os("CARGO").expect("tests run under cargo"))
        .args(["tree", "-p", "bitcoin-support", "--offline", "--locked"])
        .args(["--edges", "normal,build", "--prefix", "none", "--no-dedupe", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("UTF-8");
    let mut crates: BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(crates.remove("bitcoin-support"));
    let said = format!("gets {} other crates", crates.len());
    assert!(include_str!("../src/lib.rs").contains(&said), "a program {said}: {crates:?}");
}
