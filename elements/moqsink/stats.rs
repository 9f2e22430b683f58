//! The `stats` structure, and the counters behind it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::track::Track;
use crate::{
    elements::connection::transport_stats,
    net::session::{Connection, State},
    policy::group::Reason,
};

pub(super) const NAME: &str = "application/x-moqsink-stats";

/// Why a frame was not published.
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
}

const REASONS: [(Drop, &str); 9] = [
    (Drop::NoKeyFrame, "no-key-frame"),
    (Drop::GroupFull, "group-full"),
    (Drop::TooLarge, "too-large"),
    (Drop::Leading, "leading"),
    (Drop::NoTimestamp, "no-timestamp"),
    (Drop::Corrupted, "corrupted"),
    (Drop::OutOfSegment, "out-of-segment"),
    (Drop::Ended, "ended"),
    (Drop::Failed, "failed"),
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
        matches!(self, Self::NoKeyFrame | Self::GroupFull)
    }
}

impl From<Reason> for Drop {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::NoKeyFrame => Self::NoKeyFrame,
            Reason::GroupFull => Self::GroupFull,
            Reason::TooLarge => Self::TooLarge,
            Reason::Leading => Self::Leading,
        }
    }
}

/// Counters of one track since READY→PAUSED.
#[derive(Debug, Default)]
pub(super) struct Counters {
    groups: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    drops: [AtomicU64; REASONS.len()],
    /// Reason of the drop before, plus one; 0 while nothing is dropped.
    dropping: AtomicU64,
}

impl Counters {
    pub fn reset(&self) {
        for counter in [&self.groups, &self.frames, &self.bytes, &self.dropping]
            .into_iter()
            .chain(&self.drops)
        {
            counter.store(0, Ordering::Relaxed);
        }
    }

    pub fn wrote(&self, starts_group: bool, bytes: u64) {
        self.groups
            .fetch_add(starts_group.into(), Ordering::Relaxed);
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.dropping.store(0, Ordering::Relaxed);
    }

    /// Counts a lost frame; true for the first of a row with this reason.
    pub fn lost(&self, reason: Drop) -> bool {
        let index = reason.index();
        self.drops[index].fetch_add(1, Ordering::Relaxed);
        let mark = index as u64 + 1;
        self.dropping.swap(mark, Ordering::Relaxed) != mark
    }

    fn structure(&self) -> gst::Structure {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut drops = gst::Structure::builder("drops");
        for ((_, name), counter) in REASONS.iter().zip(&self.drops) {
            drops = drops.field(*name, get(counter));
        }
        gst::Structure::builder("track")
            .field("groups", get(&self.groups))
            .field("frames", get(&self.frames))
            .field("bytes", get(&self.bytes))
            .field("drops", drops.build())
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
        let mut counters = track.counters.structure();
        let info = track.info.lock().clone();
        if let Some(name) = info.name {
            counters.set("track", name);
        }
        counters.set("demand", info.demand);
        structure = structure.field(name, counters);
    }
    structure.build()
}
