//! How much memory a process may lock.

use super::or_unreadable;
use super::swap::Swap;
use crate::amount::{amount, in_container, in_unit};
use crate::finding::{Finding, Severity};
use crate::host::{Host, Unreadable};
use crate::parse::{self, Bound};

const ID: &str = "memlock";

/// The bit of `CAP_IPC_LOCK`, which exempts from the limit.
const CAP_IPC_LOCK: u32 = 14;

/// The number of the first user namespace, the same on every kernel.
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// Linux's smallest page in bytes. With a lower limit no memory can be locked.
const PAGE: u64 = 4096;

/// Whether a process is exempt from the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exemption {
    /// It has no `CAP_IPC_LOCK`, so the limit applies.
    None,
    /// It has `CAP_IPC_LOCK` in a user namespace, like root in a rootless container. The kernel
    /// requires it in the first namespace, so the limit applies.
    InUserNamespace,
    /// It may lock without limit.
    Whole,
}

/// Whether a process may lock without limit. `process` is its name in `/proc`, `status` the text of
/// its file `status`.
pub(crate) fn exemption(host: &Host, process: &str, status: &str) -> Exemption {
    let capabilities = parse::field(status, "CapEff").and_then(parse::hexadecimal);
    match capabilities.map(|set| set >> CAP_IPC_LOCK & 1) {
        Some(1) if in_first_user_namespace(host, process) => Exemption::Whole,
        Some(1) => Exemption::InUserNamespace,
        _ => Exemption::None,
    }
}

fn in_first_user_namespace(host: &Host, process: &str) -> bool {
    // The number of the namespace is checked before its map, because another namespace may have the
    // same map as the first.
    if let Some(namespace) = host.link(&format!("/proc/{process}/ns/user")) {
        return namespace == FIRST_USER_NAMESPACE;
    }
    // If there is no such file, the kernel has no user namespaces.
    let map = host.read(&format!("/proc/{process}/uid_map"));
    map.is_ok_and(|map| map.is_none_or(|map| parse::maps_all_users(&map)))
}

pub(super) fn memlock(host: &Host, wanted: Bound, swap: &Swap) -> Finding {
    or_unreadable(ID, look(host, wanted, swap))
}

fn look(host: &Host, wanted: Bound, swap: &Swap) -> Result<Finding, Unreadable> {
    let limits = host.require("/proc/self/limits")?;
    let Some(limit) = parse::limit(&limits, "Max locked memory") else {
        let means = "How much memory can be locked is not known.";
        let finding = Finding::new(ID, Severity::Warning, "/proc/self/limits has no limit", means);
        return Ok(finding.remedy("See what `ulimit -l` says."));
    };
    let status = host.read("/proc/self/status")?.unwrap_or_default();
    let exemption = exemption(host, "self", &status);
    let number = |bound: Bound| bound.unwrap_or(u64::MAX);
    let (soft, hard) = (number(limit.soft), number(limit.hard));

    let mut seen = format!("{} may be locked", amount(limit.soft));
    if soft != hard {
        seen += &format!(", {} if the process raises its limit", amount(limit.hard));
    }
    seen += match exemption {
        Exemption::None => "",
        Exemption::InUserNamespace => {
            "; CAP_IPC_LOCK of a user namespace (a rootless container) does not lift the limit"
        }
        Exemption::Whole => "; this user may lock more (CAP_IPC_LOCK)",
    };
    if soft >= number(wanted) {
        let means = format!("Enough: {} should be lockable.", amount(wanted));
        return Ok(Finding::new(ID, Severity::Ok, seen, means));
    }

    let unit = format!("LimitMEMLOCK={}", in_unit(wanted));
    let option = format!("--ulimit memlock={}", in_container(wanted));
    let words = wanted.map_or("unlimited".into(), |wanted| wanted.div_ceil(1024).to_string());
    let shell = if hard >= number(wanted) {
        format!("In a shell, before the program is started: `ulimit -l {words}`.")
    } else {
        format!("For logins: `* - memlock {words}` in a file in /etc/security/limits.d.")
    };
    let mut remedy = format!("In the program's systemd unit: `{unit}`. {shell}");
    if exemption == Exemption::InUserNamespace {
        remedy += &format!(
            " For a container: `{option}`; a rootless one gets no more than the limit of the user who starts it."
        );
    }
    let kubernetes = format!(
        "A pod cannot set the limit. With CRI-O: `default_ulimits = [\"memlock={}\"]` in its configuration; with \
         containerd: `{unit}` in containerd's systemd unit. Or, in a container that runs as root and has no user \
         namespace, `securityContext.capabilities.add: [IPC_LOCK]`.",
        in_container(wanted)
    );
    let (severity, means) = if exemption == Exemption::Whole {
        let means = "A program that runs as this user is not bound by the limit; one that runs as another is, \
                     and what it cannot lock may be swapped.";
        (Severity::Note, means)
    } else if soft >= PAGE {
        let means = "Less than a program with many secrets may need. Secrets that find no locked memory are \
                     kept in memory that may be swapped.";
        (Severity::Warning, means)
    } else if swap.is_exposed() {
        let means = "Nothing can be locked, and secrets may be written to swap that is not known to \
                     be encrypted.";
        (Severity::Danger, means)
    } else {
        let means = "Nothing can be locked; only that nothing is swapped in the clear keeps secrets from the \
                     disk.";
        (Severity::Warning, means)
    };
    let finding = Finding::new(ID, severity, seen, means).remedy(remedy);
    Ok(finding.unit(unit).container(option).kubernetes(kubernetes))
}
