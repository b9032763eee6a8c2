//! `LockedPages` as the kernel reports them in /proc/self/smaps: locked, never paged out, not in
//! core dumps, without huge pages, not merged with equal pages, and between guard pages. The
//! control of each observation is an ordinary mapping, where the result must be the opposite.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{
    ForkPolicy, LockedPages, LockedPool, MapError, PoolOptions, SecureBox, SecureVec, lock_limit,
    memory_stats, page_size,
};
use common::{alone, in_child, limit_locked_memory, locked_by_kernel};
use std::fs;

/// The entry of one mapping in /proc/self/smaps.
#[derive(Debug)]
struct Mapping {
    start: usize,
    end: usize,
    permissions: String,
    locked_kb: usize,
    swap_kb: usize,
    flags: Vec<String>,
}

fn mappings() -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap();
        if let Some((start, end)) = first.split_once('-') {
            if let (Ok(start), Ok(end)) =
                (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16))
            {
                let permissions = words.next().unwrap().to_owned();
                let (locked_kb, swap_kb, flags) = (0, 0, Vec::new());
                mappings.push(Mapping { start, end, permissions, locked_kb, swap_kb, flags });
            }
        } else if first == "Locked:" {
            mappings.last_mut().unwrap().locked_kb = words.next().unwrap().parse().unwrap();
        } else if first == "Swap:" {
            mappings.last_mut().unwrap().swap_kb = words.next().unwrap().parse().unwrap();
        } else if first == "VmFlags:" {
            mappings.last_mut().unwrap().flags = words.map(str::to_owned).collect();
        }
    }
    mappings
}

fn mapping_of(addr: usize) -> Option<Mapping> {
    mappings().into_iter().find(|m| m.start <= addr && addr < m.end)
}

fn has(mapping: &Mapping, flag: &str) -> bool {
    mapping.flags.iter().any(|f| f == flag)
}

/// An ordinary anonymous mapping, for the controls.
struct Ordinary(*mut libc::c_void, usize);

impl Ordinary {
    fn new(len: usize) -> Self {
        // SAFETY: a new private mapping at a place of the system's choice.
        let addr = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(addr, libc::MAP_FAILED);
        // SAFETY: the mapping is writable over `len` bytes.
        unsafe { addr.cast::<u8>().write_bytes(1, len) };
        Self(addr, len)
    }
}

impl Drop for Ordinary {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, unmapped once.
        unsafe { libc::munmap(self.0, self.1) };
    }
}

#[test]
fn locked_and_not_dumpable() {
    let len = 3 * page_size();
    let mut pages = LockedPages::new(len).unwrap();
    assert_eq!((pages.lock_state(), pages.advice_state()), (Ok(()), Ok(())));
    // Pages that are not in memory yet are locked when they are touched.
    pages.as_mut_slice()[..=page_size()].fill(1);
    let mapping = mapping_of(pages.as_ptr().addr().get()).unwrap();
    assert!(mapping.locked_kb * 1024 > page_size(), "{mapping:?}");
    pages.as_mut_slice().fill(1);
    let mapping = mapping_of(pages.as_ptr().addr().get()).unwrap();
    assert_eq!((mapping.start, mapping.end - mapping.start), (pages.as_ptr().addr().get(), len));
    assert!(has(&mapping, "lo") && mapping.locked_kb * 1024 == len, "{mapping:?}");
    assert!(has(&mapping, "dd"), "{mapping:?}");

    // The control.
    let ordinary = Ordinary::new(len);
    let mapping = mapping_of(ordinary.0.addr()).unwrap();
    assert!(!has(&mapping, "lo") && mapping.locked_kb == 0, "{mapping:?}");
    assert!(!has(&mapping, "dd"), "{mapping:?}");
}

/// The kernel refuses to write the pages to swap. It writes ordinary pages there, if there is swap.
#[test]
fn the_kernel_does_not_page_them_out() {
    let page_out = |addr: *mut libc::c_void, len| {
        // SAFETY: whole mappings of this test. The advice moves pages and does not change their
        // contents.
        match unsafe { libc::madvise(addr, len, libc::MADV_PAGEOUT) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().raw_os_error()),
        }
    };
    let len = 64 * page_size();
    // The control.
    let ordinary = Ordinary::new(len);
    if page_out(ordinary.0, len).is_err() {
        println!("skipped: this kernel has no MADV_PAGEOUT (Linux 5.4)");
        return;
    }
    let mut pages = LockedPages::new(len).unwrap();
    pages.as_mut_slice().fill(1);
    let addr = pages.as_ptr().cast::<libc::c_void>().as_ptr();
    assert_eq!(page_out(addr, len), Err(Some(libc::EINVAL)));
    assert_eq!(mapping_of(addr.addr()).unwrap().swap_kb, 0);
    // Another control: the same pages without the lock.
    // SAFETY: takes a protection away, and nothing else.
    assert_eq!(unsafe { libc::munlock(addr, len) }, 0);
    assert_eq!(page_out(addr, len), Ok(()));
}

#[test]
fn without_huge_pages() {
    if !fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap() {
        println!("skipped: this kernel has no transparent huge pages");
        return;
    }
    let pages = LockedPages::new(1).unwrap();
    assert!(has(&mapping_of(pages.as_ptr().addr().get()).unwrap(), "nh"));
    // The control.
    let ordinary = Ordinary::new(page_size());
    assert!(!has(&mapping_of(ordinary.0.addr()).unwrap(), "nh"));
}

/// In a process whose memory is all merged with equal pages of other processes.
#[test]
fn not_merged_with_equal_pages() {
    const PR_SET_MEMORY_MERGE: libc::c_int = 67; // linux/prctl.h
    // SAFETY: no pointers.
    let merge = |on: libc::c_ulong| unsafe { libc::prctl(PR_SET_MEMORY_MERGE, on, 0, 0, 0) };
    if merge(1) != 0 {
        let error = std::io::Error::last_os_error();
        println!(
            "skipped: memory cannot be merged: {error} (Linux 6.4 with KSM, CAP_SYS_RESOURCE)"
        );
        return;
    }
    let pages = LockedPages::new(1).unwrap();
    assert!(!has(&mapping_of(pages.as_ptr().addr().get()).unwrap(), "mg"));
    // The control.
    let ordinary = Ordinary::new(page_size());
    assert!(has(&mapping_of(ordinary.0.addr()).unwrap(), "mg"));
    merge(0);
}

#[test]
fn between_guard_pages() {
    let pages = LockedPages::new(1).unwrap();
    let (start, end) = (pages.as_ptr().addr().get(), pages.as_ptr().addr().get() + pages.len());
    for guard in [start - 1, end] {
        let mapping = mapping_of(guard).expect("guard pages are mapped");
        assert_eq!(mapping.permissions, "---p");
    }
    // A guard page stops an access: the kernel's write to it fails with EFAULT. The control: the
    // kernel can write to a mapped page.
    let null = fs::File::open("/dev/zero").unwrap();
    let read_into = |addr: usize| {
        use std::os::fd::AsRawFd;
        let place = std::ptr::with_exposed_provenance_mut::<libc::c_void>(addr);
        // SAFETY: the kernel writes one byte into pages of this test, or refuses.
        unsafe { libc::read(null.as_raw_fd(), place, 1) }
    };
    assert_eq!((read_into(start), read_into(end - 1)), (1, 1));
    assert_eq!((read_into(start - 1), read_into(end)), (-1, -1));
}

#[test]
fn gone_after_drop() {
    let pages = LockedPages::new(5 * page_size()).unwrap();
    let addr = pages.as_ptr().addr().get();
    assert!(mapping_of(addr).is_some_and(|m| has(&m, "lo")));
    drop(pages);
    assert!(mapping_of(addr).is_none_or(|m| !has(&m, "lo")));
}

#[test]
fn refuses_impossible_lengths() {
    for len in [0, usize::MAX, usize::MAX - page_size(), isize::MAX as usize, usize::MAX / 2] {
        let error: MapError = LockedPages::new(len).unwrap_err();
        assert!(error.to_string().starts_with("cannot map pages"), "{error}");
    }
    // The system refuses this size: it is more than an address space has. (With addresses of 32
    // bits there is no such size: the largest may just fit. On s390x all 64 bits are in use, and a
    // test that got as much locked memory would be ended for it.)
    if cfg!(all(target_pointer_width = "64", not(target_arch = "s390x"))) {
        let error = LockedPages::new(isize::MAX as usize / 8).unwrap_err();
        assert_eq!(error.errno(), libc::ENOMEM);
    }
}

#[test]
fn contents_are_zero_then_ours() {
    let mut pages = LockedPages::new(10_000).unwrap();
    assert_eq!(pages.len() % page_size(), 0);
    assert!(pages.len() >= 10_000 && pages.as_slice().iter().all(|&byte| byte == 0));
    pages.as_mut_slice().fill(7);
    assert!(pages.as_slice().iter().all(|&byte| byte == 7));
    assert!(!format!("{pages:?}").contains("7, 7"));
    zeroize::Zeroize::zeroize(&mut pages);
    assert!(pages.as_slice().iter().all(|&byte| byte == 0));
}

#[test]
fn limit_is_the_soft_limit() {
    let status = fs::read_to_string("/proc/self/limits").unwrap();
    let line = status.lines().find(|line| line.starts_with("Max locked memory")).unwrap();
    let soft = line["Max locked memory".len()..].split_whitespace().next().unwrap();
    assert_eq!(lock_limit(), soft.parse().unwrap_or(usize::MAX));
}

/// The figures over all memory for secrets are the kernel's.
#[test]
fn the_sum_of_all_mappings_is_the_kernels_figure() {
    alone("the_sum_of_all_mappings_is_the_kernels_figure", || {
        let check = |mappings: usize| {
            let stats = memory_stats();
            assert_eq!(stats.mappings, mappings);
            assert!(stats.is_fully_locked());
            assert_eq!(stats.locked, locked_by_kernel());
        };
        check(0);
        let key = SecureBox::new([7_u8; 32]);
        let in_pool = memory_stats().mappings;
        check(in_pool);
        let large = SecureVec::from_slice(&[7_u8; 1 << 20]);
        check(in_pool + 1);
        let pages = LockedPages::new(3 * page_size()).unwrap();
        check(in_pool + 2);
        let options = PoolOptions::new().fork_policy(ForkPolicy::Absent);
        let pool = LockedPool::with_options(&options).unwrap();
        let chunk = pool.alloc(32, 16).unwrap();
        check(in_pool + 3);

        // A child has the rest, but not this pool's memory.
        let (all, of_pool) = (memory_stats(), pool.stats().total);
        in_child(|| {
            assert_eq!(memory_stats().total, all.total - of_pool);
            check(in_pool + 2);
        });

        // The control: a page that is unlocked behind the library's back.
        // SAFETY: the pages are mapped.
        let result = unsafe { libc::munlock(pages.as_ptr().as_ptr().cast(), page_size()) };
        assert_eq!(result, 0);
        assert_eq!(memory_stats().locked, locked_by_kernel() + page_size());

        // SAFETY: the chunk is not used any more.
        unsafe { pool.free(chunk.as_ptr()) }.unwrap();
        drop((pages, pool, large));
        check(in_pool);
        drop(key);

        limit_locked_memory(0, 0);
        let unlocked = LockedPages::new(page_size()).unwrap();
        assert!(unlocked.lock_state().is_err());
        let stats = memory_stats();
        assert_eq!(stats.total - stats.locked, page_size());
        assert!(!stats.is_fully_locked());
        assert_eq!(stats.locked, locked_by_kernel());
    });
}
