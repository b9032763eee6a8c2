//! Calls a function on another stack than the thread's.
//!
//! The crate `corosensei` switches: its assembly has the unwinding information by which debuggers
//! and backtraces find the way from one stack to the other. It is used on the processors whose
//! registers `secret_stack` clears. Windows keeps the bounds of a thread's stack in the thread's
//! block, and OpenBSD has to be told which memory is a stack, so neither is among the systems here.

#[cfg(all(
    unix,
    not(target_os = "openbsd"),
    target_pointer_width = "64",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
mod switch {
    use core::num::NonZeroUsize;
    use core::ptr::NonNull;
    use corosensei::stack::valgrind::ValgrindStackRegistration;
    use corosensei::stack::{Stack, StackPointer};

    pub(crate) const CAN_SWITCH_STACKS: bool = true;

    /// The stack for one call.
    struct Bounds {
        top: StackPointer,
        bottom: StackPointer,
    }

    // SAFETY: `call_on_stack`'s caller says that the memory is one stack's, with a guard page below
    // it.
    unsafe impl Stack for Bounds {
        fn base(&self) -> StackPointer {
            self.top
        }

        fn limit(&self) -> StackPointer {
            self.bottom
        }
    }

    pub(crate) unsafe fn call_on_stack(bottom: NonNull<u8>, len: usize, function: impl FnOnce()) {
        let bottom = bottom.as_ptr().expose_provenance();
        let stack = NonZeroUsize::new(bottom)
            .zip(NonZeroUsize::new(bottom + len))
            .map(|(bottom, top)| Bounds { top, bottom });
        if let Some(stack) = stack {
            corosensei::on_stack(stack, function);
        }
    }

    /// While it lives, valgrind takes some memory for a stack.
    #[derive(Debug)]
    pub(crate) struct NotedStack {
        _registration: ValgrindStackRegistration,
    }

    impl NotedStack {
        pub(crate) fn new(bottom: NonNull<u8>, len: usize) -> Self {
            Self { _registration: ValgrindStackRegistration::new(bottom.as_ptr(), len) }
        }
    }
}

#[cfg(not(all(
    unix,
    not(target_os = "openbsd"),
    target_pointer_width = "64",
    any(target_arch = "aarch64", target_arch = "x86_64")
)))]
mod switch {
    use core::ptr::NonNull;

    pub(crate) const CAN_SWITCH_STACKS: bool = false;

    pub(crate) unsafe fn call_on_stack(_: NonNull<u8>, _: usize, _: impl FnOnce()) {}

    #[derive(Debug)]
    pub(crate) struct NotedStack;

    impl NotedStack {
        pub(crate) fn new(_: NonNull<u8>, _: usize) -> Self {
            Self
        }
    }
}

/// Whether [`call_on_stack`] does its work here. Where it is `false`, nothing may call that.
pub(crate) use switch::CAN_SWITCH_STACKS;
/// While a value lives, valgrind takes some memory for a stack. Does nothing else.
pub(crate) use switch::NotedStack;

/// Calls a function on a stack of `len` bytes from `bottom` on, both multiples of the page size,
/// and comes back. Neither a system call nor a lock.
///
/// # Safety
/// The caller must own the memory, which must be writable, of at least 4096 bytes, with an
/// inaccessible page below it. The function must not panic. [`CAN_SWITCH_STACKS`] must be true.
pub(crate) use switch::call_on_stack;
