//! The traits of other crates on the secret types: they do what those crates expect, and their
//! bytes lie in locked memory.

#![cfg(any(
    feature = "aead",
    feature = "bytes",
    feature = "consensus",
    feature = "secrecy",
    feature = "serde",
    feature = "tokio"
))]

#[cfg(any(feature = "secrecy", feature = "serde"))]
use bitcoin_support::SecureString;
use bitcoin_support::SecureVec;

#[cfg(feature = "serde")]
#[test]
fn serde_makes_secrets_of_what_it_reads() {
    use bitcoin_support::SecureBox;
    use serde_core::Deserialize;
    use serde_core::de::IntoDeserializer;
    use serde_core::de::value::{Error, SeqDeserializer, StrDeserializer, StringDeserializer};

    let text: StrDeserializer<'_, Error> = "horse".into_deserializer();
    assert!(SecureString::deserialize(text).unwrap() == "horse");
    let text: StringDeserializer<Error> = String::from("horse").into_deserializer();
    assert!(SecureString::deserialize(text).unwrap() == "horse");
    let number: serde_core::de::value::U32Deserializer<Error> = 7_u32.into_deserializer();
    assert_eq!(*SecureBox::<u32>::deserialize(number).unwrap().expose_secret(), 7);
    let bytes: SeqDeserializer<_, Error> = SeqDeserializer::new([1_u8, 2, 3].into_iter());
    assert!(SecureVec::<u8>::deserialize(bytes).unwrap() == [1, 2, 3]);
    let texts: SeqDeserializer<_, Error> = SeqDeserializer::new(["one", "two"].into_iter());
    let texts = SecureVec::<SecureString>::deserialize(texts).unwrap();
    assert!(texts.len() == 2 && texts.expose_secret()[1] == "two");
    let mixed: SeqDeserializer<_, Error> = SeqDeserializer::new(["one", "two"].into_iter());
    assert!(SecureVec::<u8>::deserialize(mixed).is_err());
}

/// A key of another kind than the program expects, in a file that a person has written, must not
/// come into the program's log.
#[cfg(feature = "serde")]
#[test]
fn errors_do_not_show_what_was_read() {
    use bitcoin_support::SecureBox;
    use serde_core::de::value::{
        Error, F64Deserializer, I64Deserializer, SeqDeserializer, StrDeserializer, U64Deserializer,
    };
    use serde_core::de::{Deserialize, IntoDeserializer};

    fn hides<'de, T: Deserialize<'de>>(from: impl IntoDeserializer<'de, Error>, secret: &str) {
        let Err(error) = T::deserialize(from.into_deserializer()) else { panic!("it was read") };
        assert!(!error.to_string().contains(secret), "{error}");
        assert!(error.to_string().contains("a secret could not be read"), "{error}");
    }
    let number: U64Deserializer<Error> = 1234567_u64.into_deserializer();
    hides::<SecureString>(number, "1234567");
    hides::<SecureVec<u8>>(number, "1234567");
    hides::<SecureBox<u8>>(number, "1234567");
    let number: I64Deserializer<Error> = (-1234567_i64).into_deserializer();
    hides::<SecureString>(number, "1234567");
    let number: F64Deserializer<Error> = 0.1234567_f64.into_deserializer();
    hides::<SecureString>(number, "1234567");
    let text: StrDeserializer<'_, Error> = "horse".into_deserializer();
    hides::<SecureVec<u8>>(text, "horse");
    hides::<SecureBox<[u8; 4]>>(text, "horse");
    let texts: SeqDeserializer<_, Error> = SeqDeserializer::new(["horse"].into_iter());
    hides::<SecureVec<u8>>(texts, "horse");
    // The control: what types of other crates say.
    assert!(u8::deserialize(text).unwrap_err().to_string().contains("horse"));
}

#[cfg(feature = "aead")]
#[test]
fn ciphers_change_it_in_place() {
    use aead::Buffer;

    fn encrypt(buffer: &mut dyn Buffer) {
        buffer.as_mut().iter_mut().for_each(|byte| *byte ^= 0x55);
        buffer.extend_from_slice(b"tag").unwrap();
    }
    let mut secret = SecureVec::from_slice(b"secret");
    encrypt(&mut secret);
    assert_eq!((Buffer::len(&secret), &secret.expose_secret()[6..]), (9, &b"tag"[..]));
    Buffer::truncate(&mut secret, 6);
    assert!(secret.iter().map(|byte| byte ^ 0x55).eq(*b"secret"));
}

#[cfg(feature = "bytes")]
#[test]
fn bytes_are_put_into_it_and_seen_in_it() {
    use bytes::{BufMut, Bytes};

    let mut secret = SecureVec::<u8>::new();
    secret.put_u8(1);
    secret.put_slice(&[2; 1000]);
    secret.put_u32(0x0304_0506);
    secret.put_bytes(7, 5000);
    assert_eq!(secret.len(), 6005);
    assert_eq!(secret.expose_secret()[1000..1006], [2, 3, 4, 5, 6, 7]);
    assert!(secret.remaining_mut() > 1 << 30);
    assert_eq!(secret.chunk_mut().len(), secret.capacity() - secret.len());
    let room = secret.chunk_mut().len();
    // SAFETY: never returns: there is no such room.
    let beyond = std::panic::AssertUnwindSafe(|| unsafe { secret.advance_mut(room + 1) });
    assert!(std::panic::catch_unwind(beyond).is_err());
    let shared = Bytes::from_owner(secret);
    assert_eq!(shared.slice(1001..1005)[..], [3, 4, 5, 6]);
}

#[cfg(feature = "tokio")]
#[test]
fn tokio_writes_to_it() {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};
    use tokio::io::AsyncWrite;

    let mut secret = SecureVec::<u8>::new();
    let mut context = Context::from_waker(Waker::noop());
    let written = Pin::new(&mut secret).poll_write(&mut context, b"secret");
    assert!(matches!(written, Poll::Ready(Ok(6))));
    assert!(matches!(Pin::new(&mut secret).poll_flush(&mut context), Poll::Ready(Ok(()))));
    assert!(matches!(Pin::new(&mut secret).poll_shutdown(&mut context), Poll::Ready(Ok(()))));
    assert!(secret == b"secret");
}

#[cfg(feature = "consensus")]
#[test]
fn consensus_encoding_goes_in_and_out() {
    use bitcoin::consensus::{Decodable, Encodable};

    let mut secret = SecureVec::<u8>::new();
    assert_eq!(0x0102_0304_u32.consensus_encode(&mut secret).unwrap(), 4);
    assert!(secret == [4, 3, 2, 1]);
    let mut reader = std::io::Cursor::new(secret);
    assert_eq!(u32::consensus_decode(&mut reader).unwrap(), 0x0102_0304);
}

#[cfg(feature = "secrecy")]
#[test]
fn secrets_of_secrecy_are_taken_over() {
    use secrecy::{ExposeSecret, SecretSlice, SecretString};

    assert!(SecureString::from(SecretString::from("horse")) == "horse");
    assert!(SecureVec::from(SecretSlice::from(vec![1_u8, 2])) == [1, 2]);
    fn sum(secret: &impl ExposeSecret<[u8]>) -> u8 {
        secret.expose_secret().iter().sum()
    }
    assert_eq!(sum(&SecureVec::from([1, 2])) + sum(&SecureVec::from([1, 2]).into_boxed_slice()), 6);
}
