//! One stack: the switch to it, and the wipe afterwards.

use super::depth::{Order, clean_below};
use super::error::SecretStackError;
use super::registers;
use crate::cleanse::memory_cleanse;
use crate::pages::{LockError, LockedPages, PageOptions, Place, map, page_size};
use crate::poison;
use crate::sys::{CAN_SWITCH_STACKS, NotedStack, call_on_stack};
use core::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// The smallest size in bytes: what a panic takes that is caught, with its message and a backtrace
/// on the standard error.
const MIN_SIZE: usize = 32 * 1024;

/// A stack that holds zeros from end to end, except during [`call`](Self::call).
pub(super) struct Stack {
    noted: ManuallyDrop<NotedStack>,
    pages: ManuallyDrop<LockedPages>,
    /// How many wipes there have been; goes on at 0 again.
    wipes: u32,
}

impl Stack {
    /// Maps a stack of a size from [`size_in_pages`] for the calling thread. It is not locked yet.
    ///
    /// # Errors
    /// Where the library cannot switch stacks, and where there is no memory.
    pub(super) fn map(size: usize) -> Result<Self, SecretStackError> {
        if !CAN_SWITCH_STACKS {
            return Err(SecretStackError::NotAvailable);
        }
        let options = PageOptions { is_stack: true, ..PageOptions::default() };
        let pages = map(Place::anywhere(size), &options);
        let pages = pages.map_err(|refused| refused.error)?;
        let noted = ManuallyDrop::new(NotedStack::new(pages.as_ptr(), pages.len()));
        Ok(Self { noted, pages: ManuallyDrop::new(pages), wipes: 0 })
    }

    /// Bytes from end to end.
    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Takes the stack into use: its lock stays as it is until the call is over.
    pub(super) fn begin_call(&self) {
        self.pages.begin_call();
    }

    /// Whether it is locked. To be asked while it is in use.
    pub(super) fn is_locked(&self) -> bool {
        self.pages.lock_state().is_ok()
    }

    /// Locks it, while it is in use and not locked, unless all stacks that are locked would have
    /// more than `bound` bytes with it.
    pub(super) fn lock(&self, bound: usize) -> Result<(), LockError> {
        self.pages.lock_stack(bound)
    }

    /// Ends the use of the stack, which holds zeros.
    pub(super) fn end_call(&self) {
        self.pages.end_call();
    }

    /// Calls a function on this stack, which is in use, wipes the stack, and clears the registers.
    /// A panic of the function is caught and returned.
    pub(super) fn call<R>(&mut self, function: impl FnOnce() -> R) -> thread::Result<R> {
        let mut outcome = None;
        let on_this_stack = || {
            run(function, &mut outcome);
            registers::clear();
        };
        // SAFETY: this value owns the pages, which are writable, no fewer than `MIN_SIZE` bytes and
        // between guard pages; it is borrowed exclusively, so that no other call uses them. What
        // is called catches the function's panics. `map` has made sure that stacks can be
        // switched.
        unsafe { call_on_stack(self.pages.as_ptr(), self.pages.len(), on_this_stack) };
        self.pages.note_return();
        self.wipe();
        registers::clear();
        // `run` has written it.
        outcome.unwrap_or_else(|| std::process::abort())
    }

    /// Zeros in all that was written to.
    ///
    /// The second wipe writes to all of the stack. Pages that nothing was ever written to are one
    /// page of zeros of the kernel's, read at many addresses. Some processors keep it in the first
    /// level of the cache for one address at a time, and would fetch it anew for each. So a thread
    /// that calls again has memory for all of the stack.
    fn wipe(&mut self) {
        let (start, len) = (self.pages.as_ptr().as_ptr(), self.pages.len());
        // Frames that were left by an exception are poisoned still.
        poison::unpoison(start, len);
        let clean = match self.wipes {
            1 => 0,
            number if number % 2 == 0 => clean_below(self.pages.as_slice(), Order::Upwards),
            _ => clean_below(self.pages.as_slice(), Order::Downwards),
        };
        self.wipes = self.wipes.wrapping_add(1);
        // SAFETY: the pages are writable over their length, of which this is the end, and borrowed
        // exclusively.
        unsafe { memory_cleanse(start.add(clean), len - clean) };
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: neither is used again. valgrind forgets the stack before it is gone. There is
        // nothing in the pages but zeros.
        unsafe {
            ManuallyDrop::drop(&mut self.noted);
            ManuallyDrop::take(&mut self.pages).discard();
        }
    }
}

/// Runs the function and notes its outcome. A function for itself: its frame is gone, and the
/// registers that it had to preserve have their old values, when the others are cleared.
#[inline(never)]
fn run<R>(function: impl FnOnce() -> R, outcome: &mut Option<thread::Result<R>>) {
    *outcome = Some(catch_unwind(AssertUnwindSafe(function)));
}

/// The default size in bytes.
pub(super) const DEFAULT_SIZE: usize = 64 * 1024;

/// `size` in whole pages, or the default for 0.
pub(super) fn size_in_pages(size: usize) -> usize {
    let size = if size == 0 { DEFAULT_SIZE } else { size.max(MIN_SIZE) };
    size.checked_next_multiple_of(page_size()).unwrap_or(usize::MAX)
}
