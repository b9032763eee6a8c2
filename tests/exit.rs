//! What happens to secrets when the process exits. They are wiped if no other thread or process can
//! use them, and never while another thread runs.
//!
//! Each case runs in a separate process: this program again, which runs the case before the test
//! harness starts and without the harness's threads. The case tells where its secrets are. The test
//! reads them from outside when the process has run its last instruction and its memory is still
//! mapped (`PTRACE_EVENT_EXIT`).

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{
    ClosedBox, ExitPolicy, LockedPages, LockedPool, LockedPoolManager, SecureBox, SecureString,
    SecureVec, set_exit_policy,
};
use common::this_program::this_program;
use common::{limit_locked_memory, refuse};
use std::ffi::{c_char, c_void};
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStdout, Command, Stdio};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::thread;

const SECRET: u8 = 0x77;
const LEN: usize = 32;

// ---- The cases ------------------------------------------------------------------

/// The cases that run in separate processes, by name.
const CASES: &[(&str, fn())] = &[
    ("alone", || exit_with_all_kinds(0)),
    ("alone_by_underscore_exit", || {
        let _kept = all_kinds();
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }),
    ("alone_and_never", || {
        set_exit_policy(ExitPolicy::NEVER);
        exit_with_all_kinds(0);
    }),
    ("alone_and_not_known", || {
        refuse(libc::SYS_unshare, None, libc::EPERM);
        exit_with_all_kinds(0);
    }),
    #[cfg(feature = "sealed")]
    ("alone_with_a_sealing_key", || exit_with_a_sealing_key(ExitPolicy::WIPE_WHEN_ALONE)),
    #[cfg(feature = "sealed")]
    ("alone_with_a_sealing_key_and_never", || exit_with_a_sealing_key(ExitPolicy::NEVER)),
    ("inaccessible", || {
        // SAFETY: a thread that still runs may end this process at any moment, by an access that
        // faults.
        set_exit_policy(unsafe { ExitPolicy::inaccessible() });
        exit_with_all_kinds(0);
    }),
    ("after_threads_that_ended", || {
        let threads: Vec<_> =
            (0..4).map(|_| thread::spawn(|| drop(SecureString::from("a thread's")))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        exit_with_all_kinds(0);
    }),
    ("a_thread_goes_on", || {
        let key = key();
        let thread = thread::spawn(move || {
            loop {
                if *black_box(&key).expose_secret() != [SECRET; LEN] {
                    tell("changed");
                    // SAFETY: ends the process.
                    unsafe { libc::_exit(1) };
                }
                RUNS.store(true, Ordering::Relaxed);
            }
        });
        wait_for(&RUNS);
        exit_with_all_kinds(usize::from(thread.is_finished()));
    }),
    ("a_thread_follows_references", || follow_references(false)),
    ("a_thread_follows_references_in_a_container", || follow_references(true)),
    ("a_thread_exits", || {
        let key = key();
        thread::spawn(|| {
            wait_for(&RUNS);
            exit(0);
        });
        loop {
            // Stands for encryption with the key: the output shows which key was used.
            if std::io::stdout().write_all(black_box(&key).expose_secret()).is_err() {
                return;
            }
            RUNS.store(true, Ordering::Relaxed);
        }
    }),
    ("in_a_callback", || {
        limit_locked_memory(65536, 65536);
        let pool = LockedPoolManager::instance();
        pool.set_locking_failed(Some(Box::new(|_| exit(0))));
        let _kept = ManuallyDrop::new(key());
        let _full: Vec<_> = (0..100).map(|_| SecureVec::from_slice(&[SECRET; 2000])).collect();
    }),
    ("handlers_and_a_second_exit", || {
        static LATE: AtomicPtr<SecureBox<[u8; LEN]>> = AtomicPtr::new(ptr::null_mut());
        extern "C" fn handler() {
            let late = LATE.swap(ptr::null_mut(), Ordering::Relaxed);
            // SAFETY: made from a box below. Only the first call takes it.
            let late = unsafe { Box::from_raw(late) };
            if *late.expose_secret() == [SECRET; LEN] {
                tell("found");
            }
            drop(late);
            assert_eq!(SecureString::from("made late").len(), 9);
            exit(3);
        }
        // Before the pool is first used.
        // SAFETY: a function without arguments.
        assert_eq!(unsafe { libc::atexit(handler) }, 0);
        LATE.store(Box::into_raw(Box::new(SecureBox::new([SECRET; LEN]))), Ordering::Relaxed);
        let _kept = ManuallyDrop::new(key());
        exit(0);
    }),
    ("what_a_stream_has_not_written", || {
        let buffer = LockedPoolManager::instance().alloc(4096, 16).unwrap();
        // SAFETY: a new stream over standard output, whose buffer is a chunk that is never freed.
        unsafe {
            let stream = libc::fdopen(1, c"w".as_ptr());
            assert_eq!(libc::setvbuf(stream, buffer.as_ptr().cast(), libc::_IOFBF, 4096), 0);
            assert!(libc::fputs(c"found\n".as_ptr(), stream) >= 0);
        }
        exit(0);
    }),
    ("a_closed_secret_is_opened_late", || {
        static KEY: OnceLock<ClosedBox<[u8; LEN]>> = OnceLock::new();
        /// The C library writes out its streams after all that this library does.
        extern "C" fn write(_: *mut c_void, _: *const c_char, len: usize) -> isize {
            tell("late");
            if let Ok(opened) = KEY.get().unwrap().open() {
                let same = *black_box(opened.expose_secret()) == [SECRET; LEN];
                tell(if same { "same" } else { "changed" });
            }
            len as isize
        }
        #[repr(C)]
        struct Functions {
            read: Option<extern "C" fn()>,
            write: extern "C" fn(*mut c_void, *const c_char, usize) -> isize,
            seek: Option<extern "C" fn()>,
            close: Option<extern "C" fn()>,
        }
        unsafe extern "C" {
            fn fopencookie(_: *mut c_void, mode: *const c_char, _: Functions) -> *mut libc::FILE;
        }
        KEY.get_or_init(|| ClosedBox::new_with(|key| *key = [SECRET; LEN]).unwrap());
        let functions = Functions { read: None, write, seek: None, close: None };
        // SAFETY: a stream over a function with the arguments of one, and a text. A thread that
        // still runs may end this process at any moment, by an access that faults.
        unsafe {
            let stream = fopencookie(ptr::null_mut(), c"w".as_ptr(), functions);
            assert!(libc::fputs(c"text".as_ptr(), stream) >= 0);
            set_exit_policy(ExitPolicy::inaccessible());
        }
        exit(0);
    }),
    ("children_of_fork", || {
        let key = key();
        for wiped in [true, false] {
            let place = (key.expose_secret().as_ptr().expose_provenance(), LEN);
            // SAFETY: this process has one thread.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let nothing = ptr::null_mut::<libc::c_void>();
                // SAFETY: the child asks to be traced, stops, and ends.
                unsafe {
                    if libc::ptrace(libc::PTRACE_TRACEME, 0, nothing, nothing) != 0 {
                        libc::_exit(0);
                    }
                    libc::raise(libc::SIGSTOP);
                    if wiped { libc::exit(0) } else { libc::_exit(0) }
                }
            }
            let ended = watch(child, || vec![place]);
            assert_eq!(ended.status, 0);
            if let Some(found) = ended.found {
                let wiped = wiped && alone_is_known();
                assert_eq!(found[0].as_deref(), Some(&[if wiped { 0 } else { SECRET }; LEN][..]));
                tell("found");
            }
            assert_eq!(
                *key.expose_secret(),
                [SECRET; LEN],
                "a child's exit changes nothing in its parent"
            );
        }
        exit(0);
    }),
    ("a_child_of_vfork_exits", || {
        extern "C" fn child(_: *mut libc::c_void) -> libc::c_int {
            exit(0)
        }
        let key = ManuallyDrop::new(key());
        let child = clone(child, libc::CLONE_VM | libc::CLONE_VFORK, ptr::null_mut());
        assert_eq!(status_of(child), 0);
        let same = *black_box(&key).expose_secret() == [SECRET; LEN];
        tell(if same { "same" } else { "changed" });
        // Exit handlers have run, in the child.
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }),
    ("another_process_uses_the_memory", || {
        extern "C" fn other(key: *mut libc::c_void) -> libc::c_int {
            let key = key.cast::<[u8; LEN]>();
            loop {
                // SAFETY: takes nothing.
                if unsafe { libc::getppid() } != PARENT.load(Ordering::Relaxed) {
                    break;
                }
            }
            // SAFETY: the memory belongs to this process too.
            let same = unsafe { key.read_volatile() } == [SECRET; LEN];
            tell(if same { "same" } else { "changed" });
            0
        }
        let mut key = ManuallyDrop::new(key());
        // SAFETY: takes nothing.
        PARENT.store(unsafe { libc::getpid() }, Ordering::Relaxed);
        clone(other, libc::CLONE_VM, ptr::from_mut(key.expose_secret_mut()).cast());
        exit(0);
    }),
];

static RUNS: AtomicBool = AtomicBool::new(false);
static PARENT: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);

// The section holds pointers to functions, which are called before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_THE_HARNESS: extern "C" fn() = run_case;

/// Makes the process sleep after everything at exit has been done, so that a thread that still runs
/// would see a wipe.
fn linger_at_the_end() {
    extern "C" fn linger(_: *mut libc::c_void) {
        thread::sleep(std::time::Duration::from_millis(50));
    }
    unsafe extern "C" {
        fn __cxa_atexit(
            handler: extern "C" fn(*mut libc::c_void),
            argument: *mut libc::c_void,
            object: *mut libc::c_void,
        ) -> libc::c_int;
    }
    // SAFETY: the function lives as long as the program. It is registered for no object, so only
    // `exit` runs it. A handler that is registered after the exit handlers have run, runs last.
    assert_eq!(unsafe { __cxa_atexit(linger, ptr::null_mut(), ptr::null_mut()) }, 0);
}

static LINGERS: AtomicBool = AtomicBool::new(false);

// The section holds pointers to functions. They are called after the exit handlers, and before the
// library's.
#[used]
#[unsafe(link_section = ".fini_array")]
static AFTER_HANDLERS: extern "C" fn() = after_handlers;

extern "C" fn after_handlers() {
    // musl waits for ever where a handler is registered so late.
    if LINGERS.load(Ordering::Relaxed) && cfg!(not(target_env = "musl")) {
        linger_at_the_end();
    }
}

extern "C" fn run_case() {
    let Some(name) = std::env::var_os("EXIT_CASE") else { return };
    let (_, case) = CASES.iter().find(|(case, _)| *case == name).expect("a case");
    if name.to_string_lossy().starts_with("a_thread_") {
        // Also after handlers that a pool may register when it is first used.
        linger_at_the_end();
        LINGERS.store(true, Ordering::Relaxed);
    }
    case();
    exit(9);
}

fn exit(code: i32) -> ! {
    // SAFETY: ends the process, however often it is called.
    unsafe { libc::exit(code) }
}

fn tell(line: &str) {
    // Without a buffer.
    let line = format!("{line}\n");
    // SAFETY: reads the line.
    let written = unsafe { libc::write(1, line.as_ptr().cast(), line.len()) };
    assert_eq!(written, line.len() as isize);
}

fn tell_place(bytes: &[u8]) {
    tell(&format!("place {} {}", bytes.as_ptr().expose_provenance(), bytes.len()));
}

fn key() -> SecureBox<[u8; LEN]> {
    let key = SecureBox::new([SECRET; LEN]);
    tell_place(key.expose_secret());
    key
}

/// A secret in every kind of locked memory.
fn all_kinds() -> impl Sized {
    let small = key();
    let large = SecureVec::from_slice(&vec![SECRET; 300_000]);
    tell_place(&large.expose_secret()[299_000..]);
    let mut pages = LockedPages::new(LEN).unwrap();
    pages.as_mut_slice().fill(SECRET);
    tell_place(pages.as_slice());
    let own = LockedPool::default();
    let chunk = own.alloc(LEN, 16).unwrap();
    // SAFETY: a chunk of that many bytes.
    tell_place(unsafe {
        chunk.write_bytes(SECRET, LEN);
        std::slice::from_raw_parts(chunk.as_ptr(), LEN)
    });
    let pool = LockedPoolManager::instance();
    pool.sample_one_in(NonZeroU32::new(1), 1 << 20).unwrap();
    let sampled = key();
    pool.sample_one_in(None, 0).unwrap();
    ManuallyDrop::new((small, large, pages, own, sampled))
}

fn exit_with_all_kinds(code: usize) {
    let _kept = all_kinds();
    exit(code as i32);
}

/// The sealing key, from which the keys of all sealed secrets follow.
#[cfg(feature = "sealed")]
fn exit_with_a_sealing_key(policy: ExitPolicy) {
    /// Bytes of the sealing key.
    const LEN: usize = 16 * 1024;
    set_exit_policy(policy);
    let secret = SecureBox::new([SECRET; 32]);
    // The key is put where the only other chunk of its size was.
    let chunk = SecureBox::new([0_u8; LEN]);
    let place = chunk.expose_secret().as_ptr().expose_provenance();
    drop(chunk);
    let _kept = ManuallyDrop::new(bitcoin_support::SealedBox::seal(secret).unwrap());
    // SAFETY: no thread writes there, and the pages are mapped for the life of the process.
    let there = unsafe { &*ptr::with_exposed_provenance::<[u8; LEN]>(place) };
    // A run of the same bytes is not to be expected in random ones.
    assert!(there.windows(8).all(|bytes| bytes != [bytes[0]; 8]), "the key lies elsewhere");
    tell_place(&there[..LEN / 2]);
    tell_place(&there[LEN / 2..]);
    exit(0);
}

/// A thread follows references and boxes that lie in locked memory, also in a container of another
/// crate.
fn follow_references(in_container: bool) {
    static NUMBER: u64 = 7;
    let value = &*Box::leak(Box::new(SecureBox::new(Some(&NUMBER))));
    let boxes = &*Box::leak(Box::new({
        let mut boxes = SecureVec::new();
        boxes.push(Some(Box::new(7_u64)));
        boxes
    }));
    let mut container = allocator_api2::vec::Vec::new_in(bitcoin_support::SecureAllocator);
    if in_container {
        container.push(Box::new(7_u64));
    }
    thread::spawn(move || {
        let Some(number) = value.expose_secret() else { return };
        let Some(boxed) = &boxes.expose_secret()[0] else { return };
        loop {
            assert_eq!(black_box(**number), 7);
            assert_eq!(black_box(**boxed), 7);
            assert!(container.iter().all(|boxed| *black_box(boxed).as_ref() == 7));
            RUNS.store(true, Ordering::Relaxed);
        }
    });
    wait_for(&RUNS);
    exit(0);
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        thread::yield_now();
    }
}

/// Makes a process that shares this one's memory and has a separate stack.
fn clone(
    child: extern "C" fn(*mut libc::c_void) -> libc::c_int,
    flags: libc::c_int,
    argument: *mut libc::c_void,
) -> libc::pid_t {
    let stack = Box::leak(vec![0_u128; 1 << 14].into_boxed_slice()).as_mut_ptr_range().end;
    // SAFETY: the stack is large enough and used by the child alone.
    let child = unsafe { libc::clone(child, stack.cast(), flags | libc::SIGCHLD, argument) };
    assert!(child > 0);
    child
}

fn status_of(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: a valid place for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, libc::__WALL) }, child);
    status
}

// ---- Watching -------------------------------------------------------------------

/// How a process has ended.
struct Ended {
    /// The bytes in each place at the end, `None` for a place that was not readable. The whole is
    /// `None` if the process may not be traced.
    found: Option<Vec<Option<Vec<u8>>>>,
    status: i32,
}

/// Traces a child, which has stopped and asks to be traced, until it has ended.
fn watch(child: libc::pid_t, places: impl FnOnce() -> Vec<(usize, usize)>) -> Ended {
    let nothing = ptr::null_mut::<libc::c_void>();
    let trace = |request, data: usize| {
        let data = ptr::without_provenance_mut::<libc::c_void>(data);
        // SAFETY: neither reads nor writes memory here.
        unsafe { libc::ptrace(request, child, nothing, data) == 0 }
    };
    let mut status = status_of(child);
    if !libc::WIFSTOPPED(status) {
        return Ended { found: None, status };
    }
    let options = libc::PTRACE_O_TRACEEXIT | libc::PTRACE_O_EXITKILL;
    assert!(trace(libc::PTRACE_SETOPTIONS, options as usize));
    let (mut places, mut found) = (Some(places), None);
    let mut signal = 0;
    loop {
        trace(libc::PTRACE_CONT, signal);
        status = status_of(child);
        if !libc::WIFSTOPPED(status) {
            return Ended { found, status };
        }
        signal = libc::WSTOPSIG(status) as usize;
        if status >> 8 == libc::SIGTRAP | libc::PTRACE_EVENT_EXIT << 8 {
            signal = 0;
            let memory = File::open(format!("/proc/{child}/mem")).unwrap();
            let maps = std::fs::read_to_string(format!("/proc/{child}/maps")).unwrap();
            let look = |(addr, len)| {
                let mut bytes = vec![0; len];
                memory.read_exact_at(&mut bytes, addr as u64).ok()?;
                // A tracer may read more than the process itself.
                is_readable(&maps, addr).then_some(bytes)
            };
            found = places.take().map(|places| places().into_iter().map(look).collect());
        }
    }
}

/// Whether an address is in a readable mapping.
fn is_readable(maps: &str, addr: usize) -> bool {
    maps.lines().any(|line| {
        let (range, access) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |digits| usize::from_str_radix(digits, 16).unwrap();
        (number(start)..number(end)).contains(&addr) && access.starts_with('r')
    })
}

/// What a case has written, the bytes at the end in the places that it told, and its status.
struct Outcome {
    output: Vec<u8>,
    found: Vec<Option<Vec<u8>>>,
    status: i32,
}

impl Outcome {
    fn says(&self, line: &str) -> usize {
        self.output.split(|&byte| byte == b'\n').filter(|said| *said == line.as_bytes()).count()
    }

    /// Whether there are `count` places, and all hold only this byte.
    fn all_places_hold(&self, count: usize, byte: u8) -> bool {
        let holds = |place: &Option<Vec<u8>>| {
            place.as_ref().is_some_and(|place| place.iter().all(|&found| found == byte))
        };
        self.found.len() == count && self.found.iter().all(holds)
    }
}

fn command(case: &str) -> Command {
    let mut command = this_program();
    command.env("EXIT_CASE", case).stdout(Stdio::piped());
    command
}

/// Whether the system can tell if a process is the only user of its memory.
fn alone_is_known() -> bool {
    // SAFETY: changes nothing; takes no pointers.
    let refused = unsafe { libc::unshare(libc::CLONE_VM) } != 0;
    !refused || std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
}

/// Runs a case and reads its memory at the end. Returns `None` and prints why if that is not
/// allowed.
fn run(case: &str) -> Option<Outcome> {
    if !alone_is_known() {
        println!("skipped: nothing is wiped where unshare is forbidden");
        return None;
    }
    let mut command = command(case);
    // SAFETY: a system call and no more.
    unsafe {
        command.pre_exec(|| {
            let nothing = ptr::null_mut::<libc::c_void>();
            match libc::ptrace(libc::PTRACE_TRACEME, 0, nothing, nothing) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let Ok(mut child) = command.spawn() else {
        println!("skipped: this process may not trace its children");
        return None;
    };
    let mut stdout = child.stdout.take().unwrap();
    let mut output = Vec::new();
    let ended = watch(child.id() as libc::pid_t, || {
        output = what_is_there(&mut stdout);
        let text = String::from_utf8_lossy(&output);
        let places = text.lines().filter_map(|line| line.strip_prefix("place "));
        let place = |line: &str| {
            let (addr, len) = line.split_once(' ').unwrap();
            (addr.parse().unwrap(), len.parse().unwrap())
        };
        places.map(place).collect()
    });
    stdout.read_to_end(&mut output).unwrap();
    Some(Outcome { output, found: ended.found.expect("it has ended"), status: ended.status })
}

/// What has been written so far.
fn what_is_there(stdout: &mut ChildStdout) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut ready = libc::pollfd { fd: stdout.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        // SAFETY: a valid place for the answer.
        let answers = unsafe { libc::poll(&mut ready, 1, 0) };
        if answers != 1 || ready.revents & libc::POLLIN == 0 {
            return bytes;
        }
        let mut buffer = [0; 4096];
        let count = stdout.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..count]);
    }
}

// ---- The tests ------------------------------------------------------------------

/// The number of secrets of `all_kinds`.
const KINDS: usize = 5;

#[test]
fn everything_is_wiped_if_nobody_can_look() {
    let Some(alone) = run("alone") else { return };
    assert!(alone.all_places_hold(KINDS, 0), "{:?}", alone.found);
    assert_eq!(alone.status, 0);
    // The controls: one process ends without exit handlers, and one has chosen never to wipe.
    for case in ["alone_by_underscore_exit", "alone_and_never"] {
        assert!(run(case).unwrap().all_places_hold(KINDS, SECRET), "{case}");
    }
}

#[cfg(feature = "sealed")]
#[test]
fn the_sealing_key_is_wiped() {
    let Some(outcome) = run("alone_with_a_sealing_key") else { return };
    // The two halves of the key.
    assert!(outcome.all_places_hold(2, 0), "{:?}", outcome.found);
    assert_eq!(outcome.status, 0);
    // The control.
    let kept = run("alone_with_a_sealing_key_and_never").unwrap();
    let is_whole = |place: &Option<Vec<u8>>| {
        place.as_ref().is_some_and(|bytes| bytes.windows(8).all(|some| some != [some[0]; 8]))
    };
    assert!(kept.found.len() == 2 && kept.found.iter().all(is_whole));
}

/// The kernel may still show a thread that has been joined.
#[test]
fn threads_that_have_ended_look_no_more() {
    for _ in 0..10 {
        let Some(outcome) = run("after_threads_that_ended") else { return };
        assert!(outcome.all_places_hold(KINDS, 0), "{:?}", outcome.found);
    }
}

#[test]
fn nothing_is_wiped_under_a_thread_that_goes_on() {
    let Some(outcome) = run("a_thread_goes_on") else { return };
    assert!(outcome.all_places_hold(1 + KINDS, SECRET));
    assert_eq!((outcome.status, outcome.says("changed")), (0, 0));
}

#[test]
fn references_in_locked_memory_stay_valid() {
    for case in ["a_thread_follows_references", "a_thread_follows_references_in_a_container"] {
        for _ in 0..3 {
            let output = command(case).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
    }
}

/// A thread that uses its key while another thread exits never sees a key of zeros.
#[test]
fn no_thread_computes_with_zeros() {
    for _ in 0..3 {
        let output = command("a_thread_exits").output().unwrap();
        assert!(output.status.success());
        let text = output.stdout.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let keys = &output.stdout[text..];
        assert!(!keys.is_empty());
        assert!(keys.iter().all(|&byte| byte == SECRET), "a key of zeros was used");
    }
}

#[test]
fn what_is_not_known_is_not_wiped() {
    let Some(outcome) = run("alone_and_not_known") else { return };
    assert!(outcome.all_places_hold(KINDS, SECRET));
    assert_eq!(outcome.status, 0);
}

/// With the policy `Inaccessible`, no thread that still runs can read the secrets.
#[test]
fn inaccessible_by_choice() {
    let Some(outcome) = run("inaccessible") else { return };
    assert_eq!(outcome.found, vec![None; KINDS]);
    assert_eq!(outcome.status, 0);
}

/// No guard opens pages that have been taken away.
#[test]
fn closed_secrets_are_inaccessible_by_choice() {
    let output = command("a_closed_secret_is_opened_late").output().unwrap();
    assert_eq!(output.stdout, b"late\n");
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
}

#[test]
fn exit_in_a_callback_wipes_too() {
    let Some(outcome) = run("in_a_callback") else { return };
    assert!(outcome.all_places_hold(1, 0));
    assert_eq!(outcome.status, 0);
}

/// Exit handlers that were registered before the pool's first use find their secrets. They can free
/// them, make others, and exit again. Secrets that are left are wiped after them.
#[test]
fn exit_handlers_find_their_secrets() {
    let Some(outcome) = run("handlers_and_a_second_exit") else { return };
    assert_eq!((outcome.says("found"), outcome.status), (1, 3 << 8));
    assert!(outcome.all_places_hold(1, 0));
}

/// A stream's buffer may lie in locked memory. The stream writes it out before the wipe.
#[test]
fn streams_are_flushed_first() {
    let output = command("what_a_stream_has_not_written").output().unwrap();
    assert_eq!(output.stdout, b"found\n");
}

#[test]
fn a_childs_exit_wipes_the_childs_memory() {
    let output = command("children_of_fork").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    if !String::from_utf8_lossy(&output.stdout).contains("found\nfound\n") {
        println!("skipped: this process may not trace its children");
    }
}

/// A child of `vfork` shares its parent's memory. To call `exit` there is a mistake, and must not
/// wipe the parent's secrets.
#[test]
fn a_child_of_vfork_wipes_nothing() {
    let output = command("a_child_of_vfork_exits").output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout.ends_with(b"\nsame\n"), "{output:?}");
}

#[test]
fn nothing_is_wiped_under_another_process_with_the_same_memory() {
    let output = command("another_process_uses_the_memory").output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout.ends_with(b"\nsame\n"), "{output:?}");
}
