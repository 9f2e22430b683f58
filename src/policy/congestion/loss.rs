//! The share of bytes that the path loses, and the share that it loses at any load.

use std::collections::VecDeque;

use crate::policy::{Nanos, SECOND};

const BUCKET: Nanos = SECOND / 2;
/// 4 s: long enough to hold a whole cycle of probing.
const BUCKETS: i64 = 8;
/// Buckets that count as now.
const RECENT: i64 = 2;
/// A share of less is chance.
const MIN_BYTES: u64 = 30_000;

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    index: i64,
    acked: u64,
    lost: u64,
}

impl Bucket {
    fn total(&self) -> u64 {
        self.acked.saturating_add(self.lost)
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Loss {
    buckets: VecDeque<Bucket>,
}

impl Loss {
    pub(super) fn on_acked(&mut self, now: Nanos, bytes: u64) {
        let bucket = self.bucket(now);
        bucket.acked = bucket.acked.saturating_add(bytes);
    }

    pub(super) fn on_lost(&mut self, now: Nanos, bytes: u64) {
        let bucket = self.bucket(now);
        bucket.lost = bucket.lost.saturating_add(bytes);
    }

    pub(super) fn clear(&mut self) {
        self.buckets.clear();
    }

    /// Of the last second, 0.0 to 1.0.
    pub(super) fn recent(&self) -> f64 {
        self.share(RECENT, MIN_BYTES)
    }

    /// Of the last four seconds, 0.0 to 1.0; of less than one of them it would be chance where packets are lost in bursts.
    pub(super) fn lasting(&self) -> f64 {
        match self.buckets.len() > RECENT as usize {
            true => self.share(BUCKETS, 4 * MIN_BYTES),
            false => 0.0,
        }
    }

    fn share(&self, buckets: i64, least: u64) -> f64 {
        let Some(newest) = self.buckets.back() else {
            return 0.0;
        };
        let from = newest.index - buckets;
        let recent = self.buckets.iter().filter(|bucket| bucket.index > from);
        let (lost, total) = recent.fold((0u64, 0u64), |(lost, total), bucket| {
            (
                lost.saturating_add(bucket.lost),
                total.saturating_add(bucket.total()),
            )
        });
        if total < least {
            return 0.0;
        }
        lost as f64 / total as f64
    }

    /// The least of half a second in the last four seconds: what is lost whatever the load.
    pub(super) fn floor(&self) -> f64 {
        let whole = self.buckets.iter().rev().skip(1);
        whole
            .filter(|bucket| bucket.total() >= MIN_BYTES)
            .map(|bucket| bucket.lost as f64 / bucket.total() as f64)
            .reduce(f64::min)
            .unwrap_or(0.0)
    }

    fn bucket(&mut self, now: Nanos) -> &mut Bucket {
        let index = now.div_euclid(BUCKET);
        if self.buckets.back().is_none_or(|last| last.index < index) {
            self.buckets.push_back(Bucket {
                index,
                ..Bucket::default()
            });
            while self
                .buckets
                .front()
                .is_some_and(|b| b.index <= index - BUCKETS)
            {
                self.buckets.pop_front();
            }
        }
        let last = self.buckets.len() - 1;
        &mut self.buckets[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recent_share_follows_and_the_floor_is_what_stays() {
        let mut loss = Loss::default();
        for tick in 0..80 {
            let now = tick * SECOND / 10;
            loss.on_acked(now, 95_000);
            loss.on_lost(now, 5_000);
            if (40..50).contains(&tick) {
                loss.on_lost(now, 20_000);
            }
            if tick == 49 {
                assert!(loss.recent() > 0.15, "{}", loss.recent());
            }
        }
        assert!((loss.recent() - 0.05).abs() < 0.001);
        assert!((loss.floor() - 0.05).abs() < 0.001);
        loss.clear();
        assert_eq!(loss.recent(), 0.0);
    }

    #[test]
    fn a_few_packets_are_no_share() {
        let mut loss = Loss::default();
        loss.on_lost(0, 12_000);
        assert_eq!(loss.recent(), 0.0);
        assert_eq!(loss.floor(), 0.0);
    }
}
