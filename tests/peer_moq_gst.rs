//! Our elements with those of moq-gst 0.4.20, each in a process of its own, through our relay. `scripts/test` builds moq-gst and names its
//! plugin in MOQ_GST_PLUGIN.

mod common;

use common::{
    Pipeline,
    codecs::*,
    interop::{Row, record},
    launch::{Launch, our_plugin},
    moq_gst::{self, PEER},
    paths,
};
use gst::prelude::*;

fn keep(direction: &str, video: &Codec, audio: &Codec, container: &str, pictures: usize) {
    record(&Row {
        peer: PEER,
        direction,
        what: &format!("{}, {}; {container}; hang", video.name, audio.name),
        path: "moq-lite-06, WebTransport",
        pictures,
        sound: Some(true),
    });
}

/// Its moqsrc, in processes of their own, decodes pictures and sound of each container.
///
/// Of several in one process it ends some of the subscriptions at once.
fn it_plays(video: &Codec, audio: &Codec) {
    let relay = paths::relay();
    let url = relay.url();
    let publisher = publish(&format!("url={url}"), video, audio, &CONTAINERS);
    let _publisher = Pipeline::play(&publisher);
    let players = CONTAINERS.map(|container| {
        let to = format!("url={url} broadcast={container}.hang");
        (container, moq_gst::Player::start(&to, audio))
    });
    for (container, player) in &players {
        let pictures = player.wait_played(container);
        keep("moqsink → its moqsrc", video, audio, container, pictures);
    }
}

/// moqsrc decodes pictures and sound of each container that its moqsink, in a process of its own, can write.
fn we_play(video: &Codec, audio: &Codec) {
    const ITS_CONTAINERS: [&str; 2] = ["legacy", "loc"];
    let relay = paths::relay();
    let url = relay.url();
    let to = format!("url={url}");
    let publisher = publish(&to, video, audio, &ITS_CONTAINERS);
    let _publisher = Launch::start(&moq_gst::plugin(), &publisher);
    let players = ITS_CONTAINERS.map(|container| {
        let to = format!("{to} broadcast={container}.hang");
        play(container, &to, video, Some(audio))
    });
    let player = Pipeline::launch(&players.concat());
    let sinks = ITS_CONTAINERS.map(|container| {
        let record = |kind| player.record(&format!("{container}-{kind}"));
        (container, record("video"), record("audio"))
    });
    player.set(gst::State::Playing);
    for (container, seen, heard) in sinks {
        let pictures = assert_played(container, &seen, Some(&heard));
        keep("its moqsink → moqsrc", video, audio, container, pictures);
    }
}

#[test]
fn it_plays_our_h264_and_opus_in_each_container() {
    it_plays(&H264, &OPUS);
}

#[test]
fn it_plays_our_h264_and_aac_in_each_container() {
    it_plays(&H264, &AAC);
}

#[test]
fn it_plays_our_h265_and_aac_in_each_container() {
    it_plays(&H265, &AAC);
}

#[test]
fn it_plays_our_vp8_and_mp3_in_each_container() {
    it_plays(&VP8, &MP3);
}

#[test]
fn it_plays_our_vp9_in_each_container() {
    it_plays(&VP9, &OPUS);
}

#[test]
fn it_plays_our_av1_in_each_container() {
    it_plays(&AV1, &OPUS);
}

#[test]
fn we_play_its_h264_and_opus_in_legacy_and_loc() {
    we_play(&H264, &OPUS);
}

#[test]
fn we_play_its_h264_and_aac_in_legacy_and_loc() {
    we_play(&H264, &AAC);
}

#[test]
fn we_play_its_h265_and_aac_in_legacy_and_loc() {
    we_play(&H265, &AAC);
}

#[test]
fn we_play_its_vp8_and_mp3_in_legacy_and_loc() {
    we_play(&VP8, &MP3);
}

#[test]
fn we_play_its_vp9_in_legacy_and_loc() {
    we_play(&VP9, &OPUS);
}

#[test]
fn we_play_its_av1_in_legacy_and_loc() {
    we_play(&AV1, &OPUS);
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
    let plugin = moq_gst::plugin();
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
