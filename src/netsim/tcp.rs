//! TCP through a proxy.
//!
//! An `http://` URL of a relay is first asked over TCP for the hash of its certificate, on the same port number; a
//! WebSocket stays there.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::lane::Lane;
use super::settings::PathSettings;
use super::stream::{StreamFate, StreamLoss, retry_after};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Before accepting again when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that are read, lost and delayed as one.
const PIECE: usize = 16 << 10;
/// Pieces under way in one direction of a connection: with `PIECE` a window of 2 MiB.
const WINDOW: usize = 128;
/// The bottleneck may be ahead of a connection by this much: timers have a grain, and its rate must not suffer.
const AHEAD: Duration = Duration::from_millis(2);
/// Bytes of a SYN.
const SYN: usize = 40;

#[derive(Debug, Default)]
pub(super) struct TcpCounters {
    pub(super) open: AtomicUsize,
    pub(super) refused: AtomicU64,
    pub(super) up_bytes: AtomicU64,
    pub(super) down_bytes: AtomicU64,
}

/// What connections need to know.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) target: SocketAddr,
    pub(super) limit: usize,
    /// The paths from the clients to the target and back; without them connections are passed on as they are.
    pub(super) lanes: Option<(Arc<Lane>, Arc<Lane>)>,
    pub(super) counters: Arc<TcpCounters>,
}

impl Forward {
    /// Accepts and passes on, for ever. Dropping the future closes all connections.
    pub(super) async fn run(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let shared = Arc::new(self);
        let counters = &shared.counters;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(_) if connections.len() >= shared.limit => {
                        counters.refused.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok((stream, _)) => {
                        connections.spawn(shared.clone().pass_on(stream));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "accepting a TCP connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    if let Ok(Err(error)) = ended {
                        tracing::debug!(%error, "a TCP connection ended");
                    }
                }
            }
            counters.open.store(connections.len(), Ordering::Relaxed);
        }
    }

    async fn pass_on(self: Arc<Self>, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let Some((up, down)) = &self.lanes else {
            let mut upstream = self.connect().await?;
            let (up, down) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
            self.counters.up_bytes.fetch_add(up, Ordering::Relaxed);
            self.counters.down_bytes.fetch_add(down, Ordering::Relaxed);
            return Ok(());
        };
        // The system has shaken hands with the client already, in no time: what the handshake takes on the path
        // delays the first bytes.
        let arrival = deliver(up, down, SYN).await;
        sleep_until(up.at(arrival).into()).await;
        let upstream = self.connect().await?;
        let (client_read, client_write) = client.into_split();
        let (target_read, target_write) = upstream.into_split();
        let ways = tokio::try_join!(
            async {
                sleep(down.settings().delay).await;
                let count = &self.counters.up_bytes;
                pump(client_read, target_write, up, down, count).await
            },
            pump(
                target_read,
                client_write,
                down,
                up,
                &self.counters.down_bytes
            ),
        );
        ways.map(drop)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let upstream = timeout(CONNECT_TIMEOUT, TcpStream::connect(self.target)).await??;
        upstream.set_nodelay(true)?;
        Ok(upstream)
    }
}

/// Carries one direction of a connection over `lane` until its end; `back` is the way of its acknowledgements.
async fn pump(
    mut read: OwnedReadHalf,
    write: OwnedWriteHalf,
    lane: &Lane,
    back: &Lane,
    count: &AtomicU64,
) -> io::Result<()> {
    let (sender, pieces) = mpsc::channel(WINDOW);
    let reader = async {
        let mut buffer = vec![0; PIECE];
        // In order: nothing overtakes what was sent again.
        let mut last = Duration::ZERO;
        loop {
            let len = read.read(&mut buffer).await?;
            last = last.max(deliver(lane, back, len).await);
            let piece = Bytes::copy_from_slice(&buffer[..len]);
            if sender.send((lane.at(last), piece)).await.is_err() || len == 0 {
                return Ok(());
            }
        }
    };
    let writer = arrive(pieces, write, count);
    tokio::try_join!(reader, writer).map(drop)
}

/// Writes pieces at their times; an empty one is the end.
async fn arrive(
    mut pieces: mpsc::Receiver<(Instant, Bytes)>,
    mut write: OwnedWriteHalf,
    count: &AtomicU64,
) -> io::Result<()> {
    while let Some((at, piece)) = pieces.recv().await {
        sleep_until(at.into()).await;
        if piece.is_empty() {
            return write.shutdown().await;
        }
        write.write_all(&piece).await?;
        count.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Sends a piece until it gets through and has left the bottleneck; returns when it arrives.
async fn deliver(lane: &Lane, back: &Lane, mut len: usize) -> Duration {
    let mut attempt = 0;
    loop {
        match lane.send_stream(len) {
            StreamFate::Arrives { left, at } => {
                let ahead = left.saturating_sub(lane.now());
                if ahead > AHEAD {
                    sleep(ahead - AHEAD).await;
                }
                return at;
            }
            StreamFate::Lost(loss) => {
                if let StreamLoss::Segments(missing) = loss {
                    len = missing;
                }
                let delay = |PathSettings { delay, .. }| delay;
                let round_trip = delay(lane.settings()).saturating_add(delay(back.settings()));
                sleep(retry_after(loss, attempt, round_trip)).await;
                attempt = attempt.saturating_add(1);
            }
        }
    }
}
