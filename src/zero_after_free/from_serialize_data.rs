//! `FromSerializeData`: objects that can be read from serialized data.

use super::consensus_error::ConsensusError;
use super::serialize_data::SerializeData;
use std::io::BufRead;

/// Reads an object from bytes. The counterpart of [`ToSerializeData`](crate::ToSerializeData),
/// implemented for the same types.
///
/// Input is not trusted: anything but a complete encoding of the object is refused. rust-bitcoin's
/// decoders allocate memory as bytes arrive, whatever lengths the input claims: at most a few
/// megabytes more than a small multiple of the input. The object itself is on the ordinary heap and
/// does not wipe itself.
///
#[cfg_attr(feature = "consensus", doc = "```")]
#[cfg_attr(not(feature = "consensus"), doc = "```text")]
/// use bitcoin::{OutPoint, Txid};
/// use bitcoin_support::{ConsensusError, FromSerializeData};
///
/// let bytes = [7; 36];
/// assert!(OutPoint::from_serialize_data(&bytes).is_ok());
/// assert!(matches!(
///     OutPoint::from_serialize_data(&bytes[..35]),
///     Err(ConsensusError::Truncated)
/// ));
/// assert!(matches!(Txid::from_serialize_data(&bytes), Err(ConsensusError::Trailing(4))));
/// ```
pub trait FromSerializeData: Sized {
    /// The decoder's error for a malformed encoding.
    type Error;

    /// Reads an object from the beginning of `bytes`. Returns it and the length of its encoding in
    /// bytes.
    ///
    /// # Errors
    /// [`ConsensusError::Truncated`] and [`ConsensusError::Malformed`].
    fn decode_front(bytes: &[u8]) -> Result<(Self, usize), ConsensusError<Self::Error>>;

    /// Reads an object whose encoding is all of `bytes`.
    ///
    /// # Errors
    /// See [`ConsensusError`].
    fn from_serialize_data(bytes: impl AsRef<[u8]>) -> Result<Self, ConsensusError<Self::Error>> {
        let bytes = bytes.as_ref();
        let (object, len) = Self::decode_front(bytes)?;
        match bytes.len() - len {
            0 => Ok(object),
            rest => Err(ConsensusError::Trailing(rest)),
        }
    }

    /// Reads an object from the front of `data`, and removes and wipes its bytes there.
    ///
    /// # Errors
    /// [`ConsensusError::Truncated`] and [`ConsensusError::Malformed`]. `data` has not
    /// changed.
    fn take_from(data: &mut SerializeData) -> Result<Self, ConsensusError<Self::Error>> {
        let (object, len) = Self::decode_front(data.as_slice())?;
        data.consume(len);
        Ok(object)
    }
}
