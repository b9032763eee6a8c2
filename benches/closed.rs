//! The cost of opening a closed secret and of a secret stack: `cargo bench --bench closed`. Figures
//! are for one opening and closing, or one call, in one thread or in two. Where there are
//! protection keys, `WITHOUT_KEYS=1 cargo bench --bench closed open` measures `mprotect`.

use bitcoin_support::{ClosedBox, SecretStack, has_protection_key};
use divan::{Bencher, black_box};

/// Takes all protection keys of the process, so that there is none for the library.
fn take_all_keys() {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        // SAFETY: takes no pointers.
        let take = || unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, 0) };
        while take() >= 0 {}
    }
}

fn main() {
    if std::env::var_os("WITHOUT_KEYS").is_some() {
        take_all_keys();
    }
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

/// Sizes of secret stacks in bytes: the least, the default, and the largest that are kept.
const STACKS: [usize; 3] = [32 * 1024, SecretStack::DEFAULT_SIZE, 256 * 1024];

#[divan::bench(args = STACKS, threads = [1, 2], sample_size = 100)]
fn call_on_secret_stack(bencher: Bencher, size: usize) {
    let stack = SecretStack::new().size(size);
    bencher.bench(|| stack.run(|| black_box(7_u64)).expect("there is memory"));
}

/// A function that writes to so many KiB of its stack.
#[divan::bench(consts = [4, 12, 24], sample_size = 100)]
fn call_that_uses<const KIB: usize>(bencher: Bencher) {
    let fill = || {
        black_box([[7_u8; 1024]; KIB]);
    };
    bencher.bench(|| SecretStack::new().run(fill).expect("there is memory"));
}
