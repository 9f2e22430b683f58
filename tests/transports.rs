//! Which transport moqsink and moqsrc get from the embedded relay.

mod common;

use common::{
    Pipeline,
    interop::of_element,
    paths::{FeedOptions, ViewOptions, assert_decodable, relay},
};

/// Plays through the relay with these properties, and gives what both elements say about their sessions, which the relay says, too.
fn played(properties: &str) -> String {
    let relay = relay();
    let to = format!("url={}studio/live {properties}", relay.url());
    let feed = FeedOptions::to(&to).start();
    let view = ViewOptions::to(&to).play();
    let got = view.video.wait_count(30);
    assert_decodable(&feed.video.all(), &got);
    let path = of_element(&feed.pipeline.by_name("sink"));
    assert_eq!(of_element(&view.pipeline.by_name("src")), path);
    let peers = relay.stats().peers;
    assert_eq!(peers.len(), 2, "{peers:?}");
    for peer in peers {
        assert_eq!(peer.info.scope, "studio/live", "the path of the URL");
        let transport = match peer.info.transport {
            "quic" => "raw QUIC",
            _ => "WebTransport",
        };
        assert_eq!(format!("{}, {transport}", peer.info.version), path);
    }
    path
}

#[test]
fn a_url_for_both_transports_goes_over_raw_quic() {
    assert_eq!(played(""), "moq-lite-06, raw QUIC");
}

#[test]
fn a_version_that_is_asked_for_is_spoken_whatever_the_relay_prefers() {
    assert_eq!(
        played("protocol-versions=<moq-transport-16,moq-lite-05>"),
        "moq-transport-16, raw QUIC"
    );
    // Without SETUP there is no room for a path but in a CONNECT.
    assert_eq!(
        played("protocol-versions=<moq-lite-04,moq-lite-05>"),
        "moq-lite-04, WebTransport"
    );
}

#[test]
fn webtransport_is_spoken_if_asked_for() {
    assert_eq!(
        played("transport=webtransport"),
        "moq-lite-06, WebTransport"
    );
}

/// Row 16.
#[test]
fn a_path_that_cannot_be_read_is_the_same_failure_on_both_transports() {
    let relay = relay();
    for transport in ["auto", "webtransport"] {
        let pipeline = Pipeline::launch(&format!(
            "moqsrc url={}%ff transport={transport} broadcast=a connect-timeout=500000000 fakesink async=false",
            relay.url()
        ));
        pipeline.set(gst::State::Playing);
        let (_, cause) = pipeline.wait_error();
        assert_eq!(cause.as_deref(), Some("auth"), "{transport}");
    }
}
