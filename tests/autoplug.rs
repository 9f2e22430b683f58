//! Bins that choose parsers and decoders by themselves, behind moqsrc.

mod common;

use common::{Pipeline, init, publisher::Publisher};
use gstmoq::net::relay::{Relay, RelayConfig};

/// Plays through these branches; counts what comes out of `video` and `audio`.
fn plays(branches: &str) {
    init();
    let relay = Relay::start(RelayConfig::local()).expect("a relay");
    let publisher = Publisher::start(&relay.url(), 30);
    let player = Pipeline::launch(&format!(
        "moqsrc name=s url={} broadcast={} {branches}",
        relay.url(),
        common::publisher::BROADCAST
    ));
    let (video, audio) = (player.record("video"), player.record("audio"));
    player.set(gst::State::Playing);
    let pictures = video.wait_count(30);
    // Decoded, not passed on: a picture of 640×360 in 4:2:0 has at least so many bytes.
    assert!(
        pictures
            .iter()
            .all(|picture| picture.size >= 640 * 360 * 3 / 2)
    );
    // 20 ms of two channels of at least 16 bit.
    let sound = audio.wait_count(30);
    assert!(sound.iter().skip(1).all(|sound| sound.size >= 960 * 2 * 2));
    drop(publisher);
}

#[test]
fn a_decodebin3_for_each_track_plays() {
    plays(
        "s.video_0 ! queue ! decodebin3 ! fakesink name=video s.audio_0 ! queue ! decodebin3 ! fakesink name=audio",
    );
}

#[test]
fn one_decodebin3_plays_all_tracks() {
    plays(
        "s.video_0 ! d.sink s.audio_0 ! d.sink_0 decodebin3 name=d d.video_0 ! fakesink name=video d.audio_0 ! fakesink name=audio",
    );
}

#[test]
fn decodebin_plays() {
    plays(
        "s.video_0 ! queue ! decodebin ! fakesink name=video s.audio_0 ! queue ! decodebin ! fakesink name=audio",
    );
}

#[test]
fn parsebin_and_decoders_play() {
    plays(
        "s.video_0 ! queue ! parsebin ! avdec_h264 ! fakesink name=video s.audio_0 ! queue ! parsebin ! opusdec ! fakesink name=audio",
    );
}
