//! Any bytes as any type, by the older and the newer traits: they are refused, or they are an encoding
//! whose object is encoded so that it comes back. `cargo +nightly fuzz run consensus`.
//!
//! The first byte of the input chooses the type. `tests/consensus` does the same by mutation alone.

#![no_main]

use bitcoin::bip152::{BlockTransactionsRequest, HeaderAndShortIds};
use bitcoin::block::Header;
use bitcoin::p2p::address::AddrV2Message;
use bitcoin::p2p::message::RawNetworkMessage;
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::{Block, MerkleBlock, ScriptBuf, Transaction, TxIn, TxOut, VarInt, Witness};
use bitcoin_support::{
    ConsensusEncoding, FromSerializeData, SerializeData, ToSerializeData,
};
use libfuzzer_sys::fuzz_target;

fn older<T: ToSerializeData + FromSerializeData>(bytes: &[u8]) {
    if let Ok(object) = T::from_serialize_data(bytes) {
        let data = object.to_serialize_data().expect("memory");
        let again = T::from_serialize_data(&data).ok().expect("an object's own encoding");
        assert!(again.to_serialize_data().expect("memory") == data);
    }
    let mut stream = SerializeData::from(bytes.to_vec());
    while T::take_from(&mut stream).is_ok() && !stream.is_empty() {}
}

fn newer<T>(bytes: &[u8])
where
    ConsensusEncoding<T>: FromSerializeData,
    for<'t> ConsensusEncoding<&'t T>: ToSerializeData,
{
    if let Ok(object) = ConsensusEncoding::<T>::from_serialize_data(bytes) {
        // These decoders take nothing that is not written just so.
        let data = ConsensusEncoding(&object.0).to_serialize_data().expect("memory");
        assert!(data == *bytes);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&which, bytes)) = input.split_first() else { return };
    match which % 20 {
        0 => older::<Transaction>(bytes),
        1 => older::<Block>(bytes),
        2 => older::<Header>(bytes),
        3 => older::<TxIn>(bytes),
        4 => older::<TxOut>(bytes),
        5 => older::<Witness>(bytes),
        6 => older::<ScriptBuf>(bytes),
        7 => older::<VarInt>(bytes),
        8 => older::<MerkleBlock>(bytes),
        9 => older::<HeaderAndShortIds>(bytes),
        10 => older::<BlockTransactionsRequest>(bytes),
        11 => older::<AddrV2Message>(bytes),
        12 => older::<VersionMessage>(bytes),
        // Its own checksum is kept, so that it need not come back.
        13 => drop(RawNetworkMessage::from_serialize_data(bytes)),
        14 => newer::<Transaction>(bytes),
        15 => newer::<Block>(bytes),
        16 => newer::<Witness>(bytes),
        17 => newer::<TxOut>(bytes),
        18 => newer::<HeaderAndShortIds>(bytes),
        _ => newer::<Header>(bytes),
    }
});
