//! The player page (`examples/web-player`, made of @moq/watch) in Chromium, over our relay and fed by moqsink.

mod common;

use common::{
    Pipeline,
    codecs::{AAC, Codec, FLAC, MP3, OPUS, VP8, VP9},
    interop::{Row, Sessions, record},
    web::{BROADCAST, Browser, Relay, peer},
};
use gst::prelude::*;

const H264: &str = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30";

/// Orderly stops of a relay that a page is playing from.
const RESTARTS: usize = 3;

/// A live picture that changes with every frame, and a tone.
fn publish(relay: &Relay) -> Pipeline {
    publish_as(relay, H264, &OPUS, "legacy")
}

fn publish_as(relay: &Relay, encoder: &str, audio: &Codec, container: &str) -> Pipeline {
    Pipeline::play(&format!(
        "moqsink name=sink url={} catalog=hang broadcast={BROADCAST} video_0::container={container} audio_0::container={container} \
         videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=180,framerate=30/1 ! timeoverlay ! \
         {encoder} ! sink.video_0 \
         audiotestsrc is-live=true wave=sine ! audio/x-raw,rate=48000,channels=2 ! {} ! sink.audio_0",
        relay.url, audio.encoder
    ))
}

fn play(scenario: &str, relay: &Relay) -> Browser {
    Browser::run(scenario, &[&relay.url, BROADCAST, &RESTARTS.to_string()])
}

#[test]
fn the_page_plays_picture_and_sound_and_follows_a_broadcast_that_ends_and_comes_back() {
    let relay = Relay::start();
    let publisher = publish(&relay);
    let browser = play("plays.mjs", &relay);

    let playing = browser.wait("playing");
    assert!(playing["frames"].as_u64() >= Some(60), "{playing:#}");
    assert_eq!(playing["sound"], "running", "{playing:#}");
    assert_eq!(playing["isolated"], true, "{playing:#}");
    assert!(playing["peak"].as_f64() > Some(0.01), "{playing:#}");
    let text = |key: &str| playing[key].as_str().unwrap_or_default();
    assert!(text("picture").contains("H.264"), "{playing:#}");
    assert!(text("size").contains("320 × 180"), "{playing:#}");
    // Its clock is the publisher's, so this is what it took from capture to screen.
    assert!(playing["latency"].as_u64() < Some(2000), "{playing:#}");
    let path = relay.path(Sessions::Subscribers);

    publisher.0.send_event(gst::event::Eos::new());
    publisher.wait_eos();
    drop(publisher);
    browser.wait("ended");
    record(&Row {
        peer: &peer("@moq/watch"),
        direction: "moqsink → the player page",
        what: "H.264, Opus; legacy; hang",
        path: &path,
        pictures: playing["frames"].as_u64().unwrap_or(0) as usize,
        sound: Some(true),
    });

    let publisher = publish(&relay);
    let back = browser.wait("back");
    assert_eq!(back["violations"], serde_json::json!([]), "{back:#}");
    browser.finish();
    drop(publisher);
}

/// Until enough different frames were drawn, with sound.
fn plays(name: &str, encoder: &str, container: &str) {
    plays_with(name, encoder, &OPUS, container);
}

fn plays_with(name: &str, encoder: &str, audio: &Codec, container: &str) {
    let relay = Relay::start();
    let _publisher = publish_as(&relay, encoder, audio, container);
    let browser = play("plays.mjs", &relay);
    let playing = browser.wait("playing");
    assert!(playing["frames"].as_u64() >= Some(60), "{playing:#}");
    assert_eq!(playing["sound"], "running", "{playing:#}");
    assert!(playing["peak"].as_f64() > Some(0.01), "{playing:#}");
    let picture = playing["picture"].as_str().unwrap_or_default();
    assert!(picture.contains(name), "{playing:#}");
    record(&Row {
        peer: &peer("@moq/watch"),
        direction: "moqsink → the player page",
        what: &format!("{name}, {}; {container}; hang", audio.name),
        path: &relay.path(Sessions::Subscribers),
        pictures: playing["frames"].as_u64().unwrap_or(0) as usize,
        sound: Some(true),
    });
}

#[test]
fn the_page_plays_vp9() {
    plays(
        "VP9",
        "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=30",
        "legacy",
    );
}

#[test]
fn the_page_plays_av1_in_loc() {
    plays(
        "AV1",
        "av1enc cpu-used=8 usage-profile=realtime keyframe-max-dist=30 ! av1parse",
        "loc",
    );
}

#[test]
fn the_page_plays_h264_in_loc_and_in_cmaf() {
    plays("H.264", H264, "loc");
    plays("H.264", &format!("{H264} ! h264parse"), "cmaf");
}

#[test]
fn the_page_plays_vp9_in_loc_and_in_cmaf() {
    let encoder = "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=30 ! vp9parse";
    plays("VP9", encoder, "loc");
    plays("VP9", encoder, "cmaf");
}

#[test]
fn the_page_plays_av1_in_legacy_and_in_cmaf() {
    let encoder = "av1enc cpu-used=8 usage-profile=realtime keyframe-max-dist=30 ! av1parse";
    plays("AV1", encoder, "legacy");
    plays("AV1", encoder, "cmaf");
}

#[test]
fn the_page_plays_vp8_and_aac() {
    plays_with("VP8", VP8.encoder, &AAC, "legacy");
    plays_with("VP8", VP8.encoder, &AAC, "loc");
    plays_with("VP8", VP8.encoder, &AAC, "cmaf");
}

#[test]
fn the_page_plays_h264_and_aac() {
    plays_with("H.264", H264, &AAC, "legacy");
    plays_with("H.264", H264, &AAC, "loc");
    plays_with("H.264", &format!("{H264} ! h264parse"), &AAC, "cmaf");
}

#[test]
fn the_page_plays_flac() {
    plays_with("VP9", VP9.encoder, &FLAC, "legacy");
    plays_with("VP9", VP9.encoder, &FLAC, "loc");
    plays_with("VP9", VP9.encoder, &FLAC, "cmaf");
}

#[test]
fn the_page_plays_mp3() {
    plays_with("VP8", VP8.encoder, &MP3, "legacy");
    plays_with("VP8", VP8.encoder, &MP3, "loc");
    plays_with("VP8", VP8.encoder, &MP3, "cmaf");
}

/// Chromium 156 crashes the tab at some of the stops, not at each, if the relay closes the WebTransport session and not the connection.
#[test]
fn the_page_survives_a_relay_that_stops_and_plays_on_when_it_is_back() {
    let relay = Relay::start();
    let _publisher = publish(&relay);
    let mut browser = play("restarts.mjs", &relay);
    for _ in 0..RESTARTS {
        browser.wait("playing");
        relay.stop();
        browser.wait("gone");
        relay.start_again();
        browser.go_on();
    }
    browser.wait("playing");
    browser.finish();
}

/// A relay that listens on every address, asked at one that is not loopback.
#[test]
fn the_page_plays_from_an_address_that_other_machines_reach() {
    let (relay, url) = Relay::reachable();
    let _publisher = publish(&relay);
    let browser = Browser::run("elsewhere.mjs", &[&url, BROADCAST]);
    browser.wait("insecure");
    let playing = browser.wait("playing");
    assert!(url.contains(playing["host"].as_str().unwrap_or("-")));
    browser.finish();
}

#[test]
fn the_page_says_in_words_why_it_cannot_play() {
    let relay = Relay::start();
    let _publisher = publish(&relay);
    let browser = play("words.mjs", &relay);
    browser.wait("wrong-name");
    browser.wait("another");
    browser.wait("insecure");
    browser.wait("no-webtransport");
    let no_codec = browser.wait("no-codec");
    let words = no_codec["words"].as_str().unwrap_or_default();
    assert!(words.contains("avc"), "{no_codec:#}");
    browser.finish();
}
