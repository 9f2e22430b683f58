//! moq-relay, the relay of others. `scripts/test` installs it and names it in MOQ_RELAY_BIN.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
};

use super::{LIMIT, free_port, init, interop, process::Process};

fn program() -> PathBuf {
    let path = std::env::var_os("MOQ_RELAY_BIN").expect(
        "MOQ_RELAY_BIN names no moq-relay: run scripts/test, which installs it, or scripts/test --quick to do without",
    );
    path.into()
}

/// Its name, and the version that it says it has.
pub fn peer() -> String {
    let version = interop::version(Command::new(program()).arg("--version"), "moq-relay ");
    format!("moq-relay {version}")
}

/// How clients reach the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// What the relay chooses.
    Either,
    WebTransport,
    MoqTransport,
    MoqLite,
}

/// A certificate that outlives the relay, so that a pin of it does, too.
pub struct Identity {
    directory: tempfile::TempDir,
    fingerprint: String,
}

impl Identity {
    pub fn new() -> Self {
        init();
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        let identity = Self {
            fingerprint: sha256_hex(certificate.der()),
            directory,
        };
        std::fs::write(identity.certificate(), certificate.pem()).expect("written");
        std::fs::write(identity.key(), key.serialize_pem()).expect("written");
        identity
    }

    fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }
}

fn sha256_hex(bytes: &[u8]) -> String {
    let bytes = gst::glib::Bytes::from(bytes);
    gst::glib::compute_checksum_for_bytes(gst::glib::ChecksumType::Sha256, &bytes)
        .expect("SHA-256 is known")
        .into()
}

/// A relay in a process of its own; killed when dropped.
pub struct MoqRelay {
    process: Process,
    port: u16,
}

impl MoqRelay {
    pub fn start(identity: &Identity) -> Self {
        // Another program may take the port before the relay does: then with another one.
        for _ in 0..5 {
            if let Some(relay) = Self::start_at(free_port(), identity) {
                return relay;
            }
        }
        panic!("moq-relay did not start");
    }

    /// `None` when it ended instead of listening.
    pub fn start_at(port: u16, identity: &Identity) -> Option<Self> {
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(program());
        command
            .args(["--listen", &address, "--web-http-listen", &address])
            .arg("--listen-tls-cert")
            .arg(identity.certificate())
            .arg("--listen-tls-key")
            .arg(identity.key())
            .args(["--auth-public", "**"])
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        let (told, lines) = mpsc::channel();
        let outputs: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(process.stdout()), Box::new(process.stderr())];
        for output in outputs {
            let told = told.clone();
            // Reads to the end, so that the relay never waits for somebody to read its log.
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = told.send(line);
                }
            });
        }
        drop(told);
        let relay = Self { process, port };
        let mut waits_for = vec!["http", "quic"];
        while !waits_for.is_empty() {
            match lines.recv_timeout(LIMIT) {
                Ok(line) if line.contains("listening") => {
                    waits_for.retain(|kind| !line.contains(kind))
                }
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("moq-relay does not listen within {LIMIT:?}")
                }
            }
        }
        Some(relay)
    }

    /// Without a word to its clients.
    pub fn kill(mut self) -> u16 {
        self.process.kill();
        self.port
    }

    /// For programs of others, too, which go over WebTransport there.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Properties of our elements.
    pub fn to(&self, wire: Wire, identity: &Identity) -> String {
        let port = self.port;
        let pin = format!("server-certificate-hashes=<\"{}\">", identity.fingerprint);
        match wire {
            Wire::Either => format!("url={}", self.url()),
            Wire::WebTransport => format!("url={} transport=webtransport", self.url()),
            Wire::MoqTransport => format!("url=moqt://127.0.0.1:{port}/ {pin}"),
            Wire::MoqLite => format!("url=moql://127.0.0.1:{port}/ {pin}"),
        }
    }
}
