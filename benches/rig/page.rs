//! What a page of figures consists of: facts about the run, and tables with a row for each plugin.

use std::{
    fmt::Write,
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    Result,
    commit::commit,
    figures::{Figures, Spread},
    stream::Stream,
};

/// Heading, digits behind the point, value.
pub type Column<F = Figures> = (&'static str, usize, fn(&F) -> f64);

/// A row: who was measured, and its rounds.
pub type Row<'a, F = Figures> = (&'a str, &'a [F]);

/// What every page says of its run.
pub struct Facts<'a> {
    pub stream: &'a Stream,
    /// Name and version of each that was measured.
    pub measured: Vec<(String, String)>,
    pub rounds: usize,
    /// s
    pub seconds: f64,
}

impl Facts<'_> {
    pub fn write(&self, text: &mut String) {
        where_and_what(text, &self.measured);
        let bitrate = self.stream.bitrate();
        let height = self.stream.height;
        let stream =
            format!("{height}p60 H.264, {bitrate:.0} kbit/s, GOP 1 s, and Opus, 96 kbit/s");
        fact(text, "Stream", &stream);
        let rounds = format!(
            "{} of {} s; median (smallest–largest)",
            self.rounds, self.seconds
        );
        fact(text, "Rounds", &rounds);
    }
}

/// When, where and by what a page was made; name and version of each that was measured.
pub fn where_and_what(text: &mut String, measured: &[(String, String)]) {
    fact(text, "Date", &date());
    fact(text, "Commit", &commit());
    fact(text, "Machine", &machine());
    fact(text, "GStreamer", &gst::version_string());
    for (name, version) in measured {
        fact(text, name, version);
    }
}

pub fn fact(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "- {name}: {value}");
}

/// To stdout, and into the report if one is wanted.
pub fn publish(text: &str, report: Option<&Path>) -> Result<()> {
    println!("{text}");
    if let Some(path) = report {
        fs::write(path, text)?;
    }
    Ok(())
}

/// One row each, and below each further one the first's ratio to it.
pub fn table<F>(text: &mut String, rows: &[Row<F>], columns: &[Column<F>]) {
    let headings: Vec<_> = columns.iter().map(|column| column.0).collect();
    let _ = writeln!(text, "| | {} |", headings.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(columns.len()));
    for (name, rounds) in rows {
        let _ = write!(text, "| {name} |");
        for (_, digits, pick) in columns {
            let of = Spread::of(rounds, pick);
            text.push_str(&cell(of, *digits));
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
            let _ = match ratio.is_finite() {
                true => write!(text, " {ratio:.2} |"),
                false => write!(text, " – |"),
            };
        }
        text.push('\n');
    }
}

/// The spread only where there is one.
fn cell(of: Spread, digits: usize) -> String {
    let number = |value: f64| format!("{value:.digits$}");
    let (median, min, max) = (number(of.median), number(of.min), number(of.max));
    match (of.median.is_finite(), min == max) {
        (false, _) => " – |".to_owned(),
        (true, true) => format!(" {median} |"),
        (true, false) => format!(" {median} ({min}–{max}) |"),
    }
}

/// CPU of the elements by themselves, as ratios.
pub fn without_rig(text: &mut String, rows: &[Row], rig: f64) {
    let elements = |rounds: &[Figures]| Spread::of(rounds, Figures::cpu).median - rig;
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

fn date() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let seconds = i64::try_from(now).unwrap_or(0);
    gst::glib::DateTime::from_unix_utc(seconds)
        .and_then(|date| date.format("%Y-%m-%d"))
        .map_or_else(|_| "unknown".to_owned(), |date| date.to_string())
}
