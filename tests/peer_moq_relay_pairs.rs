//! Decoded pictures and sound through moq-relay, the relay of others: every protocol version on both transports, each container, and
//! programs of others at the other end.

mod common;

use common::{
    Pipeline, Record,
    codecs::*,
    interop::{Row, of_element, record},
    launch::Launch,
    moq_cli::{Export, Import},
    moq_gst,
    moq_relay::{Identity, MoqRelay, Wire, peer},
};
use gstmoq::net::transport::versions;

const THROUGH: &str = "moqsink → it → moqsrc";

fn keep(direction: &str, codecs: &str, container: &str, path: &str, pictures: usize) {
    record(&Row {
        peer: &peer(),
        direction,
        what: &format!("{codecs}; {container}; hang"),
        path,
        pictures,
        sound: Some(true),
    });
}

/// A player of each broadcast and what comes out of its decoders.
fn players(
    names: &[&str],
    to: impl Fn(&str) -> String,
    audio: &Codec,
) -> (Pipeline, Vec<(Record, Record)>) {
    let descriptions = names
        .iter()
        .map(|name| play(name, &to(name), &H264, Some(audio)));
    let player = Pipeline::launch(&descriptions.collect::<String>());
    let records = names.iter().map(|name| {
        let record = |kind| player.record(&format!("{name}-{kind}"));
        (record("video"), record("audio"))
    });
    let records = records.collect();
    player.set(gst::State::Playing);
    (player, records)
}

/// A publisher and a player for each version of a family, all at once.
fn every_version_plays(family: &str, wire: Wire, transport: &str) {
    let identity = Identity::new();
    let relay = MoqRelay::start(&identity);
    let to = relay.to(wire, &identity);
    let to =
        |version: &str| format!("{to} protocol-versions=<\"{version}\"> broadcast={version}.hang");
    let names: Vec<&str> = versions::NAMES
        .into_iter()
        .filter(|name| name.starts_with(family))
        .collect();
    let sinks = names.iter().map(|name| {
        format!(
            "moqsink name={name} {} pictures. ! queue ! {name}.sink_0 sound. ! queue ! {name}.sink_1 ",
            to(name)
        )
    });
    let publisher = Pipeline::play(&(coded(&H264, &OPUS) + &sinks.collect::<String>()));
    let (player, records) = players(&names, to, &OPUS);
    for (name, (seen, heard)) in names.iter().zip(&records) {
        let pictures = assert_played(name, seen, Some(heard));
        let path = format!("{name}, {transport}");
        for pipeline in [&publisher, &player] {
            assert_eq!(of_element(&pipeline.by_name(name)), path);
        }
        keep(THROUGH, "H.264, Opus", "legacy", &path, pictures);
    }
}

#[test]
fn every_version_of_moq_lite_plays_over_webtransport() {
    every_version_plays("moq-lite", Wire::WebTransport, "WebTransport");
}

#[test]
fn every_version_of_moq_lite_plays_over_raw_quic() {
    every_version_plays("moq-lite", Wire::MoqLite, "raw QUIC");
}

#[test]
fn every_version_of_moq_transport_plays_over_webtransport() {
    every_version_plays("moq-transport", Wire::WebTransport, "WebTransport");
}

#[test]
fn every_version_of_moq_transport_plays_over_raw_quic() {
    every_version_plays("moq-transport", Wire::MoqTransport, "raw QUIC");
}

/// The relay, properties of our elements, which go over WebTransport, and the URL for those of others.
fn relay() -> (Identity, MoqRelay, String, String) {
    let identity = Identity::new();
    let relay = MoqRelay::start(&identity);
    let to = relay.to(Wire::WebTransport, &identity);
    let url = relay.url();
    (identity, relay, to, url)
}

#[test]
fn moqsrc_and_those_of_others_play_moqsink_in_each_container() {
    let (_identity, _relay, to, url) = relay();
    let hang = format!("{to} catalog=hang");
    let publisher = Pipeline::play(&publish(&hang, &H264, &AAC, &CONTAINERS));
    let broadcast = |name: &str| format!("{to} broadcast={name}.hang");
    let (player, records) = players(&CONTAINERS, broadcast, &AAC);
    let folder = tempfile::tempdir().expect("a folder");
    let others = CONTAINERS.map(|container| {
        let export = Export::start(&url, &format!("{container}.hang"), "fmp4", folder.path());
        let at = format!("url={url} broadcast={container}.hang");
        let other = moq_gst::Player::start(&at, &AAC);
        (export, other)
    });
    for ((container, (seen, heard)), (mut export, other)) in
        CONTAINERS.into_iter().zip(&records).zip(others)
    {
        let keep = |direction, path: &str, pictures| {
            keep(direction, "H.264, AAC", container, path, pictures);
        };
        let pictures = assert_played(container, seen, Some(heard));
        let path = of_element(&publisher.by_name(container));
        assert_eq!(of_element(&player.by_name(container)), path);
        keep(THROUGH, &path, pictures);
        // How the others reach it, their relay does not tell.
        let path = format!("{path} at moqsink");
        let exported = export.wait_decoded(60, true);
        keep("moqsink → it → moq CLI, ffprobe", &path, exported);
        let pictures = other.wait_played(container);
        keep("moqsink → it → moqsrc of moq-gst", &path, pictures);
    }
}

#[test]
fn moqsrc_plays_what_others_publish_to_it() {
    let (_identity, _relay, to, url) = relay();
    let _import = Import::start(
        &url,
        "fMP4.hang",
        (
            "fmp4",
            "-f mp4 -movflags delay_moov+default_base_moof -frag_duration 100000",
        ),
        &H264,
        Some(&AAC),
    );
    let at = format!("url={url}");
    let publisher = publish(&at, &H264, &AAC, &["legacy", "loc"]);
    let _publisher = Launch::start(&moq_gst::plugin(), &publisher);
    let names = ["fMP4", "legacy", "loc"];
    let broadcast = |name: &str| format!("{to} broadcast={name}.hang");
    let (player, records) = players(&names, broadcast, &AAC);
    for (name, (seen, heard)) in names.into_iter().zip(&records) {
        let pictures = assert_played(name, seen, Some(heard));
        let direction = match name {
            "fMP4" => "moq CLI → it → moqsrc",
            _ => "moqsink of moq-gst → it → moqsrc",
        };
        let path = format!("{} at moqsrc", of_element(&player.by_name(name)));
        keep(direction, "H.264, AAC", name, &path, pictures);
    }
}
