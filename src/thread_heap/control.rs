//! What a program asks of the process-wide pool besides chunks: figures, options, samples, and
//! memory given back.

use super::lock::{LOCKING_FAILED, lock, try_lock};
use super::pause::Pause;
use super::registry::live_heaps;
use crate::arena_set::{ChunkList, LockingFailed, MemoryOptions, PoolStats, set_callee};
use crate::pages::{self, LockedPages, MapError, PagesError, Place};
use crate::sys::{Hardening, NotHardened, System};
use core::num::NonZeroU32;

/// What the pool holds now: all threads are paused for it.
pub(crate) fn stats() -> PoolStats {
    let mut central = lock();
    let pause = Pause::begin();
    central.stats(&pause)
}

/// Visits every chunk that there is at one moment: small ones slab by slab, then large ones. A
/// slab's free slots are chunks. Ends when `visit` returns `false`. Returns `false` where there is
/// no memory for a list of them; then nothing is visited.
pub(crate) fn walk(visit: &mut dyn FnMut(usize, usize, bool) -> bool) -> bool {
    let mut central = lock();
    let pause = Pause::begin();
    let Some(mut chunks) = ChunkList::with_room_for(&central.stats(&pause)) else { return false };
    central.list_chunks(&pause, &mut |addr, size, used| chunks.push(addr, size, used));
    drop(pause);
    drop(central);
    chunks.visit(visit);
    true
}

/// Samples one in `one_in` allocations from now on, as far as `max_locked` bytes go.
pub(crate) fn sample(one_in: Option<NonZeroU32>, max_locked: usize) -> Result<(), MapError> {
    // It has to be random, and is no secret.
    let seed = getrandom::u64().unwrap_or(0);
    let mut central = lock();
    if one_in.is_some() {
        central.guarded.prepare()?;
    }
    central.guarded.max_locked = max_locked;
    central.guarded.state = seed;
    central.one_in = one_in;
    central.seed = !seed;
    central.sampler.set(one_in, seed.rotate_left(32));
    let _pause = Pause::begin();
    live_heaps().for_each(|heap| central.sample(heap));
    Ok(())
}

/// Whether anything has been allocated.
pub(crate) fn is_in_use() -> bool {
    let central = lock();
    central.is_set_up || central.arenas.is_in_use
}

/// Sets options before anything has been allocated; `false` afterwards.
pub(crate) fn configure(memory: MemoryOptions) -> bool {
    let mut central = lock();
    if central.is_set_up || central.arenas.is_in_use {
        return false;
    }
    central.arenas.memory = memory;
    true
}

/// Has the kernel refuse, for good, to unmap, replace or change the access to the pool's tables and
/// arenas and the guard pages around these, also those that are mapped later. The pool gives no
/// memory back to the system from then on.
///
/// # Errors
/// When the system has no such call, or refuses it: nothing changes then. When there is no memory
/// for some of it: the rest is sealed, and what is mapped later is too.
pub(crate) fn seal() -> Result<(), NotHardened> {
    System::can_seal()?;
    let sealed = pages::seal_registry();
    let mut central = lock();
    sealed.and(central.seal())
}

/// Locked pages as the pool's are, for a secret that no arena can hold.
pub(crate) fn locked_pages(len: usize) -> Option<LockedPages> {
    let mut central = try_lock().ok()?;
    let arenas = &mut central.arenas;
    arenas.is_in_use = true;
    // The mutex is held, so that no fork comes between: its child would have the file that secret
    // memory is made of.
    let mut pages = arenas.map_at(Place::anywhere(len), true);
    if !matches!(pages, Ok(_) | Err(PagesError::Protections(_))) && central.give_back_all() {
        pages = central.arenas.map_at(Place::anywhere(len), true);
    }
    let pages = pages.ok()?;
    central.arenas.stats.missing_protections.note(pages.refusals());
    Some(pages)
}

/// Gives back all memory in which there is no chunk, for another pool that can lock no more;
/// returns whether there was any.
pub(crate) fn give_back() -> bool {
    try_lock().is_ok_and(|mut central| central.give_back_all())
}

/// Sets the callback that decides about unlocked memory. The old one is dropped while no mutex is
/// held.
pub(crate) fn set_locking_failed(callback: Option<LockingFailed>) {
    let mut central = lock();
    central.arenas.consent.asks = callback.is_some();
    drop(central);
    if let Some(callback) = set_callee(&LOCKING_FAILED, callback) {
        let old = lock().arenas.consent.pending.replace(callback);
        drop(old);
    }
}
