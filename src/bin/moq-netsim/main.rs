//! `moq-netsim`: delay, loss, a bottleneck, outages and new ports between a client and a relay, in user space.

mod args;
mod control;
mod legs;
mod report;
mod signals;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Duration;

use gstmoq::netsim::Scenario;
use tokio::sync::mpsc;
use tokio::time::sleep;

use args::Args;
use control::Then;
use legs::Leg;
use report::Reporter;
use signals::{Signal, Signals};

fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(args) => args,
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&one_line(&error), 2),
    };
    let result = gstmoq::runtime::servers().block_on(run(&args));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message, 1),
    }
}

fn fail(message: &str, code: u8) -> ExitCode {
    complain(message);
    ExitCode::from(code)
}

fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "moq-netsim: {message}");
}

/// Clap's message without the usage that follows after an empty line.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let words: Vec<_> = message.split_whitespace().collect();
    format!("{}; see --help", words.join(" "))
}

async fn run(args: &Args) -> Result<(), String> {
    let scenario = args.scenario.as_deref().map(Scenario::read).transpose();
    let scenario = scenario.map_err(|error| error.to_string())?;
    let legs = legs::start(args, scenario.as_ref())?;
    // Before the address is out: who reads it may interrupt at once.
    let signals = Signals::new().map_err(|error| format!("cannot listen for Ctrl-C: {error}"))?;
    let reporter = Reporter::new(args.json);
    for leg in &legs {
        reporter.listening(leg)?;
    }
    let duration = args
        .duration
        .or(scenario.and_then(|scenario| scenario.duration));
    tokio::select! {
        () = timer(duration) => {}
        () = serve_signals(signals, &legs, &reporter) => {}
        () = serve_commands(args.control, &legs, &reporter) => {}
        // Nobody reads what is said: an end as good as any.
        _ = reporter.run(&legs, args.stats_interval) => {}
    }
    // The counters are the last word; whether someone hears it changes nothing.
    let _ = reporter.counters(&legs);
    Ok(())
}

async fn timer(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// Returns when a signal asks for an end.
async fn serve_signals(mut signals: Signals, legs: &[Leg], reporter: &Reporter) {
    loop {
        let line = match signals.next().await {
            Signal::End => return,
            Signal::Rebind => "rebind",
            Signal::Counters => "stats",
        };
        if !obey(line, legs, reporter) {
            return;
        }
    }
}

/// Returns when a command asks for an end.
async fn serve_commands(wanted: bool, legs: &[Leg], reporter: &Reporter) {
    if wanted {
        let mut lines = read_lines();
        while let Some(line) = lines.recv().await {
            if !obey(&line, legs, reporter) {
                return;
            }
        }
    }
    // The end of the input is not the end of the run.
    std::future::pending().await
}

/// Lines of standard input. The thread that reads them ends with the process: a blocking read cannot be called off.
fn read_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Carries a command out; `false` if it is the last one.
fn obey(line: &str, legs: &[Leg], reporter: &Reporter) -> bool {
    match control::execute(line, legs) {
        Ok(Then::GoOn) => true,
        Ok(Then::Counters) => reporter.counters(legs).is_ok(),
        Ok(Then::End) => false,
        Err(message) => {
            complain(&message);
            true
        }
    }
}
