//! Which transport a session gets whose URL is for both.

use super::{
    server::Speaks::{self, Dns, RawQuicFirst, WebTransport, WebTransportFirst},
    *,
};
use crate::net::config::TransportKind;

/// A session with the token `good`, which the server wants to see.
async fn session(
    speaks: Speaks,
    transport: TransportKind,
    versions: &[&str],
) -> (&'static str, String) {
    let server = Server::speaking(speaks, Refuse::Token("?x=1&jwt=good"));
    let config = ConnectConfig {
        transport,
        versions: versions.iter().map(|name| (*name).to_owned()).collect(),
        auth_token: Some(Secret("good".into())),
        ..config(&format!("{}?x=1", server.url("https")), pinned(&server))
    };
    let connection = open(config, Role::Publisher);
    let (info, _) = connected(&connection).await;
    assert_eq!(info.url, server.url("https"));
    assert_eq!(server.targets(), ["/live?x=1&jwt=good"], "{speaks:?}");
    (info.transport, info.version.clone())
}

#[tokio::test]
async fn an_https_url_goes_over_what_the_server_prefers_with_path_and_token() {
    for (speaks, transport) in [
        (RawQuicFirst, "quic"),
        (WebTransportFirst, "webtransport"),
        (WebTransport, "webtransport"),
    ] {
        let got = session(speaks, TransportKind::Auto, &[]).await;
        assert_eq!(got, (transport, "moq-lite-06".to_owned()), "{speaks:?}");
    }
}

#[tokio::test]
async fn a_transport_that_is_asked_for_is_not_left_to_the_server() {
    for (speaks, kind, transport) in [
        (RawQuicFirst, TransportKind::WebTransport, "webtransport"),
        (WebTransportFirst, TransportKind::Quic, "quic"),
    ] {
        let (got, _) = session(speaks, kind, &[]).await;
        assert_eq!(got, transport, "{speaks:?}");
    }
}

/// moq-lite 04 has nowhere to put a path and a token but into a CONNECT.
#[tokio::test]
async fn the_order_of_versions_is_kept_on_both_transports() {
    for (speaks, versions, transport) in [
        (RawQuicFirst, ["moq-transport-16", "moq-lite-06"], "quic"),
        (
            WebTransportFirst,
            ["moq-transport-16", "moq-lite-06"],
            "webtransport",
        ),
        (RawQuicFirst, ["moq-lite-04", "moq-lite-06"], "webtransport"),
    ] {
        let got = session(speaks, TransportKind::Auto, &versions).await;
        assert_eq!(got, (transport, versions[0].to_owned()), "{speaks:?}");
    }
}

/// Row 16.
#[tokio::test]
async fn a_refused_token_and_an_unknown_path_are_the_same_failure_on_both_transports() {
    for refuse in [Refuse::Moq, Refuse::Token("jwt=other"), Refuse::Path] {
        for speaks in [RawQuicFirst, WebTransportFirst] {
            let server = Server::speaking(speaks, refuse);
            let config = ConnectConfig {
                connect_timeout: Duration::from_millis(600),
                auth_token: Some(Secret("secret".into())),
                ..config(&server.url("https"), pinned(&server))
            };
            let error = failed(&open(config, Role::Publisher)).await;
            assert_eq!(error.cause, Cause::Auth, "{refuse:?} {speaks:?}: {error}");
            let about_path = error.message.contains("knows no such path");
            assert_eq!(about_path, refuse == Refuse::Path, "{speaks:?}: {error}");
            assert!(!error.message.contains("secret"), "{error}");
        }
    }
}

/// Row 16.
#[tokio::test]
async fn a_server_that_takes_neither_transport_is_a_version_failure_that_names_both() {
    let server = Server::speaking(Dns, Refuse::Nobody);
    let config = ConnectConfig {
        connect_timeout: Duration::from_millis(400),
        ..config(&server.url("https"), pinned(&server))
    };
    let error = failed(&open(config, Role::Publisher)).await;
    assert_eq!(error.cause, Cause::Version, "{error}");
    for word in ["WebTransport", "raw QUIC", "protocol-versions"] {
        assert!(error.message.contains(word), "{error}");
    }
}

#[tokio::test]
async fn the_development_certificate_is_pinned_whatever_the_server_prefers() {
    for (body, cause) in [(None, None), (Some([7; 32]), Some(Cause::Tls))] {
        let server = Server::speaking(RawQuicFirst, Refuse::Nobody);
        let digest = body.unwrap_or(server.digest);
        failures::serve_http(&server, "200 OK", hex::encode(digest));
        let connection = open(config(&server.url("http"), Tls::default()), Role::Publisher);
        match cause {
            None => assert_eq!(connected(&connection).await.0.transport, "quic"),
            Some(cause) => assert_eq!(first_failure(&connection).await.cause, cause),
        }
    }
}

/// Another relay may stand there, or another version of it.
#[tokio::test]
async fn each_dial_asks_the_server_anew() {
    let identity = server::Identity::new();
    let bind =
        |address: &str, speaks| Server::bind_speaking(address, speaks, Refuse::Nobody, &identity);
    let first = bind("127.0.0.1:0", RawQuicFirst);
    let address = first.address.to_string();
    let connection = open(config(&first.url("https"), pinned(&first)), Role::Publisher);
    assert_eq!(connected(&connection).await.0.transport, "quic");
    first.kill().await;
    let _second = bind(&address, WebTransport);
    let state = wait(&connection, |state| {
        matches!(state, State::Connected { generation: 2, .. })
    });
    let State::Connected { info, .. } = state.await else {
        unreachable!("it was waited for")
    };
    assert_eq!(info.transport, "webtransport");
}
