//! Keeps a key on a page to which there is no access while the key is not in use, and derives
//! another one from it on a secret stack: `cargo run --example closed_key`.

use bitcoin_support::{ClosedBox, ClosedState, SecretStack, SecureBox, has_protection_key};

type Key = [u8; 32];

/// A stand-in for the derivation of a real program.
fn child_of(key: &Key, number: u8) -> Key {
    key.map(|byte| byte.rotate_left(3) ^ number)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut master = ClosedBox::close(SecureBox::<Key>::try_random()?)?;
    assert_eq!(master.state(), ClosedState::Closed); // an access is a SIGSEGV now

    let mut child = SecureBox::<Key>::try_zeroed()?;
    let opened = master.open()?; // to all threads of the process, until the guard is dropped
    SecretStack::new().run(|| *child.expose_secret_mut() = child_of(opened.expose_secret(), 1))?;
    drop(opened);

    let made_again = |master: &Key| child_of(master, 1) == *child.expose_secret();
    // SAFETY: the master key is used on this thread alone.
    assert!(unsafe { master.read_on_this_thread(made_again) }?);
    let by =
        if has_protection_key() { "to one thread, by a protection key" } else { "by mprotect" };
    println!("the master key was open for as long as it was used: {by}");

    master.open_mut()?.expose_secret_mut()[0] ^= 1;
    assert_eq!(master.state(), ClosedState::Closed);
    Ok(())
} // wiped here
