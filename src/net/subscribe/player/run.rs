//! The player's task: one announcement of the broadcast after the other.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::sleep_until,
};

use super::{Command, PlayerConfig, PlayerEvent, PlayerStats, RunningClock};
use crate::{
    media::catalog::Catalog,
    net::{
        error::{Cause, Error},
        session::{Connection, State},
        subscribe::{
            catalog::CatalogFollower,
            engine::{self, Engine, Queue},
            queue::Item,
            reader::{BroadcastReader, Discovery},
            track::{self, Arrival, Reading},
        },
    },
    policy::{Nanos, retry::Backoff, timeline::TrackId},
};

/// Frames on their way from the readers to the engine.
const ARRIVALS: usize = 1024;

/// A retracted broadcast of a version that does not signal the end of a track counts as ended after this long.
const SILENCE_IS_END: Duration = Duration::from_secs(30);

/// How long a retracted broadcast may be silent before it counts as gone.
const TAIL: Duration = Duration::from_millis(500);

/// A catalog that does not come for so long is worth a word.
const CATALOG_DUE: Duration = Duration::from_secs(5);

/// How long after its end a track is looked at again, while the catalog lists it: between a half of the first and the last. A
/// relay answers for a track that ended from what it remembers, until nobody asked for 30 s.
const FIRST_LOOK: Duration = Duration::from_secs(70);
const LAST_LOOK: Duration = Duration::from_secs(300);

/// Why playing one announcement of a broadcast stopped.
enum Outcome {
    Ended,
    Lost(Error),
    Stopped,
}

struct Wanted {
    id: TrackId,
    queue: Queue,
    reader: Option<AbortHandle>,
    /// Groups before this one are not read any further.
    floor: watch::Sender<u64>,
    /// When a subscription that broke is made again.
    again: Option<Instant>,
    retry: Backoff,
    /// The publisher ended the track. It is looked at again from time to time, for it may begin anew.
    ended: bool,
    look: Backoff,
}

impl Wanted {
    fn new(id: TrackId, queue: Queue) -> Self {
        Self {
            id,
            queue,
            reader: None,
            floor: watch::Sender::new(0),
            again: None,
            retry: Backoff::new(
                Duration::from_millis(100),
                Duration::from_secs(5),
                fastrand::Rng::new(),
            ),
            ended: false,
            look: Backoff::new(FIRST_LOOK, LAST_LOOK, fastrand::Rng::new()),
        }
    }

    /// The publisher ended the track, or it has still not begun again.
    fn end(&mut self) {
        self.reader = None;
        self.ended = true;
        self.again = Some(Instant::now() + self.look.next_delay());
    }

    /// Frames of a track that had ended came.
    fn begin_again(&mut self) {
        self.ended = false;
        self.look.reset();
    }
}

pub(super) struct Run {
    connection: Connection,
    config: PlayerConfig,
    clock: Arc<dyn RunningClock>,
    events: Arc<dyn Fn(PlayerEvent) + Send + Sync>,
    commands: mpsc::UnboundedReceiver<Command>,
    stats: Arc<Mutex<PlayerStats>>,
    stats_at: Instant,

    engine: Engine,
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
        Self {
            engine: Engine::new(config.latency, config.start),
            max_age: watch::Sender::new(max_age(&config)),
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
        }
    }

    fn tell(&self, event: PlayerEvent) {
        (self.events)(event);
    }

    pub(super) async fn run(mut self) {
        let discovery = Discovery::new(&self.connection, &self.config.broadcast);
        let mut absent_since = Instant::now();
        // Set once a broadcast that could not say that it ends was retracted.
        let mut silent_end = None;
        // A relay that announces what it cannot serve is not asked without end.
        let mut retry = Backoff::new(
            Duration::from_millis(20),
            Duration::from_secs(2),
            fastrand::Rng::new(),
        );
        loop {
            self.tell(PlayerEvent::Searching);
            let deadline = self
                .absence_deadline(absent_since)
                .into_iter()
                .chain(silent_end)
                .min();
            let broadcast = match self.find(&discovery, deadline).await {
                Found::Broadcast(broadcast) => broadcast,
                Found::Error(err) => return self.tell(PlayerEvent::Failed(err)),
                Found::TimedOut if silent_end.is_some_and(|end| Instant::now() >= end) => {
                    return self.end();
                }
                Found::TimedOut => return self.tell(PlayerEvent::Failed(self.absent_error())),
                Found::Stopped => return,
            };
            self.heard_any = false;
            match self.play(broadcast).await {
                Outcome::Ended => return self.end(),
                Outcome::Stopped => return,
                Outcome::Lost(err) => self.tell(PlayerEvent::Lost(err)),
            }
            self.stop_readers();
            if self.heard_any {
                retry.reset();
            } else if !self.pause(retry.next_delay()).await {
                return;
            }
            absent_since = Instant::now();
            silent_end = self
                .cannot_say_end()
                .then(|| Instant::now() + SILENCE_IS_END);
        }
    }

    fn absence_deadline(&self, since: Instant) -> Option<Instant> {
        (!self.config.broadcast_timeout.is_zero()).then(|| since + self.config.broadcast_timeout)
    }

    fn absent_error(&self) -> Error {
        Error::new(
            Cause::NoBroadcast,
            format!(
                "the broadcast '{}' was not announced within {:.1} s; check its name and that its publisher runs, or raise broadcast-timeout",
                self.config.broadcast,
                self.config.broadcast_timeout.as_secs_f64()
            ),
        )
    }

    /// moq-lite 03 and 04 have no word for the end of a track, so a retraction there may be the end.
    fn cannot_say_end(&self) -> bool {
        match &*self.connection.state().borrow() {
            State::Connected { info, .. } => {
                matches!(info.version.as_str(), "moq-lite-03" | "moq-lite-04")
            }
            _ => false,
        }
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
    async fn find(&mut self, discovery: &Discovery, deadline: Option<Instant>) -> Found {
        let found = discovery.next();
        tokio::pin!(found);
        loop {
            tokio::select! {
                found = &mut found => return match found {
                    Ok(broadcast) => Found::Broadcast(broadcast),
                    Err(err) => Found::Error(err),
                },
                () = at(deadline) => return Found::TimedOut,
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
        let mut catalog = match self.follow_catalog(&broadcast).await {
            Ok(catalog) => Some(catalog),
            Err(outcome) => return outcome,
        };
        self.heard = Instant::now();
        let mut catalog_due = Some(self.heard + CATALOG_DUE);
        let mut retracted: Option<Instant> = None;
        loop {
            let again = self.resubscribe(&broadcast);
            let wake = self.advance().into_iter().chain(again);
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
                self.tell(PlayerEvent::Warning(self.no_catalog()));
            }
            let wake = wake.chain(patience).chain(catalog_due).min();
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command, Some(&broadcast)),
                    None => return Outcome::Stopped,
                },
                next = next_catalog(&mut catalog) => match next {
                    Ok(Some(next)) => self.take_catalog(next, &broadcast),
                    Ok(None) => catalog = None,
                    Err(err) if err.cause == Cause::Catalog => self.tell(PlayerEvent::Warning(err)),
                    // The broadcast's own end tells whether that matters.
                    Err(_) => catalog = None,
                },
                Some((id, arrival)) = self.arrivals.1.recv() => self.arrived(id, arrival),
                () = broadcast.closed(), if retracted.is_none() => retracted = Some(Instant::now()),
                () = at(wake) => {}
            }
        }
    }

    /// Subscribes to the catalog while commands go on.
    async fn follow_catalog(
        &mut self,
        broadcast: &BroadcastReader,
    ) -> Result<CatalogFollower, Outcome> {
        let follower = CatalogFollower::subscribe(broadcast);
        tokio::pin!(follower);
        let due = Some(Instant::now() + CATALOG_DUE);
        loop {
            tokio::select! {
                follower = &mut follower => return follower.map_err(Outcome::Lost),
                () = broadcast.closed() => return Err(self.retracted()),
                () = at(due) => return Err(Outcome::Lost(self.no_catalog())),
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command, None),
                    None => return Err(Outcome::Stopped),
                },
            }
        }
    }

    fn no_catalog(&self) -> Error {
        Error::new(
            Cause::Catalog,
            format!(
                "the broadcast '{}' is announced but its catalog does not come; its publisher may be stuck, or write another catalog than hang's",
                self.config.broadcast
            ),
        )
    }

    fn reading(&self) -> bool {
        !self.readers.is_empty() || !self.arrivals.1.is_empty()
    }

    /// Every track that can be read has come to its end; one that was refused does not keep the others from it.
    fn ended(&self) -> bool {
        let read: Vec<TrackId> = self
            .wanted
            .values()
            .filter(|wanted| wanted.reader.is_some() || wanted.ended)
            .map(|wanted| wanted.id)
            .collect();
        self.engine.ended(|id| read.contains(&id))
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
        self.publish_stats();
        advanced.wake.map(|wake| {
            Instant::now() + Duration::from_nanos(u64::try_from(wake - now).unwrap_or(0))
        })
    }

    fn tell_resumed(&mut self) {
        for id in self.engine.take_resumed() {
            let name = self.wanted.iter().find(|(_, wanted)| wanted.id == id);
            if let Some(track) = name.map(|(name, _)| name.clone()) {
                self.tell(PlayerEvent::Resumed { track });
            }
        }
    }

    /// What is behind playback need not be read any further.
    fn give_up_groups(&mut self) {
        for wanted in self.wanted.values() {
            let floor = self.engine.current_group(wanted.id).unwrap_or(0);
            wanted.floor.send_if_modified(|known| {
                let rises = floor > *known;
                *known = floor.max(*known);
                rises
            });
        }
    }

    fn publish_stats(&mut self) {
        if self.stats_at.elapsed() < Duration::from_millis(100) {
            return;
        }
        self.stats_at = Instant::now();
        if let Some(rtt) = self.connection.stats().rtt {
            let rtt = Nanos::try_from(rtt.as_nanos()).unwrap_or(Nanos::MAX / 4);
            self.engine.set_rtt(rtt);
        }
        let stats = self
            .wanted
            .iter()
            .filter_map(|(name, wanted)| Some((name.clone(), self.engine.stats(wanted.id)?)))
            .collect();
        *self.stats.lock() = stats;
    }

    fn command(&mut self, command: Command, broadcast: Option<&BroadcastReader>) {
        match command {
            Command::Enable { name, queue } => {
                let id = TrackId(self.next_id);
                self.next_id += 1;
                self.wanted.insert(name.clone(), Wanted::new(id, queue));
                self.subscribe(&name, broadcast);
            }
            Command::Disable { name } => {
                if let Some(wanted) = self.wanted.remove(&name) {
                    if let Some(reader) = wanted.reader {
                        reader.abort();
                    }
                    self.engine.remove_track(wanted.id);
                }
            }
            Command::Playing(playing) if playing != self.playing => {
                self.playing = playing;
                self.stop_readers();
                self.engine.rejoin();
                if playing {
                    let names: Vec<_> = self.wanted.keys().cloned().collect();
                    for name in names {
                        self.subscribe(&name, broadcast);
                    }
                }
            }
            Command::Playing(_) => {}
            Command::Latency(latency) => {
                self.config.latency = latency;
                self.engine.set_latency(latency);
                self.max_age.send_replace(max_age(&self.config));
            }
            Command::MaxAge(age) => {
                self.config.max_age = age;
                self.max_age.send_replace(max_age(&self.config));
            }
        }
    }

    /// Ends every subscription; what was read but not taken belongs to them and goes too.
    fn stop_readers(&mut self) {
        self.readers.abort_all();
        self.readers = JoinSet::new();
        self.arrivals = mpsc::channel(ARRIVALS);
        for wanted in self.wanted.values_mut() {
            wanted.reader = None;
            wanted.again = None;
        }
    }

    fn take_catalog(&mut self, catalog: Arc<Catalog>, broadcast: &BroadcastReader) {
        let before = self.catalog.replace(catalog.clone());
        let names: Vec<_> = self.wanted.keys().cloned().collect();
        for name in names {
            // One that is not listed any more says by its own end whether that was meant.
            if let Some(rendition) = engine::rendition(&catalog, &name) {
                let listed = before.as_ref().and_then(|before| before.rendition(&name));
                let is_news = listed.is_none_or(|listed| listed != *rendition);
                if let Some(wanted) = self.wanted.get_mut(&name) {
                    self.engine.reconfigure(wanted.id, rendition);
                    if wanted.ended && is_news {
                        wanted.again = None;
                    }
                }
                self.subscribe(&name, Some(broadcast));
            }
        }
        self.tell(PlayerEvent::Catalog(catalog));
    }

    /// Subscribes to a wanted track if it is there, the pipeline plays and it is not being read yet.
    fn subscribe(&mut self, name: &str, broadcast: Option<&BroadcastReader>) {
        let (Some(broadcast), Some(catalog), Some(wanted)) =
            (broadcast, &self.catalog, self.wanted.get_mut(name))
        else {
            return;
        };
        let waits = wanted.ended && wanted.again.is_some();
        if !self.playing || wanted.reader.is_some() || waits {
            return;
        }
        let Some(rendition) = engine::rendition(catalog, name) else {
            return;
        };
        let priority = rendition.default_priority();
        if !self.engine.has_track(wanted.id) {
            self.engine
                .add_track(wanted.id, rendition, wanted.queue.clone());
        }
        wanted.floor = watch::Sender::new(0);
        let reading = Reading {
            id: wanted.id,
            name: name.to_owned(),
            priority,
            max_age: self.max_age.subscribe(),
            floor: wanted.floor.subscribe(),
            clock: self.clock.clone(),
            arrivals: self.arrivals.0.clone(),
        };
        wanted.reader = Some(self.readers.spawn(track::read(broadcast.clone(), reading)));
        self.heard = Instant::now();
    }

    fn wanted_by(&mut self, id: TrackId) -> Option<&mut Wanted> {
        self.wanted.values_mut().find(|wanted| wanted.id == id)
    }

    fn arrived(&mut self, id: TrackId, arrival: Arrival) {
        self.heard = Instant::now();
        if matches!(arrival, Arrival::Frame { .. }) {
            self.heard_any = true;
        }
        match arrival {
            Arrival::GroupStarted { seq } => {
                if let Some(wanted) = self.wanted_by(id) {
                    wanted.retry.reset();
                }
                self.engine.group_started(id, seq);
            }
            Arrival::Frame { seq, payload, now } => {
                if let Err(err) = self.engine.frame(id, seq, payload, now) {
                    tracing::debug!(seq, %err, "malformed frame dropped");
                }
                let finished = self.engine.is_finished(id);
                if let Some(wanted) = self.wanted_by(id)
                    && wanted.ended
                    && !finished
                {
                    wanted.begin_again();
                }
            }
            Arrival::GroupEnded { seq, whole } => self.engine.group_ended(id, seq, whole),
            Arrival::Finished => {
                self.engine.track_finished(id);
                if let Some(wanted) = self.wanted_by(id) {
                    wanted.end();
                }
            }
            Arrival::Failed(err) => self.failed(id, err),
        }
    }

    /// A track whose subscription breaks stops alone and is asked for again. When it broke because the broadcast or the
    /// connection did, that shows by itself.
    fn failed(&mut self, id: TrackId, err: Error) {
        let Some((name, wanted)) = self.wanted.iter_mut().find(|(_, wanted)| wanted.id == id)
        else {
            return;
        };
        wanted.reader = None;
        let listed = self
            .catalog
            .as_ref()
            .is_some_and(|catalog| catalog.rendition(name).is_some());
        if wanted.ended || !listed {
            // Taken out of the catalog: that is the end of it.
            wanted.end();
            self.engine.track_finished(id);
            return;
        }
        wanted.again = Some(Instant::now() + wanted.retry.next_delay());
        if err.cause == Cause::ConnectionLost {
            tracing::debug!(%err, "a subscription broke");
        } else {
            self.tell(PlayerEvent::Warning(err));
        }
    }

    /// Makes broken subscriptions again whose time has come; says when the next one's does.
    fn resubscribe(&mut self, broadcast: &BroadcastReader) -> Option<Instant> {
        let now = Instant::now();
        let due = |wanted: &Wanted| wanted.again.is_some_and(|again| again <= now);
        let names: Vec<_> = self
            .wanted
            .iter()
            .filter(|(_, wanted)| due(wanted))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            if let Some(wanted) = self.wanted.get_mut(&name) {
                wanted.again = None;
            }
            self.subscribe(&name, Some(broadcast));
        }
        self.wanted.values().filter_map(|wanted| wanted.again).min()
    }
}

enum Found {
    Broadcast(BroadcastReader),
    Error(Error),
    TimedOut,
    Stopped,
}

/// Older groups than this cannot be presented in time; so that the network need not carry them.
fn max_age(config: &PlayerConfig) -> Duration {
    config
        .max_age
        .unwrap_or_else(|| Duration::from_nanos(u64::try_from(config.latency).unwrap_or(0)))
}

async fn next_catalog(
    catalog: &mut Option<CatalogFollower>,
) -> Result<Option<Arc<Catalog>>, Error> {
    match catalog {
        Some(catalog) => catalog.next().await,
        None => std::future::pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
