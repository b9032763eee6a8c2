//! The result of each step.

use super::error::HardenError;
use super::step::HardeningStep;

/// What came of each step that [`harden_process`](super::harden_process) was to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Hardened {
    /// By the step's number; `None` where the step was not chosen.
    results: [Option<Result<(), HardenError>>; HardeningStep::COUNT],
}

impl Hardened {
    pub(super) const NOTHING: Self = Self { results: [None; HardeningStep::COUNT] };

    pub(super) fn note(&mut self, step: HardeningStep, result: Result<(), HardenError>) {
        self.results[step as usize] = Some(result);
    }

    /// The result of a step; `None` if it was not chosen.
    pub fn of(&self, step: HardeningStep) -> Option<Result<(), HardenError>> {
        self.results[step as usize]
    }

    /// The steps that were chosen, each with its result, in the order of [`HardeningStep::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (HardeningStep, Result<(), HardenError>)> + '_ {
        HardeningStep::ALL.iter().filter_map(|&step| Some((step, self.of(step)?)))
    }

    /// Why steps were not taken, in the order of [`HardeningStep::ALL`].
    pub fn errors(&self) -> impl Iterator<Item = HardenError> + '_ {
        self.iter().filter_map(|(_, result)| result.err())
    }

    /// `Ok` if every chosen step was taken, and else the first error.
    ///
    /// # Errors
    /// The first of [`errors`](Self::errors).
    pub fn complete(&self) -> Result<(), HardenError> {
        self.errors().next().map_or(Ok(()), Err)
    }
}
