use super::{output::framerate, *};
use crate::media::{
    catalog::{AudioRendition, Rendition, VideoRendition},
    h264::Config,
};

/// High profile, level 3.1, 1280×720 (written by x264).
const AVCC: &str =
    "0164001fffe1001d6764001facb200a00b7602d40404050000030001000003003c8f18324801000568ebccb22c";

fn init() {
    gst::init().expect("GStreamer");
}

fn avc_caps() -> gst::Caps {
    let record = hex::decode(AVCC).expect("hex");
    gst::Caps::builder("video/x-h264")
        .field("stream-format", "avc")
        .field("alignment", "au")
        .field("codec_data", gst::Buffer::from_slice(record))
        .field("framerate", gst::Fraction::new(30_000, 1001))
        .build()
}

fn known(stream: &Stream) -> Option<Rendition> {
    stream.rendition(Packaging::Legacy).expect("legacy")
}

fn rendition(caps: &gst::Caps) -> VideoRendition {
    match known(&Stream::from_caps(caps).expect("caps")) {
        Some(Rendition::Video(video)) => video,
        other => panic!("{other:?}"),
    }
}

fn audio_rendition(caps: &gst::Caps) -> AudioRendition {
    match known(&Stream::from_caps(caps).expect("caps")) {
        Some(Rendition::Audio(audio)) => audio,
        other => panic!("{other:?}"),
    }
}

#[test]
fn avc_caps_become_a_rendition_with_description_and_back() {
    init();
    let rendition = rendition(&avc_caps());
    assert_eq!(rendition.codec, "avc1.64001f");
    assert_eq!(
        rendition.description.as_ref().map(hex::encode).as_deref(),
        Some(AVCC)
    );
    assert_eq!(
        (rendition.coded_width, rendition.coded_height),
        (Some(1280), Some(720))
    );
    let caps = video_caps(&rendition).expect("caps");
    assert!(caps.is_fixed());
    assert!(caps.is_subset(&template(Some(Kind::Video))), "{caps}");
    let structure = caps.structure(0).expect("one");
    assert_eq!(structure.get::<&str>("profile"), Ok("high"));
    assert_eq!(structure.get::<&str>("level"), Ok("3.1"));
    assert_eq!(structure.get::<i32>("width"), Ok(1280));
    assert_eq!(
        structure.get::<gst::Fraction>("framerate"),
        Ok(gst::Fraction::new(30_000, 1001))
    );
}

#[test]
fn byte_stream_knows_its_rendition_with_its_parameter_sets() {
    init();
    let caps = gst::Caps::builder("video/x-h264")
        .field("stream-format", "byte-stream")
        .field("alignment", "au")
        .build();
    let mut stream = Stream::from_caps(&caps).expect("caps");
    assert_eq!(known(&stream), None);
    let avc = Config::from_avcc(&hex::decode(AVCC).expect("hex")).expect("avcC");
    if let Stream::Video(video) = &mut stream
        && let VideoCoding::H264(nal) = &mut video.coding
    {
        nal.config = Config::from_parameter_sets(&avc.sps()[0], &avc.pps()[0]).ok();
    }
    let Some(Rendition::Video(rendition)) = known(&stream) else {
        panic!("known now");
    };
    assert_eq!(rendition.codec, "avc3.64001f");
    assert_eq!(rendition.description, None);
    let caps = video_caps(&rendition).expect("caps");
    assert!(caps.is_fixed());
    assert_eq!(
        caps.structure(0).expect("one").get::<&str>("stream-format"),
        Ok("byte-stream")
    );
}

#[test]
fn a_stretched_picture_keeps_its_aspect() {
    init();
    let mut caps = avc_caps();
    caps.make_mut()
        .set("pixel-aspect-ratio", gst::Fraction::new(4, 3));
    let rendition = rendition(&caps);
    assert_eq!(rendition.display_aspect, Some((64, 27)));
    let caps = video_caps(&rendition).expect("caps");
    assert_eq!(
        caps.structure(0)
            .expect("one")
            .get::<gst::Fraction>("pixel-aspect-ratio"),
        Ok(gst::Fraction::new(4, 3))
    );
}

#[test]
fn stereo_opus_needs_no_description_and_links_to_its_decoder() {
    init();
    let caps = gst::Caps::builder("audio/x-opus")
        .field("rate", 48_000)
        .field("channels", 2)
        .field("channel-mapping-family", 0)
        .build();
    let rendition = audio_rendition(&caps);
    assert_eq!(
        (
            rendition.codec.as_str(),
            rendition.channels,
            &rendition.description
        ),
        ("opus", 2, &None)
    );
    assert_eq!(audio_caps(&rendition).expect("caps"), caps);
}

#[test]
fn surround_opus_carries_its_channel_mapping() {
    init();
    let caps = gst::Caps::builder("audio/x-opus")
        .field("rate", 48_000)
        .field("channels", 6)
        .field("channel-mapping-family", 1)
        .field("stream-count", 4)
        .field("coupled-count", 2)
        .field("channel-mapping", gst::Array::new([0, 4, 1, 2, 3, 5]))
        .build();
    let rendition = audio_rendition(&caps);
    assert!(rendition.description.is_some());
    assert_eq!(audio_caps(&rendition).expect("caps"), caps);
}

#[test]
fn hostile_renditions_become_errors() {
    init();
    let video = VideoRendition {
        codec: "avc1.64001f".into(),
        description: Some(Bytes::from_static(&[1, 2, 3])),
        ..VideoRendition::default()
    };
    assert!(video_caps(&video).is_err());
    let audio = AudioRendition {
        codec: "opus".into(),
        channels: 200,
        sample_rate: 48_000,
        ..AudioRendition::default()
    };
    assert!(audio_caps(&audio).is_err());
    let huge = VideoRendition {
        codec: "avc3.64001f".into(),
        coded_width: Some(u32::MAX),
        coded_height: Some(1),
        framerate: Some(f64::NAN),
        display_aspect: Some((u32::MAX, 1)),
        ..VideoRendition::default()
    };
    assert!(video_caps(&huge).expect("without a size").is_fixed());
}

#[test]
fn frame_rates_become_the_usual_fractions() {
    init();
    for (rate, numer, denom) in [
        (60.0, 60, 1),
        (29.97002997, 30_000, 1001),
        (59.94, 60_000, 1001),
        (23.976, 24_000, 1001),
        (12.5, 25, 2),
        (25.0, 25, 1),
    ] {
        assert_eq!(
            framerate(rate),
            Some(gst::Fraction::new(numer, denom)),
            "{rate}"
        );
    }
    assert_eq!(framerate(0.0), None);
}
