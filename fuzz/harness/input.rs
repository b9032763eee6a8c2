//! Bytes that are read as decisions: a fuzz target obeys its input.
//!
//! Depends on no other module. Input that has run out reads as zeros, and targets stop there.

/// The part of an input that has not been used.
pub(crate) struct Input<'d> {
    bytes: &'d [u8],
}

impl<'d> Input<'d> {
    pub(crate) fn new(bytes: &'d [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        first
    }

    /// Two bytes, the lower first.
    pub(crate) fn short(&mut self) -> usize {
        usize::from(self.byte()) | usize::from(self.byte()) << 8
    }

    /// A number below `bound`, which is at most 65536 and not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        if bound <= 256 { usize::from(self.byte()) % bound } else { self.short() % bound }
    }

    /// One of what a slice holds; `None` when it is empty.
    pub(crate) fn index(&mut self, len: usize) -> Option<usize> {
        if len == 0 { None } else { Some(self.below(len)) }
    }

    /// A size as programs ask for them, and as attackers do: mostly small, sometimes just about
    /// `limit`, sometimes at the ends of what a number can be.
    pub(crate) fn size(&mut self, limit: usize) -> usize {
        match self.byte() {
            kind @ 0..=199 => self.short() % (16 << (kind % 9)).min(limit.max(1)),
            200..=229 => self.short() % limit.clamp(1, 1 << 16),
            230..=244 => limit.wrapping_sub(self.below(40)).wrapping_add(20),
            245..=249 => self.hostile(),
            _ => 0,
        }
    }

    /// An alignment: mostly a small power of two, sometimes a large one, sometimes none.
    pub(crate) fn alignment(&mut self) -> usize {
        match self.byte() {
            kind @ 0..=159 => 1 << (kind % 6),
            kind @ 160..=239 => 1 << (kind % 15),
            kind @ 240..=246 => 1 << (usize::BITS - 1 - u32::from(kind - 240)),
            247..=250 => self.below(100),
            _ => self.hostile(),
        }
    }

    /// A number about which arithmetic may go wrong.
    pub(crate) fn hostile(&mut self) -> usize {
        let near = self.below(64);
        match self.byte() % 6 {
            0 => usize::MAX - near,
            1 => (isize::MAX as usize).wrapping_add(near),
            2 => (isize::MAX as usize) - near,
            3 => near,
            4 => (1 << (usize::BITS * 3 / 4)) + near,
            _ => usize::MAX / 2 - (1 << 20) * near,
        }
    }

    /// A size that is always refused: more than a process has addresses for, or half of all
    /// addresses where they have 32 bits. The library does not try to lock so much.
    pub(crate) fn too_many(&mut self) -> usize {
        let bits = if cfg!(target_pointer_width = "64") { 48 } else { usize::BITS - 1 };
        self.hostile().max(1 << bits)
    }
}

/// An address that no pool has handed out, or only by chance.
pub(crate) fn address(number: usize) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(number)
}
