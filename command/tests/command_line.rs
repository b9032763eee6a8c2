//! The command as a user meets it: arguments, exit codes, JSON, output whose reader has gone.

use serde_json::Value;
use std::fs;
use std::process::{Command, Output, Stdio};

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bitcoin-support"))
}

fn run(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn help_and_version() {
    const CODES: [&str; 6] =
        ["Exit status:", "0  OK", "1  Warning", "2  Crit", "3  Unk", "Examples:"];
    for (arguments, parts) in [
        (&["--help"][..], &["check", "inspect", "--version"][..]),
        (&["check", "--help"], &["--memlock <AMOUNT>", "[default: 4M]", "--json"]),
        (&["inspect", "--help"], &["[PROCESS]...", "--all", "--all-regions", "--json"]),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty());
        let help = text(&output.stdout);
        for part in parts.iter().chain(&CODES) {
            assert!(help.contains(part), "{part}: {help}");
        }
        assert!(!help.contains("--root"), "it is for tests");
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        // The short form is one screen.
        let short: Vec<_> =
            arguments.iter().map(|&word| if word == "--help" { "-h" } else { word }).collect();
        let output = run(&short);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).lines().count() < 24);
    }
    let output = run(&["--version"]);
    assert_eq!(text(&output.stdout), concat!("bitcoin-support ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_wrong_command_line_is_unknown_and_says_what_is_wrong() {
    for (arguments, complaint) in [
        (&[][..], "check, inspect"),
        (&["look"], "'look'"),
        (&["check", "7"], "7"),
        (&["check", "--quick"], "--quick"),
        (&["check", "--memlock"], "--memlock"),
        (&["check", "--memlock", "many"], "many"),
        (&["check", "--memlock", "-1"], "-1"),
        (&["check", "--memlock", "4MB"], "K, M, G, KiB, MiB or GiB"),
        (&["check", "--memlock", "99999999999T"], "too large"),
        (&["check", "--all"], "--all"),
        (&["check", "--json=yes"], "--json"),
        (&["inspect"], "<PROCESS>"),
        (&["inspect", ""], "a name is not empty"),
        (&["inspect", "0"], "no process has this number"),
        (&["inspect", "node", "--all"], "'--all'"),
        (&["check", "--watch=0"], "from 0.1 to 86400"),
        (&["check", "--watch", "2"], "'2'"),
        (&["check", "--watch", "--print-unit"], "'--print-unit'"),
        (&["check", "--watch", "--format", "prometheus"], "--output FILE"),
        (&["inspect", "-7"], "-7"),
        (&["inspect", "99999999999"], "99999999999"),
        (&["inspect", "7", "--memlock", "7"], "--memlock"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(
            text(&output.stderr).contains(complaint),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn what_is_not_there_is_unknown() {
    // Above the largest number that a process can have.
    let output = run(&["inspect", "4194305"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stderr), "bitcoin-support: there is no process 4194305\n");
    let empty = tempfile::tempdir().unwrap();
    let output = command().args(["check", "--root"]).arg(empty.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("cannot read /proc/sys/kernel/osrelease"));
}

/// What a person typed comes back without what a terminal would obey.
#[test]
fn complaints_are_printable() {
    for arguments in [
        &["check\u{202e}\x1b[2J"][..],
        &["check", "--memlock", "4\u{202e}\x1b[2J"],
        // A name that no process has.
        &["inspect", "\u{202e}\x1b[2J"],
        &["check", "--\u{202e}\x1b[2J"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(3));
        let complaint = text(&output.stderr);
        assert!(complaint.chars().all(|c| c == '\n' || c == ' ' || c.is_ascii_graphic()));
        assert!(complaint.contains("202e"), "{complaint}");
    }
}

/// What `check` says of the machine that the tests run on. Which findings are bad is the machine's.
#[test]
fn check_of_this_host() {
    let output = run(&["check", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["format"], "bitcoin-support-check");
    assert_eq!(report["version"], 1);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(report["kernel"], release.trim());
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.len() >= 15);
    let mut worst = 0;
    for finding in findings {
        let severity = finding["severity"].as_str().unwrap();
        let code = match severity {
            "ok" | "note" => 0,
            "warning" => 1,
            "danger" => 2,
            _ => panic!("{severity}"),
        };
        worst = worst.max(code);
        for key in ["id", "seen", "means"] {
            assert!(!finding[key].as_str().unwrap().is_empty(), "{finding}");
        }
        assert!(finding["subject"].is_null() || finding["subject"].is_string());
        assert!(finding["remedy"].is_string() || code == 0, "{finding}");
    }
    assert_eq!(output.status.code(), Some(worst));

    let human = run(&["check"]);
    assert_eq!(human.status.code(), Some(worst));
    let human = text(&human.stdout).to_owned();
    for finding in findings {
        assert!(human.contains(finding["id"].as_str().unwrap()), "{human}");
    }
}

/// Every finding that comes out is documented. (`schema.rs` has the fields.)
#[test]
fn every_finding_is_documented() {
    let document = include_str!("../../docs/command.md");
    let check: Value = serde_json::from_slice(&run(&["check", "--json"]).stdout).unwrap();
    // A process with a region.
    let host = tempfile::tempdir().unwrap();
    let folder = host.path().join("proc/7");
    fs::create_dir_all(&folder).unwrap();
    for (name, text) in [
        ("status", "Name: node\n"),
        ("limits", ""),
        ("smaps", "1000-2000 rw-p 0 0:0 0\nVmFlags: rd wr lo\n"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let output =
        command().args(["inspect", "7", "8", "--json", "--root"]).arg(host.path()).output();
    let inspect: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let process = &inspect["processes"][0];
    assert_eq!(process["regions"].as_array().unwrap().len(), 1);
    let all = [&check["findings"], &process["findings"]];
    let all: Vec<_> = all.iter().flat_map(|findings| findings.as_array().unwrap()).collect();
    assert!(all.len() > 30);
    let names = all.iter().map(|finding| finding["id"].as_str().unwrap());
    for name in names {
        assert!(document.contains(&format!("`{name}`")), "docs/command.md has no `{name}`");
    }
}

#[test]
fn exit_codes_follow_the_host() {
    let host = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = host.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("proc/sys/kernel/osrelease", "6.12\n");
    write("proc/sys/kernel/yama/ptrace_scope", "1\n");
    let limits = |bytes: &str| {
        write(
            "proc/self/limits",
            &format!(
                "Max core file size        0 0 bytes\nMax locked memory         {bytes} {bytes} bytes\n"
            ),
        );
    };
    let code = |more: &[&str]| {
        let output = command().args(["check", "--root"]).arg(host.path()).args(more).output();
        output.unwrap().status.code()
    };
    limits("8388608");
    assert_eq!(code(&[]), Some(0));
    assert_eq!(code(&["--memlock", "8388609"]), Some(1));
    for (amount, expected) in [
        ("8388608", 0),
        ("8192K", 0),
        ("8M", 0),
        ("8MiB", 0),
        ("8193K", 1),
        ("9M", 1),
        ("1G", 1),
        ("unlimited", 1),
    ] {
        assert_eq!(code(&["--memlock", amount]), Some(expected), "{amount}");
    }
    limits("0");
    assert_eq!(code(&[]), Some(1));
    write("proc/swaps", "Filename Type Size Used Priority\n/dev/sda1 partition 8 0 -2\n");
    assert_eq!(code(&["--json"]), Some(2));
}

/// `bitcoin-support check | head -1` must not panic, nor lose the exit code.
#[test]
fn nobody_reads_on() {
    let code = run(&["check"]).status.code();
    for arguments in [&["check"][..], &["check", "--json"]] {
        // The reading end of the pipe is closed before the command begins.
        let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let writer = reader.stdin.take().unwrap();
        reader.wait().unwrap();
        let output =
            command().args(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), code);
        assert_eq!(text(&output.stderr), "");
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command().arg("check").stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).starts_with("bitcoin-support: cannot write: "));
}
