//! Catalogs of others over the wire: their forms, drafts and liberties, and what a hostile one costs.

mod common;
mod moqsrc_support;

use std::sync::Arc;

use common::{
    Pipeline, Record,
    foreign::{Coded, Foreign, Track},
    wait_until,
};
use gst::prelude::*;
use gstmoq::{
    media::catalog::{AudioRendition, Rendition, VideoRendition, deflate, hang},
    net::relay::Relay,
};
use moqsrc_support::{attach, relay};
use parking_lot::Mutex;

const HANG: &str = r#"{"audio":{"renditions":{"sound":{"codec":"opus","sampleRate":48000,"numberOfChannels":2,"container":{"kind":"loc"}}}}}"#;

fn opus(container: gstmoq::media::catalog::Container) -> Rendition {
    Rendition::Audio(AudioRendition {
        codec: "opus".into(),
        sample_rate: 48_000,
        channels: 2,
        container,
        ..AudioRendition::default()
    })
}

/// So much sound, in LOC.
fn sound(name: &str, seconds: u32) -> Track {
    let coded = Coded::new(&format!(
        "audiotestsrc num-buffers={} samplesperbuffer=960 wave=white-noise ! audio/x-raw,rate=48000,channels=2 ! opusenc",
        50 * seconds
    ));
    Track {
        name: name.into(),
        rendition: opus(gstmoq::media::catalog::Container::Loc),
        units: coded.units,
        per_object: 1,
    }
}

/// So much video, a key frame twice a second.
fn picture(name: &str, seconds: u32) -> Track {
    let coded = Coded::new(&format!(
        "videotestsrc num-buffers={} ! video/x-raw,width=160,height=128,framerate=30/1 ! vp8enc deadline=1 keyframe-max-dist=15",
        30 * seconds
    ));
    Track {
        name: name.into(),
        rendition: Rendition::Video(VideoRendition {
            codec: "vp8".into(),
            ..VideoRendition::default()
        }),
        units: coded.units,
        per_object: 1,
    }
}

/// A moqsrc for this broadcast that links a sink to every pad.
struct Player {
    pipeline: Pipeline,
    pads: Arc<Mutex<Vec<(gst::Pad, Record)>>>,
}

impl Player {
    fn start(relay: &Relay, broadcast: &str, properties: &str) -> Self {
        let pipeline = Pipeline::launch(&format!(
            "moqsrc name=src url={} broadcast={broadcast} {properties} fakesink name=other async=false",
            relay.url()
        ));
        let pads = Arc::<Mutex<Vec<(gst::Pad, Record)>>>::default();
        let (into, weak) = (pads.clone(), pipeline.0.downgrade());
        pipeline.by_name("src").connect_pad_added(move |_, pad| {
            if let Some(pipeline) = weak.upgrade() {
                // Borrowed: the pipeline is stopped by who made it.
                let pipeline = std::mem::ManuallyDrop::new(Pipeline(pipeline));
                let record = attach(&pipeline, pad);
                into.lock().push((pad.clone(), record));
            }
        });
        pipeline.set(gst::State::Playing);
        Self { pipeline, pads }
    }

    fn pad(&self, name: &str) -> (gst::Pad, Record) {
        wait_until(&format!("a pad {name}"), || {
            self.pads.lock().iter().any(|(pad, _)| pad.name() == name)
        });
        let pads = self.pads.lock();
        let found = pads.iter().find(|(pad, _)| pad.name() == name);
        found.expect("just seen").clone()
    }

    fn pad_names(&self) -> Vec<String> {
        let pads = self.pads.lock();
        pads.iter().map(|(pad, _)| pad.name().to_string()).collect()
    }

    /// The `cause` of the next warning.
    fn warning(&self) -> String {
        self.pipeline
            .wait_for("a warning", |message| match message.view() {
                gst::MessageView::Warning(warning) => {
                    warning.details()?.get::<String>("cause").ok()
                }
                _ => None,
            })
    }
}

#[test]
fn each_form_and_draft_of_a_catalog_is_played() {
    let relay = relay();
    let z = deflate::Encoder::default().encode(HANG.as_bytes());
    let draft_00 = br#"{"version":1,"tracks":[{"name":"sound","packaging":"loc","isLive":true,"role":"audio","codec":"opus","samplerate":48000,"channelConfig":"2"}]}"#;
    let draft_01 = br#"{"version":"draft-01","generatedAt":1,"tracks":[{"name":"sound","packaging":"loc","isLive":true,"role":"audio","codec":"opus","samplerate":48000,"channelConfig":"2","renderGroup":1,"maxGrpSapStartingType":1}],"initDataList":[]}"#;
    // No version, no role, a number for channels, a track that is none.
    let sloppy = br#"{"tracks":[{"name":"timeline","packaging":"eventtimeline"},{"name":"sound","packaging":"loc","codec":"opus","channelConfig":2,"whatever":[1]}]}"#;
    for (name, track, catalog) in [
        ("plain.hang", "catalog.json", HANG.as_bytes()),
        ("packed.hang", "catalog.json.z", &z),
        ("draft-00.msf", "catalog", draft_00),
        ("draft-01.msf", "catalog", draft_01),
        ("draft-01.hang", "catalog", draft_01),
        ("sloppy", "catalog", sloppy),
    ] {
        let mut publisher = Foreign::new(&relay.url(), name);
        publisher.catalog(track, &[catalog]);
        publisher.track(sound("sound", 1));
        publisher.announce();
        let player = Player::start(&relay, name, "");
        let (pad, record) = player.pad("audio_0");
        wait_until(&format!("{name} is subscribed"), || publisher.is_used());
        publisher.feed();
        record.wait_count(20);
        let caps = pad.current_caps().expect("caps");
        let expected = "audio/x-opus,rate=48000,channels=2,channel-mapping-family=0";
        assert_eq!(caps, expected.parse::<gst::Caps>().expect("caps"), "{name}");
    }
}

#[test]
fn the_property_says_which_form_is_read() {
    let relay = relay();
    let msf = r#"{"version":"draft-01","tracks":[{"name":"picture","packaging":"legacy","role":"video","codec":"vp8"}]}"#;
    let mut publisher = Foreign::new(&relay.url(), "both.hang");
    publisher.catalog("catalog.json", &[HANG.as_bytes()]);
    publisher.catalog("catalog", &[msf.as_bytes()]);
    publisher.announce();
    for (properties, pad) in [
        ("", "audio_0"),
        ("catalog=hang", "audio_0"),
        ("catalog=msf", "video_0"),
    ] {
        let player = Player::start(&relay, "both.hang", properties);
        player.pad(pad);
        assert_eq!(player.pad_names(), [pad], "{properties}");
    }
}

#[test]
fn deltas_add_pads_and_leave_the_others_as_they_are() {
    let relay = relay();
    let whole =
        r#"{"version":1,"tracks":[{"name":"a","packaging":"loc","role":"audio","codec":"opus"}]}"#;
    let add = r#"{"deltaUpdate":true,"addTracks":[{"name":"v","packaging":"legacy","role":"video","codec":"vp8","width":160,"height":128}]}"#;
    let clone = r#"{"deltaUpdate":true,"cloneTracks":[{"parentName":"v","name":"w","width":320,"height":256}]}"#;
    let mut publisher = Foreign::new(&relay.url(), "deltas.msf");
    publisher.catalog("catalog", &[whole.as_bytes()]);
    publisher.track(sound("a", 3));
    publisher.announce();
    let player = Player::start(&relay, "deltas.msf", "");
    let (_, record) = player.pad("audio_0");
    wait_until("the sound is subscribed", || publisher.is_used());
    publisher.feed();
    record.wait_count(10);
    publisher.catalog(
        "catalog",
        &[whole.as_bytes(), add.as_bytes(), clone.as_bytes()],
    );
    let (pad, _) = player.pad("video_1");
    let caps = pad.current_caps().expect("caps");
    let structure = caps.structure(0).expect("one");
    assert_eq!(structure.get::<i32>("width"), Ok(320));
    let before = record.len();
    let seen = record.wait_count(before + 20);
    assert!(seen.iter().skip(1).all(|packet| !packet.is_discont()));
    assert_eq!(player.pad_names(), ["audio_0", "video_0", "video_1"]);
}

#[test]
fn a_hostile_catalog_costs_its_own_broadcast_only() {
    let relay = relay();
    let mut good = Foreign::new(&relay.url(), "good.hang");
    good.catalog("catalog.json", &[HANG.as_bytes()]);
    good.track(sound("sound", 4));
    good.announce();
    let player = Player::start(&relay, "good.hang", "");
    let (_, record) = player.pad("audio_0");
    wait_until("the good one is subscribed", || good.is_used());
    good.feed();
    record.wait_count(10);

    let packed = |json: &[u8]| deflate::Encoder::default().encode(json);
    let (bomb, mended) = (packed(&vec![b'['; 8 << 20]), packed(HANG.as_bytes()));
    let msf = br#"{"tracks":[{"name":"sound","packaging":"loc","role":"audio","codec":"opus"}]}"#;
    let deep = "[".repeat(100_000);
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(2 << 20));
    for (name, track, frame, mended) in [
        ("bomb.hang", "catalog.json.z", &bomb[..], &mended[..]),
        (
            "deep.hang",
            "catalog.json",
            deep.as_bytes(),
            HANG.as_bytes(),
        ),
        ("large.msf", "catalog", large.as_bytes(), msf),
    ] {
        let mut hostile = Foreign::new(&relay.url(), name);
        hostile.catalog(track, &[frame]);
        hostile.announce();
        let victim = Player::start(&relay, name, "");
        assert_eq!(victim.warning(), "catalog", "{name}");
        assert!(victim.pad_names().is_empty(), "{name}");
        hostile.catalog(track, &[mended]);
        victim.pad("audio_0");
    }
    let before = record.len();
    let seen = record.wait_count(before + 20);
    assert!(seen.iter().skip(1).all(|packet| !packet.is_discont()));
}

#[test]
fn what_cannot_be_played_costs_its_own_track_only() {
    let relay = relay();
    let mixed = r#"{"video":{"renditions":{"future":{"codec":"vvc1.1.2"},"boxed":{"codec":"vp8","container":{"kind":"warp"}},"init":{"codec":"vp8","container":{"kind":"cmaf","init":"AAAA"}}}},
        "audio":{"renditions":{"sound":{"codec":"opus","sampleRate":48000,"numberOfChannels":2,"container":{"kind":"loc"}}}}}"#;
    let mut publisher = Foreign::new(&relay.url(), "mixed.hang");
    publisher.catalog("catalog.json", &[mixed.as_bytes()]);
    publisher.track(sound("sound", 1));
    publisher.announce();
    let player = Player::start(&relay, "mixed.hang", "");
    let (_, record) = player.pad("audio_0");
    wait_until("the sound is subscribed", || publisher.is_used());
    publisher.feed();
    record.wait_count(20);
    assert_eq!(player.pad_names(), ["audio_0"]);
    // The init segment that is none.
    assert_eq!(player.warning(), "codec");
}

#[test]
fn tracks_of_sibling_broadcasts_come_and_go_alone() {
    let relay = relay();
    let catalog = r#"{"video":{"renditions":{"picture":{"codec":"vp8","broadcast":"./cameras/left.hang"},"outside":{"codec":"vp8","broadcast":"../../secret.hang"}}},
        "audio":{"renditions":{"sound":{"codec":"opus","sampleRate":48000,"numberOfChannels":2,"container":{"kind":"loc"}}}}}"#;
    let mut publisher = Foreign::new(&relay.url(), "stage/main.hang");
    publisher.catalog("catalog.json", &[catalog.as_bytes()]);
    publisher.track(sound("sound", 6));
    publisher.announce();
    let player = Player::start(&relay, "stage/main.hang", "");
    let (_, heard) = player.pad("audio_0");
    let (_, seen) = player.pad("video_0");
    wait_until("the sound is subscribed", || publisher.is_used());
    publisher.feed();
    heard.wait_count(20);
    assert_eq!(seen.len(), 0);

    let mut sibling = Foreign::new(&relay.url(), "stage/cameras/left.hang");
    sibling.track(picture("picture", 1));
    sibling.announce();
    wait_until("the picture is subscribed", || sibling.is_used());
    sibling.feed();
    seen.wait_count(15);
    drop(sibling);

    let before = heard.len();
    let packets = heard.wait_count(before + 50);
    let whole = packets.iter().skip(1).all(|packet| !packet.is_discont());
    assert!(whole, "the sound is not concerned");
    assert_eq!(player.pad_names(), ["video_0", "audio_0"]);
}

#[test]
fn tags_say_language_title_codec_and_bitrate() {
    let relay = relay();
    let mut track = sound("sound", 1);
    if let Rendition::Audio(audio) = &mut track.rendition {
        audio.label = Some("Commentary".into());
        audio.language = Some("de-AT".into());
        audio.bitrate = Some(96_000);
    }
    let mut publisher = Foreign::new(&relay.url(), "tags.hang");
    publisher.track(track);
    let catalog = hang::write(&publisher.renditions());
    publisher.catalog(hang::TRACK, &[&catalog]);
    publisher.announce();
    let player = Player::start(&relay, "tags.hang", "");
    let (pad, record) = player.pad("audio_0");
    wait_until("it is subscribed", || publisher.is_used());
    publisher.feed();
    record.wait_count(5);
    let of_stream = pad.stream().expect("a stream").tags().expect("tags");
    let event = pad.sticky_event::<gst::event::Tag>(0).expect("a TAG event");
    for tags in [of_stream, event.tag_owned()] {
        let text = |name: &str| {
            let value = tags.generic(name)?.get::<String>();
            value.ok()
        };
        assert_eq!(text("language-code").as_deref(), Some("de"), "{tags}");
        assert_eq!(text("title").as_deref(), Some("Commentary"));
        assert_eq!(text("audio-codec").as_deref(), Some("Opus"));
        let bitrate = tags.get::<gst::tags::NominalBitrate>();
        assert_eq!(bitrate.map(|bitrate| bitrate.get()), Some(96_000));
    }
}

#[test]
fn a_stalled_rendition_gets_a_pad_when_it_goes_on_or_when_there_is_no_other() {
    let relay = relay();
    let catalog = |stalled: bool| {
        format!(
            r#"{{"video":{{"renditions":{{"hd":{{"codec":"vp8","stalled":{stalled}}},"sd":{{"codec":"vp8"}}}}}}}}"#
        )
    };
    let mut publisher = Foreign::new(&relay.url(), "stalled.hang");
    publisher.catalog("catalog.json", &[catalog(true).as_bytes()]);
    publisher.announce();
    let player = Player::start(&relay, "stalled.hang", "");
    let id = |pad: &gst::Pad| pad.stream_id().expect("a stream").to_string();
    let (pad, _) = player.pad("video_0");
    assert!(id(&pad).ends_with("/sd"));
    publisher.catalog("catalog.json", &[catalog(false).as_bytes()]);
    let (pad, _) = player.pad("video_1");
    assert!(id(&pad).ends_with("/hd"));

    let mut alone = Foreign::new(&relay.url(), "alone.hang");
    let only = br#"{"video":{"renditions":{"hd":{"codec":"vp8","stalled":true}}}}"#;
    alone.catalog("catalog.json", &[only]);
    alone.announce();
    Player::start(&relay, "alone.hang", "").pad("video_0");
}

/// Row 24.
#[test]
fn a_change_that_concerns_no_decoder_interrupts_nothing() {
    let relay = relay();
    let catalog = |bitrate: u32| {
        format!(
            r#"{{"audio":{{"renditions":{{"sound":{{"codec":"opus","sampleRate":48000,"numberOfChannels":2,"bitrate":{bitrate},"container":{{"kind":"loc"}}}}}}}}}}"#
        )
    };
    let mut publisher = Foreign::new(&relay.url(), "estimates.hang");
    publisher.catalog("catalog.json", &[catalog(1).as_bytes()]);
    publisher.track(sound("sound", 4));
    publisher.announce();
    let player = Player::start(&relay, "estimates.hang", "");
    let (pad, record) = player.pad("audio_0");
    let stream = pad.stream().expect("a stream");
    let events = Arc::<Mutex<Vec<gst::EventType>>>::default();
    let into = events.clone();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(event) = info.event() {
            into.lock().push(event.type_());
        }
        gst::PadProbeReturn::Ok
    });
    wait_until("it is subscribed", || publisher.is_used());
    publisher.feed();
    record.wait_count(20);
    events.lock().clear();
    for bitrate in 2..=5 {
        publisher.catalog("catalog.json", &[catalog(bitrate).as_bytes()]);
    }
    let bitrate = || {
        let tags = stream.tags()?;
        Some(tags.get::<gst::tags::NominalBitrate>()?.get())
    };
    wait_until("the stream says the newest", || bitrate() == Some(5));
    let before = record.len();
    let seen = record.wait_count(before + 20);
    assert!(seen.iter().skip(1).all(|packet| !packet.is_discont()));
    let events = events.lock();
    let only_tags = events.iter().all(|event| *event == gst::EventType::Tag);
    assert!(only_tags && !events.is_empty(), "{events:?}");
}
