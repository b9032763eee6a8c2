//! What happens to pages when the process forks.

use super::{exit, registry};
use crate::fork::{Participant, notice_child};

/// From the first call on, a child process puts its mappings in order before it uses any, and
/// before `fork` returns in it. To be called before a mapping is made. (In the child, a handler of
/// another library may make one before ours has run there. It must not be taken for the parent's,
/// nor take the locked memory that the parent's mappings need.)
pub(crate) fn join_forks() {
    static PAGES: Participant = Participant::new(|| (), in_child, || ());
    notice_child();
    exit::note_process();
    PAGES.join();
}

fn in_child() {
    exit::note_child();
    registry::after_fork();
}
