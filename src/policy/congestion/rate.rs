//! Delivery rate from acknowledgements (draft-ietf-ccwg-bbr section 4.1, there per packet; here per moment of sending).

use std::collections::VecDeque;

use crate::policy::{Nanos, SECOND};

/// What may be remembered of packets under way. Moments of sending beyond it give no sample.
const MAX_RECORDS: usize = 4096;
/// A packet that is acknowledged later than this gives no sample.
const MAX_AGE: Nanos = 5 * SECOND;
/// How many round trips ago something was sent that may still be acknowledged, when something sent later was: by then it is
/// lost (RFC 9002 section 6.1.2: 9/8), and quinn takes no acknowledgement of what is lost.
const ROUND_TRIPS: Nanos = 2;
/// A queue of fewer records is not worth making smaller.
const MIN_CAPACITY: usize = 64;

/// The state of delivery when something was sent.
#[derive(Debug, Clone, Copy)]
struct Record {
    sent: Nanos,
    delivered: u64,
    delivered_at: Nanos,
    first_sent: Nanos,
    app_limited: bool,
}

/// A measurement: what was delivered between the sending and the acknowledgement of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Bytes a second.
    pub(super) rate: u64,
    /// The application had less to send than the path would have taken: the rate is a lower bound.
    pub(super) app_limited: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Delivery {
    records: VecDeque<Record>,
    delivered: u64,
    delivered_at: Nanos,
    first_sent: Nanos,
    /// Samples of packets sent before this much was delivered are limited by the application.
    app_limited_until: u64,
}

impl Delivery {
    /// `idle`: nothing else is under way.
    pub(super) fn on_sent(&mut self, now: Nanos, idle: bool) {
        if idle {
            self.first_sent = now;
            self.delivered_at = now;
        }
        if self.records.back().is_some_and(|last| last.sent >= now) {
            return;
        }
        if self.records.len() == MAX_RECORDS {
            self.records.pop_front();
        }
        self.records.push_back(Record {
            sent: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            app_limited: self.app_limited_until > self.delivered,
        });
    }

    /// Everything of this acknowledgement: `bytes` in all, of which the newest was sent at `sent`.
    /// `min_rtt` tells measurements from artefacts: what is delivered in less came at once.
    pub(super) fn on_acked(
        &mut self,
        now: Nanos,
        sent: Nanos,
        bytes: u64,
        min_rtt: Nanos,
    ) -> Option<Sample> {
        self.delivered = self.delivered.saturating_add(bytes);
        self.delivered_at = now;
        let at = self.records.partition_point(|record| record.sent < sent);
        let record = self.records.get(at).copied().filter(|r| r.sent == sent);
        self.forget(now, now.saturating_sub(sent).max(min_rtt));
        let record = record?;
        self.first_sent = self.first_sent.max(sent);
        let sending = record.sent.saturating_sub(record.first_sent);
        let acking = now.saturating_sub(record.delivered_at);
        let interval = sending.max(acking);
        if interval <= 0 || interval < min_rtt {
            return None;
        }
        let delivered = self.delivered.saturating_sub(record.delivered);
        let rate = u128::from(delivered) * SECOND as u128 / interval as u128;
        Some(Sample {
            rate: u64::try_from(rate).unwrap_or(u64::MAX),
            app_limited: record.app_limited,
        })
    }

    /// Lets go of what cannot be acknowledged any more, after a round trip of `rtt`. A relay has one of these for each
    /// subscriber.
    fn forget(&mut self, now: Nanos, rtt: Nanos) {
        let age = rtt.saturating_mul(ROUND_TRIPS).min(MAX_AGE);
        let oldest = now.saturating_sub(age);
        while self.records.front().is_some_and(|r| r.sent < oldest) {
            self.records.pop_front();
        }
        let capacity = self.records.capacity();
        if capacity > MIN_CAPACITY && self.records.len() < capacity / 4 {
            self.records.shrink_to(capacity / 2);
        }
    }

    /// The application has nothing more to send, while `in_flight` bytes are under way.
    pub(super) fn on_app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = self.delivered.saturating_add(in_flight).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::MILLISECOND;

    const RTT: Nanos = 40 * MILLISECOND;

    #[test]
    fn a_steady_stream_measures_its_own_rate() {
        let mut delivery = Delivery::default();
        let mut last = None;
        // 1,000 bytes each millisecond: 1 MB/s.
        for ms in 0..400 {
            let now = ms * MILLISECOND;
            delivery.on_sent(now, ms == 0);
            if now >= RTT {
                last = delivery.on_acked(now, now - RTT, 1000, RTT);
            }
        }
        let sample = last.unwrap();
        assert!((980_000..=1_020_000).contains(&sample.rate), "{sample:?}");
        assert!(!sample.app_limited);
    }

    #[test]
    fn two_round_trips_are_remembered_however_long_it_runs() {
        let mut delivery = Delivery::default();
        for ms in 0..10_000 {
            let now = ms * MILLISECOND;
            delivery.on_sent(now, ms == 0);
            if now >= RTT {
                delivery.on_acked(now, now - RTT, 1000, RTT);
            }
        }
        assert_eq!(delivery.records.len(), 81);
        assert!(delivery.records.capacity() <= 256);
    }

    #[test]
    fn what_an_outage_left_is_forgotten_with_its_memory_after_the_first_answer() {
        let mut delivery = Delivery::default();
        for ms in 0..3000 {
            delivery.on_sent(ms * MILLISECOND, ms == 0);
        }
        let now = 3000 * MILLISECOND;
        for ms in 0..400 {
            let now = now + ms * MILLISECOND;
            delivery.on_sent(now, false);
            delivery.on_acked(now, now - RTT, 1000, RTT);
        }
        assert_eq!(delivery.records.len(), 81);
        assert!(delivery.records.capacity() <= 512);
    }

    #[test]
    fn what_comes_out_of_order_within_a_round_trip_is_still_measured() {
        let mut delivery = Delivery::default();
        delivery.on_sent(0, true);
        delivery.on_sent(MILLISECOND, false);
        assert!(delivery.on_acked(RTT, MILLISECOND, 500, 0).is_some());
        assert!(delivery.on_acked(RTT + 9, 0, 500, 0).is_some());
    }

    #[test]
    fn what_is_sent_after_the_application_ran_dry_is_a_lower_bound() {
        let mut delivery = Delivery::default();
        delivery.on_sent(0, true);
        delivery.on_app_limited(1000);
        delivery.on_sent(MILLISECOND, false);
        assert!(!delivery.on_acked(RTT, 0, 500, RTT).unwrap().app_limited);
        let sample = delivery.on_acked(RTT + MILLISECOND, MILLISECOND, 500, RTT);
        assert!(sample.unwrap().app_limited);
    }

    #[test]
    fn unknown_and_impossible_packets_give_no_sample() {
        let mut delivery = Delivery::default();
        delivery.on_sent(10, true);
        assert_eq!(delivery.on_acked(RTT, 11, 1000, RTT), None);
        assert_eq!(
            delivery.on_acked(11, 10, 1000, RTT),
            None,
            "within less than a round trip"
        );
    }
}
