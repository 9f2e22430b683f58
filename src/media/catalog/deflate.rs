//! Compressed catalog tracks (`.z`): each group is one raw DEFLATE stream (RFC 1951), flushed at the end of each frame, without
//! the four bytes that every such flush ends with, as in RFC 7692 §7.2.1.

#![forbid(unsafe_code)]

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::{CatalogError, MAX_JSON_LEN};

/// An empty stored block: what a flush ends with.
const FLUSH_END: [u8; 4] = [0, 0, 0xff, 0xff];

/// Output is made in steps of this many bytes.
const STEP: usize = 8 * 1024;

/// Compresses the frames of one group, in their order.
#[derive(Debug)]
pub struct Encoder(Compress);

impl Default for Encoder {
    fn default() -> Self {
        Self(Compress::new(Compression::default(), false))
    }
}

impl Encoder {
    /// The next frame, compressed.
    pub fn encode(&mut self, frame: &[u8]) -> Bytes {
        if frame.is_empty() {
            return Bytes::new();
        }
        let mut out = Vec::with_capacity(frame.len() / 2 + 64);
        let start = self.0.total_in();
        loop {
            let consumed = (self.0.total_in() - start) as usize;
            // Deflating cannot fail; it can want more room, or (miniz) stop at the end of a block before it has flushed.
            let _ = self
                .0
                .compress_vec(&frame[consumed..], &mut out, FlushCompress::Sync);
            let all_consumed = (self.0.total_in() - start) as usize == frame.len();
            if all_consumed && out.len() < out.capacity() && out.ends_with(&FLUSH_END) {
                break;
            }
            out.reserve(STEP);
        }
        out.truncate(out.len() - FLUSH_END.len());
        out.into()
    }
}

/// Expands the frames of one group, in their order.
#[derive(Debug)]
pub struct Decoder(Decompress);

impl Default for Decoder {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl Decoder {
    /// The next frame, expanded. After an error, nothing more can be read of the group.
    ///
    /// # Errors
    /// [`CatalogError::TooLarge`] beyond [`MAX_JSON_LEN`], [`CatalogError::Deflate`] for a stream that is malformed.
    pub fn decode(&mut self, frame: &[u8]) -> Result<Bytes, CatalogError> {
        let mut out = Vec::new();
        if frame.is_empty() {
            return Ok(Bytes::new());
        }
        for mut input in [frame, &FLUSH_END] {
            loop {
                out.reserve(STEP);
                let (before_in, before_out) = (self.0.total_in(), out.len());
                self.0
                    .decompress_vec(input, &mut out, FlushDecompress::Sync)
                    .map_err(|_| CatalogError::Deflate)?;
                if out.len() > MAX_JSON_LEN {
                    return Err(CatalogError::TooLarge);
                }
                let consumed = (self.0.total_in() - before_in) as usize;
                input = &input[consumed..];
                let idle = consumed == 0 && out.len() == before_out;
                if idle || (input.is_empty() && out.len() < out.capacity()) {
                    break;
                }
            }
            if !input.is_empty() {
                return Err(CatalogError::Deflate);
            }
        }
        Ok(out.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A stream of zlib's: "hello" twice, each flushed.
    #[test]
    fn a_stream_of_zlib_is_read() {
        let frames = ["ca48cdc9c90700", "ca00110000"];
        let mut decoder = Decoder::default();
        let mut decode = |hex: &str| decoder.decode(&hex::decode(hex).unwrap());
        assert_eq!(decode(frames[0]), Ok(Bytes::from_static(b"hello")));
        assert_eq!(decode(frames[1]), Ok(Bytes::from_static(b"hello")));
    }

    #[test]
    fn a_repetition_takes_next_to_nothing() {
        let mut encoder = Encoder::default();
        let json = br#"{"video":{"renditions":{}},"audio":{"renditions":{}}}"#;
        let first = encoder.encode(json);
        let second = encoder.encode(json);
        assert!(second.len() < 10 && second.len() < first.len());
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(&first).unwrap(), &json[..]);
        assert_eq!(decoder.decode(&second).unwrap(), &json[..]);
        assert_eq!(encoder.encode(b""), Bytes::new());
        assert_eq!(decoder.decode(b"").unwrap(), Bytes::new());
    }

    #[test]
    fn a_bomb_is_stopped() {
        let bomb = Encoder::default().encode(&vec![b' '; 64 * MAX_JSON_LEN]);
        assert!(bomb.len() < 128 * 1024);
        assert_eq!(
            Decoder::default().decode(&bomb),
            Err(CatalogError::TooLarge)
        );
        let most = vec![b' '; MAX_JSON_LEN];
        let fits = Encoder::default().encode(&most);
        assert_eq!(Decoder::default().decode(&fits).unwrap(), most);
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        for frame in [
            &b"not a deflate stream at all"[..],
            &[0xff],
            &[0x01, 0, 0, 0xff, 0xff, 7],
        ] {
            assert_eq!(
                Decoder::default().decode(frame),
                Err(CatalogError::Deflate),
                "{frame:x?}"
            );
        }
    }

    /// Blocks of miniz end about every 31 KiB of what does not compress: frames that end there must not be cut.
    #[test]
    fn noise_of_any_length_survives() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut noise = |len: usize| -> Vec<u8> {
            let next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 56) as u8
            };
            std::iter::repeat_with(next).take(len).collect()
        };
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for len in (31 * 1024..32 * 1024).step_by(64) {
            let frame = noise(len);
            let expanded = decoder.decode(&encoder.encode(&frame)).unwrap();
            assert!(expanded == frame, "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn groups_round_trip(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2_000), 1..5)) {
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
            for frame in frames {
                prop_assert_eq!(decoder.decode(&encoder.encode(&frame)).unwrap(), frame);
            }
        }

        #[test]
        fn hostile_streams_are_survived(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 1..4)) {
            let mut decoder = Decoder::default();
            for frame in frames {
                let _ = decoder.decode(&frame);
            }
        }
    }
}
