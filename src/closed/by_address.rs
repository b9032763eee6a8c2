//! Closed secrets by their addresses, for C: the secret belongs to the caller, and there is no
//! object that owns it.

use super::error::ClosedError;
use super::place::{give_up, pages_for};
use crate::pages::{ClosedState, LockedPages, Use, has_protection_key, with_thread_right};
use core::alloc::Layout;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// Alignment of a secret in bytes.
const ALIGN: usize = 16;

/// A closed secret that [`allocate`](Self::allocate) has made.
pub(crate) struct ClosedBytes(ManuallyDrop<LockedPages>);

impl ClosedBytes {
    /// A closed secret of `size` bytes, all zeros, or its refusal. The caller owns it until
    /// [`free`](Self::free).
    pub(crate) fn allocate(size: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(size, ALIGN).ok().filter(|_| size > 0)?;
        let (pages, place) = pages_for(layout).ok()?;
        let offset = place.addr().get() - pages.as_ptr().addr().get();
        // SAFETY: from now on the pages are accessed during a use, or by a thread that has a right
        // to them; `give_up` begins a use.
        unsafe { pages.close_while_unused(offset, size) }.ok()?;
        pages.into_raw();
        Some(place)
    }

    /// The closed secret that begins at an address; `None` if there is none. Takes a step for each
    /// mapping.
    ///
    /// # Safety
    /// If there is one, it must come from [`allocate`](Self::allocate), and must not be freed
    /// during the life of this value.
    pub(crate) unsafe fn at(secret: NonNull<u8>) -> Option<Self> {
        // SAFETY: the caller says that `allocate` has given the pages up, and that they stay.
        unsafe { LockedPages::of_closed(secret) }.map(Self)
    }

    /// Opens it, until [`close`](Self::close) has been called as often for the same purpose.
    pub(crate) fn open(&self, purpose: Use) -> Result<(), ClosedError> {
        if self.0.is_absent() {
            return Err(ClosedError::Absent);
        }
        Ok(self.0.begin_use(purpose)?)
    }

    /// Closes it, unless it is open for other reasons. `false` if it is not open for this purpose.
    ///
    /// # Errors
    /// [`ClosedError::Refused`]: the opening has ended, and the secret stays open. Or
    /// [`ClosedError::Absent`].
    ///
    /// # Safety
    /// The opening that this ends must be the caller's.
    pub(crate) unsafe fn close(&self, purpose: Use) -> Result<bool, ClosedError> {
        if self.0.is_absent() {
            return Err(ClosedError::Absent);
        }
        // SAFETY: the caller says that the use is its own.
        Ok(unsafe { self.0.end_use(purpose) }?)
    }

    /// Calls a function while the calling thread may access the secret, and no other thread where
    /// there is a protection key. Returns whether the secret is as closed afterwards as it was: the
    /// system may refuse to close it.
    ///
    /// # Errors
    /// As of [`open`](Self::open); the function has not been called.
    pub(crate) fn on_this_thread(
        &self,
        purpose: Use,
        function: impl FnOnce(),
    ) -> Result<bool, ClosedError> {
        // Pages that are open have no key. They may be open to readers only.
        let by_key = purpose == Use::Read || self.0.closed_state() == ClosedState::Closed;
        if has_protection_key() && by_key && !self.0.is_absent() {
            with_thread_right(purpose, function);
            return Ok(true);
        }
        self.open(purpose)?;
        function();
        // SAFETY: it has been opened above.
        let closed = unsafe { self.close(purpose) };
        Ok(!matches!(closed, Err(ClosedError::Refused(_))))
    }

    /// Wipes it and gives its pages back.
    pub(crate) fn free(self) {
        give_up(ManuallyDrop::into_inner(self.0));
    }
}
