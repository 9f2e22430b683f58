//! How much `moq-netsim` carries, and at what cost: a flow of datagrams through the binary, one way.
//!
//! The emulator is a process of its own, so that its CPU time is not that of the sender and the receiver. Linux only: it
//! reads `/proc`.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use serde_json::Value;

#[path = "../rig/commit.rs"]
mod commit;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const LENGTH: Duration = Duration::from_secs(3);
/// Each case is run this often and its best round is shown: whatever else the machine does only takes away.
const ROUNDS: usize = 3;
const BUFFER: usize = 4 << 20;
/// The clock of `/proc/PID/stat` on Linux: `sysconf(_SC_CLK_TCK)` is 100 on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

struct Case {
    name: &'static str,
    options: &'static [&'static str],
    /// Bytes of UDP payload.
    size: usize,
    /// Datagrams a system call of the sender; quinn sends up to ten.
    segments: usize,
    /// Offered, bit/s.
    rate: f64,
}

const fn case(
    name: &'static str,
    options: &'static [&'static str],
    segments: usize,
    rate: f64,
) -> Case {
    Case {
        name,
        options,
        size: 1350,
        segments,
        rate,
    }
}

const CASES: [Case; 8] = [
    case("nothing", &[], 10, 1.1e9),
    case("20 ms", &["--delay", "20ms"], 10, 1.1e9),
    case(
        "20 ms, 1 % loss",
        &["--delay", "20ms", "--loss", "1%"],
        10,
        1.1e9,
    ),
    case(
        "20 ms, 5 ms of jitter, reordered",
        &["--delay", "20ms", "--jitter", "5ms", "--reorder"],
        10,
        1.1e9,
    ),
    case(
        "20 ms, 1 Gbit/s, CoDel",
        &["--delay", "20ms", "--rate", "1Gbit", "--aqm", "codel"],
        10,
        1.1e9,
    ),
    case("20 ms, sender without GSO", &["--delay", "20ms"], 1, 1.1e9),
    case("nothing, 40 a call", &[], 40, 3.0e9),
    case("20 ms, 40 a call", &["--delay", "20ms"], 40, 3.0e9),
];

struct Outcome {
    sent: u64,
    received: u64,
    seconds: f64,
    /// Of the emulator, s.
    cpu: f64,
    /// Lost before the emulator read them: its receive buffer was full.
    overrun: u64,
}

fn main() -> Result<()> {
    // Cargo adds `--bench`.
    let arguments: Vec<_> = env::args().collect();
    let report = arguments.windows(2).find(|pair| pair[0] == "--report");
    let mut page = head();
    for case in &CASES {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(run(case)?);
        }
        let best = rounds.iter().max_by_key(|outcome| outcome.received);
        let row = row(case, best.ok_or("no round")?)?;
        println!("{row}");
        writeln!(page, "{row}")?;
    }
    writeln!(page, "\nLoad of the machine afterwards: {}", load())?;
    match report {
        Some(pair) => Ok(fs::write(&pair[1], page)?),
        None => Ok(()),
    }
}

fn head() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |model| {
        model.trim_start_matches([' ', '\t', ':'])
    });
    format!(
        "# What moq-netsim carries\n\n\
         Written by `cargo bench --bench netsim -- --report docs/benchmarks/netsim.md`; see [README.md](README.md).\n\n\
         - Date: {}\n- Commit: {}\n- Machine: {} cores, {model}, Linux {}\n\
         - Flow: {} bytes of UDP payload, one way, one client; the best of {ROUNDS} rounds of {} s each\n\
         - Load of the machine before (1, 5 and 15 min): {}\n\n\
         | Path | datagrams a call of the sender | offered Gbit/s | delivered Gbit/s | packets/s | lost before the emulator read them % | CPU cores | CPU µs a packet |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
        said("date", &["-u", "+%F"]),
        commit::commit(),
        thread::available_parallelism().map_or(0, usize::from),
        said("uname", &["-r"]),
        CASES[0].size,
        LENGTH.as_secs(),
        load(),
    )
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(", ")
}

/// The first line that a program says.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map_or_else(|_| Vec::new(), |output| output.stdout);
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn row(case: &Case, outcome: &Outcome) -> Result<String> {
    if outcome.received == 0 {
        return Err(format!("{}: nothing arrived", case.name).into());
    }
    let bits = |packets: u64| packets as f64 * case.size as f64 * 8.0 / outcome.seconds / 1e9;
    Ok(format!(
        "| {} | {} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {:.2} |",
        case.name,
        case.segments,
        bits(outcome.sent),
        bits(outcome.received),
        outcome.received as f64 / outcome.seconds,
        outcome.overrun as f64 * 100.0 / outcome.sent as f64,
        outcome.cpu / outcome.seconds,
        outcome.cpu * 1e6 / outcome.received as f64,
    ))
}

fn run(case: &Case) -> Result<Outcome> {
    let sink = Endpoint::new()?;
    let (mut emulator, lines, addr) = start(case, sink.addr()?)?;
    let received = Arc::new(AtomicU64::new(0));
    let ended = Arc::new(AtomicBool::new(false));
    let counter = {
        let (received, ended) = (received.clone(), ended.clone());
        thread::spawn(move || sink.count(&received, &ended))
    };
    let source = Endpoint::new()?;
    let before = cpu(emulator.id())?;
    let start = Instant::now();
    let sent = source.send(addr, case, start)?;
    let seconds = start.elapsed().as_secs_f64();
    // What is still under way arrives within this.
    thread::sleep(Duration::from_millis(200));
    let cpu = cpu(emulator.id())? - before;
    ended.store(true, Ordering::Relaxed);
    counter.join().map_err(|_| "the receiver failed")??;
    let stats = finish(&mut emulator, lines)?;
    let offered = stats["up"]["offered"]["packets"].as_u64().unwrap_or(0);
    Ok(Outcome {
        sent,
        received: received.load(Ordering::Relaxed),
        seconds,
        cpu,
        overrun: sent.saturating_sub(offered),
    })
}

type Lines = io::Lines<BufReader<ChildStdout>>;

fn start(case: &Case, target: SocketAddr) -> Result<(Child, Lines, SocketAddr)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_moq-netsim"))
        .args(["--target", &target.to_string(), "--json", "--control"])
        .args(case.options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take().ok_or("no output")?;
    let mut lines = BufReader::new(out).lines();
    let head: Value = serde_json::from_str(&lines.next().ok_or("no first line")??)?;
    let addr = head["listen"].as_str().ok_or("no address")?.parse()?;
    Ok((child, lines, addr))
}

/// Ends the emulator and reads its last line.
fn finish(child: &mut Child, mut lines: Lines) -> Result<Value> {
    use std::io::Write as _;
    let mut input = child.stdin.take().ok_or("no input")?;
    writeln!(input, "quit")?;
    let last = lines.next().ok_or("no counters")??;
    child.wait()?;
    Ok(serde_json::from_str(&last)?)
}

/// CPU time of a process so far, s.
fn cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; after it come the fields from the third on.
    let (_, rest) = stat.rsplit_once(") ").ok_or("no name in stat")?;
    let fields: Vec<_> = rest.split(' ').collect();
    let ticks = |field: usize| fields[field - 3].parse::<f64>();
    Ok((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND)
}

struct Endpoint {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Endpoint {
    fn new() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let state = UdpSocketState::new((&socket).into())?;
        state.set_send_buffer_size((&socket).into(), BUFFER)?;
        state.set_recv_buffer_size((&socket).into(), BUFFER)?;
        Ok(Self { socket, state })
    }

    fn addr(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// Sends at the rate of the case; returns how many datagrams.
    fn send(&self, to: SocketAddr, case: &Case, start: Instant) -> Result<u64> {
        let contents = vec![0x5a; case.size * case.segments];
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: &contents,
            segment_size: (case.segments > 1).then_some(case.size),
            src_ip: None,
        };
        let per_second = case.rate / 8.0 / case.size as f64;
        let mut sent = 0;
        while start.elapsed() < LENGTH {
            if sent as f64 > start.elapsed().as_secs_f64() * per_second {
                thread::sleep(Duration::from_micros(100));
                continue;
            }
            match self.state.try_send((&self.socket).into(), &transmit) {
                Ok(()) => sent += case.segments as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    }

    fn count(&self, received: &AtomicU64, ended: &AtomicBool) -> io::Result<()> {
        let mut memory = vec![0; 65_536 * quinn_udp::BATCH_SIZE];
        let mut meta = [RecvMeta::default(); quinn_udp::BATCH_SIZE];
        let mut slices: Vec<_> = memory.chunks_mut(65_536).map(IoSliceMut::new).collect();
        while !ended.load(Ordering::Relaxed) {
            match self
                .state
                .recv((&self.socket).into(), &mut slices, &mut meta)
            {
                Ok(count) => {
                    let datagrams = |meta: &RecvMeta| meta.len.div_ceil(meta.stride.max(1)) as u64;
                    let all: u64 = meta[..count].iter().map(datagrams).sum();
                    received.fetch_add(all, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_micros(100));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
