//! How often a loss is told of.

use super::{Nanos, SECOND, backlog::Amount};

/// Whoever watches messages wants to know at once, and then how much it is.
const INTERVAL: Nanos = SECOND;

/// Adds up losses of one kind: the first is told of at once, what follows no more often than once a second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    untold: Amount,
    told: Option<Nanos>,
}

impl Tally {
    /// Something was lost.
    pub fn add(&mut self, amount: Amount) {
        self.untold += amount;
    }

    /// What is to be told now: all that was lost since the last time.
    pub fn due(&mut self, now: Nanos) -> Option<Amount> {
        let waits = self
            .told
            .is_some_and(|told| now.saturating_sub(told) < INTERVAL);
        if waits { None } else { self.rest(now) }
    }

    /// What was not told yet, whenever the last time was.
    pub fn rest(&mut self, now: Nanos) -> Option<Amount> {
        if self.untold.is_zero() {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    /// Whether all that was lost has been told.
    pub fn is_settled(&self) -> bool {
        self.untold.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Amount = Amount {
        groups: 0,
        frames: 1,
        bytes: 100,
    };

    #[test]
    fn the_first_is_told_at_once_and_what_follows_once_a_second() {
        let mut tally = Tally::default();
        let mut told = Vec::new();
        for n in 0..30 {
            let now = n * SECOND / 10;
            tally.add(ONE);
            told.extend(tally.due(now).map(|amount| (n, amount.frames)));
        }
        assert_eq!(told, [(0, 1), (10, 10), (20, 10)]);
        assert!(!tally.is_settled());
        let rest = tally.rest(3 * SECOND).expect("nine of them");
        assert_eq!((rest.frames, rest.bytes), (9, 900));
        assert_eq!(tally.due(9 * SECOND), None);
    }
}
