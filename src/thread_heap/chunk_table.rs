//! The tables that tell chunks and slabs from each other by their addresses.
//!
//! The table of chunks has a byte for every granule of the range, apart from the memory itself. The
//! byte of a used chunk's first granule holds the number of its cache, all others are 0. So a free
//! of an address that is no used chunk is noticed at once, also of a slot that is free in a cache.
//! Beside it are tables of units, slabs and remote frees.

use super::cache::CacheNumber;
use super::remote_free::RemoteFrees;
use super::size_class::{GRANULE, SizeClass, UNIT};
use super::slab::{Slab, SlabNumber, Unit};
use crate::pages::{self, AddressRange, GrowingTables};
use crate::sys::NotHardened;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, fence};

/// The number of a granule in the range. 0 means no granule, as no slot begins at the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granule(u32);

impl Granule {
    #[inline(always)]
    pub(super) const fn of_index(index: usize) -> Self {
        Self(index as u32)
    }

    /// The granule with a number as it stands in a cache; `None` for 0.
    #[inline(always)]
    pub(super) fn from_cached(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The number as it stands in a cache.
    #[inline(always)]
    pub(super) const fn number(self) -> u32 {
        self.0
    }

    /// The index in the table of chunks.
    #[inline(always)]
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Where a slot of a slab begins.
    pub(super) fn of_slot(slab: SlabNumber, class: SizeClass, slot: u32) -> Self {
        let granules = slot as usize * class.size() / GRANULE;
        Self::of_index(slab.unit() * (UNIT / GRANULE) + granules)
    }
}

/// Slots of a slab that other threads have freed and that are on their way to the owner, by the
/// slab's number. (In a table beside the slabs', as few slabs have any.)
#[derive(bytemuck::Zeroable)]
pub(super) struct RemoteFreesEntry {
    slots: AtomicU64,
    next: AtomicU32,
}

/// The tables for the range of addresses that slabs lie in.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Tables {
    /// Address of the range.
    pub(super) base: usize,
    /// By granule: the number of the cache of the small chunk that begins there; 0 if none begins
    /// there.
    pub(super) chunks: &'static [AtomicU8],
    /// By number of the unit.
    pub(super) units: &'static [Unit],
    /// By number of the slab.
    slabs: &'static [Slab],
    remote_frees: &'static [RemoteFreesEntry],
}

/// A place in a slab.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) slab: SlabNumber,
    /// See [`Unit::owner`].
    pub(super) owner: u32,
    /// Offset in the slab in bytes.
    pub(super) offset: usize,
}

impl Tables {
    /// Tables for a range; `None` when there is no memory for them. They take memory as slabs are
    /// made, up to where [`grow`](Self::grow) has let them.
    pub(super) fn new(range: &AddressRange) -> Option<Self> {
        let (granules, units) = (range.len() / GRANULE, range.len() / UNIT);
        let bytes = [
            granules,
            units * size_of::<Unit>(),
            units * size_of::<Slab>(),
            units * size_of::<RemoteFreesEntry>(),
        ];
        let mut tables = GrowingTables::new(&bytes).ok()?;
        // SAFETY: of these tables only the entries of slabs are written to, of their granules, and
        // of granules where exact chunks begin; all of them only where `grow` has been.
        let (chunks, units, slabs, remote_frees) = unsafe {
            (
                tables.table(granules)?,
                tables.table(units)?,
                tables.table(units)?,
                tables.table(units)?,
            )
        };
        let base = range.addr().as_ptr().expose_provenance();
        Some(Self { base, chunks, units, slabs, remote_frees })
    }

    /// Makes the entries of the units from `from` up to `to` writable, and those of their slabs and
    /// granules; `false` when there is no memory for them. Those in front of `from` must be so
    /// already.
    pub(super) fn grow(&self, from: usize, to: usize) -> bool {
        let granules = UNIT / GRANULE;
        // SAFETY: `new` has got the tables from `GrowingTables`, and each growth goes on where the
        // last one ended.
        let grown = unsafe {
            pages::grow_table(self.chunks, from * granules, to * granules)
                .and_then(|()| pages::grow_table(self.units, from, to))
                .and_then(|()| pages::grow_table(self.slabs, from, to))
                .and_then(|()| pages::grow_table(self.remote_frees, from, to))
        };
        grown.is_ok()
    }

    /// Seals the entries of the first `units` units, which [`grow`](Self::grow) has made writable.
    pub(super) fn seal(&self, units: usize) -> Result<(), NotHardened> {
        // SAFETY: `new` has got the tables from `GrowingTables`, they are writable so far, and they
        // live as long as the process.
        unsafe {
            pages::seal_table(self.chunks, units * (UNIT / GRANULE))
                .and(pages::seal_table(self.units, units))
                .and(pages::seal_table(self.slabs, units))
                .and(pages::seal_table(self.remote_frees, units))
        }
    }

    pub(super) fn slab(&self, slab: SlabNumber) -> &'static Slab {
        &self.slabs[slab.unit()]
    }

    /// The first unit of a slab, which knows what slab it is.
    pub(super) fn unit(&self, slab: SlabNumber) -> &'static Unit {
        &self.units[slab.unit()]
    }

    /// Address of a slab.
    pub(super) fn address(&self, slab: SlabNumber) -> usize {
        self.base + slab.unit() * UNIT
    }

    /// Length of a slab in bytes.
    pub(super) fn bytes_of(&self, slab: SlabNumber) -> usize {
        self.unit(slab).units() * UNIT
    }

    /// Whether all slots of a slab are free, and none of them cached.
    pub(super) fn is_empty(&self, slab: SlabNumber) -> bool {
        self.slab(slab).free.load(Relaxed) == self.unit(slab).all()
    }

    /// Bytes of the used slots of a slab, of which no slot is cached.
    pub(super) fn used_bytes(&self, slab: SlabNumber) -> usize {
        self.unit(slab).class().bytes_of(self.used_slots(slab))
    }

    /// Bytes of a slab, of which no slot is cached, that no used slot takes: free slots, and what
    /// is left at its end.
    pub(super) fn unused_bytes(&self, slab: SlabNumber) -> usize {
        self.bytes_of(slab) - self.used_bytes(slab)
    }

    /// The bits of the used slots of a slab, of which no slot is cached.
    pub(super) fn used_slots(&self, slab: SlabNumber) -> u64 {
        self.unit(slab).all() & !self.slab(slab).free.load(Relaxed)
    }

    /// Takes a slab, of which no slot is cached, and its chunks out of the tables.
    pub(super) fn dissolve(&self, slab: SlabNumber) {
        let class = self.unit(slab).class();
        let mut used = self.used_slots(slab);
        while used != 0 {
            let granule = Granule::of_slot(slab, class, used.trailing_zeros());
            self.chunks[granule.index()].store(0, Relaxed);
            used &= used - 1;
        }
        self.set_owner(slab, 0);
    }

    /// Takes a slab out of the tables, but for its chunks.
    pub(super) fn forget(&self, slab: SlabNumber) {
        self.set_owner(slab, 0);
    }

    /// Takes the chunks in the first `units` units out of the table.
    pub(super) fn forget_chunks(&self, units: usize) {
        let chunks = &self.chunks[..units * (UNIT / GRANULE)];
        // Most of the table may be memory that has never been written to.
        let used = chunks.iter().filter(|chunk| chunk.load(Relaxed) != 0);
        used.for_each(|chunk| chunk.store(0, Relaxed));
    }

    /// Makes an empty slab of units that belong to no slab. A heap has to take it over.
    pub(super) fn make_slab(&self, slab: SlabNumber, class: SizeClass, slots: usize) {
        self.unit(slab).set_slab(0, class, slots);
        for (offset, unit) in self.units_of(slab).iter().enumerate() {
            unit.set_slab(offset, class, slots);
        }
        self.slab(slab).free.store(self.unit(slab).all(), Relaxed);
    }

    /// The place of an address in a slab; `None` if it lies in no slab.
    pub(super) fn find(&self, addr: usize) -> Option<Place> {
        let offset = addr.wrapping_sub(self.base);
        let unit = self.units.get(offset / UNIT)?;
        let owner = unit.owner.load(Acquire);
        if owner == 0 {
            return None;
        }
        let first = offset / UNIT - unit.offset();
        Some(Place { slab: SlabNumber::of_unit(first), owner, offset: offset - first * UNIT })
    }

    /// The entry for a chunk that begins at a place; `None` where no chunk can begin.
    pub(super) fn chunk(&self, place: Place) -> Option<&'static AtomicU8> {
        let offset = place.slab.unit() * UNIT + place.offset;
        (offset % GRANULE == 0).then(|| &self.chunks[offset / GRANULE])
    }

    /// The entry for an exact chunk that begins at an address; `None` where no slab and no exact
    /// chunk with an entry can begin. The units there belong to no slab.
    pub(super) fn exact_chunk(&self, addr: usize) -> Option<(Granule, &'static AtomicU8)> {
        // A remainder ends up in the highest bits, so that the table has no entry for it.
        let granule = addr.wrapping_sub(self.base).rotate_right(GRANULE.ilog2());
        Some((Granule::of_index(granule), self.chunks.get(granule)?))
    }

    /// Whether an exact chunk at an address lies free in an exact cache.
    pub(super) fn is_cached(&self, addr: usize) -> bool {
        self.exact_chunk(addr)
            .is_some_and(|(_, chunk)| chunk.load(Relaxed) == CacheNumber::FREE.byte())
    }

    /// The units of a slab.
    fn units_of(&self, slab: SlabNumber) -> &'static [Unit] {
        &self.units[slab.unit()..slab.unit() + self.unit(slab).units()]
    }

    /// See [`Unit::owner`].
    pub(super) fn owner_of(&self, slab: SlabNumber) -> u32 {
        self.unit(slab).owner.load(Relaxed)
    }

    /// Sets the owner of a slab, see [`Unit::owner`].
    pub(super) fn set_owner(&self, slab: SlabNumber, owner: u32) {
        for unit in self.units_of(slab) {
            unit.owner.store(owner, Release);
        }
        // Before the bytes of its chunks, which the owner stores from now on: `free_exact`, which
        // finds such a byte, looks for the owner afterwards.
        fence(Release);
    }

    /// Address of a slot of a slab, and whether it is used.
    pub(super) fn slot(&self, slab: SlabNumber, slot: u32) -> (usize, bool) {
        let granule = Granule::of_slot(slab, self.unit(slab).class(), slot).index();
        (self.base + granule * GRANULE, self.chunks[granule].load(Relaxed) != 0)
    }

    pub(super) fn remote_frees(&self, slab: SlabNumber) -> RemoteFrees<'static> {
        let RemoteFreesEntry { slots, next } = &self.remote_frees[slab.unit()];
        RemoteFrees { slots, next }
    }
}
