//! `Incoming`: a request or an answer that has arrived.

use super::libevent;
use super::method::Method;
use core::ffi::{CStr, c_char, c_int};
use core::marker::PhantomData;
use core::ptr::NonNull;
use std::ffi::CString;
use std::io::{self, Read};

/// A request that an [`EvHttp`](super::EvHttp) has received, or an answer to an
/// [`EvHttpRequest`](super::EvHttpRequest). [`Read`] reads the body.
#[derive(Debug)]
pub struct Incoming<'r> {
    request: NonNull<libevent::evhttp_request>,
    callback: PhantomData<&'r mut libevent::evhttp_request>,
}

impl Incoming<'_> {
    /// # Safety
    /// `request` must be null, or alive as long as the result is used.
    pub(super) unsafe fn new(request: *mut libevent::evhttp_request) -> Option<Self> {
        NonNull::new(request).map(|request| Self { request, callback: PhantomData })
    }

    /// The status of an answer. 0 for a request.
    pub fn code(&self) -> u16 {
        // SAFETY: the caller of `new` promises that the request is alive.
        let code = unsafe { libevent::evhttp_request_get_response_code(self.request.as_ptr()) };
        u16::try_from(code).unwrap_or(0)
    }

    /// The method of a request. `None` if [`Method`] does not have it.
    pub fn method(&self) -> Option<Method> {
        // SAFETY: the caller of `new` promises that the request is alive.
        Method::from_number(unsafe { libevent::evhttp_request_get_command(self.request.as_ptr()) })
    }

    /// The path and query of a request, as they were sent.
    pub fn uri(&self) -> Vec<u8> {
        // SAFETY: the caller of `new` promises that the request is alive, and the text belongs to
        // it.
        unsafe { bytes_of(libevent::evhttp_request_get_uri(self.request.as_ptr())) }
            .unwrap_or_default()
    }

    /// The value of a header. The case of its name does not matter.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        let name = CString::new(name).ok()?;
        // SAFETY: the caller of `new` promises that the request is alive, and the headers belong to
        // it.
        unsafe {
            let headers = libevent::evhttp_request_get_input_headers(self.request.as_ptr());
            bytes_of(libevent::evhttp_find_header(headers, name.as_ptr()))
        }
    }

    /// Number of bytes of the body that have not been read.
    pub fn body_len(&self) -> usize {
        // SAFETY: the caller of `new` promises that the request is alive, and the buffer belongs to
        // it.
        unsafe {
            let buffer = libevent::evhttp_request_get_input_buffer(self.request.as_ptr());
            libevent::evbuffer_get_length(buffer)
        }
    }
}

/// Moves bytes of the body out of libevent's buffer. Never fails.
impl Read for Incoming<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        // libevent returns the number of bytes as an `int`.
        let len = room.len().min(c_int::MAX as usize);
        // SAFETY: the caller of `new` promises that the request is alive, and the buffer belongs to
        // it; `room` has at least `len` bytes.
        let count = unsafe {
            let buffer = libevent::evhttp_request_get_input_buffer(self.request.as_ptr());
            libevent::evbuffer_remove(buffer, room.as_mut_ptr().cast(), len)
        };
        Ok(usize::try_from(count).unwrap_or(0))
    }
}

/// A copy of a C string. `None` for null.
///
/// # Safety
/// `text` must be null or a text that ends in a zero.
unsafe fn bytes_of(text: *const c_char) -> Option<Vec<u8>> {
    if text.is_null() {
        return None;
    }
    // SAFETY: `text` is not null, and the caller promises a text that ends in a zero.
    Some(unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())
}
