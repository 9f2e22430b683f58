//! What a proxy counts.

use std::fmt;

use serde::Serialize;

use super::path::LossReason;

/// Counters of a proxy since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Stats {
    /// From the clients to the target.
    pub up: DirectionStats,
    /// From the target to the clients.
    pub down: DirectionStats,
    /// Source addresses that are being served.
    pub clients: usize,
    /// Datagrams dropped because they came from one client too many, or because its socket could not be made.
    pub refused_datagrams: u64,
    /// New ports that clients got; see [`Proxy::rebind`](super::Proxy::rebind).
    pub rebinds: u64,
    /// TCP connections that are open.
    pub tcp_connections: usize,
    /// TCP connections closed at once because there were too many.
    pub refused_tcp_connections: u64,
    /// Bytes that TCP connections carried from the clients to the target.
    pub tcp_up_bytes: u64,
    /// And from the target to the clients.
    pub tcp_down_bytes: u64,
}

/// Counters of one direction. At any time `offered + duplicated = forwarded + lost + queued`, but for what is being
/// sent right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DirectionStats {
    /// What came in.
    pub offered: Traffic,
    /// What went out.
    pub forwarded: Traffic,
    /// What did not.
    pub lost: Losses,
    /// Packets that were sent a second time.
    pub duplicated: u64,
    /// Packets with a flipped bit.
    pub corrupted: u64,
    /// Packets that CoDel marked in place of dropping them.
    pub marked: u64,
    /// What is under way: in the queue of the bottleneck or in the delay.
    pub queued: Traffic,
}

/// An amount of datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Traffic {
    pub packets: u64,
    /// UDP payload.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

/// Lost packets by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Losses {
    /// Random loss.
    pub random: u64,
    /// Bursts.
    pub burst: u64,
    /// The queue before the bottleneck was full.
    pub queue: u64,
    /// CoDel kept the wait short.
    pub codel: u64,
    /// Outages and cuts.
    pub outage: u64,
    /// The emulator's own bound of memory was reached; not a property of the path that was asked for.
    pub overflow: u64,
    /// The operating system refused to send; not a property of the path that was asked for.
    pub socket: u64,
}

impl Losses {
    /// Packets lost for any reason.
    pub fn total(&self) -> u64 {
        self.random
            + self.burst
            + self.queue
            + self.codel
            + self.outage
            + self.overflow
            + self.socket
    }

    pub(super) fn add(&mut self, reason: LossReason) {
        *match reason {
            LossReason::Random => &mut self.random,
            LossReason::Burst => &mut self.burst,
            LossReason::Queue => &mut self.queue,
            LossReason::Outage => &mut self.outage,
            LossReason::Overflow => &mut self.overflow,
        } += 1;
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets ({} bytes)", self.packets, self.bytes)
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (random {}, burst {}, queue {}, codel {}, outage {}, overflow {}, socket {})",
            self.total(),
            self.random,
            self.burst,
            self.queue,
            self.codel,
            self.outage,
            self.overflow,
            self.socket
        )
    }
}

impl fmt::Display for DirectionStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "in {}, out {}, waiting {}, lost {}, duplicated {}, corrupted {}, marked {}",
            self.offered,
            self.forwarded,
            self.queued,
            self.lost,
            self.duplicated,
            self.corrupted,
            self.marked
        )
    }
}
