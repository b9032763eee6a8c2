//! Objects into `SerializeData` and out of it: the traits, and Bitcoin's consensus encoding behind them.
//!
//! Depends on `SerializeData`, and with the features `consensus` and `consensus-encoding` on
//! rust-bitcoin's crates, which know the encoding of every type. What is here is where the bytes go, and
//! what may be said of input that is not one whole object.

#[cfg(feature = "consensus")]
mod skim;

use super::SerializeData;
use core::fmt;
use std::io;

/// Writes an object into [`SerializeData`], without a copy elsewhere.
///
/// With the feature `consensus` it is implemented for everything that implements
/// `bitcoin::consensus::Encodable` (of `bitcoin` 0.32), in Bitcoin's consensus encoding; with
/// `consensus-encoding` there is a wrapper, `ConsensusEncoding`, for everything that implements
/// `bitcoin_consensus_encoding::Encode`.
///
#[cfg_attr(feature = "consensus", doc = "```")]
#[cfg_attr(not(feature = "consensus"), doc = "```text")]
/// use bitcoin::constants::genesis_block;
/// use bitcoin::{Block, Network};
/// use bitcoin_support::{FromSerializeData, SerializeData, ToSerializeData};
///
/// let block = genesis_block(Network::Bitcoin);
/// let mut data = block.to_serialize_data()?;
/// assert_eq!(data.len(), 285);
/// assert_eq!(Block::from_serialize_data(&data)?, block);
///
/// block.header.append_to(&mut data)?; // several objects, one after the other
/// assert_eq!(Block::take_from(&mut data)?, block);
/// assert_eq!(bitcoin::block::Header::take_from(&mut data)?, block.header);
/// assert!(data.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ToSerializeData {
    /// Appends the encoding to `data`.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`]; `data` is as it was then.
    fn append_to(&self, data: &mut SerializeData) -> io::Result<()>;

    /// The encoding alone.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`].
    fn to_serialize_data(&self) -> io::Result<SerializeData> {
        let mut data = SerializeData::new();
        self.append_to(&mut data)?;
        Ok(data)
    }
}

/// Reads an object from bytes. The counterpart of [`ToSerializeData`], implemented likewise.
///
/// Input is not trusted. It is refused unless it is an encoding of the object, and the whole of one. With
/// rust-bitcoin's decoders, memory is allocated as bytes arrive, not as lengths claim: never more than a
/// few megabytes beyond a small multiple of the input. The object itself lies on the ordinary heap and
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
    /// What the decoder says of a malformed encoding.
    type Error;

    /// Reads an object from the beginning of `bytes`; returns it with the length of its encoding.
    ///
    /// # Errors
    /// [`ConsensusError::Truncated`] and [`ConsensusError::Malformed`].
    fn decode_front(bytes: &[u8]) -> Result<(Self, usize), ConsensusError<Self::Error>>;

    /// Reads an object that all of `bytes` encodes.
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

    /// Takes an object from the front of `data`, whose bytes are wiped.
    ///
    /// # Errors
    /// [`ConsensusError::Truncated`] and [`ConsensusError::Malformed`]; `data` is as it was then.
    fn take_from(data: &mut SerializeData) -> Result<Self, ConsensusError<Self::Error>> {
        let (object, len) = Self::decode_front(data.as_slice())?;
        io::BufRead::consume(data, len);
        Ok(object)
    }
}

/// Why data are not the encoding of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsensusError<E> {
    /// They end in the middle of it.
    Truncated,
    /// They are not such an encoding, whatever may follow: the decoder's own error says why, and may name
    /// numbers found in them. Lengths beyond what a block can hold are among the reasons.
    Malformed(E),
    /// An object is followed by this many bytes more.
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

#[cfg(feature = "consensus")]
impl<T: bitcoin::consensus::Encodable + ?Sized> ToSerializeData for T {
    fn append_to(&self, data: &mut SerializeData) -> io::Result<()> {
        data.append_whole(|data| {
            let written = self.consensus_encode(&mut bitcoin::io::FromStd::new(data));
            // What else may be wrong in writing to memory; `bitcoin::io` does not say.
            written.map(drop).map_err(|_| io::ErrorKind::OutOfMemory.into())
        })
    }
}

#[cfg(feature = "consensus")]
impl<T: bitcoin::consensus::Decodable + 'static> FromSerializeData for T {
    type Error = bitcoin::consensus::encode::Error;

    fn decode_front(bytes: &[u8]) -> Result<(Self, usize), ConsensusError<Self::Error>> {
        use bitcoin::consensus::encode::{Error, deserialize_partial};

        skim::skim::<T>(bytes).map_err(|skim::Short| ConsensusError::Truncated)?;
        deserialize_partial(bytes).map_err(|error| match error {
            Error::Io(error) if error.kind() == bitcoin::io::ErrorKind::UnexpectedEof => {
                ConsensusError::Truncated
            }
            error => ConsensusError::Malformed(error),
        })
    }
}

/// An object by the traits of rust-bitcoin's `bitcoin-consensus-encoding`: those of `bitcoin-primitives`
/// and `bitcoin-units`, and (with the feature `consensus` as well) most of `bitcoin`. A reference to one
/// is written; one by value is read.
///
/// The bytes are the same as ever, but these decoders refuse more than those of `bitcoin`: also
/// transactions that are well-formed and that no valid block can hold, for instance without outputs.
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
#[cfg(feature = "consensus-encoding")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsensusEncoding<T>(pub T);

#[cfg(feature = "consensus-encoding")]
impl<T: bitcoin_consensus_encoding::Encode + ?Sized> ToSerializeData for ConsensusEncoding<&T> {
    fn append_to(&self, data: &mut SerializeData) -> io::Result<()> {
        data.append_whole(|data| bitcoin_consensus_encoding::encode_to_writer(self.0, data))
    }
}

#[cfg(feature = "consensus-encoding")]
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

#[cfg(any(feature = "consensus", feature = "consensus-encoding"))]
impl SerializeData {
    /// Lets `append` add to the end; takes back what it has added if it fails.
    fn append_whole(&mut self, append: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        let len = self.len();
        let result = append(self);
        if result.is_err() {
            self.bytes.truncate(self.read + len);
        }
        result
    }
}

#[cfg(all(test, any(feature = "consensus", feature = "consensus-encoding")))]
mod tests {
    use super::*;
    use std::io::{BufRead, Write};

    #[test]
    fn what_fails_half_way_is_taken_back() {
        let mut data = SerializeData::from(b"read and kept".to_vec());
        data.consume(9);
        let error = data.append_whole(|data| {
            data.write_all(b" and more")?;
            Err(io::ErrorKind::OutOfMemory.into())
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(data.as_slice(), b"kept");
    }
}
