//! What the task of a connection and its handles both see.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use moq_net::{cache, origin};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{Retention, Role, State, Stats, live::Live, registry::Key, token::Tokens};
use crate::{
    net::{
        config::{ConnectConfig, Secret},
        error::{Error, Result},
        transport::{Deadlines, Session},
    },
    runtime,
};

pub struct Shared {
    pub config: Arc<ConnectConfig>,
    pub role: Role,
    /// How long a group may wait for the network.
    pub patience: Duration,
    /// For how long what the tracks carry is of use.
    pub deadlines: Deadlines,
    pub origin: origin::Producer,
    /// What of `origin` a subscriber's sessions fill; what they ask the relay to announce is made of it.
    pub heard: origin::Producer,
    pub state: watch::Sender<State>,
    pub tokens: Tokens,
    /// Told when the token changes; the task alone waits for it.
    pub token_changed: Notify,
    counters: Mutex<Counters>,
}

#[derive(Default)]
struct Counters {
    /// Of sessions that have ended, and what is counted per connection.
    past: Stats,
    sessions: u64,
    current: Option<Session>,
    /// Own and peer's address of the newest session.
    path: Option<(Option<IpAddr>, SocketAddr)>,
}

impl Shared {
    pub fn new(key: &Key) -> Arc<Self> {
        let (origin, driver) = origin::Producer::new(origin_config(key.retention));
        runtime::handle().spawn(moq_net::time::run(driver));
        let below = key.below.as_deref().map(moq_net::Pattern::subtree);
        let heard = match below {
            Some(Ok(below)) => origin.scope("", &below.into()).ok(),
            _ => None,
        };
        Arc::new(Self {
            heard: heard.unwrap_or_else(|| origin.clone()),
            config: key.config.clone(),
            role: key.role,
            patience: key.retention.age,
            deadlines: Deadlines::default(),
            origin,
            state: watch::Sender::new(State::Connecting { last: None }),
            tokens: Tokens::new(key.config.auth_token.clone()),
            token_changed: Notify::new(),
            counters: Mutex::default(),
        })
    }

    pub fn set_token(&self, token: Option<Secret>) {
        // The one that was just refused would be again.
        if self.tokens.set(token) {
            // Kept until the next pause: during a dial nobody waits.
            self.token_changed.notify_one();
        }
    }

    pub fn stats(&self) -> Stats {
        let counters = self.counters.lock();
        let mut stats = counters.past.clone();
        if let Some(session) = &counters.current {
            add(&mut stats, session);
        }
        stats
    }

    /// The connection of the session that is up. A clone of the whole session would copy its request, on the path of each frame.
    pub fn quic(&self) -> Option<quinn::Connection> {
        let counters = self.counters.lock();
        counters.current.as_ref().map(|it| it.quic().clone())
    }

    /// A dial failed, or the relay said that it goes away.
    pub fn note(&self, error: &Error) {
        tracing::info!(cause = %error.cause, "{error}");
        self.counters.lock().past.last_error = Some(error.clone());
        self.state.send_if_modified(|state| {
            let last = match state {
                State::Connecting { last } => {
                    let changed = last.as_ref() != Some(error);
                    *last = Some(error.clone());
                    return changed;
                }
                State::Reconnecting { last } => last,
                State::Connected { .. } | State::Failed(_) => return false,
            };
            let changed = last != error;
            *last = error.clone();
            changed
        });
    }

    /// A session is up, the first or one that takes the place of another.
    pub fn connected(&self, live: &Live, generation: u64) {
        let quic = live.transport.quic();
        let path = (quic.local_ip(), quic.remote_address());
        let mut counters = self.counters.lock();
        if let Some(old) = counters.current.replace(live.transport.clone()) {
            fold(&mut counters.past, &old);
        }
        counters.sessions += 1;
        counters.past.reconnects = counters.sessions - 1;
        if counters.path.replace(path).is_some_and(|old| old != path) {
            counters.past.path_changes += 1;
        }
        drop(counters);
        tracing::info!(
            url = live.info.url,
            transport = live.info.transport,
            version = live.info.version,
            "connected"
        );
        self.state.send_replace(State::Connected {
            info: live.info.clone(),
            generation,
            silence: None,
        });
    }

    /// Nothing is heard on the session that is up, or something is again.
    pub fn silent(&self, error: Option<Error>) {
        if let Some(error) = &error {
            tracing::info!(cause = %error.cause, "{error}");
            self.counters.lock().past.last_error = Some(error.clone());
        }
        self.state.send_if_modified(|state| match state {
            State::Connected { silence, .. } => {
                let changed = *silence != error;
                *silence = error;
                changed
            }
            _ => false,
        });
    }

    /// The session ended; `first` says that it never really was one.
    pub fn disconnected(&self, error: Error, first: bool) {
        tracing::info!(cause = %error.cause, "disconnected: {error}");
        let mut counters = self.counters.lock();
        if let Some(old) = counters.current.take() {
            fold(&mut counters.past, &old);
        }
        counters.past.last_error = Some(error.clone());
        drop(counters);
        self.state.send_replace(match first {
            true => State::Connecting { last: Some(error) },
            false => State::Reconnecting { last: error },
        });
    }

    pub fn fail(&self, error: Error) {
        tracing::warn!(cause = %error.cause, "gave up: {error}");
        let mut counters = self.counters.lock();
        counters.current = None;
        counters.past.last_error = Some(error.clone());
        drop(counters);
        self.state.send_replace(State::Failed(error));
    }

    /// Whether what was written could get out: not while a publisher's session is lost.
    pub fn delivered(&self) -> Result<()> {
        match (&*self.state.borrow(), self.role) {
            (State::Reconnecting { last }, Role::Publisher) => Err(Error::new(
                last.cause,
                format!("the connection is lost, and with it what was not delivered: {last}"),
            )),
            _ => Ok(()),
        }
    }

    /// Lets go of the session, so that nothing here keeps it open.
    pub fn closed(&self) {
        let mut counters = self.counters.lock();
        if let Some(old) = counters.current.take() {
            fold(&mut counters.past, &old);
        }
    }
}

/// The pool is always bounded: left alone it keeps every buffer for 30 s.
fn origin_config(retention: Retention) -> origin::Config {
    let mut config = origin::Config::default();
    config.pool = cache::Pool::new(
        cache::Config::default()
            .with_expiry(retention.age)
            .with_capacity(retention.bytes),
    );
    config
}

fn fold(past: &mut Stats, session: &Session) {
    add(past, session);
    past.rtt = None;
    past.cwnd = None;
    past.estimated_send_rate = None;
}

fn add(stats: &mut Stats, session: &Session) {
    let now = session.quic().stats();
    stats.rtt = Some(now.path.rtt);
    stats.cwnd = Some(now.path.cwnd);
    stats.bytes_sent += now.udp_tx.bytes;
    stats.bytes_received += now.udp_rx.bytes;
    stats.bytes_lost += now.path.lost_bytes;
    stats.packets_sent += now.udp_tx.datagrams;
    stats.packets_received += now.udp_rx.datagrams;
    stats.packets_lost += now.path.lost_packets;
    stats.estimated_send_rate = session.estimated_send_rate();
}
