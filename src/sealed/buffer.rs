//! A sealed secret in one buffer of the caller, which has all that is needed to open it.

use super::cipher::{SALT_LEN, TAG_LEN};
use super::error::SealedError;
use super::keys::{KeyUse, new_value_key, with_number};
use crate::secure::SecureVec;

const NUMBER_LEN: usize = size_of::<u64>();
/// How many bytes longer a buffer is than the secret: a salt, the number of the sealing key, and a
/// tag.
pub(crate) const OVERHEAD: usize = SALT_LEN + NUMBER_LEN + TAG_LEN;

/// A secret that has been sealed for a buffer.
pub(crate) struct SealedForBuffer {
    /// What stands before the encrypted bytes.
    pub(crate) head: [u8; OVERHEAD],
    pub(crate) encrypted: SecureVec<u8>,
}

/// Seals a secret. It can be opened in the same context only.
pub(crate) fn seal_buffer(secret: &[u8], context: &[u8]) -> Result<SealedForBuffer, SealedError> {
    let (key, salt, value_key) = new_value_key(KeyUse::Buffer)?;
    let mut encrypted = SecureVec::try_from_slice(secret)?;
    let tag = value_key.encrypt(context, encrypted.expose_secret_mut())?;
    let mut head = [0; OVERHEAD];
    let (place_of_salt, rest) = head.split_at_mut(SALT_LEN);
    let (place_of_number, place_of_tag) = rest.split_at_mut(NUMBER_LEN);
    place_of_salt.copy_from_slice(&salt);
    place_of_number.copy_from_slice(&key.number().to_le_bytes());
    place_of_tag.copy_from_slice(&tag);
    Ok(SealedForBuffer { head, encrypted })
}

/// Opens a sealed secret, whose first [`OVERHEAD`] bytes are the head.
pub(crate) fn open_buffer(sealed: &[u8], context: &[u8]) -> Result<SecureVec<u8>, SealedError> {
    let parts = sealed.split_first_chunk::<SALT_LEN>().and_then(|(salt, rest)| {
        let (number, rest) = rest.split_first_chunk::<NUMBER_LEN>()?;
        let (tag, encrypted) = rest.split_first_chunk::<TAG_LEN>()?;
        Some((salt, number, tag, encrypted))
    });
    let Some((salt, number, tag, encrypted)) = parts else { return Err(SealedError::Tampered) };
    let key = with_number(u64::from_le_bytes(*number))?.ok_or(SealedError::KeyWiped)?;
    let value_key = key.derive(salt)?;
    let mut secret = SecureVec::try_from_slice(encrypted)?;
    value_key.decrypt(context, secret.expose_secret_mut(), tag)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::{open_buffer, seal_buffer};
    use crate::sealed::{SealedError, rotate_sealing_key};
    use std::sync::Barrier;
    use std::thread;

    fn sealed(secret: &[u8], context: &[u8]) -> Vec<u8> {
        let sealed = seal_buffer(secret, context).unwrap();
        [&sealed.head, sealed.encrypted.expose_secret()].concat()
    }

    /// One test, because keys are the process's: a rotation by another test would count.
    #[test]
    fn it_opens_in_its_context_and_after_a_rotation() {
        let buffer = sealed(b"a seed", b"alice");
        assert_eq!(open_buffer(&buffer, b"alice").unwrap().expose_secret(), b"a seed");
        for context in [&b"bob"[..], b"", b"alice2"] {
            assert_eq!(open_buffer(&buffer, context).unwrap_err(), SealedError::Tampered);
        }
        // Also after one that came while it was being sealed.
        for _ in 0..300 {
            let together = Barrier::new(2);
            let buffer = thread::scope(|scope| {
                let sealing = scope.spawn(|| {
                    together.wait();
                    sealed(b"a seed", b"")
                });
                together.wait();
                rotate_sealing_key().unwrap();
                sealing.join().unwrap()
            });
            assert_eq!(open_buffer(&buffer, b"").unwrap().expose_secret(), b"a seed");
        }
    }
}
