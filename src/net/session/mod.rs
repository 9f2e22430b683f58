//! A connection to a relay that survives: setup, retries, failover, GOAWAY.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{config::{ConnectConfig, Secret}, error::{Error, Result}};

/// Publishers share a connection with publishers, subscribers with subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Publisher,
    Subscriber,
}

/// How much a publisher keeps for subscribers that fall behind or join late, per connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Retention {
    pub age: Duration,
    pub bytes: u64,
}

/// What is agreed with the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Without query and user info.
    pub url: String,
    /// `webtransport` or `quic`.
    pub transport: &'static str,
    /// For example `moq-lite-06`.
    pub version: String,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Dialling for the first time; the last failure, if there was one.
    Connecting { last: Option<Error> },
    Connected { info: Arc<SessionInfo>, generation: u64 },
    /// Was connected; why it is not now.
    Reconnecting { last: Error },
    /// Gave up.
    Failed(Error),
}

/// Counters of a connection over all its sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    pub rtt: Option<Duration>,
    pub cwnd: Option<u64>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub bytes_lost: u64,
    pub packets_sent: u64,
    pub packets_received: u64,
    pub packets_lost: u64,
    /// bit/s
    pub estimated_send_rate: Option<u64>,
    pub reconnects: u64,
    pub path_changes: u64,
    pub last_error: Option<Error>,
}

/// A shared handle; dropping the last one closes the connection.
#[derive(Clone)]
pub struct Connection {
    pub(in crate::net) origin: moq_net::origin::Producer,
}

impl Connection {
    /// Joins or starts the connection for this configuration. Never blocks and never fails: failures are states.
    pub fn open(_config: ConnectConfig, _role: Role, _retention: Retention) -> Self {
        todo!()
    }

    /// The state, and word of every change of it.
    pub fn state(&self) -> watch::Receiver<State> {
        todo!()
    }

    /// The newest counters. Never blocks.
    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// The token for the next dial.
    pub fn set_token(&self, _token: Option<Secret>) {
        todo!()
    }

    /// Closes after what was queued is delivered, within `limit`; a no-op while others share the connection.
    pub async fn close(self, _limit: Duration) -> Result<()> {
        todo!()
    }
}
