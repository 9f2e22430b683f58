//! The TCP side of a listener: HTTP, over TLS where the certificate is one that clients know.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::shared::Shared;
use crate::http;

/// After a failure to accept (out of file descriptors, mostly) it is not tried again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until the relay stops; above the limit they wait in the kernel's queue.
pub(super) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
) {
    let stopping = shared.stopping.clone();
    let work = async {
        let router = http::router(shared.clone());
        let places = Arc::new(Semaphore::new(shared.limits.http_connections));
        let tls = tls.map(TlsAcceptor::from);
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(err) => {
                    tracing::debug!(%err, "cannot accept a TCP connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (router, tls, shared) = (router.clone(), tls.clone(), shared.clone());
            tokio::spawn(async move {
                let _place = place;
                let limit = shared.limits.handshake_timeout;
                let connection = serve(stream, peer.ip(), router, tls, limit);
                shared.stopping.run_until_cancelled(connection).await;
            });
        }
    };
    stopping.run_until_cancelled(work).await;
}

async fn serve(
    stream: TcpStream,
    peer: std::net::IpAddr,
    router: axum::Router,
    tls: Option<TlsAcceptor>,
    limit: Duration,
) {
    let Some(tls) = tls else {
        return http::serve(stream, peer, router).await;
    };
    match timeout(limit, tls.accept(stream)).await {
        Ok(Ok(stream)) => http::serve(stream, peer, router).await,
        Ok(Err(err)) => tracing::debug!(%peer, %err, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
    }
}
