//! What becomes of the secrets that are left in locked memory when the process exits.
//!
//! Private to `pages`; depends on `live` and the operating system. It is the last thing that happens: the dynamic
//! linker calls [`at_exit`] when all exit handlers, and all destructors of objects with static storage, have run,
//! so that they find their secrets as they were.
//!
//! A thread that goes on while the process exits must not find zeros where its key was. So nothing is wiped unless
//! this thread is known to be the only one; else the kernel, which zeroes the pages of a process before anybody
//! else gets them, does the same without anybody seeing it.

use super::live;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicI32, AtomicU8};

/// What becomes of the secrets that are left in locked memory when the process exits, by a return from `main`
/// or by `exit`: of everything in pools over the system's own pages, the process-wide one included, in large
/// secrets, and in [`LockedPages`](super::LockedPages).
///
/// A process that ends by `_exit`, `abort` or a signal is not concerned: the kernel takes its memory as it is, and
/// zeroes it before anybody else gets it.
///
/// ```
/// use bitcoin_support::{ExitPolicy, set_exit_policy};
///
/// set_exit_policy(ExitPolicy::NEVER);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitPolicy(u8);

impl ExitPolicy {
    /// The default: wiped if the thread that exits is the only one that uses this memory, and else left to the
    /// kernel, so that no thread ever finds zeros where its secret was. The wipe is the last thing that the process
    /// does, after exit handlers and destructors of objects with static storage. (A signal handler that
    /// interrupts the process even later does find zeros.)
    ///
    /// Whether there are others is asked of Linux, by a call (`unshare`) that threads, and other processes that
    /// share the memory, make fail. Where it is refused, as in a sandbox, and on other systems, nothing is wiped.
    /// Nor is it in a process whose main thread has ended before it (`pthread_exit`).
    pub const WIPE_WHEN_ALONE: Self = Self(0);

    /// Left to the kernel, always.
    pub const NEVER: Self = Self(1);

    const INACCESSIBLE: Self = Self(2);

    /// Inaccessible at once, with other threads or without: the contents are given back to the kernel, and a
    /// thread that goes on and touches a secret ends the process (SIGSEGV). What Bitcoin Core's pool comes to,
    /// which is unmapped at exit; but after exit handlers and destructors, here.
    ///
    /// # Safety
    /// Values in locked memory become invalid at exit, also those that safe code holds references to. A thread
    /// that goes on then must be one that may end the process at any moment, by an access that faults.
    pub const unsafe fn inaccessible() -> Self {
        Self::INACCESSIBLE
    }
}

impl Default for ExitPolicy {
    fn default() -> Self {
        Self::WIPE_WHEN_ALONE
    }
}

static POLICY: AtomicU8 = AtomicU8::new(ExitPolicy::WIPE_WHEN_ALONE.0);

/// The process that the memory belongs to, by its number. A child made by `vfork` has the same memory and
/// another number.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// Chooses what becomes of the secrets that are left in locked memory when the process exits. The last call
/// counts. Costs nothing, and may be called anywhere.
pub fn set_exit_policy(policy: ExitPolicy) {
    POLICY.store(policy.0, Relaxed);
}

// The section holds pointers to functions without arguments, which are called when the process exits; the number
// has it called after the program's own.
#[used]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".fini_array.00000"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_term_func"))]
static AT_EXIT: extern "C" fn() = at_exit;

/// Called before a mapping is made: the memory is this process's, unless it has another's by now.
pub(super) fn note_process() {
    // So that no linker leaves it out.
    core::hint::black_box(&AT_EXIT);
    if PROCESS.load(Relaxed) == 0 {
        let _ = PROCESS.compare_exchange(0, process(), Relaxed, Relaxed);
    }
}

/// Called in a child process after `fork`, which has its own memory.
pub(super) fn note_child() {
    PROCESS.store(process(), Relaxed);
}

fn process() -> libc::pid_t {
    // SAFETY: takes nothing.
    unsafe { libc::getpid() }
}

extern "C" fn at_exit() {
    let process = process();
    // Where a sandbox refuses the number it is below 0.
    if process <= 0 || PROCESS.load(Relaxed) != process || !live::is_used() {
        return;
    }
    match ExitPolicy(POLICY.load(Relaxed)) {
        ExitPolicy::WIPE_WHEN_ALONE if is_alone() => {
            // What a stream has in a buffer in locked memory is still to be written.
            // SAFETY: flushes every stream of this process.
            unsafe { libc::fflush(core::ptr::null_mut()) };
            // A stream of the program's own may have run anything, and started a thread.
            if is_alone() {
                // SAFETY: this thread alone uses the memory, and nothing of the program runs after this.
                unsafe { live::wipe_everything() };
            }
        }
        // SAFETY: the caller that made this policy has promised that no thread needs the memory any more.
        ExitPolicy::INACCESSIBLE => unsafe { live::withdraw_everything() },
        _ => {}
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_alone() -> bool {
    false // as far as can be known
}

/// Whether no thread but this one, and no other process, uses this process's memory.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_alone() -> bool {
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        // In a process that is the only user of its memory this does nothing and succeeds, in any other it
        // fails (unshare(2)).
        // SAFETY: changes nothing; takes no pointers.
        if unsafe { libc::unshare(libc::CLONE_VM) } == 0 {
            return true;
        }
        let is_refused = super::errno_of(&std::io::Error::last_os_error()) != libc::EINVAL;
        // A thread that has been joined may not be quite gone.
        if is_refused || !tasks::others_are_ending() {
            return false;
        }
        std::thread::sleep(core::time::Duration::from_micros(100));
    }
    false
}

/// What `/proc` says of this process's threads. It only tells whether it is worth while to wait for their end.
/// Nothing here allocates: `exit` may have been called in a signal handler that interrupts the heap.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod tasks {
    use core::ffi::CStr;
    use libc::{O_CLOEXEC, O_DIRECTORY, O_RDONLY};
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    /// Whether there are other threads, and none of them will ever run the program's code again.
    pub(super) fn others_are_ending() -> bool {
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
                if number.is_none_or(|number: libc::c_long| number == own) {
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

    /// The name in the first of several directory entries (`struct linux_dirent64`), and those behind it.
    fn first_name(entries: &[u8]) -> Option<(&CStr, &[u8])> {
        const LENGTH: usize = 16;
        const NAME: usize = 19;
        let len = u16::from_ne_bytes(entries.get(LENGTH..LENGTH + 2)?.try_into().ok()?);
        let (entry, behind) = entries.split_at_checked(len.into())?;
        Some((CStr::from_bytes_until_nul(entry.get(NAME..)?).ok()?, behind))
    }

    fn is_ending(tasks: libc::c_int, task: &CStr) -> bool {
        // What is not there any more has ended.
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

    /// The third and the ninth field (proc_pid_stat(5)). The second, a name in parentheses, may hold anything.
    fn flags(stat: &[u8]) -> Option<(&[u8], u32)> {
        let end = stat.iter().rposition(|&byte| byte == b')')?;
        let mut fields = stat[end + 1..].split(|&byte| byte == b' ').skip(1);
        let state = fields.next()?;
        let flags = core::str::from_utf8(fields.nth(5)?).ok()?;
        Some((state, flags.parse().ok()?))
    }

    fn open(at: libc::c_int, path: &CStr, flags: libc::c_int) -> Option<OwnedFd> {
        // SAFETY: a text that ends with a zero.
        let fd = unsafe { libc::openat(at, path.as_ptr(), flags | O_RDONLY | O_CLOEXEC) };
        // SAFETY: a new descriptor, which nobody else has.
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
}
