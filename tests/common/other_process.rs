//! What another process has in its memory and in its registers, as the kernel shows it.

use memchr::memmem;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

/// A secret is searched for in parts of so many bytes.
pub(crate) const PART: usize = 16;

/// A process that is stopped, and traced by this one as long as this value lives.
pub(crate) struct Traced {
    threads: Vec<libc::pid_t>,
    process: libc::pid_t,
}

impl Traced {
    /// Traces a process, a child of this one that has stopped itself. Fails where that is not
    /// allowed.
    pub(crate) fn new(process: u32) -> io::Result<Self> {
        let process = process as libc::pid_t;
        let mut traced = Self { threads: Vec::new(), process };
        for entry in fs::read_dir(format!("/proc/{process}/task"))? {
            let thread = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            let thread: libc::pid_t = thread.expect("a number");
            let nothing = std::ptr::null_mut::<libc::c_void>();
            // SAFETY: takes numbers. The process is stopped, and is not waited for elsewhere.
            unsafe {
                if libc::ptrace(libc::PTRACE_SEIZE, thread, nothing, nothing) != 0 {
                    return Err(io::Error::last_os_error());
                }
                traced.threads.push(thread);
                libc::ptrace(libc::PTRACE_INTERRUPT, thread, nothing, nothing);
                libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL);
            }
        }
        Ok(traced)
    }

    /// The registers of all threads: general, floating-point and vector registers.
    pub(crate) fn registers(&self) -> Vec<u8> {
        const NT_PRSTATUS: usize = 1;
        const NT_FPREGSET: usize = 2;
        const NT_X86_XSTATE: usize = 0x202;
        const NT_ARM_SVE: usize = 0x405;
        let mut all = Vec::new();
        for &thread in &self.threads {
            for set in [NT_PRSTATUS, NT_FPREGSET, NT_X86_XSTATE, NT_ARM_SVE] {
                let mut bytes = vec![0_u8; 1 << 16];
                let mut place =
                    libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
                let set = std::ptr::without_provenance_mut::<libc::c_void>(set);
                // SAFETY: the kernel writes to the buffer, no more than it is told, and notes how
                // much; or refuses a set that the processor does not have.
                let got =
                    unsafe { libc::ptrace(libc::PTRACE_GETREGSET, thread, set, &raw mut place) };
                if got == 0 {
                    all.extend_from_slice(&bytes[..place.iov_len]);
                    all.resize(all.len().next_multiple_of(PART), 0);
                }
            }
        }
        assert!(all.len() > 500, "no registers");
        all
    }

    /// Calls `look` with all memory that the kernel reads for this process, with a name of where it
    /// is. Pieces overlap by `PART - 1` bytes.
    pub(crate) fn memory(&self, mut look: impl FnMut(&str, &[u8])) {
        const PIECE: usize = 1 << 20;
        let memory = File::open(format!("/proc/{}/mem", self.process)).expect("its memory");
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.process)).expect("its maps");
        let mut buffer = vec![0; PIECE];
        let mut seen = 0;
        for line in maps.lines() {
            let mut words = line.split(' ');
            let (range, permissions) = (words.next().unwrap(), words.next().unwrap());
            let (from, to) = range.split_once('-').unwrap();
            let parse = |digits| usize::from_str_radix(digits, 16).unwrap();
            let (mut from, to) = (parse(from), parse(to));
            if !permissions.starts_with('r') || line.ends_with("[vsyscall]") {
                continue;
            }
            while from < to {
                let len = PIECE.min(to - from);
                let Ok(()) = memory.read_exact_at(&mut buffer[..len], from as u64) else { break };
                look(line, &buffer[..len]);
                seen += len;
                from = if from + len == to { to } else { from + len - (PART - 1) };
            }
        }
        assert!(seen > 1 << 20, "only {seen} bytes seen");
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        for &thread in &self.threads {
            let nothing = std::ptr::null_mut::<libc::c_void>();
            // SAFETY: takes numbers.
            unsafe { libc::ptrace(libc::PTRACE_DETACH, thread, nothing, nothing) };
        }
    }
}

/// In how many places `bytes` has a part of `sought`, one that begins there at a multiple of
/// `PART`.
pub(crate) fn parts_in(bytes: &[u8], sought: &[u8]) -> usize {
    sought.chunks_exact(PART).map(|part| memmem::find_iter(bytes, part).count()).sum()
}
