//! What lets a closed secret be used.

use crate::pages::{LockedPages, MapError, Use};
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A use of the pages of a closed secret. They are closed when it is dropped, unless there are
/// others.
struct Opened<'a> {
    pages: &'a LockedPages,
    purpose: Use,
    /// The thread that opens a secret closes it.
    _not_send: PhantomData<*const ()>,
}

impl<'a> Opened<'a> {
    fn begin(pages: &'a LockedPages, purpose: Use) -> Result<Self, MapError> {
        pages.begin_use(purpose)?;
        Ok(Self { pages, purpose, _not_send: PhantomData })
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        // Where the system refuses, the secret stays open, which the owner's `state` tells.
        // SAFETY: `begin` has begun the use for this value, and it ends once.
        let _ = unsafe { self.pages.end_use(self.purpose) };
    }
}

/// A closed secret that can be read, made by [`ClosedBox::open`](crate::ClosedBox::open). When the
/// last guard is dropped, the secret is closed again. It stays open if a guard is forgotten
/// ([`core::mem::forget`]), or if the system refuses to close it, which
/// [`state`](crate::ClosedBox::state) tells.
///
/// A guard cannot be sent to another thread. References to the secret can.
pub struct ClosedRef<'a, T: ?Sized> {
    /// No reference: it would have to be valid until the guard is gone.
    value: NonNull<T>,
    _opened: Opened<'a>,
    _value: PhantomData<&'a T>,
}

impl<'a, T: ?Sized> ClosedRef<'a, T> {
    /// # Safety
    /// `value` must lie in the pages, and must not change as long as `'a`.
    pub(super) unsafe fn open(value: NonNull<T>, pages: &'a LockedPages) -> Result<Self, MapError> {
        Ok(Self { value, _opened: Opened::begin(pages, Use::Read)?, _value: PhantomData })
    }

    /// The secret. This type does not protect copies that the caller makes.
    pub fn expose_secret(&self) -> &T {
        // SAFETY: the value lies in the pages, which can be read as long as this value lives. It
        // does not change meanwhile.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> fmt::Debug for ClosedRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClosedRef([redacted])")
    }
}

/// A closed secret that can be read and written, made by
/// [`ClosedBox::open_mut`](crate::ClosedBox::open_mut). When it is dropped, the secret is closed
/// again. It stays open if a guard is forgotten ([`core::mem::forget`]), or if the system refuses
/// to close it, which [`state`](crate::ClosedBox::state) tells.
pub struct ClosedRefMut<'a, T: ?Sized> {
    /// No reference: it would have to be valid until the guard is gone.
    value: NonNull<T>,
    _opened: Opened<'a>,
    _value: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> ClosedRefMut<'a, T> {
    /// # Safety
    /// `value` must lie in the pages, and must be the caller's alone as long as `'a`.
    pub(super) unsafe fn open(value: NonNull<T>, pages: &'a LockedPages) -> Result<Self, MapError> {
        Ok(Self { value, _opened: Opened::begin(pages, Use::Write)?, _value: PhantomData })
    }

    /// The secret. This type does not protect copies that the caller makes.
    pub fn expose_secret(&self) -> &T {
        // SAFETY: the value lies in the pages, which can be read as long as this value lives. It is
        // exclusively borrowed, and changes only through this value.
        unsafe { self.value.as_ref() }
    }

    /// The secret, to be written.
    pub fn expose_secret_mut(&mut self) -> &mut T {
        // SAFETY: the value lies in the pages, which can be written as long as this value lives. It
        // is exclusively borrowed, and so is this value.
        unsafe { self.value.as_mut() }
    }
}

impl<T: ?Sized> fmt::Debug for ClosedRefMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClosedRefMut([redacted])")
    }
}
