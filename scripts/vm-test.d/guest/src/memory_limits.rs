//! Limits of a control group that are reached as locked pages are first touched.

use crate::kernel::{Group, MIB, PAGE, locked, map, pages, report};
use bitcoin_support::LockedPages;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

const LOCKED: usize = 10;
const ORDINARY: usize = 12;

/// The process in the group: touches ordinary memory and then locked pages, of so many bytes.
pub(crate) fn touch_locked(bytes: usize) {
    fs::write("/sys/fs/cgroup/limited/cgroup.procs", "0").unwrap();
    let ordinary = map(ORDINARY * MIB);
    ordinary.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    let mut secrets = LockedPages::new(bytes).unwrap();
    assert_eq!((secrets.lock_state(), locked()), (Ok(()), bytes));
    secrets.as_mut_slice().iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    let in_memory = |start, len| pages(start, len).iter().filter(|page| page.is_present()).count();
    let swapped = |start, len| pages(start, len).iter().filter(|page| page.is_swapped()).count();
    let start = secrets.as_ptr().as_ptr().cast_const();
    println!(
        "{} {} {}",
        in_memory(start, bytes) * PAGE,
        swapped(start, bytes),
        swapped(ordinary.as_ptr(), ordinary.len()),
    );
}

fn touch(bytes: usize) -> std::process::Output {
    Command::new("/proc/self/exe").args(["touch-locked", &bytes.to_string()]).output().unwrap()
}

pub(crate) fn memory_limits() {
    let group = Group::new("limited");
    group.set("memory.high", LOCKED * MIB / 5 * 4);
    let output = touch(LOCKED * MIB);
    let text = String::from_utf8(output.stdout).unwrap();
    let figures: Vec<usize> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let above = group.event("high");
    let &[in_memory, swapped, swapped_ordinary] = &figures[..] else {
        return report(false, format!("memory.high: the process has failed: {}", output.status));
    };
    report(
        output.status.success() && in_memory == LOCKED * MIB && swapped == 0,
        format!(
            "memory.high, reached at first touch: {} of {LOCKED} MiB of locked pages are in memory",
            in_memory / MIB
        ),
    );
    report(
        above > 0 && swapped_ordinary > 0,
        format!(
            "control: the group was above memory.high {above} times, and {} KiB of its ordinary \
             memory are on swap",
            swapped_ordinary * PAGE / 1024
        ),
    );

    group.set("memory.high", 16 * LOCKED * MIB);
    group.set("memory.max", LOCKED * MIB / 5 * 4);
    let output = touch(LOCKED * MIB);
    report(
        output.status.signal() == Some(libc::SIGKILL) && group.event("oom_kill") == 1,
        format!(
            "memory.max, reached at first touch: the kernel ends the process ({})",
            output.status
        ),
    );
    let output = touch(LOCKED * MIB / 5 * 2);
    report(
        output.status.success(),
        format!("control: with less locked memory it goes on ({})", output.status),
    );
}
