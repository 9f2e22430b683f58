//! Recordings of moqsrc with muxers that need an EOS: they finish, and what they hold plays.
//!
//! Row 8: a source without the flag SOURCE gets no EOS from `gst-launch-1.0 -e`, and the file is never finished.

mod common;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use common::{
    LIMIT, Pipeline, Seen, init,
    launch::our_plugin,
    publisher::{BROADCAST, Publisher},
};
use gst::prelude::*;
use gstmoq::net::relay::{Relay, RelayConfig};

/// From SIGINT to the end of the process.
const END_LIMIT: Duration = Duration::from_secs(10);

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

/// A process that is killed when the test ends, however it ends.
struct Process(Child);

impl Process {
    /// `gst-launch-1.0 -e` with the plugin just built and nothing else of ours.
    fn launch(description: &str, folder: &Path) -> Self {
        let plugins = folder.join("plugins");
        std::fs::create_dir_all(&plugins).expect("a folder");
        std::fs::copy(our_plugin(), plugins.join("libgstmoq.so")).expect("copied");
        let registry = plugins.join("registry.bin");
        if let Some(known) = std::env::var_os("GST_REGISTRY") {
            // Saves scanning the system's plugins again.
            let _ = std::fs::copy(known, &registry);
        }
        let child = Command::new("gst-launch-1.0")
            .arg("-e")
            .args(description.split_whitespace())
            .env("GST_PLUGIN_PATH", &plugins)
            .env("GST_REGISTRY", &registry)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("gst-launch-1.0");
        Self(child)
    }

    /// Waits until the program prints this. What it prints after that is not read.
    fn wait_printed(&mut self, wanted: &'static str) {
        let stdout = self.0.stdout.take().expect("piped");
        let (found, printed) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line.contains(wanted) {
                    let _ = found.send(());
                }
            }
        });
        printed.recv_timeout(LIMIT).expect(wanted);
    }

    fn interrupt(&self) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    fn wait_end(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + END_LIMIT;
        loop {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status;
            }
            assert!(
                Instant::now() < end,
                "it does not end {END_LIMIT:?} after SIGINT"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ctrl-C on a recording of the real program finishes the file.
fn gst_launch_records(container: &Container) {
    let rig = Rig::new();
    let file = rig.folder.path().join("recording");
    let description = container.recording(&rig.relay.url(), &file);
    let mut process = Process::launch(&description, rig.folder.path());
    // The muxers write as they go: the recording runs when there is something.
    let end = Instant::now() + LIMIT;
    while std::fs::metadata(&file).map_or(0, |data| data.len()) < 20_000 {
        assert!(Instant::now() < end, "nothing is recorded");
        assert!(
            process.0.try_wait().expect("a child").is_none(),
            "it ended by itself"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    rig.wait_published(60);
    process.interrupt();
    assert!(process.wait_end().success());
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
    let mut process = Process::launch(&MP4.recording(&relay.url(), &file), folder.path());
    process.wait_printed("(broadcast)");
    process.interrupt();
    let interrupted = Instant::now();
    assert!(!process.wait_end().success(), "nothing was recorded");
    let took = interrupted.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
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
