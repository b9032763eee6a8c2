//! The secret stack: a function runs on a stack in locked memory, and leaves nothing behind.
//!
//! `call` has the public functions, and the order of the steps. `stack` is one stack: it switches
//! to it, and wipes it afterwards. `kept` has the stacks that a thread keeps for its next calls,
//! and decides which are locked. `depth` finds how far down a stack was used. `registers` clears
//! the registers of the processor. What is needed of the operating system is in
//! [`sys`](crate::sys), the memory comes from [`pages`](crate::pages).
//!
//! # What holds
//! - A stack that is in no call holds zeros from end to end. So any thread may unlock it.
//! - A stack that is in a call stays locked or unlocked, as it was when the call began.
//! - A stack belongs to the thread that mapped it, and only that thread runs on it. Nested calls
//!   run on different stacks.
//! - No panic crosses the switch: it is caught on the secret stack and goes on outside.
//! - The registers are cleared twice: while the thread is still on the secret stack, so that a
//!   signal never finds a secret in them on the ordinary stack; and after the wipe, which looks at
//!   the stack.

mod call;
mod depth;
mod error;
mod kept;
mod registers;
mod stack;

pub use call::{SecretStack, on_secret_stack};
pub use error::SecretStackError;
