//! `AddressReport`: what an address means that lies in or near a sampled chunk.

use crate::pages::{ClosedSecret, ClosedState, has_protection_key};
use core::fmt;

/// What an address means that lies in a sampled chunk, in what was one, or in a closed secret
/// ([`ClosedBox`](crate::ClosedBox)), or in the guard pages around one of them.
///
/// Its `Display` form is a sentence without the address, such as "0 bytes after a chunk of 32
/// bytes, allocated by thread 4711, freed by thread 4712", or "byte 7 of a closed secret of 32
/// bytes, which no guard has opened".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressReport {
    /// Address of the chunk.
    pub chunk: usize,
    /// Number of bytes that were asked for.
    pub size: usize,
    /// The address less that of the chunk: below 0 in front of it, from `size` on behind it.
    pub offset: isize,
    /// The operating system's number of the thread that has allocated it; 0 where that is unknown.
    pub allocated_by: u32,
    /// The one that has freed it; `None` while it is in use.
    pub freed_by: Option<u32>,
    /// For a closed secret, which is no chunk of a pool: how it is open, which says why an access
    /// has failed. The numbers of threads are not known then.
    pub closed: Option<ClosedState>,
}

impl AddressReport {
    /// The report about an address in or near a closed secret.
    pub(crate) fn of_closed(addr: usize, secret: &ClosedSecret) -> Self {
        Self {
            chunk: secret.addr,
            size: secret.size,
            offset: addr.wrapping_sub(secret.addr) as isize,
            allocated_by: 0,
            freed_by: None,
            closed: Some(secret.state),
        }
    }
}

impl fmt::Display for AddressReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::try_from(self.offset) {
            Err(_) => write!(f, "{} bytes before", self.offset.unsigned_abs())?,
            Ok(offset) if offset < self.size => write!(f, "byte {offset} of")?,
            Ok(offset) => write!(f, "{} bytes after", offset - self.size)?,
        }
        if let Some(state) = self.closed {
            write!(f, " a closed secret of {} bytes, which ", self.size)?;
            return f.write_str(match state {
                ClosedState::Writable => "is open",
                ClosedState::Readable => "is open, but for reading only",
                ClosedState::Closed if has_protection_key() => {
                    "no guard has opened, or another thread only for itself"
                }
                ClosedState::Closed => "no guard has opened",
            });
        }
        write!(f, " a chunk of {} bytes, allocated by thread {}", self.size, self.allocated_by)?;
        match self.freed_by {
            Some(thread) => write!(f, ", freed by thread {thread}"),
            None => f.write_str(", in use"),
        }
    }
}
