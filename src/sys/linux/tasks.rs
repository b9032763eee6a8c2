//! The threads of this process, as `/proc` shows them: whether this one is alone.
//!
//! Nothing here allocates: `exit` may have been called in a signal handler that interrupts the
//! heap.

use crate::sys::errno::Errno;
use core::ffi::{CStr, c_int, c_long};
use core::time::Duration;
use libc::{O_CLOEXEC, O_DIRECTORY, O_RDONLY};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;

/// The kernel's number of the calling thread; 0 where it does not tell.
pub(in crate::sys) fn thread_number() -> u32 {
    // SAFETY: takes nothing.
    u32::try_from(unsafe { libc::gettid() }).unwrap_or(0)
}

/// Whether no thread but this one, and no other process, uses this process's memory.
pub(in crate::sys) fn is_alone() -> bool {
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        // In a process that is the only user of its memory this call does nothing and succeeds; in
        // any other it fails (unshare(2)). SAFETY: changes nothing; takes no pointers.
        if unsafe { libc::unshare(libc::CLONE_VM) } == 0 {
            return true;
        }
        let is_refused = Errno::last() != Errno::EINVAL;
        // A thread that has been joined may not be quite gone.
        if is_refused || !others_are_ending() {
            return false;
        }
        thread::sleep(Duration::from_micros(100));
    }
    false
}

/// Whether there are other threads, and none of them will ever run the program's code again.
fn others_are_ending() -> bool {
    let Some(tasks) = open(libc::AT_FDCWD, c"/proc/self/task", O_DIRECTORY) else {
        return false;
    };
    // SAFETY: takes nothing.
    let own = unsafe { libc::syscall(libc::SYS_gettid) };
    let mut entries = Entries([0; 64]);
    let mut others = 0;
    loop {
        // SAFETY: the descriptor is open, and the buffer as long as it is said to be.
        let len = unsafe {
            let (buffer, size) = (entries.0.as_mut_ptr(), size_of_val(&entries.0));
            libc::syscall(libc::SYS_getdents64, tasks.as_raw_fd(), buffer, size)
        };
        let Ok(len) = usize::try_from(len) else { return false };
        if len == 0 {
            return others > 0;
        }
        let mut rest = entries.bytes(len);
        while let Some((name, behind)) = first_name(rest) {
            rest = behind;
            // `.` and `..` are no threads.
            let number = name.to_str().ok().and_then(|digits| digits.parse().ok());
            if number.is_none_or(|number: c_long| number == own) {
                continue;
            }
            if !is_ending(tasks.as_raw_fd(), name) {
                return false;
            }
            others += 1;
        }
    }
}

/// As the kernel aligns what it writes there.
struct Entries([u64; 64]);

impl Entries {
    fn bytes(&self, len: usize) -> &[u8] {
        &bytemuck::cast_slice(&self.0)[..len]
    }
}

/// The name in the first of several directory entries (`struct linux_dirent64`), and those behind
/// it.
fn first_name(entries: &[u8]) -> Option<(&CStr, &[u8])> {
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    let len = u16::from_ne_bytes(entries.get(LENGTH..LENGTH + 2)?.try_into().ok()?);
    let (entry, behind) = entries.split_at_checked(len.into())?;
    Some((CStr::from_bytes_until_nul(entry.get(NAME..)?).ok()?, behind))
}

fn is_ending(tasks: c_int, task: &CStr) -> bool {
    // A thread without a directory has ended.
    let Some(task) = open(tasks, task, O_DIRECTORY) else { return true };
    let Some(stat) = open(task.as_raw_fd(), c"stat", 0) else { return true };
    let mut text = [0; 256];
    // SAFETY: the descriptor is open, and the buffer as long as it is said to be.
    let len = unsafe { libc::read(stat.as_raw_fd(), text.as_mut_ptr().cast(), text.len()) };
    let Ok(len) = usize::try_from(len) else { return true };
    flags(&text[..len]).is_some_and(|(state, flags)| state != b"Z" && flags & EXITING != 0)
}

/// The kernel's `PF_EXITING`: the thread never returns to the program.
const EXITING: u32 = 4;

/// The third and the ninth field (proc_pid_stat(5)). The second, a name in parentheses, may hold
/// anything.
fn flags(stat: &[u8]) -> Option<(&[u8], u32)> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = stat[end + 1..].split(|&byte| byte == b' ').skip(1);
    let state = fields.next()?;
    let flags = core::str::from_utf8(fields.nth(5)?).ok()?;
    Some((state, flags.parse().ok()?))
}

fn open(at: c_int, path: &CStr, flags: c_int) -> Option<OwnedFd> {
    // SAFETY: a text that ends with a zero.
    let fd = unsafe { libc::openat(at, path.as_ptr(), flags | O_RDONLY | O_CLOEXEC) };
    // SAFETY: a new descriptor, which nothing else owns.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = b"4711 (a) Z (b) R 1 2 3 4 5 4194308 6 7";
        assert_eq!(flags(stat), Some((&b"R"[..], 4_194_308)));
        assert_eq!(flags(b"4711 (a) R 1 2 3 4 5"), None);
        assert_eq!(flags(b""), None);
    }

    #[test]
    fn threads_that_run_are_not_ending() {
        let (send, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        assert!(!others_are_ending());
        drop(send);
        assert!(other.join().unwrap().is_err());
    }
}
