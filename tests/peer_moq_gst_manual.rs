//! Pipelines and programs written for moq-gst, on our elements: what its manual shows, and every property, pad and signal that it has.

mod common;

use std::{collections::BTreeMap, path::Path};

use common::{
    Pipeline,
    codecs::{PICTURE, SOUND},
    interop::{Row, Sessions, at_relay, record},
    launch::{Launch, Pieces, our_plugin},
    moq_gst, paths,
};
use gst::{glib, prelude::*};

/// What its manual calls `bbb.mp4`, fragmented, of five seconds.
fn make_file(file: &Path) {
    let make = Pipeline::launch(&format!(
        "videotestsrc num-buffers=150 pattern=ball ! video/x-raw,width=320,height=180,framerate=30/1 ! x264enc key-int-max=30 ! \
         h264parse ! mp4mux name=mux fragment-duration=500 ! filesink location={} \
         audiotestsrc num-buffers=215 wave=white-noise ! audio/x-raw,rate=48000,channels=2 ! opusenc ! mux.",
        file.display()
    ));
    make.set(gst::State::Playing);
    make.wait_eos();
}

/// All of README.md, doc/bin/gstreamer.md and its smoke test with nothing changed but names of files and hosts, and sinks that need no display.
#[test]
fn the_pipelines_of_moq_gst_s_manual_run_on_ours() {
    let relay = paths::relay();
    let url = relay.url();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bbb.mp4");
    make_file(&file);
    let file = file.display();
    let publish = |to: &str| {
        let description = format!(
            "multifilesrc location={file} loop=true ! parsebin name=parse \
             parse. ! queue ! identity sync=true ! mux.sink_0 \
             parse. ! queue ! identity sync=true ! mux.sink_1 \
             moqsink name=mux url={url} {to}"
        );
        Launch::start(&our_plugin(), &description)
    };
    let _named = publish("broadcast=bbb.hang sink_0::track=camera sink_1::track=commentary");
    let _bare = publish("broadcast=\"bbb\"");
    let show = "video/x-raw,format=I420 ! fdsink fd=1";
    let heard = folder.path().join("sound");
    let sound = Pieces::of_pipe(&heard, SOUND);
    let hear = format!(
        "audio/x-raw,format=S16LE,rate=48000,channels=2 ! filesink location={} buffer-mode=unbuffered",
        heard.display()
    );
    let players = [
        format!(
            "moqsrc name=s url={url} broadcast=bbb.hang \
             s.video_0 ! queue ! decodebin3 ! videoconvert ! {show} \
             s.audio_0 ! queue ! decodebin3 ! audioconvert ! {hear}"
        ),
        format!(
            "moqsrc name=s url={url} broadcast=bbb.hang s.video_0 ! queue ! decodebin3 ! videoconvert ! {show}"
        ),
        format!("moqsrc url={url} broadcast=bbb ! decodebin3 ! videoconvert ! {show}"),
    ];
    let mut players = players.map(|description| Launch::start(&our_plugin(), &description));
    let pieces = players.each_mut().map(|player| player.pieces(PICTURE));
    let pipe = folder.path().join("smoke");
    let coded = Pieces::of_pipe(&pipe, 1);
    let _smoke = Launch::start(
        &our_plugin(),
        &format!(
            "moqsrc url={url} broadcast=bbb ! filesink location={} buffer-mode=2",
            pipe.display()
        ),
    );
    // Noise: no two pieces of it are alike.
    sound.wait_distinct("20 ms of sound", 60);
    let peer = moq_gst::peer();
    let links = [
        ("H.264, Opus", "each pad by name", Some(true)),
        ("H.264", "video pad alone", None),
        ("H.264", "first pad", None),
    ];
    for ((codecs, links, sound), pieces) in links.into_iter().zip(&pieces) {
        let (_, pictures) = pieces.wait_distinct(links, 60);
        record(&Row {
            peer: &peer,
            direction: "pipelines of its manual, on ours",
            what: &format!("{codecs}; {links}"),
            path: &at_relay(&relay, Sessions::All),
            pictures,
            sound,
        });
    }
    coded.wait_distinct("coded bytes", 16);
}

/// What differs on purpose; the manual of our elements says so, too.
const OTHER_DEFAULT: [&str; 1] = ["quic-keep-alive"];
const OTHER_NICKS: [&str; 1] = ["track-status"];

/// Kinds of tracks that our elements do not have.
const NOT_TAKEN: [&str; 2] = ["text/x-raw", "application/octet-stream"];

#[test]
fn every_property_of_moq_gst_is_one_of_ours_of_its_type_and_default() {
    for element in ["moqsink", "moqsrc"] {
        let theirs = inspect(&moq_gst::plugin(), element);
        let ours = inspect(&our_plugin(), element);
        for section in ["Element Properties:", "Pad Properties:"] {
            let mine = properties(&ours, section);
            for (name, theirs) in properties(&theirs, section) {
                let ours = mine
                    .get(&name)
                    .unwrap_or_else(|| panic!("{element}, {section} no {name}"));
                let what = format!("{element}, {section} {name}: {ours:?}, theirs {theirs:?}");
                assert_eq!(ours.kind, theirs.kind, "{what}");
                assert!(
                    theirs.flags.iter().all(|flag| ours.flags.contains(flag)),
                    "{what}"
                );
                if !OTHER_DEFAULT.contains(&name.as_str()) {
                    assert_eq!(ours.default, theirs.default, "{what}");
                }
                if !OTHER_NICKS.contains(&name.as_str()) {
                    let known = |nick| ours.nicks.contains(nick);
                    assert!(theirs.nicks.iter().all(known), "{what}");
                }
            }
        }
    }
}

#[test]
fn every_pad_template_signal_and_interface_of_moq_gst_is_one_of_ours() {
    common::init();
    for element in ["moqsink", "moqsrc"] {
        let theirs = inspect(&moq_gst::plugin(), element);
        let factory = gst::ElementFactory::find(element).expect("registered");
        let our_templates = factory.static_pad_templates();
        for (name, caps) in templates(&theirs) {
            let ours = our_templates
                .iter()
                .find(|template| template.name_template() == name)
                .unwrap_or_else(|| panic!("{element} has no pads {name}"));
            for caps in caps {
                let media = caps.structure(0).expect("a structure").name().to_string();
                let taken = ours.caps().can_intersect(&caps);
                assert_eq!(taken, !NOT_TAKEN.contains(&media.as_str()), "{caps}");
            }
        }
        let ours = factory.create().build().expect("an element");
        for line in theirs.lines() {
            let Some((name, _)) = line.strip_prefix("  \"").and_then(|l| l.split_once("\" :"))
            else {
                continue;
            };
            let signal = glib::subclass::SignalId::lookup(name, ours.type_());
            assert!(signal.is_some(), "{element} has no signal {name}");
        }
        if theirs.contains("GstChildProxy") {
            assert!(ours.is::<gst::ChildProxy>());
        }
    }
}

fn inspect(plugin: &Path, element: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(plugin, folder.path().join("libgstmoq.so")).expect("linked");
    let output = std::process::Command::new("gst-inspect-1.0")
        .arg(element)
        .env("GST_PLUGIN_PATH", folder.path())
        .env("GST_REGISTRY", folder.path().join("registry.bin"))
        .env_remove("G_DEBUG")
        .output()
        .expect("gst-inspect-1.0");
    String::from_utf8(output.stdout).expect("text")
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// A property as gst-inspect-1.0 shows it.
#[derive(Debug, Default)]
struct Property {
    kind: String,
    flags: Vec<String>,
    default: Option<String>,
    nicks: Vec<String>,
}

impl Property {
    /// A line below the one with the name.
    fn add(&mut self, line: &str) {
        let line = line.trim();
        if let Some(flags) = line.strip_prefix("flags: ") {
            // Commas separate flags, and states in the last of them.
            self.flags = flags.splitn(3, ", ").map(str::to_owned).collect();
        } else if let Some((_, nick)) = line.strip_prefix('(').and_then(|l| l.split_once("): ")) {
            let nick = nick.split_whitespace().next().unwrap_or_default();
            self.nicks.push(nick.to_owned());
        } else if self.kind.is_empty() {
            let (kind, default) = match line.split_once("Default: ") {
                Some((kind, default)) => (kind, Some(default.trim().to_owned())),
                None => (line, None),
            };
            // The names of enums are each plugin's own.
            let kind = kind.split(" \"GstMoq").next().unwrap_or_default();
            self.kind = kind.trim().to_owned();
            self.default = default;
        }
    }
}

/// Names stand at the left of lines `  name   : text` of a section; flags, type, default and values farther to the right.
fn properties(inspected: &str, section: &str) -> BTreeMap<String, Property> {
    let mut properties = BTreeMap::new();
    let Some((_, after)) = inspected.split_once(section) else {
        return properties;
    };
    let lines = after.lines().skip(1).filter(|line| !line.trim().is_empty());
    let mut names_at = None;
    let mut last = String::new();
    for line in lines {
        let names_at = *names_at.get_or_insert(indent(line));
        if indent(line) < names_at {
            break;
        }
        if indent(line) == names_at {
            let name = line.split(':').next().unwrap_or_default();
            last = name.trim().to_owned();
            properties.insert(last.clone(), Property::default());
        } else if let Some(property) = properties.get_mut(&last) {
            property.add(line);
        }
    }
    assert!(properties.len() > 3, "{properties:?}");
    properties
}

/// Names of pad templates with each structure of their caps.
fn templates(inspected: &str) -> Vec<(String, Vec<gst::Caps>)> {
    let (_, after) = inspected.split_once("Pad Templates:").expect("templates");
    let mut templates = Vec::new();
    for template in after.split(" template: '").skip(1) {
        let (name, rest) = template.split_once('\'').expect("a name");
        let (_, caps) = rest.split_once("Capabilities:\n").expect("caps");
        let mut structures: Vec<String> = Vec::new();
        for line in caps.lines().take_while(|line| indent(line) >= 6) {
            match line.trim().split_once(": ") {
                Some((field, value)) => {
                    let structure = structures.last_mut().expect("a media type");
                    *structure += &format!(",{field}={value}");
                }
                None => structures.push(line.trim().to_owned()),
            }
        }
        let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("caps: {text}"));
        let caps = structures
            .into_iter()
            .filter(|text| text != "ANY")
            .map(parse);
        templates.push((name.to_owned(), caps.collect()));
    }
    assert!(!templates.is_empty());
    templates
}
