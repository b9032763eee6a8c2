//! `Event`: a condition to wait for, and the callback for it.

use super::base::{Base, Dropped, Object};
use super::error::EventsError;
use super::event_base::EventBase;
use super::flags::EventFlags;
use super::libevent;
use core::cell::RefCell;
use core::ffi::{c_int, c_short, c_void};
use core::fmt;
use core::ptr::{self, NonNull};
use core::time::Duration;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

/// The source of an event.
#[derive(Debug)]
#[non_exhaustive]
pub enum EventSource {
    /// The timeout that the event is added with, or [`Event::activate`] only.
    Timer,
    /// A file or socket, which the event owns until it is dropped. To use it in the callback,
    /// duplicate it (`try_clone`) before.
    File(OwnedFd),
    /// A signal of the process, by its number. Only one base of a process may wait for signals.
    Signal(i32),
}

/// The argument of libevent's callback. It is freed after the event.
struct EventState {
    /// The base that the event was made for. It is alive whenever it makes a callback.
    base: *const Base,
    callback: RefCell<Box<dyn FnMut(EventFlags)>>,
    /// Closed after the event is freed.
    _file: Option<OwnedFd>,
}

/// libevent's `event`: a condition to wait for, and a callback for when it occurs.
///
/// The event waits once it has been [added](Self::add): until it has occurred once, or, with
/// [`EventFlags::PERSIST`], as long as it lives. It may be dropped in any callback, also in its
/// own.
pub struct Event {
    event: NonNull<libevent::event>,
    state: Rc<EventState>,
    base: Rc<Base>,
}

/// Makes an event, which does not wait yet. `callback` gets the flags of the conditions that have
/// occurred.
///
/// # Errors
/// [`EventsError::NotMade`]; also for a signal that does not exist, for a signal with the flag
/// [`EventFlags::READ`] or [`EventFlags::WRITE`], and for the flag [`EventFlags::SIGNAL`] without a
/// signal.
pub fn obtain_event(
    base: &EventBase,
    source: EventSource,
    flags: EventFlags,
    callback: impl FnMut(EventFlags) + 'static,
) -> Result<Event, EventsError> {
    let base = base.base().clone();
    if flags.contains(EventFlags::SIGNAL) && !matches!(source, EventSource::Signal(_)) {
        // libevent would take -1, or the file descriptor, for the number of a signal.
        return Err(EventsError::NotMade("event"));
    }
    let (number, flags, file) = match source {
        EventSource::Timer => (-1, flags, None),
        EventSource::File(file) => (file.as_raw_fd(), flags, Some(file)),
        EventSource::Signal(signal)
            if (1..=libc::SIGRTMAX()).contains(&signal)
                && !flags.intersects(EventFlags::READ | EventFlags::WRITE) =>
        {
            (signal, flags | EventFlags::SIGNAL, None)
        }
        EventSource::Signal(_) => return Err(EventsError::NotMade("event")),
    };
    let state = Rc::new(EventState {
        base: Rc::as_ptr(&base),
        callback: RefCell::new(Box::new(callback)),
        _file: file,
    });
    // SAFETY: the base is alive; `event_happened` takes an `EventState`, which is freed after the
    // event.
    let event = unsafe {
        libevent::event_new(
            base.as_ptr(),
            number,
            flags.bits(),
            event_happened,
            Rc::as_ptr(&state).cast_mut().cast(),
        )
    };
    let event = NonNull::new(event).ok_or(EventsError::NotMade("event"))?;
    Ok(Event { event, state, base })
}

extern "C" fn event_happened(_: c_int, what: c_short, state: *mut c_void) {
    // SAFETY: `obtain_event` has passed this state. It is freed after the event, and `Base::free`
    // does not free an event while a callback runs.
    let state = unsafe { &*state.cast::<EventState>() };
    // SAFETY: this is the base that makes the callback; its loop is running, so it is alive.
    let base = unsafe { &*state.base };
    base.call(|| (state.callback.borrow_mut())(EventFlags::from_bits(what)));
}

impl Event {
    /// Starts to wait, no longer than `timeout` if there is one (at most 34 years).
    ///
    /// # Errors
    /// [`EventsError::Failed`], for example for a kind of file that cannot be waited for.
    pub fn add(&self, timeout: Option<Duration>) -> Result<(), EventsError> {
        // libevent adds the present time to the timeout, which must not overflow.
        const LONGEST: Duration = Duration::from_secs(1 << 30);
        let time = timeout.map(|timeout| timeout.min(LONGEST)).map(|timeout| libc::timeval {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_usec: timeout.subsec_micros() as libc::suseconds_t,
        });
        let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the event is alive; `time` is null or valid for a read during the call.
        match unsafe { libevent::event_add(self.event.as_ptr(), time) } {
            0 => Ok(()),
            _ => Err(EventsError::Failed("event_add")),
        }
    }

    /// Stops waiting, until the event is added again.
    pub fn remove(&self) {
        // SAFETY: the event is alive. (The call fails only for an event that was never made.)
        unsafe { libevent::event_del(self.event.as_ptr()) };
    }

    /// Makes the event occur when the loop runs, with the conditions `what`.
    pub fn activate(&self, what: EventFlags) {
        // SAFETY: the event is alive.
        unsafe { libevent::event_active(self.event.as_ptr(), c_int::from(what.bits()), 0) };
    }

    /// libevent's object, for functions of libevent that have no counterpart here. It must not be
    /// freed.
    pub fn as_ptr(&self) -> *mut c_void {
        self.event.as_ptr().cast()
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is alive, and only `self` could use it; `Base::free` frees it no later
        // than its base, which `self` holds until then. Its callback uses the state.
        let dropped = unsafe { Dropped::new(Object::Event(self.event), self.state.clone()) };
        self.base.free(dropped);
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Event").field(&self.as_ptr()).finish()
    }
}
