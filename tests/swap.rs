//! Real swap: a process with secrets in the pool and marks on the heap is limited to a third of its
//! memory, and the swap file is read past the page cache. The file has none of the secrets. The
//! control: it has the marks.
//!
//! Runs as root, with a swap file and a memory cgroup that the test makes. A separate process
//! removes both when the test has ended, also if it was killed.

#![cfg(target_os = "linux")]

#[path = "common/this_program.rs"]
mod this_program;

use bitcoin_support::{LockedPoolManager, SecureVec, memory_cleanse};
use memchr::memmem;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use this_program::this_program;

const MARKS: usize = 2000;
const MARK: usize = 48;
const MIB: usize = 1 << 20;
/// Memory that the process has besides, so that it exceeds the limit.
const BALLAST: usize = 24 * MIB;
const SWAP: usize = 40 * MIB;

/// A mark. It is put together at run time, so that no program has it in its image.
fn mark(kind: &str, number: usize) -> [u8; MARK] {
    let mut mark = [b'z'; MARK];
    let name = ["SWAP", "MARK"];
    let mut rest = &mut mark[..];
    write!(rest, "{kind}-{}{}-{number:06}-", name[0], name[1]).unwrap();
    mark
}

/// The process that is limited: this program again.
#[test]
fn role() {
    let Some(group) = std::env::var_os("SWAP_GROUP") else { return };
    fs::write(Path::new(&group).join("cgroup.procs"), "0").unwrap();
    let (mut secrets, mut marks) = (Vec::new(), Vec::new());
    for number in 0..MARKS {
        let mut secret = mark("POOL", number);
        secrets.push(SecureVec::from_slice(&secret));
        // SAFETY: the array's bytes.
        unsafe { memory_cleanse(secret.as_mut_ptr(), MARK) };
        marks.push(Box::new(mark("HEAP", number)));
    }
    let stats = LockedPoolManager::instance().stats();
    assert_eq!((stats.locked, stats.chunks_used), (stats.total, MARKS));
    let mut ballast = vec![0_u8; BALLAST];
    let mut touch = |round: usize| {
        for (page, byte) in ballast.iter_mut().step_by(4096).enumerate() {
            *byte = (page * 7 + round) as u8;
        }
    };
    touch(0);
    let mut line = String::new();
    for answer in ["ready", "squeezed"] {
        println!("\n{answer}");
        std::io::stdin().read_line(&mut line).unwrap();
        (1..4).for_each(&mut touch);
    }
    let intact = secrets.iter().zip(&marks).enumerate().all(|(number, (secret, on_heap))| {
        secret.expose_secret() == mark("POOL", number) && **on_heap == mark("HEAP", number)
    });
    assert!(intact);
}

/// The swap file and the cgroup that the test has made.
struct Made {
    group: PathBuf,
    swap: PathBuf,
}

impl Made {
    /// Removes both, if they exist.
    fn remove(&self) {
        let swap = CString::new(self.swap.as_os_str().as_encoded_bytes()).unwrap();
        if let Ok(processes) = fs::read_to_string(self.group.join("cgroup.procs")) {
            for process in processes.lines().filter_map(|line| line.parse().ok()) {
                // SAFETY: no pointers; only the test's own process is in its group.
                unsafe { libc::kill(process, libc::SIGKILL) };
            }
        }
        // SAFETY: a path that ends with a zero.
        unsafe { libc::swapoff(swap.as_ptr()) };
        let _ = fs::remove_file(&self.swap);
        for _ in 0..200 {
            if fs::remove_dir(&self.group).is_ok() || !self.group.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Starts a process that calls `remove` when this process has ended, or when the returned value
    /// is dropped. The drop waits for the process.
    fn keep_watch(&self) -> Watch {
        let mut pipe = [0; 2];
        // SAFETY: a place for two descriptors, which are new.
        let [read, write] = unsafe {
            assert_eq!(libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC), 0);
            pipe.map(|end| OwnedFd::from_raw_fd(end))
        };
        // SAFETY: the child uses the ordinary heap, which glibc keeps usable, and system calls.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            drop(write);
            // A signal that ends the test must not end this process, as one from the terminal
            // would.
            // SAFETY: no pointers.
            unsafe { libc::setsid() };
            let _ = File::from(read).read(&mut [0]);
            self.remove();
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        Watch { end: Some(write), child }
    }
}

struct Watch {
    end: Option<OwnedFd>,
    child: libc::pid_t,
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end.take());
        let mut status = 0;
        // SAFETY: `status` is a place for the answer.
        unsafe { libc::waitpid(self.child, &mut status, 0) };
    }
}

/// The folder where memory cgroups are made, and the name of the file with a group's limit.
fn groups() -> Option<(&'static Path, &'static str)> {
    let (v1, v2) = (Path::new("/sys/fs/cgroup/memory"), Path::new("/sys/fs/cgroup"));
    let has = |path: &Path, what: &str| {
        fs::read_to_string(path).is_ok_and(|text| text.split_whitespace().any(|word| word == what))
    };
    if v1.join("memory.limit_in_bytes").exists() {
        return Some((v1, "memory.limit_in_bytes"));
    }
    has(&v2.join("cgroup.subtree_control"), "memory").then_some((v2, "memory.max"))
}

/// A swap area in a file, without holes.
fn make_swap(path: &Path) -> std::io::Result<()> {
    const PAGE: usize = 4096;
    let mut first = vec![0; PAGE];
    first[1024..1028].copy_from_slice(&1_u32.to_ne_bytes());
    first[1028..1032].copy_from_slice(&((SWAP / PAGE - 1) as u32).to_ne_bytes());
    first[PAGE - 10..].copy_from_slice(b"SWAPSPACE2");
    let mut file = File::create(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(&first)?;
    file.write_all(&vec![0; SWAP - PAGE])?;
    file.sync_all()
}

/// Where `wanted` begins in `bytes`.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memmem::find(bytes, wanted)
}

/// How many marks of a kind a file has on the disk.
fn count(path: &Path, kind: &str) -> usize {
    /// The alignment that `O_DIRECT` requires of a buffer.
    #[repr(align(4096))]
    struct Block([u8; 65536]);
    let mut options = File::options();
    let mut file = options.read(true).custom_flags(libc::O_DIRECT).open(path).unwrap();
    let mut block = Box::new(Block([0; 65536]));
    let begin = &mark(kind, 0)[..kind.len() + 10];
    let mut found = std::collections::HashSet::new();
    loop {
        let read = file.read(&mut block.0).unwrap();
        if read == 0 {
            return found.len();
        }
        // (A mark across the border of two blocks does not count.)
        let mut rest = &block.0[..read];
        while let Some(at) = find(rest, begin) {
            rest = &rest[at + begin.len()..];
            found.extend(rest.get(..6).map(<[u8]>::to_vec));
        }
    }
}

#[test]
fn no_secret_is_on_the_swap_file() {
    // SAFETY: no pointers.
    if unsafe { libc::geteuid() } != 0 {
        return println!("skipped: a swap file wants root");
    }
    if cfg!(bitcoin_support_sanitizer) {
        return println!("skipped: sanitizers make mlock do nothing");
    }
    let Some((groups, limit)) = groups() else {
        return println!("skipped: no memory cgroup can be made here");
    };
    if fs::read_to_string("/sys/module/zswap/parameters/enabled").is_ok_and(|on| on.trim() == "Y") {
        return println!(
            "skipped: zswap keeps compressed in memory what would be on the swap file"
        );
    }
    let name = format!("bitcoin-support-swap-{}", std::process::id());
    let made = Made {
        group: groups.join(&name),
        swap: Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name),
    };
    let _watch = made.keep_watch();
    if let Err(error) = fs::create_dir(&made.group) {
        return println!("skipped: no memory cgroup can be made here: {error}");
    }
    if let Err(error) = make_swap(&made.swap) {
        return println!("skipped: no swap file can be made here: {error}");
    }
    let path = CString::new(made.swap.as_os_str().as_encoded_bytes()).unwrap();
    const FIRST_OF_ALL: libc::c_int = 0x8000 | 0x7fff; // SWAP_FLAG_PREFER, highest
    // SAFETY: a path that ends with a zero.
    if unsafe { libc::swapon(path.as_ptr(), FIRST_OF_ALL) } != 0 {
        let error = std::io::Error::last_os_error();
        return println!("skipped: the swap file cannot be used here: {error}");
    }

    let mut process = this_program()
        .args(["role", "--exact", "--nocapture", "--test-threads=1"])
        .env("SWAP_GROUP", &made.group)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut wait_for = |word: &str| assert!(lines.any(|line| line.unwrap() == word), "{word}");
    wait_for("ready");
    let third = BALLAST / 3;
    // The kernel may refuse until it has moved enough memory.
    let squeezed = (0..50).any(|_| fs::write(made.group.join(limit), third.to_string()).is_ok());
    assert!(squeezed, "the kernel does not squeeze the process");
    let mut input = process.stdin.take().unwrap();
    writeln!(input, "go on").unwrap();
    wait_for("squeezed");
    // SAFETY: takes nothing.
    unsafe { libc::sync() };
    let (secrets, marks) = (count(&made.swap, "POOL"), count(&made.swap, "HEAP"));
    // Raises the limit, so that the process can check that its memory is intact.
    fs::write(made.group.join(limit), (4 * BALLAST).to_string()).unwrap();
    writeln!(input, "go on").unwrap();
    assert!(process.wait().unwrap().success());
    println!("of {MARKS} each, on the swap file: {secrets} secrets, {marks} marks of the heap");
    assert_eq!(secrets, 0);
    // The control: the marks are in the swap file.
    assert!(marks > MARKS / 2, "{marks} marks of the heap");
}
