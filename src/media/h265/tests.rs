use proptest::prelude::*;

use super::sps::Sps;
use super::*;
use crate::media::{bits::BitWriter, codec, nal::START_CODE};

// What x265 makes of 80x48 at 29.97 frames a second.
const VPS: &str = "40010c01ffff01600000030090000003000003003f959009";
const SPS: &str =
    "42010101600000030090000003000003003fa028831659592e4cafff000100016a0c0c0c0800001f480003a98040";
const PPS: &str = "4401c173d189";
const RECORD: &str = "0101600000009000000000003ff000fcfdf8f800000f03200001001840010c01ffff01600000030090000003000003003f959809210001002e42010101600000030090000003000003003fa02883165959ae4cafff000100016a0c0c0c0800001f480003a980402200010006";
const AUD: &str = "460150";
const IDR: &str = "2801afcd10";
const CRA: &str = "2a01afcd10";
const TRAIL: &str = "0201d020";

fn byte_stream(units: &[&str]) -> Vec<u8> {
    let mut au = Vec::new();
    for unit in units {
        au.extend_from_slice(START_CODE);
        au.extend(hex::decode(unit).unwrap());
    }
    au
}

fn config() -> Config {
    let au = byte_stream(&[VPS, SPS, PPS, IDR]);
    Config::from_access_unit(&au, NalFormat::ByteStream)
        .unwrap()
        .unwrap()
}

#[test]
fn parameter_sets_of_an_encoder_are_understood() {
    let config = config();
    assert_eq!(config.size(), (80, 48));
    assert_eq!(config.codec(true).to_string(), "hev1.1.6.L63.90");
    assert_eq!(config.codec(false).to_string(), "hvc1.1.6.L63.90");
    assert_eq!(config.framerate(), Some((30_000, 1_001)));
    assert_eq!(config.sample_aspect(), Some((1, 1)));
    assert_eq!(config.display_aspect(), Some((5, 3)));
    assert_eq!(config.reorder_depth(), 2);
    assert_eq!(
        (config.chroma_format_idc(), config.bit_depths()),
        (1, (8, 8))
    );
    assert_eq!(config.nal_format(), NalFormat::ByteStream);
}

#[test]
fn a_record_is_read_and_written() {
    let record = hex::decode(format!("{RECORD}{PPS}")).unwrap();
    let foreign = Config::from_hvcc(&record).unwrap();
    assert_eq!(foreign.size(), (80, 48));
    assert_eq!(foreign.nal_format(), NalFormat::Length { size: 4 });
    assert_eq!(foreign.parameter_sets().count(), 3);
    let written = config().to_hvcc();
    let hvcc = HvcC::parse(&written).unwrap();
    assert_eq!(hvcc.codec, config().codec(false));
    assert_eq!(hvcc.nal_format(), NalFormat::Length { size: 4 });
    assert_eq!((hvcc.vps.len(), hvcc.sps.len(), hvcc.pps.len()), (1, 1, 1));
    let again = Config::from_hvcc(&written).unwrap();
    assert!(again.parameter_sets().eq(config().parameter_sets()));
    // The fields that are derived are those of the encoder's own record.
    assert_eq!(written[13..22], record[13..22]);
    for len in 0..written.len() {
        assert!(HvcC::parse(&written[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn records_that_cannot_be_used_are_refused() {
    let written = config().to_hvcc();
    let with = |at: usize, byte: u8| {
        let mut record = written.to_vec();
        record[at] = byte;
        Config::from_hvcc(&record)
    };
    assert_eq!(with(0, 2), Err(ParameterSetError::Invalid("hvcC version")));
    assert_eq!(
        with(21, 2),
        Err(ParameterSetError::Invalid("hvcC NAL unit length"))
    );
    assert_eq!(
        with(28, 0xff),
        Err(ParameterSetError::Invalid("video parameter set"))
    );
    let mut empty = written[..23].to_vec();
    empty[22] = 0;
    assert_eq!(Config::from_hvcc(&empty), Err(ParameterSetError::NoSps));
}

#[test]
fn pictures_are_told_apart() {
    let of = |units: &[&str]| picture(&byte_stream(units), NalFormat::ByteStream);
    assert_eq!(of(&[AUD, VPS, SPS, PPS, IDR]), Some(Picture::Idr));
    assert_eq!(of(&[CRA]), Some(Picture::Cra));
    assert_eq!(of(&[TRAIL]), Some(Picture::Trailing));
    assert_eq!(of(&["2001afcd"]), Some(Picture::Bla));
    assert_eq!(of(&["1001afcd"]), Some(Picture::Rasl));
    assert_eq!(of(&["0e01afcd"]), Some(Picture::Radl));
    assert_eq!(of(&[AUD, VPS]), None);
    let prefixed = [&[0, 0, 0, 5][..], &hex::decode(IDR).unwrap()].concat();
    assert_eq!(
        picture(&prefixed, NalFormat::Length { size: 4 }),
        Some(Picture::Idr)
    );
}

#[test]
fn a_group_starts_only_where_nothing_reaches_back() {
    assert!(Picture::Idr.is_closed(4) && Picture::Bla.is_closed(4));
    assert!(Picture::Cra.is_closed(0) && !Picture::Cra.is_closed(2));
    assert!(!Picture::Trailing.is_closed(0));
}

#[test]
fn parameter_sets_go_behind_the_delimiter() {
    let config = config();
    let bare = byte_stream(&[AUD, IDR]);
    let parts = prepend_parameter_sets(&bare, &config).unwrap();
    assert_eq!(
        parts.as_slice().concat(),
        byte_stream(&[AUD, VPS, SPS, PPS, IDR])
    );
    assert_eq!(parts.total(), parts.iter().map(<[u8]>::len).sum::<usize>());
    let whole = byte_stream(&[VPS, SPS, PPS, IDR]);
    assert!(prepend_parameter_sets(&whole, &config).is_none());
}

#[test]
fn start_codes_take_the_place_of_lengths_and_key_pictures_get_parameter_sets() {
    let config = config();
    let prefixed = [AUD, IDR].map(|nal| {
        let nal = hex::decode(nal).unwrap();
        [&(nal.len() as u32).to_be_bytes()[..], &nal].concat()
    });
    let au = prefixed.concat();
    let format = NalFormat::Length { size: 4 };
    let written = |config| {
        let parts = super::byte_stream(&au, format, config);
        parts.as_slice().concat()
    };
    assert_eq!(
        written(Some(&config)),
        byte_stream(&[AUD, VPS, SPS, PPS, IDR])
    );
    assert_eq!(written(None), byte_stream(&[AUD, IDR]));
}

#[test]
fn lengths_take_the_place_of_start_codes_and_parameter_sets_go() {
    let au = byte_stream(&[AUD, VPS, SPS, PPS, IDR, IDR]);
    let prefixed = length_prefixed(&au);
    let slice = [&[0, 0, 0, 5][..], &hex::decode(IDR).unwrap()].concat();
    assert_eq!(prefixed.parts().as_slice().concat(), slice.repeat(2));
}

#[test]
fn a_set_that_is_missing_or_broken_is_told() {
    let none = Config::from_access_unit(&byte_stream(&[VPS, PPS, IDR]), NalFormat::ByteStream);
    assert_eq!(none, Ok(None));
    let short = Config::from_access_unit(
        &byte_stream(&[VPS, &SPS[..20], PPS, IDR]),
        NalFormat::ByteStream,
    );
    assert_eq!(
        short,
        Err(ParameterSetError::Truncated("sequence parameter set"))
    );
}

/// Only what is behind the reorder depth may be missing: then it is not known.
#[test]
fn every_truncation_of_a_set_is_refused_or_known_in_part() {
    let sps = hex::decode(SPS).unwrap();
    let whole = Sps::parse(&sps).unwrap();
    for len in 0..sps.len() {
        if let Ok(part) = Sps::parse(&sps[..len]) {
            assert_eq!((part.width, part.height), (whole.width, whole.height));
            assert_eq!(part.reorder_depth, whole.reorder_depth);
        }
    }
}

prop_compose! {
    fn any_codec()(
        profile_space in 0u8..4,
        profile_idc in 0u8..32,
        (compatibility, high_tier, level_idc, constraints) in any::<(u32, bool, u8, [u8; 6])>(),
    ) -> codec::H265 {
        codec::H265 { inline: true, profile_space, profile_idc, compatibility, high_tier, level_idc, constraints }
    }
}

/// A sequence parameter set that says this and little else: 4:2:0, one sub-layer, and a VUI with timing alone.
fn written_sps(
    codec: &codec::H265,
    size: (u32, u32),
    crop: [u32; 4],
    depth: u8,
    reorder: u8,
    timing: (u32, u32),
) -> Vec<u8> {
    let mut bits = BitWriter::default();
    bits.bits(4, 0u8).bits(3, 0u8).flag(true);
    bits.bits(2, codec.profile_space)
        .flag(codec.high_tier)
        .bits(5, codec.profile_idc);
    bits.bits(32, codec.compatibility);
    for byte in codec.constraints {
        bits.bits(8, byte);
    }
    bits.bits(8, codec.level_idc)
        .ue(0u8)
        .ue(1u8)
        .ue(size.0)
        .ue(size.1)
        .flag(true);
    for offset in crop {
        bits.ue(offset);
    }
    bits.ue(depth - 8).ue(depth - 8).ue(4u8).flag(true);
    bits.ue(4u8).ue(reorder).ue(0u8);
    for _ in 0..6 {
        bits.ue(1u8);
    }
    // No scaling lists, tools, PCM, reference picture sets, long-term pictures.
    bits.flag(false)
        .bits(2, 0u8)
        .flag(false)
        .ue(0u8)
        .flag(false)
        .bits(2, 0u8);
    // VUI: nothing before the timing, frames.
    bits.flag(true).bits(4, 0u8).bits(4, 0u8).flag(true);
    bits.bits(32, timing.0).bits(32, timing.1);
    bits.nal(&[0x42, 1])
}

proptest! {
    #[test]
    fn damaged_parameter_sets_are_survived(at in 0usize..46, byte: u8) {
        let mut sps = hex::decode(SPS).unwrap();
        sps[at] = byte;
        if let Ok(sps) = Sps::parse(&sps) {
            prop_assert!((1..=16_888).contains(&sps.width) && (1..=16_888).contains(&sps.height));
            prop_assert!(sps.reorder_depth <= 16);
        }
    }

    #[test]
    fn hostile_parameter_sets_are_survived(tail in proptest::collection::vec(any::<u8>(), 0..96)) {
        let sps = [&[0x42, 1][..], &tail].concat();
        if let Ok(Some(config)) = Config::from_access_unit(
            &[&byte_stream(&[VPS, PPS])[..], START_CODE, &sps].concat(),
            NalFormat::ByteStream,
        ) {
            let _ = (config.framerate(), config.display_aspect());
            prop_assert!(HvcC::parse(&config.to_hvcc()).is_ok());
        }
    }

    #[test]
    fn hostile_access_units_and_records_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..96), size in 0u8..6) {
        for format in [NalFormat::ByteStream, NalFormat::Length { size }] {
            let _ = picture(&bytes, format);
            let _ = has_parameter_sets(&bytes, format);
        }
        let _ = length_prefixed(&bytes).parts().total();
        let _ = Config::from_hvcc(&bytes);
        let fixed = &config().to_hvcc()[..23];
        let _ = Config::from_hvcc(&[fixed, &bytes].concat());
    }

    #[test]
    fn parameter_sets_and_records_round_trip(
        codec in any_codec(),
        size in (64u32..=16_888, 64u32..=16_888),
        crop in proptest::array::uniform4(0u32..16),
        depth in 8u8..=15,
        reorder in 0u8..=16,
        timing in (1u32..=1_001, 1_001u32..=60_000),
    ) {
        let sps = written_sps(&codec, size, crop, depth, reorder, timing);
        let [left, right, top, bottom] = crop;
        let shown = (size.0 - 2 * (left + right), size.1 - 2 * (top + bottom));
        let parsed = Sps::parse(&sps).unwrap();
        prop_assert_eq!(parsed.codec, codec);
        prop_assert_eq!((parsed.width, parsed.height), shown);
        prop_assert_eq!((parsed.bit_depth_luma, parsed.bit_depth_chroma, parsed.reorder_depth), (depth, depth, reorder));
        prop_assert_eq!(parsed.vui.timing, Some((timing.1, timing.0)));

        let au = [&byte_stream(&[VPS, PPS])[..], START_CODE, &sps].concat();
        let config = Config::from_access_unit(&au, NalFormat::ByteStream).unwrap().unwrap();
        let record = config.to_hvcc();
        let again = Config::from_hvcc(&record).unwrap();
        prop_assert_eq!(again.to_hvcc(), record);
        prop_assert_eq!(again.parameter_sets().collect::<Vec<_>>(), config.parameter_sets().collect::<Vec<_>>());
        prop_assert_eq!((again.size(), again.codec(false)), (shown, config.codec(false)));
    }
}
