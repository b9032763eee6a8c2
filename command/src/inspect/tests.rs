//! Made-up processes, each finding with what it looks for and without.

use super::*;
use crate::hardening::{INHERITED_UNCHOSEN, State, states};
use crate::made_up;
use crate::printable::printable_json;
use crate::report::Layout;
use std::collections::HashSet;
use std::fs;
use std::path::Path;

const STATUS: &str = "Name:\tnode\nTracerPid:\t0\nUid:\t1000\t1000\t1000\t1000\nVmLck:\t     256 kB\n\
                      CapEff:\t0000000000000000\n";
const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max core file size        0                    unlimited            bytes     
Max locked memory         8388608              8388608              bytes     
";
/// An arena as the library makes it, between what any program has.
const ARENA: &str = "\
00400000-00500000 r-xp 00000000 fe:00 77                         /usr/bin/node
Rss:                 100 kB
VmFlags: rd ex mr mw me 
00600000-00700000 rw-p 00000000 00:00 0                          [heap]
Rss:                 100 kB
VmFlags: rd wr mr mw me ac 
7f0000000000-7f0000001000 ---p 00000000 00:00 0 
VmFlags: mr mw me nr 
7f0000001000-7f0000041000 rw-p 00000000 00:00 0 
Rss:                 256 kB
AnonHugePages:         0 kB
Swap:                  0 kB
Locked:              256 kB
VmFlags: rd wr mr mw me lo ac dd nh 
7f0000041000-7f0000100000 ---p 00000000 00:00 0 
VmFlags: mr mw me nr 
7ffff0000000-7ffff0001000 r--p 00000000 00:00 0                          [vvar]
VmFlags: rd mr io de dd 
";

struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new(smaps: &str) -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        let host = host.write("status", STATUS).write("limits", LIMITS).write("smaps", smaps);
        host.write("coredump_filter", "00000033\n")
    }

    fn write(self, name: &str, text: &str) -> Self {
        made_up::write(&self.0, &format!("proc/7/{name}"), text);
        self
    }

    fn inspect(&self) -> Result<Report, Error> {
        inspect(&Host::copy_at(self.0.path()), 7)
    }

    fn report(&self) -> Report {
        self.inspect().unwrap()
    }
}

/// The severity of one finding when `from` in the arena's text is replaced.
#[track_caller]
fn changed(from: &str, to: &str, id: &str) -> Severity {
    assert!(ARENA.contains(from), "{from:?}");
    severity(&Fixture::new(&ARENA.replace(from, to)).report(), id)
}

#[track_caller]
fn severity(report: &Report, id: &str) -> Severity {
    let found = report.findings.iter().find(|found| found.id == id);
    found.unwrap_or_else(|| panic!("nothing about {id}")).severity
}

#[test]
fn an_arena() {
    let report = Fixture::new(ARENA).report();
    assert_eq!(report.regions.len(), 1);
    let region = &report.regions[0];
    assert_eq!((region.start, region.end), (0x7f00_0000_1000, 0x7f00_0004_1000));
    assert_eq!((region.kind, region.fork), (Kind::Arena, Fork::Copy));
    assert!(region.locked && region.dont_dump && !region.dumpable && !region.mergeable);
    assert!(region.guard_before && region.guard_after && region.no_huge_pages);
    assert_eq!(
        (region.size, region.locked_bytes, region.resident_bytes),
        (ARENA_SIZE, ARENA_SIZE, ARENA_SIZE)
    );
    assert_eq!((region.swap_bytes, region.huge_bytes), (0, 0));
    let totals = Totals {
        regions: 1,
        arenas: 1,
        locked_size: ARENA_SIZE,
        resident: ARENA_SIZE,
        ..Totals::default()
    };
    assert_eq!(report.totals, totals);
    for found in report.findings.iter().filter(|found| found.id != "reachable") {
        assert_eq!(found.severity, Severity::Ok, "{found:?}");
    }
    let process = &report.process;
    assert_eq!((process.pid, process.name.as_str(), process.uid), (7, "node", Some(1000)));
    assert_eq!((process.locked, process.lock_limit), (ARENA_SIZE, Some(8 << 20)));
    assert_eq!((process.core_limit, process.core_filter), (Some(0), 0x33));
}

const ARENA_SIZE: u64 = 256 << 10;

#[test]
fn each_fault_of_a_region_is_found() {
    use Severity::{Danger, Note, Ok as Fine, Warning};
    let flags = "lo ac dd nh";
    for (from, to, id, expected) in [
        (flags, "ac dd nh", "unlocked-regions", Warning),
        (flags, "ac dd nh", "locked-regions", Warning),
        (flags, "lo ac nh", "dumpable-regions", Warning),
        (flags, "lo ac dd nh mg", "mergeable-regions", Warning),
        ("Swap:                  0 kB", "Swap:                  4 kB", "swapped-regions", Danger),
        ("AnonHugePages:         0 kB", "AnonHugePages:      2048 kB", "huge-page-regions", Note),
        (
            "7f0000000000-7f0000001000 ---p",
            "7f0000000000-7f0000000f00 ---p",
            "unguarded-regions",
            Note,
        ),
        (
            "7f0000041000-7f0000100000 ---p",
            "7f0000041000-7f0000100000 rw-p",
            "unguarded-regions",
            Note,
        ),
    ] {
        assert_eq!(changed(from, to, id), expected, "{id} with {to}");
        assert_eq!(changed(flags, flags, id), Fine, "{id}");
    }
    // What was not locked can be on swap as well.
    let both = ARENA
        .replace(flags, "ac dd nh")
        .replace("Swap:                  0", "Swap:                  9");
    let report = Fixture::new(&both).report();
    assert_eq!((report.severity, report.totals.swap), (Danger, 9 << 10));
    assert_eq!((report.totals.locked_size, report.totals.unlocked_size), (0, ARENA_SIZE));
    assert!(report.findings.iter().filter(|f| f.severity > Fine).all(|f| f.remedy.is_some()));
}

#[test]
fn kinds() {
    let kind = |heading: &str, flags: &str| {
        let text = format!(
            "1000-2000 ---p 0 0:0 0\nVmFlags: mr\n{heading}\nVmFlags: {flags}\n4000-5000 ---p 0 0:0 0\nVmFlags: mr\n"
        );
        let report = Fixture::new(&text).report();
        assert!(report.regions.len() <= 1);
        report.regions.first().map(|region| (region.kind, region.fork, region.dumpable))
    };
    let anonymous = "2000-4000 rw-p 0 0:0 0";
    for (heading, flags, expected) in [
        (anonymous, "rd wr lo dd", Some((Kind::Arena, Fork::Copy, false))),
        (anonymous, "rd wr lo dd wf", Some((Kind::Arena, Fork::Wiped, false))),
        (anonymous, "rd wr lo dd dc", Some((Kind::Arena, Fork::Absent, false))),
        (anonymous, "rd wr lo", Some((Kind::Locked, Fork::Copy, true))),
        (anonymous, "rd wr dd", Some((Kind::Unlocked, Fork::Copy, false))),
        (anonymous, "rd wr", None),
        (anonymous, "rd wr dd io", None),
        ("2000-4000 r--p 0 0:0 0", "rd dd", None),
        ("2000-4000 ---p 0 0:0 0", "lo dd", Some((Kind::Arena, Fork::Copy, false))),
        ("2000-4000 ---p 0 0:0 0", "lo", None),
        ("2000-4000 rw-p 0 0:0 0   [anon:keys]", "lo dd", Some((Kind::Arena, Fork::Copy, false))),
        ("2000-4000 rw-p 0 0:0 0   [stack]", "lo", Some((Kind::Locked, Fork::Copy, true))),
        (
            "2000-4000 rw-p 0 0:9 5 /anon_hugepage (deleted)",
            "lo dd ht",
            Some((Kind::Arena, Fork::Copy, false)),
        ),
        ("2000-4000 rw-p 0 0:9 5 /anon_hugepage (deleted)", "dd ht", None),
        (
            "2000-4000 rw-s 0 0:9 5 /secretmem (deleted)",
            "lo dd sh",
            Some((Kind::SecretMemory, Fork::Shared, false)),
        ),
        (
            "2000-4000 rw-s 0 0:9 5 /dev/zero (deleted)",
            "lo sh",
            Some((Kind::Locked, Fork::Shared, true)),
        ),
        ("2000-4000 rw-s 0 fe:0 5 /var/cache", "lo sh", Some((Kind::Locked, Fork::Shared, false))),
        ("2000-4000 r-xp 0 fe:0 5 /usr/bin/node", "lo", None),
        ("2000-4000 rw-p 0 fe:0 5 /usr/bin/node", "lo", Some((Kind::Locked, Fork::Copy, true))),
    ] {
        assert_eq!(kind(heading, flags), expected, "{heading} {flags}");
    }
}

#[test]
fn the_core_filter_decides_what_is_dumped() {
    let text = ARENA.replace("lo ac dd nh", "lo ac nh");
    for (filter, dumped) in [("00000033\n", true), ("00000032\n", false), ("", true)] {
        let report = Fixture::new(&text).write("coredump_filter", filter).report();
        assert_eq!(report.regions[0].dumpable, dumped, "{filter}");
        assert!(!report.regions[0].dont_dump);
    }
    let flags = |text: &str| {
        smaps::mappings(&format!(
            "{text}\nVmFlags: {}\n",
            if text.contains("huge") { "ht" } else { "" }
        ))
    };
    for (heading, bit) in [
        ("1000-2000 rw-p 0 0:0 0", 0),
        ("1000-2000 rw-s 0 0:9 5 /dev/zero (deleted)", 1),
        ("1000-2000 r--p 0 fe:0 5 /lib/x", 2),
        ("1000-2000 rw-s 0 fe:0 5 /var/x", 3),
        ("1000-2000 rw-p 0 0:9 5 /anon_hugepage (deleted)", 5),
        ("1000-2000 rw-s 0 0:9 5 /anon_hugepage (deleted)", 6),
    ] {
        let mapping = &flags(heading)[0];
        let flags = mapping.flags.unwrap();
        assert!(is_dumped(mapping, flags, 1 << bit), "{heading}");
        assert!(!is_dumped(mapping, flags, !(1 << bit)), "{heading}");
    }
}

#[test]
fn the_limit() {
    let of = |status: &str, limit: &str| {
        let limits = LIMITS.replace("8388608  ", limit);
        severity(
            &Fixture::new(ARENA).write("status", status).write("limits", &limits).report(),
            "lock-limit",
        )
    };
    assert_eq!(of(STATUS, "524288   "), Severity::Ok, "room for one more");
    assert_eq!(of(STATUS, "524287   "), Severity::Note);
    assert_eq!(of(STATUS, "unlimited"), Severity::Ok);
    let exempt = STATUS.replace("0000000000000000", "0000000000004000");
    assert_eq!(of(&exempt, "262144   "), Severity::Ok);
}

fn made_up() -> Process {
    let seen = Seen {
        name: "node".into(),
        started: None,
        status: STATUS,
        limits: LIMITS,
        filter: None,
        owner: None,
        root: None,
        exemption: Exemption::None,
        swap: None,
    };
    process(7, seen)
}

#[test]
fn who_can_reach_it() {
    let traced = STATUS.replace("TracerPid:\t0", "TracerPid:\t99");
    let report = Fixture::new(ARENA).write("status", &traced).report();
    assert_eq!(
        (severity(&report, "reachable"), report.process.tracer),
        (Severity::Warning, Some(99))
    );
    for (uid, owner, root, expected, finding) in [
        (Some(1000), Some(1000), Some(0), Some(true), Severity::Note),
        (Some(1000), Some(0), Some(0), Some(false), Severity::Ok),
        (Some(0), Some(0), Some(0), None, Severity::Note),
        (Some(1000), None, Some(0), None, Severity::Note),
        (None, Some(0), Some(0), None, Severity::Note),
        // In a user namespace the files are those of its root.
        (Some(100_999), Some(100_999), Some(100_000), Some(true), Severity::Note),
        (Some(100_999), Some(100_000), Some(100_000), Some(false), Severity::Ok),
        (Some(100_000), Some(100_000), Some(100_000), None, Severity::Note),
        (Some(1000), Some(1000), None, Some(true), Severity::Note),
    ] {
        assert_eq!(dumpable(uid, owner, root), expected);
        let mut process = made_up();
        process.dumpable = expected;
        assert_eq!(reachable(&process).severity, finding);
    }
}

#[test]
fn a_process_that_locks_everything() {
    let all = ARENA.replace("VmFlags: ", "VmFlags: lo ");
    let report = Fixture::new(&all).report();
    // The heap and the arena are of interest; code, guards and what the kernel shares are counted.
    let kinds: Vec<_> = report.regions.iter().map(|region| region.kind).collect();
    assert_eq!(kinds, [Kind::Locked, Kind::Arena]);
    assert_eq!(report.totals.other_locked, 0x100000 + 0x1000 + 0xbf000 + 0x1000);
    assert_eq!(severity(&report, "dumpable-regions"), Severity::Warning);
}

#[test]
fn what_cannot_be_inspected_says_why() {
    let host = Fixture::new(ARENA);
    let other = inspect(&Host::copy_at(host.0.path()), 8).unwrap_err();
    assert!(matches!(other, Error::NoProcess(8)) && other.to_string() == "there is no process 8");
    assert!(matches!(Fixture::new("1000-2000 rw-p 0 0:0 0\n").inspect(), Err(Error::NoFlags)));
    let odd = Fixture::new(ARENA);
    fs::remove_file(odd.0.path().join("proc/7/smaps")).unwrap();
    fs::create_dir(odd.0.path().join("proc/7/smaps")).unwrap();
    assert!(
        matches!(odd.inspect(), Err(Error::Unreadable(error)) if error.path == Path::new("/proc/7/smaps"))
    );
}

/// A process without mappings is a thread of the kernel, or has ended; which of them, and whether
/// the first thread alone.
#[test]
fn processes_without_memory() {
    let without = |status: &str| Fixture::new("").write("status", &(STATUS.to_owned() + status));
    let text = |host: &Fixture| host.inspect().unwrap_err().to_string();
    let kernel = without("State:\tS (sleeping)\nKthread:\t1\n");
    assert!(matches!(kernel.inspect(), Err(Error::OfKernel(7))));
    assert!(text(&kernel).contains("thread of the kernel"));
    // Before Linux 6.8 the line is not there.
    assert!(matches!(without("State:\tI (idle)\n").inspect(), Err(Error::OfKernel(7))));
    let zombie = without("State:\tZ (zombie)\n");
    assert!(matches!(zombie.inspect(), Err(Error::Ended(7))));
    assert_eq!(text(&zombie), "process 7 has ended: it has no memory any more");
    let going = without("State:\tR (running)\nKthread:\t0\n");
    assert!(matches!(going.inspect(), Err(Error::Ended(7))));

    // The first thread has ended, and others go on.
    let threads = zombie
        .write("task/7/smaps", "")
        .write("task/9/smaps", ARENA)
        .write("task/9/status", "Name:\tworker\nState:\tS (sleeping)\nVmLck:\t 64 kB\n");
    let report = threads.report();
    assert_eq!((report.process.pid, report.process.name.as_str()), (7, "node"));
    assert_eq!((report.regions.len(), report.process.locked), (1, 64 << 10));

    // One that ends while it is read shows what is left of its mappings; another may have its
    // number by then.
    let ending = Fixture::new(ARENA).write("status", &(STATUS.to_owned() + "State:\tZ (zombie)\n"));
    assert!(matches!(ending.inspect(), Err(Error::Ended(7))));

    // Kernels without the file.
    let host = Fixture::new(ARENA).write("status", &(STATUS.to_owned() + "VmSize:\t 9 kB\n"));
    fs::remove_file(host.0.path().join("proc/7/smaps")).unwrap();
    assert!(text(&host).contains("CONFIG_PROC_PAGE_MONITOR"), "{}", text(&host));
}

/// Where `/proc` hides the processes of others, one that is not shown may be there.
#[test]
fn processes_that_are_hidden() {
    let host = Fixture::new(ARENA);
    let place = host.0.path().join("proc/self");
    fs::create_dir_all(&place).unwrap();
    let of = |pid, options: &str| {
        let mount = format!("20 1 0:20 / /proc rw - proc proc rw{options}\n");
        fs::write(place.join("mountinfo"), mount).unwrap();
        inspect(&Host::copy_at(host.0.path()), pid)
    };
    let error = of(8, ",hidepid=invisible").unwrap_err().to_string();
    assert!(error.starts_with("there is no process 8, or it may not be inspected"), "{error}");
    assert!(error.contains("hidepid=invisible") && error.contains("run this as root"), "{error}");
    assert_eq!(of(8, "").unwrap_err().to_string(), "there is no process 8");
    assert!(of(7, ",hidepid=2").is_ok(), "its own are shown");
    let error = Error::Hidden(8, "2".into(), Some(true)).to_string();
    assert!(error.starts_with("process 8 may not be inspected"), "{error}");
}

/// The C library's state of random numbers lies in memory that the kernel drops instead of swapping
/// it.
#[test]
fn droppable_memory_is_no_secret_without_lock() {
    let droppable = "\
7f1000000000-7f1000001000 rw-p 00000000 00:00 0 
Rss:                   4 kB
VmFlags: rd wr mr mw me nr wf dd dp 
";
    let report = Fixture::new(&(ARENA.to_owned() + droppable)).report();
    assert_eq!(severity(&report, "unlocked-regions"), Severity::Ok);
    assert_eq!((report.regions.len(), report.totals.droppable), (1, 4096));
    // The control: without the flag it looks like an arena that lost its lock.
    let report = Fixture::new(&(ARENA.to_owned() + &droppable.replace(" dp", ""))).report();
    assert_eq!(severity(&report, "unlocked-regions"), Severity::Warning);
    assert_eq!((report.regions.len(), report.totals.droppable), (2, 0));
}

/// Guards that the kernel keeps in the page tables show as a flag of the mapping.
#[test]
fn guards_inside_a_mapping() {
    let bare = ARENA.replace("7f0000000000-7f0000001000 ---p", "7f0000000000-7f0000001000 rw-p");
    assert_eq!(severity(&Fixture::new(&bare).report(), "unguarded-regions"), Severity::Note);
    let inside = bare.replace("lo ac dd nh", "gu lo ac dd nh");
    let report = Fixture::new(&inside).report();
    assert_eq!(severity(&report, "unguarded-regions"), Severity::Ok);
    assert!(report.regions[0].guards_inside && !report.regions[0].guard_before);
}

#[test]
fn flags_of_a_newer_kernel_are_told() {
    let text = ARENA.replace("lo ac dd nh", "lo ac dd nh zz");
    let report = Fixture::new(&text).report();
    let found = report.findings.iter().find(|found| found.id == "unknown-flags").unwrap();
    assert_eq!(
        (found.severity, found.seen.as_str()),
        (Severity::Note, "zz of 1 region: 0x7f0000001000")
    );
    assert_eq!(severity(&Fixture::new(ARENA).report(), "unknown-flags"), Severity::Ok);
}

/// Each protection that an arena has and this one has not is named.
#[test]
fn a_refused_protection_is_named() {
    let seen = |text: &str, id: &str| {
        let report = Fixture::new(text).report();
        let found = report.findings.into_iter().find(|found| found.id == id).unwrap();
        (found.severity, found.seen)
    };
    let no_dump = ARENA.replace("lo ac dd nh", "lo ac nh");
    let (severity, text) = seen(&no_dump, "dumpable-regions");
    assert!(severity == Severity::Warning && text.contains("MADV_DONTDUMP"), "{text}");
    assert!(text.contains("0x7f0000001000"), "{text}");
    let mergeable = ARENA.replace("lo ac dd nh", "lo ac dd nh mg");
    let (severity, text) = seen(&mergeable, "mergeable-regions");
    assert!(severity == Severity::Warning && text.contains("MADV_UNMERGEABLE"), "{text}");
    // Where the kernel would give it none there is nothing to decline.
    let huge = ARENA.replace("lo ac dd nh", "lo ac dd");
    assert_eq!(seen(&huge, "huge-page-regions").0, Severity::Ok);
    let huge =
        huge.replace("AnonHugePages:         0 kB\n", "AnonHugePages: 0 kB\nTHPeligible:    1\n");
    let (severity, text) = seen(&huge, "huge-page-regions");
    assert!(severity == Severity::Note && text.contains("MADV_NOHUGEPAGE"), "{text}");
    assert_eq!(seen(&huge.replace("lo ac dd", "lo ac dd nh"), "huge-page-regions").0, Severity::Ok);

    // One arena is wiped in children, the other is not.
    let wiped = "7f2000000000-7f2000001000 ---p 0 0:0 0\nVmFlags: mr\n\
                 7f2000001000-7f2000041000 rw-p 0 0:0 0\nVmFlags: rd wr lo dd nh wf\n\
                 7f2000041000-7f2000042000 ---p 0 0:0 0\nVmFlags: mr\n";
    let (severity, text) = seen(&(ARENA.to_owned() + wiped), "fork-policies");
    assert_eq!(severity, Severity::Note);
    assert_eq!(text, "1 region copied, 1 region wiped; those copied: 0x7f0000001000");
    assert_eq!(seen(ARENA, "fork-policies"), (Severity::Ok, "1 region copied".into()));
    assert_eq!(seen(wiped, "fork-policies").0, Severity::Ok);
}

#[test]
fn what_the_control_group_forbids() {
    let unlocked = ARENA.replace("lo ac dd nh", "ac dd nh");
    let host = Fixture::new(&unlocked).write("cgroup", "0::/unit\n");
    assert_eq!(severity(&host.report(), "unlocked-regions"), Severity::Warning);
    assert_eq!(host.report().process.swap_limit, None);
    let write = |path: &str, text: &str| made_up::write(&host.0, path, text);
    write("proc/self/mountinfo", "30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    write("sys/fs/cgroup/unit/memory.swap.max", "4096\n");
    let report = host.report();
    assert_eq!(severity(&report, "unlocked-regions"), Severity::Warning);
    assert_eq!((report.process.swap_limit, report.process.swap_forbidden), (Some(4096), false));
    assert!(report.text(Layout::default()).contains("MemorySwapMax=0"));
    write("sys/fs/cgroup/unit/memory.swap.max", "0\n");
    let report = host.report();
    assert_eq!(severity(&report, "unlocked-regions"), Severity::Note);
    assert_eq!((report.process.swap_limit, report.process.swap_forbidden), (Some(0), true));
}

/// In a user namespace CAP_IPC_LOCK does not lift the limit.
#[test]
fn the_limit_in_a_user_namespace() {
    let status = STATUS.replace("0000000000000000", "0000000000004000");
    let limits = LIMITS.replace("8388608  ", "262144   ");
    let host = Fixture::new(ARENA).write("status", &status).write("limits", &limits);
    assert!(host.report().process.lock_limit_exempt);
    let host = host.write("uid_map", "0 100000 65536\n");
    let report = host.report();
    assert!(!report.process.lock_limit_exempt && report.process.lock_limit_namespaced);
    assert_eq!(severity(&report, "lock-limit"), Severity::Note);
}

/// Findings come first; many regions share rows; nothing is cut, and a terminal's width is kept
/// where it can be.
#[test]
fn reports_for_people() {
    let text = Fixture::new(ARENA).report().text(Layout::default());
    assert!(text.find("locked-regions").unwrap() < text.find("7f0000001000 ").unwrap(), "{text}");
    assert!(!text.contains("--all-regions"));

    // Guards and arenas by turns, each different in size; the last of them not locked.
    let mut many = String::new();
    for number in 0..4000u64 {
        let at = 0x7f00_0000_0000 + number * 0x10_0000;
        let (from, to) = (at + 0x1000, at + 0x2000 + number % 7 * 0x1000);
        let lock = if number == 3999 { "" } else { "lo" };
        many += &format!("{at:x}-{from:x} ---p 0 0:0 0\nVmFlags: mr\n");
        many += &format!("{from:x}-{to:x} rw-p 0 0:0 0\nVmFlags: rd wr {lock} dd nh\n");
        many += &format!("{to:x}-{:x} ---p 0 0:0 0\nVmFlags: mr\n", to + 0x1000);
    }
    let report = Fixture::new(&many).report();
    let text = report.text(Layout::default());
    assert!(text.lines().count() < 60, "{text}");
    assert!(text.contains("3999 regions  ") && text.contains("7f00f9f01000  "), "{text}");
    assert!(text.contains("`--all-regions`"), "{text}");
    let all = report.text(Layout { all_rows: true, ..Layout::default() });
    let starts: HashSet<_> = all.lines().filter_map(|line| line.split(' ').next()).collect();
    for region in &report.regions {
        assert!(starts.contains(format!("{:x}", region.start).as_str()));
    }

    // On a narrow terminal the rows are wrapped; each word that a wide one shows is there.
    let long = ARENA
        .replace("00:00 0                          [heap]", "fe:00 5 /var/lib/w")
        .replace("me ac \n", "me lo \n");
    let report = Fixture::new(&long).report();
    let wide = report.text(Layout { width: 300, wrap_rows: true, ..Layout::default() });
    for width in [20, 40, 60, 72, 80, 100] {
        let narrow = report.text(Layout { width, wrap_rows: true, ..Layout::default() });
        let words = |text: &str| -> Vec<String> {
            let words = text.split(|c: char| c.is_whitespace() || ",:".contains(c));
            words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let narrow_words = words(&narrow);
        for word in words(&wide) {
            // The one heading that needs no name.
            let seen = narrow_words.contains(&word) || word == "start";
            assert!(seen, "{word} at {width}: {narrow}");
        }
        if width >= 60 {
            assert!(narrow.lines().all(|line| line.chars().count() <= width), "{width}: {narrow}");
        }
    }
}

#[test]
fn names_do_not_reach_the_terminal_as_they_are() {
    let status = STATUS.replace("node", "no\x1b[2J\u{202e}ed\\n\u{9b}");
    let text = ARENA.replace("[heap]", "/tmp/\x1b]0;\u{2066}x").replace("me ac \n", "me lo \n");
    let report = Fixture::new(&text).write("status", &status).report();
    assert_eq!(report.process.name, "no\x1b[2J\u{202e}ed\n\u{9b}");
    let people = report.text(Layout::default());
    assert!(people.contains("no\\u{1b}[2J\\u{202e}ed\\n\\u{9b}"), "{people}");
    assert!(people.contains("/tmp/\\u{1b}]0;\\u{2066}x"), "{people}");
    let json = printable_json(&serde_json::to_string_pretty(&report).unwrap());
    assert!(json.contains("no\\u001b[2J\\u202eed\\n\\u009b"), "{json}");
    assert!(json.contains("/tmp/\\u001b]0;\\u2066x"), "{json}");
    for text in [people, json] {
        assert!(text.chars().all(|c| c == '\n' || c.is_ascii_graphic() || c == ' '), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_process_makes_it_panic(text in proptest::collection::vec("[0-9a-f]{0,5}(-[0-9a-f]{0,5} (rw|--)-[ps] 0 0:0 [05] ?(/secretmem)?)?|Swap: [0-9]{18,20} kB|VmFlags:( lo| dd| wf| ht)*|[A-Za-z:]{0,9}", 0..20)) {
        let mappings = smaps::mappings(&text.join("\n"));
        let (regions, totals) = regions(&mappings, 0x33);
        proptest::prop_assert_eq!(regions.len(), totals.regions);
        findings(&made_up(), &regions, &totals);
    }
}

#[test]
fn what_a_process_has_given_up() {
    use State::{InForce, NotChosen, NotShown};
    let none = Fixture::new(ARENA).report();
    let steps = states(&none.process.hardening);
    let inherited = INHERITED_UNCHOSEN.len();
    assert_eq!(steps[..inherited], INHERITED_UNCHOSEN);
    assert_eq!(steps[inherited], ("sealed-pool", NotChosen));
    assert_eq!(steps.last(), Some(&("no-tracer", NotShown)));

    let status = format!("{STATUS}THP_enabled:\t0\nNoNewPrivs:\t1\n");
    let smaps = ARENA.replace("lo ac dd nh", "lo ac dd nh sl");
    let limits = LIMITS.replace("unlimited            bytes", "0                    bytes");
    let all = Fixture::new(&smaps).write("status", &status).write("limits", &limits);
    let all = all.write("task/7/status", &status).write("coredump_filter", "00000010\n");
    let report = all.report();
    for (step, state) in states(&report.process.hardening) {
        match step {
            "no-write-execute" | "no-tracer" => assert_eq!(state, NotShown, "{step}"),
            // By the owner of the files, which is the user of the test.
            "not-dumpable" => {}
            _ => assert_eq!(state, InForce, "{step}"),
        }
    }
    assert!(report.regions[0].sealed && !none.regions[0].sealed);
    // One thread, one arena and one mapping without it are enough.
    let state = |report: &Report, name: &str| {
        let steps = states(&report.process.hardening);
        steps.into_iter().find(|(step, _)| *step == name).unwrap().1
    };
    let report = all.write("task/8/status", STATUS).report();
    assert_eq!(state(&report, "no-new-privileges"), NotShown);
    let writable = ARENA.replace("00600000-00700000 rw-p", "00600000-00700000 rwxp");
    assert_eq!(state(&Fixture::new(&writable).report(), "no-write-execute"), NotChosen);
    let behind = "7f0000041000-7f0000100000 ---p 00000000 00:00 0 \n";
    let another = "7f0000041000-7f0000042000 ---p 00000000 00:00 0 \nVmFlags: mr \n\
                   7f0000042000-7f0000082000 rw-p 00000000 00:00 0 \nVmFlags: rd wr lo dd nh \n\
                   7f0000082000-7f0000100000 ---p 00000000 00:00 0 \n";
    assert!(smaps.contains(behind));
    let both = smaps.replace(behind, another);
    assert_eq!(Fixture::new(&both).report().totals.arenas, 2);
    assert_eq!(state(&Fixture::new(&both).report(), "sealed-pool"), NotChosen);
    // Each is a finding, and none makes the report worse.
    let findings = none.findings.iter().filter(|finding| finding.id == "hardening");
    assert_eq!(findings.clone().count(), none.process.hardening.len());
    for finding in findings {
        assert_eq!(finding.severity, Severity::Ok);
        assert!(finding.subject.is_some());
    }
}
