//! NAL units of H.264 and H.265: how an access unit is taken apart and put together, and what can be wrong with parameter sets.

#![forbid(unsafe_code)]

use smallvec::SmallVec;

/// Pieces of an access unit for which no list is allocated: a delimiter, three parameter sets or messages and a slice.
const INLINE: usize = 10;

/// The start code that is written.
pub const START_CODE: &[u8] = &[0, 0, 0, 1];

/// Tells by the first byte of a NAL unit whether it is of some kind.
pub(super) type Test = fn(u8) -> bool;

/// Why a parameter set or a decoder configuration record was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterSetError {
    /// It ends before its own end.
    #[error("{0} is truncated")]
    Truncated(&'static str),
    /// A field has a value that the standard excludes.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// The record carries no SPS; its parameter sets are in the stream alone.
    #[error("no sequence parameter set")]
    NoSps,
    /// The SPS could not be parsed; says where.
    #[error("sequence parameter set: {0}")]
    Sps(String),
    /// The picture is empty or larger than any level allows.
    #[error("picture of {width}x{height} is not possible")]
    Size { width: u64, height: u64 },
}

/// How NAL units are separated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NalFormat {
    /// Start codes, Annex B of ITU-T H.264 and H.265; `stream-format=byte-stream` in caps.
    ByteStream,
    /// A big-endian length of 1, 2 or 4 bytes before each, ISO/IEC 14496-15; `avc`, `avc3`, `hvc1` and `hev1` in
    /// caps.
    Length { size: u8 },
}

/// The NAL units of an access unit, header byte included, framing excluded. None of them is empty.
///
/// A length that points outside of the access unit ends the iteration, as does a format with an impossible length size.
pub fn nals(au: &[u8], format: NalFormat) -> Nals<'_> {
    Nals {
        rest: au,
        format,
        last: |_| false,
        synced: false,
    }
}

/// The NAL units up to the first one that `is_slice`, which is the last item and, in a byte-stream, is not searched for
/// its end: it reaches to the end of the access unit.
pub(super) fn leading_nals(au: &[u8], format: NalFormat, is_slice: Test) -> Nals<'_> {
    Nals {
        last: is_slice,
        ..nals(au, format)
    }
}

/// Iterator of [`nals`].
#[derive(Debug, Clone)]
pub struct Nals<'a> {
    rest: &'a [u8],
    format: NalFormat,
    /// Nothing is looked at behind such a unit.
    last: Test,
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
                if (self.last)(*header) {
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
        if (self.last)(header) {
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
        Some(without_trailing_zeros(nal))
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
pub(super) fn delimiter_len(au: &[u8], is_delimiter: Test) -> usize {
    let Some(start) = find_start_code(au) else {
        return 0;
    };
    let body = &au[start + 3..];
    if !body.first().is_some_and(|header| is_delimiter(*header)) {
        return 0;
    }
    let mut end = find_start_code(body).unwrap_or(body.len());
    // The next start code may have a fourth byte, which is its own.
    while end > 0 && body[end - 1] == 0 {
        end -= 1;
    }
    start + 3 + end
}

/// The pieces of an access unit with something added or changed, to be gathered into one object.
#[derive(Debug, Clone, Default)]
pub struct Parts<'a> {
    parts: SmallVec<[&'a [u8]; INLINE]>,
    total: usize,
}

impl<'a> Parts<'a> {
    /// Bytes in all parts together.
    pub fn total(&self) -> usize {
        self.total
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.parts.iter().copied()
    }

    pub fn as_slice(&self) -> &[&'a [u8]] {
        &self.parts
    }

    fn push(&mut self, part: &'a [u8]) {
        self.total += part.len();
        self.parts.push(part);
    }
}

/// A byte-stream access unit with parameter sets in front, behind the access unit delimiter if there is one (which must
/// stay first, ITU-T H.264 §7.4.1.2.3, H.265 §7.4.2.4.4). Copies nothing.
pub(super) fn prepend<'a>(
    au: &'a [u8],
    delimiter_len: usize,
    sets: impl Iterator<Item = &'a [u8]>,
) -> Parts<'a> {
    let (delimiter, rest) = au.split_at(delimiter_len);
    let mut parts = Parts::default();
    if !delimiter.is_empty() {
        parts.push(delimiter);
    }
    for set in sets {
        parts.push(START_CODE);
        parts.push(set);
    }
    parts.push(rest);
    parts
}

/// A length-prefixed access unit as byte-stream, with `sets` put in front as [`prepend`] does. Copies nothing.
pub(super) fn byte_stream<'a>(
    au: &'a [u8],
    format: NalFormat,
    is_delimiter: Test,
    sets: impl Iterator<Item = &'a [u8]>,
) -> Parts<'a> {
    let mut units = nals(au, format).peekable();
    let delimiter = units.next_if(|nal| is_delimiter(nal[0]));
    let mut parts = Parts::default();
    for nal in delimiter.into_iter().chain(sets).chain(units) {
        parts.push(START_CODE);
        parts.push(nal);
    }
    parts
}

/// A byte-stream access unit on its way to four-byte lengths, as CMAF wants it. Copies nothing but makes the lengths.
#[derive(Debug, Clone)]
pub struct LengthPrefixed<'a> {
    units: SmallVec<[([u8; 4], &'a [u8]); INLINE / 2]>,
}

impl<'a> LengthPrefixed<'a> {
    /// The NAL units of `au` for which `keep` is true; it is given the first byte of each.
    pub(super) fn new(au: &'a [u8], keep: Test) -> Self {
        let units = nals(au, NalFormat::ByteStream)
            .filter(|nal| keep(nal[0]))
            // Access units are far below 4 GiB: GStreamer and QUIC objects alike.
            .map(|nal| ((nal.len() as u32).to_be_bytes(), nal))
            .collect();
        Self { units }
    }

    pub fn parts(&self) -> Parts<'_> {
        let mut parts = Parts::default();
        for (length, nal) in &self.units {
            parts.push(length);
            parts.push(nal);
        }
        parts
    }
}

/// Bytes of a NAL unit without emulation prevention (ITU-T H.264 §7.4.1.1).
#[derive(Clone)]
pub(super) struct Rbsp<'a> {
    bytes: std::slice::Iter<'a, u8>,
    zeros: u8,
}

impl<'a> Rbsp<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: bytes.iter(),
            zeros: 0,
        }
    }

    /// payloadType or payloadSize: a run of 255s and a last byte. Numbers above 2^16 are refused: no message is that long.
    pub(super) fn sei_number(&mut self) -> Option<u32> {
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
