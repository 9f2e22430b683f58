//! Relays that go away, by word or without, and come back.

use super::*;

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
