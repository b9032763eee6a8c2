//! Bitcoin's consensus encoding into `SerializeData` and out of it.
//!
//! Depends on `SerializeData` and on rust-bitcoin's crates, which know the encoding of every type; what
//! is here is where the bytes go, and what may be said of input that is not a whole object.

use super::SerializeData;
use bitcoin_consensus_encoding::{Decode, Decoder, Encode, Encoder};
use core::fmt;
use std::io::{self, Write};

/// Writes an object's consensus encoding into [`SerializeData`], chunk by chunk, without a copy
/// elsewhere.
///
/// Implemented for everything that implements [`bitcoin_consensus_encoding::Encode`]: the types of
/// `bitcoin-primitives` and `bitcoin-units`, and those of `bitcoin` from 0.32.101 on with its feature
/// `encoding`, which the feature `bitcoin` of this crate turns on. The latter also brings `Legacy`, for
/// types that have only `bitcoin`'s older traits.
///
#[cfg_attr(feature = "bitcoin", doc = "```")]
#[cfg_attr(not(feature = "bitcoin"), doc = "```ignore")]
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

/// Reads an object from its consensus encoding. The counterpart of [`ToSerializeData`], implemented for
/// everything that implements [`bitcoin_consensus_encoding::Decode`].
///
/// Input is not trusted. It is refused unless it is an encoding of the object, and the whole of one.
/// Memory is allocated as bytes arrive, not as lengths claim: never more than a few megabytes beyond a
/// small multiple of the input. The object itself lies on the ordinary heap and does not wipe itself.
///
#[cfg_attr(feature = "bitcoin", doc = "```")]
#[cfg_attr(not(feature = "bitcoin"), doc = "```ignore")]
/// use bitcoin::{BlockHash, OutPoint};
/// use bitcoin_support::{ConsensusError, FromSerializeData};
///
/// let bytes = [7; 36];
/// assert!(OutPoint::from_serialize_data(&bytes).is_ok());
/// assert_eq!(OutPoint::from_serialize_data(&bytes[..35]), Err(ConsensusError::Truncated));
/// assert_eq!(BlockHash::from_serialize_data(&bytes), Err(ConsensusError::Trailing(4)));
/// ```
pub trait FromSerializeData: Sized {
    /// What rust-bitcoin says of a malformed encoding.
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
    /// They are not such an encoding, whatever may follow: rust-bitcoin's error says why, and may name
    /// numbers found in them. Lengths beyond what a block may hold are among the reasons.
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

impl<T: Encode + ?Sized> ToSerializeData for T {
    fn append_to(&self, data: &mut SerializeData) -> io::Result<()> {
        data.append_whole(|data| {
            let mut encoder = self.encoder();
            loop {
                data.write_all(encoder.current_chunk())?;
                if encoder.advance().has_finished() {
                    return Ok(());
                }
            }
        })
    }
}

impl<T: Decode> FromSerializeData for T {
    type Error = <T::Decoder as Decoder>::Error;

    fn decode_front(bytes: &[u8]) -> Result<(Self, usize), ConsensusError<Self::Error>> {
        let mut decoder = T::decoder();
        let mut rest = bytes;
        let mut ready = false;
        while !rest.is_empty() && !ready {
            ready = decoder.push_bytes(&mut rest).map_err(ConsensusError::Malformed)?.is_ready();
        }
        match decoder.end() {
            Ok(object) => Ok((object, bytes.len() - rest.len())),
            Err(error) if ready => Err(ConsensusError::Malformed(error)),
            Err(_) => Err(ConsensusError::Truncated),
        }
    }
}

/// A type of the `bitcoin` crate by its older traits, [`Encodable`] and [`Decodable`]: those that do not
/// have the new ones (yet), such as `MerkleBlock`, `VarInt` and `RawNetworkMessage`.
///
/// ```
/// use bitcoin::VarInt;
/// use bitcoin_support::{FromSerializeData, Legacy, ToSerializeData};
///
/// let data = Legacy(VarInt(515)).to_serialize_data()?;
/// assert_eq!(data.as_slice(), [0xfd, 0x03, 0x02]);
/// assert_eq!(Legacy::<VarInt>::from_serialize_data(&data)?.0, VarInt(515));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Encodable`]: bitcoin::consensus::Encodable
/// [`Decodable`]: bitcoin::consensus::Decodable
#[cfg(feature = "bitcoin")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Legacy<T>(pub T);

#[cfg(feature = "bitcoin")]
impl<T: bitcoin::consensus::Encodable> ToSerializeData for Legacy<T> {
    fn append_to(&self, data: &mut SerializeData) -> io::Result<()> {
        data.append_whole(|data| {
            self.0.consensus_encode(&mut bitcoin::io::FromStd::new(data))?;
            Ok(())
        })
    }
}

#[cfg(feature = "bitcoin")]
impl<T: bitcoin::consensus::Decodable> FromSerializeData for Legacy<T> {
    type Error = bitcoin::consensus::encode::Error;

    fn decode_front(bytes: &[u8]) -> Result<(Self, usize), ConsensusError<Self::Error>> {
        use bitcoin::consensus::encode::{Error, deserialize_partial};
        use bitcoin::io::ErrorKind;

        match deserialize_partial(bytes) {
            Ok((object, len)) => Ok((Self(object), len)),
            Err(Error::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(ConsensusError::Truncated)
            }
            Err(error) => Err(ConsensusError::Malformed(error)),
        }
    }
}

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
