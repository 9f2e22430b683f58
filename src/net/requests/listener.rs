//! The publisher's end.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    RETENTION, TRACK,
    message::{MAX_BYTES, MAX_TRACKS, Request, RequestError},
    place,
    places::{MAX_REQUESTERS, Places, Requester},
    tell_refusal,
};
use crate::{
    net::{
        config::{ConnectConfig, Secret},
        error::{Error, Result},
        session::{Connection, State},
        subscribe::reader::{BroadcastReader, TooLarge, TrackReader},
    },
    policy::retry::Backoff,
    runtime,
};

/// A player is listened to no more often, and what all say is told no more often; of what one says in between the newest counts.
const PACE: Duration = Duration::from_millis(50);

/// Names that wait to be told, at most: strangers choose them.
const MAX_NAMES: usize = MAX_REQUESTERS * MAX_TRACKS;

/// Strangers that are told of because they cannot be understood.
const MAX_TOLD: u64 = 64;

const PRIORITY: u8 = 100;

/// What a listener hears. Told from the runtime: the receiver must not block.
#[derive(Debug, Clone)]
pub enum Heard {
    /// Somebody waits for key frames of these tracks, which strangers named; each is there once. Told every 50 ms at most.
    Wanted(BTreeSet<String>),
    /// This requester, whom a stranger named, says what cannot be read. Told once of each, and of the first 64.
    Malformed { requester: String, why: String },
    /// The relay does not let us listen. Told once of each connection.
    Refused(Error),
}

/// Counters of a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListenerStats {
    /// Players that are listened to now.
    pub requesters: u64,
    /// Messages that could not be read.
    pub malformed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    requesters: AtomicU64,
    malformed: AtomicU64,
    /// Requesters that were told of.
    told: AtomicU64,
}

/// What players wait for and was not told yet.
#[derive(Default)]
struct Wanted {
    /// A leaf.
    names: Mutex<BTreeSet<String>>,
    filled: Notify,
}

impl Wanted {
    fn add(&self, tracks: Vec<String>) {
        let mut names = self.names.lock();
        for track in tracks {
            if names.len() < MAX_NAMES {
                names.insert(track);
            }
        }
        drop(names);
        self.filled.notify_one();
    }

    /// Waits for something to tell.
    async fn next(&self) -> BTreeSet<String> {
        loop {
            let names = std::mem::take(&mut *self.names.lock());
            if !names.is_empty() {
                return names;
            }
            self.filled.notified().await;
        }
    }
}

/// Listens for requests over a connection of its own, until it is dropped.
pub struct Listener {
    tokens: watch::Sender<Option<Secret>>,
    counters: Arc<Counters>,
    task: AbortHandle,
}

type Tell = Arc<dyn Fn(Heard) + Send + Sync>;

impl Listener {
    /// Listens for those who play `broadcast`, in the background.
    ///
    /// # Errors
    /// [`Cause::Settings`](crate::net::Cause::Settings) for a name below which nothing can be asked for.
    pub fn start(
        config: ConnectConfig,
        broadcast: &str,
        tell: impl Fn(Heard) + Send + Sync + 'static,
    ) -> Result<Self> {
        let counters = Arc::<Counters>::default();
        let (tokens, given) = watch::channel(config.auth_token.clone());
        let link = Link {
            config,
            place: place(broadcast),
            tell: Arc::new(tell),
            tokens: given,
            counters: counters.clone(),
        };
        let connection = link.open()?;
        let task = runtime::handle().spawn(link.run(connection)).abort_handle();
        Ok(Self {
            tokens,
            counters,
            task,
        })
    }

    /// The token for the next dial. When the connection had failed, another token than it had opens one anew.
    pub fn set_token(&self, token: Option<Secret>) {
        self.tokens.send_replace(token);
    }

    pub fn stats(&self) -> ListenerStats {
        ListenerStats {
            requesters: self.counters.requesters.load(Ordering::Relaxed),
            malformed: self.counters.malformed.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What it listens over.
struct Link {
    config: ConnectConfig,
    place: String,
    tell: Tell,
    tokens: watch::Receiver<Option<Secret>>,
    counters: Arc<Counters>,
}

impl Link {
    fn open(&self) -> Result<Connection> {
        let connection = Connection::watch(self.config.clone(), &self.place, RETENTION)?;
        let refused = self.tell.clone();
        let what = "Requests for key frames are not heard";
        tell_refusal(
            &connection,
            what,
            Arc::new(move |err| refused(Heard::Refused(err))),
        );
        Ok(connection)
    }

    /// Listens, and again with another token after the connection has failed.
    async fn run(mut self, mut connection: Connection) {
        loop {
            let run = Run {
                origin: connection.origin.consume(),
                place: self.place.clone(),
                tell: self.tell.clone(),
                counters: self.counters.clone(),
                wanted: Arc::default(),
            };
            tokio::select! {
                never = run.run() => match never {},
                () = failed(&connection, &mut self.tokens) => {}
            }
            self.counters.requesters.store(0, Ordering::Relaxed);
            // One that came too late for the last dial is another one, too.
            let refused = self.config.auth_token.clone();
            let Ok(token) = self.tokens.wait_for(|token| *token != refused).await else {
                return;
            };
            self.config.auth_token.clone_from(&token);
            drop(token);
            match self.open() {
                Ok(opened) => connection = opened,
                Err(err) => return (self.tell)(Heard::Refused(err)),
            }
        }
    }
}

/// Hands new tokens to a connection until that has failed for good.
async fn failed(connection: &Connection, tokens: &mut watch::Receiver<Option<Secret>>) {
    let mut state = connection.state();
    loop {
        tokio::select! {
            _ = state.wait_for(|state| matches!(state, State::Failed(_))) => return,
            Ok(()) = tokens.changed() => {
                let token = tokens.borrow_and_update().clone();
                connection.set_token(token);
            }
        }
    }
}

struct Run {
    origin: moq_net::origin::Consumer,
    place: String,
    tell: Tell,
    counters: Arc<Counters>,
    wanted: Arc<Wanted>,
}

/// Ends what listens to one player.
struct Reading(AbortHandle);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Run {
    async fn run(self) -> Infallible {
        let mut announced = self.origin.clone().with_hidden(true).announced();
        let mut readers = JoinSet::new();
        let mut places = Places::new();
        let mut next_word = Instant::now();
        loop {
            places.fill(Instant::now(), |requester| {
                Reading(readers.spawn(self.reader(requester).run()))
            });
            let count = places.taken() as u64;
            self.counters.requesters.store(count, Ordering::Relaxed);
            let lapse = places.wake();
            tokio::select! {
                Some(update) = announced.next() => {
                    let path = update.prefix.to_string();
                    if !self.is_requester(&path) {
                        continue;
                    }
                    if update.kind.is_active() {
                        places.announced(path, Instant::now());
                    } else {
                        places.retracted(&path);
                    }
                }
                names = self.next_word(next_word) => {
                    (self.tell)(Heard::Wanted(names));
                    next_word = Instant::now() + PACE;
                }
                Some(_) = readers.join_next() => {}
                () = sleep_until(lapse.unwrap_or(next_word)), if lapse.is_some() => {}
            }
        }
    }

    fn reader(&self, requester: &Requester) -> Reader {
        Reader {
            origin: self.origin.clone(),
            requester: requester.clone(),
            tell: self.tell.clone(),
            counters: self.counters.clone(),
            wanted: self.wanted.clone(),
        }
    }

    /// What to tell, not before `from`.
    async fn next_word(&self, from: Instant) -> BTreeSet<String> {
        sleep_until(from).await;
        self.wanted.next().await
    }

    /// One segment below the place.
    fn is_requester(&self, path: &str) -> bool {
        let id = path.strip_prefix(&self.place);
        let id = id.and_then(|rest| rest.strip_prefix('/'));
        id.is_some_and(|id| !id.is_empty() && !id.contains('/'))
    }
}

/// Listens to one player.
struct Reader {
    origin: moq_net::origin::Consumer,
    requester: Requester,
    tell: Tell,
    counters: Arc<Counters>,
    wanted: Arc<Wanted>,
}

impl Reader {
    /// Until it is aborted, or there is nothing to be had.
    async fn run(self) {
        self.listen_until_the_end().await;
        self.requester.said.lock().over = true;
    }

    async fn listen_until_the_end(&self) {
        let mut retry = Backoff::new(
            Duration::from_millis(100),
            Duration::from_secs(5),
            fastrand::Rng::new(),
        );
        while let Ok(consumer) = self
            .origin
            .routed_broadcast(self.requester.path.as_str())
            .await
        {
            let broadcast = BroadcastReader::of(consumer);
            if let Ok(mut track) = broadcast.track(TRACK, PRIORITY, RETENTION.age).await
                && self.listen(&mut track).await.is_err()
            {
                return;
            }
            sleep(retry.next_delay()).await;
        }
    }

    /// Until the track ends; an error is the end of all patience.
    async fn listen(&self, track: &mut TrackReader) -> std::result::Result<(), TooLarge> {
        while let Ok(Some(mut group)) = track.next_group().await {
            // What was said meanwhile takes its place.
            while let Some(other) = track.next_group_at_hand().await {
                if other.sequence() > group.sequence() {
                    group = other;
                }
            }
            match timeout(RETENTION.age, group.read_within(MAX_BYTES)).await {
                Ok(Ok(Some(message))) => self.take(&message),
                Ok(Err(TooLarge)) => {
                    self.note_malformed(&RequestError::TooLarge);
                    return Err(TooLarge);
                }
                // It was given up, or is stuck: what it says will be said again.
                Ok(Ok(None)) | Err(_) => {}
            }
            sleep(PACE).await;
        }
        Ok(())
    }

    fn take(&self, message: &[u8]) {
        match Request::parse(message) {
            Ok(request) if self.is_new(request.seq) => {
                if !request.key_frames.is_empty() {
                    self.wanted.add(request.key_frames);
                }
            }
            Ok(_) => {}
            Err(err) => self.note_malformed(&err),
        }
    }

    fn is_new(&self, seq: u64) -> bool {
        let mut said = self.requester.said.lock();
        let is_new = said.seq.is_none_or(|last| last < seq);
        if is_new {
            said.seq = Some(seq);
            said.at = Instant::now();
        }
        is_new
    }

    fn note_malformed(&self, err: &RequestError) {
        self.counters.malformed.fetch_add(1, Ordering::Relaxed);
        let told = std::mem::replace(&mut self.requester.said.lock().told_malformed, true);
        if !told && self.counters.told.fetch_add(1, Ordering::Relaxed) < MAX_TOLD {
            (self.tell)(Heard::Malformed {
                requester: self.requester.path.clone(),
                why: err.to_string(),
            });
        }
    }
}
