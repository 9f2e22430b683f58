//! What is pushed when: joins the timeline, the reorder buffers and the queues of a broadcast. No I/O, no clock reads.
//!
//! Frames come in as they arrive from the network and go out, in decode order, into the queue of their pad. Until the timeline
//! has settled they are held; then the segment opens at the live edge.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::queue::{Frame, Item, TrackQueue};
use crate::{
    media::{
        catalog::{Catalog, Rendition},
        container::{self, ContainerError},
        h264, opus,
    },
    policy::{
        MILLISECOND, Nanos, SECOND,
        dts::Dts,
        reorder::{self, Dropped, Reorder},
        timeline::{self, Event, Phase, Timeline, TrackId},
    },
};

/// Where playing begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the live edge: the group that is under way is decoded from its start and presented from the edge on.
    #[default]
    Live,
    /// At the first frame of the next video group, so that nothing precedes the first key frame.
    NextGroup,
}

pub(super) type Queue = Arc<TrackQueue<Arc<Rendition>>>;

/// Counters of one track.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrackStats {
    pub groups: u64,
    pub frames: u64,
    pub bytes: u64,
    /// Frames that came after the time at which they were to be presented.
    pub late_frames: u64,
    pub malformed_frames: u64,
    pub dropped: Dropped,
    /// How far behind the timeline this track's best frames are.
    pub delay: Nanos,
    pub jitter: Nanos,
}

/// Media time and payload of one access unit or packet.
struct Unit {
    media_us: u64,
    payload: Bytes,
}

/// A unit that may be pushed as soon as the timeline is known.
struct Ready {
    unit: Unit,
    media: Nanos,
    discont: bool,
    key: bool,
}

struct Track {
    rendition: Arc<Rendition>,
    queue: Queue,
    format: Option<container::Format>,
    reorder: Reorder<Unit>,
    /// Place of the next frame in each group that is being read. Markers have no place.
    places: BTreeMap<u64, u64>,
    dts: Option<Dts>,
    /// Knows the reorder depth: from the description, or from the first key frame's parameter sets.
    dts_known: bool,
    held: VecDeque<Ready>,
    /// With [`Start::NextGroup`]: the group that was under way when this track was joined.
    skipping: Option<u64>,
    joined_group: bool,
    /// The segment in which this track presents; none until it is joined.
    edge: Option<Nanos>,
    /// Running time up to which frames were pushed.
    pushed_until: Option<Nanos>,
    last_media: Option<Nanos>,
    interval: Option<Nanos>,
    rejoined: bool,
    discont: bool,
    finished: bool,
    ended: bool,
    stats: TrackStats,
}

/// The playout of one broadcast.
pub struct Engine {
    timeline: Timeline,
    tracks: BTreeMap<TrackId, Track>,
    latency: Nanos,
    start: Start,
    /// Running time at which the current epoch is presented from.
    edge: Option<Nanos>,
}

/// What the caller has to do after [`Engine::advance`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Advanced {
    /// Call again at this running time at the latest.
    pub wake: Option<Nanos>,
}

impl Engine {
    pub fn new(latency: Nanos, start: Start) -> Self {
        let mut timeline = Timeline::new(timeline::Config::default());
        timeline.set_tolerance(latency);
        Self {
            timeline,
            tracks: BTreeMap::new(),
            latency,
            start,
            edge: None,
        }
    }

    pub fn set_latency(&mut self, latency: Nanos) {
        self.latency = latency;
        self.timeline.set_tolerance(latency);
        for track in self.tracks.values() {
            track.queue.set_max_span(queue_span(latency));
        }
    }

    /// How long the live edge has to stand still before it is believed: 1.5 round trips, so that a flight of a slow start
    /// is not taken for the end of the backlog.
    pub fn set_rtt(&mut self, rtt: Nanos) {
        self.timeline
            .set_hold((rtt + rtt / 2).max(20 * MILLISECOND));
    }

    pub fn add_track(&mut self, id: TrackId, rendition: Arc<Rendition>, queue: Queue) {
        self.timeline.add_track(id);
        queue.set_max_span(queue_span(self.latency));
        queue.push(Item::Config(rendition.clone()));
        let mut track = Track::new(rendition, queue);
        track.rejoined = true;
        self.tracks.insert(id, track);
    }

    pub fn remove_track(&mut self, id: TrackId) {
        self.timeline.remove_track(id);
        self.tracks.remove(&id);
    }

    /// The track goes on with another configuration.
    pub fn reconfigure(&mut self, id: TrackId, rendition: Arc<Rendition>) {
        if let Some(track) = self.tracks.get_mut(&id)
            && track.rendition != rendition
        {
            track.set_rendition(rendition.clone());
            track.queue.push(Item::Config(rendition));
        }
    }

    /// Starts anew at the live edge: another publisher, or a pause is over.
    pub fn rejoin(&mut self) {
        self.timeline.rejoin();
        self.edge = None;
        for track in self.tracks.values_mut() {
            track.rejoin();
        }
    }

    pub fn group_started(&mut self, id: TrackId, seq: u64) {
        let start = self.start;
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        if !track.joined_group {
            track.joined_group = true;
            let wants_whole = start == Start::NextGroup && track.rendition.is_video();
            track.skipping = wants_whole.then_some(seq);
        }
        track.stats.groups += 1;
        if !track.skips(seq) {
            let _ = track.reorder.start_group(seq);
        }
    }

    /// A frame as it came from the network at running time `now`.
    pub fn frame(
        &mut self,
        id: TrackId,
        seq: u64,
        raw: Bytes,
        now: Nanos,
    ) -> Result<(), ContainerError> {
        let Some(track) = self.tracks.get_mut(&id) else {
            return Ok(());
        };
        let bytes = raw.len();
        let frame = match track.format.map(|format| format.decode(raw)) {
            Some(Ok(frame)) => frame,
            Some(Err(err)) => {
                track.stats.malformed_frames += 1;
                return Err(err);
            }
            None => return Ok(()),
        };
        if frame.is_marker() {
            return Ok(());
        }
        let index = track.place(seq);
        track.stats.bytes += bytes as u64;
        track.stats.frames += 1;
        let media = media_nanos(frame.pts_us);
        match self.timeline.arrived(id, seq, media, now) {
            Event::Ok => {}
            Event::Stale => return Ok(()),
            Event::Jumped => self.jumped(id, seq),
            Event::Rejoin | Event::Resettle => self.reanchor(),
        }
        let due = self
            .timeline
            .to_running(media)
            .map(|running| running + self.latency);
        if let Some(track) = self.tracks.get_mut(&id) {
            // What only catches up is not late: it is not presented.
            let presented = track
                .edge
                .zip(due)
                .is_some_and(|(edge, due)| due >= edge + self.latency);
            if presented && due.is_some_and(|due| due < now) {
                track.stats.late_frames += 1;
            }
            if !track.skips(seq) {
                let item = Unit {
                    media_us: frame.pts_us,
                    payload: frame.payload,
                };
                let _ = track.reorder.push(
                    seq,
                    reorder::Frame {
                        index,
                        media,
                        bytes,
                        item,
                    },
                );
            }
        }
        Ok(())
    }

    pub fn group_ended(&mut self, id: TrackId, seq: u64, whole: bool) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.places.remove(&seq);
            if track.skips(seq) {
                return;
            }
            if whole {
                track.reorder.finish_group(seq);
            } else {
                track.reorder.abort_group(seq);
            }
        }
    }

    /// The publisher ended the track: EOS follows its last frame.
    pub fn track_finished(&mut self, id: TrackId) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.finished = true;
        }
    }

    /// All tracks have ended and said so downstream.
    pub fn ended(&self) -> bool {
        !self.tracks.is_empty() && self.tracks.values().all(|track| track.ended)
    }

    pub fn has_track(&self, id: TrackId) -> bool {
        self.tracks.contains_key(&id)
    }

    /// Pushes what may be pushed at running time `now`.
    pub fn advance(&mut self, now: Nanos) -> Advanced {
        let mut wake = None;
        let ids: Vec<_> = self.tracks.keys().copied().collect();
        for id in &ids {
            sooner(&mut wake, self.drain_reorder(*id, now));
        }
        match self.timeline.poll(now) {
            Phase::Unsettled { check_at } => sooner(&mut wake, check_at),
            Phase::Settled { edge, .. } => {
                if self.edge.is_none() {
                    self.edge = self.join_edge(edge);
                }
                if let Some(edge) = self.edge {
                    for id in &ids {
                        self.push_ready(*id, edge, now);
                        sooner(&mut wake, self.push_gap(*id, now));
                    }
                }
            }
        }
        self.end_finished(now);
        Advanced { wake }
    }

    /// The counters of a track.
    pub fn stats(&self, id: TrackId) -> Option<TrackStats> {
        let track = self.tracks.get(&id)?;
        let mut stats = track.stats.clone();
        stats.dropped = track.reorder.dropped();
        stats.delay = self.timeline.delay(id).unwrap_or(0);
        stats.jitter = self.timeline.jitter(id).unwrap_or(0);
        Some(stats)
    }

    /// Media time left its continuity: what was held from before is not presented any more.
    fn jumped(&mut self, by: TrackId, seq: u64) {
        for (id, track) in &mut self.tracks {
            track.held.clear();
            track.last_media = None;
            if *id == by {
                track.reorder.start_at(seq);
            }
        }
        self.reanchor();
    }

    /// The mapping moved by more than the latency absorbs.
    fn reanchor(&mut self) {
        self.edge = None;
        for track in self.tracks.values_mut() {
            track.edge = None;
            track.rejoined = true;
            track.discont = true;
        }
    }

    /// Takes from the reorder buffer what is in order; says when to look again.
    fn drain_reorder(&mut self, id: TrackId, now: Nanos) -> Option<Nanos> {
        let timeline = &self.timeline;
        let track = self.tracks.get_mut(&id)?;
        let allowance = self.latency - skip_margin(self.latency);
        let deadline_of = |media| {
            timeline
                .to_running(media)
                .map(|running| running + allowance)
        };
        loop {
            match track.reorder.poll(now, deadline_of) {
                reorder::Poll::Frame {
                    media,
                    discont,
                    first_of_group,
                    item,
                    ..
                } => {
                    let key = first_of_group || !track.rendition.is_video();
                    track.held.push_back(Ready {
                        unit: item,
                        media,
                        discont,
                        key,
                    });
                }
                reorder::Poll::Wait { until } => return until,
            }
        }
    }

    /// Where this epoch's segment starts, once that is known.
    fn join_edge(&self, live_edge: Nanos) -> Option<Nanos> {
        let pushed = self
            .tracks
            .values()
            .filter_map(|track| track.pushed_until)
            .max();
        let floor = pushed.unwrap_or(0).max(0);
        let mut videos = self
            .tracks
            .values()
            .filter(|track| track.rendition.is_video())
            .peekable();
        if self.start == Start::Live || videos.peek().is_none() {
            return Some(live_edge.max(floor));
        }
        videos
            .filter_map(|track| track.held.iter().find(|ready| ready.key))
            .filter_map(|ready| self.timeline.to_running(ready.media))
            .min()
            .map(|first| first.max(floor))
    }

    fn push_ready(&mut self, id: TrackId, edge: Nanos, now: Nanos) {
        let timeline = &self.timeline;
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        if track.edge.is_none() {
            let edge = if track.rejoined && self.start == Start::Live {
                edge.max(timeline.live_edge(now).unwrap_or(edge))
            } else {
                edge
            };
            track.open_segment(edge, timeline);
        }
        while let Some(ready) = track.held.pop_front() {
            track.push(ready, timeline);
        }
    }

    /// Tells downstream that an audio track has nothing, before a muxer or mixer waits for it. Returns when to look again.
    fn push_gap(&mut self, id: TrackId, now: Nanos) -> Option<Nanos> {
        let track = self.tracks.get_mut(&id)?;
        if track.rendition.is_video() || track.finished {
            return None;
        }
        let until = track.pushed_until?;
        let due = until + self.latency;
        if now < due {
            return Some(due);
        }
        // As far as is presented by now, so that packets that are merely late still fit behind it.
        let start = until;
        let duration = now - self.latency - start + 20 * MILLISECOND;
        track.queue.push(Item::Gap { start, duration });
        track.pushed_until = Some(start + duration);
        Some(start + duration + self.latency)
    }

    fn end_finished(&mut self, _now: Nanos) {
        for track in self.tracks.values_mut() {
            if track.finished
                && !track.ended
                && track.held.is_empty()
                && track.reorder.held().1 == 0
            {
                track.ended = true;
                track.queue.push(Item::Eos);
            }
        }
    }
}

impl Track {
    fn new(rendition: Arc<Rendition>, queue: Queue) -> Self {
        let mut track = Self {
            format: None,
            reorder: Reorder::new(reorder_config(&rendition)),
            places: BTreeMap::new(),
            rendition: rendition.clone(),
            queue,
            dts: None,
            dts_known: false,
            held: VecDeque::new(),
            skipping: None,
            joined_group: false,
            edge: None,
            pushed_until: None,
            last_media: None,
            interval: None,
            rejoined: true,
            discont: true,
            finished: false,
            ended: false,
            stats: TrackStats::default(),
        };
        track.set_rendition(rendition);
        track
    }

    fn set_rendition(&mut self, rendition: Arc<Rendition>) {
        self.format = container::Format::from_catalog(rendition.container()).ok();
        self.dts = None;
        self.dts_known = !rendition.is_video();
        if let Rendition::Video(video) = &*rendition {
            self.interval = video
                .framerate
                .filter(|rate| *rate > 0.0)
                .map(|rate| (1e9 / rate) as Nanos);
            if let Some(config) = video
                .description
                .as_deref()
                .and_then(|avcc| h264::Config::from_avcc(avcc).ok())
            {
                self.learn_depth(&config);
            }
        }
        self.rendition = rendition;
    }

    fn learn_depth(&mut self, config: &h264::Config) {
        self.dts = Some(Dts::new(usize::from(config.reorder_depth), self.interval));
        self.dts_known = true;
    }

    fn rejoin(&mut self) {
        self.reorder.reset();
        self.places.clear();
        self.held.clear();
        if let Some(dts) = &mut self.dts {
            dts.reset();
        }
        self.skipping = None;
        self.joined_group = false;
        self.edge = None;
        self.last_media = None;
        self.rejoined = true;
        self.discont = true;
        self.finished = false;
    }

    fn skips(&self, seq: u64) -> bool {
        self.skipping.is_some_and(|skipped| seq <= skipped)
    }

    /// Presentation starts at `edge`; what is not needed to decode from there is dropped.
    fn open_segment(&mut self, edge: Nanos, timeline: &Timeline) {
        let running = |ready: &Ready| timeline.to_running(ready.media);
        if self.rendition.is_video() {
            let first = self
                .held
                .iter()
                .rposition(|ready| ready.key && running(ready).is_some_and(|at| at <= edge));
            self.held.drain(..first.unwrap_or(0));
        }
        self.edge = Some(edge);
        self.queue.push(Item::Segment { start: edge });
    }

    fn push(&mut self, ready: Ready, timeline: &Timeline) {
        let (Some(pts), Some(edge)) = (timeline.to_running(ready.media), self.edge) else {
            return;
        };
        let duration = self.duration(&ready);
        if !self.rendition.is_video() && pts + duration.unwrap_or(0) <= edge {
            return;
        }
        if ready.key && !self.dts_known {
            self.learn_in_band(&ready.unit.payload);
        }
        let discont = ready.discont || std::mem::take(&mut self.discont);
        if discont && let Some(dts) = &mut self.dts {
            dts.reset();
        }
        // DTS is made in media time, so that a correction of the mapping moves both alike.
        let dts = self.dts.as_mut().map(|dts| dts.next(ready.media));
        let end = pts + duration.unwrap_or(0);
        self.pushed_until = Some(self.pushed_until.map_or(end, |until| until.max(end)));
        self.queue.push(Item::Frame(Frame {
            pts,
            dts: dts
                .and_then(|dts| timeline.to_running(dts))
                .map(|dts| dts.min(pts)),
            duration,
            media_us: ready.unit.media_us,
            key: ready.key,
            discont,
            resync: std::mem::take(&mut self.rejoined),
            payload: ready.unit.payload,
        }));
    }

    fn learn_in_band(&mut self, access_unit: &[u8]) {
        if let Ok(Some(config)) =
            h264::Config::from_access_unit(access_unit, h264::NalFormat::ByteStream)
        {
            self.learn_depth(&config);
        }
    }

    /// The place of the next frame in its group.
    fn place(&mut self, seq: u64) -> u64 {
        let next = self.places.entry(seq).or_default();
        let place = *next;
        *next += 1;
        place
    }

    /// From the codec where it says so, else from the frame rate, else from the frames so far.
    fn duration(&mut self, ready: &Ready) -> Option<Nanos> {
        match &*self.rendition {
            Rendition::Audio(_) => opus::packet_duration_ns(&ready.unit.payload)
                .ok()
                .and_then(|ns| Nanos::try_from(ns).ok()),
            Rendition::Video(video) => {
                if video.framerate.is_none()
                    && let Some(last) = self.last_media.replace(ready.media)
                    && ready.media > last
                {
                    let step = ready.media - last;
                    self.interval = Some(self.interval.map_or(step, |known| known.min(step)));
                }
                self.interval
            }
        }
    }
}

/// Media times beyond what fits are as good as the largest.
fn media_nanos(us: u64) -> Nanos {
    Nanos::try_from(us)
        .unwrap_or(Nanos::MAX / 4)
        .saturating_mul(1000)
        .min(Nanos::MAX / 4)
}

/// A group is given up this long before its successor would be late, so that the successor still gets through the decoder.
fn skip_margin(latency: Nanos) -> Nanos {
    (latency / 4).min(20 * MILLISECOND)
}

/// What a pad's queue may hold: all that waits for the sink's clock, and some for a downstream that hesitates.
fn queue_span(latency: Nanos) -> Nanos {
    latency + SECOND
}

fn reorder_config(rendition: &Rendition) -> reorder::Config {
    let mut config = reorder::Config::default();
    config.independent = !rendition.is_video();
    config
}

fn sooner(wake: &mut Option<Nanos>, at: impl Into<Option<Nanos>>) {
    if let Some(at) = at.into() {
        *wake = Some(wake.map_or(at, |wake| wake.min(at)));
    }
}

/// The rendition of a catalog by its track's name.
pub(super) fn rendition(catalog: &Catalog, name: &str) -> Option<Arc<Rendition>> {
    catalog.rendition(name).map(Arc::new)
}
