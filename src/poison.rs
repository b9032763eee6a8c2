//! Tells AddressSanitizer and valgrind which bytes are a chunk's. To them a pool's memory is one
//! large object otherwise.
//!
//! Memory of the library's own is poisoned when it becomes an arena. A chunk is unpoisoned when it
//! is allocated, as far as it was asked for, and poisoned again when it has been wiped; for the
//! wipe it is unpoisoned as a whole. In the process-wide pool, granules that stay poisoned lie
//! between chunks. Where neither of the features `asan` and `valgrind` is on, the functions here do
//! nothing. In no case do they change the memory itself.

#[cfg(feature = "asan")]
mod asan;
mod regions;
#[cfg(feature = "valgrind")]
mod valgrind;

pub(crate) use regions::{is_active, poison, unpoison};
