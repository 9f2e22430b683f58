//! A broadcast through the embedded relay in every promised protocol version, on both transports.

mod relay_support;

use gstmoq::net::{
    relay::{Relay, RelayConfig},
    transport::versions,
};
use relay_support::*;

#[tokio::test]
async fn every_promised_version_carries_a_broadcast_on_both_transports() {
    const GROUPS: u64 = 3;
    const FRAMES: u64 = 3;
    let relay = Relay::start(RelayConfig::local()).unwrap();
    for name in versions::NAMES {
        for wire in WIRES {
            let only = || moq_net::Versions::from(vec![name.parse().unwrap()]);
            let case = format!("{name} on {wire:?}");
            let broadcast = format!("{name}/{wire:?}");
            let publisher = dial(&relay, wire, "/", only()).await.expect(&case);
            assert_eq!(publisher.moq.version().to_string(), name, "{case}");
            let published = publisher.publish(&broadcast);
            let subscriber = dial(&relay, wire, "/", only()).await.expect(&case);
            let mut track = subscriber.subscribe(&broadcast).await;

            for group in 0..GROUPS {
                let mut producer = published.track.append_group().unwrap();
                for frame in 0..FRAMES {
                    producer
                        .write_frame(timestamp(group, frame), payload(group, frame))
                        .unwrap();
                }
                producer.finish().unwrap();
                let mut received = soon(&case, track.recv_group())
                    .await
                    .expect(&case)
                    .expect(&case);
                for frame in 0..FRAMES {
                    let got = soon(&case, received.read_frame())
                        .await
                        .expect(&case)
                        .expect(&case);
                    assert_eq!(got.payload, payload(group, frame), "{case}");
                }
                assert!(
                    soon(&case, received.read_frame())
                        .await
                        .expect(&case)
                        .is_none(),
                    "{case}: the group ends"
                );
            }
        }
    }
    assert_eq!(relay.stats().failed_handshakes, 0);
}

#[tokio::test]
async fn a_version_that_is_not_promised_is_refused() {
    let relay = Relay::start(RelayConfig::local()).unwrap();
    for wire in WIRES {
        let wip = moq_net::Versions::from(vec!["moq-lite-07-wip".parse().unwrap()]);
        assert!(dial(&relay, wire, "/", wip).await.is_err(), "{wire:?}");
    }
}
