//! Paths that cannot carry the stream: sound is complete, and the picture stays at the live edge.

mod common;

use std::time::Duration;

use common::{
    Seen,
    paths::{
        FeedOptions, Sent, View, ViewOptions, assert_decodable, delay, encode, millis, path_to,
        relay,
    },
};
use gstmoq::netsim::{PathSettings, QueueLimit, Rate};

/// kbit/s of video, one key frame a second.
const VIDEO: u32 = 4000;

/// The target (T4) is 400 ms on an idle machine; the rest is for a loaded one.
const LIVE_MS: f64 = 500.0;

/// Three quarters of what the stream needs, and a queue that would delay all of it by half a second:
/// `examples/scenarios/bottleneck-3mbit.toml`.
fn narrow() -> PathSettings {
    PathSettings {
        rate: Some(Rate::mbit(3)),
        queue: QueueLimit::Time(Duration::from_millis(500)),
        ..delay(20)
    }
}

/// What came of a track that was presented.
struct Arrived {
    /// Of what was sent meanwhile.
    share: f64,
    /// From the sink's pad to the source's, ms, ascending.
    latencies: Vec<f64>,
}

impl Arrived {
    fn of(view: &View, sent: &[Sent], got: &[Seen]) -> Self {
        let place = |seen: &Seen| sent.iter().rposition(|sent| sent.hash == seen.hash);
        let got: Vec<_> = got
            .iter()
            .filter(|seen| seen.running.is_some())
            .map(|seen| (place(seen).expect("it was sent"), view.arrived(seen)))
            .collect();
        let span = got[got.len() - 1].0 - got[0].0 + 1;
        let latency = |(at, arrived): &(usize, i64)| millis(arrived - sent[*at].at);
        let mut latencies: Vec<f64> = got.iter().map(latency).collect();
        latencies.sort_by(f64::total_cmp);
        Self {
            share: got.len() as f64 / span as f64,
            latencies,
        }
    }

    fn percentile(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() * percent).div_ceil(100);
        self.latencies[at - 1]
    }
}

fn say(kind: &str, arrived: &Arrived) {
    eprintln!(
        "{kind}: {:.1} %, {:.0} ms, p95 {:.0}, p99 {:.0}, most {:.0}",
        arrived.share * 100.0,
        arrived.percentile(50),
        arrived.percentile(95),
        arrived.percentile(99),
        arrived.percentile(100),
    );
}

/// Joins so many frames after a key frame and plays for ten seconds.
fn plays(publisher: PathSettings, player: PathSettings, join: usize) {
    let relay = relay();
    let (_uplink, to_relay) = path_to(relay.bound()[0], publisher);
    let (_downlink, from_relay) = path_to(relay.bound()[0], player);
    let file = encode(16, VIDEO);
    let feed = FeedOptions::new(&to_relay).file(&file).start();
    feed.video.wait_after_key(join);
    let view = ViewOptions::new(&from_relay).play();
    let heard = view.audio.wait_count(500);
    let got = view.video.all();
    let sent = feed.video.all();
    assert_decodable(&sent, &got);
    let video = Arrived::of(&view, &sent, &got);
    let audio = Arrived::of(&view, &feed.audio.all(), &heard);
    say("video", &video);
    say("audio", &audio);
    view.assert_undisturbed();
    // A join that goes astray costs a twentieth.
    assert!(audio.share >= 0.98, "{} of the sound came", audio.share);
    assert!(audio.percentile(99) <= LIVE_MS / 2.0);
    assert!(video.percentile(95) <= LIVE_MS);
    assert!(video.share >= 0.5, "{} of the pictures came", video.share);
}

#[test]
fn a_narrow_path_between_publisher_and_relay_leaves_sound_whole_and_the_picture_live() {
    plays(narrow(), delay(20), 20);
}

#[test]
fn a_narrow_path_between_relay_and_player_leaves_sound_whole_and_the_picture_live() {
    plays(delay(20), narrow(), 40);
}

#[test]
fn narrow_paths_on_both_sides_of_the_relay_leave_sound_whole_and_the_picture_live() {
    plays(narrow(), narrow(), 24);
}

/// Noise of 2 Mbit/s without a key frame for a minute, over a path of 1.5 Mbit/s: the picture would fall behind by a quarter of the time
/// that passes.
fn plays_without_key_frames(
    publisher: PathSettings,
    player: PathSettings,
    properties: &str,
    live_ms: f64,
) {
    let relay = relay();
    let (_uplink, to_relay) = path_to(relay.bound()[0], publisher);
    let (_downlink, from_relay) = path_to(relay.bound()[0], player);
    let to = format!("url={to_relay} {properties}");
    let feed = FeedOptions::to(&to).noise(2000).gop(1800).start();
    feed.video.wait_after_key(10);
    let view = ViewOptions::new(&from_relay).with(properties).play();
    let heard = view.audio.wait_count(650);
    let got = view.video.all();
    let sent = feed.video.all();
    assert_decodable(&sent, &got);
    // A join on such a path is settled late, with what came since the only key frame, and is mended when the next one comes.
    let settled = view.arrived(&heard[150]);
    let later = |seen: &[Seen]| -> Vec<Seen> {
        let later = seen.iter().filter(|it| view.arrived(it) > settled);
        later.cloned().collect()
    };
    let video = Arrived::of(&view, &sent, &later(&got));
    let audio = Arrived::of(&view, &feed.audio.all(), &later(&heard));
    say("video", &video);
    say("audio", &audio);
    let keys = sent.iter().filter(|frame| frame.key).count();
    assert!(keys >= 4, "{keys} key frames in ten seconds");
    assert!(audio.share >= 0.98, "{} of the sound came", audio.share);
    assert!(video.percentile(95) <= live_ms);
    assert!(video.share >= 0.3, "{} of the pictures came", video.share);
}

/// Three quarters of what the noise needs.
fn narrower() -> PathSettings {
    PathSettings {
        rate: Rate::new(1_500_000),
        ..narrow()
    }
}

/// The publisher's session gives the group up on its way, and moqsink asks its encoder.
#[test]
fn a_group_of_a_minute_is_given_up_and_the_encoder_asked_for_another() {
    plays_without_key_frames(narrower(), delay(20), "", LIVE_MS);
}

/// The player sees that what comes is too late and stays so, and asks the publisher: the relay sends the newest group first. That is
/// later than a sender would see it, and takes two paths.
#[test]
fn a_player_behind_a_narrow_path_asks_for_another_group_when_what_comes_is_late_for_good() {
    plays_without_key_frames(delay(20), narrower(), "allow-requests=true", 1.6 * LIVE_MS);
}
