//! Access units → groups of one track. Knows buffers only as plain data.
//!
//! A group starts at a closed key frame, so that whoever joins at it shows nothing broken; audio groups start by duration.
//! Locks: `feed`, then those of the publication; `settings` and `info` are leaves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    MoqSinkTrackStatus as Status,
    details::Details,
    feed::{Coded, Feed, Frame, Phase},
    frame::{Problem, Unit},
    key_unit::Limiter,
    network::{Network, Overflow},
    publication::{Publication, TrackId, end_track},
    stats::{Counters, Drop as Lost},
};
use crate::{
    elements::{
        caps::{Packaging, Stream, suffix},
        connection::EventSender,
    },
    media::{catalog::Rendition, codec::Kind},
    net::{
        error::{Cause, Error},
        publish::{TrackWriter, WriteError},
        requests::Heard,
    },
    policy::{
        backlog::{Amount, Notice, Pending},
        group::{self, Action, DEFAULT_AUDIO_DURATION, Grouping, Limits, Reason},
    },
    runtime,
};

/// What the pad's user has set.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub name: Option<String>,
    pub priority: Option<u8>,
    /// ns
    pub group_duration: i64,
    pub packaging: Packaging,
    /// A local encoder feeds the pad: see [`Details::measure`].
    pub encoder: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: None,
            priority: None,
            group_duration: DEFAULT_AUDIO_DURATION,
            packaging: Packaging::default(),
            encoder: false,
        }
    }
}

/// What the pad shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Info {
    pub name: Option<String>,
    pub kind: Option<Kind>,
    pub status: Status,
    pub error: Option<String>,
    pub demand: bool,
}

/// What tracks tell the element's pump.
#[derive(Debug)]
pub(super) enum Event {
    /// Somebody subscribes to the track, or nobody any more.
    Demand(TrackId, bool),
    /// `status`, `error` or `name` changed.
    Changed(TrackId),
    KeyUnit(TrackId),
    /// So much was lost since it was told of last.
    Dropped(TrackId, Lost, Amount),
    /// The network does not keep up with the track, or does again, and what waits for it.
    Congestion(TrackId, bool, Pending),
    /// WARNING on the bus.
    Warning(Error),
    /// The track is drained, end of stream may be told. The second is its [`Track::epoch`] at that time.
    Drained(TrackId, u64),
    Connection(crate::net::session::State),
    /// Of players.
    Requests(Heard),
}

pub(super) struct Track {
    pub id: TrackId,
    pub publication: Arc<Publication>,
    pub settings: Mutex<Settings>,
    pub info: Mutex<Info>,
    pub counters: Counters,
    pub network: Network,
    limits: Mutex<Limits>,
    feed: Mutex<Feed>,
    events: Mutex<Option<EventSender<Event>>>,
    key_units: Mutex<Limiter>,
    /// Counts flushes and restarts, so that an end from before one is not told after it.
    epoch: AtomicU64,
    /// Time 0 of what is told.
    created: Instant,
}

/// What the streaming thread has to know after a write.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The network does not keep up.
    pub overflow: Option<Overflow>,
    /// The stream went back in time: nothing more of it before this running time, ns.
    pub due: Option<i64>,
}

impl Track {
    pub fn new(id: TrackId, publication: Arc<Publication>) -> Self {
        Self {
            id,
            publication,
            settings: Mutex::default(),
            info: Mutex::default(),
            counters: Counters::default(),
            network: Network::default(),
            limits: Mutex::default(),
            feed: Mutex::default(),
            events: Mutex::new(None),
            key_units: Mutex::default(),
            epoch: AtomicU64::new(0),
            created: Instant::now(),
        }
    }

    /// Begins with a new publication.
    pub fn start(&self, events: EventSender<Event>, limits: Limits) {
        *self.events.lock() = Some(events);
        *self.limits.lock() = limits;
        self.counters.reset();
        let mut feed = self.feed.lock();
        // Caps and tags that came before the pad's element started are sticky and come again.
        *feed = Feed::default();
        drop(feed);
        self.set_status(Status::Pending, None);
    }

    /// Takes the writer away, for its end; frames that still come are dropped.
    pub fn stop(&self) -> Option<TrackWriter> {
        *self.events.lock() = None;
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let mut feed = self.feed.lock();
        let mut writer = std::mem::take(&mut *feed).writer?;
        writer.finish_group();
        Some(writer)
    }

    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The stream is another one from the next frame on. One of another codec than the track was begun with ends it: it costs
    /// this track alone.
    pub fn set_stream(&self, stream: Stream) {
        let mut feed = self.feed.lock();
        let current = feed.coded.as_ref().map(|coded| &coded.stated);
        if current == Some(&stream) && feed.phase != Phase::Failed {
            return;
        }
        if feed.writer.is_some() && current.is_some_and(|current| !current.can_become(&stream)) {
            drop(feed);
            self.refuse(&Error::new(
                Cause::Codec,
                "A track cannot change its codec; release the pad and request another one",
            ));
            return;
        }
        let kind = stream.kind();
        feed.end_group();
        if feed.phase == Phase::Failed {
            feed.phase = Phase::Running;
        }
        let limits = *self.limits.lock();
        let settings = self.settings.lock().clone();
        let grouping = match kind {
            Kind::Video => Grouping::video(limits),
            Kind::Audio => Grouping::audio(settings.group_duration, limits),
        };
        feed.coded = Some(Coded::new(stream, settings.packaging, grouping));
        drop(feed);
        self.info.lock().kind = Some(kind);
        self.set_status(Status::Waiting, None);
    }

    /// The stream is none that can be published on this track: what comes of it is dropped until other caps come.
    pub fn refuse(&self, error: &Error) {
        self.feed.lock().coded = None;
        self.fail(error);
    }

    /// Whether caps have been set.
    pub fn has_stream(&self) -> bool {
        self.feed.lock().coded.is_some()
    }

    /// Whether it has begun and is neither over nor failed.
    pub fn is_open(&self) -> bool {
        self.feed.lock().writer.is_some()
    }

    /// Changes what the catalog says beside the stream. It is written again only when players have to act.
    pub fn describe(&self, change: impl FnOnce(&mut Details)) {
        let mut feed = self.feed.lock();
        change(&mut feed.details);
        self.tell_details(&mut feed);
    }

    fn tell_details(&self, feed: &mut Feed) {
        if feed.published.is_none() {
            return;
        }
        let rendition = feed.rendition();
        if let Some(rendition) = rendition.filter(|it| feed.published.as_ref() != Some(it)) {
            self.tell_rendition(feed, rendition, false);
        }
    }

    /// `again`: its readers have to come back whatever the catalog says.
    fn tell_rendition(&self, feed: &mut Feed, rendition: Rendition, again: bool) {
        if feed.writer.is_some() {
            let news = feed.news(again);
            feed.published = Some(rendition.clone());
            self.publication.known(self.id, rendition, news);
        }
    }

    /// A segment began: running time may go back with the next frame.
    pub fn segment(&self) {
        self.feed.lock().restart = true;
    }

    /// Everything before is gone, an end of stream too.
    pub fn flush(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let mut feed = self.feed.lock();
        feed.end_group();
        feed.restart = true;
        feed.phase = Phase::Running;
    }

    pub fn has_ended(&self) -> bool {
        self.feed.lock().phase == Phase::Ended
    }

    /// What comes next does not continue what came before.
    pub fn cut_for_gap(&self) {
        self.feed.lock().end_group();
    }

    /// A key frame was asked for: audio starts a group there too. Video does at every key frame.
    pub fn cut(&self) {
        if self.info.lock().kind == Some(Kind::Audio) {
            self.feed.lock().end_group();
        }
    }

    /// End of stream: ends the group here, the track once it is drained.
    pub fn end(self: &Arc<Self>, drain: Duration) {
        let mut feed = self.feed.lock();
        feed.end_group();
        feed.phase = Phase::Ended;
        let writer = feed.writer.take();
        drop(feed);
        self.publication.ended(self.id);
        self.set_status(Status::Ended, None);
        let (id, epoch) = (self.id, self.epoch());
        let events = self.events.lock().clone();
        let track = self.clone();
        let done = move |drained: Result<(), Error>| {
            track.tell_losses(true);
            if let Some(events) = events {
                runtime::handle().spawn(async move {
                    if let Err(lost) = drained {
                        events.send(Event::Warning(lost)).await;
                    }
                    events.send(Event::Drained(id, epoch)).await
                });
            }
        };
        match writer {
            Some(writer) => end_track(&self.publication, self.id, writer, drain, done),
            None => done(Ok(())),
        }
    }

    /// Publishes one access unit, or drops it and counts why. Never waits for the network.
    ///
    /// # Errors
    /// A track that cannot be opened, which is a matter of settings.
    pub fn write(self: &Arc<Self>, unit: &Unit<'_>) -> Result<Written, Error> {
        let mut feed = self.feed.lock();
        let done = self.write_locked(&mut feed, unit);
        let due = feed.due.take();
        drop(feed);
        match done {
            Ok(()) => {}
            Err(Problem::Lost(lost)) => {
                self.counters.lost(lost, unit.amount());
                if lost.wants_key_unit() {
                    self.want_key_unit();
                }
            }
            Err(Problem::Broken(error)) => self.fail(&error),
            Err(Problem::Fatal(error)) => return Err(error),
        }
        self.tell_losses(false);
        Ok(Written {
            overflow: self.check_network(),
            due,
        })
    }

    /// Counts a buffer that is no access unit to write.
    pub fn drop_unit(&self, lost: Lost, bytes: u64) {
        let amount = Amount {
            groups: 0,
            frames: 1,
            bytes,
        };
        self.counters.lost(lost, amount);
        self.tell_losses(false);
    }

    /// Tells what was lost: what may be told by now, or all when it is the `last` time.
    fn tell_losses(&self, last: bool) {
        self.network.count(&self.counters);
        let now = i64::try_from(self.created.elapsed().as_nanos()).unwrap_or(i64::MAX);
        for (lost, amount) in self.counters.untold(now, last) {
            self.tell(Event::Dropped(self.id, lost, amount));
        }
    }

    fn check_network(&self) -> Option<Overflow> {
        let (notice, overflow) = self.network.check(&self.publication)?;
        let pending = self.network.delivery()?.pending();
        match notice {
            Notice::Began => self.tell(Event::Congestion(self.id, true, pending)),
            Notice::GoesOn => {}
            Notice::Over => {
                self.tell(Event::Congestion(self.id, false, pending));
                return None;
            }
        }
        Some(overflow)
    }

    fn write_locked(self: &Arc<Self>, feed: &mut Feed, unit: &Unit<'_>) -> Result<(), Problem> {
        match feed.phase {
            Phase::Ended => return Err(Problem::Lost(Lost::Ended)),
            Phase::Failed => return Err(Problem::Lost(Lost::Failed)),
            Phase::Running => {}
        }
        let restart = std::mem::take(&mut feed.restart);
        let mapped = self
            .publication
            .map(&mut feed.position, unit.running, restart, unit.now);
        feed.due = mapped.due;
        if mapped.jumped || unit.discont {
            feed.end_group();
        }
        let us = u64::try_from(mapped.time / 1000).unwrap_or(0);
        let (encoder, group_duration) = {
            let settings = self.settings.lock();
            (settings.encoder, settings.group_duration)
        };
        if encoder
            && let Some(now) = unit.now
            && feed.details.measure(now - unit.running)
        {
            self.tell_details(feed);
        }
        let Some(coded) = &mut feed.coded else {
            return Err(Problem::Lost(Lost::NoKeyFrame));
        };
        let frame = coded.frame(&mapped, unit)?;
        if frame.changed {
            feed.end_group();
        }
        let Some(coded) = &mut feed.coded else {
            return Err(Problem::Lost(Lost::NoKeyFrame));
        };
        coded.grouping.set_duration(group_duration);
        let verdict = coded.grouping.next(group::Unit {
            key: frame.key,
            leading: frame.leading,
            bytes: frame.object.len() as u64,
            pts: mapped.time,
        });
        if verdict.ask_key_unit {
            self.want_key_unit();
        }
        if verdict.warn {
            self.warn_group(feed);
        }
        match verdict.action {
            Action::NewGroup => self.open(feed)?,
            Action::Continue => {}
            Action::Drop(reason) => {
                if let Some(writer) = &mut feed.writer
                    && reason != Reason::Leading
                {
                    writer.finish_group();
                }
                return Err(Problem::Lost(reason.into()));
            }
        }
        self.append(feed, us, frame)?;
        // How long players have to wait for pictures shows with the pictures.
        if feed.observe(&mapped, unit.discont)
            && let Some(rendition) = feed.rendition()
        {
            self.tell_rendition(feed, rendition, false);
        }
        Ok(())
    }

    fn warn_group(&self, feed: &Feed) {
        let name = feed.writer.as_ref().map_or("", TrackWriter::name);
        self.tell(Event::Warning(Error::new(
            Cause::Codec,
            format!(
                "The group of track {name} has no room left and no key frame came; the track goes on at the next one. Set \
                 a shorter key frame interval at the encoder"
            ),
        )));
    }

    fn append(&self, feed: &mut Feed, us: u64, frame: Frame) -> Result<(), Problem> {
        let Some(writer) = &mut feed.writer else {
            return Err(Problem::Lost(Lost::NoKeyFrame));
        };
        let size = frame.object.len() as u64;
        let written = writer.write(us, frame.object);
        let starts_group = writer.group_frames() == 1;
        // Nothing more will come into it; readers need not wait for the next packet to know.
        let single = frame.alone && self.settings.lock().group_duration == 0;
        match written {
            Ok(()) => {
                self.counters.wrote(starts_group, size);
                if writer.delivery().is_wanted() {
                    self.publication.offer(size);
                }
                if single {
                    writer.finish_group();
                }
                Ok(())
            }
            // The library's bounds are those of the grouping, so that this is the cache giving up an open group.
            Err(WriteError::GroupFull | WriteError::NoGroup) => {
                feed.end_group();
                Err(Problem::Lost(Lost::GroupFull))
            }
            Err(WriteError::Late) => {
                feed.give_up_group();
                Err(Problem::Lost(Lost::Expired))
            }
            Err(WriteError::Timestamp) => Err(Problem::Lost(Lost::NoTimestamp)),
            Err(WriteError::Ended) => {
                feed.phase = Phase::Ended;
                Err(Problem::Lost(Lost::Ended))
            }
        }
    }

    /// Starts a group; opens the track and tells the catalog first when that is due.
    fn open(self: &Arc<Self>, feed: &mut Feed) -> Result<(), Problem> {
        let rendition = feed.rendition().ok_or(Problem::Lost(Lost::NoKeyFrame))?;
        let mut opened = false;
        if feed.writer.is_none() {
            let settings = self.settings.lock().clone();
            let priority = settings.priority.unwrap_or(rendition.default_priority());
            let writer = self
                .publication
                .open(
                    self.id,
                    settings.name.as_deref(),
                    &suffix(&rendition),
                    priority,
                )
                .map_err(Problem::Fatal)?;
            self.follow_demand(&writer);
            self.network.follow(writer.delivery());
            self.info.lock().name = Some(writer.name().to_owned());
            feed.writer = Some(writer);
            opened = true;
        }
        if let Some(writer) = &mut feed.writer
            && writer.start_group().is_err()
        {
            return Err(Problem::Lost(Lost::Ended));
        }
        // After the group is open: whoever reads the catalog finds something to read.
        if opened || feed.published.as_ref() != Some(&rendition) {
            let again = opened && feed.published.is_some();
            self.tell_rendition(feed, rendition, again);
            self.set_status(Status::Publishing, None);
        }
        Ok(())
    }

    fn follow_demand(self: &Arc<Self>, writer: &TrackWriter) {
        let mut demand = writer.demand();
        let (id, Some(events)) = (self.id, self.events.lock().clone()) else {
            return;
        };
        runtime::handle().spawn(async move {
            while let Some(used) = demand.changed().await {
                if !events.send(Event::Demand(id, used)).await {
                    return;
                }
            }
            events.send(Event::Demand(id, false)).await;
        });
    }

    /// Ends the track for this reason; the others go on.
    fn fail(&self, error: &Error) {
        let writer = {
            let mut feed = self.feed.lock();
            feed.phase = Phase::Failed;
            feed.writer.take()
        };
        drop(writer);
        self.publication.failed(self.id);
        self.set_status(Status::Failed, Some(error.message.clone()));
        self.tell(Event::Warning(error.clone()));
    }

    /// Asks for a key frame, unless one was asked for a moment ago; whether it did.
    pub fn want_key_unit(&self) -> bool {
        let is_video = self.info.lock().kind == Some(Kind::Video);
        let wants = is_video && self.key_units.lock().permits(Instant::now());
        if wants {
            self.tell(Event::KeyUnit(self.id));
        }
        wants
    }

    fn set_status(&self, status: Status, error: Option<String>) {
        let mut info = self.info.lock();
        info.status = status;
        info.error = error;
        drop(info);
        self.tell(Event::Changed(self.id));
    }

    fn tell(&self, event: Event) {
        if let Some(events) = &*self.events.lock() {
            // A pump that is hundreds of events behind has its user's attention already.
            let _ = events.try_send(event);
        }
    }
}

pub(super) fn default_priority(kind: Kind) -> u8 {
    match kind {
        Kind::Audio => 80,
        Kind::Video => 60,
    }
}
