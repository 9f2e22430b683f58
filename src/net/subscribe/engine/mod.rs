//! What is pushed when: joins the timeline, the reorder buffers and the queues of a broadcast. No I/O, no clock reads.
//!
//! Frames come in as they arrive from the network and go out, in decode order, into the queue of their pad. Until the timeline
//! has settled they are held; then the segment opens at the live edge.

mod epoch;
mod standing;
mod track;
mod trailing;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use smallvec::SmallVec;

pub use self::track::TrackStats;
use self::{
    epoch::STALLED,
    track::{Ready, Track, Unit},
};
use super::{
    queue::{Item, TrackQueue},
    reader::GroupEnd,
};
use crate::{
    media::{
        catalog::{Catalog, Rendition},
        container::{self, ContainerError},
    },
    policy::{
        MILLISECOND, Nanos, SECOND, reorder,
        timeline::{self, Event, Phase, Timeline, TrackId},
    },
};

/// Longer than anything lasts, and still fit to be added to.
const NEVER: Nanos = Nanos::MAX / 8;

/// Most broadcasts have fewer tracks: no list of them is allocated with each frame.
const TRACKS: usize = 16;

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

/// The playout of one broadcast.
pub struct Engine {
    timeline: Timeline,
    tracks: BTreeMap<TrackId, Track>,
    latency: Nanos,
    start: Start,
    /// Running time at which the current epoch is presented from.
    edge: Option<Nanos>,
    /// When it was settled.
    settled: Option<Nanos>,
}

/// What the caller has to do after [`Engine::advance`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Advanced {
    /// Call again at this running time at the latest.
    pub wake: Option<Nanos>,
}

impl Engine {
    pub fn new(latency: Nanos, start: Start) -> Self {
        let config = timeline::Config {
            corrects: start != Start::NextGroup,
            ..timeline::Config::default()
        };
        let mut timeline = Timeline::new(config);
        timeline.set_tolerance(tolerance(latency, start));
        Self {
            timeline,
            tracks: BTreeMap::new(),
            latency,
            start,
            edge: None,
            settled: None,
        }
    }

    pub fn set_latency(&mut self, latency: Nanos) {
        self.latency = latency;
        self.timeline.set_tolerance(tolerance(latency, self.start));
        for (id, track) in &self.tracks {
            track
                .queue
                .set_max_span(queue_span(latency, self.timeline.delay(*id)));
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
        queue.set_max_span(queue_span(self.latency, None));
        queue.push(Item::Config(rendition.clone()));
        self.tracks
            .insert(id, Track::new(rendition, queue, self.latency));
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

    pub fn group_started(&mut self, id: TrackId, seq: u64) {
        let start = self.start;
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        if track.finished {
            // Its first frame tells whether it is a new one.
            return;
        }
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

    /// An object as it came from the network at running time `now`: its group and its place in that. A group that comes
    /// again, over a second connection or a relay that changes over, goes on where it was.
    pub fn object(
        &mut self,
        id: TrackId,
        (seq, index): (u64, u64),
        raw: Bytes,
        now: Nanos,
    ) -> Result<(), ContainerError> {
        let Some(track) = self.tracks.get_mut(&id) else {
            return Ok(());
        };
        if !track.is_next_object(seq, index) {
            return Ok(());
        }
        let frames = match track.format.as_ref().map(|format| format.decode(raw)) {
            Some(Ok(frames)) => frames,
            Some(Err(err)) => {
                track.stats.malformed_frames += 1;
                return Err(err);
            }
            None => return Ok(()),
        };
        for frame in frames.filter(|frame| !frame.is_marker()) {
            self.decoded(id, seq, frame, now);
        }
        Ok(())
    }

    fn decoded(&mut self, id: TrackId, seq: u64, frame: container::Frame, now: Nanos) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let bytes = frame.payload.len();
        let index = track.place(seq);
        let is_new = index == 0 && track.note_group(seq, frame.pts_us);
        if track.finished {
            if !is_new {
                return;
            }
            self.begin_again(id, seq);
        }
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        track.heard = Some(now);
        track.standing.note(now);
        if index == 0 && track.rendition.is_video() {
            track.learn_from_key_frame(&frame.payload);
            if let Some(depth) = track.stated_depth {
                self.timeline.set_reorder_depth(id, depth);
            }
        }
        track.stats.bytes += bytes as u64;
        track.stats.frames += 1;
        let media = media_nanos(frame.pts_us);
        match self.timeline.arrived(id, seq, media, now) {
            Event::Ok => {}
            Event::Stale => return,
            Event::Jumped => self.jumped(id, seq),
            Event::Rejoin => self.reanchor(),
            Event::Resettle => self.step_back(now),
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
            if let Some(late) = due.filter(|_| presented).map(|due| now - due) {
                track.stats.late_frames += u64::from(late > 0);
                track.trailing.note(seq, now, late, self.latency);
            }
            if !track.skips(seq) {
                let item = Unit {
                    media_us: frame.pts_us,
                    duration_us: frame.duration_us,
                    key: frame.key == Some(true),
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
    }

    pub fn group_ended(&mut self, id: TrackId, seq: u64, end: GroupEnd) {
        if let Some(track) = self.tracks.get_mut(&id) {
            if track.skips(seq) {
                return;
            }
            match end {
                GroupEnd::Whole => track.reorder.finish_group(seq),
                GroupEnd::GivenUp => track.reorder.give_up_group(seq),
                GroupEnd::Broken => track.reorder.abort_group(seq),
            }
        }
    }

    /// A track that had ended has a new group: it is joined like one that was just enabled.
    fn begin_again(&mut self, id: TrackId, seq: u64) {
        let Some(track) = self.tracks.remove(&id) else {
            return;
        };
        self.timeline.remove_track(id);
        self.timeline.add_track(id);
        let mut track = track.begin_again(self.latency);
        track.place(seq);
        track.queue.push(Item::Config(track.rendition.clone()));
        self.tracks.insert(id, track);
        self.group_started(id, seq);
    }

    /// The publisher ended the track: EOS follows its last frame.
    pub fn track_finished(&mut self, id: TrackId) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.finished = true;
        }
    }

    /// The group that playback is at, before which nothing is played any more; none for a track that has ended, which may
    /// begin again with any number.
    pub fn current_group(&self, id: TrackId) -> Option<u64> {
        let track = self.tracks.get(&id).filter(|track| !track.finished)?;
        let (group, _) = track.reorder.position()?;
        Some(group)
    }

    /// The publisher ended the track, and it has not begun again.
    pub fn is_finished(&self, id: TrackId) -> bool {
        self.tracks.get(&id).is_some_and(|track| track.finished)
    }

    /// When a video track began to need a key frame, or will when nothing of it comes until then: the rest of a group was given up,
    /// playing begins with the next group, what comes is too late and stays so, or the picture stands. `None` while all is well.
    ///
    /// A group that is given up on the way mostly looks like one of which nothing more comes: the protocol library waits for
    /// another route to go on with it.
    pub fn needs_key_frame(&self, id: TrackId, now: Nanos) -> Option<Nanos> {
        let track = self.tracks.get(&id)?;
        if !track.rendition.is_video() || track.finished {
            return None;
        }
        if track.trailing.is_hopeless() {
            return Some(now);
        }
        if track.reorder.held().1 > 0 {
            return None;
        }
        let begins_later = track.skipping.is_some() && track.reorder.position().is_none();
        if begins_later || track.reorder.is_broken() {
            return Some(now);
        }
        track.standing.from(track.interval)
    }

    /// The tracks of which a frame was pushed after an end that downstream knows, since the last call.
    pub fn take_resumed(&mut self) -> Vec<TrackId> {
        let resumed =
            |(id, track): (&TrackId, &mut Track)| std::mem::take(&mut track.resumed).then_some(*id);
        self.tracks.iter_mut().filter_map(resumed).collect()
    }

    /// A track has ended and said so downstream, and so have all others that are still being read.
    pub fn ended(&self, is_read: impl Fn(TrackId) -> bool) -> bool {
        let ended = |track: &Track| track.ended;
        self.tracks.values().any(ended)
            && self
                .tracks
                .iter()
                .all(|(id, track)| ended(track) || !is_read(*id))
    }

    pub fn has_track(&self, id: TrackId) -> bool {
        self.tracks.contains_key(&id)
    }

    /// Pushes what may be pushed at running time `now`.
    pub fn advance(&mut self, now: Nanos) -> Advanced {
        let mut wake = None;
        let ids: SmallVec<[_; TRACKS]> = self.tracks.keys().copied().collect();
        for id in &ids {
            sooner(&mut wake, self.drain_reorder(*id, now));
        }
        match self.timeline.poll(now) {
            Phase::Unsettled { check_at } => {
                if self.edge.is_none() {
                    self.push_ahead(now);
                }
                sooner(&mut wake, check_at);
            }
            Phase::Settled { edge, .. } => {
                if self.edge.is_none() {
                    self.edge = self.join_edge(edge, now);
                }
                if self.edge.is_none() {
                    sooner(&mut wake, now + STALLED);
                }
                if let Some(edge) = self.edge {
                    for id in &ids {
                        sooner(&mut wake, self.push_ready(*id, edge, now));
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

    /// Takes from the reorder buffer what is in order; says when to look again.
    fn drain_reorder(&mut self, id: TrackId, now: Nanos) -> Option<Nanos> {
        let timeline = &self.timeline;
        let track = self.tracks.get_mut(&id)?;
        // Groups that playback has passed are read no further, and their ends not told.
        if let Some((current, _)) = track.reorder.position()
            && !track.finished
        {
            track.places.retain(|seq, _| *seq >= current);
        }
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
                    // Groups begin with key frames, also where a container has no flags or leaves them out.
                    let key = first_of_group || item.key || !track.rendition.is_video();
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

    /// Pushes what is held of a track; says when to look again if that is not to be yet.
    fn push_ready(&mut self, id: TrackId, edge: Nanos, now: Nanos) -> Option<Nanos> {
        let timeline = &self.timeline;
        let track = self.tracks.get_mut(&id)?;
        if track.finished && track.held.is_empty() {
            return None;
        }
        if let Some(at) = track.not_before {
            if now < at {
                return Some(at);
            }
            track.not_before = None;
        }
        if track.edge.is_none() {
            let edge = if track.rejoined && self.start == Start::Live {
                edge.max(timeline.live_edge(now).unwrap_or(edge))
            } else {
                edge
            };
            let pushed = track.pushed_until.unwrap_or(edge);
            track.open_segment(edge.max(pushed), timeline);
        }
        if !track.held.is_empty() {
            let span = queue_span(self.latency, timeline.delay(id));
            track.queue.set_max_span(span);
        }
        while let Some(ready) = track.held.pop_front() {
            track.push(ready, timeline);
        }
        None
    }

    /// While the live edge is not found yet: has the decoders begin with the group that is under way. The newest that any track has
    /// tells how far the edge is at least, unless a track's encoder is slower than the others': then its first picture that is presented
    /// is a later one.
    fn push_ahead(&mut self, now: Nanos) {
        let Some(until) = self.timeline.heard_until() else {
            return;
        };
        if self.start == Start::Live {
            for track in self.tracks.values_mut() {
                track.push_ahead(until, now);
            }
        }
    }

    /// Tells downstream that an audio track has nothing, before a muxer or mixer waits for it. Returns when to look again.
    fn push_gap(&mut self, id: TrackId, now: Nanos) -> Option<Nanos> {
        let track = self.tracks.get_mut(&id)?;
        if track.rendition.is_video() || track.finished || track.edge.is_none() {
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

/// Media times beyond what fits are as good as the largest.
fn media_nanos(us: u64) -> Nanos {
    Nanos::try_from(us)
        .unwrap_or(Nanos::MAX / 4)
        .saturating_mul(1000)
        .min(Nanos::MAX / 4)
}

/// How late a track may come for good before the mapping is made anew. A recording would rather be late than step back.
fn tolerance(latency: Nanos, start: Start) -> Nanos {
    match start {
        Start::Live => latency,
        Start::NextGroup => NEVER,
    }
}

/// A group is given up this long before its successor would be late, so that the successor still gets through the decoder.
fn skip_margin(latency: Nanos) -> Nanos {
    (latency / 4).min(20 * MILLISECOND)
}

/// What a pad's queue may hold: all that waits for the sink's clock, and some for a downstream that hesitates. A track that is
/// ahead of the others, because their encoders take their time, waits that much longer.
fn queue_span(latency: Nanos, delay: Option<Nanos>) -> Nanos {
    let lead = delay.map_or(0, |delay| delay.saturating_neg().max(0));
    latency.saturating_add(SECOND).saturating_add(lead)
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
