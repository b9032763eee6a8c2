//! The guides in docs/guides: each command in them runs, in the order in which a reader runs it.
//!
//! Only in a checkout, as for tests/packages.rs. What cargo builds for the guides is not optimized,
//! so that it is built fast, and is kept for the next run.

#![cfg(all(target_os = "linux", not(bitcoin_support_sanitizer)))]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// In this order: the packager builds the library and the command, which the others use.
const GUIDES: [&str; 5] = ["packager", "node-builder", "c-author", "rust-author", "operator"];

/// What a guide asks of its reader: a script for bash, and lines that it says are printed.
struct Guide {
    script: String,
    printed: Vec<String>,
}

/// Reads the blocks of a guide. Those of the language `sh` are commands, those of `text` are what
/// commands print. Another block is a file, which the line above it names.
fn read(text: &str) -> Guide {
    let mut guide = Guide { script: "set -euo pipefail\n".to_owned(), printed: Vec::new() };
    let mut named = "";
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            if !line.trim().is_empty() {
                named = line.trim();
            }
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
        let block: String =
            block.map(|line| line.get(indent..).unwrap_or("").to_owned() + "\n").collect();
        match language {
            "sh" => guide.script += &block,
            "text" => guide.printed.extend(block.lines().map(str::to_owned)),
            _ => {
                let file = named.strip_prefix('`').and_then(|name| name.strip_suffix("`:"));
                let file = file.unwrap_or_else(|| panic!("a file without a name: {block}"));
                guide.script += &format!("cat >'{file}' <<'END OF FILE'\n{block}END OF FILE\n");
            }
        }
    }
    guide
}

/// The files of the checkout that git does not ignore.
fn files_of_checkout() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(ROOT)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{output:?}");
    let names = String::from_utf8(output.stdout).expect("UTF-8");
    names.split_terminator('\0').map(str::to_owned).collect()
}

/// Copies a file with its time, so that cargo builds anew only what has changed.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    fs::copy(from, to).expect("a copy");
    let time = fs::metadata(from).and_then(|metadata| metadata.modified()).expect("a time");
    let copy = fs::File::options().write(true).open(to).expect("the copy");
    copy.set_modified(time).expect("its time");
}

/// The folder in which the guides begin: `bitcoin-support` in it is a copy of the checkout, with
/// what earlier runs have built, and `bitcoin` is a tree in the shape of Bitcoin Core's.
fn prepare() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guides");
    let checkout = folder.join("bitcoin-support");
    fs::create_dir_all(&checkout).expect("a folder");
    let mut old: Vec<_> = fs::read_dir(&folder).expect("entries").map(|it| it.unwrap()).collect();
    old.extend(fs::read_dir(&checkout).expect("entries").map(|it| it.unwrap()));
    let kept = [checkout.clone(), checkout.join("build"), folder.join("target")];
    for entry in old {
        let path = entry.path();
        match path.is_dir() {
            true if kept.contains(&path) => {}
            true => fs::remove_dir_all(path).expect("removed"),
            false => fs::remove_file(path).expect("removed"),
        }
    }
    for name in files_of_checkout() {
        let file = Path::new(ROOT).join(&name);
        // A file that has been removed is still in git's index until then.
        if file.is_file() {
            copy(&file, &checkout.join(&name));
            if let Some(name) = name.strip_prefix("tests/guides/") {
                copy(&file, &folder.join(name));
            }
        }
    }
    // Otherwise cargo would take a new program here for a member of the checkout's workspace.
    let workspace = "[workspace]\nresolver = \"3\"\nexclude = [\"bitcoin-support\"]\n";
    fs::write(folder.join("Cargo.toml"), workspace).expect("a workspace");
    folder
}

/// Runs a guide, and returns what it printed.
fn run(name: &str, folder: &Path, offline: bool) -> Result<String, String> {
    let text = fs::read_to_string(Path::new(ROOT).join(format!("docs/guides/{name}.md"))).unwrap();
    let guide = read(&text);
    let home = PathBuf::from(env::var_os("HOME").expect("a home"));
    let of_home = |variable, name| env::var_os(variable).unwrap_or(home.join(name).into());
    let mut path = folder.join("stage/command/usr/bin").into_os_string();
    path.push(":");
    path.push(env::var_os("PATH").expect("a path"));
    let mut bash = Command::new("bash");
    bash.args(["-c", &guide.script])
        .current_dir(folder)
        .env("HOME", folder.join("home"))
        .env("CARGO_HOME", of_home("CARGO_HOME", ".cargo"))
        .env("RUSTUP_HOME", of_home("RUSTUP_HOME", ".rustup"))
        .env("PATH", path)
        .env("CARGO_NET_OFFLINE", offline.to_string())
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .stdin(Stdio::null());
    // What is set for these tests is not set for a reader.
    for variable in [
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "DESTDIR",
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
    ] {
        bash.env_remove(variable);
    }
    let output = bash.output().expect("bash runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name}: {}\n{printed}\n{error}", output.status));
    }
    for line in guide.printed {
        assert!(printed.contains(&line), "{name}: {line} is not printed: {printed}");
    }
    Ok(printed)
}

/// The files in a folder, by their paths below it.
fn files_in(folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("entries") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(folder).expect("below it");
                files.insert(below.to_str().expect("UTF-8").to_owned());
            }
        }
    }
    files
}

/// The program in Go that docs/coming-from.md quotes, on the library that the guides have
/// installed.
fn the_program_in_go_runs(folder: &Path) {
    if Command::new("go").arg("version").output().is_err() {
        println!("skipped: the program in Go, as there is no Go");
        return;
    }
    let prefix = folder.join("home/bitcoin-support");
    let file =
        files_in(&prefix).into_iter().find(|file| file.ends_with(".pc")).expect("it is there");
    let package = prefix.join(file);
    let package = package.parent().expect("a folder");
    let output = Command::new("go")
        .args(["run", "examples/go/keep_secret.go"])
        .current_dir(ROOT)
        .env("GOCACHE", folder.join("target/go"))
        .env("PKG_CONFIG_PATH", package)
        .env("LD_LIBRARY_PATH", package.parent().expect("the folder of the library"))
        .output()
        .expect("go runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("a key of 32 bytes is in locked memory"), "{output:?}");
}

#[test]
fn the_guides_run() {
    if Command::new("cmake").arg("--version").output().is_err() {
        println!("skipped: there is no cmake");
        return;
    }
    let folder = prepare();
    let mut node = None;
    for name in GUIDES {
        if name == "operator" {
            // The program that the operator looks at, which holds a secret until its input ends.
            let mut program = Command::new(folder.join("bitcoin/build/bin/bitcoind"));
            let program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
            let program = node.insert(program.expect("it starts"));
            // It prints a line when it has the secret.
            let mut line = String::new();
            let output = program.stdout.as_mut().expect("a pipe");
            BufReader::new(output).read_line(&mut line).expect("a line");
        }
        // A crate may not have been downloaded yet, and cargo says so. What fails for another
        // reason does not get a second chance.
        let printed = run(name, &folder, true)
            .or_else(|error| {
                if !error.contains("offline") {
                    return Err(error);
                }
                let again = folder.join("wallet-rs");
                if again.exists() {
                    fs::remove_dir_all(again).expect("removed");
                }
                run(name, &folder, false).map_err(|_| error)
            })
            .unwrap_or_else(|error| panic!("{error}"));
        if name == "operator" {
            assert!(printed.contains("(bitcoind): "), "{printed}");
        }
    }

    // What is in the package of the command.
    let command = files_in(&folder.join("stage/command"));
    let expected = [
        "usr/bin/bitcoin-support",
        "usr/share/bash-completion/completions/bitcoin-support",
        "usr/share/fish/vendor_completions.d/bitcoin-support.fish",
        "usr/share/man/man1/bitcoin-support-check.1",
        "usr/share/man/man1/bitcoin-support-inspect.1",
        "usr/share/man/man1/bitcoin-support.1",
        "usr/share/zsh/site-functions/_bitcoin-support",
    ];
    assert_eq!(command, expected.map(str::to_owned).into());
    let mut node = node.expect("it runs");
    let metrics = fs::read_to_string(folder.join("bitcoind.prom")).expect("metrics");
    let locked = format!("bitcoin_support_process_locked_bytes{{pid=\"{}\"", node.id());
    let locked = metrics.lines().find(|line| line.starts_with(&locked));
    assert!(locked.is_some_and(|line| !line.ends_with(" 0")), "{metrics}");
    drop(node.stdin.take());
    assert!(node.wait().expect("it ends").success());

    the_program_in_go_runs(&folder);
}

#[test]
fn all_guides_are_run() {
    let found: BTreeSet<_> = files_in(&Path::new(ROOT).join("docs/guides"));
    let run: BTreeSet<_> = GUIDES.iter().map(|name| format!("{name}.md")).collect();
    assert_eq!(found, run);
}

/// The control: a command that fails is an error, and so is a line that is not printed.
#[test]
fn blocks_become_a_script() {
    let guide = read(
        "1. A\n\n   ```sh\n   echo a\n   ```\n\n   `b c`:\n\n   ```c\n   int b;\n   ```\n\n```text\na\n```\n",
    );
    assert_eq!(
        guide.script,
        "set -euo pipefail\necho a\ncat >'b c' <<'END OF FILE'\nint b;\nEND OF FILE\n"
    );
    assert_eq!(guide.printed, ["a"]);
    let fails = |commands: &str| {
        let script = read(&format!("```sh\n{commands}\n```\n")).script;
        !Command::new("bash").args(["-c", &script]).status().expect("bash runs").success()
    };
    assert!(fails("false\ntrue") && fails("false | true") && !fails("true"));
}
