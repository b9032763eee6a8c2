//! `Reply`: an answer of a server.

use crate::zero_after_free::SerializeData;

/// An answer of an [`EvHttp`](super::EvHttp).
///
/// ```
/// use bitcoin_support::events::Reply;
///
/// let reply = Reply::new(200, "{}").header("Content-Type", "application/json");
/// ```
#[derive(Debug)]
pub struct Reply {
    pub(super) code: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: SerializeData,
}

impl Reply {
    /// An answer with this status. The body is wiped when it has been handed to libevent. libevent
    /// does not wipe its own copy.
    pub fn new(code: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { code, headers: Vec::new(), body: SerializeData::from(body.into()) }
    }

    /// The answer with one more header. A header that contains a line break is not sent.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}
