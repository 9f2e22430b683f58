//! The relay's HTTP server: the certificate's fingerprint, the list of broadcasts, counters and a page.
//!
//! It knows neither sockets nor TLS: a connection is any byte stream that the relay accepted.

mod origin;
mod page;

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Extension, Path, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::io::{AsyncRead, AsyncWrite};

pub use origin::{AllowedOrigins, Site};

/// The head of a request may be this long.
const MAX_HEAD: usize = 16 << 10;

/// One answer lists this many broadcasts; a longer prefix reaches the others.
const MAX_LISTED: usize = 10_000;

/// A client has this long to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection ends after this long, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// What the server tells about; answered without waiting.
pub trait Source: Send + Sync + 'static {
    /// SHA-256 of the certificate that new connections get.
    fn fingerprint(&self) -> [u8; 32];

    /// The broadcasts below a prefix, of whole path segments, that this peer may subscribe to, named relative to it.
    fn announced(&self, peer: IpAddr, site: Site, prefix: &str) -> Vec<String>;

    /// The counters in the text format of Prometheus; `None` if this peer may not see them.
    fn metrics(&self, peer: IpAddr, site: Site) -> Option<String>;

    /// Which pages may ask.
    fn allowed_origins(&self) -> &AllowedOrigins;

    /// Called for every request.
    fn count(&self) {}
}

/// The routes of a relay.
///
/// | Path | Answer |
/// |---|---|
/// | `/certificate.sha256` | the certificate's SHA-256, 64 lowercase hexadecimal digits and nothing else |
/// | `/announced`, `/announced/<prefix>` | the broadcasts below a prefix of whole path segments, one on a line, relative to it |
/// | `/metrics` | counters |
/// | anything else | a file below `web_root`; without one a few words at `/` |
///
/// Bodies of requests are never read, so none can be too large.
pub fn router(source: Arc<dyn Source>, web_root: Option<PathBuf>) -> Router {
    let router = Router::new()
        .route("/certificate.sha256", get(certificate))
        .route("/announced", get(announced))
        .route("/announced/", get(announced))
        .route("/announced/{*prefix}", get(announced))
        .route("/metrics", get(metrics));
    let router = match web_root {
        Some(root) => router.fallback_service(page::files(root)),
        None => router.route("/", get(words)).fallback(not_found),
    };
    router
        .method_not_allowed_fallback(|| async {
            text(StatusCode::METHOD_NOT_ALLOWED, "Only GET is served here.\n")
        })
        .layer(middleware::from_fn_with_state(source.clone(), guard))
        .with_state(source)
}

/// Refuses pages that may not use the relay, and lets browsers give the answer to those that may (Fetch section 3.2).
async fn guard(
    State(source): State<Arc<dyn Source>>,
    Extension(Peer(peer)): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    source.count();
    let origins = source.allowed_origins();
    let headers = request.headers();
    let host = headers.get(header::HOST).map(HeaderValue::to_str);
    let host = host.map(|host| host.unwrap_or_default().to_owned());
    let site = origins.site(peer, headers, host.as_deref(), host.as_deref());
    let allow_origin = origins.allow_origin(headers);
    let preflight = request.method() == Method::OPTIONS
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if site == Site::Refused {
        let message = "Pages of this origin may not use this relay: see allowed-origins.\n";
        text(StatusCode::FORBIDDEN, message)
    } else if preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        request.extensions_mut().insert(site);
        next.run(request).await
    };
    let headers = response.headers_mut();
    if origins.varies() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(allow_origin) = allow_origin.filter(|_| site != Site::Refused) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allow_origin);
        if preflight {
            let methods = HeaderValue::from_static("GET, HEAD");
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
    }
    response
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
    // Without a line feed: @moq/net refuses digits of an odd length.
    text(StatusCode::OK, hex::encode(source.fingerprint()))
}

async fn announced(
    State(source): State<Arc<dyn Source>>,
    Extension(Peer(peer)): Extension<Peer>,
    Extension(site): Extension<Site>,
    prefix: Option<Path<String>>,
) -> Response {
    let prefix = prefix.map(|Path(prefix)| prefix).unwrap_or_default();
    let names = listed(source.as_ref(), peer, site, prefix.trim_matches('/'));
    let lines: String = names.iter().flat_map(|name| [name, "\n"]).collect();
    text(StatusCode::OK, lines)
}

async fn metrics(
    State(source): State<Arc<dyn Source>>,
    Extension(Peer(peer)): Extension<Peer>,
    Extension(site): Extension<Site>,
) -> Response {
    let Some(counters) = source.metrics(peer, site) else {
        let message = "Counters are for peers on this machine.\n";
        return text(StatusCode::FORBIDDEN, message);
    };
    let mut response = text(StatusCode::OK, counters);
    let version = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, version);
    response
}

async fn words(
    State(source): State<Arc<dyn Source>>,
    Extension(Peer(peer)): Extension<Peer>,
    Extension(site): Extension<Site>,
) -> Response {
    page::words(&listed(source.as_ref(), peer, site, ""))
}

/// The names that stand in an answer.
fn listed(source: &dyn Source, peer: IpAddr, site: Site, prefix: &str) -> Vec<String> {
    let mut names = source.announced(peer, site, prefix);
    // A line break within a name would list broadcasts that do not exist.
    names.retain(|name| !name.chars().any(char::is_control));
    names.truncate(MAX_LISTED);
    names
}

async fn not_found() -> Response {
    text(
        StatusCode::NOT_FOUND,
        "Not here. There is /certificate.sha256, /announced and /metrics.\n",
    )
}

fn text(status: StatusCode, body: impl Into<String>) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    (status, headers, body.into()).into_response()
}

/// Undoes percent-encoding (RFC 3986 section 2.1); `None` for bad escapes and what is not UTF-8 then.
pub fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = tail;
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        let mut value = [0];
        hex::decode_to_slice(digits, &mut value).ok()?;
        bytes.push(value[0]);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}
