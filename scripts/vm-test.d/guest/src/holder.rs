//! Processes that hold marks in memory of one kind or several.

use crate::kernel::{Group, MIB, PAGE, locked, pages};
use crate::marks::{LEN, MARKS, with_marks};
use bitcoin_support::{
    ForkPolicy, LockedPool, LockedPoolManager, PoolOptions, SealedVec, SecretMemory, SecureVec,
};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::ptr::NonNull;

/// Marks in one kind of memory.
enum Held {
    Heap(Vec<Box<[u8]>>),
    Pool(Vec<SecureVec<u8>>),
    Sealed(Vec<SealedVec<u8>>),
    Secret(Vec<NonNull<u8>>),
}

impl Held {
    fn new(kind: &str) -> Self {
        match kind {
            "HEAP" => {
                let mut held = Vec::new();
                with_marks(kind, |_, mark| held.push(Box::from(mark)));
                Self::Heap(held)
            }
            // Of the process-wide pool. UNLOCKED: that of a process that may lock nothing.
            "POOL" | "UNLOCKED" => {
                if kind == "UNLOCKED" {
                    give_up_locking();
                }
                let mut held = Vec::new();
                with_marks(kind, |_, mark| held.push(SecureVec::from_slice(mark)));
                let stats = LockedPoolManager::instance().stats();
                let wanted = if kind == "POOL" { stats.total } else { 0 };
                assert_eq!((stats.locked, stats.chunks_used), (wanted, MARKS));
                Self::Pool(held)
            }
            "SEALED" => {
                let mut held = Vec::new();
                with_marks(kind, |_, mark| {
                    held.push(SealedVec::seal(SecureVec::from_slice(mark)).expect("sealed"));
                });
                Self::Sealed(held)
            }
            "SECRET" => {
                let options = PoolOptions::new().fork_policy(ForkPolicy::Absent);
                let options = options.secret_memory(SecretMemory::Require);
                let pool = LockedPool::with_options(&options).expect("secret memory");
                // It lives as long as the process.
                let pool = Box::leak(Box::new(pool));
                let mut held = Vec::new();
                with_marks(kind, |_, mark| {
                    let chunk = pool.alloc(LEN, 16).expect("memory");
                    // SAFETY: a new chunk of so many bytes.
                    unsafe { chunk.copy_from_nonoverlapping(NonNull::from(mark).cast(), LEN) };
                    held.push(chunk);
                });
                Self::Secret(held)
            }
            _ => panic!("unknown kind {kind}"),
        }
    }

    /// How many marks lie on a page that is swapped out. `None` for sealed ones: where the
    /// encrypted bytes lie, the library does not tell.
    fn swapped(&self) -> Option<usize> {
        let places: Vec<*const u8> = match self {
            Self::Heap(held) => held.iter().map(|mark| mark.as_ptr()).collect(),
            Self::Pool(held) => held.iter().map(|mark| mark.expose_secret().as_ptr()).collect(),
            Self::Sealed(_) => return None,
            Self::Secret(held) => held.iter().map(|mark| mark.as_ptr().cast_const()).collect(),
        };
        Some(places.iter().filter(|&&place| pages(place, LEN)[0].is_swapped()).count())
    }

    /// Whether a mark is as it was. It is compared where it lies.
    fn has(&self, number: usize, mark: &[u8]) -> bool {
        match self {
            Self::Heap(held) => *held[number] == *mark,
            Self::Pool(held) => held[number].expose_secret() == mark,
            Self::Sealed(held) => held[number].open().expect("it opens").expose_secret() == mark,
            // SAFETY: a chunk of so many bytes, of a pool that lives as long as the process.
            Self::Secret(held) => unsafe { held[number].cast::<[u8; LEN]>().as_ref() == mark },
        }
    }
}

/// Gives up privileges, and the right to lock memory. The process may still read its own
/// `/proc/self/pagemap`, which Linux takes away from one that changes its user.
fn give_up_locking() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is valid for the call; the others take no pointers.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &none), 0);
        assert_eq!(libc::setresuid(65534, 65534, 65534), 0);
        assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1), 0);
    }
}

/// The process: enters the control group (`GROUP`), holds marks of these kinds besides other memory
/// (`BALLAST` MiB), says "ready", and does what the lines on its standard input ask for.
pub(crate) fn hold(kinds: &[&str]) {
    if let Some(group) = env::var_os("GROUP") {
        fs::write(Path::new(&group).join("cgroup.procs"), "0").unwrap();
    }
    let held: Vec<_> = kinds.iter().map(|kind| (*kind, Held::new(kind))).collect();
    let locked_at_first = locked();
    let ballast = env::var("BALLAST").map_or(0, |mib| mib.parse().unwrap());
    // Half of each page does not compress.
    let mut state = 1_u64;
    let mut ballast = vec![0_u8; ballast * MIB];
    for byte in ballast.chunks_exact_mut(PAGE).flat_map(|page| &mut page[..PAGE / 2]) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    println!("ready");
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "work" => {
                for byte in ballast.iter_mut().step_by(4 * PAGE) {
                    *byte = byte.wrapping_add(1);
                }
                println!("worked");
            }
            "check" => {
                let mut is_intact = locked() == locked_at_first;
                for (kind, marks) in &held {
                    with_marks(kind, |number, mark| is_intact &= marks.has(number, mark));
                }
                println!("{}", if is_intact { "intact" } else { "changed" });
            }
            "swapped" => {
                let swapped: Option<usize> = held.iter().map(|(_, marks)| marks.swapped()).sum();
                println!("{}", swapped.map_or("unknown".to_owned(), |swapped| swapped.to_string()));
            }
            other => panic!("{other}"),
        }
    }
}

/// Such a process, as its parent sees it.
pub(crate) struct Holder {
    process: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Holder {
    /// Starts the process, and waits until it holds its marks.
    pub(crate) fn start(kinds: &[&str]) -> Self {
        Self::start_as(Command::new("/proc/self/exe"), kinds)
    }

    /// The same in a control group, with so many MiB of other memory.
    pub(crate) fn start_in(group: &Group, kinds: &[&str], ballast: usize) -> Self {
        let mut command = Command::new("/proc/self/exe");
        command.env("GROUP", group.path()).env("BALLAST", ballast.to_string());
        Self::start_as(command, kinds)
    }

    fn start_as(mut command: Command, kinds: &[&str]) -> Self {
        command.arg("hold").args(kinds).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let input = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut holder = Self { process, input, lines };
        assert_eq!(holder.answer(), "ready");
        holder
    }

    fn answer(&mut self) -> String {
        self.lines.next().expect("the process is alive").unwrap()
    }

    /// Has the process use a part of its other memory.
    pub(crate) fn work(&mut self) {
        writeln!(self.input, "work").unwrap();
        assert_eq!(self.answer(), "worked");
    }

    /// How many of its marks lie on pages that are swapped out. `None` if some of them are sealed.
    pub(crate) fn swapped(&mut self) -> Option<usize> {
        writeln!(self.input, "swapped").unwrap();
        let answer = self.answer();
        (answer != "unknown").then(|| answer.parse().unwrap())
    }

    /// Whether its marks are as they were, and as much of its memory is locked as at first.
    pub(crate) fn is_intact(&mut self) -> bool {
        writeln!(self.input, "check").unwrap();
        self.answer() == "intact"
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
