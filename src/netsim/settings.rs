//! What a path does to packets, as plain data.

use std::num::NonZeroU64;
use std::time::Duration;

use super::loss::{Bursts, Probability};

/// What a path does to packets. The default is a perfect path.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PathSettings {
    /// One-way delay of every packet: the least that one takes.
    pub delay: Duration,
    /// Added to `delay`; how it is spread over packets is `jitter_shape`.
    pub jitter: Duration,
    /// How jitter is distributed.
    pub jitter_shape: JitterShape,
    /// Whether jitter may change the order of packets.
    pub order: Order,
    /// Each packet is lost with this probability, independent of the others.
    pub loss: Probability,
    /// Losses in groups, in addition to `loss`.
    pub bursts: Option<Bursts>,
    /// Each packet has one random bit flipped with this probability. The checksum of UDP is right again: only the
    /// receiver's own check can tell.
    pub corrupt: Probability,
    /// Each packet is sent twice with this probability.
    pub duplicate: Probability,
    /// Rate of the bottleneck; `None` has none.
    pub rate: Option<Rate>,
    /// What may wait at the bottleneck. Means nothing without a rate.
    pub queue: QueueLimit,
    /// Who drops packets before the queue is full. Means nothing without a rate.
    pub aqm: Aqm,
    /// When the path is cut.
    pub outages: Vec<Outage>,
}

/// Distribution of [`PathSettings::jitter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JitterShape {
    /// Uniform from zero to the jitter; its mean is half of it.
    #[default]
    Uniform,
    /// The mean of three uniform numbers (Irwin–Hall): a bell from zero to the jitter, with half of it as mean and a
    /// sixth of it as standard deviation.
    Bell,
    /// Exponential with the jitter as its mean, cut at ten times the mean: most packets are early, a few very late.
    Exponential,
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

/// A rate in bit/s. Counted are the bytes of the UDP payload.
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

/// Active queue management: what keeps the queue short before it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aqm {
    /// Nothing: packets are dropped when the queue is full.
    #[default]
    DropTail,
    /// Controlled delay, RFC 8289.
    CoDel(CoDelSettings),
}

/// Parameters of CoDel. The defaults are those of RFC 8289, section 4.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoDelSettings {
    /// The wait that is acceptable for good.
    pub target: Duration,
    /// How long the wait must stay above `target` before a packet is dropped: a round trip or more.
    pub interval: Duration,
    /// Packets of ECN-capable flows are marked (CE) in place of dropped.
    pub ecn: bool,
}

impl Default for CoDelSettings {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(5),
            interval: Duration::from_millis(100),
            ecn: false,
        }
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
    pub(super) fn covers(&self, now: Duration) -> bool {
        now >= self.at && now - self.at < self.length
    }
}

impl PathSettings {
    /// The delay and jitter of a packet that drew these numbers from 0 to 1.
    pub(super) fn latency(&self, draw: &JitterDraw) -> Duration {
        if self.jitter.is_zero() {
            return self.delay;
        }
        let [first, second, third] = draw.0;
        let factor = match self.jitter_shape {
            JitterShape::Uniform => first,
            JitterShape::Bell => (first + second + third) / 3.0,
            JitterShape::Exponential => (-(1.0 - first).ln()).min(10.0),
        };
        let jitter = Duration::try_from_secs_f64(self.jitter.as_secs_f64() * factor)
            .unwrap_or(Duration::MAX);
        self.delay.saturating_add(jitter)
    }
}

/// What a packet drew for its jitter, kept until it leaves the bottleneck.
#[derive(Debug, Clone, Copy)]
pub(super) struct JitterDraw(pub(super) [f64; 3]);
