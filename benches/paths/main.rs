//! What arrives over paths with delay, loss, a bottleneck or an outage: ours and another plugin's elements through a relay, SRT and
//! RTP over the same paths, in turn, each run in processes of its own. See docs/benchmarks/README.md.

#[path = "../rig/mod.rs"]
mod rig;
mod scenarios;

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

use clap::Parser;
use rig::{
    Result,
    figures::Figures,
    job::{KEY_FRAME, Transport},
    page::{self, Column, Facts, Row, fact, table},
    plot::{self, Line},
    plugins::{Plugin, plugins},
    relays::{Route, routes},
    run::Run,
    stream::Stream,
};
use scenarios::Scenario;

/// Measures plugins that provide moqsink and moqsrc over shaped paths, in turn, and writes Markdown tables and SVG plots.
#[derive(Debug, Parser)]
#[command(name = "paths")]
struct Arguments {
    /// A plugin as NAME=FILE; again for each further one. Default: ours, as built with this program.
    #[arg(long = "plugin", value_name = "NAME=FILE")]
    plugins: Vec<String>,
    /// `embedded` (WebTransport), `embedded-quic` (raw QUIC), `moq-relay` or `moq-relay-quic` (the program in MOQ_RELAY_BIN), or
    /// NAME=URL of one that runs; again for each further one.
    #[arg(long = "relay", value_name = "RELAY", default_values = ["embedded", "embedded-quic"])]
    relays: Vec<String>,
    /// A path: a name in examples/scenarios, `outage`, or a scenario file; again for each further one. Default: those of the page.
    #[arg(long = "path", value_name = "NAME")]
    paths: Vec<String>,
    /// Measures SRT (latency 120 and 500 ms) and RTP over UDP over the same paths, too.
    #[arg(long)]
    others: bool,
    /// How long each player plays, s.
    #[arg(long, default_value_t = 12.0)]
    seconds: f64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// When the player starts, in s after a key frame (one each second).
    #[arg(long, default_value_t = 0.4)]
    join: f64,
    /// `latency` of a moqsrc that has this property, ms.
    #[arg(long, default_value_t = 200)]
    latency: u32,
    /// kbit/s
    #[arg(long, default_value_t = 4000)]
    bitrate: u32,
    /// Where the report goes besides stdout; plots are put beside it.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Set by this program for the processes that it starts.
    #[arg(long, hide = true)]
    role: Option<String>,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

const ARRIVED: [Column; 10] = [
    ("delivered %", 1, |f| {
        100.0 * f.delivered as f64 / f.sent as f64
    }),
    ("in time %", 1, |f| 100.0 * f.in_time as f64 / f.sent as f64),
    ("audio %", 1, |f| {
        100.0 * f.audio_delivered as f64 / f.audio_sent as f64
    }),
    ("p50 ms", 0, |f| f.video.p50),
    ("p95", 0, |f| f.video.p95),
    ("p99", 0, |f| f.video.p99),
    ("audio p99", 0, |f| f.audio.p99),
    ("shown p50", 0, |f| f.presented.p50),
    ("p95", 0, |f| f.presented.p95),
    ("freeze", 0, |f| f.freeze),
];

const STARTED: [Column; 4] = [
    ("first frame ms", 0, |f| f.first_frame),
    ("first shown ms", 0, |f| f.first_presented),
    ("back after the cut ms", 0, |f| f.recovery),
    ("CPU cores", 3, Figures::cpu),
];

/// One that is measured over every path.
struct Candidate<'a> {
    name: String,
    plugin: &'a Plugin,
    route: Option<&'a Route>,
    /// `None` = MoQ.
    other: Option<Transport>,
}

/// Path and candidate.
type Results = BTreeMap<(usize, usize), Vec<Figures>>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.role {
        None => measure(&arguments),
        Some(role) => rig::role(role),
    }
}

/// Runs every round of every case and reports.
fn measure(arguments: &Arguments) -> Result<()> {
    gst::init()?;
    let folder = tempfile::tempdir()?;
    let plugins = plugins(&arguments.plugins, folder.path())?;
    let (_relays, routes) = routes(&arguments.relays, folder.path())?;
    let scenarios = scenarios::named(&arguments.paths)?;
    let candidates = candidates(arguments, &plugins, &routes);
    let length = KEY_FRAME + arguments.join + arguments.seconds + 1.0;
    let stream = Stream::encode(length, arguments.bitrate)?;
    let file = folder.path().join("stream");
    stream.save(&file)?;

    let mut results = Results::new();
    for round in 0..arguments.rounds {
        for (path, scenario) in scenarios.iter().enumerate() {
            for turn in 0..candidates.len() {
                // Who begins changes with the round.
                let index = (turn + round) % candidates.len();
                let candidate = &candidates[index];
                eprintln!(
                    "round {}: {}, {}",
                    round + 1,
                    scenario.title,
                    candidate.name
                );
                let broadcast = format!("paths-{}-{round}-{path}-{index}", std::process::id());
                let run = Run {
                    plugin: candidate.plugin,
                    route: candidate.route,
                    transport: match &candidate.other {
                        Some(other) => other.clone(),
                        None => Transport::Moq { broadcast },
                    },
                    path: Some(&scenario.settings),
                    cut: scenario.cut,
                    // The same packets are lost for all of one round, as far as they send the same.
                    seed: 1 + 2 * round as u64,
                    stream: file.clone(),
                    seconds: arguments.seconds,
                    join: arguments.join,
                    latency: arguments.latency,
                };
                match run.measure() {
                    Ok(figures) => {
                        eprintln!(
                            "  {} of {} delivered, {} in time; p50 {:.0}, p95 {:.0}, p99 {:.0} ms",
                            figures.delivered,
                            figures.sent,
                            figures.in_time,
                            figures.video.p50,
                            figures.video.p95,
                            figures.video.p99
                        );
                        results.entry((path, index)).or_default().push(figures);
                    }
                    Err(err) => eprintln!("  failed: {err}"),
                }
            }
        }
    }
    let text = report(arguments, &candidates, &scenarios, &stream, &results)?;
    page::publish(&text, arguments.report.as_deref())?;
    // A row of MoQ without a figure is a broken run. Others may have no answer to a path.
    let moq = |index: &usize| candidates[*index].other.is_none();
    let broken = (0..scenarios.len())
        .flat_map(|path| {
            (0..candidates.len())
                .filter(moq)
                .map(move |index| (path, index))
        })
        .filter(|case| !results.contains_key(case))
        .count();
    match broken {
        0 => Ok(()),
        broken => Err(format!("{broken} rows have no figures").into()),
    }
}

fn candidates<'a>(
    arguments: &Arguments,
    plugins: &'a [Plugin],
    routes: &'a [Route],
) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::new();
    for route in routes {
        for plugin in plugins {
            candidates.push(Candidate {
                name: format!("{}, {}", plugin.name, route.name),
                plugin,
                route: Some(route),
                other: None,
            });
        }
    }
    let others = [
        ("SRT, latency 120 ms", Transport::Srt { latency: 120 }),
        ("SRT, latency 500 ms", Transport::Srt { latency: 500 }),
        (
            "RTP over UDP, jitter buffer 200 ms",
            Transport::Rtp { latency: 200 },
        ),
    ];
    for (name, other) in others.into_iter().filter(|_| arguments.others) {
        candidates.push(Candidate {
            name: name.to_owned(),
            plugin: &plugins[0],
            route: None,
            other: Some(other),
        });
    }
    candidates
}

fn report(
    arguments: &Arguments,
    candidates: &[Candidate],
    scenarios: &[Scenario],
    stream: &Stream,
    results: &Results,
) -> Result<String> {
    let mut text = String::from("# Paths with delay, loss, a bottleneck, an outage\n\n");
    text.push_str(
        "Written by `cargo bench --bench paths`; what it measures and how is in [README.md](README.md). Only the ratios of rows of \
         one table mean something.\n\n",
    );
    let mut measured = BTreeMap::new();
    for ((_, index), rounds) in results {
        let candidate = &candidates[*index];
        if let (None, Some(figures)) = (&candidate.other, rounds.first()) {
            measured.insert(candidate.plugin.name.clone(), figures.version.clone());
        }
    }
    Facts {
        stream,
        measured: measured.into_iter().collect(),
        rounds: arguments.rounds,
        seconds: arguments.seconds,
    }
    .write(&mut text);
    let latency = format!("{} ms", arguments.latency);
    fact(&mut text, "`latency` of moqsrc, where it has it", &latency);
    fact(
        &mut text,
        "Joined",
        &format!("{} s after a key frame", arguments.join),
    );
    for (path, scenario) in scenarios.iter().enumerate() {
        let _ = writeln!(text, "\n## {}\n", scenario.title);
        let rows: Vec<Row> = (0..candidates.len())
            .filter_map(|index| {
                let rounds = results.get(&(path, index))?;
                Some((candidates[index].name.as_str(), rounds.as_slice()))
            })
            .collect();
        for (index, candidate) in candidates.iter().enumerate() {
            let done = results.get(&(path, index)).map_or(0, Vec::len);
            if done < arguments.rounds {
                let failed = arguments.rounds - done;
                let _ = writeln!(
                    text,
                    "{}: {failed} of {} runs failed.\n",
                    candidate.name, arguments.rounds
                );
            }
        }
        table(&mut text, &rows, &ARRIVED);
        text.push('\n');
        table(&mut text, &rows, &STARTED);
        if let Some(report) = &arguments.report {
            let name = plot(report, scenario, &rows)?;
            let _ = writeln!(text, "\n![Share of frames by latency]({name})");
        }
    }
    Ok(text)
}

/// The name of the file, beside the report.
fn plot(report: &Path, scenario: &Scenario, rows: &[Row]) -> Result<String> {
    let page = report.file_stem().unwrap_or_default().to_string_lossy();
    let name = format!("{page}-{}.svg", scenario.name);
    let lines: Vec<Line> = rows
        .iter()
        .map(|(name, rounds)| Line {
            name: (*name).to_owned(),
            sent: rounds.iter().map(|figures| figures.sent).sum(),
            latencies: rounds
                .iter()
                .flat_map(|figures| figures.latencies.iter().copied())
                .collect(),
        })
        .collect();
    plot::distributions(&report.with_file_name(&name), &lines)?;
    Ok(name)
}
