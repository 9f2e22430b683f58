use bytes::Bytes;
use mp4_atom::{Decode, Encode, Mfhd, Moof, Moov, Tfdt, Tfhd, Traf, Trun, TrunEntry};
use proptest::prelude::*;

use super::*;
use crate::media::catalog::{AudioRendition, Container, Rendition, VideoRendition};
use crate::media::container::{ContainerError, Frame, Sample};
use crate::media::{av1, flac, h264, h265, opus, ratio};

/// An init segment of two channels of this codec.
pub(in crate::media) fn init(codec: &str) -> Bytes {
    init_segment(&Rendition::Audio(audio(codec, None))).unwrap()
}

fn audio(codec: &str, description: Option<Bytes>) -> AudioRendition {
    AudioRendition {
        codec: codec.into(),
        sample_rate: 48_000,
        channels: 2,
        description,
        ..Default::default()
    }
}

fn video(codec: &str, description: Option<Bytes>) -> VideoRendition {
    VideoRendition {
        codec: codec.into(),
        description,
        coded_width: Some(80),
        coded_height: Some(48),
        display_aspect: Some((16, 9)),
        ..Default::default()
    }
}

fn byte_stream(units: &[&str]) -> Vec<u8> {
    let unit = |unit: &&str| [&[0, 0, 0, 1][..], &hex::decode(unit).unwrap()].concat();
    units.iter().flat_map(unit).collect()
}

fn avcc() -> Bytes {
    let au = byte_stream(&[
        "6742c00d8c8d40a0f900f08846a0",
        "68ce3c80",
        "658884023bfffef700000300000301",
    ]);
    let config = h264::Config::from_access_unit(&au, h264::NalFormat::ByteStream);
    config.unwrap().unwrap().to_avcc()
}

fn hvcc() -> Bytes {
    let au = byte_stream(&[
        "40010c01ffff01600000030090000003000003003f959009",
        "42010101600000030090000003000003003fa028831659592e4cafff000100016a0c0c0c0800001f480003a98040",
        "4401c173d189",
        "2801afcd10",
    ]);
    let config = h265::Config::from_access_unit(&au, h265::NalFormat::ByteStream);
    config.unwrap().unwrap().to_hvcc()
}

fn av1c() -> Bytes {
    let unit = hex::decode("12000a0b000000032cfbf81b5f2008").unwrap();
    av1::Av1C::from_temporal_unit(&unit).unwrap().unwrap()
}

fn flac_description() -> Bytes {
    let mut block = hex::decode("120012000000000000000bb802f000000000").unwrap();
    block.resize(34, 0);
    flac::StreamInfo::parse(&block).unwrap().description()
}

fn surround() -> Bytes {
    let head = "4f707573486561640106380180bb00000000010402000401020305";
    hex::decode(head).unwrap().into()
}

/// Every codec that MP4 has, with what its init segment takes.
fn renditions() -> Vec<Rendition> {
    let mut renditions = vec![
        Rendition::Video(video("avc1.42c00d", Some(avcc()))),
        Rendition::Video(video("avc3.42c00d", Some(avcc()))),
        Rendition::Video(video("hvc1.1.6.L63.90", Some(hvcc()))),
        Rendition::Video(video("hev1.1.6.L63.90", Some(hvcc()))),
        Rendition::Video(video("av01.0.00M.08", Some(av1c()))),
        Rendition::Video(video("vp8", None)),
        Rendition::Video(video("vp09.02.31.10", None)),
        Rendition::Audio(audio("mp4a.40.2", Some(Bytes::from_static(&[0x11, 0x90])))),
        Rendition::Audio(audio(
            "mp4a.40.5",
            Some(Bytes::from_static(&[0x2b, 0x11, 0x88, 0])),
        )),
        Rendition::Audio(audio("mp3", None)),
        Rendition::Audio(audio("flac", Some(flac_description()))),
        Rendition::Audio(audio(
            "opus",
            opus::Head::simple(2, 48_000).unwrap().write().ok(),
        )),
    ];
    renditions.push(Rendition::Audio(AudioRendition {
        channels: 6,
        ..audio("opus", Some(surround()))
    }));
    renditions
}

#[test]
fn an_init_segment_says_what_the_rendition_says() {
    for mut rendition in renditions() {
        let init = init_segment(&rendition).unwrap();
        let parsed = Init::parse(&init).unwrap();
        let container = Container::Cmaf { init };
        match &mut rendition {
            Rendition::Video(video) => video.container = container,
            Rendition::Audio(audio) => audio.container = container,
        }
        assert_eq!(parsed.rendition, rendition);
        assert_eq!(parsed.timescale(), TIMESCALE);
    }
}

/// Where mp4-atom knows the sample entry.
#[test]
fn mp4_atom_reads_our_init_segments() {
    for rendition in renditions() {
        let (codec, init) = (rendition.codec(), init_segment(&rendition).unwrap());
        let is_surround = matches!(&rendition, Rendition::Audio(audio) if audio.channels == 6);
        let moov = Moov::decode(&mut &init[28..]);
        assert!(
            moov.is_ok() || is_surround || codec.starts_with("avc3"),
            "{codec}: {moov:?}"
        );
    }
}

#[test]
fn what_a_rendition_lacks_is_named() {
    let refused = |rendition| init_segment(&rendition).unwrap_err();
    for codec in ["avc1.42c00d", "hvc1.1.6.L63.90", "av01.0.00M.08"] {
        let error = refused(Rendition::Video(video(codec, None)));
        assert_eq!(error, ContainerError::Init("a description"));
    }
    for codec in ["flac", "mp4a.40.2"] {
        let error = refused(Rendition::Audio(audio(codec, None)));
        assert_eq!(error, ContainerError::Init("a description"));
    }
    let sizeless = VideoRendition {
        coded_width: None,
        ..video("vp8", None)
    };
    assert_eq!(
        refused(Rendition::Video(sizeless)),
        ContainerError::Init("a coded size")
    );
    let pcm = Rendition::Audio(audio("pcm", None));
    assert_eq!(refused(pcm), ContainerError::Init("a codec that MP4 has"));
    let surround = AudioRendition {
        channels: 6,
        ..audio("opus", None)
    };
    assert_eq!(
        refused(Rendition::Audio(surround)),
        ContainerError::Init("an Opus description")
    );
}

fn video_init() -> Bytes {
    init_segment(&Rendition::Video(video("vp8", None))).unwrap()
}

fn pair() -> (Encoder, Decoder) {
    let init = Init::parse(&video_init()).unwrap();
    (Encoder::new(&init), Decoder::new(&init))
}

fn sample<'a>(pts_us: u64, dts_us: u64, parts: &'a [&'a [u8]]) -> Sample<'a> {
    Sample {
        pts_us,
        dts_us: Some(dts_us),
        duration_us: Some(33_333),
        key: pts_us == dts_us,
        parts,
    }
}

#[test]
fn reordered_samples_keep_their_times_and_flags() {
    let (mut encoder, decoder) = pair();
    for (pts, dts) in [(0, 0), (100_000, 33_333), (33_333, 66_666)] {
        let object = encoder
            .encode(&sample(pts, dts, &[b"ab", b"", b"c"]))
            .unwrap();
        let payload_at = object[object.len() - 3..].as_ptr();
        let frames = decoder.decode(&object).unwrap();
        let expected = Frame {
            pts_us: pts,
            duration_us: Some(33_333),
            key: Some(pts == dts),
            payload: Bytes::from_static(b"abc"),
        };
        assert_eq!(&frames[..], [expected]);
        assert_eq!(frames[0].payload.as_ptr(), payload_at);
    }
}

#[test]
fn sequence_numbers_count_up_and_sound_is_always_a_key_frame() {
    let init = Init::parse(&init("opus")).unwrap();
    let mut encoder = Encoder::new(&init);
    for number in 1..4 {
        let sample = Sample {
            key: false,
            ..sample(5, 5, &[b"x"])
        };
        let object = encoder.encode(&sample).unwrap();
        let moof = Moof::decode(&mut &object[..]).unwrap();
        assert_eq!(moof.mfhd.sequence_number, number);
        assert_eq!(
            moof.traf[0].trun[0].samples.get(0).unwrap().flags,
            Some(0x0200_0000)
        );
        assert_eq!(
            Decoder::new(&init).decode(&object).unwrap()[0].key,
            Some(true)
        );
    }
}

#[test]
fn samples_that_do_not_fit_are_refused() {
    let (mut encoder, _) = pair();
    assert_eq!(
        encoder.encode(&sample(0, 0, &[b""])),
        Err(ContainerError::Samples)
    );
    let far = encoder.encode(&sample(1 << 40, 0, &[b"x"]));
    assert_eq!(far, Err(ContainerError::TimestampTooLarge));
}

/// A fragment of `traf`, with `data` behind it.
fn fragment(traf: Traf, data: &[u8]) -> Vec<u8> {
    let moof = Moof {
        mfhd: Mfhd::default(),
        traf: vec![traf],
    };
    let mut out = Vec::new();
    moof.encode(&mut out).unwrap();
    out.extend((data.len() as u32 + 8).to_be_bytes());
    out.extend(b"mdat");
    out.extend(data);
    out
}

fn traf(dts: u64, entries: Vec<TrunEntry>) -> Traf {
    Traf {
        tfhd: Tfhd {
            track_id: 1,
            default_base_is_moof: true,
            ..Tfhd::default()
        },
        tfdt: Some(Tfdt {
            base_media_decode_time: dts,
        }),
        trun: vec![Trun {
            data_offset: None,
            samples: entries.into(),
        }],
        ..Traf::default()
    }
}

fn entry(duration: u32, size: u32, cts: i64) -> TrunEntry {
    TrunEntry {
        duration: Some(duration),
        size: Some(size),
        flags: None,
        cts: Some(cts),
    }
}

#[test]
fn several_samples_and_several_fragments_are_one_object() {
    let (_, decoder) = pair();
    let mut object = b"\0\0\0\x0cstypmsdh\0\0\0\x08prft\0\0\0\x08emsg".to_vec();
    let mut first = traf(1_000, vec![entry(10, 2, 20), entry(10, 1, -10)]);
    first.tfhd.default_sample_flags = Some(0x0101_0000);
    object.extend(fragment(first, b"abc"));
    object.extend(fragment(traf(1_020, vec![entry(0, 1, 0)]), b"d"));
    let frames = decoder.decode(&object.into()).unwrap();
    let seen: Vec<_> = frames
        .iter()
        .map(|frame| {
            (
                frame.pts_us,
                frame.duration_us,
                frame.key.unwrap(),
                &frame.payload[..],
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (1_020, Some(10), false, &b"ab"[..]),
            (1_000, Some(10), false, b"c"),
            (1_020, None, true, b"d"),
        ]
    );
}

#[test]
fn defaults_of_the_track_apply_where_a_fragment_is_silent() {
    let init = Init::parse(&video_init()).unwrap();
    let track = super::init::Track {
        timescale: 90_000,
        default_duration: 3_000,
        default_size: 2,
        default_flags: 0x0001_0000,
        ..init.track
    };
    let decoder = Decoder::new(&Init { track, ..init });
    let silent = traf(90_000, vec![TrunEntry::default(); 2]);
    let frames = decoder.decode(&fragment(silent, b"abcd").into()).unwrap();
    let times: Vec<_> = frames
        .iter()
        .map(|frame| (frame.pts_us, frame.duration_us))
        .collect();
    assert_eq!(
        times,
        [(1_000_000, Some(33_333)), (1_033_333, Some(33_333))]
    );
    assert_eq!(frames[1].payload, &b"cd"[..]);
    assert_eq!(frames[0].key, Some(false));
}

#[test]
fn malformed_fragments_are_refused() {
    let (_, decoder) = pair();
    let refused = |object: Vec<u8>| decoder.decode(&object.into()).unwrap_err();
    assert_eq!(refused(Vec::new()), ContainerError::Box("moof"));
    assert_eq!(
        refused(b"\0\0\0\x09mdatx".to_vec()),
        ContainerError::Box("moof")
    );
    let whole = fragment(traf(0, vec![entry(1, 3, 0)]), b"abc");
    let mut headless = whole.clone();
    headless.truncate(whole.len() - 11);
    assert_eq!(refused(headless), ContainerError::Box("mdat"));
    let long = fragment(traf(0, vec![entry(1, 4, 0)]), b"abc");
    assert_eq!(refused(long), ContainerError::Samples);
    let negative = fragment(traf(0, vec![entry(1, 3, -1)]), b"abc");
    assert_eq!(refused(negative), ContainerError::TimestampTooLarge);
    let timeless = fragment(traf(0, vec![entry(0, 1, 0), entry(1, 1, 0)]), b"abc");
    assert_eq!(refused(timeless), ContainerError::NoTimestamp);
    let mut outside = traf(0, vec![entry(1, 3, 0)]);
    outside.trun[0].data_offset = Some(0);
    assert_eq!(refused(fragment(outside, b"abc")), ContainerError::Samples);
    let many = traf(0, vec![entry(1, 0, 0); 8_193]);
    assert_eq!(refused(fragment(many, b"")), ContainerError::Samples);
    let mut other = traf(0, vec![entry(1, 3, 0)]);
    other.tfhd.track_id = 9;
    assert_eq!(
        decoder.decode(&fragment(other, b"abc").into()),
        Ok(Default::default())
    );
}

#[test]
fn an_init_segment_of_two_tracks_or_of_none_is_refused() {
    let init = video_init();
    let at = init.windows(4).position(|kind| kind == b"trak").unwrap() - 4;
    let len = u32::from_be_bytes(init[at..at + 4].try_into().unwrap()) as usize;
    let trak = &init[at..at + len];
    let mut twice = init.to_vec();
    twice.splice(at..at, trak.iter().copied());
    let moov_len = u32::from_be_bytes(init[28..32].try_into().unwrap()) + len as u32;
    twice[28..32].copy_from_slice(&moov_len.to_be_bytes());
    assert_eq!(Init::parse(&twice.into()), Err(ContainerError::Box("trak")));
    assert_eq!(
        Init::parse(&init.slice(..28)),
        Err(ContainerError::Box("moov"))
    );
}

/// What recurses would not come back from this.
#[test]
fn boxes_nested_without_end_are_survived() {
    let nest = |kind: &[u8; 4]| {
        let mut bytes = Vec::new();
        for left in (1..=100_000u32).rev() {
            bytes.extend((left * 8).to_be_bytes());
            bytes.extend(kind);
        }
        Bytes::from(bytes)
    };
    let (_, decoder) = pair();
    for kind in [b"moov", b"trak", b"moof", b"traf", b"mdat"] {
        assert!(Init::parse(&nest(kind)).is_err());
        let _ = decoder.decode(&nest(kind));
    }
}

proptest! {
    #[test]
    fn init_segments_round_trip(
        which in 0usize..13,
        size in (1u32..=65_535, 1u32..=65_535),
        aspect in proptest::option::of((1u32..=65_535, 1u32..=65_535)),
        (sample_rate, channels) in (1u32..=65_535, 1u32..=255),
    ) {
        let mut rendition = renditions().swap_remove(which);
        match &mut rendition {
            Rendition::Video(video) => {
                (video.coded_width, video.coded_height) = (Some(size.0), Some(size.1));
                video.display_aspect = aspect.map(|(width, height)| ratio::reduce(width.into(), height.into()));
            }
            // What decoders of the others are configured with says it too.
            Rendition::Audio(audio) if audio.codec == "mp3" => {
                (audio.sample_rate, audio.channels) = (sample_rate, channels);
            }
            Rendition::Audio(_) => {}
        }
        let init = init_segment(&rendition).unwrap();
        let parsed = Init::parse(&init).unwrap();
        let container = Container::Cmaf { init };
        match &mut rendition {
            Rendition::Video(video) => video.container = container,
            Rendition::Audio(audio) => audio.container = container,
        }
        prop_assert_eq!(parsed.rendition, rendition);
    }

    #[test]
    fn samples_round_trip(
        dts in 0u64..1 << 50,
        ahead in -1_000_000i64..1_000_000,
        duration in proptest::option::of(1u64..1 << 31),
        key: bool,
        payload in proptest::collection::vec(any::<u8>(), 1..64),
    ) {
        let (mut encoder, decoder) = pair();
        let pts_us = dts.saturating_add_signed(ahead);
        let sample = Sample { pts_us, dts_us: Some(dts), duration_us: duration, key, parts: &[&payload] };
        let frames = decoder.decode(&encoder.encode(&sample).unwrap()).unwrap();
        let expected = Frame { pts_us, duration_us: duration, key: Some(key), payload: payload.into() };
        prop_assert_eq!(&frames[..], [expected]);
    }

    #[test]
    fn damaged_fragments_are_survived(at in 0usize..140, byte: u8, cut in 0usize..140) {
        let (_, decoder) = pair();
        let mut object = fragment(traf(1_000, vec![entry(10, 2, 20), entry(10, 1, -10)]), b"abc");
        let at = at % object.len();
        object[at] = byte;
        object.truncate(object.len().saturating_sub(cut));
        if let Ok(frames) = decoder.decode(&object.into()) {
            prop_assert!(frames.iter().all(|frame| frame.payload.len() <= 140));
        }
    }

    #[test]
    fn damaged_init_segments_are_survived(which in 0usize..13, at in 0usize..1_000, byte: u8) {
        let mut init = init_segment(&renditions()[which]).unwrap().to_vec();
        let at = at % init.len();
        init[at] = byte;
        let _ = Init::parse(&init.into());
    }

    #[test]
    fn hostile_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
        let (_, decoder) = pair();
        let bytes = Bytes::from(bytes);
        let _ = decoder.decode(&bytes);
        let _ = Init::parse(&bytes);
    }
}
