//! What the process can give up, by name.

use core::fmt;

/// One thing that a process can give up, or have its kernel do, by
/// [`harden_process`](super::harden_process).
///
/// The name of a step ([`name`](Self::name)) is what [`Display`](fmt::Display) shows. What a step
/// does holds until the process ends. "Children" are processes that are forked afterwards; what
/// "programs" are told of is what the process executes afterwards (`exec`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum HardeningStep {
    /// `not-dumpable`: no core dump of the process is made, by a core file or by a collector, and
    /// no process without privileges may trace it or read its memory (`ptrace`, `/proc/PID/mem`),
    /// also if it has the same user. Linux: `PR_SET_DUMPABLE`; FreeBSD: `PROC_TRACE_CTL`. Children
    /// have it too, programs do not; a change of user takes it off as well. Debuggers, profilers
    /// and crash collectors work for root only then, and files in `/proc/PID` belong to root.
    NotDumpable,
    /// `no-core-file`: the limit on the size of core files is 0 (`RLIMIT_CORE`), the soft one and
    /// the hard one. Every Unix system. Children and programs have it too. Where core dumps are
    /// piped to a program, the kernel does not look at the limit (systemd-coredump does): there,
    /// [`NotDumpable`](Self::NotDumpable) keeps dumps from being made.
    NoCoreFile,
    /// `no-write-execute`: memory that has been writable does not become executable
    /// (`PR_SET_MDWE`, Linux 6.3). Children and programs have it too. Programs that make code as
    /// they run do not work then: just-in-time compilers, some `libffi` closures.
    NoWriteExecute,
    /// `no-new-privileges`: no program gives its user more privileges (`PR_SET_NO_NEW_PRIVS`, Linux
    /// 3.5): set-user-ID bits and file capabilities have no effect. It holds for the calling thread
    /// and for what that starts from then on. So call it before there are other threads.
    NoNewPrivileges,
    /// `lock-limit`: the limit on locked memory is raised as far as the process may, as
    /// [`raise_lock_limit`](crate::raise_lock_limit) does. Every system.
    LockLimit,
    /// `no-huge-pages`: the kernel makes no memory of huge pages by itself
    /// (`PR_SET_THP_DISABLE`, Linux 3.15). The library's own memory is without them anyway; this
    /// step is for copies of secrets elsewhere, of which a huge page would have more at once.
    /// Children and programs have it too.
    NoHugePages,
    /// `core-filter`: a core dump has registers and the first page of each program and library, and
    /// no memory that was written to: no stack, no heap (`/proc/self/coredump_filter`, Linux).
    /// Children and programs have it too. For programs whose crashes are to leave something behind.
    CoreFilter,
    /// `no-tracer`: takes back that the process has named one that may trace it
    /// (`PR_SET_PTRACER`, Linux with Yama).
    NoTracer,
    /// `sealed-pool`: the kernel refuses to unmap, replace or change the access to the tables and
    /// the arenas of the process-wide pool and to the guard pages around those (`mseal`, Linux 6.10
    /// in 64-bit kernels), also those that are mapped later. A pool that is sealed gives no
    /// memory back to the system before the process ends: what it has locked in its largest hour is
    /// not there for large secrets and other pools, and what it could not lock stays in its
    /// statistics. An
    /// [`ExitPolicy`](crate::ExitPolicy) that makes secrets inaccessible leaves what is sealed to
    /// the kernel. Not sealed: samples, secrets larger than an arena, and pools that a program
    /// makes, which end with their owners. Children have it too.
    SealedPool,
}

impl HardeningStep {
    /// All steps of this version, in the order in which [`harden_process`](super::harden_process)
    /// takes them.
    pub const ALL: &'static [Self] = &[
        Self::LockLimit,
        Self::CoreFilter,
        Self::NoCoreFile,
        Self::NoHugePages,
        Self::SealedPool,
        Self::NoWriteExecute,
        Self::NoTracer,
        Self::NotDumpable,
        Self::NoNewPrivileges,
    ];

    /// How many steps there are.
    pub(super) const COUNT: usize = Self::ALL.len();

    /// The name of the step, in ASCII.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotDumpable => "not-dumpable",
            Self::NoCoreFile => "no-core-file",
            Self::NoWriteExecute => "no-write-execute",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::LockLimit => "lock-limit",
            Self::NoHugePages => "no-huge-pages",
            Self::CoreFilter => "core-filter",
            Self::NoTracer => "no-tracer",
            Self::SealedPool => "sealed-pool",
        }
    }
}

impl fmt::Display for HardeningStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
