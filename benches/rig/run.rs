//! One run: starts its processes and the path between them, and makes figures of what they saw.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use gstmoq::netsim::{Proxy, Settings};
use gstmoq::runtime;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Result,
    figures::{Budget, Figures},
    job::{Job, STARTING, Transport},
    plugins::Plugin,
    process::{self, Usage},
    relays::{Route, free_address},
    sights::{Played, Published, Soaked, now},
};

/// How long a process may take beyond its time.
pub const GRACE: Duration = Duration::from_secs(15);

/// What one run is made of.
pub struct Run<'a> {
    pub plugin: &'a Plugin,
    /// `None` for a transport that needs no relay.
    pub route: Option<&'a Route>,
    pub transport: Transport,
    /// Of each leg; `None` = no emulator.
    pub path: Option<&'a Settings>,
    /// The path is cut so long after the player's start and for so long.
    pub cut: Option<(Duration, Duration)>,
    pub seed: u64,
    pub stream: PathBuf,
    /// s
    pub seconds: f64,
    /// s after a key frame
    pub join: f64,
    /// ms
    pub latency: u32,
}

/// Memory over a long time.
pub struct Soak {
    pub joins: usize,
    /// MiB resident of publisher, player and relay, each second.
    pub memory: [Vec<f64>; 3],
}

/// The addresses of the two ends and the emulators between them.
struct Legs {
    publisher: String,
    player: String,
    proxies: Vec<Proxy>,
}

/// A process of the run; killed if it is still there.
pub struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Run<'_> {
    pub fn measure(&self) -> Result<Figures> {
        let legs = self.legs()?;
        let mut job = Job {
            transport: self.transport.clone(),
            stream: self.stream.clone(),
            address: legs.publisher.clone(),
            seconds: self.seconds,
            join: self.join,
            latency: self.latency,
            soak: None,
            start: 0,
        };
        let publisher = Process::start(self.plugin, "publish", &job)?;
        job.start = publisher.line(GRACE)?.parse()?;
        job.address.clone_from(&legs.player);
        let player = match self.transport {
            Transport::None => None,
            _ => Some(Process::start(self.plugin, "play", &job)?),
        };
        let relay = self.follow(&job, &legs)?;

        let played: Played = match &player {
            Some(player) => player.report(&job)?,
            None => Played::default(),
        };
        let published: Published = publisher.report(&job)?;
        let budget = Budget {
            path: self.path.map_or(Duration::ZERO, |path| {
                let legs = [&path.up, &path.down];
                legs.iter().map(|leg| leg.delay + leg.jitter).sum()
            }),
            latency: Duration::from_millis(self.latency.into()),
        };
        let cut = self.cut.map(|(at, length)| {
            let from = job.start + nanos(Duration::from_secs_f64(job.joins_at()) + at);
            (from, from + nanos(length))
        });
        let mut figures = Figures::of(&published, &played, budget, cut);
        figures.cpu_relay = relay;
        Ok(figures)
    }

    /// Lets it run with a join every so many s and says what memory each process held, once a second. The player runs from
    /// the start.
    pub fn soak(&self, every: f64) -> Result<Soak> {
        let route = self.route.ok_or("a soak needs a relay")?;
        let mut job = Job {
            transport: self.transport.clone(),
            stream: self.stream.clone(),
            address: route.through(route.address),
            seconds: self.seconds,
            join: self.join,
            latency: self.latency,
            soak: Some(every),
            start: 0,
        };
        let publisher = Process::start(self.plugin, "publish", &job)?;
        job.start = publisher.line(GRACE)?.parse()?;
        let player = Process::start(self.plugin, "soak", &job)?;
        let relay = route.process.ok_or("a soak needs a relay of its own")?;
        let processes = [publisher.child.id(), player.child.id(), relay];
        let end = job.start + nanos(Duration::from_secs_f64(job.ends_at() - 1.0));
        let mut memory = <[Vec<f64>; 3]>::default();
        while now() < end {
            std::thread::sleep(Duration::from_secs(1));
            for (memory, process) in memory.iter_mut().zip(processes) {
                memory.push(process::memory(&process.to_string())?);
            }
        }
        let soaked: Soaked = player.report(&job)?;
        publisher.report::<Published>(&job)?;
        Ok(Soak {
            joins: soaked.joins,
            memory,
        })
    }

    /// While it runs: cuts the path when it is time, and counts the relay's CPU time.
    fn follow(&self, job: &Job, legs: &Legs) -> Result<f64> {
        let since_start = |seconds: f64| job.start + nanos(Duration::from_secs_f64(seconds));
        sleep_until(since_start(job.joins_at() + STARTING));
        let process = self.route.and_then(|route| route.process);
        let usage = process
            .map(|id| Usage::begin(&id.to_string()))
            .transpose()?;
        if let Some((at, length)) = self.cut {
            sleep_until(since_start(job.joins_at()) + nanos(at));
            for proxy in &legs.proxies {
                proxy.cut(length);
            }
        }
        // A little before the end, so that the relay is counted while it is in use.
        sleep_until(since_start(job.ends_at() - 0.1));
        match usage {
            Some(usage) => Ok(usage.end()?.cpu),
            None => Ok(f64::NAN),
        }
    }

    /// Publisher and player each have a leg of their own to the relay; without a relay one leads into the other.
    fn legs(&self) -> Result<Legs> {
        if let Some(route) = self.route {
            let Some(path) = self.path else {
                let url = route.through(route.address);
                return Ok(Legs {
                    publisher: url.clone(),
                    player: url,
                    proxies: Vec::new(),
                });
            };
            let publisher = leg(route.address, path, self.seed)?;
            let player = leg(route.address, path, self.seed + 1)?;
            return Ok(Legs {
                publisher: route.through(publisher.addr()),
                player: route.through(player.addr()),
                proxies: vec![publisher, player],
            });
        }
        let listener = free_address()?;
        let (far, proxies) = match self.path {
            Some(path) => {
                let first = leg(listener, path, self.seed)?;
                let second = leg(first.addr(), path, self.seed + 1)?;
                (second.addr(), vec![first, second])
            }
            None => (listener, Vec::new()),
        };
        // SRT's publisher listens and its player dials; RTP's the other way around.
        let publisher_listens = matches!(self.transport, Transport::Srt { .. });
        let (publisher, player) = if publisher_listens {
            (listener, far)
        } else {
            (far, listener)
        };
        Ok(Legs {
            publisher: publisher.to_string(),
            player: player.to_string(),
            proxies,
        })
    }
}

fn leg(target: SocketAddr, path: &Settings, seed: u64) -> Result<Proxy> {
    Ok(Proxy::start_on(
        runtime::servers(),
        ([127, 0, 0, 1], 0).into(),
        target,
        Settings {
            seed,
            ..path.clone()
        },
    )?)
}

pub fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

pub fn sleep_until(at: u64) {
    std::thread::sleep(Duration::from_nanos(at.saturating_sub(now())));
}

impl Process {
    /// Starts this program in a role, with a plugin, and tells it what to do.
    pub fn start(plugin: &Plugin, role: &str, job: &impl Serialize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--role", role])
            .env("GST_PLUGIN_PATH", &plugin.folder)
            .env("GST_REGISTRY", &plugin.registry)
            // Writing logs is not what is measured.
            .env("RUST_LOG", "error")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (told, lines) = mpsc::channel();
        follow(child.stdout.take().ok_or("stdout was piped")?, told);
        let mut stdin = child.stdin.take().ok_or("stdin was piped")?;
        let process = Self { child, lines };
        stdin.write_all(format!("{}\n", serde_json::to_string(job)?).as_bytes())?;
        Ok(process)
    }

    /// What it says next.
    pub fn line(&self, limit: Duration) -> Result<String> {
        Ok(self
            .lines
            .recv_timeout(limit)
            .map_err(|_| "the process ended, or said nothing")?)
    }

    fn report<T: DeserializeOwned>(&self, job: &Job) -> Result<T> {
        self.last(job.start + nanos(Duration::from_secs_f64(job.ends_at())))
    }

    /// Its last line, when it ends, soon after `end`; a plugin may write to stdout, too.
    pub fn last<T: DeserializeOwned>(&self, end: u64) -> Result<T> {
        let end = end + nanos(GRACE);
        let mut last = String::new();
        loop {
            let left = Duration::from_nanos(end.saturating_sub(now()));
            match self.lines.recv_timeout(left) {
                Ok(line) if line.is_empty() => {}
                Ok(line) => last = line,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => return Err("it did not end".into()),
            }
        }
        serde_json::from_str(&last).map_err(|_| "it failed; see above".into())
    }
}

fn follow(stdout: ChildStdout, told: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while matches!(stdout.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            line.clear();
            if told.send(text).is_err() {
                // Read on, so that it never waits for somebody to read.
                let _ = stdout.read_to_end(&mut Vec::new());
            }
        }
    });
}
