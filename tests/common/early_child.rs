//! Work in children of `fork` before the library's handler runs there, as handlers of other
//! libraries do it.
//!
//! A module for itself, because each program with it has the handler.

use crate::common::in_child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

static WORK: Mutex<Option<fn()>> = Mutex::new(None);
static IS_DONE: AtomicBool = AtomicBool::new(false);

/// Like [`in_child`], but the child does `work` before all else.
pub(crate) fn in_early_child(work: fn(), body: impl FnOnce()) {
    *WORK.lock().unwrap() = Some(work);
    in_child(|| {
        assert!(IS_DONE.load(Ordering::Relaxed), "the work has not been done");
        body();
    });
    *WORK.lock().unwrap() = None;
}

/// Registers the handler before the library's, which are registered when it is loaded.
#[used]
#[unsafe(link_section = ".init_array.00200")]
static EARLY: extern "C" fn() = register_early;

extern "C" fn register_early() {
    extern "C" fn child() {
        if let Some(work) = *WORK.lock().unwrap() {
            work();
            IS_DONE.store(true, Ordering::Relaxed);
        }
    }
    // SAFETY: a function that may run in a child.
    assert_eq!(unsafe { libc::pthread_atfork(None, None, Some(child)) }, 0);
}
