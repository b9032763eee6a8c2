//! What becomes of the secrets that are left in locked memory when the process exits.
//!
//! It is the last thing that happens: the dynamic linker calls [`at_exit`] when all exit handlers,
//! and all destructors of objects with static storage, have run, so that they find their secrets as
//! they were.
//!
//! A thread that goes on while the process exits must not find zeros where its key was. So nothing
//! is wiped unless this thread is known to be the only one. Else the memory is left to the kernel,
//! which zeroes the pages of a process before another process gets them.

use super::registry;
use crate::sys::{self, Process, System};
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicI32, AtomicU8};

/// What becomes of the secrets that are left in locked memory when the process exits, by a return
/// from `main` or by `exit`: of everything in pools over the system's own pages, the process-wide
/// one included, in large secrets, and in [`LockedPages`](super::LockedPages).
///
/// A process that ends by `_exit`, `abort` or a signal is not concerned: the kernel takes its
/// memory as it is, and zeroes it before another process gets it.
///
/// ```
/// use bitcoin_support::{ExitPolicy, set_exit_policy};
///
/// set_exit_policy(ExitPolicy::NEVER);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitPolicy(u8);

impl ExitPolicy {
    /// The default: wiped if the thread that exits is the only one that uses this memory, and else
    /// left to the kernel, so that no thread ever finds zeros where its secret was. The wipe is the
    /// last thing that the process does, after exit handlers and destructors of objects with static
    /// storage. (A signal handler that interrupts the process even later does find zeros.)
    ///
    /// Whether there are others is asked of Linux, by a call (`unshare`) that threads, and other
    /// processes that share the memory, make fail. Where it is refused, as in a sandbox, and on
    /// other Unix systems, nothing is wiped. Nor is it in a process whose main thread has ended
    /// before it (`pthread_exit`). Windows ends the other threads first, so there everything is
    /// wiped.
    pub const WIPE_WHEN_ALONE: Self = Self(0);

    /// Left to the kernel, always.
    pub const NEVER: Self = Self(1);

    const INACCESSIBLE: Self = Self(2);

    /// Inaccessible at once, with other threads or without: the contents are given back to the
    /// kernel, and a thread that goes on and touches a secret ends the process (SIGSEGV). What
    /// Bitcoin Core's pool comes to, which is unmapped at exit; but after exit handlers and
    /// destructors, here.
    ///
    /// # Safety
    /// Values in locked memory become invalid at exit, also those that safe code holds references
    /// to. A thread that goes on then must be one that may end the process at any moment, by an
    /// access that faults.
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

/// The process that the memory belongs to, by its number. A child made by `vfork` has the same
/// memory and another number.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// Chooses what becomes of the secrets that are left in locked memory when the process exits. The
/// last call counts. Costs nothing, and may be called anywhere.
pub fn set_exit_policy(policy: ExitPolicy) {
    POLICY.store(policy.0, Relaxed);
}

sys::at_exit! {
    /// Does what the policy says, when all code of the program has run.
    static AT_EXIT = at_exit;
}

/// Called before a mapping is made: the memory is this process's, unless it has another's by now.
pub(super) fn note_process() {
    // Refers to the static, so that no linker leaves it out.
    core::hint::black_box(&AT_EXIT);
    if PROCESS.load(Relaxed) == 0 {
        let _ = PROCESS.compare_exchange(0, System::process_number(), Relaxed, Relaxed);
    }
}

/// Called in a child process after `fork`, which has its own memory.
pub(super) fn note_child() {
    PROCESS.store(System::process_number(), Relaxed);
}

extern "C" fn at_exit() {
    let process = System::process_number();
    // Where a sandbox refuses the number it is below 0.
    if process <= 0 || PROCESS.load(Relaxed) != process || !registry::is_used() {
        return;
    }
    match ExitPolicy(POLICY.load(Relaxed)) {
        ExitPolicy::WIPE_WHEN_ALONE if System::is_alone() => {
            // What a stream has in a buffer in locked memory is still to be written.
            System::flush_streams();
            // A stream of the program's own may have run anything, and started a thread.
            if System::is_alone() {
                // SAFETY: this thread alone uses the memory, and nothing of the program runs after
                // this.
                unsafe { registry::wipe_everything() };
            }
        }
        // SAFETY: the caller that made this policy has promised that no thread needs the memory any
        // more.
        ExitPolicy::INACCESSIBLE => unsafe { registry::withdraw_everything() },
        _ => {}
    }
}
