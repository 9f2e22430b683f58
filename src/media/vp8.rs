//! VP8 as far as a publisher and a player need it: the frame tag (RFC 6386 §9.1). There is no reordering.

#![forbid(unsafe_code)]

/// A key frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFrame {
    /// Bitstream version, 0 to 3.
    pub version: u8,
    /// In pixels, without scaling.
    pub width: u16,
    /// In pixels, without scaling.
    pub height: u16,
}

impl KeyFrame {
    /// Reads the first ten bytes of a frame; `None` if it is no key frame or not VP8.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let &[tag, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = frame.first_chunk::<10>()? else {
            return None;
        };
        let key = Self {
            version: tag >> 1 & 7,
            // The top two bits ask for upscaling, which is the player's business.
            width: u16::from_le_bytes([w0, w1]) & 0x3fff,
            height: u16::from_le_bytes([h0, h1]) & 0x3fff,
        };
        let valid = tag & 1 == 0 && key.version <= 3 && key.width > 0 && key.height > 0;
        valid.then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn key_frames_say_their_size() {
        // From vp8enc: 80x48, then a frame that refers to it.
        let key = [0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 80, 0, 48, 0, 0x00];
        let parsed = KeyFrame::parse(&key).unwrap();
        assert_eq!((parsed.version, parsed.width, parsed.height), (0, 80, 48));
        let mut scaled = key;
        scaled[7] |= 0x40;
        assert_eq!(KeyFrame::parse(&scaled).unwrap().width, 80);
        let mut delta = key;
        delta[0] |= 1;
        assert_eq!(KeyFrame::parse(&delta), None);
        let mut empty = key;
        empty[6] = 0;
        assert_eq!(KeyFrame::parse(&empty), None);
        assert_eq!(KeyFrame::parse(&key[..9]), None);
    }

    proptest! {
        #[test]
        fn hostile_frames_are_survived(frame in proptest::collection::vec(any::<u8>(), 0..16)) {
            let _ = KeyFrame::parse(&frame);
        }

        #[test]
        fn key_frames_round_trip(version in 0u8..=3, size in (1u16..0x4000, 1u16..0x4000), scaling in (0u16..4, 0u16..4)) {
            let ([w0, w1], [h0, h1]) = (
                (size.0 | scaling.0 << 14).to_le_bytes(),
                (size.1 | scaling.1 << 14).to_le_bytes(),
            );
            let frame = [0x10 | version << 1, 0, 0, 0x9d, 0x01, 0x2a, w0, w1, h0, h1];
            let (width, height) = size;
            prop_assert_eq!(KeyFrame::parse(&frame), Some(KeyFrame { version, width, height }));
        }
    }
}
