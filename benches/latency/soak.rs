//! Memory over a long time: of a publisher that goes on, a player that goes on while another in its process joins again and again,
//! and their relay.

use std::fmt::Write;

use crate::{
    Arguments, Result,
    rig::{
        job::Transport,
        page::{self, Facts, fact},
        plugins::{Plugin, plugins},
        relays::routes,
        run::{Run, Soak},
        stream::Stream,
    },
};

/// Between joins, s.
const EVERY: f64 = 5.0;

/// Of the stream that is sent over and over, s.
const LENGTH: f64 = 10.0;

/// What grows until caches are full and allocators have what they need is not a leak: growth is taken over what follows this
/// part of the run.
const SETTLING: f64 = 0.4;

/// Runs each plugin once and reports.
pub fn measure(arguments: &Arguments, seconds: f64) -> Result<()> {
    gst::init()?;
    let folder = tempfile::tempdir()?;
    let plugins = plugins(&arguments.plugins, folder.path())?;
    let (_relays, routes) = routes(&arguments.relays, folder.path())?;
    let route = routes.first().ok_or("no relay")?;
    let stream = Stream::encode(LENGTH, arguments.bitrate)?;
    let file = folder.path().join("stream");
    stream.save(&file)?;
    let mut text = String::from("# Memory over a long time\n\n");
    text.push_str(
        "Written by `cargo bench --bench latency -- --soak SECONDS`; what it measures and how is in [README.md](README.md).\n\n",
    );
    Facts {
        stream: &stream,
        measured: Vec::new(),
        rounds: 1,
        seconds,
    }
    .write(&mut text);
    fact(&mut text, "Relay", &route.name);
    let _ = writeln!(
        text,
        "\nMiB resident. *Growth* is the slope of a line through the last {:.0} %, MiB a minute.\n\n\
         | | joins | at 10 % | 25 % | 50 % | 75 % | end | growth |\n|---|---:|---:|---:|---:|---:|---:|---:|",
        100.0 * (1.0 - SETTLING)
    );
    for plugin in &plugins {
        eprintln!("soak of {}", plugin.name);
        let broadcast = format!("soak-{}-{}", std::process::id(), plugin.name);
        let run = Run {
            plugin,
            route: Some(route),
            transport: Transport::Moq { broadcast },
            path: None,
            cut: None,
            seed: 0,
            stream: file.clone(),
            seconds,
            join: 0.0,
            latency: arguments.latency,
        };
        rows(&mut text, plugin, &run.soak(EVERY)?);
    }
    page::publish(&text, arguments.report.as_deref())?;
    Ok(())
}

fn rows(text: &mut String, plugin: &Plugin, soak: &Soak) {
    for (process, memory) in ["publisher", "player", "relay"].iter().zip(&soak.memory) {
        let _ = write!(text, "| {}, {process} | {} |", plugin.name, soak.joins);
        for share in [0.1, 0.25, 0.5, 0.75, 1.0] {
            let at = (share * memory.len() as f64) as usize;
            let there = memory.get(at).or(memory.last());
            let _ = write!(text, " {:.1} |", there.copied().unwrap_or(f64::NAN));
        }
        let settled = (SETTLING * memory.len() as f64) as usize;
        let _ = writeln!(text, " {:+.2} |", 60.0 * slope(&memory[settled..]));
    }
}

/// Of the line with the least squares through values that are 1 apart.
fn slope(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let (mean_x, mean_y) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in values.iter().enumerate() {
        let x = x as f64 - mean_x;
        above += x * (y - mean_y);
        below += x * x;
    }
    above / below
}
