//! How many round trips a player needs to its first frame, on each leg of the path.

mod common;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use common::paths::{Feed, FeedOptions, View, ViewOptions, delay, path_to, relay};
use gstmoq::{net::relay::Relay, netsim::Proxy};

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

/// A publisher and a player who is about to play, with so much delay between publisher and relay and between relay and player,
/// one way. The broadcast has been there for a while, and nobody has asked for it.
struct Rig {
    view: View,
    _feed: Feed,
    _paths: [Proxy; 2],
    _relay: Relay,
}

impl Rig {
    fn new(publisher_ms: u64, player_ms: u64, over: Over) -> Self {
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
        Self {
            view,
            _feed: feed,
            _paths: [there, here],
            _relay: relay,
        }
    }

    /// Plays until the first picture is out of the pad.
    fn play(&self) {
        self.view.pipeline.set(gst::State::Playing);
        self.view.video.wait_count(1);
    }
}

/// From PLAYING to the first picture out of the pad.
fn first_frame(publisher_ms: u64, player_ms: u64, over: Over) -> Duration {
    let rig = Rig::new(publisher_ms, player_ms, over);
    let start = Instant::now();
    rig.play();
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

/// Runs a test of this file again, in a process that writes traces to a folder of its own.
fn traced(name: &str, test: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    traced_in(name, folder.path(), test);
}

/// The environment is that of a process, and read by all of its tests.
fn traced_in(name: &str, folder: &Path, test: impl FnOnce(&Path)) {
    const FOLDER: &str = "QLOGDIR";
    const AGAIN: &str = "TRACED_BY_TEST";
    if std::env::var_os(AGAIN).is_some() {
        return test(Path::new(&std::env::var_os(FOLDER).expect("set below")));
    }
    let status = Command::new(std::env::current_exe().expect("path of the test"))
        .args(["--exact", name, "--nocapture"])
        .env(AGAIN, name)
        .env(FOLDER, folder)
        .status();
    assert!(status.expect("it runs").success(), "{name}");
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("a file").path()).collect()
}

/// One way, so far that what a machine hesitates is not taken for another flight.
const WIRE_MS: u64 = 100;

/// The round trips in a trace of one that dialled, up to `until`, in ms of the trace.
///
/// A flight begins with the first packet sent after the one before it was answered; it is answered by the first packet that
/// is received a round trip of the path after its beginning, or later. So what the machine takes between an answer and what
/// follows from it is no part of a flight.
fn flights(trace: &str, until: f64) -> u32 {
    let (mut begun, mut answered) = (None, 0);
    for line in trace.split('\x1e').filter(|line| !line.trim().is_empty()) {
        let event: serde_json::Value = serde_json::from_str(line).expect("an event");
        let Some(at) = event["time"].as_f64().filter(|at| *at <= until) else {
            continue;
        };
        match (event["name"].as_str(), begun) {
            (Some("transport:packet_sent"), None) => begun = Some(at),
            (Some("transport:packet_received"), Some(since))
                if at - since >= (2 * WIRE_MS) as f64 =>
            {
                (begun, answered) = (None, answered + 1);
            }
            _ => {}
        }
    }
    answered
}

/// Counts the player's round trips to the first picture in its trace, which has its beginning in its name.
fn flights_to_the_first_picture(folder: &Path, over: Over) -> u32 {
    let rig = Rig::new(NEAR_MS, WIRE_MS, over);
    let before = files(folder);
    rig.play();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    let after = files(folder);
    let [file] = after.difference(&before).collect::<Vec<_>>()[..] else {
        panic!("one trace is the player's: {before:?}, then {after:?}");
    };
    let name = file.file_name().and_then(|name| name.to_str());
    let (begun, whose) = name.and_then(|name| name.split_once('-')).expect("a name");
    assert!(whose.starts_with("client-"), "{whose}");
    let until = now.as_secs_f64() * 1e3 - begun.parse::<f64>().expect("a time");
    let trace = std::fs::read_to_string(file).expect("a trace");
    let flights = flights(&trace, until);
    eprintln!("{flights} flights in {until:.0} ms");
    flights
}

/// The fewest flights of up to two tries, and how many tries that took.
///
/// Any packet begins a flight or ends one, also one that carries nothing of what is waited for: a late acknowledgement or a probe of
/// the path, when the machine hesitates. So a try may count one more than there is to wait for, and, when such a packet takes the
/// place of an answer, one less.
fn fewest_flights(folder: &Path, over: Over, expected: u32) -> (u32, usize) {
    let first = flights_to_the_first_picture(folder, over);
    if first <= expected {
        return (first, 1);
    }
    let second = flights_to_the_first_picture(folder, over);
    (first.min(second), 2)
}

/// Fewer than this are not to be had: a handshake, and what there is, catalog and picture, each asked for after the other.
const FEWEST: u32 = 4;

#[test]
fn on_the_wire_the_first_picture_is_six_flights_away_over_raw_quic() {
    let name = "on_the_wire_the_first_picture_is_six_flights_away_over_raw_quic";
    traced(name, |folder| {
        let (flights, tries) = fewest_flights(folder, Over::Quic, 6);
        assert!((FEWEST..=6).contains(&flights), "{flights}");
        let relay = |file: &PathBuf| file.to_string_lossy().contains("-server-");
        let relays = files(folder).iter().filter(|file| relay(file)).count();
        assert_eq!(relays, tries, "one trace for each relay");
    });
}

#[test]
fn on_the_wire_the_first_picture_is_seven_flights_away_over_webtransport() {
    let name = "on_the_wire_the_first_picture_is_seven_flights_away_over_webtransport";
    traced(name, |folder| {
        let (flights, _) = fewest_flights(folder, Over::WebTransport, 7);
        assert!((FEWEST + 1..=7).contains(&flights), "{flights}");
    });
}

/// A folder that cannot be written costs nobody the connection.
#[test]
fn a_broadcast_is_played_where_no_trace_can_be_written() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let name = "a_broadcast_is_played_where_no_trace_can_be_written";
    traced_in(name, &file.path().join("no-folder"), |_| {
        Rig::new(0, 0, Over::Either).play();
    });
}
