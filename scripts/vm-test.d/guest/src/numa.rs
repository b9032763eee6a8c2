//! Memory that moves between two nodes.

use crate::kernel::{MIB, PAGE, locked, map, report};
use bitcoin_support::{LockedPages, SecureBox, SecureVec, memory_stats};
use std::ptr;

const LEN: usize = MIB;

/// How many pages of a part of memory lie on a node.
fn on_node(start: *const u8, len: usize, node: i32) -> usize {
    let places: Vec<_> = (0..len).step_by(PAGE).map(|at| start.wrapping_add(at)).collect();
    let mut nodes = vec![-1_i32; places.len()];
    let nowhere = ptr::null::<i32>();
    // SAFETY: asks where pages are; both lists have so many entries.
    let result = unsafe {
        let (places, nodes) = (places.as_ptr(), nodes.as_mut_ptr());
        libc::syscall(libc::SYS_move_pages, 0, len / PAGE, places, nowhere, nodes, 0)
    };
    assert_eq!(result, 0);
    nodes.iter().filter(|&&at| at == node).count()
}

/// Moves all memory of this process from a node to another.
fn move_all(from: u32, to: u32) {
    let (from, to) = (1_u64 << from, 1_u64 << to);
    // SAFETY: two valid words. The contents do not change.
    let result =
        unsafe { libc::syscall(libc::SYS_migrate_pages, 0, 64, &raw const from, &raw const to) };
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
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

    for (from, to) in [(0, 1), (1, 0), (0, 1)] {
        move_all(from, to);
        let (moved, others) =
            (on_node(start, LEN, to as i32), on_node(ordinary.as_ptr(), LEN, to as i32));
        report(
            moved == all && others == all && are_intact(),
            format!(
                "migrate_pages to node {to}: {moved} of {all} locked pages and {others} of {all} ordinary ones are there"
            ),
        );
        report_locked("after that");
    }

    // The policy splits the mapping.
    let (part, len) = (start.wrapping_add(LEN / 4), LEN / 2);
    bind(part, len, 0);
    let moved = on_node(part, len, 0);
    report(
        moved == len / PAGE && on_node(start, LEN, 0) == moved && are_intact(),
        format!("mbind of half of the pages to node 0: {moved} pages are there"),
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
