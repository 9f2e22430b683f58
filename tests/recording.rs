//! Recordings of moqsrc with muxers that need an EOS: they finish, and what they hold plays.
//!
//! Row 8: a source without the flag SOURCE gets no EOS from `gst-launch-1.0 -e`, and the file is never finished.

mod common;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use common::{
    LIMIT, Pipeline, Seen, init,
    launch::Launch,
    publisher::{BROADCAST, Publisher},
};
use gst::prelude::*;
use gstmoq::net::relay::{Relay, RelayConfig};

/// A container: what writes it and what reads it.
struct Container {
    mux: &'static str,
    demux: &'static str,
    opus: &'static str,
}

const MP4: Container = Container {
    mux: "mp4mux",
    demux: "qtdemux",
    opus: "opusparse",
};

const MATROSKA: Container = Container {
    mux: "matroskamux",
    demux: "matroskademux",
    opus: "opusparse",
};

impl Container {
    /// The description of a recording, as on a command line.
    fn recording(&self, url: &str, file: &Path) -> String {
        format!(
            "moqsrc name=src url={url} broadcast={BROADCAST} start=next-group \
             src.video_0 ! queue ! h264parse ! {mux} name=mux ! filesink location={file} \
             src.audio_0 ! queue ! {opus} ! mux.",
            mux = self.mux,
            opus = self.opus,
            file = file.display(),
        )
    }

    /// Decodes all of it; gives what went into the decoders and how many pictures came out.
    fn play(&self, file: &Path) -> (Vec<Seen>, Vec<Seen>, usize) {
        let player = Pipeline::launch(&format!(
            "filesrc location={} ! {} name=d d.video_0 ! queue ! h264parse ! avdec_h264 name=pictures ! \
             fakesink name=video sync=false d.audio_0 ! queue ! opusdec name=sound ! fakesink sync=false",
            file.display(),
            self.demux
        ));
        let records = ["pictures", "sound", "video"].map(|name| player.record(name));
        player.set(gst::State::Playing);
        player.wait_eos();
        let [video, audio, decoded] = records.map(|record| record.all());
        (video, audio, decoded.len())
    }

    /// The file begins with a key frame and sound, has no hole, and every picture of it can be decoded.
    fn assert_plays(&self, file: &Path, at_least: usize) {
        let (video, audio, decoded) = self.play(file);
        assert!(
            video.len() >= at_least,
            "{} of {at_least} frames",
            video.len()
        );
        assert_eq!(decoded, video.len(), "pictures decoded");
        assert!(video[0].is_key());
        let start = |seen: &[Seen]| seen[0].running.expect("in the segment").nseconds() as i64;
        let apart = (start(&video) - start(&audio)).abs();
        assert!(
            apart <= 40_000_000,
            "video and audio start {apart} ns apart"
        );
        for (name, seen, most) in [("video", &video, 50), ("audio", &audio, 30)] {
            let hole = seen.windows(2).find(|two| {
                two[1].pts
                    > two[0]
                        .pts
                        .map(|pts| pts + gst::ClockTime::from_mseconds(most))
            });
            assert!(hole.is_none(), "{name}: {hole:?}");
        }
        let length = |seen: &[Seen]| {
            let [first, last] =
                [seen.first(), seen.last()].map(|seen| seen.and_then(|seen| seen.pts));
            last.expect("frames").nseconds() as i64 - first.expect("frames").nseconds() as i64
        };
        let apart = (length(&video) - length(&audio)).abs();
        assert!(
            apart <= 150_000_000,
            "video and audio differ by {apart} ns in length"
        );
    }
}

struct Rig {
    relay: Relay,
    publisher: Publisher,
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        init();
        let relay = Relay::start(RelayConfig::local()).expect("a relay");
        let publisher = Publisher::start(&relay.url(), 30);
        Self {
            relay,
            publisher,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Waits until so many more frames were published.
    fn wait_published(&self, frames: usize) {
        let sending = self.publisher.pipeline.record("video");
        sending.wait_count(frames);
    }
}

/// Records and stops as an application does: EOS into the pipeline, then NULL.
fn records(container: &Container) {
    let rig = Rig::new();
    let file = rig.folder.path().join("recording");
    let recorder = Pipeline::launch(&container.recording(&rig.relay.url(), &file));
    let video = {
        // What goes into the muxer.
        let mux = recorder.by_name("mux");
        let pad = mux.static_pad("video_0").expect("requested by the link");
        let record = common::Record::default();
        let into = record.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            into.add(pad, info.buffer().expect("a buffer"));
            gst::PadProbeReturn::Ok
        });
        record
    };
    recorder.set(gst::State::Playing);
    video.wait_count(75);
    assert!(recorder.0.send_event(gst::event::Eos::new()));
    recorder.wait_eos();
    let recorded = video.len();
    recorder.0.set_state(gst::State::Null).expect("stopped");
    let (played, _, _) = container.play(&file);
    assert_eq!(played.len(), recorded, "every frame is in the file");
    container.assert_plays(&file, 75);
}

#[test]
fn an_mp4_recording_ends_with_eos_and_plays() {
    records(&MP4);
}

#[test]
fn a_matroska_recording_ends_with_eos_and_plays() {
    records(&MATROSKA);
}

/// Ctrl-C on a recording of the real program finishes the file.
fn gst_launch_records(container: &Container) {
    let rig = Rig::new();
    let file = rig.folder.path().join("recording");
    let description = container.recording(&rig.relay.url(), &file);
    let (mut launch, _printed) = Launch::talking(&description);
    // The muxers write as they go: the recording runs when there is something.
    let end = Instant::now() + LIMIT;
    while std::fs::metadata(&file).map_or(0, |data| data.len()) < 20_000 {
        assert!(Instant::now() < end, "nothing is recorded");
        assert!(launch.process.is_running(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    rig.wait_published(60);
    launch.interrupt();
    assert!(launch.wait_end().success());
    container.assert_plays(&file, 60);
}

#[test]
fn gst_launch_finishes_an_mp4_recording_when_it_is_interrupted() {
    gst_launch_records(&MP4);
}

#[test]
fn gst_launch_finishes_a_matroska_recording_when_it_is_interrupted() {
    gst_launch_records(&MATROSKA);
}

/// There is nothing to end: without an error the program would wait for an EOS that its sink never sees.
#[test]
fn gst_launch_ends_at_the_first_interrupt_while_it_waits_for_a_broadcast() {
    init();
    let relay = Relay::start(RelayConfig::local()).expect("a relay");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("recording");
    let (mut launch, printed) = Launch::talking(&MP4.recording(&relay.url(), &file));
    printed.wait("(connect) Connected");
    launch.interrupt();
    let interrupted = Instant::now();
    assert!(!launch.wait_end().success(), "nothing was recorded");
    let took = interrupted.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    // And it says why there was nothing.
    let error = printed.wait("ERROR: ");
    let why = format!(
        "'{BROADCAST}' to end: {} has not announced it yet",
        relay.url()
    );
    assert!(error.contains(&why), "{error}");
}

/// In a pipeline that something else feeds, a broadcast that is not there keeps nothing from its end.
#[test]
fn a_moqsrc_without_a_broadcast_does_not_keep_the_rest_of_a_pipeline_from_its_end() {
    init();
    let relay = Relay::start(RelayConfig::local()).expect("a relay");
    let pipeline = Pipeline::launch(&format!(
        "moqsrc name=src url={} broadcast={BROADCAST} \
         audiotestsrc is-live=true ! opusenc ! matroskamux ! fakesink name=file",
        relay.url()
    ));
    let written = pipeline.record("file");
    pipeline.set(gst::State::Playing);
    written.wait_count(5);
    assert!(pipeline.0.send_event(gst::event::Eos::new()));
    pipeline.wait_eos();
}
