//! TCP on a path: what loss, rate and outages do to a byte stream. Pure.
//!
//! The emulator ends TCP on both of its sides, so the stream itself loses nothing. What a path would have lost costs the
//! time of a retransmission, in which everything behind it waits.

use std::time::Duration;

use super::loss::BurstState;
use super::random::Sequence;
use super::settings::{JitterDraw, PathSettings};

/// Payload of a segment on Ethernet (1500 bytes less the headers of IPv4 and TCP with time stamps).
const SEGMENT: usize = 1448;
/// The least retransmission timeout, that of Linux; RFC 6298 allows what is below its 1 s where it is safe.
const MIN_TIMEOUT: Duration = Duration::from_millis(200);
/// RFC 6298, 2.5: "a maximum value MAY be placed on RTO provided it is at least 60 seconds".
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// What the seed of a path is changed by, so that TCP leaves the decisions on datagrams as they are.
const SEED: u64 = 0x0074_6370;

/// The link that all TCP connections of a direction share. They do not compete with datagrams.
#[derive(Debug, Clone)]
pub(super) struct StreamLink {
    /// When the last byte that it took has left.
    free_at: Duration,
    burst: BurstState,
    loss: Sequence,
    bursts: Sequence,
    corrupt: Sequence,
    jitter: Sequence,
}

/// What becomes of a piece of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamFate {
    /// It has left the bottleneck at `left` and arrives at `at`, unless something before it arrives later.
    Arrives { left: Duration, at: Duration },
    /// To be sent again.
    Lost(StreamLoss),
}

/// Why a piece has to be sent again, which says when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamLoss {
    /// So many bytes of it; later segments got through and told the sender.
    Segments(usize),
    /// Nothing gets through.
    Outage,
}

impl StreamLink {
    pub(super) fn new(seed: u64) -> Self {
        let sequence = |purpose| Sequence::new(seed ^ SEED, purpose);
        Self {
            free_at: Duration::ZERO,
            burst: BurstState::default(),
            loss: sequence(0),
            bursts: sequence(1),
            corrupt: sequence(2),
            jitter: sequence(3),
        }
    }

    /// Sends `len` bytes at `now`, which must not fall.
    pub(super) fn send(
        &mut self,
        now: Duration,
        len: usize,
        settings: &PathSettings,
        cut: bool,
    ) -> StreamFate {
        if cut {
            return StreamFate::Lost(StreamLoss::Outage);
        }
        let mut missing = 0;
        for start in (0..len).step_by(SEGMENT) {
            if self.loses_segment(settings) {
                missing += SEGMENT.min(len - start);
            }
        }
        self.free_at = self.free_at.max(now);
        if let Some(rate) = settings.rate {
            let nanos = len as u128 * 8_000_000_000 / u128::from(rate.bits_per_second());
            let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
            self.free_at = self.free_at.saturating_add(Duration::from_nanos(nanos));
        }
        if missing > 0 {
            return StreamFate::Lost(StreamLoss::Segments(missing));
        }
        let jitter = JitterDraw(std::array::from_fn(|_| self.jitter.next_unit()));
        StreamFate::Arrives {
            left: self.free_at,
            at: self.free_at.saturating_add(settings.latency(&jitter)),
        }
    }

    fn loses_segment(&mut self, settings: &PathSettings) -> bool {
        let lost = settings.loss.hit(&mut self.loss);
        let burst = self.burst.next(settings.bursts.as_ref(), &mut self.bursts);
        // The checksum of TCP finds it.
        let corrupt = settings.corrupt.hit(&mut self.corrupt);
        lost || burst || corrupt
    }
}

/// How long after a piece was sent it is sent again; `attempt` counts from zero.
///
/// A first loss within a flow is told by duplicate acknowledgements after a round trip (RFC 5681, 3.2); anything else
/// takes the timeout, which doubles (RFC 6298, 5.5).
pub(super) fn retry_after(loss: StreamLoss, attempt: u32, round_trip: Duration) -> Duration {
    if attempt == 0 && matches!(loss, StreamLoss::Segments(_)) {
        return round_trip.max(Duration::from_millis(1));
    }
    let timeout = MIN_TIMEOUT.max(round_trip);
    timeout
        .saturating_mul(1 << attempt.min(16))
        .min(MAX_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::super::loss::Probability;
    use super::super::settings::Rate;
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_stream_takes_its_rate_and_its_delay() {
        let settings = PathSettings {
            delay: ms(20),
            rate: Some(Rate::mbit(8)),
            ..Default::default()
        };
        let mut link = StreamLink::new(1);
        for n in 1..=3 {
            let (left, at) = (ms(n), ms(n + 20));
            let expected = StreamFate::Arrives { left, at };
            assert_eq!(link.send(ms(0), 1000, &settings, false), expected);
        }
    }

    #[test]
    fn a_long_piece_is_lost_more_often_than_a_segment() {
        let settings = PathSettings {
            loss: Probability::percent(1.0),
            ..Default::default()
        };
        let losses = |len| {
            let mut link = StreamLink::new(1);
            let lost = |_: &usize| {
                let fate = link.send(ms(0), len, &settings, false);
                matches!(fate, StreamFate::Lost(StreamLoss::Segments(_)))
            };
            (0..10_000).filter(lost).count()
        };
        assert!((60..140).contains(&losses(1000)), "{}", losses(1000));
        // 1 − 0.99¹⁰
        let ten = losses(10 * SEGMENT);
        assert!((850..1060).contains(&ten), "{ten}");
    }

    #[test]
    fn only_what_was_lost_has_to_be_sent_again() {
        let settings = PathSettings {
            loss: Probability::percent(20.0),
            ..Default::default()
        };
        let len = 3 * SEGMENT + 100;
        let mut link = StreamLink::new(4);
        let missing: std::collections::BTreeSet<_> = (0..2000)
            .filter_map(|_| match link.send(ms(0), len, &settings, false) {
                StreamFate::Lost(StreamLoss::Segments(bytes)) => Some(bytes),
                _ => None,
            })
            .collect();
        let sums = (0..=3).flat_map(|n| [n * SEGMENT, n * SEGMENT + 100]);
        assert_eq!(missing, sums.filter(|sum| *sum > 0).collect());
    }

    #[test]
    fn an_outage_lets_nothing_through() {
        let fate = StreamLink::new(1).send(ms(0), 1, &PathSettings::default(), true);
        assert_eq!(fate, StreamFate::Lost(StreamLoss::Outage));
    }

    #[test]
    fn a_loss_costs_a_round_trip_and_a_second_one_a_timeout_that_doubles() {
        let after = |loss, attempt| retry_after(loss, attempt, ms(40));
        assert_eq!(after(StreamLoss::Segments(1), 0), ms(40));
        assert_eq!(after(StreamLoss::Segments(1), 1), ms(400));
        assert_eq!(after(StreamLoss::Outage, 0), ms(200));
        assert_eq!(after(StreamLoss::Outage, 3), ms(1600));
        assert_eq!(after(StreamLoss::Outage, u32::MAX), MAX_TIMEOUT);
    }
}
