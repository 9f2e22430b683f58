//! The path delay of one track over a sliding window, in bounded memory.

use std::collections::VecDeque;

use crate::policy::{Nanos, SECOND};

/// How many buckets a window is divided into: the resolution with which old samples leave it.
const BUCKETS: Nanos = 100;

/// The longest silence that counts in full towards the window.
const LONGEST_GAP: Nanos = SECOND;

/// The buckets at the end of the window that [`Window::recent_max`] looks at.
const RECENT: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Index of the bucket on the track's active time.
    at: Nanos,
    min: Nanos,
    max: Nanos,
    samples: u32,
}

/// Minimum and spread of the samples of the last `length` of *active* time.
///
/// Silence longer than a second counts as one second, so that an outage does not throw
/// the minimum away just when the late frames of its end arrive.
#[derive(Debug, Clone)]
pub(super) struct Window {
    bucket: Nanos,
    buckets: VecDeque<Bucket>,
    active: Nanos,
    last: Option<Nanos>,
}

impl Window {
    pub(super) fn new(length: Nanos) -> Self {
        Self {
            bucket: (length / BUCKETS).max(1),
            buckets: VecDeque::new(),
            active: 0,
            last: None,
        }
    }

    pub(super) fn clear(&mut self) {
        self.buckets.clear();
    }

    pub(super) fn push(&mut self, sample: Nanos, now: Nanos) {
        let elapsed = self.last.map_or(0, |last| now.saturating_sub(last));
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
        self.active = self.active.saturating_add(elapsed.clamp(0, LONGEST_GAP));
        let at = self.active / self.bucket;
        match self.buckets.back_mut() {
            Some(bucket) if bucket.at == at => {
                bucket.min = bucket.min.min(sample);
                bucket.max = bucket.max.max(sample);
                bucket.samples = bucket.samples.saturating_add(1);
            }
            _ => self.buckets.push_back(Bucket {
                at,
                min: sample,
                max: sample,
                samples: 1,
            }),
        }
        while self
            .buckets
            .front()
            .is_some_and(|bucket| bucket.at <= at - BUCKETS)
        {
            self.buckets.pop_front();
        }
    }

    pub(super) fn min(&self) -> Option<Nanos> {
        self.buckets.iter().map(|bucket| bucket.min).min()
    }

    /// The largest of the latest samples, when there are enough of them to say what is usual now.
    pub(super) fn recent_max(&self) -> Option<Nanos> {
        let newest = self.buckets.back()?.at;
        let mut samples = 0u32;
        let mut max = Nanos::MIN;
        let mut oldest = newest;
        for bucket in self.buckets.iter().rev().take(RECENT) {
            if newest - bucket.at >= RECENT as Nanos {
                break;
            }
            samples = samples.saturating_add(bucket.samples);
            max = max.max(bucket.max);
            oldest = bucket.at;
        }
        (samples >= 3 && newest - oldest >= 2).then_some(max)
    }

    /// How far above the minimum samples come: the 95th percentile over the buckets' largest.
    pub(super) fn spread(&self) -> Option<Nanos> {
        let min = self.min()?;
        let mut tops: Vec<Nanos> = self.buckets.iter().map(|bucket| bucket.max).collect();
        tops.sort_unstable();
        let rank = (tops.len() * 95).div_ceil(100).max(1) - 1;
        Some(tops[rank].saturating_sub(min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::MILLISECOND as MS;

    #[test]
    fn an_outage_longer_than_the_window_does_not_raise_the_minimum() {
        let mut window = Window::new(10 * SECOND);
        (0..500).for_each(|n| window.push(5 * MS, n * 20 * MS));
        let back = 10 * SECOND + 15 * SECOND;
        window.push(15 * SECOND, back);
        assert_eq!(window.min(), Some(5 * MS));
    }

    #[test]
    fn samples_leave_the_window_in_time_and_memory_is_bounded() {
        let mut window = Window::new(10 * SECOND);
        window.push(MS, 0);
        for n in 1..=100_000 {
            window.push(5 * MS, n * MS);
            let expected = if n < 10_000 { MS } else { 5 * MS };
            assert_eq!(window.min(), Some(expected), "{n}");
            assert!(window.buckets.len() <= BUCKETS as usize);
        }
    }

    #[test]
    fn the_spread_leaves_out_the_rarest() {
        let mut window = Window::new(10 * SECOND);
        for n in 0..100 {
            let sample = if n == 50 { SECOND } else { n % 2 * 30 * MS };
            window.push(sample, n * 50 * MS);
        }
        assert_eq!(window.spread(), Some(30 * MS));
    }
}
