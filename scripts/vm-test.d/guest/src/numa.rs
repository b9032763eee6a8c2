//! Memory that moves between two nodes.

use crate::kernel::{MIB, PAGE, locked, map, report};
use bitcoin_support::{LockedPages, SecureBox, SecureVec, memory_stats};
use std::ptr;

const LEN: usize = MIB;

/// Moves the pages of a part of memory to a node, or with `None` only asks where they are. Returns
/// how many pages of it each of the two nodes has.
fn move_pages(start: *const u8, len: usize, to: Option<i32>) -> [usize; 2] {
    const MPOL_MF_MOVE: libc::c_int = 2;
    let places: Vec<_> = (0..len).step_by(PAGE).map(|at| start.wrapping_add(at)).collect();
    let wanted = to.map(|node| vec![node; places.len()]);
    let mut nodes = vec![-1_i32; places.len()];
    // SAFETY: each list has as many entries as the kernel is told. No page changes its contents.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0,
            places.len(),
            places.as_ptr(),
            wanted.as_ref().map_or(ptr::null(), |wanted| wanted.as_ptr()),
            nodes.as_mut_ptr(),
            MPOL_MF_MOVE,
        )
    };
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
    if to.is_some() {
        return move_pages(start, len, None);
    }
    [0, 1].map(|node| nodes.iter().filter(|&&at| at == node).count())
}

/// Binds a part of memory to a node, and moves it there.
fn bind(start: *const u8, len: usize, node: u32) {
    const MPOL_BIND: libc::c_int = 2;
    const MPOL_MF_MOVE: libc::c_uint = 2;
    let nodes = 1_u64 << node;
    // SAFETY: a valid word. The contents do not change.
    let result = unsafe {
        libc::syscall(libc::SYS_mbind, start, len, MPOL_BIND, &raw const nodes, 64, MPOL_MF_MOVE)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn report_locked(when: &str) {
    let stats = memory_stats();
    report(
        stats.is_fully_locked() && stats.locked == locked(),
        format!(
            "{when}: the kernel counts {} locked bytes, the library {}",
            locked(),
            stats.locked
        ),
    );
}

pub(crate) fn numa() {
    let mut pages = LockedPages::new(LEN).unwrap();
    pages.as_mut_slice().fill(7);
    let keys: Vec<_> = (0..200).map(|number| SecureBox::new([number as u8; 32])).collect();
    let large = SecureVec::from_slice(&[9_u8; LEN]);
    let ordinary = map(LEN);
    ordinary.fill(5);
    let start = pages.as_ptr().as_ptr().cast_const();
    let all = LEN / PAGE;
    let are_intact = || {
        pages.as_slice().iter().all(|&byte| byte == 7)
            && large.expose_secret().iter().all(|&byte| byte == 9)
            && keys
                .iter()
                .enumerate()
                .all(|(number, key)| *key.expose_secret() == [number as u8; 32])
    };
    report_locked("at first");

    let key = keys[0].expose_secret().as_ptr();
    let in_pool = key.wrapping_sub(key.addr() % PAGE);
    for to in [0, 1, 0] {
        let node = to as usize;
        let moved = [(start, LEN), (in_pool, PAGE), (ordinary.as_ptr(), LEN)];
        let [pages, in_pool, ordinary] = moved.map(|(at, len)| move_pages(at, len, Some(to))[node]);
        report(
            (pages, in_pool, ordinary) == (all, 1, all) && are_intact(),
            format!(
                "move_pages to node {to}: {pages} of {all} locked pages are there, {in_pool} of 1 of \
                 the pool, and {ordinary} of {all} ordinary ones"
            ),
        );
        report_locked("after that");
    }

    // The policy splits the mapping.
    let (part, len) = (start.wrapping_add(LEN / 4), LEN / 2);
    bind(part, len, 1);
    let moved = move_pages(part, len, None)[1];
    report(
        moved == len / PAGE && move_pages(start, LEN, None)[1] == moved && are_intact(),
        format!("mbind of half of the pages to node 1: {moved} pages are there"),
    );
    report_locked("after that");
    let before = locked();
    drop(pages);
    report(before - locked() == LEN, "unmapped, they are not locked any more");
    report_locked("after that");

    // SAFETY: takes the lock from pages of a secret that stays in memory.
    let result = unsafe { libc::munlock(large.expose_secret().as_ptr().cast(), PAGE) };
    assert_eq!(result, 0);
    let stats = memory_stats();
    report(
        stats.locked == locked() + PAGE,
        format!(
            "control: a page that is unlocked unseen is missed: {} and {}",
            locked(),
            stats.locked
        ),
    );
}
