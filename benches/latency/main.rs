//! Latency, CPU and memory of a moqsink and a moqsrc through a relay on loopback: ours and another plugin's with the same element
//! names, in turn, each run in processes of its own. See docs/benchmarks/README.md.

#[path = "../rig/mod.rs"]
mod rig;
mod soak;

use std::{collections::BTreeMap, fmt::Write, path::PathBuf};

use clap::Parser;
use rig::{
    Result,
    figures::{Figures, Spread},
    job::{KEY_FRAME, Transport},
    page::{self, Column, Facts, fact, table, without_rig},
    plugins::{Plugin, plugins},
    relays::{Route, routes},
    run::Run,
    stream::Stream,
};

/// Measures plugins that provide moqsink and moqsrc, in turn, and writes Markdown tables.
#[derive(Debug, Parser)]
#[command(name = "latency")]
struct Arguments {
    /// A plugin as NAME=FILE; again for each further one. Default: ours, as built with this program.
    #[arg(long = "plugin", value_name = "NAME=FILE")]
    plugins: Vec<String>,
    /// `embedded` (WebTransport), `embedded-quic` (raw QUIC), `moq-relay` or `moq-relay-quic` (the program in MOQ_RELAY_BIN), or
    /// NAME=URL of one that runs; again for each further one.
    #[arg(long = "relay", value_name = "RELAY", default_values = ["embedded", "embedded-quic"])]
    relays: Vec<String>,
    /// How long each player plays, s.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// When the player starts, in s after a key frame (one each second).
    #[arg(long, value_delimiter = ',', default_values_t = [0.2, 1.5])]
    joins: Vec<f64>,
    /// `latency` of a moqsrc that has this property, ms.
    #[arg(long, default_value_t = 20)]
    latency: u32,
    /// kbit/s; from 20000 on 1080p instead of 720p.
    #[arg(long, default_value_t = 4000)]
    bitrate: u32,
    /// Instead: memory over so many s, with a join every 5 s, through the first relay.
    #[arg(long, value_name = "SECONDS")]
    soak: Option<f64>,
    /// Where the report goes besides stdout.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Set by this program for the processes that it starts.
    #[arg(long, hide = true)]
    role: Option<String>,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

const LATENCIES: [Column; 9] = [
    ("video p50", 2, |f| f.video.p50),
    ("p95", 2, |f| f.video.p95),
    ("p99", 2, |f| f.video.p99),
    ("max", 1, |f| f.video.max),
    ("audio p50", 2, |f| f.audio.p50),
    ("p99", 2, |f| f.audio.p99),
    ("presented p50", 1, |f| f.presented.p50),
    ("p95", 1, |f| f.presented.p95),
    ("p99", 1, |f| f.presented.p99),
];

const REST: [Column; 11] = [
    ("delivered %", 1, |f| {
        100.0 * f.delivered as f64 / f.sent as f64
    }),
    ("first frame ms", 1, |f| f.first_frame),
    ("first shown ms", 1, |f| f.first_presented),
    ("CPU cores, both", 3, Figures::cpu),
    ("publisher", 3, |f| f.cpu_publisher),
    ("player", 3, |f| f.cpu_player),
    ("relay", 3, |f| f.cpu_relay),
    ("RSS MiB, publisher", 1, |f| f.memory_publisher),
    ("player", 1, |f| f.memory_player),
    ("wake-ups/s, both", 0, |f| f.wakeups),
    ("machine cores", 2, |f| f.machine),
];

/// What is measured: one row of the report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    route: usize,
    join: usize,
    plugin: usize,
}

type Results = BTreeMap<Case, Vec<Figures>>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.role {
        None => match arguments.soak {
            Some(seconds) => soak::measure(&arguments, seconds),
            None => measure(&arguments),
        },
        Some(role) => rig::role(role),
    }
}

/// Runs every round of every case and reports.
fn measure(arguments: &Arguments) -> Result<()> {
    gst::init()?;
    let folder = tempfile::tempdir()?;
    let plugins = plugins(&arguments.plugins, folder.path())?;
    let (_relays, routes) = routes(&arguments.relays, folder.path())?;
    let longest = arguments.joins.iter().copied().fold(0.0, f64::max);
    let length = KEY_FRAME + longest + arguments.seconds + 1.0;
    let stream = Stream::encode(length, arguments.bitrate)?;
    let file = folder.path().join("stream");
    stream.save(&file)?;

    let run = |plugin, route, transport, join| Run {
        plugin,
        route,
        transport,
        path: None,
        cut: None,
        seed: 0,
        stream: file.clone(),
        seconds: arguments.seconds,
        join,
        latency: arguments.latency,
    };
    let (mut alone, mut results) = (Vec::new(), Results::new());
    for round in 0..arguments.rounds {
        eprintln!("round {}: the rig alone", round + 1);
        alone.push(run(&plugins[0], None, Transport::None, 0.0).measure()?);
        for case in cases(arguments, &routes, &plugins, round) {
            let (plugin, route) = (&plugins[case.plugin], &routes[case.route]);
            let join = arguments.joins[case.join];
            let (name, to) = (&plugin.name, &route.name);
            eprintln!("round {}: {name}, {to}, joined {join} s in", round + 1);
            // Nothing of an earlier run is found under this name.
            let broadcast = format!(
                "latency-{}-{round}-{}-{}-{}",
                std::process::id(),
                case.route,
                case.join,
                case.plugin
            );
            match run(plugin, Some(route), Transport::Moq { broadcast }, join).measure() {
                Ok(figures) => results.entry(case).or_default().push(figures),
                Err(err) => eprintln!("  failed: {err}"),
            }
        }
    }
    let text = report(arguments, &plugins, &routes, &stream, &alone, &results);
    page::publish(&text, arguments.report.as_deref())?;
    // A row without a figure is a broken run.
    let rows = plugins.len() * routes.len() * arguments.joins.len();
    match results.len() == rows {
        true => Ok(()),
        false => Err(format!("only {} of {rows} rows have figures", results.len()).into()),
    }
}

/// One round. Plugins take turns, and who begins changes with the round.
fn cases(arguments: &Arguments, routes: &[Route], plugins: &[Plugin], round: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for join in 0..arguments.joins.len() {
        for route in 0..routes.len() {
            for turn in 0..plugins.len() {
                cases.push(Case {
                    route,
                    join,
                    plugin: (turn + round) % plugins.len(),
                });
            }
        }
    }
    cases
}

fn report(
    arguments: &Arguments,
    plugins: &[Plugin],
    routes: &[Route],
    stream: &Stream,
    alone: &[Figures],
    results: &Results,
) -> String {
    let mut text = String::from("# Latency, CPU and memory\n\n");
    text.push_str(
        "Written by `cargo bench --bench latency`; what it measures and how is in [README.md](README.md). Only the ratios of \
         rows of one table mean something.\n\n",
    );
    let version = |index| {
        let rounds = results.iter().find(|(case, _)| case.plugin == index);
        let first = rounds.and_then(|(_, rounds)| rounds.first());
        first.map_or_else(
            || "no run succeeded".to_owned(),
            |figures| figures.version.clone(),
        )
    };
    let named = plugins.iter().enumerate();
    Facts {
        stream,
        measured: named
            .map(|(index, plugin)| (plugin.name.clone(), version(index)))
            .collect(),
        rounds: arguments.rounds,
        seconds: arguments.seconds,
    }
    .write(&mut text);
    let latency = format!("{} ms", arguments.latency);
    fact(&mut text, "`latency` of moqsrc, where it has it", &latency);
    let cpu = Spread::of(alone, |figures| figures.cpu_publisher);
    let _ = writeln!(
        text,
        "- Rig alone, as one process: {:.3} ({:.3}–{:.3}) cores, {:.1} MiB; part of the figures of each plugin",
        cpu.median,
        cpu.min,
        cpu.max,
        Spread::of(alone, |figures| figures.memory_publisher).median
    );
    for (route, to) in routes.iter().enumerate() {
        for (join, at) in arguments.joins.iter().enumerate() {
            let rows: Vec<page::Row> = results
                .iter()
                .filter(|(case, _)| case.route == route && case.join == join)
                .map(|(case, rounds)| (plugins[case.plugin].name.as_str(), rounds.as_slice()))
                .collect();
            let _ = writeln!(text, "\n## {}, joined {at} s after a key frame\n", to.name);
            if rows.is_empty() {
                text.push_str("No run succeeded.\n");
                continue;
            }
            text.push_str("Latency, ms:\n\n");
            table(&mut text, &rows, &LATENCIES);
            text.push('\n');
            table(&mut text, &rows, &REST);
            without_rig(&mut text, &rows, cpu.median);
        }
    }
    text
}
