//! Clients of the embedded relay, made from the protocol library alone.

// Each test program uses its own part of it.
#![allow(dead_code)]

use std::{
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use gstmoq::net::{
    config::Tls,
    relay::{Relay, RelayConfig},
    transport::{Session as Transport, parse_pin, tls},
};
use moq_net::{Client, Versions, origin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use web_transport_quinn::proto::{ConnectRequest, Settings};

/// No step of a test takes longer.
pub const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    WebTransport,
    Quic,
}

pub const WIRES: [Wire; 2] = [Wire::WebTransport, Wire::Quic];

/// A client session, what it hears and what it says.
pub struct Peer {
    frozen: Arc<AtomicBool>,
    pub moq: moq_net::Session,
    pub quic: quinn::Connection,
    /// What the relay announces ends up here, and what is published here goes to the relay.
    pub origin: origin::Producer,
    pub endpoint: quinn::Endpoint,
}

#[derive(Debug)]
pub struct Failed(pub String);

impl<E: std::error::Error> From<E> for Failed {
    fn from(err: E) -> Self {
        Self(err.to_string())
    }
}

/// Fails the test when it takes longer than [`LIMIT`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing within {LIMIT:?}"),
    }
}

pub async fn connect(relay: &Relay, wire: Wire) -> Peer {
    dial(relay, wire, "/", Versions::all())
        .await
        .expect("the relay accepts")
}

pub async fn dial(
    relay: &Relay,
    wire: Wire,
    path: &str,
    versions: Versions,
) -> Result<Peer, Failed> {
    dial_at(relay.bound()[0], &relay.fingerprint(), wire, path, versions).await
}

pub async fn dial_at(
    address: SocketAddr,
    fingerprint: &str,
    wire: Wire,
    path: &str,
    versions: Versions,
) -> Result<Peer, Failed> {
    let alpns = versions.alpns();
    let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let quic_alpns = match wire {
        Wire::WebTransport => vec!["h3"],
        Wire::Quic => alpns.clone(),
    };
    let config = client_config(&quic_alpns, fingerprint);
    let quic = soon(
        "QUIC handshake",
        endpoint.connect_with(config, address, "localhost")?,
    )
    .await?;
    let session = match wire {
        Wire::Quic => web_transport_quinn::Session::raw(quic.clone()),
        Wire::WebTransport => {
            let url: url::Url = format!("https://{address}{path}").parse()?;
            let request =
                ConnectRequest::new(url).with_protocols(alpns.iter().map(ToString::to_string));
            soon(
                "CONNECT",
                web_transport_quinn::Session::connect(quic.clone(), request),
            )
            .await?
        }
    };
    let (origin, driver) = origin::Producer::new(origin::Config::default());
    tokio::spawn(moq_net::time::run(driver));
    let mut client = Client::new()
        .with_origin(origin.clone())
        .with_versions(versions);
    if wire == Wire::Quic {
        client = client.with_path(path);
    }
    let (moq, driver) = soon(
        "MoQ setup",
        client.connect(Instant::now(), Transport::new(session)),
    )
    .await?;
    let frozen = Arc::new(AtomicBool::new(false));
    let (mut driver, is_frozen) = (Box::pin(moq_net::time::run(driver)), frozen.clone());
    tokio::spawn(std::future::poll_fn(move |cx| {
        if is_frozen.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        driver.as_mut().poll(cx)
    }));
    Ok(Peer {
        frozen,
        moq,
        quic,
        origin,
        endpoint,
    })
}

pub fn client_config(alpns: &[&str], fingerprint: &str) -> quinn::ClientConfig {
    let crypto =
        quinn::crypto::rustls::QuicClientConfig::try_from(tls_config(alpns, fingerprint)).unwrap();
    quinn::ClientConfig::new(Arc::new(crypto))
}

/// Accepts the certificates with these fingerprints, divided by spaces. Other fingerprints resume no session of these.
pub fn tls_config(alpns: &[&str], fingerprint: &str) -> Arc<rustls::ClientConfig> {
    let trust = Tls {
        pins: fingerprint
            .split(' ')
            .map(|pin| parse_pin(pin).unwrap())
            .collect(),
        ..Tls::default()
    };
    tls::client(&trust, None, alpns).unwrap()
}

/// A broadcast of one track, written by hand.
pub struct Published {
    /// Held for as long as it is to be announced.
    pub broadcast: moq_net::broadcast::Producer,
    pub track: moq_net::track::Producer,
}

impl Peer {
    /// Takes nothing from its streams any more; the QUIC connection lives on.
    pub fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }

    pub fn publish(&self, name: &str) -> Published {
        let broadcast = self.origin.create_broadcast(name).unwrap();
        let info = moq_net::track::Info::default()
            .with_timescale(moq_net::Timescale::MICRO)
            .with_max_age(Duration::from_secs(5));
        let track = broadcast.create_track("video", info).unwrap();
        broadcast
            .announce(moq_net::origin::Route::default())
            .unwrap();
        Published { broadcast, track }
    }

    /// Waits for the broadcast and subscribes to its track.
    pub async fn subscribe(&self, name: &str) -> moq_net::track::Subscriber {
        let consumer = self.origin.consume();
        let broadcast = soon("the announcement", consumer.routed_broadcast(name))
            .await
            .expect("a route");
        let subscription =
            moq_net::track::Subscription::default().with_max_age(Duration::from_secs(5));
        let track = broadcast.track("video").unwrap();
        soon("the subscription", track.subscribe(subscription))
            .await
            .expect("a subscription")
    }
}

/// The payload of frame `index` of group `group`.
pub fn payload(group: u64, index: u64) -> Vec<u8> {
    let mut bytes = format!("group {group} frame {index} ").into_bytes();
    bytes.resize(1500 + index as usize, index as u8);
    bytes
}

pub fn timestamp(group: u64, index: u64) -> moq_net::Timestamp {
    moq_net::Timestamp::from_micros(group * 1_000_000 + index * 33_333).unwrap()
}

/// Reads the next group that arrives, to its end.
pub async fn next_group(track: &mut moq_net::track::Subscriber) -> (u64, Vec<Vec<u8>>) {
    let mut group = soon("a group", track.recv_group())
        .await
        .unwrap()
        .expect("the track goes on");
    let mut frames = Vec::new();
    while let Some(frame) = soon("a frame", group.read_frame()).await.unwrap() {
        frames.push(frame.payload.to_vec());
    }
    (group.sequence, frames)
}

/// Looks again and again, giving way in between, until it holds.
pub async fn wait_for(what: &str, holds: impl Fn() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub async fn get(relay: &Relay, path: &str) -> (String, String) {
    request(
        tokio::net::TcpStream::connect(relay.bound()[0])
            .await
            .unwrap(),
        path,
    )
    .await
}

/// The head and the body of the answer.
pub async fn request(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    path: &str,
) -> (String, String) {
    exchange(io, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n")).await
}

/// The same for a request line and headers as they are.
pub async fn ask(relay: &Relay, lines: &str) -> (String, String) {
    let tcp = tokio::net::TcpStream::connect(relay.bound()[0]).await;
    exchange(tcp.unwrap(), lines).await
}

async fn exchange(
    mut io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    lines: &str,
) -> (String, String) {
    let request = format!("{lines}Connection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = soon("the answer", io.read_to_string(&mut answer)).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    (head.to_owned(), body.to_owned())
}

/// A page of this machine, down to its streams: the connection, and both directions of its CONNECT stream.
pub async fn connect_page(
    relay: &Relay,
) -> (quinn::Connection, quinn::SendStream, quinn::RecvStream) {
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = client_config(&["h3"], &relay.fingerprint());
    let address = relay.bound()[0];
    let connecting = endpoint.connect_with(config, address, "localhost");
    let quic = soon("QUIC", connecting.unwrap()).await.unwrap();
    let (mut settings, mut bytes) = (Settings::default(), Vec::new());
    settings.enable_webtransport(1);
    settings.encode(&mut bytes);
    let mut control = quic.open_uni().await.unwrap();
    control.write_all(&bytes).await.unwrap();

    let url: url::Url = format!("https://{address}/").parse().unwrap();
    // A version whose sessions are up without a message.
    let request = ConnectRequest::new(url)
        .with_protocol("moq-lite-04")
        .with_header(
            web_transport_quinn::http::header::ORIGIN,
            web_transport_quinn::http::HeaderValue::from_static("http://localhost"),
        );
    let mut bytes = Vec::new();
    request.encode(&mut bytes).unwrap();
    let (mut send, recv) = quic.open_bi().await.unwrap();
    send.write_all(&bytes).await.unwrap();
    wait_for("the session", || relay.stats().sessions == 1).await;
    // Its end would be the session's.
    std::mem::forget(control);
    (quic, send, recv)
}

/// Whether a page of this origin may connect with WebTransport.
pub async fn admits_page(relay: &Relay, origin: &str) -> bool {
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = client_config(&["h3"], &relay.fingerprint());
    let address = relay.bound()[0];
    let connecting = endpoint.connect_with(config, address, "localhost");
    let quic = soon("QUIC", connecting.unwrap()).await.unwrap();
    let url: url::Url = format!("https://{address}/").parse().unwrap();
    let request = ConnectRequest::new(url).with_header(
        web_transport_quinn::http::header::ORIGIN,
        web_transport_quinn::http::HeaderValue::from_str(origin).unwrap(),
    );
    let session = web_transport_quinn::Session::connect(quic, request);
    soon("CONNECT", session).await.is_ok()
}

pub fn local() -> Relay {
    Relay::start(RelayConfig::local()).unwrap()
}

/// A certificate for `localhost` and its key in files.
pub struct CertificateFiles(tempfile::TempDir);

impl CertificateFiles {
    pub fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.replace();
        files
    }

    /// The chain and the key.
    pub fn paths(&self) -> (PathBuf, PathBuf) {
        (
            self.0.path().join("chain.pem"),
            self.0.path().join("key.pem"),
        )
    }

    /// Writes another pair.
    pub fn replace(&self) {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (chain, key) = self.paths();
        std::fs::write(chain, pair.cert.pem()).unwrap();
        std::fs::write(key, pair.signing_key.serialize_pem()).unwrap();
    }

    /// Writes another certificate and leaves the key.
    pub fn mismatch(&self) {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.paths().0, pair.cert.pem()).unwrap();
    }
}
