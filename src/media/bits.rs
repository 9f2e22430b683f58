//! Bits of a header, most significant first. Every read ends in `None` at the end of the bytes.

/// Reads bit by bit; a copy of it is a bookmark.
#[derive(Debug, Clone)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bits read so far.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// An unsigned number of up to 32 bits.
    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// An unsigned number of up to 8 bits.
    pub(super) fn byte(&mut self, count: u32) -> Option<u8> {
        self.bits(count.min(8)).map(|value| value as u8)
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        let at = self.at.checked_add(count)?;
        (at <= self.bytes.len() * 8).then(|| self.at = at)
    }

    /// Skips what is left of a byte.
    pub(super) fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }

    /// ue(v) of H.26x (ITU-T H.264 §9.1), below 2^31.
    pub(super) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 30 {
                return None;
            }
        }
        Some((1 << zeros | self.bits(zeros)?) - 1)
    }

    /// se(v), whose values matter nowhere.
    pub(super) fn skip_se(&mut self) -> Option<()> {
        self.ue().map(|_| ())
    }
}

/// What [`BitReader`] reads, for tests of what reads headers.
#[cfg(test)]
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits written so far.
    at: usize,
}

#[cfg(test)]
impl BitWriter {
    pub(super) fn flag(&mut self, flag: bool) -> &mut Self {
        if self.at.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(byte) = self.bytes.last_mut() {
            *byte |= u8::from(flag) << (7 - self.at % 8);
        }
        self.at += 1;
        self
    }

    pub(super) fn bits(&mut self, count: u32, value: impl Into<u64>) -> &mut Self {
        let value = value.into();
        for bit in (0..count).rev() {
            self.flag(value >> bit & 1 == 1);
        }
        self
    }

    /// ue(v).
    pub(super) fn ue(&mut self, value: impl Into<u64>) -> &mut Self {
        let value = value.into() + 1;
        let len = 64 - value.leading_zeros();
        self.bits(len - 1, 0u64).bits(len, value)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// As the payload of a NAL unit behind this header: with its stop bit and emulation prevention (ITU-T H.264 §7.4.1.1).
    pub(super) fn nal(&mut self, header: &[u8]) -> Vec<u8> {
        self.flag(true);
        let mut nal = header.to_vec();
        let mut zeros = 0;
        for byte in &self.bytes {
            if zeros >= 2 && *byte <= 3 {
                nal.push(3);
                zeros = 0;
            }
            zeros = if *byte == 0 { zeros + 1 } else { 0 };
            nal.push(*byte);
        }
        nal
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_across_bytes() {
        let mut bits = BitReader::new(&[0b1010_0110, 0b1000_0001]);
        assert_eq!(bits.bits(3), Some(0b101));
        assert_eq!(bits.bits(7), Some(0b001_1010));
        bits.align();
        assert_eq!(bits.flag(), None);
    }

    /// ITU-T H.264 Table 9-2.
    #[test]
    fn exponential_golomb_codes_follow_their_table() {
        for (code, value) in [
            (0b1000_0000u8, 0),
            (0b0100_0000, 1),
            (0b0110_0000, 2),
            (0b0011_1000, 6),
        ] {
            assert_eq!(BitReader::new(&[code]).ue(), Some(value));
        }
        assert_eq!(BitReader::new(&[0; 8]).ue(), None);
        assert_eq!(BitReader::new(&[0, 1]).ue(), None);
    }

    proptest! {
        #[test]
        fn no_read_goes_beyond_the_end(
            bytes in proptest::collection::vec(any::<u8>(), 0..8),
            reads in proptest::collection::vec(0u32..=32, 0..16),
        ) {
            let mut bits = BitReader::new(&bytes);
            for read in reads {
                let left = 8 * bytes.len() - bits.at;
                let mut skipping = bits.clone();
                prop_assert_eq!(bits.bits(read).is_some(), left >= read as usize);
                prop_assert_eq!(skipping.skip(read as usize).is_some(), left >= read as usize);
                let _ = skipping.ue();
            }
        }

        #[test]
        fn numbers_round_trip(numbers in proptest::collection::vec((1u32..=32, any::<u32>(), any::<bool>()), 0..16)) {
            let mut written = BitWriter::default();
            let fixed = |count: u32, value: u32| value >> (32 - count);
            for (count, value, golomb) in &numbers {
                match golomb {
                    true => written.ue(value >> 2),
                    false => written.bits(*count, fixed(*count, *value)),
                };
            }
            let mut bits = BitReader::new(written.bytes());
            for (count, value, golomb) in numbers {
                match golomb {
                    true => prop_assert_eq!(bits.ue(), Some(value >> 2)),
                    false => prop_assert_eq!(bits.bits(count), Some(fixed(count, value))),
                }
            }
        }
    }
}
