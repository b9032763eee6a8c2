//! The system calls of pools. The list in docs/system-calls.md has all of them. Each call on it is
//! made. If a call is refused, the effect is no worse than the list says.
//!
//! The pools run in a process with a filter, which reports its figures. This process has no filter,
//! and compares the figures with the kernel's.

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

mod common;

use bitcoin_support::{
    ForkPolicy, LockedPages, LockedPool, LockedPoolManager, PoolOptions, PoolStats, Protection,
    SecretMemory, raise_lock_limit,
};
use common::{alone, counted_by_kernel, flags_of_process, locked_by_kernel_of};
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU32;
use std::os::fd::FromRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A call on the list, and whether it is made only rarely.
struct Listed {
    name: &'static str,
    is_rare: bool,
}

/// The first table of docs/system-calls.md.
fn listed() -> Vec<Listed> {
    let text = include_str!("../docs/system-calls.md");
    let (_, section) = text.split_once("\n## The calls of pools\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let mut cells = row.split(" | ");
        let name = cells.next().unwrap().trim_end_matches('`');
        Listed { name, is_rare: cells.next().unwrap().starts_with("rare") }
    })
    .collect()
}

fn number_of(name: &str) -> libc::c_long {
    match name {
        "mmap" => libc::SYS_mmap,
        "munmap" => libc::SYS_munmap,
        "mprotect" => libc::SYS_mprotect,
        "mremap" => libc::SYS_mremap,
        "madvise" => libc::SYS_madvise,
        "mlock2" => libc::SYS_mlock2,
        "mlock" => libc::SYS_mlock,
        "munlock" => libc::SYS_munlock,
        "membarrier" => libc::SYS_membarrier,
        "prlimit64" => libc::SYS_prlimit64,
        "capget" => libc::SYS_capget,
        "readlinkat" => libc::SYS_readlinkat,
        "getrandom" => libc::SYS_getrandom,
        "gettid" => libc::SYS_gettid,
        "getpid" => libc::SYS_getpid,
        "memfd_secret" => 447,
        "ftruncate" => libc::SYS_ftruncate,
        "getcpu" => libc::SYS_getcpu,
        "unshare" => libc::SYS_unshare,
        "close" => libc::SYS_close,
        other => panic!("the test does not know {other}"),
    }
}

/// The calls that this test itself needs, to communicate, fork, wait and end. The ordinary heap
/// needs none, as its memory is there before the filter. Rust's library, in unoptimized builds,
/// checks a descriptor before it closes it.
const OF_THE_TEST: [libc::c_long; 14] = [
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_fcntl,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_clone,
    libc::SYS_set_robust_list,
    libc::SYS_rt_sigprocmask,
    libc::SYS_wait4,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit_group,
    libc::SYS_rt_sigreturn,
];

/// A filter allows the calls on the list except one. It has an action for that one, and an action
/// for all calls that are not on the list.
struct Filter {
    one: Option<libc::c_long>,
    to_one: u32,
    to_others: u32,
}

impl Filter {
    fn install(&self, list: &[Listed]) {
        fn step(code: u32, jt: u8, k: u32) -> libc::sock_filter {
            libc::sock_filter { code: code as u16, jt, jf: 0, k }
        }
        const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
        let listed = list.iter().map(|call| number_of(call.name));
        let allowed: Vec<_> =
            listed.chain(OF_THE_TEST).filter(|&call| Some(call) != self.one).collect();
        let mut program = vec![step(LOAD, 0, 0)];
        for (number, &call) in allowed.iter().enumerate() {
            program.push(step(IS, (allowed.len() - number + 2) as u8, call as u32));
        }
        program.push(step(IS, 1, self.one.unwrap_or(-1) as u32));
        program.push(step(RETURN, 0, self.to_others));
        program.push(step(RETURN, 0, self.to_one));
        program.push(step(RETURN, 0, libc::SECCOMP_RET_ALLOW));
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: the program is valid for the call.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            let mode = libc::SECCOMP_MODE_FILTER;
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
        }
    }
}

/// The figures that a process reports at one point of its life.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Said {
    process: u32,
    /// Bytes in pools and mappings, and the bytes of them that the library reports as locked.
    total: usize,
    locked: usize,
    /// A chunk of a pool whose children find zeros, 0 if there is none, and the errors of its
    /// missing protections.
    chunk: usize,
    missing: [i32; 4],
    /// Allocations and other requests that failed.
    failed: usize,
    lock_error: i32,
    secret_memory: usize,
    secret_memory_error: i32,
    limit_error: i32,
}

/// A process that lives under a filter, and the pipes to it.
struct Life {
    pipe: File,
    go: File,
    said: Said,
}

impl Life {
    /// Reports the figures, and waits until they have been compared.
    fn say(&mut self, stats: &[PoolStats], pages: &[&LockedPages], chunk: usize) {
        let sum = |of: fn(&PoolStats) -> usize| stats.iter().map(of).sum::<usize>();
        let own = pages.iter().map(|pages| pages.len()).sum::<usize>();
        let is_locked = |pages: &&&LockedPages| pages.lock_state().is_ok();
        let locked = pages.iter().filter(is_locked).map(|pages| pages.len()).sum::<usize>();
        // The thread is its process's first and has the same number. One of the two calls may be
        // refused.
        // SAFETY: takes no pointers.
        let numbers = unsafe { [libc::syscall(libc::SYS_getpid), libc::syscall(libc::SYS_gettid)] };
        self.said.process = numbers[0].max(numbers[1]) as u32;
        self.said.total = sum(|stats| stats.total) + own;
        self.said.locked = sum(|stats| stats.locked) + locked;
        self.said.chunk = chunk;
        self.said.missing = Protection::ALL.map(|protection| {
            let errno = |stats: &PoolStats| stats.missing_protections.of(protection).errno;
            stats.iter().map(errno).find(|&errno| errno != 0).unwrap_or(0)
        });
        let error = |stats: &PoolStats| stats.last_lock_failure.map(|why| why.errno);
        self.said.lock_error = stats.iter().find_map(error).unwrap_or(0);
        let said = &raw const self.said;
        // SAFETY: as many bytes as the value has. The padding between its members is not read.
        let bytes = unsafe { std::slice::from_raw_parts(said.cast::<u8>(), size_of::<Said>()) };
        self.pipe.write_all(bytes).unwrap();
        self.go.read_exact(&mut [0]).unwrap();
    }

    fn count<T>(&mut self, outcome: Option<T>) -> Option<T> {
        self.said.failed += usize::from(outcome.is_none());
        outcome
    }

    /// Uses everything that pools can do.
    fn live(&mut self) {
        let manager = LockedPoolManager::instance();
        let raised = raise_lock_limit();
        self.said.limit_error = raised.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1));
        let options = PoolOptions::new().fork_policy(ForkPolicy::Wipe);
        // SAFETY: children use none of their parent's secrets.
        unsafe { manager.configure_unchecked(&options) }.unwrap();
        let chunk = self.count(manager.alloc(32, 16));
        let address = chunk.map_or(0, |chunk| chunk.addr().get());
        self.say(&[manager.stats()], &[], address);

        let large = self.count(manager.alloc(200_000, 16));
        let sampled = manager.sample_one_in(NonZeroU32::new(1), 1 << 20).is_ok();
        self.count(sampled.then_some(()));
        let sample = self.count(manager.alloc(100, 16));
        self.say(&[manager.stats()], &[], address);
        for chunk in [large, sample].into_iter().flatten() {
            // SAFETY: nothing uses it afterwards.
            assert_eq!(unsafe { manager.free(chunk.as_ptr()) }, Ok(()));
        }

        let own = LockedPool::with_options(&options).unwrap();
        let in_own = self.count(own.alloc(50_000, 16)).map_or(0, |chunk| chunk.addr().get());
        let absent = PoolOptions::new().fork_policy(ForkPolicy::Absent);
        let secret = LockedPool::with_options(&absent.secret_memory(SecretMemory::Prefer)).unwrap();
        self.count(secret.alloc(50_000, 16));
        let pages = self.count(LockedPages::new(10_000).ok());
        let stats = [manager.stats(), own.stats(), secret.stats()];
        self.said.secret_memory = stats[2].secret_memory;
        self.said.secret_memory_error = stats[2].secret_memory_error.unwrap_or(0);
        let pages: Vec<_> = pages.iter().collect();
        self.say(&stats, &pages, in_own);

        // SAFETY: the child uses this library and the ordinary heap, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            assert_eq!(secret.stats().total, 0, "the child does not have it");
            self.count(manager.alloc(64, 16));
            self.count(own.alloc(300, 16));
            self.count(secret.alloc(300, 16));
            self.say(&[manager.stats(), own.stats(), secret.stats()], &pages, in_own);
        } else {
            let mut status = 0;
            // SAFETY: `status` is a place for the answer.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "the child came to its end");
        }
        drop((own, secret));
        self.say(&[manager.stats()], &pages, address);
    }
}

/// Runs the life of pools under a filter. Returns the status from `waitpid`, and the figures at
/// each point.
fn live_under(list: &[Listed], filter: &Filter) -> (libc::c_int, Vec<Said>) {
    let pipe = || {
        let mut ends = [0; 2];
        // SAFETY: a place for two descriptors, which are new.
        unsafe {
            assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
            ends.map(|end| File::from_raw_fd(end))
        }
    };
    let ([mut said, saying], [going, mut go]) = (pipe(), pipe());
    // SAFETY: the child runs this test's code, and ends.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        drop((said, go));
        let mut life = Life { pipe: saying, go: going, said: Said::default() };
        filter.install(list);
        let lived = catch_unwind(AssertUnwindSafe(|| life.live()));
        // SAFETY: ends the child, or the child's child, after the exit handlers.
        unsafe {
            if lived.is_err() {
                libc::_exit(1);
            }
            libc::exit(0);
        }
    }
    drop((saying, going));
    let mut all = Vec::new();
    let mut bytes = [0; size_of::<Said>()];
    while said.read_exact(&mut bytes).is_ok() {
        // SAFETY: the bytes of such a value. All of its members are numbers.
        let one: Said = unsafe { bytes.as_ptr().cast::<Said>().read_unaligned() };
        agrees_with_the_kernel(&one);
        all.push(one);
        go.write_all(&[0]).unwrap();
    }
    let mut status = 0;
    // SAFETY: `status` is a place for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    (status, all)
}

/// The kernel's figures agree: memory reported as locked is locked, and protections that are not
/// reported as missing are there.
fn agrees_with_the_kernel(said: &Said) {
    let locked = locked_by_kernel_of(said.process);
    assert!(said.locked <= said.total, "{said:?}");
    let not_counted = said.secret_memory - counted_by_kernel(said.secret_memory);
    assert!(said.locked <= locked + not_counted, "{said:?}, and the kernel counts {locked}");
    if said.chunk != 0 {
        let flags = flags_of_process(said.process, said.chunk);
        let has = |flag: &str| flags.iter().any(|f| f == flag);
        assert_eq!(has("dd"), said.missing[0] == 0, "{said:?} {flags:?}");
        assert_eq!(has("wf"), said.missing[1] == 0, "{said:?} {flags:?}");
    }
}

/// Gives the ordinary heap enough memory that it makes no system calls for a while.
fn fill_the_heap() {
    // SAFETY: sets options, and frees what is allocated.
    unsafe {
        for (option, value) in [
            (libc::M_ARENA_MAX, 1),
            (libc::M_MMAP_THRESHOLD, 1 << 30),
            (libc::M_TOP_PAD, 32 << 20),
            (libc::M_TRIM_THRESHOLD, 1 << 30),
        ] {
            assert_eq!(libc::mallopt(option, value), 1);
        }
        libc::free(libc::malloc(16 << 20));
    }
}

#[test]
fn the_list_is_all_that_pools_call() {
    alone("the_list_is_all_that_pools_call", || {
        fill_the_heap();
        let kill = libc::SECCOMP_RET_KILL_PROCESS;
        let filter = Filter { one: None, to_one: kill, to_others: kill };
        let (status, said) = live_under(&listed(), &filter);
        assert_eq!(status, 0, "killed by another call: `strace -f` shows which; {said:#?}");
        assert_eq!(said.len(), 6);
        for said in &said {
            assert_eq!((said.failed, said.missing, said.lock_error), (0, [0; 4], 0), "{said:?}");
            assert_eq!(said.locked, said.total);
        }
    });
}

/// The control of the test above: every call on the list is made.
#[test]
fn each_call_on_the_list_is_made() {
    alone("each_call_on_the_list_is_made", || {
        fill_the_heap();
        let list = listed();
        let has_secret_memory = has_secret_memory();
        for call in list.iter().filter(|call| !call.is_rare) {
            if !has_secret_memory && ["ftruncate", "getcpu", "close"].contains(&call.name) {
                println!("skipped: no memfd_secret here, so that {} is not made", call.name);
                continue;
            }
            let one = Some(number_of(call.name));
            let kill = libc::SECCOMP_RET_KILL_PROCESS;
            let (status, _) = live_under(&list, &Filter { one, to_one: kill, to_others: kill });
            assert_ne!(status, 0, "{} is on the list, and is not called", call.name);
        }
    });
}

fn has_secret_memory() -> bool {
    // SAFETY: takes no pointers; a descriptor of this test's.
    unsafe {
        let file = libc::syscall(447, 0);
        file >= 0 && libc::close(file as libc::c_int) == 0
    }
}

#[test]
fn each_call_may_be_refused() {
    alone("each_call_may_be_refused", || {
        fill_the_heap();
        let list = listed();
        let has_secret_memory = has_secret_memory();
        for (call, errno) in
            list.iter().flat_map(|call| [libc::EPERM, libc::ENOSYS].map(|errno| (call.name, errno)))
        {
            let refused = |errno: i32| libc::SECCOMP_RET_ERRNO | errno as u32;
            let (one, to_one) = (Some(number_of(call)), refused(errno));
            let filter = Filter { one, to_one, to_others: refused(libc::EPERM) };
            let (status, said) = live_under(&list, &filter);
            assert_eq!((status, said.len()), (0, 6), "{call}, {errno}: {said:#?}");
            let lost = |of: fn(&Said) -> bool| said.iter().any(of);
            let all_is_had = !lost(|said| said.failed > 0);
            let all_is_locked = !lost(|said| said.locked != said.total);
            let told: Vec<_> = said.iter().map(|said| said.missing).collect();
            let context = format!("{call}, {errno}: {said:#?}");
            // The effect that the list states for each call.
            match call {
                "mmap" | "mprotect" => assert!(!all_is_had, "{context}"),
                _ => assert!(all_is_had && all_is_locked, "{context}"),
            }
            match call {
                "madvise" => assert!(told.contains(&[errno; 4]), "{context}"),
                "mmap" | "mprotect" => {}
                _ => assert!(told.iter().all(|missing| *missing == [0; 4]), "{context}"),
            }
            let limit_error = said[0].limit_error;
            assert_eq!(limit_error, if call == "prlimit64" { errno } else { 0 }, "{context}");
            if has_secret_memory && !["mmap", "mprotect"].contains(&call) {
                let is_needed = ["memfd_secret", "ftruncate", "getcpu"].contains(&call);
                let error = if is_needed { errno } else { 0 };
                assert_eq!(said[2].secret_memory_error, error, "{context}");
                assert_eq!(said[2].secret_memory == 0, is_needed, "{context}");
            }
        }
    });
}
