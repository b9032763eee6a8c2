//! Any operations on the secret types, and on containers over the two allocators, beside `Vec` and
//! `String`. Contents and answers must be the same. Bytes that have left a value must be wiped: in
//! locked memory the unused capacity is zeros, and on the ordinary heap every block that is freed.
//!
//! Depends on `fault`, `input`, `witness` and the crate's public interface. The process-wide pool
//! must be empty when a run begins, and no other code may use it meanwhile, as its statistics count
//! the values that have memory.

use crate::fault::faults;
use crate::input::{Input, address};
use crate::witness::watch;
use allocator_api2::vec::Vec as AllocatorVec;
use bitcoin_support::{
    ClosedBox, ClosedError, ClosedState, LockedPool, LockedPoolManager, SecureAllocator, SecureBox,
    SecureString, SecureVec, SerializeData, ZeroAfterFreeAllocator,
};
use std::cell::Cell;
use std::io::{BufRead, Read, Write};
use std::rc::Rc;
use zeroize::Zeroize;

faults! {
    /// A byte changes when another one is appended.
    ChangesContents,
    /// Bytes after the end of a vector are not wiped.
    KeepsTail,
    /// A buffer on the ordinary heap is freed without a wipe.
    LeavesHeapDirty,
    /// A value's memory is not freed with it.
    KeepsMemory,
    /// Text is cut one character too early.
    CutsText,
    /// A range is one element too short.
    DrainsLess,
    /// An element is not dropped when it leaves.
    ForgetsElement,
    /// Serialized data can be read twice.
    ReadsTwice,
    /// A guard of a closed secret is never dropped.
    LeavesOpen,
}

pub(crate) fn run(data: &[u8]) {
    run_with(data, Fault::None);
}

/// The longest contents in bytes: above the size of an arena, for separate mappings.
const LONGEST: usize = LockedPool::ARENA_SIZE + 70_000;

/// A value that has a destructor, and is counted while it is alive.
struct Token {
    number: u32,
    alive: Rc<Cell<usize>>,
}

impl Token {
    fn new(number: u32, alive: &Rc<Cell<usize>>) -> Self {
        alive.set(alive.get() + 1);
        Self { number, alive: alive.clone() }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

struct Values {
    bytes: (SecureVec<u8>, Vec<u8>),
    words: (SecureVec<u64>, Vec<u64>),
    tokens: (SecureVec<Token>, Vec<u32>, Rc<Cell<usize>>),
    text: (SecureString, String),
    array: (SecureBox<[u8; 40]>, [u8; 40]),
    closed: (Option<ClosedBox<[u8]>>, Vec<u8>),
    data: (SerializeData, Vec<u8>),
    locked: (AllocatorVec<u32, SecureAllocator>, Vec<u32>),
    wiped: (AllocatorVec<u32, ZeroAfterFreeAllocator>, Vec<u32>),
    fault: Fault,
}

pub(crate) fn run_with(data: &[u8], fault: Fault) {
    let mut input = Input::new(data);
    let before = LockedPoolManager::instance().stats();
    let mut values = Values {
        bytes: Default::default(),
        words: Default::default(),
        tokens: Default::default(),
        text: Default::default(),
        array: (SecureBox::zeroed(), [0; 40]),
        closed: Default::default(),
        data: Default::default(),
        locked: (AllocatorVec::new_in(SecureAllocator::new()), Vec::new()),
        wiped: (AllocatorVec::new_in(ZeroAfterFreeAllocator::new()), Vec::new()),
        fault,
    };
    while !input.is_empty() {
        values.step(&mut input);
        let held = LockedPoolManager::instance().stats();
        assert_eq!(held.chunks_used - before.chunks_used, values.chunks(), "chunks of values");
    }
    watch(|| drop((values.data.0, values.wiped.0)));
    drop((values.bytes.0, values.words.0, values.text.0, values.array.0, values.locked.0));
    drop((values.tokens.0, values.closed.0));
    assert_eq!(values.tokens.2.get(), 0, "elements that are alive without a vector");
    let after = LockedPoolManager::instance().stats();
    assert_eq!((after.used, after.chunks_used), (before.used, before.chunks_used));
}

/// Some bytes. The input chooses whether they are few or many.
fn some_bytes(input: &mut Input<'_>) -> Vec<u8> {
    let len = match input.byte() {
        0..=199 => input.below(60),
        200..=250 => input.below(5000),
        _ => LONGEST - 40_000 - input.short(),
    };
    let first = input.byte() | 1;
    (0..len).map(|i| first.wrapping_add((i * 7) as u8)).collect()
}

/// A character of one to four bytes.
fn some_char(input: &mut Input<'_>) -> char {
    let number = u32::from(input.byte());
    let base = [0x41, 0x410, 0x3042, 0x1f600][number as usize % 4];
    char::from_u32(base + number % 20).expect("an assigned character")
}

/// A range within `len` elements.
fn range(input: &mut Input<'_>, len: usize) -> std::ops::Range<usize> {
    let end = input.below(len.min(60_000) + 1);
    input.below(end + 1)..end
}

/// A place in a text between two characters.
fn boundary(input: &mut Input<'_>, text: &str) -> usize {
    let mut at = input.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

/// Checks that the unused capacity after the contents is zeros.
fn assert_spare_is_wiped<T>(start: *const T, len: usize, capacity: usize) {
    let (from, bytes) = (start.addr() + size_of::<T>() * len, size_of::<T>() * (capacity - len));
    // SAFETY: the value's block, which is initialized memory of the pool or of a mapping.
    let spare = unsafe { std::slice::from_raw_parts(address(from).cast_const(), bytes) };
    assert!(spare.iter().all(|&byte| byte == 0), "unused capacity is not wiped");
}

impl Values {
    /// The number of values that have a chunk of the pool.
    fn chunks(&self) -> usize {
        let sizes = [
            self.bytes.0.capacity(),
            self.words.0.capacity() * 8,
            self.tokens.0.capacity() * size_of::<Token>(),
            self.text.0.capacity(),
            40,
            self.locked.0.capacity() * 4,
        ];
        sizes.iter().filter(|size| (1..=LockedPool::ARENA_SIZE).contains(*size)).count()
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 10 {
            0 | 1 => self.bytes(input),
            2 => self.words(input),
            3 | 4 => self.text(input),
            5 => self.array(input),
            6 => self.data(input),
            7 => self.containers(input),
            8 => self.closed(input),
            _ => self.tokens(input),
        }
    }

    fn bytes(&mut self, input: &mut Input<'_>) {
        let (secret, plain) = &mut self.bytes;
        match input.byte() % 20 {
            0..=2 => {
                let more = some_bytes(input);
                if plain.len() + more.len() <= LONGEST {
                    secret.extend_from_slice(&more);
                    plain.extend_from_slice(&more);
                }
                if self.fault == Fault::ChangesContents && plain.len() > 100 {
                    secret.expose_secret_mut()[50] ^= 1;
                }
            }
            3 => {
                let byte = input.byte();
                secret.push(byte);
                plain.push(byte);
            }
            4 => assert_eq!(secret.pop(), plain.pop()),
            5 => {
                let len = input.below(plain.len().min(60_000) + 2);
                secret.truncate(len);
                plain.truncate(len);
            }
            6 => {
                let (len, byte) = (input.below(3000), input.byte());
                secret.resize(len, byte);
                plain.resize(len, byte);
            }
            7 => {
                if let Some(index) = input.index(plain.len().min(60_000)) {
                    assert_eq!(secret.remove(index), plain.remove(index));
                }
            }
            8 => {
                let mask = input.byte();
                secret.retain(|&byte| byte & mask != mask);
                plain.retain(|&byte| byte & mask != mask);
            }
            9 => {
                secret.shrink_to_fit();
                assert!(secret.capacity() == plain.len());
            }
            10 => {
                let copy = secret.duplicate();
                assert!(copy == *secret && copy == **plain);
                *secret = copy;
                if self.fault == Fault::KeepsMemory {
                    std::mem::forget(secret.duplicate());
                }
            }
            11 => {
                let more = input.too_many();
                assert!(secret.try_reserve(more).is_err());
                assert!(secret.try_resize(more, 1).is_err() || more <= plain.len());
                assert!(SecureVec::<u64>::try_with_capacity(more).is_err());
            }
            12 => {
                let (more, limit) = (some_bytes(input), input.below(6000));
                match SecureVec::read_from(more.as_slice(), limit) {
                    Ok(read) => assert!(more.len() <= limit && read == *more),
                    Err(_) => assert!(more.len() > limit),
                }
            }
            13 => {
                let (at, byte) = (input.below(plain.len().min(60_000) + 1), input.byte());
                secret.insert(at, byte);
                plain.insert(at, byte);
            }
            14 => {
                if let Some(index) = input.index(plain.len().min(60_000)) {
                    assert_eq!(secret.swap_remove(index), plain.swap_remove(index));
                }
            }
            15 => {
                let range = range(input, plain.len());
                let mut left = range.clone();
                if self.fault == Fault::DrainsLess {
                    left.end = left.end.max(left.start + 1) - 1;
                }
                // Some are looked at, and the others leave with the iterator.
                let some = input.below(9);
                let drained: Vec<u8> = secret.drain(left).take(some).collect();
                assert_eq!(drained, plain.drain(range).take(some).collect::<Vec<u8>>());
            }
            16 => {
                let at = input.below(plain.len().min(60_000) + 1);
                let mut tail = secret.split_off(at);
                assert!(tail == *plain.split_off(at));
                assert_spare_is_wiped(tail.as_ptr(), tail.len(), tail.capacity());
                // Around the other way.
                plain.splice(0..0, tail.expose_secret().iter().copied());
                tail.append(secret);
                assert!(secret.is_empty());
                *secret = tail;
            }
            17 => {
                let slice = std::mem::take(secret).into_boxed_slice();
                assert!(slice.expose_secret() == plain.as_slice());
                *secret = SecureVec::with_capacity(input.below(40));
                secret.extend(slice.expose_secret());
            }
            18 => {
                let skipped = input.below(20);
                *secret = std::mem::take(secret).into_iter().skip(skipped).collect();
                plain.drain(..skipped.min(plain.len()));
            }
            _ => {
                secret.zeroize();
                plain.clear();
            }
        }
        if self.fault == Fault::KeepsTail && secret.capacity() > plain.len() + 16 {
            let behind = secret.expose_secret_mut().as_mut_ptr().expose_provenance() + plain.len();
            // SAFETY: within the capacity of a value of this run.
            unsafe { *address(behind) = 1 };
        }
        assert!(secret.expose_secret() == plain.as_slice());
        assert_spare_is_wiped(secret.expose_secret().as_ptr(), plain.len(), secret.capacity());
    }

    fn words(&mut self, input: &mut Input<'_>) {
        let (secret, plain) = &mut self.words;
        match input.byte() % 6 {
            0..=2 => {
                let more = input.below(30);
                secret.extend((0..more as u64).map(|i| i << 40 | 1));
                plain.extend((0..more as u64).map(|i| i << 40 | 1));
            }
            3 => {
                let keep = input.byte();
                secret.retain(|word| (word >> 40) as u8 & 3 != keep & 3);
                plain.retain(|word| (word >> 40) as u8 & 3 != keep & 3);
            }
            4 => {
                *secret = SecureVec::from(plain.clone());
                secret.reserve(input.below(1000));
            }
            _ => {
                let len = input.below(plain.len() + 1);
                secret.truncate(len);
                plain.truncate(len);
                secret.shrink_to_fit();
            }
        }
        assert!(secret.expose_secret() == plain.as_slice());
        assert_spare_is_wiped(secret.expose_secret().as_ptr(), plain.len(), secret.capacity());
    }

    fn text(&mut self, input: &mut Input<'_>) {
        let (secret, plain) = &mut self.text;
        match input.byte() % 16 {
            0..=1 => {
                let character = some_char(input);
                secret.push(character);
                plain.push(character);
            }
            2..=3 => {
                let text: String = (0..input.below(40)).map(|_| some_char(input)).collect();
                secret.push_str(&text);
                plain.push_str(&text);
            }
            4 => assert_eq!(secret.pop(), plain.pop()),
            5 => {
                let mut len = input.below(plain.len() + 2);
                while len < plain.len() && !plain.is_char_boundary(len) {
                    len += 1;
                }
                secret.truncate(len);
                plain.truncate(len);
                if self.fault == Fault::CutsText {
                    secret.pop();
                }
            }
            6 => {
                *secret = SecureString::from(plain.clone());
                assert!(*secret == *plain.as_str());
                secret.shrink_to_fit();
            }
            7 => {
                let bytes = some_bytes(input);
                let made = SecureString::from_utf8(SecureVec::from_slice(&bytes));
                match (made, std::str::from_utf8(&bytes)) {
                    (Ok(made), Ok(text)) => assert!(made == *text),
                    (Err(error), Err(expected)) => {
                        assert_eq!(error.valid_up_to(), expected.valid_up_to());
                    }
                    _ => panic!("another opinion of what is UTF-8"),
                }
            }
            8 => {
                let (at, character) = (boundary(input, plain), some_char(input));
                secret.insert(at, character);
                plain.insert(at, character);
            }
            9 => {
                let at = boundary(input, plain);
                let text: String = (0..input.below(20)).map(|_| some_char(input)).collect();
                secret.insert_str(at, &text);
                plain.insert_str(at, &text);
            }
            10 => {
                let at = boundary(input, plain);
                if at < plain.len() {
                    assert_eq!(secret.remove(at), plain.remove(at));
                }
            }
            11 => {
                let (mask, mut kept) = (input.byte(), 0_u8);
                // Depends on how often it has been asked, too.
                let mut keep = |character: char| {
                    kept = kept.wrapping_add(1);
                    (character as u32 as u8 ^ kept) & mask != 0
                };
                secret.retain(&mut keep);
                kept = 0;
                plain.retain(|character| {
                    kept = kept.wrapping_add(1);
                    (character as u32 as u8 ^ kept) & mask != 0
                });
            }
            12..=13 => {
                let blanks = [" ", "\t\n", "\u{3000}", "\r\n"];
                let (before, behind) = (blanks[input.below(4)], blanks[input.below(4)]);
                secret.insert_str(0, before);
                plain.insert_str(0, before);
                *secret += behind;
                *plain += behind;
                if input.byte() % 2 == 0 {
                    secret.trim_in_place();
                    *plain = plain.trim().to_owned();
                } else {
                    secret.trim_end_in_place();
                    *plain = plain.trim_end().to_owned();
                }
            }
            14 => {
                let number = input.short();
                *secret = bitcoin_support::secure_format!("{}{number:x}", secret.expose_secret());
                *plain = format!("{plain}{number:x}");
            }
            _ => {
                secret.clear();
                plain.clear();
            }
        }
        assert!(secret.expose_secret() == plain.as_str());
        let start = secret.expose_secret().as_ptr();
        assert_spare_is_wiped(start, plain.len(), secret.capacity());
    }

    /// Elements with destructors: each is alive as long as it is in the vector.
    fn tokens(&mut self, input: &mut Input<'_>) {
        let (secret, plain, alive) = &mut self.tokens;
        let number = u32::from(input.byte());
        match number % 12 {
            0 => {
                secret.push(Token::new(number, alive));
                plain.push(number);
            }
            1 => {
                let more = number..number + input.below(40) as u32;
                secret.extend(more.clone().map(|number| Token::new(number, alive)));
                plain.extend(more);
            }
            2 => {
                let at = input.below(plain.len() + 1);
                secret.insert(at, Token::new(number, alive));
                plain.insert(at, number);
            }
            3 => {
                let popped = secret.pop();
                assert_eq!(popped.as_ref().map(|token| token.number), plain.pop());
                if self.fault == Fault::ForgetsElement {
                    std::mem::forget(popped);
                }
            }
            4 => {
                if let Some(index) = input.index(plain.len()) {
                    assert_eq!(secret.remove(index).number, plain.remove(index));
                }
            }
            5 => {
                if let Some(index) = input.index(plain.len()) {
                    assert_eq!(secret.swap_remove(index).number, plain.swap_remove(index));
                }
            }
            6 => {
                let (range, some) = (range(input, plain.len()), input.below(5));
                let drained: Vec<u32> =
                    secret.drain(range.clone()).take(some).map(|token| token.number).collect();
                assert_eq!(drained, plain.drain(range).take(some).collect::<Vec<u32>>());
            }
            7 => {
                let at = input.below(plain.len() + 1);
                let mut tail = secret.split_off(at);
                let mut expected = plain.split_off(at);
                tail.append(secret);
                expected.append(plain);
                (*secret, *plain) = (tail, expected);
            }
            8 => {
                let keep = input.byte();
                secret.retain_mut(|token| {
                    token.number = token.number.rotate_left(1);
                    token.number as u8 & keep != 0
                });
                plain.retain_mut(|number| {
                    *number = number.rotate_left(1);
                    *number as u8 & keep != 0
                });
            }
            9 => {
                let skipped = input.below(5);
                *secret = std::mem::take(secret).into_iter().skip(skipped).collect();
                plain.drain(..skipped.min(plain.len()));
            }
            10 => {
                let len = input.below(plain.len() + 1);
                secret.truncate(len);
                plain.truncate(len);
                if number % 24 < 12 {
                    secret.shrink_to_fit();
                } else {
                    secret.zeroize();
                    plain.clear();
                }
            }
            _ => {
                let more = input.too_many();
                assert!(secret.try_reserve(more).is_err());
                let slice = std::mem::take(secret).into_boxed_slice();
                let numbers = slice.expose_secret().iter().map(|token| token.number);
                assert!(numbers.eq(plain.drain(..)));
            }
        }
        let numbers = secret.iter().map(|token| token.number);
        assert!(numbers.eq(plain.iter().copied()));
        assert_eq!(alive.get(), plain.len(), "elements that are alive");
        assert_spare_is_wiped(secret.as_ptr(), plain.len(), secret.capacity());
    }

    fn array(&mut self, input: &mut Input<'_>) {
        let (secret, plain) = &mut self.array;
        match input.byte() % 6 {
            0..=1 => {
                let (index, byte) = (input.below(40), input.byte());
                secret.expose_secret_mut()[index] = byte;
                plain[index] = byte;
            }
            2 => *secret = secret.duplicate(),
            3 => {
                let slice: SecureBox<[u8]> = std::mem::take(secret).into();
                let bytes = SecureVec::from_slice(slice.expose_secret());
                *secret = SecureBox::try_from(bytes).expect("as many bytes");
            }
            4 => {
                let bytes = some_bytes(input);
                match SecureBox::<[u8; 40]>::try_from(bytes.as_slice()) {
                    Ok(array) => assert!(array.expose_secret() == &*bytes),
                    Err(_) => assert_ne!(bytes.len(), 40),
                }
            }
            _ => {
                secret.zeroize();
                *plain = [0; 40];
            }
        }
        assert!(secret.expose_secret() == plain);
        assert!(*secret == SecureBox::new(*plain));
    }

    /// A secret that is closed whenever no guard is there.
    fn closed(&mut self, input: &mut Input<'_>) {
        let (secret, plain) = &mut self.closed;
        let Some(closed) = secret else {
            *plain = some_bytes(input);
            match ClosedBox::close_slice(SecureVec::from_slice(plain).into_boxed_slice()) {
                Ok(closed) => *secret = Some(closed),
                Err(ClosedError::OutOfLockedMemory(_)) => {}
                Err(error) => panic!("{error}"),
            }
            return;
        };
        match input.byte() % 5 {
            0 | 1 => {
                let guards = 1 + input.below(4);
                let mut guards: Vec<_> =
                    (0..guards).map(|_| closed.open().expect("it can be opened")).collect();
                while !guards.is_empty() {
                    assert_eq!(closed.state(), ClosedState::Readable);
                    let guard = guards.swap_remove(input.below(guards.len()));
                    assert!(guard.expose_secret() == plain.as_slice());
                    if self.fault == Fault::LeavesOpen {
                        std::mem::forget(guard);
                    }
                }
            }
            2 => {
                let mut guard = closed.open_mut().expect("it can be opened");
                if let Some(index) = input.index(plain.len().min(60_000)) {
                    let byte = input.byte();
                    guard.expose_secret_mut()[index] = byte;
                    plain[index] = byte;
                }
                assert!(guard.expose_secret() == plain.as_slice());
            }
            3 => {
                let byte = input.byte();
                // SAFETY: the functions use the secret on this thread alone.
                let is_same = unsafe {
                    let changed = closed.write_on_this_thread(|bytes| bytes.fill(byte));
                    changed.expect("it can be opened");
                    closed.read_on_this_thread(|bytes| bytes.iter().all(|it| *it == byte))
                };
                assert!(is_same.expect("it can be opened"));
                plain.fill(byte);
            }
            _ => *secret = None,
        }
        if let Some(closed) = secret {
            assert_eq!(closed.state(), ClosedState::Closed);
        }
    }

    fn data(&mut self, input: &mut Input<'_>) {
        let (secret, plain) = &mut self.data;
        match input.byte() % 9 {
            0..=3 => {
                let more = some_bytes(input);
                if plain.len() + more.len() <= LONGEST {
                    watch(|| secret.write_all(&more).expect("memory"));
                    plain.extend_from_slice(&more);
                }
            }
            4..=5 => {
                let mut bytes = vec![0; input.below(400)];
                let count = secret.read(&mut bytes).expect("it never fails");
                assert_eq!(count, bytes.len().min(plain.len()));
                assert!(bytes[..count] == plain[..count]);
                if self.fault != Fault::ReadsTwice {
                    plain.drain(..count);
                }
            }
            6 => {
                let count = input.below(plain.len().min(60_000) + 9);
                assert!(secret.fill_buf().expect("it never fails") == plain.as_slice());
                watch(|| secret.consume(count));
                plain.drain(..count.min(plain.len()));
            }
            7 => {
                let copy = secret.duplicate().expect("memory");
                assert!(copy == *secret);
                watch(|| *secret = copy);
                let more = input.too_many();
                assert!(secret.try_reserve(more).is_err());
                let (freed, ()) = watch(|| drop(SerializeData::from(plain.clone())));
                assert_eq!(freed, usize::from(!plain.is_empty()), "a buffer has been taken over");
                if self.fault == Fault::LeavesHeapDirty {
                    watch(|| drop(plain.clone()));
                }
            }
            _ => {
                watch(|| if input.byte() % 2 == 0 { secret.zeroize() } else { secret.clear() });
                plain.clear();
            }
        }
        assert!(secret.as_slice() == plain.as_slice() && secret.len() == plain.len());
        assert!(*secret == **plain);
    }

    fn containers(&mut self, input: &mut Input<'_>) {
        let ((locked, plain), (wiped, expected)) = (&mut self.locked, &mut self.wiped);
        let number = input.byte();
        let count = input.below(50);
        let word = |i| u32::from(number) << 16 | i as u32;
        match number % 4 {
            0..=1 => {
                locked.extend((0..count).map(word));
                watch(|| wiped.extend((0..count).map(word)));
                plain.extend((0..count).map(word));
                expected.extend((0..count).map(word));
            }
            2 => {
                let at = input.below(plain.len() + 1);
                locked.truncate(at);
                plain.truncate(at);
                watch(|| wiped.truncate(at));
                expected.truncate(at);
            }
            _ => {
                locked.shrink_to_fit();
                watch(|| wiped.shrink_to_fit());
            }
        }
        assert!(locked.as_slice() == plain.as_slice() && wiped.as_slice() == expected.as_slice());
    }
}
