//! TCP through a proxy: passed on as it is, without delay or loss.
//!
//! An `http://` URL of a relay is first asked over TCP for the hash of its certificate, on the same port number.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Before accepting again when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct TcpCounters {
    pub(super) open: AtomicUsize,
    pub(super) refused: AtomicU64,
}

/// Accepts and passes on, for ever. Dropping the future closes all connections.
pub(super) async fn forward(
    listener: TcpListener,
    target: SocketAddr,
    limit: usize,
    counters: Arc<TcpCounters>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= limit => {
                    counters.refused.fetch_add(1, Ordering::Relaxed);
                }
                Ok((stream, _)) => {
                    connections.spawn(pass_on(stream, target));
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

async fn pass_on(mut client: TcpStream, target: SocketAddr) -> io::Result<()> {
    let mut upstream = timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await??;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}
