//! The player's end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{RETENTION, TRACK, message::Request, place, tell_refusal};
use crate::{
    net::{
        config::{ConnectConfig, Secret},
        error::{Cause, Error, Result},
        publish::{Broadcast, TrackOptions, TrackWriter},
        session::{Connection, Role, State},
    },
    policy::{Nanos, wants::Wants},
};

/// Requests go before everything else: a word that is late is a picture that is late.
const PRIORITY: u8 = 100;

/// How long the request broadcast stays announced when nothing is waited for: publishers listen to a limited number.
const IDLE: Duration = Duration::from_secs(10);

/// Asks for key frames. Everything it does returns at once.
///
/// The connection for it is dialled with the first request: most players never make one, and those that join need none, because a
/// publisher makes a key frame when a relay subscribes.
pub(in crate::net) struct Asker {
    config: ConnectConfig,
    broadcast: String,
    id: u64,
    seq: u64,
    wants: Wants,
    /// Time 0 of the wants.
    started: Instant,
    link: Option<Connection>,
    offer: Option<Offer>,
    /// Not tried again before there is another token.
    failed: bool,
    told_unanswered: bool,
    /// See [`IDLE`].
    pub(super) idle: Duration,
    tell: Arc<dyn Fn(Error) + Send + Sync>,
}

/// What is announced.
struct Offer {
    control: TrackWriter,
    /// Retracts it when dropped, after the track has ended.
    _broadcast: Broadcast,
    used: Instant,
}

impl Asker {
    /// For key frames of tracks of `broadcast`, over a connection like this. `tell` is told, once each, when the relay refuses that
    /// and when nobody listens.
    pub fn new(
        config: ConnectConfig,
        broadcast: &str,
        tell: impl Fn(Error) + Send + Sync + 'static,
    ) -> Self {
        Self {
            config,
            broadcast: broadcast.to_owned(),
            id: fastrand::u64(..),
            seq: 0,
            wants: Wants::default(),
            started: Instant::now(),
            link: None,
            offer: None,
            failed: false,
            told_unanswered: false,
            idle: IDLE,
            tell: Arc::new(tell),
        }
    }

    /// See [`Wants::ask`].
    pub fn ask(&mut self, track: &str) {
        self.wants.ask(track);
    }

    /// See [`Wants::set_missing`].
    pub fn set_missing(&mut self, track: &str, missing: bool) {
        let now = self.now();
        self.wants.set_missing(track, missing, now);
    }

    /// See [`Wants::key_frame`].
    pub fn key_frame(&mut self, track: &str) {
        self.wants.key_frame(track);
    }

    /// See [`Wants::remove`].
    pub fn remove(&mut self, track: &str) {
        self.wants.remove(track);
    }

    /// Nothing is waited for, and nothing announced.
    pub fn clear(&mut self) {
        self.wants.clear();
        self.offer = None;
    }

    /// How often a key frame of this track was asked for.
    pub fn total(&self, track: &str) -> u64 {
        self.wants.total(track)
    }

    /// The token for the next dial.
    pub fn set_token(&mut self, token: Option<Secret>) {
        if let Some(link) = &self.link {
            link.set_token(token.clone());
        }
        self.config.auth_token = token;
        self.failed = false;
    }

    /// Says what is due; when to call again.
    pub fn poll(&mut self) -> Option<Instant> {
        if let Some(tracks) = self.wants.poll(self.now()) {
            self.say(tracks);
        }
        if self.wants.take_unanswered() {
            self.tell_unanswered();
        }
        let idle = self.offer.as_ref().map(|offer| offer.used + self.idle);
        if idle.is_some_and(|idle| idle <= Instant::now()) {
            self.offer = None;
        }
        let wake = self.wants.wake().map(|at| {
            let after = u64::try_from(at).map_or(Duration::ZERO, Duration::from_nanos);
            self.started + after
        });
        let idle = idle.filter(|_| self.offer.is_some());
        wake.into_iter().chain(idle).min()
    }

    fn now(&self) -> Nanos {
        Nanos::try_from(self.started.elapsed().as_nanos()).unwrap_or(Nanos::MAX)
    }

    fn say(&mut self, tracks: Vec<String>) {
        self.look_at_link();
        // Nobody has to know the end of what nobody was told.
        if self.failed || (self.offer.is_none() && tracks.is_empty()) {
            return;
        }
        tracing::debug!(
            broadcast = self.broadcast,
            ?tracks,
            "key frames are waited for"
        );
        let (seq, stamp) = (self.seq, self.started.elapsed());
        self.seq += 1;
        let request = Request::new(seq, tracks).write();
        let stamp = u64::try_from(stamp.as_micros()).unwrap_or(0);
        if let Some(offer) = &mut self.offer {
            offer.used = Instant::now();
            if offer.control.write_snapshot(stamp, request.clone()).is_ok() {
                return;
            }
        }
        match self.announce(stamp, request) {
            Ok(offer) => self.offer = Some(offer),
            Err(err) => {
                tracing::info!("requests cannot be announced: {err}");
                self.offer = None;
            }
        }
    }

    fn announce(&mut self, stamp: u64, request: bytes::Bytes) -> Result<Offer> {
        let link = self.link.get_or_insert_with(|| {
            let link = Connection::open(self.config.clone(), Role::Publisher, RETENTION);
            let what = "Key frames cannot be asked for";
            tell_refusal(&link, what, self.tell.clone());
            link
        });
        let path = format!("{}/{:016x}", place(&self.broadcast), self.id);
        let broadcast = Broadcast::create(link, &path)?;
        let options = TrackOptions {
            priority: PRIORITY,
            max_age: RETENTION.age,
            timely: false,
        };
        let mut control = broadcast.track(TRACK, options)?;
        // Before the announcement: whoever acts on that finds it.
        let written = control.write_snapshot(stamp, request);
        written.map_err(|err| Error::new(Cause::ConnectionLost, err.to_string()))?;
        broadcast.announce()?;
        Ok(Offer {
            control,
            _broadcast: broadcast,
            used: Instant::now(),
        })
    }

    /// A connection that has failed stays so.
    fn look_at_link(&mut self) {
        let failed = |link: &Connection| matches!(*link.state().borrow(), State::Failed(_));
        if self.link.as_ref().is_some_and(failed) {
            self.link = None;
            self.offer = None;
            self.failed = true;
        }
    }

    fn tell_unanswered(&mut self) {
        let is_up = |link: &Connection| {
            let state = link.state();
            matches!(&*state.borrow(), State::Connected { silence: None, .. })
        };
        let heard = |offer: &Offer| offer.control.demand().is_used();
        // What cannot be said for want of a connection is no fault of the publisher's.
        if self.told_unanswered
            || !self.link.as_ref().is_some_and(is_up)
            || self.offer.as_ref().is_some_and(heard)
        {
            return;
        }
        self.told_unanswered = true;
        (self.tell)(Error::new(
            Cause::NoBroadcast,
            format!(
                "Nobody listens for requests for key frames of '{}': its publisher does not (allow-requests of moqsink), or the \
                 relay's rules do not let them through, which are published below '{}/'",
                self.broadcast,
                place(&self.broadcast)
            ),
        ));
    }
}
