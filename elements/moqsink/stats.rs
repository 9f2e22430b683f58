//! The `stats` structure, and the counters behind it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::track::Track;
use crate::{
    elements::connection::transport_stats,
    net::session::{Connection, State},
    policy::{
        Nanos,
        backlog::{Amount, Cause},
        group::Reason,
        tally::Tally,
    },
};

pub(super) const NAME: &str = "application/x-moqsink-stats";

/// Why a frame was not published, or a group not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drop {
    /// Before the first frame that players can start at.
    NoKeyFrame,
    /// The group had no room left.
    GroupFull,
    /// Larger than a group may be.
    TooLarge,
    /// Shown before the open key frame that the track began at, and not decodable.
    Leading,
    /// No timestamp, or one that cannot be written.
    NoTimestamp,
    /// Flagged as corrupted.
    Corrupted,
    /// Behind the end of the segment.
    OutOfSegment,
    /// After the end of the stream.
    Ended,
    /// The track has failed.
    Failed,
    /// The network did not take the group in time.
    Expired,
    /// The group left the cache before the network took it.
    Evicted,
}

const REASONS: [(Drop, &str); 11] = [
    (Drop::NoKeyFrame, "no-key-frame"),
    (Drop::GroupFull, "group-full"),
    (Drop::TooLarge, "too-large"),
    (Drop::Leading, "leading"),
    (Drop::NoTimestamp, "no-timestamp"),
    (Drop::Corrupted, "corrupted"),
    (Drop::OutOfSegment, "out-of-segment"),
    (Drop::Ended, "ended"),
    (Drop::Failed, "failed"),
    (Drop::Expired, "expired"),
    (Drop::Evicted, "evicted"),
];

impl Drop {
    pub fn as_str(self) -> &'static str {
        REASONS[self.index()].1
    }

    fn index(self) -> usize {
        REASONS
            .iter()
            .position(|(reason, _)| *reason == self)
            .unwrap_or(0)
    }

    /// A key frame would mend it.
    pub fn wants_key_unit(self) -> bool {
        matches!(self, Self::NoKeyFrame | Self::GroupFull | Self::Expired)
    }
}

impl From<Reason> for Drop {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::NoKeyFrame => Self::NoKeyFrame,
            Reason::GroupFull => Self::GroupFull,
            Reason::TooLarge => Self::TooLarge,
            Reason::Leading => Self::Leading,
            Reason::Late => Self::Expired,
        }
    }
}

impl From<Cause> for Drop {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Expired => Self::Expired,
            Cause::Evicted => Self::Evicted,
        }
    }
}

/// Counters of one track since READY→PAUSED.
#[derive(Debug, Default)]
pub(super) struct Counters {
    groups: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    /// A leaf.
    losses: Mutex<[Loss; REASONS.len()]>,
    /// Something of `losses` may have to be told.
    untold: AtomicBool,
}

/// Of one reason.
#[derive(Debug, Clone, Copy, Default)]
struct Loss {
    total: Amount,
    tally: Tally,
}

impl Counters {
    pub fn reset(&self) {
        for counter in [&self.groups, &self.frames, &self.bytes] {
            counter.store(0, Ordering::Relaxed);
        }
        *self.losses.lock() = Default::default();
        self.untold.store(false, Ordering::Relaxed);
    }

    pub fn wrote(&self, starts_group: bool, bytes: u64) {
        self.groups
            .fetch_add(starts_group.into(), Ordering::Relaxed);
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn lost(&self, reason: Drop, amount: Amount) {
        let mut losses = self.losses.lock();
        let loss = &mut losses[reason.index()];
        loss.total += amount;
        loss.tally.add(amount);
        self.untold.store(true, Ordering::Relaxed);
    }

    /// What is to be told at time `now` of what was lost: a second after the last word of that reason or later, and all of
    /// it when it is the `last` time.
    pub fn untold(&self, now: Nanos, last: bool) -> Vec<(Drop, Amount)> {
        if !self.untold.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut losses = self.losses.lock();
        let tell = REASONS.iter().zip(losses.iter_mut());
        let told = tell.filter_map(|((reason, _), loss)| {
            let amount = match last {
                true => loss.tally.rest(now),
                false => loss.tally.due(now),
            };
            amount.map(|amount| (*reason, amount))
        });
        let told = told.collect();
        let rest = losses.iter().any(|loss| !loss.tally.is_settled());
        self.untold.store(rest, Ordering::Relaxed);
        told
    }

    fn structure(&self) -> gst::Structure {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let losses = *self.losses.lock();
        let by_reason = |name: &str, of: fn(Amount) -> u64| {
            let mut structure = gst::Structure::builder(name);
            for ((_, reason), loss) in REASONS.iter().zip(&losses) {
                structure = structure.field(*reason, of(loss.total));
            }
            structure.build()
        };
        gst::Structure::builder("track")
            .field("groups", get(&self.groups))
            .field("frames", get(&self.frames))
            .field("bytes", get(&self.bytes))
            .field("drops", by_reason("drops", |loss| loss.frames))
            .field(
                "dropped-groups",
                by_reason("dropped-groups", |loss| loss.groups),
            )
            .field(
                "dropped-bytes",
                by_reason("dropped-bytes", |loss| loss.bytes),
            )
            .build()
    }
}

/// `transport` and one structure for each pad, under its name.
pub(super) fn structure<'a>(
    connection: Option<&Connection>,
    tracks: impl IntoIterator<Item = (String, &'a Track)>,
) -> gst::Structure {
    let Some(connection) = connection else {
        return gst::Structure::new_empty(NAME);
    };
    let state = connection.state();
    let info = match &*state.borrow() {
        State::Connected { info, .. } => Some(info.clone()),
        _ => None,
    };
    let mut structure = gst::Structure::builder(NAME).field(
        "transport",
        transport_stats(&connection.stats(), info.as_deref()),
    );
    for (name, track) in tracks {
        track.network.count(&track.counters);
        let mut counters = track.counters.structure();
        let info = track.info.lock().clone();
        if let Some(name) = info.name {
            counters.set("track", name);
        }
        counters.set("demand", info.demand);
        if let Some(delivery) = track.network.delivery() {
            let pending = delivery.pending();
            counters.set("pending-groups", pending.groups);
            counters.set("pending-bytes", pending.bytes);
            counters.set("behind", pending.behind.unsigned_abs());
            counters.set("congested", delivery.is_congested());
        }
        structure = structure.field(name, counters);
    }
    structure.build()
}
