//! H.264 as far as a publisher and a player need it: NAL units, parameter sets, key frames.
//!
//! Parsers upstream are trusted for boundaries of access units; what is read here is the few bytes before the first
//! slice, so that the cost of a frame does not grow with its size.

#![forbid(unsafe_code)]

mod config;
mod nal;

pub use super::nal::{LengthPrefixed, NalFormat, Nals, ParameterSetError, Parts, START_CODE, nals};
pub use config::{AvcC, Config, MAX_DIMENSION};

use super::nal as units;

/// NAL unit types, ITU-T H.264 Table 7-1.
pub mod nal_type {
    pub const SLICE: u8 = 1;
    pub const IDR: u8 = 5;
    pub const SEI: u8 = 6;
    pub const SPS: u8 = 7;
    pub const PPS: u8 = 8;
    pub const AUD: u8 = 9;
}

/// Which parameter sets an access unit brings along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParameterSets {
    pub sps: bool,
    pub pps: bool,
}

impl ParameterSets {
    pub fn complete(self) -> bool {
        self.sps && self.pps
    }
}

/// How well decoding can start at an access unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Nothing after it refers to anything before it.
    Idr,
    /// A recovery point SEI message: correct pictures from `recovery_frames` later on, in output order.
    RecoveryPoint {
        /// recovery_frame_cnt; 0 is the I frame of an open GOP, more is a gradual refresh.
        recovery_frames: u32,
    },
    Other,
}

impl KeyKind {
    /// Pictures that are decoded after this one and shown before it may refer to the previous GOP: whoever starts here
    /// would show them broken.
    ///
    /// `reorder_depth` is [`Config::reorder_depth`]: a stream without reordering has no such pictures.
    pub fn has_leading_risk(self, reorder_depth: u8) -> bool {
        match self {
            Self::Idr => false,
            Self::RecoveryPoint { .. } | Self::Other => reorder_depth > 0,
        }
    }

    /// A group may start here: whoever joins at it shows nothing broken.
    pub fn is_closed(self, reorder_depth: u8) -> bool {
        match self {
            Self::Idr => true,
            Self::RecoveryPoint { recovery_frames } => {
                recovery_frames == 0 && !self.has_leading_risk(reorder_depth)
            }
            Self::Other => false,
        }
    }
}

/// The parameter sets in front of the first slice of an access unit.
pub fn parameter_sets(au: &[u8], format: NalFormat) -> ParameterSets {
    let mut found = ParameterSets::default();
    for nal in leading_nals(au, format) {
        match nal[0] & 0x1f {
            nal_type::SPS => found.sps = true,
            nal_type::PPS => found.pps = true,
            _ => {}
        }
    }
    found
}

/// Whether the access unit is an IDR picture.
pub fn is_idr(au: &[u8], format: NalFormat) -> bool {
    leading_nals(au, format).any(|nal| nal[0] & 0x1f == nal_type::IDR)
}

/// How well decoding can start at this access unit.
pub fn key_kind(au: &[u8], format: NalFormat) -> KeyKind {
    let mut kind = KeyKind::Other;
    for nal in leading_nals(au, format) {
        match nal[0] & 0x1f {
            nal_type::IDR => return KeyKind::Idr,
            nal_type::SEI => {
                if let Some(recovery_frames) = nal::recovery_frame_count(nal) {
                    kind = KeyKind::RecoveryPoint { recovery_frames };
                }
            }
            _ => {}
        }
    }
    kind
}

fn leading_nals(au: &[u8], format: NalFormat) -> Nals<'_> {
    units::leading_nals(au, format, nal::is_slice)
}

/// What a byte-stream key frame has to become so that a player may join at it: `None` if it already has an SPS and a
/// PPS, otherwise its parts with all parameter sets of `config` put in front, behind an access unit delimiter if there
/// is one (which must stay first, ITU-T H.264 §7.4.1.2.3). Copies nothing.
pub fn prepend_parameter_sets<'a>(au: &'a [u8], config: &'a Config) -> Option<Parts<'a>> {
    if parameter_sets(au, NalFormat::ByteStream).complete() {
        return None;
    }
    let sets = config.sps().iter().chain(config.pps());
    let delimiter_len = units::delimiter_len(au, nal::is_delimiter);
    Some(units::prepend(au, delimiter_len, sets.map(|set| &set[..])))
}

/// A length-prefixed access unit as byte-stream; `config`, for a key frame, is put in front where its parameter sets are
/// missing. Copies nothing.
pub fn byte_stream<'a>(au: &'a [u8], format: NalFormat, config: Option<&'a Config>) -> Parts<'a> {
    let config = config.filter(|_| !parameter_sets(au, format).complete());
    let sets = config
        .into_iter()
        .flat_map(|config| config.sps().iter().chain(config.pps()));
    units::byte_stream(au, format, nal::is_delimiter, sets.map(|set| &set[..]))
}

/// A byte-stream access unit as `avc1` wants it: lengths instead of start codes, and neither parameter sets, which are
/// in the description, nor access unit delimiters (ISO/IEC 14496-15 §5.3.2).
pub fn length_prefixed(au: &[u8]) -> LengthPrefixed<'_> {
    LengthPrefixed::new(au, |header| {
        !matches!(header & 0x1f, nal_type::SPS | nal_type::PPS | nal_type::AUD)
    })
}

#[cfg(test)]
mod tests;
