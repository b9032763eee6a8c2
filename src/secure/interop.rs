//! Traits of other crates on the secret types, each behind the feature of the crate's name.

/// Readers of data formats: `#[derive(Deserialize)]` for a structure with secrets. The bytes go
/// from the deserializer into locked memory. What the deserializer keeps is not wiped: to leave
/// nothing, let it borrow from locked memory (`serde_json::from_slice(secret.expose_secret())`),
/// and have no escapes in the text, which it would undo in another buffer. Nothing here is
/// `Serialize`: what [`expose_secret`](crate::SecureString::expose_secret) returns is.
///
/// Errors of deserializers and of other types tell what they have found, which may be the secret.
/// So an error here says only that the secret could not be read, or that there is no locked memory.
#[cfg(feature = "serde")]
const _: () = {
    use super::boxed::SecureBox;
    use super::error::OutOfLockedMemory;
    use super::string::SecureString;
    use super::vec::SecureVec;
    use core::fmt;
    use core::marker::PhantomData;
    use serde_core::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

    /// The error in place of one that may contain the secret.
    fn hidden<E: Error>(_: E) -> E {
        E::custom("a secret could not be read as its type (what was found is not shown)")
    }

    struct Text;

    impl Visitor<'_> for Text {
        type Value = Result<SecureString, OutOfLockedMemory>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a secret text")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(SecureString::try_from_str(text))
        }

        fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
            // Wipes the string, also where there is no memory.
            let text = zeroize::Zeroizing::new(text);
            self.visit_str(&text)
        }
    }

    impl<'de> Deserialize<'de> for SecureString {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_string(Text).map_err(hidden)?.map_err(D::Error::custom)
        }
    }

    struct Elements<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
        type Value = Result<SecureVec<T>, OutOfLockedMemory>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence of secret elements")
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Self::Value, S::Error> {
            let mut vec = SecureVec::new();
            while let Some(element) = elements.next_element()? {
                if let Err(error) = vec.try_push(element) {
                    // If elements are left, the deserializer reports that in place of this error.
                    while elements.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(Err(error));
                }
            }
            Ok(Ok(vec))
        }
    }

    impl<'de, T: Deserialize<'de>> Deserialize<'de> for SecureVec<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let read = deserializer.deserialize_seq(Elements(PhantomData));
            read.map_err(hidden)?.map_err(D::Error::custom)
        }
    }

    /// By way of the stack.
    impl<'de, T: Deserialize<'de>> Deserialize<'de> for SecureBox<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let value = T::deserialize(deserializer).map_err(hidden)?;
            Self::try_new(value).map_err(D::Error::custom)
        }
    }
};

#[cfg(feature = "secrecy")]
const _: () = {
    use super::allocator::LockedAllocator;
    use super::boxed::SecureBox;
    use super::string::SecureString;
    use super::vec::SecureVec;
    use secrecy::{ExposeSecret, ExposeSecretMut, SecretSlice, SecretString};
    use zeroize::Zeroize;

    impl<T: ?Sized, A: LockedAllocator> ExposeSecret<T> for SecureBox<T, A> {
        fn expose_secret(&self) -> &T {
            self.expose_secret()
        }
    }

    impl<T: ?Sized, A: LockedAllocator> ExposeSecretMut<T> for SecureBox<T, A> {
        fn expose_secret_mut(&mut self) -> &mut T {
            self.expose_secret_mut()
        }
    }

    impl<T, A: LockedAllocator> ExposeSecret<[T]> for SecureVec<T, A> {
        fn expose_secret(&self) -> &[T] {
            self.expose_secret()
        }
    }

    impl<T, A: LockedAllocator> ExposeSecretMut<[T]> for SecureVec<T, A> {
        fn expose_secret_mut(&mut self) -> &mut [T] {
            self.expose_secret_mut()
        }
    }

    impl<A: LockedAllocator> ExposeSecret<str> for SecureString<A> {
        fn expose_secret(&self) -> &str {
            self.expose_secret()
        }
    }

    impl<A: LockedAllocator> ExposeSecretMut<str> for SecureString<A> {
        fn expose_secret_mut(&mut self) -> &mut str {
            self.expose_secret_mut()
        }
    }

    /// Moves a secret of the `secrecy` crate into locked memory and wipes the original. Panics when
    /// there is no locked memory.
    impl From<SecretString> for SecureString {
        #[track_caller]
        fn from(secret: SecretString) -> Self {
            Self::from(secret.expose_secret())
        }
    }

    /// Moves a secret of the `secrecy` crate into locked memory and wipes the original. Panics when
    /// there is no locked memory.
    impl<T: Copy + Zeroize> From<SecretSlice<T>> for SecureVec<T>
    where
        [T]: Zeroize,
    {
        #[track_caller]
        fn from(secret: SecretSlice<T>) -> Self {
            Self::from(secret.expose_secret())
        }
    }
};

/// What `AeadInPlace` encrypts and decrypts in place, in locked memory.
#[cfg(feature = "aead")]
impl<A: super::allocator::LockedAllocator> aead::Buffer for super::vec::SecureVec<u8, A> {
    fn extend_from_slice(&mut self, bytes: &[u8]) -> aead::Result<()> {
        self.try_extend_from_slice(bytes).map_err(|_| aead::Error)
    }

    fn truncate(&mut self, len: usize) {
        self.truncate(len);
    }
}

/// Consensus encoding into locked memory. (To decode, read from a `std::io::Cursor` over the
/// vector.)
#[cfg(feature = "consensus")]
impl<A: super::allocator::LockedAllocator> bitcoin::io::Write for super::vec::SecureVec<u8, A> {
    fn write(&mut self, bytes: &[u8]) -> bitcoin::io::Result<usize> {
        let written = self.try_extend_from_slice(bytes);
        written.map_err(|error| bitcoin::io::Error::from(std::io::Error::from(error)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> bitcoin::io::Result<()> {
        Ok(())
    }
}

/// Appends bytes; panics when there is no locked memory.
#[cfg(feature = "bytes")]
const _: () = {
    use super::allocator::LockedAllocator;
    use super::vec::SecureVec;
    use bytes::BufMut;
    use bytes::buf::UninitSlice;

    // SAFETY: `chunk_mut` returns the unused places of the buffer, of which there is at least one,
    // and returns the same as long as `advance_mut` is not called.
    unsafe impl<A: LockedAllocator> BufMut for SecureVec<u8, A> {
        fn remaining_mut(&self) -> usize {
            isize::MAX as usize - self.len()
        }

        unsafe fn advance_mut(&mut self, count: usize) {
            let room = self.capacity() - self.len();
            assert!(count <= room, "{count} bytes do not fit into the {room} of the chunk");
            // SAFETY: the capacity reaches so far, and the caller promises that it has written to
            // the places.
            unsafe { self.lengthen(self.len() + count) };
        }

        fn chunk_mut(&mut self) -> &mut UninitSlice {
            if self.len() == self.capacity() {
                self.reserve(64);
            }
            UninitSlice::uninit(self.spare_capacity_mut())
        }
    }
};

/// Appends bytes, at once. (`tokio::io::copy` to it reads into a buffer on the ordinary heap first,
/// which nothing wipes. `AsyncReadExt::read_exact` into `expose_secret_mut` does not.)
#[cfg(feature = "tokio")]
const _: () = {
    use super::allocator::LockedAllocator;
    use super::vec::SecureVec;
    use core::pin::Pin;
    use core::task::{Context, Poll};
    use std::io;

    impl<A: LockedAllocator + Unpin> tokio::io::AsyncWrite for SecureVec<u8, A> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(io::Write::write(&mut *self, bytes))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
};
