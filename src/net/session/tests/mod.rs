mod delivery;
mod failures;
mod recovery;
mod server;
mod sharing;
mod slow;
mod transports;

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
