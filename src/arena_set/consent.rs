//! Consent to unlocked memory: the program's callback decides about it, while no mutex is held.
//!
//! An allocation that needs consent fails and leaves a question in its arena set. The pool lets go
//! of its mutex, asks the callback ([`ask`]), and runs the allocation again if the callback agrees.

use crate::fork::{Callee, NotCallable};
use crate::pages::LockError;

/// Decides, when no memory can be locked, whether the pool may use unlocked memory (`true`) or
/// fails the allocation (`false`).
///
/// One thread at a time calls it. It may use the pool and its statistics, set another callback, and
/// fork. An allocation that it makes and that would call it again fails at once. It must not wait
/// for a thread that sets the callback, or whose allocation would call it. If the process forks
/// while another thread is in the callback, the child does not call it, which counts as `false`,
/// until it sets one.
pub type LockingFailed = Box<dyn FnMut(&LockError) -> bool + Send>;

/// What an arena set knows of the callback.
pub(crate) struct Consent {
    /// Whether a callback is set. Without one, unlocked memory is agreed to.
    pub(crate) asks: bool,
    /// The refusal that the callback has to decide about, when an allocation has failed for want of
    /// consent.
    pub(crate) question: Option<LockError>,
    /// Whether the callback has agreed, for the allocation under way.
    pub(crate) is_given: bool,
    /// A callback that was set while the calling thread was in the present one. It takes the
    /// present one's place when that returns.
    pub(crate) pending: Option<Option<LockingFailed>>,
}

impl Consent {
    pub(crate) const fn new() -> Self {
        Self { asks: false, question: None, is_given: false, pending: None }
    }
}

/// Asks the callback whether unlocked memory may be used. `false` also where it cannot be called:
/// the calling thread is in it already, or this is a child process whose parent had another thread
/// in it. The caller holds no mutex. `pending` returns the callback that was set by the present
/// one, if any.
pub(crate) fn ask(
    callback: &Callee<Option<LockingFailed>>,
    error: &LockError,
    pending: impl FnOnce() -> Option<Option<LockingFailed>>,
) -> bool {
    let Ok(mut place) = callback.enter() else { return false };
    let agreed = place.as_mut().is_none_or(|callback| callback(error));
    let old = pending().map(|new| core::mem::replace(&mut *place, new));
    drop(place);
    drop(old);
    agreed
}

/// Sets a callback, and drops the old one. Where the calling thread is in the old one, nothing is
/// set, and the new one is returned.
pub(crate) fn set_callee(
    callback: &Callee<Option<LockingFailed>>,
    new: Option<LockingFailed>,
) -> Option<Option<LockingFailed>> {
    match callback.enter() {
        Ok(mut place) => {
            let old = core::mem::replace(&mut *place, new);
            drop(place);
            drop(old);
            None
        }
        Err(NotCallable::Within) => Some(new),
        Err(NotCallable::Lost) => {
            callback.replace_lost(new);
            None
        }
    }
}
