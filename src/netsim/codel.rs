//! Controlled delay (CoDel), RFC 8289: drops from the head of a queue whose wait stays too long. Pure.

use std::time::Duration;

use super::queue::{Fifo, Queued};
use super::settings::CoDelSettings;

/// A queue of no more than a packet is never blamed (`maxpacket_` of section 5.4): one Ethernet frame.
const MAX_PACKET: u64 = 1500;

/// The state of section 5.3, whose names it keeps.
#[derive(Debug, Clone, Default)]
pub(super) struct CoDel {
    /// When the wait will have been above the target for an interval; zero while it is below.
    first_above_time: Option<Duration>,
    drop_next: Duration,
    /// Drops since the dropping state was entered.
    count: u32,
    lastcount: u32,
    dropping: bool,
}

/// What a dequeue cost, besides the packet that it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Toll {
    pub(super) dropped: u64,
    pub(super) marked: u64,
}

impl CoDel {
    /// Takes the next packet that is to be sent (section 5.5, `dequeue`).
    pub(super) fn dequeue<T>(
        &mut self,
        now: Duration,
        queue: &mut Fifo<T>,
        settings: &CoDelSettings,
        toll: &mut Toll,
    ) -> Option<Queued<T>> {
        let (mut packet, mut ok_to_drop) = self.take(now, queue, settings);
        if self.dropping {
            self.dropping = ok_to_drop;
            while self.dropping && now >= self.drop_next {
                self.count = self.count.saturating_add(1);
                if mark(&mut packet, settings) {
                    toll.marked += 1;
                    self.drop_next = control_law(self.drop_next, settings.interval, self.count);
                    break;
                }
                toll.dropped += 1;
                (packet, ok_to_drop) = self.take(now, queue, settings);
                if ok_to_drop {
                    self.drop_next = control_law(self.drop_next, settings.interval, self.count);
                } else {
                    self.dropping = false;
                }
            }
        } else if ok_to_drop {
            if mark(&mut packet, settings) {
                toll.marked += 1;
            } else {
                toll.dropped += 1;
                (packet, _) = self.take(now, queue, settings);
            }
            self.dropping = true;
            // A queue that was controlled a short while ago goes on at the rate that controlled it.
            let delta = self.count.saturating_sub(self.lastcount);
            let recent = now.saturating_sub(self.drop_next) < settings.interval * 16;
            self.count = if delta > 1 && recent { delta } else { 1 };
            self.drop_next = control_law(now, settings.interval, self.count);
            self.lastcount = self.count;
        }
        packet
    }

    /// Takes the head of the queue and says whether it may be dropped (section 5.6, `dodequeue`).
    fn take<T>(
        &mut self,
        now: Duration,
        queue: &mut Fifo<T>,
        settings: &CoDelSettings,
    ) -> (Option<Queued<T>>, bool) {
        let Some(packet) = queue.pop() else {
            self.first_above_time = None;
            return (None, false);
        };
        let sojourn = now.saturating_sub(packet.entered);
        if sojourn < settings.target || queue.bytes() <= MAX_PACKET {
            self.first_above_time = None;
            return (Some(packet), false);
        }
        let first_above = *self
            .first_above_time
            .get_or_insert(now.saturating_add(settings.interval));
        let ok_to_drop = now >= first_above;
        (Some(packet), ok_to_drop)
    }
}

/// When the next drop is due (section 5.5, `control_law`): drops come faster with the square root of their number.
fn control_law(from: Duration, interval: Duration, count: u32) -> Duration {
    from.saturating_add(interval.div_f64(f64::from(count.max(1)).sqrt()))
}

fn mark<T>(packet: &mut Option<Queued<T>>, settings: &CoDelSettings) -> bool {
    match packet {
        Some(queued) if settings.ecn => queued.packet.ecn.mark(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
