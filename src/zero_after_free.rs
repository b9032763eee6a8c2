//! Memory on the ordinary heap that is wiped before it is freed: [`ZeroAfterFreeAllocator`] for
//! containers, [`SerializeData`] for serialized data.
//!
//! It is for data that is not secret enough for locked memory, or too large. Such data can reach
//! swap and core dumps while it is in use, but nothing of it stays in memory afterwards.
//!
//! [`ToSerializeData`] and [`FromSerializeData`] write objects into `SerializeData` and read them,
//! in Bitcoin's consensus encoding. rust-bitcoin's crates know the encoding of each type; the files
//! here choose where the bytes go, and refuse input that is not one complete object.

mod allocator;
#[cfg(feature = "consensus")]
mod check_lengths;
#[cfg(feature = "consensus")]
mod consensus;
#[cfg(feature = "consensus-encoding")]
mod consensus_encoding;
mod consensus_error;
mod from_serialize_data;
mod serialize_data;
mod to_serialize_data;

pub use allocator::ZeroAfterFreeAllocator;
#[cfg(feature = "consensus-encoding")]
pub use consensus_encoding::ConsensusEncoding;
pub use consensus_error::ConsensusError;
pub use from_serialize_data::FromSerializeData;
pub use serialize_data::SerializeData;
pub use to_serialize_data::ToSerializeData;
