//! Bytes that are not an encoding are refused: thousands of mutations of valid encodings, and
//! encodings made by hand that claim to be longer than they are.
//!
//! `MALFORMED_INPUTS=10000000 cargo test --release --features consensus,consensus-encoding --test consensus malformed -- --nocapture`
//! sets the number of inputs; `MALFORMED_SEED` chooses other inputs. Every input is a function of
//! the seed and its number, so that a failure can be repeated.

use super::heap::peak_of;
use super::random::Random;
use super::samples::{Case, Verdict, cases};
use bitcoin::hashes::{Hash, sha256d};
use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes that decoding may allocate whatever the input is. rust-bitcoin reserves up to a megabyte
/// for a vector before it has read the elements, and vectors are nested.
const ALLOWANCE: usize = 4 << 20;

/// Bytes that decoding may allocate in addition for each byte of input. The smallest items take
/// much more memory than their encoding, and vectors grow by doubling. `decode` in `samples`
/// decodes twice and encodes twice.
const PER_BYTE: usize = 64;

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Changes an encoding in one of several ways that pass a decoder's first checks.
fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(10) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => {
            // The bytes that begin compact sizes, and bytes next to them.
            let bytes = [0, 1, 2, 0x7f, 0x80, 0xfc, 0xfd, 0xfe, 0xff];
            input[at] = bytes[random.below(bytes.len())];
        }
        2 if at < input.len() => input[at] = random.next() as u8,
        3 => input.truncate(at),
        4 => {
            // A compact size that claims a large length.
            let value = random.next() >> random.below(64);
            let size = [0xfd, 0xfe, 0xff][random.below(3)];
            let length = 2 << (size - 0xfd);
            let bytes = value.to_le_bytes();
            let claim = [&[size][..], &bytes[..length]].concat();
            let end = (at + random.below(claim.len() + 1)).min(input.len());
            input.splice(at..end, claim);
        }
        5 => {
            let count = random.below(9);
            input.splice(at..at, (0..count).map(|_| random.next() as u8));
        }
        6 => {
            let end = at + random.below((input.len() - at).min(64) + 1);
            input.drain(at..end);
        }
        7 => {
            let end = at + random.below((input.len() - at).min(256) + 1);
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        8 if !other.is_empty() => {
            let from = random.below(other.len());
            let to = from + random.below(other.len() - from + 1);
            input.splice(at.., other[from..to].iter().copied());
        }
        _ => input.push(random.next() as u8),
    }
}

/// Corrects length and checksum of a network message, so that the decoder reads its payload.
fn seal(message: &mut [u8]) {
    const HEADER: usize = 24;
    if message.len() < HEADER {
        return;
    }
    let (header, payload) = message.split_at_mut(HEADER);
    header[16..20].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[20..].copy_from_slice(&sha256d::Hash::hash(payload).to_byte_array()[..4]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string");
        text
    })
}

/// Decodes, and checks how much was allocated. A panic in a decoder is reported with the input.
fn check(case: &Case, input: &[u8]) -> (Verdict, usize) {
    let decoded = catch_unwind(AssertUnwindSafe(|| peak_of(|| (case.decode)(input))));
    let Ok((verdict, peak)) = decoded else {
        panic!("{} panics on {}", case.name, hex(input));
    };
    let allowed = ALLOWANCE + PER_BYTE * input.len();
    assert!(peak <= allowed, "{} takes {peak} bytes for {}", case.name, hex(input));
    (verdict, peak)
}

#[test]
fn mutated_encodings_are_refused_or_are_encodings() {
    let inputs = number("MALFORMED_INPUTS", 50_000);
    let seed = number("MALFORMED_SEED", 1);
    let cases = cases();
    // Other tests use long encodings whole. A mutation of a long one finds no more than a mutation
    // of a short one.
    let seeds: Vec<Vec<&[u8]>> = cases
        .iter()
        .map(|case| case.encodings.iter().map(Vec::as_slice).filter(|e| e.len() < 4096).collect())
        .collect();
    let mut verdicts: BTreeMap<Verdict, u64> = BTreeMap::new();
    let mut input = Vec::new();
    let mut most = 0;
    for i in 0..inputs {
        let mut random = Random(seed ^ i.wrapping_mul(0xd134_2543_de82_ef95));
        let which = i as usize % cases.len();
        let own = seeds[which][random.below(seeds[which].len())];
        let foreign = &seeds[random.below(cases.len())];
        let other = foreign[random.below(foreign.len())];
        input.clear();
        input.extend_from_slice(own);
        for _ in 0..=random.below(6) {
            mutate(&mut input, other, &mut random);
        }
        if cases[which].name == "RawNetworkMessage" && random.below(4) > 0 {
            seal(&mut input);
        }
        let (verdict, peak) = check(&cases[which], &input);
        *verdicts.entry(verdict).or_default() += 1;
        most = most.max(peak);
    }
    let types = cases.len();
    println!("{inputs} inputs for {types} types: {verdicts:?}; at most {most} bytes allocated");
    // Every verdict must occur: the mutations must be neither too small nor too large.
    assert_eq!(verdicts.len(), 4, "{verdicts:?}");
    assert!(verdicts.values().all(|&count| count > inputs / 1000), "{verdicts:?}");
}

/// Encodings that end in the claim of a large length, at each place where there may be one.
#[test]
fn claims_of_length_cost_nothing() {
    for case in cases() {
        for encoding in &case.encodings {
            for len in 0..encoding.len().min(300) {
                for claim in [&[0xfd, 0xff, 0xff][..], &[0xfe, 0, 0x09, 0x3d, 0], &[0xff; 9]] {
                    let mut input = encoding[..len].to_vec();
                    input.extend_from_slice(claim);
                    check(&case, &input);
                    if case.name == "RawNetworkMessage" {
                        seal(&mut input);
                        check(&case, &input);
                    }
                }
            }
        }
    }
}

/// Inputs of many of the smallest items.
#[test]
fn large_inputs_cost_in_proportion() {
    for case in cases() {
        for fill in [0_u8, 1, 0xfc, 0xff] {
            for start in [&[][..], &[0xfe, 0x00, 0x00, 0x10, 0x00]] {
                let mut input = start.to_vec();
                input.resize(1 << 20, fill);
                check(&case, &input);
            }
        }
    }
}
