//! Frees into the process-wide pool: by the thread that has allocated a chunk, and by any other.

use super::cache::CacheNumber;
use super::central::Central;
use super::current_heap::current_heap;
use super::heap::{Freed, Heap};
use super::lock::try_lock;
use super::pause::Pause;
use super::registry::{abandoned_heap, owner};
use super::remote_free::claim_exact;
use super::size_class::{MAX_SIZE, SizeClass, with_redzone};
use super::slab::Unit;
use super::thread::attach;
use crate::arena::FreeError;
use crate::arena_set::ARENA_ALIGN;
use crate::fork::Interrupted;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;

/// Frees and wipes a chunk of the process-wide pool in the common case: a small one that the
/// calling thread has allocated. All others are left to [`free`]: `None`. With `check`, the size
/// and alignment that it was allocated with.
///
/// # Safety
/// If `ptr` is a used chunk, nothing uses it any more.
#[inline(always)]
pub(crate) unsafe fn free_local(ptr: *mut u8, check: Option<(usize, usize)>) -> Option<()> {
    let heap = current_heap()?;
    if !heap.gate.enter() {
        return None;
    }
    // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is one.
    let freed = unsafe { heap.free_local(ptr.addr(), check.map(SizeClass::expected)) };
    if freed.is_none() {
        heap.gate.leave();
    }
    freed
}

/// Frees and wipes a chunk of the process-wide pool, whatever it is; `ptr` is not null.
///
/// # Safety
/// If `ptr` is a used chunk, nothing uses it any more.
#[inline(never)]
pub(crate) unsafe fn free(ptr: *mut u8, check: Option<(usize, usize)>) -> Result<(), FreeError> {
    let expected = check.map(SizeClass::expected);
    let alignment = check.map_or(1, |(_, alignment)| alignment);
    if let Some(heap) = current_heap() {
        if heap.gate.enter() {
            // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there
            // is one.
            let freed = unsafe { heap.free(ptr.addr(), expected, alignment, owner) };
            heap.gate.leave();
            match freed {
                Freed::Done => return Ok(()),
                Freed::Refused(error) => return Err(error),
                Freed::DoneTrim => {
                    trim(heap);
                    return Ok(());
                }
                Freed::Elsewhere => {}
            }
        }
    }
    // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is one.
    unsafe { free_slow(ptr, expected, check) }
}

/// Frees under the mutex what the calling thread's heap has not freed.
///
/// # Safety
/// If `ptr` is a used chunk, nothing uses it any more.
#[cold]
#[inline(never)]
unsafe fn free_slow(
    ptr: *mut u8,
    expected: Option<SizeClass>,
    check: Option<(usize, usize)>,
) -> Result<(), FreeError> {
    let mut central = try_lock().map_err(|Interrupted| FreeError::Interrupted)?;
    let alignment = check.map_or(1, |(_, alignment)| alignment);
    let place = central.tables.and_then(|tables| Some((tables, tables.find(ptr.addr())?)));
    let Some((tables, place)) = place else {
        // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is
        // one.
        return unsafe { central.free_exact(ptr, check) };
    };
    central.note_peak();
    // A thread that only frees needs a heap too: the next time, it will not have to come here.
    let own = current_heap().or_else(|| attach(&mut central, &tables));
    let heap = owner(place.owner & Unit::OWNER);
    let is_own = own.is_some_and(|own| own.number == heap.number);
    let mut pause = None;
    // The holder of the mutex uses heaps without a thread. With the abandoned one it frees into
    // slabs that are marked as shared.
    let is_usable = is_own || !heap.has_thread();
    let frees_for = if is_usable { Some(heap) } else { abandoned_heap() };
    let mut freed = match frees_for {
        // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is
        // one.
        Some(heap) => unsafe { heap.free(ptr.addr(), expected, alignment, owner) },
        None => Freed::Elsewhere,
    };
    let is_shared = place.owner & Unit::SHARED != 0;
    if !is_own && is_usable && !is_shared && !matches!(freed, Freed::Refused(_)) {
        // The next one will not need the mutex. The slab's owner has no thread, and so claims no
        // chunk at this moment.
        heap.share(place.slab);
    }
    if matches!(freed, Freed::Elsewhere) {
        pause = Some(Pause::begin());
        // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there is
        // one; the attempt above has freed nothing.
        freed = unsafe { heap.free(ptr.addr(), expected, alignment, owner) };
        if !matches!(freed, Freed::Refused(_)) {
            // The next one will not need a pause.
            heap.share(place.slab);
        }
    }
    match freed {
        Freed::Done => Ok(()),
        Freed::DoneTrim => {
            let pause = pause.unwrap_or_else(Pause::begin);
            central.trim(heap, &pause);
            Ok(())
        }
        Freed::Refused(error) => Err(error),
        Freed::Elsewhere => std::process::abort(),
    }
}

/// Gives back what a heap has too much of.
#[cold]
#[inline(never)]
fn trim(heap: &Heap) {
    // A signal handler that has interrupted the mutex's holder leaves that to another time.
    let Ok(mut central) = try_lock() else { return };
    let pause = Pause::begin();
    central.trim(heap, &pause);
}

impl Central {
    /// Frees and wipes a chunk that is no slot of a slab.
    ///
    /// # Safety
    /// If `ptr` is a used chunk, nothing uses it any more.
    unsafe fn free_exact(
        &mut self,
        ptr: *mut u8,
        check: Option<(usize, usize)>,
    ) -> Result<(), FreeError> {
        self.note_peak();
        let before = self.guarded.stats().total;
        if let Some(freed) = self.guarded.free(ptr.addr(), check) {
            // Arenas may lock as much more.
            self.arenas.refusal.note_unlocked(before - self.guarded.stats().total);
            return freed;
        }
        let empty = self.arenas.empty();
        let mut is_rounded_up = false;
        match self.tables.and_then(|tables| tables.exact_chunk(ptr.addr())) {
            Some((_, chunk)) if chunk.load(Relaxed) != 0 => {
                let class = Self::claim_exact(ptr, chunk, check)?;
                self.make_room(class);
                is_rounded_up = true;
            }
            _ => check.map_or(Ok(()), |check| self.check_exact(ptr, check))?,
        }
        self.look_for_excess();
        let freed = self.in_arenas(|arenas| {
            // SAFETY: the caller promises that nothing uses the chunk at `ptr` any more, if there
            // is one.
            unsafe { arenas.free(ptr, None) }
        });
        if self.arenas.empty() > empty {
            self.give_back_excess(None);
        }
        let size = freed?;
        if !is_rounded_up && (1..=MAX_SIZE).contains(&size) {
            if let Some(heap) = current_heap() {
                heap.exact.note_not_rounded_up(SizeClass::of_size(size));
            }
        }
        Ok(())
    }

    /// Takes an exact chunk with a class out of its entry in the table of chunks, and returns the
    /// class. With `check`, only if that is the class of a size and an alignment.
    fn claim_exact(
        ptr: *mut u8,
        chunk: &AtomicU8,
        check: Option<(usize, usize)>,
    ) -> Result<SizeClass, FreeError> {
        let byte = chunk.load(Relaxed);
        let class = SizeClass::of_number(CacheNumber::of_byte(byte).class_number());
        if byte == CacheNumber::FREE.byte() {
            return Err(FreeError::InvalidFree);
        }
        let has = |check @ (_, alignment): (usize, usize)| {
            SizeClass::expected(check) == class && ptr.addr() % alignment == 0
        };
        if check.is_some_and(|check| !has(check)) {
            return Err(FreeError::SizeMismatch);
        }
        if !claim_exact(chunk, byte, 0) {
            // Another thread was first.
            return Err(FreeError::InvalidFree);
        }
        Ok(class)
    }

    /// Whether a chunk may have been allocated with a size and an alignment. A chunk that was a
    /// slot of a dissolved slab has its class's size.
    fn check_exact(
        &self,
        ptr: *mut u8,
        (size, alignment): (usize, usize),
    ) -> Result<(), FreeError> {
        let Some(actual) = self.arenas.chunk_size(ptr) else { return Ok(()) };
        let wanted = with_redzone(size).checked_next_multiple_of(ARENA_ALIGN);
        let aligned = alignment.is_power_of_two() && ptr.addr() % alignment == 0;
        let was_slot =
            || SizeClass::for_request(size, alignment).is_some_and(|class| class.size() == actual);
        if aligned && size > 0 && (wanted == Some(actual) || was_slot()) {
            return Ok(());
        }
        Err(FreeError::SizeMismatch)
    }
}

#[cfg(test)]
mod tests {
    use super::super::alloc::alloc;
    use super::super::lock::lock;
    use super::*;
    use core::ptr;
    use std::sync::mpsc::channel;

    fn free_chunk(chunk: usize) {
        // SAFETY: only this test uses its chunks.
        unsafe { free(ptr::with_exposed_provenance_mut(chunk), None) }.unwrap();
    }

    #[test]
    fn no_thread_holds_slots_of_abandoned_slabs() {
        // A thread that allocates so often gets a heap, and a slab, which the last chunks are from.
        let allocate = || [(); 64].map(|()| alloc(48, 16).unwrap().as_ptr().expose_provenance());
        let mine = allocate();
        let Some(own) = current_heap() else {
            println!("skipped: threads have no heaps here");
            return mine.into_iter().for_each(free_chunk);
        };
        let ((send, chunks), (end, wait)) = (channel(), channel::<()>());
        let other = std::thread::spawn(move || {
            send.send(allocate()).unwrap();
            let _ = wait.recv();
        });
        let [rest @ .., first, second] = chunks.recv().unwrap();
        // With a pause, and from then on without one.
        free_chunk(first);
        free_chunk(second);
        assert!(own.has_remote_batch());
        drop(end);
        other.join().unwrap();
        // Now the slab is an orphan's, and its owner has the same number as before.
        assert!(own.has_remote_batch());
        lock().abandon_orphans(&Pause::begin());
        assert!(!own.has_remote_batch());
        rest.into_iter().chain(mine).for_each(free_chunk);
    }
}
