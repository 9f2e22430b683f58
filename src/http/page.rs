//! What a browser gets at `/`: the files of a player page, or a few words.

use std::path::PathBuf;

use axum::{
    Router,
    extract::Request,
    handler::HandlerWithoutStateExt,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::Response,
};
use tower_http::services::ServeDir;

/// What files of the page may load and do (Content Security Policy level 3). Scripts, styles and media come from the relay
/// alone, and nothing in the page's text runs; `blob:` is for the worklets and workers of a player. It may connect anywhere, to
/// play from other relays.
const POLICY: &str = "default-src 'self'; \
    script-src 'self' blob:; \
    worker-src 'self' blob:; \
    style-src 'self'; \
    img-src 'self' data: blob:; \
    media-src 'self' blob:; \
    connect-src 'self' http: https: ws: wss:; \
    object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");
const CROSS_ORIGIN_EMBEDDER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-embedder-policy");

/// The files of a directory, with `index.html` for folders, types by their names, `Last-Modified` and ranges.
pub(super) fn files(root: PathBuf) -> Router {
    let files = ServeDir::new(root).not_found_service(super::not_found.into_service());
    Router::new()
        .fallback_service(files)
        .layer(middleware::from_fn(visible))
}

/// Leaves out what begins with a dot, such as `.git` and `.env`, and adds what browsers should know of all files.
async fn visible(request: Request, next: Next) -> Response {
    let hidden = is_hidden(request.uri().path());
    let mut response = if hidden {
        super::not_found().await
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // Together they isolate the page from others, which gives it SharedArrayBuffer (HTML section 7.1): sound goes to its
        // worklet by memory and not by messages.
        (CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
        (CROSS_ORIGIN_EMBEDDER_POLICY, "require-corp"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Asked for again each time, and answered with 304 where it did not change.
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a part of a path begins with a dot, or cannot be read. `ServeDir` divides the path after it has decoded it.
fn is_hidden(path: &str) -> bool {
    super::unescape(path)
        .is_none_or(|path| path.split(['/', '\\']).any(|part| part.starts_with('.')))
}

/// What stands at `/` where there is no page.
pub(super) fn words(broadcasts: &[String]) -> Response {
    let list = if broadcasts.is_empty() {
        "No broadcast is live that you may see.".to_owned()
    } else {
        format!("Live broadcasts:\n  {}", broadcasts.join("\n  "))
    };
    super::text(
        StatusCode::OK,
        format!(
            "This is a Media over QUIC relay, relay-bridge {} of gst-plugin-moq.\n\
             It serves WebTransport and QUIC on UDP of the same port. No player page is installed.\n\n\
             Over HTTP there is:\n\
             \x20 /certificate.sha256   SHA-256 of the certificate\n\
             \x20 /announced            the live broadcasts, one on a line\n\
             \x20 /announced/PREFIX     those below a prefix\n\
             \x20 /metrics              counters, for peers on this machine\n\n\
             {list}\n",
            env!("CARGO_PKG_VERSION"),
        ),
    )
}
