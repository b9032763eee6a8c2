//! Forks of the process: the handlers that the C library calls, and locks that no child finds held.
//!
//! It depends on `sync` and `sys`. What has to happen at a fork in other modules is registered here
//! as a [`Participant`]: a list is needed besides the guard, because a fork also has to pause the
//! heaps of all threads, which take no lock, and because a child has to lock its memory again.
//!
//! # What holds
//! - The handlers are registered with the C library when this library is loaded. So handlers of
//!   other libraries that were registered later run while everything is as usual.
//! - From the beginning of `prepare` to the end of `parent` or `child`, one thread forks. Other
//!   threads that want a [`Mutex`] wait, and the fork begins when no other thread holds one.
//!   Threads that wait hold nothing, so that a fork waits no longer than for the work that is under
//!   way.
//! - The thread that forks uses everything as usual meanwhile: handlers of other libraries that
//!   were registered earlier may run between ours. In the child, the first of them to use a
//!   [`Mutex`] finds that the child has been put in order.
//! - No [`Mutex`] is held, and no gate of a heap is closed, while code of the program runs:
//!   callbacks, page allocators, visitors. Such code may use everything, and fork. It is kept in a
//!   [`Callee`], which no fork waits for. A child whose parent had another thread in such code does
//!   not call it.
//! - Nothing that runs under a [`Mutex`] is a cancellation point.
//!
//! A child made by `vfork`, `posix_spawn` or the bare system call is not told of anything.
//!
//! # Parts
//! `guard` is the word that holds other threads back, and the lock that heeds it. `handlers` has
//! the participants and what the C library calls. `mutex` and `callee` are the two locks of the
//! library.

mod callee;
mod guard;
mod handlers;
mod mutex;

pub(crate) use callee::{Callee, NotCallable};
pub(crate) use handlers::{Participant, generation, is_under_way, notice_child, this_process};
pub(crate) use mutex::{Interrupted, Mutex, MutexGuard};
