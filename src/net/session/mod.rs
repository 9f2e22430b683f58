//! A connection to a relay that survives: setup, retries, failover, GOAWAY.
//!
//! [`Connection`] is a shared handle. One task per connection dials, serves and redials; it ends when the last handle is
//! dropped or closed. Locks: the registry's is taken alone, or before a connection's own; none is held while awaiting.

mod live;
mod registry;
mod shared;
mod task;
#[cfg(test)]
mod tests;
mod token;
mod watchdog;

use std::{
    sync::{Arc, Weak, mpsc as blocking},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use self::{shared::Shared, task::Command};
use super::{
    config::{ConnectConfig, Secret},
    error::{Cause, Error, Result},
    publish::Numbers,
    transport::Deadlines,
};
use crate::runtime;

/// Publishers share a connection with publishers, subscribers with subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Publisher,
    Subscriber,
}

/// How much a publisher keeps for subscribers that fall behind or join late, per connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Retention {
    /// A group that nobody reads or writes for this long is freed, except the newest of a track; one that waits so long
    /// for the network after its end is given up.
    pub age: Duration,
    /// Above this, the oldest groups go first.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(2),
            bytes: 8 << 20,
        }
    }
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
    /// A session is up. `generation` counts sessions from 1; it also grows when one replaces another without a gap.
    /// `silence` says that nothing is heard on it any more, while a second one is dialled.
    Connected {
        info: Arc<SessionInfo>,
        generation: u64,
        silence: Option<Error>,
    },
    /// Was connected; why it is not now.
    Reconnecting { last: Error },
    /// Gave up.
    Failed(Error),
}

/// Counters of a connection over all its sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    pub rtt: Option<Duration>,
    /// Congestion window in bytes.
    pub cwnd: Option<u64>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub bytes_lost: u64,
    pub packets_sent: u64,
    pub packets_received: u64,
    pub packets_lost: u64,
    /// bit/s
    pub estimated_send_rate: Option<u64>,
    /// Sessions after the first.
    pub reconnects: u64,
    /// Sessions that came up between other addresses than the one before.
    pub path_changes: u64,
    pub last_error: Option<Error>,
}

/// A shared handle; dropping the last one closes the connection at once.
#[derive(Clone)]
pub struct Connection {
    guard: Arc<Guard>,
    /// Where broadcasts are published to, or arrive; it outlives sessions.
    pub(in crate::net) origin: moq_net::origin::Producer,
}

/// What the path of a connection is like. It keeps nothing alive.
#[derive(Clone, Default)]
pub(in crate::net) struct Path(Weak<Shared>);

impl Path {
    /// The round trip, smoothed; `None` without a session.
    pub fn rtt(&self) -> Option<Duration> {
        Some(self.0.upgrade()?.quic()?.rtt())
    }

    /// For how long what the tracks of the connection carry is of use; `None` when it is gone.
    pub fn deadlines(&self) -> Option<Deadlines> {
        Some(self.0.upgrade()?.deadlines.clone())
    }
}

/// What the handles of one connection share. The task holds none of it but `shared`.
struct Guard {
    key: registry::Key,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    numbers: Numbers,
}

impl Drop for Guard {
    /// The task sees its command channel close and ends.
    fn drop(&mut self) {
        registry::forget(&self.key);
    }
}

impl Connection {
    /// Joins or starts the connection for this configuration. Never blocks and never fails: failures are states.
    ///
    /// Connections with equal configuration, role and retention are one. One that has failed is never joined.
    pub fn open(config: ConnectConfig, role: Role, retention: Retention) -> Self {
        Self::join(registry::Key::new(config, role, retention))
    }

    /// A subscriber's connection over which only those broadcasts are heard of that are below a path, also when it has a segment
    /// that begins with a dot, which hides them from all others. Never blocks.
    ///
    /// # Errors
    /// [`Cause::Settings`] for a path that nothing can be asked for below.
    pub(in crate::net) fn watch(
        config: ConnectConfig,
        below: &str,
        retention: Retention,
    ) -> Result<Self> {
        moq_net::Pattern::subtree(below).map_err(|err| {
            let text = format!("what is published below “{below}” cannot be asked for: {err}");
            Error::new(Cause::Settings, text)
        })?;
        let mut key = registry::Key::new(config, Role::Subscriber, retention);
        key.below = Some(below.to_owned());
        Ok(Self::join(key))
    }

    fn join(key: registry::Key) -> Self {
        let guard = registry::join(key, start);
        let origin = guard.shared.origin.clone();
        Self { guard, origin }
    }

    /// The state, and word of every change of it. The channel closes when the connection is gone.
    pub fn state(&self) -> watch::Receiver<State> {
        self.guard.shared.state.subscribe()
    }

    /// The newest counters. Never blocks.
    pub fn stats(&self) -> Stats {
        self.guard.shared.stats()
    }

    /// A view of the path that keeps nothing alive.
    pub(in crate::net) fn path(&self) -> Path {
        Path(Arc::downgrade(&self.guard.shared))
    }

    /// Where the tracks left off that were published over this connection.
    pub(in crate::net) fn numbers(&self) -> Numbers {
        self.guard.numbers.clone()
    }

    /// The token for the next dial. A dial that waits for its turn is made at once.
    pub fn set_token(&self, token: Option<Secret>) {
        self.guard.shared.set_token(token);
    }

    /// The URL, without query, for which [`Self::set_token`] should be called with a new token, and word of every further
    /// request: because a JWT is about to expire, or because the relay refused what it got.
    pub fn token_requests(&self) -> watch::Receiver<Option<String>> {
        self.guard.shared.tokens.requests()
    }

    /// Fails while a publisher's session is lost, with the cause: what was written does not get out.
    pub fn delivered(&self) -> Result<()> {
        self.guard.shared.delivered()
    }

    /// Closes after what was queued is delivered, within `limit`; a no-op while others share the connection.
    ///
    /// Fails with [`Cause::Timeout`] when the limit cut delivery short, and with the cause of the loss when the session of a
    /// publisher is lost. Works in any runtime, or none.
    pub async fn close(self, limit: Duration) -> Result<()> {
        let Self { guard, origin } = self;
        drop(origin);
        let Some(guard) = Arc::into_inner(guard) else {
            return Ok(());
        };
        let (done, finished) = oneshot::channel();
        if guard
            .commands
            .send(Command::Close { limit, done })
            .await
            .is_err()
        {
            return Ok(());
        }
        // The task is gone without an answer only if it had ended already.
        finished.await.unwrap_or(Ok(()))
    }

    /// [`Self::close`] for a thread that may wait, inside of a foreign runtime or not: never longer than `limit` and a
    /// little.
    pub fn close_blocking(self, limit: Duration) -> Result<()> {
        const GRACE: Duration = Duration::from_millis(100);
        let (done, finished) = blocking::sync_channel(1);
        runtime::handle().spawn(async move {
            let _ = done.send(self.close(limit).await);
        });
        finished.recv_timeout(limit + GRACE).unwrap_or_else(|_| {
            Err(Error::new(
                Cause::Timeout,
                "closing the connection took too long",
            ))
        })
    }
}

fn start(key: registry::Key) -> Guard {
    let (commands, receiver) = mpsc::channel(4);
    let shared = Shared::new(&key);
    task::spawn(shared.clone(), receiver);
    Guard {
        key,
        shared,
        commands,
        numbers: Numbers::default(),
    }
}
