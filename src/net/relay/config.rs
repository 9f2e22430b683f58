//! What a relay is started with.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::access::Access;
use crate::net::{
    config::CongestionControl,
    error::{Cause, Error, Result},
    transport::certificate::Certificate,
};

/// The settings of a [`Relay`](super::Relay).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// Each bound on UDP (QUIC) and TCP (HTTP). Those with port 0 share one free port.
    pub listen: Vec<SocketAddr>,
    /// PEM files of the certificate chain and its key; `None` = a development certificate.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Patterns of the broadcasts that peers from other machines may publish (`**` = all). Local peers may publish any.
    pub public_publish: Vec<String>,
    /// Patterns of the broadcasts that peers from other machines may subscribe to.
    pub public_subscribe: Vec<String>,
    /// Origins whose pages may use the relay, beside those of this machine; `*` = all. Empty = all, but from other sites no
    /// page counts as a peer of this machine.
    pub allowed_origins: Vec<String>,
    /// Peers of this machine need no rule. No property turns it off: it is for tests of the rules, whose peers are all of
    /// this machine.
    pub trust_loopback: bool,
    /// Directory of the page that HTTP serves beside its own answers; `None` = a few words at `/`.
    pub web_root: Option<PathBuf>,
    pub congestion_control: CongestionControl,
    pub idle_timeout: Duration,
    pub keep_alive_interval: Duration,
    pub cache: Cache,
    pub limits: Limits,
}

impl RelayConfig {
    pub fn new(listen: Vec<SocketAddr>) -> Self {
        Self {
            listen,
            certificate: None,
            public_publish: Vec::new(),
            public_subscribe: Vec::new(),
            allowed_origins: Vec::new(),
            trust_loopback: true,
            web_root: None,
            congestion_control: CongestionControl::default(),
            idle_timeout: Duration::from_secs(10),
            keep_alive_interval: Duration::from_secs(3),
            cache: Cache::default(),
            limits: Limits::default(),
        }
    }

    /// Whether a relay could start with these settings, short of binding its addresses.
    ///
    /// # Errors
    /// As [`Relay::start`](super::Relay::start).
    pub fn validate(&self) -> Result<()> {
        Access::new(self)?;
        if let Some((chain, key)) = &self.certificate {
            Certificate::from_files(chain, key)?;
        }
        if let Some(root) = self.web_root.as_deref().filter(|root| !root.is_dir()) {
            return Err(Error::new(
                Cause::Settings,
                format!(
                    "web-root: {} is no directory; name the one that index.html is in, or set it empty for no page",
                    root.display()
                ),
            ));
        }
        Ok(())
    }

    /// A relay for this machine on a free port, with every default.
    pub fn local() -> Self {
        Self::new(vec![SocketAddr::from(([127, 0, 0, 1], 0))])
    }
}

/// What is kept of tracks that nobody reads at the moment. The newest group of each track is always kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// Over all broadcasts; a target that the relay returns to. What holds at every instant is [`Cache::ceiling`].
    pub bytes: u64,
    /// Groups that were not touched for this long are dropped.
    pub age: Duration,
}

impl Cache {
    /// What all that peers sent takes at most: the target, as much again, and at least 64 MiB on top, which is room for
    /// two groups of the largest size.
    pub fn ceiling(&self) -> u64 {
        self.bytes.saturating_add(self.reserve().saturating_mul(2))
    }

    /// Above the target, the half of what is left to the ceiling.
    pub(super) fn reserve(&self) -> u64 {
        (self.bytes / 2).max(32 << 20)
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            bytes: 128 << 20,
            age: Duration::from_secs(10),
        }
    }
}

/// What peers may use. Whoever goes over a limit is refused or closed; nobody else notices.
///
/// The size of one object (32 MiB) and of one group (32 MiB, 8192 frames) is limited by the protocol library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub sessions: usize,
    /// Sessions from one IPv4 address or one IPv6 /64.
    pub sessions_per_address: usize,
    /// Broadcasts that one session announces at the same time.
    pub broadcasts_per_session: u64,
    /// Tracks that one session subscribes to at the same time.
    pub tracks_per_session: u64,
    /// From the first packet to the end of the QUIC handshake.
    pub handshake_timeout: Duration,
    /// From there to the end of the MoQ setup.
    pub setup_timeout: Duration,
    /// How long a subscriber has to take one object, from when it is sent; then the rest of its group is left out.
    pub stall_timeout: Duration,
    /// HTTP connections at the same time, over all listeners; one more closes the oldest.
    pub http_connections: usize,
    /// The same for those from one IPv4 address or one IPv6 /64.
    pub http_connections_per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 1000,
            sessions_per_address: 250,
            broadcasts_per_session: 1000,
            tracks_per_session: 1000,
            handshake_timeout: Duration::from_secs(5),
            setup_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(30),
            http_connections: 64,
            http_connections_per_address: 16,
        }
    }
}
