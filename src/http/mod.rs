//! The relay's HTTP server: the certificate's fingerprint and the list of broadcasts.
//!
//! It knows neither sockets nor TLS: a connection is any byte stream that the relay accepted.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Extension, Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
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

    /// The broadcasts below a prefix that this peer may subscribe to, named relative to it.
    ///
    /// `site_is_local` is what [`is_local_site`] says of the request.
    fn announced(&self, peer: IpAddr, site_is_local: bool, prefix: &str) -> Vec<String>;

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

/// Whether a request comes from a program or from a page of this machine, as opposed to a page of some web site that
/// a browser here has open.
///
/// Browsers name the page's site in `Origin` with every WebTransport request and every cross-origin request whose answer the page
/// may read (RFC 6454 section 7, Fetch section 3.2). A site whose name was pointed at 127.0.0.1 (DNS rebinding) sends no
/// `Origin` to itself, but its name is in `Host`. An address in `Host` is no site's name.
pub fn is_local_site(headers: &HeaderMap) -> bool {
    let all = |name: header::HeaderName, is_local: fn(&str) -> bool| {
        headers
            .get_all(name)
            .iter()
            .all(|value| value.to_str().is_ok_and(is_local))
    };
    all(header::ORIGIN, is_local_origin) && all(header::HOST, is_local_host)
}

/// `null`, which sandboxed pages of any site send, is not local.
fn is_local_origin(origin: &str) -> bool {
    let Ok(url) = url::Url::parse(origin) else {
        return false;
    };
    match url.host() {
        Some(url::Host::Domain(name)) => is_local_name(name),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        None => false,
    }
}

fn is_local_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    match url::Host::parse(name) {
        Ok(url::Host::Domain(name)) => is_local_name(&name),
        Ok(_) => true,
        Err(_) => false,
    }
}

/// RFC 6761 section 6.3.
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
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
    headers: HeaderMap,
    prefix: Option<Path<String>>,
) -> Response {
    source.count();
    let prefix = prefix.map(|Path(prefix)| prefix).unwrap_or_default();
    let mut names = source.announced(peer, is_local_site(&headers), prefix.trim_matches('/'));
    // A line break within a name would list broadcasts that do not exist.
    names.retain(|name| !name.chars().any(char::is_control));
    names.truncate(MAX_LISTED);
    text(StatusCode::OK, names.join("\n"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn is_local(name: header::HeaderName, value: &'static str) -> bool {
        is_local_site(&HeaderMap::from_iter([(
            name,
            HeaderValue::from_static(value),
        )]))
    }

    #[test]
    fn programs_and_pages_of_this_machine_are_local() {
        assert!(is_local_site(&HeaderMap::new()));
        for origin in [
            "http://localhost:8080",
            "https://player.localhost",
            "http://127.0.0.1",
            "http://[::1]:80",
        ] {
            assert!(is_local(header::ORIGIN, origin), "{origin}");
        }
        for host in ["localhost:4443", "127.0.0.1:4443", "[::1]:4443", "[::1]"] {
            assert!(is_local(header::HOST, host), "{host}");
        }
    }

    #[test]
    fn pages_of_web_sites_are_not_local() {
        for origin in [
            "https://example.org",
            "http://192.0.2.1",
            "http://localhost.example.org",
            "null",
            "file://",
            "",
        ] {
            assert!(!is_local(header::ORIGIN, origin), "{origin}");
        }
        for host in ["rebound.example.org:4443", "localhost.example.org", ""] {
            assert!(!is_local(header::HOST, host), "{host}");
        }
    }
}
