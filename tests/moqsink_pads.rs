//! The pads of moqsink: each for itself, whatever the others do.

mod moqsink_support;
mod relay_support;

use std::time::{Duration, Instant};

use gst::prelude::*;
use moqsink_support::*;

const OPUS: &str = "audio/x-opus,rate=48000,channels=2,channel-mapping-family=0";

fn opus_source(name: &str, live: bool) -> String {
    format!("appsrc name={name} format=time is-live={live} caps={OPUS}")
}

/// A 20 ms packet.
fn packet(at_ms: u64) -> gst::Buffer {
    // TOC: CELT, 20 ms, stereo, one frame.
    let mut buffer = gst::Buffer::from_slice([0xfc_u8, 0xff, 0xfe]);
    let owned = buffer.get_mut().expect("owned");
    owned.set_pts(gst::ClockTime::from_mseconds(at_ms));
    owned.set_duration(gst::ClockTime::from_mseconds(20));
    buffer
}

fn source(pipeline: &Pipeline, name: &str) -> gst_app::AppSrc {
    pipeline.element(name).downcast().expect("appsrc")
}

fn frames(sink: &gst::Element, pad: &str) -> u64 {
    let stats: gst::Structure = sink.property("stats");
    let track: gst::Structure = stats.get(pad).expect("the pad");
    track.get("frames").expect("a counter")
}

/// GStreamer compares caps with the pad templates and does not ask the element: docs/elements/moqsink.md says what is missing.
#[test]
fn raw_pictures_and_sound_do_not_link() {
    init();
    for source in ["videotestsrc", "audiotestsrc"] {
        for pad in ["sink_0", "video_0", "audio_0"] {
            let description = format!("{source} ! sink.{pad} moqsink name=sink");
            let refused =
                gst::parse::launch_full(&description, None, gst::ParseFlags::FATAL_ERRORS);
            let refused = refused.expect_err("an encoder is missing").to_string();
            assert!(
                refused.contains("could not link"),
                "{description}: {refused}"
            );
        }
    }
}

#[test]
fn a_pad_without_data_holds_up_no_other_and_joins_the_catalog_when_it_has_some() {
    for live in [true, false] {
        let rig = Rig::new();
        let pipeline = rig.pipeline(&format!(
            "{} ! moqsink name=sink {} sink_0::track=first sink_1::track=silent {} ! sink.sink_1",
            opus_source("a", live),
            rig.to("a.hang"),
            opus_source("b", live)
        ));
        let (first, silent) = (source(&pipeline, "a"), source(&pipeline, "b"));
        let begun = Instant::now();
        pipeline.play();
        for n in 0..10 {
            first.push_buffer(packet(n * 20)).expect("pushed");
        }
        let mut catalog = run(rig.track("a.hang", "catalog.json"));
        let names = |catalog: gstmoq::media::catalog::Catalog| {
            catalog.audio.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(names(run(next_catalog(&mut catalog))), ["first"]);
        // 2 s after the first track was known.
        assert!(begun.elapsed() < Duration::from_secs(4), "live {live}");
        silent.push_buffer(packet(2_000)).expect("pushed");
        assert_eq!(names(run(next_catalog(&mut catalog))), ["first", "silent"]);
    }
}

#[test]
fn nothing_of_a_file_is_published_in_paused_and_it_is_paced_from_playing_on() {
    let rig = Rig::new();
    let pipeline = rig.pipeline(&format!(
        "{} ! moqsink name=sink {}",
        opus_source("a", false),
        rig.to("a.hang")
    ));
    let sink = pipeline.element("sink");
    let source = source(&pipeline, "a");
    let (arrived, arrives) = std::sync::mpsc::channel();
    let pad = sink.static_pad("sink_0").expect("sink_0");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        let _ = arrived.send(());
        gst::PadProbeReturn::Ok
    });
    pipeline.0.set_state(gst::State::Paused).expect("paused");
    for n in 0..50 {
        source.push_buffer(packet(n * 20)).expect("pushed");
    }
    source.end_of_stream().expect("end");
    let limit = Duration::from_secs(10);
    arrives.recv_timeout(limit).expect("the first buffer");
    // A second one would follow at once if the first was not held.
    assert!(arrives.recv_timeout(Duration::from_millis(200)).is_err());
    assert_eq!(frames(&sink, "sink_0"), 0);
    let begun = Instant::now();
    pipeline.play();
    pipeline.eos();
    let took = begun.elapsed();
    // The time in PAUSED does not count: running time begins with PLAYING.
    assert!(took >= Duration::from_millis(950), "{took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(frames(&sink, "sink_0"), 50);
}

/// A source pad that plays into `sink_0` of a moqsink, which is playing.
fn by_hand(rig: &Rig) -> (Pipeline, gst::Pad) {
    let pipeline = rig.pipeline(&format!("moqsink name=sink {}", rig.to("a.hang")));
    let pad = pipeline.element("sink").request_pad_simple("sink_0");
    let pad = pad.expect("a pad");
    pad.set_property("track", "a");
    let source = gst::Pad::new(gst::PadDirection::Src);
    source.set_active(true).expect("active");
    source.link(&pad).expect("linked");
    pipeline.play();
    (pipeline, source)
}

fn begin(source: &gst::Pad, id: &str, segment: &gst::FormattedSegment<gst::ClockTime>) {
    source.push_event(gst::event::StreamStart::new(id));
    source.push_event(gst::event::Caps::new(&OPUS.parse().expect("caps")));
    source.push_event(gst::event::Segment::new(segment));
}

#[test]
fn a_stream_after_the_end_of_another_goes_on_without_a_flush() {
    let rig = Rig::new();
    let (pipeline, source) = by_hand(&rig);
    let segment = gst::FormattedSegment::new();
    for id in ["one", "two", "three"] {
        begin(&source, id, &segment);
        source.push(packet(0)).expect(id);
        run(rig.first_group("a.hang", "a"));
        assert!(source.push_event(gst::event::Eos::new()));
        pipeline.eos();
    }
    assert_eq!(frames(&pipeline.element("sink"), "sink_0"), 3);
}

#[test]
fn what_lies_behind_the_segment_is_not_published() {
    let rig = Rig::new();
    let (pipeline, source) = by_hand(&rig);
    let mut segment = gst::FormattedSegment::new();
    segment.set_start(gst::ClockTime::from_mseconds(40));
    segment.set_stop(gst::ClockTime::from_mseconds(100));
    begin(&source, "one", &segment);
    for n in 0..8 {
        source.push(packet(n * 20)).expect("pushed");
    }
    // Decoded before the end, shown after it.
    let mut reordered = packet(120);
    let owned = reordered.get_mut().expect("owned");
    owned.set_dts(gst::ClockTime::from_mseconds(80));
    source.push(reordered).expect("pushed");
    let sink = pipeline.element("sink");
    assert_eq!(frames(&sink, "sink_0"), 6);
    let stats: gst::Structure = sink.property("stats");
    let track: gst::Structure = stats.get("sink_0").expect("the pad");
    let drops: gst::Structure = track.get("drops").expect("drops");
    assert_eq!(drops.get::<u64>("out-of-segment"), Ok(3));
}
