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
        ("Host: localhost", "private\n"),
        (
            "Host: localhost\r\nOrigin: http://localhost:8080",
            "private\n",
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
        ("Host: localhost", "private\n"),
        (
            "Host: localhost\r\nOrigin: https://example.org",
            "private\n",
        ),
        (
            "Host: localhost\r\nOrigin: http://localhost:8080",
            "private\n",
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

#[tokio::test]
async fn without_a_page_the_root_says_what_this_is_and_what_is_live() {
    let (relay, _publisher, _published) = with_a_broadcast(RelayConfig::local()).await;
    let (head, body) = get(&relay, "/").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(
        header(&head, "content-type"),
        Some("text/plain; charset=utf-8")
    );
    for part in [
        "relay-bridge",
        "/certificate.sha256",
        "/announced",
        "  private\n",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    let foreign = "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://example.org\r\n";
    assert!(!ask(&relay, foreign).await.1.contains("private"));
    assert!(
        get(&relay, "/index.html")
            .await
            .0
            .starts_with("HTTP/1.1 404")
    );
}

/// A relay that serves a page, and the folder around the page's.
fn with_a_page() -> (Relay, tempfile::TempDir) {
    let outer = tempfile::tempdir().unwrap();
    let page = outer.path().join("page");
    std::fs::create_dir_all(page.join("assets")).unwrap();
    for (path, content) in [
        ("secret.txt", "secret"),
        ("page/index.html", "<title>player</title>"),
        ("page/assets/app.js", "export {}"),
        ("page/assets/decoder.wasm", "wasm"),
        ("page/announced", "shadowed"),
        ("page/.env", "secret"),
        ("page/assets/.env", "secret"),
    ] {
        std::fs::write(outer.path().join(path), content).unwrap();
    }
    let mut config = RelayConfig::local();
    config.web_root = Some(page);
    (Relay::start(config).unwrap(), outer)
}

#[tokio::test]
async fn a_page_is_served_with_its_types_and_a_policy() {
    let (relay, _outer) = with_a_page();
    for (path, kind, content) in [
        ("/", "text/html", "<title>player</title>"),
        ("/index.html", "text/html", "<title>player</title>"),
        ("/?broadcast=demo", "text/html", "<title>player</title>"),
        ("/assets/app.js", "text/javascript", "export {}"),
        ("/assets/decoder.wasm", "application/wasm", "wasm"),
    ] {
        let (head, body) = get(&relay, path).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        assert_eq!(header(&head, "content-type"), Some(kind), "{path}");
        assert_eq!(body, content);
        assert!(header(&head, "last-modified").is_some(), "{path}: {head}");
        let policy = header(&head, "content-security-policy").unwrap();
        assert!(policy.contains("object-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-embedder-policy", "require-corp"),
        ] {
            assert_eq!(header(&head, name), Some(value), "{path}");
        }
        assert_eq!(header(&head, "x-content-type-options"), Some("nosniff"));
    }
    let (head, body) = ask(&relay, "HEAD / HTTP/1.1\r\nHost: localhost\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && body.is_empty(),
        "{head}"
    );
    assert_eq!(header(&head, "content-length"), Some("21"));

    let (head, _) = get(&relay, "/index.html").await;
    let modified = header(&head, "last-modified").unwrap();
    let again = format!("GET / HTTP/1.1\r\nHost: localhost\r\nIf-Modified-Since: {modified}\r\n");
    assert!(ask(&relay, &again).await.0.starts_with("HTTP/1.1 304"));
}

#[tokio::test]
async fn a_page_neither_hides_the_relays_answers_nor_shows_what_is_beside_it() {
    let (relay, _outer) = with_a_page();
    assert_eq!(get(&relay, "/announced").await.1, "");
    assert_eq!(
        get(&relay, "/certificate.sha256").await.1,
        relay.fingerprint()
    );
    for path in [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "//secret.txt",
        "/..\\secret.txt",
        "/.env",
        "/%2Eenv",
        "/assets/.env",
        "/assets%2F.env",
        "/assets%2f%2Eenv",
        "/assets%2F%2e%2E%2F.env",
        "/assets%5C.env",
        "/%2F.env",
        "/assets",
        "/assets/",
        "/missing.js",
    ] {
        let (head, body) = get(&relay, path).await;
        assert!(!head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        assert!(
            !body.contains("secret\n") && body != "secret",
            "{path}: {body}"
        );
    }
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n";
    assert!(ask(&relay, post).await.0.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn counters_are_for_this_machine() {
    let (relay, _publisher, _published) = with_a_broadcast(RelayConfig::local()).await;
    let (head, body) = get(&relay, "/metrics").await;
    assert!(
        header(&head, "content-type").is_some_and(|kind| kind.contains("version=0.0.4")),
        "{head}"
    );
    for line in ["moq_relay_sessions 1", "moq_relay_broadcasts 1"] {
        assert!(body.lines().any(|found| found == line), "{line} in {body}");
    }
    let foreign = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: https://example.org\r\n";
    assert!(ask(&relay, foreign).await.0.starts_with("HTTP/1.1 403"));
}
