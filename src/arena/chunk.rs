//! `Chunk`: a run of granules.

/// A chunk of an arena in granules: where it begins, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The first granule.
    pub start: usize,
    /// The number of granules.
    pub size: usize,
}
