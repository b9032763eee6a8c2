//! Decodes any bytes as any type of Bitcoin's consensus encoding, by the older and the newer
//! traits. Either the bytes are refused, or they decode to an object whose encoding decodes to the
//! same object.
//!
//! Depends on `fault` and the crate's public interface. The first byte of the input chooses the
//! type. `tests/consensus` does the same by mutating samples.

use crate::fault::faults;
use bitcoin::bip152::{BlockTransactionsRequest, HeaderAndShortIds};
use bitcoin::block::Header;
use bitcoin::p2p::address::AddrV2Message;
use bitcoin::p2p::message::RawNetworkMessage;
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::{Block, MerkleBlock, ScriptBuf, Transaction, TxIn, TxOut, VarInt, Witness};
use bitcoin_support::{ConsensusEncoding, FromSerializeData, SerializeData, ToSerializeData};

faults! {
    /// A byte of the encoding changes.
    ChangesByte,
    /// Bytes after an object are taken for a part of it.
    IgnoresTrailing,
}

pub(crate) fn run(data: &[u8]) {
    run_with(data, Fault::None);
}

/// The encoding of an object, with the mistake.
fn encoded(object: &impl ToSerializeData, fault: Fault) -> SerializeData {
    let mut data = object.to_serialize_data().expect("memory");
    match data.as_mut_slice() {
        [.., last] if fault == Fault::ChangesByte => *last ^= 1,
        _ => {}
    }
    data
}

/// The bytes to decode; with the mistake, the decoder does not see the last of them.
fn seen(bytes: &[u8], fault: Fault) -> &[u8] {
    match bytes {
        [front @ .., _] if fault == Fault::IgnoresTrailing => front,
        _ => bytes,
    }
}

fn older<T: ToSerializeData + FromSerializeData>(bytes: &[u8], fault: Fault) {
    if let Ok(object) = T::from_serialize_data(bytes) {
        let data = encoded(&object, Fault::None);
        let again = T::from_serialize_data(&data).ok().expect("an object's own encoding");
        assert!(encoded(&again, fault) == data);
    }
    let mut stream = SerializeData::from(bytes.to_vec());
    while T::take_from(&mut stream).is_ok() && !stream.is_empty() {}
}

fn newer<T>(bytes: &[u8], fault: Fault)
where
    ConsensusEncoding<T>: FromSerializeData,
    for<'t> ConsensusEncoding<&'t T>: ToSerializeData,
{
    if let Ok(object) = ConsensusEncoding::<T>::from_serialize_data(seen(bytes, fault)) {
        // These decoders accept only the one encoding of an object.
        let data = encoded(&ConsensusEncoding(&object.0), fault);
        assert!(data == *bytes);
    }
}

pub(crate) fn run_with(data: &[u8], fault: Fault) {
    let Some((&which, bytes)) = data.split_first() else { return };
    match which % 20 {
        0 => older::<Transaction>(bytes, fault),
        1 => older::<Block>(bytes, fault),
        2 => older::<Header>(bytes, fault),
        3 => older::<TxIn>(bytes, fault),
        4 => older::<TxOut>(bytes, fault),
        5 => older::<Witness>(bytes, fault),
        6 => older::<ScriptBuf>(bytes, fault),
        7 => older::<VarInt>(bytes, fault),
        8 => older::<MerkleBlock>(bytes, fault),
        9 => older::<HeaderAndShortIds>(bytes, fault),
        10 => older::<BlockTransactionsRequest>(bytes, fault),
        11 => older::<AddrV2Message>(bytes, fault),
        12 => older::<VersionMessage>(bytes, fault),
        // A message keeps the checksum that it came with, so its encoding may differ.
        13 => drop(RawNetworkMessage::from_serialize_data(bytes)),
        14 => newer::<Transaction>(bytes, fault),
        15 => newer::<Block>(bytes, fault),
        16 => newer::<Witness>(bytes, fault),
        17 => newer::<TxOut>(bytes, fault),
        18 => newer::<HeaderAndShortIds>(bytes, fault),
        _ => newer::<Header>(bytes, fault),
    }
}
