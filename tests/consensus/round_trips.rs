//! Values that are encoded and decoded again are the same.

use super::samples::{
    BLOCK_170, Case, NETWORKS, TRANSACTIONS, Verdict, block_170, cases, transactions, unhex,
};
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::psbt::Psbt;
use bitcoin::{
    Amount, Block, CompactTarget, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut,
    Witness, absolute, block, transaction,
};
use bitcoin_support::{FromSerializeData, SerializeData, ToSerializeData};
use proptest::collection::vec;
use proptest::prelude::*;

#[test]
fn every_type_comes_back_and_only_whole() {
    let cases = cases();
    assert!(cases.len() >= 70, "{}", cases.len());
    let mut prefixes = 0;
    for Case { name, encodings, decode } in cases {
        assert!(!encodings.is_empty(), "{name}");
        for encoding in encodings {
            assert_eq!(decode(&encoding), Verdict::Accepted, "{name}");
            // Every prefix of a short encoding, and a thousand prefixes of a long one.
            for len in (0..encoding.len()).step_by(1 + encoding.len() / 1000) {
                let verdict = decode(&encoding[..len]);
                assert_eq!(verdict, Verdict::Truncated, "{name}, {len} of {}", encoding.len());
                prefixes += 1;
            }
            let mut longer = encoding;
            longer.push(0);
            assert_eq!(decode(&longer), Verdict::Trailing, "{name}");
        }
    }
    assert!(prefixes > 10_000);
}

#[test]
fn real_transactions_have_their_identifiers() {
    for (hex, txid, wtxid) in TRANSACTIONS {
        let bytes = unhex(hex);
        let transaction = Transaction::from_serialize_data(&bytes).unwrap();
        assert_eq!(transaction.compute_txid().to_string(), txid);
        assert_eq!(transaction.compute_wtxid().to_string(), wtxid);
        assert!(transaction.to_serialize_data().unwrap() == bytes[..]);
    }
}

#[test]
fn real_blocks_have_their_hashes() {
    let hashes = NETWORKS.map(|network| {
        let block = genesis_block(network);
        let data = block.to_serialize_data().unwrap();
        assert!(data == bitcoin::consensus::serialize(&block)[..]);
        let back = Block::from_serialize_data(&data).unwrap();
        assert!(back.check_merkle_root());
        back.block_hash().to_string()
    });
    assert_eq!(
        hashes,
        [
            "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
            "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
            "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
            "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6",
            "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
        ]
    );
    let data = block_170().to_serialize_data().unwrap();
    let back = Block::from_serialize_data(&data).unwrap();
    assert_eq!(back.block_hash().to_string(), BLOCK_170.1);
    assert!(back.check_merkle_root());
}

#[test]
fn a_large_block_comes_back() {
    let mut block = block_170();
    block.txdata.extend((0..3000).map(|_| transactions()[3].clone()));
    let data = block.to_serialize_data().unwrap();
    assert!(data.len() > 1_000_000);
    assert_eq!(Block::from_serialize_data(&data).unwrap(), block);
}

#[test]
fn a_script_is_written_by_reference() {
    let script = transactions()[1].output[0].script_pubkey.clone();
    let borrowed: &Script = &script;
    let data = borrowed.to_serialize_data().unwrap();
    assert_eq!(ScriptBuf::from_serialize_data(&data).unwrap(), script);
}

#[test]
fn a_psbt_brings_its_own_encoding() {
    let mut unsigned = transactions()[1].clone();
    unsigned.input[0].script_sig = ScriptBuf::new();
    let psbt = Psbt::from_unsigned_tx(unsigned).unwrap();
    let data = SerializeData::from(psbt.serialize());
    assert_eq!(Psbt::deserialize(data.as_slice()).unwrap(), psbt);
}

#[test]
fn data_in_front_of_an_object_stays() {
    let mut data = SerializeData::from(vec![1, 2, 3]);
    transactions()[3].append_to(&mut data).unwrap();
    assert_eq!(data.as_slice()[..3], [1, 2, 3]);
    assert!(data.as_slice()[3..] == bitcoin::consensus::serialize(&transactions()[3])[..]);
    // Data that are refused stay, too.
    let before = data.duplicate().unwrap();
    assert!(Block::take_from(&mut data).is_err());
    assert!(data == before);
}

fn script() -> impl Strategy<Value = ScriptBuf> {
    vec(any::<u8>(), 0..300).prop_map(ScriptBuf::from_bytes)
}

fn witness() -> impl Strategy<Value = Witness> {
    prop_oneof![
        Just(Witness::new()),
        vec(vec(any::<u8>(), 0..100), 1..6).prop_map(|items| Witness::from_slice(&items)),
    ]
}

fn input() -> impl Strategy<Value = TxIn> {
    (any::<[u8; 32]>(), any::<u32>(), script(), any::<u32>(), witness()).prop_map(
        |(txid, vout, script_sig, sequence, witness)| TxIn {
            previous_output: OutPoint { txid: Hash::from_byte_array(txid), vout },
            script_sig,
            sequence: Sequence(sequence),
            witness,
        },
    )
}

fn output() -> impl Strategy<Value = TxOut> {
    (any::<u64>(), script())
        .prop_map(|(value, script_pubkey)| TxOut { value: Amount::from_sat(value), script_pubkey })
}

/// A transaction that may be invalid: without inputs, without outputs, with more money than exists.
fn transaction() -> impl Strategy<Value = Transaction> {
    (any::<i32>(), any::<u32>(), vec(input(), 0..5), vec(output(), 0..5)).prop_map(
        |(version, lock_time, input, output)| Transaction {
            version: transaction::Version(version),
            lock_time: absolute::LockTime::from_consensus(lock_time),
            input,
            output,
        },
    )
}

fn header() -> impl Strategy<Value = block::Header> {
    (any::<i32>(), any::<[u8; 32]>(), any::<[u8; 32]>(), any::<[u32; 3]>()).prop_map(
        |(version, previous, root, [time, bits, nonce])| block::Header {
            version: block::Version::from_consensus(version),
            prev_blockhash: Hash::from_byte_array(previous),
            merkle_root: Hash::from_byte_array(root),
            time,
            bits: CompactTarget::from_consensus(bits),
            nonce,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_transaction_comes_back(transaction in transaction()) {
        let data = transaction.to_serialize_data().unwrap();
        prop_assert_eq!(data.as_slice(), &bitcoin::consensus::serialize(&transaction)[..]);
        prop_assert_eq!(data.len(), transaction.total_size());
        prop_assert_eq!(Transaction::from_serialize_data(&data).unwrap(), transaction);
    }

    #[test]
    fn any_block_comes_back(header in header(), txdata in vec(transaction(), 0..8)) {
        let block = Block { header, txdata };
        let mut data = block.to_serialize_data().unwrap();
        prop_assert_eq!(data.as_slice(), &bitcoin::consensus::serialize(&block)[..]);
        prop_assert_eq!(Block::take_from(&mut data).unwrap(), block);
        prop_assert!(data.is_empty());
    }
}
