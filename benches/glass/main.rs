//! Glass to glass: from the capture of a picture and a sound to their presentation, live through encoder, moqsink, relay, moqsrc,
//! decoder and clock-synchronised sink, read from the picture and the sound themselves. See docs/benchmarks/README.md.

#[path = "../../tests/common/burnt_clock.rs"]
mod burnt_clock;
mod figures;
mod job;
mod play;
mod publish;
#[path = "../rig/mod.rs"]
mod rig;
mod run;

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

use clap::Parser;
use figures::Figures;
use job::Job;
use rig::{
    Result,
    page::{self, Column, Row, fact, table, where_and_what},
    plot::{self, Line},
    plugins::{Plugin, plugins},
    relays::{Route, routes},
};
use run::{Fault, Run};

/// Measures plugins that provide moqsink and moqsrc from the capture of picture and sound to their presentation, in turn, and writes
/// Markdown tables and an SVG plot.
#[derive(Debug, Parser)]
#[command(name = "glass")]
struct Arguments {
    /// A plugin as NAME=FILE; again for each further one. Default: ours, as built with this program.
    #[arg(long = "plugin", value_name = "NAME=FILE")]
    plugins: Vec<String>,
    /// `embedded` (WebTransport), `embedded-quic` (raw QUIC), `moq-relay` or `moq-relay-quic` (the program in MOQ_RELAY_BIN), or
    /// NAME=URL of one that runs; again for each further one.
    #[arg(long = "relay", value_name = "RELAY", default_values = ["embedded"])]
    relays: Vec<String>,
    /// How long each player plays, s.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// `latency` of moqsrc, ms; others than ours are measured once, with the first if they have it.
    #[arg(long, value_name = "MS,…", value_delimiter = ',', default_values_t = [20, 40, 60])]
    latency: Vec<u32>,
    /// When the player starts, in s after a key frame (one each second).
    #[arg(long, default_value_t = 0.5)]
    join: f64,
    /// What the publisher's clock is fast by, parts per million.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    ppm: i64,
    /// Length of an Opus packet, ms.
    #[arg(long, default_value_t = 10)]
    packet: u32,
    /// kbit/s
    #[arg(long, default_value_t = 4000)]
    bitrate: u32,
    /// Measures joins at several places of a group, too, and what follows a cut of the path and restarts of relay and publisher: each
    /// for so many s.
    #[arg(long, value_name = "S")]
    faults: Option<f64>,
    /// Where the report goes besides stdout; the plot is put beside it.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Set by this program for the processes that it starts.
    #[arg(long, hide = true)]
    role: Option<String>,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

const SHOWN: [Column<Figures>; 13] = [
    ("video p50 ms", 1, |f| f.video.p50),
    ("p95", 1, |f| f.video.p95),
    ("p99", 1, |f| f.video.p99),
    ("audio p50 ms", 1, |f| f.audio.p50),
    ("p95", 1, |f| f.audio.p95),
    ("p99", 1, |f| f.audio.p99),
    ("A/V p50 ms", 1, |f| f.apart),
    ("A/V most", 1, |f| f.apart_most),
    ("freezes", 0, |f| f.freezes),
    ("longest ms", 0, |f| f.freeze),
    ("late %", 2, |f| f.late),
    ("lost", 0, |f| f.lost),
    ("sound holes", 0, |f| f.holes),
];

const SPENT: [Column<Figures>; 13] = [
    ("picture: encoder ms", 1, |f| f.video_stages[0]),
    ("network", 1, |f| f.video_stages[1]),
    ("decoder", 1, |f| f.video_stages[2]),
    ("waits", 1, |f| f.video_stages[3]),
    ("sound: packet ms", 1, |f| f.audio_stages[0]),
    ("network", 1, |f| f.audio_stages[1]),
    ("decoder", 1, |f| f.audio_stages[2]),
    ("waits", 1, |f| f.audio_stages[3]),
    ("first picture ms", 0, |f| f.first),
    ("realigned", 0, |f| f.realigned),
    ("pulses heard", 0, |f| f.pulses as f64),
    ("CPU publisher", 2, |f| f.cpu_publisher),
    ("CPU player", 2, |f| f.cpu_player),
];

const AFTER: [Column<Figures>; 9] = [
    ("first picture ms", 0, |f| f.first),
    ("back after ms", 0, |f| f.back),
    ("A/V p50 ms", 1, |f| f.apart),
    ("A/V most", 1, |f| f.apart_most),
    ("video p50 ms", 1, |f| f.video.p50),
    ("p95", 1, |f| f.video.p95),
    ("audio p95", 1, |f| f.audio.p95),
    ("freezes", 0, |f| f.freezes),
    ("sound holes", 0, |f| f.holes),
];

/// What happens to one that is measured for its joins and faults: title, time of the join in s after a key frame, fault.
const CASES: [(&str, f64, Option<Fault>); 6] = [
    ("Joined 0.1 s after a key frame", 0.1, None),
    ("Joined 0.5 s after a key frame", 0.5, None),
    ("Joined 0.9 s after a key frame", 0.9, None),
    ("Path cut for 2 s", 0.5, Some(Fault::Cut)),
    ("Relay killed and restarted", 0.5, Some(Fault::Relay)),
    (
        "Publisher killed and restarted",
        0.5,
        Some(Fault::Publisher),
    ),
];

/// A plugin as it is set up, through a relay.
struct Candidate<'a> {
    name: String,
    plugin: &'a Plugin,
    route: &'a Route,
    latency: u32,
}

/// By table and candidate; the first table is that of the undisturbed run.
type Results = BTreeMap<(usize, usize), Vec<Figures>>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.role.as_deref() {
        None => measure(&arguments),
        Some("publish") => publish::run(),
        Some("play") => play::run(),
        Some(role) => rig::role(role),
    }
}

/// Runs every round of every case and reports.
fn measure(arguments: &Arguments) -> Result<()> {
    gst::init()?;
    let folder = tempfile::tempdir()?;
    let plugins = plugins(&arguments.plugins, folder.path())?;
    let (_relays, routes) = routes(&arguments.relays, folder.path())?;
    let candidates = candidates(arguments, &plugins, &routes);
    let tables = if arguments.faults.is_some() {
        1 + CASES.len()
    } else {
        1
    };
    let mut results = Results::new();
    for round in 0..arguments.rounds {
        for table in 0..tables {
            for turn in 0..candidates.len() {
                // Who begins changes with the round.
                let index = (turn + round) % candidates.len();
                if !is_measured(table, index, &candidates) {
                    continue;
                }
                eprintln!(
                    "round {}: {}, {}",
                    round + 1,
                    title(table),
                    candidates[index].name
                );
                let broadcast = format!("glass-{}-{round}-{table}-{index}", std::process::id());
                match one(arguments, &candidates[index], table, broadcast) {
                    Ok(figures) => results.entry((table, index)).or_default().push(figures),
                    Err(err) => eprintln!("  failed: {err}"),
                }
            }
        }
    }
    let text = report(arguments, &candidates, tables, &results)?;
    page::publish(&text, arguments.report.as_deref())?;
    // What others make of a fault is a figure, too; what they do undisturbed, and we in any case, must have one.
    let broken = (0..tables)
        .flat_map(|table| (0..candidates.len()).map(move |index| (table, index)))
        .filter(|(table, index)| is_measured(*table, *index, &candidates))
        .filter(|(table, index)| *table == 0 || candidates[*index].plugin.name == "ours")
        .filter(|case| !results.contains_key(case))
        .count();
    match broken {
        0 => Ok(()),
        broken => Err(format!("{broken} rows have no figures").into()),
    }
}

/// Joins and faults are measured with the first latency and relay only.
fn is_measured(table: usize, index: usize, candidates: &[Candidate]) -> bool {
    let same = |other: &Candidate| other.plugin.name == candidates[index].plugin.name;
    table == 0 || !candidates[..index].iter().any(same)
}

fn title(table: usize) -> &'static str {
    match table.checked_sub(1) {
        None => "undisturbed",
        Some(case) => CASES[case].0,
    }
}

fn one(
    arguments: &Arguments,
    candidate: &Candidate,
    table: usize,
    broadcast: String,
) -> Result<Figures> {
    let case = table.checked_sub(1).map(|case| CASES[case]);
    let faults = arguments.faults.filter(|_| case.is_some());
    let run = Run {
        plugin: candidate.plugin,
        job: Job {
            url: candidate.route.through(candidate.route.address),
            broadcast,
            latency: candidate.latency,
            ppm: arguments.ppm,
            packet: arguments.packet,
            bitrate: arguments.bitrate,
            start: 0,
            seconds: faults.unwrap_or(arguments.seconds),
        },
        join: case.map_or(arguments.join, |(_, join, _)| join),
    };
    let figures = match case {
        Some((_, _, Some(fault))) => run.measure_through(fault),
        _ => run.measure(),
    }?;
    if table == 0 && figures.pictures.is_empty() {
        return Err("no picture was shown".into());
    }
    Ok(figures)
}

fn candidates<'a>(
    arguments: &Arguments,
    plugins: &'a [Plugin],
    routes: &'a [Route],
) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::new();
    for route in routes {
        for plugin in plugins {
            let is_ours = plugin.name.starts_with("ours");
            let shown = if is_ours { arguments.latency.len() } else { 1 };
            for latency in arguments.latency.iter().take(shown) {
                let with = if is_ours {
                    format!(", latency {latency} ms")
                } else {
                    String::new()
                };
                candidates.push(Candidate {
                    name: format!("{}{with}, {}", plugin.name, route.name),
                    plugin,
                    route,
                    latency: *latency,
                });
            }
        }
    }
    candidates
}

fn report(
    arguments: &Arguments,
    candidates: &[Candidate],
    tables: usize,
    results: &Results,
) -> Result<String> {
    let mut text = String::from("# Glass to glass\n\n");
    text.push_str(
        "Written by `cargo bench --bench glass`; what it measures and how is in [README.md](README.md). Only the ratios of rows of \
         one table mean something.\n\n",
    );
    let mut measured = BTreeMap::new();
    for ((_, index), rounds) in results {
        if let Some(figures) = rounds.first() {
            measured.insert(
                candidates[*index].plugin.name.clone(),
                figures.version.clone(),
            );
        }
    }
    where_and_what(&mut text, &measured.into_iter().collect::<Vec<_>>());
    let stream = format!(
        "720p30 H.264 (x264enc, zerolatency, ultrafast, {} kbit/s, GOP 1 s) and Opus ({} ms, 96 kbit/s), live",
        arguments.bitrate, arguments.packet
    );
    fact(&mut text, "Stream", &stream);
    let (rounds, seconds) = (arguments.rounds, arguments.seconds);
    fact(
        &mut text,
        "Rounds",
        &format!("{rounds} of {seconds} s; median (smallest–largest)"),
    );
    fact(
        &mut text,
        "Joined",
        &format!("{} s after a key frame", arguments.join),
    );
    let skew = format!("{:+} ppm against the player's", arguments.ppm);
    fact(&mut text, "Publisher's clock", &skew);

    for of in 0..tables {
        let rows = rows(of, candidates, results);
        match of {
            0 => {
                text.push_str("\n## Undisturbed\n\n");
                table(&mut text, &rows, &SHOWN);
                text.push_str("\nWhere the time goes, medians:\n\n");
                table(&mut text, &rows, &SPENT);
            }
            _ => {
                let _ = writeln!(text, "\n## {}\n", title(of));
                table(&mut text, &rows, &AFTER);
            }
        }
        failures(&mut text, arguments, of, candidates, results);
    }
    if let Some(report) = &arguments.report {
        let name = plot(report, &rows(0, candidates, results))?;
        let _ = writeln!(text, "\n![Share of pictures by latency]({name})");
    }
    Ok(text)
}

fn rows<'a>(
    table: usize,
    candidates: &'a [Candidate],
    results: &'a Results,
) -> Vec<Row<'a, Figures>> {
    (0..candidates.len())
        .filter_map(|index| {
            let rounds = results.get(&(table, index))?;
            Some((candidates[index].name.as_str(), rounds.as_slice()))
        })
        .collect()
}

fn failures(
    text: &mut String,
    arguments: &Arguments,
    table: usize,
    candidates: &[Candidate],
    results: &Results,
) {
    for (index, candidate) in candidates.iter().enumerate() {
        let done = results.get(&(table, index)).map_or(0, Vec::len);
        if done < arguments.rounds && is_measured(table, index, candidates) {
            let failed = arguments.rounds - done;
            let _ = writeln!(
                text,
                "\n{}: {failed} of {} runs failed.",
                candidate.name, arguments.rounds
            );
        }
    }
}

/// The name of the file, beside the report.
fn plot(report: &Path, rows: &[Row<Figures>]) -> Result<String> {
    let page = report.file_stem().unwrap_or_default().to_string_lossy();
    let name = format!("{page}.svg");
    let lines: Vec<Line> = rows
        .iter()
        .map(|(name, rounds)| {
            let pictures = rounds
                .iter()
                .flat_map(|figures| figures.pictures.iter().copied());
            let latencies: Vec<f64> = pictures.collect();
            Line {
                name: (*name).to_owned(),
                sent: latencies.len()
                    + rounds
                        .iter()
                        .map(|figures| figures.lost as usize)
                        .sum::<usize>(),
                latencies,
            }
        })
        .collect();
    plot::distributions_of(
        &report.with_file_name(&name),
        &lines,
        "ms from capture to the screen, at most",
    )?;
    Ok(name)
}
