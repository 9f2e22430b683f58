//! The binary `moq-netsim`, run as its users run it.
#![cfg(all(unix, feature = "cli"))]

use std::io::{BufRead, BufReader, Read, Write};
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

fn signal(child: &Child, name: &str) {
    let kill = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
}

fn interrupt(child: &mut Child) {
    signal(child, "-INT");
}

/// Sends a datagram through; returns who the target takes for its sender.
fn through(client: &UdpSocket, addr: SocketAddr, target: &UdpSocket) -> SocketAddr {
    client.send_to(b"ping", addr).unwrap();
    target.recv_from(&mut [0; 16]).unwrap().1
}

fn scenario(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
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

#[test]
fn a_scenario_starts_its_legs_and_an_option_takes_the_place_of_what_it_says() {
    let target = socket();
    let target_addr = target.local_addr().unwrap().to_string();
    let file = scenario(
        "duration = \"20s\"\n[path]\nloss = \"100%\"\n[[leg]]\nname = \"publisher\"\n[[leg]]\nname = \"player\"\n",
    );
    let file = file.path().to_str().unwrap();
    let mut child = command(&["--target", &target_addr, "--scenario", file, "--loss", "0"])
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let heads: Vec<_> = lines.take(2).map(Result::unwrap).collect();
    for (line, name) in heads.iter().zip(["publisher", "player"]) {
        let rest = line
            .strip_prefix(&format!("{name}: listening on "))
            .unwrap();
        let addr = rest.split(',').next().unwrap().parse().unwrap();
        through(&socket(), addr, &target);
    }
    interrupt(&mut child);
    child.wait().unwrap();
}

#[test]
fn a_fault_in_a_scenario_is_one_line_with_file_line_and_key() {
    let file = scenario("[path]\ndelay = \"20ms\"\nlos = \"1%\"\n");
    let name = file.path().to_str().unwrap();
    let text = refusal(&["--target", "127.0.0.1:9", "--scenario", name]);
    let place = format!("{name}:3: ");
    assert!(text.contains(&place) && text.contains("\"los\""), "{text}");
    let text = refusal(&["--target", "127.0.0.1:9", "--scenario", "/no/such.toml"]);
    assert!(text.contains("/no/such.toml: "), "{text}");
}

#[test]
fn legs_share_a_target_and_need_one() {
    let text = refusal(&["--legs", "publisher,player"]);
    assert!(text.contains("--target <HOST:PORT>"), "{text}");
    let args = ["--target", "127.0.0.1:9", "--legs", "a,a"];
    assert!(refusal(&args).contains("two legs \"a\""));
}

#[test]
fn signals_rebind_and_ask_for_counters() {
    let target = socket();
    let target_addr = target.local_addr().unwrap().to_string();
    let (mut child, mut out, addr) = start(&["--target", &target_addr, "--duration", "20s"]);
    let client = socket();
    let before = through(&client, addr, &target);
    signal(&child, "-USR1");
    // The signal is served in its own time.
    while through(&client, addr, &target) == before {}
    signal(&child, "-USR2");
    let mut text = String::new();
    while !text.contains("new ports 1") {
        assert!(out.read_line(&mut text).unwrap() > 0, "{text}");
    }
    interrupt(&mut child);
    child.wait().unwrap();
}

#[test]
fn commands_change_the_path_and_end_the_run() {
    let target = socket();
    let target_addr = target.local_addr().unwrap().to_string();
    let mut child = command(&["--target", &target_addr, "--control", "--duration", "20s"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let rest = line.strip_prefix("listening on ").unwrap();
    let addr: SocketAddr = rest.split(',').next().unwrap().parse().unwrap();
    let client = socket();
    through(&client, addr, &target);
    writeln!(input, "set up loss=100%\nset loss=x\nstats").unwrap();
    // The counters come after what was commanded before.
    line.clear();
    out.read_line(&mut line).unwrap();
    client.send_to(b"lost", addr).unwrap();
    writeln!(input, "quit").unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(rest.contains("up: in"), "{rest}");
    let mut complaint = String::new();
    let mut errors = child.stderr.take().unwrap();
    errors.read_to_string(&mut complaint).unwrap();
    assert!(complaint.contains("loss:"), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
}

#[test]
fn json_is_a_line_a_leg_with_counters_and_rates() {
    let target = socket();
    let target_addr = target.local_addr().unwrap().to_string();
    let args = [
        "--target",
        &target_addr,
        "--json",
        "--stats-interval",
        "10ms",
        "--duration",
        "20s",
        "--seed",
        "7",
    ];
    let mut child = command(&args).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap());
    let head = lines.next().unwrap();
    assert_eq!(head["seed"], 7);
    let addr: SocketAddr = head["listen"].as_str().unwrap().parse().unwrap();
    through(&socket(), addr, &target);
    let line = lines
        .find(|line| line["up"]["forwarded"]["packets"] == 1)
        .unwrap();
    assert_eq!(line["up"]["offered"]["bytes"], 4);
    assert!(line["up"]["rate"]["offered"].is_number(), "{line}");
    assert_eq!(line["clients"], 1);
    interrupt(&mut child);
    child.wait().unwrap();
}
