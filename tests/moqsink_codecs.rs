//! Each codec in each container: what a stock encoder makes is published by moqsink and taken apart again by a subscriber.

mod moqsink_support;
mod relay_support;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use gst::prelude::*;
use gstmoq::media::{
    aac, av1,
    catalog::{Catalog, Container, Rendition, deflate, hang, msf},
    container::Decoder,
    h264, h265,
    nal::{NalFormat, nals},
};
use moq_net::track;
use moqsink_support::*;
use relay_support::soon;

/// 1.2 s of small live pictures.
const PICTURES: &str = "videotestsrc is-live=true num-buffers=36 pattern=ball ! \
    video/x-raw,format=I420,width=160,height=120,framerate=30/1";

/// 1.3 s of live sound.
const SOUND: &str =
    "audiotestsrc is-live=true num-buffers=60 samplesperbuffer=1024 wave=white-noise";

/// What the sink got, by presentation time in µs of running time.
type Probed = Arc<Mutex<BTreeMap<u64, Bytes>>>;

fn probe(pipeline: &Pipeline) -> Probed {
    let probed = Probed::default();
    let into = probed.clone();
    let pad = pipeline.element("t").static_pad("sink").expect("sink");
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        let segment = segment.expect("a segment").segment().clone();
        let segment = segment.downcast::<gst::ClockTime>().expect("time");
        if let Some(buffer) = info.buffer()
            && let Some(time) = segment.to_running_time(buffer.pts())
        {
            let map = buffer.map_readable().expect("readable");
            let payload = Bytes::copy_from_slice(&map);
            into.lock().expect("whole").insert(time.useconds(), payload);
        }
        gst::PadProbeReturn::Ok
    });
    probed
}

/// One group of one frame.
async fn snapshot(track: &mut track::Subscriber) -> Bytes {
    let group = soon("a catalog", track.recv_group()).await;
    let mut group = group.expect("no error").expect("a group");
    let frame = soon("a catalog", group.read_frame()).await;
    frame.expect("no error").expect("a frame").payload
}

/// All three of them, which say the same.
async fn catalogs(rig: &Rig, name: &str) -> Catalog {
    let mut plain = rig.track(name, hang::TRACK).await;
    let mut compressed = rig.track(name, hang::COMPRESSED_TRACK).await;
    let mut msf = rig.track(name, msf::TRACK).await;
    let json = snapshot(&mut plain).await;
    let expanded = deflate::Decoder::default().decode(&snapshot(&mut compressed).await);
    assert_eq!(expanded.expect("a DEFLATE stream"), json);
    let (catalog, skipped) = hang::parse(&json).expect("a catalog");
    assert!(skipped.is_empty(), "{skipped:?}");
    let (theirs, skipped) = msf::parse(&snapshot(&mut msf).await).expect("a catalog");
    assert!(skipped.is_empty(), "{skipped:?}");
    assert_eq!(theirs.clock, catalog.clock);
    assert_eq!(theirs.len(), catalog.len());
    for (name, ours) in catalog.renditions() {
        let theirs = theirs.rendition(&name).expect("the same tracks");
        assert_eq!(theirs.codec(), ours.codec());
        assert_eq!(theirs.container(), ours.container());
        let described = |rendition: &Rendition| match rendition {
            Rendition::Video(video) => video.decoder_description(),
            Rendition::Audio(audio) => audio.decoder_description(),
        };
        if !matches!(ours.container(), Container::Cmaf { .. }) {
            assert_eq!(described(&theirs), described(&ours));
        }
    }
    catalog
}

/// A frame of a track, out of its container.
struct Got {
    group: u64,
    index: usize,
    pts: u64,
    key: Option<bool>,
    duration: Option<u64>,
    payload: Bytes,
}

/// Everything from the newest group to the end of the track: frames, and the objects they came in.
async fn frames(track: &mut track::Subscriber, container: &Container) -> (Vec<Got>, Vec<Bytes>) {
    let decoder = Decoder::new(container).expect("a container");
    let (mut frames, mut objects) = (Vec::new(), Vec::new());
    while let Some(mut group) = soon("a group", track.recv_group()).await.expect("no error") {
        let mut index = 0;
        while let Some(object) = soon("a frame", group.read_frame()).await.expect("whole") {
            objects.push(object.payload.clone());
            for frame in decoder.decode(object.payload).expect("an object") {
                frames.push(Got {
                    group: group.sequence,
                    index,
                    pts: frame.pts_us,
                    key: frame.key,
                    duration: frame.duration_us,
                    payload: frame.payload,
                });
                index += 1;
            }
        }
    }
    (frames, objects)
}

/// What GStreamer's demuxer takes out of a CMAF track: name of the caps, and the samples.
fn demux(init: &Bytes, objects: &[Bytes]) -> (String, Vec<Bytes>) {
    let pipeline = Pipeline::new("appsrc name=src ! qtdemux ! appsink name=sink sync=false");
    let src: gst_app::AppSrc = pipeline.element("src").downcast().expect("appsrc");
    let sink: gst_app::AppSink = pipeline.element("sink").downcast().expect("appsink");
    pipeline.play();
    let stream = [std::slice::from_ref(init), objects].concat().concat();
    src.push_buffer(gst::Buffer::from_slice(stream))
        .expect("taken");
    src.end_of_stream().expect("taken");
    let (mut name, mut samples) = (String::new(), Vec::new());
    let limit = gst::ClockTime::from_seconds(10);
    while let Some(sample) = sink.try_pull_sample(limit) {
        let structure = sample.caps().and_then(|caps| caps.structure(0));
        name = structure.expect("caps").name().to_string();
        let map = sample.buffer().expect("a buffer").map_readable();
        samples.push(Bytes::copy_from_slice(&map.expect("readable")));
    }
    assert!(sink.is_eos());
    (name, samples)
}

/// A codec, and what is sent of what came: the payload that is published, and what it is made of, in a form that is the same.
struct Codec {
    encode: String,
    codec: &'static str,
    /// What a demuxer calls it.
    caps: &'static str,
    suffix: &'static str,
    same: fn(&Bytes, &Bytes, &Container) -> bool,
}

/// Publishes it in all containers at once and compares what arrives with what the pad got.
fn carries(codec: &Codec) {
    let rig = Rig::new();
    let branches = "t. ! queue ! sink.sink_0 t. ! queue ! sink.sink_1 t. ! queue ! sink.sink_2";
    let pipeline = rig.pipeline(&format!(
        "moqsink name=sink {} sink_0::container=legacy sink_1::container=loc sink_2::container=cmaf \
         {} ! tee name=t {branches}",
        rig.to("a.hang"),
        codec.encode
    ));
    let probed = probe(&pipeline);
    pipeline.play();
    let received = run(async {
        let catalog = catalogs(&rig, "a.hang").await;
        assert_eq!(catalog.len(), 3, "{catalog:?}");
        let broadcast = rig.broadcast("a.hang").await;
        let mut reading = Vec::new();
        for (name, rendition) in catalog.renditions() {
            let mut track = subscribe(&broadcast, &name).await;
            reading.push(tokio::spawn(async move {
                let (frames, objects) = frames(&mut track, rendition.container()).await;
                (name, rendition, frames, objects)
            }));
        }
        let mut received = Vec::new();
        for reading in reading {
            received.push(reading.await.expect("read"));
        }
        received
    });
    pipeline.eos();
    let probed = probed.lock().expect("whole");
    let mut containers = Vec::new();
    for (name, rendition, frames, objects) in received {
        let container = rendition.container();
        containers.push(match container {
            Container::Legacy => "legacy",
            Container::Loc => "loc",
            Container::Cmaf { .. } => "cmaf",
        });
        let is_cmaf = matches!(container, Container::Cmaf { .. });
        assert!(
            rendition.codec().starts_with(codec.codec) || is_cmaf,
            "{}",
            rendition.codec()
        );
        assert!(name.ends_with(codec.suffix) || is_cmaf, "{name}");
        if let Container::Cmaf { init } = container {
            let (caps, samples) = demux(init, &objects);
            assert_eq!(caps, codec.caps);
            assert!(samples.iter().eq(frames.iter().map(|frame| &frame.payload)));
        }
        assert!(frames.len() >= 5, "{name}: {} frames", frames.len());
        for frame in &frames {
            let sent = probed.get(&frame.pts);
            let sent = sent.unwrap_or_else(|| panic!("{name}: nothing was sent for {}", frame.pts));
            assert!(
                (codec.same)(sent, &frame.payload, container),
                "{name}: frame {} of group {} is another one",
                frame.index,
                frame.group
            );
            if is_cmaf {
                assert!(frame.duration.is_some(), "{name}: {}", frame.pts);
                let is_key = !rendition.is_video() || frame.index == 0;
                assert_eq!(frame.key, Some(is_key), "{name}: {}", frame.pts);
            }
        }
    }
    containers.sort_unstable();
    assert_eq!(containers, ["cmaf", "legacy", "loc"]);
}

fn whole(sent: &Bytes, got: &Bytes, _: &Container) -> bool {
    sent == got
}

/// The NAL units, without those that a description has.
fn units(au: &Bytes, format: NalFormat, is_set: fn(u8) -> bool) -> Vec<Vec<u8>> {
    let units = nals(au, format).filter(|nal| !is_set(nal[0]));
    units.map(<[u8]>::to_vec).collect()
}

fn same_units(
    sent: &Bytes,
    from: NalFormat,
    got: &Bytes,
    container: &Container,
    is_set: fn(u8) -> bool,
) -> bool {
    let format = match container {
        Container::Cmaf { .. } => NalFormat::Length { size: 4 },
        _ => NalFormat::ByteStream,
    };
    let got = units(got, format, is_set);
    !got.is_empty() && got == units(sent, from, is_set)
}

fn is_h264_set(header: u8) -> bool {
    use h264::nal_type::{AUD, PPS, SPS};
    matches!(header & 0x1f, SPS | PPS | AUD)
}

fn is_h265_set(header: u8) -> bool {
    use h265::nal_type::{AUD, VPS};
    (VPS..=AUD).contains(&(header >> 1 & 0x3f))
}

const BYTE_STREAM: NalFormat = NalFormat::ByteStream;
const LENGTHS: NalFormat = NalFormat::Length { size: 4 };

#[test]
fn h264_as_byte_stream() {
    carries(&Codec {
        encode: format!(
            "{PICTURES} ! x264enc speed-preset=ultrafast tune=zerolatency key-int-max=10 ! h264parse config-interval=-1 ! \
             video/x-h264,stream-format=byte-stream"
        ),
        codec: "avc3.",
        caps: "video/x-h264",
        suffix: ".avc3",
        same: |sent, got, container| same_units(sent, BYTE_STREAM, got, container, is_h264_set),
    });
}

/// B-frames and open GOPs: order and times stay.
#[test]
fn h264_with_b_frames_as_avc() {
    carries(&Codec {
        encode: format!(
            "{PICTURES} ! x264enc speed-preset=ultrafast bframes=2 b-adapt=false key-int-max=10 rc-lookahead=0 sync-lookahead=0 ! \
             h264parse ! video/x-h264,stream-format=avc"
        ),
        codec: "avc1.",
        caps: "video/x-h264",
        suffix: ".avc1",
        same: whole,
    });
}

#[test]
fn h264_as_avc3_becomes_byte_stream() {
    carries(&Codec {
        encode: format!(
            "{PICTURES} ! x264enc speed-preset=ultrafast tune=zerolatency key-int-max=10 ! h264parse ! \
             video/x-h264,stream-format=avc3"
        ),
        codec: "avc3.",
        caps: "video/x-h264",
        suffix: ".avc3",
        same: |sent, got, container| same_units(sent, LENGTHS, got, container, is_h264_set),
    });
}

const X265: &str = "x265enc speed-preset=ultrafast tune=zerolatency key-int-max=10 ! h265parse config-interval=-1 ! video/x-h265";

#[test]
fn h265_as_byte_stream() {
    carries(&Codec {
        encode: format!("{PICTURES} ! {X265},stream-format=byte-stream"),
        codec: "hev1.1.6.L",
        caps: "video/x-h265",
        suffix: ".hev1",
        same: |sent, got, container| same_units(sent, BYTE_STREAM, got, container, is_h265_set),
    });
}

#[test]
fn h265_as_hvc1() {
    carries(&Codec {
        encode: format!("{PICTURES} ! {X265},stream-format=hvc1"),
        codec: "hvc1.1.6.L",
        caps: "video/x-h265",
        suffix: ".hvc1",
        same: whole,
    });
}

#[test]
fn h265_as_hev1_becomes_byte_stream() {
    carries(&Codec {
        encode: format!("{PICTURES} ! {X265},stream-format=hev1"),
        codec: "hev1.1.6.L",
        caps: "video/x-h265",
        suffix: ".hev1",
        same: |sent, got, container| same_units(sent, LENGTHS, got, container, is_h265_set),
    });
}

#[test]
fn vp8() {
    carries(&Codec {
        encode: format!("{PICTURES} ! vp8enc deadline=1 cpu-used=8 keyframe-max-dist=10"),
        codec: "vp8",
        caps: "video/x-vp8",
        suffix: ".vp8",
        same: whole,
    });
}

#[test]
fn vp9() {
    carries(&Codec {
        encode: format!(
            "{PICTURES} ! vp9enc deadline=1 cpu-used=8 lag-in-frames=0 keyframe-max-dist=10"
        ),
        codec: "vp09.00.10.08",
        caps: "video/x-vp9",
        suffix: ".vp9",
        same: whole,
    });
}

/// Temporal delimiters are left out.
#[test]
fn av1() {
    carries(&Codec {
        encode: format!(
            "{PICTURES} ! av1enc cpu-used=8 usage-profile=realtime lag-in-frames=0 keyframe-max-dist=10"
        ),
        codec: "av01.0.",
        caps: "video/x-av1",
        suffix: ".av1",
        same: |sent, got, _| {
            let delimiter = av1::delimiter_len(sent);
            delimiter > 0 && sent[delimiter..] == got[..]
        },
    });
}

#[test]
fn opus_in_stereo() {
    carries(&Codec {
        encode: format!("{SOUND} ! audio/x-raw,rate=48000,channels=2 ! opusenc"),
        codec: "opus",
        caps: "audio/x-opus",
        suffix: ".opus",
        same: whole,
    });
}

#[test]
fn opus_in_5_1() {
    carries(&Codec {
        encode: format!(
            "{SOUND} ! audio/x-raw,rate=48000,channels=6,channel-mask=(bitmask)0x3f ! opusenc"
        ),
        codec: "opus",
        caps: "audio/x-opus",
        suffix: ".opus",
        same: whole,
    });
}

#[test]
fn aac_raw() {
    carries(&Codec {
        encode: format!("{SOUND} ! audio/x-raw,rate=48000,channels=2 ! avenc_aac"),
        codec: "mp4a.40.2",
        caps: "audio/mpeg",
        suffix: ".aac",
        same: whole,
    });
}

/// Headers are left out; the description takes their place.
#[test]
fn aac_with_adts() {
    carries(&Codec {
        encode: format!(
            "{SOUND} ! audio/x-raw,rate=44100,channels=2 ! voaacenc ! audio/mpeg,stream-format=adts"
        ),
        codec: "mp4a.40.2",
        caps: "audio/mpeg",
        suffix: ".aac",
        same: |sent, got, _| {
            let header = aac::Adts::parse(sent).expect("ADTS");
            header.payload(sent).expect("whole") == &got[..]
        },
    });
}

#[test]
fn mp3() {
    carries(&Codec {
        encode: format!("{SOUND} ! audio/x-raw,rate=44100,channels=2 ! lamemp3enc"),
        codec: "mp3",
        caps: "audio/mpeg",
        suffix: ".mp3",
        same: whole,
    });
}

/// Headers are in the catalog and not among the frames.
#[test]
fn flac() {
    carries(&Codec {
        encode: format!(
            "{SOUND} ! audio/x-raw,rate=44100,channels=2 ! flacenc blocksize=1024 streamable-subset=false"
        ),
        codec: "flac",
        caps: "audio/x-flac",
        suffix: ".flac",
        same: whole,
    });
}
