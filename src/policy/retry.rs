//! How long to wait before the next attempt.

use std::time::Duration;

/// Delays that double from `base` to `cap`, each shortened at random by up to a half, so that the
/// clients of a relay that restarted do not come back all at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
    rng: fastrand::Rng,
}

impl Backoff {
    /// The first delay is at most `base`, none is more than `cap`. A seeded `rng` makes them repeatable.
    pub fn new(base: Duration, cap: Duration, rng: fastrand::Rng) -> Self {
        Self {
            base: base.min(cap),
            cap,
            attempts: 0,
            rng,
        }
    }

    /// The delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        self.next_delay_within(self.cap)
    }

    /// The same where a lower cap holds for the time being.
    pub fn next_delay_within(&mut self, cap: Duration) -> Duration {
        let cap = cap.min(self.cap);
        let doubled = 1u32
            .checked_shl(self.attempts)
            .and_then(|factor| self.base.checked_mul(factor))
            .map_or(cap, |delay| delay.min(cap));
        self.attempts = self.attempts.saturating_add(1);
        doubled.mul_f64(1.0 - self.rng.f64() / 2.0).min(cap)
    }

    /// How many delays were given since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// An attempt succeeded: the next delay is the first again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(5);

    fn backoff(seed: u64) -> Backoff {
        Backoff::new(BASE, CAP, fastrand::Rng::with_seed(seed))
    }

    #[test]
    fn delays_double_to_the_cap_and_are_shortened_by_at_most_half() {
        for seed in 0..50 {
            let mut backoff = backoff(seed);
            for attempt in 0..100u32 {
                let full = BASE * 2u32.pow(attempt.min(10));
                let full = full.min(CAP);
                let delay = backoff.next_delay();
                assert!(delay <= full && delay >= full / 2, "{attempt}: {delay:?}");
            }
        }
    }

    #[test]
    fn a_lower_cap_holds_for_the_delays_it_is_asked_for() {
        let low = CAP / 5;
        let mut backoff = backoff(3);
        for _ in 0..20 {
            assert!(backoff.next_delay_within(low) <= low);
        }
        assert!(backoff.next_delay_within(CAP * 2) <= CAP);
        assert!(backoff.next_delay() >= CAP / 2);
    }

    #[test]
    fn a_success_starts_it_anew() {
        let mut backoff = backoff(1);
        for _ in 0..20 {
            let _ = backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= BASE);
    }

    #[test]
    fn the_same_seed_gives_the_same_delays_and_another_one_others() {
        let delays = |seed| {
            let mut backoff = backoff(seed);
            (0..8).map(|_| backoff.next_delay()).collect::<Vec<_>>()
        };
        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
    }

    #[test]
    fn a_base_over_the_cap_is_the_cap() {
        let mut backoff = Backoff::new(CAP * 3, CAP, fastrand::Rng::with_seed(0));
        assert!(backoff.next_delay() <= CAP);
    }

    #[test]
    fn the_longest_durations_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX, fastrand::Rng::with_seed(0));
        assert!(std::panic::catch_unwind(move || backoff.next_delay()).is_ok());
    }
}
