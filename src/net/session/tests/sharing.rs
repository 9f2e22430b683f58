//! Handles: who shares a session, and what closes it.

use super::*;

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
