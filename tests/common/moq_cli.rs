//! `moq`, the command line tool of others (moq-cli). `scripts/test` installs it and names it in MOQ_CLI_BIN.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{LIMIT, codecs::Codec, interop, process::Process};

fn program() -> PathBuf {
    let path = std::env::var_os("MOQ_CLI_BIN").expect(
        "MOQ_CLI_BIN names no moq: run scripts/test, which installs it, or scripts/test --quick to do without",
    );
    path.into()
}

/// Its name, and the version that it says it has.
pub fn peer() -> String {
    let version = interop::version(Command::new(program()).arg("--version"), "moq ");
    format!("moq CLI {version}")
}

fn moq(url: &str, broadcast: &str, what: &[&str], input: Stdio, output: Stdio) -> Process {
    let mut command = Command::new(program());
    command
        .args(["--log-level", "error", "--connect", url])
        .args(["--broadcast", broadcast])
        .args(what)
        .stdin(input)
        .stdout(output);
    Process::start(&mut command)
}

/// `moq export <form>` into a file.
pub struct Export {
    path: PathBuf,
    process: Process,
}

impl Export {
    pub fn start(url: &str, broadcast: &str, form: &str, folder: &Path) -> Self {
        let path = folder.join(format!("{broadcast}.{form}"));
        let file = File::create(&path).expect("a file");
        let process = moq(
            url,
            broadcast,
            &["export", form],
            Stdio::null(),
            file.into(),
        );
        Self { path, process }
    }

    /// Waits until ffprobe decodes so many pictures of it, and as many packets of sound if there is any; gives the number of pictures.
    pub fn wait_decoded(&mut self, count: usize, has_sound: bool) -> usize {
        let end = Instant::now() + LIMIT;
        loop {
            // A file that still grows ends in a fragment that is cut off; ffprobe reads up to there.
            let pictures = decoded(&self.path, "v");
            let heard = !has_sound || pictures >= count && decoded(&self.path, "a") >= count;
            if pictures >= count && heard {
                return pictures;
            }
            let name = self.path.display();
            assert!(self.process.is_running(), "{name}: moq ended");
            assert!(Instant::now() < end, "{name}: {pictures} pictures");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits for the end of one that is to fail.
    pub fn wait_refused(&mut self) {
        assert!(!self.process.wait_end_within(LIMIT).success());
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

/// `moq import <form>` of what ffmpeg makes live: a test picture, and noise if there is an audio codec.
pub struct Import {
    _source: Process,
    _moq: Process,
}

impl Import {
    /// `form` is a format of moq and `muxer` what ffmpeg calls it, with options.
    pub fn start(
        url: &str,
        broadcast: &str,
        (form, muxer): (&str, &str),
        video: &Codec,
        audio: Option<&Codec>,
    ) -> Self {
        let mut source = Process::start(
            ffmpeg(video, audio)
                .args(muxer.split_whitespace())
                .arg("-")
                .stdout(Stdio::piped()),
        );
        let output = source.stdout();
        let moq = moq(
            url,
            broadcast,
            &["import", form],
            output.into(),
            Stdio::null(),
        );
        Self {
            _source: source,
            _moq: moq,
        }
    }

    /// A live HLS playlist in a folder.
    pub fn start_hls(
        url: &str,
        broadcast: &str,
        folder: &Path,
        video: &Codec,
        audio: &Codec,
    ) -> Self {
        let playlist = folder.join("live.m3u8");
        let source = Process::start(
            ffmpeg(video, Some(audio))
                .args(["-f", "hls", "-hls_time", "1", "-hls_segment_type", "fmp4"])
                .arg(&playlist),
        );
        super::wait_until("a playlist", || playlist.exists());
        let path = playlist.to_str().expect("a path");
        let moq = moq(
            url,
            broadcast,
            &["import", "hls", path],
            Stdio::null(),
            Stdio::null(),
        );
        Self {
            _source: source,
            _moq: moq,
        }
    }
}

fn ffmpeg(video: &Codec, audio: Option<&Codec>) -> Command {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-v", "fatal", "-re", "-f", "lavfi"])
        .args(["-i", "testsrc2=size=320x180:rate=30"]);
    if audio.is_some() {
        command.args(["-re", "-f", "lavfi", "-i", "anoisesrc=r=48000"]);
    }
    command
        .args(encoder(video).split_whitespace())
        .args(["-pix_fmt", "yuv420p", "-g", "30"]);
    if let Some(audio) = audio {
        command
            .args(encoder(audio).split_whitespace())
            .args(["-ac", "2"]);
    }
    command.stdin(Stdio::null());
    command
}

/// What ffmpeg is told to use.
fn encoder(codec: &Codec) -> &'static str {
    match codec.name {
        "H.264" => "-c:v libx264 -preset ultrafast -tune zerolatency",
        "H.265" => "-c:v libx265 -preset ultrafast -tune zerolatency -x265-params log-level=none",
        "VP9" => "-c:v libvpx-vp9 -deadline realtime -cpu-used 8",
        "AV1" => "-c:v libaom-av1 -usage realtime -cpu-used 8",
        "Opus" => "-c:a libopus",
        "AAC" => "-c:a aac",
        "FLAC" => "-c:a flac -strict -2",
        name => panic!("no encoder for {name}"),
    }
}
