//! What happens to pages when the process forks.

use super::{exit, registry};
use crate::fork::Participant;

/// From the first call on, a child process puts its mappings in order before it uses any, and
/// before `fork` returns in it. To be called before a mapping is made.
pub(crate) fn join_forks() {
    static PAGES: Participant = Participant::new(|| (), in_child, || ());
    exit::note_process();
    PAGES.join();
}

fn in_child() {
    exit::note_child();
    registry::after_fork();
}
