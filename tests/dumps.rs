//! Core files: that of a process that crashes, and one that a debugger writes of a live process.
//! Neither has the secrets of the pool; both have the same bytes of the ordinary heap.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{ForkPolicy, LockedPoolManager, PoolOptions, SecretMemory, SecureVec};
use common::this_program::this_program;
use memchr::memmem;
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const LEN: usize = 64;

/// A secret, byte by byte, so that it is whole only in its place. Different seeds give different
/// secrets.
fn secret(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = black_box(seed) | 1;
    (0..LEN).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
}

const IN_POOL: u64 = 0x5eed_0001_77aa_1234;
const IN_LARGE: u64 = 0x5eed_0002_aa77_4321;
const IN_HEAP: u64 = 0x5eed_0003_1771_9999;
#[cfg(feature = "sealed")]
const SEALED: u64 = 0x5eed_0004_5115_7777;

/// How a victim ends, or what it waits for.
const HOW: &str = "BITCOIN_SUPPORT_TEST_VICTIM";

/// The victim: a process with three secrets. It is a test so that this program can run it alone.
#[test]
#[ignore = "run by the others"]
fn victim() {
    let Ok(how) = std::env::var(HOW) else { return };
    if how == "secret memory" {
        let options =
            PoolOptions::new().fork_policy(ForkPolicy::Absent).secret_memory(SecretMemory::Require);
        // SAFETY: there are no children.
        unsafe { LockedPoolManager::instance().configure_unchecked(&options) }.unwrap();
    }
    let mut pooled = SecureVec::with_capacity(LEN);
    secret(IN_POOL).for_each(|byte| pooled.push(byte));
    let mut large = SecureVec::with_capacity(400_000);
    secret(IN_LARGE).for_each(|byte| large.push(byte));
    let mut plain = Vec::with_capacity(LEN);
    secret(IN_HEAP).for_each(|byte| plain.push(byte));
    black_box((&pooled, &large, &plain));
    #[cfg(feature = "sealed")]
    let _sealed = {
        use bitcoin_support::SealedVec;
        let mut open = SecureVec::with_capacity(LEN);
        secret(SEALED).for_each(|byte| open.push(byte));
        let sealed = SealedVec::seal(open).unwrap();
        assert!(sealed.open().unwrap().expose_secret().iter().copied().eq(secret(SEALED)));
        sealed
    };
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `unlimited` is valid for the call. Ending the process is the purpose of the other
    // calls.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &unlimited);
        match how.as_str() {
            "abort" => libc::abort(),
            "segfault" => {
                libc::signal(libc::SIGSEGV, libc::SIG_DFL);
                std::ptr::without_provenance_mut::<u8>(8).write_volatile(1);
            }
            _ => {
                println!("ready");
                let _ = std::io::stdin().read(&mut [0]);
            }
        }
    }
    black_box((pooled, large, plain));
}

fn start(how: &str, folder: &Path) -> Child {
    this_program()
        .args(["victim", "--exact", "--ignored", "--nocapture"])
        .env(HOW, how)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A folder that is removed when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("bitcoin_support_{name}_{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Which of the secrets are in a core file: the pool's, the large one, the heap's. A sealed one, on
/// the same heap, is in none.
fn found(core: &[u8]) -> [bool; 3] {
    #[cfg(feature = "sealed")]
    {
        let sealed: Vec<u8> = secret(SEALED).collect();
        assert!(memmem::find(core, &sealed).is_none(), "a sealed secret is in the core file");
    }
    [IN_POOL, IN_LARGE, IN_HEAP].map(|seed| {
        let wanted: Vec<u8> = secret(seed).collect();
        memmem::find(core, &wanted).is_some()
    })
}

/// Whether the system writes core files to the process's working folder. If not, prints why.
fn core_files_are_to_be_had() -> bool {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let pattern = pattern.trim();
    if pattern.starts_with('|') || pattern.contains('/') || pattern.is_empty() {
        println!("skipped: core files go elsewhere (kernel.core_pattern is \"{pattern}\")");
        return false;
    }
    true
}

#[test]
fn a_crash_leaves_no_secret() {
    if !core_files_are_to_be_had() {
        return;
    }
    for (how, signal) in [("abort", libc::SIGABRT), ("segfault", libc::SIGSEGV)] {
        use std::os::unix::process::ExitStatusExt;
        let folder = Folder::new(how);
        let status = start(how, &folder.0).wait_with_output().unwrap().status;
        assert_eq!(status.signal(), Some(signal));
        if !status.core_dumped() {
            println!("skipped: the system wrote no core file (ulimit -H -c?)");
            return;
        }
        let core = std::fs::read_dir(&folder.0).unwrap().next().expect("a core file").unwrap();
        let core = std::fs::read(core.path()).unwrap();
        // The secret of the heap is the control.
        assert_eq!(
            found(&core),
            [false, false, true],
            "{how}: the pool's, the large one, the heap's"
        );
    }
}

/// Lets gdb write a core file of a live victim.
fn written_by_gdb(how: &str, folder: &Folder, setting: &str) -> Option<Vec<u8>> {
    let mut child = start(how, &folder.0);
    let mut said = Vec::new();
    let mut output = child.stdout.take().unwrap();
    while !said.windows(5).any(|word| word == b"ready") {
        let mut byte = [0];
        if output.read(&mut byte).unwrap() == 0 {
            let _ = child.wait();
            println!("skipped: the victim does not run with {how}");
            return None;
        }
        said.push(byte[0]);
    }
    let path = folder.0.join("written");
    let gdb = Command::new("gdb")
        .args(["-nx", "-batch", "-iex", "set auto-solib-add off", "-p", &child.id().to_string()])
        .args(["-ex", setting, "-ex", &format!("gcore {}", path.display())])
        .stdin(Stdio::null())
        .output();
    let _ = child.stdin.take().unwrap().write_all(b"\n");
    let _ = child.wait();
    let core = std::fs::read(&path).ok();
    if core.is_none() {
        let why = gdb.map_or_else(|e| e.to_string(), |o| String::from_utf8_lossy(&o.stderr).into());
        println!("skipped: gdb writes no core file: {}", why.trim());
    }
    let _ = std::fs::remove_file(path);
    core
}

#[test]
fn a_debuggers_core_file_has_no_secret() {
    let folder = Folder::new("gcore");
    let usual = "set use-coredump-filter on";
    let Some(core) = written_by_gdb("wait", &folder, usual) else { return };
    assert_eq!(found(&core), [false, false, true], "the pool's, the large one, the heap's");
    // A second control: gdb finds all secrets if it is told to include memory that a process
    // excludes...
    let everything = "set dump-excluded-mappings on";
    let Some(core) = written_by_gdb("wait", &folder, everything) else { return };
    assert_eq!(found(&core), [true, true, true]);
    // ...but not in secret memory.
    let Some(core) = written_by_gdb("secret memory", &folder, everything) else { return };
    assert_eq!(found(&core), [false, false, true]);
}
