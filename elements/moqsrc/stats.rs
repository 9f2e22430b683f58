//! The `stats` property.

use gst::prelude::*;

use super::session::Session;
use crate::{
    elements::connection::transport_stats,
    net::{session::State, subscribe::engine::TrackStats},
};

const NAME: &str = "application/x-moqsrc-stats";

/// Empty while the element is stopped.
pub(super) fn structure(session: Option<&Session>) -> gst::Structure {
    let Some(session) = session else {
        return gst::Structure::new_empty(NAME);
    };
    let info = match &*session.connection.state().borrow() {
        State::Connected { info, .. } => Some(info.clone()),
        _ => None,
    };
    let player = session.player.stats();
    let slots = session.slots();
    let tracks = slots.iter().map(|(track, slot)| {
        let counters = player.get(track).cloned().unwrap_or_default();
        let (waiting, waiting_bytes) = slot.queue.level();
        let (queue_frames, queue_groups) = slot.queue.dropped();
        of_track(&counters)
            .field("track", track)
            .field("pad", slot.pad.name())
            .field("buffered-time", unsigned(waiting))
            .field("buffered-bytes", waiting_bytes as u64)
            .field("queue-dropped-frames", queue_frames)
            .field("queue-dropped-groups", queue_groups)
            .build()
    });
    gst::Structure::builder(NAME)
        .field(
            "transport",
            transport_stats(&session.connection.stats(), info.as_deref()),
        )
        .field("tracks", gst::Array::new(tracks))
        .build()
}

fn of_track(stats: &TrackStats) -> gst::structure::Builder {
    let dropped = &stats.dropped;
    gst::Structure::builder("track")
        .field("groups", stats.groups)
        .field("frames", stats.frames)
        .field("bytes", stats.bytes)
        .field("late-frames", stats.late_frames)
        .field("malformed-frames", stats.malformed_frames)
        .field("dropped-late-groups", dropped.late_groups)
        .field("dropped-late-frames", dropped.late_frames)
        .field("skipped-groups", dropped.skipped_groups)
        .field("missing-groups", dropped.missing_groups)
        .field("aborted-groups", dropped.aborted_groups)
        .field("overflow-groups", dropped.overflow_groups)
        .field("key-requests", stats.key_requests)
        .field("delay", stats.delay)
        .field("jitter", stats.jitter)
}

fn unsigned(ns: i64) -> u64 {
    u64::try_from(ns).unwrap_or(0)
}
