//! Codec × container × transport: what stock encoders make, moqsink publishes and moqsrc plays is decoded as it was encoded.
//!
//! Each stream is made once and published in every cell from memory. A cell is one broadcast with all codecs that its container
//! has; a decoder for each plays what came, and another one, here, the same stretch of what was sent.

mod common;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread,
};

use common::{LIMIT, Pipeline, hash, init};
use gst::prelude::*;
use gstmoq::net::relay::{Relay, RelayConfig};

/// A stream, and what decodes it.
struct Row {
    /// The name of its track.
    name: &'static str,
    /// From the raw source on.
    encoder: &'static str,
    decoder: &'static str,
}

const fn row(name: &'static str, encoder: &'static str, decoder: &'static str) -> Row {
    Row {
        name,
        encoder,
        decoder,
    }
}

const PICTURES: &str = "videotestsrc num-buffers=40 pattern=ball ! video/x-raw,format=I420,width=96,height=80,framerate=30/1";
const SOUND: &str = "audiotestsrc num-buffers=66 samplesperbuffer=960 wave=white-noise";

const H264: &str = "avdec_h264 max-threads=1";
const H265: &str = "avdec_h265 max-threads=1";

/// Both orders of pictures among them: B-frames, and closed and open GOPs.
const VIDEO: &[Row] = &[
    row(
        "h264-byte-stream",
        "x264enc speed-preset=ultrafast bframes=2 b-adapt=false key-int-max=10 ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream",
        H264,
    ),
    row(
        "h264-avc",
        "x264enc speed-preset=ultrafast bframes=3 b-adapt=false b-pyramid=true key-int-max=10 ! h264parse ! video/x-h264,stream-format=avc",
        H264,
    ),
    row(
        "h264-avc3",
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! h264parse ! video/x-h264,stream-format=avc3",
        H264,
    ),
    row(
        "h264-open-gop",
        "x264enc speed-preset=ultrafast bframes=2 b-adapt=false key-int-max=12 option-string=open-gop=1 ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream",
        H264,
    ),
    row(
        "h265-byte-stream",
        "x265enc speed-preset=ultrafast key-int-max=10 option-string=bframes=2:b-adapt=0:open-gop=0:log-level=none ! h265parse config-interval=-1 ! video/x-h265,stream-format=byte-stream",
        H265,
    ),
    row(
        "h265-hvc1",
        "x265enc speed-preset=ultrafast key-int-max=10 option-string=bframes=3:b-adapt=0:open-gop=0:log-level=none ! h265parse ! video/x-h265,stream-format=hvc1",
        H265,
    ),
    row(
        "h265-hev1",
        "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! h265parse ! video/x-h265,stream-format=hev1",
        H265,
    ),
    row(
        "h265-open-gop",
        "x265enc speed-preset=ultrafast key-int-max=10 option-string=bframes=3:b-adapt=0:open-gop=1:min-keyint=10:scenecut=0:log-level=none ! h265parse ! video/x-h265,stream-format=hvc1",
        H265,
    ),
    row(
        "vp8",
        "vp8enc deadline=1 cpu-used=8 keyframe-max-dist=10",
        "vp8dec",
    ),
    // Frames that are not shown, in superframes.
    row(
        "vp9",
        "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=10 auto-alt-ref=true lag-in-frames=5",
        "vp9dec",
    ),
    // Frames that are shown later, or again.
    row(
        "av1-obu-stream",
        "av1enc cpu-used=8 keyframe-max-dist=10 lag-in-frames=5 ! av1parse ! video/x-av1,stream-format=obu-stream,alignment=tu",
        "av1dec",
    ),
    row(
        "av1-tu",
        "av1enc cpu-used=8 usage-profile=realtime lag-in-frames=0 keyframe-max-dist=10",
        "av1dec",
    ),
];

const AUDIO: &[Row] = &[
    row(
        "opus-mono",
        "audio/x-raw,rate=48000,channels=1 ! opusenc",
        "opusdec",
    ),
    row(
        "opus-stereo",
        "audio/x-raw,rate=48000,channels=2 ! opusenc",
        "opusdec",
    ),
    row(
        "opus-5-1",
        "audio/x-raw,rate=48000,channels=6,channel-mask=(bitmask)0x3f ! opusenc",
        "opusdec",
    ),
    row(
        "aac-raw",
        "audio/x-raw,rate=44100,channels=2 ! voaacenc ! aacparse ! audio/mpeg,stream-format=raw",
        "avdec_aac",
    ),
    row(
        "aac-adts",
        "audio/x-raw,rate=48000,channels=2 ! voaacenc ! audio/mpeg,stream-format=adts ! aacparse",
        "avdec_aac",
    ),
    row(
        "mp3",
        "audio/x-raw,rate=44100,channels=2 ! lamemp3enc ! mpegaudioparse",
        "mpg123audiodec",
    ),
    row(
        "flac",
        "audio/x-raw,rate=48000,channels=2,format=S16LE ! flacenc blocksize=960 ! flacparse",
        "flacdec",
    ),
];

/// What reaches the relay, and in which protocol.
const TRANSPORTS: &[&str] = &[
    "webtransport moq-lite-06",
    "webtransport moq-transport-17",
    "quic moq-lite-05",
    "quic moq-transport-22",
];

const CONTAINERS: &[&str] = &["legacy", "loc", "cmaf"];

fn rows() -> impl Iterator<Item = &'static Row> {
    VIDEO.iter().chain(AUDIO)
}

/// Properties of an element that dials.
fn to(relay: &Relay, transport: &str) -> String {
    let port = relay.bound()[0].port();
    let (transport, version) = transport
        .split_once(' ')
        .expect("a transport and a version");
    let scheme = match (transport, version.starts_with("moq-lite")) {
        ("webtransport", _) => "https",
        (_, true) => "moql",
        (_, false) => "moqt",
    };
    format!(
        "url={scheme}://127.0.0.1:{port}/ transport={transport} protocol-versions=<{version}> \
         server-certificate-hashes=<{}>",
        relay.fingerprint()
    )
}

/// What an encoder made.
struct Coded {
    caps: gst::Caps,
    units: Vec<gst::Buffer>,
}

fn encode(row: &Row) -> Coded {
    let source = match VIDEO.iter().any(|video| video.name == row.name) {
        true => PICTURES.to_owned(),
        false => format!("{SOUND} ! audioconvert"),
    };
    let pipeline = Pipeline::launch(&format!(
        "{source} ! {} ! appsink name=sink sync=false",
        row.encoder
    ));
    let sink: gst_app::AppSink = pipeline.by_name("sink").downcast().expect("an appsink");
    pipeline.set(gst::State::Playing);
    let (mut caps, mut units) = (None, Vec::new());
    let limit = gst::ClockTime::from_seconds(LIMIT.as_secs());
    while let Some(sample) = sink.try_pull_sample(limit) {
        caps = sample.caps_owned().or(caps);
        let segment = sample.segment().expect("a segment");
        let segment = segment.downcast_ref::<gst::ClockTime>().expect("time");
        let mut unit = sample.buffer_owned().expect("a buffer");
        // FLAC has its headers in the caps, too.
        let is_header = row.name == "flac" && unit.flags().contains(gst::BufferFlags::HEADER);
        let Some(running) = segment.to_running_time(unit.pts()).filter(|_| !is_header) else {
            continue;
        };
        let ahead = unit
            .pts()
            .zip(unit.dts())
            .map(|(pts, dts)| pts.saturating_sub(dts));
        let writable = unit.make_mut();
        writable.set_pts(running + START);
        writable.set_dts(ahead.map(|ahead| running + START - ahead));
        units.push(unit);
    }
    assert!(sink.is_eos(), "{}: no end", row.name);
    let caps = caps.unwrap_or_else(|| panic!("{}: nothing came", row.name));
    Coded { caps, units }
}

/// Running time of the first frames: pictures are decoded before they are shown, and players have come by then.
const START: gst::ClockTime = gst::ClockTime::from_mseconds(400);

type Streams = BTreeMap<&'static str, Coded>;

/// What came of a track, coded and decoded.
#[derive(Default)]
struct Played {
    /// Each with its segment.
    packets: Vec<gst::Sample>,
    decoded: Vec<u64>,
}

type All = Arc<Mutex<BTreeMap<String, Played>>>;

fn hash_of(buffer: &gst::Buffer) -> u64 {
    hash(&buffer.map_readable().expect("readable"))
}

/// Links a new pad to the decoder of its row, and records both sides of it.
fn play_pad(player: &gst::Pipeline, pad: &gst::Pad, all: &All) {
    let id = pad.stream_id().expect("a stream");
    let name = id.rsplit('/').next().expect("a name").to_owned();
    let row = rows().find(|row| row.name == name).expect("a row");
    let decoder = gst::parse::bin_from_description(row.decoder, true).expect("a decoder");
    let sink = gst::ElementFactory::make("fakesink")
        .build()
        .expect("fakesink");
    player.add(&decoder).expect("added");
    player.add(&sink).expect("added");
    decoder.link(&sink).expect("linked");
    sink.sync_state_with_parent().expect("started");
    decoder.sync_state_with_parent().expect("started");
    all.lock().expect("whole").entry(name.clone()).or_default();
    let record = |pad: &gst::Pad, take: fn(&mut Played, &gst::Pad, &gst::Buffer)| {
        let (all, name) = (all.clone(), name.clone());
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                let mut all = all.lock().expect("whole");
                take(all.get_mut(&name).expect("known"), pad, buffer);
            }
            gst::PadProbeReturn::Ok
        });
    };
    record(pad, |played, pad, buffer| {
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        let segment = segment.expect("a segment").segment().clone();
        let packet = gst::Sample::builder().buffer(buffer).segment(&segment);
        played.packets.push(packet.build());
    });
    record(
        &sink.static_pad("sink").expect("a pad"),
        |played, _, buffer| {
            played.decoded.push(hash_of(buffer));
        },
    );
    let input = decoder.static_pad("sink").expect("a pad");
    pad.link(&input)
        .unwrap_or_else(|err| panic!("{name}: {err}"));
}

/// Publishes all streams in this container to this relay and plays them, to the end.
fn played(streams: &Streams, container: &str, transport: &str) -> All {
    let relay = Relay::start(RelayConfig::local()).expect("a relay");
    let to = to(&relay, transport);
    let player = Pipeline::launch(&format!(
        "moqsrc name=src {to} broadcast=matrix.hang latency=2000 fakesink name=extra"
    ));
    let extra = player.by_name("extra");
    player.0.remove(&extra).expect("removed");
    let all = All::default();
    let (into, pipeline) = (all.clone(), player.0.downgrade());
    player.by_name("src").connect_pad_added(move |_, pad| {
        if let Some(pipeline) = pipeline.upgrade() {
            play_pad(&pipeline, pad, &into);
        }
    });
    player.set(gst::State::Playing);

    let (mut pads, mut sources) = (String::new(), String::new());
    for (index, name) in streams.keys().enumerate() {
        pads += &format!(" sink_{index}::track={name} sink_{index}::container={container}");
        sources += &format!(" appsrc name={name} format=time max-bytes=0 ! sink.sink_{index}");
    }
    let publisher = Pipeline::launch(&format!(
        "moqsink name=sink {to} broadcast=matrix.hang{pads}{sources}"
    ));
    for (name, coded) in streams {
        let source: gst_app::AppSrc = publisher.by_name(name).downcast().expect("an appsrc");
        source.set_caps(Some(&coded.caps));
        for unit in &coded.units {
            source.push_buffer(unit.clone()).expect("taken");
        }
        source.end_of_stream().expect("taken");
    }
    publisher.set(gst::State::Playing);
    publisher.wait_eos();
    player.wait_eos();
    all
}

/// What makes decoders take the form that was sent.
fn parser(row: &Row) -> &'static str {
    match row.name {
        "h264-avc3" => "h264parse !",
        _ => "",
    }
}

/// The stretch of what was sent that came, at the times at which it came, decoded without a network in between.
fn decoded_here(row: &Row, sent: &Coded, played: &Played) -> Result<Vec<u64>, String> {
    let pipeline = Pipeline::launch(&format!(
        "appsrc name=src format=time handle-segment-change=true ! {} {} ! appsink name=sink sync=false",
        parser(row),
        row.decoder
    ));
    let src: gst_app::AppSrc = pipeline.by_name("src").downcast().expect("an appsrc");
    let sink: gst_app::AppSink = pipeline.by_name("sink").downcast().expect("an appsink");
    src.set_caps(Some(&sent.caps));
    pipeline.set(gst::State::Playing);
    for (unit, packet) in came_of(sent, played)? {
        let came = packet.buffer().expect("a buffer");
        // Its bytes alone: what encoders say of padding in metadata is not part of the media.
        let map = unit.map_readable().expect("readable");
        let mut unit = gst::Buffer::from_slice(map.to_vec());
        let writable = unit.make_mut();
        writable.set_pts(came.pts());
        writable.set_dts(came.dts());
        writable.set_duration(came.duration());
        let segment = packet.segment().expect("a segment");
        let sample = gst::Sample::builder().buffer(&unit).segment(segment);
        src.push_sample(&sample.build()).expect("taken");
    }
    src.end_of_stream().expect("taken");
    let limit = gst::ClockTime::from_seconds(LIMIT.as_secs());
    let mut decoded = Vec::new();
    while let Some(sample) = sink.try_pull_sample(limit) {
        decoded.push(hash_of(&sample.buffer_owned().expect("a buffer")));
    }
    assert!(sink.is_eos(), "{}: no end", row.name);
    Ok(decoded)
}

/// What was sent, each with what came of it: all from the live edge on, to the end. What was published before the edge was found
/// is left out. However headers and start codes are changed on the way, the end of a frame stays.
fn came_of<'a>(
    sent: &'a Coded,
    played: &'a Played,
) -> Result<Vec<(&'a gst::Buffer, &'a gst::Sample)>, String> {
    const END: usize = 32;
    let end = |buffer: &gst::BufferRef| {
        let map = buffer.map_readable().expect("readable");
        map[map.len().saturating_sub(END)..].to_vec()
    };
    let (sent_len, came) = (sent.units.len(), played.packets.len());
    let edge = sent_len
        .checked_sub(came)
        .ok_or_else(|| format!("{came} of {sent_len} came"))?;
    let pairs: Vec<_> = sent.units[edge..].iter().zip(&played.packets).collect();
    let same = |(unit, packet): &(&gst::Buffer, &gst::Sample)| {
        let (sent, came) = (end(unit), end(packet.buffer().expect("a buffer")));
        sent.ends_with(&came) || came.ends_with(&sent)
    };
    match pairs.iter().position(|pair| !same(pair)) {
        None => Ok(pairs),
        Some(at) => Err(format!(
            "of {sent_len} came {came}, and number {at} of these is not number {} that was sent",
            edge + at
        )),
    }
}

/// Every track, or what is wrong with it.
fn compare(streams: &Streams, all: &All, cell: &str) -> Vec<String> {
    let all = all.lock().expect("whole");
    let check = |name: &str, sent: &Coded| -> Result<(), String> {
        let row = rows().find(|row| row.name == name).expect("a row");
        let played = all.get(name).ok_or("no pad")?;
        let (sent_len, came) = (sent.units.len(), played.packets.len());
        // Those of the time in which the live edge was looked for.
        if came > sent_len || came * 2 < sent_len {
            return Err(format!("{came} of {sent_len} came"));
        }
        let here = decoded_here(row, sent, played)?;
        let distinct: std::collections::BTreeSet<_> = here.iter().collect();
        if distinct.len() < 20 {
            return Err(format!("{} differ", distinct.len()));
        }
        match here == played.decoded {
            true => Ok(()),
            false => {
                let same = here.iter().zip(&played.decoded).take_while(|(a, b)| a == b);
                Err(format!(
                    "{} decoded, {} here, alike up to {}",
                    played.decoded.len(),
                    here.len(),
                    same.count()
                ))
            }
        }
    };
    streams
        .iter()
        .filter_map(|(name, sent)| Some((name, check(name, sent).err()?)))
        .map(|(name, wrong)| format!("{name} in {cell}: {wrong}"))
        .collect()
}

#[test]
fn every_codec_in_every_container_over_every_transport_is_decoded_as_it_was_encoded() {
    init();
    let streams: Streams = thread::scope(|scope| {
        let encoding = rows().map(|row| (row.name, scope.spawn(|| encode(row))));
        let encoding: Vec<_> = encoding.collect();
        let streams = encoding.into_iter();
        streams
            .map(|(name, coded)| (name, coded.join().expect("encoded")))
            .collect()
    });
    // So that no player spends its first second on loading decoders.
    for row in rows() {
        let decoder = gst::parse::bin_from_description(row.decoder, true).expect("a decoder");
        decoder.set_state(gst::State::Paused).expect("loaded");
        decoder.set_state(gst::State::Null).expect("stopped");
    }
    let wrong: Vec<String> = TRANSPORTS
        .iter()
        .flat_map(|transport| {
            CONTAINERS
                .iter()
                .map(move |container| (container, transport))
        })
        .flat_map(|(container, transport)| {
            let cell = format!("{container} over {transport}");
            let all = played(&streams, container, transport);
            compare(&streams, &all, &cell)
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
