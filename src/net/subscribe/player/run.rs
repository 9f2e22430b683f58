//! The player's task: one announcement of the broadcast after the other.

mod absent;
mod tracks;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep_until,
};

use self::{absent::Absence, tracks::Wanted};
use super::{Command, PlayerConfig, PlayerEvent, PlayerStats, RunningClock};
use crate::{
    media::catalog::Catalog,
    net::{
        error::{Cause, Error, limit_text},
        requests::Asker,
        session::{Connection, State},
        subscribe::{
            catalog::Catalogs,
            engine::Engine,
            queue::Item,
            reader::{BroadcastReader, Discovery},
            track::{self, Arrival},
        },
    },
    policy::{Nanos, retry::Backoff, timeline::TrackId},
};

/// Frames on their way from the readers to the engine.
const ARRIVALS: usize = 1024;

/// How long a retracted broadcast may be silent before it counts as gone.
const TAIL: Duration = Duration::from_millis(500);

/// A catalog that does not come for so long is worth a word.
const CATALOG_DUE: Duration = Duration::from_secs(5);

/// Why playing one announcement of a broadcast stopped.
enum Outcome {
    Ended,
    Lost(Error),
    Stopped,
}

pub(super) struct Run {
    connection: Connection,
    discovery: Discovery,
    config: PlayerConfig,
    clock: Arc<dyn RunningClock>,
    events: Arc<dyn Fn(PlayerEvent) + Send + Sync>,
    commands: mpsc::UnboundedReceiver<Command>,
    stats: Arc<Mutex<PlayerStats>>,
    stats_at: Instant,

    engine: Engine,
    asker: Option<Asker>,
    playing: bool,
    wanted: BTreeMap<String, Wanted>,
    next_id: usize,
    max_age: watch::Sender<Duration>,

    readers: JoinSet<()>,
    arrivals: (track::Arrivals, mpsc::Receiver<(TrackId, Arrival)>),
    catalog: Option<Arc<Catalog>>,
    /// When media last came.
    heard: Instant,
    /// Whether any came since the broadcast was found.
    heard_any: bool,
    /// The session on which a broadcast was retracted that may have ended with that.
    retracted_on: Option<u64>,
}

/// A broadcast that could not say that it ends counts as ended at this time, unless its session goes first: then it was lost.
#[derive(Clone, Copy)]
struct SilentEnd {
    generation: u64,
    at: Instant,
}

impl Run {
    pub(super) fn new(
        connection: Connection,
        config: PlayerConfig,
        clock: Arc<dyn RunningClock>,
        events: Arc<dyn Fn(PlayerEvent) + Send + Sync>,
        commands: mpsc::UnboundedReceiver<Command>,
        stats: Arc<Mutex<PlayerStats>>,
    ) -> Self {
        let asker = config.requests.clone().map(|requests| {
            let events = events.clone();
            let tell = move |err| events(PlayerEvent::Unheard(err));
            Asker::new(requests, &config.broadcast, tell)
        });
        Self {
            asker,
            engine: Engine::new(config.latency, config.start),
            max_age: watch::Sender::new(max_age(&config)),
            discovery: Discovery::new(&connection, &config.broadcast),
            connection,
            config,
            clock,
            events,
            commands,
            stats,
            stats_at: Instant::now(),
            playing: false,
            wanted: BTreeMap::new(),
            next_id: 0,
            readers: JoinSet::new(),
            arrivals: mpsc::channel(ARRIVALS),
            catalog: None,
            heard: Instant::now(),
            heard_any: false,
            retracted_on: None,
        }
    }

    fn tell(&self, event: PlayerEvent) {
        (self.events)(event);
    }

    pub(super) async fn run(mut self) {
        let discovery = self.discovery.clone();
        let mut absent_since = Instant::now();
        let mut silent_end = None;
        let mut retraction_told = false;
        // A relay that announces what it cannot serve is not asked without end.
        let mut retry = Backoff::new(
            Duration::from_millis(20),
            Duration::from_secs(2),
            fastrand::Rng::new(),
        );
        loop {
            self.tell(PlayerEvent::Searching);
            let deadline = self.absence_deadline(absent_since);
            let absence = Absence::new(retraction_told);
            let broadcast = match self.find(&discovery, deadline, silent_end, absence).await {
                Found::Broadcast(broadcast) => broadcast,
                Found::Error(err) => return self.tell(PlayerEvent::Failed(err)),
                Found::Ended => return self.end(),
                Found::TimedOut => return self.tell(PlayerEvent::Failed(self.absent_error())),
                Found::Stopped => return,
            };
            self.heard_any = false;
            self.retracted_on = None;
            match self.play(broadcast).await {
                Outcome::Ended => return self.end(),
                Outcome::Stopped => return,
                Outcome::Lost(err) => {
                    retraction_told = err.cause == Cause::NoBroadcast;
                    self.tell(PlayerEvent::Lost(err));
                }
            }
            self.stop_readers();
            if let Some(asker) = &mut self.asker {
                asker.clear();
            }
            if self.heard_any {
                retry.reset();
            } else if !self.pause(retry.next_delay()).await {
                return;
            }
            absent_since = Instant::now();
            silent_end = self.retracted_on.map(|generation| SilentEnd {
                generation,
                at: absent_since + self.config.silence_is_end,
            });
        }
    }

    fn absence_deadline(&self, since: Instant) -> Option<Instant> {
        (!self.config.broadcast_timeout.is_zero()).then(|| since + self.config.broadcast_timeout)
    }

    fn absent_error(&self) -> Error {
        Error::new(
            Cause::NoBroadcast,
            format!(
                "the broadcast '{}' was not announced within {}; check its name and that its publisher runs, or raise broadcast-timeout",
                self.config.broadcast,
                limit_text(self.config.broadcast_timeout)
            ),
        )
    }

    /// Remembers the session of a retraction: moq-lite 03 and 04 have no word for the end of a track, so that it may be the end.
    /// A session that is lost retracts, too, before the connection says so.
    fn note_retraction(&mut self) {
        self.retracted_on = match &*self.connection.state().borrow() {
            State::Connected {
                info, generation, ..
            } => {
                let cannot_say = matches!(info.version.as_str(), "moq-lite-03" | "moq-lite-04");
                cannot_say.then_some(*generation)
            }
            _ => None,
        };
    }

    fn end(&mut self) {
        for wanted in self.wanted.values() {
            wanted.queue.push(Item::Eos);
        }
        self.tell(PlayerEvent::Ended);
    }

    /// Waits while commands go on; false when the player is to stop.
    async fn pause(&mut self, delay: Duration) -> bool {
        let end = Some(Instant::now() + delay);
        loop {
            tokio::select! {
                () = at(end) => return true,
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command, None),
                    None => return false,
                },
            }
        }
    }

    /// Waits for the broadcast while commands go on.
    async fn find(
        &mut self,
        discovery: &Discovery,
        deadline: Option<Instant>,
        mut silent_end: Option<SilentEnd>,
        mut absence: Absence,
    ) -> Found {
        let found = discovery.next();
        tokio::pin!(found);
        let mut state = self.connection.state();
        loop {
            let now = state.borrow_and_update().clone();
            silent_end = silent_end.filter(|end| end.is_possible(&now));
            absence.look(&now, Instant::now());
            tokio::select! {
                biased;
                found = &mut found => return match found {
                    Ok(broadcast) => Found::Broadcast(broadcast),
                    Err(err) => Found::Error(err),
                },
                Ok(()) = state.changed(), if silent_end.is_some() || absence.is_untold() => {}
                () = at(silent_end.map(|end| end.at)) => return Found::Ended,
                () = at(deadline) => return Found::TimedOut,
                () = at(absence.due()) => {
                    let announced = discovery.announced().await;
                    let told = absence.tell(&self.config.broadcast, &announced);
                    self.tell(PlayerEvent::Warning(told));
                }
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command, None),
                    None => return Found::Stopped,
                },
            }
        }
    }

    /// Plays one announcement until it ends.
    async fn play(&mut self, broadcast: BroadcastReader) -> Outcome {
        self.arrivals = mpsc::channel(ARRIVALS);
        self.engine.change_publisher();
        self.catalog = None;
        for wanted in self.wanted.values_mut() {
            wanted.ended = false;
        }
        let (name, format) = (&self.config.broadcast, self.config.catalog);
        let mut catalogs = Some(Catalogs::new(broadcast.clone(), name, format));
        self.heard = Instant::now();
        let mut catalog_due = Some(self.heard + CATALOG_DUE);
        let mut retracted: Option<Instant> = None;
        // Kept over the loop: the protocol library allocates for each that begins to wait.
        let closed = broadcast.closed();
        tokio::pin!(closed);
        loop {
            let again = self.resubscribe(&broadcast);
            let wake = self.advance().into_iter().chain(again);
            let wake = wake.chain(self.asker.as_mut().and_then(Asker::poll));
            if self.ended() {
                return Outcome::Ended;
            }
            // What is under way when a broadcast is retracted still comes, and its end says whether it was meant.
            let patience = retracted.map(|since| since.max(self.heard) + TAIL);
            if patience.is_some_and(|end| !self.reading() || end <= Instant::now()) {
                return self.retracted();
            }
            if self.catalog.is_some() {
                catalog_due = None;
            } else if catalog_due.is_some_and(|due| due <= Instant::now()) {
                catalog_due = None;
                if !catalogs.as_ref().is_some_and(Catalogs::is_answered) {
                    return Outcome::Lost(self.no_catalog());
                }
                self.tell(PlayerEvent::Warning(self.no_catalog()));
            }
            let wake = wake.chain(patience).chain(catalog_due).min();
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command, Some(&broadcast)),
                    None => return Outcome::Stopped,
                },
                next = next_catalog(&mut catalogs) => match next {
                    Ok(Some(next)) => self.take_catalog(next, &broadcast),
                    Ok(None) => catalogs = None,
                    Err(err) if err.cause == Cause::Catalog => self.tell(PlayerEvent::Warning(err)),
                    Err(err) if self.catalog.is_none() => return Outcome::Lost(err),
                    // The broadcast's own end tells whether that matters.
                    Err(_) => catalogs = None,
                },
                Some((id, arrival)) = self.arrivals.1.recv() => self.arrived(id, arrival),
                () = &mut closed, if retracted.is_none() => {
                    retracted = Some(Instant::now());
                    self.note_retraction();
                }
                () = at(wake) => {}
            }
        }
    }

    fn no_catalog(&self) -> Error {
        Error::new(
            Cause::Catalog,
            format!(
                "the broadcast '{}' is announced but its catalog does not come; its publisher may be stuck, or write a catalog of another form than the one that is asked for",
                self.config.broadcast
            ),
        )
    }

    fn retracted(&self) -> Outcome {
        Outcome::Lost(Error::new(
            Cause::NoBroadcast,
            format!(
                "the broadcast '{}' is not announced any more",
                self.config.broadcast
            ),
        ))
    }

    /// Lets the engine push what is due; says when it wants to be called again.
    fn advance(&mut self) -> Option<Instant> {
        while self.readers.try_join_next().is_some() {}
        let now = self.clock.now()?;
        let advanced = self.engine.advance(now);
        self.tell_resumed();
        self.give_up_groups();
        let look = self.note_missing(now);
        self.publish_stats();
        let wake = advanced.wake.into_iter().chain(look).min();
        wake.map(|wake| {
            Instant::now() + Duration::from_nanos(u64::try_from(wake - now).unwrap_or(0))
        })
    }

    fn publish_stats(&mut self) {
        if self.stats_at.elapsed() < Duration::from_millis(100) {
            return;
        }
        self.stats_at = Instant::now();
        if let Some(rtt) = self.connection.path().rtt() {
            let rtt = Nanos::try_from(rtt.as_nanos()).unwrap_or(Nanos::MAX / 4);
            self.engine.set_rtt(rtt);
        }
        let mut stats = self.stats.lock();
        stats.retain(|name, _| self.wanted.contains_key(name));
        for (name, wanted) in &self.wanted {
            let now = self.engine.stats(wanted.id).map(|mut now| {
                now.key_requests = self.asker.as_ref().map_or(0, |asker| asker.total(name));
                now
            });
            match (now, stats.get_mut(name)) {
                (Some(now), Some(told)) => *told = now,
                (Some(now), None) => {
                    stats.insert(name.clone(), now);
                }
                (None, _) => {
                    stats.remove(name);
                }
            }
        }
    }
}

impl SilentEnd {
    fn is_possible(&self, state: &State) -> bool {
        matches!(state, State::Connected { generation, .. } if *generation == self.generation)
    }
}

enum Found {
    Broadcast(BroadcastReader),
    Error(Error),
    Ended,
    TimedOut,
    Stopped,
}

/// Older groups than this cannot be presented in time; so that the network need not carry them.
fn max_age(config: &PlayerConfig) -> Duration {
    config
        .max_age
        .unwrap_or_else(|| Duration::from_nanos(u64::try_from(config.latency).unwrap_or(0)))
}

async fn next_catalog(catalogs: &mut Option<Catalogs>) -> Result<Option<Arc<Catalog>>, Error> {
    match catalogs {
        Some(catalogs) => catalogs.next().await,
        None => std::future::pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
