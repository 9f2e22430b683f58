//! VP9 as far as a publisher and a player need it: superframes (VP9 Bitstream Specification Annex B) and the start of the
//! uncompressed header (§6.2). Packets of encoders are superframes that show one picture each: there is no reordering between
//! them.

#![forbid(unsafe_code)]

use super::{bits::BitReader, codec};

/// What the uncompressed header says at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// A picture that was decoded before is shown.
    ShowExisting,
    Key(KeyFrame),
    /// Anything that refers to what was before, intra-only frames included.
    Other,
}

/// A key frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFrame {
    /// 0 to 3.
    pub profile: u8,
    /// 8, 10 or 12.
    pub bit_depth: u8,
    /// Each chroma plane has half the width, half the height.
    pub subsampling: (bool, bool),
    /// In pixels, 1 to 65536.
    pub width: u32,
    /// In pixels, 1 to 65536.
    pub height: u32,
}

impl Frame {
    /// Reads the header of one frame, which is the first one of a superframe; `None` if it is not VP9.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let mut bits = BitReader::new(frame);
        if bits.bits(2)? != 2 {
            return None;
        }
        let profile = u8::from(bits.flag()?) | u8::from(bits.flag()?) << 1;
        if profile == 3 && bits.flag()? {
            return None;
        }
        if bits.flag()? {
            return Some(Self::ShowExisting);
        }
        let is_inter = bits.flag()?;
        bits.skip(2)?;
        if is_inter {
            return Some(Self::Other);
        }
        if bits.bits(24)? != 0x49_83_42 {
            return None;
        }
        let (bit_depth, subsampling) = color_config(&mut bits, profile)?;
        let (width, height) = (bits.bits(16)? + 1, bits.bits(16)? + 1);
        Some(Self::Key(KeyFrame {
            profile,
            bit_depth,
            subsampling,
            width,
            height,
        }))
    }
}

/// VP9 Bitstream Specification §6.2.2.
fn color_config(bits: &mut BitReader<'_>, profile: u8) -> Option<(u8, (bool, bool))> {
    const RGB: u32 = 7;
    let bit_depth = match profile >= 2 {
        true if bits.flag()? => 12,
        true => 10,
        false => 8,
    };
    let odd = profile & 1 == 1;
    if bits.bits(3)? == RGB {
        // Only in profiles with a choice of formats, and never subsampled.
        let valid = odd && !bits.flag()?;
        return valid.then_some((bit_depth, (false, false)));
    }
    bits.skip(1)?;
    if !odd {
        return Some((bit_depth, (true, true)));
    }
    let subsampling = (bits.flag()?, bits.flag()?);
    bits.skip(1)?;
    Some((bit_depth, subsampling))
}

impl KeyFrame {
    /// Codec parameters for the catalog. The stream does not say its level: it is the lowest that allows this size at
    /// `framerate` pictures a second (VP9 Levels, "Level Definitions"), by `bitrate` in bit/s where that is known.
    pub fn codec(&self, framerate: f64, bitrate: Option<u64>) -> codec::Vp9 {
        // Level, luma samples a second, luma samples of a picture, kbit/s.
        const LEVELS: [(u8, u64, u64, u64); 14] = [
            (10, 829_440, 36_864, 200),
            (11, 2_764_800, 73_728, 800),
            (20, 4_608_000, 122_880, 1_800),
            (21, 9_216_000, 245_760, 3_600),
            (30, 20_736_000, 552_960, 7_200),
            (31, 36_864_000, 983_040, 12_000),
            (40, 83_558_400, 2_228_224, 18_000),
            (41, 160_432_128, 2_228_224, 30_000),
            (50, 311_951_360, 8_912_896, 60_000),
            (51, 588_251_136, 8_912_896, 120_000),
            (52, 1_176_502_272, 8_912_896, 180_000),
            (60, 1_176_502_272, 35_651_584, 180_000),
            (61, 2_353_004_544, 35_651_584, 240_000),
            (62, 4_706_009_088, 35_651_584, 480_000),
        ];
        let picture = u64::from(self.width) * u64::from(self.height);
        let rate = (picture as f64 * framerate.max(0.0)) as u64;
        let kbits = bitrate.unwrap_or(0) / 1_000;
        let level = LEVELS
            .iter()
            .find(|(_, samples, size, limit)| {
                rate <= *samples && picture <= *size && kbits <= *limit
            })
            .map_or(62, |(level, ..)| *level);
        codec::Vp9 {
            profile: self.profile,
            level,
            bit_depth: self.bit_depth,
        }
    }
}

/// The key frame that a packet starts with, if it does: only then a group may start with it.
pub fn key_frame(packet: &[u8]) -> Option<KeyFrame> {
    match Frame::parse(packet)? {
        Frame::Key(key) => Some(key),
        Frame::ShowExisting | Frame::Other => None,
    }
}

/// The frames of a packet: those of a superframe, or the packet itself. A superframe whose index does not fit is taken for
/// one frame.
pub fn frames(packet: &[u8]) -> Vec<&[u8]> {
    superframe(packet).unwrap_or_else(|| vec![packet])
}

/// VP9 Bitstream Specification §B.3.
fn superframe(packet: &[u8]) -> Option<Vec<&[u8]>> {
    let marker = *packet.last()?;
    if marker & 0xe0 != 0xc0 {
        return None;
    }
    let size_len = usize::from(marker >> 3 & 3) + 1;
    let count = usize::from(marker & 7) + 1;
    let (mut rest, index) =
        packet.split_at_checked(packet.len().checked_sub(2 + size_len * count)?)?;
    if index[0] != marker {
        return None;
    }
    let mut frames = Vec::with_capacity(count);
    for size in index[1..index.len() - 1].chunks_exact(size_len) {
        let size = size
            .iter()
            .rev()
            .fold(0usize, |size, byte| size << 8 | usize::from(*byte));
        let (frame, after) = rest.split_at_checked(size)?;
        frames.push(frame);
        rest = after;
    }
    Some(frames)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::bits::BitWriter;

    /// From vp9enc: 80x48.
    const KEY: [u8; 12] = [
        0x82, 0x49, 0x83, 0x42, 0x20, 0x04, 0xf0, 0x02, 0xf6, 0x08, 0x38, 0x24,
    ];

    #[test]
    fn key_frames_say_their_size_and_format() {
        let key = key_frame(&KEY).unwrap();
        assert_eq!((key.width, key.height), (80, 48));
        assert_eq!(
            (key.profile, key.bit_depth, key.subsampling),
            (0, 8, (true, true))
        );
        assert_eq!(key.codec(30.0, None).to_string(), "vp09.00.10.08");
        for len in 0..9 {
            assert_eq!(key_frame(&KEY[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn the_level_is_the_lowest_that_fits() {
        let level = |width, height, framerate, bitrate| {
            let key = KeyFrame {
                profile: 2,
                bit_depth: 10,
                subsampling: (true, true),
                width,
                height,
            };
            key.codec(framerate, bitrate).to_string()
        };
        assert_eq!(level(1280, 720, 30.0, None), "vp09.02.31.10");
        assert_eq!(level(1920, 1080, 30.0, None), "vp09.02.40.10");
        assert_eq!(level(1920, 1080, 30.0, Some(25_000_000)), "vp09.02.41.10");
        assert_eq!(level(3840, 2160, 60.0, None), "vp09.02.51.10");
        assert_eq!(level(65_536, 65_536, 1e9, None), "vp09.02.62.10");
    }

    #[test]
    fn other_frames_are_told_apart() {
        assert_eq!(Frame::parse(&[0x88]), Some(Frame::ShowExisting));
        assert_eq!(Frame::parse(&[0x86]), Some(Frame::Other));
        assert_eq!(Frame::parse(&[0x02]), None);
        assert_eq!(key_frame(&[0x86, 0x49, 0x83, 0x42]), None);
    }

    #[test]
    fn superframes_are_split_by_their_index() {
        let packet = [&b"onetwo!"[..], &[0xc9, 3, 0, 4, 0, 0xc9]].concat();
        assert_eq!(frames(&packet), [&b"one"[..], b"two!"]);
        let short = [&b"one"[..], &[0xc9, 3, 0, 4, 0, 0xc9]].concat();
        assert_eq!(frames(&short), [&short[..]]);
        assert_eq!(frames(&KEY), [KEY]);
    }

    proptest! {
        #[test]
        fn hostile_packets_are_survived(mut packet in proptest::collection::vec(any::<u8>(), 0..40), key: bool) {
            if key && packet.len() > 4 {
                packet[..4].copy_from_slice(&KEY[..4]);
            }
            let _ = Frame::parse(&packet);
            let total: usize = frames(&packet).iter().map(|frame| frame.len()).sum();
            prop_assert!(total <= packet.len());
        }

        #[test]
        fn key_frames_round_trip(
            profile in 0u8..4,
            twelve: bool,
            (wide, high) in any::<(bool, bool)>(),
            (width, height) in (1u32..=65_536, 1u32..=65_536),
        ) {
            let mut bits = BitWriter::default();
            bits.bits(2, 2u8).flag(profile & 1 == 1).flag(profile & 2 == 2);
            if profile == 3 {
                bits.flag(false);
            }
            // A key frame that is shown.
            bits.flag(false).flag(false).bits(2, 2u8).bits(24, 0x49_83_42u32);
            if profile >= 2 {
                bits.flag(twelve);
            }
            bits.bits(3, 2u8).flag(false);
            if profile & 1 == 1 {
                bits.flag(wide).flag(high).flag(false);
            }
            bits.bits(16, width - 1).bits(16, height - 1);
            let bit_depth = if profile < 2 { 8 } else if twelve { 12 } else { 10 };
            let subsampling = if profile & 1 == 1 { (wide, high) } else { (true, true) };
            let key = KeyFrame { profile, bit_depth, subsampling, width, height };
            prop_assert_eq!(key_frame(bits.bytes()), Some(key));
        }

        #[test]
        fn superframes_round_trip(
            size_len in 1u8..=4,
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..=8),
        ) {
            let marker = 0xc0 | (size_len - 1) << 3 | (parts.len() - 1) as u8;
            let mut packet = parts.concat();
            packet.push(marker);
            for part in &parts {
                packet.extend(&(part.len() as u32).to_le_bytes()[..usize::from(size_len)]);
            }
            packet.push(marker);
            prop_assert_eq!(frames(&packet), parts);
        }
    }
}
