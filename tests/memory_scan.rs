//! No trace of a secret stays in memory. A process stores a secret in each of the secret types,
//! makes the value grow, duplicates it and drops everything. Then it searches its whole memory,
//! every readable mapping, for parts of the secret. The controls: the search finds the secret while
//! it is alive, and finds it after the same work with the standard type.
//!
//! Each case runs in a separate process (this test binary again). The program never has the secret
//! in clear: it is masked, and is put together byte by byte in its place.

#![cfg(target_os = "linux")]

#[path = "../examples/wallet/search.rs"]
mod search;
#[path = "common/this_program.rs"]
mod this_program;

use bitcoin_support::{
    LockedPool, OutOfLockedMemory, SecureBox, SecureString, SecureVec, SerializeData,
    unsize_secure_box,
};
use bytemuck::Zeroable;
use search::Search;
use std::any::Any;
use std::borrow::Borrow;
use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, FromRawFd};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{env, mem, panic, thread};
use this_program::this_program;
use zeroize::Zeroizing;

const CHILD: &str = "BITCOIN_SUPPORT_TEST_SCAN";

const MASK: u8 = 0x95;
const LEN: usize = 64;

/// The secret, masked by the compiler.
const MASKED: [u8; LEN] = {
    let mut bytes = *b"Tr0ub4dor&3 correct horse battery staple, said the Walrus, twice";
    let mut i = 0;
    while i < LEN {
        bytes[i] ^= MASK;
        i += 1;
    }
    bytes
};

/// The bytes of the secret, one by one.
fn secret() -> impl Iterator<Item = u8> {
    black_box(MASKED).into_iter().map(|byte| byte ^ black_box(MASK))
}

thread_local! {
    static SEARCH: RefCell<Search> = const { RefCell::new(Search::new()) };
}

/// Searches for these bytes from now on, and for nothing else.
fn search_for<B: Borrow<u8>>(bytes: impl IntoIterator<Item = B>) {
    let mut search = Search::new();
    search.note("secret", bytes);
    SEARCH.set(search);
}

/// Counts the places in this process's memory where a part of what is searched for lies.
fn traces() -> usize {
    let found = SEARCH.with_borrow(|search| search.found().expect("own memory"));
    found.into_iter().map(|(_, places)| places).sum()
}

/// Whether a case must leave parts of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    Traces,
}

/// Runs `case` in a separate process, which gets the secret on its standard input for the cases
/// that read it there. `case` is given a check that the secret is in memory, which it calls while
/// the secret is alive.
fn leaves(left: Left, test: &str, case: fn(is_there: &dyn Fn())) {
    leaves_with(left, test, &[], case);
}

/// [`leaves`], with the secret in variables of the environment.
fn leaves_with(left: Left, test: &str, variables: &[&str], case: fn(is_there: &dyn Fn())) {
    if env::var_os(CHILD).is_some() {
        search_for(secret());
        assert_eq!(traces() == 0, variables.is_empty(), "the secret is in the program");
        case(&|| assert_ne!(traces(), 0, "the search does not see the secret"));
        let traces = traces();
        assert_eq!(traces == 0, left == Left::Nothing, "{traces} traces");
        return;
    }
    let mut child = this_program()
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, test)
        .envs(variables.iter().map(|name| (name, String::from_utf8(secret().collect()).unwrap())))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // A case that reads nothing may have ended already.
    let _ = child.stdin.take().unwrap().write_all(&secret().collect::<Vec<u8>>());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn secure_string() {
    leaves(Left::Nothing, "secure_string", |is_there| {
        let mut text = SecureString::new();
        for byte in secret() {
            text.push(byte.into());
        }
        let copy = text.duplicate();
        for _ in 0..1000 {
            text.push('.');
        }
        is_there();
        text.shrink_to_fit();
        let mut shorter = copy.duplicate();
        shorter.truncate(3);
        shorter.shrink_to_fit();
        drop((text, copy));
        black_box(shorter);
    });
}

#[test]
fn control_string() {
    leaves(Left::Traces, "control_string", |is_there| {
        let mut text = String::new();
        for byte in secret() {
            text.push(byte.into());
        }
        let copy = text.clone();
        for _ in 0..1000 {
            text.push('.');
        }
        black_box((&text, &copy));
        is_there();
        drop((text, copy));
    });
}

/// A key among other members. There is padding after `used`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Account {
    number: u64,
    key: [u8; LEN],
    used: bool,
}

// SAFETY: zeros are a number, bytes, and `false`.
unsafe impl Zeroable for Account {}

#[test]
fn secure_vec_of_structs() {
    leaves(Left::Nothing, "secure_vec_of_structs", |is_there| {
        let mut accounts = SecureVec::new();
        accounts.resize(3, Account::zeroed());
        let account = &mut accounts.expose_secret_mut()[1];
        account.key.iter_mut().zip(secret()).for_each(|(slot, byte)| *slot = byte);
        account.used = true;
        let copy = accounts.duplicate();
        is_there();
        accounts.resize(500, Account::zeroed()); // moves the elements
        // Moves to separate pages, where so much memory can be locked.
        let _ = accounts.try_resize(5000, Account::zeroed());
        accounts.truncate(1);
        accounts.shrink_to_fit();
        let mut others = copy.duplicate();
        others.retain(|account| !account.used);
        assert_eq!((accounts.len(), others.len()), (1, 2));
        drop(copy);
        // The values are still alive, without the secret.
        black_box((accounts, others));
    });
}

#[test]
fn control_vec_of_structs() {
    leaves(Left::Traces, "control_vec_of_structs", |is_there| {
        let mut accounts = Vec::new();
        accounts.resize(3, Account::zeroed());
        let account: &mut Account = &mut accounts[1];
        account.key.iter_mut().zip(secret()).for_each(|(slot, byte)| *slot = byte);
        account.used = true;
        let copy = black_box(accounts.clone());
        black_box(&accounts);
        is_there();
        accounts.resize(500, Account::zeroed());
        drop((accounts, copy));
    });
}

#[test]
fn secure_box() {
    leaves(Left::Nothing, "secure_box", |is_there| {
        let mut account = SecureBox::<Account>::zeroed();
        let key = &mut account.expose_secret_mut().key;
        key.iter_mut().zip(secret()).for_each(|(slot, byte)| *slot = byte);
        let copy = account.duplicate();
        drop(account);
        is_there();
        drop(copy);
    });
}

#[test]
fn control_box() {
    leaves(Left::Traces, "control_box", |is_there| {
        let mut account = Box::new(Account::zeroed());
        account.key.iter_mut().zip(secret()).for_each(|(slot, byte)| *slot = byte);
        black_box(&account);
        let copy = black_box(account.clone());
        drop(account);
        is_there();
        drop(copy);
    });
}

#[test]
fn serialize_data() {
    leaves(Left::Nothing, "serialize_data", |is_there| {
        let mut data = SerializeData::new();
        for byte in secret() {
            data.write_all(&[byte]).unwrap();
        }
        let copy = data.duplicate().unwrap();
        data.write_all(&[0; 10_000]).unwrap();
        is_there();
        // Reading wipes. The rest of this value is alive at the end.
        for _ in 0..LEN {
            data.read_exact(&mut [0]).unwrap();
        }
        drop(copy);
        black_box(data);
    });
}

#[test]
fn control_vec_of_bytes() {
    leaves(Left::Traces, "control_vec_of_bytes", |is_there| {
        let mut data = Vec::new();
        for byte in secret() {
            data.write_all(&[byte]).unwrap();
        }
        let copy = black_box(data.clone());
        black_box(&data);
        data.write_all(&[0; 10_000]).unwrap();
        is_there();
        drop((data, copy));
    });
}

#[test]
fn read_into_locked_memory() {
    leaves(Left::Nothing, "read_into_locked_memory", |is_there| {
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
        let text = SecureString::read_from(stdin, 1000).unwrap();
        assert_eq!(text.len(), LEN);
        is_there();
        let refused = SecureString::from_utf8({
            let mut bytes = text.into_bytes();
            bytes.push(0xff);
            bytes
        });
        assert!(refused.is_err());
    });
}

#[test]
fn control_read_to_string() {
    leaves(Left::Traces, "control_read_to_string", |is_there| {
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
        let mut text = String::new();
        BufReader::new(stdin).read_to_string(&mut text).unwrap();
        assert_eq!(text.len(), LEN);
        is_there();
    });
}

/// Data that are moved into a secret type are wiped in their old place.
#[test]
fn a_string_taken_over() {
    leaves(Left::Nothing, "a_string_taken_over", |is_there| {
        let mut text = String::with_capacity(LEN);
        for byte in secret() {
            text.push(byte.into());
        }
        let text = SecureString::from(text);
        is_there();
        drop(text);
    });
}

/// Exits that are not planned: a function that panics while it has secrets, and errors half-way.
fn fails_half_way(is_there: &dyn Fn()) {
    let panics = || {
        let mut text = SecureString::with_capacity(LEN);
        let mut data = SerializeData::new();
        for byte in secret() {
            text.push(byte.into());
            data.write_all(&[byte]).unwrap();
        }
        is_there();
        panic::resume_unwind(Box::new("on the way"));
    };
    assert!(panic::catch_unwind(AssertUnwindSafe(panics)).is_err());
    let refused = || {
        let mut bytes = SecureVec::with_capacity(LEN + 1);
        secret().for_each(|byte| bytes.push(byte));
        assert!(bytes.try_reserve(usize::MAX).is_err());
        bytes.push(0xff);
        SecureString::from_utf8(bytes)
    };
    assert!(refused().is_err());
}

#[test]
fn panics_and_errors() {
    leaves(Left::Nothing, "panics_and_errors", fails_half_way);
}

#[test]
fn control_panics_and_errors() {
    leaves(Left::Traces, "control_panics_and_errors", |is_there| {
        let panics = || {
            let mut text = String::with_capacity(LEN);
            for byte in secret() {
                text.push(byte.into());
            }
            black_box(&text);
            is_there();
            panic::resume_unwind(Box::new("on the way"));
        };
        assert!(panic::catch_unwind(AssertUnwindSafe(panics)).is_err());
    });
}

// ---- Values of each kind, made in each way ---------------------------------------

/// Calls `work`, and overwrites the stack below this function, where its copies are.
#[cfg(feature = "consensus")]
#[inline(never)]
fn on_a_stack_that_is_wiped<R>(work: impl FnOnce() -> R) -> R {
    #[inline(never)]
    fn wipe() {
        let mut below = [0_u8; 256 * 1024];
        // SAFETY: the array is writable over its length.
        unsafe { bitcoin_support::memory_cleanse(below.as_mut_ptr(), below.len()) };
        black_box(&below);
    }
    let result = work();
    wipe();
    result
}

/// A file with what `write` writes byte by byte.
fn file_with(name: &str, bytes: impl Iterator<Item = u8>) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("memory_scan");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    let mut file = File::create(&path).unwrap();
    bytes.for_each(|byte| file.write_all(&[byte]).unwrap());
    path
}

/// The key of an account that is of no plain type: it has a destructor, a reference and an enum.
struct Signer<'n> {
    key: Option<[u8; LEN]>,
    name: &'n str,
}

impl Drop for Signer<'_> {
    fn drop(&mut self) {
        assert!(self.key.is_some() && !self.name.is_empty());
    }
}

trait Fill {
    fn place(&mut self) -> &mut [u8; LEN];
}

impl Fill for Signer<'_> {
    fn place(&mut self) -> &mut [u8; LEN] {
        self.key.as_mut().unwrap()
    }
}

fn fill(place: &mut [u8]) {
    place.iter_mut().zip(secret()).for_each(|(place, byte)| *place = byte);
}

/// A way to sign, one of several.
enum Way {
    Key([u8; LEN]),
    #[allow(dead_code, reason = "the enum has more than one variant")]
    Remote(u16),
}

/// A value of each kind, which then is changed in each way that moves it.
fn every_kind(is_there: &dyn Fn()) {
    let signer = || SecureBox::new(Signer { key: Some([0; LEN]), name: "one" });
    let mut one = signer();
    fill(one.expose_secret_mut().place());
    is_there();
    let mut object: SecureBox<dyn Fill> = unsize_secure_box!(signer());
    drop(one);
    fill(object.expose_secret_mut().place());
    is_there();
    drop(object);

    let mut pair = SecureBox::new(([0_u8; LEN], Some(Box::new(1))));
    fill(&mut pair.expose_secret_mut().0);
    let any: SecureBox<dyn Any> = unsize_secure_box!(pair);
    is_there();
    drop(any);

    let mut way = SecureBox::new(Way::Key([0; LEN]));
    if let Way::Key(place) = way.expose_secret_mut() {
        fill(place);
    }
    is_there();
    drop(way);

    let pool = LockedPool::default();
    let mut here = SecureBox::<[u8; LEN]>::try_zeroed_in(&pool).unwrap();
    fill(here.expose_secret_mut());
    is_there();
    let copy = here.duplicate();
    drop(here);
    is_there();
    drop(copy);

    // Vectors that move their elements about.
    let mut words = SecureVec::new();
    for _ in 0..3 {
        let mut word = SecureString::new();
        secret().for_each(|byte| word.push(byte.into()));
        words.push(word);
    }
    let mut tail = words.split_off(1);
    drop(words.drain(..));
    is_there();
    tail.insert(0, SecureString::new());
    words.append(&mut tail);
    words.retain(|word| !word.is_empty());
    let mut words = words.into_iter();
    drop(words.next());
    is_there();
    // The vectors live on without the secret: nothing of it is in their unused capacity.
    drop(words);
    let mut bytes = SecureVec::from([0_u8; LEN]);
    fill(bytes.expose_secret_mut());
    bytes.insert(3, 0);
    let mut rest = bytes.split_off(LEN / 2);
    drop(bytes.drain(1..));
    assert!(rest.drain(..).len() == LEN / 2 + 1);
    let slice = SecureVec::from_slice(&[0_u8; 2 * LEN]);
    let mut slice = slice.into_boxed_slice();
    fill(slice.expose_secret_mut());
    is_there();
    drop(slice);
    black_box((tail, bytes, rest));

    #[cfg(feature = "consensus")]
    keys_of_other_crates(is_there);
}

/// Keys are `Copy` there, and come by way of the stack.
#[cfg(feature = "consensus")]
fn keys_of_other_crates(is_there: &dyn Fn()) {
    use bip39::Mnemonic;
    use bitcoin::NetworkKind;
    use bitcoin::bip32::{ChainCode, ChildNumber, Xpriv};
    use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey};

    let bytes = SecureBox::<[u8; 32]>::new_with(|place| fill(place));
    let words = on_a_stack_that_is_wiped(|| {
        SecureBox::new(Mnemonic::from_entropy(bytes.expose_secret()).unwrap())
    });
    #[cfg(feature = "sealed")]
    let cipher = on_a_stack_that_is_wiped(|| {
        use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
        SecureBox::new(ChaCha20Poly1305::new(bytes.expose_secret().into()))
    });
    let key = on_a_stack_that_is_wiped(|| {
        SecureBox::new(SecretKey::from_slice(bytes.expose_secret()).unwrap())
    });
    drop(bytes);
    is_there();
    #[cfg(feature = "sealed")]
    {
        let of_cipher = traces();
        drop(cipher);
        assert!(traces() < of_cipher, "the cipher has its key");
    }
    let pair = on_a_stack_that_is_wiped(|| {
        SecureBox::new(Keypair::from_secret_key(&Secp256k1::new(), key.expose_secret()))
    });
    let master = on_a_stack_that_is_wiped(|| {
        SecureBox::new(Xpriv {
            network: NetworkKind::Main,
            depth: 0,
            parent_fingerprint: Default::default(),
            child_number: ChildNumber::Normal { index: 0 },
            private_key: *key.expose_secret(),
            chain_code: ChainCode::from([7; 32]),
        })
    });
    drop(key);
    is_there();
    drop(master);
    is_there();
    drop(pair);
    assert_eq!(traces(), 0);
    // Words are kept as their numbers.
    let numbers = || words.expose_secret().word_indices().flat_map(|it| (it as u16).to_ne_bytes());
    search_for(numbers());
    is_there();
    drop(words);
}

#[test]
fn values_of_every_kind() {
    leaves(Left::Nothing, "values_of_every_kind", every_kind);
}

#[test]
fn control_values_of_every_kind() {
    leaves(Left::Traces, "control_values_of_every_kind", |is_there| {
        let mut one = Box::new(Signer { key: Some([0; LEN]), name: "one" });
        fill(one.place());
        black_box(&one);
        is_there();
        let object: Box<dyn Fill + '_> = one;
        drop(object);
    });
}

fn every_way(is_there: &dyn Fn()) {
    let made = SecureBox::<[u8; LEN]>::new_with(|place| fill(place));
    is_there();
    drop(made);
    let refused = SecureBox::<[u8; LEN]>::try_new_with(|place| {
        fill(place);
        is_there();
        let none = SecureVec::<u8>::try_with_capacity(usize::MAX).unwrap_err();
        Err::<(), OutOfLockedMemory>(none)
    });
    assert!(refused.is_err());

    let path = file_with("plain", secret());
    let open = || File::open(&path).unwrap();
    let line = file_with("line", secret().chain(*b"\r\nmore"));
    let credentials = path.parent().unwrap();
    // SAFETY: no other thread of this process uses the environment.
    unsafe { env::set_var("CREDENTIALS_DIRECTORY", credentials) };
    type Way<'w> = &'w dyn Fn() -> Box<dyn Any>;
    let ways: &[Way] = &[
        &|| Box::new(SecureVec::read_from(open(), LEN).unwrap()),
        &|| Box::new(SecureString::read_from(open(), LEN).unwrap()),
        &|| Box::new(SecureVec::read_exact(open(), LEN).unwrap()),
        &|| Box::new(SecureBox::<[u8; LEN]>::read_exact(open()).unwrap()),
        &|| Box::new(SecureBox::<[u8; LEN]>::read_from(open()).unwrap()),
        &|| Box::new(SecureVec::read_line(open(), LEN).unwrap()),
        &|| Box::new(SecureString::read_line(open(), LEN).unwrap()),
        &|| Box::new(SecureString::from_fd(open(), LEN).unwrap()),
        &|| Box::new(SecureVec::from_file(&path, LEN).unwrap()),
        &|| Box::new(SecureString::from_file(&path, LEN).unwrap()),
        &|| {
            let bytes = SecureVec::from_file(&path, LEN).unwrap();
            Box::new(SecureBox::<[u8; LEN]>::try_from(bytes).unwrap())
        },
        &|| Box::new(SecureVec::read_line(File::open(&line).unwrap(), LEN).unwrap()),
        &|| Box::new(SecureString::read_line(File::open(&line).unwrap(), LEN).unwrap()),
        &|| Box::new(SecureVec::from_fd(open(), LEN).unwrap()),
        &|| Box::new(SecureVec::from_credential("plain").unwrap()),
        &|| Box::new(SecureString::from_credential("plain").unwrap()),
        // What is taken over is wiped in its old place.
        &|| Box::new(SecureVec::from(on_the_heap())),
        &|| Box::new(SecureVec::from(on_the_heap().into_boxed_slice())),
        &|| Box::new(SecureVec::from(Zeroizing::new(on_the_heap()))),
        &|| Box::new(SecureString::from(text_on_the_heap().into_boxed_str())),
        &|| Box::new(SecureString::from(Zeroizing::new(text_on_the_heap()))),
        &|| Box::new(SecureString::try_from(OsString::from(text_on_the_heap())).unwrap()),
        // Bytes and characters that come one by one.
        &|| Box::new(secret().collect::<SecureVec<u8>>()),
        &|| Box::new(secret().map(char::from).collect::<SecureString>()),
        &|| {
            let mut bytes = SecureVec::new();
            secret().for_each(|byte| bytes.write_all(&[byte]).unwrap());
            Box::new(bytes)
        },
        #[cfg(feature = "bytes")]
        &|| {
            let mut bytes = SecureVec::new();
            secret().for_each(|byte| bytes::BufMut::put_u8(&mut bytes, byte));
            Box::new(bytes)
        },
        #[cfg(feature = "serde")]
        &|| {
            use serde_core::de::value::{Error, SeqDeserializer};
            let elements = SeqDeserializer::<_, Error>::new(secret());
            Box::new(<SecureVec<u8> as serde_core::Deserialize>::deserialize(elements).unwrap())
        },
    ];
    for way in ways {
        let secret = way();
        is_there();
        drop(secret);
        assert_eq!(traces(), 0);
    }
    // Each of these has read the secret, or a part of it.
    assert!(SecureVec::read_from(open(), LEN - 1).is_err());
    assert!(SecureVec::read_line(open(), LEN - 1).is_err());
    assert!(SecureBox::<[u8; LEN + 1]>::read_exact(open()).is_err());
    assert!(SecureBox::<[u8; LEN - 1]>::read_from(open()).is_err());
    assert_eq!(traces(), 0);

    #[cfg(feature = "hex")]
    {
        let digit = |value: u8| char::from_digit(value.into(), 16).unwrap() as u8;
        let digits = || secret().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        decoded(is_there, "hex", digits, |text| SecureVec::from_hex(text).unwrap());
    }
    #[cfg(feature = "base64")]
    {
        // Of 63 bytes: 21 groups of three.
        let groups = || {
            (0..LEN - 1).step_by(3).flat_map(|at| {
                let byte = |more| u32::from(secret().nth(at + more).unwrap());
                let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
                [18, 12, 6, 0].map(|low| {
                    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
                        [(bits >> low & 63) as usize]
                })
            })
        };
        decoded(is_there, "base64", groups, |text| SecureVec::from_base64(text).unwrap());
    }

    let random = SecureBox::<[u8; LEN]>::random();
    search_for(random.expose_secret());
    is_there();
    drop(random);
    assert_eq!(traces(), 0);
    let random = SecureVec::random(LEN);
    search_for(random.expose_secret());
    is_there();
}

/// The secret on the ordinary heap, in a buffer that has not moved.
fn on_the_heap() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEN);
    secret().for_each(|byte| bytes.push(byte));
    bytes
}

fn text_on_the_heap() -> String {
    let mut text = String::with_capacity(LEN);
    secret().for_each(|byte| text.push(byte.into()));
    text
}

/// The secret, decoded from a file of its `digits`. Nothing is left of either.
#[cfg(any(feature = "base64", feature = "hex"))]
fn decoded<D: Iterator<Item = u8>>(
    is_there: &dyn Fn(),
    name: &str,
    digits: impl Fn() -> D,
    decode: impl Fn(&str) -> SecureVec<u8>,
) {
    let path = file_with(name, digits());
    SEARCH.with_borrow_mut(|search| search.note("digits", digits()));
    let text = SecureString::from_file(path, 1000).unwrap();
    is_there();
    let bytes = decode(text.expose_secret());
    drop(text);
    is_there();
    drop(bytes);
    assert_eq!(traces(), 0, "traces of the secret, or of its digits in {name}");
}

#[test]
fn values_made_in_every_way() {
    leaves(Left::Nothing, "values_made_in_every_way", every_way);
}

#[test]
fn control_values_made_in_an_ordinary_way() {
    leaves(Left::Traces, "control_values_made_in_an_ordinary_way", |is_there| {
        let path = file_with("control", secret());
        let bytes = fs::read(path).unwrap();
        is_there();
        drop(bytes);
    });
}

/// Asks for a new passphrase at a terminal, at which a thread types the secret twice, the second
/// time marked as text that is pasted.
fn typed_at_a_terminal(is_there: &dyn Fn()) {
    // SAFETY: plain system calls. The descriptors are new, and the values made of them own them.
    let (mut user, _terminal) = unsafe {
        let user = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(user >= 0 && libc::grantpt(user) == 0 && libc::unlockpt(user) == 0);
        let mut name = [0; 128];
        assert_eq!(libc::ptsname_r(user, name.as_mut_ptr(), name.len()), 0);
        // The first terminal that a new session opens is the session's.
        assert!(libc::setsid() > 0);
        let terminal = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        assert!(terminal >= 0);
        (File::from_raw_fd(user), File::from_raw_fd(terminal))
    };
    let typing = thread::spawn(move || {
        let pasted = (&b"\x1b[200~"[..], &b"\x1b[201~"[..]);
        for (prompt, (before, behind)) in [("New: ", (&b""[..], &b""[..])), ("Again: ", pasted)] {
            let mut seen = String::new();
            while !seen.ends_with(prompt) {
                let mut byte = [0];
                user.read_exact(&mut byte).unwrap();
                seen.push(byte[0].into());
            }
            user.write_all(before).unwrap();
            secret().for_each(|byte| user.write_all(&[byte]).unwrap());
            user.write_all(behind).unwrap();
            user.write_all(b"\n").unwrap();
        }
        user
    });
    let secret = SecureString::prompt_confirmed("New: ", "Again: ").unwrap();
    // Not closed: that would hang up on this process.
    mem::forget(typing.join().unwrap());
    assert_eq!(secret.len(), LEN);
    is_there();
}

#[test]
fn a_passphrase_typed_twice() {
    leaves(Left::Nothing, "a_passphrase_typed_twice", typed_at_a_terminal);
}

#[test]
fn an_environment_variable_taken() {
    leaves_with(Left::Nothing, "an_environment_variable_taken", &["WALLET_SECRET"], |is_there| {
        // SAFETY: no other thread of this process uses the environment.
        let secret = unsafe { SecureString::take_env("WALLET_SECRET").unwrap() };
        assert_eq!(secret.len(), LEN);
        is_there();
    });
}

#[test]
fn control_an_environment_variable_copied() {
    let test = "control_an_environment_variable_copied";
    leaves_with(Left::Traces, test, &["WALLET_SECRET"], |is_there| {
        drop(SecureString::from_env("WALLET_SECRET").unwrap());
        is_there();
    });
}
