//! Work in children of `fork` before the library's handler runs there, as handlers of other
//! libraries do it.
//!
//! Depends on no other module.

use std::sync::Mutex;

static EARLY_WORK: Mutex<Option<fn()>> = Mutex::new(None);

/// From now on, each child does this first.
pub(crate) fn do_in_early_children(work: fn()) {
    *EARLY_WORK.lock().unwrap() = Some(work);
}

/// Registers the handler before the library's, which are registered when it is loaded.
#[used]
#[unsafe(link_section = ".init_array.00200")]
static EARLY: extern "C" fn() = register_early;

extern "C" fn register_early() {
    extern "C" fn child() {
        if let Some(work) = *EARLY_WORK.lock().unwrap() {
            work();
        }
    }
    // SAFETY: a function that may run in a child.
    assert_eq!(unsafe { libc::pthread_atfork(None, None, Some(child)) }, 0);
}
