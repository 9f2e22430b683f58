//! Nothing is alive after all three elements have connected, played and stopped.
//!
//! A program of its own: the tracer has to be there before GStreamer starts.

mod common;

use std::{
    collections::BTreeMap,
    process::Command,
    time::{Duration, Instant},
};

use common::{LIMIT, Pipeline, init};
use gst::prelude::*;

/// The environment of the test itself cannot be changed safely: it runs itself again.
const INSIDE: &str = "GSTMOQ_LEAKS_INSIDE";

#[test]
fn nothing_is_alive_after_publishing_relaying_and_playing() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args([
            "--exact",
            "nothing_is_alive_after_publishing_relaying_and_playing",
            "--nocapture",
        ])
        .env(INSIDE, "1")
        .env("GST_TRACERS", "leaks")
        .output()
        .expect("it runs again");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}", output.status);
}

fn inside() {
    init();
    let tracer = gst::active_tracers()
        .into_iter()
        .find(|tracer| tracer.type_().name() == "GstLeaksTracer")
        .expect("the leaks tracer");
    // The first round makes what stays for good: factories, classes, the runtime.
    round();
    tracer.emit_by_name::<()>("activity-start-tracking", &[]);
    for _ in 0..ROUNDS {
        round();
    }
    // Threads that nobody joins may still be on their way out.
    let mut alive = Alive::default();
    alive.update(&tracer);
    for ours in [
        "GstMoqSrc",
        "GstMoqSink",
        "GstRelayBridge",
        "GstMoqTrackSrc",
    ] {
        assert_eq!(
            alive.made.get(ours),
            Some(&made(ours)),
            "{ours} in {:?}",
            alive.made
        );
    }
    assert!(alive.made["GstBuffer"] > 100);
    let end = Instant::now() + LIMIT;
    while !alive.is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        alive.update(&tracer);
    }
    assert!(alive.is_empty(), "objects are alive: {alive:#?}");
    tracer.emit_by_name::<()>("activity-stop-tracking", &[]);
}

const ROUNDS: u64 = 3;

/// Two tracks a round, and one of everything else.
fn made(type_name: &str) -> u64 {
    ROUNDS * if type_name == "GstMoqTrackSrc" { 2 } else { 1 }
}

/// How often each object was made more often than freed, by its description, which has type and address.
#[derive(Debug, Default)]
struct Alive {
    objects: BTreeMap<String, i64>,
    /// How many of each type were made.
    made: BTreeMap<String, u64>,
}

impl Alive {
    /// Takes what the tracer has noted since the last time.
    fn update(&mut self, tracer: &gst::Tracer) {
        let noted: Option<gst::Structure> = tracer.emit_by_name("activity-get-checkpoint", &[]);
        let noted = noted.expect("a structure");
        for (field, change) in [("objects-created-list", 1), ("objects-removed-list", -1)] {
            let list = noted.get::<gst::List>(field).expect("the list");
            for object in list.iter() {
                let object: gst::Structure = object.get().expect("a structure");
                let type_name: String = object.get("type-name").expect("a type");
                let address = object.value("address").expect("an address");
                let name = format!("{type_name} {address:?}");
                *self.objects.entry(name).or_default() += change;
                if change > 0 {
                    *self.made.entry(type_name).or_default() += 1;
                }
            }
        }
        self.objects.retain(|_, balance| *balance > 0);
    }

    fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

/// Publishes, relays and plays until both tracks have arrived; then everything stops.
fn round() {
    let relay = Pipeline(gst::Pipeline::new());
    let bridge = gst::ElementFactory::make("relay-bridge")
        .property("listen", "127.0.0.1:0")
        .build()
        .expect("relay-bridge");
    relay.0.add(&bridge).expect("added");
    relay.set(gst::State::Playing);
    let end = Instant::now() + LIMIT;
    let url = loop {
        if let Some(url) = bridge.property::<Option<String>>("bound-url") {
            break url;
        }
        assert!(Instant::now() < end, "the relay does not listen");
        std::thread::sleep(Duration::from_millis(5));
    };
    // No child properties in the description: GStreamer 1.22.0 leaks a reference for each.
    let publisher = Pipeline::launch(&format!(
        "moqsink name=sink url={url} broadcast=leaks \
         videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=30/1,format=I420 ! \
         x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h264parse ! queue ! sink.video_0 \
         audiotestsrc is-live=true ! opusenc ! queue ! sink.audio_0"
    ));
    let player = Pipeline::launch(&format!(
        "moqsrc name=src url={url} broadcast=leaks src.video_0 ! queue ! fakesink name=video \
         src.audio_0 ! queue ! fakesink name=audio"
    ));
    let (video, audio) = (player.record("video"), player.record("audio"));
    publisher.set(gst::State::Playing);
    player.set(gst::State::Playing);
    video.wait_count(20);
    audio.wait_count(20);
    // One round of everything that a life has: pause, play, end.
    player.set(gst::State::Paused);
    player.set(gst::State::Playing);
    let seen = video.len();
    video.wait_count(seen + 5);
    assert!(publisher.0.send_event(gst::event::Eos::new()));
    publisher.wait_eos();
    player.wait_eos();
    for pipeline in [&player, &publisher, &relay] {
        pipeline.0.set_state(gst::State::Null).expect("stopped");
    }
}
