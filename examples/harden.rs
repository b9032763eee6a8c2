//! Hardens the process before it has its first secret, and says what was not to be had.

use bitcoin_support::{HardenOptions, HardeningStep, SecureBox, harden_process};

fn main() {
    let options = HardenOptions::new()
        .step(HardeningStep::NotDumpable)
        .step(HardeningStep::NoCoreFile)
        .step(HardeningStep::NoWriteExecute)
        .step(HardeningStep::NoNewPrivileges)
        .step(HardeningStep::LockLimit)
        .step(HardeningStep::SealedPool);
    for (step, result) in harden_process(options).iter() {
        match result {
            Ok(()) => println!("{step}"),
            Err(error) => println!("{error}"), // "sealed-pool: not supported here"
        }
    }
    let key = SecureBox::<[u8; 32]>::random();
    println!("{key:?}");
}
