//! Calls functions on secret stacks.

use super::error::SecretStackError;
use super::kept;
use super::stack::{DEFAULT_SIZE, size_in_pages};
use crate::pages::{LockError, own_stack_lock_state};
use std::panic::resume_unwind;

/// Calls a function on a secret stack of the default size ([`SecretStack::DEFAULT_SIZE`]), and
/// returns what it returns. The stack is locked as far as there is room ([`SecretStack::run`] says
/// how much), left out of core dumps, and between guard pages. Afterwards nothing that the function
/// had on its stack or in registers is left: the stack is wiped, and the registers are cleared.
/// That holds for a panic too, which comes to the caller as usual.
///
/// ```
/// use bitcoin_support::{SecureBox, on_secret_stack};
///
/// let seed = SecureBox::<[u8; 32]>::random();
/// // The sums in between are on the secret stack, and the result goes straight to locked memory.
/// let key = on_secret_stack(|| {
///     SecureBox::<[u8; 32]>::new_with(|key| {
///         for (at, byte) in key.iter_mut().enumerate() {
///             *byte = seed.expose_secret()[at].wrapping_mul(167).rotate_left(3);
///         }
///     })
/// });
/// # assert_eq!(key.expose_secret().len(), 32);
/// ```
///
/// # What stays outside
/// - What the function returns, and what it captures by value, pass over the ordinary stack. So let
///   it borrow its input, and let it put its results where they stay.
/// - What the function puts on the ordinary heap, and what it hands to other threads.
/// - The message of a panic is on the heap.
///
/// # What the function may do
/// Anything that it may do on a thread's own stack, within the size: use pools, call this function
/// again (it runs on a further stack), panic, fork, exit. A stack that is too small is a SIGSEGV at
/// the guard page. It must not leave by `longjmp` or `pthread_exit`, and its thread must not be
/// cancelled in it. A signal handler must not call this function. In a handler that
/// interrupts the function, [`wipe_everything`](crate::wipe_everything) leaves alone what it would
/// return to. When the function has returned, it wipes all of the stack.
///
/// # Cost
/// See [`SecretStack::run`].
///
/// # Panics
/// When there is no secret stack; [`SecretStack::run`] returns the reason instead. The function has
/// not been called then.
#[track_caller]
pub fn on_secret_stack<R>(function: impl FnOnce() -> R) -> R {
    match SecretStack::new().run(function) {
        Ok(result) => result,
        Err(error) => panic!("{error}"),
    }
}

/// Which secret stack a function is to have.
///
/// ```
/// use bitcoin_support::SecretStack;
///
/// let sum = SecretStack::new().size(1 << 20).run(|| 6 * 7)?;
/// assert_eq!(sum, 42);
/// # Ok::<(), bitcoin_support::SecretStackError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecretStack {
    /// In bytes; 0 for the default.
    size: usize,
    require_lock: bool,
}

impl SecretStack {
    /// The size in bytes that a stack has unless another one is chosen.
    pub const DEFAULT_SIZE: usize = DEFAULT_SIZE;

    /// A stack of the default size. If it is not locked, the function runs all the same, as secrets
    /// in the pool lie in unlocked memory then: [`lock_state`](Self::lock_state) tells.
    pub const fn new() -> Self {
        Self { size: 0, require_lock: false }
    }

    /// Another size in bytes, which is rounded up to whole pages; at least 32 KiB. 0 is the
    /// default.
    pub const fn size(mut self, size: usize) -> Self {
        self.size = size;
        self
    }

    /// No stack that is not locked: it is locked also beyond an eighth of the limit, the
    /// process-wide pool gives back what it has free if that is necessary, and [`run`](Self::run)
    /// fails if it cannot be locked.
    pub const fn require_lock(mut self) -> Self {
        self.require_lock = true;
        self
    }

    /// Calls a function on such a stack: see [`on_secret_stack`].
    ///
    /// A thread's first call maps the stack, which takes some ten system calls. A thread keeps up
    /// to two stacks of up to 256 KiB for further calls. Such a call takes less than a microsecond
    /// with the default size, and about half of that with half the size: the wipe writes to what
    /// was used, and looks at the rest. There is no lock on the way. From a thread's second call
    /// on, the stack is in memory as a whole.
    ///
    /// Stacks count against the limit on locked memory. A stack is locked if the locked stacks of
    /// all calls under way have, with this one, no more than an eighth of what the process may
    /// lock; at a limit of 64 KiB none is, unless it is [required](Self::require_lock). Kept stacks
    /// hold zeros. They are unlocked where a stack in a call, or memory for a secret, has no room
    /// otherwise. A stack that is not locked is locked at its next call, if there is room by then;
    /// such a call takes a few system calls more.
    ///
    /// # Errors
    /// Where the library cannot do it ([`SecretStackError::NotAvailable`]), and when there is no
    /// such memory. The function has not been called then.
    pub fn run<R>(self, function: impl FnOnce() -> R) -> Result<R, SecretStackError> {
        let mut stack = kept::take(size_in_pages(self.size), self.require_lock)?;
        let outcome = stack.call(function);
        kept::put_back(stack);
        outcome.map_or_else(|panic| resume_unwind(panic), Ok)
    }

    /// Whether the secret stack that the caller runs on is locked, and if not, why (`errno` is 0 if
    /// no lock was tried, as the stacks that are locked have their part of the limit). `None` if it
    /// does not run on one. Takes a step for each mapping of the library.
    pub fn lock_state() -> Option<Result<(), LockError>> {
        own_stack_lock_state()
    }
}
