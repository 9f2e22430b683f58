//! The publisher's end.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    RETENTION, TRACK,
    message::{MAX_BYTES, MAX_TRACKS, Request, RequestError},
    place, tell_refusal,
};
use crate::{
    net::{
        config::ConnectConfig,
        error::{Error, Result},
        session::Connection,
        subscribe::reader::{BroadcastReader, TooLarge, TrackReader},
    },
    policy::retry::Backoff,
    runtime,
};

/// Players that are listened to at the same time. They have a place while they wait for a key frame and shortly after; what one above it
/// waits for, others of the same track wait for, too.
const MAX_REQUESTERS: usize = 64;

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
    /// The relay does not let us listen. Told once.
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
    connection: Connection,
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
        let connection = Connection::watch(config, &place(broadcast), RETENTION)?;
        let tell: Tell = Arc::new(tell);
        let refused = tell.clone();
        let what = "Requests for key frames are not heard";
        tell_refusal(
            &connection,
            what,
            Arc::new(move |err| refused(Heard::Refused(err))),
        );
        let counters = Arc::<Counters>::default();
        let run = Run {
            origin: connection.origin.consume(),
            place: place(broadcast),
            tell,
            counters: counters.clone(),
            wanted: Arc::default(),
        };
        let task = runtime::handle().spawn(run.run()).abort_handle();
        Ok(Self {
            connection,
            counters,
            task,
        })
    }

    /// What it listens over.
    pub fn connection(&self) -> Connection {
        self.connection.clone()
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

struct Run {
    origin: moq_net::origin::Consumer,
    place: String,
    tell: Tell,
    counters: Arc<Counters>,
    wanted: Arc<Wanted>,
}

impl Run {
    async fn run(self) {
        let mut announced = self.origin.clone().with_hidden(true).announced();
        let mut readers = JoinSet::new();
        let mut requesters: HashMap<String, AbortHandle> = HashMap::new();
        let mut next_word = Instant::now();
        loop {
            tokio::select! {
                update = announced.next() => {
                    let Some(update) = update else { return };
                    let path = update.prefix.to_string();
                    if !self.is_requester(&path) {
                        continue;
                    }
                    if !update.kind.is_active() {
                        if let Some(reader) = requesters.remove(&path) {
                            reader.abort();
                        }
                    } else if requesters.len() < MAX_REQUESTERS && !requesters.contains_key(&path) {
                        let reader = Reader {
                            origin: self.origin.clone(),
                            path: path.clone(),
                            tell: self.tell.clone(),
                            counters: self.counters.clone(),
                            wanted: self.wanted.clone(),
                            seq: None,
                            told_malformed: false,
                        };
                        requesters.insert(path, readers.spawn(reader.run()));
                    }
                }
                names = self.next_word(next_word) => {
                    (self.tell)(Heard::Wanted(names));
                    next_word = Instant::now() + PACE;
                }
                Some(_) = readers.join_next() => {}
            }
            let count = requesters.len() as u64;
            self.counters.requesters.store(count, Ordering::Relaxed);
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
    path: String,
    tell: Tell,
    counters: Arc<Counters>,
    wanted: Arc<Wanted>,
    /// Of what was heard last.
    seq: Option<u64>,
    told_malformed: bool,
}

impl Reader {
    /// Until it is aborted, or there is nothing to be had.
    async fn run(mut self) {
        let mut retry = Backoff::new(
            Duration::from_millis(100),
            Duration::from_secs(5),
            fastrand::Rng::new(),
        );
        while let Ok(consumer) = self.origin.routed_broadcast(self.path.as_str()).await {
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
    async fn listen(&mut self, track: &mut TrackReader) -> std::result::Result<(), TooLarge> {
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

    fn take(&mut self, message: &[u8]) {
        match Request::parse(message) {
            Ok(request) if self.seq.is_none_or(|seq| seq < request.seq) => {
                self.seq = Some(request.seq);
                if !request.key_frames.is_empty() {
                    self.wanted.add(request.key_frames);
                }
            }
            Ok(_) => {}
            Err(err) => self.note_malformed(&err),
        }
    }

    fn note_malformed(&mut self, err: &RequestError) {
        self.counters.malformed.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.told_malformed, true)
            && self.counters.told.fetch_add(1, Ordering::Relaxed) < MAX_TOLD
        {
            (self.tell)(Heard::Malformed {
                requester: self.path.clone(),
                why: err.to_string(),
            });
        }
    }
}
