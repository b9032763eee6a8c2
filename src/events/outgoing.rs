//! The headers and the body that a request or an answer is going to send.

use super::error::EventsError;
use super::libevent;
use std::ffi::CString;

/// Adds a header.
///
/// # Safety
/// `request` must be alive.
pub(super) unsafe fn add_header(
    request: *mut libevent::evhttp_request,
    name: &str,
    value: &str,
) -> Result<(), EventsError> {
    let is_bad = |text: &str| text.contains(['\r', '\n', '\0']);
    if name.is_empty() || is_bad(name) || name.contains([':', ' ']) || is_bad(value) {
        return Err(EventsError::BadText);
    }
    let text = |text| CString::new(text).map_err(|_| EventsError::BadText);
    let (name, value) = (text(name)?, text(value)?);
    // SAFETY: the caller promises that the request is alive, and the headers belong to it; libevent
    // copies the texts.
    let added = unsafe {
        let headers = libevent::evhttp_request_get_output_headers(request);
        libevent::evhttp_add_header(headers, name.as_ptr(), value.as_ptr())
    };
    if added == 0 { Ok(()) } else { Err(EventsError::Failed("evhttp_add_header")) }
}

/// Appends bytes to the body.
///
/// # Safety
/// `request` must be alive.
pub(super) unsafe fn add_body(
    request: *mut libevent::evhttp_request,
    body: &[u8],
) -> Result<(), EventsError> {
    // SAFETY: the caller promises that the request is alive, and the buffer belongs to it; libevent
    // copies the bytes.
    let added = unsafe {
        let buffer = libevent::evhttp_request_get_output_buffer(request);
        libevent::evbuffer_add(buffer, body.as_ptr().cast(), body.len())
    };
    if added == 0 { Ok(()) } else { Err(EventsError::Failed("evbuffer_add")) }
}
