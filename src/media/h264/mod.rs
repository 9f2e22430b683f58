//! H.264 as far as a publisher and a player need it: NAL units, parameter sets, key frames.
//!
//! Parsers upstream are trusted for boundaries of access units; what is read here is the few bytes before the first
//! slice, so that the cost of a frame does not grow with its size.

#![forbid(unsafe_code)]

mod config;
mod nal;

pub use config::{AvcC, Config, MAX_DIMENSION};
pub use nal::{NalFormat, Nals, nals};

use nal::leading_nals;

/// The start code that [`prepend_parameter_sets`] writes.
pub const START_CODE: &[u8] = &[0, 0, 0, 1];

/// NAL unit types, ITU-T H.264 Table 7-1.
pub mod nal_type {
    pub const SLICE: u8 = 1;
    pub const IDR: u8 = 5;
    pub const SEI: u8 = 6;
    pub const SPS: u8 = 7;
    pub const PPS: u8 = 8;
    pub const AUD: u8 = 9;
}

/// Why a parameter set or a decoder configuration record was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum H264Error {
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

/// The pieces of a byte-stream key frame with its parameter sets, to be gathered into one object.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    parts: Vec<&'a [u8]>,
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

    fn push(&mut self, part: &'a [u8]) {
        self.total += part.len();
        self.parts.push(part);
    }
}

/// What a byte-stream key frame has to become so that a player may join at it: `None` if it already has an SPS and a
/// PPS, otherwise its parts with all parameter sets of `config` put in front, behind an access unit delimiter if there
/// is one (which must stay first, ITU-T H.264 §7.4.1.2.3). Copies nothing.
pub fn prepend_parameter_sets<'a>(au: &'a [u8], config: &'a Config) -> Option<Parts<'a>> {
    if parameter_sets(au, NalFormat::ByteStream).complete() {
        return None;
    }
    let (delimiter, rest) = au.split_at(nal::delimiter_len(au));
    let mut parts = Parts {
        parts: Vec::with_capacity(2 + 2 * (config.sps().len() + config.pps().len())),
        total: 0,
    };
    if !delimiter.is_empty() {
        parts.push(delimiter);
    }
    for set in config.sps().iter().chain(config.pps()) {
        parts.push(START_CODE);
        parts.push(set);
    }
    parts.push(rest);
    Some(parts)
}

#[cfg(test)]
mod tests;
