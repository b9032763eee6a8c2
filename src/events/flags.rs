//! `EventFlags`: a set of libevent's flags.

use core::ffi::c_short;
use core::ops::BitOr;

/// A set of libevent's flags: the conditions that an event waits for, or those that have occurred.
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
    /// No flag besides those that the source and the timeout imply.
    pub const NONE: Self = Self(0);
    /// The timeout has passed.
    pub const TIMEOUT: Self = Self(0x01);
    /// There are bytes to read.
    pub const READ: Self = Self(0x02);
    /// Bytes can be written.
    pub const WRITE: Self = Self(0x04);
    /// A signal has arrived.
    pub const SIGNAL: Self = Self(0x08);
    /// The event keeps waiting after it has occurred.
    pub const PERSIST: Self = Self(0x10);

    pub(super) const fn from_bits(bits: c_short) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> c_short {
        self.0
    }

    /// Whether the set has all flags of `other`.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set has at least one flag of `other`.
    pub(super) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for EventFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
