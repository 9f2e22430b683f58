//! What the embedded relay tells over HTTP, and to which pages.

mod relay_support;

use gstmoq::net::relay::{Relay, RelayConfig};
use relay_support::*;

/// What `/announced` answers to a request with these headers, or its status line.
async fn announced(relay: &Relay, headers: &str) -> String {
    let lines = format!("GET /announced HTTP/1.1\r\n{headers}\r\n");
    let (head, body) = ask(relay, &lines).await;
    match head.strip_prefix("HTTP/1.1 200") {
        Some(_) => body,
        None => head.lines().next().unwrap_or_default().to_owned(),
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

async fn with_a_broadcast(config: RelayConfig) -> (Relay, Peer, Published) {
    let relay = Relay::start(config).unwrap();
    let publisher = connect(&relay, Wire::Quic).await;
    let published = publisher.publish("private");
    wait_for("the announcement", || relay.announced() == ["private"]).await;
    (relay, publisher, published)
}

#[tokio::test]
async fn a_page_of_a_web_site_is_no_local_peer() {
    let (relay, _publisher, _published) = with_a_broadcast(RelayConfig::local()).await;
    for (headers, expected) in [
        ("Host: localhost", "private"),
        (
            "Host: localhost\r\nOrigin: http://localhost:8080",
            "private",
        ),
        ("Host: localhost\r\nOrigin: https://example.org", ""),
        ("Host: rebound.example.org", ""),
    ] {
        assert_eq!(announced(&relay, headers).await, expected, "{headers}");
    }
    assert!(admits_page(&relay, "http://localhost:8080").await);
    assert!(!admits_page(&relay, "https://example.org").await);
}

#[tokio::test]
async fn pages_of_allowed_origins_are_local_peers_and_others_are_refused() {
    let mut config = RelayConfig::local();
    config.allowed_origins = vec!["https://example.org".to_owned()];
    let (relay, _publisher, _published) = with_a_broadcast(config).await;
    for (headers, expected) in [
        ("Host: localhost", "private"),
        ("Host: localhost\r\nOrigin: https://example.org", "private"),
        (
            "Host: localhost\r\nOrigin: http://localhost:8080",
            "private",
        ),
        (
            "Host: localhost\r\nOrigin: https://evil.test",
            "HTTP/1.1 403 Forbidden",
        ),
        ("Host: rebound.example.org", ""),
    ] {
        assert_eq!(announced(&relay, headers).await, expected, "{headers}");
    }
    assert!(admits_page(&relay, "https://example.org").await);
    assert!(!admits_page(&relay, "https://evil.test").await);
    wait_for("the counter", || relay.stats().refused_access == 1).await;
}

#[tokio::test]
async fn browsers_are_told_which_page_may_read_an_answer() {
    let mut config = RelayConfig::local();
    let fetch = |origin: &str| {
        format!("GET /certificate.sha256 HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n")
    };
    let allow = "access-control-allow-origin";

    let relay = Relay::start(config.clone()).unwrap();
    let (head, _) = ask(&relay, &fetch("https://example.org")).await;
    assert_eq!(header(&head, allow), Some("*"));

    config.allowed_origins = vec!["https://example.org".to_owned()];
    let relay = Relay::start(config.clone()).unwrap();
    let (head, body) = ask(&relay, &fetch("https://example.org")).await;
    assert_eq!(header(&head, allow), Some("https://example.org"));
    assert_eq!(header(&head, "vary"), Some("Origin"));
    assert_eq!(body, relay.fingerprint());
    let (head, body) = ask(&relay, &fetch("https://evil.test")).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    assert_eq!(header(&head, allow), None);
    assert!(!body.contains(&relay.fingerprint()));
    let preflight = "OPTIONS /announced HTTP/1.1\r\nHost: localhost\r\nOrigin: https://example.org\r\nAccess-Control-Request-Method: GET\r\n";
    let (head, _) = ask(&relay, preflight).await;
    assert!(head.starts_with("HTTP/1.1 204"), "{head}");
    assert_eq!(
        header(&head, "access-control-allow-methods"),
        Some("GET, HEAD")
    );

    config.allowed_origins = vec!["*".to_owned()];
    let relay = Relay::start(config).unwrap();
    let (head, _) = ask(&relay, &fetch("https://evil.test")).await;
    assert_eq!(header(&head, allow), Some("*"));
    assert!(admits_page(&relay, "https://evil.test").await);
}
