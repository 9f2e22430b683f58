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

/// What a publisher of either plugin is made of.
const ENCODERS: &str = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=30/1 ! \
    x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! h264parse ! \
    video/x-h264,stream-format=byte-stream,alignment=au ! m. \
    audiotestsrc is-live=true wave=white-noise ! audio/x-raw,rate=48000,channels=2 ! opusenc ! m.";

#[test]
fn moq_gst_plays_what_moqsink_publishes() {
    let relay = paths::relay();
    let url = relay.url();
    let sink = format!("moqsink name=m url={url} broadcast=ours.hang {ENCODERS}");
    let _publisher = Pipeline::play(&sink);
    let source = format!("moqsrc name=s url={url} broadcast=ours.hang");
    let mut video = Launch::start(
        &peer_plugin(),
        &format!(
            "{source} s.video_0 ! queue ! decodebin3 ! videoconvert ! video/x-raw,format=I420 ! fdsink fd=1 sync=false"
        ),
    );
    // Its caps for Opus have fields of a type that no decoder takes (peer-lessons row 4): the test mends them.
    let mut audio = Launch::start(
        &peer_plugin(),
        &format!(
            "{source} s.audio_0 ! {MENDED} ! opusdec ! audio/x-raw,format=S16LE,channels=2,rate=48000 ! fdsink fd=1 sync=false"
        ),
    );
    let (_, pictures) = video.pieces(PICTURE).wait_distinct("pictures", 60);
    audio.pieces(SOUND).wait_distinct("20 ms of sound", 60);
    record(&Row {
        peer: PEER,
        direction: "moqsink → its moqsrc",
        what: "H.264, Opus; legacy; hang",
        path: "moq-lite-06, WebTransport",
        pictures,
        sound: Some(true),
    });
}

#[test]
fn moqsrc_plays_what_moq_gst_publishes() {
    let relay = paths::relay();
    let url = relay.url();
    let sink = format!("moqsink name=m url={url} broadcast=theirs.hang {ENCODERS}");
    let _publisher = Launch::start(&peer_plugin(), &sink);
    let player = Pipeline::launch(&format!(
        "moqsrc name=s url={url} broadcast=theirs.hang \
         s.video_0 ! queue ! avdec_h264 ! fakesink name=video sync=false \
         s.audio_0 ! queue ! opusdec ! fakesink name=audio sync=false"
    ));
    let (video, audio) = (player.record("video"), player.record("audio"));
    player.set(gst::State::Playing);
    let pictures = distinct(&video.wait_count(60));
    let sound = distinct(&audio.wait_count(60));
    assert!(pictures >= 55, "{pictures} of 60 pictures differ");
    assert!(sound >= 55, "{sound} of 60 packets of noise differ");
    record(&Row {
        peer: PEER,
        direction: "its moqsink → moqsrc",
        what: "H.264, Opus; legacy; hang",
        path: "moq-lite-06, WebTransport",
        pictures,
        sound: Some(true),
    });
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
