//! The emulator on real sockets.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::client::{Buffer, Client, Clients, ToClients, ToTarget, into_tokio};
use super::lane::{BATCH, Lane};
use super::line::LineLimits;
use super::path::{Path, PathSettings};
use super::stats::Stats;
use super::tcp::{self, TcpCounters};

/// How often port 0 is tried until a port is free for UDP and TCP alike.
const PORT_TRIES: usize = 32;
/// Makes the decisions of the two directions differ under one seed.
const DOWN_SEED: u64 = 0x646f_776e;

/// What a [`Proxy`] does.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// From the clients to the target. All clients share the path, as they would share a link.
    pub up: PathSettings,
    /// From the target to the clients.
    pub down: PathSettings,
    /// Fixes which packets chance takes. With more than one client the order of their packets counts, too.
    pub seed: u64,
    /// Passes TCP connections to the same port on, untouched: neither delayed nor cut.
    pub tcp: bool,
    /// Datagrams from more source addresses than this are dropped.
    pub max_clients: usize,
    /// A client from and for which nothing came for this long is forgotten.
    pub client_idle: Duration,
    /// More TCP connections than this at a time are closed at once.
    pub max_tcp_connections: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            up: PathSettings::default(),
            down: PathSettings::default(),
            seed: 0,
            tcp: true,
            max_clients: 256,
            // What RFC 4787, REQ-5 asks of a NAT.
            client_idle: Duration::from_secs(120),
            max_tcp_connections: 64,
        }
    }
}

impl Settings {
    /// The same path in both directions.
    pub fn symmetric(path: PathSettings, seed: u64) -> Self {
        Self {
            up: path.clone(),
            down: path,
            seed,
            ..Self::default()
        }
    }
}

/// The two protocols of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    Tcp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Call within a tokio runtime, or use [`Proxy::start_on`].
    #[error("there is no tokio runtime here")]
    NoRuntime,
    /// Choose another address; port 0 takes a free port.
    #[error("cannot listen on {addr} ({protocol}): {source}")]
    Bind {
        addr: SocketAddr,
        protocol: Protocol,
        source: io::Error,
    },
}

/// A running path emulator; dropping it stops it.
///
/// A packet never leaves early and up to about 1 ms late, the grain of tokio's timer.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    up: Arc<Lane<Arc<Client>>>,
    down: Arc<Lane<Arc<Client>>>,
    counters: Arc<Counters>,
    tcp: Arc<TcpCounters>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counters {
    clients: AtomicUsize,
    refused: AtomicU64,
}

impl Proxy {
    /// Starts on the runtime of the caller. Port 0 of `listen` takes a free port, see [`Proxy::addr`].
    pub fn start(
        listen: SocketAddr,
        target: SocketAddr,
        settings: Settings,
    ) -> Result<Self, StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        Self::start_on(&runtime, listen, target, settings)
    }

    /// Starts on the given runtime; may be called from any thread.
    pub fn start_on(
        runtime: &Handle,
        listen: SocketAddr,
        target: SocketAddr,
        settings: Settings,
    ) -> Result<Self, StartError> {
        let _entered = runtime.enter();
        let (udp, tcp) = bind(listen, settings.tcp)?;
        let failed = |protocol| {
            move |source| StartError::Bind {
                addr: listen,
                protocol,
                source,
            }
        };
        let addr = udp.local_addr().map_err(failed(Protocol::Udp))?;
        let socket = Arc::new(into_tokio(udp).map_err(failed(Protocol::Udp))?);

        let epoch = Instant::now();
        let lane = |path, seed| {
            Arc::new(Lane::new(
                Path::new(path, seed),
                epoch,
                LineLimits::default(),
            ))
        };
        let up = lane(settings.up, settings.seed);
        let down = lane(settings.down, settings.seed ^ DOWN_SEED);
        let clients = Clients::new(
            target,
            settings.max_clients,
            settings.client_idle,
            down.clone(),
        );
        let mut proxy = Self {
            addr,
            up: up.clone(),
            down: down.clone(),
            counters: Arc::default(),
            tcp: Arc::default(),
            tasks: Vec::new(),
        };
        if let Some(tcp) = tcp {
            let listener = tokio::net::TcpListener::from_std(tcp).map_err(failed(Protocol::Tcp))?;
            let forward = tcp::forward(
                listener,
                target,
                settings.max_tcp_connections,
                proxy.tcp.clone(),
            );
            proxy.tasks.push(runtime.spawn(forward));
        }
        let reader = run_reader(socket.clone(), clients, up.clone(), proxy.counters.clone());
        proxy.tasks.push(runtime.spawn(reader));
        proxy
            .tasks
            .push(runtime.spawn(async move { up.run_sender(ToTarget).await }));
        proxy
            .tasks
            .push(runtime.spawn(async move { down.run_sender(ToClients(socket)).await }));
        Ok(proxy)
    }

    /// Where clients send to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes both directions for the packets to come; see [`Path::set`]. Outages count from the start of the proxy.
    pub fn set(&self, up: PathSettings, down: PathSettings) {
        self.up.set(up);
        self.down.set(down);
    }

    /// Loses all that is sent from now on for `length`, both ways. The last call counts: zero mends the path.
    pub fn cut(&self, length: Duration) {
        self.up.cut(length);
        self.down.cut(length);
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        Stats {
            up: self.up.stats(),
            down: self.down.stats(),
            clients: self.counters.clients.load(Ordering::Relaxed),
            refused_datagrams: self.counters.refused.load(Ordering::Relaxed),
            tcp_connections: self.tcp.open.load(Ordering::Relaxed),
            refused_tcp_connections: self.tcp.refused.load(Ordering::Relaxed),
        }
    }

    /// Stops, and returns when the port is free again.
    pub async fn stop(mut self) -> Stats {
        for task in self.tasks.iter() {
            task.abort();
        }
        for task in self.tasks.drain(..) {
            // Ended by the abort: there is no result.
            let _ = task.await;
        }
        self.stats()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Offers what the clients send to `up`, for ever.
async fn run_reader(
    socket: Arc<tokio::net::UdpSocket>,
    mut clients: Clients,
    up: Arc<Lane<Arc<Client>>>,
    counters: Arc<Counters>,
) {
    let mut buffer = Buffer::default();
    let mut batch = Vec::with_capacity(BATCH);
    let mut sweep = interval((clients.idle / 4).max(Duration::from_millis(10)));
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            readable = socket.readable() => {
                if readable.is_err() {
                    return;
                }
                let refused = clients.read(&socket, &mut buffer, &mut batch);
                counters.refused.fetch_add(refused, Ordering::Relaxed);
                up.offer(&mut batch);
            }
            _ = sweep.tick() => clients.expire(),
        }
        counters.clients.store(clients.len(), Ordering::Relaxed);
    }
}

/// UDP and, if asked for, TCP on one port number. Port 0 is tried anew when the port that UDP got is taken for TCP.
fn bind(
    listen: SocketAddr,
    with_tcp: bool,
) -> Result<(UdpSocket, Option<TcpListener>), StartError> {
    let failed = |protocol| {
        move |source| StartError::Bind {
            addr: listen,
            protocol,
            source,
        }
    };
    let mut tries = 1;
    loop {
        let udp = UdpSocket::bind(listen).map_err(failed(Protocol::Udp))?;
        if !with_tcp {
            return Ok((udp, None));
        }
        let addr = udp.local_addr().map_err(failed(Protocol::Udp))?;
        match TcpListener::bind(addr) {
            Ok(tcp) => {
                tcp.set_nonblocking(true).map_err(failed(Protocol::Tcp))?;
                return Ok((udp, Some(tcp)));
            }
            Err(error)
                if listen.port() == 0
                    && tries < PORT_TRIES
                    && error.kind() == io::ErrorKind::AddrInUse =>
            {
                tries += 1;
            }
            Err(error) => return Err(failed(Protocol::Tcp)(error)),
        }
    }
}

#[cfg(test)]
mod tests;
