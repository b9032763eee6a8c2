//! Merging of equal pages, with the kernel's daemon running.

use crate::kernel::{PAGE, map, merged, number, report};
use bitcoin_support::{ForkPolicy, LockedPages, LockedPool, PoolOptions};
use std::fs;

const PAGES: usize = 48;
const LEN: usize = PAGES * PAGE;
const KSM: &str = "/sys/kernel/mm/ksm";
const PR_SET_MEMORY_MERGE: libc::c_int = 67; // linux/prctl.h

fn advise(start: *const u8, len: usize, advice: libc::c_int) {
    let place = start.cast_mut().cast();
    // SAFETY: whole pages of this process; merging does not change what they contain.
    assert_eq!(unsafe { libc::madvise(place, len, advice) }, 0);
}

/// Waits until the daemon has gone through all memory a few times.
fn wait_for_scans() {
    let at_first = number(format!("{KSM}/full_scans"));
    while number(format!("{KSM}/full_scans")) < at_first + 4 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Each page gets the same contents.
fn fill(bytes: &mut [u8]) {
    for page in bytes.chunks_exact_mut(PAGE) {
        for (at, byte) in page.iter_mut().enumerate() {
            *byte = (at % 251) as u8 ^ 0x5a;
        }
    }
}

pub(crate) fn ksm() {
    for (file, value) in [("sleep_millisecs", "10"), ("pages_to_scan", "20000"), ("run", "1")] {
        fs::write(format!("{KSM}/{file}"), value).unwrap();
    }
    // SAFETY: no pointers.
    let merges_all = unsafe { libc::prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) } == 0;

    let mut pages = LockedPages::new(LEN).unwrap();
    fill(pages.as_mut_slice());
    let options = PoolOptions::new().fork_policy(ForkPolicy::Absent);
    let pool = LockedPool::with_options(&options).unwrap();
    // Whole pages within the chunk.
    let chunk = pool.alloc(LEN + PAGE, 16).unwrap();
    let to_page = chunk.as_ptr().align_offset(PAGE);
    // SAFETY: a part of the chunk that this function has just allocated, used by nothing else.
    let in_pool = unsafe { std::slice::from_raw_parts_mut(chunk.as_ptr().add(to_page), LEN) };
    fill(in_pool);
    let ordinary = map(LEN);
    fill(ordinary);
    if !merges_all {
        advise(ordinary.as_ptr(), LEN, libc::MADV_MERGEABLE);
    }
    let parts = [
        ("ordinary memory", ordinary.as_ptr()),
        ("LockedPages", pages.as_ptr().as_ptr().cast_const()),
        ("a pool", in_pool.as_ptr()),
    ];
    let merged = || merged(parts.map(|(_, start)| (start, LEN)));
    wait_for_scans();
    let how = if merges_all { "PR_SET_MEMORY_MERGE" } else { "MADV_MERGEABLE" };
    let [ordinary, in_pages, in_pool] = merged();
    report(
        ordinary > PAGES / 2,
        format!("control: {ordinary} of {PAGES} equal pages of ordinary memory are merged ({how})"),
    );
    for (found, (what, _)) in [in_pages, in_pool].into_iter().zip(&parts[1..]) {
        report(found == 0, format!("{found} of {PAGES} equal pages of {what} are merged"));
    }
    for (part, (what, start)) in parts.iter().enumerate().skip(1) {
        advise(*start, LEN, libc::MADV_MERGEABLE);
        wait_for_scans();
        let found = merged()[part];
        report(
            found > PAGES / 2,
            format!("control: {found} of {PAGES} are merged when {what} is told MADV_MERGEABLE"),
        );
    }
    if !merges_all {
        println!("skipped: merging of all memory of a process: no PR_SET_MEMORY_MERGE (Linux 6.4)");
    }
}
