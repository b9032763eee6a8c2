//! Calls of other crates for secrets, and what stands for them here: docs/coming-from.md quotes the
//! bodies of these tests.

#![cfg(feature = "secrecy")]

use std::error::Error;

#[test]
fn zeroize() -> Result<(), Box<dyn Error>> {
    use bitcoin_support::{SecureBox, SecureString, cleanse};
    use zeroize::Zeroizing;

    let key = SecureBox::<[u8; 32]>::try_random()?; // Zeroizing::new([0_u8; 32]), then fill it
    let copy = key.try_duplicate()?; // key.clone()
    assert!(key == copy); // in constant time

    // What is in a Zeroizing moves in. The original is wiped.
    let mut passphrase = SecureString::from(Zeroizing::new(String::from("correct horse")));
    passphrase.try_push_str(" battery staple")?; // grows without leaving a copy
    assert!(passphrase.expose_secret().ends_with("staple")); // *passphrase

    let mut scratch = [7_u8; 64];
    cleanse(&mut scratch); // scratch.zeroize()
    assert!(scratch == [0; 64]);
    Ok(())
}

#[test]
fn secrecy() -> Result<(), Box<dyn Error>> {
    use bitcoin_support::{SecureBox, SecureString};
    use secrecy::ExposeSecret;

    // SecretString::from(text), and a function that takes any secret text
    let token = SecureString::from(secrecy::SecretString::from("token"));
    fn sign_in(token: &impl ExposeSecret<str>) -> usize {
        token.expose_secret().len()
    }
    assert_eq!(sign_in(&token), 5);

    // SecretBox::init_with_mut(|key: &mut [u8; 32]| key.fill(7))
    let key = SecureBox::<[u8; 32]>::new_with(|key| key.fill(7));
    assert_eq!(format!("{key:?}"), "SecureBox([redacted])");
    Ok(())
}

#[test]
fn secrets() -> Result<(), Box<dyn Error>> {
    use bitcoin_support::{ClosedBox, SecretStack, SecureBox};

    // SecretBox::<[u8; 32]>::random()
    let mut key = ClosedBox::close(SecureBox::<[u8; 32]>::try_random()?)?;
    let first = key.open()?.expose_secret()[0]; // key.borrow()[0]
    key.open_mut()?.expose_secret_mut()[0] = !first; // key.borrow_mut()[0]

    // Secret::<[u8; 32]>::zero(|child| ...): what is computed on the stack
    SecretStack::new().run(|| {
        let mut child = [0_u8; 32];
        child.fill(7);
    })?;
    Ok(())
}
