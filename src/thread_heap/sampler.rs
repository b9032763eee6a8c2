//! Which allocations are sampled: a count runs down from a random number, and then from the next
//! one.

#![forbid(unsafe_code)]

use core::num::NonZeroU32;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Counts the allocations of one heap, or those that are made under the mutex. One thread at a time
/// uses it.
pub(super) struct Sampler {
    /// Allocations up to the next sample, that one included; 0 if nothing is sampled.
    left: AtomicU32,
    /// Mean distance between samples; 0 for none.
    one_in: AtomicU32,
    /// See [`random`].
    state: AtomicU64,
}

impl Sampler {
    /// A sampler that samples nothing.
    pub(super) const fn new() -> Self {
        Self { left: AtomicU32::new(0), one_in: AtomicU32::new(0), state: AtomicU64::new(0) }
    }

    /// Samples one in `one_in` from now on, after a random number of others.
    pub(super) fn set(&self, one_in: Option<NonZeroU32>, seed: u64) {
        self.one_in.store(one_in.map_or(0, NonZeroU32::get), Relaxed);
        self.state.store(seed, Relaxed);
        self.left.store(0, Relaxed);
        self.restart();
    }

    /// Counts an allocation, and tells whether it is one to sample.
    #[inline(always)]
    pub(super) fn should_sample(&self) -> bool {
        let left = self.left.load(Relaxed);
        if left > 1 {
            self.left.store(left - 1, Relaxed);
            return false;
        }
        self.restart()
    }

    /// Draws the next distance: as likely 1 as `2 * one_in - 1` or any number between. So it is
    /// `one_in` on the average, and the program cannot tell which allocation is next.
    #[cold]
    fn restart(&self) -> bool {
        let one_in = u64::from(self.one_in.load(Relaxed));
        if one_in == 0 {
            return false;
        }
        let mut state = self.state.load(Relaxed);
        let distance = 1 + random(&mut state) % (2 * one_in - 1);
        self.state.store(state, Relaxed);
        self.left.store(distance.min(u32::MAX.into()) as u32, Relaxed);
        true
    }
}

/// The next number of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014). It is random enough to be in step with nothing in the program, and keeps no
/// secret.
pub(super) fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(one_in: u32, allocations: u32) -> u32 {
        let sampler = Sampler::new();
        sampler.set(NonZeroU32::new(one_in), 7);
        (0..allocations).map(|_| u32::from(sampler.should_sample())).sum()
    }

    #[test]
    fn one_in_n_on_the_average() {
        assert_eq!((count(0, 1000), count(1, 1000)), (0, 1000));
        for one_in in [2, 3, 10, 100, 1000] {
            // The standard deviation of the sum is below the square root of the number of samples.
            let samples = count(one_in, 10_000 * one_in);
            assert!((9500..=10_500).contains(&samples), "1 in {one_in}: {samples}");
        }
        assert!(count(u32::MAX, 1000) <= 1);
    }

    #[test]
    fn nothing_is_counted_when_it_is_off() {
        let sampler = Sampler::new();
        assert!(!sampler.should_sample());
        sampler.set(NonZeroU32::new(5), 1);
        sampler.set(None, 2);
        assert!((0..100).all(|_| !sampler.should_sample()));
    }
}
