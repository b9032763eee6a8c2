//! Runs a command for which the kernel seems not to know some system calls.

use std::os::unix::process::CommandExt;
use std::process::Command;

fn number_of(name: &str) -> u32 {
    let number = match name {
        "membarrier" => libc::SYS_membarrier,
        "mlock2" => libc::SYS_mlock2,
        _ => panic!("unknown call {name}"),
    };
    number as u32
}

/// From now on a system call fails with `ENOSYS` in this thread and in what it starts.
fn refuse(call: u32) {
    let step = |code: u32, jf, k| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0), // the number of the call
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, call),
        step(libc::BPF_RET, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(libc::BPF_RET, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program is valid for the call. All it does is to make a system call fail.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) };
    assert_eq!(result, 0);
}

/// Whether the kernel knows a call. (`membarrier` is asked for its commands, and `mlock2` to lock
/// no bytes.)
fn is_known(call: u32) -> bool {
    // SAFETY: neither call accesses memory by these arguments.
    let result = unsafe { libc::syscall(call.into(), 0, 0, 0) };
    result >= 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

/// `CALL... -- COMMAND...`
pub(crate) fn refused(arguments: &[&str]) {
    let dashes = arguments.iter().position(|argument| *argument == "--").expect("--");
    for call in &arguments[..dashes] {
        let number = number_of(call);
        assert!(is_known(number), "control: the kernel has no {call}");
        refuse(number);
        assert!(!is_known(number), "{call} is not refused");
    }
    let error = Command::new(arguments[dashes + 1]).args(&arguments[dashes + 2..]).exec();
    panic!("{}: {error}", arguments[dashes + 1]);
}
