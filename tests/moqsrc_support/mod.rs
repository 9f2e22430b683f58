//! A relay, publishers and players for the tests of moqsrc.

// Each test program uses its own part of it.
#![allow(dead_code)]

use std::sync::mpsc;

use gst::prelude::*;
use gstmoq::net::relay::{Relay, RelayConfig};

use super::common::{LIMIT, Pipeline, Record, init, publisher::BROADCAST};

pub fn relay() -> Relay {
    init();
    Relay::start(RelayConfig::local()).expect("a relay")
}

pub fn player(relay: &Relay, properties: &str) -> Pipeline {
    let url = relay.url();
    Pipeline::launch(&format!(
        "moqsrc name=src url={url} broadcast={BROADCAST} {properties} \
         src.video_0 ! queue ! fakesink name=video sync=true src.audio_0 ! queue ! fakesink name=audio sync=true"
    ))
}

/// moqsink publishes one H.264 and one Opus track; its pads tell who is subscribed.
pub fn moqsink(relay: &Relay) -> Pipeline {
    Pipeline::launch(&format!(
        "moqsink name=sink url={url} broadcast={BROADCAST} \
         videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1,format=I420 ! \
         x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! h264parse ! queue ! sink.video_0 \
         audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! opusenc ! queue ! sink.audio_0",
        url = relay.url()
    ))
}

/// A moqsrc in a pipeline, with nothing linked.
pub fn bare(relay: &Relay, properties: &str) -> (Pipeline, gst::Element) {
    let pipeline = Pipeline::launch(&format!(
        "moqsrc name=src url={} broadcast={BROADCAST} {properties} fakesink name=other async=false",
        relay.url()
    ));
    let source = pipeline.by_name("src");
    (pipeline, source)
}

/// Links a queue and a sink to this pad and records what arrives.
pub fn attach(pipeline: &Pipeline, pad: &gst::Pad) -> Record {
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

pub fn wait_no_more_pads(source: &gst::Element, play: impl FnOnce()) {
    let (done, complete) = mpsc::channel();
    source.connect_no_more_pads(move |_| {
        let _ = done.send(());
    });
    play();
    complete.recv_timeout(LIMIT).expect("no-more-pads");
}
