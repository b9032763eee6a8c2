//! A process under restrictions besides the limit on locked memory: threads with the smallest legal
//! stack; `mlockall`, which locks every mapping; and `vm.overcommit_memory=2`, where the system
//! promises no more memory than it has. Each observation has its control.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{
    LockedPages, LockedPool, LockedPoolManager, SecureBox, SecureString, SecureVec,
    get_unique_path, page_size, wipe_everything,
};
use common::{alone, in_child, limit_locked_memory, locked_by_kernel};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::ptr::null_mut;

/// Stack frames are larger than those of an optimized program by this factor.
const FRAMES: usize = if cfg!(debug_assertions) { 2 } else { 1 };

/// The smallest stack that a thread may have on this processor, in bytes. musl allows 2 KiB. There
/// it is what glibc allows.
const SMALLEST: usize =
    if libc::PTHREAD_STACK_MIN > 16384 { libc::PTHREAD_STACK_MIN } else { 16384 };

/// Runs `body` in a thread with the smallest stack that a thread may have here.
fn on_the_smallest_stack(body: fn()) {
    extern "C" fn run(body: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: the pointer is the one that was given to `pthread_create` below, which was made
        // from a function of this type.
        let body: fn() = unsafe { std::mem::transmute(body) };
        body();
        null_mut()
    }
    // SAFETY: takes no pointers.
    let smallest = unsafe { libc::sysconf(libc::_SC_THREAD_STACK_MIN) };
    let smallest = usize::try_from(smallest).unwrap_or(0).max(SMALLEST);
    let size = FRAMES * smallest;
    // SAFETY: all places are valid for the calls, the function takes the argument that it is given,
    // and the thread has ended before the places are dropped.
    unsafe {
        let mut attributes = std::mem::zeroed();
        assert_eq!(libc::pthread_attr_init(&mut attributes), 0);
        assert_eq!(libc::pthread_attr_setstacksize(&mut attributes, size), 0);
        let mut thread = std::mem::zeroed();
        let argument = body as *mut libc::c_void;
        assert_eq!(libc::pthread_create(&mut thread, &attributes, run, argument), 0);
        assert_eq!(libc::pthread_join(thread, null_mut()), 0);
        libc::pthread_attr_destroy(&mut attributes);
    }
}

/// The first use of the process-wide pool, or of any other part of the library, builds nothing
/// large on the stack.
#[test]
fn the_smallest_stack_is_enough() {
    // Each is the first use of the library in a process, and runs in a new thread.
    const USES: [fn(); 11] = [
        || assert!(LockedPoolManager::instance().alloc(32, 16).is_some()),
        || assert!(LockedPoolManager::instance().alloc(100_000, 16).is_some()),
        || assert!(LockedPoolManager::instance().stats().arenas < 100),
        || LockedPoolManager::instance().sample_one_in(NonZeroU32::new(1), 1 << 20).unwrap(),
        || assert!(LockedPool::default().alloc(100, 16).is_some()),
        || assert!(LockedPages::new(1).unwrap().lock_state().is_ok()),
        || assert_eq!(SecureString::from("a passphrase").expose_secret(), "a passphrase"),
        || assert_eq!(SecureVec::from(vec![1_u8; 1000]).expose_secret().len(), 1000),
        || assert_eq!(SecureBox::new([7_u8; 32]).expose_secret()[31], 7),
        || assert!(get_unique_path(std::path::Path::new("/tmp")).is_ok()),
        // SAFETY: the pool holds only bytes, which may be zeros.
        || unsafe { wipe_everything() },
    ];
    alone("the_smallest_stack_is_enough", || {
        for first in USES {
            in_child(|| {
                on_the_smallest_stack(first);
                USES.into_iter().for_each(on_the_smallest_stack);
            });
        }
        // The control: an array as large as a heap does not fit the stack. (Where the smallest
        // stack is larger, the array is as large as that. So it is in programs for other machines:
        // scripts/vm-test optimizes them, which have assertions and small frames all the same.)
        const LARGE: usize = if SMALLEST > 16384 || cfg!(bitcoin_support_other_target) {
            SMALLEST
        } else {
            13 * 1024
        };
        // SAFETY: a signal ends the child in here.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            on_the_smallest_stack(|| assert_eq!(black_box([1_u8; FRAMES * LARGE])[9], 1));
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFSIGNALED(status), "{status:#x}");
    });
}

const MIB: usize = 1 << 20;

/// What larger pages than those of 4 KiB add to bookkeeping and to 20 samples: each table takes
/// whole pages, and so does each sample.
fn larger() -> usize {
    20 * (page_size() - 4096)
}

/// Locks every mapping that is made from now on, as chrony and Vault do when they start.
fn lock_all_that_comes() {
    // SAFETY: takes no pointers.
    assert_eq!(unsafe { libc::mlockall(libc::MCL_FUTURE) }, 0);
}

/// A new ordinary mapping.
fn map(len: usize) -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at a place of the system's choice.
    let addr = unsafe { libc::mmap(null_mut(), len, access, flags, -1, 0) };
    assert_ne!(addr, libc::MAP_FAILED);
    addr.expose_provenance()
}

/// Bytes that are resident in memory. (Linux 6.1 does not count the last pages of each thread for
/// `VmRSS`.)
fn resident() -> usize {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Bytes of private memory that this process may write to. A system that promises no more memory
/// than it has counts these.
fn writable() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let sizes = maps.lines().filter(|line| line.contains(" rw-p ")).map(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let parse = |digits| usize::from_str_radix(digits, 16).unwrap();
        parse(end) - parse(start)
    });
    sizes.sum()
}

/// Uses the process-wide pool for the first time.
fn first_use() {
    for _ in 0..20 {
        assert!(LockedPoolManager::instance().alloc(32, 16).is_some());
    }
}

/// Address space that is set aside takes no memory, even where all memory is locked.
#[test]
fn where_everything_is_locked_what_is_set_aside_costs_nothing() {
    alone("where_everything_is_locked_what_is_set_aside_costs_nothing", || {
        lock_all_that_comes();
        // The control: new mappings are resident and locked.
        let before = resident();
        map(8 * MIB);
        assert!(resident() - before >= 8 * MIB && locked_by_kernel() >= 8 * MIB);

        let (before, locked) = (resident(), locked_by_kernel());
        first_use();
        let manager = LockedPoolManager::instance();
        manager.sample_one_in(NonZeroU32::new(1), MIB).unwrap();
        first_use();
        let pages = LockedPages::new(1).unwrap();
        let stats = manager.stats();
        assert_eq!(stats.locked, stats.total);
        let besides = locked_by_kernel() - locked - stats.locked - pages.len();
        assert!(besides <= MIB, "{besides} bytes are locked besides the pool's");
        let cost = resident() - before;
        assert!(cost <= MIB + larger(), "{cost} bytes are in memory");
        drop(pages);
        in_child(|| assert_eq!(locked_by_kernel(), manager.stats().locked));
    });
}

/// Address space that is set aside does not count against the limit, not even while it is being set
/// aside.
#[test]
fn where_everything_is_locked_the_limit_is_left_for_secrets() {
    alone("where_everything_is_locked_the_limit_is_left_for_secrets", || {
        let limit = 8 * MIB;
        limit_locked_memory(limit, limit);
        let available = || {
            let manager = LockedPoolManager::instance();
            manager.set_locking_failed(Some(Box::new(|_| false)));
            while manager.alloc(4096, 16).is_some() {}
            let stats = manager.stats();
            assert_eq!(stats.locked, stats.total);
            assert!(locked_by_kernel() <= limit);
            // musl's heap maps each large block for itself, whose first and last page stay locked.
            let sixteenths = if cfg!(target_env = "musl") { 14 } else { 15 };
            // Some small bookkeeping is on the heap, a page each at worst.
            let least = limit / 16 * sixteenths - 4 * (page_size() - 4096);
            assert!(stats.used >= least, "{} bytes for secrets", stats.used);
        };
        in_child(available); // The control.
        in_child(|| {
            lock_all_that_comes();
            available();
        });
        in_child(|| {
            lock_all_that_comes();
            let manager = LockedPoolManager::instance();
            first_use();
            let locked = locked_by_kernel();
            assert!(locked <= limit / 16, "{locked} bytes are locked for 20 keys");
            // Samples, too, have address space set aside.
            manager.sample_one_in(NonZeroU32::new(1), MIB).unwrap();
            first_use();
            let locked = locked_by_kernel();
            // musl's heap maps the blocks of one size together, and all of them are locked.
            let samples = if cfg!(target_env = "musl") { 48 } else { 20 };
            assert!(locked <= limit / 16 + samples * page_size(), "{locked}");
        });
    });
}

/// The first use of the pool makes the system promise no memory that the pool does not use.
#[test]
fn no_memory_is_promised_in_vain() {
    alone("no_memory_is_promised_in_vain", || {
        // The control: `writable` counts a new mapping.
        let before = writable();
        map(8 * MIB);
        assert!(writable() - before >= 8 * MIB);

        let before = writable();
        first_use();
        let promised = writable() - before;
        assert!(promised <= 4 * MIB, "{promised} bytes");
        // The pool grows beyond what was prepared at the first use.
        let manager = LockedPoolManager::instance();
        for _ in 0..40 * MIB / 4096 {
            assert!(manager.alloc(4096, 16).is_some());
        }
        assert!(manager.stats().used >= 40 * MIB);
    });
}
