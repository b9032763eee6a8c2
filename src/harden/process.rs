//! Takes the steps.

use super::error::HardenError;
use super::hardened::Hardened;
use super::options::HardenOptions;
use super::step::HardeningStep;
use crate::sys::{Hardening, Limits, NotHardened, System};
use crate::thread_heap;

/// Hardens the process: takes each step that the options name, and returns the result of each. A
/// step that the system does not have, or that a sandbox refuses, is an error by name, and the
/// others are taken all the same. Nothing is undone, and no step is taken unasked.
///
/// Call it at the start of the program, before there are other threads:
/// [`NoNewPrivileges`](HardeningStep::NoNewPrivileges) holds for the calling thread and what that
/// starts. It may be called again, with the same steps or others. It takes one to three system
/// calls for each step; [`SealedPool`](HardeningStep::SealedPool) takes the pool's mutex and one
/// call for each arena.
///
/// ```
/// use bitcoin_support::{HardenOptions, HardeningStep, harden_process};
///
/// let options = HardenOptions::new()
///     .step(HardeningStep::NotDumpable)
///     .step(HardeningStep::NoCoreFile)
///     .step(HardeningStep::NoNewPrivileges);
/// for error in harden_process(options).errors() {
///     eprintln!("{error}"); // "not-dumpable: not supported here"
/// }
/// ```
pub fn harden_process(options: HardenOptions) -> Hardened {
    let mut hardened = Hardened::NOTHING;
    for &step in HardeningStep::ALL {
        if options.has(step) {
            hardened.note(step, take(step).map_err(|why| HardenError::of(step, why)));
        }
    }
    hardened
}

fn take(step: HardeningStep) -> Result<(), NotHardened> {
    match step {
        HardeningStep::NotDumpable => System::forbid_dumps_and_tracers(),
        HardeningStep::NoCoreFile => System::forbid_core_files(),
        HardeningStep::NoWriteExecute => System::forbid_write_and_execute(),
        HardeningStep::NoNewPrivileges => System::forbid_new_privileges(),
        HardeningStep::LockLimit => {
            System::raise_lock_limit().map(drop).map_err(NotHardened::Refused)
        }
        HardeningStep::NoHugePages => System::forbid_huge_pages(),
        HardeningStep::CoreFilter => System::empty_core_dumps(),
        HardeningStep::NoTracer => System::forbid_named_tracer(),
        HardeningStep::SealedPool => thread_heap::seal(),
    }
}
