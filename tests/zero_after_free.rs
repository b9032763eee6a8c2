//! `ZeroAfterFreeAllocator` and `SerializeData`: every block that returns to the ordinary heap is
//! zeros. The heap of this program looks at each block that is freed.

#![cfg_attr(bitcoin_support_nightly, feature(allocator_api))]

use allocator_api2::alloc::{Allocator, Layout};
use allocator_api2::vec::Vec as AllocVec;
use bitcoin_support::{SerializeData, ZeroAfterFreeAllocator, ZeroizingAllocator};
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, System};
use std::cell::Cell;
use std::io::{BufRead, ErrorKind, Read, Write};
use zeroize::{Zeroize, ZeroizeOnDrop};

const SECRET: u8 = 0xa7;

/// The system's heap. It counts the blocks of this thread that are freed, and those of them that
/// contain `SECRET`.
struct Watched;

thread_local! {
    static DIRTY: Cell<usize> = const { Cell::new(0) };
    static FREED: Cell<usize> = const { Cell::new(0) };
}

impl Watched {
    /// # Safety
    /// `block` must be readable for `len` bytes.
    unsafe fn look_at(block: *const u8, len: usize) {
        // SAFETY: the caller passes a range of `len` readable bytes. The read is volatile, so that
        // bytes that are not initialized have some value too.
        let is_secret = |i| unsafe { block.add(i).read_volatile() } == SECRET;
        let dirty = (1..len).any(|i| is_secret(i - 1) && is_secret(i));
        DIRTY.with(|count| count.set(count.get() + usize::from(dirty)));
        FREED.with(|count| count.set(count.get() + 1));
    }
}

// SAFETY: all memory is that of `System`.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`, which `System` shares.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back a block of this layout.
        unsafe {
            Self::look_at(block, layout.size());
            System.dealloc(block, layout);
        }
    }
}

#[global_allocator]
static HEAP: Watched = Watched;

/// How many blocks `work` frees, and how many of them contain secrets.
fn given_back(work: impl FnOnce()) -> (usize, usize) {
    DIRTY.set(0);
    FREED.set(0);
    work();
    (FREED.get(), DIRTY.get())
}

#[test]
fn control_the_ordinary_heap_gets_secrets_back() {
    let (_, dirty) = given_back(|| {
        let mut vec = vec![SECRET; 100];
        vec.push(SECRET);
    });
    assert_eq!(dirty, 2);
}

#[test]
fn a_container_over_it_gives_back_zeros() {
    fn wipes(_: &impl ZeroizingAllocator) {}
    wipes(&ZeroAfterFreeAllocator::new());
    let (freed, dirty) = given_back(|| {
        let mut vec = AllocVec::new_in(ZeroAfterFreeAllocator::new());
        for _ in 0..1000 {
            vec.push(SECRET);
        }
        vec.shrink_to_fit();
        assert_eq!(vec[999], SECRET);
    });
    assert!(freed > 5, "the vector has not moved");
    assert_eq!(dirty, 0);
}

#[test]
fn blocks_of_all_sizes() {
    let allocator = ZeroAfterFreeAllocator::new();
    let (freed, dirty) = given_back(|| {
        for size in [0, 1, 2, 100, 5000, 1 << 20] {
            let layout = Layout::from_size_align(size, 32).unwrap();
            let larger = Layout::from_size_align(size + 33, 64).unwrap();
            let block = allocator.allocate(layout).unwrap().cast::<u8>();
            // SAFETY: the blocks are as long as their layouts, and each is given back once.
            unsafe {
                block.write_bytes(SECRET, size);
                let block = allocator.grow_zeroed(block, layout, larger).unwrap().cast::<u8>();
                let bytes = std::slice::from_raw_parts_mut(block.as_ptr(), size + 33);
                assert!(bytes[..size].iter().all(|&byte| byte == SECRET));
                assert!(bytes[size..].iter().all(|&byte| byte == 0));
                bytes.fill(SECRET);
                let block = allocator.shrink(block, larger, layout).unwrap().cast::<u8>();
                allocator.deallocate(block, layout);
            }
        }
    });
    assert_eq!((freed, dirty), (6 + 2 * 5, 0));
}

#[test]
fn serialize_data_gives_back_zeros() {
    let (freed, dirty) = given_back(|| {
        let mut data = SerializeData::new();
        for _ in 0..300 {
            data.write_all(&[SECRET; 10]).unwrap();
        }
        let copy = data.duplicate().unwrap();
        assert!(copy == data);
        data.clear();
        drop(copy);
    });
    assert!(freed > 5, "the buffer has not moved");
    assert_eq!(dirty, 0);
}

#[test]
fn a_vector_is_taken_over_where_it_is() {
    let mut vec = Vec::with_capacity(100);
    vec.extend([SECRET; 60]);
    let start = vec.as_ptr();
    let (freed, dirty) = given_back(|| {
        let mut data = SerializeData::from(vec);
        assert_eq!(data.as_slice().as_ptr(), start);
        assert_eq!((data.len(), data.capacity()), (60, 100));
        data.write_all(&[SECRET; 40]).unwrap();
        assert_eq!(data.as_slice(), [SECRET; 100]);
    });
    assert_eq!((freed, dirty), (1, 0));
    assert!(SerializeData::from(Vec::new()).is_empty());
}

#[test]
fn zeroize_wipes_what_a_vector_left_behind_its_end() {
    let mut vec = vec![SECRET; 100];
    vec.truncate(10);
    let mut data = SerializeData::from(vec);
    let start = data.as_slice().as_ptr();
    data.zeroize();
    assert_eq!(data.capacity(), 100);
    // SAFETY: the buffer is 100 bytes long, all of them initialized.
    assert_eq!(unsafe { std::slice::from_raw_parts(start, 100) }, [0; 100]);
}

#[test]
fn what_has_been_read_is_wiped() {
    let mut data = SerializeData::from(vec![SECRET; 64]);
    let start = data.as_slice().as_ptr();
    let mut bytes = [0; 40];
    data.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [SECRET; 40]);
    // SAFETY: the buffer is 64 bytes long, all of them initialized.
    let buffer = || unsafe { std::slice::from_raw_parts(start, 64) };
    assert_eq!(buffer()[..40], [0; 40]);
    assert_eq!(buffer()[40..], [SECRET; 24]);
    data.consume(1000);
    assert_eq!(buffer(), [0; 64]);
    assert!(data.is_empty());
    assert_eq!(data.read(&mut bytes).unwrap(), 0);
    data.write_all(b"again").unwrap();
    assert_eq!(data.as_slice(), b"again");
    assert_eq!(data.as_slice().as_ptr(), start, "the buffer is used again");
}

#[test]
fn reading_and_writing_in_turn_needs_no_more_than_what_is_unread() {
    let mut data = SerializeData::new();
    data.write_all(&[1; 1000]).unwrap();
    for _ in 0..100_000 {
        data.read_exact(&mut [0; 7]).unwrap();
        data.write_all(&[1; 7]).unwrap();
    }
    assert_eq!(data.as_slice(), [1; 1000]);
    assert!(data.capacity() <= 4000, "{}", data.capacity());
}

#[test]
fn nothing_is_shown_and_contents_are_compared() {
    fn wiped_on_drop(_: &impl ZeroizeOnDrop) {}
    let mut data = SerializeData::from(b"hunter2".to_vec());
    assert_eq!(
        format!("{data:?} {data:#?}"),
        "SerializeData([redacted]) SerializeData([redacted])"
    );
    wiped_on_drop(&data);
    assert!(data == *b"hunter2".as_slice() && data != *b"hunter3".as_slice());
    data.consume(6);
    assert!(data == SerializeData::from(vec![b'2']), "what has been read does not count");
    data.as_mut_slice()[0] = b'3';
    assert_eq!(data.as_ref(), b"3");
    data.zeroize();
    assert!(data.is_empty() && data.capacity() >= 7);
}

#[test]
fn too_much_is_an_error() {
    let mut data = SerializeData::from(vec![1]);
    assert_eq!(data.try_reserve(usize::MAX).unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert_eq!(data.as_slice(), [1]);
}

proptest! {
    /// A queue of bytes, like any other.
    #[test]
    fn behaves_like_a_queue(
        steps in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..90)), 0..60)
    ) {
        let mut model = std::collections::VecDeque::new();
        let mut data = SerializeData::new();
        for (write, bytes) in steps {
            if write {
                model.extend(&bytes);
                data.write_all(&bytes).unwrap();
            } else {
                let (mut ours, mut theirs) = (bytes.clone(), bytes);
                let count = data.read(&mut ours).unwrap();
                prop_assert_eq!(count, model.read(&mut theirs).unwrap());
                prop_assert_eq!(&ours[..count], &theirs[..count]);
            }
            prop_assert_eq!(data.as_slice(), &*model.make_contiguous());
        }
    }
}
