//! What containers and catalogs say of frames.

use super::*;
use crate::media::catalog::Container;

/// CMAF says itself which frames are key frames and how long they last.
#[test]
fn cmaf_is_played_by_its_flags_and_durations() {
    let mut video = VideoRendition {
        codec: "vp8".into(),
        coded_width: Some(16),
        coded_height: Some(16),
        ..VideoRendition::default()
    };
    let init = container::cmaf::init_segment(&Rendition::Video(video.clone())).expect("an init");
    video.container = Container::Cmaf { init };
    let mut encoder = container::Encoder::new(&video.container).expect("an encoder");
    let mut engine = Engine::new(LATENCY, Start::Live);
    let queue = TrackQueue::new(SECOND, 1 << 20);
    engine.add_track(VIDEO, Arc::new(Rendition::Video(video)), queue.clone());
    engine.group_started(VIDEO, 0);
    let mut frames: Vec<Frame> = Vec::new();
    // Two samples an object; a second key frame within the group.
    for object in 0..50 {
        let media_ms = STARTED + object * 80;
        let mut bytes = Vec::new();
        for ms in [media_ms, media_ms + 40] {
            let sample = container::Sample {
                pts_us: ms as u64 * 1000,
                dts_us: None,
                duration_us: Some(40_000),
                key: (ms - STARTED) % 2000 == 0,
                parts: &[&[1]],
            };
            bytes.extend(encoder.encode(&sample).expect("a fragment"));
        }
        let now = (object * 80 + 80) * MS;
        engine
            .object(VIDEO, (0, object as u64), bytes.into(), now)
            .expect("well formed");
        engine.advance(now);
        frames.extend(drain(&queue).into_iter().filter_map(|item| match item {
            Item::Frame(frame) => Some(frame),
            _ => None,
        }));
    }
    assert_eq!(frames.len(), 100);
    for (index, frame) in frames.iter().enumerate() {
        assert_eq!(frame.key, index % 50 == 0, "{index}");
        assert_eq!(frame.duration, Some(40 * MS));
    }
}

#[test]
fn a_bitrate_leaves_decoding_times_as_they_are_and_another_description_does_not() {
    let mut sim = Sim::new(Start::Live);
    sim.join(400, 20, 2000);
    let Rendition::Video(video) = video_rendition() else {
        panic!("video");
    };
    let track = |sim: &Sim| sim.engine.tracks[&VIDEO].dts.is_some();
    assert!(track(&sim));
    let mut estimate = video.clone();
    estimate.bitrate = Some(1_000_000);
    sim.engine
        .reconfigure(VIDEO, Arc::new(Rendition::Video(estimate)));
    assert!(track(&sim));
    let mut larger = video;
    larger.coded_width = Some(1920);
    sim.engine
        .reconfigure(VIDEO, Arc::new(Rendition::Video(larger)));
    assert!(!track(&sim));
}

/// H.265 marks what reaches back behind its key picture (RASL) and what does not (RADL); H.264 does not.
/// Both where frames come at their pace and in a backlog, part of which is pushed before the live edge is known.
#[test]
fn of_leading_pictures_behind_a_join_only_those_that_say_they_can_be_decoded_are_played() {
    for pace_ms in [FRAME_MS, FRAME_MS / 8] {
        leading_pictures_that_come_each(pace_ms);
    }
}

fn leading_pictures_that_come_each(pace_ms: i64) {
    const CRA: u8 = 21;
    const RASL: u8 = 9;
    const RADL: u8 = 7;
    const TRAIL: u8 = 1;
    // In decoding order, each with its media time in ms; the second group has the first one before it.
    let groups = [
        &[
            (CRA, 120),
            (RASL, 40),
            (RADL, 80),
            (TRAIL, 160),
            (TRAIL, 200),
        ][..],
        &[(CRA, 320), (RASL, 240), (RASL, 280), (TRAIL, 360)],
    ];
    let video = VideoRendition {
        codec: "hev1.1.6.L63.90".into(),
        framerate: Some(25.0),
        ..VideoRendition::default()
    };
    let mut engine = Engine::new(LATENCY, Start::Live);
    let queue = TrackQueue::new(SECOND, 1 << 20);
    engine.add_track(VIDEO, Arc::new(Rendition::Video(video)), queue.clone());
    let (mut played, mut now) = (Vec::new(), 0);
    for (seq, group) in (0..).zip(groups) {
        engine.group_started(VIDEO, seq);
        for (index, (kind, media_ms)) in (0..).zip(group) {
            let payload = [&[0, 0, 0, 1, kind << 1, 1][..], &[0x80; 20]].concat();
            let object = legacy(STARTED + media_ms, &payload);
            engine
                .object(VIDEO, (seq, index), object, now)
                .expect("well formed");
            engine.advance(now);
            let items = drain(&queue);
            played.extend(frames(&items).iter().map(|frame| frame.media_us / 1000));
            now += pace_ms * MS;
        }
        engine.group_ended(VIDEO, seq, GroupEnd::Whole);
    }
    now += SECOND;
    engine.advance(now);
    let items = drain(&queue);
    played.extend(frames(&items).iter().map(|frame| frame.media_us / 1000));
    let expected = [120, 80, 160, 200, 320, 240, 280, 360];
    let expected = expected.map(|ms| (STARTED + ms) as u64);
    assert_eq!(played, expected, "one each {pace_ms} ms");
}
