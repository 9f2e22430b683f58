//! What is said on standard output.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use gstmoq::netsim::{DirectionStats, Stats};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::legs::Leg;

/// What reports go by.
pub struct Reporter {
    json: bool,
    start: Instant,
}

#[derive(Serialize)]
struct Listening<'a> {
    leg: &'a str,
    listen: String,
    target: String,
    seed: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    /// Since the start, s.
    time: f64,
    leg: &'a str,
    up: Direction,
    down: Direction,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Serialize)]
struct Direction {
    #[serde(flatten)]
    stats: DirectionStats,
    /// Since the line before, bit/s of UDP payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<Rates>,
}

#[derive(Serialize, Clone, Copy)]
struct Rates {
    offered: f64,
    forwarded: f64,
}

#[derive(Serialize)]
struct Rest {
    clients: usize,
    refused_datagrams: u64,
    rebinds: u64,
    tcp_connections: usize,
    refused_tcp_connections: u64,
    tcp_up_bytes: u64,
    tcp_down_bytes: u64,
}

impl Reporter {
    pub fn new(json: bool) -> Self {
        let start = Instant::now();
        Self { json, start }
    }

    /// Says where clients connect to.
    pub fn listening(&self, leg: &Leg) -> Result<(), String> {
        let (listen, target, seed) = (leg.proxy.addr(), leg.proxy.target(), leg.seed);
        if self.json {
            return say(&json(&Listening {
                leg: &leg.name,
                listen: listen.to_string(),
                target: target.to_string(),
                seed,
            }));
        }
        let name = prefix(&leg.name);
        say(&format!(
            "{name}listening on {listen}, target {target}, seed {seed}"
        ))
    }

    /// Says the counters of all legs.
    pub fn counters(&self, legs: &[Leg]) -> Result<(), String> {
        legs.iter()
            .try_for_each(|leg| self.line(leg, leg.proxy.stats(), None))
    }

    /// Says counters and rates each `every`; returns when they cannot be written.
    pub async fn run(&self, legs: &[Leg], every: Option<Duration>) -> Result<(), String> {
        let Some(every) = every else {
            return std::future::pending().await;
        };
        let every = every.max(Duration::from_millis(10));
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let now = |leg: &Leg| (leg.proxy.stats(), Instant::now());
        let mut before: Vec<_> = legs.iter().map(now).collect();
        loop {
            ticks.tick().await;
            for (leg, (old, at)) in legs.iter().zip(&mut before) {
                let (stats, time) = now(leg);
                let seconds = (time - *at).as_secs_f64();
                self.line(leg, stats, Some((&*old, seconds)))?;
                (*old, *at) = (stats, time);
            }
        }
    }

    fn line(&self, leg: &Leg, stats: Stats, since: Option<(&Stats, f64)>) -> Result<(), String> {
        let up = since.map(|(old, seconds)| rates(&stats.up, &old.up, seconds));
        let down = since.map(|(old, seconds)| rates(&stats.down, &old.down, seconds));
        if self.json {
            return say(&json(&Line {
                time: self.start.elapsed().as_secs_f64(),
                leg: &leg.name,
                up: Direction {
                    stats: stats.up,
                    rate: up,
                },
                down: Direction {
                    stats: stats.down,
                    rate: down,
                },
                rest: Rest {
                    clients: stats.clients,
                    refused_datagrams: stats.refused_datagrams,
                    rebinds: stats.rebinds,
                    tcp_connections: stats.tcp_connections,
                    refused_tcp_connections: stats.refused_tcp_connections,
                    tcp_up_bytes: stats.tcp_up_bytes,
                    tcp_down_bytes: stats.tcp_down_bytes,
                },
            }));
        }
        let name = prefix(&leg.name);
        say(&format!(
            "{name}up: {}{}\n{name}down: {}{}\n{name}clients {}, refused datagrams {}, new ports {}, \
             TCP connections {} (up {} bytes, down {} bytes), refused TCP connections {}",
            stats.up,
            words(up),
            stats.down,
            words(down),
            stats.clients,
            stats.refused_datagrams,
            stats.rebinds,
            stats.tcp_connections,
            stats.tcp_up_bytes,
            stats.tcp_down_bytes,
            stats.refused_tcp_connections
        ))
    }
}

fn rates(new: &DirectionStats, old: &DirectionStats, seconds: f64) -> Rates {
    let rate = |new: u64, old: u64| (new - old) as f64 * 8.0 / seconds;
    Rates {
        offered: rate(new.offered.bytes, old.offered.bytes),
        forwarded: rate(new.forwarded.bytes, old.forwarded.bytes),
    }
}

fn words(rates: Option<Rates>) -> String {
    rates.map_or_else(String::new, |rates| {
        let (offered, forwarded) = (rates.offered / 1e6, rates.forwarded / 1e6);
        format!(", now {offered:.2} Mbit/s in, {forwarded:.2} Mbit/s out")
    })
}

fn prefix(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!("{name}: ")
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("counters are JSON")
}

pub fn say(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot write to standard output: {error}"))
}
