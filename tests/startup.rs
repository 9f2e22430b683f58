//! How many round trips a player needs to its first frame, on each leg of the path.

mod common;

use std::time::{Duration, Instant};

use common::paths::{FeedOptions, ViewOptions, delay, path_to, relay};

/// One way. Far apart, so that what a busy machine adds is little beside the difference.
const NEAR_MS: u64 = 10;
const FAR_MS: u64 = 135;

/// What is told apart from the next whole number.
const SLACK: f64 = 0.7;

/// How a player reaches the relay.
#[derive(Clone, Copy)]
enum Over {
    WebTransport,
    Quic,
    /// What the relay chooses.
    Either,
}

/// From PLAYING to the first picture out of the pad, with so much delay between publisher and relay and between relay and
/// player, one way. The broadcast has been there for a while, and nobody has asked for it.
fn first_frame(publisher_ms: u64, player_ms: u64, over: Over) -> Duration {
    let relay = relay();
    let at = |address| match over {
        Over::WebTransport => {
            format!("url=https://{address}/ tls-disable-verify=true transport=webtransport")
        }
        Over::Quic => format!("url=moql://{address}/ tls-disable-verify=true"),
        Over::Either => format!("url=https://{address}/ tls-disable-verify=true"),
    };
    let (there, _) = path_to(relay.bound()[0], delay(publisher_ms));
    let (here, _) = path_to(relay.bound()[0], delay(player_ms));
    let feed = FeedOptions::to(&at(there.addr())).gop(60).start();
    feed.video.wait("a publisher", |sent| sent.len() > 30);
    common::wait_until("an announcement", || !relay.announced().is_empty());
    feed.video.wait_after_key(12);
    let view = ViewOptions::to(&at(here.addr())).launch();
    view.pipeline.set(gst::State::Paused);
    let start = Instant::now();
    view.pipeline.set(gst::State::Playing);
    view.video.wait_count(1);
    start.elapsed()
}

/// How often the path of each leg is gone to and fro: publisher's, player's.
fn round_trips(over: Over) -> (f64, f64) {
    let near = first_frame(NEAR_MS, NEAR_MS, over);
    let slope = |far: Duration| {
        let longer = 2 * Duration::from_millis(FAR_MS - NEAR_MS);
        (far.as_secs_f64() - near.as_secs_f64()) / longer.as_secs_f64()
    };
    let publisher = slope(first_frame(FAR_MS, NEAR_MS, over));
    let player = slope(first_frame(NEAR_MS, FAR_MS, over));
    eprintln!(
        "near {near:?}: {publisher:.2} round trips to the publisher, {player:.2} to the player"
    );
    (publisher, player)
}

/// The publisher is asked for the picture, and for nothing else. The player shakes hands, asks what there is, for the catalog
/// and for the picture, the last two of which are two requests each in moq-lite 05 and newer.
#[test]
fn over_raw_quic_the_first_picture_is_six_round_trips_away_and_one_beyond_the_relay() {
    let (publisher, player) = round_trips(Over::Quic);
    assert!(publisher < 1.0 + SLACK, "{publisher}");
    assert!(player < 6.0 + SLACK, "{player}");
}

/// Offering both costs nothing: one handshake, in which the relay chooses.
#[test]
fn over_what_the_relay_chooses_it_is_as_many_as_over_raw_quic() {
    let (publisher, player) = round_trips(Over::Either);
    assert!(publisher < 1.0 + SLACK, "{publisher}");
    assert!(player < 6.0 + SLACK, "{player}");
}

/// CONNECT is one more; SETTINGS came with the handshake.
#[test]
fn over_webtransport_it_is_one_round_trip_more() {
    let (publisher, player) = round_trips(Over::WebTransport);
    assert!(publisher < 1.0 + SLACK, "{publisher}");
    assert!(player < 7.0 + SLACK, "{player}");
}
