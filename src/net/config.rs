//! What a connection is made from. Connections with equal configurations are shared.

use std::{fmt, path::PathBuf, time::Duration};

use url::Url;

/// Which transport carries MoQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TransportKind {
    /// As the URL's scheme says, and of those that are for both what the server prefers.
    #[default]
    Auto,
    WebTransport,
    /// Raw QUIC.
    Quic,
}

/// Who decides how much may be under way; docs/congestion-control.md compares them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CongestionControl {
    /// Ours, [`crate::policy::congestion::Live`].
    #[default]
    Live,
    Cubic,
    NewReno,
    Bbr,
}

/// A secret that never shows in logs.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How the server's certificate is verified and which one we present.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tls {
    /// Accept any certificate.
    pub disable_verify: bool,
    /// PEM file of roots trusted in addition to the system's.
    pub database: Option<PathBuf>,
    /// Pinned SHA-256 digests of the server's certificate (DER). When set, nothing else is accepted.
    pub pins: Vec<[u8; 32]>,
    /// PEM files of the client certificate and its key.
    pub certificate: Option<PathBuf>,
    pub private_key: Option<PathBuf>,
}

/// Everything that tells one connection from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectConfig {
    /// Tried in order.
    pub urls: Vec<Url>,
    pub tls: Tls,
    /// Names such as `moq-lite-06`, in order of preference; empty = all.
    pub versions: Vec<String>,
    pub transport: TransportKind,
    pub congestion_control: CongestionControl,
    pub idle_timeout: Duration,
    /// What a subscriber sends, so that a path that died is noticed: the acknowledgement is missed within three round trips.
    pub keep_alive_interval: Duration,
    /// Limit for one URL of the list.
    pub connect_timeout: Duration,
    /// Give up after retrying for this long; zero = for ever once connected.
    pub retry_timeout: Duration,
    /// The first token; later ones come through `Connection::set_token`.
    pub auth_token: Option<Secret>,
}

impl ConnectConfig {
    pub fn new(urls: Vec<Url>) -> Self {
        Self {
            urls,
            tls: Tls::default(),
            versions: Vec::new(),
            transport: TransportKind::default(),
            congestion_control: CongestionControl::default(),
            idle_timeout: Duration::from_secs(10),
            keep_alive_interval: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(10),
            retry_timeout: Duration::ZERO,
            auth_token: None,
        }
    }
}
