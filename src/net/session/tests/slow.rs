//! A path that does not keep up.

use tokio::time::sleep;

use super::*;
use crate::netsim::{PathSettings, Proxy, Rate, Settings};

const GROUP: usize = 200 << 10;

fn resets(connection: &Connection) -> u64 {
    let quic = connection.guard.shared.quic().expect("connected");
    quic.stats().frame_tx.reset_stream
}

/// Row 14: groups that were handed over in full are not kept until the network has taken them, whatever the version says of age.
#[tokio::test]
async fn a_group_that_waits_too_long_for_the_network_is_given_up() {
    let server = Server::start(Refuse::Nobody);
    let path = PathSettings {
        rate: Rate::new(400_000),
        ..PathSettings::default()
    };
    let proxy = Proxy::start_on(
        &tokio::runtime::Handle::current(),
        ([127, 0, 0, 1], 0).into(),
        server.address,
        Settings::symmetric(path, 7),
    )
    .unwrap();
    for scheme in ["moql", "moqt"] {
        let retention = Retention {
            age: Duration::from_millis(300),
            bytes: 64 << 20,
        };
        let url = format!("{scheme}://{}/live", proxy.addr());
        let publisher = Connection::open(config(&url, pinned(&server)), Role::Publisher, retention);
        let subscriber = open(
            config(&server.url(scheme), pinned(&server)),
            Role::Subscriber,
        );
        connected(&publisher).await;
        connected(&subscriber).await;
        let (_broadcast, track) = publish(&publisher, 0);
        let broadcast = routed(&subscriber).await;
        let patient = track::Subscription::default().with_max_age(Duration::from_secs(60));
        let mut reader = timeout(LIMIT, broadcast.track("video").unwrap().subscribe(patient))
            .await
            .unwrap()
            .unwrap();
        timeout(LIMIT, reader.recv_group()).await.unwrap().unwrap();
        assert_eq!(resets(&publisher), 0, "{scheme}");
        for n in 1..4 {
            let mut group = track.append_group().unwrap();
            let at = Timestamp::from_millis(n * 100).unwrap();
            group.write_frame(at, vec![0; GROUP]).unwrap();
            group.finish().unwrap();
        }
        let start = Instant::now();
        while resets(&publisher) < 3 {
            assert!(start.elapsed() < LIMIT, "{scheme}: still waiting");
            sleep(Duration::from_millis(10)).await;
        }
        // The 600 kB would have taken 12 s.
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{scheme}: {took:?}");
    }
}
