//! How secrets come in from outside: from readers, files, file descriptors and the system's random
//! numbers, straight into locked memory.

use super::allocator::{LockedAllocator, SecureAllocator};
use super::boxed::SecureBox;
use super::error::ReadSecretError;
use super::string::SecureString;
use super::vec::SecureVec;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

impl SecureVec<u8> {
    /// Reads to the end of `reader`, at most `limit` bytes, straight into locked memory.
    ///
    /// A reader that has a buffer, such as [`std::io::BufReader`] or [`std::io::stdin`], keeps a
    /// copy in it. A [`std::fs::File`] or a socket has no buffer. ([`std::io::copy`] has one on the
    /// stack, and [`Read::read_to_end`] is for a `Vec` on the ordinary heap.)
    ///
    /// # Errors
    /// When the reader fails, the secret is longer than `limit`, or there is no locked memory. The
    /// part that had been read has been wiped.
    ///
    /// ```
    /// use bitcoin_support::{ReadSecretError, SecureVec};
    ///
    /// let file = &b"a private key"[..];
    /// let key = SecureVec::read_from(file, 100)?;
    /// assert_eq!(key.len(), 13);
    /// assert!(matches!(SecureVec::read_from(file, 12), Err(ReadSecretError::TooLong(12))));
    /// # Ok::<(), ReadSecretError>(())
    /// ```
    pub fn read_from(reader: impl Read, limit: usize) -> Result<Self, ReadSecretError> {
        Self::read_from_in(reader, limit, SecureAllocator)
    }

    /// [`read_from`](SecureVec::read_from) into the allocator's memory.
    ///
    /// # Errors
    /// As for [`read_from`](SecureVec::read_from).
    pub fn read_from_in<A: LockedAllocator>(
        mut reader: impl Read,
        limit: usize,
        allocator: A,
    ) -> Result<SecureVec<u8, A>, ReadSecretError> {
        const FIRST: usize = 256;
        let mut vec = Self::new_in(allocator);
        let mut filled = 0;
        // One byte more than `limit` is read, to find out whether the secret is longer.
        let most = limit.saturating_add(1);
        while filled < most {
            if filled == vec.len() {
                let len = filled.saturating_mul(2).max(FIRST).min(most);
                vec.try_resize(len, 0)?;
            }
            let room = &mut vec.expose_secret_mut()[filled..];
            match reader.read(room) {
                Ok(0) => break,
                Ok(count) if count <= room.len() => filled += count,
                // The reader claims to have read more than there was room for, which breaks its
                // contract.
                Ok(_) => return Err(io::Error::from(io::ErrorKind::InvalidData).into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if filled > limit {
            return Err(ReadSecretError::TooLong(limit));
        }
        vec.truncate(filled);
        Ok(vec)
    }

    /// Reads just `len` bytes of `reader`. Those behind them stay there.
    ///
    /// # Errors
    /// When the reader fails or ends before ([`io::ErrorKind::UnexpectedEof`]), or there is no
    /// locked memory. The part that had been read has been wiped.
    pub fn read_exact(mut reader: impl Read, len: usize) -> Result<Self, ReadSecretError> {
        let mut bytes = Self::try_zeroed(len)?;
        reader.read_exact(bytes.expose_secret_mut())?;
        Ok(bytes)
    }

    /// Reads a line of at most `limit` bytes: up to a line feed, or to the end of the input. The
    /// line feed, and a carriage return in front of it, are read and are no part of the secret.
    /// What is behind the line stays in the reader, which is asked for one byte at a time. There is
    /// no form without a limit, as the other side chooses how much it sends.
    ///
    /// [`std::io::stdin`] keeps a copy in its buffer. This does not:
    ///
    /// ```no_run
    /// # #[cfg(unix)] {
    /// use bitcoin_support::SecureVec;
    /// use std::os::fd::AsFd;
    ///
    /// let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    /// let line = SecureVec::read_line(std::fs::File::from(stdin), 1000)?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the reader fails or is at its end ([`ReadSecretError::EndOfInput`]), the line is longer
    /// than `limit`, or there is no locked memory. The part that had been read has been wiped.
    pub fn read_line(mut reader: impl Read, limit: usize) -> Result<Self, ReadSecretError> {
        let mut line = Self::new();
        loop {
            let len = line.len();
            line.try_resize(len + 1, 0)?;
            let byte = match reader.read(&mut line.expose_secret_mut()[len..]) {
                Ok(0) => None,
                Ok(1) => Some(line.expose_secret()[len]),
                // The reader claims to have read more than there was room for.
                Ok(_) => return Err(io::Error::from(io::ErrorKind::InvalidData).into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    line.truncate(len);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match byte {
                None if len == 0 => return Err(ReadSecretError::EndOfInput),
                None => line.truncate(len),
                Some(b'\n') => {
                    line.truncate(len);
                    if line.expose_secret().last() == Some(&b'\r') {
                        line.truncate(len - 1);
                    }
                }
                // The byte before this one may have been a carriage return.
                Some(_) if len > limit => return Err(ReadSecretError::TooLong(limit)),
                Some(_) => continue,
            }
            return if line.len() > limit {
                Err(ReadSecretError::TooLong(limit))
            } else {
                Ok(line)
            };
        }
    }

    /// Reads a file of at most `limit` bytes.
    ///
    /// `/dev/fd/3` is file descriptor 3, which the program's caller has opened: a pipe from a
    /// password manager, say.
    ///
    /// # Errors
    /// As for [`read_from`](Self::read_from), and when the file cannot be opened.
    pub fn from_file(path: impl AsRef<Path>, limit: usize) -> Result<Self, ReadSecretError> {
        Self::read_from(File::open(path)?, limit)
    }

    /// Reads what a file descriptor has, to its end, at most `limit` bytes. The descriptor stays
    /// open.
    ///
    /// # Errors
    /// As for [`read_from`](Self::read_from).
    #[cfg(unix)]
    pub fn from_fd(fd: impl std::os::fd::AsFd, limit: usize) -> Result<Self, ReadSecretError> {
        Self::read_from(File::from(fd.as_fd().try_clone_to_owned()?), limit)
    }

    /// Reads a credential that systemd has given to the service (`LoadCredential=`,
    /// `LoadCredentialEncrypted=`, `ImportCredential=`): the file of that name in
    /// `$CREDENTIALS_DIRECTORY`, which is in memory that is not swapped. At most 1 MiB, as systemd
    /// allows.
    ///
    /// # Errors
    /// As for [`from_file`](Self::from_file). [`io::ErrorKind::NotFound`] when there is no such
    /// credential, or the process is no service with credentials; [`io::ErrorKind::InvalidInput`]
    /// when `name` is not the name of a file.
    pub fn from_credential(name: &str) -> Result<Self, ReadSecretError> {
        Self::from_file(credential(name)?, LARGEST_CREDENTIAL)
    }

    /// `len` bytes from the system's source of random numbers for keys (`getrandom`), which writes
    /// them to their place.
    ///
    /// (A generator that runs in the process, such as the thread's generator of the crate `rand`,
    /// keeps its state on the ordinary heap. The keys that it makes next can be computed from that
    /// state.)
    ///
    /// # Panics
    /// When there is no locked memory, or the system has no random numbers.
    #[track_caller]
    pub fn random(len: usize) -> Self {
        let bytes = Self::try_random(len);
        bytes.unwrap_or_else(|error| panic!("{error}"))
    }

    /// `len` bytes from the system's source of random numbers for keys.
    ///
    /// # Errors
    /// When there is no locked memory, or the system has no random numbers.
    pub fn try_random(len: usize) -> Result<Self, ReadSecretError> {
        let mut bytes = Self::try_zeroed(len)?;
        fill_random(bytes.expose_secret_mut())?;
        Ok(bytes)
    }
}

impl<const N: usize> SecureBox<[u8; N]> {
    /// Bytes from the system's source of random numbers for keys (`getrandom`), which writes them
    /// to their place. [`SecureVec::random`] says what other generators leave behind.
    ///
    /// # Panics
    /// When there is no locked memory, or the system has no random numbers.
    #[track_caller]
    pub fn random() -> Self {
        let bytes = Self::try_random();
        bytes.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Bytes from the system's source of random numbers for keys.
    ///
    /// # Errors
    /// When there is no locked memory, or the system has no random numbers.
    pub fn try_random() -> Result<Self, ReadSecretError> {
        Self::try_new_with(|place| fill_random(place))
    }

    /// Reads just `N` bytes of `reader`. Those behind them stay there.
    ///
    /// # Errors
    /// When the reader fails or ends before ([`io::ErrorKind::UnexpectedEof`]), or there is no
    /// locked memory. The part that had been read has been wiped.
    pub fn read_exact(mut reader: impl Read) -> Result<Self, ReadSecretError> {
        Self::try_new_with(|place| Ok(reader.read_exact(place)?))
    }

    /// Reads to the end of `reader`, which must have just `N` bytes.
    ///
    /// # Errors
    /// As for [`read_exact`](Self::read_exact); also when there are more or fewer bytes
    /// ([`ReadSecretError::Length`]).
    ///
    /// ```
    /// use bitcoin_support::{ReadSecretError, SecureBox};
    ///
    /// let key = SecureBox::<[u8; 4]>::read_from(&[1, 2, 3, 4][..])?;
    /// let longer = SecureBox::<[u8; 4]>::read_from(&[1, 2, 3, 4, 5][..]);
    /// assert!(matches!(longer, Err(ReadSecretError::Length(4))));
    /// # Ok::<(), ReadSecretError>(())
    /// ```
    pub fn read_from(reader: impl Read) -> Result<Self, ReadSecretError> {
        let bytes = match SecureVec::read_from(reader, N) {
            Err(ReadSecretError::TooLong(_)) => return Err(ReadSecretError::Length(N)),
            bytes => bytes?,
        };
        Self::try_copy(bytes.expose_secret())?.ok_or(ReadSecretError::Length(N))
    }
}

/// The ways in for text. Each is that of [`SecureVec`], and fails besides if the bytes are not
/// UTF-8.
impl SecureString {
    /// Reads to the end of `reader`, at most `limit` bytes, straight into locked memory.
    /// [`SecureVec::read_from`] says which readers keep copies.
    ///
    /// # Errors
    /// When the reader fails, or the secret is longer than `limit` or not UTF-8, or there is no
    /// locked memory. The part that had been read has been wiped.
    pub fn read_from(reader: impl Read, limit: usize) -> Result<Self, ReadSecretError> {
        Self::read_from_in(reader, limit, SecureAllocator)
    }

    /// [`read_from`](SecureString::read_from) into the allocator's memory.
    ///
    /// # Errors
    /// As for [`read_from`](SecureString::read_from).
    pub fn read_from_in<A: LockedAllocator>(
        reader: impl Read,
        limit: usize,
        allocator: A,
    ) -> Result<SecureString<A>, ReadSecretError> {
        Ok(SecureString::from_utf8(SecureVec::read_from_in(reader, limit, allocator)?)?)
    }

    /// Reads a line of at most `limit` bytes, without its end: [`SecureVec::read_line`].
    ///
    /// ```
    /// let mut input = &b"correct horse\nmore"[..];
    /// let line = bitcoin_support::SecureString::read_line(&mut input, 100)?;
    /// assert!(line == "correct horse" && input == b"more");
    /// # Ok::<(), bitcoin_support::ReadSecretError>(())
    /// ```
    ///
    /// # Errors
    /// As for [`SecureVec::read_line`]; also when the line is not UTF-8.
    pub fn read_line(reader: impl Read, limit: usize) -> Result<Self, ReadSecretError> {
        Ok(Self::from_utf8(SecureVec::read_line(reader, limit)?)?)
    }

    /// Reads a file of at most `limit` bytes. A line end at its end, as editors put it there, is no
    /// part of the text.
    ///
    /// # Errors
    /// As for [`SecureVec::from_file`]; also when the file is not UTF-8.
    pub fn from_file(path: impl AsRef<Path>, limit: usize) -> Result<Self, ReadSecretError> {
        without_line_end(SecureVec::from_file(path, limit)?)
    }

    /// Reads what a file descriptor has, to its end, at most `limit` bytes. A line end at the end
    /// is no part of the text. The descriptor stays open.
    ///
    /// # Errors
    /// As for [`SecureVec::from_fd`]; also when the text is not UTF-8.
    #[cfg(unix)]
    pub fn from_fd(fd: impl std::os::fd::AsFd, limit: usize) -> Result<Self, ReadSecretError> {
        without_line_end(SecureVec::from_fd(fd, limit)?)
    }

    /// Reads a credential that systemd has given to the service, without a line end at its end:
    /// [`SecureVec::from_credential`].
    ///
    /// # Errors
    /// As for [`SecureVec::from_credential`]; also when the credential is not UTF-8.
    pub fn from_credential(name: &str) -> Result<Self, ReadSecretError> {
        without_line_end(SecureVec::from_credential(name)?)
    }
}

/// The text without a line feed at its end, and a carriage return in front of it.
fn without_line_end(mut bytes: SecureVec<u8>) -> Result<SecureString, ReadSecretError> {
    for end in [b'\n', b'\r'] {
        if bytes.expose_secret().last() != Some(&end) {
            break;
        }
        bytes.truncate(bytes.len() - 1);
    }
    Ok(SecureString::from_utf8(bytes)?)
}

/// The most bytes that systemd gives as one credential.
const LARGEST_CREDENTIAL: usize = 1 << 20;

/// The file of a credential.
fn credential(name: &str) -> io::Result<PathBuf> {
    let mut components = Path::new(name).components();
    let is_name = matches!(components.next(), Some(Component::Normal(first)) if first == name);
    if !is_name {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is not the name of a credential"),
        ));
    }
    let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no credential {name:?}: the process is no service with credentials"),
        ));
    };
    Ok(PathBuf::from(directory).join(name))
}

fn fill_random(place: &mut [u8]) -> Result<(), ReadSecretError> {
    getrandom::fill(place).map_err(|error| {
        let error = match error.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(error.to_string()),
        };
        ReadSecretError::Io(error)
    })
}
