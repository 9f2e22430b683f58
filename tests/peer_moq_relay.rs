//! moqsink and moqsrc through moq-relay, the relay of others. `scripts/test` installs it and names it in MOQ_RELAY_BIN.

mod common;

use std::time::Duration;

use common::{
    interop::of_element,
    key_requests::plays_what_it_asks_for,
    moq_relay::{Identity, MoqRelay, Wire},
    paths::{
        Feed, FeedOptions, TOLERANCE_MS, View, ViewOptions, assert_decodable, path_delays, spread,
    },
};
use gst::prelude::*;

fn delay(feed: &Feed, view: &View) -> f64 {
    let got = view.video.all();
    spread(path_delays(view, &feed.video.all(), &got[got.len() - 30..])).0
}

/// Publishes and plays; both elements say which version they speak.
fn plays(publish: Wire, play: Wire, version: &str) {
    let identity = Identity::new();
    let relay = MoqRelay::start(&identity);
    let feed = FeedOptions::to(&relay.to(publish, &identity)).start();
    let view = ViewOptions::to(&relay.to(play, &identity)).play();
    let got = view.video.wait_count(90);
    view.audio.wait_count(100);
    let indices = assert_decodable(&feed.video.all(), &got);
    assert_eq!(
        indices.len(),
        indices[89] - indices[0] + 1,
        "every frame came"
    );
    let negotiated: String = view.pipeline.by_name("src").property("moq-version");
    eprintln!("{negotiated}, delay {:.1} ms", delay(&feed, &view));
    assert!(negotiated.starts_with(version), "{negotiated}");
    assert!(view.in_time(&feed.video.all(), Duration::ZERO) >= 0.9);
    view.assert_undisturbed();
    feed.finish();
    view.pipeline.wait_eos();
}

/// It prefers raw QUIC, too, and finds path and authority in SETUP.
#[test]
fn plays_over_what_the_relay_prefers() {
    let identity = Identity::new();
    let relay = MoqRelay::start(&identity);
    let at = format!("{}room", relay.to(Wire::Either, &identity));
    let feed = FeedOptions::to(&at).start();
    let view = ViewOptions::to(&at).play();
    let got = view.video.wait_count(60);
    assert_decodable(&feed.video.all(), &got);
    for (pipeline, name) in [(&feed.pipeline, "sink"), (&view.pipeline, "src")] {
        assert_eq!(of_element(&pipeline.by_name(name)), "moq-lite-06, raw QUIC");
    }
    // The path was no more lost than it is in a CONNECT.
    let root = relay.to(Wire::WebTransport, &identity);
    let from_root = ViewOptions::to(&root)
        .with("broadcast=room/test.hang")
        .play();
    from_root.video.wait_count(30);
    assert_eq!(
        of_element(&from_root.pipeline.by_name("src")),
        "moq-lite-06, WebTransport"
    );
}

#[test]
fn plays_over_webtransport() {
    plays(Wire::WebTransport, Wire::WebTransport, "moq-");
}

#[test]
fn plays_over_raw_quic_with_moq_transport() {
    plays(Wire::MoqTransport, Wire::MoqTransport, "moq-transport-");
}

#[test]
fn plays_over_raw_quic_with_moq_lite() {
    plays(Wire::MoqLite, Wire::MoqLite, "moq-lite-");
}

#[test]
fn plays_from_one_transport_and_protocol_to_another() {
    plays(Wire::WebTransport, Wire::MoqTransport, "moq-transport-");
    plays(Wire::MoqTransport, Wire::MoqLite, "moq-lite-");
}

/// The relay's process is killed and another started on its port, under a running publisher and a running player (row 3).
fn survives_a_kill(wire: Wire) {
    let identity = Identity::new();
    let relay = MoqRelay::start(&identity);
    let to = relay.to(wire, &identity);
    let feed = FeedOptions::to(&to).start();
    let view = ViewOptions::to(&to).play();
    view.video.wait_count(90);
    let before = delay(&feed, &view);
    let port = relay.kill();
    let _again = (0..100)
        .find_map(|_| MoqRelay::start_at(port, &identity))
        .expect("it starts again");
    let back = view.now();
    let first = view.wait_playing(&view.video, back);
    let seen = view.video.len();
    let got = view
        .video
        .wait("two seconds more", |got| got.len() >= seen + 60);
    let after = delay(&feed, &view);
    let resumed = Duration::from_nanos((first - back) as u64);
    eprintln!(
        "playing {resumed:?} after the relay was back; delay {before:.1} ms before, {after:.1} ms after"
    );
    assert_decodable(&feed.video.all(), &got);
    view.assert_undisturbed();
    assert!((after - before).abs() <= TOLERANCE_MS);
}

#[test]
fn a_relay_that_is_killed_and_started_again_is_played_from_again_over_webtransport_row_3() {
    survives_a_kill(Wire::WebTransport);
}

#[test]
fn a_relay_that_is_killed_and_started_again_is_played_from_again_over_raw_quic_row_3() {
    survives_a_kill(Wire::MoqLite);
}

/// Row 19: the request broadcasts are hidden there, too, and found by those who name the place.
#[test]
fn a_player_gets_the_key_frames_that_it_asks_for_row_19() {
    let identity = Identity::new();
    let relay = MoqRelay::start(&identity);
    for wire in [Wire::MoqLite, Wire::MoqTransport] {
        plays_what_it_asks_for(&relay.to(wire, &identity));
    }
}
