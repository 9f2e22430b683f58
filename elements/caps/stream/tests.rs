//! Caps, as encoders and parsers write them, and what becomes of them in a catalog.

use super::*;
use crate::elements::caps::template;
use crate::media::container;

/// High profile, level 3.1, 1280×720 (written by x264).
const AVCC: &str =
    "0164001fffe1001d6764001facb200a00b7602d40404050000030001000003003c8f18324801000568ebccb22c";

/// Of `fuzz/corpus`, written by mp4mux.
const H265_INIT: &[u8] = include_bytes!("../../../fuzz/corpus/cmaf_init/mp4mux-h265");

fn stream(caps: &str) -> Stream {
    gst::init().expect("GStreamer");
    let caps: gst::Caps = caps.parse().expect(caps);
    let kinds = [Kind::Video, Kind::Audio].map(|kind| template(Some(kind)));
    assert!(kinds.iter().any(|kind| caps.is_subset(kind)), "{caps}");
    Stream::from_caps(&caps).unwrap_or_else(|err| panic!("{caps}: {err}"))
}

fn video(caps: &str, packaging: Packaging) -> VideoRendition {
    match stream(caps).rendition(packaging) {
        Ok(Some(Rendition::Video(video))) => video,
        other => panic!("{caps}: {other:?}"),
    }
}

/// Codec, rate, channels and whether there is a description, in every container.
#[test]
fn audio_that_its_caps_tell_is_in_the_catalog_as_they_say() {
    const FLAC: &str = "<(buffer)7f464c414301000002664c614300000022120012000000000000000ac440700000000000000000000000000000000000000000>";
    const ROWS: &[(&str, &str, u32, u32, bool)] = &[
        (
            "audio/x-opus,rate=48000,channels=1,channel-mapping-family=0",
            "opus",
            48_000,
            1,
            false,
        ),
        (
            "audio/x-opus,rate=48000,channels=2,channel-mapping-family=0",
            "opus",
            48_000,
            2,
            false,
        ),
        (
            "audio/x-opus,rate=48000,channels=6,channel-mapping-family=1,stream-count=4,coupled-count=2,channel-mapping=(int)<0,4,1,2,3,5>",
            "opus",
            48_000,
            6,
            true,
        ),
        (
            "audio/x-opus,rate=48000,channels=8,channel-mapping-family=1,stream-count=5,coupled-count=3,channel-mapping=(int)<0,6,1,2,3,4,5,7>",
            "opus",
            48_000,
            8,
            true,
        ),
        (
            "audio/mpeg,mpegversion=4,stream-format=raw,codec_data=(buffer)1208,rate=44100,channels=1",
            "mp4a.40.2",
            44_100,
            1,
            true,
        ),
        (
            "audio/mpeg,mpegversion=2,stream-format=raw,codec_data=(buffer)1190",
            "mp4a.40.2",
            48_000,
            2,
            true,
        ),
        (
            "audio/mpeg,mpegversion=4,stream-format=raw,codec_data=(buffer)2b118800",
            "mp4a.40.5",
            48_000,
            2,
            true,
        ),
        (FLAC, "flac", 44_100, 1, true),
    ];
    for (caps, codec, rate, channels, described) in ROWS {
        let caps = match *caps {
            FLAC => format!("audio/x-flac,streamheader={FLAC}"),
            caps => caps.to_owned(),
        };
        for packaging in [Packaging::Legacy, Packaging::Loc, Packaging::Cmaf] {
            let rendition = stream(&caps).rendition(packaging);
            let Ok(Some(Rendition::Audio(audio))) = &rendition else {
                panic!("{caps}: {rendition:?}");
            };
            assert_eq!(audio.codec, *codec, "{caps}");
            assert_eq!(
                (audio.sample_rate, audio.channels),
                (*rate, *channels),
                "{caps}"
            );
            assert_eq!(audio.description.is_some(), *described, "{caps}");
            container::Encoder::new(&audio.container).expect(&caps);
        }
    }
}

#[test]
fn streams_that_tell_themselves_are_known_with_their_first_frame() {
    for caps in [
        "video/x-h264,stream-format=byte-stream,alignment=au",
        "video/x-h264,stream-format=avc3,alignment=au,codec_data=(buffer)01f4000dffe000",
        "video/x-h265,stream-format=byte-stream,alignment=au,width=64,height=48",
        "video/x-vp8,width=64,height=48",
        "video/x-vp9,width=64,height=48",
        "video/x-vp9,alignment=super-frame",
        "video/x-av1,alignment=tu",
        "video/x-av1,stream-format=obu-stream,alignment=tu,width=64,height=48",
        "audio/mpeg,mpegversion=4,stream-format=adts,framed=true",
        "audio/mpeg,mpegversion=2,stream-format=adts",
        "audio/mpeg,mpegversion=1,layer=3,parsed=true",
        "audio/mpeg,mpegversion=1,layer=3,rate=48000,channels=2",
    ] {
        assert_eq!(stream(caps).rendition(Packaging::Cmaf), Ok(None), "{caps}");
    }
}

#[test]
fn records_of_caps_are_descriptions_and_streams_with_sets_in_band_have_none_but_in_cmaf() {
    let caps = |format: &str| {
        format!("video/x-h264,stream-format={format},alignment=au,codec_data=(buffer){AVCC}")
    };
    let rows = [
        ("avc", Packaging::Legacy, "avc1.64001f", true),
        ("avc", Packaging::Cmaf, "avc1.64001f", true),
        ("avc3", Packaging::Loc, "avc3.64001f", false),
        ("avc3", Packaging::Cmaf, "avc3.64001f", true),
    ];
    for (format, packaging, codec, described) in rows {
        let video = video(&caps(format), packaging);
        assert_eq!(video.codec, codec);
        assert_eq!(
            video.description.is_some(),
            described,
            "{format} {packaging:?}"
        );
        assert_eq!(
            (video.coded_width, video.coded_height),
            (Some(1280), Some(720))
        );
    }
    let Rendition::Video(known) = container::cmaf::Init::parse(&Bytes::from_static(H265_INIT))
        .expect("an init segment")
        .rendition
    else {
        panic!("it is video");
    };
    let record = hex::encode(known.description.expect("hvcC"));
    let caps = format!(
        "video/x-h265,stream-format=hvc1,alignment=au,codec_data=(buffer){record},framerate=25/1"
    );
    let video = video(&caps, Packaging::Legacy);
    assert_eq!(video.codec, known.codec);
    assert_eq!(
        (video.coded_width, video.coded_height),
        (known.coded_width, known.coded_height)
    );
    assert_eq!(video.framerate, Some(25.0));
    assert_eq!(video.jitter_ms, Some(40));
}

/// A byte-stream that is written with lengths has its parameter sets in the description.
#[test]
fn byte_stream_in_cmaf_is_described() {
    let mut stream = stream("video/x-h264,stream-format=byte-stream,alignment=au");
    let config = h264::Config::from_avcc(&hex::decode(AVCC).expect("hex")).expect("avcC");
    let sets = h264::Config::from_parameter_sets(&config.sps()[0], &config.pps()[0]);
    let Stream::Video(VideoStream {
        coding: VideoCoding::H264(nal),
        ..
    }) = &mut stream
    else {
        panic!("it is H.264");
    };
    nal.config = sets.ok();
    let rendition = |packaging| match stream.rendition(packaging) {
        Ok(Some(Rendition::Video(video))) => video,
        other => panic!("{other:?}"),
    };
    let cmaf = rendition(Packaging::Cmaf);
    assert_eq!(cmaf.codec, "avc1.64001f");
    assert_eq!(suffix(&Rendition::Video(cmaf.clone())), ".avc1");
    let legacy = rendition(Packaging::Legacy);
    assert_eq!(
        (legacy.codec.as_str(), legacy.description),
        ("avc3.64001f", None)
    );
    let record = cmaf.description.expect("a description");
    let described = h264::Config::from_avcc(&record).expect("avcC");
    assert_eq!(
        (described.sps(), described.pps()),
        (config.sps(), config.pps())
    );
}

#[test]
fn the_size_is_the_caps_or_the_key_frames() {
    let key = vp8::KeyFrame {
        version: 0,
        width: 320,
        height: 180,
    };
    for (caps, width, aspect) in [
        ("video/x-vp8", 320, None),
        (
            "video/x-vp8,width=640,height=360,pixel-aspect-ratio=4/3",
            640,
            Some((64, 27)),
        ),
        ("video/x-vp8,width=640,height=360,framerate=0/1", 640, None),
    ] {
        let mut stream = stream(caps);
        let Stream::Video(video) = &mut stream else {
            panic!("it is video");
        };
        video.coding = VideoCoding::Vp8(Some(key));
        let Ok(Some(Rendition::Video(video))) = stream.rendition(Packaging::Legacy) else {
            panic!("known");
        };
        assert_eq!(video.coded_width, Some(width), "{caps}");
        assert_eq!(video.display_aspect, aspect, "{caps}");
        assert_eq!(video.framerate, None);
    }
}

#[test]
fn caps_that_cannot_be_carried_say_what_is_missing() {
    gst::init().expect("GStreamer");
    for (caps, says) in [
        ("video/x-theora", "video/x-theora cannot be carried"),
        ("audio/mpeg,mpegversion=3", "mpegversion=3"),
        (
            "video/x-h264,stream-format=avc,alignment=au",
            "codec_data of video/x-h264 is missing: put h264parse in front",
        ),
        (
            "video/x-h264,stream-format=byte-stream,alignment=nal",
            "alignment of video/x-h264 is not au: put h264parse in front",
        ),
        ("video/x-h264", "alignment of video/x-h264 is missing"),
        (
            "video/x-h265,alignment=au",
            "stream-format of video/x-h265 is missing: put h265parse",
        ),
        (
            "video/x-h265,alignment=au,stream-format=hvc1,codec_data=(buffer)01",
            "hvcC",
        ),
        (
            "video/x-av1,stream-format=obu-stream,alignment=frame",
            "alignment of video/x-av1 is not tu: put av1parse",
        ),
        (
            "video/x-av1,stream-format=annexb,alignment=tu",
            "stream-format of video/x-av1 is annexb",
        ),
        (
            "video/x-vp9,alignment=frame",
            "is not super-frame: put vp9parse",
        ),
        ("audio/x-opus,channel-mapping-family=255,channels=2", "255"),
        (
            "audio/x-opus,channel-mapping-family=0,channels=3",
            "channels",
        ),
        (
            "audio/mpeg,mpegversion=4,stream-format=raw",
            "codec_data of audio/mpeg is missing: put aacparse",
        ),
        ("audio/mpeg,mpegversion=4,stream-format=loas", "is loas"),
        (
            "audio/mpeg,mpegversion=4,stream-format=adts,framed=false",
            "framed of audio/mpeg is false: put aacparse",
        ),
        (
            "audio/mpeg,mpegversion=1,layer=2",
            "layer of audio/mpeg is 2",
        ),
        (
            "audio/mpeg,mpegversion=1,layer=3,parsed=false",
            "put mpegaudioparse in front",
        ),
        (
            "audio/x-flac,framed=true",
            "streamheader of audio/x-flac is missing: put flacparse",
        ),
    ] {
        let caps: gst::Caps = caps.parse().expect(caps);
        let err = Stream::from_caps(&caps).expect_err("refused").to_string();
        assert!(err.contains(says), "{err}");
    }
}

#[test]
fn a_track_goes_on_with_its_codec_alone() {
    let h264 = stream("video/x-h264,stream-format=byte-stream,alignment=au");
    let avc = stream(&format!(
        "video/x-h264,stream-format=avc,alignment=au,codec_data=(buffer){AVCC}"
    ));
    let adts = stream("audio/mpeg,mpegversion=4,stream-format=adts");
    let aac = stream("audio/mpeg,mpegversion=4,stream-format=raw,codec_data=(buffer)1208");
    let mp3 = stream("audio/mpeg,mpegversion=1,layer=3");
    assert!(h264.can_become(&avc) && adts.can_become(&aac));
    assert!(!h264.can_become(&stream("video/x-vp8")) && !adts.can_become(&mp3));
    assert!(!h264.can_become(&mp3));
}
