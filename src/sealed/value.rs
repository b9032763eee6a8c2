//! A sealed sequence of bytes.

use super::cipher::{Salt, TAG_LEN, Tag, ValueKey, new_salt};
use super::error::SealedError;
use super::keys::{KeyRef, KeyUse, new_value_key};
use crate::fork;
use crate::secure::SecureVec;

/// What is sealed with the bytes, and not kept with them: nothing. The salt binds bytes and object.
const NO_CONTEXT: &[u8] = b"";

/// Bytes that are sealed. They lie on the ordinary heap, the salt in this object. So sealed bytes
/// that are exchanged for those of another object, or for earlier ones of the same, do not belong
/// to the salt, and are refused.
pub(super) struct SealedBytes {
    key: KeyRef,
    salt: Salt,
    /// The tag, and the encrypted bytes.
    bytes: Vec<u8>,
}

impl SealedBytes {
    /// Seals a copy of bytes.
    pub(super) fn seal(plain: &[u8]) -> Result<Self, SealedError> {
        let mut bytes = Vec::new();
        let len = plain.len().checked_add(TAG_LEN).ok_or(SealedError::OutOfMemory)?;
        bytes.try_reserve_exact(len).map_err(|_| SealedError::OutOfMemory)?;
        let (key, salt, value_key) = new_value_key(KeyUse::Value)?;
        let mut scratch = SecureVec::try_from_slice(plain)?;
        let tag = value_key.encrypt(NO_CONTEXT, scratch.expose_secret_mut())?;
        bytes.extend_from_slice(&tag);
        bytes.extend_from_slice(scratch.expose_secret());
        Ok(Self { key, salt, bytes })
    }

    /// Number of bytes that were sealed.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - TAG_LEN
    }

    /// Writes the bytes to a place in locked memory, which must have their number. If it fails, the
    /// place has bytes that tell nothing, or none.
    pub(super) fn open_into(&self, place: &mut [u8]) -> Result<(), SealedError> {
        let (tag, encrypted) = self.bytes.split_first_chunk::<TAG_LEN>().expect("a tag");
        let key = self.key.derive(&self.salt)?;
        place.copy_from_slice(encrypted);
        key.decrypt(NO_CONTEXT, place, tag)
    }

    /// Seals the same bytes with the current key, and with a new salt.
    pub(super) fn reseal(&mut self) -> Result<(), SealedError> {
        let mut next = NextSeal::prepare(self.len())?;
        self.open_into(next.scratch.expose_secret_mut())?;
        next.finish_scratch(self);
        Ok(())
    }
}

/// All that is needed to seal bytes once more, so that it cannot fail: a key, and room.
pub(super) struct NextSeal {
    key: KeyRef,
    salt: Salt,
    value_key: ValueKey,
    scratch: SecureVec<u8>,
    /// The process. Its children have the same key, salt and value key.
    made_in: (u32, u32),
}

impl NextSeal {
    /// For so many bytes.
    pub(super) fn prepare(len: usize) -> Result<Self, SealedError> {
        let made_in = fork::this_process();
        let (key, salt, value_key) = new_value_key(KeyUse::Value)?;
        Ok(Self { key, salt, value_key, scratch: SecureVec::try_zeroed(len)?, made_in })
    }

    /// Whether the memory of the pool has stayed with the parent of this process.
    pub(super) fn is_absent(&self) -> bool {
        self.key.is_absent()
    }

    /// Seals new bytes in place of those of a sealed object, which has as many. If the key was
    /// wiped meanwhile, nothing changes; nor if this is a child of the process that prepared the
    /// encryption, and cannot have a value key that is not the parent's too.
    pub(super) fn finish(mut self, plain: &[u8], sealed: &mut SealedBytes) {
        self.scratch.expose_secret_mut().copy_from_slice(plain);
        self.finish_scratch(sealed);
    }

    fn finish_scratch(mut self, sealed: &mut SealedBytes) {
        if self.made_in != fork::this_process() && self.renew().is_err() {
            return;
        }
        let bytes = self.scratch.expose_secret_mut();
        let Ok(tag) = self.value_key.encrypt(NO_CONTEXT, bytes) else { return };
        let (place_of_tag, place) = sealed.bytes.split_at_mut(TAG_LEN);
        place_of_tag.copy_from_slice(&tag as &Tag);
        place.copy_from_slice(bytes);
        sealed.salt = self.salt;
        sealed.key = self.key;
    }

    /// A new salt, and the value key that follows from it.
    fn renew(&mut self) -> Result<(), SealedError> {
        self.salt = new_salt()?;
        self.value_key = self.key.derive(&self.salt)?;
        Ok(())
    }
}
