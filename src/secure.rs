//! Secrets in locked memory as Rust types: [`SecureVec`], [`SecureString`], [`SecureBox`], and
//! [`SecureAllocator`] for containers of other crates.
//!
//! All types follow the same rules. They need no unsafe code to use. A program reaches the secret
//! only through `expose_secret` and `expose_secret_mut`, so a search for that word finds every
//! place where the secret may leave. No type is `Clone`, `Display` or serializable. `Debug` shows
//! no contents. Comparing two secrets of equal length takes the same time wherever they differ.
//! Bytes are wiped when they leave the value: when it is shortened, when it moves to a larger
//! buffer, and when it is dropped.
//!
//! The process-wide pool holds all of them; a block too large for an arena gets a mapping of its
//! own, see [`SecureAllocator`]. The pool's statistics tell whether its memory is locked, and the
//! pool's callback decides what happens if it cannot be.

mod allocator;
mod boxed;
mod error;
#[cfg(unix)]
mod prompt;
mod string;
mod vec;

pub use allocator::SecureAllocator;
pub use boxed::SecureBox;
pub use error::{NotUtf8, OutOfLockedMemory, ReadSecretError};
pub use string::SecureString;
pub use vec::SecureVec;
