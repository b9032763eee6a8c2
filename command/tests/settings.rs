//! What `check --print-unit` and `check --print-container` print.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The files of a host on which each setting is missing, or with all of them in force.
fn host(is_sound: bool) -> tempfile::TempDir {
    let host = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = host.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let (limit, core, flag, filter, swap) = if is_sound {
        ("8388608", "0", 1, "10", "0")
    } else {
        ("65536", "unlimited", 0, "33", "max")
    };
    write("proc/sys/kernel/osrelease", "6.12\n");
    write("proc/sys/kernel/core_pattern", "core\n");
    let limits = format!(
        "Max core file size {core} {core} bytes\nMax locked memory {limit} {limit} bytes\n"
    );
    write("proc/self/limits", &limits);
    write("proc/self/status", &format!("NoNewPrivs:\t{flag}\nTHP_enabled:\t{}\n", 1 - flag));
    write("proc/self/coredump_filter", &format!("000000{filter}\n"));
    write("proc/self/cgroup", "0::/unit\n");
    write("proc/self/mountinfo", "30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    write("sys/fs/cgroup/unit/memory.swap.max", &format!("{swap}\n"));
    write("proc/swaps", "Filename Type Size Used Priority\n/dev/sda1 partition 8 0 -2\n");
    host
}

fn print(host: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcoin-support"));
    let output = command.arg("check").args(arguments).arg("--root").arg(host).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The settings of a drop-in, and what is said above each.
fn settings(drop_in: &str) -> Vec<(&str, &str)> {
    let lines: Vec<_> = drop_in.lines().collect();
    let start = lines.iter().position(|line| *line == "[Service]").unwrap();
    let known = |line: &&str| line.is_empty() || line.starts_with("# ") || line.contains('=');
    assert!(lines[..start].iter().all(|line| line.starts_with("# ")), "{drop_in}");
    assert!(lines[start + 1..].iter().all(known), "{drop_in}");
    let pairs = lines.windows(2).filter(|pair| !pair[1].starts_with('#') && pair[1].contains('='));
    pairs.map(|pair| (pair[1], pair[0])).collect()
}

#[test]
fn a_drop_in_has_what_is_missing() {
    let bad = print(host(false).path(), &["--print-unit"]);
    let settings_of_bad = settings(&bad);
    let lines: Vec<_> = settings_of_bad.iter().map(|(line, _)| *line).collect();
    let expected = [
        "LimitMEMLOCK=4096K",
        "MemorySwapMax=0",
        "LimitCORE=0",
        "CoredumpFilter=elf-headers",
        "MemoryDenyWriteExecute=yes",
        "NoNewPrivileges=yes",
    ];
    assert_eq!(lines, expected, "{bad}");
    assert!(settings_of_bad.iter().all(|(_, reason)| reason.starts_with("# ")), "{bad}");
    assert!(settings_of_bad[0].1.contains("memlock: 64 KiB may be locked"), "{bad}");
    // As much as the caller wants.
    for (amount, line) in [("64M", "LimitMEMLOCK=65536K"), ("unlimited", "LimitMEMLOCK=infinity")] {
        let text = print(host(false).path(), &["--print-unit", "--memlock", amount]);
        assert_eq!(settings(&text)[0].0, line);
    }
    // The control: nothing that is in force. The kernel does not show one of them.
    let sound = print(host(true).path(), &["--print-unit"]);
    let lines: Vec<_> = settings(&sound).into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, ["MemoryDenyWriteExecute=yes"], "{sound}");
}

/// systemd knows each of the settings.
#[test]
fn systemd_accepts_the_drop_in() {
    let folder = tempfile::tempdir().unwrap();
    let verify = |text: &str| {
        let unit = folder.path().join("program.service");
        fs::write(&unit, format!("[Service]\nExecStart=/bin/true\n{text}")).unwrap();
        Command::new("systemd-analyze").arg("verify").arg(&unit).output()
    };
    // The control.
    let complaint = match verify("[Service]\nNoSuchSetting=1\n") {
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    if !complaint.contains("NoSuchSetting") {
        println!("skipped: systemd-analyze cannot verify a unit here: {complaint}");
        return;
    }
    let text = print(host(false).path(), &["--print-unit"]);
    let complaint = String::from_utf8(verify(&text).unwrap().stderr).unwrap();
    assert!(!complaint.contains("program.service"), "{complaint}: {text}");
}

#[test]
fn options_of_a_container() {
    let bad = print(host(false).path(), &["--print-container"]);
    let expected =
        "--ulimit memlock=4194304:4194304\n--ulimit core=0:0\n--security-opt no-new-privileges\n";
    assert_eq!(bad, expected);
    assert_eq!(print(host(true).path(), &["--print-container"]), "");
    let all = print(host(false).path(), &["--print-container", "--memlock", "unlimited"]);
    assert!(all.contains("--ulimit memlock=-1:-1\n"), "{all}");
}

/// In a container its report says what its engine needs.
#[test]
fn reports_in_a_container() {
    for (mark, name, parts) in [
        (
            "run/.containerenv",
            "Podman",
            &["`--ulimit memlock=4194304:4194304` of `podman run`"][..],
        ),
        (".dockerenv", "Docker", &["`--ulimit core=0:0` of `docker run`"]),
        (
            "run/secrets/kubernetes.io/serviceaccount/token",
            "Kubernetes",
            &["A pod cannot set the limit", "capabilities.add: [IPC_LOCK]", "swapBehavior: NoSwap"],
        ),
    ] {
        let host = host(false);
        let report = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_bitcoin-support"));
            command.arg("check").args(arguments).arg("--root").arg(host.path());
            // In a pod the tests have this variable.
            let output = command.env_remove("KUBERNETES_SERVICE_HOST").output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let outside = report(&[]);
        assert!(outside.starts_with("This host (Linux 6.12)"), "{outside}");
        assert!(!outside.contains("For this container"), "{outside}");
        let mark = host.path().join(mark);
        fs::create_dir_all(mark.parent().unwrap()).unwrap();
        fs::write(mark, "").unwrap();
        let text = report(&[]);
        assert!(text.starts_with(&format!("This container ({name}, Linux 6.12)")), "{text}");
        // The text is wrapped.
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(words.contains(part), "{text}");
        }
        assert!(words.contains("For this container: "), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report(&["--json"])).unwrap();
        assert_eq!(json["container"], name.to_lowercase());
    }
}
