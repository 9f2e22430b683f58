//! What the status line says, worked out from access units seen on both sides. Plain data in and out: times are running
//! times in ns on a base that publisher and player share.

use std::collections::{HashMap, VecDeque};

/// ns
pub type Nanos = i64;

/// How far back the live figures look.
const WINDOW: Nanos = 5_000_000_000;
/// A unit that was sent so long ago does not arrive any more.
const FORGET: Nanos = 10_000_000_000;
/// Width of a bucket of the whole session's histogram.
const BUCKET: Nanos = 100_000;
const BUCKETS: usize = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Video,
    Audio,
}

/// An access unit as it passed a pad.
#[derive(Debug, Clone, Copy)]
pub struct Unit {
    /// Of the payload.
    pub hash: u64,
    /// When it passed.
    pub seen: Nanos,
    /// Its running time; `None` outside of the segment: it is decoded but not shown.
    pub running: Option<Nanos>,
}

#[derive(Debug, Default)]
pub struct Meter {
    video: Track,
    audio: Track,
}

/// Figures over the last seconds; `None` as long as nothing is known.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    pub video_frames: u64,
    pub audio_frames: u64,
    /// Median from pad to pad, of the video if there is any.
    pub latency: Option<Nanos>,
    /// Median of what the running time grew by on the way, of the video if there is any.
    pub shift: Option<Nanos>,
    /// How much later than the audio the video is presented, compared with how they were sent.
    pub offset: Option<Nanos>,
}

/// Quantiles from pad to pad over the whole session, to a tenth of a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    pub p50: Nanos,
    pub p95: Nanos,
    pub p99: Nanos,
}

impl Meter {
    /// A unit enters the publisher's pad. Input that is paced waits behind the pad until it is due: only then it is sent.
    pub fn sent(&mut self, kind: Kind, unit: Unit, paced: bool) {
        let Some(running) = unit.running else {
            return;
        };
        let left = if paced {
            unit.seen.max(running)
        } else {
            unit.seen
        };
        self.track(kind).sent(unit.hash, left, running);
    }

    /// A unit leaves the player's pad.
    pub fn received(&mut self, kind: Kind, unit: Unit) {
        self.track(kind).received(unit);
    }

    pub fn live(&self) -> Live {
        let video = self.video.shift();
        let audio = self.audio.shift();
        Live {
            video_frames: self.video.frames,
            audio_frames: self.audio.frames,
            latency: self.video.latency().or_else(|| self.audio.latency()),
            shift: video.or(audio),
            offset: video.zip(audio).map(|(video, audio)| video - audio),
        }
    }

    pub fn total(&self) -> Option<Total> {
        self.video
            .histogram
            .total()
            .or_else(|| self.audio.histogram.total())
    }

    fn track(&mut self, kind: Kind) -> &mut Track {
        match kind {
            Kind::Video => &mut self.video,
            Kind::Audio => &mut self.audio,
        }
    }
}

#[derive(Debug, Default)]
struct Track {
    frames: u64,
    /// What was sent lately, by payload.
    sent: HashMap<u64, Sent>,
    order: VecDeque<(u64, Nanos)>,
    samples: VecDeque<Sample>,
    histogram: Histogram,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    left: Nanos,
    running: Nanos,
    /// How often this payload was sent; silence may be coded alike again and again, and cannot be told apart.
    times: u32,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Nanos,
    latency: Nanos,
    shift: Nanos,
}

impl Track {
    fn sent(&mut self, hash: u64, left: Nanos, running: Nanos) {
        while let Some((old, at)) = self.order.front().copied()
            && left - at > FORGET
        {
            self.order.pop_front();
            if let Some(sent) = self.sent.get_mut(&old) {
                sent.times -= 1;
                if sent.times == 0 {
                    self.sent.remove(&old);
                }
            }
        }
        self.order.push_back((hash, left));
        let sent = self.sent.entry(hash).or_insert(Sent {
            left,
            running,
            times: 0,
        });
        sent.times += 1;
    }

    fn received(&mut self, unit: Unit) {
        self.frames += 1;
        let unique = self.sent.get(&unit.hash).filter(|sent| sent.times == 1);
        let (Some(running), Some(sent)) = (unit.running, unique) else {
            return;
        };
        let sample = Sample {
            at: unit.seen,
            latency: unit.seen - sent.left,
            shift: running - sent.running,
        };
        while self
            .samples
            .front()
            .is_some_and(|first| sample.at - first.at > WINDOW)
        {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.histogram.add(sample.latency);
    }

    fn latency(&self) -> Option<Nanos> {
        median(self.samples.iter().map(|sample| sample.latency))
    }

    fn shift(&self) -> Option<Nanos> {
        median(self.samples.iter().map(|sample| sample.shift))
    }
}

fn median(values: impl Iterator<Item = Nanos>) -> Option<Nanos> {
    let mut values: Vec<_> = values.collect();
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable(middle).1)
}

/// Bounded, however long the session is. The last bucket takes all that is longer.
#[derive(Debug, Default)]
struct Histogram {
    counts: Vec<u64>,
    sum: u64,
}

impl Histogram {
    fn add(&mut self, value: Nanos) {
        let bucket = usize::try_from(value / BUCKET)
            .unwrap_or(0)
            .min(BUCKETS - 1);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.sum += 1;
    }

    fn total(&self) -> Option<Total> {
        Some(Total {
            p50: self.quantile(50)?,
            p95: self.quantile(95)?,
            p99: self.quantile(99)?,
        })
    }

    /// The middle of the bucket that so many per cent of the values do not exceed.
    fn quantile(&self, percent: u64) -> Option<Nanos> {
        let rank = (self.sum * percent).div_ceil(100);
        let mut below = 0;
        let bucket = self.counts.iter().position(|count| {
            below += count;
            below >= rank && below > 0
        })?;
        Some(bucket as Nanos * BUCKET + BUCKET / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn unit(hash: u64, seen: Nanos, running: Nanos) -> Unit {
        Unit {
            hash,
            seen: seen * MS,
            running: Some(running * MS),
        }
    }

    #[test]
    fn nothing_is_known_before_a_unit_has_arrived() {
        let mut meter = Meter::default();
        meter.sent(Kind::Video, unit(1, 0, 0), false);
        assert_eq!(meter.live(), Live::default());
        assert_eq!(meter.total(), None);
    }

    #[test]
    fn latency_is_the_median_from_pad_to_pad() {
        let mut meter = Meter::default();
        for (hash, latency) in [(1, 2), (2, 90), (3, 4)] {
            meter.sent(Kind::Video, unit(hash, 100, 90), false);
            meter.received(Kind::Video, unit(hash, 100 + latency, 95));
        }
        let live = meter.live();
        assert_eq!(live.latency, Some(4 * MS));
        assert_eq!(live.shift, Some(5 * MS));
        assert_eq!(live.video_frames, 3);
    }

    #[test]
    fn offset_is_how_much_more_the_video_was_moved_than_the_audio() {
        let mut meter = Meter::default();
        meter.sent(Kind::Video, unit(1, 0, 0), false);
        meter.sent(Kind::Audio, unit(1, 0, 40), false);
        meter.received(Kind::Video, unit(1, 3, 7));
        assert_eq!(meter.live().offset, None);
        meter.received(Kind::Audio, unit(1, 3, 42));
        assert_eq!(meter.live().offset, Some(5 * MS));
    }

    #[test]
    fn a_payload_that_was_sent_twice_is_left_out_until_one_is_forgotten() {
        let mut meter = Meter::default();
        meter.sent(Kind::Audio, unit(7, 0, 0), false);
        meter.sent(Kind::Audio, unit(7, 20, 20), false);
        meter.received(Kind::Audio, unit(7, 21, 20));
        assert_eq!(meter.live().latency, None);
        assert_eq!(meter.live().audio_frames, 1);
        meter.sent(Kind::Audio, unit(8, 20_000, 20_000), false);
        meter.sent(Kind::Audio, unit(7, 20_020, 20_020), false);
        meter.received(Kind::Audio, unit(7, 20_021, 20_020));
        assert_eq!(meter.live().latency, Some(MS));
    }

    #[test]
    fn what_is_decoded_but_not_shown_counts_as_a_frame_only() {
        let mut meter = Meter::default();
        meter.sent(Kind::Video, unit(1, 0, 0), false);
        let catching_up = Unit {
            running: None,
            ..unit(1, 800, 0)
        };
        meter.received(Kind::Video, catching_up);
        let live = meter.live();
        assert_eq!((live.video_frames, live.latency), (1, None));
    }

    #[test]
    fn paced_input_is_sent_when_it_is_due() {
        let mut meter = Meter::default();
        meter.sent(Kind::Video, unit(1, 0, 500), true);
        meter.received(Kind::Video, unit(1, 501, 501));
        assert_eq!(meter.live().latency, Some(MS));
    }

    #[test]
    fn live_figures_forget_and_the_total_does_not() {
        let mut meter = Meter::default();
        for n in 0..100 {
            let latency = if n < 10 { 50 } else { 1 };
            meter.sent(Kind::Video, unit(n, n as i64 * 1_000, 0), false);
            meter.received(Kind::Video, unit(n, n as i64 * 1_000 + latency, 0));
        }
        assert_eq!(meter.live().latency, Some(MS));
        let total = meter.total().unwrap();
        assert_eq!(total.p50, MS + BUCKET / 2);
        assert_eq!(total.p99, 50 * MS + BUCKET / 2);
    }
}
