//! Players that ask for key frames, and an encoder that makes none of itself.

use std::time::{Duration, Instant};

use gst::prelude::*;

use super::{Pipeline, Record, Seen, publisher::BROADCAST, wait_until};

/// Frames after which what was to come has come: a second and a half.
pub const MANY: usize = 45;

/// No key frame but those that somebody asks for.
pub fn publisher(to: &str) -> Pipeline {
    Pipeline::play(&format!(
        "moqsink name=sink {to} broadcast={BROADCAST} sink_0::track=v \
         videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1,format=I420 ! \
         x264enc tune=zerolatency speed-preset=ultrafast key-int-max=100000 option-string=scenecut=0 ! h264parse ! sink.sink_0"
    ))
}

/// Plays, and has what it gets recorded.
pub fn player(to: &str) -> (Pipeline, Record) {
    let pipeline = Pipeline::launch(&format!(
        "moqsrc name=src {to} broadcast={BROADCAST} src.video_0 ! queue ! fakesink name=video sync=false"
    ));
    let record = pipeline.record("video");
    pipeline.set(gst::State::Playing);
    (pipeline, record)
}

/// Waits until what joining had made is there.
pub fn settle(record: &Record) {
    record.wait_count(MANY);
}

/// As a decoder does it; whether somebody took it.
pub fn ask(player: &Pipeline) -> bool {
    let structure = gst::Structure::builder("GstForceKeyUnit")
        .field("running-time", gst::ClockTime::NONE)
        .field("all-headers", true)
        .field("count", 0u32)
        .build();
    let pad = player.by_name("video").static_pad("sink").expect("a pad");
    pad.push_event(gst::event::CustomUpstream::new(structure))
}

pub fn keys(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.is_key()).count()
}

pub fn wait_more(record: &Record, frames: usize) -> Vec<Seen> {
    record.wait_count(record.len() + frames)
}

/// A counter of the structure `requests` in moqsink's stats.
pub fn counted(publisher: &Pipeline, name: &str) -> u64 {
    let stats: gst::Structure = publisher.by_name("sink").property("stats");
    let requests: gst::Structure = stats.get("requests").expect("requests are allowed");
    requests.get(name).expect(name)
}

/// How often moqsrc asked.
pub fn sent(player: &Pipeline) -> u64 {
    let stats: gst::Structure = player.by_name("src").property("stats");
    let tracks: gst::ArrayRef = stats.get("tracks").expect("tracks");
    let track: gst::Structure = tracks[0].get().expect("a structure");
    track.get("key-requests").expect("key-requests")
}

/// Time from the question to the key frame at the player.
pub fn asks_and_gets(player: &Pipeline, record: &Record) -> Duration {
    let before = keys(&record.all());
    let asked = Instant::now();
    assert!(ask(player), "the event is taken");
    record.wait("a key frame", |seen| keys(seen) > before);
    asked.elapsed()
}

/// Has `player` ask twice: over the connection that is dialled for it, and over the one that is there.
pub fn plays_what_it_asks_for(to: &str) {
    let to = format!("{to} allow-requests=true");
    let publisher = publisher(&to);
    let (player, record) = player(&to);
    settle(&record);
    let first = asks_and_gets(&player, &record);
    wait_more(&record, 20);
    let second = asks_and_gets(&player, &record);
    let version: String = player.by_name("src").property("moq-version");
    eprintln!("{version}: {first:?}, and {second:?} over the connection that is there");
    assert!(first < Duration::from_secs(3) && second < Duration::from_secs(2));
    assert!(counted(&publisher, "granted") >= 2);
    assert_eq!(counted(&publisher, "refused"), 0);
    wait_until("moqsrc counts what it asked for", || sent(&player) >= 2);
}
