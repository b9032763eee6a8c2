//! The stacks that a thread keeps for its next calls, and which stacks are locked.
//!
//! To map a stack takes thousands of times as long as to switch to it. So each thread keeps the two
//! that it has used last, for calls and for calls within those. A thread that ends gives its stacks
//! back.
//!
//! Secrets in pools need locked memory too, and have to find it. So all stacks together take a part
//! of the limit on it, and a call beyond that has a stack that is not locked, unless it requires
//! one. Stacks that are in no call hold zeros: `pages` unlocks them where a secret would go without
//! locked memory. A stack that is not locked is locked for the next call for which there is room.

use super::error::SecretStackError;
use super::stack::Stack;
use crate::pages::{PagesError, effective_lock_limit};
use crate::thread_heap;
use core::cell::Cell;

/// Larger stacks are not kept.
const MAX_KEPT: usize = 256 * 1024;

/// A stack is locked unasked if all stacks that are locked, with this one, have no more than this
/// part of what the process may lock.
const PART_OF_LIMIT: usize = 8;

std::thread_local! {
    static KEPT: [Cell<Option<Stack>>; 2] = const { [const { Cell::new(None) }; 2] };
}

/// A stack for a call of the calling thread, in use: one that it has kept, or a new one. (A larger
/// one than it asks for would do, but a call looks through all of it.)
pub(super) fn take(size: usize, require_lock: bool) -> Result<Stack, SecretStackError> {
    let kept = KEPT.try_with(|places| {
        places.iter().find_map(|place| {
            let stack = place.take()?;
            if stack.len() == size {
                return Some(stack);
            }
            place.set(Some(stack));
            None
        })
    });
    let stack = match kept {
        Ok(Some(stack)) => stack,
        _ => Stack::map(size)?,
    };
    stack.begin_call();
    match lock(&stack, require_lock) {
        Ok(()) => Ok(stack),
        Err(error) => {
            put_back(stack);
            Err(error)
        }
    }
}

/// Locks a stack that is in use, if it is not locked: as far as there is room, or for certain.
fn lock(stack: &Stack, require_lock: bool) -> Result<(), SecretStackError> {
    if stack.is_locked() {
        return Ok(());
    }
    if !require_lock {
        // The function runs on it all the same, and can ask.
        let _ = stack.lock(effective_lock_limit() / PART_OF_LIMIT);
        return Ok(());
    }
    let locked = stack.lock(usize::MAX).or_else(|error| {
        // The process-wide pool may have locked memory that it does not use.
        if thread_heap::give_back() { stack.lock(usize::MAX) } else { Err(error) }
    });
    locked.map_err(|error| PagesError::from(error).into())
}

/// Ends the use of a stack, which holds zeros. Keeps it, if there is a place for it, or gives it
/// back to the system. In a thread that is ending there is no place any more.
pub(super) fn put_back(stack: Stack) {
    stack.end_call();
    if stack.len() > MAX_KEPT {
        return;
    }
    let _ = KEPT.try_with(|[last, before]| {
        // The one before the last is given back, when there are three.
        if let Some(other) = last.replace(Some(stack)) {
            before.set(Some(other));
        }
    });
}
