//! The slabs of a heap: by class a list of those that have free slots, and a list of all.

use super::chunk_table::Tables;
use super::size_class::{CLASSES, SizeClass, UNIT};
use super::slab::SlabNumber;
use bytemuck::Zeroable;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize};

/// Bytes of slabs that may become empty in a heap before it gives them back, unless an eighth of
/// what it has is more.
const TRIM_AFTER: usize = 16 * 1024;

/// Bytes of a heap's slabs that may be unused, besides a sixteenth of the slabs' bytes, for the
/// heap to get another slab: what a busy thread may cost in locked memory.
const SPARE: usize = 16 * 1024;

/// How many chunks of a class a heap has to ask for in vain before it gets a slab of them.
const MISSES: u8 = 8;

/// How often a heap goes without a slab because of what is unused in its other slabs, until it
/// flushes its caches and gives empty slabs back. That doubles each time that it has not helped.
const PATIENCE: u32 = 128;
const MOST_IN_VAIN: u32 = 10;

/// The slabs of a heap. Used by the thread that may use the heap alone.
#[derive(Zeroable)]
pub(super) struct SlabLists {
    /// By class, the first slab that has free slots; 0 for none.
    lists: [AtomicU32; CLASSES],
    /// By class, the number of slots of all slabs.
    slots: [AtomicU32; CLASSES],
    /// By class, how often there was no slot, up to [`MISSES`].
    misses: [AtomicU8; CLASSES],
    /// The first of all slabs; 0 for none.
    owned: AtomicU32,
    /// Bytes of all slabs.
    owned_bytes: AtomicUsize,
    /// Bytes of all slabs that are in no slot which is used or cached.
    unused_bytes: AtomicUsize,
    /// Bytes of the slabs that are empty.
    empty: AtomicUsize,
    /// Bytes of the slabs that the last trim has left empty.
    kept_empty: AtomicUsize,
    /// How often the heap got no slab because too much of its slabs was unused, since it last gave
    /// back all that was unused.
    refusals: AtomicU32,
    /// How many times in a row the heap got no slab although it had given that back, up to
    /// [`MOST_IN_VAIN`].
    in_vain: AtomicU32,
}

/// Changes a number that one thread at a time changes.
pub(super) fn add(number: &AtomicUsize, difference: usize) {
    number.store(number.load(Relaxed).wrapping_add(difference), Relaxed);
}

fn subtract(number: &AtomicUsize, difference: usize) {
    add(number, difference.wrapping_neg());
}

impl SlabLists {
    /// The first slab of a class that has free slots.
    pub(super) fn first(&self, class: SizeClass) -> Option<SlabNumber> {
        SlabNumber::from_link(self.lists[class.number()].load(Relaxed))
    }

    /// Takes up to `most` free slots out of the first slab of a class, and returns the slab and the
    /// bits of the slots; `None` where no slab of the class has free slots.
    pub(super) fn take_slots(
        &self,
        tables: &Tables,
        class: SizeClass,
        most: usize,
    ) -> Option<(SlabNumber, u64)> {
        let number = self.first(class)?;
        let slab = tables.slab(number);
        let free = slab.free.load(Relaxed);
        let mut rest = free;
        for _ in 0..most {
            rest &= rest.wrapping_sub(1);
        }
        if tables.is_empty(number) {
            subtract(&self.empty, tables.bytes_of(number));
            let empty = self.empty.load(Relaxed);
            self.kept_empty.store(self.kept_empty.load(Relaxed).min(empty), Relaxed);
        }
        slab.free.store(rest, Relaxed);
        if rest == 0 {
            self.lists[class.number()].store(slab.next.load(Relaxed), Relaxed);
        }
        subtract(&self.unused_bytes, class.bytes_of(free ^ rest));
        Some((number, free ^ rest))
    }

    /// Makes slots of a slab free for allocation.
    pub(super) fn put_slots(&self, tables: &Tables, number: SlabNumber, slots: u64) {
        let slab = tables.slab(number);
        let free = slab.free.load(Relaxed);
        slab.free.store(free | slots, Relaxed);
        add(&self.unused_bytes, tables.unit(number).class().bytes_of(slots));
        if free == 0 {
            self.push(tables, number);
        }
        if tables.is_empty(number) {
            add(&self.empty, tables.bytes_of(number));
        }
    }

    /// Whether so much is unused that the heap's next thread might get no slab of a size that the
    /// last one did not use.
    pub(super) fn has_much_unused(&self) -> bool {
        self.unused_bytes.load(Relaxed) > SPARE / 2
    }

    /// Whether so much is empty that it should be given back.
    pub(super) fn wants_trim(&self) -> bool {
        let spare = TRIM_AFTER.max(self.owned_bytes.load(Relaxed) / 8);
        self.empty.load(Relaxed) > self.kept_empty.load(Relaxed) + spare
    }

    /// Calls `remove` with each empty slab, which has to [`take_out`](Self::take_out) it: with
    /// `all`, also with those that allocations come from next.
    pub(super) fn remove_empty(
        &self,
        tables: &Tables,
        all: bool,
        mut remove: impl FnMut(SlabNumber),
    ) {
        let next_of =
            |slab: SlabNumber| SlabNumber::from_link(tables.slab(slab).next.load(Relaxed));
        for list in &self.lists {
            let mut next = SlabNumber::from_link(list.load(Relaxed));
            if !all {
                next = next.and_then(next_of);
            }
            while let Some(slab) = next {
                next = next_of(slab);
                if tables.is_empty(slab) {
                    remove(slab);
                }
            }
        }
        self.kept_empty.store(self.empty.load(Relaxed), Relaxed);
    }

    /// Puts a slab that has free slots first in its list.
    fn push(&self, tables: &Tables, slab: SlabNumber) {
        let list = &self.lists[tables.unit(slab).class().number()];
        let head = list.load(Relaxed);
        tables.slab(slab).next.store(head, Relaxed);
        if let Some(head) = SlabNumber::from_link(head) {
            tables.slab(head).previous.store(slab.link(), Relaxed);
        }
        list.store(slab.link(), Relaxed);
    }

    /// Takes a slab that has free slots out of its list.
    fn unlink(&self, tables: &Tables, number: SlabNumber) {
        let list = &self.lists[tables.unit(number).class().number()];
        let slab = tables.slab(number);
        let next = slab.next.load(Relaxed);
        if list.load(Relaxed) == number.link() {
            list.store(next, Relaxed);
            return;
        }
        let previous = slab.previous.load(Relaxed);
        if let Some(before) = SlabNumber::from_link(previous) {
            tables.slab(before).next.store(next, Relaxed);
        }
        if let Some(behind) = SlabNumber::from_link(next) {
            tables.slab(behind).previous.store(previous, Relaxed);
        }
    }

    /// How many slots the heap's next slab of a class should have, if there should be one, when no
    /// slot of the class is free.
    ///
    /// What a slab has free is locked memory that no other thread and no other size can use at
    /// once. So the first chunks of a class come from no slab; a slab is small beside the slots
    /// that are in use already; and all of the heap's slabs together have little free. With
    /// `exact`, a slab must waste nothing.
    pub(super) fn next_slab(&self, class: SizeClass, exact: bool) -> Option<usize> {
        let misses = &self.misses[class.number()];
        if misses.load(Relaxed) < MISSES {
            misses.store(misses.load(Relaxed) + 1, Relaxed);
            return None;
        }
        let room = (SPARE + self.owned_bytes.load(Relaxed) / 16)
            .saturating_sub(self.unused_bytes.load(Relaxed));
        let used = self.slots[class.number()].load(Relaxed) as usize * class.size();
        let smallest = class.slots_for(0, exact).or_else(|| class.slots_for(SPARE, exact))?;
        let slots = class.slots_for(used / 8, exact).unwrap_or(smallest);
        let bytes = class.units_for(slots) * UNIT;
        // Once there are several, a slab that wastes much would be one too many.
        if used >= SPARE && (bytes - slots * class.size()) * 32 > bytes {
            return None;
        }
        // One slot is taken at once.
        if bytes - class.size() > room {
            self.refusals.store(self.refusals.load(Relaxed).saturating_add(1), Relaxed);
            return None;
        }
        Some(slots)
    }

    /// Notes that a slab of a class would be of use, as if it had been asked for in vain often.
    pub(super) fn want(&self, class: SizeClass) {
        self.misses[class.number()].store(MISSES, Relaxed);
    }

    /// Whether the heap got no slab so often that it should give back what is unused: free slots in
    /// the caches of sizes that the thread needs no more, and the slabs that they keep from being
    /// empty.
    pub(super) fn is_out_of_patience(&self) -> bool {
        self.refusals.load(Relaxed) >= PATIENCE << self.in_vain.load(Relaxed)
    }

    /// Notes that the heap has given back what is unused, and whether a slab could be had then.
    pub(super) fn be_patient(&self, has_helped: bool) {
        let in_vain = if has_helped { 0 } else { self.in_vain.load(Relaxed) + 1 };
        self.in_vain.store(in_vain.min(MOST_IN_VAIN), Relaxed);
        self.refusals.store(0, Relaxed);
    }

    /// Puts in a slab of which no slot is cached.
    pub(super) fn put_in(&self, tables: &Tables, number: SlabNumber) {
        let slab = tables.slab(number);
        let head = self.owned.load(Relaxed);
        slab.next_owned.store(head, Relaxed);
        slab.previous_owned.store(0, Relaxed);
        if let Some(head) = SlabNumber::from_link(head) {
            tables.slab(head).previous_owned.store(number.link(), Relaxed);
        }
        self.owned.store(number.link(), Relaxed);
        add(&self.owned_bytes, tables.bytes_of(number));
        let unit = tables.unit(number);
        add(&self.unused_bytes, tables.unused_bytes(number));
        let count = &self.slots[unit.class().number()];
        count.store(count.load(Relaxed) + unit.slots() as u32, Relaxed);
        if slab.free.load(Relaxed) != 0 {
            self.push(tables, number);
        }
        if tables.is_empty(number) {
            add(&self.empty, tables.bytes_of(number));
        }
    }

    /// Takes out a slab of which no slot is cached.
    pub(super) fn take_out(&self, tables: &Tables, number: SlabNumber) {
        let slab = tables.slab(number);
        if tables.is_empty(number) {
            subtract(&self.empty, tables.bytes_of(number));
        }
        if slab.free.load(Relaxed) != 0 {
            self.unlink(tables, number);
        }
        let next = slab.next_owned.load(Relaxed);
        let previous = slab.previous_owned.load(Relaxed);
        if let Some(behind) = SlabNumber::from_link(next) {
            tables.slab(behind).previous_owned.store(previous, Relaxed);
        }
        match SlabNumber::from_link(previous) {
            Some(before) => tables.slab(before).next_owned.store(next, Relaxed),
            None => self.owned.store(next, Relaxed),
        }
        subtract(&self.owned_bytes, tables.bytes_of(number));
        let unit = tables.unit(number);
        subtract(&self.unused_bytes, tables.unused_bytes(number));
        let count = &self.slots[unit.class().number()];
        count.store(count.load(Relaxed) - unit.slots() as u32, Relaxed);
    }

    /// Calls `visit` with each slab; `visit` may take it out.
    pub(super) fn for_each(&self, tables: &Tables, mut visit: impl FnMut(SlabNumber)) {
        let mut next = SlabNumber::from_link(self.owned.load(Relaxed));
        while let Some(slab) = next {
            next = SlabNumber::from_link(tables.slab(slab).next_owned.load(Relaxed));
            visit(slab);
        }
    }

    /// Lets go of all slabs without looking at them.
    pub(super) fn forget_all(&self) {
        self.owned.store(0, Relaxed);
        self.lists.iter().for_each(|list| list.store(0, Relaxed));
        self.slots.iter().for_each(|count| count.store(0, Relaxed));
        for number in [&self.owned_bytes, &self.unused_bytes, &self.empty, &self.kept_empty] {
            number.store(0, Relaxed);
        }
        self.forget_misses();
    }

    /// Forgets how often there was no slot or no slab, for the next thread that gets the heap.
    pub(super) fn forget_misses(&self) {
        self.misses.iter().for_each(|misses| misses.store(0, Relaxed));
        self.refusals.store(0, Relaxed);
        self.in_vain.store(0, Relaxed);
    }
}
