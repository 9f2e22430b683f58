//! Latency, CPU and memory of a moqsink and a moqsrc through a relay: ours and another plugin's with the same element names, in
//! turn, each run in a process of its own. See docs/benchmarks/README.md.

mod figures;
mod measure;
mod report;
mod rig;
mod stream;

use std::path::PathBuf;

use clap::Parser;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Measures plugins that provide moqsink and moqsrc, in turn, and writes Markdown tables.
#[derive(Debug, Parser)]
#[command(name = "latency")]
struct Arguments {
    /// A plugin as NAME=FILE; again for each further one. Default: ours, as built with this program.
    #[arg(long = "plugin", value_name = "NAME=FILE")]
    plugins: Vec<String>,
    /// `embedded` (WebTransport), `embedded-quic` (raw QUIC) or NAME=URL of one that runs; again for each further one.
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
    /// kbit/s
    #[arg(long, default_value_t = 4000)]
    bitrate: u32,
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

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.role.as_deref() {
        None => rig::run(&arguments),
        Some("relay") => rig::serve(),
        Some("measure") => measure::run(),
        Some(role) => Err(format!("no such role: {role}").into()),
    }
}
