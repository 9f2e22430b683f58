//! `moq-netsim`: delay, loss, a bottleneck and outages between a client and a relay, in user space.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use gstmoq::netsim::{
    Bursts, Outage, PathSettings, Probability, Protocol, Proxy, QueueLimit, Rate, Settings,
    StartError, units,
};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// The three names of an option of a path: for both directions, for up and for down.
macro_rules! names {
    ($name:literal) => {
        [$name, concat!("up-", $name), concat!("down-", $name)]
    };
}

const DELAY: [&str; 3] = names!("delay");
const JITTER: [&str; 3] = names!("jitter");
const LOSS: [&str; 3] = names!("loss");
const BURST: [&str; 3] = names!("burst");
const GILBERT: [&str; 3] = names!("gilbert-elliott");
const RATE: [&str; 3] = names!("rate");
const QUEUE: [&str; 3] = names!("queue");
const OUTAGE: [&str; 3] = names!("outage");

/// Index into the names of an option.
const UP: usize = 1;
const DOWN: usize = 2;

const AFTER_HELP: &str = "\
Each option of a path also exists for one direction, where it takes the place of the common one: --up-delay 40ms is
from the clients to the target, --down-loss 1% from the target to the clients. The word none takes a rate, a burst or an
outage away again.

Example: moq-netsim --target 127.0.0.1:4443 --delay 20ms --loss 1% --rate 20Mbit --down-burst 5@1% --outage 2s@10s";

fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&one_line(&error), 2),
    };
    let result = gstmoq::runtime::handle().block_on(run(&matches));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message, 1),
    }
}

fn fail(message: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "moq-netsim: {message}");
    ExitCode::from(code)
}

/// Clap's message without the usage that follows after an empty line.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let words: Vec<_> = message.split_whitespace().collect();
    format!("{}; see --help", words.join(" "))
}

async fn run(matches: &ArgMatches) -> Result<(), String> {
    let listen = *matches
        .get_one::<SocketAddr>("listen")
        .expect("has a default");
    let target = resolve(
        matches.get_one::<String>("target").expect("is required"),
        listen,
    )?;
    let seed = matches
        .get_one("seed")
        .copied()
        .unwrap_or_else(|| fastrand::u64(..));
    let settings = Settings {
        up: path(matches, UP),
        down: path(matches, DOWN),
        seed,
        tcp: !matches.get_flag("no-tcp"),
        ..Settings::default()
    };
    let proxy = Proxy::start(listen, target, settings).map_err(|error| start_failed(&error))?;
    // Before the address is out: who reads it may interrupt at once.
    let signals = Signals::new().map_err(|error| format!("cannot listen for Ctrl-C: {error}"))?;
    say(&format!(
        "listening on {}, target {target}, seed {seed}",
        proxy.addr()
    ))?;

    let every = matches.get_one::<Duration>("stats-interval").copied();
    tokio::select! {
        () = end(signals, matches.get_one::<Duration>("duration").copied()) => {}
        // Nobody reads what is said: an end as good as any.
        _ = report(&proxy, every) => {}
    }
    // The counters are the last word; whether someone hears it changes nothing.
    let _ = say(&counters(&proxy));
    Ok(())
}

fn start_failed(error: &StartError) -> String {
    match error {
        StartError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            let tcp = match error {
                StartError::Bind {
                    protocol: Protocol::Tcp,
                    ..
                } => ", or do without TCP with --no-tcp",
                _ => "",
            };
            format!("{error}; choose another port, or port 0 for a free one{tcp}")
        }
        StartError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrNotAvailable => {
            format!("{error}; choose an address of this machine, such as 127.0.0.1:0")
        }
        _ => error.to_string(),
    }
}

/// An address of the target, of the family that is listened on where there is one.
fn resolve(target: &str, listen: SocketAddr) -> Result<SocketAddr, String> {
    let failed = |reason: &str| {
        format!("{target:?} is no target: {reason}; write HOST:PORT, such as 127.0.0.1:4443")
    };
    let found: Vec<_> = target
        .to_socket_addrs()
        .map_err(|error| failed(&error.to_string()))?
        .collect();
    let same = found.iter().find(|addr| addr.is_ipv4() == listen.is_ipv4());
    let addr = same
        .or(found.first())
        .copied()
        .ok_or_else(|| failed("it has no address"))?;
    if addr.port() == 0 {
        return Err(failed("its port is 0"));
    }
    if addr == listen {
        return Err(format!(
            "{addr} is both --listen and --target: choose another port for one of them"
        ));
    }
    Ok(addr)
}

/// Returns after `duration`, or when the user or the system asks for an end.
async fn end(mut signals: Signals, duration: Option<Duration>) {
    let timer = async {
        match duration {
            Some(duration) => sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = timer => {}
        () = signals.next() => {}
    }
}

/// What asks for an end. From its making on, signals no longer kill the process.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Says the counters each `every`; returns when they cannot be written.
async fn report(proxy: &Proxy, every: Option<Duration>) -> Result<(), String> {
    let Some(every) = every else {
        return std::future::pending().await;
    };
    let mut ticks = interval(every.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        say(&counters(proxy))?;
    }
}

fn counters(proxy: &Proxy) -> String {
    let stats = proxy.stats();
    format!(
        "up: {}\ndown: {}\nclients {}, refused datagrams {}, TCP connections {}, refused TCP connections {}",
        stats.up,
        stats.down,
        stats.clients,
        stats.refused_datagrams,
        stats.tcp_connections,
        stats.refused_tcp_connections
    )
}

fn say(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot write to standard output: {error}"))
}

/// The path in one direction: its own options, else the common ones.
fn path(matches: &ArgMatches, side: usize) -> PathSettings {
    fn get<T: Clone + Send + Sync + 'static>(
        matches: &ArgMatches,
        names: [&str; 3],
        side: usize,
    ) -> Option<T> {
        matches
            .get_one(names[side])
            .or_else(|| matches.get_one(names[0]))
            .cloned()
    }
    // A model of one direction takes the place of either common one.
    let own = [BURST[side], GILBERT[side]]
        .iter()
        .any(|name| matches.contains_id(name));
    let names = if own { side } else { 0 };
    let bursts = |option: [&str; 3]| {
        matches
            .get_one::<Option<Bursts>>(option[names])
            .copied()
            .flatten()
    };
    let outages = matches
        .get_many::<Option<Outage>>(OUTAGE[side])
        .or_else(|| matches.get_many(OUTAGE[0]));
    PathSettings {
        delay: get(matches, DELAY, side).unwrap_or_default(),
        jitter: get(matches, JITTER, side).unwrap_or_default(),
        order: if matches.get_flag("reorder") {
            gstmoq::netsim::Order::Free
        } else {
            Default::default()
        },
        loss: get::<Probability>(matches, LOSS, side).unwrap_or_default(),
        bursts: bursts(BURST).or_else(|| bursts(GILBERT)),
        rate: get::<Option<Rate>>(matches, RATE, side).flatten(),
        queue: get::<QueueLimit>(matches, QUEUE, side).unwrap_or_default(),
        outages: outages.into_iter().flatten().flatten().copied().collect(),
    }
}

fn command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    let command = Command::new("moq-netsim")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A UDP path emulator: put it between a client and a relay")
        .after_help(AFTER_HELP)
        .arg(
            option(
                "listen",
                "ADDR:PORT",
                "Where clients connect to; port 0 takes a free one",
            )
            .value_parser(value_parser!(SocketAddr))
            .default_value("127.0.0.1:0"),
        )
        .arg(option("target", "HOST:PORT", "Where to forward to").required(true))
        .arg(
            option(
                "seed",
                "NUMBER",
                "Repeats the decisions of a run with this seed [default: random]",
            )
            .value_parser(value_parser!(u64)),
        )
        .arg(
            option(
                "duration",
                "TIME",
                "Ends after this time [default: at Ctrl-C]",
            )
            .value_parser(units::duration),
        )
        .arg(
            option(
                "stats-interval",
                "TIME",
                "Prints the counters this often, not only at the end",
            )
            .value_parser(units::duration),
        )
        .arg(flag("reorder", "Lets jitter change the order of packets"))
        .arg(flag(
            "no-tcp",
            "Does not pass TCP connections to the same port on",
        ));
    (0..3).fold(command, |command, side| command.args(path_args(side)))
}

/// The options of a path. Those of one direction are in the help by their rule only.
fn path_args(side: usize) -> Vec<Arg> {
    let option = |names: [&'static str; 3], value: &'static str, help: &'static str| {
        Arg::new(names[side])
            .long(names[side])
            .value_name(value)
            .help(help)
            .hide(side != 0)
    };
    vec![
        option(DELAY, "TIME", "One-way delay, such as 20ms").value_parser(units::duration),
        option(
            JITTER,
            "TIME",
            "Added to the delay, uniform from zero to this",
        )
        .value_parser(units::duration),
        option(LOSS, "PROBABILITY", "Random loss, such as 1%").value_parser(units::probability),
        option(
            BURST,
            "N@P",
            "N packets in a row are lost, begun by each packet with probability P",
        )
        .value_parser(units::burst)
        .conflicts_with(GILBERT[side]),
        option(
            GILBERT,
            "P,P[,P[,P]]",
            "Loss after Gilbert and Elliott: good to bad, bad to good, loss in bad, loss in good",
        )
        .value_parser(units::gilbert_elliott),
        option(RATE, "RATE", "Rate of the bottleneck, such as 20Mbit").value_parser(units::rate),
        option(
            QUEUE,
            "LIMIT",
            "Queue before it, such as 64kB [default: 100ms]",
        )
        .value_parser(units::queue),
        option(
            OUTAGE,
            "TIME@TIME",
            "An outage of a length, and when; may be repeated",
        )
        .value_parser(units::outage)
        .action(ArgAction::Append),
    ]
}
