//! Bitcoin's consensus encoding through `SerializeData`, for every type that rust-bitcoin encodes.
//!
//! - `samples`: values of each type, real transactions and blocks among them
//! - `round_trips`: they come back the same, byte for byte as rust-bitcoin's own functions write
//!   them
//! - `malformed`: what is no encoding is refused, with a typed error, without allocating much
//!
//! The heap of this program counts what it gives out, for the last.

#![cfg(feature = "consensus")]

mod heap;
mod malformed;
#[path = "../common/random.rs"]
mod random;
mod round_trips;
mod samples;
