//! The clients of a proxy, told apart by their source address; each has a socket of its own towards the target.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::lane::{ClientPacket, Lane};
use super::packet::Packet;
use super::socket::{Buffers, Origin, Refused, Route, Socket};

#[derive(Debug)]
pub(super) struct Client {
    /// Where it sends from.
    addr: SocketAddr,
    /// Which of our addresses it knows, where there is a choice.
    local: Option<IpAddr>,
    target: SocketAddr,
    /// Towards the target; another one after a rebinding.
    upstream: Mutex<Arc<Socket>>,
    /// Nothing is forwarded for it any more.
    stranded: AtomicBool,
    /// Time of the proxy, ns.
    last_active: AtomicU64,
}

impl Client {
    fn touch(&self, now: Duration) {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.last_active.store(now, Ordering::Relaxed);
    }

    fn last_active(&self) -> Duration {
        Duration::from_nanos(self.last_active.load(Ordering::Relaxed))
    }

    fn is_stranded(&self) -> bool {
        self.stranded.load(Ordering::Relaxed)
    }

    /// Offers what the target sends to `down`, for ever.
    async fn run_reader(self: Arc<Self>, socket: Arc<Socket>, down: Arc<Lane>) {
        let mut buffers = Buffers::default();
        let mut batch = Vec::new();
        while socket.readable().await.is_ok() {
            let received = socket.receive(&mut buffers, |origin, datagrams| {
                // As a NAT does that filters by address and port (RFC 4787, section 5).
                if same(origin.from, self.target) && !self.is_stranded() {
                    push(&mut batch, datagrams, origin, &self);
                }
            });
            match received {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    tracing::debug!(client = %self.addr, %error, "receiving from the target");
                }
                _ => {}
            }
            if !batch.is_empty() {
                self.touch(down.now());
                down.offer(&mut batch);
            }
        }
    }
}

fn push(
    batch: &mut Vec<ClientPacket>,
    datagrams: &mut dyn Iterator<Item = &[u8]>,
    origin: &Origin,
    to: &Arc<Client>,
) {
    batch.extend(datagrams.map(|payload| Packet {
        payload: payload.into(),
        ecn: origin.ecn,
        to: to.clone(),
    }));
}

/// Flow labels and scopes do not make another peer.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    (a.ip(), a.port()) == (b.ip(), b.port())
}

/// Where packets go that have come through.
#[derive(Debug)]
pub(super) enum Outlet {
    /// To the target, each client from its own socket.
    Target,
    /// To the clients, from the address that they know.
    Clients(Arc<Socket>),
}

impl Outlet {
    /// Sends packets of one client in their order.
    pub(super) async fn send(&self, packets: &[ClientPacket], scratch: &mut Vec<u8>) -> Refused {
        let Some(client) = packets.first().map(|packet| &packet.to) else {
            return Refused::default();
        };
        let (socket, route) = match self {
            Self::Target => {
                let (to, from) = (client.target, None);
                (client.upstream.lock().clone(), Route { to, from })
            }
            Self::Clients(socket) => {
                let (to, from) = (client.addr, client.local);
                (socket.clone(), Route { to, from })
            }
        };
        socket.send(route, packets, scratch).await
    }
}

/// All clients. Dropping it ends their readers.
#[derive(Debug)]
pub(super) struct Clients {
    runtime: Handle,
    target: SocketAddr,
    limit: usize,
    idle: Duration,
    /// Whether clients may know different addresses of ours.
    many_addresses: bool,
    down: Arc<Lane>,
    table: Mutex<HashMap<SocketAddr, Entry>>,
    refused: AtomicU64,
    rebinds: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    client: Arc<Client>,
    reader: AbortOnDropHandle<()>,
    /// Keeps the reader of the port before, for a while.
    leaving: Option<AbortOnDropHandle<()>>,
}

/// What a proxy keeps to for its clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) target: SocketAddr,
    pub(super) limit: usize,
    pub(super) idle: Duration,
    pub(super) many_addresses: bool,
}

impl Clients {
    pub(super) fn new(runtime: Handle, rules: Rules, down: Arc<Lane>) -> Self {
        Self {
            runtime,
            target: rules.target,
            limit: rules.limit,
            idle: rules.idle,
            many_addresses: rules.many_addresses,
            down,
            table: Mutex::default(),
            refused: AtomicU64::new(0),
            rebinds: AtomicU64::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.lock().len()
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn rebinds(&self) -> u64 {
        self.rebinds.load(Ordering::Relaxed)
    }

    /// Forgets the clients that were idle for too long.
    pub(super) fn expire(&self) {
        let now = self.down.now();
        let is_active = |entry: &Entry| now.saturating_sub(entry.client.last_active()) < self.idle;
        self.table.lock().retain(|_, entry| is_active(entry));
    }

    /// Gives each client a new port towards the target, at `ip` or at any address, or none of them; returns how many there
    /// are. What the target sends to the old ports still comes through for `overlap`.
    pub(super) fn rebind(&self, ip: Option<IpAddr>, overlap: Duration) -> io::Result<usize> {
        self.rebind_with(|| upstream_socket(self.target, ip), overlap)
    }

    fn rebind_with(
        &self,
        mut socket: impl FnMut() -> io::Result<Arc<Socket>>,
        overlap: Duration,
    ) -> io::Result<usize> {
        let _entered = self.runtime.enter();
        let mut table = self.table.lock();
        let sockets = table.iter().map(|_| socket());
        let sockets: Vec<_> = sockets.collect::<io::Result<_>>()?;
        let count = sockets.len();
        for (entry, socket) in table.values_mut().zip(sockets) {
            let reader = self.spawn_reader(&entry.client, &socket);
            let before = std::mem::replace(&mut entry.reader, reader);
            entry.leaving = (!overlap.is_zero()).then(|| self.spawn_end(before, overlap));
            *entry.client.upstream.lock() = socket;
        }
        self.rebinds.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    /// Forwards nothing any more for the clients that there are.
    pub(super) fn strand(&self) {
        for entry in self.table.lock().values() {
            entry.client.stranded.store(true, Ordering::Relaxed);
        }
    }

    /// Reads what is there, at most a batch.
    pub(super) fn read(
        &self,
        socket: &Socket,
        buffers: &mut Buffers,
        batch: &mut Vec<ClientPacket>,
    ) {
        let received = socket.receive(buffers, |origin, datagrams| match self.get(origin) {
            Ok(client) => {
                client.touch(self.down.now());
                if !client.is_stranded() {
                    push(batch, datagrams, origin, &client);
                }
            }
            Err(error) => {
                self.refused
                    .fetch_add(datagrams.count() as u64, Ordering::Relaxed);
                tracing::debug!(client = %origin.from, %error, "a client is refused");
            }
        });
        match received {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                tracing::debug!(%error, "receiving from a client");
            }
            _ => {}
        }
    }

    /// The client of this source address, a new one if there is room.
    fn get(&self, origin: &Origin) -> io::Result<Arc<Client>> {
        let mut table = self.table.lock();
        if let Some(entry) = table.get(&origin.from) {
            return Ok(entry.client.clone());
        }
        if table.len() >= self.limit {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "too many clients",
            ));
        }
        let socket = upstream_socket(self.target, None)?;
        let client = Arc::new(Client {
            addr: origin.from,
            local: origin.to.filter(|_| self.many_addresses),
            target: self.target,
            upstream: Mutex::new(socket.clone()),
            stranded: AtomicBool::new(false),
            last_active: AtomicU64::new(0),
        });
        let reader = self.spawn_reader(&client, &socket);
        let entry = Entry {
            client: client.clone(),
            reader,
            leaving: None,
        };
        table.insert(origin.from, entry);
        Ok(client)
    }

    fn spawn_reader(&self, client: &Arc<Client>, socket: &Arc<Socket>) -> AbortOnDropHandle<()> {
        let run = client.clone().run_reader(socket.clone(), self.down.clone());
        AbortOnDropHandle::new(self.runtime.spawn(run))
    }

    fn spawn_end(&self, reader: AbortOnDropHandle<()>, after: Duration) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(self.runtime.spawn(async move {
            let _ends_with_this = reader;
            tokio::time::sleep(after).await;
        }))
    }
}

/// Bound to `ip`, or to what reaches the target. Must run within a tokio runtime.
fn upstream_socket(target: SocketAddr, ip: Option<IpAddr>) -> io::Result<Arc<Socket>> {
    // A target on this host is asked from loopback, so that nothing outside can reach the socket.
    let ip = ip.unwrap_or(match (target.ip(), target.ip().is_loopback()) {
        (IpAddr::V4(_), true) => Ipv4Addr::LOCALHOST.into(),
        (IpAddr::V4(_), false) => Ipv4Addr::UNSPECIFIED.into(),
        (IpAddr::V6(_), true) => Ipv6Addr::LOCALHOST.into(),
        (IpAddr::V6(_), false) => Ipv6Addr::UNSPECIFIED.into(),
    });
    Socket::new(UdpSocket::bind((ip, 0))?).map(Arc::new)
}

#[cfg(test)]
mod tests;
