//! Open bitstream units in the low-overhead format (§5.3).

use crate::media::bits::BitReader;

/// §6.2.2.
pub(super) mod obu_type {
    pub const SEQUENCE_HEADER: u8 = 1;
    pub const TEMPORAL_DELIMITER: u8 = 2;
    pub const FRAME_HEADER: u8 = 3;
    pub const FRAME: u8 = 6;
}

/// One unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obu<'a> {
    /// obu_type, 0 to 15.
    pub kind: u8,
    /// Without header and size.
    pub payload: &'a [u8],
    /// All of it.
    pub bytes: &'a [u8],
}

/// The units of a temporal unit (`obu-stream` in caps). One that does not fit ends the iteration; one without a size reaches
/// to the end.
pub fn obus(unit: &[u8]) -> impl Iterator<Item = Obu<'_>> {
    let mut rest = unit;
    std::iter::from_fn(move || {
        let obu = read(rest)?;
        rest = &rest[obu.bytes.len()..];
        Some(obu)
    })
}

fn read(bytes: &[u8]) -> Option<Obu<'_>> {
    let mut bits = BitReader::new(bytes);
    if bits.flag()? {
        return None;
    }
    let kind = bits.byte(4)?;
    let (has_extension, has_size) = (bits.flag()?, bits.flag()?);
    bits.skip(1)?;
    let mut header_len = 1;
    if has_extension {
        bits.skip(8)?;
        header_len += 1;
    }
    let len = if has_size {
        let (size, size_len) = leb128(&mut bits)?;
        header_len += size_len;
        header_len.checked_add(size)?
    } else {
        bytes.len()
    };
    let bytes = bytes.get(..len)?;
    Some(Obu {
        kind,
        payload: bytes.get(header_len..)?,
        bytes,
    })
}

/// §4.10.5: the value, at most 2^32 − 1, and how many bytes it takes.
fn leb128(bits: &mut BitReader<'_>) -> Option<(usize, usize)> {
    let mut value = 0u64;
    for index in 0..8 {
        let more = bits.flag()?;
        value |= u64::from(bits.bits(7)?) << (7 * index);
        if !more {
            let value = u32::try_from(value).ok()?;
            return Some((value as usize, index + 1));
        }
    }
    None
}
