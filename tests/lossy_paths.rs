//! moqsrc at the end of paths with delay, loss and outages.

mod common;

use std::time::Duration;

use common::{
    Seen,
    paths::{
        Feed, FeedOptions, TOLERANCE_MS, ViewOptions, assert_decodable, delay, lossy, path_delays,
        path_to, relay, spread,
    },
    sync::{after_capture, assert_in_sync},
};
use gstmoq::{
    net::relay::Relay,
    netsim::{Bursts, PathSettings, Probability, Proxy},
};

/// A publisher beside the relay and a path to it.
struct Rig {
    feed: Feed,
    proxy: Proxy,
    url: String,
    _relay: Relay,
}

impl Rig {
    fn new(gop: u32, path: PathSettings) -> Self {
        let relay = relay();
        let feed = FeedOptions::new(&relay.url()).gop(gop).start();
        let (proxy, url) = path_to(relay.bound()[0], path);
        Self {
            feed,
            proxy,
            url,
            _relay: relay,
        }
    }
}

/// Plays six seconds over a path; nothing is broken, and of all that was sent meanwhile enough came, and came in time.
fn plays_over(path: PathSettings, complete: f64, in_time: f64) {
    let delay = path.delay;
    let rig = Rig::new(30, path);
    rig.feed.video.wait_after_key(10);
    let view = ViewOptions::new(&rig.url).play();
    let got = view.video.wait_count(180);
    let sent = rig.feed.video.all();
    let indices = assert_decodable(&sent, &got);
    let span = indices[indices.len() - 1] - indices[0] + 1;
    let received = indices.len() as f64 / span as f64;
    let share = view.in_time(&sent, delay);
    let (rendered, dropped) = view.rendered("video-sink");
    let lost = rig.proxy.stats().down.lost.total();
    eprintln!(
        "received {received:.3}, in time {share:.3}, rendered {rendered}, dropped {dropped}, packets lost {lost}"
    );
    assert!(received >= complete, "{received} of the frames came");
    assert!(share >= in_time, "{share} of what was sent came in time");
    view.assert_undisturbed();
}

#[test]
fn a_path_without_loss_delivers_every_frame_within_latency() {
    plays_over(delay(20), 1.0, 0.98);
}

#[test]
fn one_percent_of_loss_is_made_up_for_within_latency() {
    plays_over(lossy(20, 1.0), 0.98, 0.97);
}

#[test]
fn three_percent_of_loss_are_made_up_for_within_latency() {
    plays_over(lossy(20, 3.0), 0.95, 0.95);
}

#[test]
fn five_percent_of_loss_are_made_up_for_within_latency() {
    plays_over(lossy(20, 5.0), 0.99, 0.98);
}

#[test]
fn bursts_of_loss_break_no_picture() {
    let start = Probability::percent(1.0);
    let path = PathSettings {
        bursts: Some(Bursts::Runs { length: 5, start }),
        ..delay(20)
    };
    plays_over(path, 0.9, 0.9);
}

#[test]
fn loss_between_publisher_and_relay_is_made_up_for_within_latency() {
    let relay = relay();
    let (_proxy, url) = path_to(relay.bound()[0], lossy(20, 1.0));
    let feed = FeedOptions::new(&url).start();
    feed.video.wait_after_key(10);
    let view = ViewOptions::new(&relay.url()).play();
    let got = view.video.wait_count(180);
    let sent = feed.video.all();
    let indices = assert_decodable(&sent, &got);
    let span = indices[indices.len() - 1] - indices[0] + 1;
    assert!(
        indices.len() * 100 >= span * 98,
        "{} of {span}",
        indices.len()
    );
    let share = view.in_time(&sent, Duration::from_millis(20));
    eprintln!("in time {share:.3}");
    assert!(share >= 0.97, "{share} of what was sent came in time");
    view.assert_undisturbed();
}

/// What avdec_h264 says about 10 s over a path with 3 % loss and a group that is lost to a cut.
#[test]
fn a_decoder_sees_no_broken_picture_through_loss_and_a_cut() {
    let rig = Rig::new(30, lossy(20, 3.0));
    let view = ViewOptions::new(&rig.url)
        .video_through("avdec_h264 name=decoder max-errors=0 output-corrupt=true")
        .play();
    let decoded = view.pipeline.record("video-sink");
    view.video.wait_count(60);
    rig.proxy.cut(Duration::from_millis(700));
    let got = view.video.wait_count(240);
    assert_decodable(&rig.feed.video.all(), &got);
    let decoded = decoded.wait("pictures", |pictures| pictures.len() >= 200);
    let corrupted = |seen: &&Seen| seen.flags.contains(gst::BufferFlags::CORRUPTED);
    assert_eq!(decoded.iter().filter(corrupted).count(), 0);
    view.assert_undisturbed();
}

/// Playing goes on in time: from the first frame that is on time again all are presented with the delay of before.
fn heals_after(cut: Duration, limit: Duration) {
    let rig = Rig::new(30, delay(20));
    let view = ViewOptions::new(&rig.url).play();
    let before = view.video.wait_count(90);
    let before = path_delays(&view, &rig.feed.video.all(), &before);
    rig.proxy.cut(cut);
    // The length of the outage itself.
    std::thread::sleep(cut);
    let back = view.now();
    let seen = view.video.len();
    let first = view.wait_playing(&view.video, back);
    let after = view
        .video
        .wait("a GOP after the cut", |got| got.len() >= seen + 60);
    let sent = rig.feed.video.all();
    assert_decodable(&sent, &after);
    let resumed = Duration::from_nanos((first - back) as u64);
    let resumed_at = after.iter().position(|seen| view.arrived(seen) >= first);
    let again = &after[resumed_at.expect("it plays")..];
    let (after_cut, least, most) = spread(path_delays(&view, &sent, again));
    let before = spread(before).0;
    eprintln!(
        "playing {resumed:?} after the path was back, delay {before:.1} ms before, {after_cut:.1} ({least:.1} to {most:.1}) ms after"
    );
    assert_in_sync(&view, &rig.feed);
    view.assert_undisturbed();
    assert!(
        resumed <= limit,
        "played {resumed:?} after the path was back"
    );
    assert!(
        (least - before).abs().max((most - before).abs()) <= TOLERANCE_MS,
        "{before} ms, then {least} to {most} ms"
    );
    let missing = after.iter().skip(1).any(Seen::is_discont);
    assert!(missing, "frames were lost in the cut");
}

/// One GOP and half a second (the target T5). It takes 0.2 to 0.9 s on an idle machine; the rest is for a loaded one.
const HEALED: Duration = Duration::from_millis(1500);

#[test]
fn a_cut_of_two_seconds_heals() {
    heals_after(Duration::from_secs(2), HEALED);
}

#[test]
fn a_cut_longer_than_the_idle_timeout_heals() {
    heals_after(Duration::from_secs(15), HEALED);
}

/// Joins at several places of a GOP of 2 s: wherever that is, presentation lags sending by path and latency (T1b).
fn lags_by(path_ms: u64, latency_ms: u32, joins: &[usize]) {
    let rig = Rig::new(60, delay(path_ms));
    for &join in joins {
        rig.feed.video.wait_after_key(join);
        let view = ViewOptions::new(&rig.url)
            .latency_ms(latency_ms)
            .video_only()
            .play();
        let presented = |seen: &[Seen]| seen.iter().filter(|seen| seen.running.is_some()).count();
        let got = view
            .video
            .wait("half a second", |seen| presented(seen) >= 15);
        let sent = rig.feed.video.all();
        assert_decodable(&sent, &got);
        let delays = path_delays(&view, &sent, &got);
        let first = delays[0];
        let (median, least, most) = spread(delays);
        eprintln!(
            "joined {join} frames in: first {first:.1}, median {median:.1} ({least:.1} to {most:.1}) ms"
        );
        for delay in [first, least, median, most] {
            let off = delay - path_ms as f64;
            assert!(
                off.abs() <= TOLERANCE_MS,
                "joined {join} frames in: {delay:.1} ms"
            );
        }
        view.assert_undisturbed();
    }
}

#[test]
fn presentation_lags_by_latency_on_loopback_wherever_in_a_group_it_joins() {
    lags_by(0, 200, &[2, 20, 50]);
}

#[test]
fn presentation_lags_by_path_and_latency_wherever_in_a_group_it_joins() {
    lags_by(20, 200, &[2, 20, 50]);
}

#[test]
fn a_latency_of_20_ms_holds_on_loopback_and_on_a_path() {
    lags_by(0, 20, &[35]);
    lags_by(20, 20, &[35]);
}

#[test]
fn sound_and_picture_share_one_mapping() {
    let rig = Rig::new(60, delay(20));
    rig.feed.video.wait_after_key(30);
    let view = ViewOptions::new(&rig.url).play();
    let presented = |seen: &[Seen]| seen.iter().filter(|seen| seen.running.is_some()).count();
    let video = view.video.wait("two seconds", |seen| presented(seen) >= 60);
    let audio = view
        .audio
        .wait("two seconds", |seen| presented(seen) >= 100);
    let video = after_capture(&view, &rig.feed.video.all(), &video);
    let audio = after_capture(&view, &rig.feed.audio.all(), &audio);
    eprintln!("video {video:?}, audio {audio:?}");
    assert!((video.0 - audio.0).abs() <= TOLERANCE_MS);
    for (_, least, most) in [video, audio] {
        assert!(most - least <= TOLERANCE_MS);
    }
}

/// The same for a cut between publisher and relay.
fn publishing_heals_after(cut: Duration) {
    let relay = relay();
    let (proxy, url) = path_to(relay.bound()[0], delay(20));
    let feed = FeedOptions::new(&url).start();
    let view = ViewOptions::new(&relay.url()).play();
    let before = view.video.wait_count(90);
    let before = spread(path_delays(&view, &feed.video.all(), &before)).0;
    proxy.cut(cut);
    // The length of the outage itself.
    std::thread::sleep(cut);
    let back = view.now();
    let first = view.wait_playing(&view.video, back);
    let seen = view.video.len();
    let after = view
        .video
        .wait("two seconds more", |got| got.len() >= seen + 60);
    let sent = feed.video.all();
    assert_decodable(&sent, &after);
    let after = spread(path_delays(&view, &sent, &after[after.len() - 30..])).0;
    let resumed = Duration::from_nanos((first - back) as u64);
    eprintln!(
        "playing {resumed:?} after the path was back, {before:.1} ms before, {after:.1} ms after"
    );
    assert_in_sync(&view, &feed);
    view.assert_undisturbed();
    assert!(
        resumed <= HEALED,
        "played {resumed:?} after the path was back"
    );
    // Latency within a tenth (T5). It is not within TOLERANCE_MS each time: what the publisher had kept comes in bursts, a round
    // trip of its path apart, between which a player beside the relay may settle.
    let tenth = (f64::from(view.latency_ms) + before) / 10.0;
    assert!(
        (after - before).abs() <= tenth,
        "{before} ms, then {after} ms"
    );
}

#[test]
fn a_cut_of_two_seconds_between_publisher_and_relay_heals() {
    publishing_heals_after(Duration::from_secs(2));
}

#[test]
fn a_cut_between_publisher_and_relay_that_is_longer_than_the_idle_timeout_heals() {
    publishing_heals_after(Duration::from_secs(15));
}
