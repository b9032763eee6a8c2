//! Made-up processes, each finding with what it looks for and without.

use super::*;
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
        let directory = self.0.path().join("proc/7");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), text).unwrap();
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

#[test]
fn who_can_reach_it() {
    let traced = STATUS.replace("TracerPid:\t0", "TracerPid:\t99");
    let report = Fixture::new(ARENA).write("status", &traced).report();
    assert_eq!(
        (severity(&report, "reachable"), report.process.tracer),
        (Severity::Warning, Some(99))
    );
    for (uid, owner, expected, finding) in [
        (Some(1000), Some(1000), Some(true), Severity::Note),
        (Some(1000), Some(0), Some(false), Severity::Ok),
        (Some(0), Some(0), None, Severity::Note),
        (Some(1000), None, None, Severity::Note),
        (None, Some(0), None, Severity::Note),
    ] {
        assert_eq!(dumpable(uid, owner), expected);
        let mut process = process(7, STATUS, LIMITS, None, owner);
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
    assert!(matches!(Fixture::new("").inspect(), Err(Error::NoMemory(7))));
    assert!(matches!(Fixture::new("1000-2000 rw-p 0 0:0 0\n").inspect(), Err(Error::NoFlags)));
    let odd = Fixture::new(ARENA);
    fs::remove_file(odd.0.path().join("proc/7/smaps")).unwrap();
    fs::create_dir(odd.0.path().join("proc/7/smaps")).unwrap();
    assert!(
        matches!(odd.inspect(), Err(Error::Unreadable(error)) if error.path == Path::new("/proc/7/smaps"))
    );
}

#[test]
fn names_do_not_reach_the_terminal_as_they_are() {
    let status = STATUS.replace("node", "no\x1b[2Jde");
    let text = ARENA.replace("[heap]", "/tmp/\x1b]0;x").replace("me ac \n", "me lo \n");
    let report = Fixture::new(&text).write("status", &status).report().to_string();
    assert!(report.contains("no\\u{1b}[2Jde") && report.contains("/tmp/\\u{1b}]0;x"), "{report}");
    assert!(report.chars().all(|c| c == '\n' || !c.is_control()));
}

proptest::proptest! {
    #[test]
    fn no_process_makes_it_panic(text in proptest::collection::vec("[0-9a-f]{0,5}(-[0-9a-f]{0,5} (rw|--)-[ps] 0 0:0 [05] ?(/secretmem)?)?|Swap: [0-9]{18,20} kB|VmFlags:( lo| dd| wf| ht)*|[A-Za-z:]{0,9}", 0..20)) {
        let mappings = smaps::mappings(&text.join("\n"));
        let (regions, totals) = regions(&mappings, 0x33);
        proptest::prop_assert_eq!(regions.len(), totals.regions);
        let process = process(7, STATUS, LIMITS, None, None);
        findings(&process, &regions, &totals);
    }
}
