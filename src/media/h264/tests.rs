use proptest::prelude::*;

use super::*;
use crate::media::{bits::BitWriter, codec, nal};

/// An access unit of NAL units given as hex, behind four-byte start codes.
fn byte_stream(units: &[&str]) -> Vec<u8> {
    let mut au = Vec::new();
    for unit in units {
        au.extend_from_slice(START_CODE);
        au.extend(hex::decode(unit).unwrap());
    }
    au
}

fn length_prefixed_units(units: &[&str], size: usize) -> Vec<u8> {
    let mut au = Vec::new();
    for unit in units {
        let unit = hex::decode(unit).unwrap();
        au.extend_from_slice(&(unit.len() as u32).to_be_bytes()[4 - size..]);
        au.extend(unit);
    }
    au
}

// Encoders' own parameter sets: x264 and openh264.
const X264_SPS: &str = "67f4000d90d9640507ec05a8303032000003000200000300791e285490";
const X264_PPS: &str = "68ebcc448440";
const OPENH264_SPS: &str = "6742c00d8c8d40a0f900f08846a0";
const OPENH264_PPS: &str = "68ce3c80";
const OPEN_GOP_SPS: &str = "67f4001e90d9b201405ff1380b5060606400000fa40003a9823c58b658";
const CROPPED_SPS: &str = "67f4002890d9680780227e270e6a020202800000030080000019478c1950";
const SEI_UNREGISTERED: &str = "0605061122334455667780";
const SEI_RECOVERY_0: &str = "060601c480";
const SEI_RECOVERY_7: &str = "060602111080";
const AUD: &str = "0910";
const IDR: &str = "658884023bfffef700000300000301";
const SLICE: &str = "419a3b1024bffeda";

fn config(sps: &str, pps: &str) -> Config {
    Config::from_parameter_sets(&hex::decode(sps).unwrap(), &hex::decode(pps).unwrap()).unwrap()
}

#[test]
fn nal_units_are_found_in_both_formats() {
    let units = [AUD, X264_SPS, X264_PPS, IDR, IDR];
    let expected: Vec<_> = units
        .iter()
        .map(|unit| hex::decode(unit).unwrap())
        .collect();
    let au = byte_stream(&units);
    assert_eq!(
        nals(&au, NalFormat::ByteStream).collect::<Vec<_>>(),
        expected
    );
    for size in [1, 2, 4] {
        let au = length_prefixed_units(&units, size);
        let format = NalFormat::Length { size: size as u8 };
        assert_eq!(nals(&au, format).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn start_codes_of_three_bytes_and_trailing_zeros_are_framing() {
    let au = [0, 0, 1, 9, 0x10, 0, 0, 0, 0, 0, 1, 0x65, 7, 0, 0];
    let found: Vec<_> = nals(&au, NalFormat::ByteStream).collect();
    assert_eq!(found, [&[9, 0x10][..], &[0x65, 7]]);
    assert_eq!(
        nals(&[0, 0, 1, 0, 0, 1, 5], NalFormat::ByteStream).collect::<Vec<_>>(),
        [[5]]
    );
    assert_eq!(nals(&[0, 0, 2], NalFormat::ByteStream).next(), None);
}

#[test]
fn a_length_beyond_the_access_unit_ends_the_iteration() {
    let au = [0, 0, 0, 1, 9, 0xff, 0xff, 0xff, 0xff, 5];
    assert_eq!(
        nals(&au, NalFormat::Length { size: 4 }).collect::<Vec<_>>(),
        [[9]]
    );
    assert_eq!(nals(&au, NalFormat::Length { size: 3 }).next(), None);
}

#[test]
fn parameter_sets_and_idr_are_seen() {
    let key = byte_stream(&[AUD, X264_SPS, X264_PPS, SEI_UNREGISTERED, IDR]);
    assert!(parameter_sets(&key, NalFormat::ByteStream).complete());
    assert!(is_idr(&key, NalFormat::ByteStream));
    let delta = byte_stream(&[AUD, SLICE]);
    assert_eq!(
        parameter_sets(&delta, NalFormat::ByteStream),
        ParameterSets::default()
    );
    assert!(!is_idr(&delta, NalFormat::ByteStream));
    let avc = length_prefixed_units(&[SEI_UNREGISTERED, IDR], 4);
    assert!(is_idr(&avc, NalFormat::Length { size: 4 }));
}

#[test]
fn recovery_points_are_told_from_idr() {
    let kind = |units: &[&str]| {
        let kind = key_kind(&byte_stream(units), NalFormat::ByteStream);
        let avc = key_kind(
            &length_prefixed_units(units, 4),
            NalFormat::Length { size: 4 },
        );
        assert_eq!(kind, avc);
        kind
    };
    assert_eq!(kind(&[AUD, X264_SPS, X264_PPS, IDR]), KeyKind::Idr);
    assert_eq!(kind(&[AUD, SEI_UNREGISTERED, SLICE]), KeyKind::Other);
    assert_eq!(kind(&[AUD, SEI_RECOVERY_0, IDR]), KeyKind::Idr);
    let open = kind(&[
        AUD,
        OPEN_GOP_SPS,
        X264_PPS,
        SEI_UNREGISTERED,
        SEI_RECOVERY_0,
        SLICE,
    ]);
    assert_eq!(open, KeyKind::RecoveryPoint { recovery_frames: 0 });
    let refresh = kind(&[AUD, SEI_RECOVERY_7, SLICE]);
    assert_eq!(refresh, KeyKind::RecoveryPoint { recovery_frames: 7 });
    // The message comes second within its NAL unit.
    let second = kind(&["0605021122060110c480", SLICE]);
    assert_eq!(second, KeyKind::RecoveryPoint { recovery_frames: 7 });
}

#[test]
fn a_group_starts_only_where_nothing_reaches_back() {
    let open = KeyKind::RecoveryPoint { recovery_frames: 0 };
    assert!(KeyKind::Idr.is_closed(2) && !KeyKind::Idr.has_leading_risk(2));
    assert!(open.has_leading_risk(2) && !open.is_closed(2));
    assert!(!open.has_leading_risk(0) && open.is_closed(0));
    assert!(!KeyKind::RecoveryPoint { recovery_frames: 7 }.is_closed(0));
    assert!(!KeyKind::Other.is_closed(0));
}

#[test]
fn encoders_parameter_sets_are_understood() {
    let zero_latency = config(X264_SPS, X264_PPS);
    assert_eq!((zero_latency.width, zero_latency.height), (320, 240));
    assert_eq!(zero_latency.framerate, Some((30, 1)));
    assert_eq!(zero_latency.reorder_depth, 0);
    assert_eq!(zero_latency.codec(true).to_string(), "avc3.f4000d");
    assert_eq!(zero_latency.nal_format(), NalFormat::ByteStream);

    let openh264 = config(OPENH264_SPS, OPENH264_PPS);
    assert_eq!((openh264.width, openh264.height), (320, 240));
    assert_eq!(openh264.codec(true).profile(), Some("constrained-baseline"));
    assert_eq!((openh264.framerate, openh264.reorder_depth), (None, 0));

    let open_gop = config(OPEN_GOP_SPS, X264_PPS);
    assert_eq!((open_gop.width, open_gop.height), (640, 360));
    assert_eq!(open_gop.framerate, Some((30_000, 1_001)));
    assert_eq!(open_gop.reorder_depth, 2);
}

#[test]
fn cropping_aspect_and_fields_are_taken_into_account() {
    let config = config(CROPPED_SPS, X264_PPS);
    assert_eq!((config.width, config.height), (1920, 1080));
    assert_eq!(config.sample_aspect, Some((4, 3)));
    assert_eq!(config.display_aspect(), Some((64, 27)));
    assert_eq!(config.framerate, Some((25, 1)));
    assert!(!config.interlaced);
}

/// Records of x264enc beside the caps that GStreamer's parser made of the same stream, and max_num_reorder_frames as a
/// parser of its own read it in these SPS.
#[test]
fn records_say_what_caps_say() {
    for (record, size, framerate, profile, level, interlaced, reorder_depth) in [
        (
            "01640028ffe1001e67640028acd940780227e5c39a808080a0000003002000000791e30632c001000568ebecb22c",
            (1920, 1080),
            (30, 1),
            "high",
            "4",
            false,
            2,
        ),
        (
            "014d4028ffe1001c674d4028eca03c0227ef016a0202028000000300800000194f8b16cb01000468fbacb2",
            (1920, 1080),
            (25, 1),
            "main",
            "4",
            true,
            2,
        ),
        (
            "0142c01effe1001c6742c01ed900a02ff97016a0c0c0d4a0000003002000000651e2c5c901000468cb8cb2",
            (640, 360),
            (25, 1),
            "constrained-baseline",
            "3",
            false,
            0,
        ),
    ] {
        let config = Config::from_avcc(&hex::decode(record).unwrap()).unwrap();
        assert_eq!((config.width, config.height), size);
        assert_eq!(config.framerate, Some(framerate));
        assert_eq!(config.codec(false).profile(), Some(profile));
        assert_eq!(config.codec(false).level(), Some(level));
        assert_eq!(config.interlaced, interlaced);
        assert_eq!(config.reorder_depth, reorder_depth, "{profile}");
    }
}

#[test]
fn zeros_after_a_parameter_set_are_no_part_of_it() {
    let mut sps = hex::decode(OPENH264_SPS).unwrap();
    sps.extend([0, 0, 0]);
    let found = Config::from_parameter_sets(&sps, &[0x68, 0xce]).unwrap();
    assert_eq!((found.width, found.height), (320, 240));
    assert_eq!(found.sps()[0], hex::decode(OPENH264_SPS).unwrap());
}

const AVCC: &str = "01f4001effe1001f67f4001e90d9b281405ff1380b50606064000003000400000300ca3c58b65801000668ebec448440";

#[test]
fn a_decoder_configuration_record_is_read() {
    let record = hex::decode(AVCC).unwrap();
    let config = Config::from_avcc(&record).unwrap();
    assert_eq!((config.width, config.height), (640, 360));
    assert_eq!(config.framerate, Some((25, 1)));
    assert_eq!(config.reorder_depth, 2);
    assert_eq!(config.length_size, Some(4));
    assert_eq!(config.nal_format(), NalFormat::Length { size: 4 });
    assert_eq!(config.codec(false).to_string(), "avc1.f4001e");
    assert_eq!((config.sps().len(), config.pps().len()), (1, 1));
    assert_eq!(
        codec::Codec::parse("avc1.f4001e"),
        codec::Codec::H264(config.codec(false))
    );
}

#[test]
fn every_truncation_of_a_record_is_refused() {
    let record = hex::decode(AVCC).unwrap();
    for len in 0..record.len() {
        assert!(AvcC::parse(&record[..len]).is_err(), "{len}");
    }
}

#[test]
fn records_that_cannot_be_used_are_refused() {
    let with = |at: usize, byte: u8| {
        let mut record = hex::decode(AVCC).unwrap();
        record[at] = byte;
        Config::from_avcc(&record)
    };
    assert_eq!(with(0, 2), Err(ParameterSetError::Invalid("avcC version")));
    assert_eq!(
        with(4, 0xfe),
        Err(ParameterSetError::Invalid("avcC NAL unit length"))
    );
    assert_eq!(
        with(8, 0x68),
        Err(ParameterSetError::Invalid("sequence parameter set"))
    );
    assert_eq!(
        with(8, 0xe7),
        Err(ParameterSetError::Invalid("sequence parameter set"))
    );
    let without_sets = [1, 0x42, 0xc0, 0x1e, 0xff, 0xe0, 0];
    assert_eq!(
        Config::from_avcc(&without_sets),
        Err(ParameterSetError::NoSps)
    );
    assert_eq!(AvcC::parse(&without_sets).unwrap().length_size, 4);
}

/// The SPS of a baseline stream of the given size in macroblocks, level 4, without VUI, written bit by bit.
fn sps(profile: u8, poc_type: u32, mbs: (u32, u32)) -> Vec<u8> {
    let mut bits = BitWriter::default();
    bits.ue(0u8); // seq_parameter_set_id
    if profile == 100 {
        bits.ue(1u8).ue(0u8).ue(0u8).bits(2, 0u8); // 4:2:0, 8 bits
    }
    bits.ue(0u8).ue(poc_type); // log2_max_frame_num_minus4
    if poc_type == 0 {
        bits.ue(0u8);
    }
    bits.ue(1u8).flag(false); // max_num_ref_frames
    bits.ue(mbs.0 - 1).ue(mbs.1 - 1);
    bits.bits(4, 0b1100u8); // frames only, direct_8x8, no cropping, no VUI
    bits.nal(&[0x67, profile, 0, 40])
}

#[test]
fn an_unstated_reorder_depth_is_derived() {
    let depth = |profile, poc_type, mbs| {
        let sps = sps(profile, poc_type, mbs);
        Config::from_parameter_sets(&sps, &[0x68, 0xce])
            .unwrap()
            .reorder_depth
    };
    assert_eq!(depth(66, 0, (80, 45)), 0);
    assert_eq!(depth(77, 2, (80, 45)), 0);
    assert_eq!(depth(100, 2, (80, 45)), 0);
    // Level 4 holds 32768 macroblocks: 9 pictures of 720p, 4 of 1080p, 1 of 2160p.
    assert_eq!(depth(77, 0, (80, 45)), 4);
    assert_eq!(depth(100, 0, (120, 68)), 4);
    assert_eq!(depth(100, 0, (240, 135)), 1);
}

#[test]
fn absurd_pictures_are_refused() {
    let size = |mbs| {
        Config::from_parameter_sets(&sps(77, 0, mbs), &[0x68, 0xce]).map(|config| config.width)
    };
    assert_eq!(size((1_056, 2)), Ok(MAX_DIMENSION));
    assert!(matches!(
        size((1_057, 2)),
        Err(ParameterSetError::Size { .. })
    ));
    assert!(matches!(
        size((2, 1 << 31)),
        Err(ParameterSetError::Size { .. })
    ));
    assert!(matches!(
        size((u32::MAX, u32::MAX)),
        Err(ParameterSetError::Size { .. })
    ));
}

#[test]
fn parameter_sets_go_behind_the_delimiter() {
    let config = config(OPENH264_SPS, OPENH264_PPS);
    let gather = |units: &[&str]| {
        let au = byte_stream(units);
        let parts = prepend_parameter_sets(&au, &config)?;
        let gathered: Vec<u8> = parts.iter().flatten().copied().collect();
        assert_eq!(gathered.len(), parts.total());
        Some(gathered)
    };
    let whole = byte_stream(&[AUD, OPENH264_SPS, OPENH264_PPS, IDR]);
    assert_eq!(gather(&[AUD, IDR]), Some(whole));
    let whole = byte_stream(&[OPENH264_SPS, OPENH264_PPS, IDR]);
    assert_eq!(gather(&[IDR]), Some(whole));
    assert_eq!(gather(&[AUD, OPENH264_SPS, OPENH264_PPS, IDR]), None);
    // A PPS without its SPS gets both again.
    let whole = byte_stream(&[OPENH264_SPS, OPENH264_PPS, OPENH264_PPS, IDR]);
    assert_eq!(gather(&[OPENH264_PPS, IDR]), Some(whole));
}

#[test]
fn an_access_unit_yields_its_configuration() {
    let au = byte_stream(&[AUD, OPENH264_SPS, OPENH264_PPS, IDR]);
    let found = Config::from_access_unit(&au, NalFormat::ByteStream)
        .unwrap()
        .unwrap();
    assert_eq!(found, config(OPENH264_SPS, OPENH264_PPS));
    let avc = length_prefixed_units(&[OPENH264_SPS, OPENH264_PPS, IDR], 2);
    let found = Config::from_access_unit(&avc, NalFormat::Length { size: 2 }).unwrap();
    assert_eq!(found.unwrap().length_size, Some(2));
    let delta = byte_stream(&[AUD, SLICE]);
    assert_eq!(
        Config::from_access_unit(&delta, NalFormat::ByteStream),
        Ok(None)
    );
}

fn bytes(len: usize) -> impl Strategy<Value = Vec<u8>> {
    // Zeros and ones often, so that start codes and emulation prevention occur.
    proptest::collection::vec(prop_oneof![0u8..=3, any::<u8>()], 0..len)
}

#[test]
fn a_record_is_made_of_parameter_sets() {
    for (sps, pps) in [(X264_SPS, X264_PPS), (OPENH264_SPS, OPENH264_PPS)] {
        let config = config(sps, pps);
        let record = config.to_avcc();
        let avcc = AvcC::parse(&record).unwrap();
        assert_eq!(avcc.nal_format(), NalFormat::Length { size: 4 });
        let again = Config::from_avcc(&record).unwrap();
        assert_eq!((again.sps(), again.pps()), (config.sps(), config.pps()));
    }
    // Chroma format and bit depths of a high profile; the other one has none.
    let high = config(X264_SPS, X264_PPS);
    assert_eq!((high.chroma_format_idc, high.bit_depths), (3, (10, 10)));
    assert!(high.to_avcc().ends_with(&[0xff, 0xfa, 0xfa, 0]));
    assert!(
        config(OPENH264_SPS, OPENH264_PPS)
            .to_avcc()
            .ends_with(&[0x68, 0xce, 0x3c, 0x80])
    );
}

#[test]
fn lengths_take_the_place_of_start_codes_and_parameter_sets_go() {
    let au = byte_stream(&[AUD, X264_SPS, X264_PPS, SEI_RECOVERY_0, IDR, IDR]);
    let prefixed = length_prefixed(&au);
    let parts = prefixed.parts();
    assert_eq!(
        parts.as_slice().concat(),
        length_prefixed_units(&[SEI_RECOVERY_0, IDR, IDR], 4)
    );
    assert_eq!(parts.total(), parts.iter().map(<[u8]>::len).sum::<usize>());
}

#[test]
fn start_codes_take_the_place_of_lengths_and_key_frames_get_parameter_sets() {
    let config = config(X264_SPS, X264_PPS);
    let format = NalFormat::Length { size: 4 };
    let bare = length_prefixed_units(&[AUD, IDR], 4);
    let whole = length_prefixed_units(&[X264_SPS, X264_PPS, IDR], 4);
    for (au, config, units) in [
        (&bare, Some(&config), &[AUD, X264_SPS, X264_PPS, IDR][..]),
        (&bare, None, &[AUD, IDR]),
        (&whole, Some(&config), &[X264_SPS, X264_PPS, IDR]),
    ] {
        let written = super::byte_stream(au, format, config);
        let written = written.as_slice().concat();
        let expected = self::byte_stream(units);
        let nals = |au| nals(au, NalFormat::ByteStream).map(<[u8]>::to_vec);
        assert!(nals(&written).eq(nals(&expected)), "{units:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn hostile_access_units_are_survived(au in bytes(96), size in 0u8..6) {
        for format in [NalFormat::ByteStream, NalFormat::Length { size }] {
            let total: usize = nals(&au, format).map(<[u8]>::len).sum();
            prop_assert!(total <= au.len());
            prop_assert!(nals(&au, format).all(|nal| !nal.is_empty()));
            parameter_sets(&au, format);
            let kind = key_kind(&au, format);
            prop_assert_eq!(kind == KeyKind::Idr, is_idr(&au, format));
            let _ = Config::from_access_unit(&au, format);
        }
    }

    #[test]
    fn hostile_sei_messages_are_survived(body in bytes(64)) {
        let mut au = vec![0, 0, 1, 6];
        au.extend(body);
        key_kind(&au, NalFormat::ByteStream);
    }

    #[test]
    fn hostile_sequence_parameter_sets_are_survived(
        profile in prop_oneof![Just(66u8), Just(77), Just(100), Just(244), any::<u8>()],
        body in bytes(96),
    ) {
        let mut sps = vec![0x67, profile];
        sps.extend(body);
        if let Ok(config) = Config::from_parameter_sets(&sps, &[0x68, 0xce]) {
            prop_assert!((1..=MAX_DIMENSION).contains(&config.width));
            prop_assert!((1..=MAX_DIMENSION).contains(&config.height));
            prop_assert!(config.reorder_depth <= 16);
            config.display_aspect();
        }
    }

    #[test]
    fn damaged_sequence_parameter_sets_are_survived(
        which in 0usize..4,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut sps = hex::decode([X264_SPS, OPENH264_SPS, OPEN_GOP_SPS, CROPPED_SPS][which]).unwrap();
        for (at, byte) in damage {
            let at = at.index(sps.len());
            sps[at] = byte;
        }
        if let Ok(config) = Config::from_parameter_sets(&sps, &[0x68, 0xce]) {
            prop_assert!(config.width <= MAX_DIMENSION && config.height <= MAX_DIMENSION);
            if let Some((rate, base)) = config.framerate {
                prop_assert!(rate > 0 && base > 0);
            }
        }
    }

    #[test]
    fn hostile_records_are_survived(
        head in any::<[u8; 3]>(),
        length in any::<u8>(),
        body in bytes(96),
    ) {
        let mut record = vec![1, head[0], head[1], head[2], length];
        record.extend(body);
        if let Ok(avcc) = AvcC::parse(&record) {
            let total: usize = avcc.sps.iter().chain(&avcc.pps).map(|set| set.len() + 2).sum();
            prop_assert!(total <= record.len());
        }
        let _ = Config::from_avcc(&record);
    }

    #[test]
    fn byte_stream_units_round_trip(units in proptest::collection::vec(
        proptest::collection::vec(1u8..=255, 1..20), 0..6,
    )) {
        let mut au = Vec::new();
        for unit in &units {
            au.extend_from_slice(START_CODE);
            au.extend_from_slice(unit);
        }
        prop_assert_eq!(nals(&au, NalFormat::ByteStream).collect::<Vec<_>>(), units);
    }

    #[test]
    fn lengths_and_start_codes_round_trip(units in proptest::collection::vec(
        proptest::collection::vec(1u8..=255, 1..20), 0..6,
    )) {
        let au: Vec<u8> = units.iter().flat_map(|unit| [START_CODE, unit].concat()).collect();
        let prefixed = nal::LengthPrefixed::new(&au, |_| true);
        let prefixed: Vec<u8> = prefixed.parts().iter().flatten().copied().collect();
        let format = NalFormat::Length { size: 4 };
        prop_assert_eq!(nals(&prefixed, format).collect::<Vec<_>>(), units);
        let again = nal::byte_stream(&prefixed, format, |_| false, std::iter::empty());
        prop_assert_eq!(again.iter().flatten().copied().collect::<Vec<_>>(), &au[..]);
    }

    #[test]
    fn parameter_sets_and_records_round_trip(
        profile in proptest::sample::select(vec![66u8, 77, 100]),
        poc_type in proptest::sample::select(vec![0u32, 2]),
        mbs in (1u32..=1_056, 1u32..=1_056),
    ) {
        let sps = sps(profile, poc_type, mbs);
        let mut config = Config::from_parameter_sets(&sps, &[0x68, 0xce]).unwrap();
        prop_assert_eq!((config.width, config.height), (16 * mbs.0, 16 * mbs.1));
        prop_assert_eq!(config.codec(false).to_string(), format!("avc1.{profile:02x}0028"));
        let record = config.to_avcc();
        let avcc = AvcC::parse(&record).unwrap();
        prop_assert_eq!((avcc.profile_idc, avcc.constraints, avcc.level_idc, avcc.length_size), (profile, 0, 40, 4));
        prop_assert_eq!((avcc.sps, avcc.pps), (vec![&sps[..]], vec![&[0x68, 0xce][..]]));
        let again = Config::from_avcc(&record).unwrap();
        prop_assert_eq!(&again.to_avcc(), &record);
        config.length_size = Some(4);
        prop_assert_eq!(again, config);
    }
}
