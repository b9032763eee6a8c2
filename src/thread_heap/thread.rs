//! How a thread gets a heap, and what becomes of the heap when the thread ends.

use super::central::Central;
use super::chunk_table::Tables;
use super::current_heap::{self, current_heap};
use super::heap::Heap;
use super::lock::try_lock;
use super::pause::heaps_are_closed;
use super::supply::COMPACT_BELOW;
use crate::sys::{Process, System};

std::thread_local! {
    static DETACH: Detach = const { Detach };
}

/// Gives the thread's heap up when the thread ends.
struct Detach;

impl Drop for Detach {
    fn drop(&mut self) {
        let heap = current_heap();
        // Later destructors of this thread do without.
        current_heap::give_up();
        if System::has_ended_threads() {
            // One of them may have been in the pool, which is then never in order again.
            return;
        }
        if let Some(heap) = heap {
            // Fails when the process exits in a signal handler that has interrupted the pool.
            let Ok(mut central) = try_lock() else { return };
            central.retire(heap);
        }
    }
}

/// Gives the calling thread, which has none, a heap, if it may have one and has come here often
/// enough.
pub(super) fn attach(central: &mut Central, tables: &Tables) -> Option<&'static Heap> {
    if !central.concurrent
        || heaps_are_closed()
        || !current_heap::may_have_one()
        || central.lock_limit < COMPACT_BELOW
        || !current_heap::has_called_enough()
    {
        return None;
    }
    central.note_peak();
    if DETACH.try_with(|_| ()).is_err() {
        current_heap::give_up();
        return None;
    }
    let heap = central.heap_for_thread(tables)?;
    central.sample(heap);
    if crate::fork::is_under_way() {
        // Until the fork is over, this thread's heap is closed too.
        heap.gate.close();
    }
    central.enlist(heap);
    current_heap::set(heap);
    Some(heap)
}
