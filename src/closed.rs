//! Secrets that cannot be accessed while they are not in use: [`ClosedBox`].
//!
//! `boxed` is the owner of such a secret, and `guard` has what lets it be used.
//! `by_address` is the form for C. `place` maps the pages, which `pages` opens and closes.

mod boxed;
mod by_address;
mod error;
mod guard;
mod place;

pub use boxed::ClosedBox;
pub(crate) use by_address::ClosedBytes;
pub use error::ClosedError;
pub use guard::{ClosedRef, ClosedRefMut};
