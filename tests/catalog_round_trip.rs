//! What caps and tags say goes into the catalog, and comes out of moqsrc as caps and tags; also when it changes while playing.

mod common;

use common::{LIMIT, Pipeline, init, wait_until};
use gst::prelude::*;
use gstmoq::net::relay::{Relay, RelayConfig};

const CONTAINERS: [&str; 3] = ["legacy", "loc", "cmaf"];

/// A relay, a publisher of this to moqsink's pad `sink_0` in this container, and a player of it into an element named `got`.
fn pair(source: &str, container: &str, pad: &str) -> (Relay, Pipeline, Pipeline) {
    init();
    let relay = Relay::start(RelayConfig::local()).expect("a relay");
    let url = relay.url();
    let publisher = Pipeline::launch(&format!(
        "{source} ! moqsink name=sink url={url} broadcast=a.hang sink_0::container={container}"
    ));
    let player = Pipeline::launch(&format!(
        "moqsrc name=src url={url} broadcast=a.hang src.{pad}_0 ! fakesink name=got sync=false"
    ));
    player.set(gst::State::Playing);
    publisher.set(gst::State::Playing);
    (relay, publisher, player)
}

fn caps(player: &Pipeline) -> Option<gst::Structure> {
    let caps = player.by_name("got").static_pad("sink")?.current_caps()?;
    Some(caps.structure(0)?.to_owned())
}

/// The tags of the pad that feeds the sink, as text.
fn tag(player: &Pipeline, name: &str) -> Option<String> {
    let pad = player.by_name("got").static_pad("sink")?;
    let event = pad.sticky_event::<gst::event::Tag>(0)?;
    event.tag().generic(name)?.get::<String>().ok()
}

#[test]
fn size_rate_aspect_and_title_of_pictures_come_back() {
    for encoder in [
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h264parse",
        "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h265parse",
        "vp8enc deadline=1 cpu-used=8 keyframe-max-dist=15",
        "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=15 lag-in-frames=0",
        "av1enc cpu-used=8 usage-profile=realtime lag-in-frames=0 keyframe-max-dist=15",
    ] {
        for container in CONTAINERS {
            let source = format!(
                "videotestsrc is-live=true ! video/x-raw,format=I420,width=144,height=96,framerate=30000/1001,pixel-aspect-ratio=16/15 ! \
                 {encoder} ! taginject tags=title=Main,maximum-bitrate=(uint)300000"
            );
            let (_relay, _publisher, player) = pair(&source, container, "video");
            let case = format!("{encoder} in {container}");
            wait_until(&case, || {
                caps(&player).is_some() && tag(&player, "title").is_some()
            });
            let caps = caps(&player).expect("caps");
            assert_eq!(
                (caps.get("width"), caps.get("height")),
                (Ok(144), Ok(96)),
                "{case}: {caps}"
            );
            let fraction = |field: &str| caps.get::<gst::Fraction>(field).ok();
            assert_eq!(
                fraction("framerate"),
                Some(gst::Fraction::new(30_000, 1_001)),
                "{case}"
            );
            let aspect = fraction("pixel-aspect-ratio");
            assert_eq!(aspect, Some(gst::Fraction::new(16, 15)), "{case}: {caps}");
            assert_eq!(tag(&player, "title").as_deref(), Some("Main"), "{case}");
        }
    }
}

#[test]
fn rate_channels_language_and_title_of_sound_come_back() {
    for (encoder, language, expected) in [
        ("audio/x-raw,rate=48000,channels=1 ! opusenc", "deu", "de"),
        (
            "audio/x-raw,rate=44100,channels=2 ! voaacenc ! aacparse",
            "fr",
            "fr",
        ),
        (
            "audio/x-raw,rate=44100,channels=2 ! lamemp3enc ! mpegaudioparse",
            "gsw",
            "gsw",
        ),
        (
            "audio/x-raw,rate=48000,channels=2,format=S16LE ! flacenc blocksize=960 ! flacparse",
            "eng",
            "en",
        ),
    ] {
        for container in CONTAINERS {
            let source = format!(
                "audiotestsrc is-live=true ! audioconvert ! {encoder} ! taginject tags=language-code={language},title=Comment"
            );
            let (_relay, _publisher, player) = pair(&source, container, "audio");
            let case = format!("{encoder} in {container}");
            wait_until(&case, || {
                caps(&player).is_some() && tag(&player, "title").is_some()
            });
            let caps = caps(&player).expect("caps");
            let raw: gst::Caps = encoder
                .split(" ! ")
                .next()
                .expect("caps")
                .parse()
                .expect("caps");
            let raw = raw.structure(0).expect("caps");
            for field in ["rate", "channels"] {
                assert_eq!(
                    caps.get::<i32>(field),
                    raw.get::<i32>(field),
                    "{case}: {caps}"
                );
            }
            assert_eq!(
                tag(&player, "language-code").as_deref(),
                Some(expected),
                "{case}"
            );
            assert_eq!(tag(&player, "title").as_deref(), Some("Comment"), "{case}");
        }
    }
}

/// Raw caps in front of the encoder change while it plays; what comes out is decoded in the new form, on the same pad.
fn changes(source: &str, container: &str, pad: &str, decoder: &str, to: &str) {
    init();
    let caps: gst::Caps = to.parse().expect("caps");
    let change = |publisher: &Pipeline| publisher.by_name("raw").set_property("caps", &caps);
    plays_on(source, container, pad, decoder, &caps, change);
}

/// What is published changes while it plays; what comes out is decoded as `to`, on the same pad.
fn plays_on(
    source: &str,
    container: &str,
    pad: &str,
    decoder: &str,
    to: &gst::Caps,
    change: impl FnOnce(&Pipeline),
) {
    let relay = Relay::start(RelayConfig::local()).expect("a relay");
    let url = relay.url();
    let publisher = Pipeline::launch(&format!(
        "{source} ! moqsink name=sink url={url} broadcast=a.hang sink_0::container={container}"
    ));
    let player = Pipeline::launch(&format!(
        "moqsrc name=src url={url} broadcast=a.hang src.{pad}_0 ! {decoder} ! appsink name=got sync=false drop=true max-buffers=1"
    ));
    let sink: gst_app::AppSink = player.by_name("got").downcast().expect("an appsink");
    player.set(gst::State::Playing);
    publisher.set(gst::State::Playing);
    let limit = gst::ClockTime::from_seconds(LIMIT.as_secs());
    let first = sink.try_pull_sample(limit).expect("something decoded");
    assert!(
        !first.caps().expect("caps").can_intersect(to),
        "it is so already"
    );
    change(&publisher);
    let case = format!("{source} in {container}");
    wait_until(&case, || {
        let sample = sink.try_pull_sample(limit).expect(&case);
        sample.caps().expect("caps").can_intersect(to)
    });
    assert_eq!(player.by_name("src").src_pads().len(), 1, "{case}");
}

#[test]
fn another_size_and_rate_of_pictures_is_played_on_in_every_container() {
    for (encoder, decoder) in [
        (
            "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h264parse ! video/x-h264,stream-format=avc",
            "avdec_h264",
        ),
        (
            "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h265parse ! video/x-h265,stream-format=hvc1",
            "avdec_h265",
        ),
        (
            "vp8enc deadline=1 cpu-used=8 keyframe-max-dist=15",
            "vp8dec",
        ),
    ] {
        for container in CONTAINERS {
            let source = format!(
                "videotestsrc is-live=true ! capsfilter name=raw caps=video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! {encoder}"
            );
            let to = "video/x-raw,format=I420,width=320,height=176,framerate=15/1";
            changes(&source, container, "video", decoder, to);
        }
    }
}

#[test]
fn another_rate_and_more_channels_of_sound_are_played_on_in_every_container() {
    for (encoder, decoder, from, to) in [
        (
            "voaacenc ! aacparse",
            "avdec_aac",
            "rate=48000,channels=1",
            "rate=44100,channels=2",
        ),
        (
            "opusenc",
            "opusdec",
            "rate=48000,channels=1",
            "rate=48000,channels=2",
        ),
    ] {
        for container in CONTAINERS {
            let source = format!(
                "audiotestsrc is-live=true ! audioconvert ! audioresample ! capsfilter name=raw caps=audio/x-raw,{from} ! {encoder}"
            );
            let to = format!("audio/x-raw,{to}");
            changes(&source, container, "audio", decoder, &to);
        }
    }
}

/// flacenc refuses other raw caps than its first ones (no element of ours behind it), so that another encoder takes over.
#[test]
fn flac_of_another_rate_and_more_channels_is_played_on_in_every_container() {
    const TO: &str = "audio/x-raw,rate=44100,channels=2";
    init();
    let encoded = |caps: &str, pad: &str| {
        format!(
            "audiotestsrc is-live=true ! audioconvert ! {caps},format=S16LE ! flacenc blocksize=960 ! flacparse ! choice.{pad}"
        )
    };
    for container in CONTAINERS {
        let source = format!(
            "{} {} input-selector name=choice",
            encoded("audio/x-raw,rate=48000,channels=1", "sink_0"),
            encoded(TO, "sink_1"),
        );
        let to = TO.parse().expect("caps");
        plays_on(&source, container, "audio", "flacdec", &to, |publisher| {
            let choice = publisher.by_name("choice");
            let second = choice.static_pad("sink_1").expect("a pad");
            choice.set_property("active-pad", &second);
        });
    }
}
