use proptest::prelude::*;

use super::*;
use crate::media::{bits::BitWriter, ratio};

/// What av1enc makes of 80x48, with its frame cut short: temporal delimiter, sequence header, frame.
fn key_unit() -> Vec<u8> {
    hex::decode("12000a0b000000032cfbf81b5f2008320415afac00").unwrap()
}

#[test]
fn the_sequence_header_of_an_encoder_is_read() {
    let header = sequence_header(&key_unit()).unwrap().unwrap();
    assert_eq!((header.width, header.height), (80, 48));
    assert_eq!(
        (header.profile, header.bit_depth, header.monochrome),
        (0, 8, false)
    );
    assert_eq!(header.subsampling, (true, true));
    assert_eq!(header.framerate, None);
    assert_eq!(header.codec().to_string(), "av01.0.00M.08");
    assert_eq!(sequence_header(&key_unit()[..2]), Ok(None));
    assert_eq!(
        SequenceHeader::parse(&[0, 0, 0, 3]),
        Err(Av1Error::Truncated("sequence header"))
    );
    assert_eq!(
        SequenceHeader::parse(&[0xff; 40]),
        Err(Av1Error::Invalid("profile"))
    );
}

#[test]
fn key_units_are_told_from_others() {
    let key = TemporalUnit::parse(&key_unit());
    assert_eq!(
        key,
        TemporalUnit {
            sequence_header: true,
            key_frame: true
        }
    );
    // The next one of the same encoder.
    let delta = hex::decode("120032043ad7d802").unwrap();
    assert_eq!(TemporalUnit::parse(&delta), TemporalUnit::default());
    // A key frame that is not shown, and one that was there before.
    for header in [0b0000_0000, 0b1001_0000] {
        assert!(!TemporalUnit::parse(&[0x32, 1, header]).key_frame);
    }
    assert!(TemporalUnit::parse(&[0x32, 1, 0b0001_0000]).key_frame);
}

#[test]
fn the_delimiter_is_measured() {
    assert_eq!(delimiter_len(&key_unit()), 2);
    assert_eq!(delimiter_len(&key_unit()[2..]), 0);
    assert_eq!(delimiter_len(&[]), 0);
}

#[test]
fn a_record_holds_the_sequence_header() {
    let unit = key_unit();
    let record = Av1C::from_temporal_unit(&unit).unwrap().unwrap();
    assert_eq!(record[..4], [0x81, 0, 0x0c | record[2] & 3, 0]);
    assert_eq!(record[4..], unit[2..15]);
    let parsed = Av1C::parse(&record).unwrap();
    assert_eq!(parsed.sequence_header, sequence_header(&unit).unwrap());
    assert_eq!(
        (
            parsed.profile,
            parsed.level,
            parsed.high_tier,
            parsed.bit_depth
        ),
        (0, 0, false, 8)
    );
    assert_eq!(Av1C::from_temporal_unit(&unit[..2]), Ok(None));
    assert_eq!(Av1C::parse(&record[..3]), Err(Av1Error::Truncated("av1C")));
    assert_eq!(
        Av1C::parse(&[0x01, 0, 0, 0]),
        Err(Av1Error::Invalid("av1C version"))
    );
    assert_eq!(
        Av1C::parse(&[0x81, 0xe0, 0, 0]),
        Err(Av1Error::Invalid("profile"))
    );
    assert_eq!(Av1C::parse(&[0x81, 0x28, 0xe0, 0]).unwrap().bit_depth, 12);
}

/// Writes a sequence header by the syntax of the specification.
fn sequence_bits(fields: &[(u32, u32)]) -> Vec<u8> {
    let bits: Vec<u8> = fields
        .iter()
        .flat_map(|(value, len)| (0..*len).rev().map(move |bit| (value >> bit & 1) as u8))
        .collect();
    bits.chunks(8)
        .map(|byte| byte.iter().fold(0, |value, bit| value << 1 | bit) << (8 - byte.len()))
        .collect()
}

#[test]
fn timing_tier_and_high_bit_depth_are_read() {
    let payload = sequence_bits(&[
        (2, 3),
        (0, 1),
        (0, 1), // profile, still, reduced
        (1, 1),
        (1_001, 32),
        (60_000, 32),
        (1, 1),
        (0b010, 3), // timing: two ticks a picture
        (1, 1),
        (9, 5),
        (0, 32),
        (9, 5),
        (9, 5), // decoder model
        (1, 1),
        (0, 5), // display delay, one operating point
        (0, 12),
        (13, 5),
        (1, 1),
        (1, 1),
        (0, 21),
        (1, 1),
        (3, 4), // level 5.1, high tier
        (11, 4),
        (10, 4),
        (3_839, 12),
        (1_599, 11),
        (1, 1),
        (0, 7),
        (0, 3),
        (0, 4),
        (1, 1),
        (0, 2),
        (0, 1),
        (1, 1),
        (1, 1),
        (6, 3),
        (0, 3),
        (1, 1),
        (1, 1),
        (0, 1),
        (1, 1),
        (9, 8),
        (16, 8),
        (9, 8),
        (0, 1),
        (1, 1),
        (0, 1),
        (0, 2),
    ]);
    let header = SequenceHeader::parse(&payload).unwrap();
    assert_eq!((header.width, header.height), (3_840, 1_600));
    assert_eq!(header.framerate, Some((30_000, 1_001)));
    assert_eq!(header.subsampling, (true, false));
    assert_eq!(header.codec().to_string(), "av01.2.13H.12");
}

prop_compose! {
    /// 4:2:0, with a frame rate.
    fn any_header()(
        profile in proptest::sample::select(vec![0u8, 2]),
        level in 0u8..24,
        high_tier: bool,
        (width, height) in (1u32..=65_536, 1u32..=65_536),
        bit_depth in proptest::sample::select(vec![8u8, 10, 12]),
        monochrome: bool,
        chroma_sample_position in 0u8..3,
        (rate, base) in (1u32..=60_000, 1u32..=1_001),
    ) -> (SequenceHeader, (u32, u32)) {
        // 12 bits and 4:2:0 together are in the professional profile alone, and 8 and 10 bits in the main one.
        let profile = if bit_depth == 12 { 2 } else if monochrome { profile } else { 0 };
        let header = SequenceHeader {
            profile, level, high_tier: high_tier && level > 7, width, height, bit_depth, monochrome,
            subsampling: (true, true),
            chroma_sample_position: if monochrome { 0 } else { chroma_sample_position },
            framerate: ratio::framerate(rate.into(), base.into()),
        };
        (header, (rate, base))
    }
}

/// §5.5.1, without a decoder model.
fn written_header(
    header: &SequenceHeader,
    (rate, base): (u32, u32),
    operating_points: u8,
) -> Vec<u8> {
    let mut bits = BitWriter::default();
    bits.bits(3, header.profile).flag(false).flag(false);
    // Timing of pictures with equal intervals, each of one tick.
    bits.flag(true)
        .bits(32, base)
        .bits(32, rate)
        .flag(true)
        .ue(0u8)
        .flag(false);
    bits.flag(false).bits(5, operating_points - 1);
    for point in 0..operating_points {
        let level = if point == 0 { header.level } else { 0 };
        bits.bits(12, 0u16).bits(5, level);
        if level > 7 {
            bits.flag(header.high_tier);
        }
    }
    bits.bits(4, 15u8)
        .bits(4, 15u8)
        .bits(16, header.width - 1)
        .bits(16, header.height - 1);
    // No frame ids; the first three tools; four more, no order hints, screen content tools and integer vectors as chosen, three more.
    bits.flag(false)
        .bits(3, 7u8)
        .bits(4, 0u8)
        .flag(false)
        .flag(true)
        .flag(true)
        .bits(3, 0u8);
    bits.flag(header.bit_depth > 8);
    if header.profile == 2 && header.bit_depth > 8 {
        bits.flag(header.bit_depth == 12);
    }
    bits.flag(header.monochrome).flag(false).flag(false);
    if !header.monochrome {
        if header.bit_depth == 12 {
            bits.bits(2, 3u8);
        }
        bits.bits(2, header.chroma_sample_position);
    }
    bits.flag(true);
    bits.bytes().to_vec()
}

fn written_obu(kind: u8, extension: Option<u8>, payload: &[u8]) -> Vec<u8> {
    let mut obu = vec![kind << 3 | u8::from(extension.is_some()) << 2 | 2];
    obu.extend(extension);
    let mut len = payload.len();
    while len > 0x7f {
        obu.push(0x80 | len as u8);
        len >>= 7;
    }
    obu.push(len as u8);
    obu.extend(payload);
    obu
}

proptest! {
    #[test]
    fn hostile_units_are_survived(unit in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = TemporalUnit::parse(&unit);
        let _ = sequence_header(&unit);
        prop_assert!(delimiter_len(&unit) <= unit.len());
        prop_assert!(obus(&unit).map(|obu| obu.bytes.len()).sum::<usize>() <= unit.len());
        if let Ok(Some(record)) = Av1C::from_temporal_unit(&unit) {
            prop_assert!(Av1C::parse(&record).is_ok());
        }
    }

    #[test]
    fn hostile_headers_and_records_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..48)) {
        let _ = SequenceHeader::parse(&bytes);
        let _ = Av1C::parse(&bytes);
        let _ = Av1C::parse(&[&[0x81, 0, 0, 0, 0x0a, 0x30][..], &bytes].concat());
    }

    #[test]
    fn sequence_headers_and_records_round_trip((header, rate) in any_header(), operating_points in 1u8..=32) {
        let payload = written_header(&header, rate, operating_points);
        prop_assert_eq!(SequenceHeader::parse(&payload), Ok(header));
        let unit = [written_obu(2, None, &[]), written_obu(1, Some(0), &payload)].concat();
        let record = Av1C::from_temporal_unit(&unit).unwrap().unwrap();
        let parsed = Av1C::parse(&record).unwrap();
        prop_assert_eq!(parsed.sequence_header, Some(header));
        prop_assert_eq!(
            (parsed.profile, parsed.level, parsed.high_tier, parsed.bit_depth),
            (header.profile, header.level, header.high_tier, header.bit_depth)
        );
    }

    #[test]
    fn units_round_trip(
        units in proptest::collection::vec(
            (0u8..16, any::<Option<u8>>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..5,
        ),
    ) {
        let written: Vec<_> = units.iter().map(|(kind, extension, payload)| written_obu(*kind, *extension, payload)).collect();
        let whole = written.concat();
        let read: Vec<_> = obus(&whole).map(|obu| (obu.kind, obu.payload, obu.bytes)).collect();
        let expected: Vec<_> =
            units.iter().zip(&written).map(|((kind, _, payload), bytes)| (*kind, &payload[..], &bytes[..])).collect();
        prop_assert_eq!(read, expected);
    }
}
