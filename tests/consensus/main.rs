//! Bitcoin's consensus encoding through `SerializeData`, for every type that rust-bitcoin encodes.
//!
//! - `samples`: values of each type, real transactions and blocks among them
//! - `round_trips`: values come back the same, and are encoded byte for byte as by rust-bitcoin's
//!   own functions
//! - `malformed`: bytes that are not an encoding are refused with a typed error, and without large
//!   allocations
//!
//! The heap of this program counts allocations for `malformed`.

#![cfg(feature = "consensus")]

mod heap;
mod malformed;
#[path = "../common/random.rs"]
mod random;
mod round_trips;
mod samples;
