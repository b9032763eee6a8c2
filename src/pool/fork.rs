//! What happens to the pools when the process forks: the thread that forks holds all of them meanwhile, so
//! that the child, in which it is the only thread, finds each in order and none locked by somebody who is
//! not there.
//!
//! Private to `pool`. What a child's memory holds and whether it is locked is seen to by `pages`, before
//! this; here the bookkeeping follows.

use super::own::{self, OwnPool};
use super::process::fork as process;
use crate::pages;
use core::cell::UnsafeCell;
use std::sync::Once;

/// From the first call on, forks are seen to. Called before the mutex of any pool is taken for the first
/// time, so that no fork can come between. (Where the system has no room to note it, a child may find a
/// pool locked; there is nobody to tell.)
pub(super) fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        // Handlers in the child run in the order in which they were registered.
        pages::at_fork_of_process();
        // SAFETY: functions without arguments that stay loaded as long as this library.
        let _ = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    });
}

/// What the forking thread holds.
struct Fork(UnsafeCell<Option<(process::Held, own::Held)>>);

// SAFETY: used between `before` and `in_parent` or `in_child` alone, by the forking thread, which holds
// all pools then.
unsafe impl Sync for Fork {}

static FORK: Fork = Fork(UnsafeCell::new(None));

/// A pool that another thread has.
enum Contended {
    Process,
    Own(&'static OwnPool),
}

/// Holds all pools. A callback of one may be waiting for another one, whichever way round: so while this
/// waits for a pool it holds no other, and it holds several only if it need not wait.
fn hold_all() -> (process::Held, own::Held) {
    let mut contended = None;
    loop {
        let (process, one) = match contended {
            None => (process::try_hold(), None),
            Some(Contended::Process) => (Some(process::hold()), None),
            Some(Contended::Own(own)) => {
                own.hold();
                let process = process::try_hold();
                if process.is_none() {
                    own.release();
                }
                (process, Some(own))
            }
        };
        let Some(process) = process else {
            contended = Some(Contended::Process);
            continue;
        };
        match own::try_hold_all(one) {
            Ok(own) => return (process, own),
            Err(own) => contended = Some(Contended::Own(own)),
        }
    }
}

extern "C" fn before() {
    let (mut process, own) = hold_all();
    process.pause();
    // SAFETY: this thread holds all pools, see `Fork`.
    unsafe { *FORK.0.get() = Some((process, own)) };
}

extern "C" fn in_parent() {
    // SAFETY: this thread holds all pools, see `Fork`.
    drop(unsafe { (*FORK.0.get()).take() });
}

extern "C" fn in_child() {
    // SAFETY: this thread holds all pools, see `Fork`.
    let Some((process, own)) = (unsafe { (*FORK.0.get()).take() }) else { return };
    process.in_child();
    // These catch up when they are next used.
    drop(own);
}
