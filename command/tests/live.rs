//! `inspect` and `check` on real processes: one that keeps secrets in the library's pool, and as
//! controls ones that lock, or should have locked, memory without it.
//!
//! A process to be looked at is this program again, in a role; it says when it is ready, and ends
//! with its standard input.

#![cfg(target_os = "linux")]

#[path = "../../tests/common/mod.rs"]
mod common;

use bitcoin_support::{HardenOptions, HardeningStep, SecureVec, harden_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::ptr;

const PAGE: usize = 4096;
/// The role runs on one of the harness's threads, and this step is a thread's: the process is
/// started with it.
const NO_NEW_PRIVILEGES: HardeningStep = HardeningStep::NoNewPrivileges;
/// A user that has nothing.
const NOBODY: u32 = 65534;

// ---- The processes that are looked at ----

/// No test: the processes that the tests below look at run this.
#[test]
fn role() {
    let Ok(role) = std::env::var("ROLE") else { return };
    let mut secrets = Vec::new();
    match role.as_str() {
        "library" | "library-forked" | "library-limited" | "library-refused" => {
            if role == "library-limited" {
                limit_locking();
            }
            if role == "library-refused" {
                common::refuse(libc::SYS_madvise, Some(libc::MADV_DONTDUMP as u32), libc::EPERM);
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
        "secret-file" => {
            memfd_secret().expect("the test has seen that there is memfd_secret");
        }
        "droppable" => {
            let page = droppable_page().expect("the test has seen that there is MAP_DROPPABLE");
            // SAFETY: the page is mapped and writable, and no other code uses it.
            unsafe { page.write(1) };
        }
        "odd-name" => {
            // Of the process, not of the thread that runs this; at most 15 bytes.
            fs::write("/proc/self/comm", b"\x1b[2J\xe2\x80\xae\n\xc2\x9bnode").unwrap();
        }
        "many" => {
            for _ in 0..2000 {
                let page = three_pages();
                guard(page);
                leave_out_of_dumps(page);
            }
        }
        "not-dumpable" => {
            // SAFETY: takes no pointers.
            assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }, 0);
        }
        "hardened" => {
            secrets.push(SecureVec::from_slice(&[1; 100]));
            let steps =
                HardeningStep::ALL.iter().copied().filter(|&step| step != NO_NEW_PRIVILEGES);
            for error in harden_process(steps.collect::<HardenOptions>()).errors() {
                // The test reads it.
                println!("{error}");
            }
        }
        "unhardened" => secrets.push(SecureVec::from_slice(&[1; 100])),
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
    // Ends this process, so that the test harness does not run in it.
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
        // SAFETY: two of the three pages, which no other code uses.
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

/// A page that the kernel drops when memory is short, if it has such.
fn droppable_page() -> Option<*mut u8> {
    const MAP_DROPPABLE: libc::c_int = 0x08;
    // SAFETY: asks for a new mapping; nothing existing changes.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            MAP_DROPPABLE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    (page != libc::MAP_FAILED).then_some(page.cast())
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
    /// What it printed before it was ready.
    printed: Vec<String>,
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

    /// Without new privileges from the start.
    fn without_new_privileges(role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let give_up = || {
            // SAFETY: no pointers.
            match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: a system call and nothing else, which a child of a process with threads may make.
        unsafe { command.pre_exec(give_up) };
        Self::start(role, command, None)
    }

    /// As root of a new user namespace, with all capabilities there.
    fn in_user_namespace(role: &str) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]).arg(std::env::current_exe().unwrap());
        Self::start(role, command, None)
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
        let mut printed = Vec::new();
        let pid = output.by_ref().lines().map_while(Result::ok).find_map(|line| {
            let pid = line.split_once("ready ").and_then(|(_, pid)| pid.parse().ok());
            printed.push(line);
            pid
        });
        let pid = pid.expect("the process says that it is ready");
        Self { child, pid, printed, _output: output, _place: place }
    }

    /// Whether its kernel does not have what a step of `harden_process` needs.
    fn lacks(&self, step: &str) -> bool {
        self.printed.iter().any(|line| line.ends_with(&format!("{step}: not supported here")))
    }

    fn inspect(&self) -> Report {
        let output = inspect(&["--json", &self.pid.to_string()]);
        let report = serde_json::from_slice(&output.stdout);
        let json: Value = report.unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!(json["not_inspected"], Value::Array(Vec::new()));
        Report { json: json["processes"][0].clone(), code: output.status.code().unwrap() }
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

/// A copy of a program that all users can run. Another process makes it: a program cannot be
/// started while it is open for writing, and what this one has open, the processes that other tests
/// start have too for a moment.
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

/// Each step that the kernel has and shows, taken and not taken.
#[test]
fn what_a_process_has_given_up_is_seen() {
    let hardened = Process::without_new_privileges("hardened");
    let (with, without) = (hardened.inspect(), Process::new("unhardened").inspect());
    let state = |report: &Report, name: &str| {
        let steps = report.json["process"]["hardening"].as_array().unwrap();
        let step = steps.iter().find(|step| step["step"] == name);
        step.unwrap_or_else(|| panic!("no {name}"))["state"].as_str().unwrap().to_owned()
    };
    let status = fs::read_to_string("/proc/self/status").unwrap();
    for step in HardeningStep::ALL.iter().map(|step| step.name()) {
        // (As this process has no new privileges, nor has one that it starts.)
        let inherited = state(&without, step) == "in_force";
        let expected = match step {
            "no-write-execute" | "no-tracer" => "not_shown",
            "not-dumpable" if is_root() => "not_shown",
            "no-huge-pages" if !status.contains("THP_enabled") => "not_shown",
            _ if hardened.lacks(step) => {
                println!("skipped: {step} is not supported here");
                continue;
            }
            _ => "in_force",
        };
        assert_eq!(state(&with, step), expected, "{step}");
        if expected == "in_force" && inherited {
            println!("skipped: {step} is in force as it is");
        }
    }
    // The control.
    for step in ["core-filter", "sealed-pool"] {
        assert_eq!(state(&without, step), "not_chosen");
    }
    assert_eq!((with.code, without.code), (0, 0));
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

/// The library where a sandbox does not let it leave its memory out of core dumps; the control is
/// the library where nothing is refused.
#[test]
fn refused_protections_are_seen() {
    let process = Process::new("library-refused");
    let report = process.inspect();
    report.expect(&[("dumpable-regions", "warning"), ("unlocked-regions", "ok")]);
    let regions = report.regions("locked");
    let sizes: u64 = regions.iter().map(|region| region["size"].as_u64().unwrap()).sum();
    assert!(sizes >= 600 * 1024, "three secrets: {:#}", report.json);
    assert!(regions.iter().all(|region| region["dont_dump"] == false));
    Process::new("library").inspect().expect(&[("dumpable-regions", "ok")]);
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
    assert_eq!(refused.status.code(), Some(3));
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert!(complaint.contains("may not be inspected"), "{complaint}");
    assert!(complaint.contains("run this as root"), "{complaint}");
    assert_eq!(look(0).status.code(), Some(1), "root may");
}

/// A shell in new namespaces for mounts and processes, which end with it. `script` has the
/// program as `$0`. `None` where this user, or a sandbox, may not make them.
fn in_namespaces(script: &str, program: &Path) -> Option<Output> {
    const REFUSED: i32 = 99;
    let script = format!("mount -t proc -o hidepid=2 proc /proc || exit {REFUSED}; {script}");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script]).arg(program);
    let output = match command.current_dir("/").output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: no unshare (util-linux): {error}");
            return None;
        }
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(REFUSED) || complaint.starts_with("unshare: ") {
        println!("skipped: no /proc with hidepid=2 can be mounted here: {}", complaint.trim());
        return None;
    }
    Some(output)
}

/// Where `/proc` hides the processes of others, one that is not shown is told from one that is not
/// there.
#[test]
fn processes_that_proc_hides_are_told_of() {
    let (_place, program) = copy(Path::new(env!("CARGO_BIN_EXE_bitcoin-support")));
    let look = |uid: u32, pid: &str| {
        let user = format!("setpriv --reuid={uid} --regid={uid} --clear-groups");
        let script =
            format!("sleep infinity & {user} \"$0\" inspect {pid}; code=$?; kill $!; exit $code");
        in_namespaces(&script, &program)
    };
    // The process that is looked at is root's.
    let Some(hidden) = look(NOBODY, "$!") else { return };
    let complaint = String::from_utf8(hidden.stderr).unwrap();
    assert_eq!(hidden.status.code(), Some(3), "{complaint}");
    for part in ["may not be inspected", "hidepid=", "run this as root"] {
        assert!(complaint.contains(part), "{complaint}");
    }
    let absent = String::from_utf8(look(NOBODY, "4194305").unwrap().stderr).unwrap();
    assert_eq!(absent, "bitcoin-support: there is no process 4194305\n");
    assert_eq!(look(0, "$!").unwrap().status.code(), Some(1), "root sees it");
}

/// The C library's state of random numbers lies in such memory on newer systems: no arena that lost
/// its lock.
#[test]
fn memory_that_the_kernel_drops_is_not_taken_for_a_secret() {
    if droppable_page().is_none() {
        println!("skipped: this kernel has no MAP_DROPPABLE (Linux 6.11)");
        return;
    }
    let report = Process::new("droppable").inspect();
    report.expect(&[("unlocked-regions", "ok")]);
    assert_eq!(report.json["regions"], Value::Array(Vec::new()));
    assert!(report.json["totals"]["droppable"].as_u64().unwrap() >= PAGE as u64);
    // The control, memory that looks the same but for the flag:
    // `what_is_left_out_of_dumps_and_not_locked_is_found`.
}

/// No flag that this kernel shows is unknown, of any mapping of a process.
#[test]
fn the_flags_of_this_kernel_are_known() {
    use bitcoin_support_command::parse::smaps;
    let process = Process::new("library");
    let text = fs::read_to_string(format!("/proc/{}/smaps", process.pid)).unwrap();
    let mappings = smaps::mappings(&text);
    assert!(mappings.iter().any(|mapping| !mapping.flag_words.is_empty()));
    let unknown: BTreeSet<_> =
        mappings.iter().flat_map(|mapping| smaps::unknown_flags(&mapping.flag_words)).collect();
    if !unknown.is_empty() {
        println!("skipped: this kernel is newer than the command, and shows {unknown:?}");
    }
    process.inspect().expect(&[("huge-page-regions", "ok"), ("fork-policies", "ok")]);
}

/// The kernel shows `[disabled]` for hibernation while a process has a file of secret memory; that
/// process is named. What the kernel shows is made up, as it does not hibernate everywhere; the
/// processes are this host's.
#[test]
fn holders_of_secret_memory_are_named() {
    if memfd_secret().is_none() {
        println!("skipped: this kernel has no memfd_secret");
        return;
    }
    let host = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/proc", host.path().join("proc")).unwrap();
    for (path, text) in [
        ("sys/power/state", "freeze mem\n"),
        ("sys/power/disk", "[disabled]\n"),
        ("sys/module/secretmem/parameters/enable", "Y\n"),
    ] {
        let path = host.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let seen = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitcoin-support"));
        let finding = finding(command.arg("--root").arg(host.path()), "hibernation");
        assert!(finding["severity"] != "ok" && finding["severity"] != "danger", "{finding}");
        finding["seen"].as_str().unwrap().to_owned()
    };
    for role in ["secret", "secret-file"] {
        let process = Process::new(role);
        let name = format!("{} (", process.pid);
        let text = seen();
        if text.contains(" more") && !text.contains(&name) {
            println!("skipped: too many processes hold secret memory here to name all: {text}");
            return;
        }
        assert!(text.contains(&name), "{role}: {text}");
        drop(process);
        assert!(!seen().contains(&name), "{}", seen());
    }
}

/// CAP_IPC_LOCK of a user namespace does not lift the limit, and is not said to.
#[test]
fn a_capability_of_a_user_namespace_is_told_from_one_of_the_host() {
    let (_place, program) = copy(Path::new(env!("CARGO_BIN_EXE_bitcoin-support")));
    let inside = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]).args(arguments).arg(&program);
        command
    };
    // What the kernel does: less than a page may be locked, and root in there cannot.
    let script =
        "ulimit -l 0 && grep -q 'CapEff.*[4567cdef]...$' /proc/self/status && exec \"$0\" \"$@\"";
    let tried = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        println!("skipped: no user namespace can be made here");
        return;
    }
    let mut command = inside(&["bash", "-c", script]);
    let found = finding(&mut command, "memlock");
    assert!(found["severity"] == "warning" || found["severity"] == "danger", "{found}");
    assert!(found["seen"].as_str().unwrap().contains("user namespace"), "{found}");
    // A process in there, seen from outside and from inside.
    let process = Process::in_user_namespace("idle");
    let report = process.inspect();
    assert_eq!(report.json["process"]["lock_limit_exempt"], false);
    assert_eq!(report.json["process"]["lock_limit_namespaced"], true);
    // The control: root outside.
    if is_root() {
        let report = Process::new("idle").inspect();
        assert_eq!(report.json["process"]["lock_limit_exempt"], has_lock_capability());
        assert_eq!(report.json["process"]["lock_limit_namespaced"], false);
    }
}

/// Whether this process may lock without limit, as far as the files tell.
fn has_lock_capability() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    let first = fs::read_link("/proc/self/ns/user").unwrap() == Path::new("user:[4026531837]");
    first && u64::from_str_radix(set, 16).unwrap() >> 14 & 1 == 1
}

/// A memory control group of a test's own, removed when it ends.
struct Group {
    directory: PathBuf,
    version_1: bool,
}

impl Group {
    /// Makes a group. Prints why and returns `None` if the system does not allow it.
    fn new() -> Option<Self> {
        let name = format!("bitcoin-support-test-{}", std::process::id());
        for (parent, version_1) in [("/sys/fs/cgroup/memory", true), ("/sys/fs/cgroup", false)] {
            let parent = Path::new(parent);
            let counts_swap = if version_1 {
                parent.join("memory.memsw.limit_in_bytes").exists()
            } else {
                let children = fs::read_to_string(parent.join("cgroup.subtree_control"));
                children.is_ok_and(|names| names.split_whitespace().any(|name| name == "memory"))
            };
            let directory = parent.join(&name);
            if counts_swap && fs::create_dir(&directory).is_ok() {
                return Some(Self { directory, version_1 });
            }
        }
        println!("skipped: no memory control group that counts swap can be made here");
        None
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.directory.join(file), text).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its process has ended by now; the kernel may need a moment to notice.
        while fs::remove_dir(&self.directory)
            .is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
        {
            std::thread::yield_now();
        }
    }
}

#[test]
fn the_swap_limit_of_a_control_group_is_seen() {
    let Some(group) = Group::new() else { return };
    let process = Process::new("undumped");
    group.write("cgroup.procs", &process.pid.to_string());
    let seen = || {
        let report = process.inspect();
        let value = |name: &str| report.json["process"][name].clone();
        let severity = report.severity("unlocked-regions").to_owned();
        (value("swap_limit"), value("swap_forbidden"), severity)
    };
    assert_eq!(seen(), (Value::Null, false.into(), "warning".into()));
    let forbidden = if group.version_1 {
        group.write("memory.limit_in_bytes", "67108864");
        group.write("memory.memsw.limit_in_bytes", "67108864");
        // A shortage of the whole host does not heed that limit.
        (0.into(), false.into(), "warning".into())
    } else {
        group.write("memory.swap.max", "0");
        (0.into(), true.into(), "note".into())
    };
    assert_eq!(seen(), forbidden);
    drop(process);
}

/// What the process calls itself reaches no terminal as it is, in the table or in JSON.
#[test]
fn names_that_a_process_chose_are_escaped() {
    let process = Process::new("odd-name");
    let people = inspect(&[&process.pid.to_string()]);
    let json = inspect(&["--json", &process.pid.to_string()]);
    for output in [&people, &json] {
        let text = std::str::from_utf8(&output.stdout).unwrap();
        let plain = |c: char| c == '\n' || c == ' ' || c.is_ascii_graphic();
        assert!(text.chars().all(plain), "{text}");
        assert!(text.contains("202e"), "{text}");
    }
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["processes"][0]["process"]["name"], "\x1b[2J\u{202e}\n\u{9b}node");
}

/// By their name, by that of their program, and among all: each process that has it, and no other.
#[test]
fn processes_are_found_by_name() {
    // The name of a process is at most 15 bytes long, and other tests run beside this one.
    let name = format!("node-{}", std::process::id());
    let (place, program) = copy(&std::env::current_exe().unwrap());
    let program = {
        let renamed = program.with_file_name(&name);
        fs::rename(&program, &renamed).unwrap();
        renamed
    };
    let start = |role| Process::start(role, Command::new(&program), None);
    let (one, two) = (start("library"), start("idle"));
    let survey = |arguments: &[&str]| -> (Value, Option<i32>) {
        let output = inspect(&[&["--json"], arguments].concat());
        let json = serde_json::from_slice(&output.stdout);
        (json.unwrap_or_else(|_| panic!("{output:?}")), output.status.code())
    };
    let numbers = |survey: &Value| -> BTreeSet<u32> {
        let processes = survey["processes"].as_array().unwrap().iter();
        processes.map(|it| it["process"]["pid"].as_u64().unwrap() as u32).collect()
    };
    let (both, code) = survey(&[&name]);
    assert_eq!(numbers(&both), BTreeSet::from([one.pid, two.pid]));
    assert_eq!(code, Some(1), "the idle one has nothing locked");
    assert_eq!(both["severity"], "warning");
    let text = inspect(&[&name]).stdout;
    let text = String::from_utf8(text).unwrap();
    for process in [&one, &two] {
        assert!(text.contains(&format!("Process {} (", process.pid)), "{text}");
    }
    // Among all there is the one with locked memory alone.
    let (all, _) = survey(&["--all"]);
    assert!(numbers(&all).contains(&one.pid) && !numbers(&all).contains(&two.pid), "{all:#}");
    assert!(all["without_regions"].as_u64().unwrap() >= 1);
    let table = String::from_utf8(inspect(&["--all"]).stdout).unwrap();
    let pid = one.pid.to_string();
    let row = table.lines().find(|line| line.split_whitespace().next() == Some(&pid));
    let row = row.unwrap_or_else(|| panic!("{table}"));
    let is_sound = row.contains(" ok ") || row.contains(" note ");
    assert!(row.contains(&name) && is_sound && row.contains(" KiB "), "{row}");
    // One of them ends.
    drop(one);
    assert_eq!(numbers(&survey(&[&name]).0), BTreeSet::from([two.pid]));
    drop(two);
    let output = inspect(&[&name]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 0));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains(&format!("no process with the name {name:?}")), "{complaint}");
    drop(place);
}

/// Findings first, and few rows for many regions that are alike.
#[test]
fn a_long_table_is_short() {
    let process = Process::new("many");
    let pid = process.pid.to_string();
    let output = String::from_utf8(inspect(&[&pid]).stdout).unwrap();
    assert!(output.lines().count() < 80, "{output}");
    assert!(output.find("unlocked-regions").unwrap() < output.find("2000 regions  ").unwrap());
    let all = String::from_utf8(inspect(&["--all-regions", &pid]).stdout).unwrap();
    assert!(all.lines().count() > 2000);
}

/// A terminal that the command prints to, of this width; its other end is returned.
fn on_terminal(columns: u16, command: &mut Command) -> (Child, fs::File) {
    let (mut main, mut other) = (0, 0);
    let size = libc::winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptors are places for the answer, and `size` is read; neither name nor
    // settings are asked for.
    let made = unsafe { libc::openpty(&mut main, &mut other, ptr::null_mut(), ptr::null(), &size) };
    assert_eq!(made, 0);
    // SAFETY: both are open, and no other value owns them.
    let (main, other) = unsafe { (OwnedFd::from_raw_fd(main), OwnedFd::from_raw_fd(other)) };
    let child = command.stdout(other).spawn().unwrap();
    // The child alone has the other end now: reading ends with an error when it has ended.
    command.stdout(Stdio::null());
    (child, fs::File::from(main))
}

/// What an inspection of the process prints to a terminal.
fn inspected_on_terminal(process: &Process, columns: u16, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcoin-support"));
    command.args(["inspect", &process.pid.to_string()]);
    command.env_remove("NO_COLOR").envs(variables.iter().copied());
    let (mut child, mut terminal) = on_terminal(columns, &mut command);
    let mut text = Vec::new();
    let _ = terminal.read_to_end(&mut text);
    child.wait().unwrap();
    String::from_utf8(text).unwrap().replace('\r', "")
}

/// The text is as wide as the terminal; in a pipe lines are 80 columns, or as long as what they
/// hold.
#[test]
fn text_is_as_wide_as_the_terminal() {
    let process = Process::new("library");
    let on_terminal = |columns| inspected_on_terminal(&process, columns, &[("TERM", "dumb")]);
    let longest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
    let (narrow, wide) = (on_terminal(60), on_terminal(200));
    assert!(longest(&narrow) <= 60, "{narrow}");
    assert!(longest(&wide) > 80 && wide.lines().count() < narrow.lines().count(), "{wide}");
    // A terminal that does not know its width counts as none.
    let piped = String::from_utf8(inspect(&[&process.pid.to_string()]).stdout).unwrap();
    assert_eq!(on_terminal(0), piped);
    let findings = piped.split("\nstart ").next().unwrap();
    assert!(longest(findings) <= 80, "{piped}");
    // Not even a terminal with few columns loses a finding.
    for id in ["locked-regions", "unguarded-regions", "hardening"] {
        assert!(on_terminal(20).contains(id), "{id}");
    }
}

/// Colours where a terminal wants them, and nowhere else; they change nothing but the colour.
#[test]
fn colours_are_for_terminals() {
    let process = Process::new("library");
    let of = |variables: &[(&str, &str)]| inspected_on_terminal(&process, 100, variables);
    let colored = of(&[("TERM", "xterm")]);
    assert!(colored.contains("\x1b[32mok\x1b[0m       locked-regions"), "{colored}");
    let mut plain = String::new();
    let mut rest = colored.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain += before;
        rest = after.split_once('m').unwrap().1;
    }
    plain += rest;
    for variables in [&[("TERM", "xterm"), ("NO_COLOR", "1")][..], &[("TERM", "dumb")]] {
        assert_eq!(of(variables), plain, "{variables:?}");
    }
    // In a pipe only if they are asked for.
    let pid = process.pid.to_string();
    let piped = |more: &[&str]| {
        String::from_utf8(inspect(&[&[pid.as_str()][..], more].concat()).stdout).unwrap()
    };
    assert!(!piped(&[]).contains('\x1b'));
    assert!(piped(&["--color", "always"]).contains("\x1b[32mok\x1b[0m"));
    assert!(!piped(&["--json", "--color", "always"]).contains('\x1b'));
}

/// A command that reports again and again. It is ended with this value.
struct Watch(Child);

impl Watch {
    fn new(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitcoin-support"));
        command.args(["inspect", "--watch=0.1"]).args(arguments);
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The reports, JSON on a line each.
    fn reports(&mut self) -> impl Iterator<Item = Value> + use<> {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

/// A process that is asked for by number is watched until it ends.
#[test]
fn a_process_is_watched_until_it_ends() {
    let process = Process::new("locked");
    let pid = process.pid.to_string();
    let mut watch = Watch::new(&["--json", &pid]);
    let mut reports = watch.reports();
    let first = reports.next().unwrap();
    assert_eq!(first["processes"][0]["process"]["pid"], process.pid);
    drop(process);
    let rest: Vec<_> = reports.collect();
    // While it ends its memory may go before it does.
    let last = rest.last().unwrap();
    assert_eq!(last["processes"], Value::Array(Vec::new()));
    assert_eq!(last["not_inspected"][0]["process"], *pid);
    assert_eq!(watch.0.wait().unwrap().code(), Some(1), "the worst that was seen");
    let mut complaint = String::new();
    watch.0.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    let gone = format!("bitcoin-support: there is no process {pid}\n");
    let ended = format!("bitcoin-support: process {pid} has ended: it has no memory any more\n");
    assert!([gone, ended].contains(&complaint), "{complaint}");
    // One that is not there is not waited for.
    let mut watch = Watch::new(&["4194305"]);
    assert_eq!(watch.0.wait().unwrap().code(), Some(3));
}

/// A process that has got the number of one that has ended is not watched in its place. The kernel
/// takes long to give a number again, so both processes are made up.
#[test]
fn a_successor_is_not_watched() {
    let host = tempfile::tempdir().unwrap();
    let folder = host.path().join("proc/7");
    fs::create_dir_all(&folder).unwrap();
    let stat = |ticks: u32| {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18";
        let file = folder.join("new");
        fs::write(&file, format!("7 (node) {fields} {ticks} 20\n")).unwrap();
        fs::rename(file, folder.join("stat")).unwrap();
    };
    for (name, text) in [
        ("status", "Name: node\n"),
        ("limits", "Max locked memory 8388608 8388608 bytes\n"),
        ("smaps", "1000-2000 rw-p 0 0:0 0\nVmFlags: rd wr lo\n"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    stat(4711);
    let mut watch = Watch::new(&["--json", "7", "--root", host.path().to_str().unwrap()]);
    let mut reports = watch.reports();
    let first = reports.next().unwrap();
    assert_eq!(first["processes"][0]["process"]["started"], 4711);
    stat(4712);
    let last = reports.next().unwrap();
    assert_eq!(last["processes"], Value::Array(Vec::new()));
    assert_eq!(last["not_inspected"][0]["reason"], "no_process");
    assert_eq!(reports.next(), None);
    assert_eq!(watch.0.wait().unwrap().code(), Some(1), "the worst that was seen");
}

/// A command without a reader ends, also if it has nothing new to write.
#[test]
fn a_watch_without_a_reader_ends() {
    let process = Process::new("locked");
    let mut watch = Watch::new(&["--json", &process.pid.to_string()]);
    let first = watch.reports().next().unwrap();
    assert_eq!(first["processes"][0]["process"]["pid"], process.pid);
    assert_eq!(watch.0.wait().unwrap().code(), Some(1));
}

/// Processes that are asked for by name come and go. Each report says something new.
#[test]
fn a_name_is_watched() {
    let name = format!("watch-{}", std::process::id());
    let (_place, program) = copy(&std::env::current_exe().unwrap());
    let renamed = program.with_file_name(&name);
    fs::rename(&program, &renamed).unwrap();
    let start = || Process::start("locked", Command::new(&renamed), None);
    let mut watch = Watch::new(&["--json", &name]);
    let mut reports = watch.reports();
    let first = reports.next().unwrap();
    assert_eq!(first["not_inspected"][0]["reason"], "no_process");
    let mut last = first;
    // Reads on until the processes are these.
    let mut expect = |pids: &[u32]| {
        loop {
            let processes = last["processes"].as_array().unwrap().iter();
            let found: BTreeSet<_> =
                processes.map(|it| it["process"]["pid"].as_u64().unwrap() as u32).collect();
            if found == pids.iter().copied().collect() {
                return;
            }
            let next = reports.next().unwrap();
            assert_ne!(next, last, "it says nothing new");
            last = next;
        }
    };
    let one = start();
    expect(&[one.pid]);
    let two = start();
    expect(&[one.pid, two.pid]);
    drop(one);
    expect(&[two.pid]);
    drop(two);
    expect(&[]);
}

/// A file is replaced each time, so that its time shows that the command runs.
#[test]
fn a_file_is_replaced_again_and_again() {
    use std::os::unix::fs::MetadataExt;
    let process = Process::new("locked");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secrets.prom");
    let _watch = Watch::new(&[
        "--format",
        "prometheus",
        "--output",
        file.to_str().unwrap(),
        &process.pid.to_string(),
    ]);
    let mut times = BTreeSet::new();
    while times.len() < 3 {
        if let Ok(metadata) = fs::metadata(&file) {
            times.insert((metadata.mtime(), metadata.mtime_nsec()));
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("# HELP ") && text.ends_with('\n'), "it is whole: {text}");
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_terminal_is_redrawn() {
    let process = Process::new("locked");
    let watch_on = |term: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitcoin-support"));
        command.args(["inspect", "--watch=0.1", &process.pid.to_string()]);
        command.env("TERM", term).env("NO_COLOR", "1");
        let (child, terminal) = on_terminal(100, &mut command);
        (Watch(child), BufReader::new(terminal))
    };
    let (_watch, terminal) = watch_on("xterm");
    let mut lines = terminal.lines().map_while(Result::ok);
    // The same report, again and again.
    for _ in 0..3 {
        let first = lines.by_ref().find(|line| line.contains("Process ")).unwrap();
        let expected = format!("\x1b[H\x1b[2JProcess {} (", process.pid);
        assert!(first.starts_with(&expected), "{first:?}");
    }
    // The controls: a terminal that knows no escape sequences gets none, and a pipe neither.
    let (_dumb, mut terminal) = watch_on("dumb");
    let mut line = String::new();
    terminal.read_line(&mut line).unwrap();
    assert!(line.starts_with(&format!("Process {} (", process.pid)), "{line:?}");
    let mut piped = Watch::new(&[&process.pid.to_string()]);
    let mut output = BufReader::new(piped.0.stdout.take().unwrap());
    let mut text = String::new();
    output.read_line(&mut text).unwrap();
    assert!(text.starts_with(&format!("Process {} (", process.pid)), "{text}");
    drop(process);
    output.read_to_string(&mut text).unwrap();
    assert!(!text.contains('\x1b'), "{text}");
}

/// What is no process with memory is told as what it is.
#[test]
fn processes_that_have_ended_and_threads_of_the_kernel() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id().to_string();
    let stat = format!("/proc/{pid}/stat");
    while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let output = inspect(&[&pid]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        complaint,
        format!("bitcoin-support: process {pid} has ended: it has no memory any more\n")
    );
    child.wait().unwrap();
    // The parent of the kernel's threads is the second process, but in a container.
    if !is_root() || !fs::read_to_string("/proc/2/stat").is_ok_and(|stat| stat.contains("kthreadd"))
    {
        println!(
            "skipped: only root sees the mappings of the kernel's threads, and a container none"
        );
        return;
    }
    let complaint = String::from_utf8(inspect(&["2"]).stderr).unwrap();
    assert!(complaint.contains("process 2 is a thread of the kernel"), "{complaint}");
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
    finding(command, id)["severity"].as_str().unwrap().to_owned()
}

/// One finding.
fn finding(command: &mut Command, id: &str) -> Value {
    let output = command.args(["check", "--json"]).output().unwrap();
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["id"] == id).unwrap().clone()
}
