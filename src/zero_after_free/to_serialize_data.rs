//! `ToSerializeData`: objects that can be written into `SerializeData`.

use super::serialize_data::SerializeData;
use std::io;

/// Writes an object into [`SerializeData`], without another copy.
///
/// With the feature `consensus`, every type that implements `bitcoin::consensus::Encodable` (of
/// `bitcoin` 0.32) has this trait; it writes Bitcoin's consensus encoding. With the feature
/// `consensus-encoding`, the wrapper `ConsensusEncoding` has it, for every type that implements
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
/// block.header.append_to(&mut data)?; // several objects in a row
/// assert_eq!(Block::take_from(&mut data)?, block);
/// assert_eq!(bitcoin::block::Header::take_from(&mut data)?, block.header);
/// assert!(data.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ToSerializeData {
    /// Appends the encoding to `data`.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`]. `data` has not changed.
    fn append_to(&self, data: &mut SerializeData) -> io::Result<()>;

    /// The encoding, as new data.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`].
    fn to_serialize_data(&self) -> io::Result<SerializeData> {
        let mut data = SerializeData::new();
        self.append_to(&mut data)?;
        Ok(data)
    }
}
