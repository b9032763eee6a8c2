//! Any bytes as a secret on its way in: digits and base64 that are decoded in their place, lines
//! and whole inputs of readers that stop, fail and lie, and what other crates put into a vector. A
//! plain model says what comes out of the same bytes, or which error. No way in keeps memory of a
//! secret that does not come out.
//!
//! Depends on `fault`, `input` and the crate's public interface, with the features `base64`,
//! `bytes` and `hex`. No other code may use the process-wide pool meanwhile.

use crate::fault::faults;
use crate::input::Input;
use bitcoin_support::{
    DecodeError, LockedPoolManager, ReadSecretError, SecureArray, SecureString, SecureVec,
};
use bytes::{Buf, BufMut};
use std::io::{self, Read, Write};

faults! {
    /// A byte of what has been decoded is another one.
    ChangesByte,
    /// Half a byte at the end of digits is ignored.
    IgnoresHalfByte,
    /// A byte behind the line is read too.
    ReadsTooFar,
    /// A secret may be longer than its limit by one byte.
    IgnoresLimit,
    /// A secret's memory is not freed with it.
    KeepsMemory,
    /// A byte that was put is not there.
    LosesByte,
}

pub(crate) fn run(data: &[u8]) {
    run_with(data, Fault::None);
}

pub(crate) fn run_with(data: &[u8], fault: Fault) {
    let mut input = Input::new(data);
    let before = LockedPoolManager::instance().stats();
    while !input.is_empty() {
        match input.byte() % 6 {
            0 => hexadecimal(&mut input, fault),
            1 => base64(&mut input, fault),
            2 => line(&mut input, fault),
            3 => whole(&mut input, fault),
            4 => exactly(&mut input),
            _ => put(&mut input, fault),
        }
        let after = LockedPoolManager::instance().stats();
        let [before, after] = [before, after].map(|stats| (stats.used, stats.chunks_used));
        assert_eq!(after, before, "memory of a secret that is gone");
    }
}

/// Up to `most` bytes.
fn some_bytes(input: &mut Input<'_>, most: usize) -> Vec<u8> {
    (0..input.below(most + 1)).map(|_| input.byte()).collect()
}

// ---- Digits and base64 -----------------------------------------------------------

/// A text with some mistake: another character, one more, or one less. Mostly without.
fn spoilt(mut text: Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    let at = input.index(text.len());
    match (input.byte() % 8, at) {
        (0, Some(at)) => text[at] = input.byte(),
        (1, Some(at)) => text[at] = b"=Aa0g+ \n"[input.below(8)],
        (2, Some(at)) => text.insert(at, input.byte()),
        (3, Some(at)) => drop(text.remove(at)),
        (4, _) => text.extend(&b"==="[..input.below(4)]),
        _ => {}
    }
    text
}

/// Compares what has been decoded, as a vector and as an array, with the model.
fn check_decoded(
    decoded: Result<SecureVec<u8>, DecodeError>,
    array: Result<SecureArray<32>, DecodeError>,
    expected: Option<&[u8]>,
    fault: Fault,
) {
    match expected {
        Some(expected) => {
            let mut decoded = decoded.expect("it is in the encoding");
            if let (Fault::ChangesByte, Some(byte)) = (fault, decoded.iter_mut().next()) {
                *byte ^= 1;
            }
            assert!(decoded == *expected);
            match array {
                Ok(array) => assert!(array.expose_secret() == expected),
                Err(DecodeError::Length(wrong)) => {
                    let len = expected.len();
                    assert_eq!(wrong.to_string(), format!("the secret has {len} bytes, not 32"));
                    assert_ne!(len, 32);
                }
                Err(error) => panic!("{error}"),
            }
            if fault == Fault::KeepsMemory {
                std::mem::forget(decoded);
            }
        }
        None => {
            assert!(matches!(decoded, Err(DecodeError::Malformed)));
            assert!(matches!(array, Err(DecodeError::Malformed)));
        }
    }
}

fn hexadecimal(input: &mut Input<'_>, fault: Fault) {
    let digits = if input.byte() % 2 == 0 { b"0123456789abcdef" } else { b"0123456789ABCDEF" };
    let len = if input.byte() % 4 == 0 { 32 } else { input.below(80) };
    let bytes: Vec<_> = (0..len).map(|_| input.byte()).collect();
    let text = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15].map(|it| digits[it as usize]));
    let text = spoilt(text.collect(), input);
    let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let pairs = text.chunks(2).map(|pair| match *pair {
        [high, low] => Some(value(high)? << 4 | value(low)?),
        _ => None,
    });
    let expected: Option<Vec<u8>> = pairs.collect();
    let whole = if fault == Fault::IgnoresHalfByte { text.len() / 2 * 2 } else { text.len() };
    let text = &text[..whole];
    let (vec, array) = (SecureVec::from_hex(text), SecureArray::<32>::from_hex(text));
    check_decoded(vec, array, expected.as_deref(), fault);
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64_of(bytes: &[u8]) -> Vec<u8> {
    let groups = bytes.chunks(3).flat_map(|group| {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digit = |at: usize| ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
        std::array::from_fn::<_, 4, _>(|at| if at <= group.len() { digit(at) } else { b'=' })
    });
    groups.collect()
}

/// The bytes of a text, if there is no other text of the same bytes.
fn bytes_of_base64(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in &text[..text.len() - padding] {
        bits = bits << 6 | ALPHABET.iter().position(|it| it == digit)? as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    (text.len() % 4 == 0 && padding <= 2 && bits == 0).then_some(bytes)
}

fn base64(input: &mut Input<'_>, fault: Fault) {
    let len = if input.byte() % 4 == 0 { 32 } else { input.below(80) };
    let bytes: Vec<_> = (0..len).map(|_| input.byte()).collect();
    let text = spoilt(base64_of(&bytes), input);
    let (vec, array) = (SecureVec::from_base64(&text), SecureArray::<32>::from_base64(&text));
    check_decoded(vec, array, bytes_of_base64(&text).as_deref(), fault);
}

// ---- Readers ---------------------------------------------------------------------

/// A reader that follows orders: how much it gives, and when it is interrupted, fails or lies.
struct Obedient<'b> {
    bytes: &'b [u8],
    orders: std::vec::IntoIter<u8>,
    may_lie: bool,
    /// It has failed or lied.
    is_broken: bool,
}

impl<'b> Obedient<'b> {
    fn new(bytes: &'b [u8], input: &mut Input<'_>, may_lie: bool) -> Self {
        let orders = some_bytes(input, 12).into_iter();
        Self { bytes, orders, may_lie, is_broken: false }
    }
}

impl Read for Obedient<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        assert!(!self.is_broken, "it is asked again");
        let most = match self.orders.next() {
            None => usize::MAX,
            Some(count @ 0..=199) => 1 + usize::from(count % 60),
            Some(200..=235) => return Err(io::ErrorKind::Interrupted.into()),
            Some(lie @ 236..=245) if self.may_lie => {
                self.is_broken = true;
                return Ok(room.len() + 1 + usize::from(lie));
            }
            Some(_) => {
                self.is_broken = true;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        };
        let count = room.len().min(most).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(count);
        room[..count].copy_from_slice(now);
        self.bytes = later;
        Ok(count)
    }
}

/// What a model says of a secret.
enum Expected<'b> {
    Secret(&'b [u8]),
    TooLong,
    EndOfInput,
}

/// Compares what has been read with the model, unless the reader has ended it.
fn check_read(
    read: Result<SecureVec<u8>, ReadSecretError>,
    is_broken: bool,
    expected: &Expected<'_>,
    limit: usize,
) {
    match (read, expected) {
        (Err(ReadSecretError::Io(_)), _) => assert!(is_broken, "the reader has not failed"),
        (_, _) if is_broken => panic!("an error of the reader is lost"),
        (Ok(read), Expected::Secret(expected)) => assert!(read == **expected),
        (Err(ReadSecretError::TooLong(of)), Expected::TooLong) => assert_eq!(of, limit),
        (Err(ReadSecretError::EndOfInput), Expected::EndOfInput) => {}
        (Ok(_), _) => panic!("a secret where there should be none"),
        (Err(error), _) => panic!("{error}"),
    }
}

/// The bytes of a text that has been read, or the error with the same meaning. Bytes that are no
/// text are what the model says.
fn bytes_of_text(
    read: Result<SecureString, ReadSecretError>,
    expected: &Expected<'_>,
) -> Option<Result<SecureVec<u8>, ReadSecretError>> {
    match read {
        Ok(text) => Some(Ok(text.into_bytes())),
        Err(ReadSecretError::NotUtf8(error)) => {
            let Expected::Secret(bytes) = expected else { panic!("{error}") };
            let expected = std::str::from_utf8(bytes).expect_err("it is text");
            assert_eq!(error.valid_up_to(), expected.valid_up_to());
            None
        }
        Err(error) => Some(Err(error)),
    }
}

/// Lines with line ends of both kinds, and limits about their lengths.
fn line(input: &mut Input<'_>, fault: Fault) {
    let mut bytes = some_bytes(input, 100);
    for _ in 0..input.below(4) {
        let at = input.below(bytes.len() + 1);
        let end: &[u8] = [&b"\n"[..], b"\r\n", b"\r", b"\r\r\n"][input.below(4)];
        bytes.splice(at..at, end.iter().copied());
    }
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let line = &bytes[..end.unwrap_or(bytes.len())];
    let line = if end.is_some() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
    let limit = (line.len() + input.below(5)).saturating_sub(2);
    let expected = match line {
        _ if bytes.is_empty() => Expected::EndOfInput,
        line if line.len() > limit => Expected::TooLong,
        line => Expected::Secret(line),
    };
    let rest = end.map_or(&[][..], |end| &bytes[end + 1..]);
    let most = limit + usize::from(fault == Fault::IgnoresLimit);
    let mut reader = Obedient::new(&bytes, input, true);
    if input.byte() % 2 == 0 {
        let read = SecureVec::read_line(&mut reader, most);
        if fault == Fault::ReadsTooFar {
            let _ = reader.read(&mut [0]);
        }
        let is_line = read.is_ok();
        check_read(read, reader.is_broken, &expected, limit);
        assert!(!is_line || reader.bytes == rest, "what is behind the line stays in the reader");
    } else {
        let read = SecureString::read_line(&mut reader, most);
        if let Some(read) = bytes_of_text(read, &expected) {
            check_read(read, reader.is_broken, &expected, limit);
        }
    }
}

/// Whole inputs, and limits about their lengths.
fn whole(input: &mut Input<'_>, fault: Fault) {
    let mut bytes = some_bytes(input, 100);
    if input.byte() % 4 == 0 {
        // Longer than the buffer that the reading begins with.
        bytes = bytes.repeat(1 + input.below(20));
    }
    let limit = (bytes.len() + input.below(5)).saturating_sub(2);
    let expected = if bytes.len() > limit { Expected::TooLong } else { Expected::Secret(&bytes) };
    let most = limit + usize::from(fault == Fault::IgnoresLimit);
    let mut reader = Obedient::new(&bytes, input, true);
    match input.byte() % 3 {
        0 => {
            let read = SecureVec::read_from(&mut reader, most);
            check_read(read, reader.is_broken, &expected, limit);
        }
        1 => {
            let read = SecureString::read_from(&mut reader, most);
            if let Some(read) = bytes_of_text(read, &expected) {
                check_read(read, reader.is_broken, &expected, limit);
            }
        }
        _ => match SecureArray::<40>::read_from(&mut reader) {
            Ok(array) => assert!(!reader.is_broken && array.expose_secret() == &*bytes),
            Err(ReadSecretError::Length(40)) => assert!(!reader.is_broken && bytes.len() != 40),
            Err(error) => assert!(reader.is_broken, "{error}"),
        },
    }
}

/// A number of bytes, and what is behind them.
fn exactly(input: &mut Input<'_>) {
    let bytes = some_bytes(input, 100);
    // The standard library panics where a reader lies here.
    let mut reader = Obedient::new(&bytes, input, false);
    let (len, read) = if input.byte() % 4 == 0 {
        let array = SecureArray::<40>::read_exact(&mut reader);
        (40, array.map(|array| SecureVec::from_slice(array.expose_secret())))
    } else {
        let len = input.below(110);
        (len, SecureVec::read_exact(&mut reader, len))
    };
    match read {
        Ok(read) => {
            assert!(read == bytes[..len], "the bytes are others");
            assert!(reader.bytes == &bytes[len..], "what is behind them stays in the reader");
        }
        Err(ReadSecretError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            assert!(!reader.is_broken && bytes.len() < len);
        }
        Err(error) => assert!(reader.is_broken, "{error}"),
    }
}

// ---- Writers of other crates -----------------------------------------------------

/// The same calls on a secret and on an ordinary vector.
fn put(input: &mut Input<'_>, fault: Fault) {
    let (mut secret, mut plain) = (SecureVec::<u8>::new(), Vec::<u8>::new());
    for _ in 0..input.below(12) {
        let bytes = some_bytes(input, 90);
        let [to_secret, to_plain]: [&mut dyn BufMut; 2] = [&mut secret, &mut plain];
        match input.byte() % 7 {
            0 => [to_secret, to_plain].map(|to| to.put_u8(bytes.len() as u8)),
            1 => [to_secret, to_plain].map(|to| to.put_u64_le(!(bytes.len() as u64))),
            2 => [to_secret, to_plain].map(|to| to.put_slice(&bytes)),
            3 => [to_secret, to_plain].map(|to| to.put_bytes(0xa5, bytes.len() * 3)),
            4 => {
                let (first, second) = bytes.split_at(bytes.len() / 3);
                secret.put(Buf::chain(first, second));
                plain.put(Buf::chain(first, second));
                [(); 2]
            }
            5 => {
                // A part of what there is room for, as `read_buf` of other crates does it.
                let room = secret.chunk_mut();
                assert!(room.len() > 0, "there is always some room");
                let count = room.len().min(bytes.len());
                room[..count].copy_from_slice(&bytes[..count]);
                // SAFETY: the first `count` bytes of the room have just been written.
                unsafe { secret.advance_mut(count) };
                plain.extend_from_slice(&bytes[..count]);
                [(); 2]
            }
            _ => {
                secret.write_all(&bytes).expect("memory");
                plain.extend_from_slice(&bytes);
                [(); 2]
            }
        };
        if fault == Fault::LosesByte {
            secret.pop();
        }
        assert!(secret == *plain && secret.remaining_mut() == isize::MAX as usize - plain.len());
    }
}
