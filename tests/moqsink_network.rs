//! moqsink on a path that does not keep up, and on one that does.

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    Pipeline, Seen,
    paths::{BROADCAST, View, ViewOptions, delay, path_to, relay},
};
use gst::prelude::*;
use gstmoq::{
    net::relay::Relay,
    netsim::{PathSettings, Proxy, Rate},
};
use parking_lot::Mutex;

/// Noise, so that the encoder needs what it may use: 2 Mbit/s and half a second in a group.
const VIDEO: &str = "videotestsrc is-live=true pattern=snow ! video/x-raw,width=320,height=240,framerate=30/1 ! \
     x264enc tune=zerolatency speed-preset=ultrafast bitrate=2000 key-int-max=15 option-string=scenecut=0 ! h264parse ! \
     video/x-h264,alignment=au,stream-format=byte-stream";
const AUDIO: &str = "audiotestsrc is-live=true wave=pink-noise samplesperbuffer=480 ! \
     audio/x-raw,rate=48000,channels=2 ! opusenc bitrate=64000";

/// A publisher behind a path, and a player beside the relay.
struct Rig {
    publisher: Pipeline,
    /// QoS events at the video pad: type, proportion and difference.
    qos: Arc<Mutex<Vec<(gst::QOSType, f64, i64)>>>,
    /// Payloads of the sound, in order.
    sound: Arc<Mutex<Vec<u64>>>,
    view: View,
    proxy: Proxy,
    _relay: Relay,
}

impl Rig {
    fn new(path: PathSettings, properties: &str) -> Self {
        let relay = relay();
        let (proxy, url) = path_to(relay.bound()[0], path);
        let publisher = Pipeline::launch(&format!(
            "moqsink name=sink url={url} broadcast={BROADCAST} {properties} video_0::track=video audio_0::track=audio \
             {VIDEO} ! sink.video_0 {AUDIO} ! queue name=audio ! sink.audio_0"
        ));
        let qos = Arc::<Mutex<Vec<_>>>::default();
        let into = qos.clone();
        let pad = publisher.by_name("sink").static_pad("video_0");
        pad.expect("a pad")
            .add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
                if let Some(event) = info.event()
                    && let gst::EventView::Qos(qos) = event.view()
                {
                    let (type_, proportion, diff, _) = qos.get();
                    into.lock().push((type_, proportion, diff));
                }
                gst::PadProbeReturn::Ok
            });
        let sound = Arc::<Mutex<Vec<_>>>::default();
        let into = sound.clone();
        publisher.probe("audio", "src", move |_, buffer| {
            let map = buffer.map_readable().expect("readable");
            into.lock().push(common::hash(&map));
        });
        publisher.set(gst::State::Playing);
        let view = ViewOptions::new(&relay.url()).latency_ms(500).play();
        Self {
            publisher,
            qos,
            sound,
            view,
            proxy,
            _relay: relay,
        }
    }

    /// An element message of moqsink for which `wanted` holds.
    fn wait_message(
        &self,
        name: &str,
        wanted: impl Fn(&gst::StructureRef) -> bool,
    ) -> gst::Structure {
        self.publisher.wait_for(name, |message| {
            let structure = message.structure()?;
            (structure.name() == name && wanted(structure)).then(|| structure.to_owned())
        })
    }

    /// All that moqsink has said about the network so far.
    fn said(&self) -> Vec<String> {
        let bus = self.publisher.0.bus().expect("a bus");
        std::iter::from_fn(|| bus.pop())
            .filter_map(|message| Some(message.structure()?.to_owned()))
            .filter(|s| ["moq-congestion", "moq-dropped"].contains(&s.name().as_str()))
            .map(|s| s.to_string())
            .collect()
    }

    fn track(&self, pad: &str) -> gst::Structure {
        let stats: gst::Structure = self.publisher.by_name("sink").property("stats");
        stats.get(pad).expect("the pad")
    }

    /// Sound arrives without a gap, as far as `packets` after the first that arrives.
    fn assert_sound_is_whole(&self, packets: usize) {
        let got = self.view.audio.wait_count(packets);
        let sent = self.sound.lock().clone();
        let place = |seen: &Seen| sent.iter().position(|hash| *hash == seen.hash);
        let places: Vec<usize> = got.iter().map(|seen| place(seen).expect("sent")).collect();
        // A player on a busy machine may find a better mapping soon after its join; what it leaves out then is no loss of the network.
        let remade = |n: usize| got[n].flags.contains(gst::BufferFlags::RESYNC);
        let gap = (1..places.len()).find(|n| places[*n] != places[n - 1] + 1 && !remade(*n));
        assert_eq!(gap, None, "sound has a gap: {places:?}");
    }
}

fn sum(structure: &gst::Structure, name: &str, reasons: &[&str]) -> u64 {
    let by_reason: gst::Structure = structure.get(name).expect(name);
    let get = |reason: &&str| by_reason.get::<u64>(*reason).expect("a counter");
    reasons.iter().map(get).sum()
}

const NETWORK: [&str; 2] = ["expired", "evicted"];

/// Row 14, on the publisher's side.
#[test]
fn a_network_of_half_the_rate_costs_video_groups_that_are_told_of_and_no_sound() {
    let path = PathSettings {
        rate: Rate::new(1_100_000),
        ..delay(10)
    };
    let rig = Rig::new(path, "");
    let congested = rig.wait_message("moq-congestion", |s| s.get("congested") == Ok(true));
    assert_eq!(congested.get::<&str>("pad"), Ok("video_0"));
    assert_eq!(congested.get::<&str>("track"), Ok("video"));
    for _ in 0..3 {
        let dropped = rig.wait_message("moq-dropped", |s| {
            s.get::<&str>("reason") != Ok("no-key-frame")
        });
        assert_eq!(dropped.get::<&str>("pad"), Ok("video_0"));
        assert_eq!(dropped.get::<&str>("reason"), Ok("expired"));
        let count = |name| dropped.get::<u64>(name).expect(name);
        assert!(count("groups") >= 1 && count("frames") >= 1 && count("bytes") > 10_000);
    }
    rig.assert_sound_is_whole(400);
    let (video, audio) = (rig.track("video_0"), rig.track("audio_0"));
    assert!(sum(&video, "dropped-groups", &NETWORK) >= 5);
    assert!(sum(&video, "dropped-bytes", &NETWORK) > 200_000);
    assert_eq!(sum(&audio, "dropped-groups", &NETWORK), 0);
    assert_eq!(video.get::<bool>("congested"), Ok(true));
    assert_eq!(audio.get::<bool>("congested"), Ok(false));
    // Two seconds of 2 Mbit/s are 500 kB, and the group that is open comes on top.
    let waits = video.get::<u64>("pending-bytes").expect("bytes");
    assert!(waits < 1_000_000, "{waits} bytes wait");
    let qos = rig.qos.lock().clone();
    assert!(qos.len() >= 5, "{qos:?}");
    for (type_, proportion, diff) in &qos {
        assert_eq!(*type_, gst::QOSType::Overflow);
        assert!(*proportion <= 1.0 && *diff <= 0);
    }
    let slowest = qos.iter().map(|qos| qos.1).fold(1.0, f64::min);
    assert!(slowest < 0.8, "{slowest}");
    rig.proxy.set(delay(10), delay(10));
    rig.wait_message("moq-congestion", |s| s.get("congested") == Ok(false));
}

/// Over moq-transport a relay may ask without a priority, and it does not say how old a group may be: the tracks share the
/// path, and what waits is bounded by `retention`.
#[test]
fn over_moq_transport_losses_are_told_of_too() {
    let path = PathSettings {
        rate: Rate::new(1_100_000),
        ..delay(10)
    };
    let rig = Rig::new(path, "protocol-versions=<moq-transport-18>");
    for _ in 0..3 {
        let dropped = rig.wait_message("moq-dropped", |s| s.get("pad") == Ok("video_0"));
        assert_eq!(dropped.get::<&str>("reason"), Ok("expired"));
    }
    let video = rig.track("video_0");
    let waits = video.get::<u64>("pending-bytes").expect("bytes");
    assert!(waits < 1_000_000, "{waits} bytes wait");
    rig.view.audio.wait_count(200);
    let audio = rig.track("audio_0");
    assert_eq!(sum(&audio, "dropped-groups", &NETWORK), 0, "{audio}");
}

#[test]
fn on_a_path_that_keeps_up_nothing_is_lost_or_said() {
    let rig = Rig::new(delay(20), "");
    rig.view.video.wait_count(240);
    rig.assert_sound_is_whole(350);
    for pad in ["video_0", "audio_0"] {
        let track = rig.track(pad);
        assert_eq!(sum(&track, "dropped-groups", &NETWORK), 0, "{track}");
        let behind = Duration::from_nanos(track.get("behind").expect("a time"));
        assert!(behind < Duration::from_millis(250), "{behind:?}");
    }
    assert_eq!(rig.said(), Vec::<String>::new());
    assert_eq!(*rig.qos.lock(), []);
}

/// Row 22: also when nothing that is said at the end arrives.
#[test]
fn stopping_on_a_path_that_was_cut_takes_the_drain_and_half_a_second() {
    let rig = Rig::new(delay(0), "drain-timeout=200000000");
    rig.view.video.wait_count(15);
    rig.proxy.cut(Duration::from_secs(3600));
    let started = Instant::now();
    rig.publisher
        .by_name("sink")
        .set_state(gst::State::Ready)
        .expect("ready");
    let took = started.elapsed();
    assert!(took <= Duration::from_millis(700), "{took:?}");
}
