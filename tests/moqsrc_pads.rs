//! The pads of moqsrc: their events and caps, what is subscribed for them, and streams that are selected.

mod common;
mod moqsrc_support;

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
};

use common::{
    LIMIT, Pipeline, Record,
    publisher::{BROADCAST, Publisher},
    wait_until,
};
use gst::prelude::*;
use moqsrc_support::{attach, bare, moqsink, player, relay, wait_no_more_pads};
use parking_lot::Mutex;

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

/// Decoding order goes on, through the segment of a join that opens at the live edge, too. On a machine that stalls, the mapping may
/// be made anew: that is a segment and a buffer that say so.
fn assert_in_order(pad: &str, items: &[Passed]) {
    let anew = gst::BufferFlags::DISCONT | gst::BufferFlags::RESYNC;
    let (mut last, mut new_segment) = (gst::ClockTime::ZERO, false);
    for item in items {
        match item {
            Passed::Event(gst::EventType::Segment) => new_segment = true,
            Passed::Event(_) => {}
            Passed::Buffer(stamp, flags) => {
                let stamp = stamp.expect("a stamp");
                let made_anew = std::mem::take(&mut new_segment) && flags.contains(anew);
                assert!(
                    made_anew || stamp > last,
                    "{pad}: {stamp} after {last}: {items:?}"
                );
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
