//! Arenas: each divides a region of memory, which it never touches, into chunks.
//!
//! An arena is arithmetic on addresses. Its bookkeeping lies outside the region, so that it works
//! as well on a region that is not mapped. `arena_set` places arenas on locked pages.
//!
//! # Placement
//! Chunk for chunk that of Bitcoin Core's arena: the smallest free chunk that fits, the oldest
//! among equals, its last bytes. The rest of it, and a chunk that is freed, count as newest.
//! Neighbours merge at once. Core does this with a multimap and three hash maps. Here two indexes
//! of constant time do: [`ArenaChunkToSizeMap`] finds chunks by place,
//! [`ArenaSizeToChunkSortedMap`] by size.

#![forbid(unsafe_code)]

mod best_fit;
mod bit_tree;
mod chunk;
mod chunk_to_size;
mod error;
mod size_to_chunk;

pub use best_fit::{Arena, ArenaStats};
pub use chunk::Chunk;
pub use chunk_to_size::ArenaChunkToSizeMap;
pub use error::{ArenaError, FreeError, IndexError, OutOfMemory};
pub use size_to_chunk::{ArenaSizeToChunkSortedMap, ArenaSizeToChunkSortedMapIterator};
