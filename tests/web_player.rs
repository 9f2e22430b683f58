//! The player page (`examples/web-player`, made of @moq/watch 0.4.6) in Chromium, over our relay and fed by moqsink.
//!
//! `scripts/test` builds the page and names it, and what drives the browser, in MOQ_WEB_PAGE and MOQ_WEB_MODULES. What the browser
//! does is in `tests/browser/`; each scenario says what has happened in lines of JSON.

mod common;

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use gst::prelude::*;
use serde_json::Value;

use common::{
    Pipeline, init,
    interop::{Row, record},
};

const BROADCAST: &str = "studio/camera.hang";

/// Chromium starts, and software decodes, while other tests have the processor.
const LIMIT: Duration = Duration::from_secs(60);

const H264: &str = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30";

/// Orderly stops of a relay that a page is playing from.
const RESTARTS: usize = 3;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run scripts/test, which builds the page, or scripts/test --quick to do without")
    })
}

/// A relay on a free port that serves the page at `/`, and its URL.
struct Relay {
    url: String,
    pipeline: Pipeline,
}

impl Relay {
    fn start() -> Self {
        init();
        let relay = gst::ElementFactory::make("relay-bridge")
            .property("listen", "127.0.0.1:0")
            .property("web-root", variable("MOQ_WEB_PAGE"))
            .build()
            .expect("an element");
        let pipeline = Pipeline(gst::Pipeline::new());
        pipeline.0.add(&relay).expect("added");
        pipeline.set(gst::State::Playing);
        let url = relay
            .property::<Option<String>>("bound-url")
            .expect("it listens");
        Self { url, pipeline }
    }

    /// As a pipeline that ends does: GOAWAY, and the sessions that stay are closed.
    fn stop(&self) {
        self.pipeline.set(gst::State::Null);
    }

    /// On its port again, with another certificate.
    fn start_again(&self) {
        let port = self.url.trim_end_matches('/').rsplit(':').next();
        let relay = self.pipeline.0.children().pop().expect("the relay");
        relay.set_property("listen", format!("127.0.0.1:{}", port.expect("a port")));
        self.pipeline.set(gst::State::Playing);
    }

    /// A live picture that changes with every frame, and a tone.
    fn publish(&self) -> Pipeline {
        self.publish_as(H264, "legacy")
    }

    fn publish_as(&self, encoder: &str, container: &str) -> Pipeline {
        Pipeline::play(&format!(
            "moqsink name=sink url={} broadcast={BROADCAST} video_0::container={container} audio_0::container={container} \
             videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=180,framerate=30/1 ! timeoverlay ! \
             {encoder} ! sink.video_0 \
             audiotestsrc is-live=true wave=sine ! audio/x-raw,rate=48000,channels=2 ! opusenc ! sink.audio_0",
            self.url
        ))
    }
}

/// A scenario of `tests/browser/`; it is killed when the test ends, and Chromium follows.
struct Browser {
    process: Child,
    events: mpsc::Receiver<Value>,
}

impl Browser {
    fn run(scenario: &str, relay: &Relay) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/browser")
            .join(scenario);
        let mut process = Command::new("node")
            .arg(script)
            .args([&relay.url, BROADCAST, &RESTARTS.to_string()])
            .env("MOQ_WEB_MODULES", variable("MOQ_WEB_MODULES"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node.js runs");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let (tell, events) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("a line of JSON");
                if tell.send(event).is_err() {
                    return;
                }
            }
        });
        Self { process, events }
    }

    /// The next event, which is to be this one.
    fn wait(&self, name: &str) -> Value {
        let event = self
            .events
            .recv_timeout(LIMIT)
            .unwrap_or_else(|err| panic!("waiting for '{name}': {err}"));
        assert_eq!(event["event"], name, "{event:#}");
        event
    }

    /// What it waits for has happened.
    fn go_on(&mut self) {
        let input = self.process.stdin.as_mut().expect("piped");
        writeln!(input).expect("it listens");
    }

    fn finish(mut self) {
        assert!(self.process.wait().expect("it ended").success());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_page_plays_picture_and_sound_and_follows_a_broadcast_that_ends_and_comes_back() {
    let relay = Relay::start();
    let publisher = relay.publish();
    let browser = Browser::run("plays.mjs", &relay);

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

    publisher.0.send_event(gst::event::Eos::new());
    publisher.wait_eos();
    drop(publisher);
    browser.wait("ended");
    record(&Row {
        peer: "@moq/watch 0.4.6, Chromium",
        direction: "moqsink → the player page",
        what: "H.264, Opus; legacy; hang",
        path: "WebTransport",
        pictures: playing["frames"].as_u64().unwrap_or(0) as usize,
        sound: Some(true),
    });

    let publisher = relay.publish();
    let back = browser.wait("back");
    assert_eq!(back["violations"], serde_json::json!([]), "{back:#}");
    browser.finish();
    drop(publisher);
}

/// Until enough different frames were drawn, with sound.
fn plays(name: &str, encoder: &str, container: &str) {
    let relay = Relay::start();
    let _publisher = relay.publish_as(encoder, container);
    let playing = Browser::run("plays.mjs", &relay).wait("playing");
    assert!(playing["frames"].as_u64() >= Some(60), "{playing:#}");
    assert_eq!(playing["sound"], "running", "{playing:#}");
    assert!(playing["peak"].as_f64() > Some(0.01), "{playing:#}");
    let picture = playing["picture"].as_str().unwrap_or_default();
    assert!(picture.contains(name), "{playing:#}");
    record(&Row {
        peer: "@moq/watch 0.4.6, Chromium",
        direction: "moqsink → the player page",
        what: &format!("{name}, Opus; {container}; hang"),
        path: "WebTransport",
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

/// Chromium 156 crashes the tab at some of the stops, not at each, if the relay closes the WebTransport session and not the connection.
#[test]
fn the_page_survives_a_relay_that_stops_and_plays_on_when_it_is_back() {
    let relay = Relay::start();
    let _publisher = relay.publish();
    let mut browser = Browser::run("restarts.mjs", &relay);
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

#[test]
fn the_page_says_in_words_why_it_cannot_play() {
    let relay = Relay::start();
    let _publisher = relay.publish();
    let browser = Browser::run("words.mjs", &relay);
    browser.wait("wrong-name");
    browser.wait("another");
    browser.wait("insecure");
    browser.wait("no-webtransport");
    let no_codec = browser.wait("no-codec");
    let words = no_codec["words"].as_str().unwrap_or_default();
    assert!(words.contains("avc"), "{no_codec:#}");
    browser.finish();
}
