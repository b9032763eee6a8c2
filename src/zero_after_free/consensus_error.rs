//! `ConsensusError`: why bytes are not the encoding of an object.

use core::fmt;

/// Why bytes are not the encoding of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsensusError<E> {
    /// They end before the object does.
    Truncated,
    /// They are not an encoding of the object, and more bytes would not help. The decoder's error
    /// gives the reason, such as a length that no block can hold. It may contain numbers from the
    /// input.
    Malformed(E),
    /// The object is followed by this many more bytes.
    Trailing(usize),
}

impl<E> fmt::Display for ConsensusError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the data end in the middle of the object"),
            Self::Malformed(_) => f.write_str("the data are not an encoding of the object"),
            Self::Trailing(rest) => write!(f, "the object is followed by {rest} more bytes"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for ConsensusError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed(error) => Some(error),
            Self::Truncated | Self::Trailing(_) => None,
        }
    }
}
