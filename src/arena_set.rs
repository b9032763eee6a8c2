//! Arenas on pages: as many as it takes, and one place for what happens when memory cannot be
//! locked.
//!
//! An [`ArenaSet`] is what a mutex guards, in a pool that a program makes itself as in the
//! process-wide one. It knows no threads and calls no code of others.
//!
//! - `growth` decides where memory for a chunk comes from, and what happens when the system refuses
//!   to lock it. Its first lines list the attempts in their order.
//! - `arenas` keeps the arenas that there are, allocates and frees in them, and gives empty ones
//!   back.
//! - `layout` says where in memory the next arena goes; `address_map` finds the arena of an
//!   address, and `first_fit` the first arena that has room.
//! - `consent` asks the program's callback about unlocked memory, while no mutex is held.
//! - `stats` has the figures, `lock_refusal` what is remembered of the last refused lock,
//!   `chunk_list` a list of all chunks for a walk, and `interrupted` the answer to a signal handler
//!   that has interrupted the pool.

mod address_map;
mod arenas;
mod chunk_list;
mod consent;
mod first_fit;
mod growth;
mod interrupted;
mod layout;
mod lock_refusal;
mod stats;

pub(crate) use arenas::{ArenaSet, Tier, Verdict};
pub(crate) use chunk_list::ChunkList;
pub use consent::LockingFailed;
pub(crate) use consent::{ask, set_callee};
pub(crate) use interrupted::refuse_interrupted;
pub(crate) use layout::{ARENA_ALIGN, ARENA_SIZE, KEPT_FREE, MemoryOptions, Source};
pub use stats::PoolStats;
