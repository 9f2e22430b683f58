//! Extremes over a sliding time, in constant memory.

use std::collections::VecDeque;

use crate::policy::Nanos;

/// Parts into which a window of time is divided; its end moves in steps of one part.
const PARTS: i64 = 8;

/// The smallest or largest value of the last `window`, to a resolution of an eighth of it.
#[derive(Debug, Clone)]
pub(super) struct Extreme {
    window: Nanos,
    better: fn(u64, u64) -> u64,
    /// `(part, extreme of it)`, in order of time.
    parts: VecDeque<(i64, u64)>,
}

impl Extreme {
    pub(super) fn minimum(window: Nanos) -> Self {
        Self::new(window, u64::min)
    }

    pub(super) fn maximum(window: Nanos) -> Self {
        Self::new(window, u64::max)
    }

    fn new(window: Nanos, better: fn(u64, u64) -> u64) -> Self {
        Self {
            window: window.max(PARTS),
            better,
            parts: VecDeque::new(),
        }
    }

    pub(super) fn add(&mut self, now: Nanos, value: u64) {
        let part = now.div_euclid(self.window / PARTS);
        while self
            .parts
            .front()
            .is_some_and(|(old, _)| *old <= part - PARTS)
            && self.parts.len() > 1
        {
            self.parts.pop_front();
        }
        match self.parts.back_mut() {
            Some((last, extreme)) if *last >= part => *extreme = (self.better)(*extreme, value),
            _ => self.parts.push_back((part, value)),
        }
        if self
            .parts
            .front()
            .is_some_and(|(old, _)| *old <= part - PARTS)
        {
            self.parts.pop_front();
        }
    }

    /// Forgets everything but `value`.
    pub(super) fn reset(&mut self, now: Nanos, value: u64) {
        self.parts.clear();
        self.add(now, value);
    }

    /// `None` before the first value; the last values are kept when no others come.
    pub(super) fn get(&self) -> Option<u64> {
        self.parts
            .iter()
            .map(|(_, value)| *value)
            .reduce(self.better)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::SECOND;

    #[test]
    fn a_minimum_is_forgotten_after_its_window_and_the_last_value_never() {
        let mut filter = Extreme::minimum(8 * SECOND);
        assert_eq!(filter.get(), None);
        filter.add(0, 10);
        for second in 1..8 {
            filter.add(second * SECOND, 20);
            assert_eq!(filter.get(), Some(10), "{second}");
        }
        filter.add(8 * SECOND, 20);
        assert_eq!(filter.get(), Some(20));
        filter.add(100 * SECOND, 30);
        assert_eq!(filter.get(), Some(30));
    }

    #[test]
    fn a_maximum_can_be_made_anew() {
        let mut filter = Extreme::maximum(SECOND);
        filter.add(0, 10);
        filter.add(SECOND / 2, 5);
        assert_eq!(filter.get(), Some(10));
        filter.reset(SECOND / 2, 5);
        assert_eq!(filter.get(), Some(5));
    }
}
