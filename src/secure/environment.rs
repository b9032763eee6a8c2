//! Secrets in environment variables.

use super::error::ReadSecretError;
use super::string::SecureString;
use super::vec::SecureVec;
use crate::cleanse::memory_cleanse;
use core::ffi::CStr;
use std::env;
use std::ffi::{CString, OsStr};
use std::io;
use zeroize::Zeroizing;

impl SecureString {
    /// Copies an environment variable. It stays in the environment: in this process's memory, where
    /// core dumps and `/proc/PID/environ` show it, and in that of child processes.
    /// [`take_env`](Self::take_env) wipes it there. A file, a file descriptor or a
    /// [credential](Self::from_credential) is a better place for a secret.
    ///
    /// # Errors
    /// When there is no such variable ([`io::ErrorKind::NotFound`]), it is not UTF-8, or there is
    /// no locked memory.
    pub fn from_env(name: impl AsRef<OsStr>) -> Result<Self, ReadSecretError> {
        let name = name.as_ref();
        check(name)?;
        let value = env::var_os(name).ok_or_else(not_found)?;
        // Wipes the copy on the ordinary heap, also where there is no locked memory.
        let value = Zeroizing::new(value.into_encoded_bytes());
        Ok(Self::from_utf8(SecureVec::try_from_slice(&value)?)?)
    }

    /// Moves an environment variable into locked memory: copies it, wipes the value in the
    /// environment, and removes the variable.
    ///
    /// Afterwards this process's memory, its core dumps and `/proc/PID/environ` do not have the
    /// value, and children made from now on do not get it. But these copies stay: in the shell, or
    /// in whatever started this process; in processes that were started before; and in code of this
    /// process that has made a copy. If the variable was set anew while the process ran, the C
    /// library has kept the older value, which is not wiped. If the environment has the name twice,
    /// which no shell makes, both entries are removed, and the one that programs do not see is not
    /// wiped.
    ///
    /// # Errors
    /// As for [`from_env`](Self::from_env). If the value is not UTF-8, it has been wiped. If there
    /// is no locked memory, everything is as it was.
    ///
    /// # Safety
    /// No other thread may read or change the environment at the same time, nor may code go on to
    /// use the address of the value (from `getenv`). The value must be in memory that can be
    /// written, as it is unless `putenv` was called with memory that cannot. All these conditions
    /// hold at the beginning of `main`, before other threads are started.
    ///
    /// ```no_run
    /// use bitcoin_support::SecureString;
    ///
    /// // SAFETY: no other thread is running yet.
    /// let passphrase = unsafe { SecureString::take_env("WALLET_PASSPHRASE")? };
    /// # Ok::<(), bitcoin_support::ReadSecretError>(())
    /// ```
    pub unsafe fn take_env(name: impl AsRef<OsStr>) -> Result<Self, ReadSecretError> {
        let name = name.as_ref();
        check(name)?;
        let name_for_c = CString::new(name.as_encoded_bytes()).map_err(|_| not_found())?;
        // SAFETY: the name ends with a null byte, and the caller promises that no other thread
        // changes the environment.
        let value = unsafe { libc::getenv(name_for_c.as_ptr()) };
        if value.is_null() {
            return Err(not_found().into());
        }
        // SAFETY: `getenv` returned the address of a string that ends with a null byte. The caller
        // promises that it can be written, and that no other thread uses the environment. The
        // reference is not used after the wipe.
        let bytes = unsafe {
            let original = CStr::from_ptr(value).to_bytes();
            let bytes = SecureVec::try_from_slice(original)?;
            memory_cleanse(value.cast(), original.len());
            bytes
        };
        // SAFETY: the caller promises that no other thread uses the environment.
        unsafe { env::remove_var(name) };
        Ok(Self::from_utf8(bytes)?)
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// Refuses what is no variable's name. (`getenv` of "A=B" finds a part of "A=B=C".)
fn check(name: &OsStr) -> io::Result<()> {
    let name = name.as_encoded_bytes();
    if name.is_empty() || name.contains(&b'=') { Err(not_found()) } else { Ok(()) }
}
