//! One track of a broadcast that is played: what is held of it, and how its frames are stamped.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::{Queue, media_nanos, standing::Standing, trailing::Trailing};
use crate::{
    media::{
        catalog::{Rendition, VideoRendition},
        codec::Codec,
        container, h264, h265,
        timing::{PacketTiming, Reordering, nal_format},
    },
    net::subscribe::queue::{CATCH_UP, Frame, Item},
    policy::{
        Nanos, SECOND,
        dts::Dts,
        reorder::{self, Dropped, Reorder},
        timeline::Timeline,
    },
};

/// A lower frame rate than one in ten seconds is none.
const LONGEST_FRAME: Nanos = 10 * SECOND;

/// Groups of which it is remembered that they were seen: as many as a track has open within its latency.
const REMEMBERED: usize = 256;

/// How far ahead a frame's duration may reserve running time.
const LONGEST_CLAIM: Nanos = SECOND;

/// Counters of one track.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrackStats {
    pub groups: u64,
    pub frames: u64,
    pub bytes: u64,
    /// Frames that came after the time at which they were to be presented.
    pub late_frames: u64,
    pub malformed_frames: u64,
    /// How often a key frame of it was asked for.
    pub key_requests: u64,
    pub dropped: Dropped,
    /// How far behind the timeline this track's best frames are.
    pub delay: Nanos,
    pub jitter: Nanos,
}

/// One access unit or packet, as its container has it.
pub(super) struct Unit {
    pub(super) media_us: u64,
    /// Where the container says it.
    pub(super) duration_us: Option<u64>,
    /// The container says that decoding can start here.
    pub(super) key: bool,
    pub(super) payload: Bytes,
}

/// A unit that may be pushed as soon as the timeline is known.
pub(super) struct Ready {
    pub(super) unit: Unit,
    pub(super) media: Nanos,
    pub(super) discont: bool,
    pub(super) key: bool,
}

/// How far a group has come: its next object, and its next frame.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    objects: u64,
    frames: u64,
}

pub(super) struct Track {
    pub(super) rendition: Arc<Rendition>,
    pub(super) queue: Queue,
    pub(super) format: Option<container::Decoder>,
    pub(super) packets: PacketTiming,
    pub(super) reorder: Reorder<Unit>,
    /// Place of the next frame in each group that is being read. Markers have no place.
    pub(super) places: BTreeMap<u64, Place>,
    pub(super) dts: Option<Dts>,
    /// Knows the reorder depth: from the description, or from the first key frame's parameter sets.
    pub(super) dts_known: bool,
    /// By how many frames the track reorders, where its parameter sets say so.
    pub(super) stated_depth: Option<usize>,
    pub(super) held: VecDeque<Ready>,
    /// With [`Start::NextGroup`]: the group that was under way when this track was joined.
    pub(super) skipping: Option<u64>,
    pub(super) joined_group: bool,
    /// The segment in which this track presents; none until it is joined.
    pub(super) edge: Option<Nanos>,
    /// Running time up to which frames were pushed.
    pub(super) pushed_until: Option<Nanos>,
    /// The running time that media time zero is taken to have, for frames that are pushed before that is known.
    pub(super) ahead: Option<Nanos>,
    /// What timestamps are ahead of running time by, and the largest that was pushed: they never step back.
    shift: Nanos,
    stamped: Nanos,
    /// When a frame last arrived.
    pub(super) heard: Option<Nanos>,
    pub(super) standing: Standing,
    pub(super) trailing: Trailing,
    pub(super) last_media: Option<Nanos>,
    pub(super) interval: Option<Nanos>,
    pub(super) rejoined: bool,
    pub(super) discont: bool,
    /// Something is missing before the key frame that is presented then: what it has to make up for is not decodable.
    broken_before: Option<Nanos>,
    pub(super) finished: bool,
    pub(super) ended: bool,
    /// The newest groups, each with the media time of its first frame in µs: what a relay still has of a track that ended is
    /// known by them.
    seen: VecDeque<(u64, u64)>,
    /// A beginning after an end: nothing is pushed before what preceded the end was presented.
    pub(super) not_before: Option<Nanos>,
    /// A frame was pushed after an end that downstream knows.
    pub(super) resumed: bool,
    pub(super) stats: TrackStats,
}

impl Track {
    pub(super) fn new(rendition: Arc<Rendition>, queue: Queue, latency: Nanos) -> Self {
        let ended = queue.ended();
        let mut track = Self {
            format: None,
            packets: PacketTiming::Unknown,
            reorder: Reorder::new(reorder_config(&rendition)),
            places: BTreeMap::new(),
            rendition: rendition.clone(),
            queue,
            dts: None,
            dts_known: false,
            stated_depth: None,
            held: VecDeque::new(),
            skipping: None,
            joined_group: false,
            edge: None,
            pushed_until: ended,
            ahead: None,
            shift: 0,
            stamped: Nanos::MIN / 2,
            heard: None,
            standing: Standing::default(),
            trailing: Trailing::default(),
            last_media: None,
            interval: None,
            rejoined: true,
            discont: true,
            broken_before: None,
            finished: false,
            ended: false,
            seen: VecDeque::new(),
            not_before: ended.map(|until| until + latency),
            resumed: false,
            stats: TrackStats::default(),
        };
        track.configure();
        track
    }

    /// What does not concern the decoder leaves what is under way as it is.
    pub(super) fn set_rendition(&mut self, rendition: Arc<Rendition>) {
        let goes_on = self.rendition.same_decoder(&rendition);
        self.rendition = rendition;
        if goes_on {
            self.take_framerate();
        } else {
            self.configure();
        }
    }

    fn configure(&mut self) {
        self.take_framerate();
        self.format = container::Decoder::new(self.rendition.container()).ok();
        self.dts = None;
        self.stated_depth = None;
        self.dts_known = !self.rendition.is_video();
        let reordering = match &*self.rendition {
            Rendition::Audio(audio) => {
                self.packets = PacketTiming::new(audio);
                None
            }
            Rendition::Video(video) => Reordering::new(video),
        };
        if reordering.is_some() {
            self.learn_depth(reordering);
        }
    }

    fn take_framerate(&mut self) {
        if let Rendition::Video(video) = &*self.rendition {
            self.interval = video
                .framerate
                .filter(|rate| *rate > 0.0)
                .map(|rate| ((1e9 / rate) as Nanos).min(LONGEST_FRAME));
        }
    }

    /// Without a configuration that can be read, the depth is learnt as frames come.
    fn learn_depth(&mut self, reordering: Option<Reordering>) {
        let stated = reordering.filter(|reordering| reordering.stated);
        self.stated_depth = stated.map(|reordering| usize::from(reordering.depth));
        let depth = reordering.map_or(0, |reordering| usize::from(reordering.depth));
        self.dts = Some(Dts::new(depth, self.interval));
        self.dts_known = true;
    }

    /// The first key frame has the parameter sets if the catalog has not.
    pub(super) fn learn_from_key_frame(&mut self, access_unit: &[u8]) {
        if !self.dts_known
            && let Rendition::Video(video) = &*self.rendition
        {
            let reordering = Reordering::of_key_frame(video, access_unit);
            self.learn_depth(reordering);
        }
    }

    pub(super) fn rejoin(&mut self) {
        self.reorder.reset();
        self.places.clear();
        self.held.clear();
        if let Some(dts) = &mut self.dts {
            dts.reset();
        }
        self.skipping = None;
        self.joined_group = false;
        self.edge = None;
        self.ahead = None;
        self.standing.reset();
        self.trailing.reset();
        self.last_media = None;
        self.rejoined = true;
        self.discont = true;
    }

    /// The same track after its end: what was pushed and counted stands, the rest is as at a first join.
    pub(super) fn begin_again(self, latency: Nanos) -> Self {
        let mut next = Self::new(self.rendition, self.queue, latency);
        next.reorder = self.reorder;
        next.reorder.reset();
        next.pushed_until = self.pushed_until;
        next.seen = self.seen;
        next.shift = self.shift;
        next.stamped = self.stamped;
        next.stats = self.stats;
        next
    }

    /// Another publisher: groups are numbered anew, and what ended may begin again.
    pub(super) fn forget(&mut self, latency: Nanos) {
        self.seen.clear();
        self.finished = false;
        if std::mem::take(&mut self.ended) {
            self.not_before = self.queue.ended().map(|until| until + latency);
            self.queue.push(Item::Config(self.rendition.clone()));
        }
    }

    /// Remembers a group by its first frame; false if it was seen before.
    pub(super) fn note_group(&mut self, seq: u64, media_us: u64) -> bool {
        if self.seen.contains(&(seq, media_us)) {
            return false;
        }
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back((seq, media_us));
        true
    }

    pub(super) fn skips(&self, seq: u64) -> bool {
        self.skipping.is_some_and(|skipped| seq <= skipped)
    }

    /// Presentation starts at `edge`; what is not needed to decode from there is dropped.
    pub(super) fn open_segment(&mut self, edge: Nanos, timeline: &Timeline) {
        let running = |ready: &Ready| timeline.to_running(ready.media);
        if self.rendition.is_video() {
            let first = self
                .held
                .iter()
                .rposition(|ready| ready.key && running(ready).is_some_and(|at| at <= edge));
            self.held.drain(..first.unwrap_or(0));
        }
        self.edge = Some(edge);
        // Silence from the start on is a gap, too.
        self.pushed_until = Some(self.pushed_until.map_or(edge, |until| until.max(edge)));
        match (self.ahead.take(), timeline.to_running(0)) {
            (Some(taken), Some(zero)) => self.shift += taken - zero,
            _ => self.shift = self.shift.max(self.stamped - edge),
        }
        let shift = self.shift;
        self.queue.push(Item::Segment { start: edge, shift });
    }

    /// Pushes frames of before `until`, in media time, while it is not known yet when they are presented: a decoder that begins now has
    /// caught up by then.
    pub(super) fn push_ahead(&mut self, until: Nanos, now: Nanos) {
        let waits = self.not_before.is_some_and(|at| now < at);
        if !self.rendition.is_video() || self.edge.is_some() || self.finished || waits {
            return;
        }
        while let Some(ready) = self.held.front() {
            let begins = self.ahead.is_none();
            let zero = self.ahead.unwrap_or(now - ready.media);
            let pts = ready.media + zero;
            if ready.media >= until || (begins && !ready.key) || pts > now + CATCH_UP / 2 {
                return;
            }
            if begins {
                self.ahead = Some(zero);
                self.shift = self.shift.max(self.stamped - now);
                let shift = self.shift;
                self.queue.push(Item::CatchUp { at: now, shift });
            }
            let Some(ready) = self.held.pop_front() else {
                return;
            };
            if !self.is_broken(&ready) {
                let duration = self.duration(&ready);
                self.stamp(ready, pts, duration, |media| Some(media + zero));
            }
        }
    }

    pub(super) fn push(&mut self, ready: Ready, timeline: &Timeline) {
        let (Some(pts), Some(edge)) = (timeline.to_running(ready.media), self.edge) else {
            return;
        };
        if self.is_broken(&ready) {
            return;
        }
        let duration = self.duration(&ready);
        if !self.rendition.is_video() && pts + duration.unwrap_or(0) <= edge {
            return;
        }
        // A frame that claims to last for long must not keep what comes after it from being shown.
        let end = pts.saturating_add(duration.unwrap_or(0).min(LONGEST_CLAIM));
        self.pushed_until = Some(self.pushed_until.map_or(end, |until| until.max(end)));
        self.stamp(ready, pts, duration, |media| timeline.to_running(media));
    }

    /// Into the queue, with its timestamps as running times.
    fn stamp(
        &mut self,
        ready: Ready,
        pts: Nanos,
        duration: Option<Nanos>,
        to_running: impl Fn(Nanos) -> Option<Nanos>,
    ) {
        let discont = std::mem::take(&mut self.discont) || ready.discont;
        if discont && let Some(dts) = &mut self.dts {
            dts.skip();
        }
        // DTS is made in media time, so that a correction of the mapping moves both alike.
        let dts = self.dts.as_mut().map(|dts| dts.next(ready.media));
        self.stamped = self.stamped.max(pts.saturating_add(self.shift));
        self.resumed |= self.queue.push(Item::Frame(Frame {
            pts,
            dts: dts.and_then(to_running).map(|dts| dts.min(pts)),
            duration,
            media_us: ready.unit.media_us,
            key: ready.key,
            discont,
            resync: std::mem::take(&mut self.rejoined),
            payload: ready.unit.payload,
        }));
    }

    /// A leading picture of an open GOP whose references are not there: decoders that go on after a gap, or that do not tell them
    /// (H.264 has no mark for them), would show it broken.
    fn is_broken(&mut self, ready: &Ready) -> bool {
        let Rendition::Video(video) = &*self.rendition else {
            return false;
        };
        if ready.key && (ready.discont || self.discont) {
            self.broken_before = is_open(video, &ready.unit.payload).then_some(ready.media);
            return false;
        }
        match self.broken_before {
            Some(key) if ready.media < key => !is_decodable_leading(video, &ready.unit.payload),
            _ => {
                self.broken_before = None;
                false
            }
        }
    }

    /// Whether this object of a group was not there before; what is missing in front of it is a hole.
    pub(super) fn is_next_object(&mut self, seq: u64, index: u64) -> bool {
        let place = self.places.entry(seq).or_default();
        let Some(missing) = index.checked_sub(place.objects) else {
            return false;
        };
        place.objects = index.saturating_add(1);
        place.frames = place.frames.saturating_add(missing);
        true
    }

    /// The place of the next frame in its group.
    pub(super) fn place(&mut self, seq: u64) -> u64 {
        let next = &mut self.places.entry(seq).or_default().frames;
        let place = *next;
        *next += 1;
        place
    }

    /// Of sound, from the packet where it says so, else from the container. Of pictures, from the container, else from the
    /// frame rate, else from the frames so far.
    fn duration(&mut self, ready: &Ready) -> Option<Nanos> {
        let contained = ready.unit.duration_us.filter(|us| *us > 0);
        let contained = contained.map(|us| media_nanos(us).min(LONGEST_FRAME));
        match &*self.rendition {
            Rendition::Audio(_) => self
                .packets
                .duration_ns(&ready.unit.payload)
                .and_then(|ns| Nanos::try_from(ns).ok())
                .or(contained),
            Rendition::Video(_) if contained.is_some() => contained,
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

/// Pictures behind this key frame may refer to what is before it.
fn is_open(video: &VideoRendition, payload: &[u8]) -> bool {
    let format = || nal_format(video);
    match Codec::parse(&video.codec) {
        Codec::H264(_) => !h264::is_idr(payload, format()),
        Codec::H265(_) => h265::picture(payload, format()) != Some(h265::Picture::Idr),
        _ => false,
    }
}

/// It is shown before its key frame, and says that it refers to nothing before that: H.265 alone has a mark for it.
fn is_decodable_leading(video: &VideoRendition, payload: &[u8]) -> bool {
    matches!(Codec::parse(&video.codec), Codec::H265(_))
        && h265::picture(payload, nal_format(video)) == Some(h265::Picture::Radl)
}

fn reorder_config(rendition: &Rendition) -> reorder::Config {
    reorder::Config {
        independent: !rendition.is_video(),
        // Groups of a single packet and a latency of seconds go together.
        max_groups: 256,
        ..reorder::Config::default()
    }
}
