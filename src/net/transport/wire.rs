//! WebTransport or raw QUIC: what is offered by ALPN (RFC 7301), and what came of it.

use std::any::Any;

use moq_net::{Version, Versions};
use quinn::crypto::rustls::HandshakeData;

use super::address::Address;
use crate::net::config::TransportKind;

/// HTTP/3, which carries WebTransport.
pub const ALPN_WEBTRANSPORT: &str = web_transport_quinn::ALPN;

/// Versions whose sessions begin without SETUP. In all others it carries the request's path and query where there is no CONNECT
/// (moq-lite draft, "SETUP"; draft-ietf-moq-transport, "PATH").
const WITHOUT_PATH: [&str; 2] = ["moq-lite-03", "moq-lite-04"];

/// What carries a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    WebTransport,
    /// Raw QUIC.
    Quic,
}

impl Wire {
    /// As statistics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebTransport => "webtransport",
            Self::Quic => "quic",
        }
    }

    /// What a handshake agreed on. QUIC does not come up without any (RFC 9001 section 8.1).
    pub fn of(handshake_data: Option<Box<dyn Any>>) -> Self {
        let data = handshake_data.and_then(|data| data.downcast::<HandshakeData>().ok());
        match data.and_then(|data| data.protocol) {
            Some(protocol) if protocol == ALPN_WEBTRANSPORT.as_bytes() => Self::WebTransport,
            _ => Self::Quic,
        }
    }
}

/// What a client offers by ALPN, the preferred first. `in_order` says that the versions are in an order that the user gave.
///
/// Where both transports will do, raw QUIC stands before WebTransport, which needs a round trip more. TLS servers mostly choose by an
/// order of their own, and among the protocols of a CONNECT by the client's: an order that was asked for is kept by offering no
/// more than its first version beside WebTransport, which offers them all.
pub fn offered(address: &Address, versions: &Versions, in_order: bool) -> Vec<&'static str> {
    let raw = match address.kind {
        TransportKind::WebTransport => return vec![ALPN_WEBTRANSPORT],
        TransportKind::Quic => return versions.alpns(),
        TransportKind::Auto => versions.iter(),
    };
    let first = if in_order { 1 } else { usize::MAX };
    let raw = raw
        .take(first)
        .filter(|version| address.is_root() || carries_path(version));
    let raw: Vec<Version> = raw.copied().collect();
    let mut offered = Versions::from(raw).alpns();
    offered.push(ALPN_WEBTRANSPORT);
    offered
}

fn carries_path(version: &Version) -> bool {
    !WITHOUT_PATH.contains(&version.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{
        config::Secret,
        transport::{parse_url, versions},
    };

    const ALL_RAW: [&str; 13] = [
        "moq-lite-06",
        "moq-lite-05",
        "moq-lite-04",
        "moq-lite-03",
        "moqt-22",
        "moqt-21",
        "moqt-20",
        "moqt-19",
        "moqt-18",
        "moqt-17",
        "moqt-16",
        "moqt-15",
        "moq-00",
    ];

    fn offer(url: &str, kind: TransportKind, names: &[&str], token: Option<&str>) -> Vec<String> {
        let token = token.map(|token| Secret(token.to_owned()));
        let address = Address::new(&parse_url(url).unwrap(), kind, token.as_ref()).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let versions = versions::select(&names, address.family).unwrap();
        let offered = offered(&address, &versions, !names.is_empty());
        offered.into_iter().map(str::to_owned).collect()
    }

    fn automatic(url: &str, names: &[&str]) -> Vec<String> {
        offer(url, TransportKind::Auto, names, None)
    }

    #[test]
    fn every_version_is_offered_on_raw_quic_and_then_webtransport() {
        for url in ["https://h", "https://h/", "http://h", "moq+https://h/"] {
            let mut offered = automatic(url, &[]);
            assert_eq!(offered.pop().as_deref(), Some("h3"), "{url}");
            assert_eq!(offered, ALL_RAW, "{url}");
        }
    }

    #[test]
    fn a_path_or_a_token_is_not_entrusted_to_versions_that_cannot_carry_it() {
        let with_token = offer("https://h/", TransportKind::Auto, &[], Some("token"));
        for offered in [
            automatic("https://h/live", &[]),
            automatic("https://h/?jwt=token", &[]),
            with_token,
        ] {
            let mut want = ALL_RAW.map(str::to_owned).to_vec();
            want.retain(|name| !["moq-lite-03", "moq-lite-04"].contains(&name.as_str()));
            want.push("h3".to_owned());
            assert_eq!(offered, want);
        }
        assert_eq!(automatic("https://h/live", &["moq-lite-04"]), ["h3"]);
        assert_eq!(
            automatic("https://h/", &["moq-lite-04"]),
            ["moq-lite-04", "h3"]
        );
    }

    #[test]
    fn an_order_of_versions_is_not_left_to_a_server_that_has_its_own() {
        let names = ["moq-transport-16", "moq-lite-05"];
        assert_eq!(automatic("https://h/live", &names), ["moqt-16", "h3"]);
        let names = ["moq-lite-03", "moq-lite-06"];
        assert_eq!(automatic("https://h/live", &names), ["h3"]);
        assert_eq!(
            automatic("https://h/live", &["moq-transport-14"]),
            ["moq-00", "h3"]
        );
    }

    #[test]
    fn one_transport_is_offered_where_one_is_wanted() {
        let offer = |url, kind| offer(url, kind, &["moq-lite-05", "moq-transport-16"], None);
        let both = ["moq-lite-05", "moqt-16"];
        for (url, kind, want) in [
            ("https://h/a", TransportKind::WebTransport, &["h3"][..]),
            ("moqt://h/a", TransportKind::WebTransport, &["h3"]),
            ("https://h/a", TransportKind::Quic, &both),
            ("moqt://h/a", TransportKind::Auto, &both[1..]),
            ("moql://h/a", TransportKind::Auto, &both[..1]),
            ("moql://h/a", TransportKind::Quic, &both[..1]),
        ] {
            assert_eq!(offer(url, kind), want, "{url} {kind:?}");
        }
    }
}
