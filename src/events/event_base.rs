//! `EventBase`: the loop that waits for events.

use super::base::Base;
use super::error::EventsError;
use super::libevent;
use core::ffi::c_void;
use core::fmt;
use std::rc::Rc;

/// libevent's `event_base`: the loop that waits for events and makes their callbacks.
///
/// A clone is another owner of the same base. The base is freed after its last owner and the last
/// object that was made for it.
///
/// ```
/// use bitcoin_support::events::{EventFlags, EventSource, obtain_event, obtain_event_base};
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use std::time::Duration;
///
/// let base = obtain_event_base()?;
/// let ticks = Rc::new(Cell::new(0));
/// let (count, looping) = (ticks.clone(), base.clone());
/// let timer = obtain_event(&base, EventSource::Timer, EventFlags::PERSIST, move |_| {
///     count.set(count.get() + 1);
///     if count.get() == 3 {
///         looping.loop_break();
///     }
/// })?;
/// timer.add(Some(Duration::from_millis(1)))?;
/// base.dispatch()?;
/// assert_eq!(ticks.get(), 3);
/// # Ok::<(), bitcoin_support::events::EventsError>(())
/// ```
///
/// It stays in its thread:
/// ```compile_fail,E0277
/// let base = bitcoin_support::events::obtain_event_base().unwrap();
/// std::thread::spawn(move || base.dispatch());
/// ```
/// A callback must own what it uses:
/// ```compile_fail,E0373
/// # use bitcoin_support::events::*;
/// let base = obtain_event_base().unwrap();
/// let count = std::cell::Cell::new(0);
/// let event = obtain_event(&base, EventSource::Timer, EventFlags::NONE, |_| count.set(1));
/// ```
#[derive(Clone)]
pub struct EventBase {
    base: Rc<Base>,
}

/// Makes a base.
///
/// # Errors
/// [`EventsError::NotMade`].
pub fn obtain_event_base() -> Result<EventBase, EventsError> {
    let base = Base::new().ok_or(EventsError::NotMade("event_base"))?;
    Ok(EventBase { base })
}

impl EventBase {
    pub(super) fn base(&self) -> &Rc<Base> {
        &self.base
    }

    /// Waits for events and makes callbacks, until there is no event left to wait for, or
    /// [`loop_break`](Self::loop_break) is called.
    ///
    /// # Errors
    /// [`EventsError::Reentered`] in a callback of this base; [`EventsError::Failed`].
    ///
    /// # Panics
    /// When a callback has panicked.
    pub fn dispatch(&self) -> Result<(), EventsError> {
        if self.base.is_in_callback() {
            return Err(EventsError::Reentered);
        }
        // SAFETY: the base is alive, and its loop is not running: no callback is.
        let result = unsafe { libevent::event_base_dispatch(self.base.as_ptr()) };
        self.base.back_from_libevent();
        // The result is 1 if there are no events.
        if result < 0 { Err(EventsError::Failed("event_base_dispatch")) } else { Ok(()) }
    }

    /// Makes [`dispatch`](Self::dispatch) return after the callback that is running.
    pub fn loop_break(&self) {
        self.base.loop_break();
    }

    /// libevent's object, for functions of libevent that have no counterpart here. It must not be
    /// freed.
    pub fn as_ptr(&self) -> *mut c_void {
        self.base.as_ptr().cast()
    }
}

impl fmt::Debug for EventBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventBase").field(&self.as_ptr()).finish()
    }
}
