//! AAC as far as a publisher and a player need it: AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1) and ADTS (§1.A.2.2).

#![forbid(unsafe_code)]

use bytes::Bytes;

use super::bits::BitReader;

/// MPEG-4 audio object types (ISO/IEC 14496-3 Table 1.17).
pub mod object_type {
    pub const LC: u8 = 2;
    pub const SBR: u8 = 5;
    pub const PS: u8 = 29;
}

const SAMPLE_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// Why bytes are not AAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AacError {
    #[error("{0} is truncated")]
    Truncated(&'static str),
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// ADTS may put several raw data blocks into a frame; nobody does.
    #[error("ADTS frame of several raw data blocks")]
    SeveralBlocks,
}

const ASC: &str = "AudioSpecificConfig";

/// What AudioSpecificConfig says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Audio object type of the core coder, 2 for AAC LC.
    pub object_type: u8,
    /// Of the core coder, in Hz, never 0.
    pub core_rate: u32,
    /// Of the core coder, 1 to 48.
    pub channels: u8,
    /// With spectral band replication: the rate of the output, in Hz.
    pub sbr_rate: Option<u32>,
    /// Parametric stereo makes two channels of one.
    pub ps: bool,
    /// Samples of one channel at [`Config::core_rate`] in each packet: 1024, or 960.
    pub packet_samples: u32,
}

impl Config {
    /// Reads an AudioSpecificConfig, `codec_data` in caps.
    ///
    /// # Errors
    /// [`AacError::Truncated`] or [`AacError::Invalid`].
    pub fn parse(asc: &[u8]) -> Result<Self, AacError> {
        let config = Self::read(&mut BitReader::new(asc)).ok_or(AacError::Truncated(ASC))?;
        if config.core_rate == 0 || config.sbr_rate == Some(0) {
            return Err(AacError::Invalid("sample rate"));
        }
        if !(1..=48).contains(&config.channels) {
            return Err(AacError::Invalid("channel configuration"));
        }
        Ok(config)
    }

    fn read(bits: &mut BitReader<'_>) -> Option<Self> {
        let mut object_type = read_object_type(bits)?;
        let core_rate = read_rate(bits)?;
        let channel_configuration = bits.byte(4)?;
        let (mut sbr_rate, mut ps) = (None, object_type == object_type::PS);
        if matches!(object_type, object_type::SBR | object_type::PS) {
            sbr_rate = Some(read_rate(bits)?);
            object_type = read_object_type(bits)?;
        }
        let mut config = Self {
            object_type,
            core_rate,
            channels: channels(channel_configuration),
            sbr_rate,
            ps,
            packet_samples: 1_024,
        };
        // GASpecificConfig (ISO/IEC 14496-3 §4.4.1), of the object types that have it.
        if !matches!(object_type, 1..=4 | 6 | 7 | 17 | 19..=23) {
            return Some(config);
        }
        if bits.flag()? {
            config.packet_samples = 960;
        }
        if bits.flag()? {
            bits.skip(14)?;
        }
        let extension = bits.flag()?;
        if channel_configuration == 0 {
            config.channels = read_program_config(bits)?;
        }
        // The backward compatible signalling of SBR comes behind everything; other extensions in between are not known.
        if !extension
            && sbr_rate.is_none()
            && let Some((rate, has_ps)) = read_sync_extension(bits)
        {
            config.sbr_rate = Some(rate);
            ps |= has_ps;
        }
        config.ps = ps;
        Some(config)
    }

    /// From the rate and channels of an AAC LC stream. `None` for a rate or a number of channels that ADTS cannot say.
    pub fn low_complexity(sample_rate: u32, channels: u8) -> Option<Self> {
        let config = Self {
            object_type: object_type::LC,
            core_rate: sample_rate,
            channels,
            sbr_rate: None,
            ps: false,
            packet_samples: 1_024,
        };
        config.to_asc().map(|_| config)
    }

    /// The two bytes of an AudioSpecificConfig for a stream without SBR. `None` for what they cannot say.
    pub fn to_asc(&self) -> Option<Bytes> {
        let rate = SAMPLE_RATES
            .iter()
            .position(|rate| *rate == self.core_rate)?;
        let configuration = (1..=7u8).find(|index| channels(*index) == self.channels)?;
        if self.object_type > 30 || self.sbr_rate.is_some() {
            return None;
        }
        let short_packets = u16::from(self.packet_samples == 960);
        let asc = u16::from(self.object_type) << 11
            | (rate as u16) << 7
            | u16::from(configuration) << 3
            | short_packets << 2;
        Some(Bytes::copy_from_slice(&asc.to_be_bytes()))
    }

    /// Rate of what comes out of a decoder, in Hz.
    pub fn sample_rate(&self) -> u32 {
        self.sbr_rate.unwrap_or(self.core_rate)
    }

    /// Channels that come out of a decoder.
    pub fn output_channels(&self) -> u8 {
        if self.ps && self.channels == 1 {
            2
        } else {
            self.channels
        }
    }

    /// The object type that a codec string names: that of the extension where there is one.
    pub fn codec_object_type(&self) -> u8 {
        match self.sbr_rate {
            Some(_) if self.ps => object_type::PS,
            Some(_) => object_type::SBR,
            None => self.object_type,
        }
    }

    /// Duration of a packet in ns, rounded down.
    pub fn packet_duration_ns(&self) -> u64 {
        u64::from(self.packet_samples) * 1_000_000_000 / u64::from(self.core_rate)
    }
}

fn read_object_type(bits: &mut BitReader<'_>) -> Option<u8> {
    match bits.byte(5)? {
        31 => Some(32 + bits.byte(6)?),
        object_type => Some(object_type),
    }
}

/// 0 for a reserved index.
fn read_rate(bits: &mut BitReader<'_>) -> Option<u32> {
    match bits.bits(4)? {
        15 => bits.bits(24),
        index => Some(SAMPLE_RATES.get(index as usize).copied().unwrap_or(0)),
    }
}

/// ISO/IEC 14496-3 Table 1.19; 0 for what is described elsewhere or reserved.
fn channels(configuration: u8) -> u8 {
    match configuration {
        1..=6 => configuration,
        7 | 12 | 14 => 8,
        11 => 7,
        13 => 24,
        _ => 0,
    }
}

/// Channels of a program_config_element (ISO/IEC 14496-3 §4.4.1.1); it must be read to its end, as SBR may follow.
fn read_program_config(bits: &mut BitReader<'_>) -> Option<u8> {
    bits.skip(10)?;
    let mut elements = [0u8; 3];
    for count in &mut elements {
        *count = bits.byte(4)?;
    }
    let low_frequency = bits.byte(2)?;
    let (data, coupling) = (bits.bits(3)?, bits.bits(4)?);
    for width in [4, 4, 3] {
        if bits.flag()? {
            bits.skip(width)?;
        }
    }
    let mut channels = low_frequency;
    for _ in 0..elements.iter().sum::<u8>() {
        channels += if bits.flag()? { 2 } else { 1 };
        bits.skip(4)?;
    }
    bits.skip(4 * usize::from(low_frequency) + 4 * data as usize + 5 * coupling as usize)?;
    bits.align();
    let comment = bits.bits(8)?;
    bits.skip(8 * comment as usize)?;
    Some(channels)
}

/// ISO/IEC 14496-3 §1.6.2.1, syncExtensionType.
fn read_sync_extension(bits: &mut BitReader<'_>) -> Option<(u32, bool)> {
    if bits.bits(11)? != 0x2b7 || read_object_type(bits)? != object_type::SBR || !bits.flag()? {
        return None;
    }
    let rate = read_rate(bits).filter(|rate| *rate > 0)?;
    let mut ps = bits.clone();
    let ps = ps.bits(11) == Some(0x548) && ps.flag() == Some(true);
    Some((rate, ps))
}

/// The header of an ADTS frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adts {
    pub config: Config,
    /// 7, or 9 with a checksum.
    pub header_len: usize,
    /// Header included.
    pub frame_len: usize,
}

impl Adts {
    /// Reads the header of a frame.
    ///
    /// # Errors
    /// [`AacError`].
    pub fn parse(frame: &[u8]) -> Result<Self, AacError> {
        let Some(&[b0, b1, b2, b3, b4, b5, b6]) = frame.first_chunk() else {
            return Err(AacError::Truncated("ADTS"));
        };
        // The sync word, and layer 0, which is not MP3's.
        if b0 != 0xff || b1 & 0xf6 != 0xf0 {
            return Err(AacError::Invalid("ADTS"));
        }
        let header_len = if b1 & 1 == 1 { 7 } else { 9 };
        let frame_len = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5) >> 5;
        let core_rate = *SAMPLE_RATES
            .get(usize::from(b2 >> 2 & 0xf))
            .ok_or(AacError::Invalid("sample rate"))?;
        let channels = channels((b2 & 1) << 2 | b3 >> 6);
        if channels == 0 {
            return Err(AacError::Invalid("channel configuration"));
        }
        if b6 & 3 != 0 {
            return Err(AacError::SeveralBlocks);
        }
        if frame_len <= header_len {
            return Err(AacError::Invalid("ADTS frame length"));
        }
        Ok(Self {
            config: Config {
                object_type: (b2 >> 6) + 1,
                core_rate,
                channels,
                sbr_rate: None,
                ps: false,
                packet_samples: 1_024,
            },
            header_len,
            frame_len,
        })
    }

    /// What is in the frame: a packet as `stream-format=raw` has it.
    ///
    /// # Errors
    /// [`AacError::Truncated`].
    pub fn payload<'a>(&self, frame: &'a [u8]) -> Result<&'a [u8], AacError> {
        frame
            .get(self.header_len..self.frame_len)
            .ok_or(AacError::Truncated("ADTS"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::bits::BitWriter;

    fn parse(asc: &str) -> Result<Config, AacError> {
        Config::parse(&hex::decode(asc).unwrap())
    }

    #[test]
    fn configurations_of_encoders_are_read() {
        // avenc_aac: LC, 44.1 kHz, stereo, with a sync extension that says no SBR.
        let lc = parse("121056e500").unwrap();
        assert_eq!(lc, Config::low_complexity(44_100, 2).unwrap());
        assert_eq!(lc.to_asc().unwrap()[..], [0x12, 0x10]);
        assert_eq!(
            (
                lc.sample_rate(),
                lc.output_channels(),
                lc.codec_object_type()
            ),
            (44_100, 2, 2)
        );
        assert_eq!(lc.packet_duration_ns(), 23_219_954);
        // HE-AAC: 24 kHz, and 48 kHz by SBR, said at the start and said at the end.
        for asc in ["2b118800", "131056e598"] {
            let he = parse(asc).unwrap();
            assert_eq!((he.object_type, he.core_rate), (2, 24_000), "{asc}");
            assert_eq!(
                (he.sample_rate(), he.codec_object_type()),
                (48_000, 5),
                "{asc}"
            );
        }
        // HE-AAC v2.
        for asc in ["eb098800", "130856e59d4880"] {
            let v2 = parse(asc).unwrap();
            assert_eq!((v2.channels, v2.output_channels()), (1, 2), "{asc}");
            assert_eq!(v2.codec_object_type(), 29, "{asc}");
        }
        // 5.1 at an odd rate; packets of 960.
        let odd = parse("1780bb8030").unwrap();
        assert_eq!((odd.core_rate, odd.channels), (96_000, 6));
        assert_eq!(parse("1194").unwrap().packet_samples, 960);
    }

    #[test]
    fn channels_of_a_program_config_element_are_counted() {
        // One front pair, one front single, one back pair, one low frequency element.
        let bits = "00010 0011 0000 0 0 0 0000 01 0011 0010 0000 0001 01 000 0000 0 0 0 0 0000 1 0000 1 0001 0000 0 00000000";
        let bits: String = bits.split(' ').collect();
        let bytes: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|byte| {
                byte.iter().fold(0, |value, bit| value << 1 | (bit - b'0')) << (8 - byte.len())
            })
            .collect();
        assert_eq!(
            Config::parse(&bytes).map(|config| config.core_rate),
            Ok(48_000)
        );
        assert_eq!(Config::parse(&bytes).map(|config| config.channels), Ok(6));
    }

    #[test]
    fn configurations_that_cannot_be_are_refused() {
        assert_eq!(parse(""), Err(AacError::Truncated(ASC)));
        assert_eq!(parse("12"), Err(AacError::Truncated(ASC)));
        assert_eq!(parse("1690"), Err(AacError::Invalid("sample rate")));
        assert_eq!(
            parse("1240"),
            Err(AacError::Invalid("channel configuration"))
        );
        assert_eq!(Config::low_complexity(44_101, 2), None);
        assert_eq!(Config::low_complexity(44_100, 9), None);
    }

    #[test]
    fn adts_gives_its_configuration_and_its_payload() {
        let mut frame = vec![0xff, 0xf1, 0x50, 0x80, 0x01, 0x5f, 0xfc];
        frame.extend(b"abc");
        let adts = Adts::parse(&frame).unwrap();
        assert_eq!((adts.config.core_rate, adts.config.channels), (44_100, 2));
        assert_eq!((adts.header_len, adts.frame_len), (7, 10));
        assert_eq!(adts.payload(&frame), Ok(&b"abc"[..]));
        assert_eq!(adts.payload(&frame[..9]), Err(AacError::Truncated("ADTS")));
        assert_eq!(Adts::parse(&frame[..6]), Err(AacError::Truncated("ADTS")));
        for (at, byte, error) in [
            (1, 0xfb, AacError::Invalid("ADTS")),
            (2, 0x7c, AacError::Invalid("sample rate")),
            (3, 0, AacError::Invalid("channel configuration")),
            (4, 0, AacError::Invalid("ADTS frame length")),
            (6, 1, AacError::SeveralBlocks),
        ] {
            let mut broken = frame.clone();
            broken[at] = byte;
            assert_eq!(Adts::parse(&broken), Err(error));
        }
    }

    proptest! {
        #[test]
        fn hostile_configurations_are_survived(asc in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Ok(config) = Config::parse(&asc) {
                prop_assert!(config.packet_duration_ns() > 0 && config.output_channels() > 0);
                if let Some(written) = config.to_asc() {
                    prop_assert_eq!(Config::parse(&written).unwrap().core_rate, config.core_rate);
                }
            }
        }

        #[test]
        fn hostile_adts_is_survived(mut frame in proptest::collection::vec(any::<u8>(), 7..40)) {
            (frame[0], frame[1]) = (0xff, 0xf0 | frame[1] & 9);
            if let Ok(adts) = Adts::parse(&frame) {
                let _ = adts.payload(&frame);
            }
        }

        #[test]
        fn configurations_round_trip(
            object_type in 1u8..=4,
            rate in 0usize..13,
            channels in proptest::sample::select(vec![1u8, 2, 3, 4, 5, 6, 8]),
            packet_samples in proptest::sample::select(vec![960u32, 1_024]),
        ) {
            let config = Config {
                object_type, core_rate: SAMPLE_RATES[rate], channels, sbr_rate: None, ps: false, packet_samples,
            };
            prop_assert_eq!(Config::parse(&config.to_asc().unwrap()), Ok(config));
        }

        #[test]
        fn adts_round_trips(
            (mpeg2, checksum) in any::<(bool, bool)>(),
            object_type in 1u8..=4,
            rate in 0u8..13,
            configuration in 1u8..=7,
            payload in proptest::collection::vec(any::<u8>(), 1..300),
        ) {
            let header_len = if checksum { 9 } else { 7 };
            let frame_len = header_len + payload.len();
            let mut bits = BitWriter::default();
            bits.bits(12, 0xfffu16).flag(mpeg2).bits(2, 0u8).flag(!checksum);
            bits.bits(2, object_type - 1).bits(4, rate).flag(false).bits(3, configuration);
            // Copyright and so on, the length, how full the buffer is, one block.
            bits.bits(4, 0u8).bits(13, frame_len as u64).bits(11, 0x7ffu16).bits(2, 0u8);
            let mut frame = bits.bytes().to_vec();
            frame.resize(header_len, 0);
            frame.extend(&payload);
            let adts = Adts::parse(&frame).unwrap();
            prop_assert_eq!((adts.header_len, adts.frame_len), (header_len, frame_len));
            prop_assert_eq!(
                (adts.config.object_type, adts.config.core_rate, adts.config.channels),
                (object_type, SAMPLE_RATES[usize::from(rate)], channels(configuration))
            );
            prop_assert_eq!(adts.payload(&frame), Ok(&payload[..]));
        }
    }
}
