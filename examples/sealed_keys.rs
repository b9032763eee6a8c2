//! Keeps many keys sealed, opens one of them to use and to change it, and says how much memory is
//! locked: `cargo run --release --features sealed --example sealed_keys -- 1000000`.

use bitcoin_support::{SealedBox, SealedError, SecureBox, memory_stats, rotate_sealing_key};

type Key = [u8; 32];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args().nth(1).map_or(Ok(1000), |count| count.parse())?;

    let seal_one = |_| SealedBox::seal(SecureBox::<Key>::try_random()?).map_err(Into::into);
    let mut keys: Vec<_> =
        (0..count.max(1)).map(seal_one).collect::<Result<_, Box<dyn std::error::Error>>>()?;

    let last = keys.len() - 1;
    let parity = |key: &Key| key.iter().fold(0, |all, byte| all ^ byte);
    let before = parity(keys[last].open()?.expose_secret()); // decrypted, used, wiped
    keys[last].open_mut()?.expose_secret_mut()[0] ^= 1; // decrypted, changed, sealed again
    assert_eq!(parity(keys[last].open()?.expose_secret()), before ^ 1);

    let stats = memory_stats();
    println!("{count} keys are sealed, and {} bytes are locked", stats.locked);

    rotate_sealing_key()?; // from time to time
    keys[last].reseal()?; // with the new key; the others stay readable
    drop(keys);

    // After the panic button there is no key, and nothing opens what was sealed.
    let lost = SealedBox::seal_copy(&[7_u8; 32])?;
    // SAFETY: all secrets of this program are bytes.
    unsafe { bitcoin_support::wipe_everything() };
    assert_eq!(lost.open().unwrap_err(), SealedError::KeyWiped);
    println!("wiped: {}", SealedError::KeyWiped);
    Ok(())
}
