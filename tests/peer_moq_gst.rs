//! Our elements with those of moq-gst, each in a process of its own, through our relay. `scripts/test` builds moq-gst and names its
//! plugin in MOQ_GST_PLUGIN.

mod common;

use common::{
    Pipeline,
    codecs::*,
    interop::{Row, Sessions, at_relay, record},
    launch::Launch,
    moq_gst, paths,
};

/// `path` is that of its sessions.
fn keep(direction: &str, (video, audio): (&Codec, &Codec), played: &[(&str, usize)], path: &str) {
    let peer = moq_gst::peer();
    for (container, pictures) in played {
        record(&Row {
            peer: &peer,
            direction,
            what: &format!("{}, {}; {container}; hang", video.name, audio.name),
            path,
            pictures: *pictures,
            sound: Some(true),
        });
    }
}

/// Its moqsrc, in processes of their own, decodes pictures and sound of each container.
///
/// Of several in one process it ends some of the subscriptions at once.
fn it_plays(video: &Codec, audio: &Codec) {
    let relay = paths::relay();
    let url = relay.url();
    let publisher = publish(
        &format!("url={url} catalog=hang"),
        video,
        audio,
        &CONTAINERS,
    );
    let _publisher = Pipeline::play(&publisher);
    let players = CONTAINERS.map(|container| {
        let to = format!("url={url} broadcast={container}.hang");
        (container, moq_gst::Player::start(&to, audio))
    });
    let played = players
        .each_ref()
        .map(|(container, player)| (*container, player.wait_played(container)));
    let path = at_relay(&relay, Sessions::Subscribers);
    keep("moqsink → its moqsrc", (video, audio), &played, &path);
}

/// moqsrc decodes pictures and sound of each container that its moqsink, in a process of its own, can write.
fn we_play(video: &Codec, audio: &Codec) {
    const ITS_CONTAINERS: [&str; 2] = ["legacy", "loc"];
    let relay = paths::relay();
    let url = relay.url();
    let to = format!("url={url}");
    let publisher = publish(&to, video, audio, &ITS_CONTAINERS);
    let _publisher = Launch::start(&moq_gst::plugin(), &publisher);
    let players = ITS_CONTAINERS.map(|container| {
        let to = format!("{to} broadcast={container}.hang");
        play(container, &to, video, Some(audio))
    });
    let player = Pipeline::launch(&players.concat());
    let sinks = ITS_CONTAINERS.map(|container| {
        let record = |kind| player.record(&format!("{container}-{kind}"));
        (container, record("video"), record("audio"))
    });
    player.set(gst::State::Playing);
    let played = sinks
        .map(|(container, seen, heard)| (container, assert_played(container, &seen, Some(&heard))));
    let path = at_relay(&relay, Sessions::Publishers);
    keep("its moqsink → moqsrc", (video, audio), &played, &path);
}

#[test]
fn it_plays_our_h264_and_opus_in_each_container() {
    it_plays(&H264, &OPUS);
}

#[test]
fn it_plays_our_h264_and_aac_in_each_container() {
    it_plays(&H264, &AAC);
}

#[test]
fn it_plays_our_h265_and_aac_in_each_container() {
    it_plays(&H265, &AAC);
}

#[test]
fn it_plays_our_vp8_and_mp3_in_each_container() {
    it_plays(&VP8, &MP3);
}

#[test]
fn it_plays_our_vp9_in_each_container() {
    it_plays(&VP9, &OPUS);
}

#[test]
fn it_plays_our_av1_in_each_container() {
    it_plays(&AV1, &OPUS);
}

#[test]
fn we_play_its_h264_and_opus_in_legacy_and_loc() {
    we_play(&H264, &OPUS);
}

#[test]
fn we_play_its_h264_and_aac_in_legacy_and_loc() {
    we_play(&H264, &AAC);
}

#[test]
fn we_play_its_h265_and_aac_in_legacy_and_loc() {
    we_play(&H265, &AAC);
}

#[test]
fn we_play_its_vp8_and_mp3_in_legacy_and_loc() {
    we_play(&VP8, &MP3);
}

#[test]
fn we_play_its_vp9_in_legacy_and_loc() {
    we_play(&VP9, &OPUS);
}

#[test]
fn we_play_its_av1_in_legacy_and_loc() {
    we_play(&AV1, &OPUS);
}
