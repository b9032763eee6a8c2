//! Sampled chunks: each lies in pages that no other chunk uses, between guard pages.
//!
//! All of this is used under the mutex of the process-wide pool, but for [`describe_address`].
//!
//! A chunk lies at the right end of its pages, so that an overrun faults, or at the left end, so
//! that an access in front of it faults. Chance decides. The rest of the pages holds a pattern,
//! which is compared when the chunk is freed. (Behind a chunk at the right end up to 15 bytes are
//! left, since chunks begin at multiples of 16.)
//!
//! When a chunk is freed, its pages are wiped and given back to the system. Their addresses stay
//! inaccessible until all other slots have been used, so that a late access still faults. That
//! costs addresses and no memory. In a child process that its parent's chunks are absent from,
//! their slots are not used again: to free such a chunk does nothing there.
//!
//! (The idea is Electric Fence's, of 1987. GWP-ASan does it to a few allocations in production:
//! Serebryany et al., "GWP-ASan: Sampling-Based Detection of Memory-Safety Bugs in Production",
//! ICSE-SEIP 2024.)

use super::address_report::AddressReport;
use super::sampler::random;
use crate::arena::FreeError;
use crate::arena_set::{ARENA_ALIGN, ARENA_SIZE, ArenaSet, PoolStats};
use crate::leak::leak;
use crate::pages::{self, AddressRange, ForkPolicy, LockError, LockedPages, MapError};
use crate::sys::{System, Threads};
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize};
use std::collections::VecDeque;

/// The pattern next to a chunk: not 0, as an overrun by the end of a string writes a 0.
const PATTERN: u8 = 0xd5;

/// Number of slots for chunks of up to a page, and of slots for larger ones; fewer where addresses
/// are scarce.
const SLOTS: [usize; 2] = if cfg!(target_pointer_width = "64") { [4096, 64] } else { [512, 16] };
const FEWEST_SLOTS: usize = 8;

/// What is known of a slot. A thread may look at it without the mutex, and in a signal handler,
/// while it changes.
#[derive(bytemuck::Zeroable)]
struct Slot {
    /// Address of the last chunk in this slot, used or freed; 0 if there was none.
    chunk: AtomicUsize,
    size: AtomicUsize,
    allocated_by: AtomicU32,
    freed_by: AtomicU32,
    used: AtomicBool,
}

/// Slots for chunks of up to so many bytes, at equal distances: a guard page, pages for a chunk,
/// and the next slot's guard page.
struct Row {
    base: usize,
    stride: usize,
    slots: &'static [Slot],
}

/// The rows for smaller and for larger chunks, for [`describe_address`]. Each is set once and never
/// freed.
static ROWS: [AtomicPtr<Row>; 2] = [const { AtomicPtr::new(ptr::null_mut()) }; 2];

impl Row {
    fn contains(&self, addr: usize) -> bool {
        addr.wrapping_sub(self.base) < self.slots.len() * self.stride + pages::page_size()
    }

    /// The slot in whose pages an address lies, or the last one if it is in the guard page behind
    /// that.
    fn number(&self, addr: usize) -> usize {
        (addr.wrapping_sub(self.base) / self.stride).min(self.slots.len() - 1)
    }

    fn describe(&self, addr: usize) -> Option<AddressReport> {
        let number = self.number(addr);
        // A guard page belongs to the slot on its left as well.
        let near = [Some(number), number.checked_sub(1)];
        let reports = near.into_iter().flatten().filter_map(|number| {
            let slot = &self.slots[number];
            let (chunk, size) = (slot.chunk.load(Relaxed), slot.size.load(Relaxed));
            let used = slot.used.load(Relaxed);
            (chunk != 0).then(|| AddressReport {
                chunk,
                size,
                offset: addr.wrapping_sub(chunk) as isize,
                allocated_by: slot.allocated_by.load(Relaxed),
                freed_by: (!used).then(|| slot.freed_by.load(Relaxed)),
                closed: None,
            })
        });
        reports.min_by_key(|report| match usize::try_from(report.offset) {
            Ok(offset) => offset.saturating_sub(report.size),
            Err(_) => report.offset.unsigned_abs(),
        })
    }
}

/// What an address means that lies in or near a sampled chunk, used or freed. For signal handlers:
/// takes no lock, allocates nothing and makes no system call.
pub(crate) fn describe_address(addr: usize) -> Option<AddressReport> {
    ROWS.iter().find_map(|row| {
        // SAFETY: null, or a row that has been leaked.
        let row = unsafe { row.load(Acquire).as_ref() }?;
        row.contains(addr).then(|| row.describe(addr))?
    })
}

/// The pages of a chunk.
struct Mapped {
    pages: LockedPages,
    /// Whether a child process finds zeros in them.
    wiped_in_child: bool,
    /// The process that has mapped them, see [`this_process`].
    process: (u32, u32),
    /// What [`pages::wipes`] was then.
    wipes: u32,
}

/// A row, and what only the holder of the mutex uses.
struct Slots {
    row: &'static Row,
    range: AddressRange,
    /// By slot: the pages of a chunk that is used, or whose memory has stayed with the parent
    /// process.
    pages: Vec<Option<Mapped>>,
    /// The numbers of the other slots, those that have been free for longest first.
    free: VecDeque<u32>,
}

impl Slots {
    /// Up to `count` slots for chunks of `len` bytes, a multiple of the page size.
    fn new(mut count: usize, len: usize) -> Result<Self, MapError> {
        let page = pages::page_size();
        let stride = len + page;
        loop {
            let bytes = count * stride + page;
            let range = match AddressRange::reserve(bytes) {
                Ok(range) if bytes <= pages::address_limit() / 16 || count <= FEWEST_SLOTS => range,
                Err(error) if count <= FEWEST_SLOTS => return Err(error),
                outcome => {
                    if let Ok(range) = outcome {
                        // SAFETY: nothing has been placed in the range.
                        unsafe { range.release() };
                    }
                    count /= 2;
                    continue;
                }
            };
            let base = range.addr().as_ptr().expose_provenance();
            let (mut pages, mut free) = (Vec::new(), VecDeque::new());
            let room =
                pages.try_reserve_exact(count).is_ok() && free.try_reserve_exact(count).is_ok();
            let slots = if room { pages::zeroed_table(count).ok() } else { None };
            let row = slots.and_then(|slots| leak(Row { base, stride, slots }));
            let Some(row) = row else {
                // SAFETY: nothing has been placed in the range.
                unsafe { range.release() };
                return Err(MapError::no_memory());
            };
            pages.resize_with(count, || None);
            free.extend(0..count as u32);
            return Ok(Self { row, range, pages, free });
        }
    }

    /// New pages of `len` bytes at the slot that has been free for longest, if they can be locked;
    /// with the number of the slot. A quarter of the slots stays free, so that there always are
    /// some that have not been used for a while.
    fn place(&mut self, len: usize, state: &mut ArenaSet) -> Option<(usize, LockedPages)> {
        if self.free.len() <= self.pages.len() / 4 {
            return None;
        }
        let number = *self.free.front()? as usize;
        let offset = number * self.row.stride + pages::page_size();
        // SAFETY: the slot's pages lie in the range, and the slot is free. No slot reaches the
        // guard page behind it.
        let place = unsafe { self.range.place(offset, len) };
        let pages = state.map_at(place, true).ok()?;
        // What was refused stays known after the sample is freed.
        state.stats.missing_protections.note(pages.refusals());
        self.free.pop_front();
        Some((number, pages))
    }
}

/// A used chunk and its pages.
struct Placed<'a> {
    mapped: &'a Mapped,
    /// Offset of the chunk in its pages in bytes.
    start: usize,
    size: usize,
}

impl Placed<'_> {
    /// Length of the chunk in bytes, padding included.
    fn rounded(&self) -> usize {
        match self.start {
            0 => self.size.next_multiple_of(ARENA_ALIGN),
            start => self.mapped.pages.len() - start,
        }
    }

    /// Whether all bytes around it still hold the pattern, or zeros where this library may have
    /// wiped them.
    fn is_intact(&self) -> bool {
        let bytes = self.mapped.pages.as_slice();
        let mut around = bytes[..self.start].iter().chain(&bytes[self.start + self.size..]);
        if self.may_have_been_wiped() {
            around.all(|&byte| byte == PATTERN || byte == 0)
        } else {
            around.fold(0, |sum, byte| sum | (byte ^ PATTERN)) == 0
        }
    }

    fn may_have_been_wiped(&self) -> bool {
        let Mapped { wiped_in_child, process, wipes, .. } = *self.mapped;
        pages::wipes() != wipes || wiped_in_child && process != crate::fork::this_process()
    }
}

/// All sampled chunks.
pub(super) struct Guarded {
    /// For chunks of a page, and for larger ones.
    slots: Option<[Slots; 2]>,
    /// What sampled chunks add to the pool's figures. Each counts as an arena with a used chunk and
    /// a free one.
    stats: PoolStats,
    /// The most bytes that may be locked for them.
    pub(super) max_locked: usize,
    /// See [`random`].
    pub(super) state: u64,
    /// The number of forks that the figures know of.
    forks: u32,
}

impl Guarded {
    pub(super) const fn new() -> Self {
        Self { slots: None, stats: PoolStats::NOTHING, max_locked: 0, state: 0, forks: 0 }
    }

    /// Sets addresses aside, at the first call.
    pub(super) fn prepare(&mut self) -> Result<(), MapError> {
        if self.slots.is_none() {
            let page = pages::page_size();
            let largest = ARENA_SIZE.next_multiple_of(page);
            let small = Slots::new(SLOTS[0], page)?;
            let slots = match Slots::new(SLOTS[1], largest) {
                Ok(large) => [small, large],
                Err(error) => {
                    // SAFETY: nothing has been placed in the range.
                    unsafe { small.range.release() };
                    return Err(error);
                }
            };
            for (slots, place) in slots.iter().zip(&ROWS) {
                place.store(ptr::from_ref(slots.row).cast_mut(), Release);
            }
            self.slots = Some(slots);
        }
        Ok(())
    }

    pub(super) fn stats(&self) -> &PoolStats {
        &self.stats
    }

    /// Allocates a chunk in pages with the same options as the pool's. `None` when there is no slot
    /// for it, or no more may be locked: samples take at most half of what the process may lock.
    pub(super) fn alloc(
        &mut self,
        size: usize,
        alignment: usize,
        pool: &mut ArenaSet,
    ) -> Option<NonNull<u8>> {
        let page = pages::page_size();
        if alignment > page {
            return None;
        }
        let padded = size.checked_next_multiple_of(alignment.max(ARENA_ALIGN))?;
        let len = padded.checked_next_multiple_of(page)?;
        if len > self.max_locked.min(pages::lock_limit() / 2).saturating_sub(self.stats.total) {
            return None;
        }
        let slots = &mut self.slots.as_mut()?[usize::from(len > page)];
        let (number, mut pages) = slots.place(len, pool)?;
        let start = if random(&mut self.state) % 2 == 0 { len - padded } else { 0 };
        let wipes = pages::wipes();
        let bytes = pages.as_mut_slice();
        bytes[..start].fill(PATTERN);
        bytes[start + size..].fill(PATTERN);
        // SAFETY: `start` is less than the length of the pages.
        let chunk = unsafe { pages.as_ptr().add(start) };
        let wiped_in_child = pool.memory.fork == ForkPolicy::Wipe;
        let mapped = Mapped { pages, wiped_in_child, process: crate::fork::this_process(), wipes };
        count(&Placed { mapped: &mapped, start, size }, &mut self.stats, usize::wrapping_add);
        let slot = &slots.row.slots[number];
        slot.chunk.store(chunk.as_ptr().expose_provenance(), Relaxed);
        slot.size.store(size, Relaxed);
        slot.allocated_by.store(System::thread_number(), Relaxed);
        slot.used.store(true, Relaxed);
        slots.pages[number] = Some(mapped);
        Some(chunk)
    }

    /// Frees and wipes the chunk at an address; `None` if the address belongs to no slot. Nothing
    /// uses the chunk any more.
    pub(super) fn free(
        &mut self,
        addr: usize,
        check: Option<(usize, usize)>,
    ) -> Option<Result<(), FreeError>> {
        let mut all = self.slots.iter_mut().flatten();
        let slots = all.find(|slots| slots.row.contains(addr))?;
        let number = slots.row.number(addr);
        let slot = &slots.row.slots[number];
        let (chunk, size) = (slot.chunk.load(Relaxed), slot.size.load(Relaxed));
        let place = &mut slots.pages[number];
        let placed = match place {
            // The memory has stayed with the parent process.
            Some(mapped) if mapped.pages.is_absent() => return Some(Ok(())),
            Some(mapped) if chunk == addr => {
                Placed { start: addr - mapped.pages.as_ptr().addr().get(), size, mapped }
            }
            _ => return Some(Err(FreeError::InvalidFree)),
        };
        if check.is_some_and(|check| !agrees(check, size, addr)) {
            return Some(Err(FreeError::SizeMismatch));
        }
        let intact = placed.is_intact();
        count(&placed, &mut self.stats, usize::wrapping_sub);
        // From here on the pages are wiped, unlocked and inaccessible.
        *place = None;
        slot.freed_by.store(System::thread_number(), Relaxed);
        slot.used.store(false, Relaxed);
        slots.free.push_back(number as u32);
        Some(if intact { Ok(()) } else { Err(FreeError::Overrun) })
    }

    fn used(&self) -> impl Iterator<Item = Placed<'_>> {
        self.slots.iter().flatten().flat_map(|slots| {
            slots.row.slots.iter().zip(&slots.pages).filter_map(|(slot, pages)| {
                let mapped = pages.as_ref().filter(|mapped| !mapped.pages.is_absent())?;
                let start = slot.chunk.load(Relaxed) - mapped.pages.as_ptr().addr().get();
                Some(Placed { mapped, start, size: slot.size.load(Relaxed) })
            })
        })
    }

    /// Calls `visit` with each chunk, and with the rest of its pages as a free one.
    pub(super) fn walk(&self, visit: &mut dyn FnMut(usize, usize, bool)) {
        for placed in self.used() {
            let (base, rounded) = (placed.mapped.pages.as_ptr().addr().get(), placed.rounded());
            visit(base + placed.start, rounded, true);
            let (rest, at) = rest(&placed);
            if rest > 0 {
                visit(base + at, rest, false);
            }
        }
    }

    /// Brings the figures up to date with what a fork has made of the memory. Does nothing unless
    /// this is a child process in which it has not been called yet. Returns why a page could not be
    /// locked again, if so.
    pub(super) fn catch_up(&mut self) -> Option<LockError> {
        let forks = crate::fork::generation();
        if self.forks == forks {
            return None;
        }
        let (mut stats, mut refusal) = (PoolStats::NOTHING, None);
        for placed in self.used() {
            count(&placed, &mut stats, usize::wrapping_add);
            refusal = placed.mapped.pages.lock_state().err().or(refusal);
        }
        (self.stats, self.forks) = (stats, forks);
        refusal
    }
}

/// Length of the free part of a chunk's pages, and its offset in them, in bytes.
fn rest(placed: &Placed<'_>) -> (usize, usize) {
    let rest = placed.mapped.pages.len() - placed.rounded();
    (rest, if placed.start == 0 { placed.rounded() } else { 0 })
}

/// Adds a chunk and its pages to the figures, or takes them away.
fn count(placed: &Placed<'_>, stats: &mut PoolStats, change: fn(usize, usize) -> usize) {
    let pages = &placed.mapped.pages;
    let (len, (rest, _)) = (pages.len(), rest(placed));
    let part = |is: bool| if is { len } else { 0 };
    stats.total = change(stats.total, len);
    stats.locked = change(stats.locked, part(pages.lock_state().is_ok()));
    stats.secret_memory = change(stats.secret_memory, part(pages.is_secret_memory()));
    stats.missing_protections.count(pages.refusals(), len, change);
    stats.used = change(stats.used, len - rest);
    stats.free = change(stats.free, rest);
    stats.chunks_used = change(stats.chunks_used, 1);
    stats.chunks_free = change(stats.chunks_free, usize::from(rest > 0));
    stats.arenas = change(stats.arenas, 1);
}

/// Whether a chunk of `actual` bytes at an address may have been allocated with a size and an
/// alignment. As with the other chunks of the pool, sizes are compared rounded up.
fn agrees((size, alignment): (usize, usize), actual: usize, addr: usize) -> bool {
    let rounded = |size: usize| size.checked_next_multiple_of(ARENA_ALIGN);
    alignment.is_power_of_two() && addr % alignment == 0 && rounded(size) == rounded(actual)
}
