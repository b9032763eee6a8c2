//! Capabilities: whether the limit on locked memory binds the process.

use core::ffi::CStr;

/// The process has `CAP_IPC_LOCK`, and has it outside of any user namespace, as the kernel wants it
/// (`can_do_mlock`).
pub(in crate::sys) fn may_exceed_lock_limit() -> bool {
    const VERSION_3: u32 = 0x2008_0522;
    const CAP_IPC_LOCK: u32 = 14;
    let header = [VERSION_3, 0];
    // Effective, permitted and inheritable capabilities, the lower and the upper 32 of each.
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: the kernel reads 8 bytes of the header and writes 24 to the sets, as version 3 has
    // it.
    let got = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) } == 0;
    got && sets[0][0] >> CAP_IPC_LOCK & 1 != 0 && is_in_first_user_namespace()
}

/// The kernel gives the first user namespace this number (`PROC_USER_INIT_INO`) in every boot.
fn is_in_first_user_namespace() -> bool {
    const PATH: &CStr = c"/proc/self/ns/user";
    const NAME: &[u8] = b"user:[4026531837]";
    let mut name = [0_u8; 32];
    // SAFETY: the path is a string, and the buffer has the length that is given.
    let len = unsafe {
        let (folder, place) = (libc::AT_FDCWD, name.as_mut_ptr());
        libc::syscall(libc::SYS_readlinkat, folder, PATH.as_ptr(), place, name.len())
    };
    usize::try_from(len).is_ok_and(|len| &name[..len] == NAME)
}
