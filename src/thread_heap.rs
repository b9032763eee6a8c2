//! The process-wide pool: a heap of slabs for each thread, over arenas that all threads share.
//!
//! # Heaps, slabs and arenas
//! Where a thread has many chunks of a size, up to [`size_class::MAX_SIZE`] bytes, they are slots
//! of slabs, and a slab belongs to one heap. Heaps 1 and up belong to threads, or have belonged to
//! threads that have ended. Heap 0 is the abandoned heap: it holds slabs that such threads have
//! left. (`abandoned` says which.) The arenas, and the chunks that are no slots, belong to
//! [`central::Central`], behind a mutex.
//!
//! # The order of attempts
//! An allocation takes the first of these that has room:
//! 1. what the thread's heap has of its size class, without the mutex: the cache of free slots, the
//!    exact cache, the slabs;
//! 2. under the mutex: a slab that an ended thread has left, or a new slab, if the heap should have
//!    one;
//! 3. a chunk of its exact size: `arena_set::growth` has the attempts in their order.
//!
//! # Who may use a heap
//! - Its thread, once it has entered the heap's gate: without any lock and without atomic
//!   read-modify-write operations.
//! - The holder of the mutex, if no thread has the heap.
//! - The holder of the mutex, if it has paused the other threads: closed their gates and waited
//!   until they had left their heaps. `gate` says how that works without a cost to the threads.
//!   While others are paused the statistics are exact, slabs can change hands, and the process can
//!   fork.
//!
//! # Remote frees
//! A chunk that is freed by another thread than its slab's owner is claimed with an atomic
//! operation on its entry in the table of chunks, wiped, and returned to the owner. The first time
//! this happens to a slab, it is marked as shared; if the owner has a thread, all threads are
//! paused for that. From then on the owner, too, claims with an atomic operation. An exact chunk
//! has no owner: it goes to the exact cache of the thread that frees it.
//!
//! # Systems without a barrier
//! Where the system has no `membarrier`, no thread gets a heap, and all chunks are exact. Where it
//! refuses that call later on (a sandbox that is set up late), all heaps are closed for good: from
//! then on the mutex guards them.
//!
//! # Code of others
//! The callback that decides about unlocked memory runs while the mutex is free. An allocation that
//! needs consent fails, leaves a question in the arena set, and is tried again when the callback
//! has agreed.
//!
//! # Samples
//! When one in N allocations is to be sampled, heaps count theirs (`sampler`), and the samples are
//! made under the mutex (`guarded`).

mod abandoned;
mod address_report;
mod alloc;
mod cache;
mod central;
mod child;
mod chunk_table;
mod control;
mod current_heap;
mod exact_cache;
mod free;
mod gate;
mod guarded;
mod heap;
mod lock;
mod pause;
mod registry;
mod remote_batch;
mod remote_free;
mod sampler;
mod search;
mod size_class;
mod slab;
mod slab_lists;
mod supply;
mod tally;
mod thread;

pub use address_report::AddressReport;
pub(crate) use alloc::alloc;
pub(crate) use control::{
    configure, give_back, is_in_use, locked_pages, sample, seal, set_locking_failed, stats, walk,
};
pub(crate) use free::{free, free_local};
pub(crate) use guarded::describe_address;
