//! `EvHttp`: an HTTP server.

use super::base::{Base, Dropped, Object};
use super::error::EventsError;
use super::event_base::EventBase;
use super::incoming::Incoming;
use super::libevent;
use super::outgoing::{add_body, add_header};
use super::reply::Reply;
use core::cell::Cell;
use core::ffi::{c_int, c_void};
use core::fmt;
use core::ptr::{self, NonNull};
use std::net::TcpListener;
use std::os::fd::IntoRawFd;
use std::rc::Rc;

type Handler = Box<dyn FnMut(&mut Incoming<'_>) -> Reply>;

/// The argument of libevent's callback. It is freed after the server.
struct HttpState {
    /// The base that the server was made for. It is alive whenever it makes a callback.
    base: *const Base,
    /// The program's handler. It is taken out while it runs.
    handler: Cell<Option<Handler>>,
}

/// libevent's `evhttp`: a server that answers HTTP requests.
/// [`EvHttpConnection`](super::EvHttpConnection) is the client.
pub struct EvHttp {
    http: NonNull<libevent::evhttp>,
    state: Rc<HttpState>,
    base: Rc<Base>,
}

/// Makes a server. It does not listen yet, and answers 404.
///
/// # Errors
/// [`EventsError::NotMade`].
pub fn obtain_evhttp(base: &EventBase) -> Result<EvHttp, EventsError> {
    let base = base.base().clone();
    // SAFETY: the base is alive, and the server holds it.
    let http = unsafe { libevent::evhttp_new(base.as_ptr()) };
    let http = NonNull::new(http).ok_or(EventsError::NotMade("evhttp"))?;
    let state = Rc::new(HttpState { base: Rc::as_ptr(&base), handler: Cell::new(None) });
    Ok(EvHttp { http, state, base })
}

impl EvHttp {
    /// Answers requests that come to `listener` from now on. The server owns it until it is
    /// dropped.
    ///
    /// # Errors
    /// [`EventsError::Failed`].
    pub fn accept(&self, listener: TcpListener) -> Result<(), EventsError> {
        const FAILED: EventsError = EventsError::Failed("evhttp_accept_socket");
        listener.set_nonblocking(true).map_err(|_| FAILED)?;
        // SAFETY: the server is alive, and the socket is given to it. When this fails, libevent may
        // or may not have closed the socket, so it is not closed here.
        match unsafe { libevent::evhttp_accept_socket(self.http.as_ptr(), listener.into_raw_fd()) }
        {
            0 => Ok(()),
            _ => Err(FAILED),
        }
    }

    /// Answers every request with the result of `handler`, which replaces an earlier one.
    pub fn set_gencb(&self, handler: impl FnMut(&mut Incoming<'_>) -> Reply + 'static) {
        let old = self.state.handler.replace(Some(Box::new(handler)));
        // SAFETY: the server is alive; `request_came` takes an `HttpState`, which is freed after
        // the server.
        unsafe {
            libevent::evhttp_set_gencb(
                self.http.as_ptr(),
                request_came,
                Rc::as_ptr(&self.state).cast_mut().cast(),
            );
        }
        drop(old);
    }

    /// Refuses requests whose body has more bytes, on connections that come from now on. There is
    /// no limit before the first call.
    pub fn set_max_body_size(&self, bytes: usize) {
        let bytes = isize::try_from(bytes).unwrap_or(isize::MAX);
        // SAFETY: the server is alive.
        unsafe { libevent::evhttp_set_max_body_size(self.http.as_ptr(), bytes) };
    }

    /// libevent's object, for functions of libevent that have no counterpart here. It must not be
    /// freed.
    pub fn as_ptr(&self) -> *mut c_void {
        self.http.as_ptr().cast()
    }
}

impl Drop for EvHttp {
    fn drop(&mut self) {
        // SAFETY: the server is alive, and only `self` could use it; `Base::free` frees it no later
        // than its base, which `self` holds until then. Its callback uses the state.
        let dropped = unsafe { Dropped::new(Object::Http(self.http), self.state.clone()) };
        self.base.free(dropped);
    }
}

impl fmt::Debug for EvHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EvHttp").field(&self.as_ptr()).finish()
    }
}

extern "C" fn request_came(request: *mut libevent::evhttp_request, state: *mut c_void) {
    // SAFETY: `set_gencb` has passed this state. It is freed after the server, and `Base::free`
    // does not free a server while a callback runs.
    let state = unsafe { &*state.cast::<HttpState>() };
    // SAFETY: this is the base that makes the callback; its loop is running, so it is alive.
    let base = unsafe { &*state.base };
    // The request is answered in any case, because libevent would never free an unanswered one.
    let mut reply = Reply::new(500, []);
    base.call(|| {
        // SAFETY: libevent keeps the request until it is answered, which happens below.
        let incoming = unsafe { Incoming::new(request) };
        if let (Some(mut incoming), Some(mut handler)) = (incoming, state.handler.take()) {
            reply = handler(&mut incoming);
            // The handler stays, unless it has set another one.
            let newer = state.handler.take();
            state.handler.set(newer.or(Some(handler)));
        }
    });
    // SAFETY: the request is alive until `evhttp_send_reply`, which is called once; libevent copies
    // the headers and the body.
    unsafe {
        for (name, value) in &reply.headers {
            let _ = add_header(request, name, value);
        }
        let code = match add_body(request, reply.body.as_slice()) {
            Ok(()) => c_int::from(reply.code),
            Err(_) => 500,
        };
        libevent::evhttp_send_reply(request, code, ptr::null(), ptr::null_mut());
    }
}
