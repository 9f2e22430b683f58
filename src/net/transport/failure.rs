//! Errors of the libraries, turned into causes and sentences that say what to do.
//!
//! Text that came from the peer is shortened and loses our token and whatever looks like a query: see [`said`].

use moq_net::SessionError;
use quinn::ConnectionError;
use web_transport_quinn::{ClientError, ConnectError, http::StatusCode, proto};

use super::address::{Address, redact_text};
use crate::net::{
    config::{Tls, TransportKind},
    error::{Cause, Error},
};

/// QUIC carries TLS alert `n` as error 0x100 + n (RFC 9001 section 4.8).
const ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;
const PEER_TEXT: usize = 200;
/// Why a session over raw QUIC ends (draft-ietf-moq-transport, "Termination") where a WebTransport server answers CONNECT with 404
/// and 400.
const INVALID_PATH: u32 = 0x8;
const MALFORMED_PATH: u32 = 0x9;

/// A failure before the QUIC handshake was complete.
pub fn handshake(err: &ConnectionError, peer: &Address, tls: &Tls) -> Error {
    let at = &peer.display;
    match err {
        // Ours, where the peer has chosen none.
        ConnectionError::TransportError(inner)
            if u64::from(inner.code) == NO_APPLICATION_PROTOCOL =>
        {
            Error::new(Cause::Version, nothing_in_common(peer))
        }
        ConnectionError::TransportError(inner) if ALERTS.contains(&u64::from(inner.code)) => {
            certificate(&inner.reason, peer, tls)
        }
        ConnectionError::ConnectionClosed(close)
            if u64::from(close.error_code) == NO_APPLICATION_PROTOCOL =>
        {
            Error::new(Cause::Version, nothing_in_common(peer))
        }
        ConnectionError::ConnectionClosed(close)
            if ALERTS.contains(&u64::from(close.error_code)) =>
        {
            Error::new(
                Cause::Tls,
                refused_by_peer(u64::from(close.error_code) - 0x100, at),
            )
        }
        ConnectionError::VersionMismatch => Error::new(
            Cause::Version,
            format!("{at} does not speak QUIC version 1"),
        ),
        ConnectionError::TimedOut => no_answer(at, None),
        err => established(err, peer),
    }
}

fn nothing_in_common(peer: &Address) -> String {
    let at = &peer.display;
    match peer.kind {
        TransportKind::Auto => format!(
            "{at} takes neither WebTransport nor one of our protocol versions over raw QUIC; check protocol-versions, and whether a \
             MoQ relay is there"
        ),
        _ => format!(
            "{at} offers none of our protocol versions on this transport; check protocol-versions and the URL scheme"
        ),
    }
}

/// A failure of a connection that was there.
fn established(err: &ConnectionError, peer: &Address) -> Error {
    let at = &peer.display;
    let lost = |what: String| Error::new(Cause::ConnectionLost, what);
    match err {
        ConnectionError::TimedOut => lost(format!("{at} went silent for longer than idle-timeout")),
        ConnectionError::Reset => lost(format!(
            "{at} does not know this connection any more: it was restarted"
        )),
        ConnectionError::ConnectionClosed(close)
            if ALERTS.contains(&u64::from(close.error_code)) =>
        {
            Error::new(
                Cause::Tls,
                refused_by_peer(u64::from(close.error_code) - 0x100, at),
            )
        }
        ConnectionError::ApplicationClosed(close) => {
            let reason = said(&String::from_utf8_lossy(&close.reason), peer);
            let code = close.error_code.into_inner();
            let code = proto::error_from_http3(code).map_or(code, u64::from);
            lost(format!("{at} closed the connection (code {code}{reason})"))
        }
        ConnectionError::ConnectionClosed(close) => {
            let reason = said(&String::from_utf8_lossy(&close.reason), peer);
            lost(format!(
                "{at} aborted the connection ({}{reason})",
                close.error_code
            ))
        }
        err => lost(format!(
            "the connection to {at} broke{}",
            said(&err.to_string(), peer)
        )),
    }
}

/// Nothing came back on UDP.
pub fn no_answer(at: &str, within: Option<std::time::Duration>) -> Error {
    let within = within.map_or(String::new(), |limit| format!(" within {limit:.1?}"));
    Error::new(
        Cause::UdpBlocked,
        format!(
            "no answer on UDP from {at}{within}: a firewall blocks it, or no relay listens there"
        ),
    )
}

/// A failure of the HTTP/3 exchange that opens a WebTransport session; `quic` tells more when the peer hung up.
pub fn webtransport(err: &ClientError, quic: &quinn::Connection, peer: &Address) -> Error {
    let at = &peer.display;
    let status = match err {
        ClientError::HttpError(ConnectError::ErrorStatus(status)) => Some(*status),
        ClientError::HttpError(ConnectError::ProtoError(
            proto::ConnectError::WrongStatus(Some(status))
            | proto::ConnectError::ErrorStatus(status),
        )) => Some(*status),
        _ => None,
    };
    if let Some(status) = status {
        return http_status(status, at);
    }
    match err {
        ClientError::Connection(err)
        | ClientError::HttpError(ConnectError::ConnectionError(err))
        | ClientError::WriteError(quinn::WriteError::ConnectionLost(err))
        | ClientError::ReadError(quinn::ReadError::ConnectionLost(err)) => established(err, peer),
        ClientError::HttpError(ConnectError::ProtocolMismatch(_)) => Error::new(
            Cause::Version,
            format!("{at} chose a protocol version that we did not offer"),
        ),
        ClientError::SettingsError(_) => Error::new(
            Cause::Version,
            format!(
                "{at} speaks HTTP/3 but not WebTransport, and did not choose raw QUIC; is it a MoQ relay?"
            ),
        ),
        err => match quic.close_reason() {
            Some(reason) => established(&reason, peer),
            None => Error::new(
                Cause::ConnectionLost,
                format!(
                    "{at} did not open a WebTransport session{}",
                    said(&err.to_string(), peer)
                ),
            ),
        },
    }
}

fn http_status(status: StatusCode, at: &str) -> Error {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::new(
            Cause::Auth,
            format!(
                "{at} refused the token (HTTP {}); set a valid auth-token for this path",
                status.as_u16()
            ),
        ),
        StatusCode::NOT_FOUND => no_such_path(at, "HTTP 404"),
        StatusCode::BAD_REQUEST => malformed_path(at, "HTTP 400"),
        StatusCode::NOT_ACCEPTABLE => no_common_version(at),
        _ => Error::new(
            Cause::ConnectionLost,
            format!("{at} answered HTTP {}", status.as_u16()),
        ),
    }
}

fn no_such_path(at: &str, said: &str) -> Error {
    Error::new(
        Cause::Auth,
        format!("{at} knows no such path ({said}); check the path of the URL"),
    )
}

fn malformed_path(at: &str, said: &str) -> Error {
    Error::new(
        Cause::Auth,
        format!("{at} cannot read the path ({said}); check the path of the URL"),
    )
}

fn no_common_version(at: &str) -> Error {
    Error::new(
        Cause::Version,
        format!("{at} and we have no protocol version in common; check protocol-versions"),
    )
}

/// A failure of the MoQ session; `quic` tells more when the transport underneath broke.
pub fn session(err: &moq_net::Error, quic: &quinn::Connection, peer: &Address) -> Error {
    let at = &peer.display;
    use moq_net::Error as Moq;
    match err {
        Moq::Unauthorized | Moq::Session(SessionError::Unauthorized) => Error::new(
            Cause::Auth,
            format!("{at} refused the token or the path; set a valid auth-token for this path"),
        ),
        Moq::Version | Moq::UnknownAlpn(_) | Moq::Session(SessionError::Version) => {
            no_common_version(at)
        }
        Moq::Session(SessionError::Unknown(INVALID_PATH)) => no_such_path(at, "INVALID_PATH"),
        Moq::Session(SessionError::Unknown(MALFORMED_PATH)) => malformed_path(at, "MALFORMED_PATH"),
        Moq::GoingAway | Moq::GoawayTimeout | Moq::Session(SessionError::GoawayTimeout) => {
            Error::new(Cause::GoAway, format!("{at} went away"))
        }
        Moq::Timeout => Error::new(Cause::Timeout, format!("{at} did not answer in time")),
        Moq::Transport(_) => match quic.close_reason() {
            Some(ConnectionError::LocallyClosed) | None => Error::new(
                Cause::ConnectionLost,
                format!(
                    "the session with {at} ended{}",
                    said(&err.to_string(), peer)
                ),
            ),
            Some(reason) => established(&reason, peer),
        },
        Moq::Session(SessionError::Cancel) | Moq::Cancel | Moq::Closed => {
            Error::new(Cause::ConnectionLost, format!("{at} ended the session"))
        }
        err => Error::new(
            Cause::ConnectionLost,
            format!(
                "the session with {at} ended{}",
                said(&err.to_string(), peer)
            ),
        ),
    }
}

/// Lasting where the relay's certificate and our settings do not fit. A certificate that was fetched may be the next relay's, and
/// clocks are set right.
fn certificate(reason: &str, peer: &Address, tls: &Tls) -> Error {
    let at = &peer.display;
    let has = |what: &str| reason.contains(what);
    let error = |text: String| Error::new(Cause::Tls, text);
    if has("ApplicationVerificationFailure") {
        return match tls.pins.is_empty() {
            true => error(format!(
                "the certificate of {at} is not the one its /certificate.sha256 told: another server answers there"
            )),
            false => error(format!(
                "the certificate of {at} is none of those in server-certificate-hashes; the relay may have renewed it"
            ))
            .lasting(),
        };
    }
    if has("UnknownIssuer") || has("CaUsedAsEndEntity") {
        return error(format!(
            "the certificate of {at} is not signed by a known authority; for a development relay pin it with \
             server-certificate-hashes or use http://, for a private authority set certificate-database-file"
        ))
        .lasting();
    }
    if has("NotValidForName") || has("not valid for name") {
        return error(format!(
            "the certificate of {at} is for another host name; use the name it was issued for, or pin it"
        ))
        .lasting();
    }
    if has("Expired") || has("expired") || has("NotValidYet") || has("not valid yet") {
        return error(format!(
            "the certificate of {at} is not valid now; check its dates and this machine's clock"
        ));
    }
    error(format!("TLS with {at} failed{}", said(reason, peer)))
}

fn refused_by_peer(alert: u64, at: &str) -> String {
    match alert {
        116 => {
            format!("{at} wants a client certificate; set certificate-file and private-key-file")
        }
        42..=46 | 48 => format!("{at} refused our client certificate (TLS alert {alert})"),
        _ => format!("{at} refused TLS (alert {alert})"),
    }
}

/// What the peer said as `": text"`, bounded and without what may be a secret; empty for empty text.
fn said(text: &str, peer: &Address) -> String {
    let clean: String = redact_text(&peer.secrets().scrub(text))
        .chars()
        .filter(|c| !c.is_control())
        .take(PEER_TEXT)
        .collect();
    match clean.trim() {
        "" => String::new(),
        clean => format!(": {clean}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::config::Secret;

    fn peer() -> Address {
        let url = "https://r/live".parse().unwrap();
        let token = Secret("head.body.sign".into());
        Address::new(&url, TransportKind::Auto, Some(&token)).unwrap()
    }

    #[test]
    fn what_a_peer_says_is_bounded_and_loses_queries_and_our_token() {
        let said = |text: &str| said(text, &peer());
        assert_eq!(said(" \n"), "");
        assert_eq!(said("no such path /a?jwt=secret"), ": no such path /a");
        assert_eq!(said("head.body.sign expired"), ": *** expired");
        assert_eq!(said("jwt=secret expired"), ": jwt=*** expired");
        assert!(said(&"x".repeat(10_000)).len() < 300);
    }

    /// quinn hands on the text only; these are the words of rustls.
    #[test]
    fn the_words_of_rustls_are_understood() {
        use rustls::{CertificateError, pki_types::UnixTime};
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(5));
        let say = |err: CertificateError| {
            certificate(
                &rustls::Error::from(err).to_string(),
                &peer(),
                &Tls::default(),
            )
        };
        for (error, hint, lasting) in [
            (CertificateError::Expired, "not valid now", false),
            (
                CertificateError::ExpiredContext {
                    time,
                    not_after: time,
                },
                "not valid now",
                false,
            ),
            (
                CertificateError::NotValidYetContext {
                    time,
                    not_before: time,
                },
                "not valid now",
                false,
            ),
            (CertificateError::NotValidForName, "another host name", true),
            (
                CertificateError::UnknownIssuer,
                "server-certificate-hashes",
                true,
            ),
            (
                CertificateError::ApplicationVerificationFailure,
                "/certificate.sha256",
                false,
            ),
        ] {
            let said = say(error.clone());
            assert!(said.message.contains(hint), "{error:?}: {said}");
            assert_eq!(said.lasting, lasting, "{error:?}");
        }
    }

    #[test]
    fn http_refusals_are_about_the_token() {
        let cause = |code: u16| http_status(StatusCode::from_u16(code).unwrap(), "r").cause;
        assert_eq!(cause(401), Cause::Auth);
        assert_eq!(cause(403), Cause::Auth);
        assert_eq!(cause(404), Cause::Auth);
        assert_eq!(cause(400), Cause::Auth);
        assert_eq!(cause(406), Cause::Version);
        assert_eq!(cause(503), Cause::ConnectionLost);
    }
}
