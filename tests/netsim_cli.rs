//! The binary `moq-netsim`, run as its users run it.
#![cfg(all(unix, feature = "cli"))]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moq-netsim"));
    command
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Starts the emulator; returns the address from its first line.
fn start(args: &[&str]) -> (Child, BufReader<ChildStdout>, SocketAddr) {
    let mut child = command(args).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let addr = line
        .strip_prefix("listening on ")
        .and_then(|rest| rest.split(',').next());
    let addr = addr.unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
    (child, out, addr)
}

/// What it says when it does not start.
fn refusal(args: &[&str]) -> String {
    let output = command(args).output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    text
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

/// Reads counters until a line contains all of `parts`.
fn until(out: BufReader<ChildStdout>, parts: &[&str]) {
    let found = out.lines().any(|line| {
        let line = line.unwrap();
        parts.iter().all(|part| line.contains(part))
    });
    assert!(found, "no line with {parts:?}");
}

fn interrupt(child: &mut Child) {
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
}

#[test]
fn it_forwards_both_ways_and_prints_its_counters() {
    let target = socket();
    let target_addr = target.local_addr().unwrap().to_string();
    let common = ["--stats-interval", "10ms", "--duration", "20s"];
    let args = [&["--target", &target_addr, "--delay", "5ms"], &common[..]].concat();
    let (mut child, out, addr) = start(&args);
    let client = socket();
    client.send_to(b"ping", addr).unwrap();
    let mut buffer = [0; 16];
    let (len, from) = target.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"ping");
    target.send_to(b"pong!", from).unwrap();
    let (len, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..len], from), (&b"pong!"[..], addr));
    let counted = ["down:", "in 1 packets (5 bytes)", "out 1 packets (5 bytes)"];
    until(out, &counted);
    interrupt(&mut child);
    child.wait().unwrap();
}

#[test]
fn an_option_of_one_direction_takes_the_place_of_the_common_one() {
    let target = socket();
    let target_addr = target.local_addr().unwrap().to_string();
    let common = ["--stats-interval", "10ms", "--duration", "20s"];
    let path = ["--target", &target_addr, "--loss", "100%", "--up-loss", "0"];
    let (mut child, out, addr) = start(&[&path, &common[..]].concat());
    let client = socket();
    client.send_to(b"ping", addr).unwrap();
    let (_, from) = target.recv_from(&mut [0; 16]).unwrap();
    target.send_to(b"pong", from).unwrap();
    until(out, &["down:", "lost 1 (random 1,"]);
    interrupt(&mut child);
    child.wait().unwrap();
}

#[test]
fn it_ends_by_itself_after_its_duration() {
    let (mut child, mut out, _) = start(&["--target", "127.0.0.1:9", "--duration", "20ms"]);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(rest.starts_with("up: in 0 packets"), "{rest}");
}

#[test]
fn an_interrupt_ends_it_clean_with_its_counters() {
    let (mut child, mut out, _) = start(&["--target", "127.0.0.1:9"]);
    interrupt(&mut child);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(rest.starts_with("up: in 0 packets"), "{rest}");
}

#[test]
fn a_bad_unit_is_one_line_with_the_remedy() {
    let text = refusal(&["--target", "127.0.0.1:9", "--delay", "20"]);
    assert!(
        text.contains("--delay") && text.contains("such as 20ms"),
        "{text}"
    );
    let text = refusal(&["--target", "127.0.0.1:9", "--down-rate", "20MB"]);
    assert!(
        text.contains("--down-rate") && text.contains("such as 20Mbit"),
        "{text}"
    );
}

#[test]
fn a_missing_or_bad_target_is_one_line_with_the_remedy() {
    assert!(refusal(&[]).contains("--target <HOST:PORT>"));
    assert!(refusal(&["--target", "127.0.0.1"]).contains("such as 127.0.0.1:4443"));
}

#[test]
fn a_busy_port_is_one_line_with_the_remedy() {
    let taken = socket();
    let listen = taken.local_addr().unwrap().to_string();
    let text = refusal(&["--listen", &listen, "--target", "127.0.0.1:9"]);
    assert!(
        text.contains(&listen) && text.contains("choose another port"),
        "{text}"
    );
}
