//! Our elements with those of moq-gst 0.4.20, each in a process of its own, through our relay. `scripts/test` builds moq-gst and names its
//! plugin in MOQ_GST_PLUGIN.

mod common;

use std::path::PathBuf;

use common::{
    Pipeline,
    interop::{Row, record},
    launch::{Launch, our_plugin},
    paths,
};
use gst::prelude::*;

const PEER: &str = "moq-gst 0.4.20";

/// Of a raw I420 picture of 320×180.
const PICTURE: usize = 320 * 180 * 3 / 2;

fn peer_plugin() -> PathBuf {
    let path = std::env::var_os("MOQ_GST_PLUGIN").expect(
        "MOQ_GST_PLUGIN names no plugin of moq-gst 0.4.20: run scripts/test, which builds it, or scripts/test --quick to do without",
    );
    path.into()
}

/// Of 20 ms of S16LE, stereo, 48 kHz.
const SOUND: usize = 960 * 2 * 2;

const MENDED: &str =
    "capssetter replace=true caps=audio/x-opus,rate=48000,channels=2,channel-mapping-family=0";

/// A codec: its name, what makes it in a form that both plugins take, and what decodes it.
struct Codec(&'static str, &'static str, &'static str);

const H264: Codec = Codec(
    "H.264",
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! h264parse ! \
     video/x-h264,stream-format=byte-stream,alignment=au",
    "avdec_h264",
);
const H265: Codec = Codec(
    "H.265",
    "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! h265parse ! \
     video/x-h265,stream-format=byte-stream,alignment=au",
    "avdec_h265",
);
const VP8: Codec = Codec("VP8", "vp8enc deadline=1 keyframe-max-dist=30", "vp8dec");
const VP9: Codec = Codec(
    "VP9",
    "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=30",
    "vp9dec",
);
const AV1: Codec = Codec(
    "AV1",
    "av1enc cpu-used=8 usage-profile=realtime keyframe-max-dist=30 ! av1parse ! \
     video/x-av1,stream-format=obu-stream,alignment=tu",
    "av1dec",
);
const OPUS: Codec = Codec("Opus", "opusenc", "opusdec");
const AAC: Codec = Codec(
    "AAC",
    "voaacenc ! aacparse ! audio/mpeg,stream-format=raw",
    "avdec_aac",
);
const MP3: Codec = Codec("MP3", "lamemp3enc ! mpegaudioparse", "mpg123audiodec");

/// A publisher of either plugin.
fn publisher(url: &str, video: &Codec, audio: &Codec, container: &str) -> String {
    format!(
        "moqsink name=m url={url} broadcast=test.hang sink_0::container={container} sink_1::container={container} \
         videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=180,framerate=30/1 ! {} ! m.sink_0 \
         audiotestsrc is-live=true wave=white-noise ! audio/x-raw,rate=48000,channels=2 ! {} ! m.sink_1",
        video.1, audio.1
    )
}

fn keep(
    direction: &str,
    video: &Codec,
    audio: &Codec,
    container: &str,
    pictures: usize,
    sound: bool,
) {
    record(&Row {
        peer: PEER,
        direction,
        what: &format!("{}, {}; {container}; hang", video.0, audio.0),
        path: "moq-lite-06, WebTransport",
        pictures,
        sound: sound.then_some(true),
    });
}

/// Pictures are decoded there; sound is where that is possible at all.
fn it_plays(video: &Codec, audio: &Codec, container: &str) {
    let relay = paths::relay();
    let url = relay.url();
    let _publisher = Pipeline::play(&publisher(&url, video, audio, container));
    let source = format!("moqsrc name=s url={url} broadcast=test.hang");
    let decode =
        "queue ! decodebin3 ! videoconvert ! video/x-raw,format=I420 ! fdsink fd=1 sync=false";
    let mut player = Launch::start(&peer_plugin(), &format!("{source} s.video_0 ! {decode}"));
    let (_, pictures) = player.pieces(PICTURE).wait_distinct("pictures", 45);
    drop(player);
    // Its caps for Opus have fields of a type that no decoder takes (peer-lessons row 4): the test mends them.
    let has_sound = audio.0 == OPUS.0;
    if has_sound {
        let decode =
            "opusdec ! audio/x-raw,format=S16LE,channels=2,rate=48000 ! fdsink fd=1 sync=false";
        let listen = format!("{source} s.audio_0 ! {MENDED} ! {decode}");
        let mut listener = Launch::start(&peer_plugin(), &listen);
        listener.pieces(SOUND).wait_distinct("20 ms of sound", 45);
    }
    keep(
        "moqsink → its moqsrc",
        video,
        audio,
        container,
        pictures,
        has_sound,
    );
}

fn we_play(video: &Codec, audio: &Codec, container: &str) {
    let relay = paths::relay();
    let url = relay.url();
    let _publisher = Launch::start(&peer_plugin(), &publisher(&url, video, audio, container));
    let player = Pipeline::launch(&format!(
        "moqsrc name=s url={url} broadcast=test.hang \
         s.video_0 ! queue ! {} ! fakesink name=video sync=false \
         s.audio_0 ! queue ! {} ! fakesink name=audio sync=false",
        video.2, audio.2
    ));
    let (seen, heard) = (player.record("video"), player.record("audio"));
    player.set(gst::State::Playing);
    let pictures = distinct(&seen.wait_count(60));
    let sound = distinct(&heard.wait_count(30));
    assert!(pictures >= 50, "{pictures} of 60 pictures differ");
    assert!(sound >= 28, "{sound} of 30 packets of noise differ");
    keep(
        "its moqsink → moqsrc",
        video,
        audio,
        container,
        pictures,
        true,
    );
}

#[test]
fn it_plays_our_h264_and_opus() {
    it_plays(&H264, &OPUS, "legacy");
}

#[test]
fn it_plays_our_h265_and_aac() {
    it_plays(&H265, &AAC, "legacy");
}

#[test]
fn it_plays_our_vp8_and_mp3() {
    it_plays(&VP8, &MP3, "legacy");
}

#[test]
fn it_plays_our_vp9_in_loc() {
    it_plays(&VP9, &OPUS, "loc");
}

#[test]
fn it_plays_our_av1_and_h264_in_cmaf() {
    it_plays(&AV1, &OPUS, "legacy");
    it_plays(&H264, &AAC, "cmaf");
}

#[test]
fn we_play_its_h264_and_opus() {
    we_play(&H264, &OPUS, "legacy");
}

#[test]
fn we_play_its_h265_and_aac() {
    we_play(&H265, &AAC, "legacy");
}

#[test]
fn we_play_its_vp8_and_mp3() {
    we_play(&VP8, &MP3, "legacy");
}

#[test]
fn we_play_its_vp9_in_loc() {
    we_play(&VP9, &OPUS, "loc");
}

#[test]
fn we_play_its_av1() {
    we_play(&AV1, &OPUS, "legacy");
}

fn distinct(seen: &[common::Seen]) -> usize {
    let hashes: std::collections::HashSet<u64> = seen.iter().map(|seen| seen.hash).collect();
    hashes.len()
}

/// The pipelines of its manual with nothing changed but names of files and hosts, and sinks that need no display.
#[test]
fn the_pipelines_of_moq_gst_s_manual_run_on_ours() {
    let relay = paths::relay();
    let url = relay.url();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bbb.mp4");
    let make = Pipeline::launch(&format!(
        "videotestsrc num-buffers=150 pattern=ball ! video/x-raw,width=320,height=180,framerate=30/1 ! x264enc key-int-max=30 ! \
         h264parse ! mp4mux name=mux fragment-duration=500 ! filesink location={} \
         audiotestsrc num-buffers=215 wave=white-noise ! audio/x-raw,rate=48000,channels=2 ! opusenc ! mux.",
        file.display()
    ));
    make.set(gst::State::Playing);
    make.wait_eos();
    drop(make);
    let file = file.display();
    let publish = format!(
        "multifilesrc location={file} loop=true ! parsebin name=parse \
         parse. ! queue ! identity sync=true ! mux.sink_0 \
         parse. ! queue ! identity sync=true ! mux.sink_1 \
         moqsink name=mux url={url} broadcast=bbb.hang sink_0::track=camera sink_1::track=commentary"
    );
    let _publisher = Launch::start(&our_plugin(), &publish);
    let subscribe = format!(
        "moqsrc name=s url={url} broadcast=bbb.hang \
         s.video_0 ! queue ! decodebin3 ! videoconvert ! video/x-raw,format=I420 ! fdsink fd=1 \
         s.audio_0 ! queue ! decodebin3 ! audioconvert ! fakesink"
    );
    let mut player = Launch::start(&our_plugin(), &subscribe);
    player.pieces(PICTURE).wait_distinct("pictures", 60);
}

/// Reads its properties from its `gst-inspect-1.0`; ours takes each of them, and the pad's.
#[test]
fn every_property_of_moq_gst_is_one_of_ours() {
    common::init();
    for (element, pad) in [("moqsink", Some("sink_0")), ("moqsrc", None)] {
        let inspected = inspect(element);
        let ours = gst::ElementFactory::make(element)
            .build()
            .expect("registered");
        for name in properties(&inspected, "Element Properties:") {
            assert!(
                ours.find_property(&name).is_some(),
                "{element} has no property {name}"
            );
        }
        let Some(pad) = pad else { continue };
        let pad = ours.request_pad_simple(pad).expect("a pad");
        for name in properties(&inspected, "Pad Properties:") {
            assert!(
                pad.find_property(&name).is_some(),
                "pads of {element} have no property {name}"
            );
        }
    }
}

fn inspect(element: &str) -> String {
    let plugin = peer_plugin();
    let folder = tempfile::tempdir().expect("a folder");
    let output = std::process::Command::new("gst-inspect-1.0")
        .arg(element)
        .env("GST_PLUGIN_PATH", plugin.parent().expect("in a folder"))
        .env("GST_REGISTRY", folder.path().join("registry.bin"))
        .env_remove("G_DEBUG")
        .output()
        .expect("gst-inspect-1.0");
    String::from_utf8(output.stdout).expect("text")
}

/// Names at the left of lines `  name   : text` of one section. Flags, defaults and values stand farther to the right than names.
fn properties(inspected: &str, section: &str) -> Vec<String> {
    let after = inspected
        .split_once(section)
        .unwrap_or_else(|| panic!("no section {section}"))
        .1;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = after
        .lines()
        .skip(1)
        .filter(|line| !line.trim().is_empty())
        .collect();
    let names_at = lines.first().map_or(0, |line| indent(line));
    let section = lines.iter().take_while(|line| indent(line) >= names_at);
    let name = |line: &&str| {
        let (name, _) = line.split_once(": ")?;
        (indent(line) == names_at).then(|| name.trim().to_owned())
    };
    let names: Vec<_> = section.filter_map(name).collect();
    assert!(names.len() > 3, "{names:?}");
    names
}
