//! A relay inside this process: it accepts publishers and subscribers on WebTransport and raw QUIC and hands each
//! group, held once, to whoever subscribed.
//!
//! Sessions write what they publish into one origin of `moq_net` and read what they subscribe to out of it; fan-out,
//! late join, cache and the choice between two publishers of one name are the origin's. This module is about who may
//! come in, how much, and how it ends.

mod access;
mod config;
mod held;
mod limits;
mod metered;
mod metrics;
mod parked;
mod prepared;
mod rivals;
mod session;
mod shared;
mod stats;
mod web;

use std::{
    net::SocketAddr,
    sync::{Arc, Weak, mpsc},
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use quinn::AsyncUdpSocket;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

pub use config::{Cache, Limits, RelayConfig};
pub use stats::{Event, PeerStats, SessionInfo, Stats};

use self::{access::Access, shared::Shared};
use super::{
    error::{Cause, Error, Result},
    transport::{
        certificate::Resolver,
        listen::{self, Bound, ServerTransport},
        versions,
    },
};
use crate::runtime;

/// How often it is looked whether the certificate's files changed or a development certificate has to be renewed.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(1);

/// Events that wait to be fetched; later ones are lost and counted.
const EVENT_QUEUE: usize = 4096;

/// How long closed connections have at least to tell their peers.
const CLOSING: Duration = Duration::from_millis(40);

/// How long quinn's tasks have to let go of the sockets.
const FREEING: Duration = Duration::from_millis(20);

/// A running relay. Dropping it stops it without a word to its peers; [`Relay::stop`] says GOAWAY first.
pub struct Relay {
    shared: Arc<Shared>,
    endpoints: Mutex<Option<Endpoints>>,
    bound: Vec<SocketAddr>,
    secure: bool,
    events: Mutex<Option<mpsc::Receiver<Event>>>,
}

/// What is closed when the relay stops.
struct Endpoints {
    quic: Vec<(quinn::Endpoint, Weak<dyn AsyncUdpSocket>)>,
    /// The tasks that hold listening sockets.
    listeners: TaskTracker,
}

impl Relay {
    /// Binds and starts. Quick and without waiting for anything, so that it may be called from any thread.
    ///
    /// # Errors
    /// An address that cannot be bound, certificate files that cannot be used, or a listener that other machines
    /// can reach without access rules. The message says what to do.
    pub fn start(config: RelayConfig) -> Result<Self> {
        let access = Access::new(&config)?;
        let secure = config.certificate.is_some();
        let resolver = Arc::new(match &config.certificate {
            Some((chain, key)) => Resolver::from_files(chain, key)?,
            None => Resolver::development(SystemTime::now())?,
        });
        let versions = versions::select(&[], versions::Family::All)?;
        let quic = listen::quic_config(
            resolver.clone(),
            &versions.alpns(),
            &ServerTransport {
                congestion_control: config.congestion_control,
                idle_timeout: config.idle_timeout,
                keep_alive_interval: config.keep_alive_interval,
                max_incoming: config.limits.sessions,
                tracks: config.limits.tracks_per_session,
            },
        )?;
        let https = listen::https_config(resolver.clone())?;
        let sockets = listen::bind(&config.listen)?;
        let bound = sockets.iter().map(|socket| socket.address).collect();

        let runtime = runtime::servers();
        let _context = runtime.enter();
        let (sender, events) = mpsc::sync_channel(EVENT_QUEUE);
        let shared = Shared::start(config, access, resolver, versions, sender, runtime);
        let endpoints =
            Endpoints::open(&shared, sockets, &quic, &https, !secure).inspect_err(|_| {
                shared.stopping.cancel();
                shared.ended.cancel();
            })?;
        runtime.spawn(renew(shared.clone()));

        let relay = Self {
            shared,
            endpoints: Mutex::new(Some(endpoints)),
            bound,
            secure,
            events: Mutex::new(Some(events)),
        };
        tracing::info!(url = relay.url(), "listening");
        Ok(relay)
    }

    /// The addresses that it listens on, with the ports that were chosen.
    pub fn bound(&self) -> &[SocketAddr] {
        &self.bound
    }

    /// A URL for clients on this machine: `http://…` with a development certificate, whose fingerprint is fetched
    /// there, `https://…` with one from files.
    pub fn url(&self) -> String {
        self.urls().into_iter().next().unwrap_or_default()
    }

    /// The same for each address that it listens on.
    pub fn urls(&self) -> Vec<String> {
        let scheme = if self.secure { "https" } else { "http" };
        let url = |address: &SocketAddr| format!("{scheme}://{}/", reachable(*address));
        self.bound.iter().map(url).collect()
    }

    /// Whether a browser gets a page at these URLs.
    pub fn has_page(&self) -> bool {
        self.shared.web_root.is_some()
    }

    /// SHA-256 of the certificate that new connections get, in lowercase hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        hex::encode(self.shared.resolver.current().fingerprint())
    }

    /// The events since the start. Only the first call gets them.
    pub fn events(&self) -> Option<mpsc::Receiver<Event>> {
        self.events.lock().take()
    }

    /// The newest counters. Never waits for the network.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// The names that are announced now, from the root.
    pub fn announced(&self) -> Vec<String> {
        self.shared.announced()
    }

    /// Names that counters are held for at the moment, for tests of what a peer can make the relay keep.
    #[doc(hidden)]
    pub fn counted_names(&self) -> usize {
        self.shared.counted_names()
    }

    /// Stops within `limit`: says GOAWAY, waits for the peers to leave, closes those that did not, and frees the
    /// ports. A limit of zero closes at once. May be awaited on any executor; a second call returns at once.
    pub async fn stop(&self, limit: Duration) {
        let (done, stopped) = tokio::sync::oneshot::channel();
        self.begin_stop(limit, move || {
            let _ = done.send(());
        });
        let _ = stopped.await;
    }

    /// The same for threads that may wait, inside a tokio runtime of the application or not. Returns whether it
    /// came to an end within `limit`; if not, it goes on in the background.
    pub fn stop_blocking(&self, limit: Duration) -> bool {
        let (done, stopped) = mpsc::sync_channel(1);
        self.begin_stop(limit, move || {
            let _ = done.send(());
        });
        // Returning is what is promised, so the stop itself gets a little less than the waiting.
        stopped
            .recv_timeout(limit + Duration::from_millis(20))
            .is_ok()
    }

    fn begin_stop(&self, limit: Duration, done: impl FnOnce() + Send + 'static) {
        let shared = self.shared.clone();
        let endpoints = self.endpoints.lock().take();
        runtime::servers().spawn(async move {
            if let Some(endpoints) = endpoints {
                endpoints.stop(&shared, limit).await;
            }
            done();
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.begin_stop(Duration::ZERO, || ());
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

impl Endpoints {
    /// Serves QUIC and HTTP on every socket. Call on the runtime.
    fn open(
        shared: &Arc<Shared>,
        sockets: Vec<Bound>,
        quic: &quinn::ServerConfig,
        https: &Arc<rustls::ServerConfig>,
        plain: bool,
    ) -> Result<Self> {
        let mut open = Self {
            quic: Vec::new(),
            listeners: TaskTracker::new(),
        };
        for Bound { address, udp, tcp } in sockets {
            let failed = |err| {
                Error::new(
                    Cause::Settings,
                    format!("cannot listen on {address}: {err}"),
                )
            };
            let (endpoint, socket) = endpoint(udp, quic.clone()).map_err(failed)?;
            let tcp = tokio::net::TcpListener::from_std(tcp).map_err(failed)?;
            open.listeners
                .spawn(session::accept(shared.clone(), endpoint.clone()));
            open.listeners
                .spawn(web::accept(shared.clone(), tcp, https.clone(), plain));
            open.quic.push((endpoint, socket));
        }
        Ok(open)
    }

    async fn stop(self, shared: &Shared, limit: Duration) {
        let start = Instant::now();
        let end = start + limit;
        for (endpoint, _) in &self.quic {
            endpoint.set_server_config(None);
        }
        shared.stopping.cancel();
        self.listeners.close();

        // Three fifths for the peers to move away; the rest for closing and for the sockets.
        let window = limit.mul_f64(0.6);
        shared.drain(window);
        let _ = timeout_at(start + window + window / 10, shared.tasks.wait()).await;
        for (endpoint, _) in &self.quic {
            endpoint.close(0u32.into(), b"relay stopped");
        }
        let closed = async {
            for (endpoint, _) in &self.quic {
                endpoint.wait_idle().await;
            }
            shared.tasks.wait().await;
            self.listeners.wait().await;
        };
        let _ = timeout_at(end.max(Instant::now() + CLOSING) - FREEING, closed).await;
        shared.ended.cancel();
        self.free_ports().await;
        tracing::info!("stopped");
    }

    /// Closes the sockets, so that a relay started next finds its port free.
    async fn free_ports(self) {
        for (endpoint, _) in &self.quic {
            // Closed connections hold the socket for three probe timeouts (RFC 9000 section 10.2), which is long for
            // one whose round trip was never measured. They get another socket: twice, because quinn keeps the one before.
            for _ in 0..2 {
                let spare = std::net::UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
                if let Err(err) = spare.and_then(|spare| endpoint.rebind(spare)) {
                    tracing::debug!(%err, "the port stays taken until the last connection is gone");
                }
            }
        }
        let sockets: Vec<_> = self.quic.into_iter().map(|(_, socket)| socket).collect();
        let free = async {
            // quinn has no signal for it: its tasks drop the socket at their next turn.
            while sockets.iter().any(|socket| socket.strong_count() > 0) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = timeout_at(Instant::now() + FREEING, free).await;
    }
}

fn endpoint(
    udp: std::net::UdpSocket,
    config: quinn::ServerConfig,
) -> std::io::Result<(quinn::Endpoint, Weak<dyn AsyncUdpSocket>)> {
    use quinn::Runtime as _;
    let runtime = Arc::new(quinn::TokioRuntime);
    let socket = runtime.wrap_udp_socket(udp)?;
    let weak = Arc::downgrade(&socket);
    let settings = quinn::EndpointConfig::default();
    let endpoint =
        quinn::Endpoint::new_with_abstract_socket(settings, Some(config), socket, runtime)?;
    Ok((endpoint, weak))
}

/// Keeps the certificate up to date until the relay stops.
async fn renew(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            () = tokio::time::sleep(CERTIFICATE_CHECK) => {}
        }
        // The files may lie on a disk that takes its time.
        let resolver = shared.resolver.clone();
        let look = move || resolver.refresh(SystemTime::now());
        match tokio::task::spawn_blocking(look).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                tracing::info!("new certificate");
                shared.tell(Event::CertificateChanged);
            }
            Ok(Err(err)) => {
                tracing::warn!(%err, "keeping the old certificate");
                shared.tell(Event::CertificateKept(err));
            }
            Err(err) => tracing::warn!(%err, "cannot look after the certificate"),
        }
    }
}

/// The address by which this machine reaches a listener on every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            ([0, 0, 0, 0, 0, 0, 0, 1], v6.port()).into()
        }
        other => other,
    }
}
