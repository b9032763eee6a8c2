//! What an administrator can do about what a Unix system has refused, in one line of text for each
//! case.
//!
//! The error number comes first, as it tells what has refused. Linux answers ENOMEM or EAGAIN to a
//! process that is at the limit on locked memory, and EPERM only where the limit is 0; any other
//! answer is that of a sandbox, which no limit changes.

use super::errno::Errno;
use core::ffi::CStr;

/// See [`Limits::lock_remedy`](super::limits::Limits::lock_remedy).
pub(super) fn lock_remedy(errno: Errno, limit: usize) -> &'static CStr {
    match (errno, limit) {
        (Errno::NONE, _) => {
            c"the source of the memory did not say why it is not locked; most often it is the limit on locked \
              memory (RLIMIT_MEMLOCK, `ulimit -l`)"
        }
        (Errno::ENOMEM | Errno::EAGAIN, usize::MAX) => {
            c"no limit on locked memory is in the way: let the machine have more free memory, or the process \
              more mappings (sysctl vm.max_map_count)"
        }
        (Errno::ENOMEM | Errno::EAGAIN, _) | (Errno::EPERM, 0) => {
            c"raise the limit on locked memory (RLIMIT_MEMLOCK): LimitMEMLOCK= in the systemd unit, memlock in \
              /etc/security/limits.conf, or `ulimit -l` in the shell that starts the program; for a container \
              `--ulimit memlock=-1`, or LimitMEMLOCK= in the unit of the container runtime (containerd, crio, \
              docker), as Kubernetes has no field for it, or the capability CAP_IPC_LOCK, which no limit binds \
              (but in a rootless container it does nothing); where the hard limit is higher, the program can \
              raise its own"
        }
        _ => {
            c"a sandbox refuses mlock and mlock2, whatever the limit: let it allow them (SystemCallFilter=@memlock \
              in the systemd unit; in the seccomp profile of the container; --security-opt seccomp=FILE)"
        }
    }
}

/// See [`Memory::protection_remedy`](super::memory::Memory::protection_remedy).
pub(super) fn protection_remedy(errno: Errno, of_fork_policy: bool) -> &'static CStr {
    match (errno, of_fork_policy) {
        (Errno::ENOMEM | Errno::EAGAIN, _) => {
            c"let the machine have more free memory, or the process more mappings (sysctl vm.max_map_count)"
        }
        (Errno::EINVAL, true) => {
            c"let the program run on Linux 4.14 or newer; if it does, a sandbox refuses madvise: let it allow it"
        }
        _ => {
            c"a sandbox refuses madvise: let it allow it (SystemCallFilter=@system-service in the systemd unit; in \
              the seccomp profile of the container)"
        }
    }
}
