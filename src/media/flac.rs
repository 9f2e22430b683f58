//! FLAC as far as a publisher and a player need it: STREAMINFO and frame headers (RFC 9639).
//!
//! The description of a track is the `fLaC` marker with the STREAMINFO block, as WebCodecs registers it.

#![forbid(unsafe_code)]

use bytes::{BufMut, Bytes};

use super::bits::BitReader;

const MARKER: &[u8; 4] = b"fLaC";
/// Of a STREAMINFO block without its header.
const STREAMINFO_LEN: usize = 34;

/// Why bytes are not FLAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlacError {
    #[error("no fLaC marker")]
    Marker,
    #[error("no STREAMINFO block behind the marker")]
    StreamInfo,
    #[error("{0} is not valid")]
    Invalid(&'static str),
}

/// What STREAMINFO says (RFC 9639 §8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamInfo {
    /// Samples of one channel in the smallest frame but the last, and in the largest one.
    pub block_sizes: (u16, u16),
    /// In Hz, never 0.
    pub sample_rate: u32,
    /// 1 to 8.
    pub channels: u8,
    /// 4 to 32.
    pub bits_per_sample: u8,
    /// The whole block without its header.
    raw: [u8; STREAMINFO_LEN],
}

impl StreamInfo {
    /// Reads a description; blocks behind the first one are ignored.
    ///
    /// # Errors
    /// [`FlacError`].
    pub fn from_description(description: &[u8]) -> Result<Self, FlacError> {
        let block = description.strip_prefix(MARKER).ok_or(FlacError::Marker)?;
        let (&[header, l0, l1, l2], rest) =
            block.split_first_chunk().ok_or(FlacError::StreamInfo)?;
        // Type 0; the top bit says whether it is the last one.
        if header & 0x7f != 0 || u32::from_be_bytes([0, l0, l1, l2]) as usize != STREAMINFO_LEN {
            return Err(FlacError::StreamInfo);
        }
        Self::parse(rest)
    }

    /// Reads a block without its header.
    ///
    /// # Errors
    /// [`FlacError`].
    pub fn parse(block: &[u8]) -> Result<Self, FlacError> {
        let raw = *block
            .first_chunk::<STREAMINFO_LEN>()
            .ok_or(FlacError::StreamInfo)?;
        let read = |bits: &mut BitReader<'_>| {
            let block_sizes = (bits.bits(16)? as u16, bits.bits(16)? as u16);
            bits.skip(48)?;
            let (sample_rate, channels) = (bits.bits(20)?, bits.byte(3)? + 1);
            Some((block_sizes, sample_rate, channels, bits.byte(5)? + 1))
        };
        let (block_sizes, sample_rate, channels, bits_per_sample) =
            read(&mut BitReader::new(&raw)).ok_or(FlacError::StreamInfo)?;
        if sample_rate == 0 {
            return Err(FlacError::Invalid("sample rate"));
        }
        if bits_per_sample < 4 {
            return Err(FlacError::Invalid("sample size"));
        }
        if block_sizes.0 < 16 || block_sizes.1 < block_sizes.0 {
            return Err(FlacError::Invalid("block size"));
        }
        Ok(Self {
            block_sizes,
            sample_rate,
            channels,
            bits_per_sample,
            raw,
        })
    }

    /// The marker and this block, marked as the last one: what a catalog has, and the start of a file.
    pub fn description(&self) -> Bytes {
        let mut description = Vec::with_capacity(MARKER.len() + 4 + STREAMINFO_LEN);
        description.put_slice(MARKER);
        description.put_u32(0x8000_0000 | STREAMINFO_LEN as u32);
        description.put_slice(&self.raw);
        description.into()
    }

    /// Duration of a frame in ns, rounded down; `None` if it has no frame header.
    pub fn duration_ns(&self, frame: &[u8]) -> Option<u64> {
        let header = FrameHeader::parse(frame)?;
        let rate = header.sample_rate.unwrap_or(self.sample_rate);
        Some(u64::from(header.samples) * 1_000_000_000 / u64::from(rate))
    }
}

/// The start of a frame (RFC 9639 §9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Samples of one channel.
    pub samples: u32,
    /// In Hz; `None` is what STREAMINFO says.
    pub sample_rate: Option<u32>,
}

impl FrameHeader {
    /// Reads a header; `None` if there is none. Its checksum is not checked.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (&[0xff, 0xf8 | 0xf9, codes, _, first], rest) = frame.split_first_chunk()? else {
            return None;
        };
        // A frame or sample number, coded as UTF-8 codes characters (RFC 9639 §9.1.5).
        let more = match first.leading_ones() as usize {
            0 => 0,
            ones @ 2..=7 => ones - 1,
            _ => return None,
        };
        let mut rest = rest.get(more..)?.iter().map(|byte| u32::from(*byte));
        let mut byte = || rest.next();
        let samples = match codes >> 4 {
            1 => 192,
            code @ 2..=5 => 144 << code,
            6 => byte()? + 1,
            7 => (byte()? << 8 | byte()?) + 1,
            code @ 8..=15 => 1 << code,
            _ => return None,
        };
        let sample_rate = match codes & 0xf {
            0 => None,
            12 => Some(byte()? * 1_000),
            13 => Some(byte()? << 8 | byte()?),
            14 => Some((byte()? << 8 | byte()?) * 10),
            15 => return None,
            code => [
                88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
                96_000,
            ]
            .get(usize::from(code) - 1)
            .copied(),
        };
        if sample_rate == Some(0) {
            return None;
        }
        Some(Self {
            samples,
            sample_rate,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::bits::BitWriter;

    #[test]
    fn a_description_is_read_and_written() {
        // From flacenc.
        let mut foreign = b"fLaC\0\0\0\x22".to_vec();
        foreign.extend([0x12, 0, 0x12, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0xc4, 0x42, 0xf0]);
        foreign.extend([0; 20]);
        foreign.extend(b"\x84\0\0\x01x");
        let info = StreamInfo::from_description(&foreign).unwrap();
        assert_eq!(
            (info.sample_rate, info.channels, info.bits_per_sample),
            (44_100, 2, 16)
        );
        assert_eq!(info.block_sizes, (4_608, 4_608));
        let written = info.description();
        assert_eq!(&written[..8], b"fLaC\x80\0\0\x22");
        assert_eq!(StreamInfo::from_description(&written), Ok(info));
        for len in 0..written.len() {
            assert!(StreamInfo::from_description(&written[..len]).is_err());
        }
    }

    #[test]
    fn descriptions_outside_of_the_rfc_are_refused() {
        let refused = |bytes: &[u8]| StreamInfo::from_description(bytes).unwrap_err();
        assert_eq!(refused(b"OggS"), FlacError::Marker);
        assert_eq!(refused(b"fLaC\x04\0\0\x22"), FlacError::StreamInfo);
        assert_eq!(refused(b"fLaC\0\0\0\x21"), FlacError::StreamInfo);
        let mut zero = b"fLaC\x80\0\0\x22".to_vec();
        zero.extend([0; STREAMINFO_LEN]);
        assert_eq!(refused(&zero), FlacError::Invalid("sample rate"));
    }

    #[test]
    fn frames_say_how_long_they_last() {
        let samples = |frame: &[u8]| FrameHeader::parse(frame).map(|header| header.samples);
        assert_eq!(samples(&[0xff, 0xf8, 0x59, 0x18, 0, 0]), Some(4_608));
        assert_eq!(
            samples(&[0xff, 0xf9, 0xc9, 0x18, 0xc4, 0x80, 0]),
            Some(4_096)
        );
        assert_eq!(samples(&[0xff, 0xf8, 0x69, 0x18, 3, 0x0f, 0]), Some(16));
        assert_eq!(
            samples(&[0xff, 0xf8, 0x79, 0x18, 3, 0x02, 0xff, 0]),
            Some(768)
        );
        let odd = FrameHeader::parse(&[0xff, 0xf8, 0x7d, 0x18, 3, 0, 99, 0xac, 0x44]).unwrap();
        assert_eq!((odd.samples, odd.sample_rate), (100, Some(44_100)));
        for frame in [
            &[][..],
            &[0xff, 0xf8, 0x79, 0x18, 3],
            &[0xff, 0xf8, 0x09, 0, 0],
            &[0xff, 0xf8, 0x5f, 0, 0],
            &[0xff, 0xfb, 0x59, 0, 0],
            &[0xff, 0xf8, 0x59, 0, 0x80],
        ] {
            assert_eq!(samples(frame), None, "{frame:x?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_frames_last_for_a_short_time(tail in proptest::collection::vec(any::<u8>(), 0..16)) {
            let frame = [&[0xff, 0xf8][..], &tail].concat();
            if let Some(header) = FrameHeader::parse(&frame) {
                prop_assert!((1..=65_536).contains(&header.samples));
            }
        }

        #[test]
        fn hostile_descriptions_are_refused_or_round_trip(tail in proptest::collection::vec(any::<u8>(), 30..40)) {
            let description = [&b"fLaC\0\0\0\x22"[..], &tail].concat();
            if let Ok(info) = StreamInfo::from_description(&description) {
                prop_assert_eq!(StreamInfo::from_description(&info.description()), Ok(info));
            }
        }

        #[test]
        fn stream_information_round_trips(
            block_sizes in (16u16..=4_608, 4_608u16..),
            sample_rate in 1u32..1 << 20,
            channels in 1u8..=8,
            bits_per_sample in 4u8..=32,
        ) {
            let mut bits = BitWriter::default();
            bits.bits(16, block_sizes.0).bits(16, block_sizes.1).bits(48, 0u8);
            bits.bits(20, sample_rate).bits(3, channels - 1).bits(5, bits_per_sample - 1).bits(36, 0u8);
            let mut block = bits.bytes().to_vec();
            block.resize(STREAMINFO_LEN, 0xa5);
            let info = StreamInfo::parse(&block).unwrap();
            prop_assert_eq!(
                (info.block_sizes, info.sample_rate, info.channels, info.bits_per_sample),
                (block_sizes, sample_rate, channels, bits_per_sample)
            );
            prop_assert_eq!(StreamInfo::from_description(&info.description()), Ok(info));
        }

        /// Of any number of samples, at any rate, wherever in the stream.
        #[test]
        fn frame_headers_round_trip(
            samples in 1u32..=65_536,
            rate in prop_oneof![Just((0u8, None)), (1u32..65_536).prop_map(|rate| (13, Some(rate)))],
            position in proptest::char::any(),
        ) {
            let mut frame = vec![0xff, 0xf8, 0x70 | rate.0, 0x18];
            frame.extend(position.to_string().as_bytes());
            frame.extend(((samples - 1) as u16).to_be_bytes());
            frame.extend(rate.1.into_iter().flat_map(|rate| (rate as u16).to_be_bytes()));
            prop_assert_eq!(FrameHeader::parse(&frame), Some(FrameHeader { samples, sample_rate: rate.1 }));
        }
    }
}
