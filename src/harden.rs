//! The process hardened: what it gives up for good, so that less can be done to it.
//!
//! [`harden_process`] takes [`HardenOptions`], which name the [`HardeningStep`]s that the program
//! chooses, and returns [`Hardened`], which has the result of each. What is needed of the operating
//! system is in [`sys`](crate::sys).

mod error;
mod hardened;
mod options;
mod process;
mod step;

pub use error::HardenError;
pub use hardened::Hardened;
pub use options::HardenOptions;
pub use process::harden_process;
pub use step::HardeningStep;
