//! Owners for libevent's objects: `EventBase`, `Event`, `EvHttp`, `EvHttpRequest`, `EvHttpConnection`,
//! made by the five functions that Bitcoin Core has for it.
//!
//! Depends on libevent 2.1 (`sys` declares what of it is used) and on `SerializeData`; nothing of the
//! crate depends on it. Only built with the feature `events`.
//!
//! # Who frees what, and when
//! libevent wants its objects freed before the base that they were made for, not from within a callback
//! that it makes on behalf of the very object, and wants callbacks' arguments to live as long as a call
//! may come. So:
//!
//! - Everything but a request holds its base, by [`Rc`]: however owners are dropped, the base is freed
//!   last.
//! - What is dropped within a callback is freed when libevent is back in its loop, by a one-time event,
//!   or at the latest with the base.
//! - A callback's closure, which owns what it uses (`'static`), is freed after the object that may call
//!   it.
//! - A request that has been handed to a connection is libevent's. Its closure stays with the connection.
//!
//! A panic does not unwind through libevent: it is caught, the loop is left, and the panic goes on from
//! the function that entered libevent.
//!
//! libevent's objects are for one thread, and so are these: `Rc` keeps them there.

mod sys;

use crate::zero_after_free::SerializeData;
use core::any::Any;
use core::cell::{Cell, RefCell};
use core::ffi::{CStr, c_int, c_short, c_void};
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::BitOr;
use core::ptr::{self, NonNull};
use core::time::Duration;
use std::ffi::CString;
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// Why something could not be had of libevent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventsError {
    /// libevent could not make the object of this name: there is no memory, or no more descriptors.
    NotMade(&'static str),
    /// The function of this name has failed; libevent does not say why.
    Failed(&'static str),
    /// The loop of a base cannot be entered from one of its own callbacks.
    Reentered,
    /// What goes into a request or an answer contains a character that may not be there: a zero, a line
    /// break, or in a URI anything but visible ASCII.
    BadText,
}

impl fmt::Display for EventsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMade(object) => write!(f, "libevent cannot make an {object}"),
            Self::Failed(function) => write!(f, "libevent's {function} has failed"),
            Self::Reentered => f.write_str("the event loop is running already"),
            Self::BadText => f.write_str("a character that may not be in a request or an answer"),
        }
    }
}

impl std::error::Error for EventsError {}

/// libevent's `event_base`: the loop that waits for events and calls what was asked for.
///
/// Cloning it makes another owner of the same one. It is freed after the last owner and the last of the
/// objects that were made for it.
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
/// and what callbacks use must be theirs:
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
    // SAFETY: takes nothing.
    let ptr = unsafe { sys::event_base_new() };
    let ptr = NonNull::new(ptr).ok_or(EventsError::NotMade("event_base"))?;
    Ok(EventBase {
        base: Rc::new(Base {
            ptr,
            depth: Cell::new(0),
            panic: Cell::new(None),
            doomed: RefCell::new(Vec::new()),
        }),
    })
}

impl EventBase {
    /// Waits for events and makes callbacks, until no event is left to wait for or
    /// [`loop_break`](Self::loop_break) is called.
    ///
    /// # Errors
    /// [`EventsError::Reentered`] from a callback of this base; [`EventsError::Failed`].
    ///
    /// # Panics
    /// When a callback has.
    pub fn dispatch(&self) -> Result<(), EventsError> {
        if self.base.depth.get() > 0 {
            return Err(EventsError::Reentered);
        }
        // SAFETY: the base is alive, and not in its loop: then `depth` would not be 0.
        let result = unsafe { sys::event_base_dispatch(self.base.ptr.as_ptr()) };
        self.base.back_from_libevent();
        // 1 means that there are no events.
        if result < 0 { Err(EventsError::Failed("event_base_dispatch")) } else { Ok(()) }
    }

    /// Makes [`dispatch`](Self::dispatch) return after the callback that is running.
    pub fn loop_break(&self) {
        // SAFETY: the base is alive. (It fails for null only.)
        unsafe { sys::event_base_loopbreak(self.base.ptr.as_ptr()) };
    }

    /// libevent's object, for functions of libevent that are not here. It must not be freed.
    pub fn as_ptr(&self) -> *mut c_void {
        self.base.ptr.as_ptr().cast()
    }
}

/// A base, with what must not go before it.
struct Base {
    ptr: NonNull<sys::event_base>,
    /// How many callbacks are running, one within the other.
    depth: Cell<usize>,
    /// What the first callback that panicked has panicked with.
    panic: Cell<Option<Box<dyn Any + Send>>>,
    /// What has been dropped in a callback.
    doomed: RefCell<Vec<Doomed>>,
}

/// An object of libevent's that its owner has given up, and what it may still call until it is freed.
enum Doomed {
    Event { event: NonNull<sys::event>, _callback: Rc<EventState> },
    Http { http: NonNull<sys::evhttp>, _handler: Rc<HttpState> },
    Connection { connection: NonNull<sys::evhttp_connection>, _requests: Vec<Rc<RequestState>> },
}

impl Drop for Doomed {
    fn drop(&mut self) {
        // The closures, with what they own, are dropped after this.
        match self {
            // SAFETY: the owner has given the object up, and with it the only way to use it. Its base is
            // alive: owners hold it, and it drops what it holds itself before it is freed.
            Self::Event { event, .. } => unsafe { sys::event_free(event.as_ptr()) },
            // SAFETY: as above.
            Self::Http { http, .. } => unsafe { sys::evhttp_free(http.as_ptr()) },
            // SAFETY: as above.
            Self::Connection { connection, .. } => unsafe {
                sys::evhttp_connection_free(connection.as_ptr());
            },
        }
    }
}

impl Base {
    /// Frees an object, now or when no callback is running.
    fn free(&self, object: Doomed) {
        if self.depth.get() == 0 {
            return drop(object);
        }
        if let Doomed::Event { event, .. } = &object {
            // SAFETY: the event is alive. Other callbacks do not come from what has been given up:
            // servers answer until they are freed, and connections' requests have no closure any more.
            unsafe { sys::event_del(event.as_ptr()) };
        }
        self.doomed.borrow_mut().push(object);
        let now = libc::timeval { tv_sec: 0, tv_usec: 0 };
        // SAFETY: the base is alive while it calls `sweep`, which is given the base.
        let scheduled = unsafe {
            sys::event_base_once(
                self.ptr.as_ptr(),
                -1,
                EventFlags::TIMEOUT.0,
                sweep,
                ptr::from_ref(self).cast_mut().cast(),
                &now,
            )
        };
        // If it is not, it is done when the loop ends.
        let _ = scheduled;
    }

    /// Runs a callback of the program's, on behalf of libevent.
    fn call(&self, callback: impl FnOnce()) {
        self.depth.set(self.depth.get() + 1);
        if let Err(payload) = catch_unwind(AssertUnwindSafe(callback)) {
            let first = self.panic.take().unwrap_or(payload);
            self.panic.set(Some(first));
            // SAFETY: the base is alive: it is running this.
            unsafe { sys::event_base_loopbreak(self.ptr.as_ptr()) };
        }
        self.depth.set(self.depth.get() - 1);
    }

    /// Frees what was dropped in callbacks, unless one is still running.
    fn sweep(&self) {
        while self.depth.get() == 0 {
            // Not borrowed while it is dropped: what the closures own may doom other objects.
            let Some(object) = self.doomed.borrow_mut().pop() else { return };
            drop(object);
        }
    }

    /// To be called after every function of libevent's that may make callbacks.
    fn back_from_libevent(&self) {
        self.sweep();
        if self.depth.get() == 0 {
            if let Some(payload) = self.panic.take() {
                resume_unwind(payload);
            }
        }
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        // No owner is left, so that no callback is running.
        self.doomed.get_mut().clear();
        // SAFETY: nothing that was made for the base is left.
        unsafe { sys::event_base_free(self.ptr.as_ptr()) };
    }
}

extern "C" fn sweep(_: c_int, _: c_short, base: *mut c_void) {
    // SAFETY: `Base::free` has given the base that is now running this, and a running base is alive.
    let base = unsafe { &*base.cast::<Base>() };
    base.sweep();
}

/// What an event waits for, or what has happened: a set of libevent's flags.
///
/// ```
/// use bitcoin_support::events::EventFlags;
///
/// let both = EventFlags::READ | EventFlags::WRITE;
/// assert!(both.contains(EventFlags::READ));
/// assert!(!both.contains(EventFlags::PERSIST));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventFlags(c_short);

impl EventFlags {
    /// Nothing besides what the source and the timeout imply.
    pub const NONE: Self = Self(0);
    /// The timeout has passed.
    pub const TIMEOUT: Self = Self(0x01);
    /// There is something to read.
    pub const READ: Self = Self(0x02);
    /// There is room to write.
    pub const WRITE: Self = Self(0x04);
    /// A signal has come.
    pub const SIGNAL: Self = Self(0x08);
    /// The event goes on waiting after it has happened.
    pub const PERSIST: Self = Self(0x10);

    /// Whether all flags of `other` are among these.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for EventFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Where an event comes from.
#[derive(Debug)]
#[non_exhaustive]
pub enum EventSource {
    /// The timeout that the event is added with, or nothing but [`Event::activate`].
    Timer,
    /// A file or socket, which is the event's until it is dropped. To use it in the callback, duplicate
    /// it (`try_clone`) before.
    File(OwnedFd),
    /// A signal of the process, by its number. One base of a process may wait for signals.
    Signal(i32),
}

struct EventState {
    /// The base that the event is for: alive whenever it makes a callback.
    base: *const Base,
    callback: RefCell<Box<dyn FnMut(EventFlags)>>,
    /// Closed after the event is freed.
    _file: Option<OwnedFd>,
}

/// libevent's `event`: something to wait for, and what to call when it happens.
///
/// It waits once it has been [added](Self::add), as long as it lives, once or with
/// [`EventFlags::PERSIST`] again and again. It may be dropped in any callback, its own included.
pub struct Event {
    event: NonNull<sys::event>,
    state: Rc<EventState>,
    base: Rc<Base>,
}

/// Makes an event, which does not wait yet. `callback` is told what has happened.
///
/// # Errors
/// [`EventsError::NotMade`], also for a signal that does not exist or is to be read or written, and for a flag
/// [`EventFlags::SIGNAL`] without a signal.
pub fn obtain_event(
    base: &EventBase,
    source: EventSource,
    flags: EventFlags,
    callback: impl FnMut(EventFlags) + 'static,
) -> Result<Event, EventsError> {
    let base = base.base.clone();
    if flags.contains(EventFlags::SIGNAL) && !matches!(source, EventSource::Signal(_)) {
        // libevent would take -1, or the descriptor, for the number of a signal.
        return Err(EventsError::NotMade("event"));
    }
    let (number, flags, file) = match source {
        EventSource::Timer => (-1, flags, None),
        EventSource::File(file) => (file.as_raw_fd(), flags, Some(file)),
        EventSource::Signal(signal)
            if (1..=libc::SIGRTMAX()).contains(&signal)
                && flags.0 & (EventFlags::READ | EventFlags::WRITE).0 == 0 =>
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
    // SAFETY: the base is alive, the callback takes what it is given, and the state is freed after the
    // event.
    let event = unsafe {
        sys::event_new(
            base.ptr.as_ptr(),
            number,
            flags.0,
            event_happened,
            Rc::as_ptr(&state).cast_mut().cast(),
        )
    };
    let event = NonNull::new(event).ok_or(EventsError::NotMade("event"))?;
    Ok(Event { event, state, base })
}

extern "C" fn event_happened(_: c_int, what: c_short, state: *mut c_void) {
    // SAFETY: the state of an event, which lives as long as the event, and is not freed in a callback.
    let state = unsafe { &*state.cast::<EventState>() };
    // SAFETY: the base that is calling is alive.
    let base = unsafe { &*state.base };
    base.call(|| (state.callback.borrow_mut())(EventFlags(what)));
}

impl Event {
    /// Begins to wait, at most as long as `timeout` if there is one (34 years at most).
    ///
    /// # Errors
    /// [`EventsError::Failed`], as for a file that cannot be waited for.
    pub fn add(&self, timeout: Option<Duration>) -> Result<(), EventsError> {
        // libevent adds the time of day to it.
        const LONGEST: Duration = Duration::from_secs(1 << 30);
        let time = timeout.map(|timeout| timeout.min(LONGEST)).map(|timeout| libc::timeval {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_usec: timeout.subsec_micros() as libc::suseconds_t,
        });
        let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the event is alive; the time is null or read at once.
        match unsafe { sys::event_add(self.event.as_ptr(), time) } {
            0 => Ok(()),
            _ => Err(EventsError::Failed("event_add")),
        }
    }

    /// Stops waiting, until it is added again.
    pub fn remove(&self) {
        // SAFETY: the event is alive. (It fails for one that was never made.)
        unsafe { sys::event_del(self.event.as_ptr()) };
    }

    /// Lets the event happen, as if `what` had, when the loop runs.
    pub fn activate(&self, what: EventFlags) {
        // SAFETY: the event is alive.
        unsafe { sys::event_active(self.event.as_ptr(), c_int::from(what.0), 0) };
    }

    /// libevent's object, for functions of libevent that are not here. It must not be freed.
    pub fn as_ptr(&self) -> *mut c_void {
        self.event.as_ptr().cast()
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.base.free(Doomed::Event { event: self.event, _callback: self.state.clone() });
    }
}

/// How a request asks for what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// `GET`
    Get = 1,
    /// `POST`
    Post = 2,
    /// `HEAD`
    Head = 4,
    /// `PUT`
    Put = 8,
    /// `DELETE`
    Delete = 16,
}

/// An answer of an [`EvHttp`].
///
/// ```
/// use bitcoin_support::events::Reply;
///
/// let reply = Reply::new(200, "{}").header("Content-Type", "application/json");
/// ```
#[derive(Debug)]
pub struct Reply {
    code: u16,
    headers: Vec<(String, String)>,
    body: SerializeData,
}

impl Reply {
    /// An answer of this status. The body is wiped when it has been handed to libevent, which has no
    /// such care for its own copy.
    pub fn new(code: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { code, headers: Vec::new(), body: SerializeData::from(body.into()) }
    }

    /// The answer with one header more. One that contains a line break is left out when it is sent.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// A request as an [`EvHttp`] gets it, or an answer as an [`EvHttpRequest`] does: [`Read`] reads the
/// body.
#[derive(Debug)]
pub struct Incoming<'r> {
    request: NonNull<sys::evhttp_request>,
    callback: PhantomData<&'r mut sys::evhttp_request>,
}

impl Incoming<'_> {
    /// # Safety
    /// `request` must be null or stay alive as long as the result.
    unsafe fn new(request: *mut sys::evhttp_request) -> Option<Self> {
        NonNull::new(request).map(|request| Self { request, callback: PhantomData })
    }

    /// The status of an answer; 0 for a request.
    pub fn code(&self) -> u16 {
        // SAFETY: the request is alive.
        let code = unsafe { sys::evhttp_request_get_response_code(self.request.as_ptr()) };
        u16::try_from(code).unwrap_or(0)
    }

    /// The method of a request; `None` for others than [`Method`] has.
    pub fn method(&self) -> Option<Method> {
        // SAFETY: the request is alive.
        let method = unsafe { sys::evhttp_request_get_command(self.request.as_ptr()) };
        let all = [Method::Get, Method::Post, Method::Head, Method::Put, Method::Delete];
        all.into_iter().find(|&known| known as c_int == method)
    }

    /// What a request asks for, as it was sent: path and query.
    pub fn uri(&self) -> Vec<u8> {
        // SAFETY: the request is alive, and the text its own.
        unsafe { bytes_of(sys::evhttp_request_get_uri(self.request.as_ptr())) }.unwrap_or_default()
    }

    /// The value of a header, whose name is compared without regard to case.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        let name = CString::new(name).ok()?;
        // SAFETY: the request is alive, and the text its own.
        unsafe {
            let headers = sys::evhttp_request_get_input_headers(self.request.as_ptr());
            bytes_of(sys::evhttp_find_header(headers, name.as_ptr()))
        }
    }

    /// How many bytes of the body have not been read.
    pub fn body_len(&self) -> usize {
        // SAFETY: the request is alive, and with it its buffer.
        unsafe {
            sys::evbuffer_get_length(sys::evhttp_request_get_input_buffer(self.request.as_ptr()))
        }
    }
}

/// Moves bytes of the body out of libevent's buffer. Never fails.
impl Read for Incoming<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        // The result is an `int`.
        let len = room.len().min(c_int::MAX as usize);
        // SAFETY: the request is alive, and with it its buffer; `room` has room for that many.
        let count = unsafe {
            let buffer = sys::evhttp_request_get_input_buffer(self.request.as_ptr());
            sys::evbuffer_remove(buffer, room.as_mut_ptr().cast(), len)
        };
        Ok(usize::try_from(count).unwrap_or(0))
    }
}

/// # Safety
/// `text` must be null or a text that ends in a zero.
unsafe fn bytes_of(text: *const core::ffi::c_char) -> Option<Vec<u8>> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as the caller vouches.
    Some(unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())
}

/// Adds a header to what `request` is going to send.
///
/// # Safety
/// `request` must be alive.
unsafe fn add_header(
    request: *mut sys::evhttp_request,
    name: &str,
    value: &str,
) -> Result<(), EventsError> {
    let is_bad = |text: &str| text.contains(['\r', '\n', '\0']);
    if name.is_empty() || is_bad(name) || name.contains([':', ' ']) || is_bad(value) {
        return Err(EventsError::BadText);
    }
    let text = |text| CString::new(text).map_err(|_| EventsError::BadText);
    let (name, value) = (text(name)?, text(value)?);
    // SAFETY: the request is alive; the texts are copied.
    let added = unsafe {
        let headers = sys::evhttp_request_get_output_headers(request);
        sys::evhttp_add_header(headers, name.as_ptr(), value.as_ptr())
    };
    if added == 0 { Ok(()) } else { Err(EventsError::Failed("evhttp_add_header")) }
}

/// Adds to the body that `request` is going to send.
///
/// # Safety
/// `request` must be alive.
unsafe fn add_body(request: *mut sys::evhttp_request, body: &[u8]) -> Result<(), EventsError> {
    // SAFETY: the request is alive, and with it its buffer; the bytes are copied.
    let added = unsafe {
        let buffer = sys::evhttp_request_get_output_buffer(request);
        sys::evbuffer_add(buffer, body.as_ptr().cast(), body.len())
    };
    if added == 0 { Ok(()) } else { Err(EventsError::Failed("evbuffer_add")) }
}

type Handler = Box<dyn FnMut(&mut Incoming<'_>) -> Reply>;

struct HttpState {
    /// The base that the server is for: alive whenever it makes a callback.
    base: *const Base,
    /// Taken out while it runs.
    handler: Cell<Option<Handler>>,
}

/// libevent's `evhttp`: a server that answers requests.
///
/// See [`EvHttpConnection`] for one that is asked.
pub struct EvHttp {
    http: NonNull<sys::evhttp>,
    state: Rc<HttpState>,
    base: Rc<Base>,
}

/// Makes a server, which listens nowhere yet and answers 404.
///
/// # Errors
/// [`EventsError::NotMade`].
pub fn obtain_evhttp(base: &EventBase) -> Result<EvHttp, EventsError> {
    let base = base.base.clone();
    // SAFETY: the base is alive, and outlives the server.
    let http = unsafe { sys::evhttp_new(base.ptr.as_ptr()) };
    let http = NonNull::new(http).ok_or(EventsError::NotMade("evhttp"))?;
    let state = Rc::new(HttpState { base: Rc::as_ptr(&base), handler: Cell::new(None) });
    Ok(EvHttp { http, state, base })
}

impl EvHttp {
    /// Answers what comes to `listener` from now on, which is the server's until it is dropped.
    ///
    /// # Errors
    /// [`EventsError::Failed`].
    pub fn accept(&self, listener: TcpListener) -> Result<(), EventsError> {
        const FAILED: EventsError = EventsError::Failed("evhttp_accept_socket");
        listener.set_nonblocking(true).map_err(|_| FAILED)?;
        // SAFETY: the server is alive, and takes the socket over. If it fails it may or may not have
        // closed the socket, which is therefore left as it is.
        match unsafe { sys::evhttp_accept_socket(self.http.as_ptr(), listener.into_raw_fd()) } {
            0 => Ok(()),
            _ => Err(FAILED),
        }
    }

    /// Answers every request with what `handler` returns. Replaces the handler before.
    pub fn set_gencb(&self, handler: impl FnMut(&mut Incoming<'_>) -> Reply + 'static) {
        let old = self.state.handler.replace(Some(Box::new(handler)));
        // SAFETY: the server is alive; the state is freed after it.
        unsafe {
            sys::evhttp_set_gencb(
                self.http.as_ptr(),
                request_came,
                Rc::as_ptr(&self.state).cast_mut().cast(),
            );
        }
        drop(old);
    }

    /// Refuses requests with a larger body, on connections that come from now on; unlimited at first.
    pub fn set_max_body_size(&self, bytes: usize) {
        let bytes = isize::try_from(bytes).unwrap_or(isize::MAX);
        // SAFETY: the server is alive.
        unsafe { sys::evhttp_set_max_body_size(self.http.as_ptr(), bytes) };
    }

    /// libevent's object, for functions of libevent that are not here. It must not be freed.
    pub fn as_ptr(&self) -> *mut c_void {
        self.http.as_ptr().cast()
    }
}

impl Drop for EvHttp {
    fn drop(&mut self) {
        self.base.free(Doomed::Http { http: self.http, _handler: self.state.clone() });
    }
}

extern "C" fn request_came(request: *mut sys::evhttp_request, state: *mut c_void) {
    // SAFETY: the state of a server, which lives as long as the server, and is not freed in a callback.
    let state = unsafe { &*state.cast::<HttpState>() };
    // SAFETY: the base that is calling is alive.
    let base = unsafe { &*state.base };
    // Whatever happens, the request is answered: an unanswered one would never be freed.
    let mut reply = Reply::new(500, []);
    base.call(|| {
        // SAFETY: libevent keeps the request until it is answered, below.
        let incoming = unsafe { Incoming::new(request) };
        if let (Some(mut incoming), Some(mut handler)) = (incoming, state.handler.take()) {
            reply = handler(&mut incoming);
            // Unless it has set another.
            let newer = state.handler.take();
            state.handler.set(newer.or(Some(handler)));
        }
    });
    // SAFETY: the request is alive, and answered once. `reply` has been handed over entirely before.
    unsafe {
        for (name, value) in &reply.headers {
            let _ = add_header(request, name, value);
        }
        let code = match add_body(request, reply.body.as_slice()) {
            Ok(()) => c_int::from(reply.code),
            Err(_) => 500,
        };
        sys::evhttp_send_reply(request, code, ptr::null(), ptr::null_mut());
    }
}

type Answered = Box<dyn FnOnce(Option<&mut Incoming<'_>>)>;

struct RequestState {
    /// The base of the connection that the request was handed to; null before.
    base: Cell<*const Base>,
    answered: Cell<Option<Answered>>,
    /// Whether libevent is done with the request, and with this.
    done: Cell<bool>,
}

/// libevent's `evhttp_request`, as one that is to be sent.
pub struct EvHttpRequest {
    /// Freed before the state.
    request: UnsentRequest,
    state: Rc<RequestState>,
}

struct UnsentRequest(NonNull<sys::evhttp_request>);

impl Drop for UnsentRequest {
    fn drop(&mut self) {
        // SAFETY: the request has not been handed to libevent: then this would not be dropped.
        unsafe { sys::evhttp_request_free(self.0.as_ptr()) };
    }
}

/// Makes a request. `answered` gets the answer, or `None` when none could be had; it is dropped uncalled
/// if the connection is dropped before.
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
    // SAFETY: the callback takes what it is given; the state is freed after the request.
    let request =
        unsafe { sys::evhttp_request_new(answer_came, Rc::as_ptr(&state).cast_mut().cast()) };
    let request = NonNull::new(request).ok_or(EventsError::NotMade("evhttp_request"))?;
    Ok(EvHttpRequest { request: UnsentRequest(request), state })
}

impl EvHttpRequest {
    /// Adds a header.
    ///
    /// # Errors
    /// [`EventsError::BadText`]; [`EventsError::Failed`] without memory.
    pub fn add_header(&self, name: &str, value: &str) -> Result<(), EventsError> {
        // SAFETY: the request is alive, for it has not been sent.
        unsafe { add_header(self.request.0.as_ptr(), name, value) }
    }

    /// Adds to the body. libevent keeps the copy on the ordinary heap and does not wipe it.
    ///
    /// # Errors
    /// [`EventsError::Failed`] without memory.
    pub fn add_body(&self, body: &[u8]) -> Result<(), EventsError> {
        // SAFETY: the request is alive, for it has not been sent.
        unsafe { add_body(self.request.0.as_ptr(), body) }
    }

    /// libevent's object, for functions of libevent that are not here. It must not be freed.
    pub fn as_ptr(&self) -> *mut c_void {
        self.request.0.as_ptr().cast()
    }
}

extern "C" fn answer_came(request: *mut sys::evhttp_request, state: *mut c_void) {
    // SAFETY: the state of a request that has been sent: its connection keeps it until `done`.
    let state = unsafe { &*state.cast::<RequestState>() };
    if let Some(answered) = state.answered.take() {
        // SAFETY: set before the request was handed over; the base that is calling is alive.
        let base = unsafe { &*state.base.get() };
        // SAFETY: libevent keeps the request until this returns.
        let incoming = unsafe { Incoming::new(request) };
        // One that did not reach the server has no status.
        let mut incoming = incoming.filter(|incoming| incoming.code() != 0);
        base.call(|| answered(incoming.as_mut()));
    }
    // The last use of the state.
    state.done.set(true);
}

/// libevent's `evhttp_connection`: a server to ask.
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
/// A request that has been handed over is libevent's:
/// ```compile_fail,E0382
/// # use bitcoin_support::events::*;
/// # fn f(connection: &EvHttpConnection, request: EvHttpRequest) {
/// connection.make_request(request, Method::Get, "/").unwrap();
/// request.add_header("Too", "late");
/// # }
/// ```
pub struct EvHttpConnection {
    connection: NonNull<sys::evhttp_connection>,
    /// What libevent may still call.
    requests: RefCell<Vec<Rc<RequestState>>>,
    base: Rc<Base>,
}

/// Makes a connection to a server, which is only connected for a request. A name instead of an address is
/// looked up then, and the loop waits for it.
///
/// # Errors
/// [`EventsError::NotMade`]; [`EventsError::BadText`] for a host that contains a zero.
pub fn obtain_evhttp_connection_base(
    base: &EventBase,
    host: &str,
    port: u16,
) -> Result<EvHttpConnection, EventsError> {
    let host = CString::new(host).map_err(|_| EventsError::BadText)?;
    let base = base.base.clone();
    // SAFETY: the base is alive, and outlives the connection; the text is copied.
    let connection = unsafe {
        sys::evhttp_connection_base_new(base.ptr.as_ptr(), ptr::null_mut(), host.as_ptr(), port)
    };
    let connection = NonNull::new(connection).ok_or(EventsError::NotMade("evhttp_connection"))?;
    Ok(EvHttpConnection { connection, requests: RefCell::new(Vec::new()), base })
}

impl EvHttpConnection {
    /// Gives a request up after this time without progress, rounded up to seconds; 50 seconds at first.
    pub fn set_timeout(&self, timeout: Duration) {
        let seconds = timeout.as_secs().saturating_add(u64::from(timeout.subsec_nanos() > 0));
        let seconds = c_int::try_from(seconds).unwrap_or(c_int::MAX);
        // SAFETY: the connection is alive.
        unsafe { sys::evhttp_connection_set_timeout(self.connection.as_ptr(), seconds) };
    }

    /// Hands a request to libevent, which sends it when those before it are answered and the loop runs.
    /// When the server cannot be reached, the request may be answered, with `None`, before this returns.
    ///
    /// # Errors
    /// [`EventsError::BadText`] for a URI that is not visible ASCII; [`EventsError::Failed`].
    ///
    /// # Panics
    /// When the request's callback has, if it was called before this returns.
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
        let EvHttpRequest { request, state } = request;
        state.base.set(Rc::as_ptr(&self.base));
        let mut requests = self.requests.borrow_mut();
        requests.retain(|state| !state.done.get());
        requests.push(state);
        drop(requests);
        // libevent's from now on, whether it takes it or not.
        let request = ManuallyDrop::new(request).0;
        // SAFETY: the connection is alive and takes the request over; the text is copied.
        let made = unsafe {
            sys::evhttp_make_request(
                self.connection.as_ptr(),
                request.as_ptr(),
                method as c_int,
                uri.as_ptr(),
            )
        };
        self.base.back_from_libevent();
        if made == 0 { Ok(()) } else { Err(EventsError::Failed("evhttp_make_request")) }
    }

    /// libevent's object, for functions of libevent that are not here. It must not be freed.
    pub fn as_ptr(&self) -> *mut c_void {
        self.connection.as_ptr().cast()
    }
}

impl Drop for EvHttpConnection {
    fn drop(&mut self) {
        let requests = self.requests.take();
        for state in &requests {
            // Nobody is called for a connection that is gone.
            drop(state.answered.take());
        }
        self.base.free(Doomed::Connection { connection: self.connection, _requests: requests });
    }
}

macro_rules! debug_as_pointer {
    ($($owner:ident),*) => {$(
        impl fmt::Debug for $owner {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($owner)).field(&self.as_ptr()).finish()
            }
        }
    )*};
}

debug_as_pointer!(EventBase, Event, EvHttp, EvHttpRequest, EvHttpConnection);
