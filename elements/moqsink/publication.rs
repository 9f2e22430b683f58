//! What the tracks of an element have in common: connection, broadcast, catalog, announcement, media time.
//!
//! Its locks are leaves but for `life` before `generations`; they are held for calls of the protocol library that do
//! not block, never while anything of GStreamer is called.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use super::catalogs::{Catalogs, Forms};
use crate::{
    media::catalog::{Catalog, Clock, Rendition},
    net::{
        error::{Cause, Error, Result},
        publish::{self, Broadcast, Demand, TrackOptions, TrackWriter},
        session::Connection,
    },
    policy::generation::{Anchor, Generations, Mapped, Position},
    runtime,
};

/// How long the announcement waits, from the first stream that is known on, for those that are not; and how long one that comes later
/// may be provisional.
const WHOLE: Duration = Duration::from_secs(2);

/// How long the end of a track may take to be told: some versions do not tell it at all.
const END: Duration = Duration::from_millis(150);

/// How long telling the ends and closing may take together, whatever the network does. With what else PAUSED→READY does it stays
/// below half a second and the drain.
const GOODBYE: Duration = Duration::from_millis(450);

pub(super) type TrackId = u64;

#[derive(Default)]
pub(super) struct Publication {
    life: Mutex<Life>,
    generations: Mutex<Generations>,
    /// Counts the timers of announcements, so that one of a broadcast that is over does not announce the next.
    timers: AtomicU64,
    /// Bytes that tracks offered to those who subscribe.
    offered: AtomicU64,
}

/// A publication exists from READY→PAUSED to PAUSED→READY.
#[derive(Default)]
enum Life {
    #[default]
    Idle,
    Running(Box<Running>),
}

/// What is published.
pub(super) struct Offer {
    /// The name of the broadcast.
    pub path: String,
    pub retention: Duration,
    pub catalogs: Forms,
}

struct Running {
    connection: Connection,
    offer: Offer,
    broadcast: Broadcast,
    catalogs: Catalogs,
    /// What the catalog tracks say; none before the announcement.
    written: Option<Catalog>,
    tracks: BTreeMap<TrackId, Entry>,
    names: u64,
    /// Names that tracks of this broadcast have had.
    used: BTreeSet<String>,
    /// The timer of [`WHOLE`] that is running.
    waiting: Option<u64>,
}

/// What is said of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// More will be known in a moment: the catalog waits for it, but no longer than [`WHOLE`], and does not give up a track that
    /// it has.
    Provisional,
    Known,
    /// Its readers have to come back for it, or to wait longer, whatever else the catalog says.
    Pressing,
}

#[derive(Default)]
struct Entry {
    name: Option<String>,
    rendition: Option<Rendition>,
    /// See [`News::Provisional`].
    provisional: bool,
    /// It was provisional for too long: the catalog has what is known.
    overdue: bool,
    ended: bool,
    /// A track that has ended, for those who come late.
    parked: Option<TrackWriter>,
}

impl Entry {
    /// The catalog waits for what it will be.
    fn is_awaited(&self) -> bool {
        self.provisional && !self.overdue && !self.ended
    }
}

impl Publication {
    /// Begins with the pads that are there now; the announcement waits for them.
    ///
    /// # Errors
    /// A broadcast that cannot be created.
    pub fn start(
        &self,
        connection: Connection,
        offer: Offer,
        tracks: impl IntoIterator<Item = TrackId>,
    ) -> Result<()> {
        let (broadcast, catalogs) = create(&connection, &offer)?;
        *self.generations.lock() = Generations::default();
        *self.life.lock() = Life::Running(Box::new(Running {
            connection,
            offer,
            broadcast,
            catalogs,
            written: None,
            tracks: tracks
                .into_iter()
                .map(|id| (id, Entry::default()))
                .collect(),
            names: 0,
            used: BTreeSet::new(),
            waiting: None,
        }));
        Ok(())
    }

    /// Ends it and hands over what has to be drained and closed.
    pub fn stop(&self) -> Option<Remains> {
        match std::mem::take(&mut *self.life.lock()) {
            Life::Idle => None,
            Life::Running(running) => Some(Remains {
                connection: running.connection,
                broadcast: running.broadcast,
                catalogs: running.catalogs,
                ended: running
                    .tracks
                    .into_values()
                    .filter_map(|entry| entry.parked)
                    .collect(),
            }),
        }
    }

    /// Keeps the writer of a track that has ended, unless it has begun again or its pad is gone.
    fn park(&self, id: TrackId, writer: TrackWriter) {
        if let Life::Running(running) = &mut *self.life.lock()
            && let Some(entry) = running.tracks.get_mut(&id)
            && entry.ended
        {
            entry.parked = Some(writer);
        }
    }

    /// A pad came.
    pub fn add(&self, id: TrackId) {
        if let Life::Running(running) = &mut *self.life.lock() {
            running.tracks.insert(id, Entry::default());
        }
    }

    /// A pad went.
    pub fn remove(&self, id: TrackId) {
        let mut life = self.life.lock();
        if let Life::Running(running) = &mut *life {
            running.tracks.remove(&id);
            running.update(self.clock(), false);
        }
    }

    /// Opens the track of a pad, again after its end: alone while others go on, otherwise with a new broadcast of the same
    /// name, because players left the ended one.
    ///
    /// # Errors
    /// A name that another track has, or a publication that is over.
    pub fn open(
        &self,
        id: TrackId,
        name: Option<&str>,
        suffix: &str,
        priority: u8,
    ) -> Result<TrackWriter> {
        let mut life = self.life.lock();
        let Life::Running(running) = &mut *life else {
            return Err(Error::new(Cause::ConnectionLost, "Not started"));
        };
        if !running.tracks.is_empty() && running.tracks.values().all(|entry| entry.ended) {
            running.renew()?;
        }
        if let Some(entry) = running.tracks.get_mut(&id) {
            // Its name has to be free.
            entry.parked = None;
        }
        let name = running.name(id, name, suffix);
        let options = TrackOptions {
            priority,
            max_age: running.offer.retention,
            timely: true,
        };
        let writer = running.broadcast.track(&name, options)?;
        let entry = running.tracks.entry(id).or_default();
        entry.name = Some(name);
        entry.ended = false;
        entry.provisional = false;
        entry.overdue = false;
        Ok(writer)
    }

    /// What a track is, or has become.
    pub fn known(self: &Arc<Self>, id: TrackId, rendition: Rendition, news: News) {
        let mut life = self.life.lock();
        let Life::Running(running) = &mut *life else {
            return;
        };
        let mut again = news == News::Pressing;
        if let Some(entry) = running.tracks.get_mut(&id) {
            let was_provisional =
                std::mem::replace(&mut entry.provisional, news == News::Provisional);
            // Whoever took an overdue track waits for its pictures as long as the catalog said then.
            let listed = running.written.as_ref().zip(entry.name.as_deref());
            if let Some((written, name)) = listed.filter(|_| was_provisional && !entry.provisional)
            {
                again |= is_longer_wait(written, name, &rendition);
            }
            entry.rendition = Some(rendition);
        }
        running.update(self.clock(), again);
        if running.is_waiting() && running.waiting.is_none() {
            let timer = self.timers.fetch_add(1, Ordering::Relaxed);
            running.waiting = Some(timer);
            let publication = Arc::downgrade(self);
            runtime::handle().spawn(async move {
                tokio::time::sleep(WHOLE).await;
                if let Some(publication) = publication.upgrade() {
                    publication.announce_incomplete(timer);
                }
            });
        }
    }

    /// A track that will never be known, or is over.
    pub fn ended(&self, id: TrackId) {
        let mut life = self.life.lock();
        if let Life::Running(running) = &mut *life {
            if let Some(entry) = running.tracks.get_mut(&id) {
                entry.ended = true;
            }
            running.update(self.clock(), false);
        }
    }

    /// A track that failed: nothing of it in the catalog.
    pub fn failed(&self, id: TrackId) {
        let mut life = self.life.lock();
        if let Life::Running(running) = &mut *life {
            if let Some(entry) = running.tracks.get_mut(&id) {
                entry.rendition = None;
                entry.ended = true;
            }
            running.update(self.clock(), false);
        }
    }

    /// `timer` is over; its broadcast may be, too.
    fn announce_incomplete(&self, timer: u64) {
        let mut life = self.life.lock();
        if let Life::Running(running) = &mut *life
            && running.waiting == Some(timer)
        {
            running.waiting = None;
            for entry in running.tracks.values_mut() {
                entry.overdue |= entry.provisional;
            }
            running.write(self.clock(), false);
        }
    }

    pub fn needs_anchor(&self, key: (usize, u64)) -> bool {
        self.generations.lock().needs_anchor(key)
    }

    /// Running time `elapsed` (ns) is now.
    pub fn set_anchor(&self, key: (usize, u64), elapsed: i64) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|now| i64::try_from(now.as_nanos()).ok())
            .unwrap_or(0);
        let wall = now.saturating_sub(elapsed);
        self.generations.lock().set_anchor(Anchor { key, wall });
    }

    /// Media time for a frame of a track; see [`Generations::map`].
    pub fn map(
        &self,
        position: &mut Position,
        running: i64,
        restart: bool,
        now: Option<i64>,
    ) -> Mapped {
        self.generations.lock().map(position, running, restart, now)
    }

    /// The connection, while there is one.
    pub fn connection(&self) -> Option<Connection> {
        match &*self.life.lock() {
            Life::Idle => None,
            Life::Running(running) => Some(running.connection.clone()),
        }
    }

    /// A frame was written to a track that somebody subscribes to.
    pub fn offer(&self, bytes: u64) {
        self.offered.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that were offered, and bytes that the connection sent.
    pub fn traffic(&self) -> (u64, u64) {
        let sent = self
            .connection()
            .map_or(0, |connection| connection.stats().bytes_sent);
        (self.offered.load(Ordering::Relaxed), sent)
    }

    fn clock(&self) -> Option<Clock> {
        let wall = u64::try_from(self.generations.lock().wall()?).ok()?;
        Clock::from_unix_ns(wall)
    }
}

impl Running {
    /// Leaves a broadcast whose tracks have all ended for a new one of the same name.
    fn renew(&mut self) -> Result<()> {
        self.broadcast.close();
        let (broadcast, catalogs) = create(&self.connection, &self.offer)?;
        self.broadcast = broadcast;
        self.catalogs = catalogs;
        self.written = None;
        self.waiting = None;
        self.used.clear();
        for entry in self.tracks.values_mut() {
            *entry = Entry {
                name: entry.name.take(),
                ..Entry::default()
            };
        }
        Ok(())
    }

    /// The name that was asked for, that the track had, or the next free `{n}{suffix}`. A name that has carried a track of this
    /// broadcast before gets a number: its content has ended for relays and players, and they would ask for no other.
    fn name(&mut self, id: TrackId, name: Option<&str>, suffix: &str) -> String {
        if let Some(name) = name {
            let has = |(other, entry): (&TrackId, &Entry)| {
                *other != id && !entry.ended && entry.name.as_deref() == Some(name)
            };
            if self.tracks.iter().any(has) {
                // Refused when the track is made.
                return name.to_owned();
            }
            let numbered = (2..).map(|n| format!("{name}.{n}"));
            let mut names = std::iter::once(name.to_owned()).chain(numbered);
            let free = names.find(|name| self.used.insert(name.clone()));
            return free.unwrap_or_default();
        }
        if let Some(name) = self.tracks.get(&id).and_then(|entry| entry.name.clone())
            && name.ends_with(suffix)
            && self.used.insert(name.clone())
        {
            return name;
        }
        loop {
            let name = format!("{}{suffix}", self.names);
            self.names += 1;
            if self.used.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Announces when everything is known; afterwards writes a catalog that players have to act on.
    fn update(&mut self, clock: Option<Clock>, again: bool) {
        if self.written.is_some() {
            self.write(clock, again);
        } else if self
            .tracks
            .values()
            .all(|entry| (entry.rendition.is_some() && !entry.is_awaited()) || entry.ended)
            && self.tracks.values().any(|entry| entry.rendition.is_some())
        {
            self.write(clock, true);
        }
        if !self.is_waiting() {
            self.waiting = None;
        }
    }

    /// The catalog, or a track in it, is still to come, by the timer at the latest.
    fn is_waiting(&self) -> bool {
        self.written.is_none() || self.tracks.values().any(Entry::is_awaited)
    }

    fn write(&mut self, clock: Option<Clock>, again: bool) {
        let catalog = self.catalog(clock);
        let act = match &self.written {
            None => true,
            Some(written) => again || written.changes(&catalog).requires_action(),
        };
        if !act {
            return;
        }
        // Fails only when the broadcast is over.
        if self.catalogs.write(&catalog).is_ok() && self.written.replace(catalog).is_none() {
            let _ = self.broadcast.announce();
        }
    }

    fn catalog(&self, clock: Option<Clock>) -> Catalog {
        let mut catalog = Catalog {
            clock,
            ..Catalog::default()
        };
        for entry in self.tracks.values().filter(|entry| !entry.is_awaited()) {
            match (&entry.name, &entry.rendition) {
                (Some(name), Some(Rendition::Video(video))) => {
                    catalog.video.insert(name.clone(), video.clone());
                }
                (Some(name), Some(Rendition::Audio(audio))) => {
                    catalog.audio.insert(name.clone(), audio.clone());
                }
                _ => {}
            }
        }
        catalog
    }
}

/// Whether pictures of a track that is written wait longer than it says.
fn is_longer_wait(written: &Catalog, name: &str, now: &Rendition) -> bool {
    match (written.video.get(name), now) {
        (Some(written), Rendition::Video(now)) => now.jitter_ms > written.jitter_ms,
        _ => false,
    }
}

fn create(connection: &Connection, offer: &Offer) -> Result<(Broadcast, Catalogs)> {
    let broadcast = Broadcast::create(connection, &offer.path)?;
    let catalogs = Catalogs::create(&broadcast, offer.catalogs)?;
    Ok((broadcast, catalogs))
}

/// Ends the track of a pad once its last group is on its way, within `limit`, also over a first session that is still to come; then calls `done` on a worker of the runtime, with
/// the reason if it could not get out.
pub(super) fn end_track(
    publication: &Arc<Publication>,
    id: TrackId,
    mut writer: TrackWriter,
    limit: Duration,
    done: impl FnOnce(Result<()>) + Send + 'static,
) {
    writer.finish_group();
    let publication = publication.clone();
    runtime::handle().spawn(async move {
        let drained = match publication.connection() {
            Some(connection) => {
                publish::drain_end(&connection, slice::from_ref(&writer), limit).await
            }
            None => Ok(()),
        };
        writer.finish();
        publish::ends_told(&[writer.demand()], limit.min(END)).await;
        publication.park(id, writer);
        done(drained);
    });
}

/// What is left of a publication.
pub(super) struct Remains {
    connection: Connection,
    broadcast: Broadcast,
    catalogs: Catalogs,
    ended: Vec<TrackWriter>,
}

impl Remains {
    /// Ends tracks, broadcast and connection in order; waits no longer than `drain` and [`GOODBYE`] together.
    ///
    /// # Errors
    /// Why what was written could not get out; a limit that cuts delivery short was asked for.
    pub fn shut_down(self, mut writers: Vec<TrackWriter>, drain: Duration) -> Result<()> {
        for writer in &mut writers {
            writer.finish_group();
        }
        let (done, finished) = std::sync::mpsc::sync_channel(1);
        runtime::handle().spawn(async move {
            let demands: Vec<Demand> = writers.iter().map(TrackWriter::demand).collect();
            let drained = publish::drain(&self.connection, &writers, drain).await;
            writers.iter_mut().for_each(TrackWriter::finish);
            let limit = Instant::now() + GOODBYE;
            publish::ends_told(&demands, drain.min(END)).await;
            self.broadcast.close();
            let left = limit.saturating_duration_since(Instant::now());
            // Fails by its limit, or for the same reason.
            let _ = self.connection.close(left).await;
            // Whoever still reads needs the tracks until here.
            drop((writers, self.ended, self.catalogs, self.broadcast));
            let _ = done.send(drained);
        });
        // The limit ends it; the rest goes on by itself.
        finished.recv_timeout(drain + GOODBYE).unwrap_or(Ok(()))
    }
}

#[cfg(test)]
impl Publication {
    pub(super) fn tracks(&self) -> usize {
        match &*self.life.lock() {
            Life::Idle => 0,
            Life::Running(running) => running.tracks.len(),
        }
    }
}

#[cfg(test)]
mod tests;
