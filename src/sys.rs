//! The operating system: the contract with it, and the systems that keep the contract.
//!
//! This module and the files below it are the only ones with system calls, with `libc` and with
//! `cfg`s that ask which system there is. (The prompt of `secure` and the module `events` are about
//! one system's terminal and one library's objects, and call them themselves.) It depends on no
//! other module.
//!
//! # The contract
//! Five traits say what the rest of the library needs. Each function is described once, at the
//! trait.
//!
//! | trait | |
//! |---|---|
//! | [`Memory`] | reserving, mapping, protecting, locking and unmapping pages; what core dumps and children see of them |
//! | [`Limits`] | how much a process may lock, and how many addresses it may have |
//! | [`Threads`] | which thread this is; waiting, waking, and the memory barrier of all threads |
//! | [`Process`] | which process this is; forks, exit, symbols of the program |
//! | [`Hardening`] | what the process gives up for good |
//!
//! Two macros go with them: [`at_load`] and [`at_exit`] name functions that run when the library is
//! loaded and when the process exits.
//!
//! What holds for all of it:
//! - Lengths are in bytes. Where a function takes an address and a length, both are multiples of
//!   the page size, and the length is not 0.
//! - A function that takes memory which the caller must own is `unsafe`.
//! - An error is an [`Errno`], the system's own number. What the system does not have at all is
//!   told apart from what it refuses, where that makes a difference to the caller.
//! - No function takes a lock or allocates, except [`Memory::has_huge_pages`]. None is a
//!   cancellation point (`pthread_cancel`), except [`Process::flush_streams`] and
//!   [`Process::is_alone`], which run at exit.
//! - Any thread may call any function at any time. Each costs one or a few system calls, unless its
//!   description says otherwise.
//!
//! # Systems
//! `unix` keeps the contract for all Unix systems, with the calls in `posix`. Linux has more to
//! offer than the others, and that is in `linux`; `other_unix` says what the others have instead,
//! which is little. `remedy` has their advice to administrators. `windows` keeps the contract for
//! Windows. `stack_switch` calls a function on another stack. `thread_word` and `stay_loaded` are
//! about the dynamic linker. A further system is a file beside `unix` and `windows` that implements
//! the five traits.

mod errno;
mod hardening;
mod hooks;
mod limits;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
mod memory;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
mod other_unix;
#[cfg(unix)]
mod posix;
mod process;
#[cfg(unix)]
mod remedy;
mod stack_switch;
#[cfg(unix)]
mod stay_loaded;
mod thread_word;
mod threads;
#[cfg(unix)]
mod unix;

#[cfg(windows)]
mod windows;

#[cfg(not(any(unix, windows)))]
compile_error!("bitcoin-support does not know this operating system yet: see src/sys.rs");

pub(crate) use errno::Errno;
pub(crate) use hardening::{Hardening, NotHardened};
pub(crate) use hooks::{at_exit, at_load};
pub(crate) use limits::Limits;
pub(crate) use memory::{LockRefusal, Memory, NoSecretMemory, PageAccess};
pub(crate) use process::Process;
pub(crate) use stack_switch::{CAN_SWITCH_STACKS, NotedStack, call_on_stack};
pub(crate) use threads::Threads;
#[cfg(unix)]
pub(crate) use unix::Unix as System;
#[cfg(windows)]
pub(crate) use windows::Windows as System;
