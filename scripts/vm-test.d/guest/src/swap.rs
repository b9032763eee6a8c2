//! Memory pressure, with swap on zram or behind zswap.

use crate::holder::Holder;
use crate::kernel::{Group, MIB, report};
use crate::marks::{MARKS, count};
use std::path::Path;

/// Squeezes a process with such marks into a third of its memory, and counts the marks on the
/// device.
fn marks_on(device: &Path, kind: &str) -> usize {
    const BALLAST: usize = 32;
    let group = Group::new(kind);
    let mut holder = Holder::start_in(&group, &[kind], BALLAST);
    group.set("memory.high", BALLAST * MIB / 3);
    holder.work();
    // SAFETY: takes nothing.
    unsafe { libc::sync() };
    let found = count(device, kind);
    group.set("memory.high", 4 * BALLAST * MIB);
    report(holder.is_intact(), format!("{kind}: the process has all marks as they were"));
    found
}

pub(crate) fn swap(device: &Path) {
    let name = device.display();
    for (kind, what, is_on_disk) in [
        ("POOL", "secrets in the pool", false),
        ("SECRET", "secrets in secret memory", false),
        ("SEALED", "sealed secrets, in clear", false),
        ("HEAP", "control: secrets on the heap", true),
        ("UNLOCKED", "control: secrets in a pool that may not lock", true),
    ] {
        let found = marks_on(device, kind);
        let holds = if is_on_disk { found > MARKS / 2 } else { found == 0 };
        report(holds, format!("{found} of {MARKS} are on {name}: {what}"));
    }
}
