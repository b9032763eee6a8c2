//! How secrets come in: each way reads what it should, stops at its limit, leaves behind what is
//! not its own, and tells what went wrong. `tests/memory_scan.rs` shows that they leave no copies.

#![cfg(target_os = "linux")]

mod common;

use bitcoin_support::{
    LockedPoolManager, OutOfLockedMemory, ReadSecretError, SecureBox, SecureString, SecureVec,
};
use common::{alone, alone_with, assert_wiped, limit_locked_memory, read_memory};
use std::ffi::{CStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::{env, panic};
use zeroize::Zeroizing;

#[test]
fn values_are_made_in_their_place() {
    // No other test may use a chunk that has been freed.
    alone("values_are_made_in_their_place", made_in_their_place);
}

fn made_in_their_place() {
    let mut seen = 0;
    let key = SecureBox::<[u8; 32]>::new_with(|place| {
        assert_eq!(*place, [0; 32]);
        place.fill(7);
        seen = place.as_ptr().addr();
    });
    assert_eq!(key.expose_secret(), &[7; 32]);
    assert_eq!(key.expose_secret().as_ptr().addr(), seen, "the value did not move");

    #[derive(Debug, PartialEq)]
    enum Error {
        Mine,
        Memory(OutOfLockedMemory),
    }
    impl From<OutOfLockedMemory> for Error {
        fn from(error: OutOfLockedMemory) -> Self {
            Self::Memory(error)
        }
    }
    let failed = SecureBox::<[u8; 32]>::try_new_with(|place| {
        place.fill(7);
        seen = place.as_ptr().addr();
        Err(Error::Mine)
    });
    assert_eq!(failed.err(), Some(Error::Mine));
    assert_wiped(seen, 32);
    #[derive(bytemuck::Zeroable)]
    #[repr(align(2097152))]
    struct Huge(#[allow(dead_code, reason = "for its alignment")] u8);
    let huge = SecureBox::<Huge>::try_new_with(|_| Ok(()));
    let Err(Error::Memory(error)) = huge else { panic!("a pool with such an alignment") };
    assert_eq!(error.requested(), 1 << 21);

    let random = SecureBox::<[u8; 32]>::random();
    assert!(random != SecureBox::try_random().unwrap() && random != SecureBox::zeroed());
    let random = SecureVec::random(100);
    assert!(random != SecureVec::try_random(100).unwrap() && random.len() == 100);
    assert_eq!(SecureVec::random(0).capacity(), 0);
}

/// Gives its bytes one by one, with interruptions.
struct Slow<'b>(&'b [u8], bool);

impl Read for Slow<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = room.len().min(1);
        self.0.read(&mut room[..count])
    }
}

#[test]
fn lines_end_where_they_end() {
    let lines: &[(&[u8], &[u8], &[u8])] = &[
        (b"one\ntwo", b"one", b"two"),
        (b"one\r\ntwo", b"one", b"two"),
        (b"one\rtwo\n", b"one\rtwo", b""),
        (b"one", b"one", b""),
        (b"one\r", b"one\r", b""),
        (b"\n\n", b"", b"\n"),
        (b"\r\n", b"", b""),
        (b"a\r\r\n", b"a\r", b""),
    ];
    for (input, line, rest) in lines {
        for slow in [false, true] {
            let mut input = *input;
            let read = if slow {
                let mut reader = Slow(input, false);
                let read = SecureVec::read_line(&mut reader, 100);
                input = reader.0;
                read
            } else {
                SecureVec::read_line(&mut input, 100)
            };
            assert!(read.unwrap() == **line && input == *rest);
        }
        assert!(SecureVec::read_line(*input, line.len()).unwrap() == **line);
        if let Some(less) = line.len().checked_sub(1) {
            let error = SecureVec::read_line(*input, less).unwrap_err();
            assert!(matches!(error, ReadSecretError::TooLong(limit) if limit == less));
        }
    }
    for (input, limit) in [(&b"1234\n"[..], 3), (b"12345", 3), (b"123\r\r\n", 3), (b"1\n", 0)] {
        let error = SecureVec::read_line(input, limit).unwrap_err();
        assert!(matches!(error, ReadSecretError::TooLong(of) if of == limit), "{input:?}");
    }
    assert!(SecureVec::read_line(&b"\r\n"[..], 0).unwrap().is_empty());
    assert!(matches!(SecureVec::read_line(io::empty(), 9), Err(ReadSecretError::EndOfInput)));
    let error = SecureString::read_line(&b"ab\xff\n"[..], 9).unwrap_err();
    assert!(matches!(error, ReadSecretError::NotUtf8(error) if error.valid_up_to() == 2));
    assert!(matches!(SecureVec::read_line(Liar, 9), Err(ReadSecretError::Io(_))));
}

/// Claims to have read more than there was room for.
struct Liar;

impl Read for Liar {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        Ok(room.len() + 1)
    }
}

#[test]
fn arrays_are_read_whole() {
    let mut input = &b"12345678"[..];
    assert!(SecureBox::<[u8; 3]>::read_exact(&mut input).unwrap() == SecureBox::new(*b"123"));
    assert!(SecureVec::read_exact(&mut input, 4).unwrap() == b"4567");
    let error = SecureBox::<[u8; 3]>::read_exact(input).unwrap_err();
    assert!(
        matches!(&error, ReadSecretError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof)
    );
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::UnexpectedEof);
    assert!(SecureBox::<[u8; 3]>::read_from(&b"123"[..]).unwrap() == SecureBox::new(*b"123"));
    for other in [&b"12"[..], b"1234"] {
        let error = SecureBox::<[u8; 3]>::read_from(other).unwrap_err();
        assert!(matches!(error, ReadSecretError::Length(3)));
    }
    // The standard library's `read_exact` panics, or this crate's returns an error.
    let refused = |read: fn() -> bool| panic::catch_unwind(read).map_or(true, |is_error| is_error);
    assert!(refused(|| SecureBox::<[u8; 3]>::read_exact(Liar).is_err()));
    assert!(refused(|| SecureVec::read_exact(Liar, 5).is_err()));
    assert!(SecureVec::read_exact(Slow(b"12345", false), 5).unwrap() == b"12345");
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn files_and_descriptors() {
    let path = folder("ways_in").join("passphrase");
    for (contents, text) in [
        ("horse\n", "horse"),
        ("horse\r\n", "horse"),
        ("horse", "horse"),
        ("a\n\n", "a\n"),
        ("", ""),
    ] {
        fs::write(&path, contents).unwrap();
        assert!(SecureString::from_file(&path, 100).unwrap() == text);
        assert!(SecureVec::from_file(&path, 100).unwrap() == *contents.as_bytes());
        let file = File::open(&path).unwrap();
        assert!(SecureString::from_fd(&file, 100).unwrap() == text);
        // The descriptor stays open, at the end of the file.
        assert!(SecureVec::from_fd(file.as_fd(), 100).unwrap().is_empty());
    }
    fs::write(&path, "12345").unwrap();
    assert!(matches!(SecureString::from_file(&path, 4), Err(ReadSecretError::TooLong(4))));
    let error = SecureString::from_file(path.join("none"), 4).unwrap_err();
    assert!(matches!(error, ReadSecretError::Io(_)));

    let (reader, mut writer) = UnixStream::pair().unwrap();
    writer.write_all(b"through a socket\n").unwrap();
    drop(writer);
    assert!(SecureString::from_fd(reader, 100).unwrap() == "through a socket");
}

#[test]
fn credentials() {
    let folder = folder("credentials");
    fs::write(folder.join("passphrase"), "horse\n").unwrap();
    let directory = folder.to_str().unwrap();
    alone_with("credentials", &[("CREDENTIALS_DIRECTORY", directory)], || {
        assert!(SecureString::from_credential("passphrase").unwrap() == "horse");
        assert!(SecureVec::from_credential("passphrase").unwrap() == b"horse\n");
        let kind = |name| match SecureVec::from_credential(name).unwrap_err() {
            ReadSecretError::Io(error) => error.kind(),
            error => panic!("{error:?}"),
        };
        assert_eq!(kind("none"), io::ErrorKind::NotFound);
        for name in
            ["", ".", "..", "../credentials/passphrase", "/etc/passwd", "a/b", "passphrase/"]
        {
            assert_eq!(kind(name), io::ErrorKind::InvalidInput, "{name}");
        }
        // SAFETY: this process has no other thread that uses the environment.
        unsafe { env::remove_var("CREDENTIALS_DIRECTORY") };
        assert_eq!(kind("passphrase"), io::ErrorKind::NotFound);
    });
}

#[test]
fn environment_variables() {
    let variables = [("SECRET_A", "correct horse"), ("SECRET_B", "battery"), ("SECRET_C", "x=yz")];
    alone_with("environment_variables", &variables, || {
        // SAFETY: this process has no other thread that uses the environment.
        unsafe {
            let place = libc::getenv(c"SECRET_A".as_ptr());
            let shown = || {
                let shown = fs::read("/proc/self/environ").unwrap();
                shown.windows(13).any(|bytes| bytes == b"correct horse")
            };
            assert!(SecureString::from_env("SECRET_A").unwrap() == "correct horse");
            // The control: a copy leaves it there.
            assert_eq!(CStr::from_ptr(place), c"correct horse");
            assert!(shown());
            assert!(SecureString::take_env("SECRET_A").unwrap() == "correct horse");
            assert_eq!(read_memory(place.addr(), 13).unwrap(), [0; 13]);
            assert!(!shown());
            assert_eq!(env::var_os("SECRET_A"), None);
            assert_eq!(env::var("SECRET_B").unwrap(), "battery");
            assert!(libc::getenv(c"SECRET_A".as_ptr()).is_null());

            let place = libc::getenv(c"SECRET_B".as_ptr());
            place.cast::<u8>().write(0xff);
            let error = SecureString::take_env("SECRET_B").unwrap_err();
            assert!(matches!(error, ReadSecretError::NotUtf8(_)));
            assert_eq!(read_memory(place.addr(), 7).unwrap(), [0; 7]);
        }
        // To the C library, "SECRET_C=x" has the value "yz".
        assert_eq!(env::var("SECRET_C").unwrap(), "x=yz");
        for name in ["SECRET_A", "NONE", "", "=", "A=B", "SECRET_C=x"] {
            // SAFETY: this process has no other thread that uses the environment.
            let taken = unsafe { SecureString::take_env(name) };
            for error in [SecureString::from_env(name).unwrap_err(), taken.unwrap_err()] {
                let ReadSecretError::Io(error) = error else { panic!("{error:?}") };
                assert_eq!(error.kind(), io::ErrorKind::NotFound);
            }
        }
        assert_eq!(env::var("SECRET_C").unwrap(), "x=yz");
    });
}

/// Where there is no locked memory, all that says that it returns an error does.
#[test]
fn errors_are_returned_where_memory_is_short() {
    let variables = [("SECRET", "correct horse battery staple, and more")];
    alone_with("errors_are_returned_where_memory_is_short", &variables, || {
        limit_locked_memory(64 << 10, 64 << 10);
        LockedPoolManager::instance().set_locking_failed(Some(Box::new(|_| false)));
        let mut all = Vec::new();
        while let Ok(chunk) = SecureBox::<[u8; 48]>::try_zeroed() {
            all.push(chunk);
        }
        let is_short = |result: Result<(), ReadSecretError>| {
            matches!(result, Err(ReadSecretError::OutOfLockedMemory(_)))
        };
        assert!(is_short(SecureString::from_env("SECRET").map(drop)));
        assert!(is_short(SecureBox::<[u8; 32]>::read_from(&[1; 32][..]).map(drop)));
        // Enough for what is read, and not for the value too.
        all.pop();
        assert!(is_short(SecureBox::<[u8; 32]>::read_from(&[1; 32][..]).map(drop)));
        #[cfg(feature = "base64")]
        {
            use bitcoin_support::DecodeError;
            let decoded = SecureBox::<[u8; 32]>::from_base64("A".repeat(43) + "=");
            assert!(matches!(decoded, Err(DecodeError::OutOfLockedMemory(_))));
        }
        assert!(SecureString::try_format(format_args!("{:60}", 1)).is_err());
        all.pop();
        all.pop();
        assert!(SecureBox::<[u8; 32]>::read_from(&[1; 32][..]).is_ok());
        assert!(SecureString::from_env("SECRET").is_ok());
    });
}

#[test]
fn other_types_are_taken_over() {
    let is = |text: SecureString, expected: &str| {
        let owned = expected.to_owned();
        let from_right = [expected == text, owned == text, *expected == text];
        [text == expected, text == *expected, text == owned] == [true; 3] && from_right == [true; 3]
    };
    assert!(is(SecureString::from(String::from("a").into_boxed_str()), "a"));
    assert!(is(SecureString::from(Zeroizing::new(String::from("a"))), "a"));
    assert!(is("a".parse::<SecureString>().unwrap(), "a"));
    assert!(is(SecureString::try_from(OsString::from("a")).unwrap(), "a"));
    assert!(SecureString::try_from(OsString::from_vec(vec![0xff])).is_err());
    assert!(is(["a", "b"].into_iter().collect(), "ab"));
    let mut text: SecureString = "abc".chars().rev().collect();
    text += "d";
    let bytes = SecureVec::from(text.duplicate());
    assert!(is(text, "cbad") && bytes == b"cbad");

    let is = |vec: SecureVec<u8>, expected: &[u8; 2]| {
        let slice = &expected[..];
        let equal = [vec == *expected, vec == expected, vec == *slice, vec == slice];
        assert!(equal == [equal[0]; 4] && equal[0] == (vec == expected.to_vec()));
        equal[0]
    };
    assert!(is(SecureVec::from(vec![1, 2].into_boxed_slice()), &[1, 2]));
    assert!(is(SecureVec::from(Zeroizing::new(vec![1, 2])), &[1, 2]));
    assert!(is(SecureVec::from(&[1, 2][..]), &[1, 2]));
    assert!(!is(SecureVec::from([1, 3]), &[1, 2]));
    let mut vec = SecureVec::new();
    vec.extend(&[1_u8]);
    vec.extend([3]);
    let total: u8 = (&vec).into_iter().sum();
    for byte in &mut vec {
        *byte += total;
    }
    assert!(is(vec, &[5, 7]));
    let mut text = String::new();
    io::Cursor::new(SecureVec::from_slice(b"read")).read_to_string(&mut text).unwrap();
    assert_eq!(text, "read");
}

#[cfg(feature = "hex")]
#[test]
fn hexadecimal_digits() {
    use bitcoin_support::DecodeError;

    for bytes in [&b""[..], b"\x00", b"\xff\x7e\x10"] {
        let text: SecureString = bytes
            .iter()
            .flat_map(|byte| format!("{byte:02x}").chars().collect::<Vec<_>>())
            .collect();
        assert!(SecureVec::from_hex(text.expose_secret()).unwrap() == *bytes);
        assert!(SecureVec::from_hex(text.expose_secret().to_uppercase()).unwrap() == *bytes);
    }
    for text in ["0", "0g", "0x00", " 00", "00 ", "é", "000"] {
        assert_eq!(SecureVec::from_hex(text).unwrap_err(), DecodeError::Malformed, "{text}");
    }
    assert!(SecureBox::<[u8; 2]>::from_hex("0aFf").unwrap() == SecureBox::new([0x0a, 0xff]));
    assert!(matches!(SecureBox::<[u8; 2]>::from_hex("0aff00"), Err(DecodeError::Length(_))));
}

#[cfg(feature = "base64")]
#[test]
fn base64() {
    use bitcoin_support::DecodeError;

    for (text, bytes) in
        [("", &b""[..]), ("AA==", b"\0"), ("//8=", b"\xff\xff"), ("c2VjcmV0", b"secret")]
    {
        assert!(SecureVec::from_base64(text).unwrap() == *bytes, "{text}");
    }
    for text in
        ["A", "AA", "AAA", "AA=", "A===", "====", "AA==AA==", "c2Vj cmV0", "_w==", "A=A=", "AB=="]
    {
        assert_eq!(SecureVec::from_base64(text).unwrap_err(), DecodeError::Malformed, "{text}");
    }
    assert!(SecureBox::<[u8; 2]>::from_base64("//8=").unwrap() == SecureBox::new([0xff, 0xff]));
    assert!(matches!(SecureBox::<[u8; 3]>::from_base64("//8="), Err(DecodeError::Length(_))));
}
