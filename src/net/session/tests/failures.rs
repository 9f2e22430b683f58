//! How a connection fails, and what it says.

use super::*;

/// Row 16: trying again would change nothing, so that the first connection fails at once and not after its timeout.
#[tokio::test]
async fn an_unknown_authority_or_a_wrong_pin_is_a_tls_failure_at_once_that_says_what_to_do() {
    let server = Server::start(Refuse::Nobody);
    for (tls, hint) in [
        (Tls::default(), "server-certificate-hashes"),
        (
            Tls {
                pins: vec![[7; 32]],
                ..Tls::default()
            },
            "server-certificate-hashes",
        ),
    ] {
        for scheme in ["https", "moql"] {
            let config = ConnectConfig {
                connect_timeout: Duration::from_secs(3600),
                ..config(&server.url(scheme), tls.clone())
            };
            let error = failed(&open(config, Role::Publisher)).await;
            assert_eq!(error.cause, Cause::Tls, "{error}");
            assert!(error.message.contains(hint), "{error}");
        }
    }
}

/// Row 16: as long as one relay of the list may come, it is waited for.
#[tokio::test]
async fn an_untrusted_relay_in_a_list_ends_nothing_while_another_may_come() {
    let server = Server::start(Refuse::Nobody);
    let absent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("https://{}/", absent.local_addr().unwrap());
    drop(absent);
    let config = ConnectConfig {
        urls: [nowhere, server.url("https")]
            .map(|url| parse_url(&url).unwrap())
            .to_vec(),
        connect_timeout: Duration::from_millis(500),
        ..config(&server.url("https"), Tls::default())
    };
    let start = Instant::now();
    let error = failed(&open(config, Role::Publisher)).await;
    assert_eq!(error.cause, Cause::UdpBlocked, "{error}");
    assert!(
        start.elapsed() >= Duration::from_millis(400),
        "{:?}",
        start.elapsed()
    );
}

/// Row 16: `localhost` is two addresses, and silence on one must not hide what the other said.
#[tokio::test]
async fn silence_on_one_address_does_not_hide_the_failure_of_the_other() {
    for connect_timeout in [Duration::from_millis(700), Duration::from_secs(60)] {
        let server = Server::start(Refuse::Nobody);
        let port = server.address.port();
        let _hole = UdpSocket::bind(("::1", port)).unwrap();
        let config = ConnectConfig {
            connect_timeout,
            ..config(&format!("https://localhost:{port}/"), Tls::default())
        };
        let error = first_failure(&open(config, Role::Publisher)).await;
        assert_eq!(error.cause, Cause::Tls, "{error}");
    }
}

#[tokio::test]
async fn a_private_authority_is_trusted_by_its_file_but_not_for_another_name() {
    let server = Server::start(Refuse::Nobody);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("roots.pem");
    std::fs::write(&path, &server.pem).unwrap();
    let tls = Tls {
        database: Some(path),
        ..Tls::default()
    };
    connected(&open(config(&server.url("moql"), tls), Role::Publisher)).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_says_so() {
    let identity = Identity::named(&["relay.example"]);
    let server = Server::bind("127.0.0.1:0", Refuse::Nobody, &identity);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("roots.pem");
    std::fs::write(&path, &server.pem).unwrap();
    let tls = Tls {
        database: Some(path),
        ..Tls::default()
    };
    let connection = open(config(&server.url("https"), tls), Role::Publisher);
    let error = first_failure(&connection).await;
    assert_eq!(error.cause, Cause::Tls);
    assert!(error.message.contains("another host name"), "{error}");
}

/// A TCP server beside the relay's UDP port that answers one GET after another.
pub(super) fn serve_http(server: &Server, status: &'static str, body: String) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind(server.address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /certificate.sha256 HTTP/1.1"));
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"
            );
        }
    });
}

#[tokio::test]
async fn local_development_pins_the_digest_that_the_relay_serves() {
    let server = Server::start(Refuse::Nobody);
    serve_http(&server, "200 OK", hex::encode(server.digest) + "\n");
    let connection = open(config(&server.url("http"), Tls::default()), Role::Publisher);
    let (info, _) = connected(&connection).await;
    assert_eq!(
        (info.transport, info.url.clone()),
        ("webtransport", server.url("http"))
    );
}

/// `localhost` is `::1` first, where something else takes connections and never answers.
#[tokio::test]
async fn silence_on_one_address_does_not_keep_the_development_digest_of_the_other() {
    let server = Server::start(Refuse::Nobody);
    serve_http(&server, "200 OK", hex::encode(server.digest));
    let port = server.address.port();
    let _silent = std::net::TcpListener::bind(("::1", port)).unwrap();
    let started = Instant::now();
    let url = format!("http://localhost:{port}/");
    connected(&open(config(&url, Tls::default()), Role::Publisher)).await;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_development_digest_that_is_wrong_too_long_or_missing_is_a_tls_failure() {
    for (status, body) in [
        ("200 OK", hex::encode([7; 32])),
        ("200 OK", "f".repeat(100_000)),
        ("200 OK", "not hex".to_owned()),
        ("404 Not Found", String::new()),
    ] {
        let server = Server::start(Refuse::Nobody);
        serve_http(&server, status, body);
        let connection = open(config(&server.url("http"), Tls::default()), Role::Publisher);
        let error = first_failure(&connection).await;
        assert_eq!(error.cause, Cause::Tls, "{error}");
    }
    // Nothing on TCP.
    let server = Server::start(Refuse::Nobody);
    let connection = open(config(&server.url("http"), Tls::default()), Role::Publisher);
    let error = first_failure(&connection).await;
    assert_eq!(error.cause, Cause::TcpRefused, "{error}");
    assert!(error.message.contains("TCP"), "{error}");
}

#[tokio::test]
async fn verification_can_be_switched_off() {
    let server = Server::start(Refuse::Nobody);
    let tls = Tls {
        disable_verify: true,
        ..Tls::default()
    };
    connected(&open(config(&server.url("https"), tls), Role::Publisher)).await;
}

/// Row 16.
#[tokio::test]
async fn a_port_where_nothing_listens_is_reported_at_once_and_given_up_in_time() {
    let port = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let started = Instant::now();
    let config = ConnectConfig {
        connect_timeout: Duration::from_secs(1),
        ..config(&format!("https://127.0.0.1:{port}/"), Tls::default())
    };
    let connection = open(config, Role::Publisher);
    let error = first_failure(&connection).await;
    assert_eq!(error.cause, Cause::UdpBlocked, "{error}");
    assert!(
        started.elapsed() < Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(failed(&connection).await.cause, Cause::UdpBlocked);
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(2),
        "{took:?}"
    );
}

/// Row 22.
#[tokio::test]
async fn dialling_a_black_hole_is_cancelled_at_once_and_fails_as_blocked() {
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", hole.local_addr().unwrap());
    let connection = open(config(&url, Tls::default()), Role::Publisher);
    let mut state = connection.state();
    let started = Instant::now();
    connection.close(LIMIT).await.unwrap();
    assert!(
        started.elapsed() < Duration::from_millis(200),
        "{:?}",
        started.elapsed()
    );
    timeout(LIMIT, async { while state.changed().await.is_ok() {} })
        .await
        .expect("the task ends");

    let config = ConnectConfig {
        connect_timeout: Duration::from_millis(300),
        ..config(&url, Tls::default())
    };
    let error = failed(&open(config, Role::Publisher)).await;
    assert_eq!(error.cause, Cause::UdpBlocked, "{error}");
    assert!(error.message.contains("firewall"), "{error}");
}

/// Row 16.
#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_dns_failure() {
    let config = ConnectConfig {
        connect_timeout: Duration::from_millis(500),
        ..config("https://does-not-exist.invalid/", Tls::default())
    };
    let error = failed(&open(config, Role::Publisher)).await;
    assert_eq!(error.cause, Cause::Dns, "{error}");
}

#[tokio::test]
async fn a_setting_that_cannot_work_fails_at_once() {
    let tls = Tls {
        database: Some("/does/not/exist.pem".into()),
        ..Tls::default()
    };
    let started = Instant::now();
    let error = failed(&open(config("https://127.0.0.1:9/", tls), Role::Publisher)).await;
    assert_eq!(error.cause, Cause::Settings);
    assert!(error.message.contains("/does/not/exist.pem"), "{error}");
    let config = ConnectConfig {
        versions: vec!["moq-lite-99".into()],
        ..config("https://127.0.0.1:9/", Tls::default())
    };
    assert_eq!(
        failed(&open(config, Role::Publisher)).await.cause,
        Cause::Settings
    );
    assert!(started.elapsed() < Duration::from_secs(1));
}

/// Row 16.
#[tokio::test]
async fn a_refused_token_is_an_auth_failure_on_both_transports() {
    for (refuse, scheme) in [
        (Refuse::Http, "https"),
        (Refuse::Moq, "https"),
        (Refuse::Moq, "moqt"),
        (Refuse::Moq, "moql"),
    ] {
        let server = Server::start(refuse);
        let config = ConnectConfig {
            connect_timeout: Duration::from_millis(600),
            auth_token: Some(Secret("secret".into())),
            ..config(&server.url(scheme), pinned(&server))
        };
        let error = failed(&open(config, Role::Publisher)).await;
        assert_eq!(error.cause, Cause::Auth, "{refuse:?} {scheme}: {error}");
        assert!(!error.message.contains("secret"), "{error}");
    }
}

/// Row 16.
#[tokio::test]
async fn a_peer_that_echoes_our_token_does_not_get_it_shown() {
    for scheme in ["https", "moqt", "moql"] {
        let server = Server::start(Refuse::Echo);
        let config = ConnectConfig {
            auth_token: Some(Secret("head.body.sign".into())),
            ..config(&server.url(scheme), pinned(&server))
        };
        let connection = open(config, Role::Publisher);
        let error = first_failure(&connection).await;
        let shown = connection.stats().last_error.unwrap();
        for error in [error, shown] {
            assert!(!error.message.contains("head"), "{scheme}: {error}");
            // Of a raw QUIC session the protocol library keeps the code alone.
            let told = error.message.contains("*** is bad");
            assert!(told || scheme != "https", "{scheme}: {error}");
        }
    }
}

/// Row 16: a relay that asks another service for its verdict refuses long after the session is up.
#[tokio::test]
async fn a_token_that_is_refused_late_fails_the_first_connection_in_time() {
    for scheme in ["https", "moqt", "moql"] {
        let server = Server::start(Refuse::Late(Duration::from_millis(200)));
        let config = ConnectConfig {
            connect_timeout: Duration::from_millis(600),
            ..config(&server.url(scheme), pinned(&server))
        };
        let connection = open(config, Role::Publisher);
        let state = wait(&connection, |s| matches!(s, State::Failed(_))).await;
        let State::Failed(error) = state else {
            panic!("{state:?}")
        };
        assert_eq!(error.cause, Cause::Auth, "{scheme}: {error}");
    }
}

/// Row 17: a new token is used at the next dial.
#[tokio::test]
async fn a_new_token_is_used_while_it_retries() {
    for scheme in ["https", "moqt", "moql"] {
        let server = Server::start(Refuse::Token("jwt=good"));
        let connection = open(
            config(&server.url(scheme), pinned(&server)),
            Role::Publisher,
        );
        assert_eq!(
            first_failure(&connection).await.cause,
            Cause::Auth,
            "{scheme}"
        );
        connection.set_token(Some(Secret("good".into())));
        connected(&connection).await;
    }
}

/// The next request for a token.
async fn requested(requests: &mut watch::Receiver<Option<String>>) -> String {
    let request = timeout(LIMIT, requests.wait_for(Option::is_some)).await;
    request.expect("a request").unwrap().clone().unwrap()
}

/// Row 17.
#[tokio::test]
async fn a_token_is_asked_for_when_the_relay_refuses_the_one_there_is() {
    for scheme in ["https", "moqt", "moql"] {
        let server = Server::start(Refuse::Token("jwt=good"));
        let config = ConnectConfig {
            auth_token: Some(Secret("expired".into())),
            ..config(&format!("{}?jwt=old", server.url(scheme)), pinned(&server))
        };
        let connection = open(config, Role::Publisher);
        let url = requested(&mut connection.token_requests()).await;
        assert_eq!(url, server.url(scheme));
        connection.set_token(Some(Secret("good".into())));
        connected(&connection).await;
    }
}

/// Row 17: the session goes on, and the next dial has the new token.
#[tokio::test]
async fn a_token_is_asked_for_when_it_is_about_to_expire() {
    let server = Server::start(Refuse::Nobody);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let jwt = |begin: u64, end: u64| token::jwt(&format!(r#"{{"iat":{begin},"exp":{end}}}"#));
    let config = ConnectConfig {
        auth_token: Some(jwt(now - 3600, now + 3600)),
        ..config(&server.url("moql"), pinned(&server))
    };
    let connection = open(config, Role::Subscriber);
    connected(&connection).await;
    let mut requests = connection.token_requests();
    assert_eq!(*requests.borrow(), None);
    connection.set_token(Some(jwt(now - 3600, now + 10)));
    assert_eq!(requested(&mut requests).await, server.url("moql"));
    connection.set_token(Some(jwt(now, now + 3600)));
    assert_eq!(*requests.borrow_and_update(), None);
    assert!(matches!(
        *connection.state().borrow(),
        State::Connected { generation: 1, .. }
    ));
}

#[tokio::test]
async fn no_common_version_is_a_version_failure() {
    let server = Server::start(Refuse::Nobody);
    let endpoint = config(&server.url("moqt"), pinned(&server));
    // The in-test relay speaks every version, so ask a relay that speaks none: one with h3 only.
    let only_h3 = only_h3();
    let config = ConnectConfig {
        urls: vec![parse_url(&format!("moqt://{}/", only_h3.local_addr().unwrap())).unwrap()],
        connect_timeout: Duration::from_millis(400),
        tls: Tls {
            disable_verify: true,
            ..Tls::default()
        },
        ..endpoint
    };
    let error = failed(&open(config, Role::Publisher)).await;
    assert_eq!(error.cause, Cause::Version, "{error}");
}

fn only_h3() -> quinn::Endpoint {
    use quinn::crypto::rustls::QuicServerConfig;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut tls =
        rustls::ServerConfig::builder_with_provider(crate::net::transport::tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config =
        quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let _context = runtime::handle().enter();
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(incoming.into_future());
        }
    });
    endpoint
}
