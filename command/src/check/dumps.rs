//! Memory that is written to disk when a process or the kernel crashes.

use super::or_unreadable;
use crate::amount::amount;
use crate::finding::{Finding, Severity};
use crate::host::{Host, Unreadable};
use crate::parse;

const CORE_DUMPS: &str = "core-dumps";

const KEPT: &str = "A core dump leaves locked memory out; copies of secrets elsewhere (the stack, the heap) \
                    are in it, on the disk.";
const NOT_KEPT: &str = "A process that crashes leaves nothing on the disk.";

/// The smallest core dump in bytes: Linux's smallest page. With a lower limit the kernel writes no
/// file and systemd-coredump keeps no dump.
const PAGE: u64 = 4096;

/// Whether core dumps are made, and where they go.
pub(super) fn core_dumps(host: &Host) -> Finding {
    or_unreadable(CORE_DUMPS, look_at_core_dumps(host))
}

fn look_at_core_dumps(host: &Host) -> Result<Finding, Unreadable> {
    let ok = |seen: String| Ok(Finding::new(CORE_DUMPS, Severity::Ok, seen, NOT_KEPT));
    let warning = |seen: String, remedy: &str| {
        Ok(Finding::new(CORE_DUMPS, Severity::Warning, seen, KEPT).remedy(remedy))
    };
    // Where the limit counts.
    let limited = |seen: String, remedy: &str| {
        let finding = Finding::new(CORE_DUMPS, Severity::Warning, seen, KEPT).remedy(remedy);
        Ok(finding.unit("LimitCORE=0").container("--ulimit core=0:0").kubernetes(
            "A pod cannot set the limit. With CRI-O: `default_ulimits = [\"core=0:0\"]` in its configuration; with \
             containerd: `LimitCORE=0` in containerd's systemd unit.",
        ))
    };
    let no_limit = "In the program's systemd unit: `LimitCORE=0`. In a shell, before it is started: `ulimit -c 0`.";

    let Some(pattern) = host.read("/proc/sys/kernel/core_pattern")? else {
        return ok("this kernel makes none".into());
    };
    let pattern = pattern.trim();
    let limits = host.require("/proc/self/limits")?;
    let limit = parse::limit(&limits, "Max core file size");
    let soft = limit.and_then(|limit| limit.soft);
    // A limit that cannot be read counts as none.
    let shown = amount(soft);

    let Some(command) = pattern.strip_prefix('|') else {
        if pattern.starts_with('@') {
            let remedy = "Check which dumps the program on that socket keeps, or `sysctl kernel.core_pattern=core` and \
                          `LimitCORE=0` in the program's systemd unit.";
            return warning(format!("sent to the socket {pattern}, whatever the limit"), remedy);
        }
        return match soft {
            Some(soft) if soft < PAGE => {
                ok(format!("written to files ({pattern}), but not with a limit of {shown}"))
            }
            _ => limited(format!("written to files ({pattern}), limit {shown}"), no_limit),
        };
    };
    if soft == Some(1) {
        // By this limit the kernel recognizes a crash of the handler's own children.
        return ok(format!("piped to {command}, but not with a limit of 1 byte"));
    }
    let program = command.split_whitespace().next().unwrap_or("");
    let name = program.rsplit('/').next().unwrap_or("");
    match name {
        "true" | "false" => ok(format!("piped to {program}, which keeps no dump")),
        "systemd-coredump" => {
            if storage(host)?.as_deref() == Some("none") {
                return ok("piped to systemd-coredump, which is configured to keep nothing".into());
            }
            match soft {
                Some(soft) if soft < PAGE => ok(format!(
                    "piped to systemd-coredump, which keeps nothing with a limit of {shown}"
                )),
                _ => limited(
                    format!("kept by systemd-coredump, limit {shown}"),
                    "In the program's systemd unit: `LimitCORE=0`. For all: `Storage=none` under \
                     `[Coredump]` in /etc/systemd/coredump.conf.",
                ),
            }
        }
        "apport" => warning(
            format!("piped to {program}, whatever the limit (here {shown})"),
            "`systemctl disable --now apport`, or `sysctl kernel.core_pattern='|/bin/false'`.",
        ),
        _ => warning(
            format!("piped to {program}, whatever the limit (here {shown})"),
            "Check which dumps that program keeps, or `sysctl kernel.core_pattern='|/bin/false'`.",
        ),
    }
}

/// The setting `Storage` of systemd-coredump, from the last of its files that has one. A drop-in
/// hides another of the same name in a directory of lower priority.
fn storage(host: &Host) -> Result<Option<String>, Unreadable> {
    const DIRECTORIES: [&str; 4] =
        ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];
    let setting = |path: &str| -> Result<Option<String>, Unreadable> {
        let text = host.read(path)?;
        Ok(text.and_then(|text| parse::setting(&text, "Coredump", "Storage").map(str::to_owned)))
    };
    let mut value = None;
    // Only the first of the main files counts.
    for directory in DIRECTORIES {
        let path = format!("{directory}/coredump.conf");
        if host.exists(&path) {
            value = setting(&path)?;
            break;
        }
    }
    let mut drop_ins = std::collections::BTreeMap::new();
    for directory in DIRECTORIES {
        let directory = format!("{directory}/coredump.conf.d");
        for name in host.names(&directory) {
            if name.ends_with(".conf") {
                let path = format!("{directory}/{name}");
                drop_ins.entry(name).or_insert(path);
            }
        }
    }
    for path in drop_ins.values() {
        if let Some(set) = setting(path)? {
            value = Some(set);
        }
    }
    Ok(value)
}

/// The kinds of memory in a core dump: the filter that processes inherit from their parents.
pub(super) fn core_filter(host: &Host) -> Finding {
    const ID: &str = "core-filter";
    let look = || {
        let text = host.read("/proc/self/coredump_filter")?.unwrap_or_default();
        let Some(filter) = parse::hexadecimal(&text) else {
            let means = "This kernel has no filter for core dumps.";
            return Ok(Finding::new(ID, Severity::Ok, "there is none", means));
        };
        let seen = format!("{filter:#04x}");
        // Bits 0 and 1: private and shared anonymous memory.
        if filter & 3 == 0 {
            let means =
                "A core dump contains no anonymous memory, so neither the heap nor the stack.";
            return Ok(Finding::new(ID, Severity::Ok, seen, means));
        }
        let kept = core_dumps(host).severity > Severity::Ok;
        let severity = if kept { Severity::Note } else { Severity::Ok };
        let means = "If a core dump is made, it has the heap and the stack, and what else is not locked by \
                     the library, which leaves its memory out whatever the filter.";
        let finding = Finding::new(ID, severity, seen, means);
        Ok(if kept {
            let remedy =
                "In the program's systemd unit: `CoredumpFilter=elf-headers`, or `LimitCORE=0`.";
            finding.remedy(remedy).unit("CoredumpFilter=elf-headers")
        } else {
            finding
        })
    };
    or_unreadable(ID, look())
}

/// Who may read the core dumps of processes that have changed user.
pub(super) fn suid_dumpable(host: &Host) -> Finding {
    const ID: &str = "suid-dumpable";
    let look = || {
        let text = host.read("/proc/sys/fs/suid_dumpable")?.unwrap_or_default();
        Ok(match text.trim() {
            "1" => {
                let means = "Processes that have changed user (a daemon that gave up root) make core dumps \
                             that their user may read, and may be traced.";
                Finding::new(ID, Severity::Warning, "1 (debug)", means)
                    .remedy("`sysctl fs.suid_dumpable=0`, and the same in /etc/sysctl.d.")
            }
            "2" => {
                let means =
                    "Processes that have changed user make core dumps that root alone may read.";
                Finding::new(ID, Severity::Ok, "2 (root only)", means)
            }
            other => {
                let means = "Processes that have changed user make no core dumps.";
                let seen = if other.is_empty() { "not in this kernel" } else { other };
                Finding::new(ID, Severity::Ok, seen, means)
            }
        })
    };
    or_unreadable(ID, look())
}

/// Whether a crash kernel is loaded, which saves memory when the kernel crashes.
pub(super) fn crash_kernel(host: &Host) -> Finding {
    const ID: &str = "kernel-crash-dump";
    let look = || {
        let loaded = host.read("/sys/kernel/kexec_crash_loaded")?.unwrap_or_default();
        if loaded.trim() != "1" {
            let means = "When the kernel crashes, memory is not saved.";
            return Ok(Finding::new(ID, Severity::Ok, "none is set up", means));
        }
        let means = "When the kernel crashes, its memory is saved to disk. Tools are usually told to leave \
                     out what belongs to processes; if they are not, locked secrets are in it.";
        Ok(Finding::new(ID, Severity::Warning, "a crash kernel is loaded (kdump)", means).remedy(
            "`systemctl disable --now kdump`, or see that makedumpfile runs with `-d 31` and that the \
             dump goes to an encrypted disk.",
        ))
    };
    or_unreadable(ID, look())
}
