//! One direction of a path. Pure: no clock, no socket; the same seed and the same calls give the same answers.

use std::num::NonZeroU64;
use std::time::Duration;

use super::loss::{BurstState, Bursts, Probability};
use super::random::Sequence;

/// What a path does to packets. The default is a perfect path.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PathSettings {
    /// One-way delay of every packet: the least that one takes.
    pub delay: Duration,
    /// Added to `delay`, uniform from zero to this.
    pub jitter: Duration,
    /// Whether jitter may change the order of packets.
    pub order: Order,
    /// Each packet is lost with this probability, independent of the others.
    pub loss: Probability,
    /// Losses in groups, in addition to `loss`.
    pub bursts: Option<Bursts>,
    /// Rate of the bottleneck; `None` has none.
    pub rate: Option<Rate>,
    /// What may wait at the bottleneck. Means nothing without a rate.
    pub queue: QueueLimit,
    /// When the path is cut.
    pub outages: Vec<Outage>,
}

/// Whether packets leave in the order in which they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// A packet never overtakes one that was sent before.
    #[default]
    Kept,
    /// Each packet leaves when its own delay is over.
    Free,
}

/// A rate in bit/s. Counted are the bytes that [`Path::send`] is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(NonZeroU64);

impl Rate {
    /// `None` if `bits_per_second` is zero.
    pub fn new(bits_per_second: u64) -> Option<Self> {
        NonZeroU64::new(bits_per_second).map(Self)
    }

    /// In Mbit/s (10⁶ bit/s); zero counts as the slowest rate there is.
    pub fn mbit(mbit: u32) -> Self {
        Self(NonZeroU64::new(u64::from(mbit) * 1_000_000).unwrap_or(NonZeroU64::MIN))
    }

    /// In bit/s.
    pub fn bits_per_second(self) -> u64 {
        self.0.get()
    }
}

/// Size of the queue before the bottleneck. A packet that does not fit is dropped (drop-tail); an idle bottleneck
/// takes any packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueLimit {
    /// A packet that would wait longer than this is dropped.
    Time(Duration),
    /// The bytes that wait, with those of the packet under transmission that have not left yet.
    Bytes(u64),
}

impl Default for QueueLimit {
    fn default() -> Self {
        Self::Time(Duration::from_millis(100))
    }
}

/// A time in which everything sent is lost. What is under way when it begins still arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When it begins, from the start of the path.
    pub at: Duration,
    /// How long it lasts.
    pub length: Duration,
}

impl Outage {
    fn covers(&self, now: Duration) -> bool {
        now >= self.at && now - self.at < self.length
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It arrives at this time, from the start of the path.
    Deliver { at: Duration },
    /// It does not arrive.
    Lost(LossReason),
}

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
}

/// One direction of a path.
///
/// A packet meets, in this order: outage, random loss, bursts, the queue of the bottleneck, delay and jitter. Only
/// what passed the losses takes room in the queue.
#[derive(Debug, Clone)]
pub struct Path {
    settings: PathSettings,
    loss: Sequence,
    bursts: Sequence,
    jitter: Sequence,
    burst: BurstState,
    bottleneck: Bottleneck,
    /// End of the cut made by [`Path::cut`].
    cut_until: Duration,
    /// Arrival of the packet that arrives last so far.
    last_arrival: Duration,
}

impl Path {
    /// A path whose time begins at zero. Which packets chance takes depends on `seed` and on their number alone, not
    /// on their time or size, nor on the other settings.
    pub fn new(settings: PathSettings, seed: u64) -> Self {
        Self {
            settings,
            loss: Sequence::new(seed, 0),
            bursts: Sequence::new(seed, 1),
            jitter: Sequence::new(seed, 2),
            burst: BurstState::default(),
            bottleneck: Bottleneck::default(),
            cut_until: Duration::ZERO,
            last_arrival: Duration::ZERO,
        }
    }

    /// The present settings.
    pub fn settings(&self) -> &PathSettings {
        &self.settings
    }

    /// Changes the settings for the packets to come. Packets that were sent keep their verdicts, what waits in the
    /// queue included; a burst goes on unless [`PathSettings::bursts`] changes.
    pub fn set(&mut self, settings: PathSettings) {
        if self.settings.bursts != settings.bursts {
            self.burst = BurstState::default();
        }
        self.settings = settings;
    }

    /// Cuts the path from now on for `length`, in addition to the outages of the settings. The last call counts:
    /// a length of zero mends the path.
    pub fn cut(&mut self, now: Duration, length: Duration) {
        self.cut_until = now.saturating_add(length);
    }

    /// Decides on a packet of `len` bytes sent at `now`, from the start of the path. `now` must not fall.
    pub fn send(&mut self, now: Duration, len: usize) -> Verdict {
        // Every packet takes its random numbers first, also one that an outage takes: see `new`.
        let lost = self.settings.loss.hit(&mut self.loss);
        let burst = self
            .burst
            .next(self.settings.bursts.as_ref(), &mut self.bursts);
        let jitter = scaled(self.settings.jitter, self.jitter.next_unit());

        if self.is_cut(now) {
            return Verdict::Lost(LossReason::Outage);
        }
        if lost {
            return Verdict::Lost(LossReason::Random);
        }
        if burst {
            return Verdict::Lost(LossReason::Burst);
        }
        let departure = match self.settings.rate {
            None => now,
            Some(rate) => match self.bottleneck.enter(now, len, rate, self.settings.queue) {
                None => return Verdict::Lost(LossReason::Queue),
                Some(departure) => departure,
            },
        };
        let mut at = departure
            .saturating_add(self.settings.delay)
            .saturating_add(jitter);
        if self.settings.order == Order::Kept {
            at = at.max(self.last_arrival);
        }
        self.last_arrival = self.last_arrival.max(at);
        Verdict::Deliver { at }
    }

    fn is_cut(&self, now: Duration) -> bool {
        now < self.cut_until
            || self
                .settings
                .outages
                .iter()
                .any(|outage| outage.covers(now))
    }
}

/// `duration` times a `factor` from 0 to 1.
fn scaled(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(duration)
}

/// A link that sends one packet after the other. Its queue needs no packets: when the link falls idle says it all.
#[derive(Debug, Clone, Default)]
struct Bottleneck {
    /// When the last packet that it took has left.
    busy_until: Duration,
    /// What rounding to nanoseconds left over, in 1/rate ns, so that the rate is exact over any time.
    carry: u128,
}

const NANOS: u128 = 1_000_000_000;

impl Bottleneck {
    /// When the packet has left, `None` if the queue has no room for it.
    fn enter(
        &mut self,
        now: Duration,
        len: usize,
        rate: Rate,
        queue: QueueLimit,
    ) -> Option<Duration> {
        if self.busy_until <= now {
            self.busy_until = now;
            self.carry = 0;
        }
        let wait = self.busy_until - now;
        let rate = u128::from(rate.bits_per_second());
        let fits = wait.is_zero()
            || match queue {
                QueueLimit::Time(limit) => wait <= limit,
                QueueLimit::Bytes(limit) => {
                    // Rounded up, because `busy_until` is rounded down.
                    let waiting = wait.as_nanos().saturating_mul(rate).div_ceil(8 * NANOS);
                    waiting + len as u128 <= u128::from(limit)
                }
            };
        if !fits {
            return None;
        }
        let work = len as u128 * 8 * NANOS + self.carry;
        // A rate may have changed since the carry was taken; it is less than a nanosecond either way.
        self.carry = work % rate;
        let nanos = u64::try_from(work / rate).unwrap_or(u64::MAX);
        self.busy_until = self.busy_until.saturating_add(Duration::from_nanos(nanos));
        Some(self.busy_until)
    }
}

#[cfg(test)]
mod tests;
