//! Sealed secrets: what comes back, what is refused, when the key is gone, and where a secret lies
//! in the memory of the process. Each observation has its control.

#![cfg(all(target_os = "linux", feature = "sealed"))]

mod common;
#[path = "common/early_child.rs"]
mod early_child;

use bitcoin_support::{
    ForkPolicy, LockedPoolManager, OpenedMut, PoolOptions, SealedBox, SealedError, SealedVec,
    SecureBox, SecureVec, rotate_sealing_key, wipe_everything,
};
use common::{
    alone, flags_of, in_child, in_unnoticed_child, limit_locked_memory, locked_by_kernel, refuse,
};
use early_child::in_early_child;
use memchr::memmem;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::sync::{Barrier, Mutex, OnceLock};
use std::{ptr, slice, thread};
use zeroize::Zeroizing;

/// The heap, which tells where the last block of a size was allocated.
struct Watched;

thread_local! {
    /// The size that is watched, and the last block of it.
    static SIZE: Cell<usize> = const { Cell::new(0) };
    static LAST: Cell<*mut u8> = const { Cell::new(ptr::null_mut()) };
    /// Whether there is no memory for blocks of that size.
    static FAILS: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: all blocks are the system allocator's.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() == SIZE.get() && FAILS.get() {
            return ptr::null_mut();
        }
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        let block = unsafe { System.alloc(layout) };
        if layout.size() == SIZE.get() {
            LAST.set(block);
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static HEAP: Watched = Watched;

const LEN: usize = 32;
/// A sealed key: a tag and the key's bytes.
const SEALED_LEN: usize = 16 + LEN;

/// Seals a key, and returns the sealed bytes on the heap too.
fn sealed_key(byte: u8) -> (SealedBox<[u8; LEN]>, &'static mut [u8]) {
    SIZE.set(SEALED_LEN);
    let sealed = SealedBox::seal(SecureBox::new([byte; LEN])).unwrap();
    SIZE.set(0);
    // SAFETY: the block of that length that was allocated last is that of the sealed key, which the
    // callers keep as long as they use the bytes. They use the key only when they do not write.
    (sealed, unsafe { slice::from_raw_parts_mut(LAST.get(), SEALED_LEN) })
}

// ---- What comes back --------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::NoUninit)]
#[repr(C)]
struct Path {
    key: [u64; 3],
    depth: u16,
    is_hardened: bool,
    rest: [u8; 5],
}

#[test]
fn values_come_back() {
    let path = Path { key: [1, 2, 3], depth: 4, is_hardened: true, rest: [5; 5] };
    let mut sealed = SealedBox::seal(SecureBox::new(path)).unwrap();
    assert_eq!(sealed.open().unwrap().expose_secret(), &path);
    assert!(sealed.open().unwrap().is_locked());
    let mut opened = sealed.open_mut().unwrap();
    assert_eq!((opened.expose_secret(), opened.is_locked()), (&path, true));
    opened.expose_secret_mut().depth = 9;
    drop(opened);
    assert_eq!(sealed.open().unwrap().expose_secret(), &Path { depth: 9, ..path });
    // A guard that is discarded or forgotten changes nothing.
    let mut opened = sealed.open_mut().unwrap();
    opened.expose_secret_mut().depth = 10;
    opened.discard();
    assert_eq!(sealed.open().unwrap().expose_secret().depth, 9);
    let mut opened = sealed.open_mut().unwrap();
    opened.expose_secret_mut().depth = 10;
    std::mem::forget(opened);
    assert_eq!(sealed.open().unwrap().expose_secret().depth, 9);

    for len in [0, 1, 63, 64, 65, 1000, 300_000] {
        let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut sealed = SealedVec::seal(SecureVec::from_slice(&bytes)).unwrap();
        assert_eq!((sealed.len(), sealed.is_empty()), (len, len == 0));
        assert_eq!(sealed.open().unwrap().expose_secret(), bytes);
        sealed.open_mut().unwrap().expose_secret_mut().reverse();
        assert!(sealed.open().unwrap().expose_secret().iter().eq(bytes.iter().rev()));
        sealed.reseal().unwrap();
        assert!(sealed.open().unwrap().expose_secret().iter().eq(bytes.iter().rev()));
    }
    let numbers = SealedVec::seal_copy(&[1_u64, 2, u64::MAX]).unwrap();
    assert_eq!(numbers.open().unwrap().expose_secret(), [1, 2, u64::MAX]);
    assert_eq!(SealedVec::seal_copy(&[(); 7]).unwrap().open().unwrap().len(), 7);
    SealedBox::seal_copy(&()).unwrap().open().unwrap();
    let mut text = format!("{sealed:?} {numbers:?}");
    text += &format!(" {:?}", sealed.open_mut().unwrap());
    assert_eq!(text, "SealedBox([sealed]) SealedVec([sealed]) OpenedMut([redacted])");
}

#[test]
fn other_threads_open_and_seal() {
    fn is_sent_and_shared<T: Send + Sync>() {}
    is_sent_and_shared::<(SealedBox<[u8; LEN]>, SealedVec, OpenedMut<'static, [u8]>, SealedError)>(
    );
    alone("other_threads_open_and_seal", || {
        let shared = SealedVec::seal_copy(&[7_u8; 100]).unwrap();
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for thread in 0..3 {
                let (shared, start) = (&shared, &start);
                scope.spawn(move || {
                    let mut own = SealedBox::seal_copy(&[thread; LEN]).unwrap();
                    start.wait();
                    for _ in 0..100 {
                        assert_eq!(shared.open().unwrap().expose_secret(), [7; 100]);
                        own.reseal().unwrap();
                        assert_eq!(own.open().unwrap().expose_secret(), &[thread; LEN]);
                    }
                });
            }
            start.wait();
            for _ in 0..100 {
                // Four secrets use four keys at most, of which one may be the current one.
                match rotate_sealing_key() {
                    Ok(()) | Err(SealedError::KeysInUse) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    });
}

// ---- What is refused ----------------------------------------------------------------

#[test]
fn each_changed_bit_is_noticed() {
    let (mut sealed, bytes) = sealed_key(0x5a);
    assert_eq!(bytes.len(), SEALED_LEN);
    for byte in bytes {
        for bit in 0..8 {
            *byte ^= 1 << bit;
            assert_eq!(sealed.open().unwrap_err(), SealedError::Tampered, "bit {bit}");
            assert_eq!(sealed.open_mut().unwrap_err(), SealedError::Tampered);
            assert_eq!(sealed.reseal().unwrap_err(), SealedError::Tampered);
            *byte ^= 1 << bit;
        }
    }
    // The control: unchanged bytes are opened.
    assert_eq!(sealed.open().unwrap().expose_secret(), &[0x5a; LEN]);
}

#[test]
fn exchanged_bytes_are_noticed() {
    let (mut one, bytes_of_one) = sealed_key(1);
    let (two, bytes_of_two) = sealed_key(2);
    // Of another secret.
    bytes_of_one.swap_with_slice(bytes_of_two);
    assert_eq!(one.open().unwrap_err(), SealedError::Tampered);
    assert_eq!(two.open().unwrap_err(), SealedError::Tampered);
    bytes_of_one.swap_with_slice(bytes_of_two);
    // Of an earlier time.
    let earlier = bytes_of_one.to_vec();
    one.open_mut().unwrap().expose_secret_mut().fill(3);
    assert_ne!(earlier, bytes_of_one);
    let later = bytes_of_one.to_vec();
    bytes_of_one.copy_from_slice(&earlier);
    assert_eq!(one.open().unwrap_err(), SealedError::Tampered);
    // The control.
    bytes_of_one.copy_from_slice(&later);
    assert_eq!(one.open().unwrap().expose_secret(), &[3; LEN]);
    assert_eq!(two.open().unwrap().expose_secret(), &[2; LEN]);
}

/// The same secret is never encrypted twice in the same way.
#[test]
fn no_two_sealed_secrets_are_equal() {
    let sealed: Vec<_> = (0..50).map(|_| sealed_key(9)).collect();
    let bytes: BTreeSet<_> = sealed.iter().map(|(_, bytes)| &bytes[..]).collect();
    assert_eq!(bytes.len(), 50);
    let bytes: BTreeSet<_> = sealed.iter().map(|(_, bytes)| &bytes[16..20]).collect();
    assert_eq!(bytes.len(), 50);
}

#[test]
fn failures_are_told() {
    alone("failures_are_told", || {
        let sealed = SealedBox::seal_copy(&[1_u8; LEN]).unwrap();
        thread::spawn(move || {
            refuse(libc::SYS_getrandom, None, libc::EIO);
            let refused = SealedBox::seal_copy(&[2_u8; LEN]).unwrap_err();
            assert_eq!(refused, SealedError::NoRandomness);
            assert_eq!(rotate_sealing_key(), Err(SealedError::NoRandomness));
            // To open takes no random numbers.
            assert_eq!(sealed.open().unwrap().expose_secret(), &[1; LEN]);
        })
        .join()
        .unwrap();
        SealedBox::seal_copy(&[2_u8; LEN]).unwrap();
    });
}

#[test]
fn without_a_heap_nothing_is_sealed() {
    let (mut sealed, _) = sealed_key(1);
    SIZE.set(SEALED_LEN);
    FAILS.set(true);
    assert_eq!(SealedBox::seal_copy(&[1_u8; LEN]).unwrap_err(), SealedError::OutOfMemory);
    // Nothing else needs memory of the heap.
    assert_eq!(sealed.open().unwrap().expose_secret(), &[1; LEN]);
    sealed.open_mut().unwrap().expose_secret_mut().fill(2);
    sealed.reseal().unwrap();
    assert_eq!(sealed.open().unwrap().expose_secret(), &[2; LEN]);
    FAILS.set(false);
    SealedBox::seal_copy(&[1_u8; LEN]).unwrap();
}

#[test]
fn without_locked_memory_nothing_is_sealed() {
    alone("without_locked_memory_nothing_is_sealed", || {
        limit_locked_memory(0, 0);
        LockedPoolManager::instance().set_locking_failed(Some(Box::new(|_| false)));
        let error = SealedBox::seal_copy(&[1_u8; LEN]).unwrap_err();
        assert!(matches!(error, SealedError::OutOfLockedMemory(_)), "{error:?}");
        assert!(error.to_string().contains("ulimit -l"), "{error}");
        let error = std::io::Error::from(error);
        assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
        // The control: with the consent of the callback it is.
        LockedPoolManager::instance().set_locking_failed(Some(Box::new(|_| true)));
        SealedBox::seal_copy(&[1_u8; LEN]).unwrap();
    });
}

// ---- When the key is gone -----------------------------------------------------------

#[test]
fn the_panic_button_wipes_the_key() {
    alone("the_panic_button_wipes_the_key", || {
        let (mut key, bytes) = sealed_key(1);
        let seed = SealedVec::seal_copy(b"a seed").unwrap();
        // The control: before, both can be opened.
        assert!(key.open().is_ok() && seed.open().is_ok());
        let mut opened = key.open_mut().unwrap();
        let before = bytes.to_vec();
        // SAFETY: all secrets of this program are bytes.
        unsafe { wipe_everything() };
        assert_eq!(seed.open().unwrap_err(), SealedError::KeyWiped);
        // What was open is zeros; what is written to it is not sealed with a key of zeros.
        assert_eq!(opened.expose_secret(), &[0; LEN]);
        opened.expose_secret_mut().fill(2);
        drop(opened);
        assert_eq!(before, bytes);
        assert_eq!(key.open().unwrap_err(), SealedError::KeyWiped);
        assert_eq!(key.open_mut().unwrap_err(), SealedError::KeyWiped);
        assert_eq!(key.reseal().unwrap_err(), SealedError::KeyWiped);
        // Other secrets get another key.
        let other = SealedVec::seal_copy(b"a seed").unwrap();
        assert_eq!(other.open().unwrap().expose_secret(), b"a seed");
        assert_eq!(seed.open().unwrap_err(), SealedError::KeyWiped);
        drop((key, seed, other));
        assert_eq!(keys_in_the_pool(), 1);
    });
}

/// The number of chunks of the process-wide pool that are as large as a key.
fn keys_in_the_pool() -> usize {
    let mut count = 0;
    LockedPoolManager::instance()
        .walk(|_, size, is_used| count += usize::from(is_used && size == 16 * 1024));
    count
}

#[test]
fn children_that_keep_the_key_use_no_random_number_twice() {
    alone("children_that_keep_the_key_use_no_random_number_twice", || {
        let sealed = SealedVec::seal_copy(b"a seed").unwrap();
        let mut ends = [0; 2];
        // SAFETY: a place for two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        // SAFETY: the two are open, and have no other owner.
        let (mut reader, writer) =
            unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) };
        let check_and_send = || {
            assert_eq!(sealed.open().unwrap().expose_secret(), b"a seed");
            let (own, bytes) = sealed_key(1);
            assert_eq!(own.open().unwrap().expose_secret(), &[1; LEN]);
            (&writer).write_all(bytes).unwrap();
        };
        in_child(check_and_send);
        in_child(check_and_send);
        in_unnoticed_child(check_and_send);
        check_and_send();
        let mut seen = [[0; SEALED_LEN]; 4];
        seen.iter_mut().for_each(|bytes| reader.read_exact(bytes).unwrap());
        let has_repeated =
            |seen: &[_]| seen.iter().enumerate().any(|(at, bytes)| seen[..at].contains(bytes));
        assert!(!has_repeated(&seen), "a child has used its parent's numbers");
        // The control: what is sent twice is noticed.
        seen[3] = seen[1];
        assert!(has_repeated(&seen));
    });
}

/// A guard has prepared an encryption. If the process forks meanwhile, each of the two processes
/// seals with it, and not with the same key: or else the sealed bytes would tell how the secrets
/// differ.
#[test]
fn a_guard_that_is_dropped_in_a_child_too_uses_no_key_twice() {
    alone("a_guard_that_is_dropped_in_a_child_too_uses_no_key_twice", || {
        let mut ends = [0; 2];
        // SAFETY: a place for two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        // SAFETY: the two are open, and have no other owner.
        let (mut reader, writer) =
            unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) };
        let (sealed, bytes) = sealed_key(1);
        let sealed = ptr::from_mut(Box::leak(Box::new(sealed)));
        // SAFETY: leaked above; in each process one guard uses it at a time.
        let mut opened = Some(unsafe { &mut *sealed }.open_mut().unwrap());
        let mut seal_and_send = |byte: u8| {
            opened.as_mut().unwrap().expose_secret_mut().fill(byte);
            drop(opened.take());
            // SAFETY: the guard is gone.
            assert_eq!(unsafe { &*sealed }.open().unwrap().expose_secret(), &[byte; LEN]);
            (&writer).write_all(bytes).unwrap();
        };
        in_child(|| seal_and_send(2));
        in_unnoticed_child(|| seal_and_send(3));
        seal_and_send(4);
        let mut seen = [[0; SEALED_LEN]; 3];
        seen.iter_mut().for_each(|bytes| reader.read_exact(bytes).unwrap());
        let is_same_key = |(a, one): (u8, &[u8; SEALED_LEN]),
                           (b, other): (u8, &[u8; SEALED_LEN])| {
            one[16..].iter().zip(&other[16..]).all(|(x, y)| x ^ y == a ^ b)
        };
        assert!(!is_same_key((2, &seen[0]), (4, &seen[2])));
        assert!(!is_same_key((3, &seen[1]), (4, &seen[2])));
        assert!(!is_same_key((2, &seen[0]), (3, &seen[1])));
        // The control.
        let other = seen[0].map(|byte| byte ^ 2 ^ 5);
        assert!(is_same_key((2, &seen[0]), (5, &other)));
    });
}

/// In the child of a process whose pool has another policy than to keep its contents.
fn a_child_does_not_have_the_key(policy: ForkPolicy) {
    // SAFETY: all secrets of this program are bytes, and its children use none but sealed ones.
    unsafe {
        let options = PoolOptions::new().fork_policy(policy);
        LockedPoolManager::instance().configure_unchecked(&options).unwrap();
    }
    let (mut sealed, bytes) = sealed_key(1);
    let before = bytes.to_vec();
    in_child(|| {
        assert_eq!(sealed.open().unwrap_err(), SealedError::KeyWiped);
        assert_eq!(sealed.open_mut().unwrap_err(), SealedError::KeyWiped);
        let own = SealedVec::seal_copy(b"a child's").unwrap();
        assert_eq!(own.open().unwrap().expose_secret(), b"a child's");
        in_child(|| assert_eq!(own.open().unwrap_err(), SealedError::KeyWiped));
        assert_eq!(own.open().unwrap().expose_secret(), b"a child's");
        drop(own);
        rotate_sealing_key().unwrap();
    });
    // A guard that is dropped in the child seals nothing there.
    let mut opened = Some(sealed.open_mut().unwrap());
    in_child(|| {
        drop(opened.take());
        assert_eq!(before, bytes);
    });
    opened.as_mut().unwrap().expose_secret_mut().fill(2);
    drop(opened);
    // The control: the parent still has it.
    assert_eq!(sealed.open().unwrap().expose_secret(), &[2; LEN]);
}

#[test]
fn a_child_with_wiped_memory() {
    alone("a_child_with_wiped_memory", || {
        a_child_does_not_have_the_key(ForkPolicy::Wipe);
        // Nor is anything sealed with a key of zeros where the library does not learn of the child.
        let (sealed, _) = sealed_key(1);
        in_unnoticed_child(|| {
            assert_eq!(sealed.open().unwrap_err(), SealedError::KeyWiped);
            let own = SealedVec::seal_copy(b"a child's").unwrap();
            assert_eq!(own.open().unwrap().expose_secret(), b"a child's");
        });
        assert!(sealed.open().is_ok());
    });
}

#[test]
fn a_child_without_the_memory() {
    alone("a_child_without_the_memory", || a_child_does_not_have_the_key(ForkPolicy::Absent));
}

/// Another library's fork handler uses it in such a child, before this library's has run.
#[test]
fn a_child_without_the_memory_uses_it_early() {
    static SEALED: OnceLock<SealedBox<[u8; LEN]>> = OnceLock::new();
    static OPENED: Mutex<Option<OpenedMut<'static, [u8; LEN]>>> = Mutex::new(None);
    fn open() {
        assert_eq!(SEALED.get().unwrap().open().unwrap_err(), SealedError::KeyWiped);
    }
    fn drop_the_guard() {
        drop(OPENED.lock().unwrap().take());
    }
    alone("a_child_without_the_memory_uses_it_early", || {
        let options = PoolOptions::new().fork_policy(ForkPolicy::Absent);
        // SAFETY: all secrets of this program are bytes, and its children use none but sealed ones.
        unsafe { LockedPoolManager::instance().configure_unchecked(&options) }.unwrap();
        let sealed = SEALED.get_or_init(|| sealed_key(1).0);
        in_early_child(open, open);
        // The control: the parent has it.
        assert_eq!(sealed.open().unwrap().expose_secret(), &[1; LEN]);

        let (other, bytes) = sealed_key(2);
        let before = bytes.to_vec();
        *OPENED.lock().unwrap() = Some(Box::leak(Box::new(other)).open_mut().unwrap());
        in_early_child(drop_the_guard, || assert_eq!(before, bytes));
        drop_the_guard();
        assert_ne!(before, bytes);
    });
}

// ---- Rotation -----------------------------------------------------------------------

#[test]
fn rotation() {
    alone("rotation", || {
        rotate_sealing_key().unwrap();
        assert_eq!(keys_in_the_pool(), 0);
        let mut sealed = Vec::new();
        for number in 0..4 {
            sealed.push(SealedBox::seal_copy(&[number; LEN]).unwrap());
            let rotated = rotate_sealing_key();
            assert_eq!(rotated.is_ok(), number < 3, "{rotated:?}");
            assert_eq!(keys_in_the_pool(), 4.min(usize::from(number) + 2));
        }
        assert_eq!(rotate_sealing_key(), Err(SealedError::KeysInUse));
        for (number, sealed) in sealed.iter_mut().enumerate() {
            assert_eq!(sealed.open().unwrap().expose_secret(), &[number as u8; LEN]);
            sealed.reseal().unwrap();
            assert_eq!(sealed.open().unwrap().expose_secret(), &[number as u8; LEN]);
        }
        // The older keys went with the last secrets that used them.
        assert_eq!(keys_in_the_pool(), 1);
        rotate_sealing_key().unwrap();
        assert_eq!(keys_in_the_pool(), 2);
        // A guard seals with the new key.
        for sealed in &mut sealed {
            sealed.open_mut().unwrap().expose_secret_mut().fill(7);
            assert_eq!(sealed.open().unwrap().expose_secret(), &[7; LEN]);
        }
        assert_eq!(keys_in_the_pool(), 1);
    });
}

// ---- Where a secret lies ------------------------------------------------------------

#[test]
fn locked_memory_does_not_grow_with_the_number_of_secrets() {
    alone("locked_memory_does_not_grow_with_the_number_of_secrets", || {
        let mut sealed = Vec::new();
        let mut locked_with = |count: usize| {
            sealed
                .resize_with(count, || SealedBox::<[u8; LEN]>::seal(SecureBox::random()).unwrap());
            sealed.iter().for_each(|key| drop(key.open().unwrap()));
            (locked_by_kernel(), LockedPoolManager::instance().stats().used)
        };
        let ten = locked_with(10);
        assert_eq!(locked_with(2000), ten);
        assert!(ten.1 < 64 * 1024, "{} bytes are used", ten.1);
        println!(
            "locked with 10 and with 2000 sealed keys: {} bytes, of which {} are used",
            ten.0, ten.1
        );
        // The control: keys that are not sealed.
        let keys: Vec<_> = (0..20_000).map(|_| SecureBox::<[u8; LEN]>::random()).collect();
        assert!(locked_by_kernel() > ten.0 + keys.len() * LEN / 2);
    });
}

const MASK: u8 = 0x95;
const SECRET_LEN: usize = 64;

/// The secret, masked by the compiler, so that the program does not have it in clear.
const MASKED: [u8; SECRET_LEN] = {
    let mut bytes = *b"sealed: the Carpenter said nothing but the butter's spread thick";
    let mut i = 0;
    while i < SECRET_LEN {
        bytes[i] ^= MASK;
        i += 1;
    }
    bytes
};

fn secret() -> impl Iterator<Item = u8> {
    black_box(MASKED).into_iter().map(|byte| byte ^ black_box(MASK))
}

/// A secret of this many bytes: the same bytes again and again.
fn secret_vec(len: usize) -> SecureVec<u8> {
    let mut vec = SecureVec::with_capacity(len);
    while vec.len() < len {
        secret().take(len - vec.len()).for_each(|byte| vec.push(byte));
    }
    vec
}

/// The addresses in this process's readable memory where 16 bytes of the secret lie.
fn traces() -> Vec<usize> {
    const PART: usize = 16;
    const BUFFER: usize = 1 << 20;
    // The search has its copies of memory in locked memory that it does not search.
    let mut buffer = SecureVec::zeroed(BUFFER);
    let mut sought = SecureVec::with_capacity(SECRET_LEN);
    secret().for_each(|byte| sought.push(byte));
    let own = [&buffer, &sought].map(|vec| vec.expose_secret().as_ptr_range());
    let own = own.map(|range| range.start.addr()..range.end.addr());
    let memory = File::open("/proc/self/mem").unwrap();
    let mut found = Vec::new();
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
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
            let len = BUFFER.min(to - from);
            let bytes = &mut buffer.expose_secret_mut()[..len];
            let Ok(()) = memory.read_exact_at(bytes, from as u64) else { break };
            for part in sought.expose_secret().chunks(PART) {
                let places = memmem::find_iter(bytes, part).map(|at| from + at);
                found.extend(places.filter(|at| !own.iter().any(|own| own.contains(at))));
            }
            from = if from + len == to { to } else { from + len - (PART - 1) };
        }
    }
    buffer.expose_secret_mut().fill(0);
    found
}

/// Whether all places are locked memory, which core dumps leave out.
fn all_locked(places: &[usize]) -> bool {
    let pages: BTreeSet<_> = places.iter().map(|at| at & !0xfff).collect();
    pages.into_iter().all(|page| {
        let flags = flags_of(page);
        ["lo", "dd"].iter().all(|flag| flags.iter().any(|it| it == flag))
    })
}

#[test]
fn a_sealed_secret_is_nowhere_in_memory() {
    alone("a_sealed_secret_is_nowhere_in_memory", || {
        assert_eq!(traces(), [0; 0], "the secret is in the program");
        for len in [SECRET_LEN, 1000, 50_000] {
            let secret = secret_vec(len);
            let open = traces();
            assert!(open.len() >= 4 && all_locked(&open));
            let mut sealed = SealedVec::seal(secret).unwrap();
            assert_eq!(traces(), [0; 0], "sealed");

            let opened = sealed.open().unwrap();
            let places = traces();
            assert!(places.len() >= 4 && all_locked(&places), "opened: {places:x?}");
            drop(opened);
            assert_eq!(traces(), [0; 0], "closed");

            let mut opened = sealed.open_mut().unwrap();
            opened.expose_secret_mut()[len - 1] ^= 1;
            let places = traces();
            assert!(places.len() >= 3 && all_locked(&places), "opened for changes: {places:x?}");
            drop(opened);
            assert_eq!(traces(), [0; 0], "sealed again");

            sealed.reseal().unwrap();
            assert_eq!(traces(), [0; 0], "sealed anew");
            drop(sealed);
        }
    });
}

/// The control: the same search finds a secret in ordinary memory, and what the cipher leaves on
/// the stack if nothing overwrites it (of builds that are not optimized).
#[test]
fn control_a_secret_is_found_where_it_is_left() {
    use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit};

    /// Encrypts so far down the stack that the search does not get there.
    #[inline(never)]
    fn encrypt(secret: &mut [u8]) {
        let above = black_box([0_u8; 64 * 1024]);
        let cipher = ChaCha20Poly1305::new((&[1; 32]).into());
        cipher.encrypt_in_place_detached((&[2; 12]).into(), b"", secret).unwrap();
        black_box(above);
    }

    alone("control_a_secret_is_found_where_it_is_left", || {
        let mut secret = secret_vec(SECRET_LEN);
        let plain = secret.expose_secret().to_vec();
        let places = traces();
        assert!(places.len() >= 8 && !all_locked(&places), "{places:x?}");
        encrypt(secret.expose_secret_mut());
        drop(Zeroizing::new(plain));
        let places = traces();
        if cfg!(debug_assertions) {
            assert!(!places.is_empty() && !all_locked(&places), "{places:x?}");
        }
    });
}

#[test]
fn the_key_lies_in_locked_memory() {
    alone("the_key_lies_in_locked_memory", || {
        let _sealed = SealedBox::seal_copy(&[1_u8; LEN]).unwrap();
        let mut keys = Vec::new();
        LockedPoolManager::instance().walk(|at, size, is_used| {
            if is_used && size == 16 * 1024 {
                keys.push(at);
            }
        });
        assert_eq!(keys.len(), 1);
        assert!(all_locked(&keys));
        // The control: the object and the sealed bytes do not.
        assert!(!all_locked(&[keys.as_ptr().addr()]));
    });
}
