//! Sessions and counters of a relay as GstStructures.

use gst::prelude::*;

use crate::net::relay::{PeerStats, SessionInfo, Stats};

pub(super) const STATS: &str = "application/x-relay-bridge-stats";

/// What the signals `session-added` and `session-removed` carry.
pub(super) fn session(info: &SessionInfo) -> gst::Structure {
    gst::Structure::builder("application/x-relay-bridge-session")
        .field("id", info.id)
        .field("peer", info.peer.to_string())
        .field("transport", info.transport)
        .field("version", &info.version)
        .field("scope", &info.scope)
        .build()
}

pub(super) fn stats(stats: &Stats) -> gst::Structure {
    let peers = stats.peers.iter().map(|stats| peer(stats).to_send_value());
    gst::Structure::builder(STATS)
        .field("sessions", stats.sessions)
        .field("sessions-total", stats.sessions_total)
        .field("refused-limit", stats.refused_limit)
        .field("refused-access", stats.refused_access)
        .field("failed-handshakes", stats.failed_handshakes)
        .field("closed-limit", stats.closed_limit)
        .field("stalled-streams", stats.stalled_streams)
        .field("broadcasts", stats.broadcasts)
        .field("subscriptions", stats.subscriptions)
        .field("bytes-received", stats.bytes_received)
        .field("frames-received", stats.frames_received)
        .field("bytes-sent", stats.bytes_sent)
        .field("frames-sent", stats.frames_sent)
        .field("cache-bytes", stats.cache_bytes)
        .field("http-requests", stats.http_requests)
        .field("events-lost", stats.events_lost)
        .field("peers", gst::Array::from_values(peers))
        .build()
}

fn peer(stats: &PeerStats) -> gst::Structure {
    let mut structure = session(&stats.info);
    structure.set("wire-bytes-sent", stats.bytes_sent);
    structure.set("wire-bytes-received", stats.bytes_received);
    structure.set("packets-lost", stats.packets_lost);
    structure.set("broadcasts", stats.broadcasts);
    structure.set("subscriptions", stats.subscriptions);
    if let Some(rtt) = stats.rtt {
        structure.set("rtt", u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX));
    }
    structure
}
