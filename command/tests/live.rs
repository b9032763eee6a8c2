//! `inspect` and `check` on real processes: one that keeps secrets in the library's pool, and as controls
//! ones that lock, or should have locked, memory without it.
//!
//! A process to be looked at is this program again, in a role; it says when it is ready, and ends with its
//! standard input.

#![cfg(target_os = "linux")]

use bitcoin_support::SecureVec;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::ptr;

const PAGE: usize = 4096;
/// A user that has nothing.
const NOBODY: u32 = 65534;

// ---- The processes that are looked at ----

/// Not a test of its own: the other side of the tests below.
#[test]
fn role() {
    let Ok(role) = std::env::var("ROLE") else { return };
    let mut secrets = Vec::new();
    match role.as_str() {
        "library" | "library-forked" | "library-limited" => {
            if role == "library-limited" {
                limit_locking();
            }
            // More than two arenas have room for.
            for byte in 1..=3 {
                let mut secret = SecureVec::<u8>::new();
                secret.try_reserve(200 * 1024).unwrap();
                secret.extend_from_slice(&[byte; 200 * 1024]);
                secrets.push(secret);
            }
        }
        "locked" => lock(three_pages()),
        "undumped" => leave_out_of_dumps(three_pages()),
        "guarded" | "guarded-forked" => {
            let page = three_pages();
            guard(page);
            leave_out_of_dumps(page);
            lock(page);
        }
        "secret" => map_secret_memory(),
        "not-dumpable" => {
            // SAFETY: takes no pointers.
            assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }, 0);
        }
        "idle" => {}
        other => panic!("no role {other}"),
    }
    let child = if role.ends_with("-forked") {
        // SAFETY: this program runs one test, on this thread.
        unsafe { libc::fork() }
    } else {
        -1
    };
    if child <= 0 {
        let mut out = std::io::stdout();
        writeln!(out, "ready {}", std::process::id()).unwrap();
        out.flush().unwrap();
    }
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
    if child > 0 {
        let mut status = 0;
        // SAFETY: `status` is a place for the answer.
        unsafe { libc::waitpid(child, &mut status, 0) };
    }
    drop(secrets);
    // The test harness is nobody's here.
    std::process::exit(0);
}

/// The middle one of three pages, writable all.
fn three_pages() -> *mut u8 {
    // SAFETY: asks for a new mapping; nothing existing changes.
    let pages = unsafe {
        libc::mmap(
            ptr::null_mut(),
            3 * PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(pages, libc::MAP_FAILED);
    let middle = pages.cast::<u8>().wrapping_add(PAGE);
    // SAFETY: the page was mapped above.
    unsafe { middle.write_bytes(1, PAGE) };
    middle
}

fn guard(page: *mut u8) {
    for at in [page.wrapping_sub(PAGE), page.wrapping_add(PAGE)] {
        // SAFETY: of the three pages, which nobody else uses.
        assert_eq!(unsafe { libc::mprotect(at.cast(), PAGE, libc::PROT_NONE) }, 0);
    }
}

fn lock(page: *mut u8) {
    // SAFETY: changes where the page lies, not what it holds.
    assert_eq!(unsafe { libc::mlock(page.cast(), PAGE) }, 0);
}

fn leave_out_of_dumps(page: *mut u8) {
    // SAFETY: does not change what the page holds.
    assert_eq!(unsafe { libc::madvise(page.cast(), PAGE, libc::MADV_DONTDUMP) }, 0);
}

fn limit_locking() {
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads `limit`.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
}

/// A file descriptor of `memfd_secret`, if the kernel has it.
fn memfd_secret() -> Option<libc::c_int> {
    // SAFETY: takes no pointers.
    let file = unsafe { libc::syscall(libc::SYS_memfd_secret, 0) };
    (file >= 0).then_some(file as libc::c_int)
}

fn map_secret_memory() {
    let file = memfd_secret().expect("the test has seen that there is memfd_secret");
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a file of ours; asks for a new mapping, which is written to within its length.
    unsafe {
        assert_eq!(libc::ftruncate(file, 2 * PAGE as libc::off_t), 0);
        let pages = libc::mmap(ptr::null_mut(), 2 * PAGE, access, libc::MAP_SHARED, file, 0);
        assert_ne!(pages, libc::MAP_FAILED);
        pages.cast::<u8>().write(1);
    }
}

// ---- How they are looked at ----

struct Process {
    child: Child,
    /// The process to be looked at, which may be a child of `child`.
    pid: u32,
    _output: BufReader<ChildStdout>,
    _place: Option<tempfile::TempDir>,
}

impl Process {
    fn new(role: &str) -> Self {
        Self::start(role, Command::new(std::env::current_exe().unwrap()), None)
    }

    /// As a user that has nothing, if this one may start such.
    fn of_nobody(role: &str) -> Option<Self> {
        if !is_root() {
            println!("skipped: only root can start a process of another user");
            return None;
        }
        // Where that user may read it.
        let (place, program) = copy(&std::env::current_exe().unwrap());
        let mut command = Command::new(program);
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        Some(Self::start(role, command, Some(place)))
    }

    fn start(role: &str, mut command: Command, place: Option<tempfile::TempDir>) -> Self {
        let mut child = command
            .args(["role", "--exact", "--nocapture", "--test-threads=1"])
            .env("ROLE", role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        // The test harness leaves its own line without an end.
        let pid = output
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("ready ").and_then(|(_, pid)| pid.parse().ok()));
        let pid = pid.expect("the process says that it is ready");
        Self { child, pid, _output: output, _place: place }
    }

    fn inspect(&self) -> Report {
        let output = inspect(&["--json", &self.pid.to_string()]);
        let report = serde_json::from_slice(&output.stdout);
        let json: Value = report.unwrap_or_else(|_| panic!("{output:?}"));
        Report { json, code: output.status.code().unwrap() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

struct Report {
    json: Value,
    code: i32,
}

impl Report {
    /// The regions of one kind.
    fn regions(&self, kind: &str) -> Vec<&Value> {
        let regions = self.json["regions"].as_array().unwrap();
        regions.iter().filter(|region| region["kind"] == kind).collect()
    }

    fn severity(&self, id: &str) -> &str {
        let findings = self.json["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["id"] == id);
        finding.unwrap_or_else(|| panic!("nothing about {id}"))["severity"].as_str().unwrap()
    }

    #[track_caller]
    fn expect(&self, findings: &[(&str, &str)]) {
        for &(id, severity) in findings {
            assert_eq!(self.severity(id), severity, "{id}: {:#}", self.json);
        }
    }
}

fn inspect(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcoin-support"));
    command.arg("inspect").args(arguments).output().unwrap()
}

fn is_root() -> bool {
    // SAFETY: takes no pointers.
    unsafe { libc::geteuid() == 0 }
}

/// A copy of a program that all users can run. Another process makes it: a program cannot be started while it
/// is open for writing, and what this one has open, the processes that other tests start have too for a moment.
fn copy(program: &Path) -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = place.path().join("program");
    let made = Command::new("install").args(["-m", "755"]).args([program, &copy]).status();
    assert!(made.unwrap().success());
    (place, copy)
}

// ---- What is seen ----

const SOUND: [(&str, &str); 6] = [
    ("locked-regions", "ok"),
    ("unlocked-regions", "ok"),
    ("swapped-regions", "ok"),
    ("dumpable-regions", "ok"),
    ("unguarded-regions", "ok"),
    ("mergeable-regions", "ok"),
];

#[track_caller]
fn expect_arenas_of_the_library(report: &Report) {
    report.expect(&SOUND);
    assert_eq!(report.code, 0, "{:#}", report.json);
    let arenas = report.regions("arena");
    let sizes: u64 = arenas.iter().map(|arena| arena["size"].as_u64().unwrap()).sum();
    assert!(sizes >= 600 * 1024, "three secrets: {:#}", report.json);
    assert_eq!(report.json["regions"].as_array().unwrap().len(), arenas.len(), "and nothing else");
    for arena in &arenas {
        assert_eq!(arena["locked"], true);
        assert_eq!(arena["dont_dump"], true);
        assert_eq!(arena["dumpable"], false);
        assert_eq!(arena["mergeable"], false);
        assert_eq!((&arena["guard_before"], &arena["guard_after"]), (&true.into(), &true.into()));
        assert_eq!(arena["locked"], true);
        // Of pages shared with another process after a fork, the kernel counts each process's part.
        let bytes = |name: &str| arena[name].as_u64().unwrap();
        let (locked, resident) = (bytes("locked_bytes"), bytes("resident_bytes"));
        assert!(locked == resident || 2 * locked == resident, "{arena}");
        assert_eq!(arena["swap_bytes"], 0);
        assert_eq!(arena["huge_bytes"], 0);
        assert_eq!(arena["path"], "");
    }
    let totals = &report.json["totals"];
    assert_eq!(totals["arenas"], arenas.len());
    assert_eq!(totals["locked_size"], sizes);
    // The kernel's own count.
    assert_eq!(report.json["process"]["locked"], sizes);
}

#[test]
fn the_library_keeps_secrets_in_arenas() {
    let process = Process::new("library");
    expect_arenas_of_the_library(&process.inspect());
    let output = inspect(&[&process.pid.to_string()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("arena") && text.contains("both") && text.contains("never"), "{text}");
}

#[test]
fn in_a_forked_child_too() {
    let process = Process::new("library-forked");
    assert_ne!(process.pid, process.child.id());
    expect_arenas_of_the_library(&process.inspect());
}

/// The control: a page that looks like an arena, until the process forks.
#[test]
fn without_the_library_a_fork_loses_the_lock() {
    let report = Process::new("guarded").inspect();
    report.expect(&SOUND);
    assert_eq!((report.regions("arena").len(), report.code), (1, 0));

    let report = Process::new("guarded-forked").inspect();
    report.expect(&[("unlocked-regions", "warning"), ("locked-regions", "warning")]);
    assert_eq!((report.regions("unlocked").len(), report.code), (1, 1));
    assert_eq!(report.regions("unlocked")[0]["locked"], false);
    assert_eq!(report.json["process"]["locked"], 0);
}

/// The control: what `mlock` alone does.
#[test]
fn an_ordinary_page_that_is_locked_is_told_from_an_arena() {
    let report = Process::new("locked").inspect();
    report.expect(&[
        ("locked-regions", "ok"),
        ("dumpable-regions", "warning"),
        ("unguarded-regions", "note"),
        ("unlocked-regions", "ok"),
    ]);
    assert_eq!((report.regions("arena").len(), report.code), (0, 1));
    let locked = report.regions("locked");
    assert_eq!(locked.len(), 1);
    assert_eq!(locked[0]["size"], PAGE);
    assert_eq!(locked[0]["locked_bytes"], PAGE);
    assert_eq!(
        (&locked[0]["guard_before"], &locked[0]["guard_after"]),
        (&false.into(), &false.into())
    );
    assert_eq!(locked[0]["dumpable"], true);
    assert_eq!(locked[0]["fork"], "copy");
}

#[test]
fn what_is_left_out_of_dumps_and_not_locked_is_found() {
    let report = Process::new("undumped").inspect();
    report.expect(&[("unlocked-regions", "warning"), ("dumpable-regions", "ok")]);
    assert_eq!((report.regions("unlocked").len(), report.code), (1, 1));
    // And in a process that has none of it, nothing is.
    let report = Process::new("idle").inspect();
    report.expect(&[("unlocked-regions", "ok"), ("locked-regions", "warning")]);
    assert_eq!(report.json["regions"], Value::Array(Vec::new()));
}

/// The library where nothing may be locked.
#[test]
fn refused_locks_are_seen() {
    let process = if is_root() {
        Process::of_nobody("library-limited")
    } else {
        Some(Process::new("library-limited"))
    };
    let report = process.unwrap().inspect();
    report.expect(&[
        ("unlocked-regions", "warning"),
        ("locked-regions", "warning"),
        ("lock-limit", "note"),
        ("dumpable-regions", "ok"),
    ]);
    assert_eq!(report.json["process"]["lock_limit"], 0);
    assert!(report.json["totals"]["unlocked_size"].as_u64().unwrap() >= 600 * 1024);
}

#[test]
fn secret_memory_is_told_apart() {
    if memfd_secret().is_none() {
        println!("skipped: this kernel has no memfd_secret");
        return;
    }
    let report = Process::new("secret").inspect();
    let regions = report.regions("secret_memory");
    assert_eq!(regions.len(), 1, "{:#}", report.json);
    assert_eq!(regions[0]["size"], 2 * PAGE);
    assert_eq!((&regions[0]["locked"], &regions[0]["dumpable"]), (&true.into(), &false.into()));
    assert_eq!(regions[0]["fork"], "shared");
    report.expect(&[("locked-regions", "ok"), ("dumpable-regions", "ok")]);
}

#[test]
fn whether_a_process_may_be_dumped() {
    let Some(process) = Process::of_nobody("idle") else { return };
    let report = process.inspect();
    assert_eq!(report.json["process"]["uid"], NOBODY);
    assert_eq!(report.json["process"]["dumpable"], true);
    report.expect(&[("reachable", "note")]);
    let report = Process::of_nobody("not-dumpable").unwrap().inspect();
    assert_eq!(report.json["process"]["dumpable"], false);
    report.expect(&[("reachable", "ok")]);
}

#[test]
fn who_may_not_look_is_told_so() {
    if !is_root() {
        println!("skipped: only root can start a process of another user");
        return;
    }
    let process = Process::new("idle");
    let (_place, program) = copy(Path::new(env!("CARGO_BIN_EXE_bitcoin-support")));
    let look = |uid| {
        let mut command = Command::new(&program);
        command.args(["inspect", &process.pid.to_string()]).uid(uid).gid(uid).current_dir("/");
        command.output().unwrap()
    };
    let refused = look(NOBODY);
    assert_eq!(refused.status.code(), Some(70));
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert!(complaint.contains("may not be inspected"), "{complaint}");
    assert!(complaint.contains("run this as root"), "{complaint}");
    assert_eq!(look(0).status.code(), Some(1), "root may");
}

/// What the files say of secret memory is what the call says.
#[test]
fn check_and_the_kernel_agree_on_secret_memory() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    if status.lines().any(|line| line.starts_with("Seccomp:") && !line.ends_with('0')) {
        println!("skipped: a sandbox answers for the kernel");
        return;
    }
    let severity = check(&mut Command::new(env!("CARGO_BIN_EXE_bitcoin-support")), "secret-memory");
    let expected = if memfd_secret().is_some() { "ok" } else { "note" };
    assert_eq!(severity, expected);
}

/// Limits are those that the command is started with.
#[test]
fn check_sees_its_own_limits() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a place for the answer.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) }, 0);
    if limit.rlim_max < 4 << 20 {
        println!("skipped: {} bytes may be locked here", limit.rlim_max);
        return;
    }
    let (_place, program) = copy(Path::new(env!("CARGO_BIN_EXE_bitcoin-support")));
    let under = |kib: u32, cores: &str, id: &str| {
        let script = format!("ulimit -l {kib} && ulimit -Sc {cores} && exec \"$0\" \"$@\"");
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).arg(&program).current_dir("/");
        if is_root() {
            shell.uid(NOBODY).gid(NOBODY);
        }
        check(&mut shell, id)
    };
    assert_eq!(under(4096, "0", "memlock"), "ok");
    assert_eq!(under(4095, "0", "memlock"), "warning");
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.starts_with(['|', '@']) {
        println!("skipped: core dumps are piped to a program here");
    } else {
        assert_eq!(under(4096, "0", "core-dumps"), "ok");
        assert_eq!(under(4096, "8", "core-dumps"), "warning");
    }
}

/// The severity of one finding.
fn check(command: &mut Command, id: &str) -> String {
    let output = command.args(["check", "--json"]).output().unwrap();
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["id"] == id).unwrap();
    finding["severity"].as_str().unwrap().to_owned()
}
