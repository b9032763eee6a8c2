//! What happens to pages when the process forks.

use super::{exit, registry};
use crate::fork::{self, Participant};

/// From the first call on, a child process puts its mappings in order before it uses any, and
/// before `fork` returns in it. To be called before a mapping is made.
pub(crate) fn join_forks() {
    static PAGES: Participant = Participant { prepare: || (), child: in_child, done: || () };
    exit::note_process();
    fork::register(&PAGES);
}

fn in_child() {
    exit::note_child();
    registry::after_fork();
}
