//! What GStreamer's demuxer makes of the CMAF that is written here.

use bytes::Bytes;
use gst::prelude::*;
use gstmoq::media::{
    catalog::{Container, Rendition},
    container::{Decoder, Encoder, Frame, Sample, cmaf},
};

/// A fragment of another muxer, with B-frames.
fn frames() -> (Rendition, Vec<Frame>) {
    let init = Bytes::from_static(include_bytes!("../fuzz/corpus/cmaf_init/mp4mux-h264"));
    let object = include_bytes!("../fuzz/corpus/cmaf_fragment/mp4mux-with-styp-and-a-second");
    let rendition = cmaf::Init::parse(&init).expect("an init segment").rendition;
    let decoder = Decoder::new(&Container::Cmaf { init }).expect("a decoder");
    let frames = decoder
        .decode(Bytes::from_static(object))
        .expect("fragments");
    (rendition, frames.collect())
}

/// The same as an init segment and fragments of ours, one a frame.
fn written(rendition: &Rendition, frames: &[Frame]) -> Vec<u8> {
    let init = cmaf::init_segment(rendition).expect("an init segment");
    let container = Container::Cmaf { init: init.clone() };
    let mut encoder = Encoder::new(&container).expect("an encoder");
    let mut stream = init.to_vec();
    let mut dts_us = 0;
    for frame in frames {
        let sample = Sample {
            pts_us: frame.pts_us,
            dts_us: Some(dts_us),
            duration_us: frame.duration_us,
            key: frame.key.expect("flags"),
            parts: &[&frame.payload],
        };
        stream.extend(encoder.encode(&sample).expect("a fragment"));
        dts_us += frame.duration_us.expect("a duration");
    }
    stream
}

#[test]
fn qtdemux_gets_every_frame_with_its_times_and_flags() {
    gst::init().expect("GStreamer");
    let (rendition, frames) = frames();
    let pipeline = gst::parse::launch("appsrc name=src ! qtdemux ! appsink name=sink sync=false")
        .expect("a pipeline")
        .downcast::<gst::Pipeline>()
        .expect("a pipeline");
    let by_name = |name: &str| pipeline.by_name(name).expect("an element");
    let src = by_name("src")
        .downcast::<gst_app::AppSrc>()
        .expect("appsrc");
    let sink = by_name("sink")
        .downcast::<gst_app::AppSink>()
        .expect("appsink");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let stream = gst::Buffer::from_slice(written(&rendition, &frames));
    src.push_buffer(stream).expect("taken");
    src.end_of_stream().expect("taken");

    let description = rendition.description().expect("avcC").to_vec();
    for frame in &frames {
        let sample = sink
            .try_pull_sample(gst::ClockTime::from_seconds(10))
            .expect("a frame");
        let structure = sample
            .caps()
            .expect("caps")
            .structure(0)
            .expect("a structure");
        assert_eq!(structure.name(), "video/x-h264");
        assert_eq!(structure.get::<String>("stream-format"), Ok("avc".into()));
        let codec_data = structure
            .get::<gst::Buffer>("codec_data")
            .expect("codec_data");
        assert_eq!(
            codec_data.map_readable().expect("readable").as_slice(),
            description
        );
        let buffer = sample.buffer().expect("a buffer");
        assert_eq!(buffer.pts().map(|pts| pts.useconds()), Some(frame.pts_us));
        let is_key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        assert_eq!(Some(is_key), frame.key);
        let map = buffer.map_readable().expect("readable");
        assert_eq!(map.as_slice(), &frame.payload[..]);
    }
    assert!(
        sink.try_pull_sample(gst::ClockTime::from_seconds(10))
            .is_none()
    );
    assert!(sink.is_eos());
    pipeline.set_state(gst::State::Null).expect("stopped");
}
