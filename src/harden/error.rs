//! Why a step was not taken.

use super::step::HardeningStep;
use crate::sys::NotHardened;
use core::fmt;
use std::io;

/// Why a step of [`harden_process`](crate::harden_process) was not taken. The process goes on as it
/// was in that respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HardenError {
    /// The system, or this version of its kernel, does not have what the step needs.
    NotSupported(HardeningStep),
    /// The system refuses it, with an error number: most often a sandbox does.
    Refused(HardeningStep, i32),
}

impl HardenError {
    pub(super) fn of(step: HardeningStep, why: NotHardened) -> Self {
        match why {
            NotHardened::NotSupported => Self::NotSupported(step),
            NotHardened::Refused(errno) => Self::Refused(step, errno.number()),
        }
    }

    /// The step.
    pub fn step(&self) -> HardeningStep {
        let (Self::NotSupported(step) | Self::Refused(step, _)) = self;
        *step
    }

    /// The operating system's error number; 0 if the system does not have what the step needs.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotSupported(_) => 0,
            Self::Refused(_, errno) => *errno,
        }
    }
}

impl fmt::Display for HardenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSupported(step) => write!(f, "{step}: not supported here"),
            Self::Refused(step, errno) => {
                write!(f, "{step}: refused: {}", io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl std::error::Error for HardenError {}
