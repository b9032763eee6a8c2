//! Unique names for temporary files, from the operating system's random source.

use std::io;
use std::path::{Path, PathBuf};

/// Random bytes in a name: as many as leave no chance of two alike.
const RANDOM_BYTES: usize = 16;

/// Characters of a name: two hexadecimal digits for each byte.
pub(crate) const NAME_LEN: usize = 2 * RANDOM_BYTES;

/// `base` with a name of 32 hexadecimal digits appended, which is taken from 128 bits of the
/// operating system's random source: the name has not been chosen before, and cannot be guessed.
/// Any thread may call this.
///
/// Nothing is created. Between this call and the creation of a file, the name means nothing to the
/// system: create it so that this fails if it exists (`O_EXCL`, [`create_new`], or
/// [`std::fs::create_dir`]). An attacker who sees what this process is about to do could have put a
/// link there.
///
/// ```
/// use bitcoin_support::get_unique_path;
/// use std::fs::{File, OpenOptions};
///
/// let path = get_unique_path(&std::env::temp_dir())?;
/// let file: File = OpenOptions::new().write(true).create_new(true).open(&path)?;
/// # drop(file);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// [`create_new`]: std::fs::OpenOptions::create_new
///
/// # Errors
/// When the system has no random bytes to give, as when it denies the call. There is no fallback to
/// the clock.
pub fn get_unique_path(base: &Path) -> io::Result<PathBuf> {
    let name = unique_name()?;
    // Hexadecimal digits are ASCII.
    Ok(base.join(String::from_utf8_lossy(&name).as_ref()))
}

/// The name alone, in lower-case hexadecimal digits.
pub(crate) fn unique_name() -> io::Result<[u8; NAME_LEN]> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|error| match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error.to_string()),
    })?;
    let mut name = [0; NAME_LEN];
    for (pair, byte) in name.chunks_exact_mut(2).zip(random) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn is_the_base_and_a_name_of_random_digits() {
        for base in ["", "dir", "/tmp", "/a/b/", "r\u{e9}pertoire"] {
            let base = Path::new(base);
            let path = get_unique_path(base).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(path, base.join(name));
            assert_eq!(name.len(), 32);
            assert!(name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
            assert!(!path.exists());
        }
    }

    #[test]
    fn all_are_different_and_all_digits_vary() {
        let names: Vec<_> = (0..2000).map(|_| unique_name().unwrap()).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        for place in 0..NAME_LEN {
            let digits: HashSet<_> = names.iter().map(|name| name[place]).collect();
            assert_eq!(digits.len(), 16, "digit {place}");
        }
    }
}
