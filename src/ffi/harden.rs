//! The process hardened.

use super::status::{
    BITCOIN_SUPPORT_BAD_OPTION, BITCOIN_SUPPORT_BUFFER_TOO_SMALL, BITCOIN_SUPPORT_NOT_AVAILABLE,
    BITCOIN_SUPPORT_NULL_ARGUMENT, BITCOIN_SUPPORT_OK, bitcoin_support_status,
};
use crate::harden::{HardenError, HardenOptions, HardeningStep, harden_process};
use core::ffi::{CStr, c_char, c_int};

/// Things that a process can give up, or have its kernel do, for good: BITCOIN_SUPPORT_HARDEN_
/// values, joined by |. Later versions have more. In what follows, "children" are processes that
/// are forked afterwards, and "programs" is what the process executes afterwards.
pub type bitcoin_support_harden_steps = u64;

/// "not-dumpable": no core dump of the process is made, by a core file or by a collector, and no
/// process without privileges may trace it or read its memory (ptrace, /proc/PID/mem), also if it
/// has the same user. Linux: PR_SET_DUMPABLE; FreeBSD: PROC_TRACE_CTL. Children have it too,
/// programs do not; a change of user takes it off as well.
pub const BITCOIN_SUPPORT_HARDEN_NOT_DUMPABLE: u64 = 1 << 0;
/// "no-core-file": the limit on the size of core files is 0 (RLIMIT_CORE). Every Unix system.
/// Children and programs have it too. Where core dumps are piped to a program, the kernel does not
/// look at the limit (systemd-coredump does).
pub const BITCOIN_SUPPORT_HARDEN_NO_CORE_FILE: u64 = 1 << 1;
/// "no-write-execute": memory that has been writable does not become executable (PR_SET_MDWE, Linux
/// 6.3). Children and programs have it too. Just-in-time compilers do not work then.
pub const BITCOIN_SUPPORT_HARDEN_NO_WRITE_EXECUTE: u64 = 1 << 2;
/// "no-new-privileges": no program gets more privileges than the thread that executes it
/// (PR_SET_NO_NEW_PRIVS, Linux 3.5). It holds for the calling thread and for what that starts from
/// then on. So call it before there are other threads.
pub const BITCOIN_SUPPORT_HARDEN_NO_NEW_PRIVILEGES: u64 = 1 << 3;
/// "lock-limit": the limit on locked memory is raised, as bitcoin_support_raise_lock_limit does.
/// Every system.
pub const BITCOIN_SUPPORT_HARDEN_LOCK_LIMIT: u64 = 1 << 4;
/// "no-huge-pages": the kernel makes no memory of huge pages by itself (PR_SET_THP_DISABLE, Linux
/// 3.15). The library's own memory is without them anyway. Children and programs have it too.
pub const BITCOIN_SUPPORT_HARDEN_NO_HUGE_PAGES: u64 = 1 << 5;
/// "core-filter": a core dump has registers and the first page of each program and library, and no
/// memory that was written to: no stack, no heap (/proc/self/coredump_filter, Linux). Children and
/// programs have it too. For programs whose crashes are to leave something behind.
pub const BITCOIN_SUPPORT_HARDEN_CORE_FILTER: u64 = 1 << 6;
/// "no-tracer": takes back that the process has named one that may trace it (PR_SET_PTRACER, Linux
/// with Yama).
pub const BITCOIN_SUPPORT_HARDEN_NO_TRACER: u64 = 1 << 7;
/// "sealed-pool": the kernel refuses to unmap, replace or change the access to the tables and the
/// arenas of the process-wide pool and to the guard pages around those (mseal, Linux 6.10, in
/// 64-bit kernels), also those that are mapped later. From then on the pool gives no memory back to
/// the system: what it has locked is not there for large secrets and other pools, also when it is
/// free. BITCOIN_SUPPORT_EXIT_INACCESSIBLE leaves what is sealed to the kernel. Samples,
/// buffers larger than an arena, and other pools are not sealed. Children have it too.
pub const BITCOIN_SUPPORT_HARDEN_SEALED_POOL: u64 = 1 << 8;

/// What came of one step. This structure never grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bitcoin_support_harden_result {
    /// The step: one BITCOIN_SUPPORT_HARDEN_ value.
    pub step: bitcoin_support_harden_steps,
    /// BITCOIN_SUPPORT_OK, or _NOT_AVAILABLE: the process is as it was in this respect, but for
    /// what BITCOIN_SUPPORT_HARDEN_SEALED_POOL has sealed before it was refused.
    pub status: bitcoin_support_status,
    /// The error number with which the system refused the step. 0 if it was taken, or if the
    /// system, or this version of its kernel, does not have what the step needs.
    pub error: c_int,
}

const NAMED: [(u64, HardeningStep, &CStr); 9] = [
    (BITCOIN_SUPPORT_HARDEN_NOT_DUMPABLE, HardeningStep::NotDumpable, c"not-dumpable"),
    (BITCOIN_SUPPORT_HARDEN_NO_CORE_FILE, HardeningStep::NoCoreFile, c"no-core-file"),
    (BITCOIN_SUPPORT_HARDEN_NO_WRITE_EXECUTE, HardeningStep::NoWriteExecute, c"no-write-execute"),
    (
        BITCOIN_SUPPORT_HARDEN_NO_NEW_PRIVILEGES,
        HardeningStep::NoNewPrivileges,
        c"no-new-privileges",
    ),
    (BITCOIN_SUPPORT_HARDEN_LOCK_LIMIT, HardeningStep::LockLimit, c"lock-limit"),
    (BITCOIN_SUPPORT_HARDEN_NO_HUGE_PAGES, HardeningStep::NoHugePages, c"no-huge-pages"),
    (BITCOIN_SUPPORT_HARDEN_CORE_FILTER, HardeningStep::CoreFilter, c"core-filter"),
    (BITCOIN_SUPPORT_HARDEN_NO_TRACER, HardeningStep::NoTracer, c"no-tracer"),
    (BITCOIN_SUPPORT_HARDEN_SEALED_POOL, HardeningStep::SealedPool, c"sealed-pool"),
];

const _: () = assert!(NAMED.len() == HardeningStep::ALL.len());

/// Hardens the process: takes each of the steps, and writes the result of each, in the order of the
/// values from the lowest on. A step that the system does not have, or that a sandbox refuses, is
/// a result with BITCOIN_SUPPORT_NOT_AVAILABLE, and the others are taken all the same. No step can
/// be undone. No step is taken unasked.
///
/// Call it at the start of the program, before there are other threads. It may be called again,
/// with the same steps or others. `count` is the number of results that `results` has room for: at
/// least one for each step.
///
/// Out: `results[0]` and on, one for each step.
/// Returns: BITCOIN_SUPPORT_OK, when each step has a result. Otherwise nothing has been done:
/// _NULL_ARGUMENT, _BUFFER_TOO_SMALL or _BAD_OPTION (`steps` has a value that this version does not
/// know).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bitcoin_support_harden_process(
    steps: bitcoin_support_harden_steps,
    results: *mut bitcoin_support_harden_result,
    count: usize,
) -> bitcoin_support_status {
    let known = NAMED.iter().fold(0, |all, (value, ..)| all | value);
    if steps & !known != 0 {
        return BITCOIN_SUPPORT_BAD_OPTION;
    }
    if results.is_null() {
        return BITCOIN_SUPPORT_NULL_ARGUMENT;
    }
    if count < steps.count_ones() as usize {
        return BITCOIN_SUPPORT_BUFFER_TOO_SMALL;
    }
    let chosen = || NAMED.iter().filter(|(value, ..)| steps & value != 0);
    let hardened = harden_process(chosen().map(|(_, step, _)| *step).collect::<HardenOptions>());
    for (place, &(value, step, _)) in chosen().enumerate() {
        let error = hardened.of(step).and_then(Result::err);
        let result = bitcoin_support_harden_result {
            step: value,
            status: if error.is_none() {
                BITCOIN_SUPPORT_OK
            } else {
                BITCOIN_SUPPORT_NOT_AVAILABLE
            },
            error: error.as_ref().map_or(0, HardenError::errno),
        };
        // SAFETY: the caller promises room for `count` results, and there are at most so many
        // steps, as was found above.
        unsafe { results.add(place).write(result) };
    }
    BITCOIN_SUPPORT_OK
}

/// The name of a step, one BITCOIN_SUPPORT_HARDEN_ value: "not-dumpable". "unknown" for any other
/// number. Never NULL. The text must not be freed.
/// cbindgen:postfix=BITCOIN_SUPPORT_NEVER_NULL
#[unsafe(no_mangle)]
pub extern "C" fn bitcoin_support_harden_step_name(
    step: bitcoin_support_harden_steps,
) -> *const c_char {
    let named = NAMED.iter().find(|(value, ..)| *value == step);
    named.map_or(c"unknown", |(_, _, name)| name).as_ptr()
}
