//! Helpers of the tests that need processes: a separate process for a test, child processes, the
//! kernel's figures of memory, and system calls that fail.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

mod alone;
pub(crate) mod this_program;

pub(crate) use alone::printed_alone;

/// Runs `body` in a separate process: this program again, with this test alone. Lines of that
/// process that begin with "skipped: " are printed here too.
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    alone_with(test, &[], body);
}

/// Like [`alone`], with more variables in the environment.
pub(crate) fn alone_with(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) {
    let Some(text) = printed_alone(test, variables) else { return body() };
    for line in text.lines() {
        if let Some(at) = line.find("skipped: ") {
            println!("{}", &line[at..]);
        }
    }
}

/// How a child of these functions exits whose `body` has returned.
pub(crate) const RETURNED: i32 = 42;

/// Forks, runs `body` in the child, and checks that `body` returned there.
pub(crate) fn in_child(body: impl FnOnce()) {
    // SAFETY: the child uses this library, system calls and the ordinary heap, which glibc keeps
    // usable after a fork; then it ends at once.
    let child = unsafe { libc::fork() };
    finish(child, body);
}

/// Like [`in_child`], but the bare system call makes the child, so that neither the C library nor
/// this library learns of it.
pub(crate) fn in_unnoticed_child(body: impl FnOnce()) {
    // The flags come first, but on s390x, where the stack does.
    let (flags, stack) = (libc::SIGCHLD as libc::c_long, 0 as libc::c_long);
    let (first, second) = if cfg!(target_arch = "s390x") { (stack, flags) } else { (flags, stack) };
    // SAFETY: the child runs on a copy of this stack, as after a fork, and ends at once.
    let child = unsafe { libc::syscall(libc::SYS_clone, first, second, 0, 0, 0) };
    finish(child as libc::pid_t, body);
}

/// Like [`in_child`], but returns the signal that has ended the child, or 0 if `body` returned
/// there.
pub(crate) fn signal_of(body: impl FnOnce()) -> i32 {
    // SAFETY: the child uses this library, system calls and the ordinary heap, which glibc keeps
    // usable after a fork; then it ends.
    let child = unsafe { libc::fork() };
    let status = status_of(child, || {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `none` is valid for the call. The signals' actions are those of a new process.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &none);
            for signal in [libc::SIGSEGV, libc::SIGABRT, libc::SIGBUS] {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        body();
    });
    if libc::WIFSIGNALED(status) {
        return libc::WTERMSIG(status);
    }
    assert_eq!(libc::WEXITSTATUS(status), RETURNED, "{status:#x}");
    0
}

fn finish(child: libc::pid_t, body: impl FnOnce()) {
    let status = status_of(child, body);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == RETURNED, "{status:#x}");
}

/// Runs `body` in the child, which then exits: with [`RETURNED`] if `body` returned. Returns its
/// status.
fn status_of(child: libc::pid_t, body: impl FnOnce()) -> i32 {
    assert!(child >= 0);
    if child == 0 {
        let verdict = catch_unwind(AssertUnwindSafe(body));
        // SAFETY: ends the child.
        unsafe { libc::_exit(if verdict.is_ok() { RETURNED } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

/// Ends this process after so many seconds, many times as long as it takes. So a test that waits
/// for ever fails. An emulator gets ten times as long.
pub(crate) fn give_up_after(seconds: u32) {
    let factor = if is_emulated() { 10 } else { 1 };
    // SAFETY: takes a number.
    unsafe { libc::alarm(factor * seconds) };
}

/// Whether an emulator runs this program ([`this_program`] starts it there).
pub(crate) fn is_emulated() -> bool {
    std::env::var_os("TEST_RUNNER").is_some()
}

/// Ends the work of other threads, also when a test fails.
pub(crate) struct EndsWhenDropped<'a>(pub(crate) &'a AtomicBool);

impl Drop for EndsWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Bytes that this process has locked, as the kernel counts them.
pub(crate) fn locked_by_kernel() -> usize {
    locked_by_kernel_of(std::process::id())
}

/// Bytes that another process has locked, as the kernel counts them.
pub(crate) fn locked_by_kernel_of(process: u32) -> usize {
    let field = field_of(process, "VmLck:");
    field.trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Whether the kernel gives mappings of secret memory the flag `lo`, and counts them as locked by
/// this process. Some count them for all processes of a user. The mapping is the test's own.
pub(crate) fn secret_memory_is_counted() -> bool {
    const MEMFD_SECRET: libc::c_long = 447;
    let len = bitcoin_support::page_size();
    // SAFETY: a new file, and a new mapping of it at a place of the system's choice.
    unsafe {
        let file = libc::syscall(MEMFD_SECRET, 0) as libc::c_int;
        assert!(file >= 0 && libc::ftruncate(file, len as libc::off_t) == 0);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let page = libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, file, 0);
        assert_ne!(page, libc::MAP_FAILED);
        let is_counted = flags_of(page.expose_provenance()).iter().any(|flag| flag == "lo");
        libc::munmap(page, len);
        libc::close(file);
        is_counted
    }
}

/// How much of so many bytes of secret memory the kernel counts as locked by this process.
pub(crate) fn counted_by_kernel(bytes: usize) -> usize {
    if bytes > 0 && secret_memory_is_counted() { bytes } else { 0 }
}

/// A field of this process's `/proc/self/status`.
pub(crate) fn status_field(name: &str) -> String {
    field_of(std::process::id(), name)
}

fn field_of(process: u32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line[name.len()..].trim().to_owned()
}

/// The kernel's flags of the mapping that an address lies in.
pub(crate) fn flags_of(addr: usize) -> Vec<String> {
    flags_of_process(std::process::id(), addr)
}

/// The kernel's flags of the mapping that an address of another process lies in.
pub(crate) fn flags_of_process(process: u32, addr: usize) -> Vec<String> {
    let mut inside = false;
    for line in std::fs::read_to_string(format!("/proc/{process}/smaps")).unwrap().lines() {
        let first = line.split_whitespace().next().unwrap();
        if let Some((start, end)) = first.split_once('-') {
            let parse = |digits| usize::from_str_radix(digits, 16);
            if let (Ok(start), Ok(end)) = (parse(start), parse(end)) {
                inside = (start..end).contains(&addr);
            }
        } else if inside && first == "VmFlags:" {
            return line.split_whitespace().skip(1).map(str::to_owned).collect();
        }
    }
    Vec::new()
}

/// Fails unless the kernel has a mapping's pages locked and out of core dumps, by the mapping's
/// flags. An emulator that accepts the advice against dumps and does nothing must lock all the
/// same.
#[track_caller]
pub(crate) fn assert_locked_and_not_dumped(flags: &[String]) {
    assert!(flags.iter().any(|flag| flag == "lo"), "{flags:?}");
    if follows_advice() {
        assert!(flags.iter().any(|flag| flag == "dd"), "{flags:?}");
    } else {
        println!("skipped: the emulator accepts `MADV_DONTDUMP` and does nothing");
    }
}

/// Whether advice reaches the kernel (`madvise`). Without an emulator, it does. (qemu-user has the
/// kernel's own `smaps`, and so this is read there.)
fn follows_advice() -> bool {
    if !is_emulated() {
        return true;
    }
    let page = plain_locked_page(0);
    let at = std::ptr::with_exposed_provenance_mut(page);
    // SAFETY: a mapping of this function's. The advice changes nothing in it.
    let accepted = unsafe { libc::madvise(at, bitcoin_support::page_size(), libc::MADV_DONTDUMP) };
    assert_eq!(accepted, 0);
    let followed = flags_of(page).iter().any(|flag| flag == "dd");
    // SAFETY: as long as it was mapped, and used by nothing else.
    unsafe { libc::munmap(at, bitcoin_support::page_size()) };
    followed
}

/// Locks out the other tests of this process. While a test looks at memory that it has freed, no
/// other test may allocate from the pool.
pub(crate) fn alone_with_the_pool() -> impl Drop {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fails unless `len` bytes at an address are mapped and zeros.
#[track_caller]
pub(crate) fn assert_wiped(addr: usize, len: usize) {
    assert_eq!(read_memory(addr, len).expect("mapped"), vec![0; len]);
}

/// The bytes at an address, as the kernel reads them; `None` if they are not all accessible.
pub(crate) fn read_memory(addr: usize, len: usize) -> Option<Vec<u8>> {
    /// A pipe takes so many bytes at once.
    const PIECE: usize = 4096;
    let pieces = (0..len).step_by(PIECE);
    let pieces = pieces.map(|at| read_piece(addr + at, PIECE.min(len - at)));
    Some(pieces.collect::<Option<Vec<_>>>()?.concat())
}

fn read_piece(addr: usize, len: usize) -> Option<Vec<u8>> {
    let mut pipe = [0; 2];
    // SAFETY: the kernel reads what is there, or refuses; the buffers are as long as it is told.
    unsafe {
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        // Not `write`: AddressSanitizer looks at what that function reads, and a test may look at
        // memory that has been freed.
        let written = libc::syscall(libc::SYS_write, pipe[1], addr, len);
        let mut bytes = vec![0_u8; len];
        let read = if written == len as libc::c_long {
            libc::read(pipe[0], bytes.as_mut_ptr().cast(), len)
        } else {
            let error = std::io::Error::last_os_error().raw_os_error();
            assert!(written >= 0 || error == Some(libc::EFAULT));
            -1
        };
        libc::close(pipe[0]);
        libc::close(pipe[1]);
        (read == len as isize).then_some(bytes)
    }
}

/// A page of ordinary memory, locked by hand, filled with `byte`.
pub(crate) fn plain_locked_page(byte: u8) -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let len = bitcoin_support::page_size();
    // SAFETY: a new mapping at a place of the system's choice, as long as what is written to it.
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), len, access, flags, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        assert_eq!(libc::mlock(page, len), 0);
        page.cast::<u8>().write_bytes(byte, len);
        page.expose_provenance()
    }
}

/// From now on a system call fails with an error in this thread and in the threads that it starts.
/// With `third`, the call fails only if that is its third argument.
pub(crate) fn refuse(call: libc::c_long, third: Option<u32>, errno: i32) {
    filter(call, third, libc::SECCOMP_RET_ERRNO | errno as u32);
}

/// From now on a system call ends the process, if this thread makes it.
pub(crate) fn forbid(call: libc::c_long) {
    filter(call, None, libc::SECCOMP_RET_KILL_PROCESS);
}

/// From now on a system call fails with an error in every thread of this process. Where that cannot
/// be had, the process ends: other threads may wait for this one.
pub(crate) fn refuse_everywhere(call: libc::c_long, errno: i32) {
    let action = libc::SECCOMP_RET_ERRNO | errno as u32;
    let installed = catch_unwind(|| install(call, None, action, libc::SECCOMP_FILTER_FLAG_TSYNC));
    if installed.is_err() {
        // SAFETY: ends the process.
        unsafe { libc::_exit(1) };
    }
}

/// From now on a system call sends SIGSYS to the thread that makes it.
pub(crate) fn trap(call: libc::c_long) {
    filter(call, None, libc::SECCOMP_RET_TRAP);
}

fn filter(call: libc::c_long, third: Option<u32>, action: u32) {
    install(call, third, action, 0);
}

fn install(call: libc::c_long, third: Option<u32>, action: u32, flags: libc::c_ulong) {
    fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt, jf, k }
    }
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let no_third = third.is_none();
    let mut filter = [
        step(LOAD, 0, 0, 0), // the number of the call
        step(IS, 0, 3, call as u32),
        // The low half of the third argument.
        step(LOAD, 0, 0, 16 + 2 * 8 + if cfg!(target_endian = "big") { 4 } else { 0 }),
        step(IS, 0, if no_third { 0 } else { 1 }, third.unwrap_or(0)),
        step(RETURN, 0, 0, action),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program is valid for the call. All it does is to make system calls fail.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        assert_eq!(libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program), 0);
    }
}

/// Gives up privileges, and sets the limits on locked memory: the process may lock `soft` bytes,
/// and may raise that limit to `hard`.
pub(crate) fn limit_locked_memory(soft: usize, hard: usize) {
    let limit = libc::rlimit { rlim_cur: soft as libc::rlim_t, rlim_max: hard as libc::rlim_t };
    // SAFETY: `limit` is valid for the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
    // The limit does not bind root. SAFETY: no pointers.
    assert!(unsafe { libc::geteuid() != 0 || libc::setresuid(65534, 65534, 65534) == 0 });
}
