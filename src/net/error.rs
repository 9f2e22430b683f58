//! What can go wrong on the network, said so that a user can act on it.

use std::{fmt, time::Duration};

/// The kind of failure, as it stands in the `cause` field of bus messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A property or URL that cannot work.
    Settings,
    /// The host name does not resolve.
    Dns,
    /// No answer at all on UDP: blocked, or nothing listens there.
    UdpBlocked,
    /// The TCP port on which a development relay tells its certificate: nothing listens there, or no network leads there.
    TcpRefused,
    /// Certificate or TLS failure.
    Tls,
    /// The relay refused the token or the path.
    Auth,
    /// No protocol version in common.
    Version,
    /// The broadcast is not there.
    NoBroadcast,
    /// The catalog cannot be used.
    Catalog,
    /// The codec or container cannot be used.
    Codec,
    /// It took too long.
    Timeout,
    /// The peer said that it is going away.
    GoAway,
    /// The connection was there and broke.
    ConnectionLost,
}

impl Cause {
    /// The name used on the bus.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Dns => "dns",
            Self::UdpBlocked => "udp-blocked",
            Self::TcpRefused => "tcp-refused",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Version => "version",
            Self::NoBroadcast => "no-broadcast",
            Self::Catalog => "catalog",
            Self::Codec => "codec",
            Self::Timeout => "timeout",
            Self::GoAway => "goaway",
            Self::ConnectionLost => "connection-lost",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure with its cause and a sentence for the user. Never contains a token or a query string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure it is.
    pub cause: Cause,
    /// What happened and, where known, what to do about it.
    pub message: String,
    /// Nothing changes by trying again: somebody has to set something else, here or at the relay.
    pub lasting: bool,
}

impl Error {
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self {
            cause,
            message: message.into(),
            lasting: cause == Cause::Settings,
        }
    }

    /// The same, as one that trying again does not mend.
    #[must_use]
    pub fn lasting(self) -> Self {
        Self {
            lasting: true,
            ..self
        }
    }
}

/// A limit that a property set, in a sentence. Properties count in nanoseconds: one below a millisecond was meant otherwise.
pub(crate) fn limit_text(limit: Duration) -> String {
    match limit < Duration::from_millis(1) {
        true => format!(
            "{} ns (the property counts in nanoseconds)",
            limit.as_nanos()
        ),
        false => format!("{:.1} s", limit.as_secs_f64()),
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
