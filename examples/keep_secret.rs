//! Keeps a key in locked memory, says whether it is locked, and wipes it.

use bitcoin_support::{LockedPoolManager, SecureBox};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = SecureBox::<[u8; 32]>::try_random()?; // made where it stays: it is nowhere else
    println!("{key:?}"); // SecureBox([redacted])

    let stats = LockedPoolManager::instance().stats();
    if stats.is_fully_locked() {
        println!("locked: never in swap, never in a core dump");
    } else if let Some(why) = stats.last_lock_failure {
        println!("not all is locked: {why}"); // usable all the same; it says what to do
    }
    Ok(())
} // wiped here
