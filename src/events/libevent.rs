//! Declarations of the functions of libevent 2.1 that are used here, written by hand. `build.rs`
//! links the library.
//!
//! # Safety
//! As libevent documents: objects are alive, texts end in a zero, and one thread uses each base and
//! the objects that were made for it.

#![allow(non_camel_case_types)]

use core::ffi::{c_char, c_int, c_short, c_void};

macro_rules! opaque {
    ($($name:ident),*) => {$(
        #[repr(C)]
        pub(super) struct $name {
            _opaque: [u8; 0],
            _not_send: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
        }
    )*};
}

opaque!(
    event_base,
    event,
    evhttp,
    evhttp_request,
    evhttp_connection,
    evdns_base,
    evbuffer,
    evkeyvalq
);

pub(super) type event_callback = extern "C" fn(c_int, c_short, *mut c_void);
pub(super) type request_callback = extern "C" fn(*mut evhttp_request, *mut c_void);

unsafe extern "C" {
    pub(super) fn event_base_new() -> *mut event_base;
    pub(super) fn event_base_free(base: *mut event_base);
    pub(super) fn event_base_dispatch(base: *mut event_base) -> c_int;
    pub(super) fn event_base_loopbreak(base: *mut event_base) -> c_int;
    pub(super) fn event_base_once(
        base: *mut event_base,
        fd: c_int,
        events: c_short,
        callback: event_callback,
        argument: *mut c_void,
        timeout: *const libc::timeval,
    ) -> c_int;

    pub(super) fn event_new(
        base: *mut event_base,
        fd: c_int,
        events: c_short,
        callback: event_callback,
        argument: *mut c_void,
    ) -> *mut event;
    pub(super) fn event_free(event: *mut event);
    pub(super) fn event_add(event: *mut event, timeout: *const libc::timeval) -> c_int;
    pub(super) fn event_del(event: *mut event) -> c_int;
    pub(super) fn event_active(event: *mut event, what: c_int, calls: c_short);

    pub(super) fn evhttp_new(base: *mut event_base) -> *mut evhttp;
    pub(super) fn evhttp_free(http: *mut evhttp);
    pub(super) fn evhttp_accept_socket(http: *mut evhttp, socket: c_int) -> c_int;
    pub(super) fn evhttp_set_max_body_size(http: *mut evhttp, bytes: isize);
    pub(super) fn evhttp_set_gencb(
        http: *mut evhttp,
        callback: request_callback,
        argument: *mut c_void,
    );
    pub(super) fn evhttp_send_reply(
        request: *mut evhttp_request,
        code: c_int,
        reason: *const c_char,
        body: *mut evbuffer,
    );

    pub(super) fn evhttp_request_new(
        callback: request_callback,
        argument: *mut c_void,
    ) -> *mut evhttp_request;
    pub(super) fn evhttp_request_free(request: *mut evhttp_request);
    pub(super) fn evhttp_request_get_response_code(request: *const evhttp_request) -> c_int;
    pub(super) fn evhttp_request_get_command(request: *const evhttp_request) -> c_int;
    pub(super) fn evhttp_request_get_uri(request: *const evhttp_request) -> *const c_char;
    pub(super) fn evhttp_request_get_input_headers(request: *mut evhttp_request) -> *mut evkeyvalq;
    pub(super) fn evhttp_request_get_output_headers(request: *mut evhttp_request)
    -> *mut evkeyvalq;
    pub(super) fn evhttp_request_get_input_buffer(request: *mut evhttp_request) -> *mut evbuffer;
    pub(super) fn evhttp_request_get_output_buffer(request: *mut evhttp_request) -> *mut evbuffer;
    pub(super) fn evhttp_find_header(
        headers: *const evkeyvalq,
        name: *const c_char,
    ) -> *const c_char;
    pub(super) fn evhttp_add_header(
        headers: *mut evkeyvalq,
        name: *const c_char,
        value: *const c_char,
    ) -> c_int;

    pub(super) fn evbuffer_get_length(buffer: *const evbuffer) -> usize;
    pub(super) fn evbuffer_add(buffer: *mut evbuffer, data: *const c_void, len: usize) -> c_int;
    pub(super) fn evbuffer_remove(buffer: *mut evbuffer, data: *mut c_void, len: usize) -> c_int;

    pub(super) fn evhttp_connection_base_new(
        base: *mut event_base,
        dns: *mut evdns_base,
        host: *const c_char,
        port: u16,
    ) -> *mut evhttp_connection;
    pub(super) fn evhttp_connection_free(connection: *mut evhttp_connection);
    pub(super) fn evhttp_connection_set_timeout(connection: *mut evhttp_connection, seconds: c_int);
    pub(super) fn evhttp_make_request(
        connection: *mut evhttp_connection,
        request: *mut evhttp_request,
        method: c_int,
        uri: *const c_char,
    ) -> c_int;
}
