//! Numbers of system calls that the `libc` crate does not have for every processor.

use core::ffi::c_long;

/// The number of a system call of Linux 5.1 or later, here. All processors have the same, but where
/// one kernel serves several interfaces.
pub(super) const fn call_number(number: c_long) -> c_long {
    number
        + if cfg!(all(target_arch = "x86_64", target_pointer_width = "32")) {
            0x4000_0000
        } else if cfg!(any(target_arch = "mips", target_arch = "mips32r6")) {
            4000
        } else if cfg!(any(target_arch = "mips64", target_arch = "mips64r6")) {
            5000
        } else {
            0
        }
}
