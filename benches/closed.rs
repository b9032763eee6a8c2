//! The cost of opening a closed secret and of a secret stack: `cargo bench --bench closed`. Figures
//! are for one opening and closing, or one call, in one thread or in two.

use bitcoin_support::{ClosedBox, has_protection_key, on_secret_stack};
use divan::{Bencher, black_box};

fn main() {
    let by = if has_protection_key() { "a protection key" } else { "mprotect" };
    println!("secrets are closed by {by}");
    divan::main();
}

fn closed() -> ClosedBox<[u8; 32]> {
    ClosedBox::new_with(|key: &mut [u8; 32]| key.fill(7)).expect("there is memory")
}

#[divan::bench(threads = [1, 2], sample_size = 100)]
fn open(bencher: Bencher) {
    let key = closed();
    bencher.bench(|| black_box(&key).open().expect("it opens").expose_secret()[0]);
}

#[divan::bench(sample_size = 100)]
fn open_mut(bencher: Bencher) {
    let mut key = closed();
    bencher.bench_local(|| key.open_mut().expect("it opens").expose_secret_mut()[0] ^= 1);
}

#[divan::bench(threads = [1, 2], sample_size = 100)]
fn read_on_this_thread(bencher: Bencher) {
    let key = closed();
    // SAFETY: the byte is read on this thread.
    bencher.bench(|| unsafe { black_box(&key).read_on_this_thread(|key| key[0]) });
}

#[divan::bench(sample_size = 10)]
fn close_and_drop(bencher: Bencher) {
    bencher.bench(closed);
}

#[divan::bench(threads = [1, 2], sample_size = 100)]
fn call_on_secret_stack(bencher: Bencher) {
    bencher.bench(|| on_secret_stack(|| black_box(7_u64)));
}
