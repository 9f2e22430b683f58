//! The digest of a development certificate, served by the relay over plain HTTP.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{address::Address, tls};
use crate::net::error::{Cause, Error, Result};

/// 64 hex digits and a newline; room for whoever writes colons.
const MAX_BODY: usize = 256;

/// GET `/certificate.sha256` at one of the addresses of the relay, on the TCP port of the same number.
pub async fn fetch_digest(remote: SocketAddr, address: Address) -> Result<[u8; 32]> {
    let at = &address.display;
    let stream = TcpStream::connect(remote).await.map_err(|err| {
        Error::new(
            Cause::TcpRefused,
            format!(
                "cannot fetch /certificate.sha256 of {at} on TCP port {}: {err}; is the relay running, and is http:// meant?",
                address.port
            ),
        )
    })?;
    let failed = |what: String| {
        Error::new(
            Cause::Tls,
            format!(
                "{at} did not serve its certificate digest at /certificate.sha256: {what}; use https:// for a relay with a real certificate"
            ),
        )
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|err| failed(err.to_string()))?;
    let exchange = async {
        let request = Request::get("/certificate.sha256")
            .header(header::HOST, address.authority())
            .body(Empty::<bytes::Bytes>::new())
            .map_err(|err| failed(err.to_string()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|err| failed(err.to_string()))?;
        if response.status() != StatusCode::OK {
            return Err(failed(format!("HTTP {}", response.status().as_u16())));
        }
        let body = Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|_| failed("the answer is too long or was cut".into()))?
            .to_bytes();
        let text =
            std::str::from_utf8(&body).map_err(|_| failed("the answer is not text".into()))?;
        tls::parse_pin(text).map_err(|_| failed("the answer is not a SHA-256 in hex".into()))
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        digest = &mut exchange => digest,
        // The connection may end first, right after the whole answer came.
        _ = &mut connection => exchange.await,
    }
}
