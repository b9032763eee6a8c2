//! Every finding on made-up hosts, with what it looks for and without: the texts are in the form
//! that the kernel's Documentation and proc(5) describe.

use super::*;
use crate::hardening::{INHERITED_UNCHOSEN, states};
use crate::made_up;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// A host on which nothing can leak; a test adds what could.
struct Fixture(TempDir);

const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max core file size        0                    unlimited            bytes     
Max locked memory         8388608              8388608              bytes     
";

const SWAPS: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

impl Fixture {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        for (path, text) in [
            ("proc/sys/kernel/osrelease", "6.12.0-test\n"),
            ("proc/cmdline", "BOOT_IMAGE=/vmlinuz quiet\n"),
            ("proc/self/limits", LIMITS),
            ("proc/self/status", "Name:\tbash\nCapEff:\t0000000000000000\n"),
            ("proc/self/coredump_filter", "00000033\n"),
            (
                "proc/self/mountinfo",
                "22 1 8:2 / / rw - ext4 /dev/sda2 rw\n\
                 23 22 0:30 / /data rw - btrfs /dev/mapper/data rw\n\
                 24 22 0:31 / /net rw - nfs4 server:/export rw\n\
                 26 22 7:2 / /ring rw - ext4 /dev/loop2 rw\n\
                 25 22 252:1 / /safe rw - xfs /dev/mapper/safe rw\n",
            ),
            ("proc/swaps", SWAPS),
            ("proc/sys/kernel/core_pattern", "core\n"),
            ("proc/sys/fs/suid_dumpable", "0\n"),
            ("proc/sys/kernel/yama/ptrace_scope", "1\n"),
            ("sys/module/secretmem/parameters/enable", "Y\n"),
            ("sys/module/zswap/parameters/enabled", "N\n"),
            ("sys/power/state", "freeze mem\n"),
            ("sys/kernel/kexec_crash_loaded", "0\n"),
            ("sys/kernel/security/lockdown", "none integrity [confidentiality]\n"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
            ("sys/kernel/mm/ksm/run", "0\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "0\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "0\n"),
            // A disk with two partitions; on the second, LUKS; on that, LVM with swap on it.
            ("sys/class/block/sda/size", "1000\n"),
            ("sys/class/block/sda1/partition", "1\n"),
            ("sys/class/block/sda2/partition", "2\n"),
            ("sys/dev/block/8:2/uevent", "MAJOR=8\nMINOR=2\nDEVNAME=sda2\n"),
            ("sys/class/block/dm-0/dm/uuid", "CRYPT-LUKS2-0123456789abcdef-crypt\n"),
            ("sys/class/block/dm-0/dm/name", "crypt\n"),
            ("sys/class/block/dm-0/slaves/sda2/size", "9\n"),
            ("sys/class/block/dm-1/dm/uuid", "LVM-0123456789abcdef\n"),
            ("sys/class/block/dm-1/dm/name", "safe\n"),
            ("sys/class/block/dm-1/slaves/dm-0/size", "9\n"),
            ("sys/dev/block/252:1/uevent", "MAJOR=252\nMINOR=1\nDEVNAME=dm-1\n"),
            // LVM on a bare disk; a mirror of which one half is encrypted.
            ("sys/class/block/dm-2/dm/uuid", "LVM-fedcba\n"),
            ("sys/class/block/dm-2/dm/name", "bare\n"),
            ("sys/class/block/dm-2/slaves/sda1/size", "9\n"),
            ("sys/class/block/md0/slaves/dm-0/size", "9\n"),
            ("sys/class/block/md0/slaves/sda1/size", "9\n"),
            // One that checks what it holds and does not encrypt it.
            ("sys/class/block/dm-3/dm/uuid", "CRYPT-INTEGRITY-checked\n"),
            ("sys/class/block/dm-3/slaves/sda1/size", "9\n"),
            // btrfs on an encrypted device.
            ("sys/class/block/dm-4/dm/uuid", "CRYPT-LUKS1-fedcba-data\n"),
            ("sys/class/block/dm-4/dm/name", "data\n"),
            ("sys/fs/btrfs/1234-5678/devices/dm-4/size", "9\n"),
            ("sys/class/block/zram0/backing_dev", "none\n"),
            ("sys/class/block/zram1/backing_dev", "/dev/sda1\n"),
            ("sys/class/block/zram2/disksize", "9\n"),
            ("sys/class/block/loop0/loop/backing_file", "/safe/swap\n"),
            ("sys/class/block/loop1/loop/backing_file", "/swap\n"),
            // A stripe over two volumes on the same encrypted disk; a loop whose file is on itself.
            ("sys/class/block/dm-5/slaves/dm-0/size", "9\n"),
            ("sys/class/block/md2/slaves/dm-1/size", "9\n"),
            ("sys/class/block/md2/slaves/dm-5/size", "9\n"),
            ("sys/class/block/loop2/loop/backing_file", "/ring/swap\n"),
            ("sys/dev/block/7:2/uevent", "DEVNAME=loop2\n"),
            // Rings, which no kernel makes.
            ("sys/class/block/md7/slaves/md8/size", "9\n"),
            ("sys/class/block/md8/slaves/md7/size", "9\n"),
        ] {
            host.write(path, text);
        }
        host
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        made_up::write(&self.0, path, text);
        self
    }

    fn remove(&self, path: &str) -> &Self {
        made_up::remove(&self.0, path);
        self
    }

    fn unreadable(&self, path: &str) -> &Self {
        made_up::unreadable(&self.0, path);
        self
    }

    fn swap_on(&self, areas: &[&str]) -> &Self {
        let line = |name: &&str| {
            let kind = if name.starts_with("/dev/") { "partition" } else { "file" };
            format!("{name}  {kind}\t2048\t\t512\t\t-2\n")
        };
        let lines: String = areas.iter().map(line).collect();
        self.write("proc/swaps", &(SWAPS.to_owned() + &lines))
    }

    /// The process is in a control group of version 2; the file that limits its swap.
    fn group(&self) -> String {
        let mounts = fs::read_to_string(self.0.path().join("proc/self/mountinfo")).unwrap();
        let mount = "30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        self.write("proc/self/mountinfo", &(mounts + mount))
            .write("proc/self/cgroup", "0::/unit\n");
        "sys/fs/cgroup/unit/memory.swap.max".into()
    }

    fn no_swap_for_the_group(&self) -> &Self {
        let file = self.group();
        self.write(&file, "0\n")
    }

    fn limit(&self, name: &str, soft: &str, hard: &str) -> &Self {
        let others: String = LIMITS
            .lines()
            .filter(|line| !line.starts_with(name))
            .map(|line| format!("{line}\n"))
            .collect();
        self.write("proc/self/limits", &format!("{others}{name:25} {soft:20} {hard:20} bytes\n"))
    }

    fn report(&self) -> Report {
        let host = Host::copy_at(self.0.path()).with_membarrier(true);
        check(&host, Some(WANTED_MEMLOCK)).unwrap()
    }

    /// Asserts that the findings with this `id` have this severity, and that each says `seen`.
    #[track_caller]
    fn expect(&self, id: &str, severity: Severity, seen: &str) -> &Self {
        let report = self.report();
        let findings = findings_of(&report, id);
        assert!(!findings.is_empty(), "nothing about {id}");
        for found in findings {
            assert_eq!(found.severity, severity, "{found:?}");
            assert!(found.seen.contains(seen), "{found:?}");
        }
        assert!(report.severity >= severity);
        self
    }
}

use Severity::{Danger, Note, Ok as Fine, Warning};

/// The findings with this `id`.
fn findings_of<'r>(report: &'r Report, id: &str) -> Vec<&'r Finding> {
    report.findings.iter().filter(|found| found.id == id).collect()
}

#[test]
fn a_host_on_which_nothing_can_leak() {
    let report = Fixture::new().report();
    for finding in &report.findings {
        assert_eq!(finding.severity, Fine, "{finding:?}");
    }
    assert_eq!((report.severity, report.kernel.as_str()), (Fine, "6.12.0-test"));
    let (hardening, others): (Vec<_>, Vec<_>) =
        report.findings.iter().partition(|finding| finding.id == "hardening");
    let ids: Vec<_> = others.iter().map(|finding| finding.id).collect();
    assert_eq!(
        ids,
        [
            "memlock",
            "swap",
            "cgroup-swap",
            "zswap",
            "hibernation",
            "core-dumps",
            "core-filter",
            "suid-dumpable",
            "kernel-crash-dump",
            "ptrace-scope",
            "secret-memory",
            "kernel-memory",
            "transparent-huge-pages",
            "page-merging",
            "huge-pages",
            "membarrier"
        ]
    );
    let subjects: Vec<_> =
        hardening.iter().map(|finding| finding.subject.as_deref().unwrap()).collect();
    assert_eq!(subjects, report.hardening.iter().map(|step| step.step).collect::<Vec<_>>());
}

/// The steps that a unit takes, each in force and not, with the line of the unit.
#[test]
fn hardening() {
    use crate::hardening::State::{InForce, NotShown};
    let host = Fixture::new();
    assert_eq!(states(&host.report().hardening), INHERITED_UNCHOSEN);
    let seen: Vec<_> = host.report().findings.into_iter().map(|finding| finding.seen).collect();
    for line in ["`LimitCORE=0`", "`CoredumpFilter=elf-headers`", "`NoNewPrivileges=yes`"] {
        assert!(seen.iter().any(|seen| seen.contains(line)), "{line}: {seen:?}");
    }
    host.write("proc/self/status", "Name:\tbash\nTHP_enabled:\t0\nNoNewPrivs:\t1\n");
    host.write("proc/self/coredump_filter", "00000010\n");
    host.write("proc/self/limits", &LIMITS.replace("unlimited ", "0         "));
    for (step, state) in states(&host.report().hardening) {
        let expected = if step == "no-write-execute" { NotShown } else { InForce };
        assert_eq!(state, expected, "{step}");
    }
}

#[test]
fn memlock() {
    const NAME: &str = "Max locked memory";
    let host = Fixture::new();
    host.expect("memlock", Fine, "8 MiB may be locked")
        .limit(NAME, "unlimited", "unlimited")
        .expect("memlock", Fine, "any amount")
        .limit(NAME, "4194304", "unlimited")
        .expect("memlock", Fine, "4 MiB may be locked, any amount if the process raises its limit")
        .limit(NAME, "4194303", "4194303")
        .expect("memlock", Warning, "4194303 bytes")
        .limit(NAME, "65536", "65536")
        .expect("memlock", Warning, "64 KiB")
        .limit(NAME, "0", "0")
        .expect("memlock", Warning, "0 may be locked");
    // Nothing can be locked: then it depends on where swap goes.
    host.swap_on(&["/dev/dm-0"]).expect("memlock", Warning, "0 may");
    host.swap_on(&["/dev/sda1"]).expect("memlock", Danger, "0 may");
    host.unreadable("proc/swaps").expect("memlock", Danger, "0 may");
    host.write("proc/self/status", "CapEff:\t0000000000004000\n")
        .expect("memlock", Note, "CAP_IPC_LOCK")
        .write("proc/self/status", "CapEff:\tffffffffffffbfff\n")
        .expect("memlock", Danger, "0 may");
    host.write("proc/self/limits", "Limit\n").expect("memlock", Warning, "no limit");

    // The caller's own wish counts, and the remedy says by how much.
    let host = Fixture::new();
    let ask = |wanted| {
        let report = check(&Host::copy_at(host.0.path()), wanted).unwrap();
        findings_of(&report, "memlock")[0].clone()
    };
    assert_eq!(ask(Some(8 << 20)).severity, Fine);
    let more = ask(Some((8 << 20) + 1));
    assert_eq!(more.severity, Warning);
    assert!(more.remedy.unwrap().contains("LimitMEMLOCK=8193K"));
    host.limit(NAME, "65536", "unlimited");
    assert!(ask(Some(8 << 20)).remedy.unwrap().contains("ulimit -l 8192"));
    // Without limit.
    let all = ask(None);
    assert_eq!(all.severity, Warning);
    let remedy = all.remedy.unwrap();
    assert!(remedy.contains("LimitMEMLOCK=infinity") && remedy.contains("ulimit -l unlimited"));
    host.limit(NAME, "unlimited", "unlimited");
    assert_eq!(ask(None).severity, Fine);
}

#[test]
fn swap_devices() {
    let host = Fixture::new();
    host.expect("swap", Fine, "no swap");
    for (area, severity, seen) in [
        ("/dev/sda1", Warning, "a device of 2 MiB, 512 KiB used, on sda1, not encrypted"),
        ("/dev/dm-0", Fine, "encrypted by crypt"),
        ("/dev/dm-1", Fine, "encrypted by crypt"),
        ("/dev/mapper/safe", Fine, "encrypted by crypt"),
        ("/dev/mapper/bare", Warning, "on sda1, not encrypted"),
        ("/dev/dm-2", Warning, "on sda1, not encrypted"),
        ("/dev/dm-3", Warning, "on sda1, not encrypted"),
        ("/dev/md0", Warning, "on sda1, not encrypted"),
        ("/dev/md2", Fine, "encrypted by crypt"),
        ("/dev/loop2", Warning, "loop2 is its own part"),
        ("/dev/md7", Warning, "not known to be encrypted: md7 is its own part"),
        ("/dev/zram0", Fine, "compressed in memory"),
        ("/dev/zram1", Warning, "on sda1, not encrypted"),
        ("/dev/zram2", Fine, "compressed in memory"),
        ("/dev/loop0", Fine, "encrypted by crypt"),
        ("/dev/loop1", Warning, "on sda2, not encrypted"),
        ("/dev/sdz", Warning, "nothing about /dev/sdz"),
        ("/dev/mapper/none", Warning, "nothing about"),
    ] {
        host.swap_on(&[area]).expect("swap", severity, seen);
        assert_eq!(host.report().findings[1].subject.as_deref(), Some(area));
    }
    host.write("sys/class/block/zram1/backing_dev", "/dev/dm-0\n").swap_on(&["/dev/zram1"]).expect(
        "swap",
        Fine,
        "encrypted by crypt",
    );
    host.unreadable("proc/swaps").expect("swap", Warning, "cannot read /proc/swaps");
    host.remove("proc/swaps").expect("swap", Fine, "no swap");

    // Each area is a separate finding.
    let host = Fixture::new();
    let report = host.swap_on(&["/dev/dm-0", "/dev/sda1"]).report();
    let severities: Vec<_> = findings_of(&report, "swap")
        .into_iter()
        .map(|found| (found.subject.as_deref().unwrap(), found.severity))
        .collect();
    assert_eq!(severities, [("/dev/dm-0", Fine), ("/dev/sda1", Warning)]);
}

/// Partitions are told from the links that /sys has: into the directory of their disk.
#[test]
fn swap_on_a_partition_of_a_raid() {
    let host = Fixture::new();
    host.write("sys/devices/virtual/block/md1/slaves/dm-0/size", "9\n")
        .write("sys/devices/virtual/block/md1/md1p1/partition", "1\n");
    let class = host.0.path().join("sys/class/block");
    symlink("../../devices/virtual/block/md1", class.join("md1")).unwrap();
    symlink("../../devices/virtual/block/md1/md1p1", class.join("md1p1")).unwrap();
    host.swap_on(&["/dev/md1p1"]).expect("swap", Fine, "encrypted by crypt");
    host.write("sys/class/block/md1/slaves/sda1/size", "9\n");
    host.expect("swap", Warning, "on md1p1, not encrypted");
}

#[test]
fn swap_files() {
    let host = Fixture::new();
    for (area, severity, seen) in [
        ("/swapfile", Warning, "a file of 2 MiB, 512 KiB used, on sda2, not encrypted"),
        ("/safe/swapfile", Fine, "encrypted by crypt"),
        ("/data/swap", Fine, "encrypted by data"),
        ("/net/swap", Warning, "server:/export (nfs4)"),
        ("/safety", Warning, "on sda2, not encrypted"),
    ] {
        host.swap_on(&[area]).expect("swap", severity, seen);
    }
    // A second device of the btrfs, of which nothing is known.
    host.write("sys/fs/btrfs/1234-5678/devices/sda1/size", "9\n").swap_on(&["/data/swap"]).expect(
        "swap",
        Warning,
        "may have devices that are not encrypted",
    );
    // Without the numbers the name has to do.
    host.remove("sys/dev/block/252:1/uevent").swap_on(&["/safe/swap"]).expect(
        "swap",
        Fine,
        "encrypted by crypt",
    );
    host.remove("proc/self/mountinfo").expect("swap", Warning, "its file system is not known");
}

#[test]
fn zswap() {
    let host = Fixture::new();
    host.expect("zswap", Fine, "off")
        .write("sys/module/zswap/parameters/enabled", "Y\n")
        .expect("zswap", Fine, "on")
        .swap_on(&["/dev/dm-0"])
        .expect("zswap", Fine, "on")
        .swap_on(&["/dev/sda1"])
        .expect("zswap", Note, "on")
        .unreadable("sys/module/zswap/parameters/enabled")
        .expect("zswap", Warning, "cannot read")
        .remove("sys/module/zswap")
        .expect("zswap", Fine, "not in this kernel");
}

#[test]
fn hibernation() {
    let host = Fixture::new();
    host.expect("hibernation", Fine, "not possible: not in this kernel")
        .swap_on(&["/dev/sda1"])
        .expect("hibernation", Fine, "not possible")
        .write("sys/power/disk", "[platform] shutdown reboot suspend test_resume \n")
        .expect("hibernation", Fine, "not possible: not offered")
        .write("sys/power/state", "freeze mem disk\n")
        .expect("hibernation", Warning, "no device to resume from")
        .write("sys/power/resume", "0:0\n")
        .expect("hibernation", Warning, "no device to resume from")
        .write("sys/power/resume", "8:1\n")
        .expect("hibernation", Danger, "resumed from 8:1")
        .write("proc/cmdline", "quiet resume=UUID=1-2\n")
        .expect("hibernation", Danger, "resumed from UUID=1-2")
        .swap_on(&["/dev/dm-1"])
        .expect("hibernation", Note, "possible")
        .swap_on(&["/dev/zram0"])
        .expect("hibernation", Note, "possible")
        .swap_on(&[])
        .expect("hibernation", Note, "possible");
    // A group that swaps nothing is in the image all the same.
    host.swap_on(&["/dev/sda1"]).no_swap_for_the_group().expect("hibernation", Danger, "possible");
    host.unreadable("proc/swaps").expect("hibernation", Danger, "possible");
    host.unreadable("sys/power/state").expect("hibernation", Warning, "cannot read");
}

/// A kernel that never hibernates and one that does not while a process holds secret memory show
/// the same word.
#[test]
fn hibernation_that_is_disabled() {
    const LOCKDOWN: &str = "sys/kernel/security/lockdown";
    let disabled = || {
        let host = Fixture::new();
        host.swap_on(&["/dev/sda1"])
            .write(LOCKDOWN, "[none] integrity confidentiality\n")
            .write("sys/power/state", "freeze mem\n")
            .write("sys/power/disk", "[disabled]\n")
            .write("sys/power/resume", "8:1\n")
            .write("proc/1/maps", "1000-2000 rw-p 0 0:0 0\n");
        host
    };
    // For good.
    disabled().write("proc/cmdline", "nohibernate\n").expect("hibernation", Fine, "command line");
    disabled().write("proc/cmdline", "hibernate=no\n").expect("hibernation", Fine, "command line");
    disabled().write("proc/cmdline", "hibernate=nocompress\n").expect("hibernation", Warning, "");
    disabled().write(LOCKDOWN, "none [integrity] confidentiality\n").expect(
        "hibernation",
        Fine,
        "locked down",
    );
    disabled().write("sys/bus/cxl/devices/mem0/size", "").expect("hibernation", Fine, "CXL");
    disabled().remove("sys/module/secretmem").expect("hibernation", Fine, "in this kernel");
    disabled().write("proc/sys/kernel/osrelease", "5.10.0\n").expect(
        "hibernation",
        Fine,
        "in this kernel",
    );

    // As long as a process holds secret memory: never a danger meanwhile, never all right.
    let host = disabled();
    host.expect("hibernation", Warning, "no process that can be seen here holds any");
    let secret = "1000-2000 rw-s 0 0:e 5                /secretmem (deleted)\n";
    host.write("proc/42/maps", secret).write("proc/42/status", "Name:\twal\\nlet\n").expect(
        "hibernation",
        Warning,
        "not while secret memory is in use, by process 42 (wal\nlet), to be resumed from 8:1",
    );
    // A file that is open and not mapped counts too.
    fs::create_dir_all(host.0.path().join("proc/77/fd")).unwrap();
    symlink("/secretmem (deleted)", host.0.path().join("proc/77/fd/3")).unwrap();
    fs::create_dir_all(host.0.path().join("proc/1/fd")).unwrap();
    symlink("/tmp/secretmem", host.0.path().join("proc/1/fd/3")).unwrap();
    host.write("proc/77/maps", "").write("proc/77/status", "Name:\tvault\n").expect(
        "hibernation",
        Warning,
        "by processes 42 (wal\nlet), 77 (vault)",
    );
    for process in 100..106 {
        host.write(&format!("proc/{process}/maps"), secret);
    }
    host.expect("hibernation", Warning, " and 3 more");
    // Where it would be harmless it is no more than a note.
    host.swap_on(&["/dev/dm-1"]).expect("hibernation", Note, "not while secret memory is in use");

    // Some processes cannot be looked at.
    let host = disabled();
    host.write("proc/9/maps", "").unreadable("proc/9/maps");
    host.expect("hibernation", Warning, "root can see which process");
    let host = disabled();
    host.write("proc/42/maps", secret)
        .write("proc/self/mountinfo", "20 1 0:20 / /proc rw - proc proc rw,hidepid=invisible\n")
        .expect("hibernation", Warning, "other processes may hold some too");
}

#[test]
fn control_groups() {
    let host = Fixture::new();
    host.expect("cgroup-swap", Fine, "no limit that can be seen")
        .swap_on(&["/dev/sda1"])
        .expect("cgroup-swap", Note, "no limit that can be seen")
        .swap_on(&["/dev/dm-0"])
        .expect("cgroup-swap", Fine, "no limit");
    // A group of version 2 without a limit, then with one.
    let file = host.group();
    host.write(&file, "max\n").expect("cgroup-swap", Fine, "any amount may be swapped");
    host.swap_on(&["/dev/sda1"]).write("sys/module/zswap/parameters/enabled", "Y\n");
    host.limit("Max locked memory", "0", "0");
    host.expect(
        "cgroup-swap",
        Note,
        "any amount may be swapped (/sys/fs/cgroup/unit/memory.swap.max)",
    )
    .expect("swap", Warning, "not encrypted")
    .expect("zswap", Note, "on")
    .expect("memlock", Danger, "0 may be locked");
    let report = host.report();
    let remedy = |id| findings_of(&report, id)[0].remedy.clone().unwrap();
    assert!(remedy("cgroup-swap").contains("MemorySwapMax=0"));
    assert!(remedy("swap").contains("MemorySwapMax=0"));
    host.write(&file, "4096\n").expect("cgroup-swap", Note, "4 KiB may be swapped");
    host.write(&file, "0\n")
        .expect("cgroup-swap", Fine, "0 may be swapped")
        .expect("swap", Note, "not encrypted")
        .expect("zswap", Fine, "on")
        .expect("memlock", Warning, "0 may be locked");
}

/// Version 1 counts memory and swap together: what that stops, a shortage of the whole host does
/// not heed.
#[test]
fn control_groups_of_version_1() {
    let host = Fixture::new();
    let mounts = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    host.write("proc/self/mountinfo", mounts)
        .write("proc/self/cgroup", "4:memory:/unit\n0::/\n")
        .write("sys/fs/cgroup/memory/unit/memory.limit_in_bytes", "4096\n")
        .write("sys/fs/cgroup/memory/unit/memory.memsw.limit_in_bytes", "8192\n")
        .expect("cgroup-swap", Fine, "4 KiB may be swapped")
        .swap_on(&["/dev/sda1"])
        .expect("cgroup-swap", Note, "4 KiB may be swapped")
        .write("sys/fs/cgroup/memory/unit/memory.memsw.limit_in_bytes", "4096\n")
        .expect("cgroup-swap", Note, "0 may be swapped")
        .expect("swap", Warning, "not encrypted");
}

/// The kernel asks for CAP_IPC_LOCK in the first user namespace.
#[test]
fn capabilities_of_a_user_namespace() {
    let host = Fixture::new();
    host.limit("Max locked memory", "0", "0").swap_on(&["/dev/sda1"]);
    host.write("proc/self/status", "CapEff:\t0000000000004000\n")
        .expect("memlock", Note, "this user may lock more (CAP_IPC_LOCK)")
        .write("proc/self/uid_map", "         0          0 4294967295\n")
        .expect("memlock", Note, "this user may lock more")
        .write("proc/self/uid_map", "         0       1000          1\n")
        .expect(
            "memlock",
            Danger,
            "of a user namespace (a rootless container) does not lift the limit",
        )
        .limit("Max locked memory", "65536", "65536")
        .expect("memlock", Warning, "does not lift the limit");
    // The number of the namespace tells more than the map: one may map all users onto themselves.
    let link = host.0.path().join("proc/self/ns/user");
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink("user:[4026531837]", &link).unwrap();
    host.expect("memlock", Note, "this user may lock more");
    fs::remove_file(&link).unwrap();
    symlink("user:[4026532177]", &link).unwrap();
    host.write("proc/self/uid_map", "0 0 4294967295\n").expect("memlock", Warning, "does not lift");
}

#[test]
fn core_dumps() {
    const NAME: &str = "Max core file size";
    const PATTERN: &str = "proc/sys/kernel/core_pattern";
    let host = Fixture::new();
    host.expect("core-dumps", Fine, "written to files (core), but not with a limit of 0")
        .limit(NAME, "unlimited", "unlimited")
        .expect("core-dumps", Warning, "written to files (core), limit any amount")
        .limit(NAME, "4095", "4095")
        .expect("core-dumps", Fine, "not with a limit of 4095 bytes")
        .limit(NAME, "4096", "4096")
        .expect("core-dumps", Warning, "limit 4 KiB");
    host.write(PATTERN, "|/usr/lib/systemd/systemd-coredump %P %u %g\n")
        .expect("core-dumps", Warning, "kept by systemd-coredump, limit 4 KiB")
        .limit(NAME, "0", "unlimited")
        .expect("core-dumps", Fine, "keeps nothing with a limit of 0")
        .limit(NAME, "unlimited", "unlimited")
        .write("etc/systemd/coredump.conf", "[Coredump]\nStorage=none\n")
        .expect("core-dumps", Fine, "configured to keep nothing")
        .write("usr/lib/systemd/coredump.conf.d/10-keep.conf", "[Coredump]\nStorage=external\n")
        .expect("core-dumps", Warning, "kept by systemd-coredump")
        .write("etc/systemd/coredump.conf.d/10-keep.conf", "[Coredump]\n")
        .expect("core-dumps", Fine, "configured to keep nothing")
        .write("etc/systemd/coredump.conf.d/20-other", "[Coredump]\nStorage=journal\n")
        .expect("core-dumps", Fine, "configured to keep nothing");
    // For other programs the limit does not count.
    host.limit(NAME, "0", "0")
        .write(PATTERN, "|/usr/share/apport/apport -p%p\n")
        .expect("core-dumps", Warning, "apport, whatever the limit (here 0)")
        .write(PATTERN, "|/opt/handler\n")
        .expect("core-dumps", Warning, "/opt/handler")
        .limit(NAME, "1", "1")
        .expect("core-dumps", Fine, "not with a limit of 1 byte")
        .limit(NAME, "unlimited", "unlimited")
        .write(PATTERN, "|/bin/false\n")
        .expect("core-dumps", Fine, "keeps no dump")
        .limit(NAME, "0", "0")
        .write(PATTERN, "@/run/coredump.socket\n")
        .expect("core-dumps", Warning, "socket")
        .unreadable(PATTERN)
        .expect("core-dumps", Warning, "cannot read")
        .remove(PATTERN)
        .expect("core-dumps", Fine, "makes none");
}

#[test]
fn core_filter() {
    let host = Fixture::new();
    host.expect("core-filter", Fine, "0x33")
        .limit("Max core file size", "unlimited", "unlimited")
        .expect("core-filter", Note, "0x33")
        .write("proc/self/coredump_filter", "00000002\n")
        .expect("core-filter", Note, "0x02")
        .write("proc/self/coredump_filter", "00000010\n")
        .expect("core-filter", Fine, "0x10")
        .remove("proc/self/coredump_filter")
        .expect("core-filter", Fine, "there is none");
}

#[test]
fn what_changed_user() {
    let host = Fixture::new();
    host.expect("suid-dumpable", Fine, "0")
        .write("proc/sys/fs/suid_dumpable", "1\n")
        .expect("suid-dumpable", Warning, "1 (debug)")
        .write("proc/sys/fs/suid_dumpable", "2\n")
        .expect("suid-dumpable", Fine, "2 (root only)");
}

#[test]
fn crash_kernel() {
    let host = Fixture::new();
    host.expect("kernel-crash-dump", Fine, "none")
        .write("sys/kernel/kexec_crash_loaded", "1\n")
        .expect("kernel-crash-dump", Warning, "a crash kernel is loaded")
        .remove("sys/kernel/kexec_crash_loaded")
        .expect("kernel-crash-dump", Fine, "none");
}

#[test]
fn ptrace_scope() {
    const PATH: &str = "proc/sys/kernel/yama/ptrace_scope";
    let host = Fixture::new();
    for (text, severity) in [("0\n", Warning), ("1\n", Fine), ("2\n", Fine), ("3\n", Fine)] {
        host.write(PATH, text).expect("ptrace-scope", severity, text.trim());
    }
    host.remove(PATH).expect("ptrace-scope", Warning, "Yama is not in use");
}

#[test]
fn secret_memory() {
    const SWITCH: &str = "sys/module/secretmem/parameters/enable";
    let host = Fixture::new();
    host.expect("secret-memory", Fine, "switched on").write(SWITCH, "N\n").expect(
        "secret-memory",
        Note,
        "switched off (secretmem.enable)",
    );
    // The switch cannot be read, as by users other than root.
    host.unreadable(SWITCH)
        .expect("secret-memory", Fine, "by default")
        .write("proc/sys/kernel/osrelease", "6.4.16\n")
        .expect("secret-memory", Note, "switched off, as this kernel has it by default")
        .write("proc/cmdline", "secretmem.enable=y\n")
        .expect("secret-memory", Fine, "on the kernel's command line")
        .write("proc/sys/kernel/osrelease", "6.12\n")
        .write("proc/cmdline", "secretmem.enable=0\n")
        .expect("secret-memory", Note, "switched off on the kernel's command line")
        .write("proc/sys/kernel/osrelease", "5.10.0-28-amd64\n")
        .expect("secret-memory", Note, "older than memfd_secret")
        .write("proc/sys/kernel/osrelease", "6.12\n")
        .remove("sys/module/secretmem")
        .expect("secret-memory", Note, "built without it");
}

#[test]
fn kernel_memory() {
    const LOCKDOWN: &str = "sys/kernel/security/lockdown";
    let host = Fixture::new();
    host.write("proc/kcore", "")
        .expect("kernel-memory", Fine, "confidentiality")
        .write(LOCKDOWN, "none [integrity] confidentiality\n")
        .expect("kernel-memory", Note, "integrity")
        .remove(LOCKDOWN)
        .expect("kernel-memory", Note, "not there")
        .remove("proc/kcore")
        .expect("kernel-memory", Fine, "not there");
}

#[test]
fn pages() {
    let host = Fixture::new();
    host.write("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n")
        .expect("transparent-huge-pages", Note, "always")
        .write("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n")
        .expect("transparent-huge-pages", Fine, "never");
    // Since Linux 6.8 each size has a separate setting.
    const SIZE: &str = "sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled";
    host.write(SIZE, "always [inherit] madvise never\n")
        .expect("transparent-huge-pages", Fine, "never")
        .write(SIZE, "[always] inherit madvise never\n")
        .expect("transparent-huge-pages", Note, "never, always for 64kB");
    host.write("sys/kernel/mm/ksm/run", "1\n")
        .expect("page-merging", Note, "on (KSM)")
        .write("sys/kernel/mm/ksm/run", "2\n")
        .expect("page-merging", Fine, "off");
    host.expect("huge-pages", Fine, "none set aside")
        .write("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "8\n")
        .write("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "5\n")
        .expect("huge-pages", Fine, "8 of 2048kB, 5 free");
}

#[test]
fn membarrier() {
    let host = Fixture::new();
    let ask = |host: &Host| {
        let report = check(host, Some(WANTED_MEMLOCK)).unwrap();
        let mut findings = report.findings.iter();
        let found = findings.find(|found| found.id == "membarrier").unwrap();
        (found.id, found.severity)
    };
    let copy = Host::copy_at(host.0.path());
    assert_eq!(ask(&copy), ("membarrier", Fine));
    assert_eq!(ask(&copy.clone().with_membarrier(true)), ("membarrier", Fine));
    assert_eq!(ask(&copy.with_membarrier(false)), ("membarrier", Note));
}

/// What is bad says what to do, and the worst decides.
#[test]
fn warnings_have_remedies() {
    let host = Fixture::new();
    host.swap_on(&["/dev/sda1", "/swapfile", "/net/swap"])
        .limit("Max core file size", "unlimited", "unlimited")
        .write("sys/power/state", "disk\n")
        .write("sys/power/disk", "[platform]\n")
        .write("sys/power/resume", "8:1\n")
        .write("proc/sys/fs/suid_dumpable", "1\n")
        .write("sys/kernel/kexec_crash_loaded", "1\n")
        .write("sys/kernel/mm/ksm/run", "1\n")
        .remove("proc/sys/kernel/yama/ptrace_scope");
    let report = host.report();
    assert_eq!((report.severity, report.severity.exit_code()), (Danger, 2));
    let bad: Vec<_> = report.findings.iter().filter(|found| found.severity > Fine).collect();
    assert!(bad.len() >= 9);
    assert!(bad.iter().all(|found| found.remedy.is_some()), "{bad:?}");
    assert!(report.findings.iter().all(|found| !found.means.is_empty() && !found.seen.is_empty()));
}

#[test]
fn a_host_without_proc_is_an_error() {
    let host = Fixture::new();
    host.remove("proc/self/limits");
    let error = check(&Host::copy_at(host.0.path()), Some(1)).unwrap_err();
    assert!(error.to_string().starts_with("cannot read /proc/self/limits: "), "{error}");
    let empty = tempfile::tempdir().unwrap();
    assert!(check(&Host::copy_at(empty.path()), Some(1)).is_err());
}
