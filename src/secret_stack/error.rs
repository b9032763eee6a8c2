//! Why a function was not called on a secret stack.

use crate::pages::PagesError;
use core::fmt;

/// Why there is no secret stack. The function has not been called.
#[derive(Debug)]
#[non_exhaustive]
pub enum SecretStackError {
    /// The library cannot switch stacks here, or does not know the registers of this processor:
    /// it can on Linux and other Unix systems (not OpenBSD) on x86-64 and on 64-bit ARM.
    NotAvailable,
    /// There is no memory for it, or none that is locked and one was asked for.
    Pages(PagesError),
}

impl From<PagesError> for SecretStackError {
    fn from(error: PagesError) -> Self {
        Self::Pages(error)
    }
}

impl fmt::Display for SecretStackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAvailable => f.write_str("no secret stack on this system and processor"),
            Self::Pages(error) => write!(f, "no secret stack: {error}"),
        }
    }
}

impl std::error::Error for SecretStackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotAvailable => None,
            Self::Pages(error) => Some(error),
        }
    }
}
