//! The embedded relay, seen by clients of its protocols.

mod relay_support;

use gstmoq::net::relay::{Relay, RelayConfig};
use relay_support::*;

#[tokio::test]
async fn a_frame_goes_from_publisher_to_subscriber() {
    let relay = Relay::start(RelayConfig::local()).unwrap();
    for wire in WIRES {
        let publisher = connect(&relay, wire).await;
        let published = publisher.publish("demo/camera");
        let subscriber = connect(&relay, wire).await;
        let mut track = subscriber.subscribe("demo/camera").await;

        let mut group = published.track.append_group().unwrap();
        group.write_frame(timestamp(0, 0), payload(0, 0)).unwrap();
        group.finish().unwrap();

        let mut received = soon("the group", track.recv_group())
            .await
            .unwrap()
            .unwrap();
        let frame = soon("the frame", received.read_frame())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(frame.payload, payload(0, 0));
    }
}
