//! `EvHttpRequest`: an HTTP request that a program sends.

use super::base::Base;
use super::error::EventsError;
use super::incoming::Incoming;
use super::libevent;
use super::outgoing::{add_body, add_header};
use core::cell::Cell;
use core::ffi::c_void;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use std::rc::Rc;

type Answered = Box<dyn FnOnce(Option<&mut Incoming<'_>>)>;

/// The argument of libevent's callback. It is freed after the request.
pub(super) struct RequestState {
    /// The base of the connection that the request was handed to. Null before that.
    base: Cell<*const Base>,
    answered: Cell<Option<Answered>>,
    /// Whether libevent has made its last use of the request and of this state.
    done: Cell<bool>,
}

impl RequestState {
    /// Whether libevent has made its last use of the request and of this state.
    pub(super) fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Drops the program's callback, so that it is not called any more.
    pub(super) fn drop_callback(&self) {
        drop(self.answered.take());
    }
}

/// libevent's `evhttp_request`, as one that is to be sent.
pub struct EvHttpRequest {
    // Fields are dropped in this order: the request before the state that its callback uses.
    request: UnsentRequest,
    state: Rc<RequestState>,
}

struct UnsentRequest(NonNull<libevent::evhttp_request>);

impl Drop for UnsentRequest {
    fn drop(&mut self) {
        // SAFETY: the request is alive and has not been handed to libevent: `into_parts` forgets a
        // request that is.
        unsafe { libevent::evhttp_request_free(self.0.as_ptr()) };
    }
}

/// Makes a request. `answered` is called once with the answer, or with `None` if there is no
/// answer. If the connection is dropped before, it is not called but dropped.
///
/// # Errors
/// [`EventsError::NotMade`].
pub fn obtain_evhttp_request(
    answered: impl FnOnce(Option<&mut Incoming<'_>>) + 'static,
) -> Result<EvHttpRequest, EventsError> {
    let state = Rc::new(RequestState {
        base: Cell::new(ptr::null()),
        answered: Cell::new(Some(Box::new(answered))),
        done: Cell::new(false),
    });
    // SAFETY: `answer_came` takes a `RequestState`, which is freed after the request.
    let request =
        unsafe { libevent::evhttp_request_new(answer_came, Rc::as_ptr(&state).cast_mut().cast()) };
    let request = NonNull::new(request).ok_or(EventsError::NotMade("evhttp_request"))?;
    Ok(EvHttpRequest { request: UnsentRequest(request), state })
}

impl EvHttpRequest {
    /// Adds a header.
    ///
    /// # Errors
    /// [`EventsError::BadText`]; [`EventsError::Failed`] without memory.
    pub fn add_header(&self, name: &str, value: &str) -> Result<(), EventsError> {
        // SAFETY: the request is alive, since it has not been sent.
        unsafe { add_header(self.request.0.as_ptr(), name, value) }
    }

    /// Appends bytes to the body. libevent keeps a copy on the ordinary heap and does not wipe it.
    ///
    /// # Errors
    /// [`EventsError::Failed`] without memory.
    pub fn add_body(&self, body: &[u8]) -> Result<(), EventsError> {
        // SAFETY: the request is alive, since it has not been sent.
        unsafe { add_body(self.request.0.as_ptr(), body) }
    }

    /// libevent's object, for functions of libevent that have no counterpart here. It must not be
    /// freed.
    pub fn as_ptr(&self) -> *mut c_void {
        self.request.0.as_ptr().cast()
    }

    /// The request, to be handed to libevent, which frees it, and the state of its callback. The
    /// state must be kept until it [is done](RequestState::is_done) or the connection is freed.
    /// `base` is the base of the connection; it must outlive the connection.
    pub(super) fn into_parts(
        self,
        base: *const Base,
    ) -> (NonNull<libevent::evhttp_request>, Rc<RequestState>) {
        let Self { request, state } = self;
        state.base.set(base);
        (ManuallyDrop::new(request).0, state)
    }
}

impl fmt::Debug for EvHttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EvHttpRequest").field(&self.as_ptr()).finish()
    }
}

extern "C" fn answer_came(request: *mut libevent::evhttp_request, state: *mut c_void) {
    // SAFETY: `obtain_evhttp_request` has passed this state. libevent calls this only for a request
    // that was sent, and its connection keeps the state until `done` is set.
    let state = unsafe { &*state.cast::<RequestState>() };
    if let Some(answered) = state.answered.take() {
        // SAFETY: `into_parts` has set the base before the request was sent. It makes this
        // callback, so it is alive.
        let base = unsafe { &*state.base.get() };
        // SAFETY: libevent keeps the request until this function returns.
        let incoming = unsafe { Incoming::new(request) };
        // A request that did not reach the server has no status.
        let mut incoming = incoming.filter(|incoming| incoming.code() != 0);
        base.call(|| answered(incoming.as_mut()));
    }
    // This is the last use of the state.
    state.done.set(true);
}
