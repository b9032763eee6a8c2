//! `check_lengths`: whether an encoding is as long as the lengths in it claim.
//!
//! Most decoders of `bitcoin` allocate memory as bytes arrive. But those of witnesses, of the bits
//! of Merkle trees and of network messages allocate at once for any claimed length up to 4 000 000:
//! some tens of megabytes for a dozen bytes of input. So an encoding of a type that contains one of
//! these is first walked through, without allocating, and reaches the decoder only if all claimed
//! bytes are there. All other errors are left to the decoder. (Tuples of these types are not
//! checked.)

use bitcoin::bip152::{BlockTransactions, HeaderAndShortIds, PrefilledTransaction};
use bitcoin::consensus::encode::CheckedData;
use bitcoin::merkle_tree::PartialMerkleTree;
use bitcoin::p2p::message::RawNetworkMessage;
use bitcoin::p2p::message_compact_blocks::{BlockTxn, CmpctBlock};
use bitcoin::{Block, MerkleBlock, Transaction, Witness};
use core::any::TypeId;

/// The input is shorter than its lengths claim.
pub(super) struct Short;

/// Checks `bytes`, an encoding of a `T`, if `T` is a type that needs it.
pub(super) fn check_lengths<'b, T: 'static>(bytes: &'b [u8]) -> Result<(), Short> {
    type Walk<'b> = fn(&mut Walker<'b>) -> Result<(), Short>;
    let walks: [(TypeId, Walk<'b>); 14] = [
        (TypeId::of::<Transaction>(), Walker::transaction),
        (TypeId::of::<Block>(), Walker::block),
        (TypeId::of::<Witness>(), Walker::witness),
        (TypeId::of::<Vec<Transaction>>(), Walker::transactions),
        (TypeId::of::<PrefilledTransaction>(), Walker::prefilled_transaction),
        (TypeId::of::<Vec<PrefilledTransaction>>(), Walker::prefilled_transactions),
        (TypeId::of::<HeaderAndShortIds>(), Walker::compact_block),
        (TypeId::of::<CmpctBlock>(), Walker::compact_block),
        (TypeId::of::<BlockTransactions>(), Walker::block_transactions),
        (TypeId::of::<BlockTxn>(), Walker::block_transactions),
        (TypeId::of::<PartialMerkleTree>(), Walker::partial_merkle_tree),
        (TypeId::of::<MerkleBlock>(), Walker::merkle_block),
        (TypeId::of::<CheckedData>(), Walker::checked_data),
        (TypeId::of::<RawNetworkMessage>(), Walker::message),
    ];
    let wanted = TypeId::of::<T>();
    match walks.iter().find(|(id, _)| *id == wanted) {
        Some((_, walk)) => walk(&mut Walker { rest: bytes }),
        None => Ok(()),
    }
}

/// Sizes of a block header and of a hash in bytes.
const HEADER: u64 = 80;
const HASH: u64 = 32;

/// Reads an encoding from the front. Each method passes over one object, or finds that it is not
/// complete.
struct Walker<'b> {
    /// The bytes that have not been read.
    rest: &'b [u8],
}

impl<'b> Walker<'b> {
    fn take(&mut self, len: u64) -> Result<&'b [u8], Short> {
        let len = usize::try_from(len).map_err(|_| Short)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self, len: u64) -> Result<u64, Short> {
        let bytes = self.take(len)?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn compact_size(&mut self) -> Result<u64, Short> {
        match self.number(1)? {
            0xfd => self.number(2),
            0xfe => self.number(4),
            0xff => self.number(8),
            small => Ok(small),
        }
    }

    /// A number of bytes, then the bytes.
    fn bytes(&mut self) -> Result<(), Short> {
        let len = self.compact_size()?;
        self.take(len).map(drop)
    }

    /// A number of items, then the items. Each item has at least one byte, so the loop ends with
    /// the input.
    fn items(&mut self, item: fn(&mut Self) -> Result<(), Short>) -> Result<u64, Short> {
        let count = self.compact_size()?;
        for _ in 0..count {
            item(self)?;
        }
        Ok(count)
    }

    fn witness(&mut self) -> Result<(), Short> {
        self.items(Self::bytes).map(drop)
    }

    fn input(&mut self) -> Result<(), Short> {
        self.take(HASH + 4)?;
        self.bytes()?;
        self.take(4).map(drop)
    }

    fn output(&mut self) -> Result<(), Short> {
        self.take(8)?;
        self.bytes()
    }

    fn transaction(&mut self) -> Result<(), Short> {
        self.take(4)?;
        let mut inputs = self.items(Self::input)?;
        // The number 0 means that a flag follows, and then the inputs (BIP 144).
        let has_witnesses = inputs == 0;
        if has_witnesses {
            self.take(1)?;
            inputs = self.items(Self::input)?;
        }
        self.items(Self::output)?;
        if has_witnesses {
            for _ in 0..inputs {
                self.witness()?;
            }
        }
        self.take(4).map(drop)
    }

    fn transactions(&mut self) -> Result<(), Short> {
        self.items(Self::transaction).map(drop)
    }

    fn block(&mut self) -> Result<(), Short> {
        self.take(HEADER)?;
        self.transactions()
    }

    fn block_transactions(&mut self) -> Result<(), Short> {
        self.take(HASH)?;
        self.transactions()
    }

    fn prefilled_transaction(&mut self) -> Result<(), Short> {
        self.compact_size()?;
        self.transaction()
    }

    fn prefilled_transactions(&mut self) -> Result<(), Short> {
        self.items(Self::prefilled_transaction).map(drop)
    }

    fn compact_block(&mut self) -> Result<(), Short> {
        self.take(HEADER + 8)?;
        self.items(|walker| walker.take(6).map(drop))?;
        self.prefilled_transactions()
    }

    fn partial_merkle_tree(&mut self) -> Result<(), Short> {
        self.take(4)?;
        self.items(|walker| walker.take(HASH).map(drop))?;
        self.bytes()
    }

    fn merkle_block(&mut self) -> Result<(), Short> {
        self.take(HEADER)?;
        self.partial_merkle_tree()
    }

    fn checked_data(&mut self) -> Result<(), Short> {
        let len = self.number(4)?;
        self.take(4 + len).map(drop)
    }

    /// A network message. Its payload may be complete and still be shorter than the lengths in it
    /// claim.
    fn message(&mut self) -> Result<(), Short> {
        self.take(4)?;
        let command = self.take(12)?;
        let len = self.number(4)?;
        self.take(4)?;
        let mut payload = Walker { rest: self.take(len)? };
        match command.split(|&byte| byte == 0).next() {
            Some(b"tx") => payload.transaction(),
            Some(b"block") => payload.block(),
            Some(b"merkleblock") => payload.merkle_block(),
            Some(b"cmpctblock") => payload.compact_block(),
            Some(b"blocktxn") => payload.block_transactions(),
            _ => Ok(()),
        }
    }
}
