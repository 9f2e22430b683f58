//! The demo as a user runs it, without a display.

#![cfg(feature = "cli")]

mod common;

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    process::{Command, Output},
};

use common::Pipeline;

fn demo(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moq-demo"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY");
    command
}

fn run(arguments: &[&str], folder: &Path) -> Output {
    demo(arguments, folder).output().expect("the demo runs")
}

/// The figures of a status line.
#[derive(Debug)]
struct Status {
    connection: String,
    video: u64,
    audio: u64,
    latency: Option<f64>,
    presented: Option<f64>,
    offset: Option<f64>,
}

impl Status {
    /// `connected, quic, moq-lite-06 | frames 30 video 46 audio | latency 0.8 ms, presented 217.0 ms | A/V +0.0 ms`
    fn parse(line: &str) -> Option<Self> {
        let parts: Vec<_> = line.split(" | ").collect();
        let [connection, frames, latency, offset] = parts[..] else {
            return None;
        };
        let frames: Vec<_> = frames.split(' ').collect();
        let (latency, presented) = latency.split_once(", ")?;
        let figure = |text: &str| text.split(' ').nth(1)?.parse().ok();
        Some(Self {
            connection: connection.to_owned(),
            video: frames.get(1)?.parse().ok()?,
            audio: frames.get(3)?.parse().ok()?,
            latency: figure(latency),
            presented: figure(presented),
            offset: figure(offset),
        })
    }
}

fn last_status(output: &Output) -> Status {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(Status::parse)
        .next_back()
        .unwrap_or_else(|| panic!("no status line in {text}"))
}

fn png_size(path: &Path) -> (u32, u32) {
    let png = fs::read(path).expect("a snapshot");
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!(&png[12..16], b"IHDR");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

/// One line that names the remedy, on standard error, and nothing played.
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for word in words {
        assert!(error.contains(word), "no '{word}' in: {error}");
    }
}

#[test]
fn the_test_picture_is_played_in_sync_and_the_last_one_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(
        &["--port", "0", "--seconds", "4", "--web-root", "."],
        folder.path(),
    );
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.contains("in a browser: http://127.0.0.1:"),
        "{printed}"
    );
    let status = last_status(&output);
    assert!(
        status.connection.starts_with("connected, quic, moq-"),
        "{status:?}"
    );
    assert!(status.video > 30 && status.audio > 50, "{status:?}");
    assert!(status.latency.expect("known") > 0.0, "{status:?}");
    assert!(status.presented.expect("known") >= 200.0, "{status:?}");
    // Row 1.
    assert!(status.offset.expect("known").abs() <= 10.0, "{status:?}");
    assert_eq!(png_size(&folder.path().join("moq-demo.png")), (1280, 720));
}

#[test]
fn other_machines_are_let_in_if_wanted_and_told_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(
        &["--port", "0", "--seconds", "2", "--lan", "--web-root", "."],
        folder.path(),
    );
    let printed = String::from_utf8_lossy(&output.stdout);
    let elsewhere = if_addrs::get_if_addrs()
        .expect("addresses")
        .into_iter()
        .map(|interface| interface.ip())
        .find(|ip| ip.is_ipv4() && !ip.is_loopback());
    if let Some(address) = elsewhere {
        let start = format!("on other machines: https://{address}:");
        assert!(printed.contains(&start), "{printed}");
    }
    assert!(last_status(&output).video > 0);
}

#[test]
fn a_file_is_played_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a file.mkv");
    // Noise, because packets are matched by payload.
    let recording = Pipeline::play(&format!(
        "videotestsrc num-buffers=90 pattern=ball ! video/x-raw,width=320,height=180,framerate=30/1 ! x264enc ! mux. \
         audiotestsrc num-buffers=150 samplesperbuffer=960 wave=pink-noise ! audio/x-raw,rate=48000 ! opusenc ! mux. \
         matroskamux name=mux ! filesink location=\"{}\"",
        file.display()
    ));
    recording.wait_eos();
    drop(recording);
    let arguments = ["--port", "0", "--snapshot", "last.png", "a file.mkv"];
    let status = last_status(&run(&arguments, folder.path()));
    assert!(status.video >= 30, "{status:?}");
    assert!(status.offset.expect("known").abs() <= 10.0, "{status:?}");
    assert_eq!(png_size(&folder.path().join("last.png")), (320, 180));
}

#[test]
fn a_busy_port_is_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let output = run(&["--port", &port], folder.path());
    assert_refused(&output, 1, &[&port, "0 for any free port", "--port"]);
}

#[test]
fn bad_arguments_are_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("text.mp4"), "not a film").expect("written");
    let refused = |arguments: &[&str], code, words: &[&str]| {
        assert_refused(&run(arguments, folder.path()), code, words);
    };
    refused(&["--bogus"], 2, &["--bogus", "--help"]);
    refused(&["--seconds", "0"], 2, &["--seconds"]);
    refused(&["--port", "70000"], 2, &["--port"]);
    refused(&["--camera", "text.mp4"], 2, &["--camera"]);
    refused(
        &["--port", "0", "none.mp4"],
        1,
        &["there is no file none.mp4"],
    );
    refused(&["--port", "0", "text.mp4"], 1, &["text.mp4"]);
}

#[test]
fn a_missing_plugin_is_one_line_that_names_its_package() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = demo(&["--port", "0"], folder.path())
        .env("GST_PLUGIN_SYSTEM_PATH_1_0", folder.path())
        .env("GST_PLUGIN_PATH_1_0", folder.path())
        .env("GST_REGISTRY_1_0", folder.path().join("registry.bin"))
        .output()
        .expect("the demo runs");
    assert_refused(
        &output,
        1,
        &["no element", "./scripts/setup", "gstreamer1.0-"],
    );
}

#[test]
fn a_display_that_is_gone_is_said_and_done_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = demo(&["--port", "0", "--seconds", "3"], folder.path())
        .env("DISPLAY", "127.0.0.1:59999")
        .output()
        .expect("the demo runs");
    assert!(last_status(&output).video > 0);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("DISPLAY names cannot be opened"), "{text}");
    assert_eq!(png_size(&folder.path().join("moq-demo.png")), (1280, 720));
}
