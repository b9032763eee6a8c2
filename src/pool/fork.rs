//! What happens to the pools when the process forks: the fork waits until no other thread is at work on any,
//! so that the child, in which there is one thread, finds each in order.
//!
//! Private to `pool`. What a child's memory holds and whether it is locked is seen to by `pages`, before
//! this; here the bookkeeping follows. Pools of a program's own catch up when they are next used.

use super::{own, process::fork as process};
use crate::fork::{self, Participant};
use crate::pages;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Release};

/// From the first call on, forks are seen to. Called before a pool's mutex is taken.
#[inline]
pub(super) fn participate() {
    // Noted when it is done: whoever finds the note may count on it.
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if !IS_DONE.load(Acquire) {
        register();
        IS_DONE.store(true, Release);
    }
}

#[cold]
fn register() {
    static POOLS: Participant = Participant { prepare, child, done: process::done };
    // In the child, memory comes before the pools.
    pages::at_fork_of_process();
    fork::register(&POOLS);
}

fn prepare() {
    own::wait_until_free();
    process::prepare();
}

fn child() {
    own::after_fork();
    process::child();
}
