//! `harden_process`, each step seen from outside: a process takes the step, and another looks at it
//! or tries what the step forbids. The control is the same process without the step.
//!
//! The process is this program again, in a role (`ROLE`). It takes the steps that `STEPS` names,
//! says what came of them, waits for a line, and then does what the role says.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{
    ExitPolicy, ForkPolicy, HardenError, HardenOptions, HardeningStep, LockedPoolManager,
    PoolOptions, SecureVec, harden_process, set_exit_policy,
};
use common::this_program::this_program;
use common::{alone, flags_of, in_child, read_memory, refuse};
use memchr::memmem;
use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::ptr;

const EPERM: i32 = libc::EPERM;
/// A user that has nothing.
const NOBODY: u32 = 65534;

// ---- The processes that are looked at ----

/// Not a test: the other side of the tests below.
#[test]
fn role() {
    let Ok(role) = std::env::var("ROLE") else { return };
    prepare(&role);
    let named = std::env::var("STEPS").unwrap();
    let named: Vec<_> = named.split_whitespace().collect();
    let steps = HardeningStep::ALL.iter().copied().filter(|step| named.contains(&step.name()));
    let hardened = harden_process(steps.collect());
    assert_eq!(hardened.iter().count(), named.len(), "{named:?}");
    for (step, result) in hardened.iter() {
        match result {
            Ok(()) => println!("result {step} done"),
            Err(error) => println!("result {error}"),
        }
    }
    // The thread that has taken the steps.
    // SAFETY: takes nothing.
    println!("ready {}", unsafe { libc::gettid() });
    io::stdout().flush().unwrap();
    let mut line = String::new();
    io::stdin().read_line(&mut line).unwrap();
    act(&role);
    io::stdout().flush().unwrap();
    // The test harness does not go on in it.
    std::process::exit(0);
}

/// What a role does before the steps.
fn prepare(role: &str) {
    match role {
        // A process of a user without privileges, which may be dumped and traced as any is.
        "plain user" => become_nobody(),
        "named a tracer" => {
            become_nobody();
            allow_any_tracer();
        }
        "few locked" => {
            let limit = libc::rlimit { rlim_cur: 65536, rlim_max: 131_072 };
            // SAFETY: reads `limit`.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
        }
        "crashes" | "may dump" => {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: a valid place for the answer, which is then read.
            unsafe {
                assert_eq!(libc::getrlimit(libc::RLIMIT_CORE, &mut limit), 0);
                limit.rlim_cur = limit.rlim_max;
                assert_eq!(libc::setrlimit(libc::RLIMIT_CORE, &limit), 0);
            }
        }
        _ => {}
    }
}

/// What a role does when it is told to.
fn act(role: &str) {
    match role {
        "crashes" => {
            let copy: Vec<u8> = copied_secret().collect();
            black_box(&copy);
            // SAFETY: ends the process, which is the purpose.
            unsafe { libc::abort() };
        }
        "makes code" => println!("made {} {}", maps_writable_code(), makes_code_of_data()),
        "runs set-user-id" => {
            become_nobody();
            let program = std::env::var("PROGRAM").unwrap();
            let output = Command::new(program).arg("-u").output().unwrap();
            println!("user {}", String::from_utf8(output.stdout).unwrap().trim());
        }
        "starts a program" => {
            let output = Command::new("cat").arg("/proc/self/status").output().unwrap();
            io::stdout().write_all(&output.stdout).unwrap();
        }
        _ => {}
    }
}

fn become_nobody() {
    // SAFETY: no pointers. A change of user makes a process not dumpable, which is undone.
    unsafe {
        assert!(libc::geteuid() != 0 || libc::setresuid(NOBODY, NOBODY, NOBODY) == 0);
        assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    }
}

/// Where Yama lets only parents trace, the process lets all do so.
fn allow_any_tracer() {
    const PR_SET_PTRACER: libc::c_int = 0x5961_6d61;
    // SAFETY: no pointers. Without Yama it fails, and is not needed.
    unsafe { libc::prctl(PR_SET_PTRACER, libc::c_ulong::MAX, 0, 0, 0) };
}

/// Whether a mapping may be writable and executable.
fn maps_writable_code() -> bool {
    let access = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    map(access) != libc::MAP_FAILED
}

/// Whether a mapping that was writable may become executable.
fn makes_code_of_data() -> bool {
    let page = map(libc::PROT_READ | libc::PROT_WRITE);
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: mapped just now, and used by nothing else.
    unsafe { libc::mprotect(page, page_size(), libc::PROT_READ | libc::PROT_EXEC) == 0 }
}

fn map(access: libc::c_int) -> *mut libc::c_void {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: asks for a new mapping; nothing existing changes.
    unsafe { libc::mmap(ptr::null_mut(), page_size(), access, flags, -1, 0) }
}

fn page_size() -> usize {
    bitcoin_support::page_size()
}

/// A secret on the ordinary heap, byte by byte, so that it is whole only in its place.
fn copied_secret() -> impl Iterator<Item = u8> {
    let mut state = black_box(0x5eed_0004_c0de_7777_u64);
    (0..64).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
}

// ---- How they are looked at ----

struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
    /// The lines about results, without the word.
    results: Vec<String>,
    /// The thread that has taken the steps.
    thread: u32,
}

impl Process {
    fn start(role: &str, steps: &[HardeningStep]) -> Self {
        Self::start_with(role, steps, |_| {})
    }

    fn start_with(role: &str, steps: &[HardeningStep], change: impl FnOnce(&mut Command)) -> Self {
        let names: Vec<_> = steps.iter().map(|step| step.name()).collect();
        let mut command = this_program();
        command
            .args(["role", "--exact", "--nocapture", "--test-threads=1"])
            .env("ROLE", role)
            .env("STEPS", names.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, output, results: Vec::new(), thread: 0 };
        while process.thread == 0 {
            let mut line = String::new();
            assert_ne!(process.output.read_line(&mut line).unwrap(), 0, "it says that it is ready");
            // The test harness leaves its own line without an end.
            if let Some((_, result)) = line.split_once("result ") {
                process.results.push(result.trim().to_owned());
            } else if let Some((_, number)) = line.split_once("ready ") {
                process.thread = number.trim().parse().unwrap();
            }
        }
        process
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A field of its thread's `status`; `None` where the kernel does not show it.
    fn status(&self, field: &str) -> Option<String> {
        field_of(&self.read(&format!("task/{}/status", self.thread)), field)
    }

    /// The soft and the hard limit.
    fn limit(&self, name: &str) -> (String, String) {
        let limits = self.read("limits");
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    }

    /// Lets it do what its role says: what it prints, and how it ends.
    fn act(mut self) -> (String, ExitStatus) {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        (text, self.child.wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn field_of(status: &str, field: &str) -> Option<String> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Starts a process with a step and one without. `None`, with the reason printed, where the kernel
/// does not have what the step needs; it says so by name.
fn with_and_without(role: &str, step: HardeningStep) -> Option<(Process, Process)> {
    let with = Process::start(role, &[step]);
    if with.results == [format!("{step}: not supported here")] {
        println!("skipped: {}", with.results[0]);
        return None;
    }
    assert_eq!(with.results, [format!("{step} done")]);
    let without = Process::start(role, &[]);
    assert!(without.results.is_empty());
    Some((with, without))
}

/// Whether a process of a user without privileges can trace another.
fn can_be_traced(process: &Process) -> bool {
    let pid = process.child.id() as libc::pid_t;
    // SAFETY: the child makes system calls alone, and ends. As it ends it lets go of what it
    // traces.
    unsafe {
        let tracer = libc::fork();
        assert!(tracer >= 0);
        if tracer == 0 {
            if libc::geteuid() == 0 && libc::setresuid(NOBODY, NOBODY, NOBODY) != 0 {
                libc::_exit(3);
            }
            let nothing = ptr::null_mut::<libc::c_void>();
            let seized = libc::ptrace(libc::PTRACE_SEIZE, pid, nothing, nothing);
            let refused = io::Error::last_os_error().raw_os_error() == Some(EPERM);
            libc::_exit(if seized == 0 {
                0
            } else if refused {
                1
            } else {
                2
            });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(tracer, &mut status, 0), tracer);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) < 2, "{status:#x}");
        libc::WEXITSTATUS(status) == 0
    }
}

/// A folder that is removed when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("bitcoin_support_harden_{name}_{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The core file of a process that crashes; `None` if it leaves none.
fn core_file(name: &str, steps: &[HardeningStep]) -> Option<Vec<u8>> {
    let folder = Folder::new(name);
    let process = Process::start_with("crashes", steps, |command| {
        command.current_dir(&folder.0);
    });
    let done: Vec<_> = steps.iter().map(|step| format!("{step} done")).collect();
    assert_eq!(process.results, done);
    let (_, status) = process.act();
    assert_eq!(status.signal(), Some(libc::SIGABRT));
    let core = fs::read_dir(&folder.0).unwrap().next();
    assert_eq!(core.is_some(), status.core_dumped());
    core.map(|core| fs::read(core.unwrap().path()).unwrap())
}

/// The core file of a process that takes no step. `None`, with the reason printed, where there are
/// no core files.
fn core_file_without_steps(name: &str) -> Option<Vec<u8>> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let pattern = pattern.trim();
    if pattern.starts_with(['|', '@']) || pattern.contains('/') || pattern.is_empty() {
        println!("skipped: core files go elsewhere (kernel.core_pattern is \"{pattern}\")");
        return None;
    }
    let core = core_file(name, &[]);
    if core.is_none() {
        println!("skipped: the system wrote no core file (ulimit -H -c?)");
    }
    core
}

fn has_the_copied_secret(core: &[u8]) -> bool {
    let wanted: Vec<u8> = copied_secret().collect();
    memmem::find(core, &wanted).is_some()
}

fn is_root() -> bool {
    // SAFETY: takes nothing.
    unsafe { libc::geteuid() == 0 }
}

// ---- The steps ----

/// Neither the process nor its limits change unless a step is chosen.
#[test]
fn nothing_is_done_unasked() {
    let picture = || {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap();
        let status = read("status");
        let fields = ["NoNewPrivs", "THP_enabled", "Seccomp"].map(|name| field_of(&status, name));
        // SAFETY: no pointers.
        let flags =
            [libc::PR_GET_DUMPABLE, 66].map(|option| unsafe { libc::prctl(option, 0, 0, 0, 0) });
        (fields, flags, read("limits"), read("coredump_filter"))
    };
    let before = picture();
    let hardened = harden_process(HardenOptions::new());
    assert_eq!(picture(), before);
    assert_eq!((hardened.iter().count(), hardened.complete()), (0, Ok(())));
    for &step in HardeningStep::ALL {
        assert_eq!(hardened.of(step), None);
    }
}

#[test]
fn names_are_told_apart() {
    let names: std::collections::BTreeSet<_> =
        HardeningStep::ALL.iter().map(|step| step.name()).collect();
    assert_eq!(names.len(), HardeningStep::ALL.len());
    let error = HardenError::Refused(HardeningStep::NoTracer, EPERM);
    assert_eq!((error.step(), error.errno()), (HardeningStep::NoTracer, EPERM));
    assert!(error.to_string().starts_with("no-tracer: refused: "), "{error}");
    let error = HardenError::NotSupported(HardeningStep::SealedPool);
    assert_eq!(error.to_string(), "sealed-pool: not supported here");
}

/// The control is the same process without the step, here and below.
#[test]
fn not_dumpable_and_not_traceable() {
    let (with, without) =
        with_and_without("named a tracer", HardeningStep::NotDumpable).expect("every Linux has it");
    let owner = |process: &Process| fs::metadata(process.path("status")).unwrap().uid();
    assert_eq!(owner(&with), 0, "files of a process that is not dumpable are root's");
    if is_root() {
        assert_eq!(owner(&without), NOBODY);
    }
    if !can_be_traced(&without) {
        println!("skipped: no process may trace another here");
    } else {
        assert!(!can_be_traced(&with));
    }
}

/// The control leaves a core file that has the copy.
#[test]
fn not_dumpable_makes_no_core_file() {
    let Some(core) = core_file_without_steps("dumpable") else { return };
    assert!(has_the_copied_secret(&core));
    assert_eq!(core_file("not_dumpable", &[HardeningStep::NotDumpable]), None);
}

/// The control may have a core file, and leaves one.
#[test]
fn no_core_file() {
    let (with, without) =
        with_and_without("may dump", HardeningStep::NoCoreFile).expect("every system has it");
    let nothing = || "0".to_owned();
    assert_eq!(with.limit("Max core file size"), (nothing(), nothing()));
    // (Where the hard limit is 0 already, there is nothing to see.)
    if without.limit("Max core file size") == (nothing(), nothing()) {
        println!("skipped: this process may have no core file as it is");
        return;
    }
    if core_file_without_steps("core").is_some() {
        assert_eq!(core_file("no_core", &[HardeningStep::NoCoreFile]), None);
    }
}

/// The control's core file has the copy.
#[test]
fn a_core_file_without_memory() {
    let Some((with, without)) = with_and_without("idle", HardeningStep::CoreFilter) else { return };
    assert_eq!(with.read("coredump_filter").trim(), "00000010");
    assert_ne!(without.read("coredump_filter").trim(), "00000010");
    let Some(core) = core_file_without_steps("whole") else { return };
    assert!(has_the_copied_secret(&core));
    let core =
        core_file("filtered", &[HardeningStep::CoreFilter]).expect("a core file all the same");
    assert!(!has_the_copied_secret(&core));
}

/// The control makes code of data.
#[test]
fn memory_is_writable_or_executable() {
    let step = HardeningStep::NoWriteExecute;
    let Some((with, without)) = with_and_without("makes code", step) else { return };
    let (text, _) = without.act();
    if !text.contains("made true true") {
        println!("skipped: this process may have no writable code as it is: {text}");
        return;
    }
    let (text, _) = with.act();
    assert!(text.contains("made false false"), "{text}");
    // What has it already may ask for it again.
    let twice = HardenOptions::new().step(step);
    in_child(|| {
        assert_eq!(
            (harden_process(twice).complete(), harden_process(twice).complete()),
            (Ok(()), Ok(()))
        )
    });
}

/// The control shows 0.
#[test]
fn no_new_privileges() {
    let step = HardeningStep::NoNewPrivileges;
    let Some((with, without)) = with_and_without("starts a program", step) else { return };
    if without.status("NoNewPrivs").as_deref() != Some("0") {
        println!("skipped: this process gets no new privileges as it is");
        return;
    }
    assert_eq!(with.status("NoNewPrivs").as_deref(), Some("1"));
    // The program that it starts shows the same.
    assert_eq!(field_of(&with.act().0, "NoNewPrivs").as_deref(), Some("1"));
    assert_eq!(field_of(&without.act().0, "NoNewPrivs").as_deref(), Some("0"));
}

/// The control becomes root.
#[test]
fn a_set_user_id_program_gains_nothing() {
    if !is_root() {
        println!("skipped: only root makes a set-user-ID program of root");
        return;
    }
    if !Path::new("/usr/bin/id").exists() {
        println!("skipped: there is no /usr/bin/id here");
        return;
    }
    let folder = Folder::new("set_user_id");
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.0.join("id");
    let made = Command::new("install").args(["-m", "4755", "/usr/bin/id"]).arg(&program).status();
    assert!(made.unwrap().success());
    let user = |steps: &[HardeningStep]| {
        let process = Process::start_with("runs set-user-id", steps, |command| {
            command.env("PROGRAM", &program);
        });
        let (text, _) = process.act();
        field_of(&text.replace("user ", "user:"), "user").expect(&text)
    };
    if user(&[]) != "0" {
        println!("skipped: the file system ignores set-user-ID bits, or a sandbox does");
        return;
    }
    assert_eq!(user(&[HardeningStep::NoNewPrivileges]), NOBODY.to_string());
}

/// The control has the limit that it was given.
#[test]
fn the_lock_limit_is_raised() {
    let (with, without) =
        with_and_without("few locked", HardeningStep::LockLimit).expect("every system has it");
    let (few, more) = ("65536".to_owned(), "131072".to_owned());
    assert_eq!(without.limit("Max locked memory"), (few, more.clone()));
    assert_eq!(with.limit("Max locked memory"), (more.clone(), more));
}

/// The control shows 1, where the kernel makes huge pages.
#[test]
fn no_huge_pages() {
    let Some((with, without)) = with_and_without("idle", HardeningStep::NoHugePages) else {
        return;
    };
    match without.status("THP_enabled").as_deref() {
        None => println!("skipped: the kernel does not show it (THP_enabled, Linux 5.0)"),
        Some("0") => println!("skipped: this kernel makes no huge pages as it is"),
        Some(_) => assert_eq!(with.status("THP_enabled").as_deref(), Some("0")),
    }
}

/// Only where Yama lets no process trace others than its own children, unless these name it.
/// The control has named one.
#[test]
fn no_tracer_by_name() {
    let step = HardeningStep::NoTracer;
    let yama = Path::new("/proc/sys/kernel/yama/ptrace_scope");
    let scope = fs::read_to_string(yama);
    let Some((with, without)) = with_and_without("named a tracer", step) else {
        assert!(scope.is_err(), "Yama is in use, and the step is said not to be supported");
        return;
    };
    assert!(scope.is_ok(), "the step is said to be done without Yama");
    if scope.unwrap().trim() != "1" {
        println!(
            "skipped: Yama lets processes be traced without a name, or none be (ptrace_scope)"
        );
        return;
    }
    assert!(can_be_traced(&without));
    assert!(!can_be_traced(&with));
}

// ---- The sealed pool ----

/// Whether the kernel has `mseal`. If not, prints why a test is skipped.
fn seal_the_pool() -> bool {
    let step = HardeningStep::SealedPool;
    match harden_process(HardenOptions::new().step(step)).complete() {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error, HardenError::NotSupported(step));
            println!("skipped: {error}");
            false
        }
    }
}

fn secret(len: usize, byte: u8) -> SecureVec<u8> {
    let mut secret = SecureVec::with_capacity(len);
    secret.extend_from_slice(&vec![byte; len]);
    secret
}

/// What the kernel answers to calls that change a page's mapping: to `munmap`, `mprotect`, a
/// mapping in its place, and `mremap`. Those that succeed have done it.
fn attacks(page: usize) -> [i32; 4] {
    let (at, len) = (ptr::with_exposed_provenance_mut::<libc::c_void>(page), page_size());
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let number = |failed: bool| {
        if failed { io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
    };
    // SAFETY: the purpose of the test: either nothing changes, or the process is a child that does
    // not use the page any more.
    unsafe {
        [
            number(libc::mprotect(at, len, access) != 0),
            number(
                libc::mremap(at, len, len, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, map(access))
                    == libc::MAP_FAILED,
            ),
            number(libc::mmap(at, len, access, flags, -1, 0) == libc::MAP_FAILED),
            number(libc::munmap(at, len) != 0),
        ]
    }
}

/// The page that a secret begins in.
fn page_of(secret: &SecureVec<u8>) -> usize {
    secret.expose_secret().as_ptr().addr() & !(page_size() - 1)
}

/// The start and the end of each mapping of this process, and its access.
fn mappings() -> Vec<(usize, usize, String)> {
    mappings_in(&fs::read_to_string("/proc/self/maps").unwrap())
}

fn mappings_in(maps: &str) -> Vec<(usize, usize, String)> {
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        Some((number(start)?, number(end)?, words.next()?.to_owned()))
    };
    maps.lines().filter_map(parse).collect()
}

/// The guard pages around the mapping that an address lies in.
fn guards_of(addr: usize) -> [usize; 2] {
    let all = mappings();
    let arena = all.iter().find(|(start, end, _)| (*start..*end).contains(&addr)).unwrap();
    let guards = [arena.0 - page_size(), arena.1];
    for guard in guards {
        let (.., access) = all.iter().find(|(from, to, _)| (*from..*to).contains(&guard)).unwrap();
        assert!(access.starts_with("---"), "{access}");
    }
    guards
}

#[test]
fn the_kernel_refuses_to_change_a_sealed_pool() {
    alone("the_kernel_refuses_to_change_a_sealed_pool", || {
        let before = secret(100, 1);
        let first = page_of(&before);
        let [front, behind] = guards_of(first);
        // The control: as it is, the kernel does what it is asked.
        for page in [first, front, behind] {
            in_child(|| assert_eq!(attacks(page), [0; 4]));
        }
        assert!(!flags_of(first).contains(&"sl".to_owned()));
        if !seal_the_pool() {
            return;
        }
        // What is mapped later is sealed too.
        let after = secret(200 * 1024, 2);
        let more = secret(200 * 1024, 3);
        for page in [&before, &after, &more].map(page_of) {
            let guards = guards_of(page);
            for page in [page, guards[0], guards[1]] {
                assert_eq!(attacks(page), [EPERM; 4], "{page:#x}");
            }
            // From outside, as far as the kernel shows it.
            assert!(flags_of(page).contains(&"sl".to_owned()), "{:?}", flags_of(page));
        }
        assert!(before.expose_secret().iter().all(|&byte| byte == 1));
        // A child has the same.
        in_child(|| {
            assert_eq!(attacks(first), [EPERM; 4]);
            assert!(after.expose_secret().iter().all(|&byte| byte == 2));
            assert_eq!(secret(1000, 4).expose_secret()[999], 4);
        });
    });
}

/// What is sealed, writable and not locked is tables.
#[test]
fn the_tables_are_sealed_and_grow() {
    alone("the_tables_are_sealed_and_grow", || {
        // Some in slabs, and so in the tables.
        let first: Vec<_> = (0..1000).map(|_| secret(100, 1)).collect();
        // Start, length, and whether it is locked.
        let sealed = || {
            let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
            let flags = smaps.lines().filter_map(|line| line.strip_prefix("VmFlags:"));
            let flags = flags.map(|flags| flags.split_whitespace().collect::<Vec<_>>());
            let all = mappings_in(&smaps).into_iter().zip(flags);
            all.filter(|(_, flags)| flags.contains(&"sl") && flags.contains(&"wr"))
                .map(|((start, end, _), flags)| (start, end - start, flags.contains(&"lo")))
                .collect::<Vec<_>>()
        };
        // (The kernel seals some of its mappings, such as the vdso, but none that can be written.)
        assert_eq!(sealed(), []);
        if !seal_the_pool() {
            return;
        }
        let tables = |sealed: &[(usize, usize, bool)]| -> usize {
            sealed.iter().filter(|(.., locked)| !locked).map(|(_, len, _)| len).sum()
        };
        let before = tables(&sealed());
        assert!(before > 0);
        // More than the tables are made ready for at once: 16 MiB. All of it is in small chunks.
        let many: Vec<_> = (0..20 << 10).map(|number| secret(1000, number as u8)).collect();
        let stats = LockedPoolManager::instance().stats();
        if stats.locked < stats.total {
            println!("skipped: so much may not be locked here");
            return;
        }
        let after = sealed();
        // A byte for each 16 bytes of memory, at the least.
        assert!(tables(&after) >= before + (1 << 20), "{before} {after:x?}");
        for (start, ..) in &after {
            assert_eq!(attacks(*start), [EPERM; 4]);
        }
        for (number, secret) in many.iter().enumerate() {
            assert_eq!(secret.expose_secret(), &[number as u8; 1000]);
        }
        // Nothing goes back to the system, and what was used is used again.
        let pool = LockedPoolManager::instance();
        let (most, arenas) = (pool.stats().total, pool.stats().arenas);
        drop(many);
        let big: Vec<_> = (0..60).map(|number| secret(250_000, number)).collect();
        drop(big);
        assert_eq!((pool.stats().total, pool.stats().arenas), (most, arenas));
        assert!(first.iter().all(|secret| secret.expose_secret() == [1; 100]));
    });
}

/// The control of the last lines above.
#[test]
fn control_a_pool_that_is_not_sealed_gives_memory_back() {
    alone("control_a_pool_that_is_not_sealed_gives_memory_back", || {
        let pool = LockedPoolManager::instance();
        let many: Vec<_> = (0..100).map(|number| secret(250_000, number)).collect();
        let most = pool.stats().total;
        drop(many);
        assert!(pool.stats().total < most / 2);
    });
}

#[test]
fn sealed_before_the_first_use() {
    alone("sealed_before_the_first_use", || {
        if !seal_the_pool() {
            return;
        }
        let first = secret(100, 1);
        assert_eq!(attacks(page_of(&first)), [EPERM; 4]);
        // Threads come and go, and with them heaps.
        for _ in 0..3 {
            let threads: Vec<_> = (0..4)
                .map(|number| {
                    std::thread::spawn(move || {
                        let many: Vec<_> = (1..2000).map(|len| secret(len, number)).collect();
                        assert!(many.iter().all(|secret| secret.expose_secret()[0] == number));
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
        assert_eq!(first.expose_secret(), &[1; 100]);
        // More mappings than the first slots of the registry have room for.
        let pages: Vec<_> =
            (0..200).map(|_| bitcoin_support::LockedPages::new(1).unwrap()).collect();
        assert!(pages.iter().all(|pages| pages.as_slice()[0] == 0));
    });
}

/// A child finds what the pool's policy says, sealed or not.
#[test]
fn children_of_a_sealed_pool() {
    for (test, policy) in [("wiped", ForkPolicy::Wipe), ("absent", ForkPolicy::Absent)] {
        if std::env::var("POLICY").is_ok_and(|wanted| wanted != test) {
            continue;
        }
        common::alone_with("children_of_a_sealed_pool", &[("POLICY", test)], || {
            let options = PoolOptions::new().fork_policy(policy);
            // SAFETY: children use no object of their parent's in the pool.
            unsafe { LockedPoolManager::instance().configure_unchecked(&options) }.unwrap();
            let before = secret(100, 1);
            if !seal_the_pool() {
                return;
            }
            let place = before.expose_secret().as_ptr().addr();
            in_child(|| {
                let expected = (policy == ForkPolicy::Wipe).then(|| vec![0; 100]);
                assert_eq!(read_memory(place, 100), expected);
                let many: Vec<_> = (1..3000).map(|len| secret(len, 2)).collect();
                assert!(many.iter().all(|secret| secret.expose_secret().last() == Some(&2)));
                drop(many);
                in_child(|| assert_eq!(secret(1000, 4).expose_secret()[999], 4));
                std::mem::forget(before);
            });
        });
    }
}

/// What is at an address of a child that has exited, before the kernel takes its memory; `None` if
/// it cannot be accessed there.
fn left_at_exit(place: usize, len: usize) -> Option<Vec<u8>> {
    let nothing = ptr::null_mut::<libc::c_void>();
    // SAFETY: the child stops, and ends by `exit`. The parent traces it with valid arguments.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            if libc::ptrace(libc::PTRACE_TRACEME, 0, nothing, nothing) != 0 {
                libc::_exit(1); // Where there is no such call, the parent would wait for ever.
            }
            libc::raise(libc::SIGSTOP);
            libc::exit(42);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(libc::WIFSTOPPED(status), "{status:#x}");
        let at_exit =
            ptr::without_provenance_mut::<libc::c_void>(libc::PTRACE_O_TRACEEXIT as usize);
        assert_eq!(libc::ptrace(libc::PTRACE_SETOPTIONS, child, nothing, at_exit), 0);
        assert_eq!(libc::ptrace(libc::PTRACE_CONT, child, nothing, nothing), 0);
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status >> 8, libc::SIGTRAP | libc::PTRACE_EVENT_EXIT << 8);
        let mut bytes = vec![0; len];
        let memory = fs::File::open(format!("/proc/{child}/mem")).unwrap();
        let read = memory.read_exact_at(&mut bytes, place as u64);
        // `/proc/PID/mem` shows a debugger what has no access too, as zeros.
        let maps = fs::read_to_string(format!("/proc/{child}/maps")).unwrap();
        let is_accessible = mappings_in(&maps).iter().any(|(start, end, access)| {
            (*start..*end).contains(&place) && access.starts_with("rw")
        });
        assert_eq!(libc::ptrace(libc::PTRACE_CONT, child, nothing, nothing), 0);
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(libc::WEXITSTATUS(status), 42, "{status:#x}");
        (is_accessible && read.is_ok()).then_some(bytes)
    }
}

/// An exit that makes secrets inaccessible would leave zeros in what is sealed, so it leaves the
/// secrets to the kernel.
#[test]
fn the_exit_of_a_sealed_pool() {
    alone("the_exit_of_a_sealed_pool", || {
        // SAFETY: this process has one thread that uses secrets.
        set_exit_policy(unsafe { ExitPolicy::inaccessible() });
        let kept = secret(100, 7);
        let place = kept.expose_secret().as_ptr().addr();
        // The control.
        assert_eq!(left_at_exit(place, 100), None);
        if seal_the_pool() {
            assert_eq!(left_at_exit(place, 100).as_deref(), Some(&[7; 100][..]));
        }
    });
}

// ---- All at once, and in a sandbox ----

#[test]
fn control_all_steps_at_once_and_twice() {
    alone("control_all_steps_at_once_and_twice", || {
        let all: HardenOptions = HardeningStep::ALL.iter().copied().collect();
        for _ in 0..2 {
            for error in harden_process(all).errors() {
                assert_eq!(error, HardenError::NotSupported(error.step()), "{error}");
                println!("skipped: {error}");
            }
        }
        // The library works as before.
        let many: Vec<_> = (1..3000).map(|len| secret(len, 2)).collect();
        assert!(many.iter().all(|secret| secret.expose_secret()[0] == 2));
        in_child(|| assert_eq!(secret(1000, 4).expose_secret()[999], 4));
    });
}

/// A process that is not dumpable may not write its core filter any more, unless it is root's. It
/// may still ask for what it has.
#[test]
fn twice_without_privileges() {
    in_child(|| {
        become_nobody();
        let both =
            HardenOptions::new().step(HardeningStep::CoreFilter).step(HardeningStep::NotDumpable);
        assert_eq!(harden_process(both).complete(), Ok(()));
        assert_eq!(harden_process(both).complete(), Ok(()));
    });
    // The control: it is refused to a process that has not asked for it before.
    in_child(|| {
        become_nobody();
        let not_dumpable = HardenOptions::new().step(HardeningStep::NotDumpable);
        let filter = HardenOptions::new().step(HardeningStep::CoreFilter);
        assert_eq!(harden_process(not_dumpable).complete(), Ok(()));
        let refused = HardenError::Refused(HardeningStep::CoreFilter, libc::EACCES);
        assert_eq!(harden_process(filter).complete(), Err(refused));
    });
}

/// A sandbox refuses each call in turn: the steps that need it are refused by name, the others are
/// done, and the process goes on.
#[test]
fn what_a_sandbox_refuses_is_a_result() {
    use HardeningStep::{CoreFilter, LockLimit, NoCoreFile, SealedPool};
    const MSEAL: libc::c_long = 462;
    // With a filter a process has no new privileges already; `prctl` is refused all the
    // same.
    let by_prctl =
        |step: HardeningStep| !matches!(step, LockLimit | CoreFilter | NoCoreFile | SealedPool);
    let cases: [(libc::c_long, &dyn Fn(HardeningStep) -> bool); 4] = [
        (libc::SYS_prctl, &by_prctl),
        (libc::SYS_prlimit64, &|step| matches!(step, LockLimit | NoCoreFile)),
        (libc::SYS_openat, &|step| step == CoreFilter),
        (MSEAL, &|step| step == SealedPool),
    ];
    let test = "what_a_sandbox_refuses_is_a_result";
    for (number, (call, needs)) in cases.into_iter().enumerate() {
        // 32-bit C libraries set limits by other calls.
        if call == libc::SYS_prlimit64 && usize::BITS < 64 {
            continue;
        }
        for errno in [EPERM, libc::ENOSYS] {
            let name = format!("{number} {errno}");
            if std::env::var("CASE").is_ok_and(|wanted| wanted != name) {
                continue;
            }
            common::alone_with(test, &[("CASE", &name)], || {
                refuse(call, None, errno);
                let hardened = harden_process(HardeningStep::ALL.iter().copied().collect());
                assert_eq!(hardened.iter().count(), HardeningStep::ALL.len());
                for (step, result) in hardened.iter() {
                    match result {
                        Ok(()) => assert!(!needs(step), "{step}"),
                        // A kernel without the call gives the same answer.
                        Err(HardenError::NotSupported(_)) => {
                            assert!(!needs(step) || step == SealedPool && errno == libc::ENOSYS);
                        }
                        Err(error) => {
                            assert!(needs(step), "{error}");
                            assert_eq!(error, HardenError::Refused(step, errno));
                        }
                    }
                }
                assert_eq!(secret(1000, 4).expose_secret()[999], 4);
            });
        }
    }
}
