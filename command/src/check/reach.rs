//! Which processes can read another one's memory, and which features for pages the kernel has.

use super::or_unreadable;
use crate::finding::{Finding, Severity};
use crate::host::{Host, Unreadable};
use crate::parse;

/// Which processes may trace others.
pub(super) fn ptrace(host: &Host) -> Finding {
    const ID: &str = "ptrace-scope";
    let look = || {
        let any =
            "Every process of a program's user can read the program's memory, locked memory too.";
        Ok(match host.read("/proc/sys/kernel/yama/ptrace_scope")?.as_deref().map(str::trim) {
            None => Finding::new(ID, Severity::Warning, "Yama is not in use", any).remedy(
                "Run the program as a separate user, for which nothing else runs. Or boot a kernel with \
                 Yama (`lsm=...,yama`) and `sysctl kernel.yama.ptrace_scope=1`.",
            ),
            Some("1") => {
                let means = "A process can read the memory of its own children, and root that of all.";
                Finding::new(ID, Severity::Ok, "1 (children only)", means)
            }
            Some("2") => {
                let means = "Only privileged processes can read the memory of others.";
                Finding::new(ID, Severity::Ok, "2 (privileged only)", means)
            }
            Some("3") => {
                let means = "No process can be traced, until the next boot.";
                Finding::new(ID, Severity::Ok, "3 (nobody)", means)
            }
            Some(other) => Finding::new(ID, Severity::Warning, other, any).remedy(
                "`sysctl kernel.yama.ptrace_scope=1`, and the same in /etc/sysctl.d. Run the program as a \
                 separate user.",
            ),
        })
    };
    or_unreadable(ID, look())
}

/// The first kernel that has `memfd_secret`, and the first that enables it by default.
const SECRET_MEMORY_SINCE: (u32, u32) = (5, 14);
const SECRET_MEMORY_ON_SINCE: (u32, u32) = (6, 5);

const SECRET_MEMORY_MODULE: &str = "/sys/module/secretmem";

/// Whether the kernel supports secret memory.
pub(super) fn may_have_secret_memory(host: &Host, release: Option<(u32, u32)>) -> bool {
    release.is_none_or(|release| release >= SECRET_MEMORY_SINCE)
        && host.exists(SECRET_MEMORY_MODULE)
}

/// Whether `memfd_secret` is available, by the files that the kernel shows. The call is not made.
pub(super) fn secret_memory(host: &Host, release: Option<(u32, u32)>) -> Finding {
    const ID: &str = "secret-memory";
    let note = |seen: String, remedy: &str| {
        let means = "Secrets cannot be put into memory that not even root can read (memfd_secret).";
        Finding::new(ID, Severity::Note, seen, means).remedy(remedy)
    };
    let newer = "Boot Linux 6.5 or newer.";
    let switch = "Put `secretmem.enable=y` on the kernel's command line.";
    let look = || -> Result<Finding, Unreadable> {
        if release.is_some_and(|release| release < SECRET_MEMORY_SINCE) {
            return Ok(note("this kernel is older than memfd_secret (Linux 5.14)".into(), newer));
        }
        if !host.exists(SECRET_MEMORY_MODULE) {
            let seen = "this kernel was built without it (CONFIG_SECRETMEM)".into();
            return Ok(note(seen, "Boot a kernel that has it."));
        }
        // Only root may read this file.
        let switched = match host.read(&format!("{SECRET_MEMORY_MODULE}/parameters/enable")) {
            Ok(Some(text)) => parse::boolean(&text).map(|on| (on, "")),
            Ok(None) | Err(_) => None,
        };
        let command_line = || {
            let line = host.read("/proc/cmdline").ok().flatten()?;
            let set = parse::boolean(parse::parameter(&line, "secretmem.enable")?)?;
            Some((set, " on the kernel's command line"))
        };
        let default = || {
            let on = release.is_some_and(|release| release >= SECRET_MEMORY_ON_SINCE);
            (on, ", as this kernel has it by default")
        };
        let (on, where_from) = switched.or_else(command_line).unwrap_or_else(default);
        Ok(if on {
            let means = "Secrets can be put into memory that not even root can read (memfd_secret), unless a \
                         container or a sandbox denies the call. While a process has some, the machine \
                         cannot hibernate.";
            Finding::new(ID, Severity::Ok, format!("switched on{where_from}"), means)
        } else {
            note(format!("switched off{where_from} (secretmem.enable)"), switch)
        })
    };
    or_unreadable(ID, look())
}

/// Whether root can read all memory through the kernel.
pub(super) fn kernel_memory(host: &Host) -> Finding {
    const ID: &str = "kernel-memory";
    let look = || {
        let lockdown = host.read("/sys/kernel/security/lockdown")?.unwrap_or_default();
        if parse::chosen(&lockdown) == Some("confidentiality") {
            let means = "Not even root can read the kernel's memory.";
            return Ok(Finding::new(ID, Severity::Ok, "locked down (confidentiality)", means));
        }
        let level = parse::chosen(&lockdown).unwrap_or("not there");
        if !host.exists("/proc/kcore") {
            let means = "Root has no file that shows all memory (/proc/kcore).";
            return Ok(Finding::new(ID, Severity::Ok, format!("lockdown: {level}"), means));
        }
        let means = "Root can read all memory, locked memory too (/proc/kcore). Secret memory is not in it.";
        Ok(Finding::new(ID, Severity::Note, format!("lockdown: {level}"), means).remedy(
            "Where root is not trusted: `lockdown=confidentiality` on the kernel's command line (which \
             also rules out hibernation).",
        ))
    };
    or_unreadable(ID, look())
}

pub(super) fn transparent_huge_pages(host: &Host) -> Finding {
    const ID: &str = "transparent-huge-pages";
    const DIRECTORY: &str = "/sys/kernel/mm/transparent_hugepage";
    let look = || {
        let text = host.read(&format!("{DIRECTORY}/enabled"))?.unwrap_or_default();
        let all = parse::chosen(&text).unwrap_or("not in this kernel").to_owned();
        // Since Linux 6.8 each size has its own setting. `inherit` means the common setting.
        let mut seen = all.clone();
        let mut unasked = all == "always";
        for name in host.names(DIRECTORY) {
            let Some(size) = name.strip_prefix("hugepages-") else { continue };
            let text = host.read(&format!("{DIRECTORY}/{name}/enabled"))?.unwrap_or_default();
            if parse::chosen(&text) == Some("always") {
                seen += &format!(", always for {size}");
                unasked = true;
            }
        }
        Ok(if unasked {
            let means = "Memory gets huge pages even if a program does not ask for them. The library excludes its locked \
                         memory; a program that does not may lock more memory than it intends.";
            Finding::new(ID, Severity::Note, seen, means).remedy(
                "For programs on other secure heaps: `echo madvise \
                 >/sys/kernel/mm/transparent_hugepage/enabled`, and the same for each size.",
            )
        } else {
            let means = "Memory gets huge pages only where a program asks for them.";
            Finding::new(ID, Severity::Ok, seen, means)
        })
    };
    or_unreadable(ID, look())
}

/// Whether the kernel merges equal pages.
pub(super) fn page_merging(host: &Host) -> Finding {
    const ID: &str = "page-merging";
    let look = || {
        let text = host.read("/sys/kernel/mm/ksm/run")?;
        Ok(match text.as_deref().map(str::trim) {
            Some("1") => {
                let means = "Pages of equal contents may be merged, and a process that writes to one can tell from the \
                             time whether it was merged. The library excludes its locked memory.";
                Finding::new(ID, Severity::Note, "on (KSM)", means).remedy(
                    "`echo 2 >/sys/kernel/mm/ksm/run`; in the program's systemd unit, no `MemoryKSM=yes`.",
                )
            }
            Some(_) => Finding::new(ID, Severity::Ok, "off", "Pages of equal contents stay apart."),
            None => {
                let means = "Pages of equal contents stay apart.";
                Finding::new(ID, Severity::Ok, "not in this kernel", means)
            }
        })
    };
    or_unreadable(ID, look())
}

/// Huge pages that the administrator has set aside. Never a leak: they are not swapped.
pub(super) fn huge_pages(host: &Host) -> Finding {
    const ID: &str = "huge-pages";
    const DIRECTORY: &str = "/sys/kernel/mm/hugepages";
    let look = || {
        let mut set_aside = Vec::new();
        for name in host.names(DIRECTORY) {
            let count = |file: &str| -> Result<u64, Unreadable> {
                let text = host.read(&format!("{DIRECTORY}/{name}/{file}"))?;
                Ok(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
            };
            let (total, free) = (count("nr_hugepages")?, count("free_hugepages")?);
            let size = name.strip_prefix("hugepages-").unwrap_or(&name);
            if total > 0 {
                set_aside.push(format!("{total} of {size}, {free} free"));
            }
        }
        Ok(if set_aside.is_empty() {
            let means = "A pool with huge pages cannot get any. Other pools do not need them.";
            Finding::new(ID, Severity::Ok, "none set aside", means)
        } else {
            let means = "Pools can be made of them. They are never swapped.";
            Finding::new(ID, Severity::Ok, set_aside.join("; "), means)
        })
    };
    or_unreadable(ID, look())
}

/// Whether membarrier is available, by which threads of the pool pause each other.
pub(super) fn membarrier(host: &Host) -> Finding {
    const ID: &str = "membarrier";
    match host.membarrier() {
        Some(true) => {
            let means = "Each thread allocates secrets without waiting for others.";
            Finding::new(ID, Severity::Ok, "available", means)
        }
        Some(false) => {
            let means =
                "Secrets are as safe, but all threads share one heap for them, behind one lock.";
            Finding::new(ID, Severity::Note, "not available", means).remedy(
                "Run Linux 4.14 or newer, and let the container's or the unit's filter of system calls \
                 pass membarrier.",
            )
        }
        None => {
            let means = "Only the kernel of this host can be asked.";
            Finding::new(ID, Severity::Ok, "not asked", means)
        }
    }
}
