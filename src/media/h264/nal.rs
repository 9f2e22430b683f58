//! NAL units of one access unit, and the little that is read inside of them.

/// How NAL units are separated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NalFormat {
    /// Start codes, ITU-T H.264 Annex B; `stream-format=byte-stream` in caps.
    ByteStream,
    /// A big-endian length of 1, 2 or 4 bytes before each, ISO/IEC 14496-15; `avc` and `avc3` in caps.
    Length { size: u8 },
}

/// The NAL units of an access unit, header byte included, framing excluded. None of them is empty.
///
/// A length that points outside of the access unit ends the iteration, as does a format with an impossible length size.
pub fn nals(au: &[u8], format: NalFormat) -> Nals<'_> {
    Nals {
        rest: au,
        format,
        stop_at_slice: false,
        synced: false,
    }
}

/// The NAL units up to the first slice, which is the last item and, in a byte-stream, is not searched for its end: it
/// reaches to the end of the access unit.
pub(super) fn leading_nals(au: &[u8], format: NalFormat) -> Nals<'_> {
    Nals {
        stop_at_slice: true,
        ..nals(au, format)
    }
}

/// Iterator of [`nals`].
#[derive(Debug, Clone)]
pub struct Nals<'a> {
    rest: &'a [u8],
    format: NalFormat,
    stop_at_slice: bool,
    /// `rest` starts with a NAL unit and not before a start code.
    synced: bool,
}

impl<'a> Iterator for Nals<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let nal = match self.format {
                NalFormat::ByteStream => self.next_in_byte_stream()?,
                NalFormat::Length { size } => self.next_by_length(size)?,
            };
            if let Some(header) = nal.first() {
                if self.stop_at_slice && is_slice(*header) {
                    self.rest = &[];
                }
                return Some(nal);
            }
        }
    }
}

impl<'a> Nals<'a> {
    fn next_in_byte_stream(&mut self) -> Option<&'a [u8]> {
        if !self.synced {
            self.rest = &self.rest[find_start_code(self.rest)? + 3..];
            self.synced = true;
        }
        let header = *self.rest.first()?;
        if self.stop_at_slice && is_slice(header) {
            return Some(std::mem::take(&mut self.rest));
        }
        let nal = match find_start_code(self.rest) {
            Some(end) => {
                let (nal, after) = self.rest.split_at(end);
                self.rest = &after[3..];
                nal
            }
            None => std::mem::take(&mut self.rest),
        };
        // The zero byte of a four-byte start code and trailing_zero_8bits; a NAL unit itself never ends with 0.
        let len = nal
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        Some(&nal[..len])
    }

    fn next_by_length(&mut self, size: u8) -> Option<&'a [u8]> {
        if !matches!(size, 1 | 2 | 4) {
            return None;
        }
        let (prefix, after) = self.rest.split_at_checked(size.into())?;
        let len = prefix
            .iter()
            .fold(0usize, |len, byte| len << 8 | usize::from(*byte));
        let (nal, rest) = after.split_at_checked(len)?;
        self.rest = rest;
        Some(nal)
    }
}

/// Without the zero byte of a four-byte start code that follows, and trailing_zero_8bits: a NAL unit itself never ends with
/// 0 (ITU-T H.264 §7.4.1).
pub(super) fn without_trailing_zeros(nal: &[u8]) -> &[u8] {
    let len = nal
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    &nal[..len]
}

/// Coded slice of any kind (types 1 to 5): every leading NAL unit is before it.
fn is_slice(header: u8) -> bool {
    (super::nal_type::SLICE..=super::nal_type::IDR).contains(&(header & 0x1f))
}

/// Where the next three-byte start code begins.
fn find_start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *bytes.get(at..at + 3)? {
            [0, 0, 1] => return Some(at),
            // A byte above 1 is in no start code: none begins at it or at the two before it.
            [_, _, last] if last > 1 => at += 3,
            _ => at += 1,
        }
    }
}

/// Length of the access unit delimiter that opens a byte-stream access unit, start code included; 0 without one.
pub(super) fn delimiter_len(au: &[u8]) -> usize {
    let Some(start) = find_start_code(au) else {
        return 0;
    };
    let body = &au[start + 3..];
    if body.first().map(|header| header & 0x1f) != Some(super::nal_type::AUD) {
        return 0;
    }
    let mut end = find_start_code(body).unwrap_or(body.len());
    // The next start code may have a fourth byte, which is its own.
    while end > 0 && body[end - 1] == 0 {
        end -= 1;
    }
    start + 3 + end
}

/// recovery_frame_cnt of the recovery point message in an SEI NAL unit, if it has one (ITU-T H.264 §D.1.8).
pub(super) fn recovery_frame_count(nal: &[u8]) -> Option<u32> {
    const RECOVERY_POINT: u32 = 6;
    let mut rbsp = Rbsp::new(&nal[1..]);
    loop {
        let kind = rbsp.sei_number()?;
        let mut size = rbsp.sei_number()?;
        if kind == RECOVERY_POINT {
            return exp_golomb(rbsp);
        }
        while size > 0 {
            rbsp.next()?;
            size -= 1;
        }
    }
}

/// Bytes of a NAL unit without emulation prevention (ITU-T H.264 §7.4.1.1).
#[derive(Clone)]
struct Rbsp<'a> {
    bytes: std::slice::Iter<'a, u8>,
    zeros: u8,
}

impl<'a> Rbsp<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: bytes.iter(),
            zeros: 0,
        }
    }

    /// payloadType or payloadSize: a run of 255s and a last byte. Numbers above 2^16 are refused: no message is that long.
    fn sei_number(&mut self) -> Option<u32> {
        let mut number = 0;
        loop {
            let byte = self.next()?;
            number += u32::from(byte);
            if number > 1 << 16 {
                return None;
            }
            if byte != 255 {
                return Some(number);
            }
        }
    }
}

impl Iterator for Rbsp<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let mut byte = *self.bytes.next()?;
        if self.zeros >= 2 && byte == 3 {
            self.zeros = 0;
            byte = *self.bytes.next()?;
        }
        self.zeros = if byte == 0 {
            self.zeros.saturating_add(1)
        } else {
            0
        };
        Some(byte)
    }
}

/// The first ue(v) of a bit string (ITU-T H.264 §9.1), if it is below 2^31.
fn exp_golomb(bytes: impl Iterator<Item = u8>) -> Option<u32> {
    let mut bits = bytes.flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    let mut zeros = 0;
    while bits.next()? == 0 {
        zeros += 1;
        if zeros > 30 {
            return None;
        }
    }
    let mut value = 1u32;
    for _ in 0..zeros {
        value = value << 1 | bits.next()?;
    }
    Some(value - 1)
}
