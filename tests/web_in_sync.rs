//! The player page in Chromium and moqsrc play the same broadcast at once; both are held against the clock that is burnt into
//! its picture and its sound (`tests/common/burnt_clock.rs`).

#[path = "common/burnt_clock.rs"]
mod burnt_clock;
mod common;

use std::sync::Arc;

use burnt_clock::{Burner, Ear, Eye, Seen, now};
use common::{
    Pipeline,
    web::{BROADCAST, Browser, Relay},
};
use gst::prelude::*;
use serde_json::Value;

/// How long each buffer is looked at, in seconds.
const SPAN: i64 = 6;

/// A page draws at animation frames: a picture is up to that much later than the player meant, in ms.
const ANIMATION_FRAME: f64 = 17.0;

/// What a busy processor may add to a median, in ms.
const SLACK: f64 = 20.0;

/// And to the 95th percentile: three frames of the picture.
const LATE: f64 = 100.0;

/// A live picture and sound that carry the clock.
fn publish(relay: &Relay) -> Pipeline {
    let publisher = Pipeline::launch(&format!(
        "moqsink url={} broadcast={BROADCAST} name=sink \
         videotestsrc name=picture is-live=true pattern=ball ! video/x-raw,format=I420,width=640,height=360,framerate=30/1 ! \
         x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 bitrate=2000 ! sink.video_0 \
         audiotestsrc name=sound is-live=true wave=silence samplesperbuffer=480 ! audio/x-raw,format=F32LE,rate=48000,channels=2 ! \
         audioconvert ! opusenc ! sink.audio_0",
        relay.url
    ));
    let burner = Arc::new(Burner::default());
    let source = |name: &str| {
        publisher
            .by_name(name)
            .static_pad("src")
            .expect("a source has a pad")
    };
    burner.paint(&source("picture"));
    burner.sound(&source("sound"));
    publisher.set(gst::State::Playing);
    publisher
}

/// moqsrc with sinks that keep to the clock, and what they show and play.
struct Player {
    _pipeline: Pipeline,
    eye: Eye,
    ear: Ear,
}

impl Player {
    fn start(relay: &Relay) -> Self {
        let pipeline = Pipeline::launch(&format!(
            "moqsrc name=src url={} broadcast={BROADCAST} \
             src.video_0 ! queue ! avdec_h264 ! videoconvert ! video/x-raw,format=GRAY8 ! \
             fakesink name=screen sync=true signal-handoffs=true \
             src.audio_0 ! queue ! opusdec ! audioconvert ! audio/x-raw,format=F32LE ! \
             fakesink name=speaker sync=true signal-handoffs=true",
            relay.url
        ));
        let (eye, ear) = (Eye::default(), Ear::default());
        let looking = eye.clone();
        handoff(&pipeline, "screen", move |buffer| {
            looking.look(now(), buffer, 640);
        });
        let listening = ear.clone();
        handoff(&pipeline, "speaker", move |buffer| {
            listening.listen(now(), buffer, 2);
        });
        pipeline.set(gst::State::Playing);
        Self {
            _pipeline: pipeline,
            eye,
            ear,
        }
    }
}

/// Calls `with` for each buffer when the sink presents it.
fn handoff(pipeline: &Pipeline, sink: &str, with: impl Fn(&[u8]) + Send + Sync + 'static) {
    pipeline
        .by_name(sink)
        .connect("handoff", false, move |values| {
            let buffer = values[1].get::<gst::Buffer>().expect("a buffer");
            with(&buffer.map_readable().expect("readable"));
            None
        });
}

/// From the capture of picture and sound to their presentation, in ms.
#[derive(Debug)]
struct Figures {
    /// Frames whose clock was read, and seconds that were heard.
    frames: usize,
    chirps: usize,
    /// Median and 95th percentile.
    picture: [f64; 2],
    sound: [f64; 2],
}

impl Figures {
    fn of(picture: Vec<f64>, sound: Vec<f64>) -> Self {
        Self {
            frames: picture.len(),
            chirps: sound.len(),
            picture: [quantile(&picture, 50), quantile(&picture, 95)],
            sound: [quantile(&sound, 50), quantile(&sound, 95)],
        }
    }

    /// How much later the picture is than the sound.
    fn offset(&self) -> f64 {
        self.picture[0] - self.sound[0]
    }

    /// Nearly every frame and every second was presented, and as late as the others.
    fn assert_steady(&self) {
        assert!(self.frames as i64 >= SPAN * 30 * 9 / 10, "{self:?}");
        assert!(self.chirps as i64 >= SPAN - 1, "{self:?}");
        for [median, late] in [self.picture, self.sound] {
            assert!(late - median <= LATE, "{self:?}");
        }
    }

    /// Enough was read for a median. Chromium leaves frames out and stalls where the processor is busy, which is not for us to judge.
    fn assert_seen(&self) {
        assert!(self.frames as i64 >= SPAN * 30 / 2, "{self:?}");
        assert!(self.chirps as i64 >= SPAN / 2, "{self:?}");
    }
}

fn quantile(values: &[f64], percent: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// What was seen while the page was looked at, too.
fn between(seen: &[Seen], start: i64) -> Vec<f64> {
    let end = start + SPAN * 1_000_000_000;
    seen.iter()
        .filter(|seen| (start..end).contains(&seen.at))
        .map(|seen| seen.late as f64 / 1e6)
        .collect()
}

fn lates(seen: &Value) -> Vec<f64> {
    let seen = seen.as_array().map(Vec::as_slice).unwrap_or_default();
    seen.iter().filter_map(|one| one["late"].as_f64()).collect()
}

/// Reads both clocks while the page plays with the buffer that it says next.
fn measure(browser: &Browser, player: &Player) -> (Figures, Figures, Value) {
    let buffer = browser.wait("watching")["buffer"].clone();
    let start = now();
    let watched = browser.wait("watched");
    let page = Figures::of(lates(&watched["picture"]), lates(&watched["sound"]));
    let moqsrc = Figures::of(
        between(&player.eye.seen(), start),
        between(&player.ear.seen(48_000), start),
    );
    eprintln!(
        "buffer {buffer}: page {page:.1?}, A/V {:+.1} ms; moqsrc {moqsrc:.1?}, A/V {:+.1} ms; apart {:+.1} ms; \
         the page shows {}, its buffer is {:.1} ms and its sound's output {} ms",
        page.offset(),
        moqsrc.offset(),
        moqsrc.picture[0] - page.picture[0],
        watched["shown"],
        number(&watched, "buffer"),
        watched["outputLatency"],
    );
    assert_eq!(player.eye.unread(), 0, "every frame of moqsrc is whole");
    assert_eq!(watched["unread"], 0, "every frame of the page is whole");
    page.assert_seen();
    moqsrc.assert_steady();
    (page, moqsrc, watched)
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or(f64::NAN)
}

/// What @moq/watch does: picture and sound wait for the same buffer, the picture then for an animation frame. It does not count
/// what the sound takes from the browser to the loudspeaker, so the picture is earlier by that.
fn assert_page(page: &Figures, watched: &Value) {
    let buffer = number(watched, "buffer");
    let after = page.picture[0] - buffer;
    assert!((0.0..ANIMATION_FRAME + SLACK).contains(&after), "{page:?}");
    let offset = page.offset() + number(watched, "outputLatency");
    assert!(offset.abs() <= ANIMATION_FRAME + SLACK, "{page:?}");
    // Nobody notices sound that is up to 45 ms early or 125 ms late (ITU-R BT.1359-1).
    assert!((-125.0..=45.0).contains(&page.offset()), "{page:?}");
    // What the page says of itself, once a second.
    let shown = watched["shown"].as_array().map(Vec::as_slice);
    let shown: Vec<_> = shown
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_f64)
        .collect();
    let error = quantile(&shown, 50) - page.picture[0];
    assert!(error.abs() <= 10.0, "{shown:?} {page:?}");
}

/// T12 of the figures, and row 1: 10 ms.
#[test]
fn page_and_moqsrc_play_one_broadcast_in_sync_with_the_burnt_in_clock() {
    let relay = Relay::start();
    let _publisher = publish(&relay);
    let player = Player::start(&relay);
    let duration = (SPAN * 1000).to_string();
    let browser = Browser::run("in-sync.mjs", &[&relay.url, BROADCAST, &duration]);

    let (page, moqsrc, watched) = measure(&browser, &player);
    assert_page(&page, &watched);
    assert!(moqsrc.offset().abs() <= 10.0, "{moqsrc:?}");

    // With a buffer of 200 ms, as long as moqsrc's latency, both show the same moment.
    let (page, moqsrc, watched) = measure(&browser, &player);
    assert!(number(&watched, "buffer") >= 200.0, "{watched:#}");
    assert_page(&page, &watched);
    assert!(moqsrc.offset().abs() <= 10.0, "{moqsrc:?}");
    let apart = moqsrc.picture[0] - page.picture[0];
    assert!(apart.abs() <= 50.0, "{page:?} {moqsrc:?}");
    browser.finish();
}
