//! Key frames that a player asks for, from an encoder that makes none of itself: moqsrc to moqsink through the embedded relay.
//! Row 19 of the peer's faults.

mod common;
mod relay_support;

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use common::{
    LIMIT, Pipeline, init,
    key_requests::{
        MANY, ask, asks_and_gets, counted, keys, player, plays_what_it_asks_for, publisher, settle,
        wait_more,
    },
    paths::relay_at,
    publisher::{BROADCAST, Publisher},
    wait_until,
};
use gstmoq::{
    media::{
        catalog::{Catalog, VideoRendition, hang},
        container::legacy,
    },
    net::{
        ConnectConfig,
        publish::{Broadcast, TrackOptions},
        relay::{Relay, RelayConfig},
        requests::{Heard, Listener},
        session::{Connection, Retention, Role},
        transport::parse_url,
    },
};
use relay_support::{Wire, connect};

fn relay() -> Relay {
    init();
    Relay::start(RelayConfig::local()).expect("a relay")
}

fn to(relay: &Relay, properties: &str) -> String {
    format!("url={} {properties}", relay.url())
}

fn plays_what_it_asks_for_over(version: &str) {
    let relay = relay();
    let version = format!("protocol-versions=<{version}>");
    plays_what_it_asks_for(&to(&relay, &version));
}

#[test]
fn a_player_gets_the_key_frame_that_it_asks_for_over_moq_lite() {
    plays_what_it_asks_for_over("moq-lite-06");
}

#[test]
fn a_player_gets_the_key_frame_that_it_asks_for_over_moq_transport() {
    plays_what_it_asks_for_over("moq-transport-18");
}

#[test]
fn without_leave_at_either_end_nothing_is_asked_for() {
    for (publishes, plays) in [("true", "false"), ("false", "true")] {
        let relay = relay();
        let publisher = publisher(&to(&relay, &format!("allow-requests={publishes}")));
        let (player, record) = player(&to(&relay, &format!("allow-requests={plays}")));
        settle(&record);
        let before = keys(&record.all());
        assert_eq!(ask(&player), plays == "true");
        let seen = wait_more(&record, MANY);
        assert_eq!(keys(&seen), before, "{publishes} {plays}");
        if publishes == "true" {
            assert_eq!(counted(&publisher, "received"), 0);
        }
    }
}

#[test]
fn a_burst_of_requests_is_a_key_frame_every_half_second() {
    let relay = relay();
    let publisher = publisher(&to(&relay, "allow-requests=true"));
    let (player, record) = player(&to(&relay, "allow-requests=true"));
    settle(&record);
    let (from, start) = (record.len(), Instant::now());
    while record.len() < from + 75 {
        ask(&player);
        wait_more(&record, 1);
    }
    let most = start.elapsed().as_millis() / 500 + 1;
    let seen = record.all();
    let got = keys(&seen[from..]);
    assert!(got >= 2 && got as u128 <= most, "{got} of at most {most}");
    assert!(counted(&publisher, "received") as u128 <= most);
    let stamps: Vec<_> = seen[from..]
        .iter()
        .filter(|seen| seen.is_key())
        .filter_map(|seen| seen.pts)
        .collect();
    for pair in stamps.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart > gst::ClockTime::from_mseconds(350), "{apart}");
    }
}

#[test]
fn a_recording_of_a_stream_without_key_frames_begins_at_once() {
    let relay = relay();
    let _publisher = publisher(&to(&relay, "allow-requests=true"));
    // The relay is subscribed from here on: joining asks for nothing.
    let (_first, first) = player(&to(&relay, ""));
    settle(&first);
    let (_second, second) = player(&to(&relay, "start=next-group allow-requests=true"));
    let seen = second.wait_count(1);
    assert!(seen[0].is_key());
}

#[test]
fn strangers_disturb_nothing_whatever_they_say() {
    let relay = relay();
    let publisher = publisher(&to(&relay, "allow-requests=true"));
    let (_player, record) = player(&to(&relay, ""));
    settle(&record);
    let before = keys(&record.all());
    let config = ConnectConfig::new(vec![parse_url(&relay.url()).expect("a URL")]);
    let connection = Connection::open(config, Role::Publisher, Retention::default());
    let stranger = Broadcast::create(&connection, &format!("{BROADCAST}/.requests/x"));
    let stranger = stranger.expect("a broadcast");
    let options = TrackOptions {
        priority: 0,
        max_age: LIMIT,
        timely: false,
    };
    let mut control = stranger.track(".control", options).expect("a track");
    let deep = format!("{{\"keyFrames\":{}", "[".repeat(20_000));
    let said: [&[u8]; 5] = [
        b"",
        b"\xff\xfe",
        b"{\"version\":1,\"seq\":1,\"keyFrames\":[1]}",
        b"{\"version\":9,\"seq\":1,\"keyFrames\":[\"v\"]}",
        deep.as_bytes(),
    ];
    stranger.announce().expect("announced");
    for (n, said) in said.iter().enumerate() {
        control
            .write_snapshot(n as u64, said.to_vec().into())
            .expect("said");
        wait_until("it is counted", || {
            counted(&publisher, "malformed") > n as u64
        });
    }
    let unknown = br#"{"version":1,"seq":2,"keyFrames":["w","","v\u0000"]}"#;
    control
        .write_snapshot(9, unknown.to_vec().into())
        .expect("said");
    wait_until("it is refused", || counted(&publisher, "refused") == 3);
    let seen = wait_more(&record, MANY);
    assert_eq!(keys(&seen), before);
    assert!(seen.windows(2).all(|pair| pair[0].pts < pair[1].pts));
    let known = br#"{"version":1,"seq":3,"keyFrames":["v"],"more":{}}"#;
    control
        .write_snapshot(10, known.to_vec().into())
        .expect("said");
    record.wait("a key frame", |seen| keys(seen) > before);
    assert_eq!(counted(&publisher, "granted"), 1);
}

#[test]
fn a_player_that_goes_away_leaves_nothing_behind() {
    let relay = relay();
    let publisher = publisher(&to(&relay, "allow-requests=true"));
    let (player, record) = player(&to(&relay, "allow-requests=true"));
    settle(&record);
    asks_and_gets(&player, &record);
    assert_eq!(counted(&publisher, "requesters"), 1);
    assert_eq!(relay.stats().sessions, 4);
    // Only the media is listed.
    assert_eq!(relay.announced(), [BROADCAST]);
    assert_eq!(relay.stats().broadcasts, 1);
    drop(player);
    wait_until("nobody asks", || counted(&publisher, "requesters") == 0);
    wait_until("its sessions are gone", || relay.stats().sessions == 2);
    publisher.set(gst::State::Null);
    wait_until("all sessions are gone", || relay.stats().sessions == 0);
}

#[test]
fn a_publisher_that_does_not_listen_is_told_of_once_and_played() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 100_000);
    let (player, record) = player(&to(&relay, "allow-requests=true"));
    record.wait_count(10);
    assert!(ask(&player));
    let text = player.wait_for("a warning", |message| match message.view() {
        gst::MessageView::Warning(warning) => Some(warning.error().to_string()),
        _ => None,
    });
    assert!(text.starts_with("Nobody listens for requests"), "{text}");
    wait_more(&record, 10);
}

#[test]
fn what_is_no_question_for_a_key_frame_goes_on_as_before() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 30);
    let player = Pipeline::launch(&format!(
        "moqsrc name=src url={} broadcast={BROADCAST} allow-requests=true src.audio_0 ! queue ! fakesink name=video sync=false",
        relay.url()
    ));
    let record = player.record("video");
    player.set(gst::State::Playing);
    record.wait_count(10);
    assert!(!ask(&player));
    wait_more(&record, 20);
    assert_eq!(relay.stats().sessions, 2, "nothing was dialled");
}

/// Row 3: both connections at either end are made again.
#[test]
fn it_asks_as_before_when_the_relay_was_away() {
    let relay = relay();
    let address = relay.bound()[0];
    let _publisher = publisher(&to(&relay, "allow-requests=true"));
    let (player, record) = player(&to(&relay, "allow-requests=true"));
    settle(&record);
    asks_and_gets(&player, &record);
    relay.stop_blocking(Duration::from_millis(200));
    let relay = relay_at(address);
    wait_more(&record, MANY);
    wait_until("two of the publisher and two of the player", || {
        relay.stats().sessions == 4
    });
    asks_and_gets(&player, &record);
}

/// Without a word of a decoder: what follows in this group is not decodable, and nothing else comes.
#[test]
fn a_group_that_is_given_up_without_a_successor_is_a_reason_to_ask() {
    let relay = relay();
    let config = ConnectConfig::new(vec![parse_url(&relay.url()).expect("a URL")]);
    let (told, heard) = mpsc::channel();
    let _listener = Listener::start(config, BROADCAST, move |event| {
        let _ = told.send(event);
    })
    .expect("a name that can be asked for");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let peer = runtime.block_on(connect(&relay, Wire::Quic));
    let broadcast = peer
        .origin
        .create_broadcast(BROADCAST)
        .expect("a broadcast");
    let info = moq_net::track::Info::default().with_timescale(moq_net::Timescale::MICRO);
    let stamp = |us| moq_net::Timestamp::from_micros(us).expect("fits");
    let video = VideoRendition {
        codec: "avc3.42c01e".into(),
        framerate: Some(30.0),
        ..VideoRendition::default()
    };
    let listed = Catalog {
        video: [("v".to_owned(), video)].into(),
        ..Catalog::default()
    };
    let catalog = broadcast
        .create_track(hang::TRACK, info.clone())
        .expect("a track");
    let mut group = catalog.append_group().expect("a group");
    group
        .write_frame(stamp(0), hang::write(&listed))
        .expect("written");
    group.finish().expect("whole");
    let track = broadcast.create_track("v", info).expect("a track");
    let mut group = track.append_group().expect("a group");
    broadcast
        .announce(moq_net::origin::Route::default())
        .expect("announced");
    let (_player, record) = player(&to(&relay, "allow-requests=true"));
    for n in 0..10 {
        let us = n * 33_333;
        let frame = legacy::encode(us, &[&[0, 0, 0, 1, 0x65, 0x88]]).expect("a frame");
        group.write_frame(stamp(us), frame).expect("written");
    }
    record.wait_count(10);
    assert!(heard.try_recv().is_err(), "all is well");
    group.abort(moq_net::Error::Old).expect("given up");
    match heard.recv_timeout(LIMIT).expect("a request") {
        Heard::Wanted(tracks) => assert_eq!(tracks, ["v".to_owned()].into()),
        other => panic!("{other:?}"),
    }
}
