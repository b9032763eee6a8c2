//! `EvHttpConnection`: a connection to an HTTP server.

use super::base::{Base, Dropped, Object};
use super::error::EventsError;
use super::event_base::EventBase;
use super::libevent;
use super::method::Method;
use super::request::{EvHttpRequest, RequestState};
use core::cell::RefCell;
use core::ffi::{c_int, c_void};
use core::fmt;
use core::ptr::{self, NonNull};
use core::time::Duration;
use std::ffi::CString;
use std::rc::Rc;

/// libevent's `evhttp_connection`: a connection to an HTTP server.
///
/// ```
/// use bitcoin_support::events::{
///     Method, Reply, obtain_event_base, obtain_evhttp, obtain_evhttp_connection_base,
///     obtain_evhttp_request,
/// };
/// use std::io::Read;
/// use std::net::TcpListener;
///
/// let base = obtain_event_base()?;
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let port = listener.local_addr()?.port();
/// let server = obtain_evhttp(&base)?;
/// server.accept(listener)?;
/// server.set_gencb(|request| Reply::new(200, [b"you asked for ", &request.uri()[..]].concat()));
///
/// let connection = obtain_evhttp_connection_base(&base, "127.0.0.1", port)?;
/// let looping = base.clone();
/// let request = obtain_evhttp_request(move |answer| {
///     let mut body = String::new();
///     answer.expect("an answer").read_to_string(&mut body).expect("text");
///     assert_eq!(body, "you asked for /block/0");
///     looping.loop_break();
/// })?;
/// request.add_header("Host", "127.0.0.1")?;
/// connection.make_request(request, Method::Get, "/block/0")?;
/// base.dispatch()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A request that has been handed over belongs to libevent:
/// ```compile_fail,E0382
/// # use bitcoin_support::events::*;
/// # fn f(connection: &EvHttpConnection, request: EvHttpRequest) {
/// connection.make_request(request, Method::Get, "/").unwrap();
/// request.add_header("Too", "late");
/// # }
/// ```
pub struct EvHttpConnection {
    connection: NonNull<libevent::evhttp_connection>,
    /// The states of requests whose callback libevent may still make.
    requests: RefCell<Vec<Rc<RequestState>>>,
    base: Rc<Base>,
}

/// Makes a connection to a server. It connects when it has a request to send. If `host` is a name
/// and not an address, it is looked up then, and the loop waits for that.
///
/// # Errors
/// [`EventsError::NotMade`]; [`EventsError::BadText`] if `host` contains a zero.
pub fn obtain_evhttp_connection_base(
    base: &EventBase,
    host: &str,
    port: u16,
) -> Result<EvHttpConnection, EventsError> {
    let host = CString::new(host).map_err(|_| EventsError::BadText)?;
    let base = base.base().clone();
    // SAFETY: the base is alive, and the connection holds it; libevent copies the text.
    let connection = unsafe {
        libevent::evhttp_connection_base_new(base.as_ptr(), ptr::null_mut(), host.as_ptr(), port)
    };
    let connection = NonNull::new(connection).ok_or(EventsError::NotMade("evhttp_connection"))?;
    Ok(EvHttpConnection { connection, requests: RefCell::new(Vec::new()), base })
}

impl EvHttpConnection {
    /// Gives up a request after this time without progress, rounded up to seconds. The default is
    /// 50 seconds.
    pub fn set_timeout(&self, timeout: Duration) {
        let seconds = timeout.as_secs().saturating_add(u64::from(timeout.subsec_nanos() > 0));
        let seconds = c_int::try_from(seconds).unwrap_or(c_int::MAX);
        // SAFETY: the connection is alive.
        unsafe { libevent::evhttp_connection_set_timeout(self.connection.as_ptr(), seconds) };
    }

    /// Hands a request to libevent. It is sent when the requests before it have been answered and
    /// the loop runs. If the server cannot be reached, the callback may be called, with `None`,
    /// before this returns.
    ///
    /// # Errors
    /// [`EventsError::BadText`] for a URI that is not visible ASCII; [`EventsError::Failed`].
    ///
    /// # Panics
    /// When the request's callback was called before this returns, and has panicked.
    pub fn make_request(
        &self,
        request: EvHttpRequest,
        method: Method,
        uri: &str,
    ) -> Result<(), EventsError> {
        if uri.is_empty() || !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(EventsError::BadText);
        }
        let uri = CString::new(uri).map_err(|_| EventsError::BadText)?;
        let (request, state) = request.into_parts(Rc::as_ptr(&self.base));
        let mut requests = self.requests.borrow_mut();
        requests.retain(|state| !state.is_done());
        requests.push(state);
        drop(requests);
        // SAFETY: the connection is alive. libevent takes the request over, whether the call
        // succeeds or fails, and copies the text. The state stays in `requests` while libevent may
        // use it.
        let made = unsafe {
            libevent::evhttp_make_request(
                self.connection.as_ptr(),
                request.as_ptr(),
                method as c_int,
                uri.as_ptr(),
            )
        };
        self.base.back_from_libevent();
        if made == 0 { Ok(()) } else { Err(EventsError::Failed("evhttp_make_request")) }
    }

    /// libevent's object, for functions of libevent that have no counterpart here. It must not be
    /// freed.
    pub fn as_ptr(&self) -> *mut c_void {
        self.connection.as_ptr().cast()
    }
}

impl Drop for EvHttpConnection {
    fn drop(&mut self) {
        let requests = self.requests.take();
        for state in &requests {
            state.drop_callback();
        }
        // SAFETY: the connection is alive, and only `self` could use it; `Base::free` frees it no
        // later than its base, which `self` holds until then. Its callbacks use the states of its
        // requests.
        let dropped =
            unsafe { Dropped::new(Object::Connection(self.connection), Rc::new(requests)) };
        self.base.free(dropped);
    }
}

impl fmt::Debug for EvHttpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EvHttpConnection").field(&self.as_ptr()).finish()
    }
}
