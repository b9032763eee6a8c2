//! What the kernel shows of a process, and what it is told to do.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub(crate) const PAGE: usize = 4096;
pub(crate) const MIB: usize = 1 << 20;

/// Prints whether a claim holds.
pub(crate) fn report(holds: bool, claim: impl AsRef<str>) {
    println!("{}: {}", if holds { "holds" } else { "fails" }, claim.as_ref());
}

/// Bytes that this process has locked.
pub(crate) fn locked() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// An ordinary mapping for the controls. It stays for the life of the process.
pub(crate) fn map(len: usize) -> &'static mut [u8] {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at a place of the system's choice.
    let addr = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, -1, 0) };
    assert_ne!(addr, libc::MAP_FAILED);
    // SAFETY: mapped just now over `len` bytes of zeros, never unmapped, and used by nothing else.
    unsafe { std::slice::from_raw_parts_mut(addr.cast(), len) }
}

/// What the kernel says of one page.
#[derive(Clone, Copy)]
pub(crate) struct Page(u64);

impl Page {
    pub(crate) fn is_present(self) -> bool {
        self.0 >> 63 & 1 == 1
    }
    pub(crate) fn is_swapped(self) -> bool {
        self.0 >> 62 & 1 == 1
    }
    fn frame(self) -> u64 {
        self.0 & ((1 << 55) - 1)
    }
}

/// The pages of a part of this process's memory.
pub(crate) fn pages(start: *const u8, len: usize) -> Vec<Page> {
    let file = File::open("/proc/self/pagemap").unwrap();
    let first = start.addr() / PAGE;
    let mut entries = vec![0; len.div_ceil(PAGE) * 8];
    file.read_exact_at(&mut entries, first as u64 * 8).unwrap();
    let words = entries.chunks_exact(8);
    words.map(|word| Page(u64::from_ne_bytes(word.try_into().unwrap()))).collect()
}

/// How many pages of each of these parts of memory lie in a frame that other pages lie in too:
/// pages that are merged. (The flag of `/proc/kpageflags` for such pages is set for others too in
/// Linux 6.12.)
pub(crate) fn merged<const N: usize>(parts: [(*const u8, usize); N]) -> [usize; N] {
    let frames = parts.map(|(start, len)| {
        let present = pages(start, len).into_iter().filter(|page| page.is_present());
        present.map(Page::frame).collect::<Vec<_>>()
    });
    let mut users = HashMap::new();
    frames.iter().flatten().for_each(|frame| *users.entry(*frame).or_insert(0) += 1);
    frames.map(|frames| frames.iter().filter(|frame| users[frame] > 1).count())
}

/// A number in a file of the kernel's.
pub(crate) fn number(path: impl AsRef<Path>) -> usize {
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

/// A control group of version 2, under the root, whose controllers the script has switched on.
pub(crate) struct Group(PathBuf);

impl Group {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new("/sys/fs/cgroup").join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
    pub(crate) fn set(&self, limit: &str, bytes: usize) {
        fs::write(self.0.join(limit), bytes.to_string()).unwrap();
    }
    /// Has the kernel take away so much of the group's memory, or what it can.
    pub(crate) fn reclaim(&self, bytes: usize) {
        match fs::write(self.0.join("memory.reclaim"), bytes.to_string()) {
            // There was less to take.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            result => result.unwrap(),
        }
    }
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
    /// A counter in `memory.events`.
    pub(crate) fn event(&self, name: &str) -> usize {
        let events = fs::read_to_string(self.0.join("memory.events")).unwrap();
        let mut words = events.lines().filter_map(|line| line.split_once(' '));
        words.find(|(key, _)| *key == name).unwrap().1.parse().unwrap()
    }
}
