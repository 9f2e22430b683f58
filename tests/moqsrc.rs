//! moqsrc against the embedded relay, fed by a publisher that is not moqsink.

mod common;
mod moqsrc_support;

use common::{
    Pipeline,
    publisher::{BROADCAST, Publisher},
    wait_until,
};
use gst::prelude::*;
use moqsrc_support::{attach, bare, player, relay, wait_no_more_pads};
use parking_lot::Mutex;

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

fn pad_latency(pad: &gst::Pad) -> (bool, gst::ClockTime, Option<gst::ClockTime>) {
    let mut query = gst::query::Latency::new();
    assert!(pad.query(&mut query));
    query.result()
}

/// Row 2.
#[test]
fn latency_is_answered_on_every_pad_and_a_change_is_told() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 30);
    let (pipeline, source) = bare(&relay, "latency=250");
    wait_no_more_pads(&source, || pipeline.set(gst::State::Playing));
    let pads = source.src_pads();
    assert_eq!(pads.len(), 2);
    let ms = gst::ClockTime::from_mseconds;
    for pad in &pads {
        assert_eq!(pad_latency(pad), (true, ms(250), None), "{}", pad.name());
    }
    let mut query = gst::query::Latency::new();
    assert!(source.query(&mut query));
    assert_eq!(query.result(), (true, ms(250), None));

    // What was posted at the start is not the message that is waited for.
    let bus = pipeline.0.bus().expect("a bus");
    while bus.pop().is_some() {}
    source.set_property("latency", 400u32);
    pipeline.wait_for("LATENCY", |message| match message.view() {
        gst::MessageView::Latency(latency) => latency
            .src()
            .is_some_and(|src| src == source.upcast_ref::<gst::Object>())
            .then_some(()),
        _ => None,
    });
    for pad in &pads {
        assert_eq!(pad_latency(pad), (true, ms(400), None), "{}", pad.name());
    }
}

/// Row 2: what made the peer drop 75 frames of 78.
#[test]
fn a_synchronised_sink_drops_nothing() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 30);
    let pipeline = Pipeline::launch(&format!(
        "moqsrc name=src url={} broadcast={BROADCAST} latency=200 src.video_0 ! queue ! \
         fakesink name=video sync=true max-lateness=20000000 qos=true",
        relay.url()
    ));
    let video = pipeline.record("video");
    pipeline.set(gst::State::Playing);
    video.wait("a second and a half in the segment", |seen| {
        seen.iter().filter(|seen| seen.running.is_some()).count() >= 45
    });
    let stats: gst::Structure = pipeline.by_name("video").property("stats");
    assert_eq!(stats.get::<u64>("dropped"), Ok(0), "{stats}");
}

#[test]
fn it_is_live_not_seekable_without_duration_and_selectable() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 30);
    let (pipeline, source) = bare(&relay, "");
    wait_no_more_pads(&source, || pipeline.set(gst::State::Playing));
    for pad in source.src_pads() {
        let mut seeking = gst::query::Seeking::new(gst::Format::Time);
        assert!(pad.query(&mut seeking));
        assert!(!seeking.result().0);
        assert!(!pad.query(&mut gst::query::Duration::new(gst::Format::Time)));
        let mut selectable = gst::query::Selectable::new();
        assert!(pad.query(&mut selectable));
        assert!(selectable.selectable());
        let seek = || {
            gst::event::Seek::new(
                1.0,
                gst::SeekFlags::FLUSH,
                gst::SeekType::Set,
                gst::ClockTime::ZERO,
                gst::SeekType::None,
                gst::ClockTime::NONE,
            )
        };
        assert!(!pad.send_event(seek()));
        assert!(!source.send_event(seek()));
    }
    let mut seeking = gst::query::Seeking::new(gst::Format::Time);
    assert!(source.query(&mut seeking));
    assert!(!seeking.result().0);
}

/// Row 9: the network's threads run nothing of the application.
#[test]
fn a_blocked_pad_stalls_neither_the_other_nor_the_network() {
    let relay = relay();
    let publisher = Publisher::start(&relay.url(), 30);
    let sending = publisher.pipeline.record("video");
    let (player, source) = bare(&relay, "latency=100");
    wait_no_more_pads(&source, || player.set(gst::State::Playing));
    let pad = |name: &str| source.static_pad(name).expect("a pad");
    let video = attach(&player, &pad("video_0"));
    let audio = attach(&player, &pad("audio_0"));
    // Until the join is over: the first second may still find the live edge anew.
    video.wait_count(40);
    audio.wait_count(10);
    let blocked = pad("audio_0")
        .add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, _| {
            gst::PadProbeReturn::Ok
        })
        .expect("a probe");
    let (seen, heard) = (video.len(), audio.len());
    let sent = sending.len();
    // Two seconds of the publisher's pictures.
    sending.wait_count(sent + 60);
    let played = video.len() - seen;
    assert!(
        played >= 50,
        "{played} of 60 frames while the sound was blocked"
    );
    assert!(audio.len() <= heard + 10);
    let played = &video.all()[seen..];
    assert!(played.iter().all(|frame| !frame.is_discont()));
    pad("audio_0").remove_probe(blocked);
    audio.wait_count(heard + 60);
}

/// A downstream that fails is an error with its reason, as from every source.
#[test]
fn a_downstream_error_stops_with_an_error() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 30);
    let player = Pipeline::launch(&format!(
        "moqsrc name=src url={} broadcast={BROADCAST} src.video_0 ! identity error-after=5 ! fakesink",
        relay.url()
    ));
    player.set(gst::State::Playing);
    let errors = Mutex::new(Vec::new());
    let bus = player.0.bus().expect("a bus");
    wait_until("two errors", || {
        while let Some(message) = bus.pop() {
            if let gst::MessageView::Error(err) = message.view() {
                let from = err.src().map(|src| src.path_string().to_string());
                let flow = err
                    .details()
                    .and_then(|details| details.get::<i32>("flow-return").ok());
                errors
                    .lock()
                    .push((from.unwrap_or_default(), err.error().to_string(), flow));
            }
        }
        errors.lock().len() >= 2
    });
    let errors = errors.into_inner();
    let ours = errors
        .iter()
        .find(|(from, _, _)| from.contains("GstMoqSrc:src"));
    let (_, text, flow) = ours.expect("an error of moqsrc's");
    assert_eq!(text, "Internal data stream error.");
    assert_eq!(*flow, Some(-5));
}

#[test]
fn state_version_and_statistics_tell_of_the_run_and_are_empty_after_it() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 30);
    let player = player(&relay, "");
    let source = player.by_name("src");
    let state = || {
        let value = source.property_value("connection-state");
        let (_, value) = gst::glib::EnumValue::from_value(&value).expect("an enum");
        value.nick().to_owned()
    };
    let stats = || source.property::<gst::Structure>("stats");
    assert_eq!(stats().name(), "application/x-moqsrc-stats");
    assert_eq!(stats().n_fields(), 0);
    let video = player.record("video");
    player.set(gst::State::Playing);
    video.wait_count(20);
    assert_eq!(state(), "connected");
    let version: Option<String> = source.property("moq-version");
    assert!(version.is_some_and(|version| version.starts_with("moq-")));
    let running = stats();
    let transport: gst::Structure = running.get("transport").expect("transport");
    assert_eq!(transport.get::<String>("kind").as_deref(), Ok("quic"));
    assert!(
        transport
            .get::<u64>("bytes-received")
            .is_ok_and(|bytes| bytes > 0)
    );
    let tracks: gst::Array = running.get("tracks").expect("tracks");
    assert_eq!(tracks.len(), 2);
    for track in tracks.iter() {
        let track: gst::Structure = track.get().expect("a structure");
        assert!(
            track.get::<u64>("frames").is_ok_and(|frames| frames > 0),
            "{track}"
        );
    }

    player.0.set_state(gst::State::Ready).expect("ready");
    assert_eq!(stats().name(), "application/x-moqsrc-stats");
    assert_eq!(stats().n_fields(), 0);
    assert_eq!(source.property::<Option<String>>("moq-version"), None);
    assert_eq!(state(), "disconnected");
}
