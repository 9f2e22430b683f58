//! Opus: packet durations (RFC 6716 §3) and the identification header (RFC 7845 §5.1).

#![forbid(unsafe_code)]

use bytes::{BufMut, Bytes, BytesMut};

/// Opus always counts time at this rate, whatever was captured (RFC 6716 §1).
pub const CLOCK_RATE: u32 = 48_000;

/// Longest packet, 120 ms, in samples at [`CLOCK_RATE`].
pub const MAX_PACKET_SAMPLES: u32 = 5_760;

/// Why bytes are not Opus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpusError {
    /// A packet that breaks a rule of RFC 6716 §3.4; names the rule, R1 to R7.
    #[error("malformed packet (RFC 6716 §3.4, {0})")]
    Packet(&'static str),
    /// An identification header that breaks a rule of RFC 7845 §5.1; says which.
    #[error("malformed identification header: {0}")]
    Head(&'static str),
    /// A channel mapping family other than 0 and 1.
    #[error("channel mapping family {0} is not supported")]
    MappingFamily(u8),
}

/// What the first bytes of a packet say. True for each stream of a multistream packet alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Toc {
    /// Samples of one frame at [`CLOCK_RATE`]: 2.5 to 60 ms.
    pub frame_samples: u32,
    /// Frames in the packet, 1 to 48.
    pub frames: u32,
    /// The stereo bit: 1 or 2 coded channels (of the first stream).
    pub channels: u8,
}

impl Toc {
    /// Reads the TOC byte and, for code 3, the frame count byte (RFC 6716 §3.1, §3.2.5).
    ///
    /// # Errors
    /// [`OpusError::Packet`] for an empty packet, a missing or zero frame count, or more than 120 ms.
    pub fn parse(packet: &[u8]) -> Result<Self, OpusError> {
        let toc = *packet.first().ok_or(OpusError::Packet("R1"))?;
        let frames = match toc & 3 {
            0 => 1,
            1 | 2 => 2,
            _ => u32::from(packet.get(1).ok_or(OpusError::Packet("R6"))? & 0x3f),
        };
        let frame_samples = frame_samples(toc >> 3);
        if frames == 0 || frames * frame_samples > MAX_PACKET_SAMPLES {
            return Err(OpusError::Packet("R5"));
        }
        Ok(Self {
            frame_samples,
            frames,
            channels: 1 + (toc >> 2 & 1),
        })
    }

    /// Duration of the packet in samples at [`CLOCK_RATE`], at most [`MAX_PACKET_SAMPLES`].
    pub fn samples(&self) -> u32 {
        self.frame_samples * self.frames
    }

    /// Duration of the packet in ns; exact, as the shortest frame is 2.5 ms.
    pub fn duration_ns(&self) -> u64 {
        u64::from(self.samples()) * 1_000_000_000 / u64::from(CLOCK_RATE)
    }
}

/// RFC 6716 §3.1, Table 2.
fn frame_samples(config: u8) -> u32 {
    match config {
        0..=11 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        12..=15 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    }
}

/// Duration of a packet in ns, multistream packets included.
///
/// # Errors
/// As [`Toc::parse`].
pub fn packet_duration_ns(packet: &[u8]) -> Result<u64, OpusError> {
    Toc::parse(packet).map(|toc| toc.duration_ns())
}

/// The identification header, `OpusHead` (RFC 7845 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Output channels: 1 or 2 in family 0, 1 to 8 in family 1.
    pub channels: u8,
    /// Samples at [`CLOCK_RATE`] to drop at the start.
    pub pre_skip: u16,
    /// Rate of what was captured, in Hz; 0 if not known. Not a playback rate.
    pub input_sample_rate: u32,
    /// Gain to apply, in 1/256 dB.
    pub output_gain: i16,
    /// `None` is family 0: one stream, mono or stereo.
    pub mapping: Option<Mapping>,
}

/// Channel mapping of family 1 (RFC 7845 §5.1.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub streams: u8,
    /// How many of the streams, from the first on, are stereo.
    pub coupled: u8,
    /// For each output channel the decoded channel, or 255 for silence.
    pub table: Vec<u8>,
}

impl Head {
    const MAGIC: &[u8; 8] = b"OpusHead";
    const FIXED_LEN: usize = 19;

    /// The header of family 0.
    ///
    /// # Errors
    /// [`OpusError::Head`] for other than 1 or 2 channels.
    pub fn simple(channels: u8, input_sample_rate: u32) -> Result<Self, OpusError> {
        let head = Self {
            channels,
            pre_skip: 0,
            input_sample_rate,
            output_gain: 0,
            mapping: None,
        };
        head.check()?;
        Ok(head)
    }

    /// Reads a header; bytes after it are ignored, as minor versions may add some.
    ///
    /// # Errors
    /// [`OpusError::Head`] for anything malformed, [`OpusError::MappingFamily`] for families other than 0 and 1.
    pub fn parse(bytes: &[u8]) -> Result<Self, OpusError> {
        let Some((
            &[
                m0,
                m1,
                m2,
                m3,
                m4,
                m5,
                m6,
                m7,
                version,
                channels,
                skip0,
                skip1,
                rate0,
                rate1,
                rate2,
                rate3,
                gain0,
                gain1,
                family,
            ],
            rest,
        )) = bytes.split_first_chunk::<{ Self::FIXED_LEN }>()
        else {
            return Err(OpusError::Head("too short"));
        };
        if &[m0, m1, m2, m3, m4, m5, m6, m7] != Self::MAGIC {
            return Err(OpusError::Head("no OpusHead signature"));
        }
        if version & 0xf0 != 0 {
            return Err(OpusError::Head("unknown version"));
        }
        let head = Self {
            channels,
            pre_skip: u16::from_le_bytes([skip0, skip1]),
            input_sample_rate: u32::from_le_bytes([rate0, rate1, rate2, rate3]),
            output_gain: i16::from_le_bytes([gain0, gain1]),
            mapping: match family {
                0 => None,
                1 => Some(Mapping::parse(rest, channels)?),
                other => return Err(OpusError::MappingFamily(other)),
            },
        };
        head.check()?;
        Ok(head)
    }

    /// Writes the header.
    ///
    /// # Errors
    /// [`OpusError::Head`] if [`Head::parse`] would refuse it.
    pub fn write(&self) -> Result<Bytes, OpusError> {
        self.check()?;
        let mut bytes = BytesMut::with_capacity(Self::FIXED_LEN + 2 + usize::from(self.channels));
        bytes.put_slice(Self::MAGIC);
        bytes.put_u8(1);
        bytes.put_u8(self.channels);
        bytes.put_u16_le(self.pre_skip);
        bytes.put_u32_le(self.input_sample_rate);
        bytes.put_i16_le(self.output_gain);
        bytes.put_u8(self.mapping.is_some().into());
        if let Some(mapping) = &self.mapping {
            bytes.put_u8(mapping.streams);
            bytes.put_u8(mapping.coupled);
            bytes.put_slice(&mapping.table);
        }
        Ok(bytes.freeze())
    }

    fn check(&self) -> Result<(), OpusError> {
        match &self.mapping {
            None if (1..=2).contains(&self.channels) => Ok(()),
            Some(mapping) if (1..=8).contains(&self.channels) => mapping.check(self.channels),
            _ => Err(OpusError::Head(
                "channel count outside of its mapping family",
            )),
        }
    }
}

impl Mapping {
    fn parse(bytes: &[u8], channels: u8) -> Result<Self, OpusError> {
        let [streams, coupled, rest @ ..] = bytes else {
            return Err(OpusError::Head("no mapping table"));
        };
        let table = rest
            .get(..usize::from(channels))
            .ok_or(OpusError::Head("mapping table too short"))?;
        Ok(Self {
            streams: *streams,
            coupled: *coupled,
            table: table.to_vec(),
        })
    }

    fn check(&self, channels: u8) -> Result<(), OpusError> {
        let decoded = u16::from(self.streams) + u16::from(self.coupled);
        if self.streams == 0 || self.coupled > self.streams || decoded > 255 {
            return Err(OpusError::Head("impossible stream counts"));
        }
        let valid = |index: &u8| *index == 255 || u16::from(*index) < decoded;
        if self.table.len() != usize::from(channels) || !self.table.iter().all(valid) {
            return Err(OpusError::Head("mapping table names no stream"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn durations_follow_the_table_of_the_rfc() {
        for (config, tenths_of_ms) in [
            (0, 100),
            (1, 200),
            (2, 400),
            (3, 600),
            (11, 600),
            (12, 100),
            (13, 200),
            (14, 100),
            (15, 200),
            (16, 25),
            (17, 50),
            (18, 100),
            (19, 200),
            (28, 25),
            (31, 200),
        ] {
            let toc = config << 3;
            assert_eq!(
                packet_duration_ns(&[toc]),
                Ok(tenths_of_ms * MS / 10),
                "config {config}"
            );
        }
        assert_eq!(packet_duration_ns(&[31 << 3 | 1]), Ok(40 * MS));
        assert_eq!(packet_duration_ns(&[31 << 3 | 3, 6]), Ok(120 * MS));
        assert_eq!(packet_duration_ns(&[16 << 3 | 3, 0xc0 | 48]), Ok(120 * MS));
    }

    #[test]
    fn the_stereo_bit_counts_channels() {
        assert_eq!(Toc::parse(&[0]).unwrap().channels, 1);
        assert_eq!(Toc::parse(&[4]).unwrap().channels, 2);
    }

    #[test]
    fn malformed_packets_are_named_by_their_rule() {
        for (packet, rule) in [
            (&[][..], "R1"),
            (&[3], "R6"),
            (&[3, 0], "R5"),
            (&[31 << 3 | 3, 7], "R5"),
        ] {
            assert_eq!(Toc::parse(packet), Err(OpusError::Packet(rule)));
        }
    }

    #[test]
    fn heads_outside_of_the_rfc_are_refused() {
        assert!(Head::simple(0, 48_000).is_err());
        assert!(Head::simple(3, 48_000).is_err());
        let good = Head::simple(2, 48_000).unwrap().write().unwrap();
        assert_eq!(&good[..], b"OpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0");
        for len in 0..good.len() {
            assert!(Head::parse(&good[..len]).is_err());
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            Head::parse(&bytes)
        };
        assert!(with(0, b'o').is_err());
        assert!(with(8, 0x10).is_err());
        assert!(with(8, 2).is_ok());
        assert!(with(9, 0).is_err());
        assert_eq!(with(18, 2), Err(OpusError::MappingFamily(2)));
        assert!(with(18, 1).is_err());
    }

    #[test]
    fn mapping_tables_are_checked() {
        let head = |streams, coupled, table: &[u8]| Head {
            channels: table.len() as u8,
            pre_skip: 312,
            input_sample_rate: 44_100,
            output_gain: -3,
            mapping: Some(Mapping {
                streams,
                coupled,
                table: table.to_vec(),
            }),
        };
        let surround = head(4, 2, &[0, 4, 1, 2, 3, 5]);
        assert_eq!(Head::parse(&surround.write().unwrap()), Ok(surround));
        assert!(head(1, 0, &[255]).write().is_ok());
        assert!(head(1, 0, &[1]).write().is_err());
        assert!(head(0, 0, &[255]).write().is_err());
        assert!(head(1, 2, &[0]).write().is_err());
        assert!(head(200, 100, &[0]).write().is_err());
        assert!(head(9, 0, &[0; 9]).write().is_err());
    }

    fn any_mapping(channels: u8) -> impl Strategy<Value = Mapping> {
        (1u8..=127, 0u8..=127).prop_flat_map(move |(streams, coupled)| {
            let coupled = coupled.min(streams);
            let channel = prop_oneof![0..streams + coupled, Just(255)];
            proptest::collection::vec(channel, usize::from(channels)).prop_map(move |table| {
                Mapping {
                    streams,
                    coupled,
                    table,
                }
            })
        })
    }

    fn any_head() -> impl Strategy<Value = Head> {
        let mapped = (1u8..=8)
            .prop_flat_map(|channels| (Just(channels), any_mapping(channels).prop_map(Some)));
        let channels = prop_oneof![(1u8..=2, Just(None)), mapped];
        (channels, any::<(u16, u32, i16)>()).prop_map(
            |((channels, mapping), (pre_skip, input_sample_rate, output_gain))| Head {
                channels,
                pre_skip,
                input_sample_rate,
                output_gain,
                mapping,
            },
        )
    }

    proptest! {
        #[test]
        fn hostile_packets_are_short_or_refused(packet in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(toc) = Toc::parse(&packet) {
                prop_assert!((120..=MAX_PACKET_SAMPLES).contains(&toc.samples()));
            }
        }

        #[test]
        fn hostile_heads_are_refused_or_round_trip(tail in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = b"OpusHead\x01".to_vec();
            bytes.extend(tail);
            if let Ok(head) = Head::parse(&bytes) {
                let written = head.write().unwrap();
                prop_assert_eq!(&written[9..], &bytes[9..written.len()]);
            }
        }

        #[test]
        fn heads_round_trip(head in any_head()) {
            let written = head.write().unwrap();
            prop_assert_eq!(Head::parse(&written), Ok(head));
        }

        #[test]
        fn packets_say_what_was_coded(config in 0u8..32, stereo: bool, frames in 1u8..=48) {
            let head = config << 3 | u8::from(stereo) << 2;
            let toc = Toc::parse(&[head | 3, frames]);
            let one = Toc::parse(&[head]).unwrap();
            prop_assert_eq!((one.frames, one.channels), (1, 1 + u8::from(stereo)));
            let fits = u32::from(frames) * one.samples() <= MAX_PACKET_SAMPLES;
            prop_assert_eq!(toc.ok(), fits.then_some(Toc { frames: frames.into(), ..one }));
        }
    }
}
