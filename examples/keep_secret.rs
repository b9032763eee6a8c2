//! Keeps a key in locked memory.

use bitcoin_support::{LockedPages, MapError};

fn main() -> Result<(), MapError> {
    let mut pages = LockedPages::new(32)?; // at least 32 bytes, whole pages
    if let Err(why) = pages.lock_state() {
        eprintln!("not locked: {why}"); // usable all the same; the message says what to do
    }
    let key = &mut pages.as_mut_slice()[..32];
    key.fill(0x42); // never swapped, never in a core dump
    println!("a key of {} bytes in locked memory", key.len());
    Ok(())
} // wiped, unlocked and unmapped here
