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
    }
}
