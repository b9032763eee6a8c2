//! The contract about hardening: what a process can give up for good, so that less can be done to
//! it.

use super::errno::Errno;
use core::ptr::NonNull;

/// Why the process has not been hardened in one respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotHardened {
    /// The system, or this version of its kernel, has no such thing.
    NotSupported,
    /// The system has it, and refuses it to this process.
    Refused(Errno),
}

/// What the process gives up. No function here can be undone by another one. Each may be called
/// more than once.
pub(crate) trait Hardening {
    /// No core dump of the process is made, and no process without privileges may trace it. `exec`
    /// undoes it.
    fn forbid_dumps_and_tracers() -> Result<(), NotHardened>;

    /// The limit on the size of core files is 0, for the process and for all that it starts.
    fn forbid_core_files() -> Result<(), NotHardened>;

    /// No memory becomes executable that has been writable, in the process and in all that it
    /// starts.
    fn forbid_write_and_execute() -> Result<(), NotHardened>;

    /// No program that the calling thread executes gets more privileges than the thread has; nor
    /// one that threads and processes execute which it starts from then on.
    fn forbid_new_privileges() -> Result<(), NotHardened>;

    /// The kernel makes no memory of huge pages by itself, in the process and in all that it
    /// starts.
    fn forbid_huge_pages() -> Result<(), NotHardened>;

    /// A core dump of the process, or of one that it starts, has no memory that was written to.
    fn empty_core_dumps() -> Result<(), NotHardened>;

    /// Takes back what the process has allowed: that a process which it named may trace it.
    fn forbid_named_tracer() -> Result<(), NotHardened>;

    /// From now on the kernel refuses to unmap the pages, to map others in their place, and to
    /// change the access to them. Locking, unlocking, reading and writing go on.
    ///
    /// # Safety
    /// The pages must be mapped, and the caller must own them for the life of the process. Nothing
    /// of [`Memory`](super::memory::Memory) that changes their access or unmaps them may be called
    /// on them any more, in this process or in its children.
    unsafe fn seal(addr: NonNull<u8>, len: usize) -> Result<(), NotHardened>;

    /// Whether [`seal`](Self::seal) can be done at all.
    fn can_seal() -> Result<(), NotHardened>;
}
