//! The stacks that a thread keeps for its next calls.
//!
//! To map a stack takes thousands of times as long as to switch to it. So each thread keeps the two
//! that it has used last, for calls and for calls within those. What all threads have together is
//! bounded by the limit on locked memory: secrets in pools need it too. A thread that ends gives
//! its stacks back.

use super::error::SecretStackError;
use super::stack::Stack;
use crate::pages::{effective_lock_limit, stacks_of_threads};
use core::cell::Cell;

/// Larger stacks are not kept.
const MAX_KEPT: usize = 256 * 1024;

/// All threads together have no more than this part of what the process may lock when another stack
/// is kept.
const PART_OF_LIMIT: usize = 8;

std::thread_local! {
    static KEPT: [Cell<Option<Kept>>; 2] = const { [const { Cell::new(None) }; 2] };
}

/// A stack, and whether it has been found to be within the bound.
pub(super) struct Kept {
    pub(super) stack: Stack,
    is_within_bound: bool,
}

/// A stack for the calling thread: one that it has kept, or a new one.
pub(super) fn take(size: usize, require_lock: bool) -> Result<Kept, SecretStackError> {
    let kept = KEPT.try_with(|places| {
        places.iter().find_map(|place| {
            let kept = place.take()?;
            if kept.stack.serves(size, require_lock) {
                return Some(kept);
            }
            place.set(Some(kept));
            None
        })
    });
    match kept {
        Ok(Some(kept)) => Ok(kept),
        _ => Ok(Kept { stack: Stack::map(size, require_lock)?, is_within_bound: false }),
    }
}

/// Keeps a stack, if there is a place for it, or gives it back to the system. In a thread that is
/// ending there is none any more.
pub(super) fn put_back(mut kept: Kept) {
    if !kept.is_within_bound {
        let bound = effective_lock_limit() / PART_OF_LIMIT;
        if kept.stack.len() > MAX_KEPT || stacks_of_threads() > bound {
            return;
        }
        kept.is_within_bound = true;
    }
    let _ = KEPT.try_with(|[last, before]| {
        // The one before the last is given back, when there are three.
        if let Some(other) = last.replace(Some(kept)) {
            before.set(Some(other));
        }
    });
}
