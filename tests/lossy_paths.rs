//! moqsrc at the end of paths with delay, loss and outages.

mod common;

use std::time::Duration;

use common::paths::{
    Feed, FeedOptions, TOLERANCE_MS, View, ViewOptions, assert_decodable, delay, lossy, millis,
    path_delays, path_to, relay, spread,
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

    /// Share of the presented video frames that were at the pad when they were due.
    fn in_time(&self, view: &View) -> f64 {
        let presented: Vec<_> = view
            .video
            .all()
            .iter()
            .filter_map(|seen| Some(view.arrived(seen) <= view.presented(seen)?))
            .collect();
        presented.iter().filter(|in_time| **in_time).count() as f64 / presented.len() as f64
    }
}

/// Plays ten seconds over a path; nothing is broken, next to nothing is missing and enough of it is in time.
fn plays_over(path: PathSettings, complete: f64, in_time: f64) {
    let rig = Rig::new(30, path);
    rig.feed.video.wait_after_key(10);
    let view = ViewOptions::new(&rig.url).play();
    let got = view.video.wait_count(300);
    let sent = rig.feed.video.all();
    let indices = assert_decodable(&sent, &got);
    let span = indices[indices.len() - 1] - indices[0] + 1;
    let received = indices.len() as f64 / span as f64;
    let share = rig.in_time(&view);
    if std::env::var("DBG").is_ok() {
        let mut first = None;
        for (n, seen) in got.iter().enumerate() {
            let Some(p) = view.presented(seen) else {
                continue;
            };
            let s = &sent[indices[n]];
            let f = *first.get_or_insert(p);
            eprintln!(
                "{n} t={:.0} sent-lag={:.1} arr-sent={:.1} pres-arr={:.1} pres-capt={:.1} disc={}",
                millis(p - f),
                millis(s.at - s.captured),
                millis(view.arrived(seen) - s.at),
                millis(p - view.arrived(seen)),
                millis(p - s.captured),
                seen.is_discont()
            );
        }
    }
    let (rendered, dropped) = view.rendered("video-sink");
    let lost = rig.proxy.stats().down.lost.total();
    eprintln!(
        "received {received:.3}, in time {share:.3}, rendered {rendered}, dropped {dropped}, packets lost {lost}"
    );
    assert!(received >= complete, "{received} of the frames came");
    assert!(share >= in_time, "{share} of the frames came in time");
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
fn bursts_of_loss_break_no_picture() {
    let start = Probability::percent(1.0);
    let path = PathSettings {
        bursts: Some(Bursts::Runs { length: 5, start }),
        ..delay(20)
    };
    plays_over(path, 0.9, 0.9);
}
