//! The cost of sealing and opening a secret: `cargo bench --features sealed --bench sealed`.
//! Figures are for one operation, in one thread or in two.

use bitcoin_support::SealedVec;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// Sizes of secrets in bytes.
const SIZES: [usize; 2] = [32, 1024];

#[divan::bench(args = SIZES, threads = [1, 2], sample_size = 100)]
fn seal(bencher: Bencher, size: usize) {
    let secret = vec![7_u8; size];
    bencher.bench(|| SealedVec::seal_copy(black_box(&secret)).expect("there is memory"));
}

#[divan::bench(args = SIZES, threads = [1, 2], sample_size = 100)]
fn open(bencher: Bencher, size: usize) {
    let sealed = SealedVec::seal_copy(&vec![7_u8; size]).expect("there is memory");
    bencher.bench(|| black_box(&sealed).open().expect("the key is there"));
}

/// Opens a secret, changes it, and seals it again.
#[divan::bench(args = SIZES, sample_size = 100)]
fn change(bencher: Bencher, size: usize) {
    let mut sealed = SealedVec::seal_copy(&vec![7_u8; size]).expect("there is memory");
    bencher.bench_local(|| {
        sealed.open_mut().expect("the key is there").expose_secret_mut()[0] ^= 1;
    });
}
