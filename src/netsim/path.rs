//! One direction of a path. Pure: no clock, no socket; the same seed and the same calls give the same answers.

use std::time::Duration;

use super::codel::Toll;
use super::line::{DelayLine, LineLimits};
use super::loss::BurstState;
use super::packet::Packet;
use super::queue::{Bottleneck, Queued};
use super::random::Sequence;
use super::schedule::{PathStep, Timeline};
use super::settings::{JitterDraw, Order, PathSettings};
use super::stats::{DirectionStats, Traffic};
use super::stream::{StreamFate, StreamLink};

/// Why a packet is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// [`PathSettings::loss`]
    Random,
    /// [`PathSettings::bursts`]
    Burst,
    /// The queue before the bottleneck was full.
    Queue,
    /// The path was cut.
    Outage,
    /// The emulator's own bound of memory was reached; not a property of the path that was asked for.
    Overflow,
}

/// One direction of a path and what is under way on it.
///
/// A packet meets, in this order: outage, random loss, bursts, corruption, duplication, the queue of the bottleneck and
/// what drops there, delay and jitter. Only what passed the losses takes room in the queue. The order of calls is that
/// of time: `now` counts from the start of the path and must not fall.
#[derive(Debug, Clone)]
pub struct Path<T> {
    settings: PathSettings,
    limits: LineLimits,
    timeline: Timeline<PathStep>,
    chance: Chance,
    burst: BurstState,
    bottleneck: Bottleneck<T>,
    line: DelayLine<Packet<T>>,
    streams: StreamLink,
    /// End of the cut made by [`Path::cut`].
    cut_until: Duration,
    /// Arrival of the packet that arrives last so far.
    last_arrival: Duration,
    /// All but `queued`.
    stats: DirectionStats,
}

/// A sequence for each purpose, so that one setting leaves the decisions of the others as they are.
#[derive(Debug, Clone)]
struct Chance {
    loss: Sequence,
    bursts: Sequence,
    jitter: Sequence,
    corrupt: Sequence,
    duplicate: Sequence,
    jitter_shape: Sequence,
}

impl Chance {
    fn new(seed: u64) -> Self {
        let sequence = |purpose| Sequence::new(seed, purpose);
        Self {
            loss: sequence(0),
            bursts: sequence(1),
            jitter: sequence(2),
            corrupt: sequence(3),
            duplicate: sequence(4),
            jitter_shape: sequence(5),
        }
    }
}

/// What chance decided on a packet.
struct Fate {
    lost: bool,
    burst: bool,
    /// The bit to flip, as a place from 0 to 1.
    corrupt: Option<f64>,
    duplicate: bool,
    jitter: JitterDraw,
}

impl<T: Clone> Path<T> {
    /// A path whose time begins at zero. Which packets chance takes depends on `seed` and on their number alone, not
    /// on their time or size, nor on the other settings.
    pub fn new(settings: PathSettings, seed: u64) -> Self {
        Self::scheduled(settings, Timeline::default(), seed)
    }

    /// A path that changes by itself.
    pub(super) fn scheduled(
        settings: PathSettings,
        timeline: Timeline<PathStep>,
        seed: u64,
    ) -> Self {
        Self {
            settings,
            limits: LineLimits::default(),
            timeline,
            chance: Chance::new(seed),
            burst: BurstState::default(),
            bottleneck: Bottleneck::default(),
            line: DelayLine::default(),
            streams: StreamLink::new(seed),
            cut_until: Duration::ZERO,
            last_arrival: Duration::ZERO,
            stats: DirectionStats::default(),
        }
    }

    /// The settings at `now`.
    pub fn settings(&mut self, now: Duration) -> &PathSettings {
        self.advance(now);
        &self.settings
    }

    /// Changes the settings. What waits at the bottleneck leaves at the new rate and takes the new delay; what left it
    /// arrives as decided then. A burst goes on unless [`PathSettings::bursts`] changes.
    pub fn set(&mut self, now: Duration, settings: PathSettings) {
        self.advance(now);
        self.replace(settings);
    }

    fn replace(&mut self, settings: PathSettings) {
        if self.settings.bursts != settings.bursts {
            self.burst = BurstState::default();
        }
        self.settings = settings;
    }

    /// Cuts the path from now on for `length`, in addition to the outages of the settings. The last call counts:
    /// a length of zero mends the path.
    pub fn cut(&mut self, now: Duration, length: Duration) {
        self.advance(now);
        self.cut_until = now.saturating_add(length);
    }

    /// Sends a packet at `now`. The error is a loss at once; CoDel may still drop what waits.
    pub fn send(&mut self, now: Duration, mut packet: Packet<T>) -> Result<(), LossReason> {
        self.advance(now);
        self.stats.offered.add(packet.payload.len());
        let fate = self.draw();
        if let Some(reason) = self.loss(now, &fate) {
            self.stats.lost.add(reason);
            return Err(reason);
        }
        if let Some(place) = fate.corrupt
            && flip_bit(&mut packet.payload, place)
        {
            self.stats.corrupted += 1;
        }
        // What a full queue does to the copy is counted, too, but it is no answer to the caller.
        let copy = fate.duplicate.then(|| packet.clone());
        let result = self.enter(now, packet, fate.jitter);
        if let Some(copy) = copy {
            self.stats.duplicated += 1;
            let _ = self.enter(now, copy, fate.jitter);
        }
        self.advance(now);
        result
    }

    /// The next packet that arrived by `now`, and when it did.
    pub fn pop(&mut self, now: Duration) -> Option<(Duration, Packet<T>)> {
        if let due @ Some(_) = self.line.pop_due(now) {
            return due;
        }
        self.advance(now);
        self.line.pop_due(now)
    }

    /// When to call [`Path::pop`] next: no packet arrives before. `None` if none is under way.
    pub fn next_at(&self) -> Option<Duration> {
        let waiting = self.bottleneck.next_at().map(|at| {
            let arrival = at.saturating_add(self.settings.delay);
            self.timeline
                .next_at()
                .map_or(arrival, |step| arrival.min(step))
        });
        [self.line.next_at(), waiting].into_iter().flatten().min()
    }

    /// What was counted until `now`.
    pub fn stats(&mut self, now: Duration) -> DirectionStats {
        self.advance(now);
        DirectionStats {
            queued: Traffic {
                packets: (self.bottleneck.len() + self.line.len()) as u64,
                bytes: self.bottleneck.bytes() + self.line.bytes() as u64,
            },
            ..self.stats
        }
    }

    /// Sends a piece of a TCP stream.
    pub(super) fn send_stream(&mut self, now: Duration, len: usize) -> StreamFate {
        self.advance(now);
        let cut = self.is_cut(now);
        self.streams.send(now, len, &self.settings, cut)
    }

    pub(super) fn stats_mut(&mut self) -> &mut DirectionStats {
        &mut self.stats
    }

    /// Every packet takes its random numbers, also one that an outage takes: see `new`.
    fn draw(&mut self) -> Fate {
        let Self {
            settings,
            chance,
            burst,
            ..
        } = self;
        let lost = settings.loss.hit(&mut chance.loss);
        let burst = burst.next(settings.bursts.as_ref(), &mut chance.bursts);
        let corrupt = settings.corrupt.hit(&mut chance.corrupt);
        let place = chance.corrupt.next_unit();
        Fate {
            lost,
            burst,
            corrupt: corrupt.then_some(place),
            duplicate: settings.duplicate.hit(&mut chance.duplicate),
            jitter: JitterDraw([
                chance.jitter.next_unit(),
                chance.jitter_shape.next_unit(),
                chance.jitter_shape.next_unit(),
            ]),
        }
    }

    fn loss(&self, now: Duration, fate: &Fate) -> Option<LossReason> {
        if self.is_cut(now) {
            Some(LossReason::Outage)
        } else if fate.lost {
            Some(LossReason::Random)
        } else if fate.burst {
            Some(LossReason::Burst)
        } else {
            None
        }
    }

    fn is_cut(&self, now: Duration) -> bool {
        now < self.cut_until
            || self
                .settings
                .outages
                .iter()
                .any(|outage| outage.covers(now))
    }

    fn enter(
        &mut self,
        now: Duration,
        packet: Packet<T>,
        jitter: JitterDraw,
    ) -> Result<(), LossReason> {
        let len = packet.payload.len();
        let bytes = self.bottleneck.bytes() as usize + self.line.bytes() + len;
        let packets = self.bottleneck.len() + self.line.len();
        let refused = if packets >= self.limits.packets || bytes > self.limits.bytes {
            Some(LossReason::Overflow)
        } else if !self.bottleneck.has_room(now, len, &self.settings) {
            Some(LossReason::Queue)
        } else {
            None
        };
        if let Some(reason) = refused {
            self.stats.lost.add(reason);
            return Err(reason);
        }
        self.bottleneck.enter(Queued {
            packet,
            entered: now,
            jitter,
        });
        // An idle link begins at once: a copy that follows finds it busy.
        if self.bottleneck.next_at() == Some(now) {
            self.depart();
        }
        Ok(())
    }

    /// Brings the bottleneck and the schedule up to `now`, in the order of their times.
    fn advance(&mut self, now: Duration) {
        loop {
            let step = self.timeline.next_at().filter(|at| *at <= now);
            let departure = self.bottleneck.next_at().filter(|at| *at <= now);
            match (step, departure) {
                (Some(step), departure) if departure.is_none_or(|departure| step <= departure) => {
                    self.step(step);
                }
                (_, Some(_)) => self.depart(),
                _ => return,
            }
        }
    }

    fn step(&mut self, at: Duration) {
        let Some(step) = self.timeline.pop(at) else {
            return;
        };
        let mut settings = self.settings.clone();
        step.change.apply(&mut settings);
        let cut = step.cut;
        self.replace(settings);
        if let Some(length) = cut {
            self.cut_until = at.saturating_add(length);
        }
    }

    /// Moves the next packet from the bottleneck to the delay.
    fn depart(&mut self) {
        let mut toll = Toll::default();
        let taken = self.bottleneck.take(&self.settings, &mut toll);
        self.stats.lost.codel += toll.dropped;
        self.stats.marked += toll.marked;
        let Some((queued, left)) = taken else {
            return;
        };
        let mut at = left.saturating_add(self.settings.latency(&queued.jitter));
        if self.settings.order == Order::Kept {
            at = at.max(self.last_arrival);
        }
        self.last_arrival = self.last_arrival.max(at);
        self.line
            .push(at, queued.packet.payload.len(), queued.packet);
    }
}

/// Flips the bit at this place, from 0 to 1, of the payload; an empty one has none.
fn flip_bit(payload: &mut [u8], place: f64) -> bool {
    let bit = (payload.len() as f64 * 8.0 * place) as usize;
    match payload.get_mut(bit / 8) {
        Some(byte) => {
            *byte ^= 1 << (bit % 8);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests;
