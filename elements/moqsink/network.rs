//! What the network makes of a track: losses are counted and told of, congestion is told of and sent upstream.

use std::time::{Duration, Instant};

use gst::prelude::*;
use parking_lot::Mutex;

use super::{
    publication::Publication,
    stats::{Counters, Drop as Lost},
};
use crate::{net::publish::Delivery, policy::backlog::Notice};

/// The span over which what is sent is compared with what is offered.
const WINDOW: Duration = Duration::from_secs(1);

/// Upstream is faster than the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Overflow {
    /// What the connection sent of what its tracks offered lately; at most 1.
    pub proportion: f64,
    /// How long the oldest whole group has waited, ns.
    pub behind: i64,
}

/// One track's view of the network. Its locks are leaves.
#[derive(Default)]
pub(super) struct Network {
    delivery: Mutex<Option<Delivery>>,
    window: Mutex<Option<Window>>,
}

/// Counters at a time.
#[derive(Clone, Copy)]
struct Window {
    since: Instant,
    offered: u64,
    sent: u64,
}

impl Network {
    /// A track was opened.
    pub fn follow(&self, delivery: Delivery) {
        *self.delivery.lock() = Some(delivery);
    }

    /// The track's, if it has been opened.
    pub fn delivery(&self) -> Option<Delivery> {
        self.delivery.lock().clone()
    }

    /// Counts what was lost since the last call.
    pub fn count(&self, counters: &Counters) {
        let Some(delivery) = self.delivery() else {
            return;
        };
        for (cause, amount) in delivery.take_losses() {
            if !amount.is_zero() {
                counters.lost(Lost::from(cause), amount);
            }
        }
    }

    /// What has to be told of congestion, and to upstream unless it is over. To be called with each frame.
    pub fn check(&self, publication: &Publication) -> Option<(Notice, Overflow)> {
        let delivery = self.delivery()?;
        let Some(notice) = delivery.check() else {
            if !delivery.is_congested() {
                self.measure(publication, WINDOW);
            }
            return None;
        };
        let overflow = Overflow {
            proportion: self.measure(publication, Duration::ZERO).unwrap_or(1.0),
            behind: delivery.pending().behind,
        };
        Some((notice, overflow))
    }

    /// What was sent of what was offered, once that took at least so long; the next measurement starts here.
    fn measure(&self, publication: &Publication, least: Duration) -> Option<f64> {
        let since = Instant::now();
        let last = *self.window.lock();
        if last.is_some_and(|last| since.duration_since(last.since) < least) {
            return None;
        }
        let (offered, sent) = publication.traffic();
        *self.window.lock() = Some(Window {
            since,
            offered,
            sent,
        });
        let last = last?;
        let offered = offered.saturating_sub(last.offered);
        let sent = sent.saturating_sub(last.sent);
        (offered > 0).then(|| (sent as f64 / offered as f64).min(1.0))
    }
}

/// Tells upstream that it is too fast, as an element does that cannot take what it gets. `running` is the running time of
/// the newest buffer, ns. What is to be dropped is dropped here: the difference is negative, so that an encoder that
/// follows QoS does not drop frames as well. To be called from the streaming thread.
pub(super) fn send_overflow(sink_pad: &gst::Pad, running: i64, overflow: Overflow) {
    let timestamp = u64::try_from(running)
        .ok()
        .map(gst::ClockTime::from_nseconds);
    let event = gst::event::Qos::builder(
        gst::QOSType::Overflow,
        overflow.proportion,
        -overflow.behind.max(0),
    )
    .timestamp(timestamp)
    .build();
    // Nobody has to answer.
    sink_pad.push_event(event);
}
