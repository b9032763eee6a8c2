//! A sealed secret that is open to be changed.

use super::value::{NextSeal, SealedBytes};
use crate::secure::SecureBox;
use core::fmt;

/// A sealed secret that is open to be changed, made by
/// [`SealedBox::open_mut`](crate::SealedBox::open_mut) and
/// [`SealedVec::open_mut`](crate::SealedVec::open_mut): the secret in locked memory. When the guard
/// is dropped, the secret is sealed again, with what it is then, and the opened one is wiped.
///
/// That cannot fail: the key for it, and room, were made with the guard. But the secret stays as it
/// was sealed before if the process has wiped all secrets meanwhile, or is a child of `fork` that
/// does not have them. A child that has them seals with another key than its parent; it stays so
/// there too if the child gets no random numbers or no locked memory for that. The changes of a
/// guard that is forgotten ([`core::mem::forget`]) are lost, and its place stays locked. A panic
/// in the middle of a change seals what there is then: [`discard`](Self::discard) seals nothing.
pub struct OpenedMut<'a, T: ?Sized> {
    value: SecureBox<T>,
    bytes: fn(&T) -> &[u8],
    sealed: &'a mut SealedBytes,
    /// `None` when it is sealed.
    next: Option<NextSeal>,
}

impl<'a, T: ?Sized> OpenedMut<'a, T> {
    pub(super) fn new(
        value: SecureBox<T>,
        bytes: fn(&T) -> &[u8],
        sealed: &'a mut SealedBytes,
        next: NextSeal,
    ) -> Self {
        Self { value, bytes, sealed, next: Some(next) }
    }

    /// The secret. This type does not protect copies that the caller makes.
    pub fn expose_secret(&self) -> &T {
        self.value.expose_secret()
    }

    /// The secret, to be written.
    pub fn expose_secret_mut(&mut self) -> &mut T {
        self.value.expose_secret_mut()
    }

    /// Leaves the sealed secret as it was before it was opened.
    pub fn discard(mut self) {
        self.next = None;
    }

    /// Whether the opened secret is locked now, so that it is never in swap.
    pub fn is_locked(&self) -> bool {
        self.value.is_locked()
    }
}

impl<T: ?Sized> Drop for OpenedMut<'_, T> {
    fn drop(&mut self) {
        if let Some(next) = self.next.take_if(|next| !next.is_absent()) {
            next.finish((self.bytes)(self.value.expose_secret()), self.sealed);
        }
    }
}

impl<T: ?Sized> fmt::Debug for OpenedMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenedMut([redacted])")
    }
}
