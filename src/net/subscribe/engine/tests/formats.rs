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
