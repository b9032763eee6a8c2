//! Whether the processor and the kernel have protection keys, and the library finds them.

use crate::kernel::{PAGE, map, report};
use bitcoin_support::has_protection_key;

/// What became of a child that reads a byte of a page with a new key: the signal's code, or nothing
/// if the child has read it.
fn read_with(rights: libc::c_ulong) -> Option<libc::c_int> {
    extern "C" fn ended(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel gives a valid structure. Ends the child.
        unsafe { libc::_exit((*info).si_code) };
    }
    let page = map(PAGE);
    // SAFETY: the page was mapped just now; the child makes system calls and one access, and ends.
    // `status` and `action` are valid for the calls.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let key = libc::syscall(libc::SYS_pkey_alloc, 0, rights);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let place = page.as_mut_ptr();
            if key < 0 || libc::syscall(libc::SYS_pkey_mprotect, place, PAGE, access, key) != 0 {
                libc::_exit(100);
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = ended as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut());
            place.read_volatile();
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(libc::WIFEXITED(status), "{status:#x}");
        Some(libc::WEXITSTATUS(status)).filter(|code| *code != 0)
    }
}

pub(crate) fn protection_keys() {
    const SEGV_PKUERR: libc::c_int = 4;
    const PKEY_DISABLE_ACCESS: libc::c_ulong = 1;
    let code = read_with(PKEY_DISABLE_ACCESS);
    report(
        code == Some(SEGV_PKUERR),
        format!("a page with a key that is closed cannot be read (code {code:?})"),
    );
    let code = read_with(0);
    report(code.is_none(), format!("control: with a key that is open it can ({code:?})"));
    // Without them, the tests of closed secrets pass by `mprotect` alone.
    report(has_protection_key(), "the library has a protection key");
}
