//! `SecureVec`, `SecureString`, `SecureBox` and `SecureAllocator` behave like the standard types,
//! and leave no bytes in memory. The tests read memory through `/proc/self/mem`, as another process
//! would see it.

#![cfg(target_os = "linux")]
#![cfg_attr(bitcoin_support_nightly, feature(allocator_api))]

mod common;

use allocator_api2::alloc::{Allocator, Layout};
use bitcoin_support::{
    LockedAllocation, LockedPageAllocator, LockedPages, LockedPool, LockedPoolManager,
    OutOfLockedMemory, PosixLockedPageAllocator, ReadSecretError, SecureAllocator, SecureBox,
    SecureString, SecureVec, ZeroizingAllocator, page_size,
};
use common::this_program::this_program;
use common::{alone_with_the_pool, assert_wiped, read_memory};
use proptest::prelude::*;
use std::cell::Cell;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

fn addr_of<T>(vec: &SecureVec<T>) -> usize {
    vec.expose_secret().as_ptr().addr()
}

/// Whether this process may lock `len` bytes, and locking has an effect (AddressSanitizer removes
/// it). If not, prints that the test is skipped.
fn can_lock(len: usize) -> bool {
    let pages = LockedPages::new_locked(len);
    let can = pages.is_ok_and(|pages| mapping_at(pages.as_ptr().addr().get()).1.contains(" lo"));
    if !can {
        eprintln!("skipped: {len} bytes cannot be locked here");
    }
    can
}

/// Permissions and flags of the mapping that an address lies in.
fn mapping_at(addr: usize) -> (String, String) {
    let smaps = fs::read_to_string("/proc/self/smaps").expect("own mappings");
    let mut permissions = None;
    for line in smaps.lines() {
        let mut words = line.split(' ');
        if let Some((from, to)) = words.next().and_then(|range| range.split_once('-')) {
            let parse = |digits| usize::from_str_radix(digits, 16).expect("an address");
            let within = (parse(from)..parse(to)).contains(&addr);
            permissions = words.next().filter(|_| within).map(str::to_owned);
        } else if let (Some(permissions), Some(flags)) =
            (&permissions, line.strip_prefix("VmFlags:"))
        {
            return (permissions.clone(), flags.to_owned());
        }
    }
    panic!("{addr:#x} is not mapped");
}

#[test]
fn growing_moves_and_wipes_the_old_buffer() {
    let _turn = alone_with_the_pool();
    let mut vec = SecureVec::with_capacity(16);
    vec.extend_from_slice(&[0x5a_u8; 16]);
    let old = addr_of(&vec);
    assert_eq!(read_memory(old, 16).unwrap(), [0x5a; 16]);
    vec.push(0x5b);
    assert_ne!(addr_of(&vec), old);
    assert_wiped(old, 16);
    assert_eq!(vec.expose_secret()[..16], [0x5a; 16]);
    assert_eq!(vec.expose_secret()[16], 0x5b);
}

#[test]
fn shrinking_to_fit_wipes_the_old_buffer() {
    let _turn = alone_with_the_pool();
    let mut vec = SecureVec::with_capacity(500);
    vec.extend_from_slice(&[0x77_u8; 40]);
    let old = addr_of(&vec);
    vec.shrink_to_fit();
    assert!(vec.capacity() < 500);
    assert_ne!(addr_of(&vec), old);
    assert_wiped(old, 500);
    assert_eq!(vec.expose_secret(), [0x77; 40]);

    let full = addr_of(&vec);
    vec.shrink_to_fit();
    assert_eq!(addr_of(&vec), full, "nothing to give back");
    vec.clear();
    vec.shrink_to_fit();
    assert_eq!(vec.capacity(), 0);
}

#[test]
fn removed_elements_are_wiped_at_once() {
    let _turn = alone_with_the_pool();
    let mut vec = SecureVec::from_slice(&[1_u32, 2, 3, 4, 5, 6, 7, 8]);
    let start = addr_of(&vec);
    let slot = |index: usize| start + index * 4;

    assert_eq!(vec.pop(), Some(8));
    assert_wiped(slot(7), 4);
    assert_eq!(vec.remove(0), 1);
    assert_wiped(slot(6), 8);
    vec.retain(|&value| value % 2 == 1);
    assert_eq!(vec.expose_secret(), [3, 5, 7]);
    assert_wiped(slot(3), 20);
    vec.resize(2, 0);
    assert_wiped(slot(2), 24);
    vec.truncate(9);
    assert_eq!(vec.expose_secret(), [3, 5]);
    vec.clear();
    assert_wiped(slot(0), 32);
    assert_eq!(vec.pop(), None);
    assert_eq!(addr_of(&vec), start);
}

#[test]
#[should_panic(expected = "no element 3 among 3")]
fn removing_what_is_not_there_panics() {
    let _turn = alone_with_the_pool();
    SecureVec::from_slice(&[1, 2, 3]).remove(3);
}

#[test]
fn dropping_wipes_elements_padding_and_unused_capacity() {
    let _turn = alone_with_the_pool();
    // Each element has padding: 7 bytes, or 3 where a `u64` may begin at any multiple of 4.
    const SIZE: usize = size_of::<(u8, u64)>();
    const { assert!(SIZE > size_of::<u8>() + size_of::<u64>()) };
    let mut vec: SecureVec<(u8, u64)> = SecureVec::with_capacity(10);
    vec.resize(6, (0, 0));
    let bytes = vec.expose_secret_mut().as_mut_ptr().cast::<u8>();
    // SAFETY: six elements; any bytes are a `u8` and a `u64`.
    unsafe { bytes.write_bytes(0xaa, 6 * SIZE) };
    let start = addr_of(&vec);
    assert_eq!(read_memory(start, 6 * SIZE).unwrap(), [0xaa; 6 * SIZE]);
    vec.truncate(5);
    assert_wiped(start + 5 * SIZE, SIZE);
    drop(vec);
    assert_wiped(start, 10 * SIZE);
}

/// Counts its drops, and panics in one of them.
#[derive(bytemuck::Zeroable)]
struct Dropped<'c> {
    count: Option<&'c Cell<usize>>,
    panics: bool,
    secret: u64,
}

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        assert_eq!(self.secret, 0x5ec2_e75e_c2e7, "destructors run before the wipe");
        let count = self.count.unwrap();
        count.set(count.get() + 1);
        if self.panics {
            std::panic::resume_unwind(Box::new("from a destructor"));
        }
    }
}

#[test]
fn destructors_run_and_may_panic() {
    let _turn = alone_with_the_pool();
    let count = Cell::new(0);
    let fill = |panics: fn(i32) -> bool| {
        let mut vec = SecureVec::with_capacity(8);
        let element =
            |i| Dropped { count: Some(&count), panics: panics(i), secret: 0x5ec2_e75e_c2e7 };
        vec.extend((0..8).map(element));
        vec
    };
    let size = size_of::<Dropped<'_>>();

    drop(fill(|_| false));
    assert_eq!(count.take(), 8);

    let mut vec = fill(|i| i == 5);
    let start = addr_of(&vec);
    assert!(catch_unwind(AssertUnwindSafe(|| vec.truncate(3))).is_err());
    assert_eq!((vec.len(), count.take()), (3, 5), "the others are dropped all the same");
    assert_wiped(start + 3 * size, 5 * size);

    let mut vec = fill(|i| i == 2);
    let start = addr_of(&vec);
    assert!(catch_unwind(AssertUnwindSafe(|| vec.retain(|_| false))).is_err());
    let left = vec.len();
    assert_wiped(start + left * size, (8 - left) * size);
    vec.expose_secret_mut().iter_mut().for_each(|element| element.panics = false);
    drop(vec);
    assert_eq!(count.take(), 8);

    let vec = fill(|i| i == 0);
    let start = addr_of(&vec);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(vec))).is_err());
    assert_eq!(count.take(), 8);
    assert_wiped(start, 8 * size);

    let boxed =
        SecureBox::new(Dropped { count: Some(&count), panics: true, secret: 0x5ec2_e75e_c2e7 });
    let start = std::ptr::from_ref(boxed.expose_secret()).addr();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(boxed))).is_err());
    assert_eq!(count.take(), 1);
    assert_wiped(start, size);
}

#[test]
fn elements_without_size_need_no_memory() {
    let _turn = alone_with_the_pool();
    let mut vec = SecureVec::new();
    for _ in 0..1000 {
        vec.push(());
    }
    assert_eq!(vec.len(), 1000);
    vec.truncate(10);
    vec.shrink_to_fit();
    assert_eq!(vec.pop(), Some(()));
    assert_eq!(vec.expose_secret().len(), 9);
    assert!(vec == vec.duplicate());
    vec.push(());
    assert!(vec != SecureVec::from_slice(&[(); 9]));
    vec.zeroize();
    assert!(vec.is_empty());
}

#[test]
fn over_aligned_elements_are_aligned() {
    let _turn = alone_with_the_pool();
    #[derive(Clone, Copy, bytemuck::Zeroable)]
    #[repr(align(64))]
    struct Line([u8; 64]);
    #[derive(bytemuck::Zeroable)]
    #[repr(align(4096))]
    struct Page(u8);

    let mut lines = SecureVec::new();
    for i in 0..20 {
        lines.push(Line([i; 64]));
        assert_eq!(addr_of(&lines) % 64, 0);
    }
    assert!(lines.expose_secret().iter().zip(0..).all(|(line, i)| line.0 == [i; 64]));
    let page = SecureBox::new(Page(7));
    assert_eq!(std::ptr::from_ref(page.expose_secret()).addr() % 4096, 0);
    assert_eq!(page.expose_secret().0, 7);
}

#[test]
fn more_than_an_arena_has_locked_pages_of_its_own() {
    let _turn = alone_with_the_pool();
    if !can_lock(2 << 20) {
        return;
    }
    let limit = LockedPool::ARENA_SIZE;
    let mut vec = SecureVec::with_capacity(limit);
    vec.resize(limit, 0x3c_u8);
    let in_pool = addr_of(&vec);
    vec.push(0x3d);
    let own = addr_of(&vec);
    assert_wiped(in_pool, limit);
    let (_, flags) = mapping_at(own);
    assert!(flags.contains(" lo"), "not locked: {flags}");
    assert!(flags.contains(" dd"), "in core dumps: {flags}");
    assert_eq!(own % page_size(), 0);
    let end = own + vec.capacity().next_multiple_of(page_size());
    for guard in [own - 1, end] {
        assert_eq!(mapping_at(guard).0, "---p", "no guard page");
    }
    assert!(vec.expose_secret()[..limit].iter().all(|&byte| byte == 0x3c));

    vec.truncate(100);
    assert_wiped(own + 100, limit - 99);
    vec.shrink_to_fit();
    assert_ne!(addr_of(&vec), own, "small enough for the pool");
    assert_eq!(vec.expose_secret(), [0x3c; 100]);
    assert!(read_memory(own, 1).is_none(), "still mapped");
}

#[test]
fn blocks_of_all_sizes_and_alignments() {
    let _turn = alone_with_the_pool();
    if !can_lock(4 << 20) {
        return;
    }
    let allocator = SecureAllocator::new();
    fn wipes(_: &impl ZeroizingAllocator) {}
    wipes(&allocator);
    let limit = LockedPool::ARENA_SIZE;
    for size in [0, 1, 15, 16, 17, 1000, limit - 1, limit, limit + 1, 3 * limit] {
        for align in [1, 2, 16, 64, 4096] {
            let layout = Layout::from_size_align(size, align).unwrap();
            let Ok(block) = Allocator::allocate(&allocator, layout) else {
                panic!("{layout:?}");
            };
            assert_eq!(block.len(), size);
            let start = block.cast::<u8>();
            assert_eq!(start.addr().get() % align, 0);
            // SAFETY: the block is `size` bytes long.
            unsafe { start.write_bytes(0xcd, size) };
            let larger = Layout::from_size_align(size + 100, align).unwrap();
            // SAFETY: the block was allocated with `layout`, and the new one is longer.
            let grown = unsafe { allocator.grow(start, layout, larger) }.unwrap();
            if size <= limit {
                assert_wiped(start.addr().get(), size);
            }
            let start = grown.cast::<u8>();
            // SAFETY: the block is `size + 100` bytes long; the pool gives zeros.
            let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), size + 100) };
            assert!(bytes[..size].iter().all(|&byte| byte == 0xcd));
            assert!(bytes[size..].iter().all(|&byte| byte == 0));
            let smaller = Layout::from_size_align(size / 2, align).unwrap();
            // SAFETY: the block was allocated with `larger`, and the new one is shorter.
            let shrunk = unsafe { allocator.shrink(start, larger, smaller) }.unwrap();
            // SAFETY: the block was allocated with `smaller`.
            unsafe { Allocator::deallocate(&allocator, shrunk.cast(), smaller) };
        }
    }
    let odd = Layout::from_size_align(limit + 1, 2 * page_size()).unwrap();
    assert!(Allocator::allocate(&allocator, odd).is_err());
    let huge = Layout::from_size_align(isize::MAX as usize - 15, 16).unwrap();
    assert!(Allocator::allocate(&allocator, huge).is_err());
    assert_eq!(allocator.allocate(0), None);
    assert_eq!(allocator.allocate(usize::MAX), None);
}

#[test]
fn freeing_with_another_size_is_noticed() {
    let _turn = alone_with_the_pool();
    let allocator = SecureAllocator::new();
    let block = allocator.allocate(32).unwrap();
    // SAFETY: the pool refuses this and touches nothing.
    let wrong = catch_unwind(|| unsafe { allocator.deallocate(block, 64) });
    assert!(wrong.is_err());
    // SAFETY: the block was allocated with this size and is not used any more.
    unsafe { allocator.deallocate(block, 32) };
}

#[test]
fn nothing_is_shown() {
    let _turn = alone_with_the_pool();
    let mut text = SecureString::from("hunter2");
    let shown = format!(
        "{:?} {:#?} {:?} {:?}",
        text,
        SecureVec::from_slice(b"hunter2"),
        SecureBox::new(*b"hunter2"),
        [SecureVec::from_slice(&[104_u8, 117])],
    );
    assert_eq!(
        shown,
        "SecureString([redacted]) SecureVec([redacted]) SecureBox([redacted]) \
         [SecureVec([redacted])]"
    );
    // The control: what the standard types show.
    assert!(format!("{:?} {:?}", "hunter2", [104_u8, 117]).contains("hunter2\" [104, 117]"));
    assert_eq!(text.pop(), Some('2'));
}

#[test]
fn equality_is_that_of_the_contents() {
    let _turn = alone_with_the_pool();
    let strings = ["", "a", "b", "ab", "aa", "\0", "ä"];
    for left in strings {
        for right in strings {
            let (secret, other) = (SecureString::from(left), SecureString::from(right));
            assert_eq!(secret == other, left == right);
            assert_eq!(secret == *right, left == right);
            assert_eq!(bool::from(secret.ct_eq(&other)), left == right);
            let (secret, other) = (secret.into_bytes(), other.into_bytes());
            assert_eq!(secret == other, left == right);
            assert_eq!(secret == *right.as_bytes(), left == right);
        }
    }
    assert!(SecureBox::new([1_u32, 2]) == SecureBox::new([1_u32, 2]));
    assert!(SecureBox::new([1_u32, 2]) != SecureBox::new([1_u32, 3]));
}

#[test]
fn zeroize_wipes_and_keeps_the_buffer() {
    let _turn = alone_with_the_pool();
    fn wiped_on_drop(_: &impl ZeroizeOnDrop) {}
    let mut vec = SecureVec::with_capacity(64);
    vec.extend_from_slice(&[9_u8; 50]);
    vec.truncate(20);
    let start = addr_of(&vec);
    vec.zeroize();
    assert!(vec.is_empty());
    assert_eq!((vec.capacity(), addr_of(&vec)), (64, start));
    assert_wiped(start, 64);

    let mut text = SecureString::from("text");
    text.zeroize();
    assert_eq!(text.expose_secret(), "");
    let mut key = SecureBox::new([9_u8; 32]);
    key.zeroize();
    assert_eq!(*key.expose_secret(), [0; 32]);
    wiped_on_drop(&vec);
    wiped_on_drop(&text);
    wiped_on_drop(&key);
}

#[test]
fn boxes_are_made_in_place() {
    let _turn = alone_with_the_pool();
    if !can_lock(4 << 20) {
        return;
    }
    // A value that does not fit the stack of a test's thread.
    let mut large = SecureBox::<[u8; 3 << 20]>::zeroed();
    let start = std::ptr::from_ref(large.expose_secret()).addr();
    large.expose_secret_mut()[(3 << 20) - 1] = 1;
    assert_eq!(large.expose_secret().iter().map(|&byte| u32::from(byte)).sum::<u32>(), 1);
    drop(large);
    assert!(read_memory(start, 1).is_none());
    assert_eq!(*SecureBox::new(5).duplicate().expose_secret(), 5);
}

#[test]
fn what_is_taken_over_is_wiped_where_it_was() {
    let _turn = alone_with_the_pool();
    // Not so large that the ordinary heap gives it a separate mapping. Freed blocks of the heap
    // keep their contents, except a few words at the beginning.
    let text = "correct horse battery staple ".repeat(100);
    let (addr, len) = (text.as_ptr().addr(), text.len());
    let secret = SecureString::from(text);
    let left = read_memory(addr, len).expect("the heap stays mapped");
    assert!(!left.windows(7).any(|window| window == b"battery"));
    assert_eq!(secret.len(), len);
    assert!(secret.expose_secret().ends_with("staple "));

    let numbers = vec![0x1122_3344_u32; 1000];
    let (addr, len) = (numbers.as_ptr().addr(), 4000);
    let secret = SecureVec::from(numbers);
    let left = read_memory(addr, len).expect("the heap stays mapped");
    assert!(!left.chunks(4).any(|chunk| chunk == 0x1122_3344_u32.to_ne_bytes()));
    assert_eq!(secret.expose_secret(), [0x1122_3344; 1000]);
}

/// Gives its bytes in pieces, with interruptions between them.
struct Pieces<'b> {
    bytes: &'b [u8],
    piece: usize,
    interrupt: bool,
}

impl Read for Pieces<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = self.piece.min(room.len());
        self.bytes.read(&mut room[..count])
    }
}

#[test]
fn reading_stops_at_the_end_or_the_limit() {
    let _turn = alone_with_the_pool();
    let bytes: Vec<u8> = (0..3000_u32).map(|i| (i % 251) as u8).collect();
    for len in [0, 1, 255, 256, 257, 511, 512, 513, 3000] {
        for piece in [1, 7, 5000] {
            let reader = || Pieces { bytes: &bytes[..len], piece, interrupt: false };
            for limit in [len, len + 1, 3 * len, usize::MAX] {
                let secret = SecureVec::read_from(reader(), limit).unwrap();
                assert!(secret == bytes[..len]);
            }
            if len > 0 {
                let error = SecureVec::read_from(reader(), len - 1).unwrap_err();
                assert!(matches!(error, ReadSecretError::TooLong(limit) if limit == len - 1));
            }
        }
    }

    struct Liar;
    impl Read for Liar {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            Ok(room.len() + 1)
        }
    }
    let error = SecureVec::read_from(Liar, 100).unwrap_err();
    assert!(matches!(error, ReadSecretError::Io(e) if e.kind() == io::ErrorKind::InvalidData));

    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let error = SecureString::read_from(Broken, 100).unwrap_err();
    assert!(error.to_string().contains("reset"), "{error}");
}

#[test]
fn text_is_utf8() {
    let _turn = alone_with_the_pool();
    let good = SecureString::read_from("šifra".as_bytes(), 100).unwrap();
    assert_eq!(good.expose_secret(), "šifra");
    let error = SecureString::read_from(&b"abc\xc3"[..], 100).unwrap_err();
    let ReadSecretError::NotUtf8(error) = error else { panic!("{error}") };
    assert_eq!(error.valid_up_to(), 3);
    assert_eq!(error.to_string(), "the secret is not UTF-8 from byte 3 on");
}

#[test]
fn strings_grow_and_shrink_by_characters() {
    let _turn = alone_with_the_pool();
    let mut secret = SecureString::new();
    let word = "x";
    for character in ['a', 'ß', '€', '𝄞'] {
        secret.push(character);
    }
    write!(secret, "{:x}-{}", 255, word).unwrap();
    assert_eq!(secret.expose_secret(), "aß€𝄞ff-x");
    secret.expose_secret_mut().make_ascii_uppercase();
    assert_eq!(secret.expose_secret(), "Aß€𝄞FF-X");
    secret.truncate(10);
    assert_eq!(secret.pop(), Some('𝄞'));
    assert_eq!(secret.expose_secret(), "Aß€");
    let copy = secret.duplicate();
    let inside = catch_unwind(AssertUnwindSafe(|| secret.truncate(2)));
    assert!(inside.is_err());
    assert!(secret == copy);
    secret.clear();
    assert_eq!(secret.pop(), None);
    secret.truncate(5);
    assert!(secret.is_empty() && secret.capacity() >= 10);
}

/// Bytes that a length can count, and that no address space has room for.
const TOO_MUCH: usize = isize::MAX as usize - 100;

#[test]
fn what_does_not_fit_the_address_space_is_an_error() {
    let _turn = alone_with_the_pool();
    let check = |error: OutOfLockedMemory, requested| {
        assert_eq!(error.requested(), requested);
        assert!(error.to_string().contains(&requested.to_string()));
    };
    check(SecureVec::<u64>::try_with_capacity(usize::MAX).unwrap_err(), usize::MAX);
    check(SecureVec::<u8>::try_with_capacity(TOO_MUCH).unwrap_err(), TOO_MUCH);
    check(SecureString::try_with_capacity(TOO_MUCH).unwrap_err(), TOO_MUCH);
    let mut vec = SecureVec::from_slice(b"stays");
    check(vec.try_reserve(TOO_MUCH).unwrap_err(), TOO_MUCH + 5);
    check(vec.try_resize(TOO_MUCH, 0).unwrap_err(), TOO_MUCH);
    assert!(vec == b"stays"[..]);
    let message = catch_unwind(|| SecureVec::<u8>::with_capacity(TOO_MUCH)).unwrap_err();
    let message = message.downcast_ref::<String>().expect("a message");
    assert!(message.contains("RLIMIT_MEMLOCK") || message.contains("ulimit -l"), "{message}");
}

#[test]
fn secrets_may_be_dropped_by_another_thread() {
    let _turn = alone_with_the_pool();
    let mut secrets: Vec<SecureVec<u8>> = Vec::new();
    for i in 0..64_u8 {
        secrets.push(SecureVec::from_slice(&[i; 100]));
    }
    std::thread::scope(|scope| {
        for (i, secret) in (0..64).zip(secrets) {
            scope.spawn(move || assert!(secret == [i; 100][..]));
        }
    });
}

/// Runs a test's body in a separate process, by running the test again there.
fn in_a_process_of_its_own(test: &str, body: impl FnOnce()) {
    const CHILD: &str = "BITCOIN_SUPPORT_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let output =
        this_program().args(["--exact", test, "--nocapture"]).env(CHILD, test).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    for line in text.lines().filter(|line| line.contains("skipped: ")) {
        println!("{line}");
    }
}

#[test]
fn without_lockable_memory() {
    in_a_process_of_its_own("without_lockable_memory", only_so_much_can_be_locked);
}

fn only_so_much_can_be_locked() {
    if !can_lock(1 << 16) {
        return;
    }
    // The limit does not bind a privileged process.
    let limit = libc::rlimit { rlim_cur: 65536, rlim_max: 65536 };
    // SAFETY: plain system calls on this process, which does nothing else.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit), 0);
        if libc::geteuid() == 0 {
            assert_eq!(libc::setresuid(65534, 65534, 65534), 0);
        }
    }
    let pool = LockedPoolManager::instance();
    pool.set_locking_failed(Some(Box::new(|_| false)));

    let mut secret = SecureVec::from_slice(&[1_u8; 1000]);
    let error = secret.try_reserve(100_000).unwrap_err();
    assert_eq!((error.requested(), error.limit()), (101_000, 65536));
    assert!(error.locked() <= 65536 && error.locked() > 0);
    assert!(secret == [1; 1000][..]);
    assert!(SecureBox::<[u8; 300_000]>::try_zeroed().is_err());
    let error = SecureVec::read_from(io::repeat(7), 1 << 20).unwrap_err();
    assert!(matches!(error, ReadSecretError::OutOfLockedMemory(_)), "{error}");
    let error = secret.write(&[0; 70_000]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);

    // The memory fits once, but not twice, so growth is smaller than usual.
    drop(secret);
    let mut secret = SecureVec::try_with_capacity(25_000).unwrap();
    secret.resize(25_000, 2_u8);
    secret.try_reserve(5_000).unwrap();
    assert!((30_000..50_000).contains(&secret.capacity()), "{}", secret.capacity());
    drop(secret);

    // Unlocked memory is for small secrets only, whatever the callback says.
    pool.set_locking_failed(None);
    assert!(SecureVec::<u8>::try_with_capacity(100_000).is_ok());
    assert!(SecureVec::<u8>::try_with_capacity(300_000).is_err());
}

/// No secret lies in a pool that a program adds to the process-wide manager by safe calls: a
/// foreign page allocator may return addresses without memory, and does not have to wipe. Raw
/// chunks of the manager do come from such pools.
#[test]
fn added_pools_serve_no_secrets() {
    in_a_process_of_its_own("added_pools_serve_no_secrets", || {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        /// Returns addresses where no memory is.
        struct Nowhere;
        impl LockedPageAllocator for Nowhere {
            fn allocate_locked(&mut self, len: usize) -> Option<LockedAllocation> {
                let number = ASKED.fetch_add(1, Ordering::Relaxed);
                let addr = std::ptr::without_provenance_mut((1 << 30) + number * 2 * len);
                Some(LockedAllocation { addr: NonNull::new(addr)?, locked: true })
            }
            unsafe fn free_locked(&mut self, _: NonNull<u8>, _: usize) {}
            fn limit(&self) -> usize {
                usize::MAX
            }
        }
        #[derive(Clone, Copy, bytemuck::Zeroable)]
        #[repr(C, align(262144))]
        struct Aligned([u8; 262_144]);

        let manager = LockedPoolManager::instance();
        manager.add_pool(LockedPool::with_page_allocator(Box::new(Nowhere)));
        manager.add_pool(LockedPool::with_page_allocator(Box::new(PosixLockedPageAllocator)));
        // A size for which the process-wide pool never has room.
        assert!(SecureBox::<Aligned>::try_zeroed().is_err());
        // A size for which it has no room any more, because no memory can be locked.
        let limit = libc::rlimit { rlim_cur: 65536, rlim_max: 65536 };
        // SAFETY: plain system calls on this process, which does nothing else.
        unsafe {
            assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit), 0);
            assert!(libc::geteuid() != 0 || libc::setresuid(65534, 65534, 65534) == 0);
        }
        manager.set_locking_failed(Some(Box::new(|_| false)));
        let mut secrets = Vec::new();
        while let Ok(secret) = SecureVec::try_from_slice(&[0x5a_u8; 3000]) {
            let addr = secret.expose_secret().as_ptr().addr();
            assert!(!(1 << 30..(1 << 30) + (16 << 20)).contains(&addr));
            secrets.push(secret);
            assert!(secrets.len() < 100, "secrets in memory that was added");
        }
        let bytes = Layout::from_size_align(3000, 16).unwrap();
        assert!(Allocator::allocate_zeroed(&SecureAllocator::new(), bytes).is_err());
        assert_eq!(SecureAllocator::new().allocate(3000), None);
        assert!(SecureString::try_with_capacity(3000).is_err());
        assert_eq!(ASKED.load(Ordering::Relaxed), 0);
        // The control: a raw chunk comes from an added pool.
        let chunk = manager.alloc(3000, 16).unwrap().addr().get();
        assert!((1 << 30..(1 << 30) + LockedPool::ARENA_SIZE).contains(&chunk));
        assert_eq!(ASKED.load(Ordering::Relaxed), 1);
    });
}

/// A panic that aborts runs no destructors. Data that were taken over have been wiped before it.
#[test]
fn what_is_taken_over_is_wiped_before_a_panic() {
    in_a_process_of_its_own("what_is_taken_over_is_wiped_before_a_panic", || {
        static PLACE: AtomicUsize = AtomicUsize::new(0);
        static LEFT: AtomicUsize = AtomicUsize::new(0);
        const LEN: usize = 100_000;
        // Opened before privileges are given up.
        let memory = File::open("/proc/self/mem").unwrap();
        let left = move || {
            let mut bytes = vec![0; LEN];
            let place = PLACE.load(Ordering::Relaxed) as u64;
            // Unmapped memory cannot be read. Freed memory may have other contents by now.
            let _ = memory.read_exact_at(&mut bytes, place);
            bytes.chunks(100).filter(|chunk| **chunk == [b's'; 100]).count()
        };
        let limit = libc::rlimit { rlim_cur: 65536, rlim_max: 65536 };
        // SAFETY: plain system calls on this process, which does nothing else.
        unsafe {
            assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit), 0);
            assert!(libc::geteuid() != 0 || libc::setresuid(65534, 65534, 65534) == 0);
        }
        LockedPoolManager::instance().set_locking_failed(Some(Box::new(|_| false)));
        let text = "s".repeat(LEN);
        PLACE.store(text.as_ptr().expose_provenance(), Ordering::Relaxed);
        assert_eq!(left(), LEN / 100); // the control
        std::panic::set_hook(Box::new(move |_| LEFT.store(left(), Ordering::Relaxed)));
        LEFT.store(usize::MAX, Ordering::Relaxed);
        let taken = catch_unwind(|| SecureString::from(text));
        let _ = std::panic::take_hook();
        assert!(taken.is_err());
        assert_eq!(LEFT.load(Ordering::Relaxed), 0);
    });
}

/// A lock failure does not mean that there is unlocked memory: a pool that could lock only a
/// smaller arena is locked.
#[test]
fn fully_locked_is_what_is_locked() {
    in_a_process_of_its_own("fully_locked_is_what_is_locked", || {
        let limit = libc::rlimit { rlim_cur: 65536, rlim_max: 65536 };
        // SAFETY: plain system calls on this process, which does nothing else.
        unsafe {
            assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit), 0);
            assert!(libc::geteuid() != 0 || libc::setresuid(65534, 65534, 65534) == 0);
        }
        let pool = LockedPool::default();
        assert!(pool.stats().is_fully_locked());
        pool.set_locking_failed(Some(Box::new(|_| false)));
        while pool.alloc(4000, 16).is_some() {}
        let stats = pool.stats();
        assert!(stats.last_lock_failure.is_some() && stats.locked == 65536);
        assert!(stats.is_fully_locked());
        // The control: unlocked memory.
        pool.set_locking_failed(None);
        assert!(pool.alloc(4000, 16).is_some());
        assert!(!pool.stats().is_fully_locked());
    });
}

/// A string object has no room for text, as `std::basic_string` has. At every length the object is
/// a pointer and two sizes.
#[test]
fn a_string_keeps_no_character_in_itself() {
    fn bytes_of<T>(value: &T) -> &[u8] {
        // SAFETY: strings of both kinds are made of words, all of them initialized.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
    }
    fn in_a_row(bytes: &[u8], text: &[u8]) -> usize {
        let run = |(at, first): (usize, usize)| {
            bytes[at..]
                .iter()
                .zip(&text[first..])
                .take_while(|(byte, wanted)| byte == wanted)
                .count()
        };
        let places = (0..bytes.len()).flat_map(|at| (0..text.len()).map(move |first| (at, first)));
        places.map(run).max().unwrap_or(0)
    }
    const TEXT: &[u8; 64] = b"Tr0ub4dor&3 correct horse battery staple, said the Walrus, twice";
    let mut text = SecureString::new();
    for &byte in TEXT {
        text.push(byte.into());
        assert!(in_a_row(bytes_of(&text), TEXT) < 3, "{} characters", text.len());
    }
    let mut short = text.duplicate();
    short.truncate(5);
    short.shrink_to_fit();
    assert!(in_a_row(bytes_of(&short), TEXT) < 3);
    // The control: text in an object of that size is found.
    let object: [u8; size_of::<SecureString>()] = std::array::from_fn(|i| TEXT[i]);
    assert_eq!(in_a_row(bytes_of(&object), TEXT), object.len());
}

#[test]
fn everything_goes_back_to_the_pool() {
    in_a_process_of_its_own("everything_goes_back_to_the_pool", use_secrets_of_all_kinds);
}

fn use_secrets_of_all_kinds() {
    let used = || LockedPoolManager::instance().stats().used;
    assert_eq!(used(), 0);
    {
        let mut vec = SecureVec::from_slice(&[1_u64; 30]);
        vec.push(2);
        let text = SecureString::from("text");
        let key = SecureBox::new([1_u8; 32]);
        let copies = (vec.duplicate(), text.duplicate(), key.duplicate());
        assert!(used() >= 2 * (31 * 8 + 4 + 32));
        let _ = catch_unwind(|| SecureVec::<u8>::with_capacity(TOO_MUCH));
        assert!(SecureString::from_utf8(SecureVec::from_slice(&[0xff])).is_err());
        drop(copies);
    }
    assert_eq!(used(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Push(u32),
    Pop,
    Remove(usize),
    Truncate(usize),
    Resize(usize, u32),
    Extend(Vec<u32>),
    Retain(u32),
    Reserve(usize),
    ShrinkToFit,
    Duplicate,
    Zeroize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Step::*;
    let step = prop_oneof![
        4 => any::<u32>().prop_map(Push),
        2 => Just(Pop),
        1 => any::<usize>().prop_map(Remove),
        1 => (0..100_usize).prop_map(Truncate),
        1 => (0..300_usize, any::<u32>()).prop_map(|(len, value)| Resize(len, value)),
        2 => prop::collection::vec(any::<u32>(), 0..100).prop_map(Extend),
        1 => (1..5_u32).prop_map(Retain),
        1 => (0..1000_usize).prop_map(Reserve),
        1 => Just(ShrinkToFit),
        1 => Just(Duplicate),
        1 => Just(Zeroize),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// The elements equal those of a `Vec` after every step, and zeros follow them.
    #[test]
    fn behaves_like_vec_and_keeps_unused_capacity_wiped(steps in steps()) {
        let _turn = alone_with_the_pool();
        let mut model: Vec<u32> = Vec::new();
        let mut secret = SecureVec::new();
        for step in steps {
            match step {
                Step::Push(value) => {
                    model.push(value);
                    secret.push(value);
                }
                Step::Pop => prop_assert_eq!(secret.pop(), model.pop()),
                Step::Remove(index) if !model.is_empty() => {
                    let index = index % model.len();
                    prop_assert_eq!(secret.remove(index), model.remove(index));
                }
                Step::Remove(_) => {}
                Step::Truncate(len) => {
                    model.truncate(len);
                    secret.truncate(len);
                }
                Step::Resize(len, value) => {
                    model.resize(len, value);
                    secret.resize(len, value);
                }
                Step::Extend(values) => {
                    model.extend(&values);
                    secret.extend_from_slice(&values);
                }
                Step::Retain(divisor) => {
                    model.retain(|value| value % divisor == 0);
                    secret.retain(|value| value % divisor == 0);
                }
                Step::Reserve(additional) => {
                    secret.reserve(additional);
                    prop_assert!(secret.capacity() >= model.len() + additional);
                }
                Step::ShrinkToFit => {
                    secret.shrink_to_fit();
                    prop_assert_eq!(secret.capacity(), model.len());
                }
                Step::Duplicate => {
                    let old = secret;
                    secret = old.duplicate();
                    prop_assert!(secret == old);
                }
                Step::Zeroize => {
                    model.clear();
                    secret.zeroize();
                }
            }
            prop_assert_eq!(secret.expose_secret(), &model[..]);
            let unused = (secret.capacity() - secret.len()) * 4;
            let bytes = read_memory(addr_of(&secret) + secret.len() * 4, unused).expect("mapped");
            prop_assert!(bytes.iter().all(|&byte| byte == 0));
        }
    }
}

/// Only on a nightly compiler for which the build asks for it.
#[cfg(bitcoin_support_nightly)]
#[test]
fn the_standard_librarys_containers() {
    let _turn = alone_with_the_pool();
    let mut vec = std::vec::Vec::new_in(SecureAllocator::new());
    vec.extend_from_slice(&[5_u8; 100]);
    let start = vec.as_ptr().addr();
    assert!(mapping_at(start).1.contains(" dd"));
    drop(vec);
    assert_wiped(start, 100);
    let boxed = std::boxed::Box::new_in([6_u8; 50], SecureAllocator::new());
    let start = boxed.as_ptr().addr();
    drop(boxed);
    assert_wiped(start, 50);
}

#[cfg(feature = "secrecy")]
#[test]
fn the_traits_of_secrecy() {
    let _turn = alone_with_the_pool();
    use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox, SecretString};

    fn len_of(secret: &impl ExposeSecret<str>) -> usize {
        secret.expose_secret().len()
    }
    fn first_of<T: Copy>(secret: &impl ExposeSecret<[T]>) -> T {
        secret.expose_secret()[0]
    }
    fn set(secret: &mut impl ExposeSecretMut<[u8; 4]>) {
        *secret.expose_secret_mut() = [1, 2, 3, 4];
    }

    let moved = SecureString::from(SecretString::from("from secrecy"));
    assert_eq!(len_of(&moved), 12);
    let mut bytes = moved.into_bytes();
    ExposeSecretMut::expose_secret_mut(&mut bytes)[0] = b'F';
    assert_eq!(first_of(&bytes), b'F');
    let mut key = SecureBox::zeroed();
    set(&mut key);
    assert_eq!(*key.expose_secret(), [1, 2, 3, 4]);
    // The types of this crate are `Zeroize`, so that `SecretBox` can hold them.
    let nested = SecretBox::new(Box::new(SecureString::from("nested")));
    assert_eq!(nested.expose_secret().expose_secret(), "nested");
}
