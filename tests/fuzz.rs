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
#[path = "../fuzz/harness/c_abi.rs"]
mod c_abi;
#[cfg(all(feature = "consensus", feature = "consensus-encoding"))]
#[path = "../fuzz/harness/consensus.rs"]
mod consensus;
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
    use arena::Fault::*;
    alone("arena_control", || {
        let faults = [
            CountsTooMuch,
            AcceptsBadFrees,
            ForgetsFrees,
            RefusesLarge,
            MissesAlignment,
            WalksShort,
        ];
        finds("arena", arena::run_with, None, &faults);
    });
}

#[test]
fn pool_finds_nothing() {
    alone("pool_finds_nothing", || replay("pool", 700, pool::run));
}

#[test]
fn pool_control() {
    use pool::Fault::*;
    alone("pool_control", || {
        let faults = [
            ForgetsWipe,
            HandsOutTwice,
            SpoilsContents,
            ForgetsFrees,
            AcceptsBadFrees,
            IgnoresSize,
            MiscountsChunks,
            MiscountsFree,
            MiscountsPeak,
            RefusesLarge,
            WalksShort,
        ];
        finds("pool", pool::run_with, None, &faults);
    });
}

#[test]
fn page_allocator_finds_nothing() {
    alone("page_allocator_finds_nothing", || replay("page_allocator", 2000, page_allocator::run));
}

#[test]
fn page_allocator_control() {
    use page_allocator::Fault::*;
    alone("page_allocator_control", || {
        let faults = [
            KeepsPages,
            FreesAnotherLength,
            FreesTwice,
            LeavesPages,
            AcceptsBadFrees,
            HidesLockFailures,
            ClaimsLocks,
        ];
        finds("page_allocator", page_allocator::run_with, None, &faults);
    });
}

#[test]
fn secure_types_finds_nothing() {
    alone("secure_types_finds_nothing", || replay("secure_types", 1200, secure_types::run));
}

#[test]
fn secure_types_control() {
    use secure_types::Fault::*;
    alone("secure_types_control", || {
        let faults = [
            ChangesContents,
            KeepsTail,
            LeavesHeapDirty,
            KeepsMemory,
            CutsText,
            DrainsLess,
            ForgetsElement,
            ReadsTwice,
            LeavesOpen,
        ];
        finds("secure_types", secure_types::run_with, None, &faults);
    });
}

#[test]
fn c_abi_finds_nothing() {
    alone("c_abi_finds_nothing", || replay("c_abi", 1200, c_abi::run));
}

#[test]
fn c_abi_control() {
    use c_abi::Fault::*;
    alone("c_abi_control", || {
        let mut faults = vec![
            ReportsSuccess,
            WritesOutput,
            Miscounts,
            SpoilsBuffer,
            KeepsPages,
            TakesNull,
            IgnoresOptions,
            ReadsTooFar,
            KeepsContents,
            KeepsLimit,
            RaisesLimit,
        ];
        if cfg!(feature = "sealed") {
            faults.push(OpensChanged);
        }
        finds("c_abi", c_abi::run_with, None, &faults);
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
    use consensus::Fault::*;
    alone("consensus_control", || {
        finds("consensus", consensus::run_with, None, &[ChangesByte, IgnoresTrailing]);
    });
}

#[cfg(all(feature = "base64", feature = "bytes", feature = "hex"))]
#[test]
fn ways_in_finds_nothing() {
    alone("ways_in_finds_nothing", || replay("ways_in", 5000, ways_in::run));
}

#[cfg(all(feature = "base64", feature = "bytes", feature = "hex"))]
#[test]
fn ways_in_control() {
    use ways_in::Fault::*;
    alone("ways_in_control", || {
        let faults =
            [ChangesByte, IgnoresHalfByte, ReadsTooFar, IgnoresLimit, KeepsMemory, LosesByte];
        finds("ways_in", ways_in::run_with, None, &faults);
    });
}
