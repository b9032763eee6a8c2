//! The feature `consensus-encoding`: `ConsensusEncoding`, a wrapper for types that have the traits
//! of `bitcoin-consensus-encoding`.

use super::consensus_error::ConsensusError;
use super::from_serialize_data::FromSerializeData;
use super::serialize_data::SerializeData;
use super::to_serialize_data::ToSerializeData;
use std::io;

/// An object whose type has the traits of rust-bitcoin's `bitcoin-consensus-encoding`: the types of
/// `bitcoin-primitives` and `bitcoin-units`, and (if the feature `consensus` is on too) most of
/// `bitcoin`. `ConsensusEncoding<&T>` writes an object; `ConsensusEncoding<T>` reads one.
///
/// The encoding is the same as with the feature `consensus`. But these decoders refuse more than
/// those of `bitcoin`: they also refuse well-formed transactions that no valid block can hold, for
/// instance without outputs.
///
/// ```
/// use bitcoin_primitives::{BlockHash, OutPoint};
/// use bitcoin_support::{ConsensusEncoding, FromSerializeData, ToSerializeData};
///
/// let hash = BlockHash::from_byte_array([7; 32]);
/// let data = ConsensusEncoding(&hash).to_serialize_data()?;
/// assert_eq!(data.as_slice(), [7; 32]);
/// assert_eq!(ConsensusEncoding::<BlockHash>::from_serialize_data(&data)?.0, hash);
/// assert!(ConsensusEncoding::<OutPoint>::from_serialize_data(&data).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsensusEncoding<T>(pub T);

impl<T: bitcoin_consensus_encoding::Encode + ?Sized> ToSerializeData for ConsensusEncoding<&T> {
    fn append_to(&self, data: &mut SerializeData) -> io::Result<()> {
        data.append_whole(|data| bitcoin_consensus_encoding::encode_to_writer(self.0, data))
    }
}

impl<T: bitcoin_consensus_encoding::Decode> FromSerializeData for ConsensusEncoding<T> {
    type Error = <T::Decoder as bitcoin_consensus_encoding::Decoder>::Error;

    fn decode_front(bytes: &[u8]) -> Result<(Self, usize), ConsensusError<Self::Error>> {
        use bitcoin_consensus_encoding::Decoder;

        let mut decoder = T::decoder();
        let mut rest = bytes;
        let mut ready = false;
        while !rest.is_empty() && !ready {
            ready = decoder.push_bytes(&mut rest).map_err(ConsensusError::Malformed)?.is_ready();
        }
        match decoder.end() {
            Ok(object) => Ok((Self(object), bytes.len() - rest.len())),
            Err(error) if ready => Err(ConsensusError::Malformed(error)),
            Err(_) => Err(ConsensusError::Truncated),
        }
    }
}
