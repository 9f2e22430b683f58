//! How many subscribers a core of a relay serves: ours and another, each alone in a process of its own, in turn, under one load
//! generator. See docs/benchmarks/README.md.

mod audience;
mod dial;
mod figures;
mod publisher;
#[path = "../rig/mod.rs"]
mod rig;
mod run;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Parser;
use figures::Figures;
use rig::{
    Result,
    figures::Spread,
    page::{self, Column, Facts, Row, fact, table},
    plot::{self, Axes, Curve},
    stream::Stream,
};
use run::Run;

/// Measures what each subscriber costs a relay, and writes Markdown tables and an SVG plot.
#[derive(Debug, Parser)]
#[command(name = "fanout")]
struct Arguments {
    /// `embedded` (WebTransport), `embedded-quic` (raw QUIC), `moq-relay` or `moq-relay-quic` (the program in MOQ_RELAY_BIN); the
    /// first is compared with each further one.
    #[arg(long = "relay", value_name = "RELAY", default_values = ["embedded", "moq-relay"])]
    relays: Vec<String>,
    /// How many subscribers, in steps.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 25, 50, 100, 200])]
    subscribers: Vec<usize>,
    /// How long each step is measured, s.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What the 99th percentile of latency may be for a step to count as served, ms.
    #[arg(long, default_value_t = 50.0)]
    limit: f64,
    /// kbit/s
    #[arg(long, default_value_t = 4000)]
    bitrate: u32,
    /// Threads that receive.
    #[arg(long, default_value_t = 1)]
    workers: usize,
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

const COST: [Column<Figures>; 5] = [
    ("relay cores", 3, |f| f.relay),
    ("ms of CPU a second and subscriber", 3, |f| {
        1000.0 * f.relay / f.subscribers as f64
    }),
    ("subscribers a core", 0, |f| f.subscribers as f64 / f.relay),
    ("MiB", 1, |f| f.memory),
    ("KiB a subscriber", 0, |f| {
        1024.0 * (f.memory - f.memory_before) / f.subscribers as f64
    }),
];

const SERVICE: [Column<Figures>; 7] = [
    ("p50 ms", 2, |f| f.latency.p50),
    ("p95", 2, |f| f.latency.p95),
    ("p99", 2, |f| f.latency.p99),
    ("late objects", 0, |f| f.late as f64),
    ("missing objects", 0, |f| f.missing as f64),
    ("load generator cores", 2, |f| f.generator),
    ("machine cores", 2, |f| f.machine),
];

/// Step and relay.
type Results = BTreeMap<(usize, usize), Vec<Figures>>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.role {
        None => measure(&arguments),
        Some(role) => rig::role(role),
    }
}

/// Runs every round of every step and reports.
fn measure(arguments: &Arguments) -> Result<()> {
    gst::init()?;
    let stream = Arc::new(Stream::encode(
        run::length(arguments.seconds),
        arguments.bitrate,
    )?);
    let steps: Vec<usize> = BTreeSet::from_iter(arguments.subscribers.iter().copied())
        .into_iter()
        .collect();
    let mut results = Results::new();
    for round in 0..arguments.rounds {
        for subscribers in &steps {
            for turn in 0..arguments.relays.len() {
                // Who begins changes with the round.
                let index = (turn + round) % arguments.relays.len();
                let relay = &arguments.relays[index];
                eprintln!("round {}: {subscribers} subscribers, {relay}", round + 1);
                let run = Run {
                    relay,
                    stream: stream.clone(),
                    subscribers: *subscribers,
                    seconds: arguments.seconds,
                    workers: arguments.workers,
                };
                match run.measure() {
                    Ok(figures) => results
                        .entry((*subscribers, index))
                        .or_default()
                        .push(figures),
                    Err(err) => eprintln!("  failed: {err}"),
                }
            }
        }
    }
    let text = report(arguments, &steps, &stream, &results)?;
    page::publish(&text, arguments.report.as_deref())?;
    match steps.len() * arguments.relays.len() - results.len() {
        0 => Ok(()),
        broken => Err(format!("{broken} rows have no figures").into()),
    }
}

fn report(
    arguments: &Arguments,
    steps: &[usize],
    stream: &Stream,
    results: &Results,
) -> Result<String> {
    let mut text = String::from("# Fan-out of a relay\n\n");
    text.push_str(
        "Written by `cargo bench --bench fanout`; what it measures and how is in [README.md](README.md). Only the ratios of rows of \
         one table mean something.\n\n",
    );
    Facts {
        stream,
        measured: versions(&arguments.relays, results),
        rounds: arguments.rounds,
        seconds: arguments.seconds,
    }
    .write(&mut text);
    let served = format!(
        "no object is missing, none is later than {} ms, and p99 is at most {} ms, in every round",
        audience::LATE.as_millis(),
        arguments.limit
    );
    fact(&mut text, "Served", &served);
    let names: Vec<String> = arguments.relays.iter().map(|relay| name(relay)).collect();
    verdict(&mut text, arguments, &names, steps, results);
    for step in steps {
        let _ = writeln!(text, "\n## {step} subscribers\n");
        let rows: Vec<Row<Figures>> = names
            .iter()
            .enumerate()
            .filter_map(|(index, name)| {
                let rounds = results.get(&(*step, index))?;
                Some((name.as_str(), rounds.as_slice()))
            })
            .collect();
        remarks(&mut text, arguments.rounds, &rows);
        table(&mut text, &rows, &COST);
        text.push('\n');
        table(&mut text, &rows, &SERVICE);
    }
    if let Some(report) = &arguments.report {
        let file = plot(report, &names, steps, results)?;
        let _ = writeln!(text, "\n![Cores of the relay by subscribers]({file})");
    }
    Ok(text)
}

/// Subscribers a core, where all relays serve everybody: at the same number of subscribers and with p99 within the same limit.
fn verdict(
    text: &mut String,
    arguments: &Arguments,
    names: &[String],
    steps: &[usize],
    results: &Results,
) {
    let all_serve = |step: &usize| {
        (0..names.len()).all(|index| {
            results.get(&(*step, index)).is_some_and(|rounds| {
                rounds.len() == arguments.rounds
                    && rounds.iter().all(|round| round.is_served(arguments.limit))
            })
        })
    };
    text.push_str("\n## Subscribers a core at the same p99\n\n");
    let Some(step) = steps.iter().rev().find(|step| all_serve(step)) else {
        text.push_str("At no step did every relay serve all subscribers.\n");
        return;
    };
    let per_core = |index: usize| {
        let rounds = results.get(&(*step, index)).map_or(&[][..], Vec::as_slice);
        Spread::of(rounds, |f| f.subscribers as f64 / f.relay).median
    };
    let _ = writeln!(
        text,
        "{step} subscribers are the most that every relay served in full. What a core serves is taken there.\n"
    );
    for (index, name) in names.iter().enumerate() {
        let _ = write!(text, "- {name}: {:.0} subscribers a core", per_core(index));
        let _ = match index {
            0 => writeln!(text),
            _ => writeln!(
                text,
                "; {} ÷ {name}: **{:.2}**",
                names[0],
                per_core(0) / per_core(index)
            ),
        };
    }
}

/// What a reader has to know before the figures.
fn remarks(text: &mut String, rounds: usize, rows: &[Row<Figures>]) {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    for (name, done) in rows {
        if done.len() < rounds {
            let failed = rounds - done.len();
            let _ = writeln!(text, "{name}: {failed} of {rounds} runs failed.\n");
        }
        // A load generator that waits for a core receives late what came in time.
        let full = |round: &&Figures| round.machine > 0.9 * cores;
        match done.iter().filter(full).count() {
            0 => {}
            full => {
                let _ = writeln!(
                    text,
                    "{name}: the machine was saturated in {full} of {} runs, so that latency is not the relay's alone.\n",
                    done.len()
                );
            }
        }
    }
}

fn name(relay: &str) -> String {
    let (of, wire) = match relay.strip_suffix("-quic") {
        Some(of) => (of, "raw QUIC"),
        None => (relay, "WebTransport"),
    };
    format!("{of}, {wire}")
}

/// Of each relay's program, once.
fn versions(relays: &[String], results: &Results) -> Vec<(String, String)> {
    let found: BTreeMap<String, String> = results
        .iter()
        .filter_map(|((_, index), rounds)| {
            let name = relays[*index].trim_end_matches("-quic").to_owned();
            Some((name, rounds.first()?.version.clone()))
        })
        .collect();
    found.into_iter().collect()
}

/// The name of the file, beside the report.
fn plot(report: &Path, names: &[String], steps: &[usize], results: &Results) -> Result<String> {
    let file = "fanout.svg".to_owned();
    let curves: Vec<Curve> = names
        .iter()
        .enumerate()
        .map(|(index, name)| Curve {
            name: name.clone(),
            points: steps
                .iter()
                .filter_map(|step| {
                    let rounds = results.get(&(*step, index))?;
                    Some((*step as f64, Spread::of(rounds, |f| f.relay).median))
                })
                .collect(),
        })
        .collect();
    let axes = Axes {
        x: "subscribers",
        y: "cores that the relay uses",
    };
    plot::curves(&report.with_file_name(&file), &axes, &curves)?;
    Ok(file)
}
