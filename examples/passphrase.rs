//! Asks for a new passphrase, twice, without showing it, and keeps it in locked memory only.
//!
//! `cargo run --example passphrase`

use bitcoin_support::{ReadSecretError, SecureString};
use std::process::ExitCode;

fn main() -> ExitCode {
    match ask() {
        Ok(Some(passphrase)) => {
            let words = passphrase.expose_secret().split_whitespace().count();
            println!("A passphrase of {words} words.");
            ExitCode::SUCCESS
        }
        Ok(None) => {
            eprintln!("These are two different passphrases.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn ask() -> Result<Option<SecureString>, ReadSecretError> {
    let first = SecureString::prompt("New passphrase: ")?;
    let second = SecureString::prompt("The same again: ")?;
    // The comparison takes constant time for two texts of the same length.
    Ok((first == second).then_some(first))
}
