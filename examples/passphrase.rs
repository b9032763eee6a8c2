//! Asks for a new passphrase, twice, without showing it, and keeps it in locked memory only.
//!
//! `cargo run --example passphrase`

use bitcoin_support::SecureString;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The comparison of the two takes constant time for texts of the same length.
    match SecureString::prompt_confirmed("New passphrase: ", "The same again: ") {
        Ok(passphrase) => {
            let words = passphrase.expose_secret().split_whitespace().count();
            println!("A passphrase of {words} words.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
