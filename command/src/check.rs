//! `check`: what on this host could leak the secrets of its programs.
//!
//! There is one file for each kind of leak. Each check reads the files that it needs and returns
//! findings. If a file cannot be read, that is one finding, and the rest of the report is complete.

mod dumps;
mod hibernation;
mod memlock;
mod reach;
mod swap;

use crate::finding::{Finding, Severity, worst};
use crate::hardening::{Shown, Step};
use crate::host::{Container, Host, Unreadable};
use crate::parse::{self, Bound};
pub(crate) use memlock::{Exemption, exemption};
use serde::Serialize;

/// Bytes that a program should be allowed to lock, unless the caller says otherwise: 16 arenas of
/// 256 KiB. Few programs need more than one; a Bitcoin node with ten thousand wallets needs about
/// ten.
pub const WANTED_MEMLOCK: u64 = 4 << 20;

/// The result of `check`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Always `bitcoin-support-check`.
    pub format: &'static str,
    /// [`SCHEMA`](crate::SCHEMA).
    pub version: u32,
    /// The kernel's release.
    pub kernel: String,
    /// The container that was checked; null outside of containers, and in others than these.
    pub container: Option<Container>,
    /// The worst of the findings.
    pub severity: Severity,
    /// The steps of `harden_process` that a process inherits, each with whether this one has it.
    pub hardening: Vec<Step>,
    /// The findings, in a fixed order.
    pub findings: Vec<Finding>,
}

/// Checks a host. `wanted` is the number of bytes that a program should be able to lock, `None` for
/// any number.
///
/// Limits are those of the calling process. Those of a service may be different.
///
/// # Errors
/// When the host's `/proc` cannot be read at all. Any other file that cannot be read is a finding.
pub fn check(host: &Host, wanted: Bound) -> Result<Report, Unreadable> {
    let kernel = host.require("/proc/sys/kernel/osrelease")?.trim().to_owned();
    let release = parse::release(&kernel);
    let limits = host.require("/proc/self/limits")?;

    let swap = swap::Swap::of(host);
    let mut findings = Vec::new();
    findings.push(memlock::memlock(host, wanted, &swap));
    findings.extend(swap::findings(&swap));
    findings.push(swap::cgroup_swap(&swap));
    findings.push(swap::zswap(host, &swap));
    findings.push(hibernation::hibernation(host, release, &swap));
    findings.push(dumps::core_dumps(host));
    findings.push(dumps::core_filter(host));
    findings.push(dumps::suid_dumpable(host));
    findings.push(dumps::crash_kernel(host));
    findings.push(reach::ptrace(host));
    findings.push(reach::secret_memory(host, release));
    findings.push(reach::kernel_memory(host));
    findings.push(reach::transparent_huge_pages(host));
    findings.push(reach::page_merging(host));
    findings.push(reach::huge_pages(host));
    findings.push(reach::membarrier(host));
    let hardening = hardening(host, &limits, wanted);
    findings.extend(hardening.iter().map(Step::finding));
    let severity = worst(&findings);
    Ok(Report {
        format: "bitcoin-support-check",
        version: crate::SCHEMA,
        kernel,
        container: host.container(),
        severity,
        hardening,
        findings,
    })
}

/// What a program that is started as this process was inherits.
fn hardening(host: &Host, limits: &str, wanted: Bound) -> Vec<Step> {
    let read = |name: &str| host.read(&format!("/proc/self/{name}")).ok().flatten();
    let status = read("status").unwrap_or_default();
    let core_filter = read("coredump_filter").and_then(|filter| parse::hexadecimal(&filter));
    let shown = Shown { statuses: &[&status], limits, core_filter, has_writable_code: None };
    shown.inherited(wanted)
}

/// The finding when a file exists but cannot be read.
fn unreadable(id: &'static str, error: &Unreadable) -> Finding {
    let means = "Whether secrets can leak this way is not known.";
    Finding::new(id, Severity::Warning, error.to_string(), means)
        .remedy("Run `bitcoin-support check` as root.")
}

/// The finding of a check, or that a file could not be read.
fn or_unreadable(id: &'static str, finding: Result<Finding, Unreadable>) -> Finding {
    finding.unwrap_or_else(|error| unreadable(id, &error))
}

#[cfg(test)]
mod tests;
