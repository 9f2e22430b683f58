//! moqsrc against the embedded relay, fed by a publisher that is not moqsink.

mod common;

use common::{
    Pipeline, init,
    publisher::{BROADCAST, Publisher},
};
use gstmoq::net::relay::{Relay, RelayConfig};

fn relay() -> Relay {
    init();
    Relay::start(RelayConfig::local()).expect("a relay")
}

fn player(relay: &Relay, properties: &str) -> Pipeline {
    let url = relay.url();
    Pipeline::launch(&format!(
        "moqsrc name=src url={url} broadcast={BROADCAST} {properties} \
         src.video_0 ! queue ! fakesink name=video sync=true src.audio_0 ! queue ! fakesink name=audio sync=true"
    ))
}

#[test]
fn both_tracks_arrive_as_sent() {
    let relay = relay();
    let publisher = Publisher::start(&relay.url(), 30);
    let player = player(&relay, "");
    let video = player.record("video");
    let audio = player.record("audio");
    player.set(gst::State::Playing);
    let video = video.wait_count(60);
    let audio = audio.wait_count(60);
    let sent: Vec<u64> = publisher
        .video
        .lock()
        .iter()
        .map(|sent| sent.hash)
        .collect();
    let first = sent
        .iter()
        .position(|hash| *hash == video[0].hash)
        .expect("a frame that was sent");
    assert!(video[0].is_key());
    assert!(video[0].is_discont());
    for (got, sent) in video.iter().zip(&sent[first..]) {
        assert_eq!(got.hash, *sent);
    }
    assert!(audio.iter().skip(1).all(|packet| !packet.is_discont()));
}
