//! `inspect`: the locked memory of a running process, as `/proc` shows it.
//!
//! Depends on `host`, `parse` and `finding`, and on `check` for who may lock without limit. It reads what the
//! kernel says of mappings, never what is in them, and the process does not notice.

use crate::amount::amount;
use crate::check::is_exempt;
use crate::finding::{Finding, Severity, worst};
use crate::host::{Host, Unreadable};
use crate::parse::smaps::{self, Flags, Mapping};
use crate::parse::{self, Bound};
use serde::Serialize;
use std::fmt;
use std::io;

/// Bytes of an arena, which the library asks for at once.
const ARENA: u64 = 256 << 10;

/// What a core dump has unless a process says otherwise.
const DEFAULT_CORE_FILTER: u64 = 0x33;

/// What `inspect` found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Always `bitcoin-support-inspect`.
    pub format: &'static str,
    /// [`SCHEMA`](crate::SCHEMA).
    pub version: u32,
    /// The process as a whole.
    pub process: Process,
    /// The worst of the findings.
    pub severity: Severity,
    /// Its regions, by address.
    pub regions: Vec<Region>,
    /// Sums over them.
    pub totals: Totals,
    /// What was looked at, in a fixed order.
    pub findings: Vec<Finding>,
}

/// A process. Sizes are in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name, which it chooses itself.
    pub name: String,
    /// The user it runs as (the effective one).
    pub uid: Option<u32>,
    /// How much it has locked, by the kernel's count (`VmLck`).
    pub locked: u64,
    /// How much it may lock (`RLIMIT_MEMLOCK`, soft); null for no limit.
    pub lock_limit: Bound,
    /// Whether the limit does not count for it (`CAP_IPC_LOCK`).
    pub lock_limit_exempt: bool,
    /// Largest core file (`RLIMIT_CORE`, soft); null for no limit.
    pub core_limit: Bound,
    /// Which memory its core dumps have (`coredump_filter`).
    pub core_filter: u64,
    /// Whether it may be dumped, and traced by its own user; null where `/proc` does not tell, as for
    /// processes of root.
    pub dumpable: Option<bool>,
    /// The process that traces it, a debugger say.
    pub tracer: Option<u32>,
}

/// What a region looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Locked, not dumped, no file's, between guard pages: as the library makes arenas.
    Arena,
    /// Locked, and not all of that.
    Locked,
    /// Of `memfd_secret`: locked, not dumped, and not even root can read it from outside.
    SecretMemory,
    /// Left out of core dumps as secrets are, but not locked: an arena that could not be, or that lost its
    /// lock by a fork.
    Unlocked,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Arena => "arena",
            Self::Locked => "locked",
            Self::SecretMemory => "secret",
            Self::Unlocked => "unlocked",
        }
    }
}

/// What becomes of a region in a forked child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fork {
    /// The child has a copy, which is not locked unless it locks it.
    Copy,
    /// Parent and child have the same memory.
    Shared,
    /// The child finds zeros.
    Wiped,
    /// The child does not have it.
    Absent,
}

impl Fork {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Shared => "shared",
            Self::Wiped => "wiped",
            Self::Absent => "absent",
        }
    }
}

/// A mapping that is locked, or looks as if it should be. Sizes are in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Region {
    /// First address.
    #[serde(serialize_with = "as_address")]
    pub start: u64,
    /// The address behind the last.
    #[serde(serialize_with = "as_address")]
    pub end: u64,
    /// Size.
    pub size: u64,
    /// What it looks like.
    pub kind: Kind,
    /// The mapping's name, empty for anonymous memory.
    pub path: String,
    /// Whether it is locked (flag `lo`).
    pub locked: bool,
    /// How much of it is in memory and locked.
    pub locked_bytes: u64,
    /// How much is in memory.
    pub resident_bytes: u64,
    /// How much is on swap.
    pub swap_bytes: u64,
    /// Whether the process leaves it out of core dumps (flag `dd`).
    pub dont_dump: bool,
    /// Whether a core dump has it, by that flag and the process's filter.
    pub dumpable: bool,
    /// What a forked child has of it.
    pub fork: Fork,
    /// Whether it declines huge pages (flag `nh`).
    pub no_huge_pages: bool,
    /// How much of it is in transparent huge pages.
    pub huge_bytes: u64,
    /// Whether it may be merged with equal pages (flag `mg`).
    pub mergeable: bool,
    /// Whether inaccessible memory lies right before it.
    pub guard_before: bool,
    /// Whether inaccessible memory lies right behind it.
    pub guard_after: bool,
}

fn as_address<S: serde::Serializer>(address: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{address:#x}"))
}

/// Sums over the regions, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// How many there are.
    pub regions: usize,
    /// How many of them look like arenas of the library.
    pub arenas: usize,
    /// Size of those that are locked.
    pub locked_size: u64,
    /// Size of those that should be and are not.
    pub unlocked_size: u64,
    /// How much is in memory.
    pub resident: u64,
    /// How much is on swap.
    pub swap: u64,
    /// Size of locked mappings that are not listed: files' contents that are not written to, and
    /// inaccessible memory. Processes that lock everything (`mlockall`) have them.
    pub other_locked: u64,
}

/// Why a process could not be inspected.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no process of this number.
    NoProcess(u32),
    /// It may not be looked at by who asks.
    NotAllowed(u32, Unreadable),
    /// It has no memory of its own: a thread of the kernel, or a process that has ended and not been waited
    /// for.
    NoMemory(u32),
    /// The kernel does not say how mappings are treated (the lines `VmFlags`, Linux 3.8 or newer).
    NoFlags,
    /// A file could not be read for another reason.
    Unreadable(Unreadable),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProcess(pid) => write!(f, "there is no process {pid}"),
            Self::NotAllowed(pid, error) => write!(
                f,
                "process {pid} may not be inspected: {error}; run this as root, or as the user of the \
                 process where ptrace_scope and the process allow it"
            ),
            Self::NoMemory(pid) => write!(
                f,
                "process {pid} has no memory of its own: it is a thread of the kernel, or has ended"
            ),
            Self::NoFlags => {
                f.write_str("/proc/PID/smaps has no VmFlags here: nothing can be told")
            }
            Self::Unreadable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotAllowed(_, error) | Self::Unreadable(error) => Some(&error.error),
            _ => None,
        }
    }
}

/// Looks at a process. The process goes on meanwhile: mappings that change while they are read may be seen
/// half.
///
/// # Errors
/// When there is no such process, or it may not be looked at.
pub fn inspect(host: &Host, pid: u32) -> Result<Report, Error> {
    let read = |name: &str| match host.read(&format!("/proc/{pid}/{name}")) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(Error::NoProcess(pid)),
        Err(error) if error.error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Error::NotAllowed(pid, error))
        }
        Err(error) => Err(Error::Unreadable(error)),
    };
    let status = read("status")?;
    let smaps = read("smaps")?;
    let limits = read("limits")?;
    let filter = parse::hexadecimal(&read("coredump_filter").unwrap_or_default());

    let mappings = smaps::mappings(&smaps);
    if mappings.is_empty() {
        return Err(Error::NoMemory(pid));
    }
    if mappings.iter().all(|mapping| mapping.flags.is_none()) {
        return Err(Error::NoFlags);
    }
    let owner = host.owner(&format!("/proc/{pid}/status"));
    let process = process(pid, &status, &limits, filter, owner);
    let (regions, totals) = regions(&mappings, process.core_filter);
    let findings = findings(&process, &regions, &totals);
    let severity = worst(&findings);
    Ok(Report {
        format: "bitcoin-support-inspect",
        version: crate::SCHEMA,
        process,
        severity,
        regions,
        totals,
        findings,
    })
}

fn process(
    pid: u32,
    status: &str,
    limits: &str,
    filter: Option<u64>,
    owner: Option<u32>,
) -> Process {
    let limit = |name| parse::limit(limits, name).and_then(|limit| limit.soft);
    let field = |name| parse::field(status, name);
    // The real and the effective one.
    let uid = field("Uid").and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok());
    Process {
        pid,
        name: field("Name").unwrap_or("").to_owned(),
        uid,
        locked: field("VmLck").and_then(parse::kilobytes).unwrap_or(0),
        lock_limit: limit("Max locked memory"),
        lock_limit_exempt: is_exempt(status),
        core_limit: limit("Max core file size"),
        core_filter: filter.unwrap_or(DEFAULT_CORE_FILTER),
        dumpable: dumpable(uid, owner),
        tracer: field("TracerPid").and_then(|pid| pid.parse().ok()).filter(|&pid| pid != 0),
    }
}

/// The files in `/proc/PID` of a process that may not be dumped are root's.
fn dumpable(uid: Option<u32>, owner: Option<u32>) -> Option<bool> {
    let (uid, owner) = (uid?, owner?);
    if uid == 0 { None } else { Some(uid == owner) }
}

/// What of the mappings is of interest.
fn regions(mappings: &[Mapping], core_filter: u64) -> (Vec<Region>, Totals) {
    let mut regions = Vec::new();
    let mut totals = Totals::default();
    for (index, mapping) in mappings.iter().enumerate() {
        let flags = mapping.flags.unwrap_or_default();
        let before = index.checked_sub(1).map(|index| &mappings[index]);
        let guard_before =
            before.is_some_and(|before| before.end == mapping.start && before.is_inaccessible());
        let guard_after = mappings
            .get(index + 1)
            .is_some_and(|after| mapping.end == after.start && after.is_inaccessible());
        let guarded = guard_before && guard_after;
        let Some(kind) = kind(mapping, flags, guarded) else {
            if flags.locked {
                totals.other_locked = totals.other_locked.saturating_add(mapping.size());
            }
            continue;
        };
        let fork = match flags {
            Flags { dont_fork: true, .. } => Fork::Absent,
            Flags { wipe_on_fork: true, .. } => Fork::Wiped,
            _ if mapping.shared => Fork::Shared,
            _ => Fork::Copy,
        };
        let region = Region {
            start: mapping.start,
            end: mapping.end,
            size: mapping.size(),
            kind,
            path: mapping.path.clone(),
            locked: flags.locked,
            locked_bytes: mapping.locked,
            resident_bytes: mapping.resident,
            swap_bytes: mapping.swap,
            dont_dump: flags.dont_dump,
            dumpable: is_dumped(mapping, flags, core_filter),
            fork,
            no_huge_pages: flags.no_huge_pages,
            huge_bytes: mapping.huge,
            mergeable: flags.mergeable,
            guard_before,
            guard_after,
        };
        totals.regions += 1;
        totals.arenas += usize::from(kind == Kind::Arena);
        let size = if region.locked { &mut totals.locked_size } else { &mut totals.unlocked_size };
        *size = size.saturating_add(region.size);
        totals.resident = totals.resident.saturating_add(region.resident_bytes);
        totals.swap = totals.swap.saturating_add(region.swap_bytes);
        regions.push(region);
    }
    (regions, totals)
}

/// `None` for what is not listed.
fn kind(mapping: &Mapping, flags: Flags, guarded: bool) -> Option<Kind> {
    if mapping.is_secret_memory() {
        return Some(Kind::SecretMemory);
    }
    if flags.device {
        return None;
    }
    // A secret may be kept inaccessible while it is not in use.
    let plain = mapping.is_anonymous() && (!mapping.is_inaccessible() || flags.dont_dump);
    match flags {
        Flags { locked: true, dont_dump: true, .. } if plain && guarded => Some(Kind::Arena),
        Flags { locked: true, .. } if plain || mapping.access.write => Some(Kind::Locked),
        // Huge pages are not swapped, and need no lock.
        Flags { locked: false, dont_dump: true, huge_tlb: false, .. }
            if plain && mapping.access.write =>
        {
            Some(Kind::Unlocked)
        }
        _ => None,
    }
}

/// Whether a core dump has a mapping: what core(5) says of the filter's bits.
fn is_dumped(mapping: &Mapping, flags: Flags, filter: u64) -> bool {
    let has = |bit: u32| filter >> bit & 1 == 1;
    if flags.dont_dump || flags.device {
        return false;
    }
    match mapping.shared {
        true if flags.huge_tlb => has(6),
        false if flags.huge_tlb => has(5),
        // A file without a name is anonymous memory that is shared.
        true if mapping.path.ends_with(" (deleted)") => has(1),
        true => has(3),
        false if mapping.is_anonymous() || mapping.path.starts_with('[') => has(0),
        // What was written to is no longer the file's.
        false => has(2) || (has(0) && mapping.access.write),
    }
}

/// A few of the addresses, for people.
fn places<'a>(regions: impl Iterator<Item = &'a Region> + Clone) -> String {
    const SHOWN: usize = 3;
    let mut text = regions
        .clone()
        .take(SHOWN)
        .map(|r| format!("{:#x}", r.start))
        .collect::<Vec<_>>()
        .join(", ");
    let more = regions.count().saturating_sub(SHOWN);
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

pub(crate) fn count(number: usize) -> String {
    if number == 1 { "1 region".into() } else { format!("{number} regions") }
}

/// One finding for each question, whatever the answer.
fn findings(process: &Process, regions: &[Region], totals: &Totals) -> Vec<Finding> {
    let mut findings = vec![locked_regions(regions, totals), lock_limit(process)];

    // A finding about those regions that have some fault, or that none has it.
    let mut about = |id,
                     severity,
                     faulty: fn(&Region) -> bool,
                     none: &str,
                     what: &str,
                     means: &str,
                     remedy: &str| {
        let those = regions.iter().filter(|region| faulty(region));
        let number = those.clone().count();
        findings.push(if number == 0 {
            Finding::new(id, Severity::Ok, "none", none)
        } else {
            let seen = format!("{} {what}: {}", count(number), places(those));
            Finding::new(id, severity, seen, means).remedy(remedy)
        });
    };
    about(
        "unlocked-regions",
        Severity::Warning,
        |region| region.kind == Kind::Unlocked,
        "Nothing that is kept from core dumps is left to be swapped.",
        "not locked, though left out of core dumps",
        "Probably secrets that may be swapped: the lock was refused, or a fork lost it (a daemon that does \
         not lock again in the child).",
        "Raise the limit (`LimitMEMLOCK=` in the systemd unit, `ulimit -l` in a shell), or run the process \
         in the foreground.",
    );
    about(
        "swapped-regions",
        Severity::Danger,
        |region| region.swap_bytes > 0,
        "Nothing of these regions is on swap.",
        "with pages on swap",
        "What was in them is on the swap area, and stays there when the process has ended.",
        "Replace the keys if the swap area is not encrypted; `swapoff` and overwrite it. Then see why the \
         memory was not locked.",
    );
    about(
        "dumpable-regions",
        Severity::Warning,
        |region| region.dumpable,
        "A core dump has none of these regions.",
        "in core dumps",
        "Locked memory that a core dump writes to disk all the same.",
        "`LimitCORE=0` in the systemd unit; the program should ask for MADV_DONTDUMP.",
    );
    about(
        "unguarded-regions",
        Severity::Note,
        // Memory of memfd_secret is placed by who maps it.
        |region| region.locked && !(region.guard_before && region.guard_after),
        "Around each region lies inaccessible memory: who runs over its edge is stopped.",
        "without inaccessible memory on both sides",
        "Who reads or writes past the end of a neighbour reaches the secrets.",
        "The library puts guard pages around its arenas; see which code locks these.",
    );
    about(
        "mergeable-regions",
        Severity::Warning,
        |region| region.mergeable,
        "No page is merged with equal ones of other processes.",
        "that may be merged with equal pages",
        "Another process can find out by timing whether it has the same page.",
        "No `MemoryKSM=yes` in the systemd unit; `echo 2 >/sys/kernel/mm/ksm/run`.",
    );
    about(
        "huge-page-regions",
        Severity::Note,
        |region| region.huge_bytes > 0,
        "None of these regions is in transparent huge pages.",
        "in transparent huge pages",
        "More memory may be locked than was asked for.",
        "`echo madvise >/sys/kernel/mm/transparent_hugepage/enabled`.",
    );
    findings.push(reachable(process));
    findings
}

fn locked_regions(regions: &[Region], totals: &Totals) -> Finding {
    const ID: &str = "locked-regions";
    let locked = regions.iter().filter(|region| region.locked).count();
    if locked == 0 {
        let means = "The process keeps no secrets in locked memory: it has none, or locking them failed, or \
                     a fork lost the locks.";
        return Finding::new(ID, Severity::Warning, "none", means).remedy(
            "A node should have one arena at least. See what it says of locked memory \
             (`getmemoryinfo`), and its limit.",
        );
    }
    let seen = format!("{}, {} in all", count(locked), amount(Some(totals.locked_size)));
    Finding::new(ID, Severity::Ok, seen, "They are never written to swap.")
}

fn lock_limit(process: &Process) -> Finding {
    const ID: &str = "lock-limit";
    let seen = format!("{} of {} used", amount(Some(process.locked)), amount(process.lock_limit));
    let left = process.lock_limit.map_or(u64::MAX, |limit| limit.saturating_sub(process.locked));
    if process.lock_limit_exempt {
        let seen = format!("{seen}; exempt (CAP_IPC_LOCK)");
        return Finding::new(ID, Severity::Ok, seen, "The limit does not count for this process.");
    }
    if left >= ARENA {
        return Finding::new(ID, Severity::Ok, seen, "There is room for more secrets.");
    }
    let means = "No room to lock another arena of 256 KiB. Smaller ones are tried; then secrets are kept in \
                 memory that may be swapped.";
    Finding::new(ID, Severity::Note, seen, means)
        .remedy("Raise it: `LimitMEMLOCK=` in the systemd unit, `ulimit -l` in a shell.")
}

/// Who can look into the process now.
fn reachable(process: &Process) -> Finding {
    const ID: &str = "reachable";
    if let Some(tracer) = process.tracer {
        let seen = format!("process {tracer} traces it");
        let means = "A debugger reads and writes all its memory, locked memory too.";
        return Finding::new(ID, Severity::Warning, seen, means)
            .remedy(format!("If it should not: `ps {tracer}`."));
    }
    match process.dumpable {
        Some(false) => {
            let means = "It makes no core dumps, and its own user cannot trace it.";
            Finding::new(ID, Severity::Ok, "not dumpable", means)
        }
        Some(true) => {
            let means = "It may make core dumps, and other processes of its user may trace it as far as \
                         ptrace_scope lets them.";
            Finding::new(ID, Severity::Note, "dumpable", means)
                .remedy("See `bitcoin-support check`: core-dumps and ptrace-scope.")
        }
        None => {
            let means = "Processes of root do not show whether they may be dumped. Root reads all but secret \
                         memory.";
            Finding::new(ID, Severity::Note, "not known", means)
                .remedy("Run the node as a user of its own.")
        }
    }
}

#[cfg(test)]
mod tests;
