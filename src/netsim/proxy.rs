//! The emulator on real sockets.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::change::PathChange;
use super::client::{Clients, Outlet, Rules};
use super::lane::Lane;
use super::path::Path;
use super::schedule::{Schedule, Timeline};
use super::settings::PathSettings;
use super::socket::{Buffers, Socket};
use super::stats::Stats;
use super::tcp::{Forward, TcpCounters};

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
    /// What changes by itself.
    pub schedule: Schedule,
    /// Fixes which packets chance takes. With more than one client the order of their packets counts, too.
    pub seed: u64,
    /// What becomes of TCP connections to the same port.
    pub tcp: Tcp,
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
            schedule: Schedule::default(),
            seed: 0,
            tcp: Tcp::default(),
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

/// What a proxy does with TCP connections to its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tcp {
    /// They take delay, jitter, rate and outages; losses, bursts and corruption cost the time of a retransmission.
    /// They have the rate to themselves: they do not compete with datagrams.
    #[default]
    Shaped,
    /// Passed on as they are.
    Plain,
    /// Nothing listens.
    Off,
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
/// A packet never leaves early. It leaves 0.1 to 0.3 ms late as a rule, later on a busy system; packets that follow each
/// other within 0.2 ms may leave together.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    target: SocketAddr,
    up: Arc<Lane>,
    down: Arc<Lane>,
    clients: Arc<Clients>,
    tcp: Arc<TcpCounters>,
    tasks: Vec<JoinHandle<()>>,
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
        let (udp, listener) = bind(listen, settings.tcp != Tcp::Off)?;
        let failed = |protocol| bind_failed(listen, protocol);
        let addr = udp.local_addr().map_err(failed(Protocol::Udp))?;
        let socket = Arc::new(Socket::new(udp).map_err(failed(Protocol::Udp))?);
        let listener = listener
            .map(tokio::net::TcpListener::from_std)
            .transpose()
            .map_err(failed(Protocol::Tcp))?;

        let epoch = Instant::now();
        let schedule = &settings.schedule;
        let lane = |path, timeline, seed| {
            Arc::new(Lane::new(Path::scheduled(path, timeline, seed), epoch))
        };
        let up = lane(settings.up, schedule.up(), settings.seed);
        let down = lane(settings.down, schedule.down(), settings.seed ^ DOWN_SEED);
        let rules = Rules {
            target,
            limit: settings.max_clients,
            idle: settings.client_idle,
            many_addresses: addr.ip().is_unspecified(),
        };
        let clients = Arc::new(Clients::new(runtime.clone(), rules, down.clone()));
        let tcp = Arc::<TcpCounters>::default();
        let mut tasks = Vec::new();
        if let Some(listener) = listener {
            let shaped = settings.tcp == Tcp::Shaped;
            let forward = Forward {
                target,
                limit: settings.max_tcp_connections,
                lanes: shaped.then(|| (up.clone(), down.clone())),
                counters: tcp.clone(),
            };
            tasks.push(runtime.spawn(forward.run(listener)));
        }
        let reader = run_reader(
            socket.clone(),
            clients.clone(),
            settings.client_idle,
            up.clone(),
        );
        tasks.push(runtime.spawn(reader));
        let rebinder = run_rebinder(clients.clone(), epoch, schedule.rebinds());
        tasks.push(runtime.spawn(rebinder));
        for (lane, outlet) in [(&up, Outlet::Target), (&down, Outlet::Clients(socket))] {
            let lane = lane.clone();
            tasks.push(runtime.spawn(async move { lane.run_sender(outlet).await }));
        }
        Ok(Self {
            addr,
            target,
            up,
            down,
            clients,
            tcp,
            tasks,
        })
    }

    /// Where clients send to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it forwards to.
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// Replaces the settings of both directions; see [`Path::set`]. Outages count from the start of the proxy. A
    /// schedule goes on.
    pub fn set(&self, up: PathSettings, down: PathSettings) {
        self.up.set(up);
        self.down.set(down);
    }

    /// Changes some settings and leaves the others.
    pub fn update(&self, up: &PathChange, down: &PathChange) {
        self.up.update(up);
        self.down.update(down);
    }

    /// The present settings, up and down.
    pub fn settings(&self) -> (PathSettings, PathSettings) {
        (self.up.settings(), self.down.settings())
    }

    /// Loses all that is sent from now on for `length`, both ways. The last call counts: zero mends the path.
    pub fn cut(&self, length: Duration) {
        self.up.cut(length);
        self.down.cut(length);
    }

    /// Gives every client a new port towards the target, as a NAT does that lost its mapping; returns how many clients
    /// there are. What the target sends to an old port from now on is lost, also what is on its way from there; what
    /// waits in the proxy leaves from the new port or still reaches the client. TCP connections stay.
    ///
    /// # Errors
    /// When the system gives no port for one of them; then all keep theirs.
    pub fn rebind(&self) -> io::Result<usize> {
        self.clients.rebind(None, Duration::ZERO)
    }

    /// [`Proxy::rebind`] to another address of this machine, `ip`: what a client does that changes networks.
    pub fn rebind_to(&self, ip: IpAddr) -> io::Result<usize> {
        self.clients.rebind(Some(ip), Duration::ZERO)
    }

    /// [`Proxy::rebind_to`] without a gap, as from one interface to another while both are up: what the target sends to the
    /// old ports still reaches the clients for `overlap`.
    pub fn hand_over_to(&self, ip: IpAddr, overlap: Duration) -> io::Result<usize> {
        self.clients.rebind(Some(ip), overlap)
    }

    /// Forwards nothing any more, in neither direction, for the source addresses that are being served, as a NAT does that
    /// keeps a flow bound to an uplink which is gone: only who sends from another port is served again. TCP connections
    /// stay.
    pub fn strand(&self) {
        self.clients.strand();
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        Stats {
            up: self.up.stats(),
            down: self.down.stats(),
            clients: self.clients.len(),
            refused_datagrams: self.clients.refused(),
            rebinds: self.clients.rebinds(),
            tcp_connections: self.tcp.open.load(Ordering::Relaxed),
            refused_tcp_connections: self.tcp.refused.load(Ordering::Relaxed),
            tcp_up_bytes: self.tcp.up_bytes.load(Ordering::Relaxed),
            tcp_down_bytes: self.tcp.down_bytes.load(Ordering::Relaxed),
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
    socket: Arc<Socket>,
    clients: Arc<Clients>,
    client_idle: Duration,
    up: Arc<Lane>,
) {
    let mut buffers = Buffers::default();
    let mut batch = Vec::new();
    let mut sweep = interval((client_idle / 4).max(Duration::from_millis(10)));
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            readable = socket.readable() => {
                if readable.is_err() {
                    return;
                }
                clients.read(&socket, &mut buffers, &mut batch);
                up.offer(&mut batch);
            }
            _ = sweep.tick() => clients.expire(),
        }
    }
}

/// Gives the clients new ports at the times of the schedule.
async fn run_rebinder(clients: Arc<Clients>, epoch: Instant, mut times: Timeline<()>) {
    while let Some(at) = times.next_at() {
        let Some(at_instant) = epoch.checked_add(at) else {
            return;
        };
        sleep_until(at_instant.into()).await;
        times.pop(at);
        if let Err(error) = clients.rebind(None, Duration::ZERO) {
            tracing::debug!(%error, "the clients could not get new ports");
        }
    }
}

fn bind_failed(addr: SocketAddr, protocol: Protocol) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::Bind {
        addr,
        protocol,
        source,
    }
}

/// UDP and, if asked for, TCP on one port number. Port 0 is tried anew when the port that UDP got is taken for TCP.
fn bind(
    listen: SocketAddr,
    with_tcp: bool,
) -> Result<(UdpSocket, Option<TcpListener>), StartError> {
    let failed = |protocol| bind_failed(listen, protocol);
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
