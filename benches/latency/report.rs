//! The tables.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    Arguments,
    figures::{Figures, Spread},
    rig::{Case, Plugin, Route},
    stream::Stream,
};

type Column = (&'static str, usize, fn(&Figures) -> f64);

/// Heading, digits behind the point, value.
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

const REST: [Column; 6] = [
    ("delivered %", 1, |f| {
        100.0 * f.delivered as f64 / f.sent as f64
    }),
    ("first frame ms", 1, |f| f.first_frame),
    ("first shown ms", 1, |f| f.first_presented),
    ("CPU cores", 3, |f| f.cpu),
    ("RSS MiB", 1, |f| f.memory),
    ("machine cores", 2, |f| f.machine),
];

pub fn markdown(
    arguments: &Arguments,
    plugins: &[Plugin],
    routes: &[Route],
    stream: &Stream,
    rig: &[Figures],
    results: &BTreeMap<Case, Vec<Figures>>,
) -> String {
    let mut text = String::from("# Latency, CPU and memory\n\n");
    text.push_str(
        "Written by `cargo bench --bench latency`; what it measures and how is in [README.md](README.md). Only the ratios of \
         rows of one table mean something.\n\n",
    );
    facts(&mut text, arguments, plugins, stream, results);
    let cpu = Spread::of(rig, |figures| figures.cpu);
    let _ = writeln!(
        text,
        "- Rig alone: {:.3} ({:.3}–{:.3}) cores, {:.1} MiB; part of the figures of each plugin",
        cpu.median,
        cpu.min,
        cpu.max,
        Spread::of(rig, |figures| figures.memory).median
    );
    for (route, to) in routes.iter().enumerate() {
        for (join, at) in arguments.joins.iter().enumerate() {
            let rows: Vec<_> = results
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

fn facts(
    text: &mut String,
    arguments: &Arguments,
    plugins: &[Plugin],
    stream: &Stream,
    results: &BTreeMap<Case, Vec<Figures>>,
) {
    let mut fact = |name: &str, value: String| {
        let _ = writeln!(text, "- {name}: {value}");
    };
    fact("Date", date());
    fact("Commit", commit());
    fact("Machine", machine());
    fact("GStreamer", gst::version_string().to_string());
    for (index, plugin) in plugins.iter().enumerate() {
        let version = results
            .iter()
            .find(|(case, _)| case.plugin == index)
            .and_then(|(_, rounds)| rounds.first())
            .map_or("no run succeeded", |figures| &figures.version);
        fact(&plugin.name, version.to_owned());
    }
    fact(
        "Stream",
        format!(
            "720p60 H.264, {:.0} kbit/s, GOP 1 s, and Opus, 96 kbit/s",
            stream.bitrate()
        ),
    );
    fact(
        "Rounds",
        format!(
            "{} of {} s; median (smallest–largest)",
            arguments.rounds, arguments.seconds
        ),
    );
    fact(
        "`latency` of moqsrc, where it has it",
        format!("{} ms", arguments.latency),
    );
}

/// One row a plugin, and below each further one the first's ratio to it.
fn table(text: &mut String, rows: &[(&str, &[Figures])], columns: &[Column]) {
    let headings: Vec<_> = columns.iter().map(|column| column.0).collect();
    let _ = writeln!(text, "| | {} |", headings.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(columns.len()));
    for (name, rounds) in rows {
        let _ = write!(text, "| {name} |");
        for (_, digits, pick) in columns {
            let of = Spread::of(rounds, pick);
            let _ = write!(
                text,
                " {:.digits$} ({:.digits$}–{:.digits$}) |",
                of.median,
                of.min,
                of.max,
                digits = *digits
            );
        }
        text.push('\n');
    }
    let Some(((first, ours), others)) = rows.split_first() else {
        return;
    };
    for (name, rounds) in others {
        let _ = write!(text, "| {first} ÷ {name} |");
        for (_, _, pick) in columns {
            let ratio = Spread::of(ours, pick).median / Spread::of(rounds, pick).median;
            let _ = write!(text, " {ratio:.2} |");
        }
        text.push('\n');
    }
}

/// CPU of the elements by themselves, as ratios.
fn without_rig(text: &mut String, rows: &[(&str, &[Figures])], rig: f64) {
    let elements = |rounds: &[Figures]| Spread::of(rounds, |figures| figures.cpu).median - rig;
    let Some(((first, ours), others)) = rows.split_first() else {
        return;
    };
    for (name, rounds) in others {
        let (ours, other) = (elements(ours), elements(rounds));
        let _ = writeln!(
            text,
            "\nCPU less the rig's, {first} ÷ {name}: {ours:.3} ÷ {other:.3} = {:.2}.",
            ours / other
        );
    }
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {model}, Linux {}", kernel.trim())
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    git(&["describe", "--always", "--dirty"]).unwrap_or_else(|| "unknown".to_owned())
}

fn date() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let seconds = i64::try_from(now).unwrap_or(0);
    gst::glib::DateTime::from_unix_utc(seconds)
        .and_then(|date| date.format("%Y-%m-%d"))
        .map_or_else(|_| "unknown".to_owned(), |date| date.to_string())
}
