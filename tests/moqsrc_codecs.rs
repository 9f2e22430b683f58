//! Every codec in every container, from a publisher that is not moqsink, straight into its stock decoder.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use common::{
    LIMIT, Pipeline,
    foreign::{Coded, Foreign, Track},
    hash, init,
};
use gst::prelude::*;
use gstmoq::{
    media::{
        av1,
        catalog::{AudioRendition, Container, Rendition, VideoRendition, hang},
        container::cmaf,
        flac, h264, h265, vp9,
    },
    net::relay::{Relay, RelayConfig},
};
use parking_lot::Mutex;

const WIDTH: u32 = 160;
const HEIGHT: u32 = 128;

/// A stream, how it is coded and what decodes it.
struct Row {
    name: &'static str,
    /// From the raw source on.
    encoder: &'static str,
    decoder: &'static str,
    rendition: fn(&Coded) -> Rendition,
    /// Whether MP4 has this form of it.
    in_mp4: bool,
}

const VIDEO: &[Row] = &[
    Row {
        name: "avc1",
        encoder: "x264enc speed-preset=ultrafast bframes=2 key-int-max=10 ! h264parse ! video/x-h264,stream-format=avc,alignment=au",
        decoder: "avdec_h264",
        rendition: |coded| h264_of(coded, false),
        in_mp4: true,
    },
    Row {
        name: "avc3",
        encoder: "x264enc speed-preset=ultrafast bframes=2 key-int-max=10 ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au",
        decoder: "avdec_h264",
        rendition: |coded| h264_of(coded, true),
        in_mp4: false,
    },
    // What browsers publish: avc1 without a description has start codes.
    Row {
        name: "avc1-browser",
        encoder: "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au",
        decoder: "avdec_h264",
        rendition: |coded| h264_of(coded, false),
        in_mp4: false,
    },
    Row {
        name: "hev1",
        encoder: "x265enc speed-preset=ultrafast key-int-max=10 option-string=bframes=2:log-level=none ! h265parse config-interval=-1 ! video/x-h265,stream-format=byte-stream,alignment=au",
        decoder: "avdec_h265",
        rendition: |coded| h265_of(coded, true),
        in_mp4: false,
    },
    Row {
        name: "hvc1",
        encoder: "x265enc speed-preset=ultrafast key-int-max=10 option-string=bframes=2:log-level=none ! h265parse ! video/x-h265,stream-format=hvc1,alignment=au",
        decoder: "avdec_h265",
        rendition: |coded| h265_of(coded, false),
        in_mp4: true,
    },
    Row {
        name: "vp8",
        encoder: "vp8enc deadline=1 keyframe-max-dist=10",
        decoder: "vp8dec",
        rendition: |_| picture("vp8".into(), None),
        in_mp4: true,
    },
    // With frames that are not shown, in superframes.
    Row {
        name: "vp9",
        encoder: "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=10 auto-alt-ref=true lag-in-frames=5",
        decoder: "vp9dec",
        rendition: |coded| {
            let key = vp9::key_frame(&coded.units[0].payload).expect("a key frame");
            picture(key.codec(30.0, None).to_string(), None)
        },
        in_mp4: true,
    },
    Row {
        name: "av1",
        encoder: "av1enc cpu-used=8 usage-profile=realtime keyframe-max-dist=10 ! av1parse ! video/x-av1,stream-format=obu-stream,alignment=tu",
        decoder: "av1dec",
        rendition: |coded| {
            let unit = &coded.units[0].payload;
            let sequence = av1::sequence_header(unit).expect("well formed");
            let codec = sequence.expect("a sequence header").codec().to_string();
            let record = av1::Av1C::from_temporal_unit(unit).expect("well formed");
            picture(codec, record)
        },
        in_mp4: true,
    },
];

const AUDIO: &[Row] = &[
    Row {
        name: "opus-mono",
        encoder: "audio/x-raw,rate=48000,channels=1 ! opusenc",
        decoder: "opusdec",
        rendition: |_| sound("opus", 48_000, 1, None),
        in_mp4: true,
    },
    Row {
        name: "opus-stereo",
        encoder: "audio/x-raw,rate=48000,channels=2 ! opusenc frame-size=10",
        decoder: "opusdec",
        rendition: |_| sound("opus", 48_000, 2, None),
        in_mp4: true,
    },
    Row {
        name: "opus-surround",
        encoder: "audio/x-raw,rate=48000,channels=6,channel-mask=(bitmask)0x3f ! opusenc",
        decoder: "opusdec",
        rendition: |coded| sound("opus", 48_000, 6, Some(coded.stream_header())),
        in_mp4: true,
    },
    Row {
        name: "aac",
        encoder: "audio/x-raw,rate=44100,channels=2 ! voaacenc ! aacparse ! audio/mpeg,stream-format=raw",
        decoder: "avdec_aac",
        rendition: |coded| sound("mp4a.40.2", 44_100, 2, coded.codec_data()),
        in_mp4: true,
    },
    Row {
        name: "aac-undescribed",
        encoder: "audio/x-raw,rate=48000,channels=1 ! avenc_aac ! aacparse ! audio/mpeg,stream-format=raw",
        decoder: "avdec_aac",
        rendition: |_| sound("mp4a.40.2", 48_000, 1, None),
        in_mp4: false,
    },
    Row {
        name: "mp3",
        encoder: "audio/x-raw,rate=44100,channels=2 ! lamemp3enc ! mpegaudioparse",
        decoder: "mpg123audiodec",
        rendition: |_| sound("mp3", 44_100, 2, None),
        in_mp4: true,
    },
    Row {
        name: "flac",
        encoder: "audio/x-raw,rate=48000,channels=2,format=S16LE ! flacenc blocksize=960 ! flacparse",
        decoder: "flacdec",
        rendition: |coded| {
            // Behind the marker of Ogg.
            let header = coded.stream_header().slice(9..);
            let info = flac::StreamInfo::from_description(&header).expect("STREAMINFO");
            sound("flac", 48_000, 2, Some(info.description()))
        },
        in_mp4: true,
    },
];

fn picture(codec: String, description: Option<Bytes>) -> Rendition {
    Rendition::Video(VideoRendition {
        codec,
        description,
        coded_width: Some(WIDTH),
        coded_height: Some(HEIGHT),
        framerate: Some(30.0),
        ..VideoRendition::default()
    })
}

fn sound(codec: &str, sample_rate: u32, channels: u32, description: Option<Bytes>) -> Rendition {
    Rendition::Audio(AudioRendition {
        codec: codec.into(),
        sample_rate,
        channels,
        description,
        ..AudioRendition::default()
    })
}

fn h264_of(coded: &Coded, inline: bool) -> Rendition {
    let record = coded.codec_data();
    let config = match &record {
        Some(record) => h264::Config::from_avcc(record).expect("avcC"),
        None => {
            h264::Config::from_access_unit(&coded.units[0].payload, h264::NalFormat::ByteStream)
                .expect("well formed")
                .expect("parameter sets")
        }
    };
    picture(config.codec(inline).to_string(), record)
}

fn h265_of(coded: &Coded, inline: bool) -> Rendition {
    let record = coded.codec_data();
    let config = match &record {
        Some(record) => h265::Config::from_hvcc(record).expect("hvcC"),
        None => {
            h265::Config::from_access_unit(&coded.units[0].payload, h265::NalFormat::ByteStream)
                .expect("well formed")
                .expect("parameter sets")
        }
    };
    picture(config.codec(inline).to_string(), record)
}

/// A second or so of each row, in this container.
fn track(row: &Row, container: &Container) -> Track {
    let source = match VIDEO.iter().any(|video| video.name == row.name) {
        true => format!(
            "videotestsrc num-buffers=36 pattern=ball ! video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate=30/1"
        ),
        false => "audiotestsrc num-buffers=60 samplesperbuffer=960 wave=white-noise ! audioconvert"
            .to_owned(),
    };
    let mut coded = Coded::new(&format!("{source} ! {}", row.encoder));
    let mut rendition = (row.rendition)(&coded);
    if row.name == "av1" {
        // As browsers and MP4 have it: without delimiters.
        for unit in &mut coded.units {
            let delimiter = av1::delimiter_len(&unit.payload);
            unit.payload = unit.payload.slice(delimiter..);
        }
    }
    let container = match container {
        // The init segment alone describes the track.
        Container::Cmaf { .. } => {
            let init = cmaf::init_segment(&rendition).expect("an init segment");
            Container::Cmaf { init }
        }
        other => other.clone(),
    };
    let is_cmaf = matches!(container, Container::Cmaf { .. });
    match &mut rendition {
        Rendition::Video(video) => {
            video.description = video.description.take().filter(|_| !is_cmaf);
            video.container = container;
        }
        Rendition::Audio(audio) => {
            audio.description = audio.description.take().filter(|_| !is_cmaf);
            audio.container = container;
        }
    }
    Track {
        name: row.name.to_owned(),
        per_object: match is_cmaf && row.name == "opus-stereo" {
            true => 3,
            false => 1,
        },
        units: coded.units,
        rendition,
    }
}

/// What came of a track, coded and decoded.
#[derive(Default)]
struct Played {
    /// Each with its segment.
    packets: Vec<gst::Sample>,
    caps: Option<gst::Caps>,
    decoded: Vec<u64>,
}

type All = Arc<Mutex<BTreeMap<String, Played>>>;

/// Links a new pad to the decoder of its row, and records both sides of it.
fn play_pad(player: &gst::Pipeline, pad: &gst::Pad, all: &All, decoder: Option<&str>) {
    let id = pad.stream_id().expect("a stream");
    let name = id.rsplit('/').next().expect("a name").to_owned();
    let row = rows().find(|row| row.name == name).expect("a row");
    let make = |factory: &str| {
        let element = gst::ElementFactory::make(factory).build();
        element.unwrap_or_else(|_| panic!("no {factory}"))
    };
    let (decoder, sink) = (make(decoder.unwrap_or(row.decoder)), make("fakesink"));
    player.add_many([&decoder, &sink]).expect("added");
    let input = sink.static_pad("sink").expect("a pad");
    if decoder.static_pad("src").is_some() {
        decoder.link(&sink).expect("linked");
    } else {
        let input = input.clone();
        decoder.connect_pad_added(move |_, pad| {
            pad.link(&input).expect("linked");
        });
    }
    for element in [&sink, &decoder] {
        element.sync_state_with_parent().expect("started");
    }
    all.lock().entry(name.clone()).or_default().caps = pad.current_caps();
    let record = |pad: &gst::Pad, take: fn(&mut Played, &gst::Pad, &gst::Buffer)| {
        let (all, name) = (all.clone(), name.clone());
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                take(all.lock().get_mut(&name).expect("known"), pad, buffer);
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
    record(&input, |played, _, buffer| {
        played.decoded.push(hash_of(buffer));
    });
    pad.link(&decoder.static_pad("sink").expect("a pad"))
        .unwrap_or_else(|err| panic!("{name}: {err}"));
}

fn rows() -> impl Iterator<Item = &'static Row> {
    VIDEO.iter().chain(AUDIO)
}

fn hash_of(buffer: &gst::Buffer) -> u64 {
    hash(&buffer.map_readable().expect("readable"))
}

/// The same packets, decoded without a network in between.
fn decoded_here(row: &Row, played: &Played) -> Vec<u64> {
    let pipeline = Pipeline::launch(&format!(
        "appsrc name=src format=time handle-segment-change=true ! {} ! appsink name=sink sync=false",
        row.decoder
    ));
    let src: gst_app::AppSrc = pipeline.by_name("src").downcast().expect("appsrc");
    let sink: gst_app::AppSink = pipeline.by_name("sink").downcast().expect("appsink");
    src.set_caps(played.caps.as_ref());
    pipeline.set(gst::State::Playing);
    for packet in &played.packets {
        src.push_sample(packet).expect("taken");
    }
    src.end_of_stream().expect("taken");
    let limit = gst::ClockTime::from_seconds(LIMIT.as_secs());
    let mut decoded = Vec::new();
    while let Some(sample) = sink.try_pull_sample(limit) {
        decoded.push(hash_of(&sample.buffer_owned().expect("a buffer")));
    }
    assert!(sink.is_eos(), "{}: no end", row.name);
    decoded
}

/// Plays these rows straight into their decoders, and compares.
fn plays(rows: &[&'static Row], container: &Container, to_player: impl Fn(&Relay) -> String) {
    let (sent, all) = played(rows, container, None, to_player);
    let all = all.lock();
    for row in rows {
        let played = all
            .get(row.name)
            .unwrap_or_else(|| panic!("no {}", row.name));
        compare(row, &sent[row.name], played);
    }
}

/// What was sent of these rows and what came, decoded by this element instead of that of the row if there is one.
fn played(
    rows: &[&'static Row],
    container: &Container,
    decoder: Option<&'static str>,
    to_player: impl Fn(&Relay) -> String,
) -> (BTreeMap<String, Vec<u64>>, All) {
    init();
    let relay = Relay::start(RelayConfig::local()).expect("a relay");
    let tracks: Vec<Track> = rows.iter().map(|row| track(row, container)).collect();
    let sent: BTreeMap<String, Vec<u64>> = tracks
        .iter()
        .map(|track| {
            let units = track.units.iter().map(|unit| hash(&unit.payload));
            (track.name.clone(), units.collect())
        })
        .collect();
    let mut publisher = Foreign::new(&relay.url(), "codecs.hang");
    tracks.into_iter().for_each(|track| publisher.track(track));
    let catalog = hang::write(&publisher.renditions());
    publisher.catalog(hang::TRACK, &[&catalog]);
    publisher.announce();

    let player = Pipeline::launch(&format!(
        "moqsrc name=src {} broadcast=codecs.hang latency=2000 fakesink",
        to_player(&relay)
    ));
    player
        .0
        .remove(&player.by_name("fakesink0"))
        .expect("removed");
    let all = All::default();
    let (into, pipeline) = (all.clone(), player.0.downgrade());
    player.by_name("src").connect_pad_added(move |_, pad| {
        if let Some(pipeline) = pipeline.upgrade() {
            play_pad(&pipeline, pad, &into, decoder);
        }
    });
    player.set(gst::State::Playing);
    common::wait_until("every track is subscribed", || publisher.is_used());
    publisher.feed();
    player.wait_eos();
    (sent, all)
}

fn compare(row: &Row, sent: &[u64], played: &Played) {
    let name = row.name;
    let buffers: Vec<_> = played
        .packets
        .iter()
        .map(|packet| packet.buffer_owned().expect("a buffer"))
        .collect();
    let packets: Vec<u64> = buffers.iter().map(hash_of).collect();
    let missing = sent.len() - packets.len();
    assert_eq!(
        packets,
        sent[missing..],
        "{name}: what came is what was sent"
    );
    // Those of the time in which the live edge was looked for: a track that was begun when nobody had heard of it.
    assert!(
        missing * 3 <= sent.len(),
        "{name}: {missing} of {} missing",
        sent.len()
    );
    let here = decoded_here(row, played);
    assert_eq!(played.decoded, here, "{name}: decoded alike");
    let is_video = VIDEO.iter().any(|video| video.name == name);
    let distinct: BTreeSet<_> = played.decoded.iter().collect();
    assert!(distinct.len() >= 20, "{name}: {} differ", distinct.len());
    let timed = buffers.iter().all(|buffer| buffer.duration().is_some());
    assert!(timed, "{name}: durations");
    if is_video {
        let dts: Vec<_> = buffers.iter().map(|buffer| buffer.dts()).collect();
        let stamped = dts.is_sorted() && dts.iter().all(Option::is_some);
        assert!(stamped, "{name}: {dts:?}");
    }
}

fn webtransport(relay: &Relay) -> String {
    format!("url={} transport=webtransport", relay.url())
}

fn all_rows() -> Vec<&'static Row> {
    rows().collect()
}

#[test]
fn every_codec_in_the_legacy_container_is_decoded_as_it_was_sent() {
    plays(&all_rows(), &Container::Legacy, webtransport);
}

#[test]
fn every_codec_in_loc_is_decoded_as_it_was_sent() {
    plays(&all_rows(), &Container::Loc, webtransport);
}

#[test]
fn every_codec_in_cmaf_is_decoded_as_it_was_sent() {
    let rows: Vec<_> = rows().filter(|row| row.in_mp4).collect();
    let init = Bytes::new();
    plays(&rows, &Container::Cmaf { init }, webtransport);
}

#[test]
fn pictures_and_sound_over_raw_quic_are_decoded_as_they_were_sent() {
    let rows: Vec<_> = rows()
        .filter(|row| ["hvc1", "flac"].contains(&row.name))
        .collect();
    plays(&rows, &Container::Loc, |relay| {
        format!(
            "url=moql://127.0.0.1:{}/ server-certificate-hashes=<{}>",
            relay.bound()[0].port(),
            relay.fingerprint()
        )
    });
}

/// Whoever joins at an open GOP has nothing that its leading pictures refer to: they are left out, and what is shown is whole.
#[test]
fn leading_pictures_of_an_open_gop_that_is_joined_are_not_shown_broken() {
    const OPEN: &[Row] = &[
        Row {
            name: "h264",
            encoder: "x264enc speed-preset=ultrafast bframes=2 b-adapt=false key-int-max=12 option-string=open-gop=1 ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au",
            decoder: "avdec_h264",
            rendition: |coded| h264_of(coded, true),
            in_mp4: false,
        },
        Row {
            name: "h265",
            encoder: "x265enc speed-preset=ultrafast key-int-max=10 option-string=bframes=3:b-adapt=0:open-gop=1:min-keyint=10:scenecut=0:log-level=none ! h265parse config-interval=-1 ! video/x-h265,stream-format=byte-stream,alignment=au",
            decoder: "avdec_h265",
            rendition: |coded| h265_of(coded, true),
            in_mp4: false,
        },
    ];
    init();
    let source = format!(
        "videotestsrc num-buffers=60 pattern=ball ! video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate=30/1"
    );
    for row in OPEN {
        let whole = Pipeline::launch(&format!(
            "{source} ! {} ! {} max-threads=1 ! fakesink name=sink sync=false",
            row.encoder, row.decoder
        ));
        let shown = whole.record("sink");
        whole.set(gst::State::Playing);
        whole.wait_eos();
        let shown: BTreeSet<u64> = shown.all().iter().map(|seen| seen.hash).collect();

        let mut coded = Coded::new(&format!("{source} ! {}", row.encoder));
        let rendition = (row.rendition)(&coded);
        let second = coded.units.iter().skip(1).position(|unit| unit.key);
        coded.units.drain(..=second.expect("a second GOP"));
        let key_us = coded.units[0].pts_us;
        let leading = coded.units[1..]
            .iter()
            .take_while(|unit| unit.pts_us < key_us);
        let leading = leading.count();
        assert!(leading > 0, "{}: leading pictures", row.name);
        let sent = coded.units.len();
        let relay = Relay::start(RelayConfig::local()).expect("a relay");
        let mut publisher = Foreign::new(&relay.url(), "open.hang");
        publisher.track(Track {
            name: "v".to_owned(),
            per_object: 1,
            units: coded.units,
            rendition,
        });
        let catalog = hang::write(&publisher.renditions());
        publisher.catalog(hang::TRACK, &[&catalog]);
        publisher.announce();
        let player = Pipeline::launch(&format!(
            "moqsrc name=src {} broadcast=open.hang latency=2000 src.video_0 ! queue name=coded ! {} max-threads=1 ! \
             fakesink name=sink sync=false",
            webtransport(&relay),
            row.decoder
        ));
        let (came, got) = (player.record("coded"), player.record("sink"));
        player.set(gst::State::Playing);
        common::wait_until("it is subscribed", || publisher.is_used());
        publisher.feed();
        player.wait_eos();
        let (came, got) = (came.all(), got.all());
        assert!(came.len() <= sent - leading, "{}: {}", row.name, came.len());
        assert!(came.len() >= sent / 2, "{}: {}", row.name, came.len());
        // In the GOPs that follow their references are there.
        let reaching_back = came[1..]
            .windows(2)
            .any(|pair| pair[0].is_key() && pair[1].pts < pair[0].pts);
        assert!(reaching_back, "{}: no other leading pictures", row.name);
        let key = came[0].pts;
        assert!(
            came[0].is_key() && came[1..].iter().all(|seen| seen.pts > key),
            "{}",
            row.name
        );
        // avdec_h264 shows a recovery point's GOP as corrupt when it starts there, however whole it is; other GOPs are not.
        let broken = got.iter().filter(|seen| !shown.contains(&seen.hash));
        let broken = broken.filter(|seen| !seen.flags.contains(gst::BufferFlags::CORRUPTED));
        assert_eq!(broken.count(), 0, "{}", row.name);
        let whole = got.iter().filter(|seen| shown.contains(&seen.hash)).count();
        assert!(whole >= sent / 2, "{}: {whole} of {sent}", row.name);
    }
}

/// Each track behind a decodebin3 of its own, which chooses parsers and decoders by the caps.
#[test]
fn decodebin3_decodes_every_codec() {
    let rows = all_rows();
    let (_, all) = played(&rows, &Container::Legacy, Some("decodebin3"), webtransport);
    let all = all.lock();
    for row in rows {
        let played = all
            .get(row.name)
            .unwrap_or_else(|| panic!("no {}", row.name));
        let distinct: BTreeSet<_> = played.decoded.iter().collect();
        assert!(
            distinct.len() >= 15,
            "{}: {} differ",
            row.name,
            distinct.len()
        );
    }
}
