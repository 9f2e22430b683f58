//! What peers of the embedded relay may use and do, and what happens beyond it.

mod relay_support;

use gstmoq::net::relay::{Relay, RelayConfig};
use moq_net::Versions;
use relay_support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn sessions_over_the_limit_are_refused_and_the_others_go_on() {
    let mut config = RelayConfig::local();
    config.limits.sessions_per_address = 3;
    let relay = Relay::start(config).unwrap();
    let publisher = connect(&relay, Wire::Quic).await;
    let published = publisher.publish("demo");
    let subscriber = connect(&relay, Wire::WebTransport).await;
    let mut track = subscriber.subscribe("demo").await;
    let third = connect(&relay, Wire::Quic).await;

    let refused = dial(&relay, Wire::Quic, "/", Versions::all())
        .await
        .err()
        .expect("one too many");
    assert!(refused.0.contains("refused"), "{refused:?}");
    assert_eq!(relay.stats().refused_limit, 1);

    let mut group = published.track.append_group().unwrap();
    group.write_frame(timestamp(0, 0), payload(0, 0)).unwrap();
    group.finish().unwrap();
    assert_eq!(next_group(&mut track).await.1, [payload(0, 0)]);

    // A place that is given back is given away again.
    drop(third);
    wait_for("the place", || relay.stats().sessions == 2).await;
    soon("a session", async {
        while dial(&relay, Wire::Quic, "/", Versions::all())
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn of_many_that_come_at_once_no_more_than_the_limit_get_in() {
    const LIMIT: usize = 4;
    let mut config = RelayConfig::local();
    config.limits.sessions_per_address = LIMIT;
    let relay = std::sync::Arc::new(Relay::start(config).unwrap());
    let mut dials = tokio::task::JoinSet::new();
    for index in 0..24 {
        let relay = relay.clone();
        dials.spawn(async move {
            dial(&relay, WIRES[index % 2], "/", Versions::all())
                .await
                .ok()
        });
    }
    let inside: Vec<_> = dials.join_all().await.into_iter().flatten().collect();
    assert_eq!(inside.len(), LIMIT);
    // A client is through with its part before the relay counts the session.
    wait_for("all to be counted", || {
        let stats = relay.stats();
        (stats.sessions_total, stats.refused_limit) == (4, 20)
    })
    .await;
}

#[tokio::test]
async fn a_session_with_too_many_broadcasts_is_closed_and_the_others_go_on() {
    let mut config = RelayConfig::local();
    config.limits.broadcasts_per_session = 3;
    let relay = Relay::start(config).unwrap();
    let modest = connect(&relay, Wire::Quic).await;
    let _kept: Vec<_> = (0..3)
        .map(|index| modest.publish(&format!("modest/{index}")))
        .collect();
    let greedy = connect(&relay, Wire::WebTransport).await;
    let _lost: Vec<_> = (0..4)
        .map(|index| greedy.publish(&format!("greedy/{index}")))
        .collect();

    let err = soon("the close", greedy.moq.closed()).await;
    assert!(
        matches!(
            err,
            moq_net::Error::Session(moq_net::SessionError::Unknown(0x7))
        ),
        "{err:?}"
    );
    wait_for("the modest ones", || {
        relay.announced() == ["modest/0", "modest/1", "modest/2"]
    })
    .await;
    assert_eq!(relay.stats().closed_limit, 1);
    assert_eq!(relay.stats().sessions, 1);
}

#[tokio::test]
async fn a_session_with_too_many_tracks_is_closed() {
    let mut config = RelayConfig::local();
    config.limits.tracks_per_session = 1;
    let relay = Relay::start(config).unwrap();
    let publisher = connect(&relay, Wire::Quic).await;
    let published = [publisher.publish("a"), publisher.publish("b")];
    let subscriber = connect(&relay, Wire::Quic).await;
    let mut tracks = [
        subscriber.subscribe("a").await,
        subscriber.subscribe("b").await,
    ];
    for (track, published) in tracks.iter_mut().zip(&published) {
        let mut group = published.track.append_group().unwrap();
        group.write_frame(timestamp(0, 0), payload(0, 0)).unwrap();
        // A subscription is open once its track is read; the close may come first.
        let _ = soon("a group or the close", track.recv_group()).await;
    }
    let err = soon("the close", subscriber.moq.closed()).await;
    assert!(
        matches!(
            err,
            moq_net::Error::Session(moq_net::SessionError::Unknown(0x7))
        ),
        "{err:?}"
    );
    assert_eq!(relay.stats().sessions, 1, "the publisher stays");
}

#[tokio::test]
async fn without_a_grant_nobody_comes_in() {
    let mut config = RelayConfig::local();
    config.trust_loopback = false;
    let relay = Relay::start(config).unwrap();
    let refused = dial(&relay, Wire::WebTransport, "/", Versions::all())
        .await
        .err()
        .expect("no grant");
    assert!(refused.0.contains("403"), "{refused:?}");
    if let Ok(peer) = dial(&relay, Wire::Quic, "/", Versions::all()).await {
        let err = soon("the close", peer.moq.closed()).await;
        assert!(
            matches!(
                err,
                moq_net::Error::Session(moq_net::SessionError::Unauthorized)
            ),
            "{err:?}"
        );
    }
    wait_for("the counter", || relay.stats().refused_access == 2).await;
}

#[tokio::test]
async fn rules_say_what_may_be_published_and_seen() {
    let mut config = RelayConfig::local();
    config.trust_loopback = false;
    config.public_publish = vec!["in/**".to_owned()];
    config.public_subscribe = vec!["in/open/**".to_owned()];
    let relay = Relay::start(config).unwrap();
    let publisher = connect(&relay, Wire::Quic).await;
    let _published = [
        publisher.publish("out/camera"),
        publisher.publish("in/closed/camera"),
        publisher.publish("in/open/camera"),
    ];
    wait_for("what is allowed", || {
        relay.announced() == ["in/closed/camera", "in/open/camera"]
    })
    .await;

    let subscriber = connect(&relay, Wire::WebTransport).await;
    let mut announced = subscriber.origin.consume().announced();
    let first = soon("an announcement", announced.next()).await.unwrap();
    assert_eq!(first.prefix.as_str(), "in/open/camera");
    assert!(announced.try_next().is_none());
}

#[tokio::test]
async fn garbage_harms_nobody() {
    let mut config = RelayConfig::local();
    config.limits.setup_timeout = std::time::Duration::from_millis(500);
    let relay = Relay::start(config).unwrap();
    let address = relay.bound()[0];
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for length in [0, 1, 20, 200, 1200, 1472] {
        for first in [0x00, 0x40, 0xc0, 0xff] {
            let mut datagram: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
                .take(length)
                .collect();
            if let Some(byte) = datagram.first_mut() {
                *byte = first;
            }
            udp.send_to(&datagram, address).await.unwrap();
        }
    }
    for garbage in [
        &b"\0\x01\x02\xff\xfe"[..],
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        &[b'a'; 100_000],
    ] {
        let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let _ = tcp.write_all(garbage).await;
        let mut answer = Vec::new();
        let _ = soon("the end", tcp.read_to_end(&mut answer)).await;
    }
    // A peer that speaks QUIC and HTTP/3's ALPN, and then nonsense on its streams.
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    for alpn in ["h3", "moq-lite-06", "moqt-18", "moq-00"] {
        let config = client_config(&[alpn], &relay.fingerprint());
        let quic = soon(
            "QUIC",
            endpoint.connect_with(config, address, "localhost").unwrap(),
        )
        .await
        .unwrap();
        let mut uni = quic.open_uni().await.unwrap();
        let _ = uni.write_all(&[0xff; 4000]).await;
        let (mut bi, _) = quic.open_bi().await.unwrap();
        let _ = bi.write_all(&[0xee; 4000]).await;
        soon("the close", quic.closed()).await;
    }
    let stats = relay.stats();
    assert_eq!(
        (stats.sessions, stats.failed_handshakes > 0),
        (0, true),
        "{stats:?}"
    );
    let publisher = connect(&relay, Wire::WebTransport).await;
    let _published = publisher.publish("alive");
    wait_for("the announcement", || relay.announced() == ["alive"]).await;
}

#[tokio::test]
async fn http_rejects_a_head_that_is_too_long() {
    let relay = local();
    let mut tcp = tokio::net::TcpStream::connect(relay.bound()[0])
        .await
        .unwrap();
    let request = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    let _ = tcp.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = soon("the end", tcp.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(get(&relay, "/announced").await.1, "");
}

#[tokio::test]
async fn names_that_are_gone_cost_the_relay_nothing_and_stay_in_its_totals() {
    const NAMES: usize = 60;
    let relay = local();
    let publisher = connect(&relay, Wire::Quic).await;
    let subscriber = connect(&relay, Wire::Quic).await;
    let mut sent = 0;
    for index in 0..NAMES {
        let name = format!("demo/{index}");
        let published = publisher.publish(&name);
        let mut track = subscriber.subscribe(&name).await;
        let mut group = published.track.append_group().unwrap();
        group.write_frame(timestamp(0, 0), payload(0, 0)).unwrap();
        group.finish().unwrap();
        assert_eq!(next_group(&mut track).await.1, [payload(0, 0)]);
        sent += payload(0, 0).len() as u64;
    }
    wait_for("the end of the last", || relay.announced().is_empty()).await;
    let _kept = publisher.publish("kept");
    wait_for("the pruning", || (1..10).contains(&relay.counted_names())).await;
    let stats = relay.stats();
    assert_eq!((stats.bytes_received, stats.bytes_sent), (sent, sent));
    assert_eq!(stats.sessions, 2, "both stay: {stats:?}");
}

#[tokio::test]
async fn an_object_larger_than_the_receive_windows_of_the_relay_flows() {
    // More than a stream (2 MiB) and a connection (8 MiB) may send unread.
    const OBJECT: usize = 12 << 20;
    let relay = local();
    let publisher = connect(&relay, Wire::Quic).await;
    let published = publisher.publish("large");
    let subscriber = connect(&relay, Wire::Quic).await;
    let mut track = subscriber.subscribe("large").await;
    let mut group = published.track.append_group().unwrap();
    group.write_frame(timestamp(0, 0), vec![7; OBJECT]).unwrap();
    group.finish().unwrap();
    assert_eq!(next_group(&mut track).await.1, [vec![7; OBJECT]]);
}

#[tokio::test]
async fn a_peer_gets_as_many_streams_as_its_tracks_need_and_no_more() {
    let mut config = RelayConfig::local();
    config.limits.tracks_per_session = 2;
    let relay = Relay::start(config).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = client_config(&["h3"], &relay.fingerprint());
    let connecting = endpoint.connect_with(config, relay.bound()[0], "localhost");
    let quic = soon("QUIC", connecting.unwrap()).await.unwrap();
    // Nothing is ever sent on them, so none is given back.
    let mut streams = Vec::new();
    for _ in 0..66 {
        streams.push(soon("a stream", quic.open_bi()).await.unwrap());
    }
    let mut more = Box::pin(quic.open_bi());
    assert!(at_once(more.as_mut()).is_none(), "one too many");
}

/// What a future has at once.
fn at_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn idle_http_connections_keep_nobody_out() {
    let mut config = RelayConfig::local();
    config.limits.http_connections = 4;
    config.limits.http_connections_per_address = 3;
    let relay = Relay::start(config).unwrap();
    let mut idle = Vec::new();
    for _ in 0..10 {
        let tcp = tokio::net::TcpStream::connect(relay.bound()[0]).await;
        idle.push(tcp.unwrap());
    }
    let start = std::time::Instant::now();
    assert!(
        get(&relay, "/announced")
            .await
            .0
            .starts_with("HTTP/1.1 200")
    );
    // Sooner than the 5 s after which a connection without a request ends by itself.
    assert!(start.elapsed() < std::time::Duration::from_secs(3));
    let mut end = [0];
    let closed = soon("the end of the oldest", idle[0].read(&mut end)).await;
    assert!(matches!(closed, Ok(0) | Err(_)));
}
