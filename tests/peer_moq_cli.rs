//! Our elements with `moq`, the command line tool of moq-dev 0.14.10, through our relay. `scripts/test` installs it and names it in
//! MOQ_CLI_BIN; what it exports is read by ffprobe.

mod common;

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::{
    LIMIT, Pipeline,
    interop::{Row, record},
    paths,
};

const PEER: &str = "moq CLI 0.14.10";

/// The tool, killed when the test ends.
struct Moq(Child);

impl Moq {
    fn start(url: &str, broadcast: &str, verb: &str, input: Stdio, output: Stdio) -> Self {
        let program = std::env::var_os("MOQ_CLI_BIN").expect(
            "MOQ_CLI_BIN names no moq 0.14.10: run scripts/test, which installs it, or scripts/test --quick to do without",
        );
        let process = Command::new(program)
            .args(["--connect", url, "--broadcast", broadcast, verb, "fmp4"])
            .stdin(input)
            .stdout(output)
            .spawn()
            .expect("moq starts");
        Self(process)
    }
}

impl Drop for Moq {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Frames of one kind (`v`, `a`) that ffprobe decodes from a file.
fn decoded(file: &Path, kind: &str) -> usize {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-select_streams", kind])
        .args(["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"])
        .arg(file)
        .output()
        .expect("ffprobe is there: scripts/setup --peers installs it");
    let counted = String::from_utf8_lossy(&output.stdout);
    let number = counted.lines().next().unwrap_or_default();
    number.trim_end_matches(',').trim().parse().unwrap_or(0)
}

#[test]
fn ffprobe_decodes_what_moq_exports_of_moqsink_s_broadcast() {
    let relay = paths::relay();
    let url = relay.url();
    let _publisher = Pipeline::play(&format!(
        "moqsink name=m url={url} broadcast=ours.hang \
         videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=30/1 ! \
         x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! h264parse ! m. \
         audiotestsrc is-live=true wave=white-noise ! audio/x-raw,rate=48000,channels=2 ! opusenc ! m."
    ));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("export.mp4");
    let file = File::create(&path).expect("a file");
    let moq = Moq::start(&url, "ours.hang", "export", Stdio::null(), file.into());
    let end = Instant::now() + LIMIT;
    let frames = loop {
        // A file that still grows ends in a fragment that is cut off; ffprobe reads up to there.
        let frames = (decoded(&path, "v"), decoded(&path, "a"));
        if frames.0 >= 60 && frames.1 >= 60 {
            break frames;
        }
        assert!(Instant::now() < end, "{frames:?} frames were exported");
        std::thread::sleep(Duration::from_millis(100));
    };
    drop(moq);
    record(&Row {
        peer: PEER,
        direction: "moqsink → its export, ffprobe",
        what: "H.264, Opus; legacy; hang",
        path: "moq-lite-06, WebTransport",
        pictures: frames.0,
        sound: Some(true),
    });
}

#[test]
fn moqsrc_plays_what_moq_imports() {
    let relay = paths::relay();
    let url = relay.url();
    let mut source = Command::new("gst-launch-1.0")
        .arg("-q")
        .args(
            "mp4mux name=m fragment-duration=100 streamable=true ! fdsink fd=1 \
             videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=30/1 ! \
             x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! h264parse ! m. \
             audiotestsrc is-live=true wave=white-noise ! audio/x-raw,rate=48000,channels=2 ! opusenc ! m."
                .split_whitespace(),
        )
        .env_remove("G_DEBUG")
        .stdout(Stdio::piped())
        .spawn()
        .expect("gst-launch-1.0");
    let output = source.stdout.take().expect("piped");
    let moq = Moq::start(&url, "theirs.hang", "import", output.into(), Stdio::null());
    let player = Pipeline::launch(&format!(
        "moqsrc name=s url={url} broadcast=theirs.hang \
         s.video_0 ! queue ! avdec_h264 ! fakesink name=video sync=false \
         s.audio_0 ! queue ! opusdec ! fakesink name=audio sync=false"
    ));
    let (video, audio) = (player.record("video"), player.record("audio"));
    player.set(gst::State::Playing);
    let pictures = video.wait_count(60).len();
    audio.wait_count(60);
    drop(moq);
    let _ = source.kill();
    let _ = source.wait();
    record(&Row {
        peer: PEER,
        direction: "its import → moqsrc",
        what: "H.264, Opus; CMAF; hang",
        path: "moq-lite-06, WebTransport",
        pictures,
        sound: Some(true),
    });
}
