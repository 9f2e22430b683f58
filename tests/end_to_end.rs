//! moqsink → embedded relay → moqsrc: what is decoded is what was encoded, in time and in sync.

mod common;

use std::collections::HashMap;

use common::{Pipeline, Record, Seen, init};
use gst::prelude::*;
use gstmoq::net::relay::{Relay, RelayConfig};

/// How a client reaches the relay.
#[derive(Debug, Clone, Copy)]
enum Wire {
    WebTransport,
    RawQuic,
}

impl Wire {
    /// Properties of an element that dials.
    fn to(self, relay: &Relay) -> String {
        let port = relay.bound()[0].port();
        match self {
            Self::WebTransport => {
                format!("url=http://127.0.0.1:{port}/ transport=webtransport")
            }
            Self::RawQuic => format!(
                "url=moql://127.0.0.1:{port}/ server-certificate-hashes=<{}>",
                relay.fingerprint()
            ),
        }
    }
}

/// Publishing and playing pipelines that share clock and base time, so that their running times compare.
struct Pair {
    publisher: Pipeline,
    player: Pipeline,
    _relay: Relay,
}

impl Pair {
    fn start(wire: Wire, publish: &str, play: &str) -> Self {
        init();
        let relay = Relay::start(RelayConfig::local()).expect("a relay");
        let to = wire.to(&relay);
        let publisher = Pipeline::launch(&format!(
            "{publish} moqsink name=sink {to} broadcast=e2e.hang"
        ));
        let player = Pipeline::launch(&format!("moqsrc name=src {to} broadcast=e2e.hang {play}"));
        let clock = gst::SystemClock::obtain();
        let base = clock.time();
        for pipeline in [&publisher, &player] {
            pipeline.0.use_clock(Some(&clock));
            pipeline.0.set_start_time(gst::ClockTime::NONE);
            pipeline.0.set_base_time(base);
        }
        Self {
            publisher,
            player,
            _relay: relay,
        }
    }

    /// The player is there before the first frame is published, so that all of them arrive.
    fn play_all(&self) {
        self.player.set(gst::State::Playing);
        self.publisher.set(gst::State::Playing);
    }
}

const VIDEO: &str = "videotestsrc is-live=true pattern=ball num-buffers=90 ! video/x-raw,width=320,height=240,framerate=30/1,format=I420";
const AUDIO: &str = "audiotestsrc is-live=true wave=white-noise samplesperbuffer=960 num-buffers=150 ! audio/x-raw,rate=48000,channels=2 ! opusenc";

/// Offsets of running time between what was sent and what arrived, by payload.
fn offsets(sent: &[Seen], got: &[Seen]) -> Vec<i64> {
    let sent: HashMap<u64, &Seen> = sent.iter().map(|seen| (seen.hash, seen)).collect();
    got.iter()
        .filter_map(|got| {
            let sent = sent.get(&got.hash)?.running?.nseconds() as i64;
            Some(got.running?.nseconds() as i64 - sent)
        })
        .collect()
}

fn median(mut values: Vec<i64>) -> i64 {
    assert!(!values.is_empty());
    values.sort_unstable();
    values[values.len() / 2]
}

fn hashes(record: &Record) -> Vec<u64> {
    record.all().iter().map(|seen| seen.hash).collect()
}

/// Publishes encoded video, decodes it on both sides and compares the pictures.
fn decoded_pictures_are_the_same(wire: Wire, encoder: &str, caps: &str) {
    let publish = format!(
        "{VIDEO} ! {encoder} ! {caps} ! tee name=t t. ! queue ! avdec_h264 max-threads=1 ! fakesink name=sent sync=false \
         t. ! queue name=feed ! sink."
    );
    let play = "src.video_0 ! avdec_h264 max-threads=1 ! fakesink name=got sync=false";
    let pair = Pair::start(wire, &publish, play);
    let (sent, got) = (pair.publisher.record("sent"), pair.player.record("got"));
    pair.play_all();
    pair.publisher.wait_eos();
    pair.player.wait_eos();
    let (sent, got) = (hashes(&sent), hashes(&got));
    assert_eq!(sent.len(), 90, "the encoder's own pictures");
    // The player may join after some frames; from its first picture on every one is there, in order.
    let first = sent
        .iter()
        .position(|hash| *hash == got[0])
        .expect("a picture that was sent");
    assert_eq!(got, sent[first..]);
    assert!(got.len() >= 60, "{} of 90 pictures", got.len());
}

#[test]
fn byte_stream_over_webtransport() {
    decoded_pictures_are_the_same(
        Wire::WebTransport,
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30",
        "video/x-h264,stream-format=byte-stream,alignment=au",
    );
}

#[test]
fn avc_over_raw_quic() {
    decoded_pictures_are_the_same(
        Wire::RawQuic,
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30",
        "video/x-h264,stream-format=avc,alignment=au",
    );
}

#[test]
fn b_frames_over_both_transports() {
    for wire in [Wire::WebTransport, Wire::RawQuic] {
        decoded_pictures_are_the_same(
            wire,
            "x264enc speed-preset=ultrafast bframes=2 b-adapt=false key-int-max=30 rc-lookahead=0 sync-lookahead=0",
            "video/x-h264,stream-format=byte-stream,alignment=au",
        );
    }
}

#[test]
fn open_gop_over_webtransport() {
    decoded_pictures_are_the_same(
        Wire::WebTransport,
        "x264enc speed-preset=ultrafast bframes=2 b-adapt=false key-int-max=30 rc-lookahead=0 sync-lookahead=0 option-string=open-gop=1",
        "video/x-h264,stream-format=byte-stream,alignment=au",
    );
}

/// Access units and packets arrive unchanged, in sync, with the stamps that decoders and muxers need.
fn stamps_and_sync(wire: Wire) {
    let publish = format!(
        "{VIDEO} ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! \
         video/x-h264,stream-format=byte-stream,alignment=au ! queue name=video ! sink. {AUDIO} ! queue name=audio ! sink."
    );
    let play =
        "src.video_0 ! fakesink name=video sync=true src.audio_0 ! fakesink name=audio sync=true";
    let pair = Pair::start(wire, &publish, play);
    let (video_sent, audio_sent) = (
        pair.publisher.record("video"),
        pair.publisher.record("audio"),
    );
    let (video, audio) = (pair.player.record("video"), pair.player.record("audio"));
    pair.play_all();
    pair.publisher.wait_eos();
    pair.player.wait_eos();

    let video_offset = median(offsets(&video_sent.all(), &video.all()));
    let audio_offset = median(offsets(&audio_sent.all(), &audio.all()));
    let apart = (video_offset - audio_offset).abs();
    assert!(apart <= 10_000_000, "video and audio are {apart} ns apart");
    // One mapping: every frame of both tracks is moved by the same, but for what slewing corrects.
    for offset in offsets(&video_sent.all(), &video.all())
        .iter()
        .chain(&offsets(&audio_sent.all(), &audio.all()))
    {
        assert!((offset - video_offset).abs() <= 10_000_000);
    }

    let video = video.all();
    assert!(video[0].is_key() && video[0].is_discont());
    assert!(video.iter().skip(1).all(|frame| !frame.is_discont()));
    for frame in &video {
        assert!(frame.dts.is_some_and(|dts| Some(dts) <= frame.pts));
        assert!(frame.duration.is_some());
    }
    assert!(video.windows(2).all(|pair| pair[0].dts < pair[1].dts));
    let audio = audio.all();
    assert!(
        audio
            .iter()
            .all(|packet| packet.duration == Some(gst::ClockTime::from_mseconds(20)))
    );
    let (sent, got): (Vec<u64>, Vec<u64>) = (
        hashes(&audio_sent),
        audio.iter().map(|seen| seen.hash).collect(),
    );
    let first = sent
        .iter()
        .position(|hash| *hash == got[0])
        .expect("a packet that was sent");
    assert_eq!(got, sent[first..]);
}

#[test]
fn stamps_and_sync_over_webtransport() {
    stamps_and_sync(Wire::WebTransport);
}

#[test]
fn stamps_and_sync_over_raw_quic() {
    stamps_and_sync(Wire::RawQuic);
}

/// Row 1 of the peer's faults: lip sync differs at every join.
#[test]
fn audio_and_video_are_in_sync_whenever_in_a_group_a_player_joins() {
    init();
    let relay = Relay::start(RelayConfig::local()).expect("a relay");
    let to = Wire::WebTransport.to(&relay);
    let publisher = Pipeline::launch(&format!(
        "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 ! \
         x264enc tune=zerolatency speed-preset=ultrafast key-int-max=60 ! h264parse ! queue name=video ! \
         moqsink name=sink {to} broadcast=e2e.hang \
         audiotestsrc is-live=true wave=white-noise ! opusenc ! queue name=audio ! sink."
    ));
    let (video_sent, audio_sent) = (publisher.record("video"), publisher.record("audio"));
    publisher.set(gst::State::Playing);
    for frames in [10, 35, 55] {
        video_sent.wait("the next phase of the group", |seen| {
            let keys = seen.iter().rposition(Seen::is_key);
            keys.is_some_and(|key| seen.len() - key >= frames)
        });
        let player = Pipeline::launch(&format!(
            "moqsrc name=src {to} broadcast=e2e.hang src.video_0 ! fakesink name=video sync=true src.audio_0 ! fakesink name=audio sync=true"
        ));
        let (video, audio) = (player.record("video"), player.record("audio"));
        player.set(gst::State::Playing);
        let in_segment =
            |seen: &[Seen]| seen.iter().filter(|seen| seen.running.is_some()).count() >= 10;
        // What was sent is looked at afterwards: most of what arrives was not sent yet.
        let (video, audio) = (
            video.wait("video", in_segment),
            audio.wait("audio", in_segment),
        );
        let video = offsets(&video_sent.all(), &video);
        let audio = offsets(&audio_sent.all(), &audio);
        let apart = (median(video) - median(audio)).abs();
        assert!(
            apart <= 10_000_000,
            "joined {frames} frames in: {apart} ns apart"
        );
    }
}
