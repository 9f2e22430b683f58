//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use gstmoq::netsim::{KEYS, PathChange, Tcp, units};

/// For both directions, from the clients to the target, and back.
const SIDES: [&str; 3] = ["", "up-", "down-"];

const AFTER_HELP: &str = "\
Each option of the path also exists for one direction, where it takes the place of the common one: --up-delay 40ms is
from the clients to the target, --down-loss 1% from the target to the clients. The word none takes a rate, a burst or an
outage away again. Options take the place of what a scenario says.

Signals: Ctrl-C (SIGINT) and SIGTERM print the counters and end; SIGUSR2 prints the counters; SIGUSR1 gives each client
a new port towards the target, as a NAT does that lost its mapping.

Commands, a line each on standard input with --control; the name of a leg before one restricts it to that leg:
  set [up|down] KEY=VALUE…   changes settings, KEY as the options above without the dashes
  cut TIME                   loses all that is sent for this long
  mend                       ends a cut
  rebind                     gives each client a new port
  stats                      prints the counters
  quit                       ends

Examples:
  moq-netsim --target 127.0.0.1:4443 --delay 20ms --loss 1% --rate 20Mbit --down-burst 5@1% --outage 2s@10s
  moq-netsim --target 127.0.0.1:4443 --scenario examples/scenarios/lte.toml --legs publisher,player --stats-interval 1s";

/// What the user asked for.
pub struct Args {
    pub listen: SocketAddr,
    pub target: Option<String>,
    pub legs: Vec<String>,
    pub scenario: Option<PathBuf>,
    pub seed: Option<u64>,
    pub duration: Option<Duration>,
    pub stats_interval: Option<Duration>,
    pub json: bool,
    pub control: bool,
    pub tcp: Option<Tcp>,
    pub rebinds: Vec<Duration>,
    pub rebind_every: Option<Duration>,
    pub up: PathChange,
    pub down: PathChange,
}

impl Args {
    pub fn parse() -> Result<Self, clap::Error> {
        command().try_get_matches().map(|matches| Self {
            listen: *matches.get_one("listen").expect("has a default"),
            target: matches.get_one("target").cloned(),
            legs: matches
                .get_many("legs")
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            scenario: matches.get_one("scenario").cloned(),
            seed: matches.get_one("seed").copied(),
            duration: matches.get_one("duration").copied(),
            stats_interval: matches.get_one("stats-interval").copied(),
            json: matches.get_flag("json"),
            control: matches.get_flag("control"),
            tcp: if matches.get_flag("no-tcp") {
                Some(Tcp::Off)
            } else {
                matches.get_one("tcp").copied()
            },
            rebinds: matches
                .get_many("rebind")
                .into_iter()
                .flatten()
                .copied()
                .collect(),
            rebind_every: matches.get_one("rebind-every").copied(),
            up: change(&matches, SIDES[1]),
            down: change(&matches, SIDES[2]),
        })
    }
}

/// The settings of one direction.
fn change(matches: &ArgMatches, side: &str) -> PathChange {
    let of = |side: &str| {
        let mut change = PathChange::default();
        for key in KEYS {
            let values = matches.get_many::<String>(&format!("{side}{}", key.name));
            let values: Vec<_> = values.into_iter().flatten().map(String::as_str).collect();
            if !values.is_empty() {
                let checked = change.set(key.name, &values);
                checked.expect("was checked when it was parsed");
            }
        }
        change
    };
    of(side).over(&of(""))
}

fn command() -> Command {
    let command = Command::new("moq-netsim")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A path emulator: a bad network between a client and a relay")
        .after_help(AFTER_HELP)
        .args(place_args())
        .next_help_heading("Run")
        .args(run_args())
        .next_help_heading("Path");
    let path = SIDES
        .iter()
        .flat_map(|side| KEYS.iter().map(move |key| path_arg(side, key)));
    command.args(path)
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn place_args() -> [Arg; 4] {
    [
        option(
            "listen",
            "ADDR:PORT",
            "Where clients connect to; port 0 takes a free one",
        )
        .value_parser(value_parser!(SocketAddr))
        .default_value("127.0.0.1:0"),
        option(
            "target",
            "HOST:PORT",
            "Where to forward to; required where the scenario does not say",
        ),
        option(
            "legs",
            "NAME,NAME…",
            "Several listeners on free ports of the same path, such as publisher,player",
        )
        .value_delimiter(','),
        option(
            "scenario",
            "FILE",
            "Path, listeners and schedule from a file; see docs/moq-netsim.md",
        )
        .value_parser(value_parser!(PathBuf)),
    ]
}

fn run_args() -> [Arg; 9] {
    [
        option(
            "seed",
            "NUMBER",
            "Repeats the decisions of a run with this seed [default: random]",
        )
        .value_parser(value_parser!(u64)),
        option(
            "duration",
            "TIME",
            "Ends after this time [default: at Ctrl-C]",
        )
        .value_parser(units::duration),
        option(
            "stats-interval",
            "TIME",
            "Prints the counters and rates this often, not only at the end",
        )
        .value_parser(units::duration),
        flag("json", "Prints everything as lines of JSON"),
        flag("control", "Takes commands on standard input"),
        option(
            "tcp",
            "HOW",
            "TCP to the same port: shaped like the path, plain, or off [default: shaped]",
        )
        .value_parser(units::tcp),
        flag("no-tcp", "The same as --tcp off").conflicts_with("tcp"),
        option(
            "rebind",
            "TIME",
            "Gives each client a new port at this time; may be repeated",
        )
        .value_parser(units::duration)
        .action(ArgAction::Append),
        option(
            "rebind-every",
            "TIME",
            "Gives each client a new port again and again",
        )
        .value_parser(units::duration)
        .conflicts_with("rebind"),
    ]
}

/// An option of a path. Those of one direction are in the help by their rule only.
fn path_arg(side: &str, key: &'static gstmoq::netsim::Key) -> Arg {
    let name = format!("{side}{}", key.name);
    let check = |text: &str| {
        let checked = PathChange::default().set(key.name, &[text]);
        checked.map(|()| text.to_owned())
    };
    let arg = Arg::new(name.clone())
        .long(name)
        .value_name(key.value)
        .help(key.help)
        .hide(!side.is_empty())
        .value_parser(check);
    match key.name {
        "outage" => arg.action(ArgAction::Append),
        // Alone it means that jitter may change the order.
        "reorder" => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        "burst" => arg.conflicts_with(format!("{side}gilbert-elliott")),
        _ => arg,
    }
}
