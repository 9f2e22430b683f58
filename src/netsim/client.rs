//! The clients of a proxy, told apart by their source address; each has a socket of its own towards the target.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::lane::{BATCH, Lane, Outlet, Packet};

/// Room for the largest datagram.
const MAX_DATAGRAM: usize = 65_536;
/// Asked of the system for each socket; it may give less.
const SOCKET_BUFFER: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Client {
    /// Where it sends from.
    pub(super) addr: SocketAddr,
    /// Connected to the target.
    pub(super) upstream: UdpSocket,
    last_active: Mutex<Instant>,
}

impl Client {
    fn touch(&self) {
        *self.last_active.lock() = Instant::now();
    }

    /// Offers what the target sends to `down`, for ever.
    async fn run_reader(self: Arc<Self>, down: Arc<Lane<Arc<Self>>>) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        let mut batch = Vec::with_capacity(BATCH);
        while self.upstream.readable().await.is_ok() {
            // An error here is one of an earlier send, such as an unreachable target: there may be more to read.
            for _ in 0..BATCH {
                match self.upstream.try_recv(&mut buffer) {
                    Ok(len) => batch.push(Packet {
                        payload: buffer[..len].into(),
                        to: self.clone(),
                    }),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        tracing::debug!(client = %self.addr, %error, "receiving from the target")
                    }
                }
            }
            if !batch.is_empty() {
                self.touch();
                down.offer(&mut batch);
            }
        }
    }
}

/// Sends to the target, each client from its own socket.
pub(super) struct ToTarget;

impl Outlet<Arc<Client>> for ToTarget {
    async fn send(&self, packet: &Packet<Arc<Client>>) -> io::Result<()> {
        let upstream = &packet.to.upstream;
        match upstream.send(&packet.payload).await {
            // That a target is gone is told to the next call on the socket, which then sends nothing.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                upstream.send(&packet.payload).await?
            }
            result => result?,
        };
        Ok(())
    }
}

/// Sends to the clients, from the address that they know.
pub(super) struct ToClients(pub(super) Arc<UdpSocket>);

impl Outlet<Arc<Client>> for ToClients {
    async fn send(&self, packet: &Packet<Arc<Client>>) -> io::Result<()> {
        self.0
            .send_to(&packet.payload, packet.to.addr)
            .await
            .map(drop)
    }
}

/// All clients; owned by the task that reads what they send. Dropping it ends their readers.
pub(super) struct Clients {
    pub(super) target: SocketAddr,
    pub(super) limit: usize,
    pub(super) idle: Duration,
    pub(super) down: Arc<Lane<Arc<Client>>>,
    table: HashMap<SocketAddr, (Arc<Client>, AbortOnDropHandle<()>)>,
}

impl Clients {
    pub(super) fn new(
        target: SocketAddr,
        limit: usize,
        idle: Duration,
        down: Arc<Lane<Arc<Client>>>,
    ) -> Self {
        Self {
            target,
            limit,
            idle,
            down,
            table: HashMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Forgets the clients that were idle for too long.
    pub(super) fn expire(&mut self) {
        let idle = self.idle;
        self.table
            .retain(|_, (client, _)| client.last_active.lock().elapsed() < idle);
    }

    /// The client of this source address, a new one if there is room. Must run within a tokio runtime.
    fn get(&mut self, addr: SocketAddr) -> io::Result<Arc<Client>> {
        if let Some((client, _)) = self.table.get(&addr) {
            return Ok(client.clone());
        }
        if self.table.len() >= self.limit {
            self.expire();
        }
        if self.table.len() >= self.limit {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "too many clients",
            ));
        }
        let client = Arc::new(Client {
            addr,
            upstream: upstream_socket(self.target)?,
            last_active: Mutex::new(Instant::now()),
        });
        let reader = tokio::spawn(client.clone().run_reader(self.down.clone()));
        self.table
            .insert(addr, (client.clone(), AbortOnDropHandle::new(reader)));
        Ok(client)
    }

    /// Reads what is there, at most a batch. Returns how many datagrams were refused.
    pub(super) fn read(
        &mut self,
        socket: &UdpSocket,
        buffer: &mut Buffer,
        batch: &mut Vec<Packet<Arc<Client>>>,
    ) -> u64 {
        let mut refused = 0;
        for _ in 0..BATCH {
            let (len, addr) = match socket.try_recv_from(&mut buffer.0) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    tracing::debug!(%error, "receiving from a client");
                    continue;
                }
            };
            match self.get(addr) {
                Ok(client) => {
                    client.touch();
                    batch.push(Packet {
                        payload: buffer.0[..len].into(),
                        to: client,
                    });
                }
                Err(error) => {
                    refused += 1;
                    tracing::debug!(client = %addr, %error, "a client is refused");
                }
            }
        }
        refused
    }
}

/// Where a datagram is received to.
pub(super) struct Buffer(Vec<u8>);

impl Default for Buffer {
    fn default() -> Self {
        Self(vec![0; MAX_DATAGRAM])
    }
}

fn upstream_socket(target: SocketAddr) -> io::Result<UdpSocket> {
    // A target on this host is asked from loopback, so that nothing outside can reach the socket.
    let ip: IpAddr = match (target.ip(), target.ip().is_loopback()) {
        (IpAddr::V4(_), true) => Ipv4Addr::LOCALHOST.into(),
        (IpAddr::V4(_), false) => Ipv4Addr::UNSPECIFIED.into(),
        (IpAddr::V6(_), true) => Ipv6Addr::LOCALHOST.into(),
        (IpAddr::V6(_), false) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((ip, 0))?;
    socket.connect(target)?;
    into_tokio(socket)
}

/// Must run within a tokio runtime.
pub(super) fn into_tokio(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    let options = socket2::SockRef::from(&socket);
    // Smaller buffers than asked for cost loss at high rates only.
    let _ = options.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = options.set_send_buffer_size(SOCKET_BUFFER);
    UdpSocket::from_std(socket)
}
