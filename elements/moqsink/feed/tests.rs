//! Streams of stock encoders, buffer by buffer.

use gst::prelude::*;

use super::*;
use crate::{
    media::{
        container::{self, Decoder},
        h264::NalFormat,
        h265,
    },
    policy::group::{self, Action, Limits, Reason},
};

/// What an encoder makes, and its caps.
fn encoded(description: &str) -> (gst::Caps, Vec<gst::Buffer>) {
    gst::init().expect("GStreamer");
    let pipeline = gst::parse::launch(&format!("{description} ! appsink name=sink sync=false"))
        .expect("a pipeline")
        .downcast::<gst::Pipeline>()
        .expect("a pipeline");
    let sink = pipeline.by_name("sink").expect("appsink");
    let sink = sink.downcast::<gst_app::AppSink>().expect("appsink");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let mut buffers = Vec::new();
    let mut caps = None;
    while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(10)) {
        caps = sample.caps_owned().or(caps);
        buffers.extend(sample.buffer_owned());
    }
    pipeline.set_state(gst::State::Null).expect("null");
    (caps.expect("caps"), buffers)
}

fn coded(caps: &gst::Caps, packaging: Packaging) -> Coded {
    let stream = Stream::from_caps(caps).expect("caps");
    Coded::new(stream, packaging, Grouping::video(Limits::default()))
}

/// A frame of a buffer in these memories; `None` if it is lost.
fn frame(coded: &mut Coded, buffer: &gst::BufferRef, parts: &[&[u8]]) -> Option<Frame> {
    let time = |time: Option<gst::ClockTime>| i64::try_from(time?.nseconds()).ok();
    let pts = time(buffer.pts()).expect("a timestamp");
    let unit = Unit {
        running: pts,
        dts: time(buffer.dts()),
        duration: time(buffer.duration()),
        now: None,
        delta: buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
        discont: false,
        parts,
    };
    let mapped = Mapped {
        time: pts,
        jumped: false,
        due: None,
    };
    match coded.frame(&mapped, &unit) {
        Ok(frame) => Some(frame),
        Err(Problem::Lost(_)) => None,
        Err(Problem::Broken(err) | Problem::Fatal(err)) => panic!("{err}"),
    }
}

const PICTURES: &str =
    "videotestsrc num-buffers=40 ! video/x-raw,format=I420,width=64,height=64,framerate=30/1";

#[test]
fn a_stream_that_begins_at_an_open_key_picture_leaves_out_what_reaches_back() {
    let (caps, buffers) = encoded(&format!(
        "{PICTURES} ! x265enc key-int-max=10 option-string=open-gop=1:bframes=3:b-adapt=0:min-keyint=10:scenecut=0 ! \
         h265parse ! video/x-h265,stream-format=byte-stream"
    ));
    let mut coded = coded(&caps, Packaging::Legacy);
    let picture = |buffer: &gst::Buffer| {
        let map = buffer.map_readable().expect("readable");
        h265::picture(&map, NalFormat::ByteStream).expect("a picture")
    };
    let first = buffers
        .iter()
        .map(picture)
        .position(|it| it == h265::Picture::Cra);
    let first = first.expect("an open GOP");
    let mut dropped = 0;
    for (index, buffer) in buffers.iter().enumerate() {
        let map = buffer.map_readable().expect("readable");
        let made = frame(&mut coded, buffer, &[&map]).expect("a frame");
        if index < first {
            // Known by its parameter sets, and not published: a gap comes before the open GOP.
            continue;
        }
        let verdict = coded.grouping.next(group::Unit {
            key: made.key,
            leading: made.leading,
            bytes: 1,
            pts: i64::try_from(buffer.pts().expect("a timestamp").nseconds()).expect("a time"),
        });
        let next = buffers[first + 1..].iter().map(picture);
        let is_first_gop = index - first <= next.take_while(|it| *it != h265::Picture::Cra).count();
        let reaches_back = is_first_gop && picture(buffer) == h265::Picture::Rasl;
        let expected = match index - first {
            0 => Action::NewGroup,
            _ if reaches_back => Action::Drop(Reason::Leading),
            _ => Action::Continue,
        };
        assert_eq!(
            verdict.action,
            expected,
            "picture {index}: {:?}",
            picture(buffer)
        );
        dropped += u32::from(reaches_back);
    }
    assert!(dropped > 0);
}

/// Hardware and payloaders give access units in several memories.
#[test]
fn an_access_unit_in_several_memories_is_the_same_frame() {
    for encoder in [
        "x264enc key-int-max=10 ! video/x-h264,stream-format=byte-stream",
        "x264enc key-int-max=10 ! h264parse ! video/x-h264,stream-format=avc3",
        "x265enc key-int-max=10",
        "vp8enc deadline=1 keyframe-max-dist=10",
        "av1enc cpu-used=8 usage-profile=realtime lag-in-frames=0 keyframe-max-dist=10",
    ] {
        let (caps, buffers) = encoded(&format!("{PICTURES} ! {encoder}"));
        for packaging in [Packaging::Legacy, Packaging::Loc, Packaging::Cmaf] {
            let (mut one, mut many) = (coded(&caps, packaging), coded(&caps, packaging));
            let mut frames = 0;
            for buffer in &buffers {
                let map = buffer.map_readable().expect("readable");
                let (head, rest) = map.split_at(map.len().min(20));
                let (middle, tail) = rest.split_at(rest.len() / 2);
                let whole = frame(&mut one, buffer, &[&map]);
                let split = frame(&mut many, buffer, &[head, middle, tail]);
                let objects = (whole.map(|it| it.object), split.map(|it| it.object));
                assert!(
                    objects.0.is_some() && objects.0 == objects.1,
                    "{encoder} {packaging:?}"
                );
                frames += 1;
            }
            assert!(frames >= 30, "{encoder}: {frames}");
        }
    }
}

/// Decoding times and durations are those of the buffers.
#[test]
fn cmaf_has_the_times_of_reordered_pictures() {
    let (caps, buffers) = encoded(&format!(
        "{PICTURES} ! x264enc bframes=2 b-adapt=false key-int-max=20 ! h264parse ! video/x-h264,stream-format=avc"
    ));
    let mut coded = coded(&caps, Packaging::Cmaf);
    let mut reordered = 0;
    for buffer in &buffers {
        let map = buffer.map_readable().expect("readable");
        let made = frame(&mut coded, buffer, &[&map]).expect("a frame");
        let container = coded.rendition.as_ref().expect("known").container().clone();
        let decoder: Decoder = container::Decoder::new(&container).expect("a decoder");
        let got: Vec<_> = decoder.decode(made.object).expect("a fragment").collect();
        let us = |time: Option<gst::ClockTime>| time.expect("a time").useconds();
        assert_eq!(got[0].pts_us, us(buffer.pts()));
        assert_eq!(got[0].duration_us, Some(us(buffer.duration())));
        assert_eq!(got[0].key, Some(made.key != Key::None));
        reordered += u32::from(buffer.pts() != buffer.dts());
    }
    assert!(reordered > 10);
}

/// Payloaders do not say when a picture is decoded.
#[test]
fn cmaf_has_decoding_times_that_go_on_where_buffers_have_none() {
    let (caps, buffers) = encoded(&format!(
        "{PICTURES} ! x264enc bframes=2 b-adapt=false key-int-max=20 ! h264parse ! video/x-h264,stream-format=avc"
    ));
    let mut coded = coded(&caps, Packaging::Cmaf);
    let (mut last, mut earlier) = (0, 0);
    for buffer in buffers {
        let mut bare = buffer.copy();
        bare.get_mut().expect("owned").set_dts(gst::ClockTime::NONE);
        let map = buffer.map_readable().expect("readable");
        let made = frame(&mut coded, &bare, &[&map]).expect("a frame");
        let dts = decode_time(&made.object);
        let pts = buffer.pts().expect("a timestamp").useconds();
        assert!(last < dts && dts <= pts, "{last} {dts} {pts}");
        earlier += u32::from(dts < pts);
        last = dts;
    }
    assert!(earlier > 10);
}

/// A stream of B-frames whose first picture is at media time 0 begins to be decoded before that.
#[test]
fn cmaf_decoding_times_rise_from_media_time_zero_on_and_presentation_is_exact() {
    let (caps, buffers) = encoded(&format!(
        "{PICTURES} ! x264enc bframes=3 b-pyramid=true b-adapt=false key-int-max=20 ! h264parse ! video/x-h264,stream-format=avc"
    ));
    let start = buffers[0].pts().expect("a timestamp").nseconds() as i64;
    let ns = |time: Option<gst::ClockTime>| time.expect("a time").nseconds() as i64 - start;
    assert!(
        ns(buffers[0].dts()) < -33_000_000,
        "decoded two frames ahead"
    );
    let mut coded = coded(&caps, Packaging::Cmaf);
    let mut decoded = Vec::new();
    for buffer in &buffers {
        let map = buffer.map_readable().expect("readable");
        let unit = Unit {
            running: ns(buffer.pts()),
            dts: Some(ns(buffer.dts())),
            duration: None,
            now: None,
            delta: buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            discont: false,
            parts: &[&map],
        };
        let mapped = Mapped {
            time: unit.running,
            jumped: false,
            due: None,
        };
        let Ok(made) = coded.frame(&mapped, &unit) else {
            panic!("a frame")
        };
        let container = coded.rendition.as_ref().expect("known").container().clone();
        let decoder = Decoder::new(&container).expect("a decoder");
        decoded.push(decode_time(&made.object));
        let got: Vec<_> = decoder.decode(made.object).expect("a fragment").collect();
        assert_eq!(got[0].pts_us as i64, unit.running / 1000);
        let stated = unit.dts.expect("a time") / 1000;
        if stated > 100 {
            assert_eq!(decoded.last(), Some(&(stated as u64)));
        }
    }
    assert_eq!(decoded[0], 0);
    assert!(
        decoded.windows(2).all(|pair| pair[0] < pair[1]),
        "{decoded:?}"
    );
}

/// baseMediaDecodeTime of a fragment; tfdt of version 1 is the only one that is written.
fn decode_time(object: &[u8]) -> u64 {
    let at = object.windows(4).position(|it| it == b"tfdt");
    let at = at.expect("tfdt") + 8;
    u64::from_be_bytes(object[at..at + 8].try_into().expect("a time"))
}

/// Row 24: a player is told again only when it has to wait for longer.
#[test]
fn the_catalog_waits_for_the_order_of_pictures_and_is_told_again_when_it_deepens() {
    let (caps, buffers) = encoded(&format!(
        "{PICTURES} ! x264enc bframes=2 b-adapt=false key-int-max=20 ! h264parse ! video/x-h264,stream-format=avc"
    ));
    let mut feed = Feed {
        coded: Some(coded(&caps, Packaging::Legacy)),
        ..Feed::default()
    };
    let map = buffers[0].map_readable().expect("readable");
    let key = feed.coded.as_mut().expect("set above");
    frame(key, &buffers[0], &[&map]).expect("a frame");
    let mut picture = |at: i64| {
        let mapped = Mapped {
            time: at * 33_333_333,
            jumped: false,
            due: None,
        };
        let due = feed.observe(&mapped, false);
        let jitter = match feed.rendition() {
            Some(Rendition::Video(video)) => video.jitter_ms,
            other => panic!("{other:?}"),
        };
        (due.then(|| feed.news(false)), jitter)
    };
    for at in [0, 3, 1, 2] {
        assert_eq!(picture(at).0, None, "{at}");
    }
    assert_eq!(picture(6), (Some(News::Known), Some(100)));
    assert_eq!(picture(4), (None, Some(100)));
    // Three in a row from here on.
    for at in [5, 10, 7, 8] {
        assert_eq!(picture(at), (None, Some(100)), "{at}");
    }
    assert_eq!(picture(9), (Some(News::Pressing), Some(134)));
    // Never lowered.
    for at in [11, 12, 13] {
        assert_eq!(picture(at), (None, Some(134)));
    }
}

/// Its own sequence header, once known, is put in front of a key frame without one.
#[test]
fn key_frames_of_av1_get_their_sequence_header() {
    use crate::media::av1;
    let (caps, buffers) = encoded(&format!(
        "{PICTURES} ! av1enc cpu-used=8 usage-profile=realtime lag-in-frames=0 keyframe-max-dist=10"
    ));
    let mut coded = coded(&caps, Packaging::Legacy);
    let keys = buffers
        .iter()
        .filter(|it| !it.flags().contains(gst::BufferFlags::DELTA_UNIT));
    let mut objects = Vec::new();
    for (index, buffer) in keys.enumerate() {
        let map = buffer.map_readable().expect("readable");
        // Delimiter, sequence header, frame.
        let units: Vec<_> = av1::obus(&map).map(|obu| obu.bytes).collect();
        let bare = [units[0], &units[2..].concat()].concat();
        let au = if index == 0 { &map[..] } else { &bare };
        let made = frame(&mut coded, buffer, &[au]).expect("a frame");
        assert_eq!((made.key, made.changed), (Key::Idr, index == 0));
        let decoder = Decoder::Legacy;
        let got = decoder
            .decode(made.object)
            .expect("an object")
            .next()
            .expect("a frame");
        assert_eq!(got.payload, units[1..].concat());
        objects.push(got);
    }
    assert!(objects.len() > 2);
}
