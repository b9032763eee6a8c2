//! `FirstFit`: finds the first of many arenas that has room for a chunk.
//!
//! A tournament over the arenas in the order in which they were made: each node of a binary tree
//! holds the largest free chunk of the arenas below it. Finding the first arena with enough room,
//! and noting a change, take a step per level (10 for 1000 arenas).

use crate::arena::OutOfMemory;

/// The largest free chunk of each arena, by the arena's number.
pub(super) struct FirstFit {
    /// Node 1 is the root, nodes `2n` and `2n + 1` are below node `n`, leaf `i` is node
    /// `width + i`.
    largest: Vec<usize>,
    width: usize,
}

impl FirstFit {
    pub(super) const fn new() -> Self {
        Self { largest: Vec::new(), width: 0 }
    }

    /// Makes room for arenas numbered below `len`.
    pub(super) fn reserve(&mut self, len: usize) -> Result<(), OutOfMemory> {
        if len <= self.width {
            return Ok(());
        }
        let width = len.next_power_of_two().max(8);
        let mut largest = Vec::new();
        largest.try_reserve_exact(2 * width).map_err(|_| OutOfMemory)?;
        largest.resize(2 * width, 0);
        largest[width..width + self.width].copy_from_slice(&self.largest[self.width..]);
        for node in (1..width).rev() {
            largest[node] = largest[2 * node].max(largest[2 * node + 1]);
        }
        *self = Self { largest, width };
        Ok(())
    }

    /// Notes that the largest free chunk of arena `arena` has `size` bytes now.
    #[inline]
    pub(super) fn set(&mut self, arena: usize, size: usize) {
        let mut node = self.width + arena;
        if self.largest[node] == size {
            return;
        }
        self.largest[node] = size;
        while node > 1 {
            node /= 2;
            let size = self.largest[2 * node].max(self.largest[2 * node + 1]);
            if self.largest[node] == size {
                return;
            }
            self.largest[node] = size;
        }
    }

    /// The lowest-numbered arena with a free chunk of at least `size` bytes, which is not 0.
    #[inline]
    pub(super) fn first(&self, size: usize) -> Option<usize> {
        if *self.largest.get(1)? < size {
            return None;
        }
        let mut node = 1;
        while node < self.width {
            node *= 2;
            if self.largest[node] < size {
                node += 1;
            }
        }
        Some(node - self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_linear_search() {
        let mut index = FirstFit::new();
        let mut model: Vec<usize> = Vec::new();
        assert_eq!(index.first(1), None);
        let mut state = 1_u64;
        for step in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let size = (state >> 40) as usize % 1000;
            if step % 100 == 0 {
                model.push(0);
                index.reserve(model.len()).unwrap();
            }
            let arena = (state >> 20) as usize % model.len();
            model[arena] = size;
            index.set(arena, size);
            let want = (state >> 30) as usize % 1000 + 1;
            assert_eq!(index.first(want), model.iter().position(|&room| room >= want));
        }
    }
}
