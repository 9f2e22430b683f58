//! The demo: a relay, a publisher and a player in one process, and what can be measured between them.
//!
//! | File | What it is about |
//! |---|---|
//! | `publish` | the publishing pipeline and its inputs |
//! | `play` | the playing pipeline, windows, the snapshot |
//! | `measure` | latency and A/V offset from access units seen on both sides |
//! | `pipelines` | what the pipelines have in common |
//! | `session` | the course of it: start, status, end |
//! | `screen` | the status line |
//! | `burnt_clock` | a clock in picture and sound that programs read; the tests' |
//!
//! Everything but the pipelines' own threads happens in one main loop.

#[path = "../../tests/common/burnt_clock.rs"]
mod burnt_clock;
mod measure;
mod pipelines;
mod play;
mod publish;
mod screen;
mod session;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;

use pipelines::Problem;
use publish::Input;
use session::{Listen, Session};

/// Publishes a stream through a relay of its own, plays it back, and shows latency and A/V offset.
#[derive(Parser)]
#[command(name = "moq-demo", version)]
struct Arguments {
    /// The file to publish, in place of a test picture with a clock and ticks
    file: Option<PathBuf>,
    /// Publish the camera, and the microphone if there is one
    #[arg(long, conflicts_with = "file")]
    camera: bool,
    /// End after so many seconds; without it, Ctrl-C ends
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    /// Port of the relay; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 4443)]
    port: u16,
    /// Let other machines play: the relay listens on every address
    #[arg(long)]
    lan: bool,
    /// Folder of the player page, for the relay to serve
    #[arg(long, value_name = "FOLDER")]
    web_root: Option<PathBuf>,
    /// Where the last picture is saved when there is no display
    #[arg(long, value_name = "PNG", default_value = "moq-demo.png")]
    snapshot: PathBuf,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(err) if !err.use_stderr() => {
            let _ = err.print();
            return ExitCode::SUCCESS;
        }
        Err(err) => return fail(&usage(&err), 2),
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => fail(&problem, 1),
    }
}

fn fail(problem: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "moq-demo: {problem}");
    ExitCode::from(code)
}

/// Clap's message without the usage that follows after an empty line.
fn usage(err: &clap::Error) -> String {
    let text = err.to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    format!("{} (--help tells more)", pipelines::one_line(message))
}

fn run(arguments: Arguments) -> Result<(), Problem> {
    gst::init().map_err(|err| format!("GStreamer does not start: {err}"))?;
    gstmoq::plugin_register_static().map_err(|err| err.to_string())?;
    let input = match arguments.file {
        Some(file) => Input::File(file),
        None if arguments.camera => Input::Camera,
        None => Input::Test,
    };
    let seconds = arguments.seconds.map(|n| Duration::from_secs(n.into()));
    let listen = Listen {
        port: arguments.port,
        lan: arguments.lan,
        web_root: arguments.web_root.as_deref(),
    };
    Session::open(&input, &listen)?.run(seconds, &arguments.snapshot)
}
