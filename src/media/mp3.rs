//! MPEG audio frame headers (ISO/IEC 11172-3 §2.4.1.3, ISO/IEC 13818-3 §2.4.1.3; MPEG 2.5 is what encoders made of them).

#![forbid(unsafe_code)]

/// The header of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// 1 to 3; MP3 is layer 3.
    pub layer: u8,
    /// `mpegaudioversion` in caps: 1, 2, or 3 for MPEG 2.5.
    pub version: u8,
    /// In Hz.
    pub sample_rate: u32,
    pub channels: u8,
    /// Samples of one channel.
    pub samples: u32,
    /// Bytes of the frame, header included; `None` in the free format, which does not say.
    pub len: Option<usize>,
}

impl Header {
    /// Reads the first four bytes of a frame; `None` if they are no header.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let &[0xff, b1, b2, b3] = frame.first_chunk::<4>()? else {
            return None;
        };
        if b1 & 0xe0 != 0xe0 {
            return None;
        }
        let (version, slower) = match b1 >> 3 & 3 {
            0 => (3, 2),
            2 => (2, 1),
            3 => (1, 0),
            _ => return None,
        };
        let layer = match b1 >> 1 & 3 {
            1 => 3,
            2 => 2,
            3 => 1,
            _ => return None,
        };
        let sample_rate = [44_100, 48_000, 32_000].get(usize::from(b2 >> 2 & 3))? >> slower;
        let samples = match (layer, version) {
            (1, _) => 384,
            (3, 2 | 3) => 576,
            _ => 1_152,
        };
        let kbits = bitrate(layer, version == 1, b2 >> 4)?;
        // Slots of four bytes in layer 1, of one otherwise.
        let slot = if layer == 1 { 4 } else { 1 };
        let slots = (kbits > 0).then(|| samples / 8 / slot * kbits * 1_000 / sample_rate);
        let padding = u32::from(b2 >> 1 & 1);
        Some(Self {
            layer,
            version,
            sample_rate,
            channels: if b3 >> 6 == 3 { 1 } else { 2 },
            samples,
            len: slots.map(|slots| ((slots + padding) * slot) as usize),
        })
    }

    /// Duration of the frame in ns, rounded down.
    pub fn duration_ns(&self) -> u64 {
        u64::from(self.samples) * 1_000_000_000 / u64::from(self.sample_rate)
    }
}

/// In kbit/s; 0 is the free format.
fn bitrate(layer: u8, mpeg_1: bool, index: u8) -> Option<u32> {
    const TABLE: [[u32; 15]; 5] = [
        [
            0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448,
        ],
        [
            0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
        ],
        [
            0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
        ],
        [
            0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256,
        ],
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let row = match (mpeg_1, layer) {
        (true, layer) => usize::from(layer) - 1,
        (false, 1) => 3,
        (false, _) => 4,
    };
    TABLE[row].get(usize::from(index)).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::bits::BitWriter;

    #[test]
    fn headers_are_read() {
        // LAME, 128 kbit/s joint stereo at 44.1 kHz, without and with padding.
        let header = Header::parse(&[0xff, 0xfb, 0x90, 0x64]).unwrap();
        assert_eq!((header.layer, header.version), (3, 1));
        assert_eq!((header.sample_rate, header.channels), (44_100, 2));
        assert_eq!((header.samples, header.len), (1_152, Some(417)));
        assert_eq!(header.duration_ns(), 26_122_448);
        assert_eq!(
            Header::parse(&[0xff, 0xfb, 0x92, 0x64]).unwrap().len,
            Some(418)
        );
        // MPEG 2 at 22.05 kHz, mono; MPEG 2.5 at 8 kHz.
        let half = Header::parse(&[0xff, 0xf3, 0x80, 0xc4]).unwrap();
        assert_eq!(
            (half.version, half.sample_rate, half.channels),
            (2, 22_050, 1)
        );
        assert_eq!((half.samples, half.len), (576, Some(208)));
        let slow = Header::parse(&[0xff, 0xe3, 0x18, 0xc4]).unwrap();
        assert_eq!((slow.version, slow.sample_rate), (3, 8_000));
        // Layer 1 counts slots of four bytes; the free format does not count.
        assert_eq!(Header::parse(&[0xff, 0xff, 0x10, 0]).unwrap().len, Some(32));
        assert_eq!(Header::parse(&[0xff, 0xfb, 0x00, 0]).unwrap().len, None);
    }

    #[test]
    fn reserved_values_are_refused() {
        for header in [
            [0xfe, 0xfb, 0x90, 0],
            [0xff, 0x1b, 0x90, 0],
            [0xff, 0xeb, 0x90, 0],
            [0xff, 0xf9, 0x90, 0],
            [0xff, 0xfb, 0x9c, 0],
            [0xff, 0xfb, 0xf0, 0],
        ] {
            assert_eq!(Header::parse(&header), None, "{header:x?}");
        }
        assert_eq!(Header::parse(&[0xff, 0xfb, 0x90]), None);
    }

    proptest! {
        #[test]
        fn every_header_lasts_for_some_time(b1: u8, b2: u8, b3: u8) {
            if let Some(header) = Header::parse(&[0xff, b1, b2, b3]) {
                prop_assert!((8_000_000..=144_000_000).contains(&header.duration_ns()));
                prop_assert!(header.len.is_none_or(|len| (24..=3_000).contains(&len)));
            }
        }

        #[test]
        fn headers_round_trip(
            (layer, version) in (1u8..=3, 1u8..=3),
            (bitrate, rate) in (1u8..15, 0u8..3),
            (checksum, padding, mono) in any::<(bool, bool, bool)>(),
        ) {
            let mut bits = BitWriter::default();
            bits.bits(11, 0x7ffu16).bits(2, [3u8, 2, 0][usize::from(version) - 1]).bits(2, 4 - layer).flag(!checksum);
            bits.bits(4, bitrate).bits(2, rate).flag(padding).flag(false);
            bits.bits(2, if mono { 3u8 } else { 1 }).bits(6, 0u8);
            let header = Header::parse(bits.bytes()).unwrap();
            prop_assert_eq!((header.layer, header.version), (layer, version));
            prop_assert_eq!(header.channels, if mono { 1 } else { 2 });
            let full = [44_100, 48_000, 32_000][usize::from(rate)];
            prop_assert_eq!(header.sample_rate, full / [1, 2, 4][usize::from(version) - 1]);
        }
    }
}
