//! `EventsError`: why a call of libevent has failed.

use core::fmt;

/// Why a call of libevent has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventsError {
    /// libevent could not make the object of this name: no memory, or no file descriptors.
    NotMade(&'static str),
    /// The function of this name has failed. libevent gives no reason.
    Failed(&'static str),
    /// A callback tried to enter the loop of its own base.
    Reentered,
    /// A text for a request or an answer contains a forbidden character: a zero, a line break, or,
    /// in a URI, anything but visible ASCII.
    BadText,
}

impl fmt::Display for EventsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMade(object) => write!(f, "libevent cannot make an {object}"),
            Self::Failed(function) => write!(f, "libevent's {function} has failed"),
            Self::Reentered => f.write_str("the event loop is running already"),
            Self::BadText => {
                f.write_str("the text of a request or an answer contains a forbidden character")
            }
        }
    }
}

impl std::error::Error for EventsError {}
