//! What is written arrives, also at the end.

use super::*;

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
            timely: false,
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
        timely: false,
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
