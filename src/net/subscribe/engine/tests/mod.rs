//! Playout in virtual time: frames go in as a path would deliver them, items come out.

mod ends;
mod formats;
mod keys;
mod mapping;

use bytes::Bytes;

use super::*;
use crate::{
    media::{
        catalog::{AudioRendition, VideoRendition},
        container,
    },
    net::subscribe::queue::{Frame, Popped},
};

const MS: Nanos = MILLISECOND;
const VIDEO: TrackId = TrackId(0);
const AUDIO: TrackId = TrackId(1);
/// 33 ms would not divide the group.
const FRAME_MS: i64 = 40;
const GOP: i64 = 25;
const LATENCY: Nanos = 200 * MS;

/// Media time zero was this long before running time zero: a publisher that has run for a while.
const STARTED: i64 = 100_000;

struct Sim {
    engine: Engine,
    video: Queue,
    audio: Queue,
    /// Objects of the video's group that are none of its frames.
    broken: u64,
}

impl Sim {
    fn new(start: Start) -> Self {
        let mut engine = Engine::new(LATENCY, start);
        let video = TrackQueue::new(SECOND, 1 << 20);
        let audio = TrackQueue::new(SECOND, 1 << 20);
        engine.add_track(VIDEO, Arc::new(video_rendition()), video.clone());
        engine.add_track(AUDIO, Arc::new(audio_rendition()), audio.clone());
        Self {
            engine,
            video,
            audio,
            broken: 0,
        }
    }

    /// The video frame of media time `media_ms` arrives at `now_ms`.
    fn video(&mut self, media_ms: i64, now_ms: i64) {
        let n = media_ms / FRAME_MS;
        let seq = (n / GOP) as u64;
        if n % GOP == 0 {
            self.engine.group_started(VIDEO, seq);
        }
        let payload = legacy(media_ms, &[0; 100]);
        self.engine
            .object(
                VIDEO,
                (seq, (n % GOP) as u64 + self.broken),
                payload,
                now_ms * MS,
            )
            .expect("well formed");
        if n % GOP == GOP - 1 {
            self.engine.group_ended(VIDEO, seq, GroupEnd::Whole);
        }
        self.engine.advance(now_ms * MS);
    }

    /// A packet of 20 ms; a group a second.
    fn audio(&mut self, media_ms: i64, now_ms: i64) {
        let seq = (media_ms / 1000) as u64;
        let index = (media_ms % 1000 / 20) as u64;
        // TOC: CELT fullband, 20 ms, one frame.
        let payload = legacy(media_ms, &[31 << 3, 0, 0]);
        self.engine
            .object(AUDIO, (seq, index), payload, now_ms * MS)
            .expect("well formed");
        if media_ms % 1000 == 980 {
            self.engine.group_ended(AUDIO, seq, GroupEnd::Whole);
        }
        self.engine.advance(now_ms * MS);
    }

    /// Joins at running time 0, `into_ms` after the start of a group: the backlog comes in a burst, then frames in time, each
    /// `path_ms` after its media time, for `play_ms`.
    fn join(&mut self, into_ms: i64, path_ms: i64, play_ms: i64) {
        let group = STARTED;
        let live = STARTED + into_ms;
        let arrival = |media: i64| (media - live + path_ms).max(0);
        let mut media = group;
        while arrival(media) <= play_ms {
            let now = arrival(media);
            if media % FRAME_MS == 0 {
                self.video(media, now);
            }
            if media % 20 == 0 {
                self.audio(media, now);
            }
            self.engine.advance(now * MS);
            media += 20;
        }
    }
}

fn legacy(media_ms: i64, payload: &[u8]) -> Bytes {
    let media_us = u64::try_from(media_ms * 1000).expect("not negative");
    container::legacy::encode(media_us, &[payload]).expect("fits")
}

fn video_rendition() -> Rendition {
    Rendition::Video(VideoRendition {
        codec: "avc3.42c01e".into(),
        framerate: Some(1000.0 / FRAME_MS as f64),
        ..VideoRendition::default()
    })
}

fn audio_rendition() -> Rendition {
    Rendition::Audio(AudioRendition {
        codec: "opus".into(),
        sample_rate: 48_000,
        channels: 2,
        ..AudioRendition::default()
    })
}

/// What waits in a queue, without taking more than is there.
fn drain(queue: &Queue) -> Vec<Item<Arc<Rendition>>> {
    queue.push(Item::Eos);
    let mut items = Vec::new();
    loop {
        match queue.pop() {
            Popped::Item(Item::Eos) => return items,
            Popped::Item(item) => items.push(item),
            Popped::Flushing => panic!("nobody flushes"),
        }
    }
}

fn segment(items: &[Item<Arc<Rendition>>]) -> Nanos {
    let mut starts = items.iter().filter_map(|item| match item {
        Item::Segment { start, .. } => Some(*start),
        _ => None,
    });
    let start = starts.next().expect("a segment");
    assert_eq!(starts.next(), None, "one segment only");
    start
}

/// With running times that all are of the last segment.
fn frames(items: &[Item<Arc<Rendition>>]) -> Vec<Frame> {
    let shifts = items.iter().filter_map(|item| match item {
        Item::Segment { shift, .. } => Some(*shift),
        _ => None,
    });
    let last = shifts.last().unwrap_or(0);
    let mut shift = last;
    let mut frames = Vec::new();
    for item in items {
        match item {
            Item::CatchUp { shift: next, .. } | Item::Segment { shift: next, .. } => shift = *next,
            Item::Frame(frame) => frames.push(Frame {
                pts: frame.pts + shift - last,
                ..frame.clone()
            }),
            _ => {}
        }
    }
    frames
}

#[test]
fn a_join_opens_at_the_live_edge_and_decodes_from_the_key_frame() {
    for into_ms in [0, 200, 640, 900] {
        let mut sim = Sim::new(Start::Live);
        sim.join(into_ms, 0, 500);
        let video = drain(&sim.video);
        assert!(matches!(video[0], Item::Config(_)));
        let start = segment(&video);
        assert!(
            (0..=80 * MS).contains(&start),
            "{into_ms}: the edge is now, not {start}"
        );
        let video = frames(&video);
        assert!(video[0].key && video[0].discont && video[0].resync);
        assert_eq!(video[0].media_us, STARTED as u64 * 1000);
        for frame in &video {
            // Presented at running time + latency: a constant after it was made.
            assert_eq!(
                frame.pts,
                (frame.media_us as i64 / 1000 - STARTED - into_ms) * MS,
                "{into_ms}"
            );
        }
        assert!(
            video
                .windows(2)
                .all(|pair| !pair[1].discont && !pair[1].resync)
        );
    }
}

#[test]
fn a_decoder_begins_before_the_edge_is_known_and_timestamps_never_step_back() {
    let mut sim = Sim::new(Start::Live);
    // A backlog that comes at four times its pace: the edge is known when it is over.
    let live = STARTED + 960;
    for media in (STARTED..live).step_by(FRAME_MS as usize) {
        sim.video(media, (media - STARTED) / 4);
    }
    let ahead = drain(&sim.video);
    assert!(matches!(ahead[1], Item::CatchUp { .. }), "{:?}", ahead[1]);
    let first = frames(&ahead);
    assert!(first[0].key && first[0].discont && first[0].resync);
    // The newest waits, for it may be presented.
    let newest = first.last().expect("frames").media_us as i64 / 1000;
    assert!(newest == live - 2 * FRAME_MS, "{newest}");

    for media in (live..live + 480).step_by(FRAME_MS as usize) {
        sim.video(media, 240 + media - live);
    }
    let rest = drain(&sim.video);
    let edge = segment(&rest);
    let stamps = |items: &[Item<Arc<Rendition>>]| {
        let mut shift = 0;
        let mut stamps = Vec::new();
        for item in items {
            match item {
                Item::CatchUp { shift: next, .. } | Item::Segment { shift: next, .. } => {
                    shift = *next;
                }
                Item::Frame(frame) => stamps.push(frame.pts + shift),
                _ => {}
            }
        }
        stamps
    };
    let all: Vec<_> = [stamps(&ahead), stamps(&rest)].concat();
    let steps: Vec<_> = all.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| *step == FRAME_MS * MS), "{steps:?}");
    // Presentation begins with the newest, or with the next.
    let caught_up = frames(&rest).iter().filter(|it| it.pts < edge).count();
    assert!(caught_up <= 1, "{caught_up}");
}

#[test]
fn sound_from_before_the_edge_is_dropped_and_the_rest_is_in_sync() {
    let mut sim = Sim::new(Start::Live);
    sim.join(640, 0, 500);
    let (video, audio) = (drain(&sim.video), drain(&sim.audio));
    let start = segment(&audio);
    assert_eq!(start, segment(&video));
    let audio = frames(&audio);
    assert!(audio[0].pts + 20 * MS > start && audio[0].pts <= start);
    assert!(audio.iter().all(|packet| packet.duration == Some(20 * MS)));
    let offset = |frame: &Frame| frame.pts - frame.media_us as i64 * 1000;
    assert_eq!(offset(&audio[0]), offset(&frames(&video)[0]));
}

#[test]
fn a_recording_starts_with_the_next_key_frame() {
    let mut sim = Sim::new(Start::NextGroup);
    sim.join(640, 0, 900);
    let (video, audio) = (drain(&sim.video), drain(&sim.audio));
    let start = segment(&video);
    assert_eq!(segment(&audio), start);
    let video = frames(&video);
    assert_eq!(video[0].media_us, (STARTED as u64 + 1000) * 1000);
    assert!(video[0].key);
    assert_eq!(video[0].pts, start);
    assert!(frames(&audio)[0].pts + 20 * MS > start);
}

#[test]
fn a_group_that_stalls_is_left_in_time_for_the_next_one() {
    let mut sim = Sim::new(Start::Live);
    sim.join(0, 0, 400);
    drain(&sim.video);
    // The rest of the first group never comes; the next begins in time.
    for media in (STARTED + 1000..STARTED + 1400).step_by(20) {
        let now = media - STARTED;
        if media % FRAME_MS == 0 {
            sim.video(media, now);
        }
        sim.audio(media, now);
    }
    let video = drain(&sim.video);
    let video = frames(&video);
    assert_eq!(video[0].media_us, (STARTED as u64 + 1000) * 1000);
    assert!(video[0].key && video[0].discont && !video[0].resync);
    assert_eq!(
        sim.engine
            .stats(VIDEO)
            .expect("a track")
            .dropped
            .skipped_groups,
        1
    );
}

#[test]
fn a_silent_audio_track_gives_gaps_that_join_up() {
    let mut sim = Sim::new(Start::Live);
    sim.join(0, 0, 200);
    drain(&sim.audio);
    for now in (220..1200).step_by(20) {
        if now % FRAME_MS == 0 {
            sim.video(STARTED + now, now);
        }
        sim.engine.advance(now * MS);
    }
    let audio = drain(&sim.audio);
    let mut end = None;
    for item in &audio {
        let Item::Gap { start, duration } = item else {
            panic!("only gaps, not {item:?}");
        };
        assert!(end.is_none_or(|end| end == *start) && *duration > 0);
        end = Some(start + duration);
    }
    let end = end.expect("gaps");
    assert!(
        (1180 * MS - LATENCY..=1220 * MS - LATENCY).contains(&(end)),
        "{end}"
    );
}

#[test]
fn a_finished_track_ends_after_its_last_frame() {
    let mut sim = Sim::new(Start::Live);
    sim.join(0, 0, 480);
    let before = frames(&drain(&sim.video)).len();
    assert!(before > 0);
    sim.engine
        .group_ended(VIDEO, (STARTED / 1000) as u64, GroupEnd::Whole);
    sim.engine.track_finished(VIDEO);
    assert!(!sim.engine.ended(|_| true));
    sim.engine.track_finished(AUDIO);
    sim.engine
        .group_ended(AUDIO, (STARTED / 1000) as u64, GroupEnd::Whole);
    sim.engine.advance(500 * MS);
    assert!(sim.engine.ended(|_| true));
    assert_eq!(sim.video.pop(), Popped::Item(Item::Eos));
}

#[test]
fn another_publisher_goes_on_later_in_running_time_with_a_new_segment() {
    let mut sim = Sim::new(Start::Live);
    sim.join(640, 0, 500);
    let last = frames(&drain(&sim.video))
        .last()
        .map(|frame| frame.pts)
        .expect("frames");
    drain(&sim.audio);
    sim.engine.rejoin();
    // Media time from zero.
    for media in (0..800).step_by(20) {
        let now = 1000 + media;
        if media % FRAME_MS == 0 {
            sim.video(media, now);
        }
        sim.audio(media, now);
    }
    let video = drain(&sim.video);
    assert!(segment(&video) > last);
    let video = frames(&video);
    assert!(video[0].discont && video[0].resync && video[0].key);
    assert_eq!(video[0].pts, 1000 * MS);
}

#[test]
fn a_malformed_frame_costs_nothing_but_itself() {
    let mut sim = Sim::new(Start::Live);
    sim.join(0, 0, 200);
    let place = ((STARTED / 1000) as u64, 6);
    let broken = sim.engine.object(VIDEO, place, Bytes::new(), 210 * MS);
    sim.broken = 1;
    assert!(broken.is_err());
    sim.video(STARTED + 240, 240);
    let video = drain(&sim.video);
    assert!(frames(&video).iter().skip(1).all(|frame| !frame.discont));
    assert_eq!(
        sim.engine.stats(VIDEO).expect("a track").malformed_frames,
        1
    );
}

#[test]
fn sound_that_is_ahead_of_a_slow_video_encoder_waits_and_is_not_lost() {
    let mut sim = Sim::new(Start::Live);
    // The encoder holds pictures for 3 s; nothing is taken from the queues meanwhile.
    for now in (0..2000).step_by(20) {
        sim.audio(STARTED + now, now);
        if now % FRAME_MS == 0 {
            sim.video(STARTED + now - 3000, now);
        }
    }
    let audio = drain(&sim.audio);
    let packets = frames(&audio);
    assert_eq!(sim.audio.dropped(), (0, 0));
    let end = packets.last().expect("packets").pts;
    assert!(
        end > 4900 * MS,
        "the last packet is for 3 s later, not {end}"
    );
    assert!(
        packets
            .windows(2)
            .all(|pair| pair[1].pts - pair[0].pts <= 21 * MS)
    );
}

#[test]
fn a_frame_rate_that_cannot_be_does_not_hide_what_follows() {
    for framerate in [1e-300, 0.01] {
        let mut sim = Sim::new(Start::Live);
        let rendition = Rendition::Video(VideoRendition {
            codec: "avc3.42c01e".into(),
            framerate: Some(framerate),
            ..VideoRendition::default()
        });
        sim.engine.reconfigure(VIDEO, Arc::new(rendition));
        sim.join(0, 0, 500);
        drain(&sim.video);
        sim.engine.rejoin();
        for media in (3000..5000).step_by(20) {
            if media % FRAME_MS == 0 {
                sim.video(media, media);
            }
            sim.audio(media, media);
        }
        let start = segment(&drain(&sim.video));
        assert!(start <= 3100 * MS, "shown from now on, not from {start}");
    }
}

#[test]
fn a_track_that_is_silent_from_the_start_gives_gaps_from_the_edge_on() {
    let mut sim = Sim::new(Start::Live);
    for now in (0..1000).step_by(FRAME_MS as usize) {
        sim.video(STARTED + now, now);
    }
    let audio = drain(&sim.audio);
    let start = segment(&audio);
    let first = audio.iter().find_map(|item| match item {
        Item::Gap { start, .. } => Some(*start),
        _ => None,
    });
    assert_eq!(first, Some(start));
}

#[test]
fn a_recording_does_not_wait_for_a_camera_that_stalls() {
    let mut sim = Sim::new(Start::NextGroup);
    sim.join(640, 0, 300);
    for now in (320..3000).step_by(20) {
        sim.audio(STARTED + 640 + now, now);
    }
    let audio = drain(&sim.audio);
    assert!((1200 * MS..1500 * MS).contains(&segment(&audio)));
    assert!(frames(&audio).len() > 50);
}

/// As when a second connection takes over while the first still delivers.
#[test]
fn a_group_that_comes_again_goes_on_where_it_was() {
    let mut sim = Sim::new(Start::Live);
    sim.join(0, 0, 200);
    let before = frames(&drain(&sim.video)).len();
    // From its start, and further than it had come.
    for media in (0..=400).step_by(FRAME_MS as usize) {
        sim.video(STARTED + media, 400);
    }
    let video = drain(&sim.video);
    let again = frames(&video);
    assert_eq!(before + again.len(), 11);
    assert!(again.iter().all(|frame| !frame.key && !frame.discont));
}
