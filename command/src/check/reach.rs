//! Who can reach a process's memory from outside, and what else the kernel offers or does with pages.

use super::or_unreadable;
use crate::finding::{Finding, Severity};
use crate::host::{Host, Unreadable};
use crate::parse;

/// Who may trace whom.
pub(super) fn ptrace(host: &Host) -> Finding {
    const ID: &str = "ptrace-scope";
    let look = || {
        let any =
            "Every process of a program's user can read the program's memory, locked memory too.";
        Ok(match host.read("/proc/sys/kernel/yama/ptrace_scope")?.as_deref().map(str::trim) {
            None => Finding::new(ID, Severity::Warning, "Yama is not in use", any).remedy(
                "Run the program as a user of its own, for which nothing else runs. Or boot a kernel with \
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
                 user of its own.",
            ),
        })
    };
    or_unreadable(ID, look())
}

/// The first kernel that has `memfd_secret`, and the first that has it switched on.
const SECRET_MEMORY_SINCE: (u32, u32) = (5, 14);
const SECRET_MEMORY_ON_SINCE: (u32, u32) = (6, 5);

const SECRET_MEMORY_MODULE: &str = "/sys/module/secretmem";

/// Whether processes may hold secret memory: not with a kernel that is older, or was built without.
pub(super) fn may_have_secret_memory(host: &Host, release: Option<(u32, u32)>) -> bool {
    release.is_none_or(|release| release >= SECRET_MEMORY_SINCE)
        && host.exists(SECRET_MEMORY_MODULE)
}

/// Whether there is `memfd_secret`: told by what the kernel shows of it, not by the call.
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
        // Root alone may read the switch.
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
        // Since Linux 6.8 each size has a choice of its own; `inherit` means the choice for all.
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
            let means = "Memory gets huge pages unasked. The library declines them for locked memory; a \
                         program that does not may lock more than it thinks.";
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

/// Same-page merging.
pub(super) fn page_merging(host: &Host) -> Finding {
    const ID: &str = "page-merging";
    let look = || {
        let text = host.read("/sys/kernel/mm/ksm/run")?;
        Ok(match text.as_deref().map(str::trim) {
            Some("1") => {
                let means = "Pages of equal contents may be merged, and who writes to one can tell from the \
                             time whether it was. The library declines it for locked memory.";
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
            let means = "A pool that is made for huge pages gets none; the others need none.";
            Finding::new(ID, Severity::Ok, "none set aside", means)
        } else {
            let means = "Pools can be made of them. They are never swapped.";
            Finding::new(ID, Severity::Ok, set_aside.join("; "), means)
        })
    };
    or_unreadable(ID, look())
}

/// What the pool's threads stop each other with.
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
            let means = "Only the running kernel can be asked.";
            Finding::new(ID, Severity::Ok, "not asked", means)
        }
    }
}
