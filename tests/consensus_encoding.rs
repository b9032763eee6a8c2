//! `ConsensusEncoding`: the types of `bitcoin-primitives`, by rust-bitcoin's newer traits. (Those
//! of `bitcoin` are in `consensus`, with the older traits beside the newer.)

#![cfg(feature = "consensus-encoding")]

use bitcoin_primitives::{
    BlockHash, BlockHeader, OutPoint, ScriptPubKeyBuf, Transaction, TxIn, TxOut, Witness,
};
use bitcoin_support::{
    ConsensusEncoding, ConsensusError, FromSerializeData, SerializeData, ToSerializeData,
};
use std::error::Error;
use std::fmt::Debug;

/// The payment in block 170 of the main chain.
const PAYMENT: &str = "\
    0100000001c997a5e56e104102fa209c6a852dd90660a20b2d9c352423edce25857fcd3704000000004847304402204e45\
    e16932b8af514961a1d3a1a25fdf3f4f7732e9d624c6c61548ab5fb8cd410220181522ec8eca07de4860a4acdd12909d83\
    1cc56cbbac4622082221a8768d1d0901ffffffff0200ca9a3b00000000434104ae1a62fe09c5f51b13905f07f06b99a2f7\
    159b2225f374cd378d71302fa28414e7aab37397f554a7df5f142c21c1b7303b8a0626f1baded5c72a704f7e6cd84cac00\
    286bee0000000043410411db93e1dcdb8a016b49840f8c53bc1eb68a382e97b1482ecad7b148a6909a5cb2e0eaddfb84cc\
    f9744464f82e160bfa9b8b64f9d4c03f999b8643f656b412a3ac00000000";

fn payment() -> Vec<u8> {
    let digits: Vec<u8> = PAYMENT.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Checks that the bytes are the encoding of a `T`, that the `T` is encoded as the same bytes, and
/// that shorter and longer bytes are refused.
#[track_caller]
fn comes_back<T>(bytes: &[u8]) -> T
where
    ConsensusEncoding<T>: FromSerializeData,
    for<'t> ConsensusEncoding<&'t T>: ToSerializeData,
{
    let Ok(object) = ConsensusEncoding::<T>::from_serialize_data(bytes) else { panic!("refused") };
    assert!(ConsensusEncoding(&object.0).to_serialize_data().unwrap() == *bytes);
    for len in 0..bytes.len() {
        let error = ConsensusEncoding::<T>::from_serialize_data(&bytes[..len]).err();
        assert!(matches!(error, Some(ConsensusError::Truncated)), "{len} of {}", bytes.len());
    }
    let longer = [bytes, &[0, 0]].concat();
    let error = ConsensusEncoding::<T>::from_serialize_data(&longer).err();
    assert!(matches!(error, Some(ConsensusError::Trailing(2))));
    object.0
}

#[track_caller]
fn malformed<T: Debug>(bytes: &[u8]) -> String
where
    ConsensusEncoding<T>: FromSerializeData<Error: Error + 'static>,
{
    let error = ConsensusEncoding::<T>::from_serialize_data(bytes).unwrap_err();
    assert!(matches!(error, ConsensusError::Malformed(_)), "{error:?}");
    assert_eq!(error.to_string(), "the data are not an encoding of the object");
    error.source().expect("the decoder's error").to_string()
}

#[test]
fn a_payment_and_its_parts_come_back() {
    let bytes = payment();
    let transaction: Transaction = comes_back(&bytes);
    assert_eq!(
        transaction.compute_txid().to_string(),
        "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16"
    );
    let data = ConsensusEncoding(&transaction.inputs[0].previous_output).to_serialize_data();
    let _: OutPoint = comes_back(data.unwrap().as_slice());
    let data = ConsensusEncoding(&transaction.inputs[0]).to_serialize_data().unwrap();
    let _: TxIn = comes_back(data.as_slice());
    let data = ConsensusEncoding(&transaction.outputs[1]).to_serialize_data().unwrap();
    let output: TxOut = comes_back(data.as_slice());
    assert_eq!(output, transaction.outputs[1]);
    // A script is encoded from a borrowed value and decoded to an owned one.
    let data = ConsensusEncoding(output.script_pubkey.as_script()).to_serialize_data().unwrap();
    let script = ConsensusEncoding::<ScriptPubKeyBuf>::from_serialize_data(&data).unwrap();
    assert_eq!(script.0, output.script_pubkey);
    let _: Witness = comes_back(&[2, 1, 0xaa, 3, 1, 2, 3]);
    let _: BlockHash = comes_back(&[7; 32]);
    let _: BlockHeader = comes_back(&[7; 80]);
}

#[test]
fn objects_follow_each_other() {
    let bytes = payment();
    let mut data = SerializeData::from([&bytes[..], &[9; 32], &bytes].concat());
    let first = ConsensusEncoding::<Transaction>::take_from(&mut data).unwrap();
    let hash = ConsensusEncoding::<BlockHash>::take_from(&mut data).unwrap();
    assert_eq!(hash.0, BlockHash::from_byte_array([9; 32]));
    assert_eq!(ConsensusEncoding::<Transaction>::take_from(&mut data).unwrap(), first);
    assert!(data.is_empty());
    assert_eq!(
        ConsensusEncoding::<BlockHash>::take_from(&mut data).unwrap_err(),
        ConsensusError::Truncated
    );
}

#[test]
fn what_is_wrong_is_told() {
    // A length that is not encoded in the fewest bytes.
    let why = malformed::<ScriptPubKeyBuf>(&[0xfd, 3, 0, 1, 2, 3]);
    assert!(!why.is_empty());
    // A length above the limit.
    malformed::<Witness>(&[0xff, 0, 0, 0, 0, 1, 0, 0, 0]);
    // A flag that does not exist.
    let mut bytes = payment();
    bytes.splice(4..4, [0, 7]);
    malformed::<Transaction>(&bytes);
}
