//! Starts the processes of a run: the relay, and for each plugin in turn one that publishes and plays.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use gstmoq::net::relay::{Relay, RelayConfig};

use crate::{
    Arguments, Result,
    figures::Figures,
    measure::{Job, KEY_FRAME},
    report,
    stream::Stream,
};

/// A plugin's file, in a folder and with a registry of its own, so that no other of its name is found.
pub struct Plugin {
    pub name: String,
    folder: PathBuf,
    registry: PathBuf,
}

/// A relay and how it is reached.
pub struct Route {
    pub name: String,
    pub url: String,
}

/// What is measured: one row of the report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    pub route: usize,
    pub join: usize,
    pub plugin: usize,
}

/// The relay's process; it ends when its stdin is closed.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Runs every round of every case and reports.
pub fn run(arguments: &Arguments) -> Result<()> {
    gst::init()?;
    let folder = tempfile::tempdir()?;
    let plugins = plugins(arguments, folder.path())?;
    let embedded = arguments.relays.iter().any(|r| r.starts_with("embedded"));
    let server = embedded.then(start_relay).transpose()?;
    let routes = routes(arguments, server.as_ref())?;

    let longest = arguments.joins.iter().copied().fold(0.0, f64::max);
    let stream = Stream::encode(
        KEY_FRAME + longest + arguments.seconds + 1.0,
        arguments.bitrate,
    )?;
    let file = folder.path().join("stream");
    stream.save(&file)?;

    let mut rig = Vec::new();
    let mut results = BTreeMap::<Case, Vec<Figures>>::new();
    for round in 0..arguments.rounds {
        eprintln!("round {}: the rig alone", round + 1);
        rig.push(measure(&plugins[0], &rig_alone(arguments, &file))?);
        for (case, job) in jobs(arguments, &routes, plugins.len(), round, &file) {
            let plugin = &plugins[case.plugin];
            eprintln!(
                "round {}: {}, {}, joined {} s in",
                round + 1,
                plugin.name,
                routes[case.route].name,
                job.join
            );
            match measure(plugin, &job) {
                Ok(figures) => results.entry(case).or_default().push(figures),
                Err(err) => eprintln!("  failed: {err}"),
            }
        }
    }
    let text = report::markdown(arguments, &plugins, &routes, &stream, &rig, &results);
    println!("{text}");
    if let Some(path) = &arguments.report {
        fs::write(path, text)?;
    }
    Ok(())
}

/// The same stream, probes, queues and sinks without a plugin: what of the CPU time is not the elements'.
fn rig_alone(arguments: &Arguments, stream: &Path) -> Job {
    Job {
        stream: stream.to_owned(),
        url: None,
        broadcast: String::new(),
        seconds: arguments.seconds,
        join: 0.0,
        latency: arguments.latency,
    }
}

/// One round. Plugins take turns, and who begins changes with the round.
fn jobs(
    arguments: &Arguments,
    routes: &[Route],
    plugins: usize,
    round: usize,
    stream: &Path,
) -> Vec<(Case, Job)> {
    let mut jobs = Vec::new();
    for (join, at) in arguments.joins.iter().enumerate() {
        for (route, to) in routes.iter().enumerate() {
            for turn in 0..plugins {
                let plugin = (turn + round) % plugins;
                let case = Case {
                    route,
                    join,
                    plugin,
                };
                let job = Job {
                    stream: stream.to_owned(),
                    url: Some(to.url.clone()),
                    // Nothing of an earlier run is found under this name.
                    broadcast: format!("latency-{}-{round}-{join}-{plugin}", std::process::id()),
                    seconds: arguments.seconds,
                    join: *at,
                    latency: arguments.latency,
                };
                jobs.push((case, job));
            }
        }
    }
    jobs
}

fn measure(plugin: &Plugin, job: &Job) -> Result<Figures> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--role", "measure"])
        .env("GST_PLUGIN_PATH", &plugin.folder)
        .env("GST_REGISTRY", &plugin.registry)
        // Writing logs is not what is measured.
        .env("RUST_LOG", "error")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or("stdin was piped")?;
    stdin.write_all(serde_json::to_string(job)?.as_bytes())?;
    drop(stdin);
    let mut text = String::new();
    let mut stdout = child.stdout.take().ok_or("stdout was piped")?;
    stdout.read_to_string(&mut text)?;
    child.wait()?;
    // A plugin may write to stdout too; the figures are the last line.
    Ok(serde_json::from_str(
        text.lines().last().ok_or("it said nothing")?,
    )?)
}

fn plugins(arguments: &Arguments, folder: &Path) -> Result<Vec<Plugin>> {
    let mut named = Vec::new();
    for plugin in &arguments.plugins {
        let (name, file) = plugin
            .split_once('=')
            .ok_or_else(|| format!("--plugin {plugin}: write NAME=FILE"))?;
        named.push((name.to_owned(), PathBuf::from(file)));
    }
    if !named.iter().any(|(name, _)| name == "ours") {
        named.insert(0, ("ours".to_owned(), own_plugin()?));
    }
    named
        .into_iter()
        .enumerate()
        .map(|(index, (name, file))| {
            let own = folder.join(format!("plugin-{index}"));
            fs::create_dir(&own)?;
            fs::copy(&file, own.join("libgstmoq.so"))
                .map_err(|err| format!("{}: {err}", file.display()))?;
            Ok(Plugin {
                name,
                folder: own,
                registry: folder.join(format!("registry-{index}.bin")),
            })
        })
        .collect()
}

/// Cargo puts the library that it built for this program beside it.
fn own_plugin() -> Result<PathBuf> {
    let file = std::env::current_exe()?.with_file_name("libgstmoq.so");
    if !file.exists() {
        return Err(format!("{} is missing: name it with --plugin", file.display()).into());
    }
    Ok(file)
}

fn routes(arguments: &Arguments, server: Option<&Server>) -> Result<Vec<Route>> {
    let port = server.map_or(0, |server| server.port);
    let route = |relay: &String| {
        let (name, url) = match relay.as_str() {
            "embedded" => (
                "embedded relay, WebTransport".to_owned(),
                format!("https://127.0.0.1:{port}/"),
            ),
            "embedded-quic" => (
                "embedded relay, raw QUIC".to_owned(),
                format!("moql://127.0.0.1:{port}/"),
            ),
            other => {
                let (name, url) = other
                    .split_once('=')
                    .ok_or_else(|| format!("--relay {other}: write NAME=URL"))?;
                (name.to_owned(), url.to_owned())
            }
        };
        Ok(Route { name, url })
    };
    arguments.relays.iter().map(route).collect()
}

fn start_relay() -> Result<Server> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--role", "relay"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("stdout was piped")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok(Server {
        child,
        port: line.trim().parse()?,
    })
}

/// The relay that is embedded in relay-bridge, until stdin is closed.
pub fn serve() -> Result<()> {
    let relay = Relay::start(RelayConfig::local())?;
    let address = relay.bound().first().ok_or("the relay has an address")?;
    println!("{}", address.port());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
