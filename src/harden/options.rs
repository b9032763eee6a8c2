//! The steps that a program chooses.

use super::step::HardeningStep;

/// The steps that [`harden_process`](super::harden_process) is to take. None by default.
///
/// ```
/// use bitcoin_support::{HardenOptions, HardeningStep};
///
/// let options = HardenOptions::new().step(HardeningStep::NoCoreFile).step(HardeningStep::LockLimit);
/// assert!(options.has(HardeningStep::NoCoreFile) && !options.has(HardeningStep::NotDumpable));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct HardenOptions {
    /// By the step's number.
    chosen: [bool; HardeningStep::COUNT],
}

impl HardenOptions {
    /// No step.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same and this step.
    pub fn step(mut self, step: HardeningStep) -> Self {
        self.chosen[step as usize] = true;
        self
    }

    /// Whether the step is chosen.
    pub fn has(&self, step: HardeningStep) -> bool {
        self.chosen[step as usize]
    }
}

impl Extend<HardeningStep> for HardenOptions {
    fn extend<I: IntoIterator<Item = HardeningStep>>(&mut self, steps: I) {
        steps.into_iter().for_each(|step| self.chosen[step as usize] = true);
    }
}

impl FromIterator<HardeningStep> for HardenOptions {
    fn from_iter<I: IntoIterator<Item = HardeningStep>>(steps: I) -> Self {
        let mut options = Self::new();
        options.extend(steps);
        options
    }
}
