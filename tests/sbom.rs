//! Checks the bills of materials that `scripts/sbom` prints against Cargo.lock, and against the
//! crates that cargo says it builds.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::process::Command;

const LOCK: &str = include_str!("../Cargo.lock");

/// Name and version of a crate.
type Crate = (String, String);

/// What a bill says of each crate: its checksum.
fn bill(name: &str) -> Option<String> {
    let output = Command::new("python3")
        .args(["scripts/sbom", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_NET_OFFLINE", "true")
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8(output.stdout).expect("a bill is text"))
        }
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            // It asks for systems that these tests do not build for.
            assert!(error.contains("offline"), "scripts/sbom {name}: {error}");
            println!("skipped: scripts/sbom {name} needs crates that have not been downloaded");
            None
        }
        Err(error) => {
            println!("skipped: there is no python3: {error}");
            None
        }
    }
}

/// The string after `key` in a line of a document with one member in each line.
fn member<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.trim().strip_prefix(key)?.split('"').nth(1)
}

/// The components of a bill, with their checksums. Members stand in the order in which the script
/// writes them: a component's `purl` comes before its `hashes`.
fn components(bill: &str) -> BTreeMap<Crate, Option<String>> {
    let mut components = BTreeMap::new();
    let mut last = None;
    let (_, listed) = bill.split_once("\n  \"components\": [").expect("a bill has components");
    let (listed, _) = listed.split_once("\n  ],").expect("the list ends");
    for line in listed.lines() {
        if let Some(purl) = member(line, "\"purl\":") {
            let (name, version) =
                purl.strip_prefix("pkg:cargo/").and_then(|rest| rest.split_once('@')).expect(purl);
            last = Some((name.to_owned(), version.to_owned()));
            components.insert((name.to_owned(), version.to_owned()), None);
        } else if let Some(checksum) = member(line, "\"content\":") {
            let of = last.clone().expect("a checksum belongs to a component");
            components.insert(of, Some(checksum.to_owned()));
        }
    }
    components
}

/// The crates of a Cargo.lock, with their checksums.
fn locked(lock: &str) -> BTreeMap<Crate, Option<String>> {
    lock.split("[[package]]")
        .skip(1)
        .map(|entry| {
            let find = |key: &str| {
                entry
                    .lines()
                    .find_map(|line| line.strip_prefix(key)?.split('"').nth(1).map(str::to_owned))
            };
            let name = find("name = ").expect("a package has a name");
            let version = find("version = ").expect("a package has a version");
            ((name, version), find("checksum = "))
        })
        .collect()
}

/// The components that a lock file does not have in this form.
fn not_as_locked(components: &BTreeMap<Crate, Option<String>>, lock: &str) -> Vec<Crate> {
    let locked = locked(lock);
    let differs = |(name, checksum): (&Crate, &Option<String>)| {
        (checksum.is_none() || locked.get(name) != Some(checksum)).then(|| name.clone())
    };
    components.iter().filter_map(differs).collect()
}

/// The crates that cargo says a package is built from on the systems of the bill.
fn built(package: &[&str]) -> BTreeSet<Crate> {
    let systems = [
        "x86_64-unknown-linux-gnu",
        "aarch64-unknown-linux-gnu",
        "x86_64-unknown-linux-musl",
        "i686-unknown-linux-gnu",
    ];
    let output = Command::new(env::var_os("CARGO").expect("tests run under cargo"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}"])
        .args(systems.into_iter().flat_map(|system| ["--target", system]))
        .args(package)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TERM_COLOR", "never")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("names are text");
    lines
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            (!name.starts_with("bitcoin-support")).then(|| (name.to_owned(), version.to_owned()))
        })
        .collect()
}

fn is_complete_and_locked(name: &str, package: &[&str]) {
    let Some(bill) = bill(name) else { return };
    assert!(bill.contains("\"bomFormat\": \"CycloneDX\""));
    let components = components(&bill);
    assert_eq!(not_as_locked(&components, LOCK), [], "not as in Cargo.lock");
    assert_eq!(components.keys().cloned().collect::<BTreeSet<Crate>>(), built(package));
    // Each has an entry in the graph too.
    for (name, version) in components.keys() {
        assert!(bill.contains(&format!("\"ref\": \"pkg:cargo/{name}@{version}\"")), "{name}");
    }
}

#[test]
fn the_librarys_bill_is_what_it_is_built_from() {
    is_complete_and_locked("library", &["-p", "bitcoin-support", "--features", "sealed"]);
}

#[test]
fn the_commands_bill_is_what_it_is_built_from() {
    is_complete_and_locked("command", &["-p", "bitcoin-support-command"]);
}

#[test]
fn control_another_checksum_and_another_version_are_noticed() {
    let libc = locked(LOCK).into_iter().find(|((name, _), _)| name == "libc").expect("libc");
    let components = BTreeMap::from([libc.clone()]);
    assert_eq!(not_as_locked(&components, LOCK), []);
    let ((name, version), Some(checksum)) = libc else { panic!("libc has a checksum") };
    for other in [LOCK.replace(&checksum, "00"), LOCK.replace(&version, "0.0.0")] {
        assert_eq!(not_as_locked(&components, &other), [(name.clone(), version.clone())]);
    }
}

#[test]
fn the_same_source_gives_the_same_bill() {
    let (Some(first), Some(second)) = (bill("library"), bill("library")) else { return };
    assert_eq!(first, second);
}
