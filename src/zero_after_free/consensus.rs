//! The feature `consensus`: every type of the `bitcoin` crate that has a consensus encoding can be
//! written into `SerializeData` and read from it.

use super::check_lengths::{Short, check_lengths};
use super::consensus_error::ConsensusError;
use super::from_serialize_data::FromSerializeData;
use super::serialize_data::SerializeData;
use super::to_serialize_data::ToSerializeData;
use std::io;

impl<T: bitcoin::consensus::Encodable + ?Sized> ToSerializeData for T {
    fn append_to(&self, data: &mut SerializeData) -> io::Result<()> {
        data.append_whole(|data| {
            let written = self.consensus_encode(&mut bitcoin::io::FromStd::new(data));
            // `bitcoin::io` hides the reason, but writing to memory can fail for no other.
            written.map(drop).map_err(|_| io::ErrorKind::OutOfMemory.into())
        })
    }
}

impl<T: bitcoin::consensus::Decodable + 'static> FromSerializeData for T {
    type Error = bitcoin::consensus::encode::Error;

    fn decode_front(bytes: &[u8]) -> Result<(Self, usize), ConsensusError<Self::Error>> {
        use bitcoin::consensus::encode::{Error, deserialize_partial};

        check_lengths::<T>(bytes).map_err(|Short| ConsensusError::Truncated)?;
        deserialize_partial(bytes).map_err(|error| match error {
            Error::Io(error) if error.kind() == bitcoin::io::ErrorKind::UnexpectedEof => {
                ConsensusError::Truncated
            }
            error => ConsensusError::Malformed(error),
        })
    }
}
