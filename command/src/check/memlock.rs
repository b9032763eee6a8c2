//! How much memory a process may lock.

use super::or_unreadable;
use super::swap::{Areas, is_exposed};
use crate::amount::amount;
use crate::finding::{Finding, Severity};
use crate::host::{Host, Unreadable};
use crate::parse;

const ID: &str = "memlock";

/// Bit of `CAP_IPC_LOCK`, with which the limit does not count.
const CAP_IPC_LOCK: u32 = 14;

/// With less than a page nothing can be locked. (The smallest page that Linux has.)
const PAGE: u64 = 4096;

/// Whether a process, by its `/proc/PID/status`, may lock without limit.
pub(crate) fn is_exempt(status: &str) -> bool {
    let capabilities = parse::field(status, "CapEff").and_then(parse::hexadecimal);
    capabilities.is_some_and(|set| set >> CAP_IPC_LOCK & 1 == 1)
}

pub(super) fn memlock(host: &Host, wanted: u64, areas: &Areas) -> Finding {
    or_unreadable(ID, look(host, wanted, areas))
}

fn look(host: &Host, wanted: u64, areas: &Areas) -> Result<Finding, Unreadable> {
    let limits = host.require("/proc/self/limits")?;
    let Some(limit) = parse::limit(&limits, "Max locked memory") else {
        let means = "How much memory can be locked is not known.";
        let finding = Finding::new(ID, Severity::Warning, "/proc/self/limits has no limit", means);
        return Ok(finding.remedy("See what `ulimit -l` says."));
    };
    let exempt = host.read("/proc/self/status")?.is_some_and(|status| is_exempt(&status));
    let (soft, hard) = (limit.soft.map_or(u64::MAX, |b| b), limit.hard.map_or(u64::MAX, |b| b));

    let mut seen = format!("{} may be locked", amount(limit.soft));
    if soft != hard {
        seen += &format!(", {} if the process raises its limit", amount(limit.hard));
    }
    if exempt {
        seen += "; this user may lock more (CAP_IPC_LOCK)";
    }
    if soft >= wanted {
        let means = format!("Enough: a node should be able to lock {}.", amount(Some(wanted)));
        return Ok(Finding::new(ID, Severity::Ok, seen, means));
    }

    let kib = wanted.div_ceil(1024);
    let shell = if hard >= wanted {
        format!("In a shell, before the node is started: `ulimit -l {kib}`.")
    } else {
        format!("For logins: `* - memlock {kib}` in a file in /etc/security/limits.d.")
    };
    let remedy = format!("In the node's systemd unit: `LimitMEMLOCK={kib}K`. {shell}");
    let (severity, means) = if exempt {
        let means = "A node that runs as this user is not bound by the limit; one that runs as \
                     another is, and what it cannot lock may be swapped.";
        (Severity::Note, means)
    } else if soft >= PAGE {
        let means = "Not enough for a node with many wallets. Secrets that find no locked memory are \
                     kept in memory that may be swapped.";
        (Severity::Warning, means)
    } else if is_exposed(areas) {
        let means = "Nothing can be locked, and secrets may be written to swap that is not known to \
                     be encrypted.";
        (Severity::Danger, means)
    } else {
        let means = "Nothing can be locked; only that there is no swap in the clear keeps secrets \
                     from the disk.";
        (Severity::Warning, means)
    };
    Ok(Finding::new(ID, severity, seen, means).remedy(remedy))
}
