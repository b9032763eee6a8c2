//! Slabs: runs of equal slots for small chunks, described by bits apart from the memory itself.
//!
//! Private to `process`; depends on nothing. Works in offsets: which slots of a slab are used is
//! arithmetic, and no unsafe code is needed for it.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize};

/// Slabs and large chunks take whole units of this many bytes.
pub(super) const UNIT: usize = 1024;
/// Largest size in bytes that has a class.
pub(super) const MAX_SIZE: usize = 4096;
/// Number of size classes.
pub(super) const CLASSES: usize = 48;
/// Most slots of a slab: the bits of a word.
const MAX_SLOTS: usize = 64;
/// Largest slab in bytes.
const MAX_SLAB: usize = 16 * 1024;
/// Size of a heap's first slab of a class in bytes, if slots are not larger.
const FIRST_SLAB: usize = 2048;

/// Slot sizes in bytes: steps of 16 up to 256 bytes, then eight steps to each doubling, so that at
/// most an eighth of a slot is padding.
pub(super) static SIZES: [u16; CLASSES] = {
    let mut sizes = [0; CLASSES];
    let (mut size, mut class) = (0, 0);
    while class < CLASSES {
        size += if size < 256 { 16 } else { 1 << (usize::ilog2(size) - 3) };
        sizes[class] = size as u16;
        class += 1;
    }
    assert!(size == MAX_SIZE);
    sizes
};

/// The class of a size, by the size in 16 bytes, rounded up.
static CLASS_OF: [u8; MAX_SIZE / 16 + 1] = {
    let mut classes = [0; MAX_SIZE / 16 + 1];
    let (mut i, mut class) = (1, 0);
    while i <= MAX_SIZE / 16 {
        if i * 16 > SIZES[class] as usize {
            class += 1;
        }
        classes[i] = class as u8;
        i += 1;
    }
    classes
};

/// The class for `size` bytes, which is 1 to [`MAX_SIZE`].
#[inline(always)]
pub(super) fn class_of(size: usize) -> usize {
    if size <= 256 { (size - 1) / 16 } else { CLASS_OF[size.div_ceil(16)] as usize }
}

/// How many slots a heap's next slab of a class has when it has `slabs` of them already: few at first,
/// as most programs keep a few secrets of many sizes.
pub(super) fn slots_for(class: usize, slabs: usize) -> usize {
    let size = SIZES[class] as usize;
    (FIRST_SLAB << slabs.min(8)).clamp(size, MAX_SLAB).div_euclid(size).min(MAX_SLOTS)
}

/// How many slots of a class fit so many units, as far as a slab can have them.
pub(super) fn slots_in(class: usize, units: usize) -> usize {
    (units * UNIT / SIZES[class] as usize).min(MAX_SLOTS)
}

/// How many units hold so many slots of a class.
pub(super) fn units_for(class: usize, slots: usize) -> usize {
    (SIZES[class] as usize * slots).div_ceil(UNIT)
}

/// Describes a slab: a cache line. Descriptors lie in a table by the slab's first unit.
///
/// A word has a bit for each slot. Those in `free` and `freed` are free, known to the owner; those in
/// `returned` have been freed by others, on their way to the owner. All others are live, or being wiped.
/// Bits without a slot are always set in `freed`, so that what is in neither `free` nor `freed` is a slot
/// in use.
///
/// Everything here is atomic because threads look at slabs that are not theirs. Only `live`, `returned`
/// and `next_returned` are changed by others than the owner while it runs.
#[derive(bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Slab {
    /// Allocations take from here, frees go to `freed` until this is used up. (With one word for both,
    /// each allocation would have to wait for the free before it.) A slab is in its owner's list of
    /// slabs with free slots if and only if this is not 0.
    pub(super) free: AtomicU64,
    pub(super) freed: AtomicU64,
    /// In a shared slab, the slots that are live, from their allocation until their free is accepted.
    pub(super) live: AtomicU64,
    pub(super) returned: AtomicU64,
    /// Address of the first slot.
    pub(super) base: AtomicUsize,
    /// The next in the owner's list of slabs of this class with free slots.
    pub(super) next: AtomicPtr<Slab>,
    /// 2^32 divided by the slot size, rounded up.
    reciprocal: AtomicU32,
    /// Slot size in bytes.
    pub(super) size: AtomicU16,
    /// Number of the heap that allocates from this slab; 0 is the heap that threads share.
    pub(super) owner: AtomicU16,
    /// The same in a slab that other threads do not free into, and 0 in a shared one.
    pub(super) sole_user: AtomicU16,
    /// Which of its owner's lists it is in when it has free slots: its class, and `CLASSES` more where
    /// its memory is not locked.
    pub(super) list: AtomicU8,
    slots: AtomicU8,
    /// The next in the owner's stack of slabs with returned slots, by first unit.
    pub(super) next_returned: AtomicU32,
}

/// Further links between slabs, by first unit; 0 is none. Apart from [`Slab`] as they are seldom used.
#[derive(bytemuck::Zeroable)]
pub(super) struct Links {
    /// The one before in the list that `Slab::next` makes.
    pub(super) previous: AtomicU32,
    /// The owner's list of all its slabs.
    pub(super) next_owned: AtomicU32,
    pub(super) previous_owned: AtomicU32,
}

impl Slab {
    /// Makes this the descriptor of an empty slab.
    pub(super) fn init(&self, base: usize, class: usize, slots: usize, locked: bool) {
        let size = SIZES[class];
        self.base.store(base, Relaxed);
        self.list.store((if locked { class } else { CLASSES + class }) as u8, Relaxed);
        self.slots.store(slots as u8, Relaxed);
        self.size.store(size, Relaxed);
        self.reciprocal.store((1_u64 << 32).div_ceil(u64::from(size)) as u32, Relaxed);
        self.free.store(self.all(), Relaxed);
        self.freed.store(!self.all(), Relaxed);
        self.live.store(0, Relaxed);
        self.returned.store(0, Relaxed);
    }

    /// Changes the owner, and whether others free into this slab, which heap 0's slabs are always ready
    /// for. Who does this may change the slab.
    pub(super) fn set_owner(&self, owner: u16, shared: bool) {
        self.live.store(self.live_slots(), Relaxed);
        // In this order: who sees the new owner sees the new mode.
        self.sole_user.store(if shared { 0 } else { owner }, Relaxed);
        self.owner.store(owner, Release);
    }

    /// Whether other threads than the owner free into this slab: then whoever frees claims the slot in
    /// `live` with an atomic read-modify-write operation.
    #[inline(always)]
    pub(super) fn is_shared(&self) -> bool {
        self.sole_user.load(Relaxed) == 0
    }

    /// The bit of the slot that begins at `addr`, which is in this slab; perhaps one without a slot.
    #[inline(always)]
    pub(super) fn slot_at(&self, addr: usize) -> Option<u32> {
        let offset = addr.wrapping_sub(self.base.load(Relaxed));
        // Exact: with r = ceil(2^32 / size), offset * r is off by less than offset * size, and that
        // stays below 2^32 (Granlund and Montgomery, "Division by Invariant Integers using
        // Multiplication", PLDI 1994, theorem 4.2).
        let slot = ((offset as u64 * u64::from(self.reciprocal.load(Relaxed))) >> 32) as u32;
        // Less than 64: a slab has at most 64 slots, and less than one slot behind the last.
        (slot as usize * self.size.load(Relaxed) as usize == offset).then_some(slot % u64::BITS)
    }

    /// The bits of all slots.
    #[inline(always)]
    pub(super) fn all(&self) -> u64 {
        u64::MAX >> ((MAX_SLOTS as u32 - u32::from(self.slots.load(Relaxed))) % u64::BITS)
    }

    /// The bits of live slots, as far as the caller may know: it is the owner, or threads are paused.
    pub(super) fn live_slots(&self) -> u64 {
        if self.is_shared() {
            self.live.load(Relaxed)
        } else {
            !(self.free.load(Relaxed) | self.freed.load(Relaxed))
        }
    }

    /// Whether all slots are known to be free.
    pub(super) fn is_empty(&self) -> bool {
        self.free.load(Relaxed) | self.freed.load(Relaxed) == u64::MAX
    }

    pub(super) fn class(&self) -> usize {
        usize::from(self.list.load(Relaxed)) % CLASSES
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.load(Relaxed).into()
    }

    pub(super) fn units(&self) -> usize {
        units_for(self.class(), self.slots())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_an_eighth_at_most() {
        for size in 1..=MAX_SIZE {
            let class = class_of(size);
            let slot = SIZES[class] as usize;
            assert!(slot >= size && slot % 16 == 0);
            assert!(class == 0 || (SIZES[class - 1] as usize) < size, "the smallest that fits");
            assert!(slot - size < 16 || (slot - size) * 8 <= slot);
        }
    }

    #[test]
    fn offsets_are_divided_exactly() {
        for (class, size) in SIZES.into_iter().enumerate() {
            let size = usize::from(size);
            for slabs in 0..10 {
                let slots = slots_in(class, units_for(class, slots_for(class, slabs)));
                let bytes = units_for(class, slots) * UNIT;
                assert!(slots >= 1 && slots * size <= bytes && bytes <= MAX_SLAB);
                assert!(bytes - slots * size < UNIT);
                let slab: Slab = bytemuck::Zeroable::zeroed();
                slab.init(0x1000, class, slots, slabs % 2 == 0);
                assert_eq!(slab.class(), class);
                assert_eq!(slab.units() * UNIT, bytes);
                assert_eq!(slab.all().count_ones() as usize, slots);
                for offset in 0..bytes {
                    let slot = (offset % size == 0).then_some((offset / size) as u32);
                    assert_eq!(slab.slot_at(0x1000 + offset), slot, "{size} {offset}");
                    let free = slot.is_none_or(|slot| slab.free.load(Relaxed) >> slot & 1 != 0);
                    assert_eq!(free, offset / size < slots || offset % size != 0);
                }
            }
        }
    }

    #[test]
    fn a_descriptor_is_a_cache_line() {
        assert_eq!(size_of::<Slab>(), 64);
    }
}
