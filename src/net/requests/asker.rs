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

/// How long the connection is kept after that was last used: a relay holds a session for it.
const LINGER: Duration = Duration::from_secs(60);

const UNASKED: &str = "Key frames cannot be asked for";

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
    link: Option<Link>,
    offer: Option<Offer>,
    /// Not tried again before there is another token.
    failed: bool,
    /// Why nothing could be announced the last time.
    unannounced: Option<Error>,
    told_unanswered: bool,
    /// See [`IDLE`].
    pub(super) idle: Duration,
    /// See [`LINGER`].
    pub(super) linger: Duration,
    tell: Arc<dyn Fn(Error) + Send + Sync>,
}

/// What it asks over.
struct Link {
    connection: Connection,
    /// That it was opened with.
    token: Option<Secret>,
    used: Instant,
}

/// What is announced.
struct Offer {
    control: TrackWriter,
    /// Retracts it when dropped, after the track has ended.
    _broadcast: Broadcast,
    used: Instant,
}

impl Asker {
    /// For key frames of tracks of `broadcast`, over a connection like this. `tell` is told when the relay refuses that, once of
    /// each connection, and once when nobody can be asked or nobody listens.
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
            unannounced: None,
            told_unanswered: false,
            idle: IDLE,
            linger: LINGER,
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
        // A connection that has failed would take it with it.
        self.look_at_link();
        if let Some(link) = &self.link {
            link.connection.set_token(token.clone());
        }
        if self.config.auth_token != token {
            self.config.auth_token = token;
            self.failed = false;
        }
    }

    /// Says what is due; when to call again.
    pub fn poll(&mut self) -> Option<Instant> {
        if let Some(tracks) = self.wants.poll(self.now()) {
            self.say(tracks);
        }
        if self.wants.take_unanswered() {
            self.tell_unanswered();
        }
        let rest = self.rest(Instant::now());
        let wake = self.wants.wake().map(|at| {
            let after = u64::try_from(at).map_or(Duration::ZERO, Duration::from_nanos);
            self.started + after
        });
        wake.into_iter().chain(rest).min()
    }

    /// Lets go of what was not used for long; when to do so again.
    fn rest(&mut self, now: Instant) -> Option<Instant> {
        let idle = self.offer.as_ref().map(|offer| offer.used + self.idle);
        let idle = idle.filter(|idle| *idle > now);
        if idle.is_none() {
            self.offer = None;
        }
        // That it has failed must not be forgotten with it.
        self.look_at_link();
        let linger = self.link.as_ref().map(|link| link.used + self.linger);
        let linger = linger.filter(|linger| *linger > now);
        if linger.is_none() {
            self.offer = None;
            self.link = None;
        }
        idle.into_iter().chain(linger).min()
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
        let now = Instant::now();
        if let Some(link) = &mut self.link {
            link.used = now;
        }
        if let Some(offer) = &mut self.offer {
            offer.used = now;
            if offer.control.write_snapshot(stamp, request.clone()).is_ok() {
                return;
            }
        }
        match self.announce(stamp, request) {
            Ok(offer) => {
                self.offer = Some(offer);
                self.unannounced = None;
            }
            Err(err) => {
                tracing::info!("requests cannot be announced: {err}");
                self.offer = None;
                self.unannounced = Some(err);
            }
        }
    }

    fn announce(&mut self, stamp: u64, request: bytes::Bytes) -> Result<Offer> {
        let link = self.link.get_or_insert_with(|| {
            let connection = Connection::open(self.config.clone(), Role::Publisher, RETENTION);
            tell_refusal(&connection, UNASKED, self.tell.clone());
            Link {
                connection,
                token: self.config.auth_token.clone(),
                used: Instant::now(),
            }
        });
        let path = format!("{}/{:016x}", place(&self.broadcast), self.id);
        let broadcast = Broadcast::create(&link.connection, &path)?;
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

    /// A connection that has failed stays so. A token that came too late for its last dial is tried with another.
    fn look_at_link(&mut self) {
        let failed =
            |link: &mut Link| matches!(*link.connection.state().borrow(), State::Failed(_));
        if let Some(link) = self.link.take_if(failed) {
            self.offer = None;
            self.failed = link.token == self.config.auth_token;
        }
    }

    fn tell_unanswered(&mut self) {
        let is_up = |link: &Link| {
            let state = link.connection.state();
            matches!(&*state.borrow(), State::Connected { silence: None, .. })
        };
        // What cannot be said for want of a connection is no fault of the publisher's.
        if self.told_unanswered || !self.link.as_ref().is_some_and(is_up) {
            return;
        }
        let err = match (&self.offer, self.unannounced.take()) {
            (Some(offer), _) if !offer.control.demand().is_used() => self.nobody_listens(),
            (None, Some(err)) => Error::new(err.cause, format!("{UNASKED}: {err}")),
            _ => return,
        };
        self.told_unanswered = true;
        (self.tell)(err);
    }

    fn nobody_listens(&self) -> Error {
        Error::new(
            Cause::NoBroadcast,
            format!(
                "Nobody listens for requests for key frames of '{}': its publisher does not (allow-requests of moqsink), or the \
                 relay's rules do not let them through, which are published below '{}/'",
                self.broadcast,
                place(&self.broadcast)
            ),
        )
    }
}
