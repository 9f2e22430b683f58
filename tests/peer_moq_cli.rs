//! Our elements with `moq`, the command line tool of others, through our relay. What it exports is read by ffprobe, and what it imports
//! is made by ffmpeg.

mod common;

use common::{
    Pipeline,
    codecs::*,
    interop::{Row, Sessions, at_relay, record},
    moq_cli::{Export, Import, peer},
    paths,
};
use gstmoq::net::relay::Relay;

/// A broadcast with a catalog of hang alone.
fn hang(url: &str) -> String {
    format!("url={url} catalog=hang")
}

/// Each container as fragmented MP4; those with bare frames in the other forms, too.
fn it_exports(video: &Codec, audio: &Codec, forms: &[(&str, &str)]) {
    let relay = paths::relay();
    let url = relay.url();
    let publisher = publish(&hang(&url), video, audio, &CONTAINERS);
    let _publisher = Pipeline::play(&publisher);
    let folder = tempfile::tempdir().expect("a folder");
    let mut exports = Vec::new();
    for &(form, name) in forms {
        for container in CONTAINERS {
            let has_sound = !matches!(form, "h264" | "h265");
            if form == "fmp4" || !has_sound || container != "cmaf" {
                let export = Export::start(&url, &format!("{container}.hang"), form, folder.path());
                exports.push((export, name, container, has_sound));
            }
        }
    }
    let peer = peer();
    for (export, name, container, has_sound) in &mut exports {
        let pictures = export.wait_decoded(60, *has_sound);
        record(&Row {
            peer: &peer,
            direction: &format!("moqsink → its export as {name}, ffprobe"),
            what: &format!("{}, {}; {container}; hang", video.name, audio.name),
            path: &at_relay(&relay, Sessions::Subscribers),
            pictures,
            sound: has_sound.then_some(true),
        });
    }
}

const FMP4: (&str, &str) = ("fmp4", "fMP4");
const MATROSKA: (&str, &str) = ("mkv", "Matroska");
const TS: (&str, &str) = ("ts", "MPEG-TS");

#[test]
fn ffprobe_decodes_what_it_exports_of_our_h264_and_opus() {
    it_exports(&H264, &OPUS, &[FMP4, MATROSKA, TS]);
}

#[test]
fn ffprobe_decodes_what_it_exports_of_our_h264_and_aac() {
    it_exports(&H264, &AAC, &[FMP4, ("h264", "H.264 stream")]);
}

#[test]
fn ffprobe_decodes_what_it_exports_of_our_h265_and_aac() {
    it_exports(&H265, &AAC, &[FMP4, MATROSKA]);
}

#[test]
fn ffprobe_decodes_what_it_exports_of_our_vp9() {
    it_exports(&VP9, &OPUS, &[FMP4, MATROSKA]);
}

#[test]
fn ffprobe_decodes_what_it_exports_of_our_av1() {
    it_exports(&AV1, &OPUS, &[FMP4, MATROSKA]);
}

/// Its Matroska has no place for tracks in CMAF; it says so and ends.
#[test]
fn it_refuses_to_export_cmaf_as_matroska() {
    let relay = paths::relay();
    let url = relay.url();
    let publisher = publish(&hang(&url), &H264, &OPUS, &["cmaf"]);
    let _publisher = Pipeline::play(&publisher);
    let folder = tempfile::tempdir().expect("a folder");
    Export::start(&url, "cmaf.hang", "mkv", folder.path()).wait_refused();
}

/// An audio codec is missing where the format has no sound.
type Case<'a> = (&'a str, &'a Codec, Option<&'a Codec>);

/// What ffmpeg makes of `form`, which moq imports, is decoded behind moqsrc; all cases at once.
fn we_play(name: &str, form: (&str, &str), cases: &[Case<'_>]) {
    let relay = paths::relay();
    let url = relay.url();
    let start =
        |&(broadcast, video, audio): &Case<'_>| Import::start(&url, broadcast, form, video, audio);
    let _imports: Vec<_> = cases.iter().map(start).collect();
    all_play(&relay, name, cases);
}

fn all_play(relay: &Relay, name: &str, cases: &[Case<'_>]) {
    let url = relay.url();
    let players = cases.iter().map(|&(broadcast, video, audio)| {
        let to = format!("url={url} broadcast={broadcast}");
        play(broadcast, &to, video, audio)
    });
    let player = Pipeline::launch(&players.collect::<String>());
    let sinks = cases.iter().map(|&(broadcast, _, audio)| {
        let record = |kind| player.record(&format!("{broadcast}-{kind}"));
        (record("video"), audio.map(|_| record("audio")))
    });
    let sinks: Vec<_> = sinks.collect();
    player.set(gst::State::Playing);
    let peer = peer();
    for (&(broadcast, video, audio), (seen, heard)) in cases.iter().zip(&sinks) {
        let pictures = assert_played(broadcast, seen, heard.as_ref());
        let sound = audio.map_or(String::new(), |audio| format!(", {}", audio.name));
        record(&Row {
            peer: &peer,
            direction: "its import → moqsrc",
            what: &format!("{}{sound}; {name}; hang", video.name),
            path: &at_relay(relay, Sessions::Publishers),
            pictures,
            sound: audio.map(|_| true),
        });
    }
}

/// Its reader of MP4 needs the codec's configuration in the header, which ffmpeg has with the first frame only.
const MP4: (&str, &str) = (
    "fmp4",
    "-f mp4 -movflags delay_moov+default_base_moof -frag_duration 100000",
);

#[test]
fn we_play_its_import_of_fragmented_mp4() {
    we_play(
        "fMP4",
        MP4,
        &[
            ("h264-opus", &H264, Some(&OPUS)),
            ("h264-aac", &H264, Some(&AAC)),
            ("vp9-flac", &VP9, Some(&FLAC)),
        ],
    );
}

#[test]
fn we_play_its_import_of_newer_codecs_in_fragmented_mp4() {
    we_play(
        "fMP4",
        MP4,
        &[
            ("h265-aac", &H265, Some(&AAC)),
            ("vp9-opus", &VP9, Some(&OPUS)),
            ("av1-opus", &AV1, Some(&OPUS)),
        ],
    );
}

#[test]
fn we_play_its_import_of_mpeg_ts() {
    we_play(
        "MPEG-TS",
        ("ts", "-f mpegts"),
        &[
            ("h264-opus", &H264, Some(&OPUS)),
            ("h264-aac", &H264, Some(&AAC)),
            ("h265-aac", &H265, Some(&AAC)),
        ],
    );
}

#[test]
fn we_play_its_import_of_flv() {
    we_play("FLV", ("flv", "-f flv"), &[("h264-aac", &H264, Some(&AAC))]);
}

#[test]
fn we_play_its_import_of_a_bare_h264_stream() {
    we_play("Annex B", ("avc3", "-f h264"), &[("h264", &H264, None)]);
}

#[test]
fn we_play_its_import_of_a_live_hls_playlist() {
    let relay = paths::relay();
    let url = relay.url();
    let folder = tempfile::tempdir().expect("a folder");
    let _import = Import::start_hls(&url, "hls", folder.path(), &H264, &AAC);
    all_play(&relay, "HLS", &[("hls", &H264, Some(&AAC))]);
}
