mod failures;
mod server;
mod slow;

use std::net::UdpSocket;

use moq_net::{Timestamp, goaway::Goaway, track};
use tokio::time::{Instant, timeout};

use self::server::{Identity, Refuse, Server};
use super::*;
use crate::net::{
    config::Tls,
    publish::{Broadcast, TrackOptions, drain},
    transport::{parse_url, versions},
};

const LIMIT: Duration = Duration::from_secs(15);

fn config(url: &str, tls: Tls) -> ConnectConfig {
    ConnectConfig {
        tls,
        connect_timeout: Duration::from_secs(5),
        ..ConnectConfig::new(vec![parse_url(url).unwrap()])
    }
}

fn pinned(server: &Server) -> Tls {
    Tls {
        pins: vec![server.digest],
        ..Tls::default()
    }
}

fn open(config: ConnectConfig, role: Role) -> Connection {
    Connection::open(config, role, Retention::default())
}

async fn wait(connection: &Connection, what: impl FnMut(&State) -> bool) -> State {
    let mut state = connection.state();
    let result = timeout(LIMIT, state.wait_for(what)).await;
    match result {
        Ok(state) => state.unwrap().clone(),
        Err(_) => panic!("still {:?}", *connection.state().borrow()),
    }
}

async fn connected(connection: &Connection) -> (Arc<SessionInfo>, u64) {
    match wait(connection, |s| {
        matches!(s, State::Connected { .. } | State::Failed(_))
    })
    .await
    {
        State::Connected {
            info, generation, ..
        } => (info, generation),
        other => panic!("{other:?}"),
    }
}

async fn failed(connection: &Connection) -> Error {
    match wait(connection, |s| {
        matches!(s, State::Connected { .. } | State::Failed(_))
    })
    .await
    {
        State::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

/// The first failure seen while it retries.
async fn first_failure(connection: &Connection) -> Error {
    let state = wait(connection, |s| {
        matches!(s, State::Connecting { last: Some(_) } | State::Failed(_))
    })
    .await;
    match state {
        State::Connecting { last: Some(error) } | State::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn connects_over_web_transport_and_raw_quic_and_shows_neither_query_nor_token() {
    let server = Server::start(Refuse::Nobody);
    for (scheme, transport, version) in [
        ("https", "webtransport", "moq-lite-06"),
        ("moqt", "quic", "moq-transport-22"),
        ("moql", "quic", "moq-lite-06"),
    ] {
        let url = format!("{}?jwt=secret", server.url(scheme));
        let connection = open(config(&url, pinned(&server)), Role::Publisher);
        let (info, generation) = connected(&connection).await;
        assert_eq!(
            (info.transport, info.version.as_str(), generation),
            (transport, version, 1)
        );
        assert_eq!(info.url, server.url(scheme));
        let stats = connection.stats();
        assert!(
            stats.bytes_sent > 0 && stats.bytes_received > 0 && stats.rtt.is_some(),
            "{stats:?}"
        );
    }
}

/// Tickets come right behind the handshake, before MoQ is set up.
#[tokio::test]
async fn a_server_that_is_dialled_again_resumes_the_tls_session() {
    for scheme in ["https", "moql"] {
        let server = Server::start(Refuse::Nobody);
        for round in 0..3 {
            let config = config(&server.url(scheme), pinned(&server));
            let connection = open(config, Role::Publisher);
            connected(&connection).await;
            connection.close(LIMIT).await.unwrap();
            assert_eq!(server.resumed(), round, "{scheme}");
        }
        // Other pins are other trust: nothing is resumed.
        let other = Tls {
            disable_verify: true,
            ..Tls::default()
        };
        connected(&open(config(&server.url(scheme), other), Role::Publisher)).await;
        assert_eq!(server.resumed(), 2, "{scheme}");
    }
}

#[tokio::test]
async fn localhost_is_found_on_ipv6_alone() {
    let server = Server::bind("[::1]:0", Refuse::Nobody, &Identity::new());
    let url = format!("https://localhost:{}/", server.address.port());
    connected(&open(config(&url, pinned(&server)), Role::Publisher)).await;
}

#[tokio::test]
async fn localhost_is_found_on_ipv4_alone() {
    let server = Server::start(Refuse::Nobody);
    let url = format!("https://localhost:{}/", server.address.port());
    connected(&open(config(&url, pinned(&server)), Role::Publisher)).await;
}

#[tokio::test]
async fn the_second_url_serves_when_the_first_does_not() {
    let server = Server::start(Refuse::Nobody);
    let mut config = config("https://127.0.0.1:9/", pinned(&server));
    config.urls.push(parse_url(&server.url("moql")).unwrap());
    let connection = open(config, Role::Publisher);
    assert_eq!(connected(&connection).await.0.url, server.url("moql"));
    assert_eq!(
        connection.stats().last_error.unwrap().cause,
        Cause::UdpBlocked
    );
}

/// Row 3.
#[tokio::test]
async fn a_relay_that_is_killed_and_restarted_is_found_again_and_broadcasts_come_back() {
    let identity = Identity::new();
    for scheme in ["https", "moqt", "moql"] {
        let server = Server::bind("127.0.0.1:0", Refuse::Nobody, &identity);
        let (address, url) = (server.address.to_string(), server.url(scheme));
        let publisher = open(config(&url, pinned(&server)), Role::Publisher);
        let subscriber = open(config(&url, pinned(&server)), Role::Subscriber);
        let (_broadcast, _track) = publish(&publisher, 0);
        routed(&subscriber).await;
        connected(&publisher).await;
        connected(&subscriber).await;
        server.kill().await;
        for connection in [&publisher, &subscriber] {
            let lost = wait(connection, |s| matches!(s, State::Reconnecting { .. })).await;
            assert!(matches!(lost, State::Reconnecting { .. }), "{lost:?}");
        }
        let server = Server::bind(&address, Refuse::Nobody, &identity);
        for connection in [&publisher, &subscriber] {
            let (_, generation) = connected(connection).await;
            assert_eq!(generation, 2, "{scheme}");
            assert_eq!(connection.stats().reconnects, 1);
        }
        routed(&subscriber).await;
        server.kill().await;
    }
}

/// What a publisher wrote does not get out; a subscriber has nothing to deliver.
#[tokio::test]
async fn closing_while_reconnecting_is_an_error_for_a_publisher() {
    for (role, lost) in [(Role::Publisher, true), (Role::Subscriber, false)] {
        let server = Server::start(Refuse::Nobody);
        let connection = open(config(&server.url("moql"), pinned(&server)), role);
        connected(&connection).await;
        assert_eq!(connection.delivered(), Ok(()));
        server.kill().await;
        wait(&connection, |s| matches!(s, State::Reconnecting { .. })).await;
        let closed = connection.close(LIMIT).await;
        let cause = closed.as_ref().err().map(|error| error.cause);
        let known = [Cause::ConnectionLost, Cause::UdpBlocked];
        assert_eq!(
            cause.is_some_and(|cause| known.contains(&cause)),
            lost,
            "{closed:?}"
        );
    }
}

#[tokio::test]
async fn retrying_after_a_loss_ends_with_retry_timeout() {
    let server = Server::start(Refuse::Nobody);
    let config = ConnectConfig {
        retry_timeout: Duration::from_millis(500),
        ..config(&server.url("moql"), pinned(&server))
    };
    let connection = open(config, Role::Publisher);
    connected(&connection).await;
    server.kill().await;
    let state = wait(&connection, |s| matches!(s, State::Failed(_))).await;
    assert!(
        matches!(&state, State::Failed(error) if error.cause == Cause::UdpBlocked),
        "{state:?}"
    );
}

#[tokio::test]
async fn goaway_is_followed_before_the_old_session_ends() {
    let identity = Identity::new();
    for version in [
        "moq-lite-04",
        "moq-lite-06",
        "moq-transport-14",
        "moq-transport-16",
        "moq-transport-22",
    ] {
        for scheme in [
            "https",
            if version.starts_with("moq-l") {
                "moql"
            } else {
                "moqt"
            },
        ] {
            let old = Server::bind("127.0.0.1:0", Refuse::Nobody, &identity);
            let new = Server::bind("127.0.0.1:0", Refuse::Nobody, &identity);
            let config = ConnectConfig {
                versions: vec![version.into()],
                ..config(&old.url(scheme), pinned(&old))
            };
            let connection = open(config, Role::Publisher);
            connected(&connection).await;
            old.wait_accepted(1).await;
            old.session()
                .drain()
                .send(Goaway::redirect(new.url(scheme)))
                .unwrap();
            // Never anything but connected on the way.
            let mut states = connection.state();
            loop {
                let state = states.borrow_and_update().clone();
                match state {
                    State::Connected {
                        info,
                        generation: 2,
                        ..
                    } => {
                        assert_eq!(info.url, new.url(scheme));
                        break;
                    }
                    State::Connected { .. } => {}
                    other => panic!("{version} {scheme}: {other:?}"),
                }
                timeout(LIMIT, states.changed())
                    .await
                    .expect("goaway is followed")
                    .unwrap();
            }
            timeout(LIMIT, old.session().closed())
                .await
                .expect("the old session is closed");
        }
    }
}

#[tokio::test]
async fn goaway_without_a_redirect_dials_the_same_url() {
    let server = Server::start(Refuse::Nobody);
    let connection = open(
        config(&server.url("https"), pinned(&server)),
        Role::Subscriber,
    );
    connected(&connection).await;
    server.wait_accepted(1).await;
    server.session().drain().send(Goaway::new()).unwrap();
    server.wait_accepted(2).await;
    wait(&connection, |s| {
        matches!(s, State::Connected { generation: 2, .. })
    })
    .await;
}

/// What it costs is one dial: the redirect is not tried again.
#[tokio::test]
async fn a_redirect_into_a_black_hole_does_not_keep_the_relay_from_being_found_again() {
    let identity = Identity::new();
    let server = Server::bind("127.0.0.1:0", Refuse::Nobody, &identity);
    let (address, url) = (server.address.to_string(), server.url("moql"));
    let config = ConnectConfig {
        connect_timeout: Duration::from_secs(1),
        ..config(&url, pinned(&server))
    };
    let connection = open(config, Role::Publisher);
    connected(&connection).await;
    server.wait_accepted(1).await;
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let redirect = format!("moql://{}/", hole.local_addr().unwrap());
    server
        .session()
        .drain()
        .send(Goaway::redirect(redirect))
        .unwrap();
    let (hole, first) = tokio::task::spawn_blocking(move || {
        hole.set_read_timeout(Some(LIMIT)).unwrap();
        let first = std::iter::repeat_with(|| dialled(&hole)).find_map(Result::unwrap);
        (hole, first)
    })
    .await
    .unwrap();
    server.kill().await;
    // Both URLs have failed once.
    wait(
        &connection,
        |s| matches!(s, State::Reconnecting { last } if last.message.contains("listens")),
    )
    .await;
    let server = Server::bind(&address, Refuse::Nobody, &identity);
    assert_eq!(connected(&connection).await.0.url, url);
    server.wait_accepted(1).await;
    hole.set_nonblocking(true).unwrap();
    while let Ok(dial) = dialled(&hole) {
        assert!(dial.is_none() || dial == first, "dialled again");
    }
}

/// The destination connection ID of the next packet, which tells one dial from another; `None` for the octet that asks
/// whether anything listens (RFC 9000 section 17.2).
fn dialled(hole: &UdpSocket) -> std::io::Result<Option<Vec<u8>>> {
    let mut packet = [0; 2048];
    let (length, _) = hole.recv_from(&mut packet)?;
    Ok((length > 1).then(|| packet[6..6 + usize::from(packet[5])].to_vec()))
}

#[tokio::test]
async fn equal_opens_share_one_session_and_other_roles_do_not() {
    let server = Server::start(Refuse::Nobody);
    let same = || config(&server.url("https"), pinned(&server));
    let first = open(same(), Role::Publisher);
    let second = open(same(), Role::Publisher);
    connected(&first).await;
    connected(&second).await;
    assert!(Arc::ptr_eq(&first.guard, &second.guard));
    let other = open(same(), Role::Subscriber);
    connected(&other).await;
    assert!(!Arc::ptr_eq(&first.guard, &other.guard));
    server.wait_accepted(2).await;
    assert_eq!(server.accepted(), 2);

    // Closing one of two leaves the session; the last ends it.
    let session = server.inner_session(0);
    first.close(LIMIT).await.unwrap();
    assert!(matches!(*second.state().borrow(), State::Connected { .. }));
    second.close(LIMIT).await.unwrap();
    timeout(LIMIT, session.closed())
        .await
        .expect("the relay sees the close");

    let again = open(same(), Role::Publisher);
    connected(&again).await;
    server.wait_accepted(3).await;
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_session_in_the_background() {
    for scheme in ["https", "moqt"] {
        let server = Server::start(Refuse::Nobody);
        let connection = open(
            config(&server.url(scheme), pinned(&server)),
            Role::Publisher,
        );
        connected(&connection).await;
        server.wait_accepted(1).await;
        drop(connection);
        timeout(LIMIT, server.session().closed())
            .await
            .expect("the relay sees the close");
    }
}

/// Row 22: from any thread, also inside tokio.
#[test]
fn close_blocking_is_bounded_inside_foreign_runtimes() {
    let server = Server::start(Refuse::Nobody);
    let run = || {
        let connection = open(
            config(&server.url("https"), pinned(&server)),
            Role::Publisher,
        );
        let limit = Duration::from_millis(500);
        async move {
            connected(&connection).await;
            let started = std::time::Instant::now();
            connection.close_blocking(limit).unwrap();
            assert!(
                started.elapsed() < Duration::from_millis(700),
                "{:?}",
                started.elapsed()
            );
        }
    };
    let current = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    current.block_on(run());
    let multi = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    multi.block_on(run());
}

fn publish(connection: &Connection, group: u64) -> (moq_net::broadcast::Producer, track::Producer) {
    let broadcast = connection.origin.create_broadcast("cam").unwrap();
    let track = broadcast
        .create_track("video", track::Info::default())
        .unwrap();
    broadcast.announce(Default::default()).unwrap();
    let mut writer = track
        .create_group(moq_net::group::Info::from(group))
        .unwrap();
    writer
        .write_frame(Timestamp::from_millis(40).unwrap(), b"frame".as_ref())
        .unwrap();
    writer.finish().unwrap();
    (broadcast, track)
}

async fn routed(connection: &Connection) -> moq_net::broadcast::Consumer {
    let consumer = connection.origin.consume();
    timeout(LIMIT, consumer.routed_broadcast("cam"))
        .await
        .expect("announced in time")
        .unwrap()
}

/// Row 10: what was written before a graceful close arrives.
#[tokio::test]
async fn a_graceful_close_delivers_what_was_queued() {
    for version in ["moq-lite-06", "moq-transport-18"] {
        let server = Server::start(Refuse::Nobody);
        let config = || ConnectConfig {
            versions: vec![version.into()],
            ..config(&server.url("https"), pinned(&server))
        };
        let publisher = open(config(), Role::Publisher);
        let subscriber = open(config(), Role::Subscriber);
        let broadcast = Broadcast::create(&publisher, "cam").unwrap();
        let options = TrackOptions {
            priority: 60,
            max_age: Duration::from_secs(5),
        };
        let mut track = broadcast.track("video", options).unwrap();
        track.write_snapshot(40_000, "frame".into()).unwrap();
        broadcast.announce().unwrap();
        let remote = routed(&subscriber).await;
        let subscription = track::Subscription::default().with_max_age(Duration::from_secs(5));
        let mut subscribed = timeout(
            LIMIT,
            remote.track("video").unwrap().subscribe(subscription),
        )
        .await
        .unwrap()
        .unwrap();
        let mut group = timeout(LIMIT, subscribed.recv_group())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        timeout(LIMIT, group.read_frame()).await.unwrap().unwrap();
        let payload = vec![7; 1 << 20];
        track
            .write_snapshot(80_000, payload.clone().into())
            .unwrap();
        let received = tokio::spawn(async move {
            let mut group = subscribed.recv_group().await.unwrap().unwrap();
            group.read_frame().await.unwrap().unwrap().payload
        });
        // A relay cancels its subscription when the track ends: the group has to be out before.
        drain(&publisher, std::slice::from_ref(&track), LIMIT)
            .await
            .unwrap();
        track.finish();
        drop((broadcast, track));
        publisher.close(LIMIT).await.unwrap();
        let received = timeout(LIMIT, received)
            .await
            .expect("the frame arrives")
            .unwrap();
        assert_eq!(received.len(), payload.len(), "{version}");
    }
}

/// Row 10: elements share a connection, and one of them ends while the others go on.
#[tokio::test]
async fn the_end_of_a_track_does_not_wait_for_what_other_tracks_send() {
    let server = Server::start(Refuse::Nobody);
    let publisher = open(
        config(&server.url("https"), pinned(&server)),
        Role::Publisher,
    );
    let subscriber = open(
        config(&server.url("https"), pinned(&server)),
        Role::Subscriber,
    );
    let broadcast = Broadcast::create(&publisher, "cam").unwrap();
    let options = TrackOptions {
        priority: 60,
        max_age: Duration::from_secs(5),
    };
    let mut ends = broadcast.track("ends", options).unwrap();
    let mut goes_on = broadcast.track("goes-on", options).unwrap();
    broadcast.announce().unwrap();
    let remote = routed(&subscriber).await;
    for (name, track) in [("ends", &mut ends), ("goes-on", &mut goes_on)] {
        track.write_snapshot(0, vec![7; 1 << 16].into()).unwrap();
        let subscribed = remote.track(name).unwrap().subscribe(None);
        let mut subscribed = timeout(LIMIT, subscribed).await.unwrap().unwrap();
        let (told, first) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut told = Some(told);
            while let Ok(Some(mut group)) = subscribed.recv_group().await {
                while let Ok(Some(_)) = group.read_frame().await {
                    told.take().map(|told| told.send(()));
                }
            }
        });
        timeout(LIMIT, first).await.unwrap().unwrap();
    }
    let sending = tokio::spawn(async move {
        for at in 1_u64.. {
            let frame = vec![7; 1 << 14];
            goes_on.write_snapshot(at * 10_000, frame.into()).unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let start = Instant::now();
    drain(&publisher, std::slice::from_ref(&ends), LIMIT)
        .await
        .unwrap();
    assert!(start.elapsed() < LIMIT / 3, "{:?}", start.elapsed());
    assert!(!sending.is_finished());
    sending.abort();
}

/// Every promised version on both transports carries a broadcast through a relay.
#[tokio::test]
async fn each_promised_version_carries_a_broadcast_on_both_transports() {
    let server = Server::start(Refuse::Nobody);
    for version in versions::NAMES {
        let raw = if version.starts_with("moq-lite") {
            "moql"
        } else {
            "moqt"
        };
        for scheme in ["https", raw] {
            let config = || ConnectConfig {
                versions: vec![version.into()],
                ..config(&server.url(scheme), pinned(&server))
            };
            let publisher = open(config(), Role::Publisher);
            let subscriber = open(config(), Role::Subscriber);
            let (broadcast, track) = publish(&publisher, 0);
            let remote = routed(&subscriber).await;
            let subscription = track::Subscription::default().with_max_age(Duration::from_secs(5));
            let payload = timeout(LIMIT, async {
                let mut subscriber = remote
                    .track("video")
                    .unwrap()
                    .subscribe(subscription)
                    .await
                    .unwrap();
                let mut group = subscriber.recv_group().await.unwrap().unwrap();
                group.read_frame().await.unwrap().unwrap().payload
            })
            .await
            .unwrap_or_else(|_| panic!("{version} over {scheme}: no frame"));
            assert_eq!(&payload[..], b"frame", "{version} over {scheme}");
            for connection in [&publisher, &subscriber] {
                assert_eq!(connected(connection).await.0.version, version);
            }
            drop((broadcast, track));
            publisher.close(LIMIT).await.unwrap();
            subscriber.close(LIMIT).await.unwrap();
        }
    }
}
