//! No trace of a secret stays in memory. A process stores a secret in each of the secret types,
//! makes the value grow, duplicates it and drops everything. Then it searches its whole memory,
//! every readable mapping, for parts of the secret. The controls: the search finds the secret while
//! it is alive, and finds it after the same work with the standard type.
//!
//! Each case runs in a separate process (this test binary again). The program never has the secret
//! in clear: it is masked, and is put together byte by byte in its place.

#![cfg(target_os = "linux")]

use bitcoin_support::{SecureBox, SecureString, SecureVec, SerializeData};
use bytemuck::Zeroable;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::panic::AssertUnwindSafe;
use std::process::{Command, Stdio};
use std::{env, panic, ptr, slice};

const CHILD: &str = "BITCOIN_SUPPORT_TEST_SCAN";

const MASK: u8 = 0x95;
const LEN: usize = 64;
/// The search counts a sequence of this many bytes of the secret as a part of it.
const PART: usize = 16;

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

/// Counts the places in this process's memory where a part of the secret lies.
fn traces() -> usize {
    // The search reads into a mapping that it does not search.
    const BUFFER: usize = 1 << 20;
    // SAFETY: a new mapping of zeros, used here only.
    let buffer = unsafe {
        let start = libc::mmap(
            ptr::null_mut(),
            BUFFER,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(start, libc::MAP_FAILED);
        slice::from_raw_parts_mut(start.cast::<u8>(), BUFFER)
    };
    let own = buffer.as_ptr().addr();
    let memory = File::open("/proc/self/mem").expect("own memory");
    let maps = fs::read_to_string("/proc/self/maps").expect("own mappings");
    let mut found = 0;
    let mut searched = 0;
    for line in maps.lines() {
        let mut words = line.split(' ');
        let (range, permissions) = (words.next().unwrap(), words.next().unwrap());
        let (from, to) = range.split_once('-').unwrap();
        let parse = |digits| usize::from_str_radix(digits, 16).unwrap();
        let (mut from, to) = (parse(from), parse(to));
        if !permissions.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]")
        {
            continue;
        }
        while from < to {
            // The kernel may have merged the buffer's mapping with its neighbours.
            if (own..own + BUFFER).contains(&from) {
                from = own + BUFFER;
                continue;
            }
            let end = if from < own { to.min(own) } else { to };
            let len = BUFFER.min(end - from);
            let Ok(()) = memory.read_exact_at(&mut buffer[..len], from as u64) else { break };
            found += parts_in(&buffer[..len]);
            searched += len;
            from = if from + len == end { end } else { from + len - (PART - 1) };
        }
    }
    // SAFETY: the mapping was made above and is not used any more.
    unsafe { libc::munmap(own as *mut libc::c_void, BUFFER) };
    assert!(searched > 1 << 20, "only {searched} bytes searched");
    found
}

/// How many parts of the secret, each at a multiple of `PART`, occur in `bytes`.
fn parts_in(bytes: &[u8]) -> usize {
    let mut begins_part = [false; 256];
    MASKED.iter().step_by(PART).for_each(|&masked| begins_part[usize::from(masked ^ MASK)] = true);
    let is_part = |window: &[u8]| {
        MASKED
            .chunks(PART)
            .any(|part| window.iter().zip(part).all(|(&byte, &masked)| byte ^ MASK == masked))
    };
    let mut found = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        if begins_part[usize::from(byte)] && i + PART <= bytes.len() {
            found += usize::from(is_part(&bytes[i..i + PART]));
        }
    }
    found
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
    if env::var_os(CHILD).is_some() {
        assert_eq!(traces(), 0, "the secret is in the program");
        case(&|| assert_ne!(traces(), 0, "the search does not see the secret"));
        let traces = traces();
        assert_eq!(traces == 0, left == Left::Nothing, "{traces} traces");
        return;
    }
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, test)
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
