//! Memory pressure, with swap on zram or behind zswap.

use crate::holder::Holder;
use crate::kernel::{Group, MIB, PAGE, number, report};
use crate::marks::{MARKS, count};
use std::fs;
use std::mem;
use std::path::Path;

/// Each kind of marks, what they are, and whether they come to the device. Those that do are the
/// controls.
const KINDS: [(&str, &str, bool); 5] = [
    ("POOL", "secrets in the pool", false),
    ("SECRET", "secrets in secret memory", false),
    ("SEALED", "sealed secrets, in clear", false),
    ("HEAP", "control: secrets on the heap", true),
    ("UNLOCKED", "control: secrets in a pool that may not lock", true),
];

fn report_intact(holder: &mut Holder, kind: &str) {
    report(holder.is_intact(), format!("{kind}: the process has all marks as they were"));
}

/// What was found on the device, against what should be.
fn report_found(found: usize, device: &Path, what: &str, comes_there: bool) {
    let holds = if comes_there { found > MARKS / 2 } else { found == 0 };
    report(holds, format!("{found} of {MARKS} are on {}: {what}", device.display()));
}

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
    report_intact(&mut holder, kind);
    found
}

/// What comes to the device itself. The last two kinds are controls.
pub(crate) fn swap(device: &Path) {
    for (kind, what, comes_there) in KINDS {
        let found = marks_on(device, kind);
        report_found(found, device, what, comes_there);
    }
}

/// The share of memory that zswap's pool may take. At 0 the pool is full: zswap takes no page any
/// more, and writes those that it has to the device, a few for each that it refuses.
fn set_pool_percent(percent: usize) {
    fs::write("/sys/module/zswap/parameters/max_pool_percent", percent.to_string()).unwrap();
}

/// A counter of zswap's, in pages.
fn counter(name: &str) -> usize {
    number(Path::new("/sys/kernel/debug/zswap").join(name))
}

/// The device is seen twice: when zswap has taken all that the kernel can take away from the
/// process, and when zswap has written it to the device. The last two kinds are controls.
pub(crate) fn zswap(device: &Path) {
    const BALLAST: usize = 8;
    /// A bound for a kernel that writes nothing back.
    const ROUNDS: usize = 60;
    for (kind, what, comes_there) in KINDS {
        let group = Group::new(kind);
        set_pool_percent(50);
        let mut holder = Holder::start_in(&group, &[kind], BALLAST);
        group.reclaim(2 * BALLAST * MIB);
        let (swapped, stored) = (holder.swapped(), counter("stored_pages"));
        let before = count(device, kind);
        // (Where the encrypted bytes of sealed secrets lie, the library does not tell.)
        let is_as_claimed = swapped
            .is_none_or(|swapped| if comes_there { swapped > MARKS / 2 } else { swapped == 0 });
        let marks = swapped.map_or(String::new(), |swapped| {
            format!("{swapped} of {MARKS} marks are swapped out, and ")
        });
        report(
            is_as_claimed && stored * PAGE > BALLAST * MIB / 2 && before == 0,
            format!(
                "{kind}: zswap has {stored} pages; {marks}{before} of {MARKS} marks are on {}",
                device.display()
            ),
        );

        let written_at_first = counter("written_back_pages");
        set_pool_percent(0);
        let mut written = 0;
        // Until it writes no more. (Linux 6.12 passes each page by once before it writes it. A few
        // pages stay: those that are in memory too.)
        for _ in 0..ROUNDS {
            holder.work();
            group.reclaim(2 * BALLAST * MIB);
            let now = counter("written_back_pages") - written_at_first;
            if mem::replace(&mut written, now) == now && now > 0 {
                break;
            }
        }
        let left = counter("stored_pages");
        report(
            left <= stored / 20 && written > stored / 2,
            format!("{kind}: zswap has written {written} pages to the device, and has {left} left"),
        );
        report_found(count(device, kind), device, what, comes_there);
        report_intact(&mut holder, kind);
    }
}
