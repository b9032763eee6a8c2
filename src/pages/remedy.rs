//! What an administrator can do about what the system has refused.

use super::error::{LockError, Protection, ProtectionError};
use crate::sys::{Errno, Limits, Memory, System};
use core::ffi::CStr;

impl LockError {
    /// What an administrator can do about it, in one line.
    pub fn remedy(&self) -> &'static str {
        ascii(self.remedy_text())
    }

    pub(crate) fn remedy_text(&self) -> &'static CStr {
        System::lock_remedy(Errno::of(self.errno), self.limit)
    }
}

impl ProtectionError {
    /// What an administrator can do about it, in one line.
    pub fn remedy(&self) -> &'static str {
        ascii(self.remedy_text())
    }

    pub(crate) fn remedy_text(&self) -> &'static CStr {
        let of_fork_policy = self.protection == Protection::ForkPolicy;
        System::protection_remedy(Errno::of(self.errno), of_fork_policy)
    }
}

/// The system's texts are ASCII.
fn ascii(text: &'static CStr) -> &'static str {
    text.to_str().unwrap_or_default()
}
