//! Secrets in locked memory as Rust types: [`SecureVec`], [`SecureString`], [`SecureBox`], and
//! [`SecureAllocator`] for containers of other crates.
//!
//! All types follow the same rules. They take values of any type, and need no unsafe code to use. A
//! program reaches the secret through `expose_secret` and `expose_secret_mut`, and, where functions
//! of other crates need it, through `AsRef`, iteration and addresses of a [`SecureVec`]. What they
//! do not do is listed, with the reasons, in the crate's documentation under "What secrets do not
//! do". `Debug` shows no contents. Comparing two secrets of equal length takes the same time
//! wherever they differ. Bytes are wiped when they leave the value: when it is shortened, when it
//! moves to a larger buffer, and when it is dropped, after its destructor.
//!
//! The process-wide pool holds secrets unless they are given another [`LockedAllocator`]. A block
//! that is too large for an arena gets a separate mapping, see [`SecureAllocator`]. The pool's
//! statistics and [`SecureBox::is_locked`] tell whether memory is locked, and the pool's callback
//! or [`LockedOnly`] decides what happens if it cannot be.

mod allocator;
mod bounds;
mod boxed;
#[cfg(any(feature = "base64", feature = "hex"))]
mod encoding;
#[cfg(unix)]
mod environment;
mod error;
mod interop;
#[cfg(unix)]
mod prompt;
mod read;
mod string;
mod vec;

pub use allocator::{LockedAllocator, LockedOnly, SecureAllocator};
pub use bounds::{Bytes, Zeroed};
pub use boxed::{SecureArray, SecureBox};
#[cfg(any(feature = "base64", feature = "hex"))]
pub use encoding::DecodeError;
pub use error::{Cause, NotUtf8, OutOfLockedMemory, ReadSecretError, WrongLength};
pub use string::SecureString;
pub use vec::{SecureIntoIter, SecureVec};
