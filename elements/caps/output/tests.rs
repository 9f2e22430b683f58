use bytes::Bytes;
use gst::prelude::*;

use super::*;
use crate::media::{aac, av1, flac, h264, h265};

macro_rules! corpus {
    ($name:literal) => {
        Bytes::from_static(include_bytes!(concat!("../../../fuzz/corpus/", $name)))
    };
}

fn video(codec: &str, description: Option<Bytes>) -> VideoRendition {
    VideoRendition {
        codec: codec.into(),
        description,
        coded_width: Some(320),
        coded_height: Some(180),
        framerate: Some(30.0),
        ..VideoRendition::default()
    }
}

fn audio(
    codec: &str,
    sample_rate: u32,
    channels: u32,
    description: Option<Bytes>,
) -> AudioRendition {
    AudioRendition {
        codec: codec.into(),
        sample_rate,
        channels,
        description,
        ..AudioRendition::default()
    }
}

/// Links a source that has these caps to the decoder, whose pad has to take them as they are.
fn assert_decoder_takes(decoder: &str, caps: &gst::Caps) {
    let make = |name: &str| gst::ElementFactory::make(name).build().expect("an element");
    let (source, element) = (make("fakesrc"), make(decoder));
    let bin = gst::Bin::new();
    bin.add_many([&source, &element]).expect("added");
    source
        .link_filtered(&element, caps)
        .unwrap_or_else(|_| panic!("{decoder} does not link to {caps}"));
    element.set_state(gst::State::Ready).expect("ready");
    let sink = element.static_pad("sink").expect("a pad");
    assert!(sink.query_accept_caps(caps), "{decoder} refuses {caps}");
    element.set_state(gst::State::Null).expect("stopped");
}

/// What the caps have to be, but for `codec_data` and `streamheader`, which only have to be there.
fn assert_caps(caps: &gst::Caps, kind: Kind, expected: &str, decoders: &[&str]) {
    assert!(caps.is_fixed(), "{caps}");
    assert!(caps.is_subset(&output_template(kind)), "{caps}");
    let mut stated = caps.clone();
    let structure = stated.make_mut().structure_mut(0).expect("one");
    structure.remove_field("codec_data");
    structure.remove_field("streamheader");
    let expected: gst::Caps = expected.parse().expect("caps");
    assert!(
        stated.is_strictly_equal(&expected),
        "{stated} is not {expected}"
    );
    for decoder in decoders {
        assert_decoder_takes(decoder, caps);
    }
}

/// Row 4.
#[test]
fn pictures_of_every_codec_link_straight_to_their_decoders() {
    gst::init().expect("GStreamer");
    let (avcc, hvcc) = (corpus!("h264/avcC"), corpus!("h265/hvcC"));
    let av1c = av1::Av1C::from_temporal_unit(&corpus!("av1/whole-key"));
    let av1c = av1c.expect("well formed").expect("a sequence header");
    let h264_config = h264::Config::from_avcc(&avcc).expect("avcC");
    let h265_config = h265::Config::from_hvcc(&hvcc).expect("hvcC");
    let sequence = av1::Av1C::parse(&av1c).expect("av1C").sequence_header;
    let sequence = sequence.expect("a sequence header");
    let (h264_size, h265_size) = ((h264_config.width, h264_config.height), h265_config.size());
    let sized = |(width, height)| format!("width={width},height={height},framerate=30/1");
    let unsized_caps = sized((320, 180));
    let h264 = "video/x-h264,alignment=au,parsed=true";
    let h265 = "video/x-h265,alignment=au,parsed=true,profile=main,level=(string)3.1,tier=main";
    let vp9 = "video/x-vp9,alignment=super-frame";
    for (rendition, expected, decoders) in [
        (
            video("avc3.64001f", None),
            format!(
                "{h264},profile=high,level=(string)3.1,stream-format=byte-stream,{unsized_caps}"
            ),
            &["avdec_h264"][..],
        ),
        // Browsers.
        (
            video("avc1.42e01e", None),
            format!(
                "{h264},profile=constrained-baseline,level=(string)3,stream-format=byte-stream,{unsized_caps}"
            ),
            &["avdec_h264"],
        ),
        (
            video("avc1.64001f", Some(avcc)),
            format!(
                "{h264},profile=high,level=(string)3.1,stream-format=avc,{}",
                sized(h264_size)
            ),
            &["avdec_h264"],
        ),
        (
            video("hev1.1.6.L93.B0", None),
            format!("{h265},stream-format=byte-stream,{unsized_caps}"),
            &["avdec_h265"],
        ),
        (
            video("hev1.1.6.L93.B0", Some(hvcc.clone())),
            format!("{h265},stream-format=hev1,{}", sized(h265_size)),
            &["avdec_h265"],
        ),
        (
            video("hvc1.1.6.L93.B0", Some(hvcc)),
            format!("{h265},stream-format=hvc1,{}", sized(h265_size)),
            &["avdec_h265"],
        ),
        (
            video("vp8", None),
            format!("video/x-vp8,{unsized_caps}"),
            &["vp8dec"],
        ),
        (
            video("vp09.00.10.08", None),
            format!(
                "{vp9},profile=(string)0,chroma-format=4:2:0,bit-depth-luma=(uint)8,bit-depth-chroma=(uint)8,{unsized_caps}"
            ),
            &["vp9dec"],
        ),
        (
            video("vp09.01.10.08", None),
            format!(
                "{vp9},profile=(string)1,bit-depth-luma=(uint)8,bit-depth-chroma=(uint)8,{unsized_caps}"
            ),
            &["vp9dec"],
        ),
        (
            video("vp09.02.10.10", None),
            format!(
                "{vp9},profile=(string)2,chroma-format=4:2:0,bit-depth-luma=(uint)10,bit-depth-chroma=(uint)10,{unsized_caps}"
            ),
            &["vp9dec"],
        ),
        (
            video("av01.0.04M.08", Some(av1c)),
            format!(
                "video/x-av1,stream-format=obu-stream,alignment=tu,parsed=true,profile=main,tier=main,bit-depth-luma=(uint)8,bit-depth-chroma=(uint)8,{}",
                sized((sequence.width, sequence.height))
            ),
            &["av1dec"],
        ),
        (
            video("av01.0.04M.08", None),
            format!(
                "video/x-av1,stream-format=obu-stream,alignment=tu,parsed=true,profile=main,tier=main,bit-depth-luma=(uint)8,bit-depth-chroma=(uint)8,{unsized_caps}"
            ),
            &["av1dec"],
        ),
    ] {
        let caps = video_caps(&rendition).expect("caps");
        assert_caps(&caps, Kind::Video, &expected, decoders);
        let has_record = caps.structure(0).expect("one").has_field("codec_data");
        assert_eq!(has_record, rendition.description.is_some(), "{caps}");
    }
}

/// Row 4.
#[test]
fn sound_of_every_codec_links_straight_to_its_decoders() {
    gst::init().expect("GStreamer");
    let aac = "audio/mpeg,mpegversion=4,stream-format=raw,framed=true";
    let lc = "profile=lc,base-profile=lc";
    let mp3 = "audio/mpeg,mpegversion=1,layer=3,parsed=true";
    for (rendition, expected, decoders) in [
        (
            audio("opus", 48_000, 2, None),
            "audio/x-opus,rate=48000,channels=2,channel-mapping-family=0".to_owned(),
            &["opusdec"][..],
        ),
        // Captured at another rate.
        (
            audio("opus", 16_000, 1, None),
            "audio/x-opus,rate=48000,channels=1,channel-mapping-family=0".into(),
            &["opusdec"],
        ),
        (
            audio("opus", 48_000, 6, Some(corpus!("opus/head-5.1"))),
            "audio/x-opus,rate=48000,channels=6,channel-mapping-family=1,stream-count=4,coupled-count=2,channel-mapping=<0,4,1,2,3,5>".into(),
            &["opusdec"],
        ),
        (
            audio("mp4a.40.2", 44_100, 2, Some(Bytes::from_static(&[0x12, 0x10]))),
            format!("{aac},rate=44100,channels=2,{lc},level=(string)2"),
            &["avdec_aac", "faad"],
        ),
        (
            audio("mp4a.40.2", 48_000, 6, None),
            format!("{aac},rate=48000,channels=6,{lc},level=(string)4"),
            &["avdec_aac", "faad"],
        ),
        (
            audio("mp4a.40.2", 24_000, 1, None),
            format!("{aac},rate=24000,channels=1,{lc},level=(string)1"),
            &["avdec_aac", "faad"],
        ),
        // The rate of the output, of which the core has a half.
        (
            audio("mp4a.40.5", 48_000, 2, None),
            format!("{aac},rate=48000,channels=2"),
            &["avdec_aac", "faad"],
        ),
        (
            audio("mp4a.40.29", 48_000, 2, None),
            format!("{aac},rate=48000,channels=2"),
            &["avdec_aac", "faad"],
        ),
        (
            audio("mp3", 44_100, 2, None),
            format!("{mp3},mpegaudioversion=1,rate=44100,channels=2"),
            &["mpg123audiodec", "avdec_mp3"],
        ),
        (
            audio("mp3", 22_050, 1, None),
            format!("{mp3},mpegaudioversion=2,rate=22050,channels=1"),
            &["mpg123audiodec", "avdec_mp3"],
        ),
        (
            audio("mp3", 11_025, 1, None),
            format!("{mp3},mpegaudioversion=3,rate=11025,channels=1"),
            &["mpg123audiodec", "avdec_mp3"],
        ),
    ] {
        let caps = audio_caps(&rendition).expect("caps");
        assert_caps(&caps, Kind::Audio, &expected, decoders);
    }
    let description = corpus!("flac/description");
    let info = flac::StreamInfo::from_description(&description).expect("STREAMINFO");
    let caps = audio_caps(&audio("flac", 1, 1, Some(description))).expect("caps");
    let expected = format!(
        "audio/x-flac,framed=true,rate={},channels={}",
        info.sample_rate, info.channels
    );
    assert_caps(&caps, Kind::Audio, &expected, &["flacdec", "avdec_flac"]);
    assert!(caps.structure(0).expect("one").has_field("streamheader"));
}

#[test]
fn aac_without_a_description_is_configured_by_its_codec_rate_and_channels() {
    gst::init().expect("GStreamer");
    for (codec, rate, channels, core_rate, core_channels) in [
        ("mp4a.40.2", 44_100, 2, 44_100, 2),
        ("mp4a.40.5", 44_100, 2, 22_050, 2),
        ("mp4a.40.29", 48_000, 2, 24_000, 1),
    ] {
        let caps = audio_caps(&audio(codec, rate, channels, None)).expect("caps");
        let asc = caps
            .structure(0)
            .expect("one")
            .get::<gst::Buffer>("codec_data");
        let asc = asc
            .expect("codec_data")
            .map_readable()
            .expect("readable")
            .to_vec();
        let config = aac::Config::parse(&asc).expect("an AudioSpecificConfig");
        assert_eq!(
            (config.core_rate, config.channels),
            (core_rate, core_channels)
        );
    }
    for (codec, rate, channels) in [
        ("mp4a.40.42", 48_000, 2),
        ("mp4a.40.2", 12_345, 2),
        ("mp4a.40.2", 48_000, 200),
    ] {
        assert!(audio_caps(&audio(codec, rate, channels, None)).is_err());
    }
}

#[test]
fn cmaf_says_in_its_init_segment_what_the_catalog_leaves_out() {
    gst::init().expect("GStreamer");
    let cmaf = |init| Container::Cmaf { init };
    let rendition = VideoRendition {
        codec: "avc1.42c01e".into(),
        container: cmaf(corpus!("cmaf_init/mp4mux-h264")),
        ..VideoRendition::default()
    };
    let caps = video_caps(&rendition).expect("caps");
    let structure = caps.structure(0).expect("one");
    assert_eq!(structure.get::<&str>("stream-format"), Ok("avc"));
    assert!(structure.has_field("codec_data") && structure.has_field("width"));
    let aac = AudioRendition {
        container: cmaf(corpus!("cmaf_init/mp4mux-aac")),
        ..audio("mp4a.40.2", 48_000, 2, None)
    };
    assert_decoder_takes("avdec_aac", &audio_caps(&aac).expect("caps"));

    let of_sound = VideoRendition {
        container: cmaf(corpus!("cmaf_init/mp4mux-aac")),
        ..rendition.clone()
    };
    assert!(video_caps(&of_sound).is_err());
    let broken = VideoRendition {
        container: cmaf(Bytes::from_static(b"no boxes")),
        ..rendition
    };
    assert!(video_caps(&broken).is_err());
}

#[test]
fn what_no_decoder_could_be_configured_with_is_refused() {
    gst::init().expect("GStreamer");
    let garbage = || Some(Bytes::from_static(&[1, 2, 3]));
    for codec in ["avc1.64001f", "hvc1.1.6.L93.B0", "av01.0.04M.08"] {
        assert!(video_caps(&video(codec, garbage())).is_err(), "{codec}");
    }
    assert!(video_caps(&video("theora", None)).is_err());
    for (codec, description) in [("opus", garbage()), ("flac", garbage()), ("flac", None)] {
        let rendition = audio(codec, 48_000, 2, description);
        assert!(audio_caps(&rendition).is_err(), "{codec}");
    }
    for rendition in [
        audio("mp3", 44_100, 6, None),
        audio("mp3", u32::MAX, 2, None),
        audio("opus", 48_000, 2, Some(corpus!("opus/head-5.1"))),
        audio("ac-3", 48_000, 6, None),
    ] {
        assert!(audio_caps(&rendition).is_err(), "{rendition:?}");
    }
}
