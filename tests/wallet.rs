//! The program of the guide (docs/wallet.md) runs, makes the right key of known words, and has each
//! secret in its memory only as long as it says: as its own search sees it. The controls: the
//! search finds each secret while it is alive, and finds what is left where the stack is not wiped.
//!
//! The words are those of the test vectors of BIP 84, masked, so that they are not in the program.

#![cfg(all(target_os = "linux", feature = "consensus"))]

#[path = "common/this_program.rs"]
mod this_program;
#[path = "../examples/wallet/main.rs"]
mod wallet;

use bip39::Mnemonic;
use bitcoin_support::{SecureBox, SecureString};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::{env, hint};
use this_program::this_program;

const CHILD: &str = "BITCOIN_SUPPORT_TEST_WALLET";
const MASK: u8 = 0x6b;
const WORDS: [u8; 93] = {
    let mut bytes = *b"abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] ^= MASK;
        i += 1;
    }
    bytes
};

/// Runs `child` in a separate process without a terminal, which finds the words and an empty
/// passphrase on its standard input. Returns what it printed.
fn with_the_words(test: &str, child: fn()) -> Option<String> {
    if env::var_os(CHILD).is_some() {
        child();
        return None;
    }
    let mut command = this_program();
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::setsid() {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let mut process = command.spawn().unwrap();
    let mut input = hint::black_box(WORDS).map(|byte| byte ^ hint::black_box(MASK)).to_vec();
    input.extend(b"\n\n");
    process.stdin.take().unwrap().write_all(&input).unwrap();
    let output = process.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    Some(text)
}

#[test]
fn no_secret_outlives_its_use() {
    let Some(text) = with_the_words("no_secret_outlives_its_use", || wallet::main().unwrap())
    else {
        return;
    };
    // docs/wallet.md shows these numbers, and says why they are so.
    for step in [
        "the words have been typed: words 25",
        "the seed has been made: words 0, seed 4",
        "the key has been derived: words 0, seed 0, master key 0, key 2",
        "the message has been signed: words 0, seed 0, master key 0, key 2",
        "the key has been dropped: words 0, seed 0, master key 0, key 0",
    ] {
        // The test harness writes to the same line, before the first step.
        assert!(text.lines().any(|line| line.ends_with(step)), "no {step:?} in:\n{text}");
    }
    // The first receiving address of the test vectors of BIP 84.
    let public = "0330d54fd0dd420a6e5f8d3624f5f3482cae350f79d5f0753bf5beef9c2d91af3c";
    assert!(text.contains(&format!(" by {public}")), "{text}");
}

#[test]
fn control_a_stack_that_is_not_wiped_has_the_seed() {
    fn child() {
        let words = SecureString::prompt("").unwrap();
        let mut search = wallet::search::Search::new();
        let mut seed = SecureBox::<[u8; 64]>::zeroed();
        let mnemonic = Mnemonic::parse_normalized(words.expose_secret()).unwrap();
        *seed.expose_secret_mut() = mnemonic.to_seed_normalized("");
        search.note("seed", seed.expose_secret());
        drop(seed);
        println!("not wiped: seed {}", search.found().unwrap()[0].1);
    }
    let test = "control_a_stack_that_is_not_wiped_has_the_seed";
    let Some(text) = with_the_words(test, child) else { return };
    let found = text.lines().find_map(|line| line.split_once("not wiped: seed "));
    assert!(found.is_some_and(|(_, places)| places != "0"), "{text}");
}
