//! What cannot be seen or set from outside of the element.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use gst::{prelude::*, subclass::prelude::*};

use super::MoqSink;
use crate::policy::group::Limits;

const LIMIT: Duration = Duration::from_secs(10);

fn init() {
    gst::init().expect("GStreamer");
    let _ = crate::plugin_register_static();
}

fn next<T>(bus: &gst::Bus, wanted: impl Fn(&gst::MessageView<'_>) -> Option<T>) -> T {
    let timeout = gst::ClockTime::from_nseconds(LIMIT.as_nanos() as u64);
    loop {
        let message = bus.timed_pop(timeout).expect("a message in time");
        if let Some(found) = wanted(&message.view()) {
            return found;
        }
    }
}

/// Row 11: a key frame is asked for in time; if none comes, a warning says so and the track goes on at the next one.
#[test]
fn a_group_that_never_ends_is_cut_and_the_track_goes_on() {
    init();
    let pipeline = gst::parse::launch(
        "videotestsrc num-buffers=130 ! video/x-raw,width=64,height=64,framerate=100/1 ! \
         x264enc tune=zerolatency key-int-max=60 option-string=scenecut=0 ! h264parse ! \
         moqsink name=sink url=https://127.0.0.1:9/ broadcast=a sync=false",
    )
    .expect("a pipeline")
    .downcast::<gst::Pipeline>()
    .expect("a pipeline");
    let sink: MoqSink = pipeline.by_name("sink").and_downcast().expect("moqsink");
    sink.imp().set_limits(Limits {
        frames: 40,
        ..Limits::default()
    });
    let (asked, ask) = mpsc::channel();
    let pad = sink.static_pad("sink_0").expect("a pad");
    // Answered by nobody: what happens without a key frame is the question.
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        let is_request = info
            .event()
            .and_then(|event| event.structure())
            .is_some_and(|structure| structure.name() == "GstForceKeyUnit");
        if is_request {
            let _ = asked.send(());
            return gst::PadProbeReturn::Handled;
        }
        gst::PadProbeReturn::Ok
    });
    let bus = pipeline.bus().expect("a bus");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let warning = next(&bus, |message| match message {
        gst::MessageView::Warning(warning) if warning.error().message().contains("no room") => {
            Some(warning.error().message().to_owned())
        }
        _ => None,
    });
    assert!(warning.contains("0.avc3"), "{warning}");
    ask.recv_timeout(LIMIT).expect("a key frame was asked for");
    next(&bus, |message| {
        matches!(message, gst::MessageView::Eos(_)).then_some(())
    });
    let stats: gst::Structure = sink.property("stats");
    let track: gst::Structure = stats.get("sink_0").expect("the pad");
    // Groups of 60 pictures, 40 of each: 40 + 40 + 10.
    assert_eq!(track.get::<u64>("frames"), Ok(90));
    assert_eq!(track.get::<u64>("groups"), Ok(3));
    let drops: gst::Structure = track.get("drops").expect("drops");
    assert_eq!(drops.get::<u64>("group-full"), Ok(40));
    pipeline.set_state(gst::State::Null).expect("null");
}

#[test]
fn nothing_is_left_of_an_element_that_was_released() {
    init();
    let sink = gst::ElementFactory::make("moqsink")
        .build()
        .expect("moqsink");
    let pad = sink.request_pad_simple("audio_%u").expect("a pad");
    assert_eq!(pad.name(), "audio_0");
    sink.release_request_pad(&pad);
    assert_eq!(sink.num_pads(), 0);
    let (sink_weak, pad_weak) = (sink.downgrade(), pad.downgrade());
    drop((sink, pad));
    assert!(sink_weak.upgrade().is_none() && pad_weak.upgrade().is_none());
}

#[test]
fn nothing_is_left_of_a_pad_that_could_not_be_added() {
    init();
    let sink: MoqSink = gst::ElementFactory::make("moqsink")
        .property("url", "https://127.0.0.1:9/")
        .property("broadcast", "a")
        .build()
        .expect("moqsink")
        .downcast()
        .expect("moqsink");
    sink.set_state(gst::State::Playing).expect("playing");
    // In the way of the track's own sink.
    let element = gst::ElementFactory::make("identity")
        .name("sink_0-track")
        .build()
        .expect("identity");
    sink.add(&element).expect("added");
    assert!(sink.request_pad_simple("sink_0").is_none());
    assert_eq!((sink.num_pads(), sink.children().len()), (0, 1));
    assert_eq!(sink.children_count(), 0);
    assert_eq!(sink.imp().publication_tracks(), 0);
    sink.remove(&element).expect("removed");
    assert!(sink.request_pad_simple("sink_0").is_some());
    assert_eq!(sink.imp().publication_tracks(), 1);
    sink.set_state(gst::State::Null).expect("null");
}

#[test]
fn only_pads_are_told_as_children() {
    init();
    let sink = gst::ElementFactory::make("moqsink")
        .build()
        .expect("moqsink");
    let told = Arc::new(Mutex::new(Vec::new()));
    for signal in ["child-added", "child-removed"] {
        let told = told.clone();
        sink.connect(signal, false, move |values| {
            let name: String = values[2].get().expect("a name");
            told.lock().expect("whole").push((signal, name));
            None
        });
    }
    let pad = sink.request_pad_simple("audio_%u").expect("a pad");
    sink.release_request_pad(&pad);
    let told = told.lock().expect("whole");
    let name = || "audio_0".to_owned();
    assert_eq!(*told, [("child-added", name()), ("child-removed", name())]);
}
