//! Media times that jump, and mappings that move or have to stay.

use super::*;

#[test]
fn a_recording_keeps_its_mapping_when_the_path_becomes_slower_or_faster() {
    let mut sim = Sim::new(Start::NextGroup);
    sim.join(640, 0, 1000);
    drain(&sim.audio);
    let video = drain(&sim.video);
    let mut last = frames(&video)
        .last()
        .map(|frame| frame.pts)
        .expect("frames");
    let shift = |media: i64| match media {
        ..5000 => 0,
        5000..10_000 => 400,
        _ => 100,
    };
    for media in (1020..20_000).step_by(20) {
        let now = media + shift(media);
        if (STARTED + 640 + media) % FRAME_MS == 0 {
            sim.video(STARTED + 640 + media, now);
        }
        sim.audio(STARTED + 640 + media, now);
        for item in drain(&sim.video) {
            let Item::Frame(frame) = item else {
                panic!("no second segment, but {item:?}");
            };
            assert!(frame.pts > last && !frame.resync);
            last = frame.pts;
        }
        drain(&sim.audio);
    }
}

#[test]
fn a_mapping_that_moves_back_costs_each_track_that_much_and_none_what_another_is_ahead() {
    // Pictures come 150 ms behind the sound, and both 60 ms sooner after half a second.
    let path = |media: i64| (60 - (media - STARTED - 500) / 5).clamp(0, 60);
    let mut arrivals: Vec<(i64, bool, i64)> = Vec::new();
    for media in (STARTED..STARTED + 3000).step_by(20) {
        // Joined a quarter of a second in.
        let arrival = |behind: i64| (media - STARTED + path(media) + behind).max(250);
        arrivals.push((arrival(0), false, media));
        if media % FRAME_MS == 0 {
            arrivals.push((arrival(150), true, media));
        }
    }
    arrivals.sort_unstable();
    let mut sim = Sim::new(Start::Live);
    let (mut pictures, mut sound) = (Vec::new(), Vec::new());
    for (now, video, media) in arrivals {
        match video {
            true => sim.video(media, now),
            false => sim.audio(media, now),
        }
        pictures.extend(drain(&sim.video));
        sound.extend(drain(&sim.audio));
    }
    for (items, step) in [(pictures, FRAME_MS), (sound, 20)] {
        let (mut start, mut segments, mut shown) = (Nanos::MAX, 0, Vec::new());
        for item in &items {
            match item {
                Item::Segment { start: at, .. } => (start, segments) = (*at, segments + 1),
                Item::Frame(frame) if frame.pts >= start => shown.push(frame),
                _ => {}
            }
        }
        assert_eq!(segments, 2, "the mapping moved");
        let gaps = shown
            .windows(2)
            .map(|pair| pair[1].media_us - pair[0].media_us);
        let gap = gaps.max().expect("frames") as i64 / 1000;
        assert!(
            (step + 1..=60 + 2 * step).contains(&gap),
            "{gap} ms are missing"
        );
        let last = shown.last().expect("frames");
        assert_eq!(last.pts / MS, last.media_us as i64 / 1000 - STARTED + 150);
    }
}

/// A file that a publisher loops: group numbers go on where media times begin again.
#[test]
fn media_times_that_go_back_while_the_live_edge_is_looked_for_leave_no_stamp_that_goes_back() {
    let mut sim = Sim::new(Start::Live);
    let mut items = Vec::new();
    let mut send = |sim: &mut Sim, seq: u64, index: i64, media_ms: i64, now_ms: i64| {
        if index == 0 {
            sim.engine.group_started(VIDEO, seq);
        }
        let payload = legacy(media_ms, &[0; 100]);
        let object = sim
            .engine
            .object(VIDEO, (seq, index as u64), payload, now_ms * MS);
        object.expect("well formed");
        sim.engine.advance(now_ms * MS);
        items.extend(drain(&sim.video));
    };
    for index in 0..10 {
        send(&mut sim, 7, index, STARTED + index * FRAME_MS, 0);
    }
    for index in 0..50 {
        send(&mut sim, 8, index, index * FRAME_MS, 30 + index * FRAME_MS);
    }
    let (mut shift, mut stamps) = (0, Vec::new());
    for item in &items {
        match item {
            Item::CatchUp { shift: next, .. } | Item::Segment { shift: next, .. } => shift = *next,
            Item::Frame(frame) => stamps.push(frame.pts + shift),
            _ => {}
        }
    }
    assert!(stamps.len() > 50, "{}", stamps.len());
    assert!(stamps.is_sorted(), "{stamps:?}");
}
