//! The relay's HTTP server: the certificate's fingerprint and the list of broadcasts.
//!
//! It knows neither sockets nor TLS: a connection is any byte stream that the relay accepted.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Extension, Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// The head of a request may be this long.
const MAX_HEAD: usize = 16 << 10;

/// A client has this long to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection ends after this long, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// What the server tells about; answered without waiting.
pub trait Source: Send + Sync + 'static {
    /// SHA-256 of the certificate that new connections get.
    fn fingerprint(&self) -> [u8; 32];

    /// The broadcasts below a prefix that this peer may subscribe to, named relative to it.
    fn announced(&self, peer: IpAddr, prefix: &str) -> Vec<String>;

    /// Called for every request.
    fn count(&self) {}
}

/// The routes of a relay.
///
/// | Path | Answer |
/// |---|---|
/// | `/certificate.sha256` | the certificate's SHA-256, 64 lowercase hexadecimal digits |
/// | `/announced`, `/announced/<prefix>` | the broadcasts, one on a line, relative to the prefix |
///
/// Bodies of requests are never read, so none can be too large.
pub fn router(source: Arc<dyn Source>) -> Router {
    Router::new()
        .route("/certificate.sha256", get(certificate))
        .route("/announced", get(announced))
        .route("/announced/", get(announced))
        .route("/announced/{*prefix}", get(announced))
        .fallback(not_found)
        .method_not_allowed_fallback(|| async {
            text(StatusCode::METHOD_NOT_ALLOWED, "Only GET is served here.\n")
        })
        .with_state(source)
}

/// Serves one connection until the peer closes it, sends something that is not HTTP, or takes too long.
pub async fn serve<I>(io: I, peer: IpAddr, router: Router)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router.layer(Extension(Peer(peer))));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), service);
    if let Ok(Err(err)) = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        tracing::debug!(%peer, %err, "HTTP connection failed");
    }
}

#[derive(Clone, Copy)]
struct Peer(IpAddr);

async fn certificate(State(source): State<Arc<dyn Source>>) -> Response {
    source.count();
    text(StatusCode::OK, hex::encode(source.fingerprint()))
}

async fn announced(
    State(source): State<Arc<dyn Source>>,
    Extension(Peer(peer)): Extension<Peer>,
    prefix: Option<Path<String>>,
) -> Response {
    source.count();
    let prefix = prefix.map(|Path(prefix)| prefix).unwrap_or_default();
    text(
        StatusCode::OK,
        source.announced(peer, prefix.trim_matches('/')).join("\n"),
    )
}

async fn not_found(State(source): State<Arc<dyn Source>>) -> Response {
    source.count();
    text(
        StatusCode::NOT_FOUND,
        "Not here. There is /certificate.sha256 and /announced.\n",
    )
}

/// Plain text that any page may read: players in a browser come from other origins.
fn text(status: StatusCode, body: impl Into<String>) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        (
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static("*"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    (status, headers, body.into()).into_response()
}
