//! The tracks that are wanted: subscribed, read, asked for again when that breaks or when they begin anew.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use super::{ARRIVALS, Run, max_age};
use crate::{
    media::catalog::{Catalog, Rendition},
    net::{
        error::{Cause, Error},
        subscribe::{
            engine::{self, Queue},
            player::{Command, PlayerEvent},
            reader::BroadcastReader,
            track::{self, Arrival, Place, Reading},
        },
    },
    policy::{Nanos, retry::Backoff, timeline::TrackId},
};

/// How long after its end a track is looked at again, while the catalog lists it: between a half of the first and the last. A
/// relay answers for a track that ended from what it remembers, until nobody asked for 30 s.
const FIRST_LOOK: Duration = Duration::from_secs(70);
const LAST_LOOK: Duration = Duration::from_secs(300);

pub(super) struct Wanted {
    pub(super) id: TrackId,
    pub(super) queue: Queue,
    reader: Option<AbortHandle>,
    /// The track is in another broadcast.
    elsewhere: bool,
    /// A group came since it was subscribed.
    heard: bool,
    /// The newest group that has begun.
    newest: u64,
    /// Groups before this one are not read any further.
    floor: watch::Sender<u64>,
    /// When a subscription that broke is made again.
    again: Option<Instant>,
    retry: Backoff,
    /// The publisher ended the track. It is looked at again from time to time, for it may begin anew.
    pub(super) ended: bool,
    look: Backoff,
}

impl Wanted {
    fn new(id: TrackId, queue: Queue) -> Self {
        Self {
            id,
            queue,
            reader: None,
            elsewhere: false,
            heard: false,
            newest: 0,
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

impl Run {
    pub(super) fn reading(&self) -> bool {
        !self.readers.is_empty() || !self.arrivals.1.is_empty()
    }

    /// Every track that can be read has come to its end; one that was refused does not keep the others from it, nor one of
    /// another broadcast that is not there.
    pub(super) fn ended(&self) -> bool {
        let is_read = |wanted: &Wanted| {
            let is_there = wanted.heard || !wanted.elsewhere;
            (wanted.reader.is_some() && is_there) || wanted.ended
        };
        let of = |id| self.wanted.values().find(|wanted| wanted.id == id);
        self.engine.ended(|id| of(id).is_some_and(is_read))
    }

    pub(super) fn tell_resumed(&mut self) {
        for id in self.engine.take_resumed() {
            let name = self.wanted.iter().find(|(_, wanted)| wanted.id == id);
            if let Some(track) = name.map(|(name, _)| name.clone()) {
                self.tell(PlayerEvent::Resumed { track });
            }
        }
    }

    /// What is behind playback need not be read any further.
    pub(super) fn give_up_groups(&mut self) {
        for wanted in self.wanted.values() {
            let floor = self.engine.current_group(wanted.id).unwrap_or(0);
            wanted.floor.send_if_modified(|known| {
                let rises = floor > *known;
                *known = floor.max(*known);
                rises
            });
        }
    }

    pub(super) fn command(&mut self, command: Command, broadcast: Option<&BroadcastReader>) {
        match command {
            Command::Enable { name, queue } => {
                let id = TrackId(self.next_id);
                self.next_id += 1;
                self.wanted.insert(name.clone(), Wanted::new(id, queue));
                self.subscribe(&name, broadcast);
            }
            Command::Disable { name } => {
                if let Some(asker) = &mut self.asker {
                    asker.remove(&name);
                }
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
                if let Some(asker) = &mut self.asker {
                    asker.clear();
                }
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
            Command::KeyFrame { name } => {
                let is_played = broadcast.is_some() && self.playing && self.is_asked_for(&name);
                if let Some(asker) = self.asker.as_mut().filter(|_| is_played) {
                    asker.ask(&name);
                }
            }
            Command::Token(token) => {
                if let Some(asker) = &mut self.asker {
                    asker.set_token(token);
                }
            }
        }
    }

    /// Key frames are asked for where they are made: not of tracks of other broadcasts, whose publishers listen elsewhere.
    fn is_asked_for(&self, name: &str) -> bool {
        let catalog = self.catalog.as_ref();
        let rendition = catalog.and_then(|catalog| catalog.rendition(name));
        let is_here = rendition.is_some_and(|it| it.is_video() && it.broadcast().is_none());
        is_here && self.wanted.contains_key(name)
    }

    /// Has key frames asked for where nothing can be decoded without; says when to look again.
    pub(super) fn note_missing(&mut self, now: Nanos) -> Option<Nanos> {
        let asker = self.asker.as_mut()?;
        let mut again = None::<Nanos>;
        for (name, wanted) in self.wanted.iter().filter(|(_, wanted)| !wanted.elsewhere) {
            let from = self.engine.needs_key_frame(wanted.id, now);
            asker.set_missing(name, from.is_some_and(|from| from <= now));
            let later = from.filter(|from| *from > now);
            again = again.into_iter().chain(later).min();
        }
        again
    }

    /// The first frame of a group came.
    fn note_key_frame(&mut self, id: TrackId, seq: u64) {
        let of = self.wanted.iter().find(|(_, wanted)| wanted.id == id);
        if let (Some(asker), Some((name, wanted))) = (&mut self.asker, of)
            && seq >= wanted.newest
        {
            asker.key_frame(name);
        }
    }

    /// Ends every subscription; what was read but not taken belongs to them and goes too.
    pub(super) fn stop_readers(&mut self) {
        self.readers.abort_all();
        self.readers = JoinSet::new();
        self.arrivals = mpsc::channel(ARRIVALS);
        for wanted in self.wanted.values_mut() {
            wanted.reader = None;
            wanted.again = None;
        }
    }

    pub(super) fn take_catalog(&mut self, catalog: Arc<Catalog>, broadcast: &BroadcastReader) {
        let catalog = self.within_root(catalog);
        let before = self.catalog.replace(catalog.clone());
        let names: Vec<_> = self.wanted.keys().cloned().collect();
        for name in names {
            // One that is not listed any more says by its own end whether that was meant.
            if let Some(rendition) = engine::rendition(&catalog, &name) {
                let listed = before.as_ref().and_then(|before| before.rendition(&name));
                let is_news = listed.as_ref().is_none_or(|listed| *listed != *rendition);
                let moved = listed.is_some_and(|it| it.broadcast() != rendition.broadcast());
                if let Some(wanted) = self.wanted.get_mut(&name) {
                    if moved && let Some(reader) = wanted.reader.take() {
                        reader.abort();
                        self.engine.remove_track(wanted.id);
                        // What was read but not taken is of the other place.
                        wanted.id = TrackId(self.next_id);
                        self.next_id += 1;
                    }
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

    /// A catalog without the renditions that refer to broadcasts which cannot be: paths that leave the root.
    fn within_root(&self, catalog: Arc<Catalog>) -> Arc<Catalog> {
        let escapes = |rendition: &Rendition| {
            let reference = rendition.broadcast();
            reference.is_some_and(|reference| self.discovery.sibling(reference).is_none())
        };
        let escaping: Vec<String> = catalog
            .renditions()
            .filter(|(_, rendition)| escapes(rendition))
            .map(|(track, _)| track)
            .collect();
        if escaping.is_empty() {
            return catalog;
        }
        tracing::warn!(tracks = ?escaping, "renditions of broadcasts outside of the root ignored");
        let mut rest = Catalog::clone(&catalog);
        rest.video.retain(|track, _| !escaping.contains(track));
        rest.audio.retain(|track, _| !escaping.contains(track));
        Arc::new(rest)
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
                .add_track(wanted.id, rendition.clone(), wanted.queue.clone());
        }
        let sibling = rendition
            .broadcast()
            .and_then(|reference| self.discovery.sibling(reference))
            .filter(|sibling| !sibling.is_for_the_same(&self.discovery));
        wanted.elsewhere = sibling.is_some();
        wanted.heard = false;
        wanted.newest = 0;
        let place = sibling.map_or_else(|| Place::Here(broadcast.clone()), Place::Elsewhere);
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
        wanted.reader = Some(self.readers.spawn(track::read(place, reading)));
        self.heard = Instant::now();
    }

    fn wanted_by(&mut self, id: TrackId) -> Option<&mut Wanted> {
        self.wanted.values_mut().find(|wanted| wanted.id == id)
    }

    pub(super) fn arrived(&mut self, id: TrackId, arrival: Arrival) {
        // Another broadcast says nothing of this one.
        if self.wanted_by(id).is_none_or(|wanted| !wanted.elsewhere) {
            self.heard = Instant::now();
            self.heard_any |= matches!(arrival, Arrival::Frame { .. });
        }
        match arrival {
            Arrival::GroupStarted { seq } => {
                if let Some(wanted) = self.wanted_by(id) {
                    wanted.heard = true;
                    wanted.newest = wanted.newest.max(seq);
                    wanted.retry.reset();
                }
                self.engine.group_started(id, seq);
            }
            Arrival::Frame {
                seq,
                index,
                payload,
                now,
            } => {
                if index == 0 {
                    self.note_key_frame(id, seq);
                }
                if let Err(err) = self.engine.object(id, (seq, index), payload, now) {
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
            Arrival::GroupEnded { seq, end } => self.engine.group_ended(id, seq, end),
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
    pub(super) fn resubscribe(&mut self, broadcast: &BroadcastReader) -> Option<Instant> {
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
