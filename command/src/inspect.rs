//! The locked memory of a running process, as `/proc` shows it.
//!
//! It reads the kernel's data about mappings, never their contents. The process does not notice.
//! `check` finds out whether the process may lock without limit.

use crate::amount::amount;
use crate::cgroup::{SwapLimit, swap_limit};
use crate::check::{Exemption, exemption};
use crate::finding::{Finding, Severity, worst};
use crate::hardening::{Shown, Step, of_the_process};
use crate::host::{Host, Unreadable};
use crate::parse::smaps::{self, Flags, Mapping};
use crate::parse::{self, Bound};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::io;

/// Size in bytes of an arena, which the library maps as a whole.
const ARENA: u64 = 256 << 10;

/// The kernel's default filter for core dumps.
const DEFAULT_CORE_FILTER: u64 = 0x33;

/// What is known of a process.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The process as a whole.
    pub process: Process,
    /// The worst of the findings.
    pub severity: Severity,
    /// Its regions, by address.
    pub regions: Vec<Region>,
    /// Sums over them.
    pub totals: Totals,
    /// The findings, in a fixed order.
    pub findings: Vec<Finding>,
}

/// A process. Sizes are in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name. The process can choose it freely.
    pub name: String,
    /// The user it runs as (the effective one).
    pub uid: Option<u32>,
    /// When it started: in clock ticks after the start of the host. No other process has this and
    /// the same number.
    pub started: Option<u64>,
    /// Bytes that it has locked, by the kernel's count (`VmLck`).
    pub locked: u64,
    /// Bytes that it may lock (`RLIMIT_MEMLOCK`, soft); null for no limit.
    pub lock_limit: Bound,
    /// Whether it is exempt from that limit (`CAP_IPC_LOCK` in the first user namespace).
    pub lock_limit_exempt: bool,
    /// Whether it has `CAP_IPC_LOCK` only in another user namespace (a rootless container), which
    /// does not lift the limit.
    pub lock_limit_namespaced: bool,
    /// Bytes of its control group, or of one above, that may be swapped; null if there is no limit,
    /// or none is visible.
    pub swap_limit: Bound,
    /// Whether no memory of the process is ever swapped, because that limit is 0 in a group of
    /// version 2.
    pub swap_forbidden: bool,
    /// Largest core file (`RLIMIT_CORE`, soft); null for no limit.
    pub core_limit: Bound,
    /// The kinds of memory in its core dumps (`coredump_filter`).
    pub core_filter: u64,
    /// Whether it may be dumped, and traced by its own user; null if `/proc` does not show it, as
    /// for processes of root.
    pub dumpable: Option<bool>,
    /// The process that traces it, such as a debugger.
    pub tracer: Option<u32>,
    /// The steps of `harden_process`, each with whether it has been taken.
    pub hardening: Vec<Step>,
}

/// The kind of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Locked, not dumped, not of a file, between guard pages: like an arena of the library.
    Arena,
    /// Locked, but not like an arena in every respect.
    Locked,
    /// Memory of `memfd_secret`: locked, not dumped, and even root cannot read it from outside.
    SecretMemory,
    /// Left out of core dumps like secrets, but not locked: an arena that could not be locked, or
    /// that lost its lock in a fork.
    Unlocked,
}

impl Kind {
    /// The name, as in JSON.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::SecretMemory => "secret_memory",
            other => other.name(),
        }
    }

    /// The name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Arena => "arena",
            Self::Locked => "locked",
            Self::SecretMemory => "secret",
            Self::Unlocked => "unlocked",
        }
    }
}

/// What happens to a region in a forked child.
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

/// A mapping that is locked, or that probably should be. Sizes are in bytes.
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
    /// Its kind.
    pub kind: Kind,
    /// The mapping's name, empty for anonymous memory.
    pub path: String,
    /// Whether it is locked (flag `lo`).
    pub locked: bool,
    /// Bytes that are in memory and locked.
    pub locked_bytes: u64,
    /// Bytes in memory.
    pub resident_bytes: u64,
    /// Bytes on swap.
    pub swap_bytes: u64,
    /// Whether the process leaves it out of core dumps (flag `dd`).
    pub dont_dump: bool,
    /// Whether a core dump has it, by that flag and the process's filter.
    pub dumpable: bool,
    /// What happens to it in a forked child.
    pub fork: Fork,
    /// Whether the process excludes it from huge pages (flag `nh`).
    pub no_huge_pages: bool,
    /// Bytes in transparent huge pages.
    pub huge_bytes: u64,
    /// Whether it may be merged with equal pages (flag `mg`).
    pub mergeable: bool,
    /// Whether inaccessible memory lies right before it.
    pub guard_before: bool,
    /// Whether inaccessible memory lies right behind it.
    pub guard_after: bool,
    /// Whether the kernel refuses to unmap it or to change the access to it (flag `sl`, Linux
    /// 6.10).
    pub sealed: bool,
    /// Whether guards may lie inside it (flag `gu`, Linux 6.19 or newer).
    pub guards_inside: bool,
    /// Whether it may get transparent huge pages: the kernel finds it eligible, and the process
    /// does not exclude it.
    pub huge_eligible: bool,
    /// The flags in its line `VmFlags`.
    pub flags: String,
}

impl Region {
    /// Whether an access beyond its ends faults, as far as the kernel shows it.
    fn is_guarded(&self) -> bool {
        self.guard_before && self.guard_after || self.guards_inside
    }
}

fn as_address<S: serde::Serializer>(address: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{address:#x}"))
}

/// Sums over the regions, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Number of regions.
    pub regions: usize,
    /// Number of regions that look like arenas of the library.
    pub arenas: usize,
    /// Size of those that are locked.
    pub locked_size: u64,
    /// Size of those that should be locked and are not.
    pub unlocked_size: u64,
    /// Bytes in memory.
    pub resident: u64,
    /// Bytes on swap.
    pub swap: u64,
    /// Size of locked mappings that are not listed: files that are not written to, and inaccessible
    /// memory. A process that locks all its memory (`mlockall`) has them.
    pub other_locked: u64,
    /// Size of mappings that are not listed because they are never on swap: the kernel drops them
    /// when memory is short (`MAP_DROPPABLE`). The C library keeps the state of its random numbers
    /// there.
    pub droppable: u64,
}

/// Why a process could not be inspected.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no process of this number.
    NoProcess(u32),
    /// `/proc` does not show it, because it is mounted with this value of `hidepid`, which hides
    /// the processes of other users. The last field says whether the process exists, if the kernel
    /// tells.
    Hidden(u32, String, Option<bool>),
    /// There is no process of this name, or `/proc` does not show it, because it is mounted with
    /// this value of `hidepid`.
    NoneNamed(String, Option<String>),
    /// `/proc` does not show all processes, because it is mounted with this value of `hidepid`.
    SomeHidden(String),
    /// The caller is not permitted to inspect it.
    NotAllowed(u32, Unreadable),
    /// It is a kernel thread, which has no memory of its own.
    OfKernel(u32),
    /// It has ended: during the inspection, or before, and its parent has not waited for it.
    Ended(u32),
    /// The kernel has no file `smaps`, because it was built without CONFIG_PROC_PAGE_MONITOR.
    NoMappings,
    /// The kernel does not show the flags of mappings (the lines `VmFlags`, since Linux 3.8).
    NoFlags,
    /// A file could not be read for another reason.
    Unreadable(Unreadable),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProcess(pid) => write!(f, "there is no process {pid}"),
            Self::Hidden(pid, hidepid, Some(true)) => write!(
                f,
                "process {pid} may not be inspected: /proc is mounted with hidepid={hidepid} and does not show it; \
                 run this as root"
            ),
            Self::Hidden(pid, hidepid, _) => write!(
                f,
                "there is no process {pid}, or it may not be inspected: /proc is mounted with hidepid={hidepid} and \
                 hides the processes of others; run this as root"
            ),
            Self::NoneNamed(name, None) => {
                write!(f, "there is no process with the name {name:?}")
            }
            Self::NoneNamed(name, Some(hidepid)) => write!(
                f,
                "there is no process with the name {name:?}, or /proc, which is mounted with hidepid={hidepid}, \
                 hides it; run this as root"
            ),
            Self::SomeHidden(hidepid) => write!(
                f,
                "/proc is mounted with hidepid={hidepid} and hides the processes of others; run this as root"
            ),
            Self::NotAllowed(pid, error) => write!(
                f,
                "process {pid} may not be inspected: {error}; run this as root, or as the user of the \
                 process where ptrace_scope and the process allow it"
            ),
            Self::OfKernel(pid) => {
                write!(f, "process {pid} is a thread of the kernel: it has no memory of its own")
            }
            Self::Ended(pid) => {
                write!(f, "process {pid} has ended: it has no memory any more")
            }
            Self::NoMappings => f.write_str(
                "there is no /proc/PID/smaps here: this kernel was built without CONFIG_PROC_PAGE_MONITOR",
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

/// Why a process could not be inspected, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is none of this number or name.
    NoProcess,
    /// `/proc` hides it, or may hide it.
    Hidden,
    /// The caller is not permitted to inspect it.
    NotPermitted,
    /// It is a thread of the kernel.
    OfKernel,
    /// It has ended.
    Ended,
    /// The kernel does not show what is needed.
    NotShown,
    /// A file could not be read for another reason.
    Unreadable,
}

impl Reason {
    /// The name, as in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoProcess => "no_process",
            Self::Hidden => "hidden",
            Self::NotPermitted => "not_permitted",
            Self::OfKernel => "of_kernel",
            Self::Ended => "ended",
            Self::NotShown => "not_shown",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Error {
    /// The kind of the error.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoProcess(_) | Self::NoneNamed(_, None) => Reason::NoProcess,
            Self::Hidden(..) | Self::NoneNamed(_, Some(_)) | Self::SomeHidden(_) => Reason::Hidden,
            Self::NotAllowed(..) => Reason::NotPermitted,
            Self::OfKernel(_) => Reason::OfKernel,
            Self::Ended(_) => Reason::Ended,
            Self::NoMappings | Self::NoFlags => Reason::NotShown,
            Self::Unreadable(_) => Reason::Unreadable,
        }
    }
}

/// Inspects a process. The process runs meanwhile, so mappings that change while they are read may
/// be incomplete in the report. If the process ends meanwhile, that is an error.
///
/// # Errors
/// When there is no such process, the caller may not inspect it, or it has no memory.
pub fn inspect(host: &Host, pid: u32) -> Result<Report, Error> {
    let files = Files { host, pid };
    let status = files.require("status")?;
    let started = files.started()?;
    let (task, smaps) = files.smaps(&status)?;
    let limits = files.require("limits")?;
    // `/proc` shows a thread under its number as it shows a process. But only a process has this
    // file.
    let filter = host.read(&format!("/proc/{task}/coredump_filter")).ok().flatten();
    let filter = filter.and_then(|filter| parse::hexadecimal(&filter));
    let swap = swap_limit(host, &pid.to_string());

    // If the process ends while it is read, the kernel shows only the mappings that are left.
    let task = if task == pid { String::new() } else { format!("task/{task}/") };
    let status_file = format!("{task}status");
    let task_status = files.require(&status_file)?;
    if files.started()? != started {
        return Err(Error::NoProcess(pid));
    }
    if has_ended(&task_status) {
        return Err(Error::Ended(pid));
    }

    let mappings = smaps::mappings(&smaps);
    if mappings.iter().all(|mapping| mapping.flags.is_none()) {
        return Err(Error::NoFlags);
    }
    let seen = Seen {
        name: parse::process_name(&status),
        started,
        status: &task_status,
        limits: &limits,
        filter,
        owner: host.owner(&format!("/proc/{pid}/{status_file}")),
        root: files.read("uid_map").ok().flatten().and_then(|map| parse::mapped_root(&map)),
        exemption: exemption(host, &pid.to_string(), &task_status),
        swap,
    };
    let statuses = files.statuses();
    let shown = Shown {
        statuses: &statuses.iter().map(String::as_str).collect::<Vec<_>>(),
        limits: &limits,
        core_filter: filter,
        has_writable_code: Some(mappings.iter().any(|it| it.access.write && it.access.execute)),
    };
    let mut process = process(pid, seen);
    let (regions, totals) = regions(&mappings, process.core_filter);
    process.hardening = hardening(&shown, &process, &regions);
    let findings = findings(&process, &regions, &totals);
    let severity = worst(&findings);
    Ok(Report { process, severity, regions, totals, findings })
}

/// The files of one process.
struct Files<'a> {
    host: &'a Host,
    pid: u32,
}

impl Files<'_> {
    /// The text of a file. `None` if the file does not exist.
    fn read(&self, name: &str) -> Result<Option<String>, Error> {
        self.host.read(&format!("/proc/{}/{name}", self.pid)).map_err(|error| self.refused(error))
    }

    /// The text of a file that every process has.
    fn require(&self, name: &str) -> Result<String, Error> {
        self.read(name)?.ok_or_else(|| self.absent())
    }

    fn refused(&self, error: Unreadable) -> Error {
        if error.error.kind() == io::ErrorKind::PermissionDenied {
            Error::NotAllowed(self.pid, error)
        } else {
            Error::Unreadable(error)
        }
    }

    /// Why `/proc` does not have the process.
    fn absent(&self) -> Error {
        let there = self.host.has_process(self.pid);
        match self.host.hidepid() {
            Some(value) if there != Some(false) => Error::Hidden(self.pid, value, there),
            _ => Error::NoProcess(self.pid),
        }
    }

    /// The file `status` of each of its threads, as far as they can be read.
    fn statuses(&self) -> Vec<String> {
        let tasks = self.host.names(&format!("/proc/{}/task", self.pid));
        let read = |task: &String| self.read(&format!("task/{task}/status")).ok().flatten();
        let all: Vec<_> = tasks.iter().filter_map(read).collect();
        if all.is_empty() { self.read("status").ok().flatten().into_iter().collect() } else { all }
    }

    /// The time of its start, which does not change as long as the process exists.
    fn started(&self) -> Result<Option<u64>, Error> {
        Ok(self.read("stat")?.and_then(|stat| parse::start_time(&stat)))
    }

    /// The mappings, and the number of the thread that shows them. A process has the number of its
    /// first thread. When that thread has ended before the others, it shows no mappings, and the
    /// others do.
    fn smaps(&self, status: &str) -> Result<(u32, String), Error> {
        let first = self.read("smaps")?;
        if let Some(text) = first.as_ref().filter(|text| !smaps::mappings(text).is_empty()) {
            return Ok((self.pid, text.clone()));
        }
        let tasks = self.host.names(&format!("/proc/{}/task", self.pid));
        for task in
            tasks.iter().filter_map(|task| task.parse().ok()).filter(|&task| task != self.pid)
        {
            let text = self.read(&format!("task/{task}/smaps"))?.unwrap_or_default();
            if !smaps::mappings(&text).is_empty() {
                return Ok((task, text));
            }
        }
        // No thread shows mappings. The status says why.
        let after = self.require("status")?;
        Err(if has_ended(status) || has_ended(&after) {
            Error::Ended(self.pid)
        } else if first.is_none() && parse::field(&after, "VmSize").is_some() {
            Error::NoMappings
        } else if parse::field(&after, "Kthread") == Some("0") {
            // The process has freed its memory, and is about to end.
            Error::Ended(self.pid)
        } else {
            Error::OfKernel(self.pid)
        })
    }
}

/// Whether a process has ended, and may still exist as a zombie.
fn has_ended(status: &str) -> bool {
    parse::field(status, "State").is_some_and(|state| state.starts_with(['Z', 'X']))
}

/// The data of a process, except its mappings.
struct Seen<'a> {
    name: String,
    started: Option<u64>,
    /// Of the thread whose mappings were read.
    status: &'a str,
    limits: &'a str,
    filter: Option<u64>,
    owner: Option<u32>,
    /// The user that is root in the process's user namespace.
    root: Option<u32>,
    exemption: Exemption,
    swap: Option<SwapLimit>,
}

fn process(pid: u32, seen: Seen<'_>) -> Process {
    let limit = |name| parse::limit(seen.limits, name).and_then(|limit| limit.soft);
    let field = |name| parse::field(seen.status, name);
    // The first two numbers are the real and the effective user.
    let uid = field("Uid").and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok());
    Process {
        pid,
        name: seen.name,
        uid,
        started: seen.started,
        locked: field("VmLck").and_then(parse::kilobytes).unwrap_or(0),
        lock_limit: limit("Max locked memory"),
        lock_limit_exempt: seen.exemption == Exemption::Whole,
        lock_limit_namespaced: seen.exemption == Exemption::InUserNamespace,
        swap_limit: seen.swap.as_ref().and_then(|limit| limit.bytes),
        swap_forbidden: seen.swap.as_ref().is_some_and(SwapLimit::forbids_swap),
        core_limit: limit("Max core file size"),
        core_filter: seen.filter.unwrap_or(DEFAULT_CORE_FILTER),
        dumpable: dumpable(uid, seen.owner, seen.root),
        tracer: field("TracerPid").and_then(|pid| pid.parse().ok()).filter(|&pid| pid != 0),
        // It takes the mappings too.
        hardening: Vec::new(),
    }
}

/// Whether the process may be dumped. If not, its files in `/proc/PID` belong to the root of its
/// user namespace, whose number is `root` here. `None` if the process runs as that user, because
/// the owner is the same in both cases.
fn dumpable(uid: Option<u32>, owner: Option<u32>, root: Option<u32>) -> Option<bool> {
    let (uid, owner) = (uid?, owner?);
    if uid == 0 || Some(uid) == root { None } else { Some(uid == owner) }
}

/// The regions among the mappings, with the sums over them.
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
            if flags.droppable {
                totals.droppable = totals.droppable.saturating_add(mapping.size());
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
            sealed: flags.sealed,
            guards_inside: flags.guards_inside,
            huge_eligible: mapping.huge_eligible && !flags.no_huge_pages,
            flags: mapping.flag_words.clone(),
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

/// The kind of a mapping. `None` if it is not listed.
fn kind(mapping: &Mapping, flags: Flags, guarded: bool) -> Option<Kind> {
    if mapping.is_secret_memory() {
        return Some(Kind::SecretMemory);
    }
    // Droppable memory is never swapped, and cannot be locked.
    if flags.device || flags.droppable {
        return None;
    }
    // A secret may be kept inaccessible while it is not in use.
    let plain = mapping.is_anonymous() && (!mapping.is_inaccessible() || flags.dont_dump);
    match flags {
        Flags { locked: true, dont_dump: true, .. } if plain && guarded => Some(Kind::Arena),
        Flags { locked: true, .. } if plain || mapping.access.write => Some(Kind::Locked),
        // Huge pages are never swapped, so they need no lock.
        Flags { locked: false, dont_dump: true, huge_tlb: false, .. }
            if plain && mapping.access.write =>
        {
            Some(Kind::Unlocked)
        }
        _ => None,
    }
}

/// Whether a core dump contains a mapping, by the bits of the filter as core(5) describes them.
fn is_dumped(mapping: &Mapping, flags: Flags, filter: u64) -> bool {
    let has = |bit: u32| filter >> bit & 1 == 1;
    if flags.dont_dump || flags.device {
        return false;
    }
    match mapping.shared {
        true if flags.huge_tlb => has(6),
        false if flags.huge_tlb => has(5),
        // A file that has been deleted is shared anonymous memory.
        true if mapping.path.ends_with(" (deleted)") => has(1),
        true => has(3),
        false if mapping.is_anonymous() || mapping.path.starts_with('[') => has(0),
        // Pages that were written to are no longer part of the file.
        false => has(2) || (has(0) && mapping.access.write),
    }
}

/// The first few addresses, for people.
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

/// A check of each region. The finding names the faulty regions.
struct Question {
    id: &'static str,
    severity: Severity,
    is_faulty: fn(&Region) -> bool,
    /// The meaning when no region is faulty.
    none: &'static str,
    /// The fault, as text between the number of faulty regions and their addresses.
    what: &'static str,
    means: &'static str,
    remedy: &'static str,
}

impl Question {
    fn ask(&self, regions: &[Region]) -> Finding {
        let those = regions.iter().filter(|region| (self.is_faulty)(region));
        let number = those.clone().count();
        if number == 0 {
            return Finding::new(self.id, Severity::Ok, "none", self.none);
        }
        let seen = format!("{} {}: {}", count(number), self.what, places(those));
        Finding::new(self.id, self.severity, seen, self.means).remedy(self.remedy)
    }
}

/// One finding for each check.
fn findings(process: &Process, regions: &[Region], totals: &Totals) -> Vec<Finding> {
    let unlocked = Question {
        id: "unlocked-regions",
        severity: Severity::Warning,
        is_faulty: |region| region.kind == Kind::Unlocked,
        none: "All memory that is left out of core dumps is locked.",
        what: "not locked, though left out of core dumps",
        means: "Probably secrets that may be swapped: the lock was refused, or a fork lost it (a daemon that does \
                not lock again in the child).",
        remedy: "Raise the limit (`LimitMEMLOCK=` in the systemd unit, `ulimit -l` in a shell), or run the process \
                 in the foreground. In the unit, `MemorySwapMax=0` keeps all of the process from swap.",
    };
    // If the process may not be swapped at all, its memory needs no lock.
    let unlocked = if process.swap_forbidden {
        Question {
            severity: Severity::Note,
            means: "Probably secrets whose lock was refused, or that a fork lost. They are not swapped all the \
                    same: the control group forbids it (memory.swap.max).",
            ..unlocked
        }
    } else {
        unlocked
    };
    let mut findings =
        vec![locked_regions(regions, totals), lock_limit(process), unlocked.ask(regions)];
    findings.extend(QUESTIONS.iter().map(|question| question.ask(regions)));
    findings.push(fork_policies(regions));
    findings.push(unknown_flags(regions));
    findings.push(cgroup_swap(process));
    findings.push(reachable(process));
    findings.extend(process.hardening.iter().map(Step::finding));
    findings
}

/// The other checks. If the kernel refused the library a protection, the statistics of the pool
/// count that, and the region is faulty here.
const QUESTIONS: [Question; 5] = [
    Question {
        id: "swapped-regions",
        severity: Severity::Danger,
        is_faulty: |region| region.swap_bytes > 0,
        none: "Nothing of these regions is on swap.",
        what: "with pages on swap",
        means: "Their contents are on the swap area, and stay there after the process has ended.",
        remedy: "Replace the keys if the swap area is not encrypted; `swapoff` and overwrite it. Then see why the \
                 memory was not locked.",
    },
    Question {
        id: "dumpable-regions",
        severity: Severity::Warning,
        is_faulty: |region| region.dumpable,
        none: "A core dump has none of these regions.",
        what: "in core dumps (not excluded by MADV_DONTDUMP)",
        means: "A core dump writes this locked memory to disk: the program does not exclude it, or the kernel has \
                refused that.",
        remedy: "`LimitCORE=0` in the systemd unit. The program should ask for MADV_DONTDUMP; where it does, a \
                 sandbox refuses madvise.",
    },
    Question {
        id: "unguarded-regions",
        severity: Severity::Note,
        // Memory of memfd_secret is placed by the program that maps it.
        is_faulty: |region| region.locked && !region.is_guarded(),
        none: "There is inaccessible memory on both sides of each region, so an access beyond its ends faults.",
        what: "without inaccessible memory on both sides",
        means: "Code that reads or writes past the end of a neighbour reaches the secrets.",
        remedy: "The library puts guard pages around its arenas. Find out which code has locked these regions.",
    },
    Question {
        id: "mergeable-regions",
        severity: Severity::Warning,
        is_faulty: |region| region.mergeable,
        none: "No page is merged with equal ones of other processes.",
        what: "that may be merged with equal pages (not excluded by MADV_UNMERGEABLE)",
        means: "Another process can find out by timing whether it has the same page.",
        remedy: "No `MemoryKSM=yes` in the systemd unit; `echo 2 >/sys/kernel/mm/ksm/run`.",
    },
    Question {
        id: "huge-page-regions",
        severity: Severity::Note,
        is_faulty: |region| region.huge_bytes > 0 || region.huge_eligible,
        none: "None of these regions is in transparent huge pages, or will be.",
        what: "in transparent huge pages, or eligible for them (not excluded by MADV_NOHUGEPAGE)",
        means: "More memory may be locked than the program has requested.",
        remedy: "`echo madvise >/sys/kernel/mm/transparent_hugepage/enabled`.",
    },
];

/// What happens to the regions in a forked child. A program chooses it for each pool. If a child
/// gets some arenas and not others, that may be the program's choice, or the kernel has refused
/// some.
fn fork_policies(regions: &[Region]) -> Finding {
    const ID: &str = "fork-policies";
    let of = |fork| regions.iter().filter(move |region| region.fork == fork);
    let all = [
        (Fork::Copy, "copied"),
        (Fork::Shared, "shared"),
        (Fork::Wiped, "wiped"),
        (Fork::Absent, "absent"),
    ];
    let seen: Vec<_> = all
        .into_iter()
        .filter_map(|(fork, word)| match of(fork).count() {
            0 => None,
            number => Some(format!("{} {word}", count(number))),
        })
        .collect();
    let kept = of(Fork::Copy).filter(|region| region.kind == Kind::Arena);
    let withheld = of(Fork::Wiped).chain(of(Fork::Absent)).any(|region| region.kind == Kind::Arena);
    if withheld && kept.clone().next().is_some() {
        let seen = format!("{}; those copied: {}", seen.join(", "), places(kept));
        let means = "A forked child has copies of some arenas, and of others not. That is as the program chose \
                     for each of its pools, or MADV_WIPEONFORK and MADV_DONTFORK were refused for some.";
        return Finding::new(ID, Severity::Note, seen, means).remedy(
            "Compare with the refused protections in the statistics of the program's pools.",
        );
    }
    if seen.is_empty() {
        return Finding::new(ID, Severity::Ok, "none", "A forked child inherits no such region.");
    }
    let means = "What happens to the regions in a forked child. The child's copies are not locked unless it locks them.";
    Finding::new(ID, Severity::Ok, seen.join(", "), means)
}

/// Flags in `VmFlags` that this command does not know.
fn unknown_flags(regions: &[Region]) -> Finding {
    const ID: &str = "unknown-flags";
    let unknown = |region: &Region| smaps::unknown_flags(&region.flags).next().is_some();
    let those = regions.iter().filter(|region| unknown(region));
    let words: BTreeSet<_> =
        those.clone().flat_map(|region| smaps::unknown_flags(&region.flags)).collect();
    if words.is_empty() {
        let means = "The command knows all flags of these regions.";
        return Finding::new(ID, Severity::Ok, "none", means);
    }
    let words: Vec<_> = words.into_iter().collect();
    let seen =
        format!("{} of {}: {}", words.join(" "), count(those.clone().count()), places(those));
    let means = "These regions have flags that this command does not know. The report about them may be incomplete.";
    Finding::new(ID, Severity::Note, seen, means).remedy("Use a newer bitcoin-support.")
}

/// How much of the process its control group allows to be swapped.
fn cgroup_swap(process: &Process) -> Finding {
    const ID: &str = "cgroup-swap";
    let seen = format!("{} may be swapped", amount(process.swap_limit));
    let means = if process.swap_forbidden {
        "Nothing of the process is swapped, locked or not: its control group forbids it (memory.swap.max)."
    } else {
        "Memory that is not locked may be swapped if the host has swap. `MemorySwapMax=0` in the systemd unit \
         forbids it."
    };
    Finding::new(ID, Severity::Ok, seen, means)
}

fn locked_regions(regions: &[Region], totals: &Totals) -> Finding {
    const ID: &str = "locked-regions";
    let locked = regions.iter().filter(|region| region.locked).count();
    if locked == 0 {
        let means = "The process keeps no secrets in locked memory: it has none, or locking them failed, or \
                     a fork lost the locks.";
        return Finding::new(ID, Severity::Warning, "none", means).remedy(
            "A program that uses the library for secrets has one arena at least. See what it says of locked \
             memory (bitcoind: `getmemoryinfo`), and its limit.",
        );
    }
    let seen = format!("{}, {} in all", count(locked), amount(Some(totals.locked_size)));
    Finding::new(ID, Severity::Ok, seen, "They are never written to swap.")
}

fn lock_limit(process: &Process) -> Finding {
    const ID: &str = "lock-limit";
    let mut seen =
        format!("{} of {} used", amount(Some(process.locked)), amount(process.lock_limit));
    if process.lock_limit_namespaced {
        seen += "; CAP_IPC_LOCK of its user namespace (a rootless container) does not lift it";
    }
    let left = process.lock_limit.map_or(u64::MAX, |limit| limit.saturating_sub(process.locked));
    if process.lock_limit_exempt {
        let seen = format!("{seen}; exempt (CAP_IPC_LOCK)");
        return Finding::new(ID, Severity::Ok, seen, "This process is exempt from the limit.");
    }
    if left >= ARENA {
        return Finding::new(ID, Severity::Ok, seen, "There is room for more secrets.");
    }
    let means = "No room to lock another arena of 256 KiB. Smaller ones are tried; then secrets are kept in \
                 memory that may be swapped.";
    Finding::new(ID, Severity::Note, seen, means)
        .remedy("Raise it: `LimitMEMLOCK=` in the systemd unit, `ulimit -l` in a shell, `--ulimit memlock` of a container.")
}

/// The steps of `harden_process`: those that a process inherits, and those that it takes itself.
fn hardening(shown: &Shown<'_>, process: &Process, regions: &[Region]) -> Vec<Step> {
    // As high as the process may raise it.
    let limit = parse::limit(shown.limits, "Max locked memory").and_then(|limit| limit.hard);
    let mut steps = shown.inherited(limit);
    let mut arenas = regions.iter().filter(|region| region.kind == Kind::Arena).peekable();
    let sealed = arenas.peek().is_some() && arenas.all(|arena| arena.sealed);
    steps.push(of_the_process(
        "sealed-pool",
        Some(sealed),
        "Whether the kernel refuses to unmap each arena and to change the access to it.",
    ));
    steps.push(of_the_process(
        "not-dumpable",
        process.dumpable.map(|dumpable| !dumpable),
        "Whether it makes no core dumps, and its own user cannot trace it.",
    ));
    steps.push(of_the_process(
        "no-tracer",
        None,
        "Whether it has named no process to Yama that may trace it.",
    ));
    steps
}

/// Which processes can read the process's memory now.
fn reachable(process: &Process) -> Finding {
    const ID: &str = "reachable";
    if let Some(tracer) = process.tracer {
        let seen = format!("process {tracer} traces it");
        let means = "A debugger reads and writes all its memory, locked memory too.";
        return Finding::new(ID, Severity::Warning, seen, means)
            .remedy(format!("If that is not intended: `ps {tracer}`."));
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
                .remedy("Run the program as a separate user.")
        }
    }
}

#[cfg(test)]
mod tests;
