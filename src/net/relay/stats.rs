//! Counters of a relay and what it tells about itself.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::net::error::Error;

/// A session as the relay sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Unique within one relay.
    pub id: u64,
    pub peer: SocketAddr,
    /// `webtransport` or `quic`.
    pub transport: &'static str,
    /// For example `moq-lite-06`.
    pub version: String,
    /// The path that the session is confined to; empty = the root.
    pub scope: String,
}

/// Something that happened in a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    SessionAdded(SessionInfo),
    /// With the reason in words.
    SessionRemoved(SessionInfo, String),
    BroadcastAdded(String),
    BroadcastRemoved(String),
    /// Two peers that are both alive announce this name; subscribers get what was announced last.
    BroadcastContested(String, [SessionInfo; 2]),
    /// New connections get another certificate.
    CertificateChanged,
    /// The certificate cannot be replaced, and why; the old one stays in use.
    CertificateKept(Error),
}

/// What a relay did since it started. Never decreases but for the gauges, which say so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Gauge: sessions that are up.
    pub sessions: u64,
    pub sessions_total: u64,
    /// Connections refused because there were too many, in all or from one address.
    pub refused_limit: u64,
    /// Sessions refused by the access rules or for a bad path.
    pub refused_access: u64,
    /// Connections that never became a session: TLS, version or protocol errors and timeouts.
    pub failed_handshakes: u64,
    /// Sessions closed for announcing, subscribing to or sending too much.
    pub closed_limit: u64,
    /// Streams ended because the subscriber did not take an object in time.
    pub stalled_streams: u64,
    /// Gauge: broadcasts announced, by name.
    pub broadcasts: u64,
    /// Gauge: track subscriptions of downstream peers.
    pub subscriptions: u64,
    /// Payload that publishers sent.
    pub bytes_received: u64,
    pub frames_received: u64,
    /// Payload that went to subscribers.
    pub bytes_sent: u64,
    pub frames_sent: u64,
    /// Gauge: payload held, in all, with what each object costs beside it.
    pub cache_bytes: u64,
    pub http_requests: u64,
    /// Events that nobody fetched in time.
    pub events_lost: u64,
    pub peers: Vec<PeerStats>,
}

/// One session of [`Stats`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStats {
    pub info: SessionInfo,
    pub rtt: Option<Duration>,
    /// On the wire.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub packets_lost: u64,
    /// Broadcasts that the peer announces now.
    pub broadcasts: u64,
    /// Tracks that the peer is subscribed to now.
    pub subscriptions: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub sessions_total: Counter,
    pub refused_limit: Counter,
    pub refused_access: Counter,
    pub failed_handshakes: Counter,
    pub closed_limit: Counter,
    pub http_requests: Counter,
    pub events_lost: Counter,
}

/// A number that only goes up.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Payload that moved, in both directions.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Moved {
    /// Gauges: what the peer announces, what it is subscribed to, and what the relay is subscribed to there.
    pub broadcasts: u64,
    pub subscriptions: u64,
    pub tracks: u64,
    pub bytes_received: u64,
    pub frames_received: u64,
    pub groups_received: u64,
    pub bytes_sent: u64,
    pub frames_sent: u64,
}

impl Moved {
    /// What one session moved. Each session has a registry of its own, so that limits can be held against it.
    ///
    /// Costs as much as the registry has names; `Registry::report` forgets those that are gone.
    pub fn of(registry: &moq_net::stats::Registry) -> Self {
        let mut moved = Self::default();
        for (_, role, traffic) in registry.snapshot().traffic() {
            match role {
                moq_net::stats::Role::Publisher => {
                    moved.subscriptions += traffic.active_subscriptions();
                    moved.bytes_sent += traffic.bytes;
                    moved.frames_sent += traffic.frames;
                }
                moq_net::stats::Role::Subscriber => {
                    moved.broadcasts += traffic
                        .announces_started
                        .saturating_sub(traffic.announces_ended);
                    moved.tracks += traffic.active_subscriptions();
                    moved.bytes_received += traffic.bytes;
                    moved.frames_received += traffic.frames;
                    moved.groups_received += traffic.groups;
                }
            }
        }
        moved
    }

    /// Adds what does not go away with a session.
    pub fn add_totals(&mut self, other: &Self) {
        self.bytes_received += other.bytes_received;
        self.frames_received += other.frames_received;
        self.bytes_sent += other.bytes_sent;
        self.frames_sent += other.frames_sent;
    }
}
