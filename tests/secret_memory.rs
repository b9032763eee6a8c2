//! Secret memory. A privileged process that reads `/proc/PID/mem`, traces, or calls
//! `process_vm_readv` cannot read it, and can read ordinary locked memory in the same ways. Where
//! the system has none, `Prefer` reports that and `Require` fails.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{
    ConfigureError, ForkPolicy, LockedPool, LockedPoolManager, PoolError, PoolOptions,
    SecretMemory, SecureString, SecureVec, page_size,
};
use common::{
    alone, counted_by_kernel, flags_of, in_child, limit_locked_memory, locked_by_kernel,
    read_memory, refuse, secret_memory_is_counted,
};
use std::ptr::NonNull;

const SECRET: [u8; 32] = *b"a secret that none else may see.";

fn options(secret_memory: SecretMemory) -> PoolOptions {
    PoolOptions::new().fork_policy(ForkPolicy::Absent).secret_memory(secret_memory)
}

/// A pool of secret memory, if the system has it.
fn secret_pool() -> Option<LockedPool> {
    match LockedPool::with_options(&options(SecretMemory::Require)) {
        Ok(pool) => Some(pool),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

fn secret_in(pool: &LockedPool) -> NonNull<u8> {
    let chunk = pool.alloc(100, 16).expect("memory");
    // SAFETY: a chunk of this test of at least so many bytes.
    unsafe { chunk.copy_from_nonoverlapping(NonNull::from(&SECRET).cast(), SECRET.len()) };
    chunk
}

/// Whether another process, with all privileges of this one, can read an address of this process,
/// in three ways. The other process is a child, for which this one waits.
fn seen_by_others(addr: usize) -> [bool; 3] {
    let victim = std::process::id() as libc::pid_t;
    let mut pipe = [0; 2];
    // SAFETY: system calls with valid arguments. The child makes only such calls, and ends.
    unsafe {
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0);
        let child = libc::fork();
        if child == 0 {
            let seen = look(victim, addr).map(u8::from);
            libc::write(pipe[1], seen.as_ptr().cast(), 3);
            libc::_exit(0);
        }
        let mut seen = [0_u8; 3];
        libc::close(pipe[1]);
        assert_eq!(libc::read(pipe[0], seen.as_mut_ptr().cast(), 3), 3, "the observer failed");
        libc::close(pipe[0]);
        libc::waitpid(child, std::ptr::null_mut(), 0);
        seen.map(|byte| byte != 0)
    }
}

/// The observer: `/proc/PID/mem`, `process_vm_readv`, and `ptrace`.
fn look(victim: libc::pid_t, addr: usize) -> [bool; 3] {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0_u8; 32];
    let memory = std::fs::File::open(format!("/proc/{victim}/mem")).expect("the victim's memory");
    let by_file = memory.read_exact_at(&mut bytes, addr as u64).is_ok() && bytes == SECRET;
    bytes = [0; 32];
    let at = std::ptr::without_provenance_mut::<libc::c_void>(addr);
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 32 };
    let remote = libc::iovec { iov_base: at, iov_len: 32 };
    // SAFETY: the kernel writes to `bytes`, or refuses.
    let read = unsafe { libc::process_vm_readv(victim, &local, 1, &remote, 1, 0) };
    let by_call = read == 32 && bytes == SECRET;
    // SAFETY: the victim waits for this process, and is detached again.
    let by_trace = unsafe {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, victim, nothing, nothing), 0);
        // A tracer must stop a thread of the victim to read its memory.
        assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, victim, nothing, nothing), 0);
        libc::waitpid(victim, std::ptr::null_mut(), libc::__WALL);
        let word = libc::ptrace(libc::PTRACE_PEEKDATA, victim, at, nothing);
        libc::ptrace(libc::PTRACE_DETACH, victim, nothing, nothing);
        let word = word.to_ne_bytes();
        word == SECRET[..word.len()]
    };
    [by_file, by_call, by_trace]
}

#[test]
fn others_see_nothing() {
    alone("others_see_nothing", || {
        let Some(pool) = secret_pool() else { return };
        let chunk = secret_in(&pool);
        assert_eq!(seen_by_others(chunk.as_ptr().expose_provenance()), [false; 3]);
        // The control: locked memory that is not secret.
        let ordinary = LockedPool::with_options(&options(SecretMemory::Off)).unwrap();
        let chunk = secret_in(&ordinary);
        assert_eq!(seen_by_others(chunk.as_ptr().expose_provenance()), [true; 3]);
        assert_eq!(
            (ordinary.stats().secret_memory, ordinary.stats().secret_memory_error),
            (0, None)
        );
    });
}

#[test]
fn it_is_locked_wiped_and_absent_in_children() {
    alone("it_is_locked_wiped_and_absent_in_children", || {
        let Some(pool) = secret_pool() else { return };
        let chunk = secret_in(&pool);
        let addr = chunk.as_ptr().expose_provenance();
        let stats = pool.stats();
        let all = LockedPool::ARENA_SIZE;
        assert_eq!((stats.secret_memory, stats.locked, stats.total), (all, all, all));
        let counted = counted_by_kernel(all);
        assert_eq!(locked_by_kernel(), counted);
        let flags = flags_of(addr);
        for flag in ["dd", "dc"] {
            assert!(flags.iter().any(|f| f == flag), "{flag} of {flags:?}");
        }
        assert_eq!(flags.iter().any(|flag| flag == "lo"), secret_memory_is_counted(), "{flags:?}");
        in_child(|| {
            assert_eq!((read_memory(addr, 32), pool.stats().total), (None, 0));
            assert_eq!((pool.stats().secret_memory, locked_by_kernel()), (0, 0));
            let chunk = secret_in(&pool);
            assert_eq!((pool.stats().secret_memory, locked_by_kernel()), (all, counted));
            // SAFETY: nothing uses the chunk afterwards.
            unsafe { pool.free(chunk.as_ptr()) }.unwrap();
        });
        assert_eq!(
            read_memory(addr, 32).as_deref(),
            Some(&SECRET[..]),
            "the child has not wiped it"
        );
        // SAFETY: nothing uses the chunk afterwards but to look at its bytes.
        unsafe { pool.free(chunk.as_ptr()) }.unwrap();
        assert_eq!(read_memory(addr, 32), Some(vec![0; 32]));
        drop(pool);
        assert_eq!(locked_by_kernel(), 0);
    });
}

fn configure(options: &PoolOptions) -> Result<(), ConfigureError> {
    // SAFETY: children use none of their parent's secrets.
    unsafe { LockedPoolManager::instance().configure_unchecked(options) }
}

#[test]
fn the_process_wide_pool() {
    alone("the_process_wide_pool", || {
        let Some(_) = secret_pool() else { return };
        let manager = LockedPoolManager::instance();
        configure(&options(SecretMemory::Off)).unwrap();
        configure(&options(SecretMemory::Require)).unwrap();
        let texts: Vec<_> = (1..300).map(|i| SecureVec::from(SECRET.repeat(i))).collect();
        let large = SecureVec::from(SECRET.repeat(10_000));
        let stats = manager.stats();
        assert!(stats.secret_memory > 1 << 20 && stats.secret_memory == stats.total);
        let secret = stats.total + 320_000_usize.next_multiple_of(page_size());
        assert_eq!(locked_by_kernel(), counted_by_kernel(secret));
        for secret in [&texts[0], &texts[200], &large] {
            let addr = secret.expose_secret().as_ptr().expose_provenance();
            assert_eq!(seen_by_others(addr), [false; 3]);
        }
        let late = configure(&options(SecretMemory::Off));
        assert!(matches!(late, Err(ConfigureError::InUse)), "{late:?}");
        in_child(|| drop(SecureString::from("in the child")));
        drop((texts, large));
        assert_eq!(manager.stats().used, 0);
    });
}

#[test]
fn contradictions_are_errors() {
    for policy in [ForkPolicy::Keep, ForkPolicy::Wipe] {
        for secret_memory in [SecretMemory::Prefer, SecretMemory::Require] {
            let options = PoolOptions::new().fork_policy(policy).secret_memory(secret_memory);
            let error = LockedPool::with_options(&options).unwrap_err();
            assert!(matches!(error, PoolError::SecretMemoryInChild(p) if p == policy), "{error}");
        }
    }
    let manager = LockedPoolManager::instance();
    let size = manager.configure(&PoolOptions::new().max_size(1 << 20));
    assert!(matches!(size, Err(ConfigureError::Size)), "{size:?}");
    let other = LockedPoolManager::new().configure(&PoolOptions::new());
    assert!(matches!(other, Err(ConfigureError::NotProcessWide)), "{other:?}");
    let mixed = manager.configure(&PoolOptions::new().secret_memory(SecretMemory::Prefer));
    assert!(matches!(mixed, Err(ConfigureError::Pool(PoolError::SecretMemoryInChild(_)))));
}

/// A system without secret memory: it does not have the system call.
#[test]
fn where_the_system_has_none() {
    alone("where_the_system_has_none", || {
        refuse(libc::SYS_memfd_secret, None, libc::ENOSYS);
        let error = LockedPool::with_options(&options(SecretMemory::Require)).unwrap_err();
        assert!(matches!(error, PoolError::SecretMemory(libc::ENOSYS)), "{error:?}");
        assert!(error.to_string().contains("Linux 5.14"), "{error}");
        let required = configure(&options(SecretMemory::Require));
        assert!(matches!(
            required,
            Err(ConfigureError::Pool(PoolError::SecretMemory(libc::ENOSYS)))
        ));

        let pool = LockedPool::with_options(&options(SecretMemory::Prefer)).unwrap();
        assert_eq!(pool.stats().secret_memory_error, None, "nothing has been tried");
        let chunk = secret_in(&pool);
        let stats = pool.stats();
        assert_eq!((stats.secret_memory, stats.secret_memory_error), (0, Some(libc::ENOSYS)));
        assert_eq!((stats.locked, stats.lock_failures), (stats.total, 0));
        assert_eq!(seen_by_others(chunk.as_ptr().expose_provenance()), [true; 3]);
        let manager = LockedPoolManager::instance();
        configure(&options(SecretMemory::Prefer)).unwrap();
        drop(SecureString::from("ordinary"));
        assert_eq!(manager.stats().secret_memory_error, Some(libc::ENOSYS));
    });
}

/// Secret memory fails after a pool was made. Allocations fail, or go to ordinary memory, and the
/// statistics have the reason.
#[test]
fn when_no_more_is_to_be_had() {
    alone("when_no_more_is_to_be_had", || {
        let Some(required) = secret_pool() else { return };
        let preferred = LockedPool::with_options(&options(SecretMemory::Prefer)).unwrap();
        secret_in(&required);
        refuse(libc::SYS_memfd_secret, None, libc::EMFILE);
        assert_eq!(required.alloc(LockedPool::ARENA_SIZE, 16), None);
        let stats = required.stats();
        assert_eq!(
            (stats.secret_memory_error, stats.secret_memory),
            (Some(libc::EMFILE), stats.total)
        );
        secret_in(&preferred);
        assert_eq!(preferred.stats().secret_memory_error, Some(libc::EMFILE));
    });
}

/// Secret memory counts against the limit on locked memory. Near the limit arenas are smaller.
/// `Require` never uses other memory.
#[test]
fn under_the_limit() {
    alone("under_the_limit", || {
        const LIMIT: usize = 300 * 1024;
        let Some(_) = secret_pool() else { return };
        let is_counted = secret_memory_is_counted();
        limit_locked_memory(LIMIT, LIMIT);
        let pool = secret_pool().unwrap();
        let mut chunks = 0;
        while pool.alloc(4096, 16).is_some() {
            chunks += 1;
        }
        let stats = pool.stats();
        let whole = LIMIT / page_size() * page_size();
        let expected = (whole / 4096, whole, if is_counted { whole } else { 0 });
        assert_eq!((chunks, stats.secret_memory, locked_by_kernel()), expected);
        let why = stats.last_lock_failure.expect("a reason");
        let errno = if is_counted { libc::EAGAIN } else { libc::ENOMEM };
        assert_eq!((why.errno, why.limit), (errno, LIMIT));
        let waiting = secret_pool().unwrap();
        assert_eq!(waiting.alloc(4096, 16), None);
        drop(pool);
        let again = waiting.alloc(4096, 16);
        assert!(again.is_some(), "memory that other pools return can be allocated");
        let pool = waiting;
        while pool.alloc(4096, 16).is_some() {}
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let preferred = LockedPool::with_options(&options(SecretMemory::Prefer)).unwrap();
        let note = asked.clone();
        preferred.set_locking_failed(Some(Box::new(move |_| {
            note.store(true, std::sync::atomic::Ordering::Relaxed);
            false
        })));
        let instead = preferred.alloc(100, 16);
        let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
        let stats = preferred.stats();
        if is_counted {
            assert!(instead.is_none() && asked, "the callback decides");
        } else {
            // The other memory has a limit for itself, and is locked.
            assert!(instead.is_some() && !asked);
            assert!(stats.secret_memory == 0 && stats.locked > 0, "{stats:?}");
        }
    });
}
