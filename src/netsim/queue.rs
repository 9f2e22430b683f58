//! The bottleneck: a link of a rate and the queue before it. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::codel::{CoDel, Toll};
use super::packet::Packet;
use super::settings::{Aqm, JitterDraw, PathSettings, QueueLimit, Rate};

const NANOS: u128 = 1_000_000_000;

/// A packet that waits.
#[derive(Debug, Clone)]
pub(super) struct Queued<T> {
    pub(super) packet: Packet<T>,
    pub(super) entered: Duration,
    pub(super) jitter: JitterDraw,
}

/// Packets in their order, and their bytes.
#[derive(Debug, Clone)]
pub(super) struct Fifo<T> {
    packets: VecDeque<Queued<T>>,
    bytes: u64,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self {
            packets: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<T> Fifo<T> {
    pub(super) fn push(&mut self, queued: Queued<T>) {
        self.bytes += queued.packet.payload.len() as u64;
        self.packets.push_back(queued);
    }

    pub(super) fn pop(&mut self) -> Option<Queued<T>> {
        let queued = self.packets.pop_front()?;
        self.bytes -= queued.packet.payload.len() as u64;
        Some(queued)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }
}

/// A link that sends one packet after the other, and what waits for it.
#[derive(Debug, Clone)]
pub(super) struct Bottleneck<T> {
    waiting: Fifo<T>,
    /// When the packet under transmission has left; in the past if there is none.
    free_at: Duration,
    /// What rounding to nanoseconds left over, in 1/rate ns, so that the rate is exact over any time.
    carry: u128,
    codel: CoDel,
}

impl<T> Default for Bottleneck<T> {
    fn default() -> Self {
        Self {
            waiting: Fifo::default(),
            free_at: Duration::ZERO,
            carry: 0,
            codel: CoDel::default(),
        }
    }
}

impl<T> Bottleneck<T> {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.waiting.bytes()
    }

    /// When the next packet is taken from the queue; `None` if none waits.
    pub(super) fn next_at(&self) -> Option<Duration> {
        (self.waiting.len() > 0).then_some(self.free_at)
    }

    /// Whether a packet of `len` bytes may wait. Everything due at `now` must have been taken before.
    pub(super) fn has_room(&self, now: Duration, len: usize, settings: &PathSettings) -> bool {
        let Some(rate) = settings.rate else {
            return true;
        };
        let busy = self.free_at.saturating_sub(now);
        if busy.is_zero() {
            return true;
        }
        let bits = u128::from(rate.bits_per_second());
        match settings.queue {
            QueueLimit::Time(limit) => {
                let waiting = u128::from(self.waiting.bytes()) * 8 * NANOS / bits;
                busy.as_nanos() + waiting <= limit.as_nanos()
            }
            QueueLimit::Bytes(limit) => {
                // Rounded up, because `free_at` is rounded down.
                let sending = busy.as_nanos().saturating_mul(bits).div_ceil(8 * NANOS);
                sending + u128::from(self.waiting.bytes()) + len as u128 <= u128::from(limit)
            }
        }
    }

    /// Lets a packet wait, were it for no time. Everything due at `queued.entered` must have been taken before.
    pub(super) fn enter(&mut self, queued: Queued<T>) {
        if self.free_at < queued.entered {
            self.free_at = queued.entered;
            self.carry = 0;
        }
        self.waiting.push(queued);
    }

    /// Begins the transmission that [`Bottleneck::next_at`] tells of, and gives the packet and when it has left. `None`
    /// if CoDel dropped all that waited.
    pub(super) fn take(
        &mut self,
        settings: &PathSettings,
        toll: &mut Toll,
    ) -> Option<(Queued<T>, Duration)> {
        let queued = match (&settings.aqm, settings.rate) {
            (Aqm::CoDel(codel), Some(_)) => {
                self.codel
                    .dequeue(self.free_at, &mut self.waiting, codel, toll)
            }
            _ => self.waiting.pop(),
        }?;
        if let Some(rate) = settings.rate {
            self.transmit(queued.packet.payload.len(), rate);
        }
        Some((queued, self.free_at))
    }

    fn transmit(&mut self, len: usize, rate: Rate) {
        let rate = u128::from(rate.bits_per_second());
        // A rate may have changed since the carry was taken; it is less than a nanosecond either way.
        let work = len as u128 * 8 * NANOS + self.carry;
        self.carry = work % rate;
        let nanos = u64::try_from(work / rate).unwrap_or(u64::MAX);
        self.free_at = self.free_at.saturating_add(Duration::from_nanos(nanos));
    }
}
