//! Random numbers that mean the same on every machine and in every version of this crate.
//!
//! The generator is written out here, not taken from a crate, because a seed in a bug report has to replay the
//! same losses years later; crates may change their generators between minor versions.

/// Increment of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// An endless sequence of random numbers, fixed by a seed and a purpose.
///
/// Each purpose (loss, bursts, jitter) has a sequence of its own, so that switching one on leaves the decisions of
/// the others as they were.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    state: u64,
}

impl Sequence {
    pub(super) fn new(seed: u64, purpose: u64) -> Self {
        Self {
            state: mix(seed ^ mix(purpose.wrapping_add(GAMMA))),
        }
    }

    /// The next number, uniform in `0.0..1.0`.
    pub(super) fn next_unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(GAMMA);
        // 53 bits are what an f64 holds exactly.
        (mix(self.state) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The output function of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_function_is_that_of_splitmix64() {
        // First outputs of the reference implementation for seed 0.
        assert_eq!(mix(GAMMA), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(GAMMA.wrapping_mul(2)), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn numbers_are_uniform_and_differ_by_purpose() {
        let mut a = Sequence::new(7, 0);
        let mut b = Sequence::new(7, 1);
        let n = 100_000;
        let (mut sum, mut product) = (0.0, 0.0);
        for _ in 0..n {
            let (x, y) = (a.next_unit(), b.next_unit());
            assert!((0.0..1.0).contains(&x));
            sum += x;
            product += (x - 0.5) * (y - 0.5);
        }
        assert!((sum / f64::from(n) - 0.5).abs() < 0.005);
        assert!((product / f64::from(n)).abs() < 0.002, "uncorrelated");
    }
}
