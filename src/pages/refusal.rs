//! What the system has refused to memory for secrets, and what an administrator can do about it.
//!
//! Private to `pages`; depends on nothing. The error number comes first: it tells what has refused. Linux answers
//! ENOMEM or EAGAIN to who is at the limit on locked memory, and EPERM only where the limit is 0; any other answer
//! is that of a sandbox, which no limit changes.

use core::ffi::CStr;
use core::fmt;
use std::io;

/// Why pages that are mapped are not locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockError {
    /// The operating system's error number, 0 when a foreign page allocator did not tell.
    pub errno: i32,
    /// The limit on locked bytes that was in force (`RLIMIT_MEMLOCK`), `usize::MAX` for none.
    pub limit: usize,
}

impl LockError {
    /// What an administrator can do about it, in one line.
    pub fn remedy(&self) -> &'static str {
        ascii(self.remedy_text())
    }

    pub(crate) fn remedy_text(&self) -> &'static CStr {
        match (self.errno, self.limit) {
            (0, _) => {
                c"the source of the memory did not say why it is not locked; most often it is the limit on locked \
                  memory (RLIMIT_MEMLOCK, `ulimit -l`)"
            }
            (libc::ENOMEM | libc::EAGAIN, usize::MAX) => {
                c"no limit on locked memory is in the way: let the machine have more free memory, or the process \
                  more mappings (sysctl vm.max_map_count)"
            }
            (libc::ENOMEM | libc::EAGAIN, _) | (libc::EPERM, 0) => {
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
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot lock pages")?;
        if self.errno != 0 {
            write!(f, ": {}", io::Error::from_raw_os_error(self.errno))?;
        }
        if self.limit != usize::MAX {
            write!(f, "; the process may lock {} bytes", self.limit)?;
        }
        write!(f, ": {}", self.remedy())
    }
}

impl std::error::Error for LockError {}

/// A protection that memory for secrets is to have besides its lock, and that the system can refuse. (Guard pages
/// are not among them: the mapping is made with them, or not at all.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protection {
    /// The memory is left out of core dumps (`MADV_DONTDUMP`).
    DumpExclusion,
    /// Children find what the [`ForkPolicy`](super::ForkPolicy) says, by the kernel's doing (`MADV_WIPEONFORK`,
    /// `MADV_DONTFORK`). Where that is refused, children that the C library makes find it all the same, as this
    /// library sees to it there; those made by the bare system call have the contents.
    ForkPolicy,
    /// The memory is not merged with equal pages (`MADV_UNMERGEABLE`).
    NoMerging,
    /// The memory is not backed by huge pages, which would lock more than is wanted (`MADV_NOHUGEPAGE`).
    NoHugePages,
}

impl Protection {
    /// Every protection.
    pub const ALL: [Self; 4] =
        [Self::DumpExclusion, Self::ForkPolicy, Self::NoMerging, Self::NoHugePages];

    fn name(self) -> &'static str {
        match self {
            Self::DumpExclusion => "left out of core dumps",
            Self::ForkPolicy => "kept from children by the kernel",
            Self::NoMerging => "kept from being merged with equal pages",
            Self::NoHugePages => "kept from huge pages",
        }
    }
}

/// A protection that the system has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtectionError {
    /// Which.
    pub protection: Protection,
    /// The operating system's error number.
    pub errno: i32,
}

impl ProtectionError {
    /// What an administrator can do about it, in one line.
    pub fn remedy(&self) -> &'static str {
        ascii(self.remedy_text())
    }

    pub(crate) fn remedy_text(&self) -> &'static CStr {
        match (self.errno, self.protection) {
            (libc::ENOMEM | libc::EAGAIN, _) => {
                c"let the machine have more free memory, or the process more mappings (sysctl vm.max_map_count)"
            }
            (libc::EINVAL, Protection::ForkPolicy) => {
                c"let the program run on Linux 4.14 or newer; if it does, a sandbox refuses madvise: let it allow it"
            }
            _ => {
                c"a sandbox refuses madvise: let it allow it (SystemCallFilter=@system-service in the systemd unit; in \
                  the seccomp profile of the container)"
            }
        }
    }
}

impl fmt::Display for ProtectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = io::Error::from_raw_os_error(self.errno);
        write!(f, "memory cannot be {}: {why}: {}", self.protection.name(), self.remedy())
    }
}

impl std::error::Error for ProtectionError {}

/// What was refused of one protection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Bytes that were to have it and have not.
    pub bytes: usize,
    /// The operating system's error number at the last refusal; 0 if there was none. (Memory that was given up
    /// again, as a pool does that requires its protections, is in no count of bytes.)
    pub errno: i32,
}

/// Which protections besides the lock memory was to have and has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MissingProtections([Missing; 4]);

impl MissingProtections {
    pub(crate) const NONE: Self = Self([Missing { bytes: 0, errno: 0 }; 4]);

    /// What is missing of one.
    pub fn of(&self, protection: Protection) -> Missing {
        self.0[protection as usize]
    }

    /// The first that has been refused, if any.
    pub fn refusal(&self) -> Option<ProtectionError> {
        let errors = Protection::ALL
            .map(|protection| ProtectionError { protection, errno: self.of(protection).errno });
        errors.into_iter().find(|error| error.errno != 0)
    }

    /// Adds what is missing elsewhere.
    pub(crate) fn plus(mut self, other: &Self) -> Self {
        for (sum, other) in self.0.iter_mut().zip(other.0) {
            sum.bytes += other.bytes;
            sum.errno = if other.errno == 0 { sum.errno } else { other.errno };
        }
        self
    }

    /// Adds memory to the count, or takes it away.
    pub(crate) fn count(
        &mut self,
        refusals: Refusals,
        len: usize,
        change: fn(usize, usize) -> usize,
    ) {
        for (sum, errno) in self.0.iter_mut().zip(refusals.0).filter(|(_, errno)| *errno != 0) {
            sum.bytes = change(sum.bytes, len);
            sum.errno = errno.into();
        }
    }

    /// Notes what was refused to memory that the figures do not include.
    pub(crate) fn note(&mut self, refusals: Refusals) {
        self.count(refusals, 0, usize::wrapping_add);
    }
}

/// By protection, the error number with which the system has refused it to a mapping; 0 for none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Refusals(pub(super) [u16; 4]);

impl Refusals {
    pub(super) fn add(&mut self, protection: Protection, errno: i32) {
        // The numbers of all systems are below 4096. One that says nothing is a refusal all the same.
        self.0[protection as usize] = u16::try_from(errno).unwrap_or(u16::MAX);
    }

    /// The first.
    pub(crate) fn first(self) -> Option<ProtectionError> {
        let mut missing = MissingProtections::NONE;
        missing.note(self);
        missing.refusal()
    }
}

/// The texts above are ASCII.
fn ascii(text: &'static CStr) -> &'static str {
    text.to_str().unwrap_or_default()
}
