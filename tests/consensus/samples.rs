//! Values of every type that has a consensus encoding, both as encodings and as cases that can run
//! on any bytes: block 170 of the main chain with the first payment between people (Satoshi
//! Nakamoto to Hal Finney), later transactions with witnesses, the genesis blocks, and made-up
//! values of the other types.

use bitcoin::bip152::{BlockTransactions, BlockTransactionsRequest, HeaderAndShortIds};
use bitcoin::bip158::{FilterHash, FilterHeader};
use bitcoin::block::{self, Header};
use bitcoin::constants::genesis_block;
use bitcoin::hashes::{Hash, sha256, sha256d};
use bitcoin::hex::FromHex;
use bitcoin::p2p::address::{AddrV2, AddrV2Message, Address};
use bitcoin::p2p::message::{CommandString, NetworkMessage, RawNetworkMessage};
use bitcoin::p2p::message_blockdata::{GetBlocksMessage, GetHeadersMessage, Inventory};
use bitcoin::p2p::message_bloom::{BloomFlags, FilterAdd, FilterLoad};
use bitcoin::p2p::message_compact_blocks::{BlockTxn, CmpctBlock, GetBlockTxn, SendCmpct};
use bitcoin::p2p::message_filter::{
    CFCheckpt, CFHeaders, CFilter, GetCFCheckpt, GetCFHeaders, GetCFilters,
};
use bitcoin::p2p::message_network::{Reject, RejectReason, VersionMessage};
use bitcoin::p2p::{Magic, ServiceFlags};
use bitcoin::taproot::TapLeafHash;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, MerkleBlock, Network, OutPoint, ScriptBuf, Sequence,
    Transaction, TxIn, TxMerkleNode, TxOut, Txid, VarInt, Witness, WitnessMerkleNode, Wtxid,
    absolute, transaction,
};
#[cfg(feature = "consensus-encoding")]
use bitcoin_support::ConsensusEncoding;
use bitcoin_support::{ConsensusError, FromSerializeData, SerializeData, ToSerializeData};
use std::any::type_name;
use std::fmt::Debug;
use std::io;

/// A transaction in hexadecimal, its identifier, and its identifier with the witness.
pub(crate) const TRANSACTIONS: [(&str, &str, &str); 4] = [
    // The coinbase of block 170.
    (
        "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff0704ffff\
         001d0102ffffffff0100f2052a01000000434104d46c4968bde02899d2aa0963367c7a6ce34eec332b32e42e5f\
         3407e052d64ac625da6f0718e7b302140434bd725706957c092db53805b821a85b23a7ac61725bac00000000",
        "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082",
        "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082",
    ),
    // The payment in block 170.
    (
        "0100000001c997a5e56e104102fa209c6a852dd90660a20b2d9c352423edce25857fcd37040000000048473044\
         02204e45e16932b8af514961a1d3a1a25fdf3f4f7732e9d624c6c61548ab5fb8cd410220181522ec8eca07de48\
         60a4acdd12909d831cc56cbbac4622082221a8768d1d0901ffffffff0200ca9a3b00000000434104ae1a62fe09\
         c5f51b13905f07f06b99a2f7159b2225f374cd378d71302fa28414e7aab37397f554a7df5f142c21c1b7303b8a\
         0626f1baded5c72a704f7e6cd84cac00286bee0000000043410411db93e1dcdb8a016b49840f8c53bc1eb68a38\
         2e97b1482ecad7b148a6909a5cb2e0eaddfb84ccf9744464f82e160bfa9b8b64f9d4c03f999b8643f656b412a3\
         ac00000000",
        "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16",
        "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16",
    ),
    // A coinbase with a witness commitment.
    (
        "010000000001010000000000000000000000000000000000000000000000000000000000000000ffffffff3603\
         da1b0e00045503bd5704c7dd8a0d0ced13bb5785010800000000000a636b706f6f6c122f4e696e6a61506f6f6c\
         2f5345475749542fffffffff02b4e5a212000000001976a914876fbb82ec05caa6af7a3b5e5a983aae6c6cc6d6\
         88ac0000000000000000266a24aa21a9edf91c46b49eb8a29089980f02ee6b57e7d63d33b18b4fddac2bcd7db2\
         a3983704012000000000000000000000000000000000000000000000000000000000000000000000\
         0000",
        "4be105f158ea44aec57bf12c5817d073a712ab131df6f37786872cfc70734188",
        "4dec22f59b8c704faf29fd575e6895c1f6f88f0d45e3cfe1995998be36950fe7",
    ),
    // Two inputs with witnesses.
    (
        "02000000000102b44f26b275b8ad7b81146ba3dbecd081f9c1ea0dc05b97516f56045cfcd3df030100000000ff\
         ffffff1cb4749ae827c0b75f3d0a31e63efc8c71b47b5e3634a4c698cd53661cab09170100000000ffffffff02\
         0b3a0500000000001976a9143ea74de92762212c96f4dd66c4d72a4deb20b75788ac630500000000000016001\
         493a8dfd1f0b6a600ab01df52b138cda0b82bb7080248304502210084622878c94f4c356ce49c8e33a063ec90f\
         6ee9c0208540888cfab056cd1fca9022014e8dbfdfa46d318c6887afd92dcfa54510e057565e091d64d2ee3a66\
         488f82c0121026e181ffb98ebfe5a64c983073398ea4bcd1548e7b971b4c175346a25a1c12e950247304402203\
         ef00489a0d549114977df2820fab02df75bebb374f5eee9e615107121658cfa02204751f2d1784f8e841bff6d3\
         bcf2396af2f1a5537c0e4397224873fbd3bfbe9cf012102ae6aa498ce2dd204e9180e71b4fb1260fe3d1a95c80\
         25b34e56a9adf5f278af200000000",
        "74cbc7f62e8d77fe8be98a4d1cd0dbe9fca88517e8bb02e85d5d83f40a4ddfb9",
        "78dfbf9ea673075a02b49c335bcb2f9f38453738e078ac7b5fcefd589d71c359",
    ),
];

/// The header of block 170, and its hash.
pub(crate) const BLOCK_170: (&str, &str) = (
    "0100000055bd840a78798ad0da853f68974f3d183e2bd1db6a842c1feecf222a00000000ff104ccb05421ab93e63f8\
     c3ce5c2c2e9dbb37de2764b3a3175c8166562cac7d51b96a49ffff001d283e9e70",
    "00000000d1145790a8694403d4063f323d499e655c83426834d4ce2f8dd4a2ee",
);

pub(crate) const NETWORKS: [Network; 5] =
    [Network::Bitcoin, Network::Testnet, Network::Testnet4, Network::Signet, Network::Regtest];

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    Vec::from_hex(text).expect("hexadecimal")
}

pub(crate) fn transactions() -> Vec<Transaction> {
    TRANSACTIONS
        .iter()
        .map(|(hex, ..)| bitcoin::consensus::deserialize(&unhex(hex)).expect("a transaction"))
        .collect()
}

pub(crate) fn block_170() -> Block {
    let header = bitcoin::consensus::deserialize(&unhex(BLOCK_170.0)).expect("a header");
    Block { header, txdata: transactions()[..2].to_vec() }
}

/// The result of decoding bytes as an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Accepted,
    Truncated,
    Malformed,
    Trailing,
}

/// A type, with encodings of some of its values.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) encodings: Vec<Vec<u8>>,
    /// Decodes bytes as an object of the type. If that succeeds, checks that encoding and decoding
    /// the object returns the same object.
    pub(crate) decode: fn(&[u8]) -> Verdict,
}

/// Encodes and decodes objects.
trait Codec<T> {
    type Error;
    fn write(object: &T, data: &mut SerializeData) -> io::Result<()>;
    fn read(bytes: &[u8]) -> Result<T, ConsensusError<Self::Error>>;
    fn take(data: &mut SerializeData) -> Result<T, ConsensusError<Self::Error>>;
}

/// The traits of `bitcoin`.
struct Older;

impl<T: ToSerializeData + FromSerializeData> Codec<T> for Older {
    type Error = T::Error;

    fn write(object: &T, data: &mut SerializeData) -> io::Result<()> {
        object.append_to(data)
    }

    fn read(bytes: &[u8]) -> Result<T, ConsensusError<Self::Error>> {
        T::from_serialize_data(bytes)
    }

    fn take(data: &mut SerializeData) -> Result<T, ConsensusError<Self::Error>> {
        T::take_from(data)
    }
}

/// The traits of `bitcoin-consensus-encoding`.
#[cfg(feature = "consensus-encoding")]
struct Newer;

#[cfg(feature = "consensus-encoding")]
impl<T, E> Codec<T> for Newer
where
    ConsensusEncoding<T>: FromSerializeData<Error = E>,
    for<'t> ConsensusEncoding<&'t T>: ToSerializeData,
{
    type Error = E;

    fn write(object: &T, data: &mut SerializeData) -> io::Result<()> {
        ConsensusEncoding(object).append_to(data)
    }

    fn read(bytes: &[u8]) -> Result<T, ConsensusError<E>> {
        ConsensusEncoding::from_serialize_data(bytes).map(|object| object.0)
    }

    fn take(data: &mut SerializeData) -> Result<T, ConsensusError<E>> {
        ConsensusEncoding::take_from(data).map(|object| object.0)
    }
}

fn encoding<T, C: Codec<T>>(object: &T) -> SerializeData {
    let mut data = SerializeData::new();
    C::write(object, &mut data).expect("memory");
    data
}

fn decode<T, C: Codec<T>>(bytes: &[u8]) -> Verdict {
    match C::read(bytes) {
        // A message keeps the checksum that it came with. A flag in it of any value but 0 becomes
        // 1, so that the checksum may no longer be right.
        Ok(_) if type_name::<T>() == type_name::<RawNetworkMessage>() => Verdict::Accepted,
        Ok(object) => {
            let data = encoding::<T, C>(&object);
            let Ok(again) = C::read(data.as_slice()) else {
                panic!("an object's own encoding is refused")
            };
            assert!(encoding::<T, C>(&again) == data);
            Verdict::Accepted
        }
        Err(ConsensusError::Truncated) => Verdict::Truncated,
        Err(ConsensusError::Malformed(_)) => Verdict::Malformed,
        Err(ConsensusError::Trailing(_)) => Verdict::Trailing,
        Err(_) => unreachable!("no other error"),
    }
}

/// Checks that values of a type come back the same, and makes a case of them.
fn case<T: PartialEq + Debug, C: Codec<T>>(name: &'static str, values: &[T]) -> Case {
    let mut stream = SerializeData::new();
    let mut encodings = Vec::new();
    for value in values {
        let data = encoding::<T, C>(value);
        let Ok(back) = C::read(data.as_slice()) else { panic!("{name}: {value:?}") };
        assert_eq!(back, *value, "{name}");
        encodings.push(data.as_slice().to_vec());
        C::write(value, &mut stream).expect("memory");
    }
    // All values from one buffer, one after the other.
    for value in values {
        let Ok(back) = C::take(&mut stream) else { panic!("{name}: {value:?}") };
        assert_eq!(back, *value, "{name}");
    }
    assert!(stream.is_empty());
    Case { name, encodings, decode: decode::<T, C> }
}

/// A case of a type of the `bitcoin` crate, which is encoded as that crate encodes it.
fn of<T>(name: &'static str, values: Vec<T>) -> Vec<Case>
where
    T: bitcoin::consensus::Encodable + bitcoin::consensus::Decodable + PartialEq + Debug + 'static,
{
    for value in &values {
        let data = value.to_serialize_data().expect("memory");
        assert!(data == bitcoin::consensus::serialize(value)[..], "{name}: {value:?}");
    }
    vec![case::<T, Older>(name, &values)]
}

/// Two cases for a type that has the newer traits as well.
#[cfg(feature = "consensus-encoding")]
fn both<T>(name: &'static str, values: Vec<T>) -> Vec<Case>
where
    T: bitcoin::consensus::Encodable + bitcoin::consensus::Decodable + PartialEq + Debug + 'static,
    T: bitcoin_consensus_encoding::Encode + bitcoin_consensus_encoding::Decode,
{
    let newer = case::<T, Newer>(name, &values);
    let mut cases = of(name, values);
    assert_eq!(cases[0].encodings, newer.encodings, "{name}");
    cases.push(newer);
    cases
}

#[cfg(not(feature = "consensus-encoding"))]
fn both<T>(name: &'static str, values: Vec<T>) -> Vec<Case>
where
    T: bitcoin::consensus::Encodable + bitcoin::consensus::Decodable + PartialEq + Debug + 'static,
{
    of(name, values)
}

fn hash<T: Hash<Bytes = [u8; 32]>>(byte: u8) -> T {
    T::from_byte_array([byte; 32])
}

fn merkle_block() -> MerkleBlock {
    let block = block_170();
    let wanted = block.txdata[1].compute_txid();
    let fresh = MerkleBlock::from_block_with_predicate(&block, |txid| *txid == wanted);
    // Once it has been encoded, its bits fill whole bytes.
    bitcoin::consensus::deserialize(&bitcoin::consensus::serialize(&fresh)).expect("its encoding")
}

fn witnesses() -> Vec<Witness> {
    vec![
        Witness::new(),
        Witness::from_slice(&[vec![], vec![1], vec![2; 300]]),
        transactions()[3].input[0].witness.clone(),
        Witness::from_slice(&vec![[0_u8; 3]; 300]),
    ]
}

fn addresses() -> Vec<Address> {
    ["127.0.0.1:8333", "[2001:db8::1]:18333"]
        .map(|socket| Address::new(&socket.parse().expect("a socket"), ServiceFlags::WITNESS))
        .to_vec()
}

fn addresses_v2() -> Vec<AddrV2> {
    vec![
        AddrV2::Ipv4("203.0.113.7".parse().expect("an address")),
        AddrV2::Ipv6("2001:db8::7".parse().expect("an address")),
        AddrV2::TorV2([1; 10]),
        AddrV2::TorV3([2; 32]),
        AddrV2::I2p([3; 32]),
        AddrV2::Cjdns("fc00::7".parse().expect("an address")),
        AddrV2::Unknown(171, vec![4; 5]),
    ]
}

fn messages_v2() -> Vec<AddrV2Message> {
    let message = |addr| AddrV2Message {
        time: 1_700_000_000,
        services: ServiceFlags::NETWORK,
        addr,
        port: 8333,
    };
    addresses_v2().into_iter().map(message).collect()
}

fn inventory() -> Vec<Inventory> {
    vec![
        Inventory::Transaction(hash(1)),
        Inventory::Block(hash(2)),
        Inventory::CompactBlock(hash(3)),
        Inventory::WTx(hash(4)),
        Inventory::WitnessTransaction(hash(5)),
        Inventory::WitnessBlock(hash(6)),
        Inventory::Unknown { inv_type: 99, hash: [7; 32] },
    ]
}

fn version() -> VersionMessage {
    let [receiver, sender] = addresses().try_into().expect("two");
    VersionMessage {
        version: 70016,
        services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
        timestamp: 1_700_000_000,
        receiver,
        sender,
        nonce: 42,
        user_agent: "/test:0.1/".into(),
        start_height: 800_000,
        relay: true,
    }
}

fn reject() -> Reject {
    Reject {
        message: "tx".into(),
        ccode: RejectReason::Dust,
        reason: "too small".into(),
        hash: hash(9),
    }
}

fn compact_block() -> HeaderAndShortIds {
    HeaderAndShortIds::from_block(&block_170(), 7, 2, &[]).expect("a block")
}

fn transactions_request() -> BlockTransactionsRequest {
    BlockTransactionsRequest { block_hash: hash(1), indexes: vec![0, 1, 5, 1000] }
}

fn block_transactions() -> BlockTransactions {
    BlockTransactions { block_hash: hash(1), transactions: transactions() }
}

fn bloom_filter(flags: BloomFlags) -> FilterLoad {
    FilterLoad { filter: vec![0xb5; 36], hash_funcs: 11, tweak: 5, flags }
}

fn get_blocks() -> GetBlocksMessage {
    GetBlocksMessage { version: 70016, locator_hashes: vec![hash(1), hash(2)], stop_hash: hash(0) }
}

fn get_headers() -> GetHeadersMessage {
    GetHeadersMessage { version: 70016, locator_hashes: vec![hash(1); 32], stop_hash: hash(0) }
}

fn filter_headers() -> CFHeaders {
    CFHeaders {
        filter_type: 0,
        stop_hash: hash(1),
        previous_filter_header: hash(2),
        filter_hashes: vec![hash(3), hash(4)],
    }
}

fn network_messages() -> Vec<NetworkMessage> {
    use NetworkMessage as Message;

    let filter = CFilter { filter_type: 0, block_hash: hash(1), filter: vec![1, 2, 3] };
    vec![
        Message::Version(version()),
        Message::Verack,
        Message::Addr(addresses().into_iter().map(|address| (1_700_000_000, address)).collect()),
        Message::Inv(inventory()),
        Message::GetData(inventory()),
        Message::NotFound(inventory()),
        Message::GetBlocks(get_blocks()),
        Message::GetHeaders(get_headers()),
        Message::MemPool,
        Message::Tx(transactions()[3].clone()),
        Message::Block(block_170()),
        Message::Headers(vec![block_170().header; 3]),
        Message::SendHeaders,
        Message::GetAddr,
        Message::Ping(1),
        Message::Pong(2),
        Message::MerkleBlock(merkle_block()),
        Message::FilterLoad(bloom_filter(BloomFlags::All)),
        Message::FilterAdd(FilterAdd { data: vec![1; 20] }),
        Message::FilterClear,
        Message::GetCFilters(GetCFilters { filter_type: 0, start_height: 1, stop_hash: hash(1) }),
        Message::CFilter(filter),
        Message::GetCFHeaders(GetCFHeaders { filter_type: 0, start_height: 1, stop_hash: hash(1) }),
        Message::CFHeaders(filter_headers()),
        Message::GetCFCheckpt(GetCFCheckpt { filter_type: 0, stop_hash: hash(1) }),
        Message::CFCheckpt(CFCheckpt {
            filter_type: 0,
            stop_hash: hash(1),
            filter_headers: vec![hash(2), hash(3)],
        }),
        Message::SendCmpct(SendCmpct { send_compact: true, version: 2 }),
        Message::CmpctBlock(CmpctBlock { compact_block: compact_block() }),
        Message::GetBlockTxn(GetBlockTxn { txs_request: transactions_request() }),
        Message::BlockTxn(BlockTxn { transactions: block_transactions() }),
        Message::Alert(vec![1, 2, 3]),
        Message::Reject(reject()),
        Message::FeeFilter(1000),
        Message::WtxidRelay,
        Message::AddrV2(messages_v2()),
        Message::SendAddrV2,
        Message::Unknown {
            command: CommandString::try_from("surprise").expect("short"),
            payload: vec![9; 9],
        },
    ]
}

/// The cases of all types. Also checks their values.
pub(crate) fn cases() -> Vec<Case> {
    let blocks: Vec<Block> = NETWORKS.into_iter().map(genesis_block).chain([block_170()]).collect();
    let headers: Vec<Header> = blocks.iter().map(|block| block.header).collect();
    let inputs: Vec<TxIn> = transactions()
        .into_iter()
        .flat_map(|transaction| transaction.input)
        // An input that is encoded alone has no witness.
        .map(|input| TxIn { witness: Witness::new(), ..input })
        .collect();
    let outputs: Vec<TxOut> =
        transactions().into_iter().flat_map(|transaction| transaction.output).collect();
    let scripts: Vec<ScriptBuf> =
        outputs.iter().map(|output| output.script_pubkey.clone()).collect();

    let cases = vec![
        both("Transaction", transactions()),
        both("TxIn", inputs),
        both("TxOut", outputs.clone()),
        both("OutPoint", vec![OutPoint::null(), OutPoint { txid: hash(1), vout: 7 }]),
        both("Witness", witnesses()),
        both("Block", blocks),
        both("Header", headers),
        both("block::Version", vec![block::Version::ONE, block::Version::TWO]),
        both("transaction::Version", vec![transaction::Version::ONE, transaction::Version::TWO]),
        both("Sequence", vec![Sequence::MAX, Sequence::ZERO, Sequence::ENABLE_RBF_NO_LOCKTIME]),
        both(
            "LockTime",
            vec![absolute::LockTime::ZERO, absolute::LockTime::from_consensus(1_700_000_000)],
        ),
        both("Amount", vec![Amount::ZERO, Amount::ONE_BTC, Amount::MAX_MONEY]),
        both("BlockHash", vec![hash::<BlockHash>(1)]),
        both("TxMerkleNode", vec![hash::<TxMerkleNode>(1)]),
        both("WitnessMerkleNode", vec![hash::<WitnessMerkleNode>(1)]),
        both("CompactTarget", vec![CompactTarget::from_consensus(0x1d00_ffff)]),
        both("PrefilledTransaction", compact_block().prefilled_txs),
        both("ShortId", compact_block().short_ids),
        both("HeaderAndShortIds", vec![compact_block()]),
        both("BlockTransactionsRequest", vec![transactions_request()]),
        both("BlockTransactions", vec![block_transactions()]),
        both("FilterHash", vec![hash::<FilterHash>(1)]),
        both("FilterHeader", vec![hash::<FilterHeader>(1)]),
        both("VersionMessage", vec![version()]),
        both("RejectReason", vec![RejectReason::Malformed, RejectReason::Checkpoint]),
        both("Reject", vec![reject()]),
        both("Inventory", inventory()),
        both("GetBlocksMessage", vec![get_blocks()]),
        both("GetHeadersMessage", vec![get_headers()]),
        both("Address", addresses()),
        both("AddrV2", addresses_v2()),
        both("AddrV2Message", messages_v2()),
        both("CommandString", vec![CommandString::try_from("version").expect("short")]),
        both(
            "GetCFilters",
            vec![GetCFilters { filter_type: 0, start_height: 1, stop_hash: hash(1) }],
        ),
        both(
            "CFilter",
            vec![CFilter { filter_type: 0, block_hash: hash(1), filter: vec![1; 500] }],
        ),
        both(
            "GetCFHeaders",
            vec![GetCFHeaders { filter_type: 0, start_height: 1, stop_hash: hash(1) }],
        ),
        both("CFHeaders", vec![filter_headers()]),
        both("GetCFCheckpt", vec![GetCFCheckpt { filter_type: 0, stop_hash: hash(1) }]),
        both(
            "CFCheckpt",
            vec![CFCheckpt { filter_type: 0, stop_hash: hash(1), filter_headers: vec![hash(2)] }],
        ),
        both(
            "FilterLoad",
            [BloomFlags::None, BloomFlags::All, BloomFlags::PubkeyOnly].map(bloom_filter).to_vec(),
        ),
        both("BloomFlags", vec![BloomFlags::None, BloomFlags::PubkeyOnly]),
        both("FilterAdd", vec![FilterAdd { data: vec![7; 36] }]),
        both("ServiceFlags", vec![ServiceFlags::NONE, ServiceFlags::NETWORK_LIMITED]),
        both("Magic", NETWORKS.into_iter().map(Magic::from).collect()),
        both("SendCmpct", vec![SendCmpct { send_compact: false, version: 1 }]),
        of("ScriptBuf", scripts),
        of(
            "VarInt",
            [0, 252, 253, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX]
                .map(VarInt)
                .to_vec(),
        ),
        of("Txid", vec![hash::<Txid>(1)]),
        of("Wtxid", vec![hash::<Wtxid>(1)]),
        of("sha256d", vec![hash::<sha256d::Hash>(1)]),
        of("sha256", vec![hash::<sha256::Hash>(1)]),
        of("TapLeafHash", vec![hash::<TapLeafHash>(1)]),
        of("MerkleBlock", vec![merkle_block()]),
        of("PartialMerkleTree", vec![merkle_block().txn]),
        of("CmpctBlock", vec![CmpctBlock { compact_block: compact_block() }]),
        of("GetBlockTxn", vec![GetBlockTxn { txs_request: transactions_request() }]),
        of("BlockTxn", vec![BlockTxn { transactions: block_transactions() }]),
        of(
            "RawNetworkMessage",
            network_messages()
                .into_iter()
                .map(|message| RawNetworkMessage::new(Magic::BITCOIN, message))
                .collect(),
        ),
        of("Vec<Transaction>", vec![vec![], transactions()]),
        of("Vec<TxOut>", vec![outputs]),
        of("Vec<u8>", vec![vec![], vec![1_u8; 70_000]]),
        of("String", vec![String::new(), "text".to_owned()]),
        of("bool", vec![false, true]),
        of("u8", vec![0_u8, 255]),
        of("u16", vec![0_u16, 0x1234]),
        of("u32", vec![0_u32, 0x1234_5678]),
        of("u64", vec![0_u64, u64::MAX]),
        of("i32", vec![-1_i32]),
        of("i64", vec![i64::MIN]),
        of("[u8; 32]", vec![[3_u8; 32]]),
        of("(u32, Address)", addresses().into_iter().map(|address| (1_u32, address)).collect()),
    ];
    cases.into_iter().flatten().collect()
}
