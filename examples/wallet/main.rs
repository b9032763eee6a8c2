//! A wallet's secrets, from the prompt to a signature: recovery words (BIP 39), the seed, the key
//! that is derived of it (BIP 32, 84), and a signature. After each step the program searches all
//! its memory and says where parts of which secret lie.
//!
//! `cargo run --example wallet --features consensus`

pub(crate) mod search;

use bip39::Mnemonic;
use bitcoin::Network;
use bitcoin::bip32::{DerivationPath, Xpriv};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Message, Secp256k1};
use bitcoin_support::{SecureBox, SecureString, memory_cleanse};
use search::Search;
use std::error::Error;
use std::hint::black_box;

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let mut search = Search::new();

    // From the keyboard into locked memory. There is no other copy.
    let words = SecureString::prompt("Recovery words: ")?;
    let passphrase = SecureString::prompt("Passphrase, or nothing: ")?;
    search.note("words", words.expose_secret().as_bytes());
    report(&search, "the words have been typed")?;

    // `bip39` takes the words as a text, and returns the seed by value: on the stack, as it keeps
    // what it computes with. So the stack is wiped when it is done. The words are not needed any
    // more.
    let seed = on_a_stack_that_is_wiped(|| -> Result<_, Box<dyn Error>> {
        let mnemonic = Mnemonic::parse_normalized(words.expose_secret())?;
        let mut seed = SecureBox::<[u8; 64]>::try_zeroed()?;
        *seed.expose_secret_mut() = mnemonic.to_seed_normalized(passphrase.expose_secret());
        Ok(seed)
    })?;
    drop((words, passphrase));
    search.note("seed", seed.expose_secret());
    report(&search, "the seed has been made")?;

    // Keys of `bitcoin` and `secp256k1` are `Copy`: each function that takes or returns one leaves
    // a copy. Only the key for this address is kept, in locked memory; the master key never leaves
    // the wiped stack.
    let secp = Secp256k1::new();
    let key = on_a_stack_that_is_wiped(|| -> Result<_, Box<dyn Error>> {
        let master = Xpriv::new_master(Network::Bitcoin, seed.expose_secret())?;
        search.note("master key", &master.private_key[..]);
        let path: DerivationPath = "m/84h/0h/0h/0/0".parse()?;
        Ok(SecureBox::try_new(master.derive_priv(&secp, &path)?.private_key)?)
    })?;
    drop(seed);
    search.note("key", &key.expose_secret()[..]);
    report(&search, "the key has been derived")?;

    // The signature is no secret.
    let message = Message::from_digest(sha256::Hash::hash(b"a transaction").to_byte_array());
    let (signature, public) = on_a_stack_that_is_wiped(|| {
        let signature = secp.sign_ecdsa(&message, key.expose_secret());
        (signature, key.expose_secret().public_key(&secp))
    });
    report(&search, "the message has been signed")?;
    drop(key);
    report(&search, "the key has been dropped")?;

    secp.verify_ecdsa(&message, &signature, &public)?;
    println!("signature {signature} by {public}");
    Ok(())
}

/// Calls `work`, and overwrites the stack below this function: whatever `work` has left there. A
/// value that `work` returns must not be a secret, or must lie in locked memory.
#[inline(never)]
fn on_a_stack_that_is_wiped<R>(work: impl FnOnce() -> R) -> R {
    /// More than the libraries of this program need.
    const BELOW: usize = 256 * 1024;

    #[inline(never)]
    fn wipe() {
        let mut below = [0_u8; BELOW];
        // SAFETY: the array is writable over its length.
        unsafe { memory_cleanse(below.as_mut_ptr(), BELOW) };
        black_box(&below);
    }

    let result = work();
    wipe();
    result
}

/// Says in how many places of the memory a part of each secret lies.
fn report(search: &Search, step: &str) -> Result<(), Box<dyn Error>> {
    let found: Vec<String> =
        search.found()?.into_iter().map(|(name, places)| format!("{name} {places}")).collect();
    println!("{step}: {}", found.join(", "));
    Ok(())
}
