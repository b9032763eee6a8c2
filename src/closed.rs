//! Secrets that cannot be accessed while they are not in use: [`ClosedBox`].
//!
//! `boxed` is the owner of such a secret, and `guard` has what lets it be used. `pages` opens and
//! closes the pages.

mod boxed;
mod error;
mod guard;

pub use boxed::ClosedBox;
pub use error::ClosedError;
pub use guard::{ClosedRef, ClosedRefMut};
