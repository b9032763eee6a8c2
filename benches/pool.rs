//! The cost of the crate's types in Rust: `cargo bench --bench pool`. Figures are for one
//! operation, in one thread, or in two where the name says so. The sample sizes are fixed: divan's
//! tuning chooses one operation for a sample if the first one happens to be slow.
//!
//! `scripts/bench` compares with other libraries, and calls through the C ABI.

use bitcoin_support::{
    Arena, LockedPool, LockedPoolManager, SecureAllocator, SecureBox, SecureString, SecureVec,
    page_size,
};
use core::ptr::NonNull;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// Sizes of secrets in bytes.
const SIZES: [usize; 4] = [32, 256, 1024, 4096];
/// The alignment of a pool's chunks, unless a larger one is requested.
const ALIGNMENT: usize = 16;

/// Writes to the chunk, as every user does.
fn touch(chunk: NonNull<u8>) {
    // SAFETY: the benchmarks hand in chunks that they have just allocated, of at least a byte.
    unsafe { chunk.write_volatile(1) };
}

// ---- Pools -----------------------------------------------------------------------

#[divan::bench(args = SIZES, threads = [1, 2], sample_size = 1000)]
fn process_wide_pool(bencher: Bencher, size: usize) {
    let pool = LockedPoolManager::instance();
    bencher.bench(|| {
        let chunk = pool.alloc(black_box(size), ALIGNMENT).expect("there is memory");
        touch(chunk);
        // SAFETY: this closure owns the chunk and does not use it again.
        unsafe { pool.free(chunk.as_ptr()) }
    });
}

#[divan::bench(args = SIZES, sample_size = 1000)]
fn process_wide_pool_free_sized(bencher: Bencher, size: usize) {
    let pool = LockedPoolManager::instance();
    bencher.bench(|| {
        let chunk = pool.alloc(black_box(size), ALIGNMENT).expect("there is memory");
        touch(chunk);
        // SAFETY: this closure owns the chunk and does not use it again.
        unsafe { pool.free_sized(chunk.as_ptr(), black_box(size), ALIGNMENT) }
    });
}

#[divan::bench(args = SIZES, threads = [1, 2], sample_size = 1000)]
fn own_pool(bencher: Bencher, size: usize) {
    let pool = LockedPool::new(page_size(), page_size(), 1 << 20).expect("these make a pool");
    bencher.bench(|| {
        let chunk = pool.alloc(black_box(size), ALIGNMENT).expect("there is memory");
        touch(chunk);
        // SAFETY: this closure owns the chunk and does not use it again.
        unsafe { pool.free(chunk.as_ptr()) }
    });
}

#[divan::bench(args = [0, 1000, 100_000], sample_size = 100)]
fn stats(bencher: Bencher, live: usize) {
    let kept: Vec<_> = (0..live).map(|_| SecureBox::<[u8; 32]>::zeroed()).collect();
    bencher.bench(|| LockedPoolManager::instance().stats());
    assert!(LockedPoolManager::instance().stats().used >= 32 * live);
    drop(kept);
}

// ---- Secrets as types --------------------------------------------------------------

#[divan::bench(args = SIZES, sample_size = 1000)]
fn secure_allocator(bencher: Bencher, size: usize) {
    let allocator = SecureAllocator::new();
    bencher.bench(|| {
        let block = allocator.allocate(black_box(size)).expect("there is memory");
        touch(block);
        // SAFETY: this closure owns the block, which has this size, and does not use it again.
        unsafe { allocator.deallocate(block, black_box(size)) };
    });
}

#[divan::bench(sample_size = 1000)]
fn secure_box_of_32_bytes() {
    drop(black_box(SecureBox::<[u8; 32]>::zeroed()));
}

#[divan::bench(args = SIZES, sample_size = 1000)]
fn secure_vec_from_slice(bencher: Bencher, size: usize) {
    let bytes = vec![7_u8; size];
    bencher.bench(|| drop(black_box(SecureVec::from_slice(black_box(&bytes)))));
}

/// Grows a passphrase character by character. Every doubling moves it and wipes the old place.
#[divan::bench(args = [16, 256, 4096], sample_size = 10)]
fn secure_string_growth(bencher: Bencher, length: usize) {
    bencher.bench(|| {
        let mut text = SecureString::new();
        for _ in 0..length {
            text.push(black_box('x'));
        }
        assert_eq!(text.len(), length);
    });
}

// ---- Arena -------------------------------------------------------------------------

/// One turn of the loop of Bitcoin Core's benchmark.
#[divan::bench(sample_size = 1000)]
fn arena_loop(bencher: Bencher) {
    const SLOTS: usize = 2048;
    let base = core::ptr::without_provenance_mut(0x0800_0000);
    let mut arena =
        Arena::new(base, 1 << 20, ALIGNMENT).expect("an arena never touches its region");
    let mut slots: Vec<Option<NonNull<u8>>> = vec![None; SLOTS];
    let mut state: u32 = 0x1234_5678;
    bencher.bench_local(|| {
        let slot = &mut slots[state as usize % SLOTS];
        if state >> 31 != 0 {
            if let Some(chunk) = slot.take() {
                arena.free_unsized(chunk.as_ptr()).expect("the chunk is used");
            }
        } else if slot.is_none() {
            *slot = arena.alloc((state >> 16) as usize % SLOTS, ALIGNMENT);
        }
        state = (state >> 1) ^ if state & 1 == 0 { 0 } else { 0xf00f_00f0 };
    });
}
