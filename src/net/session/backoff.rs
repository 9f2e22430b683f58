//! How long to wait before the next dial.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(5);

/// Doubles from 100 ms to 5 s; the upper half of each step is random, so that clients of a relay that restarts do not
/// come back in step.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure; `random` is in 0..1.
    pub fn next(&mut self, random: f64) -> Duration {
        let step = FIRST.saturating_mul(1 << self.failures.min(16)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// After a session that lasted.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_cap_and_stay_in_their_upper_half() {
        let mut low = Backoff::default();
        let mut high = Backoff::default();
        for step in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            assert_eq!(low.next(0.0), Duration::from_millis(step / 2));
            assert_eq!(high.next(1.0), Duration::from_millis(step));
        }
        low.reset();
        assert_eq!(low.next(1.0), FIRST);
    }
}
