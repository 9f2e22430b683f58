//! The relays that are measured through, each in a process of its own.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use gstmoq::net::relay::{Relay, RelayConfig};

use super::Result;

/// How long a relay may take until it listens.
const LIMIT: Duration = Duration::from_secs(20);

/// A relay and how it is reached.
pub struct Route {
    pub name: String,
    /// Of the relay's URL.
    pub scheme: &'static str,
    pub address: SocketAddr,
    /// For its CPU time; `None` for one that runs elsewhere.
    pub process: Option<u32>,
}

impl Route {
    /// The URL of the relay behind another address.
    pub fn through(&self, address: SocketAddr) -> String {
        format!("{}://{address}/", self.scheme)
    }

    /// Raw QUIC, and not WebTransport.
    pub fn is_quic(&self) -> bool {
        matches!(self.scheme, "moql" | "moqt")
    }
}

/// The processes of the relays; they end with this.
#[derive(Default)]
pub struct Relays(Vec<Child>);

impl Drop for Relays {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Ours ends when its stdin is closed.
            drop(child.stdin.take());
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts what is needed for `embedded`, `embedded-quic`, `moq-relay`, `moq-relay-quic`, or uses NAME=URL.
pub fn routes(named: &[String], folder: &Path) -> Result<(Relays, Vec<Route>)> {
    let mut relays = Relays::default();
    let (mut embedded, mut foreign) = (None, None);
    let mut routes = Vec::new();
    for relay in named {
        let quic = relay.ends_with("-quic");
        let kind = if quic { "raw QUIC" } else { "WebTransport" };
        let scheme = if quic { "moql" } else { "https" };
        let (name, (address, process)) = match relay.as_str() {
            "embedded" | "embedded-quic" => {
                if embedded.is_none() {
                    embedded = Some(relays.start_embedded()?);
                }
                (
                    format!("embedded relay, {kind}"),
                    embedded.ok_or("started")?,
                )
            }
            "moq-relay" | "moq-relay-quic" => {
                if foreign.is_none() {
                    foreign = Some(relays.start_moq_relay(folder)?);
                }
                (format!("moq-relay, {kind}"), foreign.ok_or("started")?)
            }
            other => {
                routes.push(elsewhere(other)?);
                continue;
            }
        };
        routes.push(Route {
            name,
            scheme,
            address,
            process: Some(process),
        });
    }
    Ok((relays, routes))
}

fn elsewhere(relay: &str) -> Result<Route> {
    let (name, url) = relay
        .split_once('=')
        .ok_or_else(|| format!("--relay {relay}: write NAME=URL"))?;
    let url: url::Url = url.parse()?;
    let scheme = ["https", "http", "moql", "moqt"]
        .into_iter()
        .find(|scheme| *scheme == url.scheme())
        .ok_or_else(|| format!("--relay {relay}: not a relay's URL"))?;
    let addresses = url.socket_addrs(|| Some(443))?;
    Ok(Route {
        name: name.to_owned(),
        scheme,
        address: *addresses.first().ok_or("the relay has no address")?,
        process: None,
    })
}

/// Of the program that a name in [`routes`] stands for.
pub fn version(relay: &str) -> Result<String> {
    if relay.starts_with("embedded") {
        return Ok(env!("CARGO_PKG_VERSION").to_owned());
    }
    let output = Command::new(moq_relay()?).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim().trim_start_matches("moq-relay ").to_owned())
}

fn moq_relay() -> Result<OsString> {
    Ok(std::env::var_os("MOQ_RELAY_BIN")
        .ok_or("MOQ_RELAY_BIN names no moq-relay: run scripts/bench")?)
}

impl Relays {
    fn start_embedded(&mut self) -> Result<(SocketAddr, u32)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--role", "relay"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("stdout was piped")?;
        let process = child.id();
        self.0.push(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok((line.trim().parse()?, process))
    }

    /// The program that `MOQ_RELAY_BIN` names.
    fn start_moq_relay(&mut self, folder: &Path) -> Result<(SocketAddr, u32)> {
        let program = moq_relay()?;
        let key = rcgen::KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
        let (certificate_file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
        fs::write(&certificate_file, certificate.pem())?;
        fs::write(&key_file, key.serialize_pem())?;
        let address = free_address()?;
        let mut child = Command::new(program)
            .args(["--listen", &address.to_string()])
            .args(["--web-http-listen", &address.to_string()])
            .arg("--listen-tls-cert")
            .arg(certificate_file)
            .arg("--listen-tls-key")
            .arg(key_file)
            .args(["--auth-public", "**"])
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let process = child.id();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        self.0.push(child);
        let (told, lines) = mpsc::channel();
        // Both are read to the end, so that the relay never waits for somebody to read its log.
        follow(stdout.ok_or("stdout was piped")?, told.clone());
        follow(stderr.ok_or("stderr was piped")?, told);
        let mut waits_for = vec!["http", "quic"];
        while !waits_for.is_empty() {
            let line = lines
                .recv_timeout(LIMIT)
                .map_err(|_| "moq-relay does not listen")?;
            if line.contains("listening") {
                waits_for.retain(|kind| !line.contains(kind));
            }
        }
        Ok((address, process))
    }
}

fn follow(output: impl Read + Send + 'static, told: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output)
            .lines()
            .map_while(std::io::Result::ok)
        {
            let _ = told.send(line);
        }
    });
}

/// Free for UDP and TCP, a moment ago.
pub fn free_address() -> Result<SocketAddr> {
    for _ in 0..32 {
        let address = UdpSocket::bind(("127.0.0.1", 0))?.local_addr()?;
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err("no port is free for UDP and TCP".into())
}

/// The relay that is embedded in relay-bridge, until stdin is closed.
pub fn serve() -> Result<()> {
    let relay = Relay::start(RelayConfig::local())?;
    println!(
        "{}",
        relay.bound().first().ok_or("the relay has an address")?
    );
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
