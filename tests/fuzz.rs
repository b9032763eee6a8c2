//! Runs the fuzz targets as ordinary tests: the committed seeds and thousands of pseudo-random
//! inputs, through the code that `cargo fuzz` runs (see docs/fuzzing.md). Every target must also
//! find mistakes that are made on purpose.
//!
//! The process-wide pool belongs to a whole process, so each test runs in a separate one.
//! `FUZZ_INPUTS` sets the number of inputs: `FUZZ_INPUTS=100000 cargo test --release --test fuzz`.

#![cfg(target_os = "linux")]

#[path = "common/alone.rs"]
mod alone;
#[path = "../fuzz/harness/arena.rs"]
mod arena;
#[cfg(all(feature = "sealed", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "../fuzz/harness/at_rest.rs"]
mod at_rest;
#[path = "../fuzz/harness/c_abi.rs"]
mod c_abi;
#[cfg(all(feature = "consensus", feature = "consensus-encoding"))]
#[path = "../fuzz/harness/consensus.rs"]
mod consensus;
#[path = "../fuzz/harness/fault.rs"]
mod fault;
#[path = "../fuzz/harness/input.rs"]
mod input;
#[path = "../fuzz/harness/page_allocator.rs"]
mod page_allocator;
#[path = "../fuzz/harness/pool.rs"]
mod pool;
#[path = "common/random.rs"]
mod random;
#[path = "../fuzz/harness/secure_types.rs"]
mod secure_types;
#[path = "common/this_program.rs"]
mod this_program;
#[cfg(all(feature = "base64", feature = "bytes", feature = "hex"))]
#[path = "../fuzz/harness/ways_in.rs"]
mod ways_in;
#[path = "../fuzz/harness/witness.rs"]
mod witness;

use alone::printed_alone;
use random::Random;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[global_allocator]
static HEAP: witness::Witness = witness::Witness;

/// Runs `body` in a separate process. Prints the number of inputs.
fn alone(test: &str, body: impl FnOnce()) {
    let Some(text) = printed_alone(test, &[]) else { return body() };
    text.lines().filter(|line| line.contains(" inputs")).for_each(|line| println!("{line}"));
}

/// The seeds of a target, and pseudo-random inputs without end.
fn inputs(target: &str) -> impl Iterator<Item = Vec<u8>> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(&seeds)
        .unwrap_or_else(|error| panic!("{}: {error}", seeds.display()))
        .map(|entry| entry.expect("a file").path())
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    let seeds: Vec<_> = seeds.iter().map(|seed| std::fs::read(seed).expect("a file")).collect();
    let mut random = Random(target.bytes().map(u64::from).sum());
    seeds.into_iter().chain(std::iter::repeat_with(move || {
        let number = random.next();
        let len = number % (16 << random.below(7));
        (0..len).map(|_| random.next() as u8).collect()
    }))
}

fn count(default: usize) -> usize {
    let wanted = std::env::var("FUZZ_INPUTS").ok();
    wanted.map_or(default, |number| number.parse().expect("FUZZ_INPUTS is a number"))
}

/// No input finds a fault in the library.
fn replay(target: &str, default: usize, run: fn(&[u8])) {
    let (mut bytes, count) = (0, count(default));
    for (number, input) in inputs(target).take(count).enumerate() {
        bytes += input.len();
        if let Err(panic) = catch_unwind(|| run(&input)) {
            eprintln!("{target}: input {number} is {input:?}");
            std::panic::resume_unwind(panic);
        }
    }
    println!("{target}: {count} inputs of {bytes} bytes in all");
}

/// Inputs that find no fault in the library find every mistake, and soon.
fn finds<F: Copy + Debug>(target: &str, run_with: fn(&[u8], F), none: F, faults: &[F]) {
    std::panic::set_hook(Box::new(|_| {}));
    for &fault in faults {
        let passes =
            |input: &[u8], fault| catch_unwind(AssertUnwindSafe(|| run_with(input, fault))).is_ok();
        let found = inputs(target)
            .take(4000)
            .position(|input| !passes(&input, fault) && passes(&input, none));
        match found {
            Some(number) => println!("{target}: {fault:?} found after {number} inputs"),
            None => {
                eprintln!("{target} does not find {fault:?}");
                std::process::exit(1);
            }
        }
    }
}

#[test]
fn arena_finds_nothing() {
    alone("arena_finds_nothing", || replay("arena", 2000, arena::run));
}

#[test]
fn arena_control() {
    use arena::{Fault, run_with};
    alone("arena_control", || finds("arena", run_with, Fault::None, Fault::ALL));
}

#[test]
fn pool_finds_nothing() {
    alone("pool_finds_nothing", || replay("pool", 700, pool::run));
}

#[test]
fn pool_control() {
    use pool::{Fault, run_with};
    alone("pool_control", || finds("pool", run_with, Fault::None, Fault::ALL));
}

#[test]
fn page_allocator_finds_nothing() {
    alone("page_allocator_finds_nothing", || replay("page_allocator", 2000, page_allocator::run));
}

#[test]
fn page_allocator_control() {
    use page_allocator::{Fault, run_with};
    alone("page_allocator_control", || finds("page_allocator", run_with, Fault::None, Fault::ALL));
}

#[test]
fn secure_types_finds_nothing() {
    alone("secure_types_finds_nothing", || replay("secure_types", 1200, secure_types::run));
}

#[test]
fn secure_types_control() {
    use secure_types::{Fault, run_with};
    alone("secure_types_control", || finds("secure_types", run_with, Fault::None, Fault::ALL));
}

#[test]
fn c_abi_finds_nothing() {
    alone("c_abi_finds_nothing", || replay("c_abi", 1200, c_abi::run));
}

#[test]
fn c_abi_control() {
    use c_abi::{Fault, run_with};
    alone("c_abi_control", || {
        let is_there = |fault: &Fault| cfg!(feature = "sealed") || *fault != Fault::OpensChanged;
        let faults: Vec<_> = Fault::ALL.iter().copied().filter(is_there).collect();
        finds("c_abi", run_with, Fault::None, &faults);
    });
}

/// The target calls every function of the header, and no function that the header does not have.
#[test]
fn c_abi_is_the_header() {
    let header = include_str!("../include/bitcoin_support.h");
    let declared: BTreeSet<_> = header
        .lines()
        .filter(|line| !line.starts_with([' ', '/', '#', '}']) && !line.starts_with("typedef"))
        .filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next())
        // Not the attributes, which are macros.
        .filter(|name| name.starts_with(|c: char| c.is_lowercase()))
        .collect();
    assert!(declared.len() > 20);
    assert_eq!(declared, c_abi::FUNCTIONS.iter().copied().collect());
}

#[cfg(all(feature = "consensus", feature = "consensus-encoding"))]
#[test]
fn consensus_finds_nothing() {
    alone("consensus_finds_nothing", || replay("consensus", 10_000, consensus::run));
}

#[cfg(all(feature = "consensus", feature = "consensus-encoding"))]
#[test]
fn consensus_control() {
    use consensus::{Fault, run_with};
    alone("consensus_control", || finds("consensus", run_with, Fault::None, Fault::ALL));
}

#[cfg(all(feature = "sealed", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[test]
fn at_rest_finds_nothing() {
    use at_rest::{Fault, run, run_with};
    alone("at_rest_finds_nothing", || {
        replay("at_rest", 50, run);
        replay("at_rest", 50, |data| run_with(data, Fault::None));
    });
}

#[cfg(all(feature = "sealed", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[test]
fn at_rest_control() {
    use at_rest::{Fault, run_with};
    alone("at_rest_control", || finds("at_rest", run_with, Fault::None, Fault::ALL));
}

#[cfg(all(feature = "base64", feature = "bytes", feature = "hex"))]
#[test]
fn ways_in_finds_nothing() {
    alone("ways_in_finds_nothing", || replay("ways_in", 5000, ways_in::run));
}

#[cfg(all(feature = "base64", feature = "bytes", feature = "hex"))]
#[test]
fn ways_in_control() {
    use ways_in::{Fault, run_with};
    alone("ways_in_control", || finds("ways_in", run_with, Fault::None, Fault::ALL));
}
