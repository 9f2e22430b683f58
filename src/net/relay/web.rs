//! The TCP side of a listener: HTTP over TLS, and without TLS where the certificate is for development.

use std::{net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{access::network_of, config::Limits, shared::Shared};
use crate::http;

/// After a failure to accept (out of file descriptors, mostly) it is not tried again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The HTTP connections of all listeners of a relay, the oldest first.
///
/// A newcomer always gets a place. Where there is none left the oldest connection is closed: its own network's if that
/// has as many as it may, anyone's if all have. Requests are answered at once, so an old connection is an idle one, and
/// who opens connections to sit on them closes mostly its own.
#[derive(Default)]
pub(super) struct Places {
    /// A leaf: nothing else is locked or awaited under it.
    taken: Mutex<Vec<Taken>>,
}

struct Taken {
    network: IpAddr,
    closed: CancellationToken,
}

impl Places {
    /// A place for a peer, for as long as the returned value lives. Its token is cancelled when another needs the place.
    fn take(shared: &Arc<Shared>, peer: IpAddr) -> Place {
        let closed = CancellationToken::new();
        shared
            .http
            .add(&shared.limits, network_of(peer), closed.clone());
        Place {
            shared: shared.clone(),
            closed,
        }
    }

    fn add(&self, limits: &Limits, network: IpAddr, closed: CancellationToken) {
        let mut taken = self.taken.lock();
        let same = taken.iter().filter(|one| one.network == network).count();
        let oldest = if same >= limits.http_connections_per_address {
            taken.iter().position(|one| one.network == network)
        } else {
            (!taken.is_empty() && taken.len() >= limits.http_connections).then_some(0)
        };
        let evicted = oldest.map(|index| taken.remove(index));
        taken.push(Taken { network, closed });
        drop(taken);
        if let Some(evicted) = evicted {
            evicted.closed.cancel();
        }
    }
}

struct Place {
    shared: Arc<Shared>,
    closed: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is cancelled has no place any more, this one's or another's.
        self.closed.cancel();
        let mut taken = self.shared.http.taken.lock();
        taken.retain(|one| !one.closed.is_cancelled());
    }
}

/// Accepts connections until the relay stops.
pub(super) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    plain: bool,
) {
    let stopping = shared.stopping.clone();
    let work = async {
        let router = http::router(shared.clone(), shared.web_root.clone());
        let tls = TlsAcceptor::from(tls);
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(err) => {
                    tracing::debug!(%err, "cannot accept a TCP connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let place = Places::take(&shared, peer.ip());
            let (router, tls) = (router.clone(), tls.clone());
            tokio::spawn(async move {
                let shared = &place.shared;
                let limit = shared.limits.handshake_timeout;
                let connection = serve(stream, peer.ip(), router, (tls, plain), limit);
                let connection = place.closed.run_until_cancelled(connection);
                shared.stopping.run_until_cancelled(connection).await;
            });
        }
    };
    stopping.run_until_cancelled(work).await;
}

async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    router: axum::Router,
    (tls, plain): (TlsAcceptor, bool),
    limit: Duration,
) {
    if plain {
        match begins_tls(&stream, limit).await {
            Some(true) => {}
            Some(false) => return http::serve(stream, peer, router).await,
            None => return,
        }
    }
    match timeout(limit, tls.accept(stream)).await {
        Ok(Ok(stream)) => http::serve(stream, peer, router).await,
        Ok(Err(err)) => tracing::debug!(%peer, %err, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
    }
}

/// Whether a client begins with a TLS handshake (RFC 8446 section 5.1), whose first byte no method of HTTP has; `None` if it
/// sends nothing within the limit.
async fn begins_tls(stream: &TcpStream, limit: Duration) -> Option<bool> {
    const HANDSHAKE: u8 = 22;
    let mut first = [0];
    match timeout(limit, stream.peek(&mut first)).await {
        Ok(Ok(1)) => Some(first[0] == HANDSHAKE),
        _ => None,
    }
}
