//! Hexadecimal digits and base64, decoded into locked memory.

use super::boxed::SecureBox;
use super::error::{OutOfLockedMemory, WrongLength};
use super::vec::SecureVec;
use core::fmt;

/// Why a text cannot be decoded to a secret. Nothing of the text is in the error; what had been
/// decoded has been wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// It is not in the encoding: other characters, or not as many as make whole bytes.
    Malformed,
    /// It has another number of bytes than the array.
    Length(WrongLength),
    /// There is no locked memory for it.
    OutOfLockedMemory(OutOfLockedMemory),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the secret is not in the encoding that is expected"),
            Self::Length(error) => error.fmt(f),
            Self::OutOfLockedMemory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed => None,
            Self::Length(error) => Some(error),
            Self::OutOfLockedMemory(error) => Some(error),
        }
    }
}

impl From<OutOfLockedMemory> for DecodeError {
    fn from(error: OutOfLockedMemory) -> Self {
        Self::OutOfLockedMemory(error)
    }
}

#[cfg(feature = "hex")]
impl SecureVec<u8> {
    /// Decodes hexadecimal digits of either case straight into locked memory, in a time that
    /// depends on their number alone. The text is not wiped: it may be that of a
    /// [`SecureString`](crate::SecureString).
    ///
    /// ```
    /// use bitcoin_support::{SecureString, SecureVec};
    ///
    /// let typed = SecureString::from("00ffAb");
    /// assert!(SecureVec::from_hex(typed.expose_secret())? == [0x00, 0xff, 0xab]);
    /// assert!(SecureVec::from_hex("0").is_err());
    /// # Ok::<(), bitcoin_support::DecodeError>(())
    /// ```
    ///
    /// # Errors
    /// When the text is not pairs of hexadecimal digits, or there is no locked memory.
    pub fn from_hex(text: impl AsRef<[u8]>) -> Result<Self, DecodeError> {
        let text = text.as_ref();
        let mut bytes = Self::try_zeroed(text.len() / 2)?;
        let decoded = base16ct::mixed::decode(text, bytes.expose_secret_mut());
        decoded.map_err(|_| DecodeError::Malformed)?;
        Ok(bytes)
    }
}

#[cfg(feature = "base64")]
impl SecureVec<u8> {
    /// Decodes base64 of the standard alphabet, with its padding, straight into locked memory, in a
    /// time that depends on the length alone. The text is not wiped: it may be that of a
    /// [`SecureString`](crate::SecureString).
    ///
    /// ```
    /// let key = bitcoin_support::SecureVec::from_base64("c2VjcmV0IQ==")?;
    /// assert!(key == b"secret!");
    /// # Ok::<(), bitcoin_support::DecodeError>(())
    /// ```
    ///
    /// # Errors
    /// When the text is not base64, or there is no locked memory.
    pub fn from_base64(text: impl AsRef<[u8]>) -> Result<Self, DecodeError> {
        use base64ct::Encoding;

        let text = text.as_ref();
        let mut bytes = Self::try_zeroed(text.len() / 4 * 3 + 3)?;
        let decoded = base64ct::Base64::decode(text, bytes.expose_secret_mut());
        let len = decoded.map_err(|_| DecodeError::Malformed)?.len();
        bytes.truncate(len);
        Ok(bytes)
    }
}

#[cfg(feature = "hex")]
impl<const N: usize> SecureBox<[u8; N]> {
    /// Decodes hexadecimal digits: [`SecureVec::from_hex`].
    ///
    /// # Errors
    /// As for [`SecureVec::from_hex`]; also when there are not twice `N` digits.
    pub fn from_hex(text: impl AsRef<[u8]>) -> Result<Self, DecodeError> {
        let bytes = SecureVec::from_hex(text)?;
        let wrong = WrongLength { expected: N, actual: bytes.len() };
        Self::try_copy(bytes.expose_secret())?.ok_or(DecodeError::Length(wrong))
    }
}

#[cfg(feature = "base64")]
impl<const N: usize> SecureBox<[u8; N]> {
    /// Decodes base64: [`SecureVec::from_base64`].
    ///
    /// # Errors
    /// As for [`SecureVec::from_base64`]; also when the text has not `N` bytes.
    pub fn from_base64(text: impl AsRef<[u8]>) -> Result<Self, DecodeError> {
        let bytes = SecureVec::from_base64(text)?;
        let wrong = WrongLength { expected: N, actual: bytes.len() };
        Self::try_copy(bytes.expose_secret())?.ok_or(DecodeError::Length(wrong))
    }
}
