//! moqsrc against the embedded relay, fed by a publisher that is not moqsink.

mod common;

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use common::{
    LIMIT, Pipeline, Record, init,
    publisher::{BROADCAST, Publisher},
};
use gst::prelude::*;
use gstmoq::net::relay::{Relay, RelayConfig};
use parking_lot::Mutex;

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

/// moqsink publishes one H.264 and one Opus track; its pads tell who is subscribed.
fn moqsink(relay: &Relay) -> Pipeline {
    Pipeline::launch(&format!(
        "moqsink name=sink url={url} broadcast={BROADCAST} \
         videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1,format=I420 ! \
         x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h264parse ! queue ! sink.video_0 \
         audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! opusenc ! queue ! sink.audio_0",
        url = relay.url()
    ))
}

/// A moqsrc in a pipeline, with nothing linked.
fn bare(relay: &Relay, properties: &str) -> (Pipeline, gst::Element) {
    let pipeline = Pipeline::launch(&format!(
        "moqsrc name=src url={} broadcast={BROADCAST} {properties} fakesink name=other async=false",
        relay.url()
    ));
    let source = pipeline.by_name("src");
    (pipeline, source)
}

/// Links a queue and a sink to this pad and records what arrives.
fn attach(pipeline: &Pipeline, pad: &gst::Pad) -> Record {
    let name = pad.name();
    let queue = gst::ElementFactory::make("queue").build().expect("queue");
    let sink = gst::ElementFactory::make("fakesink")
        .name(format!("sink-of-{name}"))
        .property("async", false)
        .property("sync", true)
        .build()
        .expect("fakesink");
    pipeline.0.add_many([&queue, &sink]).expect("added");
    queue.link(&sink).expect("linked");
    let record = pipeline.record(&format!("sink-of-{name}"));
    for element in [&sink, &queue] {
        element.sync_state_with_parent().expect("started");
    }
    pad.link(&queue.static_pad("sink").expect("a pad"))
        .expect("linked");
    record
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn wait_no_more_pads(source: &gst::Element, play: impl FnOnce()) {
    let (done, complete) = mpsc::channel();
    source.connect_no_more_pads(move |_| {
        let _ = done.send(());
    });
    play();
    complete.recv_timeout(LIMIT).expect("no-more-pads");
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

/// The group id and the id of each stream, by pad.
fn stream_starts(source: &gst::Element) -> BTreeMap<String, (gst::GroupId, String)> {
    let of = |pad: &gst::Pad| {
        let event = pad.sticky_event::<gst::event::StreamStart>(0)?;
        let stream = event.stream()?;
        assert_eq!(stream.stream_id().as_deref(), Some(event.stream_id()));
        Some((event.group_id()?, event.stream_id().to_string()))
    };
    source
        .src_pads()
        .iter()
        .map(|pad| (pad.name().to_string(), of(pad).expect("a stream")))
        .collect()
}

/// Row 6.
#[test]
fn all_pads_share_a_group_and_streams_keep_their_own_ids() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 30);
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (pipeline, source) = bare(&relay, "");
        wait_no_more_pads(&source, || pipeline.set(gst::State::Playing));
        // Also after the streaming threads have pushed the events of the base class.
        let records: Vec<Record> = source
            .src_pads()
            .iter()
            .map(|pad| attach(&pipeline, pad))
            .collect();
        for record in &records {
            record.wait_count(2);
        }
        runs.push(stream_starts(&source));
    }
    let ids =
        |run: usize| -> Vec<String> { runs[run].values().map(|(_, id)| id.clone()).collect() };
    for run in &runs {
        assert_eq!(run["video_0"].0, run["audio_0"].0);
        assert_ne!(run["video_0"].1, run["audio_0"].1);
    }
    assert_eq!(ids(0), ids(1), "stable over runs");
    assert!(ids(0)[0].ends_with("/audio") && ids(0)[0].len() > "/audio".len());
}

/// What passed a pad, in order.
#[derive(Debug, PartialEq)]
enum Passed {
    Event(gst::EventType),
    Buffer(Option<gst::ClockTime>, gst::BufferFlags),
}

/// Rows 4 and 7: what muxers and decoders rely on. Emulates GstValidate's checks.
#[test]
fn every_pad_begins_with_its_sticky_events_and_ends_with_one_eos() {
    let relay = relay();
    let _publisher = Publisher::start(&relay.url(), 30);
    let player = player(&relay, "");
    let passed: Arc<Mutex<BTreeMap<String, Vec<Passed>>>> = Arc::default();
    let into = passed.clone();
    player.by_name("src").connect_pad_added(move |_, pad| {
        let (into, name) = (into.clone(), pad.name().to_string());
        let both = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad.add_probe(both, move |_, info| {
            let item = match &info.data {
                Some(gst::PadProbeData::Event(event)) => Passed::Event(event.type_()),
                Some(gst::PadProbeData::Buffer(buffer)) => {
                    Passed::Buffer(buffer.dts_or_pts(), buffer.flags())
                }
                _ => return gst::PadProbeReturn::Ok,
            };
            into.lock().entry(name.clone()).or_default().push(item);
            gst::PadProbeReturn::Ok
        });
    });
    let (video, audio) = (player.record("video"), player.record("audio"));
    player.set(gst::State::Playing);
    video.wait_count(40);
    audio.wait_count(40);
    // As gst-launch-1.0 -e does.
    assert!(player.0.send_event(gst::event::Eos::new()));
    player.wait_eos();
    let passed = passed.lock();
    assert_eq!(passed.len(), 2);
    for (pad, items) in passed.iter() {
        let first_buffer = items
            .iter()
            .position(|item| matches!(item, Passed::Buffer(..)));
        let (before, rest) = items.split_at(first_buffer.expect("buffers"));
        let of = |wanted| {
            before
                .iter()
                .position(|item| *item == Passed::Event(wanted))
        };
        let order = [
            gst::EventType::StreamStart,
            gst::EventType::Caps,
            gst::EventType::Segment,
        ]
        .map(of);
        assert!(
            order.iter().all(Option::is_some) && order.is_sorted(),
            "{pad}: {before:?}"
        );
        assert_eq!(
            items.last(),
            Some(&Passed::Event(gst::EventType::Eos)),
            "{pad}"
        );
        let count = |wanted| {
            items
                .iter()
                .filter(|item| **item == Passed::Event(wanted))
                .count()
        };
        assert_eq!(count(gst::EventType::Eos), 1, "{pad}");
        assert_eq!(count(gst::EventType::Caps), 1, "{pad}: caps again");
        assert_in_order(pad, rest);
    }
}

/// Decoding order goes on within a segment. On a machine that stalls, the mapping may be made anew: that is a segment and a
/// buffer that say so.
fn assert_in_order(pad: &str, items: &[Passed]) {
    let anew = gst::BufferFlags::DISCONT | gst::BufferFlags::RESYNC;
    let (mut last, mut new_segment) = (gst::ClockTime::ZERO, false);
    for item in items {
        match item {
            Passed::Event(gst::EventType::Segment) => new_segment = true,
            Passed::Event(_) => {}
            Passed::Buffer(stamp, flags) => {
                let stamp = stamp.expect("a stamp");
                if std::mem::take(&mut new_segment) {
                    assert!(flags.contains(anew), "{pad}: a new segment and {flags:?}");
                } else {
                    assert!(stamp > last, "{pad}: {stamp} after {last}: {items:?}");
                }
                last = stamp;
            }
        }
    }
}

/// Row 4: caps are those of the decoders, with nothing invented.
#[test]
fn caps_are_exact_and_link_to_decoders_without_a_parser() {
    let relay = relay();
    let _publisher = moqsink(&relay);
    _publisher.set(gst::State::Playing);
    let player = Pipeline::launch(&format!(
        "moqsrc name=src url={} broadcast={BROADCAST} src.video_0 ! avdec_h264 ! fakesink name=video \
         src.audio_0 ! opusdec ! fakesink name=audio",
        relay.url()
    ));
    let (video, audio) = (player.record("video"), player.record("audio"));
    player.set(gst::State::Playing);
    let picture = video.wait_count(5).remove(0);
    assert_eq!(picture.size, 320 * 240 * 3 / 2);
    audio.wait_count(5);
    let caps = |pad: &str| {
        let pad = player.by_name("src").static_pad(pad).expect("a pad");
        pad.current_caps()
            .expect("caps")
            .structure(0)
            .expect("one")
            .to_owned()
    };
    let video = caps("video_0");
    assert_eq!(video.name(), "video/x-h264");
    let text = |field: &str| video.get::<String>(field).unwrap_or_default();
    assert!(
        ["avc", "byte-stream"].contains(&text("stream-format").as_str()),
        "{video}"
    );
    assert_eq!(text("alignment"), "au");
    assert_eq!(
        (video.get("width"), video.get("height")),
        (Ok(320), Ok(240))
    );
    assert_eq!(video.get("framerate"), Ok(gst::Fraction::new(30, 1)));
    let audio = caps("audio_0");
    assert_eq!(audio.name(), "audio/x-opus");
    assert_eq!(
        (audio.get("rate"), audio.get("channels")),
        (Ok(48_000), Ok(2))
    );
    assert_eq!(audio.get("channel-mapping-family"), Ok(0));
}

fn demand(publisher: &Pipeline, pad: &str) -> bool {
    let pad = publisher.by_name("sink").static_pad(pad).expect("a pad");
    pad.property("demand")
}

/// Row 5: what nobody takes is not on the wire, and links that come later start.
#[test]
fn an_unlinked_pad_costs_nothing_and_starts_when_it_is_linked() {
    let relay = relay();
    let publisher = moqsink(&relay);
    publisher.set(gst::State::Playing);
    let (player, source) = bare(&relay, "");
    wait_no_more_pads(&source, || player.set(gst::State::Playing));
    let pad = |name: &str| source.static_pad(name).expect("a pad");
    let video = attach(&player, &pad("video_0"));
    video.wait_count(30);
    assert!(demand(&publisher, "video_0"));
    assert!(!demand(&publisher, "audio_0"));

    let audio = attach(&player, &pad("audio_0"));
    assert!(audio.wait_count(10)[0].is_discont());
    assert!(demand(&publisher, "audio_0"));
    // Unlinked again: the subscription goes, the other pad plays on.
    let peer = pad("video_0").peer().expect("linked");
    pad("video_0").unlink(&peer).expect("unlinked");
    wait_until("the video's subscription ends", || {
        !demand(&publisher, "video_0")
    });
    let so_far = audio.len();
    audio.wait_count(so_far + 20);
    assert_eq!(source.num_src_pads(), 2);
}

/// Row 5: a NOT_LINKED from further down ends the subscription, and a link there brings it back.
#[test]
fn a_branch_that_leads_nowhere_is_not_subscribed_until_it_leads_somewhere() {
    let relay = relay();
    let publisher = moqsink(&relay);
    publisher.set(gst::State::Playing);
    let (player, source) = bare(&relay, "");
    wait_no_more_pads(&source, || player.set(gst::State::Playing));
    let identity = gst::ElementFactory::make("identity")
        .name("end")
        .build()
        .expect("identity");
    player.0.add(&identity).expect("added");
    identity.sync_state_with_parent().expect("started");
    let video = attach(&player, &source.static_pad("video_0").expect("a pad"));
    let pad = source.static_pad("audio_0").expect("a pad");
    pad.link(&identity.static_pad("sink").expect("a pad"))
        .expect("linked");
    video.wait_count(10);
    wait_until("the audio's subscription ends", || {
        !demand(&publisher, "audio_0")
    });
    let so_far = video.len();
    video.wait_count(so_far + 20);

    let audio = attach(&player, &identity.static_pad("src").expect("a pad"));
    audio.wait_count(10);
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
    video.wait_count(10);
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

/// The tracks of a collection by kind.
fn streams(collection: &gst::StreamCollection) -> BTreeMap<String, String> {
    collection
        .iter()
        .map(|stream| {
            let kind = stream.stream_type().to_string();
            (kind, stream.stream_id().expect("an id").to_string())
        })
        .collect()
}

fn wait_selected(pipeline: &Pipeline, count: usize) -> Vec<String> {
    pipeline.wait_for("STREAMS_SELECTED", |message| match message.view() {
        gst::MessageView::StreamsSelected(selected) => {
            let ids: Vec<String> = selected
                .streams()
                .map(|stream| stream.stream_id().expect("an id").to_string())
                .collect();
            (ids.len() == count).then_some(ids)
        }
        _ => None,
    })
}

/// Row 5.
#[test]
fn streams_are_announced_and_selected() {
    let relay = relay();
    let publisher = moqsink(&relay);
    publisher.set(gst::State::Playing);
    let (player, source) = bare(&relay, "");
    wait_no_more_pads(&source, || player.set(gst::State::Playing));
    let collection = player.wait_for("the collection", |message| match message.view() {
        gst::MessageView::StreamCollection(collection) => Some(collection.stream_collection()),
        _ => None,
    });
    let by_kind = streams(&collection);
    assert_eq!(by_kind.len(), 2);
    for stream in collection.iter() {
        let caps = stream.caps().expect("caps");
        assert!(caps.is_fixed(), "{caps}");
    }
    assert_eq!(wait_selected(&player, 2).len(), 2);
    let ids: BTreeMap<_, _> = stream_starts(&source)
        .into_iter()
        .map(|(pad, (_, id))| (pad, id))
        .collect();
    let mut by_pad: Vec<_> = ids.values().cloned().collect();
    let mut by_collection: Vec<_> = by_kind.values().cloned().collect();
    by_pad.sort();
    by_collection.sort();
    assert_eq!(by_pad, by_collection);

    let video = attach(&player, &source.static_pad("video_0").expect("a pad"));
    let audio_pad = source.static_pad("audio_0").expect("a pad");
    let audio = attach(&player, &audio_pad);
    video.wait_count(5);
    audio.wait_count(5);
    let (ended, eos) = mpsc::channel();
    let sink = player
        .by_name("sink-of-audio_0")
        .static_pad("sink")
        .expect("a pad");
    sink.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if info
            .event()
            .is_some_and(|event| event.type_() == gst::EventType::Eos)
        {
            let _ = ended.send(());
        }
        gst::PadProbeReturn::Ok
    });

    // The pad of what is not chosen ends and goes.
    let chosen = [ids["video_0"].as_str()];
    assert!(source.send_event(gst::event::SelectStreams::new(chosen)));
    eos.recv_timeout(LIMIT).expect("EOS on the pad that goes");
    assert_eq!(wait_selected(&player, 1), chosen);
    wait_until("the pad goes", || source.static_pad("audio_0").is_none());
    wait_until("its subscription ends", || !demand(&publisher, "audio_0"));
    let so_far = video.len();
    video.wait_count(so_far + 10);
    assert!(video.all().iter().skip(1).all(|frame| !frame.is_discont()));

    // And comes back, asked for at a pad this time.
    let both: Vec<&str> = ids.values().map(String::as_str).collect();
    let video_pad = source.static_pad("video_0").expect("a pad");
    let (added, again) = mpsc::channel();
    source.connect_pad_added(move |_, pad| {
        let _ = added.send(pad.clone());
    });
    assert!(video_pad.send_event(gst::event::SelectStreams::new(both)));
    let pad = again.recv_timeout(LIMIT).expect("the pad comes back");
    assert_eq!(wait_selected(&player, 2).len(), 2);
    let start = pad
        .sticky_event::<gst::event::StreamStart>(0)
        .expect("stream-start");
    assert_eq!(start.stream_id(), ids["audio_0"]);
    let audio = attach(&player, &pad);
    audio.wait_count(10);
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
    assert_eq!(
        transport.get::<String>("kind").as_deref(),
        Ok("webtransport")
    );
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
