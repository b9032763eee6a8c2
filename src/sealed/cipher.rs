//! The key of one value, and encryption and decryption with it.
//!
//! All computations with keys are in [`apart`], the one place that sees to what they leave behind.

use super::error::SealedError;
use crate::secret_stack::SecretStack;
use crate::secure::{OutOfLockedMemory, SecureBox};
use chacha20poly1305::aead::generic_array::GenericArray;
use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, Key, KeyInit, Nonce};
use core::hint::black_box;
use core::sync::atomic::{Ordering, compiler_fence};
use sha2::{Digest, Sha512};

/// Length of a salt in bytes.
pub(super) const SALT_LEN: usize = 32;
/// Length of the tag that authenticates a value, in bytes.
pub(super) const TAG_LEN: usize = 16;
/// Length of a prekey in bytes: that of OpenSSH's shielded keys. An attacker who reads memory with
/// errors, or in small pieces, has to get all of it right.
pub(super) const PREKEY_LEN: usize = 16 * 1024;

const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
/// The hash is for nothing else.
const PURPOSE: &[u8] = b"bitcoin-support: key of a sealed value\0";

/// A random number of the system's that belongs to one encryption of one value. It is no secret.
pub(super) type Salt = [u8; SALT_LEN];
/// Authenticates a value.
pub(super) type Tag = [u8; TAG_LEN];

/// A salt that has never been used.
pub(super) fn new_salt() -> Result<Salt, SealedError> {
    let mut salt = [0; SALT_LEN];
    // The kernel's random numbers, and not those of a generator in this process: a child of `fork`
    // would repeat the numbers of the latter.
    getrandom::fill(&mut salt).map_err(|_| SealedError::NoRandomness)?;
    Ok(salt)
}

/// The key and the nonce of one encryption, in locked memory: the hash of a salt and a prekey.
///
/// The salt is new for each encryption, so that no key encrypts twice. The salt is hashed before
/// the prekey: then each intermediate state of the hash belongs to this one value too.
pub(super) struct ValueKey(SecureBox<[u8; 64]>);

impl ValueKey {
    pub(super) fn derive(
        prekey: &[u8; PREKEY_LEN],
        salt: &Salt,
    ) -> Result<Self, OutOfLockedMemory> {
        let mut key = SecureBox::try_zeroed()?;
        apart(|| {
            let hash = Sha512::new().chain_update(PURPOSE).chain_update(salt).chain_update(prekey);
            let place: &mut [u8; 64] = key.expose_secret_mut();
            hash.finalize_into(GenericArray::from_mut_slice(place));
        });
        Ok(Self(key))
    }

    /// Encrypts bytes in their place.
    ///
    /// # Errors
    /// When the key was wiped before the end ([`SealedError::KeyWiped`]): the bytes are encrypted
    /// with what anyone may know, and must not leave locked memory.
    pub(super) fn encrypt(&self, context: &[u8], bytes: &mut [u8]) -> Result<Tag, SealedError> {
        let tag = apart(|| {
            let (key, nonce) = self.parts();
            let cipher = ChaCha20Poly1305::new(key);
            cipher.encrypt_in_place_detached(nonce, context, bytes)
        });
        if has_zero_word(self.0.expose_secret()) {
            return Err(SealedError::KeyWiped);
        }
        // The cipher takes 256 GiB, and refuses more.
        tag.map(Into::into).map_err(|_| SealedError::OutOfMemory)
    }

    /// Decrypts bytes in their place, if they are the ones that were encrypted with this key in
    /// this context. The cipher compares the tag before it decrypts.
    ///
    /// # Errors
    /// [`SealedError::Tampered`]; and [`SealedError::KeyWiped`] when the key was wiped before the
    /// end: bytes that anyone may have made would belong to a key of zeros.
    pub(super) fn decrypt(
        &self,
        context: &[u8],
        bytes: &mut [u8],
        tag: &Tag,
    ) -> Result<(), SealedError> {
        let decrypted = apart(|| {
            let (key, nonce) = self.parts();
            let cipher = ChaCha20Poly1305::new(key);
            cipher.decrypt_in_place_detached(nonce, context, bytes, GenericArray::from_slice(tag))
        });
        if has_zero_word(self.0.expose_secret()) {
            return Err(SealedError::KeyWiped);
        }
        decrypted.map_err(|_| SealedError::Tampered)
    }

    fn parts(&self) -> (&Key, &Nonce) {
        let (key, rest) = self.0.expose_secret().split_at(KEY_LEN);
        (Key::from_slice(key), Nonce::from_slice(&rest[..NONCE_LEN]))
    }
}

/// Whether random bytes have been wiped, or are just being wiped. (Among 2048 random words there is
/// a zero once in 2^53 times.)
///
/// A wipe writes zeros and nothing else. So if none is found after the bytes were used, they were
/// whole as long as they were used.
pub(super) fn has_zero_word(bytes: &[u8]) -> bool {
    compiler_fence(Ordering::SeqCst);
    black_box(bytes).chunks_exact(8).any(|word| *word == [0; 8])
}

/// How deep the computations go: farther in a build that is not optimized.
const STACK_DEPTH: usize = if cfg!(debug_assertions) { 24 * 1024 } else { 8 * 1024 };

/// Runs a computation with keys on a secret stack, which is wiped afterwards, with the registers.
/// Where there is none, it runs on the thread's own stack, and the part that it has used is
/// overwritten.
fn apart<R>(compute: impl FnOnce() -> R) -> R {
    #[inline(never)]
    fn run<R>(compute: impl FnOnce() -> R) -> R {
        compute()
    }

    #[inline(never)]
    fn clear_stack() {
        black_box(&mut [0_u8; STACK_DEPTH]);
    }

    let mut compute = Some(compute);
    if let Ok(Some(result)) = SecretStack::new().run(|| compute.take().map(|compute| compute())) {
        return result;
    }
    let compute = compute.take().expect("it has not been called where there is no secret stack");
    let result = run(compute);
    clear_stack();
    result
}
