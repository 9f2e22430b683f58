//! The embedded relay, seen by clients of its protocols.

mod relay_support;

use std::time::{Duration, Instant};

use gstmoq::net::{
    ConnectConfig,
    relay::{Event, Relay, RelayConfig},
    session::{Connection, Retention, Role, State},
    transport,
};
use moq_net::Versions;
use relay_support::*;

#[tokio::test]
async fn frames_go_from_publisher_to_subscriber_across_transports() {
    let relay = local();
    for (index, (from, to)) in WIRES
        .into_iter()
        .flat_map(|from| WIRES.map(|to| (from, to)))
        .enumerate()
    {
        let name = format!("demo/{index}");
        let publisher = connect(&relay, from).await;
        let published = publisher.publish(&name);
        let subscriber = connect(&relay, to).await;
        let mut track = subscriber.subscribe(&name).await;

        let mut group = published.track.append_group().unwrap();
        for frame in 0..5 {
            group
                .write_frame(timestamp(0, frame), payload(0, frame))
                .unwrap();
        }
        group.finish().unwrap();

        let (_, frames) = next_group(&mut track).await;
        assert_eq!(
            frames,
            (0..5).map(|frame| payload(0, frame)).collect::<Vec<_>>(),
            "{from:?} to {to:?}"
        );
    }
}

#[tokio::test]
async fn who_joins_late_gets_the_open_group_from_its_first_frame() {
    let relay = local();
    let publisher = connect(&relay, Wire::Quic).await;
    let published = publisher.publish("demo");
    let early = connect(&relay, Wire::Quic).await;
    let mut early_track = early.subscribe("demo").await;

    let mut group = published.track.append_group().unwrap();
    group.write_frame(timestamp(0, 0), payload(0, 0)).unwrap();
    group.write_frame(timestamp(0, 1), payload(0, 1)).unwrap();
    // The relay has them once the first subscriber does.
    let mut early_group = soon("the group", early_track.recv_group())
        .await
        .unwrap()
        .unwrap();
    for frame in 0..2 {
        let got = soon("a frame", early_group.read_frame())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(got.payload, payload(0, frame));
    }

    for wire in WIRES {
        let late = connect(&relay, wire).await;
        let mut track = late.subscribe("demo").await;
        let mut joined = soon("the group", track.recv_group())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(joined.sequence, early_group.sequence);
        let first = soon("the first frame", joined.read_frame())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(first.payload, payload(0, 0), "{wire:?}");
    }
}

#[tokio::test]
async fn twenty_subscribers_cost_the_publisher_one_copy() {
    const SUBSCRIBERS: usize = 20;
    const GROUPS: u64 = 5;
    let relay = local();
    let publisher = connect(&relay, Wire::Quic).await;
    let published = publisher.publish("demo");

    let mut subscribers = Vec::new();
    for index in 0..SUBSCRIBERS {
        let peer = connect(&relay, WIRES[index % 2]).await;
        let track = peer.subscribe("demo").await;
        subscribers.push((peer, track));
    }
    let mut sent = 0;
    for group in 0..GROUPS {
        let mut producer = published.track.append_group().unwrap();
        for frame in 0..4 {
            let bytes = payload(group, frame);
            sent += bytes.len() as u64;
            producer
                .write_frame(timestamp(group, frame), bytes)
                .unwrap();
        }
        producer.finish().unwrap();
        for (_, track) in &mut subscribers {
            assert_eq!(next_group(track).await.1.len(), 4);
        }
    }
    let stats = relay.stats();
    assert_eq!(stats.bytes_received, sent, "one copy came in");
    assert_eq!(
        stats.bytes_sent,
        sent * SUBSCRIBERS as u64,
        "and one went to each"
    );
    assert_eq!(stats.sessions, SUBSCRIBERS as u64 + 1);
    assert_eq!(stats.subscriptions, SUBSCRIBERS as u64);
}

#[tokio::test]
async fn a_path_confines_its_session() {
    let relay = local();
    for (wire, room) in WIRES.into_iter().zip(["room1", "room2"]) {
        let inside = dial(&relay, wire, &format!("/{room}"), Versions::all())
            .await
            .unwrap();
        let _published = inside.publish("camera");
        let whole = connect(&relay, wire).await;
        let consumer = whole.origin.consume();
        soon(
            "the full name",
            consumer.routed_broadcast(format!("{room}/camera")),
        )
        .await
        .unwrap();

        let other = dial(&relay, wire, "/elsewhere", Versions::all())
            .await
            .unwrap();
        let _other_published = other.publish("own");
        let peer = dial(&relay, wire, &format!("/{room}/"), Versions::all())
            .await
            .unwrap();
        let mut announced = peer.origin.consume().announced();
        let first = soon("an announcement", announced.next()).await.unwrap();
        assert_eq!(
            first.prefix.as_str(),
            "camera",
            "named from the room, and nothing else is in it"
        );
    }
}

#[tokio::test]
async fn a_path_that_climbs_is_refused_and_counted() {
    let relay = local();
    for path in ["/a/../../b", "/%ff"] {
        if let Ok(peer) = dial(&relay, Wire::Quic, path, Versions::all()).await {
            soon("the close", peer.moq.closed()).await;
        }
    }
    assert!(
        dial(&relay, Wire::WebTransport, "/%ff", Versions::all())
            .await
            .is_err()
    );
    wait_for("the counter", || relay.stats().refused_access == 3).await;
}

#[tokio::test]
async fn stopping_says_goaway_and_frees_the_port() {
    let relay = local();
    let address = relay.bound()[0];
    let mut peers = Vec::new();
    for wire in WIRES {
        peers.push(connect(&relay, wire).await);
    }
    let start = Instant::now();
    let stop = tokio::spawn(async move { relay.stop(Duration::from_millis(500)).await });
    for peer in &peers {
        soon("GOAWAY", peer.moq.draining().recv()).await.unwrap();
    }
    soon("the stop", stop).await.unwrap();
    assert!(
        start.elapsed() < Duration::from_millis(700),
        "{:?}",
        start.elapsed()
    );
    for peer in &peers {
        soon("the close", peer.moq.closed()).await;
    }
    Relay::start(RelayConfig::new(vec![address])).expect("the port is free again");
}

#[tokio::test]
async fn a_peer_that_stays_is_told_the_code_when_it_is_closed() {
    let relay = local();
    let mut peers = Vec::new();
    for wire in WIRES {
        peers.push((wire, connect(&relay, wire).await));
    }
    let stop = tokio::spawn(async move { relay.stop(Duration::from_millis(500)).await });
    for (wire, peer) in &peers {
        let err = soon("the close", peer.moq.closed()).await;
        assert!(
            matches!(
                err,
                moq_net::Error::Session(moq_net::SessionError::GoawayTimeout)
            ),
            "{wire:?}: {err:?}"
        );
    }
    soon("the stop", stop).await.unwrap();
}

/// And not by CLOSE_WEBTRANSPORT_SESSION on the CONNECT stream, which crashes the tabs of Chromium 156.
#[tokio::test]
async fn a_page_is_told_code_and_reason_by_the_close_of_its_connection() {
    let relay = local();
    let (_quic, _connect, mut answers) = connect_page(&relay).await;
    let stop = tokio::spawn(async move { relay.stop(Duration::from_millis(500)).await });
    let end = soon("the end of the stream", answers.read_to_end(10_000)).await;
    let Err(quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(
        quinn::ConnectionError::ApplicationClosed(close),
    ))) = end
    else {
        panic!("{end:?}");
    };
    let code = web_transport_quinn::proto::error_from_http3(close.error_code.into_inner());
    let timeout = moq_net::SessionError::GoawayTimeout;
    assert_eq!(code, Some(timeout.to_code()), "{close:?}");
    let reason = moq_net::Error::GoawayTimeout.to_string();
    assert_eq!(close.reason, reason.as_bytes());
    soon("the stop", stop).await.unwrap();
}

#[tokio::test]
async fn peers_that_leave_on_goaway_let_the_relay_stop_at_once() {
    let relay = local();
    let peer = connect(&relay, Wire::Quic).await;
    let leave = tokio::spawn(async move {
        soon("GOAWAY", peer.moq.draining().recv()).await.unwrap();
        drop(peer);
    });
    let start = Instant::now();
    soon("the stop", relay.stop(Duration::from_secs(5))).await;
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    leave.await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_thread_inside_another_runtime_may_wait_for_the_stop() {
    let relay = local();
    let start = Instant::now();
    assert!(relay.stop_blocking(Duration::from_millis(500)));
    assert!(
        start.elapsed() < Duration::from_millis(400),
        "nobody was there: {:?}",
        start.elapsed()
    );
    drop(relay);
}

#[tokio::test]
async fn http_tells_the_fingerprint_of_the_certificate_that_is_presented() {
    let relay = local();
    let (head, body) = get(&relay, "/certificate.sha256").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        head.to_lowercase()
            .contains("access-control-allow-origin: *"),
        "{head}"
    );
    // The pinned client accepts this certificate and no other.
    let address = relay.bound()[0];
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let good = client_config(&["h3"], &body);
    soon(
        "the handshake",
        endpoint.connect_with(good, address, "localhost").unwrap(),
    )
    .await
    .unwrap();
    let bad = client_config(&["h3"], &"0".repeat(64));
    assert!(
        soon(
            "the handshake",
            endpoint.connect_with(bad, address, "localhost").unwrap()
        )
        .await
        .is_err()
    );
    assert_eq!(body, relay.fingerprint());
}

async fn https(relay: &Relay) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let tcp = tokio::net::TcpStream::connect(relay.bound()[0])
        .await
        .unwrap();
    let connector = tokio_rustls::TlsConnector::from(tls_config(&[], &relay.fingerprint()));
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    soon("TLS", connector.connect(name, tcp)).await.unwrap()
}

#[tokio::test]
async fn http_lists_what_is_announced() {
    let relay = local();
    assert_eq!(get(&relay, "/announced").await.1, "");
    let publisher = connect(&relay, Wire::Quic).await;
    let _published = [
        publisher.publish("room/b"),
        publisher.publish("room/a"),
        publisher.publish("roommate"),
        publisher.publish("room/a\nforged"),
    ];
    wait_for("the announcements", || relay.announced().len() == 4).await;
    assert_eq!(
        get(&relay, "/announced").await.1,
        "room/a\nroom/b\nroommate\n"
    );
    assert_eq!(
        get(&relay, "/announced/").await.1,
        "room/a\nroom/b\nroommate\n"
    );
    assert_eq!(get(&relay, "/announced/room").await.1, "a\nb\n");
    // A prefix is of whole segments.
    assert_eq!(get(&relay, "/announced/roo").await.1, "");
    assert_eq!(get(&relay, "/announced/roommate").await.1, "");
    assert_eq!(get(&relay, "/announced/none").await.1, "");
    assert!(
        get(&relay, "/elsewhere")
            .await
            .0
            .starts_with("HTTP/1.1 404")
    );
    assert!(
        get(&relay, "/announced/%ff")
            .await
            .0
            .starts_with("HTTP/1.1 400")
    );
}

#[tokio::test]
async fn files_that_change_give_new_connections_their_certificate_and_old_ones_live_on() {
    let files = CertificateFiles::new();
    let mut config = RelayConfig::local();
    config.certificate = Some(files.paths());
    let relay = Relay::start(config).unwrap();
    let first = relay.fingerprint();
    let publisher = connect(&relay, Wire::Quic).await;
    let published = publisher.publish("demo");
    let old = connect(&relay, Wire::WebTransport).await;
    let mut track = old.subscribe("demo").await;

    files.replace();
    wait_for("the new certificate", || relay.fingerprint() != first).await;
    // Dialling accepts what the relay tells, and nothing else.
    for wire in WIRES {
        connect(&relay, wire).await;
    }
    let address = relay.bound()[0];
    // Whoever knew the old certificate resumes its TLS session without one; a stranger does not.
    let stranger = format!("{first} {}", "00".repeat(32));
    let stale = dial_at(address, &stranger, Wire::Quic, "/", Versions::all()).await;
    assert!(stale.is_err(), "the old certificate is not presented");

    let mut group = published.track.append_group().unwrap();
    group.write_frame(timestamp(0, 0), payload(0, 0)).unwrap();
    group.finish().unwrap();
    assert_eq!(next_group(&mut track).await.1, [payload(0, 0)]);
}

/// Pages of other machines need HTTPS to play at all; a browser lets its user accept the certificate.
#[tokio::test]
async fn with_a_development_certificate_http_is_https_too() {
    let relay = local();
    let tls = https(&relay).await;
    let (head, body) = request(tls, "/certificate.sha256").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body, relay.fingerprint());
    assert_eq!(get(&relay, "/certificate.sha256").await.1, body);
}

#[tokio::test]
async fn with_a_certificate_file_http_is_https() {
    let files = CertificateFiles::new();
    let mut config = RelayConfig::local();
    config.certificate = Some(files.paths());
    let relay = Relay::start(config).unwrap();
    assert!(
        relay.url().starts_with("https://127.0.0.1:"),
        "{}",
        relay.url()
    );

    let (_, body) = request(https(&relay).await, "/certificate.sha256").await;
    assert_eq!(body, relay.fingerprint());
    connect(&relay, Wire::WebTransport).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_sessions_and_broadcasts() {
    let relay = local();
    let events = relay.events().unwrap();
    assert!(relay.events().is_none(), "only the first call gets them");
    let next = |what| tokio::task::block_in_place(|| events.recv_timeout(LIMIT)).expect(what);
    let publisher = connect(&relay, Wire::Quic).await;
    let added = next("the session");
    let Event::SessionAdded(info) = added else {
        panic!("{added:?}")
    };
    assert_eq!(
        (info.transport, info.version.as_str(), info.scope.as_str()),
        ("quic", "moq-lite-06", "")
    );

    let published = publisher.publish("demo");
    assert_eq!(
        next("the broadcast"),
        Event::BroadcastAdded("demo".to_owned())
    );
    drop((published, publisher));
    let mut last = [next("an end"), next("another")];
    last.sort_by_key(|event| matches!(event, Event::SessionRemoved(..)));
    assert_eq!(last[0], Event::BroadcastRemoved("demo".to_owned()));
    assert!(
        matches!(&last[1], Event::SessionRemoved(gone, _) if *gone == info),
        "{last:?}"
    );
}

#[tokio::test]
async fn our_connection_pins_the_development_certificate_and_follows_a_restart() {
    let relay = local();
    let address = relay.bound()[0];
    let url = transport::parse_url(&relay.url()).unwrap();
    let mut config = ConnectConfig::new(vec![url]);
    config.connect_timeout = Duration::from_secs(2);
    let retention = Retention {
        age: Duration::from_secs(2),
        bytes: 8 << 20,
    };
    let connection = Connection::open(config, Role::Subscriber, retention);
    let mut state = connection.state();
    let connected = |state: &State| matches!(state, State::Connected { .. });
    soon("a session", state.wait_for(connected)).await.unwrap();

    relay.stop(Duration::from_millis(200)).await;
    soon("the loss", state.wait_for(|state| !connected(state)))
        .await
        .unwrap();
    // Another certificate on the same port: the pin is fetched anew.
    let relay = Relay::start(RelayConfig::new(vec![address])).unwrap();
    soon("a session again", state.wait_for(connected))
        .await
        .unwrap();
    wait_for("the session there", || relay.stats().sessions == 1).await;
}
