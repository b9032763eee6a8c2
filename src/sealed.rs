//! Secrets at rest: [`SealedBox`] and [`SealedVec`] keep a secret encrypted on the ordinary heap
//! while it is not in use. Only the key lies in locked memory, so that the locked memory does not
//! grow with the number of secrets.
//!
//! `keys` has the process's sealing keys: how they are made, rotated and found wiped. `cipher`
//! derives the key of one value from them, and encrypts and decrypts with it. `value` is a sealed
//! sequence of bytes, under the types `boxed` and `vec`; `opened` is the guard that seals again.
//! `buffer` is the form for C, in a buffer of the caller.

mod boxed;
mod buffer;
mod cipher;
mod error;
mod keys;
mod opened;
mod value;
mod vec;

pub use boxed::SealedBox;
pub(crate) use buffer::{OVERHEAD, open_buffer, seal_buffer};
pub use error::SealedError;
pub use keys::rotate_sealing_key;
pub use opened::OpenedMut;
pub use vec::SealedVec;
