//! How much a sender of live media may have under way: the controller `live`.
//!
//! docs/congestion-control.md has the design, its sources and what was measured. In short:
//!
//! | Part | What it does |
//! |---|---|
//! | `Startup` | doubles in each round trip until the queue shows, the rate stops growing or a tenth is lost |
//! | `Steady` | window = delivery rate × (shortest round trip + the queue that is wanted): loss is no signal, delay is |
//! | `Drain` | empties the queue for two round trips, to see the shortest round trip, and whether the queue is ours |
//! | `Compete` | CUBIC, while somebody else keeps the queue full |
//!
//! Times are from any fixed origin and must not fall; where they do, nothing is measured.

mod cubic;
mod filter;
mod loss;
mod modes;
mod rate;

#[cfg(test)]
mod tests;

use cubic::Cubic;
use filter::Extreme;
use loss::Loss;
use modes::{Mode, STARTUP};
use rate::Delivery;

use super::{MILLISECOND, Nanos, SECOND};

/// Packets that may be under way at the start, as Chromium has it: a key frame of 38 kB in the first flight.
/// RFC 9002 section 7.2 has ten.
pub const INITIAL_PACKETS: u64 = 32;
/// Never fewer packets than these (draft-ietf-ccwg-bbr section 2.8: four keep acknowledgements flowing).
pub const MIN_PACKETS: u64 = 4;
/// More is never under way; it keeps products of windows and times within 64 bits.
const MAX_WINDOW: u64 = 1 << 30;

/// The queue that is wanted: half of the shortest round trip, within these.
const MIN_QUEUE: Nanos = 10 * MILLISECOND;
const MAX_QUEUE: Nanos = 25 * MILLISECOND;
/// Loss at which the wanted queue is a fifth of that: what overflows may be a queue shorter than we want.
const SHALLOW: f64 = 0.05;
/// Loss above this is congestion, however short the queue.
const MAX_LOSS: f64 = 0.1;

/// For so long a window that loss has lowered stays there: it takes more than a second to tell whether that helped.
const CAP_HOLDS: Nanos = 2 * SECOND;

/// Round trips that differ by more differ for another reason.
const MAX_JITTER: Nanos = 30 * MILLISECOND;

/// How long the rate, and the shortest round trip, are remembered.
const RATE_MEMORY: Nanos = 2 * SECOND;
const PEAK_MEMORY: Nanos = 30 * SECOND;
const RTT_MEMORY: Nanos = 60 * SECOND;
/// The shortest round trip is looked for when it was not seen for this long (draft-ietf-ccwg-bbr section 5.3.4.3).
const RTT_DOUBT: Nanos = 5 * SECOND;

/// A round trip that takes longer counts as this.
const MAX_RTT: Nanos = 60 * SECOND;

/// A round is not over before this, nor before it has this many samples: acknowledgements may be late by 25 ms
/// (RFC 9000 section 13.2.1), and the shortest of a few packets is not late.
const MIN_ROUND: Nanos = 20 * MILLISECOND;
const MIN_SAMPLES: u32 = 4;

/// Rounds with more queue than we can have caused, until somebody else must have.
const FOREIGN_ROUNDS: u8 = 3;
/// Next to no queue for this long: they must have gone. Longer than CUBIC takes to come back after a loss.
const FREE: Nanos = 3 * SECOND;
/// How soon it is tried whether they have gone, and the most that failures make of it.
const FIRST_DRAIN: Nanos = 3 * SECOND;
const LAST_DRAIN: Nanos = 24 * SECOND;

/// quinn tells of packets with nothing but acknowledgements as well; nobody acknowledges them.
const ACK_ONLY: u64 = 80;

/// While nothing is acknowledged, a packet is let through this often, and less often after a while.
const KNOCK: Nanos = 50 * MILLISECOND;
const KNOCK_PATIENCE: Nanos = 5 * SECOND;
const LATE_KNOCK: Nanos = 250 * MILLISECOND;

/// What is seen between the sending of a packet and its acknowledgement.
#[derive(Debug, Clone)]
struct Round {
    began: Nanos,
    samples: u32,
    shortest_rtt: Nanos,
    sum_of_rtts: Nanos,
    best_rate: u64,
    /// The window was in full use all the time.
    full: bool,
    acked: u64,
    lost: u64,
}

impl Round {
    fn new(now: Nanos) -> Self {
        Self {
            began: now,
            samples: 0,
            shortest_rtt: Nanos::MAX,
            sum_of_rtts: 0,
            best_rate: 0,
            full: true,
            acked: 0,
            lost: 0,
        }
    }
}

/// What one acknowledgement brought.
#[derive(Debug, Clone, Copy, Default)]
struct Batch {
    bytes: u64,
    newest_sent: Option<Nanos>,
}

/// A congestion controller for live media. Bytes are those of QUIC packets.
#[derive(Debug, Clone)]
pub struct Live {
    mtu: u64,
    window: u64,
    mode: Mode,
    delivery: Delivery,
    rate: Extreme,
    min_rtt: Extreme,
    min_rtt_seen: Nanos,
    loss: Loss,
    round: Round,
    last_rate: u64,
    last_rtt: Nanos,
    last_queue: Nanos,
    /// How much longer a round trip is than the shortest of its round, smoothed.
    jitter: Nanos,
    /// How many rounds that is the mean of, so far.
    rounds: Nanos,
    /// The most that was delivered in a longer time.
    peak_rate: Extreme,
    batch: Batch,
    /// An upper bound of what is under way: after the last acknowledgement, and sent since.
    in_flight: u64,
    last_acked: Nanos,
    last_sent: Nanos,
    /// Sent since it became silent.
    knocked: u64,
    /// Losses of packets sent before are paid for.
    recovered: Nanos,
    /// Loss holds the window below this.
    cap: u64,
    cap_lowered: Nanos,
    drain_pause: Nanos,
}

impl Live {
    /// A controller for packets of `mtu` bytes.
    pub fn new(now: Nanos, mtu: u16) -> Self {
        let mtu = u64::from(mtu).max(1);
        Self {
            mtu,
            window: initial_window(mtu),
            mode: STARTUP,
            delivery: Delivery::default(),
            rate: Extreme::maximum(RATE_MEMORY),
            min_rtt: Extreme::minimum(RTT_MEMORY),
            min_rtt_seen: now,
            loss: Loss::default(),
            round: Round::new(now),
            last_rate: 0,
            last_rtt: 0,
            last_queue: 0,
            jitter: 0,
            rounds: 0,
            peak_rate: Extreme::maximum(PEAK_MEMORY),
            batch: Batch::default(),
            in_flight: 0,
            last_acked: now,
            last_sent: now,
            knocked: 0,
            recovered: Nanos::MIN,
            cap: MAX_WINDOW,
            cap_lowered: Nanos::MIN,
            drain_pause: FIRST_DRAIN,
        }
    }

    /// `bytes` were sent, in one or more packets.
    pub fn on_sent(&mut self, now: Nanos, bytes: u64) {
        if bytes <= ACK_ONLY {
            return;
        }
        let idle = self.in_flight == 0;
        if idle {
            // Silence is counted from the first packet that waits for an answer.
            self.last_acked = self.last_acked.max(now);
        }
        self.delivery.on_sent(now, idle);
        if self.is_silent(now) {
            self.knocked = self.knocked.saturating_add(bytes);
        }
        self.in_flight = self.in_flight.saturating_add(bytes);
        self.last_sent = now;
    }

    /// `bytes` sent at `sent` arrived. To be followed by [`Live::on_end_acks`].
    pub fn on_ack(&mut self, now: Nanos, sent: Nanos, bytes: u64, app_limited: bool) {
        if self.is_silent(now) {
            self.restart(now);
        }
        let rtt = now.saturating_sub(sent).clamp(0, MAX_RTT);
        if sent > self.recovered || self.min_rtt.get().is_none() {
            self.on_rtt(now, rtt);
        }
        self.batch.bytes = self.batch.bytes.saturating_add(bytes);
        self.batch.newest_sent = self.batch.newest_sent.max(Some(sent));
        self.loss.on_acked(now, bytes);
        self.round.acked = self.round.acked.saturating_add(bytes);
        if app_limited {
            self.round.full = false;
            return;
        }
        let (last_rtt, mtu) = (self.last_rtt, self.mtu);
        match &mut self.mode {
            Mode::Startup { .. } => {
                self.window = (self.window.saturating_add(bytes)).min(MAX_WINDOW)
            }
            Mode::Compete { cubic, .. } => cubic.on_acked(now, bytes, last_rtt, mtu),
            Mode::Steady { .. } | Mode::Drain { .. } => {}
        }
    }

    /// The acknowledgement is complete; `in_flight` bytes are still under way.
    pub fn on_end_acks(&mut self, now: Nanos, in_flight: u64, app_limited: bool) {
        self.in_flight = in_flight;
        self.last_acked = now;
        self.knocked = 0;
        let batch = std::mem::take(&mut self.batch);
        let Some(sent) = batch.newest_sent else {
            return;
        };
        let sample = self
            .delivery
            .on_acked(now, sent, batch.bytes, self.shortest_rtt());
        if app_limited {
            self.delivery.on_app_limited(in_flight);
        }
        if let Some(sample) = sample {
            if !sample.app_limited || Some(sample.rate) > self.rate.get() {
                self.rate.add(now, sample.rate);
                self.peak_rate.add(now, sample.rate);
            }
            self.round.best_rate = self.round.best_rate.max(sample.rate);
        }
        if self.overshoots() {
            self.leave_startup(now);
        }
        let over = sent >= self.round.began
            && self.round.samples >= MIN_SAMPLES
            && now.saturating_sub(self.round.began) >= MIN_ROUND;
        if over {
            self.end_round(now);
        }
    }

    /// `bytes` were lost, the newest of them sent at `sent`. No bytes: the path marked packets (ECN).
    /// `persistent`: nothing arrived for so long that the path may have changed (RFC 9002 section 7.6).
    pub fn on_congestion(&mut self, now: Nanos, sent: Nanos, bytes: u64, persistent: bool) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        if persistent && sent > self.recovered {
            return self.restart(now);
        }
        if sent <= self.recovered {
            return;
        }
        self.loss.on_lost(now, bytes);
        self.round.lost = self.round.lost.saturating_add(bytes);
        let (queue, wanted) = (self.round_queue(), self.wanted_queue());
        let floor = self.floor();
        match &mut self.mode {
            // What is lost while the queue is short is chance.
            Mode::Compete { cubic, .. } if bytes == 0 || queue >= wanted => {
                cubic.on_loss(now, floor);
                self.recovered = now;
            }
            Mode::Startup { .. } if bytes == 0 => self.leave_startup(now),
            Mode::Steady { .. } | Mode::Drain { .. } if bytes == 0 => {
                // RFC 8511: 0.85 for a mark.
                self.window = (self.window / 100 * 85).max(floor);
                self.rate.reset(now, self.last_rate / 100 * 85);
                self.recovered = now;
            }
            _ => {}
        }
    }

    /// The size of packets changed.
    pub fn on_mtu(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu).max(1);
    }

    /// Bytes that may be under way at `now`.
    pub fn window(&self, now: Nanos) -> u64 {
        let window = self.base_window();
        if !self.is_silent(now) {
            return window;
        }
        let since = now.saturating_sub(self.last_acked);
        let pause = if since < KNOCK_PATIENCE {
            KNOCK
        } else {
            LATE_KNOCK
        };
        if now.saturating_sub(self.last_sent) < pause {
            return window;
        }
        // One packet: what is allowed has to exceed what is under way and the packet.
        let under_way = self.in_flight.min(window.saturating_add(self.knocked));
        window.max(under_way.saturating_add(2 * self.mtu))
    }

    fn base_window(&self) -> u64 {
        let window = match &self.mode {
            Mode::Startup { .. } | Mode::Steady { .. } => self.window,
            Mode::Drain { window, .. } => *window,
            Mode::Compete { cubic, .. } => cubic.window(),
        };
        window.min(self.cap).min(MAX_WINDOW).max(self.floor())
    }

    fn floor(&self) -> u64 {
        MIN_PACKETS * self.mtu
    }

    fn shortest_rtt(&self) -> Nanos {
        self.min_rtt.get().map_or(0, |rtt| rtt as Nanos)
    }

    fn on_rtt(&mut self, now: Nanos, rtt: Nanos) {
        self.min_rtt.add(now, rtt as u64);
        let shortest = self.shortest_rtt();
        if rtt <= shortest + shortest / 8 + MILLISECOND {
            self.min_rtt_seen = now;
        }
        self.round.samples = self.round.samples.saturating_add(1);
        self.round.shortest_rtt = self.round.shortest_rtt.min(rtt);
        self.round.sum_of_rtts = self.round.sum_of_rtts.saturating_add(rtt);
    }

    /// The queue of this round so far, or of the last one.
    fn round_queue(&self) -> Nanos {
        let rtt = if self.round.samples >= MIN_SAMPLES {
            self.round.shortest_rtt
        } else {
            self.last_rtt
        };
        rtt.saturating_sub(self.shortest_rtt()).max(0)
    }

    fn wanted_queue(&self) -> Nanos {
        (self.shortest_rtt() / 2).clamp(MIN_QUEUE, MAX_QUEUE)
    }

    /// The wanted queue, less when the path may have no room for it.
    fn allowed_queue(&self) -> Nanos {
        let share = (1.0 - self.loss.recent() / SHALLOW).clamp(0.2, 1.0);
        (self.wanted_queue() as f64 * share) as Nanos
    }

    /// The window that keeps `queue` at `rate`, with what is lost at any load counted in.
    fn window_for(&self, rate: u64, queue: Nanos) -> u64 {
        let time = self
            .shortest_rtt()
            .saturating_add(queue.max(2 * self.jitter));
        let bytes = rate as f64 * time as f64 / SECOND as f64;
        let lost = self.loss.floor().min(MAX_LOSS);
        ((bytes / (1.0 - lost)) as u64).clamp(self.floor(), MAX_WINDOW)
    }

    /// Nothing is heard though an answer is due.
    fn is_silent(&self, now: Nanos) -> bool {
        let due = 3 * self.last_rtt.max(self.shortest_rtt()) + 2 * KNOCK;
        self.in_flight > 0 && now.saturating_sub(self.last_acked) > due
    }

    /// The path is back, and what it takes is to be found anew from half of what it took.
    fn restart(&mut self, now: Nanos) {
        let before = self.base_window();
        self.window = (before / 2)
            .max(initial_window(self.mtu))
            .min(before.max(initial_window(self.mtu)));
        self.mode = STARTUP;
        self.cap = MAX_WINDOW;
        self.recovered = now;
        self.last_acked = now;
        self.loss.clear();
        self.round = Round::new(now);
    }
}

fn initial_window(mtu: u64) -> u64 {
    INITIAL_PACKETS * mtu.min(1200)
}
