//! `Method`: the method of an HTTP request.

use core::ffi::c_int;

/// The method of an HTTP request.
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

impl Method {
    /// The method that has this number in libevent.
    pub(super) fn from_number(number: c_int) -> Option<Self> {
        let all = [Self::Get, Self::Post, Self::Head, Self::Put, Self::Delete];
        all.into_iter().find(|&known| known as c_int == number)
    }
}
